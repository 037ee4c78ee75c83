/* The functions of expressions for lists, objects and whatever else has parts; those that take a lambda. */
#include "src/flow/expr_give.h"

#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/flow/expr.h"
#include "src/flow/template.h"

int sl_fn_run_length(SL_FN_ARGS)
{
    (void)count;
    int error = 0;
    json_t *v = args[0];
    size_t n = json_is_array(v) ? json_array_size(v) : 0;
    if (json_is_object(v)) /* without what is no member to anybody else */
        n = json_object_size(v) - (json_object_get(v, SL_FLOW_TEXT_KEY) != NULL);
    if (json_is_string(v)) {
        error = sl_flow_spend(call->work, json_string_length(v) / 16);
        n = sl_fn_characters(sl_flow_str(v));
    }
    return error ? error : sl_give(json_integer((json_int_t)n), ret_value);
}

int sl_fn_run_contains(SL_FN_ARGS)
{
    (void)count;
    json_t *in = args[0], *what = sl_flow_plain(args[1]);
    if (json_is_string(in))
        return json_is_string(what)
                   ? sl_give_bool(sl_str_find(sl_flow_str(in), sl_flow_str(what)) != SL_NPOS, ret_value)
                   : sl_give_bool(false, ret_value);
    if (json_is_object(in))
        return sl_give_bool(json_is_string(what) && sl_flow_member(in, sl_flow_str(what)), ret_value);
    bool found = false;
    int error = 0;
    for (size_t i = 0; !error && !found && i < json_array_size(in); i++)
        error = sl_flow_equal(call->work, json_array_get(in, i), what, &found);
    return error ? error : sl_give_bool(found, ret_value);
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
            error = sl_give_text(call, sl_str_of(name, len), &key);
        if (!error)
            error = sl_fn_list_add(call, list, keys ? key : json_incref(value));
    }
    return sl_give_list(list, error, ret_value);
}

int sl_fn_run_keys(SL_FN_ARGS)
{
    (void)count;
    return list_members(call, args[0], true, ret_value);
}

int sl_fn_run_values(SL_FN_ARGS)
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

int sl_fn_run_get(SL_FN_ARGS)
{
    (void)call;
    json_t *key = sl_flow_plain(args[1]), *found = NULL;
    int64_t index;
    if (json_is_object(args[0]) && json_is_string(key))
        found = sl_flow_member(args[0], sl_flow_str(key));
    else if (json_is_array(args[0]) && json_is_number(key))
        found = item_of(args[0], sl_fn_whole(key));
    else if (json_is_array(args[0]) && json_is_string(key) && sl_str_to_i64(sl_flow_str(key), &index) == 0)
        found = item_of(args[0], index);
    if (!found)
        found = count > 2 && args[2] ? args[2] : json_null();
    return sl_give_same(found, ret_value);
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
    size_t size = text ? sl_fn_characters(sl_flow_str(in)) : json_array_size(in);
    size_t start = place(from, size), end = place(to, size);
    if (end < start)
        end = start;
    if (text) {
        sl_str s = sl_flow_str(in);
        size_t at = sl_fn_offset(s, start), stop = sl_fn_offset(s, end);
        int error = sl_flow_spend(call->work, s.len / 16);
        return error ? error : sl_give_text(call, sl_str_sub(s, at, stop - at), ret_value);
    }
    json_t *list = json_array();
    int error = list ? 0 : SL_ENOMEM;
    for (size_t i = start; !error && i < end; i++)
        error = sl_fn_list_add(call, list, json_incref(json_array_get(in, i)));
    return sl_give_list(list, error, ret_value);
}

int sl_fn_run_slice(SL_FN_ARGS)
{
    if (json_is_object(args[0]))
        return sl_flow_wrong(call->work, "slice: needs a list or a string, not an object");
    return slice_of(call, args[0], sl_fn_whole(args[1]),
                    sl_fn_is_given(args, count, 2) ? sl_fn_whole(args[2]) : INT32_MAX, ret_value);
}

/* The first or last item, character, or member's value; with a number: that many of them. */
static int end_of(const sl_flow_call *call, sl_fn_values args, size_t count, bool first, json_t **ret_value)
{
    json_t *in = args[0], *found = NULL;
    if (sl_fn_is_given(args, count, 1) && !json_is_object(in)) {
        json_int_t n = sl_fn_whole(args[1]);
        n = n < 0 ? 0 : n > INT32_MAX ? INT32_MAX : n;
        return first ? slice_of(call, in, 0, n, ret_value)
                     : slice_of(call, in, n ? -n : INT32_MAX, INT32_MAX, ret_value);
    }
    if (json_is_string(in) && json_string_length(in))
        return first ? slice_of(call, in, 0, 1, ret_value) : slice_of(call, in, -1, INT32_MAX, ret_value);
    if (json_is_array(in))
        found = item_of(in, first ? 0 : -1);
    return sl_give_same(found ? found : json_null(), ret_value);
}

int sl_fn_run_first(SL_FN_ARGS)
{
    return end_of(call, args, count, true, ret_value);
}

int sl_fn_run_last(SL_FN_ARGS)
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
        return sl_give(json_array(), ret_value);
    int error = sl_flow_spend_bytes(call->work, count * 2 * sizeof(sort_item));
    if (error)
        return error;
    sort_item *items = sl_calloc(2 * count, sizeof *items);
    json_t *list = items ? json_array() : NULL;
    error = list ? fill_items(call, in, by, items) : SL_ENOMEM;
    if (!error)
        error = merge_sort(call, items, items + count, count);
    for (size_t i = 0; !error && i < count; i++)
        error = sl_fn_list_add(call, list, json_incref(items[i].value));
    for (size_t i = 0; items && i < count; i++)
        json_decref(items[i].key);
    sl_free(items);
    return sl_give_list(list, error, ret_value);
}

int sl_fn_run_sort(SL_FN_ARGS)
{
    (void)count;
    return sorted(call, args[0], false, ret_value);
}

int sl_fn_run_sort_by(SL_FN_ARGS)
{
    (void)count;
    return sorted(call, args[0], true, ret_value);
}

int sl_fn_run_reverse(SL_FN_ARGS)
{
    (void)count;
    json_t *list = json_array();
    int error = list ? 0 : SL_ENOMEM;
    for (size_t i = json_array_size(args[0]); !error && i-- > 0;)
        error = sl_fn_list_add(call, list, json_incref(json_array_get(args[0], i)));
    return sl_give_list(list, error, ret_value);
}

/* Keyed by type and JSON text. */
int sl_fn_run_unique(SL_FN_ARGS)
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
            error = sl_fn_list_add(call, list, json_incref(item));
    }
    sl_buf_done(&key);
    json_decref(seen);
    return sl_give_list(list, error, ret_value);
}

/* Appends the items of `value` when it is a list, else itself. */
static int add_flat(const sl_flow_call *call, json_t *list, json_t *value)
{
    if (!json_is_array(value))
        return sl_fn_list_add(call, list, json_incref(value));
    int error = 0;
    for (size_t i = 0; !error && i < json_array_size(value); i++)
        error = sl_fn_list_add(call, list, json_incref(json_array_get(value, i)));
    return error;
}

int sl_fn_run_flatten(SL_FN_ARGS)
{
    (void)count;
    json_t *list = json_array();
    int error = list ? 0 : SL_ENOMEM;
    for (size_t i = 0; !error && i < json_array_size(args[0]); i++)
        error = add_flat(call, list, json_array_get(args[0], i));
    return sl_give_list(list, error, ret_value);
}

int sl_fn_run_concat(SL_FN_ARGS)
{
    if (count && json_is_array(args[0])) {
        json_t *list = json_array();
        int error = list ? 0 : SL_ENOMEM;
        for (size_t i = 0; !error && i < count; i++)
            error = add_flat(call, list, args[i]);
        return sl_give_list(list, error, ret_value);
    }
    sl_buf out;
    sl_buf_init(&out, SL_MAX_EXPR_TEXT_BYTES);
    int error = 0;
    for (size_t i = 0; !error && i < count; i++)
        error = sl_flow_put_text(call->work, &out, args[i]);
    return sl_give_buf(call, &out, error, ret_value);
}

int sl_fn_run_merge(SL_FN_ARGS)
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
    return sl_give_list(all, error, ret_value);
}

/* ---- lambdas ---- */

int sl_fn_run_map(SL_FN_ARGS)
{
    (void)count;
    json_t *list = json_array();
    int error = list ? 0 : SL_ENOMEM;
    for (size_t i = 0; !error && i < json_array_size(args[0]); i++) {
        json_t *value = NULL;
        error = call->apply(call->user, json_array_get(args[0], i), i, &value);
        if (!error)
            error = sl_fn_list_add(call, list, value);
    }
    return sl_give_list(list, error, ret_value);
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

int sl_fn_run_filter(SL_FN_ARGS)
{
    (void)count;
    json_t *list = json_array();
    int error = list ? 0 : SL_ENOMEM;
    for (size_t i = 0; !error && i < json_array_size(args[0]); i++) {
        json_t *item = json_array_get(args[0], i);
        bool keep = false;
        error = holds(call, item, i, &keep);
        if (!error && keep)
            error = sl_fn_list_add(call, list, json_incref(item));
    }
    return sl_give_list(list, error, ret_value);
}

static int search(const sl_flow_call *call, json_t *list, bool wanted, json_t **ret_value)
{
    bool found = !wanted;
    int error = 0;
    for (size_t i = 0; !error && found != wanted && i < json_array_size(list); i++)
        error = holds(call, json_array_get(list, i), i, &found);
    return error ? error : sl_give_bool(found, ret_value);
}

int sl_fn_run_any(SL_FN_ARGS)
{
    (void)count;
    return search(call, args[0], true, ret_value);
}

int sl_fn_run_all(SL_FN_ARGS)
{
    (void)count;
    return search(call, args[0], false, ret_value);
}
