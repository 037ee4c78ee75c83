/* The functions of expressions for numbers, for comparing, and for what is true. */
#include "src/flow/expr_give.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/limits.h"
#include "src/flow/expr.h"

static int sum_of(const sl_flow_call *call, json_t *list, double *ret_sum, bool *ret_whole)
{
    double sum = 0;
    bool all_whole = true;
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *item = json_array_get(list, i);
        if (!json_is_number(item))
            return sl_flow_wrong(call->work, "item %zu is no number but a %s", i, sl_flow_type_name(item));
        sum += json_number_value(item);
        all_whole = all_whole && json_is_integer(item);
    }
    *ret_sum = sum;
    *ret_whole = all_whole;
    return sl_flow_spend(call->work, json_array_size(list));
}

int sl_fn_run_sum(SL_FN_ARGS)
{
    (void)count;
    double sum = 0;
    bool all_whole = true;
    int error = sum_of(call, args[0], &sum, &all_whole);
    if (error)
        return error;
    return all_whole ? sl_give_number(call, sum, ret_value) : sl_give_double(call, sum, ret_value);
}

int sl_fn_run_avg(SL_FN_ARGS)
{
    (void)count;
    double sum = 0;
    bool all_whole = true;
    size_t n = json_array_size(args[0]);
    int error = sum_of(call, args[0], &sum, &all_whole);
    if (error)
        return error;
    return n ? sl_give_number(call, sum / (double)n, ret_value) : sl_give(json_null(), ret_value);
}

/* Of a list, or of the arguments themselves. */
static int extreme(const sl_flow_call *call, sl_fn_values args, size_t count, int sign, json_t **ret_value)
{
    bool list = count == 1 && json_is_array(args[0]);
    size_t n = list ? json_array_size(args[0]) : count;
    json_t *best = NULL;
    int error = sl_flow_spend(call->work, n);
    for (size_t i = 0; !error && i < n; i++) {
        json_t *item = list ? json_array_get(args[0], i) : args[i];
        int order = 0;
        if (!best || json_is_null(best))
            best = item;
        else if (!sl_flow_order(item, best, &order))
            return sl_flow_wrong(call->work, "cannot put %s and %s in order", sl_flow_type_name(item),
                                 sl_flow_type_name(best));
        if (order * sign > 0)
            best = item;
    }
    return error ? error : sl_give_same(best ? best : json_null(), ret_value);
}

int sl_fn_run_min(SL_FN_ARGS)
{
    return extreme(call, args, count, -1, ret_value);
}

int sl_fn_run_max(SL_FN_ARGS)
{
    return extreme(call, args, count, 1, ret_value);
}

int sl_fn_run_round(SL_FN_ARGS)
{
    json_int_t digits = sl_fn_is_given(args, count, 1) ? sl_fn_whole(args[1]) : 0;
    if (json_is_integer(args[0]) && digits >= 0)
        return sl_give_same(args[0], ret_value);
    double scale = pow(10, (double)(digits < -15 ? -15 : digits > 15 ? 15 : digits));
    double scaled = json_number_value(args[0]) * scale;
    return sl_give_number(call, isfinite(scaled) ? round(scaled) / scale : json_number_value(args[0]), ret_value);
}

int sl_fn_run_floor(SL_FN_ARGS)
{
    (void)count;
    return sl_give_number(call, floor(json_number_value(args[0])), ret_value);
}

int sl_fn_run_ceil(SL_FN_ARGS)
{
    (void)count;
    return sl_give_number(call, ceil(json_number_value(args[0])), ret_value);
}

int sl_fn_run_abs(SL_FN_ARGS)
{
    (void)count;
    if (json_is_integer(args[0]) && json_integer_value(args[0]) > INT64_MIN)
        return sl_give(json_integer(llabs(json_integer_value(args[0]))), ret_value);
    return sl_give_double(call, fabs(json_number_value(args[0])), ret_value);
}

/* "1234567.5" with two digits: "1,234,567.50". */
int sl_fn_run_format_number(SL_FN_ARGS)
{
    json_int_t digits = sl_fn_is_given(args, count, 1) ? sl_fn_whole(args[1]) : json_is_integer(args[0]) ? 0 : 2;
    sl_str separator = sl_fn_is_given(args, count, 2) ? sl_fn_text_of(args, 2) : SL_STR(",");
    char text[400];
    int len = snprintf(text, sizeof text, "%.*f",
                       digits < 0    ? 0
                       : digits > 20 ? 20
                                     : (int)digits,
                       json_number_value(args[0]));
    size_t whole_len = strcspn(text, ".,");
    sl_buf out;
    sl_buf_init(&out, SL_MAX_EXPR_TEXT_BYTES);
    SL_ASSERT(len > 0 && (size_t)len < sizeof text);
    for (size_t i = 0; i < whole_len; i++) {
        (void)sl_buf_put_char(&out, text[i]);
        if (text[i] != '-' && i + 1 < whole_len && (whole_len - i - 1) % 3 == 0)
            (void)sl_buf_put_str(&out, separator);
    }
    if (text[whole_len]) {
        (void)sl_buf_put_char(&out, '.');
        (void)sl_buf_put_c(&out, text + whole_len + 1);
    }
    return sl_give_buf(call, &out, sl_flow_spend_bytes(call->work, out.len), ret_value);
}

/* The number that a text is, white space around it allowed; NULL: none, or no memory. */
json_t *sl_fn_parse_number(sl_str s)
{
    int64_t integer;
    double real;
    s = sl_fn_trimmed(s);
    if (sl_str_to_i64(s, &integer) == 0)
        return json_integer(integer);
    return sl_str_to_double(s, &real) == 0 ? json_real(real) : NULL;
}

int sl_fn_run_number(SL_FN_ARGS)
{
    (void)count;
    json_t *v = sl_flow_plain(args[0]);
    if (json_is_number(v))
        return sl_give_same(v, ret_value);
    if (json_is_boolean(v))
        return sl_give(json_integer(json_is_true(v)), ret_value);
    json_t *number = json_is_string(v) ? sl_fn_parse_number(sl_flow_str(v)) : NULL;
    return number ? sl_give(number, ret_value)
                  : sl_flow_wrong(call->work, "number: this %s is none", sl_flow_type_name(v));
}

int sl_fn_run_default(SL_FN_ARGS)
{
    (void)call;
    json_t *found = json_null();
    for (size_t i = 0; i < count; i++) {
        found = args[i];
        json_t *plain = sl_flow_plain(found);
        if (!json_is_null(plain) && !(json_is_string(plain) && json_string_length(plain) == 0))
            break;
    }
    return sl_give_same(found, ret_value);
}

/* ---- comparing ---- */

static int give_equal(const sl_flow_call *call, sl_fn_values args, bool wanted, json_t **ret_value)
{
    bool equal = false;
    int error = sl_flow_equal(call->work, args[0], args[1], &equal);
    return error ? error : sl_give_bool(equal == wanted, ret_value);
}

int sl_fn_run_eq(SL_FN_ARGS)
{
    (void)count;
    return give_equal(call, args, true, ret_value);
}

int sl_fn_run_ne(SL_FN_ARGS)
{
    (void)count;
    return give_equal(call, args, false, ret_value);
}

/* True when the two can be put in order and that order is from `least` to `most` (negative: less). */
static bool in_order(sl_fn_values args, int least, int most)
{
    int order = 0;
    return sl_flow_order(args[0], args[1], &order) && order >= least && order <= most;
}

int sl_fn_run_lt(SL_FN_ARGS)
{
    (void)call;
    (void)count;
    return sl_give_bool(in_order(args, INT_MIN, -1), ret_value);
}

int sl_fn_run_lte(SL_FN_ARGS)
{
    (void)call;
    (void)count;
    return sl_give_bool(in_order(args, INT_MIN, 0), ret_value);
}

int sl_fn_run_gt(SL_FN_ARGS)
{
    (void)call;
    (void)count;
    return sl_give_bool(in_order(args, 1, INT_MAX), ret_value);
}

int sl_fn_run_gte(SL_FN_ARGS)
{
    (void)call;
    (void)count;
    return sl_give_bool(in_order(args, 0, INT_MAX), ret_value);
}

int sl_fn_run_and(SL_FN_ARGS)
{
    (void)call;
    bool all = true;
    for (size_t i = 0; i < count; i++)
        all = all && sl_expr_truth(args[i]);
    return sl_give_bool(all, ret_value);
}

int sl_fn_run_or(SL_FN_ARGS)
{
    (void)call;
    bool any = false;
    for (size_t i = 0; i < count; i++)
        any = any || sl_expr_truth(args[i]);
    return sl_give_bool(any, ret_value);
}

int sl_fn_run_not(SL_FN_ARGS)
{
    (void)call;
    (void)count;
    return sl_give_bool(!sl_expr_truth(args[0]), ret_value);
}
