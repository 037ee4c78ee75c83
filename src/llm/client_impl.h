/*
 * The client of LLM providers from inside.
 *
 *     client.c            the life of a client and of its calls
 *     client_endpoint.c   where providers are: from the environment, from a configuration
 *     client_body.c       what both protocols' bodies have in common, JSON values as text
 *     client_openai.c     bodies and answers of the OpenAI protocol
 *     client_anthropic.c  bodies and answers of the Anthropic protocol
 *     client_answer.c     what comes back: heads, whole answers, streams; failures in words
 *     client_telemetry.c  spans and metrics
 *
 * All of it belongs to the loop's thread.
 */
#ifndef SL_LLM_CLIENT_IMPL_H
#define SL_LLM_CLIENT_IMPL_H

#include "src/llm/client.h"
#include "src/llm/json_text.h"
#include "src/llm/usage.h"
#include "src/telemetry/vocab.h"
#include "src/wire/sse.h"

#define SL_LLM_HEAD_BYTES (48u * 1024) /* request line and fields */

/* Where a provider is. One block of memory holds the texts. */
typedef struct sl_llm_place {
    sl_llm_protocol protocol;
    sl_str name;
    sl_str model;
    sl_str provider;                     /* gen_ai.provider.name */
    sl_str key;                          /* empty: none */
    sl_str head[SL_LLM_OPERATION_COUNT]; /* request line and constant fields, with the key; empty: no such operation */
    sl_origin *origin;
    bool has_price;
    sl_price price;
    char *memory;
} sl_llm_place;

struct sl_llm_client {
    sl_loop *loop;
    sl_upstream *upstream;
    sl_sdk *sdk; /* NULL: no telemetry */
    sl_tracer *tracer;
    unsigned vocabularies;
    bool capture;                            /* prompt text may stand in spans */
    sl_instrument *metrics[SL_METRIC_COUNT]; /* those declared */
    sl_llm_place *places;
    size_t place_count;
    sl_llm_call *calls; /* under way */
    bool closing;
    size_t users;         /* sl_llm_client_use */
    sl_llm_client *older; /* that it has replaced and that has not been freed yet */
};

#define SL_LLM_REASON_MAX 32
#define SL_LLM_ID_MAX 128

struct sl_llm_call {
    sl_llm_client *client;
    sl_llm_call *next;
    sl_llm_call **prev;
    sl_call http;
    sl_timer timer; /* of the whole call */
    /* What is asked. The place may be replaced meanwhile: what is needed of it is here. */
    sl_llm_operation operation;
    sl_llm_protocol protocol;
    bool stream;
    size_t input_count; /* embeddings */
    sl_str provider;    /* views of `names` */
    sl_str endpoint;
    sl_str model; /* as the caller named it */
    sl_str asked; /* as the provider is asked for it */
    sl_str key;
    char *names;
    bool has_price;
    sl_price price;
    sl_origin *origin;
    sl_buf head;
    sl_buf request; /* body */
    uint64_t timeout_ms;
    void (*on_text)(void *user, sl_str piece);
    void (*on_done)(void *user, const sl_llm_result *result);
    void *user;
    /* What has come. */
    int status;
    uint64_t retry_after_ms;
    sl_buf body; /* of an answer that is no stream */
    sl_sse sse;
    sl_buf joined; /* data of a frame in several lines */
    bool streaming;
    bool ended; /* the stream has told a reason for its end */
    bool done;  /* and its end mark has come */
    sl_buf text;
    json_t *vectors;
    json_t *usage;
    sl_usage tokens;
    char answered[SL_OPENAI_MODEL_MAX]; /* model; these three are NUL-terminated */
    char id[SL_LLM_ID_MAX];
    char reason[SL_LLM_REASON_MAX];
    uint64_t first_ns; /* monotonic, of the first piece of text; 0: none */
    uint64_t last_ns;
    uint32_t pieces;
    /* How it ends. */
    int error;
    bool retryable;
    const char *error_type; /* error.type; NULL: none. Static */
    char message[SL_MAX_LLM_MESSAGE_BYTES];
    char status_text[8]; /* for error_type */
    unsigned depth;      /* functions of this client on the stack that still use the call */
    bool over;
    uint64_t start_ns; /* monotonic */
    sl_span *span;     /* NULL: none, or ended */
};

/* ---- client_endpoint.c ---- */

/* The place of a name; NULL when there is none. */
const sl_llm_place *sl_llm_place_find(const sl_llm_client *client, sl_str name);
/* Where a request goes, and the model that is asked for there; NULL when nowhere. */
const sl_llm_place *sl_llm_place_choose(const sl_llm_client *client, const sl_llm_request *request, sl_str *ret_asked);
void sl_llm_place_done(sl_llm_place *place);

/* ---- client_body.c ---- */

/* Appends `,"name":`, without the comma behind an opening bracket. */
void sl_llm_put_name(sl_buf *out, const char *name);
void sl_llm_put_text(sl_buf *out, const char *name, sl_str text);
void sl_llm_put_number(sl_buf *out, const char *name, uint64_t number);
/* Appends the members of `extra` (NULL: none) that the body does not have; `taken` ends with NULL. */
int sl_llm_put_extra(sl_buf *out, const json_t *extra, const char *const *taken);
/* Body of a request. Errors: SL_EINVAL (wrong types), SL_ETOOBIG, SL_ENOMEM. */
int sl_llm_put_body(sl_buf *out, sl_llm_protocol protocol, sl_str model, const sl_llm_request *request);

/* ---- client_openai.c, client_anthropic.c ---- */

int sl_openai_put_chat(sl_buf *out, sl_str model, const sl_llm_request *request);
int sl_openai_put_embeddings(sl_buf *out, sl_str model, const sl_llm_request *request);
int sl_anthropic_put_chat(sl_buf *out, sl_str model, const sl_llm_request *request);

/*
 * Read a whole answer, or one event of a stream, into the call. Errors: SL_EPROTO (not what the protocol says;
 * sl_llm_fault has been told), SL_ETOOBIG, SL_ENOMEM.
 */
int sl_openai_read_chat(sl_llm_call *call, const json_t *root);
int sl_openai_read_embeddings(sl_llm_call *call, const json_t *root);
int sl_openai_read_event(sl_llm_call *call, const json_t *root);
int sl_anthropic_read_message(sl_llm_call *call, const json_t *root);
int sl_anthropic_read_event(sl_llm_call *call, const json_t *root);

/* ---- client_answer.c ---- */

extern const sl_call_handler sl_llm_call_handler;

/* Says why the call fails; the first that says so counts. Returns `error`. `type` is static. */
int sl_llm_fault(sl_llm_call *call, int error, bool retryable, const char *type, const char *format, ...)
    __attribute__((format(printf, 5, 6)));
/* The failure that an error object of the provider tells, within an answer of status 200. Returns SL_EPROTO. */
int sl_llm_fault_told(sl_llm_call *call, const json_t *error);
/* Appends text of the answer, and hands it on when streaming. */
int sl_llm_take_text(sl_llm_call *call, const json_t *text);
void sl_llm_take_usage(sl_llm_call *call, const json_t *usage);
/* Copies a JSON string, cut to `size`; keeps what is there when it is none. */
void sl_llm_take_string(const json_t *value, char *text, size_t size);
void sl_llm_on_timeout(sl_timer *timer);

/* ---- client.c ---- */

/* Ends a call: telemetry, on_done. It is freed when the last function that uses it returns. */
void sl_llm_finish(sl_llm_call *call);
/* Around whatever may end a call: it is freed when the outermost one is left. */
void sl_llm_enter(sl_llm_call *call);
void sl_llm_leave(sl_llm_call *call);

/* ---- client_telemetry.c ---- */

void sl_llm_telemetry_init(sl_llm_client *client, sl_sdk *sdk);
/* Starts the CLIENT span. */
void sl_llm_trace_start(sl_llm_call *call, const sl_llm_request *request);
/* Appends the headers that carry it. */
void sl_llm_trace_inject(sl_llm_call *call, sl_buf *head);
void sl_llm_trace_first(sl_llm_call *call);
/* Ends span and records metrics; `error_type` NULL: it went well. */
void sl_llm_trace_end(sl_llm_call *call, const char *error_type, uint64_t took_ns);

#endif
