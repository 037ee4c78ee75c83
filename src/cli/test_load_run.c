/*
 * Load runs against servers that answer what they are told: every request is counted once, by what became of it; as
 * many are under way as was asked for, at the times that were asked for; a run ends when it should.
 */
#include "src/cli/load_run.h"

#include "tests/harness/net_fixture.h"

#define MS 1000000u
#define UNARY "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s"
#define GOOD                                                                                                           \
    "{\"choices\":[{\"message\":{\"content\":\"hi\"}}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":7}}"
#define STREAM "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
#define FRAME "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n"

/* A server with one answer, which counts what is under way. */
typedef struct backend {
    nf_server server;
    char answer[4096];
    unsigned delay_ms;
    bool closes;
    _Atomic bool hold;
    _Atomic int now, most;
    _Atomic uint64_t at_ns[64];
} backend;

static void serve(nf_server *server, int fd, int number)
{
    backend *b = server->user;
    nf_message m;
    (void)number;
    while (nf_read_message(fd, true, false, &m)) {
        int index = server->requests++;
        if (index < 64)
            b->at_ns[index] = sl_mono_ns();
        nf_message_free(&m);
        int now = ++b->now;
        if (now > b->most)
            b->most = now;
        if (b->delay_ms)
            nf_sleep_ms(b->delay_ms);
        while (b->hold && !nf_closed_within(fd, 5)) {
        }
        --b->now;
        if (!nf_send_c(fd, b->answer) || b->closes)
            return;
    }
}

static void open_backend(backend *b, const char *answer)
{
    memset(b, 0, sizeof *b);
    (void)snprintf(b->answer, sizeof b->answer, "%s", answer);
    nf_server_start(&b->server, serve, b);
}

static void open_good(backend *b)
{
    char answer[512];
    (void)snprintf(answer, sizeof answer, UNARY, strlen(GOOD), GOOD);
    open_backend(b, answer);
}

static bool make_request(sl_load_request *request, uint16_t port, bool stream)
{
    char url[64];
    const char *reason = "";
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u", port);
    const sl_load_ask ask = {
        .url = sl_str_c(url), .model = SL_STR("m"), .prompt = SL_STR("p"), .max_tokens = 8, .stream = stream};
    int error = sl_load_request_init(request, &ask, &reason);
    CHECK_EQ(error, 0);
    return error == 0;
}

/* Runs; whatever became of it, each request counts once. */
static int run(const backend *b, uint16_t port, sl_load_plan plan, bool stream, sl_load_result *ret)
{
    static sl_load_request request;
    memset(ret, 0, sizeof *ret);
    plan.timeout_ms = plan.timeout_ms ? plan.timeout_ms : 10000;
    plan.concurrency = plan.concurrency ? plan.concurrency : 1;
    if (!make_request(&request, port, stream))
        return SL_EINVAL;
    int error = sl_load_run(&plan, &request, ret);
    sl_load_request_done(&request);
    CHECK_EQ(ret->ok + sl_load_result_failed(ret), ret->sent);
    CHECK(!b || b->most <= (int)plan.concurrency);
    return error;
}

/* ---- what became of them ---- */

SL_TEST(each_answer_is_counted_by_what_it_was)
{
    static const struct {
        const char *answer;
        bool stream, closes;
        sl_load_error error; /* SL_LOAD_OK: good */
        int status;
        uint64_t tokens, frames; /* of three requests */
    } rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 35\r\n\r\n"
         "{\"usage\":{\"completion_tokens\": 4}}\n\n",
         false, false, SL_LOAD_OK, 0, 12, 0},
        {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", false, false, SL_LOAD_OK,
         0, 0, 0},
        {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 3\r\n\r\n{x}", false, false,
         SL_LOAD_BAD_JSON, 0, 0, 0},
        {"HTTP/1.1 429 Slow\r\nContent-Length: 2\r\n\r\n{}", false, false, SL_LOAD_HTTP, 429, 0, 0},
        {"HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n", false, false, SL_LOAD_HTTP, 500, 0, 0},
        {"HTTP/1.1 302 There\r\nLocation: /x\r\nContent-Length: 0\r\n\r\n", false, false, SL_LOAD_HTTP, 302, 0, 0},
        {"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhalf", false, true, SL_LOAD_CLOSED, 0, 0, 0},
        {"", false, true, SL_LOAD_CLOSED, 0, 0, 0},
        {"what is this\r\n\r\n", false, true, SL_LOAD_PROTOCOL, 0, 0, 0},
        {"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{}", false, true, SL_LOAD_PROTOCOL, 0, 0, 0},
        {STREAM FRAME FRAME "data: [DONE]\n\n", true, true, SL_LOAD_OK, 0, 6, 9},
        {STREAM ": nothing\n\n" FRAME "data: [DONE]\n\n", true, true, SL_LOAD_OK, 0, 3, 9},
        {STREAM FRAME "data: {\"choices\":[],\"usage\":{\"completion_tokens\":9}}\n\ndata: [DONE]\n\n", true, true,
         SL_LOAD_OK, 0, 27, 9},
        {STREAM FRAME, true, true, SL_LOAD_NO_DONE, 0, 0, 3},
        {STREAM "data: {x\n\ndata: [DONE]\n\n", true, true, SL_LOAD_BAD_JSON, 0, 0, 6},
        {STREAM FRAME "data: {\"error\":{\"message\":\"broke\"}}\n\ndata: [DONE]\n\n", true, true, SL_LOAD_STREAM_ERROR,
         0, 0, 9},
        {"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}", true, false,
         SL_LOAD_NOT_STREAMED, 0, 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        backend b;
        sl_load_result r;
        open_backend(&b, rows[i].answer);
        b.closes = rows[i].closes;
        CHECK_EQ(run(&b, b.server.port, (sl_load_plan){.requests = 3}, rows[i].stream, &r), 0);
        nf_server_stop(&b.server);
        uint64_t counted = rows[i].error == SL_LOAD_OK     ? r.ok
                           : rows[i].error == SL_LOAD_HTTP ? r.http_errors[rows[i].status]
                                                           : r.errors[rows[i].error];
        if (r.sent != 3 || counted != 3 || r.tokens != rows[i].tokens || r.frames != rows[i].frames)
            sl_test_failed(__FILE__, __LINE__, "row %zu: %llu sent, %llu ok, %llu tokens, %llu frames: %s", i,
                           (unsigned long long)r.sent, (unsigned long long)r.ok, (unsigned long long)r.tokens,
                           (unsigned long long)r.frames, r.sample);
    }
}

SL_TEST(without_a_server_every_request_fails)
{
    uint16_t port;
    sl_load_result r;
    close(nf_listen(&port));
    CHECK_EQ(run(NULL, port, (sl_load_plan){.requests = 5, .concurrency = 2}, false, &r), 0);
    CHECK_EQ(r.sent, 5);
    CHECK_EQ(r.errors[SL_LOAD_CONNECT], 5);
    CHECK(strstr(r.sample, "127.0.0.1") != NULL);
}

SL_TEST(who_waits_too_long_is_told_where)
{
    static const char *const answers[] = {"", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nha"};
    static const char *const samples[] = {"timeout before an answer", "timeout in the middle of an answer"};
    for (size_t i = 0; i < 2; i++) {
        backend b;
        sl_load_result r;
        open_backend(&b, answers[i]);
        b.hold = i == 0;
        uint64_t begun = sl_mono_ns();
        CHECK_EQ(run(&b, b.server.port, (sl_load_plan){.requests = 2, .concurrency = 2, .timeout_ms = 150}, false, &r),
                 0);
        CHECK(sl_mono_ns() - begun < 5000u * (uint64_t)MS);
        CHECK_EQ(r.errors[SL_LOAD_TIMEOUT], 2);
        CHECK_STR(sl_str_c(r.sample), samples[i]);
        b.hold = false;
        nf_server_stop(&b.server);
    }
}

/* ---- how many, how fast, how long ---- */

SL_TEST(so_many_at_a_time_and_no_more)
{
    static const uint64_t at_once[] = {1, 3, 8};
    for (size_t i = 0; i < sizeof at_once / sizeof *at_once; i++) {
        backend b;
        sl_load_result r;
        open_good(&b);
        b.delay_ms = 20;
        CHECK_EQ(run(&b, b.server.port, (sl_load_plan){.requests = 24, .concurrency = at_once[i]}, false, &r), 0);
        nf_server_stop(&b.server);
        CHECK(r.ok == 24 && b.server.requests == 24);
        CHECK(b.most <= (int)at_once[i] && (at_once[i] == 1 || b.most > 1));
        CHECK(b.server.connection_count <= (int)at_once[i]); /* kept from one to the next */
        CHECK_EQ(r.tokens, 24 * 7);
        CHECK(r.duration_ns >= 24 / at_once[i] * 20 * MS);
    }
}

SL_TEST(more_slots_than_requests)
{
    backend b;
    sl_load_result r;
    open_good(&b);
    CHECK_EQ(run(&b, b.server.port, (sl_load_plan){.requests = 2, .concurrency = 40}, false, &r), 0);
    nf_server_stop(&b.server);
    CHECK(r.ok == 2 && b.server.requests == 2);
}

/* Request i is due i/rate seconds after the start, however long the others take. */
SL_TEST(a_rate_is_kept_whatever_the_answers_take)
{
    backend b;
    sl_load_result r;
    open_good(&b);
    b.delay_ms = 60;
    uint64_t begun = sl_mono_ns();
    CHECK_EQ(run(&b, b.server.port, (sl_load_plan){.requests = 20, .concurrency = 20, .rate = 100}, false, &r), 0);
    nf_server_stop(&b.server);
    CHECK_EQ(r.ok, 20);
    for (int i = 0; i < 20; i++)
        CHECK(b.at_ns[i] + MS >= begun + (uint64_t)i * 10 * MS); /* none before its time */
    CHECK(r.duration_ns >= 250u * (uint64_t)MS);
}

/* With too few slots requests wait, and their waiting counts: the server is no better for being asked less. */
SL_TEST(times_count_from_when_a_request_was_due)
{
    backend b;
    sl_load_result r;
    open_good(&b);
    b.delay_ms = 30;
    CHECK_EQ(run(&b, b.server.port, (sl_load_plan){.requests = 10, .concurrency = 1, .rate = 1000}, false, &r), 0);
    nf_server_stop(&b.server);
    CHECK_EQ(r.ok, 10);
    CHECK(sl_load_hist_at(&r.latency, 1) >= 250u * (uint64_t)MS);
    CHECK(sl_load_hist_at(&r.latency, 0.05) < 250u * (uint64_t)MS);
}

SL_TEST(a_duration_ends_the_run)
{
    backend b;
    sl_load_result r;
    open_good(&b);
    b.delay_ms = 10;
    uint64_t begun = sl_mono_ns();
    CHECK_EQ(run(&b, b.server.port, (sl_load_plan){.duration_ms = 200, .concurrency = 2}, false, &r), 0);
    uint64_t took = sl_mono_ns() - begun;
    nf_server_stop(&b.server);
    CHECK(took >= 195u * (uint64_t)MS && took < 5000u * (uint64_t)MS);
    CHECK(r.ok > 2 && r.ok == r.sent); /* what is under way is waited for */
    open_good(&b);
    CHECK_EQ(run(&b, b.server.port, (sl_load_plan){.duration_ms = 60000, .requests = 5}, false, &r), 0);
    nf_server_stop(&b.server);
    CHECK_EQ(r.sent, 5); /* whichever comes first */
}

/* ---- ended from outside ---- */

static void *interrupt(void *user)
{
    backend *b = user;
    for (int i = 0; i < 2000 && b->now < 4; i++)
        nf_sleep_ms(1);
    if (b->now == 4) /* the run listens for signals while it holds them */
        (void)kill(getpid(), SIGTERM);
    return NULL;
}

SL_TEST(an_interrupted_run_reports_what_there_is)
{
    backend b;
    sl_load_result r;
    pthread_t thread;
    open_good(&b);
    b.hold = true;
    REQUIRE(pthread_create(&thread, NULL, interrupt, &b) == 0);
    CHECK_EQ(run(&b, b.server.port, (sl_load_plan){.requests = 100, .concurrency = 4}, false, &r), 0);
    (void)pthread_join(thread, NULL);
    CHECK_EQ(r.sent, 4);
    CHECK_EQ(r.errors[SL_LOAD_INTERRUPTED], 4);
    b.hold = false;
    nf_server_stop(&b.server);
}

/* ---- memory ---- */

SL_TEST(every_allocation_may_fail)
{
    backend b;
    sl_load_result r;
    open_good(&b);
    for (long n = 0; n < 200; n++) {
        static sl_load_request request;
        REQUIRE(make_request(&request, b.server.port, false));
        const sl_load_plan plan = {.requests = 2, .concurrency = 2, .timeout_ms = 5000};
        memset(&r, 0, sizeof r);
        sl_test_fail_alloc(n);
        int error = sl_load_run(&plan, &request, &r);
        bool reached = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        sl_load_request_done(&request);
        CHECK(error == 0 || error == SL_ENOMEM);
        CHECK(error || (r.sent == 2 && r.ok + sl_load_result_failed(&r) == 2));
        CHECK(reached || r.ok == 2);
        if (!reached || b.server.connection_count > 56)
            break;
    }
    nf_server_stop(&b.server);
}
