/* Runs and events as clients of llama-agents read them. */
#include "src/flow/agents_view.h"

#include <string.h>

#include "src/llm/json_text.h"
#include "tests/harness/sl_test.h"

#define CREATED 1700000000123456789ull /* 2023-11-14T22:13:20.123456Z */
#define ENDED (CREATED + 1500000000ull)

static sl_agents_row row(const char *status)
{
    return (sl_agents_row){.handler = SL_STR("mine"),
                           .run = SL_STR("r1"),
                           .workflow = SL_STR("echo"),
                           .status = sl_str_c(status),
                           .outputs = SL_STR("{\"say\": {\"text\": \"hi\"}}"),
                           .created_ns = CREATED,
                           .ended_ns = ENDED};
}

/* Takes the value; member `a.b.c` of it as compact JSON. */
static void check_member(json_t *value, const char *path, const char *expected)
{
    json_t *at = value;
    sl_str rest = sl_str_c(path), part;
    char name[64];
    while (rest.len && sl_str_split(&rest, '.', &part)) {
        REQUIRE(sl_str_to_c(part, name, sizeof name));
        at = json_object_get(at, name);
    }
    char *text = at ? json_dumps(at, JSON_ENCODE_ANY | JSON_COMPACT | JSON_SORT_KEYS) : NULL;
    CHECK_STR(sl_str_c(text ? text : "(none)"), expected);
    free(text);
    json_decref(value);
}

SL_TEST(statuses_go_both_ways)
{
    static const char *const stored[][2] = {{"queued", "running"},
                                            {"running", "running"},
                                            {"succeeded", "completed"},
                                            {"failed", "failed"},
                                            {"cancelled", "cancelled"}};
    for (size_t i = 0; i < sizeof stored / sizeof *stored; i++) {
        CHECK_STR(sl_str_c(sl_agents_status(sl_str_c(stored[i][0]))), stored[i][1]);
        const char *back = sl_agents_stored_statuses(sl_str_c(stored[i][1]));
        REQUIRE(back);
        CHECK(strstr(back, stored[i][0]) != NULL);
    }
    CHECK(sl_agents_stored_statuses(SL_STR("odd")) == NULL);
    CHECK(sl_agents_stored_statuses(SL_STR("queued")) == NULL);
}

SL_TEST(a_run_is_a_handler)
{
    sl_agents_row r = row("succeeded");
    check_member(sl_agents_handler(&r), "handler_id", "\"mine\"");
    check_member(sl_agents_handler(&r), "run_id", "\"r1\"");
    check_member(sl_agents_handler(&r), "workflow_name", "\"echo\"");
    check_member(sl_agents_handler(&r), "status", "\"completed\"");
    check_member(sl_agents_handler(&r), "error", "null");
    check_member(sl_agents_handler(&r), "result_unreadable", "false");
    check_member(sl_agents_handler(&r), "started_at", "\"2023-11-14T22:13:20.123456+00:00\"");
    check_member(sl_agents_handler(&r), "completed_at", "\"2023-11-14T22:13:21.623456+00:00\"");
    check_member(sl_agents_handler(&r), "result",
                 "{\"qualified_name\":\"workflows.events.StopEvent\",\"type\":\"StopEvent\",\"types\":null,"
                 "\"value\":{\"result\":{\"say\":{\"text\":\"hi\"}}}}");
    r = row("running");
    r.ended_ns = 0;
    r.started_ns = CREATED + 1000;
    check_member(sl_agents_handler(&r), "completed_at", "null");
    check_member(sl_agents_handler(&r), "result", "null");
    check_member(sl_agents_handler(&r), "updated_at", "\"2023-11-14T22:13:20.123457+00:00\"");
    r = row("failed");
    r.error = SL_STR("no");
    check_member(sl_agents_handler(&r), "error", "\"no\"");
    check_member(sl_agents_handler(&r), "result", "null");
    r = row("cancelled");
    r.error = SL_STR("the run was cancelled");
    check_member(sl_agents_handler(&r), "error", "null");
}

SL_TEST(every_end_has_its_event)
{
    sl_agents_row r = row("succeeded");
    r.outputs = SL_STR("{\"result\": \"a worker's text\"}");
    check_member(sl_agents_stop(&r), "value.result", "\"a worker's text\"");
    r.outputs = SL_STR("");
    check_member(sl_agents_stop(&r), "value.result", "null");
    r = row("cancelled");
    check_member(sl_agents_stop(&r), "type", "\"WorkflowCancelledEvent\"");
    check_member(sl_agents_stop(&r), "types", "[\"StopEvent\"]");
    check_member(sl_agents_stop(&r), "value", "{}");
    r = row("failed");
    r.error = SL_STR("no");
    r.error_type = SL_STR("provider_error");
    r.failed_step = SL_STR("loop[3].call");
    r.failed_attempts = 4;
    r.failed_ns = 250000000;
    check_member(sl_agents_stop(&r), "qualified_name", "\"workflows.events.WorkflowFailedEvent\"");
    check_member(sl_agents_stop(&r), "value",
                 "{\"attempts\":4,\"elapsed_seconds\":0.25,\"exception\":{\"exception_message\":\"no\","
                 "\"exception_type\":\"provider_error\"},\"step_name\":\"loop[3].call\"}");
    r.error_type = SL_STR("timeout"); /* of the step */
    check_member(sl_agents_stop(&r), "type", "\"WorkflowFailedEvent\"");
    r.failed_step = SL_STR(""); /* of the run */
    r.stopped_steps = SL_STR("[\"a\"]");
    check_member(sl_agents_stop(&r), "type", "\"WorkflowTimedOutEvent\"");
    check_member(sl_agents_stop(&r), "value", "{\"active_steps\":[\"a\"],\"timeout\":1.5}");
    r.stopped_steps = SL_STR("");
    check_member(sl_agents_stop(&r), "value.active_steps", "[]");
}

static json_t *seen(json_t *(*view)(json_t *), const char *text)
{
    json_t *event = json_loads(text, 0, NULL);
    CHECK(event != NULL);
    json_t *found = view(event);
    json_decref(event);
    return found;
}

SL_TEST(events_have_types)
{
    static const char *const kinds[][3] = {{"run_started", "\"RunStartedEvent\"", NULL},
                                           {"step_started", "\"StepStartedEvent\"", "\"running\""},
                                           {"step_retried", "\"StepRetriedEvent\"", NULL},
                                           {"step_emitted", "\"StepEmittedEvent\"", NULL},
                                           {"step_ended", "\"StepEndedEvent\"", "\"not_running\""},
                                           {"run_ended", NULL, NULL},
                                           {"something", NULL, NULL}};
    char text[128];
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        (void)snprintf(text, sizeof text, "{\"seq\":2,\"event\":\"%s\",\"step\":\"a\"}", kinds[i][0]);
        json_t *event = seen(sl_agents_event, text), *internal = seen(sl_agents_internal, text);
        CHECK_EQ(event != NULL, kinds[i][1] != NULL);
        CHECK_EQ(internal != NULL, kinds[i][2] != NULL);
        if (event) {
            check_member(json_incref(event), "type", kinds[i][1]);
            check_member(event, "value.seq", "2");
        }
        if (internal) {
            check_member(json_incref(internal), "types", "[\"InternalDispatchEvent\"]");
            check_member(json_incref(internal), "value.name", "\"a\"");
            check_member(internal, "value.step_state", kinds[i][2]);
        }
    }
    CHECK(seen(sl_agents_event, "{}") == NULL && seen(sl_agents_internal, "{}") == NULL);
}

SL_TEST(what_workers_write_keeps_its_class)
{
    static const char written[] = "{\"event\":\"stream\",\"data\":{\"__is_pydantic\":true,\"value\":{\"n\":1},"
                                  "\"qualified_name\":\"wf.Progress\"}}";
    check_member(seen(sl_agents_event, written), "type", "\"Progress\"");
    check_member(seen(sl_agents_event, written), "qualified_name", "\"wf.Progress\"");
    check_member(seen(sl_agents_event, written), "value", "{\"n\":1}");
    check_member(seen(sl_agents_event, "{\"event\":\"stream\",\"data\":{\"n\":1}}"), "value", "{\"n\":1}");
    check_member(seen(sl_agents_event, "{\"event\":\"stream\",\"data\":[1]}"), "value", "{\"data\":[1]}");
    check_member(seen(sl_agents_event, "{\"event\":\"stream\",\"data\":7}"), "type", "\"WorkerEvent\"");
}

SL_TEST(numbers_say_what_was_seen)
{
    CHECK_EQ(sl_agents_seq_before(-1), 0);
    CHECK_EQ(sl_agents_seq_before(0), 0);
    for (uint64_t seq = 1; seq < 50; seq++) {
        CHECK(sl_agents_hidden(seq) < sl_agents_public(seq));
        CHECK(sl_agents_public(seq) < sl_agents_hidden(seq + 1));
        CHECK_EQ(sl_agents_seq_before(sl_agents_public(seq)), seq);     /* the next one is next */
        CHECK_EQ(sl_agents_seq_before(sl_agents_hidden(seq)), seq - 1); /* its public half is */
    }
}

SL_TEST(start_events_are_inputs)
{
    static const struct {
        const char *event, *inputs, *why;
    } cases[] = {
        {"{}", "{}", NULL},
        {"{\"a\":1}", "{\"a\":1}", NULL},
        {"{\"_data\":{\"a\":1},\"b\":2}", "{\"a\":1,\"b\":2}", NULL},
        {"{\"_data\":5}", "{\"_data\":5}", NULL},
        {"{\"type\":\"StartEvent\"}", "{\"type\":\"StartEvent\"}", NULL},
        {"{\"type\":\"StartEvent\",\"value\":{\"a\":1}}", "{\"a\":1}", NULL},
        {"{\"type\":\"StartEvent\",\"value\":{\"_data\":{\"a\":1}},\"qualified_name\":null}", "{\"a\":1}", NULL},
        {"{\"qualified_name\":\"workflows.events.StartEvent\",\"value\":{\"a\":1}}", "{\"a\":1}", NULL},
        {"{\"qualified_name\":\"StartEvent\",\"value\":{}}", "{}", NULL},
        {"{\"type\":\"StartEvent\",\"qualified_name\":null,\"data\":{\"a\":1}}", "{\"a\":1}", NULL},
        {"\"{\\\"a\\\":1}\"", "{\"a\":1}", NULL},
        {"\"x\"", NULL, "stringified json object"},
        {"[1]", NULL, "Must be a json object"},
        {"7", NULL, "Must be a json object"},
        {"{\"value\":{}}", NULL, "Must have a type"},
        {"{\"type\":\"\",\"value\":{}}", NULL, "Must have a type"},
        {"{\"type\":\"Nope\",\"value\":{}}", NULL, "Invalid event type: Nope."},
        {"{\"type\":\"StopEvent\",\"value\":{}}", NULL, "instance of"},
        {"{\"type\":\"StartEvent\",\"value\":null}", NULL, "should be an object"},
        {"{\"type\":\"StartEvent\",\"value\":[]}", NULL, "should be an object"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *event = json_loads(cases[i].event, JSON_DECODE_ANY, NULL);
        char why[512] = "";
        REQUIRE(event);
        json_t *inputs = sl_agents_inputs(event, why);
        CHECK_EQ(inputs != NULL, cases[i].inputs != NULL);
        if (inputs)
            check_member(inputs, "", cases[i].inputs);
        else
            CHECK(strstr(why, cases[i].why) != NULL);
        json_decref(event);
    }
}

/* ---- schemas and graph ---- */

static sl_flow *load(const char *text)
{
    sl_flow *flow = NULL;
    static sl_flow_problems problems;
    memset(&problems, 0, sizeof problems);
    CHECK_EQ(sl_flow_load(sl_str_c(text), &problems, &flow), 0);
    return flow;
}

static const char flow_text[] =
    "name: big\ndescription: All of it.\nsteps:\n"
    "  - {id: a, type: transform, function: template, template: '{{ input.topic }} {{ tone }} plain', output: [out]}\n"
    "  - {id: b, type: transform, function: join, inputs: [words, out], output: [text], depends_on: [a]}\n"
    "  - {id: many, type: loop, items: '{{ inputs.list }}', as: one, depends_on: [a], steps: [{id: inner, type: "
    "transform, function: template, template: '{{ one.x }} {{ index }} {{ steps.a.out }}', output: [line]}]}\n"
    "  - {id: end, type: transform, function: template, template: '{{ steps.b.text }}', depends_on: [b, many], "
    "condition: '{{ inputs.wanted }}', output: [last]}\n";

SL_TEST(inputs_are_what_the_file_reads)
{
    sl_flow *flow = load(flow_text);
    json_t *schema = sl_agents_start_schema(flow);
    json_t *properties = json_object_get(schema, "properties");
    static const char *const names[] = {"topic", "tone", "words", "list", "wanted"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        CHECK(json_object_get(properties, names[i]) != NULL);
    CHECK_EQ(json_object_size(properties), sizeof names / sizeof *names);
    check_member(json_incref(schema), "title", "\"StartEvent\"");
    check_member(schema, "additionalProperties", "true");
    json_t *all = sl_agents_event_schemas(flow);
    CHECK_EQ(json_array_size(all), 7);
    check_member(json_incref(json_array_get(all, 1)), "title", "\"StopEvent\"");
    json_decref(all);
    sl_flow_unref(flow);
}

static bool has_edge(const json_t *graph, const char *from, const char *to)
{
    json_t *edge;
    size_t i;
    json_array_foreach(json_object_get(graph, "edges"), i, edge)
    {
        if (strcmp(json_string_value(json_object_get(edge, "source")), from) == 0 &&
            strcmp(json_string_value(json_object_get(edge, "target")), to) == 0)
            return true;
    }
    return false;
}

SL_TEST(the_graph_has_every_step_once)
{
    sl_flow *flow = load(flow_text);
    json_t *graph = sl_agents_graph(flow);
    CHECK_EQ(json_array_size(json_object_get(graph, "nodes")), 7); /* five steps, two events */
    static const char *const edges[][2] = {{"StartEvent", "a"}, {"a", "b"},      {"a", "many"},       {"many", "inner"},
                                           {"b", "end"},        {"many", "end"}, {"end", "StopEvent"}};
    for (size_t i = 0; i < sizeof edges / sizeof *edges; i++)
        CHECK(has_edge(graph, edges[i][0], edges[i][1]));
    CHECK_EQ(json_array_size(json_object_get(graph, "edges")), sizeof edges / sizeof *edges);
    json_t *stop = json_array_get(json_object_get(graph, "nodes"), 6);
    check_member(json_incref(stop), "id", "\"StopEvent\"");
    check_member(json_incref(stop), "produced_by", "[\"end\"]");
    check_member(json_incref(graph), "name", "\"big\"");
    check_member(graph, "description", "\"All of it.\"");
    sl_flow_unref(flow);
}
