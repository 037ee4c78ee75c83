/* A transform that is being made: shared by the files of step_transform. */
#ifndef SL_FLOW_STEP_TRANSFORM_IMPL_H
#define SL_FLOW_STEP_TRANSFORM_IMPL_H

#include "src/flow/expr_functions.h"
#include "src/flow/step_transform.h"

typedef struct sl_transform {
    const sl_step *step;
    json_t *params; /* rendered */
    json_t *context;
    json_t *names;  /* list: of the inputs, "" for those that had none */
    json_t *values; /* list: the inputs */
    sl_flow_work work;
    sl_flow_fault *fault;
} sl_transform;

/* Fills names and values. A name that nothing is bound to is SL_EINVAL, unless `lenient`: then it is null. */
SL_MUST_CHECK int sl_transform_inputs(sl_transform *t, bool lenient);

typedef struct sl_transform_function {
    const char *name;
    int (*run)(sl_transform *t, json_t **ret_value);
} sl_transform_function;

/* Functions on lists and on values: step_transform_list.c, step_transform_value.c. */
int sl_transform_map(sl_transform *t, json_t **ret_value);
int sl_transform_filter(sl_transform *t, json_t **ret_value);
int sl_transform_dedupe(sl_transform *t, json_t **ret_value);
int sl_transform_sort(sl_transform *t, json_t **ret_value);
int sl_transform_rerank(sl_transform *t, json_t **ret_value);
int sl_transform_flatten(sl_transform *t, json_t **ret_value);
int sl_transform_merge(sl_transform *t, json_t **ret_value);
int sl_transform_select(sl_transform *t, json_t **ret_value);
int sl_transform_omit(sl_transform *t, json_t **ret_value);
int sl_transform_regex(sl_transform *t, json_t **ret_value);
int sl_transform_json(sl_transform *t, json_t **ret_value);
int sl_transform_template(sl_transform *t, json_t **ret_value);
int sl_transform_expression(sl_transform *t, json_t **ret_value);

/* ---- what they share ---- */

/* A param, NULL when absent or null. Borrowed. */
json_t *sl_transform_param(const sl_transform *t, const char *name);
/* A param as text; `fallback` when absent. SL_EINVAL when it is no text. */
SL_MUST_CHECK int sl_transform_text(sl_transform *t, const char *name, sl_str fallback, sl_str *ret_text);
/* A param as a whole number within bounds. */
SL_MUST_CHECK int sl_transform_number(sl_transform *t, const char *name, json_int_t fallback, json_int_t min,
                                      json_int_t max, json_int_t *ret_number);
/* A param that is true or false, or such a text. */
bool sl_transform_flag(const sl_transform *t, const char *name);
/* Text of a param as the file has it, with its templates; empty when it is no text. */
sl_str sl_transform_raw(const sl_transform *t, const char *name);
/* The raw `expression`, or `expr`. */
sl_str sl_transform_expr_text(const sl_transform *t);
/* The first input; null when there is none. Borrowed. */
json_t *sl_transform_value(const sl_transform *t);
/* One list of the items of the inputs that are lists, and the others themselves. The caller holds a reference. */
SL_MUST_CHECK int sl_transform_items(sl_transform *t, json_t **ret_list);
/* A member by its name, or by names and indices with dots between them. NULL: none. Borrowed. */
json_t *sl_transform_member(json_t *value, sl_str path);
/* The context with `values`, `value`, the inputs by their names, and `extra` (may be NULL) beside it. */
SL_MUST_CHECK int sl_transform_scope(const sl_transform *t, const char *extra_name, json_t *extra, json_t **ret_scope);
/*
 * Evaluates `before` EXPRESSION `after` in the scope, EXPRESSION alone being one expression. `list` is bound as
 * `list__`.
 */
SL_MUST_CHECK int sl_transform_eval(sl_transform *t, const char *before, sl_str expression, const char *after,
                                    json_t *list, json_t **ret_value);
/* Appends, counting its size; the reference is taken over, also on failure. */
SL_MUST_CHECK int sl_transform_add(sl_transform *t, json_t *list, json_t *value);
/* Ends a list that was being built: gives it, or frees it and returns the error. */
SL_MUST_CHECK int sl_transform_give(json_t *value, int error, json_t **ret_value);

#endif
