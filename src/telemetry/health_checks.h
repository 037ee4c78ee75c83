/* The checks that come with the library: memory, HTTP, TCP, disk. Their public prototypes are in sightline/health.h. */
#ifndef SL_TELEMETRY_HEALTH_CHECKS_H
#define SL_TELEMETRY_HEALTH_CHECKS_H

#include "src/telemetry/health_check.h"

/* Adds a check whose user data is destroyed with it, or at once when it cannot be added. Errors as sl_health_add. */
SL_MUST_CHECK int sl_health_add_spec(sl_health *health, const sl_check_spec *spec);

#endif
