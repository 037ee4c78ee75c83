/*
 * The flow plane's server against a model: operations by chance, as clients and workers do them in every order, with
 * starts anew between them. What is told of each run is what a simple list of runs says.
 */
#include "src/flow/test_server_fixture.h"
#include "tests/harness/sl_chance.h"

#define MAX_RUNS 400
#define KEYS 12
#define LIVES 3 /* a task that is taken when a life ends has been delivered once more */

typedef enum state { QUEUED, TAKEN, SUCCEEDED, FAILED, CANCELLED } state;
static const char *const names[] = {"queued", "running", "succeeded", "failed", "cancelled"};

typedef struct run {
    state state;
    char id[64];
    int key; /* below 0: none */
    int events;
    bool began; /* a worker has said an event, since it was made or resumed */
    fs_task task;
} run;

typedef struct model {
    fs s;
    uint64_t chance;
    run runs[MAX_RUNS];
    size_t count;
} model;

static model m;

static unsigned chance(unsigned below)
{
    return sl_chance(&m.chance, below);
}

static run *by_id(const char *id)
{
    for (size_t i = 0; i < m.count; i++)
        if (strcmp(m.runs[i].id, id) == 0)
            return &m.runs[i];
    return NULL;
}

static run *any_of(state wanted)
{
    size_t n = 0;
    for (size_t i = 0; i < m.count; i++)
        n += m.runs[i].state == wanted;
    if (!n)
        return NULL;
    size_t left = chance((unsigned)n);
    for (size_t i = 0;; i++)
        if (m.runs[i].state == wanted && left-- == 0)
            return &m.runs[i];
}

static void put_task_away(run *r)
{
    fs_task_done(&r->task);
    memset(&r->task, 0, sizeof r->task);
}

/* ---- operations ---- */

static void do_begin(void)
{
    char body[128], id[64];
    run *known = NULL;
    int key = chance(3) ? -1 : (int)chance(KEYS);
    if (m.count == MAX_RUNS)
        return;
    for (size_t i = 0; key >= 0 && i < m.count && !known; i++)
        known = m.runs[i].key == key ? &m.runs[i] : NULL;
    (void)snprintf(body, sizeof body, "{\"inputs\":{\"x\":%zu}}", m.count);
    if (key >= 0)
        (void)snprintf(body, sizeof body, "{\"inputs\":{\"x\":%zu},\"idempotency_key\":\"k%d\"}", m.count, key);
    fs_begin(&m.s, "echo", body, id);
    if (known) {
        CHECK_STR(sl_str_c(id), known->id);
        return;
    }
    CHECK(!by_id(id) && *id);
    run *new = &m.runs[m.count++];
    *new = (run){.state = QUEUED, .key = key};
    (void)snprintf(new->id, sizeof new->id, "%s", id);
}

/* A worker takes the next task: one that waits, and never one that has been cancelled. */
static void do_take(void)
{
    fs_task task;
    if (!fs_take(&m.s, "echo", 0, &task)) {
        CHECK(!any_of(QUEUED));
        return;
    }
    run *r = by_id(task.id);
    if (!r || r->state != QUEUED) {
        sl_test_failed(__FILE__, __LINE__, "%s was given out, and is %s", task.id, r ? names[r->state] : "unknown");
        fs_task_done(&task);
        return;
    }
    r->state = TAKEN;
    r->task = task;
}

static void do_event(void)
{
    run *r = any_of(TAKEN);
    if (!r)
        return;
    fs_say(
        &m.s, "task_stream",
        json_pack("{s:s,s:n,s:i,s:{s:i}}", "task_id", r->id, "session_id", "index", r->events, "data", "n", r->events));
    r->events++;
    r->began = true;
}

static void do_end(void)
{
    run *r = any_of(TAKEN);
    if (!r)
        return;
    bool good = chance(4) != 0;
    r->state = good ? SUCCEEDED : FAILED;
    if (good)
        fs_result(&m.s, r->id, "the result");
    else
        fs_say(&m.s, "completed_task",
               json_pack("{s:s,s:[],s:s,s:{s:s,s:s}}", "task_id", r->id, "history", "result", "no", "data", "status",
                         "failed", "error", "it broke"));
    CHECK(fs_comes_to(&m.s, r->id, names[r->state]));
    fs_settle(&m.s, &r->task, "ack", 200);
    put_task_away(r);
}

/* Said once more, or of nobody: nothing changes. */
static void do_late_word(void)
{
    run *r = any_of(chance(2) ? SUCCEEDED : CANCELLED);
    fs_result(&m.s, r ? r->id : "nobody", "late");
}

static void do_cancel(void)
{
    static const state all[] = {QUEUED, TAKEN, SUCCEEDED, FAILED, CANCELLED};
    char target[128];
    run *r = any_of(all[chance(5)]);
    if (!r)
        return;
    bool open = r->state == QUEUED || r->state == TAKEN;
    (void)snprintf(target, sizeof target, "/runs/%s/cancel", r->id);
    fs_expect(&m.s, FS_API, "POST", target, "", open ? 202 : 409);
    if (!open)
        return;
    if (r->state == TAKEN) { /* its worker hears of it, and lets it go */
        nf_message ack;
        (void)snprintf(target, sizeof target, "/queues/messages/%s/ack?lease=%s", r->task.message, r->task.lease);
        ack = fs_send(&m.s, FS_QUEUE, "POST", target, "", "");
        CHECK(ack.status == 200 || ack.status == 409 || ack.status == 404);
        nf_message_free(&ack);
        put_task_away(r);
    }
    r->state = CANCELLED;
}

static void do_resume(void)
{
    char target[128];
    run *r = any_of(chance(2) ? CANCELLED : FAILED);
    if (!r)
        return;
    (void)snprintf(target, sizeof target, "/runs/%s/resume", r->id);
    fs_expect(&m.s, FS_API, "POST", target, "", 202);
    r->state = QUEUED;
    r->began = false;
}

/* ---- comparing ---- */

static size_t lines_of(sl_str text)
{
    size_t count = 0;
    for (size_t i = 0; i < text.len; i++)
        count += text.ptr[i] == '\n';
    return count;
}

static void check_run(const run *r)
{
    char target[128];
    const char *status = fs_status(&m.s, r->id);
    bool right = r->state == TAKEN || r->state == QUEUED
                     ? strcmp(status, "queued") == 0 || strcmp(status, "running") == 0
                     : strcmp(status, names[r->state]) == 0;
    if (!right)
        sl_test_failed(__FILE__, __LINE__, "%s is %s, not %s", r->id, status, names[r->state]);
    if (r->state != SUCCEEDED)
        return;
    (void)snprintf(target, sizeof target, "/runs/%s/events", r->id);
    nf_message events = fs_send(&m.s, FS_API, "GET", target, "", "");
    CHECK(events.complete && events.status == 200);
    CHECK_EQ(lines_of(events.body), r->events);
    nf_message_free(&events);
}

static void check_all(void)
{
    size_t listed = 0;
    char before[64] = "";
    for (size_t n = 1; n;) {
        char target[160];
        (void)snprintf(target, sizeof target, "/runs?limit=%u&before=%s", 1 + chance(20), before);
        json_t *answer = fs_ask(&m.s, FS_API, "GET", target, "", 200);
        json_t *list = json_object_get(answer, "runs");
        n = json_array_size(list);
        for (size_t i = 0; i < n; i++) {
            const char *id = json_string_value(json_object_get(json_array_get(list, i), "run_id"));
            CHECK(id && by_id(id) == &m.runs[m.count - 1 - listed]); /* newest first */
            (void)snprintf(before, sizeof before, "%s", id ? id : "");
            listed++;
        }
        json_decref(answer);
        if (listed > m.count)
            break;
    }
    CHECK_EQ(listed, m.count);
    for (size_t i = 0; i < m.count; i++)
        check_run(&m.runs[i]);
}

static void do_restart(void)
{
    fs_again(&m.s);
    for (size_t i = 0; i < m.count; i++) {
        if (m.runs[i].state != TAKEN)
            continue;
        put_task_away(&m.runs[i]); /* its lease ended with the queue */
        m.runs[i].state = QUEUED;
    }
}

static void live(uint64_t seed, int operations)
{
    static void (*const kinds[])(void) = {do_begin, do_begin, do_begin, do_take, do_take,   do_take,      do_event,
                                          do_event, do_end,   do_end,   do_end,  do_cancel, do_late_word, do_resume};
    memset(&m, 0, sizeof m);
    m.chance = seed;
    REQUIRE(fs_new(&m.s, 0));
    fs_add(&m.s, FS_ECHO);
    for (int life = 0; life < LIVES; life++) {
        for (int i = 0; i < operations; i++)
            kinds[chance(sizeof kinds / sizeof *kinds)]();
        check_all();
        do_restart();
        check_all();
    }
    while (any_of(QUEUED)) /* what is left can all be done */
        do_take();
    while (any_of(TAKEN))
        do_end();
    check_all();
    fs_stop(&m.s);
    CHECK_EQ(m.s.status, 0);
}

SL_TEST(operations_by_chance_are_those_of_a_list)
{
    for (uint64_t seed = 1; seed <= 3; seed++)
        live(seed, 120);
}
