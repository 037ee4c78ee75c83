/* Reading the environment. */
#include "src/telemetry/env.h"

#include <stdlib.h>

#include "src/base/assert.h"

static const sl_env_def defs[SL_VAR_COUNT] = {
#define SL_ENV(name, type, default_text, values, group, help) {#name, SL_ENV_##type, default_text, values, group, help},
#include "src/telemetry/env.def"
#undef SL_ENV
};

const sl_env_def *sl_env_defs(size_t *ret_count)
{
    SL_ASSERT(ret_count);
    *ret_count = SL_VAR_COUNT;
    return defs;
}

const char *sl_env_type_name(sl_env_type type)
{
    static const char *const names[] = {"boolean", "boolean", "number", "milliseconds", "seconds",
                                        "ratio",   "name",    "names",  "text",         "URL"};
    SL_ASSERT((size_t)type < sizeof names / sizeof names[0]);
    return names[type];
}

const char *sl_env_name(sl_env_var var)
{
    SL_ASSERT(var < SL_VAR_COUNT);
    return defs[var].name;
}

sl_str sl_env_text(const sl_env *env, sl_env_var var)
{
    SL_ASSERT(env && var < SL_VAR_COUNT);
    if (env->off)
        return sl_str_of(NULL, 0);
    const char *name = defs[var].name;
    return sl_str_trim(sl_str_c(env->get ? env->get(env->user, name) : getenv(name)));
}

bool sl_env_is_set(const sl_env *env, sl_env_var var)
{
    return sl_env_text(env, var).len > 0;
}

void sl_env_reject(const sl_env *env, sl_env_var var, const char *why)
{
    SL_ASSERT(env);
    sl_reporter_say(env->reporter, SL_ECONFIG, "%s: %s; the value is ignored", defs[var].name, why);
}

bool sl_env_bool(const sl_env *env, sl_env_var var, bool fallback)
{
    SL_ASSERT(defs[var].type == SL_ENV_BOOL || defs[var].type == SL_ENV_FLAG);
    static const char *const yes[] = {"true", "1", "yes", "on", "t", "y"};
    static const char *const no[] = {"false", "0", "no", "off", "f", "n"};
    sl_str text = sl_env_text(env, var);
    if (!text.len)
        return fallback;
    size_t accepted = defs[var].type == SL_ENV_FLAG ? sizeof yes / sizeof yes[0] : 1;
    for (size_t i = 0; i < accepted; i++) {
        if (sl_str_ieq(text, sl_str_c(yes[i])))
            return true;
        if (sl_str_ieq(text, sl_str_c(no[i])))
            return false;
    }
    sl_reporter_say(env->reporter, SL_ECONFIG, "%s: neither true nor false; read as false", defs[var].name);
    return false;
}

uint64_t sl_env_uint(const sl_env *env, sl_env_var var, uint64_t fallback, uint64_t max)
{
    SL_ASSERT(fallback <= max);
    sl_str text = sl_env_text(env, var);
    uint64_t value;
    if (!text.len)
        return fallback;
    if (sl_str_to_u64(text, &value) || value > max) {
        sl_env_reject(env, var, "not a number, or out of range");
        return fallback;
    }
    return value;
}

uint64_t sl_env_ms(const sl_env *env, sl_env_var var, uint64_t fallback)
{
    SL_ASSERT(defs[var].type == SL_ENV_MS || defs[var].type == SL_ENV_SECONDS);
    const double max = 1e12; /* thirty years of milliseconds */
    sl_str text = sl_env_text(env, var);
    if (!text.len)
        return fallback;
    if (defs[var].type == SL_ENV_MS)
        return sl_env_uint(env, var, fallback, (uint64_t)max > fallback ? (uint64_t)max : fallback);
    double seconds;
    if (sl_str_to_double(text, &seconds) || !(seconds >= 0) || seconds * 1000 > max) {
        sl_env_reject(env, var, "not a number of seconds");
        return fallback;
    }
    return (uint64_t)(seconds * 1000);
}

double sl_env_ratio(const sl_env *env, sl_env_var var, double fallback)
{
    sl_str text = sl_env_text(env, var);
    double value;
    if (!text.len)
        return fallback;
    if (sl_str_to_double(text, &value) || !(value >= 0 && value <= 1)) {
        sl_env_reject(env, var, "not a number from 0 to 1");
        return fallback;
    }
    return value;
}

int sl_env_value_index(sl_env_var var, sl_str name)
{
    sl_str rest = sl_str_c(defs[var].values);
    sl_str part;
    for (int i = 0; sl_str_split(&rest, ' ', &part); i++) {
        if (part.len && sl_str_ieq(part, name))
            return i;
    }
    return -1;
}

int sl_env_enum(const sl_env *env, sl_env_var var)
{
    SL_ASSERT(defs[var].type == SL_ENV_ENUM);
    sl_str text = sl_env_text(env, var);
    if (!text.len)
        return -1;
    int index = sl_env_value_index(var, text);
    if (index < 0)
        sl_reporter_say(env->reporter, SL_ECONFIG, "%s: \"%.*s\" is none of: %s; the value is ignored", defs[var].name,
                        (int)(text.len < 64 ? text.len : 64), text.ptr, defs[var].values);
    return index;
}

int sl_percent_decode(sl_str s, char *text, size_t *ret_len)
{
    SL_ASSERT(ret_len && (s.ptr || !s.len));
    size_t len = 0;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] != '%') {
            text[len++] = s.ptr[i];
            continue;
        }
        int high = i + 2 < s.len ? sl_hex_value(s.ptr[i + 1]) : -1;
        int low = i + 2 < s.len ? sl_hex_value(s.ptr[i + 2]) : -1;
        if (high < 0 || low < 0)
            return SL_EPARSE;
        text[len++] = (char)(high << 4 | low);
        i += 2;
    }
    *ret_len = len;
    return 0;
}
