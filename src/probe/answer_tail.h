/*
 * What the last bytes of an answer tell: the server's own figures (`timings`, `usage`), its slot, the model's name.
 *
 * The bytes begin anywhere in the body, so they are not parsed as a whole: members are looked for by name from the end,
 * and the object found is read with a JSON parser. A name inside a text of the model has its quotes escaped there, so
 * it is not mistaken for a member. Bodies: one JSON value, or data of server-sent events.
 */
#ifndef SL_PROBE_ANSWER_TAIL_H
#define SL_PROBE_ANSWER_TAIL_H

#include "src/base/str.h"

/* -1: not told. */
typedef struct sl_answer_facts {
    int64_t prompt_n, cache_n, predicted_n; /* timings */
    int64_t draft_n, draft_accepted;
    int64_t input_tokens, output_tokens, cached_tokens; /* usage; input_tokens: cached ones included */
    int64_t id_slot, id_task;
    double prompt_ms, predicted_ms;
    bool has_timings, has_usage;
    sl_str model; /* view of the bytes; empty: not told, or with escapes in it */
} sl_answer_facts;

void sl_answer_tail_read(sl_str tail, sl_answer_facts *ret_facts);

#endif
