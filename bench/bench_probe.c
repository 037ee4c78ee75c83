/*
 * Cost of the probe in a host, per call: `bench_probe NAME [COUNT]` prints one JSON object. NAME:
 *   probe_decode      what recording adds to a llama_decode of one token (and, beside it, of four sequences)
 *   probe_decode_off  what an unused hook adds (SIGHTLINE_PROBE=off)
 *   probe_process     what recording adds to a llama_process of one token, filling its batch included
 *   probe_prompt      what recording adds to a llama_decode of 512 tokens
 *   probe_token       what it adds to all the calls that a server makes for one token: decode, wait, logits, sample
 *
 * The host is this program itself, started again with and without the probe preloaded, in interleaved rounds; it calls
 * a fake libllama that does next to nothing. Bursts are as long as the ring has room for, and this process reads the
 * ring meanwhile, as `sightline exec` does: an event that was dropped would be cheaper than one that is recorded.
 */
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/probe/ring.h"
#include "tests/probe/fake_llama.h"

#define ROUNDS 9
#define BURST 4000
#define PAUSE_US 3000

enum { NONE, OFF, ON, WAYS };
enum { ONE, FOUR, PROCESS, PROMPT, TOKEN, WHATS };
#define PROMPT_TOKENS 512
static const char *const what_names[WHATS] = {"one", "four", "process", "prompt", "token"};

/* ---- the host ---- */

/* What a server does for one token: the decode, the wait, the logits, the sampling. */
static void token_calls(llama_context *context, llama_sampler *chain, llama_batch *batch)
{
    llama_token_data data[2] = {{1, 0, 0}, {2, 0, 0}};
    llama_token_data_array candidates = {data, 2, -1, false};
    (void)llama_decode(context, *batch);
    llama_synchronize(context);
    (void)llama_get_logits_ith(context, 0);
    llama_sampler_apply(chain, &candidates);
}

static void process_calls(llama_context *context, llama_batch_ext *filled, const int32_t *pos)
{
    llama_batch_ext_clear(filled);
    int32_t index = llama_batch_ext_add_token(filled, 0, 11);
    (void)llama_batch_ext_set_pos(filled, index, pos);
    (void)llama_batch_ext_set_output_logits(filled, index, true);
    (void)llama_process(context, 1, filled);
}

static uint64_t burst(llama_context *context, llama_sampler *chain, llama_batch_ext *filled, int what,
                      llama_batch *batch)
{
    int count = what == PROMPT ? BURST / 40 : BURST;
    uint64_t begun = sl_mono_ns();
    for (int i = 0; i < count; i++) {
        if (what == TOKEN)
            token_calls(context, chain, batch);
        else if (what == PROCESS)
            process_calls(context, filled, batch->pos);
        else
            (void)llama_decode(context, *batch);
        batch->pos[0] += what != PROMPT;
    }
    return (sl_mono_ns() - begun) * (uint64_t)(BURST / count);
}

/* Nanoseconds a call, in the fastest burst: other load only adds. */
static void host(int what, uint64_t count)
{
    llama_model *model = llama_model_load_from_file("/models/tiny.gguf", fake_model_params());
    llama_context *context = llama_init_from_model(model, fake_context_params());
    llama_sampler *chain = llama_sampler_chain_init((llama_sampler_chain_params){false});
    static int32_t token[PROMPT_TOKENS], pos[PROMPT_TOKENS], n_seq[PROMPT_TOKENS], s[PROMPT_TOKENS];
    static int32_t *seq[PROMPT_TOKENS];
    static int8_t logits[PROMPT_TOKENS];
    for (int i = 0; i < PROMPT_TOKENS; i++) {
        token[i] = 11 + i;
        pos[i] = what == PROMPT ? i : 7 * i;
        n_seq[i] = 1;
        s[i] = what == PROMPT ? 0 : i;
        seq[i] = &s[i];
        logits[i] = what != PROMPT || i + 1 == PROMPT_TOKENS;
    }
    llama_batch batch = {what == PROMPT ? PROMPT_TOKENS : what == FOUR ? 4 : 1, token, NULL, pos, n_seq, seq, logits};
    llama_batch_ext *filled = llama_batch_ext_init(context);
    uint64_t best = UINT64_MAX;
    for (uint64_t done = 0; done < count; done += BURST) {
        uint64_t ns = burst(context, chain, filled, what, &batch);
        best = ns < best ? ns : best;
        (void)usleep(PAUSE_US);
    }
    printf("%.3f\n", (double)best / BURST);
}

/* ---- this side ---- */

typedef struct bench {
    char self[PATH_MAX], probe[PATH_MAX + 32], folder[64];
    char count[24];
    uint64_t read, dropped;
} bench;

static void count_event(void *user, const sl_probe_event *event, size_t size)
{
    (void)size;
    ((bench *)user)->read += event->kind == SL_PROBE_DECODE;
}

/* Reads the ring of the host until the host is gone; then removes it. */
static void read_ring(bench *b, pid_t host_pid)
{
    char path[PATH_MAX];
    sl_probe_ring *ring = NULL;
    sl_probe_ring_info info;
    bool gone = false;
    (void)snprintf(path, sizeof path, "%s/%d-1" SL_PROBE_RING_SUFFIX, b->folder, (int)host_pid);
    while (!gone) {
        gone = waitpid(host_pid, NULL, WNOHANG) != 0;
        int fd = ring ? -1 : open(path, O_RDWR | O_CLOEXEC);
        if (fd >= 0 && sl_probe_ring_open(fd, &ring) != 0)
            ring = NULL;
        if (fd >= 0)
            (void)close(fd);
        while (ring && sl_probe_ring_read(ring, 1000, sl_mono_ns(), count_event, b) > 0) {
        }
        (void)usleep(500);
    }
    if (ring) {
        sl_probe_ring_get_info(ring, &info);
        b->dropped += info.dropped + info.bad;
    }
    sl_probe_ring_free(ring);
    (void)unlink(path);
}

static double run(bench *b, int way, int what)
{
    int out[2];
    double ns = -1;
    char text[64] = "";
    if (pipe2(out, O_CLOEXEC) != 0)
        exit(1);
    pid_t child = fork();
    if (child == 0) {
        (void)dup2(out[1], 1);
        if (way != NONE)
            (void)setenv("LD_PRELOAD", b->probe, 1);
        (void)setenv("SIGHTLINE_PROBE", way == OFF ? "off" : "on", 1);
        (void)setenv(SL_PROBE_DIR_ENV, b->folder, 1);
        (void)execl(b->self, b->self, "host", what_names[what], b->count, (char *)NULL);
        _exit(1);
    }
    (void)close(out[1]);
    read_ring(b, child);
    if (read(out[0], text, sizeof text - 1) > 0)
        ns = strtod(text, NULL);
    (void)close(out[0]);
    if (ns < 0) {
        fprintf(stderr, "bench_probe: the host did not run\n");
        exit(1);
    }
    return ns;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return x < y ? -1 : x > y;
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof *values, by_value);
    return values[ROUNDS / 2];
}

/* What `way` adds to a call, and what the call takes without it. */
static double added(bench *b, int way, int what, double *ret_none)
{
    double none[ROUNDS], with[ROUNDS], more[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
        none[i] = run(b, NONE, what);
        with[i] = run(b, way, what);
        more[i] = with[i] - none[i];
    }
    *ret_none = median(none);
    return median(more);
}

static bool set_up(bench *b, const char *count)
{
    char folder[PATH_MAX];
    ssize_t len = readlink("/proc/self/exe", b->self, sizeof b->self - 1);
    if (len <= 0)
        return false;
    b->self[len] = '\0';
    memcpy(folder, b->self, (size_t)len + 1);
    (void)snprintf(b->probe, sizeof b->probe, "%s/../libsightline-llama.so", dirname(folder));
    (void)snprintf(b->count, sizeof b->count, "%s", count);
    (void)snprintf(b->folder, sizeof b->folder, "/dev/shm/sl-bench-probe-XXXXXX");
    return mkdtemp(b->folder) != NULL;
}

int main(int argc, char **argv)
{
    const char *name = argc > 1 ? argv[1] : "";
    if (strcmp(name, "host") == 0 && argc == 4) {
        int what = 0;
        while (what < TOKEN && strcmp(argv[2], what_names[what]) != 0)
            what++;
        host(what, strtoull(argv[3], NULL, 10));
        return 0;
    }
    bench b = {0};
    int way = strcmp(name, "probe_decode_off") == 0 ? OFF : ON, what = ONE;
    static const char *const others[WHATS] = {
        [PROCESS] = "probe_process", [PROMPT] = "probe_prompt", [TOKEN] = "probe_token"};
    for (int i = PROCESS; i < WHATS; i++)
        what = strcmp(name, others[i]) == 0 ? i : what;
    if ((what == ONE && way == ON && strcmp(name, "probe_decode") != 0) || !set_up(&b, argc > 2 ? argv[2] : "400000"))
        return fprintf(stderr, "bench_probe: %s: no such benchmark\n", name), 2;
    double none, none_four = 0, four = 0, one = added(&b, way, what, &none);
    if (what == ONE)
        four = added(&b, way, FOUR, &none_four);
    (void)rmdir(b.folder);
    printf("{\"name\": \"%s\", \"ns\": %.1f, \"without\": %.1f", name, one, none);
    if (what == ONE)
        printf(", \"four_sequences_ns\": %.1f, \"four_sequences_without\": %.1f", four, none_four);
    printf(", \"events\": %lu, \"dropped\": %lu}\n", b.read, b.dropped);
    return b.dropped * 100 > b.read; /* what is dropped costs less */
}
