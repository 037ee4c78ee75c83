/*
 * What becomes of a request, whatever it is: the answer, its spans, and how it is counted agree. A row for each way in
 * which a request can end.
 */
#include "src/gateway/test_spans.h"

#define CHAT "POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer " KEY "\r\n"
#define BODY "Content-Length: 13\r\n\r\n{\"model\":\"m\"}"
#define REFUSAL "HTTP/1.1 503 Down\r\nContent-Length: 2\r\n\r\n{}"

/* How a row is driven. */
typedef enum way {
    WAY_PLAIN = 0,  /* the request is sent, the answer read */
    WAY_HALF,       /* the request is not finished; the answer is read all the same */
    WAY_CLIENT_GOES /* the client closes while the upstream is asked */
} way;

typedef struct row {
    const char *name, *request, *answer; /* answer NULL: the upstream is not asked */
    way way;
    int status;         /* to the client; 0: it gets none */
    size_t spans;       /* none, the request's alone, with one attempt, with two */
    const char *server; /* name of the request's span */
    int recorded;       /* status on the span and on the counter; 0: as `status` */
    const char *error;  /* error.type; NULL: none */
    const char *route;  /* endpoint of the counter; NULL: it is not counted */
} row;

static const row rows[] = {
    /* Sound requests. */
    {"a chat", CHAT BODY, UNARY, WAY_PLAIN, 200, 2, "POST /v1/chat/completions", 0, NULL, "/v1/chat/completions"},
    {"without /v1", "POST /chat/completions HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer " KEY "\r\n" BODY, UNARY,
     WAY_PLAIN, 200, 2, "POST /v1/chat/completions", 0, NULL, "/v1/chat/completions"},
    {"in HTTP/1.0", "POST /v1/chat/completions HTTP/1.0\r\nAuthorization: Bearer " KEY "\r\n" BODY, UNARY, WAY_PLAIN,
     200, 2, "POST /v1/chat/completions", 0, NULL, "/v1/chat/completions"},
    {"the models", "GET /v1/models HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer " KEY "\r\n\r\n", NULL, WAY_PLAIN, 200,
     1, "GET /v1/models", 0, NULL, "/v1/models"},
    {"a model", "GET /v1/models/alias HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer " KEY "\r\n\r\n", NULL, WAY_PLAIN,
     200, 1, "GET /v1/models/{model}", 0, NULL, "/v1/models/{model}"},
    /* Who asks whether it lives is not traced and not counted. */
    {"health", "GET /health HTTP/1.1\r\nHost: g\r\n\r\n", NULL, WAY_PLAIN, 200, 0, NULL, 0, NULL, NULL},
    {"liveness", "GET /health/liveliness HTTP/1.1\r\nHost: g\r\n\r\n", NULL, WAY_PLAIN, 200, 0, NULL, 0, NULL, NULL},
    {"readiness with a query", "GET /health/readiness?x=1 HTTP/1.1\r\nHost: g\r\n\r\n", NULL, WAY_PLAIN, 200, 0, NULL,
     0, NULL, NULL},
    /* What the gateway refuses by itself. */
    {"no key", "POST /v1/chat/completions HTTP/1.1\r\nHost: g\r\n" BODY, NULL, WAY_PLAIN, 401, 1,
     "POST /v1/chat/completions", 0, "unauthorized", "/v1/chat/completions"},
    {"no such model", CHAT "Content-Length: 13\r\n\r\n{\"model\":\"x\"}", NULL, WAY_PLAIN, 404, 1,
     "POST /v1/chat/completions", 0, "model_not_found", "/v1/chat/completions"},
    {"no model", CHAT "Content-Length: 2\r\n\r\n{}", NULL, WAY_PLAIN, 400, 1, "POST /v1/chat/completions", 0, "*",
     "/v1/chat/completions"},
    {"no JSON", CHAT "Content-Length: 2\r\n\r\n{]", NULL, WAY_PLAIN, 400, 1, "POST /v1/chat/completions", 0, "*",
     "/v1/chat/completions"},
    {"no such resource", "GET /v1/nothing HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer " KEY "\r\n\r\n", NULL,
     WAY_PLAIN, 404, 1, "GET", 0, "*", "other"},
    {"no such method", "GET /v1/chat/completions HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer " KEY "\r\n\r\n", NULL,
     WAY_PLAIN, 405, 1, "GET", 0, "*", "/v1/chat/completions"},
    /* What the server in front refuses: there is no request yet, only a count. */
    {"a head that is none", "GET\r\n\r\n", NULL, WAY_PLAIN, 400, 0, NULL, 0, "400", "other"},
    {"a method that nobody knows", "BREW /v1/models HTTP/1.1\r\nHost: g\r\n\r\n", NULL, WAY_PLAIN, 501, 0, NULL, 0,
     "501", "other"},
    {"two lengths", CHAT "Content-Length: 1\r\nContent-Length: 2\r\n\r\n{}", NULL, WAY_PLAIN, 400, 0, NULL, 0, "400",
     "other"},
    {"a version that nobody knows", "GET / HTTP/2.0\r\nHost: g\r\n\r\n", NULL, WAY_PLAIN, 505, 0, NULL, 0, "505",
     "other"},
    /* A body that does not come, or is too much. */
    {"a body above the limit, announced", CHAT "Content-Length: 5000\r\n\r\n", NULL, WAY_HALF, 413, 1,
     "POST /v1/chat/completions", 0, "request_too_large", "/v1/chat/completions"},
    {"a chunk that is none", CHAT "Transfer-Encoding: chunked\r\n\r\nzz\r\n", NULL, WAY_HALF, 400, 1,
     "POST /v1/chat/completions", 0, "bad_request", "/v1/chat/completions"},
    {"half a body and then nothing", CHAT "Content-Length: 13\r\n\r\n{\"mod", NULL, WAY_HALF, 408, 1,
     "POST /v1/chat/completions", 0, "timeout", "/v1/chat/completions"},
    /* Clients that go. */
    {"a client that goes", CHAT BODY, UNARY, WAY_CLIENT_GOES, 0, 2, "POST /v1/chat/completions", 499,
     "client_disconnected", "/v1/chat/completions"},
    /* Upstreams that fail. */
    {"an upstream that is down", CHAT BODY, REFUSAL, WAY_PLAIN, 503, 2, "POST /v1/chat/completions", 0, "503",
     "/v1/chat/completions"},
    {"an upstream that refuses", CHAT BODY, "HTTP/1.1 422 No\r\nContent-Length: 2\r\n\r\n{}", WAY_PLAIN, 422, 2,
     "POST /v1/chat/completions", 0, NULL, "/v1/chat/completions"},
    {"an upstream that speaks otherwise", CHAT BODY, "SSH-2.0-OpenSSH\r\n\r\n", WAY_PLAIN, 502, 2,
     "POST /v1/chat/completions", 0, "*", "/v1/chat/completions"},
};

/* ---- one row ---- */

typedef struct bench {
    script *s;
    front *f;
    sl_segment *segment;
    sl_sdk *sdk;
} bench;

static void bench_start(bench *b, const row *r)
{
    b->s = script_start(r->answer ? r->answer : UNARY);
    b->s->hold_ms = r->way == WAY_CLIENT_GOES ? 3000 : 0;
    b->f = front_new(b->s->server.port);
    b->f->config.max_body_bytes = 4096;
    b->segment = front_record(b->f);
    b->sdk = b->f->sdk;
    sl_gateway_options options = {.config = &b->f->config, .sdk = b->sdk, .server = {.body_timeout_ms = 150}};
    if (sl_loop_init(&b->f->l.loop) != 0 || sl_gateway_new(&b->f->l.loop, &options, &b->f->gateway) != 0)
        abort();
    b->f->listen_fd = nf_listen(&b->f->port);
    if (sl_gateway_listen(b->f->gateway, b->f->listen_fd) != 0)
        abort();
    nf_loop_start(&b->f->l, front_close, b->f);
}

static int drive(bench *b, const row *r)
{
    nf_message m = {.status = 0};
    int fd = nf_connect(b->f->port);
    (void)nf_send_c(fd, r->request);
    if (r->way == WAY_CLIENT_GOES) {
        for (int ms = 0; ms < 3000 && b->s->seen_count == 0; ms++)
            nf_sleep_ms(1);
        close(fd);
        for (int ms = 0; ms < 3000 && !b->s->closed_ns; ms++)
            nf_sleep_ms(1);
        return 0;
    }
    int status = nf_read_message(fd, false, strncmp(r->request, "HEAD", 4) == 0, &m) ? m.status : 0;
    nf_message_free(&m);
    close(fd);
    return status;
}

static void check_spans(const row *r, const recorded *all, int status)
{
    if (all->count != r->spans) {
        sl_test_failed(__FILE__, __LINE__, "%s: %zu spans", r->name, all->count);
        return;
    }
    if (!r->spans)
        return;
    const sl_otlp_span *span = &all->spans[r->spans - 1], *attempt = &all->spans[0];
    if (!sl_str_eq_c(span->name, r->server))
        sl_test_failed(__FILE__, __LINE__, "%s: a span '%.*s'", r->name, (int)span->name.len, span->name.ptr);
    CHECK_EQ(span->kind, SL_SPAN_SERVER);
    CHECK_EQ(attr(span, "http.response.status_code").integer, status);
    sl_str error = attr(span, "error.type").str;
    if (r->error ? !error.len || (r->error[0] != '*' && !sl_str_eq_c(error, r->error)) : error.len != 0)
        sl_test_failed(__FILE__, __LINE__, "%s: error.type '%.*s'", r->name, (int)error.len, error.ptr);
    /* An error of the client's is not one of the server's (semantic conventions): the span says so by its status alone.
     */
    if (status >= 500)
        CHECK_EQ(span->status_code, SL_STATUS_ERROR);
    if (status < 400)
        CHECK(span->status_code != SL_STATUS_ERROR);
    if (r->spans > 1) {
        CHECK_EQ(attempt->kind, SL_SPAN_CLIENT);
        CHECK_STR_EQ(attempt->parent_span_id, span->span_id);
        CHECK_STR_EQ(attempt->trace_id, span->trace_id);
        CHECK(attempt->start_ns >= span->start_ns && attempt->end_ns <= span->end_ns);
    }
}

static void check_page(const row *r, const bench *b, int status)
{
    sl_buf page;
    sl_str rest, line;
    double counted = 0, errors = 0;
    char wanted[2][64];
    page_of(b->sdk, b->segment, &page);
    (void)snprintf(wanted[0], sizeof wanted[0], "endpoint=\"%s\"", r->route ? r->route : "-");
    (void)snprintf(wanted[1], sizeof wanted[1], "status=\"%d\"", status);
    rest = sl_buf_str(&page);
    while (sl_str_split(&rest, '\n', &line)) {
        double value = line.len ? strtod(line.ptr + line.len - 1, NULL) : 0; /* one digit is enough */
        if (sl_str_starts(line, SL_STR("llamastack_requests_total{"))) {
            bool right =
                sl_str_find(line, sl_str_c(wanted[0])) != SL_NPOS && sl_str_find(line, sl_str_c(wanted[1])) != SL_NPOS;
            if (!right)
                sl_test_failed(__FILE__, __LINE__, "%s: %.*s", r->name, (int)line.len, line.ptr);
            counted += value;
        }
        if (sl_str_starts(line, SL_STR("sightline_gateway_errors_total{")))
            errors += value;
    }
    if (counted != (r->route ? 1 : 0) || errors != (r->route && status >= 400 ? 1 : 0))
        sl_test_failed(__FILE__, __LINE__, "%s: counted %g times, %g errors", r->name, counted, errors);
    CHECK_EQ(sample(sl_buf_str(&page), "sightline_gateway_requests_in_flight "), 0);
    CHECK_EQ(sample(sl_buf_str(&page), "sightline_gateway_client_disconnects_total "), r->way == WAY_CLIENT_GOES);
    sl_buf_done(&page);
}

SL_TEST(answer_spans_and_counters_agree)
{
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const row *r = &rows[i];
        bench b;
        recorded all = {.count = 0};
        bench_start(&b, r);
        int status = drive(&b, r);
        if (status != r->status)
            sl_test_failed(__FILE__, __LINE__, "%s: answered %d", r->name, status);
        front_stop(b.f);
        (void)sl_segment_drain(b.segment, SL_RING_SPANS, keep_span, &all);
        status = r->recorded ? r->recorded : r->status;
        check_spans(r, &all, status);
        check_page(r, &b, status);
        recorded_done(&all);
        record_done(b.sdk, b.segment);
        script_stop(b.s);
    }
}

/* ---- without memory ---- */

/* One request while the `nth` allocation fails, and one behind it. Returns whether there was such an allocation. */
static bool ask_without_memory(const row *r, long nth)
{
    bench b;
    recorded all = {.count = 0};
    sl_buf page;
    bench_start(&b, r);
    sl_test_fail_alloc(nth);
    int status = drive(&b, r);
    bool failed = sl_test_alloc_failed();
    sl_test_fail_alloc(-1);
    if (status != 200 && !(failed && (status == 0 || status >= 500)))
        sl_test_failed(__FILE__, __LINE__, "%s, allocation %ld: %d", r->name, nth, status);
    CHECK_EQ(drive(&b, r), 200); /* what comes behind it is not harmed */
    front_stop(b.f);
    (void)sl_segment_drain(b.segment, SL_RING_SPANS, keep_span, &all);
    page_of(b.sdk, b.segment, &page);
    CHECK_EQ(sample(sl_buf_str(&page), "sightline_gateway_requests_in_flight "), 0);
    CHECK_EQ(sample(sl_buf_str(&page), "llamastack_active_connections "), 0);
    sl_buf_done(&page);
    CHECK(all.count <= 4);
    for (size_t i = 0; i < all.count; i++)
        CHECK(all.spans[i].end_ns >= all.spans[i].start_ns && all.spans[i].name.len > 0);
    recorded_done(&all);
    record_done(b.sdk, b.segment);
    script_stop(b.s);
    return failed;
}

/* Whatever allocation of a request fails: it is answered or ended, and nothing of it is left over in a gauge. */
SL_TEST(a_request_without_memory_ends_and_leaves_no_trace_in_gauges)
{
    static const row asks[] = {
        {.name = "a chat", .request = CHAT BODY, .answer = UNARY, .status = 200},
        {.name = "the models",
         .request = "GET /v1/models HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer " KEY "\r\n\r\n"},
        {.name = "a stream",
         .request = CHAT "Content-Length: 27\r\n\r\n{\"model\":\"m\",\"stream\":true}",
         .answer = "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
                   "9\r\ndata: 1\n\n\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"},
        {.name = "a body in chunks",
         .request = CHAT "Transfer-Encoding: chunked\r\n\r\n4\r\n{\"mo\r\n9\r\ndel\":\"m\"}\r\n0\r\n\r\n",
         .answer = UNARY},
    };
    for (size_t i = 0; i < sizeof asks / sizeof *asks; i++) {
        long nth = 0;
        while (nth < 200 && ask_without_memory(&asks[i], nth))
            nth++;
        CHECK(nth >= 4 && nth < 200);
    }
}

/* ---- samplers ---- */

/* What a sampler was told of the spans of a request. */
typedef struct looked {
    _Atomic int server, client;
    _Atomic bool told; /* with each what it takes to decide */
    sl_sampling_decision decision;
} looked;

static bool has_attr(const sl_sampling_input *input, const char *key)
{
    for (size_t i = 0; i < input->attr_count; i++) {
        if (sl_str_eq_c(input->attrs[i].key, key))
            return true;
    }
    return false;
}

static sl_sampling_decision look(void *user, const sl_sampling_input *input)
{
    looked *l = user;
    if (input->kind == SL_SPAN_SERVER) {
        l->server++;
        l->told = has_attr(input, "http.request.method") && has_attr(input, "url.path");
    } else {
        l->client++;
        l->told = l->told && input->parent && has_attr(input, "gen_ai.request.model");
    }
    return l->decision;
}

/* What is sampled changes which spans there are, never an answer, a count, or that the trace goes on to the upstream.
 */
SL_TEST(samplers_change_spans_and_nothing_else)
{
    static const struct {
        sl_sampler_kind kind;
        sl_sampling_decision decision;
        size_t spans;
        const char *flags; /* of the traceparent that the upstream sees; 2: its id is random */
    } cases[] = {
        {SL_SAMPLER_DEFAULT, SL_SAMPLE_DROP, 2, "-03\r\n"},
        {SL_SAMPLER_ALWAYS_OFF, SL_SAMPLE_DROP, 0, "-02\r\n"},
        {SL_SAMPLER_CALLBACK, SL_SAMPLE_DROP, 0, "-02\r\n"},
        {SL_SAMPLER_CALLBACK, SL_SAMPLE_RECORD_AND_SAMPLE, 2, "-03\r\n"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        looked seen = {.decision = cases[i].decision};
        const sl_sampler_options sampler = {.kind = cases[i].kind, .fn = look, .user = &seen};
        recorded all = {.count = 0};
        sl_buf page;
        script *s = script_start(UNARY);
        front *f = front_new(s->server.port);
        sl_segment *segment = front_record_some(f, &sampler);
        sl_sdk *sdk = f->sdk;
        front_start(f);
        nf_message m = ask(f, "{\"model\":\"m\"}");
        CHECK_EQ(m.status, 200);
        nf_message_free(&m);
        front_stop(f);
        (void)sl_segment_drain(segment, SL_RING_SPANS, keep_span, &all);
        CHECK_EQ(all.count, cases[i].spans);
        REQUIRE(s->seen_count == 1);
        const char *parent = nf_field(&s->seen[0], "traceparent");
        CHECK(parent && strncmp(parent + 52, cases[i].flags, 5) == 0);
        bool looks = cases[i].kind == SL_SAMPLER_CALLBACK;
        CHECK(seen.server == looks && seen.client == looks && seen.told == looks);
        page_of(sdk, segment, &page);
        CHECK_EQ(sample(sl_buf_str(&page),
                        "llamastack_requests_total{endpoint=\"/v1/chat/completions\",method=\"POST\","
                        "status=\"200\"} "),
                 1);
        sl_buf_done(&page);
        recorded_done(&all);
        record_done(sdk, segment);
        script_stop(s);
    }
}
