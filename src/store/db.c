/*
 * See db.h. The writer takes all jobs that wait (up to max_group), runs them in one transaction, commits, tells each.
 * What arrives meanwhile makes the next group: groups grow with the load and with the time a sync takes.
 *
 * A job that fails is rolled back to its savepoint. When the transaction itself is lost (disk full, I/O error: SQLite
 * may roll it all back), every job that was in it fails; those that said `rerun` get a transaction of their own, so
 * that what still fits is not refused because of its neighbours.
 */
#include "src/store/db.h"

#include <stdio.h>

#include "src/base/mem.h"
#include "src/base/sync.h"
#include "src/store/db_file.h"

#define MAX_STATEMENTS 128u

typedef struct statement {
    const char *text; /* as the caller gave it: its address is looked at first */
    sqlite3_stmt *prepared;
    uint64_t used;
} statement;

struct sl_db {
    /* Constant after opening. */
    char *path;
    size_t max_waiting;
    uint32_t max_group;
    pthread_t thread;
    /* The writer thread's own. */
    sqlite3 *sqlite;
    statement statements[MAX_STATEMENTS];
    size_t statement_count;
    uint64_t statement_clock;
    sl_db_job *group; /* max_group of each */
    int *outcomes;
    /* Under the lock. */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    sl_db_job *ring; /* grows by doubling, up to max_waiting */
    size_t ring_size, first, waiting;
    bool idle, closing;
    sl_db_stats stats;
    char last_error[512];
};

/* ---- statements ---- */

static statement *free_statement(sl_db *db)
{
    if (db->statement_count < MAX_STATEMENTS)
        return &db->statements[db->statement_count++];
    statement *oldest = &db->statements[0];
    for (size_t i = 1; i < MAX_STATEMENTS; i++) {
        if (db->statements[i].used < oldest->used)
            oldest = &db->statements[i];
    }
    (void)sqlite3_finalize(oldest->prepared);
    oldest->prepared = NULL;
    return oldest;
}

static statement *find_statement(sl_db *db, const char *text)
{
    for (size_t i = 0; i < db->statement_count; i++) {
        if (db->statements[i].text == text && strcmp(sqlite3_sql(db->statements[i].prepared), text) == 0)
            return &db->statements[i];
    }
    for (size_t i = 0; i < db->statement_count; i++) {
        if (strcmp(sqlite3_sql(db->statements[i].prepared), text) == 0)
            return &db->statements[i];
    }
    return NULL;
}

sqlite3_stmt *sl_db_statement(sl_db *db, const char *text)
{
    SL_ASSERT(db && text && pthread_equal(pthread_self(), db->thread));
    statement *found = find_statement(db, text);
    if (!found) {
        sqlite3_stmt *prepared = NULL;
        int code = sqlite3_prepare_v3(db->sqlite, text, -1, SQLITE_PREPARE_PERSISTENT, &prepared, NULL);
        if (code != SQLITE_OK || !prepared)
            return NULL;
        found = free_statement(db);
        found->text = text;
        found->prepared = prepared;
    } else {
        (void)sqlite3_reset(found->prepared);
        (void)sqlite3_clear_bindings(found->prepared);
    }
    found->used = ++db->statement_clock;
    return found->prepared;
}

/* A statement left in the middle of its rows would keep the transaction from ending. */
static void reset_statements(sl_db *db)
{
    for (size_t i = 0; i < db->statement_count; i++) {
        if (sqlite3_stmt_busy(db->statements[i].prepared))
            (void)sqlite3_reset(db->statements[i].prepared);
    }
}

static void finalize_statements(sl_db *db)
{
    for (size_t i = 0; i < db->statement_count; i++)
        (void)sqlite3_finalize(db->statements[i].prepared);
    db->statement_count = 0;
}

void sl_db_bind_text(sqlite3_stmt *prepared, int index, sl_str text)
{
    (void)sqlite3_bind_text64(prepared, index, text.ptr ? text.ptr : "", text.len, SQLITE_STATIC, SQLITE_UTF8);
}

void sl_db_bind_blob(sqlite3_stmt *prepared, int index, sl_str bytes)
{
    (void)sqlite3_bind_blob64(prepared, index, bytes.ptr ? bytes.ptr : "", bytes.len, SQLITE_STATIC);
}

int sl_db_exec(sqlite3_stmt *prepared)
{
    if (!prepared)
        return SL_EIO;
    int code = sqlite3_step(prepared);
    int closed = sqlite3_reset(prepared);
    if (code == SQLITE_DONE || code == SQLITE_ROW)
        return 0;
    return sl_db_error(closed != SQLITE_OK ? closed : code);
}

/* ---- one group ---- */

/* Keeps the text of a failure for people. */
static void note_failure(sl_db *db, int code)
{
    char text[sizeof db->last_error];
    sl_db_file_explain(db->path, code, sqlite3_errmsg(db->sqlite), text, sizeof text);
    (void)pthread_mutex_lock(&db->lock);
    memcpy(db->last_error, text, sizeof text);
    (void)pthread_mutex_unlock(&db->lock);
}

/* Runs one of the transaction's own statements; SQLite's code. */
static int control(sl_db *db, const char *text)
{
    sqlite3_stmt *prepared = sl_db_statement(db, text);
    if (!prepared)
        return sqlite3_extended_errcode(db->sqlite);
    int code = sqlite3_step(prepared);
    int closed = sqlite3_reset(prepared);
    return code == SQLITE_DONE ? SQLITE_OK : closed != SQLITE_OK ? closed : code;
}

/* The job's error, or 0. `*ret_lost`: the whole transaction has been rolled back. */
static int run_job(sl_db *db, const sl_db_job *job, bool *ret_lost)
{
    if (!job->plain && control(db, "savepoint job") != SQLITE_OK) {
        *ret_lost = sqlite3_get_autocommit(db->sqlite) != 0;
        return SL_EIO;
    }
    int error = job->run(job->user, db->sqlite);
    *ret_lost = sqlite3_get_autocommit(db->sqlite) != 0;
    if (error || *ret_lost) {
        int code = sqlite3_extended_errcode(db->sqlite);
        if (sl_db_error(code))
            note_failure(db, code);
        if (!error)
            error = sl_db_error(code) ? sl_db_error(code) : SL_EIO;
    }
    if (*ret_lost || job->plain)
        return error;
    reset_statements(db);
    if (error)
        (void)control(db, "rollback to job");
    (void)control(db, "release job");
    *ret_lost = sqlite3_get_autocommit(db->sqlite) != 0;
    return error;
}

/* 0, or the error of the commit; then nothing of the transaction is left. */
static int commit(sl_db *db, int64_t changes_before)
{
    reset_statements(db);
    int code = control(db, "commit");
    bool changed = sqlite3_total_changes64(db->sqlite) != changes_before;
    if (code != SQLITE_OK) {
        note_failure(db, code);
        if (!sqlite3_get_autocommit(db->sqlite))
            (void)control(db, "rollback");
    }
    (void)pthread_mutex_lock(&db->lock);
    if (code != SQLITE_OK)
        db->stats.failed_commits++;
    else if (changed)
        db->stats.commits++;
    (void)pthread_mutex_unlock(&db->lock);
    return sl_db_error(code);
}

static int begin(sl_db *db)
{
    int code = control(db, "begin immediate");
    if (code != SQLITE_OK)
        note_failure(db, code);
    return sl_db_error(code);
}

/* Fills what has no error yet. */
static void fail_rest(sl_db *db, size_t from, size_t to, int error)
{
    for (size_t i = from; i < to; i++) {
        if (!db->outcomes[i])
            db->outcomes[i] = error;
    }
}

/* Jobs [from, to) in one transaction, as far as it lives. Returns where it ended; their outcomes are final. */
static size_t run_transaction(sl_db *db, size_t from, size_t to)
{
    int64_t changes = sqlite3_total_changes64(db->sqlite);
    int error = begin(db);
    if (error) {
        fail_rest(db, from, to, error);
        return to;
    }
    for (size_t i = from; i < to; i++) {
        bool lost = false;
        db->outcomes[i] = run_job(db, &db->group[i], &lost);
        if (lost) {
            (void)pthread_mutex_lock(&db->lock);
            db->stats.failed_commits++;
            (void)pthread_mutex_unlock(&db->lock);
            fail_rest(db, from, i + 1, db->outcomes[i] ? db->outcomes[i] : SL_EIO);
            return i + 1;
        }
    }
    error = commit(db, changes);
    if (error)
        fail_rest(db, from, to, error);
    return to;
}

/* The second chance of jobs whose transaction was lost. */
static void run_again(sl_db *db, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++) {
        if (!db->outcomes[i] || !db->group[i].rerun)
            continue;
        db->outcomes[i] = 0;
        (void)run_transaction(db, i, i + 1);
    }
}

static void run_group(sl_db *db, size_t count)
{
    memset(db->outcomes, 0, count * sizeof *db->outcomes);
    for (size_t from = 0; from < count;) {
        uint64_t failed = db->stats.failed_commits; /* written by this thread alone */
        size_t to = run_transaction(db, from, count);
        if (db->stats.failed_commits != failed && to - from > 1)
            run_again(db, from, to);
        from = to;
    }
    for (size_t i = 0; i < count; i++) {
        if (db->group[i].done)
            db->group[i].done(db->group[i].user, db->outcomes[i]);
    }
}

/* ---- the queue of jobs ---- */

/* Waits for jobs and takes a group of them; 0 when closing and none is left. */
static size_t take_group(sl_db *db)
{
    (void)pthread_mutex_lock(&db->lock);
    while (db->waiting == 0 && !db->closing) {
        db->idle = true;
        (void)pthread_cond_wait(&db->wake, &db->lock);
    }
    db->idle = false;
    size_t count = db->waiting < db->max_group ? db->waiting : db->max_group;
    for (size_t i = 0; i < count; i++)
        db->group[i] = db->ring[(db->first + i) & (db->ring_size - 1)];
    if (count)
        db->first = (db->first + count) & (db->ring_size - 1);
    db->waiting -= count;
    db->stats.jobs += count;
    (void)pthread_mutex_unlock(&db->lock);
    return count;
}

static void *writer(void *user)
{
    sl_db *db = user;
    size_t count;
    while ((count = take_group(db)) > 0)
        run_group(db, count);
    return NULL;
}

/* Doubles the ring; its jobs begin at 0 then. Under the lock. */
static int grow_ring(sl_db *db)
{
    size_t size = db->ring_size ? db->ring_size * 2 : 64;
    sl_db_job *ring = sl_malloc(size * sizeof *ring);
    if (!ring)
        return SL_ENOMEM;
    for (size_t i = 0; i < db->waiting; i++)
        ring[i] = db->ring[(db->first + i) & (db->ring_size - 1)];
    sl_free(db->ring);
    db->ring = ring;
    db->ring_size = size;
    db->first = 0;
    return 0;
}

int sl_db_submit(sl_db *db, const sl_db_job *job)
{
    SL_ASSERT(db && job && job->run);
    (void)pthread_mutex_lock(&db->lock);
    int result = db->closing ? SL_ECLOSED : db->waiting >= db->max_waiting ? SL_EAGAIN : 0;
    if (!result && db->waiting == db->ring_size)
        result = grow_ring(db);
    bool wake = false;
    if (!result) {
        db->ring[(db->first + db->waiting) & (db->ring_size - 1)] = *job;
        db->waiting++;
        wake = db->idle;
        db->idle = false;
    }
    (void)pthread_mutex_unlock(&db->lock);
    if (wake)
        (void)pthread_cond_signal(&db->wake);
    return result;
}

typedef struct waiter {
    int (*run)(void *user, sqlite3 *db);
    void *user;
    pthread_mutex_t lock;
    pthread_cond_t over;
    bool finished;
    int outcome;
} waiter;

static int waiter_run(void *user, sqlite3 *sqlite)
{
    waiter *w = user;
    return w->run(w->user, sqlite);
}

static void waiter_done(void *user, int error)
{
    waiter *w = user;
    (void)pthread_mutex_lock(&w->lock);
    w->outcome = error;
    w->finished = true;
    (void)pthread_cond_signal(&w->over); /* under the lock: the waiter's storage ends with its wait */
    (void)pthread_mutex_unlock(&w->lock);
}

int sl_db_run(sl_db *db, int (*run)(void *user, sqlite3 *db), void *user)
{
    SL_ASSERT(db && run && !pthread_equal(pthread_self(), db->thread));
    waiter w = {.run = run, .user = user, .lock = PTHREAD_MUTEX_INITIALIZER};
    int result = sl_cond_init(&w.over);
    if (result)
        return result;
    result = sl_db_submit(db, &(sl_db_job){.run = waiter_run, .done = waiter_done, .user = &w});
    if (!result) {
        (void)pthread_mutex_lock(&w.lock);
        while (!w.finished)
            (void)pthread_cond_wait(&w.over, &w.lock);
        result = w.outcome;
        (void)pthread_mutex_unlock(&w.lock);
    }
    (void)pthread_cond_destroy(&w.over);
    (void)pthread_mutex_destroy(&w.lock);
    return result;
}

/* ---- life ---- */

static void free_db(sl_db *db)
{
    if (!db)
        return;
    finalize_statements(db);
    (void)sqlite3_close_v2(db->sqlite); /* also when a job has left a statement of its own behind */
    sl_free(db->ring);
    sl_free(db->group);
    sl_free(db->outcomes);
    sl_free(db->path);
    (void)pthread_mutex_destroy(&db->lock);
    sl_free(db);
}

static sl_db *new_db(const sl_db_options *options)
{
    sl_db *db = sl_calloc(1, sizeof *db);
    if (!db)
        return NULL;
    (void)pthread_mutex_init(&db->lock, NULL);
    db->max_waiting = options->max_waiting ? options->max_waiting : SL_DB_MAX_WAITING;
    db->max_group = options->max_group ? options->max_group : SL_DB_MAX_GROUP;
    db->path = sl_strndup(options->path, strlen(options->path));
    db->group = sl_calloc(db->max_group, sizeof *db->group);
    db->outcomes = sl_calloc(db->max_group, sizeof *db->outcomes);
    if (db->path && db->group && db->outcomes)
        return db;
    free_db(db);
    return NULL;
}

int sl_db_open(const sl_db_options *options, char *error, size_t error_size, sl_db **ret_db)
{
    SL_ASSERT(options && options->path && error && error_size && ret_db);
    sl_db *db = new_db(options);
    if (!db || sl_cond_init(&db->wake)) {
        (void)snprintf(error, error_size, "%s: out of memory", options->path);
        free_db(db);
        return SL_ENOMEM;
    }
    int result = sl_db_file_open(options, error, error_size, &db->sqlite);
    if (!result) {
        result = sl_thread_start(&db->thread, writer, db);
        if (result)
            (void)snprintf(error, error_size, "%s: no thread for its writer", options->path);
    }
    if (result) {
        (void)pthread_cond_destroy(&db->wake);
        free_db(db);
        return result;
    }
    *ret_db = db;
    return 0;
}

void sl_db_close(sl_db *db)
{
    if (!db)
        return;
    (void)pthread_mutex_lock(&db->lock);
    SL_ASSERT(!db->closing);
    db->closing = true;
    (void)pthread_mutex_unlock(&db->lock);
    (void)pthread_cond_signal(&db->wake);
    (void)pthread_join(db->thread, NULL);
    (void)pthread_cond_destroy(&db->wake);
    free_db(db);
}

int sl_db_reader(sl_db *db, sqlite3 **ret_reader)
{
    SL_ASSERT(db && ret_reader);
    return sl_db_file_reader(db->path, ret_reader);
}

void sl_db_last_error(sl_db *db, char *text, size_t size)
{
    SL_ASSERT(db && (text || size == 0));
    (void)pthread_mutex_lock(&db->lock);
    if (size)
        (void)snprintf(text, size, "%s", db->last_error);
    (void)pthread_mutex_unlock(&db->lock);
}

void sl_db_get_stats(sl_db *db, sl_db_stats *ret_stats)
{
    SL_ASSERT(db && ret_stats);
    (void)pthread_mutex_lock(&db->lock);
    *ret_stats = db->stats;
    ret_stats->waiting = db->waiting;
    (void)pthread_mutex_unlock(&db->lock);
}
