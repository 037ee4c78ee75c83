/* Events and links of a span. */
#include <sightline/trace.h>

#include "src/base/str.h"
#include "src/telemetry/span_impl.h"
#include "src/wire/pb.h"

#define FIELD_EVENT 11
#define FIELD_LINK 13

void sl_span_add_event(sl_span *span, sl_str name, uint64_t time_ns, const sl_attr *attrs, size_t attr_count)
{
    if (!sl_span_recording(span))
        return;
    const sl_limits *limits = &span->tracer->sdk->span_limits;
    if (span->events >= limits->event_count) {
        span->dropped_events++;
        return;
    }
    uint8_t head[1 + 8];
    head[0] = 0x09;
    (void)sl_pb_raw_fixed64(head + 1, time_ns ? time_ns : sl_span_now(span));
    name.len = sl_utf8_prefix(name, SL_MAX_NAME_BYTES);
    sl_span_sub event = {.field = FIELD_EVENT,
                         .attrs_field = 3,
                         .dropped_field = 4,
                         .head = head,
                         .head_len = sizeof head,
                         .text = name,
                         .text_field = 2};
    sl_attr_rules rules = {limits->event_attr_count, limits->attr_value_chars, NULL, 0};
    if (sl_span_buf_add(&span->buf, &event, attrs, attr_count, &rules))
        span->events++;
    else
        span->dropped_events++;
}

void sl_span_record_error(sl_span *span, const char *type, const char *message)
{
    if (!sl_span_recording(span))
        return;
    sl_attr attrs[2];
    size_t count = 0;
    if (type)
        attrs[count++] = sl_attr_str("exception.type", type);
    if (message)
        attrs[count++] = sl_attr_str("exception.message", message);
    sl_span_add_event(span, SL_STR("exception"), 0, attrs, count);
}

void sl_span_add_link(sl_span *span, const sl_link *link)
{
    if (!sl_span_recording(span) || !link)
        return;
    const sl_span_context *to = &link->context;
    bool has_attrs = link->attrs && link->attr_count;
    if (!sl_span_identity_ok(to) && !has_attrs && to->tracestate.len == 0)
        return;
    const sl_limits *limits = &span->tracer->sdk->span_limits;
    if (span->links >= limits->link_count) {
        span->dropped_links++;
        return;
    }
    uint8_t head[2 + SL_TRACE_ID_SIZE + 2 + SL_SPAN_ID_SIZE + 2 + 4];
    sl_pb_cursor c = sl_pb_cursor_of(head, sizeof head);
    bool ok = sl_pb_put_bytes(&c, 1, to->trace_id, SL_TRACE_ID_SIZE) &&
              sl_pb_put_bytes(&c, 2, to->span_id, SL_SPAN_ID_SIZE) &&
              sl_pb_put_fixed32(&c, 6, to->flags | SL_FLAG_HAS_IS_REMOTE | (to->remote ? SL_FLAG_IS_REMOTE : 0));
    SL_ASSERT(ok);
    sl_span_sub sub = {.field = FIELD_LINK,
                       .attrs_field = 4,
                       .dropped_field = 5,
                       .head = head,
                       .head_len = (size_t)(c.at - head),
                       .text = to->tracestate,
                       .text_field = to->tracestate.len ? 3 : 0};
    sl_attr_rules rules = {limits->link_attr_count, limits->attr_value_chars, NULL, 0};
    if (ok && sl_span_buf_add(&span->buf, &sub, link->attrs, link->attr_count, &rules))
        span->links++;
    else
        span->dropped_links++;
}
