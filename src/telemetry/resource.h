/*
 * The resource: who produces the telemetry, as an encoded OTLP Resource message.
 *
 * In order, later beats earlier: telemetry.sdk.*, process.*, host.name, service.instance.id, service.name
 * "unknown_service:PROGRAM"; OTEL_RESOURCE_ATTRIBUTES; OTEL_SERVICE_NAME; the program's own.
 */
#ifndef SL_TELEMETRY_RESOURCE_H
#define SL_TELEMETRY_RESOURCE_H

#include <sightline/sdk.h>

#include "src/base/arena.h"
#include "src/base/buf.h"
#include "src/telemetry/env.h"

#define SL_MAX_RESOURCE_ATTRS 256
#define SL_MAX_RESOURCE_BYTES (64u * 1024)

typedef struct sl_resource_options {
    const char *service_name;         /* the program's: beats the environment; may be NULL */
    const char *default_service_name; /* when nothing else names one; may be NULL */
    const sl_attr *attrs;             /* the program's: beat the environment */
    size_t attr_count;
} sl_resource_options;

/* Appends the encoded resource to `out`. Errors: SL_ENOMEM, SL_ELIMIT. */
SL_MUST_CHECK int sl_resource_encode(const sl_env *env, const sl_resource_options *options, sl_buf *out);

/*
 * Parses OTEL_RESOURCE_ATTRIBUTES into at most `max` attributes, memory from `arena`. Errors: SL_EPARSE (all is to be
 * discarded), SL_ELIMIT, SL_ENOMEM.
 */
SL_MUST_CHECK int sl_resource_parse(sl_str text, sl_arena *arena, sl_attr *attrs, size_t max, size_t *ret_count);

#endif
