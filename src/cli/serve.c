/* The supervisor's side of `gateway` and `up`. */
#include "src/cli/serve.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/cli/announce.h"
#include "src/cli/data_dir.h"
#include "src/cli/mock_server.h"
#include "src/cli/reload.h"
#include "src/gateway/gateway.h"
#include "src/gateway/worker.h"
#include "src/telemetry/multiproc.h"
#include "src/telemetry/otel_config.h"
#include "src/telemetry/sdk_impl.h"
#include "src/telemetry/series_record.h"

#define DEV_KEY "sk-dev-key"
#define DEFAULT_ADMIN "http://127.0.0.1:4001" /* where `sightline traces` looks by itself */
#define MAX_DRAIN_MS (86400u * 1000)
#define CUT_MS 5000u /* for children to end what has not ended in time: a kill would lose spans and records of it */

/* ---- configuration ---- */

static void print_diagnostics(const sl_config *config)
{
    SL_ASSERT(config);
    sl_buf text;
    sl_buf_init(&text, 4u << 20);
    (void)sl_config_format_diagnostics(config, &text);
    if (text.len)
        fwrite(text.data, 1, text.len, stderr);
    sl_buf_done(&text);
}

/* False: what no worker could start with was said on standard error. */
static bool gateway_can_use(const sl_config *config)
{
    sl_buf text;
    sl_buf_init(&text, 1u << 20);
    size_t faults = sl_gateway_check(config, &text);
    if (text.len)
        fwrite(text.data, 1, text.len, stderr);
    sl_buf_done(&text);
    return faults == 0;
}

/* Loads the file, or an empty configuration; NULL when it is bad (said on standard error; `warnings` are too). */
static sl_config *load_config(const sl_serve *s, bool warnings)
{
    SL_ASSERT(s);
    sl_config *config = NULL;
    char path[4096];
    if (!s->options->config.len)
        return sl_config_empty();
    if (!sl_str_to_c(s->options->config, path, sizeof path)) {
        (void)sl_fail(0, "--config: the path is too long; use a shorter one");
        return NULL;
    }
    int error = sl_config_load(path, &config);
    if (config && (warnings || config->error_count))
        print_diagnostics(config);
    if (error == SL_EIO)
        (void)sl_fail(0, "%s: cannot be read: %s; check the path and its permissions", path, strerror(errno));
    else if (error && error != SL_ECONFIG)
        (void)sl_fail(0, "%s: cannot be read: %s; at most %u bytes", path, sl_strerror(error), SL_MAX_CONFIG_BYTES);
    if (!error && gateway_can_use(config))
        return config;
    sl_config_free(config);
    return NULL;
}

/* The built-in models, when the file has none. */
static int add_mock_models(const sl_serve *s, sl_config *config)
{
    static const char *const names[] = {"claude-haiku", "mock"};
    for (size_t i = 0; i < 2; i++) {
        sl_deployment d;
        memset(&d, 0, sizeof d);
        d.model_name = sl_str_c(names[i]);
        d.provider = SL_STR("openai");
        d.upstream_model = SL_STR("mock");
        d.host = sl_str_c(s->mock.addr.host);
        d.port = s->mock.addr.port;
        d.base_path = SL_STR("/v1");
        d.include_usage = d.propagate_tracestate = d.propagate_baggage = true;
        d.timeout_ms = d.stream_timeout_ms = 600000;
        d.connect_timeout_ms = 10000;
        int error = sl_config_add(config, &d);
        if (error)
            return error;
    }
    return 0;
}

/* What a file leaves open: models and key. */
static int complete_config(const sl_serve *s, sl_config *config)
{
    SL_ASSERT(config);
    if (!config->master_key.len && s->default_key)
        config->master_key = sl_arena_dup(&config->arena, SL_STR(DEV_KEY));
    return config->deployment_count || s->mock.fd < 0 ? 0 : add_mock_models(s, config);
}

static bool is_served(const sl_serve *s, sl_listener_id id)
{
    SL_ASSERT(s);
    unsigned plane = sl_listener_plane(id);
    return plane == 0 || (s->planes & plane) != 0;
}

/* Settings of the file that were changed and stay as they are; those that an option decides are none of them. */
static void say_kept(const sl_serve *s, const sl_config *fresh)
{
    SL_ASSERT(s && fresh);
    unsigned kept = sl_reload_kept(s->config, fresh);
    for (int id = 0; id < SL_LISTENER_COUNT; id++) {
        if (!is_served(s, (sl_listener_id)id) || sl_option_given(s->command, sl_listener_option((sl_listener_id)id)))
            kept &= ~(1u << id);
    }
    if (!(s->planes & SL_PLANE_GATEWAY) || sl_option_given(s->command, "workers"))
        kept &= ~(unsigned)SL_KEPT_WORKERS;
    if (sl_option_given(s->command, "drain-timeout"))
        kept &= ~(unsigned)SL_KEPT_DRAIN_TIMEOUT;
    for (unsigned bit = 1; kept; bit <<= 1) {
        if (kept & bit)
            (void)sl_fail(0, "warning: reload: %s: was changed, and stays as it was; start again for it to take effect",
                          sl_reload_setting(bit));
        kept &= ~bit;
    }
}

/* Why a configuration cannot take the place of the running one; NULL: it can. */
static const char *not_reloadable(const sl_serve *s, const sl_config *config)
{
    SL_ASSERT(s && config);
    if (s->has_models && config->deployment_count == 0 && s->mock.fd < 0)
        return "has no model";
    if ((s->planes & SL_PLANE_GATEWAY) && !config->master_key.len && !s->default_key)
        return "has no general_settings.master_key any more";
    return NULL;
}

sl_config *sl_serve_read_again(const sl_serve *serve, bool warnings)
{
    SL_ASSERT(serve);
    sl_config *config = load_config(serve, warnings);
    const char *why = config ? not_reloadable(serve, config) : NULL;
    if (why)
        (void)sl_fail(0, "reload: the configuration %s; the running one stays", why);
    if (!why && (!config || complete_config(serve, config) == 0))
        return config;
    sl_config_free(config);
    return NULL;
}

static void *reload_config(void *user)
{
    sl_serve *s = user;
    sl_config *config = sl_serve_read_again(s, true);
    if (config)
        say_kept(s, config);
    return config;
}

/* The one of the start stays: later ones are compared with it. */
static void release_config(void *user, void *generation)
{
    const sl_serve *s = user;
    if (generation != s->config)
        sl_config_free(generation);
}

/* What to name in a message about a setting: its option, its variable, or the configuration file. */
static const char *given_by(const sl_serve *s, const char *option, bool in_file)
{
    SL_ASSERT(s && option);
    static char text[4200];
    for (int id = 0; id < SL_LISTENER_COUNT && in_file; id++) {
        const char *variable;
        if (strcmp(option, sl_listener_option((sl_listener_id)id)) == 0 && !sl_option_given(s->command, option) &&
            !sl_listener_configured(s->config, (sl_listener_id)id).len &&
            sl_serve_llama_listen((sl_listener_id)id, text, sizeof text, &variable))
            return variable;
    }
    if (sl_option_given(s->command, option) || !in_file || !s->config->path.len)
        return sl_option_source(s->command, option);
    snprintf(text, sizeof text, "--%s (from %s)", option, s->config->path.ptr);
    return text;
}

/* ---- listeners ---- */

/* Address of a listener: option or environment, then configuration file, then default. */
static sl_str listen_text(const sl_serve *s, sl_listener_id id, bool *ret_asked)
{
    SL_ASSERT(s && ret_asked);
    sl_str from_file = sl_listener_configured(s->config, id);
    bool given = sl_option_given(s->command, sl_listener_option(id));
    static char from_llama[SL_LISTENER_COUNT][SL_ADDR_TEXT_MAX];
    const char *source;
    if (!given && !from_file.len && (s->planes & SL_PLANE_FLOW) &&
        sl_serve_llama_listen(id, from_llama[id], sizeof from_llama[id], &source))
        from_file = sl_str_c(from_llama[id]);
    *ret_asked = given || from_file.len;
    return given || !from_file.len ? s->options->listen[id] : from_file;
}

/* Where a listener is to listen. SL_EXIT_USAGE, said, when that is no address or none that is allowed. */
static int listener_address(const sl_serve *s, sl_listener_id id, bool *ret_asked, sl_addr *ret_wanted)
{
    SL_ASSERT(s && ret_wanted);
    char reason[SL_ADDR_REASON_MAX];
    sl_str text = listen_text(s, id, ret_asked);
    const char *source = given_by(s, sl_listener_option(id), *ret_asked);
    if (sl_addr_parse(text, "127.0.0.1", ret_wanted, reason) != 0)
        return sl_fail(SL_EXIT_USAGE, "%s: %s", source, reason);
    if (sl_listener_plane(id) == SL_PLANE_FLOW && !s->options->api_key.len && !ret_wanted->off &&
        !sl_addr_is_loopback(ret_wanted))
        return sl_fail(SL_EXIT_USAGE,
                       "%s: %.*s is not loopback, and no key is configured; set --api-key or SIGHTLINE_API_KEY", source,
                       (int)text.len, text.ptr);
    if (id == SL_LISTENER_gateway && s->default_key && !ret_wanted->off && !sl_addr_is_loopback(ret_wanted))
        return sl_fail(SL_EXIT_USAGE,
                       "%s: %.*s is not loopback, and no key is configured; set general_settings.master_key or "
                       "LITELLM_MASTER_KEY",
                       source, (int)text.len, text.ptr);
    return 0;
}

/* Opens one listener. A default one whose port is taken is left out with a warning. Returns an exit status or 0. */
static int open_listener(sl_serve *s, sl_listener_id id)
{
    SL_ASSERT(s);
    char reason[SL_ADDR_REASON_MAX];
    bool asked;
    sl_addr wanted;
    sl_serve_listener *l = &s->listeners[id];
    l->fd = -1;
    l->addr.off = true;
    if (!is_served(s, id))
        return 0;
    int status = listener_address(s, id, &asked, &wanted);
    if (status || wanted.off)
        return status;
    if (sl_addr_listen(&wanted, NULL, &l->fd, &l->addr, reason) == 0)
        return 0;
    l->fd = -1;
    l->addr.off = true;
    if (asked)
        return sl_fail(SL_EXIT_FAILED, "%s: %s", given_by(s, sl_listener_option(id), asked), reason);
    (void)sl_fail(0, "warning: the %s listener is left out: %s (--%s changes it)", sl_listener_key(id), reason,
                  sl_listener_option(id));
    return 0;
}

/*
 * The gateway without its listener is not there; the flow plane is as long as the command has it. Returns `status`,
 * said, when no listener of a plane is on: there would be nothing to serve.
 */
static int settle_planes(sl_serve *s, const bool *on, int status)
{
    SL_ASSERT(s && on);
    bool any = false;
    for (int id = 0; id < SL_LISTENER_COUNT; id++)
        any = any || (on[id] && sl_listener_plane((sl_listener_id)id) != 0);
    if (!any)
        return sl_fail(status, "%s: none of its listeners is on; give --%s an address that is free", s->command->name,
                       sl_listener_option(s->planes & SL_PLANE_GATEWAY ? SL_LISTENER_gateway : SL_LISTENER_api));
    if (!on[SL_LISTENER_gateway]) {
        s->planes &= ~(unsigned)SL_PLANE_GATEWAY;
        s->workers = 0;
    }
    return 0;
}

static int open_listeners(sl_serve *s)
{
    SL_ASSERT(s);
    bool on[SL_LISTENER_COUNT];
    for (int id = 0; id < SL_LISTENER_COUNT; id++) {
        int status = open_listener(s, (sl_listener_id)id);
        if (status)
            return status;
        on[id] = s->listeners[id].fd >= 0;
    }
    return settle_planes(s, on, SL_EXIT_FAILED);
}

/*
 * The gateway's sockets: one SO_REUSEPORT socket for each worker. The first was opened alone, so that a port that
 * another program has is noticed.
 */
static int open_worker_sockets(sl_serve *s)
{
    SL_ASSERT(s);
    sl_serve_listener *l = &s->listeners[SL_LISTENER_gateway];
    char reason[SL_ADDR_REASON_MAX];
    static const sl_addr_listen_options shared = {true, 4096};
    if (!s->workers)
        return 0;
    SL_ASSERT(l->fd >= 0); /* a gateway that is off has no worker */
    sl_addr real = l->addr;
    close(l->fd);
    l->fd = -1;
    for (unsigned i = 0; i < s->workers; i++) {
        if (sl_addr_listen(&real, &shared, &s->worker_fds[i], NULL, reason) != 0)
            return sl_fail(SL_EXIT_FAILED, "--gateway-listen: %s", reason);
    }
    return 0;
}

static int open_mock(sl_serve *s)
{
    SL_ASSERT(s);
    char reason[SL_ADDR_REASON_MAX];
    sl_addr wanted;
    s->mock.fd = -1;
    if (s->config->deployment_count || !s->has_models)
        return 0;
    if (sl_addr_parse(SL_STR("127.0.0.1:0"), "127.0.0.1", &wanted, reason) != 0 ||
        sl_addr_listen(&wanted, NULL, &s->mock.fd, &s->mock.addr, reason) != 0)
        return sl_fail(SL_EXIT_FAILED, "the built-in mock cannot listen: %s", reason);
    return 0;
}

/* ---- shared memory ---- */

/* Records that a segment has memory for. Runs leave many times what requests do: unless the environment asks for more,
 * a gateway's worker has half of what the queue may be. */
static size_t room_for(const sl_serve *s, sl_signal signal, bool flow)
{
    size_t items = s->queue_items[signal];
    return flow || items != SL_PROGRAM_QUEUE_ITEMS ? items : items / 2;
}

static int open_segment(sl_serve *s, unsigned i)
{
    SL_ASSERT(s);
    bool flow = i + 2 == s->segment_count;
    sl_segment_options o = {.threads = flow ? 8 : 2, /* flow: threads for disks and heavy work */
                            .cells = SL_SEGMENT_CELLS,
                            .span_ring_bytes = sl_segment_ring_room(SL_RING_SPANS, room_for(s, SL_SIGNAL_TRACES, flow)),
                            .log_ring_bytes = sl_segment_ring_room(SL_RING_LOGS, room_for(s, SL_SIGNAL_LOGS, flow)),
                            .size_bytes = 64u << 20,
                            .wake_fd = s->wake_fd};
    o.size_bytes = sl_segment_size_for(&o);
    s->segment_fds[i] = -1;
    if (s->multiproc_dir)
        return sl_multiproc_claim(s->multiproc_dir, &o, &s->segments[i], &s->segment_fds[i]);
    int fd = memfd_create("sightline-segment", MFD_CLOEXEC);
    int error = fd < 0 ? SL_EIO : sl_segment_new_shared(&o, fd, &s->segments[i]);
    if (fd >= 0)
        close(fd);
    return error;
}

static int open_board(sl_serve *s)
{
    if (!(s->planes & SL_PLANE_FLOW))
        return 0;
    void *memory = mmap(NULL, sizeof *s->board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        return sl_fail(SL_EXIT_FAILED, "no shared memory: %s", strerror(errno));
    s->board = memory;
    return 0;
}

static int open_segments(sl_serve *s)
{
    SL_ASSERT(s);
    s->segment_count = 2 * s->workers + 3;
    s->wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (s->wake_fd < 0)
        return sl_fail(SL_EXIT_FAILED, "no event descriptor: %s", strerror(errno));
    s->multiproc_dir = getenv("PROMETHEUS_MULTIPROC_DIR");
    if (s->multiproc_dir && !*s->multiproc_dir)
        s->multiproc_dir = NULL;
    for (unsigned i = 0; i < s->segment_count; i++) {
        int error = open_segment(s, i);
        if (error && s->multiproc_dir)
            return sl_fail(SL_EXIT_FAILED,
                           "PROMETHEUS_MULTIPROC_DIR=%s: no metric file can be made: %s; make the folder, "
                           "best on tmpfs, and let this user write to it",
                           s->multiproc_dir, sl_strerror(error));
        if (error)
            return sl_fail(SL_EXIT_FAILED, "no shared memory for telemetry: %s", sl_strerror(error));
    }
    return 0;
}

const char *sl_serve_service_name(const sl_serve *serve)
{
    return serve->planes & SL_PLANE_GATEWAY ? "litellm-gateway" : "llama-deploy-apiserver";
}

/* The supervisor records its own log lines into the last segment; control writes them out. */
static int open_logger(sl_serve *s)
{
    SL_ASSERT(s);
    static const sl_sdk_options options = {.log_level = SL_SEVERITY_UNSET};
    sl_sdk_internal_options internal = {.segment = s->segments[s->segment_count - 1],
                                        .record_only = true,
                                        .default_service_name = sl_serve_service_name(s)};
    int error = sl_sdk_new_internal(&options, &internal, &s->sdk);
    if (error)
        return sl_fail(SL_EXIT_FAILED, "telemetry cannot start: %s", sl_strerror(error));
    s->logger = sl_logger_named(s->sdk, "sightline");
    return 0;
}

/* ---- children ---- */

static void worker_is_ready(void *user)
{
    sl_child_ready(user);
}

static bool must_hurry(void *user)
{
    return sl_child_must_hurry(user);
}

uint32_t sl_serve_patience_ms(const sl_serve *serve)
{
    SL_ASSERT(serve && serve->drain_timeout_ms <= MAX_DRAIN_MS);
    return serve->drain_timeout_ms ? (uint32_t)serve->drain_timeout_ms : 1; /* 0 stands for no limit there */
}

static int run_worker(void *user, const sl_child_start *start)
{
    SL_ASSERT(start);
    sl_serve *s = user;
    sl_child_start mine = *start;
    sl_worker_options o;
    memset(&o, 0, sizeof o);
    o.config = start->generation;
    o.listen_fd = s->worker_fds[start->index];
    o.segment = s->telemetry_off ? NULL : s->segments[start->slot];
    o.drain_timeout_ms = sl_serve_patience_ms(s);
    o.on_ready = worker_is_ready;
    o.must_hurry = must_hurry;
    o.user = &mine;
    if (o.segment)
        sl_segment_adopt(o.segment, s->wake_fd);
    return sl_worker_run(&o);
}

static void worker_ended(void *user, unsigned slot, pid_t pid, bool crashed)
{
    sl_serve *s = user;
    (void)crashed;
    sl_segment_release(s->segments[slot], pid);
    /* Its requests in flight ended with it. */
    sl_series_reset_volatile(s->segments[slot]);
}

static void flow_ended(void *user, unsigned slot, pid_t pid, bool crashed)
{
    sl_serve *s = user;
    SL_ASSERT(slot == 0);
    worker_ended(user, s->segment_count - 2 + slot, pid, crashed);
}

static void stop_mock(uv_signal_t *signal, int number)
{
    SL_ASSERT(signal);
    (void)number;
    if (sl_child_may_end(signal->data)) /* workers that drain may still ask */
        uv_stop(signal->loop);
}

static int run_mock(void *user, const sl_child_start *start)
{
    sl_serve *s = user;
    static sl_loop loop;
    static uv_signal_t term;
    static const sl_mock_options options = {.ttft_ms = 20, .itl_ms = 2, .tokens = 16, .seed = 1};
    static sl_child_start mine;
    sl_mock_server *server;
    mine = *start;
    signal(SIGINT, SIG_IGN);
    if (sl_loop_init(&loop) != 0 || sl_mock_server_new(&loop, s->mock.fd, &options, &server) != 0)
        return 1;
    (void)uv_signal_init(&loop.uv, &term);
    term.data = &mine;
    (void)uv_signal_start(&term, stop_mock, SIGTERM);
    sl_child_ready(start);
    (void)uv_run(&loop.uv, UV_RUN_DEFAULT);
    return 0;
}

/* ---- announcements ---- */

static void on_note(void *user, const char *text)
{
    const sl_serve *s = user;
    if (s->telemetry_off || !s->serving) /* nobody writes log lines out, or maybe not yet */
        (void)sl_fail(0, "%s", text);
    else
        sl_log(s->logger, SL_WARN, text, NULL, 0);
}

static void announce_curl(const sl_serve *s, const char *url, const char *admin)
{
    SL_ASSERT(s);
    sl_buf body;
    sl_buf_init(&body, 1u << 20);
    if (sl_announce_chat_body(s->config->deployments[0].model_name, &body) == 0)
        fprintf(stderr,
                "\nTry:\n  curl %s/v1/chat/completions -H \"Authorization: Bearer %s\" \\\n"
                "    -H \"Content-Type: application/json\" \\\n"
                "    -d %.*s\n",
                url, s->default_key ? DEV_KEY : "$LITELLM_MASTER_KEY", (int)body.len, body.data);
    sl_buf_done(&body);
    if (admin && strcmp(admin, DEFAULT_ADMIN) == 0)
        fprintf(stderr, "  sightline traces\n");
    else if (admin)
        fprintf(stderr, "  sightline traces --url %s\n", admin);
    fputc('\n', stderr);
}

static int on_ready(void *user)
{
    sl_serve *s = user;
    sl_ready ready = {.count = 0};
    s->serving = true;
    static const char *const whats[SL_LISTENER_COUNT] = {
        "/v1",      "/metrics", "/health/ready", "/traces", "/workflows, /runs, /deployments/", "/sessions, /services",
        "/messages"};
    fprintf(stderr, "sightline %s is ready\n", sl_version());
    for (int id = 0; id < SL_LISTENER_COUNT; id++) {
        if (s->listeners[id].addr.off)
            continue;
        sl_ready_add(&ready, sl_listener_key((sl_listener_id)id), &s->listeners[id].addr);
        fprintf(stderr, "  %-8s %s%s\n", sl_listener_key((sl_listener_id)id), ready.items[ready.count - 1].url,
                whats[id]);
    }
    if ((s->planes & SL_PLANE_GATEWAY) && s->default_key)
        fprintf(stderr, "  key      %s (no general_settings.master_key is configured; loopback only)\n", DEV_KEY);
    if (s->mock.fd >= 0)
        fprintf(stderr, "  models   claude-haiku and mock, answered by the built-in mock: no model is configured\n");
    if (s->planes & SL_PLANE_GATEWAY)
        announce_curl(s, sl_ready_url(&ready, "gateway"), sl_ready_url(&ready, "admin"));
    if (sl_ready_write(&ready, s->options->ready_file) != 0)
        return sl_fail(SL_EXIT_FAILED, "--ready-file %.*s: cannot be written: %s; check the folder and its permissions",
                       (int)s->options->ready_file.len, s->options->ready_file.ptr, strerror(errno));
    sl_log(s->logger, SL_INFO, "serving", NULL, 0);
    return 0;
}

/* ---- the command ---- */

static int decide_workers(sl_serve *s)
{
    SL_ASSERT(s);
    uint64_t workers = s->options->workers;
    if (!(s->planes & SL_PLANE_GATEWAY))
        return 0;
    if (!sl_option_given(s->command, "workers") && s->config->workers)
        workers = s->config->workers;
    if (workers == 0 || workers > SL_MAX_WORKERS)
        return sl_fail(SL_EXIT_USAGE, "%s: out of range; give 1 to %d", given_by(s, "workers", s->config->workers > 0),
                       SL_MAX_WORKERS);
    s->workers = (unsigned)workers;
    return 0;
}

/* The patience of all processes. */
static int decide_drain(sl_serve *s)
{
    SL_ASSERT(s);
    s->drain_timeout_ms = s->options->drain_timeout_ms;
    if (!sl_option_given(s->command, "drain-timeout") && s->config->drain_timeout_ms)
        s->drain_timeout_ms = s->config->drain_timeout_ms;
    if (s->drain_timeout_ms > MAX_DRAIN_MS)
        return sl_fail(SL_EXIT_USAGE, "%s: out of range; give up to %u seconds", given_by(s, "drain-timeout", true),
                       MAX_DRAIN_MS / 1000);
    return 0;
}

/* An exporter that goes over the network is made, and reads its certificates, but connects to nobody. */
static int check_exporter(const sl_exporter_spec *spec, char *why, size_t size)
{
    SL_ASSERT(spec);
    sl_exporter exporter;
    why[0] = 0;
    if (!spec->peer.url.len)
        return 0;
    memset(&exporter, 0, sizeof exporter);
    int error = sl_exporter_make(spec, &exporter, why, size);
    if (error && !why[0])
        (void)snprintf(why, size, "%s", sl_strerror(error));
    else if (!error && exporter.free)
        exporter.free(exporter.user);
    return error;
}

/* Those of the signals often have the same fault: it is said once. */
static int check_exporters(const sl_otel_config *config)
{
    SL_ASSERT(config);
    char why[256], said[256] = "";
    int status = 0;
    for (size_t i = 0; i < config->spec_count; i++) {
        const sl_exporter_spec *spec = &config->specs[i];
        if (check_exporter(spec, why, sizeof why) == 0 || strcmp(why, said) == 0)
            continue;
        status =
            sl_fail(SL_EXIT_USAGE, "exporter %s: %s; check the OTEL_EXPORTER_... variables", spec->kind->name, why);
        memcpy(said, why, sizeof said);
    }
    return status;
}

/* Variables that would fail the start of telemetry; what only warns is said by the process that exports. Keeps the
 * sizes of the queues. */
static int check_environment(sl_serve *s)
{
    static const sl_env env;
    sl_sdk_options options;
    sl_otel_config config;
    SL_ASSERT(s);
    memset(&options, 0, sizeof options);
    sl_otel_config_queues(&env, SL_PROGRAM_QUEUE_ITEMS, options.batch);
    int error = sl_otel_config_load(&env, &options, true, &config);
    int status = error ? sl_fail(SL_EXIT_USAGE, "%s", config.why[0] ? config.why : sl_strerror(error)) : 0;
    if (!error)
        status = check_exporters(&config);
    for (int i = 0; i < SL_SIGNAL_COUNT && !error; i++)
        s->queue_items[i] = config.batch[i].max_queue_items;
    sl_otel_config_done(&config);
    return status;
}

/* What a start would refuse, without opening anything; all of it at once. Returns an exit status, or 0. */
static int check_settings(sl_serve *s)
{
    SL_ASSERT(s && s->config);
    bool asked, on[SL_LISTENER_COUNT] = {false};
    s->default_key = !s->config->master_key.len;
    int status = 0;
    if (decide_workers(s) != 0)
        status = SL_EXIT_USAGE;
    if (decide_drain(s) != 0)
        status = SL_EXIT_USAGE;
    for (int id = 0; id < SL_LISTENER_COUNT; id++) {
        sl_addr wanted = {.off = true};
        if (is_served(s, (sl_listener_id)id) && listener_address(s, (sl_listener_id)id, &asked, &wanted) != 0)
            status = SL_EXIT_USAGE;
        on[id] = !wanted.off;
    }
    if (!status)
        status = settle_planes(s, on, SL_EXIT_USAGE);
    if ((s->planes & SL_PLANE_FLOW) && sl_serve_flow_check(s) != 0)
        status = SL_EXIT_USAGE;
    return check_environment(s) != 0 ? SL_EXIT_USAGE : status;
}

/* Everything before the first child. Returns an exit status, or 0. */
static int prepare(sl_serve *s)
{
    SL_ASSERT(s);
    static char path[SL_DATA_PATH_MAX];
    char reason[256];
    const char *disabled = getenv("OTEL_SDK_DISABLED");
    s->telemetry_off = disabled && sl_str_ieq(sl_str_c(disabled), SL_STR("true"));
    if (sl_data_dir_open(s->options->data_dir, path, reason) != 0)
        return sl_fail(SL_EXIT_FAILED, "%s", reason);
    s->data_dir = path;
    int status = open_listeners(s);
    if (!status)
        status = open_worker_sockets(s);
    if (!status)
        status = open_mock(s);
    if (!status && complete_config(s, s->config) != 0)
        status = sl_fail(SL_EXIT_FAILED, "out of memory");
    if (!status)
        status = open_segments(s);
    if (!status)
        status = open_board(s);
    if (!status)
        status = open_logger(s);
    return status;
}

static int supervise(sl_serve *s)
{
    SL_ASSERT(s);
    sl_child_kind kinds[4];
    size_t count = 0;
    if (s->mock.fd >= 0)
        kinds[count++] = (sl_child_kind){.name = "mock", .count = 1, .slots = 1, .run = run_mock, .user = s};
    kinds[count++] = (sl_child_kind){.name = "control", .count = 1, .slots = 1, .run = sl_serve_control, .user = s};
    if (s->planes & SL_PLANE_FLOW)
        kinds[count++] = (sl_child_kind){.name = "flow",
                                         .count = 1,
                                         .slots = 1,
                                         .serves = true,
                                         .reloads = true,
                                         .run = sl_serve_flow,
                                         .ended = flow_ended,
                                         .user = s};
    if (s->planes & SL_PLANE_GATEWAY)
        kinds[count++] = (sl_child_kind){.name = "worker",
                                         .count = s->workers,
                                         .slots = 2 * s->workers + 1,
                                         .replaceable = true,
                                         .run = run_worker,
                                         .ended = worker_ended,
                                         .user = s};
    sl_supervisor_options o = {.kinds = kinds,
                               .kind_count = count,
                               .drain_timeout_ms = s->drain_timeout_ms,
                               .cut_ms = CUT_MS,
                               .announce_ms = 1000,
                               .generation = s->config,
                               .reload = reload_config,
                               .release = release_config,
                               .on_ready = on_ready,
                               .on_note = on_note,
                               .user = s};
    return sl_supervisor_run(&o);
}

static void say_checked(const sl_serve *s)
{
    SL_ASSERT(s);
    fprintf(stderr, "%s: ok, %zu deployments, %zu warnings\n",
            s->config->path.len ? s->config->path.ptr : "no configuration", s->config->deployment_count,
            s->config->warning_count);
}

int sl_serve_run(const sl_command *command, const sl_server_options *options, unsigned planes)
{
    SL_ASSERT(command && options && planes);
    static sl_serve serve; /* the address is inherited by every child */
    sl_serve *s = &serve;
    s->command = command;
    s->options = options;
    s->planes = planes;
    s->has_models = (planes & SL_PLANE_GATEWAY) != 0; /* for workflows too, when the gateway itself is off */
    s->mock.fd = -1;
    s->config = load_config(s, true);
    if (!s->config)
        return SL_EXIT_USAGE;
    int status = check_settings(s);
    if (status || options->check) {
        if (!status)
            say_checked(s);
        sl_config_free(s->config);
        return status;
    }
    sl_raise_descriptors();
    status = prepare(s);
    return status ? status : supervise(s);
}
