/*
 * One health check: a thread that runs it, and its latest result.
 *
 * The thread holds a reference of its own: a check that hangs is left behind with it, and goes when it returns. Reading
 * never waits for a run; a run that overruns its timeout is seen as such by the reader's clock.
 */
#ifndef SL_TELEMETRY_HEALTH_CHECK_H
#define SL_TELEMETRY_HEALTH_CHECK_H

#include <sightline/health.h>

#define SL_HEALTH_REASON_MAX 256
#define SL_HEALTH_NAME_MAX 128

typedef struct sl_check sl_check;

typedef struct sl_check_spec {
    const char *name;
    sl_health_fn fn;
    void *user;
    void (*destroy)(void *user); /* may be NULL; called once, when the check is gone or could not be made */
    sl_health_check_options options;
} sl_check_spec;

/* What a reader sees. */
typedef struct sl_check_state {
    sl_health_status status;
    bool informational;
    bool timed; /* response_ms is valid */
    uint64_t response_ms;
    uint64_t last_check_ns; /* Unix time */
    char reason[SL_HEALTH_REASON_MAX];
} sl_check_state;

/* Starts it. Errors: SL_EINVAL, SL_ENOMEM. */
SL_MUST_CHECK int sl_check_new(const sl_check_spec *spec, sl_check **ret_check);
/* Tells it to stop. Nobody waits yet. */
void sl_check_stop(sl_check *check);
/* Waits for a run under way until `deadline_ns` (monotonic), then leaves it behind. The check is gone for the caller.
 */
void sl_check_release(sl_check *check, uint64_t deadline_ns);
/* Waits for the first result; false when there is none in time. */
bool sl_check_wait_first(sl_check *check, uint64_t deadline_ns);

const char *sl_check_name(const sl_check *check);
void sl_check_read(sl_check *check, sl_check_state *ret_state);

/* Takes and gives back the check's lock: over a fork, so that the child can read the latest result. */
void sl_check_hold(sl_check *check);
void sl_check_unhold(sl_check *check);

/* The check's timeout, for checks that bound their own waiting. Defaults applied. */
uint64_t sl_check_timeout_ms(const sl_health_check_options *options);

#endif
