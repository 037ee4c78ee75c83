/*
 * The makers of exporters that need libraries: OTLP/HTTP by libcurl, OTLP/gRPC by nghttp2 and OpenSSL. Its symbol is what
 * the core calls; libsightline-core.a has another of the same name. See src/telemetry/exporter_factory.h.
 */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/telemetry/exporter_factory.h"

static int make(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why, size_t size)
{
    SL_ASSERT(spec && ret_exporter);
    (void)spec;
    (void)snprintf(why, size, "not built yet");
    return SL_ENOTSUP;
}

sl_exporter_make_fn sl_export_factory(void)
{
    return make;
}
