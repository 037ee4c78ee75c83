/*
 * Vocabularies: every metric that the SDK and the binary emit, as tables (vocab_*.def).
 *
 * A vocabulary is a set of names that belong together and are switched on or off together. Whoever records declares
 * by id and records on whatever comes back: an instrument of a vocabulary that is off is NULL, which every recording
 * call accepts.
 *
 *     sl_instrument *tokens = sl_metric_declare(meter, SL_METRIC_GEN_AI_CLIENT_TOKEN_USAGE);
 *
 * GenAI: with OTEL_SEMCONV_STABILITY_OPT_IN=gen_ai_latest_experimental, inference is measured by
 * gen_ai.client.inference.duration and counters of tokens, and gen_ai.client.operation.duration stays for other
 * operations (embeddings) only: ask sl_vocab_is_on(vocabularies, SL_VOCAB_GEN_AI_G2) before recording inference on it.
 * "gen_ai_latest_experimental/dup" emits both generations.
 */
#ifndef SL_TELEMETRY_VOCAB_H
#define SL_TELEMETRY_VOCAB_H

#include <sightline/metrics.h>

typedef enum sl_vocab {
    SL_VOCAB_GEN_AI = 0,    /* GenAI names that generations 2 and 3 share */
    SL_VOCAB_GEN_AI_G2,     /* and those of generation 2 alone */
    SL_VOCAB_GEN_AI_LATEST, /* and of generation 3 alone */
    SL_VOCAB_HTTP,
    SL_VOCAB_LLAMASTACK,
    SL_VOCAB_ORCHESTRATOR,
    SL_VOCAB_LLAMA_DEPLOY,
    SL_VOCAB_SIGHTLINE,
    SL_VOCAB_PROCESS,
    SL_VOCAB_SDK,
    SL_VOCAB_LLAMACPP_COLON, /* llama-server's own names; not in OTLP, where a colon is not valid */
    SL_VOCAB_LLAMACPP,       /* the same with an underscore, and more */
    SL_VOCAB_LLAMA,          /* in the style of OpenTelemetry */
    SL_VOCAB_COUNT
} sl_vocab;

#define SL_VOCAB_BIT(vocab) (1u << (vocab))

typedef enum sl_metric_id {
#define SL_METRIC_ROW(id, vocab, kind, type, name, unit, bounds, labels, help) SL_METRIC_##id,
#include "src/telemetry/vocab_metrics.def"
#undef SL_METRIC_ROW
    SL_METRIC_COUNT
} sl_metric_id;

/* A row of vocab_metrics.def. Everything is static. */
typedef struct sl_metric_def {
    sl_metric_id id;
    sl_vocab vocab;
    sl_instrument_kind kind;
    bool is_double;
    const char *name;
    const char *unit; /* "" : none */
    const double *bounds;
    size_t bound_count;
    const char *labels; /* separated by one space; '?' behind one: not always there */
    const char *help;
} sl_metric_def;

/* The row of a metric; never NULL for an id below SL_METRIC_COUNT. */
const sl_metric_def *sl_metric_def_of(sl_metric_id id);

/* Name of a vocabulary for the reference, such as "gen_ai". Static. */
const char *sl_vocab_name(sl_vocab vocab);

/* Bits of the vocabularies that a value of OTEL_SEMCONV_STABILITY_OPT_IN (NULL: unset) leaves on. */
unsigned sl_vocab_mask(const char *stability_opt_in);

/*
 * Bits of the vocabularies of llama.cpp that a value of SIGHTLINE_LLAMACPP_NAMES leaves on: any of "colon",
 * "underscore", "otel"; NULL or empty: all three. "none": none.
 */
unsigned sl_vocab_llamacpp_mask(const char *names);

/* Both, of this process's environment. Read once. */
unsigned sl_vocab_mask_env(void);

static inline bool sl_vocab_is_on(unsigned vocabularies, sl_vocab vocab)
{
    return (vocabularies & SL_VOCAB_BIT(vocab)) != 0;
}

/*
 * Declares the instrument of a row, when its vocabulary is on in this process's environment; NULL when not, or as
 * sl_instrument_new. Any thread.
 */
sl_instrument *sl_metric_declare(sl_meter *meter, sl_metric_id id);

/* The same with given vocabularies. */
sl_instrument *sl_metric_declare_in(sl_meter *meter, sl_metric_id id, unsigned vocabularies);

/* Number of view rows, and one of them; `ret_vocab` is whose it is. */
size_t sl_vocab_view_count(void);
const sl_view *sl_vocab_view_at(size_t index, sl_vocab *ret_vocab);

#endif
