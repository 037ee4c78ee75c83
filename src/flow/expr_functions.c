/* The built-in functions and their table. */
#include "src/flow/expr_functions.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/flow/expr.h"
#include "src/flow/expr_regex.h"
#include "src/flow/template.h"

typedef json_t *const *arguments;

#define CALL const sl_flow_call *call, arguments args, size_t count, json_t **ret_value

/* ---- results ---- */

static int give(json_t *value, json_t **ret_value)
{
    if (!value)
        return SL_ENOMEM;
    *ret_value = value;
    return 0;
}

static int give_same(json_t *value, json_t **ret_value)
{
    *ret_value = json_incref(value);
    return 0;
}

static int give_text(const sl_flow_call *call, sl_str s, json_t **ret_value)
{
    int error = sl_flow_spend_bytes(call->work, s.len + 32);
    return error ? error : give(json_stringn_nocheck(s.len ? s.ptr : "", s.len), ret_value);
}

/* Takes the text over and frees it. */
static int give_buf(const sl_flow_call *call, sl_buf *buf, int error, json_t **ret_value)
{
    if (!error)
        error = sl_flow_buf_error(call->work, buf);
    if (!error)
        error = give_text(call, sl_buf_str(buf), ret_value);
    sl_buf_done(buf);
    return error;
}

static int give_double(const sl_flow_call *call, double number, json_t **ret_value)
{
    if (!isfinite(number))
        return sl_flow_wrong(call->work, "the result is no finite number");
    return give(json_real(number), ret_value);
}

/* An integer where that is exact. */
static int give_number(const sl_flow_call *call, double number, json_t **ret_value)
{
    if (fabs(number) < 9e15 && number == floor(number))
        return give(json_integer((json_int_t)number), ret_value);
    return give_double(call, number, ret_value);
}

static int give_bool(bool value, json_t **ret_value)
{
    *ret_value = json_boolean(value);
    return 0;
}

/* Ends a list that was being built. */
static int give_list(json_t *list, int error, json_t **ret_value)
{
    if (!error)
        *ret_value = list;
    else
        json_decref(list);
    return error;
}

/* Appends and takes the reference over. */
static int list_add(const sl_flow_call *call, json_t *list, json_t *value)
{
    int error = value ? sl_flow_spend_bytes(call->work, 16) : SL_ENOMEM;
    if (error) {
        json_decref(value);
        return error;
    }
    return json_array_append_new(list, value) ? SL_ENOMEM : 0;
}

static sl_str text_of(arguments args, size_t i)
{
    return sl_flow_str(args[i]);
}

static bool is_given(arguments args, size_t count, size_t i)
{
    return i < count && args[i] && !json_is_null(args[i]);
}

static json_int_t whole(json_t *number)
{
    double d = json_number_value(number);
    if (json_is_integer(number))
        return json_integer_value(number);
    return d >= 9e15 ? (json_int_t)9e15 : d <= -9e15 ? (json_int_t)-9e15 : (json_int_t)d;
}

/* ---- text ---- */

static size_t characters(sl_str s)
{
    size_t n = 0;
    for (size_t i = 0; i < s.len; i++)
        n += ((unsigned char)s.ptr[i] & 0xC0) != 0x80;
    return n;
}

/* Byte offset of character number `n`, or the length. */
static size_t offset_of(sl_str s, size_t n)
{
    size_t i = 0;
    for (; i < s.len; i++)
        if (((unsigned char)s.ptr[i] & 0xC0) != 0x80 && n-- == 0)
            break;
    return i;
}

static int run_length(CALL)
{
    (void)count;
    int error = 0;
    json_t *v = args[0];
    size_t n = json_is_array(v) ? json_array_size(v) : json_is_object(v) ? json_object_size(v) : 0;
    if (json_is_string(v)) {
        error = sl_flow_spend(call->work, json_string_length(v) / 16);
        n = characters(sl_flow_str(v));
    }
    return error ? error : give(json_integer((json_int_t)n), ret_value);
}

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
        return give_buf(call, &out, out.failed ? 0 : SL_ETOOBIG, ret_value);
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
    return give_buf(call, &out, 0, ret_value);
}

static int run_upper(CALL)
{
    (void)count;
    return change_case(call, text_of(args, 0), true, ret_value);
}

static int run_lower(CALL)
{
    (void)count;
    return change_case(call, text_of(args, 0), false, ret_value);
}

static bool is_space(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static int run_trim(CALL)
{
    (void)count;
    sl_str s = text_of(args, 0);
    while (s.len && is_space(s.ptr[0]))
        s = sl_str_sub(s, 1, s.len);
    while (s.len && is_space(s.ptr[s.len - 1]))
        s.len--;
    return give_text(call, s, ret_value);
}

/* Without a separator: at runs of white space. */
static int split_words(const sl_flow_call *call, sl_str s, json_t *list)
{
    int error = 0;
    for (size_t i = 0; !error && i < s.len;) {
        size_t from = i;
        while (i < s.len && !is_space(s.ptr[i]))
            i++;
        json_t *word = NULL;
        if (i > from)
            error = give_text(call, sl_str_sub(s, from, i - from), &word);
        if (!error && word)
            error = list_add(call, list, word);
        i += i < s.len && is_space(s.ptr[i]);
    }
    return error;
}

/* An empty separator: into characters. */
static int split_at(const sl_flow_call *call, sl_str s, sl_str separator, json_t *list)
{
    int error = 0;
    bool more = separator.len || s.len;
    while (!error && more) {
        size_t len = separator.len ? sl_str_find(s, separator) : offset_of(s, 1);
        more = len != SL_NPOS && (separator.len || len < s.len);
        json_t *part = NULL;
        error = sl_flow_spend(call->work, 1 + (len == SL_NPOS ? s.len : len) / 16);
        if (!error)
            error = give_text(call, sl_str_sub(s, 0, len), &part);
        if (!error)
            error = list_add(call, list, part);
        if (more)
            s = sl_str_sub(s, len + separator.len, s.len);
    }
    return error;
}

static int run_split(CALL)
{
    json_t *list = json_array();
    if (!list)
        return SL_ENOMEM;
    int error = is_given(args, count, 1) ? split_at(call, text_of(args, 0), text_of(args, 1), list)
                                         : split_words(call, text_of(args, 0), list);
    return give_list(list, error, ret_value);
}

static int run_join(CALL)
{
    sl_str separator = is_given(args, count, 1) ? text_of(args, 1) : SL_STR(", ");
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
    return give_buf(call, &out, error, ret_value);
}

static int run_replace(CALL)
{
    (void)count;
    sl_str s = text_of(args, 0), what = text_of(args, 1), with = text_of(args, 2);
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
    return give_buf(call, &out, error, ret_value);
}

static int find_pattern(const sl_flow_call *call, arguments args, size_t *ret_start, size_t *ret_end)
{
    sl_regex *regex = NULL;
    int error = sl_regex_new(call->work, text_of(args, 1), &regex);
    if (!error)
        error = sl_regex_find(regex, call->work, text_of(args, 0), 0, ret_start, ret_end);
    sl_regex_free(regex);
    return error;
}

static int run_matches(CALL)
{
    (void)count;
    size_t start = SL_NPOS, end = 0;
    int error = find_pattern(call, args, &start, &end);
    return error ? error : give_bool(start != SL_NPOS, ret_value);
}

static int run_find(CALL)
{
    (void)count;
    size_t start = SL_NPOS, end = 0;
    int error = find_pattern(call, args, &start, &end);
    if (error)
        return error;
    return start == SL_NPOS ? give(json_null(), ret_value)
                            : give_text(call, sl_str_sub(text_of(args, 0), start, end - start), ret_value);
}

static int run_find_all(CALL)
{
    (void)count;
    sl_regex *regex = NULL;
    sl_str s = text_of(args, 0);
    json_t *list = json_array();
    int error = list ? sl_regex_new(call->work, text_of(args, 1), &regex) : SL_ENOMEM;
    size_t at = 0, start = 0, end = 0;
    while (!error && at <= s.len) {
        error = sl_regex_find(regex, call->work, s, at, &start, &end);
        if (error || start == SL_NPOS)
            break;
        json_t *part = NULL;
        error = give_text(call, sl_str_sub(s, start, end - start), &part);
        if (!error)
            error = list_add(call, list, part);
        at = end > start ? end : end + 1;
    }
    sl_regex_free(regex);
    return give_list(list, error, ret_value);
}

static int run_starts_with(CALL)
{
    (void)call;
    (void)count;
    return give_bool(sl_str_starts(text_of(args, 0), text_of(args, 1)), ret_value);
}

static int run_ends_with(CALL)
{
    (void)call;
    (void)count;
    return give_bool(sl_str_ends(text_of(args, 0), text_of(args, 1)), ret_value);
}

static int run_truncate(CALL)
{
    sl_str s = text_of(args, 0), mark = is_given(args, count, 2) ? text_of(args, 2) : SL_STR("...");
    json_int_t most = whole(args[1]);
    int error = sl_flow_spend(call->work, s.len / 16);
    if (error)
        return error;
    size_t n = most < 0 ? 0 : (size_t)most;
    if (characters(s) <= n)
        return give_text(call, s, ret_value);
    size_t taken = characters(mark);
    sl_buf out;
    sl_buf_init(&out, SL_MAX_EXPR_TEXT_BYTES);
    if (taken < n)
        (void)sl_buf_put(&out, s.ptr, offset_of(s, n - taken));
    (void)sl_buf_put(&out, mark.ptr, taken < n ? mark.len : offset_of(mark, n));
    return give_buf(call, &out, 0, ret_value);
}

/* ---- sequences ---- */

static int run_contains(CALL)
{
    (void)count;
    json_t *in = args[0], *what = sl_flow_plain(args[1]);
    if (json_is_string(in))
        return json_is_string(what) ? give_bool(sl_str_find(sl_flow_str(in), sl_flow_str(what)) != SL_NPOS, ret_value)
                                    : give_bool(false, ret_value);
    if (json_is_object(in))
        return give_bool(json_is_string(what) && sl_flow_member(in, sl_flow_str(what)), ret_value);
    bool found = false;
    int error = 0;
    for (size_t i = 0; !error && !found && i < json_array_size(in); i++)
        error = sl_flow_equal(call->work, json_array_get(in, i), what, &found);
    return error ? error : give_bool(found, ret_value);
}

static int list_members(const sl_flow_call *call, json_t *object, bool keys, json_t **ret_value)
{
    json_t *list = json_array(), *value, *key = NULL;
    const char *name;
    size_t len;
    int error = list ? 0 : SL_ENOMEM;
    json_object_keylen_foreach(object, name, len, value)
    {
        if (error)
            break;
        if (sl_str_eq(sl_str_of(name, len), SL_STR(SL_FLOW_TEXT_KEY)))
            continue;
        if (keys)
            error = give_text(call, sl_str_of(name, len), &key);
        if (!error)
            error = list_add(call, list, keys ? key : json_incref(value));
    }
    return give_list(list, error, ret_value);
}

static int run_keys(CALL)
{
    (void)count;
    return list_members(call, args[0], true, ret_value);
}

static int run_values(CALL)
{
    (void)count;
    return list_members(call, args[0], false, ret_value);
}

/* A negative index counts from the end. */
static json_t *item_of(json_t *list, json_int_t index)
{
    json_int_t n = (json_int_t)json_array_size(list);
    if (index < 0)
        index += n;
    return index >= 0 && index < n ? json_array_get(list, (size_t)index) : NULL;
}

static int run_get(CALL)
{
    (void)call;
    json_t *key = sl_flow_plain(args[1]), *found = NULL;
    int64_t index;
    if (json_is_object(args[0]) && json_is_string(key))
        found = sl_flow_member(args[0], sl_flow_str(key));
    else if (json_is_array(args[0]) && json_is_number(key))
        found = item_of(args[0], whole(key));
    else if (json_is_array(args[0]) && json_is_string(key) && sl_str_to_i64(sl_flow_str(key), &index) == 0)
        found = item_of(args[0], index);
    if (!found)
        found = count > 2 && args[2] ? args[2] : json_null();
    return give_same(found, ret_value);
}

static size_t place(json_int_t index, size_t size)
{
    if (index < 0)
        index = index < -(json_int_t)size ? 0 : index + (json_int_t)size;
    return index > (json_int_t)size ? size : (size_t)index;
}

static int slice_of(const sl_flow_call *call, json_t *in, json_int_t from, json_int_t to, json_t **ret_value)
{
    bool text = json_is_string(in);
    size_t size = text ? characters(sl_flow_str(in)) : json_array_size(in);
    size_t start = place(from, size), end = place(to, size);
    if (end < start)
        end = start;
    if (text) {
        sl_str s = sl_flow_str(in);
        size_t at = offset_of(s, start), stop = offset_of(s, end);
        int error = sl_flow_spend(call->work, s.len / 16);
        return error ? error : give_text(call, sl_str_sub(s, at, stop - at), ret_value);
    }
    json_t *list = json_array();
    int error = list ? 0 : SL_ENOMEM;
    for (size_t i = start; !error && i < end; i++)
        error = list_add(call, list, json_incref(json_array_get(in, i)));
    return give_list(list, error, ret_value);
}

static int run_slice(CALL)
{
    if (json_is_object(args[0]))
        return sl_flow_wrong(call->work, "slice: needs a list or a string, not an object");
    return slice_of(call, args[0], whole(args[1]), is_given(args, count, 2) ? whole(args[2]) : INT32_MAX, ret_value);
}

/* The first or last item, character, or member's value; with a number: that many of them. */
static int end_of(const sl_flow_call *call, arguments args, size_t count, bool first, json_t **ret_value)
{
    json_t *in = args[0], *found = NULL;
    if (is_given(args, count, 1) && !json_is_object(in)) {
        json_int_t n = whole(args[1]);
        n = n < 0 ? 0 : n > INT32_MAX ? INT32_MAX : n;
        return first ? slice_of(call, in, 0, n, ret_value)
                     : slice_of(call, in, n ? -n : INT32_MAX, INT32_MAX, ret_value);
    }
    if (json_is_string(in) && json_string_length(in))
        return first ? slice_of(call, in, 0, 1, ret_value) : slice_of(call, in, -1, INT32_MAX, ret_value);
    if (json_is_array(in))
        found = item_of(in, first ? 0 : -1);
    return give_same(found ? found : json_null(), ret_value);
}

static int run_first(CALL)
{
    return end_of(call, args, count, true, ret_value);
}

static int run_last(CALL)
{
    return end_of(call, args, count, false, ret_value);
}

/* ---- sorting ---- */

typedef struct sort_item {
    json_t *key;
    json_t *value;
} sort_item;

/* Merge sort, stable, every comparison counted. */
static int merge_sort(const sl_flow_call *call, sort_item *items, sort_item *spare, size_t count)
{
    int error = 0;
    for (size_t width = 1; width < count; width *= 2) {
        for (size_t from = 0; from < count; from += 2 * width) {
            size_t mid = from + width < count ? from + width : count, end = mid + width < count ? mid + width : count;
            size_t a = from, b = mid;
            error = sl_flow_spend(call->work, end - from);
            for (size_t out = from; !error && out < end; out++) {
                int order = a < mid ? -1 : 1;
                if (a < mid && b < end && !sl_flow_order(items[a].key, items[b].key, &order))
                    return sl_flow_wrong(call->work, "cannot put %s and %s in order", sl_flow_type_name(items[a].key),
                                         sl_flow_type_name(items[b].key));
                spare[out] = order <= 0 ? items[a++] : items[b++];
            }
            if (error)
                return error;
        }
        memcpy(items, spare, count * sizeof *items);
    }
    return 0;
}

static int fill_items(const sl_flow_call *call, json_t *list, bool by, sort_item *items)
{
    int error = 0;
    for (size_t i = 0; !error && i < json_array_size(list); i++) {
        items[i].value = json_array_get(list, i);
        if (by)
            error = call->apply(call->user, items[i].value, i, &items[i].key);
        else
            items[i].key = json_incref(items[i].value);
    }
    return error;
}

static int sorted(const sl_flow_call *call, json_t *in, bool by, json_t **ret_value)
{
    size_t count = json_array_size(in);
    if (count == 0)
        return give(json_array(), ret_value);
    int error = sl_flow_spend_bytes(call->work, count * 2 * sizeof(sort_item));
    if (error)
        return error;
    sort_item *items = sl_calloc(2 * count, sizeof *items);
    json_t *list = items ? json_array() : NULL;
    error = list ? fill_items(call, in, by, items) : SL_ENOMEM;
    if (!error)
        error = merge_sort(call, items, items + count, count);
    for (size_t i = 0; !error && i < count; i++)
        error = list_add(call, list, json_incref(items[i].value));
    for (size_t i = 0; items && i < count; i++)
        json_decref(items[i].key);
    sl_free(items);
    return give_list(list, error, ret_value);
}

static int run_sort(CALL)
{
    (void)count;
    return sorted(call, args[0], false, ret_value);
}

static int run_sort_by(CALL)
{
    (void)count;
    return sorted(call, args[0], true, ret_value);
}

static int run_reverse(CALL)
{
    (void)count;
    json_t *list = json_array();
    int error = list ? 0 : SL_ENOMEM;
    for (size_t i = json_array_size(args[0]); !error && i-- > 0;)
        error = list_add(call, list, json_incref(json_array_get(args[0], i)));
    return give_list(list, error, ret_value);
}

/* Keyed by type and JSON text. */
static int run_unique(CALL)
{
    (void)count;
    json_t *list = json_array(), *seen = json_object();
    int error = list && seen ? 0 : SL_ENOMEM;
    sl_buf key;
    sl_buf_init(&key, SL_MAX_EXPR_TEXT_BYTES);
    for (size_t i = 0; !error && i < json_array_size(args[0]); i++) {
        json_t *item = json_array_get(args[0], i);
        sl_buf_clear(&key);
        error = sl_flow_put_json(call->work, &key, item, 0);
        if (error || sl_flow_member(seen, sl_buf_str(&key)))
            continue;
        if (json_object_setn_new_nocheck(seen, key.data, key.len, json_true()))
            error = SL_ENOMEM;
        if (!error)
            error = list_add(call, list, json_incref(item));
    }
    sl_buf_done(&key);
    json_decref(seen);
    return give_list(list, error, ret_value);
}

/* Appends the items of `value` when it is a list, else itself. */
static int add_flat(const sl_flow_call *call, json_t *list, json_t *value)
{
    if (!json_is_array(value))
        return list_add(call, list, json_incref(value));
    int error = 0;
    for (size_t i = 0; !error && i < json_array_size(value); i++)
        error = list_add(call, list, json_incref(json_array_get(value, i)));
    return error;
}

static int run_flatten(CALL)
{
    (void)count;
    json_t *list = json_array();
    int error = list ? 0 : SL_ENOMEM;
    for (size_t i = 0; !error && i < json_array_size(args[0]); i++)
        error = add_flat(call, list, json_array_get(args[0], i));
    return give_list(list, error, ret_value);
}

static int run_concat(CALL)
{
    if (count && json_is_array(args[0])) {
        json_t *list = json_array();
        int error = list ? 0 : SL_ENOMEM;
        for (size_t i = 0; !error && i < count; i++)
            error = add_flat(call, list, args[i]);
        return give_list(list, error, ret_value);
    }
    sl_buf out;
    sl_buf_init(&out, SL_MAX_EXPR_TEXT_BYTES);
    int error = 0;
    for (size_t i = 0; !error && i < count; i++)
        error = sl_flow_put_text(call->work, &out, args[i]);
    return give_buf(call, &out, error, ret_value);
}

static int run_merge(CALL)
{
    json_t *all = json_object(), *value;
    const char *key;
    size_t len;
    int error = all ? 0 : SL_ENOMEM;
    for (size_t i = 0; !error && i < count; i++)
        json_object_keylen_foreach(args[i], key, len, value)
        {
            error = sl_flow_spend_bytes(call->work, 64 + len);
            if (!error && json_object_setn_nocheck(all, key, len, value))
                error = SL_ENOMEM;
            if (error)
                break;
        }
    return give_list(all, error, ret_value);
}

/* ---- lambdas ---- */

static int run_map(CALL)
{
    (void)count;
    json_t *list = json_array();
    int error = list ? 0 : SL_ENOMEM;
    for (size_t i = 0; !error && i < json_array_size(args[0]); i++) {
        json_t *value = NULL;
        error = call->apply(call->user, json_array_get(args[0], i), i, &value);
        if (!error)
            error = list_add(call, list, value);
    }
    return give_list(list, error, ret_value);
}

static int holds(const sl_flow_call *call, json_t *item, size_t index, bool *ret_holds)
{
    json_t *value = NULL;
    int error = call->apply(call->user, item, index, &value);
    if (error)
        return error;
    *ret_holds = sl_expr_truth(value);
    json_decref(value);
    return 0;
}

static int run_filter(CALL)
{
    (void)count;
    json_t *list = json_array();
    int error = list ? 0 : SL_ENOMEM;
    for (size_t i = 0; !error && i < json_array_size(args[0]); i++) {
        json_t *item = json_array_get(args[0], i);
        bool keep = false;
        error = holds(call, item, i, &keep);
        if (!error && keep)
            error = list_add(call, list, json_incref(item));
    }
    return give_list(list, error, ret_value);
}

static int search(const sl_flow_call *call, json_t *list, bool wanted, json_t **ret_value)
{
    bool found = !wanted;
    int error = 0;
    for (size_t i = 0; !error && found != wanted && i < json_array_size(list); i++)
        error = holds(call, json_array_get(list, i), i, &found);
    return error ? error : give_bool(found, ret_value);
}

static int run_any(CALL)
{
    (void)count;
    return search(call, args[0], true, ret_value);
}

static int run_all(CALL)
{
    (void)count;
    return search(call, args[0], false, ret_value);
}

/* ---- numbers ---- */

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

static int run_sum(CALL)
{
    (void)count;
    double sum = 0;
    bool all_whole = true;
    int error = sum_of(call, args[0], &sum, &all_whole);
    if (error)
        return error;
    return all_whole ? give_number(call, sum, ret_value) : give_double(call, sum, ret_value);
}

static int run_avg(CALL)
{
    (void)count;
    double sum = 0;
    bool all_whole = true;
    size_t n = json_array_size(args[0]);
    int error = sum_of(call, args[0], &sum, &all_whole);
    if (error)
        return error;
    return n ? give_number(call, sum / (double)n, ret_value) : give(json_null(), ret_value);
}

/* Of a list, or of the arguments themselves. */
static int extreme(const sl_flow_call *call, arguments args, size_t count, int sign, json_t **ret_value)
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
    return error ? error : give_same(best ? best : json_null(), ret_value);
}

static int run_min(CALL)
{
    return extreme(call, args, count, -1, ret_value);
}

static int run_max(CALL)
{
    return extreme(call, args, count, 1, ret_value);
}

static int run_round(CALL)
{
    json_int_t digits = is_given(args, count, 1) ? whole(args[1]) : 0;
    if (json_is_integer(args[0]) && digits >= 0)
        return give_same(args[0], ret_value);
    double scale = pow(10, (double)(digits < -15 ? -15 : digits > 15 ? 15 : digits));
    double scaled = json_number_value(args[0]) * scale;
    return give_number(call, isfinite(scaled) ? round(scaled) / scale : json_number_value(args[0]), ret_value);
}

static int run_floor(CALL)
{
    (void)count;
    return give_number(call, floor(json_number_value(args[0])), ret_value);
}

static int run_ceil(CALL)
{
    (void)count;
    return give_number(call, ceil(json_number_value(args[0])), ret_value);
}

static int run_abs(CALL)
{
    (void)count;
    if (json_is_integer(args[0]) && json_integer_value(args[0]) > INT64_MIN)
        return give(json_integer(llabs(json_integer_value(args[0]))), ret_value);
    return give_double(call, fabs(json_number_value(args[0])), ret_value);
}

/* "1234567.5" with two digits: "1,234,567.50". */
static int run_format_number(CALL)
{
    json_int_t digits = is_given(args, count, 1) ? whole(args[1]) : json_is_integer(args[0]) ? 0 : 2;
    sl_str separator = is_given(args, count, 2) ? text_of(args, 2) : SL_STR(",");
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
    return give_buf(call, &out, sl_flow_spend_bytes(call->work, out.len), ret_value);
}

/* ---- conversions ---- */

/* The number that a text is, white space around it allowed; NULL: none, or no memory. */
static json_t *parse_number(sl_str s)
{
    int64_t integer;
    double real;
    while (s.len && is_space(s.ptr[0]))
        s = sl_str_sub(s, 1, s.len);
    while (s.len && is_space(s.ptr[s.len - 1]))
        s.len--;
    if (sl_str_to_i64(s, &integer) == 0)
        return json_integer(integer);
    return sl_str_to_double(s, &real) == 0 ? json_real(real) : NULL;
}

static int run_number(CALL)
{
    (void)count;
    json_t *v = sl_flow_plain(args[0]);
    if (json_is_number(v))
        return give_same(v, ret_value);
    if (json_is_boolean(v))
        return give(json_integer(json_is_true(v)), ret_value);
    json_t *number = json_is_string(v) ? parse_number(sl_flow_str(v)) : NULL;
    return number ? give(number, ret_value)
                  : sl_flow_wrong(call->work, "number: this %s is none", sl_flow_type_name(v));
}

static int run_string(CALL)
{
    (void)count;
    sl_buf out;
    sl_buf_init(&out, SL_MAX_EXPR_TEXT_BYTES);
    return give_buf(call, &out, sl_flow_put_text(call->work, &out, args[0]), ret_value);
}

static int run_json(CALL)
{
    unsigned indent = 0;
    if (is_given(args, count, 1) && json_is_number(args[1]))
        indent = (unsigned)(whole(args[1]) < 0 ? 0 : whole(args[1]) > 8 ? 8 : whole(args[1]));
    else if (is_given(args, count, 1) && sl_expr_truth(args[1]))
        indent = 2;
    sl_buf out;
    sl_buf_init(&out, SL_MAX_EXPR_TEXT_BYTES);
    return give_buf(call, &out, sl_flow_put_json(call->work, &out, args[0], indent), ret_value);
}

static int run_parse_json(CALL)
{
    (void)count;
    sl_str s = text_of(args, 0);
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
    return give(value, ret_value);
}

static int run_default(CALL)
{
    (void)call;
    json_t *found = json_null();
    for (size_t i = 0; i < count; i++) {
        found = args[i];
        json_t *plain = sl_flow_plain(found);
        if (!json_is_null(plain) && !(json_is_string(plain) && json_string_length(plain) == 0))
            break;
    }
    return give_same(found, ret_value);
}

static int run_type(CALL)
{
    (void)count;
    return give_text(call, sl_str_c(sl_flow_type_name(args[0])), ret_value);
}

/* ---- comparing ---- */

static int run_eq(CALL)
{
    (void)count;
    bool equal = false;
    int error = sl_flow_equal(call->work, args[0], args[1], &equal);
    return error ? error : give_bool(equal, ret_value);
}

static int run_ne(CALL)
{
    (void)count;
    bool equal = false;
    int error = sl_flow_equal(call->work, args[0], args[1], &equal);
    return error ? error : give_bool(!equal, ret_value);
}

static int run_lt(CALL)
{
    (void)call;
    (void)count;
    int order = 0;
    return give_bool(sl_flow_order(args[0], args[1], &order) && order < 0, ret_value);
}

static int run_lte(CALL)
{
    (void)call;
    (void)count;
    int order = 0;
    return give_bool(sl_flow_order(args[0], args[1], &order) && order <= 0, ret_value);
}

static int run_gt(CALL)
{
    (void)call;
    (void)count;
    int order = 0;
    return give_bool(sl_flow_order(args[0], args[1], &order) && order > 0, ret_value);
}

static int run_gte(CALL)
{
    (void)call;
    (void)count;
    int order = 0;
    return give_bool(sl_flow_order(args[0], args[1], &order) && order >= 0, ret_value);
}

static int run_and(CALL)
{
    (void)call;
    bool all = true;
    for (size_t i = 0; i < count; i++)
        all = all && sl_expr_truth(args[i]);
    return give_bool(all, ret_value);
}

static int run_or(CALL)
{
    (void)call;
    bool any = false;
    for (size_t i = 0; i < count; i++)
        any = any || sl_expr_truth(args[i]);
    return give_bool(any, ret_value);
}

static int run_not(CALL)
{
    (void)call;
    (void)count;
    return give_bool(!sl_expr_truth(args[0]), ret_value);
}

/* ---- table ---- */

static const sl_flow_function functions[] = {
    {"abs", "n", "number", "Its absolute value.", run_abs},
    {"all", "lf", "list, test", "True when the test holds for every item.", run_all},
    {"and", "a*", "values", "True when all of them are true.", run_and},
    {"any", "lf", "list, test", "True when the test holds for at least one item.", run_any},
    {"avg", "l", "list", "Mean of numbers; null when there are none.", run_avg},
    {"ceil", "n", "number", "The next whole number above.", run_ceil},
    {"concat", "a*", "values", "Texts one after another; of lists: one list of all their items.", run_concat},
    {"contains", "qa", "in, what", "True when a text has this part, a list this item, an object this key.",
     run_contains},
    {"default", "a*", "values", "The first that is neither null nor an empty text.", run_default},
    {"ends_with", "ss", "text, end", "True when the text ends so.", run_ends_with},
    {"eq", "aa", "a, b", "True when they are equal.", run_eq},
    {"filter", "lf", "list, test", "The items for which the test holds.", run_filter},
    {"find", "ss", "text, pattern", "The first and longest match of a regular expression, or null.", run_find},
    {"find_all", "ss", "text, pattern", "All matches of a regular expression.", run_find_all},
    {"first", "q?n", "in, count", "First item or character; with a count: that many.", run_first},
    {"flatten", "l", "list", "One list of the items of its lists, one level.", run_flatten},
    {"floor", "n", "number", "The next whole number below.", run_floor},
    {"formatNumber", "n?ns", "number, digits, separator", "With separators of thousands: 1,234.50.", run_format_number},
    {"get", "aa?a", "in, key, fallback", "Member of an object or item of a list by key or index.", run_get},
    {"gt", "aa", "a, b", "True when a is greater: two numbers or two texts.", run_gt},
    {"gte", "aa", "a, b", "True when a is greater or equal.", run_gte},
    {"join", "l?s", "list, separator", "One text of the items, \", \" between them unless said.", run_join},
    {"json", "a?a", "value, pretty", "Its JSON; with pretty true or a number of spaces: indented.", run_json},
    {"keys", "o", "object", "Names of its members, in order.", run_keys},
    {"last", "q?n", "in, count", "Last item or character; with a count: that many.", run_last},
    {"len", "q", "in", "The same as length.", run_length},
    {"length", "q", "in", "Number of items, members or characters.", run_length},
    {"lookup", "aa?a", "in, key, fallback", "The same as get.", run_get},
    {"lower", "s", "text", "In lower case (Latin, Greek, Cyrillic).", run_lower},
    {"lt", "aa", "a, b", "True when a is less: two numbers or two texts.", run_lt},
    {"lte", "aa", "a, b", "True when a is less or equal.", run_lte},
    {"map", "lf", "list, value", "The value of the lambda, or the member of that name, for each item.", run_map},
    {"matches", "ss", "text, pattern", "True when a part matches the regular expression (POSIX extended).",
     run_matches},
    {"max", "a*", "values", "The greatest of the values, or of one list.", run_max},
    {"merge", "o*", "objects", "One object; later ones win.", run_merge},
    {"min", "a*", "values", "The least of the values, or of one list.", run_min},
    {"ne", "aa", "a, b", "True when they differ.", run_ne},
    {"not", "a", "value", "True when it is not true.", run_not},
    {"number", "a", "value", "The number that a text is.", run_number},
    {"or", "a*", "values", "True when one of them is true.", run_or},
    {"parse_json", "s", "text", "The value that a JSON text is.", run_parse_json},
    {"replace", "sss", "text, what, with", "Every occurrence replaced.", run_replace},
    {"reverse", "l", "list", "The items from last to first.", run_reverse},
    {"round", "n?n", "number, digits", "Rounded, halves away from zero.", run_round},
    {"slice", "qn?n", "in, from, to", "Items or characters from one index up to another; negative: from the end.",
     run_slice},
    {"sort", "l", "list", "Numbers or texts in order.", run_sort},
    {"sort_by", "lf", "list, key", "In order of the lambda's value, or of the member of that name.", run_sort_by},
    {"split", "s?s", "text, separator", "The parts between separators; without one: the words.", run_split},
    {"starts_with", "ss", "text, start", "True when the text begins so.", run_starts_with},
    {"string", "a", "value", "As a template prints it.", run_string},
    {"sum", "l", "list", "Sum of numbers.", run_sum},
    {"trim", "s", "text", "Without white space at both ends.", run_trim},
    {"truncate", "sn?s", "text, length, mark", "At most so many characters, the mark (...) among them.", run_truncate},
    {"type", "a", "value", "null, boolean, number, string, list or object.", run_type},
    {"unique", "l", "list", "Each item once, the first stays.", run_unique},
    {"upper", "s", "text", "In upper case (Latin, Greek, Cyrillic).", run_upper},
    {"values", "o", "object", "Values of its members, in order.", run_values},
};

#define FUNCTION_COUNT (sizeof functions / sizeof *functions)

const sl_flow_function *sl_flow_functions(size_t *ret_count)
{
    SL_ASSERT(ret_count);
    *ret_count = FUNCTION_COUNT;
    return functions;
}

const sl_flow_function *sl_flow_function_find(sl_str name)
{
    for (size_t i = 0; i < FUNCTION_COUNT; i++)
        if (sl_str_eq_c(name, functions[i].name))
            return &functions[i];
    return NULL;
}

bool sl_flow_function_is_lambda(const sl_flow_function *function)
{
    SL_ASSERT(function);
    return strchr(function->types, 'f') != NULL;
}

size_t sl_flow_function_arg(const sl_flow_function *function, sl_str name)
{
    SL_ASSERT(function);
    sl_str rest = sl_str_c(function->args), part;
    for (size_t i = 0; sl_str_split(&rest, ',', &part); i++)
        if (sl_str_eq(sl_str_trim(part), name))
            return i;
    return SL_NPOS;
}

void sl_flow_function_arity(const sl_flow_function *function, size_t *ret_min, size_t *ret_max)
{
    SL_ASSERT(function && ret_min && ret_max);
    const char *types = function->types, *optional = strchr(types, '?');
    size_t len = strlen(types);
    bool any = types[len - 1] == '*';
    *ret_min = optional ? (size_t)(optional - types) : any ? len - 1 : len;
    *ret_max = any ? SL_MAX_EXPR_ARGS : optional ? len - 1 : len;
}

/* ---- checking of arguments ---- */

typedef struct type_rule {
    char letter;
    const char *name;
} type_rule;

static const type_rule type_rules[] = {
    {'s', "string"}, {'n', "number"}, {'l', "list"}, {'o', "object"}, {'q', "list, string or object"},
};

static bool has_type(char type, const json_t *v)
{
    switch (type) {
    case 's':
        return json_is_string(v);
    case 'n':
        return json_is_number(v);
    case 'l':
        return json_is_array(v);
    case 'o':
        return json_is_object(v);
    case 'q':
        return json_is_string(v) || json_is_array(v) || json_is_object(v);
    default:
        return true;
    }
}

/* What a template's argument becomes: text of anything, number of a text; else nothing. A reference, or NULL. */
static int convert(const sl_flow_call *call, char type, json_t *v, json_t **ret_value)
{
    json_t *number = NULL;
    if (type == 's')
        return run_string(call, &v, 1, ret_value);
    if (type == 'n' && json_is_string(v))
        number = parse_number(sl_flow_str(v));
    if (number)
        return give(number, ret_value);
    if (json_is_null(v) && type != 'n')
        return give(type == 'o' ? json_object() : json_array(), ret_value);
    return SL_EINVAL;
}

/* A reference to the argument as its type wants it. */
static int check_one(const sl_flow_function *f, const sl_flow_call *call, char type, size_t i, json_t *v,
                     json_t **ret_value)
{
    if (type == 'a' || type == 'f' || !v) {
        *ret_value = v ? json_incref(v) : NULL;
        return 0;
    }
    json_t *plain = type == 'o' ? v : sl_flow_plain(v);
    if (has_type(type, plain))
        return give_same(plain, ret_value);
    if (type == 'q' && json_is_object(v))
        return give_same(v, ret_value);
    int error = call->lenient ? convert(call, type, plain, ret_value) : SL_EINVAL;
    if (error != SL_EINVAL)
        return error;
    const char *wanted = "";
    for (size_t k = 0; k < sizeof type_rules / sizeof *type_rules; k++)
        if (type_rules[k].letter == type)
            wanted = type_rules[k].name;
    return sl_flow_wrong(call->work, "%s: argument %zu must be a %s, not a %s", f->name, i + 1, wanted,
                         sl_flow_type_name(plain));
}

static int check_all(const sl_flow_function *f, const sl_flow_call *call, arguments args, size_t count,
                     json_t **checked)
{
    const char *type = f->types;
    bool optional = false;
    for (size_t i = 0; i < count; i++) {
        if (*type == '?') {
            optional = true;
            type++;
        }
        int error = 0;
        if (optional && json_is_null(args[i]))
            checked[i] = json_incref(args[i]);
        else
            error = check_one(f, call, *type, i, args[i], &checked[i]);
        if (error)
            return error;
        type += type[1] != '*';
    }
    return 0;
}

int sl_flow_function_run(const sl_flow_function *function, const sl_flow_call *call, json_t *const *args, size_t count,
                         json_t **ret_value)
{
    SL_ASSERT(function && call && call->work && ret_value && count <= SL_MAX_EXPR_ARGS);
    json_t *checked[SL_MAX_EXPR_ARGS] = {NULL};
    int error = sl_flow_spend(call->work, 1);
    if (!error)
        error = check_all(function, call, args, count, checked);
    if (!error)
        error = function->run(call, checked, count, ret_value);
    for (size_t i = 0; i < count; i++)
        json_decref(checked[i]);
    if (error == SL_EINVAL && call->lenient)
        return give(json_null(), ret_value);
    return error;
}
