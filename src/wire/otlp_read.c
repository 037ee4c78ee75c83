/* Reading OTLP requests in place. */
#include "src/wire/otlp_read.h"

#include "src/base/assert.h"

sl_otlp_iter sl_otlp_items(sl_str message, uint32_t field)
{
    SL_ASSERT(field > 0);
    sl_otlp_iter it = {sl_pb_reader_of(message), field};
    return it;
}

bool sl_otlp_next(sl_otlp_iter *it, sl_str *ret_item)
{
    SL_ASSERT(it && ret_item);
    sl_pb_field f;
    while (sl_pb_next(&it->reader, &f)) {
        if (sl_pb_is(&f, it->field, SL_PB_LEN)) {
            *ret_item = f.bytes;
            return true;
        }
    }
    return false;
}

size_t sl_otlp_count(sl_str message, uint32_t field)
{
    size_t count = 0;
    sl_str item;
    sl_otlp_iter it = sl_otlp_items(message, field);
    while (sl_otlp_next(&it, &item))
        count++;
    return it.reader.error ? 0 : count;
}

/* Field number and wire type in one number, for switches. */
#define KEY(number, wire) ((number) << 3 | (wire))

static uint32_t key_of(const sl_pb_field *f)
{
    SL_ASSERT(f);
    return f->number << 3 | f->wire;
}

/* ---- Values ---- */

int sl_otlp_read_any(sl_str message, sl_otlp_any *ret_any)
{
    SL_ASSERT(ret_any);
    sl_otlp_any any;
    memset(&any, 0, sizeof any);
    sl_pb_reader r = sl_pb_reader_of(message);
    sl_pb_field f;
    while (sl_pb_next(&r, &f)) {
        switch (key_of(&f)) {
        case KEY(1, SL_PB_LEN):
        case KEY(5, SL_PB_LEN):
        case KEY(6, SL_PB_LEN):
        case KEY(7, SL_PB_LEN):
            any.str = f.bytes;
            break;
        case KEY(2, SL_PB_VARINT):
            any.boolean = f.value != 0;
            break;
        case KEY(3, SL_PB_VARINT):
            any.integer = (int64_t)f.value;
            break;
        case KEY(4, SL_PB_FIXED64):
            any.real = sl_pb_bits_double(f.value);
            break;
        default:
            continue;
        }
        any.type = (sl_value_type)f.number;
    }
    if (r.error)
        return r.error;
    *ret_any = any;
    return 0;
}

int sl_otlp_read_pair(sl_str message, sl_otlp_pair *ret_pair)
{
    SL_ASSERT(ret_pair);
    sl_otlp_pair pair;
    memset(&pair, 0, sizeof pair);
    sl_pb_reader r = sl_pb_reader_of(message);
    sl_pb_field f;
    while (sl_pb_next(&r, &f)) {
        if (sl_pb_is(&f, 1, SL_PB_LEN))
            pair.key = f.bytes;
        else if (sl_pb_is(&f, 2, SL_PB_LEN) && sl_otlp_read_any(f.bytes, &pair.value))
            return SL_EPARSE;
    }
    if (r.error)
        return r.error;
    *ret_pair = pair;
    return 0;
}

int sl_otlp_find_attr(sl_str message, uint32_t field, sl_str key, sl_otlp_any *ret_any)
{
    SL_ASSERT(ret_any);
    sl_otlp_iter it = sl_otlp_items(message, field);
    sl_str item;
    sl_otlp_pair pair;
    while (sl_otlp_next(&it, &item)) {
        if (sl_otlp_read_pair(item, &pair))
            return SL_EPARSE;
        if (sl_str_eq(pair.key, key)) {
            *ret_any = pair.value;
            return 0;
        }
    }
    return it.reader.error ? it.reader.error : SL_ENOENT;
}

/* ---- Envelope ---- */

int sl_otlp_read_group(sl_str message, sl_otlp_group *ret_group)
{
    SL_ASSERT(ret_group);
    sl_otlp_group group;
    memset(&group, 0, sizeof group);
    group.self = message;
    sl_pb_reader r = sl_pb_reader_of(message);
    sl_pb_field f;
    while (sl_pb_next(&r, &f)) {
        if (sl_pb_is(&f, 1, SL_PB_LEN))
            group.head = f.bytes;
        else if (sl_pb_is(&f, 3, SL_PB_LEN))
            group.schema_url = f.bytes;
    }
    if (r.error)
        return r.error;
    *ret_group = group;
    return 0;
}

int sl_otlp_read_scope(sl_str message, sl_otlp_scope_view *ret_scope)
{
    SL_ASSERT(ret_scope);
    sl_otlp_scope_view scope;
    memset(&scope, 0, sizeof scope);
    scope.self = message;
    sl_pb_reader r = sl_pb_reader_of(message);
    sl_pb_field f;
    while (sl_pb_next(&r, &f)) {
        if (sl_pb_is(&f, 1, SL_PB_LEN))
            scope.name = f.bytes;
        else if (sl_pb_is(&f, 2, SL_PB_LEN))
            scope.version = f.bytes;
        else if (sl_pb_is(&f, 4, SL_PB_VARINT))
            scope.dropped_attrs = (uint32_t)f.value;
    }
    if (r.error)
        return r.error;
    *ret_scope = scope;
    return 0;
}

sl_otlp_records sl_otlp_records_of(sl_str request)
{
    sl_otlp_records records;
    memset(&records, 0, sizeof records);
    records.resources = sl_otlp_items(request, SL_OTLP_REQUEST_RESOURCES);
    records.scopes = sl_otlp_items(sl_str_of(NULL, 0), SL_OTLP_GROUP_ITEMS);
    records.items = records.scopes;
    return records;
}

/* Enters the next resource, false at the end. */
static bool next_resource(sl_otlp_records *records)
{
    SL_ASSERT(records);
    sl_str bytes;
    if (!sl_otlp_next(&records->resources, &bytes)) {
        records->error = records->resources.reader.error;
        return false;
    }
    records->error = sl_otlp_read_group(bytes, &records->resource);
    records->scopes = sl_otlp_items(bytes, SL_OTLP_GROUP_ITEMS);
    return records->error == 0;
}

/* Enters the next scope, of this resource or a later one; false at the end. */
static bool next_scope(sl_otlp_records *records)
{
    SL_ASSERT(records);
    sl_str bytes;
    while (!sl_otlp_next(&records->scopes, &bytes)) {
        records->error = records->scopes.reader.error;
        if (records->error || !next_resource(records))
            return false;
    }
    records->error = sl_otlp_read_group(bytes, &records->scope);
    records->items = sl_otlp_items(bytes, SL_OTLP_GROUP_ITEMS);
    return records->error == 0;
}

bool sl_otlp_records_next(sl_otlp_records *records)
{
    SL_ASSERT(records);
    while (!records->error) {
        if (sl_otlp_next(&records->items, &records->item))
            return true;
        records->error = records->items.reader.error;
        if (records->error || !next_scope(records))
            return false;
    }
    return false;
}

/* ---- Spans ---- */

static int read_status(sl_str message, sl_otlp_span *span)
{
    sl_pb_reader r = sl_pb_reader_of(message);
    sl_pb_field f;
    while (sl_pb_next(&r, &f)) {
        if (sl_pb_is(&f, 2, SL_PB_LEN))
            span->status_message = f.bytes;
        else if (sl_pb_is(&f, 3, SL_PB_VARINT))
            span->status_code = (uint32_t)f.value;
    }
    return r.error;
}

/* The LEN fields of a span. */
static int span_bytes(const sl_pb_field *f, sl_otlp_span *span)
{
    SL_ASSERT(f);
    switch (f->number) {
    case 1:
        span->trace_id = f->bytes;
        break;
    case 2:
        span->span_id = f->bytes;
        break;
    case 3:
        span->tracestate = f->bytes;
        break;
    case 4:
        span->parent_span_id = f->bytes;
        break;
    case 5:
        span->name = f->bytes;
        break;
    case 15:
        return read_status(f->bytes, span);
    default:
        break;
    }
    return 0;
}

static void span_number(const sl_pb_field *f, sl_otlp_span *span)
{
    switch (key_of(f)) {
    case KEY(6, SL_PB_VARINT):
        span->kind = (uint32_t)f->value;
        break;
    case KEY(7, SL_PB_FIXED64):
        span->start_ns = f->value;
        break;
    case KEY(8, SL_PB_FIXED64):
        span->end_ns = f->value;
        break;
    case KEY(10, SL_PB_VARINT):
        span->dropped_attrs = (uint32_t)f->value;
        break;
    case KEY(12, SL_PB_VARINT):
        span->dropped_events = (uint32_t)f->value;
        break;
    case KEY(14, SL_PB_VARINT):
        span->dropped_links = (uint32_t)f->value;
        break;
    case KEY(16, SL_PB_FIXED32):
        span->flags = (uint32_t)f->value;
        break;
    default:
        break;
    }
}

int sl_otlp_read_span(sl_str message, sl_otlp_span *ret_span)
{
    SL_ASSERT(ret_span);
    sl_otlp_span span;
    memset(&span, 0, sizeof span);
    span.self = message;
    sl_pb_reader r = sl_pb_reader_of(message);
    sl_pb_field f;
    while (sl_pb_next(&r, &f)) {
        if (f.wire != SL_PB_LEN)
            span_number(&f, &span);
        else if (span_bytes(&f, &span))
            return SL_EPARSE;
    }
    if (r.error)
        return r.error;
    *ret_span = span;
    return 0;
}

int sl_otlp_read_event(sl_str message, sl_otlp_event *ret_event)
{
    SL_ASSERT(ret_event);
    sl_otlp_event event;
    memset(&event, 0, sizeof event);
    event.self = message;
    sl_pb_reader r = sl_pb_reader_of(message);
    sl_pb_field f;
    while (sl_pb_next(&r, &f)) {
        if (sl_pb_is(&f, 1, SL_PB_FIXED64))
            event.time_ns = f.value;
        else if (sl_pb_is(&f, 2, SL_PB_LEN))
            event.name = f.bytes;
        else if (sl_pb_is(&f, 4, SL_PB_VARINT))
            event.dropped_attrs = (uint32_t)f.value;
    }
    if (r.error)
        return r.error;
    *ret_event = event;
    return 0;
}

int sl_otlp_read_link(sl_str message, sl_otlp_link *ret_link)
{
    SL_ASSERT(ret_link);
    sl_otlp_link link;
    memset(&link, 0, sizeof link);
    link.self = message;
    sl_pb_reader r = sl_pb_reader_of(message);
    sl_pb_field f;
    while (sl_pb_next(&r, &f)) {
        if (sl_pb_is(&f, 1, SL_PB_LEN))
            link.trace_id = f.bytes;
        else if (sl_pb_is(&f, 2, SL_PB_LEN))
            link.span_id = f.bytes;
        else if (sl_pb_is(&f, 3, SL_PB_LEN))
            link.tracestate = f.bytes;
        else if (sl_pb_is(&f, 5, SL_PB_VARINT))
            link.dropped_attrs = (uint32_t)f.value;
        else if (sl_pb_is(&f, 6, SL_PB_FIXED32))
            link.flags = (uint32_t)f.value;
    }
    if (r.error)
        return r.error;
    *ret_link = link;
    return 0;
}

/* ---- Log records ---- */

static int log_bytes(const sl_pb_field *f, sl_otlp_log *log)
{
    SL_ASSERT(f);
    switch (f->number) {
    case 3:
        log->severity_text = f->bytes;
        break;
    case 5:
        return sl_otlp_read_any(f->bytes, &log->body);
    case 9:
        log->trace_id = f->bytes;
        break;
    case 10:
        log->span_id = f->bytes;
        break;
    case 12:
        log->event_name = f->bytes;
        break;
    default:
        break;
    }
    return 0;
}

static void log_number(const sl_pb_field *f, sl_otlp_log *log)
{
    switch (key_of(f)) {
    case KEY(1, SL_PB_FIXED64):
        log->time_ns = f->value;
        break;
    case KEY(2, SL_PB_VARINT):
        log->severity = (uint32_t)f->value;
        break;
    case KEY(7, SL_PB_VARINT):
        log->dropped_attrs = (uint32_t)f->value;
        break;
    case KEY(8, SL_PB_FIXED32):
        log->flags = (uint32_t)f->value;
        break;
    case KEY(11, SL_PB_FIXED64):
        log->observed_ns = f->value;
        break;
    default:
        break;
    }
}

/* Moves over short attributes, which are most of a record and of no interest yet. */
static inline void skip_attributes(sl_pb_reader *r)
{
    while (r->end - r->at >= 2 && r->at[0] == (SL_OTLP_LOG_ATTRS << 3 | SL_PB_LEN) && r->at[1] < 0x80 &&
           r->at[1] <= r->end - r->at - 2)
        r->at += 2 + r->at[1];
}

int sl_otlp_read_log(sl_str message, sl_otlp_log *ret_log)
{
    SL_ASSERT(ret_log);
    sl_otlp_log log;
    memset(&log, 0, sizeof log);
    log.self = message;
    sl_pb_reader r = sl_pb_reader_of(message);
    sl_pb_field f;
    for (skip_attributes(&r); sl_pb_next(&r, &f); skip_attributes(&r)) {
        if (f.wire != SL_PB_LEN)
            log_number(&f, &log);
        else if (log_bytes(&f, &log))
            return SL_EPARSE;
    }
    if (r.error)
        return r.error;
    *ret_log = log;
    return 0;
}

/* ---- Metrics ---- */

static int read_metric_data(const sl_pb_field *f, sl_otlp_metric *metric)
{
    SL_ASSERT(metric && f);
    metric->kind = (sl_otlp_metric_kind)f->number;
    metric->data = f->bytes;
    metric->temporality = 0;
    metric->monotonic = false;
    sl_pb_reader r = sl_pb_reader_of(f->bytes);
    sl_pb_field g;
    while (sl_pb_next(&r, &g)) {
        if (sl_pb_is(&g, 2, SL_PB_VARINT))
            metric->temporality = (uint32_t)g.value;
        else if (sl_pb_is(&g, 3, SL_PB_VARINT))
            metric->monotonic = g.value != 0;
    }
    return r.error;
}

int sl_otlp_read_metric(sl_str message, sl_otlp_metric *ret_metric)
{
    SL_ASSERT(ret_metric);
    sl_otlp_metric metric;
    memset(&metric, 0, sizeof metric);
    metric.self = message;
    sl_pb_reader r = sl_pb_reader_of(message);
    sl_pb_field f;
    while (sl_pb_next(&r, &f)) {
        if (f.wire != SL_PB_LEN)
            continue;
        if (f.number == 1)
            metric.name = f.bytes;
        else if (f.number == 2)
            metric.description = f.bytes;
        else if (f.number == 3)
            metric.unit = f.bytes;
        else if (f.number == SL_OTLP_GAUGE || f.number == SL_OTLP_SUM ||
                 (f.number >= SL_OTLP_HISTOGRAM && f.number <= SL_OTLP_SUMMARY)) {
            if (read_metric_data(&f, &metric))
                return SL_EPARSE;
        }
    }
    if (r.error)
        return r.error;
    *ret_metric = metric;
    return 0;
}

int sl_otlp_read_number(sl_str message, sl_otlp_number *ret_point)
{
    SL_ASSERT(ret_point);
    sl_otlp_number point;
    memset(&point, 0, sizeof point);
    point.self = message;
    sl_pb_reader r = sl_pb_reader_of(message);
    sl_pb_field f;
    while (sl_pb_next(&r, &f)) {
        if (sl_pb_is(&f, 2, SL_PB_FIXED64)) {
            point.start_ns = f.value;
        } else if (sl_pb_is(&f, 3, SL_PB_FIXED64)) {
            point.time_ns = f.value;
        } else if (sl_pb_is(&f, 4, SL_PB_FIXED64)) {
            point.is_int = false;
            point.real = sl_pb_bits_double(f.value);
        } else if (sl_pb_is(&f, 6, SL_PB_FIXED64)) {
            point.is_int = true;
            point.integer = (int64_t)f.value;
            point.real = (double)point.integer;
        } else if (sl_pb_is(&f, 8, SL_PB_VARINT)) {
            point.flags = (uint32_t)f.value;
        }
    }
    if (r.error)
        return r.error;
    *ret_point = point;
    return 0;
}

static void histogram_double(double *value, bool *has, uint64_t bits)
{
    SL_ASSERT(value && has);
    *value = sl_pb_bits_double(bits);
    *has = true;
}

static void histogram_field(const sl_pb_field *f, sl_otlp_histogram *point)
{
    switch (key_of(f)) {
    case KEY(2, SL_PB_FIXED64):
        point->start_ns = f->value;
        break;
    case KEY(3, SL_PB_FIXED64):
        point->time_ns = f->value;
        break;
    case KEY(4, SL_PB_FIXED64):
        point->count = f->value;
        break;
    case KEY(5, SL_PB_FIXED64):
        histogram_double(&point->sum, &point->has_sum, f->value);
        break;
    case KEY(6, SL_PB_LEN):
        point->bucket_counts = f->bytes;
        break;
    case KEY(7, SL_PB_LEN):
        point->bounds = f->bytes;
        break;
    case KEY(10, SL_PB_VARINT):
        point->flags = (uint32_t)f->value;
        break;
    case KEY(11, SL_PB_FIXED64):
        histogram_double(&point->min, &point->has_min, f->value);
        break;
    case KEY(12, SL_PB_FIXED64):
        histogram_double(&point->max, &point->has_max, f->value);
        break;
    default:
        break;
    }
}

int sl_otlp_read_histogram(sl_str message, sl_otlp_histogram *ret_point)
{
    SL_ASSERT(ret_point);
    sl_otlp_histogram point;
    memset(&point, 0, sizeof point);
    point.self = message;
    sl_pb_reader r = sl_pb_reader_of(message);
    sl_pb_field f;
    while (sl_pb_next(&r, &f))
        histogram_field(&f, &point);
    if (r.error || point.bucket_counts.len % 8 || point.bounds.len % 8)
        return SL_EPARSE;
    *ret_point = point;
    return 0;
}

int sl_otlp_read_exemplar(sl_str message, sl_otlp_exemplar *ret_exemplar)
{
    SL_ASSERT(ret_exemplar);
    sl_otlp_exemplar exemplar;
    memset(&exemplar, 0, sizeof exemplar);
    exemplar.self = message;
    sl_pb_reader r = sl_pb_reader_of(message);
    sl_pb_field f;
    while (sl_pb_next(&r, &f)) {
        if (sl_pb_is(&f, 2, SL_PB_FIXED64)) {
            exemplar.time_ns = f.value;
        } else if (sl_pb_is(&f, 3, SL_PB_FIXED64)) {
            exemplar.is_int = false;
            exemplar.real = sl_pb_bits_double(f.value);
        } else if (sl_pb_is(&f, 4, SL_PB_LEN)) {
            exemplar.span_id = f.bytes;
        } else if (sl_pb_is(&f, 5, SL_PB_LEN)) {
            exemplar.trace_id = f.bytes;
        } else if (sl_pb_is(&f, 6, SL_PB_FIXED64)) {
            exemplar.is_int = true;
            exemplar.integer = (int64_t)f.value;
            exemplar.real = (double)exemplar.integer;
        }
    }
    if (r.error)
        return r.error;
    *ret_exemplar = exemplar;
    return 0;
}

size_t sl_otlp_packed_count(sl_str packed)
{
    return packed.len / 8;
}

uint64_t sl_otlp_packed_u64(sl_str packed, size_t index)
{
    if (index >= packed.len / 8)
        return 0;
    sl_pb_reader r = sl_pb_reader_of(sl_str_sub(packed, index * 8, 8));
    uint64_t value = 0;
    (void)sl_pb_read_fixed(&r, 8, &value);
    return value;
}

double sl_otlp_packed_double(sl_str packed, size_t index)
{
    return sl_pb_bits_double(sl_otlp_packed_u64(packed, index));
}
