/*
 * What `sightline exec` does beside the program: reads the rings, makes spans and metrics, exports, and answers on its
 * listeners.
 */
#ifndef SL_CLI_EXEC_TELEMETRY_H
#define SL_CLI_EXEC_TELEMETRY_H

#include <sightline/sdk.h>

#include "src/cli/command.h"
#include "src/cli/exec_front.h"
#include "src/cli/ready_file.h"
#include "src/net/lite/ctl_server.h"
#include "src/probe/quota_watch.h"
#include "src/probe/reader.h"
#include "src/telemetry/process_metrics.h"
#include "src/view/live.h"

/* Listeners: name and key of the ready file, option, environment, default, help. */
#define SL_EXEC_LISTENER_MAP(X)                                                                                        \
    X(metrics, "metrics-listen", "SIGHTLINE_METRICS_LISTEN", "127.0.0.1:9464", "Prometheus: GET /metrics.")            \
    X(health, "health-listen", "SIGHTLINE_HEALTH_LISTEN", "off", "Probes: GET /health/live, /health/ready.")           \
    X(admin, "admin-listen", "SIGHTLINE_ADMIN_LISTEN", "off",                                                          \
      "Recent traces of its own, for `sightline traces --url`.")                                                       \
    X(front, "front-listen", "SIGHTLINE_FRONT_LISTEN", "off",                                                          \
      "A listener in front of the server: 429 while a quota is exceeded, else all goes through.")

typedef enum sl_exec_listener {
#define SL_EXEC_LISTENER_ENUM(name, option, env, fallback, help) SL_EXEC_##name,
    SL_EXEC_LISTENER_MAP(SL_EXEC_LISTENER_ENUM)
#undef SL_EXEC_LISTENER_ENUM
        SL_EXEC_LISTENER_COUNT
} sl_exec_listener;

typedef struct sl_exec_options {
    sl_str listen[SL_EXEC_LISTENER_COUNT];
    sl_str view;
    sl_str quotas;
    sl_str front_to;
    sl_str ready_file;
    uint64_t decode_span_every;
    uint64_t slow_decode_ms;
    uint64_t flush_ms;
    uint64_t pid;
    bool trace_polls;
    bool check;
} sl_exec_options;

/* The program: its arguments, and the process that is, or will be it. */
typedef struct sl_exec_program {
    char *const *argv;
    int pid;
    sl_probe_ring *ring; /* of what is seen of it from outside; NULL: it tells itself */
} sl_exec_program;

typedef struct sl_exec_telemetry {
    const sl_command *command;
    const sl_exec_options *options;
    bool disabled; /* OTEL_SDK_DISABLED */
    sl_sdk *sdk;
    sl_live *live; /* NULL: no admin listener */
    sl_ctl_server *server;
    sl_process_metrics *process;
    sl_probe_options probe;
    sl_quota_limits limits;
    sl_quota_watch *quotas;
    sl_probe_reader *reader;
    sl_exec_front *front; /* NULL: off */
    sl_addr addrs[SL_EXEC_LISTENER_COUNT];
    int fds[SL_EXEC_LISTENER_COUNT]; /* -1: off, or the server's */
    sl_ready ready;
    const sl_exec_program *program;
    _Atomic bool runs;
    uint64_t hosts_seen; /* processes that used libllama; once it is closed */
} sl_exec_telemetry;

/* What a start would refuse, without opening anything. Returns an exit status, or 0; says what is wrong. */
int sl_exec_telemetry_check(const sl_command *command, const sl_exec_options *options);
/*
 * Opens everything. Returns an exit status, or 0; says what is wrong. `program` is not copied. `dir`: of the rings;
 * NULL and no ring of the program's: telemetry is off.
 */
int sl_exec_telemetry_open(sl_exec_telemetry *t, const sl_command *command, const sl_exec_options *options,
                           const sl_exec_program *program, const char *dir);
/* The program runs. */
void sl_exec_telemetry_started(sl_exec_telemetry *t);
/* Drains and exports what there is within the option's time, and closes everything. */
void sl_exec_telemetry_close(sl_exec_telemetry *t);

#endif
