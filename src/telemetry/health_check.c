/* One health check and its thread. */
#include "src/telemetry/health_check.h"

#include <stdatomic.h>
#include <stdio.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/base/str.h"
#include "src/base/sync.h"

#define DEFAULT_TIMEOUT_MS 5000
#define DEFAULT_INTERVAL_MS 10000

struct sl_check {
    /* Constant. */
    char name[SL_HEALTH_NAME_MAX + 1];
    sl_health_fn fn;
    void *user;
    void (*destroy)(void *user);
    uint64_t timeout_ms, interval_ms;
    bool informational;
    uint64_t made_ns; /* Unix time */
    pid_t pid;        /* whose thread it is: a forked child has none */
    pthread_t thread;
    _Atomic int refs; /* the registry's and the thread's */
    /* Under the lock. */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool stop, running, ended, has_result;
    uint64_t began_ns; /* monotonic, of the run under way */
    uint64_t began_unix_ns;
    sl_health_status status; /* latest result */
    uint64_t response_ms, last_check_ns;
    char reason[SL_HEALTH_REASON_MAX];
};

uint64_t sl_check_timeout_ms(const sl_health_check_options *options)
{
    return options && options->timeout_ms ? options->timeout_ms : DEFAULT_TIMEOUT_MS;
}

static void unref(sl_check *check)
{
    SL_ASSERT(check);
    if (atomic_fetch_sub(&check->refs, 1) > 1)
        return;
    if (check->destroy)
        check->destroy(check->user);
    pthread_cond_destroy(&check->changed);
    pthread_mutex_destroy(&check->lock);
    sl_free(check);
}

/* Makes one line of a reason that a callback wrote: ended, and no half character at its end. */
static void tidy(char *reason)
{
    SL_ASSERT(reason);
    reason[SL_HEALTH_REASON_MAX - 1] = '\0';
    reason[sl_utf8_whole(sl_str_c(reason))] = '\0';
}

/* One run, without the lock while the callback works. */
static void run_once(sl_check *check)
{
    SL_ASSERT(check);
    char reason[SL_HEALTH_REASON_MAX] = "";
    check->running = true;
    check->began_ns = sl_mono_ns();
    check->began_unix_ns = sl_now_ns();
    pthread_mutex_unlock(&check->lock);
    sl_health_status status = check->fn(check->user, reason, sizeof reason);
    pthread_mutex_lock(&check->lock);
    tidy(reason);
    uint64_t took_ms = (sl_mono_ns() - check->began_ns) / 1000000;
    if (status < SL_HEALTHY || status > SL_UNHEALTHY)
        status = SL_UNHEALTHY;
    if (took_ms > check->timeout_ms) {
        /* What a failed check says itself tells more than that it was late. */
        if (status != SL_UNHEALTHY || !reason[0])
            snprintf(reason, sizeof reason, "took %llu ms, more than its timeout of %llu ms",
                     (unsigned long long)took_ms, (unsigned long long)check->timeout_ms);
        status = SL_UNHEALTHY;
    }
    check->running = false;
    check->has_result = true;
    check->status = status;
    check->response_ms = took_ms;
    check->last_check_ns = sl_now_ns();
    memcpy(check->reason, reason, sizeof reason);
    pthread_cond_broadcast(&check->changed);
}

static void *check_thread(void *user)
{
    sl_check *check = user;
    pthread_mutex_lock(&check->lock);
    while (!check->stop) {
        run_once(check);
        uint64_t next = sl_deadline_ns(check->interval_ms);
        while (!check->stop && sl_cond_wait_until(&check->changed, &check->lock, next)) {
        }
    }
    check->ended = true;
    pthread_cond_broadcast(&check->changed);
    pthread_mutex_unlock(&check->lock);
    unref(check);
    return NULL;
}

static sl_check *check_alloc(const sl_check_spec *spec)
{
    sl_check *check = sl_calloc(1, sizeof *check);
    if (!check)
        return NULL;
    if (sl_cond_init(&check->changed) != 0) {
        sl_free(check);
        return NULL;
    }
    pthread_mutex_init(&check->lock, NULL);
    memcpy(check->name, spec->name, strlen(spec->name) + 1);
    check->fn = spec->fn;
    check->user = spec->user;
    check->destroy = spec->destroy;
    check->timeout_ms = sl_check_timeout_ms(&spec->options);
    check->interval_ms = spec->options.interval_ms ? spec->options.interval_ms : DEFAULT_INTERVAL_MS;
    check->informational = spec->options.informational;
    check->made_ns = sl_now_ns();
    check->pid = getpid();
    return check;
}

int sl_check_new(const sl_check_spec *spec, sl_check **ret_check)
{
    SL_ASSERT(spec && ret_check);
    bool legal = spec->fn && spec->name && spec->name[0] && strlen(spec->name) <= SL_HEALTH_NAME_MAX;
    sl_check *check = legal ? check_alloc(spec) : NULL;
    if (!check) {
        if (spec->destroy)
            spec->destroy(spec->user);
        return legal ? SL_ENOMEM : SL_EINVAL;
    }
    atomic_init(&check->refs, 2);
    if (sl_thread_start(&check->thread, check_thread, check) != 0) {
        atomic_store(&check->refs, 1);
        unref(check);
        return SL_ENOMEM;
    }
    (void)pthread_setname_np(check->thread, "sl-health");
    *ret_check = check;
    return 0;
}

void sl_check_stop(sl_check *check)
{
    SL_ASSERT(check);
    if (check->pid != getpid())
        return;
    pthread_mutex_lock(&check->lock);
    check->stop = true;
    pthread_cond_broadcast(&check->changed);
    pthread_mutex_unlock(&check->lock);
}

void sl_check_release(sl_check *check, uint64_t deadline_ns)
{
    SL_ASSERT(check);
    if (check->pid != getpid())
        return; /* the copy of a parent's check: its lock may be held by a thread that is not here */
    pthread_mutex_lock(&check->lock);
    check->stop = true;
    pthread_cond_broadcast(&check->changed);
    while (!check->ended && sl_cond_wait_until(&check->changed, &check->lock, deadline_ns)) {
    }
    bool ended = check->ended;
    pthread_mutex_unlock(&check->lock);
    if (ended)
        pthread_join(check->thread, NULL);
    else
        pthread_detach(check->thread);
    unref(check);
}

bool sl_check_wait_first(sl_check *check, uint64_t deadline_ns)
{
    SL_ASSERT(check);
    pthread_mutex_lock(&check->lock);
    while (!check->has_result && sl_cond_wait_until(&check->changed, &check->lock, deadline_ns)) {
    }
    bool has_result = check->has_result;
    pthread_mutex_unlock(&check->lock);
    return has_result;
}

const char *sl_check_name(const sl_check *check)
{
    SL_ASSERT(check);
    return check->name;
}

void sl_check_hold(sl_check *check)
{
    SL_ASSERT(check);
    pthread_mutex_lock(&check->lock);
}

void sl_check_unhold(sl_check *check)
{
    SL_ASSERT(check);
    pthread_mutex_unlock(&check->lock);
}

void sl_check_read(sl_check *check, sl_check_state *ret_state)
{
    SL_ASSERT(check && ret_state);
    sl_check_state *s = ret_state;
    memset(s, 0, sizeof *s);
    pthread_mutex_lock(&check->lock);
    bool running = check->running && check->pid == getpid(); /* in a forked child nothing runs on */
    uint64_t running_ms = running ? (sl_mono_ns() - check->began_ns) / 1000000 : 0;
    s->informational = check->informational;
    if (running_ms > check->timeout_ms) {
        s->status = SL_UNHEALTHY;
        s->timed = true;
        s->response_ms = running_ms;
        s->last_check_ns = check->began_unix_ns;
        snprintf(s->reason, sizeof s->reason, "no answer within %llu ms", (unsigned long long)check->timeout_ms);
    } else if (!check->has_result) {
        s->status = SL_UNHEALTHY;
        s->last_check_ns = check->made_ns;
        snprintf(s->reason, sizeof s->reason, "not checked yet");
    } else {
        s->status = check->status;
        s->timed = true;
        s->response_ms = check->response_ms;
        s->last_check_ns = check->last_check_ns;
        memcpy(s->reason, check->reason, sizeof s->reason);
    }
    pthread_mutex_unlock(&check->lock);
}
