/* Hooks: making and freeing of contexts. */
#include "src/probe/host/hook.h"
#include "src/probe/host/living.h"

typedef void *(*context_fn)(void *model, sl_params_block params);
typedef void (*free_fn)(void *context);
typedef void *(*memory_fn)(const void *context);

void *hook_llama_init_from_model(void *model, sl_params_block params);
void *hook_llama_new_context_with_model(void *model, sl_params_block params);
void hook_llama_free(void *context);

typedef struct making {
    uint64_t start_ns;
    uint32_t context;
} making;

static bool begin(making *make, sl_host_scope *scope)
{
    if (!sl_host_seen() || sl_host_nested())
        return false;
    *make = (making){sl_host_now(), sl_host_next(&sl_host_made.last_context)};
    sl_host_scope_begin(scope, SL_PROBE_PHASE_CONTEXT, make->context);
    memset(scope->thread->bytes, 0, sizeof scope->thread->bytes);
    return true;
}

static void tell(const making *make, const sl_host_thread *thread, const void *context, unsigned lib, uint32_t model)
{
    sl_probe_context_new *e = (sl_probe_context_new *)(void *)sl_host_take(SL_PROBE_CONTEXT_NEW, sizeof *e, 0);
    if (!e)
        return;
    e->head.flags = context ? 0 : SL_PROBE_CONTEXT_FAILED;
    e->start_ns = make->start_ns;
    e->kv_bytes = thread->bytes[SL_HOST_BYTES_KV];
    e->compute_bytes = thread->bytes[SL_HOST_BYTES_COMPUTE];
    e->output_bytes = thread->bytes[SL_HOST_BYTES_OUTPUT];
    e->context = make->context;
    e->model = model;
    e->n_ctx = sl_host_ask_i32(lib, "llama_n_ctx", NULL, context);
    e->n_ctx_seq = sl_host_ask_i32(lib, "llama_n_ctx_seq", NULL, context);
    e->n_batch = sl_host_ask_i32(lib, "llama_n_batch", NULL, context);
    e->n_ubatch = sl_host_ask_i32(lib, "llama_n_ubatch", NULL, context);
    e->n_seq_max = sl_host_ask_i32(lib, "llama_n_seq_max", NULL, context);
    e->reserved = 0;
    if (e->n_ctx_seq < 0 && e->n_seq_max == e->n_ctx) /* before 2025 n_seq_max answered n_ctx */
        e->n_seq_max = -1;
    if (context)
        sl_host_living_add(&e->head, make->context, sizeof *e, 0);
    sl_host_commit(&e->head, sizeof *e, 0);
}

static void end(const making *make, const sl_host_scope *scope, void *context, unsigned lib, const void *model)
{
    int kept = errno;
    const sl_host_object *of = sl_host_object_find(model, SL_HOST_MODEL);
    sl_host_object facts = {.kind = SL_HOST_CONTEXT, .lib = lib, .id = make->context};
    memory_fn memory = (memory_fn)sl_host_find(lib, "llama_get_memory");
    (void)sl_host_object_add(context, &facts);
    facts.kind = SL_HOST_MEMORY;
    if (context && memory) {
        const void *key = memory(context);
        const sl_host_object *added = sl_host_object_add(key, &facts);
        (void)added;
    }
    tell(make, scope->thread, context, lib, of ? of->id : 0);
    sl_host_scope_end(scope);
    errno = kept;
}

void *hook_llama_init_from_model(void *model, sl_params_block params)
{
    const sl_host_object *of = sl_host_object_find(model, SL_HOST_MODEL);
    context_fn real = SL_REAL(context_fn, llama_init_from_model, of);
    sl_host_scope scope;
    making make;
    sl_params_block copy;
    if (!real)
        return NULL;
    unsigned lib = sl_host_lib_of(SL_HOOK_llama_init_from_model, (const void *)real);
    sl_host_params(&copy, &params, lib, "llama_context_default_params");
    if (!begin(&make, &scope))
        return real(model, copy);
    void *context = real(model, copy);
    end(&make, &scope, context, lib, model);
    return context;
}

void *hook_llama_new_context_with_model(void *model, sl_params_block params)
{
    const sl_host_object *of = sl_host_object_find(model, SL_HOST_MODEL);
    context_fn real = SL_REAL(context_fn, llama_new_context_with_model, of);
    sl_host_scope scope;
    making make;
    sl_params_block copy;
    if (!real)
        return NULL;
    unsigned lib = sl_host_lib_of(SL_HOOK_llama_new_context_with_model, (const void *)real);
    sl_host_params(&copy, &params, lib, "llama_context_default_params");
    if (!begin(&make, &scope))
        return real(model, copy);
    void *context = real(model, copy);
    end(&make, &scope, context, lib, model);
    return context;
}

/* The memory's entry goes with its context: found by asking, while the context is still there. */
static void forget_memory(const void *context, unsigned lib)
{
    sl_host_object was;
    memory_fn memory = (memory_fn)sl_host_find(lib, "llama_get_memory");
    if (memory)
        (void)sl_host_object_remove(memory(context), SL_HOST_MEMORY, &was);
}

void hook_llama_free(void *context)
{
    sl_host_object was;
    free_fn real = SL_REAL(free_fn, llama_free, sl_host_object_find(context, SL_HOST_CONTEXT));
    if (!real)
        return;
    bool known =
        sl_host_recording(SL_HOOK_llama_free, (void *)real) && sl_host_object_remove(context, SL_HOST_CONTEXT, &was);
    if (known) {
        forget_memory(context, was.lib);
        sl_host_living_remove(SL_PROBE_CONTEXT_NEW, was.id);
    }
    real(context);
    if (!known)
        return;
    int kept = errno;
    sl_probe_context_free *e = (sl_probe_context_free *)(void *)sl_host_take(SL_PROBE_CONTEXT_FREE, sizeof *e, 0);
    if (e) {
        e->context = was.id;
        e->reserved = 0;
        sl_host_commit(&e->head, sizeof *e, 0);
    }
    errno = kept;
}
