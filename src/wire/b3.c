/* B3 and Jaeger headers. */
#include "src/wire/b3.h"

#include "src/base/assert.h"
#include "src/base/str.h"
#include "src/wire/pct.h"

/* Hex of at most `size` bytes, any number of digits, into the end of `id`; false when malformed or too long. */
static bool padded_id(sl_str text, uint8_t *id, size_t size)
{
    SL_ASSERT(text.ptr || !text.len);
    char digits[2 * SL_TRACE_ID_SIZE];
    SL_ASSERT(size <= SL_TRACE_ID_SIZE);
    if (text.len == 0 || text.len > 2 * size)
        return false;
    memset(digits, '0', sizeof digits);
    memcpy(digits + 2 * size - text.len, text.ptr, text.len);
    return sl_hex_decode(sl_str_of(digits, 2 * size), id, size) == 0;
}

static bool b3_ids(sl_str trace_id, sl_str span_id, sl_span_context *context)
{
    SL_ASSERT(context);
    memset(context, 0, sizeof *context);
    context->remote = true;
    return (trace_id.len == 32 || trace_id.len == 16) && span_id.len == 16 &&
           padded_id(trace_id, context->trace_id, SL_TRACE_ID_SIZE) &&
           padded_id(span_id, context->span_id, SL_SPAN_ID_SIZE) && sl_span_context_is_valid(context);
}

/* '0', '1' or 'd'; false for anything else. */
static bool b3_state(sl_str text, uint8_t *ret_flags)
{
    SL_ASSERT(ret_flags && (text.ptr || !text.len));
    if (text.len != 1 || (text.ptr[0] != '0' && text.ptr[0] != '1' && text.ptr[0] != 'd'))
        return false;
    *ret_flags = text.ptr[0] == '0' ? 0 : SL_TRACE_FLAG_SAMPLED;
    return true;
}

int sl_b3_parse(sl_str header, sl_span_context *ret_context)
{
    SL_ASSERT(ret_context);
    sl_str rest = sl_str_trim(header), part[4] = {{NULL, 0}, {NULL, 0}, {NULL, 0}, {NULL, 0}};
    size_t count = 0;
    sl_str next;
    while (sl_str_split(&rest, '-', &next)) {
        if (count == 4)
            return SL_EPARSE;
        part[count++] = next;
    }
    sl_span_context context;
    uint8_t flags = 0, parent[SL_SPAN_ID_SIZE];
    if (count == 1)
        return b3_state(part[0], &flags) ? SL_ENOENT : SL_EPARSE;
    if (count < 2 || !b3_ids(part[0], part[1], &context) || (count > 2 && !b3_state(part[2], &flags)) ||
        (count > 3 && sl_hex_decode(part[3], parent, sizeof parent)))
        return SL_EPARSE;
    context.flags = flags;
    *ret_context = context;
    return 0;
}

int sl_b3_parse_multi(sl_str trace_id, sl_str span_id, sl_str sampled, sl_str flags, sl_span_context *ret_context)
{
    SL_ASSERT(ret_context);
    sl_span_context context;
    if (!b3_ids(sl_str_trim(trace_id), sl_str_trim(span_id), &context))
        return SL_EPARSE;
    sampled = sl_str_trim(sampled);
    bool yes = sl_str_eq_c(sampled, "1") || sl_str_ieq(sampled, SL_STR("true"));
    if (yes || sl_str_eq_c(sl_str_trim(flags), "1"))
        context.flags = SL_TRACE_FLAG_SAMPLED;
    *ret_context = context;
    return 0;
}

void sl_b3_format(const sl_span_context *context, char ret_text[SL_B3_LEN + 1])
{
    SL_ASSERT(context && ret_text);
    sl_hex_encode(context->trace_id, SL_TRACE_ID_SIZE, ret_text);
    ret_text[32] = '-';
    sl_hex_encode(context->span_id, SL_SPAN_ID_SIZE, ret_text + 33);
    ret_text[49] = '-';
    ret_text[50] = context->flags & SL_TRACE_FLAG_SAMPLED ? '1' : '0';
    ret_text[SL_B3_LEN] = '\0';
}

int sl_jaeger_parse(sl_str header, sl_span_context *ret_context)
{
    SL_ASSERT(ret_context);
    char text[128];
    if (header.len > sizeof text)
        return SL_EPARSE;
    sl_str rest = sl_str_trim(sl_str_of(text, sl_pct_decode(header, text)));
    sl_str part[4], next;
    size_t count = 0;
    while (sl_str_split(&rest, ':', &next)) {
        if (count == 4)
            return SL_EPARSE;
        part[count++] = next;
    }
    sl_span_context context;
    memset(&context, 0, sizeof context);
    context.remote = true;
    uint8_t flags = 0;
    if (count != 4 || !padded_id(part[0], context.trace_id, SL_TRACE_ID_SIZE) ||
        !padded_id(part[1], context.span_id, SL_SPAN_ID_SIZE) || !padded_id(part[3], &flags, 1) ||
        !sl_span_context_is_valid(&context))
        return SL_EPARSE;
    context.flags = flags & 3 ? SL_TRACE_FLAG_SAMPLED : 0;
    *ret_context = context;
    return 0;
}

void sl_jaeger_format(const sl_span_context *context, char ret_text[SL_JAEGER_LEN + 1])
{
    SL_ASSERT(context && ret_text);
    sl_hex_encode(context->trace_id, SL_TRACE_ID_SIZE, ret_text);
    ret_text[32] = ':';
    sl_hex_encode(context->span_id, SL_SPAN_ID_SIZE, ret_text + 33);
    memcpy(ret_text + 49, ":0:0", 4);
    ret_text[53] = context->flags & SL_TRACE_FLAG_SAMPLED ? '1' : '0';
    ret_text[SL_JAEGER_LEN] = '\0';
}
