/* Limits as text, and the crossing of them. */
#include "src/probe/quota.h"

#include <math.h>

#include "src/base/assert.h"

#define ENDS_AT 0.95 /* share of the limit */

static const struct {
    const char *name;
    double max;
    bool whole;
    unsigned retry_after_s;
} kinds[SL_QUOTA_COUNT] = {
    [SL_QUOTA_RESIDENT] = {"resident_memory", 0x1p60, true, 30},
    [SL_QUOTA_CONTEXT] = {"context", 1, false, 5},
    [SL_QUOTA_QUEUE] = {"queue", 1e9, true, 1},
    [SL_QUOTA_TOKENS] = {"tokens_per_second", 1e9, false, 2},
};

const char *sl_quota_name(sl_quota_kind kind)
{
    SL_ASSERT((unsigned)kind < SL_QUOTA_COUNT);
    return kinds[kind].name;
}

/* Takes KiB, MiB or GiB off the end; the factor of it. */
static double take_unit(sl_str *text)
{
    static const struct {
        sl_str name;
        double factor;
    } units[] = {{SL_STR("KiB"), 0x1p10}, {SL_STR("MiB"), 0x1p20}, {SL_STR("GiB"), 0x1p30}};
    for (size_t i = 0; i < sizeof units / sizeof *units; i++) {
        if (!sl_str_ends(*text, units[i].name))
            continue;
        *text = sl_str_trim(sl_str_sub(*text, 0, text->len - units[i].name.len));
        return units[i].factor;
    }
    return 1;
}

static int parse_value(sl_quota_kind kind, sl_str text, double *ret_value)
{
    SL_ASSERT((unsigned)kind < SL_QUOTA_COUNT);
    double factor = kind == SL_QUOTA_RESIDENT ? take_unit(&text) : 1, value;
    if (sl_str_to_double(text, &value) || !isfinite(value))
        return SL_EPARSE;
    value *= factor;
    bool broken = kinds[kind].whole && value != floor(value);
    if (!(value > 0) || value > kinds[kind].max || broken)
        return SL_EPARSE;
    *ret_value = value;
    return 0;
}

/* One part, "name=value". */
static int parse_part(sl_str part, sl_quota_limits *limits)
{
    size_t at = sl_str_chr(part, '=');
    if (at == SL_NPOS)
        return SL_EPARSE;
    sl_str name = sl_str_trim(sl_str_sub(part, 0, at)), value = sl_str_trim(sl_str_sub(part, at + 1, SL_NPOS));
    for (unsigned kind = 0; kind < SL_QUOTA_COUNT; kind++) {
        if (sl_str_eq_c(name, kinds[kind].name))
            return parse_value((sl_quota_kind)kind, value, &limits->limit[kind]);
    }
    return SL_EPARSE;
}

int sl_quota_parse(sl_str text, sl_quota_limits *ret_limits, sl_str *ret_fault)
{
    SL_ASSERT(ret_limits && (text.ptr || !text.len));
    sl_quota_limits limits = {.limit = {0}};
    sl_str rest = sl_str_trim(text), part;
    while (rest.len && sl_str_split(&rest, ',', &part)) {
        part = sl_str_trim(part);
        if (parse_part(part, &limits) == 0)
            continue;
        if (ret_fault)
            *ret_fault = part;
        return SL_EPARSE;
    }
    *ret_limits = limits;
    return 0;
}

bool sl_quota_is_set(const sl_quota_limits *limits)
{
    SL_ASSERT(limits);
    bool any = false;
    for (unsigned kind = 0; kind < SL_QUOTA_COUNT; kind++)
        any |= limits->limit[kind] > 0;
    return any;
}

static bool has_ended(unsigned kind, double used, double limit)
{
    return kinds[kind].whole && limit < 100 ? used < limit : used <= limit * ENDS_AT;
}

unsigned sl_quota_update(sl_quota *quota, const sl_probe_totals *totals, unsigned *ret_ended)
{
    SL_ASSERT(quota && totals && ret_ended);
    quota->used[SL_QUOTA_RESIDENT] = (double)totals->resident_bytes;
    quota->used[SL_QUOTA_CONTEXT] = totals->context_use;
    quota->used[SL_QUOTA_QUEUE] = (double)totals->waiting;
    quota->used[SL_QUOTA_TOKENS] = totals->tokens_per_second;
    unsigned crossed = 0, ended = 0;
    for (unsigned kind = 0; kind < SL_QUOTA_COUNT; kind++) {
        double limit = quota->limits.limit[kind], used = quota->used[kind];
        if (limit <= 0)
            continue;
        if (!quota->exceeded[kind] && used > limit)
            crossed |= 1u << kind;
        if (quota->exceeded[kind] && has_ended(kind, used, limit))
            ended |= 1u << kind;
        quota->exceeded[kind] = ((quota->exceeded[kind] ? ~ended : crossed) >> kind & 1u) != 0;
    }
    *ret_ended = ended;
    return crossed;
}

bool sl_quota_exceeded(const sl_quota *quota, sl_quota_kind *ret_kind, unsigned *ret_retry_after_s)
{
    SL_ASSERT(quota && ret_kind && ret_retry_after_s);
    unsigned longest = 0;
    for (unsigned kind = 0; kind < SL_QUOTA_COUNT; kind++) {
        if (!quota->exceeded[kind] || kinds[kind].retry_after_s <= longest)
            continue;
        longest = kinds[kind].retry_after_s;
        *ret_kind = (sl_quota_kind)kind;
    }
    if (longest)
        *ret_retry_after_s = longest;
    return longest > 0;
}
