/* Reading, exporting and answering beside the program. */
#include "src/cli/exec_telemetry.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/sync.h"
#include "src/cli/view_export.h"
#include "src/telemetry/env.h"
#include "src/telemetry/health_http.h"
#include "src/telemetry/otel_config.h"
#include "src/telemetry/prometheus_listener.h"
#include "src/telemetry/sdk_impl.h"

#define STOP_SERVER_MS 200
#define MAX_ROUTES (1 + SL_LIVE_ROUTES + SL_HEALTH_ROUTES)

static const char *const option_names[] = {
#define NAME(name, option, env, fallback, help) option,
    SL_EXEC_LISTENER_MAP(NAME)
#undef NAME
};

static const char *const keys[] = {
#define KEY(name, option, env, fallback, help) #name,
    SL_EXEC_LISTENER_MAP(KEY)
#undef KEY
};

/* ---- checks ---- */

static int parse_listener(const sl_command *command, const sl_exec_options *options, int id, sl_addr *ret_addr)
{
    SL_ASSERT(id >= 0 && id < SL_EXEC_LISTENER_COUNT && ret_addr);
    char reason[SL_ADDR_REASON_MAX];
    if (sl_addr_parse(options->listen[id], "127.0.0.1", ret_addr, reason) == 0)
        return 0;
    return sl_fail(SL_EXIT_USAGE, "%s: %s", sl_option_source(command, option_names[id]), reason);
}

static int check_view(const sl_command *command, const sl_exec_options *options)
{
    sl_exporter exporter;
    size_t count = 0;
    int status = sl_view_exporter_add(command, options->view, &exporter, &count);
    if (count)
        exporter.free(exporter.user);
    return status;
}

/* Where the front listener sends requests to; a port of 0 when nothing is said of it. */
static int check_front(const sl_command *command, const sl_exec_options *options, sl_addr *ret_addr)
{
    SL_ASSERT(options && ret_addr);
    char reason[SL_ADDR_REASON_MAX];
    memset(ret_addr, 0, sizeof *ret_addr);
    if (!options->front_to.len)
        return 0;
    const char *source = sl_option_source(command, "front-to");
    if (sl_addr_parse(options->front_to, "127.0.0.1", ret_addr, reason) != 0)
        return sl_fail(SL_EXIT_USAGE, "%s: %s", source, reason);
    if (ret_addr->off || ret_addr->port == 0)
        return sl_fail(SL_EXIT_USAGE, "%s: no server; give such as 127.0.0.1:8080", source);
    return 0;
}

static int parse_quotas(const sl_command *command, const sl_exec_options *options, sl_quota_limits *ret_limits)
{
    sl_str fault;
    if (sl_quota_parse(options->quotas, ret_limits, &fault) == 0)
        return 0;
    return sl_fail(SL_EXIT_USAGE,
                   "%s: \"%.*s\" is no limit; give such as "
                   "resident_memory=8GiB,context=0.9,queue=16,tokens_per_second=500",
                   sl_option_source(command, "quotas"), (int)fault.len, fault.ptr);
}

/* OTEL_* that would fail the start. */
static int check_environment(void)
{
    static const sl_env env;
    static const sl_sdk_options sdk_options;
    sl_otel_config config;
    int error = sl_otel_config_load(&env, &sdk_options, true, &config);
    int status = error ? sl_fail(SL_EXIT_USAGE, "%s", config.why[0] ? config.why : sl_strerror(error)) : 0;
    sl_otel_config_done(&config);
    return status;
}

int sl_exec_telemetry_check(const sl_command *command, const sl_exec_options *options)
{
    SL_ASSERT(command && options);
    sl_addr addr;
    int status = 0;
    for (int id = 0; id < SL_EXEC_LISTENER_COUNT; id++) {
        if (parse_listener(command, options, id, &addr) != 0)
            status = SL_EXIT_USAGE;
    }
    if (options->decode_span_every == 0 || options->decode_span_every > UINT32_MAX)
        status = sl_fail(SL_EXIT_USAGE, "%s: out of range; give 1 for every batch, or more",
                         sl_option_source(command, "decode-span-every"));
    if (options->flush_ms > 60000)
        status = sl_fail(SL_EXIT_USAGE, "%s: out of range; give up to 60 seconds",
                         sl_option_source(command, "flush-timeout"));
    sl_quota_limits limits;
    const int found[] = {check_view(command, options), parse_quotas(command, options, &limits),
                         check_front(command, options, &addr), check_environment()}; /* all faults at once */
    for (size_t i = 0; i < sizeof found / sizeof *found; i++)
        status = found[i] ? SL_EXIT_USAGE : status;
    return status;
}

/* ---- listeners ---- */

/* The SDK's own listener of OTEL_METRICS_EXPORTER=prometheus has the same default port. */
static bool prometheus_is_exporter(void)
{
    static const sl_env env;
    return sl_str_find(sl_env_text(&env, SL_VAR_OTEL_METRICS_EXPORTER), SL_STR("prometheus")) != SL_NPOS;
}

static int open_listener(sl_exec_telemetry *t, int id)
{
    SL_ASSERT(id >= 0 && id < SL_EXEC_LISTENER_COUNT);
    char reason[SL_ADDR_REASON_MAX];
    sl_addr wanted;
    bool asked = sl_option_given(t->command, option_names[id]);
    t->fds[id] = -1;
    t->addrs[id].off = true;
    if (parse_listener(t->command, t->options, id, &wanted) != 0)
        return SL_EXIT_USAGE;
    if (wanted.off || (id == SL_EXEC_metrics && !asked && prometheus_is_exporter()))
        return 0;
    if (sl_addr_listen(&wanted, NULL, &t->fds[id], &t->addrs[id], reason) == 0) {
        sl_ready_add(&t->ready, keys[id], &t->addrs[id]);
        return 0;
    }
    t->fds[id] = -1;
    t->addrs[id].off = true;
    if (asked)
        return sl_fail(SL_EXIT_FAILED, "%s: %s", sl_option_source(t->command, option_names[id]), reason);
    (void)sl_fail(0, "warning: the %s listener is left out: %s (--%s changes it)", keys[id], reason, option_names[id]);
    return 0;
}

static int add_routes(sl_exec_telemetry *t, int id)
{
    sl_ctl_route routes[MAX_ROUTES];
    size_t count = 0;
    if (t->fds[id] < 0 || id == SL_EXEC_front)
        return 0;
    routes[count++] = (sl_ctl_route){"/metrics", SL_CTL_GET, sl_prometheus_answer, t->sdk};
    if (id == SL_EXEC_admin) {
        sl_live_routes(t->live, routes + count);
        count += SL_LIVE_ROUTES;
    }
    sl_health_routes(sl_sdk_health(t->sdk), routes + count);
    count += SL_HEALTH_ROUTES;
    SL_ASSERT(count <= MAX_ROUTES);
    int fd = t->fds[id];
    t->fds[id] = -1;
    return sl_ctl_server_add(t->server, fd, routes, count);
}

static sl_health_status check_program(void *user, char *reason, size_t size)
{
    const sl_exec_telemetry *t = user;
    bool runs = atomic_load(&t->runs);
    if (runs && kill(t->program->pid, 0) == 0)
        return SL_HEALTHY;
    (void)snprintf(reason, size, runs ? "the program has ended" : "the program has not been started yet");
    return SL_UNHEALTHY;
}

static int start_server(sl_exec_telemetry *t)
{
    const sl_health_check_options often = {.timeout_ms = 1000, .interval_ms = 500};
    const sl_ctl_options large = {.max_body_bytes = SL_LIVE_POST_BYTES}; /* the admin listener takes spans */
    int error = sl_health_add(sl_sdk_health(t->sdk), "program", check_program, t, &often);
    if (!error)
        error = (t->server = sl_ctl_server_new(&large)) ? 0 : SL_ENOMEM;
    for (int id = 0; id < SL_EXEC_LISTENER_COUNT && !error; id++)
        error = add_routes(t, id);
    return error ? error : sl_ctl_server_start(t->server);
}

/* ---- the SDK ---- */

static void on_sdk_error(void *user, int error, const char *message)
{
    (void)user;
    if (error == SL_ECONFIG)
        (void)sl_fail(0, "%s", message);
}

static int start_sdk(sl_exec_telemetry *t)
{
    sl_exporter exporters[2];
    size_t count = 0;
    int error = 0;
    if (t->fds[SL_EXEC_admin] >= 0) {
        t->live = sl_live_new(NULL);
        if (!t->live)
            return SL_ENOMEM;
        exporters[count++] = sl_live_exporter(t->live);
    }
    if (sl_view_exporter_add(t->command, t->options->view, exporters, &count) != 0)
        return SL_ECONFIG;
    /* The process that telemetry is about is the program's, not this one. */
    const char *name = strrchr(t->program->argv[0], '/');
    const sl_attr process[] = {sl_attr_int("process.pid", t->program->pid),
                               sl_attr_str("process.executable.name", name ? name + 1 : t->program->argv[0])};
    sl_sdk_options given = {.exporters = exporters,
                            .exporter_count = count,
                            .resource_attrs = process,
                            .resource_attr_count = sizeof process / sizeof *process,
                            .on_error = on_sdk_error};
    sl_otel_config_queues(&(const sl_env){0}, SL_PROGRAM_QUEUE_ITEMS, given.batch);
    const sl_sdk_internal_options internal = {.export_only_when_set = true, .default_service_name = "llama-cpp"};
    if (!error)
        error = sl_sdk_new_internal(&given, &internal, &t->sdk);
    if (!error && (t->process = sl_process_metrics_new(sl_meter_named(t->sdk, "sightline"))) == NULL)
        error = SL_ENOMEM;
    return error;
}

static int start_reader(sl_exec_telemetry *t, const char *dir)
{
    SL_ASSERT(t->sdk && !t->reader && (dir || t->program->ring));
    int error = sl_quota_watch_new(t->sdk, &t->limits, &t->quotas);
    if (error)
        return error;
    t->probe = (sl_probe_options){.sdk = t->sdk,
                                  .decode_span_every = (uint32_t)t->options->decode_span_every,
                                  .slow_decode_ns = t->options->slow_decode_ms * 1000000u,
                                  .trace_polls = t->options->trace_polls,
                                  .quotas = t->quotas};
    const sl_probe_reader_options options = {.dir = dir, .consumer = sl_probe_reader_assemblers(&t->probe)};
    error = sl_probe_reader_new(&options, &t->reader);
    if (!error && t->program->ring)
        error = sl_probe_reader_add(t->reader, t->program->ring);
    return error ? error : sl_probe_reader_start(t->reader);
}

static int start_front(sl_exec_telemetry *t)
{
    SL_ASSERT(t->program && !t->front);
    sl_exec_front_options o = {.listen_fd = t->fds[SL_EXEC_front], .watch = t->quotas};
    if (o.listen_fd < 0)
        return 0;
    if (check_front(t->command, t->options, &o.server) != 0)
        return SL_EINVAL;
    if (o.server.port == 0)
        sl_exec_front_guess(t->program->argv, &o.server);
    return sl_exec_front_start(&o, &t->front);
}

int sl_exec_telemetry_open(sl_exec_telemetry *t, const sl_command *command, const sl_exec_options *options,
                           const sl_exec_program *program, const char *dir)
{
    SL_ASSERT(t && command && options && program);
    memset(t, 0, sizeof *t);
    t->command = command;
    t->options = options;
    t->program = program;
    t->disabled = !dir && !program->ring;
    int status = 0;
    for (int id = 0; id < SL_EXEC_LISTENER_COUNT; id++)
        t->fds[id] = -1;
    status = parse_quotas(command, options, &t->limits);
    for (int id = 0; id < SL_EXEC_LISTENER_COUNT && !status; id++)
        status = open_listener(t, id);
    if (status)
        return status;
    int error = start_sdk(t);
    if (error == SL_ECONFIG)
        return SL_EXIT_USAGE;
    if (!error)
        error = start_server(t);
    if (!error && !t->disabled)
        error = start_reader(t, dir);
    if (!error)
        error = start_front(t);
    return error ? sl_fail(SL_EXIT_FAILED, "exec: telemetry cannot start: %s", sl_strerror(error)) : 0;
}

void sl_exec_telemetry_started(sl_exec_telemetry *t)
{
    SL_ASSERT(t && t->program && t->process);
    atomic_store(&t->runs, true);
    const pid_t pids[1] = {t->program->pid};
    int error = sl_process_metrics_set_pids(t->process, pids, 1);
    SL_ASSERT(error == 0);
    (void)error;
}

void sl_exec_telemetry_close(sl_exec_telemetry *t)
{
    SL_ASSERT(t);
    uint64_t deadline = sl_deadline_ns(t->options->flush_ms);
    sl_exec_front_stop(t->front);
    if (t->reader) {
        sl_probe_reader_stats stats;
        sl_probe_reader_stop(t->reader, deadline);
        sl_probe_reader_get_stats(t->reader, &stats);
        t->hosts_seen = stats.seen;
    }
    sl_probe_reader_free(t->reader);
    if (t->server)
        sl_ctl_server_stop(t->server, STOP_SERVER_MS);
    sl_quota_watch_free(t->quotas);
    if (t->sdk)
        (void)sl_sdk_shutdown(t->sdk, sl_deadline_left_ms(deadline));
    /* The process ends here: exporters that were left behind may still use the SDK and the view. */
}
