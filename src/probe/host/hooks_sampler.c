/* Hooks: sampler chains. A chain's own samplers call one another through the same functions: the outermost counts. */
#include "src/probe/host/hook.h"
#include "src/probe/host/living.h"

/*
 * llama_sampler_chain_params: one bool so far. Up to 16 bytes come in registers; beyond, x86-64 has them in memory and
 * aarch64 an address in the first register.
 */
#if defined(__x86_64__)
typedef struct sl_chain_block {
    uint64_t words[8];
} sl_chain_block;
#define CHAIN_PARAMS uint64_t low, uint64_t high, sl_chain_block rest
#define CHAIN_ARGS low, high, rest
#else
#define CHAIN_PARAMS uint64_t low, uint64_t high
#define CHAIN_ARGS low, high
#endif

/* llama_token_data_array, and llama_token_data, whose id comes first. */
typedef struct sl_candidates {
    const unsigned char *data;
    size_t size;
    int64_t selected;
} sl_candidates;
#define CANDIDATE_BYTES 12
#define MAX_CANDIDATES (1u << 24) /* no vocabulary is as large: then it is not what we take it for */

typedef void *(*chain_init_fn)(CHAIN_PARAMS);
typedef void *(*clone_fn)(const void *sampler);
typedef void (*free_fn)(void *sampler);
typedef int32_t (*sample_fn)(void *sampler, void *context, int32_t row);
typedef void (*apply_fn)(void *sampler, sl_candidates *candidates);

void *hook_llama_sampler_chain_init(CHAIN_PARAMS);
void *hook_llama_sampler_clone(const void *sampler);
void hook_llama_sampler_free(void *sampler);
int32_t hook_llama_sampler_sample(void *sampler, void *context, int32_t row);
void hook_llama_sampler_apply(void *sampler, sl_candidates *candidates);

static void note_chain(const void *chain, unsigned lib)
{
    sl_host_object facts = {.kind = SL_HOST_CHAIN, .lib = lib, .id = sl_host_next(&sl_host_made.last_chain)};
    if (!chain || !sl_host_object_add(chain, &facts))
        return;
    sl_probe_chain *e = (sl_probe_chain *)(void *)sl_host_take(SL_PROBE_CHAIN, sizeof *e, 0);
    if (!e)
        return;
    e->chain = facts.id;
    e->request = sl_host_request();
    sl_host_commit(&e->head, sizeof *e, 0);
}

static void tell_sample(uint64_t start_ns, const sl_host_object *chain, const sl_host_object *context, int32_t row,
                        int32_t token)
{
    sl_probe_sample *e = (sl_probe_sample *)(void *)sl_host_take(SL_PROBE_SAMPLE, sizeof *e, 0);
    if (!e)
        return;
    e->start_ns = start_ns;
    e->context = context ? context->id : 0;
    e->chain = chain ? chain->id : 0;
    e->row = row;
    e->token = token;
    sl_host_commit(&e->head, sizeof *e, 0);
}

void *hook_llama_sampler_chain_init(CHAIN_PARAMS)
{
    sl_host_look();
    chain_init_fn real = SL_REAL(chain_init_fn, llama_sampler_chain_init, (sl_host_object *)NULL);
    if (!real)
        return NULL;
    void *chain = real(CHAIN_ARGS);
    if (sl_host_seen())
        note_chain(chain, sl_host_lib_of(SL_HOOK_llama_sampler_chain_init, (const void *)real));
    return chain;
}

void *hook_llama_sampler_clone(const void *sampler)
{
    const sl_host_object *object = sl_host_object_find(sampler, SL_HOST_CHAIN);
    clone_fn real = SL_REAL(clone_fn, llama_sampler_clone, object);
    if (!real)
        return NULL;
    void *copy = real(sampler);
    if (object && sl_host_recording(SL_HOOK_llama_sampler_clone, (void *)real))
        note_chain(copy, object->lib);
    return copy;
}

void hook_llama_sampler_free(void *sampler)
{
    sl_host_object was;
    free_fn real = SL_REAL(free_fn, llama_sampler_free, sl_host_object_find(sampler, SL_HOST_CHAIN));
    if (!real)
        return;
    if (sl_host_recording(SL_HOOK_llama_sampler_free, (void *)real))
        (void)sl_host_object_remove(sampler, SL_HOST_CHAIN, &was);
    real(sampler);
}

int32_t hook_llama_sampler_sample(void *sampler, void *context, int32_t row)
{
    const sl_host_object *chain = sl_host_object_find(sampler, SL_HOST_CHAIN);
    const sl_host_object *of = sl_host_object_find(context, SL_HOST_CONTEXT);
    sample_fn real = SL_REAL(sample_fn, llama_sampler_sample, of);
    if (!real)
        return -1;
    if (!sl_host_recording(SL_HOOK_llama_sampler_sample, (void *)real) || sl_host_nested())
        return real(sampler, context, row);
    sl_host_this_thread()->alone = sl_host_is_alone(of);
    if (sl_host_is_alone(of)) /* nor is what the function calls */
        return real(sampler, context, row);
    sl_host_scope scope;
    const sl_host_thread *thread = sl_host_this_thread();
    sl_host_scope_begin(&scope, (sl_probe_phase)thread->phase, thread->owner);
    uint64_t start_ns = sl_host_now();
    int32_t token = real(sampler, context, row);
    tell_sample(start_ns, chain, of, row, token);
    sl_host_scope_end(&scope);
    return token;
}

static int32_t chosen(const sl_candidates *c)
{
    int32_t token;
    if (!c || !c->data || c->size > MAX_CANDIDATES || c->selected < 0 || (uint64_t)c->selected >= c->size)
        return -1;
    memcpy(&token, c->data + (size_t)c->selected * CANDIDATE_BYTES, sizeof token);
    return token;
}

void hook_llama_sampler_apply(void *sampler, sl_candidates *candidates)
{
    const sl_host_object *chain = sl_host_object_find(sampler, SL_HOST_CHAIN);
    apply_fn real = SL_REAL(apply_fn, llama_sampler_apply, chain);
    if (!real)
        return;
    bool told = chain && sl_host_recording(SL_HOOK_llama_sampler_apply, (void *)real) && !sl_host_this_thread()->alone;
    if (!told || sl_host_nested()) {
        real(sampler, candidates);
        return;
    }
    sl_host_scope scope;
    const sl_host_thread *thread = sl_host_this_thread();
    sl_host_scope_begin(&scope, (sl_probe_phase)thread->phase, thread->owner);
    uint64_t start_ns = sl_host_now();
    real(sampler, candidates);
    tell_sample(start_ns, chain, NULL, INT32_MIN, chosen(candidates));
    sl_host_scope_end(&scope);
}
