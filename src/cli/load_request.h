/*
 * The request that a load run sends: where to, in which protocol, and its bytes, made once.
 *
 * The protocol goes by the path: …/messages is Anthropic's, …/embeddings and …/completions are OpenAI's, everything
 * else is OpenAI's chat. A URL without a path gets /v1/chat/completions, one that ends in /v1 gets /chat/completions.
 */
#ifndef SL_CLI_LOAD_REQUEST_H
#define SL_CLI_LOAD_REQUEST_H

#include "src/base/buf.h"
#include "src/wire/url.h"

typedef enum sl_load_api { SL_LOAD_CHAT, SL_LOAD_COMPLETIONS, SL_LOAD_EMBEDDINGS, SL_LOAD_MESSAGES } sl_load_api;

/* What the request asks for; views must live until sl_load_request_init returns. */
typedef struct sl_load_ask {
    sl_str url;
    sl_str model;
    sl_str prompt;
    sl_str key; /* empty: none is sent */
    uint64_t max_tokens;
    bool stream;
} sl_load_ask;

#define SL_LOAD_MAX_REQUEST (16u * 1024 * 1024)

typedef struct sl_load_request {
    char url_text[SL_MAX_URL_BYTES + 1];
    sl_url url; /* views of url_text; path and query are what was asked for, not what is sent */
    sl_load_api api;
    bool stream;
    sl_buf bytes; /* head and body */
} sl_load_request;

/* Makes the bytes. Errors: SL_EINVAL (`*ret_reason`, static, says why), SL_ENOMEM. sl_load_request_done in any case. */
SL_MUST_CHECK int sl_load_request_init(sl_load_request *request, const sl_load_ask *ask, const char **ret_reason);
void sl_load_request_done(sl_load_request *request);

#endif
