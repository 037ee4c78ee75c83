/*
 * The text of a workflow file as a tree of values that know their places: from YAML (src/llm/yaml_tree.h), or from JSON
 * when the text begins with '{' and is JSON.
 *
 * Promises: plain scalars have the types of YAML's core schema, with two differences: numbers that begin with a zero
 * that means nothing ("007") and what JSON cannot say (".inf") are texts. Anchors, aliases and merge keys work; aliased
 * nodes are shared, rings of them are refused. No key stands twice in a map. Nesting is at most SL_MAX_YAML_DEPTH,
 * nodes at most SL_MAX_FLOW_VALUES. Everything lies in the caller's arena.
 */
#ifndef SL_FLOW_LOAD_TREE_H
#define SL_FLOW_LOAD_TREE_H

#include "src/base/arena.h"
#include "src/base/limits.h"
#include "src/flow/load_problems.h"

typedef enum sl_node_type {
    SL_NODE_NULL = 0,
    SL_NODE_BOOL,
    SL_NODE_INT,
    SL_NODE_REAL,
    SL_NODE_TEXT,
    SL_NODE_LIST,
    SL_NODE_MAP
} sl_node_type;

/* How a scalar is written, for finding places within it. */
typedef enum sl_node_style {
    SL_NODE_PLAIN = 0,
    SL_NODE_SINGLE_QUOTED,
    SL_NODE_DOUBLE_QUOTED,
    SL_NODE_BLOCK /* '|' and '>' */
} sl_node_style;

typedef struct sl_node sl_node;
typedef struct sl_node_pair {
    sl_node *key; /* a scalar without NUL in it */
    sl_node *value;
} sl_node_pair;

struct sl_node {
    sl_node_type type;
    sl_node_style style;
    unsigned line, column;
    unsigned depth; /* of what is nested in it: 1 for a scalar */
    sl_str text;    /* of a scalar, as written (escapes resolved); NUL-terminated */
    union {
        bool boolean;
        int64_t whole;
        double real;
        struct {
            sl_node **items;
            size_t count;
        } list;
        struct {
            sl_node_pair *pairs;
            size_t count;
        } map;
    } is;
};

typedef struct sl_tree {
    sl_arena *arena;
    sl_flow_problems *problems;
    sl_str source;
    size_t nodes; /* made so far */
    sl_node *root;
} sl_tree;

/* Reads. Errors: SL_ECONFIG (a problem says why), SL_ENOMEM. `arena` and `problems` are set by the caller. */
SL_MUST_CHECK int sl_tree_read(sl_tree *tree, sl_str text);

/* Value of a key; NULL when `map` has none, or is none. */
sl_node *sl_node_get(const sl_node *map, const char *key);
/* "a text", "a list" ...: for messages. Static. */
const char *sl_node_type_name(const sl_node *node);
/* True for a text with "{{" in it. */
bool sl_node_has_template(const sl_node *node);
/*
 * Where in the file the byte stands that is at `line` and `column` of a scalar's text. Where that cannot be told
 * (escapes other than the simple ones) the scalar's own place.
 */
void sl_tree_place(const sl_tree *tree, const sl_node *node, unsigned line, unsigned column, unsigned *ret_line,
                   unsigned *ret_column);

/* ---- for the readers ---- */

/* A new node; NULL without memory, or with too many of them (a problem says so, *ret_error SL_ECONFIG). */
sl_node *sl_tree_add(sl_tree *tree, sl_node_type type, unsigned line, unsigned column, int *ret_error);
/* Gives a plain scalar its type by its text. */
void sl_node_resolve(sl_node *node);
/* Sorts out pairs: doubled keys are problems. `ranks` (may be NULL): of pairs with different ranks the lower wins. */
SL_MUST_CHECK int sl_tree_finish_map(sl_tree *tree, sl_node *map, const size_t *ranks);
/* Depth of a list or map from what is in it; SL_ECONFIG when it is too deep. */
SL_MUST_CHECK int sl_tree_finish_depth(sl_tree *tree, sl_node *node);
void sl_tree_problem(sl_tree *tree, unsigned line, unsigned column, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The whole text as YAML, as JSON. */
SL_MUST_CHECK int sl_tree_read_yaml(sl_tree *tree);
/* SL_EPARSE with no problem told when it is no JSON. */
SL_MUST_CHECK int sl_tree_read_json(sl_tree *tree);

#endif
