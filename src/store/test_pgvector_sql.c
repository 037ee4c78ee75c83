/* Statements that search tables of pgvector: what columns mean, filters as SQL, names and values, failing memory. */
#include "src/store/pgvector_sql.h"

#include <float.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/store/collection_filter_sql.h"
#include "tests/harness/sl_test.h"

static const float two[2] = {1, -0.5f};

/* "name type" or "name type*" (the primary key), commas between; type/opclass says the index. */
static void make_table(sl_pg_table *table, const char *name, const char *columns)
{
    char text[600];
    char *rest = text, *part;
    (void)snprintf(text, sizeof text, "%s", columns);
    *table = (sl_pg_table){0};
    while ((part = strsep(&rest, ","))) {
        char *type = strchr(part, ' ');
        *type++ = '\0';
        char *star = strchr(type, '*'), *slash = strchr(type, '/');
        if (star)
            *star = '\0';
        if (slash)
            *slash = '\0';
        bool vector = strstr(type, "vec") != NULL;
        const char *values[SL_PG_COLS] = {"public",
                                          name,
                                          part,
                                          type,
                                          vector ? "ext" : "pg_catalog",
                                          vector ? "2" : "-1",
                                          slash ? slash + 1 : "",
                                          star ? "t" : "f"};
        if (sl_pg_table_add(table, values))
            abort();
    }
}

static sl_pg_query plain_query(void)
{
    return (sl_pg_query){.table = SL_STR("t"), .metric = SL_PG_METRIC_AUTO, .vector = two, .dims = 2, .top_k = 3};
}

/* The innermost SELECT without what is the same in all. */
static void inner(const sl_sql *sql, char *text, size_t size)
{
    const char *from = strstr(sql->text.data, "FROM (SELECT t."), *end = strstr(sql->text.data, " ORDER BY d LIMIT");
    (void)snprintf(text, size, "%.*s", from && end ? (int)(end - from - 13) : 0, from ? from + 13 : "");
}

typedef struct table_row {
    const char *columns;
    const char *select; /* up to FROM */
} table_row;

static const table_row table_rows[] = {
    {"id text*,content text,metadata jsonb,embedding vector",
     "t.\"id\" AS i, t.\"embedding\" OPERATOR(\"ext\".<=>) $1::\"ext\".\"vector\" AS d, t.\"metadata\" AS m, "
     "t.\"content\" AS c"},
    {"id int8*,text varchar,metadata_ json,node_id varchar,embedding vector",
     "t.\"node_id\" AS i, t.\"embedding\" OPERATOR(\"ext\".<=>) $1::\"ext\".\"vector\" AS d, t.\"metadata_\" AS m, "
     "t.\"text\" AS c"},
    {"langchain_id uuid*,content text,embedding vector,langchain_metadata json",
     "t.\"langchain_id\" AS i, t.\"embedding\" OPERATOR(\"ext\".<=>) $1::\"ext\".\"vector\" AS d, "
     "t.\"langchain_metadata\" AS m, "
     "t.\"content\" AS c"},
    {"id varchar*,collection_id uuid,embedding vector,document varchar,cmetadata jsonb",
     "t.\"id\" AS i, t.\"embedding\" OPERATOR(\"ext\".<=>) $1::\"ext\".\"vector\" AS d, t.\"cmetadata\" AS m, "
     "t.\"document\" AS c"},
    {"key int8*,title text,v halfvec/halfvec_l2_ops,bulk bytea",
     "t.\"key\" AS i, t.\"v\" OPERATOR(\"ext\".<->) $2::\"ext\".\"halfvec\" AS d, t.\"title\" AS m1"},
    {"id int8,node_id int8,embedding vector/vector_ip_ops,other vector",
     "t.\"id\" AS i, t.\"embedding\" OPERATOR(\"ext\".<#>) $2::\"ext\".\"vector\" AS d, t.\"node_id\" AS m1"},
    {"id text*,metadata text,v vector/vector_cosine_ops",
     "t.\"id\" AS i, t.\"v\" OPERATOR(\"ext\".<=>) $2::\"ext\".\"vector\" AS d, t.\"metadata\" AS m1"},
    {"i\"d text*,v vector", "t.\"i\"\"d\" AS i, t.\"v\" OPERATOR(\"ext\".<=>) $1::\"ext\".\"vector\" AS d"},
};

SL_TEST(what_columns_mean)
{
    for (size_t i = 0; i < sizeof table_rows / sizeof *table_rows; i++) {
        sl_pg_table table;
        sl_sql sql;
        char reason[SL_PG_SQL_REASON] = "", text[2000];
        sl_vector_metric metric;
        make_table(&table, "t", table_rows[i].columns);
        sl_sql_init(&sql);
        sl_pg_query query = plain_query();
        query.with_metadata = true;
        CHECK_EQ(sl_pg_put_search(&sql, &table, &query, reason, &metric), 0);
        REQUIRE(sl_sql_finish(&sql) == 0);
        inner(&sql, text, sizeof text);
        size_t len = strlen(table_rows[i].select);
        if (strncmp(text, table_rows[i].select, len) != 0 || strncmp(text + len, " FROM \"public\".\"t\" t ", 21) != 0)
            sl_test_failed(__FILE__, __LINE__, "%s: %s %s", table_rows[i].columns, text, reason);
        CHECK_STR(sl_str_c(sql.values[sql.count - 1]), "[1,-0.5]");
        sl_sql_done(&sql);
        sl_pg_table_done(&table);
    }
}

typedef struct bad_row {
    const char *columns;
    sl_pg_names names;
    const char *says;
} bad_row;

SL_TEST(tables_that_cannot_be_searched)
{
    static const char docs[] = "id text*,content text,metadata jsonb,embedding vector";
    const sl_pg_names none = {.id = SL_STR("")};
    const bad_row rows[] = {
        {"id text*,content text", none, "no column of type vector or halfvec"},
        {"id text*,a vector,b vector", none, "or several; name it by columns.embedding"},
        {"a text,v vector", none, "no column id and no primary key"},
        {docs, {.embedding = SL_STR("content")}, "columns.embedding is no vector"},
        {docs, {.metadata = SL_STR("content")}, "columns.metadata is no jsonb"},
        {docs, {.id = SL_STR("Id")}, "table \"t\" has no column \"Id\" (columns.id)"},
        {docs, {.content = SL_STR("x")}, "(columns.content)"},
        {docs, {.metadata = SL_STR("x")}, "(columns.metadata)"},
        {docs, {.embedding = SL_STR("x")}, "(columns.embedding)"},
        {docs, {.space = SL_STR("x")}, "(columns.namespace)"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_pg_table table;
        sl_sql sql;
        char reason[SL_PG_SQL_REASON] = "";
        sl_vector_metric metric;
        make_table(&table, "t", rows[i].columns);
        sl_sql_init(&sql);
        sl_pg_query query = plain_query();
        query.names = rows[i].names;
        CHECK_EQ(sl_pg_put_search(&sql, &table, &query, reason, &metric), SL_EINVAL);
        if (!strstr(reason, rows[i].says))
            sl_test_failed(__FILE__, __LINE__, "%zu: %s", i, reason);
        CHECK_EQ(sql.text.len, 0);
        sl_sql_done(&sql);
        sl_pg_table_done(&table);
    }
}

/* ---- conditions ---- */

static json_t *quoted(const char *text)
{
    char copy[400];
    (void)snprintf(copy, sizeof copy, "%s", text);
    for (char *c = copy; *c; c++)
        if (*c == '\'')
            *c = '"';
    return json_loads(copy, 0, NULL);
}

typedef struct where_row {
    const char *columns, *space, *filter;
    const char *where;  /* behind "IS NOT NULL" */
    const char *values; /* behind the vector, a bar behind each */
} where_row;

#define DOCS "id text*,content text,metadata jsonb,embedding vector"
#define PLAIN "id text*,lang text,year int4,tags jsonb,embedding vector"

static const where_row where_rows[] = {
    {DOCS, "", "{'a':1}", "((COALESCE(t.\"metadata\"::jsonb->$2::text, 'null'::jsonb) @> $3::jsonb))", "a|1|"},
    {DOCS, "", "{'a':{'$ne':0.1}}", "(NOT (COALESCE(t.\"metadata\"::jsonb->$2::text, 'null'::jsonb) @> $3::jsonb))",
     "a|0.1|"},
    {DOCS, "", "{'a':{'$in':['x',true]}}",
     "(EXISTS (SELECT FROM jsonb_array_elements($2::jsonb) AS o(v) WHERE COALESCE(t.\"metadata\"::jsonb->$3::text, "
     "'null'::jsonb) @> o.v))",
     "[\"x\",true]|a|"},
    {DOCS, "", "{'a':{'$gte':2}}",
     "(COALESCE(jsonb_typeof(t.\"metadata\"::jsonb->$2::text) = 'number' AND (t.\"metadata\"::jsonb->$3::text) >= "
     "$4::jsonb, "
     "false))",
     "a|a|2|"},
    {DOCS, "", "{'a':{'$lt':'m'}}",
     "(COALESCE(jsonb_typeof(t.\"metadata\"::jsonb->$2::text) = 'string' AND (t.\"metadata\"::jsonb->$3::text #>> "
     "'{}') "
     "COLLATE \"C\" < ($4::jsonb #>> '{}'), false))",
     "a|a|\"m\"|"},
    {DOCS, "", "{'a':{'$exists':true}}",
     "((COALESCE(t.\"metadata\"::jsonb->$2::text, 'null'::jsonb) <> 'null'::jsonb))", "a|"},
    {DOCS, "", "{'a':{'$exists':false}}",
     "((COALESCE(t.\"metadata\"::jsonb->$2::text, 'null'::jsonb) = 'null'::jsonb))", "a|"},
    {DOCS, "", "{'$or':[{'a':null},{}],'$not':{'b':2}}",
     "((((COALESCE(t.\"metadata\"::jsonb->$2::text, 'null'::jsonb) @> $3::jsonb)) OR (true)) AND NOT "
     "((COALESCE(t.\"metadata\"::jsonb->$4::text, 'null'::jsonb) @> $5::jsonb)))",
     "a|null|b|2|"},
    {DOCS, "", "{'a.b.c':1}",
     "((COALESCE(COALESCE(t.\"metadata\"::jsonb->$2::text, COALESCE(t.\"metadata\"::jsonb->$3::text->$4::text, "
     "t.\"metadata\"::jsonb->$3::text->$5::text->$6::text)), 'null'::jsonb) @> $7::jsonb))",
     "a.b.c|a|b.c|b|c|1|"},
    {PLAIN, "", "{'year':1}", "((COALESCE(to_jsonb(t.\"year\"), 'null'::jsonb) @> $2::jsonb))", "1|"},
    {PLAIN, "", "{'tags.x':1}", "((COALESCE(to_jsonb(t.\"tags\")->$2::text, 'null'::jsonb) @> $3::jsonb))", "x|1|"},
    {DOCS, "", "{'text':'x'}",
     "((COALESCE(COALESCE(t.\"metadata\"::jsonb->$2::text, to_jsonb(t.\"content\")), 'null'::jsonb) @> $3::jsonb))",
     "text|\"x\"|"},
    {PLAIN ",document varchar", "", "{'text':'x'}",
     "((COALESCE(COALESCE(NULL::jsonb, to_jsonb(t.\"document\")), 'null'::jsonb) @> $2::jsonb))", "\"x\"|"},
    {PLAIN, "", "{'none':1}", "((COALESCE(NULL::jsonb, 'null'::jsonb) @> $2::jsonb))", "1|"},
    {PLAIN, "", "{'embedding':1}", "((COALESCE(NULL::jsonb, 'null'::jsonb) @> $2::jsonb))", "1|"},
    {DOCS, "", "{'\\u0022; --':'\\u0022; --'}",
     "((COALESCE(t.\"metadata\"::jsonb->$2::text, 'null'::jsonb) @> $3::jsonb))", "\"; --|\"\\\"; --\"|"},
    {DOCS, "n", "{}", "t.\"metadata\"::jsonb->$2::text @> to_jsonb($3::text) AND (true)", "namespace|n|"},
    {DOCS ",namespace text", "n", "{}", "t.\"namespace\"::text = $2::text AND (true)", "n|"},
    {PLAIN, "n", "{}", "NULL::jsonb @> to_jsonb($2::text) AND (true)", "n|"},
};

SL_TEST(conditions)
{
    for (size_t i = 0; i < sizeof where_rows / sizeof *where_rows; i++) {
        const where_row *row = &where_rows[i];
        sl_pg_table table;
        sl_sql sql;
        char reason[SL_FILTER_REASON + SL_PG_SQL_REASON] = "", text[2000], values[400] = "";
        sl_vector_metric metric;
        sl_vector_filter *filter = NULL;
        json_t *json = quoted(row->filter);
        REQUIRE(json && sl_vector_filter_new(json, reason, &filter) == 0);
        make_table(&table, "t", row->columns);
        sl_sql_init(&sql);
        sl_pg_query query = plain_query();
        query.filter = filter;
        query.space = sl_str_c(row->space);
        CHECK_EQ(sl_pg_put_search(&sql, &table, &query, reason, &metric), 0);
        REQUIRE(sl_sql_finish(&sql) == 0);
        inner(&sql, text, sizeof text);
        const char *where = strstr(text, "IS NOT NULL AND ");
        for (unsigned k = 1; k < sql.count; k++)
            (void)snprintf(values + strlen(values), sizeof values - strlen(values), "%s|", sql.values[k]);
        const char *seen = where ? where + 16 : "";
        if (strcmp(seen, row->where) != 0 || strcmp(values, row->values) != 0)
            sl_test_failed(__FILE__, __LINE__, "%s:\n  %s\n  %s\n  %s\n", row->filter, row->where, seen, values);
        sl_sql_done(&sql);
        sl_pg_table_done(&table);
        sl_vector_filter_free(filter);
        json_decref(json);
    }
}

SL_TEST(langchain_collections)
{
    sl_pg_table table;
    sl_sql sql;
    char reason[SL_PG_SQL_REASON], text[2000];
    sl_vector_metric metric;
    make_table(&table, "langchain_pg_embedding", "id varchar*,collection_id uuid,embedding vector,cmetadata jsonb");
    sl_sql_init(&sql);
    sl_pg_query query = plain_query();
    query.space = SL_STR("mine");
    CHECK_EQ(sl_pg_put_search(&sql, &table, &query, reason, &metric), 0);
    REQUIRE(sl_sql_finish(&sql) == 0);
    inner(&sql, text, sizeof text);
    CHECK(strstr(text,
                 " AND t.\"collection_id\" IN (SELECT l.\"uuid\" FROM \"public\".\"langchain_pg_collection\" l WHERE "
                 "l.\"name\" = $2::text)"));
    CHECK_STR(sl_str_c(sql.values[1]), "mine");
    sl_sql_done(&sql);
    sl_pg_table_done(&table);
}

/* ---- limits ---- */

SL_TEST(limits)
{
    sl_pg_table table = {0};
    char name[SL_PG_NAME_BYTES + 1];
    const char *values[SL_PG_COLS] = {"s", "t", "c", "text", "pg_catalog", "-1", "", "f"};
    for (int i = 0; i < SL_MAX_PGVECTOR_COLUMNS; i++)
        CHECK_EQ(sl_pg_table_add(&table, values), 0);
    CHECK_EQ(sl_pg_table_add(&table, values), SL_ELIMIT);
    sl_pg_table_done(&table);
    memset(name, 'n', sizeof name);
    name[SL_PG_NAME_BYTES] = '\0';
    values[SL_PG_COL_NAME] = name;
    CHECK_EQ(sl_pg_table_add(&table, values), SL_ELIMIT);
    name[SL_PG_NAME_BYTES - 1] = '\0';
    CHECK_EQ(sl_pg_table_add(&table, values), 0);
    sl_pg_table_done(&table);
    sl_sql sql;
    sl_sql_init(&sql);
    for (unsigned i = 1; i <= SL_MAX_SQL_VALUES; i++)
        CHECK_EQ(sl_sql_value(&sql, SL_STR("v")), i);
    CHECK_EQ(sl_sql_error(&sql), 0);
    (void)sl_sql_value(&sql, SL_STR("v"));
    CHECK_EQ(sl_sql_error(&sql), SL_ELIMIT);
    CHECK_EQ(sl_sql_finish(&sql), SL_ELIMIT);
    sl_sql_done(&sql);
    /* A key of so many names that its expression is too long. */
    char *key = sl_malloc(40001);
    memset(key, '.', 40000);
    key[40000] = '\0';
    sl_sql_init(&sql);
    sl_filter_sql_member(&sql, "o", key);
    CHECK_EQ(sl_sql_finish(&sql), SL_ELIMIT);
    sl_sql_done(&sql);
    sl_free(key);
}

SL_TEST(metrics_and_scores)
{
    unsigned metric = 9;
    CHECK_EQ(sl_pg_metric_parse(SL_STR("<->"), &metric), 0);
    CHECK_EQ(metric, SL_VECTOR_EUCLID);
    CHECK_EQ(sl_pg_metric_parse(SL_STR("inner_product"), &metric), 0);
    CHECK_EQ(metric, SL_VECTOR_DOT);
    CHECK_EQ(sl_pg_metric_parse(SL_STR("cosine"), &metric), 0);
    CHECK_EQ(metric, SL_VECTOR_COSINE);
    CHECK_EQ(sl_pg_metric_parse(SL_STR("Cosine"), &metric), SL_EINVAL);
    CHECK(sl_pg_score(SL_VECTOR_COSINE, 0.25) == 0.75);
    CHECK(sl_pg_score(SL_VECTOR_DOT, -3) == 3);
    CHECK(sl_pg_score(SL_VECTOR_EUCLID, 2) == 2);
    CHECK(sl_pg_score(SL_VECTOR_COSINE, strtod("nan", NULL)) == 0);
    CHECK(sl_pg_score(SL_VECTOR_EUCLID, strtod("Infinity", NULL)) == DBL_MAX); /* too far for a real */
    CHECK(sl_pg_score(SL_VECTOR_DOT, strtod("-Infinity", NULL)) == DBL_MAX);
    CHECK(sl_pg_score(SL_VECTOR_DOT, strtod("Infinity", NULL)) == -DBL_MAX);
}

SL_TEST(describe_names_the_table_as_a_value)
{
    sl_sql sql;
    sl_sql_init(&sql);
    sl_pg_put_describe(&sql, SL_STR("a\"b'; --"));
    CHECK_EQ(sl_sql_finish(&sql), 0);
    CHECK_EQ(sql.count, 1);
    CHECK_STR(sl_str_c(sql.values[0]), "a\"b'; --");
    CHECK(!strstr(sql.text.data, "--"));
    sl_sql_done(&sql);
}

SL_TEST(memory_runs_out)
{
    char reason[SL_FILTER_REASON + SL_PG_SQL_REASON];
    json_t *json = quoted("{'a.b':1,'c':{'$gt':'x','$in':[1]}}");
    sl_vector_filter *filter = NULL;
    REQUIRE(sl_vector_filter_new(json, reason, &filter) == 0);
    bool failed = true;
    for (long n = 0; failed; n++) {
        sl_pg_table table;
        sl_sql sql;
        sl_vector_metric metric;
        make_table(&table, "t", DOCS);
        sl_sql_init(&sql);
        sl_pg_query query = plain_query();
        query.filter = filter;
        query.with_metadata = query.with_vectors = true;
        sl_test_fail_alloc(n);
        CHECK_EQ(sl_pg_put_search(&sql, &table, &query, reason, &metric), 0);
        int error = sl_sql_finish(&sql);
        failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(error, failed ? SL_ENOMEM : 0);
        sl_sql_done(&sql);
        sl_pg_table_done(&table);
    }
    sl_vector_filter_free(filter);
    json_decref(json);
}
