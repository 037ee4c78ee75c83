/* The tables of options of serving commands. */
#include "src/cli/server_options.h"

#define OPT(member) offsetof(sl_server_options, member)
#define LISTENER_ROW(name, option, env, fallback, help)                                                                \
    {option, 0, SL_OPT_STR, OPT(listen[SL_LISTENER_##name]), "ADDRESS", help, fallback, env},

const sl_option sl_server_option_table[] = {
    {"config", 'c', SL_OPT_STR, OPT(config), "FILE", "A LiteLLM config.yaml, with an optional `sightline:` section.",
     NULL, "SIGHTLINE_CONFIG"},
    SL_OPS_LISTENER_MAP(LISTENER_ROW){"drain-timeout", 0, SL_OPT_MS, OPT(drain_timeout_ms), "SECONDS",
                                      "How long SIGTERM waits for requests to end.", "30", "SIGHTLINE_DRAIN_TIMEOUT"},
    {"data-dir", 0, SL_OPT_STR, OPT(data_dir), "DIR",
     "Holds everything that lasts; empty: the XDG state directory, such as ~/.local/state/sightline.", NULL,
     "SIGHTLINE_DATA_DIR"},
    {"ready-file", 0, SL_OPT_STR, OPT(ready_file), "PATH",
     "Written once everything answers, and read by `doctor`: JSON with pid and addresses.", NULL, NULL},
    {"check", 0, SL_OPT_FLAG, OPT(check), NULL, "Check the configuration, print what is wrong, and exit 0 or 2.", NULL,
     NULL},
    {NULL, 0, SL_OPT_FLAG, 0, NULL, NULL, NULL, NULL}};

const sl_option sl_gateway_option_table[] = {
    SL_GATEWAY_LISTENER_MAP(LISTENER_ROW){"workers", 0, SL_OPT_U64, OPT(workers), "N",
                                          "Worker processes behind the gateway's port.", "1", "SIGHTLINE_WORKERS"},
    {NULL, 0, SL_OPT_FLAG, 0, NULL, NULL, NULL, NULL}};

const sl_option sl_flow_option_table[] = {
    SL_FLOW_LISTENER_MAP(LISTENER_ROW){"workflow", 'w', SL_OPT_LIST, OPT(workflow), "FILE",
                                       "A workflow that is there from the start; may be given several times.", NULL,
                                       NULL},
    {"flow-runs", 0, SL_OPT_U64, OPT(flow_runs), "N",
     "Workflow runs at once, more of them wait; 0: none, workers elsewhere run them.", "64", "SIGHTLINE_FLOW_RUNS"},
    {"keep-runs", 0, SL_OPT_U64, OPT(keep_runs_days), "DAYS", "How long runs that have ended are kept; 0: for ever.",
     "30", "SIGHTLINE_KEEP_RUNS"},
    {"queue", 0, SL_OPT_STR, OPT(cluster), "URL",
     "nats://HOST:PORT, several with commas: a JetStream cluster holds the messages, instead of a file.", NULL,
     "SIGHTLINE_FLOW_QUEUE"},
    {"api-key", 0, SL_OPT_STR, OPT(api_key), "KEY",
     "Bearer token that the API server, the control plane and the queue ask for; without one they answer on loopback "
     "only.",
     NULL, "SIGHTLINE_API_KEY"},
    {NULL, 0, SL_OPT_FLAG, 0, NULL, NULL, NULL, NULL}};

unsigned sl_listener_plane(sl_listener_id id)
{
    switch (id) {
    case SL_LISTENER_gateway:
        return SL_PLANE_GATEWAY;
    case SL_LISTENER_api:
    case SL_LISTENER_control:
    case SL_LISTENER_queue:
        return SL_PLANE_FLOW;
    default:
        return 0;
    }
}

const char *sl_listener_key(sl_listener_id id)
{
    static const char *const keys[] = {
#define LISTENER_KEY(name, option, env, fallback, help) #name,
        SL_LISTENER_MAP(LISTENER_KEY)
#undef LISTENER_KEY
    };
    return keys[id];
}

const char *sl_listener_option(sl_listener_id id)
{
    static const char *const options[] = {
#define LISTENER_OPTION(name, option, env, fallback, help) option,
        SL_LISTENER_MAP(LISTENER_OPTION)
#undef LISTENER_OPTION
    };
    return options[id];
}

const char *sl_listener_fallback(sl_listener_id id)
{
    static const char *const fallbacks[] = {
#define LISTENER_FALLBACK(name, option, env, fallback, help) fallback,
        SL_LISTENER_MAP(LISTENER_FALLBACK)
#undef LISTENER_FALLBACK
    };
    return fallbacks[id];
}

sl_str sl_listener_configured(const sl_config *config, sl_listener_id id)
{
    switch (id) {
#define LISTENER_CONFIGURED(name, option, env, fallback, help)                                                         \
    case SL_LISTENER_##name:                                                                                           \
        return config->listen.name;
        SL_LISTENER_MAP(LISTENER_CONFIGURED)
#undef LISTENER_CONFIGURED
    default:
        return sl_str_of(NULL, 0);
    }
}
