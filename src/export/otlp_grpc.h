/* The OTLP/gRPC exporter: h2c and TLS, mutual TLS, metadata, gzip. */
#ifndef SL_EXPORT_OTLP_GRPC_H
#define SL_EXPORT_OTLP_GRPC_H

#include "src/telemetry/exporter_factory.h"

/* Errors: SL_ECONFIG (`why` says what), SL_ENOMEM. */
SL_MUST_CHECK int sl_exporter_grpc(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why, size_t size);

#endif
