/* The table of functions: finding one, checking its arguments, running it. */
#include "src/flow/expr_functions.h"

#include "src/base/limits.h"
#include "src/flow/expr_give.h"

static const sl_flow_function functions[] = {
#define FUNCTION(name_, types_, args_, help_, run_) {name_, types_, args_, help_, sl_fn_run_##run_},
#include "src/flow/expr_functions.def"
#undef FUNCTION
};

#define FUNCTION_COUNT (sizeof functions / sizeof *functions)

const sl_flow_function *sl_flow_functions(size_t *ret_count)
{
    SL_ASSERT(ret_count);
    *ret_count = FUNCTION_COUNT;
    return functions;
}

const sl_flow_function *sl_flow_function_find(sl_str name)
{
    for (size_t i = 0; i < FUNCTION_COUNT; i++)
        if (sl_str_eq_c(name, functions[i].name))
            return &functions[i];
    return NULL;
}

bool sl_flow_function_is_lambda(const sl_flow_function *function)
{
    SL_ASSERT(function);
    return strchr(function->types, 'f') != NULL;
}

size_t sl_flow_function_arg(const sl_flow_function *function, sl_str name)
{
    SL_ASSERT(function);
    sl_str rest = sl_str_c(function->args), part;
    for (size_t i = 0; sl_str_split(&rest, ',', &part); i++)
        if (sl_str_eq(sl_str_trim(part), name))
            return i;
    return SL_NPOS;
}

void sl_flow_function_arity(const sl_flow_function *function, size_t *ret_min, size_t *ret_max)
{
    SL_ASSERT(function && ret_min && ret_max);
    const char *types = function->types, *optional = strchr(types, '?');
    size_t len = strlen(types);
    bool any = types[len - 1] == '*';
    *ret_min = optional ? (size_t)(optional - types) : any ? len - 1 : len;
    *ret_max = any ? SL_MAX_EXPR_ARGS : optional ? len - 1 : len;
}

/* ---- checking of arguments ---- */

typedef struct type_rule {
    char letter;
    const char *name;
} type_rule;

static const type_rule type_rules[] = {
    {'s', "a string"}, {'n', "a number"}, {'l', "a list"}, {'o', "an object"}, {'q', "a list, string or object"},
};

static bool has_type(char type, const json_t *v)
{
    switch (type) {
    case 's':
        return json_is_string(v);
    case 'n':
        return json_is_number(v);
    case 'l':
        return json_is_array(v);
    case 'o':
        return json_is_object(v);
    case 'q':
        return json_is_string(v) || json_is_array(v) || json_is_object(v);
    default:
        return true;
    }
}

/* What a template's argument becomes: text of anything, number of a text; else nothing. A reference, or NULL. */
static int convert(const sl_flow_call *call, char type, json_t *v, json_t **ret_value)
{
    json_t *number = NULL;
    if (type == 's')
        return sl_fn_run_string(call, &v, 1, ret_value);
    if (type == 'n' && json_is_string(v))
        number = sl_fn_parse_number(sl_flow_str(v));
    if (number)
        return sl_give(number, ret_value);
    if (json_is_null(v) && type != 'n')
        return sl_give(type == 'o' ? json_object() : json_array(), ret_value);
    return SL_EINVAL;
}

/* A reference to the argument as its type wants it. */
static int check_one(const sl_flow_function *f, const sl_flow_call *call, char type, size_t i, json_t *v,
                     json_t **ret_value)
{
    if (type == 'a' || type == 'f' || !v) {
        *ret_value = v ? json_incref(v) : NULL;
        return 0;
    }
    json_t *plain = type == 'o' ? v : sl_flow_plain(v);
    if (has_type(type, plain))
        return sl_give_same(plain, ret_value);
    if (type == 'q' && json_is_object(v))
        return sl_give_same(v, ret_value);
    int error = call->lenient ? convert(call, type, plain, ret_value) : SL_EINVAL;
    if (error != SL_EINVAL)
        return error;
    const char *wanted = "";
    for (size_t k = 0; k < sizeof type_rules / sizeof *type_rules; k++)
        if (type_rules[k].letter == type)
            wanted = type_rules[k].name;
    const char *seen = sl_flow_type_name(plain);
    return sl_flow_wrong(call->work, "%s: argument %zu must be %s, not %s %s", f->name, i + 1, wanted,
                         seen[0] == 'o' ? "an" : "a", seen);
}

static int check_all(const sl_flow_function *f, const sl_flow_call *call, sl_fn_values args, size_t count,
                     json_t **checked)
{
    const char *type = f->types;
    bool optional = false;
    for (size_t i = 0; i < count; i++) {
        if (*type == '?') {
            optional = true;
            type++;
        }
        int error = 0;
        if (optional && json_is_null(args[i]))
            checked[i] = json_incref(args[i]);
        else
            error = check_one(f, call, *type, i, args[i], &checked[i]);
        if (error)
            return error;
        type += type[1] != '*';
    }
    return 0;
}

int sl_flow_function_run(const sl_flow_function *function, const sl_flow_call *call, json_t *const *args, size_t count,
                         json_t **ret_value)
{
    SL_ASSERT(function && call && call->work && ret_value && count <= SL_MAX_EXPR_ARGS);
    json_t *checked[SL_MAX_EXPR_ARGS] = {NULL};
    int error = sl_flow_spend(call->work, 1);
    if (!error)
        error = check_all(function, call, args, count, checked);
    if (!error)
        error = function->run(call, checked, count, ret_value);
    for (size_t i = 0; i < count; i++)
        json_decref(checked[i]);
    if (error == SL_EINVAL && call->lenient)
        return sl_give(json_null(), ret_value);
    return error;
}
