/* See queue_message.h. */
#include "src/queue/queue_message.h"

#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/clock.h"

void sl_queue_time(uint64_t unix_ns, char ret_text[SL_QUEUE_TIME_LEN + 1])
{
    char text[SL_RFC3339_MS_LEN + 1];
    sl_rfc3339_ms(unix_ns, text);
    (void)snprintf(ret_text, SL_QUEUE_TIME_LEN + 1, "%.23s%03uZ", text, (unsigned)(unix_ns / 1000 % 1000));
}

static sl_str text_of(const json_t *value)
{
    return json_is_string(value) ? sl_str_of(json_string_value(value), json_string_length(value)) : sl_str_of(NULL, 0);
}

/* The producer's span, when the stats name one: 32 and 16 hex digits. */
static bool read_parent(const json_t *stats, sl_span_context *ret_parent)
{
    sl_span_context parent = {.flags = SL_TRACE_FLAG_SAMPLED, .remote = true};
    if (sl_hex_decode(text_of(json_object_get(stats, "trace_id")), parent.trace_id, SL_TRACE_ID_SIZE) ||
        sl_hex_decode(text_of(json_object_get(stats, "span_id")), parent.span_id, SL_SPAN_ID_SIZE) ||
        !sl_span_context_is_valid(&parent))
        return false;
    *ret_parent = parent;
    return true;
}

/* A member that may be missing or null, else of the type. */
static bool optional(const json_t *object, const char *name, json_type type, bool may_be_null)
{
    const json_t *value = json_object_get(object, name);
    return !value || json_typeof(value) == type || (may_be_null && json_is_null(value));
}

int sl_queue_message_check(const json_t *message, sl_queue_message_head *ret_head, const char **ret_why)
{
    SL_ASSERT(ret_head && ret_why);
    const json_t *stats = json_object_get(message, "stats");
    if (!json_is_object(message))
        *ret_why = "a QueueMessage is a JSON object";
    else if (!optional(message, "id_", JSON_STRING, false) || !optional(message, "publisher_id", JSON_STRING, false) ||
             !optional(message, "type", JSON_STRING, false) || !optional(message, "action", JSON_STRING, true))
        *ret_why = "id_, publisher_id, type and action are strings";
    else if (!optional(message, "data", JSON_OBJECT, false) || !optional(message, "stats", JSON_OBJECT, false))
        *ret_why = "data and stats are objects";
    else if (text_of(json_object_get(message, "id_")).len > SL_QUEUE_MAX_KEY_BYTES)
        *ret_why = "id_ is too long";
    else {
        sl_queue_message_head head = {.id = text_of(json_object_get(message, "id_")),
                                      .type = text_of(json_object_get(message, "type")),
                                      .action = text_of(json_object_get(message, "action"))};
        head.has_parent = read_parent(stats, &head.parent);
        *ret_head = head;
        return 0;
    }
    return SL_EPARSE;
}

static json_t *time_json(uint64_t unix_ns)
{
    char text[SL_QUEUE_TIME_LEN + 1];
    if (!unix_ns)
        return json_null();
    sl_queue_time(unix_ns, text);
    return json_string(text);
}

json_t *sl_queue_message_stats(const sl_queue_message *m, uint64_t end_ns)
{
    SL_ASSERT(m);
    json_t *stats = json_object();
    sl_span_context context;
    (void)json_object_set_new(stats, "publish_time", time_json(m->put_ns));
    (void)json_object_set_new(stats, "process_start_time", time_json(m->taken_ns));
    (void)json_object_set_new(stats, "process_end_time", time_json(end_ns));
    if (m->trace.len && sl_traceparent_parse(m->trace, &context) == 0) {
        char trace[2 * SL_TRACE_ID_SIZE], span[2 * SL_SPAN_ID_SIZE];
        sl_hex_encode(context.trace_id, SL_TRACE_ID_SIZE, trace);
        sl_hex_encode(context.span_id, SL_SPAN_ID_SIZE, span);
        (void)json_object_set_new(stats, "trace_id", json_stringn(trace, sizeof trace));
        (void)json_object_set_new(stats, "span_id", json_stringn(span, sizeof span));
    } else {
        (void)json_object_set_new(stats, "trace_id", json_null());
        (void)json_object_set_new(stats, "span_id", json_null());
    }
    return stats;
}

static void set_default(json_t *object, const char *name, json_t *value)
{
    if (json_object_get(object, name))
        json_decref(value);
    else
        (void)json_object_set_new(object, name, value);
}

json_t *sl_queue_message_json(const sl_queue_message *m, uint64_t end_ns)
{
    SL_ASSERT(m);
    json_t *message = json_loadb(m->body.ptr ? m->body.ptr : "", m->body.len, 0, NULL);
    if (!json_is_object(message)) {
        json_decref(message);
        message = json_object();
        json_t *text = json_stringn(m->body.ptr ? m->body.ptr : "", m->body.len); /* NULL when it is not UTF-8 */
        (void)json_object_set_new(message, "data", json_pack("{s:o}", "body", text ? text : json_null()));
    }
    set_default(message, "id_", json_string(m->id));
    set_default(message, "publisher_id", json_string("default"));
    set_default(message, "data", json_object());
    set_default(message, "action", json_null());
    set_default(message, "type", json_string("default"));
    (void)json_object_set_new(message, "stats", sl_queue_message_stats(m, end_ns));
    return message;
}
