/*
 * The prometheus exporter: an HTTP listener that answers GET /metrics from an SDK, in the format that Accept asks for.
 *
 * Source: OpenTelemetry specification, metrics/sdk_exporters/prometheus.md (default localhost:9464).
 */
#ifndef SL_TELEMETRY_PROMETHEUS_LISTENER_H
#define SL_TELEMETRY_PROMETHEUS_LISTENER_H

#include <sightline/sdk.h>

#include "src/net/lite/addr.h"
#include "src/net/lite/ctl_server.h"

typedef struct sl_prometheus_listener sl_prometheus_listener;

/*
 * Listens and serves on a thread of its own. On failure `reason` (SL_ADDR_REASON_MAX bytes) says why.
 * Errors: SL_ECONFIG, SL_ENOMEM. Freed before the SDK.
 */
SL_MUST_CHECK int sl_prometheus_listener_new(sl_sdk *sdk, const sl_addr *addr, sl_prometheus_listener **ret_listener,
                                             char *reason);
/* Stops and frees; NULL is accepted. */
void sl_prometheus_listener_free(sl_prometheus_listener *listener);
/* Where it listens, with the real port. */
const sl_addr *sl_prometheus_listener_addr(const sl_prometheus_listener *listener);

/* The handler of /metrics for any control server; `user` is the sl_sdk. */
void sl_prometheus_answer(void *user, const sl_ctl_request *request, sl_ctl_response *response);

#endif
