/*
 * Answers of the OpenAI protocol, as far as telemetry and accounting care: id, model, finish reasons, token usage; from
 * whole bodies and from the frames of a stream.
 *
 * Of several usages the last one counts, they are never added up (providers send cumulative ones). Text of the answer
 * is not looked at and not kept.
 */
#ifndef SL_LLM_USAGE_H
#define SL_LLM_USAGE_H

#include "src/base/str.h"

/* Tokens. -1: not told. Input includes what came from a cache, output includes reasoning. */
typedef struct sl_usage {
    bool known;
    int64_t input;
    int64_t output;
    int64_t cache_read;
    int64_t cache_write;
    int64_t reasoning;
} sl_usage;

#define SL_ANSWER_ID_MAX 64
#define SL_ANSWER_MODEL_MAX 64
#define SL_ANSWER_REASONS 4
#define SL_ANSWER_REASON_MAX 20

typedef struct sl_answer {
    sl_usage usage;
    uint8_t id_len;
    uint8_t model_len;
    uint8_t reason_count;
    char id[SL_ANSWER_ID_MAX];
    char model[SL_ANSWER_MODEL_MAX];
    char reasons[SL_ANSWER_REASONS][SL_ANSWER_REASON_MAX]; /* NUL-terminated; index is the choice's */
} sl_answer;

/* Nothing known. What follows needs sl_llm_init (tables.h). */
void sl_answer_init(sl_answer *answer);

/* Reads a whole answer, or one frame's data. Errors: SL_EPARSE (not JSON; the answer is unchanged). */
SL_MUST_CHECK int sl_answer_read(sl_answer *answer, sl_str json);
/*
 * The same from the end of a body that was too long to keep: looks for the last "usage" object. False: none found.
 */
bool sl_answer_read_tail(sl_answer *answer, sl_str tail);

/* What a stream's frame is worth to us, from a quick look at its data. */
typedef struct sl_frame_kind {
    bool usage;  /* has a usage object */
    bool finish; /* has a finish reason */
} sl_frame_kind;
sl_frame_kind sl_frame_look(sl_str data);
/* True for the extra frame of include_usage: empty choices and a usage object. */
bool sl_frame_is_usage_only(sl_str data);

static inline sl_str sl_answer_id(const sl_answer *answer)
{
    return sl_str_of(answer->id, answer->id_len);
}

static inline sl_str sl_answer_model(const sl_answer *answer)
{
    return sl_str_of(answer->model, answer->model_len);
}

#endif
