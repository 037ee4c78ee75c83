/* Parallel, branch and loop steps: order of results, limits, failures, paths, what their steps see. */
#include "src/flow/test_flow_fixture.h"

#define FLOW "name: demo\nsteps:\n"

SL_TEST(parallel_results_are_in_the_order_of_the_steps)
{
    fx f;
    fx_init(&f, NULL, true);
    sl_flow_run *run = fx_run(&f,
                              FLOW "  - id: p\n    type: parallel\n    tasks:\n"
                                   "      - {id: x, type: action, action: x, delay_ms: 20}\n"
                                   "      - {id: y, type: action, action: x}\n"
                                   "  - {id: after, type: action, action: x, depends_on: p, give: "
                                   "'{{steps.x.result}}{{steps.p.y.result}} {{outputs.p}}'}\n",
                              NULL);
    CHECK_STR(sl_str_c(f.order), "x y after ");
    fx_check_outputs(run, "{\"after\":{\"result\":\"xy x\\ny\"},\"p\":{\"results\":[{\"result\":\"x\"},{\"result\":"
                          "\"y\"}],\"x\":{\"result\":\"x\"},\"y\":{\"result\":\"y\"}}}");
    CHECK(fx_metric(&f, "orchestrator_step_executions_total{status=\"success\",step_type=\"parallel\"} 1"));
    CHECK(fx_metric(&f, "orchestrator_step_executions_total{status=\"success\",step_type=\"action\"} 3"));
    sl_flow_run_unref(run);
    fx_done(&f);
}

SL_TEST(parallel_outputs_go_by_position)
{
    fx f;
    fx_init(&f, NULL, false);
    sl_flow_run *run = fx_run(&f,
                              FLOW "  - id: p\n    type: parallel\n    output: [one, two]\n    tasks:\n"
                                   "      - {id: x, type: action, action: x}\n"
                                   "      - {id: y, type: action, action: x}\n"
                                   "  - {id: z, type: action, action: x, depends_on: p, give: "
                                   "'{{outputs.p.one}}-{{steps.p.two.result}}'}\n",
                              NULL);
    char *text = fx_outputs(run);
    CHECK(strstr(text, "\"one\":{\"result\":\"x\"}") && strstr(text, "\"two\":{\"result\":\"y\"}"));
    CHECK(strstr(text, "\"z\":{\"result\":\"x-y\"}"));
    free(text);
    sl_flow_run_unref(run);
    fx_done(&f);
}

SL_TEST(parallel_has_a_limit_of_its_own)
{
    fx f;
    fx_init(&f, NULL, false);
    sl_flow_run *run = fx_run(&f,
                              FLOW "  - id: p\n    type: parallel\n    max_concurrency: 2\n    tasks:\n"
                                   "      - {id: a, type: action, action: x, delay_ms: 5}\n"
                                   "      - {id: b, type: action, action: x, delay_ms: 5}\n"
                                   "      - {id: c, type: action, action: x, delay_ms: 5}\n"
                                   "      - {id: d, type: action, action: x, delay_ms: 5, depends_on: a}\n",
                              NULL);
    CHECK_EQ(sl_flow_run_status(run), SL_RUN_SUCCEEDED);
    CHECK_EQ(f.most, 2);
    CHECK_EQ(f.tries, 4);
    sl_flow_run_unref(run);
    fx_done(&f);
}

SL_TEST(a_failed_task_fails_its_block_when_the_others_have_ended)
{
    fx f;
    fx_init(&f, NULL, true);
    sl_flow_run *run = fx_run(&f,
                              FLOW "  - id: p\n    type: parallel\n    tasks:\n"
                                   "      - {id: x, type: action, action: x, fail: 1, error: internal}\n"
                                   "      - {id: y, type: action, action: x, delay_ms: 10}\n",
                              NULL);
    CHECK_EQ(sl_flow_run_status(run), SL_RUN_FAILED);
    CHECK_STR(sl_str_c(sl_flow_run_error(run)), "step p: step p.x: try 1 failed");
    CHECK(strstr(f.log, "step_ended:p.y:succeeded step_ended:p:failed run_ended"));
    CHECK(fx_metric(&f, "orchestrator_errors_total{component=\"step_executor\",error_type=\"internal\"} 1"));
    sl_flow_run_unref(run);
    fx_done(&f);
}

#define BRANCH(condition)                                                                                              \
    FLOW "  - id: b\n    type: branch\n    condition: '" condition "'\n    branches:\n"                                \
         "      red: [{id: r, type: action, action: x}]\n"                                                             \
         "      blue: [{id: u, type: action, action: x}, {id: v, type: action, action: x, depends_on: u}]\n"           \
         "    default: [{id: d, type: action, action: x}]\n"

SL_TEST(the_text_of_a_condition_names_the_branch)
{
    static const struct {
        const char *colour, *order, *branch;
    } cases[] = {{"red", "r ", "red"}, {" blue\\n", "u v ", "blue"}, {"green", "d ", "default"}};
    for (size_t i = 0; i < 3; i++) {
        fx f;
        fx_init(&f, NULL, false);
        char inputs[64];
        (void)snprintf(inputs, sizeof inputs, "{\"colour\":\"%s\"}", cases[i].colour);
        sl_flow_run *run = fx_run(&f, BRANCH("{{colour}}"), inputs);
        CHECK_STR(sl_str_c(f.order), cases[i].order);
        CHECK_STR(sl_str_c(json_string_value(json_object_get(fx_step(run, "b").value, "branch"))), cases[i].branch);
        sl_flow_run_unref(run);
        fx_done(&f);
    }
}

SL_TEST(branches_called_true_and_false_are_chosen_by_a_condition)
{
    static const char yaml[] = FLOW "  - id: b\n    type: branch\n    condition: '{{colour}} == red'\n    branches:\n"
                                    "      'true': [{id: yes, type: action, action: x}]\n"
                                    "      'false': [{id: no, type: action, action: x}]\n";
    fx f;
    fx_init(&f, NULL, false);
    sl_flow_run *first = fx_run(&f, yaml, "{\"colour\":\"red\"}"), *second = fx_run(&f, yaml, "{\"colour\":\"blue\"}");
    CHECK_STR(sl_str_c(f.order), "yes no ");
    sl_flow_run_unref(first);
    sl_flow_run_unref(second);
    fx_done(&f);
}

#define LOOP(more)                                                                                                     \
    FLOW "  - id: l\n    type: loop\n    items: '{{list}}'\n" more "    steps:\n"                                      \
         "      - {id: s, type: action, action: x, give: '{{index}}:{{item}}', delay_ms: '{{item}}'}\n"                \
         "      - {id: t, type: action, action: x, depends_on: s, give: '<{{steps.s.result}}>'}\n"

SL_TEST(loop_results_are_in_the_order_of_the_items)
{
    fx f;
    fx_init(&f, NULL, false);
    sl_flow_run *run = fx_run(&f, LOOP("    max_concurrency: 3\n"), "{\"list\":[20,5,1]}");
    fx_check_outputs(run, "{\"l\":{\"count\":3,\"results\":[{\"result\":\"<0:20>\"},{\"result\":\"<1:5>\"},{\"result\":"
                          "\"<2:1>\"}]}}");
    CHECK_EQ(f.tries, 6);
    CHECK(f.most > 1);
    CHECK(strstr(f.log, "step_ended:l[2].t:succeeded"));
    sl_flow_run_unref(run);
    fx_done(&f);
}

SL_TEST(a_loop_runs_one_round_at_a_time_unless_told_otherwise)
{
    fx f;
    fx_init(&f, NULL, false);
    sl_flow_run *run = fx_run(&f, LOOP(""), "{\"list\":[2,1,0]}");
    CHECK_EQ(f.most, 1);
    CHECK_STR(sl_str_c(f.order), "s t s t s t ");
    sl_flow_run_unref(run);
    run = fx_run(&f, LOOP(""), "{\"list\":\"[1, 2]\"}"); /* the text of a list, as models write it */
    CHECK_EQ(sl_flow_run_status(run), SL_RUN_SUCCEEDED);
    sl_flow_run_unref(run);
    run = fx_run(&f, LOOP(""), "{\"list\":[]}");
    fx_check_outputs(run, "{\"l\":{\"count\":0,\"results\":[]}}");
    sl_flow_run_unref(run);
    fx_done(&f);
}

SL_TEST(loops_have_limits)
{
    fx f;
    fx_init(&f, NULL, false);
    sl_flow_run *run = fx_run(&f, LOOP("    max_iterations: 2\n"), "{\"list\":[1,1,1]}");
    CHECK_EQ(sl_flow_run_error_type(run), SL_STEP_ERROR_TOO_BIG);
    CHECK_STR(sl_str_c(sl_flow_run_error(run)), "step l: items: 3, more than max_iterations (2)");
    sl_flow_run_unref(run);
    run = fx_run(&f, LOOP(""), "{\"list\":7}");
    CHECK_EQ(sl_flow_run_error_type(run), SL_STEP_ERROR_INPUT);
    sl_flow_run_unref(run);
    fx_done(&f);
}

SL_TEST(no_round_begins_behind_one_that_failed)
{
    fx f;
    fx_init(&f, NULL, false);
    sl_flow_run *run = fx_run(&f,
                              FLOW "  - id: l\n    type: map\n    items: [0, 9, 0]\n    steps:\n"
                                   "      - {id: s, type: action, action: x, fail: '{{item}}'}\n",
                              NULL);
    CHECK_EQ(sl_flow_run_status(run), SL_RUN_FAILED);
    CHECK_STR(sl_str_c(sl_flow_run_error(run)), "step l: step l[1].s: try 1 failed");
    CHECK_EQ(f.tries, 2);
    sl_flow_run_unref(run);
    fx_done(&f);
}

SL_TEST(blocks_within_blocks)
{
    fx f;
    fx_init(&f, NULL, false);
    sl_flow_run *run =
        fx_run(&f,
               FLOW "  - id: l\n    type: loop\n    items: [a, b]\n    as: name\n    steps:\n"
                    "      - id: p\n        type: parallel\n        tasks:\n"
                    "          - {id: x, type: action, action: x, give: 'x{{name}}'}\n"
                    "          - {id: m, type: loop, items: [1, 2], steps: [{id: y, type: action, action: x, give: "
                    "'{{name}}{{item}}'}]}\n",
               NULL);
    CHECK_EQ(sl_flow_run_status(run), SL_RUN_SUCCEEDED);
    CHECK_EQ(f.tries, 6);
    CHECK(strstr(f.log, "step_ended:l[1].p.m[0].y:succeeded"));
    char *text = fx_outputs(run);
    CHECK(strstr(text, "\"b2\"") && strstr(text, "\"xa\""));
    CHECK(!strstr(text, "u0001"));
    free(text);
    sl_flow_run_unref(run);
    fx_done(&f);
}

SL_TEST(a_block_that_takes_too_long_gives_up_its_steps)
{
    fx f;
    fx_init(&f, NULL, false);
    sl_flow_run *run = fx_run(&f,
                              FLOW "  - id: p\n    type: parallel\n    timeout_seconds: 0.03\n"
                                   "    retry: {max_attempts: 1, initial_delay_ms: 1}\n    tasks:\n"
                                   "      - {id: x, type: action, action: x, hang: true}\n"
                                   "      - {id: y, type: action, action: x, depends_on: x}\n",
                              NULL);
    CHECK_EQ(sl_flow_run_error_type(run), SL_STEP_ERROR_TIMEOUT);
    CHECK_EQ(fx_step(run, "p").attempts, 2);
    CHECK_EQ(f.cancels, 2);
    sl_flow_run_unref(run);
    fx_done(&f);
}
