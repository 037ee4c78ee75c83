/*
 * What the probe's metrics of all hosts of one SDK share: instruments, series, totals, rates. Part of probe_metrics.
 *
 * Written by the thread that reads the rings; `published` alone may be read by others.
 */
#ifndef SL_PROBE_METRICS_BODY_H
#define SL_PROBE_METRICS_BODY_H

#include <pthread.h>

#include "src/base/limits.h"
#include "src/probe/probe_metrics.h"
#include "src/telemetry/vocab.h"

#define SL_PROBE_MODEL_BYTES 128 /* name of a model in labels, with its NUL */
#define SL_PROBE_RESULTS 5       /* kinds of results of a batch */
#define SL_PROBE_RATE_SLOTS 60   /* seconds that rates look back */

/* A series under `llamacpp:` and under `llamacpp_`. */
typedef struct sl_probe_pair {
    sl_series *colon, *plain;
} sl_probe_pair;

/*
 * What every token and batch adds to is added up here first, and counted with the next tick: a reader that takes a few
 * hundred events at once would else write the same cells as often.
 */
typedef struct sl_probe_gathered {
    uint64_t events, decodes, tokens;
    double token_seconds;
    int64_t kv_tokens;
} sl_probe_gathered;

/* Batches of one shape, one after the other. */
typedef struct sl_probe_alike {
    uint32_t n_tokens, sequences;
    uint64_t times;
    sl_span_context span; /* of the first */
} sl_probe_alike;

/* Series of one model's name. */
typedef struct sl_probe_model_series {
    char name[SL_PROBE_MODEL_BYTES];
    sl_probe_pair first_token, inter_token, end_to_end, queue, prefill, decode;
    sl_series *token_time, *llama_queue, *llama_prefill, *llama_decode;
    sl_series *batch_duration, *batch_tokens, *batch_sequences, *batch_size;
    sl_series *results[SL_PROBE_RESULTS]; /* bound when they first occur */
    uint64_t gathered_results[SL_PROBE_RESULTS];
    sl_probe_alike alike;
} sl_probe_model_series;

/* One second of work. */
typedef struct sl_probe_rate_slot {
    uint64_t second;
    uint64_t prompt_tokens, prompt_ns, tokens, token_ns;
} sl_probe_rate_slot;

typedef struct sl_probe_body {
    sl_sdk *sdk;
    struct sl_probe_body *next; /* of the registry; its lock guards `refs` too */
    size_t refs;

    sl_instrument *metrics[SL_METRIC_COUNT];
    sl_probe_pair prompt_tokens, prompt_seconds, predicted_tokens, predicted_seconds, decodes, cached_tokens;
    sl_probe_pair drafts, draft_tokens, accepted_tokens, busy_slots, prompt_rate, predicted_rate, processing, deferred;
    sl_probe_pair kv_ratio, kv_tokens, tokens_max;
    sl_series *tokens_prompt, *tokens_cached, *tokens_generated, *active, *resident, *context_ratio;
    sl_series *hosts, *events, *dropped_full, *dropped_damaged, *correlation[SL_PROBE_CORRELATION_COUNT], *compared[2];
    sl_probe_model_series *models[SL_PROBE_MAX_METRIC_MODELS];
    size_t model_count;

    struct sl_probe_metrics *first; /* hosts */
    bool host_taken[SL_PROBE_MAX_METRIC_HOSTS];
    uint64_t now_ns;
    uint64_t capacity_tokens; /* of all contexts */
    uint64_t used_tokens;
    uint64_t largest_sequence;
    uint64_t busy_sum, batch_sum;
    sl_probe_rate_slot rates[SL_PROBE_RATE_SLOTS];
    sl_probe_gathered gathered;
    sl_probe_totals totals;

    pthread_mutex_t lock;
    sl_probe_totals published;
} sl_probe_body;

/* The body of an SDK, made when there is none. NULL without memory. */
sl_probe_body *sl_probe_body_ref(sl_sdk *sdk);
void sl_probe_body_unref(sl_probe_body *body);

/* Series of a model's name, which is cut and, beyond the limit, "other". NULL without memory. */
sl_probe_model_series *sl_probe_body_model(sl_probe_body *body, sl_str name);

void sl_probe_pair_count(sl_probe_pair pair, uint64_t value);
void sl_probe_pair_count_double(sl_probe_pair pair, double value);
void sl_probe_pair_move(sl_probe_pair pair, int64_t value); /* up-down counters */
void sl_probe_pair_set(sl_probe_pair pair, double value);   /* gauges of doubles */
void sl_probe_pair_record(sl_probe_pair pair, double value, const sl_span_context *span);

/* Adds to the second that `now_ns` is in. */
void sl_probe_rates_prompt(sl_probe_body *body, uint64_t tokens, uint64_t duration_ns);
void sl_probe_rates_token(sl_probe_body *body, uint64_t interval_ns);
/* Sums of the slots that began within `seconds` before now. The current second counts when `whole` is false. */
sl_probe_rate_slot sl_probe_rates_sum(const sl_probe_body *body, uint64_t seconds, bool whole);

/* Counts the batches of one shape that were gathered. */
void sl_probe_model_count_alike(sl_probe_model_series *series);
/* Counts what was gathered, sets the gauges that are made of totals, and publishes the totals. */
void sl_probe_body_tick(sl_probe_body *body, uint64_t now_ns);

#endif
