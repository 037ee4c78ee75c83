/*
 * `sightline gateway`, `sightline flow server` and `sightline up`: opens listeners and shared memory, and joins the
 * planes in a tree of processes (src/gateway/supervisor.h).
 *
 *     supervisor   this process: listeners, segments, children
 *     ├─ mock      only when no model is configured
 *     ├─ control   serve_control.c: pipeline, exporters, /metrics, /health, /traces
 *     ├─ flow      serve_flow.c: workflows, their queue and their servers
 *     └─ worker N  src/gateway/worker.h
 */
#ifndef SL_CLI_SERVE_H
#define SL_CLI_SERVE_H

#include <sightline/sdk.h>

#include "src/base/limits.h"
#include "src/cli/ready_file.h"
#include "src/cli/server_options.h"
#include "src/flow/health_board.h"
#include "src/gateway/supervisor.h"
#include "src/llm/config.h"
#include "src/telemetry/segment.h"

#define SL_MAX_SEGMENT_SLOTS (2 * SL_MAX_WORKERS + 3) /* two generations, flow, and the supervisor's own */

/* A listener that is open, or off (fd -1). */
typedef struct sl_serve_listener {
    int fd;
    sl_addr addr;
} sl_serve_listener;

/* Everything that the supervisor sets up before it forks; children inherit it. */
typedef struct sl_serve {
    const sl_command *command;
    const sl_server_options *options;
    unsigned planes; /* SL_PLANE_...; those that are on */
    bool has_models; /* the command serves models: built-in ones when none is configured */
    const char *data_dir;
    sl_config *config;                              /* of the start; reloads make others */
    sl_serve_listener listeners[SL_LISTENER_COUNT]; /* of the gateway: only the address */
    int worker_fds[SL_MAX_WORKERS];
    unsigned workers;
    uint64_t drain_timeout_ms;
    sl_serve_listener mock; /* fd -1: not needed */
    bool default_key;       /* sk-dev-key */
    int wake_fd;
    size_t queue_items[SL_SIGNAL_COUNT]; /* how many may wait for the control process */
    sl_segment *segments[SL_MAX_SEGMENT_SLOTS];
    unsigned segment_count;                /* the last one is the supervisor's, the one before flow's */
    int segment_fds[SL_MAX_SEGMENT_SLOTS]; /* locks of files in PROMETHEUS_MULTIPROC_DIR; -1: a memfd, closed */
    const char *multiproc_dir;             /* NULL: not set */
    sl_health_board *board;                /* how the parts of the flow plane are; NULL: it is off */
    bool telemetry_off;                    /* OTEL_SDK_DISABLED */
    bool serving;                          /* everything was ready once */
    sl_sdk *sdk;                           /* the supervisor's, records only */
    sl_logger *logger;
} sl_serve;

/* Runs the command with these planes (SL_PLANE_...); returns its exit status. */
int sl_serve_run(const sl_command *command, const sl_server_options *options, unsigned planes);

/* service.name, when nothing else says it. Static. */
const char *sl_serve_service_name(const sl_serve *serve);

/*
 * The configuration as its file is now, with what the start has added to it: the caller's. NULL: it cannot take the
 * place of the running one; why has been said. `warnings` are said too.
 */
sl_config *sl_serve_read_again(const sl_serve *serve, bool warnings);

/*
 * How long a process waits for requests and runs under way. The supervisor, which kills, waits longer: requests that
 * are then cut off leave their spans and records; runs go back to the queue at once.
 */
uint32_t sl_serve_patience_ms(const sl_serve *serve);

/* The control process; `user` is the sl_serve. */
int sl_serve_control(void *user, const sl_child_start *start);

/*
 * What LlamaDeploy's variables (LLAMA_DEPLOY_APISERVER_PORT and so on) say of a listener; false: nothing. `text` is an
 * address, or "off". `*ret_source`: the variable, for messages.
 */
bool sl_serve_llama_listen(sl_listener_id id, char *text, size_t size, const char **ret_source);

/* The process of the flow plane; `user` is the sl_serve. */
int sl_serve_flow(void *user, const sl_child_start *start);
/* Files of --workflow that do not load are reported. Returns an exit status, or 0. */
int sl_serve_flow_check(const sl_serve *serve);

#endif
