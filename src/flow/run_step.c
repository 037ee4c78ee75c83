/* One node's way: considered, tried, settled, tried again, ended; and what the kinds of steps call. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "src/base/clock.h"
#include "src/flow/executor_impl.h"
#include "src/flow/flow_telemetry.h"
#include "src/flow/run_record.h"

#define MAX_RETRY_AFTER_MS 3600000u
#define JITTER 0.25

/* ---- before the first try ---- */

/* What an earlier life of the run has of this step. NULL: nothing that can be taken. */
static json_t *remembered(const sl_node *node, sl_step_status *ret_status)
{
    json_t *resume = sl_node_run(node)->resume;
    if (!resume)
        return NULL;
    char text[SL_FLOW_MAX_PATH];
    json_t *step = json_object_get(resume, sl_node_path(node, text));
    const char *status = json_string_value(json_object_get(step, "status"));
    if (!status)
        return NULL;
    *ret_status = strcmp(status, "succeeded") == 0 ? SL_STEP_SUCCEEDED
                  : strcmp(status, "skipped") == 0 ? SL_STEP_SKIPPED
                                                   : SL_STEP_WAITING;
    return *ret_status == SL_STEP_WAITING ? NULL : step;
}

static bool restore(sl_node *node)
{
    sl_step_status status;
    json_t *step = remembered(node, &status);
    if (!step)
        return false;
    node->attempt.attempt = (unsigned)json_integer_value(json_object_get(step, "attempts"));
    if (status == SL_STEP_SUCCEEDED) /* one that was skipped gave nothing, and null is something */
        node->value = json_object_get(step, "value") ? json_incref(json_object_get(step, "value")) : json_null();
    node->phase = SL_NODE_WAITING;
    if (status == SL_STEP_SUCCEEDED && sl_node_has_blocks(node))
        sl_block_restore_children(node);
    node->restored = true;
    sl_node_end(node, status, SL_STEP_ERROR_NONE, "");
    return true;
}

/* True when the node goes on; else it has ended. */
static bool condition_holds(sl_node *node)
{
    const sl_step *step = sl_node_step(node);
    if (!step->condition)
        return true;
    sl_flow_fault fault = {0};
    bool holds = false;
    int error = sl_condition_eval(step->condition, node->scope->context, &holds, &fault);
    if (error)
        sl_node_end(node, SL_STEP_FAILED, error == SL_ETOOBIG ? SL_STEP_ERROR_TOO_BIG : SL_STEP_ERROR_TEMPLATE,
                    fault.message[0] ? fault.message : sl_strerror(error));
    else if (!holds)
        sl_node_end(node, SL_STEP_SKIPPED, SL_STEP_ERROR_NONE, "");
    return !error && holds;
}

void sl_node_consider(sl_node *node)
{
    SL_ASSERT(node->phase == SL_NODE_WAITING && !node->unfinished);
    if (!node->considered) {
        if (node->blocker) {
            char why[SL_FLOW_ERROR_BYTES];
            (void)snprintf(why, sizeof why, "not run: step %s failed", node->blocker->attempt.step->id);
            sl_node_end(node, SL_STEP_CANCELLED, SL_STEP_ERROR_CANCELLED, why);
            return;
        }
        if (restore(node) || !condition_holds(node))
            return;
        node->considered = true;
    }
    sl_node_admit(node);
}

/* ---- a try ---- */

bool sl_node_start(sl_node *node)
{
    sl_flow_run *run = sl_node_run(node);
    node->status = SL_STEP_RUNNING;
    node->try_mono_ns = sl_mono_ns();
    if (node->started)
        return true;
    node->started = true;
    node->start_mono_ns = node->try_mono_ns;
    sl_flow_tell_step_started(node);
    if (sl_run_is_quiet(run))
        return true;
    char path[SL_FLOW_MAX_PATH];
    sl_flow_event event = {.kind = SL_FLOW_STEP_STARTED,
                           .step = sl_node_step(node),
                           .path = sl_node_path(node, path),
                           .step_status = SL_STEP_RUNNING,
                           .attempts = 1,
                           .message = ""};
    sl_run_emit(run, &event);
    return run->status == SL_RUN_RUNNING;
}

static void on_try_timeout(sl_timer *timer)
{
    sl_node *node = (sl_node *)(void *)((char *)timer - offsetof(sl_node, timer));
    sl_executor *executor = sl_node_executor(node);
    const sl_step *step = sl_node_step(node);
    if (node->answered)
        return; /* it is in the list of what is to be settled */
    SL_ASSERT(node->phase == SL_NODE_TRYING || node->phase == SL_NODE_HOLDING);
    sl_flow_run *run = sl_flow_run_ref(sl_node_run(node));
    char message[128];
    (void)snprintf(message, sizeof message, "timed out after %.3g s", (double)step->timeout_ms / 1e3);
    if (node->phase == SL_NODE_HOLDING)
        sl_block_cancel(node, message);
    else
        executor->options.kinds[step->type]->cancel(&node->attempt);
    if (run->status == SL_RUN_RUNNING) {
        sl_node_leave(node, SL_PLACE_TOTAL | SL_PLACE_RUN);
        node->phase = SL_NODE_WAITING;
        sl_flow_tell_try_ended(node, SL_STEP_ERROR_TIMEOUT);
        sl_node_failed(node, SL_STEP_ERROR_TIMEOUT, message);
    }
    sl_flow_run_unref(run);
    sl_executor_pump(executor);
}

void sl_node_set_timeout(sl_node *node)
{
    uint64_t ms = sl_node_step(node)->timeout_ms;
    if (ms)
        sl_timer_set(sl_node_executor(node)->loop, &node->timer, on_try_timeout, ms);
}

/* The parameters are rendered once: every try does the same. */
static bool render(sl_node *node)
{
    if (node->attempt.params)
        return true;
    sl_flow_fault fault = {0};
    int error = sl_step_render(sl_node_step(node), node->scope->context, &node->attempt.params, &fault);
    if (!error)
        return true;
    node->attempt.params = NULL;
    sl_node_leave(node, SL_PLACE_TOTAL | SL_PLACE_RUN);
    sl_node_failed(node, error == SL_ETOOBIG ? SL_STEP_ERROR_TOO_BIG : SL_STEP_ERROR_TEMPLATE,
                   fault.message[0] ? fault.message : sl_strerror(error));
    return false;
}

void sl_node_try(sl_node *node)
{
    sl_executor *executor = sl_node_executor(node);
    SL_ASSERT(node->phase == SL_NODE_WAITING && executor->pumping);
    SL_ASSERT((node->places & SL_PLACE_RUN) && !(node->places & SL_PLACE_TOTAL));
    executor->active++;
    node->places |= SL_PLACE_TOTAL;
    node->attempt.attempt++;
    node->attempt.retry_after_ms = 0;
    node->attempt.data = NULL;
    if (!sl_node_start(node) || !render(node))
        return;
    const sl_step_kind *kind = executor->options.kinds[sl_node_step(node)->type];
    node->phase = SL_NODE_TRYING;
    node->answered = false;
    if (!kind) {
        sl_step_fail(&node->attempt, SL_STEP_ERROR_INTERNAL, "steps of type %s cannot run here",
                     sl_step_type_name(sl_node_step(node)->type));
        return;
    }
    sl_node_set_timeout(node);
    sl_flow_tell_try_started(node);
    sl_span *previous = sl_span_attach(node->attempt.span);
    kind->start(&node->attempt);
    (void)sl_span_attach(previous);
}

/* ---- what kinds call ---- */

static void answered(sl_node *node)
{
    sl_executor *executor = sl_node_executor(node);
    node->answered = true;
    node->phase = SL_NODE_WAITING;
    sl_timer_rest(&node->timer);
    sl_node_push(&executor->ended, node);
    sl_executor_pump(executor);
}

void sl_step_succeed(sl_step_try *attempt, json_t *results, json_t *extra, json_t *as_text)
{
    sl_node *node = (sl_node *)attempt;
    SL_ASSERT(node->phase == SL_NODE_TRYING && !node->answered);
    node->outcome = SL_STEP_ERROR_NONE;
    node->results = results;
    node->extra = extra;
    node->text = as_text;
    answered(node);
}

void sl_step_fail(sl_step_try *attempt, sl_step_error error, const char *format, ...)
{
    sl_node *node = (sl_node *)attempt;
    SL_ASSERT(node->phase == SL_NODE_TRYING && !node->answered && error != SL_STEP_ERROR_NONE);
    char message[SL_FLOW_ERROR_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    sl_free(node->message);
    node->message = sl_strndup(message, sl_flow_mend(message));
    node->outcome = error;
    answered(node);
}

void sl_step_add_usage(sl_step_try *attempt, const sl_step_usage *usage)
{
    SL_ASSERT(attempt && usage);
    sl_node *node = (sl_node *)attempt;
    sl_step_usage *sums[] = {&node->usage, &sl_node_run(node)->usage};
    for (size_t i = 0; i < 2; i++) {
        sums[i]->input_tokens += usage->input_tokens;
        sums[i]->output_tokens += usage->output_tokens;
        sums[i]->cost_usd += usage->cost_usd;
        sums[i]->cost_known |= usage->cost_known;
    }
    sl_flow_tell_usage(node, usage);
}

void sl_step_emit(sl_step_try *attempt, const char *name, json_t *data)
{
    SL_ASSERT(attempt && name);
    sl_node *node = (sl_node *)attempt;
    sl_flow_run *run = sl_node_run(node);
    SL_ASSERT(node->phase == SL_NODE_TRYING);
    if (!sl_run_is_quiet(run)) {
        char path[SL_FLOW_MAX_PATH];
        sl_flow_event event = {.kind = SL_FLOW_STEP_EMITTED,
                               .step = attempt->step,
                               .path = sl_node_path(node, path),
                               .step_status = SL_STEP_RUNNING,
                               .attempts = attempt->attempt,
                               .message = "",
                               .name = name,
                               .data = data};
        run->emitting = true;
        sl_run_emit(run, &event);
        run->emitting = false;
    }
    json_decref(data);
}

/* ---- after a try ---- */

void sl_node_settle(sl_node *node)
{
    SL_ASSERT(node->answered && node->phase == SL_NODE_WAITING);
    node->answered = false;
    sl_node_leave(node, SL_PLACE_TOTAL | SL_PLACE_RUN);
    sl_flow_tell_try_ended(node, node->outcome);
    if (node->outcome != SL_STEP_ERROR_NONE) {
        char *message = node->message;
        node->message = NULL;
        sl_node_failed(node, node->outcome, message ? message : "out of memory");
        sl_free(message);
        return;
    }
    json_t *results = node->results, *extra = node->extra, *text = node->text;
    node->results = node->extra = node->text = NULL;
    size_t max = sl_node_executor(node)->options.max_result_bytes;
    int error = sl_output_value(sl_node_step(node), results, extra, text, max, &node->value);
    if (!error) {
        sl_node_end(node, SL_STEP_SUCCEEDED, SL_STEP_ERROR_NONE, "");
        return;
    }
    char message[128];
    (void)snprintf(message, sizeof message,
                   error == SL_ETOOBIG ? "the results are larger than %zu bytes" : "out of memory", max);
    sl_node_failed(node, error == SL_ETOOBIG ? SL_STEP_ERROR_TOO_BIG : SL_STEP_ERROR_INTERNAL, message);
}

/* ---- further tries ---- */

struct sl_delay {
    uv_timer_t timer;
    sl_node *node; /* NULL: not wanted any more */
};

static void on_delay_closed(uv_handle_t *handle)
{
    sl_free(handle->data);
}

static void end_delay(sl_node *node)
{
    sl_delay *delay = node->delay;
    if (!delay)
        return;
    node->delay = NULL;
    delay->node = NULL;
    uv_close((uv_handle_t *)&delay->timer, on_delay_closed);
}

static void on_delay(uv_timer_t *timer)
{
    sl_delay *delay = timer->data;
    sl_node *node = delay->node;
    SL_ASSERT(node && node->phase == SL_NODE_BACKING_OFF);
    sl_executor *executor = sl_node_executor(node);
    end_delay(node);
    node->phase = SL_NODE_WAITING;
    sl_node_push(&executor->fresh, node);
    sl_executor_pump(executor);
}

/* Delay behind try number `tried`, without what the peer asked for. */
static uint64_t backoff_ms(const sl_flow_retry *retry, unsigned tried, sl_rng *rng)
{
    double delay = retry->initial_delay_ms;
    if (retry->backoff == SL_BACKOFF_EXPONENTIAL)
        delay = ldexp(delay, (int)(tried - 1 < 64 ? tried - 1 : 64));
    else if (retry->backoff == SL_BACKOFF_LINEAR)
        delay *= tried;
    if (delay > retry->max_delay_ms)
        delay = retry->max_delay_ms;
    delay *= 1 - JITTER + 2 * JITTER * sl_rng_double(rng);
    return (uint64_t)(delay > retry->max_delay_ms ? retry->max_delay_ms : delay);
}

static bool back_off(sl_node *node, sl_step_error error, const char *message)
{
    const sl_flow_retry *retry = &sl_node_step(node)->retry;
    sl_executor *executor = sl_node_executor(node);
    bool worth = sl_step_error_retries(error) || retry->also & (1u << error);
    if (!worth || node->attempt.attempt > retry->max_attempts)
        return false;
    sl_delay *delay = sl_calloc(1, sizeof *delay);
    if (!delay)
        return false;
    uint64_t ms = backoff_ms(retry, node->attempt.attempt, &executor->rng);
    if (node->attempt.retry_after_ms)
        ms = node->attempt.retry_after_ms < MAX_RETRY_AFTER_MS ? node->attempt.retry_after_ms : MAX_RETRY_AFTER_MS;
    delay->node = node;
    delay->timer.data = delay;
    (void)uv_timer_init(&executor->loop->uv, &delay->timer);
    (void)uv_timer_start(&delay->timer, on_delay, ms, 0);
    node->delay = delay;
    node->phase = SL_NODE_BACKING_OFF;
    node->status = SL_STEP_BACKING_OFF;
    sl_block_clear(node);
    sl_flow_tell_step_retried(node, error, message, ms);
    if (sl_run_is_quiet(sl_node_run(node)))
        return true;
    char path[SL_FLOW_MAX_PATH];
    sl_flow_event event = {.kind = SL_FLOW_STEP_RETRIED,
                           .step = sl_node_step(node),
                           .path = sl_node_path(node, path),
                           .step_status = SL_STEP_BACKING_OFF,
                           .attempts = node->attempt.attempt,
                           .delay_ms = ms,
                           .error = error,
                           .message = message};
    sl_run_emit(sl_node_run(node), &event);
    return true;
}

void sl_node_failed(sl_node *node, sl_step_error error, const char *message)
{
    SL_ASSERT(error != SL_STEP_ERROR_NONE && message);
    sl_timer_stop(sl_node_executor(node)->loop, &node->timer);
    if (!back_off(node, error, message))
        sl_node_end(node, SL_STEP_FAILED, error, message);
}

/* ---- the end ---- */

static void emit_end(sl_node *node)
{
    sl_flow_run *run = sl_node_run(node);
    if (sl_run_is_quiet(run) || node->restored)
        return;
    char path[SL_FLOW_MAX_PATH];
    json_t *outputs = sl_output_public(sl_node_step(node), node->value);
    sl_flow_event event = {.kind = SL_FLOW_STEP_ENDED,
                           .step = sl_node_step(node),
                           .path = sl_node_path(node, path),
                           .step_status = node->status,
                           .attempts = node->attempt.attempt,
                           .duration_ns = node->start_mono_ns ? node->end_mono_ns - node->start_mono_ns : 0,
                           .error = node->error,
                           .message = node->message ? node->message : "",
                           .outputs = outputs,
                           .value = node->value,
                           .usage = node->usage};
    if (run->durable && !run->keep)
        sl_run_record_step(node, event.path);
    sl_run_emit(run, &event);
    json_decref(outputs);
}

/* Status and last words of a node; it is in no list and holds no place any more. */
static void conclude(sl_node *node, sl_step_status status, sl_step_error error, const char *message)
{
    SL_ASSERT(node->phase != SL_NODE_DONE && status >= SL_STEP_SUCCEEDED);
    sl_executor *executor = sl_node_executor(node);
    sl_node_unlink(node);
    end_delay(node);
    sl_timer_stop(executor->loop, &node->timer);
    sl_node_leave(node, SL_PLACE_TOTAL | SL_PLACE_RUN | SL_PLACE_SCOPE);
    node->phase = SL_NODE_DONE;
    node->status = status;
    node->error = error;
    node->end_mono_ns = node->started ? sl_mono_ns() : 0;
    sl_llm_client_leave(node->attempt.llm);
    node->attempt.llm = NULL;
    sl_free(node->message);
    node->message = message[0] ? sl_strndup(message, sl_utf8_whole(sl_str_c(message))) : NULL;
    executor->steps_ended++;
    sl_flow_tell_step_ended(node);
    emit_end(node);
}

static void release_dependents(sl_node *node)
{
    sl_scope *scope = node->scope;
    bool bad = node->status == SL_STEP_FAILED || node->status == SL_STEP_CANCELLED;
    for (size_t i = 0; i < node->plan->dependent_count; i++) {
        sl_node *next = &scope->nodes[node->plan->dependents[i]];
        SL_ASSERT(next->unfinished > 0 && next->phase == SL_NODE_WAITING);
        if (bad && !next->blocker)
            next->blocker = node->blocker ? node->blocker : node;
        if (--next->unfinished == 0)
            sl_node_push(&scope->run->executor->fresh, next);
    }
}

static void scope_ended(sl_scope *scope)
{
    sl_flow_run *run = scope->run;
    if (scope->owner) {
        sl_block_scope_ended(scope->owner, scope);
        return;
    }
    const sl_node *failed = scope->failed;
    if (!failed) {
        sl_run_finish(run, SL_RUN_SUCCEEDED, SL_STEP_ERROR_NONE, "");
        return;
    }
    char message[SL_FLOW_ERROR_BYTES + 80];
    (void)snprintf(message, sizeof message, "step %s: %s", failed->attempt.step->id,
                   failed->message ? failed->message : sl_step_error_name(failed->error));
    sl_run_finish(run, SL_RUN_FAILED, failed->error, message);
}

void sl_node_end(sl_node *node, sl_step_status status, sl_step_error error, const char *message)
{
    sl_scope *scope = node->scope;
    sl_flow_run *run = scope->run;
    if (status == SL_STEP_SUCCEEDED && !sl_scope_bind(scope, sl_node_step(node), node->value)) {
        status = SL_STEP_FAILED;
        error = SL_STEP_ERROR_INTERNAL;
        message = "out of memory";
    }
    conclude(node, status, error, message);
    if (run->status != SL_RUN_RUNNING)
        return;
    if (status == SL_STEP_FAILED && !scope->failed)
        scope->failed = node;
    release_dependents(node);
    SL_ASSERT(scope->left > 0);
    if (--scope->left == 0)
        scope_ended(scope);
}

void sl_node_cancel(sl_node *node, const char *why)
{
    if (node->phase == SL_NODE_DONE)
        return;
    sl_executor *executor = sl_node_executor(node);
    if (node->phase == SL_NODE_TRYING) {
        const sl_step_kind *kind = executor->options.kinds[sl_node_step(node)->type];
        if (kind)
            kind->cancel(&node->attempt);
        sl_flow_tell_try_ended(node, SL_STEP_ERROR_CANCELLED);
    } else if (node->phase == SL_NODE_HOLDING) {
        sl_block_cancel(node, why);
        if (node->phase == SL_NODE_DONE)
            return; /* whoever was told of a child's end cancelled the run, and with it this node */
    }
    node->scope->left--;
    conclude(node, SL_STEP_CANCELLED, SL_STEP_ERROR_CANCELLED, why);
}
