/*
 * A CLIENT span for each call, and the GenAI metrics, as the gateway records them for the calls that pass through it.
 *
 * Prompt text only where LOG_QUERIES or OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT ask for it, cut and masked;
 * the provider's words about a failure never: they may quote the prompt.
 */
#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/llm/client_impl.h"
#include "src/telemetry/env.h"
#include "src/wire/http1_write.h"
#include "src/wire/redact.h"

#define SECONDS(ns) ((double)(ns) / 1e9)
#define ATTRS_MAX 12
#define PROMPT_BYTES 4096u

#define SET_STR(span, key, value) sl_span_set(span, SL_STR(key), sl_value_str(value))
#define SET_INT(span, key, value) sl_span_set(span, SL_STR(key), sl_value_int((int64_t)(value)))

static const sl_metric_id wanted[] = {
    SL_METRIC_GEN_AI_CLIENT_OPERATION_DURATION,          SL_METRIC_GEN_AI_CLIENT_TOKEN_USAGE,
    SL_METRIC_GEN_AI_SERVER_TIME_TO_FIRST_TOKEN,         SL_METRIC_GEN_AI_SERVER_TIME_PER_OUTPUT_TOKEN,
    SL_METRIC_GEN_AI_CLIENT_INFERENCE_DURATION,          SL_METRIC_GEN_AI_CLIENT_INFERENCE_TIME_TO_FIRST_CHUNK,
    SL_METRIC_GEN_AI_CLIENT_INFERENCE_INPUT_TOKENS,      SL_METRIC_GEN_AI_CLIENT_INFERENCE_OUTPUT_TOKENS,
    SL_METRIC_GEN_AI_CLIENT_INFERENCE_CACHE_READ_TOKENS, SL_METRIC_GEN_AI_CLIENT_INFERENCE_CACHE_WRITE_TOKENS,
    SL_METRIC_GEN_AI_CLIENT_INFERENCE_REASONING_TOKENS,
};

void sl_llm_telemetry_init(sl_llm_client *client, sl_sdk *sdk)
{
    SL_ASSERT(client && sdk);
    static const sl_env env;
    sl_scope_options scope = {.name = SL_STR("sightline.llm"), .version = sl_str_c(sl_version())};
    client->sdk = sdk;
    client->tracer = sl_tracer_get(sdk, &scope);
    client->vocabularies = sl_vocab_mask_env();
    client->capture = sl_env_bool(&env, SL_VAR_LOG_QUERIES, false) ||
                      sl_env_bool(&env, SL_VAR_OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT, false);
    sl_meter *meter = sl_meter_named(sdk, "sightline.llm");
    for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++)
        client->metrics[wanted[i]] = sl_metric_declare_in(meter, wanted[i], client->vocabularies);
}

/* ---- the span ---- */

/* "chat gpt-4o" */
static sl_str span_name(const sl_llm_call *call, char *text, size_t size)
{
    SL_ASSERT(call && size > 64);
    sl_str operation = sl_str_c(sl_llm_operation_name(call->operation));
    sl_str model = call->model;
    model.len = sl_utf8_prefix(model, size - operation.len - 1);
    SL_ASSERT(operation.ptr && operation.len);
    memcpy(text, operation.ptr, operation.len);
    text[operation.len] = ' ';
    if (model.len)
        memcpy(text + operation.len + 1, model.ptr, model.len);
    return sl_str_of(text, operation.len + 1 + model.len);
}

static size_t start_attrs(const sl_llm_call *call, sl_attr *attrs)
{
    SL_ASSERT(call && call->origin);
    size_t n = 0;
    attrs[n++] = sl_attr_str("gen_ai.operation.name", sl_llm_operation_name(call->operation));
    attrs[n++] = sl_attr_of("gen_ai.provider.name", sl_value_str(call->provider));
    attrs[n++] = sl_attr_of("gen_ai.request.model", sl_value_str(call->model));
    attrs[n++] = sl_attr_of("server.address", sl_value_str(sl_origin_host(call->origin)));
    attrs[n++] = sl_attr_int("server.port", sl_origin_port(call->origin));
    attrs[n++] = sl_attr_of("gen_ai.system", sl_value_str(call->provider));
    attrs[n++] = sl_attr_of("llm.model", sl_value_str(call->model));
    attrs[n++] = sl_attr_of("llm.provider", sl_value_str(call->provider));
    attrs[n++] = sl_attr_str("http.request.method", "POST");
    if (!sl_str_eq(call->asked, call->model))
        attrs[n++] = sl_attr_of("sightline.upstream.model", sl_value_str(call->asked));
    SL_ASSERT(n <= ATTRS_MAX);
    return n;
}

static void set_prompt(sl_span *span, const sl_llm_request *request)
{
    SL_ASSERT(request);
    sl_buf text, masked;
    sl_buf_init(&text, 16 * PROMPT_BYTES);
    sl_buf_init(&masked, 8 * PROMPT_BYTES);
    const json_t *value = request->messages ? request->messages : request->input;
    if (value)
        (void)sl_json_put_value(&text, value);
    else
        (void)sl_buf_put_str(&text, sl_str_sub(request->prompt, 0, 2 * PROMPT_BYTES));
    sl_str whole = sl_buf_str(&text);
    whole.len = sl_utf8_whole(whole);
    if (sl_redact_beginning(whole, PROMPT_BYTES, &masked) == 0)
        SET_STR(span, "gen_ai.prompt", sl_buf_str(&masked));
    sl_buf_done(&text);
    sl_buf_done(&masked);
}

void sl_llm_trace_start(sl_llm_call *call, const sl_llm_request *request)
{
    SL_ASSERT(call && request && !call->span);
    sl_llm_client *client = call->client;
    if (!client->sdk)
        return;
    sl_attr attrs[ATTRS_MAX];
    char name[SL_OPENAI_MODEL_MAX + 24];
    sl_span_options options = {.kind = SL_SPAN_CLIENT, .parent = request->parent, .attrs = attrs};
    options.attr_count = start_attrs(call, attrs);
    sl_span *span = sl_span_start(client->tracer, span_name(call, name, sizeof name), &options);
    call->span = span;
    if (!sl_span_is_recording(span))
        return;
    if (request->has_temperature)
        sl_span_set(span, SL_STR("gen_ai.request.temperature"), sl_value_double(request->temperature));
    if (request->max_tokens)
        SET_INT(span, "gen_ai.request.max_tokens", request->max_tokens);
    if (call->stream)
        sl_span_set(span, SL_STR("gen_ai.request.stream"), sl_value_bool(true));
    if (SL_UNLIKELY(client->capture))
        set_prompt(span, request);
}

static void put_header(void *user, sl_str name, sl_str value)
{
    (void)sl_http1_put_field(user, name, value);
}

void sl_llm_trace_inject(sl_llm_call *call, sl_buf *head)
{
    SL_ASSERT(call && head);
    if (call->span)
        sl_propagation_inject(call->client->sdk, call->span, NULL, put_header, head);
}

void sl_llm_trace_first(sl_llm_call *call)
{
    SL_ASSERT(call && call->first_ns);
    if (sl_span_is_recording(call->span))
        sl_span_add_event(call->span, SL_STR("gen_ai.first_token"), sl_now_ns(), NULL, 0);
}

static void set_tokens(sl_span *span, const sl_usage *u)
{
    SL_ASSERT(u);
    if (!u->known)
        return;
    if (u->input >= 0) {
        SET_INT(span, "gen_ai.usage.input_tokens", u->input);
        SET_INT(span, "gen_ai.usage.prompt_tokens", u->input);
        SET_INT(span, "llm.tokens.prompt", u->input);
    }
    if (u->output >= 0) {
        SET_INT(span, "gen_ai.usage.output_tokens", u->output);
        SET_INT(span, "gen_ai.usage.completion_tokens", u->output);
        SET_INT(span, "llm.tokens.completion", u->output);
    }
    if (u->cache_read >= 0)
        SET_INT(span, "gen_ai.usage.cache_read.input_tokens", u->cache_read);
    if (u->cache_write >= 0)
        SET_INT(span, "gen_ai.usage.cache_write.input_tokens", u->cache_write);
    if (u->reasoning >= 0)
        SET_INT(span, "gen_ai.usage.reasoning.output_tokens", u->reasoning);
    sl_span_set(span, SL_STR("sightline.usage.source"), sl_value_cstr("reported"));
}

static void set_answer(sl_span *span, const sl_llm_call *call)
{
    SL_ASSERT(call);
    if (call->id[0])
        SET_STR(span, "gen_ai.response.id", sl_str_c(call->id));
    if (call->answered[0])
        SET_STR(span, "gen_ai.response.model", sl_str_c(call->answered));
    if (call->reason[0]) {
        sl_value reason = sl_value_cstr(call->reason);
        sl_span_set(span, SL_STR("gen_ai.response.finish_reasons"), sl_value_array(&reason, 1));
    }
    if (call->status) {
        SET_INT(span, "http.response.status_code", call->status);
        SET_INT(span, "http.status_code", call->status);
    }
    if (call->first_ns)
        sl_span_set(span, SL_STR("gen_ai.response.time_to_first_chunk"),
                    sl_value_double(SECONDS(call->first_ns - call->start_ns)));
    set_tokens(span, &call->tokens);
}

/* ---- metrics ---- */

typedef struct labels {
    sl_attr attrs[ATTRS_MAX];
    size_t count;
} labels;

static labels labels_of(const sl_llm_call *call, const char *error_type)
{
    SL_ASSERT(call);
    labels l = {.count = 5};
    (void)start_attrs(call, l.attrs); /* of which the first five are labels */
    if (call->answered[0])
        l.attrs[l.count++] = sl_attr_str("gen_ai.response.model", call->answered);
    if (error_type)
        l.attrs[l.count++] = sl_attr_str("error.type", error_type);
    return l;
}

/* Binding costs a look-up; next to a call to a provider it does not count. */
static sl_series *series(const sl_llm_call *call, sl_metric_id id, labels l, const char *key, const char *value)
{
    SL_ASSERT(l.count < ATTRS_MAX);
    sl_instrument *instrument = call->client->metrics[id];
    if (!instrument)
        return NULL;
    if (key)
        l.attrs[l.count++] = sl_attr_str(key, value);
    return sl_instrument_bind(instrument, l.attrs, l.count);
}

static void record_total(const sl_llm_call *call, sl_metric_id id, labels l, int64_t tokens)
{
    if (tokens > 0)
        sl_counter_add(series(call, id, l, "gen_ai.token.modality", "text"), (uint64_t)tokens);
}

static void record_tokens(const sl_llm_call *call, labels l, const sl_span_context *context)
{
    SL_ASSERT(call);
    static const char type[] = "gen_ai.token.type";
    const sl_usage *u = &call->tokens;
    bool chat = call->operation != SL_LLM_EMBEDDINGS;
    if (!u->known)
        return;
    if (u->input >= 0)
        sl_histogram_record_in(series(call, SL_METRIC_GEN_AI_CLIENT_TOKEN_USAGE, l, type, "input"), (double)u->input,
                               context);
    if (u->output >= 0 && chat)
        sl_histogram_record_in(series(call, SL_METRIC_GEN_AI_CLIENT_TOKEN_USAGE, l, type, "output"), (double)u->output,
                               context);
    if (!chat)
        return;
    record_total(call, SL_METRIC_GEN_AI_CLIENT_INFERENCE_INPUT_TOKENS, l, u->input);
    record_total(call, SL_METRIC_GEN_AI_CLIENT_INFERENCE_OUTPUT_TOKENS, l, u->output);
    record_total(call, SL_METRIC_GEN_AI_CLIENT_INFERENCE_CACHE_READ_TOKENS, l, u->cache_read);
    record_total(call, SL_METRIC_GEN_AI_CLIENT_INFERENCE_CACHE_WRITE_TOKENS, l, u->cache_write);
    record_total(call, SL_METRIC_GEN_AI_CLIENT_INFERENCE_REASONING_TOKENS, l, u->reasoning);
}

static void record_stream(const sl_llm_call *call, labels l, const sl_span_context *context)
{
    SL_ASSERT(call);
    if (!call->first_ns)
        return;
    double first = SECONDS(call->first_ns - call->start_ns);
    sl_histogram_record_in(series(call, SL_METRIC_GEN_AI_SERVER_TIME_TO_FIRST_TOKEN, l, NULL, NULL), first, context);
    sl_histogram_record_in(series(call, SL_METRIC_GEN_AI_CLIENT_INFERENCE_TIME_TO_FIRST_CHUNK, l, NULL, NULL), first,
                           context);
    int64_t tokens = call->tokens.known && call->tokens.output >= 2 ? call->tokens.output : call->pieces;
    if (tokens >= 2)
        sl_histogram_record_in(series(call, SL_METRIC_GEN_AI_SERVER_TIME_PER_OUTPUT_TOKEN, l, NULL, NULL),
                               SECONDS(call->last_ns - call->first_ns) / (double)(tokens - 1), context);
}

static void record(const sl_llm_call *call, const char *error_type, uint64_t took_ns)
{
    SL_ASSERT(call && call->client->sdk);
    sl_span_context context;
    sl_span_get_context(call->span, &context);
    bool inference = call->operation != SL_LLM_EMBEDDINGS;
    labels l = labels_of(call, error_type);
    if (!inference || sl_vocab_is_on(call->client->vocabularies, SL_VOCAB_GEN_AI_G2))
        sl_histogram_record_in(series(call, SL_METRIC_GEN_AI_CLIENT_OPERATION_DURATION, l, NULL, NULL),
                               SECONDS(took_ns), &context);
    if (inference)
        sl_histogram_record_in(series(call, SL_METRIC_GEN_AI_CLIENT_INFERENCE_DURATION, l, NULL, NULL),
                               SECONDS(took_ns), &context);
    labels plain = labels_of(call, NULL);
    record_tokens(call, plain, &context);
    if (!error_type)
        record_stream(call, plain, &context);
}

void sl_llm_trace_end(sl_llm_call *call, const char *error_type, uint64_t took_ns)
{
    SL_ASSERT(call);
    if (!call->client->sdk)
        return;
    record(call, error_type, took_ns);
    sl_span *span = call->span;
    call->span = NULL;
    if (sl_span_is_recording(span)) {
        set_answer(span, call);
        if (error_type) {
            SET_STR(span, "error.type", sl_str_c(error_type));
            sl_span_set_status(span, SL_STATUS_ERROR, error_type);
        }
    }
    sl_span_end(span);
}
