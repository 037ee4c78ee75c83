/*
 * The SDK object: life cycle and wiring. Everything that recording needs is made first; export is added unless another
 * process does it. Freed in reverse order; sdk_free accepts a half-built object.
 */
#include <sightline/sdk.h>
#include <stdarg.h>
#include <stdio.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/base/sync.h"
#include "src/telemetry/collect.h"
#include "src/telemetry/fork_guard.h"
#include "src/telemetry/instrument.h"
#include "src/telemetry/limits_defaults.h"
#include "src/telemetry/log_sink.h"
#include "src/telemetry/logger.h"
#include "src/telemetry/otel_config.h"
#include "src/telemetry/pipeline.h"
#include "src/telemetry/prometheus_listener.h"
#include "src/telemetry/registry.h"
#include "src/telemetry/resource.h"
#include "src/telemetry/sampler.h"
#include "src/telemetry/scope.h"
#include "src/telemetry/self_metrics.h"
#include "src/telemetry/span_thread.h"
#include "src/telemetry/tracer.h"
#include "src/wire/otlp_read.h"

#define FREE_SHUTDOWN_MS 5000u
#define REPORT_CLOSE_MS 200u
#define MAX_EXPORTERS 32u

/* The SDK with what only this file uses. */
typedef struct sdk_object {
    sl_sdk sdk; /* first */
    pid_t pid;
    sl_fork_guard guard;
    bool guarded;
    sl_reporter *reporter;
    sl_self_metrics *self_metrics;
    sl_prometheus_listener *prometheus; /* NULL: metrics are not pulled from here */
    sl_buf resource;
    sl_buf scope_resources[SL_MAX_SCOPE_RESOURCES]; /* empty: the resource */
    _Atomic bool shut_down;
} sdk_object;

static _Atomic(sl_sdk *) default_sdk;

static sdk_object *object_of(sl_sdk *sdk)
{
    return (sdk_object *)(void *)sdk;
}

static bool is_forked(sl_sdk *sdk)
{
    return object_of(sdk)->pid != getpid();
}

void sl_sdk_report(sl_sdk *sdk, int error, const char *format, ...)
{
    if (!sdk || is_forked(sdk))
        return;
    va_list args;
    va_start(args, format);
    sl_reporter_vsay(object_of(sdk)->reporter, error, format, args);
    va_end(args);
}

/* ---- forks ---- */

static void hold_locks(void *user)
{
    sl_sdk *sdk = user;
    pthread_mutex_lock(&sdk->lock);
    pthread_mutex_lock(&sdk->registry->lock);
}

/* The child may look up tracers and declare instruments; what else has a lock asks `forked` first. */
static void release_locks(void *user, bool in_child)
{
    sl_sdk *sdk = user;
    if (in_child)
        sdk->registry->forked = true;
    pthread_mutex_unlock(&sdk->registry->lock);
    pthread_mutex_unlock(&sdk->lock);
}

static int guard_locks(sdk_object *object)
{
    SL_ASSERT(object && object->sdk.registry);
    object->guard = (sl_fork_guard){.hold = hold_locks, .release = release_locks, .user = &object->sdk};
    int error = sl_fork_guard_add(&object->guard);
    object->guarded = !error;
    return error;
}

/* ---- exporters ---- */

typedef struct exporter_list {
    sl_exporter items[MAX_EXPORTERS];
    size_t count;
} exporter_list;

static void free_exporter(const sl_exporter *exporter)
{
    SL_ASSERT(exporter);
    if (exporter->free)
        exporter->free(exporter->user);
}

static void free_exporters(const sl_exporter *items, size_t count)
{
    SL_ASSERT(items || !count);
    for (size_t i = 0; i < count; i++)
        free_exporter(&items[i]);
}

/* The user's exporters, taken over. */
static int take_exporters(const sl_sdk_options *o, exporter_list *list)
{
    SL_ASSERT(o);
    if (o->exporter_count > MAX_EXPORTERS - SL_MAX_EXPORTER_SPECS - 1) {
        free_exporters(o->exporters, o->exporter_count);
        return SL_EINVAL;
    }
    for (size_t i = 0; i < o->exporter_count; i++)
        list->items[list->count++] = o->exporters[i];
    return 0;
}

/* Those of the configuration, and the log lines. */
static int make_exporters(sdk_object *object, const sl_sdk_options *o, sl_otel_config *config, exporter_list *list)
{
    for (size_t i = 0; i < config->spec_count; i++) {
        config->specs[i].reporter = object->reporter;
        int error = sl_exporter_make(&config->specs[i], &list->items[list->count], config->why, sizeof config->why);
        if (error)
            return error;
        list->count++;
    }
    if (!o->log_to_stderr)
        return 0;
    int error = sl_log_sink_new(STDERR_FILENO, config->log_format, &list->items[list->count]);
    if (!error)
        list->count++;
    return error;
}

/* ---- construction ---- */

static void no_self_metrics(sdk_object *object)
{
    SL_ASSERT(object);
    sl_self_metrics_free(object->self_metrics);
    object->self_metrics = NULL;
}

static void sdk_free(sdk_object *object)
{
    SL_ASSERT(object);
    sl_sdk *sdk = &object->sdk;
    if (object->guarded)
        sl_fork_guard_remove(&object->guard);
    sl_prometheus_listener_free(object->prometheus);
    no_self_metrics(object);
    sl_pipeline_free(sdk->pipeline);
    sl_collector_free(sdk->collector);
    sl_tracers_free(sdk);
    sl_span_thread_trim();
    sl_loggers_free(sdk);
    sl_registry_free(sdk->registry);
    sl_health_free(sdk->health);
    sl_scopes_free(sdk->scopes);
    sl_sampler_free(sdk->sampler);
    if (sdk->owns_segment)
        sl_segment_free(sdk->segment);
    sl_reporter_close(object->reporter, REPORT_CLOSE_MS);
    sl_reporter_unref(object->reporter);
    sl_buf_done(&object->resource);
    for (size_t i = 0; i < SL_MAX_SCOPE_RESOURCES; i++)
        sl_buf_done(&object->scope_resources[i]);
    sl_limits_done(&sdk->span_limits);
    sl_limits_done(&sdk->log_limits);
    pthread_mutex_destroy(&sdk->lock);
    sl_free(object);
}

/* What does not depend on the segment. */
static int init_plain(sl_sdk *sdk, const sl_sdk_options *o, const sl_otel_config *config)
{
    SL_ASSERT(sdk && o && config);
    sdk->keep_errors = o->keep_errors || config->keep_errors;
    sdk->propagators = config->propagators;
    sdk->log_level = config->log_level;
    sdk->debug_sample_ratio = o->debug_sample_ratio;
    sdk->on_error = o->on_error;
    sdk->on_error_user = o->on_error_user;
    sdk->sampler = sl_sampler_new(&config->sampler);
    sdk->health = sl_health_new();
    if (!sdk->sampler || !sdk->health)
        return SL_ENOMEM;
    int error = sl_limits_copy(&sdk->span_limits, &config->span_limits);
    return error ? error : sl_limits_copy(&sdk->log_limits, &config->log_limits);
}

/* Segment, scopes, instruments. */
static int init_recording(sl_sdk *sdk, const sl_sdk_options *o, const sl_otel_config *config,
                          const sl_sdk_internal_options *internal)
{
    SL_ASSERT(sdk && config && internal);
    int error = 0;
    sdk->segment = internal->segment;
    sdk->owns_segment = !internal->segment;
    if (sdk->owns_segment) {
        sl_segment_options segment;
        memset(&segment, 0, sizeof segment);
        segment.wake_fd = -1;
        segment.span_ring_bytes = sl_segment_ring_room(SL_RING_SPANS, config->batch[SL_SIGNAL_TRACES].max_queue_items);
        segment.log_ring_bytes = sl_segment_ring_room(SL_RING_LOGS, config->batch[SL_SIGNAL_LOGS].max_queue_items);
        segment.size_bytes = sl_segment_size_for(&segment);
        error = sl_segment_new(&segment, &sdk->segment);
        if (error) { /* little address space: what fits there */
            segment = (sl_segment_options){.wake_fd = -1};
            error = sl_segment_new(&segment, &sdk->segment);
        }
    }
    if (error)
        return error;
    sdk->scopes = sl_scopes_new(sdk->segment);
    if (!sdk->scopes)
        return SL_ENOMEM;
    sdk->registry = sl_registry_new(sdk, sdk->segment, o->max_series);
    if (!sdk->registry)
        return SL_ENOMEM;
    sdk->registry->exemplars = config->exemplars;
    for (size_t i = 0; i < o->view_count && !error; i++)
        error = sl_view_add(sdk, &o->views[i]);
    return error;
}

/* The first scope that is of the same service. */
static size_t first_of_service(const sl_sdk_internal_options *internal, size_t scope)
{
    SL_ASSERT(scope < internal->scope_service_count);
    size_t i = 0;
    while (strcmp(internal->scope_services[i].service, internal->scope_services[scope].service) != 0)
        i++;
    return i;
}

/* The pipeline with its exporters, which it takes over in any case. */
static int init_pipeline(sdk_object *object, const sl_otel_config *config, const exporter_list *list,
                         const sl_sdk_internal_options *internal)
{
    SL_ASSERT(object && config && list && internal);
    sl_sdk *sdk = &object->sdk;
    sl_pipeline_options p;
    memset(&p, 0, sizeof p);
    p.resource = sdk->resource;
    for (size_t i = 0; i < internal->scope_service_count; i++) {
        sl_str other = sl_buf_str(&object->scope_resources[first_of_service(internal, i)]);
        if (other.len)
            p.scope_resources[p.scope_resource_count++] =
                (sl_scope_resource){sl_str_c(internal->scope_services[i].scope), other};
    }
    memcpy(p.batch, config->batch, sizeof p.batch);
    p.metric_interval_ms = config->metric_interval_ms;
    p.exporters = list->items;
    p.exporter_count = list->count;
    p.collector = sdk->collector;
    p.delta_temporality = config->delta;
    p.reporter = object->reporter;
    p.retry_initial_ms = internal->retry_initial_ms;
    p.wake_fd = internal->wake_fd;
    int error = sl_pipeline_new(&p, &sdk->pipeline);
    if (error)
        return error;
    error = sl_pipeline_add_segment(sdk->pipeline, sdk->segment);
    if (!error && sdk->owns_segment)
        sl_segment_adopt(sdk->segment, sl_pipeline_wake_fd(sdk->pipeline));
    return error;
}

/* Collector and pipeline. Takes over the user's exporters. */
static int init_export(sdk_object *object, const sl_sdk_options *o, const sl_sdk_internal_options *internal,
                       sl_otel_config *config, exporter_list *list)
{
    SL_ASSERT(object);
    sl_sdk *sdk = &object->sdk;
    sdk->collector = sl_collector_new(sdk->registry);
    int error = sdk->collector ? sl_collector_add_segment(sdk->collector, sdk->segment) : SL_ENOMEM;
    if (!error)
        error = sl_collector_set_resource(sdk->collector, sdk->resource);
    if (!error && !config->disabled)
        error = make_exporters(object, o, config, list);
    if (error || config->disabled) {
        free_exporters(list->items, list->count);
        return error;
    }
    return init_pipeline(object, config, list, internal);
}

/* The listener of OTEL_METRICS_EXPORTER=prometheus. */
static int init_prometheus(sdk_object *object, sl_otel_config *config)
{
    SL_ASSERT(config && object);
    sl_addr addr;
    char reason[SL_ADDR_REASON_MAX];
    memset(&addr, 0, sizeof addr);
    addr.port = config->prometheus_port;
    (void)sl_str_to_c(sl_str_c(config->prometheus_host), addr.host, sizeof addr.host);
    int error = sl_prometheus_listener_new(&object->sdk, &addr, &object->prometheus, reason);
    if (error)
        (void)snprintf(config->why, sizeof config->why, "OTEL_METRICS_EXPORTER=prometheus: %.200s", reason);
    return error;
}

/* Whether the default name of the service is in force. */
static bool is_unnamed(const sdk_object *object, const sl_env *env, const sl_sdk_internal_options *internal)
{
    SL_ASSERT(object && internal);
    sl_otlp_any any;
    return internal->default_service_name && !sl_env_is_set(env, SL_VAR_OTEL_SERVICE_NAME) &&
           sl_otlp_find_attr(sl_buf_str(&object->resource), SL_OTLP_RESOURCE_ATTRS, SL_STR("service.name"), &any) ==
               0 &&
           any.type == SL_VALUE_STRING && sl_str_eq_c(any.str, internal->default_service_name);
}

/* The same resource under other names, once for each. */
static int name_parts(sdk_object *object, const sl_env *env, const sl_resource_options *resource,
                      const sl_sdk_internal_options *internal)
{
    SL_ASSERT(internal->scope_service_count <= SL_MAX_SCOPE_RESOURCES);
    int error = 0;
    for (size_t i = 0; i < internal->scope_service_count && !error; i++) {
        sl_resource_options other = *resource;
        other.default_service_name = internal->scope_services[i].service;
        if (first_of_service(internal, i) == i &&
            strcmp(other.default_service_name, internal->default_service_name) != 0)
            error = sl_resource_encode(env, &other, &object->scope_resources[i]);
    }
    return error;
}

static int load_config(sdk_object *object, const sl_sdk_options *o, const sl_sdk_internal_options *internal,
                       sl_otel_config *config)
{
    SL_ASSERT(o && object && internal);
    sl_env env = {internal->env_get, internal->env_user, o->ignore_environment, object->reporter};
    sl_resource_options resource = {o->service_name, internal->default_service_name, o->resource_attrs,
                                    o->resource_attr_count};
    int error = sl_otel_config_load(&env, o, internal->export_only_when_set || internal->record_only, config);
    if (!error)
        error = sl_resource_encode(&env, &resource, &object->resource);
    if (!error && internal->scope_service_count && is_unnamed(object, &env, internal))
        error = name_parts(object, &env, &resource, internal);
    object->sdk.resource = sl_buf_str(&object->resource);
    return error;
}

/* Builds everything; `list` holds the user's exporters, which have found their owner when it returns. */
static int build(sdk_object *object, const sl_sdk_options *o, const sl_sdk_internal_options *internal,
                 sl_otel_config *config, exporter_list *list)
{
    int error = load_config(object, o, internal, config);
    if (!error)
        error = init_plain(&object->sdk, o, config);
    if (!error)
        error = init_recording(&object->sdk, o, config, internal);
    if (!error)
        error = guard_locks(object);
    if (error || internal->record_only) {
        free_exporters(list->items, list->count);
        return error;
    }
    return init_export(object, o, internal, config, list);
}

static sdk_object *object_new(const sl_sdk_options *o)
{
    SL_ASSERT(o);
    sl_env env = {NULL, NULL, o->ignore_environment, NULL};
    sdk_object *object = sl_calloc(1, sizeof *object);
    if (!object)
        return NULL;
    object->reporter = sl_reporter_new(o->on_error, o->on_error_user, sl_env_enum(&env, SL_VAR_OTEL_LOG_LEVEL) > 0);
    if (!object->reporter) {
        sl_free(object);
        return NULL;
    }
    object->pid = getpid();
    pthread_mutex_init(&object->sdk.lock, NULL);
    sl_buf_init(&object->resource, SL_MAX_RESOURCE_BYTES * 2);
    for (size_t i = 0; i < SL_MAX_SCOPE_RESOURCES; i++)
        sl_buf_init(&object->scope_resources[i], SL_MAX_RESOURCE_BYTES * 2);
    return object;
}

int sl_sdk_new_internal(const sl_sdk_options *options, const sl_sdk_internal_options *internal, sl_sdk **ret_sdk)
{
    static const sl_sdk_options no_options;
    static const sl_sdk_internal_options no_internal;
    options = options ? options : &no_options;
    internal = internal ? internal : &no_internal;
    exporter_list list;
    list.count = 0;
    int error = take_exporters(options, &list);
    if (error)
        return error;
    if (!ret_sdk) {
        free_exporters(list.items, list.count);
        return SL_EINVAL;
    }
    sdk_object *object = object_new(options);
    sl_otel_config *config = object ? sl_malloc(sizeof *config) : NULL;
    if (!config) {
        free_exporters(list.items, list.count);
        if (object)
            sdk_free(object);
        return SL_ENOMEM;
    }
    error = build(object, options, internal, config, &list);
    bool disabled = config->disabled;
    if (!error && config->self_metrics && !internal->record_only && !disabled)
        error = sl_self_metrics_new(&object->sdk, &object->self_metrics);
    if (!error && config->prometheus && !internal->record_only && !disabled)
        error = init_prometheus(object, config);
    if (error)
        sl_reporter_say(object->reporter, error, "the SDK could not start: %s",
                        config->why[0] ? config->why : sl_strerror(error));
    sl_otel_config_done(config);
    sl_free(config);
    if (error) {
        sdk_free(object);
        return error;
    }
    atomic_store(&object->sdk.recording, !disabled);
    *ret_sdk = &object->sdk;
    return 0;
}

int sl_sdk_new(const sl_sdk_options *options, sl_sdk **ret_sdk)
{
    return sl_sdk_new_internal(options, NULL, ret_sdk);
}

/* ---- use ---- */

sl_sdk *sl_sdk_set_default(sl_sdk *sdk)
{
    return atomic_exchange(&default_sdk, sdk);
}

sl_sdk *sl_sdk_or_default(sl_sdk *sdk)
{
    return sdk ? sdk : atomic_load(&default_sdk);
}

int sl_sdk_flush(sl_sdk *sdk, uint64_t timeout_ms)
{
    sdk = sl_sdk_or_default(sdk);
    if (!sdk)
        return SL_EINVAL;
    if (is_forked(sdk) || atomic_load(&object_of(sdk)->shut_down))
        return SL_ECLOSED;
    return sdk->pipeline ? sl_pipeline_flush(sdk->pipeline, timeout_ms) : 0;
}

int sl_sdk_shutdown(sl_sdk *sdk, uint64_t timeout_ms)
{
    sdk = sl_sdk_or_default(sdk);
    if (!sdk)
        return SL_EINVAL;
    if (is_forked(sdk) || atomic_exchange(&object_of(sdk)->shut_down, true))
        return SL_ECLOSED;
    atomic_store(&sdk->recording, false);
    return sdk->pipeline ? sl_pipeline_shutdown(sdk->pipeline, timeout_ms) : 0;
}

void sl_sdk_free(sl_sdk *sdk)
{
    if (!sdk || is_forked(sdk))
        return; /* the threads that own half of it are not in this process */
    sl_sdk *expected = sdk;
    (void)atomic_compare_exchange_strong(&default_sdk, &expected, NULL);
    if (!atomic_load(&object_of(sdk)->shut_down))
        (void)sl_sdk_shutdown(sdk, FREE_SHUTDOWN_MS);
    if (sdk->pipeline && sl_pipeline_is_stuck(sdk->pipeline))
        return; /* a callback still runs in it */
    sdk_free(object_of(sdk));
}

sl_health *sl_sdk_health(sl_sdk *sdk)
{
    return sdk ? sdk->health : NULL;
}

/* A recording process counts in its own rings. */
static void ring_stats(sl_sdk *sdk, sl_signal signal, sl_sdk_stats *stats)
{
    if (signal == SL_SIGNAL_METRICS)
        return;
    sl_ring_stats ring;
    sl_segment_ring_stats(sdk->segment, signal == SL_SIGNAL_TRACES ? SL_RING_SPANS : SL_RING_LOGS, &ring);
    stats->started = ring.begun;
    stats->ended = ring.written + ring.dropped;
    stats->dropped = ring.dropped;
}

void sl_sdk_get_stats(sl_sdk *sdk, sl_signal signal, sl_sdk_stats *ret_stats)
{
    sl_sdk_stats stats = {0, 0, 0, 0};
    sdk = sl_sdk_or_default(sdk);
    if (!ret_stats)
        return;
    if (sdk && (unsigned)signal < SL_SIGNAL_COUNT) {
        if (sdk->pipeline)
            sl_pipeline_stats(sdk->pipeline, signal, &stats);
        else
            ring_stats(sdk, signal, &stats);
        if (signal == SL_SIGNAL_LOGS)
            stats.started = atomic_load(&sdk->logs_emitted);
    }
    *ret_stats = stats;
}
