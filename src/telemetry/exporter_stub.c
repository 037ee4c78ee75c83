#include "src/telemetry/exporter_factory.h"
int sl_exporter_file(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why, size_t size){(void)spec;(void)ret_exporter;(void)why;(void)size;return SL_ENOTSUP;}
int sl_exporter_http_lite(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why, size_t size){(void)spec;(void)ret_exporter;(void)why;(void)size;return SL_ENOTSUP;}
