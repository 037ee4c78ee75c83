/*
 * A sink: one exporter with its bounded queue of finished requests and its own thread.
 *
 *     pipeline ── sl_sink_put ──> queue (oldest dropped when full) ──> thread: deliver, retry, count
 *
 * Promises: putting never waits; memory is bounded by `max_pending_bytes` of each signal; every item put is counted
 * once, as exported or as dropped; a request is retried only when the exporter asks for it (SL_ERETRY), with
 * exponential back-off and jitter, or when the peer says; stopping keeps its deadline whatever the exporter does: a
 * hanging delivery is left behind with the memory it needs.
 */
#ifndef SL_TELEMETRY_SINK_H
#define SL_TELEMETRY_SINK_H

#include "src/telemetry/batch.h"
#include "src/telemetry/sink_report.h"

typedef struct sl_sink sl_sink;

typedef struct sl_sink_options {
    sl_exporter exporter; /* taken over, also on failure */
    sl_batch_options batch[SL_SIGNAL_COUNT];
    sl_reporter *reporter; /* may be NULL; referenced */
    /* Told the duration of each delivery; not called any more after sl_sink_stop. */
    void (*on_delivery)(void *user, const sl_exporter *exporter, sl_signal signal, int error, uint64_t ns);
    void *on_delivery_user;
    uint64_t retry_initial_ms; /* 0: 1000 */
    uint64_t retry_max_ms;     /* 0: 30 s */
    uint64_t retry_total_ms;   /* 0: 5 min; a request older than this is given up */
} sl_sink_options;

/* Counts of items of one signal. queued + inflight + exported + dropped == put. */
typedef struct sl_sink_counts {
    uint64_t put;
    uint64_t queued;
    uint64_t inflight;
    uint64_t exported;
    uint64_t dropped;        /* the sum of the next three */
    uint64_t dropped_full;   /* the queue was full */
    uint64_t dropped_failed; /* refused for good, or after the last retry, or at the end */
    uint64_t rejected;       /* partial success */
    size_t queued_bytes;
    int last_error;
} sl_sink_counts;

/* Starts the sink. Errors: SL_ENOMEM. */
SL_MUST_CHECK int sl_sink_new(const sl_sink_options *options, sl_sink **ret_sink);
const sl_exporter *sl_sink_exporter(const sl_sink *sink);
/* Takes a request over. Never waits. */
void sl_sink_put(sl_sink *sink, sl_request *request);
/* Counts `items` that were lost before they became a request. */
void sl_sink_count_lost(sl_sink *sink, sl_signal signal, size_t items);
/* Waits until everything put before the call has left. Errors: SL_ETIMEOUT, or the last delivery's error. */
SL_MUST_CHECK int sl_sink_flush(sl_sink *sink, uint64_t deadline_ns);
/*
 * Delivers what is queued, with few and short retries, and ends the thread. Errors: SL_ETIMEOUT (a delivery was left
 * behind; everything not exported counts as dropped). Once.
 */
int sl_sink_stop(sl_sink *sink, uint64_t deadline_ns);
/* Tells the sink to stop by `deadline_ns`, without waiting: for several sinks at once, before sl_sink_stop. */
void sl_sink_begin_stop(sl_sink *sink, uint64_t deadline_ns);
/* After sl_sink_stop. NULL is accepted. */
void sl_sink_free(sl_sink *sink);
/* Memory of a delivered request for the next one, if any; the caller's from now on. */
char *sl_sink_take_spare(sl_sink *sink, size_t *ret_cap);
/* Frees such memory: nothing comes any more for a while. */
void sl_sink_trim(sl_sink *sink);
/*
 * Says what has been dropped because the queue was full, or left behind at the end, since that was last said. The stop
 * does it by itself. Any thread, without a lock that the error callback may want.
 */
void sl_sink_tell_lost(sl_sink *sink, bool always);
void sl_sink_get_counts(sl_sink *sink, sl_signal signal, sl_sink_counts *ret_counts);

#endif
