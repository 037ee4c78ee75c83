/* Options that every serving command has: listeners, ready file, data folder, workers, configuration. */
#ifndef SL_CLI_SERVER_OPTIONS_H
#define SL_CLI_SERVER_OPTIONS_H

#include "src/cli/command.h"
#include "src/llm/config.h"

/* Listeners: name in the options struct and key of the ready file, option name, default, help. */
#define SL_GATEWAY_LISTENER_MAP(X)                                                                                     \
    X(gateway, "gateway-listen", "SIGHTLINE_GATEWAY_LISTEN", "127.0.0.1:4000", "The OpenAI-compatible gateway.")
#define SL_OPS_LISTENER_MAP(X)                                                                                         \
    X(metrics, "metrics-listen", "SIGHTLINE_METRICS_LISTEN", "127.0.0.1:9000", "Prometheus: GET /metrics.")            \
    X(health, "health-listen", "SIGHTLINE_HEALTH_LISTEN", "127.0.0.1:8080",                                            \
      "Probes: GET /health/live, /health/ready.")                                                                      \
    X(admin, "admin-listen", "SIGHTLINE_ADMIN_LISTEN", "127.0.0.1:4001",                                               \
      "Recent traces, for `sightline traces` and `top`.")
#define SL_FLOW_LISTENER_MAP(X)                                                                                        \
    X(api, "api-listen", "SIGHTLINE_API_LISTEN", "127.0.0.1:4501", "Workflows, runs and deployments: the API server.") \
    X(control, "control-listen", "SIGHTLINE_CONTROL_LISTEN", "127.0.0.1:8000",                                         \
      "The control plane: services, sessions and tasks.")                                                              \
    X(queue, "queue-listen", "SIGHTLINE_QUEUE_LISTEN", "127.0.0.1:8001", "The message queue over HTTP.")
#define SL_LISTENER_MAP(X) SL_GATEWAY_LISTENER_MAP(X) SL_OPS_LISTENER_MAP(X) SL_FLOW_LISTENER_MAP(X)

typedef enum sl_listener_id {
#define SL_LISTENER_ENUM(name, option, env, fallback, help) SL_LISTENER_##name,
    SL_LISTENER_MAP(SL_LISTENER_ENUM)
#undef SL_LISTENER_ENUM
        SL_LISTENER_COUNT
} sl_listener_id;

/* The planes that a command serves. */
enum { SL_PLANE_GATEWAY = 1, SL_PLANE_FLOW = 2 };

typedef struct sl_server_options {
    sl_str listen[SL_LISTENER_COUNT];
    sl_str ready_file;
    sl_str data_dir;
    sl_str config;
    uint64_t workers;
    uint64_t drain_timeout_ms;
    bool check;
    sl_str api_key;          /* of the flow plane; empty: none */
    sl_str_list workflow;    /* files that the flow plane has from the start */
    uint64_t keep_runs_days; /* 0: for ever */
    sl_str cluster;          /* nats://…; empty: the embedded queue */
    uint64_t flow_runs;      /* at once; 0: the executor's default */
} sl_server_options;

/* What every serving command has; what the gateway, and what the flow plane has beside it. */
extern const sl_option sl_server_option_table[];
extern const sl_option sl_gateway_option_table[];
extern const sl_option sl_flow_option_table[];
/* The plane that a listener belongs to; 0: it is there with any. */
unsigned sl_listener_plane(sl_listener_id id);

/* Key of a listener in the ready file ("otlp_grpc"), and its option name. Static. */
const char *sl_listener_key(sl_listener_id id);
const char *sl_listener_option(sl_listener_id id);
const char *sl_listener_fallback(sl_listener_id id);
/* What the configuration file says of a listener; empty: nothing. */
sl_str sl_listener_configured(const sl_config *config, sl_listener_id id);

#endif
