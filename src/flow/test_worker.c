/*
 * A worker at the queue of a server: tasks run to their ends with their inputs to the letter, and what is no task is
 * buried. Both are of this process; the worker has its own loop and thread.
 */
#include "src/flow/services_env.h"
#include "src/flow/test_server_fixture.h"
#include "src/flow/worker.h"

typedef struct rig {
    fs s;
    pthread_t thread;
    sl_loop loop;
    sl_flow_services services;
    sl_flow *flow;
    char url[64];
    atomic_int ready;
    int error;
} rig;

static void is_ready(void *user)
{
    rig *r = user;
    atomic_store(&r->ready, 1);
}

static void *work(void *user)
{
    rig *r = user;
    sl_flow *const flows[] = {r->flow};
    const sl_flow_worker_options o = {.loop = &r->loop,
                                      .services = &r->services,
                                      .queue_url = r->url,
                                      .flows = flows,
                                      .flow_count = 1,
                                      .concurrency = 4,
                                      .drain_timeout_ms = 200,
                                      .on_ready = is_ready,
                                      .user = r};
    r->error = sl_flow_worker_run(&o);
    return NULL;
}

static sl_flow *echo_flow(void)
{
    static sl_flow_problems problems;
    sl_flow *flow = NULL;
    memset(&problems, 0, sizeof problems);
    CHECK_EQ(sl_flow_load(SL_STR(FS_ECHO), &problems, &flow), 0);
    return flow;
}

static bool rig_start(rig *r)
{
    memset(r, 0, sizeof *r);
    if (!fs_new(&r->s, 0))
        return false;
    fs_add(&r->s, FS_ECHO);
    (void)snprintf(r->url, sizeof r->url, "http://127.0.0.1:%u", r->s.ports[FS_QUEUE]);
    r->flow = echo_flow();
    if (sl_loop_init(&r->loop) || sl_upstream_new(&r->loop, NULL, &r->services.upstream))
        abort();
    r->services.loop = &r->loop;
    if (pthread_create(&r->thread, NULL, work, r) != 0)
        abort();
    for (int i = 0; i < NF_PATIENCE_MS && !atomic_load(&r->ready); i++)
        nf_sleep_ms(1);
    return atomic_load(&r->ready) == 1;
}

/* SIGTERM ends both. */
static void rig_stop(rig *r)
{
    fs_stop(&r->s);
    (void)pthread_join(r->thread, NULL);
    CHECK_EQ(r->error, 0);
    sl_upstream_close(r->services.upstream);
    (void)uv_run(&r->loop.uv, UV_RUN_DEFAULT);
    sl_upstream_free(r->services.upstream);
    sl_loop_done(&r->loop);
    sl_flow_unref(r->flow);
}

/* "" while there is none. */
static void text_of(rig *r, const char *run, const char *key, char *ret, size_t size)
{
    char target[128];
    (void)snprintf(target, sizeof target, "/runs/%.63s", run);
    json_t *answer = fs_ask(&r->s, FS_API, "GET", target, "", 200);
    json_t *value = json_object_get(json_object_get(json_object_get(answer, "outputs"), key), "text");
    const char *text = json_string_value(value ? value : json_object_get(answer, key));
    (void)snprintf(ret, size, "%s", text ? text : "");
    json_decref(answer);
}

SL_TEST(tasks_of_all_kinds_of_inputs_come_to_their_ends)
{
    static const struct {
        const char *inputs, *output;
    } cases[] = {
        {"{\"x\":\"one\"}", "echo: one"},
        {"{\"x\":7}", "echo: 7"},
        {"{\"x\":\"\"}", "echo: "},
        {"{}", "echo: "},
        {"{\"x\":null}", "echo: "},
        {"{\"x\":\"\\u00e4\\u4e2d\\ud83d\\ude00\"}", "echo: \xc3\xa4\xe4\xb8\xad\xf0\x9f\x98\x80"},
        {"{\"x\":\"a\\nb\\\"c\\\\d\"}", "echo: a\nb\"c\\d"},
        {"{\"x\":\"{{ inputs.x }}\"}", "echo: {{ inputs.x }}"},
    };
    static rig r;
    char ids[sizeof cases / sizeof *cases][64];
    REQUIRE(rig_start(&r));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char body[200];
        (void)snprintf(body, sizeof body, "{\"inputs\":%s}", cases[i].inputs);
        fs_begin(&r.s, "echo", body, ids[i]);
    }
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char text[200];
        CHECK(fs_comes_to(&r.s, ids[i], "succeeded"));
        text_of(&r, ids[i], "a", text, sizeof text);
        CHECK_STR(sl_str_c(text), cases[i].output);
    }
    rig_stop(&r);
}

/* What is no task becomes a dead letter; the worker goes on. */
SL_TEST(messages_that_are_no_tasks_are_buried)
{
    static const char *const bodies[] = {"no JSON",
                                         "[]",
                                         "{}",
                                         "{\"data\":{}}",
                                         "{\"data\":{\"task_id\":\"t\"}}",
                                         "{\"data\":{\"input\":\"{}\"}}",
                                         "{\"data\":{\"task_id\":7,\"input\":\"{}\"}}",
                                         "{\"data\":{\"task_id\":\"t\",\"input\":{}}}"};
    enum { BODIES = sizeof bodies / sizeof *bodies };
    static rig r;
    char id[64];
    REQUIRE(rig_start(&r));
    for (size_t i = 0; i < BODIES; i++)
        fs_expect(&r.s, FS_QUEUE, "POST", "/queues/llama_deploy.echo/messages", bodies[i], 201);
    fs_begin(&r.s, "echo", "{\"inputs\":{\"x\":1}}", id);
    CHECK(fs_comes_to(&r.s, id, "succeeded"));
    size_t dead = 0;
    for (int n = 0; n < 1000 && dead < BODIES; n++) {
        json_t *answer = fs_ask(&r.s, FS_QUEUE, "GET", "/queues/llama_deploy.echo/dead", "", 200);
        dead = json_array_size(json_object_get(answer, "messages"));
        json_decref(answer);
        nf_sleep_ms(5);
    }
    CHECK_EQ(dead, BODIES);
    rig_stop(&r);
}
