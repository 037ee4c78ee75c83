/*
 * Collections on a disk that fails: each operation and each allocation in turn, once and for good, and cuts of the
 * power. A batch that was put is found, whole, by this process and the next one; one that was refused is there as a
 * whole or not at all.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/store/collection.h"
#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_disk.h"
#include "tests/harness/sl_test.h"

#define BATCHES 6
#define ROWS 40 /* of one batch */
#define DIMS 8
#define NAME "docs"

static char folder[64], path[128], reason[SL_COLLECTION_REASON];
static int outcomes[BATCHES];
static bool made, dropped;

static void make_place(void)
{
    sl_disk_folder(folder, sizeof folder, "collection-disk");
    if (!sl_test_mkdtemp(folder))
        abort();
    (void)snprintf(path, sizeof path, "%s/%s", folder, SL_COLLECTIONS_FILE);
    made = dropped = false;
    for (int b = 0; b < BATCHES; b++)
        outcomes[b] = SL_ECLOSED;
}

static int open_collections(sl_collections **ret, char error[512])
{
    *error = 0;
    return sl_collections_open(path, error, 512, ret);
}

/* Batches 0 to 2 have ids of their own, those behind them take the place of their rows. */
static int put_batch(sl_collections *c, int batch)
{
    static float vectors[ROWS][DIMS];
    static char ids[ROWS][16], metadata[ROWS][64];
    sl_vector_row rows[ROWS];
    for (int i = 0; i < ROWS; i++) {
        for (int d = 0; d < DIMS; d++)
            vectors[i][d] = (float)((i * 31 + d * 17 + batch) % 23) - 11.0f;
        (void)snprintf(ids[i], sizeof ids[i], "%d-%d", batch % 3, i);
        (void)snprintf(metadata[i], sizeof metadata[i], "{\"batch\":%d,\"slot\":%d}", batch, batch % 3);
        rows[i] = (sl_vector_row){.space = SL_STR(""),
                                  .id = sl_str_c(ids[i]),
                                  .vector = vectors[i],
                                  .dims = DIMS,
                                  .metadata = sl_str_c(metadata[i])};
    }
    return sl_collections_put(c, SL_STR(NAME), rows, ROWS, reason);
}

/* How many rows say that they are of this batch; below 0: an error. */
static int rows_of(sl_collections *c, int batch)
{
    const float vector[DIMS] = {1, 0, 2, 0, 3, 0, 1, 1};
    sl_vector_filter *filter = NULL;
    sl_vector_hits *hits = NULL;
    json_t *json = json_pack("{s:i}", "batch", batch);
    int error = json ? sl_vector_filter_new(json, reason, &filter) : SL_ENOMEM;
    const sl_vector_query query = {
        .collection = SL_STR(NAME), .vector = vector, .dims = DIMS, .top_k = 10 * ROWS, .filter = filter};
    if (!error)
        error = sl_collections_search(c, &query, reason, &hits);
    int count = error ? error : (int)hits->count;
    sl_vector_hits_free(hits);
    sl_vector_filter_free(filter);
    json_decref(json);
    return count;
}

/* ---- the work ---- */

static void work(sl_collections *c)
{
    made = sl_collections_create(c, SL_STR(NAME), DIMS, SL_VECTOR_COSINE, reason) == 0;
    for (int b = 0; b < BATCHES; b++) {
        *reason = 0;
        outcomes[b] = put_batch(c, b);
        CHECK(!outcomes[b] || *reason); /* a failure has a text */
        int found = rows_of(c, b);
        CHECK(found < 0 || found == ROWS || (outcomes[b] && found == 0));
        CHECK(outcomes[b] || found != 0);
    }
    int other = sl_collections_create(c, SL_STR("other"), 2, SL_VECTOR_DOT, reason);
    int gone = sl_collections_drop(c, SL_STR("other"), reason);
    dropped = !other && !gone;
    CHECK(other || gone == 0 || gone == SL_EIO || gone == SL_ELIMIT || gone == SL_ENOMEM);
}

/* ---- what must be true then ---- */

static void check_batches(sl_collections *c, const char *what, long n)
{
    for (int slot = 0; slot < 3; slot++) {
        int earlier = rows_of(c, slot), later = rows_of(c, slot + 3);
        bool whole = (earlier == 0 || earlier == ROWS) && (later == 0 || later == ROWS) && earlier + later <= ROWS;
        bool kept = outcomes[slot + 3] == 0 ? later == ROWS : outcomes[slot] == 0 ? earlier + later == ROWS : true;
        if (!whole || !kept)
            sl_test_failed(__FILE__, __LINE__, "%s %ld: of batches %d and %d there are %d and %d rows; told %d and %d",
                           what, n, slot, slot + 3, earlier, later, outcomes[slot], outcomes[slot + 3]);
    }
}

static void check_all(const char *what, long n)
{
    sl_collection_info infos[4];
    char error[512];
    size_t count = 0;
    sl_collections *c = NULL;
    if (open_collections(&c, error)) {
        sl_test_failed(__FILE__, __LINE__, "%s %ld: the file cannot be opened: %s", what, n, error);
        return;
    }
    CHECK_EQ(sl_collections_list(c, infos, 4, &count, reason), 0);
    CHECK(count >= (size_t)made && (!dropped || count == (size_t)made));
    if (count && strcmp(infos[0].name, NAME) == 0)
        check_batches(c, what, n);
    else
        CHECK(!made);
    CHECK_EQ(sl_collections_create(c, SL_STR(NAME), DIMS, SL_VECTOR_COSINE, reason), 0);
    CHECK_EQ(put_batch(c, 5), 0); /* and it goes on */
    CHECK_EQ(rows_of(c, 5), ROWS);
    sl_collections_close(c);
}

static bool one_life(const char *what, long n)
{
    char error[512];
    sl_collections *c = NULL;
    make_place();
    int opened = open_collections(&c, error);
    if (opened)
        CHECK((opened == SL_EIO || opened == SL_ENOMEM) && *error);
    else
        work(c);
    sl_collections_close(c);
    sl_test_fail_alloc(-1);
    bool happened = sl_disk_well();
    check_all(what, n);
    sl_test_rmtree(folder);
    return happened;
}

static const sl_disk_case cases[] = {
    {SL_DISK_WRITE, "write", 20}, {SL_DISK_SYNC, "sync", 6}, {SL_DISK_READ, "read", 4},
    {SL_DISK_LOCK, "lock", 10},   {SL_DISK_OPEN, "open", 3}, {SL_DISK_SHARED, "shared map", 1},
};
#define CASES (sizeof cases / sizeof *cases)

SL_TEST(each_operation_of_the_disk_failing_once)
{
    sl_disk_each(cases, CASES, SL_DISK_ONCE, 9, one_life);
}

SL_TEST(each_operation_of_the_disk_failing_for_good)
{
    sl_disk_each(cases, CASES, SL_DISK_FOR_GOOD, 9, one_life);
}

SL_TEST(each_write_torn_on_a_full_disk)
{
    sl_disk_each(cases, 1, SL_DISK_TORN, 9, one_life); /* the first case */
}

SL_TEST(each_allocation_of_sqlite_failing)
{
    sl_disk_each_allocation(151, one_life);
}

SL_TEST(each_allocation_failing)
{
    sl_disk_install();
    for (long n = 0; n < 600; n += n < 150 ? 1 : 7) {
        sl_test_fail_alloc(n);
        (void)one_life("allocation", n);
    }
}

SL_TEST(batches_outlive_a_power_cut)
{
    uint64_t state = 11;
    size_t lost_most = 0;
    sl_disk_install();
    for (int round = 0; round < 60; round++) {
        char error[512];
        sl_collections *c = NULL;
        make_place();
        sl_disk_remember();
        sl_disk_fail(SL_DISK_WRITE | SL_DISK_SYNC | SL_DISK_TRUNCATE | SL_DISK_DELETE, (long)sl_chance(&state, 160),
                     true);
        if (open_collections(&c, error) == 0)
            work(c);
        sl_collections_close(c);
        (void)sl_disk_well();
        size_t unsynced = sl_disk_cut(path, sl_chance(&state, 20));
        lost_most = unsynced > lost_most ? unsynced : lost_most;
        check_all("power cut", round);
        sl_test_rmtree(folder);
    }
    CHECK(lost_most > 0); /* there was something to lose */
}
