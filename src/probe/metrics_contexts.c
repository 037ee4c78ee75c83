/* Contexts and their sequences: how full they are. */
#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/base/str.h"
#include "src/probe/metrics_host.h"

#include <stdio.h>

#define AT_WORK_NS 60000000000u /* a sequence that changed within this time counts for the fullest */

sl_probe_host_context *sl_probe_host_context_of(sl_probe_metrics *metrics, uint32_t context)
{
    for (size_t i = 0; metrics && i < SL_PROBE_MAX_METRIC_CONTEXTS; i++) {
        if (metrics->contexts[i].id == context)
            return &metrics->contexts[i];
    }
    return NULL;
}

sl_probe_model_series *sl_probe_host_series(sl_probe_metrics *metrics, uint32_t context)
{
    SL_ASSERT(metrics);
    sl_probe_host_context *c = context ? sl_probe_host_context_of(metrics, context) : NULL;
    if (c)
        return c->series;
    if (!metrics->main_series)
        metrics->main_series = sl_probe_body_model(metrics->body, SL_STR(""));
    return metrics->main_series;
}

static sl_probe_model_series *series_of_model(sl_probe_metrics *m, uint32_t model)
{
    SL_ASSERT(m);
    for (size_t i = 0; model && i < SL_PROBE_MAX_METRIC_CONTEXTS; i++) {
        if (m->models[i].id == model)
            return m->models[i].series;
    }
    return sl_probe_body_model(m->body, SL_STR(""));
}

/* The label `context`: the place in the table, from 1. A host that makes one for each chat uses few places again and
 * again; its own running numbers would make new series for ever. */
static void put_label(const sl_probe_metrics *m, const sl_probe_host_context *c, char *ret_text, size_t size)
{
    SL_ASSERT(c >= m->contexts);
    snprintf(ret_text, size, "%u", (unsigned)(c - m->contexts) + 1);
}

static void bind_context(sl_probe_metrics *m, sl_probe_host_context *c)
{
    char id[12];
    put_label(m, c, id, sizeof id);
    const sl_attr labels[] = {sl_attr_str("host", m->number), sl_attr_str("context", id),
                              sl_attr_str("model", c->series->name)};
    c->size_series = sl_instrument_bind(m->body->metrics[SL_METRIC_LLAMACPP_CONTEXT_SIZE], labels, 3);
    c->tokens_series = sl_instrument_bind(m->body->metrics[SL_METRIC_LLAMACPP_CONTEXT_TOKENS], labels, 3);
    sl_gauge_set(c->size_series, (int64_t)c->size);
    sl_gauge_set(c->tokens_series, 0);
}

void sl_probe_metrics_context(sl_probe_metrics *metrics, const sl_probe_context_info *info)
{
    SL_ASSERT(info);
    sl_probe_host_context *c = metrics && info->context ? sl_probe_host_context_of(metrics, 0) : NULL;
    sl_probe_model_series *series = c ? series_of_model(metrics, info->model) : NULL;
    if (!series)
        return;
    bool known = info->n_seq_max > 0;
    uint32_t count = known ? (uint32_t)info->n_seq_max : SL_PROBE_MAX_METRIC_SEQUENCES;
    if (count > SL_PROBE_MAX_METRIC_SEQUENCES)
        count = SL_PROBE_MAX_METRIC_SEQUENCES;
    sl_probe_host_sequence *sequences = sl_calloc(count, sizeof *sequences);
    if (!sequences)
        return;
    *c = (sl_probe_host_context){.id = info->context, .series = series, .sequences = sequences};
    c->sequence_count = count;
    c->size = info->n_ctx > 0 ? (uint64_t)info->n_ctx : 0;
    c->count_known = known;
    c->sequence_tokens = info->n_ctx_seq > 0 ? (uint32_t)info->n_ctx_seq : 0;
    metrics->body->capacity_tokens += c->size;
    bind_context(metrics, c);
    if (!metrics->main_model) {
        metrics->main_model = info->model;
        metrics->main_series = series;
    }
}

/* Moves the totals by what a sequence has more, or less, than before. */
static void move_tokens(sl_probe_metrics *m, sl_probe_host_context *c, sl_probe_host_sequence *s, uint32_t tokens)
{
    SL_ASSERT(c->tokens >= s->tokens && m->body->used_tokens >= s->tokens);
    c->tokens += tokens - (uint64_t)s->tokens;
    m->body->used_tokens += tokens - (uint64_t)s->tokens;
    m->body->gathered.kv_tokens += (int64_t)tokens - (int64_t)s->tokens;
    s->tokens = tokens;
    s->dirty = c->dirty = true;
}

static void bind_sequence(sl_probe_metrics *m, const sl_probe_host_context *c, sl_probe_host_sequence *s)
{
    SL_ASSERT(s >= c->sequences && s < c->sequences + c->sequence_count);
    char id[12], number[12];
    put_label(m, c, id, sizeof id);
    snprintf(number, sizeof number, "%u", (unsigned)(s - c->sequences));
    const sl_attr labels[] = {sl_attr_str("host", m->number), sl_attr_str("context", id),
                              sl_attr_str("sequence", number)};
    s->used = sl_instrument_bind(m->body->metrics[SL_METRIC_LLAMACPP_SEQUENCE_TOKENS], labels, 3);
    s->ratio = sl_instrument_bind(m->body->metrics[SL_METRIC_LLAMACPP_SEQUENCE_RATIO], labels, 3);
}

/* Before libraries said what one sequence can hold, they shared the context in equal parts. */
static double share_of(const sl_probe_host_context *c, const sl_probe_host_sequence *s)
{
    uint32_t sharing = c->count_known ? c->sequence_count : c->sequences_seen;
    double room = c->sequence_tokens ? (double)c->sequence_tokens : (double)c->size / (sharing ? sharing : 1);
    return room > 0 ? (double)s->tokens / room : 0;
}

static void show_sequence(sl_probe_metrics *m, const sl_probe_host_context *c, sl_probe_host_sequence *s)
{
    if (!s->used && !s->ratio)
        bind_sequence(m, c, s);
    sl_gauge_set(s->used, s->tokens);
    sl_gauge_set_double(s->ratio, share_of(c, s));
    s->dirty = false;
}

static void show_context(sl_probe_metrics *m, sl_probe_host_context *c)
{
    SL_ASSERT(c->id);
    for (size_t i = 0; i < c->sequence_count; i++) {
        if (c->sequences[i].dirty)
            show_sequence(m, c, &c->sequences[i]);
    }
    sl_gauge_set(c->tokens_series, (int64_t)c->tokens);
    c->dirty = false;
}

void sl_probe_host_context_clear(sl_probe_metrics *metrics, sl_probe_host_context *context)
{
    SL_ASSERT(metrics && context->id);
    for (size_t i = 0; i < context->sequence_count; i++) {
        if (context->sequences[i].tokens)
            move_tokens(metrics, context, &context->sequences[i], 0);
    }
    show_context(metrics, context);
    sl_gauge_set(context->size_series, 0);
    SL_ASSERT(metrics->body->capacity_tokens >= context->size);
    metrics->body->capacity_tokens -= context->size;
    sl_free(context->sequences);
    *context = (sl_probe_host_context){.id = 0};
}

void sl_probe_metrics_context_freed(sl_probe_metrics *metrics, uint32_t context)
{
    sl_probe_host_context *c = context ? sl_probe_host_context_of(metrics, context) : NULL;
    if (c)
        sl_probe_host_context_clear(metrics, c);
}

void sl_probe_metrics_sequence(sl_probe_metrics *metrics, uint32_t context, int32_t sequence, uint32_t tokens)
{
    sl_probe_host_context *c = context ? sl_probe_host_context_of(metrics, context) : NULL;
    if (!c || sequence < 0 || (uint32_t)sequence >= c->sequence_count)
        return;
    sl_probe_host_sequence *s = &c->sequences[sequence];
    if ((uint32_t)sequence >= c->sequences_seen)
        c->sequences_seen = (uint32_t)sequence + 1;
    s->changed_ns = metrics->body->now_ns;
    if (s->tokens == tokens)
        return;
    move_tokens(metrics, c, s, tokens);
    if (tokens <= metrics->body->largest_sequence)
        return;
    sl_counter_add(metrics->body->tokens_max.colon, tokens - metrics->body->largest_sequence);
    sl_gauge_set(metrics->body->tokens_max.plain, tokens);
    metrics->body->largest_sequence = tokens;
}

void sl_probe_host_contexts_tick(sl_probe_metrics *metrics, uint64_t now_ns)
{
    SL_ASSERT(metrics);
    double fullest = 0;
    for (size_t i = 0; i < SL_PROBE_MAX_METRIC_CONTEXTS; i++) {
        sl_probe_host_context *c = &metrics->contexts[i];
        if (!c->id)
            continue;
        if (c->dirty)
            show_context(metrics, c);
        for (size_t n = 0; n < c->sequence_count; n++) {
            const sl_probe_host_sequence *s = &c->sequences[n];
            bool at_work = s->tokens && (now_ns < s->changed_ns || now_ns - s->changed_ns < AT_WORK_NS);
            if (at_work && share_of(c, s) > fullest)
                fullest = share_of(c, s);
        }
    }
    metrics->context_use = fullest;
}

void sl_probe_metrics_sequence_op(sl_probe_metrics *metrics, sl_probe_seq_op op, uint64_t bytes)
{
    static const char *const names[] = {"remove", "copy", "keep", "shift", "divide", "clear", "save", "load"};
    _Static_assert(sizeof names / sizeof *names == SL_PROBE_SEQ_LOAD + 1, "a name for each operation");
    if (!metrics || (unsigned)op > SL_PROBE_SEQ_LOAD)
        return;
    const sl_attr label = sl_attr_str("operation", names[op]);
    sl_counter_add(sl_instrument_bind(metrics->body->metrics[SL_METRIC_LLAMACPP_SEQUENCE_OPERATIONS], &label, 1), 1);
    if (bytes)
        sl_counter_add(sl_instrument_bind(metrics->body->metrics[SL_METRIC_LLAMACPP_STATE_BYTES], &label, 1), bytes);
}
