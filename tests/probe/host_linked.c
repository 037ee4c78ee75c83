/*
 * A host that is linked to the fake libllama: each mode does one thing and prints what it got. What it prints does not
 * depend on whether the probe is there: the tests run it both ways and compare.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <ucontext.h>
#include <unistd.h>

#include "fake_llama.h"

extern char **environ;
extern void (*fake_throw)(void);
int32_t fake_memory_sum(const llama_context *context);

static llama_model *model;
static llama_context *context;

static void begin(void)
{
    model = llama_model_load_from_file("/models/tiny.gguf", fake_model_params());
    context = llama_init_from_model(model, fake_context_params());
}

static void end(void)
{
    llama_free(context);
    llama_model_free(model);
}

static int32_t decode(int32_t *tokens, int32_t n)
{
    llama_batch batch = {.n_tokens = n, .token = tokens};
    return llama_decode(context, batch);
}

static int32_t decode_one(int32_t token)
{
    return decode(&token, 1);
}

/* Every function once, with errno behind it. */
#define SHOW(format, call)                                                                                             \
    do {                                                                                                               \
        errno = 7;                                                                                                     \
        printf("%s = " format, #call, call);                                                                           \
        printf(" errno %d\n", errno);                                                                                  \
    } while (0)
#define DO(call)                                                                                                       \
    do {                                                                                                               \
        errno = 7;                                                                                                     \
        call;                                                                                                          \
        printf("%s errno %d\n", #call, errno);                                                                         \
    } while (0)

static void all_models(void)
{
    const char *paths[2] = {"/models/mapped-1.gguf", "/models/mapped-2.gguf"};
    int thing;
    DO(llama_backend_init());
    SHOW("%d", llama_model_load_from_file("/missing", fake_model_params()) == NULL);
    DO(model = llama_model_load_from_file("/models/dry.gguf", fake_model_params()));
    DO(llama_model_free(model));
    DO(model = llama_model_load_from_splits(paths, 2, fake_model_params()));
    DO(llama_model_free(model));
    DO(model = llama_model_load_from_file_ptr(stdin, fake_model_params()));
    DO(llama_free_model(model));
    DO(model = llama_model_init_from_user(&thing, abort, &thing, fake_model_params()));
    DO(llama_model_free(model));
    DO(model = llama_load_model_from_file("/models/tiny.gguf", fake_model_params()));
    DO(context = llama_new_context_with_model(model, fake_context_params()));
    DO(llama_free(context));
    DO(llama_free(NULL));
    DO(context = llama_init_from_model(model, fake_context_params()));
}

static void all_batches(void)
{
    int32_t t[4] = {11, 12, 13, 14}, p[4] = {0, 1, 2, 5}, n[4] = {1, 1, 1, 2}, s0[1] = {3}, s1[2] = {3, 4};
    int32_t *s[4] = {s0, s0, s0, s1};
    int8_t logits[4] = {0, 0, 1, 1};
    float embd[4] = {1, 2, 3, 4};
    llama_batch full = {4, t, NULL, p, n, s, logits}, embeddings = {4, NULL, embd, p, n, s, logits};
    llama_batch least = {.n_tokens = 4, .token = t}, none = {0}, fails = {.n_tokens = 1, .token = (int32_t[]){666}};
    SHOW("%d", llama_decode(context, full));
    SHOW("%d", llama_decode(context, embeddings));
    SHOW("%d", llama_decode(context, least));
    SHOW("%d", llama_decode(context, none));
    SHOW("%d", llama_decode(context, fails));
    SHOW("%d", llama_encode(context, full));
    DO(llama_synchronize(context));
    DO(llama_synchronize(context));
    SHOW("%d", llama_decode(context, least));
    SHOW("%g", *llama_get_logits_ith(context, 2));
    SHOW("%d", llama_get_logits(context) != NULL);
    SHOW("%d", llama_get_embeddings_seq(context, 0) != NULL);
    SHOW("%d", llama_get_sampled_token_ith(context, 0));
    SHOW("%d", llama_get_sampled_token_ith(context, 3));
}

static void all_memory(void)
{
    llama_memory_t memory = llama_get_memory(context);
    uint8_t bytes[16];
    int32_t tokens[3] = {1, 2, 3};
    size_t count;
    DO(llama_memory_clear(memory, true));
    SHOW("%d", llama_memory_seq_rm(memory, 1, 2, 3));
    SHOW("%d", llama_memory_seq_rm(memory, 99, 2, 3));
    DO(llama_memory_seq_cp(memory, 1, 2, 3, 4));
    DO(llama_memory_seq_keep(memory, 5));
    DO(llama_memory_seq_add(memory, 1, 2, 3, -4));
    DO(llama_memory_seq_div(memory, 1, 2, 3, 2));
    SHOW("%d", llama_kv_self_seq_rm(context, 6, 7, 8));
    SHOW("%d", llama_kv_cache_seq_rm(context, 7, 8, -1));
    SHOW("%d", fake_memory_sum(context));
    SHOW("%zu", llama_state_seq_get_data(context, bytes, 16, 3));
    SHOW("%zu", llama_state_seq_set_data(context, bytes, 16, 3));
    SHOW("%zu", llama_state_seq_get_data_ext(context, bytes, 8, 3, 5));
    SHOW("%d", llama_state_load_file(context, "/state", tokens, 3, &count));
    SHOW("%d", llama_state_save_file(context, "/state", tokens, 3));
    printf("%zu %d\n", count, tokens[0]);
}

static void all_sampling(void)
{
    llama_sampler_chain_params params = {true};
    llama_token_data data[4] = {{21, 0, 0}, {22, 0, 0}, {23, 0, 0}, {24, 0, 0}};
    llama_token_data_array candidates = {data, 4, -1, false};
    llama_sampler *chain, *copy;
    int32_t two[2] = {50, 51};
    int8_t both[2] = {1, 1};
    llama_batch several = {.n_tokens = 2, .token = two, .logits = both};
    SHOW("%d", llama_decode(context, several));
    SHOW("%g", *llama_get_logits_ith(context, 1));
    SHOW("%d", llama_get_sampled_token_ith(context, 3));
    DO(chain = llama_sampler_chain_init(params));
    SHOW("%d", llama_sampler_sample(chain, context, 4));
    DO(llama_sampler_apply(chain, &candidates));
    printf("%d\n", (int)candidates.selected);
    DO(copy = llama_sampler_clone(chain));
    SHOW("%d", llama_sampler_sample(copy, context, 5));
    (void)decode_one(52); /* of its one output nothing is told */
    SHOW("%d", llama_sampler_sample(copy, context, 0));
    DO(llama_sampler_apply(chain, &candidates));
    DO(llama_sampler_free(copy));
    DO(llama_sampler_free(chain));
}

static void all_process(void)
{
    int32_t pos[3] = {0, 1, 2};
    float row[2] = {3, 4};
    llama_embd embd = {row, 1, 2};
    llama_batch_ext *b;
    DO(b = llama_batch_ext_init(context));
    SHOW("%d", llama_batch_ext_add_token(b, 1, 100));
    SHOW("%d", llama_batch_ext_add_token(b, 1, -5));
    SHOW("%d", llama_batch_ext_add_token(b, 1, 101));
    SHOW("%d", llama_batch_ext_add_token(b, 1, 102));
    for (int i = 0; i < 3; i++)
        SHOW("%d", llama_batch_ext_set_pos(b, i, &pos[i]));
    SHOW("%d", llama_batch_ext_add_seq(b, 2, 9));
    SHOW("%d", llama_batch_ext_set_output_logits(b, 2, true));
    SHOW("%d", llama_batch_ext_set_output_embd(b, 2, false)); /* it has its logits still */
    SHOW("%d", llama_process(context, 1, b));
    DO(llama_batch_ext_clear(b));
    SHOW("%d", llama_batch_ext_add_embd(b, 2, embd));
    SHOW("%d", llama_process(context, 0, b));
    DO(llama_batch_ext_clear(b));
    for (int i = 0; i < 5000; i++)
        if (llama_batch_ext_add_token(b, 0, i) != i || !llama_batch_ext_set_pos(b, i, &i))
            puts("wrong index");
    SHOW("%d", llama_process(context, 1, b));
    DO(llama_batch_ext_clear(b));
    SHOW("%d", llama_process(context, 1, b));
    DO(llama_batch_ext_free(b));
}

static void mode_all(void)
{
    all_models();
    all_batches();
    all_memory();
    all_sampling();
    all_process();
    end();
    printf("%lu calls\n", fake_calls());
}

static void mode_long(void)
{
    static int32_t tokens[200000];
    for (int i = 0; i < 200000; i++)
        tokens[i] = 1000 + i % 1000;
    begin();
    printf("%d\n", decode(tokens, 200000));
    end();
}

static void *decode_much(void *user)
{
    (void)user;
    llama_context *own = llama_init_from_model(model, fake_context_params());
    for (int32_t i = 0; i < 2000; i++) {
        llama_batch batch = {.n_tokens = 1, .token = &i};
        if (llama_decode(own, batch) != (i == 666))
            puts("wrong answer");
        (void)llama_get_logits_ith(own, 0);
    }
    llama_free(own);
    return NULL;
}

static void mode_threads(void)
{
    pthread_t threads[6];
    begin();
    for (int i = 0; i < 6; i++)
        pthread_create(&threads[i], NULL, decode_much, NULL);
    for (int i = 0; i < 6; i++)
        pthread_join(threads[i], NULL);
    end();
    puts("done");
}

/* ---- processes ---- */

static void wait_for(pid_t child)
{
    int status;
    if (waitpid(child, &status, 0) == child)
        printf("child: %d %d\n", WIFEXITED(status) ? WEXITSTATUS(status) : -1,
               WIFSIGNALED(status) ? WTERMSIG(status) : 0);
}

static void mode_fork(void)
{
    begin();
    printf("%d\n", decode_one(1));
    fflush(stdout);
    pid_t child = fork();
    if (child == 0) {
        exit(0); /* never calls libllama: nothing of it may show */
    }
    wait_for(child);
    fflush(stdout);
    child = fork();
    if (child == 0) {
        printf("in the child %d\n", decode_one(2));
        end();
        exit(0);
    }
    wait_for(child);
    fflush(stdout);
    child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0); /* past every handler of libc */
    if (child == 0) {
        printf("in the clone %d\n", decode_one(3));
        fflush(stdout);
        _exit(0);
    }
    wait_for(child);
    printf("%d\n", decode_one(4));
    end();
}

/* A thread forks while others are at work. */
static void mode_fork_busy(void)
{
    pthread_t threads[3];
    begin();
    for (int i = 0; i < 3; i++)
        pthread_create(&threads[i], NULL, decode_much, NULL);
    for (int i = 0; i < 20; i++) {
        fflush(stdout); /* ThreadSanitizer writes a child's copy, whatever way it ends */
        pid_t child = fork();
        if (child == 0) {
            alarm(20);
            llama_model *m = llama_model_load_from_file("/models/child.gguf", fake_model_params());
            llama_model_free(m);
            _exit(m == NULL);
        }
        wait_for(child);
    }
    for (int i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    end();
}

static void mode_spawn(char **argv)
{
    char *again[] = {argv[0], "hello", NULL};
    pid_t child;
    begin();
    fflush(stdout);
    if (posix_spawn(&child, argv[0], NULL, NULL, again, environ) == 0)
        wait_for(child);
    child = vfork();
    if (child == 0) {
        close(0);
        execv(argv[0], again);
        _exit(9);
    }
    wait_for(child);
    printf("%d\n", decode_one(4));
    end();
}

static void mode_exec(char **argv)
{
    char *again[] = {argv[0], "short", NULL};
    begin();
    printf("%d\n", decode_one(4));
    fflush(stdout);
    execv(argv[0], again);
}

static void mode_short(void)
{
    begin();
    printf("%d\n", decode_one(5));
    end();
}

/* ---- descriptors, users, stacks ---- */

static int open_descriptors(void)
{
    DIR *dir = opendir("/proc/self/fd");
    int n = 0;
    while (dir && readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static int threads_now(void)
{
    DIR *dir = opendir("/proc/self/task");
    int n = 0;
    while (dir && readdir(dir))
        n++;
    closedir(dir);
    return n;
}

static void mode_descriptors(void)
{
    int before = open_descriptors(), threads = threads_now();
    begin();
    printf("%d descriptors more, %d threads more\n", open_descriptors() - before, threads_now() - threads);
    int next = open("/dev/null", O_RDONLY);
    printf("next is %d\n", next);
    for (int fd = 3; fd < 1000; fd++)
        close(fd);
    printf("%d\n", decode_one(5));
    end();
}

static ucontext_t main_stack, small_stack;

static void at_the_edge(void)
{
    begin();
    printf("%d %d\n", model != NULL, context != NULL);
    swapcontext(&small_stack, &main_stack);
}

/* A stack of the host's own making, with nothing behind its end. */
static void mode_edge(void)
{
    size_t page = 4096, size = 64 * page;
    char *memory = mmap(NULL, size + page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory + size, page, PROT_NONE) != 0)
        puts("no stack");
    getcontext(&small_stack);
    small_stack.uc_stack = (stack_t){.ss_sp = memory, .ss_size = size};
    makecontext(&small_stack, at_the_edge, 0);
    swapcontext(&main_stack, &small_stack);
    printf("%d\n", decode_one(5));
    end();
}

static void mode_user(void)
{
    if (setgid(65534) != 0 || setuid(65534) != 0)
        puts("not root");
    begin();
    printf("%d\n", decode_one(5));
    end();
}

static void mode_user_later(void)
{
    begin();
    if (setgid(65534) != 0 || setuid(65534) != 0)
        puts("not root");
    printf("%d\n", decode_one(5));
    end();
}

static jmp_buf back;
static void jump(void)
{
    longjmp(back, 1);
}

static void mode_longjmp(void)
{
    begin();
    fake_throw = jump;
    for (int i = 0; i < 3; i++) {
        if (setjmp(back) == 0)
            printf("%d\n", decode_one(667));
        else
            puts("jumped");
    }
    printf("%d\n", decode_one(5));
    end();
}

static void mode_kill(void)
{
    begin();
    for (int i = 0; i < 100; i++)
        (void)decode_one(5);
    raise(SIGKILL);
}

static void mode_crash(void)
{
    begin();
    (void)decode_one(5);
    *(volatile int *)16 = 1;
}

static void mode_quick(void)
{
    begin();
    printf("%d\n", decode_one(5));
    fflush(stdout);
    _exit(3);
}

/* Decodes until told to stop, so that things can be done to its ring. */
static void mode_wait(void)
{
    begin();
    puts("ready");
    fflush(stdout);
    for (int c; (c = getchar()) != EOF;)
        if (c == 'd')
            printf("%d\n", decode_one(5)), fflush(stdout);
    end();
}

static void mode_cleared(void)
{
    clearenv();
    begin();
    printf("%d\n", decode_one(5));
    end();
}

/* What is behind a token that the library refuses is nobody's to read. */
static void mode_refused(void)
{
    long page = sysconf(_SC_PAGESIZE);
    char *memory = mmap(NULL, (size_t)page * 2, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED || mprotect(memory + page, (size_t)page, PROT_NONE) != 0)
        return;
    int32_t *last = (int32_t *)(void *)(memory + page) - 1;
    *last = -1;
    begin();
    llama_batch wrong = {.n_tokens = 1000, .token = last};
    printf("%d\n", llama_decode(context, wrong));
    printf("%d\n", decode_one(5));
    end();
}

/* As libraries do that set the title which `ps` shows: the environment moves, its old place holds the title. */
static void mode_title(void)
{
    size_t count = 0;
    while (environ[count])
        count++;
    char *first = environ[0], *behind = environ[count - 1] + strlen(environ[count - 1]) + 1;
    char **moved = calloc(count + 1, sizeof *moved);
    for (size_t i = 0; moved && i < count; i++)
        moved[i] = strdup(environ[i]);
    environ = moved;
    memset(first, 0, (size_t)(behind - first));
    strcpy(first, "worker 1");
    begin();
    printf("%d\n", decode_one(5));
    end();
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } modes[] = {
        {"all", mode_all},
        {"long", mode_long},
        {"threads", mode_threads},
        {"fork", mode_fork},
        {"fork_busy", mode_fork_busy},
        {"short", mode_short},
        {"descriptors", mode_descriptors},
        {"edge", mode_edge},
        {"user", mode_user},
        {"user_later", mode_user_later},
        {"longjmp", mode_longjmp},
        {"kill", mode_kill},
        {"crash", mode_crash},
        {"quick", mode_quick},
        {"wait", mode_wait},
        {"cleared", mode_cleared},
        {"title", mode_title},
        {"refused", mode_refused},
    };
    const char *mode = argc > 1 ? argv[1] : "hello";
    if (strcmp(mode, "spawn") == 0)
        mode_spawn(argv);
    else if (strcmp(mode, "exec") == 0)
        mode_exec(argv);
    else if (strcmp(mode, "hello") == 0)
        puts("hello");
    for (size_t i = 0; i < sizeof modes / sizeof *modes; i++)
        if (strcmp(mode, modes[i].name) == 0)
            modes[i].run();
    return 0;
}
