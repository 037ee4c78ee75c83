/*
 * What libraries add to the exporters: HTTP by libcurl, OTLP/gRPC by nghttp2 and OpenSSL. Its symbol is what the core
 * calls; libsightline-core.a has another of the same name. See src/telemetry/exporter_factory.h.
 */
#include "src/export/http_curl.h"
#include "src/export/otlp_grpc.h"

const sl_export_libraries *sl_export_factory(void)
{
    static const sl_export_libraries libraries = {sl_http_curl_new, sl_exporter_grpc};
    return &libraries;
}
