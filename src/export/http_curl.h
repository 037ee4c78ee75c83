/* The HTTP transport over libcurl: https, mutual TLS, gzip, proxies. */
#ifndef SL_EXPORT_HTTP_CURL_H
#define SL_EXPORT_HTTP_CURL_H

#include "src/telemetry/exporter_factory.h"

/* As sl_http_transport_new. Errors: SL_ECONFIG (`why` says what), SL_ENOMEM. */
SL_MUST_CHECK int sl_http_curl_new(const sl_http_peer *peer, sl_str content_type, sl_http_transport **ret_transport,
                                   char *why, size_t size);

#endif
