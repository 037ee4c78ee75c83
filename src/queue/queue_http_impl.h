/*
 * The HTTP queue's inside: queue_http.c (life, routes, puts), queue_http_lease.c (deliveries), queue_http_dead.c
 * (figures and dead letters).
 *
 * A request owns its state from on_request until both its exchange is over (`x` NULL) and nothing is under way for it
 * (`busy`). The queue's threads only put it into `finished` and wake the loop.
 */
#ifndef SL_QUEUE_HTTP_IMPL_H
#define SL_QUEUE_HTTP_IMPL_H

#include <jansson.h>
#include <pthread.h>

#include "src/net/http_server.h"
#include "src/queue/queue_http.h"

typedef struct sl_qh_request sl_qh_request;
typedef struct sl_qh_delivery sl_qh_delivery;
typedef struct sl_qh_topic sl_qh_topic;

#define SL_QH_BUCKETS 4096u
/* An answer of many large messages ends behind this: the rest comes with the next one. */
#define SL_QH_PAGE_BYTES (2 * SL_QUEUE_MAX_BODY_BYTES)

/* A message that a worker has. */
struct sl_qh_delivery {
    sl_qh_delivery *next; /* of the same bucket */
    sl_queue_http *http;
    sl_queue_message facts;    /* without body and key; its trace lies below */
    sl_queue_message *message; /* NULL once it has been written */
    char *body;                /* in the place of its own; NULL: none */
    char trace[SL_QUEUE_MAX_TRACE_BYTES];
    char key[96]; /* of a message that may be cancelled; longer ones cannot be */
    sl_span *span;
    sl_timer timer; /* the end of the lease */
    bool ending;    /* an acknowledgement is under way */
};

/* A topic that requests wait for. */
struct sl_qh_topic {
    sl_qh_topic *next;
    sl_queue_http *http;
    int watch;
    _Atomic bool ready;           /* set by the queue's threads */
    sl_qh_request *first, **last; /* who waits, in order */
    sl_str name;
    char text[SL_QUEUE_MAX_TOPIC_BYTES + 1];
};

struct sl_qh_request {
    sl_qh_request *next; /* of `finished`, or of those that wait for a topic */
    sl_queue_http *http;
    sl_exchange *x; /* NULL: the client has left */
    const char *method, *route;
    int status;
    uint64_t start_ns;
    json_t *params; /* of the body; may be NULL */
    bool busy;
    void (*finish)(sl_qh_request *request); /* on the loop, when what was under way is over */
    int error;
    sl_queue_accepted accepted;
    uint64_t count;
    /* Leases. */
    sl_qh_topic *waits_for;
    sl_timer timer;
    uint64_t lease_ms;
    unsigned max;
    uint64_t tokens[SL_QUEUE_HTTP_BATCH]; /* of the messages in its answer */
    unsigned token_count;
    sl_qh_delivery *delivery;
    /* Work off the loop. */
    uv_work_t work;
    sl_buf out;
    char topic[SL_QUEUE_MAX_TOPIC_BYTES + 1], id[SL_QUEUE_ID_BYTES];
};

struct sl_queue_http {
    sl_queue_http_options options;
    char *api_key;
    sl_http_server *server;
    uv_async_t async;
    size_t requests; /* alive */
    size_t waiting, leased;
    bool draining, closing, async_closed;
    void (*on_closed)(void *user);
    void *closed_user;
    sl_qh_topic *topics;
    sl_qh_delivery *deliveries[SL_QH_BUCKETS];
    pthread_mutex_t lock;
    sl_qh_request *finished; /* under the lock */
};

/* ---- queue_http.c ---- */

/* Answers; the request may be gone afterwards. `body` NULL: "null". */
void sl_qh_answer(sl_qh_request *request, int status, sl_str body);
void sl_qh_answer_json(sl_qh_request *request, int status, json_t *body);
/* {"detail": text} */
void sl_qh_fail(sl_qh_request *request, int status, const char *detail);
/* The answer to an error of the queue. */
void sl_qh_fail_error(sl_qh_request *request, int error);
/* From any thread: `finish` is called on the loop. */
void sl_qh_finished(sl_qh_request *request);
/* Parameters: of the query, else of the JSON body. False when absent or not of the kind; `*ret_bad` then tells which.
 */
bool sl_qh_text(sl_qh_request *request, const char *name, char *text, size_t size);
/* Seconds (a decimal number) as milliseconds, or `fallback`. False: it is there and no such number. */
bool sl_qh_ms(sl_qh_request *request, const char *name, uint64_t fallback, uint64_t *ret_ms);
bool sl_qh_count(sl_qh_request *request, const char *name, uint64_t fallback, uint64_t max, uint64_t *ret_count);

/* ---- queue_http_lease.c ---- */

void sl_qh_lease(sl_qh_request *request, sl_str topic);
void sl_qh_pop(sl_qh_request *request, sl_str topic);
void sl_qh_ack(sl_qh_request *request, sl_str id);
void sl_qh_nack(sl_qh_request *request, sl_str id);
void sl_qh_extend(sl_qh_request *request, sl_str id);
/* The client has gone: it waits no more; what it was to get goes back. */
void sl_qh_lease_gone(sl_qh_request *request, int outcome);
/* Gives work to those that wait, where something has become ready. */
void sl_qh_serve_waiting(sl_queue_http *http);
/* Answers all that wait, with nothing. */
void sl_qh_release_waiting(sl_queue_http *http);
void sl_qh_free_topics(sl_queue_http *http);

/* ---- queue_http_dead.c ---- */

void sl_qh_stats(sl_qh_request *request);
void sl_qh_dead_list(sl_qh_request *request, sl_str topic);
void sl_qh_dead_change(sl_qh_request *request, sl_str topic, bool requeue);

#endif
