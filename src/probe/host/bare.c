/*
 * The host without a parent: a thread of the host's own reads the ring, makes spans and metrics, and sends them by OTLP
 * over plain HTTP, to the live view, or shows them on a listener of its own.
 *
 * The thread leaves the host's table of descriptors before anything else: the host may close every descriptor it has,
 * its numbers never mean one of ours, and no socket of its stays open for us. Threads made from here (exporters, the
 * listener) share the new table, and have names that begin with "sightline" or "sl-": by these, hooks know them.
 * Nothing is printed; the environment is what the process was started with.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "src/base/sync.h"
#include "src/probe/host/probe_host.h"
#include "src/probe/quota_watch.h"
#include "src/probe/reader.h"
#include "src/telemetry/env.h"
#include "src/telemetry/exporter_view.h"
#include "src/telemetry/otel_config_otlp.h"
#include "src/telemetry/prometheus_listener.h"
#include "src/telemetry/sdk_impl.h"

#define START_MS 2000u
#define FLUSH_MS 500u          /* of exit(), at most */
#define DRAIN_MS 100u          /* of that, for the ring */
#define VALUE_MAX 4096         /* of a variable */
#define CLOSE_TABLE_UNSHARE 2u /* CLOSE_RANGE_UNSHARE of linux/close_range.h */
#define MAX_CLOSED 65536

typedef enum bare_state { BARE_IDLE, BARE_STARTING, BARE_ON, BARE_FAILED, BARE_STOPPING, BARE_DONE } bare_state;

/* What the environment says; made anew for each process. */
typedef struct bare_env {
    char values[SL_VAR_COUNT][VALUE_MAX]; /* mapped: only those that are set take memory */
} bare_env;

static struct {
    _Atomic uint32_t state; /* bare_state; waited for */
    pid_t pid;
    sl_probe_ring *ring;
    bare_env *env;
    sl_sdk *sdk;
    sl_probe_options probe;
    sl_quota_watch *watch; /* NULL: the variable is not understood */
    sl_probe_reader *reader;
    sl_prometheus_listener *listener;
} bare;

static void wait_while(uint32_t state, uint64_t timeout_ms)
{
    struct timespec time = {(time_t)(timeout_ms / 1000), (long)(timeout_ms % 1000) * 1000000};
    (void)syscall(SYS_futex, &bare.state, FUTEX_WAIT_PRIVATE, state, &time, NULL, 0);
}

/* Moves from one state to another; false when it is not in the first. */
static bool move(uint32_t from, uint32_t to)
{
    SL_ASSERT(from != to && to <= BARE_DONE);
    if (!atomic_compare_exchange_strong(&bare.state, &from, to))
        return false;
    (void)syscall(SYS_futex, &bare.state, FUTEX_WAKE_PRIVATE, INT_MAX, NULL, NULL, 0);
    return true;
}

/* ---- the environment ---- */

static const char *get_variable(void *user, const char *name)
{
    SL_ASSERT(user && name);
    bare_env *env = user;
    size_t count;
    const sl_env_def *defs = sl_env_defs(&count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(defs[i].name, name) == 0)
            return env->values[i][0] ? env->values[i] : NULL;
    }
    return NULL;
}

/* There is no gRPC in here: what is meant for it goes to the port for HTTP of the same machine. */
static void turn_to_http(bare_env *env, sl_env_var endpoint, sl_env_var protocol, bool was_grpc)
{
    SL_ASSERT(env && endpoint < SL_VAR_COUNT && protocol < SL_VAR_COUNT);
    char *value = env->values[endpoint];
    bool asked = was_grpc || strcmp(env->values[protocol], "grpc") == 0;
    bool other = env->values[protocol][0] && !asked;
    char *port = value[0] && sl_otlp_has_port(sl_str_c(value), "4317") ? strstr(value, ":4317") : NULL;
    if (asked)
        (void)snprintf(env->values[protocol], VALUE_MAX, "http/protobuf");
    if (!port || other)
        return;
    for (char *next = port; (next = strstr(next + 1, ":4317")) != NULL;)
        port = next;
    port[4] = '8';
    sl_host_debug("sightline: no gRPC without `sightline exec`: OTLP over HTTP to %s instead", value);
}

static bare_env *read_environment(void)
{
    void *memory = mmap(NULL, sizeof(bare_env), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    bare_env *env = memory == MAP_FAILED ? NULL : memory;
    size_t count;
    const sl_env_def *defs = sl_env_defs(&count);
    for (size_t i = 0; env && i < count; i++)
        (void)sl_host_env(defs[i].name, env->values[i], VALUE_MAX);
    if (!env)
        return NULL;
    bool grpc = strcmp(env->values[SL_VAR_OTEL_EXPORTER_OTLP_PROTOCOL], "grpc") == 0;
    turn_to_http(env, SL_VAR_OTEL_EXPORTER_OTLP_ENDPOINT, SL_VAR_OTEL_EXPORTER_OTLP_PROTOCOL, grpc);
    turn_to_http(env, SL_VAR_OTEL_EXPORTER_OTLP_TRACES_ENDPOINT, SL_VAR_OTEL_EXPORTER_OTLP_TRACES_PROTOCOL, grpc);
    turn_to_http(env, SL_VAR_OTEL_EXPORTER_OTLP_METRICS_ENDPOINT, SL_VAR_OTEL_EXPORTER_OTLP_METRICS_PROTOCOL, grpc);
    turn_to_http(env, SL_VAR_OTEL_EXPORTER_OTLP_LOGS_ENDPOINT, SL_VAR_OTEL_EXPORTER_OTLP_LOGS_PROTOCOL, grpc);
    return env;
}

/* ---- the thread ---- */

/*
 * Leaves the host's table. One call does both where the kernel is of this decade; it is also the one that containers
 * allow: unshare() is often forbidden in them.
 */
static bool leave_table(void)
{
    if (syscall(SYS_close_range, 3u, ~0u, CLOSE_TABLE_UNSHARE) == 0)
        return true;
    if (unshare(CLONE_FILES) != 0)
        return false;
    long most = sysconf(_SC_OPEN_MAX);
    for (int fd = 3; fd < (most > 0 && most < MAX_CLOSED ? (int)most : MAX_CLOSED); fd++)
        (void)close(fd);
    return true;
}

/* A table of descriptors of its own with nothing of the host's in it. */
static bool take_descriptors(void)
{
    char value[4];
    if (!leave_table()) {
        sl_host_debug("sightline: nothing is recorded: no table of descriptors of its own: %s", strerror(errno));
        return false;
    }
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    bool debug = sl_host_env("SIGHTLINE_PROBE_DEBUG", value, sizeof value) && *value == '1';
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO && null >= 0; fd++) {
        if (fd != STDERR_FILENO || !debug)
            (void)dup2(null, fd);
    }
    if (null > STDERR_FILENO)
        (void)close(null);
    return null >= 0;
}

static void on_sdk_error(void *user, int error, const char *message)
{
    (void)user, (void)error;
    sl_host_debug("sightline: %s", message);
}

static bool make_view(sl_exporter *ret_exporter)
{
    char url[1024];
    const char *why;
    if (!sl_host_env(SL_VIEW_ENV, url, sizeof url) || !url[0])
        (void)snprintf(url, sizeof url, "%s", SL_VIEW_DEFAULT_URL);
    if (strcmp(url, "off") == 0)
        return false;
    int error = sl_exporter_view_new(sl_str_c(url), ret_exporter, &why);
    if (error == SL_ECONFIG)
        sl_host_debug("sightline: " SL_VIEW_ENV ": %s: %s", url, why);
    return error == 0;
}

static int make_sdk(void)
{
    SL_ASSERT(bare.env && !bare.sdk);
    sl_exporter view;
    sl_sdk_options options = {.on_error = on_sdk_error};
    if (make_view(&view)) {
        options.exporters = &view;
        options.exporter_count = 1;
    }
    const sl_sdk_internal_options internal = {.export_only_when_set = true,
                                              .default_service_name = "llama-cpp",
                                              .env_get = get_variable,
                                              .env_user = bare.env};
    return sl_sdk_new_internal(&options, &internal, &bare.sdk);
}

static void open_listener(void)
{
    SL_ASSERT(bare.sdk && !bare.listener);
    char text[SL_ADDR_TEXT_MAX], reason[SL_ADDR_REASON_MAX];
    sl_addr addr;
    if (!sl_host_env("SIGHTLINE_METRICS_LISTEN", text, sizeof text) || !text[0])
        return;
    int error = sl_addr_parse(sl_str_c(text), "127.0.0.1", &addr, reason);
    if (!error && !addr.off)
        error = sl_prometheus_listener_new(bare.sdk, &addr, &bare.listener, reason);
    if (error)
        sl_host_debug("sightline: SIGHTLINE_METRICS_LISTEN: %s", reason);
}

static int make_watch(void)
{
    sl_quota_limits limits;
    char text[256] = "";
    (void)sl_host_env("SIGHTLINE_QUOTAS", text, sizeof text);
    if (sl_quota_parse(sl_str_c(text), &limits, NULL) == 0)
        return sl_quota_watch_new(bare.sdk, &limits, &bare.watch);
    sl_host_debug("sightline: SIGHTLINE_QUOTAS: not understood, and not watched");
    return 0;
}

static int make_reader(void)
{
    SL_ASSERT(bare.sdk && bare.ring);
    bare.probe = (sl_probe_options){.sdk = bare.sdk, .quotas = bare.watch};
    const sl_probe_reader_options options = {.consumer = sl_probe_reader_assemblers(&bare.probe)};
    int error = sl_probe_reader_new(&options, &bare.reader);
    return error ? error : sl_probe_reader_add(bare.reader, bare.ring);
}

static int open_all(void)
{
    bare.env = read_environment();
    int error = bare.env ? make_sdk() : SL_ENOMEM;
    if (!error)
        error = make_watch();
    if (!error)
        error = make_reader();
    if (!error)
        open_listener();
    if (error)
        sl_host_debug("sightline: nothing is recorded: %s", sl_strerror(error));
    return error;
}

/* The last events, and the last export; what is left at the deadline is lost. Objects stay: the process ends. */
static void close_all(void)
{
    SL_ASSERT(bare.reader && bare.sdk);
    uint64_t deadline = sl_deadline_ns(FLUSH_MS - 50);
    sl_probe_reader_stop(bare.reader, sl_deadline_ns(DRAIN_MS));
    (void)sl_sdk_shutdown(bare.sdk, sl_deadline_left_ms(deadline));
}

static void *run(void *user)
{
    (void)user;
    (void)pthread_setname_np(pthread_self(), "sightline");
    sl_host_thread_is_ours();
    if (!take_descriptors() || open_all() != 0) {
        (void)move(BARE_STARTING, BARE_FAILED);
        return NULL;
    }
    (void)move(BARE_STARTING, BARE_ON);
    while (atomic_load(&bare.state) == BARE_ON)
        wait_while(BARE_ON, sl_probe_reader_step(bare.reader, sl_mono_ns()));
    close_all();
    (void)move(BARE_STOPPING, BARE_DONE);
    return NULL;
}

/* ---- from the host's threads ---- */

int sl_host_bare_start(sl_probe_ring *ring)
{
    pthread_t thread;
    SL_ASSERT(ring);
    memset(&bare, 0, sizeof bare); /* a forked child has its parent's, which means nothing here */
    bare.ring = ring;
    bare.pid = getpid();
    atomic_store(&bare.state, BARE_STARTING);
    if (sl_thread_start(&thread, run, NULL) != 0)
        return SL_ENOMEM;
    (void)pthread_detach(thread);
    for (uint64_t until = sl_deadline_ns(START_MS); atomic_load(&bare.state) == BARE_STARTING && sl_mono_ns() < until;)
        wait_while(BARE_STARTING, sl_deadline_left_ms(until));
    /* On a machine that is that busy it comes later; what there is no room for meanwhile is counted. */
    return atomic_load(&bare.state) == BARE_FAILED ? SL_EIO : 0;
}

void sl_host_bare_stop(void)
{
    if (bare.pid != getpid() || !move(BARE_ON, BARE_STOPPING))
        return;
    for (uint64_t until = sl_deadline_ns(FLUSH_MS); atomic_load(&bare.state) == BARE_STOPPING && sl_mono_ns() < until;)
        wait_while(BARE_STOPPING, sl_deadline_left_ms(until));
}
