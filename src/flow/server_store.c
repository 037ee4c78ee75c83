/* The file, and the hand-over between loop and writer. */
#include "src/flow/server_store.h"

#include <stdio.h>
#include <time.h>

#include "src/base/assert.h"
#include "src/base/mem.h"

#define FORMAT 1
#define MAX_COLUMNS 16
#define MAX_VALUES 8

static const char schema[] =
    "create table if not exists workflows(name text primary key, source blob not null, created text not null);"
    "create table if not exists deployments(name text primary key, source blob not null, base_path text not null);"
    "create table if not exists services(name text primary key, definition text not null);"
    "create table if not exists sessions(id text primary key, deployment text not null);"
    "create table if not exists session_state(session text not null, key text not null, value text not null, "
    "primary key(session, key)) without rowid;"
    "create table if not exists tasks(number integer primary key autoincrement, id text not null unique, "
    "service text not null, deployment text not null, session text not null, input text not null);"
    "create index if not exists tasks_by_session on tasks(session, number);"
    "create index if not exists tasks_by_deployment on tasks(deployment, number);"
    /* Deployments that were taken down and still have tasks. */
    "create table if not exists removed(name text primary key) without rowid;"
    /* Names that clients gave to runs: the newest run of a name has it. */
    "create table if not exists handlers(number integer primary key autoincrement, handler text not null, "
    "run text not null unique);"
    "create index if not exists handlers_by_name on handlers(handler, number);";

struct sl_flow_store {
    sl_db *db;
    sqlite3 *reader;
    sl_mailbox *box;
    sl_store_op *overflow, **overflow_end; /* the writer had no room for them */
    size_t under_way, given;               /* given: to the writer */
    sl_mail again;                         /* the writer is full of others' work: it is asked once more */
    bool asking;
    uint64_t failures;
};

/* ---- operations ---- */

static int run_op(void *user, sqlite3 *db)
{
    sl_store_op *op = user;
    return op->run ? op->run(op, db) : 0;
}

static void written(void *user, int error)
{
    sl_store_op *op = user;
    op->error = error;
    sl_mailbox_post(op->store->box, &op->mail);
}

/* SL_EAGAIN: no room. What cannot be written at all is told by the loop. */
static int submit(sl_flow_store *store, sl_store_op *op)
{
    sl_db_job job = {.run = run_op, .done = written, .user = op};
    int error = sl_db_submit(store->db, &job);
    if (error != SL_EAGAIN)
        store->given++;
    if (error && error != SL_EAGAIN)
        written(op, error);
    return error;
}

/* Somebody must come back for what has no room: the last of ours that is under way, else the next turn of the loop. */
static void come_back(sl_flow_store *store)
{
    if (!store->overflow || store->given || store->asking)
        return;
    store->asking = true;
    sl_mailbox_post(store->box, &store->again);
}

/* Room has come: what waited goes on, in its order. */
static void flush_overflow(sl_flow_store *store)
{
    SL_ASSERT(store);
    while (store->overflow) {
        sl_store_op *next = store->overflow->next;
        if (submit(store, store->overflow) == SL_EAGAIN)
            return;
        store->overflow = next;
        if (!next)
            store->overflow_end = &store->overflow;
    }
}

static void ask_again(sl_mail *mail)
{
    sl_flow_store *store = (sl_flow_store *)(void *)((char *)mail - offsetof(sl_flow_store, again));
    store->asking = false;
    flush_overflow(store);
    come_back(store);
}

static void deliver(sl_mail *mail)
{
    sl_store_op *op = (sl_store_op *)(void *)((char *)mail - offsetof(sl_store_op, mail));
    sl_flow_store *store = op->store;
    SL_ASSERT(store->under_way > 0 && store->given > 0);
    store->under_way--;
    store->given--;
    store->failures += op->error != 0;
    op->done(op, op->error);
    flush_overflow(store);
    come_back(store);
}

void sl_flow_store_write(sl_flow_store *store, sl_store_op *op)
{
    SL_ASSERT(store && op && op->done);
    op->store = store;
    op->mail.deliver = deliver;
    op->next = NULL;
    store->under_way++;
    if (!store->overflow && submit(store, op) != SL_EAGAIN)
        return;
    *store->overflow_end = op;
    store->overflow_end = &op->next;
    come_back(store);
}

/* ---- statements ---- */

typedef struct put {
    sl_store_op op;
    const char *sql;
    void (*done)(void *user, int error);
    void *user;
    size_t count;
    sl_str values[MAX_VALUES]; /* behind the struct */
} put;

static int step(sqlite3 *db, const char *sql, const sl_str *values, size_t count)
{
    SL_ASSERT(count <= MAX_VALUES);
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(db, sql, -1, &statement, NULL) != SQLITE_OK)
        return SL_EIO;
    for (size_t i = 0; i < count; i++)
        (void)sqlite3_bind_text(statement, (int)i + 1, values[i].ptr ? values[i].ptr : "", (int)values[i].len,
                                SQLITE_STATIC);
    int code = sqlite3_step(statement);
    (void)sqlite3_finalize(statement);
    if (code == SQLITE_DONE || code == SQLITE_ROW)
        return 0;
    return (code & 0xff) == SQLITE_CONSTRAINT ? SL_EEXIST : SL_EIO;
}

static int run_put(sl_store_op *op, sqlite3 *db)
{
    put *p = (put *)(void *)op;
    return step(db, p->sql, p->values, p->count);
}

static void put_done(sl_store_op *op, int error)
{
    put *p = (put *)(void *)op;
    if (p->done)
        p->done(p->user, error);
    sl_free(p);
}

int sl_flow_store_put_then(sl_flow_store *store, const char *sql, const sl_str *values, size_t count,
                           void (*done)(void *user, int error), void *user)
{
    SL_ASSERT(store && sql && count <= MAX_COLUMNS);
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++)
        bytes += values[i].len + 1;
    put *p = sl_calloc(1, sizeof *p + bytes);
    if (!p)
        return SL_ENOMEM;
    char *at = (char *)(p + 1);
    for (size_t i = 0; i < count; i++) {
        if (values[i].len)
            memcpy(at, values[i].ptr, values[i].len);
        p->values[i] = sl_str_of(at, values[i].len);
        at += values[i].len + 1;
    }
    p->op = (sl_store_op){.run = run_put, .done = put_done};
    p->sql = sql;
    p->count = count;
    p->done = done;
    p->user = user;
    sl_flow_store_write(store, &p->op);
    return 0;
}

void sl_flow_store_put(sl_flow_store *store, const char *sql, const sl_str *values, size_t count)
{
    if (sl_flow_store_put_then(store, sql, values, count, NULL, NULL) != 0)
        store->failures++;
}

/* The columns of the row that the statement stands on. Errors: SL_ENOMEM. */
static int columns_of(sqlite3_stmt *statement, sl_str columns[MAX_COLUMNS], size_t *ret_count)
{
    int count = sqlite3_column_count(statement);
    SL_ASSERT(count <= MAX_COLUMNS);
    for (int i = 0; i < count; i++) {
        const void *text = sqlite3_column_blob(statement, i); /* a number becomes a text in memory of its own */
        if (!text && sqlite3_errcode(sqlite3_db_handle(statement)) == SQLITE_NOMEM)
            return SL_ENOMEM;
        columns[i] = sl_str_of(text ? text : "", text ? (size_t)sqlite3_column_bytes(statement, i) : 0);
    }
    *ret_count = (size_t)count;
    return 0;
}

int sl_flow_store_query(sl_flow_store *store, const char *sql, const sl_str *values, size_t count,
                        bool (*row)(void *user, const sl_str *columns, size_t column_count), void *user)
{
    SL_ASSERT(store && row && count <= MAX_VALUES);
    sqlite3_stmt *statement = NULL;
    if (sqlite3_prepare_v2(store->reader, sql, -1, &statement, NULL) != SQLITE_OK)
        return SL_EIO;
    for (size_t i = 0; i < count; i++)
        (void)sqlite3_bind_text(statement, (int)i + 1, values[i].ptr ? values[i].ptr : "", (int)values[i].len,
                                SQLITE_STATIC);
    int code, error = 0;
    bool more = true;
    size_t failures = sl_mem_failures(); /* a row whose pieces found no memory is no row */
    while (more && (code = sqlite3_step(statement)) == SQLITE_ROW) {
        sl_str columns[MAX_COLUMNS];
        size_t n;
        error = columns_of(statement, columns, &n);
        more = !error && row(user, columns, n);
    }
    (void)sqlite3_finalize(statement);
    if (error || sl_mem_failures() != failures)
        return SL_ENOMEM;
    return !more || code == SQLITE_DONE ? 0 : SL_EIO;
}

uint64_t sl_flow_store_failures(const sl_flow_store *store)
{
    return store->failures;
}

/* ---- the file ---- */

sl_db *sl_flow_store_db(sl_flow_store *store)
{
    return store->db;
}

int sl_flow_store_open(const char *dir, sl_mailbox *box, char *error, size_t error_size, sl_flow_store **ret_store)
{
    SL_ASSERT(dir && box && error && ret_store);
    char path[4200];
    (void)snprintf(path, sizeof path, "%s/flow.db", dir);
    sl_flow_store *store = sl_calloc(1, sizeof *store);
    if (!store) {
        (void)snprintf(error, error_size, "out of memory");
        return SL_ENOMEM;
    }
    store->box = box;
    store->overflow_end = &store->overflow;
    store->again.deliver = ask_again;
    sl_db_options options = {.path = path, .schema = schema, .format = FORMAT};
    int code = sl_db_open(&options, error, error_size, &store->db);
    if (!code && (code = sl_db_reader(store->db, &store->reader)) != 0) {
        (void)snprintf(error, error_size, "%s: cannot be read: %s", path, sl_strerror(code));
        sl_db_close(store->db);
    }
    if (code) {
        sl_free(store);
        return code;
    }
    *ret_store = store;
    return 0;
}

void sl_flow_store_close(sl_flow_store *store)
{
    if (!store)
        return;
    while (store->under_way > 0 || store->asking) {
        struct timespec moment = {0, 1000000};
        sl_mailbox_deliver(store->box);
        if (store->under_way > 0 || store->asking)
            (void)nanosleep(&moment, NULL); /* the writer syncs */
    }
    (void)sqlite3_close(store->reader);
    sl_db_close(store->db);
    sl_free(store);
}

void sl_flow_store_prune_tasks(sl_flow_store *store)
{
    sl_flow_store_put(store,
                      "delete from tasks where id not in (select id from flow_runs) and number < "
                      "(select max(t.number) from tasks t join flow_runs r on r.id = t.id)",
                      NULL, 0);
}
