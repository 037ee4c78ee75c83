/* `sightline flow server`. */
#include "src/cli/commands.h"
#include "src/cli/serve.h"

static const sl_option *const server_tables[] = {sl_server_option_table, sl_flow_option_table, NULL};

static int run_server(const sl_command *command, void *options, char **args, size_t arg_count)
{
    (void)args;
    (void)arg_count;
    return sl_serve_run(command, options, SL_PLANE_FLOW);
}

const sl_command sl_cmd_flow_server = {
    "flow server",
    "API server, control plane and queue for workflows",
    "[-w FILE]… [options]",
    "Serves workflows: the API server (create, run, watch, cancel), LlamaDeploy's deployments, sessions and tasks, its "
    "control plane and its message queue, and what the client of llama-agents calls. What was accepted is on disk and "
    "goes on after a crash. SIGTERM lets runs "
    "end.",
    "  sightline flow server -w pipeline.yaml\n"
    "  sightline flow server --api-listen 0.0.0.0:4501 --api-key sk-flow\n"
    "  curl -X POST localhost:4501/workflows/pipeline/runs -d '{\"inputs\": {\"topic\": \"rain\"}}'\n",
    server_tables,
    sizeof(sl_server_options),
    0,
    run_server};
