/* Health: the registry, the JSON, the paths. */
#include <sightline/health.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/base/sync.h"
#include "src/telemetry/fork_guard.h"
#include "src/telemetry/health_check.h"
#include "src/telemetry/health_checks.h"
#include "src/wire/json_write.h"

#define FIRST_RESULT_MS 100 /* how long adding waits, so that a quick check is never seen as unchecked */
#define RELEASE_MS 1000     /* how long removing waits for a run under way */
#define MAX_REPORT_BYTES (256u * 1024)

struct sl_health {
    sl_fork_guard guard;
    /* Under the lock. */
    pthread_mutex_t lock;
    sl_check *checks[SL_MAX_HEALTH_CHECKS];
    size_t count;
    bool ready;
    char reason[SL_HEALTH_REASON_MAX]; /* why not */
};

/* Over a fork: a child reads the results of before. */
static void hold_locks(void *user)
{
    sl_health *health = user;
    pthread_mutex_lock(&health->lock);
    for (size_t i = 0; i < health->count; i++)
        sl_check_hold(health->checks[i]);
}

static void release_locks(void *user, bool in_child)
{
    (void)in_child;
    sl_health *health = user;
    for (size_t i = health->count; i > 0; i--)
        sl_check_unhold(health->checks[i - 1]);
    pthread_mutex_unlock(&health->lock);
}

sl_health *sl_health_new(void)
{
    sl_health *health = sl_calloc(1, sizeof *health);
    if (!health)
        return NULL;
    pthread_mutex_init(&health->lock, NULL);
    health->ready = true;
    health->guard = (sl_fork_guard){.hold = hold_locks, .release = release_locks, .user = health};
    if (sl_fork_guard_add(&health->guard)) {
        pthread_mutex_destroy(&health->lock);
        sl_free(health);
        return NULL;
    }
    return health;
}

void sl_health_free(sl_health *health)
{
    if (!health)
        return;
    sl_fork_guard_remove(&health->guard);
    uint64_t deadline = sl_deadline_ns(RELEASE_MS);
    for (size_t i = 0; i < health->count; i++)
        sl_check_stop(health->checks[i]);
    for (size_t i = 0; i < health->count; i++)
        sl_check_release(health->checks[i], deadline);
    pthread_mutex_destroy(&health->lock);
    sl_free(health);
}

/* Index of a check, or SL_NPOS; the caller holds the lock. */
static size_t find(const sl_health *health, const char *name)
{
    for (size_t i = 0; i < health->count; i++) {
        if (strcmp(sl_check_name(health->checks[i]), name) == 0)
            return i;
    }
    return SL_NPOS;
}

/* Whether a check of this name can be added; the caller holds the lock. */
static int may_add(const sl_health *health, const char *name)
{
    if (find(health, name) != SL_NPOS)
        return SL_EEXIST;
    return health->count == SL_MAX_HEALTH_CHECKS ? SL_ELIMIT : 0;
}

int sl_health_add_spec(sl_health *health, const sl_check_spec *spec)
{
    SL_ASSERT(spec);
    sl_check *check = NULL;
    int error = SL_EINVAL;
    if (health && spec->name) {
        pthread_mutex_lock(&health->lock);
        error = may_add(health, spec->name);
        pthread_mutex_unlock(&health->lock);
    }
    if (error) {
        if (spec->destroy)
            spec->destroy(spec->user);
        return error;
    }
    error = sl_check_new(spec, &check);
    if (error)
        return error;
    (void)sl_check_wait_first(check, sl_deadline_ns(FIRST_RESULT_MS));
    pthread_mutex_lock(&health->lock);
    error = may_add(health, spec->name); /* again: somebody else may have been quicker */
    if (!error)
        health->checks[health->count++] = check;
    pthread_mutex_unlock(&health->lock);
    if (error)
        sl_check_release(check, sl_deadline_ns(RELEASE_MS));
    return error;
}

int sl_health_add(sl_health *health, const char *name, sl_health_fn fn, void *user,
                  const sl_health_check_options *options)
{
    sl_check_spec spec;
    memset(&spec, 0, sizeof spec);
    spec.name = name;
    spec.fn = fn;
    spec.user = user;
    if (options)
        spec.options = *options;
    return sl_health_add_spec(health, &spec);
}

void sl_health_remove(sl_health *health, const char *name)
{
    if (!health || !name)
        return;
    sl_check *check = NULL;
    pthread_mutex_lock(&health->lock);
    size_t at = find(health, name);
    if (at != SL_NPOS) {
        check = health->checks[at];
        health->count--;
        memmove(&health->checks[at], &health->checks[at + 1], (health->count - at) * sizeof(sl_check *));
    }
    pthread_mutex_unlock(&health->lock);
    if (check)
        sl_check_release(check, sl_deadline_ns(RELEASE_MS));
}

void sl_health_set_ready(sl_health *health, bool ready, const char *reason)
{
    if (!health)
        return;
    pthread_mutex_lock(&health->lock);
    health->ready = ready;
    snprintf(health->reason, sizeof health->reason, "%s", ready ? "" : reason ? reason : "not ready");
    health->reason[sl_utf8_whole(sl_str_c(health->reason))] = '\0';
    pthread_mutex_unlock(&health->lock);
}

/* ---- reports ---- */

static const char *status_name(sl_health_status status)
{
    static const char *const names[] = {"healthy", "degraded", "unhealthy"};
    SL_ASSERT(status >= SL_HEALTHY && status <= SL_UNHEALTHY);
    return names[status];
}

/* States of all checks; the caller holds the lock. Returns the worst of those that matter. */
static sl_health_status read_all(sl_health *health, sl_check_state *states)
{
    sl_health_status worst = SL_HEALTHY;
    for (size_t i = 0; i < health->count; i++) {
        sl_check_state state;
        sl_check_read(health->checks[i], &state);
        if (!state.informational && state.status > worst)
            worst = state.status;
        if (states)
            states[i] = state;
    }
    return worst;
}

sl_health_status sl_health_readiness(sl_health *health)
{
    if (!health)
        return SL_HEALTHY;
    pthread_mutex_lock(&health->lock);
    sl_health_status status = read_all(health, NULL);
    if (!health->ready)
        status = SL_UNHEALTHY;
    pthread_mutex_unlock(&health->lock);
    return status;
}

static void put_time(sl_jw *w, const char *name, uint64_t unix_ns)
{
    char text[SL_RFC3339_MS_LEN + 1];
    sl_rfc3339_ms(unix_ns, text);
    sl_jw_member_c(w, name, text);
}

static void put_check(sl_jw *w, const char *name, const sl_check_state *state)
{
    SL_ASSERT(state);
    sl_jw_member_object(w, name);
    sl_jw_member_c(w, "status", status_name(state->status));
    if (state->timed)
        sl_jw_member_u64(w, "response_time_ms", state->response_ms);
    if (state->reason[0] && state->status != SL_HEALTHY)
        sl_jw_member_c(w, "error", state->reason);
    put_time(w, "last_check", state->last_check_ns);
    sl_jw_end(w);
}

/* Readiness and whole: the checks, and what the process says of itself. */
static sl_health_status put_checks(sl_jw *w, sl_health *health, bool readiness)
{
    SL_ASSERT(health);
    sl_check_state states[SL_MAX_HEALTH_CHECKS];
    pthread_mutex_lock(&health->lock);
    sl_health_status status = read_all(health, states);
    bool draining = readiness && !health->ready;
    if (draining)
        status = SL_UNHEALTHY;
    sl_jw_member_c(w, "status", status_name(status));
    put_time(w, "timestamp", sl_now_ns());
    sl_jw_member_object(w, "checks");
    for (size_t i = 0; i < health->count; i++)
        put_check(w, sl_check_name(health->checks[i]), &states[i]);
    sl_jw_end(w);
    if (draining)
        sl_jw_member_c(w, "message", health->reason);
    pthread_mutex_unlock(&health->lock);
    return status;
}

static void put_alive(sl_jw *w)
{
    sl_jw_member_c(w, "status", status_name(SL_HEALTHY));
    put_time(w, "timestamp", sl_now_ns());
    sl_jw_member_object(w, "checks");
    sl_jw_end(w);
    sl_jw_member_c(w, "message", "Application is alive");
}

/* The contents of a buffer as a block of malloc's, which callers free() without knowing our allocator. */
static int hand_out(sl_jw *w, sl_buf *buf, char **ret_json)
{
    SL_ASSERT(ret_json);
    int error = sl_jw_finish(w);
    char *json = error ? NULL : malloc(buf->len + 1);
    if (json) {
        memcpy(json, buf->data, buf->len);
        json[buf->len] = '\0';
        *ret_json = json;
    }
    sl_buf_done(buf);
    return json ? 0 : error ? error : SL_ENOMEM;
}

int sl_health_report(sl_health *health, sl_health_report_kind kind, char **ret_json, sl_health_status *ret_status)
{
    if (!ret_json || (!health && kind != SL_HEALTH_LIVE))
        return SL_EINVAL;
    sl_health_status status = SL_HEALTHY;
    sl_buf buf;
    sl_jw w;
    sl_buf_init(&buf, MAX_REPORT_BYTES);
    sl_jw_init(&w, &buf);
    sl_jw_object(&w);
    if (kind == SL_HEALTH_LIVE)
        put_alive(&w); /* no lock: nothing that a check or another reader does can delay it */
    else
        status = put_checks(&w, health, kind == SL_HEALTH_READY);
    sl_jw_end(&w);
    int error = hand_out(&w, &buf, ret_json);
    if (!error && ret_status)
        *ret_status = status;
    return error;
}

/* ---- paths ---- */

/* LiteLLM's liveness: a JSON string. */
static int answer_alive(char **ret_body)
{
    sl_buf buf;
    sl_jw w;
    sl_buf_init(&buf, 64);
    sl_jw_init(&w, &buf);
    sl_jw_str(&w, SL_STR("I'm alive!"));
    return hand_out(&w, &buf, ret_body);
}

/* LiteLLM's readiness; its version field holds ours. */
static int answer_readiness(sl_health_status status, char **ret_body)
{
    sl_buf buf;
    sl_jw w;
    sl_buf_init(&buf, 1024);
    sl_jw_init(&w, &buf);
    sl_jw_object(&w);
    sl_jw_member_c(&w, "status", status_name(status));
    sl_jw_member_c(&w, "db", "Not connected");
    sl_jw_member_null(&w, "cache");
    sl_jw_member_c(&w, "litellm_version", sl_version());
    sl_jw_member_array(&w, "success_callbacks");
    sl_jw_end(&w);
    put_time(&w, "last_updated", sl_now_ns());
    sl_jw_end(&w);
    return hand_out(&w, &buf, ret_body);
}

int sl_health_answer(sl_health *health, sl_str path, int *ret_http_status, char **ret_body)
{
    static const struct {
        const char *path;
        sl_health_report_kind kind;
    } reports[] = {{"/health", SL_HEALTH_ALL},
                   {"/health/live", SL_HEALTH_LIVE},
                   {"/health/ready", SL_HEALTH_READY},
                   {"/ready", SL_HEALTH_READY}};
    if (!health || !ret_http_status || !ret_body)
        return SL_EINVAL;
    sl_health_status status = SL_HEALTHY;
    int error = SL_ENOENT;
    for (size_t i = 0; i < sizeof reports / sizeof *reports; i++) {
        if (sl_str_eq_c(path, reports[i].path))
            error = sl_health_report(health, reports[i].kind, ret_body, &status);
    }
    if (sl_str_eq_c(path, "/health/liveliness") || sl_str_eq_c(path, "/health/liveness")) {
        error = answer_alive(ret_body);
    } else if (sl_str_eq_c(path, "/health/readiness")) {
        status = sl_health_readiness(health);
        error = answer_readiness(status, ret_body);
    }
    if (!error)
        *ret_http_status = status == SL_UNHEALTHY ? 503 : 200;
    return error;
}
