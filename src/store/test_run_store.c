/* Runs on disk: accepted once, found again, events in order, pages, kill -9 in the middle. */
#include <signal.h>
#include <sys/wait.h>

#include "src/store/test_run_fixture.h"

SL_TEST(a_run_is_accepted_once_for_its_key)
{
    make_folder();
    rig r;
    rig_init(&r, 0);
    CHECK_EQ(take_run(&r, "one", "key"), 0);
    CHECK_EQ(r.existed, 0);
    CHECK_EQ(take_run(&r, "two", "key"), 0);
    CHECK_EQ(r.existed, 1);
    CHECK_STR(sl_str_c(r.id), "one");
    CHECK_EQ(take_run(&r, "three", ""), 0);
    CHECK_EQ(take_run(&r, "four", ""), 0); /* no key is no key */
    CHECK_EQ(r.existed, 1);
    CHECK_EQ(take_run(&r, "one", "other"), 0); /* the same id */
    CHECK_EQ(r.existed, 2);
    json_t *run = get(&r, "one");
    CHECK_STR(sl_str_c(text_of(run, "status")), "queued");
    CHECK_STR(sl_str_c(text_of(run, "created")), "2023-11-14T22:13:20.123Z");
    CHECK_EQ(json_integer_value(json_object_get(json_object_get(run, "inputs"), "x")), 1);
    json_decref(run);
    CHECK_EQ(sl_run_store_get(r.store, SL_STR("none"), &run), SL_ENOENT);
    rig_done(&r);
    remove_folder();
}

SL_TEST(a_run_whose_message_was_not_taken_begins_with_the_next_try)
{
    make_folder();
    rig r;
    rig_init(&r, 0);
    CHECK_EQ(take_run(&r, "one", "key"), 0);
    sl_run_store_ended(r.store, &(sl_run_end_row){.run_id = SL_STR("one"),
                                                  .status = SL_STR("failed"),
                                                  .error = SL_STR("not accepted"),
                                                  .error_type = SL_STR(SL_RUN_NOT_TAKEN),
                                                  .outputs = SL_STR("{}"),
                                                  .end_ns = 7});
    settle(&r);
    json_t *run = get(&r, "one");
    CHECK_STR(sl_str_c(text_of(run, "status")), "failed");
    json_decref(run);
    CHECK_EQ(take_run(&r, "two", "key"), 0);
    CHECK_EQ(r.existed, 0);
    CHECK_STR(sl_str_c(r.id), "one");
    run = get(&r, "one");
    CHECK_STR(sl_str_c(text_of(run, "status")), "queued");
    CHECK_STR(sl_str_c(text_of(run, "error")), "(none)");
    json_decref(run);
    CHECK_EQ(take_run(&r, "three", "key"), 0); /* now it is accepted */
    CHECK_EQ(r.existed, 1);
    CHECK_STR(sl_str_c(r.id), "one");
    sl_run_store_ended(r.store, &(sl_run_end_row){.run_id = SL_STR("one"),
                                                  .status = SL_STR("failed"),
                                                  .error_type = SL_STR("provider"),
                                                  .outputs = SL_STR("{}"),
                                                  .end_ns = 8});
    CHECK_EQ(take_run(&r, "four", "key"), 0); /* it began, and failed by itself */
    CHECK_EQ(r.existed, 2);
    run = get(&r, "one");
    CHECK_STR(sl_str_c(text_of(run, "status")), "failed");
    json_decref(run);
    rig_done(&r);
    remove_folder();
}

static int look(void *user, const sl_run_left *left)
{
    json_t *list = user;
    json_t *one = json_pack("{s:s#,s:s#,s:s#,s:O,s:I,s:I}", "id", left->run.id.ptr, (int)left->run.id.len, "source",
                            left->run.source.ptr, (int)left->run.source.len, "inputs", left->run.inputs.ptr,
                            (int)left->run.inputs.len, "steps", left->steps, "seq", (json_int_t)left->last_seq, "most",
                            (json_int_t)left->run.max_concurrency);
    return json_array_append_new(list, one) == 0 ? 0 : SL_ENOMEM;
}

SL_TEST(a_run_that_did_not_end_is_found_again_with_its_ended_steps)
{
    make_folder();
    rig r;
    rig_init(&r, 0);
    CHECK_EQ(take_run(&r, "one", ""), 0);
    CHECK_EQ(take_run(&r, "two", ""), 0);
    sl_run_store_started(r.store, SL_STR("one"), 5, SL_STR("0af7"));
    put_step(&r, "one", "a", "succeeded", "{\"text\":\"hi\"}");
    put_step(&r, "one", "l[0].b", "failed", "");
    sl_run_store_event(r.store, SL_STR("one"), 7, SL_STR("{\"seq\":7}"));
    sl_run_store_ended(r.store, &(sl_run_end_row){.run_id = SL_STR("two"),
                                                  .status = SL_STR("succeeded"),
                                                  .outputs = SL_STR("{\"a\":1}"),
                                                  .end_ns = 9000000000u,
                                                  .input_tokens = 3,
                                                  .output_tokens = 4,
                                                  .cost_usd = 0.5});
    rig_done(&r); /* waits until all is written */
    rig_init(&r, 0);
    json_t *left = json_array();
    CHECK_EQ(sl_run_store_each_left(r.store, look, left), 0);
    char *text = json_dumps(left, JSON_COMPACT | JSON_SORT_KEYS);
    CHECK_STR(sl_str_c(text), "[{\"id\":\"one\",\"inputs\":\"{\\\"x\\\":1}\",\"most\":2,\"seq\":7,\"source\":\"name: "
                              "demo\",\"steps\":{\"a\":{\"attempts\":2,\"status\":\"succeeded\",\"value\":{\"text\":"
                              "\"hi\"}},\"l[0].b\":{\"attempts\":2,\"status\":\"failed\",\"value\":null}}}]");
    free(text);
    json_decref(left);
    json_t *run = get(&r, "two");
    CHECK_STR(sl_str_c(text_of(run, "status")), "succeeded");
    CHECK_EQ(json_integer_value(json_object_get(json_object_get(run, "tokens"), "total")), 7);
    CHECK_STR(sl_str_c(text_of(run, "ended")), "1970-01-01T00:00:09.000Z");
    json_decref(run);
    run = get(&r, "one");
    CHECK_STR(sl_str_c(text_of(run, "status")), "running");
    CHECK_EQ(json_array_size(json_object_get(run, "steps")), 2);
    json_decref(run);
    rig_done(&r);
    remove_folder();
}

SL_TEST(an_ended_run_stays_as_it_ended)
{
    make_folder();
    rig r;
    rig_init(&r, 0);
    CHECK_EQ(take_run(&r, "one", ""), 0);
    sl_run_end_row end = {.run_id = SL_STR("one"), .status = SL_STR("failed"), .error = SL_STR("why"), .end_ns = 5};
    sl_run_store_ended(r.store, &end);
    end.status = SL_STR("succeeded");
    sl_run_store_ended(r.store, &end);
    sl_run_store_started(r.store, SL_STR("one"), 5, SL_STR(""));
    settle(&r);
    json_t *run = get(&r, "one");
    CHECK_STR(sl_str_c(text_of(run, "status")), "failed");
    CHECK_STR(sl_str_c(text_of(run, "error")), "why");
    json_decref(run);
    rig_done(&r);
    remove_folder();
}

SL_TEST(events_are_added_and_read_behind_a_place)
{
    make_folder();
    rig r;
    rig_init(&r, 0);
    CHECK_EQ(take_run(&r, "one", ""), 0);
    for (uint64_t i = 1; i <= 10; i++) {
        char body[32];
        (void)snprintf(body, sizeof body, "{\"seq\":%llu}", (unsigned long long)i);
        sl_run_store_event(r.store, SL_STR("one"), i, sl_str_c(body));
    }
    sl_run_store_event(r.store, SL_STR("one"), 10, SL_STR("{\"seq\":\"again\"}")); /* the first one stays */
    settle(&r);
    json_t *events = NULL;
    CHECK_EQ(sl_run_store_events(r.store, SL_STR("one"), 7, 0, &events), 0);
    CHECK_EQ(json_array_size(events), 3);
    CHECK_EQ(json_integer_value(json_object_get(json_array_get(events, 2), "seq")), 10);
    json_decref(events);
    CHECK_EQ(sl_run_store_events(r.store, SL_STR("one"), 0, 4, &events), 0);
    CHECK_EQ(json_array_size(events), 4);
    json_decref(events);
    CHECK_EQ(sl_run_store_events(r.store, SL_STR("none"), 0, 4, &events), SL_ENOENT);
    rig_done(&r);
    remove_folder();
}

static void put_event(rig *r, uint64_t seq, const char *kind)
{
    char body[96];
    (void)snprintf(body, sizeof body, "{\"seq\":%llu,\"event\":\"%s\",\"x\":1}", (unsigned long long)seq, kind);
    sl_run_store_event(r->store, SL_STR("one"), seq, sl_str_c(body));
}

/* Numbers and kinds of what is kept. */
static void check_events(rig *r, const char *wanted)
{
    char seen[512] = "";
    json_t *events = NULL, *event;
    size_t i;
    settle(r);
    CHECK_EQ(sl_run_store_events(r->store, SL_STR("one"), 0, 0, &events), 0);
    json_array_foreach(events, i, event)
    {
        size_t len = strlen(seen);
        (void)snprintf(seen + len, sizeof seen - len, "%d:%s ", (int)json_integer_value(json_object_get(event, "seq")),
                       text_of(event, "event"));
    }
    CHECK_STR(sl_str_c(seen), wanted);
    json_decref(events);
}

SL_TEST(there_is_nothing_behind_an_end_but_a_new_beginning)
{
    make_folder();
    rig r;
    rig_init(&r, 0);
    CHECK_EQ(take_run(&r, "one", ""), 0);
    put_event(&r, 1, "run_started");
    put_event(&r, 2, "step_ended");
    put_event(&r, 3, "run_ended");
    put_event(&r, 4, "step_ended"); /* of another that works on it */
    put_event(&r, 6, "run_ended");
    check_events(&r, "1:run_started 2:step_ended 3:run_ended ");
    put_event(&r, 4, "run_started"); /* it goes on */
    put_event(&r, 8, "step_ended");
    put_event(&r, 7, "run_ended"); /* of one that had not got so far */
    put_event(&r, 6, "step_ended");
    check_events(&r, "1:run_started 2:step_ended 3:run_ended 4:run_started 6:step_ended 8:step_ended ");
    put_event(&r, 9, "run_ended");
    put_event(&r, 10, "run_ended");
    check_events(&r, "1:run_started 2:step_ended 3:run_ended 4:run_started 6:step_ended 8:step_ended 9:run_ended ");
    rig_done(&r);
    remove_folder();
}

static void end_one(rig *r, const char *status)
{
    sl_run_store_ended(r->store, &(sl_run_end_row){.run_id = SL_STR("one"),
                                                   .status = sl_str_c(status),
                                                   .outputs = SL_STR("{}"),
                                                   .end_ns = 1700000000250000000u,
                                                   .ends_events = true});
}

SL_TEST(the_end_that_a_worker_tells_is_the_last_event)
{
    make_folder();
    rig r;
    rig_init(&r, 0);
    CHECK_EQ(take_run(&r, "one", ""), 0);
    put_event(&r, 1, "run_started");
    put_event(&r, 2, "step_started");
    end_one(&r, "succeeded");
    put_event(&r, 4, "step_ended"); /* of another that works on it */
    put_event(&r, 5, "run_ended");
    end_one(&r, "failed"); /* it has ended */
    check_events(&r, "1:run_started 2:step_started 3:run_ended ");
    json_t *events = NULL;
    CHECK_EQ(sl_run_store_events(r.store, SL_STR("one"), 2, 0, &events), 0);
    CHECK_STR(sl_str_c(text_of(json_array_get(events, 0), "status")), "succeeded");
    CHECK_STR(sl_str_c(text_of(json_array_get(events, 0), "time")), "2023-11-14T22:13:20.250Z");
    json_decref(events);
    rig_done(&r);
    remove_folder();
}

SL_TEST(a_service_that_tells_no_beginning_has_no_end_added)
{
    make_folder();
    rig r;
    rig_init(&r, 0);
    CHECK_EQ(take_run(&r, "one", ""), 0);
    put_event(&r, 1, "stream");
    end_one(&r, "succeeded");
    check_events(&r, "1:stream ");
    rig_done(&r);
    remove_folder();
}

SL_TEST(lists_go_page_by_page_newest_first)
{
    make_folder();
    rig r;
    rig_init(&r, 0);
    static const char *const ids[] = {"a", "b", "c", "d", "e"};
    for (size_t i = 0; i < 5; i++)
        CHECK_EQ(take_run(&r, ids[i], ""), 0);
    json_t *runs = NULL;
    CHECK_EQ(sl_run_store_list(r.store, &(sl_run_query){.limit = 2}, &runs), 0);
    CHECK_EQ(json_array_size(runs), 2);
    CHECK_STR(sl_str_c(text_of(json_array_get(runs, 1), "run_id")), "d");
    json_decref(runs);
    CHECK_EQ(sl_run_store_list(r.store, &(sl_run_query){.before = SL_STR("d"), .workflow = SL_STR("demo")}, &runs), 0);
    CHECK_EQ(json_array_size(runs), 3);
    json_decref(runs);
    CHECK_EQ(sl_run_store_list(r.store, &(sl_run_query){.status = SL_STR("failed")}, &runs), 0);
    CHECK_EQ(json_array_size(runs), 0);
    json_decref(runs);
    rig_done(&r);
    remove_folder();
}

static void fill_beyond_room(void)
{
    rig r;
    rig_init(&r, 8);
    CHECK_EQ(take_run(&r, "one", ""), 0);
    for (uint64_t i = 1; i <= 2000; i++)
        sl_run_store_event(r.store, SL_STR("one"), i, SL_STR("{}"));
    sl_run_new late = new_run("late", "");
    int error = sl_run_store_accept(r.store, &late, on_accepted, &r);
    CHECK(error == SL_EAGAIN || error == 0);
    rig_done(&r);
    rig_init(&r, 0);
    json_t *events = NULL;
    CHECK_EQ(sl_run_store_events(r.store, SL_STR("one"), 1500, 0, &events), 0);
    CHECK_EQ(json_array_size(events), 500);
    json_decref(events);
    CHECK_EQ(sl_run_store_failures(r.store), 0);
    rig_done(&r);
}

/* Where syncing costs time, and where the writer is done with a job before its giver looks again. */
SL_TEST(what_finds_no_room_waits_its_turn)
{
    make_folder();
    fill_beyond_room();
    remove_folder();
    if (access("/dev/shm", W_OK) != 0)
        return;
    for (size_t round = 0; round < 5; round++) {
        make_folder_in("/dev/shm");
        fill_beyond_room();
        remove_folder();
    }
}

SL_TEST(old_runs_are_removed_with_all_they_have)
{
    make_folder();
    rig r;
    rig_init(&r, 0);
    CHECK_EQ(take_run(&r, "old", ""), 0);
    CHECK_EQ(take_run(&r, "left", ""), 0);
    put_step(&r, "old", "a", "succeeded", "{}");
    sl_run_store_event(r.store, SL_STR("old"), 1, SL_STR("{}"));
    sl_run_store_ended(r.store, &(sl_run_end_row){.run_id = SL_STR("old"), .status = SL_STR("failed"), .end_ns = 1000});
    sl_run_store_prune(r.store, 2000);
    settle(&r);
    json_t *run = NULL;
    CHECK_EQ(sl_run_store_get(r.store, SL_STR("old"), &run), SL_ENOENT);
    run = get(&r, "left");
    json_decref(run);
    json_t *left = json_array(); /* its source is still there */
    CHECK_EQ(sl_run_store_each_left(r.store, look, left), 0);
    CHECK_EQ(json_array_size(left), 2);
    json_decref(left);
    rig_done(&r);
    remove_folder();
}

static int count_unsent(void *user, const sl_run_left *left)
{
    size_t *counts = user;
    counts[left->unsent]++;
    return 0;
}

/* How many of the runs that are left are unsent: all in `ret_left`. */
static size_t unsent_of(rig *r, size_t *ret_left)
{
    size_t counts[2] = {0, 0};
    CHECK_EQ(sl_run_store_each_left(r->store, count_unsent, counts), 0);
    *ret_left = counts[0] + counts[1];
    return counts[1];
}

static int drop_unsent(void *user, sqlite3 *db)
{
    (void)user;
    return sqlite3_exec(db, "drop table flow_unsent", NULL, NULL, NULL) == SQLITE_OK ? 0 : SL_EIO;
}

/* A run whose message may be missing is known over a crash: new, and reopened ones, until they are said to be sent. */
SL_TEST(runs_without_a_message_are_found_again)
{
    make_folder();
    rig r;
    size_t left;
    rig_init(&r, 0);
    CHECK_EQ(take_run(&r, "one", ""), 0);
    CHECK_EQ(take_run(&r, "two", ""), 0);
    CHECK_EQ(unsent_of(&r, &left), 2);
    sl_run_store_sent(r.store, SL_STR("one"));
    rig_done(&r);
    rig_init(&r, 0);
    CHECK_EQ(unsent_of(&r, &left), 1);
    CHECK_EQ(left, 2);
    sl_run_store_sent(r.store, SL_STR("two"));
    sl_run_store_ended(r.store, &(sl_run_end_row){.run_id = SL_STR("one"), .status = SL_STR("failed"), .end_ns = 1});
    settle(&r); /* accepts one more */
    CHECK_EQ(unsent_of(&r, &left), 1);
    sl_run_store_reopen(r.store, SL_STR("one"));
    settle(&r);
    CHECK_EQ(unsent_of(&r, &left), 2);
    size_t counts[2] = {0, 0};
    CHECK_EQ(sl_run_store_one_left(r.store, SL_STR("one"), count_unsent, counts), 0);
    CHECK_EQ(counts[1], 1);
    CHECK_EQ(sl_run_store_one_left(r.store, SL_STR("none"), count_unsent, counts), SL_ENOENT);
    CHECK_EQ(sl_db_run(r.db, drop_unsent, NULL), 0); /* a file of an older version */
    rig_done(&r);
    rig_init(&r, 0);
    CHECK_EQ(unsent_of(&r, &left), 3);
    rig_done(&r);
    remove_folder();
}

static int see_reopened(void *user, const sl_run_left *left)
{
    *(int *)user = left->reopened;
    return 0;
}

static int reopened(rig *r, const char *id)
{
    int seen = -1;
    settle(r);
    return sl_run_store_one_left(r->store, sl_str_c(id), see_reopened, &seen) == 0 ? seen : -1;
}

static void end_with(rig *r, const char *id, const char *status, const char *type)
{
    sl_run_store_ended(r->store, &(sl_run_end_row){.run_id = sl_str_c(id),
                                                   .status = sl_str_c(status),
                                                   .error_type = sl_str_c(type),
                                                   .outputs = SL_STR("{}"),
                                                   .end_ns = 1});
}

static bool stands(rig *r, const char *id, const char *status, const char *type)
{
    json_t *run = NULL;
    settle(r);
    if (sl_run_store_get(r->store, sl_str_c(id), &run) != 0)
        return false;
    const char *found = json_string_value(json_object_get(run, "error_type"));
    bool good =
        strcmp(json_string_value(json_object_get(run, "status")), status) == 0 && strcmp(found ? found : "", type) == 0;
    json_decref(run);
    return good;
}

/* A failure by a dead letter gives way to whatever is heard of the run; no other end does. */
SL_TEST(runs_come_back_from_dead_letters)
{
    make_folder();
    rig r;
    rig_init(&r, 0);
    CHECK_EQ(take_run(&r, "one", ""), 0);
    CHECK_EQ(reopened(&r, "one"), 0);
    end_with(&r, "one", "failed", SL_RUN_DEAD_LETTER);
    CHECK(stands(&r, "one", "failed", SL_RUN_DEAD_LETTER));
    CHECK_EQ(reopened(&r, "one"), 0); /* it is left */
    sl_run_store_started(r.store, SL_STR("one"), 5, SL_STR("trace"));
    CHECK(stands(&r, "one", "running", ""));
    end_with(&r, "one", "failed", SL_RUN_DEAD_LETTER);
    end_with(&r, "one", "succeeded", "");
    CHECK(stands(&r, "one", "succeeded", ""));
    end_with(&r, "one", "failed", SL_RUN_DEAD_LETTER); /* too late */
    sl_run_store_started(r.store, SL_STR("one"), 5, SL_STR("trace"));
    CHECK(stands(&r, "one", "succeeded", ""));
    CHECK_EQ(reopened(&r, "one"), -1);
    CHECK_EQ(take_run(&r, "two", ""), 0);
    end_with(&r, "two", "failed", "timeout");
    sl_run_store_started(r.store, SL_STR("two"), 5, SL_STR("trace"));
    CHECK(stands(&r, "two", "failed", "timeout"));
    sl_run_store_reopen(r.store, SL_STR("two"));
    CHECK_EQ(reopened(&r, "two"), 1);
    rig_done(&r);
    rig_init(&r, 0);
    CHECK_EQ(reopened(&r, "two"), 1);
    sl_run_store_sent(r.store, SL_STR("two"));
    CHECK_EQ(reopened(&r, "two"), 0);
    rig_done(&r);
    remove_folder();
}

/* A child that accepts runs and says which, until it is killed. */
static void accept_until_killed(int out)
{
    rig r;
    rig_init(&r, 0);
    for (unsigned i = 0;; i++) {
        char id[32];
        (void)snprintf(id, sizeof id, "run-%u", i);
        if (take_run(&r, id, id) != 0 || write(out, &i, sizeof i) != (ssize_t)sizeof i)
            _exit(1);
    }
}

SL_TEST(accepted_is_committed_kill_at_any_time)
{
    for (unsigned round = 0; round < 5; round++) {
        make_folder();
        int ends[2];
        REQUIRE(pipe(ends) == 0);
        pid_t child = fork();
        if (child == 0)
            accept_until_killed(ends[1]);
        (void)close(ends[1]);
        unsigned last = 0, seen = 0, wanted = 5 + round * 17;
        while (seen < wanted && read(ends[0], &last, sizeof last) == (ssize_t)sizeof last)
            seen++;
        (void)kill(child, SIGKILL);
        (void)waitpid(child, NULL, 0);
        while (read(ends[0], &last, sizeof last) == (ssize_t)sizeof last)
            seen++;
        (void)close(ends[0]);
        rig r;
        rig_init(&r, 0);
        for (unsigned i = 0; i < seen; i++) {
            char id[32];
            (void)snprintf(id, sizeof id, "run-%u", i);
            json_decref(get(&r, id));
        }
        CHECK(seen >= wanted);
        rig_done(&r);
        remove_folder();
    }
}
