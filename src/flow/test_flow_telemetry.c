/* Spans, metrics and log lines of runs: names, attributes, one tree, exact counts. */
#include "src/flow/flow_telemetry.h"

#include "src/base/buf.h"
#include "src/flow/test_flow_fixture.h"
#include "src/telemetry/log_line.h"
#include "src/wire/otlp_read.h"

#define FLOW "name: demo\nsteps:\n"

/* An SDK whose requests are kept, as an exporter sees them. */
typedef struct sink {
    pthread_mutex_t lock;
    sl_buf requests[SL_SIGNAL_COUNT]; /* concatenated: protobuf messages merge */
} sink;

static int sink_deliver(void *user, sl_signal signal, sl_str request, size_t items, uint64_t timeout_ms,
                        uint64_t *ret_retry_after_ms, uint64_t *ret_rejected)
{
    sink *s = user;
    (void)items, (void)timeout_ms, (void)ret_retry_after_ms, (void)ret_rejected;
    pthread_mutex_lock(&s->lock);
    (void)sl_buf_put_str(&s->requests[signal], request);
    pthread_mutex_unlock(&s->lock);
    return 0;
}

static void sink_init(sink *s)
{
    (void)pthread_mutex_init(&s->lock, NULL);
    for (size_t i = 0; i < SL_SIGNAL_COUNT; i++)
        sl_buf_init(&s->requests[i], 64u << 20);
}

static void sink_done(sink *s)
{
    (void)pthread_mutex_destroy(&s->lock);
    for (size_t i = 0; i < SL_SIGNAL_COUNT; i++)
        sl_buf_done(&s->requests[i]);
}

/* The fixture with an SDK that exports to the sink. */
static void rig_init(fx *f, sink *s)
{
    sink_init(s);
    fx_init(f, NULL, false);
    const sl_exporter exporter = {
        .name = "sink", .user = s, .signals = SL_SIGNALS_ALL, .deliver = sink_deliver, .immediate = true};
    const sl_sdk_options options = {.ignore_environment = true,
                                    .no_default_exporters = true,
                                    .exporters = &exporter,
                                    .exporter_count = 1,
                                    .log_level = SL_DEBUG};
    if (sl_sdk_new(&options, &f->sdk))
        abort();
    sl_executor_close(f->executor, false);
    (void)uv_run(&f->loop.uv, UV_RUN_NOWAIT);
    sl_executor_free(f->executor);
    f->services.sdk = f->sdk;
    if (sl_executor_new(&(sl_executor_options){.services = &f->services, .kinds = fx_kinds}, &f->executor))
        abort();
}

static void rig_done(fx *f, sink *s)
{
    fx_done(f);
    sink_done(s);
}

/* ---- log lines ---- */

static char *lines_of(fx *f, sink *s)
{
    CHECK_EQ(sl_sdk_flush(f->sdk, 5000), 0);
    sl_buf text;
    sl_buf_init(&text, 1u << 20);
    CHECK_EQ(sl_log_lines(sl_buf_str(&s->requests[SL_SIGNAL_LOGS]), SL_LOG_TEXT, &text, NULL), 0);
    (void)sl_buf_put_char(&text, '\0');
    char *copy = strdup(text.data);
    sl_buf_done(&text);
    return copy;
}

/* Takes time stamps and ids out: what is left is the same each time. */
static void strip(char *text)
{
    char *out = text;
    for (char *at = text; *at;) {
        if (at == text || at[-1] == '\n')
            at += strcspn(at, " ") + 1; /* the time */
        if (strncmp(at, "trace_id=", 9) == 0 || strncmp(at, "span_id=", 8) == 0 || strncmp(at, "duration_ms=", 12) == 0)
            at += strcspn(at, " ") + 1;
        else
            *out++ = *at++;
    }
    *out = 0;
}

SL_TEST(log_lines_are_those_of_the_guide)
{
    fx f;
    sink s;
    rig_init(&f, &s);
    sl_flow_run *run = fx_run(&f,
                              "id: abc123\nname: rag-pipeline\nsteps:\n"
                              "  - {id: step1, type: llm, provider: anthropic, model: claude-3-5-sonnet, prompt: x, "
                              "fail: 1, retry: {max_attempts: 1, initial_delay_ms: 4, max_delay_ms: 4, backoff: "
                              "constant}}\n"
                              "  - {id: step2, type: action, action: x, depends_on: step1, condition: 'no'}\n",
                              NULL);
    char *text = lines_of(&f, &s);
    strip(text);
    char *delay = strstr(text, "delay_ms=");
    REQUIRE(delay);
    delay[9] = 'N'; /* jitter */
    CHECK_STR(sl_str_c(text),
              "INFO workflow_id=abc123 workflow_name=\"rag-pipeline\" message=\"Starting workflow execution\"\n"
              "INFO workflow_id=abc123 workflow_name=\"rag-pipeline\" step_id=\"step1\" step_type=llm "
              "message=\"Executing step\"\n"
              "DEBUG workflow_id=abc123 workflow_name=\"rag-pipeline\" step_id=\"step1\" step_type=llm "
              "provider=\"anthropic\" model=\"claude-3-5-sonnet\" message=\"Calling LLM provider\"\n"
              "WARN workflow_id=abc123 workflow_name=\"rag-pipeline\" step_id=\"step1\" step_type=llm attempt=1 "
              "error_type=provider_error error=\"try 1 failed\" delay_ms=N message=\"Step failed, trying again\"\n"
              "DEBUG workflow_id=abc123 workflow_name=\"rag-pipeline\" step_id=\"step1\" step_type=llm "
              "provider=\"anthropic\" model=\"claude-3-5-sonnet\" message=\"Calling LLM provider\"\n"
              "INFO workflow_id=abc123 workflow_name=\"rag-pipeline\" step_id=\"step1\" step_type=llm "
              "provider=\"anthropic\" model=\"claude-3-5-sonnet\" message=\"Step completed successfully\"\n"
              "INFO workflow_id=abc123 workflow_name=\"rag-pipeline\" step_id=\"step2\" step_type=action "
              "message=\"Step skipped\"\n"
              "INFO workflow_id=abc123 workflow_name=\"rag-pipeline\" message=\"Workflow completed successfully\"\n");
    free(text);
    sl_flow_run_unref(run);
    rig_done(&f, &s);
}

/* ---- spans ---- */

#define MAX_SPANS 64

typedef struct spans {
    size_t count;
    sl_otlp_span of[MAX_SPANS];
} spans;

static void spans_of(fx *f, sink *s, spans *ret_spans)
{
    CHECK_EQ(sl_sdk_flush(f->sdk, 5000), 0);
    ret_spans->count = 0;
    sl_otlp_records records = sl_otlp_records_of(sl_buf_str(&s->requests[SL_SIGNAL_TRACES]));
    while (sl_otlp_records_next(&records) && ret_spans->count < MAX_SPANS)
        CHECK_EQ(sl_otlp_read_span(records.item, &ret_spans->of[ret_spans->count++]), 0);
    CHECK_EQ(records.error, 0);
}

static const sl_otlp_span *named(const spans *all, const char *name)
{
    static const sl_otlp_span none;
    for (size_t i = 0; i < all->count; i++) {
        if (sl_str_eq_c(all->of[i].name, name))
            return &all->of[i];
    }
    sl_test_failed(__FILE__, __LINE__, "no span %s", name);
    return &none;
}

static void check_attr(const sl_otlp_span *span, const char *key, const char *value)
{
    sl_otlp_any any = {.type = SL_VALUE_EMPTY};
    (void)!sl_otlp_find_attr(span->self, SL_OTLP_SPAN_ATTRS, sl_str_c(key), &any);
    char text[32];
    if (any.type == SL_VALUE_INT) {
        (void)snprintf(text, sizeof text, "%lld", (long long)any.integer);
        any.str = sl_str_c(text);
    }
    CHECK_STR(any.str, value);
}

static bool is_child(const sl_otlp_span *child, const sl_otlp_span *parent)
{
    return sl_str_eq(child->parent_span_id, parent->span_id) && sl_str_eq(child->trace_id, parent->trace_id) &&
           child->start_ns >= parent->start_ns && child->end_ns <= parent->end_ns;
}

SL_TEST(the_tree_is_as_drawn)
{
    fx f;
    sink s;
    spans all;
    rig_init(&f, &s);
    sl_flow *flow = fx_flow("id: abc\nname: my-workflow\nsteps:\n"
                            "  - {id: step1, type: llm, provider: p, model: m, prompt: x}\n"
                            "  - {id: step2, type: transform, function: merge, depends_on: step1}\n"
                            "  - {id: step4, type: action, action: x, fail: 1, retry: {max_attempts: 1, "
                            "initial_delay_ms: 1}}\n"
                            "  - {id: block, type: parallel, tasks: [{id: inner, type: action, action: x}]}\n"
                            "  - {id: bad, type: action, action: x, fail: 1, error: refused}\n");
    sl_span_context parent;
    REQUIRE(sl_traceparent_parse(SL_STR("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"), &parent) == 0);
    const sl_flow_run_options options = {.run_id = SL_STR("run-1"), .parent = &parent};
    sl_flow_run *run = fx_start_run(&f, flow, NULL, &options);
    CHECK(fx_wait(&f, run));
    spans_of(&f, &s, &all);
    CHECK_EQ(all.count, 7);
    const sl_otlp_span *root = named(&all, "workflow.execute:my-workflow");
    char hex[33] = "";
    sl_hex_encode((const uint8_t *)root->trace_id.ptr, 16, hex);
    CHECK_STR(sl_str_c(hex), "0af7651916cd43dd8448eb211c80319c");
    sl_flow_run_trace_id(run, hex);
    CHECK_STR(sl_str_c(hex), "0af7651916cd43dd8448eb211c80319c");
    check_attr(root, "workflow_id", "abc");
    check_attr(root, "workflow_name", "my-workflow");
    check_attr(root, "run_id", "run-1");
    CHECK_EQ(root->status_code, SL_STATUS_ERROR);
    CHECK_STR(root->status_message, "step bad: try 1 failed");
    static const char *const steps[][2] = {
        {"step1", "llm"}, {"step2", "transform"}, {"step4", "action"}, {"bad", "action"}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "step.execute:%s", steps[i][0]);
        const sl_otlp_span *span = named(&all, name);
        CHECK(is_child(span, root));
        check_attr(span, "step_id", steps[i][0]);
        check_attr(span, "step_type", steps[i][1]);
    }
    CHECK(is_child(named(&all, "step.execute:inner"), named(&all, "step.execute:block")));
    const sl_otlp_span *retried = named(&all, "step.execute:step4");
    check_attr(retried, "attempts", "2");
    CHECK_EQ(sl_otlp_count(retried->self, SL_OTLP_SPAN_EVENTS), 1);
    CHECK_EQ(retried->status_code, SL_STATUS_UNSET);
    CHECK_EQ(named(&all, "step.execute:bad")->status_code, SL_STATUS_ERROR);
    check_attr(named(&all, "step.execute:bad"), "error.type", "provider_refused");
    sl_flow_run_unref(run);
    sl_flow_unref(flow);
    rig_done(&f, &s);
}

SL_TEST(a_run_without_a_parent_is_a_trace_of_its_own)
{
    fx f;
    sink s;
    spans all;
    rig_init(&f, &s);
    sl_flow_run *run = fx_run(&f, FLOW "  - {id: a, type: action, action: x}\n", NULL);
    sl_flow_run *second = fx_run(&f, FLOW "  - {id: b, type: action, action: x}\n", NULL);
    spans_of(&f, &s, &all);
    CHECK_EQ(all.count, 4);
    CHECK_EQ(named(&all, "workflow.execute:demo")->parent_span_id.len, 0);
    CHECK(!sl_str_eq(named(&all, "step.execute:a")->trace_id, named(&all, "step.execute:b")->trace_id));
    sl_flow_run_unref(run);
    sl_flow_run_unref(second);
    rig_done(&f, &s);
}

/* ---- metrics ---- */

SL_TEST(each_family_moves_in_one_run_and_is_exact)
{
    fx f;
    fx_init(&f, NULL, true);
    sl_flow_run *run = fx_run(&f,
                              "name: rag-pipeline\nsteps:\n"
                              "  - {id: q, type: embed, provider: openai, model: e, input: x, tokens: 4}\n"
                              "  - {id: s, type: vector_search, database: d, index: i, query: [1], depends_on: q}\n"
                              "  - {id: t, type: transform, function: merge, depends_on: s}\n"
                              "  - {id: a, type: llm, provider: anthropic, model: claude, prompt: x, depends_on: t, "
                              "tokens: 100, delay_ms: 1}\n"
                              "  - {id: n, type: action, action: x, depends_on: a, condition: 'false'}\n"
                              "  - {id: p, type: parallel, depends_on: n, tasks: [{id: x, type: llm, provider: "
                              "anthropic, model: claude, prompt: x, tokens: 11}]}\n"
                              "  - {id: bad, type: action, action: x, depends_on: p, fail: 1, error: internal}\n",
                              NULL);
    static const char *const lines[] = {
        "orchestrator_workflow_executions_total{status=\"failure\",workflow_name=\"rag-pipeline\"} 1",
        "orchestrator_workflow_duration_seconds_count{workflow_name=\"rag-pipeline\"} 1",
        "orchestrator_active_workflows 0",
        "orchestrator_llm_requests_total{model=\"claude\",provider=\"anthropic\",status=\"success\"} 2",
        "orchestrator_llm_requests_total{model=\"e\",provider=\"openai\",status=\"success\"} 1",
        "orchestrator_llm_tokens_total{model=\"claude\",provider=\"anthropic\",type=\"input\"} 111",
        "orchestrator_llm_tokens_total{model=\"claude\",provider=\"anthropic\",type=\"output\"} 14",
        "orchestrator_llm_tokens_total{model=\"e\",provider=\"openai\",type=\"input\"} 4",
        "orchestrator_llm_request_duration_seconds_count{model=\"claude\",provider=\"anthropic\"} 2",
        "orchestrator_step_executions_total{status=\"success\",step_type=\"embed\"} 1",
        "orchestrator_step_executions_total{status=\"success\",step_type=\"vector_search\"} 1",
        "orchestrator_step_executions_total{status=\"success\",step_type=\"transform\"} 1",
        "orchestrator_step_executions_total{status=\"success\",step_type=\"llm\"} 2",
        "orchestrator_step_executions_total{status=\"skipped\",step_type=\"action\"} 1",
        "orchestrator_step_executions_total{status=\"failure\",step_type=\"action\"} 1",
        "orchestrator_step_executions_total{status=\"success\",step_type=\"parallel\"} 1",
        "orchestrator_step_duration_seconds_count{step_type=\"llm\"} 2",
        "orchestrator_step_duration_seconds_count{step_type=\"action\"} 1",
        "orchestrator_errors_total{component=\"step_executor\",error_type=\"internal\"} 1",
        "orchestrator_cost_usd_total{model=\"claude\",provider=\"anthropic\",workflow_name=\"rag-pipeline\"} 0.5",
    };
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++)
        CHECK(fx_metric(&f, lines[i]));
    sl_step_usage usage;
    sl_flow_run_usage(run, &usage);
    CHECK_EQ(usage.input_tokens, 115);
    CHECK_EQ(usage.output_tokens, 21);
    CHECK(usage.cost_known && usage.cost_usd == 0.75);
    json_t *report = sl_flow_run_report(run);
    CHECK_EQ(json_integer_value(json_object_get(json_object_get(report, "tokens"), "total")), 136);
    CHECK_EQ(json_array_size(json_object_get(report, "steps")), 7);
    json_decref(report);
    sl_flow_run_unref(run);
    fx_done(&f);
}

SL_TEST(defect_active_workflows_falls_again)
{
    fx f;
    fx_init(&f, NULL, true);
    sl_flow *flow = fx_flow(FLOW "  - {id: a, type: action, action: x, delay_ms: '{{ms}}', fail: '{{fail}}'}\n");
    sl_flow_run *runs[3] = {fx_start_run(&f, flow, "{\"ms\":5,\"fail\":0}", NULL),
                            fx_start_run(&f, flow, "{\"ms\":5,\"fail\":1}", NULL),
                            fx_start_run(&f, flow, "{\"ms\":9999}", NULL)};
    fx_turn(&f, 1);
    CHECK(fx_metric(&f, "orchestrator_active_workflows 3"));
    CHECK(fx_wait(&f, runs[0]) && fx_wait(&f, runs[1]));
    CHECK(fx_metric(&f, "orchestrator_active_workflows 1"));
    sl_flow_run_cancel(runs[2]);
    CHECK(fx_metric(&f, "orchestrator_active_workflows 0"));
    CHECK(fx_metric(&f, "orchestrator_workflow_executions_total{status=\"success\",workflow_name=\"demo\"} 1"));
    CHECK(fx_metric(&f, "orchestrator_workflow_executions_total{status=\"failure\",workflow_name=\"demo\"} 2"));
    for (size_t i = 0; i < 3; i++)
        sl_flow_run_unref(runs[i]);
    sl_flow_unref(flow);
    fx_done(&f);
}

SL_TEST(defect_step_type_is_vector_search)
{
    CHECK_STR(sl_str_c(sl_step_type_name(SL_STEP_VECTOR_SEARCH)), "vector_search");
    CHECK_STR(sl_str_c(sl_step_error_name(SL_STEP_ERROR_PROVIDER)), "provider_error");
}

SL_TEST(nothing_is_recorded_without_an_sdk)
{
    fx f;
    fx_init(&f, NULL, false);
    sl_flow_run *run =
        fx_run(&f, FLOW "  - {id: a, type: llm, provider: p, model: m, prompt: x, tokens: 5, fail: 1}\n", NULL);
    char trace[33];
    sl_flow_run_trace_id(run, trace);
    CHECK_STR(sl_str_c(trace), "00000000000000000000000000000000");
    sl_flow_run_unref(run);
    fx_done(&f);
}
