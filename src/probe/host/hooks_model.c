/* Hooks: loading and freeing of models. */
#include <stdio.h>
#include <unistd.h>

#include "src/probe/host/hook.h"
#include "src/probe/host/living.h"

#define PATH_MOST 4096
#define DESC_MOST 256

typedef void *(*load_one_fn)(const void *from, sl_params_block params);
typedef void *(*load_many_fn)(const char **paths, size_t count, sl_params_block params);
typedef void *(*load_user_fn)(void *metadata, void *set, void *user, sl_params_block params);
typedef void (*free_fn)(void *object);
typedef void (*init_fn)(uint64_t numa);
typedef int32_t (*desc_fn)(const void *model, char *text, size_t size);

void *hook_llama_model_load_from_file(const char *path, sl_params_block params);
void *hook_llama_load_model_from_file(const char *path, sl_params_block params);
void *hook_llama_model_load_from_splits(const char **paths, size_t count, sl_params_block params);
void *hook_llama_model_load_from_file_ptr(void *file, sl_params_block params);
void *hook_llama_model_init_from_user(void *metadata, void *set, void *user, sl_params_block params);
void hook_llama_model_free(void *model);
void hook_llama_free_model(void *model);
void hook_llama_backend_init(uint64_t numa);

/* A loading that is recorded. */
typedef struct loading {
    uint64_t start_ns;
    uint32_t model;
} loading;

/* True when this call is to be recorded: then the scope is open. */
static bool begin(loading *load, sl_host_scope *scope)
{
    if (!sl_host_seen() || sl_host_nested())
        return false;
    *load = (loading){sl_host_now(), sl_host_next(&sl_host_made.last_model)};
    sl_host_scope_begin(scope, SL_PROBE_PHASE_MODEL, load->model);
    memset(scope->thread->bytes, 0, sizeof scope->thread->bytes);
    scope->thread->empty = 0;
    return true;
}

/* What was done says how: parameters stand at other places in each release. */
static uint16_t flags_of(const sl_host_thread *thread, bool failed)
{
    uint64_t taken = thread->bytes[SL_HOST_BYTES_COMPUTE], mapped = thread->bytes[SL_HOST_BYTES_MAPPED];
    if (failed)
        return SL_PROBE_MODEL_FAILED;
    if (mapped)
        return SL_PROBE_MODEL_FLAGS_KNOWN | SL_PROBE_MODEL_MMAP;
    if (taken)
        return 0;
    return thread->empty ? SL_PROBE_MODEL_NO_ALLOC : 0;
}

static size_t put_text(char *tail, const char *text, size_t most)
{
    size_t len = text ? strnlen(text, most - 1) : 0;
    if (len)
        memcpy(tail, text, len);
    tail[len] = '\0';
    return len + 1;
}

static void tell(const loading *load, const sl_host_thread *thread, const void *model, unsigned lib, const char *path,
                 uint32_t splits)
{
    char texts[PATH_MOST + DESC_MOST], desc[DESC_MOST] = "";
    desc_fn describe = (desc_fn)sl_host_find(lib, "llama_model_desc");
    if (model && describe)
        (void)describe(model, desc, sizeof desc);
    size_t tail = put_text(texts, path, PATH_MOST);
    tail += put_text(texts + tail, desc, sizeof desc);
    sl_probe_model_load *e = (sl_probe_model_load *)(void *)sl_host_take(SL_PROBE_MODEL_LOAD, sizeof *e, tail);
    if (!e)
        return;
    e->head.flags = flags_of(thread, model == NULL);
    e->head.count = (uint32_t)tail;
    e->start_ns = load->start_ns;
    e->n_params = sl_host_ask_u64(lib, "llama_model_n_params", model);
    e->size_bytes = sl_host_ask_u64(lib, "llama_model_size", model);
    e->weights_bytes = thread->bytes[SL_HOST_BYTES_COMPUTE] + thread->bytes[SL_HOST_BYTES_MAPPED];
    e->model = load->model;
    e->n_ctx_train = sl_host_ask_i32(lib, "llama_model_n_ctx_train", "llama_n_ctx_train", model);
    e->n_layer = sl_host_ask_i32(lib, "llama_model_n_layer", "llama_n_layer", model);
    e->n_embd = sl_host_ask_i32(lib, "llama_model_n_embd", "llama_n_embd", model);
    e->splits = splits;
    e->reserved = 0;
    memcpy(e + 1, texts, tail);
    if (model)
        sl_host_living_add(&e->head, load->model, sizeof *e, tail);
    sl_host_commit(&e->head, sizeof *e, tail);
}

static void end(const loading *load, const sl_host_scope *scope, void *model, unsigned lib, const char *path,
                uint32_t splits)
{
    int kept = errno;
    sl_host_object facts = {.kind = SL_HOST_MODEL, .lib = lib, .id = load->model};
    (void)sl_host_object_add(model, &facts);
    tell(load, scope->thread, model, lib, path, splits);
    sl_host_scope_end(scope);
    errno = kept;
}

/* ---- loading ---- */

static void *load_one(load_one_fn real, sl_hook_id id, const char *path, const sl_params_block *params)
{
    sl_host_scope scope;
    loading load;
    sl_params_block copy;
    if (!real)
        return NULL;
    unsigned lib = sl_host_lib_of(id, (const void *)real);
    sl_host_params(&copy, params, lib, "llama_model_default_params");
    if (!begin(&load, &scope))
        return real(path, copy);
    void *model = real(path, copy);
    end(&load, &scope, model, lib, path, 1);
    return model;
}

void *hook_llama_model_load_from_file(const char *path, sl_params_block params)
{
    sl_host_look();
    load_one_fn real = SL_REAL(load_one_fn, llama_model_load_from_file, (sl_host_object *)NULL);
    return load_one(real, SL_HOOK_llama_model_load_from_file, path, &params);
}

void *hook_llama_load_model_from_file(const char *path, sl_params_block params)
{
    sl_host_look();
    load_one_fn real = SL_REAL(load_one_fn, llama_load_model_from_file, (sl_host_object *)NULL);
    return load_one(real, SL_HOOK_llama_load_model_from_file, path, &params);
}

void *hook_llama_model_load_from_splits(const char **paths, size_t count, sl_params_block params)
{
    sl_host_look();
    load_many_fn real = SL_REAL(load_many_fn, llama_model_load_from_splits, (sl_host_object *)NULL);
    sl_host_scope scope;
    loading load;
    sl_params_block copy;
    if (!real)
        return NULL;
    unsigned lib = sl_host_lib_of(SL_HOOK_llama_model_load_from_splits, (const void *)real);
    sl_host_params(&copy, &params, lib, "llama_model_default_params");
    if (!begin(&load, &scope))
        return real(paths, count, copy);
    void *model = real(paths, count, copy);
    end(&load, &scope, model, lib, paths && count ? paths[0] : NULL, (uint32_t)count);
    return model;
}

/* The path of an open file, as the kernel knows it. */
static void path_of(void *file, char *ret_path, size_t size)
{
    char link[32];
    (void)snprintf(link, sizeof link, "/proc/self/fd/%d", file ? fileno(file) : -1);
    ssize_t len = readlink(link, ret_path, size - 1);
    ret_path[len > 0 ? len : 0] = '\0';
}

void *hook_llama_model_load_from_file_ptr(void *file, sl_params_block params)
{
    sl_host_look();
    load_one_fn real = SL_REAL(load_one_fn, llama_model_load_from_file_ptr, (sl_host_object *)NULL);
    sl_host_scope scope;
    loading load;
    char path[PATH_MOST];
    sl_params_block copy;
    if (!real)
        return NULL;
    unsigned lib = sl_host_lib_of(SL_HOOK_llama_model_load_from_file_ptr, (const void *)real);
    sl_host_params(&copy, &params, lib, "llama_model_default_params");
    if (!begin(&load, &scope))
        return real(file, copy);
    int kept = errno;
    path_of(file, path, sizeof path);
    errno = kept;
    void *model = real(file, copy);
    end(&load, &scope, model, lib, path, 1);
    return model;
}

void *hook_llama_model_init_from_user(void *metadata, void *set, void *user, sl_params_block params)
{
    sl_host_look();
    load_user_fn real = SL_REAL(load_user_fn, llama_model_init_from_user, (sl_host_object *)NULL);
    sl_host_scope scope;
    loading load;
    sl_params_block copy;
    if (!real)
        return NULL;
    unsigned lib = sl_host_lib_of(SL_HOOK_llama_model_init_from_user, (const void *)real);
    sl_host_params(&copy, &params, lib, "llama_model_default_params");
    if (!begin(&load, &scope))
        return real(metadata, set, user, copy);
    void *model = real(metadata, set, user, copy);
    end(&load, &scope, model, lib, "", 1);
    return model;
}

/* ---- freeing ---- */

static void release(free_fn real, sl_hook_id id, void *model)
{
    sl_host_object was;
    if (!sl_host_recording(id, (void *)real) || !sl_host_object_remove(model, SL_HOST_MODEL, &was)) {
        real(model);
        return;
    }
    sl_host_living_remove(SL_PROBE_MODEL_LOAD, was.id);
    real(model);
    int kept = errno;
    sl_probe_model_free *e = (sl_probe_model_free *)(void *)sl_host_take(SL_PROBE_MODEL_FREE, sizeof *e, 0);
    if (e) {
        e->model = was.id;
        e->reserved = 0;
        sl_host_commit(&e->head, sizeof *e, 0);
    }
    errno = kept;
}

void hook_llama_model_free(void *model)
{
    free_fn real = SL_REAL(free_fn, llama_model_free, sl_host_object_find(model, SL_HOST_MODEL));
    if (real)
        release(real, SL_HOOK_llama_model_free, model);
}

void hook_llama_free_model(void *model)
{
    free_fn real = SL_REAL(free_fn, llama_free_model, sl_host_object_find(model, SL_HOST_MODEL));
    if (real)
        release(real, SL_HOOK_llama_free_model, model);
}

/* Servers call it long before they load anything: so requests are seen that come while the model is being loaded. */
void hook_llama_backend_init(uint64_t numa)
{
    sl_host_look();
    init_fn real = SL_REAL(init_fn, llama_backend_init, (sl_host_object *)NULL);
    (void)sl_host_seen();
    if (real)
        real(numa);
}
