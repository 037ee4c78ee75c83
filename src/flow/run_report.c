/* A run as JSON and as rows: events, outputs, the report. Reads only. */
#include "src/base/clock.h"
#include "src/flow/executor_impl.h"

const char *sl_flow_event_name(sl_flow_event_kind kind)
{
    static const char *const names[] = {"run_started",  "step_started", "step_retried",
                                        "step_emitted", "step_ended",   "run_ended"};
    SL_ASSERT((unsigned)kind < sizeof names / sizeof *names);
    return names[kind];
}

/* Milliseconds with three decimals. */
static json_t *ms_of(uint64_t ns)
{
    return json_real((double)(ns / 1000) / 1e3);
}

static void put_error(json_t *object, sl_step_error error, const char *message)
{
    if (message[0])
        (void)json_object_set_new(object, "error", json_string(message));
    if (error != SL_STEP_ERROR_NONE)
        (void)json_object_set_new(object, "error_type", json_string(sl_step_error_name(error)));
}

static void put_step(json_t *object, const sl_flow_event *event)
{
    (void)json_object_set_new(object, "step", json_string(event->path));
    (void)json_object_set_new(object, "type", json_string(sl_step_type_name(event->step->type)));
    if (event->kind == SL_FLOW_STEP_RETRIED || event->kind == SL_FLOW_STEP_ENDED)
        (void)json_object_set_new(object, "attempts", json_integer(event->attempts));
    if (event->kind == SL_FLOW_STEP_RETRIED)
        (void)json_object_set_new(object, "delay_ms", json_integer((json_int_t)event->delay_ms));
    if (event->kind != SL_FLOW_STEP_ENDED)
        return;
    (void)json_object_set_new(object, "status", json_string(sl_step_status_name(event->step_status)));
    (void)json_object_set_new(object, "duration_ms", ms_of(event->duration_ns));
    if (event->outputs)
        (void)json_object_set(object, "outputs", event->outputs);
}

json_t *sl_flow_event_json(const sl_flow_run *run, const sl_flow_event *event)
{
    SL_ASSERT(run && event);
    char time[SL_RFC3339_MS_LEN + 1];
    sl_rfc3339_ms(event->time_ns, time);
    json_t *object = json_pack("{s:I,s:s,s:s,s:s}", "seq", (json_int_t)event->seq, "event",
                               sl_flow_event_name(event->kind), "time", time, "run_id", run->id);
    if (!object)
        return NULL;
    if (event->step)
        put_step(object, event);
    else
        (void)json_object_set_new(object, "workflow", json_string(run->plan->flow->name));
    if (event->kind == SL_FLOW_RUN_ENDED) {
        (void)json_object_set_new(object, "status", json_string(sl_run_status_name(run->status)));
        (void)json_object_set_new(object, "duration_ms", ms_of(event->duration_ns));
    }
    if (event->name)
        (void)json_object_set_new(object, "name", json_string(event->name));
    if (event->data)
        (void)json_object_set(object, "data", event->data);
    put_error(object, event->error, event->message);
    return object;
}

size_t sl_flow_run_step_count(const sl_flow_run *run)
{
    return run->plan->flow->root.step_count;
}

void sl_flow_run_step_at(const sl_flow_run *run, size_t index, sl_flow_step_view *ret_view)
{
    SL_ASSERT(run && index < sl_flow_run_step_count(run) && ret_view);
    sl_flow_step_view view = {.step = &run->plan->flow->root.steps[index], .message = ""};
    if (!run->root) {
        view.status = run->status > SL_RUN_RUNNING ? SL_STEP_CANCELLED : SL_STEP_WAITING;
        *ret_view = view;
        return;
    }
    const sl_node *node = &run->root->nodes[index];
    uint64_t end = node->end_mono_ns ? node->end_mono_ns : sl_mono_ns();
    view.status = node->status;
    view.attempts = node->attempt.attempt;
    view.error = node->error;
    view.usage = node->usage;
    if (node->message)
        view.message = node->message;
    if (node->start_mono_ns) {
        view.start_ns = run->start_ns + (node->start_mono_ns - run->start_mono_ns);
        view.duration_ns = end - node->start_mono_ns;
    }
    view.value = node->value;
    view.warning = sl_output_warning(view.step, node->value);
    *ret_view = view;
}

json_t *sl_flow_run_outputs(const sl_flow_run *run)
{
    SL_ASSERT(run);
    json_t *outputs = json_object();
    for (size_t i = 0; outputs && run->root && i < run->root->node_count; i++) {
        const sl_node *node = &run->root->nodes[i];
        json_t *shown = sl_output_public(sl_node_step(node), node->value);
        if (shown)
            (void)json_object_set_new(outputs, sl_node_step(node)->id, shown);
    }
    return outputs;
}

static json_t *step_report(const sl_flow_step_view *view)
{
    json_t *error = view->message[0] ? json_string(view->message) : json_null();
    json_t *step = json_pack("{s:s,s:s,s:s,s:o,s:i,s:o}", "id", view->step->id, "type",
                             sl_step_type_name(view->step->type), "status", sl_step_status_name(view->status),
                             "duration_ms", ms_of(view->duration_ns), "attempts", (int)view->attempts, "error", error);
    if (step && view->error != SL_STEP_ERROR_NONE)
        (void)json_object_set_new(step, "error_type", json_string(sl_step_error_name(view->error)));
    if (step && view->warning)
        (void)json_object_set_new(step, "warning", json_string(view->warning));
    uint64_t sum = view->usage.input_tokens + view->usage.output_tokens;
    if (step && sum)
        (void)json_object_set_new(step, "tokens", json_integer((json_int_t)sum));
    if (step && view->usage.cost_known)
        (void)json_object_set_new(step, "cost_usd", json_real(view->usage.cost_usd));
    return step;
}

json_t *sl_flow_run_report(const sl_flow_run *run)
{
    SL_ASSERT(run);
    json_t *steps = json_array();
    for (size_t i = 0; i < sl_flow_run_step_count(run); i++) {
        sl_flow_step_view view;
        sl_flow_run_step_at(run, i, &view);
        (void)json_array_append_new(steps, step_report(&view));
    }
    const sl_step_usage *u = &run->usage;
    uint64_t sum = u->input_tokens + u->output_tokens;
    json_t *report =
        json_pack("{s:s,s:s,s:s,s:o,s:o,s:o,s:s,s:f,s:{s:I,s:I,s:I}}", "run_id", run->id, "workflow",
                  run->plan->flow->name, "status", sl_run_status_name(run->status), "outputs", sl_flow_run_outputs(run),
                  "steps", steps, "error", run->error[0] ? json_string(run->error) : json_null(), "trace_id",
                  run->trace_id, "cost_usd", u->cost_usd, "tokens", "input", (json_int_t)u->input_tokens, "output",
                  (json_int_t)u->output_tokens, "total", (json_int_t)sum);
    if (!report)
        return NULL;
    uint64_t end = run->end_mono_ns ? run->end_mono_ns : sl_mono_ns();
    (void)json_object_set_new(report, "duration_ms", ms_of(run->start_mono_ns ? end - run->start_mono_ns : 0));
    if (run->error_type != SL_STEP_ERROR_NONE)
        (void)json_object_set_new(report, "error_type", json_string(sl_step_error_name(run->error_type)));
    return report;
}
