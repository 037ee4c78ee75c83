/* A trace as a tree. */
#include "src/view/waterfall_tree.h"

#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/mem.h"

int sl_tree_load(sl_str text, json_t **ret_json)
{
    SL_ASSERT(ret_json && (text.ptr || !text.len));
    json_error_t error;
    json_t *json = text.len ? json_loadb(text.ptr, text.len, JSON_ALLOW_NUL, &error) : NULL;
    if (!json)
        return SL_EPARSE;
    *ret_json = json;
    return 0;
}

sl_str sl_tree_str(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_string(value) ? sl_str_of(json_string_value(value), json_string_length(value)) : sl_str_of(NULL, 0);
}

uint64_t sl_tree_u64(const json_t *object, const char *key)
{
    const json_t *value = json_object_get(object, key);
    return json_is_integer(value) && json_integer_value(value) > 0 ? (uint64_t)json_integer_value(value) : 0;
}

static void read_node(const json_t *span, sl_tree_node *node)
{
    SL_ASSERT(node);
    memset(node, 0, sizeof *node);
    node->id = sl_tree_str(span, "span_id");
    node->parent_id = sl_tree_str(span, "parent_span_id");
    node->name = sl_tree_str(span, "name");
    node->kind = sl_tree_str(span, "kind");
    node->service = sl_tree_str(span, "service");
    node->status_message = sl_tree_str(span, "status_message");
    node->error = sl_str_eq_c(sl_tree_str(span, "status"), "ERROR");
    node->start_ns = sl_tree_u64(span, "start_ns");
    node->duration_ns = sl_tree_u64(span, "duration_ns");
    node->attributes = json_object_get(span, "attributes");
    node->events = json_object_get(span, "events");
    node->parent = node->first_child = node->next_sibling = SL_TREE_NONE;
}

static int compare_starts(const void *a, const void *b)
{
    const sl_tree_node *x = a, *y = b;
    if (x->start_ns != y->start_ns)
        return x->start_ns < y->start_ns ? -1 : 1;
    return x->duration_ns > y->duration_ns ? -1 : x->duration_ns < y->duration_ns;
}

/* An id with the index of its node. */
typedef struct id_index {
    sl_str id;
    size_t node;
} id_index;

static int compare_ids(const void *a, const void *b)
{
    const id_index *x = a, *y = b;
    size_t len = x->id.len < y->id.len ? x->id.len : y->id.len;
    int order = len ? memcmp(x->id.ptr, y->id.ptr, len) : 0;
    return order ? order : x->id.len < y->id.len ? -1 : x->id.len > y->id.len;
}

/* Links nodes to their parents; children end up by start, because they are linked from the last to the first. */
static int link_nodes(sl_tree *tree)
{
    SL_ASSERT(tree);
    id_index *ids = sl_calloc(tree->count + 1, sizeof *ids);
    if (!ids)
        return SL_ENOMEM;
    for (size_t i = 0; i < tree->count; i++)
        ids[i] = (id_index){tree->nodes[i].id, i};
    qsort(ids, tree->count, sizeof *ids, compare_ids);
    for (size_t i = tree->count; i-- > 0;) {
        sl_tree_node *node = &tree->nodes[i];
        id_index want = {node->parent_id, 0};
        const id_index *found = node->parent_id.len ? bsearch(&want, ids, tree->count, sizeof *ids, compare_ids) : NULL;
        if (!found || found->node == i)
            continue;
        node->parent = found->node;
        node->next_sibling = tree->nodes[found->node].first_child;
        tree->nodes[found->node].first_child = i;
    }
    sl_free(ids);
    return 0;
}

/* Appends a node and all below it that have not been shown yet. */
static void show_from(sl_tree *tree, size_t root, size_t *shown)
{
    SL_ASSERT(tree);
    size_t at = root;
    tree->nodes[root].parent = SL_TREE_NONE; /* cuts a ring of parents */
    tree->nodes[root].next_sibling = SL_TREE_NONE;
    while (at != SL_TREE_NONE) {
        sl_tree_node *node = &tree->nodes[at];
        bool first = !node->shown;
        if (first) {
            node->shown = true;
            tree->order[(*shown)++] = at;
        }
        if (first && node->first_child != SL_TREE_NONE) {
            at = node->first_child;
            continue;
        }
        while (at != SL_TREE_NONE && tree->nodes[at].next_sibling == SL_TREE_NONE)
            at = tree->nodes[at].parent;
        if (at != SL_TREE_NONE)
            at = tree->nodes[at].next_sibling;
    }
}

/* Takes a node out of its parent's children. */
static void cut(sl_tree *tree, size_t index)
{
    SL_ASSERT(tree);
    size_t parent = tree->nodes[index].parent;
    if (parent == SL_TREE_NONE)
        return;
    size_t *link = &tree->nodes[parent].first_child;
    while (*link != index) {
        SL_ASSERT(*link != SL_TREE_NONE);
        link = &tree->nodes[*link].next_sibling;
    }
    *link = tree->nodes[index].next_sibling;
}

static void order_nodes(sl_tree *tree)
{
    size_t shown = 0;
    for (size_t i = 0; i < tree->count; i++) {
        if (tree->nodes[i].parent == SL_TREE_NONE)
            show_from(tree, i, &shown);
    }
    /* What no root leads to is a ring: it is cut at its earliest span. */
    for (size_t i = 0; i < tree->count; i++) {
        if (tree->nodes[i].shown)
            continue;
        cut(tree, i);
        show_from(tree, i, &shown);
    }
    SL_ASSERT(shown == tree->count);
}

static void number_services(sl_tree *tree)
{
    for (size_t i = 0; i < tree->count; i++) {
        sl_tree_node *node = &tree->nodes[i];
        size_t j = 0;
        while (j < i && !sl_str_eq(tree->nodes[j].service, node->service))
            j++;
        node->service_number = j < i ? tree->nodes[j].service_number : tree->services++;
    }
}

static void measure(sl_tree *tree)
{
    SL_ASSERT(tree);
    tree->start_ns = tree->count ? tree->nodes[0].start_ns : 0;
    tree->end_ns = tree->start_ns;
    for (size_t i = 0; i < tree->count; i++) {
        const sl_tree_node *node = &tree->nodes[i];
        uint64_t end =
            node->duration_ns > UINT64_MAX - node->start_ns ? UINT64_MAX : node->start_ns + node->duration_ns;
        if (end > tree->end_ns)
            tree->end_ns = end;
    }
}

int sl_tree_init(sl_tree *tree, sl_str text)
{
    SL_ASSERT(tree);
    memset(tree, 0, sizeof *tree);
    int error = sl_tree_load(text, &tree->json);
    if (error)
        return error;
    const json_t *spans = json_object_get(tree->json, "spans");
    tree->trace_id = sl_tree_str(tree->json, "trace_id");
    if (!json_is_array(spans) || tree->trace_id.len == 0) {
        sl_tree_done(tree);
        return SL_EPARSE;
    }
    tree->count = json_array_size(spans);
    tree->nodes = sl_calloc(tree->count + 1, sizeof *tree->nodes);
    tree->order = sl_calloc(tree->count + 1, sizeof *tree->order);
    error = tree->nodes && tree->order ? 0 : SL_ENOMEM;
    for (size_t i = 0; i < tree->count && !error; i++)
        read_node(json_array_get(spans, i), &tree->nodes[i]);
    if (!error) {
        qsort(tree->nodes, tree->count, sizeof *tree->nodes, compare_starts);
        error = link_nodes(tree);
    }
    if (error) {
        sl_tree_done(tree);
        return error;
    }
    order_nodes(tree);
    number_services(tree);
    measure(tree);
    return 0;
}

void sl_tree_done(sl_tree *tree)
{
    SL_ASSERT(tree);
    json_decref(tree->json);
    sl_free(tree->nodes);
    sl_free(tree->order);
    memset(tree, 0, sizeof *tree);
}
