/* Transform steps: inputs, the table of functions, what the functions share. */
#include "src/flow/step_transform.h"

#include "src/base/limits.h"
#include "src/flow/step_transform_impl.h"
#include "src/llm/json_text.h"

static const sl_transform_function functions[] = {
    {"dedupe", sl_transform_dedupe}, {"expr", sl_transform_expression}, {"expression", sl_transform_expression},
    {"filter", sl_transform_filter}, {"flatten", sl_transform_flatten}, {"json", sl_transform_json},
    {"map", sl_transform_map},       {"merge", sl_transform_merge},     {"omit", sl_transform_omit},
    {"pick", sl_transform_select},   {"regex", sl_transform_regex},     {"rerank", sl_transform_rerank},
    {"select", sl_transform_select}, {"sort", sl_transform_sort},       {"template", sl_transform_template},
    {"unique", sl_transform_dedupe}};

#define FUNCTIONS (sizeof functions / sizeof *functions)

const char *sl_transform_name(size_t index)
{
    return index < FUNCTIONS ? functions[index].name : NULL;
}

/* ---- params ---- */

json_t *sl_transform_param(const sl_transform *t, const char *name)
{
    SL_ASSERT(t && name);
    json_t *value = json_object_get(t->params, name);
    return value && !json_is_null(value) ? sl_flow_plain(value) : NULL;
}

int sl_transform_text(sl_transform *t, const char *name, sl_str fallback, sl_str *ret_text)
{
    SL_ASSERT(ret_text);
    json_t *value = sl_transform_param(t, name);
    if (value && !json_is_string(value))
        return sl_flow_wrong(&t->work, "%s must be a text, not a %s", name, sl_flow_type_name(value));
    *ret_text = value ? sl_flow_str(value) : fallback;
    return 0;
}

int sl_transform_number(sl_transform *t, const char *name, json_int_t fallback, json_int_t min, json_int_t max,
                        json_int_t *ret_number)
{
    SL_ASSERT(ret_number && min <= max);
    json_t *value = sl_transform_param(t, name);
    int64_t number = fallback;
    bool good =
        !value || json_is_integer(value) || (json_is_string(value) && sl_str_to_i64(sl_flow_str(value), &number) == 0);
    if (json_is_integer(value))
        number = json_integer_value(value);
    if (!good || number < min || number > max)
        return sl_flow_wrong(&t->work, "%s must be a whole number from %lld to %lld", name, (long long)min,
                             (long long)max);
    *ret_number = number;
    return 0;
}

bool sl_transform_flag(const sl_transform *t, const char *name)
{
    json_t *value = sl_transform_param(t, name);
    if (!value || !json_is_string(value))
        return value && sl_expr_truth(value);
    sl_str text = sl_flow_str(value);
    return sl_str_ieq(text, SL_STR("true")) || sl_str_ieq(text, SL_STR("yes")) || sl_str_eq(text, SL_STR("1"));
}

sl_str sl_transform_raw(const sl_transform *t, const char *name)
{
    SL_ASSERT(t && name);
    const json_t *value = json_object_get(t->step->params, name);
    return json_is_string(value) ? sl_flow_str(value) : sl_str_of(NULL, 0);
}

sl_str sl_transform_expr_text(const sl_transform *t)
{
    sl_str text = sl_transform_raw(t, "expression");
    return text.len ? text : sl_transform_raw(t, "expr");
}

/* ---- names ---- */

json_t *sl_transform_member(json_t *value, sl_str path)
{
    SL_ASSERT(value);
    json_t *whole = sl_flow_member(value, path);
    if (whole)
        return whole;
    sl_str part;
    while (value && sl_str_split(&path, '.', &part)) {
        uint64_t index;
        if (json_is_array(value))
            value = sl_str_to_u64(part, &index) == 0 ? json_array_get(value, (size_t)index) : NULL;
        else
            value = sl_flow_member(value, part);
    }
    return value;
}

static json_t *output_of(json_t *context, const char *step_id, sl_str name)
{
    json_t *step = json_object_get(json_object_get(context, "steps"), step_id);
    return step ? sl_flow_member(step, name) : NULL;
}

/* Of the steps that this one depends on: the last that is named. */
static json_t *output_of_dependency(const sl_transform *t, sl_str name)
{
    const sl_step *block = t->step - t->step->index;
    for (size_t i = t->step->depend_count; i-- > 0;) {
        json_t *found = output_of(t->context, block[t->step->depends[i]].id, name);
        if (found)
            return found;
    }
    return NULL;
}

/* Of all steps: the last one's. */
static json_t *output_of_any(const sl_transform *t, sl_str name)
{
    json_t *steps = json_object_get(t->context, "steps"), *found = NULL, *step;
    const char *id;
    json_object_foreach(steps, id, step)
    {
        json_t *output = sl_flow_member(step, name);
        found = output ? output : found;
    }
    return found;
}

/* NULL: nothing is bound to it. Borrowed. */
static json_t *look_up(const sl_transform *t, sl_str name)
{
    json_t *found = output_of_dependency(t, name);
    if (!found)
        found = sl_flow_member(t->context, name);
    if (!found)
        found = sl_flow_member(json_object_get(t->context, "inputs"), name);
    if (!found)
        found = output_of_any(t, name);
    if (!found)
        found = sl_flow_member(json_object_get(t->context, "outputs"), name);
    return found ? found : sl_transform_member(t->context, name);
}

static int add_input(sl_transform *t, const json_t *raw, json_t *rendered, bool lenient)
{
    bool is_name = json_is_string(raw) && sl_str_find(sl_flow_str(raw), SL_STR("{{")) == SL_NPOS;
    json_t *value = is_name ? look_up(t, sl_flow_str(raw)) : rendered;
    if (!value && !lenient)
        return sl_flow_wrong(&t->work, "input \"%.100s\" is bound to nothing; name an input, an output or a path",
                             json_string_value(raw));
    sl_str name = is_name ? sl_flow_str(raw) : SL_STR("");
    if (json_array_append_new(t->names, json_stringn_nocheck(name.ptr, name.len)) ||
        json_array_append(t->values, value ? value : json_null()))
        return SL_ENOMEM;
    return 0;
}

int sl_transform_inputs(sl_transform *t, bool lenient)
{
    SL_ASSERT(t && json_is_array(t->names) && json_is_array(t->values));
    const json_t *raw = json_object_get(t->step->params, "inputs");
    json_t *rendered = json_object_get(t->params, "inputs");
    if (!raw)
        raw = rendered;
    if (!rendered || json_is_null(rendered))
        return 0;
    if (!json_is_array(raw))
        return add_input(t, raw, rendered, lenient);
    int error = 0;
    for (size_t i = 0; !error && i < json_array_size(rendered); i++)
        error = add_input(t, json_array_get(raw, i), json_array_get(rendered, i), lenient);
    return error;
}

/* ---- values ---- */

json_t *sl_transform_value(const sl_transform *t)
{
    json_t *first = json_array_get(t->values, 0);
    return first ? first : json_null();
}

int sl_transform_add(sl_transform *t, json_t *list, json_t *value)
{
    int error = value ? sl_flow_spend_bytes(&t->work, 16) : SL_ENOMEM;
    if (!error)
        error = sl_flow_spend(&t->work, 1);
    if (error) {
        json_decref(value);
        return error;
    }
    return json_array_append_new(list, value) ? SL_ENOMEM : 0;
}

int sl_transform_give(json_t *value, int error, json_t **ret_value)
{
    SL_ASSERT(ret_value && (value || error));
    if (error)
        json_decref(value);
    else
        *ret_value = value;
    return error;
}

int sl_transform_items(sl_transform *t, json_t **ret_list)
{
    json_t *list = json_array();
    int error = list ? 0 : SL_ENOMEM;
    for (size_t i = 0; !error && i < json_array_size(t->values); i++) {
        json_t *value = json_array_get(t->values, i);
        if (!json_is_array(value)) {
            error = json_is_null(value) ? 0 : sl_transform_add(t, list, json_incref(value));
            continue;
        }
        for (size_t k = 0; !error && k < json_array_size(value); k++)
            error = sl_transform_add(t, list, json_incref(json_array_get(value, k)));
    }
    return sl_transform_give(list, error, ret_list);
}

int sl_transform_scope(const sl_transform *t, const char *extra_name, json_t *extra, json_t **ret_scope)
{
    json_t *scope = sl_json_copy(t->context);
    bool good = scope && json_object_set(scope, "values", t->values) == 0 &&
                json_object_set(scope, "value", sl_transform_value(t)) == 0;
    for (size_t i = 0; good && i < json_array_size(t->names); i++) {
        sl_str name = sl_flow_str(json_array_get(t->names, i));
        if (name.len && sl_str_chr(name, '.') == SL_NPOS)
            good = json_object_setn_nocheck(scope, name.ptr, name.len, json_array_get(t->values, i)) == 0;
    }
    if (good && extra_name)
        good = json_object_set(scope, extra_name, extra) == 0;
    return sl_transform_give(scope, good ? 0 : SL_ENOMEM, ret_scope);
}

static int eval_in(sl_transform *t, const char *before, sl_str expression, const char *after, json_t *scope,
                   json_t **ret_value)
{
    sl_expr *alone = NULL, *whole = NULL;
    int error = sl_expr_new(expression, t->fault, &alone);
    if (error)
        return error;
    if (!*before) {
        error = sl_expr_eval(alone, scope, ret_value, t->fault);
        sl_expr_free(alone);
        return error;
    }
    sl_buf text;
    sl_buf_init(&text, SL_MAX_EXPR_BYTES);
    (void)sl_buf_put_c(&text, before);
    (void)sl_buf_put_str(&text, expression);
    (void)sl_buf_put_c(&text, after);
    error = sl_flow_buf_error(&t->work, &text);
    if (!error)
        error = sl_expr_new(sl_buf_str(&text), t->fault, &whole);
    if (!error)
        error = sl_expr_eval(whole, scope, ret_value, t->fault);
    sl_buf_done(&text);
    sl_expr_free(whole);
    sl_expr_free(alone);
    return error;
}

int sl_transform_eval(sl_transform *t, const char *before, sl_str expression, const char *after, json_t *list,
                      json_t **ret_value)
{
    SL_ASSERT(t && before && after && ret_value);
    json_t *scope = NULL;
    int error = sl_transform_scope(t, list ? "list__" : NULL, list, &scope);
    if (!error)
        error = eval_in(t, before, expression, after, scope, ret_value);
    json_decref(scope);
    return error;
}

/* ---- functions of expressions ---- */

/* A function that works on a list takes several inputs as one. */
static int first_arguments(sl_transform *t, const sl_flow_function *f, json_t **args, size_t *ret_count,
                           json_t **ret_list)
{
    size_t count = json_array_size(t->values);
    if (f->types[0] == 'l' && count > 0 && (count > 1 || !json_is_array(sl_transform_value(t)))) {
        int error = sl_transform_items(t, ret_list);
        args[0] = *ret_list;
        *ret_count = 1;
        return error;
    }
    if (count > SL_MAX_EXPR_ARGS)
        return sl_flow_wrong(&t->work, "%s: at most %d inputs", f->name, SL_MAX_EXPR_ARGS);
    for (size_t i = 0; i < count; i++)
        args[i] = json_array_get(t->values, i);
    *ret_count = count;
    return 0;
}

/* Inputs first, then the params that have the name of an argument. */
static int run_function(sl_transform *t, const sl_flow_function *f, json_t **ret_value)
{
    json_t *args[SL_MAX_EXPR_ARGS], *list = NULL, *param;
    size_t count = 0, min = 0, max = 0;
    const char *name;
    for (size_t i = 0; i < SL_MAX_EXPR_ARGS; i++)
        args[i] = json_null();
    int error = first_arguments(t, f, args, &count, &list);
    json_object_foreach(t->params, name, param)
    {
        size_t at = sl_flow_function_arg(f, sl_str_c(name));
        if (error || at == SL_NPOS || at >= SL_MAX_EXPR_ARGS || strcmp(name, "inputs") == 0)
            continue;
        args[at] = param;
        count = at + 1 > count ? at + 1 : count;
    }
    sl_flow_function_arity(f, &min, &max);
    sl_flow_call call = {.work = &t->work};
    if (!error && (count < min || count > max))
        error = sl_flow_wrong(&t->work, "%s: needs %s", f->name, f->args);
    if (!error)
        error = sl_flow_function_run(f, &call, args, count, ret_value);
    json_decref(list);
    return error;
}

/* ---- the step ---- */

static int run_named(sl_transform *t, sl_str name, json_t **ret_value)
{
    bool lenient = sl_str_eq(name, SL_STR("default"));
    int error = sl_transform_inputs(t, lenient);
    if (error)
        return error;
    if (lenient && json_object_get(t->params, "value") &&
        json_array_append(t->values, json_object_get(t->params, "value")))
        return SL_ENOMEM;
    for (size_t i = 0; i < FUNCTIONS; i++)
        if (sl_str_eq_c(name, functions[i].name))
            return functions[i].run(t, ret_value);
    const sl_flow_function *f = sl_flow_function_find(name);
    if (!f || sl_flow_function_is_lambda(f))
        return sl_flow_wrong(&t->work, "there is no function \"%.*s\"", (int)(name.len > 60 ? 60 : name.len), name.ptr);
    return run_function(t, f, ret_value);
}

int sl_transform_run(const sl_step *step, json_t *params, json_t *context, json_t **ret_value, sl_flow_fault *fault)
{
    SL_ASSERT(step && params && context && ret_value && fault);
    fault->message[0] = '\0';
    sl_transform t = {.step = step, .params = params, .context = context, .fault = fault};
    t.work = (sl_flow_work){.steps = SL_MAX_EXPR_STEPS, .bytes = SL_MAX_EXPR_BUILT_BYTES, .fault = fault};
    t.names = json_array();
    t.values = json_array();
    const json_t *name = json_object_get(params, "function");
    int error = t.names && t.values ? 0 : SL_ENOMEM;
    if (!error)
        error = json_is_string(name) ? run_named(&t, sl_flow_str(name), ret_value)
                                     : sl_flow_wrong(&t.work, "function is missing, or no text");
    json_decref(t.names);
    json_decref(t.values);
    return error;
}

static sl_step_error error_of(int error)
{
    switch (error) {
    case SL_EINVAL:
    case SL_EPARSE:
        return SL_STEP_ERROR_INPUT;
    case SL_ETOOBIG:
    case SL_ELIMIT:
        return SL_STEP_ERROR_TOO_BIG;
    default:
        return SL_STEP_ERROR_INTERNAL;
    }
}

static void start_transform(sl_step_try *attempt)
{
    SL_ASSERT(attempt && attempt->step);
    json_t *value = NULL;
    sl_flow_fault fault = {0};
    int error = sl_transform_run(attempt->step, attempt->params, attempt->context, &value, &fault);
    json_t *results = error ? NULL : json_pack("[O]", value);
    if (results) {
        sl_step_succeed(attempt, results, NULL, value);
        return;
    }
    if (!error) {
        json_decref(value);
        error = SL_ENOMEM;
    }
    const char *function = json_string_value(json_object_get(attempt->params, "function"));
    sl_step_fail(attempt, error_of(error), "transform %.40s: %s", function ? function : "",
                 fault.message[0] ? fault.message : sl_strerror(error));
}

static void cancel_transform(sl_step_try *attempt)
{
    SL_ASSERT(attempt && !attempt->data); /* it never waits */
    (void)attempt;
}

const sl_step_kind sl_step_transform_kind = {start_transform, cancel_transform};
