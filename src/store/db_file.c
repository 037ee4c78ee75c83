/* See db_file.h. A file is checked before anything in it is changed. */
#include "src/store/db_file.h"

#include <stdio.h>

#include "src/base/assert.h"
#include "src/store/db_log.h"

int sl_db_error(int sqlite_code)
{
    switch (sqlite_code & 0xff) {
    case SQLITE_OK:
    case SQLITE_DONE:
    case SQLITE_ROW:
        return 0;
    case SQLITE_FULL:
        return SL_ELIMIT;
    case SQLITE_NOMEM:
        return SL_ENOMEM;
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return SL_EAGAIN;
    case SQLITE_CONSTRAINT:
        return SL_EEXIST;
    case SQLITE_INTERRUPT:
        return SL_ECLOSED;
    case SQLITE_TOOBIG:
        return SL_ETOOBIG;
    default:
        return SL_EIO;
    }
}

/* The way out of a failure; NULL where SQLite's own text is all there is to say. */
static const char *way_out(int code)
{
    switch (code & 0xff) {
    case SQLITE_FULL:
        return "the disk is full; free space on its file system: what was accepted is kept";
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
        return "the file is damaged; move it away (with its -wal and -shm) to begin anew, and save what can be read by "
               "`sqlite3 OLD .recover | sqlite3 NEW`";
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_CANTOPEN:
        return "it cannot be opened for writing; give this user write permission on the file and its directory, or "
               "choose another with --data-dir";
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
        return "another process holds it locked; stop that one, or choose another --data-dir";
    case SQLITE_IOERR:
        return "the disk failed to read or write; look at the kernel's log, what was accepted before is kept";
    default:
        return NULL;
    }
}

void sl_db_file_explain(const char *path, int sqlite_code, const char *detail, char *text, size_t size)
{
    SL_ASSERT(path && (text || size == 0));
    if (size == 0)
        return;
    const char *what = detail && *detail ? detail : sqlite3_errstr(sqlite_code);
    const char *remedy = way_out(sqlite_code);
    if (remedy)
        (void)snprintf(text, size, "%s: %s (%s)", path, remedy, what);
    else
        (void)snprintf(text, size, "%s: %s", path, what);
}

/* Runs one statement; its first column as a number, or -1 when it gives none. Returns SQLite's code. */
static int query_number(sqlite3 *sqlite, const char *text, int64_t *ret_value)
{
    sqlite3_stmt *statement = NULL;
    int code = sqlite3_prepare_v2(sqlite, text, -1, &statement, NULL);
    if (code != SQLITE_OK)
        return code;
    code = sqlite3_step(statement);
    int64_t value = code == SQLITE_ROW ? sqlite3_column_int64(statement, 0) : -1;
    int closed = sqlite3_finalize(statement);
    if (code != SQLITE_ROW && code != SQLITE_DONE)
        return closed != SQLITE_OK ? closed : code;
    *ret_value = value;
    return SQLITE_OK;
}

static bool is_wal(sqlite3 *sqlite)
{
    sqlite3_stmt *statement = NULL;
    bool wal = false;
    if (sqlite3_prepare_v2(sqlite, "pragma journal_mode=wal", -1, &statement, NULL) == SQLITE_OK &&
        sqlite3_step(statement) == SQLITE_ROW) {
        const char *mode = (const char *)sqlite3_column_text(statement, 0);
        wal = mode && sqlite3_stricmp(mode, "wal") == 0;
    }
    (void)sqlite3_finalize(statement);
    return wal;
}

/* How the connection behaves from now on. Returns SQLite's code. */
static int set_pragmas(sqlite3 *sqlite, const sl_db_options *options)
{
    char text[256];
    size_t cache = options->cache_bytes ? options->cache_bytes : SL_DB_CACHE_BYTES;
    /* A log of 16 MiB before its pages go home: those that change often go once for many commits. It is never cut back,
     * so that a disk that has filled up still has room for a log. */
    (void)snprintf(text, sizeof text,
                   "pragma synchronous=full; pragma cache_size=-%zu; pragma wal_autocheckpoint=%u; "
                   "pragma temp_store=memory",
                   cache / 1024, SL_DB_LOG_PAGES);
    return sqlite3_exec(sqlite, text, NULL, NULL, NULL);
}

/* Migration, schema and format number in one transaction. */
static int apply_schema(sqlite3 *sqlite, const sl_db_options *options, int64_t from, char *error, size_t error_size)
{
    int result = 0;
    if (from > 0 && from < options->format && options->migrate)
        result = options->migrate(sqlite, (int)from, error, error_size);
    if (result)
        return result;
    char text[64];
    (void)snprintf(text, sizeof text, "pragma user_version=%d", options->format);
    int code = options->schema ? sqlite3_exec(sqlite, options->schema, NULL, NULL, NULL) : SQLITE_OK;
    if (code == SQLITE_OK && from != options->format)
        code = sqlite3_exec(sqlite, text, NULL, NULL, NULL);
    if (code == SQLITE_OK)
        code = sqlite3_exec(sqlite, "commit", NULL, NULL, NULL);
    if (code == SQLITE_OK)
        return 0;
    sl_db_file_explain(options->path, code, sqlite3_errmsg(sqlite), error, error_size);
    return sl_db_error(code) == SL_ENOMEM ? SL_ENOMEM : SL_EIO;
}

/* Before anything is written: the log must stay as it is when it holds more than is read of it. */
static int check_log(sqlite3 *sqlite, const char *path, char *error, size_t error_size)
{
    if (!sl_db_log_is_damaged(path))
        return 0;
    (void)sqlite3_db_config(sqlite, SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, 1, NULL);
    (void)snprintf(
        error, error_size,
        "%s-wal: the log is damaged in its midst: what was written before is whole, what was written behind it "
        "cannot be read; put a copy of both files in their place, or move the log away to go on without that",
        path);
    return SL_EIO;
}

static int prepare_file(sqlite3 *sqlite, const sl_db_options *options, char *error, size_t error_size)
{
    int64_t format = 0, tables = 0;
    int code = query_number(sqlite, "pragma user_version", &format);
    if (code == SQLITE_OK)
        code = query_number(sqlite, "select count(*) from sqlite_schema", &tables); /* reads the file's first pages */
    if (code == SQLITE_OK && format > options->format) {
        (void)snprintf(error, error_size,
                       "%s: a newer version wrote it (format %lld, this one knows up to %d); use that version, or "
                       "another --data-dir",
                       options->path, (long long)format, options->format);
        return SL_ECONFIG;
    }
    if (code == SQLITE_OK && !is_wal(sqlite))
        code = sqlite3_extended_errcode(sqlite) ? sqlite3_extended_errcode(sqlite) : SQLITE_CANTOPEN;
    if (code == SQLITE_OK)
        code = set_pragmas(sqlite, options);
    if (code == SQLITE_OK)
        code = sqlite3_exec(sqlite, "begin immediate", NULL, NULL, NULL);
    if (code != SQLITE_OK) {
        sl_db_file_explain(options->path, code, sqlite3_errmsg(sqlite), error, error_size);
        return sl_db_error(code) == SL_ENOMEM ? SL_ENOMEM : SL_EIO;
    }
    int result = check_log(sqlite, options->path, error, error_size);
    if (!result)
        result = apply_schema(sqlite, options, format, error, error_size);
    if (result && !sqlite3_get_autocommit(sqlite))
        (void)sqlite3_exec(sqlite, "rollback", NULL, NULL, NULL);
    return result;
}

int sl_db_file_open(const sl_db_options *options, char *error, size_t error_size, sqlite3 **ret_sqlite)
{
    SL_ASSERT(options && options->path && options->format > 0 && ret_sqlite);
    sqlite3 *sqlite = NULL;
    int code =
        sqlite3_open_v2(options->path, &sqlite, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
    int result = 0;
    if (code != SQLITE_OK) {
        sl_db_file_explain(options->path, code, sqlite ? sqlite3_errmsg(sqlite) : NULL, error, error_size);
        result = sl_db_error(code) == SL_ENOMEM ? SL_ENOMEM : SL_EIO;
    } else {
        (void)sqlite3_extended_result_codes(sqlite, 1);
        (void)sqlite3_busy_timeout(sqlite, SL_DB_BUSY_MS);
        result = prepare_file(sqlite, options, error, error_size);
    }
    if (result) {
        (void)sqlite3_close(sqlite);
        return result;
    }
    *ret_sqlite = sqlite;
    return 0;
}

int sl_db_file_reader(const char *path, sqlite3 **ret_sqlite)
{
    SL_ASSERT(path && ret_sqlite);
    sqlite3 *sqlite = NULL;
    int code = sqlite3_open_v2(path, &sqlite, SQLITE_OPEN_READONLY | SQLITE_OPEN_NOMUTEX, NULL);
    if (code == SQLITE_OK) {
        (void)sqlite3_extended_result_codes(sqlite, 1);
        (void)sqlite3_busy_timeout(sqlite, SL_DB_BUSY_MS);
        code = sqlite3_exec(sqlite, "pragma query_only=1", NULL, NULL, NULL);
    }
    if (code != SQLITE_OK) {
        (void)sqlite3_close(sqlite);
        return sl_db_error(code) == SL_ENOMEM ? SL_ENOMEM : SL_EIO;
    }
    *ret_sqlite = sqlite;
    return 0;
}
