/* Streams, time and cancelling. */
#include "src/llm/test_client_fixture.h"

#include "src/llm/client_impl.h"

#define CHUNK(content)                                                                                                 \
    "data: {\"id\":\"c-2\",\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{" content "}}]}\n\n"
#define FINISH "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"length\"}]}\n\n"
#define USAGE "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":3,\"total_tokens\":14}}\n\n"
#define OPENAI_STREAM                                                                                                  \
    ": hello\n\n" CHUNK("\"role\":\"assistant\",\"content\":\"\"") CHUNK("\"content\":\"Hel\"") CHUNK(                 \
        "\"content\":\"l\xc3\xb6\"") "data: "                                                                          \
                                     "{\"choices\":[{\"index\":1,\"delta\":{\"content\":\"other\"}}]}\n\n" FINISH      \
                                         USAGE "data: [DONE]\n\n"
#define ANTHROPIC_STREAM                                                                                               \
    "event: message_start\ndata: "                                                                                     \
    "{\"type\":\"message_start\",\"message\":{\"id\":\"m-2\",\"model\":\"claude-haiku-4-5\","                          \
    "\"usage\":{\"input_tokens\":20,\"output_tokens\":1,\"cache_read_input_tokens\":5}}}\n\n"                          \
    "event: ping\ndata: {\"type\":\"ping\"}\n\n"                                                                       \
    "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":"     \
    "\"text\",\"text\":\"\"}}\n\n"                                                                                     \
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":"             \
    "\"text_delta\",\"text\":\"Hel\"}}\n\n"                                                                            \
    "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":"             \
    "\"text_delta\",\"text\":\"l\xc3\xb6\"}}\n\n"                                                                      \
    "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"                               \
    "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"max_tokens\"},\"usage\":{"   \
    "\"output_tokens\":9}}\n\n"                                                                                        \
    "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"

static sl_llm_request stream(const char *provider)
{
    return (sl_llm_request){.operation = SL_LLM_CHAT,
                            .provider = sl_str_c(provider),
                            .model = SL_STR("m"),
                            .prompt = SL_STR("p"),
                            .stream = true};
}

SL_TEST(a_stream_of_each_protocol)
{
    static const struct {
        const char *provider, *body, *reason, *model;
        uint64_t input, output, cached;
    } cases[] = {
        {"openai", OPENAI_STREAM, "length", "gpt-4o", 11, 3, 0},
        {"anthropic", ANTHROPIC_STREAM, "max_tokens", "claude-haiku-4-5", 25, 9, 5},
        {"openai", CHUNK("\"content\":\"Hell\xc3\xb6\"") FINISH, "length", "gpt-4o", 0, 0, 0}, /* no end mark */
        {"openai", CHUNK("\"content\":\"Hell\xc3\xb6\"") "data: [DONE]\n\n", "", "gpt-4o", 0, 0, 0},
        {"openai", CHUNK("\"content\":\"Hell\xc3\xb6\"") "data: [DONE]", "", "gpt-4o", 0, 0, 0},
        {"openai", CHUNK("\"content\":\"Hell\xc3\xb6\"") "data: [DONE]\n\ndata: {broken", "", "gpt-4o", 0, 0, 0},
    };
    script *s = script_start(SSE_HEAD, "");
    client *c = client_new(s->server.port, false);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        s->body = cases[i].body;
        client_ask(c, stream(cases[i].provider));
        CHECK_EQ(c->r.error, 0);
        CHECK_STR(sl_str_c(c->text), "Hell\xc3\xb6");
        CHECK_STR(sl_str_c(c->streamed), "Hell\xc3\xb6");
        CHECK_STR(sl_str_c(c->reason), cases[i].reason);
        CHECK_STR(sl_str_c(c->model), cases[i].model);
        CHECK_EQ(c->r.input_tokens, cases[i].input);
        CHECK_EQ(c->r.output_tokens, cases[i].output);
        CHECK_EQ(c->r.cached_tokens, cases[i].cached);
        CHECK(c->r.first_token_ns > 0 && c->r.first_token_ns <= c->r.duration_ns);
    }
    CHECK(nf_field_is(&s->seen[0], "accept", "text/event-stream"));
    CHECK(sl_str_find(s->seen[0].body, SL_STR("\"stream_options\":{\"include_usage\":true}")) != SL_NPOS);
    CHECK_EQ(s->server.connection_count, 1);
    client_free(c);
    script_stop(s);
}

/* Whatever the network makes of a stream, the text is the same. */
static void split_everywhere(const char *provider, const char *body)
{
    script *s = script_start(SSE_HEAD, body);
    client *c = client_new(s->server.port, false);
    size_t head = strlen(SSE_HEAD) + 20;
    for (size_t cut = head; cut < head + strlen(body); cut += 7) {
        s->cut = cut;
        client_ask(c, stream(provider));
        CHECK_EQ(c->r.error, 0);
        CHECK_STR(sl_str_c(c->text), "Hell\xc3\xb6");
    }
    client_free(c);
    script_stop(s);
}

SL_TEST(streams_split_anywhere)
{
    split_everywhere("openai", OPENAI_STREAM);
    split_everywhere("anthropic", ANTHROPIC_STREAM);
}

/* A stream that breaks off is a failure and no half answer; what came is not given out as the answer. */
SL_TEST(streams_that_go_wrong)
{
    static const struct {
        const char *provider, *body;
        int error;
        bool retryable;
        const char *says;
    } cases[] = {
        {"openai", CHUNK("\"content\":\"Hel\""), SL_ECLOSED, true, "broke off"},
        {"openai", "", SL_ECLOSED, true, "broke off"},
        {"openai", CHUNK("\"content\":\"Hel\"") "data: {\"choices\":\n\n", SL_EPROTO, true, "not a JSON object"},
        {"openai", CHUNK("\"content\":\"Hel\"") "data: [1]\n\n", SL_EPROTO, true, "not a JSON object"},
        {"openai", CHUNK("\"content\":\"Hel\"") "data: {\"error\":{\"message\":\"gone\"}}\n\n", SL_ERETRY, true,
         "gone"},
        {"anthropic", "event: message_stop\ndata: {\"x\":1}\n\n", SL_EPROTO, true, "no type"},
        {"anthropic",
         "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"busy\"}}\n\n",
         SL_ERETRY, true, "overloaded_error: busy"},
        {"anthropic",
         "event: error\ndata: "
         "{\"type\":\"error\",\"error\":{\"type\":\"authentication_error\",\"message\":\"no\"}}\n\n",
         SL_EREFUSED, false, "authentication_error: no"},
        {"anthropic", "data: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\"}}\n\n", SL_ECLOSED,
         true, "broke off"},
    };
    script *s = script_start(SSE_HEAD, "");
    client *c = client_new(s->server.port, false);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        s->body = cases[i].body;
        client_ask(c, stream(cases[i].provider));
        CHECK_EQ(c->r.error, cases[i].error);
        CHECK_EQ(c->r.retryable, cases[i].retryable);
        CHECK_EQ(c->r.text.len, 0);
        CHECK(strstr(c->message, cases[i].says) != NULL);
    }
    client_free(c);
    script_stop(s);
}

/* A provider that does not stream answers whole, and one that was not asked to may stream nothing. */
SL_TEST(a_whole_answer_where_a_stream_was_asked_for)
{
    script *s = script_start(OK_HEAD, "{\"choices\":[{\"message\":{\"content\":\"all\"},\"finish_reason\":\"stop\"}]}");
    client *c = client_new(s->server.port, false);
    client_ask(c, stream("openai"));
    CHECK_EQ(c->r.error, 0);
    CHECK_STR(sl_str_c(c->text), "all");
    CHECK_STR(sl_str_c(c->streamed), "all");
    CHECK_EQ(c->pieces, 1);
    s->head = SSE_HEAD;
    s->body = OPENAI_STREAM;
    sl_llm_request r = stream("openai");
    r.stream = false;
    client_ask(c, r);
    CHECK_EQ(c->r.error, SL_EPROTO);
    client_free(c);
    script_stop(s);
}

/* ---- bounds ---- */

static void serve_big(nf_server *server, int fd, int number)
{
    nf_message m;
    (void)number;
    while (nf_read_message(fd, true, false, &m)) {
        bool streamed = sl_str_find(m.body, SL_STR("\"stream\":true")) != SL_NPOS;
        nf_message_free(&m);
        static char piece[65600];
        size_t n = 0;
        if (streamed) {
            n = (size_t)snprintf(piece, sizeof piece, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"");
            memset(piece + n, 'a', 65000);
            n += 65000;
            n += (size_t)snprintf(piece + n, sizeof piece - n, "\"}}]}\n\n");
        } else {
            memset(piece, ' ', 65000);
            n = 65000;
        }
        server->requests++;
        bool open = nf_send_c(fd, streamed ? "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
                                           : "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n");
        for (size_t sent = 0; open && sent < SL_MAX_LLM_ANSWER_BYTES + (1u << 20); sent += 65000)
            open = nf_send(fd, piece, n);
        return;
    }
}

SL_TEST(answers_are_bounded)
{
    nf_server server;
    nf_server_start(&server, serve_big, NULL);
    client *c = client_new(server.port, false);
    for (int i = 0; i < 2; i++) {
        sl_llm_request r = stream("openai");
        r.stream = i;
        client_ask(c, r);
        CHECK_EQ(c->r.error, SL_ETOOBIG);
        CHECK(!c->r.retryable);
        CHECK(strstr(c->message, "larger than 16777216 bytes") != NULL);
    }
    client_free(c);
    nf_server_stop(&server);
}

/* ---- time ---- */

SL_TEST(a_call_ends_at_its_time)
{
    script *s = script_start(OK_HEAD, "{}");
    s->hold_ms = 5000;
    client *c = client_new(s->server.port, false);
    sl_llm_request r = stream("openai");
    for (int i = 0; i < 2; i++) {
        r.stream = i;
        r.timeout_ms = 60;
        client_ask(c, r);
        CHECK_EQ(c->r.error, SL_ETIMEOUT);
        CHECK(c->r.retryable && c->r.http_status == 0);
        CHECK(c->r.duration_ns >= 60000000 && c->r.duration_ns < 2000000000);
        CHECK(strstr(c->message, "within 60 ms") != NULL);
    }
    client_free(c);
    script_stop(s);
}

/* Frames that keep coming do not keep the call alive. */
static void serve_trickle(nf_server *server, int fd, int number)
{
    nf_message m;
    (void)number;
    if (!nf_read_message(fd, true, false, &m))
        return;
    nf_message_free(&m);
    bool open = nf_send_c(fd, SSE_HEAD "\r\n");
    while (open && !nf_closed_within(fd, 5))
        open = nf_send_c(fd, CHUNK("\"content\":\"a\""));
    server->requests++;
}

SL_TEST(a_trickle_ends_at_the_time_of_the_call)
{
    nf_server server;
    nf_server_start(&server, serve_trickle, NULL);
    client *c = client_new(server.port, false);
    sl_llm_request r = stream("openai");
    r.timeout_ms = 120;
    client_ask(c, r);
    CHECK_EQ(c->r.error, SL_ETIMEOUT);
    CHECK_EQ(c->r.http_status, 200);
    CHECK(c->pieces > 1 && c->r.text.len == 0);
    client_free(c);
    nf_server_stop(&server);
    CHECK_EQ(server.requests, 1);
}

/* The end mark ends a stream, whether or not the connection's framing does. */
static void serve_unended(nf_server *server, int fd, int number)
{
    nf_message m;
    if (!nf_read_message(fd, true, false, &m))
        return;
    nf_message_free(&m);
    (void)nf_send_c(fd, SSE_HEAD "Content-Length: 100000\r\n\r\n" OPENAI_STREAM);
    if (number == 0)
        (void)nf_closed_within(fd, 8000); /* open for ever */
    server->requests++;                   /* or closed too early */
}

SL_TEST(a_complete_stream_on_a_connection_that_does_not_end)
{
    nf_server server;
    nf_server_start(&server, serve_unended, NULL);
    client *c = client_new(server.port, false);
    for (int i = 0; i < 2; i++) {
        client_ask(c, stream("openai"));
        CHECK_EQ(c->r.error, 0);
        CHECK_STR(sl_str_c(c->text), "Hell\xc3\xb6");
        CHECK_EQ(c->r.output_tokens, 3);
        CHECK(c->r.duration_ns < 4000000000);
    }
    client_free(c);
    nf_server_stop(&server);
}

/* ---- cancelling ---- */

SL_TEST(cancel_closes_the_connection_and_is_silent)
{
    script *s = script_start(OK_HEAD, "{}");
    s->hold_ms = 5000;
    client *c = client_new(s->server.port, false);
    sl_llm_request r = stream("openai");
    CHECK_EQ(client_start(c, &r), 0);
    sl_llm_cancel(c->call); /* before anything was sent */
    CHECK_EQ(client_start(c, &r), 0);
    for (int i = 0; i < 200 && s->seen_count == 0; i++) {
        (void)uv_run(&c->loop.uv, UV_RUN_NOWAIT);
        nf_sleep_ms(5);
    }
    CHECK_EQ(s->seen_count, 1);
    sl_llm_cancel(c->call);
    for (int i = 0; i < 200 && !s->saw_close; i++) {
        (void)uv_run(&c->loop.uv, UV_RUN_NOWAIT);
        nf_sleep_ms(5);
    }
    CHECK(s->saw_close);
    CHECK(!c->over);
    sl_llm_cancel(NULL);
    client_free(c);
    script_stop(s);
}

SL_TEST(cancel_from_within_a_callback)
{
    script *s = script_start(SSE_HEAD, OPENAI_STREAM);
    client *c = client_new(s->server.port, false);
    c->cancel_at_piece = true;
    client_ask(c, stream("openai"));
    CHECK_EQ(c->pieces, 1);
    CHECK_STR(sl_str_c(c->streamed), "Hel");
    c->cancel_at_piece = false;
    c->cancel_at_done = true; /* nothing happens */
    client_ask(c, stream("openai"));
    CHECK_EQ(c->r.error, 0);
    client_free(c);
    script_stop(s);
}

SL_TEST(closing_a_client_cancels_its_calls)
{
    script *s = script_start(OK_HEAD, "{}");
    s->hold_ms = 5000;
    client *c = client_new(s->server.port, false);
    sl_llm_request r = stream("openai");
    for (int i = 0; i < 5; i++)
        CHECK_EQ(client_start(c, &r), 0);
    (void)uv_run(&c->loop.uv, UV_RUN_NOWAIT);
    sl_llm_client_close(c->llm);
    sl_llm_client_close(c->llm);
    CHECK_EQ(client_start(c, &r), SL_ECLOSED);
    client_free(c);
    script_stop(s);
}

/* ---- each read, write and connect failing in turn ---- */

/* Takes `user` bytes of the request, or sends so many of the answer, then closes. */
typedef struct fault {
    nf_server server;
    size_t take, give;
    const char *answer;
    bool reset;
} fault;

static void serve_fault(nf_server *server, int fd, int number)
{
    fault *f = server->user;
    (void)number;
    char byte;
    size_t taken = 0;
    while (taken < f->take && recv(fd, &byte, 1, 0) == 1)
        taken++;
    if (f->take == SIZE_MAX - 1) {
        nf_message m;
        if (nf_read_message(fd, true, false, &m))
            nf_message_free(&m);
        (void)nf_send(fd, f->answer, f->give);
    }
    struct linger now = {1, 0};
    if (f->reset)
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

static void serve_answer_fault(nf_server *server, int fd, int number)
{
    fault *f = server->user;
    (void)number;
    nf_message m;
    if (nf_read_message(fd, true, false, &m))
        nf_message_free(&m);
    (void)nf_send(fd, f->answer, f->give);
}

SL_TEST(a_request_that_is_not_taken_whole)
{
    fault f = {.take = 0};
    nf_server_start(&f.server, serve_fault, &f);
    client *c = client_new(f.server.port, false);
    for (size_t take = 0; take < 300; take += 23) {
        f.take = take;
        f.reset = take % 2;
        client_ask(c, stream("openai"));
        CHECK(c->r.error == SL_ECLOSED || c->r.error == SL_ECONNECT || c->r.error == SL_EPROTO);
        CHECK(c->r.retryable && c->r.http_status == 0 && c->message[0]);
    }
    client_free(c);
    nf_server_stop(&f.server);
}

static void cut_answer(const char *provider, const char *answer, bool streamed)
{
    fault f = {.answer = answer};
    size_t len = strlen(answer);
    size_t stride = len / 50 + 1; /* the fixture serves 64 connections */
    nf_server_start(&f.server, serve_answer_fault, &f);
    client *c = client_new(f.server.port, false);
    for (f.give = 0; f.give < len; f.give += stride) {
        sl_llm_request r = stream(provider);
        r.stream = streamed;
        client_ask(c, r);
        if (!c->r.error || !c->r.retryable || c->r.text.len)
            sl_test_failed(__FILE__, __LINE__, "%s cut at %zu: error %d", provider, f.give, c->r.error);
    }
    client_free(c);
    nf_server_stop(&f.server);
}

SL_TEST(answers_cut_anywhere_are_failures)
{
    char *whole;
    const char *body = "{\"choices\":[{\"message\":{\"content\":\"Hello\"},\"finish_reason\":\"stop\"}]}";
    REQUIRE(asprintf(&whole, OK_HEAD "Content-Length: %zu\r\n\r\n%s", strlen(body), body) > 0);
    cut_answer("openai", whole, false);
    free(whole);
    /* Framed by chunks: the stream's own end mark may have come, and then the answer is complete. */
    const char *frames = CHUNK("\"content\":\"Hel\"") CHUNK("\"content\":\"lo\"");
    REQUIRE(asprintf(&whole, SSE_HEAD "Transfer-Encoding: chunked\r\n\r\n%zx\r\n%s\r\n0\r\n\r\n", strlen(frames),
                     frames) > 0);
    cut_answer("openai", whole, true);
    cut_answer("anthropic", whole, true);
    free(whole);
}

SL_TEST(nobody_listens)
{
    uint16_t port;
    int fd = nf_listen(&port);
    close(fd);
    client *c = client_new(port, false);
    client_ask(c, stream("openai"));
    CHECK_EQ(c->r.error, SL_ECONNECT);
    CHECK(c->r.retryable && c->r.http_status == 0);
    client_free(c);
}

/* TLS spoken to a server that does not: its connection is as good as none. */
SL_TEST(a_server_without_tls)
{
    fault f = {.take = 5};
    char url[64];
    nf_server_start(&f.server, serve_fault, &f);
    snprintf(url, sizeof url, "https://127.0.0.1:%u", (unsigned)f.server.port);
    client *c = client_new(0, false);
    sl_llm_endpoint e = {.name = SL_STR("x"), .base_url = sl_str_c(url)};
    CHECK_EQ(sl_llm_client_add(c->llm, &e), 0);
    client_ask(c, stream("x"));
    CHECK(c->r.error == SL_ETLS || c->r.error == SL_ECLOSED || c->r.error == SL_ECONNECT);
    CHECK(c->r.http_status == 0 && c->message[0]);
    client_free(c);
    nf_server_stop(&f.server);
}

/* ---- memory ---- */

/* Every allocation of a call failing in turn: an error, or the answer; nothing leaks. */
static void starve(const char *provider, const char *head, const char *body, bool streamed, bool cancel)
{
    script *s = script_start(head, body);
    unsigned good = 0;
    for (long n = 0; n < 400 && good < 3; n++) {
        client *c = client_new(s->server.port, false);
        sl_llm_request r = stream(provider);
        r.stream = streamed;
        r.timeout_ms = 3000;
        sl_test_fail_alloc(n);
        int error = client_start(c, &r);
        if (error == 0 && !cancel)
            client_wait(c);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        if (!failed)
            good++;
        if (error)
            CHECK_EQ(error, SL_ENOMEM);
        else if (cancel)
            sl_llm_cancel(c->call); /* also one that could not even be begun */
        else if (!failed)
            CHECK_EQ(c->r.error, 0);
        else if (c->r.error)
            CHECK(c->message[0]);
        client_free(c);
    }
    CHECK_EQ(good, 3);
    script_stop(s);
}

SL_TEST(memory_running_out_within_a_call)
{
    starve("openai", OK_HEAD, "{\"choices\":[{\"message\":{\"content\":\"Hello\"}}],\"usage\":{\"prompt_tokens\":1}}",
           false, false);
    starve("anthropic", SSE_HEAD, ANTHROPIC_STREAM, true, false);
    starve("openai", OK_HEAD, "{}", false, true);
}
