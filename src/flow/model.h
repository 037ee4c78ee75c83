/*
 * A workflow file in memory: read, checked, templates compiled. Immutable once loaded; any thread may use it, any
 * number of runs share it.
 */
#ifndef SL_FLOW_MODEL_H
#define SL_FLOW_MODEL_H

#include <jansson.h>

#include "src/flow/expr.h"
#include "src/flow/template.h"

typedef enum sl_step_type {
    SL_STEP_LLM = 0,
    SL_STEP_EMBED,
    SL_STEP_VECTOR_SEARCH,
    SL_STEP_TRANSFORM,
    SL_STEP_ACTION,
    SL_STEP_PARALLEL, /* children: `tasks`, all of them, at most max_concurrency at once */
    SL_STEP_BRANCH,   /* children: one block for each of `branches`; the one whose key the condition's text names, or
                         `default` */
    SL_STEP_LOOP,     /* children: `steps`, once for each item of `items` (also type: map), results in order */
    SL_STEP_TYPE_COUNT
} sl_step_type;

/* "llm", "vector_search" ...: the label of metrics and spans. Static. */
const char *sl_step_type_name(sl_step_type type);

typedef enum sl_backoff { SL_BACKOFF_EXPONENTIAL = 0, SL_BACKOFF_LINEAR, SL_BACKOFF_CONSTANT } sl_backoff;

typedef struct sl_flow_retry {
    unsigned max_attempts; /* further tries after the first; 0: the step has no `retry` */
    sl_backoff backoff;
    uint32_t initial_delay_ms;
    uint32_t max_delay_ms;
    unsigned also; /* a bit for each sl_step_error that is worth a try beside those that always are */
} sl_flow_retry;

typedef struct sl_flow sl_flow;
typedef struct sl_step sl_step;
typedef struct sl_flow_block sl_flow_block;

/* Steps that depend on one another only: the file's own, or those inside a parallel, branch or loop step. */
struct sl_flow_block {
    const char *name; /* key of the branch; "" otherwise */
    sl_step *steps;   /* in an order in which every step comes behind what it depends on */
    size_t step_count;
};

struct sl_step {
    const char *id;
    sl_step_type type;
    unsigned line;         /* of the step in the file */
    const size_t *depends; /* indices within the block */
    size_t depend_count;
    sl_condition *condition; /* NULL: always. Never of a branch: there it chooses */
    sl_condition *chooser;   /* branch whose keys are true and false: which of them; else NULL, and the text of
                                params.condition names the key */
    const char **outputs;    /* names for the positional results */
    size_t output_count;
    uint64_t timeout_ms; /* for each try; 0: none of its own */
    sl_flow_retry retry;
    json_t *params;      /* object: every other key of the step as it is in the file */
    sl_template **texts; /* compiled templates of the strings in `params`, see sl_step_render */
    size_t text_count;
    sl_flow_block *blocks; /* parallel, branch, loop */
    size_t block_count;
    size_t index; /* within its block */
};

struct sl_flow {
    const char *id; /* from the file, or empty */
    const char *name;
    const char *version;
    const char *description;
    uint64_t timeout_ms; /* 3,600 s unless the file says */
    json_t *metadata;
    sl_flow_block root;
    size_t step_total; /* with those inside blocks */
    char hash[65];     /* SHA-256 of the file's bytes, lower-case hex */
    char *source;      /* the file's bytes: a run keeps them so that it can be resumed */
    size_t source_len;
    size_t problem_count; /* warnings that loading met */
};

/* Everything that is wrong in a file, not only the first. */
typedef struct sl_flow_problem {
    unsigned line, column;
    bool warning;  /* it runs all the same */
    char step[64]; /* id of the step; empty: the workflow itself */
    char message[SL_FLOW_FAULT_BYTES];
} sl_flow_problem;

#define SL_FLOW_MAX_PROBLEMS 64

typedef struct sl_flow_problems {
    sl_flow_problem items[SL_FLOW_MAX_PROBLEMS];
    size_t count;
    size_t left_out; /* beyond SL_FLOW_MAX_PROBLEMS */
    size_t errors;
} sl_flow_problems;

/*
 * Reads a workflow (YAML or JSON) and validates it whole: cycles, unknown references, unused outputs, wrong types,
 * unknown keys, templates and conditions that do not parse. Errors: SL_ECONFIG (see `problems`), SL_ETOOBIG, SL_ENOMEM.
 * With warnings alone it loads. Ownership: sl_flow_unref.
 */
SL_MUST_CHECK int sl_flow_load(sl_str text, sl_flow_problems *problems, sl_flow **ret_flow);
/* Reads the file first; SL_EIO with one problem that says why. */
SL_MUST_CHECK int sl_flow_load_file(const char *path, sl_flow_problems *problems, sl_flow **ret_flow);

/* What a file is checked against beside itself. All zero: nothing. */
typedef struct sl_flow_known {
    const char *const *providers; /* names that `provider` may have; a template is not checked */
    size_t provider_count;        /* 0: any */
} sl_flow_known;
/* As sl_flow_load. `known` may be NULL. */
SL_MUST_CHECK int sl_flow_load_known(sl_str text, const sl_flow_known *known, sl_flow_problems *problems,
                                     sl_flow **ret_flow);
/* As sl_flow_load_file. */
SL_MUST_CHECK int sl_flow_load_file_known(const char *path, const sl_flow_known *known, sl_flow_problems *problems,
                                          sl_flow **ret_flow);
/*
 * The problems as text, one a line: `FILE:LINE:COLUMN: error|warning: step: what: why; remedy`, and how many were left
 * out. The buffer's errors.
 */
int sl_flow_problems_format(const sl_flow_problems *problems, const char *path, sl_buf *out);
sl_flow *sl_flow_ref(sl_flow *flow);
void sl_flow_unref(sl_flow *flow);

/*
 * The step's params with every template filled in: strings that are one path alone become the value that is bound
 * there. Keys that hold blocks (tasks, branches, steps) are left out. The maps and lists are the caller's own, the
 * other values are shared with the step. Errors: SL_ETOOBIG, SL_ENOMEM, with `fault`.
 */
SL_MUST_CHECK int sl_step_render(const sl_step *step, json_t *context, json_t **ret_params, sl_flow_fault *fault);

#endif
