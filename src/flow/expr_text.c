/* The functions of expressions for texts, and those that make a text of a value or read one. */
#include "src/flow/expr_give.h"

#include "src/base/limits.h"
#include "src/flow/expr.h"
#include "src/flow/expr_regex.h"

/* The other case of a two-byte character: Latin-1, Greek and Cyrillic, whose cases take as many bytes. */
static unsigned other_case(unsigned c, bool up)
{
    unsigned low = up ? 0 : 0x20; /* subtracted when asked whether c is an upper one */
    if ((c + low >= 0xE0 && c + low <= 0xFE && c + low != 0xF7) ||
        (c + low >= 0x3B1 && c + low <= 0x3C9 && c + low != 0x3C2) || (c + low >= 0x430 && c + low <= 0x44F))
        return up ? c - 0x20 : c + 0x20;
    if (up ? c >= 0x450 && c <= 0x45F : c >= 0x400 && c <= 0x40F)
        return up ? c - 0x50 : c + 0x50;
    return c;
}

static int change_case(const sl_flow_call *call, sl_str s, bool up, json_t **ret_value)
{
    sl_buf out;
    sl_buf_init(&out, SL_MAX_EXPR_TEXT_BYTES);
    if (sl_buf_reserve(&out, s.len + 1) || sl_flow_spend(call->work, s.len / 16))
        return sl_give_buf(call, &out, out.failed ? 0 : SL_ETOOBIG, ret_value);
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c >= 0xC3 && c <= 0xD1 && i + 1 < s.len) {
            unsigned wide = other_case(((c & 0x1Fu) << 6) | ((unsigned char)s.ptr[++i] & 0x3Fu), up);
            (void)sl_buf_put_char(&out, (char)(0xC0 | (wide >> 6)));
            (void)sl_buf_put_char(&out, (char)(0x80 | (wide & 0x3F)));
        } else if (up && c >= 'a' && c <= 'z') {
            (void)sl_buf_put_char(&out, (char)(c - 32));
        } else {
            (void)sl_buf_put_char(&out, up ? (char)c : sl_ascii_lower((char)c));
        }
    }
    return sl_give_buf(call, &out, 0, ret_value);
}

int sl_fn_run_upper(SL_FN_ARGS)
{
    (void)count;
    return change_case(call, sl_fn_text_of(args, 0), true, ret_value);
}

int sl_fn_run_lower(SL_FN_ARGS)
{
    (void)count;
    return change_case(call, sl_fn_text_of(args, 0), false, ret_value);
}

int sl_fn_run_trim(SL_FN_ARGS)
{
    (void)count;
    return sl_give_text(call, sl_fn_trimmed(sl_fn_text_of(args, 0)), ret_value);
}

/* Without a separator: at runs of white space. */
static int split_words(const sl_flow_call *call, sl_str s, json_t *list)
{
    int error = 0;
    for (size_t i = 0; !error && i < s.len;) {
        size_t from = i;
        while (i < s.len && !sl_fn_is_space(s.ptr[i]))
            i++;
        json_t *word = NULL;
        if (i > from)
            error = sl_give_text(call, sl_str_sub(s, from, i - from), &word);
        if (!error && word)
            error = sl_fn_list_add(call, list, word);
        i += i < s.len && sl_fn_is_space(s.ptr[i]);
    }
    return error;
}

/* An empty separator: into characters. */
static int split_at(const sl_flow_call *call, sl_str s, sl_str separator, json_t *list)
{
    int error = 0;
    bool more = separator.len || s.len;
    while (!error && more) {
        size_t len = separator.len ? sl_str_find(s, separator) : sl_fn_offset(s, 1);
        more = len != SL_NPOS && (separator.len || len < s.len);
        json_t *part = NULL;
        error = sl_flow_spend(call->work, 1 + (len == SL_NPOS ? s.len : len) / 16);
        if (!error)
            error = sl_give_text(call, sl_str_sub(s, 0, len), &part);
        if (!error)
            error = sl_fn_list_add(call, list, part);
        if (more)
            s = sl_str_sub(s, len + separator.len, s.len);
    }
    return error;
}

int sl_fn_run_split(SL_FN_ARGS)
{
    json_t *list = json_array();
    if (!list)
        return SL_ENOMEM;
    int error = sl_fn_is_given(args, count, 1) ? split_at(call, sl_fn_text_of(args, 0), sl_fn_text_of(args, 1), list)
                                               : split_words(call, sl_fn_text_of(args, 0), list);
    return sl_give_list(list, error, ret_value);
}

int sl_fn_run_join(SL_FN_ARGS)
{
    sl_str separator = sl_fn_is_given(args, count, 1) ? sl_fn_text_of(args, 1) : SL_STR(", ");
    sl_buf out;
    sl_buf_init(&out, SL_MAX_EXPR_TEXT_BYTES);
    int error = 0;
    for (size_t i = 0; !error && i < json_array_size(args[0]); i++) {
        if (i)
            (void)sl_buf_put_str(&out, separator);
        error = sl_flow_spend_bytes(call->work, separator.len + 1);
        if (!error)
            error = sl_flow_put_text(call->work, &out, json_array_get(args[0], i));
    }
    return sl_give_buf(call, &out, error, ret_value);
}

int sl_fn_run_replace(SL_FN_ARGS)
{
    (void)count;
    sl_str s = sl_fn_text_of(args, 0), what = sl_fn_text_of(args, 1), with = sl_fn_text_of(args, 2);
    sl_buf out;
    sl_buf_init(&out, SL_MAX_EXPR_TEXT_BYTES);
    int error = sl_flow_spend(call->work, s.len / 16);
    size_t at;
    while (!error && what.len && (at = sl_str_find(s, what)) != SL_NPOS) {
        (void)sl_buf_put_str(&out, sl_str_sub(s, 0, at));
        (void)sl_buf_put_str(&out, with);
        s = sl_str_sub(s, at + what.len, s.len);
        error = sl_flow_spend_bytes(call->work, at + with.len + 1);
    }
    (void)sl_buf_put_str(&out, s);
    return sl_give_buf(call, &out, error, ret_value);
}

static int find_pattern(const sl_flow_call *call, sl_fn_values args, size_t *ret_start, size_t *ret_end)
{
    sl_regex *regex = NULL;
    int error = sl_regex_new(call->work, sl_fn_text_of(args, 1), &regex);
    if (!error)
        error = sl_regex_find(regex, call->work, sl_fn_text_of(args, 0), 0, ret_start, ret_end);
    sl_regex_free(regex);
    return error;
}

int sl_fn_run_matches(SL_FN_ARGS)
{
    (void)count;
    size_t start = SL_NPOS, end = 0;
    int error = find_pattern(call, args, &start, &end);
    return error ? error : sl_give_bool(start != SL_NPOS, ret_value);
}

int sl_fn_run_find(SL_FN_ARGS)
{
    (void)count;
    size_t start = SL_NPOS, end = 0;
    int error = find_pattern(call, args, &start, &end);
    if (error)
        return error;
    return start == SL_NPOS ? sl_give(json_null(), ret_value)
                            : sl_give_text(call, sl_str_sub(sl_fn_text_of(args, 0), start, end - start), ret_value);
}

int sl_fn_run_find_all(SL_FN_ARGS)
{
    (void)count;
    sl_regex *regex = NULL;
    sl_str s = sl_fn_text_of(args, 0);
    json_t *list = json_array();
    int error = list ? sl_regex_new(call->work, sl_fn_text_of(args, 1), &regex) : SL_ENOMEM;
    size_t at = 0, start = 0, end = 0;
    while (!error && at <= s.len) {
        error = sl_regex_find(regex, call->work, s, at, &start, &end);
        if (error || start == SL_NPOS)
            break;
        json_t *part = NULL;
        error = sl_give_text(call, sl_str_sub(s, start, end - start), &part);
        if (!error)
            error = sl_fn_list_add(call, list, part);
        at = end > start ? end : end + 1;
    }
    sl_regex_free(regex);
    return sl_give_list(list, error, ret_value);
}

int sl_fn_run_starts_with(SL_FN_ARGS)
{
    (void)call;
    (void)count;
    return sl_give_bool(sl_str_starts(sl_fn_text_of(args, 0), sl_fn_text_of(args, 1)), ret_value);
}

int sl_fn_run_ends_with(SL_FN_ARGS)
{
    (void)call;
    (void)count;
    return sl_give_bool(sl_str_ends(sl_fn_text_of(args, 0), sl_fn_text_of(args, 1)), ret_value);
}

int sl_fn_run_truncate(SL_FN_ARGS)
{
    sl_str s = sl_fn_text_of(args, 0), mark = sl_fn_is_given(args, count, 2) ? sl_fn_text_of(args, 2) : SL_STR("...");
    json_int_t most = sl_fn_whole(args[1]);
    int error = sl_flow_spend(call->work, s.len / 16);
    if (error)
        return error;
    size_t n = most < 0 ? 0 : (size_t)most;
    if (sl_fn_characters(s) <= n)
        return sl_give_text(call, s, ret_value);
    size_t taken = sl_fn_characters(mark);
    sl_buf out;
    sl_buf_init(&out, SL_MAX_EXPR_TEXT_BYTES);
    if (taken < n)
        (void)sl_buf_put(&out, s.ptr, sl_fn_offset(s, n - taken));
    (void)sl_buf_put(&out, mark.ptr, taken < n ? mark.len : sl_fn_offset(mark, n));
    return sl_give_buf(call, &out, 0, ret_value);
}

/* ---- conversions ---- */

int sl_fn_run_string(SL_FN_ARGS)
{
    (void)count;
    sl_buf out;
    sl_buf_init(&out, SL_MAX_EXPR_TEXT_BYTES);
    return sl_give_buf(call, &out, sl_flow_put_text(call->work, &out, args[0]), ret_value);
}

int sl_fn_run_json(SL_FN_ARGS)
{
    unsigned indent = 0;
    if (sl_fn_is_given(args, count, 1) && json_is_number(args[1]))
        indent = (unsigned)(sl_fn_whole(args[1]) < 0 ? 0 : sl_fn_whole(args[1]) > 8 ? 8 : sl_fn_whole(args[1]));
    else if (sl_fn_is_given(args, count, 1) && sl_expr_truth(args[1]))
        indent = 2;
    sl_buf out;
    sl_buf_init(&out, SL_MAX_EXPR_TEXT_BYTES);
    return sl_give_buf(call, &out, sl_flow_put_json(call->work, &out, args[0], indent), ret_value);
}

int sl_fn_run_parse_json(SL_FN_ARGS)
{
    (void)count;
    sl_str s = sl_fn_text_of(args, 0);
    json_error_t fault;
    /* A value takes up to this many times its text. */
    int error = sl_flow_spend_bytes(call->work, s.len * 4);
    if (error)
        return error;
    json_t *value = json_loadb(s.ptr, s.len, JSON_DECODE_ANY | JSON_ALLOW_NUL, &fault);
    if (!value && (!fault.text[0] || json_error_code(&fault) == json_error_out_of_memory))
        return SL_ENOMEM;
    if (!value)
        return sl_flow_wrong(call->work, "parse_json: line %d: %s", fault.line, fault.text);
    return sl_give(value, ret_value);
}

int sl_fn_run_type(SL_FN_ARGS)
{
    (void)count;
    return sl_give_text(call, sl_str_c(sl_flow_type_name(args[0])), ret_value);
}
