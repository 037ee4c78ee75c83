/* OTLP spans to Zipkin v2 JSON. */
#include "src/wire/zipkin_json.h"

#include <arpa/inet.h>
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/hash.h"
#include "src/base/mem.h"
#include "src/wire/otlp_plain.h"

#define KIND_CLIENT 3u
#define KIND_PRODUCER 4u
#define STATUS_OK 1u
#define STATUS_ERROR 2u
#define LINK_PREFIX "otlp.link."

/* Names of the tags that a span has already. Slots of an older generation are free. */
typedef struct name_set {
    struct slot {
        sl_str name;
        uint32_t generation;
    } * slots;
    size_t cap, count;
    uint32_t generation;
} name_set;

/* What is being written. */
typedef struct writer {
    sl_jw json;
    sl_buf text; /* of one value */
    name_set names;
    sl_str resource;
    sl_str service;
    sl_otlp_scope_view scope;
    bool tags_open;
    bool has_links;
    size_t written, skipped;
} writer;

/* ---- names ---- */

static struct slot *slot_of(const name_set *set, sl_str name)
{
    SL_ASSERT(set->cap && !(set->cap & (set->cap - 1)));
    size_t at = (size_t)sl_hash_str(name) & (set->cap - 1);
    while (set->slots[at].generation == set->generation && !sl_str_eq(set->slots[at].name, name))
        at = (at + 1) & (set->cap - 1);
    return &set->slots[at];
}

static int grow(name_set *set)
{
    name_set larger = {NULL, set->cap ? set->cap * 2 : 64, set->count, 1};
    larger.slots = sl_calloc(larger.cap, sizeof *larger.slots);
    if (!larger.slots)
        return SL_ENOMEM;
    for (size_t i = 0; i < set->cap; i++) {
        if (set->slots[i].generation == set->generation)
            *slot_of(&larger, set->slots[i].name) = (struct slot){set->slots[i].name, 1};
    }
    sl_free(set->slots);
    *set = larger;
    return 0;
}

static void forget_names(name_set *set)
{
    SL_ASSERT(set->generation < UINT32_MAX);
    set->generation++;
    set->count = 0;
}

/* Notes a name; `*ret_new` is false when it is there already. */
static int note_name(name_set *set, sl_str name, bool *ret_new)
{
    SL_ASSERT(ret_new);
    if (set->count * 2 >= set->cap && grow(set))
        return SL_ENOMEM;
    struct slot *slot = slot_of(set, name);
    *ret_new = slot->generation != set->generation;
    if (*ret_new) {
        *slot = (struct slot){name, set->generation};
        set->count++;
    }
    return 0;
}

/* ---- tags ---- */

/* The name and text of a tag; the first opens the object. */
static void write_tag(writer *w, sl_str name, sl_str text)
{
    if (!w->tags_open)
        sl_jw_member_object(&w->json, "tags");
    w->tags_open = true;
    sl_jw_key(&w->json, name);
    sl_jw_str(&w->json, text);
}

/* `name` must live until the span is written. */
static int put_tag(writer *w, sl_str name, sl_str text)
{
    bool is_new;
    int error = note_name(&w->names, name, &is_new);
    if (!error && is_new)
        write_tag(w, name, text);
    return error;
}

static int put_known_tag(writer *w, const char *name, sl_str text)
{
    return text.len ? put_tag(w, sl_str_c(name), text) : 0;
}

static int put_count_tag(writer *w, const char *name, uint32_t count)
{
    char text[16];
    (void)snprintf(text, sizeof text, "%u", count);
    return count ? put_tag(w, sl_str_c(name), sl_str_c(text)) : 0;
}

/* `error` without an error would make Zipkin draw a span as failed. */
static bool says_no_error(const sl_otlp_pair *pair)
{
    if (!sl_str_eq_c(pair->key, "error"))
        return false;
    const sl_otlp_any *v = &pair->value;
    return (v->type == SL_VALUE_BOOL && !v->boolean) || (v->type == SL_VALUE_STRING && sl_str_eq_c(v->str, "false"));
}

static int put_pair(writer *w, const sl_otlp_pair *pair)
{
    if (says_no_error(pair) || (w->has_links && sl_str_starts(pair->key, SL_STR(LINK_PREFIX))))
        return 0;
    sl_buf_clear(&w->text);
    int error = sl_otlp_plain_text(&w->text, &pair->value);
    return error ? error : put_tag(w, pair->key, sl_buf_str(&w->text));
}

/* Attributes as tags; `except` (may be empty) is left out. */
static int put_attributes(writer *w, sl_str message, uint32_t field, sl_str except)
{
    SL_ASSERT(w);
    sl_otlp_iter it = sl_otlp_items(message, field);
    sl_str bytes;
    while (sl_otlp_next(&it, &bytes)) {
        sl_otlp_pair pair;
        int error = sl_otlp_read_pair(bytes, &pair);
        if (!error && !(except.len && sl_str_eq(pair.key, except)))
            error = put_pair(w, &pair);
        if (error)
            return error;
    }
    return it.reader.error;
}

static int put_status(writer *w, const sl_otlp_span *span)
{
    if (span->status_code == STATUS_OK)
        return put_tag(w, SL_STR("otel.status_code"), SL_STR("OK"));
    if (span->status_code != STATUS_ERROR)
        return 0;
    int error = put_tag(w, SL_STR("otel.status_code"), SL_STR("ERROR"));
    return error ? error : put_tag(w, SL_STR("error"), span->status_message);
}

static int put_scope(writer *w)
{
    int error = put_known_tag(w, "otel.scope.name", w->scope.name);
    error = error ? error : put_known_tag(w, "otel.scope.version", w->scope.version);
    error = error ? error : put_known_tag(w, "otel.library.name", w->scope.name);
    return error ? error : put_known_tag(w, "otel.library.version", w->scope.version);
}

static int put_dropped(writer *w, const sl_otlp_span *span)
{
    int error = put_count_tag(w, "otel.dropped_attributes_count", span->dropped_attrs);
    error = error ? error : put_count_tag(w, "otel.dropped_events_count", span->dropped_events);
    return error ? error : put_count_tag(w, "otel.dropped_links_count", span->dropped_links);
}

static void put_hex(sl_buf *text, sl_str id)
{
    char hex[32];
    SL_ASSERT(id.len <= sizeof hex / 2);
    sl_hex_encode((const uint8_t *)id.ptr, id.len, hex);
    (void)sl_buf_put(text, hex, 2 * id.len);
}

/* trace id | span id | tracestate | attributes | dropped: what the Collector's Zipkin receiver makes a link of. */
static int link_text(const sl_otlp_link *link, sl_buf *text)
{
    SL_ASSERT(link && text);
    sl_buf_clear(text);
    put_hex(text, link->trace_id);
    (void)sl_buf_put_char(text, '|');
    put_hex(text, link->span_id);
    (void)sl_buf_put_char(text, '|');
    (void)sl_buf_put_str(text, link->tracestate);
    (void)sl_buf_put_char(text, '|');
    sl_jw json;
    sl_jw_init(&json, text);
    int error = sl_otlp_plain_object(&json, link->self, SL_OTLP_LINK_ATTRS);
    if (!error)
        error = sl_jw_finish(&json);
    (void)sl_buf_printf(text, "|%u", link->dropped_attrs);
    return error ? error : text->failed;
}

/* Their names are made here; attributes that look like them are left out then. */
static int put_links(writer *w, const sl_otlp_span *span)
{
    SL_ASSERT(w && span);
    sl_otlp_iter it = sl_otlp_items(span->self, SL_OTLP_SPAN_LINKS);
    sl_str bytes;
    for (unsigned n = 0; sl_otlp_next(&it, &bytes);) {
        sl_otlp_link link;
        int error = sl_otlp_read_link(bytes, &link);
        if (!error && (link.trace_id.len != 16 || link.span_id.len != 8))
            continue;
        if (!error)
            error = link_text(&link, &w->text);
        if (error)
            return error;
        char name[32];
        (void)snprintf(name, sizeof name, LINK_PREFIX "%u", n++);
        write_tag(w, sl_str_c(name), sl_buf_str(&w->text));
        w->has_links = true;
    }
    return it.reader.error;
}

static int put_tags(writer *w, const sl_otlp_span *span)
{
    SL_ASSERT(w && span);
    forget_names(&w->names);
    w->tags_open = w->has_links = false;
    int error = put_status(w, span);
    error = error ? error : put_scope(w);
    error = error ? error : put_known_tag(w, "w3c.tracestate", span->tracestate);
    error = error ? error : put_links(w, span);
    error = error ? error : put_dropped(w, span);
    error = error ? error : put_attributes(w, span->self, SL_OTLP_SPAN_ATTRS, sl_str_of(NULL, 0));
    error = error ? error : put_attributes(w, w->scope.self, SL_OTLP_SCOPE_ATTRS, sl_str_of(NULL, 0));
    error = error ? error : put_attributes(w, w->resource, SL_OTLP_RESOURCE_ATTRS, SL_STR("service.name"));
    if (w->tags_open)
        sl_jw_end(&w->json);
    return error;
}

/* ---- endpoints ---- */

static void put_local_endpoint(writer *w)
{
    sl_jw_member_object(&w->json, "localEndpoint");
    sl_jw_member_str(&w->json, "serviceName", w->service);
    sl_jw_end(&w->json);
}

/* The attributes that can name the peer, best first, each with that of its port where it is an address. */
static const struct {
    const char *name, *port;
} peer_ranks[] = {
    {"peer.service", NULL},
    {"server.address", NULL},
    {"net.peer.name", NULL},
    {"network.peer.address", "network.peer.port"},
    {"server.socket.domain", NULL},
    {"server.socket.address", "server.socket.port"},
    {"net.sock.peer.name", NULL},
    {"net.sock.peer.addr", "net.sock.peer.port"},
    {"peer.hostname", NULL},
    {"peer.address", NULL},
    {"db.name", NULL},
};

static uint64_t port_of(const sl_otlp_span *span, const char *name)
{
    sl_otlp_any port;
    uint64_t number = 0;
    if (!name || sl_otlp_find_attr(span->self, SL_OTLP_SPAN_ATTRS, sl_str_c(name), &port))
        return 0;
    if (port.type == SL_VALUE_INT && port.integer > 0)
        number = (uint64_t)port.integer;
    else if (port.type == SL_VALUE_STRING && sl_str_to_u64(port.str, &number))
        number = 0;
    return number <= UINT16_MAX ? number : 0;
}

/* "ipv4", "ipv6", or NULL when it is no address of the internet. */
static const char *address_kind(sl_str text)
{
    char copy[64];
    uint8_t bytes[16];
    if (memchr(text.ptr, 0, text.len) || !sl_str_to_c(text, copy, sizeof copy))
        return NULL;
    if (inet_pton(AF_INET, copy, bytes) == 1)
        return "ipv4";
    return inet_pton(AF_INET6, copy, bytes) == 1 ? "ipv6" : NULL;
}

static void put_peer(writer *w, const sl_otlp_span *span, sl_str name, const char *port_name)
{
    SL_ASSERT(name.len);
    const char *kind = port_name ? address_kind(name) : NULL;
    uint64_t port = port_of(span, port_name);
    sl_jw_member_object(&w->json, "remoteEndpoint");
    sl_jw_member_str(&w->json, kind ? kind : "serviceName", name);
    if (port)
        sl_jw_member_u64(&w->json, "port", port);
    sl_jw_end(&w->json);
}

/* Of clients and producers: without it Zipkin draws no dependency. */
static void put_remote_endpoint(writer *w, const sl_otlp_span *span)
{
    SL_ASSERT(w && span);
    for (size_t i = 0; i < sizeof peer_ranks / sizeof peer_ranks[0]; i++) {
        sl_otlp_any name;
        if (sl_otlp_find_attr(span->self, SL_OTLP_SPAN_ATTRS, sl_str_c(peer_ranks[i].name), &name) ||
            name.type != SL_VALUE_STRING || !name.str.len)
            continue;
        put_peer(w, span, name.str, peer_ranks[i].port);
        return;
    }
}

/* ---- annotations ---- */

/* The event's name, or "name":{"key":value}. */
static int annotation_text(const sl_otlp_event *event, sl_buf *text)
{
    SL_ASSERT(event && text);
    sl_buf_clear(text);
    if (!sl_otlp_count(event->self, SL_OTLP_EVENT_ATTRS))
        return sl_buf_put_str(text, event->name);
    (void)sl_json_put_string(text, event->name);
    (void)sl_buf_put_char(text, ':');
    sl_jw json;
    sl_jw_init(&json, text);
    int error = sl_otlp_plain_object(&json, event->self, SL_OTLP_EVENT_ATTRS);
    if (!error)
        error = sl_jw_finish(&json);
    return error ? error : text->failed;
}

static int put_annotations(writer *w, const sl_otlp_span *span)
{
    if (!sl_otlp_count(span->self, SL_OTLP_SPAN_EVENTS))
        return 0;
    sl_jw_member_array(&w->json, "annotations");
    sl_otlp_iter it = sl_otlp_items(span->self, SL_OTLP_SPAN_EVENTS);
    sl_str bytes;
    while (sl_otlp_next(&it, &bytes)) {
        sl_otlp_event event;
        int error = sl_otlp_read_event(bytes, &event);
        if (!error)
            error = annotation_text(&event, &w->text);
        if (error)
            return error;
        sl_jw_object(&w->json);
        sl_jw_member_u64(&w->json, "timestamp", event.time_ns / 1000);
        sl_jw_member_str(&w->json, "value", sl_buf_str(&w->text));
        sl_jw_end(&w->json);
    }
    sl_jw_end(&w->json);
    return it.reader.error;
}

/* ---- spans ---- */

static bool is_id(sl_str bytes, size_t len)
{
    bool set = false;
    for (size_t i = 0; i < bytes.len; i++)
        set |= bytes.ptr[i] != 0;
    return set && bytes.len == len;
}

static void put_id(writer *w, const char *name, sl_str id)
{
    sl_jw_key(&w->json, sl_str_c(name));
    sl_jw_hex(&w->json, (const uint8_t *)id.ptr, id.len);
}

static void put_times(writer *w, const sl_otlp_span *span)
{
    SL_ASSERT(w && span);
    if (span->start_ns >= 1000)
        sl_jw_member_u64(&w->json, "timestamp", span->start_ns / 1000);
    if (span->end_ns <= span->start_ns)
        return;
    uint64_t us = (span->end_ns - span->start_ns) / 1000;
    sl_jw_member_u64(&w->json, "duration", us ? us : 1);
}

static int put_span(writer *w, const sl_otlp_span *span)
{
    static const char *const kinds[] = {NULL, NULL, "SERVER", "CLIENT", "PRODUCER", "CONSUMER"};
    const char *kind = span->kind < sizeof kinds / sizeof kinds[0] ? kinds[span->kind] : NULL;
    sl_jw_object(&w->json);
    put_id(w, "traceId", span->trace_id);
    if (is_id(span->parent_span_id, 8))
        put_id(w, "parentId", span->parent_span_id);
    put_id(w, "id", span->span_id);
    if (kind)
        sl_jw_member_c(&w->json, "kind", kind);
    if (span->name.len)
        sl_jw_member_str(&w->json, "name", span->name);
    put_times(w, span);
    put_local_endpoint(w);
    if (span->kind == KIND_CLIENT || span->kind == KIND_PRODUCER)
        put_remote_endpoint(w, span);
    int error = put_annotations(w, span);
    if (!error)
        error = put_tags(w, span);
    sl_jw_end(&w->json);
    return error;
}

static int put_scope_spans(writer *w, sl_str bytes)
{
    SL_ASSERT(w);
    sl_otlp_group group;
    if (sl_otlp_read_group(bytes, &group) || sl_otlp_read_scope(group.head, &w->scope))
        return SL_EPARSE;
    sl_otlp_iter it = sl_otlp_items(bytes, SL_OTLP_GROUP_ITEMS);
    sl_str item;
    while (sl_otlp_next(&it, &item)) {
        sl_otlp_span span;
        int error = sl_otlp_read_span(item, &span);
        if (!error && (!is_id(span.trace_id, 16) || !is_id(span.span_id, 8))) {
            w->skipped++;
        } else if (!error) {
            w->written++;
            error = put_span(w, &span);
        }
        if (error || w->json.error)
            return error ? error : w->json.error;
    }
    return it.reader.error;
}

static int put_resource_spans(writer *w, sl_str resource_spans)
{
    sl_otlp_group group;
    sl_otlp_any name;
    int error = sl_otlp_read_group(resource_spans, &group);
    if (error)
        return error;
    w->resource = group.head;
    error = sl_otlp_find_attr(group.head, SL_OTLP_RESOURCE_ATTRS, SL_STR("service.name"), &name);
    if (error && error != SL_ENOENT)
        return error;
    bool named = !error && name.type == SL_VALUE_STRING && name.str.len;
    w->service = named ? name.str : SL_STR("unknown_service");
    sl_jw_array(&w->json);
    sl_otlp_iter it = sl_otlp_items(resource_spans, SL_OTLP_GROUP_ITEMS);
    sl_str bytes;
    error = 0;
    while (!error && sl_otlp_next(&it, &bytes))
        error = put_scope_spans(w, bytes);
    sl_jw_end(&w->json);
    return error ? error : it.reader.error;
}

int sl_otlp_to_zipkin(sl_str resource_spans, sl_buf *out, size_t *ret_written, size_t *ret_skipped)
{
    SL_ASSERT(out && !out->failed && ret_written && ret_skipped);
    size_t before = out->len;
    writer w;
    memset(&w, 0, sizeof w);
    sl_jw_init(&w.json, out);
    sl_buf_init(&w.text, out->max);
    int error = put_resource_spans(&w, resource_spans);
    if (!error)
        error = sl_jw_finish(&w.json);
    sl_buf_done(&w.text);
    sl_free(w.names.slots);
    if (error) {
        out->len = before;
        return error;
    }
    *ret_written = w.written;
    *ret_skipped = w.skipped;
    return 0;
}
