/*
 * The flow plane of one process: API server, control plane and message queue on one loop, in front of the executor.
 *
 *     client ─▶ API server ─▶ run accepted (flow.db, synced) ─▶ message put (queue.db, synced) ─▶ 202
 *     client ─▶ control plane ─┘                                     │ pushed
 *                              executor in this process ◀────────────┼──▶ workers elsewhere, over the queue's HTTP
 *                                    │ events, result                 │ events, result as messages
 *                                    ▼                                ▼
 *                              flow.db ─▶ streams of clients ◀─ control_plane topic
 *
 * Promises: what was accepted is on disk, survives a kill and is run to its end once; a result is recorded before its
 * message is acknowledged; nothing is polled. SIGTERM takes no new tasks, lets runs under way end until the drain
 * timeout, and leaves the rest to the next start.
 */
#ifndef SL_FLOW_SERVER_H
#define SL_FLOW_SERVER_H

#include <sightline/sdk.h>

#include "src/flow/health_board.h"
#include "src/flow/models.h"
#include "src/telemetry/segment.h"

typedef struct sl_flow_server sl_flow_server;

typedef struct sl_flow_server_options {
    const char *data_dir;
    int api_fd, control_fd, queue_fd; /* -1: off */
    sl_str key;                       /* bearer token; empty: none */
    sl_str cluster;                   /* "nats://host:port,…": holds the messages; empty: a file of data_dir does */
    const sl_str *files;              /* workflows that are there from the start */
    size_t file_count;
    size_t max_runs; /* at once; 0: none, workers elsewhere run them */
    uint32_t drain_timeout_ms;
    uint64_t keep_runs_ms;   /* how long runs that have ended are kept; 0: for ever */
    sl_segment *segment;     /* recorded into; NULL: no telemetry */
    sl_health_board *board;  /* told how store, broker and providers are; NULL: nobody asks */
    sl_sdk_options sdk;      /* exporters are not looked at */
    const char *metrics_url; /* GET /status/metrics answers what it says; NULL: 204 */
    /* What steps may use: fills in all but loop, sdk, queue. NULL: providers of the environment. May be NULL. */
    int (*services)(void *user, sl_flow_services *services);
    /* SIGHUP, which may be blocked at the start so that none is lost: adds the models as they are now configured. NULL:
     * SIGHUP changes nothing. */
    sl_flow_models_fn reload;
    void (*on_ready)(void *user);   /* from the loop, once requests are answered; may be NULL */
    bool (*must_hurry)(void *user); /* whether SIGTERM while it drains ends the drain; NULL: yes */
    void *user;
} sl_flow_server_options;

/* Serves until SIGTERM. Returns the exit status of the process: 0, or 1 when it could not start (said on stderr). */
int sl_flow_server_run(const sl_flow_server_options *options);

#endif
