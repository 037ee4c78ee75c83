/*
 * What the hooks of llama.cpp share: arguments that are passed through unseen, and the scope of a recorded call.
 *
 * Structs that the host passes by value change from release to release. They are forwarded as a block that is longer
 * than any of them: the calling conventions of x86-64 (System V: more than 16 bytes go in memory, at the same place
 * whatever their size) and aarch64 (AAPCS64: more than 16 bytes go by address) make that the same bytes.
 *
 * C++ exceptions and longjmp pass through a hook without its noticing (landing pads would need an unwinder's library):
 * what it has set for its thread carries the place on the stack of the call it is about, and is void for whoever is
 * called from further out.
 */
#ifndef SL_PROBE_HOST_HOOK_H
#define SL_PROBE_HOST_HOOK_H

#include "src/probe/batch_runs.h"
#include "src/probe/host/objects.h"
#include "src/probe/host/real.h"

/* llama_model_params, llama_context_params: 64 to 160 bytes so far (64 to 80 the first of them). */
typedef struct sl_params_block {
    uint64_t words[64];
} sl_params_block;

/*
 * Copies what the host has passed, and not more of its stack, which may end there: as many bytes as the library's
 * function `defaults` fills in. All of the block where that cannot be told.
 */
void sl_host_params(sl_params_block *ret_copy, const sl_params_block *passed, unsigned lib, const char *defaults);

#define SL_CALLER __builtin_return_address(0)

/* The function behind NAME, as a pointer of `type`; `object` may be NULL. */
#define SL_REAL(type, name, object) ((type)sl_host_real_of(SL_HOOK_##name, (object) ? (object)->lib : 0, SL_CALLER))

/* A call that is recorded as a whole: the memory it takes is its owner's, and what it calls itself is not recorded. */
typedef struct sl_host_scope {
    sl_host_thread *thread;
    uintptr_t frame;
    uint32_t owner;
    uint8_t phase, kv;
} sl_host_scope;

/* True inside a call that is recorded as a whole, and that has not been left by an exception. */
static inline bool sl_host_nested(void)
{
    sl_host_thread *thread = sl_host_this_thread();
    if (SL_LIKELY(thread->frame == 0))
        return false;
    if ((uintptr_t)__builtin_frame_address(0) < thread->frame)
        return true;
    thread->frame = 0;
    thread->owner = 0;
    thread->phase = SL_PROBE_PHASE_OTHER;
    thread->kv = 0;
    return false;
}

static inline void sl_host_scope_begin(sl_host_scope *scope, sl_probe_phase phase, uint32_t owner)
{
    sl_host_thread *thread = sl_host_this_thread();
    *scope = (sl_host_scope){thread, thread->frame, thread->owner, thread->phase, thread->kv};
    thread->frame = (uintptr_t)scope;
    thread->owner = owner;
    thread->phase = (uint8_t)phase;
    thread->kv = 0;
}

static inline void sl_host_scope_end(const sl_host_scope *scope)
{
    sl_host_thread *thread = scope->thread;
    SL_ASSERT(thread);
    thread->frame = scope->frame;
    thread->owner = scope->owner;
    thread->phase = scope->phase;
    thread->kv = scope->kv;
}

static inline uint32_t sl_host_next(_Atomic uint32_t *last)
{
    return atomic_fetch_add_explicit(last, 1, memory_order_relaxed) + 1;
}

/* Facts of the library that a hook needs: each NULL-safe, "not known" when the function is missing. */
int32_t sl_host_ask_i32(unsigned lib, const char *name, const char *older, const void *object);
uint64_t sl_host_ask_u64(unsigned lib, const char *name, const void *object);

/* Sums of the memory taken in a scope: indices of sl_host_thread.bytes. */
enum { SL_HOST_BYTES_KV, SL_HOST_BYTES_COMPUTE, SL_HOST_BYTES_OUTPUT, SL_HOST_BYTES_MAPPED };

/*
 * Of a batch with one output, that its logits were fetched and a token sampled tells nothing that the batch and the
 * wait for it do not tell: it is left out.
 */
static inline bool sl_host_is_alone(const sl_host_object *context)
{
    return context && atomic_load_explicit(&context->alone, memory_order_relaxed);
}

/* Records a call of llama_decode or llama_encode. `object` may be NULL. */
void sl_host_tell_batch(sl_host_object *object, sl_probe_api api, uint64_t start_ns, int32_t result,
                        const sl_batch_block *batch);

#endif
