/*
 * What monitoring asks of `sightline flow worker`: GET /metrics and the health paths on one listener. Ready when its
 * queue can be connected to.
 */
#ifndef SL_CLI_WORKER_PAGE_H
#define SL_CLI_WORKER_PAGE_H

#include "src/cli/ready_file.h"
#include "src/net/lite/ctl_server.h"
#include "src/telemetry/sdk_impl.h"

/* An address as --metrics-listen gives it; said on stderr when it is none. An exit status, or 0. */
int sl_worker_page_check(sl_str listen);
/*
 * Listens and answers on a thread of its own; `queue` is the URL of --queue. Adds the address to `ready`. `*ret_server`
 * stays NULL when the listener is off; it is stopped before the SDK ends. An exit status, said, or 0.
 */
int sl_worker_page_open(sl_sdk *sdk, sl_str listen, sl_str queue, sl_ready *ready, sl_ctl_server **ret_server);

#endif
