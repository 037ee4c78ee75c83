/* The live view: keeping and finding traces. */
#include "src/view/live.h"

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/hash.h"
#include "src/base/mem.h"
#include "src/view/live_impl.h"
#include "src/wire/otlp_read.h"

#define FLOOD_SPANS 5000u              /* spans a second that are all kept */
#define FLOOD_BYTES (2u * 1024 * 1024) /* a second, by which room for a burst grows back */
#define MAX_SHIFT 7u                   /* at least one trace in 128 is */
#define MAX_SERVICE_BYTES 255
#define MIN_PREFIX 4

sl_live *sl_live_new(const sl_live_options *options)
{
    sl_live *live = sl_calloc(1, sizeof *live);
    if (!live)
        return NULL;
    live->max_traces = options && options->max_traces ? options->max_traces : SL_LIVE_TRACES;
    live->max_bytes = options && options->max_bytes ? options->max_bytes : SL_LIVE_BYTES;
    pthread_mutex_init(&live->lock, NULL);
    return live;
}

static void free_trace(sl_live_trace *trace)
{
    SL_ASSERT(trace);
    while (trace->first) {
        sl_live_span *next = trace->first->next;
        sl_free(trace->first);
        trace->first = next;
    }
    sl_free(trace);
}

void sl_live_free(sl_live *live)
{
    if (!live)
        return;
    while (live->newest) {
        sl_live_trace *older = live->newest->older;
        free_trace(live->newest);
        live->newest = older;
    }
    pthread_mutex_destroy(&live->lock);
    sl_free(live);
}

/* ---- the list and the table ---- */

static sl_live_trace **bucket_of(sl_live *live, const uint8_t *id)
{
    SL_ASSERT(live);
    return &live->buckets[sl_hash_bytes(id, SL_TRACE_ID_SIZE, 0) & (SL_LIVE_BUCKETS - 1)];
}

static sl_live_trace *find(sl_live *live, const uint8_t *id)
{
    sl_live_trace *trace = *bucket_of(live, id);
    while (trace && memcmp(trace->id, id, SL_TRACE_ID_SIZE) != 0)
        trace = trace->hash_next;
    return trace;
}

static void unlink_from_list(sl_live *live, sl_live_trace *trace)
{
    SL_ASSERT(trace);
    if (trace->newer)
        trace->newer->older = trace->older;
    else
        live->newest = trace->older;
    if (trace->older)
        trace->older->newer = trace->newer;
    else
        live->oldest = trace->newer;
    trace->newer = trace->older = NULL;
}

static void put_in_front(sl_live *live, sl_live_trace *trace)
{
    SL_ASSERT(trace && live);
    trace->older = live->newest;
    if (live->newest)
        live->newest->newer = trace;
    else
        live->oldest = trace;
    live->newest = trace;
}

static void remove_trace(sl_live *live, sl_live_trace *trace)
{
    SL_ASSERT(trace && live);
    sl_live_trace **at = bucket_of(live, trace->id);
    while (*at != trace)
        at = &(*at)->hash_next;
    *at = trace->hash_next;
    unlink_from_list(live, trace);
    live->stats.traces--;
    live->stats.spans -= trace->spans;
    live->stats.bytes -= trace->bytes;
    free_trace(trace);
}

/* Makes room; the newest trace stays in any case. */
static void evict(sl_live *live)
{
    SL_ASSERT(live);
    while (live->oldest != live->newest &&
           (live->stats.traces > live->max_traces || live->stats.bytes > live->max_bytes)) {
        remove_trace(live, live->oldest);
        live->stats.evicted_traces++;
    }
}

/* ---- receiving ---- */

/* The trace of an id, made when it is new, in front of the list. NULL without memory. */
static sl_live_trace *touch(sl_live *live, const uint8_t *id)
{
    sl_live_trace *trace = find(live, id);
    if (trace) {
        unlink_from_list(live, trace);
        put_in_front(live, trace);
        return trace;
    }
    trace = sl_calloc(1, sizeof *trace);
    if (!trace)
        return NULL;
    memcpy(trace->id, id, SL_TRACE_ID_SIZE);
    trace->bytes = sizeof *trace;
    sl_live_trace **bucket = bucket_of(live, id);
    trace->hash_next = *bucket;
    *bucket = trace;
    put_in_front(live, trace);
    live->stats.traces++;
    live->stats.bytes += trace->bytes;
    return trace;
}

static void append(sl_live *live, sl_live_trace *trace, sl_live_span *kept, const sl_otlp_span *span)
{
    SL_ASSERT(kept && trace && span && live);
    size_t size = sizeof *kept + kept->service_len + kept->span_len;
    if (trace->last)
        trace->last->next = kept;
    else
        trace->first = kept;
    trace->last = kept;
    if (trace->spans == 0 || span->start_ns < trace->start_ns)
        trace->start_ns = span->start_ns;
    if (span->end_ns > trace->end_ns)
        trace->end_ns = span->end_ns;
    trace->error |= span->status_code == SL_STATUS_ERROR;
    trace->spans++;
    trace->bytes += size;
    live->stats.spans++;
    live->stats.bytes += size;
}

/* Keeps one span. The caller holds the lock. */
static int keep(sl_live *live, sl_str service, const sl_otlp_span *span)
{
    SL_ASSERT(live && span && (service.ptr || !service.len));
    live->stats.received_spans++;
    if (span->trace_id.len != SL_TRACE_ID_SIZE || span->span_id.len != SL_SPAN_ID_SIZE) {
        live->stats.dropped_spans++;
        return SL_EPARSE;
    }
    sl_live_trace *trace = touch(live, (const uint8_t *)span->trace_id.ptr);
    size_t size = sizeof(sl_live_span) + service.len + span->self.len;
    if (trace && trace->bytes + size > live->max_bytes / 4) {
        live->stats.dropped_spans++; /* one trace must not push all others out */
        if (trace->spans == 0)
            remove_trace(live, trace);
        return 0;
    }
    sl_live_span *kept = trace ? sl_malloc(size) : NULL;
    if (!kept) {
        live->stats.dropped_spans++;
        if (trace && trace->spans == 0)
            remove_trace(live, trace);
        return SL_ENOMEM;
    }
    kept->next = NULL;
    kept->service_len = (uint32_t)service.len;
    kept->span_len = (uint32_t)span->self.len;
    if (service.len)
        memcpy(kept->bytes, service.ptr, service.len);
    memcpy(kept->bytes + service.len, span->self.ptr, span->self.len);
    append(live, trace, kept, span);
    evict(live);
    return 0;
}

static sl_str service_of(sl_str resource)
{
    sl_otlp_any any;
    if (sl_otlp_find_attr(resource, SL_OTLP_RESOURCE_ATTRS, SL_STR("service.name"), &any) != 0 ||
        any.type != SL_VALUE_STRING)
        return sl_str_of(NULL, 0);
    return sl_str_sub(any.str, 0, sl_utf8_prefix(any.str, MAX_SERVICE_BYTES));
}

/* Once a second the share is set anew by what came in the last one. */
static void pace(sl_live *live, uint64_t now_ns)
{
    uint64_t second = now_ns / 1000000000u;
    if (second == live->flood_second)
        return;
    while (live->flood_shift > 0 && live->flood_spans <= (uint64_t)FLOOD_SPANS << (live->flood_shift - 1))
        live->flood_shift--;
    live->flood_second = second;
    live->flood_spans = 0;
}

/* Room for a burst grows back with time. */
static void grow_back(sl_live *live, uint64_t now_ns)
{
    int64_t most = (int64_t)(live->max_bytes / 2);
    uint64_t ns = now_ns > live->burst_ns ? now_ns - live->burst_ns : 0;
    if (!live->burst_ns || ns > 60000000000u)
        live->burst_bytes = most;
    else
        live->burst_bytes += (int64_t)(ns * (FLOOD_BYTES >> 10) / (1000000000u >> 10));
    if (live->burst_bytes > most)
        live->burst_bytes = most;
    live->burst_ns = now_ns > live->burst_ns ? now_ns : live->burst_ns;
}

/* Whether a trace is kept: as was decided at its first span, or by the share of now. */
static bool decide(sl_live *live, const uint8_t *id)
{
    SL_ASSERT(live && id);
    uint64_t hash = sl_hash_bytes(id, SL_TRACE_ID_SIZE, 1);
    uint32_t *set = live->decided[hash & (SL_LIVE_DECIDED - 1)], key = (uint32_t)(hash >> 32) | 1u, found = 0;
    size_t way = 0;
    while (way < SL_LIVE_WAYS - 1 && (set[way] | 1u) != key)
        way++;
    if ((set[way] | 1u) == key)
        found = set[way];
    else
        found = (id[SL_TRACE_ID_SIZE - 1] & ((1u << live->flood_shift) - 1u)) == 0 ? key : key & ~1u;
    memmove(set + 1, set, way * sizeof *set); /* the oldest goes */
    set[0] = found;
    return found & 1u;
}

bool sl_live_wants(sl_live *live, sl_str span, uint64_t now_ns)
{
    SL_ASSERT(live && (span.ptr || !span.len));
    /* The recorder writes the trace id first: tag 0x0a, length 16. */
    if (span.len < 2 + SL_TRACE_ID_SIZE || span.ptr[0] != 0x0a || span.ptr[1] != SL_TRACE_ID_SIZE)
        return true;
    pace(live, now_ns);
    if (live->burst_ns != now_ns)
        grow_back(live, now_ns);
    live->flood_spans++;
    if (live->burst_bytes <= 0 && live->flood_spans > (uint64_t)FLOOD_SPANS << live->flood_shift &&
        live->flood_shift < MAX_SHIFT)
        live->flood_shift++;
    if (decide(live, (const uint8_t *)span.ptr + 2)) {
        live->burst_bytes -= live->burst_bytes > -(int64_t)FLOOD_BYTES ? (int64_t)span.len : 0;
        return true;
    }
    uint64_t thinned = atomic_load_explicit(&live->thinned_spans, memory_order_relaxed);
    atomic_store_explicit(&live->thinned_spans, thinned + 1, memory_order_relaxed); /* nobody else writes it */
    return false;
}

int sl_live_add(sl_live *live, sl_str request)
{
    SL_ASSERT(live);
    int error = 0;
    const char *resource = NULL;
    sl_str service = {NULL, 0};
    sl_otlp_records records = sl_otlp_records_of(request);
    pthread_mutex_lock(&live->lock);
    while (sl_otlp_records_next(&records)) {
        sl_otlp_span span;
        if (records.resource.self.ptr != resource) {
            resource = records.resource.self.ptr;
            service = service_of(records.resource.head);
        }
        int result = sl_otlp_read_span(records.item, &span);
        if (result == 0)
            result = keep(live, service, &span);
        if (!error)
            error = result;
    }
    pthread_mutex_unlock(&live->lock);
    return error ? error : records.error;
}

static int deliver(void *user, sl_signal signal, sl_str request, size_t items, uint64_t timeout_ms,
                   uint64_t *ret_retry_after_ms, uint64_t *ret_rejected)
{
    (void)items, (void)timeout_ms, (void)ret_retry_after_ms, (void)ret_rejected;
    return signal == SL_SIGNAL_TRACES ? sl_live_add(user, request) : SL_EINVAL;
}

static bool wants(void *user, sl_signal signal, sl_str item)
{
    return signal == SL_SIGNAL_TRACES && sl_live_wants(user, item, sl_now_coarse_ns());
}

sl_exporter sl_live_exporter(sl_live *live)
{
    SL_ASSERT(live);
    sl_exporter exporter;
    memset(&exporter, 0, sizeof exporter);
    exporter.name = "live view";
    exporter.user = live;
    exporter.signals = SL_SIGNAL_BIT(SL_SIGNAL_TRACES);
    exporter.deliver = deliver;
    exporter.immediate = true;
    exporter.wants = wants;
    return exporter;
}

/* ---- asking ---- */

int sl_live_list_json(sl_live *live, const sl_live_filter *filter, sl_buf *out)
{
    static const sl_live_filter all = {0, {NULL, 0}};
    SL_ASSERT(live && out);
    pthread_mutex_lock(&live->lock);
    int error = sl_live_put_list(live, filter ? filter : &all, out);
    pthread_mutex_unlock(&live->lock);
    return error;
}

/* The one trace whose id begins with these hex digits (lower case). */
static int find_prefix(const sl_live *live, sl_str digits, const sl_live_trace **ret_trace)
{
    SL_ASSERT(live && ret_trace && (digits.ptr || !digits.len));
    const sl_live_trace *found = NULL;
    for (const sl_live_trace *t = live->newest; t; t = t->older) {
        char hex[2 * SL_TRACE_ID_SIZE];
        sl_hex_encode(t->id, SL_TRACE_ID_SIZE, hex);
        if (memcmp(hex, digits.ptr, digits.len) != 0)
            continue;
        if (found)
            return SL_EEXIST;
        found = t;
    }
    *ret_trace = found;
    return found ? 0 : SL_ENOENT;
}

int sl_live_trace_json(sl_live *live, sl_str id, sl_buf *out)
{
    SL_ASSERT(live && out);
    char digits[2 * SL_TRACE_ID_SIZE];
    if (id.len < MIN_PREFIX || id.len > sizeof digits)
        return SL_EPARSE;
    for (size_t i = 0; i < id.len; i++) {
        digits[i] = sl_ascii_lower(id.ptr[i]);
        bool is_digit = (digits[i] >= '0' && digits[i] <= '9') || (digits[i] >= 'a' && digits[i] <= 'f');
        if (!is_digit)
            return SL_EPARSE;
    }
    const sl_live_trace *trace = NULL;
    pthread_mutex_lock(&live->lock);
    int error = find_prefix(live, sl_str_of(digits, id.len), &trace);
    if (!error)
        error = sl_live_put_trace(trace, out);
    pthread_mutex_unlock(&live->lock);
    return error;
}

void sl_live_get_stats(sl_live *live, sl_live_stats *ret_stats)
{
    SL_ASSERT(live && ret_stats);
    pthread_mutex_lock(&live->lock);
    *ret_stats = live->stats;
    ret_stats->thinned_spans = atomic_load_explicit(&live->thinned_spans, memory_order_relaxed);
    pthread_mutex_unlock(&live->lock);
}
