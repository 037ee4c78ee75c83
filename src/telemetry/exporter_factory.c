/* Choosing the maker of an exporter. */
#include "src/telemetry/exporter_factory.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/str.h"

/* A proxy is set; libcurl reads these variables, and judges by no_proxy whether it applies. */
static bool has_proxy(void)
{
    static const char *const names[] = {"http_proxy", "all_proxy", "ALL_PROXY"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = getenv(names[i]);
        if (value && value[0])
            return true;
    }
    return false;
}

/* What the core can do by itself: protobuf or JSON over http://, as it is. */
static bool is_lite(const sl_exporter_spec *spec)
{
    if (has_proxy() && sl_export_factory())
        return false;
    return spec->protocol != SL_OTLP_GRPC && !spec->gzip && sl_str_starts(spec->endpoint, SL_STR("http://"));
}

int sl_exporter_make(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why, size_t size)
{
    SL_ASSERT(spec && ret_exporter && why && size > 0);
    why[0] = 0;
    if (spec->type == SL_EXPORT_CONSOLE)
        return sl_exporter_console(spec, ret_exporter);
    if (spec->type == SL_EXPORT_STDOUT || spec->type == SL_EXPORT_FILE)
        return sl_exporter_file(spec, ret_exporter, why, size);
    SL_ASSERT(spec->type == SL_EXPORT_OTLP);
    if (is_lite(spec))
        return sl_exporter_http_lite(spec, ret_exporter, why, size);
    sl_exporter_make_fn make = sl_export_factory();
    if (make)
        return make(spec, ret_exporter, why, size);
    (void)snprintf(why, size, "this library is built without https, gzip and gRPC; use http:// and http/protobuf");
    return SL_ENOTSUP;
}
