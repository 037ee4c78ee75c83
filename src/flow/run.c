/*
 * A run from its acceptance to its end.
 *
 * The executor holds a reference until the end; whoever started it may hold another.
 */
#include <stdio.h>
#include <stdlib.h>

#include "src/base/clock.h"
#include "src/base/hash.h"
#include "src/flow/executor_impl.h"
#include "src/flow/flow_telemetry.h"
#include "src/flow/run_record.h"

const char *sl_run_status_name(sl_run_status status)
{
    static const char *const names[] = {"queued", "running", "succeeded", "failed", "cancelled"};
    SL_ASSERT((unsigned)status < sizeof names / sizeof *names);
    return names[status];
}

const char *sl_step_status_name(sl_step_status status)
{
    static const char *const names[] = {"waiting", "running", "retrying", "succeeded",
                                        "failed",  "skipped", "cancelled"};
    SL_ASSERT((unsigned)status < sizeof names / sizeof *names);
    return names[status];
}

/* ---- ids ---- */

void sl_flow_run_new_id(char ret_id[SL_FLOW_RUN_ID_BYTES])
{
    static _Thread_local sl_rng rng;
    static _Thread_local bool ready;
    if (!ready)
        sl_rng_init(&rng);
    ready = true;
    uint64_t ms = sl_now_ns() / 1000000, a = sl_rng_next(&rng), b = sl_rng_next(&rng);
    uint8_t bytes[16];
    for (unsigned i = 0; i < 6; i++)
        bytes[i] = (uint8_t)(ms >> (40 - 8 * i));
    memcpy(bytes + 6, &a, 2);
    memcpy(bytes + 8, &b, 8);
    bytes[6] = (uint8_t)(0x70 | (bytes[6] & 0x0f));
    bytes[8] = (uint8_t)(0x80 | (bytes[8] & 0x3f));
    char hex[32];
    sl_hex_encode(bytes, sizeof bytes, hex);
    (void)snprintf(ret_id, SL_FLOW_RUN_ID_BYTES, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
                   hex + 20);
}

static bool is_id(sl_str id)
{
    for (size_t i = 0; i < id.len; i++) {
        char c = sl_ascii_lower(id.ptr[i]);
        if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9') && c != '.' && c != '_' && c != ':' && c != '-')
            return false;
    }
    return id.len < SL_FLOW_RUN_ID_BYTES;
}

static sl_flow_run **bucket_of(sl_executor *executor, sl_str id)
{
    return &executor->by_id[sl_hash_str(id) % SL_FLOW_RUN_BUCKETS];
}

sl_flow_run *sl_flow_run_find(sl_executor *executor, sl_str run_id)
{
    SL_ASSERT(executor);
    sl_flow_run *run = *bucket_of(executor, run_id);
    while (run && !sl_str_eq_c(run_id, run->id))
        run = run->next_by_id;
    return run;
}

static void forget_id(sl_executor *executor, sl_flow_run *run)
{
    sl_flow_run **at = bucket_of(executor, sl_str_c(run->id));
    while (*at && *at != run)
        at = &(*at)->next_by_id;
    SL_ASSERT(*at == run);
    *at = run->next_by_id;
}

/* ---- references ---- */

sl_flow_run *sl_flow_run_ref(sl_flow_run *run)
{
    SL_ASSERT(run && run->refs > 0);
    run->refs++;
    return run;
}

static void run_free(sl_flow_run *run)
{
    SL_ASSERT(!run->span && !run->active && !run->parked.count);
    sl_scope_free(run->root);
    if (run->plan)
        sl_flow_plan_give(run->executor, run->plan);
    json_decref(run->inputs);
    json_decref(run->resume);
    sl_free(run->tracestate);
    sl_free(run);
}

void sl_flow_run_unref(sl_flow_run *run)
{
    if (!run)
        return;
    SL_ASSERT(run->refs > 0);
    if (--run->refs == 0)
        run_free(run);
}

/* ---- start ---- */

static int take_parent(sl_flow_run *run, const sl_span_context *parent)
{
    if (!parent || !sl_span_context_is_valid(parent))
        return 0;
    run->has_parent = true;
    run->parent = *parent;
    run->parent.tracestate = sl_str_of(NULL, 0);
    if (!parent->tracestate.len)
        return 0;
    run->tracestate = sl_strndup(parent->tracestate.ptr, parent->tracestate.len);
    if (!run->tracestate)
        return SL_ENOMEM;
    run->parent.tracestate = sl_str_of(run->tracestate, parent->tracestate.len);
    return 0;
}

static int fill(sl_flow_run *run, json_t *inputs, const sl_flow_run_options *o)
{
    if (o->run_id.len)
        (void)sl_str_to_c(o->run_id, run->id, sizeof run->id);
    else
        sl_flow_run_new_id(run->id);
    run->inputs = inputs ? json_incref(inputs) : json_object();
    run->resume = json_incref(o->resume);
    run->seq = o->last_seq;
    run->durable = o->durable && run->executor->options.store;
    run->on_event = o->on_event;
    run->user = o->user;
    run->limit = o->max_concurrency ? o->max_concurrency : SL_FLOW_DEFAULT_CONCURRENCY;
    run->timeout_ms = o->timeout_ms ? o->timeout_ms : run->plan->flow->timeout_ms;
    memset(run->trace_id, '0', sizeof run->trace_id - 1);
    return run->inputs ? take_parent(run, o->parent) : SL_ENOMEM;
}

static int check(sl_executor *executor, const sl_flow *flow, const json_t *inputs, const sl_flow_run_options *o)
{
    if (!executor || !flow || (inputs && !json_is_object(inputs)) || !is_id(o->run_id) ||
        (o->resume && !json_is_object(o->resume)))
        return SL_EINVAL;
    if (executor->closing)
        return SL_ECLOSED;
    if (o->run_id.len && sl_flow_run_find(executor, o->run_id))
        return SL_EEXIST;
    return executor->queued.count >= executor->options.max_queued ? SL_EAGAIN : 0;
}

int sl_flow_run_start(sl_executor *executor, sl_flow *flow, json_t *inputs, const sl_flow_run_options *options,
                      sl_flow_run **ret_run)
{
    static const sl_flow_run_options defaults;
    const sl_flow_run_options *o = options ? options : &defaults;
    int error = check(executor, flow, inputs, o);
    if (error)
        return error;
    sl_flow_run *run = sl_calloc(1, sizeof *run);
    if (!run)
        return SL_ENOMEM;
    run->refs = 1;
    run->executor = executor;
    run->plan = sl_flow_plan_take(executor, flow);
    error = run->plan ? fill(run, inputs, o) : SL_ENOMEM;
    if (error) {
        sl_flow_run_unref(run);
        return error;
    }
    sl_flow_run **bucket = bucket_of(executor, sl_str_c(run->id));
    run->next_by_id = *bucket;
    *bucket = run;
    sl_run_push(&executor->queued, run);
    sl_executor_wake(executor);
    if (ret_run)
        *ret_run = sl_flow_run_ref(run);
    return 0;
}

static void on_timeout(sl_timer *timer)
{
    sl_flow_run *run = (sl_flow_run *)(void *)((char *)timer - offsetof(sl_flow_run, timer));
    SL_ASSERT(run->status == SL_RUN_RUNNING);
    char message[SL_FLOW_ERROR_BYTES];
    (void)snprintf(message, sizeof message, "the run took longer than its %.3g s", (double)run->timeout_ms / 1e3);
    sl_flow_tell_error(run->executor->meter, SL_STEP_ERROR_TIMEOUT, SL_COMPONENT_EXECUTOR);
    sl_run_abort(run, SL_RUN_FAILED, SL_STEP_ERROR_TIMEOUT, message);
}

void sl_run_begin(sl_flow_run *run)
{
    SL_ASSERT(run->status == SL_RUN_QUEUED && !run->root);
    sl_executor *executor = run->executor;
    run->status = SL_RUN_RUNNING;
    run->start_ns = sl_now_ns();
    run->start_mono_ns = sl_mono_ns();
    sl_flow_tell_run_started(run);
    if (run->timeout_ms)
        sl_timer_set(executor->loop, &run->timer, on_timeout, run->timeout_ms);
    if (run->durable)
        sl_run_record_started(run);
    if (!sl_run_is_quiet(run)) {
        sl_flow_event event = {.kind = SL_FLOW_RUN_STARTED, .path = "", .message = ""};
        sl_run_emit(run, &event);
        if (run->status != SL_RUN_RUNNING)
            return;
    }
    run->root = sl_scope_new(run, NULL, &run->plan->root, sl_context_root(run));
    if (!run->root)
        sl_run_finish(run, SL_RUN_FAILED, SL_STEP_ERROR_INTERNAL, "out of memory");
    else if (!run->root->left)
        sl_run_finish(run, SL_RUN_SUCCEEDED, SL_STEP_ERROR_NONE, "");
    else
        sl_scope_begin(run->root);
}

/* ---- events ---- */

bool sl_run_is_quiet(const sl_flow_run *run)
{
    return !run->on_event && !run->durable;
}

void sl_run_emit(sl_flow_run *run, sl_flow_event *event)
{
    SL_ASSERT(run && event && event->path && event->message);
    event->seq = ++run->seq;
    event->time_ns = run->start_ns + (sl_mono_ns() - run->start_mono_ns);
    if (run->durable && !run->keep)
        sl_run_record_event(run, event);
    if (run->on_event)
        run->on_event(run->user, run, event);
}

/* ---- end ---- */

static void end_lists(sl_flow_run *run, bool began)
{
    sl_executor *executor = run->executor;
    sl_run_unlink(began ? &executor->running : &executor->queued, run);
    forget_id(executor, run);
    executor->runs_ended++;
    executor->cancels_asked -= run->cancel_asked;
    sl_timer_stop(executor->loop, &run->timer);
    if (executor->queued.first)
        sl_executor_wake(executor);
}

void sl_run_finish(sl_flow_run *run, sl_run_status status, sl_step_error error, const char *message)
{
    SL_ASSERT(run->status <= SL_RUN_RUNNING && status > SL_RUN_RUNNING);
    bool began = run->status == SL_RUN_RUNNING;
    if (!began) {
        run->start_ns = sl_now_ns();
        run->start_mono_ns = sl_mono_ns();
    }
    run->end_mono_ns = sl_mono_ns();
    run->status = status;
    run->error_type = error;
    (void)sl_str_to_c(sl_str_sub(sl_str_c(message), 0, sl_utf8_prefix(sl_str_c(message), sizeof run->error - 1)),
                      run->error, sizeof run->error);
    end_lists(run, began);
    if (began)
        sl_flow_tell_run_ended(run);
    if (!sl_run_is_quiet(run)) {
        sl_flow_event event = {.kind = SL_FLOW_RUN_ENDED,
                               .path = "",
                               .error = error,
                               .message = run->error,
                               .duration_ns = run->end_mono_ns - run->start_mono_ns};
        if (run->durable && !run->keep)
            sl_run_record_ended(run);
        sl_run_emit(run, &event);
    }
    sl_flow_run_unref(run);
}

void sl_run_abort(sl_flow_run *run, sl_run_status status, sl_step_error error, const char *message)
{
    SL_ASSERT(run->status <= SL_RUN_RUNNING);
    sl_executor *executor = run->executor;
    sl_flow_run_ref(run);
    for (size_t i = 0; run->root && i < run->root->node_count; i++) {
        sl_node_cancel(&run->root->nodes[i], message);
        if (run->status > SL_RUN_RUNNING)
            break; /* whoever was told of a step's end ended the run */
    }
    if (run->status <= SL_RUN_RUNNING)
        sl_run_finish(run, status, error, message);
    sl_flow_run_unref(run);
    sl_executor_wake(executor); /* other runs may have the places that it held */
}

void sl_flow_run_cancel(sl_flow_run *run)
{
    if (!run || run->status > SL_RUN_RUNNING || run->cancel_asked)
        return;
    if (run->emitting) {
        run->cancel_asked = true;
        run->executor->cancels_asked++;
        sl_executor_wake(run->executor);
        return;
    }
    sl_run_abort(run, SL_RUN_CANCELLED, SL_STEP_ERROR_CANCELLED, "the run was cancelled");
}

/* ---- questions ---- */

const char *sl_flow_run_id(const sl_flow_run *run)
{
    return run->id;
}

const sl_flow *sl_flow_run_flow(const sl_flow_run *run)
{
    return run->plan->flow;
}

sl_run_status sl_flow_run_status(const sl_flow_run *run)
{
    return run->status;
}

const char *sl_flow_run_error(const sl_flow_run *run)
{
    return run->error;
}

sl_step_error sl_flow_run_error_type(const sl_flow_run *run)
{
    return run->error_type;
}

void sl_flow_run_trace_id(const sl_flow_run *run, char ret_text[33])
{
    memcpy(ret_text, run->trace_id, sizeof run->trace_id);
}

void sl_flow_run_usage(const sl_flow_run *run, sl_step_usage *ret_usage)
{
    *ret_usage = run->usage;
}

void sl_flow_run_times(const sl_flow_run *run, uint64_t *ret_start_ns, uint64_t *ret_end_ns)
{
    *ret_start_ns = run->start_ns;
    *ret_end_ns = run->end_mono_ns ? run->start_ns + (run->end_mono_ns - run->start_mono_ns) : 0;
}
