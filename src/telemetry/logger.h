/*
 * Loggers from inside: life cycle and the samplers that logger.c uses.
 *
 * A log record is encoded as an OTLP LogRecord on the caller's stack (on the heap when it is unusually large) and
 * committed to the thread's log ring. A record that is too big for the ring loses attributes (counted in
 * dropped_attributes_count) and the end of its body, never its identity.
 */
#ifndef SL_TELEMETRY_LOGGER_H
#define SL_TELEMETRY_LOGGER_H

#include "src/telemetry/sdk_impl.h"

/* Largest record: it must fit into a quarter of the ring. */
#define SL_MAX_LOG_BYTES (SL_LOG_RING_BYTES / 4 - 64)

/* Frees every logger of an SDK (sl_sdk_free calls it). NULL is accepted. */
void sl_loggers_free(sl_sdk *sdk);

/*
 * Keeps a share of a sequence of records: each with probability `ratio`, and in any run of n records n * ratio of
 * them, within one (one random point in each interval of length 1, records take steps of `ratio`).
 */
typedef struct sl_log_sampler {
    double at;     /* where in the interval the next record begins */
    double point;  /* the interval's random point */
    unsigned owed; /* points that fell into a record that was kept already */
    bool ready;
} sl_log_sampler;

/* `random` gives the points, in [0, 1). */
bool sl_log_sampler_keep(sl_log_sampler *sampler, double ratio, double (*random)(void *user), void *user);

#endif
