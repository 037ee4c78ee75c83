/* The live view: its JSON. */
#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/view/live_impl.h"
#include "src/wire/json_write.h"
#include "src/wire/otlp_plain.h"
#include "src/wire/otlp_read.h"

#define DEFAULT_LIMIT 20

static const char *kind_name(uint32_t kind)
{
    static const char *const names[] = {"INTERNAL", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"};
    return names[kind < sizeof names / sizeof *names ? kind : 0];
}

static const char *status_name(uint32_t code)
{
    return code == SL_STATUS_ERROR ? "ERROR" : code == SL_STATUS_OK ? "OK" : "UNSET";
}

static void put_attributes(sl_jw *w, sl_str message, uint32_t field)
{
    sl_otlp_iter it = sl_otlp_items(message, field);
    sl_str bytes;
    sl_jw_member_object(w, "attributes");
    while (sl_otlp_next(&it, &bytes)) {
        sl_otlp_pair pair;
        if (sl_otlp_read_pair(bytes, &pair) != 0)
            continue;
        sl_jw_key(w, pair.key);
        sl_otlp_plain_json(w, &pair.value);
    }
    sl_jw_end(w);
}

static void put_id(sl_jw *w, const char *name, sl_str id)
{
    SL_ASSERT(id.ptr || !id.len);
    sl_jw_key(w, sl_str_c(name));
    if (id.len)
        sl_jw_hex(w, (const uint8_t *)id.ptr, id.len);
    else
        sl_jw_null(w);
}

/* ---- one trace ---- */

/* Readers of JSON know signed numbers of 64 bits; a clock that is off must not make a whole list unreadable. */
static void put_ns(sl_jw *w, const char *name, uint64_t ns)
{
    sl_jw_member_u64(w, name, ns < INT64_MAX ? ns : INT64_MAX);
}

static void put_events(sl_jw *w, sl_str span)
{
    sl_otlp_iter it = sl_otlp_items(span, SL_OTLP_SPAN_EVENTS);
    sl_str bytes;
    sl_jw_member_array(w, "events");
    while (sl_otlp_next(&it, &bytes)) {
        sl_otlp_event event;
        if (sl_otlp_read_event(bytes, &event) != 0)
            continue;
        sl_jw_object(w);
        sl_jw_member_str(w, "name", event.name);
        put_ns(w, "time_ns", event.time_ns);
        put_attributes(w, event.self, SL_OTLP_EVENT_ATTRS);
        sl_jw_end(w);
    }
    sl_jw_end(w);
}

static void put_links(sl_jw *w, sl_str span)
{
    sl_otlp_iter it = sl_otlp_items(span, SL_OTLP_SPAN_LINKS);
    sl_str bytes;
    sl_jw_member_array(w, "links");
    while (sl_otlp_next(&it, &bytes)) {
        sl_otlp_link link;
        if (sl_otlp_read_link(bytes, &link) != 0)
            continue;
        sl_jw_object(w);
        put_id(w, "trace_id", link.trace_id);
        put_id(w, "span_id", link.span_id);
        put_attributes(w, link.self, SL_OTLP_LINK_ATTRS);
        sl_jw_end(w);
    }
    sl_jw_end(w);
}

static uint64_t duration_of(uint64_t start_ns, uint64_t end_ns)
{
    return end_ns > start_ns ? end_ns - start_ns : 0;
}

/* A parent of zeros is none. */
static sl_str parent_of(const sl_otlp_span *span)
{
    SL_ASSERT(span);
    static const uint8_t zero[SL_SPAN_ID_SIZE];
    bool none =
        span->parent_span_id.len != SL_SPAN_ID_SIZE || memcmp(span->parent_span_id.ptr, zero, SL_SPAN_ID_SIZE) == 0;
    return none ? sl_str_of(NULL, 0) : span->parent_span_id;
}

static void put_span(sl_jw *w, const sl_otlp_span *span, sl_str service)
{
    SL_ASSERT(span);
    sl_jw_object(w);
    put_id(w, "span_id", span->span_id);
    put_id(w, "parent_span_id", parent_of(span));
    sl_jw_member_str(w, "name", span->name);
    sl_jw_member_c(w, "kind", kind_name(span->kind));
    sl_jw_member_str(w, "service", service);
    put_ns(w, "start_ns", span->start_ns);
    put_ns(w, "duration_ns", duration_of(span->start_ns, span->end_ns));
    sl_jw_member_c(w, "status", status_name(span->status_code));
    if (span->status_message.len)
        sl_jw_member_str(w, "status_message", span->status_message);
    put_attributes(w, span->self, SL_OTLP_SPAN_ATTRS);
    put_events(w, span->self);
    put_links(w, span->self);
    if (span->tracestate.len)
        sl_jw_member_str(w, "tracestate", span->tracestate);
    sl_jw_end(w);
}

/* A kept span, read. */
typedef struct row {
    sl_otlp_span span;
    sl_str service;
    size_t order; /* of arrival */
} row;

static int compare_rows(const void *a, const void *b)
{
    const row *x = a, *y = b;
    if (x->span.start_ns != y->span.start_ns)
        return x->span.start_ns < y->span.start_ns ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

int sl_live_put_trace(const sl_live_trace *trace, sl_buf *out)
{
    SL_ASSERT(trace && trace->spans > 0);
    row *rows = sl_calloc(trace->spans, sizeof *rows);
    size_t count = 0;
    sl_jw w;
    if (!rows)
        return SL_ENOMEM;
    for (const sl_live_span *s = trace->first; s; s = s->next) {
        if (sl_otlp_read_span(sl_live_span_message(s), &rows[count].span) != 0)
            continue;
        rows[count].service = sl_live_span_service(s);
        rows[count].order = count;
        count++;
    }
    qsort(rows, count, sizeof *rows, compare_rows);
    sl_jw_init(&w, out);
    sl_jw_object(&w);
    put_id(&w, "trace_id", sl_str_of((const char *)trace->id, SL_TRACE_ID_SIZE));
    sl_jw_member_array(&w, "spans");
    for (size_t i = 0; i < count; i++)
        put_span(&w, &rows[i].span, rows[i].service);
    sl_jw_end(&w);
    sl_jw_end(&w);
    sl_free(rows);
    return sl_jw_finish(&w);
}

/* ---- the list ---- */

/* The earliest span without a parent, else the earliest one: what a line of the list is called after. */
static void find_root(const sl_live_trace *trace, sl_str *ret_name, sl_str *ret_service)
{
    SL_ASSERT(ret_name && ret_service && trace);
    uint64_t best_start = UINT64_MAX;
    bool best_is_root = false;
    *ret_name = *ret_service = sl_str_of(NULL, 0);
    for (const sl_live_span *s = trace->first; s; s = s->next) {
        sl_otlp_span span;
        if (sl_otlp_read_span(sl_live_span_message(s), &span) != 0)
            continue;
        bool is_root = parent_of(&span).len == 0;
        if (best_is_root && !is_root)
            continue;
        if (is_root == best_is_root && span.start_ns >= best_start)
            continue;
        best_is_root = is_root;
        best_start = span.start_ns;
        *ret_name = span.name;
        *ret_service = sl_live_span_service(s);
    }
}

static bool has_service(const sl_live_trace *trace, sl_str service)
{
    if (service.len == 0)
        return true;
    for (const sl_live_span *s = trace->first; s; s = s->next) {
        if (sl_str_eq(sl_live_span_service(s), service))
            return true;
    }
    return false;
}

static void put_line(sl_jw *w, const sl_live_trace *trace)
{
    SL_ASSERT(trace);
    sl_str root, service;
    char start[SL_RFC3339_MS_LEN + 1];
    find_root(trace, &root, &service);
    sl_rfc3339_ms(trace->start_ns, start);
    sl_jw_object(w);
    put_id(w, "trace_id", sl_str_of((const char *)trace->id, SL_TRACE_ID_SIZE));
    sl_jw_member_str(w, "root", root);
    sl_jw_member_str(w, "service", service);
    sl_jw_member_c(w, "start", start);
    put_ns(w, "duration_ns", duration_of(trace->start_ns, trace->end_ns));
    sl_jw_member_u64(w, "spans", trace->spans);
    sl_jw_member_bool(w, "error", trace->error);
    sl_jw_end(w);
}

int sl_live_put_list(const sl_live *live, const sl_live_filter *filter, sl_buf *out)
{
    SL_ASSERT(filter && live);
    size_t left = filter->limit ? filter->limit : DEFAULT_LIMIT;
    sl_jw w;
    sl_jw_init(&w, out);
    sl_jw_array(&w);
    for (const sl_live_trace *t = live->newest; t && left > 0; t = t->older) {
        if (t->spans == 0 || !has_service(t, filter->service))
            continue;
        put_line(&w, t);
        left--;
    }
    sl_jw_end(&w);
    return sl_jw_finish(&w);
}
