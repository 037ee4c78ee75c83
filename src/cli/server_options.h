/* Options that every serving command has: listeners, ready file, data folder, workers, configuration. */
#ifndef SL_CLI_SERVER_OPTIONS_H
#define SL_CLI_SERVER_OPTIONS_H

#include "src/cli/command.h"

/* Every listener: name in the options struct, key of the ready file, option name, default, help. */
#define SL_LISTENER_MAP(X)                                                                                             \
    X(gateway, "gateway-listen", "SIGHTLINE_GATEWAY_LISTEN", "127.0.0.1:4000", "The OpenAI-compatible gateway.")       \
    X(metrics, "metrics-listen", "SIGHTLINE_METRICS_LISTEN", "127.0.0.1:9000", "Prometheus: GET /metrics.")            \
    X(health, "health-listen", "SIGHTLINE_HEALTH_LISTEN", "127.0.0.1:8080",                                            \
      "Probes: GET /health/live, /health/ready.")                                                                      \
    X(admin, "admin-listen", "SIGHTLINE_ADMIN_LISTEN", "127.0.0.1:4001",                                               \
      "Recent traces, for `sightline traces` and `top`.")

typedef enum sl_listener_id {
#define SL_LISTENER_ENUM(name, option, env, fallback, help) SL_LISTENER_##name,
    SL_LISTENER_MAP(SL_LISTENER_ENUM)
#undef SL_LISTENER_ENUM
        SL_LISTENER_COUNT
} sl_listener_id;

typedef struct sl_server_options {
    sl_str listen[SL_LISTENER_COUNT];
    sl_str ready_file;
    sl_str data_dir;
    sl_str config;
    uint64_t workers;
    uint64_t drain_timeout_ms;
    bool check;
} sl_server_options;

extern const sl_option sl_server_option_table[];

/* Key of a listener in the ready file ("otlp_grpc"), and its option name. Static. */
const char *sl_listener_key(sl_listener_id id);
const char *sl_listener_option(sl_listener_id id);
const char *sl_listener_fallback(sl_listener_id id);

#endif
