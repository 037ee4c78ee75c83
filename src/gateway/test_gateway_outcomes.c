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
