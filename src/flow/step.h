/*
 * What the executor and the kinds of steps agree on. A kind begins one try of a step on the loop's thread and ends it,
 * at once or later, by exactly one call of sl_step_succeed or sl_step_fail.
 */
#ifndef SL_FLOW_STEP_H
#define SL_FLOW_STEP_H

#include <jansson.h>
#include <sightline/sightline.h>

#include "src/flow/model.h"
#include "src/net/loop.h"

typedef struct sl_step_try sl_step_try;
typedef struct sl_flow_services sl_flow_services; /* services.h */
typedef struct sl_llm_client sl_llm_client;       /* src/llm/client.h */

/* error_type of metrics and spans: `orchestrator_errors_total{error_type,component}`. */
typedef enum sl_step_error {
    SL_STEP_ERROR_NONE = 0,
    SL_STEP_ERROR_TIMEOUT,   /* "timeout"; worth a retry */
    SL_STEP_ERROR_PROVIDER,  /* "provider_error": 408, 409, 425, 429, 5xx, connection; worth a retry */
    SL_STEP_ERROR_REFUSED,   /* "provider_refused": other 4xx; not worth a retry */
    SL_STEP_ERROR_LIMIT,     /* "concurrency_limit"; worth a retry */
    SL_STEP_ERROR_TEMPLATE,  /* "template_error" */
    SL_STEP_ERROR_INPUT,     /* "invalid_input": wrong types at run time */
    SL_STEP_ERROR_FORBIDDEN, /* "forbidden": not on an allow-list */
    SL_STEP_ERROR_TOO_BIG,   /* "too_big" */
    SL_STEP_ERROR_INTERNAL,  /* "internal" */
    SL_STEP_ERROR_CANCELLED, /* "cancelled" */
    SL_STEP_ERROR_EXIT,      /* "exit_status": a program said that it failed; not worth a retry */
    SL_STEP_ERROR_VALIDATION /* "validation": a workflow that is refused, and so no step's */
} sl_step_error;
const char *sl_step_error_name(sl_step_error error);
/* False: no error has that name, or it is one that ends the run. */
bool sl_step_error_of(sl_str name, sl_step_error *ret_error);
bool sl_step_error_retries(sl_step_error error);

/* One try. The executor owns it; the kind reads it until it has ended it. */
struct sl_step_try {
    const sl_step *step;
    json_t *params;  /* rendered; borrowed */
    json_t *context; /* what templates see; borrowed */
    sl_loop *loop;
    sl_flow_services *services;
    sl_span *span;           /* step.execute:<id>; parent of what the step calls; never NULL but may be not recording */
    unsigned attempt;        /* 1 for the first */
    uint64_t retry_after_ms; /* set by the kind before sl_step_fail when the peer said so; 0: by the back-off rule */
    void *data;              /* the kind's own */
    sl_llm_client *llm;      /* that its first try found: all of them use it; NULL: none yet */
};

typedef struct sl_step_kind {
    /* Begins. May end the try before it returns. */
    void (*start)(sl_step_try *attempt);
    /* Gives up (timeout, cancel): releases what `data` holds; must not call succeed or fail. */
    void (*cancel)(sl_step_try *attempt);
} sl_step_kind;

/* By sl_step_type; parallel, branch and loop are the executor's own. */
extern const sl_step_kind *const sl_step_kinds[SL_STEP_TYPE_COUNT];

/*
 * The try has succeeded. `results` (a list) holds the positional results that the step's `output` names; `extra` (an
 * object, or NULL) what is bound beside them (such as `_response`). `as_text` is what `{{ outputs.<id> }}` gives as
 * text. References are taken over.
 */
void sl_step_succeed(sl_step_try *attempt, json_t *results, json_t *extra, json_t *as_text);
void sl_step_fail(sl_step_try *attempt, sl_step_error error, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Adds to the run's sums: called by llm and embed steps before they succeed, or on failure for what was used all the
 * same. */
typedef struct sl_step_usage {
    uint64_t input_tokens, output_tokens;
    double cost_usd; /* 0 when not known */
    bool cost_known;
} sl_step_usage;
void sl_step_add_usage(sl_step_try *attempt, const sl_step_usage *usage);

/*
 * Tells whoever watches the run (an event of the run, kept with it): an action nobody handles, progress. Before the try
 * is ended. `data` may be NULL; its reference is taken over.
 */
void sl_step_emit(sl_step_try *attempt, const char *name, json_t *data);

/* A line in the log, with the fields of the run and the step, in the step's trace. `fields`: JSON, or NULL. */
void sl_step_log(sl_step_try *attempt, sl_severity severity, const char *message, const char *fields);

/* The names under which positional results are bound whatever `output` says: text, model, tokens, metadata for llm, and
 * so on. Ended by NULL. Static. */
const char *const *sl_step_result_names(sl_step_type type);

#endif
