/* The texts of a step: what is compiled, and the paths that they read. */
#include "src/base/assert.h"
#include "src/flow/load_draft.h"

/* What a listener of paths has to know. */
typedef struct path_listener {
    sl_loader *loader;
    sl_draft *draft;
    const sl_node *node;
} path_listener;

void sl_load_add_ref(sl_loader *loader, sl_draft *draft, sl_draft_ref ref)
{
    SL_ASSERT(loader && draft && ref.node);
    sl_draft_ref *kept = sl_load_alloc(loader, 1, sizeof *kept);
    if (!kept)
        return;
    *kept = ref;
    kept->next = NULL;
    kept->path = sl_arena_dup(loader->scratch, ref.path);
    if (!kept->path.ptr) {
        loader->failed = SL_ENOMEM;
        return;
    }
    if (draft->last_ref)
        draft->last_ref->next = kept;
    else
        draft->refs = kept;
    draft->last_ref = kept;
}

static void hear_path(void *user, sl_str path, unsigned line, unsigned column)
{
    path_listener *listener = user;
    SL_ASSERT(listener);
    sl_load_add_ref(listener->loader, listener->draft,
                    (sl_draft_ref){.path = path, .node = listener->node, .line = line, .column = column});
}

/* A text that does not compile: at its place in the file. */
static void tell_fault(sl_loader *loader, sl_draft *draft, const sl_node *node, int error, const char *what,
                       const sl_flow_fault *fault)
{
    SL_ASSERT(loader && fault);
    draft->broken = true;
    if (error == SL_ENOMEM)
        loader->failed = SL_ENOMEM;
    else
        sl_load_problem_in(loader, SL_PROBLEM_ERROR, draft, node, fault->line, fault->column, "%s: %s", what,
                           fault->message);
}

static void add_template(sl_loader *loader, sl_draft *draft, const sl_node *node, bool templates)
{
    SL_ASSERT(loader && draft);
    sl_template *text = NULL;
    sl_flow_fault fault = {0};
    if (!sl_load_grow(loader, &draft->texts, draft->text_count, &draft->text_room))
        return;
    if (templates && sl_node_has_template(node)) {
        int error = sl_template_new(node->text, &fault, &text);
        path_listener listener = {loader, draft, node};
        if (error)
            tell_fault(loader, draft, node, error, "template", &fault);
        else
            sl_template_each_path(text, hear_path, &listener);
    }
    draft->texts[draft->text_count++] = text;
}

static json_t *json_of_list(sl_loader *loader, sl_draft *draft, const sl_node *node, bool templates)
{
    SL_ASSERT(node->type == SL_NODE_LIST);
    json_t *list = json_array();
    for (size_t i = 0; list && i < node->is.list.count && !loader->failed; i++) {
        json_t *item = sl_load_json(loader, draft, node->is.list.items[i], templates);
        if (!item || json_array_append_new(list, item) != 0)
            loader->failed = loader->failed ? loader->failed : SL_ENOMEM;
    }
    return list;
}

static json_t *json_of_map(sl_loader *loader, sl_draft *draft, const sl_node *node, bool templates)
{
    SL_ASSERT(node->type == SL_NODE_MAP);
    json_t *map = json_object();
    for (size_t i = 0; map && i < node->is.map.count && !loader->failed; i++) {
        const sl_node_pair *pair = &node->is.map.pairs[i];
        json_t *member = sl_load_json(loader, draft, pair->value, templates);
        if (!member || json_object_set_new_nocheck(map, pair->key->text.ptr, member) != 0)
            loader->failed = loader->failed ? loader->failed : SL_ENOMEM;
    }
    return map;
}

static json_t *json_of_scalar(const sl_node *node)
{
    switch (node->type) {
    case SL_NODE_BOOL:
        return json_boolean(node->is.boolean);
    case SL_NODE_INT:
        return json_integer(node->is.whole);
    case SL_NODE_REAL:
        return json_real(node->is.real);
    case SL_NODE_TEXT:
        return json_stringn_nocheck(node->text.ptr, node->text.len);
    default:
        return json_null();
    }
}

/* A NUL would end the text early, somewhere behind here. */
static void check_nul(sl_loader *loader, const sl_draft *draft, const sl_node *node)
{
    if (node->type == SL_NODE_TEXT && memchr(node->text.ptr, '\0', node->text.len))
        sl_load_error(loader, draft, node, "a text: has a NUL in it; leave it out");
}

/* Every value counts: aliases write out what stands in the file once. */
static bool count_value(sl_loader *loader, const sl_draft *draft, const sl_node *node)
{
    SL_ASSERT(loader && node);
    check_nul(loader, draft, node);
    if (++loader->values <= SL_MAX_FLOW_VALUES)
        return true;
    sl_load_error(loader, draft, node, "the file: more than %u values with its aliases written out; use fewer of them",
                  SL_MAX_FLOW_VALUES);
    loader->failed = SL_ETOOBIG;
    return false;
}

json_t *sl_load_json(sl_loader *loader, sl_draft *draft, const sl_node *node, bool templates)
{
    SL_ASSERT(loader && node);
    if (!count_value(loader, draft, node))
        return NULL;
    json_t *value = node->type == SL_NODE_LIST  ? json_of_list(loader, draft, node, templates)
                    : node->type == SL_NODE_MAP ? json_of_map(loader, draft, node, templates)
                                                : json_of_scalar(node);
    if (!value)
        loader->failed = SL_ENOMEM;
    else if (draft && node->type == SL_NODE_TEXT)
        add_template(loader, draft, node, templates);
    if (!loader->failed)
        return value;
    json_decref(value);
    return NULL;
}

json_t *sl_load_text(sl_loader *loader, sl_draft *draft, const sl_node *node)
{
    SL_ASSERT(loader && draft && node->type != SL_NODE_LIST && node->type != SL_NODE_MAP);
    if (!count_value(loader, draft, node))
        return NULL;
    json_t *value = json_stringn_nocheck(node->text.ptr, node->text.len);
    if (!value)
        loader->failed = SL_ENOMEM;
    else
        add_template(loader, draft, node, true);
    return value;
}

sl_condition *sl_load_condition(sl_loader *loader, sl_draft *draft, const sl_node *node)
{
    SL_ASSERT(loader && draft && node);
    sl_condition *condition = NULL;
    sl_flow_fault fault = {0};
    check_nul(loader, draft, node);
    int error = sl_condition_new(node->text, &fault, &condition);
    if (error) {
        tell_fault(loader, draft, node, error, "condition", &fault);
        return NULL;
    }
    path_listener listener = {loader, draft, node};
    sl_condition_each_path(condition, hear_path, &listener);
    return condition;
}

void sl_load_expression(sl_loader *loader, sl_draft *draft, const sl_node *node)
{
    SL_ASSERT(loader && draft && node);
    sl_expr *expr = NULL;
    sl_flow_fault fault = {0};
    check_nul(loader, draft, node);
    int error = sl_expr_new(node->text, &fault, &expr);
    if (error) {
        tell_fault(loader, draft, node, error, "expression", &fault);
        return;
    }
    path_listener listener = {loader, draft, node};
    sl_expr_each_path(expr, hear_path, &listener);
    sl_expr_free(expr);
}
