/* Reading of new stream and series records into the collector's merged metrics and points. */
#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/hash.h"
#include "src/base/mem.h"
#include "src/telemetry/collect_impl.h"
#include "src/telemetry/scope.h"

/* ---- Metrics ---- */

/* What tells metrics apart: everything but the description. */
typedef struct metric_key {
    uint64_t hash;
    sl_str scope;
    sl_str schema_url;
    const sl_stream_view *stream;
} metric_key;

static metric_key key_of(const sl_segment *segment, const sl_stream_view *stream)
{
    SL_ASSERT(segment && stream->name.len > 0);
    metric_key key = {0, {NULL, 0}, {NULL, 0}, stream};
    sl_str name;
    if (sl_scope_find(segment, stream->scope, &key.scope, &key.schema_url, &name))
        key.scope = key.schema_url = sl_str_of(NULL, 0);
    key.hash = sl_hash_str(stream->name) ^ sl_hash_bytes(key.scope.ptr, key.scope.len, 1) ^
               sl_hash_bytes(stream->bounds, stream->bound_count * sizeof(double), 2 + (uint64_t)stream->kind);
    return key;
}

static bool is_same(const sl_metric *m, const metric_key *key)
{
    SL_ASSERT(m && key);
    const sl_stream_view *s = key->stream;
    return m->hash == key->hash && m->kind == s->kind && m->is_double == ((s->flags & SL_STREAM_DOUBLE) != 0) &&
           m->bound_count == s->bound_count && sl_str_eq(m->name, s->name) && sl_str_eq(m->unit, s->unit) &&
           sl_str_eq(m->scope, key->scope) && sl_str_eq(m->schema_url, key->schema_url) &&
           (m->bound_count == 0 || memcmp(m->bounds, s->bounds, m->bound_count * sizeof(double)) == 0);
}

static sl_str keep(char **at, sl_str text)
{
    SL_ASSERT(at && (text.ptr || !text.len));
    sl_str kept = sl_str_of(*at, text.len);
    if (text.len)
        memcpy(*at, text.ptr, text.len);
    *at += text.len;
    return kept;
}

static sl_metric *metric_new(const metric_key *key)
{
    SL_ASSERT(key->stream->bound_count <= SL_MAX_BOUNDS);
    const sl_stream_view *s = key->stream;
    size_t bounds_size = s->bound_count * sizeof(double);
    sl_metric *m = sl_calloc(1, sizeof *m);
    char *at = sl_malloc(bounds_size + s->name.len + s->unit.len + s->description.len + key->scope.len +
                         key->schema_url.len + 1);
    if (!m || !at) {
        sl_free(m);
        sl_free(at);
        return NULL;
    }
    m->bytes = at;
    m->bounds = (double *)(void *)at;
    if (bounds_size)
        memcpy(m->bounds, s->bounds, bounds_size);
    at += bounds_size;
    m->hash = key->hash;
    m->kind = s->kind;
    m->is_double = (s->flags & SL_STREAM_DOUBLE) != 0;
    m->native = (s->flags & SL_STREAM_NATIVE) != 0;
    m->bound_count = s->bound_count;
    m->name = keep(&at, s->name);
    m->unit = keep(&at, s->unit);
    m->description = keep(&at, s->description);
    m->scope = keep(&at, key->scope);
    m->schema_url = keep(&at, key->schema_url);
    return m;
}

static sl_metric *metric_of(sl_collector *collector, const sl_segment *segment, const sl_stream_view *stream)
{
    SL_ASSERT(collector && stream);
    metric_key key = key_of(segment, stream);
    for (sl_metric *m = collector->metrics; m; m = m->next) {
        if (is_same(m, &key))
            return m;
    }
    sl_metric *m = metric_new(&key);
    if (!m)
        return NULL;
    m->next = collector->metrics;
    collector->metrics = m;
    collector->metric_count++;
    collector->generation++;
    sl_free(collector->sorted);
    collector->sorted = NULL;
    return m;
}

/* ---- Known streams of one segment ---- */

/* Index of the first known stream whose offset is not below. */
static size_t lower_bound(const sl_reader *reader, uint64_t offset)
{
    SL_ASSERT(reader->stream_count <= reader->stream_cap);
    size_t low = 0, high = reader->stream_count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        if (reader->streams[middle].offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int add_stream(sl_collector *collector, sl_reader *reader, uint64_t offset)
{
    SL_ASSERT(offset != 0);
    sl_stream_view view;
    size_t at = lower_bound(reader, offset);
    bool known = at < reader->stream_count && reader->streams[at].offset == offset;
    if (known || reader->stream_count >= SL_MAX_COLLECTED_STREAMS ||
        !sl_stream_record_read(reader->segment, offset, &view))
        return 0;
    if (reader->stream_count == reader->stream_cap) {
        size_t cap = reader->stream_cap ? 2 * reader->stream_cap : 32;
        sl_known_stream *grown = sl_realloc(reader->streams, cap * sizeof *grown);
        if (!grown)
            return SL_ENOMEM;
        reader->streams = grown;
        reader->stream_cap = cap;
    }
    sl_metric *metric = metric_of(collector, reader->segment, &view);
    if (!metric)
        return SL_ENOMEM;
    memmove(reader->streams + at + 1, reader->streams + at, (reader->stream_count - at) * sizeof *reader->streams);
    reader->streams[at] = (sl_known_stream){offset, metric};
    reader->stream_count++;
    return 0;
}

/* ---- Points ---- */

static bool grow_table(sl_collector *collector)
{
    SL_ASSERT((collector->table_size & (collector->table_size - 1)) == 0);
    if (collector->point_count < collector->table_size)
        return true;
    size_t size = collector->table_size ? 2 * collector->table_size : 256;
    sl_point **table = sl_calloc(size, sizeof *table);
    if (!table)
        return false;
    for (size_t i = 0; i < collector->table_size; i++) {
        for (sl_point *p = collector->table[i], *next; p; p = next) {
            next = p->next;
            p->next = table[p->hash & (size - 1)];
            table[p->hash & (size - 1)] = p;
        }
    }
    sl_free(collector->table);
    collector->table = table;
    collector->table_size = size;
    return true;
}

static bool reserve_point(sl_metric *metric)
{
    SL_ASSERT(metric->point_count <= metric->point_cap);
    if (metric->point_count < metric->point_cap)
        return true;
    size_t cap = metric->point_cap ? 2 * metric->point_cap : 8;
    sl_point **grown = sl_realloc(metric->points, cap * sizeof *grown);
    if (!grown)
        return false;
    metric->points = grown;
    metric->point_cap = cap;
    return true;
}

static sl_point *point_new(sl_collector *collector, sl_metric *metric, const sl_series_view *series, uint64_t hash)
{
    SL_ASSERT(metric && series);
    if (!grow_table(collector) || !reserve_point(metric))
        return NULL;
    sl_point *p = sl_calloc(1, sizeof *p + series->attrs.len + series->labels.len);
    if (!p)
        return NULL;
    char *at = p->bytes;
    p->metric = metric;
    p->hash = hash;
    p->start_ns = series->start_ns;
    p->attrs = keep(&at, series->attrs);
    p->labels = keep(&at, series->labels);
    p->next = collector->table[hash & (collector->table_size - 1)];
    collector->table[hash & (collector->table_size - 1)] = p;
    metric->points[metric->point_count++] = p;
    metric->sorted = false;
    collector->point_count++;
    collector->generation++;
    return p;
}

/* The point of a series, made when it is new. NULL without memory or beyond the limit. */
static sl_point *point_of(sl_collector *collector, sl_metric *metric, const sl_series_view *series)
{
    SL_ASSERT(series && collector);
    uint64_t hash = sl_hash_bytes(series->attrs.ptr, series->attrs.len, (uint64_t)(uintptr_t)metric);
    sl_point *p = collector->table_size ? collector->table[hash & (collector->table_size - 1)] : NULL;
    for (; p; p = p->next) {
        if (p->hash == hash && p->metric == metric && sl_str_eq(p->attrs, series->attrs))
            return p;
    }
    return collector->point_count < SL_MAX_POINTS ? point_new(collector, metric, series, hash) : NULL;
}

static int add_source(sl_point *point, const sl_source *source)
{
    SL_ASSERT(point->source_count <= point->source_cap);
    for (uint32_t i = 0; i < point->source_count; i++) {
        if (point->sources[i].segment == source->segment && point->sources[i].cell == source->cell)
            return 0; /* seen already */
    }
    if (point->source_count == point->source_cap) {
        uint32_t cap = point->source_cap ? 2 * point->source_cap : 1;
        sl_source *grown = sl_realloc(point->sources, cap * sizeof *grown);
        if (!grown)
            return SL_ENOMEM;
        point->sources = grown;
        point->source_cap = cap;
    }
    point->sources[point->source_count++] = *source;
    return 0;
}

static int add_series(sl_collector *collector, sl_reader *reader, uint64_t offset)
{
    SL_ASSERT(offset != 0);
    sl_series_view series;
    sl_stream_view stream;
    if (!sl_series_record_read(reader->segment, offset, &series) ||
        !sl_stream_record_read(reader->segment, series.stream, &stream))
        return 0;
    size_t at = lower_bound(reader, series.stream);
    if (at == reader->stream_count || reader->streams[at].offset != series.stream)
        return 0;
    sl_metric *metric = reader->streams[at].metric;
    /* The record may have changed since the metric was made from it: the cells must fit what the metric says. */
    stream.kind = metric->kind;
    stream.bound_count = metric->bound_count;
    if (!sl_series_fits(reader->segment, &stream, &series))
        return 0;
    sl_point *point = point_of(collector, metric, &series);
    if (!point)
        return collector->point_count < SL_MAX_POINTS ? SL_ENOMEM : 0;
    if (series.start_ns < point->start_ns)
        point->start_ns = series.start_ns;
    bool exemplars = metric->kind == SL_HISTOGRAM && (series.flags & SL_SERIES_EXEMPLARS);
    sl_source source = {reader->segment, series.cell,
                        exemplars ? series.cell + sl_histogram_exemplars(metric->bound_count) : 0};
    return add_source(point, &source);
}

/* ---- Refreshing ---- */

typedef int (*add_fn)(sl_collector *collector, sl_reader *reader, uint64_t offset);

static int read_list(sl_collector *collector, sl_reader *reader, uint64_t head, uint64_t *seen, add_fn add)
{
    SL_ASSERT(reader->segment && seen);
    size_t steps = 0;
    for (uint64_t at = head; at && at != *seen && steps < SL_MAX_RECORD_STEPS; steps++) {
        int error = add(collector, reader, at);
        if (error)
            return error;
        at = sl_record_next(reader->segment, at);
    }
    *seen = head;
    return 0;
}

int sl_collector_refresh(sl_collector *collector)
{
    SL_ASSERT(collector->reader_count <= SL_MAX_SEGMENTS);
    for (size_t i = 0; i < collector->reader_count; i++) {
        sl_reader *r = &collector->readers[i];
        /* Series first: the stream of every series below this head is below the other. */
        uint64_t series = sl_segment_head(r->segment, SL_LIST_SERIES);
        uint64_t streams = sl_segment_head(r->segment, SL_LIST_STREAMS);
        int error = read_list(collector, r, streams, &r->streams_seen, add_stream);
        if (!error)
            error = read_list(collector, r, series, &r->series_seen, add_series);
        if (error)
            return error;
    }
    return 0;
}

/* ---- Order ---- */

static int compare_str(sl_str a, sl_str b)
{
    SL_ASSERT((a.ptr || !a.len) && (b.ptr || !b.len));
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len ? memcmp(a.ptr, b.ptr, len) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int compare_metrics(const void *a, const void *b)
{
    const sl_metric *x = *(sl_metric *const *)a, *y = *(sl_metric *const *)b;
    int order = compare_str(x->scope, y->scope);
    if (!order)
        order = compare_str(x->schema_url, y->schema_url);
    return order ? order : compare_str(x->name, y->name);
}

static int compare_points(const void *a, const void *b)
{
    return compare_str((*(sl_point *const *)a)->attrs, (*(sl_point *const *)b)->attrs);
}

sl_metric **sl_collector_sorted(sl_collector *collector)
{
    SL_ASSERT(collector);
    for (sl_metric *m = collector->metrics; m; m = m->next) {
        if (!m->sorted && m->point_count)
            qsort(m->points, m->point_count, sizeof *m->points, compare_points);
        m->sorted = true;
    }
    if (collector->sorted)
        return collector->sorted;
    sl_metric **sorted = sl_calloc(collector->metric_count + 1, sizeof *sorted);
    if (!sorted)
        return NULL;
    size_t count = 0;
    for (sl_metric *m = collector->metrics; m; m = m->next)
        sorted[count++] = m;
    qsort(sorted, count, sizeof *sorted, compare_metrics);
    collector->sorted = sorted;
    return sorted;
}
