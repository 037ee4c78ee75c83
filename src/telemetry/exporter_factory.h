/*
 * Making exporters from what the configuration asks for.
 *
 *     name in OTEL_*_EXPORTER ── row of exporters.def ── load: settings into a spec ── make: an exporter
 *
 * The core knows console, file, and OTLP over plain HTTP without compression; it needs libc alone. Everything else
 * (https, gzip, proxies, gRPC) comes from src/export, which needs libcurl, nghttp2, OpenSSL and zlib. The two are
 * joined at link time by one symbol, sl_export_factory(): libsightline has the one of src/export/register.c,
 * libsightline-core.a that of src/telemetry/core_only/no_export.c, which answers "not built in". No constructor runs,
 * and nothing is looked up at run time.
 */
#ifndef SL_TELEMETRY_EXPORTER_FACTORY_H
#define SL_TELEMETRY_EXPORTER_FACTORY_H

#include <sightline/sdk.h>

#include "src/base/arena.h"
#include "src/telemetry/env.h"
#include "src/telemetry/http_transport.h"
#include "src/telemetry/sink_report.h"

typedef enum sl_otlp_protocol { SL_OTLP_GRPC = 0, SL_OTLP_HTTP_PROTOBUF = 1, SL_OTLP_HTTP_JSON = 2 } sl_otlp_protocol;

typedef struct sl_exporter_kind sl_exporter_kind;

/* One exporter of one signal. All views are NUL-terminated; the maker copies what it keeps. */
typedef struct sl_exporter_spec {
    const sl_exporter_kind *kind;
    sl_signal signal;
    sl_str path; /* of the file exporter */
    sl_otlp_protocol protocol;
    sl_http_peer peer;     /* empty URL: it connects to nobody. gRPC: scheme://host:port */
    uint64_t timeout_ms;   /* 0: no limit */
    sl_reporter *reporter; /* for details of failures; the maker references it */
} sl_exporter_spec;

/*
 * Reads the settings of `spec->signal` into `spec`; strings live in `arena`. Errors: SL_ENOENT (this exporter is left
 * out; the reason has been reported), SL_ENOMEM.
 */
typedef int (*sl_exporter_load_fn)(const sl_env *env, sl_arena *arena, sl_exporter_spec *spec);

/*
 * Makes an exporter; `why` (of `size` bytes) gets the reason of a failure. Errors: SL_ECONFIG, SL_ENOTSUP, SL_ENOMEM,
 * SL_EIO.
 */
typedef int (*sl_exporter_make_fn)(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why, size_t size);

/* A row of exporters.def. */
struct sl_exporter_kind {
    const char *name;
    unsigned signals;
    sl_exporter_load_fn load;
    sl_exporter_make_fn make;
};

#define SL_EXPORTER(id, name, signals)                                                                                 \
    int sl_exporter_##id##_load(const sl_env *env, sl_arena *arena, sl_exporter_spec *spec);                           \
    int sl_exporter_##id##_make(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why, size_t size);
#include "src/telemetry/exporters.def"
#undef SL_EXPORTER

/* The exporter of a name, in any case of letters, for a signal; NULL when there is none. */
const sl_exporter_kind *sl_exporter_kind_named(sl_str name, sl_signal signal);
/* All rows, for tests. Static. */
const sl_exporter_kind *sl_exporter_kinds(size_t *ret_count);

/* Calls the kind's maker. */
SL_MUST_CHECK int sl_exporter_make(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why, size_t size);

/* What every exporter of one signal is made of. */
static inline sl_exporter sl_exporter_of(const sl_exporter_spec *spec, const char *name, void *user,
                                         int (*deliver)(void *, sl_signal, sl_str, size_t, uint64_t, uint64_t *,
                                                        uint64_t *),
                                         void (*free)(void *))
{
    sl_exporter exporter;
    memset(&exporter, 0, sizeof exporter);
    exporter.name = name;
    exporter.user = user;
    exporter.signals = SL_SIGNAL_BIT(spec->signal);
    exporter.deliver = deliver;
    exporter.free = free;
    return exporter;
}

/* What libraries add. */
typedef struct sl_export_libraries {
    sl_http_transport_new_fn http; /* https, gzip, proxies */
    sl_exporter_make_fn grpc;
} sl_export_libraries;

/* Those of src/export, or NULL in the core library. */
const sl_export_libraries *sl_export_factory(void);

#endif
