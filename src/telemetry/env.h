/*
 * The environment: one table of every variable (env.def) and readers that follow the OpenTelemetry rules.
 *
 * Empty is unset. A value that cannot be read is reported and ignored; nothing fails. BOOL is true for "true" alone
 * (any case); FLAG also takes 1, yes, on, t and y, as the systems do where it comes from. MS is milliseconds.
 */
#ifndef SL_TELEMETRY_ENV_H
#define SL_TELEMETRY_ENV_H

#include "src/base/str.h"
#include "src/telemetry/sink_report.h"

typedef enum sl_env_type {
    SL_ENV_BOOL,
    SL_ENV_FLAG,
    SL_ENV_UINT,
    SL_ENV_MS,
    SL_ENV_SECONDS,
    SL_ENV_RATIO,
    SL_ENV_ENUM,
    SL_ENV_LIST,
    SL_ENV_STRING,
    SL_ENV_URL
} sl_env_type;

/* SL_VAR_OTEL_SDK_DISABLED and so on. */
typedef enum sl_env_var {
#define SL_ENV(name, type, default_text, values, group, help) SL_VAR_##name,
#include "src/telemetry/env.def"
#undef SL_ENV
    SL_VAR_COUNT
} sl_env_var;

/* One row of the table, for the reference. */
typedef struct sl_env_def {
    const char *name;
    sl_env_type type;
    const char *default_text;
    const char *values; /* of an ENUM or LIST, separated by spaces */
    const char *group;
    const char *help;
} sl_env_def;

/* The whole table, in order. Static. */
const sl_env_def *sl_env_defs(size_t *ret_count);
/* "boolean", "milliseconds" … for the reference. */
const char *sl_env_type_name(sl_env_type type);

/* Its name. Static. */
const char *sl_env_name(sl_env_var var);

/* Where variables come from. All zero: getenv() of this process, nothing reported. */
typedef struct sl_env {
    const char *(*get)(void *user, const char *name); /* NULL: getenv */
    void *user;
    bool off; /* nothing is set */
    sl_reporter *reporter;
} sl_env;

/* The text of a variable; empty when unset or empty. Valid until the environment changes. */
sl_str sl_env_text(const sl_env *env, sl_env_var var);
bool sl_env_is_set(const sl_env *env, sl_env_var var);
/* Each gives `fallback` when the variable is unset or cannot be read. */
bool sl_env_bool(const sl_env *env, sl_env_var var, bool fallback);
uint64_t sl_env_uint(const sl_env *env, sl_env_var var, uint64_t fallback, uint64_t max);
/* Milliseconds, of MS and SECONDS variables. */
uint64_t sl_env_ms(const sl_env *env, sl_env_var var, uint64_t fallback);
double sl_env_ratio(const sl_env *env, sl_env_var var, double fallback);
/* Index of the value in the row's list of names; -1 when unset or unknown (which is reported). */
int sl_env_enum(const sl_env *env, sl_env_var var);
/* Index of one name of a LIST or ENUM; -1 when unknown. */
int sl_env_value_index(sl_env_var var, sl_str name);
/* Reports that a value is not used. */
void sl_env_reject(const sl_env *env, sl_env_var var, const char *why);

/* Decodes %XX in place-sized output (`text` of at least s.len bytes). SL_EPARSE on a bad escape. */
SL_MUST_CHECK int sl_percent_decode(sl_str s, char *text, size_t *ret_len);

#endif
