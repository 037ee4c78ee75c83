/* The tables of vocab_*.def, and what is on. */
#include "src/telemetry/vocab.h"

#include <pthread.h>
#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/str.h"

#define SL_BOUNDS_ROW(name, ...) static const double table_##name[] = {__VA_ARGS__};
#include "src/telemetry/vocab_bounds.def"
#undef SL_BOUNDS_ROW

/* Address and length of a table of bounds, or of none. */
enum {
    LENGTH_NONE = 0,
#define SL_BOUNDS_ROW(name, ...) LENGTH_##name = sizeof(table_##name) / sizeof(double),
#include "src/telemetry/vocab_bounds.def"
#undef SL_BOUNDS_ROW
};
#define table_NONE NULL

enum { TYPE_INT = 0, TYPE_DOUBLE = 1 };

static const sl_metric_def metric_defs[SL_METRIC_COUNT] = {
#define SL_METRIC_ROW(id_, vocab_, kind_, type_, name_, unit_, bounds_, labels_, help_)                                \
    [SL_METRIC_##id_] = {SL_METRIC_##id_, SL_VOCAB_##vocab_, SL_##kind_,       TYPE_##type_, name_,                    \
                         unit_,           table_##bounds_,   LENGTH_##bounds_, labels_,      help_},
#include "src/telemetry/vocab_metrics.def"
#undef SL_METRIC_ROW
};

#define SL_RENAME(from_, to_)                                                                                          \
    {                                                                                                                  \
        from_, to_                                                                                                     \
    }
#define SL_VIEW_ROW(vocab_, instrument_, name_, help_, ...)                                                            \
    {SL_VOCAB_##vocab_,                                                                                                \
     {.instrument = (instrument_),                                                                                     \
      .name = (name_),                                                                                                 \
      .description = (help_),                                                                                          \
      .attrs = (const sl_view_attr[]){__VA_ARGS__},                                                                    \
      .attr_count = sizeof((const sl_view_attr[]){__VA_ARGS__}) / sizeof(sl_view_attr),                                \
      .keep_only = true}},

static const struct view_row {
    sl_vocab vocab;
    sl_view view;
} view_rows[] = {
#include "src/telemetry/vocab_views.def"
};
#undef SL_VIEW_ROW
#undef SL_RENAME

static pthread_once_t mask_once = PTHREAD_ONCE_INIT;
static unsigned mask_of_environment;

const sl_metric_def *sl_metric_def_of(sl_metric_id id)
{
    SL_ASSERT((unsigned)id < SL_METRIC_COUNT);
    return &metric_defs[id];
}

const char *sl_vocab_name(sl_vocab vocab)
{
    static const char *const names[SL_VOCAB_COUNT] = {
        [SL_VOCAB_GEN_AI] = "gen_ai",
        [SL_VOCAB_GEN_AI_G2] = "gen_ai (until 1.41)",
        [SL_VOCAB_GEN_AI_LATEST] = "gen_ai (latest)",
        [SL_VOCAB_HTTP] = "http",
        [SL_VOCAB_LLAMASTACK] = "llamastack",
        [SL_VOCAB_ORCHESTRATOR] = "orchestrator",
        [SL_VOCAB_LLAMA_DEPLOY] = "llama_deploy",
        [SL_VOCAB_SIGHTLINE] = "sightline",
        [SL_VOCAB_PROCESS] = "process",
        [SL_VOCAB_SDK] = "otel.sdk",
        [SL_VOCAB_LLAMACPP_COLON] = "llamacpp (colon)",
        [SL_VOCAB_LLAMACPP] = "llamacpp",
        [SL_VOCAB_LLAMA] = "llama",
    };
    SL_ASSERT((unsigned)vocab < SL_VOCAB_COUNT);
    return names[vocab];
}

unsigned sl_vocab_mask(const char *stability_opt_in)
{
    unsigned mask = (SL_VOCAB_BIT(SL_VOCAB_COUNT) - 1) & ~SL_VOCAB_BIT(SL_VOCAB_GEN_AI_LATEST);
    sl_str rest = sl_str_c(stability_opt_in), part;
    while (sl_str_split(&rest, ',', &part)) {
        part = sl_str_trim(part);
        bool both = sl_str_eq_c(part, "gen_ai_latest_experimental/dup");
        if (both || sl_str_eq_c(part, "gen_ai_latest_experimental"))
            mask |= SL_VOCAB_BIT(SL_VOCAB_GEN_AI_LATEST);
        if (sl_str_eq_c(part, "gen_ai_latest_experimental"))
            mask &= ~SL_VOCAB_BIT(SL_VOCAB_GEN_AI_G2);
    }
    return mask;
}

#define LLAMACPP_BITS                                                                                                  \
    (SL_VOCAB_BIT(SL_VOCAB_LLAMACPP_COLON) | SL_VOCAB_BIT(SL_VOCAB_LLAMACPP) | SL_VOCAB_BIT(SL_VOCAB_LLAMA))

unsigned sl_vocab_llamacpp_mask(const char *names)
{
    static const struct {
        const char *word;
        sl_vocab vocab;
    } words[] = {{"colon", SL_VOCAB_LLAMACPP_COLON}, {"underscore", SL_VOCAB_LLAMACPP}, {"otel", SL_VOCAB_LLAMA}};
    unsigned mask = 0;
    sl_str rest = sl_str_trim(sl_str_c(names)), part;
    if (rest.len == 0)
        return LLAMACPP_BITS;
    while (sl_str_split(&rest, ',', &part)) {
        for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
            if (sl_str_eq_c(sl_str_trim(part), words[i].word))
                mask |= SL_VOCAB_BIT(words[i].vocab);
        }
    }
    return mask;
}

static void read_environment(void)
{
    mask_of_environment = sl_vocab_mask(getenv("OTEL_SEMCONV_STABILITY_OPT_IN"));
    mask_of_environment &= ~LLAMACPP_BITS | sl_vocab_llamacpp_mask(getenv("SIGHTLINE_LLAMACPP_NAMES"));
}

unsigned sl_vocab_mask_env(void)
{
    pthread_once(&mask_once, read_environment);
    return mask_of_environment;
}

sl_instrument *sl_metric_declare_in(sl_meter *meter, sl_metric_id id, unsigned vocabularies)
{
    const sl_metric_def *def = sl_metric_def_of(id);
    if (!meter || !sl_vocab_is_on(vocabularies, def->vocab))
        return NULL;
    sl_instrument_options options = {
        .kind = def->kind,
        .name = def->name,
        .unit = def->unit,
        .description = def->help,
        .is_double = def->is_double && def->kind != SL_HISTOGRAM,
        .bounds = def->bounds,
        .bound_count = def->bound_count,
    };
    return sl_instrument_new(meter, &options);
}

sl_instrument *sl_metric_declare(sl_meter *meter, sl_metric_id id)
{
    return sl_metric_declare_in(meter, id, sl_vocab_mask_env());
}

size_t sl_vocab_view_count(void)
{
    return sizeof view_rows / sizeof *view_rows;
}

const sl_view *sl_vocab_view_at(size_t index, sl_vocab *ret_vocab)
{
    SL_ASSERT(index < sl_vocab_view_count() && ret_vocab);
    *ret_vocab = view_rows[index].vocab;
    return &view_rows[index].view;
}
