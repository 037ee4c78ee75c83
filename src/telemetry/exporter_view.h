/*
 * Sends spans to the live view of another process of Sightline, so that `sightline traces` shows one tree of them all.
 *
 * An exporter that nobody has to configure: when an admin listener answers it gets every finished span at once, by
 * POST /v1/traces; while none does, spans are not even copied, nothing is said, and it is tried again now and then.
 */
#ifndef SL_TELEMETRY_EXPORTER_VIEW_H
#define SL_TELEMETRY_EXPORTER_VIEW_H

#include <sightline/sdk.h>

#define SL_VIEW_DEFAULT_URL "http://127.0.0.1:4001"
#define SL_VIEW_ENV "SIGHTLINE_ADMIN_URL"

/* Makes it for an admin listener's URL (http). Errors: SL_ECONFIG (`*ret_why`, static, says what), SL_ENOMEM. */
SL_MUST_CHECK int sl_exporter_view_new(sl_str url, sl_exporter *ret_exporter, const char **ret_why);

#endif
