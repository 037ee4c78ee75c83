/* The health paths as routes of the control server. */
#ifndef SL_TELEMETRY_HEALTH_HTTP_H
#define SL_TELEMETRY_HEALTH_HTTP_H

#include <sightline/health.h>

#include "src/net/lite/ctl_server.h"

#define SL_HEALTH_ROUTES 7

/* Fills in SL_HEALTH_ROUTES routes that answer from `health`, which must outlive the server. */
void sl_health_routes(sl_health *health, sl_ctl_route ret_routes[SL_HEALTH_ROUTES]);

#endif
