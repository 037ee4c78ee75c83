/* The store's writer: groups, savepoints, failing disks, files that are refused. */
#include "src/store/db.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/sync.h"
#include "src/store/db_file.h"
#include "tests/harness/sl_test.h"

#define SCHEMA "create table if not exists t(id integer primary key, body blob) strict"

static char folder[64];
static char path[128];

static void make_folder(void)
{
    (void)snprintf(folder, sizeof folder, "/tmp/sl-test-db-XXXXXX");
    if (!sl_test_mkdtemp(folder))
        abort();
    (void)snprintf(path, sizeof path, "%s/t.db", folder);
}

static void remove_folder(void)
{
    sl_test_rmtree(folder);
}

static int open_db(sl_db **ret_db, char *error, size_t size)
{
    return sl_db_open(&(sl_db_options){.path = path, .schema = SCHEMA, .format = 2}, error, size, ret_db);
}

static int64_t count_rows(void)
{
    sqlite3 *reader;
    int64_t rows = -1;
    if (sl_db_file_reader(path, &reader))
        return -1;
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(reader, "select count(*) from t", -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW)
        rows = sqlite3_column_int64(statement, 0);
    (void)sqlite3_finalize(statement);
    (void)sqlite3_close(reader);
    return rows;
}

typedef struct insert {
    sl_db *db;
    int64_t id;
    size_t size;
    int result; /* what run returns after having inserted */
    atomic_int outcome;
    atomic_int *left;
} insert;

static int insert_run(void *user, sqlite3 *sqlite)
{
    insert *in = user;
    (void)sqlite;
    sqlite3_stmt *statement = sl_db_statement(in->db, "insert into t(id, body) values(?, zeroblob(?))");
    if (!statement)
        return SL_EIO;
    (void)sqlite3_bind_int64(statement, 1, in->id);
    (void)sqlite3_bind_int64(statement, 2, (int64_t)in->size);
    int error = sl_db_exec(statement);
    return error ? error : in->result;
}

static void insert_done(void *user, int error)
{
    insert *in = user;
    atomic_store(&in->outcome, error ? error : 1);
    if (in->left)
        atomic_fetch_sub(in->left, 1);
}

static void wait_for(atomic_int *left)
{
    for (int i = 0; i < 100000 && atomic_load(left) > 0; i++)
        (void)usleep(100);
}

SL_TEST(jobs_are_grouped_and_told_after_the_commit)
{
    make_folder();
    char error[256] = "";
    sl_db *db;
    REQUIRE(open_db(&db, error, sizeof error) == 0);
    enum { COUNT = 2000 };
    static insert inserts[COUNT];
    atomic_int left = COUNT;
    for (int i = 0; i < COUNT; i++) {
        inserts[i] = (insert){.db = db, .id = i, .size = 10, .left = &left};
        CHECK_EQ(
            sl_db_submit(
                db, &(sl_db_job){.run = insert_run, .done = insert_done, .user = &inserts[i], .plain = i % 2 == 0}),
            0);
    }
    wait_for(&left);
    CHECK_EQ(atomic_load(&left), 0);
    CHECK_EQ(count_rows(), COUNT);
    sl_db_stats stats;
    sl_db_get_stats(db, &stats);
    CHECK_EQ(stats.jobs, COUNT);
    CHECK(stats.commits >= 1 && stats.commits < COUNT / 2);
    CHECK_EQ(stats.failed_commits, 0);
    sl_db_close(db);
    remove_folder();
}

SL_TEST(a_failing_job_is_rolled_back_alone)
{
    make_folder();
    char error[256] = "";
    sl_db *db;
    REQUIRE(open_db(&db, error, sizeof error) == 0);
    insert inserts[30];
    atomic_int left = 30;
    for (int i = 0; i < 30; i++) {
        /* Every third inserts and then says no; every fifth collides with row 0. */
        inserts[i] = (insert){.db = db, .id = i % 5 == 4 ? 0 : i, .result = i % 3 == 2 ? SL_ENOENT : 0, .left = &left};
        CHECK_EQ(sl_db_submit(db, &(sl_db_job){.run = insert_run, .done = insert_done, .user = &inserts[i]}), 0);
    }
    wait_for(&left);
    int good = 0;
    for (int i = 0; i < 30; i++) {
        int expected = i % 5 == 4 ? SL_EEXIST : i % 3 == 2 ? SL_ENOENT : 1;
        CHECK_EQ(atomic_load(&inserts[i].outcome), expected);
        good += expected == 1;
    }
    CHECK_EQ(count_rows(), good);
    sl_db_close(db);
    remove_folder();
}

static int insert_one(void *user, sqlite3 *sqlite)
{
    const char *text = user;
    return sl_db_error(sqlite3_exec(sqlite, text, NULL, NULL, NULL));
}

SL_TEST(run_waits_for_the_disk)
{
    make_folder();
    char error[256] = "", text[] = "insert into t(body) values(x'01')", wrong[] = "insert into nowhere values(1)";
    sl_db *db;
    REQUIRE(open_db(&db, error, sizeof error) == 0);
    CHECK_EQ(sl_db_run(db, insert_one, text), 0);
    CHECK_EQ(count_rows(), 1);
    CHECK_EQ(sl_db_run(db, insert_one, wrong), SL_EIO);
    char last[256];
    sl_db_last_error(db, last, sizeof last);
    CHECK(strstr(last, "nowhere") != NULL);
    sl_db_close(db);
    CHECK_EQ(count_rows(), 1);
    remove_folder();
}

static int select_half(void *user, sqlite3 *sqlite)
{
    (void)sqlite;
    sqlite3_stmt *rows = sl_db_statement(user, "select id from t");
    return rows && sqlite3_step(rows) == SQLITE_ROW ? 0 : SL_EIO; /* left in the middle */
}

static int many_statements(void *user, sqlite3 *sqlite)
{
    (void)sqlite;
    for (int i = 0; i < 300; i++) {
        char text[64];
        (void)snprintf(text, sizeof text, "select %d", i);
        sqlite3_stmt *one = sl_db_statement(user, text);
        if (!one || sqlite3_step(one) != SQLITE_ROW || sqlite3_column_int(one, 0) != i)
            return SL_EPARSE;
    }
    return sl_db_statement(user, "select from") ? SL_EPARSE : 0;
}

SL_TEST(statements_left_open_do_not_hold_up_the_commit)
{
    make_folder();
    char error[256] = "", text[] = "insert into t(body) values(x'01'), (x'02')";
    sl_db *db;
    REQUIRE(open_db(&db, error, sizeof error) == 0);
    CHECK_EQ(sl_db_run(db, insert_one, text), 0);
    CHECK_EQ(sl_db_run(db, select_half, db), 0);
    CHECK_EQ(sl_db_run(db, insert_one, text), 0);
    CHECK_EQ(sl_db_run(db, many_statements, db), 0);
    CHECK_EQ(sl_db_run(db, many_statements, db), 0);
    CHECK_EQ(count_rows(), 4);
    sl_db_close(db);
    remove_folder();
}

static int slow_run(void *user, sqlite3 *sqlite)
{
    (void)sqlite;
    while (!atomic_load((atomic_int *)user))
        (void)usleep(100);
    return 0;
}

SL_TEST(too_many_waiting_jobs_are_refused)
{
    make_folder();
    char error[256] = "";
    sl_db *db;
    REQUIRE(
        sl_db_open(&(sl_db_options){.path = path, .schema = SCHEMA, .format = 2, .max_waiting = 100, .max_group = 7},
                   error, sizeof error, &db) == 0);
    atomic_int go = 0, left = 0;
    static insert inserts[300];
    CHECK_EQ(sl_db_submit(db, &(sl_db_job){.run = slow_run, .user = &go}), 0);
    int accepted = 0;
    for (int i = 0; i < 300; i++) {
        inserts[i] = (insert){.db = db, .id = i, .left = &left};
        int result = sl_db_submit(db, &(sl_db_job){.run = insert_run, .done = insert_done, .user = &inserts[i]});
        if (!result)
            accepted++;
        else
            CHECK_EQ(result, SL_EAGAIN);
    }
    CHECK(accepted >= 99 && accepted <= 107);
    atomic_store(&go, 1);
    sl_db_close(db); /* runs what has been submitted */
    CHECK_EQ(atomic_load(&left), -accepted);
    CHECK_EQ(count_rows(), accepted);
    remove_folder();
}

/* ---- files that are refused ---- */

static int migrate_ok(sqlite3 *sqlite, int from, char *error, size_t size)
{
    (void)error;
    (void)size;
    char text[] = "insert into t(id) values(77)";
    return from == 2 ? sl_db_error(sqlite3_exec(sqlite, text, NULL, NULL, NULL)) : SL_EPARSE;
}

static int migrate_bad(sqlite3 *sqlite, int from, char *error, size_t size)
{
    (void)migrate_ok(sqlite, from, error, size);
    (void)snprintf(error, size, "cannot migrate from %d", from);
    return SL_ECONFIG;
}

SL_TEST(formats_are_migrated_or_refused)
{
    make_folder();
    char error[256] = "";
    sl_db *db;
    REQUIRE(open_db(&db, error, sizeof error) == 0);
    sl_db_close(db);
    sl_db_options newer = {.path = path, .schema = SCHEMA, .format = 3, .migrate = migrate_bad};
    CHECK_EQ(sl_db_open(&newer, error, sizeof error, &db), SL_ECONFIG);
    CHECK(strstr(error, "cannot migrate from 2") != NULL);
    CHECK_EQ(count_rows(), 0); /* nothing of it is left */
    newer.migrate = migrate_ok;
    REQUIRE(sl_db_open(&newer, error, sizeof error, &db) == 0);
    sl_db_close(db);
    CHECK_EQ(count_rows(), 1);
    CHECK_EQ(open_db(&db, error, sizeof error), SL_ECONFIG);
    CHECK(strstr(error, "format 3") != NULL && strstr(error, "up to 2") != NULL && strstr(error, path) != NULL);
    remove_folder();
}

static void overwrite(off_t at, const char *bytes, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT, 0600);
    if (fd < 0 || pwrite(fd, bytes, len, at) != (ssize_t)len)
        abort();
    (void)close(fd);
}

SL_TEST(a_file_that_is_no_database_is_refused_with_the_way_out)
{
    make_folder();
    char error[512] = "", noise[8192];
    memset(noise, 'x', sizeof noise);
    overwrite(0, noise, sizeof noise);
    sl_db *db;
    CHECK_EQ(open_db(&db, error, sizeof error), SL_EIO);
    CHECK(strstr(error, "damaged") != NULL && strstr(error, ".recover") != NULL);
    char left[16] = "";
    int fd = open(path, O_RDONLY);
    CHECK(fd >= 0 && read(fd, left, 4) == 4 && memcmp(left, "xxxx", 4) == 0); /* it is as it was */
    (void)close(fd);
    remove_folder();
}

SL_TEST(a_damaged_page_is_an_error_and_not_an_answer)
{
    make_folder();
    char error[512] = "", noise[4096];
    sl_db *db;
    REQUIRE(open_db(&db, error, sizeof error) == 0);
    char fill[] = "with recursive n(i) as (select 1 union all select i + 1 from n where i < 500) "
                  "insert into t select i, randomblob(200) from n";
    CHECK_EQ(sl_db_run(db, insert_one, fill), 0);
    sl_db_close(db);
    memset(noise, 0xA5, sizeof noise);
    overwrite(5 * 4096, noise, sizeof noise);
    REQUIRE(open_db(&db, error, sizeof error) == 0); /* its first pages are good */
    char touch[] = "update t set body = x'7a'";
    CHECK_EQ(sl_db_run(db, insert_one, touch), SL_EIO);
    sl_db_last_error(db, error, sizeof error);
    CHECK(strstr(error, "damaged") != NULL && strstr(error, ".recover") != NULL);
    sl_db_close(db);
    remove_folder();
}

/* In a child without privileges; its exit status tells. */
static int open_unprivileged(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        if (geteuid() == 0 && (setgid(65534) || setuid(65534)))
            _exit(9);
        char error[512] = "";
        sl_db *db;
        int result = open_db(&db, error, sizeof error);
        _exit(result == SL_EIO && strstr(error, "write permission") && strstr(error, "--data-dir") ? 0 : 1);
    }
    int status = -1;
    (void)waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

SL_TEST(a_directory_without_write_permission)
{
    make_folder();
    (void)chmod(folder, 0555);
    CHECK_EQ(open_unprivileged(), 0);
    (void)chmod(folder, 0755);
    char error[512] = "";
    sl_db *db;
    REQUIRE(open_db(&db, error, sizeof error) == 0);
    sl_db_close(db);
    (void)chmod(path, 0444);
    (void)chmod(folder, 0555);
    CHECK_EQ(open_unprivileged(), 0); /* the file is there, and may only be read */
    (void)chmod(folder, 0755);
    remove_folder();
}

SL_TEST(a_directory_that_is_not_there)
{
    make_folder();
    remove_folder();
    char error[512] = "";
    sl_db *db;
    CHECK_EQ(open_db(&db, error, sizeof error), SL_EIO);
    CHECK(strstr(error, path) != NULL);
}

/* ---- a full disk: no file of this process may grow beyond a size ---- */

static void set_file_size(rlim_t bytes)
{
    struct rlimit limit = {bytes, RLIM_INFINITY};
    (void)setrlimit(RLIMIT_FSIZE, &limit);
}

/* One insert that waits. */
static int insert_wait(sl_db *db, int64_t id, size_t size)
{
    insert in = {.db = db, .id = id, .size = size};
    return sl_db_run(db, insert_run, &in);
}

SL_TEST(a_full_disk_refuses_and_keeps_what_was_accepted)
{
    make_folder();
    (void)signal(SIGXFSZ, SIG_IGN);
    char error[512] = "";
    sl_db *db;
    REQUIRE(open_db(&db, error, sizeof error) == 0);
    int accepted = 0;
    for (; accepted < 20; accepted++)
        CHECK_EQ(insert_wait(db, accepted, 1000), 0);
    set_file_size(400 * 1024);
    int result = 0;
    while (accepted < 1000 && (result = insert_wait(db, accepted, 20000)) == 0)
        accepted++;
    CHECK(result == SL_ELIMIT || result == SL_EIO);
    CHECK(accepted < 100);
    CHECK_EQ(count_rows(), accepted);
    sl_db_last_error(db, error, sizeof error);
    CHECK(strstr(error, "disk") != NULL && strstr(error, "kept") != NULL);
    set_file_size(RLIM_INFINITY);
    CHECK_EQ(insert_wait(db, accepted, 20000), 0); /* room again: it goes on */
    sl_db_close(db);
    CHECK_EQ(count_rows(), accepted + 1);
    remove_folder();
}

SL_TEST(what_still_fits_is_not_refused_because_of_its_neighbours)
{
    make_folder();
    (void)signal(SIGXFSZ, SIG_IGN);
    char error[512] = "";
    sl_db *db;
    REQUIRE(open_db(&db, error, sizeof error) == 0);
    CHECK_EQ(insert_wait(db, 1000, 10), 0);
    set_file_size(300 * 1024);
    atomic_int go = 0, left = 5;
    static insert inserts[5];
    CHECK_EQ(sl_db_submit(db, &(sl_db_job){.run = slow_run, .user = &go}), 0);
    for (int i = 0; i < 5; i++) { /* the third is larger than the disk */
        inserts[i] = (insert){.db = db, .id = i, .size = i == 2 ? 4000000 : 100, .left = &left};
        CHECK_EQ(
            sl_db_submit(db, &(sl_db_job){.run = insert_run, .done = insert_done, .user = &inserts[i], .rerun = true}),
            0);
    }
    atomic_store(&go, 1);
    wait_for(&left);
    for (int i = 0; i < 5; i++)
        CHECK(i == 2 ? atomic_load(&inserts[i].outcome) < 0 : atomic_load(&inserts[i].outcome) == 1);
    set_file_size(RLIM_INFINITY);
    sl_db_close(db);
    CHECK_EQ(count_rows(), 5);
    remove_folder();
}

SL_TEST(every_allocation_failing)
{
    make_folder();
    char error[256];
    for (long n = 0; n < 20; n++) {
        sl_db *db = NULL;
        sl_test_fail_alloc(n);
        int result = open_db(&db, error, sizeof error);
        if (!result) {
            insert in = {.db = db, .id = n};
            int ran = sl_db_run(db, insert_run, &in);
            CHECK(ran == 0 || ran == SL_ENOMEM);
            sl_db_close(db);
        } else {
            CHECK_EQ(result, SL_ENOMEM);
            CHECK(error[0] != 0);
        }
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        if (!failed)
            break;
    }
    remove_folder();
}
