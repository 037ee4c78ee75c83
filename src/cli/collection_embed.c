/* Vectors of texts for commands. */
#include "src/cli/collection_embed.h"

#include <stdio.h>

#include "src/base/mem.h"
#include "src/llm/client.h"

#define MAX_TRIES 3

struct sl_embedder {
    sl_loop loop;
    sl_llm_client *client;
    char *provider;
    char *model;
    /* Of the call under way. */
    bool done;
    bool retryable;
    int error;
    char *reason;
    json_t *vectors;
};

static int fail(char *reason, int error, const char *text)
{
    (void)snprintf(reason, SL_EMBED_REASON, "%s", text);
    return error;
}

int sl_embedder_new(sl_str model, char *reason, sl_embedder **ret_embedder)
{
    SL_ASSERT(reason && ret_embedder);
    size_t slash = sl_str_chr(model, '/');
    if (slash == SL_NPOS || slash == 0 || slash + 1 == model.len)
        return fail(reason, SL_EINVAL, "must be PROVIDER/MODEL, such as openai/text-embedding-3-small");
    sl_embedder *e = sl_calloc(1, sizeof *e);
    if (!e)
        return fail(reason, SL_ENOMEM, "out of memory");
    if (sl_loop_init(&e->loop)) {
        sl_free(e);
        return fail(reason, SL_ENOMEM, "out of memory");
    }
    e->provider = sl_strndup(model.ptr, slash);
    e->model = sl_strndup(model.ptr + slash + 1, model.len - slash - 1);
    int error = e->provider && e->model ? sl_llm_client_new(&e->loop, NULL, &e->client) : SL_ENOMEM;
    if (!error)
        error = sl_llm_endpoints_from_env(e->client);
    if (error)
        (void)fail(reason, error, "the providers of the environment cannot be used");
    else if (!sl_llm_client_has(e->client, sl_str_c(e->provider)))
        error = fail(reason, SL_EINVAL, "the provider is not configured; set OPENAI_API_KEY or OPENAI_BASE_URL");
    if (error) {
        sl_embedder_free(e);
        return error;
    }
    *ret_embedder = e;
    return 0;
}

void sl_embedder_free(sl_embedder *embedder)
{
    if (!embedder)
        return;
    sl_llm_client_close(embedder->client);
    while (uv_run(&embedder->loop.uv, UV_RUN_ONCE))
        ;
    sl_llm_client_free(embedder->client);
    sl_loop_done(&embedder->loop);
    sl_free(embedder->provider);
    sl_free(embedder->model);
    sl_free(embedder);
}

static void on_done(void *user, const sl_llm_result *result)
{
    sl_embedder *e = user;
    e->done = true;
    e->error = result->error;
    e->retryable = result->retryable;
    if (result->error)
        (void)fail(e->reason, 0, result->message ? result->message : sl_strerror(result->error));
    else
        e->vectors = json_incref(result->vectors);
}

static int ask(sl_embedder *e, json_t *texts)
{
    sl_llm_call *call = NULL;
    sl_llm_request request = {.operation = SL_LLM_EMBEDDINGS,
                              .provider = sl_str_c(e->provider),
                              .model = sl_str_c(e->model),
                              .input = texts,
                              .on_done = on_done,
                              .user = e};
    e->done = false;
    e->retryable = false;
    e->vectors = NULL;
    int error = sl_llm_start(e->client, &request, &call);
    if (error)
        return fail(e->reason, error, sl_strerror(error));
    while (!e->done)
        (void)uv_run(&e->loop.uv, UV_RUN_ONCE);
    return e->error;
}

int sl_embedder_embed(sl_embedder *embedder, json_t *texts, char *reason, json_t **ret_vectors)
{
    SL_ASSERT(embedder && json_is_array(texts) && reason && ret_vectors);
    embedder->reason = reason;
    int error = ask(embedder, texts);
    for (int i = 1; i < MAX_TRIES && error && embedder->retryable; i++) {
        uv_sleep(500u << i);
        error = ask(embedder, texts);
    }
    if (!error && json_array_size(embedder->vectors) != json_array_size(texts)) {
        json_decref(embedder->vectors);
        error = fail(reason, SL_EPROTO, "the answer has not as many vectors as there are texts");
    }
    if (!error)
        *ret_vectors = embedder->vectors;
    embedder->vectors = NULL;
    return error;
}
