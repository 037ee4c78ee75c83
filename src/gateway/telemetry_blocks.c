/* What is the same for many spans: encoded once for a target, a status, an answer. */
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/gateway/telemetry_bind.h"

/* ---- targets ---- */

size_t sl_gw_attempt_attrs(const sl_gw_request *request, sl_attr *attrs)
{
    SL_ASSERT(request && attrs);
    const sl_gw_target *target = request->target;
    size_t n = 0;
    attrs[n++] = sl_attr_str("gen_ai.operation.name", sl_llm_operation_name(request->operation));
    attrs[n++] = sl_attr_of("gen_ai.provider.name", sl_value_str(target->provider));
    attrs[n++] = sl_attr_of("gen_ai.request.model", sl_value_str(request->group->name));
    attrs[n++] = sl_attr_of("server.address", sl_value_str(sl_origin_host(target->origin)));
    attrs[n++] = sl_attr_int("server.port", sl_origin_port(target->origin));
    attrs[n++] = sl_attr_of("gen_ai.system", sl_value_str(target->provider));
    attrs[n++] = sl_attr_of("llm.model", sl_value_str(request->group->name));
    attrs[n++] = sl_attr_of("llm.provider", sl_value_str(target->provider));
    attrs[n++] = sl_attr_str("http.request.method", "POST");
    if (target->model_json.len)
        attrs[n++] = sl_attr_of("sightline.upstream.model", sl_value_str(target->deployment->upstream_model));
    SL_ASSERT(n <= SL_SPAN_BLOCK_ATTRS);
    return n;
}

static sl_span_block *make_routed(const sl_gw_request *request)
{
    SL_ASSERT(request);
    sl_attr attrs[4] = {sl_attr_of("llm.model", sl_value_str(request->group->name)),
                        sl_attr_of("llm.provider", sl_value_str(request->target->provider)),
                        sl_attr_str("gen_ai.operation.name", sl_llm_operation_name(request->operation)),
                        sl_attr_of("gen_ai.request.model", sl_value_str(request->group->name))};
    return sl_span_block_new(attrs, 4);
}

static sl_logger *make_logger(sl_gw_telemetry *t, const sl_gw_request *request)
{
    SL_ASSERT(t && request);
    sl_attr attrs[3] = {sl_attr_int("http.response.status_code", 200),
                        sl_attr_of("model", sl_value_str(request->group->name)),
                        sl_attr_of("provider", sl_value_str(request->target->provider))};
    return sl_logger_with(t->logger, attrs, 3);
}

/* "chat claude-haiku" */
static void make_span_name(const sl_gw_request *request, char *text, size_t size)
{
    SL_ASSERT(request && text);
    sl_str op = sl_str_c(sl_llm_operation_name(request->operation));
    sl_str model = request->group->name;
    SL_ASSERT(op.ptr && op.len + 2 < size);
    size_t room = size - op.len - 2;
    if (model.len > room)
        model.len = sl_utf8_prefix(model, room);
    memcpy(text, op.ptr, op.len);
    text[op.len] = ' ';
    memcpy(text + op.len + 1, model.ptr, model.len);
    text[op.len + 1 + model.len] = 0;
}

void sl_gw_bound_fill(sl_gw_bound *bound, const sl_gw_request *request)
{
    SL_ASSERT(bound && request);
    sl_attr attrs[SL_SPAN_BLOCK_ATTRS];
    make_span_name(request, bound->span_name, sizeof bound->span_name);
    bound->attempt = sl_span_block_new(attrs, sl_gw_attempt_attrs(request, attrs));
    bound->routed = make_routed(request);
    bound->logger = make_logger(request->gateway->telemetry, request);
}

void sl_gw_bound_free(sl_gw_bound *bound)
{
    if (!bound)
        return;
    for (unsigned i = 0; i < bound->model_count; i++) {
        for (unsigned k = 0; k < bound->models[i].answer_count; k++)
            sl_span_block_free(bound->models[i].answers[k].block);
    }
    sl_span_block_free(bound->routed);
    sl_span_block_free(bound->attempt);
    sl_logger_free(bound->logger);
    sl_free(bound);
}

/* ---- ends ---- */

sl_span_block *sl_gw_status_block(int status, const char *error_type)
{
    SL_ASSERT(status >= 0);
    sl_attr attrs[3] = {sl_attr_int("http.response.status_code", status), sl_attr_int("http.status_code", status)};
    if (error_type)
        attrs[2] = sl_attr_str("error.type", error_type);
    return sl_span_block_new(attrs, error_type ? 3 : 2);
}

/* ---- answers ---- */

#define ANSWER_ATTRS 4

/* `reasons` has room for SL_ANSWER_REASONS; the attributes point to it. */
static size_t answer_attrs(const sl_answer *answer, int status, sl_value *reasons, sl_attr *attrs)
{
    SL_ASSERT(answer && reasons && attrs);
    size_t n = 0;
    if (answer->model_len)
        attrs[n++] = sl_attr_of("gen_ai.response.model", sl_value_str(sl_answer_model(answer)));
    for (unsigned i = 0; i < answer->reason_count; i++)
        reasons[i] = sl_value_cstr(answer->reasons[i][0] ? answer->reasons[i] : "error");
    if (answer->reason_count)
        attrs[n++] = sl_attr_of("gen_ai.response.finish_reasons", sl_value_array(reasons, answer->reason_count));
    if (status) {
        attrs[n++] = sl_attr_int("http.response.status_code", status);
        attrs[n++] = sl_attr_int("http.status_code", status);
    }
    SL_ASSERT(n <= ANSWER_ATTRS);
    return n;
}

/* The block of such an answer; NULL: none yet. */
static const sl_span_block *find_answer(const sl_gw_model_series *model, const char *reason, int status)
{
    SL_ASSERT(model && reason);
    for (unsigned i = 0; i < model->answer_count; i++) {
        if (model->answers[i].status == status && strcmp(model->answers[i].reason, reason) == 0)
            return model->answers[i].block;
    }
    return NULL;
}

/* True for an answer that many others may be like: of the model itself, and with one choice at most. */
static bool is_common(const sl_answer *answer, const sl_gw_model_series *model)
{
    SL_ASSERT(answer);
    if (!model || answer->reason_count > 1 || (answer->reason_count && !answer->reasons[0][0]))
        return false;
    return sl_str_eq(sl_str_of(model->model, model->len), sl_answer_model(answer));
}

void sl_gw_set_answer(sl_span *span, const sl_answer *answer, sl_gw_model_series *model, int status)
{
    SL_ASSERT(span && answer);
    bool common = is_common(answer, model);
    const char *reason = answer->reason_count ? answer->reasons[0] : "";
    const sl_span_block *known = common ? find_answer(model, reason, status) : NULL;
    if (SL_LIKELY(known != NULL)) {
        sl_span_set_block(span, known);
        return;
    }
    sl_value reasons[SL_ANSWER_REASONS];
    sl_attr attrs[ANSWER_ATTRS];
    size_t count = answer_attrs(answer, status, reasons, attrs);
    for (size_t i = 0; i < count; i++)
        sl_span_set(span, attrs[i].key, attrs[i].value);
    if (!common || model->answer_count == SL_GW_BOUND_ANSWERS)
        return;
    sl_gw_answer_block *a = &model->answers[model->answer_count];
    a->block = sl_span_block_new(attrs, count);
    if (!a->block)
        return;
    a->status = status;
    memcpy(a->reason, reason, strlen(reason) + 1);
    model->answer_count++;
}
