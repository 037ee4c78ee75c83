/*
 * process_* and sightline_build_info, under the names that every Prometheus client library uses. The values are sums
 * over a set of processes: the supervisor and its workers. CPU time of a process that has ended stays in the sum.
 * Linux: read from /proc; what cannot be read counts as nothing.
 */
#ifndef SL_TELEMETRY_PROCESS_METRICS_H
#define SL_TELEMETRY_PROCESS_METRICS_H

#include <sightline/metrics.h>
#include <sys/types.h>

#define SL_MAX_METRIC_PIDS 256

typedef struct sl_process_metrics sl_process_metrics;

/* What /proc says about one process. */
typedef struct sl_process_sample {
    double cpu_seconds;
    double start_seconds; /* Unix time */
    uint64_t start_ticks; /* since boot: tells processes that got the same number apart */
    uint64_t resident_bytes;
    uint64_t virtual_bytes;
    uint64_t threads;
    uint64_t open_fds;
    uint64_t max_fds;
} sl_process_sample;

/* Declares the metrics and registers their callbacks; the set of processes is this one. NULL without memory. */
sl_process_metrics *sl_process_metrics_new(sl_meter *meter);
/* Takes the callbacks back. NULL is accepted. Before the SDK is freed; any thread but a callback's. */
void sl_process_metrics_free(sl_process_metrics *metrics);
/* Replaces the set of processes. Errors: SL_ELIMIT. Any thread but a callback's. */
SL_MUST_CHECK int sl_process_metrics_set_pids(sl_process_metrics *metrics, const pid_t *pids, size_t count);

/* Reads one process. Errors: SL_ENOENT (it is gone), SL_EIO. */
SL_MUST_CHECK int sl_process_sample_read(pid_t pid, sl_process_sample *ret_sample);
/* Takes /proc/PID/stat apart. Errors: SL_EPARSE. Separate for its test. */
SL_MUST_CHECK int sl_process_stat_parse(sl_str text, double ticks_per_second, uint64_t page_bytes,
                                        sl_process_sample *ret_sample);

#endif
