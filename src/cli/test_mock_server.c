/* The mock as a server: shares of faults, what each of them is to a client, and the ledger. */
#include "src/cli/mock_server.h"

#include "src/wire/json_scan.h"
#include "tests/harness/net_fixture.h"

SL_TEST(shares_of_faults)
{
    static const struct {
        const char *texts[3];
        const char *reason; /* of the last one; NULL: all are taken */
    } rows[] = {
        {{"429=0.1"}, NULL},
        {{"hang"}, NULL}, /* all of them */
        {{"429=0.5", "500=0.5"}, NULL},
        {{"500=0.5", "429=0.5"}, NULL},
        {{"429=0.9", "429=0.3", "500=0.7"}, NULL}, /* the last word about a kind counts */
        {{"slow=0"}, NULL},
        {{"429=0.6", "500=0.6"}, "the shares add up to more than 1"},
        {{"500=0.6", "429=0.6"}, "the shares add up to more than 1"},
        {{"truncate=1", "429=0.01"}, "the shares add up to more than 1"},
        {{"429=1.01"}, "the share is a number from 0 to 1"},
        {{"429=-0.1"}, "the share is a number from 0 to 1"},
        {{"429="}, "the share is a number from 0 to 1"},
        {{"429=half"}, "the share is a number from 0 to 1"},
        {{"teapot=1"}, "kinds are 429 500 hang reset slow split nousage badjson truncate"},
        {{""}, "kinds are 429 500 hang reset slow split nousage badjson truncate"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_mock_options options;
        const char *reason = NULL;
        bool taken = true;
        memset(&options, 0, sizeof options);
        for (size_t k = 0; k < 3 && rows[i].texts[k] && taken; k++)
            taken = sl_mock_parse_fault(sl_str_c(rows[i].texts[k]), &options, &reason);
        CHECK_EQ(taken, rows[i].reason == NULL);
        CHECK_STR(sl_str_c(reason ? reason : ""), rows[i].reason ? rows[i].reason : "");
        double total = 0;
        for (size_t k = 0; k < SL_MOCK_FAULT_COUNT; k++)
            total += options.share[k];
        CHECK(total <= 1.0 + 1e-9);
    }
}

/* ---- over sockets: what a client gets, and what the ledger says of it ---- */

typedef struct served {
    nf_loop l;
    sl_mock_server *server;
    int fd;
    uint16_t port;
} served;

static void stop_server(void *user)
{
    served *s = user;
    sl_mock_server_close(s->server);
}

static void serve(served *s, const sl_mock_options *options)
{
    memset(s, 0, sizeof *s);
    (void)signal(SIGPIPE, SIG_IGN);
    s->fd = nf_listen(&s->port);
    if (sl_loop_init(&s->l.loop) != 0 || sl_mock_server_new(&s->l.loop, s->fd, options, &s->server) != 0)
        abort();
    nf_loop_start(&s->l, stop_server, s);
}

static void unserve(served *s)
{
    nf_loop_stop(&s->l);
    sl_mock_server_free(s->server);
    sl_loop_done(&s->l.loop);
    close(s->fd);
}

static const char *const paths[] = {"/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/messages"};

static const char *body_of(size_t path, bool stream)
{
    static char body[256];
    static const char *const asks[] = {
        "\"messages\":[{\"role\":\"user\",\"content\":\"one two three\"}]", "\"prompt\":\"one two three\"",
        "\"input\":\"one two three\"",
        "\"max_tokens\":100,\"messages\":[{\"role\":\"user\",\"content\":\"one two three\"}]"};
    (void)snprintf(body, sizeof body, "{\"model\":\"m\",%s%s}", asks[path], stream ? ",\"stream\":true" : "");
    return body;
}

static nf_message post(const served *s, size_t path, bool stream)
{
    char request[1024];
    const char *body = body_of(path, stream);
    (void)snprintf(request, sizeof request,
                   "POST %s HTTP/1.1\r\nHost: h\r\nx-request-id: id-%zu\r\nAuthorization: Bearer k\r\nContent-Length: "
                   "%zu\r\n\r\n%s",
                   paths[path], path, strlen(body), body);
    return nf_ask(s->port, request);
}

/* One number or text of the ledger's newest entry, or of its totals. */
static int64_t ledger_number(sl_json_value ledger, const char *name)
{
    sl_json_value value = sl_json_get(ledger, name);
    int64_t number;
    return sl_json_i64(value, &number) == 0 ? number : -1;
}

static nf_message ledger_of(const served *s, sl_json_value *ret_ledger, sl_json_value *ret_last)
{
    nf_message m = nf_ask(s->port, "GET /mock/ledger HTTP/1.1\r\nHost: h\r\n\r\n");
    memset(ret_ledger, 0, sizeof *ret_ledger);
    memset(ret_last, 0, sizeof *ret_last);
    CHECK_EQ(m.status, 200);
    CHECK_EQ(sl_json_parse(m.body, ret_ledger, NULL), 0);
    sl_json_iter it;
    sl_json_value key, item;
    sl_json_iter_init(&it, sl_json_get(*ret_ledger, "requests"));
    while (sl_json_iter_next(&it, &key, &item))
        *ret_last = item;
    return m;
}

SL_TEST(the_ledger_says_what_a_client_got)
{
    static const struct {
        sl_mock_fault fault;
        int status; /* 0: the connection ends instead */
        const char *outcome;
        int64_t tokens; /* of a unary answer; -1: not looked at */
        bool whole;
    } rows[] = {
        {SL_MOCK_FAULT_NONE, 200, "ok", 6, true},         {SL_MOCK_FAULT_429, 429, "429", 0, true},
        {SL_MOCK_FAULT_500, 500, "500", 0, true},         {SL_MOCK_FAULT_RESET, 0, "reset", 0, false},
        {SL_MOCK_FAULT_SPLIT, 200, "ok", 6, true},        {SL_MOCK_FAULT_NOUSAGE, 200, "ok", 6, true},
        {SL_MOCK_FAULT_BADJSON, 200, "badjson", 6, true}, {SL_MOCK_FAULT_TRUNCATE, 200, "truncated", -1, false},
        {SL_MOCK_FAULT_SLOW, 200, "ok", 6, true},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (size_t path = 0; path < 4; path++) {
            for (int stream = 0; stream < 2; stream++) {
                sl_mock_options options = {.tokens = 6, .seed = 1};
                served s;
                sl_json_value ledger, last;
                bool embeds = path == 2;
                options.share[rows[i].fault] = rows[i].fault ? 1 : 0;
                serve(&s, &options);
                nf_message m = post(&s, path, stream);
                if (rows[i].status ? m.status != rows[i].status : m.len != 0)
                    sl_test_failed(__FILE__, __LINE__, "row %zu, %s, stream %d: %d", i, paths[path], stream, m.status);
                CHECK(!rows[i].status || m.complete == rows[i].whole);
                nf_message seen = ledger_of(&s, &ledger, &last);
                if (!sl_json_string_is(sl_json_get(last, "outcome"), sl_str_c(rows[i].outcome)))
                    sl_test_failed(__FILE__, __LINE__, "row %zu, %s, stream %d: %.*s", i, paths[path], stream,
                                   (int)seen.body.len, seen.body.ptr);
                CHECK_EQ(ledger_number(ledger, "served"), 1);
                CHECK_EQ(ledger_number(sl_json_get(ledger, "outcomes"), rows[i].outcome), 1);
                CHECK_EQ(ledger_number(last, "request_bytes"), strlen(body_of(path, stream)));
                if (m.data) /* head and framing are counted too */
                    CHECK_EQ(ledger_number(last, "response_bytes"), m.len);
                if (rows[i].tokens >= 0)
                    CHECK_EQ(ledger_number(last, "completion_tokens"), embeds ? 0 : rows[i].tokens);
                CHECK_EQ(ledger_number(last, "prompt_tokens"), 3);
                CHECK(sl_json_string_is(sl_json_get(last, "path"), sl_str_c(paths[path])));
                CHECK(sl_json_string_is(sl_json_get(last, "model"), SL_STR("m")));
                nf_message_free(&seen);
                nf_message_free(&m);
                unserve(&s);
            }
        }
    }
}

/* In the ledger as soon as it hangs, and once: whether the client leaves or not cannot be waited for. */
SL_TEST(a_request_that_hangs_is_told_at_once)
{
    sl_mock_options options = {.tokens = 6};
    sl_json_value ledger, last;
    served s;
    options.share[SL_MOCK_FAULT_HANG] = 1;
    serve(&s, &options);
    int fd = nf_connect(s.port);
    char request[512];
    (void)snprintf(request, sizeof request, "POST /v1/completions HTTP/1.1\r\nHost: h\r\nContent-Length: %zu\r\n\r\n%s",
                   strlen(body_of(1, false)), body_of(1, false));
    REQUIRE(nf_send_c(fd, request));
    CHECK(!nf_closed_within(fd, 100));
    nf_message seen = ledger_of(&s, &ledger, &last);
    CHECK(sl_json_string_is(sl_json_get(last, "outcome"), SL_STR("hang")));
    nf_message_free(&seen);
    close(fd);
    nf_sleep_ms(50);
    seen = ledger_of(&s, &ledger, &last);
    CHECK_EQ(ledger_number(ledger, "served"), 1);
    nf_message_free(&seen);
    unserve(&s);
}

SL_TEST(requests_that_are_none_are_refused_and_not_counted)
{
    static const struct {
        const char *request;
        int status;
    } rows[] = {
        {"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}", 400},
        {"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\n{x}", 400},
        {"POST /v1/chat/completions HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", 400},
        {"GET /v1/chat/completions HTTP/1.1\r\nHost: h\r\n\r\n", 404},
        {"POST /v1/nothing HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n{}", 404},
        {"POST /mock/ledger HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n", 404},
        {"GET /v1/models HTTP/1.1\r\nHost: h\r\n\r\n", 200},
        {"GET /models?x=1 HTTP/1.1\r\nHost: h\r\n\r\n", 200},
        {"HEAD /mock/ledger HTTP/1.1\r\nHost: h\r\n\r\n", 200},
    };
    const sl_mock_options options = {.tokens = 6};
    sl_json_value ledger, last;
    served s;
    serve(&s, &options);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nf_message m = nf_ask(s.port, rows[i].request);
        if (m.status != rows[i].status)
            sl_test_failed(__FILE__, __LINE__, "%.40s: %d", rows[i].request, m.status);
        nf_message_free(&m);
    }
    nf_message seen = ledger_of(&s, &ledger, &last);
    CHECK_EQ(ledger_number(ledger, "served"), 0);
    nf_message_free(&seen);
    unserve(&s);
}

/* After a reset the same faults come again: a run can be repeated on one mock. */
SL_TEST(a_reset_begins_the_chances_anew)
{
    sl_mock_options options = {.tokens = 1, .seed = 7};
    char runs[2][32] = {"", ""};
    served s;
    options.share[SL_MOCK_FAULT_429] = 0.3;
    options.share[SL_MOCK_FAULT_500] = 0.3;
    serve(&s, &options);
    for (int run = 0; run < 2; run++) {
        nf_message m;
        for (size_t i = 0; i < 24; i++) {
            m = post(&s, 0, false);
            runs[run][i] = m.status == 200 ? 'o' : m.status == 429 ? 'l' : 'f';
            nf_message_free(&m);
        }
        m = nf_ask(s.port, "POST /mock/reset HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n");
        CHECK_EQ(m.status, 200);
        nf_message_free(&m);
    }
    CHECK_STR(sl_str_c(runs[0]), runs[1]);
    CHECK(strchr(runs[0], 'o') && strchr(runs[0], 'l') && strchr(runs[0], 'f'));
    sl_json_value ledger, last;
    nf_message seen = ledger_of(&s, &ledger, &last);
    CHECK_EQ(ledger_number(ledger, "served"), 0);
    nf_message_free(&seen);
    unserve(&s);
}

SL_TEST(a_mock_without_memory_is_not_made)
{
    const sl_mock_options options = {.tokens = 1};
    uint16_t port;
    int fd = nf_listen(&port);
    for (long n = 0; n < 40; n++) {
        sl_loop loop;
        sl_mock_server *server = NULL;
        REQUIRE(sl_loop_init(&loop) == 0);
        sl_test_fail_alloc(n);
        int error = sl_mock_server_new(&loop, fd, &options, &server);
        bool reached = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(error, reached ? SL_ENOMEM : 0);
        CHECK_EQ(server != NULL, !error);
        sl_mock_server_close(server);
        while (uv_run(&loop.uv, UV_RUN_ONCE)) {
        }
        sl_mock_server_free(server);
        sl_loop_done(&loop);
        if (!reached)
            break;
    }
    close(fd);
}
