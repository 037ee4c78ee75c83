/*
 * Hooks: memory of the backends, by what the thread that takes it is doing. Within the making of a context: what is
 * allocated for tensors is the sequences' (KV), what libllama asks for itself holds the outputs, the rest is for
 * computing. The order differs from release to release, these three do not.
 */
#include "src/probe/host/hook.h"

#define NAME_MOST 128

typedef void *(*alloc_fn)(void *type, size_t size);
typedef void *(*alloc_tensors_fn)(void *tensors, void *type);
typedef void *(*from_ptr_fn)(void *device, void *ptr, size_t size, size_t max_tensor_size);
typedef void (*free_fn)(void *buffer);
typedef const char *(*name_fn)(const void *object);

void *hook_ggml_backend_buft_alloc_buffer(void *type, size_t size);
void *hook_ggml_backend_alloc_ctx_tensors_from_buft(void *tensors, void *type);
void *hook_ggml_backend_dev_buffer_from_host_ptr(void *device, void *ptr, size_t size, size_t max_tensor_size);
void hook_ggml_backend_buffer_free(void *buffer);

static void tell(int64_t bytes, uint32_t owner, uint32_t phase, const char *name)
{
    size_t len = name ? strnlen(name, NAME_MOST) : 0;
    sl_probe_buffer *e = (sl_probe_buffer *)(void *)sl_host_take(SL_PROBE_BUFFER, sizeof *e, len);
    if (!e)
        return;
    e->head.count = (uint32_t)len;
    e->bytes = bytes;
    e->owner = owner;
    e->phase = phase;
    if (len)
        memcpy(e + 1, name, len);
    sl_host_commit(&e->head, sizeof *e, len);
}

/* Of a buffer, or, in old releases, of its type. */
static const char *name_of(unsigned lib, const void *buffer, const void *type)
{
    name_fn ask = (name_fn)sl_host_find(lib, "ggml_backend_buffer_name");
    if (ask)
        return ask(buffer);
    ask = type ? (name_fn)sl_host_find(lib, "ggml_backend_buft_name") : NULL;
    return ask ? ask(type) : "";
}

static void note(const void *buffer, const void *type, size_t size, unsigned lib, unsigned sum)
{
    int kept = errno;
    (void)sl_host_nested(); /* makes a phase void that was left by an exception */
    sl_host_thread *thread = sl_host_this_thread();
    thread->empty += buffer && size == 0;
    if (buffer && size) {
        sl_host_object facts = {
            .kind = SL_HOST_BUFFER, .lib = lib, .id = thread->owner, .phase = thread->phase, .bytes = (int64_t)size};
        thread->bytes[sum] += size;
        if (sl_host_object_add(buffer, &facts))
            tell((int64_t)size, thread->owner, thread->phase, name_of(lib, buffer, type));
    }
    errno = kept;
}

static unsigned sum_of(const void *caller)
{
    const sl_host_thread *thread = sl_host_this_thread();
    if (thread->phase != SL_PROBE_PHASE_CONTEXT)
        return SL_HOST_BYTES_COMPUTE;
    if (thread->kv)
        return SL_HOST_BYTES_KV;
    bool from_llama = sl_host_in_lib(caller, SL_HOOK_llama_decode);
    bool all_in_one = from_llama && sl_host_in_lib(caller, SL_HOOK_ggml_backend_buft_alloc_buffer);
    return from_llama && !all_in_one ? SL_HOST_BYTES_OUTPUT : SL_HOST_BYTES_COMPUTE;
}

void *hook_ggml_backend_buft_alloc_buffer(void *type, size_t size)
{
    alloc_fn real = SL_REAL(alloc_fn, ggml_backend_buft_alloc_buffer, (sl_host_object *)NULL);
    if (!real)
        return NULL;
    void *buffer = real(type, size);
    if (sl_host_recording(SL_HOOK_ggml_backend_buft_alloc_buffer, (void *)real))
        note(buffer, type, size, sl_host_lib_of(SL_HOOK_ggml_backend_buft_alloc_buffer, (const void *)real),
             sum_of(SL_CALLER));
    return buffer;
}

void *hook_ggml_backend_alloc_ctx_tensors_from_buft(void *tensors, void *type)
{
    alloc_tensors_fn real = SL_REAL(alloc_tensors_fn, ggml_backend_alloc_ctx_tensors_from_buft, (sl_host_object *)NULL);
    if (!real)
        return NULL;
    if (!sl_host_recording(SL_HOOK_ggml_backend_alloc_ctx_tensors_from_buft, (void *)real))
        return real(tensors, type);
    sl_host_thread *thread = sl_host_this_thread();
    uint8_t before = thread->kv;
    thread->kv = 1;
    void *buffer = real(tensors, type);
    thread->kv = before;
    return buffer;
}

void *hook_ggml_backend_dev_buffer_from_host_ptr(void *device, void *ptr, size_t size, size_t max_tensor_size)
{
    from_ptr_fn real = SL_REAL(from_ptr_fn, ggml_backend_dev_buffer_from_host_ptr, (sl_host_object *)NULL);
    if (!real)
        return NULL;
    void *buffer = real(device, ptr, size, max_tensor_size);
    if (sl_host_recording(SL_HOOK_ggml_backend_dev_buffer_from_host_ptr, (void *)real))
        note(buffer, NULL, size, sl_host_lib_of(SL_HOOK_ggml_backend_dev_buffer_from_host_ptr, (const void *)real),
             SL_HOST_BYTES_MAPPED);
    return buffer;
}

void hook_ggml_backend_buffer_free(void *buffer)
{
    sl_host_object was;
    char name[NAME_MOST + 1] = "";
    const sl_host_object *object = sl_host_object_find(buffer, SL_HOST_BUFFER);
    free_fn real = SL_REAL(free_fn, ggml_backend_buffer_free, object);
    if (!real)
        return;
    int kept = errno;
    bool known = sl_host_recording(SL_HOOK_ggml_backend_buffer_free, (void *)real) &&
                 sl_host_object_remove(buffer, SL_HOST_BUFFER, &was);
    if (known) {
        const char *text = name_of(was.lib, buffer, NULL);
        size_t len = text ? strnlen(text, NAME_MOST) : 0;
        if (len)
            memcpy(name, text, len);
    }
    errno = kept;
    real(buffer);
    kept = errno;
    if (known)
        tell(-was.bytes, was.id, was.phase, name);
    errno = kept;
}
