/*
 * One worker process of the gateway: an event loop, the listening socket it was given, an SDK that only records.
 *
 * Promises: SIGTERM drains (no new connections; answers under way are finished, streams too) and ends the process;
 * another one ends it at once where that is meant; requests that are cut off leave their spans and records, too.
 * Everything that was recorded lies in the segment, where the supervisor's pipeline finds it. SIGINT and SIGHUP are the
 * supervisor's and ignored here. Ends with its parent.
 */
#ifndef SL_GATEWAY_WORKER_H
#define SL_GATEWAY_WORKER_H

#include <sightline/sdk.h>

#include "src/llm/config.h"
#include "src/telemetry/segment.h"

typedef struct sl_worker_options {
    const sl_config *config; /* its deployments, master_key, max_body_bytes */
    int listen_fd;
    sl_segment *segment; /* NULL: no telemetry at all */
    sl_sdk_options sdk;  /* service name, sampler and so on; exporters are not looked at */
    uint32_t drain_timeout_ms;
    /* Called from the loop once requests are answered. May be NULL. */
    void (*on_ready)(void *user);
    /* Whether SIGTERM while it drains ends the drain. NULL: yes. */
    bool (*must_hurry)(void *user);
    void *user;
} sl_worker_options;

/* Serves until told to drain. Returns the exit status of the process: 0, or 1 when it could not start. */
int sl_worker_run(const sl_worker_options *options);

#endif
