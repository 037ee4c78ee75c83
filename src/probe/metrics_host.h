/* One host's part of the metrics. Part of probe_metrics. Everything belongs to the thread that reads the ring. */
#ifndef SL_PROBE_METRICS_HOST_H
#define SL_PROBE_METRICS_HOST_H

#include "src/probe/metrics_body.h"

typedef struct sl_probe_host_model {
    uint32_t id; /* 0: free */
    sl_probe_model_series *series;
    sl_series *info, *size;
} sl_probe_host_model;

typedef struct sl_probe_host_sequence {
    uint32_t tokens;
    bool dirty;          /* gauges are behind */
    uint64_t changed_ns; /* 0: never */
    sl_series *used, *ratio;
} sl_probe_host_sequence;

typedef struct sl_probe_host_context {
    uint32_t id; /* 0: free */
    sl_probe_model_series *series;
    uint64_t size, tokens;    /* over all sequences */
    uint32_t sequence_tokens; /* that one can hold; 0: not known */
    uint32_t sequence_count;
    uint32_t sequences_seen; /* highest + 1; asked where the library does not say how many there are */
    bool count_known;
    bool dirty;
    sl_probe_host_sequence *sequences;
    sl_series *size_series, *tokens_series;
} sl_probe_host_context;

typedef struct sl_probe_host_memory {
    sl_probe_memory use;
    char device[32];
    int64_t bytes;
    sl_series *plain, *llama;
} sl_probe_host_memory;

struct sl_probe_metrics {
    sl_probe_body *body;
    struct sl_probe_metrics *next; /* of the body's hosts */
    uint32_t pid;
    char number[8]; /* label `host` */
    size_t slot;    /* in the body's numbers; SL_PROBE_MAX_METRIC_HOSTS: shared */
    sl_probe_host_model models[SL_PROBE_MAX_METRIC_CONTEXTS];
    sl_probe_host_context contexts[SL_PROBE_MAX_METRIC_CONTEXTS];
    uint32_t main_model;
    sl_probe_model_series *main_series; /* of work whose context is not known */
    sl_probe_host_memory memory[SL_PROBE_MAX_METRIC_DEVICES];
    size_t memory_count;
    uint64_t busy, waiting, active;
    uint64_t resident_bytes, resident_at_ns;
    uint64_t ring_dropped;
    double context_use;
};

/* The series that work in a context goes to; never NULL but without memory. */
sl_probe_model_series *sl_probe_host_series(sl_probe_metrics *metrics, uint32_t context);
sl_probe_host_context *sl_probe_host_context_of(sl_probe_metrics *metrics, uint32_t context);
/* Takes a context's tokens out of the totals and its gauges to 0. */
void sl_probe_host_context_clear(sl_probe_metrics *metrics, sl_probe_host_context *context);
/* Gauges of contexts that changed, and the use of the fullest sequence. */
void sl_probe_host_contexts_tick(sl_probe_metrics *metrics, uint64_t now_ns);

/*
 * Bytes that /proc/PID/statm says are resident; 0 when the process is gone, or is another user's. False, and nothing is
 * set, when it cannot be read now (no descriptor is free).
 */
bool sl_probe_resident_bytes(uint32_t pid, uint64_t *ret_bytes);

#endif
