/* One request to the queue: JSON in, JSON out. */
#ifndef SL_FLOW_WORKER_HTTP_H
#define SL_FLOW_WORKER_HTTP_H

#include <jansson.h>

#include "src/net/upstream.h"

typedef struct sl_ask sl_ask;

/* status 0: no answer came. `answer` is borrowed; NULL: none, or no JSON. Afterwards the request is gone. */
typedef void (*sl_ask_fn)(void *user, int status, json_t *answer);

typedef struct sl_ask_options {
    sl_origin *origin;
    sl_str authority; /* of the Host field */
    sl_str path;      /* "/queues/…", with its query */
    sl_str key;
    sl_str body;
    sl_str traceparent, idempotency_key; /* may be empty */
    uint32_t wait_ms;
    sl_ask_fn fn;
    void *user;
} sl_ask_options;

/* Everything is copied. NULL: no memory. */
sl_ask *sl_ask_start(const sl_ask_options *options);
/* No callback comes. NULL is accepted. */
void sl_ask_cancel(sl_ask *ask);
/* Percent-codes a segment of a path. */
int sl_ask_put_segment(sl_buf *out, sl_str text);

#endif
