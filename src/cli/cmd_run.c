/* `sightline run`: one workflow file, from its inputs to its outputs. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/cli/commands.h"
#include "src/cli/data_dir.h"
#include "src/cli/run_view.h"
#include "src/cli/view_export.h"
#include "src/flow/expr_value.h"
#include "src/flow/services.h"
#include "src/flow/services_env.h"
#include "src/store/collection.h"
#include "src/telemetry/otel_config.h"
#include "src/telemetry/sdk_impl.h"

#define MAX_INPUT_BYTES (16u * 1024 * 1024)
#define MAX_REPORT_BYTES ((size_t)1 << 30)
#define SHUTDOWN_MS 700 /* for exporters: the command ends within a second of its work */
#define REDRAW_MS 120
#define RUN_SIGNALS 3u

typedef struct run_command_options {
    sl_str input;
    sl_str config;
    sl_str format;
    sl_str data_dir;
    sl_str file_root;
    sl_str view;
    sl_str_list exec_allowed;
    sl_str_list http_allowed;
    uint64_t max_concurrency;
    uint64_t timeout_ms;
    bool check;
    bool quiet;
} run_command_options;

#define OPT(member) offsetof(run_command_options, member)
static const sl_option options[] = {
    {"input", 'i', SL_OPT_STR, OPT(input), "JSON", "The inputs, an object; FILE or @FILE reads one, - standard input.",
     NULL, NULL},
    {"max-concurrency", 0, SL_OPT_U64, OPT(max_concurrency), "N", "Steps at once.", "4", NULL},
    {"timeout", 't', SL_OPT_MS, OPT(timeout_ms), "SECONDS", "Longest time for the run; absent: as the file says.", NULL,
     NULL},
    {"config", 'c', SL_OPT_STR, OPT(config), "FILE", "Models and keys: a LiteLLM config.yaml.", NULL,
     "SIGHTLINE_CONFIG"},
    {"data-dir", 0, SL_OPT_STR, OPT(data_dir), "DIR",
     "Where collections of vectors are; the default is the XDG state folder.", NULL, "SIGHTLINE_DATA_DIR"},
    {"file-root", 0, SL_OPT_STR, OPT(file_root), "DIR", "Steps may read and write files below it; absent: none.", NULL,
     NULL},
    {"allow-exec", 0, SL_OPT_LIST, OPT(exec_allowed), "PROGRAM", "A program, by its absolute path, that steps may run.",
     NULL, NULL},
    {"allow-host", 0, SL_OPT_LIST, OPT(http_allowed), "HOST",
     "A HOST or HOST:PORT, with * and ?, that steps may call; absent: all but link-local and metadata addresses.", NULL,
     NULL},
    SL_VIEW_OPTION(OPT(view)),
    {"format", 'f', SL_OPT_STR, OPT(format), "FORMAT", "text or json.", "text", NULL},
    {"check", 0, SL_OPT_FLAG, OPT(check), NULL, "Only read file, inputs and configuration.", NULL, NULL},
    {"quiet", 'q', SL_OPT_FLAG, OPT(quiet), NULL, "No progress.", NULL, NULL},
    {NULL, 0, SL_OPT_FLAG, 0, NULL, NULL, NULL, NULL}};
static const sl_option *const tables[] = {options, NULL};

typedef struct runner {
    const run_command_options *o;
    sl_loop loop;
    sl_sdk *sdk;
    sl_flow *flow;
    json_t *inputs;
    sl_config *config;
    sl_flow_services services;
    char *texts[2 * SL_FLOW_MAX_ALLOWED + 1]; /* of the services */
    size_t text_count;
    sl_executor *executor;
    sl_flow_run *run;
    sl_run_view view;
    sl_buf out;
    uv_signal_t signals[RUN_SIGNALS];
    uv_timer_t redraw;
    bool cancelled;
} runner;

/* ---- inputs ---- */

static int read_all(int fd, sl_buf *out)
{
    char piece[65536];
    ssize_t n;
    while ((n = read(fd, piece, sizeof piece)) > 0 || (n < 0 && errno == EINTR)) {
        if (n > 0 && sl_buf_put(out, piece, (size_t)n) != 0)
            return SL_ETOOBIG;
    }
    return n < 0 ? SL_EIO : 0;
}

/* The name of the file that -i gives: behind an @, or, as LLM Orchestrator has it, bare. Empty: it is the JSON itself.
 */
static sl_str input_file(sl_str given)
{
    char path[SL_DATA_PATH_MAX];
    struct stat file;
    if (given.len > 1 && given.ptr[0] == '@')
        return sl_str_sub(given, 1, given.len);
    bool is_file = sl_str_eq_c(given, "-") || (given.len && given.ptr[0] != '{' && given.ptr[0] != '[' &&
                                               sl_str_to_c(given, path, sizeof path) && stat(path, &file) == 0);
    return is_file ? given : sl_str_of(NULL, 0);
}

/* The text of -i, or of the file that it names. */
static int input_text(sl_str given, sl_buf *out)
{
    sl_str file = input_file(given);
    if (!file.len)
        return sl_buf_put_str(out, given);
    char path[SL_DATA_PATH_MAX];
    if (!sl_str_to_c(file, path, sizeof path))
        return sl_fail(SL_EXIT_USAGE, "--input: the name of the file is too long");
    int fd = strcmp(path, "-") == 0 ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
    int error = fd < 0 ? SL_EIO : read_all(fd, out);
    if (error == SL_ETOOBIG)
        error = sl_fail(SL_EXIT_USAGE, "--input: %s has more than %u bytes; give less", path, MAX_INPUT_BYTES);
    else if (error)
        error = sl_fail(SL_EXIT_USAGE, "--input: %s: %s; give a file that can be read", path, strerror(errno));
    if (fd > STDIN_FILENO)
        close(fd);
    return error;
}

/* A fault in a file begins with its place. */
static int bad_input(sl_str given, const json_error_t *error)
{
    sl_str file = input_file(given);
    if (!file.len)
        return sl_fail(SL_EXIT_USAGE, "--input: line %d, column %d: %s; give a JSON object, or a file that is there",
                       error->line, error->column, error->text);
    fprintf(stderr, "%.*s:%d:%d: error: %s; give a JSON object\n", (int)file.len, file.ptr, error->line, error->column,
            error->text);
    return SL_EXIT_USAGE;
}

static int read_inputs(runner *r)
{
    sl_buf text;
    sl_buf_init(&text, MAX_INPUT_BYTES);
    int status = input_text(r->o->input, &text);
    json_error_t error = {.line = 1};
    if (!status) {
        r->inputs = text.len ? json_loadb(text.data, text.len, JSON_REJECT_DUPLICATES, &error) : json_object();
        if (!r->inputs)
            status = bad_input(r->o->input, &error);
        else if (!json_is_object(r->inputs))
            status = sl_fail(SL_EXIT_USAGE, "--input: not an object; give such as {\"topic\": \"rain\"}");
    }
    sl_buf_done(&text);
    return status;
}

static int load_flow(runner *r, const char *path)
{
    static sl_flow_problems problems; /* too large for a stack */
    bool piped = strcmp(path, "-") == 0;
    if (piped && sl_str_eq_c(input_file(r->o->input), "-"))
        return sl_fail(SL_EXIT_USAGE, "--input: standard input is the workflow; give the inputs in another way");
    int error = sl_flow_load_file(piped ? "/dev/stdin" : path, &problems, &r->flow);
    (void)sl_flow_problems_format(&problems, path, &r->out);
    if (r->out.len && !(r->o->quiet && !error))
        (void)fwrite(r->out.data, 1, r->out.len, stderr);
    sl_buf_clear(&r->out);
    if (error == SL_ENOMEM || (error && !problems.count))
        return sl_fail(SL_EXIT_FAILED, "%s: %s", path, sl_strerror(error));
    return error ? SL_EXIT_USAGE : 0;
}

static int load_config(runner *r)
{
    if (!r->o->config.len)
        return 0;
    char path[SL_DATA_PATH_MAX];
    if (!sl_str_to_c(r->o->config, path, sizeof path))
        return sl_fail(SL_EXIT_USAGE, "--config: the name of the file is too long");
    int error = sl_config_load(path, &r->config);
    if (r->config) {
        (void)sl_config_format_diagnostics(r->config, &r->out);
        (void)fwrite(r->out.len ? r->out.data : "", 1, r->out.len, stderr);
        sl_buf_clear(&r->out);
    }
    if (error && !r->config)
        return sl_fail(SL_EXIT_USAGE, "%s: %s; give a configuration that can be read", path, sl_strerror(error));
    return error ? SL_EXIT_USAGE : 0;
}

/* ---- services ---- */

static const char *keep_text(runner *r, sl_str text)
{
    char *copy = r->text_count < sizeof r->texts / sizeof *r->texts ? sl_strndup(text.ptr, text.len) : NULL;
    if (copy)
        r->texts[r->text_count++] = copy;
    return copy;
}

static size_t keep_list(runner *r, const sl_str_list *list, const char **ret_items)
{
    size_t count = 0;
    for (size_t i = 0; i < list->count && i < SL_FLOW_MAX_ALLOWED; i++) {
        ret_items[count] = keep_text(r, list->items[i]);
        count += ret_items[count] != NULL;
    }
    return count;
}

/* Collections of the data folder; without one that can be opened there are none to search. */
static int open_collections(runner *r)
{
    char folder[SL_DATA_PATH_MAX], path[SL_DATA_PATH_MAX + 32], reason[256] = "";
    int error = sl_data_dir_open(r->o->data_dir, folder, reason);
    if (!error) {
        (void)snprintf(path, sizeof path, "%s/%s", folder, SL_COLLECTIONS_FILE);
        error = sl_collections_open(path, reason, sizeof reason, &r->services.collections);
    }
    if (error && r->o->data_dir.len)
        return sl_fail(SL_EXIT_USAGE, "--data-dir: %s", reason);
    if (error)
        error = sl_collections_open(NULL, reason, sizeof reason, &r->services.collections);
    return error ? sl_fail(SL_EXIT_FAILED, "run: %s", reason) : 0;
}

static int open_services(runner *r)
{
    sl_flow_services *s = &r->services;
    s->loop = &r->loop;
    s->sdk = r->sdk;
    s->exec_allowed_count = keep_list(r, &r->o->exec_allowed, s->exec_allowed);
    s->http_allowed_count = keep_list(r, &r->o->http_allowed, s->http_allowed);
    struct stat folder;
    if (r->o->file_root.len)
        s->file_root = keep_text(r, r->o->file_root);
    if (s->file_root && (stat(s->file_root, &folder) != 0 || !S_ISDIR(folder.st_mode)))
        return sl_fail(SL_EXIT_USAGE, "--file-root: %s: no folder; make it, or give one that is there", s->file_root);
    char reason[SL_SERVICES_REASON];
    if (sl_flow_services_from_env(s, reason))
        return sl_fail(SL_EXIT_USAGE, "%s", reason);
    int error = sl_llm_client_new(&r->loop, r->sdk, &s->llm);
    if (!error)
        error = sl_upstream_new(&r->loop, NULL, &s->upstream);
    if (error)
        return sl_fail(SL_EXIT_FAILED, "run: %s", sl_strerror(error));
    error = sl_llm_endpoints_from_env(s->llm);
    if (error)
        return sl_fail(SL_EXIT_USAGE, "OPENAI_BASE_URL, ANTHROPIC_BASE_URL: %s; give such as https://HOST/v1",
                       sl_strerror(error));
    if (r->config && (error = sl_llm_endpoints_from_config(s->llm, r->config)) != 0)
        return sl_fail(SL_EXIT_USAGE, "--config: its models cannot be used: %s", sl_strerror(error));
    return open_collections(r);
}

/* ---- telemetry ---- */

static void on_sdk_error(void *user, int error, const char *message)
{
    (void)user;
    if (error == SL_ECONFIG)
        (void)sl_fail(0, "%s", message);
}

/* OTEL_* as everywhere. Log lines go to standard error when LOG_LEVEL asks for them. */
static int open_sdk(runner *r)
{
    const char *level = getenv("LOG_LEVEL");
    sl_exporter view;
    sl_sdk_options given = {.log_to_stderr = level && *level, .on_error = on_sdk_error, .exporters = &view};
    int status = sl_view_exporter_add(&sl_cmd_run, r->o->view, &view, &given.exporter_count);
    if (status)
        return status;
    sl_otel_config_queues(&(const sl_env){0}, SL_PROGRAM_QUEUE_ITEMS, given.batch);
    const sl_sdk_internal_options internal = {.export_only_when_set = true, .default_service_name = "llm-orchestrator"};
    int error = sl_sdk_new_internal(&given, &internal, &r->sdk);
    if (error == SL_ECONFIG)
        return SL_EXIT_USAGE;
    return error ? sl_fail(SL_EXIT_FAILED, "run: telemetry cannot start: %s", sl_strerror(error)) : 0;
}

/* ---- progress ---- */

static void flush_progress(runner *r)
{
    if (r->out.len)
        (void)fwrite(r->out.data, 1, r->out.len, stderr);
    (void)fflush(stderr);
    sl_buf_clear(&r->out);
}

static void close_handle(uv_handle_t *handle)
{
    if (handle->loop && !uv_is_closing(handle))
        uv_close(handle, NULL);
}

static void on_event(void *user, sl_flow_run *run, const sl_flow_event *event)
{
    runner *r = user;
    (void)run;
    if (!r->o->quiet) {
        sl_run_view_event(&r->view, event, &r->out);
        flush_progress(r);
    }
    if (event->kind == SL_FLOW_RUN_ENDED)
        uv_stop(&r->loop.uv);
}

static void on_redraw(uv_timer_t *timer)
{
    runner *r = timer->data;
    if (r->run) {
        sl_run_view_draw(&r->view, r->run, &r->out);
        flush_progress(r);
    }
}

/* The first one ends the run, the second one the program. */
static void on_signal(uv_signal_t *signal, int number)
{
    runner *r = signal->data;
    if (r->cancelled)
        _exit(128 + number);
    r->cancelled = true;
    sl_flow_run_cancel(r->run);
}

static void watch(runner *r)
{
    static const int numbers[RUN_SIGNALS] = {SIGINT, SIGTERM, SIGHUP};
    struct sigaction hangup;
    bool kept = sigaction(SIGHUP, NULL, &hangup) == 0 && hangup.sa_handler == SIG_IGN; /* as nohup wants it */
    for (size_t i = 0; i < RUN_SIGNALS - (kept ? 1 : 0); i++) {
        (void)uv_signal_init(&r->loop.uv, &r->signals[i]);
        r->signals[i].data = r;
        (void)uv_signal_start(&r->signals[i], on_signal, numbers[i]);
    }
    (void)uv_timer_init(&r->loop.uv, &r->redraw);
    r->redraw.data = r;
    if (r->view.terminal)
        (void)uv_timer_start(&r->redraw, on_redraw, 0, REDRAW_MS);
}

/* ---- the run ---- */

static int put_report(const runner *r, sl_buf *out)
{
    if (!sl_str_eq_c(r->o->format, "json")) {
        sl_run_view plain = r->view;
        plain.colour = sl_use_colour(STDOUT_FILENO);
        return sl_run_view_report(&plain, r->run, out);
    }
    sl_flow_work work = {.steps = UINT64_MAX, .bytes = UINT64_MAX};
    json_t *object = sl_flow_run_report(r->run);
    int error = object ? sl_flow_put_json(&work, out, object, 2) : SL_ENOMEM;
    json_decref(object);
    return error ? error : sl_buf_put_char(out, '\n');
}

static int report(runner *r)
{
    sl_buf text;
    sl_buf_init(&text, MAX_REPORT_BYTES);
    int error = put_report(r, &text);
    int status = error ? sl_fail(SL_EXIT_FAILED, "run: there is no report: %s", sl_strerror(error)) : sl_print(&text);
    sl_buf_done(&text);
    if (status)
        return status;
    return sl_flow_run_status(r->run) == SL_RUN_SUCCEEDED ? SL_EXIT_OK : SL_EXIT_FAILED;
}

static int start(runner *r)
{
    const sl_executor_options given = {.services = &r->services};
    int error = sl_executor_new(&given, &r->executor);
    const sl_flow_run_options run_options = {
        .max_concurrency = r->o->max_concurrency, .timeout_ms = r->o->timeout_ms, .on_event = on_event, .user = r};
    if (!error)
        error = sl_flow_run_start(r->executor, r->flow, r->inputs, &run_options, &r->run);
    if (error)
        return sl_fail(SL_EXIT_FAILED, "run: %s", sl_strerror(error));
    sl_run_view_init(&r->view, r->o->quiet ? -1 : STDERR_FILENO, sl_flow_run_step_count(r->run));
    r->view.colour = r->view.terminal && sl_use_colour(STDERR_FILENO);
    watch(r);
    while (sl_flow_run_status(r->run) <= SL_RUN_RUNNING)
        (void)uv_run(&r->loop.uv, UV_RUN_DEFAULT);
    sl_run_view_clear(&r->view, &r->out);
    flush_progress(r);
    return report(r);
}

static void close_all(runner *r)
{
    for (size_t i = 0; i < RUN_SIGNALS; i++)
        close_handle((uv_handle_t *)&r->signals[i]);
    close_handle((uv_handle_t *)&r->redraw);
    sl_flow_run_unref(r->run);
    if (r->executor)
        sl_executor_close(r->executor, false);
    if (r->services.llm)
        sl_llm_client_close(r->services.llm);
    if (r->services.upstream)
        sl_upstream_close(r->services.upstream);
    (void)uv_run(&r->loop.uv, UV_RUN_DEFAULT);
    sl_executor_free(r->executor);
    sl_llm_client_free(r->services.llm);
    sl_upstream_free(r->services.upstream);
    sl_collections_close(r->services.collections);
    sl_flow_services_done(&r->services);
    sl_loop_done(&r->loop);
    (void)sl_sdk_shutdown(r->sdk, SHUTDOWN_MS);
    sl_sdk_free(r->sdk);
}

static int run_with_loop(runner *r)
{
    if (sl_loop_init(&r->loop) != 0)
        return sl_fail(SL_EXIT_FAILED, "run: no event loop");
    int status = open_sdk(r);
    if (!status)
        status = open_services(r);
    if (!status && !r->o->check)
        status = start(r);
    close_all(r);
    return status;
}

static int check_options(const run_command_options *o)
{
    if (!sl_format_is_known(o->format))
        return SL_EXIT_USAGE;
    if (o->max_concurrency == 0 || o->max_concurrency > SL_FLOW_DEFAULT_TOTAL)
        return sl_fail(SL_EXIT_USAGE, "--max-concurrency: out of range; give 1 to %u", SL_FLOW_DEFAULT_TOTAL);
    return 0;
}

static int run_run(const sl_command *command, void *given, char **args, size_t arg_count)
{
    (void)command;
    runner r = {.o = given};
    int status = check_options(r.o);
    if (status)
        return status;
    if (arg_count != 1)
        return sl_fail(SL_EXIT_USAGE, "run: no file; give a workflow, such as sightline run pipeline.yaml");
    sl_buf_init(&r.out, 4u << 20);
    (void)signal(SIGPIPE, SIG_IGN);
    const int read[] = {load_flow(&r, args[0]), read_inputs(&r), load_config(&r)}; /* the faults of all at once */
    for (size_t i = 0; i < sizeof read / sizeof *read && !status; i++)
        status = read[i];
    if (!status)
        status = run_with_loop(&r);
    sl_flow_unref(r.flow);
    json_decref(r.inputs);
    sl_config_free(r.config);
    for (size_t i = 0; i < r.text_count; i++)
        sl_free(r.texts[i]);
    sl_buf_done(&r.out);
    return status;
}

const sl_command sl_cmd_run = {
    "run",
    "run one workflow file",
    "FILE [-i JSON] [options]",
    "Runs a workflow and prints its steps, outputs, tokens, cost and trace id. Providers are those of OPENAI_API_KEY, "
    "OPENAI_BASE_URL, ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL, and of --config. Exit status 0: it succeeded, 1: it "
    "failed "
    "or was cancelled, 2: file, inputs or options are wrong. FILE may be - for standard input. Ctrl-C cancels, twice "
    "ends at once. "
    "OTEL_* variables say where telemetry goes; LOG_LEVEL shows log lines.",
    "  sightline run pipeline.yaml -i '{\"topic\": \"rain\"}'\n"
    "  sightline run pipeline.yaml -i @inputs.json --format json\n"
    "  OPENAI_BASE_URL=http://127.0.0.1:4000/v1 OPENAI_API_KEY=sk-dev-key sightline run pipeline.yaml\n",
    tables,
    sizeof(run_command_options),
    1,
    run_run};
