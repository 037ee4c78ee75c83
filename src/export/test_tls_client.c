/* Tests of TLS for the gRPC client: who is believed, and what people read when nobody is. */
#include "src/export/tls_client.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "src/base/clock.h"
#include "src/export/test_tls_files.h"
#include "tests/harness/sl_test.h"

typedef enum manner {
    SPEAKS_H2,
    SPEAKS_HTTP_1, /* takes ALPN, but not h2 */
    WITHOUT_ALPN,
    PLAIN,  /* answers the handshake with HTTP */
    LEAVES, /* closes upon the first bytes */
    SILENT, /* says nothing until the client goes */
    OLD     /* TLS 1.1 at most */
} manner;

typedef struct peer {
    int fd; /* the server's end of a pair of sockets */
    manner manner;
    const char *key, *cert;
    char asked_name[64]; /* SNI */
} peer;

static int choose(SSL *tls, const unsigned char **out, unsigned char *out_len, const unsigned char *in, unsigned len,
                  void *user)
{
    (void)tls;
    static const unsigned char h2[] = "\x02h2", http_1[] = "\x08http/1.1";
    const peer *p = user;
    const unsigned char *have = p->manner == SPEAKS_H2 ? h2 : http_1;
    int found = SSL_select_next_proto((unsigned char **)(uintptr_t)out, out_len, have, have[0] + 1u, in, len);
    if (found == OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_OK;
    static const unsigned char insists[] = "http/1.1"; /* though nobody offered it */
    *out = insists;
    *out_len = sizeof insists - 1;
    return SSL_TLSEXT_ERR_OK;
}

static void shake_hands(peer *p)
{
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    (void)SSL_CTX_use_certificate_chain_file(context, p->cert);
    (void)SSL_CTX_use_PrivateKey_file(context, p->key, SSL_FILETYPE_PEM);
    if (p->manner == SPEAKS_H2 || p->manner == SPEAKS_HTTP_1)
        SSL_CTX_set_alpn_select_cb(context, choose, p);
    if (p->manner == OLD)
        (void)SSL_CTX_set_max_proto_version(context, TLS1_1_VERSION);
    SSL *tls = SSL_new(context);
    (void)SSL_set_fd(tls, p->fd);
    char byte;
    if (SSL_accept(tls) == 1) {
        const char *name = SSL_get_servername(tls, TLSEXT_NAMETYPE_host_name);
        (void)snprintf(p->asked_name, sizeof p->asked_name, "%s", name ? name : "");
        (void)SSL_read(tls, &byte, 1);
    }
    SSL_free(tls);
    SSL_CTX_free(context);
}

static void *run(void *user)
{
    peer *p = user;
    char bytes[4096];
    if (p->manner == PLAIN || p->manner == LEAVES || p->manner == SILENT) {
        ssize_t got = read(p->fd, bytes, sizeof bytes);
        if (p->manner == PLAIN)
            (void)!write(p->fd, "HTTP/1.1 400 Bad Request\r\n\r\n", 28);
        while (p->manner == SILENT && got > 0)
            got = read(p->fd, bytes, sizeof bytes);
    } else {
        shake_hands(p);
    }
    close(p->fd);
    return NULL;
}

typedef struct seen {
    int error;
    char why[300];
    char asked_name[64];
} seen;

/* A handshake as `host` with a peer of that manner. */
static seen handshake(const tls_files *files, const char *ca, const char *host, manner how, const char *cert)
{
    int pair[2];
    pthread_t thread;
    seen result = {.error = 1};
    SSL_CTX *context = NULL;
    SSL *tls = NULL;
    (void)signal(SIGPIPE, SIG_IGN);
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) != 0)
        abort();
    peer p = {.fd = pair[1], .manner = how, .key = files->server_key, .cert = cert};
    if (pthread_create(&thread, NULL, run, &p) != 0)
        abort();
    (void)fcntl(pair[0], F_SETFL, O_NONBLOCK);
    sl_tls_files own = {.ca = ca};
    CHECK_EQ(sl_tls_context_new(&own, &context, result.why, sizeof result.why), 0);
    uint64_t patience_ms = how == SILENT ? 100 : 10000;
    result.error = sl_tls_connect(context, pair[0], host, sl_mono_ns() + patience_ms * 1000000u, &tls, result.why,
                                  sizeof result.why);
    CHECK_EQ(tls != NULL, result.error == 0);
    SSL_free(tls);
    close(pair[0]);
    (void)pthread_join(thread, NULL);
    (void)snprintf(result.asked_name, sizeof result.asked_name, "%s", p.asked_name);
    SSL_CTX_free(context);
    return result;
}

SL_TEST(handshakes)
{
    tls_files files;
    tls_files_make(&files);
    const struct {
        const char *ca, *host;
        manner how;
        const char *cert;
        int error;
        const char *why;
    } rows[] = {
        {files.ca, "localhost", SPEAKS_H2, files.server_cert, 0, ""},
        {files.ca, "127.0.0.1", SPEAKS_H2, files.server_cert, 0, ""},
        {files.ca, "::1", SPEAKS_H2, files.server_cert, SL_ETLS, "IP address mismatch"},
        {files.ca, "127.0.0.2", SPEAKS_H2, files.server_cert, SL_ETLS, "IP address mismatch"},
        {files.ca, "localhost.example", SPEAKS_H2, files.server_cert, SL_ETLS, "hostname mismatch"},
        {files.ca, "ocalhost", SPEAKS_H2, files.server_cert, SL_ETLS, "hostname mismatch"},
        {files.ca, "localhost", SPEAKS_H2, files.other_name_cert, SL_ETLS, "hostname mismatch"},
        {files.ca, "other.test", SPEAKS_H2, files.other_name_cert, 0, ""},
        {files.ca, "localhost", SPEAKS_H2, files.expired_cert, SL_ETLS, "expired"},
        {files.ca, "localhost", SPEAKS_H2, files.early_cert, SL_ETLS, "not yet valid"},
        {files.other_ca, "localhost", SPEAKS_H2, files.server_cert, SL_ETLS, "OTEL_EXPORTER_OTLP_CERTIFICATE"},
        {NULL, "localhost", SPEAKS_H2, files.server_cert, SL_ETLS, "the certificate of localhost is not trusted"},
        {"", "localhost", SPEAKS_H2, files.server_cert, SL_ETLS, "the certificate of localhost is not trusted"},
        {files.ca, "localhost", WITHOUT_ALPN, files.server_cert, SL_ETLS, "does not offer HTTP/2 (ALPN h2)"},
        {files.ca, "localhost", SPEAKS_HTTP_1, files.server_cert, SL_ETLS, "localhost"},
        {files.ca, "localhost", PLAIN, files.server_cert, SL_ETLS, "does not speak TLS; use http://"},
        {files.ca, "localhost", LEAVES, files.server_cert, SL_ETLS, "TLS with localhost failed"},
        {files.ca, "localhost", SILENT, files.server_cert, SL_ETIMEOUT, "TLS with localhost: "},
        {files.ca, "localhost", OLD, files.server_cert, SL_ETLS, "TLS with localhost failed"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        seen s = handshake(&files, rows[i].ca, rows[i].host, rows[i].how, rows[i].cert);
        if (s.error != rows[i].error || !strstr(s.why, rows[i].why))
            sl_test_failed(__FILE__, __LINE__, "row %zu: %d, \"%s\"", i, s.error, s.why);
        CHECK_EQ(ERR_peek_error(), 0); /* nothing is left for whoever uses OpenSSL next */
    }
    tls_files_remove(&files);
}

/* Addresses are no names: SNI must not carry them (RFC 6066, 3). */
SL_TEST(the_name_asked_for)
{
    tls_files files;
    tls_files_make(&files);
    seen s = handshake(&files, files.ca, "localhost", SPEAKS_H2, files.server_cert);
    CHECK_STR(sl_str_c(s.asked_name), "localhost");
    s = handshake(&files, files.ca, "127.0.0.1", SPEAKS_H2, files.server_cert);
    CHECK_STR(sl_str_c(s.asked_name), "");
    tls_files_remove(&files);
}

SL_TEST(files_that_can_and_cannot_be_used)
{
    tls_files files;
    tls_files_make(&files);
    char both[96], empty[96], folder[96];
    tls_path(&files, both, "both.pem");
    tls_path(&files, empty, "empty.pem");
    (void)snprintf(folder, sizeof folder, "%s", files.folder);
    FILE *out = fopen(both, "w"), *in;
    const char *parts[] = {files.client_cert, files.client_key};
    REQUIRE(out != NULL);
    for (size_t i = 0; i < 2; i++) {
        int c;
        in = fopen(parts[i], "r");
        while (in && (c = fgetc(in)) != EOF)
            (void)fputc(c, out);
        if (in)
            (void)fclose(in);
    }
    (void)fclose(out);
    out = fopen(empty, "w");
    (void)fclose(out);
    const struct {
        sl_tls_files files;
        const char *bad; /* the file that the message names; NULL: all is well */
    } rows[] = {
        {{NULL, NULL, NULL}, NULL},
        {{"", "", ""}, NULL},
        {{files.ca, NULL, NULL}, NULL},
        {{files.ca, files.client_key, files.client_cert}, NULL},
        {{files.ca, NULL, both}, NULL}, /* both in one file */
        {{files.ca, both, both}, NULL},
        {{"/nonexistent/ca.pem", NULL, NULL}, "/nonexistent/ca.pem"},
        {{empty, NULL, NULL}, empty},
        {{folder, NULL, NULL}, folder},
        {{files.server_key, NULL, NULL}, files.server_key}, /* a key is no authority */
        {{files.ca, files.client_key, "/nonexistent/cert.pem"}, "/nonexistent/cert.pem"},
        {{files.ca, "/nonexistent/key.pem", files.client_cert}, "/nonexistent/key.pem"},
        {{files.ca, NULL, files.client_cert}, files.client_cert}, /* no key in it */
        {{files.ca, files.client_cert, files.client_cert}, files.client_cert},
        {{files.ca, empty, files.client_cert}, empty},
        {{files.ca, files.client_key, empty}, empty},
        {{files.ca, files.server_key, files.client_cert}, files.server_key}, /* of another pair */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        SSL_CTX *context = NULL;
        char why[300] = "";
        int error = sl_tls_context_new(&rows[i].files, &context, why, sizeof why);
        bool right = rows[i].bad ? error == SL_ECONFIG && !context && strstr(why, rows[i].bad) == why &&
                                       strstr(why, "cannot be used: ")
                                 : error == 0 && context && !why[0];
        if (!right)
            sl_test_failed(__FILE__, __LINE__, "row %zu: %d, \"%s\"", i, error, why);
        CHECK_EQ(ERR_peek_error(), 0);
        SSL_CTX_free(context);
    }
    unlink(both);
    unlink(empty);
    tls_files_remove(&files);
}
