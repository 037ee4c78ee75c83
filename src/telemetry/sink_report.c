/* The reporter. The lock is never held while the callback runs. */
#include "src/telemetry/sink_report.h"

#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "src/base/sync.h"

#define REPORT_INTERVAL_NS 1000000000u
#define REPORT_CODES 32
#define REPORT_TEXT 512

struct sl_reporter {
    _Atomic unsigned refs;
    /* Constant. */
    sl_error_fn fn;
    void *user;
    bool to_stderr;
    /* Under the lock. */
    pthread_mutex_t lock;
    pthread_cond_t idle;
    bool closed;
    unsigned running; /* calls of the callback under way */
    uint64_t last_ns[REPORT_CODES];
};

/* Whether this thread is inside the callback: it must not wait for itself. */
static _Thread_local unsigned inside;

sl_reporter *sl_reporter_new(sl_error_fn fn, void *user, bool to_stderr)
{
    sl_reporter *r = sl_calloc(1, sizeof *r);
    if (!r)
        return NULL;
    if (sl_cond_init(&r->idle)) {
        sl_free(r);
        return NULL;
    }
    pthread_mutex_init(&r->lock, NULL);
    atomic_init(&r->refs, 1);
    r->fn = fn;
    r->user = user;
    r->to_stderr = to_stderr;
    return r;
}

sl_reporter *sl_reporter_ref(sl_reporter *reporter)
{
    if (reporter)
        atomic_fetch_add(&reporter->refs, 1);
    return reporter;
}

void sl_reporter_unref(sl_reporter *reporter)
{
    if (!reporter || atomic_fetch_sub(&reporter->refs, 1) != 1)
        return;
    SL_ASSERT(reporter->running == 0);
    pthread_cond_destroy(&reporter->idle);
    pthread_mutex_destroy(&reporter->lock);
    sl_free(reporter);
}

void sl_reporter_close(sl_reporter *reporter, uint64_t timeout_ms)
{
    if (!reporter)
        return;
    uint64_t deadline = sl_deadline_ns(timeout_ms);
    pthread_mutex_lock(&reporter->lock);
    reporter->closed = true;
    while (reporter->running > (inside ? 1u : 0u) && sl_cond_wait_until(&reporter->idle, &reporter->lock, deadline)) {
    }
    pthread_mutex_unlock(&reporter->lock);
}

/* Whether this error may be said now; notes the time. Under the lock. */
static bool is_due(sl_reporter *r, int error)
{
    if (error == 0 || error == SL_ECONFIG)
        return true;
    unsigned slot = (unsigned)-error % REPORT_CODES;
    uint64_t now = sl_mono_ns();
    if (r->last_ns[slot] && now - r->last_ns[slot] < REPORT_INTERVAL_NS)
        return false;
    r->last_ns[slot] = now;
    return true;
}

static bool speak(sl_reporter *reporter, bool always, int error, const char *format, va_list args)
    __attribute__((format(printf, 4, 0)));

static bool speak(sl_reporter *reporter, bool always, int error, const char *format, va_list args)
{
    SL_ASSERT(format);
    if (!reporter || (!reporter->fn && !reporter->to_stderr))
        return false;
    pthread_mutex_lock(&reporter->lock);
    bool say = !reporter->closed && (is_due(reporter, error) || always);
    if (say)
        reporter->running++;
    pthread_mutex_unlock(&reporter->lock);
    if (!say)
        return false;
    char text[REPORT_TEXT];
    (void)vsnprintf(text, sizeof text, format, args);
    inside++;
    if (reporter->to_stderr)
        dprintf(STDERR_FILENO, "sightline: %s\n", text);
    if (reporter->fn)
        reporter->fn(reporter->user, error, text);
    inside--;
    pthread_mutex_lock(&reporter->lock);
    reporter->running--;
    pthread_cond_broadcast(&reporter->idle);
    pthread_mutex_unlock(&reporter->lock);
    return true;
}

void sl_reporter_vsay(sl_reporter *reporter, int error, const char *format, va_list args)
{
    (void)speak(reporter, false, error, format, args);
}

bool sl_reporter_tell(sl_reporter *reporter, bool always, int error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    bool said = speak(reporter, always, error, format, args);
    va_end(args);
    return said;
}

void sl_reporter_say(sl_reporter *reporter, int error, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    sl_reporter_vsay(reporter, error, format, args);
    va_end(args);
}
