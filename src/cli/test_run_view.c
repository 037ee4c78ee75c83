/* What `sightline run` prints: lines, table, outputs; what a terminal would obey is not passed on. */
#include "src/cli/run_view.h"

#include "src/flow/test_flow_fixture.h"

static char *text_of(sl_buf *out)
{
    (void)sl_buf_put_char(out, '\0');
    char *copy = out->failed ? NULL : strdup(out->data);
    sl_buf_done(out);
    return copy;
}

static char *report_of(fx *f, const char *yaml, const char *inputs)
{
    sl_run_view view = {.columns = 100};
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    sl_flow_run *run = fx_run(f, yaml, inputs);
    CHECK_EQ(sl_run_view_report(&view, run, &out), 0);
    sl_flow_run_unref(run);
    return text_of(&out);
}

SL_TEST(the_report_has_a_row_for_each_step_and_the_named_outputs)
{
    fx f;
    fx_init(&f, NULL, true);
    char *text = report_of(&f,
                           "name: demo\nsteps:\n"
                           "  - {id: a, type: llm, provider: p, model: m, prompt: x, tokens: 5, output: [mine]}\n"
                           "  - {id: b, type: action, action: x, fail: 1, error: internal, depends_on: a}\n"
                           "  - {id: c, type: action, action: x, depends_on: b}\n",
                           NULL);
    static const char *const parts[] = {
        "STEP",         "\na.mine: a\n",          "12    0.250000\n", "failed",
        "try 1 failed", "not run: step b failed", "demo: failed in ", ", 12 tokens (5 in, 7 out), ",
        "\ntrace id: "};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (!strstr(text, parts[i]))
            sl_test_failed(__FILE__, __LINE__, "%s not in %s", parts[i], text);
    }
    CHECK(!strstr(text, "a.text") && !strchr(text, '\033'));
    free(text);
    fx_done(&f);
}

SL_TEST(control_characters_of_answers_do_not_reach_the_terminal)
{
    fx f;
    fx_init(&f, NULL, false);
    char *text = report_of(&f, "name: demo\nsteps:\n  - {id: a, type: action, action: x, give: '{{t}}'}\n",
                           "{\"t\":\"one\\u001b[2Jtwo\\u009b31m\\r\\nthree\\u0007 \\u00e9\"}");
    CHECK(strstr(text, "a.result: one?[2Jtwo?31m?\nthree? \xc3\xa9\n") != NULL);
    free(text);
    fx_done(&f);
}

SL_TEST(long_outputs_are_cut)
{
    fx f;
    fx_init(&f, NULL, false);
    char inputs[8192];
    (void)snprintf(inputs, sizeof inputs, "{\"t\":\"%05000d\"}", 7);
    char *text = report_of(&f, "name: demo\nsteps:\n  - {id: a, type: action, action: x, give: '{{t}}'}\n", inputs);
    CHECK(strlen(text) < SL_RUN_VIEW_OUTPUT_BYTES + 600);
    CHECK(strstr(text, "0\xe2\x80\xa6\n") != NULL);
    free(text);
    fx_done(&f);
}

SL_TEST(lines_are_drawn_again_in_their_place)
{
    fx f;
    fx_init(&f, NULL, false);
    sl_run_view view = {.terminal = true, .rows = 40, .columns = 100};
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    sl_flow *flow = fx_flow("name: demo\nsteps:\n  - {id: a, type: action, action: x, hang: true}\n"
                            "  - {id: b, type: action, action: x, depends_on: a}\n");
    sl_flow_run *run = fx_start_run(&f, flow, NULL, NULL);
    fx_turn(&f, 3);
    sl_run_view_draw(&view, run, &out);
    CHECK_EQ(view.drawn, 2);
    sl_run_view_draw(&view, run, &out);
    sl_run_view_clear(&view, &out);
    CHECK_EQ(view.drawn, 0);
    char *text = text_of(&out);
    CHECK(strstr(text, "\033[2A\r") && strstr(text, "running") && strstr(text, "waiting"));
    CHECK(strstr(text, "\033[2A\r\033[J") != NULL);
    free(text);
    sl_flow_run_cancel(run);
    sl_flow_run_unref(run);
    sl_flow_unref(flow);
    fx_done(&f);
}

SL_TEST(piped_lines_tell_begin_retry_and_end)
{
    static const sl_step step = {.id = "a", .type = SL_STEP_LLM};
    const sl_run_view view = {.columns = 80};
    sl_buf out;
    sl_buf_init(&out, 4096);
    sl_flow_event event = {.kind = SL_FLOW_STEP_STARTED, .step = &step, .path = "l[0].a", .message = ""};
    sl_run_view_event(&view, &event, &out);
    event.kind = SL_FLOW_STEP_RETRIED;
    event.attempts = 1;
    event.delay_ms = 100;
    event.message = "no\nanswer";
    sl_run_view_event(&view, &event, &out);
    event.kind = SL_FLOW_STEP_ENDED;
    event.step_status = SL_STEP_SUCCEEDED;
    event.attempts = 2;
    event.duration_ns = 1500000000;
    event.message = "";
    sl_run_view_event(&view, &event, &out);
    event.step = NULL;
    event.kind = SL_FLOW_RUN_ENDED;
    sl_run_view_event(&view, &event, &out);
    char *text = text_of(&out);
    CHECK_STR(sl_str_c(text), "l[0].a (llm): started\nl[0].a (llm): try 1 failed, again in 100 ms: no answer\n"
                              "l[0].a (llm): succeeded after 1.500 s\n");
    free(text);
}
