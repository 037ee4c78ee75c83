/* Limits of spans and records: the specification's defaults, and a copy that the SDK owns. */
#ifndef SL_TELEMETRY_LIMITS_DEFAULTS_H
#define SL_TELEMETRY_LIMITS_DEFAULTS_H

#include <sightline/sdk.h>

/*
 * Copies `given` (NULL: all defaults) with defaults in place of zeros; priority keys are copied, at most 64.
 * Errors: SL_ENOMEM. Source: OpenTelemetry, "Attribute Limits" and "Span Limits".
 */
SL_MUST_CHECK int sl_limits_init(sl_limits *limits, const sl_limits *given);
/* Copies `given` as it is: a count of 0 allows none. Priority keys as above. Errors: SL_ENOMEM. */
SL_MUST_CHECK int sl_limits_copy(sl_limits *limits, const sl_limits *given);
/* Frees the copies. */
void sl_limits_done(sl_limits *limits);

#endif
