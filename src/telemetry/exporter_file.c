/* The file exporter: OTLP as JSON lines, to a file or to standard output. */
#include <stdio.h>

#include "src/telemetry/exporter_factory.h"

int sl_exporter_file(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why, size_t size)
{
    (void)spec;
    (void)ret_exporter;
    (void)snprintf(why, size, "the file exporter is not built yet");
    return SL_ENOTSUP;
}
