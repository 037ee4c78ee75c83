/* See pgvector_load.h. */
#include "src/store/pgvector_load.h"

#include <stdio.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "src/base/sync.h"
#include "src/store/pg_link.h"
#include "src/wire/json_write.h"

#define ANSWER_MS 300000u /* of one statement: a table's index takes its time */
#define MAX_TRIES 3
#define PART_BYTES (16u << 20) /* of rows as JSON, in one statement */
#define MAX_BATCH_BYTES (256u << 20)
#define NUMBER_BYTES 14 /* of a vector's number as text, about */

struct sl_pg_loader {
    char *conninfo;
    sl_libpq pq;
    sl_pg_link link;
    sl_pg_table table;
    char extension[SL_PG_NAME_BYTES]; /* its schema */
};

/* ---- statements ---- */

static const char *const operators[SL_VECTOR_METRICS] = {
    [SL_VECTOR_COSINE] = "vector_cosine_ops", [SL_VECTOR_DOT] = "vector_ip_ops", [SL_VECTOR_EUCLID] = "vector_l2_ops"};

/* NAME or SCHEMA.NAME as it is written: that of a table that is to be made. */
static void put_new_name(sl_sql *sql, sl_str table)
{
    char part[SL_PG_INDEX_BYTES];
    size_t dot = sl_str_chr(table, '.');
    if (dot != SL_NPOS && sl_str_to_c(sl_str_sub(table, 0, dot), part, sizeof part)) {
        sl_sql_put_name(sql, part);
        sl_sql_put(sql, ".");
        table = sl_str_sub(table, dot + 1, table.len);
    }
    if (sl_str_to_c(table, part, sizeof part))
        sl_sql_put_name(sql, part);
}

void sl_pg_put_create(sl_sql *sql, sl_str table, const char *extension, size_t dims)
{
    SL_ASSERT(sql && extension && dims);
    sl_sql_put(sql, "CREATE TABLE ");
    put_new_name(sql, table);
    sl_sql_put(sql,
               " (\"namespace\" text NOT NULL DEFAULT '', \"id\" text NOT NULL, \"metadata\" jsonb NOT NULL DEFAULT "
               "'{}', \"embedding\" ");
    sl_sql_put_name(sql, extension);
    (void)sl_buf_printf(&sql->text, ".vector(%zu) NOT NULL, PRIMARY KEY (\"namespace\", \"id\"))", dims);
}

void sl_pg_put_comment(sl_sql *sql, sl_str table, sl_vector_metric metric)
{
    SL_ASSERT(sql && metric < SL_VECTOR_METRICS);
    sl_sql_put(sql, "COMMENT ON COLUMN ");
    put_new_name(sql, table);
    (void)sl_buf_printf(&sql->text, ".\"embedding\" IS '%s'", operators[metric]);
}

static void put_table(sl_sql *sql, const sl_pg_table *table)
{
    sl_sql_put_name(sql, table->schema);
    sl_sql_put(sql, ".");
    sl_sql_put_name(sql, table->name);
}

/* "::schema.type" of a column. */
static void put_cast(sl_sql *sql, const sl_pg_column *c)
{
    sl_sql_put(sql, "::");
    sl_sql_put_name(sql, c->type_schema);
    sl_sql_put(sql, ".");
    sl_sql_put_name(sql, c->type);
}

static void put_rows(sl_sql *sql, sl_str batch)
{
    sl_sql_put(sql, " pg_catalog.jsonb_to_recordset(");
    sl_sql_put_value(sql, batch);
    sl_sql_put(sql, "::jsonb) AS r(s text, i text, m jsonb, e text)");
}

/* What the columns are, of a table that rows can be put into. */
static int writable(const sl_pg_table *table, char *reason, sl_pg_roles *ret_roles)
{
    static const sl_pg_names usual;
    int error = sl_pg_find_roles(table, &usual, reason, ret_roles);
    const char *wrong = NULL;
    if (!error && strcmp(table->name, "langchain_pg_embedding") == 0)
        wrong = "it is LangChain's of before, where rows belong to rows of another table; load it by LangChain";
    else if (!error && !ret_roles->metadata)
        wrong = "it has no column of metadata (metadata, metadata_, langchain_metadata or cmetadata, of type jsonb)";
    if (wrong) {
        (void)snprintf(reason, SL_PG_SQL_REASON, "table \"%s\": %s", table->name, wrong);
        error = SL_EINVAL;
    }
    return error;
}

int sl_pg_put_delete(sl_sql *sql, const sl_pg_table *table, sl_str batch, char *reason)
{
    SL_ASSERT(sql && table && table->count && reason);
    sl_pg_roles r;
    int error = writable(table, reason, &r);
    if (error)
        return error;
    sl_sql_put(sql, "DELETE FROM ");
    put_table(sql, table);
    sl_sql_put(sql, " t USING");
    put_rows(sql, batch);
    sl_sql_put(sql, " WHERE t.");
    sl_sql_put_name(sql, r.id->name);
    sl_sql_put(sql, " = r.i");
    put_cast(sql, r.id);
    sl_sql_put(sql, r.space ? " AND t." : " AND COALESCE(t.");
    sl_sql_put_name(sql, r.space ? r.space->name : r.metadata->name);
    sl_sql_put(sql, r.space ? "::text = r.s" : "::jsonb ->> 'namespace', '') = r.s");
    return 0;
}

/* Where there is a column of the content, the text of the metadata goes there. */
static void put_columns(sl_sql *sql, const sl_pg_roles *r, bool names)
{
    static const char is_text[] = "jsonb_typeof(r.m -> 'text') = 'string'";
    const struct {
        const sl_pg_column *column;
        const char *value;
    } parts[] = {{r->id, "r.i"}, {r->space, "r.s"}, {r->content, NULL}, {r->metadata, NULL}, {r->embedding, "r.e"}};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const sl_pg_column *c = parts[i].column;
        if (!c)
            continue;
        sl_sql_put(sql, i ? ", " : "");
        if (names) {
            sl_sql_put_name(sql, c->name);
            continue;
        }
        if (parts[i].value)
            sl_sql_put(sql, parts[i].value);
        else if (c == r->content)
            (void)sl_buf_printf(&sql->text, "CASE WHEN %s THEN r.m ->> 'text' ELSE '' END", is_text);
        else if (r->content)
            (void)sl_buf_printf(
                &sql->text, "(CASE WHEN %s THEN r.m - 'text' ELSE r.m END%s)", is_text,
                r->space ? "" : " || CASE WHEN r.s = '' THEN '{}' ELSE jsonb_build_object('namespace', r.s) END");
        else
            (void)sl_buf_printf(
                &sql->text, "(r.m%s)",
                r->space ? "" : " || CASE WHEN r.s = '' THEN '{}' ELSE jsonb_build_object('namespace', r.s) END");
        put_cast(sql, c);
    }
}

int sl_pg_put_insert(sl_sql *sql, const sl_pg_table *table, sl_str batch, char *reason)
{
    SL_ASSERT(sql && table && table->count && reason);
    sl_pg_roles r;
    int error = writable(table, reason, &r);
    if (error)
        return error;
    sl_sql_put(sql, "INSERT INTO ");
    put_table(sql, table);
    sl_sql_put(sql, " (");
    put_columns(sql, &r, true);
    sl_sql_put(sql, ") SELECT ");
    put_columns(sql, &r, false);
    sl_sql_put(sql, " FROM");
    put_rows(sql, batch);
    return 0;
}

/* ---- rows as JSON ---- */

static bool is_replaced(const sl_vector_row *rows, size_t i, size_t count)
{
    for (size_t k = i + 1; k < count; k++)
        if (sl_str_eq(rows[k].id, rows[i].id) && sl_str_eq(rows[k].space, rows[i].space))
            return true;
    return false;
}

static void put_vector(sl_buf *text, const sl_vector_row *row)
{
    (void)sl_buf_put_char(text, '[');
    for (size_t i = 0; i < row->dims; i++) {
        if (i)
            (void)sl_buf_put_char(text, ',');
        (void)sl_buf_put_double(text, (double)row->vector[i]);
    }
    (void)sl_buf_put_char(text, ']');
}

static void write_row(sl_jw *w, sl_buf *scratch, const sl_vector_row *row)
{
    sl_buf_clear(scratch);
    put_vector(scratch, row);
    if (scratch->failed)
        w->error = SL_ENOMEM;
    sl_jw_object(w);
    sl_jw_key(w, SL_STR("s"));
    sl_jw_str(w, row->space);
    sl_jw_key(w, SL_STR("i"));
    sl_jw_str(w, row->id);
    sl_jw_key(w, SL_STR("m"));
    sl_jw_raw(w, row->metadata.len ? row->metadata : SL_STR("{}"));
    sl_jw_key(w, SL_STR("e"));
    sl_jw_str(w, sl_buf_str(scratch));
    sl_jw_end(w);
}

char *sl_pg_load_batch(const sl_vector_row *rows, size_t count)
{
    SL_ASSERT(rows || !count);
    sl_buf out, scratch;
    sl_jw w;
    char *text = NULL;
    size_t len;
    sl_buf_init(&out, MAX_BATCH_BYTES);
    sl_buf_init(&scratch, 32u * SL_MAX_VECTOR_DIMS);
    sl_jw_init(&w, &out);
    sl_jw_array(&w);
    for (size_t i = 0; i < count; i++)
        if (!is_replaced(rows, i, count))
            write_row(&w, &scratch, &rows[i]);
    sl_jw_end(&w);
    int error = sl_jw_finish(&w);
    if (!error && sl_buf_put_char(&out, 0) == 0 && sl_buf_take(&out, &text, &len) != 0)
        text = NULL;
    sl_buf_done(&out);
    sl_buf_done(&scratch);
    return text;
}

/* ---- the connection ---- */

static int fail(char *reason, const sl_pg_fault *fault, const char *what)
{
    (void)snprintf(reason, SL_PG_LOAD_REASON, "%s%s%s", what, *what ? ": " : "", fault->reason);
    switch (fault->kind) {
    case SL_PG_INPUT:
        return SL_EINVAL;
    case SL_PG_AGAIN:
    case SL_PG_TIMEOUT:
        return SL_ECONNECT;
    case SL_PG_TOO_BIG:
        return SL_ETOOBIG;
    case SL_PG_INTERNAL:
        return SL_ENOMEM;
    default:
        return SL_EIO;
    }
}

int sl_pg_loader_new(const char *conninfo, const char *library, char *reason, sl_pg_loader **ret_loader)
{
    SL_ASSERT(conninfo && reason && ret_loader);
    sl_pg_fault fault = {0};
    (void)snprintf(reason, SL_PG_LOAD_REASON, "out of memory");
    sl_pg_loader *l = sl_calloc(1, sizeof *l);
    if (!l)
        return SL_ENOMEM;
    l->link.wake = -1;
    l->conninfo = sl_strndup(conninfo, strlen(conninfo));
    char missing[SL_LIBPQ_REASON] = "out of memory";
    int error = l->conninfo ? sl_libpq_load(library ? library : SL_LIBPQ_FILE, missing, &l->pq) : SL_ENOMEM;
    l->link.pq = &l->pq;
    if (error)
        (void)snprintf(reason, SL_PG_LOAD_REASON, "%s", missing);
    else if (!sl_pg_link_connect(&l->link, conninfo, &fault))
        error = fail(reason, &fault, "no connection") == SL_ENOMEM ? SL_ENOMEM : SL_ECONNECT;
    if (error)
        sl_pg_loader_free(l);
    else
        *ret_loader = l;
    return error;
}

void sl_pg_loader_free(sl_pg_loader *loader)
{
    if (!loader)
        return;
    if (loader->link.pq)
        sl_pg_link_close(&loader->link);
    sl_pg_table_done(&loader->table);
    sl_free(loader->conninfo);
    sl_free(loader);
}

/* Runs what has been put into `sql`, and frees it. */
static bool run(sl_pg_loader *l, sl_sql *sql, sl_pg_row_fn on_row, void *user, sl_pg_fault *fault)
{
    bool good = false;
    *fault = (sl_pg_fault){0};
    if (sl_sql_finish(sql))
        sl_pg_fault_set(fault, SL_PG_INTERNAL, "out of memory");
    else if (!l->link.conn && !sl_pg_link_connect(&l->link, l->conninfo, fault))
        ;
    else
        good = sl_pg_link_run(&l->link, sql, sl_deadline_ns(ANSWER_MS), on_row, user, fault);
    sl_sql_done(sql);
    return good;
}

static bool say(sl_pg_loader *l, const char *text, sl_pg_fault *fault)
{
    sl_sql sql;
    sl_sql_init(&sql);
    sl_sql_put(&sql, text);
    return run(l, &sql, NULL, NULL, fault);
}

/* Ends a transaction; on failure the connection is as good as new, or closed. */
static bool end_transaction(sl_pg_loader *l, bool good, sl_pg_fault *fault)
{
    sl_pg_fault ignored;
    if (good)
        good = say(l, "COMMIT", fault);
    if (!good && l->link.conn && !say(l, "ROLLBACK", &ignored))
        sl_pg_link_close(&l->link);
    return good;
}

/* ---- the table ---- */

static sl_pg_kind take_extension(const sl_libpq *pq, const sl_pq_result *row, void *user)
{
    (void)snprintf(user, SL_PG_NAME_BYTES, "%s", pq->nfields(row) > 0 ? pq->getvalue(row, 0, 0) : "");
    return SL_PG_FINE;
}

static bool look_for_extension(sl_pg_loader *l, sl_pg_fault *fault)
{
    sl_sql sql;
    sl_sql_init(&sql);
    sl_sql_put(&sql, "SELECT nspname FROM pg_catalog.pg_extension e JOIN pg_catalog.pg_namespace n ON n.oid = "
                     "e.extnamespace WHERE e.extname = 'vector'");
    l->extension[0] = 0;
    return run(l, &sql, take_extension, l->extension, fault);
}

static int need_extension(sl_pg_loader *l, char *reason)
{
    sl_pg_fault fault;
    if (!look_for_extension(l, &fault))
        return fail(reason, &fault, "");
    if (*l->extension)
        return 0;
    if (!say(l, "CREATE EXTENSION vector", &fault)) {
        int error = fail(reason, &fault, "the extension vector is not there and cannot be made");
        size_t len = strlen(reason);
        (void)snprintf(reason + len, SL_PG_LOAD_REASON - len,
                       "; let its administrator install pgvector and say CREATE "
                       "EXTENSION vector");
        return error;
    }
    if (!look_for_extension(l, &fault))
        return fail(reason, &fault, "");
    (void)snprintf(reason, SL_PG_LOAD_REASON, "the extension vector has been made, but cannot be seen");
    return *l->extension ? 0 : SL_EIO;
}

static int make_table(sl_pg_loader *l, sl_str name, size_t dims, sl_vector_metric metric, char *reason)
{
    sl_pg_fault fault;
    sl_sql sql;
    int error = need_extension(l, reason);
    if (error)
        return error;
    bool good = say(l, "BEGIN", &fault);
    if (good) {
        sl_sql_init(&sql);
        sl_pg_put_create(&sql, name, l->extension, dims);
        good = run(l, &sql, NULL, NULL, &fault);
    }
    if (good) {
        sl_sql_init(&sql);
        sl_pg_put_comment(&sql, name, metric);
        good = run(l, &sql, NULL, NULL, &fault);
    }
    return end_transaction(l, good, &fault) ? 0 : fail(reason, &fault, "the table cannot be made");
}

static sl_pg_kind take_column(const sl_libpq *pq, const sl_pq_result *row, void *user)
{
    const char *values[SL_PG_COLS];
    for (int i = 0; i < SL_PG_COLS; i++)
        values[i] = i < pq->nfields(row) && !pq->getisnull(row, 0, i) ? pq->getvalue(row, 0, i) : "";
    int error = sl_pg_table_add(user, values);
    return error == SL_ELIMIT ? SL_PG_TOO_BIG : error ? SL_PG_INTERNAL : SL_PG_FINE;
}

static int describe(sl_pg_loader *l, sl_str name, char *reason)
{
    sl_pg_fault fault;
    sl_sql sql;
    sl_sql_init(&sql);
    sl_pg_table_done(&l->table);
    sl_pg_put_describe(&sql, name);
    if (run(l, &sql, take_column, &l->table, &fault))
        return 0;
    if (fault.kind == SL_PG_TOO_BIG)
        sl_pg_fault_set(&fault, SL_PG_INPUT, "the table has more than %d columns, or names that are too long",
                        SL_MAX_PGVECTOR_COLUMNS);
    return fail(reason, &fault, "");
}

static int check_table(const sl_pg_loader *l, size_t dims, unsigned metric, char *reason)
{
    sl_pg_roles r;
    char wrong[SL_PG_SQL_REASON];
    int error = writable(&l->table, wrong, &r);
    if (error) {
        (void)snprintf(reason, SL_PG_LOAD_REASON, "%s", wrong);
        return error;
    }
    sl_vector_metric is = sl_pg_metric_of_column(r.embedding);
    if (r.embedding->dims > 0 && (size_t)r.embedding->dims != dims) {
        (void)snprintf(reason, SL_PG_LOAD_REASON, "column \"%s\" of table \"%s\" has %d dimensions, the rows %zu",
                       r.embedding->name, l->table.name, r.embedding->dims, dims);
        return SL_EEXIST;
    }
    if (metric == SL_PG_METRIC_AUTO || !*r.embedding->opclass || is == metric)
        return 0;
    (void)snprintf(reason, SL_PG_LOAD_REASON, "table \"%s\" is for %s, not for %s", l->table.name,
                   sl_vector_metric_name(is), sl_vector_metric_name((sl_vector_metric)metric));
    return SL_EEXIST;
}

static bool is_name(sl_str table)
{
    size_t dot = sl_str_chr(table, '.');
    size_t first = dot == SL_NPOS ? table.len : dot, rest = dot == SL_NPOS ? 1 : table.len - dot - 1;
    return first > 0 && first < SL_PG_NAME_BYTES && rest > 0 && rest < SL_PG_NAME_BYTES;
}

int sl_pg_loader_table(sl_pg_loader *loader, sl_str table, size_t dims, unsigned metric, char *reason, bool *ret_made)
{
    SL_ASSERT(loader && dims && metric <= SL_PG_METRIC_AUTO && reason);
    if (!is_name(table)) {
        (void)snprintf(reason, SL_PG_LOAD_REASON, "the name of a table is NAME or SCHEMA.NAME, of 1 to 63 bytes each");
        return SL_EINVAL;
    }
    int error = describe(loader, table, reason);
    bool make = !error && loader->table.count == 0;
    if (make) {
        error = make_table(loader, table, dims,
                           metric == SL_PG_METRIC_AUTO ? SL_VECTOR_COSINE : (sl_vector_metric)metric, reason);
        if (!error)
            error = describe(loader, table, reason);
        if (!error && loader->table.count == 0) {
            (void)snprintf(reason, SL_PG_LOAD_REASON, "the table has been made, but cannot be seen");
            error = SL_EIO;
        }
    }
    if (!error)
        error = check_table(loader, dims, metric, reason);
    if (!error && ret_made)
        *ret_made = make;
    return error;
}

/* ---- rows ---- */

/* One try of one part. */
static bool put_once(sl_pg_loader *l, sl_str batch, sl_pg_fault *fault)
{
    char wrong[SL_PG_SQL_REASON] = "out of memory";
    sl_sql gone, come;
    sl_sql_init(&gone);
    sl_sql_init(&come);
    if (sl_pg_put_delete(&gone, &l->table, batch, wrong) || sl_pg_put_insert(&come, &l->table, batch, wrong)) {
        sl_pg_fault_set(fault, SL_PG_INPUT, "%s", wrong);
        sl_sql_done(&gone);
        sl_sql_done(&come);
        return false;
    }
    bool good = say(l, "BEGIN", fault);
    if (good)
        good = run(l, &gone, NULL, NULL, fault);
    else
        sl_sql_done(&gone);
    if (good)
        good = run(l, &come, NULL, NULL, fault);
    else
        sl_sql_done(&come);
    return end_transaction(l, good, fault);
}

static int put_part(sl_pg_loader *l, const sl_vector_row *rows, size_t count, char *reason)
{
    sl_pg_fault fault = {0};
    char *batch = sl_pg_load_batch(rows, count);
    if (!batch) {
        (void)snprintf(reason, SL_PG_LOAD_REASON, "out of memory");
        return SL_ENOMEM;
    }
    bool good = false;
    for (unsigned i = 0; i < MAX_TRIES && !good && (i == 0 || fault.kind == SL_PG_AGAIN); i++) {
        if (i)
            (void)usleep(250000u << i);
        fault = (sl_pg_fault){0};
        good = put_once(l, sl_str_c(batch), &fault);
    }
    sl_free(batch);
    return good ? 0 : fail(reason, &fault, "");
}

int sl_pg_loader_put(sl_pg_loader *loader, const sl_vector_row *rows, size_t count, char *reason)
{
    SL_ASSERT(loader && loader->table.count && (rows || !count) && reason);
    int error = 0;
    for (size_t from = 0, to; from < count && !error; from = to) {
        size_t bytes = 0;
        for (to = from; to < count && (to == from || bytes < PART_BYTES); to++)
            bytes += rows[to].metadata.len + rows[to].id.len + rows[to].dims * NUMBER_BYTES;
        error = put_part(loader, rows + from, to - from, reason);
    }
    return error;
}
