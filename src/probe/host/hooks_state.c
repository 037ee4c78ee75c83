/* Hooks: state of a sequence, or of a whole context, saved and loaded. */
#include "src/probe/host/hook.h"

typedef struct access {
    sl_host_scope scope;
    const sl_host_object *object;
    uint64_t start_ns; /* 0: not told */
} access_t;

static void begin(access_t *a, const sl_host_object *object, sl_hook_id id, void *real)
{
    a->object = object;
    a->start_ns = 0;
    if (!sl_host_recording(id, real) || sl_host_nested())
        return;
    sl_host_scope_begin(&a->scope, SL_PROBE_PHASE_CONTEXT, object ? object->id : 0);
    a->start_ns = sl_host_now();
}

static void end(const access_t *a, sl_probe_seq_op op, int32_t seq, uint64_t bytes)
{
    if (!a->start_ns)
        return;
    int kept = errno;
    sl_probe_sequence *e = (sl_probe_sequence *)(void *)sl_host_take(SL_PROBE_SEQUENCE, sizeof *e, 0);
    if (e) {
        e->head.flags = (uint16_t)op;
        e->start_ns = a->start_ns;
        e->bytes = bytes;
        e->context = a->object ? a->object->id : 0;
        e->seq = seq;
        e->seq_to = -1;
        e->p0 = e->p1 = -1;
        e->delta = 0;
        sl_host_commit(&e->head, sizeof *e, 0);
    }
    sl_host_scope_end(&a->scope);
    errno = kept;
}

/* One hook: TYPE of its result, PARAMETERS behind the context, the ARGUMENTS to pass on, and what it tells. */
#define HOOK(name, type, parameters, arguments, op, seq, bytes)                                                        \
    type hook_##name parameters;                                                                                       \
    type hook_##name parameters                                                                                        \
    {                                                                                                                  \
        typedef type(*real_fn) parameters;                                                                             \
        const sl_host_object *object = sl_host_object_find(context, SL_HOST_CONTEXT);                                  \
        real_fn real = SL_REAL(real_fn, name, object);                                                                 \
        access_t access;                                                                                               \
        if (!real)                                                                                                     \
            return (type)0;                                                                                            \
        begin(&access, object, SL_HOOK_##name, (void *)real);                                                          \
        type result = real arguments;                                                                                  \
        end(&access, op, seq, bytes);                                                                                  \
        return result;                                                                                                 \
    }

HOOK(llama_state_get_data, size_t, (void *context, void *to, size_t size), (context, to, size), SL_PROBE_SEQ_SAVE, -1,
     result)
HOOK(llama_state_set_data, size_t, (void *context, const void *from, size_t size), (context, from, size),
     SL_PROBE_SEQ_LOAD, -1, result)
HOOK(llama_state_save_file, bool, (void *context, const char *path, const void *tokens, size_t count),
     (context, path, tokens, count), SL_PROBE_SEQ_SAVE, -1, 0)
HOOK(llama_state_load_file, bool, (void *context, const char *path, void *tokens, size_t room, size_t *count),
     (context, path, tokens, room, count), SL_PROBE_SEQ_LOAD, -1, 0)
HOOK(llama_state_seq_get_data, size_t, (void *context, void *to, size_t size, int32_t seq), (context, to, size, seq),
     SL_PROBE_SEQ_SAVE, seq, result)
HOOK(llama_state_seq_set_data, size_t, (void *context, const void *from, size_t size, int32_t seq),
     (context, from, size, seq), SL_PROBE_SEQ_LOAD, seq, result)
HOOK(llama_state_seq_get_data_ext, size_t, (void *context, void *to, size_t size, int32_t seq, uint32_t flags),
     (context, to, size, seq, flags), SL_PROBE_SEQ_SAVE, seq, result)
HOOK(llama_state_seq_set_data_ext, size_t, (void *context, const void *from, size_t size, int32_t seq, uint32_t flags),
     (context, from, size, seq, flags), SL_PROBE_SEQ_LOAD, seq, result)
HOOK(llama_state_seq_save_file, size_t,
     (void *context, const char *path, int32_t seq, const void *tokens, size_t count),
     (context, path, seq, tokens, count), SL_PROBE_SEQ_SAVE, seq, result)
HOOK(llama_state_seq_load_file, size_t,
     (void *context, const char *path, int32_t seq, void *tokens, size_t room, size_t *count),
     (context, path, seq, tokens, room, count), SL_PROBE_SEQ_LOAD, seq, result)
