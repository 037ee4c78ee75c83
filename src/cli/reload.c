/* Comparing of configurations. */
#include "src/cli/reload.h"

#include "src/base/assert.h"

static bool same_check(const sl_health_check_config *a, const sl_health_check_config *b)
{
    SL_ASSERT(a && b);
    return sl_str_eq(a->name, b->name) && sl_str_eq(a->kind, b->kind) && sl_str_eq(a->target, b->target) &&
           a->limit_bytes == b->limit_bytes && a->timeout_ms == b->timeout_ms && a->interval_ms == b->interval_ms;
}

static bool same_checks(const sl_config *a, const sl_config *b)
{
    SL_ASSERT(a && b);
    bool same = a->health_check_count == b->health_check_count;
    for (size_t i = 0; same && i < a->health_check_count; i++)
        same = same_check(&a->health_checks[i], &b->health_checks[i]);
    return same;
}

static bool same_cost(double a, double b)
{
    return !(a < b) && !(a > b);
}

static bool same_price(const sl_deployment *a, const sl_deployment *b)
{
    SL_ASSERT(a && b);
    if (a->has_price != b->has_price)
        return false;
    return !a->has_price ||
           (same_cost(a->input_cost, b->input_cost) && same_cost(a->output_cost, b->output_cost) &&
            same_cost(a->cache_read_cost, b->cache_read_cost) && same_cost(a->cache_write_cost, b->cache_write_cost));
}

/* In all that calls of workflows take from it; see llm/client_endpoint.c. */
static bool same_model(const sl_deployment *a, const sl_deployment *b)
{
    SL_ASSERT(a && b);
    return sl_str_eq(a->model_name, b->model_name) && sl_str_eq(a->provider, b->provider) &&
           sl_str_eq(a->upstream_model, b->upstream_model) && a->tls == b->tls && sl_str_eq(a->host, b->host) &&
           a->port == b->port && sl_str_eq(a->base_path, b->base_path) && sl_str_eq(a->api_key, b->api_key) &&
           sl_str_eq(a->ca_file, b->ca_file) && a->tls_insecure == b->tls_insecure && same_price(a, b);
}

static bool same_models(const sl_deployment *a, size_t a_count, const sl_deployment *b, size_t b_count)
{
    SL_ASSERT((a || !a_count) && (b || !b_count));
    bool same = a_count == b_count;
    for (size_t i = 0; same && i < a_count; i++)
        same = same_model(&a[i], &b[i]);
    return same;
}

unsigned sl_reload_kept(const sl_config *start, const sl_config *fresh)
{
    SL_ASSERT(start && fresh);
    unsigned kept = 0;
    for (int id = 0; id < SL_LISTENER_COUNT; id++) {
        if (!sl_str_eq(sl_listener_configured(start, (sl_listener_id)id),
                       sl_listener_configured(fresh, (sl_listener_id)id)))
            kept |= 1u << id;
    }
    if (start->workers != fresh->workers)
        kept |= SL_KEPT_WORKERS;
    if (start->drain_timeout_ms != fresh->drain_timeout_ms)
        kept |= SL_KEPT_DRAIN_TIMEOUT;
    if (!same_checks(start, fresh))
        kept |= SL_KEPT_HEALTH_CHECKS;
    if (!same_models(start->deployments, start->deployment_count, fresh->deployments, fresh->deployment_count) ||
        !same_models(start->others, start->other_count, fresh->others, fresh->other_count))
        kept |= SL_KEPT_FLOW_MODELS;
    return kept;
}

const char *sl_reload_setting(unsigned bit)
{
    static const char *const names[SL_KEPT_BITS] = {
#define LISTENER_SETTING(name, option, env, fallback, help) "sightline.listen." #name,
        SL_LISTENER_MAP(LISTENER_SETTING)
#undef LISTENER_SETTING
            "sightline.workers",
        "sightline.drain_timeout", "sightline.health_checks", "model_list, as workflows see it"};
    unsigned i = 0;
    while (i + 1 < SL_KEPT_BITS && bit != 1u << i)
        i++;
    SL_ASSERT(bit == 1u << i);
    return names[i];
}
