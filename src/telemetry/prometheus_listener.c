/* GET /metrics over the control server. */
#include "src/telemetry/prometheus_listener.h"

#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/telemetry/collect.h"
#include "src/telemetry/sdk_impl.h"

struct sl_prometheus_listener {
    sl_ctl_server *server;
    sl_addr addr;
};

void sl_prometheus_answer(void *user, const sl_ctl_request *request, sl_ctl_response *response)
{
    sl_sdk *sdk = user;
    sl_prometheus_format format = sl_prometheus_negotiate(sl_ctl_header(request, SL_STR("accept")));
    if (!sdk || !sdk->collector) {
        sl_ctl_error(response, 503, "unavailable", "no metrics are collected in this process");
        return;
    }
    response->content_type = sl_prometheus_content_type(format);
    int error = sl_collector_prometheus(sdk->collector, sdk->resource, format, &response->body);
    if (error)
        sl_ctl_error(response, 500, "internal_error", "the metrics could not be written: %s", sl_strerror(error));
}

int sl_prometheus_listener_new(sl_sdk *sdk, const sl_addr *addr, sl_prometheus_listener **ret_listener, char *reason)
{
    SL_ASSERT(sdk && addr && ret_listener && reason);
    sl_prometheus_listener *listener = sl_calloc(1, sizeof *listener);
    int fd, error = SL_ENOMEM;
    snprintf(reason, SL_ADDR_REASON_MAX, "out of memory");
    if (listener && (listener->server = sl_ctl_server_new(NULL)) != NULL)
        error = sl_addr_listen(addr, NULL, &fd, &listener->addr, reason) == 0 ? 0 : SL_ECONFIG;
    if (!error) {
        const sl_ctl_route routes[] = {{"/metrics", SL_CTL_GET, sl_prometheus_answer, sdk},
                                       {"/", SL_CTL_GET, sl_prometheus_answer, sdk}};
        error = sl_ctl_server_add(listener->server, fd, routes, sizeof routes / sizeof *routes);
    }
    if (!error)
        error = sl_ctl_server_start(listener->server);
    if (error && error != SL_ENOMEM && error != SL_ECONFIG) {
        (void)snprintf(reason, SL_ADDR_REASON_MAX, "its thread cannot be started: %s", sl_strerror(error));
        error = SL_ECONFIG;
    }
    if (error) {
        sl_prometheus_listener_free(listener);
        return error;
    }
    *ret_listener = listener;
    return 0;
}

void sl_prometheus_listener_free(sl_prometheus_listener *listener)
{
    if (!listener)
        return;
    sl_ctl_server_free(listener->server);
    sl_free(listener);
}

const sl_addr *sl_prometheus_listener_addr(const sl_prometheus_listener *listener)
{
    SL_ASSERT(listener);
    return &listener->addr;
}
