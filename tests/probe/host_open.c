/*
 * A host that opens what it needs itself: dlopen with RTLD_LOCAL and dlsym, as Python's ctypes and Node's addons do.
 * host_open MODE LIBRARY [LIBRARY …]. What it prints does not depend on whether the probe is there.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fake_llama.h"

typedef struct copy {
    void *handle;
    llama_model_params (*model_params)(void);
    llama_context_params (*context_params)(void);
    llama_model *(*load)(const char *path, llama_model_params params);
    llama_context *(*init)(llama_model *model, llama_context_params params);
    int32_t (*decode)(llama_context *context, llama_batch batch);
    float *(*logits)(llama_context *context, int32_t row);
    void (*free_context)(llama_context *context);
    void (*free_model)(llama_model *model);
    llama_sampler *(*chain_init)(llama_sampler_chain_params params);
    int32_t (*sample)(llama_sampler *sampler, llama_context *context, int32_t row);
    void (*free_sampler)(llama_sampler *sampler);
    unsigned long (*calls)(void);
} copy;

static void *either(void *handle, const char *name, const char *older)
{
    void *found = dlsym(handle, name);
    return found || !older ? found : dlsym(handle, older);
}

static copy open_copy(const char *path)
{
    void *h = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!h) {
        printf("%s\n", dlerror());
        exit(1);
    }
    return (copy){
        .handle = h,
        .model_params = dlsym(h, "fake_model_params"),
        .context_params = dlsym(h, "fake_context_params"),
        .load = either(h, "llama_model_load_from_file", "llama_load_model_from_file"),
        .init = either(h, "llama_init_from_model", "llama_new_context_with_model"),
        .decode = dlsym(h, "llama_decode"),
        .logits = dlsym(h, "llama_get_logits_ith"),
        .free_context = dlsym(h, "llama_free"),
        .free_model = either(h, "llama_model_free", "llama_free_model"),
        .chain_init = dlsym(h, "llama_sampler_chain_init"),
        .sample = dlsym(h, "llama_sampler_sample"),
        .free_sampler = dlsym(h, "llama_sampler_free"),
        .calls = dlsym(h, "fake_calls"),
    };
}

static void use(copy *c, llama_model **ret_model, llama_context **ret_context)
{
    *ret_model = c->load("/models/tiny.gguf", c->model_params());
    *ret_context = c->init(*ret_model, c->context_params());
}

static int32_t decode(copy *c, llama_context *context, int32_t token)
{
    llama_batch batch = {.n_tokens = 1, .token = &token};
    int32_t result = c->decode(context, batch);
    printf("logits %g\n", *c->logits(context, 0)); /* the copy's salt is in it */
    return result;
}

static void mode_once(char **paths)
{
    copy c = open_copy(paths[0]);
    llama_model *m;
    llama_context *x;
    use(&c, &m, &x);
    printf("%d\n", decode(&c, x, 5));
    c.free_context(x);
    c.free_model(m);
    printf("%lu calls\n", c.calls());
}

/* All copies open at once, their calls interleaved. */
static void mode_copies(char **paths)
{
    copy c[4];
    llama_model *m[4];
    llama_context *x[4];
    llama_sampler *s[4];
    int n = 0;
    for (; paths[n] && n < 4; n++)
        c[n] = open_copy(paths[n]);
    for (int i = 0; i < n; i++)
        use(&c[i], &m[i], &x[i]);
    for (int i = n - 1; i >= 0; i--)
        s[i] = c[i].chain_init((llama_sampler_chain_params){true});
    for (int round = 0; round < 3; round++)
        for (int i = 0; i < n; i++)
            printf("%d %d\n", decode(&c[i], x[i], round), c[i].sample(s[i], x[i], 0));
    for (int i = 0; i < n; i++) {
        c[i].free_sampler(s[i]);
        c[i].free_context(x[i]);
        c[i].free_model(m[i]);
        printf("%lu calls\n", c[i].calls());
    }
}

/* Opened, used, closed, and again: at another address, perhaps. */
static void mode_again(char **paths)
{
    for (int i = 0; paths[i]; i++) {
        copy c = open_copy(paths[i]);
        llama_model *m;
        llama_context *x;
        use(&c, &m, &x);
        printf("%d\n", decode(&c, x, i));
        c.free_context(x);
        c.free_model(m);
        printf("%lu calls\n", c.calls());
        dlclose(c.handle);
    }
}

/* ggml without llama.cpp, as other programs use it. */
static void mode_ggml(char **paths)
{
    void *h = dlopen(paths[0], RTLD_NOW | RTLD_LOCAL);
    void *(*alloc)(const char *, size_t) = (void *(*)(const char *, size_t))dlsym(h, "ggml_backend_buft_alloc_buffer");
    void (*release)(void *) = (void (*)(void *))dlsym(h, "ggml_backend_buffer_free");
    release(alloc("CPU", 100));
    puts("done");
}

/* A handle that is closed while others keep the library. */
static void mode_closing(char **paths)
{
    copy c = open_copy(paths[0]);
    llama_model *m;
    llama_context *x;
    use(&c, &m, &x);
    for (int i = 0; i < 3; i++) {
        dlclose(dlopen(paths[0], RTLD_NOW | RTLD_LOCAL));
        dlclose(dlopen(paths[1], RTLD_NOW | RTLD_LOCAL));
        printf("%d\n", decode(&c, x, i));
    }
    c.free_context(x);
    c.free_model(m);
}

/* Which names are there? A program that picks its way by them must not be led astray. */
static void ask(const char *what, void *handle, const char *name)
{
    (void)dlerror();
    void *found = dlsym(handle, name);
    const char *error = dlerror();
    printf("%s %s: %s%s\n", what, name, found ? "there" : "not there", error ? ", with an error" : "");
}

static void mode_presence(char **paths)
{
    static const char *const names[] = {"llama_model_load_from_file",
                                        "llama_load_model_from_file",
                                        "llama_decode",
                                        "llama_process",
                                        "ggml_backend_buffer_free",
                                        "fake_calls",
                                        "printf",
                                        "no_such_name",
                                        "SSL_read"};
    void *main_handle = dlopen(NULL, RTLD_NOW);
    for (int round = 0; round < 3; round++) {
        void *h = round == 0 ? NULL : dlopen(paths[0], RTLD_NOW | (round == 1 ? RTLD_LOCAL : RTLD_GLOBAL));
        for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
            ask("default", RTLD_DEFAULT, names[i]);
            ask("next", RTLD_NEXT, names[i]);
            ask("main", main_handle, names[i]);
            if (h)
                ask("handle", h, names[i]);
        }
    }
    (void)dlerror();
    printf("%d %s\n", dlvsym(RTLD_DEFAULT, "printf", "GLIBC_2.2.5") != NULL, dlerror() ? "error" : "no error");
    printf("%d %s\n", dlvsym(RTLD_DEFAULT, "llama_decode", "NONE_1") != NULL, dlerror() ? "error" : "no error");
    printf("%d\n", dlsym(NULL, "") != NULL);
}

/* A plugin that is itself linked to a copy of its own: its calls go to that copy. */
static void mode_plugins(char **paths)
{
    for (int i = 0; paths[i]; i++) {
        void *h = dlopen(paths[i], RTLD_NOW | RTLD_LOCAL);
        if (!h)
            printf("%s\n", dlerror());
    }
    for (int round = 0; round < 3; round++)
        for (int i = 0; paths[i]; i++) {
            int (*run)(int) = (int (*)(int))dlsym(dlopen(paths[i], RTLD_NOW | RTLD_LOCAL), "plugin_run");
            printf("plugin %d: %d\n", i, run(round));
        }
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(char **paths);
    } modes[] = {{"once", mode_once},         {"copies", mode_copies},   {"again", mode_again},
                 {"presence", mode_presence}, {"plugins", mode_plugins}, {"ggml", mode_ggml},
                 {"closing", mode_closing}};
    for (size_t i = 0; argc > 2 && i < sizeof modes / sizeof *modes; i++)
        if (strcmp(argv[1], modes[i].name) == 0)
            modes[i].run(argv + 2);
    return 0;
}
