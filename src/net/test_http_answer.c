/*
 * How answers are framed (RFC 9112, 6; RFC 9110, 8.6 and 15): a row for each kind of answer, method and version; behind
 * each of them the next request on the same connection is understood.
 */
#include "src/net/http_server.h"
#include "tests/harness/net_fixture.h"

/* What a target asks the handler for. */
typedef struct wish {
    const char *target;
    int status;
    bool stream, sized, close, whole; /* whole: one piece, last */
    const char *first, *second;
} wish;

static const wish wishes[] = {
    {"/plain", 200, false, false, false, true, "hello", NULL},
    {"/empty", 200, false, false, false, true, "", NULL},
    {"/closes", 200, false, false, true, true, "hello", NULL},
    {"/204", 204, false, false, false, true, "", NULL},
    {"/204-with-a-body", 204, false, false, false, true, "hello", NULL},
    {"/304", 304, false, false, false, true, "hello", NULL},
    {"/stream", 200, true, false, false, false, "hel", "lo"},
    {"/stream-at-once", 200, true, false, false, true, "hello", NULL},
    {"/stream-of-nothing", 200, true, false, false, true, "", NULL},
    {"/stream-ends-empty", 200, true, false, false, false, "hello", ""},
    {"/sized", 200, true, true, false, false, "hel", "lo"},
    {"/sized-at-once", 200, true, true, false, true, "hello", NULL},
    {"/stream-204", 204, true, false, false, false, "hel", "lo"},
    {"/stream-304", 304, true, true, false, true, "hello", NULL},
};
#define WISHES (sizeof wishes / sizeof *wishes)

static void on_request(void *user, sl_exchange *x)
{
    sl_str target = sl_exchange_head(x)->target;
    const wish *w = wishes;
    (void)user;
    while (w < wishes + WISHES && !sl_str_eq_c(target, w->target))
        w++;
    if (w == wishes + WISHES) {
        sl_exchange_allow(x, 1u << SL_HTTP_GET | 1u << SL_HTTP_POST);
        sl_exchange_error(x, 405, "invalid_request_error", NULL, "not \"here\"");
        return;
    }
    size_t length = strlen(w->first) + (w->second ? strlen(w->second) : 0);
    if (!w->stream) {
        const sl_http_reply reply = {.status = w->status,
                                     .content_type = "text/plain",
                                     .fields = SL_STR("X-A: 1\r\nX-B: 2\r\n"),
                                     .body = sl_str_c(w->first),
                                     .close = w->close};
        sl_exchange_respond(x, &reply);
        return;
    }
    const sl_http_stream stream = {.status = w->status,
                                   .content_type = "text/plain",
                                   .has_length = w->sized,
                                   .length = length,
                                   .first = sl_str_c(w->first),
                                   .last = w->whole};
    (void)sl_exchange_begin(x, &stream);
    if (!w->whole)
        (void)sl_exchange_write(x, sl_str_c(w->second), true);
}

static void on_done(void *user, sl_exchange *x, int outcome)
{
    _Atomic int *outcomes = user;
    (void)x;
    *outcomes += outcome == 0 ? 1 : 1000;
}

/* ---- the server ---- */

typedef struct front {
    nf_loop l;
    sl_http_server *server;
    uint16_t port;
    int fd;
    _Atomic int outcomes; /* answers that went out whole; 1000 for each that did not */
} front;

static void front_close(void *user)
{
    sl_http_server_close(((front *)user)->server);
}

static front *front_start(void)
{
    front *f = calloc(1, sizeof *f);
    const sl_http_handler handler = {.user = &f->outcomes, .on_request = on_request, .on_done = on_done};
    if (sl_loop_init(&f->l.loop) != 0 || sl_http_server_new(&f->l.loop, &handler, NULL, &f->server) != 0)
        abort();
    f->fd = nf_listen(&f->port);
    if (sl_http_server_listen(f->server, f->fd) != 0)
        abort();
    nf_loop_start(&f->l, front_close, f);
    return f;
}

static void front_stop(front *f)
{
    nf_loop_stop(&f->l);
    sl_loop_done(&f->l.loop);
    close(f->fd);
    free(f);
}

/* ---- rows: how each wish comes, by method and version ---- */

static bool bodyless(const wish *w)
{
    return w->status == 204 || w->status == 304;
}

static void check_framing(const wish *w, const nf_message *m, bool head, bool old)
{
    char length[24] = "";
    size_t bytes = strlen(w->first) + (w->second ? strlen(w->second) : 0);
    bool chunked = w->stream && !w->sized && !old && !bodyless(w);
    bool sized = (!w->stream || w->sized) && !bodyless(w);
    bool closes = w->close || (w->stream && !w->sized && old);
    (void)snprintf(length, sizeof length, "%zu", bytes);
    bool right = m->status == w->status && m->head_len > 0 && (nf_field(m, "Transfer-Encoding") != NULL) == chunked &&
                 (sized ? nf_field_is(m, "Content-Length", length) : nf_field(m, "Content-Length") == NULL) &&
                 nf_field_is(m, "Connection", "close") == closes && nf_field(m, "Date") != NULL;
    sl_str body = SL_STR("");
    if (!head && !bodyless(w))
        body = SL_STR("hello");
    right = right && (bytes == 0 || sl_str_eq(m->body, body));
    if (!right)
        sl_test_failed(__FILE__, __LINE__, "%s%s%s: %.*s", w->target, head ? ", HEAD" : "", old ? ", HTTP/1.0" : "",
                       (int)m->len, m->data);
}

/* Asks for a wish and then for something known, on the same connection where it stays. */
static void ask_for(front *f, const wish *w, bool head, bool old)
{
    char request[160];
    nf_message m;
    bool no_body = head || bodyless(w);
    int fd = nf_connect(f->port);
    (void)snprintf(request, sizeof request, "%s %s HTTP/1.%d\r\nHost: a\r\n%s\r\n", head ? "HEAD" : "GET", w->target,
                   old ? 0 : 1, old ? "Connection: keep-alive\r\n" : "");
    REQUIRE(nf_send_c(fd, request) && nf_read_message(fd, false, no_body, &m));
    check_framing(w, &m, head, old);
    bool closes = nf_field_is(&m, "Connection", "close");
    nf_message_free(&m);
    if (closes) {
        CHECK(nf_closed_within(fd, 3000));
    } else {
        REQUIRE(nf_send_c(fd, "GET /plain HTTP/1.1\r\nHost: a\r\n\r\n") && nf_read_message(fd, false, false, &m));
        if (m.status != 200 || !sl_str_eq_c(m.body, "hello"))
            sl_test_failed(__FILE__, __LINE__, "behind %s: %.*s", w->target, (int)m.len, m.data);
        nf_message_free(&m);
    }
    close(fd);
}

SL_TEST(each_kind_of_answer_is_framed_by_the_rules)
{
    front *f = front_start();
    for (size_t i = 0; i < WISHES; i++) {
        for (int how = 0; how < 4; how++)
            ask_for(f, &wishes[i], how & 1, how & 2);
    }
    CHECK(f->outcomes < 1000); /* each of them was whole */
    front_stop(f);
}

/* An answer of 405 says what is allowed; a text in it is JSON whatever it holds. */
SL_TEST(what_is_not_allowed_says_what_is)
{
    front *f = front_start();
    nf_message m = nf_ask(f->port, "DELETE /nothing HTTP/1.1\r\nHost: a\r\n\r\n");
    CHECK_EQ(m.status, 405);
    CHECK(nf_field_is(&m, "Allow", "GET, POST") || nf_field_is(&m, "Allow", "POST, GET"));
    CHECK(nf_field_is(&m, "Content-Type", "application/json"));
    CHECK_STR(m.body, "{\"error\":{\"message\":\"not \\\"here\\\"\",\"type\":\"invalid_request_error\",\"param\":null,"
                      "\"code\":null}}");
    nf_message_free(&m);
    front_stop(f);
}
