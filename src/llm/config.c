/* The gateway's configuration file: sections and their tables. */
#include "src/llm/config.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/llm/config_schema.h"
#include "src/llm/provider.h"
#include "src/net/lite/addr.h"
#include "src/wire/url.h"

#define COUNT(array) (sizeof(array) / sizeof *(array))
#define DEPLOYMENT(name, type, member)                                                                                 \
    {                                                                                                                  \
        name, type, offsetof(model_entry, member)                                                                      \
    }
#define NOT_YET(name)                                                                                                  \
    {                                                                                                                  \
        name, SL_KEY_NOT_YET, 0                                                                                        \
    }

#define PRICES                                                                                                         \
    DEPLOYMENT("input_cost_per_token", SL_KEY_PRICE, d.input_cost),                                                    \
        DEPLOYMENT("output_cost_per_token", SL_KEY_PRICE, d.output_cost),                                              \
        DEPLOYMENT("cache_read_input_token_cost", SL_KEY_PRICE, d.cache_read_cost),                                    \
        DEPLOYMENT("cache_creation_input_token_cost", SL_KEY_PRICE, d.cache_write_cost)

/* One entry of model_list as it is written, before it becomes a deployment. */
typedef struct model_entry {
    sl_deployment d;
    sl_str model;
    sl_str api_base;
    sl_str custom_provider;
    bool other; /* not for the gateway */
} model_entry;

static const sl_key_def entry_keys[] = {
    DEPLOYMENT("model_name", SL_KEY_STR, d.model_name),
    {"litellm_params", SL_KEY_CHILD, 0},
    {"model_info", SL_KEY_CHILD, 0},
    {"sightline", SL_KEY_CHILD, 0},
};

static const sl_key_def param_keys[] = {
    DEPLOYMENT("model", SL_KEY_STR, model),
    DEPLOYMENT("api_base", SL_KEY_STR, api_base),
    DEPLOYMENT("base_url", SL_KEY_STR, api_base),
    DEPLOYMENT("api_key", SL_KEY_SECRET, d.api_key),
    DEPLOYMENT("custom_llm_provider", SL_KEY_STR, custom_provider),
    DEPLOYMENT("timeout", SL_KEY_SECONDS, d.timeout_ms),
    DEPLOYMENT("request_timeout", SL_KEY_SECONDS, d.timeout_ms),
    DEPLOYMENT("stream_timeout", SL_KEY_SECONDS, d.stream_timeout_ms),
    NOT_YET("rpm"),
    NOT_YET("tpm"),
    NOT_YET("weight"),
    NOT_YET("order"),
    NOT_YET("max_retries"),
    NOT_YET("num_retries"),
    NOT_YET("organization"),
    NOT_YET("api_version"),
    NOT_YET("temperature"),
    NOT_YET("max_tokens"),
    NOT_YET("drop_params"),
    PRICES,
    NOT_YET("extra_headers"),
    NOT_YET("tags"),
    NOT_YET("mock_response"),
};

static const sl_key_def info_keys[] = {PRICES};

static const sl_key_def model_sightline_keys[] = {
    DEPLOYMENT("include_usage", SL_KEY_BOOL, d.include_usage),
    DEPLOYMENT("propagate_tracestate", SL_KEY_BOOL, d.propagate_tracestate),
    DEPLOYMENT("propagate_baggage", SL_KEY_BOOL, d.propagate_baggage),
    DEPLOYMENT("ca_file", SL_KEY_STR, d.ca_file),
    DEPLOYMENT("tls_insecure", SL_KEY_BOOL, d.tls_insecure),
    DEPLOYMENT("connect_timeout", SL_KEY_SECONDS, d.connect_timeout_ms),
};

static const sl_key_def general_keys[] = {
    {"master_key", SL_KEY_SECRET, offsetof(sl_config, master_key)},
    NOT_YET("database_url"),
    NOT_YET("store_model_in_db"),
    NOT_YET("background_health_checks"),
    NOT_YET("health_check_interval"),
    NOT_YET("max_parallel_requests"),
    NOT_YET("global_max_parallel_requests"),
    NOT_YET("proxy_batch_write_at"),
    NOT_YET("alerting"),
    NOT_YET("disable_spend_logs"),
};

#define LISTEN(name)                                                                                                   \
    {                                                                                                                  \
#name, SL_KEY_STR, offsetof(sl_config, listen.name)                                                            \
    }
static const sl_key_def listen_keys[] = {
    LISTEN(gateway),   LISTEN(metrics), LISTEN(health), LISTEN(admin),   LISTEN(otlp_grpc),
    LISTEN(otlp_http), LISTEN(ui),      LISTEN(api),    LISTEN(control), LISTEN(queue),
};

static const sl_key_def sightline_keys[] = {
    {"listen", SL_KEY_CHILD, 0},
    {"health_checks", SL_KEY_CHILD, 0},
    {"workers", SL_KEY_U32, offsetof(sl_config, workers)},
    {"drain_timeout", SL_KEY_SECONDS, offsetof(sl_config, drain_timeout_ms)},
    {"max_body", SL_KEY_BYTES, offsetof(sl_config, max_body_bytes)},
    {"head_timeout", SL_KEY_SECONDS, offsetof(sl_config, head_timeout_ms)},
    {"body_timeout", SL_KEY_SECONDS, offsetof(sl_config, body_timeout_ms)},
    {"idle_timeout", SL_KEY_SECONDS, offsetof(sl_config, idle_timeout_ms)},
    {"write_timeout", SL_KEY_SECONDS, offsetof(sl_config, write_timeout_ms)},
};

static const sl_key_def health_keys[] = {
    {"name", SL_KEY_STR, offsetof(sl_health_check_config, name)},
    {"kind", SL_KEY_STR, offsetof(sl_health_check_config, kind)},
    {"target", SL_KEY_STR, offsetof(sl_health_check_config, target)},
    {"limit", SL_KEY_BYTES, offsetof(sl_health_check_config, limit_bytes)},
    {"timeout", SL_KEY_SECONDS, offsetof(sl_health_check_config, timeout_ms)},
    {"interval", SL_KEY_SECONDS, offsetof(sl_health_check_config, interval_ms)},
};

/* Sections of LiteLLM that are read, or known and not supported yet. */
static const sl_key_def top_keys[] = {
    {"model_list", SL_KEY_CHILD, 0}, {"general_settings", SL_KEY_CHILD, 0},
    {"sightline", SL_KEY_CHILD, 0},  NOT_YET("litellm_settings"),
    NOT_YET("router_settings"),      NOT_YET("environment_variables"),
    NOT_YET("callback_settings"),
};

const sl_config_section *sl_config_sections(size_t *ret_count)
{
    SL_ASSERT(ret_count);
    static const sl_config_section sections[] = {
        {"config", top_keys, COUNT(top_keys)},
        {"model_list[]", entry_keys, COUNT(entry_keys)},
        {"litellm_params", param_keys, COUNT(param_keys)},
        {"model_info", info_keys, COUNT(info_keys)},
        {"model_list[].sightline", model_sightline_keys, COUNT(model_sightline_keys)},
        {"general_settings", general_keys, COUNT(general_keys)},
        {"sightline", sightline_keys, COUNT(sightline_keys)},
        {"sightline.listen", listen_keys, COUNT(listen_keys)},
        {"health_checks[]", health_keys, COUNT(health_keys)},
    };
    *ret_count = COUNT(sections);
    return sections;
}

/* Fills in where the deployment lives. False when it cannot be reached as written (a diagnostic says why). */
static bool locate(sl_config *config, const sl_yaml_node *at, model_entry *entry)
{
    SL_ASSERT(entry && config);
    sl_str model = entry->model;
    const sl_provider *provider = sl_provider_split(entry->model, &model);
    const sl_provider *custom = sl_provider_find(entry->custom_provider);
    if (entry->custom_provider.len && !custom)
        sl_config_diag(config, SL_DIAG_WARNING, at,
                       "litellm_params.custom_llm_provider: \"%s\" is not known; %s is taken instead",
                       entry->custom_provider.ptr, provider->prefix);
    if (custom)
        provider = custom;
    entry->d.provider = sl_str_c(provider->genai);
    entry->d.upstream_model = sl_config_dup(config, model);
    if (!model.len) {
        sl_config_diag(config, SL_DIAG_ERROR, at,
                       "model %s: names a provider alone; write provider/model, such as openai/gpt-4o",
                       entry->model.ptr);
        return false;
    }
    sl_str base = entry->api_base.len ? entry->api_base : sl_str_c(provider->api_base);
    entry->other = !entry->api_base.len && sl_str_eq_c(entry->d.provider, "anthropic");
    if (entry->other) {
        base = SL_STR("https://api.anthropic.com");
        sl_config_diag(
            config, SL_DIAG_WARNING, at,
            "model %s: the protocol of provider %s is not supported by the gateway yet; workflows can use it",
            entry->model.ptr, provider->prefix);
    } else if (!provider->speaks_openai && !entry->api_base.len) {
        sl_config_diag(config, SL_DIAG_WARNING, at,
                       "model %s: the protocol of provider %s is not supported yet; this deployment is left out",
                       entry->model.ptr, provider->prefix);
        return false;
    }
    if (!base.len) {
        sl_config_diag(config, SL_DIAG_ERROR, at,
                       "model %s: provider %s has no default address; set litellm_params.api_base", entry->model.ptr,
                       provider->prefix);
        return false;
    }
    sl_url url;
    const char *reason = "a query does not belong there";
    if (sl_url_parse(base, &url, &reason) != 0 || url.query.len) {
        sl_config_diag(config, SL_DIAG_ERROR, at, "api_base: not a usable address (%s); write http://host:port/v1",
                       reason);
        return false;
    }
    entry->d.tls = url.tls;
    entry->d.host = sl_config_dup(config, url.host);
    entry->d.port = url.port;
    while (url.path.len && url.path.ptr[url.path.len - 1] == '/')
        url.path.len--;
    entry->d.base_path = sl_config_dup(config, url.path);
    return true;
}

/* Prices of model_info and of litellm_params; the latter are read later and count. */
static void read_prices(sl_config *config, sl_yaml *yaml, sl_yaml_node *node, sl_yaml_node *params, model_entry *entry)
{
    SL_ASSERT(entry);
    sl_yaml_node *maps[] = {sl_yaml_get(yaml, node, "model_info"), params};
    for (size_t i = 0; i < COUNT(maps); i++) {
        for (size_t k = 0; k < 2 && maps[i]; k++)
            entry->d.has_price |= sl_yaml_get(yaml, maps[i], info_keys[k].name) != NULL;
    }
    sl_config_read_known(config, yaml, maps[0], "model_info", info_keys, COUNT(info_keys), entry);
}

static int add_deployment(sl_config *config, const sl_deployment *deployment, sl_deployment **list, size_t *list_count);

static void read_model(sl_config *config, sl_yaml *yaml, sl_yaml_node *node)
{
    model_entry entry;
    memset(&entry, 0, sizeof entry);
    entry.d.include_usage = entry.d.propagate_tracestate = entry.d.propagate_baggage = true;
    entry.d.timeout_ms = 600000;
    entry.d.connect_timeout_ms = 10000;
    entry.d.line = sl_yaml_line(node);
    entry.d.cache_read_cost = entry.d.cache_write_cost = -1;
    sl_config_read_map(config, yaml, node, "model_list[]", entry_keys, COUNT(entry_keys), &entry);
    sl_yaml_node *params = sl_yaml_get(yaml, node, "litellm_params");
    read_prices(config, yaml, node, params, &entry);
    sl_config_read_map(config, yaml, params, "litellm_params", param_keys, COUNT(param_keys), &entry);
    sl_config_read_map(config, yaml, sl_yaml_get(yaml, node, "sightline"), "model_list[].sightline",
                       model_sightline_keys, COUNT(model_sightline_keys), &entry);
    if (!entry.d.model_name.len) {
        sl_config_diag(config, SL_DIAG_ERROR, node,
                       "model_list[]: model_name is missing; give the name that clients ask for");
        return;
    }
    if (!entry.model.len) {
        sl_config_diag(config, SL_DIAG_ERROR, params ? params : node,
                       "model %s: litellm_params.model is missing; write provider/model, such as openai/gpt-4o",
                       entry.d.model_name.ptr);
        return;
    }
    if (!entry.d.stream_timeout_ms)
        entry.d.stream_timeout_ms = entry.d.timeout_ms;
    int error = 0;
    if (locate(config, params, &entry))
        error = entry.other ? add_deployment(config, &entry.d, &config->others, &config->other_count)
                            : sl_config_add(config, &entry.d);
    if (error == SL_ELIMIT)
        sl_config_diag(config, SL_DIAG_ERROR, NULL, "model_list: more than %d entries; split the configuration",
                       SL_MAX_DEPLOYMENTS);
    else if (error)
        config->failed = error;
}

static void read_models(sl_config *config, sl_yaml *yaml, sl_yaml_node *list)
{
    if (sl_yaml_is_null(list))
        return;
    if (!sl_yaml_is_list(list)) {
        sl_config_diag(config, SL_DIAG_ERROR, list, "model_list: not a list; write `- model_name: …` entries below it");
        return;
    }
    sl_yaml_node *node;
    for (size_t i = 0; (node = sl_yaml_item(yaml, list, i)) != NULL; i++)
        read_model(config, yaml, node);
}

static bool known_kind(sl_str kind)
{
    return sl_str_eq_c(kind, "memory") || sl_str_eq_c(kind, "http") || sl_str_eq_c(kind, "tcp") ||
           sl_str_eq_c(kind, "disk");
}

static void read_health_checks(sl_config *config, sl_yaml *yaml, sl_yaml_node *list)
{
    if (sl_yaml_is_null(list))
        return;
    if (!sl_yaml_is_list(list)) {
        sl_config_diag(config, SL_DIAG_ERROR, list,
                       "sightline.health_checks: not a list; write `- {name: …, kind: …}` entries below it");
        return;
    }
    config->health_checks = sl_arena_zalloc(&config->arena, SL_MAX_HEALTH_CHECKS * sizeof *config->health_checks);
    if (!config->health_checks) {
        config->failed = SL_ENOMEM;
        return;
    }
    sl_yaml_node *node;
    for (size_t i = 0; (node = sl_yaml_item(yaml, list, i)) != NULL; i++) {
        if (i == SL_MAX_HEALTH_CHECKS) {
            sl_config_diag(config, SL_DIAG_ERROR, node, "health_checks: at most %d; remove some", SL_MAX_HEALTH_CHECKS);
            return;
        }
        sl_health_check_config *check = &config->health_checks[config->health_check_count];
        memset(check, 0, sizeof *check);
        check->line = sl_yaml_line(node);
        sl_config_read_map(config, yaml, node, "health_checks[]", health_keys, COUNT(health_keys), check);
        if (!check->name.len || !known_kind(check->kind))
            sl_config_diag(config, SL_DIAG_ERROR, node,
                           "health_checks[]: needs a name, and a kind of memory, http, tcp or disk");
        else
            config->health_check_count++;
    }
}

/* Values that are read as texts and numbers, and mean something only later: a wrong one is told with its place. */
static void check_serving(sl_config *config, sl_yaml *yaml, sl_yaml_node *own)
{
    SL_ASSERT(config && yaml);
    sl_yaml_node *listen = sl_yaml_get(yaml, own, "listen");
    for (size_t i = 0; i < COUNT(listen_keys); i++) {
        const sl_str *text = (const void *)((const char *)config + listen_keys[i].offset);
        char reason[SL_ADDR_REASON_MAX];
        sl_addr addr;
        if (text->len && sl_addr_parse(*text, "127.0.0.1", &addr, reason) != 0)
            sl_config_diag(config, SL_DIAG_ERROR, sl_yaml_get(yaml, listen, listen_keys[i].name),
                           "sightline.listen.%s: %s", listen_keys[i].name, reason);
    }
    if (config->workers > SL_MAX_WORKERS)
        sl_config_diag(config, SL_DIAG_ERROR, sl_yaml_get(yaml, own, "workers"),
                       "sightline.workers: %u is out of range; give 1 to %d", config->workers, SL_MAX_WORKERS);
}

static void read_document(sl_config *config, sl_yaml *yaml)
{
    sl_yaml_node *root = sl_yaml_root(yaml);
    sl_config_read_map(config, yaml, root, "config", top_keys, COUNT(top_keys), config);
    read_models(config, yaml, sl_yaml_get(yaml, root, "model_list"));
    sl_yaml_node *general = sl_yaml_get(yaml, root, "general_settings");
    size_t told = config->error_count;
    sl_config_read_map(config, yaml, general, "general_settings", general_keys, COUNT(general_keys), config);
    sl_yaml_node *key = sl_yaml_get(yaml, general, "master_key");
    if (key && !sl_yaml_is_null(key) && !config->master_key.len && config->error_count == told)
        sl_config_diag(
            config, SL_DIAG_ERROR, key,
            "general_settings.master_key: is empty; the gateway would be open, so set the key or its variable");
    sl_yaml_node *own = sl_yaml_get(yaml, root, "sightline");
    sl_config_read_map(config, yaml, own, "sightline", sightline_keys, COUNT(sightline_keys), config);
    sl_config_read_map(config, yaml, sl_yaml_get(yaml, own, "listen"), "sightline.listen", listen_keys,
                       COUNT(listen_keys), config);
    check_serving(config, yaml, own);
    read_health_checks(config, yaml, sl_yaml_get(yaml, own, "health_checks"));
}

sl_config *sl_config_empty(void)
{
    sl_config *config = sl_calloc(1, sizeof *config);
    if (!config)
        return NULL;
    sl_arena_init(&config->arena, 16 * 1024, 8 * (size_t)SL_MAX_CONFIG_BYTES);
    const char *key = getenv("LITELLM_MASTER_KEY");
    if (key && *key)
        config->master_key = sl_config_dup(config, sl_str_c(key));
    if (!config->failed)
        return config;
    sl_config_free(config);
    return NULL;
}

static int add_deployment(sl_config *config, const sl_deployment *deployment, sl_deployment **list, size_t *list_count)
{
    SL_ASSERT(config && list && list_count);
    size_t count = *list_count;
    if (count == SL_MAX_DEPLOYMENTS)
        return SL_ELIMIT;
    /* Grown by doubling inside the arena: the old arrays are freed with it. */
    if ((count & (count - 1)) == 0) {
        sl_deployment *grown = sl_arena_alloc(&config->arena, (count ? 2 * count : 1) * sizeof *grown);
        if (!grown)
            return SL_ENOMEM;
        if (count)
            memcpy(grown, *list, count * sizeof *grown);
        *list = grown;
    }
    sl_deployment *d = &(*list)[count];
    *d = *deployment;
    sl_str *const texts[] = {&d->model_name, &d->provider, &d->upstream_model, &d->host,
                             &d->base_path,  &d->api_key,  &d->ca_file};
    for (size_t i = 0; i < COUNT(texts); i++) {
        *texts[i] = sl_arena_dup(&config->arena, *texts[i]);
        if (!texts[i]->ptr)
            return SL_ENOMEM;
    }
    ++*list_count;
    return 0;
}

int sl_config_add(sl_config *config, const sl_deployment *deployment)
{
    SL_ASSERT(config);
    return add_deployment(config, deployment, &config->deployments, &config->deployment_count);
}

int sl_config_parse(sl_str text, const char *path, sl_config **ret_config)
{
    SL_ASSERT(ret_config);
    sl_config *config = sl_config_empty();
    sl_yaml *yaml = NULL;
    if (!config)
        return SL_ENOMEM;
    config->path = sl_config_dup(config, sl_str_c(path));
    int error = text.len > SL_MAX_CONFIG_BYTES ? SL_ETOOBIG : sl_yaml_parse(text, config, &yaml);
    if (!error) {
        read_document(config, yaml);
        sl_yaml_free(yaml);
        error = config->error_count ? SL_ECONFIG : 0;
    }
    if (config->failed)
        error = config->failed;
    if (error && error != SL_ECONFIG) {
        sl_config_free(config);
        return error;
    }
    *ret_config = config;
    return error;
}

int sl_config_load(const char *path, sl_config **ret_config)
{
    FILE *file = fopen(path, "rbe");
    if (!file)
        return SL_EIO;
    sl_buf text;
    sl_buf_init(&text, SL_MAX_CONFIG_BYTES);
    char chunk[16 * 1024];
    size_t got;
    while (!text.failed && (got = fread(chunk, 1, sizeof chunk, file)) > 0)
        (void)sl_buf_put(&text, chunk, got);
    int error = ferror(file) ? SL_EIO : text.failed == SL_ELIMIT ? SL_ETOOBIG : text.failed;
    fclose(file);
    if (!error)
        error = sl_config_parse(sl_buf_str(&text), path, ret_config);
    sl_buf_done(&text);
    return error;
}

int sl_config_format_diagnostics(const sl_config *config, sl_buf *out)
{
    SL_ASSERT(config && out);
    for (const sl_diagnostic *d = config->diagnostics; d; d = d->next) {
        (void)sl_buf_put_str(out, config->path);
        if (d->line)
            (void)sl_buf_printf(out, ":%u:%u", d->line, d->column);
        (void)sl_buf_put_c(out, d->level == SL_DIAG_ERROR ? ": error: " : ": warning: ");
        (void)sl_buf_put_str(out, d->text);
        (void)sl_buf_put_char(out, '\n');
    }
    if (config->error_count > SL_MAX_DIAGNOSTICS || config->warning_count > SL_MAX_DIAGNOSTICS)
        (void)sl_buf_printf(out, "%s: %zu errors and %zu warnings, of which %d each are shown; mend these first\n",
                            config->path.ptr, config->error_count, config->warning_count, SL_MAX_DIAGNOSTICS);
    return out->failed;
}

void sl_config_free(sl_config *config)
{
    if (!config)
        return;
    sl_arena_done(&config->arena);
    sl_free(config);
}
