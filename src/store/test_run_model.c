/*
 * Runs on disk against a model: accepted, begun, ended, opened again, removed, by chance and across starts. What the
 * store tells of every run, of pages of them, of their events and of what is left to do is what a list in memory says.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/store/run_store.h"
#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_test.h"

#define MAX_RUNS 300
#define MAX_STEPS 5

typedef enum state { QUEUED, RUNNING, SUCCEEDED, FAILED, CANCELLED, REMOVED } state;

static const char *const names[] = {"queued", "running", "succeeded", "failed", "cancelled"};

typedef struct run {
    state state;
    bool sent;
    unsigned workflow, steps, events;
    char id[16], key[16];
    uint64_t ended_ns;
} run;

typedef struct rig {
    sl_loop loop;
    sl_db *db;
    sl_run_store *store;
    char path[128];
    size_t answers;
    bool existed;
    int error;
    char id[64];
    uint64_t state;
    run runs[MAX_RUNS];
    size_t count;
    uint64_t now;
} rig;

static rig r;

static unsigned chance(unsigned below)
{
    return sl_chance(&r.state, below);
}

static void open_store(void)
{
    char error[256];
    if (sl_loop_init(&r.loop) ||
        sl_db_open(&(sl_db_options){.path = r.path, .schema = "", .format = 1}, error, sizeof error, &r.db) ||
        sl_run_store_new(&r.loop, r.db, &r.store))
        abort();
}

static void close_store(void)
{
    sl_run_store_close(r.store);
    (void)uv_run(&r.loop.uv, UV_RUN_DEFAULT);
    sl_run_store_free(r.store);
    sl_db_close(r.db);
    sl_loop_done(&r.loop);
}

static void on_accepted(void *user, int error, sl_str id, bool existed)
{
    (void)user;
    r.answers++;
    r.error = error;
    r.existed = existed;
    (void)sl_str_to_c(id, r.id, sizeof r.id);
}

static void accept_run(const char *id, const char *key, unsigned workflow)
{
    char name[16];
    (void)snprintf(name, sizeof name, "flow%u", workflow);
    sl_run_new new = {.id = sl_str_c(id),
                      .workflow = sl_str_c(name),
                      .hash = sl_str_c(name),
                      .source = sl_str_c(name),
                      .inputs = SL_STR("{\"x\":1}"),
                      .idempotency_key = sl_str_c(key),
                      .created_ns = ++r.now};
    size_t before = r.answers;
    CHECK_EQ(sl_run_store_accept(r.store, &new, on_accepted, NULL), 0);
    while (r.answers == before)
        (void)uv_run(&r.loop.uv, UV_RUN_ONCE);
    CHECK_EQ(r.error, 0);
}

/* All that was given is written when this one's answer comes: in the order in which it was given. */
static void settle(void)
{
    accept_run("settle", "", 99);
}

static run *any_of(unsigned states)
{
    size_t found = 0, wanted;
    for (size_t i = 0; i < r.count; i++)
        found += (states >> r.runs[i].state) & 1;
    if (!found)
        return NULL;
    wanted = chance((unsigned)found);
    for (size_t i = 0;; i++)
        if (((states >> r.runs[i].state) & 1) && wanted-- == 0)
            return &r.runs[i];
}

#define LEFT (1u << QUEUED | 1u << RUNNING)
#define OVER (1u << FAILED | 1u << CANCELLED)

/* ---- operations ---- */

static void do_accept(void)
{
    if (r.count == MAX_RUNS)
        return;
    run *new = &r.runs[r.count];
    memset(new, 0, sizeof *new);
    new->workflow = chance(3);
    (void)snprintf(new->id, sizeof new->id, "run-%zu", r.count);
    if (chance(3) == 0)
        (void)snprintf(new->key, sizeof new->key, "k%u", chance(25));
    const run *first = NULL;
    for (size_t i = 0; i < r.count && new->key[0]; i++)
        if (r.runs[i].state != REMOVED && r.runs[i].workflow == new->workflow &&strcmp(r.runs[i].key, new->key) == 0)
            first = &r.runs[i];
    accept_run(new->id, new->key, new->workflow);
    CHECK_EQ(r.existed, first != NULL);
    CHECK_STR(sl_str_c(r.id), first ? first->id : new->id);
    r.count += first == NULL;
}

static void do_start(void)
{
    run *k = any_of(1u << QUEUED);
    if (!k)
        return;
    sl_run_store_started(r.store, sl_str_c(k->id), ++r.now, SL_STR("0af7651916cd43dd8448eb211c80319c"));
    k->state = RUNNING;
}

static void do_step(void)
{
    run *k = any_of(1u << RUNNING);
    if (!k || k->steps == MAX_STEPS)
        return;
    char path[16], value[32];
    (void)snprintf(path, sizeof path, "s%u", k->steps);
    (void)snprintf(value, sizeof value, "{\"n\":%u}", k->steps);
    sl_run_store_step(r.store, &(sl_run_step_row){.run_id = sl_str_c(k->id),
                                                  .path = sl_str_c(path),
                                                  .type = SL_STR("llm"),
                                                  .status = SL_STR("succeeded"),
                                                  .attempts = k->steps + 1,
                                                  .value = sl_str_c(value),
                                                  .end_ns = ++r.now,
                                                  .duration_ns = 1000000});
    k->steps++;
}

static void do_event(void)
{
    run *k = any_of(LEFT | OVER | 1u << SUCCEEDED);
    if (!k)
        return;
    char body[64];
    k->events++;
    (void)snprintf(body, sizeof body, "{\"seq\":%u,\"run\":\"%s\"}", k->events, k->id);
    sl_run_store_event(r.store, sl_str_c(k->id), k->events, sl_str_c(body));
}

static void do_end(void)
{
    run *k = any_of(LEFT);
    if (!k)
        return;
    k->state = SUCCEEDED + (state)chance(3);
    k->ended_ns = ++r.now;
    sl_run_store_ended(r.store, &(sl_run_end_row){.run_id = sl_str_c(k->id),
                                                  .status = sl_str_c(names[k->state]),
                                                  .error = k->state == FAILED ? SL_STR("why") : SL_STR(""),
                                                  .outputs = SL_STR("{\"o\":2}"),
                                                  .end_ns = k->ended_ns});
}

static void do_reopen(void)
{
    run *k = any_of(OVER);
    if (!k)
        return;
    sl_run_store_reopen(r.store, sl_str_c(k->id));
    k->state = QUEUED;
    k->sent = false;
}

static void do_sent(void)
{
    run *k = any_of(LEFT);
    if (!k)
        return;
    sl_run_store_sent(r.store, sl_str_c(k->id));
    k->sent = true;
}

static void do_prune(void)
{
    uint64_t before = r.now - chance(60) - 1;
    sl_run_store_prune(r.store, before);
    for (size_t i = 0; i < r.count; i++)
        if (r.runs[i].state >= SUCCEEDED && r.runs[i].state < REMOVED && r.runs[i].ended_ns < before)
            r.runs[i].state = REMOVED;
}

/* ---- what is told ---- */

static const char *text_of(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "";
}

static bool has_status(const run *k, const char *status)
{
    return strcmp(status, names[k->state]) == 0;
}

static void check_run(const run *k)
{
    json_t *told = NULL;
    int error = sl_run_store_get(r.store, sl_str_c(k->id), &told);
    if (k->state == REMOVED) {
        CHECK_EQ(error, SL_ENOENT);
        return;
    }
    REQUIRE(error == 0);
    json_t *steps = json_object_get(told, "steps");
    char flow[16];
    (void)snprintf(flow, sizeof flow, "flow%u", k->workflow);
    bool over = k->state >= SUCCEEDED;
    bool right = has_status(k, text_of(told, "status")) && strcmp(text_of(told, "run_id"), k->id) == 0 &&
                 strcmp(text_of(told, "workflow"), flow) == 0 &&
                 strcmp(text_of(told, "idempotency_key"), k->key) == 0 && json_array_size(steps) == k->steps &&
                 json_is_string(json_object_get(told, "ended")) == over &&
                 strcmp(text_of(told, "error"), k->state == FAILED ? "why" : "") == 0;
    if (!right) {
        char *text = json_dumps(told, JSON_COMPACT);
        sl_test_failed(__FILE__, __LINE__, "%s, %s with %u steps: %s", k->id, names[k->state], k->steps, text);
        free(text);
    }
    for (size_t i = 0; i < json_array_size(steps); i++) {
        char path[32];
        (void)snprintf(path, sizeof path, "s%zu", i);
        json_t *step = json_array_get(steps, i);
        CHECK_STR(sl_str_c(text_of(step, "id")), path);
        CHECK_EQ(json_integer_value(json_object_get(step, "attempts")), i + 1);
    }
    json_decref(told);
}

static void check_events(const run *k)
{
    json_t *told = NULL;
    unsigned after = chance(k->events + 2), limit = 1 + chance(6);
    int error = sl_run_store_events(r.store, sl_str_c(k->id), after, limit, &told);
    if (k->state == REMOVED) {
        CHECK_EQ(error, SL_ENOENT);
        return;
    }
    REQUIRE(error == 0);
    size_t wanted = after < k->events ? k->events - after : 0;
    CHECK_EQ(json_array_size(told), wanted < limit ? wanted : limit);
    for (size_t i = 0; i < json_array_size(told); i++) {
        json_t *event = json_array_get(told, i);
        if (json_is_string(event)) /* bodies as they were given */
            CHECK(strstr(json_string_value(event), k->id) != NULL);
        else
            CHECK_EQ(json_integer_value(json_object_get(event, "seq")), after + i + 1);
    }
    json_decref(told);
}

/* Page by page, newest first, of one workflow or status or all. */
static void check_list(unsigned workflow, int wanted_state)
{
    char flow[16], before[16] = "";
    (void)snprintf(flow, sizeof flow, "flow%u", workflow);
    size_t at = r.count, limit = 1 + chance(20);
    for (;;) {
        json_t *page = NULL;
        sl_run_query query = {.workflow = sl_str_c(workflow < 3 ? flow : ""),
                              .status = sl_str_c(wanted_state < 0 ? "" : names[wanted_state]),
                              .before = sl_str_c(before),
                              .limit = limit};
        REQUIRE(sl_run_store_list(r.store, &query, &page) == 0);
        size_t n = json_array_size(page);
        for (size_t i = 0; i < n; i++) {
            json_t *row = json_array_get(page, i);
            const char *id = text_of(row, "run_id");
            (void)snprintf(before, sizeof before, "%s", id);
            if (strcmp(id, "settle") == 0)
                continue;
            /* The next older one that fits. */
            do
                at--;
            while (at < r.count && (r.runs[at].state == REMOVED || (workflow < 3 && r.runs[at].workflow != workflow) ||
                                    (wanted_state >= 0 && !has_status(&r.runs[at], names[wanted_state]))));
            if (at >= r.count || strcmp(r.runs[at].id, id) != 0) {
                sl_test_failed(__FILE__, __LINE__, "list of %u, %d: %s", workflow, wanted_state, id);
                json_decref(page);
                return;
            }
        }
        json_decref(page);
        if (n < limit)
            break;
    }
    while (at-- > 0)
        CHECK(r.runs[at].state == REMOVED || (workflow < 3 && r.runs[at].workflow != workflow) ||
              (wanted_state >= 0 && strcmp(names[r.runs[at].state], names[wanted_state]) != 0));
}

typedef struct leaving {
    size_t count;
    bool sound;
    size_t last;
} leaving;

static int see_left(void *user, const sl_run_left *left)
{
    leaving *l = user;
    if (sl_str_eq_c(left->run.id, "settle"))
        return 0;
    for (size_t i = 0; i < r.count; i++) {
        const run *k = &r.runs[i];
        if (!sl_str_eq_c(left->run.id, k->id))
            continue;
        l->sound = l->sound && k->state <= RUNNING && left->unsent == !k->sent && left->last_seq == k->events &&
                   json_object_size(left->steps) == k->steps && (l->count == 0 || i > l->last) &&
                   sl_str_eq_c(left->run.inputs, "{\"x\":1}") && sl_str_eq(left->run.source, left->run.hash);
        if (!l->sound)
            sl_test_failed(__FILE__, __LINE__, "%s is left: %d, unsent %d, %llu events, %zu steps", k->id,
                           (int)k->state, left->unsent, (unsigned long long)left->last_seq,
                           json_object_size(left->steps));
        l->last = i;
        l->count++;
    }
    return 0;
}

static void check_left(void)
{
    leaving l = {.sound = true};
    CHECK_EQ(sl_run_store_each_left(r.store, see_left, &l), 0);
    size_t wanted = 0;
    for (size_t i = 0; i < r.count; i++)
        wanted += r.runs[i].state <= RUNNING;
    CHECK_EQ(l.count, wanted);
}

static void check_all(void)
{
    for (size_t i = 0; i < r.count; i++) {
        check_run(&r.runs[i]);
        check_events(&r.runs[i]);
    }
    for (unsigned w = 0; w <= 3; w++)
        check_list(w, (int)chance(6) - 1);
    check_left();
    CHECK_EQ(sl_run_store_failures(r.store), 0);
}

SL_TEST(what_is_told_of_runs_is_what_was_done_with_them)
{
    char folder[64] = "/tmp/sl-test-run-model-XXXXXX";
    REQUIRE(sl_test_mkdtemp(folder));
    for (uint64_t seed = 1; seed <= 2; seed++) {
        memset(&r, 0, sizeof r);
        r.state = seed;
        r.now = 1700000000000000000u;
        (void)snprintf(r.path, sizeof r.path, "%s/flow%llu.db", folder, (unsigned long long)seed);
        open_store();
        for (int i = 0; i < 900; i++) {
            static void (*const operations[])(void) = {do_accept, do_accept, do_accept, do_start, do_start,
                                                       do_start,  do_step,   do_step,   do_event, do_event,
                                                       do_end,    do_end,    do_reopen, do_sent,  do_sent};
            operations[chance(sizeof operations / sizeof *operations)]();
            if (chance(60) == 0)
                do_prune();
            if (chance(150) == 0) { /* a start */
                close_store();
                open_store();
            }
            if (i % 100 == 99) {
                settle();
                check_all();
            }
        }
        close_store();
        open_store();
        check_all();
        close_store();
    }
}
