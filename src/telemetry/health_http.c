/* The health paths as routes. */
#include "src/telemetry/health_http.h"

#include "src/base/assert.h"
#include <stdlib.h>

static void answer(void *user, const sl_ctl_request *request, sl_ctl_response *response)
{
    SL_ASSERT(request);
    int status = 500;
    char *body = NULL;
    int error = sl_health_answer(user, request->path, &status, &body);
    if (error) {
        sl_ctl_error(response, 500, "internal_error", "%s", sl_strerror(error));
        return;
    }
    response->status = status;
    (void)sl_buf_put_c(&response->body, body);
    free(body);
}

void sl_health_routes(sl_health *health, sl_ctl_route ret_routes[SL_HEALTH_ROUTES])
{
    static const char *const paths[SL_HEALTH_ROUTES] = {
        "/health",          "/health/live",      "/health/ready", "/ready", "/health/liveliness",
        "/health/liveness", "/health/readiness",
    };
    SL_ASSERT(health && ret_routes);
    for (size_t i = 0; i < SL_HEALTH_ROUTES; i++)
        ret_routes[i] = (sl_ctl_route){paths[i], SL_CTL_GET, answer, health};
}
