/*
 * A batch: items of one signal, grouped by scope, on their way to one sink; it becomes one OTLP request.
 *
 * Promises: a finished request holds at most `max_items` items and `max_bytes` bytes; an item that is larger alone is
 * cut (batch_cut.h) or refused. Knows protobuf framing, not what spans or records are.
 */
#ifndef SL_TELEMETRY_BATCH_H
#define SL_TELEMETRY_BATCH_H

#include <sightline/sdk.h>

#include "src/base/buf.h"

/* A scope as batches refer to it: one object per distinct scope, owned by the pipeline. */
typedef struct sl_batch_scope {
    sl_str scope; /* encoded InstrumentationScope */
    sl_str schema_url;
    sl_str resource; /* encoded Resource; empty: the batch's */
} sl_batch_scope;

/* A finished request in a sink's queue. `bytes` lie somewhere in `own`. */
typedef struct sl_request {
    struct sl_request *next;
    uint64_t seq;
    uint64_t made_ns; /* monotonic */
    sl_signal signal;
    size_t items;
    sl_str bytes;
    char *own;  /* freed with the request */
    size_t cap; /* of `own`, where it may serve another request; else 0 */
} sl_request;

/* A request over `bytes`, which it takes over (freed by sl_free; also on failure). NULL without memory. */
sl_request *sl_request_new(sl_signal signal, size_t items, char *bytes, size_t len);
/* NULL is accepted. */
void sl_request_free(sl_request *request);

#define SL_BATCH_MAX_SCOPES 64

typedef struct sl_batch_section {
    const sl_batch_scope *scope;
    size_t start; /* of the items: what is before them is room for the frames of a request of one section */
    sl_buf items; /* encoded items with their tags */
} sl_batch_section;

typedef struct sl_batch {
    sl_signal signal;
    sl_str resource; /* encoded Resource; not owned */
    sl_str resource_schema_url;
    size_t max_items;
    size_t max_bytes;
    size_t items;
    size_t bytes;      /* upper bound of the finished request's size */
    uint64_t first_ns; /* monotonic time of the first item */
    size_t section_count;
    size_t last;   /* section used last */
    size_t expect; /* size of the last request: the next one is likely to take as much */
    sl_batch_section sections[SL_BATCH_MAX_SCOPES];
} sl_batch;

/* An empty batch. The views must outlive it. Allocates nothing. */
void sl_batch_init(sl_batch *batch, sl_signal signal, sl_str resource, sl_str resource_schema_url, size_t max_items,
                   size_t max_bytes);
void sl_batch_done(sl_batch *batch);
/*
 * Adds an encoded Span or LogRecord. Errors: SL_EAGAIN (finish the batch first, then add again), SL_ETOOBIG (does not
 * fit into any batch, even cut), SL_ENOMEM.
 */
SL_MUST_CHECK int sl_batch_add(sl_batch *batch, const sl_batch_scope *scope, sl_str item, uint64_t now_ns);
/*
 * Makes the request and empties the batch. `*ret_request` is NULL when there was nothing in it. Errors: SL_ENOMEM; the
 * batch is then as it was.
 */
SL_MUST_CHECK int sl_batch_finish(sl_batch *batch, sl_request **ret_request);
/* Gives an empty batch memory for its next request: that of one which is done. Frees it when it is of no use. */
void sl_batch_supply(sl_batch *batch, char *data, size_t cap);
/* Throws the items away; returns how many. */
size_t sl_batch_discard(sl_batch *batch);

#endif
