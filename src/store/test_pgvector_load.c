/* Rows into tables of pgvector: statements, batches, what a server says, and tries again. */
#include "src/store/pgvector_load.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/store/test_pg_server.h"

static const float two[2] = {1, -0.5f};

static sl_vector_row row_of(const char *space, const char *id, const char *metadata)
{
    return (sl_vector_row){sl_str_c(space), sl_str_c(id), two, 2, sl_str_c(metadata)};
}

/* "name type", commas between; vectors are of the schema ext. */
static void make_table(sl_pg_table *table, const char *name, const char *columns)
{
    char text[600];
    char *rest = text, *part;
    (void)snprintf(text, sizeof text, "%s", columns);
    *table = (sl_pg_table){0};
    while ((part = strsep(&rest, ","))) {
        char *type = strchr(part, ' ');
        *type++ = '\0';
        bool vector = strstr(type, "vec") != NULL;
        const char *values[SL_PG_COLS] = {"public", name, part, type, vector ? "ext" : "pg_catalog", "2", "", "f"};
        if (sl_pg_table_add(table, values))
            abort();
    }
}

static void check_text(sl_sql *sql, const char *wanted)
{
    CHECK_EQ(sl_sql_finish(sql), 0);
    CHECK_STR(sl_str_c(sql->text.data), wanted);
    sl_sql_done(sql);
}

SL_TEST(a_table_is_made)
{
    static const struct {
        const char *name, *create, *comment;
    } cases[] = {
        {"docs",
         "CREATE TABLE \"docs\" (\"namespace\" text NOT NULL DEFAULT '', \"id\" text NOT NULL, \"metadata\" jsonb NOT "
         "NULL DEFAULT '{}', \"embedding\" \"ext\".vector(3) NOT NULL, PRIMARY KEY (\"namespace\", \"id\"))",
         "COMMENT ON COLUMN \"docs\".\"embedding\" IS 'vector_l2_ops'"},
        {"My S.a\"b.c",
         "CREATE TABLE \"My S\".\"a\"\"b.c\" (\"namespace\" text NOT NULL DEFAULT '', \"id\" text NOT NULL, "
         "\"metadata\" jsonb NOT NULL DEFAULT '{}', \"embedding\" \"ext\".vector(3) NOT NULL, PRIMARY KEY "
         "(\"namespace\", \"id\"))",
         "COMMENT ON COLUMN \"My S\".\"a\"\"b.c\".\"embedding\" IS 'vector_l2_ops'"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_sql sql;
        sl_sql_init(&sql);
        sl_pg_put_create(&sql, sl_str_c(cases[i].name), "ext", 3);
        check_text(&sql, cases[i].create);
        sl_sql_init(&sql);
        sl_pg_put_comment(&sql, sl_str_c(cases[i].name), SL_VECTOR_EUCLID);
        check_text(&sql, cases[i].comment);
    }
}

#define ROWS(columns) " pg_catalog.jsonb_to_recordset($1::jsonb) AS r(" columns ")"
#define ALL "s text, i text, m jsonb, e text"
#define TEXT "\"pg_catalog\".\"text\""

SL_TEST(statements_for_each_shape_of_table)
{
    static const struct {
        const char *name, *columns, *gone, *come;
    } cases[] = {
        {"own", "namespace text,id text,metadata jsonb,embedding vector",
         "DELETE FROM \"public\".\"own\" t USING" ROWS(ALL) " WHERE t.\"id\" = r.i::" TEXT
                                                            " AND t.\"namespace\"::text = r.s",
         "INSERT INTO \"public\".\"own\" (\"id\", \"namespace\", \"metadata\", \"embedding\") SELECT r.i::" TEXT
         ", r.s::" TEXT ", (r.m)::\"pg_catalog\".\"jsonb\", r.e::\"ext\".\"vector\" FROM" ROWS(ALL)},
        {"data_llama", "id int8,text varchar,metadata_ json,node_id varchar,embedding halfvec",
         "DELETE FROM \"public\".\"data_llama\" t USING" ROWS(
             ALL) " WHERE t.\"node_id\" = r.i::\"pg_catalog\".\"varchar\" AND COALESCE(t.\"metadata_\"::jsonb ->> "
                  "'namespace', '') = r.s",
         "INSERT INTO \"public\".\"data_llama\" (\"node_id\", \"text\", \"metadata_\", \"embedding\") SELECT "
         "r.i::\"pg_catalog\".\"varchar\", CASE WHEN jsonb_typeof(r.m -> 'text') = 'string' THEN r.m ->> 'text' ELSE "
         "'' END::\"pg_catalog\".\"varchar\", (CASE WHEN jsonb_typeof(r.m -> 'text') = 'string' THEN r.m - 'text' ELSE "
         "r.m END || CASE WHEN r.s = '' THEN '{}' ELSE jsonb_build_object('namespace', r.s) "
         "END)::\"pg_catalog\".\"json\", r.e::\"ext\".\"halfvec\" FROM" ROWS(ALL)},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_pg_table table;
        sl_sql sql;
        char reason[SL_PG_SQL_REASON];
        make_table(&table, cases[i].name, cases[i].columns);
        sl_sql_init(&sql);
        CHECK_EQ(sl_pg_put_delete(&sql, &table, SL_STR("[]"), reason), 0);
        CHECK_EQ(sql.count, 1);
        check_text(&sql, cases[i].gone);
        sl_sql_init(&sql);
        CHECK_EQ(sl_pg_put_insert(&sql, &table, SL_STR("[]"), reason), 0);
        CHECK_EQ(sql.count, 1);
        check_text(&sql, cases[i].come);
        sl_pg_table_done(&table);
    }
}

SL_TEST(tables_that_take_no_rows)
{
    static const struct {
        const char *name, *columns, *reason;
    } cases[] = {{"bare", "id text,embedding vector", "it has no column of metadata"},
                 {"langchain_pg_embedding",
                  "id text,collection_id uuid,embedding vector,document varchar,cmetadata jsonb",
                  "load it by LangChain"},
                 {"none", "id text,metadata jsonb", "no column of type vector or halfvec"},
                 {"key", "a text,metadata jsonb,embedding vector", "no column id"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_pg_table table;
        sl_sql sql;
        char reason[SL_PG_SQL_REASON] = "";
        make_table(&table, cases[i].name, cases[i].columns);
        sl_sql_init(&sql);
        CHECK_EQ(sl_pg_put_delete(&sql, &table, SL_STR("[]"), reason), SL_EINVAL);
        CHECK(strstr(reason, cases[i].reason) != NULL);
        CHECK_EQ(sl_pg_put_insert(&sql, &table, SL_STR("[]"), reason), SL_EINVAL);
        sl_sql_done(&sql);
        sl_pg_table_done(&table);
    }
}

SL_TEST(a_batch_is_json)
{
    const sl_vector_row rows[] = {row_of("", "a\"b", "{\"n\":0.1}"), row_of("s", "b", ""), row_of("", "b", "{}"),
                                  row_of("s", "b", "{\"again\":true}")};
    char *text = sl_pg_load_batch(rows, 4);
    REQUIRE(text);
    CHECK_STR(sl_str_c(text), "[{\"s\":\"\",\"i\":\"a\\\"b\",\"m\":{\"n\":0.1},\"e\":\"[1,-0.5]\"},"
                              "{\"s\":\"\",\"i\":\"b\",\"m\":{},\"e\":\"[1,-0.5]\"},"
                              "{\"s\":\"s\",\"i\":\"b\",\"m\":{\"again\":true},\"e\":\"[1,-0.5]\"}]");
    sl_free(text);
    text = sl_pg_load_batch(rows, 0);
    CHECK_STR(sl_str_c(text), "[]");
    sl_free(text);
    for (long n = 0; n < 6; n++) {
        sl_test_fail_alloc(n);
        text = sl_pg_load_batch(rows, 4);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(text == NULL, failed);
        sl_free(text);
    }
}

/* ---- a server ---- */

typedef struct site {
    ps_server server;
    sl_pg_loader *loader;
    char url[256], reason[SL_PG_LOAD_REASON];
} site;

static void site_open(site *s)
{
    s->loader = NULL;
    s->reason[0] = 0;
    ps_begin(&s->server);
    (void)ps_url(&s->server, s->url, sizeof s->url, "");
    CHECK_EQ(sl_pg_loader_new(s->url, NULL, s->reason, &s->loader), 0);
    if (!s->loader)
        abort();
}

static void site_close(site *s)
{
    sl_pg_loader_free(s->loader);
    ps_end(&s->server);
}

/* What was said, each statement up to its second word. */
static void said(const site *s, char *text, size_t size)
{
    size_t len = 0;
    char copy[sizeof s->server.said];
    char *rest = copy, *part;
    (void)snprintf(copy, sizeof copy, "%s", s->server.said);
    text[0] = 0;
    while ((part = strsep(&rest, "|"))) {
        size_t first = strcspn(part, " ");
        size_t second = part[first] ? first + 1 + strcspn(part + first + 1, " ") : first;
        if (*part >= 'A' && *part <= 'Z') /* a bar within a statement is none */
            len += (size_t)snprintf(text + len, size - len, "%.*s|", (int)second, part);
    }
}

#define NEED_LIBPQ()                                                                                                   \
    if (!ps_have_libpq())                                                                                              \
    SL_SKIP("libpq.so.5 is not installed")

SL_TEST(rows_are_put_in_one_transaction)
{
    NEED_LIBPQ();
    static site s;
    char text[512];
    const sl_vector_row rows[] = {row_of("", "a", "{}"), row_of("", "b", "{}")};
    bool made = true;
    site_open(&s);
    CHECK_EQ(sl_pg_loader_table(s.loader, SL_STR("docs"), 2, SL_PG_METRIC_AUTO, s.reason, &made), 0);
    CHECK(!made);
    CHECK_EQ(sl_pg_loader_put(s.loader, rows, 2, s.reason), 0);
    said(&s, text, sizeof text);
    CHECK_STR(sl_str_c(text), "BEGIN|DELETE FROM|INSERT INTO|COMMIT|");
    CHECK_EQ(s.server.connections, 1);
    site_close(&s);
}

SL_TEST(a_table_that_is_not_there_is_made_and_its_extension)
{
    NEED_LIBPQ();
    static const char *const wanted[] = {
        "SELECT nspname|BEGIN|CREATE TABLE|COMMENT ON|COMMIT|",
        "SELECT nspname|CREATE EXTENSION|SELECT nspname|BEGIN|CREATE TABLE|COMMENT ON|COMMIT|"};
    for (int i = 0; i < 2; i++) {
        static site s;
        char text[512];
        bool made = false;
        site_open(&s);
        s.server.mode = PS_NO_TABLE;
        s.server.no_extension = i;
        CHECK_EQ(sl_pg_loader_table(s.loader, SL_STR("docs"), 2, SL_VECTOR_EUCLID, s.reason, &made), 0);
        CHECK(made);
        said(&s, text, sizeof text);
        CHECK_STR(sl_str_c(text), wanted[i]);
        CHECK(strstr(s.server.said, "\"ext\".vector(2)") && strstr(s.server.said, "IS 'vector_l2_ops'"));
        site_close(&s);
    }
}

SL_TEST(what_a_server_refuses)
{
    NEED_LIBPQ();
    static const struct {
        const char *refuse, *sqlstate;
        int refusals;
        int error;                 /* of the table, or else of the rows */
        const char *reason, *said; /* behind the table's */
    } cases[] = {
        {"CREATE EXTENSION", "42501", 1, SL_EIO, "the extension vector is not there and cannot be made: it is refused",
         NULL},
        {"CREATE TABLE", "42501", 1, SL_EIO, "the table cannot be made: it is refused (SQLSTATE 42501)", NULL},
        {"COMMENT", "42501", 1, SL_EIO, "the table cannot be made", NULL},
        {"COMMIT", "53100", 1, SL_ECONNECT, "the table cannot be made", NULL},
        {"INSERT", "22P02", 1, SL_EINVAL, "it is refused (SQLSTATE 22P02)", "BEGIN|DELETE FROM|INSERT INTO|ROLLBACK|"},
        {"DELETE", "42501", 1, SL_EIO, "it is refused", "BEGIN|DELETE FROM|ROLLBACK|"},
        {"INSERT", "40001", 2, 0, "", /* passes */
         "BEGIN|DELETE FROM|INSERT INTO|ROLLBACK|BEGIN|DELETE FROM|INSERT INTO|ROLLBACK|BEGIN|DELETE FROM|INSERT "
         "INTO|COMMIT|"},
        {"INSERT", "40001", 3, SL_ECONNECT, "it is refused (SQLSTATE 40001)",
         "BEGIN|DELETE FROM|INSERT INTO|ROLLBACK|BEGIN|DELETE FROM|INSERT INTO|ROLLBACK|BEGIN|DELETE FROM|INSERT "
         "INTO|ROLLBACK|"},
        {"INSERT", NULL, 1, 0, "", "BEGIN|DELETE FROM|INSERT INTO|BEGIN|DELETE FROM|INSERT INTO|COMMIT|"}};
    const sl_vector_row row = row_of("", "a", "{}");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static site s;
        char text[512];
        bool of_table = !cases[i].said;
        site_open(&s);
        s.server.mode = of_table ? PS_NO_TABLE : PS_FINE;
        s.server.no_extension = of_table && i == 0;
        s.server.sqlstate = cases[i].sqlstate;
        s.server.refuse = cases[i].refuse;
        s.server.refusals = cases[i].refusals;
        int error = sl_pg_loader_table(s.loader, SL_STR("docs"), 2, SL_VECTOR_COSINE, s.reason, NULL);
        if (!of_table) {
            CHECK_EQ(error, 0);
            error = sl_pg_loader_put(s.loader, &row, 1, s.reason);
            said(&s, text, sizeof text);
            CHECK_STR(sl_str_c(text), cases[i].said);
        }
        CHECK_EQ(error, cases[i].error);
        if (error && !strstr(s.reason, cases[i].reason))
            sl_test_failed(__FILE__, __LINE__, "\"%s\" does not say \"%s\"", s.reason, cases[i].reason);
        CHECK(!strstr(s.reason, "secret"));
        site_close(&s);
    }
}

SL_TEST(tables_that_do_not_fit)
{
    NEED_LIBPQ();
    static site s;
    site_open(&s);
    CHECK_EQ(sl_pg_loader_table(s.loader, SL_STR("docs"), 3, SL_PG_METRIC_AUTO, s.reason, NULL), SL_EEXIST);
    CHECK(strstr(s.reason, "has 2 dimensions, the rows 3") != NULL);
    s.server.dims = "-1"; /* any */
    CHECK_EQ(sl_pg_loader_table(s.loader, SL_STR("docs"), 3, SL_VECTOR_DOT, s.reason, NULL), 0);
    static const char *const names[] = {"", ".", "a.", ".a",
                                        "x234567890123456789012345678901234567890123456789012345678901234"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        CHECK_EQ(sl_pg_loader_table(s.loader, sl_str_c(names[i]), 2, SL_VECTOR_DOT, s.reason, NULL), SL_EINVAL);
    site_close(&s);
}

SL_TEST(servers_that_cannot_be_used)
{
    NEED_LIBPQ();
    static site s;
    site_open(&s);
    sl_pg_loader *other = NULL;
    s.server.mode = PS_REFUSE;
    s.server.sqlstate = "28P01";
    CHECK_EQ(sl_pg_loader_new(s.url, NULL, s.reason, &other), SL_ECONNECT);
    CHECK(strstr(s.reason, "you are not let in") && !strstr(s.reason, "secret"));
    CHECK_EQ(sl_pg_loader_new("postgres://me:secret@127.0.0.1:1/x", NULL, s.reason, &other), SL_ECONNECT);
    CHECK(!strstr(s.reason, "secret"));
    CHECK_EQ(sl_pg_loader_new("nonsense=1", NULL, s.reason, &other), SL_ECONNECT);
    CHECK_EQ(sl_pg_loader_new(s.url, "libnone.so.7", s.reason, &other), SL_ENOTSUP);
    CHECK(strstr(s.reason, "libnone.so.7") != NULL);
    CHECK(other == NULL);
    sl_pg_loader_free(NULL);
    site_close(&s);
}
