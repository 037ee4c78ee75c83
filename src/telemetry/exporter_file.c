/*
 * The file exporter: OTLP as JSON lines, one request a line, appended to a file or written to standard output.
 * Source: opentelemetry-proto, docs/specification.md, "OTLP JSON File Exporter".
 */
#include <fcntl.h>
#include <stdio.h>

#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/telemetry/exporter_factory.h"
#include "src/telemetry/exporter_json.h"
#include "src/telemetry/fd_write.h"

typedef struct file_exporter {
    int fd;
    bool owns_fd;
    bool torn; /* the last line was not written to its end */
} file_exporter;

static int file_deliver(void *user, sl_signal signal, sl_str request, size_t items, uint64_t timeout_ms,
                        uint64_t *ret_retry_after_ms, uint64_t *ret_rejected)
{
    (void)items;
    (void)ret_retry_after_ms;
    (void)ret_rejected;
    file_exporter *x = user;
    sl_buf line;
    size_t written = 0;
    sl_buf_init(&line, SL_MAX_OTLP_JSON_BYTES);
    int error = x->torn ? sl_buf_put_char(&line, '\n') : 0; /* what comes next begins a line of its own */
    if (!error)
        error = sl_otlp_to_json(sl_wire_signal(signal), request, &line);
    if (!error)
        error = sl_buf_put_char(&line, '\n');
    if (!error)
        error = sl_fd_write_all(x->fd, sl_buf_str(&line), sl_deadline_ns(timeout_ms), &written);
    if (written)
        x->torn = written < line.len;
    sl_buf_done(&line);
    return error;
}

static void file_free(void *user)
{
    file_exporter *x = user;
    if (x->owns_fd)
        close(x->fd);
    sl_free(x);
}

static int make(const sl_exporter_spec *spec, const char *name, int fd, bool owns_fd, sl_exporter *ret_exporter)
{
    SL_ASSERT(spec && ret_exporter && fd >= 0);
    file_exporter *x = sl_calloc(1, sizeof *x);
    if (!x)
        return SL_ENOMEM;
    x->fd = fd;
    x->owns_fd = owns_fd;
    *ret_exporter = sl_exporter_of(spec, name, x, file_deliver, file_free);
    return 0;
}

/* ---- standard output ---- */

int sl_exporter_stdout_load(const sl_env *env, sl_arena *arena, sl_exporter_spec *spec)
{
    (void)env;
    (void)arena;
    (void)spec;
    return 0;
}

int sl_exporter_stdout_make(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why, size_t size)
{
    (void)why;
    (void)size;
    return make(spec, "otlp/stdout", STDOUT_FILENO, false, ret_exporter);
}

/* ---- a file ---- */

int sl_exporter_file_load(const sl_env *env, sl_arena *arena, sl_exporter_spec *spec)
{
    SL_ASSERT(env && arena && spec);
    sl_str path = sl_env_text(env, SL_VAR_SIGHTLINE_EXPORTER_FILE);
    if (!path.len) {
        sl_env_reject(env, SL_VAR_SIGHTLINE_EXPORTER_FILE, "not set, and the file exporter needs a path");
        return SL_ENOENT;
    }
    spec->path = sl_arena_dup(arena, path);
    return spec->path.ptr ? 0 : SL_ENOMEM;
}

int sl_exporter_file_make(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why, size_t size)
{
    SL_ASSERT(spec && spec->path.ptr);
    int fd = open(spec->path.ptr, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
    if (fd < 0) {
        (void)snprintf(why, size, "%s: %s", spec->path.ptr, strerror(errno));
        return SL_EIO;
    }
    int error = make(spec, "otlp/file", fd, true, ret_exporter);
    if (error)
        close(fd);
    return error;
}
