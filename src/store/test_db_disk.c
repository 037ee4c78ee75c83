/*
 * The writer on a disk that fails: each read, write, sync, lock, opening and allocation in turn, once and for good, and
 * cuts of the power. Whatever happens, what was told as committed is there with its bytes, and the file is sound.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/store/db.h"
#include "src/store/db_file.h"
#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_disk.h"
#include "tests/harness/sl_test.h"

#define SCHEMA "create table if not exists t(id integer primary key, mark integer, body blob) strict"
#define ROWS 24
#define ALONE 8 /* of them one by one, the others in groups */

static char folder[64], path[128];

static void make_folder(void)
{
    sl_disk_folder(folder, sizeof folder, "disk");
    if (!sl_test_mkdtemp(folder))
        abort();
    (void)snprintf(path, sizeof path, "%s/t.db", folder);
}

static int open_db(sl_db **ret_db, char error[512])
{
    *error = 0;
    return sl_db_open(&(sl_db_options){.path = path, .schema = SCHEMA, .format = 1}, error, 512, ret_db);
}

/* ---- the work: rows whose bytes follow from their number ---- */

typedef struct row {
    sl_db *db;
    int64_t id;
    atomic_int outcome; /* 1: not told yet */
} row;

static size_t size_of(int64_t id)
{
    return (size_t)(id * 977 % 9000 + 1);
}

static int insert(void *user, sqlite3 *sqlite)
{
    const row *r = user;
    (void)sqlite;
    sqlite3_stmt *s = sl_db_statement(r->db, "insert into t(id, mark, body) values(?1, ?2, zeroblob(?3))");
    if (!s)
        return SL_EIO;
    (void)sqlite3_bind_int64(s, 1, r->id);
    (void)sqlite3_bind_int64(s, 2, r->id * 7 + 3);
    (void)sqlite3_bind_int64(s, 3, (sqlite3_int64)size_of(r->id));
    return sl_db_exec(s);
}

static void on_done(void *user, int error)
{
    row *r = user;
    atomic_store(&r->outcome, error);
}

static bool told(const row *r)
{
    for (int i = 0; i < 100000 && atomic_load(&r->outcome) == 1; i++)
        (void)usleep(100);
    return atomic_load(&r->outcome) != 1;
}

/* Rows one by one, then a group of the others. */
static void work(sl_db *db, row *rows)
{
    for (int i = 0; i < ROWS; i++)
        rows[i] = (row){.db = db, .id = i, .outcome = 1};
    for (int i = 0; i < ALONE; i++)
        atomic_store(&rows[i].outcome, sl_db_run(db, insert, &rows[i]));
    for (int i = ALONE; i < ROWS; i++) {
        const sl_db_job job = {.run = insert, .done = on_done, .user = &rows[i], .rerun = i % 2, .plain = i % 3 == 0};
        int error = sl_db_submit(db, &job);
        if (error)
            atomic_store(&rows[i].outcome, error);
    }
    for (int i = ALONE; i < ROWS; i++)
        CHECK(told(&rows[i]));
}

/* ---- what must be true then ---- */

static int64_t number(sqlite3 *reader, const char *sql, int64_t id)
{
    sqlite3_stmt *s = NULL;
    int64_t value = -1;
    if (sqlite3_prepare_v2(reader, sql, -1, &s, NULL) == SQLITE_OK && sqlite3_bind_int64(s, 1, id) != SQLITE_MISUSE &&
        sqlite3_step(s) == SQLITE_ROW)
        value = sqlite3_column_int64(s, 0);
    (void)sqlite3_finalize(s);
    return value;
}

static void check_rows(const row *rows, const char *what, long n)
{
    char error[512];
    sl_db *db = NULL;
    sqlite3 *reader = NULL;
    int opened = open_db(&db, error);
    if (opened || sl_db_reader(db, &reader)) {
        sl_test_failed(__FILE__, __LINE__, "%s %ld: the file cannot be opened: %s", what, n, error);
        sl_db_close(db);
        return;
    }
    CHECK_EQ(number(reader, "select count(*) from pragma_integrity_check where integrity_check = 'ok'", 0), 1);
    for (int i = 0; rows && i < ROWS; i++) {
        int64_t mark = number(reader, "select mark from t where id = ?1", i);
        int64_t size = number(reader, "select length(body) from t where id = ?1", i);
        bool there = mark == i * 7 + 3 && size == (int64_t)size_of(i);
        if (atomic_load(&rows[i].outcome) == 0 && !there)
            sl_test_failed(__FILE__, __LINE__, "%s %ld: row %d was committed, and is not there", what, n, i);
        CHECK(there || mark == -1);
    }
    (void)sqlite3_close(reader);
    row more = {.db = db, .id = 1000000};
    CHECK_EQ(sl_db_run(db, insert, &more), 0); /* and it goes on */
    sl_db_close(db);
}

/* One failure: opens, works, closes, looks. Returns whether it happened. */
static bool one_life(const char *what, long n)
{
    static row rows[ROWS];
    char error[512];
    sl_db *db = NULL;
    make_folder();
    memset(rows, 0, sizeof rows);
    for (int i = 0; i < ROWS; i++)
        atomic_store(&rows[i].outcome, SL_ECLOSED);
    int opened = open_db(&db, error);
    if (opened) {
        CHECK(opened == SL_EIO || opened == SL_ENOMEM);
        CHECK(strstr(error, path) != NULL);
    } else {
        work(db, rows);
        sl_db_close(db);
    }
    bool happened = sl_disk_well();
    check_rows(rows, what, n);
    sl_test_rmtree(folder);
    return happened;
}

static const sl_disk_case cases[] = {
    {SL_DISK_WRITE, "write", 20},      {SL_DISK_SYNC, "sync", 8},     {SL_DISK_READ, "read", 2},
    {SL_DISK_LOCK, "lock", 10},        {SL_DISK_OPEN, "open", 2},     {SL_DISK_TRUNCATE, "truncate", 0},
    {SL_DISK_SHARED, "shared map", 1}, {SL_DISK_DELETE, "delete", 1},
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
    sl_disk_each_allocation(17, one_life);
}

/* The power goes at the Nth write; of what was not synced some of the first writes are there. */
SL_TEST(what_was_committed_outlives_a_power_cut)
{
    static row rows[ROWS];
    char error[512];
    uint64_t state = 20240607;
    size_t lost_most = 0;
    sl_disk_install();
    for (int round = 0; round < 60; round++) {
        sl_db *db = NULL;
        make_folder();
        for (int i = 0; i < ROWS; i++)
            atomic_store(&rows[i].outcome, SL_ECLOSED);
        sl_disk_remember();
        sl_disk_fail(SL_DISK_WRITE | SL_DISK_SYNC | SL_DISK_TRUNCATE | SL_DISK_DELETE, (long)sl_chance(&state, 110),
                     true);
        if (open_db(&db, error) == 0) {
            work(db, rows);
            sl_db_close(db);
        }
        (void)sl_disk_well();
        size_t unsynced = sl_disk_cut(path, sl_chance(&state, 20));
        lost_most = unsynced > lost_most ? unsynced : lost_most;
        check_rows(rows, "power cut", round);
        sl_test_rmtree(folder);
    }
    CHECK(lost_most > 0); /* there was something to lose */
}

/* The text of each failure names the file and, where there is one, the way out. */
SL_TEST(failures_name_the_way_out)
{
    static const struct {
        int code, error;
        const char *says;
    } texts[] = {
        {SQLITE_FULL, SL_ELIMIT, "free space"},
        {SQLITE_CORRUPT, SL_EIO, ".recover"},
        {SQLITE_NOTADB, SL_EIO, ".recover"},
        {SQLITE_READONLY, SL_EIO, "write permission"},
        {SQLITE_PERM, SL_EIO, "write permission"},
        {SQLITE_CANTOPEN, SL_EIO, "--data-dir"},
        {SQLITE_BUSY, SL_EAGAIN, "another process"},
        {SQLITE_LOCKED, SL_EAGAIN, "another process"},
        {SQLITE_IOERR, SL_EIO, "kernel's log"},
        {SQLITE_IOERR_FSYNC, SL_EIO, "kernel's log"},
        {SQLITE_NOMEM, SL_ENOMEM, "out of memory"},
        {SQLITE_IOERR_NOMEM, SL_EIO, "disk I/O error"},
        {SQLITE_INTERRUPT, SL_ECLOSED, "interrupted"},
        {SQLITE_TOOBIG, SL_ETOOBIG, "too big"},
        {SQLITE_CONSTRAINT_PRIMARYKEY, SL_EEXIST, "constraint failed"},
        {SQLITE_OK, 0, "not an error"},
        {SQLITE_ROW, 0, "another row"},
        {SQLITE_DONE, 0, "no more rows"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char text[512];
        CHECK_EQ(sl_db_error(texts[i].code), texts[i].error);
        sl_db_file_explain("/a/b.db", texts[i].code, NULL, text, sizeof text);
        if (strncmp(text, "/a/b.db: ", 9) != 0 || !strstr(text, texts[i].says))
            sl_test_failed(__FILE__, __LINE__, "%d says: %s", texts[i].code, text);
        sl_db_file_explain("/a/b.db", texts[i].code, "what SQLite says", text, sizeof text);
        CHECK(strstr(text, "what SQLite says") != NULL);
        memset(text, 'x', sizeof text);
        sl_db_file_explain("/a/b.db", texts[i].code, NULL, text, 8); /* cut, with its end */
        CHECK_EQ(strlen(text), 7);
        sl_db_file_explain("/a/b.db", texts[i].code, NULL, text, 0);
        CHECK_EQ(strlen(text), 7);
    }
}
