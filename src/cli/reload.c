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
    return kept;
}

const char *sl_reload_setting(unsigned bit)
{
    static const char *const names[SL_KEPT_BITS] = {
#define LISTENER_SETTING(name, option, env, fallback, help) "sightline.listen." #name,
        SL_LISTENER_MAP(LISTENER_SETTING)
#undef LISTENER_SETTING
            "sightline.workers",
        "sightline.drain_timeout", "sightline.health_checks"};
    unsigned i = 0;
    while (i + 1 < SL_KEPT_BITS && bit != 1u << i)
        i++;
    SL_ASSERT(bit == 1u << i);
    return names[i];
}
