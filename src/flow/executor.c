/*
 * The scheduler: lists of nodes and runs, places (limits), and the pump that moves them on.
 *
 * Nobody waits in order behind a node that cannot begin: what waits for a place of its scope or of its run waits there,
 * not in the common list.
 */
#include "src/flow/executor.h"

#include "src/base/clock.h"
#include "src/flow/executor_impl.h"
#include "src/flow/flow_telemetry.h"

/* ---- lists ---- */

void sl_node_push(sl_node_list *list, sl_node *node)
{
    SL_ASSERT(list && !node->list && node->phase != SL_NODE_DONE);
    node->list = list;
    node->phase = SL_NODE_LISTED;
    node->next = NULL;
    node->prev = list->last;
    if (list->last)
        list->last->next = node;
    else
        list->first = node;
    list->last = node;
    list->count++;
}

void sl_node_unlink(sl_node *node)
{
    sl_node_list *list = node->list;
    if (!list)
        return;
    SL_ASSERT(list->count > 0);
    *(node->prev ? &node->prev->next : &list->first) = node->next;
    *(node->next ? &node->next->prev : &list->last) = node->prev;
    list->count--;
    node->list = NULL;
    node->prev = node->next = NULL;
    node->phase = SL_NODE_WAITING;
}

sl_node *sl_node_pop(sl_node_list *list)
{
    sl_node *node = list->first;
    if (node)
        sl_node_unlink(node);
    return node;
}

void sl_run_push(sl_run_list *list, sl_flow_run *run)
{
    SL_ASSERT(!run->prev && !run->next);
    run->prev = list->last;
    if (list->last)
        list->last->next = run;
    else
        list->first = run;
    list->last = run;
    list->count++;
}

void sl_run_unlink(sl_run_list *list, sl_flow_run *run)
{
    SL_ASSERT(list->count > 0);
    *(run->prev ? &run->prev->next : &list->first) = run->next;
    *(run->next ? &run->next->prev : &list->last) = run->prev;
    run->prev = run->next = NULL;
    list->count--;
}

/* ---- places ---- */

static bool take_scope(sl_node *node)
{
    sl_scope *scope = node->scope;
    if (node->places & SL_PLACE_SCOPE)
        return true;
    if (scope->limit && scope->active >= scope->limit) {
        sl_node_push(&scope->parked, node);
        return false;
    }
    scope->active++;
    node->places |= SL_PLACE_SCOPE;
    return true;
}

static bool take_run(sl_node *node)
{
    sl_flow_run *run = sl_node_run(node);
    SL_ASSERT(!(node->places & SL_PLACE_RUN));
    if (run->active >= run->limit) {
        sl_node_push(&run->parked, node);
        return false;
    }
    run->active++;
    node->places |= SL_PLACE_RUN;
    return true;
}

void sl_node_admit(sl_node *node)
{
    SL_ASSERT(node->phase == SL_NODE_WAITING && !node->list);
    if (!take_scope(node))
        return;
    if (sl_node_has_blocks(node))
        sl_block_begin(node);
    else if (take_run(node))
        sl_node_push(&sl_node_executor(node)->ready, node);
}

void sl_node_leave(sl_node *node, unsigned places)
{
    sl_scope *scope = node->scope;
    sl_flow_run *run = scope->run;
    places &= node->places;
    node->places &= ~places;
    if (places & SL_PLACE_TOTAL)
        run->executor->active--;
    if (places & SL_PLACE_RUN) {
        run->active--;
        sl_node *next = sl_node_pop(&run->parked);
        if (next && take_run(next))
            sl_node_push(&run->executor->ready, next);
    }
    if (places & SL_PLACE_SCOPE) {
        scope->active--;
        sl_node *next = sl_node_pop(&scope->parked);
        if (next)
            sl_node_push(&run->executor->fresh, next);
    }
}

/* ---- the pump ---- */

/* The run that was to be cancelled while one of its steps was speaking. */
static void cancel_asked(sl_executor *executor)
{
    sl_flow_run *run = executor->running.first;
    while (run && !run->cancel_asked)
        run = run->next;
    SL_ASSERT(run);
    sl_run_abort(run, SL_RUN_CANCELLED, SL_STEP_ERROR_CANCELLED, "the run was cancelled");
}

/* One piece of work. False: there is none that can be done now. */
static bool pump_one(sl_executor *executor)
{
    if (executor->cancels_asked) {
        cancel_asked(executor);
        return true;
    }
    sl_node *node;
    void (*work)(sl_node *) = NULL;
    if ((node = sl_node_pop(&executor->ended)))
        work = sl_node_settle;
    else if ((node = sl_node_pop(&executor->fresh)))
        work = sl_node_consider;
    else if (executor->active < executor->options.max_concurrency && (node = sl_node_pop(&executor->ready)))
        work = sl_node_try;
    if (work) {
        sl_flow_run *run = sl_flow_run_ref(sl_node_run(node));
        work(node);
        sl_flow_run_unref(run);
        return true;
    }
    sl_flow_run *run = executor->queued.first;
    if (!run || executor->running.count >= executor->options.max_runs)
        return false;
    sl_run_unlink(&executor->queued, run);
    sl_run_push(&executor->running, run);
    sl_flow_run_ref(run);
    sl_run_begin(run);
    sl_flow_run_unref(run);
    return true;
}

static void on_idle(uv_idle_t *idle)
{
    sl_executor_pump(idle->data);
}

static void set_idle(sl_executor *executor, bool on)
{
    if (executor->idle_on == on || executor->closed)
        return;
    executor->idle_on = on;
    if (on)
        (void)uv_idle_start(&executor->idle, on_idle);
    else
        (void)uv_idle_stop(&executor->idle);
}

void sl_executor_pump(sl_executor *executor)
{
    SL_ASSERT(executor);
    if (executor->pumping || executor->closed)
        return;
    executor->pumping = true;
    unsigned left = SL_FLOW_TURN_STEPS;
    bool more = true;
    while (left > 0 && more && !executor->closed) {
        more = pump_one(executor);
        left--;
    }
    executor->pumping = false;
    set_idle(executor, more);
}

/* The next turn of the loop works. */
void sl_executor_wake(sl_executor *executor)
{
    if (!executor->pumping)
        set_idle(executor, true);
}

/* ---- life ---- */

static void set_defaults(sl_executor_options *o)
{
    if (!o->kinds)
        o->kinds = sl_step_kinds;
    if (!o->max_concurrency)
        o->max_concurrency = SL_FLOW_DEFAULT_TOTAL;
    if (!o->max_runs)
        o->max_runs = SL_FLOW_DEFAULT_RUNS;
    if (!o->max_queued)
        o->max_queued = SL_FLOW_DEFAULT_QUEUED;
    if (!o->max_result_bytes)
        o->max_result_bytes = SL_FLOW_MAX_RESULT_BYTES;
}

int sl_executor_new(const sl_executor_options *options, sl_executor **ret_executor)
{
    if (!options || !options->services || !options->services->loop || !ret_executor)
        return SL_EINVAL;
    sl_executor *executor = sl_calloc(1, sizeof *executor);
    if (!executor)
        return SL_ENOMEM;
    executor->options = *options;
    set_defaults(&executor->options);
    executor->loop = options->services->loop;
    if (options->seed)
        sl_rng_init_seed(&executor->rng, options->seed);
    else
        sl_rng_init(&executor->rng);
    executor->meter = sl_flow_meter_new(options->services->sdk);
    if (!executor->meter) {
        sl_free(executor);
        return SL_ENOMEM;
    }
    (void)uv_idle_init(&executor->loop->uv, &executor->idle);
    executor->idle.data = executor;
    *ret_executor = executor;
    return 0;
}

void sl_executor_close(sl_executor *executor, bool keep_running)
{
    if (!executor || executor->closing)
        return;
    executor->closing = true;
    sl_run_list *lists[] = {&executor->running, &executor->queued};
    for (size_t i = 0; i < 2; i++) {
        while (lists[i]->first) {
            sl_flow_run *run = lists[i]->first;
            run->keep = keep_running;
            sl_run_abort(run, SL_RUN_CANCELLED, SL_STEP_ERROR_CANCELLED, "the executor was stopped");
        }
    }
    set_idle(executor, false);
    executor->closed = true;
    uv_close((uv_handle_t *)&executor->idle, NULL);
}

void sl_executor_free(sl_executor *executor)
{
    if (!executor)
        return;
    SL_ASSERT(executor->closed && !executor->running.count && !executor->queued.count);
    SL_ASSERT(!executor->ended.count && !executor->fresh.count && !executor->ready.count);
    sl_flow_plans_drop(executor);
    SL_ASSERT(!executor->plan_count);
    sl_flow_meter_free(executor->meter);
    sl_free(executor);
}

void sl_executor_get_stats(const sl_executor *executor, sl_executor_stats *ret_stats)
{
    SL_ASSERT(executor && ret_stats);
    sl_executor_stats stats = {.running = executor->running.count,
                               .queued = executor->queued.count,
                               .active = executor->active,
                               .waiting = executor->ready.count,
                               .runs_ended = executor->runs_ended,
                               .steps_ended = executor->steps_ended};
    for (const sl_flow_run *run = executor->running.first; run; run = run->next)
        stats.waiting += run->parked.count;
    *ret_stats = stats;
}
