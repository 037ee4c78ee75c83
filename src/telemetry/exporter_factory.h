/*
 * Making exporters from what the configuration asks for.
 *
 * The core knows console, file, and OTLP over plain HTTP without compression; it needs libc alone. Everything else
 * (https, gzip, gRPC) is made by src/export, which needs libcurl, nghttp2, OpenSSL and zlib. The two are joined at link
 * time by one symbol, sl_export_factory(): libsightline has the one of src/export/register.c, libsightline-core.a that
 * of src/telemetry/core_only/no_export.c, which answers "not built in". No constructor runs, and nothing is looked up
 * at run time.
 */
#ifndef SL_TELEMETRY_EXPORTER_FACTORY_H
#define SL_TELEMETRY_EXPORTER_FACTORY_H

#include <sightline/sdk.h>

#include "src/telemetry/sink_report.h"

typedef enum sl_exporter_type { SL_EXPORT_CONSOLE, SL_EXPORT_STDOUT, SL_EXPORT_FILE, SL_EXPORT_OTLP } sl_exporter_type;
typedef enum sl_otlp_protocol { SL_OTLP_GRPC = 0, SL_OTLP_HTTP_PROTOBUF = 1, SL_OTLP_HTTP_JSON = 2 } sl_otlp_protocol;

typedef struct sl_exporter_header {
    sl_str name; /* lower case */
    sl_str value;
} sl_exporter_header;

/* One exporter of one signal. All views are NUL-terminated; the maker copies what it keeps. */
typedef struct sl_exporter_spec {
    sl_exporter_type type;
    sl_signal signal;
    sl_str path; /* of the file exporter */
    sl_otlp_protocol protocol;
    sl_str endpoint; /* HTTP: the full URL; gRPC: scheme://host:port */
    const sl_exporter_header *headers;
    size_t header_count;
    uint64_t timeout_ms; /* 0: no limit */
    bool gzip;
    sl_str ca_file;
    sl_str client_key_file;
    sl_str client_certificate_file;
    sl_reporter *reporter; /* for details of failures; the maker references it */
} sl_exporter_spec;

/*
 * Makes an exporter; `why` (of `size` bytes) gets the reason of a failure. Errors: SL_ECONFIG, SL_ENOTSUP, SL_ENOMEM,
 * SL_EIO.
 */
typedef int (*sl_exporter_make_fn)(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why, size_t size);

SL_MUST_CHECK int sl_exporter_make(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why, size_t size);

/* The maker of src/export, or NULL in the core library. */
sl_exporter_make_fn sl_export_factory(void);

/* Makers of the core. */
SL_MUST_CHECK int sl_exporter_console(const sl_exporter_spec *spec, sl_exporter *ret_exporter);
SL_MUST_CHECK int sl_exporter_file(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why, size_t size);
SL_MUST_CHECK int sl_exporter_http_lite(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why,
                                        size_t size);

#endif
