/* What durable runs leave in the store, and how they go on. */
#include "src/flow/run_record.h"

#include <stdlib.h>

#include "src/base/clock.h"
#include "src/llm/json_text.h"

static sl_run_store *store_of(const sl_flow_run *run)
{
    SL_ASSERT(run->durable && run->executor->options.store);
    return run->executor->options.store;
}

static uint64_t unix_of(const sl_flow_run *run, uint64_t mono_ns)
{
    return run->start_ns + (mono_ns - run->start_mono_ns);
}

void sl_run_record_started(const sl_flow_run *run)
{
    sl_run_store_started(store_of(run), sl_str_c(run->id), run->start_ns, sl_str_c(run->trace_id));
}

void sl_run_record_step(const sl_node *node, const char *path)
{
    const sl_flow_run *run = sl_node_run(node);
    char *value = node->value ? sl_json_text(node->value) : NULL;
    uint64_t end_ns = node->end_mono_ns ? node->end_mono_ns : sl_mono_ns();
    const sl_run_step_row row = {.run_id = sl_str_c(run->id),
                                 .path = sl_str_c(path),
                                 .type = sl_str_c(sl_step_type_name(sl_node_step(node)->type)),
                                 .status = sl_str_c(sl_step_status_name(node->status)),
                                 .attempts = node->attempt.attempt,
                                 .value = sl_str_c(value),
                                 .error = sl_str_c(node->message),
                                 .error_type = sl_str_c(sl_step_error_name(node->error)),
                                 .end_ns = unix_of(run, end_ns),
                                 .duration_ns = node->start_mono_ns ? end_ns - node->start_mono_ns : 0,
                                 .input_tokens = node->usage.input_tokens,
                                 .output_tokens = node->usage.output_tokens,
                                 .cost_usd = node->usage.cost_usd};
    sl_run_store_step(store_of(run), &row);
    free(value);
}

void sl_run_record_event(const sl_flow_run *run, const sl_flow_event *event)
{
    json_t *object = sl_flow_event_json(run, event);
    char *body = object ? sl_json_text(object) : NULL;
    if (body)
        sl_run_store_event(store_of(run), sl_str_c(run->id), event->seq, sl_str_c(body));
    free(body);
    json_decref(object);
}

void sl_run_record_ended(const sl_flow_run *run)
{
    json_t *outputs = sl_flow_run_outputs(run);
    char *text = outputs ? sl_json_text(outputs) : NULL;
    bool lost = !text && run->status == SL_RUN_SUCCEEDED; /* better failed than good without what it gave */
    const sl_run_end_row row = {
        .run_id = sl_str_c(run->id),
        .status = sl_str_c(sl_run_status_name(lost ? SL_RUN_FAILED : run->status)),
        .error = lost ? SL_STR("out of memory: the outputs are lost; resume the run") : sl_str_c(run->error),
        .error_type = sl_str_c(sl_step_error_name(lost ? SL_STEP_ERROR_INTERNAL : run->error_type)),
        .outputs = sl_str_c(text),
        .end_ns = unix_of(run, run->end_mono_ns),
        .input_tokens = run->usage.input_tokens,
        .output_tokens = run->usage.output_tokens,
        .cost_usd = run->usage.cost_usd};
    sl_run_store_ended(store_of(run), &row);
    free(text);
    json_decref(outputs);
}

/* ---- going on ---- */

typedef struct resumption {
    sl_executor *executor;
    sl_flow_event_fn on_event;
    void *user;
    size_t count;
} resumption;

/* A file that does not load any more ends its run. */
static void end_unloadable(const resumption *r, const sl_run_left *left, const sl_flow_problems *problems)
{
    const sl_run_end_row row = {.run_id = left->run.id,
                                .status = sl_str_c(sl_run_status_name(SL_RUN_FAILED)),
                                .error = problems->count ? sl_str_c(problems->items[0].message)
                                                         : SL_STR("the workflow does not load"),
                                .error_type = SL_STR("validation"),
                                .outputs = SL_STR("{}"),
                                .end_ns = sl_now_ns()};
    sl_run_store_ended(r->executor->options.store, &row);
    sl_executor_count_refused(r->executor);
}

static int go_on(void *user, const sl_run_left *left)
{
    resumption *r = user;
    if (sl_flow_run_find(r->executor, left->run.id))
        return 0;
    sl_flow *flow = NULL;
    sl_flow_problems *problems = sl_calloc(1, sizeof *problems);
    int error = problems ? sl_flow_load(left->run.source, problems, &flow) : SL_ENOMEM;
    if (error == SL_ECONFIG)
        end_unloadable(r, left, problems);
    sl_free(problems);
    if (error)
        return error == SL_ECONFIG ? 0 : error;
    json_t *inputs = sl_json_load(left->run.inputs, 0, NULL);
    sl_span_context parent;
    bool has_parent = sl_traceparent_parse(left->run.traceparent, &parent) == 0;
    const sl_flow_run_options options = {.run_id = left->run.id,
                                         .parent = has_parent ? &parent : NULL,
                                         .max_concurrency = left->run.max_concurrency,
                                         .timeout_ms = left->run.timeout_ms,
                                         .resume = left->steps,
                                         .last_seq = left->last_seq,
                                         .durable = true,
                                         .on_event = r->on_event,
                                         .user = r->user};
    error = sl_flow_run_start(r->executor, flow, inputs, &options, NULL);
    json_decref(inputs);
    sl_flow_unref(flow);
    r->count += error == 0;
    return error;
}

int sl_flow_runs_resume(sl_executor *executor, sl_flow_event_fn on_event, void *user, size_t *ret_count)
{
    if (!executor || !executor->options.store || !ret_count)
        return SL_EINVAL;
    resumption r = {.executor = executor, .on_event = on_event, .user = user};
    int error = sl_run_store_each_left(executor->options.store, go_on, &r);
    *ret_count = r.count;
    return error;
}
