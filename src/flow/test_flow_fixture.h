/*
 * For tests of runs: an executor on a loop of its own, step kinds that do what the step's parameters say, and an SDK
 * whose spans, metrics and log lines can be read.
 *
 * Parameters of the fake kinds (steps of type action): `give` (value; default: the step's id), `text`, `delay_ms`,
 * `fail` (number of tries that fail), `error` (provider, refused, timeout, internal), `retry_after_ms`, `hang`,
 * `tokens`.
 */
#ifndef SL_FLOW_TEST_FLOW_FIXTURE_H
#define SL_FLOW_TEST_FLOW_FIXTURE_H

#include <stdlib.h>

#include "src/base/clock.h"
#include "src/flow/executor_impl.h"
#include "tests/harness/sl_test.h"

#define FX_UNUSED __attribute__((unused))
#define FX_PATIENCE_MS (10000 * SL_TEST_SLOW)

typedef struct fx {
    sl_loop loop;
    uv_async_t alive;
    sl_sdk *sdk;
    sl_flow_services services;
    sl_executor *executor;
    size_t tries, cancels, now, most; /* of the fake kinds */
    char order[4096];                 /* "a b c ": begins of tries */
    uint64_t begun_ns[64];            /* of the first tries */
    size_t events, ends;
    char log[16384]; /* "kind:path:status " */
} fx;

static fx *fx_here;

typedef struct fx_timer {
    uv_timer_t timer;
    sl_step_try *attempt;
} fx_timer;

static void fx_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static json_t *fx_param(const sl_step_try *attempt, const char *key)
{
    return json_object_get(attempt->params, key);
}

/* A number, or the text of one. */
static int64_t fx_number(const sl_step_try *attempt, const char *key)
{
    json_t *value = fx_param(attempt, key);
    return json_is_string(value) ? strtoll(json_string_value(value), NULL, 10) : json_integer_value(value);
}

static sl_step_error fx_error(const sl_step_try *attempt)
{
    const char *name = json_string_value(fx_param(attempt, "error"));
    if (name && strcmp(name, "refused") == 0)
        return SL_STEP_ERROR_REFUSED;
    if (name && strcmp(name, "internal") == 0)
        return SL_STEP_ERROR_INTERNAL;
    return SL_STEP_ERROR_PROVIDER;
}

static void fx_finish(sl_step_try *attempt)
{
    fx_here->now--;
    attempt->data = NULL;
    int64_t tokens = json_integer_value(fx_param(attempt, "tokens"));
    if (tokens > 0) {
        const sl_step_usage usage = {
            .input_tokens = (uint64_t)tokens, .output_tokens = 7, .cost_usd = 0.25, .cost_known = true};
        sl_step_add_usage(attempt, &usage);
    }
    if ((json_int_t)attempt->attempt <= json_integer_value(fx_param(attempt, "fail"))) {
        attempt->retry_after_ms = (uint64_t)json_integer_value(fx_param(attempt, "retry_after_ms"));
        sl_step_fail(attempt, fx_error(attempt), "try %u failed", attempt->attempt);
        return;
    }
    json_t *give = fx_param(attempt, "give");
    give = give ? json_incref(give) : json_string(attempt->step->id);
    json_t *text = fx_param(attempt, "text");
    text = text ? json_incref(text) : json_is_string(give) ? json_incref(give) : NULL;
    sl_step_succeed(attempt, json_pack("[o]", give), NULL, text);
}

static void fx_on_timer(uv_timer_t *timer)
{
    fx_timer *t = timer->data;
    sl_step_try *attempt = t->attempt;
    uv_close((uv_handle_t *)timer, fx_closed);
    fx_finish(attempt);
}

static void fx_start(sl_step_try *attempt)
{
    fx *f = fx_here;
    if (f->tries < 64)
        f->begun_ns[f->tries] = sl_mono_ns();
    f->tries++;
    f->now++;
    f->most = f->now > f->most ? f->now : f->most;
    size_t len = strlen(f->order);
    (void)snprintf(f->order + len, sizeof f->order - len, "%s ", attempt->step->id);
    int64_t delay = fx_number(attempt, "delay_ms");
    bool hang = json_is_true(fx_param(attempt, "hang"));
    if (!delay && !hang) {
        fx_finish(attempt);
        return;
    }
    fx_timer *t = calloc(1, sizeof *t);
    if (!t)
        abort();
    t->attempt = attempt;
    t->timer.data = t;
    attempt->data = t;
    (void)uv_timer_init(&f->loop.uv, &t->timer);
    (void)uv_timer_start(&t->timer, fx_on_timer, hang ? 3600000 : (uint64_t)delay, 0);
}

static void fx_cancel(sl_step_try *attempt)
{
    fx_timer *t = attempt->data;
    fx_here->cancels++;
    fx_here->now--;
    if (t)
        uv_close((uv_handle_t *)&t->timer, fx_closed);
    attempt->data = NULL;
}

static const sl_step_kind fx_kind = {fx_start, fx_cancel};
static const sl_step_kind *const fx_kinds[SL_STEP_TYPE_COUNT] = {
    [SL_STEP_LLM] = &fx_kind,       [SL_STEP_EMBED] = &fx_kind,  [SL_STEP_VECTOR_SEARCH] = &fx_kind,
    [SL_STEP_TRANSFORM] = &fx_kind, [SL_STEP_ACTION] = &fx_kind,
};

FX_UNUSED static void fx_on_event(void *user, sl_flow_run *run, const sl_flow_event *event)
{
    fx *f = user;
    size_t len = strlen(f->log);
    f->events++;
    (void)run;
    (void)snprintf(f->log + len, sizeof f->log - len, "%s:%s:%s ", sl_flow_event_name(event->kind), event->path,
                   event->kind == SL_FLOW_STEP_ENDED ? sl_step_status_name(event->step_status) : "");
    f->ends += event->kind == SL_FLOW_RUN_ENDED;
}

static void fx_nothing(uv_async_t *async)
{
    (void)async;
}

FX_UNUSED static void fx_init(fx *f, const sl_executor_options *given, bool telemetry)
{
    memset(f, 0, sizeof *f);
    fx_here = f;
    if (sl_loop_init(&f->loop) || uv_async_init(&f->loop.uv, &f->alive, fx_nothing))
        abort();
    const sl_sdk_options quiet = {.ignore_environment = true, .no_default_exporters = true, .log_level = SL_DEBUG};
    if (telemetry && sl_sdk_new(&quiet, &f->sdk))
        abort();
    f->services.loop = &f->loop;
    f->services.sdk = f->sdk;
    sl_executor_options options = {0};
    if (given)
        options = *given;
    options.services = &f->services;
    if (!options.kinds)
        options.kinds = fx_kinds;
    if (sl_executor_new(&options, &f->executor))
        abort();
}

FX_UNUSED static void fx_done(fx *f)
{
    sl_executor_close(f->executor, false);
    uv_close((uv_handle_t *)&f->alive, NULL);
    (void)uv_run(&f->loop.uv, UV_RUN_DEFAULT);
    sl_executor_free(f->executor);
    sl_loop_done(&f->loop);
    sl_sdk_free(f->sdk);
    CHECK_EQ(f->now, 0);
    fx_here = NULL;
}

/* A workflow from YAML; what is wrong with it fails the test. */
FX_UNUSED static sl_flow *fx_flow(const char *yaml)
{
    static sl_flow_problems problems;
    memset(&problems, 0, sizeof problems);
    sl_flow *flow = NULL;
    if (sl_flow_load(sl_str_c(yaml), &problems, &flow) == 0)
        return flow;
    for (size_t i = 0; i < problems.count; i++)
        sl_test_failed(__FILE__, __LINE__, "%u: %s: %s", problems.items[i].line, problems.items[i].step,
                       problems.items[i].message);
    return NULL;
}

/* Turns the loop until the run has ended. */
FX_UNUSED static bool fx_wait(fx *f, const sl_flow_run *run)
{
    uint64_t end = sl_mono_ns() + (uint64_t)FX_PATIENCE_MS * 1000000;
    while (run && sl_flow_run_status(run) <= SL_RUN_RUNNING && sl_mono_ns() < end)
        (void)uv_run(&f->loop.uv, UV_RUN_ONCE);
    return run && sl_flow_run_status(run) > SL_RUN_RUNNING;
}

/* Turns the loop for a time. */
FX_UNUSED static void fx_turn(fx *f, uint64_t ms)
{
    uint64_t end = sl_mono_ns() + ms * 1000000;
    do {
        (void)uv_run(&f->loop.uv, UV_RUN_NOWAIT);
        struct timespec nap = {0, 500000};
        (void)nanosleep(&nap, NULL);
    } while (sl_mono_ns() < end);
}

FX_UNUSED static sl_flow_run *fx_start_run(fx *f, sl_flow *flow, const char *inputs, const sl_flow_run_options *given)
{
    sl_flow_run *run = NULL;
    sl_flow_run_options options = {.on_event = fx_on_event, .user = f};
    if (given)
        options = *given;
    json_t *object = inputs ? json_loads(inputs, 0, NULL) : NULL;
    CHECK_EQ(flow ? sl_flow_run_start(f->executor, flow, object, &options, &run) : SL_EINVAL, 0);
    json_decref(object);
    return run;
}

/* Loads, runs to the end. */
FX_UNUSED static sl_flow_run *fx_run(fx *f, const char *yaml, const char *inputs)
{
    sl_flow *flow = fx_flow(yaml);
    sl_flow_run *run = fx_start_run(f, flow, inputs, NULL);
    CHECK(fx_wait(f, run));
    sl_flow_unref(flow);
    return run;
}

FX_UNUSED static sl_flow_step_view fx_step(const sl_flow_run *run, const char *id)
{
    sl_flow_step_view view = {.message = ""};
    for (size_t i = 0; i < sl_flow_run_step_count(run); i++) {
        sl_flow_step_view one;
        sl_flow_run_step_at(run, i, &one);
        if (strcmp(one.step->id, id) == 0)
            view = one;
    }
    return view;
}

/* JSON of the run's outputs, sorted and compact. The caller frees it. */
FX_UNUSED static char *fx_outputs(const sl_flow_run *run)
{
    json_t *outputs = sl_flow_run_outputs(run);
    char *text = json_dumps(outputs, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(outputs);
    return text;
}

FX_UNUSED static void fx_check_outputs(const sl_flow_run *run, const char *expected)
{
    char *text = fx_outputs(run);
    CHECK_STR(sl_str_c(text), expected);
    free(text);
}

/* True when the line stands in the SDK's Prometheus text. */
FX_UNUSED static bool fx_metric(fx *f, const char *line)
{
    char *text = sl_gather_metrics(f->sdk);
    char wanted[512];
    (void)snprintf(wanted, sizeof wanted, "\n%s\n", line);
    bool found = text && strstr(text, wanted);
    if (!found) {
        size_t name = strcspn(line, "{ ");
        for (char *at = text; at && (at = strstr(at, "\norchestrator_")); at++) {
            if (strncmp(at + 1, line, name) == 0 && !strstr(line, "_bucket"))
                fprintf(stderr, "  there is: %.*s\n", (int)strcspn(at + 1, "\n"), at + 1);
        }
        sl_test_failed(__FILE__, __LINE__, "no metric: %s", line);
    }
    free(text);
    return found;
}

#endif
