/* Tests of the gRPC client against a server that does as it is told. */
#include "src/export/grpc_client.h"

#include <errno.h>
#include <signal.h>

#include "src/base/clock.h"
#include "src/export/gzip.h"
#include "src/export/test_grpc_server.h"
#include "tests/harness/sl_test.h"

static uint64_t in_ms(uint64_t ms)
{
    return sl_mono_ns() + ms * 1000000u;
}

static sl_grpc_client *client_of(const grpc_server *s, const sl_grpc_options *base)
{
    sl_grpc_options o;
    memset(&o, 0, sizeof o);
    if (base)
        o = *base;
    char endpoint[64], why[256] = "";
    (void)snprintf(endpoint, sizeof endpoint, "%s://127.0.0.1:%d", s->tls ? "https" : "http", s->port);
    o.endpoint = sl_str_c(endpoint);
    o.user_agent = SL_STR("test/1");
    sl_grpc_client *c = NULL;
    int error = sl_grpc_client_new(&o, &c, why, sizeof why);
    CHECK_EQ(error, 0);
    CHECK_STR(sl_str_c(why), "");
    signal(SIGPIPE, SIG_IGN);
    return c;
}

static int call(sl_grpc_client *c, sl_str message, uint64_t ms, sl_grpc_result *result)
{
    memset(result, 0, sizeof *result);
    return sl_grpc_call(c, "/p.S/Export", message, in_ms(ms), result);
}

/* One call against one scripted reply. */
static int call_once(const reply *r, const sl_grpc_options *o, int expect_error, int expect_status)
{
    grpc_server s;
    server_start(&s, r, 1, NULL, false);
    sl_grpc_client *c = client_of(&s, o);
    sl_grpc_result result;
    int error = call(c, SL_STR("hello"), 2000, &result);
    CHECK_EQ(error, expect_error);
    if (!error)
        CHECK_EQ(result.status, expect_status);
    sl_grpc_client_free(c);
    server_stop(&s);
    return error;
}

SL_TEST(sends_message_and_headers)
{
    reply ok = {0};
    ok.body = "\x0a\x02\x08\x01";
    ok.body_len = 4;
    grpc_server s;
    server_start(&s, &ok, 1, NULL, false);
    sl_grpc_metadata metadata[] = {{SL_STR("x-key"), SL_STR("v 1")}};
    sl_grpc_options o;
    memset(&o, 0, sizeof o);
    o.metadata = metadata;
    o.metadata_count = 1;
    sl_grpc_client *c = client_of(&s, &o);
    sl_grpc_result result;
    for (int i = 0; i < 5; i++) {
        CHECK_EQ(call(c, SL_STR("hello"), 2000, &result), 0);
        CHECK_EQ(result.status, 0);
        CHECK_EQ(result.body.len, 4);
    }
    CHECK_EQ(sl_grpc_connections(c), 1);
    pthread_mutex_lock(&s.lock);
    CHECK(strstr(s.headers, ":path: /p.S/Export\n") != NULL);
    CHECK(strstr(s.headers, "te: trailers\n") != NULL);
    CHECK(strstr(s.headers, "content-type: application/grpc\n") != NULL);
    CHECK(strstr(s.headers, "x-key: v 1\n") != NULL);
    CHECK(strstr(s.headers, "grpc-timeout: 2") != NULL);
    CHECK(strstr(s.headers, "user-agent: test/1\n") != NULL);
    CHECK_STR_EQ(sl_buf_str(&s.request), sl_str_of("\0\0\0\0\5hello", 10));
    pthread_mutex_unlock(&s.lock);
    sl_grpc_client_free(c);
    server_stop(&s);
}

SL_TEST(a_large_message_passes_the_flow_control)
{
    reply ok = {0};
    grpc_server s;
    server_start(&s, &ok, 1, NULL, false);
    sl_grpc_client *c = client_of(&s, NULL);
    size_t len = 3u << 20;
    char *big = calloc(1, len);
    sl_grpc_result result;
    CHECK_EQ(call(c, sl_str_of(big, len), 5000, &result), 0);
    CHECK_EQ(result.status, 0);
    CHECK_EQ(s.request.len, len + 5);
    free(big);
    sl_grpc_client_free(c);
    server_stop(&s);
}

SL_TEST(compresses)
{
    reply ok = {0};
    grpc_server s;
    server_start(&s, &ok, 1, NULL, false);
    sl_grpc_options o;
    memset(&o, 0, sizeof o);
    o.gzip = true;
    sl_grpc_client *c = client_of(&s, &o);
    char text[5000];
    memset(text, 'a', sizeof text);
    sl_grpc_result result;
    CHECK_EQ(call(c, sl_str_of(text, sizeof text), 2000, &result), 0);
    CHECK(strstr(s.headers, "grpc-encoding: gzip\n") != NULL);
    CHECK_EQ(s.request.data[0], 1);
    CHECK(s.request.len < 200);
    sl_buf plain;
    sl_buf_init(&plain, 1 << 16);
    CHECK_EQ(sl_gzip_unpack(sl_str_of(s.request.data + 5, s.request.len - 5), &plain), 0);
    CHECK_STR_EQ(sl_buf_str(&plain), sl_str_of(text, sizeof text));
    sl_buf_done(&plain);
    sl_grpc_client_free(c);
    server_stop(&s);
}

SL_TEST(reads_a_compressed_answer)
{
    sl_buf packed;
    sl_buf_init(&packed, 1 << 16);
    REQUIRE(sl_gzip_pack(SL_STR("answer"), &packed) == 0);
    reply r = {.body = packed.data, .body_len = packed.len, .encoding = "gzip"};
    grpc_server s;
    server_start(&s, &r, 1, NULL, false);
    sl_grpc_client *c = client_of(&s, NULL);
    sl_grpc_result result;
    CHECK_EQ(call(c, SL_STR("x"), 2000, &result), 0);
    CHECK_STR(result.body, "answer");
    sl_grpc_client_free(c);
    server_stop(&s);
    sl_buf_done(&packed);
}

SL_TEST(statuses_in_trailers_and_trailers_only)
{
    for (int status = 1; status <= 16; status++) {
        reply r = {.status = status, .message = "caf%C3%A9 %zz", .trailers_only = status % 2};
        grpc_server s;
        server_start(&s, &r, 1, NULL, false);
        sl_grpc_client *c = client_of(&s, NULL);
        sl_grpc_result result;
        CHECK_EQ(call(c, SL_STR("x"), 2000, &result), 0);
        CHECK_EQ(result.status, status);
        CHECK_STR(result.message, "caf\xc3\xa9 %zz");
        sl_grpc_client_free(c);
        server_stop(&s);
    }
}

SL_TEST(answers_without_grpc)
{
    static const struct {
        const char *http;
        int status;
    } table[] = {{"400", 13}, {"401", 16}, {"403", 7},  {"404", 12}, {"429", 14},
                 {"502", 14}, {"503", 14}, {"504", 14}, {"500", 2}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        reply r = {.http_status = table[i].http, .content_type = "text/html", .no_status = true};
        (void)call_once(&r, NULL, 0, table[i].status);
    }
    reply nothing = {.no_status = true};
    (void)call_once(&nothing, NULL, 0, 2);
    reply html = {.no_status = true, .content_type = "text/html"};
    (void)call_once(&html, NULL, 0, 2);
}

SL_TEST(reset_streams)
{
    reply refused = {.reset = NGHTTP2_REFUSED_STREAM};
    (void)call_once(&refused, NULL, 0, 14);
    reply cancel = {.reset = NGHTTP2_CANCEL};
    (void)call_once(&cancel, NULL, 0, 1);
    reply calm = {.reset = NGHTTP2_ENHANCE_YOUR_CALM};
    (void)call_once(&calm, NULL, 0, 8);
    reply internal = {.reset = NGHTTP2_INTERNAL_ERROR};
    (void)call_once(&internal, NULL, 0, 13);
}

SL_TEST(a_hanging_peer_costs_the_deadline_alone)
{
    reply r = {.hang = true};
    grpc_server s;
    server_start(&s, &r, 1, NULL, false);
    sl_grpc_client *c = client_of(&s, NULL);
    sl_grpc_result result;
    uint64_t start = sl_mono_ns();
    CHECK_EQ(call(c, SL_STR("x"), 150, &result), SL_ETIMEOUT);
    uint64_t ms = (sl_mono_ns() - start) / 1000000u;
    CHECK(ms >= 140 && ms < 1000);
    sl_grpc_client_free(c);
    server_stop(&s);
}

SL_TEST(a_dropped_connection_is_an_error_and_the_next_call_connects)
{
    reply script[] = {{.drop = true}, {.status = 0}};
    grpc_server s;
    server_start(&s, script, 2, NULL, false);
    sl_grpc_client *c = client_of(&s, NULL);
    sl_grpc_result result;
    CHECK_EQ(call(c, SL_STR("x"), 2000, &result), SL_ECLOSED);
    CHECK(sl_grpc_error(c)[0] != 0);
    CHECK_EQ(call(c, SL_STR("x"), 2000, &result), 0);
    CHECK_EQ(sl_grpc_connections(c), 2);
    sl_grpc_client_free(c);
    server_stop(&s);
}

SL_TEST(a_kept_connection_that_fails_is_replaced_once)
{
    reply script[] = {{.status = 0}, {.drop = true}, {.status = 0}};
    grpc_server s;
    server_start(&s, script, 3, NULL, false);
    sl_grpc_client *c = client_of(&s, NULL);
    sl_grpc_result result;
    CHECK_EQ(call(c, SL_STR("x"), 2000, &result), 0);
    CHECK_EQ(call(c, SL_STR("x"), 2000, &result), 0);
    CHECK_EQ(sl_grpc_connections(c), 2);
    CHECK_EQ(s.calls, 3);
    sl_grpc_client_free(c);
    server_stop(&s);
}

SL_TEST(go_away_makes_a_new_connection)
{
    reply script[] = {{.go_away = true}, {.status = 0}, {.go_away_first = true}, {.status = 0}};
    grpc_server s;
    server_start(&s, script, 4, NULL, false);
    sl_grpc_client *c = client_of(&s, NULL);
    sl_grpc_result result;
    CHECK_EQ(call(c, SL_STR("x"), 2000, &result), 0);
    CHECK_EQ(call(c, SL_STR("x"), 2000, &result), 0);
    CHECK_EQ(sl_grpc_connections(c), 2);
    CHECK_EQ(call(c, SL_STR("x"), 2000, &result), 0); /* refused, and sent again */
    CHECK_EQ(result.status, 0);
    CHECK_EQ(sl_grpc_connections(c), 3);
    sl_grpc_client_free(c);
    server_stop(&s);
}

SL_TEST(nobody_there)
{
    grpc_server s;
    reply ok = {0};
    server_start(&s, &ok, 1, NULL, false);
    sl_grpc_client *c = client_of(&s, NULL);
    server_stop(&s);
    sl_grpc_result result;
    CHECK_EQ(call(c, SL_STR("x"), 1000, &result), SL_ECONNECT);
    CHECK(strstr(sl_grpc_error(c), "refused") != NULL);
    sl_grpc_client_free(c);
}

SL_TEST(too_big_an_answer)
{
    reply r = {.body_len = 5u << 20};
    (void)call_once(&r, NULL, SL_ETOOBIG, 0);
}

/* ---- TLS ---- */

static int tls_call(const tls_files *server, const sl_grpc_options *o, bool client_auth, bool plain_server,
                    char *error_text)
{
    reply ok = {0};
    grpc_server s;
    server_start(&s, &ok, 1, plain_server ? NULL : server, client_auth);
    if (plain_server)
        s.tls = SSL_CTX_new(TLS_server_method()); /* makes the client use https */
    sl_grpc_client *c = client_of(&s, o);
    if (plain_server) {
        SSL_CTX_free(s.tls);
        s.tls = NULL;
    }
    sl_grpc_result result;
    int error = call(c, SL_STR("x"), 3000, &result);
    (void)snprintf(error_text, 400, "%s", sl_grpc_error(c));
    sl_grpc_client_free(c);
    server_stop(&s);
    return error;
}

SL_TEST(tls_with_a_private_authority)
{
    tls_files files;
    tls_files_make(&files);
    char text[400];
    sl_grpc_options o;
    memset(&o, 0, sizeof o);
    o.ca_file = files.ca;
    CHECK_EQ(tls_call(&files, &o, false, false, text), 0);
    CHECK_STR(sl_str_c(text), "");
    o.ca_file = files.other_ca;
    CHECK_EQ(tls_call(&files, &o, false, false, text), SL_ETLS);
    CHECK(strstr(text, "the certificate of 127.0.0.1 is not trusted") != NULL);
    CHECK(strstr(text, "OTEL_EXPORTER_OTLP_CERTIFICATE") != NULL);
    o.ca_file = NULL;
    CHECK_EQ(tls_call(&files, &o, false, false, text), SL_ETLS);
    tls_files_remove(&files);
}

SL_TEST(certificates_with_one_fault)
{
    tls_files files;
    tls_files_make(&files);
    const struct {
        const char *cert, *why;
    } table[] = {{files.expired_cert, "certificate has expired"},
                 {files.early_cert, "certificate is not yet valid"},
                 {files.other_name_cert, "IP address mismatch"}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        tls_files bad = files;
        tls_use(bad.server_cert, table[i].cert);
        char text[400];
        sl_grpc_options o;
        memset(&o, 0, sizeof o);
        o.ca_file = files.ca;
        CHECK_EQ(tls_call(&bad, &o, false, false, text), SL_ETLS);
        CHECK(strstr(text, "not trusted") != NULL && strstr(text, table[i].why) != NULL);
    }
    tls_files_remove(&files);
}

SL_TEST(mutual_tls)
{
    tls_files files;
    tls_files_make(&files);
    char text[400];
    sl_grpc_options o;
    memset(&o, 0, sizeof o);
    o.ca_file = files.ca;
    CHECK(tls_call(&files, &o, true, false, text) != 0);
    o.certificate_file = files.client_cert;
    o.key_file = files.client_key;
    CHECK_EQ(tls_call(&files, &o, true, false, text), 0);
    tls_files_remove(&files);
}

SL_TEST(bad_files_fail_the_start)
{
    tls_files files;
    tls_files_make(&files);
    char why[256] = "";
    sl_grpc_options o;
    memset(&o, 0, sizeof o);
    o.endpoint = SL_STR("https://localhost:1");
    o.ca_file = "/nonexistent/ca.pem";
    sl_grpc_client *c = NULL;
    CHECK_EQ(sl_grpc_client_new(&o, &c, why, sizeof why), SL_ECONFIG);
    CHECK(strstr(why, "/nonexistent/ca.pem") != NULL);
    o.ca_file = files.ca;
    o.certificate_file = files.client_cert;
    o.key_file = files.server_key; /* of another pair */
    CHECK_EQ(sl_grpc_client_new(&o, &c, why, sizeof why), SL_ECONFIG);
    CHECK(c == NULL);
    tls_files_remove(&files);
}

/* ---- the seam: the Nth call of the kernel fails ---- */

typedef struct faults {
    int left; /* calls until the failure */
    int code;
    bool hit;
} faults;

static bool fault(faults *f)
{
    if (f->left-- != 0)
        return false;
    f->hit = true;
    errno = f->code;
    return true;
}

static int fault_connect(void *user, int fd, const struct sockaddr *addr, socklen_t len)
{
    return fault(user) ? -1 : sl_net_ops_libc.connect(NULL, fd, addr, len);
}

static ssize_t fault_send(void *user, int fd, const void *data, size_t len, int flags)
{
    return fault(user) ? -1 : sl_net_ops_libc.send(NULL, fd, data, len, flags);
}

static ssize_t fault_recv(void *user, int fd, void *data, size_t len)
{
    return fault(user) ? -1 : sl_net_ops_libc.recv(NULL, fd, data, len);
}

SL_TEST(every_call_of_the_kernel_failing_in_turn)
{
    bool hit = true;
    for (int n = 0; hit && n < 100; n++) {
        reply ok = {0};
        grpc_server s;
        server_start(&s, &ok, 1, NULL, false);
        faults f = {n, ECONNRESET, false};
        sl_net_ops ops = {&f, fault_connect, fault_send, fault_recv, sl_net_ops_libc.resolve};
        sl_grpc_options o;
        memset(&o, 0, sizeof o);
        o.ops = &ops;
        sl_grpc_client *c = client_of(&s, &o);
        sl_grpc_result result;
        int error = call(c, SL_STR("x"), 1000, &result);
        hit = f.hit;
        CHECK(hit ? error == 0 || error == SL_ECLOSED || error == SL_ECONNECT : error == 0);
        CHECK_EQ(call(c, SL_STR("x"), 1000, &result), 0);
        sl_grpc_client_free(c);
        server_stop(&s);
    }
    CHECK(!hit);
}

SL_TEST(every_allocation_failing_in_turn)
{
    reply ok = {0};
    grpc_server s;
    server_start(&s, &ok, 1, NULL, false);
    char endpoint[64];
    (void)snprintf(endpoint, sizeof endpoint, "http://127.0.0.1:%d", s.port);
    bool hit = true;
    for (long n = 0; hit && n < 300; n++) {
        char why[256] = "";
        sl_grpc_options o;
        memset(&o, 0, sizeof o);
        o.endpoint = sl_str_c(endpoint);
        o.gzip = true;
        sl_grpc_metadata metadata[] = {{SL_STR("a"), SL_STR("b")}};
        o.metadata = metadata;
        o.metadata_count = 1;
        sl_grpc_client *c = NULL;
        sl_grpc_result result;
        sl_test_fail_alloc(n);
        int error = sl_grpc_client_new(&o, &c, why, sizeof why);
        if (!error) {
            error = call(c, SL_STR("x"), 2000, &result);
            sl_grpc_client_free(c);
        }
        hit = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK(hit || error == 0);
    }
    CHECK(!hit);
    server_stop(&s);
}
