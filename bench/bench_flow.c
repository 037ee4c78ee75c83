/*
 * The executor's figures: in-memory steps a second, and what telemetry adds to a workflow. One JSON line each.
 *
 * bench_flow steps|empty|durable|llm|FILE SIGNALS [COUNT [INPUTS]]
 *
 * SIGNALS is what is recorded: off, metrics, spans, logs, on (all of them). `steps`: workflows of 20 transform steps;
 * `empty`: workflows of one step that does nothing; `durable`: the same, accepted and recorded in a store on disk as a
 * server does it (in the current folder); `llm`: workflows of one llm step, against OPENAI_BASE_URL. FILE (its name
 * has a dot): runs of that file with these inputs, one after the other. CPU is that of all threads of the process.
 */
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/flow/executor.h"
#include "src/flow/services.h"
#include "src/store/run_store.h"

#define WINDOW 256 /* runs on their way at once */

typedef struct bench {
    sl_loop loop;
    uv_async_t alive;
    sl_sdk *sdk;
    sl_flow_services services;
    sl_executor *executor;
    sl_db *db;
    sl_run_store *store;
    sl_flow *flow;
    json_t *inputs;
    size_t window, started, ended, failed, count;
} bench;

static bench b;

static void fail(const char *what, int error)
{
    fprintf(stderr, "bench_flow: %s: %s\n", what, sl_strerror(error));
    exit(1);
}

static void more(void);

static void on_event(void *user, sl_flow_run *run, const sl_flow_event *event)
{
    (void)user;
    if (event->kind != SL_FLOW_RUN_ENDED)
        return;
    b.ended++;
    if (sl_flow_run_status(run) != SL_RUN_SUCCEEDED && b.failed++ == 0)
        fprintf(stderr, "bench_flow: %s\n", sl_flow_run_error(run));
    more();
}

static void start(sl_str id)
{
    const sl_flow_run_options options = {.run_id = id, .durable = b.store != NULL, .on_event = on_event};
    int error = sl_flow_run_start(b.executor, b.flow, b.inputs, &options, NULL);
    if (error)
        fail("start", error);
}

static void on_accepted(void *user, int error, sl_str id, bool existed)
{
    (void)user;
    if (error || existed)
        fail("accept", error);
    start(id);
}

static void more(void)
{
    while (b.started < b.count && b.started - b.ended < b.window) {
        b.started++;
        if (!b.store) {
            start(SL_STR(""));
            continue;
        }
        char id[SL_FLOW_RUN_ID_BYTES];
        sl_flow_run_new_id(id);
        const sl_run_new run = {.id = sl_str_c(id),
                                .workflow = sl_str_c(b.flow->name),
                                .hash = sl_str_c(b.flow->hash),
                                .source = sl_str_of(b.flow->source, b.flow->source_len),
                                .inputs = SL_STR("{}"),
                                .created_ns = sl_now_ns()};
        int error = sl_run_store_accept(b.store, &run, on_accepted, NULL);
        if (error)
            fail("accept", error);
    }
    if (b.ended == b.count)
        uv_stop(&b.loop.uv);
}

/* ---- what runs ---- */

static void nothing_start(sl_step_try *attempt)
{
    sl_step_succeed(attempt, json_array(), NULL, NULL);
}

static void nothing_cancel(sl_step_try *attempt)
{
    (void)attempt;
}

static const sl_step_kind nothing = {nothing_start, nothing_cancel};
static const sl_step_kind *kinds[SL_STEP_TYPE_COUNT];

static const char *source_of(const char *what)
{
    static char text[16384];
    if (strcmp(what, "llm") == 0)
        return "name: one-call\nsteps:\n  - {id: ask, type: llm, provider: openai, model: gpt-4o-mini, prompt: 'Say "
               "something short.', max_tokens: 16}\n";
    if (strcmp(what, "steps") != 0)
        return "name: empty\nsteps:\n  - {id: nothing, type: action, action: none}\n";
    int len = snprintf(text, sizeof text, "name: steps\nsteps:\n");
    for (int i = 0; i < 20; i++) {
        char after[32] = "";
        if (i)
            (void)snprintf(after, sizeof after, ", depends_on: [s%d]", i % 2 ? i - 1 : i / 2);
        len += snprintf(text + len, sizeof text - (size_t)len,
                        "  - {id: s%d, type: transform, function: expression, expression: 'inputs.n + %d'%s}\n", i, i,
                        after);
    }
    return text;
}

static bool is_file(const char *what)
{
    return strchr(what, '.') != NULL;
}

static void load(const char *what, const char *inputs)
{
    static sl_flow_problems problems;
    int error = is_file(what) ? sl_flow_load_file(what, &problems, &b.flow)
                              : sl_flow_load(sl_str_c(source_of(what)), &problems, &b.flow);
    for (size_t i = 0; i < problems.errors && i < problems.count; i++)
        fprintf(stderr, "bench_flow: %u: %s\n", problems.items[i].line, problems.items[i].message);
    if (error)
        fail("load", error);
    b.inputs = json_loads(inputs, 0, NULL);
    if (!b.inputs)
        fail("inputs", SL_EPARSE);
}

static void deliver_free(void *user)
{
    (void)user;
}

static int deliver(void *user, sl_signal signal, sl_str request, size_t items, uint64_t timeout_ms,
                   uint64_t *ret_retry_after_ms, uint64_t *ret_rejected)
{
    (void)user, (void)signal, (void)request, (void)items, (void)timeout_ms, (void)ret_retry_after_ms,
        (void)ret_rejected;
    return 0;
}

/* An exporter that takes everything: what is recorded is drained, batched and handed out. */
static void open_sdk(const char *signals)
{
    if (strcmp(signals, "off") == 0)
        return;
    bool all = strcmp(signals, "on") == 0;
    const sl_exporter sink = {
        .name = "sink", .signals = SL_SIGNALS_ALL, .deliver = deliver, .free = deliver_free, .schedule_delay_ms = 100};
    const sl_sdk_options options = {
        .ignore_environment = true,
        .no_default_exporters = true,
        .exporters = &sink,
        .exporter_count = 1,
        .sampler = {.kind = all || strcmp(signals, "spans") == 0 ? SL_SAMPLER_ALWAYS_ON : SL_SAMPLER_ALWAYS_OFF},
        .log_level = all || strcmp(signals, "logs") == 0 ? SL_INFO : SL_CRITICAL};
    int error = sl_sdk_new(&options, &b.sdk);
    if (error)
        fail("sdk", error);
}

static void on_alive(uv_async_t *async)
{
    (void)async;
}

static void open_all(const char *what, const char *signals)
{
    open_sdk(signals);
    if (sl_loop_init(&b.loop) || uv_async_init(&b.loop.uv, &b.alive, on_alive))
        fail("loop", SL_EIO);
    for (size_t i = 0; i < SL_STEP_TYPE_COUNT; i++)
        kinds[i] = strcmp(what, "empty") == 0 || strcmp(what, "durable") == 0 ? &nothing : sl_step_kinds[i];
    b.services.loop = &b.loop;
    b.services.sdk = b.sdk;
    b.window = WINDOW;
    if (strcmp(what, "llm") == 0 || is_file(what)) {
        b.window = is_file(what) ? 1 : 16;
        if (sl_llm_client_new(&b.loop, b.sdk, &b.services.llm) || sl_llm_endpoints_from_env(b.services.llm))
            fail("client", SL_EIO);
    }
    if (strcmp(what, "durable") == 0) {
        char error[512];
        if (sl_db_open(&(sl_db_options){.path = "flow.db", .schema = "", .format = 1}, error, sizeof error, &b.db) ||
            sl_run_store_new(&b.loop, b.db, &b.store))
            fail("flow.db", SL_EIO);
    }
    const sl_executor_options options = {.services = &b.services, .kinds = kinds, .store = b.store};
    int error = sl_executor_new(&options, &b.executor);
    if (error)
        fail("executor", error);
}

static void close_all(void)
{
    sl_executor_close(b.executor, false);
    if (b.store)
        sl_run_store_close(b.store);
    if (b.services.llm)
        sl_llm_client_close(b.services.llm);
    uv_close((uv_handle_t *)&b.alive, NULL);
    (void)uv_run(&b.loop.uv, UV_RUN_DEFAULT);
    sl_executor_free(b.executor);
    sl_run_store_free(b.store);
    if (b.db)
        sl_db_close(b.db);
    sl_llm_client_free(b.services.llm);
    sl_loop_done(&b.loop);
    sl_sdk_free(b.sdk);
    sl_flow_unref(b.flow);
    json_decref(b.inputs);
}

static double cpu_s(void)
{
    struct rusage usage;
    (void)getrusage(RUSAGE_SELF, &usage);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void run_all(size_t count)
{
    b.count = count;
    b.started = b.ended = 0;
    more();
    while (b.ended < b.count)
        (void)uv_run(&b.loop.uv, UV_RUN_DEFAULT);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: bench_flow steps|empty|durable|llm|FILE off|metrics|spans|logs|on [COUNT [INPUTS]]\n");
        return 2;
    }
    size_t count = argc > 3 ? strtoull(argv[3], NULL, 10) : 20000;
    open_all(argv[1], argv[2]);
    load(argv[1], argc > 4 ? argv[4] : "{\"n\":1}");
    run_all(count / 10 + 1); /* to warm up */
    double cpu = cpu_s();
    uint64_t begin = sl_mono_ns();
    run_all(count);
    if (b.sdk && sl_sdk_flush(b.sdk, 5000) != 0)
        fail("flush", SL_ETIMEOUT);
    double seconds = (double)(sl_mono_ns() - begin) / 1e9;
    cpu = cpu_s() - cpu;
    size_t steps = count * b.flow->step_total;
    sl_sdk_stats spans = {0}, logs = {0};
    if (b.sdk) {
        sl_sdk_get_stats(b.sdk, SL_SIGNAL_TRACES, &spans);
        sl_sdk_get_stats(b.sdk, SL_SIGNAL_LOGS, &logs);
    }
    printf("{\"name\":\"%s\",\"signals\":\"%s\",\"runs\":%zu,\"failed\":%zu,\"steps_per_s\":%.0f,\"cpu_us\":%.3f,"
           "\"wall_us\":%.3f,\"spans\":%llu,\"logs\":%llu,\"dropped\":%llu}\n",
           argv[1], argv[2], count, b.failed, (double)steps / seconds, cpu / (double)count * 1e6,
           seconds / (double)count * 1e6, (unsigned long long)spans.ended, (unsigned long long)logs.ended,
           (unsigned long long)(spans.dropped + logs.dropped));
    size_t failed = b.failed;
    close_all();
    return failed ? 1 : 0;
}
