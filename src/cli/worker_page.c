/* The listener of a worker: metrics and probes. */
#include "src/cli/worker_page.h"

#include <stdio.h>

#include "src/base/assert.h"
#include "src/cli/commands.h"
#include "src/telemetry/health_http.h"
#include "src/telemetry/prometheus_listener.h"
#include "src/wire/url.h"

#define OPTION "metrics-listen"

static int parse(sl_str listen, sl_addr *ret_addr)
{
    char reason[SL_ADDR_REASON_MAX];
    if (sl_addr_parse(listen, "127.0.0.1", ret_addr, reason) == 0)
        return 0;
    return sl_fail(SL_EXIT_USAGE, "%s: %s", sl_option_source(&sl_cmd_flow_worker, OPTION), reason);
}

int sl_worker_page_check(sl_str listen)
{
    sl_addr addr;
    return parse(listen, &addr);
}

/* A cluster has many addresses, and its client looks after them. */
static int add_queue_check(sl_sdk *sdk, sl_str queue)
{
    char address[320];
    sl_url url;
    if (sl_url_parse(queue, &url, NULL) != 0)
        return 0;
    bool v6 = sl_str_chr(url.host, ':') != SL_NPOS;
    int len = snprintf(address, sizeof address, "%s%.*s%s:%u", v6 ? "[" : "", (int)url.host.len, url.host.ptr,
                       v6 ? "]" : "", url.port);
    if (len < 0 || (size_t)len >= sizeof address)
        return 0;
    const sl_health_check_options often = {.timeout_ms = 2000, .interval_ms = 2000};
    return sl_health_add_tcp(sl_sdk_health(sdk), "queue", address, &often);
}

static int start(sl_sdk *sdk, int fd, sl_ctl_server *server)
{
    sl_ctl_route routes[1 + SL_HEALTH_ROUTES];
    routes[0] = (sl_ctl_route){"/metrics", SL_CTL_GET, sl_prometheus_answer, sdk};
    sl_health_routes(sl_sdk_health(sdk), routes + 1);
    int error = sl_ctl_server_add(server, fd, routes, sizeof routes / sizeof *routes);
    return error ? error : sl_ctl_server_start(server);
}

int sl_worker_page_open(sl_sdk *sdk, sl_str listen, sl_str queue, sl_ready *ready, sl_ctl_server **ret_server)
{
    SL_ASSERT(sdk && ready && ret_server);
    char reason[SL_ADDR_REASON_MAX];
    sl_addr wanted, real;
    int fd, status = parse(listen, &wanted);
    if (status || wanted.off)
        return status;
    if (sl_addr_listen(&wanted, NULL, &fd, &real, reason) != 0)
        return sl_fail(SL_EXIT_FAILED, "%s: %s", sl_option_source(&sl_cmd_flow_worker, OPTION), reason);
    sl_ctl_server *server = sl_ctl_server_new(NULL);
    int error = server ? start(sdk, fd, server) : SL_ENOMEM;
    if (!error)
        error = add_queue_check(sdk, queue);
    if (error) {
        sl_ctl_server_free(server);
        return sl_fail(SL_EXIT_FAILED, "flow worker: metrics cannot be served: %s", sl_strerror(error));
    }
    sl_ready_add(ready, "metrics", &real);
    *ret_server = server;
    return 0;
}
