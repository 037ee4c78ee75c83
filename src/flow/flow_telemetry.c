/* Spans, metrics and log lines of runs. Series are bound at their first use and kept: no look-up for a step. */
#include "src/flow/flow_telemetry.h"

#include "src/base/clock.h"
#include "src/base/hash.h"
#include "src/flow/breaker.h"
#include "src/telemetry/vocab.h"

#define CALL_BUCKETS 256u
#define MAX_CALLS 1024u /* providers and models whose series are kept; others are looked up each time */
#define ERROR_COUNT (SL_STEP_ERROR_VALIDATION + 1)

/* Series of one provider and model, and of what they cost one workflow. */
typedef struct call_series {
    struct call_series *next;
    const sl_flow_plan *plan; /* NULL: of all workflows; else `cost` alone is used */
    sl_series *success, *failure, *duration, *input, *output, *cost;
    size_t provider_len, len;
    char text[]; /* provider and model */
} call_series;

typedef enum step_outcome { STEP_SUCCESS = 0, STEP_FAILURE, STEP_SKIPPED, STEP_OUTCOMES } step_outcome;

struct sl_flow_meter {
    sl_tracer *tracer;
    sl_logger *logger;
    sl_instrument *executions, *workflow_duration, *requests, *tokens, *request_duration, *steps, *step_duration,
        *errors, *cost;
    sl_series *active;
    sl_series *step_series[SL_STEP_TYPE_COUNT][STEP_OUTCOMES];
    sl_series *step_durations[SL_STEP_TYPE_COUNT];
    sl_series *error_series[ERROR_COUNT][3];
    sl_breakers *breakers;
    size_t call_count;
    call_series *calls[CALL_BUCKETS];
};

static inline sl_attr str_attr(const char *key, size_t key_len, sl_str value)
{
    return (sl_attr){{key, key_len}, sl_value_str(value)};
}
#define STR_ATTR(key, value) str_attr(key, sizeof(key) - 1, value)
#define INT_ATTR(key, value)                                                                                           \
    (sl_attr)                                                                                                          \
    {                                                                                                                  \
        {key, sizeof(key) - 1}, sl_value_int((int64_t)(value))                                                         \
    }

static const char *const components[] = {"executor", "provider", "step_executor"};

static sl_series *error_series(sl_flow_meter *m, sl_step_error error, sl_component component)
{
    SL_ASSERT((unsigned)error < ERROR_COUNT && (unsigned)component < 3);
    sl_series **series = &m->error_series[error][component];
    if (!*series && m->errors) {
        sl_attr labels[2] = {STR_ATTR("error_type", sl_str_c(sl_step_error_name(error))),
                             STR_ATTR("component", sl_str_c(components[component]))};
        *series = sl_instrument_bind(m->errors, labels, 2);
    }
    return *series;
}

/* Those that alerts read are there from the start: rate() does not see the step from nothing to 1. */
static void bind_expected_errors(sl_flow_meter *m)
{
    (void)error_series(m, SL_STEP_ERROR_TIMEOUT, SL_COMPONENT_EXECUTOR);
    (void)error_series(m, SL_STEP_ERROR_PROVIDER, SL_COMPONENT_PROVIDER);
    (void)error_series(m, SL_STEP_ERROR_PROVIDER, SL_COMPONENT_STEP);
    (void)error_series(m, SL_STEP_ERROR_VALIDATION, SL_COMPONENT_EXECUTOR);
}

/* ---- life ---- */

sl_flow_meter *sl_flow_meter_new(sl_sdk *sdk)
{
    sl_flow_meter *m = sl_calloc(1, sizeof *m);
    if (m && !(m->breakers = sl_breakers_new(sdk))) {
        sl_free(m);
        m = NULL;
    }
    if (!m || !sdk)
        return m;
    m->tracer = sl_tracer_named(sdk, "sightline.flow");
    m->logger = sl_logger_named(sdk, "sightline.flow");
    sl_meter *meter = sl_meter_named(sdk, "sightline.flow");
    m->executions = sl_metric_declare(meter, SL_METRIC_ORCHESTRATOR_WORKFLOW_EXECUTIONS);
    m->workflow_duration = sl_metric_declare(meter, SL_METRIC_ORCHESTRATOR_WORKFLOW_DURATION);
    m->requests = sl_metric_declare(meter, SL_METRIC_ORCHESTRATOR_LLM_REQUESTS);
    m->tokens = sl_metric_declare(meter, SL_METRIC_ORCHESTRATOR_LLM_TOKENS);
    m->request_duration = sl_metric_declare(meter, SL_METRIC_ORCHESTRATOR_LLM_REQUEST_DURATION);
    m->steps = sl_metric_declare(meter, SL_METRIC_ORCHESTRATOR_STEP_EXECUTIONS);
    m->step_duration = sl_metric_declare(meter, SL_METRIC_ORCHESTRATOR_STEP_DURATION);
    m->errors = sl_metric_declare(meter, SL_METRIC_ORCHESTRATOR_ERRORS);
    m->cost = sl_metric_declare(meter, SL_METRIC_ORCHESTRATOR_COST);
    m->active = sl_instrument_bind(sl_metric_declare(meter, SL_METRIC_ORCHESTRATOR_ACTIVE_WORKFLOWS), NULL, 0);
    bind_expected_errors(m);
    return m;
}

static void drop_calls(sl_flow_meter *m)
{
    for (size_t i = 0; i < CALL_BUCKETS; i++) {
        while (m->calls[i]) {
            call_series *call = m->calls[i];
            m->calls[i] = call->next;
            sl_free(call);
        }
    }
    m->call_count = 0;
}

const sl_breakers *sl_executor_breakers(const sl_executor *executor)
{
    SL_ASSERT(executor);
    return executor->meter->breakers;
}

void sl_flow_meter_forget(sl_flow_meter *meter)
{
    if (meter)
        drop_calls(meter);
}

void sl_flow_meter_free(sl_flow_meter *meter)
{
    if (!meter)
        return;
    drop_calls(meter);
    sl_breakers_free(meter->breakers);
    sl_free(meter);
}

/* ---- log lines ---- */

static const sl_str messages_ended[] = {[SL_RUN_SUCCEEDED] = {"Workflow completed successfully", 31},
                                        [SL_RUN_FAILED] = {"Workflow failed", 15},
                                        [SL_RUN_CANCELLED] = {"Workflow cancelled", 18}};

/* workflow_id: the file's, or the run's own. */
static sl_str workflow_id(const sl_flow_run *run)
{
    return run->plan->id.len ? run->plan->id : sl_str_c(run->id);
}

static size_t run_attrs(const sl_flow_run *run, sl_attr *attrs)
{
    attrs[0] = STR_ATTR("workflow_id", workflow_id(run));
    attrs[1] = STR_ATTR("workflow_name", run->plan->name);
    return 2;
}

static size_t step_attrs(const sl_node *node, sl_attr *attrs)
{
    size_t count = run_attrs(sl_node_run(node), attrs);
    attrs[count++] = STR_ATTR("step_id", node->plan->id);
    attrs[count++] = STR_ATTR("step_type", node->plan->type);
    return count;
}

static sl_str param(const sl_node *node, const char *key)
{
    json_t *value = json_object_get(node->attempt.params, key);
    return json_is_string(value) ? sl_str_of(json_string_value(value), json_string_length(value)) : SL_STR("");
}

static sl_str or_unknown(sl_str s)
{
    return s.len ? s : SL_STR("unknown");
}

static size_t provider_attrs(const sl_node *node, sl_attr *attrs, size_t count)
{
    sl_str provider = param(node, "provider"), model = param(node, "model");
    if (provider.len)
        attrs[count++] = STR_ATTR("provider", provider);
    if (model.len)
        attrs[count++] = STR_ATTR("model", model);
    return count;
}

/* `time_ns` is one that has been read already; 0: now. */
static void say(sl_flow_meter *m, sl_severity severity, const sl_span *span, uint64_t time_ns, sl_str message,
                const sl_attr *attrs, size_t count)
{
    sl_span_context context;
    sl_span_get_context(span, &context);
    sl_log_record record = {.severity = severity,
                            .time_ns = time_ns,
                            .body = sl_value_str(message),
                            .attrs = attrs,
                            .attr_count = count,
                            .context = &context};
    sl_log_emit(m->logger, &record);
}

static uint64_t unix_of(const sl_flow_run *run, uint64_t mono_ns)
{
    return run->start_ns + (mono_ns - run->start_mono_ns);
}

/* ---- runs ---- */

static void keep_trace_id(sl_flow_run *run)
{
    sl_span_context context;
    sl_span_get_context(run->span, &context);
    sl_hex_encode(context.trace_id, SL_TRACE_ID_SIZE, run->trace_id);
}

void sl_flow_tell_run_started(sl_flow_run *run)
{
    sl_flow_meter *m = run->executor->meter;
    sl_attr attrs[3];
    size_t count = run_attrs(run, attrs);
    sl_updown_add(m->active, 1);
    if (m->tracer) {
        attrs[2] = STR_ATTR("run_id", sl_str_c(run->id));
        sl_span_options options = {.kind = SL_SPAN_INTERNAL,
                                   .root = !run->has_parent,
                                   .parent_context = run->has_parent ? &run->parent : NULL,
                                   .start_ns = run->start_ns,
                                   .attrs = attrs,
                                   .attr_count = 3};
        run->span = sl_span_start(m->tracer, run->plan->span_name, &options);
        keep_trace_id(run);
    }
    if (sl_log_enabled(m->logger, SL_INFO))
        say(m, SL_INFO, run->span, run->start_ns, SL_STR("Starting workflow execution"), attrs, count);
}

static void count_run(sl_flow_meter *m, sl_flow_run *run)
{
    sl_flow_series *series = &run->plan->series;
    bool good = run->status == SL_RUN_SUCCEEDED;
    sl_series **counter = good ? &series->success : &series->failure;
    sl_attr labels[2] = {STR_ATTR("workflow_name", run->plan->name),
                         STR_ATTR("status", good ? SL_STR("success") : SL_STR("failure"))};
    if (!*counter)
        *counter = sl_instrument_bind(m->executions, labels, 2);
    if (!series->duration)
        series->duration = sl_instrument_bind(m->workflow_duration, labels, 1);
    sl_span_context context;
    sl_span_get_context(run->span, &context);
    sl_counter_add(*counter, 1);
    sl_histogram_record_in(series->duration, (double)(run->end_mono_ns - run->start_mono_ns) / 1e9, &context);
    sl_updown_add(m->active, -1);
}

void sl_executor_count_failure(sl_executor *executor, sl_str workflow)
{
    SL_ASSERT(executor);
    sl_attr labels[2] = {STR_ATTR("workflow_name", workflow), STR_ATTR("status", SL_STR("failure"))};
    if (executor->meter->executions)
        sl_counter_add(sl_instrument_bind(executor->meter->executions, labels, 2), 1);
}

void sl_executor_count_refused(sl_executor *executor)
{
    SL_ASSERT(executor);
    sl_flow_tell_error(executor->meter, SL_STEP_ERROR_VALIDATION, SL_COMPONENT_EXECUTOR);
}

void sl_flow_tell_run_ended(sl_flow_run *run)
{
    sl_flow_meter *m = run->executor->meter;
    sl_severity severity = run->status == SL_RUN_SUCCEEDED ? SL_INFO
                           : run->status == SL_RUN_FAILED  ? SL_ERROR_LEVEL
                                                           : SL_WARN;
    uint64_t duration_ns = run->end_mono_ns - run->start_mono_ns;
    if (m->executions)
        count_run(m, run);
    if (sl_log_enabled(m->logger, severity)) {
        sl_attr attrs[5];
        size_t count = run_attrs(run, attrs);
        attrs[count++] = INT_ATTR("duration_ms", duration_ns / 1000000);
        if (run->error_type != SL_STEP_ERROR_NONE) {
            attrs[count++] = STR_ATTR("error_type", sl_str_c(sl_step_error_name(run->error_type)));
            attrs[count++] = STR_ATTR("error", sl_str_c(run->error));
        }
        say(m, severity, run->span, run->start_ns + duration_ns, messages_ended[run->status], attrs, count);
    }
    if (run->status == SL_RUN_FAILED)
        sl_span_set_status(run->span, SL_STATUS_ERROR, run->error);
    if (run->status != SL_RUN_SUCCEEDED)
        sl_span_set_str(run->span, "error.type", sl_step_error_name(run->error_type));
    sl_span_end_at(run->span, run->start_ns + duration_ns);
    run->span = NULL;
}

/* ---- steps ---- */

void sl_flow_tell_step_started(sl_node *node)
{
    sl_flow_run *run = sl_node_run(node);
    sl_flow_meter *m = run->executor->meter;
    const sl_node *owner = node->scope->owner;
    uint64_t start_ns = unix_of(run, node->start_mono_ns);
    sl_attr attrs[4];
    size_t count = step_attrs(node, attrs);
    if (m->tracer) {
        sl_span_options options = {.kind = SL_SPAN_INTERNAL,
                                   .parent = owner ? owner->attempt.span : run->span,
                                   .start_ns = start_ns,
                                   .attrs = attrs + 2,
                                   .attr_count = 2};
        node->attempt.span = sl_span_start(m->tracer, node->plan->span_name, &options);
    }
    if (sl_log_enabled(m->logger, SL_INFO))
        say(m, SL_INFO, node->attempt.span, start_ns, SL_STR("Executing step"), attrs, count);
}

static bool calls_provider(const sl_node *node)
{
    return sl_node_step(node)->type == SL_STEP_LLM || sl_node_step(node)->type == SL_STEP_EMBED;
}

void sl_flow_tell_try_started(sl_node *node)
{
    sl_flow_meter *m = sl_node_executor(node)->meter;
    if (!calls_provider(node))
        return;
    sl_breakers_call(m->breakers, or_unknown(param(node, "provider")), sl_mono_ns() / 1000000);
    if (!sl_log_enabled(m->logger, SL_DEBUG))
        return;
    sl_attr attrs[6];
    size_t count = provider_attrs(node, attrs, step_attrs(node, attrs));
    say(m, SL_DEBUG, node->attempt.span, 0, SL_STR("Calling LLM provider"), attrs, count);
}

void sl_flow_tell_error(sl_flow_meter *meter, sl_step_error error, sl_component component)
{
    sl_counter_add(error_series(meter, error, component), 1);
}

void sl_flow_tell_step_retried(sl_node *node, sl_step_error error, const char *message, uint64_t delay_ms)
{
    sl_flow_meter *m = sl_node_executor(node)->meter;
    sl_attr attrs[10];
    size_t first = step_attrs(node, attrs), count = first;
    attrs[count++] = INT_ATTR("attempt", node->attempt.attempt);
    attrs[count++] = STR_ATTR("error_type", sl_str_c(sl_step_error_name(error)));
    attrs[count++] = STR_ATTR("error", sl_str_c(message));
    attrs[count++] = INT_ATTR("delay_ms", delay_ms);
    sl_span_add_event(node->attempt.span, SL_STR("retry"), 0, attrs + first, count - first);
    if (sl_log_enabled(m->logger, SL_WARN))
        say(m, SL_WARN, node->attempt.span, 0, SL_STR("Step failed, trying again"), attrs, count);
}

static void count_step(sl_flow_meter *m, const sl_node *node, step_outcome outcome)
{
    static const char *const outcomes[] = {"success", "failure", "skipped"};
    sl_step_type type = sl_node_step(node)->type;
    sl_series **counter = &m->step_series[type][outcome], **duration = &m->step_durations[type];
    if (!*counter || !*duration) {
        sl_attr labels[2] = {STR_ATTR("step_type", sl_str_c(sl_step_type_name(type))),
                             STR_ATTR("status", sl_str_c(outcomes[outcome]))};
        *counter = sl_instrument_bind(m->steps, labels, 2);
        *duration = sl_instrument_bind(m->step_duration, labels, 1);
    }
    sl_counter_add(*counter, 1);
    if (outcome == STEP_SKIPPED)
        return;
    sl_span_context context;
    sl_span_get_context(node->attempt.span, &context);
    uint64_t ns = node->start_mono_ns ? node->end_mono_ns - node->start_mono_ns : 0;
    sl_histogram_record_in(*duration, (double)ns / 1e9, &context);
}

/* A block fails by its steps: they have been counted. */
static void count_failure(sl_flow_meter *m, const sl_node *node)
{
    bool by_child = false;
    for (const sl_scope *scope = node->scopes; scope; scope = scope->next)
        by_child |= scope->failed != NULL;
    if (node->status == SL_STEP_FAILED && !by_child)
        sl_flow_tell_error(m, node->error,
                           node->error == SL_STEP_ERROR_TIMEOUT ? SL_COMPONENT_EXECUTOR : SL_COMPONENT_STEP);
}

static void say_ended(sl_flow_meter *m, const sl_node *node)
{
    sl_severity severity = node->status == SL_STEP_FAILED      ? SL_ERROR_LEVEL
                           : node->status == SL_STEP_CANCELLED ? SL_WARN
                                                               : SL_INFO;
    static const sl_str texts[] = {[SL_STEP_SUCCEEDED] = {"Step completed successfully", 27},
                                   [SL_STEP_FAILED] = {"Step failed", 11},
                                   [SL_STEP_SKIPPED] = {"Step skipped", 12},
                                   [SL_STEP_CANCELLED] = {"Step cancelled", 14}};
    if (!sl_log_enabled(m->logger, severity))
        return;
    sl_attr attrs[10];
    size_t count = step_attrs(node, attrs);
    if (calls_provider(node))
        count = provider_attrs(node, attrs, count);
    if (node->start_mono_ns)
        attrs[count++] = INT_ATTR("duration_ms", (node->end_mono_ns - node->start_mono_ns) / 1000000);
    if (node->error != SL_STEP_ERROR_NONE) {
        attrs[count++] = STR_ATTR("error_type", sl_str_c(sl_step_error_name(node->error)));
        attrs[count++] = STR_ATTR("error", sl_str_c(node->message));
    }
    const sl_flow_run *run = sl_node_run(node);
    say(m, severity, node->attempt.span ? node->attempt.span : run->span,
        node->end_mono_ns ? unix_of(run, node->end_mono_ns) : 0, texts[node->status], attrs, count);
}

static void end_span(sl_node *node)
{
    sl_span *span = node->attempt.span;
    if (!span)
        return;
    node->attempt.span = NULL;
    sl_span_set(span, SL_STR("attempts"), sl_value_int(node->attempt.attempt));
    if (node->status == SL_STEP_FAILED)
        sl_span_set_status(span, SL_STATUS_ERROR, node->message);
    if (node->error != SL_STEP_ERROR_NONE)
        sl_span_set_str(span, "error.type", sl_step_error_name(node->error));
    sl_span_end_at(span, unix_of(sl_node_run(node), node->end_mono_ns));
}

void sl_flow_tell_step_ended(sl_node *node)
{
    sl_flow_meter *m = sl_node_executor(node)->meter;
    if (node->restored)
        return;
    if (m->steps && (node->started || node->status == SL_STEP_FAILED || node->status == SL_STEP_SKIPPED)) {
        count_step(m, node,
                   node->status == SL_STEP_SUCCEEDED ? STEP_SUCCESS
                   : node->status == SL_STEP_SKIPPED ? STEP_SKIPPED
                                                     : STEP_FAILURE);
        count_failure(m, node);
    }
    say_ended(m, node);
    end_span(node);
}

/* ---- calls of providers ---- */

/* Series of a provider and model, or (plan not NULL) of their cost to a workflow; NULL: no memory. */
static call_series *series_of(sl_flow_meter *m, const sl_flow_plan *plan, sl_str provider, sl_str model)
{
    uint64_t hash = sl_hash_bytes(model.ptr, model.len, sl_hash_bytes(provider.ptr, provider.len, (uintptr_t)plan));
    call_series **bucket = &m->calls[hash % CALL_BUCKETS];
    for (call_series *call = *bucket; call; call = call->next) {
        if (call->plan == plan && call->provider_len == provider.len && call->len == provider.len + model.len &&
            memcmp(call->text, provider.ptr, provider.len) == 0 &&
            memcmp(call->text + provider.len, model.ptr, model.len) == 0)
            return call;
    }
    if (m->call_count >= MAX_CALLS)
        drop_calls(m); /* made again as they are used */
    bucket = &m->calls[hash % CALL_BUCKETS];
    call_series *call = sl_calloc(1, sizeof *call + provider.len + model.len + 1);
    if (!call)
        return NULL;
    call->plan = plan;
    call->provider_len = provider.len;
    call->len = provider.len + model.len;
    memcpy(call->text, provider.ptr, provider.len);
    memcpy(call->text + provider.len, model.ptr, model.len);
    call->next = *bucket;
    *bucket = call;
    m->call_count++;
    return call;
}

static sl_series *bind_once(sl_series **series, sl_instrument *instrument, const sl_attr *labels, size_t count)
{
    if (!*series)
        *series = sl_instrument_bind(instrument, labels, count);
    return *series;
}

/* The provider was not asked: the request could not be made. */
static bool is_before_request(sl_step_error error)
{
    return error == SL_STEP_ERROR_TEMPLATE || error == SL_STEP_ERROR_INPUT || error == SL_STEP_ERROR_FORBIDDEN ||
           error == SL_STEP_ERROR_INTERNAL;
}

void sl_flow_tell_try_ended(sl_node *node, sl_step_error outcome)
{
    sl_flow_meter *m = sl_node_executor(node)->meter;
    if (!calls_provider(node) || is_before_request(outcome))
        return;
    sl_str provider = or_unknown(param(node, "provider")), model = or_unknown(param(node, "model"));
    bool down = outcome == SL_STEP_ERROR_PROVIDER || outcome == SL_STEP_ERROR_TIMEOUT;
    if (outcome != SL_STEP_ERROR_CANCELLED)
        sl_breakers_end(m->breakers, provider, !down, sl_step_error_name(outcome), sl_mono_ns() / 1000000);
    if (!m->requests)
        return;
    call_series *call = series_of(m, NULL, provider, model);
    if (!call)
        return;
    bool good = outcome == SL_STEP_ERROR_NONE;
    sl_attr labels[3] = {STR_ATTR("provider", provider), STR_ATTR("model", model),
                         STR_ATTR("status", good ? SL_STR("success") : SL_STR("failure"))};
    sl_span_context context;
    sl_span_get_context(node->attempt.span, &context);
    sl_counter_add(bind_once(good ? &call->success : &call->failure, m->requests, labels, 3), 1);
    sl_histogram_record_in(bind_once(&call->duration, m->request_duration, labels, 2),
                           (double)(sl_mono_ns() - node->try_mono_ns) / 1e9, &context);
    if (outcome == SL_STEP_ERROR_PROVIDER || outcome == SL_STEP_ERROR_REFUSED)
        sl_flow_tell_error(m, outcome, SL_COMPONENT_PROVIDER);
}

void sl_flow_tell_usage(sl_node *node, const sl_step_usage *usage)
{
    sl_flow_run *run = sl_node_run(node);
    sl_flow_meter *m = run->executor->meter;
    sl_str provider = or_unknown(param(node, "provider")), model = or_unknown(param(node, "model"));
    if (!m->tokens)
        return;
    sl_attr labels[3] = {STR_ATTR("provider", provider), STR_ATTR("model", model), STR_ATTR("type", SL_STR("input"))};
    call_series *call = series_of(m, NULL, provider, model);
    if (!call)
        return;
    if (usage->input_tokens)
        sl_counter_add(bind_once(&call->input, m->tokens, labels, 3), usage->input_tokens);
    labels[2].value = sl_value_str(SL_STR("output"));
    if (usage->output_tokens)
        sl_counter_add(bind_once(&call->output, m->tokens, labels, 3), usage->output_tokens);
    call_series *cost = usage->cost_known ? series_of(m, run->plan, provider, model) : NULL;
    if (!cost)
        return;
    labels[2] = STR_ATTR("workflow_name", run->plan->name);
    sl_counter_add_double(bind_once(&cost->cost, m->cost, labels, 3), usage->cost_usd);
}
