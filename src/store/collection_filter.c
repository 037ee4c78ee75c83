/* Filters on metadata: a tree in an array, each node behind its parent. */
#include "src/store/collection_filter.h"

#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/store/collection_filter_impl.h"

typedef sl_filter_op filter_op;
typedef sl_filter_node node;

typedef struct operator_row {
    const char *name;
    filter_op op;
} operator_row;

static const operator_row comparisons[] = {{"$eq", OP_EQ},   {"$ne", OP_NE},   {"$in", OP_IN},
                                           {"$nin", OP_NIN}, {"$gt", OP_GT},   {"$gte", OP_GTE},
                                           {"$lt", OP_LT},   {"$lte", OP_LTE}, {"$exists", OP_EXISTS}};
static const operator_row groups[] = {{"$and", OP_AND}, {"$or", OP_OR}, {"$not", OP_NOT}};

#define COUNT(table) (sizeof(table) / sizeof *(table))

/* ---- compiling ---- */

static int wrong(sl_vector_filter *f, const char *what, const char *name)
{
    (void)snprintf(f->reason, SL_FILTER_REASON, "filter: %.60s: %s", name, what);
    return SL_EINVAL;
}

static void *grown(void *items, unsigned count, unsigned *cap, size_t size)
{
    if (count < *cap)
        return items;
    unsigned more = *cap ? *cap * 2 : 8;
    void *moved = sl_realloc(items, more * size);
    if (moved)
        *cap = more;
    return moved;
}

static int add_node(sl_vector_filter *f, filter_op op, unsigned *ret_index)
{
    if (f->node_count >= SL_MAX_FILTER_TERMS) {
        (void)snprintf(f->reason, SL_FILTER_REASON, "filter: more than %d terms", SL_MAX_FILTER_TERMS);
        return SL_ELIMIT;
    }
    node *nodes = grown(f->nodes, f->node_count, &f->node_cap, sizeof *nodes);
    if (!nodes)
        return SL_ENOMEM;
    f->nodes = nodes;
    f->nodes[f->node_count] = (node){.op = op};
    *ret_index = f->node_count++;
    return 0;
}

static void add_kid(sl_vector_filter *f, unsigned parent, unsigned kid)
{
    SL_ASSERT(kid > parent && kid < f->node_count);
    unsigned *at = &f->nodes[parent].first;
    while (*at)
        at = &f->nodes[*at].next;
    *at = kid;
}

static int find_key(sl_vector_filter *f, const char *name, unsigned *ret_key)
{
    for (unsigned i = 0; i < f->key_count; i++)
        if (strcmp(f->keys[i], name) == 0) {
            *ret_key = i;
            return 0;
        }
    char **keys = grown(f->keys, f->key_count, &f->key_cap, sizeof *keys);
    if (!keys)
        return SL_ENOMEM;
    f->keys = keys;
    f->keys[f->key_count] = sl_strndup(name, strlen(name));
    if (!f->keys[f->key_count])
        return SL_ENOMEM;
    *ret_key = f->key_count++;
    return 0;
}

static const operator_row *find_operator(const operator_row *table, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(table[i].name, name) == 0)
            return &table[i];
    return NULL;
}

static bool is_scalar(const json_t *value)
{
    return !json_is_array(value) && !json_is_object(value);
}

static int check_operand(sl_vector_filter *f, filter_op op, const json_t *operand, const char *name)
{
    switch (op) {
    case OP_IN:
    case OP_NIN:
        if (!json_is_array(operand))
            return wrong(f, "needs a list", name);
        if (json_array_size(operand) > SL_MAX_FILTER_TERMS)
            return wrong(f, "the list is too long", name);
        for (size_t i = 0; i < json_array_size(operand); i++)
            if (!is_scalar(json_array_get(operand, i)))
                return wrong(f, "the list must hold texts, numbers or booleans", name);
        return 0;
    case OP_EXISTS:
        return json_is_boolean(operand) ? 0 : wrong(f, "needs true or false", name);
    case OP_EQ:
    case OP_NE:
        return is_scalar(operand) ? 0 : wrong(f, "needs a text, a number, a boolean or null; for a list use $in", name);
    default:
        return json_is_number(operand) || json_is_string(operand) ? 0 : wrong(f, "needs a number or a text", name);
    }
}

static int add_comparison(sl_vector_filter *f, unsigned parent, const char *key, filter_op op, json_t *operand,
                          const char *name)
{
    unsigned index = 0, number = 0;
    int error = check_operand(f, op, operand, name);
    if (!error)
        error = find_key(f, key, &number);
    if (!error)
        error = add_node(f, op, &index);
    if (error)
        return error;
    f->nodes[index].key = number;
    f->nodes[index].operand = json_incref(operand);
    add_kid(f, parent, index);
    return 0;
}

static int add_members(sl_vector_filter *f, unsigned parent, json_t *object, unsigned depth);

static int add_group(sl_vector_filter *f, unsigned parent, const operator_row *row, json_t *operand, unsigned depth)
{
    unsigned index = 0, kid = 0;
    int error = add_node(f, row->op, &index);
    if (error)
        return error;
    add_kid(f, parent, index);
    if (row->op == OP_NOT)
        return json_is_object(operand) ? add_members(f, index, operand, depth + 1)
                                       : wrong(f, "needs a filter", row->name);
    if (!json_is_array(operand) || json_array_size(operand) == 0)
        return wrong(f, "needs a list of filters", row->name);
    for (size_t i = 0; !error && i < json_array_size(operand); i++) {
        json_t *one = json_array_get(operand, i);
        error = json_is_object(one) ? add_node(f, OP_AND, &kid) : wrong(f, "needs a list of filters", row->name);
        if (!error)
            add_kid(f, index, kid);
        if (!error)
            error = add_members(f, kid, one, depth + 1);
    }
    return error;
}

/* {"$gte": 1, "$lt": 5} for one key. */
static int add_operators(sl_vector_filter *f, unsigned parent, const char *key, json_t *operators)
{
    int error = json_object_size(operators) ? 0 : wrong(f, "is an empty object", key);
    const char *name;
    json_t *operand;
    json_object_foreach(operators, name, operand)
    {
        const operator_row *row = find_operator(comparisons, COUNT(comparisons), name);
        if (error)
            break;
        error = row ? add_comparison(f, parent, key, row->op, operand, name) : wrong(f, "is no operator", name);
    }
    return error;
}

static int add_members(sl_vector_filter *f, unsigned parent, json_t *object, unsigned depth)
{
    SL_ASSERT(json_is_object(object));
    if (depth > SL_MAX_FILTER_DEPTH) {
        (void)snprintf(f->reason, SL_FILTER_REASON, "filter: nested more than %d deep", SL_MAX_FILTER_DEPTH);
        return SL_ELIMIT;
    }
    int error = 0;
    const char *key;
    json_t *value;
    json_object_foreach(object, key, value)
    {
        const operator_row *group = find_operator(groups, COUNT(groups), key);
        if (group)
            error = add_group(f, parent, group, value, depth);
        else if (key[0] == '$')
            error = wrong(f, "is no operator that stands by itself", key);
        else if (json_is_object(value))
            error = add_operators(f, parent, key, value);
        else
            error = add_comparison(f, parent, key, OP_EQ, value, key);
        if (error)
            return error;
    }
    return 0;
}

int sl_vector_filter_new(json_t *filter, char *reason, sl_vector_filter **ret_filter)
{
    SL_ASSERT(filter && reason && ret_filter);
    unsigned root = 0;
    sl_vector_filter *f = sl_calloc(1, sizeof *f);
    if (!f)
        return SL_ENOMEM;
    f->reason = reason;
    int error = add_node(f, OP_AND, &root);
    if (!error)
        error = json_is_object(filter) ? add_members(f, root, filter, 1) : wrong(f, "must be an object", "it");
    if (error) {
        sl_vector_filter_free(f);
        return error;
    }
    f->reason = NULL;
    *ret_filter = f;
    return 0;
}

void sl_vector_filter_free(sl_vector_filter *filter)
{
    if (!filter)
        return;
    for (unsigned i = 0; i < filter->node_count; i++)
        json_decref(filter->nodes[i].operand);
    for (unsigned i = 0; i < filter->key_count; i++)
        sl_free(filter->keys[i]);
    sl_free(filter->keys);
    sl_free(filter->nodes);
    sl_free(filter);
}

size_t sl_vector_filter_key_count(const sl_vector_filter *filter)
{
    SL_ASSERT(filter);
    return filter->key_count;
}

const char *sl_vector_filter_key(const sl_vector_filter *filter, size_t index)
{
    SL_ASSERT(filter && index < filter->key_count);
    return filter->keys[index];
}

json_t *sl_vector_filter_value(const json_t *metadata, const char *key)
{
    SL_ASSERT(key);
    json_t *whole = json_object_get(metadata, key);
    const char *dot = strchr(key, '.');
    if (whole || !dot)
        return whole;
    json_t *inner = json_object_getn(metadata, key, (size_t)(dot - key));
    return inner ? sl_vector_filter_value(inner, dot + 1) : NULL;
}

/* ---- deciding ---- */

static sl_str text_of(const json_t *string)
{
    return sl_str_of(json_string_value(string), json_string_length(string));
}

static bool equals(const json_t *a, const json_t *b)
{
    if (json_is_string(a) && json_is_string(b))
        return sl_str_eq(text_of(a), text_of(b));
    if (json_is_integer(a) && json_is_integer(b))
        return json_integer_value(a) == json_integer_value(b);
    if (json_is_number(a) && json_is_number(b)) {
        double x = json_number_value(a), y = json_number_value(b);
        return !(x < y) && !(x > y);
    }
    return is_scalar(a) && json_typeof(a) == json_typeof(b) && !json_is_number(a) && !json_is_string(a);
}

static bool in_list(const json_t *value, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++)
        if (equals(value, json_array_get(list, i)))
            return true;
    return false;
}

/* Equal to the operand or one of its items; of a list, one item is enough. What is missing equals null. */
static bool matches(const json_t *value, const json_t *operand)
{
    if (!value)
        value = json_null();
    for (size_t i = 0; i < json_array_size(value); i++)
        if (matches(json_array_get(value, i), operand))
            return true;
    return json_is_array(operand) ? in_list(value, operand) : equals(value, operand);
}

/* False when the two are not to be compared. */
static bool order_of(const json_t *a, const json_t *b, int *ret_order)
{
    if (json_is_integer(a) && json_is_integer(b)) { /* times in nanoseconds have more digits than a double */
        json_int_t x = json_integer_value(a), y = json_integer_value(b);
        *ret_order = (x > y) - (x < y);
        return true;
    }
    if (json_is_number(a) && json_is_number(b)) {
        double x = json_number_value(a), y = json_number_value(b);
        *ret_order = (x > y) - (x < y);
        return true;
    }
    if (!json_is_string(a) || !json_is_string(b))
        return false;
    sl_str x = text_of(a), y = text_of(b);
    int order = memcmp(x.ptr, y.ptr, x.len < y.len ? x.len : y.len);
    *ret_order = order ? order : (x.len > y.len) - (x.len < y.len);
    return true;
}

static bool compares(filter_op op, const json_t *value, const json_t *operand)
{
    int order = 0;
    if (op == OP_EQ || op == OP_IN)
        return matches(value, operand);
    if (op == OP_NE || op == OP_NIN)
        return !matches(value, operand);
    if (op == OP_EXISTS)
        return (value && !json_is_null(value)) == json_is_true(operand);
    if (!value || !order_of(value, operand, &order))
        return false;
    return op == OP_GT ? order > 0 : op == OP_GTE ? order >= 0 : op == OP_LT ? order < 0 : order <= 0;
}

static bool node_holds(const sl_vector_filter *f, const node *n, json_t *const *values)
{
    if (n->op > OP_NOT)
        return compares(n->op, values[n->key], n->operand);
    bool all = true, any = false;
    for (unsigned kid = n->first; kid; kid = f->nodes[kid].next) {
        bool holds = node_holds(f, &f->nodes[kid], values);
        all = all && holds;
        any = any || holds;
        if (n->op == OP_OR ? any : !all)
            break;
    }
    return n->op == OP_OR ? any : n->op == OP_NOT ? !all : all;
}

bool sl_vector_filter_holds(const sl_vector_filter *filter, json_t *const *values)
{
    SL_ASSERT(filter && (values || !filter->key_count));
    return node_holds(filter, &filter->nodes[0], values);
}

/* ---- in Qdrant's words ---- */

static json_t *qdrant_node(const sl_vector_filter *f, const node *n);

static json_t *wrapped(const char *word, json_t *condition)
{
    return condition ? json_pack("{s:[o]}", word, condition) : NULL;
}

static json_t *qdrant_range(const char *key, const node *n)
{
    const char *name = comparisons[0].name;
    for (size_t i = 0; i < COUNT(comparisons); i++)
        if (comparisons[i].op == n->op)
            name = comparisons[i].name + 1;
    return json_pack("{s:s, s:{s:O}}", "key", key, "range", name, n->operand);
}

static json_t *qdrant_comparison(const sl_vector_filter *f, const node *n)
{
    const char *key = f->keys[n->key];
    bool negative = n->op == OP_NE || n->op == OP_NIN || (n->op == OP_EXISTS && json_is_true(n->operand));
    json_t *condition;
    if (n->op == OP_EXISTS || json_is_null(n->operand))
        condition = json_pack("{s:{s:s}}", "is_empty", "key", key);
    else if (n->op == OP_IN || n->op == OP_NIN)
        condition = json_pack("{s:s, s:{s:O}}", "key", key, "match", "any", n->operand);
    else if ((n->op == OP_EQ || n->op == OP_NE) && json_is_real(n->operand))
        condition = json_pack("{s:s, s:{s:O, s:O}}", "key", key, "range", "gte", n->operand, "lte", n->operand);
    else if (n->op == OP_EQ || n->op == OP_NE)
        condition = json_pack("{s:s, s:{s:O}}", "key", key, "match", "value", n->operand);
    else
        condition = qdrant_range(key, n);
    return negative ? wrapped("must_not", condition) : condition;
}

static json_t *qdrant_group(const sl_vector_filter *f, const node *n)
{
    json_t *list = json_array();
    for (unsigned kid = n->first; list && kid; kid = f->nodes[kid].next)
        if (json_array_append_new(list, qdrant_node(f, &f->nodes[kid]))) {
            json_decref(list);
            return NULL;
        }
    if (!list)
        return NULL;
    if (n->op == OP_NOT)
        return wrapped("must_not", json_pack("{s:o}", "must", list));
    return json_pack("{s:o}", n->op == OP_OR ? "should" : "must", list);
}

static json_t *qdrant_node(const sl_vector_filter *f, const node *n)
{
    return n->op > OP_NOT ? qdrant_comparison(f, n) : qdrant_group(f, n);
}

json_t *sl_vector_filter_qdrant(const sl_vector_filter *filter)
{
    SL_ASSERT(filter);
    return qdrant_node(filter, &filter->nodes[0]);
}
