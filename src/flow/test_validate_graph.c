/* Dependencies of many workflows made by chance, against a plain computation of who is behind whom. */
#include <stdio.h>
#include <stdlib.h>

#include "src/flow/test_load.h"

#define MAX_STEPS 24

typedef struct graph {
    size_t count;
    bool edge[MAX_STEPS][MAX_STEPS];   /* [a][b]: a depends on b */
    bool behind[MAX_STEPS][MAX_STEPS]; /* directly or not */
    bool reads[MAX_STEPS][MAX_STEPS];  /* a template of a reads b */
} graph;

static uint64_t state = 42;

/* Below `limit`, the same ones in every run. */
static size_t chance(size_t limit)
{
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (size_t)(state >> 33) % limit;
}

static void close_over(graph *g)
{
    memcpy(g->behind, g->edge, sizeof g->edge);
    for (size_t k = 0; k < g->count; k++) {
        for (size_t a = 0; a < g->count; a++) {
            for (size_t b = 0; b < g->count; b++)
                g->behind[a][b] |= g->behind[a][k] && g->behind[k][b];
        }
    }
}

/* `forward`: edges lead to other steps in one direction of a shuffled order, so that there is no ring. */
static void make_graph(graph *g, bool forward)
{
    size_t order[MAX_STEPS];
    memset(g, 0, sizeof *g);
    g->count = 2 + chance(MAX_STEPS - 2);
    for (size_t i = 0; i < g->count; i++)
        order[i] = i;
    for (size_t i = g->count; i > 1; i--) {
        size_t other = chance(i), kept = order[i - 1];
        order[i - 1] = order[other];
        order[other] = kept;
    }
    size_t edges = chance(2 * g->count);
    for (size_t i = 0; i < edges; i++) {
        size_t a = chance(g->count), b = chance(g->count);
        if (a != b && (!forward || a > b))
            g->edge[order[a]][order[b]] = true;
    }
    for (size_t i = 0; i < g->count; i++) {
        size_t a = chance(g->count), b = chance(g->count);
        g->reads[a][b] = a != b;
    }
    close_over(g);
}

static void write_graph(const graph *g, sl_buf *text)
{
    sl_buf_init(text, 1u << 20);
    (void)sl_buf_put_c(text, "name: n\nsteps:\n");
    for (size_t a = 0; a < g->count; a++) {
        (void)sl_buf_printf(text, "- {id: s%zu, type: action, action: log, depends_on: [", a);
        for (size_t b = 0; b < g->count; b++) {
            if (g->edge[a][b])
                (void)sl_buf_printf(text, "s%zu, ", b);
        }
        (void)sl_buf_put_c(text, "], m: 'x");
        for (size_t b = 0; b < g->count; b++) {
            if (g->reads[a][b])
                (void)sl_buf_printf(text, " {{ outputs.s%zu }}", b);
        }
        (void)sl_buf_put_c(text, "'}\n");
    }
}

static size_t step_number(const char *id)
{
    return (size_t)strtoul(id + 1, NULL, 10);
}

static void check_order(const graph *g, const sl_flow *flow)
{
    size_t place[MAX_STEPS];
    CHECK_EQ(flow->root.step_count, g->count);
    for (size_t i = 0; i < g->count; i++)
        place[step_number(flow->root.steps[i].id)] = i;
    for (size_t i = 0; i < g->count; i++) {
        const sl_step *step = &flow->root.steps[i];
        size_t a = step_number(step->id), edges = 0;
        for (size_t b = 0; b < g->count; b++)
            edges += g->edge[a][b];
        CHECK_EQ(step->depend_count, edges);
        for (size_t d = 0; d < step->depend_count; d++) {
            CHECK(step->depends[d] < i);
            CHECK(g->edge[a][step_number(flow->root.steps[step->depends[d]].id)]);
        }
        CHECK_EQ(place[a], i);
    }
}

SL_TEST(graphs_without_rings)
{
    static sl_flow_problems problems;
    for (int round = 0; round < 300; round++) {
        static graph g;
        sl_flow *flow = NULL;
        sl_buf text;
        size_t early = 0;
        make_graph(&g, true);
        write_graph(&g, &text);
        CHECK_EQ(sl_flow_load(sl_buf_str(&text), &problems, &flow), 0);
        REQUIRE(flow != NULL);
        check_order(&g, flow);
        for (size_t a = 0; a < g.count; a++) {
            for (size_t b = 0; b < g.count; b++)
                early += g.reads[a][b] && !g.behind[a][b];
        }
        CHECK_EQ(problems.count, early);
        for (size_t i = 0; i < problems.count; i++) {
            size_t b = MAX_STEPS;
            CHECK_EQ(sscanf(problems.items[i].message, "outputs.s%zu: s%*u may not have run", &b), 1);
            CHECK(b < g.count && !g.behind[step_number(problems.items[i].step)][b]);
        }
        sl_flow_unref(flow);
        sl_buf_done(&text);
    }
}

/* "...: s1 -> s2 -> s1; ...": every arrow is a dependency, and the ends are one. */
static void check_ring(const graph *g, const char *message)
{
    const char *at = strstr(message, "one another: ");
    REQUIRE(at != NULL);
    at += strlen("one another: ");
    size_t first = step_number(at), last = first;
    while ((at = strstr(at, " -> ")) != NULL) {
        at += 4;
        if (*at == '(')
            return; /* too long to be spelled out */
        size_t next = step_number(at);
        CHECK(next < g->count && g->edge[last][next]);
        last = next;
    }
    CHECK_EQ(last, first);
}

SL_TEST(graphs_with_rings)
{
    static sl_flow_problems problems;
    size_t with = 0;
    for (int round = 0; round < 300; round++) {
        static graph g;
        sl_flow *flow = NULL;
        sl_buf text;
        bool ring = false;
        size_t rings = 0;
        make_graph(&g, false);
        for (size_t a = 0; a < g.count; a++)
            ring |= g.behind[a][a];
        write_graph(&g, &text);
        CHECK_EQ(sl_flow_load(sl_buf_str(&text), &problems, &flow), ring ? SL_ECONFIG : 0);
        for (size_t i = 0; i < problems.count; i++) {
            if (problems.items[i].warning)
                continue;
            check_ring(&g, problems.items[i].message);
            rings++;
        }
        CHECK_EQ(rings > 0, ring);
        with += ring;
        sl_flow_unref(flow);
        sl_buf_done(&text);
    }
    CHECK(with > 50 && with < 300);
}

SL_TEST(a_long_ring_is_cut_in_the_middle)
{
    static sl_flow_problems problems;
    sl_flow *flow = NULL;
    sl_buf text;
    sl_buf_init(&text, 1u << 20);
    (void)sl_buf_put_c(&text, "name: n\nsteps:\n");
    for (int i = 0; i < 1000; i++)
        (void)sl_buf_printf(&text, "- {id: step_%d, type: action, action: log, depends_on: step_%d}\n", i,
                            (i + 1) % 1000);
    CHECK_EQ(sl_flow_load(sl_buf_str(&text), &problems, &flow), SL_ECONFIG);
    CHECK_EQ(problems.count, 1);
    CHECK(strstr(problems.items[0].message, "step_0 -> step_1 -> ") != NULL);
    CHECK(strstr(problems.items[0].message, " more) -> step_0; remove one of these") != NULL);
    sl_buf_done(&text);
}

SL_TEST(edges_lead_through_blocks)
{
    /* a waits for x, which stands two blocks deep in c; y, as deep in d, waits for b. */
    sl_flow *flow =
        LOAD("name: n\nsteps:\n"
             "- {id: a, type: action, action: log, depends_on: x}\n"
             "- {id: b, type: action, action: log, depends_on: a}\n"
             "- {id: c, type: parallel, tasks: {id: c2, type: parallel, tasks: {id: x, type: action, action: "
             "log}}}\n"
             "- {id: d, type: parallel, tasks: {id: d2, type: loop, items: [1], step: {id: y, type: action, "
             "action: log, depends_on: b, m: '{{ outputs.x }} {{ outputs.a }}'}}}\n",
             0, "");
    REQUIRE(flow != NULL);
    static const char *const ids[] = {"c", "a", "b", "d"};
    for (size_t i = 0; i < 4; i++) {
        CHECK_STR(sl_str_c(flow->root.steps[i].id), ids[i]);
        CHECK_EQ(flow->root.steps[i].depend_count, i > 0);
        CHECK(i == 0 || flow->root.steps[i].depends[0] == i - 1);
    }
    sl_flow_unref(flow);
}
