/*
 * The rules by which a run goes, a workflow for each: what is skipped, what is not run, what a block gives, what a
 * failure says, in which order steps begin. Each is run twice: as it is, and on from what its first life has left.
 */
#include "src/flow/test_flow_fixture.h"

#define FLOW "name: demo\nsteps:\n"
#define STEP(id, more) "  - {id: " id ", type: action, action: x" more "}\n"
#define INNER(id, more) "{id: " id ", type: action, action: x" more "}"

typedef struct rule {
    const char *about, *yaml, *inputs;
    sl_run_status status;
    const char *order;   /* of the begins of tries; NULL: not told */
    const char *outputs; /* sorted, with ' for "; NULL: not told */
    const char *error;   /* part of the run's */
} rule;

static const rule rules[] = {
    /* ---- order ---- */
    {"nothing depends on anything: as written", FLOW STEP("c", "") STEP("a", "") STEP("b", ""), NULL, SL_RUN_SUCCEEDED,
     "c a b ", "{'a':{'result':'a'},'b':{'result':'b'},'c':{'result':'c'}}", ""},
    {"a chain, written backwards", FLOW STEP("c", ", depends_on: b") STEP("b", ", depends_on: a") STEP("a", ""), NULL,
     SL_RUN_SUCCEEDED, "a b c ", NULL, ""},
    {"a diamond: its end once, behind both",
     FLOW STEP("a", "") STEP("b", ", depends_on: a, delay_ms: 5") STEP("c", ", depends_on: [a]")
         STEP("d", ", depends_on: [b, c]"),
     NULL, SL_RUN_SUCCEEDED, "a b c d ", NULL, ""},
    {"one name twice is one dependency", FLOW STEP("a", "") STEP("b", ", depends_on: [a]"), NULL, SL_RUN_SUCCEEDED,
     "a b ", NULL, ""},
    /* ---- conditions ---- */
    {"skipped: its dependents run", FLOW STEP("a", ", condition: 'false'") STEP("b", ", depends_on: a"), NULL,
     SL_RUN_SUCCEEDED, "b ", "{'b':{'result':'b'}}", ""},
    {"all skipped", FLOW STEP("a", ", condition: 'false'") STEP("b", ", condition: '{{ no }}'"), NULL, SL_RUN_SUCCEEDED,
     "", "{}", ""},
    {"by an input", FLOW STEP("a", ", condition: '{{ inputs.n }} > 3'") STEP("b", ", condition: '{{ inputs.n }} > 5'"),
     "{\"n\":4}", SL_RUN_SUCCEEDED, "a ", NULL, ""},
    {"by what a step gave",
     FLOW STEP("a", ", give: 'yes'") STEP("b", ", depends_on: a, condition: \"{{ steps.a.result }} == 'yes'\"")
         STEP("c", ", depends_on: a, condition: \"{{ steps.a.result }} == 'no'\""),
     NULL, SL_RUN_SUCCEEDED, "a b ", NULL, ""},
    {"a skipped step gives nothing",
     FLOW STEP("a", ", condition: 'false'") STEP("b", ", depends_on: a, condition: '{{ steps.a.result }}'"), NULL,
     SL_RUN_SUCCEEDED, "", "{}", ""},
    /* ---- failures ---- */
    {"what depends on a failure is not run", FLOW STEP("a", ", fail: 1, error: refused") STEP("b", ", depends_on: a"),
     NULL, SL_RUN_FAILED, "a ", "{}", "step a: try 1 failed"},
    {"also not behind a skipped one",
     FLOW STEP("a", ", fail: 1, error: refused") STEP("b", ", condition: 'false', depends_on: a")
         STEP("c", ", depends_on: b"),
     NULL, SL_RUN_FAILED, "a ", "{}", "step a"},
    {"others go on to their ends", FLOW STEP("a", ", fail: 1, error: refused") STEP("b", ", delay_ms: 5"), NULL,
     SL_RUN_FAILED, "a b ", "{'b':{'result':'b'}}", "step a"},
    {"the first failure is the run's",
     FLOW STEP("a", ", fail: 1, error: refused, delay_ms: 15") STEP("b", ", fail: 1, error: internal"), NULL,
     SL_RUN_FAILED, "a b ", "{}", "step b: try 1 failed"},
    {"tried again until it goes", FLOW STEP("a", ", fail: 2, retry: {max_attempts: 2, initial_delay_ms: 1}"), NULL,
     SL_RUN_SUCCEEDED, "a a a ", NULL, ""},
    {"no try is left", FLOW STEP("a", ", fail: 3, retry: {max_attempts: 2, initial_delay_ms: 1}"), NULL, SL_RUN_FAILED,
     "a a a ", "{}", "step a: try 3 failed"},
    {"none at all is wanted", FLOW STEP("a", ", fail: 1, retry: {max_attempts: 0}"), NULL, SL_RUN_FAILED, "a ", "{}",
     "try 1 failed"},
    {"not worth another", FLOW STEP("a", ", fail: 1, error: refused, retry: {max_attempts: 5, initial_delay_ms: 1}"),
     NULL, SL_RUN_FAILED, "a ", "{}", "try 1 failed"},
    {"unless it says so",
     FLOW STEP("a", ", fail: 1, error: refused, retry: {max_attempts: 5, initial_delay_ms: 1, also: provider_refused}"),
     NULL, SL_RUN_SUCCEEDED, "a a ", NULL, ""},
    /* ---- outputs ---- */
    {"a name for the result",
     FLOW STEP("a", ", output: mine") STEP("b", ", depends_on: a, give: '<{{ steps.a.mine }}>'"), NULL,
     SL_RUN_SUCCEEDED, NULL, "{'a':{'mine':'a'},'b':{'result':'<a>'}}", ""},
    {"more names than results", FLOW STEP("a", ", output: [one, two]"), NULL, SL_RUN_SUCCEEDED, NULL,
     "{'a':{'one':'a'}}", ""},
    {"values keep their types", FLOW STEP("a", ", give: [1, {k: null}, true, 1.5]"), NULL, SL_RUN_SUCCEEDED, NULL,
     "{'a':{'result':[1,{'k':null},true,1.5]}}", ""},
    {"a whole template keeps them too", FLOW STEP("a", ", give: '{{ inputs.v }}'"), "{\"v\":{\"deep\":[1,2]}}",
     SL_RUN_SUCCEEDED, NULL, "{'a':{'result':{'deep':[1,2]}}}", ""},
    {"the text of a step",
     FLOW STEP("a", ", give: [1], text: words") STEP("b", ", depends_on: a, give: 'said {{ outputs.a }}'"), NULL,
     SL_RUN_SUCCEEDED, NULL, "{'a':{'result':[1]},'b':{'result':'said words'}}", ""},
    {"a list in another's text",
     FLOW STEP("a", ", give: [1, x]") STEP("b", ", depends_on: a, give: '{{ steps.a.result.1 }}!'"), NULL,
     SL_RUN_SUCCEEDED, NULL, "{'a':{'result':[1,'x']},'b':{'result':'x!'}}", ""},
    /* ---- parallel ---- */
    {"its steps by their ids", FLOW "  - {id: p, type: parallel, tasks: [" INNER("x", "") ", " INNER("y", "") "]}\n",
     NULL, SL_RUN_SUCCEEDED, "x y ",
     "{'p':{'results':[{'result':'x'},{'result':'y'}],'x':{'result':'x'},'y':{'result':'y'}}}", ""},
    {"one that is skipped is null in the list",
     FLOW "  - {id: p, type: parallel, tasks: [" INNER("x", ", condition: 'false'") ", " INNER("y", "") "]}\n", NULL,
     SL_RUN_SUCCEEDED, "y ", "{'p':{'results':[null,{'result':'y'}],'y':{'result':'y'}}}", ""},
    {"one name for all",
     FLOW "  - {id: p, type: parallel, output: both, tasks: [" INNER("x", "") ", " INNER("y", "") "]}\n", NULL,
     SL_RUN_SUCCEEDED, NULL, "{'p':{'both':[{'result':'x'},{'result':'y'}],'x':{'result':'x'},'y':{'result':'y'}}}",
     ""},
    {"one fails: the others end first",
     FLOW "  - {id: p, type: parallel, tasks: [" INNER("x", ", fail: 1, error: refused") ", " INNER(
         "y", ", delay_ms: 5") ", " INNER("z", ", depends_on: x") "]}\n" STEP("after", ", depends_on: p"),
     NULL, SL_RUN_FAILED, "x y ", "{}", "step p: step p.x: try 1 failed"},
    {"the whole block again",
     FLOW "  - {id: p, type: parallel, retry: {max_attempts: 1, initial_delay_ms: 1}, tasks: [" INNER(
         "x", ", fail: 1") ", " INNER("y", "") "]}\n",
     NULL, SL_RUN_FAILED, "x y x y ", "{}", "step p: step p.x"},
    /* ---- branch ---- */
    {"by name",
     FLOW "  - {id: b, type: branch, condition: '{{ inputs.c }}', branches: {red: [" INNER("r", "") "], blue: [" INNER(
         "u", "") "]}}\n",
     "{\"c\":\"blue\"}", SL_RUN_SUCCEEDED, "u ", "{'b':{'branch':'blue','result':{'result':'u'}}}", ""},
    {"blanks around a name",
     FLOW "  - {id: b, type: branch, condition: ' {{ inputs.c }} ', branches: {red: [" INNER(
         "r", "") "], blue: [" INNER("u", "") "]}}\n",
     "{\"c\":\" red\\n\"}", SL_RUN_SUCCEEDED, "r ", NULL, ""},
    {"no such branch, and no default: nothing",
     FLOW "  - {id: b, type: branch, condition: '{{ inputs.c }}', branches: {red: [" INNER("r", "") "]}}\n" STEP(
         "after", ", depends_on: b"),
     "{\"c\":\"green\"}", SL_RUN_SUCCEEDED, "after ", "{'after':{'result':'after'},'b':{'branch':null,'result':null}}",
     ""},
    {"the default",
     FLOW "  - {id: b, type: branch, condition: '{{ inputs.c }}', branches: {red: [" INNER(
         "r", "") "]}, default: [" INNER("d", "") "]}\n",
     "{\"c\":\"green\"}", SL_RUN_SUCCEEDED, "d ", "{'b':{'branch':'default','result':{'result':'d'}}}", ""},
    {"its last step is its result",
     FLOW "  - {id: b, type: branch, condition: 'red', branches: {red: [" INNER("r", "") ", " INNER(
         "s", ", depends_on: r") "]}}\n" STEP("t", ", depends_on: b, give: '{{ outputs.b }}{{ steps.r.result }}'"),
     NULL, SL_RUN_SUCCEEDED, "r s t ", NULL, ""},
    {"what fails in a branch",
     FLOW
     "  - {id: b, type: branch, condition: 'red', branches: {red: [" INNER("r", ", fail: 1, error: internal") "]}}\n",
     NULL, SL_RUN_FAILED, "r ", "{}", "step b: step b.r: try 1 failed"},
    /* ---- loops ---- */
    {"a round for each",
     FLOW "  - {id: l, type: loop, items: [a, b], steps: [" INNER("s", ", give: '{{ index }}{{ item }}'") "]}\n", NULL,
     SL_RUN_SUCCEEDED, "s s ", "{'l':{'count':2,'results':[{'result':'0a'},{'result':'1b'}]}}", ""},
    {"a name of its own for the item",
     FLOW "  - {id: l, type: loop, as: word, items: [a], steps: [" INNER("s", ", give: '{{ word }}{{ item }}'") "]}\n",
     NULL, SL_RUN_SUCCEEDED, "s ", "{'l':{'count':1,'results':[{'result':'aa'}]}}", ""},
    {"items of a step",
     FLOW STEP("a", ", give: [1, 2]") "  - {id: l, type: loop, depends_on: a, items: '{{ steps.a.result }}', steps: "
                                      "[" INNER("s", ", give: '{{ item }}'") "]}\n",
     NULL, SL_RUN_SUCCEEDED, "a s s ", "{'a':{'result':[1,2]},'l':{'count':2,'results':[{'result':1},{'result':2}]}}",
     ""},
    {"items as a text", FLOW "  - {id: l, type: loop, items: '{{ inputs.t }}', steps: [" INNER("s", "") "]}\n",
     "{\"t\":\"[1,2,3]\"}", SL_RUN_SUCCEEDED, "s s s ", NULL, ""},
    {"none", FLOW "  - {id: l, type: loop, items: [], steps: [" INNER("s", "") "]}\n", NULL, SL_RUN_SUCCEEDED, "",
     "{'l':{'count':0,'results':[]}}", ""},
    {"what is no list", FLOW "  - {id: l, type: loop, items: '{{ inputs.t }}', steps: [" INNER("s", "") "]}\n",
     "{\"t\":{\"a\":1}}", SL_RUN_FAILED, "", "{}", "items: not a list"},
    {"as many as there may be",
     FLOW "  - {id: l, type: loop, max_iterations: 2, items: [1, 2], steps: [" INNER("s", "") "]}\n", NULL,
     SL_RUN_SUCCEEDED, "s s ", NULL, ""},
    {"one more", FLOW "  - {id: l, type: loop, max_iterations: 2, items: [1, 2, 3], steps: [" INNER("s", "") "]}\n",
     NULL, SL_RUN_FAILED, "", "{}", "items: 3, more than max_iterations (2)"},
    {"steps within a round depend on one another",
     FLOW "  - {id: l, type: loop, items: [x, y], steps: [" INNER(
         "t", ", depends_on: s, give: '<{{ steps.s.result }}>'") ", " INNER("s", ", give: '{{ item }}'") "]}\n",
     NULL, SL_RUN_SUCCEEDED, "s t s t ", NULL, ""},
    {"a round that skips its step is null",
     FLOW "  - {id: l, type: loop, items: [1, 2], steps: [" INNER("s", ", condition: '{{ item }} == 2'") "]}\n", NULL,
     SL_RUN_SUCCEEDED, "s ", "{'l':{'count':2,'results':[null,{'result':'s'}]}}", ""},
    /* ---- within one another ---- */
    {"a loop in a branch in a parallel",
     FLOW
     "  - {id: p, type: parallel, tasks: [{id: b, type: branch, condition: 'go', branches: {go: [{id: l, type: loop, "
     "items: [1, 2], steps: [" INNER("s", ", give: '{{ item }}'") "]}]}}]}\n",
     NULL, SL_RUN_SUCCEEDED, "s s ", NULL, ""},
    {"a failure tells its whole way",
     FLOW "  - {id: l, type: loop, items: [0], steps: [{id: p, type: parallel, tasks: [" INNER(
         "x", ", fail: 1, error: refused") "]}]}\n",
     NULL, SL_RUN_FAILED, "x ", "{}", "step l: step l[0].p: step l[0].p.x: try 1 failed"},
};

static char *with_quotes(const char *text)
{
    char *copy = strdup(text);
    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    return copy;
}

static void check_rule(const rule *r, fx *f, const sl_flow_run *run)
{
    if (sl_flow_run_status(run) != r->status)
        sl_test_failed(__FILE__, __LINE__, "%s: %s: %s", r->about, sl_run_status_name(sl_flow_run_status(run)),
                       sl_flow_run_error(run));
    if (!strstr(sl_flow_run_error(run), r->error) || (!*r->error && *sl_flow_run_error(run)))
        sl_test_failed(__FILE__, __LINE__, "%s: \"%s\"", r->about, sl_flow_run_error(run));
    if (r->order && strcmp(f->order, r->order) != 0)
        sl_test_failed(__FILE__, __LINE__, "%s: began %s", r->about, f->order);
    if (!r->outputs)
        return;
    char *wanted = with_quotes(r->outputs), *have = fx_outputs(run);
    if (strcmp(wanted, have) != 0)
        sl_test_failed(__FILE__, __LINE__, "%s: %s", r->about, have);
    free(wanted);
    free(have);
}

SL_TEST(runs_go_by_the_rules)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        fx f;
        fx_init(&f, NULL, false);
        sl_flow_run *run = fx_run(&f, rules[i].yaml, rules[i].inputs);
        REQUIRE(run != NULL);
        check_rule(&rules[i], &f, run);
        CHECK_EQ(f.ends, 1);
        sl_flow_run_unref(run);
        fx_done(&f);
    }
}

/* Every step's end of a run, as its rows would tell them: for the next life. */
typedef struct kept {
    fx *f;
    json_t *steps;
    size_t stop_after; /* ends of steps that are kept */
} kept;

static void keep_end(void *user, sl_flow_run *run, const sl_flow_event *event)
{
    kept *k = user;
    fx_on_event(k->f, run, event);
    if (event->kind != SL_FLOW_STEP_ENDED || json_object_size(k->steps) >= k->stop_after)
        return;
    /* The value as templates see it: of steps of the root it can be asked for, of others it is what they gave. */
    json_t *value = event->outputs ? json_incref(event->outputs) : json_null();
    for (size_t i = 0; i < sl_flow_run_step_count(run); i++) {
        sl_flow_step_view view;
        sl_flow_run_step_at(run, i, &view);
        if (strcmp(view.step->id, event->path) == 0 && view.value) {
            json_decref(value);
            value = json_incref(view.value);
        }
    }
    (void)json_object_set_new(k->steps, event->path,
                              json_pack("{s:s,s:i,s:o}", "status", sl_step_status_name(event->step_status), "attempts",
                                        (int)event->attempts, "value", value));
}

/* Cut behind each of its steps in turn: the second life ends as the first one did, and runs no step again that had
 * ended well. */
SL_TEST(runs_go_on_from_wherever_they_were_cut)
{
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        if (rules[i].status != SL_RUN_SUCCEEDED || !rules[i].outputs)
            continue;
        for (size_t cut = 0; cut < 6; cut++) {
            fx f;
            fx_init(&f, NULL, false);
            kept k = {&f, json_object(), cut};
            sl_flow *flow = fx_flow(rules[i].yaml);
            sl_flow_run_options options = {.on_event = keep_end, .user = &k};
            sl_flow_run *run = fx_start_run(&f, flow, rules[i].inputs, &options);
            REQUIRE(fx_wait(&f, run));
            size_t first = f.tries, done = 0;
            sl_flow_run_unref(run);
            f.order[0] = 0;
            f.tries = 0;
            const char *path;
            json_t *step;
            json_object_foreach(k.steps, path, step)
            {
                done += strcmp(json_string_value(json_object_get(step, "status")), "succeeded") == 0;
            }
            sl_flow_run_options again = {.resume = k.steps, .last_seq = 100, .on_event = fx_on_event, .user = &f};
            run = fx_start_run(&f, flow, rules[i].inputs, &again);
            REQUIRE(fx_wait(&f, run));
            char *wanted = with_quotes(rules[i].outputs), *have = fx_outputs(run);
            if (strcmp(wanted, have) != 0)
                sl_test_failed(__FILE__, __LINE__, "%s, cut at %zu: %s", rules[i].about, cut, have);
            if (f.tries > first || (done && first && f.tries == first && !strstr(rules[i].yaml, "tasks") &&
                                    !strstr(rules[i].yaml, "branches") && !strstr(rules[i].yaml, "loop")))
                sl_test_failed(__FILE__, __LINE__, "%s, cut at %zu: %zu tries, before %zu", rules[i].about, cut,
                               f.tries, first);
            free(wanted);
            free(have);
            sl_flow_run_unref(run);
            sl_flow_unref(flow);
            json_decref(k.steps);
            fx_done(&f);
        }
    }
}

/* What a next life finds of its steps may be damaged: it runs them again, and ends. */
SL_TEST(what_cannot_be_taken_up_is_run_again)
{
    static const char *const left[] = {"{}",
                                       "{\"a\":null}",
                                       "{\"a\":{}}",
                                       "{\"a\":{\"status\":5}}",
                                       "{\"a\":{\"status\":\"failed\",\"value\":{\"result\":\"old\"}}}",
                                       "{\"a\":{\"status\":\"cancelled\"}}",
                                       "{\"a\":{\"status\":\"running\"}}",
                                       "{\"z\":{\"status\":\"succeeded\",\"value\":{}}}",
                                       "{\"a\":\"succeeded\"}"};
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        fx f;
        fx_init(&f, NULL, false);
        sl_flow *flow = fx_flow(FLOW STEP("a", "") STEP("b", ", depends_on: a, give: '{{ steps.a.result }}'"));
        json_t *resume = json_loads(left[i], 0, NULL);
        REQUIRE(resume != NULL);
        sl_flow_run_options options = {.resume = resume, .on_event = fx_on_event, .user = &f};
        sl_flow_run *run = fx_start_run(&f, flow, NULL, &options);
        CHECK(fx_wait(&f, run));
        fx_check_outputs(run, "{\"a\":{\"result\":\"a\"},\"b\":{\"result\":\"a\"}}");
        CHECK_STR(sl_str_c(f.order), "a b ");
        sl_flow_run_unref(run);
        sl_flow_unref(flow);
        json_decref(resume);
        fx_done(&f);
    }
}

SL_TEST(runs_that_cannot_be_started)
{
    fx f;
    fx_init(&f, NULL, false);
    sl_flow *flow = fx_flow(FLOW STEP("a", ", hang: true"));
    json_t *list = json_array(), *inputs = json_object();
    char id[80];
    memset(id, 'i', sizeof id);
    sl_flow_run *run = NULL;
    const struct {
        sl_str id;
        json_t *inputs, *resume;
        int error;
    } cases[] = {{SL_STR("good.id_1:2-3"), inputs, NULL, 0},    {SL_STR("good.id_1:2-3"), inputs, NULL, SL_EEXIST},
                 {SL_STR("a b"), inputs, NULL, SL_EINVAL},      {SL_STR("a/b"), inputs, NULL, SL_EINVAL},
                 {SL_STR("\xc3\xa9"), inputs, NULL, SL_EINVAL}, {sl_str_of(id, 63), inputs, NULL, 0},
                 {sl_str_of(id, 64), inputs, NULL, SL_EINVAL},  {SL_STR("l"), list, NULL, SL_EINVAL},
                 {SL_STR("r"), inputs, list, SL_EINVAL},        {SL_STR("n"), NULL, NULL, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_flow_run_options o = {.run_id = cases[i].id, .resume = cases[i].resume};
        CHECK_EQ(sl_flow_run_start(f.executor, flow, cases[i].inputs, &o, NULL), cases[i].error);
        CHECK_EQ(sl_flow_run_find(f.executor, cases[i].id) != NULL, cases[i].error == 0 || cases[i].error == SL_EEXIST);
    }
    CHECK_EQ(sl_flow_run_start(f.executor, NULL, NULL, NULL, NULL), SL_EINVAL);
    CHECK_EQ(sl_flow_run_start(NULL, flow, NULL, NULL, &run), SL_EINVAL);
    CHECK(run == NULL);
    json_decref(list);
    json_decref(inputs);
    sl_flow_unref(flow);
    fx_done(&f);
}
