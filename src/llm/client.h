/*
 * Calls to LLM providers from our own code (workflow steps): chat and embeddings over the OpenAI and the Anthropic
 * protocol, on the gateway's own upstream connections: pooled, streamed when asked, traced, traceparent sent.
 *
 * One client per loop; everything on the loop's thread. It does not retry: the caller's policy does.
 */
#ifndef SL_LLM_CLIENT_H
#define SL_LLM_CLIENT_H

#include <jansson.h>
#include <sightline/sightline.h>

#include "src/llm/openai.h"
#include "src/net/upstream.h"

typedef struct sl_llm_client sl_llm_client;
typedef struct sl_llm_call sl_llm_call;

typedef enum sl_llm_protocol { SL_LLM_OPENAI = 0, SL_LLM_ANTHROPIC } sl_llm_protocol;

/* Where a provider is. Views are copied. */
typedef struct sl_llm_endpoint {
    sl_str name; /* as workflow files say it: "openai", "anthropic", or a name of the configuration */
    sl_llm_protocol protocol;
    sl_str base_url; /* "https://api.openai.com/v1", "https://api.anthropic.com" */
    sl_str key;      /* may be empty: no key is sent */
    sl_str ca_file;
} sl_llm_endpoint;

#define SL_LLM_MAX_ENDPOINTS 64

/* Reads OPENAI_API_KEY, OPENAI_BASE_URL, ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL, as the providers' own clients do. */
SL_MUST_CHECK int sl_llm_endpoints_from_env(sl_llm_client *client);

/* `sdk` may be NULL: no telemetry. Errors: SL_ENOMEM. */
SL_MUST_CHECK int sl_llm_client_new(sl_loop *loop, sl_sdk *sdk, sl_llm_client **ret_client);
/* Cancels what is under way. Run the loop once more, then it is gone. */
void sl_llm_client_close(sl_llm_client *client);
void sl_llm_client_free(sl_llm_client *client);
/* Adds or replaces by name. Errors: SL_EINVAL (bad URL), SL_ELIMIT, SL_ENOMEM, SL_ETLS. */
SL_MUST_CHECK int sl_llm_client_add(sl_llm_client *client, const sl_llm_endpoint *endpoint);
/* True when the provider is known; for validation and readiness. */
bool sl_llm_client_has(const sl_llm_client *client, sl_str name);

struct sl_llm_result;

typedef struct sl_llm_request {
    sl_llm_operation operation; /* SL_LLM_CHAT or SL_LLM_EMBEDDINGS */
    sl_str provider;
    sl_str model;
    sl_str system;    /* chat; may be empty */
    sl_str prompt;    /* chat: one user message, unless `messages` */
    json_t *messages; /* chat: list in OpenAI's shape; borrowed; may be NULL */
    json_t *input;    /* embeddings: a string or a list of strings; borrowed */
    bool has_temperature;
    double temperature;
    uint64_t max_tokens; /* 0: not sent (Anthropic: 1024) */
    uint64_t dimensions; /* 0: not sent */
    bool stream;
    json_t *extra;                             /* further keys of the body; borrowed; may be NULL */
    uint64_t timeout_ms;                       /* for the whole call; 0: 600 s */
    sl_span *parent;                           /* may be NULL */
    void (*on_text)(void *user, sl_str piece); /* streamed pieces; may be NULL */
    void (*on_done)(void *user, const struct sl_llm_result *result); /* exactly once, unless cancelled */
    void *user;
} sl_llm_request;

typedef struct sl_llm_result {
    int error;               /* 0, or SL_E...: see `message` */
    int http_status;         /* 0: no answer came */
    bool retryable;          /* 408, 409, 425, 429, 5xx, connection, timeout */
    uint64_t retry_after_ms; /* the provider's, 0: none */
    const char *message;     /* of a failure: without secrets */
    sl_str text;             /* chat */
    json_t *vectors;         /* embeddings: list of lists of numbers; borrowed */
    sl_str model;            /* that answered */
    sl_str finish_reason;
    sl_str id;
    json_t *usage; /* the provider's object; borrowed; may be NULL */
    bool has_usage;
    uint64_t input_tokens, output_tokens, cached_tokens;
    bool cost_known;
    double cost_usd;
    uint64_t duration_ns, first_token_ns;
} sl_llm_result;

/* Starts. `request` and what it points to is copied, but for json_t, of which references are held. Errors: SL_ENOENT
 * (no such provider), SL_EINVAL, SL_ENOMEM. `on_done` never comes before the return. */
SL_MUST_CHECK int sl_llm_start(sl_llm_client *client, const sl_llm_request *request, sl_llm_call **ret_call);
/* No callback comes any more; the connection is closed. */
void sl_llm_cancel(sl_llm_call *call);

#endif
