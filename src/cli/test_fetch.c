/* GET against the control server. */
#include <stdio.h>
#include <unistd.h>

#include "src/cli/fetch.h"
#include "src/net/lite/addr.h"
#include "src/net/lite/ctl_server.h"
#include "tests/harness/net_fixture.h"

static void answer(void *user, const sl_ctl_request *request, sl_ctl_response *response)
{
    (void)user;
    sl_str key = sl_ctl_header(request, SL_STR("authorization")), accept = sl_ctl_header(request, SL_STR("accept"));
    response->status = sl_str_eq_c(request->path, "/missing") ? 404 : 200;
    (void)sl_buf_printf(&response->body, "key=%.*s accept=%.*s", (int)key.len, key.ptr ? key.ptr : "", (int)accept.len,
                        accept.ptr ? accept.ptr : "");
}

static sl_ctl_server *serve(char *base, size_t size)
{
    static const sl_ctl_route routes[] = {{"/*", SL_CTL_GET, answer, NULL}};
    sl_addr wanted = {.host = "127.0.0.1"}, bound;
    int fd;
    if (sl_addr_listen(&wanted, NULL, &fd, &bound, NULL) != 0)
        return NULL;
    sl_ctl_server *server = sl_ctl_server_new(NULL);
    if (!server || sl_ctl_server_add(server, fd, routes, 1) != 0 || sl_ctl_server_start(server) != 0)
        return NULL;
    snprintf(base, size, "http://127.0.0.1:%u", bound.port);
    return server;
}

SL_TEST(gets_bodies_of_any_status)
{
    char base[64], url[128];
    sl_fetch fetch;
    sl_ctl_server *server = serve(base, sizeof base);
    REQUIRE(server);
    sl_fetch_options options = {.accept = "application/json", .key = SL_STR("sk-1")};
    snprintf(url, sizeof url, "%s/x", base);
    REQUIRE(sl_fetch_get(url, &options, &fetch) == 0);
    CHECK_EQ(fetch.status, 200);
    CHECK_STR(sl_buf_str(&fetch.body), "key=Bearer sk-1 accept=application/json");
    CHECK_STR(sl_str_c(fetch.content_type), "application/json");
    sl_fetch_done(&fetch);
    snprintf(url, sizeof url, "%s/missing", base);
    REQUIRE(sl_fetch_get(url, NULL, &fetch) == 0);
    CHECK_EQ(fetch.status, 404);
    sl_fetch_done(&fetch);
    options.max_bytes = 4;
    CHECK_EQ(sl_fetch_get(url, &options, &fetch), SL_ETOOBIG);
    CHECK(strstr(fetch.reason, "too large"));
    sl_fetch_done(&fetch);
    sl_ctl_server_free(server);
}

SL_TEST(says_why_it_failed)
{
    sl_fetch fetch;
    CHECK_EQ(sl_fetch_get("http://127.0.0.1:1/", NULL, &fetch), SL_ECONNECT);
    CHECK_STR(sl_str_c(fetch.reason), "cannot reach http://127.0.0.1:1/: Connection refused");
    sl_fetch_done(&fetch);
    CHECK_EQ(sl_fetch_get("http://does-not-exist.invalid/", NULL, &fetch), SL_ERESOLVE);
    sl_fetch_done(&fetch);
    CHECK_EQ(sl_fetch_get("ftp://h/", NULL, &fetch), SL_EINVAL);
    sl_fetch_done(&fetch);
    CHECK_EQ(sl_fetch_get("", NULL, &fetch), SL_EINVAL);
    sl_fetch_done(&fetch);
}

SL_TEST(a_silent_server_times_out)
{
    sl_addr wanted = {.host = "127.0.0.1"}, bound;
    int fd;
    char url[64];
    sl_fetch fetch;
    sl_fetch_options options = {.timeout_ms = 100};
    REQUIRE(sl_addr_listen(&wanted, NULL, &fd, &bound, NULL) == 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/", bound.port);
    CHECK_EQ(sl_fetch_get(url, &options, &fetch), SL_ETIMEOUT);
    sl_fetch_done(&fetch);
    close(fd);
}

SL_TEST(joins_bases_and_paths)
{
    sl_buf out;
    sl_buf_init(&out, 100);
    CHECK_EQ(sl_fetch_join(SL_STR("http://h:1//"), "/traces", &out), 0);
    CHECK_STR(sl_buf_str(&out), "http://h:1/traces");
    sl_buf_done(&out);
}

/* ---- answers that are none, or not whole ---- */

static void serve_text(nf_server *server, int fd, int number)
{
    nf_message m;
    (void)number;
    if (!nf_read_message(fd, true, false, &m))
        return;
    nf_message_free(&m);
    (void)nf_send_c(fd, server->user);
}

SL_TEST(answers_by_their_framing)
{
    static const struct {
        const char *answer;
        int error, status;
        const char *body, *type;
    } rows[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Type: a/b; c=d\r\n\r\nok", 0, 200, "ok", "a/b; c=d"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", 0, 200, "ok", ""},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n", 0, 200, "ok", ""},
        {"HTTP/1.1 200 OK\r\n\r\nuntil the end", 0, 200, "until the end", ""},
        {"HTTP/1.0 200 OK\r\n\r\nold", 0, 200, "old", ""},
        {"HTTP/1.1 204 None\r\n\r\n", 0, 204, "", ""},
        {"HTTP/1.1 500 Oh\r\nContent-Length: 3\r\n\r\nbad", 0, 500, "bad", ""},
        /* Nobody is led elsewhere: these are listeners that the user named. */
        {"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", 0, 302, "", ""},
        {"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\nonly this", SL_EIO, 0, NULL, NULL},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhalf", SL_EIO, 0, NULL, NULL},
        {"", SL_EIO, 0, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nf_server s;
        char url[64];
        sl_fetch fetch;
        nf_server_start(&s, serve_text, (char *)rows[i].answer);
        (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/x", s.port);
        int error = sl_fetch_get(url, NULL, &fetch);
        if (error != rows[i].error ||
            (!error && (fetch.status != rows[i].status || !sl_str_eq_c(sl_buf_str(&fetch.body), rows[i].body) ||
                        strcmp(fetch.content_type, rows[i].type) != 0)))
            sl_test_failed(__FILE__, __LINE__, "row %zu: %s, %d, \"%.*s\"", i, sl_error_name(error), fetch.status,
                           (int)fetch.body.len, fetch.body.data ? fetch.body.data : "");
        CHECK_EQ(error && !strstr(fetch.reason, url), 0);
        sl_fetch_done(&fetch);
        nf_server_stop(&s);
    }
}

SL_TEST(a_body_of_just_the_limit_fits)
{
    nf_server s;
    char url[64];
    sl_fetch fetch;
    for (size_t limit = 4; limit < 8; limit++) {
        nf_server_start(&s, serve_text, (char *)"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n123456");
        (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/", s.port);
        const sl_fetch_options options = {.max_bytes = limit};
        CHECK_EQ(sl_fetch_get(url, &options, &fetch), limit < 6 ? SL_ETOOBIG : 0);
        CHECK(fetch.body.len <= limit);
        sl_fetch_done(&fetch);
        nf_server_stop(&s);
    }
}

/* Sends the head, and then nothing. */
static void stall(nf_server *server, int fd, int number)
{
    serve_text(server, fd, number);
    while (!server->stopping && !nf_closed_within(fd, 20)) {
    }
}

SL_TEST(an_answer_that_stalls_times_out)
{
    nf_server s;
    char url[64];
    sl_fetch fetch;
    const sl_fetch_options options = {.timeout_ms = 150};
    nf_server_start(&s, stall, (char *)"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome");
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/", s.port);
    uint64_t begun = sl_mono_ns();
    CHECK_EQ(sl_fetch_get(url, &options, &fetch), SL_ETIMEOUT);
    CHECK(sl_mono_ns() - begun < 5000000000u);
    CHECK(strstr(fetch.reason, "cannot reach http://127.0.0.1:") == fetch.reason);
    sl_fetch_done(&fetch);
    nf_server_stop(&s);
}

/* ---- requests ---- */

static char seen[4096];

static void remember(nf_server *server, int fd, int number)
{
    nf_message m;
    (void)server, (void)number;
    if (!nf_read_message(fd, true, false, &m))
        return;
    (void)snprintf(seen, sizeof seen, "%s", m.data);
    nf_message_free(&m);
    (void)nf_send_c(fd, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
}

SL_TEST(requests_say_who_asks_and_for_what)
{
    static const struct {
        sl_fetch_options options;
        const char *has[3], *has_not;
    } rows[] = {
        {{0}, {"GET /a?b=c HTTP/1.1\r\n", "User-Agent: sightline/"}, "Authorization"},
        {{.accept = "text/plain"}, {"Accept: text/plain\r\n"}, "Authorization"},
        {{.key = {"sk-1", 4}}, {"Authorization: Bearer sk-1\r\n", "Accept: */*"}, "text/plain"},
        {{.accept = "a/b", .key = {"k", 1}}, {"Authorization: Bearer k\r\n", "Accept: a/b\r\n"}, "*/*"},
    };
    /* A proxy for the wide world is not meant for listeners close by. */
    CHECK_EQ(setenv("http_proxy", "http://127.0.0.1:1", 1) + setenv("HTTP_PROXY", "http://127.0.0.1:1", 1), 0);
    CHECK_EQ(setenv("ALL_PROXY", "http://127.0.0.1:1", 1), 0);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nf_server s;
        char url[64];
        sl_fetch fetch;
        nf_server_start(&s, remember, NULL);
        (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/a?b=c", s.port);
        CHECK_EQ(sl_fetch_get(url, &rows[i].options, &fetch), 0);
        sl_fetch_done(&fetch);
        nf_server_stop(&s);
        for (size_t k = 0; k < 3 && rows[i].has[k]; k++)
            CHECK(strstr(seen, rows[i].has[k]) != NULL);
        CHECK(!strstr(seen, rows[i].has_not));
    }
    CHECK_EQ(unsetenv("http_proxy") + unsetenv("HTTP_PROXY") + unsetenv("ALL_PROXY"), 0);
}

SL_TEST(a_method_with_a_body_and_a_header)
{
    nf_server server = {.user = NULL};
    char url[64];
    sl_fetch fetch;
    nf_server_start(&server, remember, NULL);
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/x", server.port);
    sl_fetch_options options = {.method = "PUT", .body = SL_STR("{\"a\":1}"), .header = "api-key: k1"};
    REQUIRE(sl_fetch_get(url, &options, &fetch) == 0);
    CHECK(strncmp(seen, "PUT /x HTTP/1.1\r\n", 17) == 0);
    CHECK(strstr(seen, "\r\napi-key: k1\r\n") && strstr(seen, "\r\nContent-Type: application/json\r\n"));
    CHECK(strstr(seen, "\r\nContent-Length: 7\r\n") && !strstr(seen, "Expect:"));
    sl_fetch_done(&fetch);
    options.body = sl_str_of(NULL, 0);
    REQUIRE(sl_fetch_get(url, &options, &fetch) == 0);
    CHECK(strstr(seen, "\r\nContent-Length: 0\r\n") != NULL);
    sl_fetch_done(&fetch);
    nf_server_stop(&server);
}

SL_TEST(urls_that_are_none)
{
    static const char *const urls[] = {"file:///etc/passwd", "gopher://h/", "h://", "http://", "http://[::1",
                                       "http://h:99999/",    "http://h:x/", "://",  "ws://h/"};
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        sl_fetch fetch;
        int error = sl_fetch_get(urls[i], NULL, &fetch);
        if (error != SL_EINVAL)
            sl_test_failed(__FILE__, __LINE__, "%s: %s", urls[i], sl_error_name(error));
        CHECK(strstr(fetch.reason, "is no http or https URL") != NULL);
        CHECK_EQ(fetch.body.len, 0);
        sl_fetch_done(&fetch);
    }
}

SL_TEST(every_allocation_of_ours_may_fail)
{
    char base[64];
    sl_ctl_server *server = serve(base, sizeof base);
    REQUIRE(server);
    const sl_fetch_options options = {.accept = "a/b", .key = SL_STR("k")};
    for (long n = 0; n < 16; n++) {
        sl_fetch fetch;
        sl_test_fail_alloc(n);
        int error = sl_fetch_get(base, &options, &fetch);
        bool reached = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK(error == 0 || reached);
        CHECK(!error || fetch.reason[0]);
        sl_fetch_done(&fetch);
        if (!reached)
            break;
    }
    sl_ctl_server_free(server);
}

SL_TEST(joins_keep_to_their_room)
{
    static const struct {
        const char *base, *path, *joined;
    } rows[] = {{"http://h", "/x", "http://h/x"},
                {"http://h/", "/x", "http://h/x"},
                {"http://h/base/", "/x", "http://h/base/x"},
                {"", "/x", "/x"},
                {"///", "/x", "/x"},
                {"http://h", "", "http://h"}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_buf out;
        sl_buf_init(&out, 64);
        CHECK_EQ(sl_fetch_join(sl_str_c(rows[i].base), rows[i].path, &out), 0);
        CHECK_STR(sl_buf_str(&out), rows[i].joined);
        sl_buf_done(&out);
        sl_buf_init(&out, strlen(rows[i].joined) - 1);
        CHECK_EQ(sl_fetch_join(sl_str_c(rows[i].base), rows[i].path, &out), SL_ELIMIT);
        sl_buf_done(&out);
    }
}
