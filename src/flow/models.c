/* A whole client for each configuration: nothing of an old one is changed while somebody uses it. */
#include "src/flow/models.h"

#include <stdio.h>

#include "src/base/assert.h"

/* The first one that is missing, in the order in which they are added. */
static const sl_deployment *first_missing(const sl_llm_client *client, const sl_deployment *deployments, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const sl_deployment *d = &deployments[i];
        bool named = !sl_str_eq_c(d->model_name, "*");
        if ((named && !sl_llm_client_has(client, d->model_name)) || !sl_llm_client_has(client, d->provider))
            return d;
    }
    return NULL;
}

static const char *why_not(int error)
{
    if (error == SL_ETLS)
        return "its ca_file cannot be read, or holds no certificate";
    if (error == SL_EINVAL)
        return "its address or its key cannot be used";
    return error == SL_ELIMIT ? "there are too many models" : sl_strerror(error);
}

int sl_flow_models_add(sl_llm_client *client, const sl_config *config, char *reason, size_t size)
{
    SL_ASSERT(client && config && reason && size);
    int error = sl_llm_endpoints_from_config(client, config);
    if (!error)
        return 0;
    const sl_deployment *d = first_missing(client, config->deployments, config->deployment_count);
    if (!d)
        d = first_missing(client, config->others, config->other_count);
    if (d)
        (void)snprintf(reason, size, "%.*s:%u: model %.*s: %s", (int)config->path.len, config->path.ptr, d->line,
                       (int)sl_utf8_prefix(d->model_name, 100), d->model_name.ptr, why_not(error));
    else
        (void)snprintf(reason, size, "%s", sl_strerror(error));
    return error;
}

int sl_flow_models_reload(sl_flow_services *services, sl_flow_models_fn add, void *user)
{
    SL_ASSERT(services && services->llm && services->loop && add);
    sl_llm_client *fresh = NULL;
    int error = sl_llm_client_new(services->loop, services->sdk, &fresh);
    if (!error)
        error = sl_llm_endpoints_from_env(fresh);
    if (!error)
        error = add(user, fresh);
    if (!error) {
        sl_llm_client_replace(&services->llm, fresh);
        return 0;
    }
    sl_llm_client_close(fresh); /* it has no connection: nothing of it is the loop's */
    sl_llm_client_free(fresh);
    return error;
}
