/*
 * A program that uses a library like libllama, and does what its arguments say, one after the other. Built twice: with
 * -DLIBRARY as the library (the newer names of the API; it computes nothing), and as the program.
 *
 *     load decode:N           the library's work
 *     fork:STEP,STEP          a child that does these, and is waited for
 *     again STEP...           this program anew in the same process, with the steps that follow
 *     close                   closes every descriptor above 2, then opens as many files as there are numbers below 64,
 *                             and says when one of them is not the file it should be
 *     check                   the same question later
 *     become:UID sleep:MS print:TEXT
 *     exit:N quick:N kill crash abort
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct params {
    uint64_t word[20];
} params;
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
void *llama_init_from_model(void *model, params p);
int32_t llama_decode(void *context, batch b);
float *llama_get_logits_ith(void *context, int32_t i);
uint32_t llama_n_ctx(const void *context);
uint64_t llama_model_size(const void *model);
uint64_t llama_model_n_params(const void *model);
void llama_free(void *context);
void llama_model_free(void *model);

#ifdef LIBRARY
static int32_t decoded;
static float logits[4];

void *llama_model_load_from_file(const char *path, params p)
{
    return path[0] && p.word[19] == 19 ? &decoded : NULL;
}

void *llama_init_from_model(void *model, params p)
{
    return model && p.word[19] == 19 ? logits : NULL;
}

int32_t llama_decode(void *context, batch b)
{
    decoded += b.n_tokens;
    return context ? 0 : -1;
}

float *llama_get_logits_ith(void *context, int32_t i)
{
    return context && i < 4 ? logits : NULL;
}

uint32_t llama_n_ctx(const void *context)
{
    return context ? 512 : 0;
}

uint64_t llama_model_size(const void *model)
{
    return model ? 1000 : 0;
}

uint64_t llama_model_n_params(const void *model)
{
    return model ? 250 : 0;
}

void llama_free(void *context)
{
    (void)context;
}

void llama_model_free(void *model)
{
    (void)model;
}
#else
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { FILES = 64 };

static const char *self;
static void *model, *context;
static int32_t position;
static ino_t inodes[FILES];

static void say(const char *what)
{
    if (write(1, what, strlen(what)) < 0 || write(1, "\n", 1) < 0)
        _exit(99);
}

static void load(void)
{
    const params p = {.word = {[19] = 19}};
    model = llama_model_load_from_file("fake.gguf", p);
    context = llama_init_from_model(model, p);
    if (!context)
        say("WRONG: nothing loaded");
}

static void decode(int count)
{
    int32_t token = 1, sequences = 1, sequence = 0, *of = &sequence;
    int8_t output = 1;
    for (int i = 0; i < count; i++, position++) {
        batch b = {1, &token, NULL, &position, &sequences, &of, &output};
        if (llama_decode(context, b) != 0 || !llama_get_logits_ith(context, 0))
            say("WRONG: decode");
    }
}

static void check(void)
{
    struct stat st;
    for (int fd = 3; fd < FILES; fd++) {
        if (inodes[fd] && (fstat(fd, &st) != 0 || st.st_ino != inodes[fd] || lseek(fd, 0, SEEK_CUR) != 0))
            say("WRONG: a descriptor is not what it was");
    }
}

static void close_all(void)
{
    struct stat st;
    for (int fd = 3; fd < 1024; fd++)
        close(fd);
    for (int fd = open("/proc/self/exe", O_RDONLY | O_CLOEXEC); fd >= 0 && fd < FILES;
         fd = open(self, O_RDONLY | O_CLOEXEC)) {
        if (fstat(fd, &st) == 0)
            inodes[fd] = st.st_ino;
    }
}

static void step(const char *word);

static void in_child(const char *list)
{
    char text[256];
    int status = 0;
    pid_t pid = fork();
    if (pid == 0) {
        snprintf(text, sizeof text, "%s", list);
        for (char *at = strtok(text, ","); at; at = strtok(NULL, ","))
            step(at);
        exit(0);
    }
    if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status) || WEXITSTATUS(status) != 0)
        say("WRONG: the child");
}

static void end(const char *word)
{
    int number = strchr(word, ':') ? atoi(strchr(word, ':') + 1) : 0;
    if (strncmp(word, "exit", 4) == 0)
        exit(number);
    else if (strncmp(word, "quick", 5) == 0)
        _exit(number);
    else if (strcmp(word, "abort") == 0)
        abort();
    else if (strcmp(word, "crash") == 0)
        (void)raise(SIGSEGV);
    else if (strcmp(word, "kill") == 0)
        (void)kill(getpid(), SIGKILL);
    else
        say("WRONG: no such step");
}

static void step(const char *word)
{
    const char *rest = strchr(word, ':');
    rest = rest ? rest + 1 : "";
    if (strcmp(word, "load") == 0)
        load();
    else if (strncmp(word, "decode:", 7) == 0)
        decode(atoi(rest));
    else if (strncmp(word, "fork:", 5) == 0)
        in_child(rest);
    else if (strcmp(word, "close") == 0)
        close_all();
    else if (strcmp(word, "check") == 0)
        check();
    else if (strncmp(word, "become:", 7) == 0 && setuid((uid_t)atoi(rest)) != 0)
        say("WRONG: setuid");
    else if (strncmp(word, "sleep:", 6) == 0)
        usleep((useconds_t)atoi(rest) * 1000);
    else if (strncmp(word, "print:", 6) == 0)
        say(rest);
    else if (strncmp(word, "become:", 7) != 0)
        end(word);
}

int main(int argc, char **argv)
{
    self = argv[0];
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "again") == 0) {
            argv[i] = argv[0];
            execv(argv[0], argv + i);
            say("WRONG: execv");
        }
        step(argv[i]);
    }
    return 0;
}
#endif
