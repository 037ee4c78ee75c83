/* Durable runs: what is on disk, and that a run goes on from its last ended step. */
#include "src/flow/run_record.h"

#include <unistd.h>

#include "src/flow/test_flow_fixture.h"

static char folder[64], path[128];

typedef struct rig {
    fx f;
    sl_db *db;
    sl_run_store *store;
    size_t accepted;
} rig;

static void make_folder(void)
{
    (void)snprintf(folder, sizeof folder, "/tmp/sl-test-record-XXXXXX");
    if (!sl_test_mkdtemp(folder))
        abort();
    (void)snprintf(path, sizeof path, "%s/flow.db", folder);
}

static void remove_folder(void)
{
    sl_test_rmtree(folder);
}

static void rig_open(rig *r)
{
    char error[256];
    memset(r, 0, sizeof *r);
    fx_init(&r->f, NULL, true);
    if (sl_db_open(&(sl_db_options){.path = path, .schema = "", .format = 1}, error, sizeof error, &r->db) ||
        sl_run_store_new(&r->f.loop, r->db, &r->store))
        abort();
    sl_executor_close(r->f.executor, false);
    (void)uv_run(&r->f.loop.uv, UV_RUN_NOWAIT);
    sl_executor_free(r->f.executor);
    if (sl_executor_new(&(sl_executor_options){.services = &r->f.services, .kinds = fx_kinds, .store = r->store},
                        &r->f.executor))
        abort();
}

/* `crash`: runs under way stay as they are on disk. */
static void rig_close(rig *r, bool crash)
{
    sl_executor_close(r->f.executor, crash);
    sl_run_store_close(r->store);
    (void)uv_run(&r->f.loop.uv, UV_RUN_NOWAIT);
    sl_run_store_free(r->store);
    sl_db_close(r->db);
    fx_done(&r->f);
}

static void on_accepted(void *user, int error, sl_str id, bool existed)
{
    rig *r = user;
    (void)id;
    CHECK_EQ(error, 0);
    CHECK(!existed);
    r->accepted++;
}

static sl_flow_run *accept_and_start(rig *r, const char *id, const char *yaml, const char *inputs)
{
    sl_flow *flow = fx_flow(yaml);
    if (!flow)
        return NULL;
    const sl_run_new new = {.id = sl_str_c(id),
                            .workflow = sl_str_c(flow->name),
                            .hash = sl_str_c(flow->hash),
                            .source = sl_str_of(flow->source, flow->source_len),
                            .inputs = sl_str_c(inputs),
                            .created_ns = sl_now_ns()};
    size_t before = r->accepted;
    CHECK_EQ(sl_run_store_accept(r->store, &new, on_accepted, r), 0);
    while (r->accepted == before)
        (void)uv_run(&r->f.loop.uv, UV_RUN_ONCE);
    const sl_flow_run_options options = {
        .run_id = sl_str_c(id), .durable = true, .on_event = fx_on_event, .user = &r->f};
    sl_flow_run *run = fx_start_run(&r->f, flow, inputs, &options);
    sl_flow_unref(flow);
    return run;
}

static json_t *stored(rig *r, const char *id)
{
    json_t *run = NULL;
    CHECK_EQ(sl_run_store_get(r->store, sl_str_c(id), &run), 0);
    return run;
}

static const char *text_of(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "(none)";
}

#define FLOW                                                                                                           \
    "name: demo\nsteps:\n"                                                                                             \
    "  - {id: a, type: action, action: x, give: 'A{{x}}', text: TA, output: [mine]}\n"                                 \
    "  - {id: skip, type: action, action: x, condition: 'false'}\n"                                                    \
    "  - {id: p, type: parallel, depends_on: a, tasks: [{id: in, type: action, action: x, give: I}]}\n"                \
    "  - {id: l, type: loop, depends_on: p, items: [1, 2, 3], steps: [{id: s, type: action, action: x, give: "         \
    "'s{{item}}', delay_ms: '{{#if (eq item 2)}}{{slow}}{{else}}0{{/if}}'}]}\n"                                        \
    "  - {id: z, type: action, action: x, depends_on: [l, skip], give: '{{outputs.a}} {{steps.a.mine}} "               \
    "{{steps.in.result}} {{outputs.l}}'}\n"

SL_TEST(a_durable_run_is_on_disk_with_steps_events_and_outputs)
{
    make_folder();
    rig r;
    rig_open(&r);
    sl_flow_run *run = accept_and_start(&r, "one", FLOW, "{\"x\":1,\"slow\":0}");
    CHECK(fx_wait(&r.f, run));
    CHECK_EQ(sl_flow_run_status(run), SL_RUN_SUCCEEDED);
    sl_flow_run_unref(run);
    rig_close(&r, false);
    rig_open(&r);
    json_t *on_disk = stored(&r, "one");
    CHECK_STR(sl_str_c(text_of(on_disk, "status")), "succeeded");
    CHECK_EQ(strlen(text_of(on_disk, "trace_id")), 32);
    CHECK_EQ(json_array_size(json_object_get(on_disk, "steps")), 9);
    json_t *outputs = json_object_get(on_disk, "outputs");
    CHECK_STR(sl_str_c(text_of(json_object_get(outputs, "a"), "mine")), "A1");
    json_decref(on_disk);
    json_t *events = NULL;
    CHECK_EQ(sl_run_store_events(r.store, SL_STR("one"), 0, 0, &events), 0);
    size_t count = json_array_size(events);
    CHECK_EQ(count, 19);
    for (size_t i = 0; i < count; i++)
        CHECK_EQ(json_integer_value(json_object_get(json_array_get(events, i), "seq")), i + 1);
    CHECK_STR(sl_str_c(text_of(json_array_get(events, 0), "event")), "run_started");
    CHECK_STR(sl_str_c(text_of(json_array_get(events, count - 1), "event")), "run_ended");
    json_decref(events);
    size_t started = 9;
    CHECK_EQ(sl_flow_runs_resume(r.f.executor, fx_on_event, &r.f, &started), 0);
    CHECK_EQ(started, 0);
    rig_close(&r, false);
    remove_folder();
}

SL_TEST(a_run_goes_on_from_its_last_ended_step)
{
    make_folder();
    rig r;
    rig_open(&r);
    sl_flow_run *run = accept_and_start(&r, "one", FLOW, "{\"x\":1,\"slow\":\"80\"}");
    while (r.f.tries < 4) /* a, in, and two rounds, the second of which is slow */
        (void)uv_run(&r.f.loop.uv, UV_RUN_ONCE);
    fx_turn(&r.f, 5);
    CHECK_STR(sl_str_c(r.f.order), "a in s s ");
    uint64_t seq = r.f.events;
    sl_flow_run_unref(run);
    rig_close(&r, true);

    rig_open(&r);
    size_t started = 0;
    CHECK_EQ(sl_flow_runs_resume(r.f.executor, fx_on_event, &r.f, &started), 0);
    CHECK_EQ(started, 1);
    CHECK_EQ(sl_flow_runs_resume(r.f.executor, fx_on_event, &r.f, &started), 0);
    CHECK_EQ(started, 0); /* it is under way already */
    run = sl_flow_run_find(r.f.executor, SL_STR("one"));
    REQUIRE(run);
    sl_flow_run_ref(run);
    CHECK(fx_wait(&r.f, run));
    CHECK_EQ(sl_flow_run_status(run), SL_RUN_SUCCEEDED);
    CHECK_STR(sl_str_c(r.f.order), "s s z ");
    CHECK_EQ(fx_step(run, "a").status, SL_STEP_SUCCEEDED);
    CHECK_EQ(fx_step(run, "skip").status, SL_STEP_SKIPPED);
    char *text = fx_outputs(run);
    CHECK(strstr(text, "\"z\":{\"result\":\"TA A1 I s1\\ns2\\ns3\"}"));
    CHECK(strstr(text, "\"mine\":\"A1\""));
    free(text);
    CHECK(fx_metric(&r.f, "orchestrator_step_executions_total{status=\"success\",step_type=\"action\"} 3"));
    sl_flow_run_unref(run);
    rig_close(&r, false);

    rig_open(&r);
    json_t *events = NULL;
    CHECK_EQ(sl_run_store_events(r.store, SL_STR("one"), seq > 3 ? seq - 3 : 0, 0, &events), 0);
    json_t *last = json_array_get(events, json_array_size(events) - 1);
    CHECK_STR(sl_str_c(text_of(last, "event")), "run_ended");
    json_decref(events);
    json_t *on_disk = stored(&r, "one");
    CHECK_STR(sl_str_c(text_of(on_disk, "status")), "succeeded");
    json_decref(on_disk);
    rig_close(&r, false);
    remove_folder();
}

SL_TEST(a_cancelled_run_does_not_come_back)
{
    make_folder();
    rig r;
    rig_open(&r);
    sl_flow_run *run =
        accept_and_start(&r, "one", "name: demo\nsteps:\n  - {id: a, type: action, action: x, hang: true}\n", "{}");
    fx_turn(&r.f, 2);
    sl_flow_run_cancel(run);
    sl_flow_run_unref(run);
    rig_close(&r, false);
    rig_open(&r);
    size_t started = 7;
    CHECK_EQ(sl_flow_runs_resume(r.f.executor, NULL, NULL, &started), 0);
    CHECK_EQ(started, 0);
    json_t *on_disk = stored(&r, "one");
    CHECK_STR(sl_str_c(text_of(on_disk, "status")), "cancelled");
    CHECK_STR(sl_str_c(text_of(on_disk, "error")), "the run was cancelled");
    json_decref(on_disk);
    rig_close(&r, false);
    remove_folder();
}

SL_TEST(a_run_whose_file_does_not_load_any_more_is_failed)
{
    make_folder();
    rig r;
    rig_open(&r);
    const sl_run_new new = {.id = SL_STR("bad"),
                            .workflow = SL_STR("demo"),
                            .hash = SL_STR("h"),
                            .source = SL_STR("steps: 7"),
                            .inputs = SL_STR("{}")};
    CHECK_EQ(sl_run_store_accept(r.store, &new, on_accepted, &r), 0);
    while (!r.accepted)
        (void)uv_run(&r.f.loop.uv, UV_RUN_ONCE);
    size_t started = 7;
    CHECK_EQ(sl_flow_runs_resume(r.f.executor, NULL, NULL, &started), 0);
    CHECK_EQ(started, 0);
    rig_close(&r, false);
    rig_open(&r);
    json_t *on_disk = stored(&r, "bad");
    CHECK_STR(sl_str_c(text_of(on_disk, "status")), "failed");
    CHECK_STR(sl_str_c(text_of(on_disk, "error_type")), "validation");
    json_decref(on_disk);
    rig_close(&r, false);
    remove_folder();
}
