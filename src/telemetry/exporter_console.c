/* The console exporter: readable text on standard output. */
#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/telemetry/console.h"
#include "src/telemetry/exporter_factory.h"
#include "src/telemetry/fd_write.h"

#define CONSOLE_DELAY_MS 500u /* people wait for it */

static int console_deliver(void *user, sl_signal signal, sl_str request, size_t items, uint64_t timeout_ms,
                           uint64_t *ret_retry_after_ms, uint64_t *ret_rejected)
{
    (void)user;
    (void)items;
    (void)ret_retry_after_ms;
    (void)ret_rejected;
    sl_buf text;
    size_t written;
    sl_buf_init(&text, 4u * SL_MAX_OTLP_REQUEST_BYTES);
    int error = sl_console_text(signal, request, &text);
    if (!error)
        error = sl_fd_write_all(STDOUT_FILENO, sl_buf_str(&text), sl_deadline_ns(timeout_ms), &written);
    sl_buf_done(&text);
    return error;
}

int sl_exporter_console_load(const sl_env *env, sl_arena *arena, sl_exporter_spec *spec)
{
    (void)env;
    (void)arena;
    (void)spec;
    return 0;
}

int sl_exporter_console_make(const sl_exporter_spec *spec, sl_exporter *ret_exporter, char *why, size_t size)
{
    SL_ASSERT(spec && ret_exporter);
    (void)why;
    (void)size;
    *ret_exporter = sl_exporter_of(spec, "console", NULL, console_deliver, NULL);
    ret_exporter->schedule_delay_ms = CONSOLE_DELAY_MS;
    return 0;
}
