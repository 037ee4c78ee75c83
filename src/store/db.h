/*
 * SQLite as everything that lasts uses it: one file, WAL, synchronous=FULL, and one writer thread that commits in
 * groups.
 *
 * A job is a function that runs inside a transaction on the writer thread; many jobs share one commit (one fdatasync),
 * and each is told of its outcome only after the commit. Readers use connections of their own.
 */
#ifndef SL_STORE_DB_H
#define SL_STORE_DB_H

#include <sqlite3.h>

#include "src/base/limits.h"
#include "src/base/str.h"

typedef struct sl_db sl_db;

typedef struct sl_db_options {
    const char *path;   /* the directory must be there */
    const char *schema; /* statements, each "create ... if not exists"; run once at opening */
    int format;         /* PRAGMA user_version; an older file is handed to `migrate`, a newer one refused */
    int (*migrate)(sqlite3 *db, int from, char *error, size_t error_size); /* may be NULL */
    size_t max_waiting; /* jobs not yet begun; 65,536 when 0; above it sl_db_submit says SL_EAGAIN */
    uint32_t max_group; /* jobs in one commit; 4,096 when 0 */
    size_t cache_bytes; /* pages that the writer keeps in memory; 16 MiB when 0 */
} sl_db_options;

typedef struct sl_db_job {
    /*
     * On the writer thread, inside the transaction. Nonzero: this job's changes are rolled back (a savepoint), the
     * others' stay.
     */
    int (*run)(void *user, sqlite3 *db);
    /* On the writer thread after the commit: 0, the job's own error, or SL_EIO / SL_ELIMIT (disk full) when the commit
     * failed. */
    void (*done)(void *user, int error);
    void *user;
    bool plain; /* no savepoint (half the cost of a small job): `run` leaves nothing behind when it fails */
    bool rerun; /* `run` may be called once more, by itself, when the group it was in could not be committed */
} sl_db_job;

/* `options` are copied, its texts too. Errors: SL_EIO, SL_ECONFIG (newer format), SL_ENOMEM, with text in `error`. A
 * damaged file is refused with the way out named. */
SL_MUST_CHECK int sl_db_open(const sl_db_options *options, char *error, size_t error_size, sl_db **ret_db);
/* Runs what has been submitted, then closes. */
void sl_db_close(sl_db *db);
/* Any thread. The job is copied. Errors: SL_EAGAIN (too many wait), SL_ECLOSED. */
SL_MUST_CHECK int sl_db_submit(sl_db *db, const sl_db_job *job);
/* Submits and waits for the commit. Any thread but the writer. Returns the outcome. */
SL_MUST_CHECK int sl_db_run(sl_db *db, int (*run)(void *user, sqlite3 *db), void *user);
/* A further connection for reading; the caller closes it by sqlite3_close. */
SL_MUST_CHECK int sl_db_reader(sl_db *db, sqlite3 **ret_reader);
/*
 * A statement that is prepared once per text and kept, without bindings and ready to be stepped; valid until the job
 * returns. Writer thread, within a job. NULL: it cannot be prepared. (`db` is the sl_db of the job.)
 */
sqlite3_stmt *sl_db_statement(sl_db *db, const char *text);
/* Binds a view as text or as a blob without copying it; an empty one is an empty value, not NULL. */
void sl_db_bind_text(sqlite3_stmt *statement, int index, sl_str text);
void sl_db_bind_blob(sqlite3_stmt *statement, int index, sl_str bytes);
/* Steps a statement that gives no rows. 0, or the error of sl_db_error. */
SL_MUST_CHECK int sl_db_exec(sqlite3_stmt *statement);
/* What a result code of SQLite means: 0, SL_ELIMIT (disk full), SL_ENOMEM, SL_EAGAIN (locked), SL_EEXIST (constraint),
 * SL_ECLOSED (interrupted), SL_EIO. */
int sl_db_error(int sqlite_code);
/* The last failure of a commit or a job, for people, with the way out; empty when there was none. Any thread. */
void sl_db_last_error(sl_db *db, char *text, size_t size);

typedef struct sl_db_stats {
    uint64_t commits; /* that changed something: each made durable by one sync of the log */
    uint64_t jobs;
    uint64_t failed_commits;
    size_t waiting;
} sl_db_stats;
void sl_db_get_stats(sl_db *db, sl_db_stats *ret_stats);

#endif
