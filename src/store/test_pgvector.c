/* Searches in PostgreSQL against a scripted server: answers, faults and what they mean, cancels, lost connections,
 * limits, a library that is missing. */
#include "src/store/pgvector.h"

#include <stdatomic.h>

#include "src/store/test_pg_server.h"

static const float two[2] = {1, 0.5f};

typedef struct asking {
    sl_pgvector_request *request;
    atomic_int done;
} asking;

static void on_done(void *user)
{
    asking *a = user;
    atomic_fetch_add(&a->done, 1);
}

static sl_pg_query query_of(const char *table)
{
    return (sl_pg_query){.table = sl_str_c(table),
                         .metric = SL_PG_METRIC_AUTO,
                         .vector = two,
                         .dims = 2,
                         .top_k = 5,
                         .with_metadata = true,
                         .with_vectors = true};
}

static int ask(asking *a, sl_pgvector *pool, const sl_pg_query *query)
{
    a->request = NULL;
    atomic_store(&a->done, 0);
    return sl_pgvector_search(pool, query, NULL, on_done, a, &a->request);
}

static sl_pgvector_answer *wait_answer(asking *a)
{
    uint64_t end = sl_mono_ns() + (uint64_t)NF_PATIENCE_MS * 1000000;
    while (!atomic_load(&a->done) && sl_mono_ns() < end)
        nf_sleep_ms(1);
    CHECK_EQ(atomic_load(&a->done), 1);
    return atomic_load(&a->done) ? sl_pgvector_answer_of(a->request) : NULL;
}

typedef struct bench {
    ps_server server;
    sl_pgvector *pool;
    char url[200];
} bench;

static bool begin(bench *b, sl_pgvector_options options, const char *more)
{
    if (!ps_have_libpq())
        return false;
    ps_begin(&b->server);
    options.conninfo = ps_url(&b->server, b->url, sizeof b->url, more);
    if (sl_pgvector_new(&options, &b->pool))
        abort();
    return true;
}

#define BEGIN(b, options, more)                                                                                        \
    if (!begin(b, options, more))                                                                                      \
    SL_SKIP("libpq.so.5 is not installed")

static void end(bench *b)
{
    sl_pgvector_close(b->pool);
    ps_end(&b->server);
}

/* One search to its end; the fault is copied. */
static sl_pg_fault search(bench *b, const sl_pg_query *query)
{
    asking a;
    sl_pg_fault fault = {.kind = SL_PG_INTERNAL, .reason = "no answer"};
    if (ask(&a, b->pool, query))
        return fault;
    sl_pgvector_answer *answer = wait_answer(&a);
    if (answer)
        fault = answer->fault;
    sl_pgvector_request_free(a.request);
    return fault;
}

SL_TEST(a_search)
{
    static bench b;
    BEGIN(&b, (sl_pgvector_options){0}, "");
    sl_pg_query query = query_of("docs");
    asking a;
    query.ef_search = 77;
    CHECK_EQ(ask(&a, b.pool, &query), 0);
    sl_pgvector_answer *answer = wait_answer(&a);
    REQUIRE(answer);
    CHECK_EQ(answer->fault.kind, SL_PG_FINE);
    CHECK_STR(sl_str_c(answer->host), "127.0.0.1");
    CHECK_STR(sl_str_c(answer->database), "db");
    CHECK_EQ(answer->port, b.server.nf.port);
    CHECK_EQ(answer->metric, SL_VECTOR_COSINE);
    CHECK(!answer->reconnected);
    char *text = json_dumps(answer->list, JSON_COMPACT);
    CHECK_STR(sl_str_c(text), "[{\"id\":\"a\",\"score\":1.0,\"metadata\":{\"lang\":\"en\",\"n\":1,\"text\":\"alpha\"},"
                              "\"vector\":null},{\"id\":\"b\",\"score\":0.75,\"metadata\":{},\"vector\":[0.0,1.0]}]");
    free(text);
    sl_pgvector_request_free(a.request);
    CHECK_STR(sl_str_c(b.server.values), "[1,0.5]|");
    CHECK_STR(sl_str_c(b.server.said), "BEGIN READ ONLY|SET LOCAL hnsw.ef_search = 77|");
    query.ef_search = 0;
    CHECK_EQ(search(&b, &query).kind, SL_PG_FINE);
    CHECK_EQ(b.server.connections, 1); /* the same one */
    CHECK_EQ(b.server.describes, 1);   /* and the table is known */
    CHECK_EQ(b.server.searches, 2);
    end(&b);
}

typedef struct fault_row {
    const char *sqlstate;
    sl_pg_kind kind;
} fault_row;

static const fault_row fault_rows[] = {
    {"08006", SL_PG_AGAIN},   {"53300", SL_PG_AGAIN},   {"57P01", SL_PG_AGAIN},   {"57P03", SL_PG_AGAIN},
    {"40001", SL_PG_AGAIN},   {"40P01", SL_PG_AGAIN},   {"55P03", SL_PG_AGAIN},   {"58030", SL_PG_AGAIN},
    {"57014", SL_PG_TIMEOUT}, {"42501", SL_PG_REFUSED}, {"42P01", SL_PG_INPUT},   {"22000", SL_PG_INPUT},
    {"28P01", SL_PG_REFUSED}, {"3D000", SL_PG_REFUSED}, {"XX000", SL_PG_REFUSED}, {"08P01", SL_PG_REFUSED},
    {"53400", SL_PG_REFUSED}, {"57P04", SL_PG_REFUSED}, {"0A000", SL_PG_REFUSED}};

SL_TEST(faults_are_told_apart)
{
    static bench b;
    BEGIN(&b, (sl_pgvector_options){0}, "");
    sl_pg_query query = query_of("docs");
    for (size_t i = 0; i < sizeof fault_rows / sizeof *fault_rows; i++)
        for (int connecting = 0; connecting < 2; connecting++) {
            b.server.sqlstate = fault_rows[i].sqlstate;
            b.server.mode = connecting ? PS_REFUSE : PS_ERROR;
            if (connecting) { /* nobody is connected any more */
                sl_pgvector_close(b.pool);
                sl_pgvector_options options = {.conninfo = b.url};
                REQUIRE(sl_pgvector_new(&options, &b.pool) == 0);
            }
            sl_pg_fault fault = search(&b, &query);
            if (fault.kind != fault_rows[i].kind || strcmp(fault.sqlstate, fault_rows[i].sqlstate) != 0 ||
                !strstr(fault.reason, connecting ? "FATAL: you are not let in" : "as it was told (SQLSTATE"))
                sl_test_failed(__FILE__, __LINE__, "%s %d: %d \"%s\" %s", fault_rows[i].sqlstate, connecting,
                               fault.kind, fault.sqlstate, fault.reason);
        }
    end(&b);
}

SL_TEST(texts_of_failed_connections)
{
    static const struct {
        const char *text;
        sl_pg_kind kind;
        const char *sqlstate, *reason;
    } rows[] = {
        {"connection to server at \"::1\", port 1 failed: Connection refused\n\tIs the server running?\nconnection to "
         "server at \"127.0.0.1\", port 1 failed: FATAL:  28P01: password authentication failed\nLOCATION:  x\n",
         SL_PG_REFUSED, "28P01",
         "connection to server at \"127.0.0.1\", port 1 failed: FATAL: password authentication failed"},
        {"connection failed: Connection refused\n\tIs it?", SL_PG_AGAIN, "", "connection failed: Connection refused"},
        {"SSL error: certificate verify failed", SL_PG_REFUSED, "", "SSL error: certificate verify failed"},
        {"SSL SYSCALL error: EOF detected", SL_PG_AGAIN, "", "SSL SYSCALL error: EOF detected"},
        {"SSL connection has been closed unexpectedly", SL_PG_AGAIN, "", "SSL connection has been closed unexpectedly"},
        {"FATAL:  57P03:", SL_PG_AGAIN, "", "FATAL:  57P03:"},
        {"FATAL:  57P03: x", SL_PG_AGAIN, "57P03", "FATAL: x"},
        {"FATAL:  no: x", SL_PG_AGAIN, "", "FATAL:  no: x"},
        {"", SL_PG_AGAIN, "", "the connection failed"},
        {"bad postgres://u:hush@h/d", SL_PG_AGAIN, "", "bad postgres://[REDACTED]@h/d"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_pg_fault fault = {0};
        sl_pg_connect_fault(rows[i].text, &fault);
        CHECK_EQ(fault.kind, rows[i].kind);
        CHECK_STR(sl_str_c(fault.sqlstate), rows[i].sqlstate);
        CHECK_STR(sl_str_c(fault.reason), rows[i].reason);
    }
}

SL_TEST(odd_answers)
{
    static bench b;
    BEGIN(&b, (sl_pgvector_options){0}, "");
    static const struct {
        ps_mode mode;
        sl_pg_kind kind;
        const char *says;
    } rows[] = {{PS_NO_TABLE, SL_PG_INPUT, "there is no table \"x.none\" in database \"db\""},
                {PS_BIG, SL_PG_TOO_BIG, "larger than 16 MiB"},
                {PS_BAD_JSON, SL_PG_INPUT, "JSON that cannot be read"},
                {PS_DROP, SL_PG_AGAIN, "closed the connection unexpectedly"},
                {PS_GARBAGE, SL_PG_AGAIN, ""}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_pg_query query = query_of("x.none");
        b.server.mode = rows[i].mode;
        sl_pg_fault fault = search(&b, &query);
        if (fault.kind != rows[i].kind || !strstr(fault.reason, rows[i].says))
            sl_test_failed(__FILE__, __LINE__, "%d: %d %s", rows[i].mode, fault.kind, fault.reason);
        b.server.mode = PS_FINE;
        query.table = SL_STR("docs");
        CHECK_EQ(search(&b, &query).kind, SL_PG_FINE);
    }
    sl_pg_query query = query_of("docs");
    query.dims = 1;
    sl_pg_fault fault = search(&b, &query);
    CHECK_EQ(fault.kind, SL_PG_INPUT);
    CHECK_STR(sl_str_c(fault.reason), "the query has 1 dimensions, column \"embedding\" of table \"docs\" 2");
    end(&b);
}

SL_TEST(a_table_that_has_changed_is_looked_at_again)
{
    static bench b;
    BEGIN(&b, (sl_pgvector_options){0}, "");
    sl_pg_query query = query_of("docs");
    b.server.mode = PS_OTHER_COLUMNS; /* its second search fails */
    CHECK_EQ(search(&b, &query).kind, SL_PG_FINE);
    CHECK_EQ(search(&b, &query).kind, SL_PG_FINE);
    CHECK_EQ(b.server.describes, 2);
    CHECK_EQ(b.server.searches, 3);
    end(&b);
}

/* It was known, and is gone: one look, and no more. */
SL_TEST(a_table_that_was_dropped_is_told)
{
    static bench b;
    BEGIN(&b, (sl_pgvector_options){0}, "");
    sl_pg_query query = query_of("docs");
    CHECK_EQ(search(&b, &query).kind, SL_PG_FINE);
    b.server.mode = PS_NO_TABLE;
    sl_pg_fault fault = search(&b, &query);
    CHECK_EQ(fault.kind, SL_PG_INPUT);
    CHECK(strstr(fault.reason, "there is no table \"docs\""));
    CHECK_EQ(b.server.describes, 2);
    CHECK_EQ(b.server.searches, 2);
    b.server.mode = PS_FINE;
    CHECK_EQ(search(&b, &query).kind, SL_PG_FINE);
    end(&b);
}

SL_TEST(a_broken_connection_is_made_anew_once)
{
    static bench b;
    BEGIN(&b, (sl_pgvector_options){0}, "");
    sl_pg_query query = query_of("docs");
    CHECK_EQ(search(&b, &query).kind, SL_PG_FINE);
    b.server.mode = PS_DROP_ONCE;
    asking a;
    REQUIRE(ask(&a, b.pool, &query) == 0);
    sl_pgvector_answer *answer = wait_answer(&a);
    REQUIRE(answer);
    CHECK_EQ(answer->fault.kind, SL_PG_FINE);
    CHECK_EQ(json_array_size(answer->list), 2);
    CHECK(answer->reconnected);
    sl_pgvector_request_free(a.request);
    CHECK_EQ(b.server.connections, 2);
    b.server.mode = PS_DROP; /* the new one too: told */
    CHECK_EQ(search(&b, &query).kind, SL_PG_AGAIN);
    CHECK_EQ(b.server.connections, 3);
    CHECK_EQ(search(&b, &query).kind, SL_PG_AGAIN); /* a fresh one is not tried twice */
    CHECK_EQ(b.server.connections, 4);
    end(&b);
}

SL_TEST(time_limits)
{
    static bench b;
    BEGIN(&b, ((sl_pgvector_options){.answer_ms = 700}), "&connect_timeout=1");
    sl_pg_query query = query_of("docs");
    b.server.mode = PS_HANG;
    sl_pg_fault fault = search(&b, &query);
    CHECK_EQ(fault.kind, SL_PG_TIMEOUT);
    CHECK_STR(sl_str_c(fault.reason), "no answer in time");
    CHECK_EQ(b.server.cancels, 1);
    b.server.mode = PS_FINE;
    CHECK_EQ(search(&b, &query).kind, SL_PG_FINE);
    CHECK_EQ(b.server.connections, 1); /* it was cancelled, so it was kept */
    end(&b);
    BEGIN(&b, ((sl_pgvector_options){.answer_ms = 700}), "&connect_timeout=1");
    b.server.mode = PS_SILENT;
    fault = search(&b, &query);
    CHECK_EQ(fault.kind, SL_PG_TIMEOUT);
    CHECK(strstr(fault.reason, "no connection to 127.0.0.1 port ") && strstr(fault.reason, "within 1 s"));
    end(&b);
}

SL_TEST(idle_connections_are_closed)
{
    static bench b;
    BEGIN(&b, ((sl_pgvector_options){.idle_ms = 30}), "");
    sl_pg_query query = query_of("docs");
    CHECK_EQ(search(&b, &query).kind, SL_PG_FINE);
    for (int i = 0; b.server.open && i < NF_PATIENCE_MS; i++)
        nf_sleep_ms(1);
    CHECK_EQ(b.server.open, 0);
    CHECK_EQ(search(&b, &query).kind, SL_PG_FINE);
    CHECK_EQ(b.server.connections, 2);
    CHECK_EQ(b.server.describes, 2);
    end(&b);
}

/* Freed while it waits, while it connects, while the server works. */
SL_TEST(cancelled_at_any_time)
{
    static bench b;
    BEGIN(&b, (sl_pgvector_options){0}, "");
    sl_pg_query query = query_of("docs");
    static const ps_mode modes[] = {PS_HANG, PS_SILENT, PS_FINE};
    for (int i = 0; i < 60; i++) {
        asking a;
        b.server.mode = modes[i % 3];
        REQUIRE(ask(&a, b.pool, &query) == 0);
        if (i % 2)
            nf_sleep_ms((unsigned)i % 7);
        if (i % 6 == 0)
            for (int k = 0; !b.server.searches && k < NF_PATIENCE_MS; k++)
                nf_sleep_ms(1);
        sl_pgvector_request_free(a.request);
        int told = atomic_load(&a.done);
        nf_sleep_ms(2);
        CHECK_EQ(atomic_load(&a.done), told); /* nothing is told behind it */
    }
    b.server.mode = PS_FINE;
    CHECK_EQ(search(&b, &query).kind, SL_PG_FINE);
    CHECK(b.server.cancels > 0);
    end(&b);
}

SL_TEST(connections_and_waiters_are_bounded)
{
    static bench b;
    static asking all[SL_MAX_PGVECTOR_WAITING + SL_MAX_PGVECTOR_CONNECTIONS + 1];
    BEGIN(&b, (sl_pgvector_options){0}, "");
    sl_pg_query query = query_of("docs");
    size_t count = 0;
    b.server.mode = PS_HANG;
    for (; count < SL_MAX_PGVECTOR_CONNECTIONS; count++)
        REQUIRE(ask(&all[count], b.pool, &query) == 0);
    for (int k = 0; b.server.searches < SL_MAX_PGVECTOR_CONNECTIONS && k < NF_PATIENCE_MS; k++)
        nf_sleep_ms(1);
    for (; count < SL_MAX_PGVECTOR_CONNECTIONS + SL_MAX_PGVECTOR_WAITING; count++)
        REQUIRE(ask(&all[count], b.pool, &query) == 0);
    CHECK_EQ(ask(&all[count], b.pool, &query), SL_EAGAIN);
    b.server.mode = PS_FINE; /* those that hang end, the others are served */
    b.server.cancels++;
    for (size_t i = 0; i < count; i++) {
        sl_pgvector_answer *answer = wait_answer(&all[i]);
        REQUIRE(answer);
        CHECK_EQ(answer->fault.kind, i < SL_MAX_PGVECTOR_CONNECTIONS ? SL_PG_TIMEOUT : SL_PG_FINE);
        sl_pgvector_request_free(all[i].request);
    }
    CHECK_EQ(b.server.most_open, SL_MAX_PGVECTOR_CONNECTIONS);
    CHECK_EQ(b.server.connections, SL_MAX_PGVECTOR_CONNECTIONS);
    end(&b);
}

/* Whoever waits is freed in any order, from within and from both ends of the queue. */
SL_TEST(waiters_leave_in_any_order)
{
    static bench b;
    asking busy[SL_MAX_PGVECTOR_CONNECTIONS], waits[7];
    static const int order[] = {6, 0, 3, 5, 1, 4};
    BEGIN(&b, (sl_pgvector_options){0}, "");
    sl_pg_query query = query_of("docs");
    b.server.mode = PS_HANG;
    for (int i = 0; i < SL_MAX_PGVECTOR_CONNECTIONS; i++)
        REQUIRE(ask(&busy[i], b.pool, &query) == 0);
    for (int k = 0; b.server.searches < SL_MAX_PGVECTOR_CONNECTIONS && k < NF_PATIENCE_MS; k++)
        nf_sleep_ms(1);
    for (int i = 0; i < 7; i++)
        REQUIRE(ask(&waits[i], b.pool, &query) == 0);
    for (size_t i = 0; i < sizeof order / sizeof *order; i++)
        sl_pgvector_request_free(waits[order[i]].request);
    b.server.mode = PS_FINE;
    for (int i = 0; i < SL_MAX_PGVECTOR_CONNECTIONS; i++)
        sl_pgvector_request_free(busy[i].request);
    sl_pgvector_answer *answer = wait_answer(&waits[2]);
    REQUIRE(answer);
    CHECK_EQ(answer->fault.kind, SL_PG_FINE);
    sl_pgvector_request_free(waits[2].request);
    end(&b);
}

SL_TEST(connection_strings)
{
    static const struct {
        const char *text, *says;
    } rows[] = {{"postgres://me:hu%sh@127.0.0.1/", "cannot be read; give such as"},
                {"postgres://me:hush@127.0.0.1/?color=red", "invalid URI query parameter: \"color\"; give such as"},
                {"host=127.0.0.1 color=red password=hush", "invalid connection option \"color\"; give such as"},
                {"host=127.0.0.1 hush", "cannot be read; give such as"},
                {"host=127.0.0.1 port=1 dbname=d password=hush connect_timeout=1", "Connection refused"}};
    if (!ps_have_libpq())
        SL_SKIP("libpq.so.5 is not installed");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bench b;
        sl_pgvector_options options = {.conninfo = rows[i].text};
        REQUIRE(sl_pgvector_new(&options, &b.pool) == 0);
        sl_pg_query query = query_of("docs");
        sl_pg_fault fault = search(&b, &query);
        CHECK_EQ(fault.kind, i == 4 ? SL_PG_AGAIN : SL_PG_REFUSED);
        if (!strstr(fault.reason, rows[i].says) || strstr(fault.reason, "hush"))
            sl_test_failed(__FILE__, __LINE__, "%s: %s", rows[i].text, fault.reason);
        sl_pgvector_close(b.pool);
    }
}

SL_TEST(a_missing_library_is_told)
{
    static const struct {
        const char *file, *says;
    } rows[] = {{"libpq-of-nobody.so.5", "install it (Debian: libpq5)"}, {"libm.so.6", "has no function PQ"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        bench b;
        sl_pgvector_options options = {.conninfo = "host=127.0.0.1", .library = rows[i].file};
        REQUIRE(sl_pgvector_new(&options, &b.pool) == 0);
        sl_pg_query query = query_of("docs");
        for (int k = 0; k < 2; k++) {
            sl_pg_fault fault = search(&b, &query);
            CHECK_EQ(fault.kind, SL_PG_INTERNAL);
            CHECK(strstr(fault.reason, rows[i].says));
        }
        sl_pgvector_close(b.pool);
    }
    sl_pgvector_close(NULL);
    sl_pgvector_request_free(NULL);
}

SL_TEST(memory_runs_out)
{
    static bench b;
    bool failed = true;
    for (long n = 0; failed && n < 200; n++) {
        BEGIN(&b, (sl_pgvector_options){0}, "");
        sl_pg_query query = query_of("docs");
        asking a;
        query.space = SL_STR("n");
        sl_test_fail_alloc(n);
        int error = ask(&a, b.pool, &query);
        sl_pgvector_answer *answer = error ? NULL : wait_answer(&a);
        failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK(error == 0 || error == SL_ENOMEM);
        CHECK(failed || (answer && !answer->fault.kind));
        if (answer && answer->fault.kind)
            CHECK_EQ(answer->fault.kind, SL_PG_INTERNAL);
        if (!error)
            sl_pgvector_request_free(a.request);
        end(&b);
    }
    CHECK(!failed);
    sl_pgvector_options options = {.conninfo = "host=h", .library = "l"};
    for (long n = 0; n < 3; n++) {
        sl_pgvector *pool;
        sl_test_fail_alloc(n);
        CHECK_EQ(sl_pgvector_new(&options, &pool), SL_ENOMEM);
    }
    sl_test_fail_alloc(-1);
}
