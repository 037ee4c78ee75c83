/* See pgvector_impl.h. What a table has is looked up at most every half minute, and again when a search says that the
 * table has changed. */
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/base/sync.h"
#include "src/store/pgvector_impl.h"

#define KNOWN_MS 30000

/* ---- searches ---- */

int sl_pg_search_init(sl_pg_search *search, const sl_pg_query *query, sl_vector_filter *filter)
{
    SL_ASSERT(search && query && query->vector && query->dims);
    *search = (sl_pg_search){.query = *query, .filter = filter};
    sl_pg_query *q = &search->query;
    sl_str *views[] = {&q->table,          &q->space,           &q->names.id,   &q->names.content,
                       &q->names.metadata, &q->names.embedding, &q->names.space};
    size_t bytes = 1;
    for (size_t i = 0; i < sizeof views / sizeof *views; i++)
        bytes += views[i]->len;
    search->vector = sl_malloc(query->dims * sizeof *search->vector);
    search->texts = sl_malloc(bytes);
    if (!search->vector || !search->texts) {
        sl_pg_search_done(search);
        return SL_ENOMEM;
    }
    memcpy(search->vector, query->vector, query->dims * sizeof *search->vector);
    char *to = search->texts;
    for (size_t i = 0; i < sizeof views / sizeof *views; i++) {
        if (views[i]->len)
            memcpy(to, views[i]->ptr, views[i]->len);
        views[i]->ptr = to;
        to += views[i]->len;
    }
    q->vector = search->vector;
    q->filter = filter;
    return 0;
}

void sl_pg_search_done(sl_pg_search *search)
{
    SL_ASSERT(search);
    sl_vector_filter_free(search->filter);
    sl_free(search->vector);
    sl_free(search->texts);
    json_decref(search->answer.list);
    *search = (sl_pg_search){0};
}

/* ---- rows ---- */

static const char *text_at(const sl_libpq *pq, const sl_pq_result *row, int column)
{
    return pq->getisnull(row, 0, column) ? NULL : pq->getvalue(row, 0, column);
}

/* The content stands in the metadata as `text`, where rows of the other engines have it, unless there is one. NULL: no
 * memory, or the column holds what is no JSON that we can read. */
static json_t *metadata_of(const char *metadata, const char *content)
{
    json_t *value = metadata ? json_loads(metadata, JSON_DECODE_ANY, NULL) : json_object();
    if (!value) /* a whole number of more than 64 bits */
        value = json_loads(metadata, JSON_DECODE_ANY | JSON_DECODE_INT_AS_REAL, NULL);
    if (value && !json_is_object(value)) {
        json_t *object = json_is_null(value) ? json_object() : json_pack("{s:O}", "value", value);
        json_decref(value);
        value = object;
    }
    if (value && content && !json_object_get(value, "text") &&
        json_object_set_new(value, "text", json_string(content)) != 0) {
        json_decref(value);
        value = NULL;
    }
    return value;
}

/* [1,0.5] of a vector or halfvec is JSON, too. NULL: no memory. */
static json_t *vector_of(const char *text)
{
    json_t *list = text ? json_loads(text, JSON_DECODE_INT_AS_REAL, NULL) : NULL;
    return list ? list : json_null();
}

typedef struct reading {
    sl_pg_search *search;
    size_t bytes;
} reading;

static sl_pg_kind take_row(const sl_libpq *pq, const sl_pq_result *row, void *user)
{
    reading *r = user;
    sl_pg_search *s = r->search;
    const char *distance = text_at(pq, row, SL_PG_DISTANCE), *size = text_at(pq, row, SL_PG_BYTES);
    for (int i = 0; i < SL_PG_BYTES; i++)
        r->bytes += (size_t)pq->getlength(row, 0, i);
    r->bytes += size ? 0 : 1;
    if (r->bytes > SL_MAX_PGVECTOR_ANSWER_BYTES || (size && strtoull(size, NULL, 10) > SL_MAX_PGVECTOR_ANSWER_BYTES))
        return SL_PG_TOO_BIG;
    const char *id = text_at(pq, row, SL_PG_ID);
    double score = sl_pg_score(s->answer.metric, distance ? strtod(distance, NULL) : 0);
    json_t *metadata = s->query.with_metadata
                           ? metadata_of(text_at(pq, row, SL_PG_METADATA), text_at(pq, row, SL_PG_CONTENT))
                           : json_null();
    if (!metadata)
        return SL_PG_INPUT;
    json_t *vector = s->query.with_vectors ? vector_of(text_at(pq, row, SL_PG_VECTOR)) : json_null();
    json_t *one =
        json_pack("{s:s, s:f, s:o, s:o}", "id", id ? id : "", "score", score, "metadata", metadata, "vector", vector);
    return one && json_array_append_new(s->answer.list, one) == 0 ? SL_PG_FINE : SL_PG_INTERNAL;
}

/* ---- tables ---- */

static void forget(sl_pg_known *known)
{
    known->index[0] = '\0';
    sl_pg_table_done(&known->table);
}

static sl_pg_kind take_column(const sl_libpq *pq, const sl_pq_result *row, void *user)
{
    const char *values[SL_PG_COLS];
    for (int i = 0; i < SL_PG_COLS; i++)
        values[i] = i < pq->nfields(row) && text_at(pq, row, i) ? text_at(pq, row, i) : "";
    int error = sl_pg_table_add(user, values);
    return error == SL_ELIMIT ? SL_PG_TOO_BIG : error ? SL_PG_INTERNAL : SL_PG_FINE;
}

static bool describe(sl_pg_session *s, const sl_pg_search *search, uint64_t deadline_ns, sl_pg_known *known,
                     sl_pg_fault *fault)
{
    sl_sql sql;
    sl_sql_init(&sql);
    sl_pg_put_describe(&sql, search->query.table);
    bool good = false;
    if (sl_sql_finish(&sql))
        sl_pg_fault_set(fault, SL_PG_INTERNAL, "out of memory");
    else
        good = sl_pg_link_run(&s->link, &sql, deadline_ns, take_column, &known->table, fault);
    sl_sql_done(&sql);
    if (fault->kind == SL_PG_TOO_BIG)
        sl_pg_fault_set(fault, SL_PG_INPUT, "the table has more than %d columns, or names that are too long",
                        SL_MAX_PGVECTOR_COLUMNS);
    if (good && known->table.count == 0) {
        sl_pg_fault_set(fault, SL_PG_INPUT,
                        "there is no table \"%.*s\" in database \"%s\"; give index as NAME or SCHEMA.NAME, in the case "
                        "that it has",
                        (int)search->query.table.len, search->query.table.ptr, s->link.database);
        good = false;
    }
    return good;
}

/* NULL: `fault` says why. */
static sl_pg_known *know(sl_pg_session *s, const sl_pg_search *search, uint64_t deadline_ns, bool *ret_fresh,
                         sl_pg_fault *fault)
{
    *ret_fresh = false;
    for (unsigned i = 0; i < SL_MAX_PGVECTOR_TABLES; i++)
        if (sl_str_eq_c(search->query.table, s->known[i].index) && sl_mono_ns() < s->known[i].until_ns)
            return &s->known[i];
    sl_pg_known *known = &s->known[s->next];
    s->next = (s->next + 1) % SL_MAX_PGVECTOR_TABLES;
    forget(known);
    *ret_fresh = true;
    if (!describe(s, search, deadline_ns, known, fault)) {
        forget(known);
        return NULL;
    }
    (void)sl_str_to_c(search->query.table, known->index, sizeof known->index);
    known->until_ns = sl_deadline_ns(KNOWN_MS);
    return known;
}

/* ---- the search ---- */

/* With a width of HNSW's search of its own, in a transaction: a pooler may give us another server's process at any
 * other time. */
static bool run_search(sl_pg_session *s, const sl_sql *sql, uint64_t deadline_ns, sl_pg_search *search,
                       sl_pg_fault *fault)
{
    reading r = {search, 0};
    unsigned width = search->query.ef_search;
    char text[80];
    (void)snprintf(text, sizeof text, "SET LOCAL hnsw.ef_search = %u", width);
    bool good = !width || (sl_pg_link_say(&s->link, "BEGIN READ ONLY", deadline_ns, fault) &&
                           sl_pg_link_say(&s->link, text, deadline_ns, fault));
    good = good && sl_pg_link_run(&s->link, sql, deadline_ns, take_row, &r, fault);
    if (width && s->link.conn && s->link.pq->transactionStatus(s->link.conn) != SL_PQ_IDLE) {
        sl_pg_fault ignored;
        if (!sl_pg_link_say(&s->link, "ROLLBACK", deadline_ns, &ignored)) /* nothing was changed */
            sl_pg_link_close(&s->link);
    }
    return good;
}

/* `*ret_stale`: the table may be another one than we knew. */
static bool search_once(sl_pg_session *s, uint64_t deadline_ns, sl_pg_search *search, bool *ret_stale,
                        sl_pg_fault *fault)
{
    bool fresh;
    sl_sql sql;
    *ret_stale = false;
    sl_pg_known *known = know(s, search, deadline_ns, &fresh, fault);
    if (!known)
        return false;
    char reason[SL_PG_SQL_REASON] = "";
    sl_sql_init(&sql);
    int error = sl_pg_put_search(&sql, &known->table, &search->query, reason, &search->answer.metric);
    bool good = false;
    if (!error)
        error = sl_sql_finish(&sql);
    if (error)
        sl_pg_fault_set(fault, error == SL_ENOMEM ? SL_PG_INTERNAL : SL_PG_INPUT, "%s",
                        error == SL_ENOMEM ? "out of memory"
                        : reason[0]        ? reason
                                           : "the filter is too large for one statement");
    else
        good = run_search(s, &sql, deadline_ns, search, fault);
    sl_sql_done(&sql);
    *ret_stale = !good && !fresh && fault->kind == SL_PG_INPUT;
    if (*ret_stale)
        forget(known);
    return good;
}

static bool connect_session(sl_pg_session *s, const char *conninfo, sl_pg_search *search, sl_pg_fault *fault)
{
    bool good = sl_pg_link_connect(&s->link, conninfo, fault);
    memcpy(search->answer.host, s->link.host, sizeof s->link.host);
    memcpy(search->answer.database, s->link.database, sizeof s->link.database);
    search->answer.port = s->link.port;
    return good;
}

void sl_pg_session_search(sl_pg_session *session, const char *conninfo, uint64_t answer_ms, sl_pg_search *search)
{
    SL_ASSERT(session && session->link.pq && conninfo && search && !search->answer.list);
    sl_pgvector_answer *answer = &search->answer;
    sl_pg_fault *fault = &answer->fault;
    bool reused = session->link.conn != NULL, stale = false, again = false;
    do {
        json_decref(answer->list);
        answer->list = json_array();
        *fault = (sl_pg_fault){0};
        if (!answer->list)
            sl_pg_fault_set(fault, SL_PG_INTERNAL, "out of memory");
        if (fault->kind || (!session->link.conn && !connect_session(session, conninfo, search, fault)))
            return;
        memcpy(answer->host, session->link.host, sizeof answer->host);
        memcpy(answer->database, session->link.database, sizeof answer->database);
        answer->port = session->link.port;
        (void)search_once(session, sl_deadline_ns(answer_ms), search, &stale, fault);
        again = (fault->broken && reused) || stale;
        answer->reconnected = answer->reconnected || (fault->broken && reused);
        reused = reused && !fault->broken;
    } while (again);
}

void sl_pg_session_reset(sl_pg_session *session)
{
    SL_ASSERT(session);
    if (session->link.pq)
        sl_pg_link_close(&session->link);
    for (unsigned i = 0; i < SL_MAX_PGVECTOR_TABLES; i++)
        forget(&session->known[i]);
}
