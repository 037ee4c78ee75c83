/* OTLP as text. Spans of one request are sorted by trace and hung under their parents where those are in it, too. */
#include "src/telemetry/console.h"

#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/telemetry/log_line.h"
#include "src/wire/otlp_read.h"

#define MAX_INDENT 32u
#define MAX_VALUE_DEPTH 8u
#define MAX_TEXT 2048u /* of one value */

/* ---- values ---- */

/* Text without control characters, cut. */
static void put_text(sl_buf *out, sl_str s)
{
    SL_ASSERT(s.ptr || !s.len);
    static const char hex[] = "0123456789abcdef";
    size_t len = sl_utf8_prefix(s, MAX_TEXT);
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c == '\n' || c == '\t' || c == '"' || c == '\\') {
            char escaped[2] = {'\\', c == '\n' ? 'n' : c == '\t' ? 't' : (char)c};
            (void)sl_buf_put(out, escaped, 2);
        } else if (c < 0x20 || c == 0x7F) {
            char escaped[4] = {'\\', 'x', hex[c >> 4], hex[c & 15]};
            (void)sl_buf_put(out, escaped, 4);
        } else {
            (void)sl_buf_put_char(out, (char)c);
        }
    }
    if (len < s.len)
        (void)sl_buf_printf(out, "...[%zu bytes more]", s.len - len);
}

static void put_hex(sl_buf *out, sl_str bytes)
{
    SL_ASSERT(bytes.ptr || !bytes.len);
    for (size_t i = 0; i < bytes.len && i < 64; i++)
        (void)sl_buf_printf(out, "%02x", (unsigned char)bytes.ptr[i]);
}

static void put_any(sl_buf *out, const sl_otlp_any *any, unsigned depth);

static void put_list(sl_buf *out, const sl_otlp_any *any, unsigned depth)
{
    SL_ASSERT(any);
    bool is_map = any->type == SL_VALUE_MAP;
    const char *separator = "";
    sl_otlp_iter it = sl_otlp_items(any->str, SL_OTLP_ARRAY_ITEMS);
    sl_str item;
    (void)sl_buf_put_char(out, is_map ? '{' : '[');
    while (depth < MAX_VALUE_DEPTH && sl_otlp_next(&it, &item)) {
        sl_otlp_pair pair;
        memset(&pair, 0, sizeof pair);
        if (is_map ? sl_otlp_read_pair(item, &pair) : sl_otlp_read_any(item, &pair.value))
            break;
        (void)sl_buf_put_c(out, separator);
        separator = ", ";
        put_text(out, pair.key);
        if (is_map)
            (void)sl_buf_put_char(out, '=');
        put_any(out, &pair.value, depth + 1);
    }
    (void)sl_buf_put_char(out, is_map ? '}' : ']');
}

static void put_any(sl_buf *out, const sl_otlp_any *any, unsigned depth)
{
    SL_ASSERT(any);
    switch (any->type) {
    case SL_VALUE_STRING:
        (void)sl_buf_put_char(out, '"');
        put_text(out, any->str);
        (void)sl_buf_put_char(out, '"');
        break;
    case SL_VALUE_BOOL:
        (void)sl_buf_put_c(out, any->boolean ? "true" : "false");
        break;
    case SL_VALUE_INT:
        (void)sl_buf_put_i64(out, any->integer);
        break;
    case SL_VALUE_DOUBLE:
        (void)sl_buf_put_double(out, any->real);
        break;
    case SL_VALUE_ARRAY:
    case SL_VALUE_MAP:
        put_list(out, any, depth);
        break;
    case SL_VALUE_BYTES:
        (void)sl_buf_put_c(out, "0x");
        put_hex(out, any->str);
        break;
    default:
        (void)sl_buf_put_c(out, "null");
    }
}

/* "key=value key=value"; returns whether there was any. */
static bool put_attrs(sl_buf *out, sl_str message, uint32_t field, const char *separator)
{
    sl_otlp_iter it = sl_otlp_items(message, field);
    sl_str item;
    sl_otlp_pair pair;
    bool any = false;
    while (sl_otlp_next(&it, &item)) {
        if (sl_otlp_read_pair(item, &pair))
            continue;
        if (any)
            (void)sl_buf_put_c(out, separator);
        put_text(out, pair.key);
        (void)sl_buf_put_char(out, '=');
        put_any(out, &pair.value, 0);
        any = true;
    }
    return any;
}

static void put_indent(sl_buf *out, unsigned depth)
{
    for (unsigned i = 0; i < depth && i < MAX_INDENT; i++)
        (void)sl_buf_put(out, "  ", 2);
}

static sl_str service_of(sl_str resource)
{
    sl_otlp_any any;
    if (sl_otlp_find_attr(resource, SL_OTLP_RESOURCE_ATTRS, SL_STR("service.name"), &any) ||
        any.type != SL_VALUE_STRING)
        return SL_STR("unknown_service");
    return any.str;
}

/* ---- traces ---- */

typedef struct span_row {
    sl_otlp_span span;
    sl_str resource;
    bool shown;
} span_row;

typedef struct span_table {
    span_row *rows;
    size_t count;
} span_table;

static int by_trace_and_start(const void *a, const void *b)
{
    const span_row *x = a, *y = b;
    size_t len = x->span.trace_id.len < y->span.trace_id.len ? x->span.trace_id.len : y->span.trace_id.len;
    int order = len ? memcmp(x->span.trace_id.ptr, y->span.trace_id.ptr, len) : 0;
    if (order)
        return order;
    if (x->span.trace_id.len != y->span.trace_id.len)
        return x->span.trace_id.len < y->span.trace_id.len ? -1 : 1;
    return (x->span.start_ns > y->span.start_ns) - (x->span.start_ns < y->span.start_ns);
}

static void put_duration(sl_buf *out, uint64_t ns)
{
    if (ns < 1000000u)
        (void)sl_buf_printf(out, "%.1f us", (double)ns / 1e3);
    else if (ns < 10000000000u)
        (void)sl_buf_printf(out, "%.2f ms", (double)ns / 1e6);
    else
        (void)sl_buf_printf(out, "%.2f s", (double)ns / 1e9);
}

static void put_events(sl_buf *out, const sl_otlp_span *span, unsigned depth)
{
    SL_ASSERT(span);
    sl_otlp_iter it = sl_otlp_items(span->self, SL_OTLP_SPAN_EVENTS);
    sl_str item;
    sl_otlp_event event;
    while (sl_otlp_next(&it, &item)) {
        if (sl_otlp_read_event(item, &event))
            continue;
        put_indent(out, depth + 1);
        (void)sl_buf_put_c(out, "event ");
        put_text(out, event.name);
        (void)sl_buf_put_c(out, " +");
        put_duration(out, event.time_ns > span->start_ns ? event.time_ns - span->start_ns : 0);
        (void)sl_buf_put_char(out, ' ');
        (void)put_attrs(out, event.self, SL_OTLP_EVENT_ATTRS, " ");
        (void)sl_buf_put_char(out, '\n');
    }
}

static void put_span(sl_buf *out, const sl_otlp_span *span, unsigned depth)
{
    SL_ASSERT(span && out);
    static const char *const kinds[] = {"INTERNAL", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"};
    put_indent(out, depth);
    put_text(out, span->name);
    (void)sl_buf_printf(out, "  %s  ", kinds[span->kind < 6 ? span->kind : 0]);
    put_duration(out, span->end_ns > span->start_ns ? span->end_ns - span->start_ns : 0);
    if (span->status_code == SL_STATUS_OK)
        (void)sl_buf_put_c(out, "  OK");
    if (span->status_code == SL_STATUS_ERROR)
        (void)sl_buf_put_c(out, "  ERROR");
    if (span->status_message.len) {
        (void)sl_buf_put_c(out, " \"");
        put_text(out, span->status_message);
        (void)sl_buf_put_char(out, '"');
    }
    (void)sl_buf_put_char(out, '\n');
    size_t before = out->len;
    put_indent(out, depth + 1);
    if (put_attrs(out, span->self, SL_OTLP_SPAN_ATTRS, " "))
        (void)sl_buf_put_char(out, '\n');
    else
        out->len = before;
    put_events(out, span, depth);
}

/* Shows the spans from `from` to `to` whose parent is `parent`, and theirs. */
static void put_children(sl_buf *out, span_table *t, size_t from, size_t to, sl_str parent, unsigned depth)
{
    for (size_t i = from; i < to && depth < MAX_INDENT; i++) {
        span_row *row = &t->rows[i];
        if (row->shown || !sl_str_eq(row->span.parent_span_id, parent))
            continue;
        row->shown = true;
        put_span(out, &row->span, depth);
        if (row->span.span_id.len)
            put_children(out, t, from, to, row->span.span_id, depth + 1);
    }
}

static bool has_parent_here(const span_table *t, size_t from, size_t to, const span_row *row)
{
    for (size_t i = from; i < to && row->span.parent_span_id.len; i++) {
        if (&t->rows[i] != row && sl_str_eq(t->rows[i].span.span_id, row->span.parent_span_id))
            return true;
    }
    return false;
}

/* One trace: the rows from `from` to `to`. */
static void put_trace(sl_buf *out, span_table *t, size_t from, size_t to)
{
    SL_ASSERT(t);
    (void)sl_buf_put_c(out, "trace ");
    put_hex(out, t->rows[from].span.trace_id);
    (void)sl_buf_put_c(out, "  ");
    put_text(out, service_of(t->rows[from].resource));
    (void)sl_buf_put_char(out, '\n');
    for (int round = 0; round < 2; round++) { /* the second shows what a cycle of parents would hide */
        for (size_t i = from; i < to; i++) {
            span_row *row = &t->rows[i];
            if (row->shown || (round == 0 && has_parent_here(t, from, to, row)))
                continue;
            row->shown = true;
            put_span(out, &row->span, 1);
            if (row->span.span_id.len)
                put_children(out, t, from, to, row->span.span_id, 2);
        }
    }
}

/* All spans of a request. Errors: SL_EPARSE, SL_ENOMEM. */
static int read_spans(sl_str request, span_table *t)
{
    SL_ASSERT(t);
    sl_otlp_records counting = sl_otlp_records_of(request);
    size_t max = 0;
    while (sl_otlp_records_next(&counting))
        max++;
    t->count = 0;
    t->rows = sl_calloc(max + 1, sizeof *t->rows);
    if (!t->rows)
        return SL_ENOMEM;
    sl_otlp_records it = sl_otlp_records_of(request);
    while (t->count < max && sl_otlp_records_next(&it)) {
        span_row *row = &t->rows[t->count];
        row->resource = it.resource.head;
        if (!sl_otlp_read_span(it.item, &row->span))
            t->count++;
    }
    return counting.error;
}

static int traces_text(sl_str request, sl_buf *out)
{
    span_table t;
    int error = read_spans(request, &t);
    if (!error) {
        qsort(t.rows, t.count, sizeof *t.rows, by_trace_and_start);
        for (size_t from = 0, to; from < t.count; from = to) {
            for (to = from + 1; to < t.count; to++) {
                if (!sl_str_eq(t.rows[to].span.trace_id, t.rows[from].span.trace_id))
                    break;
            }
            put_trace(out, &t, from, to);
        }
    }
    sl_free(t.rows);
    return error;
}

/* ---- metrics ---- */

static void put_point(sl_buf *out, const sl_otlp_metric *metric, sl_str message)
{
    SL_ASSERT(metric);
    bool histogram = metric->kind == SL_OTLP_HISTOGRAM;
    if (metric->kind != SL_OTLP_GAUGE && metric->kind != SL_OTLP_SUM && !histogram)
        return;
    sl_otlp_number number;
    sl_otlp_histogram h;
    if (histogram ? sl_otlp_read_histogram(message, &h) : sl_otlp_read_number(message, &number))
        return;
    (void)sl_buf_put_c(out, "metric ");
    put_text(out, metric->name);
    (void)sl_buf_put_char(out, '{');
    (void)put_attrs(out, message, histogram ? SL_OTLP_HISTOGRAM_ATTRS : SL_OTLP_NUMBER_ATTRS, ", ");
    (void)sl_buf_put_c(out, "} ");
    if (histogram) {
        (void)sl_buf_printf(out, "count=%llu sum=", (unsigned long long)h.count);
        (void)sl_buf_put_double(out, h.sum);
    } else if (number.is_int) {
        (void)sl_buf_put_i64(out, number.integer);
    } else {
        (void)sl_buf_put_double(out, number.real);
    }
    if (metric->unit.len) {
        (void)sl_buf_put_char(out, ' ');
        put_text(out, metric->unit);
    }
    (void)sl_buf_put_char(out, '\n');
}

static int metrics_text(sl_str request, sl_buf *out)
{
    sl_otlp_records it = sl_otlp_records_of(request);
    while (sl_otlp_records_next(&it)) {
        sl_otlp_metric metric;
        if (sl_otlp_read_metric(it.item, &metric))
            continue;
        sl_otlp_iter points = sl_otlp_items(metric.data, SL_OTLP_METRIC_POINTS);
        sl_str point;
        while (sl_otlp_next(&points, &point))
            put_point(out, &metric, point);
    }
    return it.error;
}

int sl_console_text(sl_signal signal, sl_str request, sl_buf *out)
{
    SL_ASSERT(out && (request.ptr || !request.len));
    int error;
    if (signal == SL_SIGNAL_TRACES)
        error = traces_text(request, out);
    else if (signal == SL_SIGNAL_METRICS)
        error = metrics_text(request, out);
    else
        error = sl_log_lines(request, SL_LOG_TEXT, out, NULL);
    return error ? error : out->failed;
}
