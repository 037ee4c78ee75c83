/*
 * Exporters of spans that POST a format of their own: what jaeger and zipkin share. The OTLP request is transcoded,
 * one resource a request (an SDK has one), sent, and the answer judged by the rules of OTLP/HTTP: 429, 502, 503 and 504
 * are tried again, after Retry-After when it is given; any other status that is no success is final.
 *
 * A request of several resources that fails in the middle is sent again as a whole; both systems know a span by its id.
 * Spans without valid ids count as rejected.
 */
#ifndef SL_TELEMETRY_EXPORTER_POST_H
#define SL_TELEMETRY_EXPORTER_POST_H

#include "src/base/buf.h"
#include "src/telemetry/exporter_factory.h"

/* The format. Everything is static. */
typedef struct sl_post_format {
    const char *name; /* "jaeger", for messages and self-metrics */
    const char *content_type;
    /* One ResourceSpans message to one body: sl_otlp_to_jaeger, sl_otlp_to_zipkin. */
    int (*encode)(sl_str resource_spans, sl_buf *out, size_t *ret_written, size_t *ret_skipped);
} sl_post_format;

/* Makes an exporter of `spec->peer` and `spec->timeout_ms`. Errors: as sl_exporter_make_fn. */
SL_MUST_CHECK int sl_exporter_post_make(const sl_exporter_spec *spec, const sl_post_format *format,
                                        sl_exporter *ret_exporter, char *why, size_t size);

/*
 * The URL of an endpoint: `text` with http:// (`tls`: https://) where it has no scheme, and `path` where it has none.
 * An empty view without memory or when it is no http URL.
 */
sl_str sl_exporter_post_url(sl_arena *arena, sl_str text, bool tls, const char *path);

/* Reads the endpoint of a variable, `fallback` when it is unset or no URL (which is reported). Errors: SL_ENOMEM. */
SL_MUST_CHECK int sl_exporter_post_load_url(const sl_env *env, sl_arena *arena, sl_env_var var, const char *fallback,
                                            const char *path, sl_exporter_spec *spec);

/* Where a Jaeger collector takes Thrift. */
#define SL_JAEGER_PATH "/api/traces"
#define SL_JAEGER_ENDPOINT "http://localhost:14268" SL_JAEGER_PATH

#endif
