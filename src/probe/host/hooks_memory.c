/*
 * Hooks: what happens to the memory of sequences, under its three names: llama_kv_cache_* (until early 2025) and
 * llama_kv_self_* take the context, llama_memory_* (since mid-2025) takes the context's memory. The older ones call
 * the newer ones: the outermost is told.
 */
#include "src/probe/host/hook.h"

typedef struct change {
    sl_probe_seq_op op;
    int32_t seq, seq_to, p0, p1, delta;
} change;

typedef void (*clear_fn)(void *of, bool data);
typedef bool (*rm_fn)(void *of, int32_t seq, int32_t p0, int32_t p1);
typedef void (*cp_fn)(void *of, int32_t seq, int32_t seq_to, int32_t p0, int32_t p1);
typedef void (*keep_fn)(void *of, int32_t seq);
typedef void (*add_fn)(void *of, int32_t seq, int32_t p0, int32_t p1, int32_t delta);

static void tell(const sl_host_object *object, uint64_t start_ns, const change *c)
{
    int kept = errno;
    sl_probe_sequence *e = (sl_probe_sequence *)(void *)sl_host_take(SL_PROBE_SEQUENCE, sizeof *e, 0);
    if (e) {
        e->head.flags = (uint16_t)c->op;
        e->start_ns = start_ns;
        e->bytes = 0;
        e->context = object ? object->id : 0;
        e->seq = c->seq;
        e->seq_to = c->seq_to;
        e->p0 = c->p0;
        e->p1 = c->p1;
        e->delta = c->delta;
        sl_host_commit(&e->head, sizeof *e, 0);
    }
    errno = kept;
}

/* Opens the scope of a change that is to be told; 0 when it is not. */
static uint64_t begin(sl_host_scope *scope, sl_hook_id id, void *real)
{
    if (!sl_host_recording(id, real) || sl_host_nested())
        return 0;
    const sl_host_thread *thread = sl_host_this_thread();
    sl_host_scope_begin(scope, (sl_probe_phase)thread->phase, thread->owner);
    return sl_host_now();
}

static void end(const sl_host_scope *scope, const sl_host_object *object, uint64_t start_ns, const change *c)
{
    if (!start_ns)
        return;
    tell(object, start_ns, c);
    sl_host_scope_end(scope);
}

/* The frame of every hook here: finds the function, opens, CALLs it, tells the CHANGE, closes. */
#define HOOK(name, object_kind, type, fallback, call, ...)                                                             \
    sl_host_scope scope;                                                                                               \
    const sl_host_object *object = sl_host_object_find(of, object_kind);                                               \
    type real = SL_REAL(type, name, object);                                                                           \
    if (!real)                                                                                                         \
        return fallback;                                                                                               \
    uint64_t start_ns = begin(&scope, SL_HOOK_##name, (void *)real);                                                   \
    call;                                                                                                              \
    end(&scope, object, start_ns, &(change)__VA_ARGS__)

#define CLEAR(name, object_kind)                                                                                       \
    void hook_##name(void *of, bool data);                                                                             \
    void hook_##name(void *of, bool data)                                                                              \
    {                                                                                                                  \
        HOOK(name, object_kind, clear_fn, , real(of, data), {SL_PROBE_SEQ_CLEAR, -1, -1, -1, -1, 0});                  \
    }

/* Refused (part of a recurrent state, for instance): nothing has happened, so nothing is told. */
#define RM(name, object_kind)                                                                                          \
    bool hook_##name(void *of, int32_t seq, int32_t p0, int32_t p1);                                                   \
    bool hook_##name(void *of, int32_t seq, int32_t p0, int32_t p1)                                                    \
    {                                                                                                                  \
        sl_host_scope scope;                                                                                           \
        const sl_host_object *object = sl_host_object_find(of, object_kind);                                           \
        rm_fn real = SL_REAL(rm_fn, name, object);                                                                     \
        if (!real)                                                                                                     \
            return false;                                                                                              \
        uint64_t start_ns = begin(&scope, SL_HOOK_##name, (void *)real);                                               \
        bool done = real(of, seq, p0, p1);                                                                             \
        if (start_ns && done)                                                                                          \
            tell(object, start_ns, &(change){SL_PROBE_SEQ_RM, seq, -1, p0, p1, 0});                                    \
        if (start_ns)                                                                                                  \
            sl_host_scope_end(&scope);                                                                                 \
        return done;                                                                                                   \
    }

#define CP(name, object_kind)                                                                                          \
    void hook_##name(void *of, int32_t seq, int32_t seq_to, int32_t p0, int32_t p1);                                   \
    void hook_##name(void *of, int32_t seq, int32_t seq_to, int32_t p0, int32_t p1)                                    \
    {                                                                                                                  \
        HOOK(name, object_kind, cp_fn, , real(of, seq, seq_to, p0, p1), {SL_PROBE_SEQ_CP, seq, seq_to, p0, p1, 0});    \
    }

#define KEEP(name, object_kind)                                                                                        \
    void hook_##name(void *of, int32_t seq);                                                                           \
    void hook_##name(void *of, int32_t seq)                                                                            \
    {                                                                                                                  \
        HOOK(name, object_kind, keep_fn, , real(of, seq), {SL_PROBE_SEQ_KEEP, seq, -1, -1, -1, 0});                    \
    }

#define SHIFT(name, object_kind, op)                                                                                   \
    void hook_##name(void *of, int32_t seq, int32_t p0, int32_t p1, int32_t delta);                                    \
    void hook_##name(void *of, int32_t seq, int32_t p0, int32_t p1, int32_t delta)                                     \
    {                                                                                                                  \
        HOOK(name, object_kind, add_fn, , real(of, seq, p0, p1, delta), {op, seq, -1, p0, p1, delta});                 \
    }

#define FAMILY(prefix, object_kind)                                                                                    \
    CLEAR(prefix##_clear, object_kind)                                                                                 \
    RM(prefix##_seq_rm, object_kind)                                                                                   \
    CP(prefix##_seq_cp, object_kind)                                                                                   \
    KEEP(prefix##_seq_keep, object_kind)                                                                               \
    SHIFT(prefix##_seq_add, object_kind, SL_PROBE_SEQ_ADD)                                                             \
    SHIFT(prefix##_seq_div, object_kind, SL_PROBE_SEQ_DIV)

FAMILY(llama_memory, SL_HOST_MEMORY)
FAMILY(llama_kv_self, SL_HOST_CONTEXT)
FAMILY(llama_kv_cache, SL_HOST_CONTEXT)
