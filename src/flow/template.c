/* Renders templates: a walk over the tree, as deep as the parser allowed, each step, round and byte counted. */
#include "src/flow/template.h"

#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/flow/expr.h"
#include "src/flow/template_impl.h"

typedef sl_template_node node;
typedef sl_template_term term;

/* What {{this}} is within a block; the outer ones behind it. */
typedef struct frame {
    struct frame *up;
    const node *block; /* that made it; NULL for the root */
    json_t *value;     /* borrowed */
    bool loop;         /* it has index and key */
    size_t index;
    size_t count;
    sl_str key; /* of objects; ptr NULL in lists */
} frame;

typedef struct renderer {
    sl_flow_work work;
    json_t *root;
    sl_buf *out;
    uint32_t rounds; /* left */
} renderer;

static int eval(renderer *r, const frame *f, const term *t, json_t **ret_value);
static int render(renderer *r, const frame *f, const node *n);

/* ---- values ---- */

static json_t *member_of(json_t *in, const sl_template_segment *segment)
{
    if (json_is_object(in))
        return sl_flow_member(in, segment->name);
    if (json_is_array(in) && segment->index >= 0)
        return json_array_get(in, (size_t)segment->index);
    return NULL;
}

/* The reference is kept of what is found; of what was owned, it is let go. */
static int walk(renderer *r, json_t *from, const term *t, size_t first, json_t **ret_value)
{
    json_t *at = from;
    for (size_t i = first; at && i < t->segment_count; i++) {
        json_t *next = member_of(at, &t->segments[i]);
        if (!next && i + 1 == t->segment_count && sl_str_eq_c(t->segments[i].name, "length") &&
            (json_is_array(at) || json_is_string(sl_flow_plain(at)))) {
            sl_flow_call call = {.work = &r->work, .lenient = true};
            return sl_flow_function_run(sl_flow_function_find(SL_STR("length")), &call, &at, 1, ret_value);
        }
        at = next;
    }
    *ret_value = json_incref(at ? at : json_null());
    return 0;
}

/* @index and its like, as JSON. A new reference; NULL without memory. */
static json_t *data_of(const frame *f, sl_str name)
{
    while (f && !f->loop)
        f = f->up;
    if (!f)
        return json_null();
    if (sl_str_eq_c(name, "index") || (sl_str_eq_c(name, "key") && !f->key.ptr))
        return json_integer((json_int_t)f->index);
    if (sl_str_eq_c(name, "key"))
        return json_stringn_nocheck(f->key.ptr, f->key.len);
    if (sl_str_eq_c(name, "first"))
        return json_boolean(f->index == 0);
    return sl_str_eq_c(name, "last") ? json_boolean(f->index + 1 == f->count) : json_null();
}

static int eval_data(renderer *r, const frame *f, const term *t, json_t **ret_value)
{
    if (!t->segment_count)
        return walk(r, NULL, t, 0, ret_value);
    if (sl_str_eq_c(t->segments[0].name, "root"))
        return walk(r, r->root, t, 1, ret_value);
    for (unsigned i = 0; f && i < t->up; i++) {
        while (f && !f->loop)
            f = f->up;
        f = f ? f->up : NULL;
    }
    json_t *value = data_of(f, t->segments[0].name);
    if (!value)
        return SL_ENOMEM;
    *ret_value = value;
    return 0;
}

static int eval_param(renderer *r, const frame *f, const term *t, json_t **ret_value)
{
    while (f && f->block != t->param_block)
        f = f->up;
    if (!f)
        return walk(r, NULL, t, 0, ret_value);
    if (t->param == 0)
        return walk(r, f->value, t, 1, ret_value);
    json_t *value = data_of(f, SL_STR("key"));
    if (!value)
        return SL_ENOMEM;
    *ret_value = value;
    return 0;
}

static int eval_path(renderer *r, const frame *f, const term *t, json_t **ret_value)
{
    if (t->data)
        return eval_data(r, f, t, ret_value);
    if (t->param_block)
        return eval_param(r, f, t, ret_value);
    for (unsigned i = 0; f && i < t->up; i++)
        f = f->up;
    return walk(r, f ? f->value : NULL, t, 0, ret_value);
}

static int eval_call(renderer *r, const frame *f, const term *t, json_t **ret_value)
{
    json_t *args[SL_MAX_EXPR_ARGS] = {NULL};
    SL_ASSERT(t->arg_count <= SL_MAX_EXPR_ARGS);
    int error = 0;
    for (size_t i = 0; !error && i < t->arg_count; i++) {
        if (t->args[i])
            error = eval(r, f, t->args[i], &args[i]);
        else
            args[i] = json_null();
    }
    sl_flow_call call = {.work = &r->work, .lenient = true};
    if (!error)
        error = sl_flow_function_run(t->function, &call, args, t->arg_count, ret_value);
    for (size_t i = 0; i < t->arg_count; i++)
        json_decref(args[i]);
    return error;
}

static int eval(renderer *r, const frame *f, const term *t, json_t **ret_value)
{
    SL_ASSERT(r && t && ret_value);
    r->work.line = t->line;
    r->work.column = t->column;
    int error = sl_flow_spend(&r->work, 1);
    if (error)
        return error;
    switch (t->kind) {
    case SL_TERM_PATH:
        return eval_path(r, f, t, ret_value);
    case SL_TERM_LITERAL:
        *ret_value = json_incref(t->literal);
        return 0;
    default:
        return eval_call(r, f, t, ret_value);
    }
}

/* ---- blocks ---- */

static int count_round(renderer *r, const node *n)
{
    if (r->rounds-- > 0)
        return 0;
    r->rounds = 0;
    sl_flow_fault_set(r->work.fault, n->line, n->column, "more than %u rounds of loops in one template",
                      SL_MAX_TEMPLATE_ROUNDS);
    return SL_ETOOBIG;
}

static int render_round(renderer *r, const node *n, frame *f, json_t *value)
{
    f->value = value;
    int error = count_round(r, n);
    if (!error)
        error = sl_flow_spend(&r->work, 1);
    if (!error)
        error = render(r, f, n->body);
    f->index++;
    return error;
}

static int render_object(renderer *r, const node *n, frame *f, json_t *object)
{
    const char *key;
    size_t len;
    json_t *value;
    bool hidden = json_object_get(object, SL_FLOW_TEXT_KEY) != NULL;
    f->count = json_object_size(object) - hidden;
    json_object_keylen_foreach(object, key, len, value)
    {
        if (hidden && sl_str_eq(sl_str_of(key, len), SL_STR(SL_FLOW_TEXT_KEY)))
            continue;
        f->key = sl_str_of(key, len);
        int error = render_round(r, n, f, value);
        if (error)
            return error;
    }
    return 0;
}

/* False in `*ret_any`: nothing to go over. */
static int render_each(renderer *r, const frame *up, const node *n, json_t *in, bool *ret_any)
{
    frame f = {.up = (frame *)(uintptr_t)up, .block = n, .loop = true};
    int error = 0;
    if (json_is_object(in)) {
        error = render_object(r, n, &f, in);
    } else if (json_is_array(in)) {
        f.count = json_array_size(in);
        for (size_t i = 0; !error && i < f.count; i++)
            error = render_round(r, n, &f, json_array_get(in, i));
    }
    *ret_any = f.count > 0;
    return error;
}

static bool holds(const node *n, const json_t *value)
{
    return sl_expr_truth(value) || (n->include_zero && json_is_number(value));
}

/* Renders the body when there is something to render it for, which `*ret_done` says. */
static int render_body(renderer *r, const frame *f, const node *n, json_t *value, bool *ret_done)
{
    unsigned kind = n->kind;
    if (kind == SL_TAG_SECTION)
        kind = json_is_array(value) ? SL_TAG_EACH : json_is_boolean(value) ? SL_TAG_IF : SL_TAG_WITH;
    if (kind == SL_TAG_EACH)
        return render_each(r, f, n, value, ret_done);
    if (n->kind == SL_TAG_SECTION && kind == SL_TAG_WITH)
        *ret_done = !json_is_null(value); /* 0 and "" are something: only a condition asks for more */
    else
        *ret_done = kind == SL_TAG_UNLESS ? !holds(n, value) : holds(n, value);
    if (!*ret_done)
        return 0;
    if (kind != SL_TAG_WITH)
        return render(r, f, n->body);
    frame inner = {.up = (frame *)(uintptr_t)f, .block = n, .value = value};
    return render(r, &inner, n->body);
}

/* A chain of {{else if}} is walked, not descended. */
static int render_block(renderer *r, const frame *f, const node *n)
{
    for (;;) {
        json_t *value = NULL;
        bool done = false;
        int error = eval(r, f, n->term, &value);
        if (!error)
            error = render_body(r, f, n, value, &done);
        json_decref(value);
        if (error || done)
            return error;
        if (!n->chained)
            return render(r, f, n->inverse);
        n = n->inverse;
    }
}

static int render_value(renderer *r, const frame *f, const term *t)
{
    json_t *value = NULL;
    int error = eval(r, f, t, &value);
    if (!error)
        error = sl_flow_put_text(&r->work, r->out, value);
    json_decref(value);
    return error;
}

static int render_text(renderer *r, const node *n)
{
    r->work.line = n->line;
    r->work.column = n->column;
    int error = sl_flow_spend_bytes(&r->work, n->text.len);
    if (error)
        return error;
    (void)sl_buf_put_str(r->out, n->text);
    return sl_flow_buf_error(&r->work, r->out);
}

static int render(renderer *r, const frame *f, const node *n)
{
    int error = 0;
    for (; !error && n; n = n->next) {
        error = sl_flow_spend(&r->work, 1);
        if (error)
            break;
        if (n->kind == SL_TAG_TEXT)
            error = render_text(r, n);
        else if (n->kind == SL_TAG_VALUE)
            error = render_value(r, f, n->term);
        else
            error = render_block(r, f, n);
    }
    return error;
}

/* ---- the interface ---- */

static int fill(sl_template *template, sl_str text, sl_flow_fault *fault)
{
    template->literals = json_array();
    template->source = sl_arena_dup(&template->arena, text.ptr ? text : SL_STR(""));
    if (!template->literals || !template->source.ptr)
        return SL_ENOMEM;
    return sl_template_parse(template, fault);
}

int sl_template_new(sl_str text, sl_flow_fault *fault, sl_template **ret_template)
{
    SL_ASSERT(ret_template);
    if (text.len > SL_MAX_TEMPLATE_BYTES) {
        sl_flow_fault_set(fault, 0, 0, "the template is longer than %u bytes", SL_MAX_TEMPLATE_BYTES);
        return SL_ETOOBIG;
    }
    if (!sl_utf8_valid(text)) {
        sl_flow_fault_set(fault, 0, 0, "the template is not UTF-8");
        return SL_EPARSE;
    }
    sl_template *template = sl_calloc(1, sizeof *template);
    if (!template)
        return SL_ENOMEM;
    sl_arena_init(&template->arena, 1024, 8192 + text.len * 512);
    int error = fill(template, text, fault);
    if (error) {
        sl_template_free(template);
        if (error == SL_ENOMEM)
            sl_flow_fault_set(fault, 0, 0, "out of memory");
        return error;
    }
    *ret_template = template;
    return 0;
}

void sl_template_free(sl_template *template)
{
    if (!template)
        return;
    json_decref(template->literals);
    sl_arena_done(&template->arena);
    sl_free(template);
}

static void init_renderer(renderer *r, json_t *context, sl_buf *out, sl_flow_fault *fault)
{
    *r = (renderer){.root = context ? context : json_null(), .out = out, .rounds = SL_MAX_TEMPLATE_ROUNDS};
    r->work = (sl_flow_work){.steps = SL_MAX_TEMPLATE_STEPS, .bytes = SL_MAX_TEMPLATE_OUTPUT_BYTES, .fault = fault};
}

static int render_all(const sl_template *template, renderer *r)
{
    size_t before = r->out->len;
    frame root = {.value = r->root};
    int error = render(r, &root, template->root);
    if (error) {
        r->out->len = before;
        if (error == SL_ENOMEM)
            sl_flow_fault_set(r->work.fault, 0, 0, "out of memory");
    }
    return error;
}

int sl_template_render(const sl_template *template, json_t *context, sl_buf *out, sl_flow_fault *fault)
{
    SL_ASSERT(template && out);
    renderer r;
    init_renderer(&r, context, out, fault);
    return render_all(template, &r);
}

int sl_template_render_within(const sl_template *template, json_t *context, sl_flow_work *work, sl_buf *out)
{
    SL_ASSERT(template && work && out);
    renderer r;
    init_renderer(&r, context, out, work->fault);
    r.work = *work;
    int error = render_all(template, &r);
    work->steps = r.work.steps;
    work->bytes = r.work.bytes;
    return error;
}

int sl_template_value(const sl_template *template, json_t *context, json_t **ret_value, sl_flow_fault *fault)
{
    SL_ASSERT(template && ret_value);
    const node *n = template->root;
    sl_buf out;
    sl_buf_init(&out, SL_MAX_TEMPLATE_OUTPUT_BYTES);
    int error = 0;
    json_t *value = NULL;
    if (n && !n->next && n->kind == SL_TAG_VALUE && n->term->kind == SL_TERM_PATH) {
        renderer r;
        init_renderer(&r, context, &out, fault);
        frame root = {.value = r.root};
        error = eval(&r, &root, n->term, &value);
    } else {
        error = sl_template_render(template, context, &out, fault);
        value = error ? NULL : json_stringn_nocheck(out.data ? out.data : "", out.len);
        if (!error && !value)
            error = SL_ENOMEM;
    }
    sl_buf_done(&out);
    if (!error)
        *ret_value = value;
    return error;
}

bool sl_template_is_plain(const sl_template *template)
{
    SL_ASSERT(template);
    for (const node *n = template->root; n; n = n->next)
        if (n->kind != SL_TAG_TEXT)
            return false;
    return true;
}

/* Only what is certain to be read from the root: no @data, no block parameter, nothing within with or each. */
void sl_template_each_path(const sl_template *template,
                           void (*fn)(void *user, sl_str path, unsigned line, unsigned column), void *user)
{
    SL_ASSERT(template && fn);
    for (const term *t = template->paths; t; t = t->next) {
        sl_str path = t->text;
        bool root = t->data && t->segment_count > 1 && sl_str_eq_c(t->segments[0].name, "root");
        if (root)
            path = sl_str_sub(path, strlen("@root."), path.len);
        if (root || (t->from_root && t->segment_count && !t->data && !t->param_block))
            fn(user, path, t->line, t->column);
    }
}
