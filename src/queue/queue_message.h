/*
 * LlamaDeploy's QueueMessage as the body of a queue's message: checked when it is put, its id and its QueueMessageStats
 * filled in when it is delivered. Times are RFC 3339 in UTC with microseconds.
 */
#ifndef SL_QUEUE_MESSAGE_H
#define SL_QUEUE_MESSAGE_H

#include <jansson.h>
#include <sightline/context.h>

#include "src/queue/queue.h"

#define SL_QUEUE_TIME_LEN 27 /* 2025-11-14T10:30:45.123456Z */

/* Writes UTC time with microseconds and a NUL. */
void sl_queue_time(uint64_t unix_ns, char ret_text[SL_QUEUE_TIME_LEN + 1]);

/* What is read from a QueueMessage; views into the JSON. */
typedef struct sl_queue_message_head {
    sl_str id, type, action;
    bool has_parent; /* stats.trace_id and span_id are ids */
    sl_span_context parent;
} sl_queue_message_head;

/* Checks the fields that are there (facts of their types). SL_EPARSE with a text for people. */
SL_MUST_CHECK int sl_queue_message_check(const json_t *message, sl_queue_message_head *ret_head, const char **ret_why);

/* publish_time, process_start_time, process_end_time (null when `end_ns` is 0), trace_id, span_id. New reference. */
json_t *sl_queue_message_stats(const sl_queue_message *m, uint64_t end_ns);

/*
 * The QueueMessage of a delivery: what the producer wrote, with `id_`, `publisher_id`, `data`, `action`, `type` where
 * it left them out, and the stats of the queue. A body that is no JSON object becomes {"body": text} in `data`. New
 * reference; NULL without memory.
 */
json_t *sl_queue_message_json(const sl_queue_message *m, uint64_t end_ns);

#endif
