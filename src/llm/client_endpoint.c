/* Where providers are. */
#include <stdio.h>
#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/llm/client_impl.h"
#include "src/llm/provider.h"
#include "src/wire/http1_write.h"
#include "src/wire/url.h"

#define ANTHROPIC_VERSION "2023-06-01"
#define PLACE_BYTES (64u * 1024)

/* ---- finding ---- */

const sl_llm_place *sl_llm_place_find(const sl_llm_client *client, sl_str name)
{
    SL_ASSERT(client);
    for (size_t i = 0; i < client->place_count; i++) {
        if (sl_str_eq(client->places[i].name, name))
            return &client->places[i];
    }
    return NULL;
}

bool sl_llm_client_has(const sl_llm_client *client, sl_str name)
{
    return sl_llm_place_find(client, name) != NULL;
}

static sl_str asked_of(const sl_llm_place *place)
{
    return place->model.len ? place->model : place->name;
}

const sl_llm_place *sl_llm_place_choose(const sl_llm_client *client, const sl_llm_request *request, sl_str *ret_asked)
{
    SL_ASSERT(client && request && ret_asked);
    const sl_llm_place *place = request->provider.len ? sl_llm_place_find(client, request->provider) : NULL;
    const sl_llm_place *named = request->model.len ? sl_llm_place_find(client, request->model) : NULL;
    /* A model of the configuration is where it says, whatever address its provider has otherwise. */
    if (named && named->model.len && (!place || sl_str_eq(place->provider, named->provider)))
        place = named;
    else if (!place)
        place = named;
    if (!place)
        return NULL;
    bool by_model = place == named || (!request->model.len && place->model.len);
    *ret_asked = by_model ? asked_of(place) : request->model;
    return place;
}

void sl_llm_client_explain(const sl_llm_client *client, sl_str name, char *text, size_t size)
{
    SL_ASSERT(client && text && size);
    static const char *const keys[][2] = {{"openai", "OPENAI_API_KEY"}, {"anthropic", "ANTHROPIC_API_KEY"}};
    const char *key = NULL;
    for (size_t i = 0; i < 2; i++) {
        if (sl_str_eq_c(name, keys[i][0]))
            key = keys[i][1];
    }
    int shown = (int)sl_utf8_prefix(name, 64);
    int len;
    if (key)
        len = snprintf(text, size, "provider %.*s: not configured; set %s, or add its models to model_list", shown,
                       name.ptr, key);
    else
        len = snprintf(text, size,
                       "provider %.*s: not configured; add a model to model_list that has this name or provider", shown,
                       name.ptr ? name.ptr : "");
    if (!client->place_count || len < 0)
        return;
    for (size_t i = 0; i < client->place_count && i < 8 && (size_t)len < size; i++) {
        sl_str known = client->places[i].name;
        len += snprintf(text + len, size - (size_t)len, "%s%.*s",
                        i ? ", " : "; known: ", (int)sl_utf8_prefix(known, 64), known.ptr);
    }
    if (client->place_count > 8 && (size_t)len < size)
        snprintf(text + len, size - (size_t)len, ", ...");
}

/* ---- adding ---- */

/* Goes into a header: nothing that could end it. */
static bool is_visible(sl_str text)
{
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] <= ' ' || text.ptr[i] > '~')
            return false;
    }
    return true;
}

static sl_str without_slash(sl_str path)
{
    while (path.len && path.ptr[path.len - 1] == '/')
        path.len--;
    return path;
}

/* Path of an operation behind the base; false when the protocol has no such operation. */
static bool put_path(sl_buf *out, const sl_llm_endpoint *e, sl_str base, sl_llm_operation operation)
{
    SL_ASSERT(out && e);
    base = without_slash(base);
    if (e->protocol == SL_LLM_OPENAI) {
        (void)sl_buf_put_str(out, base);
        (void)sl_buf_put_str(out, sl_llm_operation_path(operation));
        return operation == SL_LLM_CHAT || operation == SL_LLM_EMBEDDINGS;
    }
    if (sl_str_ends(base, SL_STR("/v1")))
        base.len -= 3;
    (void)sl_buf_put_str(out, base);
    (void)sl_buf_put_c(out, "/v1/messages");
    return operation == SL_LLM_CHAT;
}

static int put_head(sl_buf *out, const sl_llm_endpoint *e, const sl_url *url, sl_llm_operation operation)
{
    SL_ASSERT(url);
    sl_buf path;
    sl_buf_init(&path, SL_MAX_URL_BYTES + 64);
    if (!put_path(&path, e, url->path, operation)) {
        sl_buf_done(&path);
        return 0;
    }
    int error = path.failed ? path.failed : sl_http1_put_request(out, SL_STR("POST"), sl_buf_str(&path));
    sl_buf_done(&path);
    if (error)
        return error;
    (void)sl_http1_put_field(out, SL_STR("Host"), url->authority);
    (void)sl_http1_put_field(out, SL_STR("User-Agent"), SL_STR("sightline/" SL_VERSION_STRING));
    (void)sl_http1_put_field(out, SL_STR("Content-Type"), SL_STR("application/json"));
    if (e->protocol == SL_LLM_ANTHROPIC)
        (void)sl_http1_put_field(out, SL_STR("anthropic-version"), SL_STR(ANTHROPIC_VERSION));
    if (!e->key.len)
        return out->failed;
    if (e->protocol == SL_LLM_ANTHROPIC)
        return sl_http1_put_field(out, SL_STR("x-api-key"), e->key);
    (void)sl_buf_put_c(out, "Authorization: Bearer ");
    (void)sl_buf_put_str(out, e->key);
    return sl_buf_put_c(out, "\r\n");
}

static sl_str genai_name(const sl_llm_endpoint *e)
{
    if (e->provider.len)
        return e->provider;
    const sl_provider *known = sl_provider_find(e->name);
    if (known)
        return sl_str_c(known->genai);
    return e->protocol == SL_LLM_ANTHROPIC ? SL_STR("anthropic") : SL_STR("openai");
}

/* All texts of a place behind one another in one block. */
static int make_texts(sl_llm_place *place, const sl_llm_endpoint *e, const sl_url *url)
{
    SL_ASSERT(place && e);
    sl_str *const views[] = {&place->name,
                             &place->model,
                             &place->provider,
                             &place->key,
                             &place->head[SL_LLM_CHAT],
                             &place->head[SL_LLM_EMBEDDINGS]};
    const sl_str texts[] = {e->name, e->model, genai_name(e), e->key};
    enum { COUNT = sizeof views / sizeof *views };
    size_t from[COUNT + 1];
    sl_buf all;
    sl_buf_init(&all, PLACE_BYTES);
    int error = 0;
    for (size_t i = 0; i < COUNT && !error; i++) {
        from[i] = all.len;
        error =
            i < 4 ? sl_buf_put_str(&all, texts[i]) : put_head(&all, e, url, i == 4 ? SL_LLM_CHAT : SL_LLM_EMBEDDINGS);
    }
    from[COUNT] = all.len;
    size_t len;
    if (!error)
        error = sl_buf_take(&all, &place->memory, &len);
    sl_buf_done(&all);
    if (error)
        return error == SL_ELIMIT ? SL_EINVAL : error;
    for (size_t i = 0; i < COUNT; i++)
        *views[i] = sl_str_of(place->memory + from[i], from[i + 1] - from[i]);
    return 0;
}

void sl_llm_place_done(sl_llm_place *place)
{
    SL_ASSERT(place);
    sl_free(place->memory);
    memset(place, 0, sizeof *place);
}

static int make_place(sl_llm_client *client, const sl_llm_endpoint *e, sl_llm_place *ret_place)
{
    SL_ASSERT(client && ret_place);
    sl_url url;
    if (!e->name.len || !is_visible(e->key) || sl_url_parse(e->base_url, &url, NULL) != 0 || url.query.len)
        return SL_EINVAL;
    sl_llm_place place;
    memset(&place, 0, sizeof place);
    sl_origin_options origin = {
        .host = url.host, .port = url.port, .tls = url.tls, .ca_file = e->ca_file, .tls_insecure = e->tls_insecure};
    int error = sl_upstream_origin(client->upstream, &origin, &place.origin);
    if (error)
        return error;
    error = make_texts(&place, e, &url);
    if (error)
        return error;
    place.protocol = e->protocol;
    place.has_price = e->has_price;
    place.price = e->price;
    *ret_place = place;
    return 0;
}

int sl_llm_client_add(sl_llm_client *client, const sl_llm_endpoint *endpoint)
{
    SL_ASSERT(client && endpoint);
    sl_llm_place place;
    int error = make_place(client, endpoint, &place);
    if (error)
        return error;
    sl_llm_place *old = (sl_llm_place *)(uintptr_t)sl_llm_place_find(client, endpoint->name);
    if (old) {
        sl_llm_place_done(old);
        *old = place;
        return 0;
    }
    size_t count = client->place_count;
    if (count == SL_LLM_MAX_ENDPOINTS) {
        sl_llm_place_done(&place);
        return SL_ELIMIT;
    }
    if ((count & (count - 1)) == 0) {
        sl_llm_place *grown = sl_realloc(client->places, (count ? 2 * count : 1) * sizeof *grown);
        if (!grown) {
            sl_llm_place_done(&place);
            return SL_ENOMEM;
        }
        client->places = grown;
    }
    client->places[client->place_count++] = place;
    return 0;
}

/* ---- from elsewhere ---- */

static sl_str env(const char *name)
{
    const char *value = getenv(name);
    return sl_str_trim(sl_str_c(value ? value : ""));
}

int sl_llm_endpoints_from_env(sl_llm_client *client)
{
    SL_ASSERT(client);
    static const struct {
        const char *name, *key, *base, *default_base;
        sl_llm_protocol protocol;
    } known[] = {
        {"openai", "OPENAI_API_KEY", "OPENAI_BASE_URL", "https://api.openai.com/v1", SL_LLM_OPENAI},
        {"anthropic", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL", "https://api.anthropic.com", SL_LLM_ANTHROPIC},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        sl_str key = env(known[i].key), base = env(known[i].base);
        if (!key.len && !base.len)
            continue;
        sl_llm_endpoint e = {.name = sl_str_c(known[i].name),
                             .protocol = known[i].protocol,
                             .base_url = base.len ? base : sl_str_c(known[i].default_base),
                             .key = key};
        int error = sl_llm_client_add(client, &e);
        if (error)
            return error;
    }
    return 0;
}

static int add_deployment(sl_llm_client *client, const sl_deployment *d, sl_str name, sl_str model)
{
    SL_ASSERT(client && d);
    char url[SL_MAX_URL_BYTES];
    bool v6 = sl_str_chr(d->host, ':') != SL_NPOS;
    int len =
        snprintf(url, sizeof url, "%s://%s%.*s%s:%u%.*s", d->tls ? "https" : "http", v6 ? "[" : "", (int)d->host.len,
                 d->host.ptr, v6 ? "]" : "", (unsigned)d->port, (int)d->base_path.len, d->base_path.ptr);
    if (len < 0 || (size_t)len >= sizeof url)
        return SL_EINVAL;
    sl_llm_protocol protocol = sl_str_eq_c(d->provider, "anthropic") ? SL_LLM_ANTHROPIC : SL_LLM_OPENAI;
    sl_llm_endpoint e = {.name = name,
                         .protocol = protocol,
                         .base_url = sl_str_of(url, (size_t)len),
                         .key = d->api_key,
                         .ca_file = d->ca_file,
                         .tls_insecure = d->tls_insecure,
                         .provider = d->provider,
                         .model = model};
    if (d->has_price && model.len) { /* of this model alone */
        e.has_price = true;
        e.price = (sl_price){.input = d->input_cost * 1e6,
                             .output = d->output_cost * 1e6,
                             .cache_read = d->cache_read_cost * 1e6,
                             .cache_write = d->cache_write_cost * 1e6};
    }
    return sl_llm_client_add(client, &e);
}

static int add_all(sl_llm_client *client, const sl_deployment *deployments, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        const sl_deployment *d = &deployments[i];
        int error = 0;
        /* The name `*` passes every model on: it is its provider and no model. */
        if (!sl_str_eq_c(d->model_name, "*") && !sl_llm_client_has(client, d->model_name))
            error = add_deployment(client, d, d->model_name, d->upstream_model);
        if (!error && !sl_llm_client_has(client, d->provider))
            error = add_deployment(client, d, d->provider, sl_str_of(NULL, 0));
        if (error)
            return error;
    }
    return 0;
}

int sl_llm_endpoints_from_config(sl_llm_client *client, const sl_config *config)
{
    SL_ASSERT(client && config);
    int error = add_all(client, config->deployments, config->deployment_count);
    return error ? error : add_all(client, config->others, config->other_count);
}
