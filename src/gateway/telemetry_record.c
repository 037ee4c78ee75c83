/* Metrics and the access record. */
#include "src/base/assert.h"
#include "src/gateway/telemetry_parts.h"

#define SECONDS(ns) ((double)(ns) / 1e9)

/* ---- calls ---- */

/* What nobody told is counted by what has been seen of the stream; usage_missing says how often that was. */
static void record_counted(const sl_gw_request *request, const sl_gw_model_series *m, const sl_span_context *context)
{
    SL_ASSERT(!request->answer.usage.known);
    if (request->stream.frames == 0)
        return;
    sl_histogram_record_in(m->tokens_out, (double)request->stream.frames, context);
    sl_counter_add(m->output_total, request->stream.frames);
}

/* An answer, whole or not, whose usage nobody has told. */
static void count_gap(const sl_gw_request *request, const char *error_type)
{
    SL_ASSERT(request);
    bool answered = !error_type || (request->upstream_status >= 200 && request->upstream_status < 300);
    if (request->answer.usage.known || !answered)
        return;
    sl_gw_usage_gap gap = !error_type       ? SL_GW_GAP_NOT_REPORTED
                          : request->broken ? SL_GW_GAP_BROKEN
                                            : SL_GW_GAP_CLIENT_GONE;
    sl_counter_add(request->gateway->telemetry->usage_missing[gap], 1);
}

static void record_tokens(sl_gw_request *request, const sl_gw_model_series *m, const sl_span_context *context)
{
    SL_ASSERT(request);
    const sl_usage *u = &request->answer.usage;
    if (!u->known) {
        record_counted(request, m, context);
        return;
    }
    if (u->input >= 0) {
        sl_histogram_record_in(m->tokens_in, (double)u->input, context);
        sl_counter_add(m->input_total, (uint64_t)u->input);
    }
    if (u->output >= 0 && request->operation != SL_LLM_EMBEDDINGS) {
        sl_histogram_record_in(m->tokens_out, (double)u->output, context);
        sl_counter_add(m->output_total, (uint64_t)u->output);
    }
    if (u->cache_read > 0)
        sl_counter_add(m->cache_read_total, (uint64_t)u->cache_read);
    if (u->cache_write > 0)
        sl_counter_add(m->cache_write_total, (uint64_t)u->cache_write);
    if (u->reasoning > 0)
        sl_counter_add(m->reasoning_total, (uint64_t)u->reasoning);
}

/* The mean time between tokens of a stream: frames are counted where the number of tokens is not told. */
static void record_per_token(const sl_gw_request *request, const sl_gw_model_series *m, const sl_span_context *context)
{
    SL_ASSERT(request);
    int64_t tokens = request->answer.usage.known ? request->answer.usage.output : -1;
    if (tokens < 2)
        tokens = request->stream.frames;
    if (tokens >= 2)
        sl_histogram_record_in(
            m->per_token, SECONDS(request->stream.last_ns - request->stream.first_ns) / (double)(tokens - 1), context);
}

static sl_gw_model_series *record_success(sl_gw_request *request, sl_gw_bound *bound, double seconds,
                                          const sl_span_context *context)
{
    SL_ASSERT(request);
    sl_gw_telemetry *t = request->gateway->telemetry;
    sl_gw_model_series *m = sl_gw_bind_model(t, request, bound, sl_answer_model(&request->answer));
    sl_histogram_record_in(m->duration, seconds, context);
    sl_histogram_record_in(m->inference, seconds, context);
    if (request->stream.first_ns) {
        double first = SECONDS(request->stream.first_ns - request->call.start_ns);
        sl_histogram_record_in(m->first_token, first, context);
        sl_histogram_record_in(m->first_chunk, first, context);
        record_per_token(request, m, context);
    }
    record_tokens(request, m, context);
    return m;
}

sl_gw_model_series *sl_gw_record_attempt(sl_gw_request *request, uint64_t took_ns, const char *error_type)
{
    SL_ASSERT(request);
    sl_gw_telemetry *t = request->gateway->telemetry;
    sl_gw_bound *bound = sl_gw_bind_target(request);
    if (!bound)
        return NULL;
    sl_span_context context;
    sl_span_get_context(request->client_span, &context);
    double seconds = SECONDS(took_ns);
    sl_gw_error_series *outcome = sl_gw_bind_outcome(t, request, bound, error_type);
    sl_counter_add(outcome->attempts, 1);
    count_gap(request, error_type);
    sl_histogram_record_in(bound->latency, seconds, &context);
    if (!error_type)
        return record_success(request, bound, seconds, &context);
    sl_histogram_record_in(outcome->duration, seconds, &context);
    sl_histogram_record_in(outcome->inference, seconds, &context);
    if (request->stream.frames == 0)
        return NULL;
    sl_gw_model_series *m = sl_gw_bind_model(t, request, bound, sl_answer_model(&request->answer));
    record_tokens(request, m, &context);
    return m;
}

/* ---- requests ---- */

static void record_overhead(const sl_gw_telemetry *t, const sl_gw_request *request, uint64_t end_ns,
                            const sl_span_context *context)
{
    SL_ASSERT(request);
    if (!request->sent_ns || request->error_type || end_ns < request->upstream_end_ns)
        return;
    uint64_t before = request->sent_ns - request->start_ns;
    uint64_t after = end_ns - request->upstream_end_ns;
    uint64_t total = end_ns - request->start_ns;
    sl_histogram_record_in(t->overhead_request, SECONDS(before), NULL);
    sl_histogram_record_in(t->overhead_response, SECONDS(after), NULL);
    if (total >= request->waited_ns)
        sl_histogram_record_in(t->overhead_total, SECONDS(total - request->waited_ns), context);
}

#define ACCESS_ATTRS 10

/* The logger of a finished call knows status 200, model and provider already, encoded. */
static sl_logger *access_logger(const sl_gw_telemetry *t, const sl_gw_request *request)
{
    SL_ASSERT(t && request);
    const sl_gw_bound *bound = request->target ? request->target->bound[request->operation] : NULL;
    return bound && bound->logger && request->status == 200 ? bound->logger : t->logger;
}

/* What the logger does not know. Returns the number of attributes. */
static size_t access_attrs(const sl_gw_telemetry *t, const sl_gw_request *request, const sl_logger *logger,
                           uint64_t took_ns, sl_attr *attrs)
{
    SL_ASSERT(request && attrs);
    size_t n = 0;
    const sl_usage *u = &request->answer.usage;
    if (logger == t->logger) {
        attrs[n++] = sl_attr_int("http.response.status_code", request->status);
        if (request->group)
            attrs[n++] = sl_attr_of("model", sl_value_str(request->group->name));
        if (request->target)
            attrs[n++] = sl_attr_of("provider", sl_value_str(request->target->provider));
    }
    attrs[n++] = sl_attr_double("duration_ms", (double)(took_ns / 1000) / 1e3);
    if (request->stream.on)
        attrs[n++] = sl_attr_bool("stream", true);
    if (request->attempts > 1)
        attrs[n++] = sl_attr_int("attempts", request->attempts);
    if (u->known && u->input >= 0)
        attrs[n++] = sl_attr_int("input_tokens", u->input);
    if (u->known && u->output >= 0)
        attrs[n++] = sl_attr_int("output_tokens", u->output);
    attrs[n++] = sl_attr_int("bytes_out", (int64_t)request->bytes_out);
    if (request->error_type)
        attrs[n++] = sl_attr_str("error.type", request->error_type);
    SL_ASSERT(n <= ACCESS_ATTRS);
    return n;
}

static void write_access_record(sl_gw_telemetry *t, sl_gw_request *request, uint64_t took_ns,
                                const sl_span_context *context)
{
    SL_ASSERT(t);
    if (!sl_log_enabled(t->logger, SL_INFO))
        return;
    sl_attr attrs[ACCESS_ATTRS];
    sl_logger *logger = access_logger(t, request);
    size_t count = access_attrs(t, request, logger, took_ns, attrs);
    sl_log_record record = {.severity = SL_INFO,
                            .time_ns = sl_gw_wall_ns(request->gateway, request->start_ns + took_ns),
                            .body = sl_value_str(sl_gw_server_span_name(request, request->method)),
                            .attrs = attrs,
                            .attr_count = count,
                            .context = context};
    sl_log_emit(logger, &record);
}

sl_gw_status_series *sl_gw_record_request(sl_gw_request *request, uint64_t end_ns)
{
    SL_ASSERT(request);
    sl_gw_telemetry *t = request->gateway->telemetry;
    sl_span_context context;
    sl_span_get_context(request->server_span, &context);
    uint64_t took = end_ns - request->start_ns;
    const char *error = request->error_type;
    if (!error && request->status >= 500)
        error = sl_gw_status_text(request->status);
    sl_gw_status_series *s = sl_gw_bind_status(t, request->route, request->method, request->status, error);
    sl_histogram_record_in(s->duration, SECONDS(took), &context);
    sl_counter_add(s->requests, 1);
    sl_histogram_record_in(sl_gw_bind_route(t, request->route, request->method), SECONDS(took), &context);
    if (error || request->status >= 400)
        sl_counter_add(sl_gw_bind_error(t, error ? error : sl_gw_status_text(request->status)), 1);
    record_overhead(t, request, end_ns, &context);
    write_access_record(t, request, took, &context);
    return s;
}
