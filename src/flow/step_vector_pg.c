/*
 * vector_search steps that ask a PostgreSQL server with pgvector: a CLIENT span under the step's, as OpenTelemetry's
 * conventions for databases have it, and the search on a thread of its own (src/store/pgvector.h), which wakes the loop
 * when it is over.
 */
#include "src/base/mem.h"
#include "src/flow/expr_value.h"
#include "src/flow/step_vector_impl.h"
#include "src/store/pgvector.h"

typedef struct pg_op {
    sl_action_op op;
    sl_step_try *attempt;
    uv_async_t over;
    sl_pgvector_request *request;
    sl_span *span; /* may be NULL */
    json_t *metadata;
} pg_op;

bool sl_vector_is_pg(sl_str database)
{
    return sl_str_eq(database, SL_STR("pgvector")) || sl_str_eq(database, SL_STR("postgres")) ||
           sl_str_eq(database, SL_STR("postgresql"));
}

/* ---- params ---- */

static bool is_name(sl_str text, size_t max)
{
    return text.len < max && sl_str_chr(text, '\0') == SL_NPOS;
}

static bool read_columns(sl_step_try *attempt, sl_pg_names *names)
{
    const struct {
        const char *name;
        sl_str *place;
    } roles[] = {{"id", &names->id},
                 {"content", &names->content},
                 {"metadata", &names->metadata},
                 {"embedding", &names->embedding},
                 {"namespace", &names->space}};
    json_t *columns = json_object_get(attempt->params, "columns"), *value;
    const char *key;
    if (columns && !json_is_null(columns) && !json_is_object(columns)) {
        sl_step_fail(attempt, SL_STEP_ERROR_INPUT, "columns must be a map");
        return false;
    }
    json_object_foreach(columns, key, value)
    {
        sl_str *place = NULL;
        for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
            place = strcmp(key, roles[i].name) == 0 ? roles[i].place : place;
        if (!place || !json_is_string(value) || !is_name(sl_flow_str(value), SL_PG_NAME_BYTES)) {
            sl_step_fail(attempt, SL_STEP_ERROR_INPUT,
                         "columns: %.60s: give names of columns for id, content, metadata, embedding or namespace",
                         key);
            return false;
        }
        *place = sl_flow_str(value);
    }
    return true;
}

static bool read_query(sl_step_try *attempt, const sl_vector_ask *ask, const float *vector, sl_pg_query *query)
{
    sl_str metric;
    double width;
    *query = (sl_pg_query){.table = ask->index,
                           .space = ask->space,
                           .metric = SL_PG_METRIC_AUTO,
                           .vector = vector,
                           .dims = json_array_size(ask->query),
                           .top_k = ask->top_k,
                           .with_metadata = ask->with_metadata,
                           .with_vectors = ask->with_vectors};
    if (!sl_action_text(attempt, "metric", sl_str_of(NULL, 0), &metric) ||
        !sl_action_number(attempt, "ef_search", 0, 0, 1000, &width) || !read_columns(attempt, &query->names))
        return false;
    query->ef_search = (unsigned)width;
    const char *wrong = NULL;
    if (!ask->index.len || !is_name(ask->index, SL_PG_INDEX_BYTES))
        wrong = "index is missing, or too long";
    else if (!is_name(ask->space, SL_MAX_VECTOR_SPACE_BYTES + 1))
        wrong = "namespace is too long";
    else if (metric.len && sl_pg_metric_parse(metric, &query->metric))
        wrong = "metric must be cosine, dot or euclid";
    if (wrong)
        sl_step_fail(attempt, SL_STEP_ERROR_INPUT, "pgvector: %s", wrong);
    return !wrong;
}

/* ---- the span ---- */

static sl_span *start_span(sl_step_try *attempt, const sl_vector_ask *ask)
{
    if (!attempt->services->sdk)
        return NULL;
    char name[SL_PG_INDEX_BYTES + 8];
    int len = snprintf(name, sizeof name, "SELECT %.*s", (int)ask->index.len, ask->index.ptr);
    sl_span_options options = {.kind = SL_SPAN_CLIENT, .parent = attempt->span};
    sl_tracer *tracer = sl_tracer_named(attempt->services->sdk, "sightline.flow");
    sl_span *span = sl_span_start(tracer, sl_str_of(name, (size_t)len), &options);
    sl_span_set_str(span, "db.system.name", "postgresql");
    sl_span_set_str(span, "db.operation.name", "SELECT");
    sl_span_set(span, SL_STR("db.collection.name"), sl_value_str(ask->index));
    sl_span_put_str(span, SL_STR("db.query.summary"), sl_str_of(name, (size_t)len));
    return span;
}

static void end_span(pg_op *o, const sl_pgvector_answer *answer)
{
    if (answer->database[0])
        sl_span_set_str(o->span, "db.namespace", answer->database);
    if (answer->host[0])
        sl_span_set_str(o->span, "server.address", answer->host);
    if (answer->port)
        sl_span_set_int(o->span, "server.port", answer->port);
    if (answer->reconnected)
        sl_span_add_event(o->span, SL_STR("reconnected"), 0, NULL, 0);
    if (answer->list && !answer->fault.kind)
        sl_span_set_int(o->span, "db.response.returned_rows", (int64_t)json_array_size(answer->list));
    if (answer->fault.sqlstate[0])
        sl_span_set_str(o->span, "db.response.status_code", answer->fault.sqlstate);
}

static void fail_span(sl_span *span, const char *type, const char *reason)
{
    sl_span_set_status(span, SL_STATUS_ERROR, reason);
    sl_span_set_str(span, "error.type", type);
}

/* ---- the end ---- */

static void on_closed(uv_handle_t *handle)
{
    sl_free(handle->data);
}

static void op_free(pg_op *o)
{
    sl_pgvector_request_free(o->request); /* nobody wakes the loop for it from now on */
    sl_span_end(o->span);
    json_decref(o->metadata);
    uv_close((uv_handle_t *)&o->over, on_closed);
}

static sl_step_error error_of(sl_pg_kind kind)
{
    static const sl_step_error errors[] = {
        [SL_PG_AGAIN] = SL_STEP_ERROR_PROVIDER,  [SL_PG_TIMEOUT] = SL_STEP_ERROR_TIMEOUT,
        [SL_PG_REFUSED] = SL_STEP_ERROR_REFUSED, [SL_PG_INPUT] = SL_STEP_ERROR_INPUT,
        [SL_PG_TOO_BIG] = SL_STEP_ERROR_TOO_BIG, [SL_PG_INTERNAL] = SL_STEP_ERROR_INTERNAL,
        [SL_PG_STOPPED] = SL_STEP_ERROR_INTERNAL};
    SL_ASSERT(kind != SL_PG_FINE && (size_t)kind < sizeof errors / sizeof *errors);
    return errors[kind];
}

static void on_over(uv_async_t *over)
{
    pg_op *o = over->data;
    sl_step_try *attempt = o->attempt;
    sl_pgvector_answer *answer = sl_pgvector_answer_of(o->request);
    attempt->data = NULL;
    end_span(o, answer);
    if (answer->fault.kind) {
        sl_step_error error = error_of(answer->fault.kind);
        fail_span(o->span, answer->fault.sqlstate[0] ? answer->fault.sqlstate : sl_step_error_name(error),
                  answer->fault.reason);
        sl_step_fail(attempt, error, "pgvector: %s", answer->fault.reason);
    } else {
        json_t *list = answer->list;
        answer->list = NULL;
        (void)json_object_set_new(o->metadata, "metric", json_string(sl_vector_metric_name(answer->metric)));
        sl_vector_succeed(attempt, o->metadata, NULL, list);
    }
    op_free(o);
}

/* From the search's thread. */
static void wake(void *user)
{
    (void)uv_async_send(user);
}

static void cancel_pg(sl_action_op *op)
{
    pg_op *o = (pg_op *)op;
    fail_span(o->span, "cancelled", "cancelled");
    op_free(o);
}

/* ---- the beginning ---- */

void sl_vector_search_pg(sl_step_try *attempt, const sl_vector_ask *ask, const float *vector, sl_vector_filter *filter,
                         json_t *metadata)
{
    SL_ASSERT(attempt && attempt->services->pgvector && ask && vector && metadata);
    sl_pg_query query;
    if (!read_query(attempt, ask, vector, &query)) {
        sl_vector_filter_free(filter);
        json_decref(metadata);
        return;
    }
    pg_op *o = sl_calloc(1, sizeof *o);
    if (!o || uv_async_init(&attempt->loop->uv, &o->over, on_over)) {
        sl_free(o);
        sl_vector_filter_free(filter);
        json_decref(metadata);
        sl_step_fail(attempt, SL_STEP_ERROR_INTERNAL, "out of memory");
        return;
    }
    o->op.cancel = cancel_pg;
    o->attempt = attempt;
    o->over.data = o;
    o->metadata = metadata;
    o->span = start_span(attempt, ask);
    int error = sl_pgvector_search(attempt->services->pgvector, &query, filter, wake, &o->over, &o->request);
    if (error) {
        op_free(o);
        sl_step_fail(attempt, error == SL_EAGAIN ? SL_STEP_ERROR_LIMIT : SL_STEP_ERROR_INTERNAL, "pgvector: %s",
                     error == SL_EAGAIN ? "too many searches wait for a connection" : sl_strerror(error));
        return;
    }
    attempt->data = o;
}
