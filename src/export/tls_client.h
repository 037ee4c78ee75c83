/*
 * The client's side of TLS over a non-blocking socket, by OpenSSL: HTTP/2 by ALPN, the peer's certificate and name
 * verified always, own certificate on demand. Failures come with a sentence that names the peer and the remedy.
 */
#ifndef SL_EXPORT_TLS_CLIENT_H
#define SL_EXPORT_TLS_CLIENT_H

#include <openssl/ssl.h>

#include "src/base/str.h"

/* Files, PEM; NULL or "": the system's authorities, no own certificate. */
typedef struct sl_tls_files {
    const char *ca;
    const char *key;
    const char *certificate;
} sl_tls_files;

/* Errors: SL_ECONFIG (a file that cannot be used), SL_ENOMEM. The caller frees it by SSL_CTX_free. */
SL_MUST_CHECK int sl_tls_context_new(const sl_tls_files *files, SSL_CTX **ret_context, char *why, size_t size);
/*
 * Shakes hands on a connected socket, which stays the caller's. Errors: SL_ETLS (`why` says what), SL_ETIMEOUT,
 * SL_ENOMEM. The caller frees `*ret_tls` by SSL_free.
 */
SL_MUST_CHECK int sl_tls_connect(SSL_CTX *context, int fd, const char *host, uint64_t deadline_ns, SSL **ret_tls,
                                 char *why, size_t size);

#endif
