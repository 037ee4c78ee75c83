/* The tables themselves: names, labels and buckets are legal, unique and what the sources say. */
#include "src/telemetry/vocab.h"

#include <math.h>

#include "src/base/str.h"
#include "src/telemetry/test_metrics_fixture.h"

static const sl_metric_def *def_at(size_t i)
{
    return sl_metric_def_of((sl_metric_id)i);
}

SL_TEST(every_row_is_complete)
{
    for (size_t i = 0; i < SL_METRIC_COUNT; i++) {
        const sl_metric_def *d = def_at(i);
        CHECK_EQ(d->id, i);
        CHECK(d->name && d->name[0]);
        CHECK(strlen(d->name) <= 255 && strlen(d->unit) <= 63);
        size_t legal = strspn(d->name, "abcdefghijklmnopqrstuvwxyz0123456789_.:");
        CHECK(legal == strlen(d->name));
        CHECK_EQ(strchr(d->name, ':') != NULL, d->vocab == SL_VOCAB_LLAMACPP_COLON);
        CHECK(d->kind >= SL_COUNTER && d->kind <= SL_HISTOGRAM);
        /* Our own sentences end; the texts of LLM Orchestrator, LlamaDeploy and llama.cpp are as they have them. */
        CHECK(d->help && d->help[0]);
        CHECK(d->vocab == SL_VOCAB_ORCHESTRATOR || d->vocab == SL_VOCAB_LLAMA_DEPLOY || d->vocab == SL_VOCAB_LLAMACPP ||
              d->vocab == SL_VOCAB_LLAMACPP_COLON || d->help[strlen(d->help) - 1] == '.');
        CHECK((unsigned)d->vocab < SL_VOCAB_COUNT);
        CHECK(sl_vocab_name(d->vocab) != NULL);
    }
}

SL_TEST(names_are_unique)
{
    for (size_t i = 0; i < SL_METRIC_COUNT; i++) {
        for (size_t j = 0; j < i; j++)
            CHECK(strcmp(def_at(i)->name, def_at(j)->name) != 0);
    }
}

SL_TEST(only_histograms_have_bounds_and_they_ascend)
{
    for (size_t i = 0; i < SL_METRIC_COUNT; i++) {
        const sl_metric_def *d = def_at(i);
        CHECK_EQ(d->bounds != NULL, d->kind == SL_HISTOGRAM);
        CHECK_EQ(d->bound_count > 0, d->kind == SL_HISTOGRAM);
        for (size_t b = 1; b < d->bound_count; b++)
            CHECK(d->bounds[b - 1] < d->bounds[b]);
    }
}

SL_TEST(labels_are_separated_by_one_space)
{
    for (size_t i = 0; i < SL_METRIC_COUNT; i++) {
        sl_str rest = sl_str_c(def_at(i)->labels), label;
        if (rest.len == 0)
            continue;
        while (sl_str_split(&rest, ' ', &label))
            CHECK(label.len > 0 && sl_str_chr(label, ',') == SL_NPOS);
    }
}

SL_TEST(prometheus_names_keep_the_rules_of_promtool)
{
    for (size_t i = 0; i < SL_METRIC_COUNT; i++) {
        const sl_metric_def *d = def_at(i);
        if (strchr(d->name, '.') || d->id == SL_METRIC_LLAMACPP_COLON_TOKENS_MAX)
            continue; /* the second is a counter upstream, and has that name */
        CHECK_EQ(d->kind == SL_COUNTER, sl_str_ends(sl_str_c(d->name), SL_STR("_total")));
    }
}

SL_TEST(genai_buckets_are_those_of_the_conventions)
{
    const sl_metric_def *d = sl_metric_def_of(SL_METRIC_GEN_AI_CLIENT_OPERATION_DURATION);
    CHECK_EQ(d->bound_count, 14);
    for (size_t i = 0; i < d->bound_count; i++)
        CHECK(d->bounds[i] == (double)(1 << i) / 100.0);
    d = sl_metric_def_of(SL_METRIC_GEN_AI_CLIENT_TOKEN_USAGE);
    CHECK_EQ(d->bound_count, 14);
    for (size_t i = 0; i < d->bound_count; i++)
        CHECK(d->bounds[i] == (double)(1ull << (2 * i)));
    CHECK_EQ(sl_metric_def_of(SL_METRIC_GEN_AI_SERVER_TIME_TO_FIRST_TOKEN)->bound_count, 16);
    CHECK_EQ(sl_metric_def_of(SL_METRIC_GEN_AI_SERVER_TIME_PER_OUTPUT_TOKEN)->bound_count, 13);
}

SL_TEST(the_opt_in_chooses_the_generation)
{
    static const struct {
        const char *value;
        bool g2, latest;
    } cases[] = {
        {NULL, true, false},
        {"", true, false},
        {"http", true, false},
        {"gen_ai_latest_experimental", false, true},
        {"http, gen_ai_latest_experimental", false, true},
        {"gen_ai_latest_experimental/dup", true, true},
        {"gen_ai_latest", true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned mask = sl_vocab_mask(cases[i].value);
        CHECK_EQ(sl_vocab_is_on(mask, SL_VOCAB_GEN_AI_G2), cases[i].g2);
        CHECK_EQ(sl_vocab_is_on(mask, SL_VOCAB_GEN_AI_LATEST), cases[i].latest);
        CHECK(sl_vocab_is_on(mask, SL_VOCAB_GEN_AI) && sl_vocab_is_on(mask, SL_VOCAB_SDK));
    }
}

/* Each name with a colon has a twin with an underscore that means the same. */
SL_TEST(llamacpp_names_come_in_pairs)
{
    size_t pairs = 0;
    for (size_t i = 0; i < SL_METRIC_COUNT; i++) {
        const sl_metric_def *d = def_at(i), *twin = NULL;
        if (d->vocab != SL_VOCAB_LLAMACPP_COLON)
            continue;
        CHECK(strncmp(d->name, "llamacpp:", 9) == 0);
        for (size_t j = 0; j < SL_METRIC_COUNT && !twin; j++) {
            const sl_metric_def *t = def_at(j);
            if (strncmp(t->name, "llamacpp_", 9) == 0 && strcmp(t->name + 9, d->name + 9) == 0)
                twin = t;
        }
        CHECK(twin != NULL);
        if (!twin)
            continue;
        CHECK(strcmp(twin->help, d->help) == 0 && strcmp(twin->labels, d->labels) == 0);
        CHECK(twin->bounds == d->bounds && twin->is_double == d->is_double);
        CHECK(twin->kind == d->kind || d->id == SL_METRIC_LLAMACPP_COLON_TOKENS_MAX);
        pairs++;
    }
    CHECK_EQ(pairs, 23);
}

SL_TEST(llamacpp_buckets_go_from_a_tenth_of_a_millisecond_to_half_a_minute)
{
    const sl_metric_def *d = sl_metric_def_of(SL_METRIC_LLAMACPP_FIRST_TOKEN);
    CHECK_EQ(d->bound_count, 17);
    CHECK(d->bounds[0] == .0001 && d->bounds[16] == 30);
    const sl_metric_def *ms = sl_metric_def_of(SL_METRIC_LLAMA_TOKEN_TIME);
    CHECK_EQ(ms->bound_count, 17);
    for (size_t i = 0; i < 17; i++)
        CHECK(fabs(ms->bounds[i] / 1000 - d->bounds[i]) < 1e-12);
}

SL_TEST(llamacpp_names_are_chosen)
{
    static const struct {
        const char *value;
        bool colon, underscore, otel;
    } cases[] = {
        {NULL, true, true, true},           {"", true, true, true},           {" ", true, true, true},
        {"colon", true, false, false},      {"otel", false, false, true},     {"none", false, false, false},
        {"underscore", false, true, false}, {"x, colon", true, false, false}, {"otel , underscore", false, true, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        unsigned mask = sl_vocab_llamacpp_mask(cases[i].value);
        CHECK_EQ(sl_vocab_is_on(mask, SL_VOCAB_LLAMACPP_COLON), cases[i].colon);
        CHECK_EQ(sl_vocab_is_on(mask, SL_VOCAB_LLAMACPP), cases[i].underscore);
        CHECK_EQ(sl_vocab_is_on(mask, SL_VOCAB_LLAMA), cases[i].otel);
        CHECK(!sl_vocab_is_on(mask, SL_VOCAB_GEN_AI));
    }
}

SL_TEST(declaring_without_a_meter_gives_null)
{
    CHECK(sl_metric_declare(NULL, SL_METRIC_GATEWAY_ERRORS) == NULL);
    CHECK(sl_metric_declare_in(NULL, SL_METRIC_GATEWAY_ERRORS, ~0u) == NULL);
}

SL_TEST(view_rows_are_complete)
{
    CHECK(sl_vocab_view_count() > 0);
    for (size_t i = 0; i < sl_vocab_view_count(); i++) {
        sl_vocab vocab = SL_VOCAB_COUNT;
        const sl_view *view = sl_vocab_view_at(i, &vocab);
        CHECK(vocab < SL_VOCAB_COUNT);
        CHECK(view->instrument && view->name && view->description && view->keep_only && view->attr_count > 0);
    }
}
