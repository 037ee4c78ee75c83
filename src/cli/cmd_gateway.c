/* `sightline gateway` and `sightline up`. */
#include "src/cli/commands.h"
#include "src/cli/serve.h"

static const sl_option *const gateway_tables[] = {sl_server_option_table, sl_gateway_option_table, NULL};
static const sl_option *const up_tables[] = {sl_server_option_table, sl_gateway_option_table, sl_flow_option_table,
                                             NULL};

static int run_gateway(const sl_command *command, void *options, char **args, size_t arg_count)
{
    (void)args;
    (void)arg_count;
    return sl_serve_run(command, options, SL_PLANE_GATEWAY);
}

static int run_up(const sl_command *command, void *options, char **args, size_t arg_count)
{
    (void)args;
    (void)arg_count;
    return sl_serve_run(command, options, SL_PLANE_GATEWAY | SL_PLANE_FLOW);
}

const sl_command sl_cmd_gateway = {
    "gateway",
    "OpenAI-compatible gateway; reads a LiteLLM config.yaml as it is",
    "[-c config.yaml] [options]",
    "Serves the OpenAI API in front of model servers. Every request is one trace, with metrics, logs and health beside "
    "it. "
    "SIGTERM drains, SIGHUP reloads the configuration without dropping a stream: models, keys, prices, limits and "
    "timeouts; "
    "listeners, workers, drain timeout and health checks wait for the next start, and the log says so. OTEL_* "
    "variables say where telemetry "
    "goes; "
    "nothing is exported until one of them does.",
    "  sightline gateway -c config.yaml\n"
    "  sightline gateway -c config.yaml --workers 4 --metrics-listen 0.0.0.0:9000\n"
    "  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317 sightline gateway -c config.yaml\n"
    "  sightline gateway -c config.yaml --check\n",
    gateway_tables,
    sizeof(sl_server_options),
    0,
    run_gateway};

const sl_command sl_cmd_up = {"up",
                              "everything in one go, no configuration needed",
                              "[options]",
                              "Starts every plane on embedded defaults. With no model configured it serves "
                              "claude-haiku and mock from its own mock; "
                              "with no key configured the key is sk-dev-key and the gateway binds to loopback only.",
                              "  sightline up\n"
                              "  sightline up -c config.yaml\n"
                              "  sightline up --gateway-listen 127.0.0.1:0 --ready-file /tmp/ready.json\n",
                              up_tables,
                              sizeof(sl_server_options),
                              0,
                              run_up};
