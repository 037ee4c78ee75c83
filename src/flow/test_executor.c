/* The executor: order, limits, conditions, retries, timeouts, cancel, blocks, what templates see, telemetry. */
#include "src/flow/executor.h"

#include "src/flow/test_flow_fixture.h"

#define FLOW "name: demo\nsteps:\n"
#define STEP(id, more) "  - {id: " id ", type: action, action: x" more "}\n"

/* ---- order and limits ---- */

SL_TEST(steps_run_when_what_they_depend_on_has_ended)
{
    fx f;
    fx_init(&f, NULL, false);
    sl_flow_run *run = fx_run(&f,
                              FLOW STEP("d", ", depends_on: [b, c]") STEP("b", ", depends_on: a, delay_ms: 5")
                                  STEP("c", ", depends_on: a") STEP("a", ""),
                              NULL);
    CHECK_EQ(sl_flow_run_status(run), SL_RUN_SUCCEEDED);
    CHECK_STR(sl_str_c(f.order), "a b c d ");
    CHECK_EQ(fx_step(run, "d").attempts, 1);
    fx_check_outputs(run, "{\"a\":{\"result\":\"a\"},\"b\":{\"result\":\"b\"},\"c\":{\"result\":\"c\"},\"d\":{"
                          "\"result\":\"d\"}}");
    sl_flow_run_unref(run);
    fx_done(&f);
}

SL_TEST(four_steps_of_a_run_at_once_unless_it_says_otherwise)
{
    static const char yaml[] = FLOW STEP("a", ", delay_ms: 20") STEP("b", ", delay_ms: 20") STEP("c", ", delay_ms: 20")
        STEP("d", ", delay_ms: 20") STEP("e", ", delay_ms: 20") STEP("g", ", delay_ms: 20");
    static const size_t limits[][2] = {{0, 4}, {1, 1}, {2, 2}, {100, 6}};
    for (size_t i = 0; i < sizeof limits / sizeof *limits; i++) {
        fx f;
        fx_init(&f, NULL, false);
        sl_flow *flow = fx_flow(yaml);
        const sl_flow_run_options options = {.max_concurrency = limits[i][0]};
        sl_flow_run *run = fx_start_run(&f, flow, NULL, &options);
        CHECK(fx_wait(&f, run));
        CHECK_EQ(f.most, limits[i][1]);
        CHECK_EQ(f.tries, 6);
        sl_flow_run_unref(run);
        sl_flow_unref(flow);
        fx_done(&f);
    }
}

SL_TEST(many_runs_share_the_common_limit)
{
    fx f;
    fx_init(&f, &(sl_executor_options){.max_concurrency = 3, .max_runs = 5}, false);
    sl_flow *flow = fx_flow(FLOW STEP("a", ", delay_ms: 3") STEP("b", ", delay_ms: 3"));
    sl_flow_run *runs[20];
    for (size_t i = 0; i < 20; i++)
        runs[i] = fx_start_run(&f, flow, NULL, NULL);
    sl_executor_stats stats;
    sl_executor_get_stats(f.executor, &stats);
    CHECK_EQ(stats.queued, 20);
    (void)uv_run(&f.loop.uv, UV_RUN_NOWAIT);
    sl_executor_get_stats(f.executor, &stats);
    CHECK_EQ(stats.running, 5);
    CHECK_EQ(stats.queued, 15);
    CHECK_EQ(stats.active, 3);
    CHECK_EQ(stats.waiting, 7);
    for (size_t i = 0; i < 20; i++) {
        CHECK(fx_wait(&f, runs[i]));
        CHECK_EQ(sl_flow_run_status(runs[i]), SL_RUN_SUCCEEDED);
        sl_flow_run_unref(runs[i]);
    }
    CHECK_EQ(f.most, 3);
    CHECK_EQ(f.tries, 40);
    sl_flow_unref(flow);
    fx_done(&f);
}

SL_TEST(runs_beyond_the_queue_are_refused)
{
    fx f;
    fx_init(&f, &(sl_executor_options){.max_runs = 1, .max_queued = 2}, false);
    sl_flow *flow = fx_flow(FLOW STEP("a", ", hang: true"));
    sl_flow_run *run = NULL;
    const sl_flow_run_options named = {.run_id = SL_STR("mine")};
    CHECK_EQ(sl_flow_run_start(f.executor, flow, NULL, &named, &run), 0);
    CHECK_EQ(sl_flow_run_start(f.executor, flow, NULL, &named, NULL), SL_EEXIST);
    CHECK(sl_flow_run_find(f.executor, SL_STR("mine")) == run);
    CHECK(sl_flow_run_find(f.executor, SL_STR("other")) == NULL);
    CHECK_EQ(sl_flow_run_start(f.executor, flow, NULL, NULL, NULL), 0);
    CHECK_EQ(sl_flow_run_start(f.executor, flow, NULL, NULL, NULL), SL_EAGAIN);
    const sl_flow_run_options bad = {.run_id = SL_STR("a b")};
    CHECK_EQ(sl_flow_run_start(f.executor, flow, NULL, &bad, NULL), SL_EINVAL);
    json_t *list = json_array();
    CHECK_EQ(sl_flow_run_start(f.executor, flow, list, NULL, NULL), SL_EINVAL);
    json_decref(list);
    sl_flow_run_cancel(run);
    CHECK(sl_flow_run_find(f.executor, SL_STR("mine")) == NULL);
    sl_flow_run_unref(run);
    sl_flow_unref(flow);
    fx_done(&f);
}

/* ---- what templates see ---- */

SL_TEST(templates_see_inputs_and_outputs_in_every_way_the_format_has)
{
    fx f;
    fx_init(&f, NULL, false);
    sl_flow_run *run = fx_run(
        &f,
        FLOW STEP("a", ", give: '{{x}}{{input.x}}{{inputs.x}}', text: 'T', output: [mine]")
            STEP("b", ", depends_on: a, give: '{{outputs.a}}|{{outputs.a.mine}}|{{steps.a.mine}}|{{steps.a.result}}'")
                STEP("c", ", depends_on: a, give: '{{workflow.name}} {{#if workflow.run_id}}id{{/if}}'")
                    STEP("d", ", give: '{{inputs.list}}'"),
        "{\"x\":\"X\",\"list\":[1,{\"k\":2}]}");
    fx_check_outputs(run, "{\"a\":{\"mine\":\"XXX\"},\"b\":{\"result\":\"T|XXX|XXX|XXX\"},\"c\":{\"result\":\"demo "
                          "id\"},\"d\":{\"result\":[1,{\"k\":2}]}}");
    sl_flow_run_unref(run);
    fx_done(&f);
}

/* ---- conditions ---- */

SL_TEST(defect_skipped_step_does_not_block_its_dependents)
{
    fx f;
    fx_init(&f, NULL, true);
    uint64_t begin = sl_mono_ns();
    sl_flow_run *run = fx_run(&f,
                              FLOW STEP("a", ", condition: 'false'") STEP("b", ", depends_on: a")
                                  STEP("c", ", depends_on: b, condition: '{{steps.b.result}} == b'"),
                              NULL);
    CHECK((sl_mono_ns() - begin) / 1000000 < 1000);
    CHECK_EQ(sl_flow_run_status(run), SL_RUN_SUCCEEDED);
    CHECK_EQ(fx_step(run, "a").status, SL_STEP_SKIPPED);
    CHECK_EQ(fx_step(run, "a").attempts, 0);
    CHECK_EQ(fx_step(run, "b").status, SL_STEP_SUCCEEDED);
    CHECK_EQ(fx_step(run, "c").status, SL_STEP_SUCCEEDED);
    CHECK(fx_metric(&f, "orchestrator_step_executions_total{status=\"skipped\",step_type=\"action\"} 1"));
    CHECK(fx_metric(&f, "orchestrator_step_executions_total{status=\"success\",step_type=\"action\"} 2"));
    CHECK(fx_metric(&f, "orchestrator_step_duration_seconds_count{step_type=\"action\"} 2"));
    sl_flow_run_unref(run);
    fx_done(&f);
}

/* ---- failures ---- */

SL_TEST(defect_failed_dependency_does_not_count_as_completed)
{
    fx f;
    fx_init(&f, NULL, true);
    sl_flow_run *run = fx_run(&f,
                              FLOW STEP("a", ", fail: 9, error: refused") STEP("b", ", depends_on: a")
                                  STEP("c", ", depends_on: b") STEP("d", ", delay_ms: 10"),
                              NULL);
    CHECK_EQ(sl_flow_run_status(run), SL_RUN_FAILED);
    CHECK_STR(sl_str_c(sl_flow_run_error(run)), "step a: try 1 failed");
    CHECK_EQ(sl_flow_run_error_type(run), SL_STEP_ERROR_REFUSED);
    CHECK_EQ(fx_step(run, "b").status, SL_STEP_CANCELLED);
    CHECK_STR(sl_str_c(fx_step(run, "b").message), "not run: step a failed");
    CHECK_STR(sl_str_c(fx_step(run, "c").message), "not run: step a failed");
    CHECK_EQ(fx_step(run, "d").status, SL_STEP_SUCCEEDED); /* independent steps go on to their ends */
    CHECK_STR(sl_str_c(f.order), "a d ");
    CHECK(fx_metric(&f, "orchestrator_workflow_executions_total{status=\"failure\",workflow_name=\"demo\"} 1"));
    CHECK(fx_metric(&f, "orchestrator_step_executions_total{status=\"failure\",step_type=\"action\"} 1"));
    CHECK(fx_metric(&f, "orchestrator_errors_total{component=\"step_executor\",error_type=\"provider_refused\"} 1"));
    sl_flow_run_unref(run);
    fx_done(&f);
}

#define RETRY(more) ", retry: {max_attempts: 3, initial_delay_ms: 10" more "}"

SL_TEST(defect_provider_errors_are_retried)
{
    fx f;
    fx_init(&f, NULL, true);
    sl_flow_run *run = fx_run(
        &f, FLOW "  - {id: a, type: llm, provider: p, model: m, prompt: hi, fail: 2, tokens: 5" RETRY("") "}\n", NULL);
    CHECK_EQ(sl_flow_run_status(run), SL_RUN_SUCCEEDED);
    CHECK_EQ(fx_step(run, "a").attempts, 3);
    CHECK_EQ(f.tries, 3);
    CHECK(fx_metric(&f, "orchestrator_llm_requests_total{model=\"m\",provider=\"p\",status=\"failure\"} 2"));
    CHECK(fx_metric(&f, "orchestrator_llm_requests_total{model=\"m\",provider=\"p\",status=\"success\"} 1"));
    CHECK(fx_metric(&f, "orchestrator_llm_request_duration_seconds_count{model=\"m\",provider=\"p\"} 3"));
    CHECK(fx_metric(&f, "orchestrator_errors_total{component=\"provider\",error_type=\"provider_error\"} 2"));
    CHECK(fx_metric(&f, "orchestrator_step_executions_total{status=\"success\",step_type=\"llm\"} 1"));
    sl_flow_run_unref(run);
    fx_done(&f);
}

SL_TEST(max_attempts_counts_the_tries_after_the_first)
{
    fx f;
    fx_init(&f, NULL, true);
    sl_flow_run *run = fx_run(&f, FLOW STEP("a", ", fail: 99" RETRY("")), NULL);
    CHECK_EQ(sl_flow_run_status(run), SL_RUN_FAILED);
    CHECK_EQ(fx_step(run, "a").attempts, 4);
    CHECK(fx_metric(&f, "orchestrator_errors_total{component=\"step_executor\",error_type=\"provider_error\"} 1"));
    sl_flow_run_unref(run);
    run = fx_run(&f, FLOW STEP("a", ", fail: 99"), NULL);
    CHECK_EQ(fx_step(run, "a").attempts, 1);
    sl_flow_run_unref(run);
    run = fx_run(&f, FLOW STEP("a", ", fail: 99, error: internal" RETRY("")), NULL);
    CHECK_EQ(fx_step(run, "a").attempts, 1); /* not worth a retry */
    sl_flow_run_unref(run);
    fx_done(&f);
}

/* Milliseconds between the begins of tries `from` and `from + 1`. */
static uint64_t gap_ms(const fx *f, size_t from)
{
    return (f->begun_ns[from + 1] - f->begun_ns[from]) / 1000000;
}

SL_TEST(defect_linear_backoff_grows)
{
    static const struct {
        const char *rule;
        unsigned factors[3];
    } cases[] = {
        {", backoff: exponential", {1, 2, 4}}, {", backoff: linear", {1, 2, 3}}, {", backoff: constant", {1, 1, 1}}};
    for (size_t i = 0; i < 3; i++) {
        fx f;
        fx_init(&f, NULL, false);
        char yaml[512];
        (void)snprintf(yaml, sizeof yaml, FLOW STEP("a", ", fail: 3, retry: {max_attempts: 3, initial_delay_ms: 40%s}"),
                       cases[i].rule);
        sl_flow_run *run = fx_run(&f, yaml, NULL);
        CHECK_EQ(f.tries, 4);
        for (size_t t = 0; t < 3; t++)
            CHECK(gap_ms(&f, t) + 1 >= 30 * cases[i].factors[t]); /* 40 ms less a quarter */
        if (i == 2)
            CHECK(gap_ms(&f, 2) < 400);
        sl_flow_run_unref(run);
        fx_done(&f);
    }
}

SL_TEST(the_delay_has_a_maximum_and_a_peer_may_ask_for_another)
{
    fx f;
    fx_init(&f, NULL, false);
    sl_flow_run *run = fx_run(&f,
                              FLOW STEP("a", ", fail: 2, retry: {max_attempts: 2, initial_delay_ms: 500, "
                                             "max_delay_ms: 20}"),
                              NULL);
    CHECK(gap_ms(&f, 0) < 400 && gap_ms(&f, 1) < 400);
    sl_flow_run_unref(run);
    fx_done(&f);
    fx_init(&f, NULL, false);
    run = fx_run(&f, FLOW STEP("a", ", fail: 1, retry_after_ms: 60, retry: {max_attempts: 1, initial_delay_ms: 1}"),
                 NULL);
    CHECK(gap_ms(&f, 0) + 1 >= 60); /* timers count whole milliseconds */
    sl_flow_run_unref(run);
    fx_done(&f);
}

SL_TEST(a_step_that_backs_off_holds_no_place)
{
    fx f;
    fx_init(&f, NULL, false);
    sl_flow *flow = fx_flow(FLOW STEP("a", ", fail: 1, retry: {max_attempts: 1, initial_delay_ms: 50}") STEP("b", ""));
    const sl_flow_run_options options = {.max_concurrency = 1};
    sl_flow_run *run = fx_start_run(&f, flow, NULL, &options);
    CHECK(fx_wait(&f, run));
    CHECK_STR(sl_str_c(f.order), "a b a ");
    sl_flow_run_unref(run);
    sl_flow_unref(flow);
    fx_done(&f);
}

/* ---- time ---- */

SL_TEST(a_try_that_takes_too_long_is_given_up_and_tried_again)
{
    fx f;
    fx_init(&f, NULL, true);
    sl_flow_run *run = fx_run(&f,
                              FLOW STEP("a", ", hang: true, timeout_seconds: 0.03, retry: {max_attempts: 1, "
                                             "initial_delay_ms: 1}") STEP("b", ", depends_on: a"),
                              NULL);
    CHECK_EQ(sl_flow_run_status(run), SL_RUN_FAILED);
    CHECK_EQ(sl_flow_run_error_type(run), SL_STEP_ERROR_TIMEOUT);
    CHECK_EQ(fx_step(run, "a").attempts, 2);
    CHECK_EQ(f.cancels, 2);
    CHECK_STR(sl_str_c(fx_step(run, "a").message), "timed out after 0.03 s");
    CHECK(fx_metric(&f, "orchestrator_errors_total{component=\"executor\",error_type=\"timeout\"} 1"));
    sl_flow_run_unref(run);
    fx_done(&f);
}

SL_TEST(a_run_that_takes_too_long_fails_and_its_steps_are_cancelled)
{
    fx f;
    fx_init(&f, NULL, true);
    sl_flow_run *run = fx_run(&f,
                              "name: slow\ntimeout_seconds: 0.04\nsteps:\n" STEP("a", ", hang: true")
                                  STEP("b", ", depends_on: a") STEP("c", ""),
                              NULL);
    CHECK_EQ(sl_flow_run_status(run), SL_RUN_FAILED);
    CHECK_EQ(sl_flow_run_error_type(run), SL_STEP_ERROR_TIMEOUT);
    CHECK_EQ(fx_step(run, "a").status, SL_STEP_CANCELLED);
    CHECK_EQ(fx_step(run, "b").status, SL_STEP_CANCELLED);
    CHECK_EQ(fx_step(run, "c").status, SL_STEP_SUCCEEDED);
    CHECK(fx_metric(&f, "orchestrator_errors_total{component=\"executor\",error_type=\"timeout\"} 1"));
    CHECK(fx_metric(&f, "orchestrator_active_workflows 0"));
    sl_flow_run_unref(run);
    fx_done(&f);
}

SL_TEST(cancel_ends_everything_at_once)
{
    fx f;
    fx_init(&f, NULL, true);
    sl_flow *flow = fx_flow(FLOW STEP("a", ", hang: true") STEP("b", ", depends_on: a")
                                STEP("c", ", fail: 1, retry: {max_attempts: 1, initial_delay_ms: 20000}"));
    sl_flow_run *run = fx_start_run(&f, flow, NULL, NULL);
    fx_turn(&f, 5);
    CHECK(fx_metric(&f, "orchestrator_active_workflows 1"));
    CHECK_EQ(fx_step(run, "c").status, SL_STEP_BACKING_OFF);
    sl_flow_run_cancel(run);
    CHECK_EQ(sl_flow_run_status(run), SL_RUN_CANCELLED);
    CHECK_EQ(fx_step(run, "a").status, SL_STEP_CANCELLED);
    CHECK_EQ(fx_step(run, "b").status, SL_STEP_CANCELLED);
    CHECK_EQ(fx_step(run, "c").status, SL_STEP_CANCELLED);
    CHECK_EQ(f.cancels, 1);
    CHECK_EQ(f.ends, 1);
    sl_flow_run_cancel(run); /* nothing happens */
    CHECK_EQ(f.ends, 1);
    CHECK(fx_metric(&f, "orchestrator_active_workflows 0"));
    sl_flow_run_unref(run);
    sl_flow_unref(flow);
    fx_done(&f);
}

SL_TEST(closing_ends_runs_that_wait_and_runs_under_way)
{
    fx f;
    fx_init(&f, &(sl_executor_options){.max_runs = 1}, true);
    sl_flow *flow = fx_flow(FLOW STEP("a", ", hang: true"));
    sl_flow_run *first = fx_start_run(&f, flow, NULL, NULL), *second = fx_start_run(&f, flow, NULL, NULL);
    fx_turn(&f, 2);
    CHECK_EQ(sl_flow_run_status(first), SL_RUN_RUNNING);
    CHECK_EQ(sl_flow_run_status(second), SL_RUN_QUEUED);
    sl_executor_close(f.executor, false);
    CHECK_EQ(sl_flow_run_status(first), SL_RUN_CANCELLED);
    CHECK_EQ(sl_flow_run_status(second), SL_RUN_CANCELLED);
    CHECK_EQ(f.ends, 2);
    CHECK_EQ(sl_flow_run_start(f.executor, flow, NULL, NULL, NULL), SL_ECLOSED);
    sl_flow_run_unref(first);
    sl_flow_run_unref(second);
    sl_flow_unref(flow);
    fx_done(&f);
}

/* ---- events ---- */

SL_TEST(events_come_in_order_and_the_end_is_the_last)
{
    fx f;
    fx_init(&f, NULL, false);
    sl_flow_run *run = fx_run(&f,
                              FLOW STEP("a", ", fail: 1, retry: {max_attempts: 1, initial_delay_ms: 1}")
                                  STEP("b", ", depends_on: a, condition: 'no'"),
                              NULL);
    CHECK_STR(sl_str_c(f.log), "run_started:: step_started:a: step_retried:a: step_ended:a:succeeded "
                               "step_ended:b:skipped run_ended:: ");
    sl_flow_run_unref(run);
    fx_done(&f);
}

static void cancel_on_event(void *user, sl_flow_run *run, const sl_flow_event *event)
{
    size_t *left = user;
    (void)event;
    if ((*left)-- == 0)
        sl_flow_run_cancel(run);
}

static void cancel_on_end(void *user, sl_flow_run *run, const sl_flow_event *event)
{
    size_t *ends = user;
    CHECK_EQ(*ends, 0); /* nothing comes behind the end */
    *ends += event->kind == SL_FLOW_RUN_ENDED;
    if (event->kind == SL_FLOW_STEP_ENDED)
        sl_flow_run_cancel(run);
}

SL_TEST(defect_a_run_that_is_cancelled_while_its_block_is_given_up_ends_once)
{
    static const char *const blocks[] = {
        FLOW
        "  - {id: p, type: parallel%s, tasks: [{id: p1, type: action, action: x, hang: true}, {id: p2, type: action, "
        "action: x, hang: true}]}\n",
        FLOW
        "  - {id: l, type: loop%s, items: [1, 2], max_concurrency: 2, steps: [{id: l1, type: action, action: x, hang: "
        "true}]}\n"};
    for (size_t i = 0; i < 4; i++) {
        char yaml[512];
        (void)snprintf(yaml, sizeof yaml, blocks[i & 1], i & 2 ? ", timeout_seconds: 0.05" : "");
        fx f;
        fx_init(&f, NULL, true);
        sl_flow *flow = fx_flow(yaml);
        size_t ends = 0;
        const sl_flow_run_options options = {.on_event = cancel_on_end, .user = &ends};
        sl_flow_run *run = fx_start_run(&f, flow, NULL, &options);
        while (f.tries < 2)
            (void)uv_run(&f.loop.uv, UV_RUN_ONCE);
        if (!(i & 2)) /* else the block's timeout gives it up */
            sl_flow_run_cancel(run);
        CHECK(fx_wait(&f, run));
        CHECK_EQ(sl_flow_run_status(run), SL_RUN_CANCELLED);
        CHECK_EQ(f.cancels, 2);
        CHECK_EQ(ends, 1);
        CHECK(fx_metric(&f, "orchestrator_active_workflows 0"));
        sl_flow_run_unref(run);
        sl_flow_unref(flow);
        fx_done(&f);
    }
}

SL_TEST(defect_places_of_a_cancelled_run_go_to_other_runs)
{
    fx f;
    fx_init(&f, &(sl_executor_options){.max_concurrency = 1}, false);
    sl_flow *hangs = fx_flow(FLOW STEP("a", ", hang: true")), *flow = fx_flow(FLOW STEP("b", ""));
    for (unsigned timed = 0; timed < 2; timed++) {
        const sl_flow_run_options options = {.timeout_ms = timed ? 60 : 0};
        sl_flow_run *first = fx_start_run(&f, hangs, NULL, &options);
        while (sl_flow_run_status(first) == SL_RUN_QUEUED)
            (void)uv_run(&f.loop.uv, UV_RUN_ONCE);
        sl_flow_run *second = fx_start_run(&f, flow, NULL, NULL);
        fx_turn(&f, 2);
        if (!timed) {
            CHECK_EQ(sl_flow_run_status(second), SL_RUN_RUNNING);
            sl_flow_run_cancel(first);
        }
        fx_turn(&f, 1);
        for (unsigned turn = 0; turn < 5000 && sl_flow_run_status(second) == SL_RUN_RUNNING; turn++)
            fx_turn(&f, 2);
        CHECK_EQ(sl_flow_run_status(second), SL_RUN_SUCCEEDED);
        sl_flow_run_unref(first);
        sl_flow_run_unref(second);
    }
    sl_flow_unref(hangs);
    sl_flow_unref(flow);
    fx_done(&f);
}

typedef struct again {
    fx *f;
    sl_flow *flow;
    size_t refused;
} again;

static void start_another(void *user, sl_flow_run *run, const sl_flow_event *event)
{
    again *a = user;
    (void)run;
    if (event->kind == SL_FLOW_RUN_ENDED)
        a->refused += sl_flow_run_start(a->f->executor, a->flow, NULL, &(sl_flow_run_options){0}, NULL) == SL_ECLOSED;
}

SL_TEST(while_closing_no_run_is_accepted)
{
    fx f;
    fx_init(&f, &(sl_executor_options){.max_runs = 1}, false);
    again a = {&f, fx_flow(FLOW STEP("a", ", hang: true")), 0};
    const sl_flow_run_options options = {.on_event = start_another, .user = &a};
    sl_flow_run *first = fx_start_run(&f, a.flow, NULL, &options), *second = fx_start_run(&f, a.flow, NULL, &options);
    fx_turn(&f, 2);
    sl_executor_close(f.executor, false);
    CHECK_EQ(a.refused, 2);
    sl_flow_run_unref(first);
    sl_flow_run_unref(second);
    sl_flow_unref(a.flow);
    fx_done(&f);
}

SL_TEST(a_watcher_may_cancel_the_run_at_any_event)
{
    static const char yaml[] = FLOW STEP("a", ", fail: 1, retry: {max_attempts: 1, initial_delay_ms: 1}")
        STEP("b", ", depends_on: a, delay_ms: 1") "  - {id: p, type: parallel, tasks: [{id: p1, type: action, action: "
                                                  "x}, {id: p2, type: action, action: x}]}\n"
                                                  "  - {id: l, type: loop, items: [1, 2], steps: [{id: l1, type: "
                                                  "action, action: x}]}\n";
    for (size_t at = 0; at < 24; at++) {
        fx f;
        fx_init(&f, NULL, true);
        sl_flow *flow = fx_flow(yaml);
        size_t left = at;
        const sl_flow_run_options options = {.on_event = cancel_on_event, .user = &left};
        sl_flow_run *run = fx_start_run(&f, flow, NULL, &options);
        CHECK(fx_wait(&f, run));
        CHECK(sl_flow_run_status(run) == SL_RUN_CANCELLED || at >= 17);
        CHECK(fx_metric(&f, "orchestrator_active_workflows 0"));
        sl_flow_run_unref(run);
        sl_flow_unref(flow);
        fx_done(&f);
    }
}

static void emit_and_give(sl_step_try *attempt)
{
    fx_here->tries++;
    sl_step_emit(attempt, "progress", json_pack("{s:i}", "share", 50));
    sl_step_succeed(attempt, json_array(), NULL, NULL);
}

static void cancel_on_emit(void *user, sl_flow_run *run, const sl_flow_event *event)
{
    fx_on_event(user, run, event);
    if (event->kind != SL_FLOW_STEP_EMITTED)
        return;
    json_t *object = sl_flow_event_json(run, event);
    CHECK_EQ(json_integer_value(json_object_get(json_object_get(object, "data"), "share")), 50);
    CHECK_STR(sl_str_c(json_string_value(json_object_get(object, "name"))), "progress");
    json_decref(object);
    sl_flow_run_cancel(run);
    sl_flow_run_cancel(run);
}

SL_TEST(a_run_is_cancelled_while_one_of_its_steps_speaks)
{
    static const sl_step_kind kind = {emit_and_give, fx_cancel};
    static const sl_step_kind *const kinds[SL_STEP_TYPE_COUNT] = {[SL_STEP_ACTION] = &kind};
    fx f;
    fx_init(&f, &(sl_executor_options){.kinds = kinds}, true);
    sl_flow *flow = fx_flow(FLOW STEP("a", "") STEP("b", ", depends_on: a"));
    const sl_flow_run_options options = {.on_event = cancel_on_emit, .user = &f};
    sl_flow_run *run = fx_start_run(&f, flow, NULL, &options);
    CHECK(fx_wait(&f, run));
    CHECK_EQ(sl_flow_run_status(run), SL_RUN_CANCELLED);
    CHECK_EQ(f.tries, 1);
    CHECK_STR(sl_str_c(f.log), "run_started:: step_started:a: step_emitted:a: step_ended:a:cancelled "
                               "step_ended:b:cancelled run_ended:: ");
    sl_flow_run_unref(run);
    sl_flow_unref(flow);
    fx_done(&f);
}

/* ---- graphs at random ---- */

typedef struct graph {
    size_t count;
    bool depends[12][12];
    bool fails[12], skipped[12];
} graph;

static void make_graph(graph *g, sl_rng *rng)
{
    memset(g, 0, sizeof *g);
    g->count = 1 + sl_rng_next(rng) % 12;
    for (size_t i = 0; i < g->count; i++) {
        for (size_t d = 0; d < i; d++)
            g->depends[i][d] = sl_rng_next(rng) % 4 == 0;
        g->fails[i] = sl_rng_next(rng) % 8 == 0;
        g->skipped[i] = sl_rng_next(rng) % 8 == 0;
    }
}

static void graph_yaml(const graph *g, sl_rng *rng, sl_buf *out)
{
    (void)sl_buf_put_c(out, FLOW);
    for (size_t i = 0; i < g->count; i++) {
        (void)sl_buf_printf(out, "  - {id: s%zu, type: action, action: x, delay_ms: %u%s%s, depends_on: [", i,
                            (unsigned)(sl_rng_next(rng) % 3), g->fails[i] ? ", fail: 1" : "",
                            g->skipped[i] ? ", condition: 'no'" : "");
        const char *between = "";
        for (size_t d = 0; d < i; d++) {
            if (g->depends[i][d]) {
                (void)sl_buf_printf(out, "%ss%zu", between, d);
                between = ", ";
            }
        }
        (void)sl_buf_put_c(out, "]}\n");
    }
    (void)sl_buf_put_char(out, '\0');
}

/* What must become of each step. */
static sl_step_status wanted_of(const graph *g, size_t i, const sl_step_status *of)
{
    for (size_t d = 0; d < i; d++) {
        if (g->depends[i][d] && (of[d] == SL_STEP_FAILED || of[d] == SL_STEP_CANCELLED))
            return SL_STEP_CANCELLED;
    }
    return g->skipped[i] ? SL_STEP_SKIPPED : g->fails[i] ? SL_STEP_FAILED : SL_STEP_SUCCEEDED;
}

SL_TEST(graphs_at_random_end_as_the_rules_say)
{
    sl_rng rng;
    sl_rng_init_seed(&rng, 20251114);
    for (size_t round = 0; round < 150; round++) {
        graph g;
        sl_buf yaml;
        sl_buf_init(&yaml, 1u << 16);
        make_graph(&g, &rng);
        graph_yaml(&g, &rng, &yaml);
        fx f;
        fx_init(&f, &(sl_executor_options){.max_concurrency = 1 + round % 5}, false);
        sl_flow *flow = fx_flow(yaml.data);
        sl_buf_done(&yaml);
        const sl_flow_run_options options = {.max_concurrency = 1 + round % 3, .on_event = fx_on_event, .user = &f};
        sl_flow_run *run = fx_start_run(&f, flow, NULL, &options);
        CHECK(fx_wait(&f, run));
        sl_step_status of[12];
        bool failed = false;
        for (size_t i = 0; i < g.count; i++) {
            char id[32], ended[64];
            of[i] = wanted_of(&g, i, of);
            failed |= of[i] == SL_STEP_FAILED;
            (void)snprintf(id, sizeof id, "s%zu", i);
            (void)snprintf(ended, sizeof ended, "step_ended:s%zu:", i);
            CHECK_EQ(fx_step(run, id).status, of[i]);
            char *at = strstr(f.log, ended);
            CHECK(at && !strstr(at + 1, ended)); /* once */
        }
        CHECK_EQ(sl_flow_run_status(run), failed ? SL_RUN_FAILED : SL_RUN_SUCCEEDED);
        CHECK(f.most <= 1 + round % 3 && f.most <= 1 + round % 5);
        sl_flow_run_unref(run);
        sl_flow_unref(flow);
        fx_done(&f);
    }
}

/* ---- results ---- */

SL_TEST(results_are_bounded)
{
    fx f;
    fx_init(&f, &(sl_executor_options){.max_result_bytes = 1000}, false);
    sl_flow_run *run = fx_run(&f, FLOW STEP("a", ", give: '{{big}}'"), "{\"big\":\"0123456789\"}");
    CHECK_EQ(sl_flow_run_status(run), SL_RUN_SUCCEEDED);
    sl_flow_run_unref(run);
    char inputs[2048];
    (void)snprintf(inputs, sizeof inputs, "{\"big\":\"%01500d\"}", 0);
    run = fx_run(&f, FLOW STEP("a", ", give: '{{big}}'"), inputs);
    CHECK_EQ(sl_flow_run_error_type(run), SL_STEP_ERROR_TOO_BIG);
    CHECK_STR(sl_str_c(sl_flow_run_error(run)), "step a: the results are larger than 1000 bytes");
    sl_flow_run_unref(run);
    fx_done(&f);
}

SL_TEST(a_kind_that_is_not_there_fails_its_step)
{
    static const sl_step_kind *const none[SL_STEP_TYPE_COUNT];
    fx f;
    fx_init(&f, &(sl_executor_options){.kinds = none}, false);
    sl_flow_run *run = fx_run(&f, FLOW STEP("a", ""), NULL);
    CHECK_EQ(sl_flow_run_error_type(run), SL_STEP_ERROR_INTERNAL);
    sl_flow_run_unref(run);
    fx_done(&f);
}

/* ---- speed and turns ---- */

static void count_turn(uv_check_t *check)
{
    ++*(size_t *)check->data;
}

SL_TEST(a_turn_of_the_loop_is_bounded)
{
    fx f;
    fx_init(&f, NULL, false);
    uv_check_t check;
    size_t turns = 0;
    check.data = &turns;
    (void)uv_check_init(&f.loop.uv, &check);
    (void)uv_check_start(&check, count_turn);
    sl_flow *flow = fx_flow(FLOW "  - {id: l, type: loop, max_iterations: 5000, items: '{{list}}', steps: [{id: s, "
                                 "type: action, action: x}]}\n");
    json_t *list = json_array();
    for (int i = 0; i < 5000; i++)
        (void)json_array_append_new(list, json_integer(i));
    json_t *inputs = json_pack("{s:o}", "list", list);
    sl_flow_run *run = NULL;
    CHECK_EQ(sl_flow_run_start(f.executor, flow, inputs, NULL, &run), 0);
    CHECK(fx_wait(&f, run));
    CHECK_EQ(sl_flow_run_status(run), SL_RUN_SUCCEEDED);
    CHECK_EQ(f.tries, 5000);
    CHECK(turns >= 5000 / SL_FLOW_TURN_STEPS);
    json_decref(inputs);
    sl_flow_run_unref(run);
    sl_flow_unref(flow);
    uv_close((uv_handle_t *)&check, NULL);
    fx_done(&f);
}

/* ---- without memory ---- */

SL_TEST(every_allocation_may_fail)
{
    static const char yaml[] = FLOW STEP("a", ", fail: 1, retry: {max_attempts: 1, initial_delay_ms: 1}") STEP(
        "b", ", depends_on: a, fail: 1") "  - {id: p, type: parallel, tasks: [{id: p1, type: action, action: x}]}\n"
                                         "  - {id: l, type: loop, items: [1, 2], steps: [{id: l1, type: action, "
                                         "action: x}]}\n";
    bool failed = true;
    for (long n = 0; failed; n++) {
        fx f;
        fx_init(&f, NULL, true);
        sl_flow *flow = fx_flow(yaml);
        sl_flow_run *run = NULL;
        const sl_flow_run_options options = {.on_event = fx_on_event, .user = &f};
        sl_test_fail_alloc(n);
        int error = sl_flow_run_start(f.executor, flow, NULL, &options, &run);
        if (!error)
            CHECK(fx_wait(&f, run));
        failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK(error == 0 || error == SL_ENOMEM);
        CHECK_EQ(f.ends, error ? 0 : 1);
        CHECK(fx_metric(&f, "orchestrator_active_workflows 0"));
        CHECK(error || sl_flow_run_status(run) == SL_RUN_FAILED);
        sl_flow_run_unref(run);
        sl_flow_unref(flow);
        fx_done(&f);
    }
}
