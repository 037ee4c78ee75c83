/*
 * The built-in functions of expressions, most of which are helpers of templates too: one table with their
 * documentation. They change nothing, know no time and no chance, and count their work.
 */
#ifndef SL_FLOW_EXPR_FUNCTIONS_H
#define SL_FLOW_EXPR_FUNCTIONS_H

#include "src/flow/expr_value.h"

typedef struct sl_flow_call {
    sl_flow_work *work;
    /* The lambda's value for an item. The caller of `apply` holds a reference. */
    int (*apply)(void *user, json_t *item, size_t index, json_t **ret_value);
    void *user;
    bool lenient; /* templates: what has the wrong type is converted, or gives null */
} sl_flow_call;

/*
 * `types` has a letter for each argument: a any, s string, n number, l list, o object, q list, string or object, f
 * lambda or name of a member; behind '?' they may be left out, '*' repeats the last.
 */
typedef struct sl_flow_function {
    const char *name;
    const char *types;
    const char *args; /* their names, separated by ", " */
    const char *help;
    int (*run)(const sl_flow_call *call, json_t *const *args, size_t count, json_t **ret_value);
} sl_flow_function;

/* The whole table, for the reference. Static. */
const sl_flow_function *sl_flow_functions(size_t *ret_count);
/* NULL when there is none of that name. */
const sl_flow_function *sl_flow_function_find(sl_str name);
/* True when it takes a lambda: templates do not have it. */
bool sl_flow_function_is_lambda(const sl_flow_function *function);
/* Position of the argument called `name`, or SL_NPOS. */
size_t sl_flow_function_arg(const sl_flow_function *function, sl_str name);
/* Smallest and largest number of arguments. */
void sl_flow_function_arity(const sl_flow_function *function, size_t *ret_min, size_t *ret_max);
/* Checks (or, lenient, converts) the arguments and runs it. Errors: SL_EINVAL, SL_ETOOBIG, SL_ENOMEM. */
SL_MUST_CHECK int sl_flow_function_run(const sl_flow_function *function, const sl_flow_call *call, json_t *const *args,
                                       size_t count, json_t **ret_value);

#endif
