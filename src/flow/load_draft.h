/*
 * A workflow while it is being read: steps with the nodes they come from, what they refer to, and where they stand.
 * Internal to load*.c and validate*.c.
 */
#ifndef SL_FLOW_LOAD_DRAFT_H
#define SL_FLOW_LOAD_DRAFT_H

#include "src/base/suggest.h"
#include "src/flow/load_keys.h"
#include "src/flow/load_tree.h"

typedef struct sl_draft sl_draft;
typedef struct sl_draft_block sl_draft_block;

/* A path that a text of a step reads. */
typedef struct sl_draft_ref {
    sl_str path;
    const sl_node *node;   /* the scalar it stands in */
    unsigned line, column; /* within the scalar's text */
    bool name;             /* an entry of a transform's `inputs`: an output, an input, or a path */
    struct sl_draft_ref *next;
} sl_draft_ref;

struct sl_draft_block {
    const char *name;
    sl_draft *owner; /* NULL: the workflow itself */
    sl_draft **steps;
    size_t count, room;
    const sl_node **ids; /* steps that stand elsewhere and belong here */
    size_t id_count;
    uint64_t *before; /* a row of bits for each step: those that have ended when it begins; NULL: not known */
    size_t row;       /* words of a row */
};

struct sl_draft {
    sl_step step; /* what becomes the step; id "" when it has none that is usable */
    const sl_node *node;
    const sl_node *output_node;
    sl_draft_block *block; /* where it stands */
    size_t order;          /* within it */
    sl_draft_block *blocks;
    size_t block_count;
    sl_draft **depends; /* steps of the same block */
    size_t depend_count, depend_room;
    size_t waiting; /* for ordering: dependencies that are not yet placed */
    size_t mark;    /* for leaving doubles out */
    bool needed;    /* something depends on it, or reads it */
    bool moved;     /* by its id, into a block */
    bool has_kind;
    bool broken; /* one of its texts does not compile */
    bool *used;  /* of each output: somebody reads it */
    sl_draft_ref *refs, *last_ref;
    sl_template **texts; /* one for each string of step.params; NULL: nothing to fill in */
    size_t text_count, text_room;
};

typedef struct sl_loader {
    sl_tree tree;
    sl_arena *keep;    /* memory of the flow */
    sl_arena *scratch; /* memory of loading */
    sl_flow *flow;
    sl_flow_problems *problems;
    const sl_flow_known *known; /* may be NULL */
    sl_draft_block root;
    sl_draft **all; /* every step, in file order */
    size_t count, room;
    sl_draft **table; /* by id; open addressing */
    size_t table_size;
    size_t values;  /* JSON values made */
    bool stopped;   /* too many steps, too deep: what is read is not the whole */
    bool reads_all; /* some text reads all steps at once */
    int failed;     /* SL_ENOMEM, SL_ETOOBIG */
} sl_loader;

/* Adds a problem at a node (NULL: the file) of a step (NULL: the workflow). */
void sl_load_error(sl_loader *loader, const sl_draft *draft, const sl_node *at, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void sl_load_warning(sl_loader *loader, const sl_draft *draft, const sl_node *at, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* The same at a place within a scalar's text. */
void sl_load_problem_in(sl_loader *loader, sl_problem_level level, const sl_draft *draft, const sl_node *at,
                        unsigned line, unsigned column, const char *format, ...) __attribute__((format(printf, 7, 8)));
/* How much of a text of the file a message shows. */
#define SL_SHOWN(text) (int)sl_utf8_prefix((text), 60), (text).ptr

/* Memory of loading, cleared; NULL sets `failed`. */
void *sl_load_alloc(sl_loader *loader, size_t count, size_t size);
/* Copy in the flow's memory; "" without memory, and `failed`. */
const char *sl_load_keep(sl_loader *loader, sl_str text);
/* Makes room for one more in an array of pointers in scratch memory. False without memory. */
bool sl_load_grow(sl_loader *loader, void *array, size_t count, size_t *room);

/* The step of an id; NULL when there is none. */
sl_draft *sl_load_find(const sl_loader *loader, sl_str id);
/* The step that holds `inner` (or is it) and stands in `block`; NULL when none does. */
sl_draft *sl_load_within(sl_draft *inner, const sl_draft_block *block);

/* ---- the passes, in their order ---- */

/* load_values.c: typed reading of keys. */
void sl_load_workflow_keys(sl_loader *loader);
void sl_load_step_keys(sl_loader *loader, sl_draft *draft);
/* load_text.c: templates, conditions and expressions of a step, and what they refer to. */
/* The JSON of a value. With `draft` its texts are compiled, one entry of `texts` for each. NULL: `failed` is set. */
json_t *sl_load_json(sl_loader *loader, sl_draft *draft, const sl_node *node, bool templates);
/* A scalar as a text, whatever its type; a template if it is one. */
json_t *sl_load_text(sl_loader *loader, sl_draft *draft, const sl_node *node);
sl_condition *sl_load_condition(sl_loader *loader, sl_draft *draft, const sl_node *node);
void sl_load_expression(sl_loader *loader, sl_draft *draft, const sl_node *node);
void sl_load_add_ref(sl_loader *loader, sl_draft *draft, sl_draft_ref ref);
/* load_steps.c: finds all steps and blocks, and moves those that are named by id. */
void sl_load_collect(sl_loader *loader);
/* validate_graph.c: dependencies, rings, order. */
void sl_validate_graph(sl_loader *loader);
/* validate_refs.c: what texts refer to, and what nothing reads. */
void sl_validate_refs(sl_loader *loader);
/* load_publish.c: from drafts to the flow. */
void sl_load_publish(sl_loader *loader);

#endif
