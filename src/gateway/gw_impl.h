/*
 * The gateway from inside.
 *
 *     gateway.c    configuration put to use, routing, local answers
 *     request.c    the life of a request: states, authorisation, ends
 *     forward.c    what goes to the upstream: head, fields, edited body, attempts
 *     relay.c      what comes back: heads, whole answers, ends
 *     frames.c     what comes back as a stream
 *     telemetry.c  spans, metrics, access records (telemetry.h)
 *
 * All of it belongs to the loop's thread.
 */
#ifndef SL_GATEWAY_GW_IMPL_H
#define SL_GATEWAY_GW_IMPL_H

#include "src/gateway/gateway.h"
#include "src/llm/openai.h"
#include "src/llm/usage.h"
#include "src/wire/sse.h"

#define SL_GW_MAX_ATTEMPTS 2
#define SL_GW_MAX_GROUP 64              /* deployments of one name; one bit each in sl_gw_request.tried */
#define SL_GW_IDLE_MAX 64               /* requests and plans kept for the next ones */
#define SL_GW_JOINED_MAX 4096           /* bodies up to here are sent in one piece with the head */
#define SL_GW_IDLE_BUFFER 8192          /* the largest buffer that a kept plan keeps */
#define SL_GW_KEPT_ANSWER (256u * 1024) /* of a whole answer in parts, to read its usage at the end */
#define SL_GW_KEPT_TAIL (16u * 1024)    /* of a longer one */

typedef struct sl_gw_request sl_gw_request;
typedef struct sl_gw_plan sl_gw_plan;
typedef struct sl_gw_telemetry sl_gw_telemetry;
typedef struct sl_gw_bound sl_gw_bound; /* metric series of a target, telemetry.c */

/* Which resource a request is for; the label of metrics and the name of the SERVER span. */
typedef enum sl_gw_route {
    SL_GW_ROUTE_CHAT = 0,
    SL_GW_ROUTE_COMPLETION,
    SL_GW_ROUTE_EMBEDDINGS,
    SL_GW_ROUTE_MODELS,
    SL_GW_ROUTE_MODEL,
    SL_GW_ROUTE_OTHER, /* no such resource */
    SL_GW_ROUTE_COUNT
} sl_gw_route;

/* Text of a route for `http.route`: "/v1/chat/completions"; empty for OTHER. Static. */
sl_str sl_gw_route_text(sl_gw_route route);

/* A deployment in force. Constant after start. */
typedef struct sl_gw_target {
    const sl_deployment *deployment;
    sl_origin *origin;
    sl_str provider;                       /* gen_ai.provider.name */
    sl_str model_json;                     /* JSON string that replaces the client's; empty: stays */
    sl_str prefix[SL_LLM_OPERATION_COUNT]; /* request line, Host, Authorization */
    sl_gw_bound *bound[SL_LLM_OPERATION_COUNT];
} sl_gw_target;

/* All deployments of one model name. */
typedef struct sl_gw_group {
    sl_str name;
    sl_gw_target *targets[SL_GW_MAX_GROUP];
    unsigned count;
} sl_gw_group;

struct sl_gateway {
    sl_loop *loop;
    const sl_config *config;
    sl_http_server *server;
    sl_upstream *upstream;
    sl_gw_telemetry *telemetry; /* NULL: none */
    sl_gw_target *targets;
    size_t target_count;
    sl_gw_group *groups;
    size_t group_count;
    uint32_t *index; /* hash table: 1 + number of a group */
    size_t index_size;
    sl_gw_group *any; /* of the name "*" */
    sl_arena arena;
    sl_str models; /* body of GET /v1/models */
    uint64_t random;
    size_t in_flight;
    sl_gw_request *idle_requests; /* memory kept for the next ones */
    sl_gw_plan *idle_plans;
    unsigned idle_request_count;
    unsigned idle_plan_count;
    uint64_t wall_offset_ns; /* Unix time less monotonic time */
    uint64_t wall_read_ns;   /* when that was looked at */
    bool closing;
    sl_buf fields; /* of the answer that is being begun */
};

/*
 *   ACCEPTED ──key good──► ALLOWED ──body read, routed──► WAITING ──head──► RELAYING ──end──► ANSWERED ──► OVER
 *      │                      │                            │  ▲ └─ next attempt ─┐   │                      ▲
 *      │                      │                            │  └─────────────────┘   └── client gone ───────┤
 *      └───────── local answer (401, 404, models …) ───────┴──────────► ANSWERED ──────────────────────────┘
 */
typedef enum sl_gw_state {
    SL_GW_ACCEPTED = 0,
    SL_GW_ALLOWED,
    SL_GW_WAITING,
    SL_GW_RELAYING,
    SL_GW_ANSWERED,
    SL_GW_OVER,
    SL_GW_STATE_COUNT
} sl_gw_state;

const char *sl_gw_state_name(sl_gw_state state);
/* True when the table of moves has this one. */
bool sl_gw_state_may(sl_gw_state from, sl_gw_state to);
void sl_gw_set_state(sl_gw_request *request, sl_gw_state state);

/* What is needed to send the request (again); freed when the answer has begun. */
struct sl_gw_plan {
    sl_gw_plan *next; /* among the idle ones */
    sl_openai_request openai;
    sl_str body;
    char *body_memory; /* taken over from the server; NULL: the body is in `copy` */
    sl_buf copy;
    sl_buf head;    /* of the attempt under way */
    sl_buf fields;  /* of the client, as they go on */
    sl_str baggage; /* and those that go on if the deployment allows it, behind them in the same memory */
};

/* How a stream has come so far. */
typedef struct sl_gw_stream {
    sl_sse sse;
    bool on;
    bool hide_usage;   /* we asked for usage, the client did not */
    sl_buf hold;       /* when hiding: the beginning of a frame that is not complete */
    uint32_t frames;   /* with data, [DONE] left out */
    uint64_t first_ns; /* monotonic, of frames; 0: none */
    uint64_t last_ns;
} sl_gw_stream;

struct sl_gw_request {
    sl_gw_request *next_idle;
    sl_gateway *gateway;
    sl_exchange *x; /* NULL once over */
    sl_gw_state state;
    sl_gw_route route;
    sl_http_method method;
    sl_llm_operation operation;
    bool probe;    /* health and the like: no telemetry */
    bool in_relay; /* relay.c is on the stack: finish later */
    bool done;     /* the server has let go of it */
    bool stream_wanted;
    bool usage_added;
    bool attempt_open; /* an attempt has begun and not ended */
    bool broken;       /* the upstream broke off within its answer */
    uint8_t attempts;
    int outcome;            /* of the exchange */
    int status;             /* of our answer; 0: none yet */
    const char *error_type; /* error.type; NULL: none. Static */
    sl_gw_group *group;
    sl_gw_target *target;
    uint64_t tried; /* targets of the group */
    sl_gw_plan *plan;
    sl_call call;
    sl_answer answer;
    sl_gw_stream stream;
    sl_buf kept; /* of a whole answer in parts */
    uint64_t length_in;
    int upstream_status;
    /* Telemetry. Monotonic times. */
    sl_span *server_span;
    sl_span *client_span;
    const struct sl_gw_model_series *frame_model; /* series of the gaps between frames */
    uint64_t start_ns;                            /* first byte of the request */
    uint64_t sent_ns;                             /* first attempt begun */
    uint64_t upstream_end_ns;                     /* last byte of the answer */
    uint64_t waited_ns;                           /* for upstreams, all attempts */
    uint64_t bytes_out;
    char request_id[33]; /* ours, NUL-terminated; empty: the client's own goes on */
};

/* ---- gateway.c ---- */

/* The deployments of a name; NULL when there is none. */
sl_gw_group *sl_gw_find_group(sl_gateway *gateway, sl_str model);
/* One that has not been tried; NULL when all have. */
sl_gw_target *sl_gw_pick(sl_gateway *gateway, sl_gw_request *request);
/* Answers what needs no upstream (GET /v1/models, health). True when it has. */
bool sl_gw_answer_locally(sl_gw_request *request, const sl_http1_head *head, sl_str path);
/* True for the health paths. */
bool sl_gw_is_probe(sl_str path);
sl_gw_route sl_gw_route_of(sl_str path, sl_llm_operation operation);

/* ---- request.c ---- */

void sl_gw_on_head(void *user, sl_exchange *x);
void sl_gw_on_request(void *user, sl_exchange *x);
void sl_gw_on_writable(void *user, sl_exchange *x);
void sl_gw_on_done(void *user, sl_exchange *x, int outcome);
/* Answers with an error of our own. `error_type` is for telemetry; static. */
void sl_gw_fail(sl_gw_request *request, int status, const char *error_type, const char *code, const char *message);
/* A plan, empty; NULL without memory. */
sl_gw_plan *sl_gw_plan_take(sl_gateway *gateway);
/* Frees what is kept for the next requests. */
void sl_gw_free_idle(sl_gateway *gateway);
/* Unix time of a moment of the monotonic clock. */
uint64_t sl_gw_wall_ns(sl_gateway *gateway, uint64_t mono_ns);
/* Gives the plan back: the request will not be sent again. */
void sl_gw_drop_plan(sl_gw_request *request);
/* Ends a request that the server has let go of. */
void sl_gw_finish(sl_gw_request *request);

/* ---- forward.c ---- */

/* Copies what the request needs of the client's head and body. SL_ENOMEM. */
int sl_gw_plan_make(sl_gw_request *request, sl_exchange *x);
/* Sends the request to request->target. SL_ENOMEM. */
int sl_gw_attempt(sl_gw_request *request);

/* "429" and so on, for error.type; static. */
const char *sl_gw_status_text(int status);

/* ---- relay.c ---- */

extern const sl_call_handler sl_gw_call_handler;

/* Gives bytes to the client; the upstream waits when too much of them does. */
void sl_gw_pass_on(sl_gw_request *request, sl_str data, bool last);

/* ---- frames.c ---- */

/* Looks at the frames in `bytes`, which may be overwritten; returns what of them is for the client. */
sl_str sl_gw_frames_for_client(sl_gw_request *request, sl_str bytes, bool end);
/* Whether a frame's data may have a usage or a finish reason other than null: false is certain. */
bool sl_gw_may_tell(sl_str data);

#endif
