/*
 * What the upstream client makes of answers: when a connection may serve again, what is no answer, which addresses are
 * allowed, what each phase of a call fails with, and what happens without memory.
 */
#include "src/base/mem.h"
#include "src/net/test_upstream_fixture.h"

/* ---- when a connection serves again ---- */

/* Answers `user` to each request, and stays. */
SL_TEST(a_connection_serves_again_when_its_answer_ended_where_it_said)
{
    static const struct {
        const char *answer;
        bool again;
        int status;
        const char *body;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true, 200, "ok"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", true, 200, ""},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok", false, 0, ""}, /* refused below */
        {"HTTP/1.1 200 \r\nContent-Length: 2\r\n\r\nok", true, 200, "ok"},
        {"HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\nno", true, 404, "no"},
        {"HTTP/1.1 500 Oh\r\nContent-Length: 2\r\n\r\noh", true, 500, "oh"},
        {"HTTP/1.1 204 None\r\n\r\n", true, 204, ""},
        {"HTTP/1.1 304 Same\r\n\r\n", true, 304, ""},
        {"HTTP/1.1 304 Same\r\nContent-Length: 99\r\n\r\n", true, 304, ""},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", true, 200, "ok"},
        {"HTTP/1.1 200 OK\r\ntransfer-encoding: CHUNKED\r\n\r\n1\r\no\r\n1;x=y\r\nk\r\n0\r\n\r\n", true, 200, "ok"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Trailer: 1\r\n\r\n", true, 200, "ok"},
        {"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", true, 200, "ok"},
        {"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\nHTTP/1.1 102 Wait\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
         true, 200, "ok"},
        {"HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok", true, 200, "ok"},
        {"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", false, 200, "ok"},
        {"HTTP/1.1 200 OK\r\nConnection: x, CLOSE\r\nContent-Length: 2\r\n\r\nok", false, 200, "ok"},
        {"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", false, 200, "ok"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok!", false, 200, "ok"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\nmore", false, 200, "ok"},
        {"HTTP/1.1 204 None\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", false, 204, ""}, /* an answer that nobody asked for */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nf_server s;
        nf_server_start(&s, serve, (char *)rows[i].answer);
        client *c = client_new("127.0.0.1", s.port, false, NULL, NULL);
        for (int k = 0; k < 3 && rows[i].status; k++) {
            asked a = {.status = 0};
            ask(c, &a);
            if (a.status != rows[i].status || !sl_str_eq_c(sl_buf_str(&a.body), rows[i].body) || a.error ||
                a.call.reused != (k > 0 && rows[i].again))
                sl_test_failed(__FILE__, __LINE__, "row %zu, call %d: %d, %s, reused %d", i, k, a.status, a.reason,
                               a.call.reused);
            CHECK_EQ(a.call.bytes_in, strlen(rows[i].body));
            sl_buf_done(&a.body);
        }
        client_free(c);
        nf_server_stop(&s);
    }
}

/* ---- what is no answer ---- */

SL_TEST(what_is_ambiguous_or_no_http_fails_the_call)
{
    static const struct {
        const char *answer;
        int error;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nokk", SL_EPROTO},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2, 3\r\n\r\nokk", SL_EPROTO},
        {"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", SL_EPROTO},
        {"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", SL_EPROTO},
        {"HTTP/1.1 200 OK\r\nContent-Length: 0x2\r\n\r\nok", SL_EPROTO},
        {"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\n", SL_EPROTO},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", SL_EPROTO},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", SL_EPROTO},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", SL_EPROTO},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", SL_EPROTO},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", SL_EPROTO},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nokk\r\n", SL_EPROTO},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n11111111111111111\r\n", SL_EPROTO},
        {"HTTP/1.1 200 OK\r\nBad Name: x\r\nContent-Length: 0\r\n\r\n", SL_EPROTO},
        {"HTTP/1.1 200 OK\r\nName : x\r\nContent-Length: 0\r\n\r\n", SL_EPROTO},
        {"HTTP/1.1 200 OK\r\nA: x\r\n folded\r\nContent-Length: 0\r\n\r\n", SL_EPROTO},
        {"HTTP/1.1 200 OK\r\nNo colon\r\n\r\n", SL_EPROTO},
        {"HTTP/1.1 2000 OK\r\n\r\n", SL_EPROTO},
        {"HTTP/1.1 20 OK\r\n\r\n", SL_EPROTO},
        {"HTTP/1.1 abc OK\r\n\r\n", SL_EPROTO},
        {"HTTP/2.0 200 OK\r\n\r\n", SL_EPROTO},
        {"ICY 200 OK\r\n\r\n", SL_EPROTO},
        {"SSH-2.0-OpenSSH_9.2\r\n", SL_EPROTO},
        {"\x16\x03\x01\x02\r\n\r\n", SL_EPROTO},
        {"\r\n\r\n\r\n", SL_EPROTO},
        {"HTTP/1.1 101 Switching\r\nUpgrade: x\r\n\r\n", SL_EPROTO},
        /* Closed before it was whole. */
        {"HTTP/1.1 200 OK\r\nContent-Le", SL_ECLOSED},
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", SL_ECLOSED},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", SL_ECLOSED},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n", SL_ECLOSED},
        {"HTTP/1.1 100 Continue\r\n\r\n", SL_ECLOSED},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nf_server s;
        sl_origin_stats stats;
        asked a = {.status = 0};
        client *c = client_asking(&s, serve_once, rows[i].answer, false, NULL, &a);
        if (a.error != rows[i].error || !a.reason[0])
            sl_test_failed(__FILE__, __LINE__, "row %zu: error %d (%s), status %d", i, a.error, a.reason, a.status);
        CHECK_EQ(a.call.phase, SL_CALL_OVER);
        sl_origin_get_stats(c->origin, &stats);
        CHECK_EQ(stats.idle + stats.active, 0);
        client_asked(c, &a, &s);
    }
}

/* A head of `bytes` bytes with `fields` fields. */
static char *head_of(size_t bytes, size_t fields)
{
    char *text = malloc(bytes + 16 * fields + 128);
    size_t len = (size_t)sprintf(text, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n");
    for (size_t i = 1; i < fields; i++)
        len += (size_t)sprintf(text + len, "X: 1\r\n");
    if (len + 8 < bytes) {
        len += (size_t)sprintf(text + len, "Y: ");
        memset(text + len, 'y', bytes - len - 4);
        len = bytes - 4;
        len += (size_t)sprintf(text + len, "\r\n");
    }
    (void)sprintf(text + len, "\r\nok");
    return text;
}

SL_TEST(heads_have_the_limits_that_they_have_everywhere)
{
    static const struct {
        size_t bytes, fields;
        bool good;
    } rows[] = {{0, 1, true},
                {0, SL_MAX_HEAD_FIELDS, true},
                {0, SL_MAX_HEAD_FIELDS + 1, false},
                {SL_MAX_HEAD_BYTES, 1, true},
                {SL_MAX_HEAD_BYTES + 1, 1, false},
                {200000, 1, false}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nf_server s;
        char *text = head_of(rows[i].bytes, rows[i].fields);
        asked a = {.status = 0};
        client *c = client_asking(&s, serve_once, text, false, NULL, &a);
        if ((a.status == 200) != rows[i].good || (a.error == SL_EPROTO) == rows[i].good)
            sl_test_failed(__FILE__, __LINE__, "%zu bytes, %zu fields: %d, %s", rows[i].bytes, rows[i].fields, a.status,
                           a.reason);
        client_asked(c, &a, &s);
        free(text);
    }
}

/* ---- origins ---- */

static bool nobody(const struct sockaddr *address)
{
    (void)address;
    return false;
}

static bool everybody(const struct sockaddr *address)
{
    return address->sa_family == AF_INET || address->sa_family == AF_INET6;
}

SL_TEST(origins_that_cannot_be)
{
    static const struct {
        sl_origin_options options;
        int error;
    } rows[] = {
        {{.host = {"", 0}, .port = 1}, SL_EINVAL},
        {{.host = {"h", 1}, .port = 0}, SL_EINVAL},
        {{.host = {"127.0.0.1", 9}, .port = 1, .allow = nobody}, SL_EREFUSED},
        {{.host = {"::1", 3}, .port = 1, .allow = nobody}, SL_EREFUSED},
        {{.host = {"127.0.0.1", 9}, .port = 1, .allow = everybody}, 0},
        {{.host = {"name.invalid", 12}, .port = 1, .allow = nobody}, 0}, /* known when it is resolved */
        {{.host = {"h", 1}, .port = 1, .tls = true, .ca_file = {"/nonexistent.pem", 16}}, SL_ETLS},
        {{.host = {"h", 1}, .port = 1, .tls = true, .ca_file = {"/dev/null", 9}}, SL_ETLS},
        {{.host = {"h", 1}, .port = 1, .ca_file = {"/nonexistent.pem", 16}}, 0}, /* nothing needs it */
    };
    client *c = client_new("127.0.0.1", 1, false, NULL, NULL);
    size_t count = sl_upstream_origin_count(c->upstream);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_origin *origin = c->origin;
        int error = sl_upstream_origin(c->upstream, &rows[i].options, &origin);
        if (error != rows[i].error)
            sl_test_failed(__FILE__, __LINE__, "row %zu: %s", i, sl_error_name(error));
        count += error == 0;
        CHECK_EQ(sl_upstream_origin_count(c->upstream), count);
        CHECK_EQ(origin == c->origin, error != 0); /* untouched on failure */
    }
    client_free(c);
}

SL_TEST(the_same_settings_are_one_origin)
{
    client *c = client_new("Example.ORG", 80, false, NULL, NULL);
    static const sl_origin_options same[] = {{.host = {"example.org", 11}, .port = 80},
                                             {.host = {"EXAMPLE.org", 11}, .port = 80}},
                                   others[] = {{.host = {"example.org", 11}, .port = 81},
                                               {.host = {"example.or", 10}, .port = 80},
                                               {.host = {"example.org", 11}, .port = 80, .passing = true},
                                               {.host = {"example.org", 11}, .port = 80, .allow = everybody}};
    sl_origin *origin = NULL;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++) {
        REQUIRE(sl_upstream_origin(c->upstream, &same[i], &origin) == 0);
        CHECK(origin == c->origin);
    }
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        REQUIRE(sl_upstream_origin(c->upstream, &others[i], &origin) == 0);
        CHECK(origin != c->origin);
    }
    CHECK_STR(sl_origin_host(c->origin), "Example.ORG");
    CHECK_EQ(sl_origin_port(c->origin), 80);
    client_free(c);
}

SL_TEST(a_name_that_leads_to_an_address_that_is_not_allowed)
{
    nf_server s;
    nf_server_start(&s, serve, (char *)ANSWER);
    client *c = client_new("127.0.0.1", s.port, false, NULL, NULL);
    const sl_origin_options name = {.host = SL_STR("localhost"), .port = s.port, .allow = nobody};
    REQUIRE(sl_upstream_origin(c->upstream, &name, &c->origin) == 0);
    asked a = {.status = 0};
    ask(c, &a);
    CHECK_EQ(a.error, SL_EREFUSED);
    CHECK_EQ(s.requests, 0);
    client_asked(c, &a, &s);
}

SL_TEST(the_peer_is_known_once_there_is_a_connection)
{
    nf_server s;
    nf_server_start(&s, serve, (char *)ANSWER);
    client *c = client_new("127.0.0.1", s.port, false, NULL, NULL);
    asked a = {.pause_at_head = true};
    char address[64] = "before";
    uint16_t port = 7;
    CHECK(!sl_call_peer(&a.call, address, sizeof address, &port));
    CHECK(port == 7 && strcmp(address, "before") == 0);
    start(c, &a);
    for (int i = 0; i < 1000 && !a.reads; i++)
        (void)uv_run(&c->loop.uv, UV_RUN_ONCE);
    if (!a.over) {
        CHECK(sl_call_peer(&a.call, address, sizeof address, &port));
        CHECK_STR(sl_str_c(address), "127.0.0.1");
        CHECK_EQ(port, s.port);
        sl_call_pause(&a.call, false);
        run_until_over(c, &a);
    }
    client_asked(c, &a, &s);
}

/* ---- the end ---- */

/* Reads and says nothing. */
static void swallow(nf_server *server, int fd, int number)
{
    char bytes[1024];
    (void)server, (void)number;
    while (recv(fd, bytes, sizeof bytes, 0) > 0) {
    }
}

SL_TEST(a_close_fails_what_is_under_way_whatever_it_waits_for)
{
    nf_server s;
    nf_server_start(&s, swallow, NULL);
    static const char *const hosts[] = {"127.0.0.1", "localhost", "name.invalid"};
    for (size_t i = 0; i < sizeof hosts / sizeof *hosts; i++) {
        for (unsigned turns = 0; turns < 4; turns++) {
            client *c = client_new(hosts[i], s.port, false, NULL, NULL);
            asked a = {.status = 0};
            start(c, &a);
            for (unsigned k = 0; k < turns && !a.over; k++)
                (void)uv_run(&c->loop.uv, UV_RUN_NOWAIT);
            sl_upstream_close(c->upstream);
            run_until_over(c, &a);
            CHECK(a.error == SL_ECLOSED || a.error == SL_ERESOLVE);
            sl_upstream_close(c->upstream); /* again: nothing */
            sl_buf_done(&a.body);
            client_free(c);
        }
    }
    nf_server_stop(&s);
    sl_upstream_close(NULL);
    sl_upstream_free(NULL);
}

SL_TEST(idle_connections_go_with_the_client)
{
    nf_server s;
    nf_server_start(&s, serve, (char *)ANSWER);
    client *c = client_new("127.0.0.1", s.port, false, NULL, NULL);
    asked a[8];
    memset(a, 0, sizeof a);
    for (int i = 0; i < 8; i++)
        start(c, &a[i]);
    for (int i = 0; i < 8; i++) {
        run_until_over(c, &a[i]);
        sl_buf_done(&a[i].body);
    }
    sl_origin_stats stats;
    sl_origin_get_stats(c->origin, &stats);
    CHECK_EQ(stats.idle, 8);
    client_free(c); /* the server's threads end with their connections */
    nf_server_stop(&s);
}

/* ---- memory ---- */

static void nothing(uv_async_t *async)
{
    (void)async;
}

SL_TEST(every_allocation_may_fail)
{
    nf_server s;
    nf_server_start(&s, serve, (char *)ANSWER);
    for (long n = 0; n < 64; n++) {
        sl_loop loop;
        sl_upstream *upstream = NULL;
        sl_origin *origin = NULL;
        asked a = {.status = 0};
        const sl_origin_options options = {.host = SL_STR("127.0.0.1"), .port = s.port};
        uv_async_t listener; /* timers alone do not keep a loop going */
        client c = {.upstream = NULL};
        REQUIRE(sl_loop_init(&loop) == 0 && uv_async_init(&loop.uv, &listener, nothing) == 0);
        sl_test_fail_alloc(n);
        int error = sl_upstream_new(&loop, NULL, &upstream);
        if (!error)
            error = sl_upstream_origin(upstream, &options, &origin);
        if (!error) {
            c.upstream = upstream;
            c.origin = origin;
            start(&c, &a);
            uint64_t end = sl_mono_ns() + (uint64_t)NF_PATIENCE_MS * 1000000;
            while (!a.over && sl_mono_ns() < end)
                (void)uv_run(&loop.uv, UV_RUN_ONCE);
            if (!a.over)
                sl_test_failed(__FILE__, __LINE__, "allocation %ld: phase %d, reads %u", n, (int)a.call.phase, a.reads);
        }
        bool reached = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK(error == 0 || error == SL_ENOMEM);
        CHECK(error || a.status == 200 || a.error == SL_ENOMEM);
        CHECK(reached || (a.status == 200 && !a.error));
        sl_buf_done(&a.body);
        sl_upstream_close(upstream);
        uv_close((uv_handle_t *)&listener, NULL);
        while (uv_run(&loop.uv, UV_RUN_ONCE)) {
        }
        sl_upstream_free(upstream);
        sl_loop_done(&loop);
        if (!reached)
            break;
        CHECK(n < 63);
    }
    nf_server_stop(&s);
}
