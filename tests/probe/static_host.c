/*
 * A program with a stand-in for libllama: loads, decodes N times, says what came back, and waits for the end of its
 * standard input; for each d there it does so again, for each f a child does, and for an x it becomes itself anew.
 * `static_host MODEL N`.
 */
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

static long decode(void *context, long count)
{
    int32_t tokens[] = {100, 101, 102};
    long good = 0;
    for (long i = 0; i < count; i++)
        good += llama_decode(context, (batch){.n_tokens = 3, .token = tokens}) == 0;
    printf("good=%ld\n", good);
    fflush(stdout);
    return good;
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
        else if (what == 'x')
            (void)execv("/proc/self/exe", argv);
    }
    llama_free(context);
    llama_model_free(model);
    return good == count ? 0 : 1;
}
