/* The settings of OTLP exporters, and what LLAMA_DEPLOY_APISERVER_TRACING_* share with them. */
#ifndef SL_TELEMETRY_OTEL_CONFIG_OTLP_H
#define SL_TELEMETRY_OTEL_CONFIG_OTLP_H

#include "src/telemetry/exporter_factory.h"

/* Whether an endpoint for OTLP is set for this signal. */
bool sl_otlp_is_configured(const sl_env *env, sl_signal signal);

/* What all OTLP exporters of a signal share: all but endpoint and protocol. Errors: SL_ENOMEM. */
SL_MUST_CHECK int sl_otlp_load_common(const sl_env *env, sl_arena *arena, sl_exporter_spec *spec);

/* True for http://, https:// and bare HOST:PORT endpoints without white space. */
bool sl_otlp_endpoint_ok(sl_str url);
/* HOST:PORT of an endpoint. */
sl_str sl_otlp_authority(sl_str url);
bool sl_otlp_has_port(sl_str url, const char *port);
/* For gRPC: the path does not count; without a scheme, `insecure` decides. Empty without memory or when too long. */
sl_str sl_otlp_grpc_endpoint(sl_arena *arena, sl_str url, bool insecure);
/* For HTTP: a base gets the signal's path, an endpoint of one signal is taken as it is (only "" becomes "/"). */
sl_str sl_otlp_http_endpoint(sl_arena *arena, sl_str url, sl_signal signal, bool is_base);

#endif
