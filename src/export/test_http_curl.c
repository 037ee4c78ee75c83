/* Tests of OTLP/HTTP by libcurl: https and its refusals, gzip, JSON, the rules of retrying. */
#include "src/export/http_curl.h"

#include <dlfcn.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>

#include "src/base/sync.h"
#include "src/export/test_tls_files.h"
#include "src/net/lite/test_http_server.h"
#include "src/wire/otlp_read.h"
#include "tests/harness/sl_test.h"

typedef struct said {
    char last[512];
} said;

static void on_error(void *user, int error, const char *message)
{
    (void)error;
    (void)snprintf(((said *)user)->last, 512, "%s", message);
}

/* With a proxy in the environment everything goes through libcurl; this one is for no peer. */
static void use_curl(bool on)
{
    if (on) {
        setenv("all_proxy", "http://127.0.0.1:9", 1);
        setenv("no_proxy", "*", 1);
    } else {
        unsetenv("all_proxy");
        unsetenv("no_proxy");
    }
}

/* A request of one span. */
static const sl_str one_span = {"\x0a\x09\x12\x07\x12\x05\x2a\x03"
                                "abc",
                                11};

static int deliver(const sl_exporter *e, uint64_t timeout_ms, uint64_t *retry_ms, uint64_t *rejected)
{
    *retry_ms = *rejected = 0;
    return e->deliver(e->user, SL_SIGNAL_TRACES, one_span, 1, timeout_ms, retry_ms, rejected);
}

static int make(sl_exporter_spec *spec, const char *scheme, const char *host, int port, said *errors, sl_exporter *ret)
{
    char url[96], why[256] = "";
    (void)snprintf(url, sizeof url, "%s://%s:%d/v1/traces", scheme, host, port);
    spec->kind = sl_exporter_kind_named(SL_STR("otlp"), SL_SIGNAL_TRACES);
    spec->peer.url = sl_str_c(url);
    spec->reporter = sl_reporter_new(on_error, errors, false);
    int error = sl_exporter_make(spec, ret, why, sizeof why);
    sl_reporter_unref(spec->reporter);
    if (error)
        (void)snprintf(errors->last, sizeof errors->last, "%s", why);
    return error;
}

static void statuses(bool curl)
{
    use_curl(curl);
    static const struct {
        const char *answer;
        int error;
        uint64_t retry_ms, rejected;
    } table[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0, 0, 0},
        {"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 4\r\n\r\n\x0a\x02\x08\x03", 0, 0,
         3},
        {"HTTP/1.1 429 Slow\r\nRetry-After: 9\r\nContent-Length: 0\r\n\r\n", SL_ERETRY, 9000, 0},
        {"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", SL_ERETRY, 0, 0},
        {"HTTP/1.1 400 Bad\r\nContent-Length: 0\r\n\r\n", SL_EREFUSED, 0, 0},
        {"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", SL_EREFUSED, 0, 0},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        http_act act = {.answer = table[i].answer};
        http_server s;
        REQUIRE(http_start(&s, &act, 1, false));
        said errors = {""};
        sl_exporter_spec spec = {.protocol = SL_OTLP_HTTP_PROTOBUF};
        sl_exporter e;
        REQUIRE(make(&spec, "http", "127.0.0.1", s.port, &errors, &e) == 0);
        uint64_t retry_ms, rejected;
        CHECK_EQ(deliver(&e, 2000, &retry_ms, &rejected), table[i].error);
        CHECK_EQ(retry_ms, table[i].retry_ms);
        CHECK_EQ(rejected, table[i].rejected);
        CHECK_EQ(deliver(&e, 2000, &retry_ms, &rejected), table[i].error);
        CHECK_EQ(s.connections, 1);
        e.free(e.user);
        http_stop(&s);
    }
}

SL_TEST(statuses_over_plain_http)
{
    statuses(false);
    statuses(true);
}

SL_TEST(gzip_json_and_headers)
{
    http_act act = {.answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"};
    http_server s;
    REQUIRE(http_start(&s, &act, 1, false));
    said errors = {""};
    sl_http_post_header header = {SL_STR("x-key"), SL_STR("v")};
    sl_exporter_spec spec = {
        .protocol = SL_OTLP_HTTP_JSON, .peer.gzip = true, .peer.headers = &header, .peer.header_count = 1};
    sl_exporter e;
    REQUIRE(make(&spec, "http", "127.0.0.1", s.port, &errors, &e) == 0);
    uint64_t retry_ms, rejected;
    CHECK_EQ(deliver(&e, 2000, &retry_ms, &rejected), 0);
    CHECK(strstr(s.last, "Content-Encoding: gzip\r\n") != NULL);
    CHECK(strstr(s.last, "Content-Type: application/json\r\n") != NULL);
    CHECK(strstr(s.last, "x-key: v\r\n") != NULL);
    CHECK(strstr(s.last, "User-Agent: OTel-OTLP-Exporter-C/") != NULL);
    CHECK(strstr(s.last, "Expect:") == NULL);
    e.free(e.user);
    http_stop(&s);
}

static void no_answers(bool curl)
{
    use_curl(curl);
    http_act script[] = {{.hang = true}};
    http_server s;
    REQUIRE(http_start(&s, script, 1, false));
    said errors = {""};
    sl_exporter_spec spec = {.protocol = SL_OTLP_HTTP_PROTOBUF};
    sl_exporter e;
    REQUIRE(make(&spec, "http", "127.0.0.1", s.port, &errors, &e) == 0);
    uint64_t retry_ms, rejected, start = sl_mono_ns();
    CHECK_EQ(deliver(&e, 150, &retry_ms, &rejected), SL_ERETRY);
    CHECK(sl_mono_ns() - start < 1500000000u);
    http_stop(&s);
    CHECK_EQ(deliver(&e, 1000, &retry_ms, &rejected), SL_ERETRY);
    CHECK(errors.last[0] != 0);
    e.free(e.user);
}

SL_TEST(peers_that_do_not_answer)
{
    no_answers(false);
    no_answers(true);
}

/* ---- a resolver that hangs ---- */

static _Atomic bool resolver_hangs;
static _Atomic unsigned look_ups;

/* Stands in for libc's, also for libcurl. */
__attribute__((visibility("default"))) int getaddrinfo(const char *host, const char *port, const struct addrinfo *hints,
                                                       struct addrinfo **list)
{
    typedef int (*look_up_fn)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
    look_up_fn look_up;
    void *symbol = dlsym(RTLD_NEXT, "getaddrinfo");
    memcpy(&look_up, &symbol, sizeof look_up);
    if (host && strcmp(host, "hangs.test") == 0 && !(hints->ai_flags & AI_NUMERICHOST)) {
        look_ups++;
        while (resolver_hangs)
            usleep(1000);
        look_ups--;
        host = "127.0.0.1";
    }
    return look_up(host, port, hints, list);
}

SL_TEST(a_hanging_resolver_costs_the_deadline_alone)
{
    for (int curl = 0; curl < 2; curl++) {
        use_curl(curl);
        resolver_hangs = true;
        said errors = {""};
        sl_exporter_spec spec = {.protocol = SL_OTLP_HTTP_PROTOBUF};
        sl_exporter e;
        REQUIRE(make(&spec, "http", "hangs.test", 9, &errors, &e) == 0);
        uint64_t retry_ms, rejected, start = sl_mono_ns();
        CHECK_EQ(deliver(&e, 100, &retry_ms, &rejected), SL_ERETRY);
        e.free(e.user);
        CHECK(sl_mono_ns() - start < 3000000000u);
        CHECK_EQ(look_ups, 1);
        resolver_hangs = false;
        for (int i = 0; i < 5000 && look_ups; i++)
            usleep(1000);
        usleep(20000); /* for the thread's last lines */
    }
    use_curl(false);
}

/* ---- https ---- */

typedef struct tls_server {
    SSL_CTX *context;
    int listener, port;
    pthread_t thread;
    _Atomic bool stop;
    _Atomic unsigned served;
} tls_server;

static void *tls_run(void *user)
{
    tls_server *s = user;
    while (!s->stop) {
        struct pollfd p = {s->listener, POLLIN, 0};
        if (poll(&p, 1, 20) <= 0)
            continue;
        int fd = accept(s->listener, NULL, NULL);
        SSL *tls = SSL_new(s->context);
        SSL_set_fd(tls, fd);
        char in[8192];
        static const char ok[] = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";
        if (SSL_accept(tls) == 1 && SSL_read(tls, in, sizeof in) > 0) {
            s->served++;
            (void)SSL_write(tls, ok, sizeof ok - 1);
            (void)SSL_shutdown(tls);
        }
        SSL_free(tls);
        close(fd);
    }
    return NULL;
}

static void tls_start(tls_server *s, const tls_files *files, bool client_auth)
{
    memset(s, 0, sizeof *s);
    s->context = SSL_CTX_new(TLS_server_method());
    SSL_CTX_use_certificate_chain_file(s->context, files->server_cert);
    SSL_CTX_use_PrivateKey_file(s->context, files->server_key, SSL_FILETYPE_PEM);
    if (client_auth) {
        SSL_CTX_load_verify_locations(s->context, files->ca, NULL);
        SSL_CTX_set_verify(s->context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    }
    s->listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof address;
    if (bind(s->listener, (struct sockaddr *)&address, len) || listen(s->listener, 4) ||
        getsockname(s->listener, (struct sockaddr *)&address, &len))
        abort();
    s->port = ntohs(address.sin_port);
    signal(SIGPIPE, SIG_IGN);
    pthread_create(&s->thread, NULL, tls_run, s);
}

static void tls_stop(tls_server *s)
{
    s->stop = true;
    pthread_join(s->thread, NULL);
    close(s->listener);
    SSL_CTX_free(s->context);
}

static int https_once(const tls_files *files, bool client_auth, sl_exporter_spec spec, unsigned *served, said *errors)
{
    tls_server s;
    tls_start(&s, files, client_auth);
    sl_exporter e;
    spec.protocol = SL_OTLP_HTTP_PROTOBUF;
    int error = make(&spec, "https", "127.0.0.1", s.port, errors, &e);
    if (!error) {
        uint64_t retry_ms, rejected;
        error = deliver(&e, 3000, &retry_ms, &rejected);
        e.free(e.user);
    }
    tls_stop(&s);
    *served = s.served;
    return error;
}

SL_TEST(https)
{
    tls_files files;
    tls_files_make(&files);
    unsigned served;
    said errors = {""};
    sl_exporter_spec good = {.peer.ca_file = sl_str_c(files.ca)};
    CHECK_EQ(https_once(&files, false, good, &served, &errors), 0);
    CHECK_EQ(served, 1);
    CHECK_STR(sl_str_c(errors.last), "");
    sl_exporter_spec wrong = {.peer.ca_file = sl_str_c(files.other_ca)};
    CHECK_EQ(https_once(&files, false, wrong, &served, &errors), SL_ERETRY);
    CHECK_EQ(served, 0);
    CHECK(strstr(errors.last, "certificate is not trusted") != NULL);
    CHECK(strstr(errors.last, "OTEL_EXPORTER_OTLP_CERTIFICATE") != NULL);
    sl_exporter_spec system = {0};
    CHECK_EQ(https_once(&files, false, system, &served, &errors), SL_ERETRY);
    CHECK_EQ(served, 0);
    CHECK(https_once(&files, true, good, &served, &errors) != 0); /* no certificate of ours */
    good.peer.client_certificate_file = sl_str_c(files.client_cert);
    good.peer.client_key_file = sl_str_c(files.client_key);
    CHECK_EQ(https_once(&files, true, good, &served, &errors), 0);
    CHECK_EQ(served, 1);
    tls_files_remove(&files);
}

SL_TEST(https_certificates_with_one_fault)
{
    tls_files files;
    tls_files_make(&files);
    const struct {
        const char *cert, *why;
    } table[] = {{files.expired_cert, "certificate has expired"},
                 {files.early_cert, "certificate is not yet valid"},
                 {files.other_name_cert, "127.0.0.1"}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        tls_files bad = files;
        tls_use(bad.server_cert, table[i].cert);
        unsigned served;
        said errors = {""};
        sl_exporter_spec spec = {.peer.ca_file = sl_str_c(files.ca)};
        CHECK_EQ(https_once(&bad, false, spec, &served, &errors), SL_ERETRY);
        CHECK_EQ(served, 0);
        CHECK(strstr(errors.last, "certificate is not trusted") != NULL && strstr(errors.last, table[i].why) != NULL);
    }
    tls_files_remove(&files);
}

/* A key in the query of an endpoint is not said. */
SL_TEST(messages_name_the_peer_alone)
{
    use_curl(true);
    said errors = {""};
    sl_exporter_spec spec = {.protocol = SL_OTLP_HTTP_PROTOBUF};
    spec.kind = sl_exporter_kind_named(SL_STR("otlp"), SL_SIGNAL_TRACES);
    spec.peer.url = SL_STR("http://127.0.0.1:1/v1/traces?api_key=planted-secret");
    spec.reporter = sl_reporter_new(on_error, &errors, false);
    sl_exporter e;
    char why[256];
    REQUIRE(sl_exporter_make(&spec, &e, why, sizeof why) == 0);
    uint64_t retry_ms, rejected;
    CHECK_EQ(deliver(&e, 1000, &retry_ms, &rejected), SL_ERETRY);
    CHECK(strstr(errors.last, "127.0.0.1:1") != NULL && strstr(errors.last, "planted-secret") == NULL);
    e.free(e.user);
    sl_reporter_unref(spec.reporter);
    use_curl(false);
}

SL_TEST(answers_at_the_limit)
{
    enum { LIMIT = 4 << 20 };
    for (int more = 0; more < 2; more++) {
        char *answer = malloc(LIMIT + 256);
        int head = snprintf(answer, 256, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", LIMIT + more);
        memset(answer + head, 'x', (size_t)(LIMIT + more));
        answer[head + LIMIT + more] = 0;
        for (int curl = 0; curl < 2; curl++) {
            use_curl(curl);
            http_act act = {.answer = answer};
            http_server s;
            REQUIRE(http_start(&s, &act, 1, false));
            said errors = {""};
            sl_exporter_spec spec = {.protocol = SL_OTLP_HTTP_PROTOBUF};
            sl_exporter e;
            REQUIRE(make(&spec, "http", "127.0.0.1", s.port, &errors, &e) == 0);
            uint64_t retry_ms, rejected;
            CHECK_EQ(deliver(&e, 5000, &retry_ms, &rejected), more ? SL_ETOOBIG : 0);
            e.free(e.user);
            http_stop(&s);
        }
        free(answer);
    }
    use_curl(false);
}

SL_TEST(bad_options_fail_the_start)
{
    said errors = {""};
    sl_exporter e;
    sl_exporter_spec missing = {.protocol = SL_OTLP_HTTP_PROTOBUF, .peer.ca_file = SL_STR("/nonexistent/ca.pem")};
    CHECK_EQ(make(&missing, "https", "h", 1, &errors, &e), SL_ECONFIG);
    CHECK(strstr(errors.last, "/nonexistent/ca.pem") != NULL);
    sl_http_post_header header = {SL_STR("a"), SL_STR("b\r\nc: d")};
    sl_exporter_spec split = {.protocol = SL_OTLP_HTTP_PROTOBUF, .peer.headers = &header, .peer.header_count = 1};
    CHECK_EQ(make(&split, "https", "h", 1, &errors, &e), SL_ECONFIG);
}
