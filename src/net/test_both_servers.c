/*
 * The two HTTP servers, that of the hot path and the control server, side by side: the same bytes are the same requests
 * to both, however they are cut; and what RFC 9112 leaves no doubt about is answered alike.
 */
#include "src/net/http_server.h"
#include "src/net/lite/ctl_server.h"
#include "src/wire/url.h"
#include "tests/harness/net_fixture.h"
#include "tests/harness/sl_chance.h"

#define MAX_BODY 4096

/* ---- the sites: both say what they have understood ---- */

/* "METHOD PATH LENGTH SUM" of a request. */
static int describe(char *text, size_t size, const char *method, sl_str path, sl_str body)
{
    unsigned sum = 0;
    for (size_t i = 0; i < body.len; i++)
        sum = sum * 31 + (unsigned char)body.ptr[i];
    return snprintf(text, size, "%s %.*s %zu %u", method, (int)path.len, path.ptr, body.len, sum);
}

typedef struct site {
    nf_loop l;
    sl_http_server *server;
    sl_ctl_server *control;
    int listen_fd;
    uint16_t ports[2]; /* of the hot path's server, of the control server */
} site;

static void on_request(void *user, sl_exchange *x)
{
    const sl_http1_head *head = sl_exchange_head(x);
    char text[256];
    sl_str path, query;
    (void)user;
    sl_target_split(head->target, &path, &query);
    bool post = head->method_id == SL_HTTP_POST;
    int len = describe(text, sizeof text, post ? "POST" : "GET", path, sl_exchange_body(x));
    sl_http_reply reply = {.status = 200, .content_type = "text/plain", .body = sl_str_of(text, (size_t)len)};
    sl_exchange_respond(x, &reply);
}

static void on_done(void *user, sl_exchange *x, int outcome)
{
    (void)user, (void)x, (void)outcome;
}

static void control_answer(void *user, const sl_ctl_request *request, sl_ctl_response *response)
{
    char text[256];
    (void)user;
    int len =
        describe(text, sizeof text, request->method == SL_CTL_POST ? "POST" : "GET", request->path, request->body);
    response->content_type = "text/plain";
    (void)sl_buf_put(&response->body, text, (size_t)len);
}

static void close_server(void *user)
{
    sl_http_server_close(((site *)user)->server);
}

static site *site_start(void)
{
    static const sl_ctl_route routes[] = {{"/*", SL_CTL_GET | SL_CTL_POST, control_answer, NULL}};
    const sl_http_handler handler = {.on_request = on_request, .on_done = on_done};
    const sl_http_server_options options = {.max_body_bytes = MAX_BODY};
    const sl_ctl_options control = {.max_body_bytes = MAX_BODY};
    site *s = calloc(1, sizeof *s);
    if (sl_loop_init(&s->l.loop) != 0 || sl_http_server_new(&s->l.loop, &handler, &options, &s->server) != 0)
        abort();
    s->listen_fd = nf_listen(&s->ports[0]);
    if (sl_http_server_listen(s->server, s->listen_fd) != 0)
        abort();
    s->control = sl_ctl_server_new(&control);
    if (!s->control || sl_ctl_server_add(s->control, nf_listen(&s->ports[1]), routes, 1) != 0 ||
        sl_ctl_server_start(s->control) != 0)
        abort();
    nf_loop_start(&s->l, close_server, s);
    return s;
}

static void site_stop(site *s)
{
    nf_loop_stop(&s->l);
    sl_loop_done(&s->l.loop);
    sl_ctl_server_free(s->control);
    close(s->listen_fd);
    free(s);
}

/* ---- conversations by chance ---- */

#define MOST_REQUESTS 10

typedef struct said {
    char text[256]; /* what a server has to answer; HEAD: nothing */
    bool head, closes;
} said;

typedef struct conversation {
    char *bytes;
    size_t len;
    said answers[MOST_REQUESTS];
    size_t count; /* of answers; the last one may end the connection, with requests behind it */
} conversation;

static void add(conversation *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(conversation *c, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    c->len += (size_t)vsprintf(c->bytes + c->len, format, args);
    va_end(args);
}

static void add_raw(conversation *c, const char *bytes, size_t len)
{
    memcpy(c->bytes + c->len, bytes, len);
    c->len += len;
}

/* Sizes in either case, with leading zeros, extensions, and trailers behind the last. */
static void add_chunks(conversation *c, const char *body, size_t len, uint64_t *chance)
{
    static const char *const extensions[] = {"", "", ";a", ";a=b", ";a=\"b c\"", " ;x=1"};
    for (size_t at = 0; at < len;) {
        size_t size = 1 + sl_chance(chance, (unsigned)(len - at));
        add(c, sl_chance(chance, 2) ? "%zx" : "%04zX", size);
        add(c, "%s\r\n", extensions[sl_chance(chance, 5)]);
        add_raw(c, body + at, size);
        add(c, "\r\n");
        at += size;
    }
    add(c, "%s\r\n%s\r\n", sl_chance(chance, 2) ? "0" : "000", sl_chance(chance, 2) ? "" : "Trailer-X: 1\r\n");
}

static void add_request(conversation *c, uint64_t *chance, bool answered)
{
    static const char *const fields[] = {"",
                                         "X-A: 1\r\n",
                                         "x-empty:\r\n",
                                         "X-Tabs:\t a \t\r\n",
                                         "Accept: */*\r\nX-B: 2\r\n",
                                         "Cookie: a=b; c=\"d\"\r\n"};
    char body[MAX_BODY], path[24];
    bool old = sl_chance(chance, 12) == 0, post = sl_chance(chance, 2), head = !post && sl_chance(chance, 6) == 0;
    bool chunked = post && !old && sl_chance(chance, 2), closes = sl_chance(chance, 15) == 0;
    size_t len = !post ? 0 : sl_chance(chance, sl_chance(chance, 5) ? 50 : MAX_BODY);
    for (size_t i = 0; i < len; i++)
        body[i] = "\r\n0aG:"[sl_chance(chance, 6)]; /* what looks like framing */
    (void)snprintf(path, sizeof path, "/p%u", sl_chance(chance, 1000));
    if (sl_chance(chance, 8) == 0)
        add(c, "\r\n"); /* an empty line in front of a request (2.2) */
    add(c, "%s %s%s HTTP/1.%d\r\n",
        post   ? "POST"
        : head ? "HEAD"
               : "GET",
        sl_chance(chance, 9) ? "" : "http://x", path, old ? 0 : 1);
    add(c, "Host: x\r\n%s", fields[sl_chance(chance, 6)]);
    if (closes)
        add(c, "Connection: %s\r\n", sl_chance(chance, 2) ? "close" : "x, Close");
    if (chunked)
        add(c, "Transfer-Encoding: %s\r\n\r\n", sl_chance(chance, 2) ? "chunked" : "Chunked");
    else if (post)
        add(c, "Content-Length: %zu\r\n\r\n", len);
    else
        add(c, "\r\n");
    if (chunked)
        add_chunks(c, body, len, chance);
    else
        add_raw(c, body, len);
    if (!answered)
        return;
    said *s = &c->answers[c->count++];
    *s = (said){.head = head, .closes = closes || old};
    (void)describe(s->text, sizeof s->text, post ? "POST" : "GET", sl_str_c(path), sl_str_of(body, len));
}

/* Requests one behind the other; what follows one that ends the connection gets no answer. */
static void make_conversation(conversation *c, uint64_t *chance)
{
    c->len = c->count = 0;
    size_t requests = 1 + sl_chance(chance, MOST_REQUESTS);
    for (size_t i = 0; i < requests; i++)
        add_request(c, chance, c->count == 0 || !c->answers[c->count - 1].closes);
}

static void hold_conversation(const conversation *c, uint16_t port, uint64_t *chance, const char *server)
{
    int fd = nf_connect(port);
    nf_message m;
    size_t at = 0, pieces = sl_chance(chance, 6);
    for (size_t i = 0; i < pieces && at < c->len; i++) {
        size_t len = 1 + sl_chance(chance, (unsigned)(c->len - at));
        (void)nf_send(fd, c->bytes + at, len);
        at += len;
        if (sl_chance(chance, 3) == 0)
            nf_sleep_ms(1);
    }
    (void)nf_send(fd, c->bytes + at, c->len - at);
    for (size_t i = 0; i < c->count; i++) {
        const said *want = &c->answers[i];
        if (!nf_read_message(fd, false, want->head, &m)) {
            sl_test_failed(__FILE__, __LINE__, "%s: no answer %zu of %zu: %.*s", server, i, c->count, (int)c->len,
                           c->bytes);
            break;
        }
        bool right = m.status == 200 && m.complete && sl_str_eq_c(m.body, want->head ? "" : want->text);
        bool says = want->closes == nf_field_is(&m, "Connection", "close");
        if (!right || !says)
            sl_test_failed(__FILE__, __LINE__, "%s: answer %zu of %zu, wanted '%s'%s: %.*s", server, i, c->count,
                           want->text, want->closes ? " and the end" : "", (int)m.len, m.data);
        nf_message_free(&m);
    }
    if (c->answers[c->count - 1].closes)
        CHECK(nf_closed_within(fd, 5000));
    close(fd);
}

SL_TEST(conversations_by_chance_are_understood_alike)
{
    site *s = site_start();
    conversation c = {.bytes = malloc(MOST_REQUESTS * (16 * MAX_BODY))};
    for (uint64_t seed = 1; seed <= 150; seed++) {
        uint64_t chance = seed;
        make_conversation(&c, &chance);
        hold_conversation(&c, s->ports[0], &chance, "server");
        hold_conversation(&c, s->ports[1], &chance, "control server");
    }
    free(c.bytes);
    site_stop(s);
}

/* ---- what leaves no doubt ---- */

#define GET "GET / HTTP/1.1\r\nHost: a\r\n"
#define POST "POST / HTTP/1.1\r\nHost: a\r\n"

typedef struct rule {
    const char *section, *request;
    int status;
} rule;

/* RFC 9112 where nothing else is said; what a recipient may do or leave is as strict as can be. */
static const rule rules[] = {
    {"2.1 a request", GET "\r\n", 200},
    {"2.2 lines end with CRLF", "GET / HTTP/1.1\nHost: a\n\n", 400},
    {"2.2 a bare CR", GET "X: a\rb\r\n\r\n", 400},
    {"2.2 white space in front of the first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", 400},
    {"2.2 empty lines in front", "\r\n" GET "\r\n", 200},
    {"2.3 letter case of the version", "GET / http/1.1\r\nHost: a\r\n\r\n", 400},
    {"2.3 a later minor version", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505},
    {"2.3 another major version", "GET / HTTP/3.0\r\nHost: a\r\n\r\n", 505},
    {"2.3 no version", "GET /\r\nHost: a\r\n\r\n", 400},
    {"2.3 digits", "GET / HTTP/1.10\r\nHost: a\r\n\r\n", 400},
    {"3 one space", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"3 one space", "GET /  HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"3 no tab", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"3.1 a method is a token", "G(T / HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"3.2 white space in a target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"3.2 a control in a target", "GET /a\x01 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"3.2 no Host", "GET / HTTP/1.1\r\n\r\n", 400},
    {"3.2 two Hosts", GET "Host: a\r\n\r\n", 400},
    {"3.2 a Host that is none", "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", 400},
    {"3.2.1 an empty path", "GET  HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"3.2.2 absolute form", "GET http://a/c HTTP/1.1\r\nHost: a\r\n\r\n", 200},
    {"3.2.2 Host is that of the target", "GET http://b/c HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"3.2.3 authority form is for CONNECT", "GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", 400},
    {"5 a field without a colon", GET "X\r\n\r\n", 400},
    {"5 a name is a token", GET "X(: 1\r\n\r\n", 400},
    {"5 an empty name", GET ": 1\r\n\r\n", 400},
    {"5.1 white space in front of the colon", GET "X : 1\r\n\r\n", 400},
    {"5.2 folded lines", GET "X: 1\r\n 2\r\n\r\n", 400},
    {"6.1 both framings", POST "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
    {"6.1 chunked twice", POST "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", 400},
    {"6.1 chunked is not the last", POST "Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", 400},
    {"6.1 no chunked at all", POST "Transfer-Encoding: identity\r\n\r\n", 400},
    {"6.1 an empty coding", POST "Transfer-Encoding:\r\n\r\n", 400},
    {"6.1 in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400},
    {"6.2 a sign", POST "Content-Length: +1\r\n\r\na", 400},
    {"6.2 a negative length", POST "Content-Length: -1\r\n\r\na", 400},
    {"6.2 hexadecimal", POST "Content-Length: 0x1\r\n\r\na", 400},
    {"6.2 nothing", POST "Content-Length:\r\n\r\n", 400},
    {"6.2 beyond 64 bits", POST "Content-Length: 99999999999999999999\r\n\r\n", 400},
    {"6.2 white space within", POST "Content-Length: 1 0\r\n\r\n", 400},
    {"6.3 two lengths that differ", POST "Content-Length: 1\r\nContent-Length: 2\r\n\r\nab", 400},
    {"6.3 a list that differs", POST "Content-Length: 1, 2\r\n\r\nab", 400},
    {"6.3 neither: no body", POST "\r\n", 200},
    {"7.1 a size that is none", POST "Transfer-Encoding: chunked\r\n\r\nx\r\n", 400},
    {"7.1 an empty size", POST "Transfer-Encoding: chunked\r\n\r\n\r\n", 400},
    {"7.1 a sign", POST "Transfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n", 400},
    {"7.1 a prefix", POST "Transfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\n", 400},
    {"7.1 data longer than said", POST "Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n0\r\n\r\n", 400},
    {"7.1 lines end with CRLF", POST "Transfer-Encoding: chunked\r\n\r\n1\na\n0\n\n", 400},
    {"7.1 beyond 64 bits", POST "Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n", 400},
    {"7.1.1 an extension", POST "Transfer-Encoding: chunked\r\n\r\n1;a=b\r\nx\r\n0\r\n\r\n", 200},
    {"7.1.1 an extension of a bare LF", POST "Transfer-Encoding: chunked\r\n\r\n1;a\nx\r\n0\r\n\r\n", 400},
    {"7.1.2 trailers", POST "Transfer-Encoding: chunked\r\n\r\n0\r\nX: 1\r\n\r\n", 200},
    {"7.1.2 a trailer that is none", POST "Transfer-Encoding: chunked\r\n\r\n0\r\nX\r\n\r\n", 400},
    {"a body at the limit", NULL, 200},
    {"a body above the limit", POST "Content-Length: 4097\r\n\r\n", 413},
};

/* A request with a body of as many bytes as are allowed. */
static const char *largest_request(void)
{
    static char text[MAX_BODY + 128];
    int len = snprintf(text, sizeof text, POST "Content-Length: %d\r\n\r\n", MAX_BODY);
    memset(text + len, 'x', MAX_BODY);
    return text;
}

SL_TEST(rules_that_leave_no_doubt)
{
    site *s = site_start();
    for (size_t i = 0; i < sizeof rules / sizeof *rules; i++) {
        const char *request = rules[i].request ? rules[i].request : largest_request();
        int statuses[2];
        for (int k = 0; k < 2; k++) {
            int fd = nf_connect(s->ports[k]);
            nf_message m = {.status = -1};
            (void)nf_send_c(fd, request);
            (void)nf_read_message(fd, false, false, &m);
            statuses[k] = m.status;
            if (m.status >= 400) { /* nothing behind it can be a request */
                CHECK(nf_field_is(&m, "Connection", "close"));
                CHECK(nf_closed_within(fd, 5000));
            }
            nf_message_free(&m);
            close(fd);
        }
        if (statuses[0] != rules[i].status || statuses[1] != rules[i].status)
            sl_test_failed(__FILE__, __LINE__, "%s: %d and %d, not %d", rules[i].section, statuses[0], statuses[1],
                           rules[i].status);
    }
    site_stop(s);
}

/* Each head cut at every byte, the rest later: never answered too early, and in the end as if it had come whole. */
SL_TEST(a_request_that_stops_anywhere_is_waited_for)
{
    static const char request[] = POST "Transfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: v\r\n\r\n";
    site *s = site_start();
    for (int k = 0; k < 2; k++) {
        int fd = nf_connect(s->ports[k]);
        for (size_t cut = 1; cut < sizeof request - 1; cut++) {
            struct pollfd p = {fd, POLLIN, 0};
            nf_message m;
            REQUIRE(nf_send(fd, request, cut));
            CHECK_EQ(poll(&p, 1, cut % 8 == 0 ? 2 : 0), 0);
            REQUIRE(nf_send(fd, request + cut, sizeof request - 1 - cut) && nf_read_message(fd, false, false, &m));
            CHECK_STR(m.body, "POST / 3 96354");
            nf_message_free(&m);
        }
        close(fd);
    }
    site_stop(s);
}
