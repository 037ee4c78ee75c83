/* Batches, prompts, tokens, requests. */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/str.h"
#include "src/probe/metrics_host.h"

#define SECONDS(ns) ((double)(ns) / 1e9)
#define ATTRS_MAX 8

/* ---- batches and tokens ---- */

static unsigned result_kind(int32_t result)
{
    return result >= 0 && result <= 2 ? (unsigned)result : result == -1 ? 3 : 4;
}

static void count_result(sl_probe_metrics *m, const sl_probe_batch *batch, sl_probe_model_series *series)
{
    static const char *const names[SL_PROBE_RESULTS] = {"ok", "no_kv_slot", "aborted", "invalid_batch", "failed"};
    unsigned kind = result_kind(batch->result);
    SL_ASSERT(series && kind < SL_PROBE_RESULTS);
    if (!series->results[kind]) {
        const sl_attr labels[] = {sl_attr_str("model", series->name), sl_attr_str("result", names[kind])};
        series->results[kind] = sl_instrument_bind(m->body->metrics[SL_METRIC_LLAMACPP_DECODE_RESULTS], labels, 2);
    }
    series->gathered_results[kind]++;
    m->body->totals.batches++;
    m->body->totals.batches_failed += batch->result != 0;
}

static void gather_shape(sl_probe_model_series *series, const sl_probe_batch *batch)
{
    SL_ASSERT(series && batch);
    sl_probe_alike *a = &series->alike;
    if (a->times && a->n_tokens == batch->n_tokens && a->sequences == batch->sequences) {
        a->times++;
        return;
    }
    sl_probe_model_count_alike(series);
    *a = (sl_probe_alike){.n_tokens = batch->n_tokens, .sequences = batch->sequences, .times = 1};
    if (batch->span)
        a->span = *batch->span;
    a->span.tracestate = sl_str_of(NULL, 0);
}

void sl_probe_metrics_batch(sl_probe_metrics *metrics, const sl_probe_batch *batch)
{
    SL_ASSERT(batch);
    sl_probe_model_series *series = metrics ? sl_probe_host_series(metrics, batch->context) : NULL;
    if (!series)
        return;
    sl_probe_body *body = metrics->body;
    count_result(metrics, batch, series);
    sl_histogram_record_in(series->batch_duration, SECONDS(batch->duration_ns), batch->span);
    if (batch->warmup)
        return;
    body->gathered.decodes++;
    body->batch_sum++;
    body->busy_sum += batch->sequences;
    gather_shape(series, batch);
}

static void record_queue(sl_probe_model_series *series, const sl_probe_prefill *prefill)
{
    SL_ASSERT(series && prefill);
    if (!prefill->has_queue)
        return;
    sl_probe_pair_record(series->queue, SECONDS(prefill->queue_ns), prefill->span);
    sl_histogram_record_in(series->llama_queue, SECONDS(prefill->queue_ns), prefill->span);
}

void sl_probe_metrics_prefill(sl_probe_metrics *metrics, const sl_probe_prefill *prefill)
{
    SL_ASSERT(prefill);
    sl_probe_model_series *series = metrics ? sl_probe_host_series(metrics, prefill->context) : NULL;
    if (!series)
        return;
    sl_probe_body *body = metrics->body;
    sl_probe_pair_count(body->prompt_tokens, prefill->tokens);
    sl_probe_pair_count_double(body->prompt_seconds, SECONDS(prefill->duration_ns));
    sl_probe_pair_count(body->cached_tokens, prefill->cached);
    sl_counter_add(body->tokens_prompt, prefill->tokens);
    sl_counter_add(body->tokens_cached, prefill->cached);
    body->totals.prompt_tokens += prefill->tokens;
    sl_probe_rates_prompt(body, prefill->tokens, prefill->duration_ns);
    record_queue(series, prefill);
    if (prefill->incomplete)
        return;
    sl_probe_pair_record(series->prefill, SECONDS(prefill->duration_ns), prefill->span);
    sl_histogram_record_in(series->llama_prefill, SECONDS(prefill->duration_ns), prefill->span);
    if (prefill->first_token_ns)
        sl_probe_pair_record(series->first_token, SECONDS(prefill->first_token_ns), prefill->span);
}

void sl_probe_metrics_token(sl_probe_metrics *metrics, uint32_t context, uint64_t interval_ns,
                            const sl_span_context *span)
{
    sl_probe_model_series *series = metrics ? sl_probe_host_series(metrics, context) : NULL;
    if (!series)
        return;
    sl_probe_body *body = metrics->body;
    body->gathered.tokens++;
    body->totals.generated_tokens++;
    sl_probe_rates_token(body, interval_ns);
    if (!interval_ns)
        return; /* the first: its time is the prompt's */
    double seconds = SECONDS(interval_ns);
    body->gathered.token_seconds += seconds;
    sl_probe_pair_record(series->inter_token, seconds, span);
    sl_histogram_record_in(series->token_time, seconds * 1000, span);
}

void sl_probe_metrics_load(sl_probe_metrics *metrics, uint32_t busy_slots, uint32_t waiting)
{
    if (!metrics)
        return;
    sl_probe_totals *totals = &metrics->body->totals;
    SL_ASSERT(totals->busy >= metrics->busy && totals->waiting >= metrics->waiting);
    if (busy_slots != metrics->busy)
        sl_probe_pair_move(metrics->body->processing, (int64_t)busy_slots - (int64_t)metrics->busy);
    if (waiting != metrics->waiting)
        sl_probe_pair_move(metrics->body->deferred, (int64_t)waiting - (int64_t)metrics->waiting);
    totals->busy += busy_slots - metrics->busy;
    totals->waiting += waiting - metrics->waiting;
    metrics->busy = busy_slots;
    metrics->waiting = waiting;
}

/* ---- requests ---- */

typedef struct labels {
    sl_attr attrs[ATTRS_MAX];
    size_t count;
} labels;

static void put(labels *l, const char *key, sl_value value)
{
    SL_ASSERT(l->count < ATTRS_MAX);
    l->attrs[l->count++] = sl_attr_of(key, value);
}

static sl_str method_name(sl_str method)
{
    static const char *const known[] = {"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (sl_str_eq_c(method, known[i]))
            return sl_str_c(known[i]);
    }
    return SL_STR("_OTHER");
}

/* What `error.type` says: the caller's word, a status from `from` on, or a client that left; empty: nothing went wrong.
 */
static sl_str error_of(const sl_probe_request_done *done, unsigned from, char text[12])
{
    if (done->error_type.len)
        return done->error_type;
    if (done->status >= from)
        return sl_str_of(text, (size_t)snprintf(text, 12, "%u", done->status));
    return done->cancelled ? SL_STR("cancelled") : SL_STR("");
}

static void record_http(sl_probe_metrics *m, const sl_probe_request_done *done)
{
    labels l = {.count = 0};
    char text[12];
    sl_str error = error_of(done, 500, text);
    put(&l, "http.request.method", sl_value_str(method_name(done->method)));
    put(&l, "url.scheme", sl_value_cstr(done->https ? "https" : "http"));
    put(&l, "network.protocol.version", sl_value_cstr("1.1"));
    if (done->status)
        put(&l, "http.response.status_code", sl_value_int(done->status));
    if (done->route.len)
        put(&l, "http.route", sl_value_str(done->route));
    if (error.len)
        put(&l, "error.type", sl_value_str(error));
    sl_histogram_record_in(
        sl_instrument_bind(m->body->metrics[SL_METRIC_HTTP_SERVER_REQUEST_DURATION], l.attrs, l.count),
        SECONDS(done->total_ns), done->span);
}

static void record_gen_ai(sl_probe_metrics *m, const sl_probe_request_done *done, sl_str operation,
                          const sl_probe_model_series *series)
{
    SL_ASSERT(operation.len && series);
    labels l = {.count = 0};
    char text[12];
    sl_str error = error_of(done, 400, text);
    put(&l, "gen_ai.operation.name", sl_value_str(operation));
    put(&l, "gen_ai.provider.name", sl_value_cstr(SL_PROBE_PROVIDER));
    put(&l, "gen_ai.request.model", sl_value_cstr(series->name));
    sl_instrument *const *metrics = m->body->metrics;
    if (!error.len && done->first_token_ns)
        sl_histogram_record_in(
            sl_instrument_bind(metrics[SL_METRIC_GEN_AI_SERVER_TIME_TO_FIRST_TOKEN], l.attrs, l.count),
            SECONDS(done->first_token_ns), done->span);
    if (!error.len && done->completion_tokens > 1 && done->decode_ns)
        sl_histogram_record_in(
            sl_instrument_bind(metrics[SL_METRIC_GEN_AI_SERVER_TIME_PER_OUTPUT_TOKEN], l.attrs, l.count),
            SECONDS(done->decode_ns) / (done->completion_tokens - 1), done->span);
    if (error.len)
        put(&l, "error.type", sl_value_str(error));
    sl_histogram_record_in(sl_instrument_bind(metrics[SL_METRIC_GEN_AI_SERVER_REQUEST_DURATION], l.attrs, l.count),
                           SECONDS(done->total_ns), done->span);
}

void sl_probe_metrics_request_start(sl_probe_metrics *metrics)
{
    if (!metrics)
        return;
    metrics->active++;
    sl_updown_add(metrics->body->active, 1);
}

static void record_tokens(sl_probe_metrics *m, const sl_probe_request_done *done, sl_probe_model_series *series)
{
    if (done->drafts)
        sl_probe_pair_count(m->body->drafts, done->drafts);
    if (done->draft_tokens)
        sl_probe_pair_count(m->body->draft_tokens, done->draft_tokens);
    if (done->draft_accepted)
        sl_probe_pair_count(m->body->accepted_tokens, done->draft_accepted);
    if (!done->completion_tokens)
        return;
    sl_probe_pair_record(series->end_to_end, SECONDS(done->total_ns), done->span);
    if (done->decode_ns) {
        sl_probe_pair_record(series->decode, SECONDS(done->decode_ns), done->span);
        sl_histogram_record_in(series->llama_decode, SECONDS(done->decode_ns), done->span);
    }
}

void sl_probe_metrics_compared(sl_probe_metrics *metrics, bool agrees)
{
    if (metrics)
        sl_counter_add(metrics->body->compared[agrees], 1);
}

void sl_probe_metrics_request_end(sl_probe_metrics *metrics, const sl_probe_request_done *done)
{
    SL_ASSERT(done);
    if (!metrics)
        return;
    if (metrics->active) {
        metrics->active--;
        sl_updown_add(metrics->body->active, -1);
    }
    metrics->body->totals.requests++;
    if ((unsigned)done->correlation < SL_PROBE_CORRELATION_COUNT)
        sl_counter_add(metrics->body->correlation[done->correlation], 1);
    sl_probe_request_done known = *done;
    known.route = sl_probe_route_known(done->route);
    record_http(metrics, &known);
    sl_str operation = sl_probe_route_operation(known.route);
    sl_probe_model_series *series = sl_probe_host_series(metrics, done->context);
    if (!series)
        return;
    record_tokens(metrics, done, series);
    if (operation.len)
        record_gen_ai(metrics, done, operation, series);
}
