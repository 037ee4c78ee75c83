/*
 * Runs on disk. Every write is a job of the database's writer thread, with copies of all it needs; its outcome comes
 * back to the loop by a list and a wake-up.
 *
 * A write that the database has no room for waits here, in order, until earlier ones are done: nothing is dropped for
 * want of room but the acceptance of new runs.
 */
#include "src/store/run_store.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/arena.h"
#include "src/base/mem.h"
#include "src/store/run_store_impl.h"

#define JOB_BLOCK_BYTES 1024u
#define JOB_MAX_BYTES (256u * 1024 * 1024)

typedef struct job job;

struct job {
    job *next;
    sl_run_store *store;
    sl_arena arena;
    int (*run)(job *j, sqlite3 *db);
    int error;
    union {
        sl_run_new accept;
        sl_run_step_row step;
        sl_run_end_row end;
        struct {
            sl_str run_id, text;
            uint64_t number;
        } other;
    } of;
    sl_run_accepted_fn fn;
    void *user;
    char found[64]; /* id of the run that had been accepted before */
    bool anew;      /* and its message was not taken: it begins now */
};

typedef struct job_list {
    job *first, *last;
} job_list;

struct sl_run_store {
    sl_loop *loop;
    sl_db *db;
    sqlite3 *reader;
    uv_async_t wake;
    bool closed;
    job_list waiting; /* for room in the database; loop's thread */
    size_t given;     /* to the database, not yet seen done; loop's thread */
    uint64_t failures;
    pthread_mutex_t lock;
    job_list done; /* locked */
};

static const char schema[] =
    "create table if not exists flow_sources(hash text primary key, source text not null) strict, without rowid;"
    "create table if not exists flow_runs(seq integer primary key, id text not null unique, workflow text not null,"
    " hash text not null, inputs text not null, idempotency_key text, traceparent text not null, status text not null,"
    " max_concurrency integer not null, timeout_ms integer not null, created_ns integer not null, started_ns integer,"
    " ended_ns integer, trace_id text, error text, error_type text, outputs text, input_tokens integer not null default"
    " 0, output_tokens integer not null default 0, cost_usd real not null default 0) strict;"
    "create unique index if not exists flow_runs_key on flow_runs(workflow, idempotency_key)"
    " where idempotency_key is not null;"
    "create index if not exists flow_runs_left on flow_runs(seq) where ended_ns is null;"
    "create index if not exists flow_runs_ended on flow_runs(ended_ns) where ended_ns is not null;"
    "create table if not exists flow_steps(run text not null, path text not null, type text not null, status text not"
    " null, attempts integer not null, value text, error text, error_type text, ended_ns integer not null, duration_ns"
    " integer not null, input_tokens integer not null, output_tokens integer not null, cost_usd real not null,"
    " primary key(run, path)) strict, without rowid;"
    "create table if not exists flow_events(run text not null, seq integer not null, body text not null,"
    " primary key(run, seq)) strict, without rowid;"
    /* Runs whose message may not be in the queue: a crash came between the two files. */
    "create table if not exists flow_unsent(run text primary key) strict, without rowid;"
    /* Of these, those that have had a message before, whose key is taken. */
    "create table if not exists flow_reopened(run text primary key) strict, without rowid;";

static int write_prune(job *j, sqlite3 *db);

/* ---- jobs ---- */

static void list_add(job_list *list, job *j)
{
    j->next = NULL;
    if (list->last)
        list->last->next = j;
    else
        list->first = j;
    list->last = j;
}

static job *list_take(job_list *list)
{
    job *j = list->first;
    if (j) {
        list->first = j->next;
        if (!list->first)
            list->last = NULL;
    }
    return j;
}

static void list_put_back(job_list *list, job *j)
{
    j->next = list->first;
    list->first = j;
    if (!list->last)
        list->last = j;
}

static job *job_new(sl_run_store *store, int (*run)(job *j, sqlite3 *db))
{
    job *j = sl_calloc(1, sizeof *j);
    if (!j)
        return NULL;
    j->store = store;
    j->run = run;
    sl_arena_init(&j->arena, JOB_BLOCK_BYTES, JOB_MAX_BYTES);
    return j;
}

static void job_free(job *j)
{
    if (!j)
        return;
    sl_arena_done(&j->arena);
    sl_free(j);
}

/* Copies a view into the job; false: no memory. */
static bool keep(job *j, sl_str *view)
{
    if (!view->len)
        return true;
    *view = sl_arena_dup(&j->arena, *view);
    return view->ptr != NULL;
}

static int job_run(void *user, sqlite3 *db)
{
    job *j = user;
    return j->run(j, db);
}

static void job_done(void *user, int error)
{
    job *j = user;
    sl_run_store *store = j->store;
    j->error = error;
    pthread_mutex_lock(&store->lock);
    bool first = !store->done.first;
    list_add(&store->done, j);
    if (first)
        (void)uv_async_send(&store->wake);
    pthread_mutex_unlock(&store->lock);
}

static int give(sl_run_store *store, job *j)
{
    const sl_db_job given = {
        .run = job_run, .done = job_done, .user = j, .plain = j->run != write_prune, .rerun = true};
    int error = sl_db_submit(store->db, &given);
    store->given += error == 0;
    return error;
}

/* In order: what waits goes first. The room may be taken by others of the same database, whose ends nobody tells here:
 * then it is asked for again at the next turn of the loop. */
static void submit(sl_run_store *store, job *j)
{
    if (!j) {
        store->failures++;
        return;
    }
    int error = store->waiting.first ? SL_EAGAIN : give(store, j);
    if (error == SL_EAGAIN) {
        list_add(&store->waiting, j);
        if (!store->given)
            (void)uv_async_send(&store->wake);
    } else if (error) {
        store->failures++;
        job_free(j);
    }
}

static void settle(sl_run_store *store, job *j)
{
    store->given--;
    if (j->fn) {
        bool found = j->found[0] != 0;
        j->fn(j->user, j->error, found ? sl_str_c(j->found) : j->of.accept.id, found && !j->anew);
    } else if (j->error) {
        store->failures++;
    }
    job_free(j);
}

static void on_wake(uv_async_t *wake)
{
    sl_run_store *store = wake->data;
    pthread_mutex_lock(&store->lock);
    job_list done = store->done;
    store->done = (job_list){NULL, NULL};
    pthread_mutex_unlock(&store->lock);
    for (job *j; (j = list_take(&done));)
        settle(store, j);
    for (job *j; (j = list_take(&store->waiting));) { /* once given it may be in the list `done` already */
        int error = give(store, j);
        if (error == SL_EAGAIN) {
            list_put_back(&store->waiting, j);
            if (!store->given && !store->closed)
                (void)uv_async_send(&store->wake);
            break;
        }
        if (error) {
            store->failures++;
            job_free(j);
        }
    }
}

/* ---- statements ---- */

/* A kept statement, ready to be bound. NULL: it cannot be. */
static sqlite3_stmt *prepare(job *j, const char *text)
{
    return sl_db_statement(j->store->db, text);
}

static void put(sqlite3_stmt *s, int at, sl_str text)
{
    if (text.len)
        (void)sqlite3_bind_text64(s, at, text.ptr, text.len, SQLITE_STATIC, SQLITE_UTF8);
    else
        (void)sqlite3_bind_null(s, at);
}

/* ---- what is written ---- */

#define INSERT_UNSENT "insert or ignore into flow_unsent(run) values(?1)"
#define NOT_TAKEN "ifnull(error_type = '" SL_RUN_NOT_TAKEN "', 0)"
#define NOT_ENDED "(ended_ns is null or error_type = '" SL_RUN_DEAD_LETTER "')"

/* 1: found. */
static int find_accepted(job *j)
{
    const sl_run_new *r = &j->of.accept;
    sqlite3_stmt *s = prepare(j, "select id, " NOT_TAKEN " from flow_runs where id = ?1 union all select id, " NOT_TAKEN
                                 " from flow_runs where workflow = ?2 and idempotency_key = ?3 limit 1");
    if (!s)
        return SL_EIO;
    put(s, 1, r->id);
    sl_db_bind_text(s, 2, r->workflow);
    put(s, 3, r->idempotency_key);
    int code = sqlite3_step(s);
    if (code == SQLITE_ROW) {
        (void)sl_str_to_c(sl_str_of((const char *)sqlite3_column_text(s, 0), (size_t)sqlite3_column_bytes(s, 0)),
                          j->found, sizeof j->found);
        j->anew = sqlite3_column_int(s, 1) != 0;
    }
    (void)sqlite3_reset(s);
    return code == SQLITE_ROW ? 1 : sl_db_error(code);
}

/* A statement about a run. */
static int write_id(job *j, const char *text, sl_str run_id)
{
    sqlite3_stmt *s = prepare(j, text);
    if (!s)
        return SL_EIO;
    put(s, 1, run_id);
    return sl_db_exec(s);
}

static int write_source(job *j)
{
    const sl_run_new *r = &j->of.accept;
    sqlite3_stmt *s = prepare(j, "insert or ignore into flow_sources(hash, source) values(?1, ?2)");
    if (!s)
        return SL_EIO;
    sl_db_bind_text(s, 1, r->hash);
    sl_db_bind_text(s, 2, r->source);
    return sl_db_exec(s);
}

static int write_run(job *j)
{
    const sl_run_new *r = &j->of.accept;
    sqlite3_stmt *s =
        prepare(j, "insert into flow_runs(id, workflow, hash, inputs, idempotency_key, traceparent, status, "
                   "max_concurrency, timeout_ms, created_ns) values(?1, ?2, ?3, ?4, ?5, ?6, 'queued', ?7, ?8, ?9)");
    if (!s)
        return SL_EIO;
    sl_db_bind_text(s, 1, r->id);
    sl_db_bind_text(s, 2, r->workflow);
    sl_db_bind_text(s, 3, r->hash);
    sl_db_bind_text(s, 4, r->inputs);
    put(s, 5, r->idempotency_key);
    sl_db_bind_text(s, 6, r->traceparent);
    (void)sqlite3_bind_int64(s, 7, (sqlite3_int64)r->max_concurrency);
    (void)sqlite3_bind_int64(s, 8, (sqlite3_int64)r->timeout_ms);
    (void)sqlite3_bind_int64(s, 9, (sqlite3_int64)r->created_ns);
    return sl_db_exec(s);
}

/* The run that was found begins: with what its accepter says now. */
static int write_anew(job *j)
{
    const sl_run_new *r = &j->of.accept;
    sqlite3_stmt *s = prepare(j, "update flow_runs set status = 'queued', hash = ?2, inputs = ?3, traceparent = ?4, "
                                 "ended_ns = null, error = null, error_type = null, outputs = null where id = ?1");
    if (!s)
        return SL_EIO;
    put(s, 1, sl_str_c(j->found));
    sl_db_bind_text(s, 2, r->hash);
    sl_db_bind_text(s, 3, r->inputs);
    sl_db_bind_text(s, 4, r->traceparent);
    return sl_db_exec(s);
}

/* Half of a job must never be committed with the rest of its group: a run that was refused would wait for ever. */
static int undo(sqlite3 *db, int error)
{
    if (error && !sqlite3_get_autocommit(db))
        (void)sqlite3_exec(db, "rollback", NULL, NULL, NULL);
    return error;
}

static int write_accept(job *j, sqlite3 *db)
{
    j->found[0] = 0;
    j->anew = false;
    int error = find_accepted(j);
    if (error < 0 || (error && !j->anew))
        return error > 0 ? 0 : error;
    error = write_source(j);
    if (!error)
        error = j->anew ? write_anew(j) : write_run(j);
    if (!error)
        error = write_id(j, INSERT_UNSENT, j->anew ? sl_str_c(j->found) : j->of.accept.id);
    return undo(db, error);
}

int sl_run_store_accept(sl_run_store *store, const sl_run_new *run, sl_run_accepted_fn fn, void *user)
{
    if (!store || !run || !fn || !run->id.len || run->id.len >= sizeof((job *)0)->found)
        return SL_EINVAL;
    if (store->closed)
        return SL_ECLOSED;
    job *j = job_new(store, write_accept);
    if (!j)
        return SL_ENOMEM;
    j->of.accept = *run;
    j->fn = fn;
    j->user = user;
    sl_run_new *r = &j->of.accept;
    bool kept = keep(j, &r->id) && keep(j, &r->workflow) && keep(j, &r->hash) && keep(j, &r->source) &&
                keep(j, &r->inputs) && keep(j, &r->idempotency_key) && keep(j, &r->traceparent);
    int error = !kept ? SL_ENOMEM : store->waiting.first ? SL_EAGAIN : give(store, j);
    if (error)
        job_free(j);
    return error;
}

static int write_started(job *j, sqlite3 *db)
{
    (void)db;
    sqlite3_stmt *s = prepare(j, "update flow_runs set status = 'running', started_ns = coalesce(started_ns, ?2), "
                                 "trace_id = ?3, ended_ns = null, error = null, error_type = null, outputs = null "
                                 "where id = ?1 and " NOT_ENDED);
    if (!s)
        return SL_EIO;
    put(s, 1, j->of.other.run_id);
    (void)sqlite3_bind_int64(s, 2, (sqlite3_int64)j->of.other.number);
    put(s, 3, j->of.other.text);
    return sl_db_exec(s);
}

/* A job of a run's id, a text and a number. */
static job *other_job(sl_run_store *store, int (*run)(job *j, sqlite3 *db), sl_str id, sl_str text, uint64_t number)
{
    job *j = store->closed ? NULL : job_new(store, run);
    if (!j)
        return NULL;
    j->of.other.run_id = id;
    j->of.other.text = text;
    j->of.other.number = number;
    if (keep(j, &j->of.other.run_id) && keep(j, &j->of.other.text))
        return j;
    job_free(j);
    return NULL;
}

void sl_run_store_started(sl_run_store *store, sl_str run_id, uint64_t start_ns, sl_str trace_id)
{
    SL_ASSERT(store);
    submit(store, other_job(store, write_started, run_id, trace_id, start_ns));
}

static int write_sent(job *j, sqlite3 *db)
{
    int error = write_id(j, "delete from flow_unsent where run = ?1", j->of.other.run_id);
    return undo(db, error ? error : write_id(j, "delete from flow_reopened where run = ?1", j->of.other.run_id));
}

void sl_run_store_sent(sl_run_store *store, sl_str run_id)
{
    SL_ASSERT(store);
    submit(store, other_job(store, write_sent, run_id, sl_str_of("", 0), 0));
}

static int write_reopened(job *j, sqlite3 *db)
{
    sqlite3_stmt *s = prepare(j, "update flow_runs set status = 'queued', ended_ns = null, error = null, error_type = "
                                 "null, outputs = null where id = ?1 and status in ('failed', 'cancelled')");
    if (!s)
        return SL_EIO;
    put(s, 1, j->of.other.run_id);
    int error = sl_db_exec(s);
    if (!error)
        error = write_id(j, INSERT_UNSENT, j->of.other.run_id);
    return undo(db,
                error ? error : write_id(j, "insert or ignore into flow_reopened(run) values(?1)", j->of.other.run_id));
}

void sl_run_store_reopen(sl_run_store *store, sl_str run_id)
{
    SL_ASSERT(store);
    submit(store, other_job(store, write_reopened, run_id, sl_str_of("", 0), 0));
}

static bool is_event(const job *j, const char *name)
{
    char head[64];
    (void)snprintf(head, sizeof head, "{\"seq\":%llu,\"event\":\"%s\"", (unsigned long long)j->of.other.number, name);
    return sl_str_starts(j->of.other.text, sl_str_c(head));
}

/*
 * After a crash two may work on one run for a while, each with numbers of its own. Behind an end there is nothing but a
 * new beginning, and an end is none when others have gone on already: who reads the events meets one end, the last.
 */
static int write_event(job *j, sqlite3 *db)
{
    (void)db;
    sqlite3_stmt *s = prepare(
        j, "insert into flow_events(run, seq, body) select ?1, ?2, ?3 where (?4 or not exists(select 1 from flow_events"
           " where run = ?1 and seq = (select max(seq) from flow_events where run = ?1 and seq < ?2)"
           " and body like '{\"seq\":' || seq || ',\"event\":\"run_ended\"%'))"
           " and (not ?5 or not exists(select 1 from flow_events where run = ?1 and seq > ?2)) on conflict do nothing");
    if (!s)
        return SL_EIO;
    put(s, 1, j->of.other.run_id);
    (void)sqlite3_bind_int64(s, 2, (sqlite3_int64)j->of.other.number);
    sl_db_bind_text(s, 3, j->of.other.text);
    (void)sqlite3_bind_int(s, 4, is_event(j, "run_started"));
    (void)sqlite3_bind_int(s, 5, is_event(j, "run_ended"));
    return sl_db_exec(s);
}

void sl_run_store_event(sl_run_store *store, sl_str run_id, uint64_t seq, sl_str body)
{
    SL_ASSERT(store && seq > 0);
    submit(store, other_job(store, write_event, run_id, body, seq));
}

static int write_step(job *j, sqlite3 *db)
{
    (void)db;
    const sl_run_step_row *r = &j->of.step;
    sqlite3_stmt *s = prepare(
        j, "insert or replace into flow_steps(run, path, type, status, attempts, value, error, error_type, ended_ns, "
           "duration_ns, input_tokens, output_tokens, cost_usd) values(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, "
           "?12, ?13)");
    if (!s)
        return SL_EIO;
    sl_db_bind_text(s, 1, r->run_id);
    sl_db_bind_text(s, 2, r->path);
    sl_db_bind_text(s, 3, r->type);
    sl_db_bind_text(s, 4, r->status);
    (void)sqlite3_bind_int64(s, 5, r->attempts);
    put(s, 6, r->value);
    put(s, 7, r->error);
    put(s, 8, r->error_type);
    (void)sqlite3_bind_int64(s, 9, (sqlite3_int64)r->end_ns);
    (void)sqlite3_bind_int64(s, 10, (sqlite3_int64)r->duration_ns);
    (void)sqlite3_bind_int64(s, 11, (sqlite3_int64)r->input_tokens);
    (void)sqlite3_bind_int64(s, 12, (sqlite3_int64)r->output_tokens);
    (void)sqlite3_bind_double(s, 13, r->cost_usd);
    return sl_db_exec(s);
}

void sl_run_store_step(sl_run_store *store, const sl_run_step_row *step)
{
    SL_ASSERT(store && step);
    job *j = store->closed ? NULL : job_new(store, write_step);
    if (j) {
        j->of.step = *step;
        sl_run_step_row *r = &j->of.step;
        if (!keep(j, &r->run_id) || !keep(j, &r->path) || !keep(j, &r->type) || !keep(j, &r->status) ||
            !keep(j, &r->value) || !keep(j, &r->error) || !keep(j, &r->error_type)) {
            job_free(j);
            j = NULL;
        }
    }
    submit(store, j);
}

/* The last event of a run whose end was told by a worker, and that one's last event was not: for want of it, or as
 * another works on the run, too, whose events came in between. There is none of workers that tell no beginning. */
static int write_last_event(job *j)
{
    sqlite3_stmt *s = prepare(
        j,
        "insert into flow_events(run, seq, body) select ?1, seq + 1, json_object('seq', seq + 1, 'event', 'run_ended', "
        "'time', strftime('%Y-%m-%dT%H:%M:%fZ', ?2 / 1e9, 'unixepoch'), 'run_id', ?1, 'status', ?3) from flow_events "
        "where run = ?1 and seq = (select max(seq) from flow_events where run = ?1)"
        " and body not like '{\"seq\":' || seq || ',\"event\":\"run_ended\"%'"
        " and exists(select 1 from flow_events where run = ?1 and body like '{\"seq\":' || seq ||"
        " ',\"event\":\"run_started\"%') on conflict do nothing");
    if (!s)
        return SL_EIO;
    put(s, 1, j->of.end.run_id);
    (void)sqlite3_bind_int64(s, 2, (sqlite3_int64)j->of.end.end_ns);
    sl_db_bind_text(s, 3, j->of.end.status);
    return sl_db_exec(s);
}

static int write_end(job *j, sqlite3 *db)
{
    const sl_run_end_row *r = &j->of.end;
    sqlite3_stmt *s =
        prepare(j, "update flow_runs set status = ?2, error = ?3, error_type = ?4, outputs = ?5, ended_ns "
                   "= ?6, input_tokens = input_tokens + ?7, output_tokens = output_tokens + ?8, cost_usd "
                   "= cost_usd + ?9 where id = ?1 and " NOT_ENDED);
    if (!s)
        return SL_EIO;
    put(s, 1, r->run_id);
    sl_db_bind_text(s, 2, r->status);
    put(s, 3, r->error);
    put(s, 4, r->error_type);
    put(s, 5, r->outputs);
    (void)sqlite3_bind_int64(s, 6, (sqlite3_int64)r->end_ns);
    (void)sqlite3_bind_int64(s, 7, (sqlite3_int64)r->input_tokens);
    (void)sqlite3_bind_int64(s, 8, (sqlite3_int64)r->output_tokens);
    (void)sqlite3_bind_double(s, 9, r->cost_usd);
    int error = sl_db_exec(s);
    if (!error && r->ends_events && sqlite3_changes(db) > 0)
        error = write_last_event(j);
    return undo(db, error);
}

void sl_run_store_ended(sl_run_store *store, const sl_run_end_row *end)
{
    SL_ASSERT(store && end && end->status.len);
    job *j = store->closed ? NULL : job_new(store, write_end);
    if (j) {
        j->of.end = *end;
        sl_run_end_row *r = &j->of.end;
        if (!keep(j, &r->run_id) || !keep(j, &r->status) || !keep(j, &r->error) || !keep(j, &r->error_type) ||
            !keep(j, &r->outputs)) {
            job_free(j);
            j = NULL;
        }
    }
    submit(store, j);
}

static int write_prune(job *j, sqlite3 *db)
{
    static const char *const texts[] = {
        "delete from flow_steps where run in (select id from flow_runs where ended_ns < %lld)",
        "delete from flow_events where run in (select id from flow_runs where ended_ns < %lld)",
        "delete from flow_runs where ended_ns < %lld",
        "delete from flow_steps where run not in (select id from flow_runs) and %lld", /* late words of workers */
        "delete from flow_events where run not in (select id from flow_runs) and %lld",
        "delete from flow_unsent where run not in (select id from flow_runs where ended_ns is null) and %lld",
        "delete from flow_reopened where run not in (select run from flow_unsent) and %lld",
        "delete from flow_sources where hash not in (select hash from flow_runs) and %lld"};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++) {
        char text[160];
        (void)sqlite3_snprintf(sizeof text, text, texts[i], (long long)j->of.other.number);
        if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
            return SL_EIO;
    }
    return 0;
}

void sl_run_store_prune(sl_run_store *store, uint64_t before_ns)
{
    SL_ASSERT(store);
    submit(store, other_job(store, write_prune, SL_STR("-"), SL_STR(""), before_ns ? before_ns : 1));
}

uint64_t sl_run_store_failures(const sl_run_store *store)
{
    return store->failures;
}

/* ---- life ---- */

/* Of runs that an older version has left nobody knows whether they have a message. */
static int make_tables(void *user, sqlite3 *db)
{
    (void)user;
    bool knows =
        sqlite3_table_column_metadata(db, NULL, "flow_unsent", "run", NULL, NULL, NULL, NULL, NULL) == SQLITE_OK;
    if (sqlite3_exec(db, schema, NULL, NULL, NULL) != SQLITE_OK)
        return SL_EIO;
    static const char all_left[] = "insert into flow_unsent select id from flow_runs where ended_ns is null";
    return knows || sqlite3_exec(db, all_left, NULL, NULL, NULL) == SQLITE_OK ? 0 : SL_EIO;
}

int sl_run_store_new(sl_loop *loop, sl_db *db, sl_run_store **ret_store)
{
    SL_ASSERT(loop && db && ret_store);
    sl_run_store *store = sl_calloc(1, sizeof *store);
    if (!store)
        return SL_ENOMEM;
    store->loop = loop;
    store->db = db;
    int error = sl_db_run(db, make_tables, NULL);
    if (!error)
        error = sl_db_reader(db, &store->reader);
    if (!error && uv_async_init(&loop->uv, &store->wake, on_wake) != 0)
        error = SL_EIO;
    if (error) {
        (void)sqlite3_close(store->reader);
        sl_free(store);
        return error;
    }
    (void)pthread_mutex_init(&store->lock, NULL);
    store->wake.data = store;
    *ret_store = store;
    return 0;
}

static int nothing(void *user, sqlite3 *db)
{
    (void)user;
    (void)db;
    return 0;
}

void sl_run_store_close(sl_run_store *store)
{
    if (!store || store->closed)
        return;
    store->closed = true;
    while (store->given || store->waiting.first) {
        int error = sl_db_run(store->db, nothing, NULL); /* behind everything given so far */
        SL_ASSERT(error != SL_ECLOSED);                  /* whatever became of the commit, all before it are over */
        (void)error;
        for (job *j = store->waiting.first; j; j = j->next)
            j->fn = NULL;
        pthread_mutex_lock(&store->lock);
        for (job *j = store->done.first; j; j = j->next)
            j->fn = NULL;
        pthread_mutex_unlock(&store->lock);
        on_wake(&store->wake);
    }
    uv_close((uv_handle_t *)&store->wake, NULL);
}

void sl_run_store_free(sl_run_store *store)
{
    if (!store)
        return;
    SL_ASSERT(store->closed && !store->given && !store->waiting.first);
    (void)sqlite3_close(store->reader);
    (void)pthread_mutex_destroy(&store->lock);
    sl_free(store);
}

sqlite3 *sl_run_store_reader(sl_run_store *store)
{
    return store->reader;
}
