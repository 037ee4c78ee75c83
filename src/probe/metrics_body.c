/* Instruments, series, rates. */
#include "src/probe/metrics_body.h"

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/base/str.h"
#include "src/telemetry/registry.h"

#define SECOND_NS 1000000000u
#define CLOCK_RATE_SECONDS 5 /* of tokens per second by the clock */

#define PAIR(name) SL_METRIC_LLAMACPP_COLON_##name, SL_METRIC_LLAMACPP_##name

static const sl_metric_id wanted[] = {
    PAIR(PROMPT_TOKENS),
    PAIR(PROMPT_SECONDS),
    PAIR(PREDICTED_TOKENS),
    PAIR(PREDICTED_SECONDS),
    PAIR(DECODES),
    SL_METRIC_LLAMACPP_COLON_TOKENS_MAX, /* a counter, as upstream has it */
    SL_METRIC_LLAMACPP_TOKENS_MAX,       /* the gauge that it means */
    PAIR(CACHED_TOKENS),
    PAIR(DRAFTS),
    PAIR(DRAFT_TOKENS),
    PAIR(ACCEPTED_TOKENS),
    PAIR(BUSY_SLOTS),
    PAIR(PROMPT_RATE),
    PAIR(PREDICTED_RATE),
    PAIR(REQUESTS_PROCESSING),
    PAIR(REQUESTS_DEFERRED),
    PAIR(KV_CACHE_RATIO),
    PAIR(KV_CACHE_TOKENS),
    PAIR(FIRST_TOKEN),
    PAIR(INTER_TOKEN),
    PAIR(END_TO_END),
    PAIR(QUEUE_TIME),
    PAIR(PREFILL_TIME),
    PAIR(DECODE_TIME),
    SL_METRIC_LLAMACPP_BATCH_DURATION,
    SL_METRIC_LLAMACPP_BATCH_TOKENS,
    SL_METRIC_LLAMACPP_BATCH_SEQUENCES,
    SL_METRIC_LLAMACPP_DECODE_RESULTS,
    SL_METRIC_LLAMACPP_MEMORY,
    SL_METRIC_LLAMACPP_RESIDENT,
    SL_METRIC_LLAMACPP_CONTEXT_SIZE,
    SL_METRIC_LLAMACPP_CONTEXT_TOKENS,
    SL_METRIC_LLAMACPP_SEQUENCE_TOKENS,
    SL_METRIC_LLAMACPP_SEQUENCE_RATIO,
    SL_METRIC_LLAMACPP_CONTEXT_RATIO,
    SL_METRIC_LLAMACPP_SEQUENCE_OPERATIONS,
    SL_METRIC_LLAMACPP_STATE_BYTES,
    SL_METRIC_LLAMACPP_MODEL_LOAD,
    SL_METRIC_LLAMACPP_MODEL_INFO,
    SL_METRIC_LLAMACPP_MODEL_BYTES,
    SL_METRIC_LLAMA_TOKENS,
    SL_METRIC_LLAMA_TOKEN_TIME,
    SL_METRIC_LLAMA_MODEL_LOAD_TIME,
    SL_METRIC_LLAMA_MEMORY,
    SL_METRIC_LLAMA_REQUESTS_ACTIVE,
    SL_METRIC_LLAMA_BATCH_SIZE,
    SL_METRIC_LLAMA_QUEUE_DURATION,
    SL_METRIC_LLAMA_PREFILL_DURATION,
    SL_METRIC_LLAMA_DECODE_DURATION,
    SL_METRIC_LLAMASTACK_MODEL_LOAD_TIME,
    SL_METRIC_HTTP_SERVER_REQUEST_DURATION,
    SL_METRIC_GEN_AI_SERVER_REQUEST_DURATION,
    SL_METRIC_GEN_AI_SERVER_TIME_TO_FIRST_TOKEN,
    SL_METRIC_GEN_AI_SERVER_TIME_PER_OUTPUT_TOKEN,
    SL_METRIC_PROBE_HOSTS,
    SL_METRIC_PROBE_EVENTS,
    SL_METRIC_PROBE_EVENTS_DROPPED,
    SL_METRIC_PROBE_REQUESTS,
    SL_METRIC_PROBE_COMPARED,
};

static pthread_mutex_t registry_lock = PTHREAD_MUTEX_INITIALIZER;
static sl_probe_body *registry;

/* ---- series ---- */

static sl_series *bind(sl_probe_body *body, sl_metric_id id, const char *key, const char *value)
{
    SL_ASSERT(body && id < SL_METRIC_COUNT);
    sl_attr attr = sl_attr_str(key ? key : "", value ? value : "");
    return sl_instrument_bind(body->metrics[id], key ? &attr : NULL, key ? 1 : 0);
}

static sl_probe_pair bind_pair(sl_probe_body *body, sl_metric_id colon, sl_metric_id plain, const char *key,
                               const char *value)
{
    return (sl_probe_pair){bind(body, colon, key, value), bind(body, plain, key, value)};
}

static void bind_upstream(sl_probe_body *b)
{
    SL_ASSERT(b);
    b->prompt_tokens = bind_pair(b, PAIR(PROMPT_TOKENS), NULL, NULL);
    b->prompt_seconds = bind_pair(b, PAIR(PROMPT_SECONDS), NULL, NULL);
    b->predicted_tokens = bind_pair(b, PAIR(PREDICTED_TOKENS), NULL, NULL);
    b->predicted_seconds = bind_pair(b, PAIR(PREDICTED_SECONDS), NULL, NULL);
    b->decodes = bind_pair(b, PAIR(DECODES), NULL, NULL);
    b->tokens_max = bind_pair(b, SL_METRIC_LLAMACPP_COLON_TOKENS_MAX, SL_METRIC_LLAMACPP_TOKENS_MAX, NULL, NULL);
    b->cached_tokens = bind_pair(b, PAIR(CACHED_TOKENS), NULL, NULL);
    b->drafts = bind_pair(b, PAIR(DRAFTS), NULL, NULL);
    b->draft_tokens = bind_pair(b, PAIR(DRAFT_TOKENS), NULL, NULL);
    b->accepted_tokens = bind_pair(b, PAIR(ACCEPTED_TOKENS), NULL, NULL);
    b->busy_slots = bind_pair(b, PAIR(BUSY_SLOTS), NULL, NULL);
    b->prompt_rate = bind_pair(b, PAIR(PROMPT_RATE), NULL, NULL);
    b->predicted_rate = bind_pair(b, PAIR(PREDICTED_RATE), NULL, NULL);
    b->processing = bind_pair(b, PAIR(REQUESTS_PROCESSING), NULL, NULL);
    b->deferred = bind_pair(b, PAIR(REQUESTS_DEFERRED), NULL, NULL);
    b->kv_ratio = bind_pair(b, PAIR(KV_CACHE_RATIO), NULL, NULL);
    b->kv_tokens = bind_pair(b, PAIR(KV_CACHE_TOKENS), NULL, NULL);
}

/* Counters that have not counted yet show their 0, as upstream's do: rates need a first sample. */
static void touch(sl_probe_body *b)
{
    const sl_probe_pair counters[] = {b->prompt_tokens, b->predicted_tokens, b->decodes,        b->cached_tokens,
                                      b->drafts,        b->draft_tokens,     b->accepted_tokens};
    for (size_t i = 0; i < sizeof counters / sizeof *counters; i++)
        sl_probe_pair_count(counters[i], 0);
    sl_probe_pair_count_double(b->prompt_seconds, 0);
    sl_probe_pair_count_double(b->predicted_seconds, 0);
    sl_counter_add(b->tokens_max.colon, 0);
    sl_probe_pair_move(b->processing, 0);
    sl_probe_pair_move(b->deferred, 0);
    sl_probe_pair_move(b->kv_tokens, 0);
    sl_counter_add(b->dropped_full, 0);
    sl_counter_add(b->dropped_damaged, 0);
    sl_updown_add(b->active, 0);
}

static void bind_all(sl_probe_body *b)
{
    static const char *const sure[SL_PROBE_CORRELATION_COUNT] = {"none", "exact", "ambiguous", "partial"};
    sl_meter *meter = sl_meter_named(b->sdk, "sightline.probe");
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        b->metrics[wanted[i]] = sl_metric_declare(meter, wanted[i]);
    bind_upstream(b);
    b->tokens_prompt = bind(b, SL_METRIC_LLAMA_TOKENS, "llama.token.type", "prompt");
    b->tokens_cached = bind(b, SL_METRIC_LLAMA_TOKENS, "llama.token.type", "cached");
    b->tokens_generated = bind(b, SL_METRIC_LLAMA_TOKENS, "llama.token.type", "generated");
    b->active = bind(b, SL_METRIC_LLAMA_REQUESTS_ACTIVE, NULL, NULL);
    b->resident = bind(b, SL_METRIC_LLAMACPP_RESIDENT, NULL, NULL);
    b->context_ratio = bind(b, SL_METRIC_LLAMACPP_CONTEXT_RATIO, NULL, NULL);
    b->hosts = bind(b, SL_METRIC_PROBE_HOSTS, NULL, NULL);
    b->events = bind(b, SL_METRIC_PROBE_EVENTS, NULL, NULL);
    b->dropped_full = bind(b, SL_METRIC_PROBE_EVENTS_DROPPED, "reason", "ring_full");
    b->dropped_damaged = bind(b, SL_METRIC_PROBE_EVENTS_DROPPED, "reason", "damaged");
    for (size_t i = 0; i < SL_PROBE_CORRELATION_COUNT; i++)
        b->correlation[i] = bind(b, SL_METRIC_PROBE_REQUESTS, "correlation", sure[i]);
    b->compared[0] = bind(b, SL_METRIC_PROBE_COMPARED, "agrees", "no");
    b->compared[1] = bind(b, SL_METRIC_PROBE_COMPARED, "agrees", "yes");
    touch(b);
}

void sl_probe_pair_count(sl_probe_pair pair, uint64_t value)
{
    sl_counter_add(pair.colon, value);
    sl_counter_add(pair.plain, value);
}

void sl_probe_pair_count_double(sl_probe_pair pair, double value)
{
    sl_counter_add_double(pair.colon, value);
    sl_counter_add_double(pair.plain, value);
}

void sl_probe_pair_move(sl_probe_pair pair, int64_t value)
{
    sl_updown_add(pair.colon, value);
    sl_updown_add(pair.plain, value);
}

void sl_probe_pair_set(sl_probe_pair pair, double value)
{
    sl_gauge_set_double(pair.colon, value);
    sl_gauge_set_double(pair.plain, value);
}

void sl_probe_pair_record(sl_probe_pair pair, double value, const sl_span_context *span)
{
    sl_histogram_record_in(pair.colon, value, span);
    sl_histogram_record_in(pair.plain, value, span);
}

/* ---- models ---- */

static void bind_model(sl_probe_body *b, sl_probe_model_series *m)
{
    SL_ASSERT(b && m && m->name[0]);
    const char *name = m->name;
    m->first_token = bind_pair(b, PAIR(FIRST_TOKEN), "model", name);
    m->inter_token = bind_pair(b, PAIR(INTER_TOKEN), "model", name);
    m->end_to_end = bind_pair(b, PAIR(END_TO_END), "model", name);
    m->queue = bind_pair(b, PAIR(QUEUE_TIME), "model", name);
    m->prefill = bind_pair(b, PAIR(PREFILL_TIME), "model", name);
    m->decode = bind_pair(b, PAIR(DECODE_TIME), "model", name);
    m->batch_duration = bind(b, SL_METRIC_LLAMACPP_BATCH_DURATION, "model", name);
    m->batch_tokens = bind(b, SL_METRIC_LLAMACPP_BATCH_TOKENS, "model", name);
    m->batch_sequences = bind(b, SL_METRIC_LLAMACPP_BATCH_SEQUENCES, "model", name);
    m->batch_size = bind(b, SL_METRIC_LLAMA_BATCH_SIZE, "gen_ai.request.model", name);
    m->token_time = bind(b, SL_METRIC_LLAMA_TOKEN_TIME, "gen_ai.request.model", name);
    m->llama_queue = bind(b, SL_METRIC_LLAMA_QUEUE_DURATION, "gen_ai.request.model", name);
    m->llama_prefill = bind(b, SL_METRIC_LLAMA_PREFILL_DURATION, "gen_ai.request.model", name);
    m->llama_decode = bind(b, SL_METRIC_LLAMA_DECODE_DURATION, "gen_ai.request.model", name);
}

sl_probe_model_series *sl_probe_body_model(sl_probe_body *body, sl_str name)
{
    SL_ASSERT(body && (name.ptr || !name.len));
    if (name.len == 0)
        name = SL_STR("unknown");
    if (name.len >= SL_PROBE_MODEL_BYTES)
        name.len = sl_utf8_prefix(name, SL_PROBE_MODEL_BYTES - 1);
    if (body->model_count >= SL_PROBE_MAX_METRIC_MODELS - 1)
        name = SL_STR("other");
    for (size_t i = 0; i < body->model_count; i++) {
        if (sl_str_eq_c(name, body->models[i]->name))
            return body->models[i];
    }
    if (body->model_count >= SL_PROBE_MAX_METRIC_MODELS)
        return NULL;
    sl_probe_model_series *m = sl_calloc(1, sizeof *m);
    if (!m)
        return NULL;
    memcpy(m->name, name.ptr, name.len);
    bind_model(body, m);
    body->models[body->model_count++] = m;
    return m;
}

/* ---- life ---- */

static sl_probe_body *body_new(sl_sdk *sdk)
{
    sl_probe_body *body = sl_calloc(1, sizeof *body);
    if (!body)
        return NULL;
    body->sdk = sdk;
    pthread_mutex_init(&body->lock, NULL);
    bind_all(body);
    return body;
}

static sl_probe_body *find(sl_sdk *sdk)
{
    sl_probe_body *body = registry;
    while (body && body->sdk != sdk)
        body = body->next;
    return body;
}

sl_probe_body *sl_probe_body_ref(sl_sdk *sdk)
{
    SL_ASSERT(sdk);
    pthread_mutex_lock(&registry_lock);
    sl_probe_body *body = find(sdk);
    if (!body && (body = body_new(sdk))) {
        body->next = registry;
        registry = body;
    }
    if (body)
        body->refs++;
    pthread_mutex_unlock(&registry_lock);
    return body;
}

void sl_probe_body_unref(sl_probe_body *body)
{
    if (!body)
        return;
    pthread_mutex_lock(&registry_lock);
    SL_ASSERT(body->refs > 0);
    bool last = --body->refs == 0;
    if (last) {
        sl_probe_body **at = &registry;
        while (*at != body)
            at = &(*at)->next;
        *at = body->next;
    }
    pthread_mutex_unlock(&registry_lock);
    if (!last)
        return;
    for (size_t i = 0; i < body->model_count; i++)
        sl_free(body->models[i]);
    pthread_mutex_destroy(&body->lock);
    sl_free(body);
}

bool sl_probe_metrics_totals(sl_sdk *sdk, sl_probe_totals *ret_totals)
{
    SL_ASSERT(ret_totals);
    pthread_mutex_lock(&registry_lock);
    sl_probe_body *body = find(sdk);
    if (body) {
        pthread_mutex_lock(&body->lock);
        *ret_totals = body->published;
        pthread_mutex_unlock(&body->lock);
    }
    pthread_mutex_unlock(&registry_lock);
    return body != NULL;
}

/* ---- rates ---- */

static sl_probe_rate_slot *slot_now(sl_probe_body *body)
{
    uint64_t second = body->now_ns / SECOND_NS;
    sl_probe_rate_slot *slot = &body->rates[second % SL_PROBE_RATE_SLOTS];
    if (slot->second != second)
        *slot = (sl_probe_rate_slot){.second = second};
    return slot;
}

void sl_probe_rates_prompt(sl_probe_body *body, uint64_t tokens, uint64_t duration_ns)
{
    sl_probe_rate_slot *slot = slot_now(body);
    slot->prompt_tokens += tokens;
    slot->prompt_ns += duration_ns;
}

void sl_probe_rates_token(sl_probe_body *body, uint64_t interval_ns)
{
    sl_probe_rate_slot *slot = slot_now(body);
    slot->tokens++;
    slot->token_ns += interval_ns;
}

sl_probe_rate_slot sl_probe_rates_sum(const sl_probe_body *body, uint64_t seconds, bool whole)
{
    SL_ASSERT(seconds > 0 && seconds <= SL_PROBE_RATE_SLOTS);
    uint64_t now = body->now_ns / SECOND_NS;
    sl_probe_rate_slot sum = {.second = now};
    for (size_t i = 0; i < SL_PROBE_RATE_SLOTS; i++) {
        const sl_probe_rate_slot *slot = &body->rates[i];
        uint64_t age = now - slot->second;
        if (slot->second > now || age > seconds || (whole ? age == 0 : age == seconds))
            continue;
        sum.prompt_tokens += slot->prompt_tokens;
        sum.prompt_ns += slot->prompt_ns;
        sum.tokens += slot->tokens;
        sum.token_ns += slot->token_ns;
    }
    return sum;
}

static double per_second(uint64_t count, uint64_t ns)
{
    return ns ? (double)count * (double)SECOND_NS / (double)ns : 0;
}

/* ---- what was gathered ---- */

void sl_probe_model_count_alike(sl_probe_model_series *series)
{
    SL_ASSERT(series);
    sl_probe_alike *a = &series->alike;
    if (!a->times)
        return;
    sl_histogram_record_times(series->batch_tokens, a->n_tokens, a->times, &a->span);
    sl_histogram_record_times(series->batch_size, a->n_tokens, a->times, &a->span);
    sl_histogram_record_times(series->batch_sequences, a->sequences, a->times, &a->span);
    a->times = 0;
}

static void count_gathered(sl_probe_body *body)
{
    SL_ASSERT(body->model_count <= SL_PROBE_MAX_METRIC_MODELS);
    const sl_probe_gathered g = body->gathered;
    body->gathered = (sl_probe_gathered){.events = 0};
    sl_counter_add(body->events, g.events);
    sl_probe_pair_count(body->decodes, g.decodes);
    sl_probe_pair_count(body->predicted_tokens, g.tokens);
    sl_counter_add(body->tokens_generated, g.tokens);
    sl_probe_pair_count_double(body->predicted_seconds, g.token_seconds);
    sl_probe_pair_move(body->kv_tokens, g.kv_tokens);
    for (size_t i = 0; i < body->model_count; i++) {
        sl_probe_model_series *series = body->models[i];
        sl_probe_model_count_alike(series);
        for (size_t kind = 0; kind < SL_PROBE_RESULTS; kind++) {
            if (series->gathered_results[kind])
                sl_counter_add(series->results[kind], series->gathered_results[kind]);
            series->gathered_results[kind] = 0;
        }
    }
}

void sl_probe_body_tick(sl_probe_body *body, uint64_t now_ns)
{
    SL_ASSERT(body);
    body->now_ns = now_ns;
    count_gathered(body);
    sl_probe_rate_slot minute = sl_probe_rates_sum(body, SL_PROBE_RATE_SLOTS, false);
    sl_probe_rate_slot last = sl_probe_rates_sum(body, CLOCK_RATE_SECONDS, true);
    double share = body->capacity_tokens ? (double)body->used_tokens / (double)body->capacity_tokens : 0;
    sl_probe_pair_set(body->prompt_rate, per_second(minute.prompt_tokens, minute.prompt_ns));
    sl_probe_pair_set(body->predicted_rate, per_second(minute.tokens, minute.token_ns));
    sl_probe_pair_set(body->kv_ratio, share > 1 ? 1 : share); /* sequences may share tokens */
    sl_probe_pair_set(body->busy_slots, body->batch_sum ? (double)body->busy_sum / (double)body->batch_sum : 0);
    sl_gauge_set_double(body->context_ratio, body->totals.context_use);
    body->totals.tokens_per_second = (double)last.tokens / CLOCK_RATE_SECONDS;
    pthread_mutex_lock(&body->lock);
    body->published = body->totals;
    pthread_mutex_unlock(&body->lock);
}
