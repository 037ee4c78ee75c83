/*
 * Requests of the OpenAI protocol: which operation a path asks for, what routing and telemetry need of a body, and the
 * two edits that a gateway makes to it. Bytes that are not edited go on as they came.
 *
 * Does not: keep, print or judge prompt text.
 */
#ifndef SL_LLM_OPENAI_H
#define SL_LLM_OPENAI_H

#include "src/base/buf.h"
#include "src/wire/json_scan.h"

typedef enum sl_llm_operation {
    SL_LLM_NONE = 0,
    SL_LLM_CHAT,
    SL_LLM_COMPLETION,
    SL_LLM_EMBEDDINGS,
    SL_LLM_OPERATION_COUNT
} sl_llm_operation;

/* gen_ai.operation.name: chat, text_completion, embeddings. Static. */
const char *sl_llm_operation_name(sl_llm_operation operation);
/* Path behind the API's base: /chat/completions ... Static; empty for SL_LLM_NONE. */
sl_str sl_llm_operation_path(sl_llm_operation operation);
/* The operation that a path asks for, with or without /v1 in front. */
sl_llm_operation sl_llm_operation_of(sl_str path);

#define SL_OPENAI_MODEL_MAX 256
#define SL_OPENAI_USER_MAX 128
#define SL_OPENAI_STOPS_MAX 4

/* A number of the body that may be absent. */
typedef struct sl_openai_number {
    bool present;
    bool is_int;
    int64_t integer;
    double real;
} sl_openai_number;

/* What a request body says. Views point into the body or into `text`. */
typedef struct sl_openai_request {
    sl_str model; /* decoded */
    bool stream;
    bool usage_asked; /* stream_options.include_usage is true */
    sl_openai_number temperature, top_p, top_k, max_tokens, seed, n, frequency_penalty, presence_penalty;
    sl_str user; /* raw text between the quotes, at most SL_OPENAI_USER_MAX bytes */
    sl_str service_tier;
    sl_str encoding_format;
    sl_str response_format; /* type of response_format: text, json_object, json_schema */
    sl_json_value stop;     /* a string, a list of strings, or absent */
    sl_json_found model_at;
    sl_json_found options_at; /* stream_options */
    sl_json_found include_at; /* stream_options.include_usage */
    sl_json_found content_at; /* messages, prompt or input: the text itself */
    size_t root_begin;        /* offset of the '{' */
    char text[SL_OPENAI_MODEL_MAX];
} sl_openai_request;

/* Why a body was refused. */
typedef struct sl_openai_fault {
    int status;       /* 400 or 413 */
    const char *code; /* of OpenAI's error object; static */
    char message[160];
} sl_openai_fault;

/* Reads a request body, after sl_llm_init (tables.h). Errors: SL_EPARSE with `*ret_fault`. */
SL_MUST_CHECK int sl_openai_read_request(sl_str body, sl_openai_request *ret_request, sl_openai_fault *ret_fault);

/* The body as it goes on: unedited views of `body` with the edits between them. */
#define SL_OPENAI_PIECES 5
typedef struct sl_openai_pieces {
    sl_str piece[SL_OPENAI_PIECES];
    unsigned count;
    size_t total;
} sl_openai_pieces;

/*
 * Splits a body around the edits: `model_json` (a JSON string; empty: the model stays) and, when `add_usage`, an added
 * stream_options.include_usage. `body` may be a copy of what was read; the pieces are views of it, of `model_json` and
 * of static text.
 */
void sl_openai_edit(const sl_openai_request *request, sl_str body, sl_str model_json, bool add_usage,
                    sl_openai_pieces *ret_pieces);

/* True when usage would have to be added for a stream to tell it: nothing said about it. */
bool sl_openai_usage_missing(const sl_openai_request *request);

#endif
