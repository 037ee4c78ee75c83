/* The registry's life cycle, and meters. */
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/telemetry/prom_name.h"
#include "src/telemetry/registry.h"
#include "src/telemetry/scope.h"

sl_registry *sl_registry_new(sl_sdk *sdk, sl_segment *segment, size_t max_series)
{
    SL_ASSERT(sdk && segment);
    sl_registry *registry = sl_calloc(1, sizeof *registry);
    if (!registry)
        return NULL;
    registry->sdk = sdk;
    registry->segment = segment;
    registry->max_series = max_series ? max_series : SL_MAX_SERIES;
    registry->exemplars = sl_exemplar_filter_of(getenv("OTEL_METRICS_EXEMPLAR_FILTER"));
    registry->adopting = sl_segment_head(segment, SL_LIST_STREAMS) != 0;
    pthread_mutex_init(&registry->lock, NULL);
    pthread_mutex_init(&registry->callback_lock, NULL);
    return registry;
}

void sl_instrument_free(sl_instrument *instrument)
{
    if (!instrument)
        return;
    for (size_t i = 0; i < instrument->stream_count; i++)
        sl_stream_done(&instrument->streams[i]);
    sl_buf_done(&instrument->attrs);
    sl_buf_done(&instrument->labels);
    while (instrument->callbacks) {
        sl_callback *next = instrument->callbacks->next;
        sl_free(instrument->callbacks);
        instrument->callbacks = next;
    }
    pthread_mutex_destroy(&instrument->lock);
    sl_free(instrument->name);
    sl_free(instrument->unit);
    sl_free(instrument->bounds);
    sl_free(instrument);
}

static void meter_free(sl_meter *meter)
{
    SL_ASSERT(meter);
    while (meter->instruments) {
        sl_instrument *next = meter->instruments->next;
        sl_instrument_free(meter->instruments);
        meter->instruments = next;
    }
    sl_free(meter->name);
    sl_free(meter->scope_labels);
    sl_free(meter);
}

void sl_registry_free(sl_registry *registry)
{
    if (!registry)
        return;
    while (registry->meters) {
        sl_meter *next = registry->meters->next;
        meter_free(registry->meters);
        registry->meters = next;
    }
    sl_view_entries_free(registry->views);
    pthread_mutex_destroy(&registry->lock);
    pthread_mutex_destroy(&registry->callback_lock);
    sl_free(registry);
}

/* ---- Meters ---- */

static void put_scope_label(sl_buf *out, const char *name, sl_str value)
{
    SL_ASSERT(out && name);
    if (value.len == 0)
        return;
    if (out->len)
        (void)sl_buf_put_char(out, ',');
    (void)sl_buf_printf(out, "otel_scope_%s=\"", name);
    (void)sl_prom_escape_label(value, out);
    (void)sl_buf_put_char(out, '"');
}

/* True when the label of an earlier attribute, or one of the scope's own, has this name: two would make text invalid.
 */
static bool is_taken(const sl_scope_options *scope, size_t index, const char *name)
{
    SL_ASSERT(scope && index < scope->attr_count);
    if (strcmp(name, "name") == 0 || strcmp(name, "version") == 0 || strcmp(name, "schema_url") == 0)
        return true;
    for (size_t i = 0; i < index; i++) {
        char other[SL_PROM_LABEL_BYTES];
        if (scope->attrs[i].key.len == 0 || scope->attrs[i].key.len > SL_MAX_KEY_BYTES)
            continue;
        sl_prom_label_name(scope->attrs[i].key, other);
        if (strcmp(name, other) == 0)
            return true;
    }
    return false;
}

/* The labels that every series of the scope carries in Prometheus text. NULL without memory. */
static char *scope_labels(const sl_scope_options *scope)
{
    SL_ASSERT(scope);
    sl_buf out, value;
    sl_buf_init(&out, SL_MAX_ATTR_SET_BYTES);
    sl_buf_init(&value, SL_MAX_ATTR_SET_BYTES);
    put_scope_label(&out, "name", scope->name);
    put_scope_label(&out, "version", scope->version);
    put_scope_label(&out, "schema_url", scope->schema_url);
    for (size_t i = 0; i < scope->attr_count; i++) {
        char name[SL_PROM_LABEL_BYTES];
        if (scope->attrs[i].key.len == 0 || scope->attrs[i].key.len > SL_MAX_KEY_BYTES)
            continue;
        sl_prom_label_name(scope->attrs[i].key, name);
        if (is_taken(scope, i, name))
            continue;
        sl_buf_clear(&value);
        (void)sl_value_text(&scope->attrs[i].value, &value);
        put_scope_label(&out, name, sl_buf_str(&value));
    }
    char *result = out.failed || value.failed ? NULL : sl_strndup(out.data ? out.data : "", out.len);
    sl_buf_done(&out);
    sl_buf_done(&value);
    return result;
}

static sl_meter *meter_new(sl_registry *registry, const sl_scope_options *scope, uint32_t id)
{
    SL_ASSERT(registry && scope);
    sl_meter *meter = sl_calloc(1, sizeof *meter);
    if (!meter)
        return NULL;
    meter->registry = registry;
    meter->scope = id;
    meter->name = sl_strndup(scope->name.ptr ? scope->name.ptr : "", scope->name.len);
    meter->scope_labels = scope_labels(scope);
    if (!meter->name || !meter->scope_labels) {
        meter_free(meter);
        return NULL;
    }
    meter->next = registry->meters;
    registry->meters = meter;
    return meter;
}

sl_meter *sl_meter_get(sl_sdk *sdk, const sl_scope_options *scope)
{
    static const sl_scope_options empty = {.name = {NULL, 0}};
    sdk = sl_sdk_or_default(sdk);
    if (!sdk || !sdk->registry)
        return NULL;
    if (!scope)
        scope = &empty;
    sl_registry *registry = sdk->registry;
    uint32_t id = sl_scopes_id(sdk->scopes, scope);
    pthread_mutex_lock(&registry->lock);
    sl_meter *meter = registry->meters;
    while (meter && meter->scope != id)
        meter = meter->next;
    if (!meter)
        meter = meter_new(registry, scope, id);
    pthread_mutex_unlock(&registry->lock);
    return meter;
}

sl_meter *sl_meter_named(sl_sdk *sdk, const char *name)
{
    sl_scope_options scope = {.name = sl_str_c(name)};
    return sl_meter_get(sdk, &scope);
}
