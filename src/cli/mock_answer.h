/*
 * What the fake provider answers: bodies and SSE frames of the OpenAI and Anthropic protocols, the same for the same
 * request and seed. Pure functions into a buffer. Every answer says that it is a mock.
 */
#ifndef SL_CLI_MOCK_ANSWER_H
#define SL_CLI_MOCK_ANSWER_H

#include "src/base/buf.h"

typedef enum sl_mock_api {
    SL_MOCK_CHAT,        /* POST /v1/chat/completions */
    SL_MOCK_COMPLETIONS, /* POST /v1/completions */
    SL_MOCK_EMBEDDINGS,  /* POST /v1/embeddings */
    SL_MOCK_MESSAGES     /* POST /v1/messages (Anthropic) */
} sl_mock_api;

/* What of the request matters. Texts are NUL-terminated copies. */
typedef struct sl_mock_request {
    sl_mock_api api;
    char model[128];
    char tool[128]; /* of a chat: first tool, when it offers tools and the last message is not a tool's */
    bool stream;
    bool include_usage;
    uint32_t max_tokens;    /* 0: not given */
    uint32_t prompt_tokens; /* words of the prompt, at least 1 */
    uint32_t inputs;        /* texts to embed */
    uint32_t dimensions;    /* of an embedding */
} sl_mock_request;

/* Reads a request body. False, with a reason, when it is not one. */
bool sl_mock_read(sl_mock_api api, sl_str body, sl_mock_request *ret_request, const char **ret_reason);

/* A planned answer. */
typedef struct sl_mock_plan {
    uint64_t number; /* of the request; gives ids and words */
    uint32_t tokens; /* that the answer has */
    bool cut;        /* max_tokens ended it */
    bool no_usage;
    bool bad_json;
} sl_mock_plan;

/* The whole unary answer. */
void sl_mock_body(const sl_mock_request *request, const sl_mock_plan *plan, sl_buf *out);
/* Number of steps of a streamed answer: opening, tokens, closing. */
uint32_t sl_mock_steps(const sl_mock_request *request, const sl_mock_plan *plan);
/* The frames of one step (0-based). */
void sl_mock_frames(const sl_mock_request *request, const sl_mock_plan *plan, uint32_t step, sl_buf *out);
/* An error in the protocol's shape. */
void sl_mock_error(sl_mock_api api, int status, const char *message, sl_buf *out);

#endif
