/* GET against the control server. */
#include <stdio.h>
#include <unistd.h>

#include "src/cli/fetch.h"
#include "src/net/lite/addr.h"
#include "src/net/lite/ctl_server.h"
#include "tests/harness/sl_test.h"

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
