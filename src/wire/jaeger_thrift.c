/* OTLP spans to Jaeger's Thrift model. */
#include "src/wire/jaeger_thrift.h"

#include "src/base/assert.h"
#include "src/base/limits.h"
#include "src/wire/otlp_plain.h"
#include "src/wire/thrift_write.h"

/* TagType and SpanRefType. */
enum { TAG_STRING = 0, TAG_DOUBLE = 1, TAG_BOOL = 2, TAG_LONG = 3, TAG_BINARY = 4 };
#define FOLLOWS_FROM 1u
#define STATUS_OK 1u
#define STATUS_ERROR 2u
#define SAMPLED 1u

/* Eight bytes as a number; 0 when there are not eight. */
static uint64_t id_of(sl_str bytes)
{
    uint64_t id = 0;
    for (size_t i = 0; bytes.len == 8 && i < 8; i++)
        id = id << 8 | (uint8_t)bytes.ptr[i];
    return id;
}

/* ---- tags ---- */

static void tag_head(sl_buf *b, sl_thrift_list *tags, sl_str key, uint32_t type)
{
    SL_ASSERT(tags);
    tags->count++;
    sl_thrift_text(b, 1, key);
    sl_thrift_i32(b, 2, type);
}

static void tag_text(sl_buf *b, sl_thrift_list *tags, sl_str key, sl_str text)
{
    tag_head(b, tags, key, TAG_STRING);
    sl_thrift_text(b, 3, text);
    sl_thrift_stop(b);
}

static void tag_long(sl_buf *b, sl_thrift_list *tags, sl_str key, uint64_t value)
{
    tag_head(b, tags, key, TAG_LONG);
    sl_thrift_i64(b, 6, value);
    sl_thrift_stop(b);
}

static void tag_bool(sl_buf *b, sl_thrift_list *tags, sl_str key, bool value)
{
    tag_head(b, tags, key, TAG_BOOL);
    sl_thrift_bool(b, 5, value);
    sl_thrift_stop(b);
}

/* Counts and texts that are written only when there is something. */
static void tag_count(sl_buf *b, sl_thrift_list *tags, const char *key, uint32_t count)
{
    if (count)
        tag_long(b, tags, sl_str_c(key), count);
}

static void tag_known(sl_buf *b, sl_thrift_list *tags, const char *key, sl_str text)
{
    if (text.len)
        tag_text(b, tags, sl_str_c(key), text);
}

/* Arrays and maps as JSON. */
static int tag_container(sl_buf *b, sl_thrift_list *tags, const sl_otlp_pair *pair)
{
    sl_buf text;
    sl_buf_init(&text, b->max);
    int error = sl_otlp_plain_text(&text, &pair->value);
    if (!error)
        tag_text(b, tags, pair->key, sl_buf_str(&text));
    sl_buf_done(&text);
    return error;
}

static int tag_pair(sl_buf *b, sl_thrift_list *tags, const sl_otlp_pair *pair)
{
    SL_ASSERT(b && pair);
    const sl_otlp_any *any = &pair->value;
    switch (any->type) {
    case SL_VALUE_STRING:
        tag_text(b, tags, pair->key, any->str);
        return 0;
    case SL_VALUE_BOOL:
        tag_bool(b, tags, pair->key, any->boolean);
        return 0;
    case SL_VALUE_INT:
        tag_long(b, tags, pair->key, (uint64_t)any->integer);
        return 0;
    case SL_VALUE_DOUBLE:
        tag_head(b, tags, pair->key, TAG_DOUBLE);
        sl_thrift_double(b, 4, any->real);
        sl_thrift_stop(b);
        return 0;
    case SL_VALUE_BYTES:
        tag_head(b, tags, pair->key, TAG_BINARY);
        sl_thrift_bytes(b, 7, any->str);
        sl_thrift_stop(b);
        return 0;
    default:
        return tag_container(b, tags, pair);
    }
}

/* All attributes of a message but those named `except` (empty: none). */
static int tag_attributes(sl_buf *b, sl_thrift_list *tags, sl_str message, uint32_t field, sl_str except)
{
    sl_otlp_iter it = sl_otlp_items(message, field);
    sl_str bytes;
    while (sl_otlp_next(&it, &bytes)) {
        sl_otlp_pair pair;
        int error = sl_otlp_read_pair(bytes, &pair);
        if (!error && !(except.len && sl_str_eq(pair.key, except)))
            error = tag_pair(b, tags, &pair);
        if (error)
            return error;
    }
    return it.reader.error;
}

/* ---- the parts of a span ---- */

static sl_str kind_name(uint32_t kind)
{
    static const char *const names[] = {"", "", "server", "client", "producer", "consumer"};
    return sl_str_c(kind < sizeof names / sizeof names[0] ? names[kind] : "");
}

static int put_scope_tags(sl_buf *b, sl_thrift_list *tags, const sl_otlp_scope_view *scope)
{
    tag_known(b, tags, "otel.scope.name", scope->name);
    tag_known(b, tags, "otel.scope.version", scope->version);
    tag_known(b, tags, "otel.library.name", scope->name);
    tag_known(b, tags, "otel.library.version", scope->version);
    return tag_attributes(b, tags, scope->self, SL_OTLP_SCOPE_ATTRS, sl_str_of(NULL, 0));
}

static int put_tags(sl_buf *b, const sl_otlp_span *span, const sl_otlp_scope_view *scope)
{
    SL_ASSERT(b && span && scope);
    sl_thrift_list tags = sl_thrift_list_open(b, 10);
    bool failed = span->status_code == STATUS_ERROR;
    tag_known(b, &tags, "span.kind", kind_name(span->kind));
    if (failed || span->status_code == STATUS_OK)
        tag_text(b, &tags, SL_STR("otel.status_code"), failed ? SL_STR("ERROR") : SL_STR("OK"));
    tag_known(b, &tags, "otel.status_description", span->status_message);
    if (failed)
        tag_bool(b, &tags, SL_STR("error"), true);
    sl_str replaced = failed ? SL_STR("error") : sl_str_of(NULL, 0);
    int error = tag_attributes(b, &tags, span->self, SL_OTLP_SPAN_ATTRS, replaced);
    if (!error)
        error = put_scope_tags(b, &tags, scope);
    tag_known(b, &tags, "w3c.tracestate", span->tracestate);
    tag_count(b, &tags, "otel.dropped_attributes_count", span->dropped_attrs);
    tag_count(b, &tags, "otel.dropped_events_count", span->dropped_events);
    tag_count(b, &tags, "otel.dropped_links_count", span->dropped_links);
    sl_thrift_list_close(b, &tags, true);
    return error;
}

static int put_references(sl_buf *b, const sl_otlp_span *span)
{
    SL_ASSERT(b && span);
    sl_thrift_list list = sl_thrift_list_open(b, 6);
    sl_otlp_iter it = sl_otlp_items(span->self, SL_OTLP_SPAN_LINKS);
    sl_str bytes;
    while (sl_otlp_next(&it, &bytes)) {
        sl_otlp_link link;
        if (sl_otlp_read_link(bytes, &link))
            return SL_EPARSE;
        if (link.trace_id.len != 16 || !id_of(link.span_id))
            continue;
        list.count++;
        sl_thrift_i32(b, 1, FOLLOWS_FROM);
        sl_thrift_i64(b, 2, id_of(sl_str_sub(link.trace_id, 8, 8)));
        sl_thrift_i64(b, 3, id_of(sl_str_sub(link.trace_id, 0, 8)));
        sl_thrift_i64(b, 4, id_of(link.span_id));
        sl_thrift_stop(b);
    }
    sl_thrift_list_close(b, &list, true);
    return it.reader.error;
}

/* ---- logs ---- */

static int put_event(sl_buf *b, const sl_otlp_event *event)
{
    sl_otlp_any own;
    sl_thrift_i64(b, 1, event->time_ns / 1000);
    sl_thrift_list fields = sl_thrift_list_open(b, 2);
    int error = sl_otlp_find_attr(event->self, SL_OTLP_EVENT_ATTRS, SL_STR("event"), &own);
    if (error && error != SL_ENOENT)
        return error;
    if (error)
        tag_text(b, &fields, SL_STR("event"), event->name); /* an attribute of that name goes first */
    error = tag_attributes(b, &fields, event->self, SL_OTLP_EVENT_ATTRS, sl_str_of(NULL, 0));
    tag_count(b, &fields, "otel.dropped_attributes_count", event->dropped_attrs);
    sl_thrift_list_close(b, &fields, false);
    sl_thrift_stop(b);
    return error;
}

static void tag_hex(sl_buf *b, sl_thrift_list *tags, const char *key, sl_str id)
{
    char text[32];
    SL_ASSERT(id.len <= sizeof text / 2);
    sl_hex_encode((const uint8_t *)id.ptr, id.len, text);
    tag_text(b, tags, sl_str_c(key), sl_str_of(text, 2 * id.len));
}

/* The attributes of a link, which a reference cannot hold. */
static int put_link_log(sl_buf *b, const sl_otlp_link *link, uint64_t start_ns)
{
    SL_ASSERT(b && link);
    sl_thrift_i64(b, 1, start_ns / 1000);
    sl_thrift_list fields = sl_thrift_list_open(b, 2);
    tag_text(b, &fields, SL_STR("event"), SL_STR("link"));
    tag_hex(b, &fields, "trace_id", link->trace_id);
    tag_hex(b, &fields, "span_id", link->span_id);
    int error = tag_attributes(b, &fields, link->self, SL_OTLP_LINK_ATTRS, sl_str_of(NULL, 0));
    tag_count(b, &fields, "otel.dropped_attributes_count", link->dropped_attrs);
    sl_thrift_list_close(b, &fields, false);
    sl_thrift_stop(b);
    return error;
}

static int put_link_logs(sl_buf *b, const sl_otlp_span *span, sl_thrift_list *logs)
{
    SL_ASSERT(logs);
    sl_otlp_iter it = sl_otlp_items(span->self, SL_OTLP_SPAN_LINKS);
    sl_str bytes;
    while (sl_otlp_next(&it, &bytes)) {
        sl_otlp_link link;
        int error = sl_otlp_read_link(bytes, &link);
        bool plain = !error && !sl_otlp_count(link.self, SL_OTLP_LINK_ATTRS) && !link.dropped_attrs;
        if (!error && !plain && link.trace_id.len == 16 && id_of(link.span_id)) {
            logs->count++;
            error = put_link_log(b, &link, span->start_ns);
        }
        if (error)
            return error;
    }
    return it.reader.error;
}

static int put_logs(sl_buf *b, const sl_otlp_span *span)
{
    sl_thrift_list logs = sl_thrift_list_open(b, 11);
    int error = put_link_logs(b, span, &logs);
    sl_otlp_iter it = sl_otlp_items(span->self, SL_OTLP_SPAN_EVENTS);
    sl_str bytes;
    while (!error && sl_otlp_next(&it, &bytes)) {
        sl_otlp_event event;
        error = sl_otlp_read_event(bytes, &event);
        if (!error) {
            logs.count++;
            error = put_event(b, &event);
        }
    }
    sl_thrift_list_close(b, &logs, true);
    return error ? error : it.reader.error;
}

/* ---- spans, process, batch ---- */

static bool has_ids(const sl_otlp_span *span)
{
    bool trace = span->trace_id.len == 16 &&
                 (id_of(sl_str_sub(span->trace_id, 0, 8)) || id_of(sl_str_sub(span->trace_id, 8, 8)));
    return trace && id_of(span->span_id);
}

/* Jaeger takes a span that ends as it starts for one whose clock went back, and says so in its view. */
static uint64_t duration_us(const sl_otlp_span *span)
{
    if (span->end_ns <= span->start_ns)
        return 0;
    uint64_t us = (span->end_ns - span->start_ns) / 1000;
    return us ? us : 1;
}

static int put_span(sl_buf *b, const sl_otlp_span *span, const sl_otlp_scope_view *scope)
{
    SL_ASSERT(has_ids(span));
    sl_thrift_i64(b, 1, id_of(sl_str_sub(span->trace_id, 8, 8)));
    sl_thrift_i64(b, 2, id_of(sl_str_sub(span->trace_id, 0, 8)));
    sl_thrift_i64(b, 3, id_of(span->span_id));
    sl_thrift_i64(b, 4, id_of(span->parent_span_id));
    sl_thrift_text(b, 5, span->name);
    int error = put_references(b, span);
    sl_thrift_i32(b, 7, SAMPLED); /* what is exported was sampled */
    sl_thrift_i64(b, 8, span->start_ns / 1000);
    sl_thrift_i64(b, 9, duration_us(span));
    if (!error)
        error = put_tags(b, span, scope);
    if (!error)
        error = put_logs(b, span);
    sl_thrift_stop(b);
    return error;
}

static int put_scope_spans(sl_buf *b, sl_str bytes, sl_thrift_list *spans, size_t *skipped)
{
    SL_ASSERT(spans && skipped);
    sl_otlp_group group;
    sl_otlp_scope_view scope;
    if (sl_otlp_read_group(bytes, &group) || sl_otlp_read_scope(group.head, &scope))
        return SL_EPARSE;
    sl_otlp_iter it = sl_otlp_items(bytes, SL_OTLP_GROUP_ITEMS);
    sl_str item;
    while (sl_otlp_next(&it, &item)) {
        sl_otlp_span span;
        int error = sl_otlp_read_span(item, &span);
        if (!error && !has_ids(&span)) {
            ++*skipped;
        } else if (!error) {
            spans->count++;
            error = put_span(b, &span, &scope);
        }
        if (error || b->failed)
            return error ? error : b->failed;
    }
    return it.reader.error;
}

static int put_process(sl_buf *b, sl_str resource)
{
    SL_ASSERT(b);
    sl_otlp_any name;
    int error = sl_otlp_find_attr(resource, SL_OTLP_RESOURCE_ATTRS, SL_STR("service.name"), &name);
    if (error && error != SL_ENOENT)
        return error;
    bool named = !error && name.type == SL_VALUE_STRING && name.str.len;
    sl_thrift_field(b, SL_THRIFT_STRUCT, 1);
    sl_thrift_text(b, 1, named ? name.str : SL_STR("unknown_service"));
    sl_thrift_list tags = sl_thrift_list_open(b, 2);
    error = tag_attributes(b, &tags, resource, SL_OTLP_RESOURCE_ATTRS, SL_STR("service.name"));
    sl_thrift_list_close(b, &tags, true);
    sl_thrift_stop(b);
    return error;
}

static int put_batch(sl_buf *b, sl_str resource_spans, size_t *written, size_t *skipped)
{
    sl_otlp_group resource;
    int error = sl_otlp_read_group(resource_spans, &resource);
    if (!error)
        error = put_process(b, resource.head);
    sl_thrift_list spans = sl_thrift_list_open(b, 2);
    sl_otlp_iter it = sl_otlp_items(resource_spans, SL_OTLP_GROUP_ITEMS);
    sl_str bytes;
    while (!error && sl_otlp_next(&it, &bytes))
        error = put_scope_spans(b, bytes, &spans, skipped);
    sl_thrift_list_close(b, &spans, false);
    sl_thrift_stop(b);
    *written = spans.count;
    return error ? error : it.reader.error;
}

int sl_otlp_to_jaeger(sl_str resource_spans, sl_buf *out, size_t *ret_written, size_t *ret_skipped)
{
    SL_ASSERT(out && !out->failed && ret_written && ret_skipped);
    size_t before = out->len, written = 0, skipped = 0;
    int error = put_batch(out, resource_spans, &written, &skipped);
    if (!error)
        error = out->failed;
    if (error) {
        out->len = before;
        return error;
    }
    *ret_written = written;
    *ret_skipped = skipped;
    return 0;
}
