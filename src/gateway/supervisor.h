/*
 * The supervisor: the process that the user sees. It owns the listening sockets and the telemetry that leaves the
 * machine; worker processes serve.
 *
 *     supervisor ── owns: sockets (one SO_REUSEPORT socket for each worker), segments, pipeline, control server, signals
 *         │ orders, segments (socket pair)
 *     spawner    ── forks workers; has one thread, so that forking is safe; reads the configuration anew for each generation
 *         │ fork
 *     worker × N ── event loop; inherits its socket, records into its segment
 *
 * Promises: a worker that ends (crash, reload) drops no connection that waits in its socket's queue; one that crashes is
 * started again after a pause that grows from 0 to 5 s; SIGHUP starts new workers with the new configuration, and the old ones end
 * when their last answer is complete; a configuration with errors changes nothing. SIGTERM and SIGINT drain, at most
 * drain_timeout_ms. Nothing that a worker had recorded is lost with it.
 */
#ifndef SL_GATEWAY_SUPERVISOR_H
#define SL_GATEWAY_SUPERVISOR_H

#include "src/gateway/worker.h"
#include "src/net/lite/addr.h"

typedef struct sl_supervisor_options {
    sl_addr listen;            /* of the gateway */
    unsigned workers;          /* 0: 1 */
    uint32_t drain_timeout_ms; /* 0: 30 s */
    sl_sdk_options sdk;        /* for the workers: service name, sampler ... */
    bool no_telemetry;         /* workers record nothing (OTEL_SDK_DISABLED) */
    char *reason;              /* SL_ADDR_REASON_MAX bytes for a sentence when sl_supervisor_run fails; may be NULL */
    void *user;
    /*
     * Loads the configuration; required. Called in the supervisor to check it, and in the spawner to serve by it. Prints
     * diagnostics itself when `report` is true. Errors: the old configuration stays (at the start: the start fails).
     */
    int (*load_config)(void *user, bool report, sl_config **ret_config);
    /*
     * The sockets are open (`gateway` is the real address), the spawner is forked: threads may be started from here on.
     * Starts pipeline, collector, control server. A failure ends the run.
     */
    int (*start)(void *user, const sl_addr *gateway, const sl_config *config);
    /* eventfd of the pipeline for segments to write when a ring is half full; -1: none. May be NULL. */
    int (*wake_fd)(void *user);
    /* A worker will record into this segment: add it to pipeline and collector. Optional, as those below. */
    int (*segment_added)(void *user, sl_segment *segment);
    /* Its worker has ended: drain and fold it, forget it. The segment is freed afterwards. */
    void (*segment_removed)(void *user, sl_segment *segment);
    /* All workers answer, for the first time: write the ready file. */
    void (*ready)(void *user);
    /* A worker started answering, or ended. */
    void (*workers_changed)(void *user, unsigned answering, unsigned wanted);
    /* A new configuration is in force. */
    void (*reloaded)(void *user, const sl_config *config);
    /* Draining has begun: readiness is to say no. */
    void (*draining)(void *user);
    /* All workers have ended: flush, stop threads. */
    void (*stop)(void *user);
    /* Something people should know: a worker crashed, a reload failed. */
    void (*notice)(void *user, sl_severity severity, const char *message);
} sl_supervisor_options;

/*
 * Runs the gateway in the foreground. Returns 0 after an orderly end; negative when it could not start (SL_ECONFIG, SL_EEXIST:
 * port taken, SL_EIO …, with `reason`) or had to give up (SL_ECLOSED: the spawner died). One call in a process at a time, and no
 * other thread may run when it is called.
 */
int sl_supervisor_run(const sl_supervisor_options *options);

#endif
