/*
 * Runs by chance against a model: graphs of steps that succeed, fail, are skipped, are tried again. The status and the
 * number of tries of every step, the order in which they begin, and how the run ends follow from the rules alone.
 */
#include "src/flow/executor.h"

#include "src/flow/test_flow_fixture.h"
#include "tests/harness/sl_chance.h"

#define MAX_STEPS 14

typedef struct node {
    unsigned depends; /* bits of earlier ones */
    int condition;    /* 0: none, 1: true, -1: false, 2: an earlier one has a result */
    unsigned about;   /* that one */
    unsigned fails;   /* tries */
    bool refused;     /* an error that is not worth another try */
    int retries;      /* -1: no retry */
    unsigned delay_ms;
    /* What follows. */
    sl_step_status status;
    unsigned attempts;
    unsigned blame; /* bits of the failed ones that it is cancelled for */
} node;

typedef struct graph {
    uint64_t state;
    node nodes[MAX_STEPS];
    unsigned count;
    unsigned place[MAX_STEPS]; /* in the file */
} graph;

static unsigned chance(graph *g, unsigned below)
{
    return sl_chance(&g->state, below);
}

static void make(graph *g)
{
    g->count = 1 + chance(g, MAX_STEPS);
    for (unsigned i = 0; i < g->count; i++) {
        node *n = &g->nodes[i];
        *n = (node){.retries = -1};
        for (unsigned k = 0; k < i; k++)
            n->depends |= (chance(g, 4) == 0 ? 1u : 0) << k;
        if (chance(g, 5) == 0)
            n->condition = chance(g, 2) ? 1 : -1;
        else if (n->depends && chance(g, 4) == 0) {
            n->condition = 2;
            do
                n->about = chance(g, i);
            while (!(n->depends & 1u << n->about));
        }
        if (chance(g, 4) == 0)
            n->fails = 1 + chance(g, 4);
        n->refused = chance(g, 4) == 0;
        if (chance(g, 3) == 0)
            n->retries = (int)chance(g, 4);
        n->delay_ms = chance(g, 3) ? 0 : 1 + chance(g, 3);
        unsigned at = chance(g, i + 1); /* the file has them in any order */
        g->place[i] = g->place[at];
        g->place[at] = i;
    }
}

static void write_flow(const graph *g, sl_buf *out)
{
    (void)sl_buf_put_c(out, "name: chance\nsteps:\n");
    for (unsigned p = 0; p < g->count; p++) {
        unsigned i = g->place[p];
        const node *n = &g->nodes[i];
        (void)sl_buf_printf(out, "  - {id: s%u, type: action, action: x", i);
        const char *between = ", depends_on: [";
        for (unsigned k = 0; k < i; k++) {
            if (!(n->depends & 1u << k))
                continue;
            (void)sl_buf_printf(out, "%ss%u", between, k);
            between = ", ";
        }
        if (n->depends)
            (void)sl_buf_put_char(out, ']');
        if (n->condition == 2)
            (void)sl_buf_printf(out, ", condition: '{{steps.s%u.result}}'", n->about);
        else if (n->condition)
            (void)sl_buf_printf(out, ", condition: '%s'", n->condition > 0 ? "yes" : "false");
        if (n->fails)
            (void)sl_buf_printf(out, ", fail: %u, error: %s", n->fails, n->refused ? "refused" : "provider");
        if (n->retries >= 0)
            (void)sl_buf_printf(out, ", retry: {max_attempts: %d, initial_delay_ms: 1, max_delay_ms: 2}", n->retries);
        if (n->delay_ms)
            (void)sl_buf_printf(out, ", delay_ms: %u", n->delay_ms);
        (void)sl_buf_put_c(out, "}\n");
    }
}

/* The rules: a failed dependency cancels, a skipped one does not; a condition that does not hold skips. */
static bool follow(graph *g)
{
    bool failed = false;
    for (unsigned i = 0; i < g->count; i++) {
        node *n = &g->nodes[i];
        n->attempts = n->blame = 0;
        for (unsigned k = 0; k < i; k++) {
            const node *d = &g->nodes[k];
            if (!(n->depends & 1u << k))
                continue;
            if (d->status == SL_STEP_FAILED)
                n->blame |= 1u << k;
            else if (d->status == SL_STEP_CANCELLED)
                n->blame |= d->blame;
        }
        bool holds = n->condition != -1 && (n->condition != 2 || g->nodes[n->about].status == SL_STEP_SUCCEEDED);
        unsigned allowed = 1 + (n->retries > 0 && !n->refused ? (unsigned)n->retries : 0);
        if (n->blame) {
            n->status = SL_STEP_CANCELLED;
        } else if (!holds) {
            n->status = SL_STEP_SKIPPED;
        } else {
            n->attempts = n->fails < allowed ? n->fails + 1 : allowed;
            n->status = n->fails < allowed ? SL_STEP_SUCCEEDED : SL_STEP_FAILED;
            failed = failed || n->status == SL_STEP_FAILED;
        }
    }
    return !failed;
}

static void say(const graph *g, const char *what, unsigned i, const sl_flow_step_view *seen)
{
    sl_buf text;
    sl_buf_init(&text, 1u << 16);
    write_flow(g, &text);
    sl_test_failed(__FILE__, __LINE__, "%s of s%u: %s after %u, not %s after %u: %s\n%.*s", what, i,
                   sl_step_status_name(seen->status), seen->attempts, sl_step_status_name(g->nodes[i].status),
                   g->nodes[i].attempts, seen->message, (int)text.len, text.data);
    sl_buf_done(&text);
}

static void check_steps(const graph *g, const sl_flow_run *run)
{
    for (unsigned i = 0; i < g->count; i++) {
        const node *n = &g->nodes[i];
        char id[16];
        (void)snprintf(id, sizeof id, "s%u", i);
        sl_flow_step_view seen = fx_step(run, id);
        if (seen.status != n->status || seen.attempts != n->attempts)
            say(g, "end", i, &seen);
        bool blamed = n->status != SL_STEP_CANCELLED;
        for (unsigned k = 0; k < g->count && !blamed; k++) {
            char text[40];
            (void)snprintf(text, sizeof text, "not run: step s%u failed", k);
            blamed = (n->blame & 1u << k) && strcmp(seen.message, text) == 0;
        }
        if (!blamed)
            say(g, "message", i, &seen);
    }
}

/* Position of the step's word in a log of words; its `number`th, from 0; -1: none. */
static long place_of(const char *log, const char *word, unsigned number)
{
    size_t len = strlen(word);
    for (const char *at = strstr(log, word); at; at = strstr(at + len, word))
        if ((at == log || at[-1] == ' ') && number-- == 0)
            return at - log;
    return -1;
}

/* A step begins behind the ends of all that it depends on, and ends once. */
static void check_log(const graph *g, const char *log)
{
    for (unsigned i = 0; i < g->count; i++) {
        char begin[40], end[40], other[40];
        (void)snprintf(begin, sizeof begin, "%s:s%u:", sl_flow_event_name(SL_FLOW_STEP_STARTED), i);
        (void)snprintf(end, sizeof end, "%s:s%u:", sl_flow_event_name(SL_FLOW_STEP_ENDED), i);
        long began = place_of(log, begin, 0);
        CHECK(place_of(log, end, 0) >= 0 && place_of(log, end, 1) < 0);
        CHECK_EQ(began >= 0, g->nodes[i].attempts > 0);
        for (unsigned k = 0; k < i && began >= 0; k++) {
            (void)snprintf(other, sizeof other, "%s:s%u:", sl_flow_event_name(SL_FLOW_STEP_ENDED), k);
            if (g->nodes[i].depends & 1u << k)
                CHECK(place_of(log, other, 0) < began);
        }
    }
}

static void check_outputs(const graph *g, const sl_flow_run *run)
{
    json_t *outputs = sl_flow_run_outputs(run);
    for (unsigned i = 0; i < g->count; i++) {
        char id[16];
        (void)snprintf(id, sizeof id, "s%u", i);
        json_t *result = json_object_get(json_object_get(outputs, id), "result");
        bool succeeded = g->nodes[i].status == SL_STEP_SUCCEEDED;
        if (succeeded ? !json_is_string(result) || strcmp(json_string_value(result), id) != 0
                      : result && !json_is_null(result))
            sl_test_failed(__FILE__, __LINE__, "output of %s", id);
    }
    json_decref(outputs);
}

SL_TEST(graphs_by_chance_end_as_the_rules_say)
{
    static graph g;
    g.state = 2026;
    unsigned good = 0;
    for (int round = 0; round < 400; round++) {
        fx f;
        const sl_flow_run_options options = {.on_event = fx_on_event, .user = &f, .max_concurrency = 1 + chance(&g, 6)};
        make(&g);
        sl_buf text;
        sl_buf_init(&text, 1u << 16);
        write_flow(&g, &text);
        (void)sl_buf_put_char(&text, '\0');
        fx_init(&f, NULL, false);
        sl_flow *flow = fx_flow(text.data);
        REQUIRE(flow);
        sl_flow_run *run = fx_start_run(&f, flow, NULL, &options);
        REQUIRE(fx_wait(&f, run));
        bool succeeds = follow(&g);
        good += succeeds;
        CHECK_EQ(sl_flow_run_status(run), succeeds ? SL_RUN_SUCCEEDED : SL_RUN_FAILED);
        CHECK(f.most <= options.max_concurrency && f.ends == 1);
        check_steps(&g, run);
        check_log(&g, f.log);
        check_outputs(&g, run);
        sl_flow_run_unref(run);
        sl_flow_unref(flow);
        fx_done(&f);
        sl_buf_done(&text);
    }
    CHECK(good > 50 && good < 350);
}

/* A cancel at any time: what has ended stays, the rest is cancelled, nothing begins behind it, and the run ends once.
 */
SL_TEST(a_cancel_at_any_time_ends_the_run)
{
    static graph g;
    g.state = 7;
    for (int round = 0; round < 120; round++) {
        fx f;
        const sl_flow_run_options options = {.on_event = fx_on_event, .user = &f, .max_concurrency = 1 + chance(&g, 3)};
        make(&g);
        sl_buf text;
        sl_buf_init(&text, 1u << 16);
        write_flow(&g, &text);
        (void)sl_buf_put_char(&text, '\0');
        fx_init(&f, NULL, false);
        sl_flow *flow = fx_flow(text.data);
        REQUIRE(flow);
        sl_flow_run *run = fx_start_run(&f, flow, NULL, &options);
        for (unsigned turns = chance(&g, 12); turns > 0 && sl_flow_run_status(run) <= SL_RUN_RUNNING; turns--)
            (void)uv_run(&f.loop.uv, UV_RUN_NOWAIT);
        bool over = sl_flow_run_status(run) > SL_RUN_RUNNING;
        sl_run_status before = sl_flow_run_status(run);
        size_t tries = f.tries;
        sl_flow_run_cancel(run);
        REQUIRE(fx_wait(&f, run));
        fx_turn(&f, 2);
        CHECK_EQ(f.tries, tries);
        CHECK_EQ(sl_flow_run_status(run), over ? before : SL_RUN_CANCELLED);
        CHECK_EQ(f.ends, 1);
        for (size_t i = 0; i < sl_flow_run_step_count(run); i++) {
            sl_flow_step_view seen;
            sl_flow_run_step_at(run, i, &seen);
            CHECK(seen.status == SL_STEP_SUCCEEDED || seen.status == SL_STEP_FAILED || seen.status == SL_STEP_SKIPPED ||
                  seen.status == SL_STEP_CANCELLED);
        }
        sl_flow_run_unref(run);
        sl_flow_unref(flow);
        fx_done(&f);
        sl_buf_done(&text);
    }
}
