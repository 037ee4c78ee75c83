/*
 * vector_search steps: exact search in this process, a Qdrant server, or a PostgreSQL server (step_vector_pg.c).
 *
 * Databases: local, memory and sightline are the engine in this process; qdrant and pgvector (also postgres,
 * postgresql) are the servers that are configured; any other name, and these without a server, is the engine in this
 * process with a warning in the result; there a collection that is missing is an empty one.
 *
 * Results: [{"id","score","metadata","vector"}] and {"count","top_k","database","index"}.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/flow/expr.h"
#include "src/flow/expr_value.h"
#include "src/flow/step_http.h"
#include "src/flow/step_vector_impl.h"
#include "src/llm/json_text.h"
#include "src/store/collection.h"

typedef sl_vector_ask search;

typedef struct vector_op {
    sl_action_op op;
    sl_step_try *attempt; /* NULL: cancelled; the loop's */
    uv_work_t work;
    sl_flow_http *http;
    /* Constant while the thread works. */
    sl_collections *collections;
    sl_vector_query query;
    sl_vector_filter *filter;
    float *vector;
    char *index, *space;
    atomic_bool stop;
    /* The thread's, then the loop's. */
    sl_vector_hits *hits;
    int error;
    char reason[SL_COLLECTION_REASON];
    /* The loop's, for the result. */
    json_t *metadata;
    char *warning;
    bool with_metadata;
} vector_op;

static void vector_free(vector_op *v)
{
    sl_vector_filter_free(v->filter);
    sl_vector_hits_free(v->hits);
    json_decref(v->metadata);
    sl_free(v->vector);
    sl_free(v->index);
    sl_free(v->space);
    free(v->warning);
    sl_free(v);
}

/* ---- params ---- */

static bool flag(const sl_step_try *attempt, const char *name, bool fallback)
{
    json_t *value = json_object_get(attempt->params, name);
    value = value ? sl_flow_plain(value) : NULL;
    if (json_is_string(value)) {
        sl_str text = sl_flow_str(value);
        return sl_str_ieq(text, SL_STR("true")) || sl_str_ieq(text, SL_STR("yes")) || sl_str_eq(text, SL_STR("1"));
    }
    return value && !json_is_null(value) ? sl_expr_truth(value) : fallback;
}

/* The vector: a list of numbers, or a list with one such list in it, as embeddings of one text come. */
static json_t *vector_of(json_t *query)
{
    json_t *plain = query ? sl_flow_plain(query) : NULL;
    if (json_is_object(query) && json_is_array(json_object_get(query, "vector")))
        plain = json_object_get(query, "vector");
    if (json_array_size(plain) == 1 && json_is_array(json_array_get(plain, 0)))
        plain = json_array_get(plain, 0);
    return json_is_array(plain) ? plain : NULL;
}

static bool read_query(sl_step_try *attempt, search *s)
{
    json_t *query = json_object_get(attempt->params, "query");
    s->query = vector_of(query);
    if (s->query && json_array_size(s->query) > 0 && json_array_size(s->query) <= SL_MAX_VECTOR_DIMS)
        return true;
    if (json_is_string(query))
        sl_step_fail(attempt, SL_STEP_ERROR_INPUT,
                     "query is a text, not a vector: embed it first, and give the vector as one path alone, such as "
                     "\"{{ steps.embed.vector }}\"");
    else
        sl_step_fail(attempt, SL_STEP_ERROR_INPUT, "query must be a list of 1 to %d numbers", SL_MAX_VECTOR_DIMS);
    return false;
}

static bool read_search(sl_step_try *attempt, search *s)
{
    double top_k;
    if (!sl_action_text(attempt, "database", SL_STR("local"), &s->database) ||
        !sl_action_text(attempt, "index", SL_STR(""), &s->index) ||
        !sl_action_text(attempt, "namespace", sl_str_of(NULL, 0), &s->space) ||
        !sl_action_number(attempt, "top_k", 5, 1, SL_MAX_VECTOR_TOP_K, &top_k) || !read_query(attempt, s))
        return false;
    s->top_k = (size_t)top_k;
    s->filter = json_object_get(attempt->params, "filter");
    if (json_is_null(s->filter) || (json_is_object(s->filter) && json_object_size(s->filter) == 0))
        s->filter = NULL;
    s->with_metadata = flag(attempt, "include_metadata", true);
    s->with_vectors = flag(attempt, "include_vectors", false);
    bool local = sl_str_eq(s->database, SL_STR("local")) || sl_str_eq(s->database, SL_STR("memory")) ||
                 sl_str_eq(s->database, SL_STR("sightline"));
    bool qdrant = sl_str_eq(s->database, SL_STR("qdrant")) && attempt->services->qdrant_url;
    bool pg = sl_vector_is_pg(s->database) && attempt->services->pgvector;
    s->mapped = !local && !qdrant && !pg;
    return true;
}

static bool copy_vector(sl_step_try *attempt, const search *s, float **ret_vector)
{
    size_t count = json_array_size(s->query);
    float *vector = sl_malloc(count * sizeof *vector);
    if (!vector) {
        sl_step_fail(attempt, SL_STEP_ERROR_INTERNAL, "out of memory");
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        json_t *number = json_array_get(s->query, i);
        vector[i] = (float)json_number_value(number);
        if (!json_is_number(number) || !isfinite(vector[i])) {
            sl_free(vector);
            sl_step_fail(attempt, SL_STEP_ERROR_INPUT, "query: item %zu is no number that float32 can hold", i);
            return false;
        }
    }
    *ret_vector = vector;
    return true;
}

/* ---- results ---- */

/* {"count","top_k","database","index"} and the warning. NULL: no memory. */
static json_t *metadata_of(const search *s, const char *warning)
{
    json_t *metadata = json_pack("{s:i, s:I, s:s%, s:s%}", "count", 0, "top_k", (json_int_t)s->top_k, "database",
                                 s->database.ptr, s->database.len, "index", s->index.ptr, s->index.len);
    if (metadata && warning && json_object_set_new(metadata, "warning", json_string(warning)) != 0) {
        json_decref(metadata);
        return NULL;
    }
    return metadata;
}

void sl_vector_succeed(sl_step_try *attempt, json_t *metadata, const char *warning, json_t *list)
{
    SL_ASSERT(attempt && metadata);
    if (warning)
        sl_step_log(attempt, SL_WARN, warning, NULL);
    json_t *count = json_integer((json_int_t)json_array_size(list));
    json_t *extra = warning ? json_pack("{s:s}", "warning", warning) : NULL;
    attempt->data = NULL;
    if (list && json_object_set_new(metadata, "count", count) == 0) {
        json_t *results = json_pack("[O, O]", list, metadata);
        if (results) {
            sl_step_succeed(attempt, results, extra, list);
            return;
        }
    }
    json_decref(extra);
    json_decref(list);
    sl_step_fail(attempt, SL_STEP_ERROR_INTERNAL, "out of memory");
}

static void succeed(vector_op *v, sl_step_try *attempt, json_t *list)
{
    sl_vector_succeed(attempt, v->metadata, v->warning, list);
}

static json_t *vector_json(const float *vector, size_t dims)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < dims; i++)
        (void)json_array_append_new(list, json_real((double)vector[i]));
    return list;
}

static json_t *hit_json(const sl_vector_hit *hit, size_t dims, bool with_metadata)
{
    /* All four are always there, as the format has it. */
    json_t *one =
        json_pack("{s:s%, s:f, s:n, s:n}", "id", hit->id.ptr, hit->id.len, "score", hit->score, "metadata", "vector");
    if (one && with_metadata) {
        json_t *metadata = hit->metadata.len ? json_loadb(hit->metadata.ptr, hit->metadata.len, 0, NULL) : NULL;
        (void)json_object_set_new(one, "metadata", metadata ? metadata : json_object());
    }
    if (one && hit->vector)
        (void)json_object_set_new(one, "vector", vector_json(hit->vector, dims));
    return one;
}

static json_t *hits_json(const vector_op *v)
{
    json_t *list = json_array();
    for (size_t i = 0; list && i < v->hits->count; i++)
        if (json_array_append_new(list, hit_json(&v->hits->items[i], v->hits->dims, v->query.with_metadata))) {
            json_decref(list);
            list = NULL;
        }
    return list;
}

/* ---- the engine in this process ---- */

static void work(uv_work_t *request)
{
    vector_op *v = request->data;
    v->error = sl_collections_search(v->collections, &v->query, v->reason, &v->hits);
}

static sl_step_error kind_of(int error)
{
    return error == SL_EINVAL || error == SL_ENOENT || error == SL_ELIMIT ? SL_STEP_ERROR_INPUT
           : error == SL_ETOOBIG                                          ? SL_STEP_ERROR_TOO_BIG
                                                                          : SL_STEP_ERROR_INTERNAL;
}

/* A database that is not configured holds nothing: a workflow written for one runs, and says what is missing. */
static void succeed_empty(vector_op *v, sl_step_try *attempt)
{
    char *warning = NULL;
    if (asprintf(&warning, "%s; %s", v->warning, v->reason) > 0) {
        free(v->warning);
        v->warning = warning;
        (void)json_object_set_new(v->metadata, "warning", json_string(warning));
    }
    succeed(v, attempt, json_array());
}

static void after_work(uv_work_t *request, int status)
{
    vector_op *v = request->data;
    sl_step_try *attempt = v->attempt;
    if (attempt && !status && v->error == SL_ENOENT && v->warning) {
        succeed_empty(v, attempt);
    } else if (attempt && (status || v->error)) {
        attempt->data = NULL;
        sl_step_fail(attempt, kind_of(v->error), "vector_search: %s", status ? uv_strerror(status) : v->reason);
    } else if (attempt) {
        succeed(v, attempt, hits_json(v));
    }
    vector_free(v);
}

static void cancel_local(sl_action_op *op)
{
    vector_op *v = (vector_op *)op;
    v->attempt = NULL;
    atomic_store(&v->stop, true);
    (void)uv_cancel((uv_req_t *)&v->work);
}

static bool compile_filter(sl_step_try *attempt, const search *s, sl_vector_filter **ret_filter)
{
    char reason[SL_FILTER_REASON] = "out of memory";
    *ret_filter = NULL;
    int error = s->filter ? sl_vector_filter_new(s->filter, reason, ret_filter) : 0;
    if (error)
        sl_step_fail(attempt, kind_of(error), "vector_search: %s", reason);
    return !error;
}

static void search_here(sl_step_try *attempt, const search *s, vector_op *v)
{
    if (!attempt->services->collections) {
        vector_free(v);
        sl_step_fail(attempt, SL_STEP_ERROR_INTERNAL, "vector_search: no collections are open");
        return;
    }
    v->op.cancel = cancel_local;
    v->collections = attempt->services->collections;
    v->index = sl_strndup(s->index.len ? s->index.ptr : "", s->index.len);
    v->space = sl_strndup(s->space.len ? s->space.ptr : "", s->space.len);
    v->query = (sl_vector_query){.collection = sl_str_c(v->index),
                                 .space = sl_str_c(v->space),
                                 .vector = v->vector,
                                 .dims = json_array_size(s->query),
                                 .top_k = s->top_k,
                                 .filter = v->filter,
                                 .with_metadata = s->with_metadata,
                                 .with_vectors = s->with_vectors,
                                 .stop = &v->stop};
    v->work.data = v;
    if (!v->index || !v->space || uv_queue_work(&attempt->loop->uv, &v->work, work, after_work)) {
        vector_free(v);
        sl_step_fail(attempt, SL_STEP_ERROR_INTERNAL, "out of memory");
        return;
    }
    attempt->data = v;
}

/* ---- Qdrant: POST /collections/NAME/points/query ---- */

/* The body. `filter` is one of ours; a namespace is a member of the payload. NULL: no memory. */
static json_t *qdrant_body(const search *s, const sl_vector_filter *filter)
{
    json_t *must = json_array();
    if (filter)
        (void)json_array_append_new(must, sl_vector_filter_qdrant(filter));
    if (s->space.len)
        (void)json_array_append_new(
            must, json_pack("{s:s, s:{s:s%}}", "key", "namespace", "match", "value", s->space.ptr, s->space.len));
    json_t *payload = s->with_metadata ? json_true() : json_pack("[s]", SL_QDRANT_ID);
    json_t *body = json_pack("{s:O, s:I, s:o, s:b}", "query", s->query, "limit", (json_int_t)s->top_k, "with_payload",
                             payload, "with_vector", (int)s->with_vectors);
    if (body && json_array_size(must))
        (void)json_object_set_new(body, "filter", json_pack("{s:O}", "must", must));
    json_decref(must);
    return body;
}

/* {"result":{"points":[...]}}, or of older servers {"result":[...]}. NULL: it is neither. Borrowed. */
static json_t *points_of(json_t *answer)
{
    json_t *result = json_object_get(answer, "result");
    json_t *points = json_is_object(result) ? json_object_get(result, "points") : result;
    return json_is_array(points) ? points : NULL;
}

/* Rows of `sightline flow collection load --to qdrant` have their id in the payload where Qdrant has no such ids. */
static json_t *point_json(json_t *point, bool with_metadata)
{
    json_t *one = json_object();
    json_t *id = json_object_get(point, "id"), *vector = json_object_get(point, "vector");
    json_t *payload = json_object_get(point, "payload");
    json_t *row_id = json_object_get(payload, SL_QDRANT_ID);
    if (json_is_string(row_id))
        id = row_id;
    json_t *text = json_is_integer(id) ? json_sprintf("%lld", (long long)json_integer_value(id)) : json_incref(id);
    (void)json_object_set_new(one, "id", text);
    (void)json_object_set(one, "score", json_object_get(point, "score"));
    (void)json_object_set_new(one, "metadata",
                              !with_metadata || !payload ? json_null()
                              : json_is_object(payload)  ? json_incref(payload)
                                                         : json_object());
    if (row_id)
        (void)json_object_del(payload, SL_QDRANT_ID);
    (void)json_object_set_new(one, "vector", json_is_array(vector) ? json_incref(vector) : json_null());
    return one;
}

static void on_answer(void *user, const sl_flow_http_answer *answer, sl_step_error error, const char *reason)
{
    vector_op *v = user;
    sl_step_try *attempt = v->attempt;
    attempt->data = NULL;
    json_t *body = answer && answer->status == 200 ? json_loadb(answer->body.ptr, answer->body.len, 0, NULL) : NULL;
    json_t *points = points_of(body);
    if (!answer) {
        sl_step_fail(attempt, error, "qdrant: %s", reason);
    } else if (answer->status != 200) {
        attempt->retry_after_ms = answer->retry_after_ms;
        size_t shown = sl_utf8_valid(answer->body) ? sl_utf8_prefix(answer->body, 200) : 0;
        sl_step_fail(attempt, sl_flow_http_status_error(answer->status), "qdrant: the answer was %d: %.*s",
                     answer->status, (int)shown, shown ? answer->body.ptr : "");
    } else if (!points) {
        sl_step_fail(attempt, SL_STEP_ERROR_PROVIDER, "qdrant: the answer holds no points");
    } else {
        json_t *list = json_array();
        for (size_t i = 0; i < json_array_size(points); i++)
            (void)json_array_append_new(list, point_json(json_array_get(points, i), v->with_metadata));
        succeed(v, attempt, list);
    }
    json_decref(body);
    vector_free(v);
}

static void cancel_qdrant(sl_action_op *op)
{
    vector_op *v = (vector_op *)op;
    sl_flow_http_cancel(v->http);
    vector_free(v);
}

static bool qdrant_url(const sl_flow_services *services, const search *s, sl_buf *url)
{
    sl_str base = sl_str_c(services->qdrant_url);
    while (base.len && base.ptr[base.len - 1] == '/')
        base.len--;
    (void)sl_buf_put_str(url, base);
    (void)sl_buf_put_c(url, "/collections/");
    for (size_t i = 0; i < s->index.len; i++) {
        unsigned char c = (unsigned char)s->index.ptr[i];
        char lower = sl_ascii_lower((char)c);
        if ((lower >= 'a' && lower <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_')
            (void)sl_buf_put_char(url, (char)c);
        else
            (void)sl_buf_printf(url, "%%%02X", c);
    }
    (void)sl_buf_put_c(url, "/points/query");
    return !url->failed && s->index.len > 0;
}

static void search_qdrant(sl_step_try *attempt, const search *s, vector_op *v)
{
    const sl_flow_services *services = attempt->services;
    char reason[SL_FLOW_HTTP_REASON] = "out of memory";
    sl_buf url;
    sl_buf_init(&url, SL_MAX_URL_BYTES);
    json_t *body = qdrant_body(s, v->filter);
    char *text = body ? sl_json_text(body) : NULL;
    json_t *headers = services->qdrant_key ? json_pack("{s:s}", "api-key", services->qdrant_key) : NULL;
    sl_step_error wrong = SL_STEP_ERROR_INTERNAL;
    v->op.cancel = cancel_qdrant;
    if (!qdrant_url(services, s, &url)) {
        wrong = SL_STEP_ERROR_INPUT;
        (void)snprintf(reason, sizeof reason, "index is missing, or too long");
    } else if (text) {
        sl_flow_http_request request = {.method = SL_STR("POST"),
                                        .url = sl_buf_str(&url),
                                        .headers = headers,
                                        .body = sl_str_c(text),
                                        .content_type = SL_STR("application/json"),
                                        .trusted = true,
                                        .done = on_answer,
                                        .user = v};
        wrong = sl_flow_http_start(attempt, &request, reason, &v->http);
    }
    sl_buf_done(&url);
    json_decref(headers);
    json_decref(body);
    free(text);
    if (wrong) {
        vector_free(v);
        sl_step_fail(attempt, wrong, "qdrant: %s", reason);
        return;
    }
    attempt->data = v;
}

/* ---- the step ---- */

static char *warning_of(const search *s)
{
    char *text = NULL;
    if (s->mapped && asprintf(&text, "database \"%.*s\" is not configured: the search was made in this process",
                              (int)(s->database.len > 60 ? 60 : s->database.len), s->database.ptr) < 0)
        text = NULL;
    return text;
}

static void start_search(sl_step_try *attempt, const search *s, float *vector, sl_vector_filter *filter,
                         json_t *metadata, char *warning)
{
    vector_op *v = metadata ? sl_calloc(1, sizeof *v) : NULL;
    if (!v) {
        sl_free(vector);
        free(warning);
        json_decref(metadata);
        sl_vector_filter_free(filter);
        sl_step_fail(attempt, SL_STEP_ERROR_INTERNAL, "out of memory");
        return;
    }
    *v = (vector_op){.attempt = attempt,
                     .vector = vector,
                     .filter = filter,
                     .metadata = metadata,
                     .warning = warning,
                     .with_metadata = s->with_metadata};
    if (sl_str_eq(s->database, SL_STR("qdrant")) && !s->mapped)
        search_qdrant(attempt, s, v);
    else
        search_here(attempt, s, v);
}

static void start_vector(sl_step_try *attempt)
{
    SL_ASSERT(attempt && attempt->services && attempt->params);
    search s = {0};
    attempt->data = NULL;
    if (!read_search(attempt, &s))
        return;
    float *vector = NULL;
    sl_vector_filter *filter = NULL;
    if (!compile_filter(attempt, &s, &filter))
        return;
    if (!copy_vector(attempt, &s, &vector)) {
        sl_vector_filter_free(filter);
        return;
    }
    char *warning = warning_of(&s);
    json_t *metadata = metadata_of(&s, warning);
    if (warning) {
        sl_attr attr = sl_attr_str("message", warning);
        sl_span_add_event(attempt->span, SL_STR("warning"), 0, &attr, 1);
    }
    sl_span_set(attempt->span, SL_STR("db.collection.name"), sl_value_str(s.index));
    if (metadata && sl_vector_is_pg(s.database) && !s.mapped) {
        sl_vector_search_pg(attempt, &s, vector, filter, metadata);
        sl_free(vector);
        return;
    }
    start_search(attempt, &s, vector, filter, metadata, warning);
}

static void cancel_vector(sl_step_try *attempt)
{
    SL_ASSERT(attempt);
    sl_action_op *op = attempt->data;
    attempt->data = NULL;
    if (op)
        op->cancel(op);
}

const sl_step_kind sl_step_vector_kind = {start_vector, cancel_vector};
