/*
 * Judges one answer of a load run as its bytes come: frames and tokens, times of the tokens, what is wrong with it.
 *
 * A stream is good when every frame is JSON, none is an error, and its end mark came ([DONE], or message_stop in
 * Anthropic's protocol). An answer that is not streamed is good when it is JSON. No I/O.
 */
#ifndef SL_CLI_LOAD_ANSWER_H
#define SL_CLI_LOAD_ANSWER_H

#include "src/cli/load_request.h"
#include "src/cli/load_result.h"
#include "src/wire/sse.h"

typedef struct sl_load_answer {
    sl_load_api api;
    bool want_stream;
    bool is_stream;
    bool done_seen;
    int status;
    sl_load_error error; /* the first thing that was wrong */
    uint64_t tokens;     /* of the usage */
    bool has_usage;
    uint64_t text_frames;
    uint64_t frames;
    uint64_t bytes;
    uint64_t begin_ns; /* when the request was meant to be sent */
    uint64_t last_ns;  /* of the last frame with text */
    sl_sse sse;
    sl_buf body; /* what came in several pieces */
} sl_load_answer;

/* Ready for an answer; what an earlier one has left is freed. All zero is fine for the first time. */
void sl_load_answer_begin(sl_load_answer *answer, const sl_load_request *request, uint64_t begin_ns);
/* Frees what it holds. */
void sl_load_answer_done(sl_load_answer *answer);
/* The head: status and content type. */
void sl_load_answer_head(sl_load_answer *answer, int status, sl_str content_type);
/* Bytes of the body, read at `now_ns`. Times of tokens go to `result` at once. */
void sl_load_answer_feed(sl_load_answer *answer, sl_str bytes, bool end, uint64_t now_ns, sl_load_result *result);
/* The answer is complete: counts it, good or bad. */
void sl_load_answer_end(sl_load_answer *answer, uint64_t now_ns, sl_load_result *result);

#endif
