/* The process of the flow plane under the supervisor. */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/cli/serve.h"
#include "src/flow/model.h"
#include "src/flow/server.h"
#include "src/telemetry/env.h"

/*
 * The text of a port's variable. Kubernetes sets variables of such names for a Service that is called so, with a URL
 * ("tcp://10.0.0.1:8000"): that is none.
 */
static sl_str port_text(sl_env_var var)
{
    static const sl_env env;
    sl_str text = sl_env_text(&env, var);
    return sl_str_starts(text, SL_STR("tcp://")) ? SL_STR("") : text;
}

/* HOST and PORT variables of a listener, as they stand: what is no address is refused with them. */
static bool host_and_port(sl_env_var host, sl_env_var port, const char *fallback, char *text, size_t size)
{
    static const sl_env env;
    sl_str name = sl_env_text(&env, host), number = port_text(port);
    if (!name.len && !number.len)
        return false;
    bool v6 = sl_str_chr(name, ':') != SL_NPOS;
    (void)snprintf(text, size, "%s%.*s%s:%.*s", v6 ? "[" : "", name.len ? (int)name.len : 9,
                   name.len ? name.ptr : "127.0.0.1", v6 ? "]" : "", number.len ? (int)number.len : 4,
                   number.len ? number.ptr : fallback);
    return true;
}

bool sl_serve_llama_listen(sl_listener_id id, char *text, size_t size, const char **ret_source)
{
    SL_ASSERT(text && ret_source);
    static const sl_env env;
    switch (id) {
    case SL_LISTENER_api:
        *ret_source = "LLAMA_DEPLOY_APISERVER_HOST, LLAMA_DEPLOY_APISERVER_PORT";
        return host_and_port(SL_VAR_LLAMA_DEPLOY_APISERVER_HOST, SL_VAR_LLAMA_DEPLOY_APISERVER_PORT, "4501", text,
                             size);
    case SL_LISTENER_control:
        *ret_source = "CONTROL_PLANE_HOST, CONTROL_PLANE_PORT";
        return host_and_port(SL_VAR_CONTROL_PLANE_HOST, SL_VAR_CONTROL_PLANE_PORT, "8000", text, size);
    case SL_LISTENER_queue:
        *ret_source = "SIMPLE_MESSAGE_QUEUE_HOST, SIMPLE_MESSAGE_QUEUE_PORT";
        return host_and_port(SL_VAR_SIMPLE_MESSAGE_QUEUE_HOST, SL_VAR_SIMPLE_MESSAGE_QUEUE_PORT, "8001", text, size);
    case SL_LISTENER_metrics:
        *ret_source = "LLAMA_DEPLOY_APISERVER_PROMETHEUS_PORT";
        if (!sl_env_bool(&env, SL_VAR_LLAMA_DEPLOY_APISERVER_PROMETHEUS_ENABLED, true)) {
            (void)snprintf(text, size, "off");
            return true;
        }
        if (!port_text(SL_VAR_LLAMA_DEPLOY_APISERVER_PROMETHEUS_PORT).len)
            return false;
        (void)snprintf(text, size, "%.*s", (int)port_text(SL_VAR_LLAMA_DEPLOY_APISERVER_PROMETHEUS_PORT).len,
                       port_text(SL_VAR_LLAMA_DEPLOY_APISERVER_PROMETHEUS_PORT).ptr);
        return true;
    default:
        return false;
    }
}

int sl_serve_flow_check(const sl_serve *serve)
{
    SL_ASSERT(serve);
    const sl_str_list *files = &serve->options->workflow;
    sl_str cluster = serve->options->cluster;
    int status = 0;
    if (cluster.len && !sl_str_starts(cluster, SL_STR("nats://")) && !sl_str_starts(cluster, SL_STR("tls://")))
        status = sl_fail(SL_EXIT_USAGE, "%s: not the address of a NATS server; give nats://HOST:PORT",
                         sl_option_source(serve->command, "queue"));
    sl_flow_problems *problems = sl_calloc(1, sizeof *problems);
    sl_buf text;
    sl_buf_init(&text, 1u << 20);
    for (size_t i = 0; i < files->count && problems; i++) {
        char path[4096];
        sl_flow *flow = NULL;
        memset(problems, 0, sizeof *problems);
        if (!sl_str_to_c(files->items[i], path, sizeof path) || sl_flow_load_file(path, problems, &flow) != 0)
            status = SL_EXIT_USAGE;
        (void)sl_flow_problems_format(problems, path, &text);
        sl_flow_unref(flow);
    }
    if (text.len)
        (void)fwrite(text.data, 1, text.len, stderr);
    sl_buf_done(&text);
    sl_free(problems);
    return status;
}

/* What the callbacks of the server need. */
typedef struct plane {
    const sl_serve *serve;
    sl_child_start start;
} plane;

static void is_ready(void *user)
{
    const plane *p = user;
    sl_child_ready(&p->start);
}

static bool must_hurry(void *user)
{
    const plane *p = user;
    return sl_child_must_hurry(&p->start);
}

/* The models of the configuration are providers of steps. */
static int add_models(void *user, sl_flow_services *services)
{
    const plane *p = user;
    char reason[512];
    int error = sl_flow_models_add(services->llm, p->start.generation, reason, sizeof reason);
    if (error)
        (void)sl_fail(0, "flow: %s", reason);
    return error;
}

/* The supervisor has found the file good, and tells so; it is read once more here, where its models are used. */
static int reload_models(void *user, sl_llm_client *client)
{
    const plane *p = user;
    char reason[512];
    sl_config *config = sl_serve_read_again(p->serve, false);
    if (!config)
        return SL_ECONFIG;
    int error = sl_flow_models_add(client, config, reason, sizeof reason);
    if (error)
        (void)sl_fail(0, "reload: workflows keep the models they have: %s", reason);
    sl_config_free(config);
    return error;
}

int sl_serve_flow(void *user, const sl_child_start *start)
{
    SL_ASSERT(user && start);
    sl_serve *s = user;
    plane mine = {s, *start};
    char metrics[SL_ADDR_TEXT_MAX + 16];
    sl_ready ready = {.count = 0};
    const sl_serve_listener *page = &s->listeners[SL_LISTENER_metrics];
    if (!page->addr.off) {
        sl_ready_add(&ready, "metrics", &page->addr);
        (void)snprintf(metrics, sizeof metrics, "%s", sl_ready_url(&ready, "metrics"));
    }
    sl_flow_server_options o = {.data_dir = s->data_dir,
                                .api_fd = s->listeners[SL_LISTENER_api].fd,
                                .control_fd = s->listeners[SL_LISTENER_control].fd,
                                .queue_fd = s->listeners[SL_LISTENER_queue].fd,
                                .key = s->options->api_key,
                                .keep_runs_ms = s->options->keep_runs_days * 86400000u,
                                .cluster = s->options->cluster,
                                .files = s->options->workflow.items,
                                .file_count = s->options->workflow.count,
                                .max_runs = s->options->flow_runs,
                                .drain_timeout_ms = sl_serve_patience_ms(s),
                                .board = s->board,
                                .segment = s->telemetry_off ? NULL : s->segments[s->segment_count - 2],
                                .metrics_url = page->addr.off ? NULL : metrics,
                                .services = add_models,
                                .reload = reload_models,
                                .on_ready = is_ready,
                                .must_hurry = must_hurry,
                                .user = &mine};
    if (o.segment)
        sl_segment_adopt(o.segment, s->wake_fd);
    for (int part = 0; part < SL_BOARD_PARTS; part++) /* of an earlier process */
        sl_board_say(s->board, (sl_board_part)part, SL_HEALTHY, NULL);
    return sl_flow_server_run(&o);
}
