/* The live view's maxima, ids that several traces share, and answers for which there is no memory. */
#include "src/view/test_live_fixture.h"

#include <stdio.h>
#include <stdlib.h>

/* A view with `count` traces of one span each; ids begin with their number. */
static sl_live *view_of(uint32_t count, const sl_live_options *options)
{
    sl_live *live = sl_live_new(options);
    for (uint32_t i = 1; live && i <= count; i++) {
        const spec one = {i, 1, 0, "name", i, i + 1, 1, 0};
        CHECK_EQ(add(live, "service", &one, 1), 0);
    }
    return live;
}

static size_t listed(sl_live *live, size_t limit)
{
    const sl_live_filter filter = {.limit = limit};
    sl_buf out;
    size_t count = 0;
    sl_buf_init(&out, 64u << 20);
    CHECK_EQ(sl_live_list_json(live, &filter, &out), 0);
    sl_str rest = sl_buf_str(&out);
    for (size_t at; (at = sl_str_find(rest, SL_STR("\"trace_id\""))) != SL_NPOS; count++)
        rest = sl_str_sub(rest, at + 10, SL_NPOS);
    sl_buf_done(&out);
    return count;
}

/* As many traces as are kept; each further one takes the place of the oldest. */
SL_TEST(traces)
{
    for (uint32_t over = 0; over < 3; over++) {
        sl_live_stats stats;
        sl_live *live = view_of(SL_LIVE_TRACES + over, NULL);
        REQUIRE(live != NULL);
        sl_live_get_stats(live, &stats);
        CHECK_EQ(stats.traces, SL_LIVE_TRACES);
        CHECK_EQ(stats.evicted_traces, over);
        CHECK_EQ(listed(live, SIZE_MAX), SL_LIVE_TRACES);
        CHECK_EQ(listed(live, 0), 20);
        CHECK_EQ(listed(live, 7), 7);
        sl_buf out;
        sl_buf_init(&out, 1u << 20);
        CHECK_EQ(sl_live_trace_json(live, SL_STR("00000001"), &out), over ? SL_ENOENT : 0);
        sl_buf_done(&out);
        sl_live_free(live);
    }
}

/* A span that alone takes more than a quarter of the room is left out, and what was there stays. */
SL_TEST(bytes)
{
    const sl_live_options small = {.max_bytes = 64u * 1024};
    char *text = malloc(128u * 1024);
    REQUIRE(text != NULL);
    memset(text, 'x', 128u * 1024);
    for (size_t size = 1024; size <= 128u * 1024; size *= 2) {
        sl_live *live = view_of(10, &small);
        sl_live_stats before, after;
        REQUIRE(live != NULL);
        sl_live_get_stats(live, &before);
        text[size - 1] = 0;
        const spec one = {99, 1, 0, text, 5, 9, 1, 0};
        CHECK_EQ(add(live, "service", &one, 1), 0);
        sl_live_get_stats(live, &after);
        CHECK(after.bytes <= small.max_bytes);
        bool kept = after.traces > 0 && after.dropped_spans == 0;
        CHECK_EQ(kept, size < small.max_bytes / 4);
        CHECK_EQ(after.received_spans, before.received_spans + 1);
        CHECK_EQ(after.traces + after.evicted_traces + (kept ? 0 : 1), 11);
        text[size - 1] = 'x';
        sl_live_free(live);
    }
    free(text);
}

/* Digits that several traces begin with name none of them; one more digit, and one is named. */
SL_TEST(beginnings_that_several_traces_share)
{
    static const struct {
        const char *digits;
        int error;
    } rows[] = {
        {"", SL_EPARSE},
        {"00", SL_EPARSE},
        {"000", SL_EPARSE},
        {"0000", SL_EEXIST},
        {"0000000", SL_EEXIST},
        {"00000003", 0},
        {"0000003", SL_ENOENT},
        {"00000011", 0},
        {"0000001", SL_EEXIST},
        {"0000000g", SL_EPARSE},
        {"0000000A", 0},
        {"0000000a", 0},
        {"00000012", SL_ENOENT},
        {"ffff", SL_ENOENT},
        {"-0000003", SL_EPARSE},
        {"00000003 ", SL_EPARSE},
        {"000000030000000000000000000000000", SL_EPARSE}, /* a digit too many */
    };
    sl_live *live = view_of(17, NULL);
    REQUIRE(live != NULL);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_buf out;
        sl_buf_init(&out, 1u << 20);
        int error = sl_live_trace_json(live, sl_str_c(rows[i].digits), &out);
        if (error != rows[i].error)
            sl_test_failed(__FILE__, __LINE__, "'%s': %d, not %d", rows[i].digits, error, rows[i].error);
        CHECK(!error == (out.len > 0));
        sl_buf_done(&out);
    }
    sl_live_free(live);
}

/* ---- over HTTP, each allocation failing in turn ---- */

typedef struct answer {
    int status;
    char body[256];
} answer;

static void call(const sl_ctl_route *route, sl_str path_rest, answer *ret)
{
    sl_ctl_request request;
    sl_ctl_response response;
    memset(&request, 0, sizeof request);
    memset(&response, 0, sizeof response);
    request.method = SL_CTL_GET;
    request.path_rest = path_rest;
    response.status = 200;
    sl_buf_init(&response.body, 1u << 20);
    sl_buf_init(&response.headers, 1024);
    route->fn(route->user, &request, &response);
    ret->status = response.status;
    (void)sl_str_to_c(sl_buf_str(&response.body), ret->body, sizeof ret->body);
    CHECK(!response.stream);
    sl_buf_done(&response.body);
    sl_buf_done(&response.headers);
}

SL_TEST(answers_without_memory)
{
    sl_ctl_route routes[SL_LIVE_ROUTES];
    answer a;
    sl_live *live = view_of(3, NULL);
    REQUIRE(live != NULL);
    sl_live_routes(live, routes);
    for (int which = 0; which < 2; which++) {
        long nth = 0;
        for (bool failed = true; failed && nth < 50; nth++) {
            sl_test_fail_alloc(nth);
            call(&routes[which], SL_STR("00000002"), &a);
            failed = sl_test_alloc_failed();
            sl_test_fail_alloc(-1);
            CHECK(failed ? a.status == 500 || a.status == 200 : a.status == 200);
            CHECK(a.status == 500 || strstr(a.body, "trace_id") != NULL); /* all of it, or none */
        }
        CHECK(nth > 1 && nth < 50);
    }
    call(&routes[1], SL_STR("0000"), &a);
    CHECK(a.status == 400 && strstr(a.body, "\"ambiguous\"") != NULL);
    sl_live_free(live);
}
