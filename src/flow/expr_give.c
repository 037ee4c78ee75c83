/* What the functions of expressions share: reading arguments, giving results, the characters of a text. */
#include "src/flow/expr_give.h"

#include <math.h>

#include "src/base/assert.h"
#include "src/flow/expr.h"

int sl_give(json_t *value, json_t **ret_value)
{
    if (!value)
        return SL_ENOMEM;
    *ret_value = value;
    return 0;
}

int sl_give_same(json_t *value, json_t **ret_value)
{
    *ret_value = json_incref(value);
    return 0;
}

int sl_give_text(const sl_flow_call *call, sl_str s, json_t **ret_value)
{
    int error = sl_flow_spend_bytes(call->work, s.len + 32);
    return error ? error : sl_give(json_stringn_nocheck(s.len ? s.ptr : "", s.len), ret_value);
}

int sl_give_buf(const sl_flow_call *call, sl_buf *buf, int error, json_t **ret_value)
{
    if (!error)
        error = sl_flow_buf_error(call->work, buf);
    if (!error)
        error = sl_give_text(call, sl_buf_str(buf), ret_value);
    sl_buf_done(buf);
    return error;
}

int sl_give_double(const sl_flow_call *call, double number, json_t **ret_value)
{
    if (!isfinite(number))
        return sl_flow_wrong(call->work, "the result is no finite number");
    return sl_give(json_real(number), ret_value);
}

int sl_give_number(const sl_flow_call *call, double number, json_t **ret_value)
{
    if (fabs(number) < 9e15 && number == floor(number))
        return sl_give(json_integer((json_int_t)number), ret_value);
    return sl_give_double(call, number, ret_value);
}

int sl_give_bool(bool value, json_t **ret_value)
{
    *ret_value = json_boolean(value);
    return 0;
}

int sl_give_list(json_t *list, int error, json_t **ret_value)
{
    if (!error)
        *ret_value = list;
    else
        json_decref(list);
    return error;
}

int sl_fn_list_add(const sl_flow_call *call, json_t *list, json_t *value)
{
    int error = value ? sl_flow_spend_bytes(call->work, 16) : SL_ENOMEM;
    if (error) {
        json_decref(value);
        return error;
    }
    return json_array_append_new(list, value) ? SL_ENOMEM : 0;
}

sl_str sl_fn_text_of(sl_fn_values args, size_t i)
{
    return sl_flow_str(args[i]);
}

bool sl_fn_is_given(sl_fn_values args, size_t count, size_t i)
{
    return i < count && args[i] && !json_is_null(args[i]);
}

json_int_t sl_fn_whole(json_t *number)
{
    double d = json_number_value(number);
    if (json_is_integer(number))
        return json_integer_value(number);
    return d >= 9e15 ? (json_int_t)9e15 : d <= -9e15 ? (json_int_t)-9e15 : (json_int_t)d;
}

size_t sl_fn_characters(sl_str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += ((unsigned char)s.ptr[i] & 0xC0) != 0x80;
    return n;
}

size_t sl_fn_offset(sl_str s, size_t n)
{
    size_t i = 0;
    for (; i < s.len; i++)
        if (((unsigned char)s.ptr[i] & 0xC0) != 0x80 && n-- == 0)
            break;
    return i;
}

bool sl_fn_is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

sl_str sl_fn_trimmed(sl_str s)
{
    while (s.len && sl_fn_is_space(s.ptr[0]))
        s = sl_str_sub(s, 1, s.len);
    while (s.len && sl_fn_is_space(s.ptr[s.len - 1]))
        s.len--;
    return s;
}
