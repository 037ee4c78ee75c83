/*
 * What the files of the executor share. Everything is owned by the loop's thread.
 *
 *     run ── scope (root) ── node, node, node            a node: one step in one scope
 *                              └─ scope (block) ── node…  of a parallel, branch or loop step
 *
 * A node's way (executor.c moves it from list to list):
 *
 *   waiting ──dependencies ended──> fresh ──condition──> [parked in scope] ─> [parked in run] ─> ready ─> trying ─>
 * ended │ skipped, not run                          ^                         │ └──────────────────────> done └────
 * backing off <───────┤ retry ^───────────────────────────────────────────┘
 *
 * Steps that hold blocks take a place in their scope, but none in the run: their children do.
 */
#ifndef SL_FLOW_EXECUTOR_IMPL_H
#define SL_FLOW_EXECUTOR_IMPL_H

#include "src/base/arena.h"
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/flow/executor.h"
#include "src/flow/services.h"

#define SL_FLOW_MAX_PATH 1024
#define SL_FLOW_RUN_BUCKETS 4096u
#define SL_FLOW_PLAN_BUCKETS 256u
#define SL_FLOW_MAX_PLANS 1024u /* kept though no run uses them */

typedef struct sl_node sl_node;
typedef struct sl_scope sl_scope;
typedef struct sl_flow_meter sl_flow_meter;
typedef struct sl_step_plan sl_step_plan;

/* ---- plans: what all runs of a file share, made once ---- */

typedef struct sl_block_plan {
    const sl_flow_block *block;
    sl_step_plan *steps;
} sl_block_plan;

struct sl_step_plan {
    const sl_step *step;
    size_t *dependents; /* indices within the block */
    size_t dependent_count;
    sl_block_plan *blocks;
    sl_str span_name, id, type; /* views for telemetry */
};

typedef struct sl_flow_series {
    sl_series *success, *failure, *duration; /* bound at first use */
} sl_flow_series;

typedef struct sl_flow_plan {
    sl_flow *flow; /* a reference */
    sl_arena arena;
    sl_block_plan root;
    sl_str span_name, name, id; /* views for telemetry */
    sl_flow_series series;
    size_t runs;
    struct sl_flow_plan *next;
} sl_flow_plan;

/* ---- nodes ---- */

typedef enum sl_node_phase {
    SL_NODE_WAITING = 0, /* for dependencies, or between two lists */
    SL_NODE_LISTED,      /* in `list` */
    SL_NODE_TRYING,      /* its kind is at it */
    SL_NODE_BACKING_OFF,
    SL_NODE_HOLDING, /* its blocks run */
    SL_NODE_DONE
} sl_node_phase;

enum { SL_PLACE_SCOPE = 1, SL_PLACE_RUN = 2, SL_PLACE_TOTAL = 4 };

typedef struct sl_node_list {
    sl_node *first, *last;
    size_t count;
} sl_node_list;

typedef struct sl_delay sl_delay;

struct sl_node {
    sl_step_try attempt; /* first: a try is its node */
    sl_scope *scope;
    const sl_step_plan *plan;
    sl_node *prev, *next; /* in `list` */
    sl_node_list *list;
    size_t unfinished; /* dependencies */
    sl_node_phase phase;
    unsigned places; /* SL_PLACE_... that it holds */
    sl_step_status status;
    bool considered; /* its condition held, or there is none */
    bool restored;   /* from an earlier life of the run */
    bool started;    /* its span and first event have been made */
    bool answered;   /* the try has been ended: `outcome` and what follows is set */
    sl_step_error outcome;
    sl_step_error error;
    char *message;          /* of a failure; NULL: none */
    const sl_node *blocker; /* the failed step that keeps it from running */
    uint64_t start_mono_ns; /* of the first try; 0: none */
    uint64_t try_mono_ns;
    uint64_t end_mono_ns;
    sl_timer timer;  /* of the try */
    sl_delay *delay; /* before the next try */
    json_t *results, *extra, *text;
    json_t *value; /* as bound */
    sl_step_usage usage;
    /* Of steps that hold blocks. */
    sl_scope *scopes;
    json_t *items;        /* loop */
    json_t *round_values; /* loop: in order */
    size_t next_round, rounds_running, round_limit;
};

struct sl_scope {
    sl_flow_run *run;
    sl_node *owner; /* NULL: the root */
    sl_scope *next; /* of the same owner */
    const sl_block_plan *plan;
    json_t *context;
    json_t *steps, *outputs; /* in `context`; borrowed */
    char *prefix;            /* of paths; NULL: none */
    size_t round;
    size_t left;         /* nodes that are not done */
    size_t limit;        /* nodes at once; 0: any number */
    size_t active;       /* that hold SL_PLACE_SCOPE */
    sl_node_list parked; /* for a place in the scope */
    sl_node *failed;     /* the first one */
    size_t node_count;
    sl_node nodes[];
};

/* ---- runs ---- */

struct sl_flow_run {
    sl_executor *executor; /* NULL: the executor is gone */
    size_t refs;
    sl_flow_run *prev, *next; /* of the executor's list of runs */
    sl_flow_run *next_by_id;
    sl_flow_plan *plan;
    char id[SL_FLOW_RUN_ID_BYTES];
    sl_run_status status;
    bool emitting, cancel_asked; /* within sl_step_emit nothing of the run may go away */
    bool durable, keep;          /* keep: stays `running` in the store */
    char error[SL_FLOW_ERROR_BYTES];
    sl_step_error error_type;
    sl_span_context parent;
    char *tracestate; /* that `parent` points to */
    bool has_parent;
    json_t *inputs, *resume;
    uint64_t seq;
    sl_flow_event_fn on_event;
    void *user;
    size_t limit, active;
    sl_node_list parked; /* for a place in the run */
    uint64_t timeout_ms;
    sl_timer timer;
    sl_span *span;
    char trace_id[33];
    uint64_t start_ns, start_mono_ns, end_mono_ns;
    sl_step_usage usage;
    size_t node_total; /* ever made */
    sl_scope *root;
};

typedef struct sl_run_list {
    sl_flow_run *first, *last;
    size_t count;
} sl_run_list;

struct sl_executor {
    sl_executor_options options;
    sl_loop *loop;
    sl_flow_meter *meter;
    sl_rng rng;
    uv_idle_t idle; /* on while work is left for the next turn */
    bool idle_on, pumping;
    bool closing, closed; /* no run is accepted any more; every run has ended */
    size_t active;
    size_t cancels_asked;
    sl_node_list ended, fresh, ready;
    sl_run_list queued, running;
    uint64_t runs_ended, steps_ended;
    size_t plan_count;
    sl_flow_plan *plans[SL_FLOW_PLAN_BUCKETS];
    sl_flow_run *by_id[SL_FLOW_RUN_BUCKETS];
};

/* ---- lists ---- */

void sl_node_push(sl_node_list *list, sl_node *node);
/* Out of its list; nothing happens when it is in none. */
void sl_node_unlink(sl_node *node);
sl_node *sl_node_pop(sl_node_list *list);
void sl_run_push(sl_run_list *list, sl_flow_run *run);
void sl_run_unlink(sl_run_list *list, sl_flow_run *run);

/* ---- executor.c ---- */

/* Does what can be done now, up to SL_FLOW_TURN_STEPS; the rest in the next turn of the loop. */
void sl_executor_pump(sl_executor *executor);
/* Lets the next turn of the loop work. */
void sl_executor_wake(sl_executor *executor);
/* Takes the places that stand before a try; parks the node, or makes it ready. */
void sl_node_admit(sl_node *node);
/* Gives back the places of the bits, and lets those in who waited for them. */
void sl_node_leave(sl_node *node, unsigned places);

/* ---- run_plan.c ---- */

/* The plan of a flow, with a run counted on it. NULL: no memory. */
sl_flow_plan *sl_flow_plan_take(sl_executor *executor, sl_flow *flow);
void sl_flow_plan_give(sl_executor *executor, sl_flow_plan *plan);
/* Drops those that no run uses. */
void sl_flow_plans_drop(sl_executor *executor);

/* ---- run.c ---- */

void sl_run_begin(sl_flow_run *run);
/* The end of a run whose nodes are all done. The run may be gone afterwards. */
void sl_run_finish(sl_flow_run *run, sl_run_status status, sl_step_error error, const char *message);
/* Gives up everything under way, then ends it so. */
void sl_run_abort(sl_flow_run *run, sl_run_status status, sl_step_error error, const char *message);
/* Fills in seq and time, records it when the run is durable, tells the watcher. */
void sl_run_emit(sl_flow_run *run, sl_flow_event *event);
/* True when nobody listens to events. */
bool sl_run_is_quiet(const sl_flow_run *run);

/* ---- run_scope.c ---- */

/* A scope of a block; its first nodes are not yet begun. NULL: no memory, or the run has too many steps. */
sl_scope *sl_scope_new(sl_flow_run *run, sl_node *owner, const sl_block_plan *plan, json_t *context);
void sl_scope_free(sl_scope *scope);
/* Hands the nodes that depend on nothing to the executor. */
void sl_scope_begin(sl_scope *scope);
/* Binds what a step gave: steps.<id> and outputs.<id>. False: no memory. */
bool sl_scope_bind(sl_scope *scope, const sl_step *step, json_t *value);
/* The root's context. NULL: no memory. */
json_t *sl_context_root(const sl_flow_run *run);
/* A round's: the parent's, with its own steps and item. NULL: no memory. */
json_t *sl_context_round(const sl_scope *parent, json_t *item, size_t index);
/* Writes "loop[3].id" and returns `text`; the id itself where there is no prefix. */
const char *sl_node_path(const sl_node *node, char text[SL_FLOW_MAX_PATH]);

/* ---- run_value.c ---- */

/* The value that is bound for a step's results; SL_ETOOBIG, SL_ENOMEM. References are taken over. */
SL_MUST_CHECK int sl_output_value(const sl_step *step, json_t *results, json_t *extra, json_t *text, size_t max_bytes,
                                  json_t **ret_value);
/* As people see it: the outputs that the step names. The caller holds a reference; NULL: none, or no memory. */
json_t *sl_output_public(const sl_step *step, json_t *value);
/* What a step gives as `{{outputs.x}}`, of any type; NULL: nothing. Borrowed. */
json_t *sl_output_text(json_t *value);
/* What an action or a search did otherwise than the file says; NULL: nothing. Borrowed. */
const char *sl_output_warning(const sl_step *step, json_t *value);

/* ---- run_step.c ---- */

/* A node whose dependencies have ended: skipped, not run, restored, or on its way. */
void sl_node_consider(sl_node *node);
/* Begins a try; it has all places. */
void sl_node_try(sl_node *node);
/* Takes up what the kind has said. */
void sl_node_settle(sl_node *node);
/* The node's span and first event. False: the run ended meanwhile. */
bool sl_node_start(sl_node *node);
/* A try, or the blocks, failed: another try, or the end. The node may be gone afterwards. */
void sl_node_failed(sl_node *node, sl_step_error error, const char *message);
/* The end of a node, last words. The node may be gone afterwards. */
void sl_node_end(sl_node *node, sl_step_status status, sl_step_error error, const char *message);
/* Gives it up wherever it is; nothing follows from it but its event. */
void sl_node_cancel(sl_node *node, const char *why);
void sl_node_set_timeout(sl_node *node);

/* ---- run_block.c ---- */

bool sl_node_has_blocks(const sl_node *node);
void sl_block_begin(sl_node *node);
/* All nodes of a scope of this node are done. */
void sl_block_scope_ended(sl_node *node, sl_scope *scope);
void sl_block_cancel(sl_node *node, const char *why);
/* Value of a restored node: binds what its children gave too. */
void sl_block_restore_children(sl_node *node);
/* Forgets rounds and scopes, before another try and at the end. */
void sl_block_clear(sl_node *node);

static inline sl_flow_run *sl_node_run(const sl_node *node)
{
    return node->scope->run;
}

static inline sl_executor *sl_node_executor(const sl_node *node)
{
    return node->scope->run->executor;
}

static inline const sl_step *sl_node_step(const sl_node *node)
{
    return node->attempt.step;
}

#endif
