/*
 * The small expression language of transforms, and the conditions of steps.
 *
 * Expressions: literals (JSON's), paths (a.b[0]["c"]), ! - * / % + - < <= > >= == != in && || ?: and calls of the
 * built-in functions that the reference lists. Conditions are what the workflow format has: a template is rendered,
 * then `a == b`, `a != b` on trimmed, unquoted strings, true|1|yes, false|0|no|"" (any case), else non-empty is true;
 * && and || join them.
 *
 * Compiled ones are immutable and bounded as templates are.
 */
#ifndef SL_FLOW_EXPR_H
#define SL_FLOW_EXPR_H

#include <jansson.h>

#include "src/flow/fault.h"

typedef struct sl_expr sl_expr;
typedef struct sl_condition sl_condition;

/* Errors: SL_EPARSE, SL_ETOOBIG, SL_ENOMEM, with `fault` (may be NULL). */
SL_MUST_CHECK int sl_expr_new(sl_str text, sl_flow_fault *fault, sl_expr **ret_expr);
void sl_expr_free(sl_expr *expr);
/* Names are looked up in `scope` (an object). Unbound: null. A wrong type is SL_EINVAL with `fault`. The caller holds a
 * reference. */
SL_MUST_CHECK int sl_expr_eval(const sl_expr *expr, json_t *scope, json_t **ret_value, sl_flow_fault *fault);
/* JSON's falsy values: null, false, 0, "", [], {}. */
bool sl_expr_truth(const json_t *value);
void sl_expr_each_path(const sl_expr *expr, void (*fn)(void *user, sl_str path, unsigned line, unsigned column),
                       void *user);

SL_MUST_CHECK int sl_condition_new(sl_str text, sl_flow_fault *fault, sl_condition **ret_condition);
void sl_condition_free(sl_condition *condition);
SL_MUST_CHECK int sl_condition_eval(const sl_condition *condition, json_t *context, bool *ret_holds,
                                    sl_flow_fault *fault);
void sl_condition_each_path(const sl_condition *condition,
                            void (*fn)(void *user, sl_str path, unsigned line, unsigned column), void *user);

#endif
