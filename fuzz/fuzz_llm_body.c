/* Bodies of the OpenAI protocol: no crash, edits that keep JSON sound, answers and frames of any shape. */
#include <stdlib.h>

#include "src/base/buf.h"
#include "src/llm/openai.h"
#include "src/llm/tables.h"
#include "src/llm/usage.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void require(bool holds)
{
    if (!holds)
        abort();
}

/* The edited body is JSON again, has the new model, and tells usage. */
static void check_edit(const sl_openai_request *request, sl_str body, bool add_usage)
{
    sl_openai_pieces pieces;
    sl_openai_request again;
    sl_openai_fault fault;
    sl_buf out;
    sl_openai_edit(request, body, SL_STR("\"another/model\""), add_usage, &pieces);
    require(pieces.count <= SL_OPENAI_PIECES);
    sl_buf_init(&out, 1u << 24);
    for (unsigned i = 0; i < pieces.count; i++)
        (void)sl_buf_put_str(&out, pieces.piece[i]);
    require(out.failed == 0 && out.len == pieces.total);
    require(sl_openai_read_request(sl_buf_str(&out), &again, &fault) == 0);
    require(sl_str_eq_c(again.model, "another/model") && again.stream == request->stream);
    require(add_usage ? again.usage_asked : again.usage_asked == request->usage_asked);
    sl_buf_done(&out);
}

static void check_answer(sl_str json)
{
    sl_answer answer;
    sl_answer_init(&answer);
    for (int whole = 0; whole < 2; whole++) {
        if (whole)
            (void)!sl_answer_read(&answer, json);
        else
            (void)sl_answer_read_tail(&answer, json);
        require(sl_answer_id(&answer).len <= SL_ANSWER_ID_MAX && sl_answer_model(&answer).len <= SL_ANSWER_MODEL_MAX);
        require(answer.reason_count <= SL_ANSWER_REASONS);
        require(answer.usage.input >= -1 && answer.usage.output >= -1 && answer.usage.cache_read >= -1);
    }
    (void)sl_frame_look(json);
    (void)sl_frame_is_usage_only(json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    sl_llm_init();
    sl_str body = sl_str_of((const char *)data, size);
    sl_openai_request request;
    sl_openai_fault fault;
    if (sl_openai_read_request(body, &request, &fault) == 0) {
        check_edit(&request, body, false);
        if (sl_openai_usage_missing(&request))
            check_edit(&request, body, true);
    } else {
        require(fault.status >= 400 && fault.code && memchr(fault.message, '\0', sizeof fault.message));
    }
    check_answer(body);
    return 0;
}
