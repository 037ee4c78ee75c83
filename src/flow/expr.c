/* Evaluates expressions: a walk over the tree, as deep as the parser allowed, each step counted. */
#include "src/flow/expr.h"

#include <math.h>

#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/flow/expr_impl.h"

typedef struct machine {
    sl_flow_work work;
    json_t *scope;
    json_t *locals[SL_EXPR_LOCALS]; /* borrowed */
} machine;

typedef sl_expr_node node;

static int eval(machine *m, const node *n, json_t **ret_value);

static int place(machine *m, const node *n)
{
    m->work.line = n->line;
    m->work.column = n->column;
    return sl_flow_spend(&m->work, 1);
}

/* ---- arithmetic ---- */

static int add_texts(machine *m, json_t *a, json_t *b, json_t **ret_value)
{
    sl_buf out;
    sl_buf_init(&out, SL_MAX_EXPR_TEXT_BYTES);
    int error = sl_flow_put_text(&m->work, &out, a);
    if (!error)
        error = sl_flow_put_text(&m->work, &out, b);
    json_t *text = error ? NULL : json_stringn_nocheck(out.data ? out.data : "", out.len);
    sl_buf_done(&out);
    if (error || !text)
        return error ? error : SL_ENOMEM;
    *ret_value = text;
    return 0;
}

/* False: it does not fit, or is no whole number. */
static bool whole_result(sl_expr_op op, json_int_t a, json_int_t b, json_int_t *ret_result)
{
    switch (op) {
    case SL_OP_ADD:
        return !__builtin_add_overflow(a, b, ret_result);
    case SL_OP_SUB:
        return !__builtin_sub_overflow(a, b, ret_result);
    case SL_OP_MUL:
        return !__builtin_mul_overflow(a, b, ret_result);
    case SL_OP_MOD:
        *ret_result = b == -1 ? 0 : a % b;
        return true;
    default:
        if (b == -1 ? a == INT64_MIN : a % b != 0)
            return false;
        *ret_result = a / b;
        return true;
    }
}

static int real_result(machine *m, sl_expr_op op, double a, double b, json_t **ret_value)
{
    double r = op == SL_OP_ADD   ? a + b
               : op == SL_OP_SUB ? a - b
               : op == SL_OP_MUL ? a * b
               : op == SL_OP_DIV ? a / b
                                 : fmod(a, b);
    if (!isfinite(r))
        return sl_flow_wrong(&m->work, "the result is no finite number");
    *ret_value = json_real(r);
    return *ret_value ? 0 : SL_ENOMEM;
}

static int add_lists(machine *m, json_t *a, json_t *b, json_t **ret_value)
{
    int error = sl_flow_spend_bytes(&m->work, 16 * (json_array_size(a) + json_array_size(b)));
    json_t *list = error ? NULL : json_array();
    if (!list || json_array_extend(list, a) || json_array_extend(list, b)) {
        json_decref(list);
        return error ? error : SL_ENOMEM;
    }
    *ret_value = list;
    return 0;
}

static int arithmetic(machine *m, sl_expr_op op, json_t *a, json_t *b, json_t **ret_value)
{
    static const char signs[] = "+-*/%";
    a = sl_flow_plain(a);
    b = sl_flow_plain(b);
    if (op == SL_OP_ADD && (json_is_string(a) || json_is_string(b)))
        return add_texts(m, a, b, ret_value);
    if (op == SL_OP_ADD && json_is_array(a) && json_is_array(b))
        return add_lists(m, a, b, ret_value);
    if (!json_is_number(a) || !json_is_number(b))
        return sl_flow_wrong(&m->work, "cannot compute %s %c %s", sl_flow_type_name(a), signs[op - SL_OP_ADD],
                             sl_flow_type_name(b));
    double divisor = json_number_value(b);
    if ((op == SL_OP_DIV || op == SL_OP_MOD) && !(divisor < 0 || divisor > 0))
        return sl_flow_wrong(&m->work, "division by zero");
    json_int_t result;
    if (!json_is_integer(a) || !json_is_integer(b) ||
        !whole_result(op, json_integer_value(a), json_integer_value(b), &result))
        return real_result(m, op, json_number_value(a), divisor, ret_value);
    *ret_value = json_integer(result);
    return *ret_value ? 0 : SL_ENOMEM;
}

static int compare(machine *m, sl_expr_op op, json_t *a, json_t *b, json_t **ret_value)
{
    int order = 0;
    if (!sl_flow_order(a, b, &order))
        return sl_flow_wrong(&m->work, "cannot compare %s and %s; two numbers or two strings have an order",
                             sl_flow_type_name(sl_flow_plain(a)), sl_flow_type_name(sl_flow_plain(b)));
    bool holds = op == SL_OP_LT ? order < 0 : op == SL_OP_LE ? order <= 0 : op == SL_OP_GT ? order > 0 : order >= 0;
    *ret_value = json_boolean(holds);
    return 0;
}

static int combine(machine *m, sl_expr_op op, json_t *a, json_t *b, json_t **ret_value)
{
    SL_ASSERT(a && b && ret_value);
    bool equal = false;
    int error = 0;
    switch (op) {
    case SL_OP_EQ:
    case SL_OP_NE:
        error = sl_flow_equal(&m->work, a, b, &equal);
        if (!error)
            *ret_value = json_boolean(equal == (op == SL_OP_EQ));
        return error;
    case SL_OP_LT:
    case SL_OP_LE:
    case SL_OP_GT:
    case SL_OP_GE:
        return compare(m, op, a, b, ret_value);
    case SL_OP_IN: {
        json_t *args[2] = {b, a};
        sl_flow_call call = {.work = &m->work};
        return sl_flow_function_run(sl_flow_function_find(SL_STR("contains")), &call, args, 2, ret_value);
    }
    default:
        return arithmetic(m, op, a, b, ret_value);
    }
}

static int eval_chain(machine *m, const node *n, json_t **ret_value)
{
    json_t *left = NULL;
    int error = eval(m, n->kids, &left);
    for (const node *kid = n->kids->next; !error && kid; kid = kid->next) {
        sl_expr_op op = kid->op;
        if (op == SL_OP_AND || op == SL_OP_OR) {
            if (sl_expr_truth(left) == (op == SL_OP_OR))
                continue;
            json_decref(left);
            left = NULL;
            error = eval(m, kid, &left);
            continue;
        }
        json_t *right = NULL, *result = NULL;
        error = eval(m, kid, &right);
        if (!error)
            error = place(m, kid);
        if (!error)
            error = combine(m, op, left, right, &result);
        json_decref(right);
        json_decref(left);
        left = result;
    }
    if (error)
        json_decref(left);
    else
        *ret_value = left;
    return error;
}

static int eval_unary(machine *m, const node *n, json_t **ret_value)
{
    json_t *value = NULL;
    int error = eval(m, n->kids, &value);
    if (error)
        return error;
    if (n->op == SL_OP_NOT) {
        *ret_value = json_boolean(!sl_expr_truth(value));
    } else {
        json_t *zero = json_integer(0);
        m->work.line = n->line;
        m->work.column = n->column;
        /* 0.0 - x would lose the sign of zero alone. */
        error = zero ? arithmetic(m, SL_OP_SUB, zero, value, ret_value) : SL_ENOMEM;
        json_decref(zero);
    }
    json_decref(value);
    return error;
}

/* ---- values ---- */

/* Borrowed; NULL: nothing there. */
static json_t *member_of(json_t *in, sl_str name)
{
    int64_t index = 0;
    if (json_is_object(in))
        return sl_flow_member(in, name);
    if (!json_is_array(in) || sl_str_to_i64(name, &index))
        return NULL;
    return index >= 0 ? json_array_get(in, (size_t)index) : NULL;
}

static int eval_index(machine *m, const node *n, json_t *in, json_t **ret_value)
{
    json_t *key = NULL;
    int error = eval(m, n->kids, &key);
    if (error)
        return error;
    json_t *args[2] = {in, key};
    sl_flow_call call = {.work = &m->work};
    error = sl_flow_function_run(sl_flow_function_find(SL_STR("get")), &call, args, 2, ret_value);
    json_decref(key);
    return error;
}

static int eval_access(machine *m, const node *n, json_t **ret_value)
{
    json_t *value = NULL;
    int error = eval(m, n->kids, &value);
    for (const node *kid = n->kids->next; !error && kid; kid = kid->next) {
        json_t *found = NULL;
        error = place(m, kid);
        if (!error && kid->kind == SL_EXPR_INDEX)
            error = eval_index(m, kid, value, &found);
        else if (!error) {
            found = member_of(value, kid->text);
            found = json_incref(found ? found : json_null());
        }
        json_decref(value);
        value = found;
    }
    if (error)
        json_decref(value);
    else
        *ret_value = value;
    return error;
}

static int eval_list(machine *m, const node *n, json_t **ret_value)
{
    json_t *list = json_array();
    int error = list ? 0 : SL_ENOMEM;
    for (const node *kid = n->kids; !error && kid; kid = kid->next) {
        json_t *value = NULL;
        error = eval(m, kid, &value);
        if (!error)
            error = sl_flow_spend_bytes(&m->work, 16);
        if (error)
            json_decref(value);
        else if (json_array_append_new(list, value))
            error = SL_ENOMEM;
    }
    if (error)
        json_decref(list);
    else
        *ret_value = list;
    return error;
}

static int eval_object(machine *m, const node *n, json_t **ret_value)
{
    json_t *object = json_object();
    int error = object ? 0 : SL_ENOMEM;
    for (const node *kid = n->kids; !error && kid; kid = kid->next) {
        json_t *value = NULL;
        error = eval(m, kid->kids, &value);
        if (!error)
            error = sl_flow_spend_bytes(&m->work, 64 + kid->text.len);
        if (error)
            json_decref(value);
        else if (json_object_setn_new_nocheck(object, kid->text.ptr, kid->text.len, value))
            error = SL_ENOMEM;
    }
    if (error)
        json_decref(object);
    else
        *ret_value = object;
    return error;
}

/* ---- calls ---- */

typedef struct lambda {
    machine *machine;
    const node *node; /* SL_EXPR_LAMBDA, or NULL: the member `name` */
    json_t *name;
} lambda;

static int apply_lambda(void *user, json_t *item, size_t index, json_t **ret_value)
{
    lambda *l = user;
    machine *m = l->machine;
    if (!l->node) {
        json_t *found = member_of(item, sl_flow_str(l->name));
        *ret_value = json_incref(found ? found : json_null());
        return sl_flow_spend(&m->work, 1);
    }
    json_t *number = l->node->count > 1 ? json_integer((json_int_t)index) : NULL;
    if (l->node->count > 1 && !number)
        return SL_ENOMEM;
    m->locals[l->node->local] = item;
    if (number)
        m->locals[l->node->local + 1] = number;
    int error = eval(m, l->node->kids, ret_value);
    json_decref(number);
    return error;
}

static int eval_args(machine *m, const node *n, json_t **args, lambda *l)
{
    size_t i = 0;
    int error = 0;
    for (const node *kid = n->kids; !error && kid; kid = kid->next, i++) {
        if (kid->kind == SL_EXPR_LAMBDA) {
            l->node = kid;
            continue;
        }
        error = eval(m, kid, &args[i]);
        if (error || n->function->types[i < strlen(n->function->types) ? i : 0] != 'f')
            continue;
        l->name = sl_flow_plain(args[i]);
        if (!json_is_string(l->name)) {
            m->work.line = n->line;
            m->work.column = n->column;
            error = sl_flow_wrong(&m->work, "%s: argument %zu must be a lambda (x => ...) or a name", n->function->name,
                                  i + 1);
        }
    }
    return error;
}

static int eval_call(machine *m, const node *n, json_t **ret_value)
{
    json_t *args[SL_MAX_EXPR_ARGS] = {NULL};
    lambda l = {.machine = m};
    SL_ASSERT(n->count <= SL_MAX_EXPR_ARGS);
    int error = eval_args(m, n, args, &l);
    if (!error)
        error = place(m, n);
    sl_flow_call call = {.work = &m->work, .apply = apply_lambda, .user = &l};
    if (!error)
        error = sl_flow_function_run(n->function, &call, args, n->count, ret_value);
    for (size_t i = 0; i < n->count; i++)
        json_decref(args[i]);
    return error;
}

static int eval_choice(machine *m, const node *n, json_t **ret_value)
{
    json_t *test = NULL;
    int error = eval(m, n->kids, &test);
    if (error)
        return error;
    const node *then = n->kids->next;
    error = eval(m, sl_expr_truth(test) ? then : then->next, ret_value);
    json_decref(test);
    return error;
}

static int eval(machine *m, const node *n, json_t **ret_value)
{
    SL_ASSERT(m && n && ret_value);
    int error = place(m, n);
    if (error)
        return error;
    json_t *found;
    switch (n->kind) {
    case SL_EXPR_LITERAL:
        *ret_value = json_incref(n->literal);
        return 0;
    case SL_EXPR_NAME:
        found = json_is_object(m->scope) ? sl_flow_member(m->scope, n->text) : NULL;
        *ret_value = json_incref(found ? found : json_null());
        return 0;
    case SL_EXPR_LOCAL:
        *ret_value = json_incref(m->locals[n->local]);
        return 0;
    case SL_EXPR_CHAIN:
        return eval_chain(m, n, ret_value);
    case SL_EXPR_UNARY:
        return eval_unary(m, n, ret_value);
    case SL_EXPR_CHOICE:
        return eval_choice(m, n, ret_value);
    case SL_EXPR_ACCESS:
        return eval_access(m, n, ret_value);
    case SL_EXPR_LIST:
        return eval_list(m, n, ret_value);
    case SL_EXPR_OBJECT:
        return eval_object(m, n, ret_value);
    default:
        SL_ASSERT(n->kind == SL_EXPR_CALL);
        return eval_call(m, n, ret_value);
    }
}

/* ---- the interface ---- */

static int fill(sl_expr *expr, sl_str text, sl_flow_fault *fault)
{
    expr->literals = json_array();
    expr->source = sl_arena_dup(&expr->arena, text.ptr ? text : SL_STR(""));
    if (!expr->literals || !expr->source.ptr)
        return SL_ENOMEM;
    return sl_expr_parse(expr, fault);
}

int sl_expr_new(sl_str text, sl_flow_fault *fault, sl_expr **ret_expr)
{
    SL_ASSERT(ret_expr);
    if (text.len > SL_MAX_EXPR_BYTES) {
        sl_flow_fault_set(fault, 0, 0, "the expression is longer than %u bytes", SL_MAX_EXPR_BYTES);
        return SL_ETOOBIG;
    }
    if (!sl_utf8_valid(text)) {
        sl_flow_fault_set(fault, 0, 0, "the expression is not UTF-8");
        return SL_EPARSE;
    }
    sl_expr *expr = sl_calloc(1, sizeof *expr);
    if (!expr)
        return SL_ENOMEM;
    sl_arena_init(&expr->arena, 1024, 4096 + text.len * 512);
    int error = fill(expr, text, fault);
    if (error) {
        sl_expr_free(expr);
        if (error == SL_ENOMEM)
            sl_flow_fault_set(fault, 0, 0, "out of memory");
        return error;
    }
    *ret_expr = expr;
    return 0;
}

void sl_expr_free(sl_expr *expr)
{
    if (!expr)
        return;
    json_decref(expr->literals);
    sl_arena_done(&expr->arena);
    sl_free(expr);
}

int sl_expr_eval(const sl_expr *expr, json_t *scope, json_t **ret_value, sl_flow_fault *fault)
{
    SL_ASSERT(expr && expr->root && ret_value);
    machine m = {.scope = scope};
    m.work = (sl_flow_work){.steps = SL_MAX_EXPR_STEPS, .bytes = SL_MAX_EXPR_BUILT_BYTES, .fault = fault};
    json_t *value = NULL;
    int error = eval(&m, expr->root, &value);
    if (!error && expr->builds)
        error = sl_flow_measure(&m.work, value);
    if (error) {
        json_decref(value);
        if (error == SL_ENOMEM)
            sl_flow_fault_set(fault, 0, 0, "out of memory");
        return error;
    }
    *ret_value = value;
    return 0;
}

void sl_expr_each_path(const sl_expr *expr, void (*fn)(void *user, sl_str path, unsigned line, unsigned column),
                       void *user)
{
    SL_ASSERT(expr && fn);
    for (const sl_expr_path *path = expr->paths; path; path = path->next)
        fn(user, path->text, path->line, path->column);
}
