/*
 * HTTP for exporters: POST to one URL, over whatever that takes. Plain http:// needs libc alone; https, gzip and
 * proxies need src/export. An exporter over HTTP sees this interface, and encodes and judges.
 */
#ifndef SL_TELEMETRY_HTTP_TRANSPORT_H
#define SL_TELEMETRY_HTTP_TRANSPORT_H

#include "src/net/lite/http_post.h"

#define SL_MAX_EXPORTER_HEADERS 64

/* Where to, and how. All views are NUL-terminated. */
typedef struct sl_http_peer {
    sl_str url;
    const sl_http_post_header *headers; /* names in lower case */
    size_t header_count;
    bool gzip;
    sl_str ca_file; /* empty: the system's */
    sl_str client_key_file;
    sl_str client_certificate_file;
} sl_http_peer;

typedef struct sl_http_transport sl_http_transport;
struct sl_http_transport {
    /*
     * Sends a body and waits for the answer, whose views are valid until the next call. `timeout_ms` is not 0. Errors:
     * SL_ERETRY (nobody answered: it may be sent again), others (it may not).
     */
    int (*send)(sl_http_transport *self, sl_str body, uint64_t timeout_ms, sl_http_answer *ret_answer);
    /* What went wrong last, for people; with the peer's name, never NULL. */
    const char *(*error)(const sl_http_transport *self);
    void (*free)(sl_http_transport *self);
};

/* Makes a transport; copies what it keeps. Errors: SL_ECONFIG, SL_ENOTSUP (`why` says what), SL_ENOMEM. */
typedef int (*sl_http_transport_new_fn)(const sl_http_peer *peer, sl_str content_type,
                                        sl_http_transport **ret_transport, char *why, size_t size);

/* The one that the peer needs. */
SL_MUST_CHECK int sl_http_transport_new(const sl_http_peer *peer, sl_str content_type,
                                        sl_http_transport **ret_transport, char *why, size_t size);
/* NULL is accepted. */
void sl_http_transport_free(sl_http_transport *transport);

/* "OTel-OTLP-Exporter-C/VERSION". Static. */
const char *sl_exporter_user_agent(void);

#endif
