/*
 * A host of libllama without llama.h: drives any release since late 2024, by the functions that have stayed the same.
 *
 *     llama_host [--ggml FILE --llama FILE] [--how handle|global] [--again FILE [--again-ggml FILE]] --model FILE
 * STEP...
 *
 * Steps run in order; each prints one line of JSON that depends on nothing but the model and the release, so that the
 * output of two runs can be compared byte by byte. With -DLINKED="FILE" the functions come from the linker and FILE
 * says which there are; otherwise they come from dlopen and dlsym.
 *
 * Structures by value that change from release to release are handed through as opaque blocks of 512 bytes (x86-64:
 * anything longer than 16 bytes goes in memory, whatever its size).
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { SEQS = 2, STEPS = 16, CONTEXT = 4096, MAX_BATCH = 64, NOBODY = 65534 };

typedef struct block {
    uint64_t word[64];
} block;
typedef struct batch { /* llama_batch */
    int32_t n_tokens;
    int32_t *token;
    float *embd;
    int32_t *pos;
    int32_t *n_seq_id;
    int32_t **seq_id;
    int8_t *logits;
} batch;
typedef struct chain_params {
    bool no_perf;
} chain_params;

/* Every function that is used: result, name, arguments. Not all exist in every release. */
#define FUNCTIONS(X)                                                                                                   \
    X(void, llama_backend_init, (void))                                                                                \
    X(void, llama_log_set, (void (*)(int, const char *, void *), void *))                                              \
    X(block, llama_model_default_params, (void))                                                                       \
    X(block, llama_context_default_params, (void))                                                                     \
    X(void *, llama_load_model_from_file, (const char *, block))                                                       \
    X(void *, llama_model_load_from_file, (const char *, block))                                                       \
    X(void *, llama_new_context_with_model, (void *, block))                                                           \
    X(void *, llama_init_from_model, (void *, block))                                                                  \
    X(void, llama_free_model, (void *))                                                                                \
    X(void, llama_model_free, (void *))                                                                                \
    X(void, llama_free, (void *))                                                                                      \
    X(int32_t, llama_decode, (void *, batch))                                                                          \
    X(int32_t, llama_process, (void *, int, void *))                                                                   \
    X(void *, llama_batch_ext_init, (void *))                                                                          \
    X(void, llama_batch_ext_free, (void *))                                                                            \
    X(void, llama_batch_ext_clear, (void *))                                                                           \
    X(int32_t, llama_batch_ext_add_token, (void *, int32_t, int32_t))                                                  \
    X(void, llama_batch_ext_set_pos, (void *, int32_t, const int32_t *))                                               \
    X(void, llama_batch_ext_set_output_logits, (void *, int32_t, bool))                                                \
    X(float *, llama_get_logits_ith, (void *, int32_t))                                                                \
    X(void, llama_synchronize, (void *))                                                                               \
    X(void *, llama_get_memory, (void *))                                                                              \
    X(bool, llama_memory_seq_rm, (void *, int32_t, int32_t, int32_t))                                                  \
    X(void, llama_memory_seq_cp, (void *, int32_t, int32_t, int32_t, int32_t))                                         \
    X(void, llama_memory_clear, (void *, bool))                                                                        \
    X(bool, llama_kv_self_seq_rm, (void *, int32_t, int32_t, int32_t))                                                 \
    X(void, llama_kv_self_seq_cp, (void *, int32_t, int32_t, int32_t, int32_t))                                        \
    X(void, llama_kv_self_clear, (void *))                                                                             \
    X(bool, llama_kv_cache_seq_rm, (void *, int32_t, int32_t, int32_t))                                                \
    X(void, llama_kv_cache_seq_cp, (void *, int32_t, int32_t, int32_t, int32_t))                                       \
    X(void, llama_kv_cache_clear, (void *))                                                                            \
    X(size_t, llama_state_seq_get_size, (void *, int32_t))                                                             \
    X(size_t, llama_state_seq_get_data, (void *, uint8_t *, size_t, int32_t))                                          \
    X(size_t, llama_state_seq_set_data, (void *, const uint8_t *, size_t, int32_t))                                    \
    X(const void *, llama_model_get_vocab, (const void *))                                                             \
    X(int32_t, llama_n_vocab, (const void *))                                                                          \
    X(int32_t, llama_tokenize, (const void *, const char *, int32_t, int32_t *, int32_t, bool, bool))                  \
    X(uint64_t, llama_model_size, (const void *))                                                                      \
    X(uint64_t, llama_model_n_params, (const void *))                                                                  \
    X(int32_t, llama_model_desc, (const void *, char *, size_t))                                                       \
    X(int32_t, llama_n_ctx_train, (const void *))                                                                      \
    X(int32_t, llama_n_layer, (const void *))                                                                          \
    X(int32_t, llama_n_embd, (const void *))                                                                           \
    X(uint32_t, llama_n_ctx, (const void *))                                                                           \
    X(uint32_t, llama_n_batch, (const void *))                                                                         \
    X(uint32_t, llama_n_seq_max, (const void *))                                                                       \
    X(chain_params, llama_sampler_chain_default_params, (void))                                                        \
    X(void *, llama_sampler_chain_init, (chain_params))                                                                \
    X(void *, llama_sampler_init_greedy, (void))                                                                       \
    X(void, llama_sampler_chain_add, (void *, void *))                                                                 \
    X(int32_t, llama_sampler_sample, (void *, void *, int32_t))                                                        \
    X(void, llama_sampler_free, (void *))

typedef struct api {
#define FIELD(result, name, args) result(*name) args;
    FUNCTIONS(FIELD)
#undef FIELD
    void *handle;
} api;

typedef struct host {
    api f;
    void *model;
    void *context;
    bool process; /* llama_process instead of llama_decode */
    bool sampler; /* llama_sampler_sample instead of own arithmetic on the logits */
    const char *model_path;
    const char *llama_path;
    const char *again_path;
    const char *how;
    struct host *second;
    int decodes, prompt, generated, failed;
} host;

static void quiet(int level, const char *text, void *user)
{
    (void)level, (void)text, (void)user;
}

static void die(const char *what, const char *why)
{
    fprintf(stderr, "llama_host: %s: %s\n", what, why);
    exit(1);
}

/* Libraries. */

static void load_backends(void *ggml, const char *path)
{
    void *at = dlsym(ggml, "ggml_backend_load_all_from_path");
    char folder[4096];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (at == NULL || slash == NULL)
        return;
    *slash = 0;
    void (*load)(const char *);
    memcpy(&load, &at, sizeof load);
    load(folder);
}

#ifdef LINKED
#define DECLARE(result, name, args) result name args;
FUNCTIONS(DECLARE)
#include LINKED /* link_names(): an assignment for every function that this release has */
static void bind(host *h, const char *ggml)
{
    if (ggml)
        load_backends(RTLD_DEFAULT, ggml);
    link_names(&h->f);
}
#else
static void find(void **ret, void *handle, const char *name)
{
    *ret = dlsym(handle, name);
}

static void bind(host *h, const char *ggml)
{
    bool global = strcmp(h->how, "global") == 0;
    int flags = RTLD_NOW | (global ? RTLD_GLOBAL : RTLD_LOCAL);
    if (ggml) {
        void *handle = dlopen(ggml, flags);
        if (handle == NULL)
            die(ggml, dlerror());
        load_backends(handle, ggml);
    }
    h->f.handle = dlopen(h->llama_path, flags);
    if (h->f.handle == NULL)
        die(h->llama_path, dlerror());
    void *where = global ? RTLD_DEFAULT : h->f.handle;
#define FIND(result, name, args) find((void **)&h->f.name, where, #name);
    FUNCTIONS(FIND)
#undef FIND
}
#endif

/* Model and context. */

static void open_model(host *h)
{
    api *f = &h->f;
    if (getenv("LLAMA_HOST_LOG") == NULL)
        f->llama_log_set(quiet, NULL);
    f->llama_backend_init();
    block params = f->llama_model_default_params();
    h->model = (f->llama_model_load_from_file ? f->llama_model_load_from_file
                                              : f->llama_load_model_from_file)(h->model_path, params);
    if (h->model == NULL)
        die(h->model_path, "not loaded");
    block c = f->llama_context_default_params();
    uint32_t head[6] = {CONTEXT, MAX_BATCH, MAX_BATCH, SEQS, 0, 0}; /* n_ctx, n_batch, n_ubatch, n_seq_max */
    memcpy(&c, head, 4 * sizeof head[0]);
    uint32_t *words = (uint32_t *)&c; /* the two numbers of threads are the first pair of equal small numbers */
    for (int i = 4; i < 8; i++) {
        if (words[i] == words[i + 1] && words[i] > 0 && words[i] < 1024) {
            words[i] = words[i + 1] = 1;
            break;
        }
    }
    h->context = (f->llama_init_from_model ? f->llama_init_from_model : f->llama_new_context_with_model)(h->model, c);
    if (h->context == NULL)
        die(h->model_path, "no context");
}

static void close_model(host *h)
{
    h->f.llama_free(h->context);
    (h->f.llama_model_free ? h->f.llama_model_free : h->f.llama_free_model)(h->model);
    h->context = h->model = NULL;
}

static void show_facts(host *h)
{
    api *f = &h->f;
    char text[256] = "";
    f->llama_model_desc(h->model, text, sizeof text);
    printf("{\"step\":\"facts\",\"desc\":\"%s\",\"size\":%llu,\"n_params\":%llu,\"n_ctx_train\":%d,\"n_layer\":%d,"
           "\"n_embd\":%d,\"n_ctx\":%u,\"n_batch\":%u,\"n_seq_max\":%u}\n",
           text, (unsigned long long)f->llama_model_size(h->model),
           (unsigned long long)f->llama_model_n_params(h->model), f->llama_n_ctx_train(h->model),
           f->llama_n_layer(h->model), f->llama_n_embd(h->model), f->llama_n_ctx(h->context),
           f->llama_n_batch(h->context), f->llama_n_seq_max(h->context));
}

/* Decoding. */

typedef struct work {
    int n;
    int32_t token[MAX_BATCH], pos[MAX_BATCH], seq[MAX_BATCH];
    int8_t output[MAX_BATCH];
} work;

static void work_add(work *w, int32_t token, int32_t pos, int32_t seq, bool output)
{
    w->token[w->n] = token;
    w->pos[w->n] = pos;
    w->seq[w->n] = seq;
    w->output[w->n++] = output;
}

static int decode_old(host *h, work *w)
{
    int32_t one[MAX_BATCH], *seqs[MAX_BATCH];
    for (int i = 0; i < w->n; i++) {
        one[i] = 1;
        seqs[i] = &w->seq[i];
    }
    batch b = {
        .n_tokens = w->n, .token = w->token, .pos = w->pos, .n_seq_id = one, .seq_id = seqs, .logits = w->output};
    return h->f.llama_decode(h->context, b);
}

static int decode_new(host *h, work *w)
{
    api *f = &h->f;
    void *b = f->llama_batch_ext_init(h->context);
    f->llama_batch_ext_clear(b);
    for (int i = 0; i < w->n; i++) {
        int32_t at = f->llama_batch_ext_add_token(b, w->seq[i], w->token[i]);
        f->llama_batch_ext_set_pos(b, at, &w->pos[i]);
        f->llama_batch_ext_set_output_logits(b, at, w->output[i]);
    }
    int rc = f->llama_process(h->context, 1, b);
    f->llama_batch_ext_free(b);
    return rc;
}

static int decode(host *h, work *w)
{
    int rc = h->process ? decode_new(h, w) : decode_old(h, w);
    h->decodes++;
    h->failed += rc != 0;
    return rc;
}

static int32_t best(host *h, int row, void *chain)
{
    if (chain)
        return h->f.llama_sampler_sample(chain, h->context, row);
    const float *logits = h->f.llama_get_logits_ith(h->context, row);
    const void *vocab = h->f.llama_model_get_vocab ? h->f.llama_model_get_vocab(h->model) : h->model;
    int n = h->f.llama_n_vocab(vocab), top = 0;
    for (int i = 1; i < n; i++)
        top = logits[i] > logits[top] ? i : top;
    return top;
}

static int tokenize(host *h, const char *text, int32_t *out)
{
    const void *vocab = h->f.llama_model_get_vocab ? h->f.llama_model_get_vocab(h->model) : h->model;
    return h->f.llama_tokenize(vocab, text, (int32_t)strlen(text), out, MAX_BATCH / SEQS, true, true);
}

static void clear_memory(host *h)
{
    api *f = &h->f;
    if (f->llama_memory_clear)
        f->llama_memory_clear(f->llama_get_memory(h->context), true);
    else if (f->llama_kv_self_clear)
        f->llama_kv_self_clear(h->context);
    else
        f->llama_kv_cache_clear(h->context);
}

/* Both prompts in one batch, then one token of each sequence per batch. */
static void run(host *h, const char *name)
{
    static const char *const prompt[SEQS] = {"the quick brown fox", "how is it"};
    clear_memory(h);
    work w = {0};
    int32_t tokens[MAX_BATCH], last[SEQS];
    int n[SEQS], row[SEQS];
    for (int s = 0; s < SEQS; s++) {
        n[s] = tokenize(h, prompt[s], tokens);
        for (int i = 0; i < n[s]; i++)
            work_add(&w, tokens[i], i, s, i == n[s] - 1);
        row[s] = w.n - 1;
        h->prompt += n[s];
    }
    void *chain = NULL;
    if (h->sampler) {
        chain = h->f.llama_sampler_chain_init(h->f.llama_sampler_chain_default_params());
        h->f.llama_sampler_chain_add(chain, h->f.llama_sampler_init_greedy());
    }
    if (decode(h, &w) != 0)
        die("llama_decode", "failed");
    for (int step = 0; step < STEPS; step++) {
        w.n = 0;
        for (int s = 0; s < SEQS; s++)
            last[s] = best(h, row[s], chain);
        for (int s = 0; s < SEQS; s++) {
            row[s] = w.n;
            work_add(&w, last[s], n[s]++, s, true);
        }
        h->generated += SEQS;
        if (decode(h, &w) != 0)
            die("llama_decode", "failed");
    }
    h->f.llama_synchronize(h->context);
    if (chain)
        h->f.llama_sampler_free(chain);
    printf("{\"step\":\"%s\",\"last\":[%d,%d],\"positions\":[%d,%d]}\n", name, last[0], last[1], n[0], n[1]);
}

/* Steps. */

static void step_fail(host *h)
{
    work w = {0};
    int rc = decode(h, &w);
    printf("{\"step\":\"fail\",\"result\":%d}\n", rc);
}

static void step_memory(host *h)
{
    api *f = &h->f;
    if (f->llama_memory_seq_rm) {
        void *m = f->llama_get_memory(h->context);
        f->llama_memory_seq_rm(m, 0, 4, -1);
        f->llama_memory_seq_rm(m, 1, -1, -1);
        f->llama_memory_seq_cp(m, 0, 1, -1, -1);
    } else if (f->llama_kv_self_seq_rm) {
        f->llama_kv_self_seq_rm(h->context, 0, 4, -1);
        f->llama_kv_self_seq_rm(h->context, 1, -1, -1);
        f->llama_kv_self_seq_cp(h->context, 0, 1, -1, -1);
    } else {
        f->llama_kv_cache_seq_rm(h->context, 0, 4, -1);
        f->llama_kv_cache_seq_rm(h->context, 1, -1, -1);
        f->llama_kv_cache_seq_cp(h->context, 0, 1, -1, -1);
    }
    printf("{\"step\":\"memory\"}\n");
}

static void step_state(host *h)
{
    size_t n = h->f.llama_state_seq_get_size(h->context, 0);
    uint8_t *data = malloc(n);
    size_t got = h->f.llama_state_seq_get_data(h->context, data, n, 0);
    clear_memory(h);
    size_t set = h->f.llama_state_seq_set_data(h->context, data, got, 0);
    free(data);
    printf("{\"step\":\"state\",\"bytes\":%zu,\"same\":%s}\n", got, set == got ? "true" : "false");
}

/* What a host sees that asks which functions exist: must not depend on who else is in the process. */
static void step_features(host *h)
{
    static const char *const names[] = {"llama_decode",       "llama_init_from_model", "llama_model_load_from_file",
                                        "llama_process",      "llama_kv_self_clear",   "llama_kv_cache_clear",
                                        "llama_memory_clear", "llama_batch_ext_init",  "llama_no_such_function",
                                        "sl_sdk_new"};
    printf("{\"step\":\"features\"");
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        printf(",\"%s\":[%d,%d]", names[i], dlsym(RTLD_DEFAULT, names[i]) != NULL,
               h->f.handle ? dlsym(h->f.handle, names[i]) != NULL : -1);
    printf("}\n");
}

static void step_twice(host *h)
{
    void *handle = dlopen(h->llama_path, RTLD_NOW);
    printf("{\"step\":\"twice\",\"same\":%s}\n", handle == h->f.handle ? "true" : "false");
    run(h, "twice-run");
    dlclose(handle);
}

/* Frees everything, gives the library back, takes it again. */
static void step_reload(host *h)
{
    close_model(h);
    if (h->f.handle) {
        dlclose(h->f.handle);
        h->f.handle = dlopen(h->llama_path, RTLD_NOW);
    }
    bind(h, NULL);
    open_model(h);
    run(h, "reload");
}

static void *in_thread(void *arg)
{
    run(arg, "thread");
    return NULL;
}

static void step_thread(host *h)
{
    pthread_t t;
    if (pthread_create(&t, NULL, in_thread, h) == 0)
        pthread_join(t, NULL);
}

static int wait_for(pid_t pid)
{
    int status = 0;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        continue;
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void step_fork(host *h, bool use)
{
    fflush(stdout);
    pid_t pid = fork();
    if (pid == 0) {
        if (use)
            run(h, "child");
        fflush(stdout);
        if (use)
            exit(7);
        _exit(7);
    }
    printf("{\"step\":\"%s\",\"status\":%d}\n", use ? "fork" : "fork-idle", wait_for(pid));
}

static void step_spawn(void)
{
    extern char **environ;
    char *argv[] = {"sh", "-c", "exit 5", NULL};
    pid_t pid = 0;
    int rc = posix_spawn(&pid, "/bin/sh", NULL, NULL, argv, environ);
    printf("{\"step\":\"spawn\",\"rc\":%d,\"status\":%d}\n", rc, rc == 0 ? wait_for(pid) : -1);
}

static void step_close_fds(void)
{
    for (int fd = 3; fd < 1024; fd++)
        close(fd);
    int fd = open("/dev/null", O_RDONLY);
    printf("{\"step\":\"closefds\",\"next\":%d}\n", fd);
}

static void step_setuid(void)
{
    int rc = setgroups(0, NULL) | setgid(NOBODY) | setuid(NOBODY);
    printf("{\"step\":\"setuid\",\"rc\":%d,\"uid\":%d}\n", rc, (int)getuid());
}

static void step_fds(void)
{
    int n = 0;
    for (int fd = 3; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    printf("{\"step\":\"fds\",\"open\":%d}\n", n);
}

/* A second copy of the library in the same process, the two in turns. */
static void step_second(host *h)
{
    if (h->second == NULL)
        die("second", "needs --again");
    run(h->second, "second");
    run(h, "first-again");
    run(h->second, "second-again");
}

static void show_total(const host *h)
{
    printf("{\"step\":\"total\",\"decodes\":%d,\"prompt\":%d,\"generated\":%d,\"failed\":%d}\n", h->decodes, h->prompt,
           h->generated, h->failed);
    fflush(stdout);
}

static void step_exec(host *h, char **argv, char **rest)
{
    char *next[64];
    int n = 0;
    for (char **a = argv; a < rest && strcmp(*a, "exec") != 0 && n < 40; a++)
        if (strncmp(*a, "--", 2) == 0 || (a > argv && strncmp(a[-1], "--", 2) == 0) || a == argv)
            next[n++] = *a;
    for (char **a = rest; *a && n < 63; a++)
        next[n++] = *a;
    next[n] = NULL;
    show_total(h);
    execv("/proc/self/exe", next);
    die("exec", strerror(errno));
}

static void step_end(const char *name)
{
    printf("{\"step\":\"%s\"}\n", name);
    fflush(stdout);
    volatile int *nowhere = NULL;
    if (strcmp(name, "crash") == 0)
        *nowhere = 1;
    if (strcmp(name, "abort") == 0)
        abort();
    if (strcmp(name, "_exit") == 0)
        _exit(9);
    if (strcmp(name, "exit") == 0)
        exit(9);
    for (;;) /* hang: somebody kills us */
        pause();
}

static bool step_simple(host *h, const char *name)
{
    static const struct {
        const char *name;
        void (*fn)(host *);
    } table[] = {{"facts", show_facts},   {"fail", step_fail},     {"memory", step_memory},
                 {"state", step_state},   {"twice", step_twice},   {"features", step_features},
                 {"reload", step_reload}, {"thread", step_thread}, {"second", step_second}};
    static const struct {
        const char *name;
        void (*fn)(void);
    } plain[] = {{"spawn", step_spawn}, {"closefds", step_close_fds}, {"setuid", step_setuid}, {"fds", step_fds}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++)
        if (strcmp(name, table[i].name) == 0)
            return table[i].fn(h), true;
    for (size_t i = 0; i < sizeof plain / sizeof plain[0]; i++)
        if (strcmp(name, plain[i].name) == 0)
            return plain[i].fn(), true;
    return false;
}

static void do_step(host *h, char **argv, char **at)
{
    const char *name = *at;
    if (step_simple(h, name)) {
    } else if (strcmp(name, "run") == 0) {
        run(h, name);
    } else if (strcmp(name, "process") == 0 || strcmp(name, "sampler") == 0) {
        h->process = h->process || name[0] == 'p';
        h->sampler = h->sampler || name[0] == 's';
    } else if (strncmp(name, "fork", 4) == 0) {
        step_fork(h, name[4] == 0);
    } else if (strcmp(name, "exec") == 0) {
        step_exec(h, argv, at + 1);
    } else {
        step_end(name);
    }
    fflush(stdout);
}

int main(int argc, char **argv)
{
    host h = {.how = "handle"}, second = {.how = "handle"};
    const char *ggml = NULL, *again_ggml = NULL;
    int i = 1;
    for (; i + 1 < argc && strncmp(argv[i], "--", 2) == 0; i += 2) {
        const char **to = strcmp(argv[i], "--ggml") == 0         ? &ggml
                          : strcmp(argv[i], "--llama") == 0      ? &h.llama_path
                          : strcmp(argv[i], "--again") == 0      ? &h.again_path
                          : strcmp(argv[i], "--again-ggml") == 0 ? &again_ggml
                          : strcmp(argv[i], "--how") == 0        ? &h.how
                                                                 : &h.model_path;
        *to = argv[i + 1];
    }
    if (h.model_path == NULL)
        die("usage", "llama_host [--ggml FILE --llama FILE] --model FILE STEP...");
    bind(&h, ggml);
    open_model(&h);
    if (h.again_path) {
        second.llama_path = h.again_path;
        second.model_path = h.model_path;
        bind(&second, again_ggml);
        open_model(&second);
        h.second = &second;
    }
    for (; i < argc; i++)
        do_step(&h, argv, argv + i);
    if (h.second)
        close_model(h.second);
    close_model(&h);
    show_total(&h);
    return 0;
}
