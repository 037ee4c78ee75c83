/* `sightline mock`: the fake provider as a program. */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/cli/commands.h"
#include "src/cli/mock_server.h"
#include "src/cli/ready_file.h"

typedef struct mock_command_options {
    sl_str listen;
    sl_str ready_file;
    uint64_t ttft_ms;
    uint64_t itl_ms;
    uint64_t tokens;
    uint64_t seed;
    sl_str_list faults;
} mock_command_options;

#define OPT(member) offsetof(mock_command_options, member)
static const sl_option options[] = {
    {"listen", 'l', SL_OPT_STR, OPT(listen), "ADDRESS", "Where it serves; port 0 takes a free one.", "127.0.0.1:8095",
     "SIGHTLINE_MOCK_LISTEN"},
    {"ttft", 0, SL_OPT_U64, OPT(ttft_ms), "MS", "Milliseconds to the first token.", "20", NULL},
    {"itl", 0, SL_OPT_U64, OPT(itl_ms), "MS", "Milliseconds between tokens of a stream.", "2", NULL},
    {"tokens", 0, SL_OPT_U64, OPT(tokens), "N", "Tokens of an answer, unless max_tokens is less.", "16", NULL},
    {"seed", 0, SL_OPT_U64, OPT(seed), "N", "Seed of the faults: the same seed, the same faults.", "1", NULL},
    {"fault", 0, SL_OPT_LIST, OPT(faults), "KIND=SHARE",
     "Share of requests that go wrong; repeatable. Kinds: 429 500 hang reset slow split nousage badjson truncate.",
     NULL, NULL},
    {"ready-file", 0, SL_OPT_STR, OPT(ready_file), "PATH", "Written once it answers: JSON with pid and address.", NULL,
     NULL},
    {NULL, 0, SL_OPT_FLAG, 0, NULL, NULL, NULL, NULL}};
static const sl_option *const tables[] = {options, NULL};

/* What the signal handlers of the loop need. */
typedef struct mock_run {
    sl_loop loop;
    sl_mock_server *server;
    uv_signal_t term;
    uv_signal_t interrupt;
} mock_run;

static void stop(uv_signal_t *signal, int number)
{
    SL_ASSERT(signal);
    (void)number;
    mock_run *run = signal->data;
    sl_mock_server_close(run->server);
    uv_close((uv_handle_t *)&run->term, NULL);
    uv_close((uv_handle_t *)&run->interrupt, NULL);
}

static void watch_signals(mock_run *run)
{
    SL_ASSERT(run);
    (void)uv_signal_init(&run->loop.uv, &run->term);
    (void)uv_signal_init(&run->loop.uv, &run->interrupt);
    run->term.data = run->interrupt.data = run;
    (void)uv_signal_start(&run->term, stop, SIGTERM);
    (void)uv_signal_start(&run->interrupt, stop, SIGINT);
}

static int read_options(const mock_command_options *o, sl_mock_options *ret_options)
{
    SL_ASSERT(o && ret_options);
    sl_mock_options m;
    memset(&m, 0, sizeof m);
    m.ttft_ms = o->ttft_ms;
    m.itl_ms = o->itl_ms;
    m.tokens = o->tokens;
    m.seed = o->seed;
    if (m.tokens == 0 || m.tokens > 1000000)
        return sl_fail(SL_EXIT_USAGE, "--tokens: out of range; give 1 to 1000000");
    for (size_t i = 0; i < o->faults.count; i++) {
        const char *reason = NULL;
        sl_str fault = o->faults.items[i];
        if (!sl_mock_parse_fault(fault, &m, &reason))
            return sl_fail(SL_EXIT_USAGE, "--fault %.*s: not usable; %s", (int)fault.len, fault.ptr, reason);
    }
    *ret_options = m;
    return 0;
}

static int serve(int fd, const sl_mock_options *m, const sl_ready *ready, sl_str ready_file)
{
    SL_ASSERT(ready_file.ptr || !ready_file.len);
    static mock_run run;
    if (sl_loop_init(&run.loop) != 0)
        return sl_fail(SL_EXIT_FAILED, "mock: no event loop; is the machine out of descriptors or memory?");
    int error = sl_mock_server_new(&run.loop, fd, m, &run.server);
    close(fd);
    if (error) {
        sl_loop_done(&run.loop);
        return sl_fail(SL_EXIT_FAILED, "mock: cannot serve: %s", sl_strerror(error));
    }
    watch_signals(&run);
    int status = SL_EXIT_OK;
    if (sl_ready_write(ready, ready_file) != 0) {
        status =
            sl_fail(SL_EXIT_FAILED, "--ready-file %.*s: cannot be written: %s; check the folder and its permissions",
                    (int)ready_file.len, ready_file.ptr, strerror(errno));
        stop(&run.term, 0);
    }
    (void)uv_run(&run.loop.uv, UV_RUN_DEFAULT);
    sl_mock_server_free(run.server);
    sl_loop_done(&run.loop);
    return status;
}

static int run_mock(const sl_command *command, void *given, char **args, size_t arg_count)
{
    (void)command;
    (void)args;
    (void)arg_count;
    const mock_command_options *o = given;
    sl_mock_options m;
    sl_addr wanted, bound;
    char reason[SL_ADDR_REASON_MAX];
    int fd, status = read_options(o, &m);
    if (status)
        return status;
    if (sl_addr_parse(o->listen, "127.0.0.1", &wanted, reason) != 0)
        return sl_fail(SL_EXIT_USAGE, "--listen: %s", reason);
    if (wanted.off)
        return sl_fail(SL_EXIT_USAGE, "--listen: off; the mock needs an address, give HOST:PORT or PORT");
    if (sl_addr_listen(&wanted, NULL, &fd, &bound, reason) != 0)
        return sl_fail(SL_EXIT_FAILED, "--listen: %s", reason);
    sl_ready ready = {.count = 0};
    sl_ready_add(&ready, "mock", &bound);
    fprintf(stderr, "sightline mock: OpenAI dialect at %s/v1, Anthropic at %s/v1/messages, truth at %s/mock/ledger\n",
            ready.items[0].url, ready.items[0].url, ready.items[0].url);
    return serve(fd, &m, &ready, o->ready_file);
}

const sl_command sl_cmd_mock = {
    "mock",
    "a fake provider for demos, tests and benchmarks",
    "[options]",
    "Serves the OpenAI and Anthropic protocols from made-up answers that say so, late and faulty as asked, and keeps a "
    "ledger "
    "of what it truly served: GET /mock/ledger, POST /mock/reset.",
    "  sightline mock\n"
    "  sightline mock --listen 127.0.0.1:0 --ready-file /tmp/mock.json --ttft 200 --itl 20 --tokens 100\n"
    "  sightline mock --fault 429=0.1 --fault hang=0.01\n",
    tables,
    sizeof(mock_command_options),
    0,
    run_mock};
