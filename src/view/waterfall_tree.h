/* A trace read from the JSON of the live view, as a tree in the order in which it is shown. */
#ifndef SL_VIEW_WATERFALL_TREE_H
#define SL_VIEW_WATERFALL_TREE_H

#include <jansson.h>

#include "src/base/str.h"

#define SL_TREE_NONE SIZE_MAX

typedef struct sl_tree_node {
    sl_str id, parent_id, name, kind, service, status_message; /* views into the JSON */
    bool error;
    uint64_t start_ns, duration_ns;
    const json_t *attributes, *events; /* NULL when absent */
    /* The tree: indices of nodes, SL_TREE_NONE for none. */
    size_t parent, first_child, next_sibling;
    unsigned service_number; /* in order of appearance */
    bool shown;
} sl_tree_node;

typedef struct sl_tree {
    json_t *json; /* what the views point into */
    sl_str trace_id;
    sl_tree_node *nodes; /* by start */
    size_t count;
    size_t *order; /* parents before their children, siblings by start */
    uint64_t start_ns, end_ns;
    unsigned services;
} sl_tree;

/* Reads `{"trace_id":…,"spans":[…]}`. Errors: SL_EPARSE, SL_ENOMEM. Ended by sl_tree_done. */
SL_MUST_CHECK int sl_tree_init(sl_tree *tree, sl_str json);
void sl_tree_done(sl_tree *tree);

/* Loads JSON text. Errors: SL_EPARSE. */
SL_MUST_CHECK int sl_tree_load(sl_str text, json_t **ret_json);
/* Members of an object, of any other type the empty value. */
sl_str sl_tree_str(const json_t *object, const char *key);
uint64_t sl_tree_u64(const json_t *object, const char *key);

#endif
