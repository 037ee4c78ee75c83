/* Hooks: llama_decode and llama_encode, and how a batch becomes runs. */
#include "src/probe/host/hook.h"

#define REFUSED (-1) /* the library found the batch invalid: it has not read all of it, nor may we */

typedef int32_t (*decode_fn)(void *context, sl_batch_block batch);

int32_t hook_llama_decode(void *context, sl_batch_block batch);
int32_t hook_llama_encode(void *context, sl_batch_block batch);

void sl_host_tell_batch(sl_host_object *object, sl_probe_api api, uint64_t start_ns, int32_t result,
                        const sl_batch_block *batch)
{
    uint32_t n = sl_batch_tokens(batch);
    sl_batch_plan plan;
    sl_batch_look(batch, result == REFUSED ? 0 : n, &plan);
    if (object)
        atomic_store_explicit(&object->alone, plan.runs == 1 && plan.first->outputs <= 1, memory_order_relaxed);
    size_t tail = sl_batch_tail(&plan);
    sl_probe_decode *e = (sl_probe_decode *)(void *)sl_host_take(SL_PROBE_DECODE, sizeof *e, tail);
    if (!e)
        return;
    e->head.flags = (uint16_t)api;
    e->start_ns = start_ns;
    e->context = object ? object->id : 0;
    e->result = result;
    e->n_tokens = n;
    sl_batch_write(batch, &plan, e);
    sl_host_commit(&e->head, sizeof *e, tail);
}

static int32_t compute(decode_fn real, sl_probe_api api, sl_host_object *object, void *context,
                       const sl_batch_block *batch)
{
    sl_host_scope scope;
    sl_host_scope_begin(&scope, SL_PROBE_PHASE_CONTEXT, object ? object->id : 0);
    uint64_t start_ns = sl_host_now();
    int32_t result = real(context, *batch);
    int kept = errno;
    if (object)
        atomic_store_explicit(&object->waiting, 1, memory_order_relaxed);
    sl_host_tell_batch(object, api, start_ns, result, batch);
    sl_host_scope_end(&scope);
    errno = kept;
    return result;
}

int32_t hook_llama_decode(void *context, sl_batch_block batch)
{
    sl_host_object *object = sl_host_object_find(context, SL_HOST_CONTEXT);
    decode_fn real = SL_REAL(decode_fn, llama_decode, object);
    if (!real)
        return -1;
    if (!sl_host_recording(SL_HOOK_llama_decode, (void *)real) || sl_host_nested())
        return real(context, batch);
    return compute(real, SL_PROBE_API_DECODE, object, context, &batch);
}

int32_t hook_llama_encode(void *context, sl_batch_block batch)
{
    sl_host_object *object = sl_host_object_find(context, SL_HOST_CONTEXT);
    decode_fn real = SL_REAL(decode_fn, llama_encode, object);
    if (!real)
        return -1;
    if (!sl_host_recording(SL_HOOK_llama_encode, (void *)real) || sl_host_nested())
        return real(context, batch);
    return compute(real, SL_PROBE_API_ENCODE, object, context, &batch);
}
