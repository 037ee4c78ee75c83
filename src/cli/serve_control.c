/*
 * The control process: reads what the workers record, exports it, and answers metrics, health and traces. It takes no
 * requests of users, so it answers under full load, and a worker that hangs does not touch it.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/cli/serve.h"
#include "src/telemetry/collect.h"
#include "src/telemetry/health_http.h"
#include "src/telemetry/multiproc.h"
#include "src/telemetry/otel_config.h"
#include "src/telemetry/pipeline.h"
#include "src/telemetry/process_metrics.h"
#include "src/telemetry/prometheus_listener.h"
#include "src/telemetry/python_db.h"
#include "src/telemetry/sdk_impl.h"
#include "src/view/live.h"

#define STOP_SERVER_MS 1000u
#define STOP_SDK_MS 5000u
#define MAX_ROUTES 16

typedef struct control {
    sl_serve *serve;
    const sl_config *config;
    sl_tree_status *status;
    sl_live *live;
    sl_sdk *sdk;
    sl_process_metrics *process;
    sl_ctl_server *server;
    sl_ctl_server *admin;    /* takes larger bodies: spans of other processes */
    sl_multiproc *multiproc; /* NULL: PROMETHEUS_MULTIPROC_DIR is not set */
} control;

/* An error of the exporters: one line a second and kind, by the SDK's own rate limit. */
static void on_error(void *user, int error, const char *message)
{
    (void)user;
    (void)error;
    fprintf(stderr, "sightline: telemetry: %s\n", message);
}

/* The flow plane's parts have names of their own, wherever they run; see flow/server.c, llm/client_telemetry.c. */
static const sl_scope_service flow_services[] = {
    {"sightline.apiserver", "llama-deploy-apiserver"},
    {"sightline.control_plane", "llama-deploy-apiserver"},
    {"sightline.queue", "llama-deploy-apiserver"},
    {"sightline.workflow", "llm-orchestrator"},
    {"sightline.flow", "llm-orchestrator"},
    {"sightline.llm", "llm-orchestrator"},
};

static int start_sdk(control *c)
{
    SL_ASSERT(c);
    sl_exporter live = sl_live_exporter(c->live);
    sl_sdk_options options;
    memset(&options, 0, sizeof options);
    options.exporters = &live;
    options.exporter_count = 1;
    options.log_to_stderr = true;
    sl_otel_config_queues(&(const sl_env){0}, SL_PROGRAM_QUEUE_ITEMS, options.batch);
    options.on_error = on_error;
    sl_sdk_internal_options internal = {.export_only_when_set = true,
                                        .default_service_name = sl_serve_service_name(c->serve),
                                        .scope_services = flow_services,
                                        .scope_service_count = sizeof flow_services / sizeof *flow_services,
                                        .wake_fd = c->serve->wake_fd};
    int error = sl_sdk_new_internal(&options, &internal, &c->sdk);
    for (unsigned i = 0; i < c->serve->segment_count && !error; i++) {
        if (c->sdk->pipeline)
            error = sl_pipeline_add_segment(c->sdk->pipeline, c->serve->segments[i]);
        if (!error)
            error = sl_collector_add_segment(c->sdk->collector, c->serve->segments[i]);
    }
    if (!error && (c->process = sl_process_metrics_new(sl_meter_named(c->sdk, "sightline"))) == NULL)
        error = SL_ENOMEM;
    return error;
}

/* ---- health ---- */

/* Ready when every worker that should be there answers. */
static sl_health_status check_workers(void *user, char *reason, size_t size)
{
    sl_tree_status *status = user;
    unsigned ready = atomic_load(&status->ready), wanted = atomic_load(&status->wanted);
    if (ready >= wanted) {
        if (wanted > 0)
            atomic_store(&status->announced, 1); /* probes are answered so from now on: the ready file may be written */
        return SL_HEALTHY;
    }
    snprintf(reason, size, "%u of %u workers answer", ready, wanted);
    return ready ? SL_DEGRADED : SL_UNHEALTHY;
}

static sl_health_status check_store(void *user, char *reason, size_t size)
{
    return sl_board_read(user, SL_BOARD_STORE, reason, size);
}

static sl_health_status check_broker(void *user, char *reason, size_t size)
{
    return sl_board_read(user, SL_BOARD_BROKER, reason, size);
}

static sl_health_status check_providers(void *user, char *reason, size_t size)
{
    return sl_board_read(user, SL_BOARD_PROVIDERS, reason, size);
}

/* What the process of the flow plane says of its parts. */
static int add_flow_checks(const control *c, sl_health *health, const sl_health_check_options *often)
{
    sl_health_board *board = c->serve->board;
    if (!board)
        return 0;
    int error = sl_health_add(health, "store", check_store, board, often);
    if (!error && c->serve->options->cluster.len)
        error = sl_health_add(health, "broker", check_broker, board, often);
    return error ? error : sl_health_add(health, "providers", check_providers, board, often);
}

static int add_check(sl_health *health, const sl_health_check_config *check)
{
    SL_ASSERT(check);
    sl_health_check_options o = {.timeout_ms = check->timeout_ms, .interval_ms = check->interval_ms};
    if (sl_str_eq_c(check->kind, "memory"))
        return sl_health_add_memory(health, check->name.ptr, check->limit_bytes, &o);
    if (sl_str_eq_c(check->kind, "http"))
        return sl_health_add_http(health, check->name.ptr, check->target.ptr, &o);
    if (sl_str_eq_c(check->kind, "tcp"))
        return sl_health_add_tcp(health, check->name.ptr, check->target.ptr, &o);
    return sl_health_add_disk(health, check->name.ptr, check->target.ptr, check->limit_bytes, &o);
}

static int add_checks(control *c)
{
    SL_ASSERT(c);
    sl_health *health = sl_sdk_health(c->sdk);
    const sl_health_check_options often = {.timeout_ms = 1000, .interval_ms = 100};
    int error = sl_health_add(health, "workers", check_workers, c->status, &often);
    if (!error)
        error = add_flow_checks(c, health, &often);
    for (size_t i = 0; i < c->config->health_check_count && !error; i++) {
        error = add_check(health, &c->config->health_checks[i]);
        if (error)
            fprintf(stderr, "%s:%u: health check %s: %s\n", c->config->path.ptr, c->config->health_checks[i].line,
                    c->config->health_checks[i].name.ptr, sl_strerror(error));
    }
    return error;
}

/* ---- metrics ---- */

/* Segments of other processes in the folder, which the collector reads, and files of Python's client, as text. */
static int open_multiproc(control *c)
{
    SL_ASSERT(c);
    if (!c->serve->multiproc_dir)
        return 0;
    c->multiproc = sl_multiproc_new(c->serve->multiproc_dir, c->sdk->collector);
    for (unsigned i = 0; c->multiproc && i < c->serve->segment_count; i++)
        sl_multiproc_own(c->multiproc, c->serve->segment_fds[i]);
    return c->multiproc ? 0 : SL_ENOMEM;
}

static int add_python_files(const control *c, sl_prometheus_format format, sl_buf *out)
{
    SL_ASSERT(c && out);
    static const sl_str eof = {"# EOF\n", 6};
    bool ends = format == SL_PROMETHEUS_OPENMETRICS && sl_str_ends(sl_buf_str(out), eof);
    if (ends)
        out->len -= eof.len;
    int error = sl_python_db_write(c->serve->multiproc_dir, format, out);
    if (ends)
        (void)sl_buf_put_str(out, eof);
    return error;
}

static void answer_metrics(void *user, const sl_ctl_request *request, sl_ctl_response *response)
{
    control *c = user;
    int error = c->multiproc ? sl_multiproc_refresh(c->multiproc) : 0;
    sl_prometheus_answer(c->sdk, request, response);
    if (c->multiproc && !error && response->status == 200)
        error = add_python_files(c, sl_prometheus_negotiate(sl_ctl_header(request, SL_STR("accept"))), &response->body);
    if (error)
        sl_ctl_error(response, 500, "internal_error", "PROMETHEUS_MULTIPROC_DIR cannot be read: %s",
                     sl_strerror(error));
}

/* ---- listeners ---- */

/* Every listener answers health; metrics and traces have their own. */
static int add_listener(control *c, sl_listener_id id)
{
    SL_ASSERT(c);
    sl_ctl_route routes[MAX_ROUTES];
    size_t count = 0;
    sl_serve_listener *l = &c->serve->listeners[id];
    if (l->fd < 0)
        return 0;
    routes[count++] = (sl_ctl_route){"/metrics", SL_CTL_GET, answer_metrics, c};
    if (id == SL_LISTENER_admin) {
        sl_live_routes(c->live, routes + count);
        count += SL_LIVE_ROUTES;
    }
    sl_health_routes(sl_sdk_health(c->sdk), routes + count);
    count += SL_HEALTH_ROUTES;
    SL_ASSERT(count <= MAX_ROUTES);
    return sl_ctl_server_add(id == SL_LISTENER_admin ? c->admin : c->server, l->fd, routes, count);
}

static int start_server(control *c)
{
    SL_ASSERT(c);
    const sl_ctl_options of_admin = {.max_body_bytes = SL_LIVE_POST_BYTES};
    int error = (c->server = sl_ctl_server_new(NULL)) && (c->admin = sl_ctl_server_new(&of_admin)) ? 0 : SL_ENOMEM;
    for (int id = 0; id < SL_LISTENER_COUNT && !error; id++) {
        if (sl_listener_plane((sl_listener_id)id) == 0) /* a plane answers on its own ones */
            error = add_listener(c, (sl_listener_id)id);
    }
    if (!error)
        error = sl_ctl_server_start(c->admin);
    return error ? error : sl_ctl_server_start(c->server);
}

/* ---- the process ---- */

static void refresh_pids(control *c)
{
    SL_ASSERT(c);
    pid_t pids[SL_MAX_CHILDREN + 1];
    size_t count = 0;
    for (size_t i = 0; i <= SL_MAX_CHILDREN && count < SL_MAX_METRIC_PIDS; i++) {
        pid_t pid = atomic_load(&c->status->pids[i]);
        if (pid > 0)
            pids[count++] = pid;
    }
    int error = sl_process_metrics_set_pids(c->process, pids, count);
    SL_ASSERT(error == 0); /* the array has room for no more than the limit */
    (void)error;
}

/*
 * Until SIGTERM: keeps readiness and the set of processes up to date. SIGINT is the supervisor's business. A SIGTERM
 * that was sent to the whole tree is remembered: what workers record while they drain is still to be exported.
 */
static void wait_for_the_end(control *c, const sl_child_start *start, const sigset_t *signals)
{
    struct timespec tick = {0, 250 * 1000000};
    bool draining = false, told = false;
    for (;;) {
        refresh_pids(c);
        if (!draining && atomic_load(&c->status->draining)) {
            draining = true;
            sl_health_set_ready(sl_sdk_health(c->sdk), false, "draining");
        }
        int number = sigtimedwait(signals, NULL, &tick);
        told = told || number == SIGTERM;
        if (told && sl_child_may_end(start))
            return;
    }
}

int sl_serve_control(void *user, const sl_child_start *start)
{
    SL_ASSERT(start);
    static control c; /* its threads are not waited for longer than is told below: it lasts as long as the process */
    c = (control){.serve = user, .config = start->generation, .status = start->status};
    sigset_t signals;
    sigemptyset(&signals);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGHUP);
    /* Before any thread is made, so that all of them have it blocked. */
    (void)pthread_sigmask(SIG_BLOCK, &signals, NULL);
    int error = (c.live = sl_live_new(NULL)) ? 0 : SL_ENOMEM;
    if (!error)
        error = start_sdk(&c);
    if (!error)
        error = add_checks(&c);
    if (!error)
        error = open_multiproc(&c);
    if (!error)
        error = start_server(&c);
    if (error) {
        fprintf(stderr, "sightline: telemetry cannot start: %s\n", sl_strerror(error));
        return SL_EXIT_FAILED;
    }
    sl_child_ready(start);
    wait_for_the_end(&c, start, &signals);
    sl_ctl_server_stop(c.admin, STOP_SERVER_MS);
    sl_ctl_server_stop(c.server, STOP_SERVER_MS);
    (void)sl_sdk_shutdown(c.sdk, STOP_SDK_MS);
    return SL_EXIT_OK;
}
