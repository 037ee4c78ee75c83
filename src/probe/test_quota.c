/* Quotas: what is a limit, when one is crossed, what is told. */
#include "src/probe/quota.h"

#include "src/probe/quota_watch.h"
#include "src/probe/test_metrics_page.h"
#include "tests/harness/sl_chance.h"

#define SECOND 1000000000u

SL_TEST(limits_as_text)
{
    static const struct {
        const char *text;
        double limit[SL_QUOTA_COUNT];
    } cases[] = {
        {"", {0, 0, 0, 0}},
        {"  ", {0, 0, 0, 0}},
        {"queue=16", {0, 0, 16, 0}},
        {"resident_memory=8GiB", {8589934592., 0, 0, 0}},
        {"resident_memory=0.5GiB", {536870912., 0, 0, 0}},
        {"resident_memory=512 MiB", {536870912., 0, 0, 0}},
        {"resident_memory=1024KiB", {1048576., 0, 0, 0}},
        {"resident_memory=4096", {4096, 0, 0, 0}},
        {"context=0.9,queue=1,tokens_per_second=12.5", {0, .9, 1, 12.5}},
        {" tokens_per_second = 500 , context = 1 ", {0, 1, 0, 500}},
        {"queue=1,queue=2", {0, 0, 2, 0}},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_quota_limits limits;
        REQUIRE(sl_quota_parse(sl_str_c(cases[i].text), &limits, NULL) == 0);
        bool any = false;
        for (size_t k = 0; k < SL_QUOTA_COUNT; k++) {
            CHECK(limits.limit[k] == cases[i].limit[k]);
            any |= limits.limit[k] > 0;
        }
        CHECK_EQ(sl_quota_is_set(&limits), any);
    }
}

SL_TEST(text_that_is_no_limit)
{
    static const struct {
        const char *text, *fault;
    } cases[] = {
        {"queue", "queue"},
        {"queue=", "queue="},
        {"queue=0", "queue=0"},
        {"queue=-1", "queue=-1"},
        {"queue=1.5", "queue=1.5"},
        {"queue=many", "queue=many"},
        {"queue=1e10", "queue=1e10"},
        {"context=1.01", "context=1.01"},
        {"context=90%", "context=90%"},
        {"context=0.5GiB", "context=0.5GiB"},
        {"resident_memory=8GB", "resident_memory=8GB"},
        {"resident_memory=0.3", "resident_memory=0.3"},
        {"tokens_per_second=inf", "tokens_per_second=inf"},
        {"tokens_per_second=nan", "tokens_per_second=nan"},
        {"memory=1GiB", "memory=1GiB"},
        {"queue=1,,context=1", ""},
        {"queue=1, other=2 ,context=1", "other=2"},
        {"=1", "=1"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_quota_limits limits = {.limit = {7, 7, 7, 7}};
        sl_str fault = SL_STR("untouched");
        CHECK_EQ(sl_quota_parse(sl_str_c(cases[i].text), &limits, &fault), SL_EPARSE);
        CHECK_STR(fault, cases[i].fault);
        CHECK(limits.limit[0] == 7 && limits.limit[3] == 7);
        CHECK_EQ(sl_quota_parse(sl_str_c(cases[i].text), &limits, NULL), SL_EPARSE);
    }
}

static sl_probe_totals totals_of(uint64_t resident, double context, uint64_t waiting, double tokens)
{
    return (sl_probe_totals){
        .resident_bytes = resident, .context_use = context, .waiting = waiting, .tokens_per_second = tokens};
}

SL_TEST(without_a_limit_nothing_is_exceeded)
{
    sl_quota quota = {.exceeded = {false}};
    sl_probe_totals much = totals_of(UINT64_MAX, 1, UINT64_MAX, 1e9);
    unsigned ended = 1, seconds = 9;
    sl_quota_kind kind = SL_QUOTA_COUNT;
    CHECK_EQ(sl_quota_update(&quota, &much, &ended), 0);
    CHECK_EQ(ended, 0);
    CHECK(!sl_quota_exceeded(&quota, &kind, &seconds));
    CHECK(kind == SL_QUOTA_COUNT && seconds == 9);
}

SL_TEST(one_crossing_although_the_use_goes_up_and_down)
{
    static const struct {
        double tokens;
        bool crossed, ended, exceeded;
    } steps[] = {
        {99, false, false, false}, {100, false, false, false}, {100.1, true, false, true}, {99, false, false, true},
        {101, false, false, true}, {96, false, false, true},   {95, false, true, false},   {100, false, false, false},
        {1000, true, false, true}, {1000, false, false, true}, {0, false, true, false},
    };
    sl_quota quota = {.limits = {.limit = {[SL_QUOTA_TOKENS] = 100}}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        unsigned ended, crossed;
        sl_probe_totals totals = totals_of(0, 0, 0, steps[i].tokens);
        crossed = sl_quota_update(&quota, &totals, &ended);
        CHECK_EQ(crossed, steps[i].crossed ? 1u << SL_QUOTA_TOKENS : 0);
        CHECK_EQ(ended, steps[i].ended ? 1u << SL_QUOTA_TOKENS : 0);
        CHECK_EQ(quota.exceeded[SL_QUOTA_TOKENS], steps[i].exceeded);
        CHECK(quota.used[SL_QUOTA_TOKENS] == steps[i].tokens);
    }
}

/* Uses by chance, mostly about the limits, against the rule said another way: by what happened before. */
SL_TEST(crossings_by_chance_against_their_definition)
{
    uint64_t state = 17;
    for (unsigned round = 0; round < 200; round++) {
        sl_quota quota = {.limits = {.limit = {sl_chance(&state, 3) ? 1000. * (1 + sl_chance(&state, 9)) : 0,
                                               sl_chance(&state, 3) ? .1 * (1 + sl_chance(&state, 10)) : 0,
                                               sl_chance(&state, 3) ? 1 + sl_chance(&state, 300) : 0,
                                               sl_chance(&state, 3) ? .5 + sl_chance(&state, 50) : 0}}};
        bool beyond[SL_QUOTA_COUNT] = {false};
        unsigned crossings[SL_QUOTA_COUNT] = {0}, ends[SL_QUOTA_COUNT] = {0};
        for (unsigned step = 0; step < 60; step++) {
            double share[SL_QUOTA_COUNT], used[SL_QUOTA_COUNT];
            for (unsigned k = 0; k < SL_QUOTA_COUNT; k++)
                share[k] = .9 + .01 * sl_chance(&state, 21); /* of the limit: 90 % to 110 % */
            sl_probe_totals totals = {.resident_bytes = (uint64_t)(share[0] * quota.limits.limit[0]),
                                      .context_use = share[1] * quota.limits.limit[1],
                                      .waiting = (uint64_t)(share[2] * quota.limits.limit[2] + .5),
                                      .tokens_per_second = share[3] * quota.limits.limit[3]};
            used[0] = (double)totals.resident_bytes;
            used[1] = totals.context_use;
            used[2] = (double)totals.waiting;
            used[3] = totals.tokens_per_second;
            unsigned ended = ~0u, crossed = sl_quota_update(&quota, &totals, &ended), longest = 0;
            for (unsigned k = 0; k < SL_QUOTA_COUNT; k++) {
                double limit = quota.limits.limit[k];
                bool short_queue = k == SL_QUOTA_QUEUE && limit < 100;
                bool was = beyond[k];
                if (limit > 0 && used[k] > limit)
                    beyond[k] = true;
                else if (limit > 0 && (short_queue ? used[k] < limit : used[k] <= .95 * limit))
                    beyond[k] = false;
                CHECK_EQ(quota.exceeded[k], beyond[k]);
                CHECK_EQ(crossed >> k & 1, !was && beyond[k]);
                CHECK_EQ(ended >> k & 1, was && !beyond[k]);
                crossings[k] += crossed >> k & 1;
                ends[k] += ended >> k & 1;
                longest |= beyond[k];
            }
            CHECK_EQ((crossed | ended) >> SL_QUOTA_COUNT, 0);
            sl_quota_kind kind = SL_QUOTA_COUNT;
            unsigned seconds = 0;
            CHECK_EQ(sl_quota_exceeded(&quota, &kind, &seconds), longest != 0);
            CHECK(!longest || (kind < SL_QUOTA_COUNT && quota.exceeded[kind] && seconds > 0));
        }
        for (unsigned k = 0; k < SL_QUOTA_COUNT; k++) /* by turns, a crossing first */
            CHECK(crossings[k] == ends[k] + beyond[k]);
    }
}

SL_TEST(a_short_queue_ends_below_its_limit)
{
    sl_quota quota = {.limits = {.limit = {[SL_QUOTA_QUEUE] = 1}}};
    static const struct {
        uint64_t waiting;
        bool exceeded;
    } steps[] = {{1, false}, {2, true}, {1, true}, {0, false}, {1, false}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        unsigned ended;
        sl_probe_totals totals = totals_of(0, 0, steps[i].waiting, 0);
        (void)sl_quota_update(&quota, &totals, &ended);
        CHECK_EQ(quota.exceeded[SL_QUOTA_QUEUE], steps[i].exceeded);
    }
}

SL_TEST(the_slowest_to_recede_is_named)
{
    sl_quota quota = {.limits = {.limit = {1000, .5, 10, 100}}};
    unsigned ended, seconds = 0;
    sl_quota_kind kind = SL_QUOTA_COUNT;
    sl_probe_totals totals = totals_of(0, 0, 11, 0);
    CHECK_EQ(sl_quota_update(&quota, &totals, &ended), 1u << SL_QUOTA_QUEUE);
    CHECK(sl_quota_exceeded(&quota, &kind, &seconds) && kind == SL_QUOTA_QUEUE && seconds == 1);
    totals = totals_of(2000, .6, 11, 101);
    CHECK_EQ(sl_quota_update(&quota, &totals, &ended),
             1u << SL_QUOTA_RESIDENT | 1u << SL_QUOTA_CONTEXT | 1u << SL_QUOTA_TOKENS);
    CHECK(sl_quota_exceeded(&quota, &kind, &seconds) && kind == SL_QUOTA_RESIDENT && seconds == 30);
    totals = totals_of(100, .6, 0, 0);
    CHECK_EQ(sl_quota_update(&quota, &totals, &ended), 0);
    CHECK_EQ(ended, 1u << SL_QUOTA_RESIDENT | 1u << SL_QUOTA_QUEUE | 1u << SL_QUOTA_TOKENS);
    CHECK(sl_quota_exceeded(&quota, &kind, &seconds) && kind == SL_QUOTA_CONTEXT && seconds == 5);
}

/* ---- the watch ---- */

/* What an exporter was given, as one piece. */
typedef struct kept {
    char text[SL_SIGNAL_COUNT][8192];
    size_t len[SL_SIGNAL_COUNT];
} kept;

static int keep(void *user, sl_signal signal, sl_str request, size_t items, uint64_t timeout_ms,
                uint64_t *ret_retry_after_ms, uint64_t *ret_rejected)
{
    kept *k = user;
    (void)items, (void)timeout_ms, (void)ret_retry_after_ms, (void)ret_rejected;
    size_t room = sizeof k->text[signal] - k->len[signal];
    size_t len = request.len < room ? request.len : room;
    memcpy(k->text[signal] + k->len[signal], request.ptr, len);
    k->len[signal] += len;
    return 0;
}

static size_t times(const kept *k, sl_signal signal, const char *words)
{
    sl_str rest = sl_str_of(k->text[signal], k->len[signal]);
    size_t count = 0;
    for (size_t at; (at = sl_str_find(rest, sl_str_c(words))) != SL_NPOS; count++)
        rest = sl_str_sub(rest, at + 1, SL_NPOS);
    return count;
}

SL_TEST(what_a_crossing_tells)
{
    static kept k;
    const sl_exporter exporter = {.name = "kept",
                                  .user = &k,
                                  .signals = SL_SIGNAL_BIT(SL_SIGNAL_TRACES) | SL_SIGNAL_BIT(SL_SIGNAL_LOGS),
                                  .deliver = keep};
    const sl_sdk_options options = {
        .ignore_environment = true, .no_default_exporters = true, .exporters = &exporter, .exporter_count = 1};
    sl_sdk *sdk = NULL;
    REQUIRE(sl_sdk_new(&options, &sdk) == 0);
    sl_probe_metrics *host = page_host(sdk);
    sl_quota_watch *watch = NULL;
    sl_quota_limits limits;
    REQUIRE(sl_quota_parse(SL_STR("queue=3"), &limits, NULL) == 0);
    REQUIRE(host && sl_quota_watch_new(sdk, &limits, &watch) == 0);
    const char *name = NULL;
    unsigned seconds = 0;
    CHECK(page_value(sdk, "llamacpp_quota_limit{quota=\"queue\"}") == 3);
    CHECK(page_value(sdk, "llamacpp_quota_limit{quota=\"context\"}") == -1);
    sl_probe_metrics_load(host, 1, 5);
    sl_probe_metrics_tick(host, SECOND, 0);
    sl_quota_watch_tick(watch, SECOND);
    CHECK(sl_probe_quota_exceeded(watch, &name, &seconds));
    CHECK(name && strcmp(name, "queue") == 0 && seconds == 1);
    CHECK(page_value(sdk, "llamacpp_quota_used{quota=\"queue\"}") == 5);
    CHECK(page_value(sdk, "llamacpp_quota_exceeded{quota=\"queue\"}") == 1);
    sl_probe_metrics_load(host, 1, 0);
    sl_probe_metrics_tick(host, SECOND + SECOND / 2, 0);
    sl_quota_watch_tick(watch, SECOND + SECOND / 2); /* too early: nobody looks */
    CHECK(sl_probe_quota_exceeded(watch, &name, &seconds));
    sl_quota_watch_tick(watch, 2u * SECOND);
    CHECK(!sl_probe_quota_exceeded(watch, &name, &seconds));
    CHECK(page_value(sdk, "llamacpp_quota_exceeded{quota=\"queue\"}") == 0);
    CHECK(page_value(sdk, "llamacpp_quota_crossings_total{quota=\"queue\"}") == 1);
    CHECK_EQ(sl_sdk_flush(sdk, 5000), 0);
    CHECK_EQ(times(&k, SL_SIGNAL_TRACES, "quota_exceeded"), 1);
    CHECK_EQ(times(&k, SL_SIGNAL_TRACES, "quota.exceeded"), 1);
    CHECK_EQ(times(&k, SL_SIGNAL_LOGS, "quota exceeded"), 1);
    CHECK_EQ(times(&k, SL_SIGNAL_LOGS, "quota kept again"), 1);
    sl_probe_metrics_free(host);
    sl_quota_watch_tick(watch, 4u * SECOND);
    CHECK(page_value(sdk, "llamacpp_quota_used{quota=\"queue\"}") == 0);
    sl_quota_watch_free(watch);
    sl_sdk_free(sdk);
}

SL_TEST(a_watch_without_limits)
{
    sl_sdk *sdk = page_sdk();
    sl_quota_watch *watch = NULL;
    const sl_quota_limits none = {.limit = {0}};
    CHECK_EQ(sl_quota_watch_new(NULL, &none, &watch), SL_EINVAL);
    CHECK_EQ(sl_quota_watch_new(sdk, NULL, &watch), SL_EINVAL);
    CHECK(!watch);
    REQUIRE(sl_quota_watch_new(sdk, &none, &watch) == 0);
    sl_quota_watch_tick(watch, SECOND);
    const char *name;
    unsigned seconds;
    CHECK(!sl_probe_quota_exceeded(watch, &name, &seconds));
    CHECK(!sl_probe_quota_exceeded(NULL, &name, &seconds));
    CHECK(page_value(sdk, "llamacpp_quota_limit{quota=\"queue\"}") == -1);
    sl_quota_watch_free(watch);
    sl_quota_watch_free(NULL);
    sl_quota_watch_tick(NULL, SECOND);
    sl_test_fail_alloc(0);
    watch = NULL;
    CHECK_EQ(sl_quota_watch_new(sdk, &none, &watch), SL_ENOMEM);
    sl_test_fail_alloc(-1);
    sl_sdk_free(sdk);
}
