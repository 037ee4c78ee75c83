/* `sightline exec`: runs a program that uses libllama, instrumented from outside. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/cli/commands.h"
#include "src/cli/exec_attach.h"
#include "src/cli/exec_child.h"
#include "src/cli/exec_folder.h"
#include "src/cli/exec_library.h"
#include "src/cli/exec_telemetry.h"
#include "src/cli/view_export.h"
#include "src/telemetry/env.h"

#define EXIT_NOT_EXECUTABLE 126
#define EXIT_NOT_FOUND 127
#define LONG_RUN_NS 5000000000u

#define OPT(member) offsetof(sl_exec_options, member)
#define LISTENER_ROW(name, option, env, fallback, help)                                                                \
    {option, 0, SL_OPT_STR, OPT(listen[SL_EXEC_##name]), "ADDRESS", help, fallback, env},
static const sl_option options[] = {
    SL_EXEC_LISTENER_MAP(LISTENER_ROW) SL_VIEW_OPTION(OPT(view)),
    {"decode-span-every", 0, SL_OPT_U64, OPT(decode_span_every), "N",
     "One in N batches has a span of its own; slow and failed ones always have.", "100", NULL},
    {"slow-decode", 0, SL_OPT_MS, OPT(slow_decode_ms), "SECONDS",
     "A batch that takes longer has a span; 0: eight times the usual time.", "0", NULL},
    {"trace-polls", 0, SL_OPT_FLAG, OPT(trace_polls), NULL,
     "Spans also for GET /health, /metrics and /slots whose caller sent no traceparent.", NULL, NULL},
    {"quotas", 0, SL_OPT_STR, OPT(quotas), "LIMITS",
     "Limits that are watched, any of resident_memory=8GiB,context=0.9,queue=16,tokens_per_second=500.", NULL,
     "SIGHTLINE_QUOTAS"},
    {"front-to", 0, SL_OPT_STR, OPT(front_to), "ADDRESS",
     "The server behind --front-listen; absent: by COMMAND's --host and --port, else 127.0.0.1:8080.", NULL, NULL},
    {"flush-timeout", 0, SL_OPT_MS, OPT(flush_ms), "SECONDS",
     "How long the last telemetry may take when the program has ended.", "3", NULL},
    {"ready-file", 0, SL_OPT_STR, OPT(ready_file), "PATH",
     "Written once the program runs and the listeners answer: JSON with pid and addresses.", NULL, NULL},
    {"pid", 'p', SL_OPT_U64, OPT(pid), "PID",
     "Watch a process that runs already, from outside, until it ends or this is interrupted; needs root.", NULL, NULL},
    {"check", 0, SL_OPT_FLAG, OPT(check), NULL, "Check options, environment and library, and exit 0 or 2.", NULL, NULL},
    {NULL, 0, SL_OPT_FLAG, 0, NULL, NULL, NULL, NULL}};
static const sl_option *const tables[] = {options, NULL};

typedef struct exec_run {
    const sl_command *command;
    const sl_exec_options *o;
    char **argv;
    char library[SL_EXEC_PATH_MAX];
    sl_exec_folder folder;
    sl_exec_telemetry telemetry;
    sl_exec_child child;
    sl_exec_program program;
    char **envp;              /* NULL: this process's */
    sl_uprobe_attach *attach; /* NULL: not looked at from outside */
} exec_run;

/* ---- the environment ---- */

static int find_library(exec_run *r)
{
    SL_ASSERT(r);
    sl_buf tried;
    sl_buf_init(&tried, 8 * SL_EXEC_PATH_MAX);
    int status = 0;
    if (sl_exec_library_find(r->library, &tried) != 0)
        status = sl_fail(SL_EXIT_USAGE, "%s: not found: looked for %.*s; set %s to its path", SL_EXEC_LIBRARY_NAME,
                         (int)tried.len, tried.data, SL_EXEC_LIBRARY_ENV);
    sl_buf_done(&tried);
    return status;
}

/* The loader takes spaces and colons for the end of a name: then the library gets another one. */
static int name_library(exec_run *r)
{
    SL_ASSERT(r->library[0] == '/' && r->folder.outer[0]);
    char link[SL_EXEC_PATH_MAX];
    if (!strpbrk(r->library, " :"))
        return 0;
    (void)snprintf(link, sizeof link, "%s/%s", r->folder.outer, SL_EXEC_LIBRARY_NAME);
    if (symlink(r->library, link) != 0)
        return SL_EIO;
    (void)snprintf(r->library, sizeof r->library, "%s", link);
    return 0;
}

static char *variable(const char *name, sl_str value)
{
    char *text = NULL;
    return asprintf(&text, "%s=%.*s", name, (int)value.len, value.ptr ? value.ptr : "") < 0 ? NULL : text;
}

static bool is_variable(const char *entry, const char *name)
{
    SL_ASSERT(entry && name && *name);
    size_t len = strlen(name);
    return strncmp(entry, name, len) == 0 && entry[len] == '=';
}

/* A program built with AddressSanitizer ends at once when any library comes before the sanitizer's own: unless told. */
static char *sanitizer_variable(void)
{
    static const char name[] = "ASAN_OPTIONS", told[] = "verify_asan_link_order";
    const char *given = getenv(name);
    sl_buf value;
    sl_buf_init(&value, 1u << 20);
    if (given && *given && !strstr(given, told))
        (void)sl_buf_printf(&value, "%s:", given);
    if (given && strstr(given, told))
        (void)sl_buf_put_c(&value, given);
    else
        (void)sl_buf_printf(&value, "%s=0", told);
    char *entry = value.failed ? NULL : variable(name, sl_buf_str(&value));
    sl_buf_done(&value);
    return entry;
}

/* The environment of the program: this one, with three variables changed. */
static int make_environment(exec_run *r)
{
    SL_ASSERT(r->library[0] && r->folder.path[0] && !r->envp);
    size_t count = 0, at = 0;
    while (environ[count])
        count++;
    r->envp = calloc(count + 4, sizeof *r->envp);
    sl_buf preload;
    sl_buf_init(&preload, 1u << 20);
    int error = r->envp ? sl_exec_library_preload(r->library, getenv("LD_PRELOAD"), &preload) : SL_ENOMEM;
    for (size_t i = 0; i < count && !error; i++) {
        if (!is_variable(environ[i], "LD_PRELOAD") && !is_variable(environ[i], SL_PROBE_DIR_ENV) &&
            !is_variable(environ[i], "ASAN_OPTIONS"))
            r->envp[at++] = environ[i];
    }
    if (!error) {
        r->envp[at++] = variable("LD_PRELOAD", sl_buf_str(&preload));
        r->envp[at++] = variable(SL_PROBE_DIR_ENV, sl_str_c(r->folder.path));
        r->envp[at++] = sanitizer_variable();
        error = r->envp[at - 1] && r->envp[at - 2] && r->envp[at - 3] ? 0 : SL_ENOMEM;
    }
    sl_buf_done(&preload);
    return error;
}

/* ---- running ---- */

static bool telemetry_is_off(void)
{
    static const sl_env env;
    return sl_env_bool(&env, SL_VAR_OTEL_SDK_DISABLED, false);
}

static int make_folder(exec_run *r)
{
    if (sl_exec_folder_make(&r->folder) != 0)
        return sl_fail(SL_EXIT_FAILED,
                       "exec: no folder can be made in /dev/shm, $XDG_RUNTIME_DIR, $TMPDIR or /tmp: %s; free space, or "
                       "set TMPDIR to where this user may write",
                       strerror(errno));
    if (name_library(r) != 0)
        return sl_fail(SL_EXIT_FAILED, "exec: %s cannot be named without a space or colon: %s", r->library,
                       strerror(errno));
    return make_environment(r) != 0 ? sl_fail(SL_EXIT_FAILED, "exec: out of memory") : 0;
}

/* `dir` may be NULL when the process is looked at from outside. */
static int open_telemetry(exec_run *r, int pid, const char *dir)
{
    SL_ASSERT(r->argv && pid > 0);
    sl_probe_ring *ring = r->attach ? sl_uprobe_attach_ring(r->attach) : NULL;
    r->program = (sl_exec_program){.argv = r->argv, .pid = pid, .ring = ring};
    int status = sl_exec_telemetry_open(&r->telemetry, r->command, r->o, &r->program, dir);
    if (!status && r->attach && sl_uprobe_attach_start(r->attach) != 0)
        status = sl_fail(SL_EXIT_FAILED, "exec: no thread can be started");
    return status;
}

/* The last events first: what they make is exported by the second. */
static void close_telemetry(exec_run *r)
{
    if (r->attach)
        sl_uprobe_attach_stop(r->attach);
    if (r->telemetry.options)
        sl_exec_telemetry_close(&r->telemetry);
}

/* Everything before the program: the process, which waits, then what has threads. Returns an exit status, or 0. */
static int prepare(exec_run *r)
{
    SL_ASSERT(r->argv && r->argv[0]);
    bool off = telemetry_is_off();
    int status = off ? 0 : find_library(r);
    if (!status && !off)
        status = make_folder(r);
    if (status)
        return status;
    int why = sl_exec_child_prepare(&r->child, r->argv, r->envp ? r->envp : environ);
    if (why)
        return sl_fail(SL_EXIT_FAILED, "exec: no process can be made: %s", strerror(why));
    r->attach = off ? NULL : sl_exec_attach_static(r->child.pid, r->argv[0]);
    status = open_telemetry(r, r->child.pid, off ? NULL : r->folder.path);
    if (status)
        sl_exec_child_drop(&r->child);
    return status;
}

static int start(exec_run *r)
{
    SL_ASSERT(r->child.pid > 0);
    int why = sl_exec_child_start(&r->child);
    if (!why)
        return 0;
    if (why == ENOENT)
        return sl_fail(EXIT_NOT_FOUND, "%s: no such program; check its name and PATH", r->argv[0]);
    return sl_fail(EXIT_NOT_EXECUTABLE, "%s: cannot be run: %s", r->argv[0], strerror(why));
}

/* For people only: what is piped is the program's own. */
static void announce(const exec_run *r)
{
    SL_ASSERT(r->argv[0] && r->o);
    const char *metrics = sl_ready_url(&r->telemetry.ready, "metrics");
    if (metrics && isatty(STDERR_FILENO))
        fprintf(stderr, "sightline: metrics of %s at %s/metrics; spans: `sightline traces` while `sightline up` runs\n",
                r->argv[0], metrics);
    if (sl_ready_write(&r->telemetry.ready, r->o->ready_file) != 0)
        (void)sl_fail(0, "--ready-file %.*s: cannot be written: %s; check the folder and its permissions",
                      (int)r->o->ready_file.len, r->o->ready_file.ptr, strerror(errno));
}

/* A program that is linked statically looks as if nothing happened in it. */
static void say_nothing_seen(const exec_run *r, uint64_t started_ns)
{
    if (!r->telemetry.disabled && r->telemetry.hosts_seen == 0 && isatty(STDERR_FILENO) &&
        sl_mono_ns() - started_ns > LONG_RUN_NS)
        fprintf(
            stderr,
            "sightline: %s never called libllama.so: it does not use it, or is linked statically; see docs/llama.md\n",
            r->argv[0]);
}

/* Watches a process that runs already. */
static int run_attached(exec_run *r)
{
    sl_exec_running running;
    if (telemetry_is_off())
        return sl_fail(SL_EXIT_USAGE, "--pid: telemetry is off (OTEL_SDK_DISABLED): there is nothing to do");
    int status = sl_exec_attach_running(r->o->pid, &running);
    if (status >= 0)
        return status;
    r->argv = running.argv;
    r->attach = running.attach;
    sl_exec_signals_block();
    status = open_telemetry(r, (int)running.pid, NULL);
    if (!status) {
        sl_exec_telemetry_started(&r->telemetry);
        announce(r);
        sl_exec_attach_wait(&running);
    }
    close_telemetry(r);
    sl_exec_attach_done(&running);
    return status;
}

static int run_exec(const sl_command *command, void *given, char **args, size_t arg_count)
{
    SL_ASSERT(command && given && args);
    static exec_run run; /* threads may be left behind that use it */
    exec_run *r = &run;
    r->command = command;
    r->o = given;
    r->argv = args;
    int status = sl_exec_telemetry_check(command, r->o);
    if (r->o->check && !status && !r->o->pid)
        status = find_library(r);
    if (r->o->check || status)
        return status;
    if (r->o->pid)
        return arg_count ? sl_fail(SL_EXIT_USAGE, "exec: either --pid or a program, not both") : run_attached(r);
    if (arg_count == 0)
        return sl_fail(SL_EXIT_USAGE, "exec: no program; give such as `sightline exec -- llama-server -m model.gguf`");
    sl_exec_signals_block();
    status = prepare(r);
    if (!status)
        status = start(r);
    uint64_t started_ns = sl_mono_ns();
    if (!status) {
        sl_exec_telemetry_started(&r->telemetry);
        announce(r);
        sl_exec_child_wait(&r->child);
    }
    close_telemetry(r);
    sl_uprobe_attach_free(r->attach);
    sl_exec_folder_remove(&r->folder);
    if (status)
        return status;
    say_nothing_seen(r, started_ns);
    sl_exec_child_follow(&r->child);
}

const sl_command sl_cmd_exec = {
    "exec",
    "runs a llama.cpp program instrumented, as it is",
    "[options] -- COMMAND…",
    "Runs COMMAND with libsightline-llama.so loaded into it: spans and metrics of models, batches, tokens and HTTP "
    "requests, from any program that uses libllama, without a rebuild. Signals are passed on, the terminal is "
    "COMMAND's, "
    "and so are output and exit status (126: it cannot be run, 127: not found). OTEL_* variables say where telemetry "
    "goes; service.name is llama-cpp unless OTEL_SERVICE_NAME says otherwise.",
    "  sightline exec -- llama-server -m model.gguf\n"
    "  sightline exec --metrics-listen 0.0.0.0:9464 -- llama-server -m model.gguf --port 8081\n"
    "  OTEL_EXPORTER_OTLP_ENDPOINT=http://localhost:4317 sightline exec -- llama-server -m model.gguf\n"
    "  sightline exec --quotas queue=8 --front-listen 8080 -- llama-server -m model.gguf --port 8081\n"
    "  sightline exec --decode-span-every 1 -- python3 chat.py\n"
    "  sightline exec --pid \"$(pidof llama-server)\"\n",
    tables,
    sizeof(sl_exec_options),
    SL_ARGS_COMMAND,
    run_exec};
