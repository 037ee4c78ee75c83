/* For tests: an environment of "NAME=value" texts, and the configuration that it makes. */
#ifndef SL_TELEMETRY_TEST_ENV_FIXTURE_H
#define SL_TELEMETRY_TEST_ENV_FIXTURE_H

#include "src/telemetry/otel_config.h"
#include "src/telemetry/sdk_impl.h"
#include "tests/harness/sl_test.h"

/* An environment of "NAME=value" texts. */
typedef struct fake {
    const char *const *vars;
    unsigned errors, notes;
    char last[512];
} fake;

static inline const char *fake_get(void *user, const char *name)
{
    const fake *f = user;
    size_t len = strlen(name);
    for (size_t i = 0; f->vars && f->vars[i]; i++) {
        if (strncmp(f->vars[i], name, len) == 0 && f->vars[i][len] == '=')
            return f->vars[i] + len + 1;
    }
    return NULL;
}

static inline void fake_error(void *user, int error, const char *message)
{
    fake *f = user;
    if (error)
        f->errors++;
    else
        f->notes++;
    (void)sl_str_to_c(sl_str_c(message), f->last, sizeof f->last);
}

typedef struct loaded {
    fake f;
    sl_env env;
    sl_otel_config config;
    int error;
} loaded;

static inline void load(loaded *l, const char *const *vars, const sl_sdk_options *o, bool only_when_set)
{
    static const sl_sdk_options none;
    memset(l, 0, sizeof *l);
    l->f.vars = vars;
    l->env.get = fake_get;
    l->env.user = &l->f;
    l->env.reporter = sl_reporter_new(fake_error, &l->f, false);
    l->error = sl_otel_config_load(&l->env, o ? o : &none, only_when_set, &l->config);
}

static inline void unload(loaded *l)
{
    sl_otel_config_done(&l->config);
    sl_reporter_unref(l->env.reporter);
}

static inline bool kind_is(const sl_exporter_spec *spec, const char *name)
{
    return strcmp(spec->kind->name, name) == 0;
}

#define VARS(...) ((const char *const[]){__VA_ARGS__, NULL})

#endif
