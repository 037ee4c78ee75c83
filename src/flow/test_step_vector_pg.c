/* vector_search steps in PostgreSQL: params, results, faults, cancel; against a
 * scripted server, and with a library that is missing. */
#include "src/flow/test_step_fixture.h"
#include "src/store/pgvector.h"
#include "src/store/test_pg_server.h"

extern const sl_step_kind sl_step_vector_kind;
#define VECTOR &sl_step_vector_kind

static ps_server server;

static bool open_pg(bench_step *b, uint64_t answer_ms)
{
    char url[200];
    if (!ps_have_libpq())
        return false;
    step_open(b);
    ps_begin(&server);
    sl_pgvector_options options = {.conninfo = ps_url(&server, url, sizeof url, ""), .answer_ms = answer_ms};
    if (sl_pgvector_new(&options, &b->services.pgvector))
        abort();
    return true;
}

static void close_pg(bench_step *b)
{
    step_close(b);
    sl_pgvector_close(b->services.pgvector);
    ps_end(&server);
}

#define OPEN(b, answer_ms)                                                                                             \
    if (!open_pg(b, answer_ms))                                                                                        \
    SL_SKIP("libpq.so.5 is not installed")

SL_TEST(what_it_gives)
{
    bench_step b;
    OPEN(&b, 0);
    static const char *const names[] = {"pgvector", "postgres", "postgresql"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char params[200], about[200];
        (void)snprintf(params, sizeof params, "{'database':'%s','index':'docs','query':[1,0.5],'include_vectors':true}",
                       names[i]);
        (void)snprintf(about, sizeof about, "{'count':2,'top_k':5,'database':'%s','index':'docs','metric':'cosine'}",
                       names[i]);
        step_run(&b, VECTOR, params);
        CHECK_RESULT(&b, 0,
                     "[{'id':'a','score':1.0,'metadata':{'lang':'en','n':1,'text':'alpha'},'vector':null},"
                     "{'id':'b','score':0.75,'metadata':{},'vector':[0.0,1.0]}]");
        CHECK_RESULT(&b, 1, about);
        CHECK(!b.extra && b.text == json_array_get(b.results, 0));
    }
    step_run(&b, VECTOR, "{'database':'pgvector','index':'docs','query':[1,0.5],'include_metadata':false}");
    CHECK_RESULT(
        &b, 0,
        "[{'id':'a','score':1.0,'metadata':null,'vector':null},{'id':'b','score':0.75,'metadata':null,'vector':"
        "null}]");
    close_pg(&b);
}

SL_TEST(what_it_asks)
{
    bench_step b;
    OPEN(&b, 0);
    step_run(&b, VECTOR,
             "{'database':'pgvector','index':'docs','query':[1,0.5],'top_k':7,'metric':'l2','ef_search':50,"
             "'namespace':'n','filter':{'lang':'en'},'columns':{'id':'content','namespace':'id'}}");
    CHECK_EQ(b.error, SL_STEP_ERROR_NONE);
    CHECK(strstr(server.query, "t.\"content\" AS i"));
    CHECK(strstr(server.query, "OPERATOR(\"public\".<->)"));
    CHECK(strstr(server.query, "t.\"id\"::text = $2::text"));
    CHECK(strstr(server.query, "ORDER BY d LIMIT 7"));
    CHECK_STR(sl_str_c(server.values), "[1,0.5]|n|lang|\"en\"|");
    CHECK_STR(sl_str_c(server.said), "BEGIN READ ONLY|SET LOCAL hnsw.ef_search = 50|");
    CHECK_STR(sl_str_c(json_string_value(json_object_get(json_array_get(b.results, 1), "metric"))), "euclid");
    close_pg(&b);
}

typedef struct bad_case {
    const char *params;
    const char *says;
} bad_case;

static const bad_case bad_cases[] = {
    {"{'database':'pgvector','query':[1,2]}", "pgvector: index is missing"},
    {"{'database':'pgvector','index':'d','query':[1,2],'metric':'near'}", "metric must be cosine, dot or euclid"},
    {"{'database':'pgvector','index':'d','query':[1,2],'ef_search':1001}", "ef_search must be"},
    {"{'database':'pgvector','index':'d','query':[1,2],'columns':[1]}", "columns must be a map"},
    {"{'database':'pgvector','index':'d','query':[1,2],'columns':{'ids':'x'}}", "columns: ids: give names"},
    {"{'database':'pgvector','index':'d','query':[1,2],'columns':{'id':5}}", "columns: id: give names"},
    {"{'database':'pgvector','index':'d','query':[1,2],'filter':{'a':{'$x':1}}}", "$x: is no operator"},
    {"{'database':'pgvector','index':'docs','query':[1,2,3]}", "the query has 3 dimensions"},
    {"{'database':'pgvector','index':'docs','query':[1,2],'columns':{'id':'none'}}", "has no column \"none\""},
};

SL_TEST(what_is_refused)
{
    bench_step b;
    OPEN(&b, 0);
    for (size_t i = 0; i < sizeof bad_cases / sizeof *bad_cases; i++) {
        step_run(&b, VECTOR, bad_cases[i].params);
        if (b.error != SL_STEP_ERROR_INPUT || !strstr(b.reason, bad_cases[i].says))
            sl_test_failed(__FILE__, __LINE__, "%s: %d %s", bad_cases[i].params, b.error, b.reason);
    }
    CHECK_EQ(server.searches, 0);
    close_pg(&b);
}

SL_TEST(faults)
{
    bench_step b;
    OPEN(&b, 0);
    static const struct {
        ps_mode mode;
        const char *sqlstate;
        sl_step_error error;
    } rows[] = {{PS_ERROR, "53300", SL_STEP_ERROR_PROVIDER}, {PS_ERROR, "42501", SL_STEP_ERROR_REFUSED},
                {PS_ERROR, "57014", SL_STEP_ERROR_TIMEOUT},  {PS_ERROR, "42P01", SL_STEP_ERROR_INPUT},
                {PS_BIG, NULL, SL_STEP_ERROR_TOO_BIG},       {PS_DROP, NULL, SL_STEP_ERROR_PROVIDER},
                {PS_NO_TABLE, NULL, SL_STEP_ERROR_INPUT}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char params[100];
        server.mode = rows[i].mode;
        server.sqlstate = rows[i].sqlstate;
        (void)snprintf(params, sizeof params, "{'database':'pgvector','index':'docs%zu','query':[1,0.5]}", i);
        step_run(&b, VECTOR, params);
        if (b.error != rows[i].error || strncmp(b.reason, "pgvector: ", 10) != 0)
            sl_test_failed(__FILE__, __LINE__, "%zu: %d %s", i, b.error, b.reason);
    }
    close_pg(&b);
}

SL_TEST(a_search_that_takes_too_long)
{
    bench_step b;
    OPEN(&b, 100);
    server.mode = PS_HANG;
    step_run(&b, VECTOR, "{'database':'pgvector','index':'docs','query':[1,0.5]}");
    CHECK_FAILS(&b, SL_STEP_ERROR_TIMEOUT, "pgvector: no answer in time");
    close_pg(&b);
}

SL_TEST(a_search_is_cancelled)
{
    bench_step b;
    OPEN(&b, 0);
    server.mode = PS_HANG;
    for (int i = 0; i < 10; i++) {
        step_begin(&b, VECTOR, "{'database':'pgvector','index':'docs','query':[1,0.5]}", "{}");
        for (int k = 0; i % 2 && server.searches <= i / 2 && k < NF_PATIENCE_MS; k++)
            nf_sleep_ms(1);
        sl_step_vector_kind.cancel(&b.attempt);
        CHECK_EQ(b.ends, 0);
        CHECK(b.attempt.data == NULL);
    }
    server.mode = PS_FINE;
    step_run(&b, VECTOR, "{'database':'pgvector','index':'docs','query':[1,0.5]}");
    CHECK_EQ(b.error, SL_STEP_ERROR_NONE);
    CHECK(server.cancels > 0);
    close_pg(&b);
}

SL_TEST(a_missing_library_is_told)
{
    bench_step b;
    step_open(&b);
    sl_pgvector_options options = {.conninfo = "host=h", .library = "libpq-of-nobody.so.5"};
    REQUIRE(sl_pgvector_new(&options, &b.services.pgvector) == 0);
    step_run(&b, VECTOR, "{'database':'pgvector','index':'docs','query':[1,0.5]}");
    CHECK_FAILS(&b, SL_STEP_ERROR_INTERNAL, "install it (Debian: libpq5)");
    step_close(&b);
    sl_pgvector_close(b.services.pgvector);
}

SL_TEST(memory_runs_out)
{
    bool failed = true;
    for (long n = 0; failed && n < 200; n++) {
        bench_step b;
        OPEN(&b, 0);
        sl_test_fail_alloc(n);
        step_run(&b, VECTOR, "{'database':'pgvector','index':'docs','query':[1,0.5],'filter':{'a':1}}");
        failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(b.error, failed ? SL_STEP_ERROR_INTERNAL : SL_STEP_ERROR_NONE);
        close_pg(&b);
    }
    CHECK(!failed);
}
