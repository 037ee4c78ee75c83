/*
 * Calls to LLM providers from our own code (workflow steps): chat and embeddings over the OpenAI and the Anthropic
 * protocol, on the gateway's own upstream connections: pooled, streamed when asked, traced, traceparent sent.
 *
 * One client per loop; everything on the loop's thread. It does not retry: the caller's policy does.
 *
 * Promises: a key goes into the head of the request to its own provider and nowhere else: not into spans, metrics,
 * errors (a provider's message is redacted, and the key masked in it by its very bytes). Answers are bounded
 * (SL_MAX_LLM_ANSWER_BYTES); what is malformed or breaks off is a failure of the provider, never half an answer.
 */
#ifndef SL_LLM_CLIENT_H
#define SL_LLM_CLIENT_H

#include <jansson.h>
#include <sightline/sightline.h>

#include "src/llm/config.h"
#include "src/llm/openai.h"
#include "src/llm/price.h"
#include "src/net/upstream.h"

typedef struct sl_llm_client sl_llm_client;
typedef struct sl_llm_call sl_llm_call;

typedef enum sl_llm_protocol { SL_LLM_OPENAI = 0, SL_LLM_ANTHROPIC } sl_llm_protocol;

/* Where a provider is. Views are copied. */
typedef struct sl_llm_endpoint {
    sl_str name; /* as workflow files say it: "openai", "anthropic", or a name of the configuration */
    sl_llm_protocol protocol;
    sl_str base_url; /* "https://api.openai.com/v1", "https://api.anthropic.com" */
    sl_str key;      /* may be empty: no key is sent; visible ASCII */
    sl_str ca_file;
    bool tls_insecure;
    sl_str provider; /* gen_ai.provider.name, and where prices are looked up; empty: the table's for `name`, or the
                        protocol's */
    sl_str model;    /* what the provider is asked for when the endpoint was found by the model's name, or no model was
                        named; empty: `name` */
    bool has_price;  /* `price` comes before the table's */
    sl_price price;
} sl_llm_endpoint;

#define SL_LLM_MAX_ENDPOINTS 1024

/* Reads OPENAI_API_KEY, OPENAI_BASE_URL, ANTHROPIC_API_KEY, ANTHROPIC_BASE_URL, as the providers' own clients do: a
 * provider of which neither is set is not added. Errors: as sl_llm_client_add. */
SL_MUST_CHECK int sl_llm_endpoints_from_env(sl_llm_client *client);
/*
 * Adds the model_list of a configuration: each model by its model_name (the first of several of one name), and each
 * provider that has no endpoint yet by the address and key of its first model. Errors: as sl_llm_client_add.
 */
SL_MUST_CHECK int sl_llm_endpoints_from_config(sl_llm_client *client, const sl_config *config);

/* `sdk` may be NULL: no telemetry. Errors: SL_ENOMEM. */
SL_MUST_CHECK int sl_llm_client_new(sl_loop *loop, sl_sdk *sdk, sl_llm_client **ret_client);
/* Cancels what is under way, of those that it has replaced too. Run the loop once more, then free it. */
void sl_llm_client_close(sl_llm_client *client);
void sl_llm_client_free(sl_llm_client *client);
/*
 * Another client takes the place of `*client`, which goes on behind it for those who use it: they keep its providers,
 * keys and prices until they have left. Takes `fresh`; both are of one loop.
 */
void sl_llm_client_replace(sl_llm_client **client, sl_llm_client *fresh);
/* Frees those behind it that nobody uses any more. Now and then, at most once in a turn of the loop. */
void sl_llm_client_sweep(sl_llm_client *client);
/* As long as it is used it stays, with all it knows. Returns `client`. NULL is accepted. */
sl_llm_client *sl_llm_client_use(sl_llm_client *client);
void sl_llm_client_leave(sl_llm_client *client);
/* Adds or replaces by name. Errors: SL_EINVAL (bad URL), SL_ELIMIT, SL_ENOMEM, SL_ETLS. */
SL_MUST_CHECK int sl_llm_client_add(sl_llm_client *client, const sl_llm_endpoint *endpoint);
/* True when the provider is known; for validation and readiness. */
bool sl_llm_client_has(const sl_llm_client *client, sl_str name);
/* Writes why a provider cannot be used and what to do: "provider cohere: not configured; ...". Never a key. */
void sl_llm_client_explain(const sl_llm_client *client, sl_str name, char *text, size_t size);

struct sl_llm_result;

typedef struct sl_llm_request {
    sl_llm_operation operation; /* SL_LLM_CHAT or SL_LLM_EMBEDDINGS */
    sl_str provider;  /* name of an endpoint; when there is none, or it is empty, one that has the model's name */
    sl_str model;     /* may be empty when the endpoint has one */
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
    sl_llm_protocol protocol;
    sl_str model; /* that answered; of a failure that was asked for */
    sl_str finish_reason;
    sl_str id;
    json_t *usage; /* the provider's object; borrowed; may be NULL */
    bool has_usage;
    uint64_t input_tokens; /* with those read from and written to the provider's cache */
    uint64_t output_tokens;
    uint64_t cached_tokens; /* read from the cache */
    uint64_t cache_write_tokens;
    bool cost_known;
    double cost_usd;
    uint64_t duration_ns, first_token_ns;
} sl_llm_result;

/* Starts. Nothing of `request` is needed behind the return. Errors: SL_ENOENT (no such provider: see
 * sl_llm_client_explain), SL_ENOTSUP (the provider's protocol has no such operation), SL_EINVAL (no model, wrong
 * types), SL_ETOOBIG (the body), SL_ENOMEM, SL_ECLOSED (the client). `on_done` never comes before the return; the call
 * is gone when it returns. */
SL_MUST_CHECK int sl_llm_start(sl_llm_client *client, const sl_llm_request *request, sl_llm_call **ret_call);
/* No callback comes any more; the connection is closed. Within on_done: nothing happens. */
void sl_llm_cancel(sl_llm_call *call);

#endif
