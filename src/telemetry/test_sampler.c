/* Samplers: the decision table, the ratio, names, descriptions. */
#include "src/base/rng.h"
#include "src/base/str.h"
#include "src/telemetry/sampler.h"
#include "tests/harness/sl_test.h"

static sl_sampling_decision ask(sl_sampler_kind kind, double ratio, const sl_span_context *parent,
                                const uint8_t *trace_id)
{
    static const uint8_t any[16] = {1};
    sl_sampler_options options = {.kind = kind, .ratio = ratio};
    sl_sampler *sampler = sl_sampler_new(&options);
    sl_sampling_input input = {.parent = parent, .trace_id = trace_id ? trace_id : any, .name = SL_STR("n")};
    sl_sampling_decision decision = sl_sampler_decide(sampler, &input);
    sl_sampler_free(sampler);
    return decision;
}

SL_TEST(sampler_decision_table)
{
    sl_span_context in = {.trace_id = {1}, .span_id = {1}, .flags = 1},
                    out = {.trace_id = {1}, .span_id = {1}, .flags = 2};
    const int keep = SL_SAMPLE_RECORD_AND_SAMPLE, drop = SL_SAMPLE_DROP;
    struct {
        sl_sampler_kind kind;
        double ratio;
        int root, sampled_parent, unsampled_parent;
    } rows[] = {{SL_SAMPLER_DEFAULT, 0, keep, keep, drop},
                {SL_SAMPLER_ALWAYS_ON, 0, keep, keep, keep},
                {SL_SAMPLER_ALWAYS_OFF, 1, drop, drop, drop},
                {SL_SAMPLER_TRACEIDRATIO, 0, drop, drop, drop},
                {SL_SAMPLER_TRACEIDRATIO, 1, keep, keep, keep},
                {SL_SAMPLER_PARENTBASED_ALWAYS_ON, 0, keep, keep, drop},
                {SL_SAMPLER_PARENTBASED_ALWAYS_OFF, 0, drop, keep, drop},
                {SL_SAMPLER_PARENTBASED_TRACEIDRATIO, 0, drop, keep, drop},
                {SL_SAMPLER_PARENTBASED_TRACEIDRATIO, 1, keep, keep, drop},
                {SL_SAMPLER_CALLBACK, 0, keep, keep, drop} /* without a function: the default */};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (int remote = 0; remote < 2; remote++) {
            in.remote = out.remote = remote;
            CHECK_EQ(ask(rows[i].kind, rows[i].ratio, NULL, NULL), rows[i].root);
            CHECK_EQ(ask(rows[i].kind, rows[i].ratio, &in, NULL), rows[i].sampled_parent);
            CHECK_EQ(ask(rows[i].kind, rows[i].ratio, &out, NULL), rows[i].unsampled_parent);
        }
    }
    sl_sampling_input input = {.trace_id = in.trace_id};
    CHECK_EQ(sl_sampler_decide(NULL, &input), keep);
}

/* Decisions that other SDKs make for the same ids: BE64(id[8..16]) >> 1 < ratio * 2^63. */
SL_TEST(sampler_ratio_vectors)
{
    struct {
        const char *trace_id;
        double ratio;
        bool keep;
    } rows[] = {
        {"ffffffffffffffff0000000000000000", 0.0001, true},   {"0000000000000000ffffffffffffffff", 0.9999, false},
        {"00000000000000007fffffffffffffff", 0.5, true},      {"00000000000000008000000000000000", 0.5, false},
        {"000000000000000019999999999999ff", 0.1, true},      {"00000000000000001999999999999a00", 0.1, false},
        {"000000000000000003fffffffffffffe", 0.015625, true}, {"00000000000000000400000000000000", 0.015625, false}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t id[16];
        CHECK_EQ(sl_hex_decode(sl_str_c(rows[i].trace_id), id, 16), 0);
        bool keep = ask(SL_SAMPLER_TRACEIDRATIO, rows[i].ratio, NULL, id) == SL_SAMPLE_RECORD_AND_SAMPLE;
        if (keep != rows[i].keep)
            sl_test_failed(__FILE__, __LINE__, "%s at %f", rows[i].trace_id, rows[i].ratio);
    }
}

SL_TEST(sampler_ratio_is_exact_and_monotone)
{
    sl_rng rng;
    sl_rng_init_seed(&rng, 5);
    static const double ratios[] = {0.001, 0.1, 0.25, 0.5, 0.9};
    size_t kept[5] = {0};
    enum { IDS = 200000 };
    for (int n = 0; n < IDS; n++) {
        uint8_t id[16] = {0};
        uint64_t low = sl_rng_next(&rng);
        memcpy(id + 8, &low, 8);
        bool before = false;
        for (size_t r = 0; r < 5; r++) {
            bool keep = sl_sampler_random_part(id) < sl_sampler_bound(ratios[r]);
            CHECK(keep || !before); /* what a small ratio keeps, a large one keeps too */
            before = keep;
            kept[r] += keep;
        }
    }
    for (size_t r = 0; r < 5; r++) {
        double off = (double)kept[r] / IDS - ratios[r];
        CHECK(off < 0.005 && off > -0.005);
    }
}

SL_TEST(sampler_ratios_that_are_none)
{
    CHECK_EQ(sl_sampler_bound(-1), 0);
    CHECK_EQ(sl_sampler_bound(__builtin_nan("")), 0);
    CHECK(sl_sampler_bound(1.0) == 1ull << 63);
    CHECK(sl_sampler_bound(1e300) == 1ull << 63);
    CHECK(sl_sampler_bound(__builtin_inf()) == 1ull << 63);
    uint8_t high[16];
    memset(high, 0xFF, 16);
    CHECK_EQ(ask(SL_SAMPLER_TRACEIDRATIO, 7, NULL, high), SL_SAMPLE_RECORD_AND_SAMPLE);
}

static sl_sampling_decision by_name(void *user, const sl_sampling_input *input)
{
    (*(int *)user)++;
    if (sl_str_eq_c(input->name, "health"))
        return SL_SAMPLE_DROP;
    return input->attr_count == 1 && input->attrs[0].value.as.integer == 7 ? SL_SAMPLE_RECORD_ONLY
                                                                           : SL_SAMPLE_RECORD_AND_SAMPLE;
}

SL_TEST(sampler_of_the_user)
{
    int calls = 0;
    sl_sampler_options options = {.kind = SL_SAMPLER_CALLBACK, .fn = by_name, .user = &calls};
    sl_sampler *sampler = sl_sampler_new(&options);
    REQUIRE(sampler);
    sl_attr attr = sl_attr_int("k", 7);
    sl_sampling_input input = {.name = SL_STR("health")};
    CHECK_EQ(sl_sampler_decide(sampler, &input), SL_SAMPLE_DROP);
    input.name = SL_STR("x");
    CHECK_EQ(sl_sampler_decide(sampler, &input), SL_SAMPLE_RECORD_AND_SAMPLE);
    input.attrs = &attr;
    input.attr_count = 1;
    CHECK_EQ(sl_sampler_decide(sampler, &input), SL_SAMPLE_RECORD_ONLY);
    CHECK_EQ(calls, 3);
    sl_sampler_free(sampler);
}

SL_TEST(sampler_names)
{
    static const struct {
        const char *name;
        sl_sampler_kind kind;
        const char *description;
    } rows[] = {
        {"always_on", SL_SAMPLER_ALWAYS_ON, "AlwaysOnSampler"},
        {"Always_Off", SL_SAMPLER_ALWAYS_OFF, "AlwaysOffSampler"},
        {"traceidratio", SL_SAMPLER_TRACEIDRATIO, "TraceIdRatioBased{0.000100}"},
        {"parentbased_always_on", SL_SAMPLER_PARENTBASED_ALWAYS_ON,
         "ParentBased{root:AlwaysOnSampler,remoteParentSampled:AlwaysOnSampler,remoteParentNotSampled:AlwaysOffSampler,"
         "localParentSampled:AlwaysOnSampler,localParentNotSampled:AlwaysOffSampler}"},
        {"parentbased_always_off", SL_SAMPLER_PARENTBASED_ALWAYS_OFF, NULL},
        {"PARENTBASED_TRACEIDRATIO", SL_SAMPLER_PARENTBASED_TRACEIDRATIO, NULL},
        {"jaeger_remote", SL_SAMPLER_DEFAULT, NULL},
        {"", SL_SAMPLER_DEFAULT, NULL},
        {"always_on ", SL_SAMPLER_DEFAULT, NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        CHECK_EQ(sl_sampler_kind_of(sl_str_c(rows[i].name)), rows[i].kind);
        sl_sampler_options options = {.kind = rows[i].kind, .ratio = 0.0001};
        sl_sampler *sampler = sl_sampler_new(&options);
        REQUIRE(sampler);
        if (rows[i].description)
            CHECK_STR(sl_str_c(sl_sampler_description(sampler)), rows[i].description);
        CHECK(strlen(sl_sampler_description(sampler)) > 10);
        sl_sampler_free(sampler);
    }
}

SL_TEST(sampler_without_memory)
{
    sl_test_fail_alloc(0);
    CHECK(!sl_sampler_new(NULL));
    sl_test_fail_alloc(-1);
    sl_sampler_free(NULL);
}
