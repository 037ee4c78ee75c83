/* Writing and checked reading of stream and series records. */
#include "src/telemetry/series_record.h"

#include <math.h>

#include "src/telemetry/attr_set.h"

int sl_stream_record_new(sl_segment *segment, const sl_stream_view *stream, uint64_t *ret_offset)
{
    SL_ASSERT(stream->bound_count <= SL_MAX_BOUNDS && stream->name.len < 65536 && stream->unit.len < 65536);
    size_t bounds_size = stream->bound_count * sizeof(double);
    size_t size =
        sizeof(sl_stream_record) + bounds_size + stream->name.len + stream->unit.len + stream->description.len;
    uint64_t offset;
    int error = stream->description.len > UINT32_MAX ? SL_ELIMIT : sl_segment_alloc(segment, size, &offset);
    if (error)
        return error;
    sl_stream_record *record = sl_segment_at(segment, offset, size);
    if (!record)
        return SL_ELIMIT;
    record->scope = stream->scope;
    record->overflow = stream->overflow;
    record->description_len = (uint32_t)stream->description.len;
    record->bound_count = (uint16_t)stream->bound_count;
    record->name_len = (uint16_t)stream->name.len;
    record->unit_len = (uint16_t)stream->unit.len;
    record->kind = (uint8_t)stream->kind;
    record->flags = stream->flags;
    char *at = (char *)(record + 1);
    if (bounds_size)
        memcpy(at, stream->bounds, bounds_size);
    at += bounds_size;
    const sl_str texts[] = {stream->name, stream->unit, stream->description};
    for (size_t i = 0; i < 3; i++) {
        if (texts[i].len)
            memcpy(at, texts[i].ptr, texts[i].len);
        at += texts[i].len;
    }
    *ret_offset = offset;
    return 0;
}

int sl_series_record_new(sl_segment *segment, const sl_series_view *series, uint64_t *ret_offset)
{
    SL_ASSERT(segment && series->stream != 0 && ret_offset);
    size_t size = sizeof(sl_series_record) + series->attrs.len + series->labels.len;
    uint64_t offset;
    int error = sl_segment_alloc(segment, size, &offset);
    if (error)
        return error;
    sl_series_record *record = sl_segment_at(segment, offset, size);
    if (!record)
        return SL_ELIMIT;
    record->stream = series->stream;
    record->start_ns = series->start_ns;
    record->cell = series->cell;
    record->flags = series->flags;
    record->attrs_len = (uint32_t)series->attrs.len;
    record->labels_len = (uint32_t)series->labels.len;
    char *at = (char *)(record + 1);
    if (series->attrs.len)
        memcpy(at, series->attrs.ptr, series->attrs.len);
    if (series->labels.len)
        memcpy(at + series->attrs.len, series->labels.ptr, series->labels.len);
    *ret_offset = offset;
    return 0;
}

static bool bounds_ascend(const double *bounds, size_t count)
{
    SL_ASSERT(count <= SL_MAX_BOUNDS);
    for (size_t i = 0; i < count; i++) {
        if (!isfinite(bounds[i]) || (i > 0 && bounds[i - 1] >= bounds[i]))
            return false;
    }
    return true;
}

bool sl_stream_record_read(const sl_segment *segment, uint64_t offset, sl_stream_view *ret_stream)
{
    SL_ASSERT(segment && ret_stream);
    const sl_stream_record *at = sl_segment_at(segment, offset, sizeof *at);
    if (!at)
        return false;
    sl_stream_record r = *at; /* one copy: what is checked is what is used */
    size_t bounds_size = r.bound_count * sizeof(double);
    size_t size = sizeof r + bounds_size + r.name_len + r.unit_len + r.description_len;
    if (r.kind < SL_COUNTER || r.kind > SL_HISTOGRAM || r.bound_count > SL_MAX_BOUNDS || r.name_len == 0 ||
        r.name_len > SL_MAX_KEY_BYTES || r.unit_len > 63 || !sl_segment_at(segment, offset, size))
        return false;
    const double *bounds = (const double *)(const void *)(at + 1);
    if (!bounds_ascend(bounds, r.bound_count) || (r.kind != SL_HISTOGRAM && r.bound_count))
        return false;
    const char *text = (const char *)(at + 1) + bounds_size;
    *ret_stream = (sl_stream_view){
        .overflow = r.overflow,
        .scope = r.scope,
        .kind = (sl_instrument_kind)r.kind,
        .flags = r.flags,
        .bound_count = r.bound_count,
        .bounds = bounds,
        .name = sl_str_of(text, r.name_len),
        .unit = sl_str_of(text + r.name_len, r.unit_len),
        .description = sl_str_of(text + r.name_len + r.unit_len, r.description_len),
    };
    return true;
}

bool sl_series_record_read(const sl_segment *segment, uint64_t offset, sl_series_view *ret_series)
{
    SL_ASSERT(segment && ret_series);
    const sl_series_record *at = sl_segment_at(segment, offset, sizeof *at);
    if (!at)
        return false;
    sl_series_record r = *at;
    if (r.attrs_len > SL_MAX_ATTR_SET_BYTES || r.labels_len > SL_MAX_ATTR_SET_BYTES ||
        !sl_segment_at(segment, offset, sizeof r + (size_t)r.attrs_len + r.labels_len))
        return false;
    const char *text = (const char *)(at + 1);
    *ret_series = (sl_series_view){
        .stream = r.stream,
        .start_ns = r.start_ns,
        .cell = r.cell,
        .flags = r.flags,
        .attrs = sl_str_of(text, r.attrs_len),
        .labels = sl_str_of(text + r.attrs_len, r.labels_len),
    };
    return true;
}

bool sl_series_fits(const sl_segment *segment, const sl_stream_view *stream, const sl_series_view *series)
{
    SL_ASSERT(stream->bound_count <= SL_MAX_BOUNDS);
    uint32_t need = sl_series_cells(stream->kind, stream->bound_count, (series->flags & SL_SERIES_EXEMPLARS) != 0);
    uint32_t have = sl_segment_cell_count(segment);
    return need <= have && series->cell <= have - need;
}

uint64_t sl_record_next(const sl_segment *segment, uint64_t offset)
{
    const _Atomic uint64_t *next = sl_segment_at(segment, offset, sizeof *next);
    return next ? atomic_load_explicit(next, memory_order_acquire) : 0;
}

/* The spans that were open have no end. */
static void abandon_spans(sl_segment *segment)
{
    SL_ASSERT(segment);
    sl_ring_stats s;
    sl_segment_ring_stats(segment, SL_RING_SPANS, &s);
    uint64_t gone = s.written + s.dropped + s.abandoned;
    if (s.begun > gone)
        atomic_fetch_add(sl_segment_shared_cell(segment, SL_CELL_SPANS_ABANDONED), s.begun - gone);
}

void sl_series_reset_volatile(sl_segment *segment)
{
    SL_ASSERT(segment);
    abandon_spans(segment);
    uint64_t at = sl_segment_head(segment, SL_LIST_SERIES);
    for (size_t steps = 0; at && steps < SL_MAX_RECORD_STEPS; steps++, at = sl_record_next(segment, at)) {
        sl_series_view series;
        sl_stream_view stream;
        if (!sl_series_record_read(segment, at, &series) || !sl_stream_record_read(segment, series.stream, &stream) ||
            !sl_series_fits(segment, &stream, &series))
            continue;
        if (stream.kind == SL_UPDOWN_COUNTER || stream.kind == SL_GAUGE)
            sl_segment_zero(segment, series.cell, sl_series_cells(stream.kind, 0, false));
    }
}
