/*
 * For tests of the kinds of steps: one step on a loop, with a stand-in for the executor that keeps what the step said.
 */
#ifndef SL_FLOW_TEST_STEP_FIXTURE_H
#define SL_FLOW_TEST_STEP_FIXTURE_H

#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/flow/services.h"
#include "src/flow/step.h"
#include "tests/harness/net_fixture.h"

typedef struct bench_step {
    sl_loop loop;
    sl_upstream *upstream;
    sl_flow_services services;
    sl_step step;
    sl_step_try attempt;
    /* What the step said. */
    unsigned ends;
    sl_step_error error;
    char reason[600];
    json_t *results, *extra, *text;
} bench_step;

static bench_step *the_step; /* that runs: the executor's calls know no more than the try */

void sl_step_succeed(sl_step_try *attempt, json_t *results, json_t *extra, json_t *as_text)
{
    CHECK(attempt == &the_step->attempt);
    CHECK(results && as_text);
    the_step->ends++;
    the_step->results = results;
    the_step->extra = extra;
    the_step->text = as_text;
}

void sl_step_fail(sl_step_try *attempt, sl_step_error error, const char *format, ...)
{
    va_list args;
    CHECK(attempt == &the_step->attempt);
    CHECK(error != SL_STEP_ERROR_NONE);
    the_step->ends++;
    the_step->error = error;
    va_start(args, format);
    (void)vsnprintf(the_step->reason, sizeof the_step->reason, format, args);
    va_end(args);
}

void sl_step_add_usage(sl_step_try *attempt, const sl_step_usage *usage)
{
    CHECK(attempt && usage);
}

/* JSON with ' for ". */
NF_UNUSED static json_t *quoted(const char *text)
{
    char *copy = strdup(text);
    for (char *c = copy; *c; c++)
        if (*c == '\'')
            *c = '"';
    json_error_t fault;
    json_t *value = json_loads(copy, JSON_DECODE_ANY, &fault);
    if (!value) {
        fprintf(stderr, "%s: %s\n", copy, fault.text);
        abort();
    }
    free(copy);
    return value;
}

static void step_open(bench_step *b)
{
    memset(b, 0, sizeof *b);
    (void)signal(SIGPIPE, SIG_IGN);
    if (sl_loop_init(&b->loop) || sl_upstream_new(&b->loop, NULL, &b->upstream))
        abort();
    b->services.loop = &b->loop;
    b->services.upstream = b->upstream;
    the_step = b;
}

static void step_forget(bench_step *b)
{
    json_decref(b->results);
    json_decref(b->extra);
    json_decref(b->text);
    json_decref(b->attempt.params);
    json_decref(b->attempt.context);
    b->results = b->extra = b->text = NULL;
    memset(&b->attempt, 0, sizeof b->attempt);
    b->error = SL_STEP_ERROR_NONE;
    b->ends = 0;
    b->reason[0] = '\0';
}

NF_UNUSED static void step_close(bench_step *b)
{
    step_forget(b);
    sl_upstream_close(b->upstream);
    while (uv_run(&b->loop.uv, UV_RUN_ONCE))
        ;
    sl_upstream_free(b->upstream);
    sl_loop_done(&b->loop);
}

/* Begins a try. `params` and `context` are JSON with ' for ". */
NF_UNUSED static void step_begin(bench_step *b, const sl_step_kind *kind, const char *params, const char *context)
{
    step_forget(b);
    b->attempt.params = quoted(params);
    b->attempt.context = quoted(context);
    b->step = (sl_step){.id = "one", .params = b->attempt.params};
    b->attempt.step = &b->step;
    b->attempt.loop = &b->loop;
    b->attempt.services = &b->services;
    b->attempt.attempt = 1;
    kind->start(&b->attempt);
}

NF_UNUSED static void step_wait(bench_step *b)
{
    uint64_t end = sl_mono_ns() + (uint64_t)NF_PATIENCE_MS * 1000000;
    while (!b->ends && sl_mono_ns() < end)
        (void)uv_run(&b->loop.uv, UV_RUN_ONCE);
    CHECK_EQ(b->ends, 1);
    CHECK(b->attempt.data == NULL);
}

NF_UNUSED static void step_run(bench_step *b, const sl_step_kind *kind, const char *params)
{
    step_begin(b, kind, params, "{'workflow':{'name':'w','run_id':'r1'}}");
    step_wait(b);
}

/* The first result as JSON text equals `wanted` (JSON with ' for "). */
#define CHECK_RESULT(b, index, wanted)                                                                                 \
    do {                                                                                                               \
        json_t *want_ = quoted(wanted);                                                                                \
        json_t *have_ = json_array_get((b)->results, (index));                                                         \
        char *text_ = have_ ? json_dumps(have_, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;                                \
        if (!have_ || !json_equal(want_, have_))                                                                       \
            sl_test_failed(__FILE__, __LINE__, "wanted %s, got %s %s", wanted, text_ ? text_ : "nothing",              \
                           (b)->reason);                                                                               \
        free(text_);                                                                                                   \
        json_decref(want_);                                                                                            \
    } while (0)

#define CHECK_FAILS(b, kind_, part)                                                                                    \
    do {                                                                                                               \
        CHECK_EQ((b)->error, kind_);                                                                                   \
        if (!strstr((b)->reason, part))                                                                                \
            sl_test_failed(__FILE__, __LINE__, "\"%s\" does not say \"%s\"", (b)->reason, part);                       \
    } while (0)

#endif
