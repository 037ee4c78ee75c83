/*
 * What the queue tells: a PRODUCER span `message_queue.publish` for each put, whose context travels in the message; a
 * CONSUMER span `message_queue.callback` for each delivery, its child; metrics of depth, wait, redelivery, rejection,
 * processing. A layer over queue.h: the engine itself knows nothing of it.
 *
 * Everything accepts NULL instead of a sl_queue_telemetry, and then only does the queue's part. Any thread.
 */
#ifndef SL_QUEUE_TELEMETRY_H
#define SL_QUEUE_TELEMETRY_H

#include <sightline/trace.h>

#include "src/queue/queue.h"

typedef struct sl_queue_telemetry sl_queue_telemetry;

/* Both must outlive it. Errors: SL_ENOMEM. */
SL_MUST_CHECK int sl_queue_telemetry_new(sl_sdk *sdk, sl_queue *queue, sl_queue_telemetry **ret_telemetry);
/* No put of it may be under way. NULL is accepted. */
void sl_queue_telemetry_free(sl_queue_telemetry *telemetry);
/*
 * Writes depth and age of every topic, and the commits since the last call, into the metrics: once a second from the
 * process that has the queue. (Not at a scrape: another process answers it.) One thread at a time.
 */
void sl_queue_telemetry_refresh(sl_queue_telemetry *telemetry);

/* What a QueueMessage says of itself, for the span's attributes message.type, message.action. May be empty. */
typedef struct sl_queue_about {
    sl_str type, action;
    const sl_span_context *parent; /* of the publish span; NULL: the thread's current span */
} sl_queue_about;

/*
 * sl_queue_put_start within a publish span, which ends when the message is on disk; `put->trace` is replaced by the
 * span's traceparent (without telemetry: by the parent's, when it is empty). `about` may be NULL. Errors as there.
 */
SL_MUST_CHECK int sl_queue_publish(sl_queue_telemetry *telemetry, sl_queue *queue, const sl_queue_put *put,
                                   const sl_queue_about *about, sl_queue_done_fn done, void *user);

/* A delivery begins: its span (NULL without telemetry), for the work to be a child of. Ended by the next call. */
sl_span *sl_queue_callback_start(sl_queue_telemetry *telemetry, const sl_queue_message *message);

typedef enum sl_queue_outcome {
    SL_QUEUE_ACKED,
    SL_QUEUE_RETURNED,
    SL_QUEUE_DEAD,
    SL_QUEUE_EXPIRED, /* its lease ended first */
} sl_queue_outcome;

const char *sl_queue_outcome_name(sl_queue_outcome outcome);
/* A delivery is over: ends the span. `taken_ns` as the message had it; `reason` may be empty. */
void sl_queue_callback_end(sl_queue_telemetry *telemetry, sl_span *span, sl_str topic, uint64_t taken_ns,
                           sl_queue_outcome outcome, sl_str reason);

/* A request of the queue's HTTP server is over: http.server.request.duration. Method and route are names of ours; no
 * route: NULL. */
void sl_queue_request_over(sl_queue_telemetry *telemetry, const char *method, const char *route, int status,
                           uint64_t took_ns);

#endif
