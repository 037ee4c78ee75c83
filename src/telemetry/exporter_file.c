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
} file_exporter;

static int file_deliver(void *user, sl_signal signal, sl_str request, size_t items, uint64_t timeout_ms,
                        uint64_t *ret_retry_after_ms, uint64_t *ret_rejected)
{
    (void)items;
    (void)ret_retry_after_ms;
    (void)ret_rejected;
    const file_exporter *x = user;
    sl_buf line;
    sl_buf_init(&line, SL_MAX_OTLP_JSON_BYTES);
    int error = sl_otlp_to_json(sl_wire_signal(signal), request, &line);
    if (!error)
        error = sl_buf_put_char(&line, '\n');
    if (!error)
        error = sl_fd_write_all(x->fd, sl_buf_str(&line), sl_deadline_ns(timeout_ms));
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

int sl_exporter_file(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why, size_t size)
{
    SL_ASSERT(spec && ret_exporter && (spec->type == SL_EXPORT_FILE || spec->type == SL_EXPORT_STDOUT));
    file_exporter *x = sl_calloc(1, sizeof *x);
    if (!x)
        return SL_ENOMEM;
    x->fd = STDOUT_FILENO;
    if (spec->type == SL_EXPORT_FILE) {
        x->fd = open(spec->path.ptr, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
        x->owns_fd = true;
    }
    if (x->fd < 0) {
        (void)snprintf(why, size, "%s: %s", spec->path.ptr, strerror(errno));
        sl_free(x);
        return SL_EIO;
    }
    sl_exporter exporter;
    memset(&exporter, 0, sizeof exporter);
    exporter.name = spec->type == SL_EXPORT_FILE ? "otlp/file" : "otlp/stdout";
    exporter.user = x;
    exporter.signals = SL_SIGNAL_BIT(spec->signal);
    exporter.deliver = file_deliver;
    exporter.free = file_free;
    *ret_exporter = exporter;
    return 0;
}
