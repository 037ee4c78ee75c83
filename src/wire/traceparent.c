/*
 * The W3C `traceparent` header. Strict where the specification is: lower-case hex only, no all-zero ids, version ff
 * refused, version 00 exactly 55 characters, later versions read by their first 55.
 * Source: W3C Trace Context Level 2, section 3.2.
 */
#include <sightline/context.h>

#include "src/base/assert.h"
#include "src/base/str.h"

static bool all_zero(const uint8_t *bytes, size_t len)
{
    SL_ASSERT(bytes || !len);
    uint8_t any = 0;
    for (size_t i = 0; i < len; i++)
        any |= bytes[i];
    return any == 0;
}

bool sl_span_context_is_valid(const sl_span_context *context)
{
    return context && !all_zero(context->trace_id, SL_TRACE_ID_SIZE) && !all_zero(context->span_id, SL_SPAN_ID_SIZE);
}

/* Value of a lower-case hex digit; 16 or more for anything else. */
static unsigned lower_hex(char c)
{
    if (c >= '0' && c <= '9')
        return (unsigned)(c - '0');
    return c >= 'a' && c <= 'f' ? (unsigned)(c - 'a') + 10 : 16;
}

static bool decode(const char *text, uint8_t *bytes, size_t len)
{
    SL_ASSERT(bytes || !len);
    unsigned bad = 0;
    for (size_t i = 0; i < len; i++) {
        unsigned high = lower_hex(text[2 * i]), low = lower_hex(text[2 * i + 1]);
        bad |= high | low;
        bytes[i] = (uint8_t)(high << 4 | (low & 15));
    }
    return bad < 16;
}

int sl_traceparent_parse(sl_str header, sl_span_context *ret_context)
{
    if (!ret_context)
        return SL_EINVAL;
    sl_str h = sl_str_trim(header);
    if (h.len < SL_TRACEPARENT_LEN || h.ptr[2] != '-' || h.ptr[35] != '-' || h.ptr[52] != '-')
        return SL_EPARSE;
    uint8_t version, flags;
    sl_span_context context;
    memset(&context, 0, sizeof context);
    if (!decode(h.ptr, &version, 1) || !decode(h.ptr + 3, context.trace_id, SL_TRACE_ID_SIZE) ||
        !decode(h.ptr + 36, context.span_id, SL_SPAN_ID_SIZE) || !decode(h.ptr + 53, &flags, 1))
        return SL_EPARSE;
    bool longer = h.len > SL_TRACEPARENT_LEN;
    if (version == 0xFF || (longer && (version == 0 || h.ptr[SL_TRACEPARENT_LEN] != '-')))
        return SL_EPARSE;
    if (!sl_span_context_is_valid(&context))
        return SL_EPARSE;
    context.flags = flags & (SL_TRACE_FLAG_SAMPLED | SL_TRACE_FLAG_RANDOM);
    context.remote = true;
    *ret_context = context;
    return 0;
}

void sl_traceparent_format(const sl_span_context *context, char ret_text[SL_TRACEPARENT_LEN + 1])
{
    SL_ASSERT(context && ret_text);
    uint8_t flags = context->flags & (SL_TRACE_FLAG_SAMPLED | SL_TRACE_FLAG_RANDOM);
    memcpy(ret_text, "00-", 3);
    sl_hex_encode(context->trace_id, SL_TRACE_ID_SIZE, ret_text + 3);
    ret_text[35] = '-';
    sl_hex_encode(context->span_id, SL_SPAN_ID_SIZE, ret_text + 36);
    ret_text[52] = '-';
    sl_hex_encode(&flags, 1, ret_text + 53);
    ret_text[SL_TRACEPARENT_LEN] = '\0';
}
