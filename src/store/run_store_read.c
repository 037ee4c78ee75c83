/* Reads runs, steps and events: one statement each, bounded. */
#include <stdlib.h>

#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/store/run_store_impl.h"

/* ---- statements ---- */

static int prepare(sl_run_store *store, const char *text, sqlite3_stmt **ret_statement)
{
    return sqlite3_prepare_v2(sl_run_store_reader(store), text, -1, ret_statement, NULL) == SQLITE_OK ? 0 : SL_EIO;
}

static void put(sqlite3_stmt *s, int at, sl_str text)
{
    (void)sqlite3_bind_text64(s, at, text.len ? text.ptr : "", text.len, SQLITE_STATIC, SQLITE_UTF8);
}

static sl_str column(sqlite3_stmt *s, int at)
{
    const unsigned char *text = sqlite3_column_text(s, at);
    return sl_str_of((const char *)text, text ? (size_t)sqlite3_column_bytes(s, at) : 0);
}

/* A step of the statement: 1 a row, 0 the end. */
static int next(sqlite3_stmt *s)
{
    int code = sqlite3_step(s);
    return code == SQLITE_ROW ? 1 : code == SQLITE_DONE ? 0 : SL_EIO;
}

/* What was made of rows since: SL_ENOMEM when a piece of it found no memory, and so may be missing. */
static int whole_since(size_t memory_failures)
{
    return sl_mem_failures() == memory_failures ? 0 : SL_ENOMEM;
}

/* ---- values ---- */

static json_t *text_or_null(sqlite3_stmt *s, int at)
{
    sl_str text = column(s, at);
    json_t *value = text.len && sl_utf8_valid(text) ? json_stringn(text.ptr, text.len) : NULL;
    return value ? value : json_null(); /* what no JSON can hold does not take the whole page with it */
}

static json_t *json_or_null(sqlite3_stmt *s, int at)
{
    sl_str text = column(s, at);
    json_t *value = text.len ? json_loadb(text.ptr, text.len, JSON_DECODE_ANY, NULL) : NULL;
    return value ? value : json_null();
}

static json_t *time_or_null(sqlite3_stmt *s, int at)
{
    if (sqlite3_column_type(s, at) == SQLITE_NULL)
        return json_null();
    char text[SL_RFC3339_MS_LEN + 1];
    sl_rfc3339_ms((uint64_t)sqlite3_column_int64(s, at), text);
    return json_string(text);
}

/* The trace is known when the run is accepted; who executes it may say none. */
#define RUN_COLUMNS                                                                                                    \
    "id, workflow, status, error, error_type, idempotency_key, "                                                       \
    "coalesce(nullif(trace_id, ''), nullif(substr(traceparent, 4, 32), '')), created_ns, started_ns, ended_ns, "       \
    "input_tokens, output_tokens, cost_usd"
enum { AFTER_RUN = 13 }; /* columns of RUN_COLUMNS */

static json_t *run_of(sqlite3_stmt *s)
{
    sqlite3_int64 input = sqlite3_column_int64(s, 10), output = sqlite3_column_int64(s, 11);
    return json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:{s:I,s:I,s:I},s:f}", "run_id", text_or_null(s, 0),
                     "workflow", text_or_null(s, 1), "status", text_or_null(s, 2), "error", text_or_null(s, 3),
                     "error_type", text_or_null(s, 4), "idempotency_key", text_or_null(s, 5), "trace_id",
                     text_or_null(s, 6), "created", time_or_null(s, 7), "started", time_or_null(s, 8), "ended",
                     time_or_null(s, 9), "tokens", "input", (json_int_t)input, "output", (json_int_t)output, "total",
                     (json_int_t)(input + output), "cost_usd", sqlite3_column_double(s, 12));
}

/* Appends what `make` gives for each row. Finalizes the statement. */
static int collect(sqlite3_stmt *s, json_t *(*make)(sqlite3_stmt *s), json_t **ret_list)
{
    size_t failures = sl_mem_failures();
    json_t *list = json_array();
    int code = list ? 1 : SL_ENOMEM;
    while (code > 0 && (code = next(s)) > 0) {
        if (json_array_append_new(list, make(s)) != 0)
            code = SL_ENOMEM;
    }
    (void)sqlite3_finalize(s);
    code = code ? code : whole_since(failures);
    if (code < 0)
        json_decref(list);
    else
        *ret_list = list;
    return code;
}

/* ---- a run ---- */

static json_t *step_of(sqlite3_stmt *s)
{
    return json_pack("{s:o,s:o,s:o,s:I,s:f,s:o,s:o}", "id", text_or_null(s, 0), "type", text_or_null(s, 1), "status",
                     text_or_null(s, 2), "attempts", (json_int_t)sqlite3_column_int64(s, 3), "duration_ms",
                     (double)(sqlite3_column_int64(s, 4) / 1000) / 1e3, "error", text_or_null(s, 5), "error_type",
                     text_or_null(s, 6));
}

static int steps_of(sl_run_store *store, sl_str run_id, json_t **ret_steps)
{
    sqlite3_stmt *s;
    int error = prepare(store,
                        "select path, type, status, attempts, duration_ns, error, error_type from flow_steps where run "
                        "= ?1 order by ended_ns limit ?2",
                        &s);
    if (error)
        return error;
    put(s, 1, run_id);
    (void)sqlite3_bind_int64(s, 2, SL_RUN_STORE_PAGE);
    return collect(s, step_of, ret_steps);
}

int sl_run_store_get(sl_run_store *store, sl_str run_id, json_t **ret_run)
{
    if (!store || !ret_run)
        return SL_EINVAL;
    sqlite3_stmt *s;
    int error = prepare(store, "select " RUN_COLUMNS ", inputs, outputs from flow_runs where id = ?1", &s);
    if (error)
        return error;
    put(s, 1, run_id);
    size_t failures = sl_mem_failures();
    int code = next(s);
    json_t *run = code > 0 ? run_of(s) : NULL;
    if (run) {
        (void)json_object_set_new(run, "inputs", json_or_null(s, AFTER_RUN));
        (void)json_object_set_new(run, "outputs", json_or_null(s, AFTER_RUN + 1));
    }
    (void)sqlite3_finalize(s);
    if (!run)
        return code > 0 ? SL_ENOMEM : code < 0 ? code : SL_ENOENT;
    json_t *steps = NULL;
    error = steps_of(store, run_id, &steps);
    if (!error && json_object_set_new(run, "steps", steps) != 0)
        error = SL_ENOMEM;
    error = error ? error : whole_since(failures);
    if (error) {
        json_decref(run);
        return error;
    }
    *ret_run = run;
    return 0;
}

bool sl_run_store_is_over(sl_run_store *store, sl_str run_id)
{
    sqlite3_stmt *s;
    if (!store ||
        prepare(
            store,
            "select 1 from flow_runs where id = ?1 and ended_ns is not null and error_type is not '" SL_RUN_DEAD_LETTER
            "'",
            &s) != 0)
        return false;
    put(s, 1, run_id);
    bool over = next(s) > 0;
    (void)sqlite3_finalize(s);
    return over;
}

int sl_run_store_list(sl_run_store *store, const sl_run_query *query, json_t **ret_runs)
{
    if (!store || !query || !ret_runs)
        return SL_EINVAL;
    sqlite3_stmt *s;
    int error =
        prepare(store,
                "select " RUN_COLUMNS " from flow_runs where (?1 = '' or workflow = ?1) and (?2 = '' or status "
                "= ?2) and (?3 = '' or seq < (select seq from flow_runs where id = ?3)) order by seq desc limit "
                "?4",
                &s);
    if (error)
        return error;
    size_t limit = query->limit ? query->limit : 100;
    put(s, 1, query->workflow);
    put(s, 2, query->status);
    put(s, 3, query->before);
    (void)sqlite3_bind_int64(s, 4, (sqlite3_int64)(limit < SL_RUN_STORE_PAGE ? limit : SL_RUN_STORE_PAGE));
    return collect(s, run_of, ret_runs);
}

/* ---- events ---- */

static int run_exists(sl_run_store *store, sl_str run_id)
{
    sqlite3_stmt *s;
    int error = prepare(store, "select 1 from flow_runs where id = ?1", &s);
    if (error)
        return error;
    put(s, 1, run_id);
    int code = next(s);
    (void)sqlite3_finalize(s);
    return code > 0 ? 0 : code < 0 ? code : SL_ENOENT;
}

static json_t *event_of(sqlite3_stmt *s)
{
    return json_or_null(s, 0);
}

int sl_run_store_events(sl_run_store *store, sl_str run_id, uint64_t after, size_t limit, json_t **ret_events)
{
    if (!store || !ret_events)
        return SL_EINVAL;
    int error = run_exists(store, run_id);
    sqlite3_stmt *s;
    if (!error)
        error = prepare(store, "select body from flow_events where run = ?1 and seq > ?2 order by seq limit ?3", &s);
    if (error)
        return error;
    if (!limit || limit > SL_RUN_STORE_PAGE)
        limit = SL_RUN_STORE_PAGE;
    put(s, 1, run_id);
    (void)sqlite3_bind_int64(s, 2, (sqlite3_int64)(after < INT64_MAX ? after : INT64_MAX));
    (void)sqlite3_bind_int64(s, 3, (sqlite3_int64)limit);
    return collect(s, event_of, ret_events);
}

/* ---- what has not ended ---- */

/* Path to what the executor takes up again. */
static int ended_steps(sl_run_store *store, sl_str run_id, json_t **ret_steps)
{
    sqlite3_stmt *s;
    size_t failures = sl_mem_failures();
    json_t *steps = json_object();
    int code =
        steps ? prepare(store, "select path, status, attempts, value from flow_steps where run = ?1", &s) : SL_ENOMEM;
    if (code) {
        json_decref(steps);
        return code;
    }
    put(s, 1, run_id);
    while ((code = next(s)) > 0) {
        sl_str path = column(s, 0);
        json_t *step = json_pack("{s:o,s:I,s:o}", "status", text_or_null(s, 1), "attempts",
                                 (json_int_t)sqlite3_column_int64(s, 2), "value", json_or_null(s, 3));
        if (json_object_setn_new(steps, path.ptr, path.len, step) != 0) {
            code = SL_ENOMEM;
            break;
        }
    }
    (void)sqlite3_finalize(s);
    code = code ? code : whole_since(failures); /* a step without its value would be taken up as if it had none */
    if (code < 0)
        json_decref(steps);
    else
        *ret_steps = steps;
    return code;
}

static int last_seq(sl_run_store *store, sl_str run_id, uint64_t *ret_seq)
{
    sqlite3_stmt *s;
    int error = prepare(store, "select coalesce(max(seq), 0) from flow_events where run = ?1", &s);
    if (error)
        return error;
    put(s, 1, run_id);
    int code = next(s);
    *ret_seq = code > 0 ? (uint64_t)sqlite3_column_int64(s, 0) : 0;
    (void)sqlite3_finalize(s);
    return code > 0 ? 0 : SL_EIO;
}

static int tell(sl_run_store *store, sqlite3_stmt *s, int (*fn)(void *user, const sl_run_left *left), void *user)
{
    sl_run_left left = {.run = {.id = column(s, 0),
                                .workflow = column(s, 1),
                                .hash = column(s, 2),
                                .source = column(s, 3),
                                .inputs = column(s, 4),
                                .idempotency_key = column(s, 5),
                                .traceparent = column(s, 6),
                                .max_concurrency = (uint64_t)sqlite3_column_int64(s, 7),
                                .timeout_ms = (uint64_t)sqlite3_column_int64(s, 8),
                                .created_ns = (uint64_t)sqlite3_column_int64(s, 9)},
                        .unsent = sqlite3_column_type(s, 10) != SQLITE_NULL,
                        .reopened = sqlite3_column_type(s, 11) != SQLITE_NULL};
    int error = ended_steps(store, left.run.id, &left.steps);
    if (!error)
        error = last_seq(store, left.run.id, &left.last_seq);
    if (!error)
        error = fn(user, &left);
    json_decref(left.steps);
    return error;
}

#define LEFT                                                                                                           \
    "select id, workflow, r.hash, source, inputs, idempotency_key, traceparent, max_concurrency, timeout_ms, "         \
    "created_ns, u.run, p.run from flow_runs r join flow_sources f on f.hash = r.hash left join flow_unsent u on "     \
    "u.run = r.id left join flow_reopened p on p.run = r.id where "

int sl_run_store_one_left(sl_run_store *store, sl_str run_id, int (*fn)(void *user, const sl_run_left *left),
                          void *user)
{
    if (!store || !fn)
        return SL_EINVAL;
    sqlite3_stmt *s;
    int error = prepare(store, LEFT "(ended_ns is null or error_type = '" SL_RUN_DEAD_LETTER "') and id = ?1", &s);
    if (error)
        return error;
    put(s, 1, run_id);
    int code = next(s);
    if (code > 0)
        error = tell(store, s, fn, user);
    (void)sqlite3_finalize(s);
    return code > 0 ? error : code < 0 ? code : SL_ENOENT;
}

int sl_run_store_each_left(sl_run_store *store, int (*fn)(void *user, const sl_run_left *left), void *user)
{
    if (!store || !fn)
        return SL_EINVAL;
    sqlite3_stmt *s;
    int error = prepare(store, LEFT "ended_ns is null order by seq", &s);
    if (error)
        return error;
    int code;
    while ((code = next(s)) > 0 && !error)
        error = tell(store, s, fn, user);
    (void)sqlite3_finalize(s);
    return error ? error : code;
}
