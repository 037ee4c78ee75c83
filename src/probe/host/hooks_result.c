/* Hooks: waiting for what a batch has given, and fetching it. */
#include "src/probe/host/hook.h"

typedef void (*sync_fn)(void *context);
typedef float *(*all_fn)(void *context);
typedef float *(*row_fn)(void *context, int32_t row);
typedef int32_t (*token_fn)(void *context, int32_t row);

void hook_llama_synchronize(void *context);
float *hook_llama_get_logits(void *context);
float *hook_llama_get_logits_ith(void *context, int32_t row);
float *hook_llama_get_embeddings(void *context);
float *hook_llama_get_embeddings_ith(void *context, int32_t row);
float *hook_llama_get_embeddings_seq(void *context, int32_t seq);
int32_t hook_llama_get_sampled_token_ith(void *context, int32_t row);

/* Begin of a wait that is to be told; 0: nobody has to wait, or it was told already. */
static uint64_t begin(sl_host_object *object)
{
    if (!object || !atomic_load_explicit(&object->waiting, memory_order_relaxed))
        return 0;
    return atomic_exchange(&object->waiting, 0) ? sl_host_now() : 0;
}

static void end(const sl_host_object *object, uint64_t start_ns)
{
    if (!start_ns)
        return;
    sl_probe_sync *e = (sl_probe_sync *)(void *)sl_host_take(SL_PROBE_SYNC, sizeof *e, 0);
    if (!e)
        return;
    e->start_ns = start_ns;
    e->context = object->id;
    e->reserved = 0;
    sl_host_commit(&e->head, sizeof *e, 0);
}

static void tell_row(const sl_host_object *object, int32_t row)
{
    sl_probe_logits *e = (sl_probe_logits *)(void *)sl_host_take(SL_PROBE_LOGITS, sizeof *e, 0);
    if (!e)
        return;
    e->context = object ? object->id : 0;
    e->row = row;
    sl_host_commit(&e->head, sizeof *e, 0);
}

#define RECORDING(name, real) sl_host_recording(SL_HOOK_##name, (void *)(real))

void hook_llama_synchronize(void *context)
{
    sl_host_object *object = sl_host_object_find(context, SL_HOST_CONTEXT);
    sync_fn real = SL_REAL(sync_fn, llama_synchronize, object);
    if (!real)
        return;
    uint64_t start_ns = RECORDING(llama_synchronize, real) ? begin(object) : 0;
    real(context);
    end(object, start_ns);
}

static float *get_all(all_fn real, sl_hook_id id, sl_host_object *object, void *context)
{
    if (!real)
        return NULL;
    uint64_t start_ns = sl_host_recording(id, (void *)real) ? begin(object) : 0;
    float *result = real(context);
    end(object, start_ns);
    return result;
}

static float *get_row(row_fn real, sl_hook_id id, sl_host_object *object, void *context, int32_t row)
{
    if (!real)
        return NULL;
    uint64_t start_ns = sl_host_recording(id, (void *)real) ? begin(object) : 0;
    float *result = real(context, row);
    end(object, start_ns);
    return result;
}

float *hook_llama_get_logits(void *context)
{
    sl_host_object *object = sl_host_object_find(context, SL_HOST_CONTEXT);
    all_fn real = SL_REAL(all_fn, llama_get_logits, object);
    return get_all(real, SL_HOOK_llama_get_logits, object, context);
}

float *hook_llama_get_logits_ith(void *context, int32_t row)
{
    sl_host_object *object = sl_host_object_find(context, SL_HOST_CONTEXT);
    row_fn real = SL_REAL(row_fn, llama_get_logits_ith, object);
    if (!real)
        return NULL;
    if (!RECORDING(llama_get_logits_ith, real))
        return real(context, row);
    uint64_t start_ns = begin(object);
    float *result = real(context, row);
    end(object, start_ns);
    bool alone = sl_host_is_alone(object);
    sl_host_this_thread()->alone = alone;
    if (!alone && !sl_host_nested())
        tell_row(object, row);
    return result;
}

float *hook_llama_get_embeddings(void *context)
{
    sl_host_object *object = sl_host_object_find(context, SL_HOST_CONTEXT);
    all_fn real = SL_REAL(all_fn, llama_get_embeddings, object);
    return get_all(real, SL_HOOK_llama_get_embeddings, object, context);
}

float *hook_llama_get_embeddings_ith(void *context, int32_t row)
{
    sl_host_object *object = sl_host_object_find(context, SL_HOST_CONTEXT);
    row_fn real = SL_REAL(row_fn, llama_get_embeddings_ith, object);
    return get_row(real, SL_HOOK_llama_get_embeddings_ith, object, context, row);
}

float *hook_llama_get_embeddings_seq(void *context, int32_t seq)
{
    sl_host_object *object = sl_host_object_find(context, SL_HOST_CONTEXT);
    row_fn real = SL_REAL(row_fn, llama_get_embeddings_seq, object);
    return get_row(real, SL_HOOK_llama_get_embeddings_seq, object, context, seq);
}

/* Sampling on the device: negative where nothing was sampled for the row. */
int32_t hook_llama_get_sampled_token_ith(void *context, int32_t row)
{
    sl_host_object *object = sl_host_object_find(context, SL_HOST_CONTEXT);
    token_fn real = SL_REAL(token_fn, llama_get_sampled_token_ith, object);
    if (!real)
        return -1;
    if (!RECORDING(llama_get_sampled_token_ith, real))
        return real(context, row);
    uint64_t start_ns = begin(object);
    int32_t token = real(context, row);
    end(object, start_ns);
    if (token < 0 || sl_host_is_alone(object) || sl_host_nested())
        return token;
    sl_probe_sample *e = (sl_probe_sample *)(void *)sl_host_take(SL_PROBE_SAMPLE, sizeof *e, 0);
    if (e) {
        e->start_ns = e->head.time_ns;
        e->context = object ? object->id : 0;
        e->chain = 0;
        e->row = row;
        e->token = token;
        sl_host_commit(&e->head, sizeof *e, 0);
    }
    return token;
}
