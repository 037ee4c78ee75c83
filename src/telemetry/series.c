/* Streams and their series: binding, cardinality, what is found in a segment of an earlier process. */
#include <math.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/hash.h"
#include "src/base/mem.h"
#include "src/telemetry/prom_name.h"
#include "src/telemetry/registry.h"

/* ---- The table ---- */

/* Slot of a set of attributes: its own, or the free one where it belongs. */
static sl_stream_series **find_slot(const sl_stream *stream, sl_str attrs, uint64_t hash)
{
    SL_ASSERT(stream->table_size > stream->series_count);
    size_t mask = stream->table_size - 1;
    for (size_t i = hash & mask;; i = (i + 1) & mask) {
        sl_stream_series *s = stream->table[i];
        if (!s || (s->hash == hash && sl_str_eq(sl_str_of((const char *)s->attrs, s->attrs_len), attrs)))
            return &stream->table[i];
    }
}

/* Keeps the table at most half full. */
static bool grow_table(sl_stream *stream)
{
    SL_ASSERT((stream->table_size & (stream->table_size - 1)) == 0);
    if (stream->table_size > 2 * (stream->series_count + 1))
        return true;
    size_t size = stream->table_size ? 2 * stream->table_size : 8;
    sl_stream_series **old = stream->table, **table = sl_calloc(size, sizeof *table);
    if (!table)
        return false;
    size_t old_size = stream->table_size;
    stream->table = table;
    stream->table_size = size;
    for (size_t i = 0; i < old_size; i++) {
        if (old[i])
            *find_slot(stream, sl_str_of((const char *)old[i]->attrs, old[i]->attrs_len), old[i]->hash) = old[i];
    }
    sl_free(old);
    return true;
}

/* ---- Series ---- */

static sl_record_op op_of(sl_instrument_kind kind, bool is_double)
{
    switch (kind) {
    case SL_COUNTER:
        return is_double ? SL_OP_COUNTER_DOUBLE : SL_OP_COUNTER;
    case SL_UPDOWN_COUNTER:
        return is_double ? SL_OP_UPDOWN_DOUBLE : SL_OP_UPDOWN;
    case SL_GAUGE:
        return is_double ? SL_OP_GAUGE_DOUBLE : SL_OP_GAUGE;
    case SL_HISTOGRAM:
    default:
        return SL_OP_HISTOGRAM;
    }
}

static sl_stream_series *series_alloc(sl_str attrs, uint64_t hash)
{
    SL_ASSERT(attrs.len <= SL_MAX_ATTR_SET_BYTES);
    sl_stream_series *s = sl_calloc(1, sizeof *s + attrs.len);
    if (!s)
        return NULL;
    s->hash = hash;
    s->attrs_len = (uint32_t)attrs.len;
    if (attrs.len)
        memcpy(s->attrs, attrs.ptr, attrs.len);
    return s;
}

static void fill_handle(sl_series *h, const sl_instrument *instrument, const sl_stream *stream, uint32_t cell,
                        bool exemplars)
{
    SL_ASSERT(stream->padded % 4 == 0);
    const sl_registry *registry = instrument->registry;
    h->segment = registry->segment;
    h->recording = &registry->sdk->recording;
    h->op = (uint8_t)op_of(instrument->kind, instrument->is_double);
    h->bounds = stream->bounds;
    h->padded = stream->padded;
    h->cell = cell;
    h->exemplars = (uint8_t)registry->exemplars;
    h->exemplar_cell = exemplars ? cell + sl_histogram_exemplars(stream->bound_count) : 0;
}

static uint32_t exemplar_cells_of(const sl_stream *stream)
{
    SL_ASSERT(stream->bound_count <= SL_MAX_BOUNDS);
    return (stream->bound_count + 1) * SL_EXEMPLAR_CELLS;
}

/* True when there is still room for this series' exemplars; they may take a quarter of the cells. */
static bool take_exemplar_cells(sl_instrument *instrument, const sl_stream *stream)
{
    sl_registry *registry = instrument->registry;
    if (instrument->kind != SL_HISTOGRAM || registry->exemplars == SL_EXEMPLARS_ALWAYS_OFF)
        return false;
    uint32_t need = exemplar_cells_of(stream);
    uint32_t used = atomic_fetch_add(&registry->exemplar_cells, need);
    if (used + need <= sl_segment_cell_count(registry->segment) / 4)
        return true;
    atomic_fetch_sub(&registry->exemplar_cells, need);
    return false;
}

/* Reserves cells, writes the record, and prepares the handle. Nothing is published. Errors: SL_ELIMIT. */
static int place_series(sl_instrument *instrument, const sl_stream *stream, sl_stream_series *s, sl_str labels,
                        uint32_t flags, uint64_t *ret_record)
{
    SL_ASSERT(stream->record != 0 && ret_record);
    sl_segment *segment = instrument->registry->segment;
    bool exemplars = !(flags & SL_SERIES_OVERFLOW) && take_exemplar_cells(instrument, stream);
    uint32_t cell;
    int error =
        sl_segment_alloc_cells(segment, sl_series_cells(instrument->kind, stream->bound_count, exemplars), &cell);
    if (error && exemplars) {
        exemplars = false;
        atomic_fetch_sub(&instrument->registry->exemplar_cells, exemplar_cells_of(stream));
        error = sl_segment_alloc_cells(segment, sl_series_cells(instrument->kind, stream->bound_count, false), &cell);
    }
    if (error)
        return error;
    sl_series_view view = {
        .stream = stream->record,
        .start_ns = sl_now_ns(),
        .cell = cell,
        .flags = flags | (exemplars ? SL_SERIES_EXEMPLARS : 0),
        .attrs = sl_str_of((const char *)s->attrs, s->attrs_len),
        .labels = labels,
    };
    error = sl_series_record_new(segment, &view, ret_record);
    if (!error)
        fill_handle(&s->handle, instrument, stream, cell, exemplars);
    return error;
}

/* Renders the labels of a set into the instrument's scratch buffer, those of the scope behind them. */
static int render_labels(sl_instrument *instrument, const sl_stream *stream, const sl_attr_set *set)
{
    SL_ASSERT(instrument->meter->scope_labels);
    sl_buf *out = &instrument->labels;
    sl_buf_clear(out);
    int error = sl_attr_set_labels(set, instrument->kind == SL_HISTOGRAM ? "le" : NULL, out);
    const char *scope = instrument->meter->scope_labels;
    if (error || stream->native || !scope[0])
        return error;
    if (out->len)
        (void)sl_buf_put_char(out, ',');
    return sl_buf_put_c(out, scope);
}

static sl_stream_series *add_series(sl_instrument *instrument, sl_stream *stream, const sl_attr_set *set, sl_str attrs,
                                    uint64_t hash)
{
    SL_ASSERT(stream->series_count + 1 < stream->max_series);
    if (!grow_table(stream) || render_labels(instrument, stream, set))
        return NULL;
    sl_stream_series *s = series_alloc(attrs, hash);
    if (!s)
        return NULL;
    uint64_t record;
    if (place_series(instrument, stream, s, sl_buf_str(&instrument->labels), 0, &record)) {
        sl_free(s);
        return NULL;
    }
    sl_segment_publish(instrument->registry->segment, SL_LIST_SERIES, record);
    *find_slot(stream, attrs, hash) = s;
    stream->series_count++;
    return s;
}

static sl_stream_series *overflow_of(sl_instrument *instrument, sl_stream *stream)
{
    SL_ASSERT(stream->overflow && stream->overflow_record);
    if (!stream->overflow_published) {
        sl_segment_publish(instrument->registry->segment, SL_LIST_SERIES, stream->overflow_record);
        stream->overflow_published = true;
    }
    return stream->overflow;
}

/* The series of a set in one stream, made when it is new; the overflow series beyond every limit. */
static sl_stream_series *bind_stream(sl_instrument *instrument, sl_stream *stream, const sl_attr *attrs, size_t count)
{
    SL_ASSERT(stream->overflow);
    sl_attr_set set;
    sl_attr_set_init(&set, attrs, count, &stream->rules);
    sl_buf_clear(&instrument->attrs);
    if (sl_attr_set_encode(&set, sl_point_attrs_field(instrument->kind), &instrument->attrs))
        return overflow_of(instrument, stream);
    sl_str key = sl_buf_str(&instrument->attrs);
    uint64_t hash = sl_hash_str(key);
    if (stream->table_size > 0) {
        sl_stream_series *s = *find_slot(stream, key, hash);
        if (s)
            return s;
    }
    sl_stream_series *s = NULL;
    if (stream->series_count + 1 < stream->max_series)
        s = add_series(instrument, stream, &set, key, hash);
    return s ? s : overflow_of(instrument, stream);
}

/* ---- Handles ---- */

/* A handle with many parts, made when it is new. NULL without memory. */
static sl_series *handle_of_parts(sl_instrument *instrument, sl_stream_series *const *parts)
{
    SL_ASSERT(instrument->stream_count > 1);
    size_t count = instrument->stream_count;
    if (!parts[0])
        return NULL;
    for (sl_series *h = parts[0]->many; h; h = h->next) {
        bool same = true;
        for (size_t i = 0; i < count; i++)
            same &= h->parts[i] == &parts[i]->handle;
        if (same)
            return h;
    }
    sl_series *h = sl_calloc(1, sizeof *h + count * sizeof *h->parts);
    if (!h)
        return NULL;
    const sl_series **list = (const sl_series **)(void *)(h + 1);
    for (size_t i = 0; i < count; i++)
        list[i] = &parts[i]->handle;
    h->op = SL_OP_MANY;
    h->parts = list;
    h->part_count = (uint16_t)count;
    h->next = parts[0]->many;
    parts[0]->many = h;
    return h;
}

sl_series *sl_instrument_bind(sl_instrument *instrument, const sl_attr *attrs, size_t attr_count)
{
    if (!instrument || (attr_count && !attrs))
        return NULL;
    if (instrument->stream_count == 0 || instrument->registry->forked)
        return &instrument->nothing;
    sl_stream_series *parts[SL_MAX_STREAMS] = {NULL};
    pthread_mutex_lock(&instrument->lock);
    for (size_t i = 0; i < instrument->stream_count; i++)
        parts[i] = bind_stream(instrument, &instrument->streams[i], attrs, attr_count);
    sl_series *handle = instrument->stream_count == 1 ? &parts[0]->handle : handle_of_parts(instrument, parts);
    pthread_mutex_unlock(&instrument->lock);
    return handle;
}

/* ---- Streams ---- */

static int copy_bounds(sl_stream *stream, const sl_stream_spec *spec)
{
    SL_ASSERT(spec->bound_count <= SL_MAX_BOUNDS);
    stream->bound_count = (uint32_t)spec->bound_count;
    stream->padded = (stream->bound_count + 3) / 4 * 4;
    if (stream->padded == 0)
        return 0;
    stream->bounds = sl_calloc(stream->padded, sizeof *stream->bounds);
    if (!stream->bounds)
        return SL_ENOMEM;
    for (uint32_t i = 0; i < stream->padded; i++)
        stream->bounds[i] = i < stream->bound_count ? spec->bounds[i] : INFINITY;
    return 0;
}

static bool same_stream(const sl_stream_view *a, const sl_stream_view *b)
{
    SL_ASSERT(a && b);
    return a->kind == b->kind && a->flags == b->flags && a->scope == b->scope && a->bound_count == b->bound_count &&
           sl_str_eq(a->name, b->name) && sl_str_eq(a->unit, b->unit) &&
           (a->bound_count == 0 || memcmp(a->bounds, b->bounds, a->bound_count * sizeof(double)) == 0);
}

/* The record of an equal stream that the segment already holds; 0: none. */
static uint64_t find_record(const sl_segment *segment, const sl_stream_view *wanted)
{
    SL_ASSERT(segment && wanted);
    uint64_t at = sl_segment_head(segment, SL_LIST_STREAMS);
    for (size_t steps = 0; at && steps < SL_MAX_RECORD_STEPS; steps++, at = sl_record_next(segment, at)) {
        sl_stream_view view;
        if (sl_stream_record_read(segment, at, &view) && same_stream(&view, wanted))
            return at;
    }
    return 0;
}

/* Takes up a series of an earlier process. */
static int adopt_series(sl_instrument *instrument, sl_stream *stream, const sl_stream_view *view, uint64_t at)
{
    SL_ASSERT(stream->record != 0);
    sl_series_view found;
    if (!sl_series_record_read(instrument->registry->segment, at, &found) || found.stream != stream->record ||
        !sl_series_fits(instrument->registry->segment, view, &found))
        return 0;
    uint64_t hash = sl_hash_str(found.attrs);
    if (!grow_table(stream))
        return SL_ENOMEM;
    sl_stream_series **slot = find_slot(stream, found.attrs, hash);
    bool is_overflow = at == view->overflow;
    if (is_overflow ? stream->overflow != NULL : *slot != NULL)
        return 0;
    sl_stream_series *s = series_alloc(found.attrs, hash);
    if (!s)
        return SL_ENOMEM;
    bool exemplars = (found.flags & SL_SERIES_EXEMPLARS) != 0;
    fill_handle(&s->handle, instrument, stream, found.cell, exemplars);
    if (exemplars)
        atomic_fetch_add(&instrument->registry->exemplar_cells, exemplar_cells_of(stream));
    if (is_overflow) {
        stream->overflow = s;
        return 0;
    }
    *slot = s;
    stream->series_count++;
    return 0;
}

/* Takes up a whole stream of an earlier process. SL_ENOENT when its overflow series is damaged. */
static int adopt_stream(sl_instrument *instrument, sl_stream *stream, const sl_stream_view *view)
{
    SL_ASSERT(stream->series_count == 0);
    const sl_segment *segment = instrument->registry->segment;
    int error = adopt_series(instrument, stream, view, view->overflow);
    stream->overflow_record = view->overflow;
    uint64_t at = sl_segment_head(segment, SL_LIST_SERIES);
    for (size_t steps = 0; !error && at && steps < SL_MAX_RECORD_STEPS; steps++, at = sl_record_next(segment, at)) {
        stream->overflow_published |= at == view->overflow;
        error = adopt_series(instrument, stream, view, at);
    }
    return error || stream->overflow ? error : SL_ENOENT;
}

/* Writes a new stream with its overflow series, which is published when it is first needed. */
static int create_stream(sl_instrument *instrument, sl_stream *stream, sl_stream_view *view)
{
    SL_ASSERT(!stream->overflow);
    sl_segment *segment = instrument->registry->segment;
    const sl_attr mark = {SL_STR("otel.metric.overflow"), sl_value_bool(true)};
    sl_attr_set set;
    sl_attr_set_init(&set, &mark, 1, NULL);
    sl_buf_clear(&instrument->attrs);
    int error = sl_attr_set_encode(&set, sl_point_attrs_field(instrument->kind), &instrument->attrs);
    if (!error)
        error = render_labels(instrument, stream, &set);
    if (error)
        return error;
    stream->overflow = series_alloc(sl_buf_str(&instrument->attrs), 0);
    if (!stream->overflow)
        return SL_ENOMEM;
    view->overflow = 0;
    error = sl_stream_record_new(segment, view, &stream->record);
    if (!error)
        error = place_series(instrument, stream, stream->overflow, sl_buf_str(&instrument->labels), SL_SERIES_OVERFLOW,
                             &stream->overflow_record);
    if (error)
        return error;
    sl_stream_record *record = sl_segment_at(segment, stream->record, sizeof *record);
    record->overflow = stream->overflow_record;
    sl_segment_publish(segment, SL_LIST_STREAMS, stream->record);
    return 0;
}

int sl_stream_init(sl_stream *stream, sl_instrument *instrument, const sl_stream_spec *spec)
{
    SL_ASSERT(spec->name && spec->unit && spec->description);
    char name[SL_PROM_NAME_BYTES];
    sl_registry *registry = instrument->registry;
    memset(stream, 0, sizeof *stream);
    stream->max_series = spec->max_series < 2 ? 2 : spec->max_series;
    stream->rules = spec->rules;
    stream->native = sl_prom_name(sl_str_c(spec->name), sl_str_c(spec->unit), instrument->kind, name);
    int error = copy_bounds(stream, spec);
    if (error)
        return error;
    sl_stream_view view = {
        .scope = instrument->meter->scope,
        .kind = instrument->kind,
        .flags = (uint8_t)((instrument->is_double ? SL_STREAM_DOUBLE : 0) | (stream->native ? SL_STREAM_NATIVE : 0)),
        .bound_count = stream->bound_count,
        .bounds = stream->bounds,
        .name = sl_str_c(spec->name),
        .unit = sl_str_c(spec->unit),
        .description = sl_str_c(spec->description),
    };
    stream->record = registry->adopting ? find_record(registry->segment, &view) : 0;
    sl_stream_view found;
    if (stream->record && sl_stream_record_read(registry->segment, stream->record, &found)) {
        error = adopt_stream(instrument, stream, &found);
        if (error != SL_ENOENT)
            return error;
    }
    return create_stream(instrument, stream, &view);
}

static void series_free(sl_stream_series *s)
{
    while (s && s->many) {
        sl_series *next = s->many->next;
        sl_free(s->many);
        s->many = next;
    }
    sl_free(s);
}

void sl_stream_done(sl_stream *stream)
{
    SL_ASSERT(stream);
    for (size_t i = 0; i < stream->table_size; i++)
        series_free(stream->table[i]);
    series_free(stream->overflow);
    sl_free(stream->table);
    sl_free(stream->bounds);
    memset(stream, 0, sizeof *stream);
}
