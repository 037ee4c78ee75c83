/* The upstream client: pool, failures, time. */

#include "src/base/mem.h"
#include "src/net/test_upstream_fixture.h"

SL_TEST(calls_share_a_connection)
{
    nf_server s;
    nf_server_start(&s, serve, (char *)ANSWER);
    client *c = client_new("127.0.0.1", s.port, false, NULL, NULL);
    for (int i = 0; i < 5; i++) {
        asked a = {.status = 0};
        ask(c, &a);
        CHECK_EQ(a.status, 200);
        CHECK_STR_EQ(sl_buf_str(&a.body), SL_STR("hello"));
        CHECK_EQ(a.call.reused, i > 0);
        CHECK_EQ(a.call.sends, 1);
        CHECK_EQ(a.call.bytes_in, 5);
        CHECK_EQ(a.call.phase, SL_CALL_OVER);
        CHECK(a.call.first_byte_ns >= a.call.connected_ns && a.call.connected_ns >= a.call.start_ns);
        sl_buf_done(&a.body);
    }
    sl_origin_stats stats;
    sl_origin_get_stats(c->origin, &stats);
    CHECK_EQ(stats.opened, 1);
    CHECK_EQ(stats.reused, 4);
    CHECK_EQ(stats.idle, 1);
    CHECK_EQ(stats.active, 0);
    client_free(c);
    CHECK_EQ(s.requests, 5);
    nf_server_stop(&s);
}

SL_TEST(calls_at_once_have_connections_of_their_own)
{
    nf_server s;
    nf_server_start(&s, serve, (char *)ANSWER);
    client *c = client_new("127.0.0.1", s.port, false, NULL, &(sl_upstream_options){.max_idle = 2});
    asked a[5];
    memset(a, 0, sizeof a);
    for (int i = 0; i < 5; i++)
        start(c, &a[i]);
    for (int i = 0; i < 5; i++) {
        run_until_over(c, &a[i]);
        CHECK_EQ(a[i].status, 200);
        sl_buf_done(&a[i].body);
    }
    sl_origin_stats stats;
    sl_origin_get_stats(c->origin, &stats);
    CHECK_EQ(stats.opened, 5);
    CHECK_EQ(stats.idle, 2);
    client_free(c);
    nf_server_stop(&s);
}

static int ask_passing(client *c, const char *host, uint16_t port)
{
    const sl_origin_options options = {.host = sl_str_c(host), .port = port, .passing = true};
    sl_origin *own = c->origin;
    asked a = {.status = 0};
    CHECK_EQ(sl_upstream_origin(c->upstream, &options, &c->origin), 0);
    ask(c, &a);
    c->origin = own;
    sl_buf_done(&a.body);
    return a.status;
}

/* Hosts that requests name come and go; those with a call under way stay, and so do those of the program. */
SL_TEST(passing_origins_are_bounded)
{
    nf_server s;
    nf_server_start(&s, serve, (char *)ANSWER);
    client *c = client_new("127.0.0.1", s.port, false, NULL, NULL);
    asked waiting = {.status = 0};
    sl_origin *origin, *own = c->origin;
    const sl_origin_options slow = {.host = SL_STR("127.9.9.9"), .port = 9, .passing = true};
    REQUIRE(sl_upstream_origin(c->upstream, &slow, &origin) == 0);
    c->origin = origin;
    start(c, &waiting); /* under way until the loop runs */
    c->origin = own;
    for (unsigned i = 0; i < 3 * SL_UPSTREAM_MAX_PASSING; i++) {
        char host[32];
        (void)snprintf(host, sizeof host, "127.1.%u.%u", i / 200, i % 200 + 1);
        const sl_origin_options options = {.host = sl_str_c(host), .port = 9, .passing = true};
        CHECK_EQ(sl_upstream_origin(c->upstream, &options, &origin), 0);
    }
    CHECK(sl_upstream_origin_count(c->upstream) <= SL_UPSTREAM_MAX_PASSING + 3);
    REQUIRE(sl_upstream_origin(c->upstream, &slow, &origin) == 0);
    CHECK(waiting.call.origin == origin);
    run_until_over(c, &waiting);
    for (unsigned i = 0; i < SL_UPSTREAM_MAX_PASSING + 60; i++) { /* each leaves an idle connection behind */
        char host[32];
        (void)snprintf(host, sizeof host, "127.2.%u.%u", i / 200, i % 200 + 1);
        CHECK_EQ(ask_passing(c, host, s.port), 0); /* nobody listens there */
        CHECK_EQ(ask_passing(c, "127.0.0.1", s.port), 200);
    }
    CHECK(sl_upstream_origin_count(c->upstream) <= SL_UPSTREAM_MAX_PASSING + 3);
    asked a = {.status = 0};
    ask(c, &a);
    CHECK_EQ(a.status, 200);
    client_asked(c, &a, &s);
}

SL_TEST(names_are_resolved_and_all_addresses_tried)
{
    nf_server s;
    nf_server_start(&s, serve, (char *)ANSWER); /* listens on IPv4 only; localhost may be ::1 first */
    client *c = client_new("localhost", s.port, false, NULL, NULL);
    asked a = {.status = 0};
    ask(c, &a);
    CHECK_EQ(a.status, 200);
    char address[64];
    uint16_t port;
    CHECK(!sl_call_peer(&a.call, address, sizeof address, &port));
    client_asked(c, &a, &s);
}

SL_TEST(names_that_do_not_exist)
{
    client *c = client_new("nothing.invalid", 80, false, NULL, NULL);
    asked a = {.status = 0};
    ask(c, &a);
    CHECK_EQ(a.error, SL_ERESOLVE);
    CHECK(strstr(a.reason, "nothing.invalid") != NULL);
    client_free(c);
}

SL_TEST(ports_that_nobody_listens_on)
{
    uint16_t port;
    close(nf_listen(&port));
    client *c = client_new("127.0.0.1", port, false, NULL, NULL);
    asked a = {.status = 0};
    ask(c, &a);
    CHECK_EQ(a.error, SL_ECONNECT);
    CHECK(strstr(a.reason, "cannot connect") != NULL);
    client_free(c);
}

SL_TEST(an_idle_connection_that_closes_is_forgotten)
{
    nf_server s;
    nf_server_start(&s, serve_once, (char *)ANSWER);
    client *c = client_new("127.0.0.1", s.port, false, NULL, NULL);
    for (int i = 0; i < 3; i++) {
        asked a = {.status = 0};
        ask(c, &a);
        CHECK_EQ(a.status, 200);
        sl_buf_done(&a.body);
        nf_sleep_ms(20);
        (void)uv_run(&c->loop.uv, UV_RUN_NOWAIT);
        sl_origin_stats stats;
        sl_origin_get_stats(c->origin, &stats);
        CHECK_EQ(stats.idle, 0);
    }
    client_free(c);
    nf_server_stop(&s);
}

SL_TEST(an_idle_connection_ends_after_its_time)
{
    nf_server s;
    asked a = {.status = 0};
    client *c = client_asking(&s, serve, ANSWER, false, &(sl_upstream_options){.idle_timeout_ms = 100}, &a);
    sl_origin_stats stats;
    for (int i = 0; i < 100; i++) {
        sl_origin_get_stats(c->origin, &stats);
        if (stats.idle == 0)
            break;
        (void)uv_run(&c->loop.uv, UV_RUN_NOWAIT);
        nf_sleep_ms(5);
    }
    CHECK_EQ(stats.idle, 0);
    client_asked(c, &a, &s);
}

SL_TEST(a_fresh_connection_that_hangs_up_fails_the_call)
{
    nf_server s;
    asked a = {.status = 0};
    client *c = client_asking(&s, hang_up, NULL, false, NULL, &a);
    CHECK_EQ(a.error, SL_ECLOSED);
    CHECK_EQ(a.call.sends, 1);
    CHECK_EQ(s.requests, 1);
    client_free(c);
    nf_server_stop(&s);
}

/* Answers the first request of a connection at once, hangs up on the second one after a while. */
static void hang_up_late(nf_server *server, int fd, int number)
{
    nf_message m;
    (void)number;
    for (int i = 0; nf_read_message(fd, true, false, &m); i++) {
        server->requests++;
        nf_message_free(&m);
        if (i == 1) {
            nf_sleep_ms(1200);
            return;
        }
        (void)nf_send_c(fd, ANSWER);
    }
}

/* A server that has worked on a request and then broke must not get it again unasked. */
SL_TEST(a_pooled_connection_that_hangs_up_late_is_not_stale)
{
    nf_server s;
    nf_server_start(&s, hang_up_late, NULL);
    client *c = client_new("127.0.0.1", s.port, false, NULL, NULL);
    asked first = {.status = 0}, second = {.status = 0};
    ask(c, &first);
    CHECK_EQ(first.status, 200);
    sl_buf_done(&first.body);
    ask(c, &second);
    CHECK_EQ(second.error, SL_ECLOSED);
    CHECK(second.call.reused);
    CHECK_EQ(second.call.sends, 1);
    CHECK_EQ(s.requests, 2);
    client_free(c);
    nf_server_stop(&s);
}

/* ---- answers at every split ---- */

typedef struct told {
    const char *name;
    const char *answer;
    const char *body;
    int status; /* 0: fails with `error` */
    int error;
    bool is_head;
    bool closes; /* the server, behind its answer */
    bool stays;  /* the connection goes back to the pool */
} told;

#define OK200 "HTTP/1.1 200 OK\r\n"
#define CHUNKED OK200 "Transfer-Encoding: chunked\r\n\r\n"

static const told answers[] = {
    {"length", OK200 "Content-Length: 5\r\n\r\nhello", "hello", 200, .stays = true},
    {"no body", OK200 "Content-Length: 0\r\n\r\n", "", 200, .stays = true},
    {"100", "HTTP/1.1 100 Continue\r\n\r\n" OK200 "Content-Length: 2\r\n\r\nhi", "hi", 200, .stays = true},
    {"103, 102",
     "HTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" CHUNKED "1\r\na\r\n0\r\n\r\n", "a",
     200, .stays = true},
    {"chunks", CHUNKED "3\r\nabc\r\n00A\r\n0123456789\r\n0\r\n\r\n", "abc0123456789", 200, .stays = true},
    {"extensions", CHUNKED "3;n=v;q=\"a;b\"\r\nabc\r\n0;last\r\n\r\n", "abc", 200, .stays = true},
    {"trailers", CHUNKED "3\r\nabc\r\n0\r\nX-A: 1\r\nX-B: 2\r\n\r\n", "abc", 200, .stays = true},
    {"204", "HTTP/1.1 204 No Content\r\n\r\n", "", 204, .stays = true},
    {"304", "HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", "", 304, .stays = true},
    {"HEAD", OK200 "Content-Length: 9\r\n\r\n", "", 200, .is_head = true, .stays = true},
    {"HEAD, chunked", CHUNKED, "", 200, .is_head = true, .stays = true},
    {"until the end", OK200 "X: y\r\n\r\nall of it", "all of it", 200, .closes = true},
    {"close", OK200 "Connection: close\r\nContent-Length: 2\r\n\r\nhi", "hi", .status = 200},
    {"1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", "hi", .status = 200},
    {"1.0 kept", "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", "hi", 200, .stays = true},
    {"cut in an interim head", "HTTP/1.1 100 Con", NULL, .error = SL_ECLOSED, .closes = true},
    {"cut behind it", "HTTP/1.1 100 Continue\r\n\r\n", NULL, .error = SL_ECLOSED, .closes = true},
    {"cut in the head", OK200 "Content-Le", NULL, .error = SL_ECLOSED, .closes = true},
    {"cut in the body", OK200 "Content-Length: 5\r\n\r\nhell", "hell", .error = SL_ECLOSED, .closes = true},
    {"cut in a chunk", CHUNKED "5\r\nhell", "hell", .error = SL_ECLOSED, .closes = true},
    {"cut behind a chunk", CHUNKED "5\r\nhello\r\n", "hello", .error = SL_ECLOSED, .closes = true},
    {"cut in the last chunk", CHUNKED "5\r\nhello\r\n0\r\n", "hello", .error = SL_ECLOSED, .closes = true},
    {"cut in a trailer", CHUNKED "0\r\nX: ", "", .error = SL_ECLOSED, .closes = true},
    {"garbage", "garbage\r\n\r\n", NULL, .error = SL_EPROTO},
    {"LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", NULL, .error = SL_EPROTO},
    {"two lengths", OK200 "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", NULL, .error = SL_EPROTO},
    {"both framings", OK200 "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", NULL,
     .error = SL_EPROTO},
    {"bad chunk size", CHUNKED "x\r\n", NULL, .error = SL_EPROTO},
    {"chunk too long", CHUNKED "1\r\nabc\r\n0\r\n\r\n", "a", .error = SL_EPROTO},
    {"101", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n", NULL, .error = SL_EPROTO},
};

/* The answer under test, and where it is cut in two. */
typedef struct cutting {
    const told *row;
    _Atomic size_t at;
} cutting;

static void serve_cut(nf_server *server, int fd, int number)
{
    cutting *cut = server->user;
    nf_message m;
    (void)number;
    while (nf_read_message(fd, true, false, &m)) {
        nf_message_free(&m);
        size_t len = strlen(cut->row->answer), at = cut->at;
        if (at && nf_send(fd, cut->row->answer, at))
            nf_sleep_ms(1);
        if (!nf_send(fd, cut->row->answer + at, len - at) || cut->row->closes)
            return;
    }
}

static void check_told(client *c, const told *row, size_t at)
{
    asked a = {.call = {.is_head = row->is_head}};
    ask(c, &a);
    sl_origin_stats stats;
    sl_origin_get_stats(c->origin, &stats);
    bool good = row->status ? a.status == row->status && a.error == 0 : a.error == row->error;
    /* Of a broken answer, the beginning may have been told; what was told is right. */
    sl_str body = sl_buf_str(&a.body);
    bool same = row->status ? sl_str_eq_c(body, row->body) : sl_str_starts(sl_str_c(row->body ? row->body : ""), body);
    if (!good || !same || stats.idle != (row->stays ? 1u : 0u) || stats.active != 0)
        sl_test_failed(__FILE__, __LINE__, "%s cut at %zu: status %d error %d idle %zu '%.*s'", row->name, at, a.status,
                       a.error, stats.idle, (int)body.len, body.ptr);
    sl_buf_done(&a.body);
}

#define CUTS 60 /* for one server, which takes 64 connections */

static void check_cuts(const told *row, size_t from, size_t to)
{
    nf_server s;
    cutting cut = {.row = row};
    nf_server_start(&s, serve_cut, &cut);
    client *c = client_new("127.0.0.1", s.port, false, NULL, NULL);
    for (size_t at = from; at < to; at++) {
        cut.at = at;
        check_told(c, row, at);
    }
    client_free(c);
    nf_server_stop(&s);
}

SL_TEST(every_answer_at_every_split)
{
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        size_t len = strlen(answers[i].answer);
        for (size_t from = 0; from < len; from += CUTS)
            check_cuts(&answers[i], from, from + CUTS < len ? from + CUTS : len);
    }
}

/* A connection that has carried a broken answer is not used again, whatever comes next. */
SL_TEST(after_a_failure_the_next_call_has_a_fresh_connection)
{
    for (size_t i = 0; i < sizeof answers / sizeof *answers; i++) {
        if (answers[i].status)
            continue;
        nf_server s;
        cutting cut = {.row = &answers[i]};
        nf_server_start(&s, serve_cut, &cut);
        client *c = client_new("127.0.0.1", s.port, false, NULL, NULL);
        check_told(c, &answers[i], 0);
        cut.row = &answers[0];
        check_told(c, &answers[0], 0);
        sl_origin_stats stats;
        sl_origin_get_stats(c->origin, &stats);
        CHECK_EQ(stats.opened, 2);
        CHECK_EQ(stats.reused, 0);
        client_free(c);
        nf_server_stop(&s);
    }
}

/* A call that fails because its name cannot be found, and is started again from inside the failure. */
typedef struct stubborn {
    sl_call call;
    sl_origin *origin;
    int fails;
    int turn; /* of the loop */
    int turns[2];
} stubborn;

static void fail_again(sl_call *call, int error, const char *reason)
{
    stubborn *t = call->user;
    (void)reason;
    CHECK_EQ(error, SL_ERESOLVE);
    t->turns[t->fails++] = t->turn;
    if (t->fails == 1)
        sl_call_start(call, t->origin);
}

SL_TEST(a_name_is_looked_up_again_for_who_asks_again)
{
    static const sl_call_handler again = {on_read, fail_again};
    client *c = client_new("no-such-host.invalid", 80, false, NULL, NULL);
    stubborn t = {.origin = c->origin};
    t.call = (sl_call){.handler = &again, .user = &t, .pieces = {SL_STR("x")}, .piece_count = 1};
    sl_call_start(&t.call, c->origin);
    for (; t.turn < 100000 && t.fails < 2; t.turn++)
        (void)uv_run(&c->loop.uv, UV_RUN_ONCE);
    CHECK_EQ(t.fails, 2);
    CHECK(t.turns[1] > t.turns[0]); /* not failed by the answer that was there already */
    client_free(c);
}

SL_TEST(silence_times_out)
{
    uint16_t port;
    int listener = nf_listen(&port); /* accepts into its queue, says nothing */
    client *c = client_new("127.0.0.1", port, false, NULL, NULL);
    asked a = {.status = 0};
    a.call.wait_timeout_ms = 100;
    ask(c, &a);
    CHECK_EQ(a.error, SL_ETIMEOUT);
    CHECK(strstr(a.reason, "no answer") != NULL);
    client_free(c);
    close(listener);
}

SL_TEST(a_call_may_be_cancelled_anywhere)
{
    nf_server s;
    nf_server_start(&s, serve, (char *)"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nfive");
    client *c = client_new("127.0.0.1", s.port, false, NULL, NULL);
    asked a = {.status = 0};
    sl_call_cancel(&a.call); /* before it has begun */
    start(c, &a);
    sl_call_cancel(&a.call); /* while connecting */
    sl_call_cancel(&a.call);
    CHECK_EQ(a.call.phase, SL_CALL_OVER);
    sl_buf_done(&a.body);
    asked b = {.cancel_at_head = true};
    ask(c, &b);
    CHECK_EQ(b.status, 200);
    CHECK_EQ(b.reads, 1);
    sl_buf_done(&b.body);
    client *d = client_new("localhost", s.port, false, NULL, NULL);
    asked e = {.status = 0};
    start(d, &e);
    sl_call_cancel(&e.call); /* while resolving */
    CHECK_EQ(e.over, false);
    client_free(d);
    client_free(c);
    nf_server_stop(&s);
}

SL_TEST(a_paused_call_reads_nothing)
{
    nf_server s;
    char *big = malloc(4 << 20);
    int len = sprintf(big, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", 3 << 20);
    memset(big + len, 'x', 3 << 20);
    big[len + (3 << 20)] = 0;
    nf_server_start(&s, serve, big);
    client *c = client_new("127.0.0.1", s.port, false, NULL, NULL);
    asked a = {.pause_at_head = true};
    start(c, &a);
    for (int i = 0; i < 50; i++) {
        (void)uv_run(&c->loop.uv, UV_RUN_NOWAIT);
        nf_sleep_ms(2);
    }
    CHECK(a.body.len <= SL_LOOP_READ_BYTES);
    CHECK_EQ(a.reads, 1);
    sl_call_pause(&a.call, false);
    run_until_over(c, &a);
    CHECK_EQ(a.body.len, 3 << 20);
    client_asked(c, &a, &s);
    free(big);
}

SL_TEST(large_requests_wait_in_place)
{
    enum { SIZE = 16 << 20 };
    nf_server s;
    nf_server_start(&s, serve, (char *)ANSWER);
    client *c = client_new("127.0.0.1", s.port, false, NULL, NULL);
    char *body = malloc(SIZE);
    memset(body, 'b', SIZE);
    char head[128];
    (void)snprintf(head, sizeof head, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", SIZE);
    asked a = {.call = {.handler = &handler, .user = &a, .piece_count = 2}};
    sl_buf_init(&a.body, 1024);
    a.call.pieces[0] = sl_str_c(head);
    a.call.pieces[1] = sl_str_of(body, SIZE);
    size_t before = sl_test_live_blocks();
    sl_call_start(&a.call, c->origin);
    (void)uv_run(&c->loop.uv, UV_RUN_ONCE);
    CHECK(sl_test_live_blocks() < before + 8);
    CHECK(!a.call.request_sent);
    run_until_over(c, &a);
    CHECK_EQ(a.status, 200);
    CHECK(a.call.request_sent);
    sl_buf_done(&a.body);
    free(body);
    client_free(c);
    nf_server_stop(&s);
}

SL_TEST(an_answer_to_head_has_no_body)
{
    nf_server s;
    nf_server_start(&s, serve, (char *)"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    client *c = client_new("127.0.0.1", s.port, false, NULL, NULL);
    for (int i = 0; i < 2; i++) {
        asked a = {.call = {.is_head = true}};
        ask(c, &a);
        CHECK_EQ(a.status, 200);
        CHECK_EQ(a.body.len, 0);
        CHECK_EQ(a.call.reused, i);
        sl_buf_done(&a.body);
    }
    client_free(c);
    nf_server_stop(&s);
}

SL_TEST(origins_are_told_apart_by_their_settings)
{
    client *c = client_new("127.0.0.1", 80, false, NULL, NULL);
    sl_origin *o;
    sl_origin_options same = {.host = SL_STR("127.0.0.1"), .port = 80};
    CHECK_EQ(sl_upstream_origin(c->upstream, &same, &o), 0);
    CHECK(o == c->origin);
    sl_origin_options port = {.host = SL_STR("127.0.0.1"), .port = 81};
    CHECK_EQ(sl_upstream_origin(c->upstream, &port, &o), 0);
    CHECK(o != c->origin);
    CHECK_STR(sl_origin_host(o), "127.0.0.1");
    CHECK_EQ(sl_origin_port(o), 81);
    sl_origin_options no_file = {.host = SL_STR("h"), .port = 443, .tls = true, .ca_file = SL_STR("/nonexistent.pem")};
    CHECK_EQ(sl_upstream_origin(c->upstream, &no_file, &o), SL_ETLS);
    sl_origin_options no_host = {.port = 443};
    CHECK_EQ(sl_upstream_origin(c->upstream, &no_host, &o), SL_EINVAL);
    client_free(c);
}
