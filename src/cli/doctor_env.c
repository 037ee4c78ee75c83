/* The checks of doctor_env.h. */
#include "src/cli/doctor_env.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/cli/commands.h"
#include "src/cli/docs_tables.h"
#include "src/cli/doctor_net.h"
#include "src/telemetry/otel_config.h"
#include "src/wire/url.h"

#define TMPFS_MAGIC_NUMBER 0x01021994
#define FEW_DESCRIPTORS 4096

/* ---- what the SDK itself says about the variables ---- */

static void on_message(void *user, int error, const char *message)
{
    sl_doctor *doctor = user;
    if (error)
        sl_doctor_say(doctor, SL_DOCTOR_WARN, "environment", "correct it or unset it", "%s", message);
    else
        sl_doctor_say(doctor, SL_DOCTOR_OK, "endpoint", NULL, "%s; OTEL_EXPORTER_OTLP_PROTOCOL says it outright",
                      message);
}

/* Loads the configuration as the program does; messages become rows when `doctor` is given. */
static int load(sl_doctor *doctor, const sl_env *env, sl_otel_config *config)
{
    SL_ASSERT(env);
    static const sl_sdk_options options;
    sl_reporter *reporter = doctor ? sl_reporter_new(on_message, doctor, false) : NULL;
    sl_env reading = *env;
    reading.reporter = reporter;
    int error = sl_otel_config_load(&reading, &options, true, config);
    sl_reporter_unref(reporter);
    return error;
}

/* True when a row tells of the variable already. */
static bool is_told(const sl_doctor *doctor, const char *name)
{
    SL_ASSERT(doctor && name);
    for (size_t i = 0; i < doctor->count; i++) {
        size_t at = sl_str_find(doctor->rows[i].seen, sl_str_c(name));
        if (doctor->rows[i].level != SL_DOCTOR_OK && at != SL_NPOS &&
            (at == 0 || doctor->rows[i].seen.ptr[at - 1] == ' '))
            return true;
    }
    return false;
}

/* Every name of a list, each that is unknown. */
static void read_list(const sl_env *env, sl_env_var var)
{
    sl_str rest = sl_env_text(env, var), name;
    while (rest.len && sl_str_split(&rest, ',', &name)) {
        name = sl_str_trim(name);
        if (name.len && sl_env_value_index(var, name) < 0)
            sl_reporter_say(env->reporter, SL_ECONFIG, "%s: \"%.*s\" is not known", sl_env_name(var),
                            (int)(name.len < 64 ? name.len : 64), name.ptr);
    }
}

/* Variables that this start does not read, or nobody warns of: reads each as what it is. */
static void check_values(sl_doctor *doctor, const sl_env *env)
{
    SL_ASSERT(doctor && env);
    size_t count;
    const sl_env_def *defs = sl_env_defs(&count);
    sl_env reading = *env;
    reading.reporter = sl_reporter_new(on_message, doctor, false);
    for (size_t i = 0; i < count; i++) {
        sl_env_var var = (sl_env_var)i;
        if (!sl_env_is_set(env, var) || is_told(doctor, defs[i].name) ||
            sl_str_starts(sl_env_text(env, var), SL_STR("tcp://"))) /* of Kubernetes, for a Service of such a name */
            continue;
        if (defs[i].type == SL_ENV_BOOL || defs[i].type == SL_ENV_FLAG)
            (void)sl_env_bool(&reading, var, false);
        else if (defs[i].type == SL_ENV_UINT)
            (void)sl_env_uint(&reading, var, 0, UINT64_MAX);
        else if (defs[i].type == SL_ENV_MS || defs[i].type == SL_ENV_SECONDS)
            (void)sl_env_ms(&reading, var, 0);
        else if (defs[i].type == SL_ENV_RATIO)
            (void)sl_env_ratio(&reading, var, 0);
        else if (defs[i].type == SL_ENV_ENUM && var != SL_VAR_LOG_LEVEL) /* which has a row of its own */
            (void)sl_env_enum(&reading, var);
        else if (defs[i].type == SL_ENV_LIST)
            read_list(&reading, var);
    }
    sl_reporter_unref(reading.reporter);
}

/* ---- sampling ---- */

static bool samples_nothing(const sl_sampler_options *sampler)
{
    SL_ASSERT(sampler);
    bool ratio = sampler->kind == SL_SAMPLER_TRACEIDRATIO || sampler->kind == SL_SAMPLER_PARENTBASED_TRACEIDRATIO;
    return sampler->kind == SL_SAMPLER_ALWAYS_OFF || sampler->kind == SL_SAMPLER_PARENTBASED_ALWAYS_OFF ||
           (ratio && sampler->ratio <= 0);
}

static void check_sampler(sl_doctor *doctor, const sl_otel_config *config, bool exports)
{
    SL_ASSERT(config);
    const sl_sampler_options *s = &config->sampler;
    bool ratio = s->kind == SL_SAMPLER_TRACEIDRATIO || s->kind == SL_SAMPLER_PARENTBASED_TRACEIDRATIO;
    static const char remedy[] = "set OTEL_TRACES_SAMPLER=parentbased_traceidratio and OTEL_TRACES_SAMPLER_ARG (or "
                                 "LLMROUTER_OTEL_SAMPLE_RATE) above 0";
    if (samples_nothing(s))
        sl_doctor_say(doctor, exports ? SL_DOCTOR_FAIL : SL_DOCTOR_WARN, "sampler", remedy,
                      "the sampler keeps no trace (%s)", ratio ? "ratio 0" : "always_off");
    else if (ratio && s->ratio < 0.01)
        sl_doctor_say(doctor, SL_DOCTOR_WARN, "sampler", "raise the ratio if traces seem to be missing",
                      "keeps 1 trace in %.0f", 1 / s->ratio);
    else if (ratio)
        sl_doctor_say(doctor, SL_DOCTOR_OK, "sampler", NULL, "keeps %g %% of traces", s->ratio * 100);
    else
        sl_doctor_say(
            doctor, SL_DOCTOR_OK, "sampler", NULL,
            "keeps every trace; for less volume LLMROUTER_OTEL_SAMPLE_RATE=0.1, which respects the caller's decision");
}

/* ---- exporters ---- */

static bool has_exporter(const sl_otel_config *config, sl_signal signal)
{
    for (size_t i = 0; i < config->spec_count; i++) {
        if (config->specs[i].signal == signal)
            return true;
    }
    return false;
}

static void check_exporters(sl_doctor *doctor, const sl_env *env, const sl_otel_config *config)
{
    SL_ASSERT(config);
    bool endpoint = sl_env_is_set(env, SL_VAR_OTEL_EXPORTER_OTLP_ENDPOINT) ||
                    sl_env_is_set(env, SL_VAR_OTEL_EXPORTER_OTLP_TRACES_ENDPOINT);
    if (config->disabled)
        sl_doctor_say(doctor, SL_DOCTOR_WARN, "telemetry", "unset OTEL_SDK_DISABLED",
                      "OTEL_SDK_DISABLED=true switches everything off");
    else if (has_exporter(config, SL_SIGNAL_TRACES))
        sl_doctor_say(doctor, SL_DOCTOR_OK, "traces exporter", NULL, "traces are exported");
    else if (sl_env_is_set(env, SL_VAR_OTEL_TRACES_EXPORTER))
        sl_doctor_say(doctor, SL_DOCTOR_WARN, "traces exporter", "set OTEL_TRACES_EXPORTER=otlp",
                      "OTEL_TRACES_EXPORTER=%.*s: traces are not exported%s",
                      (int)sl_env_text(env, SL_VAR_OTEL_TRACES_EXPORTER).len,
                      sl_env_text(env, SL_VAR_OTEL_TRACES_EXPORTER).ptr,
                      endpoint ? ", although an endpoint is set" : "");
    else
        sl_doctor_say(doctor, SL_DOCTOR_WARN, "traces exporter",
                      "set OTEL_EXPORTER_OTLP_ENDPOINT, such as http://localhost:4317, to send them on",
                      "no endpoint is set: traces stay in the live view (`sightline traces`)");
    bool llama = sl_env_is_set(env, SL_VAR_LLAMA_DEPLOY_APISERVER_TRACING_EXPORTER) ||
                 sl_env_is_set(env, SL_VAR_LLAMA_DEPLOY_APISERVER_TRACING_ENDPOINT) ||
                 sl_env_is_set(env, SL_VAR_LLAMA_DEPLOY_APISERVER_TRACING_ENABLED);
    if (llama && !sl_env_bool(env, SL_VAR_LLAMA_DEPLOY_APISERVER_TRACING_ENABLED, false))
        sl_doctor_say(doctor, SL_DOCTOR_WARN, "tracing", "set LLAMA_DEPLOY_APISERVER_TRACING_ENABLED=true",
                      "LLAMA_DEPLOY_APISERVER_TRACING_* is set, but tracing is not enabled");
}

static void check_logs(sl_doctor *doctor, const sl_env *env)
{
    SL_ASSERT(env);
    sl_str level = sl_env_text(env, SL_VAR_LOG_LEVEL);
    sl_env quiet = *env;
    quiet.reporter = NULL;
    if (sl_env_is_set(env, SL_VAR_LOG_LEVEL) && sl_env_enum(&quiet, SL_VAR_LOG_LEVEL) < 0)
        sl_doctor_say(doctor, SL_DOCTOR_FAIL, "log level", "give TRACE, DEBUG, INFO, WARN, ERROR or CRITICAL",
                      "LOG_LEVEL=%.*s is no level", (int)(level.len < 32 ? level.len : 32), level.ptr);
    else
        sl_doctor_say(doctor, SL_DOCTOR_OK, "log level", NULL, "%.*s", level.len ? (int)level.len : 4,
                      level.len ? level.ptr : "INFO");
    if (sl_env_bool(&quiet, SL_VAR_LOG_QUERIES, false))
        sl_doctor_say(doctor, SL_DOCTOR_WARN, "privacy", "unset LOG_QUERIES unless that is wanted",
                      "LOG_QUERIES is on: prompt text may appear in logs and spans");
}

void sl_doctor_environment(sl_doctor *doctor, const sl_env *env)
{
    SL_ASSERT(doctor && env);
    sl_otel_config config;
    size_t before = doctor->count;
    int error = load(doctor, env, &config);
    if (error)
        sl_doctor_say(doctor, SL_DOCTOR_FAIL, "environment", "correct the variable", "%s",
                      config.why[0] ? config.why : sl_strerror(error));
    else
        check_values(doctor, env);
    if (!error && doctor->count == before)
        sl_doctor_say(doctor, SL_DOCTOR_OK, "environment", NULL, "every variable that is set can be read");
    check_exporters(doctor, env, &config);
    check_sampler(doctor, &config, has_exporter(&config, SL_SIGNAL_TRACES));
    check_logs(doctor, env);
    static const sl_env_var headers = SL_VAR_OTEL_EXPORTER_OTLP_HEADERS;
    if (sl_env_is_set(env, headers))
        sl_doctor_say(doctor, SL_DOCTOR_OK, "exporter headers", NULL, "OTEL_EXPORTER_OTLP_HEADERS is set (not shown)");
    sl_otel_config_done(&config);
}

/* ---- names that nobody reads ---- */

static bool is_own_name(sl_str name)
{
    static const char *const prefixes[] = {"SIGHTLINE_", "OTEL_", "LLAMA_DEPLOY_APISERVER_", "LLMROUTER_OTEL_",
                                           "ROUTEIQ_OTEL_"};
    for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++) {
        if (sl_str_starts(name, sl_str_c(prefixes[i])))
            return true;
    }
    return false;
}

static bool is_read(sl_str name)
{
    size_t count;
    const sl_env_def *defs = sl_env_defs(&count);
    for (size_t i = 0; i < count; i++) {
        if (sl_str_eq_c(name, defs[i].name))
            return true;
    }
    const sl_env_doc *docs = sl_env_docs(&count);
    for (size_t i = 0; i < count; i++) {
        if (sl_str_eq_c(name, docs[i].name))
            return true;
    }
    for (const sl_command *const *command = sl_commands; *command; command++) {
        for (const sl_option *const *table = (*command)->tables; *table; table++) {
            for (const sl_option *o = *table; o->name; o++) {
                if (o->env && sl_str_eq_c(name, o->env))
                    return true;
            }
        }
    }
    return false;
}

void sl_doctor_unknown_names(sl_doctor *doctor, char *const *environment)
{
    for (; environment && *environment; environment++) {
        sl_str entry = sl_str_c(*environment);
        sl_str name = sl_str_sub(entry, 0, sl_str_chr(entry, '='));
        bool empty = name.len + 1 >= entry.len; /* as good as not set */
        if (!empty && is_own_name(name) && !is_read(name))
            sl_doctor_say(doctor, SL_DOCTOR_WARN, "environment",
                          "`sightline docs --section environment` lists the known ones",
                          "%.*s is set, but nothing reads it", (int)name.len, name.ptr);
    }
}

/* ---- the machine ---- */

void sl_doctor_descriptors(sl_doctor *doctor)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        return;
    unsigned long long most = limit.rlim_max == RLIM_INFINITY ? 1u << 20 : (unsigned long long)limit.rlim_max;
    if (most < FEW_DESCRIPTORS)
        sl_doctor_say(doctor, SL_DOCTOR_WARN, "descriptors", "raise `ulimit -Hn`, or LimitNOFILE= of the service",
                      "%llu descriptors bound the gateway to about %llu requests at a time", most, most / 2);
    else
        sl_doctor_say(doctor, SL_DOCTOR_OK, "descriptors", NULL, "%llu", most);
}

void sl_doctor_multiproc(sl_doctor *doctor, const sl_env *env)
{
    char path[4096];
    struct stat info;
    struct statfs fs;
    if (!sl_env_is_set(env, SL_VAR_PROMETHEUS_MULTIPROC_DIR))
        return;
    if (!sl_str_to_c(sl_env_text(env, SL_VAR_PROMETHEUS_MULTIPROC_DIR), path, sizeof path))
        return;
    static const char name[] = "multiprocess folder";
    if (stat(path, &info) != 0)
        sl_doctor_say(doctor, SL_DOCTOR_FAIL, name, "make the folder, best on a tmpfs",
                      "PROMETHEUS_MULTIPROC_DIR=%s: %s", path, strerror(errno));
    else if (!S_ISDIR(info.st_mode))
        sl_doctor_say(doctor, SL_DOCTOR_FAIL, name, "name a folder", "PROMETHEUS_MULTIPROC_DIR=%s: is no folder", path);
    else if (access(path, R_OK | W_OK | X_OK) != 0)
        sl_doctor_say(doctor, SL_DOCTOR_FAIL, name, "let this user write there", "PROMETHEUS_MULTIPROC_DIR=%s: %s",
                      path, strerror(errno));
    else if (statfs(path, &fs) == 0 && (unsigned long)fs.f_type != TMPFS_MAGIC_NUMBER)
        sl_doctor_say(doctor, SL_DOCTOR_WARN, name, "put it on a tmpfs", "%s lies on a disk, which is slower", path);
    else
        sl_doctor_say(doctor, SL_DOCTOR_OK, name, NULL, "%s can be written", path);
}

/* ---- endpoints ---- */

/* How it speaks, and what to do when nobody is there. */
static const char *way_of(const sl_exporter_spec *spec)
{
    static const char *const protocols[] = {"gRPC", "HTTP, protobuf", "HTTP, JSON"};
    if (strcmp(spec->kind->name, "jaeger") == 0)
        return "Jaeger, Thrift";
    return strcmp(spec->kind->name, "zipkin") == 0 ? "Zipkin, JSON" : protocols[spec->protocol];
}

static const char *remedy_of(const sl_env *env, const sl_exporter_spec *spec)
{
    bool llama = spec->signal == SL_SIGNAL_TRACES && !sl_env_is_set(env, SL_VAR_OTEL_TRACES_EXPORTER) &&
                 sl_env_bool(env, SL_VAR_LLAMA_DEPLOY_APISERVER_TRACING_ENABLED, false);
    if (llama)
        return "start the collector there, or correct LLAMA_DEPLOY_APISERVER_TRACING_ENDPOINT";
    if (strcmp(spec->kind->name, "jaeger") == 0)
        return "start Jaeger's collector there, or correct OTEL_EXPORTER_JAEGER_ENDPOINT";
    if (strcmp(spec->kind->name, "zipkin") == 0)
        return "start Zipkin there, or correct OTEL_EXPORTER_ZIPKIN_ENDPOINT";
    return "start the collector there, or correct OTEL_EXPORTER_OTLP_ENDPOINT";
}

static void check_endpoint(sl_doctor *doctor, const sl_env *env, const sl_exporter_spec *spec, uint64_t timeout_ms)
{
    SL_ASSERT(spec);
    sl_url url;
    const char *why = "";
    char reason[SL_DOCTOR_REASON_MAX];
    int len = (int)spec->peer.url.len;
    if (sl_url_parse(spec->peer.url, &url, &why) != 0)
        sl_doctor_say(doctor, SL_DOCTOR_FAIL, "endpoint", "write http://HOST:PORT", "%.*s: %s", len, spec->peer.url.ptr,
                      why);
    else if (sl_doctor_connect(url.host, url.port, timeout_ms, reason) != 0)
        sl_doctor_say(doctor, SL_DOCTOR_FAIL, "endpoint", remedy_of(env, spec), "%.*s (%s): %s", len,
                      spec->peer.url.ptr, way_of(spec), reason);
    else
        sl_doctor_say(doctor, SL_DOCTOR_OK, "endpoint", NULL, "%.*s (%s) accepts connections", len, spec->peer.url.ptr,
                      way_of(spec));
}

void sl_doctor_endpoints(sl_doctor *doctor, const sl_env *env, uint64_t timeout_ms)
{
    sl_otel_config config;
    if (load(NULL, env, &config) != 0)
        config.spec_count = 0;
    for (size_t i = 0; i < config.spec_count; i++) {
        bool seen = config.specs[i].peer.url.len == 0; /* it connects to nobody */
        for (size_t j = 0; j < i && !seen; j++)
            seen = sl_str_eq(config.specs[j].peer.url, config.specs[i].peer.url);
        if (!seen)
            check_endpoint(doctor, env, &config.specs[i], timeout_ms);
    }
    sl_otel_config_done(&config);
}
