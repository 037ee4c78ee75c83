/* TLS for the gRPC client. */
#include "src/export/tls_client.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <stdio.h>

#include "src/base/assert.h"
#include "src/net/lite/tcp_connect.h"

static const unsigned char alpn_h2[] = {2, 'h', '2'};

static bool is_given(const char *path)
{
    return path && path[0];
}

/* Reason of the oldest error in OpenSSL's queue, which is emptied. */
static const char *ssl_reason(void)
{
    unsigned long code = ERR_get_error();
    ERR_clear_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;
    return reason ? reason : "unknown reason";
}

static int load_files(SSL_CTX *context, const sl_tls_files *files, char *why, size_t size)
{
    SL_ASSERT(files);
    const char *bad = NULL;
    if (is_given(files->ca)) {
        if (SSL_CTX_load_verify_locations(context, files->ca, NULL) != 1)
            bad = files->ca;
    } else if (SSL_CTX_set_default_verify_paths(context) != 1) {
        bad = "the system's certificate authorities";
    }
    if (!bad && is_given(files->certificate) && SSL_CTX_use_certificate_chain_file(context, files->certificate) != 1)
        bad = files->certificate;
    const char *key = is_given(files->key) ? files->key : files->certificate; /* both may lie in one file */
    if (!bad && is_given(key) && SSL_CTX_use_PrivateKey_file(context, key, SSL_FILETYPE_PEM) != 1)
        bad = key;
    if (!bad && is_given(files->certificate) && SSL_CTX_check_private_key(context) != 1)
        bad = files->certificate;
    if (!bad)
        return 0;
    (void)snprintf(why, size, "%s cannot be used: %s", bad, ssl_reason());
    return SL_ECONFIG;
}

int sl_tls_context_new(const sl_tls_files *files, SSL_CTX **ret_context, char *why, size_t size)
{
    SL_ASSERT(files && ret_context && why && size > 0);
    ERR_clear_error();
    SSL_CTX *context = SSL_CTX_new(TLS_client_method());
    if (!context)
        return SL_ENOMEM;
    (void)SSL_CTX_set_min_proto_version(context, TLS1_2_VERSION);
    (void)SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER, NULL);
    int error = SSL_CTX_set_alpn_protos(context, alpn_h2, sizeof alpn_h2) ? SL_ENOMEM : 0;
    if (!error)
        error = load_files(context, files, why, size);
    if (error) {
        SSL_CTX_free(context);
        return error;
    }
    *ret_context = context;
    return 0;
}

/* Which name or address the certificate must carry. */
static bool set_peer(SSL *tls, const char *host)
{
    unsigned char address[16];
    if (inet_pton(AF_INET, host, address) == 1 || inet_pton(AF_INET6, host, address) == 1)
        return X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(tls), host) == 1;
    return SSL_set1_host(tls, host) == 1 && SSL_set_tlsext_host_name(tls, host) == 1;
}

/* A failed handshake in words. */
static void explain(SSL *tls, const char *host, char *why, size_t size)
{
    long verified = SSL_get_verify_result(tls);
    unsigned long code = ERR_peek_error();
    if (verified != X509_V_OK)
        (void)snprintf(why, size,
                       "the certificate of %s is not trusted: %s (OTEL_EXPORTER_OTLP_CERTIFICATE names the CA)", host,
                       X509_verify_cert_error_string(verified));
    else if (ERR_GET_REASON(code) == SSL_R_WRONG_VERSION_NUMBER)
        (void)snprintf(why, size, "%s does not speak TLS; use http:// for a plain connection", host);
    else if (code)
        (void)snprintf(why, size, "TLS with %s failed: %s", host, ERR_reason_error_string(code));
    else
        (void)snprintf(why, size, "TLS with %s failed: the peer closed the connection", host);
    ERR_clear_error();
}

static int shake_hands(SSL *tls, int fd, const char *host, uint64_t deadline_ns, char *why, size_t size)
{
    for (;;) {
        ERR_clear_error();
        int result = SSL_connect(tls);
        if (result == 1)
            return 0;
        int wants = SSL_get_error(tls, result);
        if (wants != SSL_ERROR_WANT_READ && wants != SSL_ERROR_WANT_WRITE) {
            explain(tls, host, why, size);
            return SL_ETLS;
        }
        int error = sl_socket_wait(fd, wants == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, deadline_ns);
        if (error) {
            (void)snprintf(why, size, "TLS with %s: %s", host, sl_strerror(error));
            return error;
        }
    }
}

int sl_tls_connect(SSL_CTX *context, int fd, const char *host, uint64_t deadline_ns, SSL **ret_tls, char *why,
                   size_t size)
{
    SL_ASSERT(context && fd >= 0 && host && ret_tls);
    SSL *tls = SSL_new(context);
    if (!tls)
        return SL_ENOMEM;
    if (SSL_set_fd(tls, fd) != 1 || !set_peer(tls, host)) {
        SSL_free(tls);
        return SL_ENOMEM;
    }
    int error = shake_hands(tls, fd, host, deadline_ns, why, size);
    const unsigned char *protocol = NULL;
    unsigned len = 0;
    if (!error)
        SSL_get0_alpn_selected(tls, &protocol, &len);
    if (!error && (len != 2 || memcmp(protocol, "h2", 2) != 0)) {
        (void)snprintf(why, size, "%s does not offer HTTP/2 (ALPN h2), which gRPC needs", host);
        error = SL_ETLS;
    }
    if (error) {
        SSL_free(tls);
        return error;
    }
    *ret_tls = tls;
    return 0;
}
