/* For tests of runs on disk: a folder, a store on a loop of its own, a run that is accepted and waited for. */
#ifndef SL_STORE_TEST_RUN_FIXTURE_H
#define SL_STORE_TEST_RUN_FIXTURE_H

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/store/run_store.h"
#include "tests/harness/sl_test.h"

#define RF_UNUSED __attribute__((unused))

static char folder[64], path[128];

RF_UNUSED static void make_folder_in(const char *place)
{
    (void)snprintf(folder, sizeof folder, "%s/sl-test-runs-XXXXXX", place);
    if (!sl_test_mkdtemp(folder))
        abort();
    (void)snprintf(path, sizeof path, "%s/flow.db", folder);
}

RF_UNUSED static void make_folder(void)
{
    make_folder_in("/tmp");
}

RF_UNUSED static void remove_folder(void)
{
    sl_test_rmtree(folder);
}

typedef struct rig {
    sl_loop loop;
    sl_db *db;
    sl_run_store *store;
    size_t accepted, existed;
    int error;
    char id[64];
} rig;

RF_UNUSED static void rig_init(rig *r, size_t max_waiting)
{
    char error[256];
    memset(r, 0, sizeof *r);
    if (sl_loop_init(&r->loop) ||
        sl_db_open(&(sl_db_options){.path = path, .schema = "", .format = 1, .max_waiting = max_waiting}, error,
                   sizeof error, &r->db) ||
        sl_run_store_new(&r->loop, r->db, &r->store))
        abort();
}

RF_UNUSED static void rig_done(rig *r)
{
    sl_run_store_close(r->store);
    (void)uv_run(&r->loop.uv, UV_RUN_DEFAULT);
    sl_run_store_free(r->store);
    sl_db_close(r->db);
    sl_loop_done(&r->loop);
}

RF_UNUSED static void on_accepted(void *user, int error, sl_str id, bool existed)
{
    rig *r = user;
    r->accepted++;
    r->existed += existed;
    r->error = error;
    (void)sl_str_to_c(id, r->id, sizeof r->id);
}

RF_UNUSED static sl_run_new new_run(const char *id, const char *key)
{
    return (sl_run_new){.id = sl_str_c(id),
                        .workflow = SL_STR("demo"),
                        .hash = SL_STR("abc"),
                        .source = SL_STR("name: demo"),
                        .inputs = SL_STR("{\"x\":1}"),
                        .idempotency_key = sl_str_c(key),
                        .max_concurrency = 2,
                        .timeout_ms = 5000,
                        .created_ns = 1700000000123456789u};
}

/* Accepts and waits for the outcome. */
RF_UNUSED static int take_run(rig *r, const char *id, const char *key)
{
    sl_run_new run = new_run(id, key);
    size_t before = r->accepted;
    int error = sl_run_store_accept(r->store, &run, on_accepted, r);
    while (!error && r->accepted == before)
        (void)uv_run(&r->loop.uv, UV_RUN_ONCE);
    return error ? error : r->error;
}

/* Waits until everything given has been written. */
RF_UNUSED static void settle(rig *r)
{
    CHECK_EQ(take_run(r, "settle", ""), 0);
}

RF_UNUSED static void put_step(rig *r, const char *run, const char *step, const char *status, const char *value)
{
    sl_run_store_step(r->store, &(sl_run_step_row){.run_id = sl_str_c(run),
                                                   .path = sl_str_c(step),
                                                   .type = SL_STR("llm"),
                                                   .status = sl_str_c(status),
                                                   .attempts = 2,
                                                   .value = sl_str_c(value),
                                                   .end_ns = sl_now_ns(),
                                                   .duration_ns = 1500000});
}

RF_UNUSED static json_t *get(rig *r, const char *id)
{
    json_t *run = NULL;
    CHECK_EQ(sl_run_store_get(r->store, sl_str_c(id), &run), 0);
    return run;
}

RF_UNUSED static const char *text_of(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text ? text : "(none)";
}

#endif
