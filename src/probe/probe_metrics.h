/*
 * Metrics of the probe: what the assembler of one host tells, under every vocabulary of vocab_metrics.def that knows it
 * (`llamacpp:`, `llamacpp_`, `llama.*`, `gen_ai.server.*`, `http.server.*`, `llamastack_*`, `sightline_probe_*`).
 *
 * One object for each host process (each ring). Objects of the same SDK share their totals, so that several hosts under
 * one parent (a router and its servers) are summed where upstream's names have no labels. What a host has put into a
 * gauge leaves it again when its object is freed; counters and histograms stay.
 * Times are nanoseconds, durations never timestamps; 0 is "not known" unless said otherwise. Every call is for the one
 * thread that reads the ring, accepts a NULL object, and neither blocks nor fails: what does not fit is left out.
 */
#ifndef SL_PROBE_METRICS_H
#define SL_PROBE_METRICS_H

#include <sightline/sdk.h>

#include "src/probe/event.h"

/* `gen_ai.provider.name` of everything that libllama answers. */
#define SL_PROBE_PROVIDER "llama.cpp"

typedef struct sl_probe_metrics sl_probe_metrics;

/* How sure it is which request asked for which tokens. */
typedef enum sl_probe_correlation {
    SL_PROBE_CORRELATION_NONE = 0,  /* no tokens, or not found: /health, /tokenize, a prompt of images */
    SL_PROBE_CORRELATION_EXACT,     /* one request only can have asked */
    SL_PROBE_CORRELATION_AMBIGUOUS, /* twins; counts are right, whose they are is a guess that is marked */
    SL_PROBE_CORRELATION_PARTIAL,   /* events were lost, or the host ended in the midst */
    SL_PROBE_CORRELATION_COUNT
} sl_probe_correlation;

/* Errors: SL_ENOMEM, SL_EINVAL. `pid` of the host, for its memory; 0: not watched. */
SL_MUST_CHECK int sl_probe_metrics_new(sl_sdk *sdk, uint32_t pid, sl_probe_metrics **ret_metrics);
/* Takes the host's gauges back. NULL is accepted. Before the SDK is freed. */
void sl_probe_metrics_free(sl_probe_metrics *metrics);

/* ---- models, contexts, memory ---- */

/*
 * A load has ended. A dry run (no weights are allocated; a pass that only measures) is counted as such and has no model
 * of its own. The name of the label `model` comes from the file's name.
 */
typedef struct sl_probe_model_info {
    uint32_t model;
    sl_str path, description;
    uint64_t duration_ns, size_bytes, n_params;
    bool failed, dry_run;
    bool found;                  /* it was there before: its loading is not counted */
    const sl_span_context *span; /* exemplar; NULL: none */
} sl_probe_model_info;
void sl_probe_metrics_model(sl_probe_metrics *metrics, const sl_probe_model_info *info);
void sl_probe_metrics_model_freed(sl_probe_metrics *metrics, uint32_t model);
/* Name of a model as the metrics give it, for gen_ai.request.model of spans; model 0: that of the first context. Static
 * until the object is freed; empty when there is none. */
sl_str sl_probe_metrics_model_name(const sl_probe_metrics *metrics, uint32_t model);

/* A context that is used for work (not that of a dry run). `n_ctx` is shared by all its sequences. */
typedef struct sl_probe_context_info {
    uint32_t context, model;
    int32_t n_ctx, n_ctx_seq, n_seq_max; /* -1: not known */
    uint64_t duration_ns;
    uint64_t kv_bytes, compute_bytes, output_bytes;
} sl_probe_context_info;
void sl_probe_metrics_context(sl_probe_metrics *metrics, const sl_probe_context_info *info);
void sl_probe_metrics_context_freed(sl_probe_metrics *metrics, uint32_t context);

/* What backend memory holds. BUFFER events say owner and phase, not use: the assembler decides. */
typedef enum sl_probe_memory {
    SL_PROBE_MEMORY_WEIGHTS = 0, /* without memory-mapped weights unless the assembler adds them, device "mmap" */
    SL_PROBE_MEMORY_KV,
    SL_PROBE_MEMORY_COMPUTE,
    SL_PROBE_MEMORY_OUTPUT,
    SL_PROBE_MEMORY_OTHER,
    SL_PROBE_MEMORY_COUNT
} sl_probe_memory;
/* Bytes taken (negative: given back). `device`: name of the buffer type, such as "CPU" or "CUDA0". */
void sl_probe_metrics_memory(sl_probe_metrics *metrics, sl_probe_memory use, sl_str device, int64_t bytes);

/* ---- work ---- */

/* A llama_decode, llama_encode or llama_process has returned. */
typedef struct sl_probe_batch {
    uint32_t context;
    int32_t result;
    uint32_t n_tokens;                         /* of the batch */
    uint32_t prompt_tokens, generation_tokens; /* of these */
    uint32_t sequences;                        /* different ones in it */
    sl_probe_api api;
    bool warmup;          /* no request's: left out of everything but decode durations and results */
    uint64_t duration_ns; /* to the end of the wait for its results where there was one */
    const sl_span_context *span;
} sl_probe_batch;
void sl_probe_metrics_batch(sl_probe_metrics *metrics, const sl_probe_batch *batch);

/* The prompt of one sequence is processed: its first token is there (or, embeddings, its result). Once for each. */
typedef struct sl_probe_prefill {
    uint32_t context;
    uint32_t tokens, cached; /* processed; taken from the cache instead */
    uint64_t duration_ns;    /* from the first batch with it to the first token */
    uint64_t queue_ns;       /* from the end of the request's body (or its post) to that first batch */
    uint64_t first_token_ns; /* from the request's first byte to the first token; 0: there is no request, or no token */
    bool has_queue;          /* queue_ns is known (it may be 0) */
    bool incomplete;         /* given up before the first token: tokens count, times do not */
    const sl_span_context *span;
} sl_probe_prefill;
void sl_probe_metrics_prefill(sl_probe_metrics *metrics, const sl_probe_prefill *prefill);

/*
 * One generated token of a sequence. `interval_ns` since the one before; the first token, whose time is the prefill's,
 * has 0. Speculative decoding gives several at once: call it for each, with the interval shared among them.
 */
void sl_probe_metrics_token(sl_probe_metrics *metrics, uint32_t context, uint64_t interval_ns,
                            const sl_span_context *span);

/* Tokens in the memory of a sequence: (pos_max + 1), 0 when removed. Cheap when nothing changed. */
void sl_probe_metrics_sequence(sl_probe_metrics *metrics, uint32_t context, int32_t sequence, uint32_t tokens);
/* A change of a sequence's memory that people ask about: shift (ADD), save, load, copy, removal. */
void sl_probe_metrics_sequence_op(sl_probe_metrics *metrics, sl_probe_seq_op op, uint64_t bytes);

/* Slots at work and requests that wait for one, now. */
void sl_probe_metrics_load(sl_probe_metrics *metrics, uint32_t busy_slots, uint32_t waiting);

/* ---- requests ---- */

/* The head of a request was read. Each is followed by exactly one sl_probe_metrics_request_end. */
void sl_probe_metrics_request_start(sl_probe_metrics *metrics);

typedef struct sl_probe_request_done {
    sl_str method;   /* as sent; other than the known ones becomes _OTHER */
    sl_str route;    /* path without query; other than llama-server's known ones becomes "" (no label) */
    unsigned status; /* 0: none was sent */
    bool https, streaming;
    bool cancelled; /* the client went away first */
    uint32_t context;
    uint32_t prompt_tokens, cached_tokens, completion_tokens;
    uint32_t drafts;                       /* batches that verified some */
    uint32_t draft_tokens, draft_accepted; /* of the answer's timings */
    uint64_t total_ns;                     /* first byte in to last byte out */
    uint64_t first_token_ns;               /* 0: no token */
    uint64_t prefill_ns, decode_ns;
    sl_probe_correlation correlation;
    sl_str error_type; /* empty: none, or by the status */
    const sl_span_context *span;
} sl_probe_request_done;
void sl_probe_metrics_request_end(sl_probe_metrics *metrics, const sl_probe_request_done *done);

/* A request's tokens were compared with what its answer says of them. */
void sl_probe_metrics_compared(sl_probe_metrics *metrics, bool agrees);

/* The route as it may stand in a label: one of llama-server's, or empty. Static. For span names too. */
sl_str sl_probe_route_known(sl_str path);
/* `gen_ai.operation.name` of a route: "chat", "text_completion", "embeddings", or empty. Static. */
sl_str sl_probe_route_operation(sl_str route);

/* ---- now and then ---- */

/*
 * About ten times a second: rates, the host's memory (/proc), the ring's losses. `ring_dropped`: events lost so far, a
 * total that only grows.
 */
void sl_probe_metrics_tick(sl_probe_metrics *metrics, uint64_t now_ns, uint64_t ring_dropped);
/* One more event was read; `bad` ones fail their check. For sightline_probe_events_total. */
void sl_probe_metrics_events(sl_probe_metrics *metrics, uint64_t count, uint64_t bad);

/* Totals over all hosts of an SDK, for quotas and tests. Any thread. */
typedef struct sl_probe_totals {
    uint64_t hosts;
    uint64_t resident_bytes;  /* sum of the hosts' */
    double context_use;       /* 0 to 1: of the fullest context */
    uint64_t waiting, busy;   /* requests without a slot; slots */
    double tokens_per_second; /* generated, by the clock, over the last 5 seconds */
    uint64_t prompt_tokens, generated_tokens, batches, batches_failed, requests;
} sl_probe_totals;
/* False when the SDK has no host now (and never had: totals stay until the SDK's last object is freed). */
bool sl_probe_metrics_totals(sl_sdk *sdk, sl_probe_totals *ret_totals);

#endif
