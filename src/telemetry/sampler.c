/* Making samplers: names, ratios, descriptions. The decision itself is inline in the header. */
#include "src/telemetry/sampler.h"

#include <stdio.h>

#include "src/base/mem.h"
#include "src/base/str.h"

uint64_t sl_sampler_bound(double ratio)
{
    if (!(ratio > 0.0)) /* also not a number */
        return 0;
    if (ratio >= 1.0)
        return (uint64_t)1 << 63;
    return (uint64_t)(ratio * 0x1.0p63);
}

static double clamp(double ratio)
{
    if (!(ratio > 0.0))
        return 0.0;
    return ratio > 1.0 ? 1.0 : ratio;
}

static void describe(sl_sampler *sampler, double ratio)
{
    char root[64];
    switch (sampler->kind) {
    case SL_SAMPLER_ALWAYS_OFF:
    case SL_SAMPLER_PARENTBASED_ALWAYS_OFF:
        (void)snprintf(root, sizeof root, "AlwaysOffSampler");
        break;
    case SL_SAMPLER_TRACEIDRATIO:
    case SL_SAMPLER_PARENTBASED_TRACEIDRATIO:
        (void)snprintf(root, sizeof root, "TraceIdRatioBased{%.6f}", ratio);
        break;
    case SL_SAMPLER_CALLBACK:
        (void)snprintf(root, sizeof root, "Callback");
        break;
    default:
        (void)snprintf(root, sizeof root, "AlwaysOnSampler");
    }
    bool parent_based = sampler->kind >= SL_SAMPLER_PARENTBASED_ALWAYS_ON && sampler->kind != SL_SAMPLER_CALLBACK;
    const char *rest = ",remoteParentSampled:AlwaysOnSampler,remoteParentNotSampled:AlwaysOffSampler,"
                       "localParentSampled:AlwaysOnSampler,localParentNotSampled:AlwaysOffSampler}";
    int len = snprintf(sampler->description, sizeof sampler->description, "%s%s%s",
                       parent_based ? "ParentBased{root:" : "", root, parent_based ? rest : "");
    SL_ASSERT(len > 0 && (size_t)len < sizeof sampler->description);
    (void)len;
}

sl_sampler *sl_sampler_new(const sl_sampler_options *options)
{
    sl_sampler *sampler = sl_calloc(1, sizeof *sampler);
    if (!sampler)
        return NULL;
    sampler->kind = options ? options->kind : SL_SAMPLER_DEFAULT;
    bool known = sampler->kind > SL_SAMPLER_DEFAULT && sampler->kind <= SL_SAMPLER_CALLBACK;
    if (!known || (sampler->kind == SL_SAMPLER_CALLBACK && !options->fn))
        sampler->kind = SL_SAMPLER_PARENTBASED_ALWAYS_ON;
    double ratio = options ? clamp(options->ratio) : 1.0;
    sampler->bound = sl_sampler_bound(ratio);
    if (sampler->kind == SL_SAMPLER_CALLBACK) {
        sampler->fn = options->fn;
        sampler->user = options->user;
    }
    describe(sampler, ratio);
    return sampler;
}

void sl_sampler_free(sl_sampler *sampler)
{
    sl_free(sampler);
}

const char *sl_sampler_description(const sl_sampler *sampler)
{
    SL_ASSERT(sampler);
    return sampler->description;
}

sl_sampler_kind sl_sampler_kind_of(sl_str name)
{
    static const struct {
        const char *name;
        sl_sampler_kind kind;
    } names[] = {{"always_on", SL_SAMPLER_ALWAYS_ON},
                 {"always_off", SL_SAMPLER_ALWAYS_OFF},
                 {"traceidratio", SL_SAMPLER_TRACEIDRATIO},
                 {"parentbased_always_on", SL_SAMPLER_PARENTBASED_ALWAYS_ON},
                 {"parentbased_always_off", SL_SAMPLER_PARENTBASED_ALWAYS_OFF},
                 {"parentbased_traceidratio", SL_SAMPLER_PARENTBASED_TRACEIDRATIO}};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (sl_str_ieq(name, sl_str_c(names[i].name)))
            return names[i].kind;
    }
    return SL_SAMPLER_DEFAULT;
}
