#include "src/telemetry/exporter_factory.h"
int sl_exporter_console(const sl_exporter_spec *spec, sl_exporter *ret_exporter){(void)spec;(void)ret_exporter;return SL_ENOTSUP;}
