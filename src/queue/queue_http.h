/*
 * The queue over HTTP, on an event loop: LlamaDeploy's simple queue as its clients speak it, and a small protocol for
 * workers in any language. Push: a request for work is held open until there is some.
 *
 *   GET  /                                    what this is
 *   POST /topics/{topic}                      makes a topic; null
 *   POST /messages/{topic}                    a QueueMessage; null; 404 when the topic is not there
 *   GET  /messages/{topic}                    takes one and acknowledges it; the QueueMessage, or null
 *
 *   POST /queues/{topic}/messages             body: the message. Idempotency-Key, traceparent;
 *                                             ?priority=0..9&delay=SECONDS&max_deliveries=N
 *                                             201 {"id","duplicate"} when it is on disk; 429 back-pressure, 507 disk
 * full POST /queues/{topic}/lease                ?wait=SECONDS&lease=SECONDS&max=N: {"messages":[…]}, held open up to
 * `wait` POST /queues/messages/{id}/ack            ?lease=TOKEN: {"id","stats"}; 409 when the lease was over POST
 * /queues/messages/{id}/nack           &delay=SECONDS&dead=true&reason=TEXT POST /queues/messages/{id}/extend
 * &seconds=SECONDS GET  /queues                              figures of all topics, and of the disk GET
 * /queues/{topic}/dead                 ?after=ID&max=N: dead letters POST /queues/{topic}/dead/requeue, purge  ?id=ID,
 * or all: {"count"}
 *
 * Parameters of POSTs may also be members of a JSON object in the body (but for …/messages, whose body is the message).
 * Messages come as {"id","lease","topic","body","encoding","delivery","priority","idempotency_key","traceparent",
 * "lease_seconds","stats"}; `encoding` is "utf-8" or "base64". `traceparent` is that of the delivery's span: what the
 * worker does with it is a part of the producer's trace. Errors: {"detail"}.
 *
 * Everything here is for the loop's own thread.
 */
#ifndef SL_QUEUE_HTTP_H
#define SL_QUEUE_HTTP_H

#include "src/net/loop.h"
#include "src/queue/queue.h"
#include "src/queue/queue_telemetry.h"

typedef struct sl_queue_http sl_queue_http;

/* What becomes of a message that was delivered before. */
typedef enum sl_queue_again {
    SL_QUEUE_AGAIN_GIVE = 0, /* the worker gets it, with another body when there is one */
    SL_QUEUE_AGAIN_KEPT      /* the user has it, frees it and ends its delivery */
} sl_queue_again;

typedef struct sl_queue_http_options {
    sl_loop *loop;
    sl_queue *queue;               /* outlives it */
    sl_queue_telemetry *telemetry; /* may be NULL */
    const char *api_key;           /* Authorization: Bearer KEY or X-API-Key; NULL or empty: none is asked for */
    uint32_t lease_ms;             /* when the worker does not say; 30 s when 0 */
    size_t max_body_bytes;         /* SL_QUEUE_MAX_BODY_BYTES when 0 */
    /* Messages that workers are not to have, by topic, key and time of the put: those that wait are ended when their
     * turn comes, and who has one is told so when it extends its lease. On the loop's thread. May be NULL. */
    bool (*is_unwanted)(void *user, sl_str topic, sl_str key, uint64_t put_ns);
    /* Before a message that was delivered before goes to a worker. `*ret_body` (of malloc; left alone: its own) is what
     * the worker gets in the place of its body. On the loop's thread. May be NULL. */
    sl_queue_again (*again)(void *user, sl_queue_message *message, char **ret_body);
    void *user;
    size_t max_leased; /* deliveries to workers at once; SL_QUEUE_HTTP_LEASED when 0 */
} sl_queue_http_options;

/* Errors: SL_ENOMEM, SL_EIO. */
SL_MUST_CHECK int sl_queue_http_new(const sl_queue_http_options *options, sl_queue_http **ret_http);
/* As sl_http_server_listen. */
SL_MUST_CHECK int sl_queue_http_listen(sl_queue_http *http, int fd);
/* Stops accepting and answers what is held open; `on_drained` (may be NULL) once when no connection is left. */
void sl_queue_http_drain(sl_queue_http *http, void (*on_drained)(void *user), void *user);
/*
 * Closes everything at once. What is under way to the disk goes on; the memory goes, and `on_closed` (may be NULL) is
 * called, when it is over: run the loop until then, and close the queue after that.
 */
void sl_queue_http_close(sl_queue_http *http, void (*on_closed)(void *user), void *user);

#endif
