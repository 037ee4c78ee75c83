/* Logs as a kill leaves them, damaged at every frame, cut at every length. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/store/db_file.h"
#include "src/store/db_log.h"
#include "tests/harness/sl_test.h"

enum { ROWS = 12, FRAME = 4096 + 24, HEADER = 32 };

static char folder[64], path[128];

static void copy(const char *from, const char *to)
{
    char command[400];
    (void)snprintf(command, sizeof command, "cp %s %s", from, to);
    CHECK_EQ(system(command), 0);
}

static sl_db_options options(void)
{
    return (sl_db_options){.path = path, .schema = "create table if not exists t(x, y)", .format = 1};
}

/* A database and its log with a transaction for each row, as they are while it is open. */
static void make(void)
{
    char error[256], live[160], copied[160];
    sqlite3 *sqlite = NULL;
    (void)snprintf(folder, sizeof folder, "/tmp/sl-test-log-XXXXXX");
    if (!sl_test_mkdtemp(folder))
        abort();
    (void)snprintf(path, sizeof path, "%s/live.db", folder);
    sl_db_options o = options();
    REQUIRE(sl_db_file_open(&o, error, sizeof error, &sqlite) == 0);
    CHECK_EQ(sqlite3_exec(sqlite, "pragma wal_checkpoint(truncate)", NULL, NULL, NULL), SQLITE_OK);
    for (int i = 0; i < ROWS; i++)
        CHECK_EQ(sqlite3_exec(sqlite, "insert into t values(1, zeroblob(2500))", NULL, NULL, NULL), SQLITE_OK);
    (void)snprintf(copied, sizeof copied, "%s/kept.db", folder);
    copy(path, copied);
    (void)snprintf(live, sizeof live, "%s-wal", path);
    (void)snprintf(copied, sizeof copied, "%s/kept.db-wal", folder);
    copy(live, copied);
    CHECK_EQ(sqlite3_close(sqlite), SQLITE_OK);
    (void)snprintf(path, sizeof path, "%s/a.db", folder);
}

/* As the kill has left it. */
static void put_back(void)
{
    char from[160], to[160];
    (void)snprintf(to, sizeof to, "%s-shm", path);
    (void)unlink(to);
    (void)snprintf(from, sizeof from, "%s/kept.db", folder);
    copy(from, path);
    (void)snprintf(from, sizeof from, "%s/kept.db-wal", folder);
    (void)snprintf(to, sizeof to, "%s-wal", path);
    copy(from, to);
}

static off_t log_size(void)
{
    char name[160];
    struct stat st;
    (void)snprintf(name, sizeof name, "%s-wal", path);
    return stat(name, &st) == 0 ? st.st_size : 0;
}

static void damage(off_t at, size_t len)
{
    char name[160], noise[64];
    memset(noise, 0xA5, sizeof noise);
    (void)snprintf(name, sizeof name, "%s-wal", path);
    int fd = open(name, O_WRONLY | O_CLOEXEC);
    if (fd < 0 || pwrite(fd, noise, len, at) != (ssize_t)len)
        abort();
    (void)close(fd);
}

/* Rows that are there, or -1: it was refused, with the log as it was. */
static int rows_of(void)
{
    char error[512] = "";
    sqlite3 *sqlite = NULL;
    sqlite3_stmt *s = NULL;
    off_t before = log_size();
    sl_db_options o = options();
    if (sl_db_file_open(&o, error, sizeof error, &sqlite)) {
        CHECK(strstr(error, "-wal: the log is damaged") != NULL);
        CHECK_EQ(log_size(), before);
        return -1;
    }
    CHECK_EQ(sqlite3_prepare_v2(sqlite, "select count(*) from t", -1, &s, NULL), SQLITE_OK);
    CHECK_EQ(sqlite3_step(s), SQLITE_ROW);
    int rows = sqlite3_column_int(s, 0);
    (void)sqlite3_finalize(s);
    CHECK_EQ(sqlite3_close(sqlite), SQLITE_OK);
    return rows;
}

SL_TEST(transactions_behind_a_damaged_frame_are_not_dropped_unseen)
{
    make();
    put_back();
    CHECK(!sl_db_log_is_damaged(path));
    int frames = (int)((log_size() - HEADER) / FRAME);
    CHECK(frames >= ROWS);
    CHECK_EQ(rows_of(), ROWS);
    int refused = 0;
    for (int frame = 0; frame < frames; frame++) {
        static const off_t places[] = {2, 10, 18, 24 + 100, 24 + 4000}; /* page, salt, checksum, contents */
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            put_back();
            damage(HEADER + (off_t)frame * FRAME + places[i], 2);
            int rows = rows_of();
            CHECK(rows == -1 || (rows >= ROWS - 2 && frame >= frames - 4)); /* the last could be a power cut's */
            refused += rows == -1;
        }
    }
    CHECK(refused >= 5 * (frames - 4));
    for (off_t at = 0; at < HEADER; at += 4) {
        put_back();
        damage(at, 4);
        CHECK_EQ(rows_of(), -1);
    }
    sl_test_rmtree(folder);
}

SL_TEST(what_a_power_cut_leaves_is_no_damage)
{
    make();
    put_back();
    off_t size = log_size();
    int least = 0;
    for (off_t len = 0; len <= size; len += 509) {
        char name[160];
        put_back();
        (void)snprintf(name, sizeof name, "%s-wal", path);
        CHECK_EQ(truncate(name, len), 0);
        int rows = rows_of();
        CHECK(rows >= least);
        least = rows;
    }
    CHECK(least >= ROWS - 1);
    sl_test_rmtree(folder);
}

SL_TEST(what_an_earlier_log_left_behind_is_no_damage)
{
    char name[160], error[256];
    sqlite3 *sqlite = NULL;
    make();
    put_back();
    sl_db_options o = options();
    REQUIRE(sl_db_file_open(&o, error, sizeof error, &sqlite) == 0);
    CHECK_EQ(sqlite3_exec(sqlite, "pragma wal_checkpoint(restart); insert into t values(2, 'x')", NULL, NULL, NULL),
             SQLITE_OK); /* a new log, over the beginning of the old one */
    (void)snprintf(name, sizeof name, "%s/kept.db", folder);
    copy(path, name);
    (void)snprintf(name, sizeof name, "%s-wal", path);
    char kept[160];
    (void)snprintf(kept, sizeof kept, "%s/kept.db-wal", folder);
    copy(name, kept);
    CHECK_EQ(sqlite3_close(sqlite), SQLITE_OK);
    put_back();
    CHECK(log_size() > HEADER + 4 * FRAME);
    CHECK_EQ(rows_of(), ROWS + 1);
    sl_test_rmtree(folder);
}
