/*
 * The reporter: passes errors to the user's callback, at most once a second for each code, and can be closed while
 * threads that outlive the SDK (a hanging exporter's) still hold it. Nothing is printed unless asked for.
 */
#ifndef SL_TELEMETRY_SINK_REPORT_H
#define SL_TELEMETRY_SINK_REPORT_H

#include <sightline/sdk.h>
#include <stdarg.h>

typedef struct sl_reporter sl_reporter;

/* A reporter with one reference. `fn` may be NULL. `to_stderr`: also print (OTEL_LOG_LEVEL). NULL without memory. */
sl_reporter *sl_reporter_new(sl_error_fn fn, void *user, bool to_stderr);
/* One reference more. */
sl_reporter *sl_reporter_ref(sl_reporter *reporter);
/* One reference less; NULL is accepted. */
void sl_reporter_unref(sl_reporter *reporter);
/* From the return on the callback is not called any more. Waits at most `timeout_ms` for a call under way. */
void sl_reporter_close(sl_reporter *reporter, uint64_t timeout_ms);

/* Reports; NULL reporter: nothing happens. Notes (`error` 0) and SL_ECONFIG are not rate-limited. Any thread. */
void sl_reporter_say(sl_reporter *reporter, int error, const char *format, ...) __attribute__((format(printf, 3, 4)));
/*
 * As sl_reporter_say, for what is counted until it has been said: returns whether it was. `always`: also when something
 * of that kind was said a moment ago, as there will be no other time.
 */
bool sl_reporter_tell(sl_reporter *reporter, bool always, int error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
void sl_reporter_vsay(sl_reporter *reporter, int error, const char *format, va_list args)
    __attribute__((format(printf, 3, 0)));

#endif
