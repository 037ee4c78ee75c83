/*
 * Action exec: an allowed program with a list of arguments, no shell, in a process group of its own.
 *
 *     start ──► running ──exit──► draining (what its pipes still hold) ──► result
 *                  │ cancel                    │ pipes stay open: the group is killed, their rest is not waited for
 *                  └──► group killed ──exit──► gone
 *
 * The program sees an environment of its own making: PATH, HOME, LANG, TRACEPARENT and what the step gives.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/clock.h"
#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/flow/expr_value.h"
#include "src/flow/step_action.h"

#define DRAIN_MS 500 /* for the pipes after the exit */
#define SAID_BYTES 200

typedef struct output {
    uv_pipe_t pipe;
    sl_buf text;
    size_t max;
    bool open;
    bool truncated;
} output;

typedef struct exec_op {
    sl_action_op op;
    sl_step_try *attempt; /* NULL: cancelled */
    sl_loop *loop;
    uv_process_t process;
    uv_pipe_t in;
    output out, err;
    uv_write_t write;
    sl_buf input;
    sl_timer drain;
    unsigned handles; /* not closed yet */
    bool in_open;
    bool exited;
    bool ended; /* the step has been told */
    int64_t status;
    int signal;
    int64_t expected;
    uint64_t start_ns;
} exec_op;

/* ---- the end ---- */

static void on_closed(uv_handle_t *handle)
{
    exec_op *e = handle->data;
    SL_ASSERT(e->handles > 0);
    if (--e->handles)
        return;
    SL_ASSERT(e->ended);
    sl_timer_stop(e->loop, &e->drain);
    sl_buf_done(&e->out.text);
    sl_buf_done(&e->err.text);
    sl_buf_done(&e->input);
    sl_free(e);
}

static void close_pipe(uv_pipe_t *pipe, bool *open)
{
    if (!*open)
        return;
    *open = false;
    uv_close((uv_handle_t *)pipe, on_closed);
}

static void kill_group(const exec_op *e)
{
    if (e->process.pid > 0)
        (void)kill(-e->process.pid, SIGKILL);
}

static json_t *metadata_of(const exec_op *e, bool encoded)
{
    bool err_encoded = false;
    json_t *err = sl_action_bytes(sl_buf_str(&e->err.text), &err_encoded);
    return json_pack("{s:I, s:i, s:o, s:b, s:b, s:f}", "exit_code", (json_int_t)e->status, "signal", e->signal,
                     "stderr", err, "truncated", (int)(e->out.truncated || e->err.truncated), "base64",
                     (int)(encoded || err_encoded), "duration_ms", (double)(sl_mono_ns() - e->start_ns) / 1e6);
}

/* The end of what was said, from a whole character on; empty when it is no text. */
static sl_str last_words(sl_str said)
{
    said = sl_str_sub(said, said.len > SAID_BYTES ? said.len - SAID_BYTES : 0, said.len);
    while (said.len && ((unsigned char)said.ptr[0] & 0xC0) == 0x80)
        said = sl_str_sub(said, 1, said.len);
    said.len = sl_utf8_whole(said);
    return sl_utf8_valid(said) ? said : sl_str_of(NULL, 0);
}

static void tell(exec_op *e, sl_step_try *attempt)
{
    bool encoded = false;
    attempt->data = NULL;
    if (!e->signal && e->status == e->expected) {
        json_t *text = sl_action_bytes(sl_buf_str(&e->out.text), &encoded);
        sl_action_succeed(attempt, text, metadata_of(e, encoded));
        return;
    }
    sl_str said = last_words(sl_buf_str(&e->err.text));
    if (e->signal)
        sl_step_fail(attempt, SL_STEP_ERROR_EXIT, "the program was ended by signal %d: %.*s", e->signal, (int)said.len,
                     said.len ? said.ptr : "");
    else
        sl_step_fail(attempt, SL_STEP_ERROR_EXIT, "the program ended with status %lld: %.*s", (long long)e->status,
                     (int)said.len, said.len ? said.ptr : "");
}

/* Ends the step when the program has, and its pipes are empty or `late`. */
static void end_if_done(exec_op *e, bool late)
{
    if (e->ended || !e->exited || (!late && (e->out.open || e->err.open)))
        return;
    e->ended = true;
    sl_timer_rest(&e->drain);
    kill_group(e); /* what it left behind */
    close_pipe(&e->in, &e->in_open);
    close_pipe(&e->out.pipe, &e->out.open);
    close_pipe(&e->err.pipe, &e->err.open);
    sl_step_try *attempt = e->attempt;
    e->attempt = NULL;
    if (attempt)
        tell(e, attempt);
    uv_close((uv_handle_t *)&e->process, on_closed);
}

static void on_late(sl_timer *timer)
{
    end_if_done((exec_op *)((char *)timer - offsetof(exec_op, drain)), true);
}

static void on_process_exit(uv_process_t *process, int64_t status, int signal)
{
    exec_op *e = process->data;
    e->exited = true;
    e->status = status;
    e->signal = signal;
    close_pipe(&e->in, &e->in_open);
    if (e->attempt)
        sl_timer_set(e->loop, &e->drain, on_late, DRAIN_MS);
    end_if_done(e, !e->attempt);
}

static void cancel_exec(sl_action_op *op)
{
    exec_op *e = (exec_op *)op;
    e->attempt = NULL;
    kill_group(e);
    end_if_done(e, true);
}

/* ---- pipes ---- */

static void on_output(uv_stream_t *stream, ssize_t n, const uv_buf_t *buffer)
{
    exec_op *e = stream->data;
    output *o = stream == (uv_stream_t *)&e->out.pipe ? &e->out : &e->err;
    if (n < 0) {
        close_pipe(&o->pipe, &o->open);
        end_if_done(e, false);
        return;
    }
    size_t room = o->max - o->text.len, len = (size_t)n;
    if (len > room) {
        o->truncated = true;
        len = room;
    }
    if (sl_buf_put(&o->text, buffer->base, len))
        o->truncated = true;
}

static void on_written(uv_write_t *write, int status)
{
    exec_op *e = write->data;
    (void)status; /* a program that does not read its input is no fault */
    close_pipe(&e->in, &e->in_open);
}

static int open_pipe(exec_op *e, uv_pipe_t *pipe, bool *open)
{
    if (uv_pipe_init(&e->loop->uv, pipe, 0))
        return SL_EIO;
    pipe->data = e;
    *open = true;
    e->handles++;
    return 0;
}

static void begin_io(exec_op *e)
{
    (void)uv_read_start((uv_stream_t *)&e->out.pipe, sl_loop_alloc, on_output);
    (void)uv_read_start((uv_stream_t *)&e->err.pipe, sl_loop_alloc, on_output);
    e->write.data = e;
    uv_buf_t bytes = uv_buf_init(e->input.data, (unsigned)e->input.len);
    if (!e->input.len || uv_write(&e->write, (uv_stream_t *)&e->in, &bytes, 1, on_written))
        close_pipe(&e->in, &e->in_open);
}

/* ---- what to run ---- */

typedef struct command {
    char *args[SL_MAX_FLOW_EXEC_ARGS + 2];
    size_t arg_count;
    char *env[SL_MAX_FLOW_EXEC_ENV + 5];
    size_t env_count;
} command;

static void command_done(command *c)
{
    for (size_t i = 0; i < c->arg_count; i++)
        free(c->args[i]);
    for (size_t i = 0; i < c->env_count; i++)
        free(c->env[i]);
}

static const char *add_arg(command *c, json_t *value)
{
    char *memory = NULL;
    sl_str text;
    bool is_json;
    if (c->arg_count >= SL_MAX_FLOW_EXEC_ARGS)
        return "there are more than 256 arguments";
    if (!sl_action_body(value, &text, &memory, &is_json))
        return "out of memory";
    const char *wrong = text.len && memchr(text.ptr, '\0', text.len) ? "an argument contains NUL" : NULL;
    char *copy = wrong ? NULL : memory ? memory : strdup(text.len ? text.ptr : "");
    if (!wrong && !copy)
        wrong = "out of memory";
    if (wrong)
        free(memory);
    else
        c->args[c->arg_count++] = copy;
    return wrong;
}

/* `command`: the program, or a list with its arguments; `args`: further ones. */
static const char *read_args(const sl_step_try *attempt, command *c)
{
    json_t *first = json_object_get(attempt->params, "command"), *more = json_object_get(attempt->params, "args");
    const char *wrong = NULL;
    if (first)
        first = sl_flow_plain(first);
    if (more && !json_is_null(more) && !json_is_array(more))
        return "args must be a list";
    if (json_is_string(first))
        wrong = add_arg(c, first);
    for (size_t i = 0; !wrong && i < json_array_size(first); i++)
        wrong = add_arg(c, json_array_get(first, i));
    for (size_t i = 0; !wrong && i < json_array_size(more); i++)
        wrong = add_arg(c, json_array_get(more, i));
    return wrong || c->arg_count ? wrong : "command is missing";
}

static bool add_env(command *c, const char *name, const char *value)
{
    if (asprintf(&c->env[c->env_count], "%s=%s", name, value) < 0) {
        c->env[c->env_count] = NULL;
        return false;
    }
    c->env_count++;
    return true;
}

/* Names that make the loader or a shell run something else are refused. */
static bool is_env_name(const char *name)
{
    return *name && strlen(name) < 128 && !strchr(name, '=') && strncmp(name, "LD_", 3) != 0 &&
           strcmp(name, "GLIBC_TUNABLES") != 0 && strcmp(name, "BASH_ENV") != 0 && strcmp(name, "ENV") != 0;
}

static const char *read_env(const sl_step_try *attempt, command *c)
{
    json_t *given = json_object_get(attempt->params, "env"), *value;
    const char *name;
    char trace[SL_TRACEPARENT_LEN + 1];
    sl_span_context context;
    sl_span_get_context(attempt->span, &context);
    bool good =
        add_env(c, "PATH", "/usr/local/bin:/usr/bin:/bin") && add_env(c, "HOME", "/") && add_env(c, "LANG", "C.UTF-8");
    if (good && sl_span_context_is_valid(&context)) {
        sl_traceparent_format(&context, trace);
        good = add_env(c, "TRACEPARENT", trace);
    }
    if (given && !json_is_null(given) && !json_is_object(given))
        return "env must be an object";
    if (json_object_size(given) > SL_MAX_FLOW_EXEC_ENV)
        return "env has more than 64 members";
    json_object_foreach(given, name, value)
    {
        if (!is_env_name(name) || !json_is_string(value) ||
            memchr(json_string_value(value), '\0', json_string_length(value)))
            return "env has a name that is not allowed, or a value that is no text";
        good = good && add_env(c, name, json_string_value(value));
    }
    return good ? NULL : "out of memory";
}

static bool is_allowed(const sl_flow_services *services, const char *program)
{
    SL_ASSERT(services->exec_allowed_count <= SL_FLOW_MAX_ALLOWED);
    for (size_t i = 0; program[0] == '/' && i < services->exec_allowed_count; i++)
        if (strcmp(services->exec_allowed[i], program) == 0)
            return true;
    return false;
}

/* ---- starting ---- */

static int spawn(exec_op *e, const command *c)
{
    const char *root = e->attempt->services->file_root;
    uv_stdio_container_t io[3] = {
        {.flags = UV_CREATE_PIPE | UV_READABLE_PIPE, .data.stream = (uv_stream_t *)&e->in},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&e->out.pipe},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&e->err.pipe}};
    uv_process_options_t options = {.exit_cb = on_process_exit,
                                    .file = c->args[0],
                                    .args = (char **)(uintptr_t)c->args,
                                    .env = (char **)(uintptr_t)c->env,
                                    .cwd = root ? root : "/",
                                    .flags = UV_PROCESS_DETACHED,
                                    .stdio_count = 3,
                                    .stdio = io};
    e->process.data = e;
    e->handles++; /* also when it fails: uv_spawn has made the handle */
    return uv_spawn(&e->loop->uv, &e->process, &options);
}

static void abandon(exec_op *e, int error)
{
    sl_step_try *attempt = e->attempt;
    e->attempt = NULL;
    e->ended = true;
    attempt->data = NULL;
    close_pipe(&e->in, &e->in_open);
    close_pipe(&e->out.pipe, &e->out.open);
    close_pipe(&e->err.pipe, &e->err.open);
    uv_close((uv_handle_t *)&e->process, on_closed);
    sl_step_fail(attempt, SL_STEP_ERROR_INTERNAL, "the program cannot be started: %s", uv_strerror(error));
}

static bool prepare(exec_op *e)
{
    char *memory = NULL;
    sl_str input;
    bool is_json;
    json_t *in = json_object_get(e->attempt->params, "stdin");
    sl_buf_init(&e->input, SL_MAX_FLOW_FILE_BYTES);
    sl_buf_init(&e->out.text, SL_MAX_FLOW_EXEC_OUTPUT_BYTES + 1);
    sl_buf_init(&e->err.text, SL_MAX_FLOW_EXEC_OUTPUT_BYTES + 1);
    bool good = sl_action_body(in, &input, &memory, &is_json) && sl_buf_put_str(&e->input, input) == 0;
    free(memory);
    if (!good)
        sl_step_fail(e->attempt, SL_STEP_ERROR_TOO_BIG, "stdin is larger than 16 MiB");
    return good;
}

static void run(sl_step_try *attempt, const command *c, double max, double expected)
{
    exec_op *e = sl_calloc(1, sizeof *e);
    if (!e) {
        sl_step_fail(attempt, SL_STEP_ERROR_INTERNAL, "out of memory");
        return;
    }
    e->op.cancel = cancel_exec;
    e->attempt = attempt;
    e->loop = attempt->loop;
    e->out.max = e->err.max = (size_t)max;
    e->expected = (int64_t)expected;
    e->start_ns = sl_mono_ns();
    if (!prepare(e)) {
        sl_buf_done(&e->input);
        sl_free(e);
        return;
    }
    int error = open_pipe(e, &e->in, &e->in_open) || open_pipe(e, &e->out.pipe, &e->out.open) ||
                open_pipe(e, &e->err.pipe, &e->err.open);
    SL_ASSERT(!error); /* on Linux it cannot fail */
    error = error ? UV_EIO : spawn(e, c);
    if (error) {
        abandon(e, error);
        return;
    }
    attempt->data = e;
    begin_io(e);
}

void sl_action_exec(sl_step_try *attempt)
{
    SL_ASSERT(attempt);
    command c = {0};
    double max, expected;
    if (!sl_action_number(attempt, "max_output_bytes", 1024 * 1024, 0, SL_MAX_FLOW_EXEC_OUTPUT_BYTES, &max) ||
        !sl_action_number(attempt, "expected_exit", 0, 0, 255, &expected))
        return;
    const char *wrong = read_args(attempt, &c);
    if (!wrong)
        wrong = read_env(attempt, &c);
    if (wrong)
        sl_step_fail(attempt, SL_STEP_ERROR_INPUT, "exec: %s", wrong);
    else if (!is_allowed(attempt->services, c.args[0]))
        sl_step_fail(attempt, SL_STEP_ERROR_FORBIDDEN, "%.200s is not on the list of programs that may be run",
                     c.args[0]);
    else
        run(attempt, &c, max, expected);
    command_done(&c);
}
