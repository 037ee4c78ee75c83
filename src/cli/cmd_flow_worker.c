/* `sightline flow worker`: runs workflows for a queue elsewhere. */
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/cli/commands.h"
#include "src/cli/data_dir.h"
#include "src/cli/ready_file.h"
#include "src/cli/view_export.h"
#include "src/cli/worker_page.h"
#include "src/flow/services_env.h"
#include "src/flow/worker.h"
#include "src/store/collection.h"
#include "src/telemetry/otel_config.h"
#include "src/telemetry/sdk_impl.h"
#include "src/wire/redact.h"
#include "src/wire/url.h"

#define MAX_FILES 64
#define MAX_DRAIN_MS (86400u * 1000)
#define SHUTDOWN_MS 2000

typedef struct worker_command_options {
    sl_str queue;
    sl_str key;
    sl_str ca_file;
    sl_str config;
    sl_str data_dir;
    sl_str ready_file;
    sl_str metrics;
    sl_str view;
    uint64_t concurrency;
    uint64_t lease_ms;
    uint64_t drain_timeout_ms;
    bool check;
} worker_command_options;

#define OPT(member) offsetof(worker_command_options, member)
static const sl_option options[] = {
    {"queue", 'q', SL_OPT_STR, OPT(queue), "URL",
     "The queue: its HTTP address, or nats://HOST:PORT, several with commas.", "http://127.0.0.1:8001",
     "SIGHTLINE_QUEUE_URL"},
    {"concurrency", 0, SL_OPT_U64, OPT(concurrency), "N", "Runs at once.", "8", NULL},
    {"lease", 0, SL_OPT_MS, OPT(lease_ms), "SECONDS",
     "How soon a task goes to another worker when this one dies; extended while it runs.", "30", NULL},
    {"api-key", 0, SL_OPT_STR, OPT(key), "KEY", "Bearer token of the queue.", NULL, "SIGHTLINE_API_KEY"},
    {"ca-file", 0, SL_OPT_STR, OPT(ca_file), "FILE", "Trusted certificates for an https queue, PEM.", NULL, NULL},
    {"config", 'c', SL_OPT_STR, OPT(config), "FILE", "Models and keys: a LiteLLM config.yaml.", NULL,
     "SIGHTLINE_CONFIG"},
    {"data-dir", 0, SL_OPT_STR, OPT(data_dir), "DIR", "Where collections of vectors are; absent: none are there.", NULL,
     "SIGHTLINE_DATA_DIR"},
    {"drain-timeout", 0, SL_OPT_MS, OPT(drain_timeout_ms), "SECONDS", "How long SIGTERM waits for runs to end.", "30",
     "SIGHTLINE_DRAIN_TIMEOUT"},
    SL_VIEW_OPTION(OPT(view)),
    {"metrics-listen", 0, SL_OPT_STR, OPT(metrics), "ADDRESS",
     "Prometheus and probes: GET /metrics, /health/live, /health/ready (its queue can be reached).", "off", NULL},
    {"ready-file", 0, SL_OPT_STR, OPT(ready_file), "PATH",
     "Written once work is asked for: JSON with pid and addresses.", NULL, NULL},
    {"check", 0, SL_OPT_FLAG, OPT(check), NULL, "Only read files, configuration and environment, and exit 0 or 2.",
     NULL, NULL},
    {NULL, 0, SL_OPT_FLAG, 0, NULL, NULL, NULL, NULL}};
static const sl_option *const tables[] = {options, NULL};

typedef struct runner {
    const worker_command_options *o;
    sl_loop loop;
    sl_sdk *sdk;
    sl_config *config;
    sl_flow_services services;
    sl_flow *flows[MAX_FILES];
    size_t flow_count;
    sl_ready ready;
    sl_ctl_server *page; /* NULL: off */
    sl_buf out;
} runner;

static void flush(runner *r)
{
    if (r->out.len)
        (void)fwrite(r->out.data, 1, r->out.len, stderr);
    sl_buf_clear(&r->out);
}

static int load_files(runner *r, char **files, size_t count)
{
    static sl_flow_problems problems; /* too large for a stack */
    int status = 0;
    for (size_t i = 0; i < count; i++) {
        sl_flow *flow = NULL;
        memset(&problems, 0, sizeof problems);
        int error = sl_flow_load_file(files[i], &problems, &flow);
        (void)sl_flow_problems_format(&problems, files[i], &r->out);
        flush(r);
        if (error)
            status = SL_EXIT_USAGE;
        else
            r->flows[r->flow_count++] = flow;
    }
    return status;
}

/* The file of --config; `warnings` of it are said too. */
static int load_config(runner *r, bool warnings, sl_config **ret_config)
{
    SL_ASSERT(r->o->config.len && ret_config);
    char path[SL_DATA_PATH_MAX];
    sl_config *config = NULL;
    if (!sl_str_to_c(r->o->config, path, sizeof path))
        return sl_fail(SL_EXIT_USAGE, "--config: the name of the file is too long");
    int error = sl_config_load(path, &config);
    if (config && (warnings || error))
        (void)sl_config_format_diagnostics(config, &r->out);
    flush(r);
    if (error && !config)
        return sl_fail(SL_EXIT_USAGE, "%s: %s; give a configuration that can be read", path, sl_strerror(error));
    if (error)
        sl_config_free(config);
    else
        *ret_config = config;
    return error ? SL_EXIT_USAGE : 0;
}

static int reload_models(void *user, sl_llm_client *client)
{
    runner *r = user;
    char reason[512];
    sl_config *config = NULL;
    if (load_config(r, false, &config) != 0)
        return SL_ECONFIG;
    int error = sl_flow_models_add(client, config, reason, sizeof reason);
    if (error)
        (void)sl_fail(0, "flow worker: reload: the models stay as they are: %s", reason);
    sl_config_free(config);
    return error;
}

static void on_sdk_error(void *user, int error, const char *message)
{
    (void)user;
    if (error == SL_ECONFIG)
        (void)sl_fail(0, "%s", message);
}

static int open_sdk(runner *r)
{
    sl_exporter view;
    sl_sdk_options given = {.log_to_stderr = true, .on_error = on_sdk_error, .exporters = &view};
    int status = sl_view_exporter_add(&sl_cmd_flow_worker, r->o->view, &view, &given.exporter_count);
    if (status)
        return status;
    sl_otel_config_queues(&(const sl_env){0}, SL_PROGRAM_QUEUE_ITEMS, given.batch);
    const sl_sdk_internal_options internal = {.export_only_when_set = true, .default_service_name = "llm-orchestrator"};
    int error = sl_sdk_new_internal(&given, &internal, &r->sdk);
    if (error == SL_ECONFIG)
        return SL_EXIT_USAGE;
    return error ? sl_fail(SL_EXIT_FAILED, "flow worker: telemetry cannot start: %s", sl_strerror(error)) : 0;
}

static int open_services(runner *r)
{
    SL_ASSERT(r->sdk);
    sl_flow_services *s = &r->services;
    char folder[SL_DATA_PATH_MAX], path[SL_DATA_PATH_MAX + 32], reason[512] = "";
    s->loop = &r->loop;
    s->sdk = r->sdk;
    char wrong[SL_SERVICES_REASON];
    if (sl_flow_services_from_env(s, wrong))
        return sl_fail(SL_EXIT_USAGE, "%s", wrong);
    int error = sl_llm_client_new(&r->loop, r->sdk, &s->llm);
    if (!error)
        error = sl_upstream_new(&r->loop, NULL, &s->upstream);
    if (!error)
        error = sl_llm_endpoints_from_env(s->llm);
    if (!error && r->config && sl_flow_models_add(s->llm, r->config, reason, sizeof reason) != 0)
        return sl_fail(SL_EXIT_USAGE, "flow worker: %s", reason);
    if (error)
        return sl_fail(SL_EXIT_USAGE, "flow worker: the models cannot be used: %s; check the addresses",
                       sl_strerror(error));
    if (!r->o->data_dir.len)
        return 0;
    if (sl_data_dir_open(r->o->data_dir, folder, reason) != 0)
        return sl_fail(SL_EXIT_USAGE, "%s", reason);
    (void)snprintf(path, sizeof path, "%s/%s", folder, SL_COLLECTIONS_FILE);
    error = sl_collections_open(path, reason, sizeof reason, &s->collections);
    return error ? sl_fail(SL_EXIT_FAILED, "%s", reason) : 0;
}

static void is_ready(void *user)
{
    const runner *r = user;
    if (sl_ready_write(&r->ready, r->o->ready_file) != 0)
        (void)sl_fail(0, "--ready-file: cannot be written; check the folder and its permissions");
}

static int work(runner *r)
{
    char url[1024];
    if (!sl_str_to_c(r->o->queue, url, sizeof url))
        return sl_fail(SL_EXIT_USAGE, "--queue: the address is too long");
    const sl_flow_worker_options o = {.loop = &r->loop,
                                      .sdk = r->sdk,
                                      .services = &r->services,
                                      .queue_url = url,
                                      .key = r->o->key,
                                      .ca_file = r->o->ca_file,
                                      .flows = r->flows,
                                      .flow_count = r->flow_count,
                                      .concurrency = r->o->concurrency,
                                      .lease_ms = (uint32_t)r->o->lease_ms,
                                      .drain_timeout_ms = (uint32_t)r->o->drain_timeout_ms,
                                      .reload = r->o->config.len ? reload_models : NULL,
                                      .on_ready = is_ready,
                                      .user = r};
    int error = sl_flow_worker_run(&o);
    if (error == SL_EINVAL)
        return sl_fail(SL_EXIT_USAGE, "--queue: \"%s\" is no address; give such as http://127.0.0.1:8001", url);
    if (error == SL_ECONFIG)
        return SL_EXIT_FAILED; /* it has said why */
    return error ? sl_fail(SL_EXIT_FAILED, "flow worker: the queue: %s", sl_strerror(error)) : 0;
}

/* Of a cluster the address is read when it is connected to. */
static bool is_queue(sl_str url)
{
    sl_url parsed;
    return sl_str_starts(url, SL_STR("nats://")) || sl_str_starts(url, SL_STR("tls://")) ||
           sl_url_parse(url, &parsed, NULL) == 0;
}

/* Whatever is wrong with the options, all of it at once. */
static int check_options(const worker_command_options *o)
{
    SL_ASSERT(o);
    int status = 0;
    if (o->concurrency == 0 || o->concurrency > 1000)
        status = sl_fail(SL_EXIT_USAGE, "--concurrency: out of range; give 1 to 1000");
    if (o->lease_ms < 1000 || o->lease_ms > 3600000)
        status = sl_fail(SL_EXIT_USAGE, "--lease: out of range; give 1 to 3600 seconds");
    if (o->drain_timeout_ms > MAX_DRAIN_MS)
        status = sl_fail(SL_EXIT_USAGE, "%s: out of range; give up to %u seconds",
                         sl_option_source(&sl_cmd_flow_worker, "drain-timeout"), MAX_DRAIN_MS / 1000);
    if (sl_worker_page_check(o->metrics) != 0)
        status = SL_EXIT_USAGE;
    if (!is_queue(o->queue)) {
        char shown[256];
        sl_redact_url(o->queue, shown, sizeof shown);
        status = sl_fail(SL_EXIT_USAGE, "%s: \"%s\" is no address; give such as http://127.0.0.1:8001",
                         sl_option_source(&sl_cmd_flow_worker, "queue"), shown);
    }
    return status;
}

static int open_and_work(runner *r)
{
    int status = sl_loop_init(&r->loop) ? sl_fail(SL_EXIT_FAILED, "flow worker: no event loop") : open_sdk(r);
    if (!status)
        status = open_services(r);
    if (!status && !r->o->check)
        status = sl_worker_page_open(r->sdk, r->o->metrics, r->o->queue, &r->ready, &r->page);
    if (!status && !r->o->check)
        status = work(r);
    sl_ctl_server_free(r->page);
    sl_collections_close(r->services.collections);
    sl_flow_services_done(&r->services);
    if (r->sdk)
        (void)sl_sdk_shutdown(r->sdk, SHUTDOWN_MS);
    return status;
}

static int run_worker(const sl_command *command, void *given, char **args, size_t arg_count)
{
    (void)command;
    static runner worker; /* lives until the process ends, as requests under way do */
    runner *r = &worker;
    r->o = given;
    if (arg_count == 0)
        return sl_fail(SL_EXIT_USAGE, "flow worker: no file; give the workflows that it runs");
    (void)signal(SIGPIPE, SIG_IGN);
    sl_buf_init(&r->out, 4u << 20);
    int status = check_options(r->o);
    if (load_files(r, args, arg_count) != 0)
        status = SL_EXIT_USAGE;
    if (r->o->config.len && load_config(r, true, &r->config) != 0)
        status = SL_EXIT_USAGE;
    return status ? status : open_and_work(r);
}

const sl_command sl_cmd_flow_worker = {
    "flow worker",
    "runs workflows for a queue elsewhere",
    "FILE… [--queue URL] [options]",
    "Takes tasks of its workflows from the queue, runs them and sends events and results back. A task is acknowledged "
    "when its result is on the queue's disk; those of a worker that dies go to the next. SIGTERM lets runs end, SIGHUP "
    "reads the models of -c again.",
    "  sightline flow worker pipeline.yaml --queue http://flows.internal:8001 --concurrency 16\n"
    "  sightline flow worker pipeline.yaml -c config.yaml --check\n"
    "  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317 sightline flow worker *.yaml\n",
    tables,
    sizeof(worker_command_options),
    MAX_FILES,
    run_worker};
