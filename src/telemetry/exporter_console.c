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
    sl_buf_init(&text, 4u * SL_MAX_OTLP_REQUEST_BYTES);
    int error = sl_console_text(signal, request, &text);
    if (!error)
        error = sl_fd_write_all(STDOUT_FILENO, sl_buf_str(&text), sl_deadline_ns(timeout_ms));
    sl_buf_done(&text);
    return error;
}

int sl_exporter_console(const sl_exporter_spec *spec, sl_exporter *ret_exporter)
{
    SL_ASSERT(spec && ret_exporter && spec->type == SL_EXPORT_CONSOLE);
    sl_exporter exporter;
    memset(&exporter, 0, sizeof exporter);
    exporter.name = "console";
    exporter.signals = SL_SIGNAL_BIT(spec->signal);
    exporter.deliver = console_deliver;
    exporter.schedule_delay_ms = CONSOLE_DELAY_MS;
    *ret_exporter = exporter;
    return 0;
}
