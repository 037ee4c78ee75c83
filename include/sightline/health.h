/*
 * Health: liveness, readiness and registered checks, each with its own timeout and cache.
 *
 * Each check runs on a thread of its own; reading the state never waits for one, so a hanging dependency never hangs a
 * probe. The JSON is `{"status":…,"timestamp":…,"checks":{"name":{"status":…,"response_time_ms":…,"last_check":…}}}`.
 */
#ifndef SIGHTLINE_HEALTH_H
#define SIGHTLINE_HEALTH_H

#include <sightline/base.h>

SL_BEGIN_DECLS

typedef struct sl_health sl_health;

typedef enum sl_health_status { SL_HEALTHY = 0, SL_DEGRADED = 1, SL_UNHEALTHY = 2 } sl_health_status;

/*
 * A check of the user, run on the check's thread. May write a reason (NUL-terminated, at most `size` bytes).
 * One that overruns its timeout counts as unhealthy, and is not started again before it has returned.
 */
typedef sl_health_status (*sl_health_fn)(void *user, char *reason, size_t size);

/* What every check has; zero: timeout 5 s, interval 10 s, affects readiness. */
typedef struct sl_health_check_options {
    uint64_t timeout_ms;
    uint64_t interval_ms; /* how long a result is used before the check runs again */
    bool informational;   /* shown, but does not make the whole unready */
} sl_health_check_options;

/* A registry without checks, and so without threads; NULL without memory. The caller frees it. Any thread. */
SL_API sl_health *sl_health_new(void);

/* Stops the checks and frees the registry; NULL is accepted. A hanging check is waited for 1 s, then left behind. */
SL_API void sl_health_free(sl_health *health);

/*
 * Adds a check, starts its thread, and waits up to 100 ms for the first result, so that a quick check is never seen as
 * unchecked. A name exists once. Errors: SL_EINVAL, SL_EEXIST, SL_ELIMIT (64 checks), SL_ENOMEM. Any thread.
 */
SL_API SL_MUST_CHECK int sl_health_add(sl_health *health, const char *name, sl_health_fn fn, void *user,
                                       const sl_health_check_options *options);

/* Adds a check of this process's resident memory: unhealthy above `limit_bytes`, degraded above 90 % of it. */
SL_API SL_MUST_CHECK int sl_health_add_memory(sl_health *health, const char *name, uint64_t limit_bytes,
                                              const sl_health_check_options *options);

/* Adds a GET of an http:// URL: not 2xx is degraded, no answer in time is unhealthy. */
SL_API SL_MUST_CHECK int sl_health_add_http(sl_health *health, const char *name, const char *url,
                                            const sl_health_check_options *options);

/* Adds a TCP connect to "host:port". */
SL_API SL_MUST_CHECK int sl_health_add_tcp(sl_health *health, const char *name, const char *address,
                                           const sl_health_check_options *options);

/* Adds a check of the free space of the file system that holds `path`: unhealthy below `min_free_bytes`. */
SL_API SL_MUST_CHECK int sl_health_add_disk(sl_health *health, const char *name, const char *path,
                                            uint64_t min_free_bytes, const sl_health_check_options *options);

/* Removes a check; nothing happens when there is none of that name. Any thread. */
SL_API void sl_health_remove(sl_health *health, const char *name);

/* Marks the process as starting or draining (not ready) or ready; a new registry is ready. Any thread. */
SL_API void sl_health_set_ready(sl_health *health, bool ready, const char *reason);

/* Worst status of all checks that matter to readiness. Never waits. Any thread. */
SL_API sl_health_status sl_health_readiness(sl_health *health);

typedef enum sl_health_report_kind { SL_HEALTH_LIVE = 0, SL_HEALTH_READY = 1, SL_HEALTH_ALL = 2 } sl_health_report_kind;

/*
 * The report as JSON. Ownership: the caller frees `*ret_json` by free(). `ret_status` may be NULL.
 * Errors: SL_ENOMEM. Never waits for a check. Any thread.
 */
SL_API SL_MUST_CHECK int sl_health_report(sl_health *health, sl_health_report_kind kind, char **ret_json,
                                          sl_health_status *ret_status);

/*
 * Answers one of the health paths: /health, /health/live, /health/ready, /ready, /health/liveliness,
 * /health/liveness, /health/readiness. Effect: HTTP status, JSON body (caller frees by free()).
 * Errors: SL_ENOENT (another path), SL_ENOMEM. Never waits. Any thread.
 */
SL_API SL_MUST_CHECK int sl_health_answer(sl_health *health, sl_str path, int *ret_http_status, char **ret_body);

SL_END_DECLS

#endif
