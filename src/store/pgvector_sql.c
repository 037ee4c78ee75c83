/* See pgvector_sql.h. */
#include "src/store/pgvector_sql.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/store/collection_filter_sql.h"

typedef struct build {
    sl_sql *sql;
    const sl_pg_table *table;
    const sl_pg_query *query;
    sl_pg_roles r;
} build;

/* ---- metrics ---- */

typedef struct metric_row {
    const char *name;
    sl_vector_metric metric;
} metric_row;

static const metric_row metric_rows[] = {{"cosine", SL_VECTOR_COSINE},     {"<=>", SL_VECTOR_COSINE},
                                         {"dot", SL_VECTOR_DOT},           {"ip", SL_VECTOR_DOT},
                                         {"inner_product", SL_VECTOR_DOT}, {"<#>", SL_VECTOR_DOT},
                                         {"euclid", SL_VECTOR_EUCLID},     {"euclidean", SL_VECTOR_EUCLID},
                                         {"l2", SL_VECTOR_EUCLID},         {"<->", SL_VECTOR_EUCLID}};
static const char *const operators[SL_VECTOR_METRICS] = {
    [SL_VECTOR_COSINE] = "<=>", [SL_VECTOR_DOT] = "<#>", [SL_VECTOR_EUCLID] = "<->"};

int sl_pg_metric_parse(sl_str text, unsigned *ret_metric)
{
    SL_ASSERT(ret_metric);
    for (size_t i = 0; i < sizeof metric_rows / sizeof *metric_rows; i++)
        if (sl_str_eq_c(text, metric_rows[i].name)) {
            *ret_metric = metric_rows[i].metric;
            return 0;
        }
    return SL_EINVAL;
}

double sl_pg_score(sl_vector_metric metric, double distance)
{
    SL_ASSERT(metric < SL_VECTOR_METRICS);
    if (!(distance >= 0 || distance < 0)) /* the cosine of a vector of zeros */
        return 0;
    double far = fmax(-DBL_MAX, fmin(distance, DBL_MAX)); /* JSON has no infinity */
    return metric == SL_VECTOR_COSINE ? 1 - far : metric == SL_VECTOR_DOT ? 0 - far : far;
}

sl_vector_metric sl_pg_metric_of_column(const sl_pg_column *embedding)
{
    SL_ASSERT(embedding);
    sl_str name = sl_str_c(embedding->opclass); /* vector_l2_ops, halfvec_ip_ops, ... */
    return sl_str_ends(name, SL_STR("_l2_ops"))   ? SL_VECTOR_EUCLID
           : sl_str_ends(name, SL_STR("_ip_ops")) ? SL_VECTOR_DOT
                                                  : SL_VECTOR_COSINE;
}

static sl_vector_metric metric_of(const sl_pg_query *query, const sl_pg_column *embedding)
{
    return query->metric < SL_VECTOR_METRICS ? (sl_vector_metric)query->metric : sl_pg_metric_of_column(embedding);
}

/* ---- tables ---- */

void sl_pg_put_describe(sl_sql *sql, sl_str table)
{
    SL_ASSERT(sql);
    unsigned name = sl_sql_value(sql, table);
    SL_ASSERT(name == 1);
    (void)name;
    sl_sql_put(sql,
               "SELECT n.nspname, c.relname, a.attname, t.typname, tn.nspname, a.atttypmod,"
               " COALESCE((SELECT o.opcname FROM pg_catalog.pg_index i"
               " JOIN pg_catalog.pg_class ic ON ic.oid = i.indexrelid JOIN pg_catalog.pg_am m ON m.oid = ic.relam"
               " JOIN pg_catalog.pg_opclass o ON o.oid = i.indclass[0]"
               " WHERE i.indrelid = c.oid AND i.indkey[0] = a.attnum AND i.indisvalid"
               " AND m.amname IN ('hnsw', 'ivfflat') ORDER BY i.indexrelid LIMIT 1), (SELECT d.description"
               " FROM pg_catalog.pg_description d WHERE d.objoid = c.oid AND d.objsubid = a.attnum AND d.classoid ="
               " 'pg_catalog.pg_class'::regclass AND d.description IN ('vector_cosine_ops', 'vector_ip_ops',"
               " 'vector_l2_ops')), ''),"
               " EXISTS (SELECT FROM pg_catalog.pg_index i WHERE i.indrelid = c.oid AND i.indisprimary"
               " AND i.indnkeyatts = 1 AND i.indkey[0] = a.attnum)"
               " FROM pg_catalog.pg_class c JOIN pg_catalog.pg_namespace n ON n.oid = c.relnamespace"
               " JOIN pg_catalog.pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped"
               " JOIN pg_catalog.pg_type t ON t.oid = a.atttypid"
               " JOIN pg_catalog.pg_namespace tn ON tn.oid = t.typnamespace"
               " WHERE c.oid = COALESCE(to_regclass(quote_ident($1)), CASE WHEN strpos($1, '.') > 0 THEN"
               " to_regclass(quote_ident(split_part($1, '.', 1)) || '.' ||"
               " quote_ident(substr($1, strpos($1, '.') + 1))) END)"
               " ORDER BY a.attnum");
}

static bool copy_name(char *to, const char *from)
{
    return snprintf(to, SL_PG_NAME_BYTES, "%s", from) < SL_PG_NAME_BYTES;
}

int sl_pg_table_add(sl_pg_table *table, const char *const *values)
{
    SL_ASSERT(table && values);
    if (table->count == SL_MAX_PGVECTOR_COLUMNS)
        return SL_ELIMIT;
    if (table->count % 16 == 0) {
        sl_pg_column *more = sl_realloc(table->columns, (table->count + 16) * sizeof *more);
        if (!more)
            return SL_ENOMEM;
        table->columns = more;
    }
    sl_pg_column *c = &table->columns[table->count];
    bool good = copy_name(table->schema, values[SL_PG_COL_SCHEMA]) && copy_name(table->name, values[SL_PG_COL_TABLE]) &&
                copy_name(c->name, values[SL_PG_COL_NAME]) && copy_name(c->type, values[SL_PG_COL_TYPE]) &&
                copy_name(c->type_schema, values[SL_PG_COL_TYPE_SCHEMA]) &&
                copy_name(c->opclass, values[SL_PG_COL_OPCLASS]);
    if (!good)
        return SL_ELIMIT;
    c->dims = (int)strtol(values[SL_PG_COL_DIMS], NULL, 10);
    c->key = values[SL_PG_COL_KEY][0] == 't';
    table->count++;
    return 0;
}

void sl_pg_table_done(sl_pg_table *table)
{
    SL_ASSERT(table);
    sl_free(table->columns);
    *table = (sl_pg_table){0};
}

/* ---- what the columns mean ---- */

static const sl_pg_column *find(const sl_pg_table *table, sl_str name)
{
    for (size_t i = 0; i < table->count; i++)
        if (sl_str_eq_c(name, table->columns[i].name))
            return &table->columns[i];
    return NULL;
}

static bool has_type(const sl_pg_column *c, const char *one, const char *other)
{
    return strcmp(c->type, one) == 0 || strcmp(c->type, other) == 0;
}

static bool is_vector(const sl_pg_column *c)
{
    return has_type(c, "vector", "halfvec");
}

/* The first of these names that is there, of one of two types when they are given. */
static const sl_pg_column *first_of(const sl_pg_table *table, const char *const *names, const char *one,
                                    const char *other)
{
    for (; *names; names++) {
        const sl_pg_column *c = find(table, sl_str_c(*names));
        if (c && (!one || has_type(c, one, other)))
            return c;
    }
    return NULL;
}

/* A column that the query names. False: it is not there. */
static bool named(const sl_pg_table *table, sl_str name, const char *role, char *reason, const sl_pg_column **column)
{
    if (!name.len)
        return true;
    *column = find(table, name);
    if (!*column)
        (void)snprintf(reason, SL_PG_SQL_REASON, "table \"%s\" has no column \"%.*s\" (columns.%s)", table->name,
                       (int)(name.len > 63 ? 63 : name.len), name.ptr, role);
    return *column != NULL;
}

static const sl_pg_column *only_vector(const sl_pg_table *table)
{
    const sl_pg_column *found = NULL;
    for (size_t i = 0; i < table->count; i++)
        if (is_vector(&table->columns[i])) {
            if (found)
                return NULL;
            found = &table->columns[i];
        }
    return found;
}

static const sl_pg_column *usual_id(const sl_pg_table *table, const sl_pg_column *metadata)
{
    static const char *const own[] = {"langchain_id", "id", NULL};
    const sl_pg_column *node = find(table, SL_STR("node_id")), *found = first_of(table, own, NULL, NULL);
    if (node && metadata && strcmp(metadata->name, "metadata_") == 0)
        return node;
    for (size_t i = 0; !found && i < table->count; i++)
        if (table->columns[i].key)
            found = &table->columns[i];
    return found;
}

int sl_pg_find_roles(const sl_pg_table *table, const sl_pg_names *names, char *reason, sl_pg_roles *ret_roles)
{
    SL_ASSERT(table && names && reason && ret_roles);
    static const char *const contents[] = {"content", "text", "document", "body", NULL};
    static const char *const metadata[] = {"metadata", "metadata_", "langchain_metadata", "cmetadata", NULL};
    static const char *const embedding[] = {"embedding", NULL};
    static const char *const spaces[] = {"namespace", NULL};
    sl_pg_roles r = {.metadata = first_of(table, metadata, "jsonb", "json"),
                     .embedding = first_of(table, embedding, "vector", "halfvec"),
                     .content = first_of(table, contents, "text", "varchar"),
                     .space = first_of(table, spaces, "text", "varchar")};
    if (!r.embedding)
        r.embedding = only_vector(table);
    if (!named(table, names->content, "content", reason, &r.content) ||
        !named(table, names->metadata, "metadata", reason, &r.metadata) ||
        !named(table, names->embedding, "embedding", reason, &r.embedding) ||
        !named(table, names->space, "namespace", reason, &r.space))
        return SL_EINVAL;
    r.id = usual_id(table, r.metadata);
    if (!named(table, names->id, "id", reason, &r.id))
        return SL_EINVAL;
    const char *wrong = !r.embedding              ? "it has no column of type vector or halfvec, "
                                                    "or several; name it by columns.embedding"
                        : !is_vector(r.embedding) ? "columns.embedding is no vector or halfvec"
                        : !r.id                   ? "it has no column id and no primary key; name "
                                                    "it by columns.id"
                        : r.metadata && !has_type(r.metadata, "jsonb", "json") ? "columns.metadata is no jsonb or json"
                                                                               : NULL;
    if (wrong) {
        (void)snprintf(reason, SL_PG_SQL_REASON, "table \"%s\": %s", table->name, wrong);
        return SL_EINVAL;
    }
    *ret_roles = r;
    return 0;
}

/* True for columns that are metadata where there is no column of metadata. */
static bool is_plain(const sl_pg_roles *r, const sl_pg_column *c)
{
    static const char *const bulk[] = {"vector", "halfvec", "sparsevec", "bytea", "tsvector"};
    SL_ASSERT(r && c);
    if (c == r->id || c == r->content || c == r->embedding)
        return false;
    for (size_t i = 0; i < sizeof bulk / sizeof *bulk; i++)
        if (strcmp(c->type, bulk[i]) == 0)
            return false;
    return true;
}

/* ---- the search ---- */

static void put_column(sl_sql *sql, const sl_pg_column *c)
{
    sl_sql_put(sql, "t.");
    sl_sql_put_name(sql, c->name);
}

/* An expression of type jsonb: what a column has, or what the member `key` of it has. */
static void put_part(const build *b, const sl_pg_column *c, const char *key)
{
    char object[2 * SL_PG_NAME_BYTES + 40] = "";
    sl_sql quoted;
    sl_sql_init(&quoted);
    put_column(&quoted, c);
    if (sl_sql_finish(&quoted))
        b->sql->failed = b->sql->failed ? b->sql->failed : sl_sql_error(&quoted);
    else
        (void)snprintf(object, sizeof object, c == b->r.metadata ? "%s::jsonb" : "to_jsonb(%s)", quoted.text.data);
    sl_sql_done(&quoted);
    if (*key)
        sl_filter_sql_member(b->sql, object, key);
    else
        sl_sql_put(b->sql, object);
}

/* Where other columns are the metadata: the column of that name, or a part of one. */
static void put_plain_key(const build *b, const char *key)
{
    size_t dot = sl_str_chr(sl_str_c(key), '.');
    const sl_pg_column *c = find(b->table, sl_str_c(key));
    bool part = !c && dot != SL_NPOS;
    if (part)
        c = find(b->table, sl_str_of(key, dot));
    if (c && is_plain(&b->r, c))
        put_part(b, c, part ? key + dot + 1 : "");
    else
        sl_sql_put(b->sql, "NULL::jsonb");
}

/* An expression of type jsonb for what the metadata of a row has under a key, as results show it. */
static void put_key(sl_sql *sql, const char *key, void *user)
{
    const build *b = user;
    bool content = b->r.content && strcmp(key, "text") == 0;
    sl_sql_put(sql, content ? "COALESCE(" : "");
    if (b->r.metadata)
        put_part(b, b->r.metadata, key);
    else
        put_plain_key(b, key);
    if (content) {
        sl_sql_put(sql, ", ");
        put_part(b, b->r.content, "");
        sl_sql_put(sql, ")");
    }
}

static void put_space(const build *b)
{
    sl_sql *sql = b->sql;
    sl_sql_put(sql, " AND ");
    if (b->r.space) {
        put_column(sql, b->r.space);
        sl_sql_put(sql, "::text = ");
        sl_sql_put_value(sql, b->query->space);
        sl_sql_put(sql, "::text");
    } else if (strcmp(b->table->name, "langchain_pg_embedding") == 0 && find(b->table, SL_STR("collection_id"))) {
        sl_sql_put(sql, "t.\"collection_id\" IN (SELECT l.\"uuid\" FROM ");
        sl_sql_put_name(sql, b->table->schema);
        sl_sql_put(sql, ".\"langchain_pg_collection\" l WHERE l.\"name\" = ");
        sl_sql_put_value(sql, b->query->space);
        sl_sql_put(sql, "::text)");
    } else {
        put_key(sql, "namespace", (void *)(uintptr_t)b);
        sl_sql_put(sql, " @> to_jsonb(");
        sl_sql_put_value(sql, b->query->space);
        sl_sql_put(sql, "::text)");
    }
}

/* "[1,0.5]" as a value of the column's type. */
static void put_vector(const build *b)
{
    sl_buf text;
    sl_buf_init(&text, 32u * SL_MAX_VECTOR_DIMS);
    (void)sl_buf_put_char(&text, '[');
    for (size_t i = 0; i < b->query->dims; i++) {
        if (i)
            (void)sl_buf_put_char(&text, ',');
        (void)sl_buf_put_double(&text, (double)b->query->vector[i]);
    }
    (void)sl_buf_put_char(&text, ']');
    if (text.failed)
        b->sql->failed = text.failed;
    else
        sl_sql_put_value(b->sql, sl_buf_str(&text));
    sl_buf_done(&text);
    sl_sql_put(b->sql, "::");
    sl_sql_put_name(b->sql, b->r.embedding->type_schema);
    sl_sql_put(b->sql, ".");
    sl_sql_put_name(b->sql, b->r.embedding->type);
}

/* The nearest rows: s.i, s.d, s.c, s.e, and s.m, or s.m0, s.m1, ... where the other columns are the metadata. */
static void put_nearest(const build *b, sl_vector_metric metric)
{
    sl_sql *sql = b->sql;
    sl_sql_put(sql, "(SELECT ");
    put_column(sql, b->r.id);
    sl_sql_put(sql, " AS i, ");
    put_column(sql, b->r.embedding);
    sl_sql_put(sql, " OPERATOR(");
    sl_sql_put_name(sql, b->r.embedding->type_schema);
    sl_sql_put(sql, ".");
    sl_sql_put(sql, operators[metric]);
    sl_sql_put(sql, ") ");
    put_vector(b);
    sl_sql_put(sql, " AS d");
    for (size_t i = 0; b->query->with_metadata && !b->r.metadata && i < b->table->count; i++)
        if (is_plain(&b->r, &b->table->columns[i])) {
            sl_sql_put(sql, ", ");
            put_column(sql, &b->table->columns[i]);
            (void)sl_buf_printf(&sql->text, " AS m%zu", i);
        }
    const sl_pg_column *more[] = {b->query->with_metadata ? b->r.metadata : NULL,
                                  b->query->with_metadata ? b->r.content : NULL,
                                  b->query->with_vectors ? b->r.embedding : NULL};
    for (size_t i = 0; i < 3; i++)
        if (more[i]) {
            static const char *const names[] = {" AS m", " AS c", " AS e"};
            sl_sql_put(sql, ", ");
            put_column(sql, more[i]);
            sl_sql_put(sql, names[i]);
        }
    sl_sql_put(sql, " FROM ");
    sl_sql_put_name(sql, b->table->schema);
    sl_sql_put(sql, ".");
    sl_sql_put_name(sql, b->table->name);
    sl_sql_put(sql, " t WHERE ");
    put_column(sql, b->r.embedding);
    sl_sql_put(sql, " IS NOT NULL");
    if (b->query->space.len)
        put_space(b);
    if (b->query->filter) {
        sl_sql_put(sql, " AND ");
        sl_vector_filter_sql(b->query->filter, sql, put_key, (void *)(uintptr_t)b);
    }
    (void)sl_buf_printf(&sql->text, " ORDER BY d LIMIT %zu) s", b->query->top_k);
}

/* The metadata as text: the column's, or an object of all other columns (in parts: a function takes 100 arguments). */
static void put_metadata(const build *b)
{
    sl_sql *sql = b->sql;
    size_t count = 0;
    if (!b->query->with_metadata || b->r.metadata) {
        sl_sql_put(sql, b->query->with_metadata ? "s.m::text" : "NULL::text");
        return;
    }
    sl_sql_put(sql, "(jsonb_build_object(");
    for (size_t i = 0; i < b->table->count; i++)
        if (is_plain(&b->r, &b->table->columns[i])) {
            sl_sql_put(sql, count && count % 40 == 0 ? ") || jsonb_build_object(" : count ? ", " : "");
            sl_sql_put_value(sql, sl_str_c(b->table->columns[i].name));
            (void)sl_buf_printf(&sql->text, "::text, s.m%zu", i);
            count++;
        }
    sl_sql_put(sql, "))::text");
}

/* Texts, their size, and instead of those that are too large nothing. */
static void put_all(const build *b, sl_vector_metric metric)
{
    sl_sql *sql = b->sql;
    (void)sl_buf_printf(
        &sql->text,
        "SELECT CASE WHEN f THEN i END, d, CASE WHEN f THEN m END, CASE WHEN f THEN c END, e, n"
        " FROM (SELECT *, n <= %u AS f FROM (SELECT *, COALESCE(octet_length(i), 0) + COALESCE(octet_length(m), 0)"
        " + COALESCE(octet_length(c), 0) AS n FROM (SELECT s.i::text AS i, s.d, ",
        SL_MAX_PGVECTOR_ANSWER_BYTES);
    put_metadata(b);
    sl_sql_put(sql, b->query->with_metadata && b->r.content ? " AS m, s.c::text AS c" : " AS m, NULL::text AS c");
    sl_sql_put(sql, b->query->with_vectors ? ", s.e::text AS e FROM " : ", NULL::text AS e FROM ");
    put_nearest(b, metric);
    sl_sql_put(sql, ") x) y) z ORDER BY d");
}

int sl_pg_put_search(sl_sql *sql, const sl_pg_table *table, const sl_pg_query *query, char *reason,
                     sl_vector_metric *ret_metric)
{
    SL_ASSERT(sql && table && table->count && query && query->vector && query->dims && reason && ret_metric);
    build b = {.sql = sql, .table = table, .query = query};
    int error = sl_pg_find_roles(table, &query->names, reason, &b.r);
    if (error)
        return error;
    int dims = b.r.embedding->dims;
    if (dims > 0 && (size_t)dims != query->dims) {
        (void)snprintf(reason, SL_PG_SQL_REASON, "the query has %zu dimensions, column \"%s\" of table \"%s\" %d",
                       query->dims, b.r.embedding->name, table->name, dims);
        return SL_EINVAL;
    }
    *ret_metric = metric_of(query, b.r.embedding);
    put_all(&b, *ret_metric);
    return 0;
}
