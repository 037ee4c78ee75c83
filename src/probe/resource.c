/* Models, contexts, and the memory they take: their spans, and what the metrics are told. */
#include "src/probe/seq_memory.h"

#define HELD_NS 5000000000u /* so long it is left open whether a model was loaded for measuring only */

static bool text_take(sl_str *rest, char *buffer, size_t size)
{
    size_t end = sl_str_chr(*rest, '\0');
    sl_str text = end == SL_NPOS ? *rest : sl_str_sub(*rest, 0, end);
    *rest = end == SL_NPOS ? sl_str_of(NULL, 0) : sl_str_sub(*rest, end + 1, SL_NPOS);
    return sl_str_to_c(sl_str_sub(text, 0, sl_utf8_prefix(text, size - 1)), buffer, size);
}

/* ---- models ---- */

static sl_track_model *model_find(sl_probe_assembler *a, uint32_t id)
{
    for (size_t i = 0; id && i < SL_PROBE_MAX_MODELS; i++) {
        if (a->models[i] && a->models[i]->id == id)
            return a->models[i];
    }
    return NULL;
}

static void tell_model(sl_probe_assembler *a, sl_track_model *model)
{
    SL_ASSERT(model);
    if (model->told)
        return;
    model->told = true;
    sl_span_context context = {0};
    if (model->span)
        sl_span_get_context(model->span, &context);
    sl_probe_model_info info = {.model = model->id,
                                .path = sl_str_c(model->path),
                                .description = sl_str_c(model->description),
                                .duration_ns = sl_track_span_of(model->start_ns, model->load_end_ns),
                                .size_bytes = model->size_bytes,
                                .n_params = model->n_params,
                                .failed = model->failed,
                                .dry_run = model->dry,
                                .found = model->found,
                                .span = &context};
    sl_probe_metrics_model(a->metrics, &info);
    if (!model->dry && model->mmap_bytes)
        sl_probe_metrics_memory(a->metrics, SL_PROBE_MEMORY_WEIGHTS, SL_STR("mmap"), (int64_t)model->mmap_bytes);
}

/* Now it is known what kind of load it was. */
static void model_settle(sl_probe_assembler *a, sl_track_model *model, bool dry)
{
    SL_ASSERT(model);
    if (!model->span && model->told)
        return;
    model->dry |= dry;
    tell_model(a, model);
    if (model->dry)
        sl_span_set_bool(model->span, "llama.dry_run", true);
    if (model->failed)
        sl_span_set_status(model->span, SL_STATUS_ERROR, "the model could not be loaded");
    sl_span_end_at(model->span, sl_track_unix(a, model->load_end_ns));
    model->span = NULL;
}

static void model_drop(sl_probe_assembler *a, sl_track_model *model)
{
    for (size_t i = 0; i < SL_PROBE_MAX_MODELS; i++) {
        if (a->models[i] == model)
            a->models[i] = NULL;
    }
    if (!model->dry && model->mmap_bytes && model->told)
        sl_probe_metrics_memory(a->metrics, SL_PROBE_MEMORY_WEIGHTS, SL_STR("mmap"), -(int64_t)model->mmap_bytes);
    if (!model->failed && !model->dry)
        sl_probe_metrics_model_freed(a->metrics, model->id);
    sl_free(model);
}

static void set_count(sl_span *span, const char *key, int64_t value)
{
    if (value >= 0)
        sl_span_set_int(span, key, value);
}

/* "llama 7B Q4_K - Medium": what stands behind the size; "(guessed) all F32" is F32. */
static void set_quantisation(sl_span *span, const char *description)
{
    static const sl_str fillers[] = {{"(guessed) ", 10}, {"all ", 4}};
    sl_str rest = sl_str_c(description), word;
    if (!sl_str_split(&rest, ' ', &word) || !rest.ptr || !sl_str_split(&rest, ' ', &word) || !rest.ptr)
        return;
    for (size_t i = 0; i < sizeof fillers / sizeof *fillers; i++) {
        if (sl_str_starts(rest, fillers[i]))
            rest = sl_str_sub(rest, fillers[i].len, SL_NPOS);
    }
    if (rest.len)
        sl_span_set(span, SL_STR("model.quantization"), sl_value_str(rest));
}

static void open_model(sl_probe_assembler *a, sl_track_model *model, const sl_probe_model_load *event)
{
    sl_span_options options = {.root = true, .start_ns = sl_track_unix(a, event->start_ns)};
    sl_span *span = model->span = sl_span_start(a->tracer, SL_STR("llama_model_load"), &options);
    sl_track_set_host(a, span);
    sl_span_set_str(span, "model.path", model->path);
    if (model->description[0]) {
        sl_span_set_str(span, "model.description", model->description);
        set_quantisation(span, model->description);
    }
    if (event->n_params)
        sl_span_set_int(span, "n_params", (int64_t)event->n_params);
    if (event->size_bytes)
        sl_span_set_int(span, "model.size_bytes", (int64_t)event->size_bytes);
    sl_span_set_int(span, "model.weights_bytes", (int64_t)event->weights_bytes);
    set_count(span, "model.n_ctx_train", event->n_ctx_train);
    set_count(span, "model.n_layer", event->n_layer);
    set_count(span, "model.n_embd", event->n_embd);
    sl_span_set_int(span, "split_count", event->splits);
    if (event->head.flags & SL_PROBE_MODEL_FLAGS_KNOWN) {
        sl_span_set_bool(span, "use_mmap", event->head.flags & SL_PROBE_MODEL_MMAP);
        sl_span_set_bool(span, "vocab_only", event->head.flags & SL_PROBE_MODEL_VOCAB_ONLY);
    }
}

void sl_track_model_load(sl_probe_assembler *a, const sl_probe_model_load *event)
{
    SL_ASSERT(a && event);
    size_t slot = 0;
    while (slot < SL_PROBE_MAX_MODELS && a->models[slot])
        slot++;
    sl_track_model *model = slot < SL_PROBE_MAX_MODELS ? sl_calloc(1, sizeof *model) : NULL;
    if (!model) {
        a->stats.left_out++;
        return;
    }
    sl_str text = sl_str_of((const char *)(event + 1), event->head.count);
    (void)text_take(&text, model->path, sizeof model->path);
    (void)text_take(&text, model->description, sizeof model->description);
    model->id = event->model;
    model->start_ns = event->start_ns;
    model->load_end_ns = event->head.time_ns;
    model->size_bytes = event->size_bytes;
    model->n_params = event->n_params;
    model->failed = event->head.flags & SL_PROBE_MODEL_FAILED;
    model->found = event->head.flags & SL_PROBE_MODEL_FOUND;
    if ((event->head.flags & SL_PROBE_MODEL_MMAP) && event->size_bytes > event->weights_bytes && !model->failed)
        model->mmap_bytes = event->size_bytes - event->weights_bytes;
    a->models[slot] = model;
    if (model->found) {
        tell_model(a, model);
        return;
    }
    open_model(a, model, event);
    if (model->failed) {
        model_settle(a, model, false);
        model_drop(a, model);
    } else if (event->head.flags & (SL_PROBE_MODEL_NO_ALLOC | SL_PROBE_MODEL_VOCAB_ONLY)) {
        model_settle(a, model, event->head.flags & SL_PROBE_MODEL_NO_ALLOC);
    }
}

void sl_track_model_free(sl_probe_assembler *a, const sl_probe_model_free *event)
{
    SL_ASSERT(a && event);
    sl_track_model *model = model_find(a, event->model);
    if (!model)
        return;
    model_settle(a, model, false);
    model_drop(a, model);
}

void sl_track_models_age(sl_probe_assembler *a, uint64_t now_ns)
{
    SL_ASSERT(a);
    for (size_t i = 0; i < SL_PROBE_MAX_MODELS; i++) {
        sl_track_model *model = a->models[i];
        if (model && model->span && sl_track_span_of(model->load_end_ns, now_ns) > HELD_NS)
            model_settle(a, model, false);
    }
}

/* ---- contexts ---- */

sl_track_context *sl_track_context_find(sl_probe_assembler *a, uint32_t id)
{
    SL_ASSERT(a);
    for (size_t i = 0; i < SL_PROBE_MAX_CONTEXTS; i++) {
        if (a->contexts[i] && a->contexts[i]->id == id)
            return a->contexts[i];
    }
    return NULL;
}

sl_track_context *sl_track_context_get(sl_probe_assembler *a, uint32_t id)
{
    sl_track_context *context = sl_track_context_find(a, id);
    if (context)
        return context;
    size_t slot = 0;
    while (slot < SL_PROBE_MAX_CONTEXTS && a->contexts[slot])
        slot++;
    context = slot < SL_PROBE_MAX_CONTEXTS ? sl_calloc(1, sizeof *context) : NULL;
    if (!context) {
        a->stats.left_out++;
        return NULL;
    }
    context->id = id;
    context->n_ctx = context->n_ctx_seq = context->n_seq_max = context->n_batch = -1;
    a->contexts[slot] = context;
    return context;
}

static void context_drop(sl_probe_assembler *a, sl_track_context *context)
{
    SL_ASSERT(context);
    sl_track_batch_finish(a, context, 0);
    for (uint32_t i = 0; i < context->seq_count; i++) {
        sl_track_turn_leave(a, &context->seqs[i]);
        sl_seq_memory_done(a, &context->seqs[i]);
    }
    for (sl_track_turn *turn = a->turns; turn; turn = turn->next) {
        if (turn->context == context)
            turn->context = NULL;
    }
    for (size_t i = 0; i < SL_PROBE_MAX_CONTEXTS; i++) {
        if (a->contexts[i] == context)
            a->contexts[i] = NULL;
    }
    if (context->known && !context->dry)
        sl_probe_metrics_context_freed(a->metrics, context->id);
    sl_free(context->seqs);
    sl_free(context->batch.parts);
    sl_free(context);
}

static void context_span(sl_probe_assembler *a, const sl_probe_context_new *event, bool dry)
{
    sl_span_options options = {.root = true, .start_ns = sl_track_unix(a, event->start_ns)};
    sl_span *span = sl_span_start(a->tracer, SL_STR("llama_new_context_with_model"), &options);
    sl_track_set_host(a, span);
    set_count(span, "context.id", event->context);
    set_count(span, "context.n_ctx", event->n_ctx);
    set_count(span, "context.n_ctx_seq", event->n_ctx_seq);
    set_count(span, "context.n_batch", event->n_batch);
    set_count(span, "context.n_ubatch", event->n_ubatch);
    set_count(span, "context.n_seq", event->n_seq_max);
    if (!(event->head.flags & SL_PROBE_CONTEXT_NO_BYTES)) {
        sl_span_set_int(span, "context.kv_bytes", (int64_t)event->kv_bytes);
        sl_span_set_int(span, "context.compute_bytes", (int64_t)event->compute_bytes);
        sl_span_set_int(span, "context.output_bytes", (int64_t)event->output_bytes);
    }
    sl_str model = sl_probe_metrics_model_name(a->metrics, event->model);
    if (model.len)
        sl_span_set(span, SL_STR("gen_ai.request.model"), sl_value_str(model));
    if (dry)
        sl_span_set_bool(span, "llama.dry_run", true);
    if (event->head.flags & SL_PROBE_CONTEXT_FAILED)
        sl_span_set_status(span, SL_STATUS_ERROR, "the context could not be made");
    sl_span_end_at(span, sl_track_unix(a, event->head.time_ns));
}

/* What a buffer of so many bytes holds: the use that it completes, or else the one of which most is left. */
static unsigned use_by_size(const uint64_t left[SL_PROBE_MEMORY_COUNT], uint64_t bytes)
{
    unsigned use = SL_PROBE_MEMORY_OTHER;
    for (unsigned u = SL_PROBE_MEMORY_KV; u <= SL_PROBE_MEMORY_OUTPUT; u++) {
        if (left[u] == bytes)
            return u;
        if (left[u] > bytes && (use == SL_PROBE_MEMORY_OTHER || left[u] > left[use]))
            use = u;
    }
    return use;
}

/* The largest buffer of a context whose use is not known yet; NULL: none. */
static sl_track_buffer *largest_unsettled(sl_probe_assembler *a, uint32_t context)
{
    sl_track_buffer *largest = NULL;
    for (uint32_t i = 0; i < a->buffer_count; i++) {
        sl_track_buffer *buffer = &a->buffers[i];
        bool ours = buffer->phase == SL_PROBE_PHASE_CONTEXT && !buffer->settled &&
                    (buffer->owner == context || buffer->owner == 0);
        if (ours && (!largest || buffer->bytes > largest->bytes))
            largest = buffer;
    }
    return largest;
}

/*
 * Buffers taken while a context was made get their use by their sizes, which add up to the context's three. The largest
 * first: of a use that lies on several devices, the small parts would fit any other.
 */
static void settle_buffers(sl_probe_assembler *a, const sl_probe_context_new *event)
{
    uint64_t left[SL_PROBE_MEMORY_COUNT] = {0};
    left[SL_PROBE_MEMORY_KV] = event->kv_bytes;
    left[SL_PROBE_MEMORY_COMPUTE] = event->compute_bytes;
    left[SL_PROBE_MEMORY_OUTPUT] = event->output_bytes;
    sl_track_buffer *buffer;
    while ((buffer = largest_unsettled(a, event->context))) {
        unsigned use = use_by_size(left, (uint64_t)buffer->bytes);
        if (use != SL_PROBE_MEMORY_OTHER)
            left[use] -= (uint64_t)buffer->bytes;
        buffer->use = (uint8_t)use;
        buffer->settled = true;
        buffer->owner = event->context;
        sl_probe_metrics_memory(a->metrics, (sl_probe_memory)use, sl_str_c(buffer->device), buffer->bytes);
    }
}

void sl_track_context_new(sl_probe_assembler *a, const sl_probe_context_new *event)
{
    SL_ASSERT(a && event);
    bool failed = event->head.flags & SL_PROBE_CONTEXT_FAILED;
    bool found = event->head.flags & SL_PROBE_CONTEXT_FOUND;
    bool dry = !failed && !(event->head.flags & SL_PROBE_CONTEXT_NO_BYTES) && event->kv_bytes == 0 &&
               event->compute_bytes == 0;
    sl_track_model *model = model_find(a, event->model);
    if (model)
        model_settle(a, model, dry);
    if (!found)
        context_span(a, event, dry);
    settle_buffers(a, event);
    if (failed || !event->context)
        return;
    sl_track_context *context = sl_track_context_find(a, event->context);
    if (context)
        context_drop(a, context);
    context = sl_track_context_get(a, event->context);
    if (!context)
        return;
    context->known = true;
    context->dry = dry;
    context->model = event->model;
    context->n_ctx = event->n_ctx;
    context->n_ctx_seq = event->n_ctx_seq;
    context->n_seq_max = event->n_seq_max;
    context->n_batch = event->n_batch;
    if (dry)
        return;
    sl_probe_context_info info = {.context = event->context,
                                  .model = event->model,
                                  .n_ctx = event->n_ctx,
                                  .n_ctx_seq = event->n_ctx_seq,
                                  .n_seq_max = event->n_seq_max,
                                  .duration_ns = sl_track_span_of(event->start_ns, event->head.time_ns),
                                  .kv_bytes = event->kv_bytes,
                                  .compute_bytes = event->compute_bytes,
                                  .output_bytes = event->output_bytes};
    sl_probe_metrics_context(a->metrics, &info);
}

void sl_track_context_free(sl_probe_assembler *a, const sl_probe_context_free *event)
{
    SL_ASSERT(a && event);
    sl_track_context *context = sl_track_context_find(a, event->context);
    if (context)
        context_drop(a, context);
}

/* ---- memory ---- */

static void give_back(sl_probe_assembler *a, const sl_probe_buffer *event, const char *device)
{
    uint32_t found = a->buffer_count;
    for (uint32_t i = 0; i < a->buffer_count; i++) {
        const sl_track_buffer *buffer = &a->buffers[i];
        if (buffer->bytes != -event->bytes || strcmp(buffer->device, device) != 0)
            continue;
        bool same_owner = buffer->phase == event->phase && buffer->owner == event->owner;
        if (found == a->buffer_count || same_owner)
            found = i;
        if (same_owner)
            break;
    }
    if (found == a->buffer_count)
        return;
    sl_track_buffer *buffer = &a->buffers[found];
    if (buffer->settled)
        sl_probe_metrics_memory(a->metrics, (sl_probe_memory)buffer->use, sl_str_c(device), event->bytes);
    *buffer = a->buffers[--a->buffer_count];
}

void sl_track_buffer_event(sl_probe_assembler *a, const sl_probe_buffer *event)
{
    SL_ASSERT(a && event);
    char device[sizeof a->buffers->device];
    sl_str name = sl_str_of((const char *)(event + 1), event->head.count);
    size_t end = sl_str_chr(name, '\0');
    name = sl_str_sub(name, 0, end);
    (void)sl_str_to_c(sl_str_sub(name, 0, sl_utf8_prefix(name, sizeof device - 1)), device, sizeof device);
    if (event->bytes == 0 || event->bytes == INT64_MIN)
        return;
    if (event->bytes < 0) {
        give_back(a, event, device);
        return;
    }
    if (a->buffer_count == SL_PROBE_MAX_BUFFERS) {
        a->stats.left_out++;
        return;
    }
    sl_track_buffer *buffer = &a->buffers[a->buffer_count++];
    *buffer = (sl_track_buffer){.bytes = event->bytes, .owner = event->owner, .phase = (uint8_t)event->phase};
    memcpy(buffer->device, device, sizeof device);
    buffer->use = event->phase == SL_PROBE_PHASE_MODEL ? SL_PROBE_MEMORY_WEIGHTS : SL_PROBE_MEMORY_OTHER;
    buffer->settled = event->phase != SL_PROBE_PHASE_CONTEXT;
    if (buffer->settled)
        sl_probe_metrics_memory(a->metrics, (sl_probe_memory)buffer->use, sl_str_c(device), event->bytes);
}

void sl_track_resources_free(sl_probe_assembler *a)
{
    SL_ASSERT(a);
    for (size_t i = 0; i < SL_PROBE_MAX_CONTEXTS; i++) {
        if (a->contexts[i])
            context_drop(a, a->contexts[i]);
    }
    for (size_t i = 0; i < SL_PROBE_MAX_MODELS; i++) {
        if (a->models[i]) {
            model_settle(a, a->models[i], false);
            model_drop(a, a->models[i]);
        }
    }
}
