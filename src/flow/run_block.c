/*
 * Steps that hold blocks: parallel (all of them), branch (the one that is chosen), loop (one round for each item).
 *
 * What they give: parallel: `results`, a list in the order of its steps, and each step under its id; branch: `result`
 * (what the last step of the chosen branch gave) and `branch` (its name); loop: `results`, for each item what the last
 * step of its round gave. Rounds have steps and outputs of their own; steps of parallel and branch are bound as those
 * around them are. A failed step fails its block when the others have ended; of a loop no further round begins.
 */
#include <stdio.h>

#include "src/base/buf.h"
#include "src/flow/executor_impl.h"
#include "src/flow/expr_value.h"
#include "src/flow/flow_telemetry.h"

#define DEFAULT_MAX_ROUNDS 1000u

bool sl_node_has_blocks(const sl_node *node)
{
    sl_step_type type = sl_node_step(node)->type;
    return type == SL_STEP_PARALLEL || type == SL_STEP_BRANCH || type == SL_STEP_LOOP;
}

/* ---- scopes ---- */

static char *prefix_of(const sl_node *node, const char *end)
{
    char path[SL_FLOW_MAX_PATH], text[SL_FLOW_MAX_PATH + 32];
    int len = snprintf(text, sizeof text, "%s%s", sl_node_path(node, path), end);
    return sl_strndup(text, (size_t)len);
}

static sl_scope *open_scope(sl_node *node, const sl_block_plan *plan, json_t *context, const char *end)
{
    sl_scope *scope = sl_scope_new(sl_node_run(node), node, plan, context);
    if (!scope)
        return NULL;
    scope->prefix = prefix_of(node, end);
    if (!scope->prefix) {
        sl_scope_free(scope);
        return NULL;
    }
    scope->next = node->scopes;
    node->scopes = scope;
    return scope;
}

static void close_scope(sl_node *node, sl_scope *scope)
{
    sl_scope **at = &node->scopes;
    while (*at != scope)
        at = &(*at)->next;
    *at = scope->next;
    sl_scope_free(scope);
}

void sl_block_clear(sl_node *node)
{
    while (node->scopes)
        close_scope(node, node->scopes);
    json_decref(node->items);
    json_decref(node->round_values);
    node->items = node->round_values = NULL;
    node->next_round = node->rounds_running = 0;
}

void sl_block_cancel(sl_node *node, const char *why)
{
    SL_ASSERT(sl_node_has_blocks(node));
    for (sl_scope *scope = node->scopes; scope; scope = scope->next) {
        for (size_t i = 0; i < scope->node_count; i++)
            sl_node_cancel(&scope->nodes[i], why);
    }
}

/* ---- ends ---- */

static void fail(sl_node *node, sl_step_error error, const char *message)
{
    node->phase = SL_NODE_WAITING;
    sl_node_failed(node, error, message);
}

static void succeed(sl_node *node, json_t *results, json_t *extra, json_t *text)
{
    node->phase = SL_NODE_WAITING;
    size_t max = sl_node_executor(node)->options.max_result_bytes;
    int error = sl_output_value(sl_node_step(node), results, extra, text, max, &node->value);
    if (!error)
        sl_node_end(node, SL_STEP_SUCCEEDED, SL_STEP_ERROR_NONE, "");
    else if (error == SL_ETOOBIG)
        fail(node, SL_STEP_ERROR_TOO_BIG, "the results are too large");
    else
        fail(node, SL_STEP_ERROR_INTERNAL, "out of memory");
}

static void fail_by(sl_node *node, const sl_node *child)
{
    char message[SL_FLOW_ERROR_BYTES], path[SL_FLOW_MAX_PATH];
    (void)snprintf(message, sizeof message, "step %.200s: %s", sl_node_path(child, path),
                   child->message ? child->message : sl_step_error_name(child->error));
    fail(node, child->error, message);
}

/* What the last step of a scope gave; JSON null when it was skipped. */
static json_t *last_value(const sl_scope *scope)
{
    json_t *value = scope->node_count ? scope->nodes[scope->node_count - 1].value : NULL;
    return value ? json_incref(value) : json_null();
}

/* The texts of values, a line each. */
static json_t *joined_text(json_t *values)
{
    sl_buf text;
    sl_buf_init(&text, SL_FLOW_MAX_RESULT_BYTES);
    sl_flow_work work = {.steps = UINT64_MAX, .bytes = SL_FLOW_MAX_RESULT_BYTES};
    int error = 0;
    for (size_t i = 0; i < json_array_size(values) && !error; i++) {
        json_t *one = sl_output_text(json_array_get(values, i));
        if (i)
            error = sl_buf_put_char(&text, '\n');
        if (!error && one)
            error = sl_flow_put_text(&work, &text, one);
    }
    json_t *joined = error ? NULL : json_stringn(text.len ? text.data : "", text.len);
    sl_buf_done(&text);
    return joined;
}

static void end_parallel(sl_node *node, sl_scope *scope)
{
    json_t *values = json_array(), *extra = json_object();
    for (size_t i = 0; i < scope->node_count; i++) {
        json_t *value = scope->nodes[i].value;
        (void)json_array_append_new(values, value ? json_incref(value) : json_null());
        if (value)
            (void)json_object_set(extra, sl_node_step(&scope->nodes[i])->id, value);
    }
    (void)json_object_set(extra, "results", values);
    json_t *results = sl_node_step(node)->output_count > 1 ? json_incref(values) : json_pack("[O]", values);
    json_t *text = joined_text(values);
    json_decref(values);
    if (sl_node_step(node)->output_count > 1) { /* by position: the steps, and not under their usual name */
        json_t *named = json_object();
        for (size_t i = 0; i < json_array_size(results) && i < sl_node_step(node)->output_count; i++)
            (void)json_object_set(named, sl_node_step(node)->outputs[i], json_array_get(results, i));
        (void)json_object_update(extra, named);
        json_decref(named);
        json_decref(results);
        results = json_array();
    }
    succeed(node, results, extra, text);
}

static void end_branch(sl_node *node, sl_scope *scope)
{
    json_t *value = last_value(scope);
    json_t *text = sl_output_text(value);
    succeed(node, json_pack("[o]", value), json_pack("{s:s}", "branch", scope->plan->block->name), json_incref(text));
}

/* ---- parallel and branch ---- */

static size_t whole_param(const sl_node *node, const char *key, size_t otherwise)
{
    json_t *value = json_object_get(node->attempt.params, key);
    return json_is_integer(value) && json_integer_value(value) > 0 ? (size_t)json_integer_value(value) : otherwise;
}

static void begin_parallel(sl_node *node)
{
    sl_scope *around = node->scope;
    sl_scope *scope = open_scope(node, &node->plan->blocks[0], json_incref(around->context), ".");
    if (!scope) {
        fail(node, SL_STEP_ERROR_TOO_BIG, "the run has too many steps, or memory ran out");
        return;
    }
    scope->limit = whole_param(node, "max_concurrency", 0);
    if (scope->left)
        sl_scope_begin(scope);
    else
        end_parallel(node, scope);
}

static const sl_block_plan *block_named(const sl_node *node, sl_str name)
{
    for (size_t i = 0; i < sl_node_step(node)->block_count; i++) {
        if (sl_str_eq_c(name, node->plan->blocks[i].block->name))
            return &node->plan->blocks[i];
    }
    return NULL;
}

static int choose(sl_node *node, const sl_block_plan **ret_plan, sl_flow_fault *fault)
{
    const sl_step *step = sl_node_step(node);
    sl_str name = SL_STR("");
    bool holds = false;
    if (step->chooser) {
        int error = sl_condition_eval(step->chooser, node->scope->context, &holds, fault);
        if (error)
            return error;
        name = holds ? SL_STR("true") : SL_STR("false");
    } else {
        json_t *text = sl_flow_plain(json_object_get(node->attempt.params, "condition"));
        if (json_is_string(text))
            name = sl_str_of(json_string_value(text), json_string_length(text));
        else if (json_is_boolean(text))
            name = json_is_true(text) ? SL_STR("true") : SL_STR("false");
        while (name.len && (unsigned char)name.ptr[0] <= ' ')
            name = sl_str_sub(name, 1, name.len);
        while (name.len && (unsigned char)name.ptr[name.len - 1] <= ' ')
            name.len--;
    }
    const sl_block_plan *plan = block_named(node, name);
    *ret_plan = plan ? plan : block_named(node, SL_STR("default"));
    return 0;
}

static void begin_branch(sl_node *node)
{
    const sl_block_plan *plan = NULL;
    sl_flow_fault fault = {0};
    int error = choose(node, &plan, &fault);
    if (error) {
        fail(node, SL_STEP_ERROR_TEMPLATE, fault.message[0] ? fault.message : sl_strerror(error));
        return;
    }
    if (!plan || !plan->block->step_count) {
        const char *name = plan ? plan->block->name : NULL;
        succeed(node, json_pack("[n]"), json_pack("{s:s?}", "branch", name), json_string(""));
        return;
    }
    sl_scope *scope = open_scope(node, plan, json_incref(node->scope->context), ".");
    if (scope)
        sl_scope_begin(scope);
    else
        fail(node, SL_STEP_ERROR_TOO_BIG, "the run has too many steps, or memory ran out");
}

/* ---- loop ---- */

/* A list, or a text that is the JSON of one. NULL: neither. */
static json_t *items_of(const sl_node *node)
{
    json_t *items = sl_flow_plain(json_object_get(node->attempt.params, "items"));
    if (json_is_array(items))
        return json_incref(items);
    if (!json_is_string(items))
        return NULL;
    json_t *parsed = json_loadb(json_string_value(items), json_string_length(items), 0, NULL);
    if (json_is_array(parsed))
        return parsed;
    json_decref(parsed);
    return NULL;
}

/* Begins a round. False: it cannot, and the loop has been failed. */
static bool begin_round(sl_node *node)
{
    size_t round = node->next_round++;
    json_t *item = json_array_get(node->items, round);
    json_t *context = sl_context_round(node->scope, item, round);
    const char *as = json_string_value(json_object_get(node->attempt.params, "as"));
    if (context && as)
        (void)json_object_set(context, as, item);
    char end[32];
    (void)snprintf(end, sizeof end, "[%zu].", round);
    sl_scope *scope = open_scope(node, &node->plan->blocks[0], context, end);
    if (!scope) {
        sl_block_cancel(node, "the run has too many steps");
        if (node->phase == SL_NODE_DONE)
            return false; /* whoever was told of a child's end cancelled the run */
        fail(node, SL_STEP_ERROR_TOO_BIG, "the run has too many steps, or memory ran out");
        return false;
    }
    scope->round = round;
    node->rounds_running++;
    sl_scope_begin(scope);
    return true;
}

static sl_node *failed_child(const sl_node *node)
{
    for (const sl_scope *scope = node->scopes; scope; scope = scope->next) {
        if (scope->failed)
            return scope->failed;
    }
    return NULL;
}

/* Begins what may begin; ends the loop when nothing is left. */
static void advance(sl_node *node)
{
    const sl_node *failed = failed_child(node);
    size_t count = failed ? 0 : json_array_size(node->items);
    while (node->next_round < count && node->rounds_running < node->round_limit) {
        if (!begin_round(node))
            return;
    }
    if (node->rounds_running)
        return;
    if (failed) {
        fail_by(node, failed);
        return;
    }
    json_t *values = json_incref(node->round_values);
    json_t *text = joined_text(values);
    json_int_t rounds = (json_int_t)json_array_size(values);
    succeed(node, json_pack("[o]", values), json_pack("{s:I}", "count", rounds), text);
}

static void begin_loop(sl_node *node)
{
    node->items = items_of(node);
    node->round_values = json_array();
    size_t count = json_array_size(node->items), max = whole_param(node, "max_iterations", DEFAULT_MAX_ROUNDS);
    if (!node->items || !node->round_values) {
        fail(node, SL_STEP_ERROR_INPUT, "items: not a list");
        return;
    }
    if (count > max) {
        char message[128];
        (void)snprintf(message, sizeof message, "items: %zu, more than max_iterations (%zu)", count, max);
        fail(node, SL_STEP_ERROR_TOO_BIG, message);
        return;
    }
    for (size_t i = 0; i < count; i++)
        (void)json_array_append_new(node->round_values, json_null());
    node->round_limit = whole_param(node, "max_concurrency", 1);
    if (!node->plan->blocks[0].block->step_count)
        node->next_round = count;
    advance(node);
}

/* ---- what the executor calls ---- */

void sl_block_begin(sl_node *node)
{
    SL_ASSERT(node->phase == SL_NODE_WAITING && !node->scopes);
    node->attempt.attempt++;
    if (!sl_node_start(node))
        return;
    sl_flow_fault fault = {0};
    int error = 0;
    if (!node->attempt.params)
        error = sl_step_render(sl_node_step(node), node->scope->context, &node->attempt.params, &fault);
    if (error) {
        node->attempt.params = NULL;
        fail(node, error == SL_ETOOBIG ? SL_STEP_ERROR_TOO_BIG : SL_STEP_ERROR_TEMPLATE,
             fault.message[0] ? fault.message : sl_strerror(error));
        return;
    }
    node->phase = SL_NODE_HOLDING;
    sl_node_set_timeout(node);
    if (sl_node_step(node)->type == SL_STEP_PARALLEL)
        begin_parallel(node);
    else if (sl_node_step(node)->type == SL_STEP_BRANCH)
        begin_branch(node);
    else
        begin_loop(node);
}

static void round_ended(sl_node *node, sl_scope *scope)
{
    SL_ASSERT(node->rounds_running > 0);
    node->rounds_running--;
    if (!scope->failed) {
        (void)json_array_set_new(node->round_values, scope->round, last_value(scope));
        close_scope(node, scope);
    }
    advance(node);
}

void sl_block_scope_ended(sl_node *node, sl_scope *scope)
{
    SL_ASSERT(node->phase == SL_NODE_HOLDING && scope->left == 0);
    if (sl_node_step(node)->type == SL_STEP_LOOP)
        round_ended(node, scope);
    else if (scope->failed)
        fail_by(node, scope->failed);
    else if (sl_node_step(node)->type == SL_STEP_PARALLEL)
        end_parallel(node, scope);
    else
        end_branch(node, scope);
}

static void restore_block(sl_node *node, const sl_flow_block *block, const char *prefix)
{
    for (size_t i = 0; i < block->step_count; i++) {
        const sl_step *step = &block->steps[i];
        char path[SL_FLOW_MAX_PATH];
        int len = snprintf(path, sizeof path, "%s%s", prefix, step->id);
        json_t *value = json_object_get(json_object_get(sl_node_run(node)->resume, path), "value");
        if (value)
            (void)sl_scope_bind(node->scope, step, value);
        if (step->type == SL_STEP_LOOP || len < 0 || (size_t)len + 2 > sizeof path)
            continue;
        memcpy(path + len, ".", 2);
        for (size_t b = 0; b < step->block_count; b++)
            restore_block(node, &step->blocks[b], path);
    }
}

void sl_block_restore_children(sl_node *node)
{
    if (sl_node_step(node)->type == SL_STEP_LOOP)
        return;
    char *prefix = prefix_of(node, ".");
    for (size_t b = 0; prefix && b < sl_node_step(node)->block_count; b++)
        restore_block(node, &sl_node_step(node)->blocks[b], prefix);
    sl_free(prefix);
}
