/*
 * The live view: the newest traces of this process and its workers, in memory.
 *
 * Receives spans as an immediate exporter, groups them by trace id (in any order, over any number of batches), and
 * keeps the newest SL_LIVE_TRACES traces within SL_LIVE_BYTES; whole traces go, oldest first, and are counted. A trace
 * that alone takes more than a quarter of the room keeps its first spans.
 * Does not store anything on disk.
 */
#ifndef SL_VIEW_LIVE_H
#define SL_VIEW_LIVE_H

#include <sightline/sdk.h>

#include "src/base/buf.h"
#include "src/net/lite/ctl_server.h"

typedef struct sl_live sl_live;

/* Zero values are the maxima of limits.h. */
typedef struct sl_live_options {
    size_t max_traces;
    size_t max_bytes;
} sl_live_options;

/* An empty view; NULL without memory. `options` may be NULL. */
sl_live *sl_live_new(const sl_live_options *options);
/* Frees it, after the SDK and the servers that use it. NULL is accepted. */
void sl_live_free(sl_live *live);

/* The exporter that feeds it. It does not own the view. */
sl_exporter sl_live_exporter(sl_live *live);

/*
 * Whether an encoded span is to be kept, asked before anything is done with it. In a flood the newest traces push each
 * other out within moments, and reading each of them would cost more than the requests they tell of: above 5,000 spans
 * in a second only one new trace in 2, 4, 8 … is kept, chosen by its id. A burst is kept whole: this begins when half
 * of the view's bytes have come in faster than 2 MiB a second. What was decided of a trace holds for its later spans,
 * whichever process they come from, as long as it is among the last 32,768. One call at a time.
 */
bool sl_live_wants(sl_live *live, sl_str span, uint64_t now_ns);

/* Takes the spans of an ExportTraceServiceRequest. Errors: SL_EPARSE (spans before the fault are kept), SL_ENOMEM. Any
 * thread. */
SL_MUST_CHECK int sl_live_add(sl_live *live, sl_str request);

typedef struct sl_live_filter {
    size_t limit;   /* 0: 20 */
    sl_str service; /* empty: any; a trace fits when one of its spans is of this service */
} sl_live_filter;

/* Appends the JSON list of traces, newest first. `filter` may be NULL. Errors: SL_ENOMEM, SL_ELIMIT. Any thread. */
SL_MUST_CHECK int sl_live_list_json(sl_live *live, const sl_live_filter *filter, sl_buf *out);

/*
 * Appends one trace as JSON; `id` is its id in hex or the beginning of it (at least 4 digits, any case).
 * Errors: SL_ENOENT, SL_EEXIST (several traces begin so), SL_EPARSE (not hex), SL_ENOMEM, SL_ELIMIT. Any thread.
 */
SL_MUST_CHECK int sl_live_trace_json(sl_live *live, sl_str id, sl_buf *out);

typedef struct sl_live_stats {
    size_t traces;
    size_t spans;
    size_t bytes;
    uint64_t received_spans;
    uint64_t evicted_traces;
    uint64_t dropped_spans; /* of traces that were too big, or for want of memory */
    uint64_t thinned_spans; /* of traces left out in a flood: received they are not */
} sl_live_stats;
void sl_live_get_stats(sl_live *live, sl_live_stats *ret_stats);

#define SL_LIVE_ROUTES 3
/*
 * Routes of the admin listener: GET /traces?limit=&service=, GET /traces/{id}, and POST /v1/traces, by which other
 * processes of this machine send their spans (OTLP over HTTP, protobuf or JSON, also compressed by gzip). The server
 * should take bodies of SL_LIVE_POST_BYTES; none may be longer than that unpacked.
 */
void sl_live_routes(sl_live *live, sl_ctl_route ret_routes[SL_LIVE_ROUTES]);

#endif
