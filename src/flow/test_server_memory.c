/*
 * The flow plane's server when memory runs out: for every route, each allocation of a request in turn. The request is
 * answered with what it asked for, whole, or with an error; a stream that ends in order has said all; what was answered
 * as accepted is there; and the next request is served as if nothing had been.
 */
#include "src/flow/test_json_memory.h"
#include "src/flow/test_server_fixture.h"

#define MOST 40000 /* allocations of one request */
#define ALL 320    /* of them are tried; behind them every 97th */

typedef struct ask {
    fs_surface surface;
    const char *method, *target; /* "%s": an id of the setting */
    int id;                      /* which one */
    const char *body;
    int good, also; /* statuses without a failure: `also` is that of a repetition, where it is another */
    bool same;      /* every good answer is the same to the letter */
} ask;

enum { NONE = 0, ENDED, WAITING, SESSION, TASK, CONTROL_SESSION, CONTROL_TASK, IDS };

typedef struct setting {
    fs s;
    char ids[IDS][64];
} setting;

#define DEPLOYMENT                                                                                                     \
    "name: d\nservices:\n  far: {name: far, source: {type: local, location: .}, import-path: 'far.module:flow'}\n"

static void set_up(setting *t)
{
    fs *s = &t->s;
    fs_task task;
    memset(t->ids, 0, sizeof t->ids);
    fs_add(s, FS_ECHO);
    fs_deploy(s, DEPLOYMENT);
    fs_begin(s, "echo", "{\"inputs\":{\"x\":1}}", t->ids[ENDED]);
    CHECK(fs_take(s, "echo", 5, &task));
    for (int i = 0; i < 5; i++)
        fs_say(s, "task_stream",
               json_pack("{s:s,s:n,s:i,s:{s:i}}", "task_id", task.id, "session_id", "index", i, "data", "n", i));
    fs_result(s, task.id, "the result");
    CHECK(fs_comes_to(s, t->ids[ENDED], "succeeded"));
    fs_settle(s, &task, "ack", 200);
    fs_task_done(&task);
    fs_begin(s, "echo", "{\"inputs\":{\"x\":2}}", t->ids[WAITING]);
    fs_text(fs_ask(s, FS_API, "POST", "/deployments/d/sessions/create", "", 200), "session_id", t->ids[SESSION], 64);
    char target[200];
    (void)snprintf(target, sizeof target, "/deployments/d/tasks/create?session_id=%s", t->ids[SESSION]);
    fs_text(fs_ask(s, FS_API, "POST", target, "{\"input\":\"{}\",\"service_id\":\"far\"}", 200), "task_id",
            t->ids[TASK], 64);
    fs_text(fs_ask(s, FS_CONTROL, "POST", "/sessions/create", "", 200), NULL, t->ids[CONTROL_SESSION], 64);
    (void)snprintf(target, sizeof target, "/sessions/%s/tasks", t->ids[CONTROL_SESSION]);
    fs_text(fs_ask(s, FS_CONTROL, "POST", target, "{\"input\":\"{}\",\"service_id\":\"echo\"}", 200), NULL,
            t->ids[CONTROL_TASK], 64);
}

/* ---- one route ---- */

static nf_message send_ask(setting *t, const ask *a)
{
    char target[300];
    (void)snprintf(target, sizeof target, a->target, t->ids[a->id], t->ids[a->id + 1 < IDS ? a->id + 1 : 0]);
    const char *type = strcmp(a->body, FS_ECHO) == 0 ? "Content-Type: text/plain\r\n" : "";
    return fs_send(&t->s, a->surface, a->method, target, type, a->body);
}

static bool is_good(const ask *a, const nf_message *m)
{
    return m->status == a->good || (a->also && m->status == a->also);
}

static bool is_same(const nf_message *a, const nf_message *b)
{
    return a->status == b->status && a->body.len == b->body.len && memcmp(a->body.ptr, b->body.ptr, a->body.len) == 0;
}

static void say_wrong(const ask *a, long n, const nf_message *m)
{
    sl_test_failed(__FILE__, __LINE__, "%s %s: allocation %ld: %d, complete %d: %.*s", a->method, a->target, n,
                   m->status, m->complete, (int)(m->body.len < 300 ? m->body.len : 300),
                   m->body.len ? m->body.ptr : "");
}

/* Returns how many allocations there were to fail. */
static long try_all(setting *t, const ask *a)
{
    nf_message usual = send_ask(t, a);
    long n = 0, wrong = 0;
    if (!is_good(a, &usual))
        say_wrong(a, -1, &usual);
    for (bool happened = true; happened && n < MOST && wrong < 3; n += n < ALL ? 1 : 97) {
        sl_test_fail_alloc(n);
        nf_message m = send_ask(t, a);
        happened = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        bool broken = m.status <= 0 || (m.data && !m.complete);
        bool good = is_good(a, &m);
        if (!(broken || m.status >= 500 || good) || (good && !broken && a->same && !is_same(&m, &usual))) {
            say_wrong(a, n, &m);
            wrong++;
        }
        nf_message_free(&m);
    }
    nf_message after = send_ask(t, a);
    if (!is_good(a, &after) || (a->same && !is_same(&after, &usual)))
        say_wrong(a, 1000000, &after);
    nf_message_free(&after);
    nf_message_free(&usual);
    return n;
}

static void try_each(setting *t, const ask *asks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        long tried = try_all(t, &asks[i]);
        if (getenv("SL_TEST_COUNT"))
            printf("%5ld %s %s\n", tried, asks[i].method, asks[i].target);
        CHECK(tried > 3 && tried < MOST);
    }
}

/* ---- */

static const ask reads[] = {
    {FS_API, "GET", "/openapi.json", 0, "", 200, 0, true},
    {FS_API, "GET", "/workflows", 0, "", 200, 0, true},
    {FS_API, "GET", "/workflows/echo", 0, "", 200, 0, true},
    {FS_API, "GET", "/workflows/echo/schema", 0, "", 200, 0, true},
    {FS_API, "GET", "/workflows/echo/representation", 0, "", 200, 0, true},
    {FS_API, "GET", "/workflows/echo/events", 0, "", 200, 0, true},
    {FS_API, "GET", "/runs", 0, "", 200, 0, true},
    {FS_API, "GET", "/runs/%s", ENDED, "", 200, 0, true},
    {FS_API, "GET", "/runs/%s/events", ENDED, "", 200, 0, true},
    {FS_API, "GET", "/health", 0, "", 200, 0, true},
    {FS_API, "GET", "/handlers", 0, "", 200, 0, true},
    {FS_API, "GET", "/handlers?status=running&status=completed&workflow_name=echo", 0, "", 200, 0, true},
    {FS_API, "GET", "/handlers/%s", ENDED, "", 200, 0, true},
    {FS_API, "GET", "/results/%s", ENDED, "", 200, 0, true},
    {FS_API, "GET", "/events/%s", ENDED, "", 204, 200, false},
    {FS_API, "GET", "/events/%s?after_sequence=-1&include_internal=true&sse=false", ENDED, "", 200, 0, true},
    {FS_API, "GET", "/", 0, "", 200, 0, true},
    {FS_API, "GET", "/status/", 0, "", 200, 0, true},
    {FS_API, "GET", "/deployments/", 0, "", 200, 0, true},
    {FS_API, "GET", "/deployments/d", 0, "", 200, 0, true},
    {FS_API, "GET", "/deployments/d/tasks", 0, "", 200, 0, true},
    {FS_API, "GET", "/deployments/d/sessions", 0, "", 200, 0, true},
    {FS_API, "GET", "/deployments/d/sessions/%s", SESSION, "", 200, 0, true},
    {FS_API, "GET", "/deployments/d/tasks/%2$s/results?session_id=%1$s", SESSION, "", 200, 0, true},
    {FS_CONTROL, "GET", "/", 0, "", 200, 0, true},
    {FS_CONTROL, "GET", "/queue_config", 0, "", 200, 0, true},
    {FS_CONTROL, "GET", "/services", 0, "", 200, 0, true},
    {FS_CONTROL, "GET", "/services/echo", 0, "", 200, 0, true},
    {FS_CONTROL, "GET", "/sessions", 0, "", 200, 0, true},
    {FS_CONTROL, "GET", "/sessions/%s", CONTROL_SESSION, "", 200, 0, true},
    {FS_CONTROL, "GET", "/sessions/%s/tasks", CONTROL_SESSION, "", 200, 0, true},
    {FS_CONTROL, "GET", "/sessions/%s/current_task", CONTROL_SESSION, "", 200, 0, true},
    {FS_CONTROL, "GET", "/sessions/%s/tasks/%s/result", CONTROL_SESSION, "", 200, 0, true},
    {FS_CONTROL, "GET", "/sessions/%s/state", CONTROL_SESSION, "", 200, 0, true},
    {FS_QUEUE, "GET", "/queues/llama_deploy.echo/dead", 0, "", 200, 404, true},
};

SL_TEST(reading_without_memory)
{
    static setting t;
    REQUIRE(fs_new(&t.s, 0));
    set_up(&t);
    try_each(&t, reads, sizeof reads / sizeof *reads);
    fs_stop(&t.s);
    CHECK_EQ(t.s.status, 0);
}

static const ask changes[] = {
    {FS_API, "POST", "/workflows", 0, FS_ECHO, 200, 0, false},
    {FS_API, "POST", "/workflows/echo/runs", 0, "{\"inputs\":{\"x\":3},\"idempotency_key\":\"one\"}", 202, 0, false},
    {FS_API, "POST", "/workflows/echo/run-nowait", 0, "{\"start_event\":{\"x\":4}}", 200, 0, false},
    {FS_API, "POST", "/runs/%s/cancel", WAITING, "", 202, 409, false},
    {FS_API, "POST", "/runs/%s/resume", WAITING, "", 202, 409, false},
    {FS_API, "POST", "/handlers/%s/cancel", WAITING, "", 200, 404, false},
    {FS_API, "POST", "/deployments/d/sessions/create", 0, "", 200, 0, false},
    {FS_API, "POST", "/deployments/d/tasks/create?session_id=%s", SESSION, "{\"input\":\"{}\",\"service_id\":\"far\"}",
     200, 0, false},
    {FS_API, "POST", "/deployments/d/tasks/%2$s/events?session_id=%1$s", SESSION,
     "{\"service_id\":\"far\",\"event_obj_str\":\"{}\"}", 200, 0, true},
    {FS_API, "POST", "/deployments/d/sessions/delete?session_id=%s", SESSION, "", 200, 404, false},
    {FS_CONTROL, "POST", "/process_message", 0,
     "{\"action\":\"task_stream\",\"data\":{\"task_id\":\"t\",\"session_id\":null,\"index\":0,\"data\":{}}}", 200, 0,
     true},
    {FS_CONTROL, "POST", "/services/register", 0, "{\"service_name\":\"s\",\"description\":\"what\"}", 200, 0, true},
    {FS_CONTROL, "POST", "/services/deregister?service_name=s", 0, "", 200, 0, true},
    {FS_CONTROL, "POST", "/sessions/create", 0, "", 200, 0, false},
    {FS_CONTROL, "POST", "/sessions/%s/state", CONTROL_SESSION, "{\"a\":1}", 200, 0, true},
    {FS_CONTROL, "POST", "/sessions/%s/tasks", CONTROL_SESSION, "{\"input\":\"{}\",\"service_id\":\"echo\"}", 200, 0,
     false},
    {FS_CONTROL, "POST", "/sessions/%s/tasks/%s/send_event", CONTROL_SESSION,
     "{\"service_id\":\"echo\",\"event_obj_str\":\"{}\"}", 200, 404, true},
    {FS_CONTROL, "POST", "/sessions/%s/delete", CONTROL_SESSION, "", 200, 0, true},
    {FS_QUEUE, "POST", "/queues/other/messages", 0, "body", 201, 0, false},
    {FS_QUEUE, "POST", "/queues/other/lease?max=2", 0, "", 200, 0, false},
};

SL_TEST(changing_without_memory)
{
    static setting t;
    REQUIRE(fs_new(&t.s, 0));
    set_up(&t);
    try_each(&t, changes, sizeof changes / sizeof *changes);
    fs_stop(&t.s);
    CHECK_EQ(t.s.status, 0);
}
