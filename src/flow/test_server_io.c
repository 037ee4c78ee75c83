/*
 * The flow plane's server on a disk that fails: while nothing can be read every answer is an error, never "not found",
 * a list that is too short or a stream that ends as if all were said; while nothing can be written nothing is accepted;
 * afterwards everything is as it was.
 */
#include "src/flow/test_server_fixture.h"
#include "tests/harness/sl_disk.h"

#define DEPLOYMENT                                                                                                     \
    "name: d\nservices:\n  far: {name: far, source: {type: local, location: .}, import-path: 'far.module:flow'}\n"

enum { RUN = 0, SESSION, TASK, OWN_SESSION, OWN_TASK, IDS };

typedef struct setting {
    fs s;
    char ids[IDS][64];
} setting;

static void set_up(setting *t)
{
    fs *s = &t->s;
    char target[200];
    fs_task task;
    fs_add(s, FS_ECHO);
    fs_deploy(s, DEPLOYMENT);
    fs_begin(s, "echo", "{\"inputs\":{\"x\":1},\"idempotency_key\":\"first\"}", t->ids[RUN]);
    CHECK(fs_take(s, "echo", 5, &task));
    for (int i = 0; i < 5; i++)
        fs_say(s, "task_stream",
               json_pack("{s:s,s:n,s:i,s:{s:i}}", "task_id", task.id, "session_id", "index", i, "data", "n", i));
    fs_result(s, task.id, "the result");
    CHECK(fs_comes_to(s, t->ids[RUN], "succeeded"));
    fs_settle(s, &task, "ack", 200);
    fs_task_done(&task);
    fs_text(fs_ask(s, FS_API, "POST", "/deployments/d/sessions/create", "", 200), "session_id", t->ids[SESSION], 64);
    (void)snprintf(target, sizeof target, "/deployments/d/tasks/create?session_id=%s", t->ids[SESSION]);
    fs_text(fs_ask(s, FS_API, "POST", target, "{\"input\":\"{}\",\"service_id\":\"far\"}", 200), "task_id",
            t->ids[TASK], 64);
    fs_text(fs_ask(s, FS_CONTROL, "POST", "/sessions/create", "", 200), NULL, t->ids[OWN_SESSION], 64);
    (void)snprintf(target, sizeof target, "/sessions/%s/tasks", t->ids[OWN_SESSION]);
    fs_text(fs_ask(s, FS_CONTROL, "POST", target, "{\"input\":\"{}\",\"service_id\":\"echo\"}", 200), NULL,
            t->ids[OWN_TASK], 64);
    (void)snprintf(target, sizeof target, "/sessions/%s/state", t->ids[OWN_SESSION]);
    fs_expect(s, FS_CONTROL, "POST", target, "{\"kept\":[1,2]}", 200);
}

typedef struct ask {
    fs_surface surface;
    const char *method, *target;
    int id;
    const char *body;
    int good;
} ask;

static nf_message send_ask(setting *t, const ask *a)
{
    char target[300];
    (void)snprintf(target, sizeof target, a->target, t->ids[a->id], t->ids[a->id + 1 < IDS ? a->id + 1 : 0]);
    return fs_send(&t->s, a->surface, a->method, target, "", a->body);
}

static bool is_same(const nf_message *a, const nf_message *b)
{
    return a->status == b->status && a->complete == b->complete && a->body.len == b->body.len &&
           memcmp(a->body.ptr, b->body.ptr, a->body.len) == 0;
}

static void say_wrong(const ask *a, const char *when, const nf_message *m)
{
    sl_test_failed(__FILE__, __LINE__, "%s %s: %s: %d, complete %d: %.*s", a->method, a->target, when, m->status,
                   m->complete, (int)(m->body.len < 300 ? m->body.len : 300), m->body.len ? m->body.ptr : "");
}

/* ---- reading ---- */

static const ask reads[] = {
    {FS_API, "GET", "/runs", 0, "", 200},
    {FS_API, "GET", "/runs?workflow=echo&status=succeeded&limit=1", 0, "", 200},
    {FS_API, "GET", "/runs/%s", RUN, "", 200},
    {FS_API, "GET", "/runs/%s/events", RUN, "", 200},
    {FS_API, "GET", "/runs/%s/events?after=3", RUN, "", 200},
    {FS_API, "GET", "/handlers", 0, "", 200},
    {FS_API, "GET", "/handlers/%s", RUN, "", 200},
    {FS_API, "GET", "/results/%s", RUN, "", 200},
    {FS_API, "GET", "/events/%s?after_sequence=-1&sse=false", RUN, "", 200},
    {FS_API, "GET", "/deployments/d/tasks", 0, "", 200},
    {FS_API, "GET", "/deployments/d/sessions", 0, "", 200},
    {FS_API, "GET", "/deployments/d/sessions/%s", SESSION, "", 200},
    {FS_API, "GET", "/deployments/d/tasks/%2$s/results?session_id=%1$s", SESSION, "", 200},
    {FS_CONTROL, "GET", "/services", 0, "", 200},
    {FS_CONTROL, "GET", "/sessions", 0, "", 200},
    {FS_CONTROL, "GET", "/sessions/%s", OWN_SESSION, "", 200},
    {FS_CONTROL, "GET", "/sessions/%s/tasks", OWN_SESSION, "", 200},
    {FS_CONTROL, "GET", "/sessions/%s/current_task", OWN_SESSION, "", 200},
    {FS_CONTROL, "GET", "/sessions/%s/tasks/%s/result", OWN_SESSION, "", 200},
    {FS_CONTROL, "GET", "/sessions/%s/state", OWN_SESSION, "", 200},
};

/* One fault of reading in every request: the answer is the usual one, or an error. */
static void read_with(setting *t, const ask *a, unsigned kinds, long n, bool for_good)
{
    nf_message usual = send_ask(t, a);
    if (usual.status != a->good)
        say_wrong(a, "at first", &usual);
    sl_disk_fail(kinds, n, for_good);
    nf_message m = send_ask(t, a);
    (void)sl_disk_well();
    bool broken = m.status <= 0 || !m.complete;
    if (!broken && m.status < 500 && !is_same(&m, &usual))
        say_wrong(a, "on a bad disk", &m);
    nf_message_free(&m);
    m = send_ask(t, a);
    if (!is_same(&m, &usual))
        say_wrong(a, "afterwards", &m);
    nf_message_free(&m);
    nf_message_free(&usual);
}

static void read_all_with(unsigned kinds)
{
    static setting t;
    sl_disk_install();
    REQUIRE(fs_new(&t.s, 0));
    set_up(&t);
    fs_again(&t.s); /* nothing is in a cache of the connection that reads */
    for (size_t i = 0; i < sizeof reads / sizeof *reads; i++) {
        for (long n = 0; n < 6; n++) {
            read_with(&t, &reads[i], kinds, n, true);
            read_with(&t, &reads[i], kinds, n, false);
        }
    }
    fs_stop(&t.s);
    CHECK_EQ(t.s.status, 0);
}

SL_TEST(reading_from_a_bad_disk)
{
    read_all_with(SL_DISK_READ);
}

SL_TEST(reading_where_nothing_can_be_locked)
{
    read_all_with(SL_DISK_LOCK);
}

/* SQLite's own memory, while it reads. */
SL_TEST(reading_without_memory_for_sqlite)
{
    static setting t;
    sl_disk_install();
    REQUIRE(fs_new(&t.s, 0));
    set_up(&t);
    for (size_t i = 0; i < sizeof reads / sizeof *reads; i++) {
        nf_message usual = send_ask(&t, &reads[i]);
        bool happened = true;
        for (long n = 0; happened && n < 400; n++) {
            sl_disk_fail_memory(n);
            nf_message m = send_ask(&t, &reads[i]);
            happened = sl_disk_well();
            if (m.status > 0 && m.complete && m.status < 500 && !is_same(&m, &usual))
                say_wrong(&reads[i], "without memory for SQLite", &m);
            nf_message_free(&m);
        }
        nf_message_free(&usual);
    }
    fs_stop(&t.s);
    CHECK_EQ(t.s.status, 0);
}

/* ---- writing ---- */

static const ask changes[] = {
    {FS_API, "POST", "/workflows/echo/runs", 0, "{\"inputs\":{\"x\":3}}", 202},
    {FS_API, "POST", "/workflows/echo/runs", 0, "{\"inputs\":{\"x\":3},\"idempotency_key\":\"second\"}", 202},
    {FS_API, "POST", "/workflows/echo/run-nowait", 0, "{\"start_event\":{\"x\":4}}", 200},
    {FS_API, "POST", "/deployments/d/sessions/create", 0, "", 200},
    {FS_API, "POST", "/deployments/d/tasks/create?session_id=%s", SESSION, "{\"input\":\"{}\",\"service_id\":\"far\"}",
     200},
    {FS_CONTROL, "POST", "/services/register", 0, "{\"service_name\":\"s\",\"description\":\"what\"}", 200},
    {FS_CONTROL, "POST", "/services/deregister?service_name=s", 0, "", 200},
    {FS_CONTROL, "POST", "/sessions/create", 0, "", 200},
    {FS_CONTROL, "POST", "/sessions/%s/state", OWN_SESSION, "{\"a\":1}", 200},
    {FS_CONTROL, "POST", "/sessions/%s/tasks", OWN_SESSION, "{\"input\":\"{}\",\"service_id\":\"echo\"}", 200},
    {FS_QUEUE, "POST", "/queues/other/messages", 0, "body", 201},
};

static void change_with(setting *t, const ask *a, unsigned kinds, bool for_good)
{
    sl_disk_fail(kinds, 0, for_good);
    nf_message m = send_ask(t, a);
    bool happened = sl_disk_well();
    if (happened && for_good && (m.status < 500 || m.status > 599))
        say_wrong(a, "where nothing can be written", &m);
    nf_message_free(&m);
    m = send_ask(t, a);
    if (m.status != a->good)
        say_wrong(a, "afterwards", &m);
    nf_message_free(&m);
}

SL_TEST(changing_on_a_bad_disk)
{
    static const unsigned kinds[] = {SL_DISK_WRITE, SL_DISK_SYNC, SL_DISK_WRITE | SL_DISK_SYNC};
    static setting t;
    sl_disk_install();
    REQUIRE(fs_new(&t.s, 0));
    set_up(&t);
    for (size_t i = 0; i < sizeof changes / sizeof *changes; i++) {
        for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
            change_with(&t, &changes[i], kinds[k], true);
            change_with(&t, &changes[i], kinds[k], false);
        }
    }
    fs_stop(&t.s);
    CHECK_EQ(t.s.status, 0);
}

/* Runs that were answered as accepted are run to their ends by the next life, whatever failed in this one. */
SL_TEST(accepted_runs_end_after_a_life_on_a_bad_disk)
{
    enum { RUNS = 12 };
    static setting t;
    char ids[RUNS][64];
    int accepted = 0;
    sl_disk_install();
    REQUIRE(fs_new(&t.s, 0));
    fs_add(&t.s, FS_ECHO);
    for (int i = 0; i < RUNS; i++) {
        char body[100];
        (void)snprintf(body, sizeof body, "{\"inputs\":{\"x\":%d}}", i);
        if (i % 2)
            sl_disk_fail(i % 4 == 1 ? SL_DISK_WRITE : SL_DISK_SYNC, i, false);
        nf_message m = fs_send(&t.s, FS_API, "POST", "/workflows/echo/runs", "", body);
        (void)sl_disk_well();
        json_t *answer = m.body.len ? json_loadb(m.body.ptr, m.body.len, 0, NULL) : NULL;
        if (m.status == 202)
            fs_text(json_incref(answer), "run_id", ids[accepted++], 64);
        json_decref(answer);
        nf_message_free(&m);
    }
    CHECK(accepted >= RUNS / 2);
    fs_stop(&t.s);
    t.s.options.max_runs = 4; /* the next one runs them itself */
    REQUIRE(fs_start(&t.s));
    for (int i = 0; i < accepted; i++)
        CHECK(fs_comes_to(&t.s, ids[i], "succeeded"));
    fs_stop(&t.s);
}

/* A file that cannot be opened is a failed start, with an exit status, and not a server without it. */
SL_TEST(starts_that_fail)
{
    static const unsigned kinds[] = {SL_DISK_OPEN, SL_DISK_READ, SL_DISK_WRITE, SL_DISK_SYNC, SL_DISK_SHARED};
    static setting t;
    sl_disk_install();
    REQUIRE(fs_new(&t.s, 0));
    set_up(&t);
    fs_stop(&t.s);
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        for (long n = 0; n < 12; n += 2) {
            sl_disk_fail(kinds[k], n, true);
            bool up = fs_start(&t.s);
            (void)sl_disk_well();
            fs_stop(&t.s);
            CHECK_EQ(t.s.status, up ? 0 : 1);
        }
    }
    REQUIRE(fs_start(&t.s));
    CHECK_STR(sl_str_c(fs_status(&t.s, t.ids[RUN])), "succeeded");
    fs_stop(&t.s);
}
