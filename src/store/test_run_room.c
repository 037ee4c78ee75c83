/*
 * Runs on disk when the writer is full of others' work, when a statement of a job fails, when memory does: nothing that
 * was taken is lost, and nothing that was refused is half there.
 */
#include "src/store/test_gate.h"
#include "src/store/test_run_fixture.h"

/* ---- a writer that others keep busy ---- */

static void turn(rig *r, unsigned times)
{
    for (unsigned i = 0; i < times; i++)
        (void)uv_run(&r->loop.uv, UV_RUN_NOWAIT);
}

static void end_run(rig *r, const char *id, const char *status)
{
    sl_run_store_ended(r->store, &(sl_run_end_row){.run_id = sl_str_c(id),
                                                   .status = sl_str_c(status),
                                                   .outputs = SL_STR("{\"a\":1}"),
                                                   .end_ns = sl_now_ns()});
}

static void check_status(rig *r, const char *id, const char *status)
{
    json_t *run = get(r, id);
    CHECK_STR(sl_str_c(text_of(run, "status")), status);
    json_decref(run);
}

/* A store of its own with the accepted run "one". */
static void rig_with_run(rig *r)
{
    make_folder();
    rig_init(r, 0);
    CHECK_EQ(take_run(r, "one", ""), 0);
}

/* Each kind of write, with no other write of the store under way whose end would make room known. */
SL_TEST(what_others_leave_no_room_for_is_written_all_the_same)
{
    for (int kind = 0; kind < 5; kind++) {
        gate g;
        rig r;
        make_folder();
        rig_init(&r, 4);
        CHECK_EQ(take_run(&r, "one", ""), 0);
        if (kind == 3) {
            end_run(&r, "one", "failed");
            settle(&r);
        }
        fill_writer(r.db, &g, false);
        if (kind == 0)
            end_run(&r, "one", "succeeded");
        else if (kind == 1)
            put_step(&r, "one", "a", "succeeded", "{}");
        else if (kind == 2)
            sl_run_store_event(r.store, SL_STR("one"), 1, SL_STR("{\"seq\":1}"));
        else if (kind == 3)
            sl_run_store_reopen(r.store, SL_STR("one"));
        else
            sl_run_store_started(r.store, SL_STR("one"), 7, SL_STR("0af7"));
        turn(&r, 20);
        CHECK_EQ(sl_run_store_failures(r.store), 0);
        open_gate(&g);
        while (take_run(&r, "behind", "") == SL_EAGAIN)
            turn(&r, 1);
        json_t *run = get(&r, "one"), *events = NULL;
        CHECK_EQ(sl_run_store_events(r.store, SL_STR("one"), 0, 0, &events), 0);
        static const char *const statuses[] = {"succeeded", "queued", "queued", "queued", "running"};
        CHECK_STR(sl_str_c(text_of(run, "status")), statuses[kind]);
        CHECK_EQ(json_array_size(json_object_get(run, "steps")), kind == 1);
        CHECK_EQ(json_array_size(events), kind == 2);
        json_decref(run);
        json_decref(events);
        rig_done(&r);
        gate_done(&g);
    }
}

/* In their order, the end last. */
SL_TEST(writes_that_waited_keep_their_order)
{
    gate g;
    rig r;
    make_folder();
    rig_init(&r, 3);
    CHECK_EQ(take_run(&r, "one", ""), 0);
    fill_writer(r.db, &g, false);
    for (uint64_t i = 1; i <= 50; i++) {
        char body[32];
        (void)snprintf(body, sizeof body, "{\"seq\":%llu}", (unsigned long long)i);
        sl_run_store_event(r.store, SL_STR("one"), i, sl_str_c(body));
    }
    put_step(&r, "one", "a", "failed", "");
    put_step(&r, "one", "a", "succeeded", "{\"text\":\"last\"}"); /* takes the place of the one before */
    end_run(&r, "one", "succeeded");
    end_run(&r, "one", "failed"); /* it has ended: this one says nothing */
    sl_run_new refused = new_run("two", "");
    CHECK_EQ(sl_run_store_accept(r.store, &refused, on_accepted, &r), SL_EAGAIN); /* told at once, not put aside */
    turn(&r, 5);
    open_gate(&g);
    rig_done(&r); /* waits for all of them */
    gate_done(&g);
    rig_init(&r, 0);
    json_t *events = NULL, *run = get(&r, "one");
    CHECK_EQ(sl_run_store_events(r.store, SL_STR("one"), 0, 0, &events), 0);
    CHECK_EQ(json_array_size(events), 50);
    for (size_t i = 0; i < 50; i++)
        CHECK_EQ(json_integer_value(json_object_get(json_array_get(events, i), "seq")), i + 1);
    CHECK_STR(sl_str_c(text_of(run, "status")), "succeeded");
    CHECK_STR(sl_str_c(text_of(json_array_get(json_object_get(run, "steps"), 0), "status")), "succeeded");
    json_decref(events);
    json_decref(run);
    CHECK_EQ(sl_run_store_get(r.store, SL_STR("two"), &run), SL_ENOENT);
    rig_done(&r);
}

/* Closed while the writer is full: what waited is written before the store is gone. */
SL_TEST(closing_waits_for_what_has_no_room)
{
    gate g;
    rig r;
    make_folder();
    rig_init(&r, 2);
    CHECK_EQ(take_run(&r, "one", ""), 0);
    fill_writer(r.db, &g, false);
    end_run(&r, "one", "cancelled");
    open_gate(&g); /* no turn of the loop: the close itself brings it */
    rig_done(&r);
    gate_done(&g);
    rig_init(&r, 0);
    check_status(&r, "one", "cancelled");
    rig_done(&r);
}

/* ---- statements that fail ---- */

static int run_sql(void *user, sqlite3 *db)
{
    return sqlite3_exec(db, user, NULL, NULL, NULL) == SQLITE_OK ? 0 : SL_EIO;
}

static void sql(rig *r, const char *text)
{
    CHECK_EQ(sl_db_run(r->db, run_sql, (void *)(uintptr_t)text), 0);
}

static int count_left(void *user, const sl_run_left *left)
{
    (void)left;
    (*(size_t *)user)++;
    return 0;
}

static size_t left_of(rig *r)
{
    size_t count = 0;
    CHECK_EQ(sl_run_store_each_left(r->store, count_left, &count), 0);
    return count;
}

/* Whichever statement of an acceptance fails: the run is refused, and nothing of it is there. */
SL_TEST(a_run_that_is_refused_is_not_half_there)
{
    static const char *const tables[] = {"flow_sources", "flow_runs", "flow_unsent"};
    for (size_t i = 0; i < 3; i++) {
        rig r;
        char trigger[160];
        make_folder();
        rig_init(&r, 0);
        (void)snprintf(trigger, sizeof trigger,
                       "create trigger no before insert on %s begin select raise(abort, 'no'); end", tables[i]);
        sql(&r, trigger);
        CHECK(take_run(&r, "one", "key") != 0);
        CHECK_EQ(left_of(&r), 0);
        json_t *run = NULL;
        CHECK_EQ(sl_run_store_get(r.store, SL_STR("one"), &run), SL_ENOENT);
        sql(&r, "drop trigger no");
        CHECK_EQ(take_run(&r, "one", "key"), 0); /* the same again: it is a new one */
        CHECK_EQ(r.existed, 0);
        CHECK_EQ(left_of(&r), 1);
        rig_done(&r);
    }
}

/* Its neighbours in the same transaction are not refused with it. */
SL_TEST(one_refused_run_takes_no_other_with_it)
{
    gate g;
    rig r;
    make_folder();
    rig_init(&r, 0);
    sql(&r, "create trigger no before insert on flow_unsent when new.run = 'bad' begin select raise(abort, 'no'); end");
    (void)pthread_mutex_init(&g.lock, NULL);
    (void)pthread_cond_init(&g.moved, NULL);
    g.began = g.open = false;
    CHECK_EQ(sl_db_submit(r.db, &(sl_db_job){.run = wait_at_gate, .user = &g}), 0);
    static const char *const ids[] = {"a", "b", "bad", "c", "d"};
    for (size_t i = 0; i < 5; i++) {
        sl_run_new run = new_run(ids[i], "");
        CHECK_EQ(sl_run_store_accept(r.store, &run, on_accepted, &r), 0);
    }
    open_gate(&g);
    while (r.accepted < 5)
        (void)uv_run(&r.loop.uv, UV_RUN_ONCE);
    json_t *runs = NULL;
    CHECK_EQ(sl_run_store_list(r.store, &(sl_run_query){.limit = 10}, &runs), 0);
    CHECK_EQ(json_array_size(runs), 4);
    json_decref(runs);
    rig_done(&r);
    gate_done(&g);
}

SL_TEST(a_reopening_that_fails_leaves_the_run_ended)
{
    rig r;
    rig_with_run(&r);
    sl_run_store_sent(r.store, SL_STR("one"));
    end_run(&r, "one", "failed");
    settle(&r);
    sql(&r, "create trigger no before insert on flow_unsent when new.run = 'one' begin select raise(abort, 'no'); end");
    sl_run_store_reopen(r.store, SL_STR("one"));
    (void)take_run(&r, "behind", "");
    check_status(&r, "one", "failed");
    CHECK_EQ(sl_run_store_failures(r.store), 1);
    sql(&r, "drop trigger no");
    sl_run_store_reopen(r.store, SL_STR("one"));
    (void)take_run(&r, "behind2", "");
    check_status(&r, "one", "queued");
    rig_done(&r);
}

/* What cannot be written is counted, and what follows is written. */
SL_TEST(writes_that_fail_are_counted)
{
    static const struct {
        const char *table, *what;
    } cases[] = {{"insert on flow_events", "event"}, {"insert on flow_steps", "step"}, {"update on flow_runs", "end"}};
    for (size_t i = 0; i < 3; i++) {
        rig r;
        char trigger[160];
        make_folder();
        rig_init(&r, 0);
        CHECK_EQ(take_run(&r, "one", ""), 0);
        (void)snprintf(trigger, sizeof trigger, "create trigger no before %s begin select raise(abort, 'no'); end",
                       cases[i].table);
        sql(&r, trigger);
        if (i == 0)
            sl_run_store_event(r.store, SL_STR("one"), 1, SL_STR("{}"));
        else if (i == 1)
            put_step(&r, "one", "a", "succeeded", "{}");
        else
            end_run(&r, "one", "succeeded");
        settle(&r);
        CHECK_EQ(sl_run_store_failures(r.store), 1);
        sql(&r, "drop trigger no");
        end_run(&r, "one", "failed");
        (void)take_run(&r, "behind", "");
        check_status(&r, "one", "failed");
        CHECK_EQ(sl_run_store_failures(r.store), 1);
        rig_done(&r);
    }
}

/* ---- rows of runs that are not there ---- */

static int count_rows(void *user, sqlite3 *db)
{
    sqlite3_stmt *s = NULL;
    int64_t *counts = user;
    if (sqlite3_prepare_v2(db,
                           "select (select count(*) from flow_events), (select count(*) from flow_steps), "
                           "(select count(*) from flow_sources)",
                           -1, &s, NULL) != SQLITE_OK)
        return SL_EIO;
    int code = sqlite3_step(s);
    for (int i = 0; i < 3 && code == SQLITE_ROW; i++)
        counts[i] = sqlite3_column_int64(s, i);
    (void)sqlite3_finalize(s);
    return code == SQLITE_ROW ? 0 : SL_EIO;
}

/* A worker that speaks of a run after it was removed, or of one that never was, leaves nothing for ever. */
SL_TEST(late_words_of_workers_go_with_the_next_cleaning)
{
    rig r;
    int64_t counts[3] = {0};
    make_folder();
    rig_init(&r, 0);
    CHECK_EQ(take_run(&r, "alive", ""), 0);
    sl_run_store_event(r.store, SL_STR("alive"), 1, SL_STR("{}"));
    put_step(&r, "alive", "a", "succeeded", "{}");
    for (uint64_t i = 1; i <= 20; i++)
        sl_run_store_event(r.store, SL_STR("nobody"), i, SL_STR("{}"));
    put_step(&r, "nobody", "a", "succeeded", "{}");
    settle(&r);
    CHECK_EQ(sl_db_run(r.db, count_rows, counts), 0);
    CHECK_EQ(counts[0], 21);
    CHECK_EQ(counts[1], 2);
    sl_run_store_prune(r.store, 1);
    (void)take_run(&r, "behind", "");
    CHECK_EQ(sl_db_run(r.db, count_rows, counts), 0);
    CHECK_EQ(counts[0], 1);
    CHECK_EQ(counts[1], 1);
    CHECK_EQ(counts[2], 1);
    rig_done(&r);
}

/* At the time itself it stays; a nanosecond later it goes. Runs that have not ended never do. */
SL_TEST(cleaning_removes_what_ended_before_and_nothing_else)
{
    rig r;
    make_folder();
    rig_init(&r, 0);
    static const char *const ids[] = {"a", "b", "c", "d"};
    static const uint64_t ends[] = {999, 1000, 1001, 0};
    for (size_t i = 0; i < 4; i++) {
        CHECK_EQ(take_run(&r, ids[i], ""), 0);
        if (ends[i])
            sl_run_store_ended(
                r.store, &(sl_run_end_row){.run_id = sl_str_c(ids[i]), .status = SL_STR("failed"), .end_ns = ends[i]});
    }
    static const struct {
        uint64_t before;
        size_t left;
    } rounds[] = {{0, 4}, {999, 4}, {1000, 3}, {1001, 2}, {1002, 1}, {UINT64_C(1) << 62, 1}};
    for (size_t i = 0; i < sizeof rounds / sizeof *rounds; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "round%zu", i);
        sl_run_store_prune(r.store, rounds[i].before);
        CHECK_EQ(take_run(&r, id, ""), 0);
        json_t *runs = NULL;
        CHECK_EQ(sl_run_store_list(r.store, &(sl_run_query){.limit = 100}, &runs), 0);
        CHECK_EQ(json_array_size(runs), rounds[i].left + i + 1);
        json_decref(runs);
    }
    rig_done(&r);
}

/* ---- limits, and what is no value ---- */

SL_TEST(what_cannot_be_accepted)
{
    rig r;
    make_folder();
    rig_init(&r, 0);
    char id[80];
    memset(id, 'x', sizeof id);
    sl_run_new run = new_run("one", "");
    CHECK_EQ(sl_run_store_accept(NULL, &run, on_accepted, &r), SL_EINVAL);
    CHECK_EQ(sl_run_store_accept(r.store, NULL, on_accepted, &r), SL_EINVAL);
    CHECK_EQ(sl_run_store_accept(r.store, &run, NULL, &r), SL_EINVAL);
    run.id = SL_STR("");
    CHECK_EQ(sl_run_store_accept(r.store, &run, on_accepted, &r), SL_EINVAL);
    run.id = sl_str_of(id, 64);
    CHECK_EQ(sl_run_store_accept(r.store, &run, on_accepted, &r), SL_EINVAL);
    run.id = sl_str_of(id, 63);
    CHECK_EQ(sl_run_store_accept(r.store, &run, on_accepted, &r), 0);
    while (!r.accepted)
        (void)uv_run(&r.loop.uv, UV_RUN_ONCE);
    CHECK_EQ(r.error, 0);
    CHECK_EQ(strlen(r.id), 63);
    json_t *list = NULL;
    CHECK_EQ(sl_run_store_get(NULL, SL_STR("x"), &list), SL_EINVAL);
    CHECK_EQ(sl_run_store_list(r.store, NULL, &list), SL_EINVAL);
    CHECK_EQ(sl_run_store_events(r.store, SL_STR("x"), 0, 0, NULL), SL_EINVAL);
    CHECK_EQ(sl_run_store_each_left(r.store, NULL, NULL), SL_EINVAL);
    CHECK_EQ(sl_run_store_one_left(NULL, SL_STR("x"), count_left, NULL), SL_EINVAL);
    rig_done(&r);
}

static int stop_at_two(void *user, const sl_run_left *left)
{
    (void)left;
    return ++*(size_t *)user == 2 ? SL_ECLOSED : 0;
}

SL_TEST(who_is_told_of_what_is_left_can_stop_it)
{
    rig r;
    make_folder();
    rig_init(&r, 0);
    static const char *const ids[] = {"a", "b", "c"};
    for (size_t i = 0; i < 3; i++)
        CHECK_EQ(take_run(&r, ids[i], ""), 0);
    size_t told = 0;
    CHECK_EQ(sl_run_store_each_left(r.store, stop_at_two, &told), SL_ECLOSED);
    CHECK_EQ(told, 2);
    told = 1;
    CHECK_EQ(sl_run_store_one_left(r.store, SL_STR("c"), stop_at_two, &told), SL_ECLOSED);
    CHECK_EQ(sl_run_store_one_left(r.store, SL_STR("nobody"), stop_at_two, &told), SL_ENOENT);
    end_run(&r, "c", "succeeded");
    settle(&r);
    CHECK_EQ(sl_run_store_one_left(r.store, SL_STR("c"), stop_at_two, &told), SL_ENOENT); /* it has ended */
    rig_done(&r);
}

/* A page holds at most what was asked for, and never more than a page. */
SL_TEST(pages_have_their_limits)
{
    rig r;
    rig_with_run(&r);
    for (uint64_t i = 1; i <= SL_RUN_STORE_PAGE + 5; i++)
        sl_run_store_event(r.store, SL_STR("one"), i, SL_STR("{}"));
    settle(&r);
    static const struct {
        uint64_t after;
        size_t limit, count;
    } cases[] = {{0, 0, SL_RUN_STORE_PAGE},
                 {0, 1, 1},
                 {0, SL_RUN_STORE_PAGE, SL_RUN_STORE_PAGE},
                 {0, SL_RUN_STORE_PAGE + 1, SL_RUN_STORE_PAGE},
                 {SL_RUN_STORE_PAGE, 0, 5},
                 {SL_RUN_STORE_PAGE + 4, 0, 1},
                 {SL_RUN_STORE_PAGE + 5, 0, 0},
                 {INT64_MAX, 0, 0},
                 {UINT64_MAX, 0, 0}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *events = NULL;
        CHECK_EQ(sl_run_store_events(r.store, SL_STR("one"), cases[i].after, cases[i].limit, &events), 0);
        if (json_array_size(events) != cases[i].count)
            sl_test_failed(__FILE__, __LINE__, "case %zu: %zu events", i, json_array_size(events));
        json_decref(events);
    }
    rig_done(&r);
}

/* Bodies that were damaged on disk are shown as null, not as a failure of the page they stand in. */
SL_TEST(a_damaged_body_is_null)
{
    rig r;
    rig_with_run(&r);
    sl_run_store_event(r.store, SL_STR("one"), 1, SL_STR("{\"seq\":1}"));
    sl_run_store_event(r.store, SL_STR("one"), 2, SL_STR("{\"seq\":"));
    sl_run_store_event(r.store, SL_STR("one"), 3, SL_STR("3"));
    sl_run_store_ended(
        r.store, &(sl_run_end_row){
                     .run_id = SL_STR("one"), .status = SL_STR("failed"), .outputs = SL_STR("[1,"), .end_ns = 1000000});
    settle(&r);
    json_t *events = NULL, *run = get(&r, "one");
    CHECK_EQ(sl_run_store_events(r.store, SL_STR("one"), 0, 0, &events), 0);
    CHECK_EQ(json_array_size(events), 3);
    CHECK(json_is_null(json_array_get(events, 1)) && json_integer_value(json_array_get(events, 2)) == 3);
    CHECK(json_is_null(json_object_get(run, "outputs")));
    CHECK_STR(sl_str_c(text_of(run, "ended")), "1970-01-01T00:00:00.001Z");
    json_decref(events);
    json_decref(run);
    rig_done(&r);
}

/* ---- memory ---- */

/* An acceptance with each of its allocations failing: refused whole, or taken whole. */
SL_TEST(acceptances_without_memory)
{
    rig r;
    make_folder();
    rig_init(&r, 0);
    for (long n = 0; n < 30; n++) {
        char id[16];
        (void)snprintf(id, sizeof id, "run%ld", n);
        sl_run_new run = new_run(id, id);
        size_t before = r.accepted;
        sl_test_fail_alloc(n);
        int error = sl_run_store_accept(r.store, &run, on_accepted, &r);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(error, failed ? SL_ENOMEM : 0);
        while (!error && r.accepted == before)
            (void)uv_run(&r.loop.uv, UV_RUN_ONCE);
        json_t *found = NULL;
        CHECK_EQ(sl_run_store_get(r.store, sl_str_c(id), &found), failed ? SL_ENOENT : 0);
        json_decref(found);
    }
    CHECK_EQ(sl_run_store_failures(r.store), 0); /* each was told to whom it concerned */
    rig_done(&r);
}

/* Writes that nobody waits for: counted, when there is no memory for them. */
SL_TEST(writes_without_memory_are_counted)
{
    rig r;
    rig_with_run(&r);
    for (long n = 0; n < 6; n++) {
        for (int kind = 0; kind < 4; kind++) {
            uint64_t before = sl_run_store_failures(r.store);
            sl_test_fail_alloc(n);
            if (kind == 0)
                sl_run_store_event(r.store, SL_STR("one"), (uint64_t)n + 1, SL_STR("{}"));
            else if (kind == 1)
                put_step(&r, "one", "a", "failed", "{}");
            else if (kind == 2)
                sl_run_store_sent(r.store, SL_STR("one"));
            else
                sl_run_store_started(r.store, SL_STR("one"), 1, SL_STR("0af7"));
            bool failed = sl_test_alloc_failed();
            sl_test_fail_alloc(-1);
            CHECK_EQ(sl_run_store_failures(r.store) - before, failed);
        }
    }
    rig_done(&r);
}

SL_TEST(opening_without_memory)
{
    sl_loop loop;
    sl_db *db = NULL;
    char error[256];
    make_folder();
    REQUIRE(sl_loop_init(&loop) == 0);
    REQUIRE(sl_db_open(&(sl_db_options){.path = path, .schema = "", .format = 1}, error, sizeof error, &db) == 0);
    for (long n = 0; n < 4; n++) {
        sl_run_store *store = NULL;
        sl_test_fail_alloc(n);
        int result = sl_run_store_new(&loop, db, &store);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(result != 0, failed);
        CHECK_EQ(store != NULL, !failed);
        sl_run_store_close(store);
        while (uv_run(&loop.uv, UV_RUN_ONCE))
            ;
        sl_run_store_free(store);
    }
    sl_db_close(db);
    sl_loop_done(&loop);
}
