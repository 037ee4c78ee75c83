/*
 * A program with a stand-in for libllama: loads, decodes N times, says what came back, and waits for the end of its
 * standard input; for each d there it does so again, for each f a child does, for an o it opens LIBRARY and does so
 * with that, and for an x it becomes itself anew. `static_host MODEL N [LIBRARY]`.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

typedef struct params {
    uint64_t words[12];
} params;
typedef struct context_params {
    uint64_t words[15];
} context_params;
typedef struct batch {
    int32_t n_tokens;
    int32_t *token;
    float *embd;
    int32_t *pos;
    int32_t *n_seq_id;
    int32_t **seq_id;
    int8_t *logits;
} batch;

void *llama_model_load_from_file(const char *path, params p);
void *llama_init_from_model(void *model, context_params p);
int32_t llama_decode(void *context, batch b);
void llama_free(void *context);
void llama_model_free(void *model);

typedef void *(*load_fn)(const char *path, params p);
typedef void *(*init_fn)(void *model, context_params p);
typedef int32_t (*decode_fn)(void *context, batch b);

static long decode_by(decode_fn fn, void *context, long count)
{
    int32_t tokens[] = {100, 101, 102};
    long good = 0;
    for (long i = 0; i < count; i++)
        good += fn(context, (batch){.n_tokens = 3, .token = tokens}) == 0;
    printf("good=%ld\n", good);
    fflush(stdout);
    return good;
}

static long decode(void *context, long count)
{
    return decode_by(llama_decode, context, count);
}

/* With a library that is opened only now; it stays. */
static void open_and_decode(const char *path, long count)
{
    void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    load_fn load = library ? (load_fn)dlsym(library, "llama_model_load_from_file") : NULL;
    init_fn init = library ? (init_fn)dlsym(library, "llama_init_from_model") : NULL;
    decode_fn fn = library ? (decode_fn)dlsym(library, "llama_decode") : NULL;
    if (!load || !init || !fn) {
        printf("%s\n", library ? "functions are missing" : dlerror());
        fflush(stdout);
        return;
    }
    (void)sleep(2); /* whoever looks at it from outside looks again once a second */
    (void)decode_by(fn, init(load("late.gguf", (params){.words = {[11] = 11}}), (context_params){.words = {[14] = 14}}),
                    count);
}

/* A child that decodes as well. */
static void fork_and_decode(void *context, long count)
{
    pid_t child = fork();
    if (child == 0)
        _exit(decode(context, count) == count ? 0 : 1);
    (void)waitpid(child, NULL, 0);
}

int main(int argc, char **argv)
{
    params p = {.words = {[11] = 11}};
    context_params c = {.words = {[14] = 14}};
    char what;
    void *model = llama_model_load_from_file(argc > 1 ? argv[1] : "none.gguf", p);
    void *context = llama_init_from_model(model, c);
    long count = argc > 2 ? strtol(argv[2], NULL, 10) : 1, good;
    if (!context)
        return 1;
    good = decode(context, count);
    while (read(STDIN_FILENO, &what, 1) > 0) {
        if (what == 'd')
            (void)decode(context, count);
        else if (what == 'f')
            fork_and_decode(context, count);
        else if (what == 'o')
            open_and_decode(argc > 3 ? argv[3] : "libllama.so", count);
        else if (what == 'x')
            (void)execv("/proc/self/exe", argv);
    }
    llama_free(context);
    llama_model_free(model);
    return good == count ? 0 : 1;
}
