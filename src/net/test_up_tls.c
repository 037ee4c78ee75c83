/*
 * TLS to upstreams: names and addresses, resumption, what cannot be trusted, how answers and connections end, calls
 * that pause, requests that the server is slow to read.
 */
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include "src/net/test_upstream_fixture.h"

typedef enum tls_manner {
    ANSWERS,      /* what `answer` says, on and on */
    ENDS,         /* answers once, says goodbye */
    BREAKS,       /* answers once, closes without a goodbye */
    TALKS_ON,     /* answers, and after a while sends what nobody asked for */
    READS_LATE,   /* does nothing for a while, then reads `expected` bytes and answers */
    STOPS_READING /* closes after the first bytes of the request, unread ones in its socket */
} tls_manner;

typedef struct tls_site {
    nf_server server;
    SSL_CTX *ctx;
    char ca_file[64];
    _Atomic int resumed;
    _Atomic int handshakes;
    _Atomic size_t read_bytes;
    tls_manner manner;
    sl_str answer;
    size_t expected;     /* bytes of a request */
    size_t first_record; /* of the answer; 0: as OpenSSL cuts it */
} tls_site;

static X509 *make_certificate(EVP_PKEY *key, const char *names)
{
    X509 *cert = X509_new();
    X509V3_CTX v3;
    (void)X509_set_version(cert, 2);
    (void)ASN1_INTEGER_set(X509_get_serialNumber(cert), 1);
    (void)X509_gmtime_adj(X509_getm_notBefore(cert), -3600);
    (void)X509_gmtime_adj(X509_getm_notAfter(cert), 3600);
    (void)X509_set_pubkey(cert, key);
    X509_NAME *name = X509_get_subject_name(cert);
    (void)X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_ASC, (const unsigned char *)"test", -1, -1, 0);
    (void)X509_set_issuer_name(cert, name);
    X509V3_set_ctx_nodb(&v3);
    X509V3_set_ctx(&v3, cert, cert, NULL, NULL, 0);
    X509_EXTENSION *san = X509V3_EXT_conf_nid(NULL, &v3, NID_subject_alt_name, names);
    X509_EXTENSION *ca = X509V3_EXT_conf_nid(NULL, &v3, NID_basic_constraints, "critical,CA:TRUE");
    (void)X509_add_ext(cert, san, -1);
    (void)X509_add_ext(cert, ca, -1);
    X509_EXTENSION_free(san);
    X509_EXTENSION_free(ca);
    (void)X509_sign(cert, key, EVP_sha256());
    return cert;
}

/* All of `text`, over as many records as it takes. */
static bool write_all(SSL *ssl, sl_str text)
{
    while (text.len > 0) {
        int n = SSL_write(ssl, text.ptr, text.len > 1 << 20 ? 1 << 20 : (int)text.len);
        if (n <= 0)
            return false;
        text = sl_str_sub(text, (size_t)n, text.len);
    }
    return true;
}

static void talk(tls_site *site, SSL *ssl)
{
    char bytes[16384];
    size_t got = 0;
    int n;
    if (site->manner == READS_LATE)
        nf_sleep_ms(150);
    while ((n = SSL_read(ssl, bytes, sizeof bytes)) > 0) {
        got += (size_t)n;
        site->read_bytes += (size_t)n;
        if (site->manner == STOPS_READING)
            return;
        if (got < site->expected)
            continue;
        got = 0;
        if (!write_all(ssl, sl_str_sub(site->answer, 0, site->first_record)) ||
            !write_all(ssl, sl_str_sub(site->answer, site->first_record, site->answer.len)) || site->manner == BREAKS)
            return;
        if (site->manner == ENDS) {
            (void)SSL_shutdown(ssl);
            return;
        }
        if (site->manner == TALKS_ON) {
            nf_sleep_ms(30);
            (void)write_all(ssl, SL_STR("HTTP/1.1 200 OK\r\n"));
        }
    }
}

static void serve_tls(nf_server *server, int fd, int number)
{
    tls_site *site = server->user;
    SSL *ssl = SSL_new(site->ctx);
    (void)number;
    (void)SSL_set_fd(ssl, fd);
    if (SSL_accept(ssl) == 1) {
        site->handshakes++;
        if (SSL_session_reused(ssl))
            site->resumed++;
        talk(site, ssl);
    }
    SSL_free(ssl);
}

static tls_site *tls_start_as(const char *names, tls_manner manner, sl_str answer)
{
    tls_site *site = calloc(1, sizeof *site);
    site->manner = manner;
    site->answer = answer;
    EVP_PKEY *key = EVP_EC_gen("P-256");
    X509 *cert = make_certificate(key, names);
    site->ctx = SSL_CTX_new(TLS_server_method());
    (void)SSL_CTX_use_certificate(site->ctx, cert);
    (void)SSL_CTX_use_PrivateKey(site->ctx, key);
    (void)SSL_CTX_set_session_id_context(site->ctx, (const unsigned char *)"t", 1);
    (void)snprintf(site->ca_file, sizeof site->ca_file, "/tmp/sightline-test-ca-XXXXXX");
    int fd = mkstemp(site->ca_file);
    FILE *file = fdopen(fd, "w");
    (void)PEM_write_X509(file, cert);
    (void)fclose(file);
    X509_free(cert);
    EVP_PKEY_free(key);
    nf_server_start(&site->server, serve_tls, site);
    return site;
}

static tls_site *tls_start(const char *names)
{
    return tls_start_as(names, ANSWERS, SL_STR(ANSWER));
}

static void tls_stop(tls_site *site)
{
    nf_server_stop(&site->server);
    SSL_CTX_free(site->ctx);
    (void)unlink(site->ca_file);
    free(site);
}

SL_TEST(tls_to_a_name_and_to_an_address)
{
    static const char *const hosts[] = {"localhost", "127.0.0.1"};
    for (size_t i = 0; i < 2; i++) {
        tls_site *site = tls_start("DNS:localhost,IP:127.0.0.1");
        client *c = client_new(hosts[i], site->server.port, true, site->ca_file, NULL);
        for (int n = 0; n < 3; n++) {
            asked a = {.status = 0};
            ask(c, &a);
            CHECK_EQ(a.status, 200);
            CHECK_STR_EQ(sl_buf_str(&a.body), SL_STR("hello"));
            CHECK_EQ(a.call.reused, n > 0);
            sl_buf_done(&a.body);
        }
        CHECK_EQ(site->handshakes, 1);
        client_free(c);
        tls_stop(site);
    }
}

SL_TEST(tls_sessions_are_resumed)
{
    tls_site *site = tls_start("DNS:localhost,IP:127.0.0.1");
    client *c = client_new("127.0.0.1", site->server.port, true, site->ca_file, &(sl_upstream_options){.max_idle = 1});
    asked first = {.status = 0};
    ask(c, &first);
    sl_buf_done(&first.body);
    asked pair[2];
    memset(pair, 0, sizeof pair);
    start(c, &pair[0]); /* on the idle connection */
    start(c, &pair[1]); /* on a new one, with the session of the first */
    for (int i = 0; i < 2; i++) {
        run_until_over(c, &pair[i]);
        CHECK_EQ(pair[i].status, 200);
        sl_buf_done(&pair[i].body);
    }
    CHECK_EQ(site->handshakes, 2);
    CHECK_EQ(site->resumed, 1);
    client_free(c);
    tls_stop(site);
}

SL_TEST(tls_refuses_what_it_cannot_trust)
{
    tls_site *site = tls_start("DNS:other.example,IP:127.0.0.2");
    client *c = client_new("localhost", site->server.port, true, site->ca_file, NULL);
    asked a = {.status = 0};
    ask(c, &a); /* another name */
    CHECK_EQ(a.error, SL_ETLS);
    CHECK(strstr(a.reason, "hostname mismatch") != NULL);
    client_free(c);
    c = client_new("127.0.0.1", site->server.port, true, site->ca_file, NULL);
    asked b = {.status = 0};
    ask(c, &b); /* another address */
    CHECK_EQ(b.error, SL_ETLS);
    client_free(c);
    tls_stop(site);
    site = tls_start("DNS:localhost");
    c = client_new("localhost", site->server.port, true, NULL, NULL);
    asked d = {.status = 0};
    ask(c, &d); /* nobody we know */
    CHECK_EQ(d.error, SL_ETLS);
    CHECK(strstr(d.reason, "self-signed") != NULL || strstr(d.reason, "self signed") != NULL);
    client_free(c);
    tls_stop(site);
}

SL_TEST(tls_to_something_else)
{
    nf_server s;
    asked a = {.status = 0};
    a.call.connect_timeout_ms = 500;
    client *c = client_asking(&s, serve_once, "HTTP/1.1 400 Bad Request\r\n\r\n", true, NULL, &a);
    CHECK(a.error == SL_ETLS || a.error == SL_ETIMEOUT);
    client_free(c);
    nf_server_stop(&s);
}

/* ---- how it ends ---- */

static client *client_of(const tls_site *site)
{
    return client_new("127.0.0.1", site->server.port, true, site->ca_file, NULL);
}

#define LOCAL "DNS:localhost,IP:127.0.0.1"

/* What ends with the connection is whole only after a goodbye: anybody on the way can cut a connection. */
SL_TEST(an_answer_that_the_connection_ends_needs_a_goodbye)
{
    static const struct {
        tls_manner manner;
        const char *answer;
        int error;
    } rows[] = {
        {ENDS, "HTTP/1.1 200 OK\r\n\r\nhello", 0},
        {BREAKS, "HTTP/1.1 200 OK\r\n\r\nhello", SL_ECLOSED},
        {ENDS, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 0},
        {BREAKS, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 0},
        {ENDS, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", SL_ECLOSED},
        {BREAKS, "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", SL_ECLOSED},
        {ENDS, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", SL_ECLOSED},
        {BREAKS, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n", 0},
        {ENDS, "HTTP/1.1 200 O", SL_ECLOSED},
        {BREAKS, "", SL_ECLOSED},
        {ENDS, "SSH-2.0\r\n\r\n", SL_EPROTO},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        tls_site *site = tls_start_as(LOCAL, rows[i].manner, sl_str_c(rows[i].answer));
        client *c = client_of(site);
        asked a = {.status = 0};
        ask(c, &a);
        if (a.error != rows[i].error)
            sl_test_failed(__FILE__, __LINE__, "row %zu: %d (%s)", i, a.error, a.reason);
        if (!rows[i].error)
            CHECK_STR(sl_buf_str(&a.body), "hello");
        CHECK_EQ(a.call.sends, 1);
        sl_buf_done(&a.body);
        client_free(c);
        tls_stop(site);
    }
}

SL_TEST(a_pooled_connection_that_said_goodbye_is_replaced)
{
    tls_site *site = tls_start_as(LOCAL, ENDS, SL_STR(ANSWER));
    client *c = client_of(site);
    for (int n = 0; n < 3; n++) {
        asked a = {.status = 0};
        ask(c, &a);
        CHECK_EQ(a.status, 200);
        CHECK_EQ(a.error, 0);
        sl_buf_done(&a.body);
        for (int i = 0; i < 20; i++) { /* the goodbye comes */
            (void)uv_run(&c->loop.uv, UV_RUN_NOWAIT);
            nf_sleep_ms(2);
        }
    }
    sl_origin_stats stats;
    sl_origin_get_stats(c->origin, &stats);
    CHECK_EQ(stats.opened, 3);
    CHECK_EQ(stats.idle, 0);
    CHECK_EQ(site->handshakes, 3);
    client_free(c);
    tls_stop(site);
}

SL_TEST(bytes_that_nobody_asked_for_end_an_idle_connection)
{
    tls_site *site = tls_start_as(LOCAL, TALKS_ON, SL_STR(ANSWER));
    client *c = client_of(site);
    asked a = {.status = 0};
    ask(c, &a);
    CHECK_EQ(a.status, 200);
    sl_buf_done(&a.body);
    sl_origin_stats stats;
    sl_origin_get_stats(c->origin, &stats);
    CHECK_EQ(stats.idle, 1);
    for (int i = 0; i < 2000 && stats.idle > 0; i++) {
        (void)uv_run(&c->loop.uv, UV_RUN_NOWAIT);
        nf_sleep_ms(2);
        sl_origin_get_stats(c->origin, &stats);
    }
    CHECK_EQ(stats.idle, 0); /* they would have been the next answer */
    asked b = {.status = 0};
    ask(c, &b);
    CHECK_EQ(b.status, 200);
    CHECK(!b.call.reused);
    sl_buf_done(&b.body);
    client_free(c);
    tls_stop(site);
}

/* ---- what takes its time ---- */

enum { BIG = 3 << 20 };

/* An answer with BIG bytes, each telling where it stands. */
static char *big_answer(size_t *ret_len, bool sized)
{
    char *big = malloc(BIG + 128);
    int head = sized ? sprintf(big, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n", BIG)
                     : sprintf(big, "HTTP/1.1 200 OK\r\n\r\n");
    for (int i = 0; i < BIG; i++)
        big[head + i] = (char)('a' + i % 23);
    *ret_len = (size_t)head + BIG;
    return big;
}

static bool is_big(sl_str body)
{
    bool same = body.len == BIG;
    for (size_t i = 0; same && i < body.len; i++)
        same = body.ptr[i] == (char)('a' + i % 23);
    return same;
}

static void let_run(client *c, unsigned ms)
{
    for (unsigned i = 0; i < ms / 2; i++) {
        (void)uv_run(&c->loop.uv, UV_RUN_NOWAIT);
        nf_sleep_ms(2);
    }
}

/* Part of what came is in OpenSSL's buffer then, and no event of the socket tells of it. */
SL_TEST(a_paused_call_reads_nothing_and_loses_nothing)
{
    for (int sized = 0; sized < 2; sized++) {
        size_t len;
        char *big = big_answer(&len, sized);
        tls_site *site = tls_start_as(LOCAL, sized ? ANSWERS : ENDS, sl_str_of(big, len));
        client *c = client_of(site);
        asked a = {.pause_at_head = true};
        start(c, &a);
        let_run(c, 200);
        CHECK_EQ(a.reads, 1);
        CHECK(a.body.len <= SL_LOOP_READ_BYTES);
        for (int i = 0; i < 5; i++) { /* in small steps */
            unsigned before = a.reads;
            sl_call_pause(&a.call, false);
            while (a.reads == before && !a.over)
                (void)uv_run(&c->loop.uv, UV_RUN_ONCE);
            sl_call_pause(&a.call, true);
            size_t seen = a.body.len;
            let_run(c, 20);
            CHECK_EQ(a.body.len, seen);
        }
        sl_call_pause(&a.call, false);
        run_until_over(c, &a);
        CHECK_EQ(a.error, 0);
        CHECK(is_big(sl_buf_str(&a.body)));
        sl_buf_done(&a.body);
        client_free(c);
        tls_stop(site);
        free(big);
    }
}

/* All has come, the rest is in OpenSSL's buffer: the socket will never tell of anything again. */
SL_TEST(a_resumed_call_reads_what_is_buffered)
{
    enum { FIRST = 1000, RECORD = 16384, LEN = FIRST + 4 * RECORD }; /* the last record goes over the loop's buffer */
    char *text = malloc(LEN + 1);
    int head = sprintf(text, "HTTP/1.1 200 OK\r\nContent-Length: 66494\r\n\r\n");
    CHECK_EQ(head + 66494, LEN);
    memset(text + head, 'x', 66494);
    tls_site *site = tls_start_as(LOCAL, ANSWERS, sl_str_of(text, LEN));
    site->first_record = FIRST;
    client *c = client_of(site);
    asked a = {.pause_at_head = true};
    start(c, &a);
    while (a.call.phase < SL_CALL_WAIT)
        (void)uv_run(&c->loop.uv, UV_RUN_ONCE);
    nf_sleep_ms(100); /* it all comes */
    let_run(c, 20);
    CHECK_EQ(a.reads, 1);
    CHECK(!a.over);
    sl_call_pause(&a.call, false);
    for (int i = 0; i < 100 && !a.over; i++)
        let_run(c, 20);
    CHECK(a.over);
    CHECK_EQ(a.body.len, 66494);
    sl_call_cancel(&a.call);
    sl_buf_done(&a.body);
    client_free(c);
    tls_stop(site);
    free(text);
}

SL_TEST(a_paused_call_may_be_cancelled)
{
    size_t len;
    char *big = big_answer(&len, true);
    tls_site *site = tls_start_as(LOCAL, ANSWERS, sl_str_of(big, len));
    client *c = client_of(site);
    asked a = {.pause_at_head = true};
    start(c, &a);
    let_run(c, 50);
    sl_call_pause(&a.call, false); /* what is buffered is due */
    sl_call_cancel(&a.call);
    let_run(c, 20);
    CHECK(!a.over);
    sl_origin_stats stats;
    sl_origin_get_stats(c->origin, &stats);
    CHECK_EQ(stats.active + stats.idle, 0);
    sl_buf_done(&a.body);
    client_free(c);
    tls_stop(site);
    free(big);
}

/* A request of a head and BIG bytes. */
static void start_big(client *c, asked *a, char *head, size_t head_size, const char *body)
{
    (void)snprintf(head, head_size, "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: %d\r\n\r\n", BIG);
    sl_buf_init(&a->body, 1024);
    a->call.handler = &handler;
    a->call.user = a;
    a->call.pieces[0] = sl_str_c(head);
    a->call.pieces[1] = sl_str_of(body, BIG);
    a->call.piece_count = 2;
    sl_call_start(&a->call, c->origin);
}

SL_TEST(a_large_request_waits_for_a_slow_server)
{
    char head[128];
    char *body = calloc(1, BIG);
    tls_site *site = tls_start_as(LOCAL, READS_LATE, SL_STR(ANSWER));
    client *c = client_of(site);
    for (int n = 0; n < 2; n++) {
        asked a = {.status = 0};
        site->read_bytes = 0;
        site->expected = sizeof "POST /x HTTP/1.1\r\nHost: h\r\nContent-Length: 3145728\r\n\r\n" - 1 + BIG;
        start_big(c, &a, head, sizeof head, body);
        run_until_over(c, &a);
        CHECK_EQ(a.status, 200);
        CHECK_EQ(a.error, 0);
        CHECK_EQ(a.call.reused, n);
        CHECK_EQ(site->read_bytes, site->expected);
        sl_buf_done(&a.body);
    }
    client_free(c);
    tls_stop(site);
    free(body);
}

/* The answer comes while the request is still on its way: it counts, the connection does not serve again. */
SL_TEST(an_answer_before_the_whole_request)
{
    char head[128];
    char *body = calloc(1, BIG);
    tls_site *site = tls_start_as(LOCAL, ANSWERS, SL_STR("HTTP/1.1 413 No\r\nContent-Length: 5\r\n\r\nhello"));
    site->expected = 100;
    site->manner = ENDS;
    client *c = client_of(site);
    asked a = {.status = 0};
    start_big(c, &a, head, sizeof head, body);
    run_until_over(c, &a);
    CHECK(a.status == 413 ||
          a.error == SL_ECLOSED); /* closing with bytes unread, the kernel may take the answer back */
    sl_origin_stats stats;
    sl_origin_get_stats(c->origin, &stats);
    CHECK_EQ(stats.idle, 0);
    sl_buf_done(&a.body);
    client_free(c);
    tls_stop(site);
    free(body);
}

SL_TEST(a_server_that_stops_reading_fails_the_call)
{
    char head[128];
    char *body = calloc(1, BIG);
    tls_site *site = tls_start_as(LOCAL, STOPS_READING, SL_STR(""));
    client *c = client_of(site);
    asked a = {.status = 0};
    start_big(c, &a, head, sizeof head, body);
    run_until_over(c, &a);
    CHECK_EQ(a.error, SL_ECLOSED);
    CHECK(strstr(a.reason, "before it answered") != NULL);
    sl_buf_done(&a.body);
    client_free(c);
    tls_stop(site);
    free(body);
}

/* ---- handshakes ---- */

/* Accepts, and answers nothing until the client goes. */
static void say_nothing(nf_server *server, int fd, int number)
{
    char bytes[512];
    (void)server;
    (void)number;
    while (read(fd, bytes, sizeof bytes) > 0)
        ;
}

/* Takes the first bytes of a handshake and leaves. */
static void leave(nf_server *server, int fd, int number)
{
    char bytes[4096];
    (void)number;
    server->requests++;
    (void)!read(fd, bytes, sizeof bytes);
}

SL_TEST(a_handshake_that_does_not_come_about)
{
    static const struct {
        void (*serve)(nf_server *, int, int);
        int error;
        const char *reason;
    } rows[] = {
        {say_nothing, SL_ETIMEOUT, ""},
        {leave, SL_ETLS, "TLS with 127.0.0.1 failed"},
        {hang_up, SL_ETIMEOUT, ""}, /* waits for a head of HTTP that never ends */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        nf_server s;
        asked a = {.call = {.connect_timeout_ms = 200}};
        client *c = client_asking(&s, rows[i].serve, NULL, true, NULL, &a);
        if (a.error != rows[i].error || !strstr(a.reason, rows[i].reason))
            sl_test_failed(__FILE__, __LINE__, "row %zu: %d (%s)", i, a.error, a.reason);
        CHECK_EQ(a.call.sends, 0);
        client_asked(c, &a, &s);
    }
}

SL_TEST(a_call_may_be_cancelled_within_its_handshake)
{
    nf_server s;
    nf_server_start(&s, say_nothing, NULL);
    client *c = client_new("127.0.0.1", s.port, true, NULL, NULL);
    asked a = {.status = 0}, b = {.status = 0};
    start(c, &a);
    sl_call_cancel(&a.call); /* before the connection stands */
    start(c, &b);
    uint64_t end = sl_mono_ns() + (uint64_t)NF_PATIENCE_MS * 1000000;
    while (b.call.phase != SL_CALL_TLS && sl_mono_ns() < end)
        (void)uv_run(&c->loop.uv, UV_RUN_ONCE);
    CHECK_EQ(b.call.phase, SL_CALL_TLS);
    sl_call_cancel(&b.call);
    let_run(c, 10);
    CHECK(!a.over && !b.over);
    sl_buf_done(&a.body);
    sl_buf_done(&b.body);
    client_free(c);
    nf_server_stop(&s);
}

SL_TEST(nobody_listens)
{
    uint16_t port;
    int fd = nf_listen(&port);
    close(fd);
    client *c = client_new("127.0.0.1", port, true, NULL, NULL);
    asked a = {.status = 0};
    ask(c, &a);
    CHECK_EQ(a.error, SL_ECONNECT);
    CHECK(strstr(a.reason, "cannot connect to 127.0.0.1 port") != NULL);
    CHECK(strstr(a.reason, "refused") != NULL);
    sl_buf_done(&a.body);
    client_free(c);
}

/* Who says so takes any certificate: test systems have such. */
SL_TEST(an_insecure_origin_trusts_anybody)
{
    static const char *const hosts[] = {"127.0.0.1", "localhost"};
    tls_site *site = tls_start("DNS:other.example,IP:127.0.0.2");
    client *c = client_new("127.0.0.1", 1, false, NULL, NULL);
    for (size_t i = 0; i < 2; i++) {
        sl_origin_options o = {
            .host = sl_str_c(hosts[i]), .port = site->server.port, .tls = true, .tls_insecure = true};
        CHECK_EQ(sl_upstream_origin(c->upstream, &o, &c->origin), 0);
        asked a = {.status = 0};
        ask(c, &a);
        CHECK_EQ(a.error, 0);
        CHECK_EQ(a.status, 200);
        sl_buf_done(&a.body);
        /* The same host without that is another origin, and refused. */
        o.tls_insecure = false;
        CHECK_EQ(sl_upstream_origin(c->upstream, &o, &c->origin), 0);
        asked b = {.status = 0};
        ask(c, &b);
        CHECK_EQ(b.error, SL_ETLS);
        sl_buf_done(&b.body);
    }
    client_free(c);
    tls_stop(site);
}

/* ---- without memory ---- */

static void nothing(uv_async_t *async)
{
    (void)async;
}

static bool no_memory_at(tls_site *site, long nth, bool *ret_failed)
{
    client *c = client_of(site);
    uv_async_t listener; /* timers alone do not keep a loop going */
    CHECK_EQ(uv_async_init(&c->loop.uv, &listener, nothing), 0);
    sl_test_fail_alloc(nth);
    asked a = {.status = 0};
    ask(c, &a);
    *ret_failed = sl_test_alloc_failed();
    sl_test_fail_alloc(-1);
    bool sound = a.error ? a.error == SL_ENOMEM || a.error == SL_ECONNECT || a.error == SL_EPROTO : a.status == 200;
    sl_buf_done(&a.body);
    asked again = {.status = 0}; /* and the next call is served */
    ask(c, &again);
    sound = sound && again.status == 200;
    sl_buf_done(&again.body);
    uv_close((uv_handle_t *)&listener, NULL);
    client_free(c);
    return sound;
}

SL_TEST(each_allocation_failing_in_turn)
{
    tls_site *site = tls_start(LOCAL);
    bool failed = true;
    for (long nth = 0; failed && nth < 40; nth++) {
        if (!no_memory_at(site, nth, &failed))
            sl_test_failed(__FILE__, __LINE__, "allocation %ld", nth);
    }
    CHECK(!failed);
    tls_stop(site);
}
