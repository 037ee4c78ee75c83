/* The OTLP/HTTP exporter over libcurl: https, mutual TLS, gzip, proxies; protobuf or JSON. */
#ifndef SL_EXPORT_OTLP_HTTP_H
#define SL_EXPORT_OTLP_HTTP_H

#include "src/telemetry/exporter_factory.h"

/* Errors: SL_ECONFIG (`why` says what), SL_ENOMEM. */
SL_MUST_CHECK int sl_exporter_curl(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why, size_t size);

#endif
