/*
 * Runs on a disk that fails: each operation and each allocation in turn, once and for good, and cuts of the power. A
 * run that was accepted is there with its inputs; of what it did since, no more is missing than was counted as failed.
 */
#include "src/store/test_run_fixture.h"
#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_disk.h"

#define RUNS 5
#define STEPS 3
#define EVENTS 4

typedef struct known {
    bool accepted, ended;
    int error;
} known;

static known runs[RUNS];
static uint64_t counted; /* as failed */

static void make_place(void)
{
    sl_disk_folder(folder, sizeof folder, "run-disk");
    if (!sl_test_mkdtemp(folder))
        abort();
    (void)snprintf(path, sizeof path, "%s/flow.db", folder);
    memset(runs, 0, sizeof runs);
    counted = 0;
}

/* False: it cannot be opened now. */
static bool open_rig(rig *r, char error[512])
{
    memset(r, 0, sizeof *r);
    *error = 0;
    if (sl_loop_init(&r->loop))
        abort();
    int opened = sl_db_open(&(sl_db_options){.path = path, .schema = "", .format = 1}, error, 512, &r->db);
    if (!opened && (opened = sl_run_store_new(&r->loop, r->db, &r->store)) == 0)
        return true;
    CHECK(opened == SL_EIO || opened == SL_ENOMEM || opened == SL_ELIMIT);
    sl_db_close(r->db);
    sl_loop_done(&r->loop);
    return false;
}

static const char *id_of(int run)
{
    static char id[16];
    (void)snprintf(id, sizeof id, "run-%d", run);
    return id;
}

static const char *path_of(int step)
{
    static char name[16];
    (void)snprintf(name, sizeof name, "step%d", step);
    return name;
}

/* ---- the work ---- */

static void do_run(rig *r, int run)
{
    char key[16];
    (void)snprintf(key, sizeof key, "key-%d", run);
    runs[run].error = take_run(r, id_of(run), key);
    runs[run].accepted = runs[run].error == 0;
    if (!runs[run].accepted)
        return;
    sl_run_store_started(r->store, sl_str_c(id_of(run)), 1700000001000000000u,
                         SL_STR("0af7651916cd43dd8448eb211c80319c"));
    for (int i = 0; i < STEPS; i++)
        put_step(r, id_of(run), path_of(i), "succeeded", "{\"text\":\"given\"}");
    for (int i = 0; i < EVENTS; i++) {
        char body[64];
        (void)snprintf(body, sizeof body, "{\"seq\":%d,\"event\":\"stream\"}", i + 1);
        sl_run_store_event(r->store, sl_str_c(id_of(run)), (uint64_t)i + 1, sl_str_c(body));
    }
    if (run % 2) {
        sl_run_store_ended(r->store, &(sl_run_end_row){.run_id = sl_str_c(id_of(run)),
                                                       .status = SL_STR("succeeded"),
                                                       .outputs = SL_STR("{\"a\":1}"),
                                                       .end_ns = 1700000002000000000u});
        runs[run].ended = true;
    }
}

static void work(rig *r)
{
    for (int run = 0; run < RUNS; run++)
        do_run(r, run);
    sl_run_store_close(r->store);
    (void)uv_run(&r->loop.uv, UV_RUN_DEFAULT);
    counted = sl_run_store_failures(r->store);
    sl_run_store_free(r->store);
    sl_db_close(r->db);
    sl_loop_done(&r->loop);
}

/* ---- what must be true then ---- */

static uint64_t missing_of(rig *r, int run)
{
    uint64_t missing = 0;
    json_t *found = NULL, *events = NULL;
    if (sl_run_store_get(r->store, sl_str_c(id_of(run)), &found) != 0)
        return UINT64_MAX;
    CHECK_STR(sl_str_c(text_of(found, "workflow")), "demo");
    CHECK_EQ(json_integer_value(json_object_get(json_object_get(found, "inputs"), "x")), 1);
    missing += STEPS - json_array_size(json_object_get(found, "steps"));
    bool over = strcmp(text_of(found, "status"), "succeeded") == 0;
    CHECK(!over || runs[run].ended);
    missing += runs[run].ended && !over;
    missing += !over && !runs[run].ended && strcmp(text_of(found, "status"), "running") != 0;
    CHECK_EQ(sl_run_store_events(r->store, sl_str_c(id_of(run)), 0, 100, &events), 0);
    json_int_t before = 0;
    for (size_t i = 0; i < json_array_size(events); i++) {
        json_int_t seq = json_integer_value(json_object_get(json_array_get(events, i), "seq"));
        CHECK(seq > before && seq <= EVENTS);
        before = seq;
    }
    missing += EVENTS - json_array_size(events);
    json_decref(events);
    json_decref(found);
    return missing;
}

static int count_left(void *user, const sl_run_left *left)
{
    size_t *count = user;
    (*count) += left->run.id.len > 0;
    return 0;
}

/* `all`: what came behind the acceptance was told to be on disk, too. */
static void check_runs(const char *what, long n, bool all)
{
    char error[512];
    rig r;
    uint64_t missing = 0;
    size_t left = 0;
    if (!open_rig(&r, error)) {
        sl_test_failed(__FILE__, __LINE__, "%s %ld: the file cannot be opened: %s", what, n, error);
        return;
    }
    for (int run = 0; run < RUNS; run++) {
        uint64_t of_this = missing_of(&r, run);
        if (runs[run].accepted && of_this == UINT64_MAX)
            sl_test_failed(__FILE__, __LINE__, "%s %ld: run %d was accepted, and is lost", what, n, run);
        missing += runs[run].accepted && of_this != UINT64_MAX ? of_this : 0;
    }
    if (all && missing > counted)
        sl_test_failed(__FILE__, __LINE__, "%s %ld: %llu rows are missing, %llu were counted", what, n,
                       (unsigned long long)missing, (unsigned long long)counted);
    CHECK_EQ(sl_run_store_each_left(r.store, count_left, &left), 0);
    CHECK_EQ(take_run(&r, "one-more", "one-more"), 0);
    rig_done(&r);
}

static bool one_life(const char *what, long n)
{
    char error[512];
    rig r;
    make_place();
    if (open_rig(&r, error))
        work(&r);
    sl_test_fail_alloc(-1);
    bool happened = sl_disk_well();
    check_runs(what, n, true);
    sl_test_rmtree(folder);
    return happened;
}

static const sl_disk_case cases[] = {
    {SL_DISK_WRITE, "write", 30}, {SL_DISK_SYNC, "sync", 8}, {SL_DISK_READ, "read", 2},
    {SL_DISK_LOCK, "lock", 10},   {SL_DISK_OPEN, "open", 3}, {SL_DISK_SHARED, "shared map", 1},
};
#define CASES (sizeof cases / sizeof *cases)

SL_TEST(each_operation_of_the_disk_failing_once)
{
    sl_disk_each(cases, CASES, SL_DISK_ONCE, 7, one_life);
}

SL_TEST(each_operation_of_the_disk_failing_for_good)
{
    sl_disk_each(cases, CASES, SL_DISK_FOR_GOOD, 7, one_life);
}

SL_TEST(each_write_torn_on_a_full_disk)
{
    sl_disk_each(cases, 1, SL_DISK_TORN, 7, one_life); /* the first case */
}

SL_TEST(each_allocation_of_sqlite_failing)
{
    sl_disk_each_allocation(41, one_life);
}

SL_TEST(accepted_runs_outlive_a_power_cut)
{
    uint64_t state = 5;
    size_t lost_most = 0;
    sl_disk_install();
    for (int round = 0; round < 60; round++) {
        char error[512];
        rig r;
        make_place();
        sl_disk_remember();
        sl_disk_fail(SL_DISK_WRITE | SL_DISK_SYNC | SL_DISK_TRUNCATE | SL_DISK_DELETE, (long)sl_chance(&state, 130),
                     true);
        if (open_rig(&r, error))
            work(&r);
        (void)sl_disk_well();
        size_t unsynced = sl_disk_cut(path, sl_chance(&state, 10));
        lost_most = unsynced > lost_most ? unsynced : lost_most;
        check_runs("power cut", round, true);
        sl_test_rmtree(folder);
    }
    CHECK(lost_most > 0); /* there was something to lose */
}

/* While rows cannot be read, that is the answer; afterwards they are there. */
SL_TEST(reads_that_fail_are_told)
{
    static const unsigned faults[] = {SL_DISK_READ, SL_DISK_LOCK};
    char error[512];
    rig r;
    sl_disk_install();
    make_place();
    REQUIRE(open_rig(&r, error));
    for (int run = 0; run < RUNS; run++)
        do_run(&r, run);
    settle(&r);
    for (size_t f = 0; f < sizeof faults / sizeof *faults; f++) {
        for (int n = 0; n < 4; n++) {
            const sl_run_query query = {.status = SL_STR("running")};
            json_t *value = NULL;
            size_t left = 0;
            sl_disk_fail(faults[f], n, true);
            int read = sl_run_store_get(r.store, SL_STR("run-1"), &value);
            CHECK(read == 0 || read == SL_EIO);
            CHECK((read == 0) == (value != NULL));
            json_decref(value);
            value = NULL;
            read = sl_run_store_list(r.store, &query, &value);
            CHECK(read == SL_EIO || (read == 0 && json_array_size(value) == 3));
            json_decref(value);
            value = NULL;
            read = sl_run_store_events(r.store, SL_STR("run-1"), 2, 10, &value);
            CHECK(read == SL_EIO || (read == 0 && json_array_size(value) == EVENTS - 2));
            json_decref(value);
            read = sl_run_store_each_left(r.store, count_left, &left);
            CHECK(read == SL_EIO || (read == 0 && left == 4));
            (void)sl_disk_well();
        }
    }
    for (int run = 0; run < RUNS; run++)
        CHECK_EQ(missing_of(&r, run), 0);
    rig_done(&r);
}
