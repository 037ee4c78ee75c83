/* Scopes: the nodes of a block, and what its templates see. */
#include <stdio.h>

#include "src/flow/executor_impl.h"
#include "src/llm/json_text.h"

static void node_init(sl_node *node, sl_scope *scope, const sl_step_plan *plan)
{
    sl_executor *executor = scope->run->executor;
    node->scope = scope;
    node->plan = plan;
    node->unfinished = plan->step->depend_count;
    node->attempt.step = plan->step;
    node->attempt.context = scope->context;
    node->attempt.loop = executor->loop;
    node->attempt.services = executor->options.services;
}

sl_scope *sl_scope_new(sl_flow_run *run, sl_node *owner, const sl_block_plan *plan, json_t *context)
{
    SL_ASSERT(run && plan);
    size_t count = plan->block->step_count;
    sl_scope *scope = NULL;
    if (context && count <= SL_FLOW_MAX_RUN_STEPS - run->node_total)
        scope = sl_calloc(1, sizeof *scope + count * sizeof(sl_node));
    if (!scope) {
        json_decref(context);
        return NULL;
    }
    run->node_total += count;
    scope->run = run;
    scope->owner = owner;
    scope->plan = plan;
    scope->context = context;
    scope->steps = json_object_get(context, "steps");
    scope->outputs = json_object_get(context, "outputs");
    SL_ASSERT(json_is_object(scope->steps) && json_is_object(scope->outputs));
    scope->left = scope->node_count = count;
    for (size_t i = 0; i < count; i++)
        node_init(&scope->nodes[i], scope, &plan->steps[i]);
    return scope;
}

static void node_done(sl_node *node)
{
    SL_ASSERT(!node->list && !node->places && !node->delay);
    sl_block_clear(node);
    sl_llm_client_leave(node->attempt.llm);
    json_decref(node->attempt.params);
    json_decref(node->results);
    json_decref(node->extra);
    json_decref(node->text);
    json_decref(node->value);
    sl_free(node->message);
}

void sl_scope_free(sl_scope *scope)
{
    if (!scope)
        return;
    for (size_t i = 0; i < scope->node_count; i++)
        node_done(&scope->nodes[i]);
    json_decref(scope->context);
    sl_free(scope->prefix);
    sl_free(scope);
}

void sl_scope_begin(sl_scope *scope)
{
    sl_executor *executor = scope->run->executor;
    for (size_t i = 0; i < scope->node_count; i++) {
        if (!scope->nodes[i].unfinished)
            sl_node_push(&executor->fresh, &scope->nodes[i]);
    }
}

bool sl_scope_bind(sl_scope *scope, const sl_step *step, json_t *value)
{
    SL_ASSERT(scope && step);
    return value && json_object_set(scope->steps, step->id, value) == 0 &&
           json_object_set(scope->outputs, step->id, value) == 0;
}

json_t *sl_context_root(const sl_flow_run *run)
{
    json_t *context = json_object();
    if (!context || (run->inputs && json_object_update(context, run->inputs) != 0) ||
        json_object_set(context, "inputs", run->inputs) != 0 || json_object_set(context, "input", run->inputs) != 0 ||
        json_object_set_new(context, "steps", json_object()) != 0 ||
        json_object_set_new(context, "outputs", json_object()) != 0 ||
        json_object_set_new(context, "workflow",
                            json_pack("{s:s,s:s,s:s}", "id", run->plan->id.len ? run->plan->id.ptr : run->id, "name",
                                      run->plan->flow->name, "run_id", run->id)) != 0) {
        json_decref(context);
        return NULL;
    }
    return context;
}

json_t *sl_context_round(const sl_scope *parent, json_t *item, size_t index)
{
    SL_ASSERT(parent && item);
    json_t *context = sl_json_copy(parent->context);
    if (!context || json_object_set_new(context, "steps", sl_json_copy(parent->steps)) != 0 ||
        json_object_set_new(context, "outputs", sl_json_copy(parent->outputs)) != 0 ||
        json_object_set(context, "item", item) != 0 || json_object_set(context, "this", item) != 0 ||
        json_object_set_new(context, "index", json_integer((json_int_t)index)) != 0) {
        json_decref(context);
        return NULL;
    }
    return context;
}

const char *sl_node_path(const sl_node *node, char text[SL_FLOW_MAX_PATH])
{
    const char *prefix = node->scope->prefix, *id = node->attempt.step->id;
    if (!prefix)
        return id;
    (void)snprintf(text, SL_FLOW_MAX_PATH, "%s%s", prefix, id);
    return text;
}
