/*
 * The makers of exporters that need libraries: OTLP/HTTP by libcurl, OTLP/gRPC by nghttp2 and OpenSSL. Its symbol is
 * what the core calls; libsightline-core.a has another of the same name. See src/telemetry/exporter_factory.h.
 */
#include "src/base/assert.h"
#include "src/export/otlp_grpc.h"
#include "src/export/otlp_http.h"

static int make(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why, size_t size)
{
    SL_ASSERT(spec && ret_exporter && spec->type == SL_EXPORT_OTLP);
    if (spec->protocol == SL_OTLP_GRPC)
        return sl_exporter_grpc(spec, ret_exporter, why, size);
    return sl_exporter_curl(spec, ret_exporter, why, size);
}

sl_exporter_make_fn sl_export_factory(void)
{
    return make;
}
