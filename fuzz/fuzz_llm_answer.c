/*
 * Answers of providers, whole and streamed, of both protocols: no crash, an answer or a failure in words, and the same
 * however the bytes are cut.
 *
 * Input: a byte of flags (1 Anthropic, 2 streamed, 4 embeddings, 8 status 400), a byte for the size of pieces, the
 * body.
 */
#include <stdlib.h>

#include "src/base/assert.h"
#include "src/llm/client_impl.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

static sl_loop loop;
static sl_llm_client *client;

typedef struct outcome {
    bool over;
    int error;
    uint64_t input, output;
    size_t vectors;
    sl_buf text, streamed;
    char message[SL_MAX_LLM_MESSAGE_BYTES];
} outcome;

static void on_text(void *user, sl_str piece)
{
    outcome *o = user;
    EXPECT(!o->over && piece.len > 0);
    (void)sl_buf_put_str(&o->streamed, piece);
}

static void on_done(void *user, const sl_llm_result *result)
{
    outcome *o = user;
    EXPECT(!o->over);
    o->over = true;
    o->error = result->error;
    o->input = result->input_tokens;
    o->output = result->output_tokens;
    o->vectors = json_array_size(result->vectors);
    (void)sl_buf_put_str(&o->text, result->text);
    EXPECT(!result->error || (result->message[0] && !result->text.len && !result->vectors));
    EXPECT(strlen(result->message) < sizeof o->message);
    memcpy(o->message, result->message, strlen(result->message) + 1);
}

static void set_up(void)
{
    if (client)
        return;
    EXPECT(sl_loop_init(&loop) == 0 && sl_llm_client_new(&loop, NULL, &client) == 0);
    sl_llm_endpoint e = {.name = SL_STR("o"), .base_url = SL_STR("http://127.0.0.1:9"), .key = SL_STR("secret-key")};
    EXPECT(sl_llm_client_add(client, &e) == 0);
    e.name = SL_STR("a");
    e.protocol = SL_LLM_ANTHROPIC;
    EXPECT(sl_llm_client_add(client, &e) == 0);
}

/* Plays the connection: head, body in pieces, end. */
static void answer(uint8_t flags, sl_str body, size_t step, outcome *o)
{
    static sl_http1_field fields[8];
    sl_llm_call *call;
    json_t *input = json_pack("[s,s]", "x", "y");
    sl_llm_request request = {.operation = flags & 4 ? SL_LLM_EMBEDDINGS : SL_LLM_CHAT,
                              .provider = flags & 1 && !(flags & 4) ? SL_STR("a") : SL_STR("o"),
                              .model = SL_STR("m"),
                              .input = input,
                              .stream = flags & 2,
                              .on_text = on_text,
                              .on_done = on_done,
                              .user = o};
    memset(o, 0, sizeof *o);
    sl_buf_init(&o->text, 1 << 24);
    sl_buf_init(&o->streamed, 1 << 24);
    EXPECT(sl_llm_start(client, &request, &call) == 0);
    json_decref(input);
    sl_http1_parser parser;
    sl_http1_head head;
    sl_http1_parser_init(&parser, 0);
    sl_http1_head_init(&head, fields, 8);
    sl_str text = flags & 8   ? SL_STR("HTTP/1.1 400 Bad\r\nRetry-After: 1\r\n\r\n")
                  : flags & 2 ? SL_STR("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
                              : SL_STR("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n");
    EXPECT(sl_http1_parse_response(&parser, text, SL_HTTP_POST, &head) == 0);
    for (size_t at = 0; at <= body.len && !o->over; at += step) {
        bool end = at + step > body.len;
        sl_str piece = sl_str_sub(body, at, step);
        char *copy = malloc(piece.len + 1); /* of its own length, so that reading beyond it is seen */
        EXPECT(copy);
        if (piece.len)
            memcpy(copy, piece.ptr, piece.len);
        sl_llm_call_handler.on_read(&call->http, at ? NULL : &head, sl_str_of(copy, piece.len), end);
        free(copy);
    }
    EXPECT(o->over);
    while (uv_run(&loop.uv, UV_RUN_NOWAIT))
        ;
}

static void outcome_done(outcome *o)
{
    sl_buf_done(&o->text);
    sl_buf_done(&o->streamed);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    set_up();
    sl_str body = sl_str_of((const char *)data + 2, size - 2);
    outcome whole, pieces;
    answer(data[0], body, body.len + 1, &whole);
    answer(data[0], body, 1u + data[1] % 64, &pieces);
    EXPECT(whole.error == pieces.error && strcmp(whole.message, pieces.message) == 0);
    EXPECT(whole.input == pieces.input && whole.output == pieces.output && whole.vectors == pieces.vectors);
    EXPECT(sl_str_eq(sl_buf_str(&whole.text), sl_buf_str(&pieces.text)));
    EXPECT(sl_str_eq(sl_buf_str(&whole.streamed), sl_buf_str(&pieces.streamed)));
    if (!whole.error && (data[0] & 2) && !(data[0] & 4))
        EXPECT(sl_str_eq(sl_buf_str(&whole.streamed), sl_buf_str(&whole.text)));
    EXPECT(!strstr(whole.message, "secret-key"));
    outcome_done(&whole);
    outcome_done(&pieces);
    return 0;
}
