/* The live view from inside: how traces lie in memory. */
#ifndef SL_VIEW_LIVE_IMPL_H
#define SL_VIEW_LIVE_IMPL_H

#include <pthread.h>
#include <stdatomic.h>

#include "src/view/live.h"

#define SL_LIVE_BUCKETS 4096u /* a power of two */
#define SL_LIVE_DECIDED 4096u /* a power of two: sets of decisions */
#define SL_LIVE_WAYS 8u       /* in a set */

/* One span as it came: the OTLP Span message, behind the name of its service. */
typedef struct sl_live_span {
    struct sl_live_span *next; /* in order of arrival */
    uint32_t service_len;
    uint32_t span_len;
    char bytes[];
} sl_live_span;

typedef struct sl_live_trace {
    uint8_t id[SL_TRACE_ID_SIZE];
    struct sl_live_trace *hash_next;
    struct sl_live_trace *newer, *older; /* by the last span that came */
    sl_live_span *first, *last;
    size_t spans;
    size_t bytes;
    uint64_t start_ns, end_ns;
    bool error; /* some span has status ERROR */
} sl_live_trace;

struct sl_live {
    size_t max_traces, max_bytes; /* constant */
    pthread_mutex_t lock;         /* of all that follows */
    sl_live_trace *buckets[SL_LIVE_BUCKETS];
    sl_live_trace *newest, *oldest;
    sl_live_stats stats;
    /* Of the one that asks sl_live_wants; without the lock. */
    uint64_t flood_second;
    uint64_t flood_spans;                            /* that came in it */
    unsigned flood_shift;                            /* one new trace in 2^shift is kept */
    int64_t burst_bytes;                             /* that may still come before the share falls */
    uint64_t burst_ns;                               /* when they were counted last */
    uint32_t decided[SL_LIVE_DECIDED][SL_LIVE_WAYS]; /* of traces: 31 bits of a hash, 1: kept; newest first; 0: none */
    /* Any thread. */
    _Atomic uint64_t thinned_spans;
};

static inline sl_str sl_live_span_service(const sl_live_span *span)
{
    return sl_str_of(span->bytes, span->service_len);
}

static inline sl_str sl_live_span_message(const sl_live_span *span)
{
    return sl_str_of(span->bytes + span->service_len, span->span_len);
}

/* JSON of one trace, and its line in the list (live_json.c). The caller holds the lock. */
int sl_live_put_trace(const sl_live_trace *trace, sl_buf *out);
int sl_live_put_list(const sl_live *live, const sl_live_filter *filter, sl_buf *out);

#endif
