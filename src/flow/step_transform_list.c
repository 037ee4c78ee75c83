/* Transforms of lists: map, filter, dedupe, sort, rerank, flatten. */
#include <math.h>
#include <stdlib.h>

#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/flow/step_transform_impl.h"
#include "src/llm/json_text.h"

#define LAMBDA "(list__, (item, index) => ("

/* ---- map ---- */

static int map_key(sl_transform *t, json_t *items, sl_str key, json_t **ret_value)
{
    json_t *list = json_array();
    int error = list ? 0 : SL_ENOMEM;
    for (size_t i = 0; !error && i < json_array_size(items); i++) {
        json_t *found = sl_transform_member(json_array_get(items, i), key);
        error = sl_transform_add(t, list, found ? json_incref(found) : json_null());
    }
    return sl_transform_give(list, error, ret_value);
}

/* One text for each item, which the template sees as `item` and `this`. */
static int map_template(sl_transform *t, json_t *items, sl_str text, json_t **ret_value)
{
    sl_template *template = NULL;
    json_t *scope = NULL, *list = json_array();
    int error = list ? sl_template_new(text, t->fault, &template) : SL_ENOMEM;
    if (!error)
        error = sl_transform_scope(t, NULL, NULL, &scope);
    for (size_t i = 0; !error && i < json_array_size(items); i++) {
        json_t *item = json_array_get(items, i);
        sl_buf out;
        sl_buf_init(&out, SL_MAX_TEMPLATE_OUTPUT_BYTES);
        if (json_object_set(scope, "item", item) || json_object_set(scope, "this", item) ||
            json_object_set_new(scope, "index", json_integer((json_int_t)i)))
            error = SL_ENOMEM;
        if (!error)
            error = sl_flow_spend(&t->work, 50 + text.len / 16);
        if (!error)
            error = sl_template_render_within(template, scope, &t->work, &out);
        if (!error)
            error = sl_transform_add(t, list, json_stringn_nocheck(out.len ? out.data : "", out.len));
        sl_buf_done(&out);
    }
    sl_template_free(template);
    json_decref(scope);
    return sl_transform_give(list, error, ret_value);
}

int sl_transform_map(sl_transform *t, json_t **ret_value)
{
    sl_str key = {0}, expression = sl_transform_expr_text(t), template = sl_transform_raw(t, "template");
    json_t *items = NULL;
    int error = sl_transform_text(t, "key", sl_str_of(NULL, 0), &key);
    if (!error)
        error = sl_transform_items(t, &items);
    if (!error && expression.len)
        error = sl_transform_eval(t, "map" LAMBDA, expression, "))", items, ret_value);
    else if (!error && template.len)
        error = map_template(t, items, template, ret_value);
    else if (!error && key.len)
        error = map_key(t, items, key, ret_value);
    else if (!error)
        error = sl_flow_wrong(&t->work, "map: needs expression, template or key");
    json_decref(items);
    return error;
}

/* ---- filter ---- */

static int filter_key(sl_transform *t, json_t *items, sl_str key, json_t **ret_value)
{
    json_t *wanted = json_object_get(t->params, "value"), *list = json_array();
    int error = list ? 0 : SL_ENOMEM;
    for (size_t i = 0; !error && i < json_array_size(items); i++) {
        json_t *item = json_array_get(items, i), *found = sl_transform_member(item, key);
        bool keep = wanted ? false : sl_expr_truth(found);
        if (wanted && found)
            error = sl_flow_equal(&t->work, found, wanted, &keep);
        if (!error)
            error = sl_flow_spend(&t->work, 1);
        if (!error && keep)
            error = sl_transform_add(t, list, json_incref(item));
    }
    return sl_transform_give(list, error, ret_value);
}

int sl_transform_filter(sl_transform *t, json_t **ret_value)
{
    sl_str key = {0}, expression = sl_transform_expr_text(t);
    json_t *items = NULL;
    int error = sl_transform_text(t, "key", sl_str_of(NULL, 0), &key);
    if (!error)
        error = sl_transform_items(t, &items);
    if (!error && expression.len)
        error = sl_transform_eval(t, "filter" LAMBDA, expression, "))", items, ret_value);
    else if (!error && key.len)
        error = filter_key(t, items, key, ret_value);
    else if (!error)
        error = sl_flow_wrong(&t->work, "filter: needs key (and value), or expression");
    json_decref(items);
    return error;
}

/* ---- keys of items ---- */

/* For each item what it is sorted or told apart by: by expression, by key, or the item itself. */
static int keys_of(sl_transform *t, json_t *items, sl_str key, json_t **ret_keys)
{
    sl_str expression = sl_transform_expr_text(t);
    if (expression.len)
        return sl_transform_eval(t, "map" LAMBDA, expression, "))", items, ret_keys);
    if (key.len)
        return map_key(t, items, key, ret_keys);
    *ret_keys = sl_json_copy(items);
    return *ret_keys ? 0 : SL_ENOMEM;
}

/* ---- dedupe ---- */

static int dedupe(sl_transform *t, json_t *items, json_t *keys, json_t *list)
{
    json_t *seen = json_object();
    sl_buf text;
    sl_buf_init(&text, SL_MAX_EXPR_TEXT_BYTES);
    int error = seen ? 0 : SL_ENOMEM;
    for (size_t i = 0; !error && i < json_array_size(items); i++) {
        sl_buf_clear(&text);
        error = sl_flow_put_json(&t->work, &text, json_array_get(keys, i), 0);
        if (error || json_object_getn(seen, text.data, text.len))
            continue;
        if (json_object_setn_new_nocheck(seen, text.data, text.len, json_true()))
            error = SL_ENOMEM;
        if (!error)
            error = sl_transform_add(t, list, json_incref(json_array_get(items, i)));
    }
    sl_buf_done(&text);
    json_decref(seen);
    return error;
}

int sl_transform_dedupe(sl_transform *t, json_t **ret_value)
{
    sl_str key = {0};
    json_t *items = NULL, *keys = NULL, *list = json_array();
    int error = list ? sl_transform_text(t, "key", sl_str_of(NULL, 0), &key) : SL_ENOMEM;
    if (!error)
        error = sl_transform_items(t, &items);
    if (!error)
        error = keys_of(t, items, key, &keys);
    if (!error)
        error = dedupe(t, items, keys, list);
    json_decref(items);
    json_decref(keys);
    return sl_transform_give(list, error, ret_value);
}

/* ---- sort, rerank ---- */

typedef struct sort_item {
    json_t *key; /* null comes last, whatever the direction */
    size_t index;
} sort_item;

static int compare_keys(json_t *a, json_t *b)
{
    int order = 0;
    if (json_is_null(a) || json_is_null(b))
        return json_is_null(a) - json_is_null(b);
    (void)sl_flow_order(a, b, &order); /* checked before */
    return order;
}

static int compare_items(const void *a, const void *b, void *descending)
{
    const sort_item *x = a, *y = b;
    int order = compare_keys(x->key, y->key);
    if (*(const bool *)descending && !json_is_null(x->key) && !json_is_null(y->key))
        order = -order;
    return order ? order : (x->index > y->index) - (x->index < y->index);
}

/* All numbers, or all texts; nulls apart. Counts the comparisons that sorting will take. */
static int check_keys(sl_transform *t, json_t *keys)
{
    json_t *first = NULL;
    size_t count = json_array_size(keys), rounds = 1;
    for (size_t n = count; n; n /= 2)
        rounds++;
    for (size_t i = 0; i < count; i++) {
        json_t *key = json_array_get(keys, i);
        int order;
        if (json_is_null(key))
            continue;
        first = first ? first : key;
        if (!sl_flow_order(first, key, &order))
            return sl_flow_wrong(&t->work, "cannot put %s and %s in order", sl_flow_type_name(first),
                                 sl_flow_type_name(key));
    }
    return sl_flow_spend(&t->work, count * rounds);
}

/* At most `limit` of the items in order of their keys. */
static int sorted(sl_transform *t, json_t *items, json_t *keys, bool descending, size_t limit, json_t *list)
{
    size_t count = json_array_size(items);
    int error = check_keys(t, keys);
    if (error || count == 0)
        return error;
    sort_item *order = sl_malloc(count * sizeof *order);
    if (!order)
        return SL_ENOMEM;
    for (size_t i = 0; i < count; i++)
        order[i] = (sort_item){sl_flow_plain(json_array_get(keys, i)), i};
    qsort_r(order, count, sizeof *order, compare_items, &descending);
    for (size_t i = 0; !error && i < count && i < limit; i++)
        error = sl_transform_add(t, list, json_incref(json_array_get(items, order[i].index)));
    sl_free(order);
    return error;
}

static int is_descending(sl_transform *t, bool *ret_descending)
{
    sl_str order = {0};
    int error = sl_transform_text(t, "order", SL_STR("asc"), &order);
    if (error)
        return error;
    bool desc = sl_str_starts(order, SL_STR("desc"));
    if (!desc && !sl_str_starts(order, SL_STR("asc")))
        return sl_flow_wrong(&t->work, "order must be asc or desc");
    *ret_descending = desc || sl_transform_flag(t, "descending") || sl_transform_flag(t, "reverse");
    return 0;
}

int sl_transform_sort(sl_transform *t, json_t **ret_value)
{
    sl_str key = {0};
    bool descending = false;
    json_t *items = NULL, *keys = NULL, *list = json_array();
    int error = list ? sl_transform_text(t, "key", sl_str_of(NULL, 0), &key) : SL_ENOMEM;
    if (!error)
        error = is_descending(t, &descending);
    if (!error)
        error = sl_transform_items(t, &items);
    if (!error)
        error = keys_of(t, items, key, &keys);
    if (!error)
        error = sorted(t, items, keys, descending, SIZE_MAX, list);
    json_decref(items);
    json_decref(keys);
    return sl_transform_give(list, error, ret_value);
}

/* Leaves out what is below `min_score`, or has no score when one is asked for. */
static int drop_low(sl_transform *t, json_t *items, json_t *keys)
{
    json_t *min = sl_transform_param(t, "min_score");
    if (!min)
        return 0;
    if (!json_is_number(min))
        return sl_flow_wrong(&t->work, "min_score must be a number");
    size_t kept = 0, count = json_array_size(items);
    for (size_t i = 0; i < count; i++) {
        json_t *key = json_array_get(keys, i);
        if (!json_is_number(key) || json_number_value(key) < json_number_value(min))
            continue;
        if (json_array_set(items, kept, json_array_get(items, i)) || json_array_set(keys, kept, key))
            return SL_ENOMEM;
        kept++;
    }
    for (size_t i = count; i > kept; i--) /* from the end: nothing moves */
        if (json_array_remove(items, i - 1) || json_array_remove(keys, i - 1))
            return SL_EINVAL;
    return 0;
}

/* The highest scores first. */
int sl_transform_rerank(sl_transform *t, json_t **ret_value)
{
    sl_str key = {0};
    json_int_t top = 0;
    json_t *items = NULL, *keys = NULL, *list = json_array();
    int error = list ? sl_transform_text(t, "key", SL_STR("score"), &key) : SL_ENOMEM;
    if (!error)
        error = sl_transform_number(t, "top_k", INT32_MAX, 1, INT32_MAX, &top);
    if (!error)
        error = sl_transform_items(t, &items);
    if (!error)
        error = keys_of(t, items, key, &keys);
    if (!error)
        error = drop_low(t, items, keys);
    if (!error)
        error = sorted(t, items, keys, true, (size_t)top, list);
    json_decref(items);
    json_decref(keys);
    return sl_transform_give(list, error, ret_value);
}

/* ---- flatten ---- */

static int flatten(sl_transform *t, json_t *list, json_t *value, json_int_t depth)
{
    int error = 0;
    for (size_t i = 0; !error && i < json_array_size(value); i++) {
        json_t *item = json_array_get(value, i);
        if (depth > 0 && json_is_array(item))
            error = flatten(t, list, item, depth - 1);
        else
            error = sl_transform_add(t, list, json_incref(item));
    }
    return error;
}

int sl_transform_flatten(sl_transform *t, json_t **ret_value)
{
    json_int_t depth = 1;
    json_t *items = NULL, *list = json_array();
    int error = list ? sl_transform_number(t, "depth", 1, 1, SL_MAX_JSON_DEPTH, &depth) : SL_ENOMEM;
    if (!error)
        error = sl_transform_items(t, &items);
    if (!error)
        error = flatten(t, list, items, depth);
    json_decref(items);
    return sl_transform_give(list, error, ret_value);
}
