/* Instruments: declaration, callbacks. */
#include <math.h>

#include "src/base/mem.h"
#include "src/telemetry/registry.h"

/* OpenTelemetry's default bounds (metrics SDK, explicit bucket histogram aggregation). */
static const double default_bounds[] = {0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000};

struct sl_observer {
    sl_instrument *instrument;
};

/* ---- Declaration ---- */

bool sl_instrument_name_is_valid(const char *name)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
    static const char others[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-/:";
    if (!name || !name[0] || !strchr(letters, name[0]))
        return false;
    size_t len = strspn(name, others);
    return name[len] == '\0' && len <= SL_MAX_KEY_BYTES;
}

static bool options_are_valid(const sl_instrument_options *o)
{
    if (!o || !sl_instrument_name_is_valid(o->name) || o->kind < SL_COUNTER || o->kind > SL_HISTOGRAM ||
        (o->unit && strlen(o->unit) > 63) || o->bound_count > SL_MAX_BOUNDS || (o->bound_count && !o->bounds))
        return false;
    for (size_t i = 0; i < o->bound_count; i++) {
        if (!isfinite(o->bounds[i]) || (i && o->bounds[i - 1] >= o->bounds[i]))
            return false;
    }
    return true;
}

/* The options with defaults filled in. */
static sl_instrument_options normalised(const sl_instrument_options *options)
{
    SL_ASSERT(options->name);
    sl_instrument_options o = *options;
    if (!o.unit)
        o.unit = "";
    if (o.kind != SL_HISTOGRAM) {
        o.bounds = NULL;
        o.bound_count = 0;
    } else {
        o.is_double = true;
        if (!o.bounds) {
            o.bounds = default_bounds;
            o.bound_count = sizeof default_bounds / sizeof *default_bounds;
        }
    }
    return o;
}

static sl_instrument *find(const sl_meter *meter, const char *name)
{
    SL_ASSERT(meter && name);
    sl_instrument *i = meter->instruments;
    while (i && !sl_str_ieq(sl_str_c(i->name), sl_str_c(name)))
        i = i->next;
    return i;
}

/* Bounds are advice: leaving them out does not contradict. */
static bool agrees(const sl_instrument *i, const sl_instrument_options *o, bool bounds_given)
{
    SL_ASSERT(i && o->unit);
    bool same_bounds = i->bound_count == o->bound_count &&
                       (i->bound_count == 0 || memcmp(i->bounds, o->bounds, i->bound_count * sizeof(double)) == 0);
    return i->kind == o->kind && i->is_double == o->is_double && strcmp(i->unit, o->unit) == 0 &&
           (same_bounds || !bounds_given);
}

/* Streams of a new instrument. Registry lock held. */
static int make_streams(sl_instrument *instrument, const sl_instrument_options *o, bool *ret_conflict)
{
    SL_ASSERT(instrument->stream_count == 0);
    sl_stream_spec specs[SL_MAX_STREAMS];
    size_t count = sl_view_streams(instrument->registry, instrument->meter, o, specs, ret_conflict);
    for (size_t i = 0; i < count; i++) {
        instrument->stream_count = i + 1; /* half-built ones are freed too */
        int error = sl_stream_init(&instrument->streams[i], instrument, &specs[i]);
        if (error)
            return error;
    }
    return 0;
}

static int instrument_init(sl_instrument *instrument, const sl_instrument_options *o, bool *ret_conflict)
{
    SL_ASSERT(o->name && o->unit);
    instrument->name = sl_strndup(o->name, strlen(o->name));
    instrument->unit = sl_strndup(o->unit, strlen(o->unit));
    instrument->kind = o->kind;
    instrument->is_double = o->is_double;
    instrument->bound_count = o->bound_count;
    if (o->bound_count) {
        instrument->bounds = sl_calloc(o->bound_count, sizeof(double));
        if (instrument->bounds)
            memcpy(instrument->bounds, o->bounds, o->bound_count * sizeof(double));
    }
    if (!instrument->name || !instrument->unit || (o->bound_count && !instrument->bounds))
        return SL_ENOMEM;
    return make_streams(instrument, o, ret_conflict);
}

/* Registry lock held. */
static int declare(sl_meter *meter, const sl_instrument_options *o, sl_instrument **ret_instrument, bool *ret_conflict)
{
    SL_ASSERT(meter && ret_instrument);
    sl_registry *registry = meter->registry;
    if (registry->instrument_count >= SL_MAX_INSTRUMENTS)
        return SL_ELIMIT;
    sl_instrument *instrument = sl_calloc(1, sizeof *instrument);
    if (!instrument)
        return SL_ENOMEM;
    instrument->registry = registry;
    instrument->meter = meter;
    pthread_mutex_init(&instrument->lock, NULL);
    sl_buf_init(&instrument->attrs, SL_MAX_ATTR_SET_BYTES);
    sl_buf_init(&instrument->labels, SL_MAX_ATTR_SET_BYTES);
    int error = instrument_init(instrument, o, ret_conflict);
    if (error) {
        sl_instrument_free(instrument);
        return error;
    }
    instrument->next = meter->instruments;
    meter->instruments = instrument;
    registry->instrument_count++;
    *ret_instrument = instrument;
    return 0;
}

sl_instrument *sl_instrument_new(sl_meter *meter, const sl_instrument_options *options)
{
    if (!meter)
        return NULL;
    sl_registry *registry = meter->registry;
    if (!options_are_valid(options)) {
        sl_sdk_report(registry->sdk, SL_EINVAL, "bad declaration of instrument \"%s\"",
                      options && options->name ? options->name : "");
        return NULL;
    }
    sl_instrument_options o = normalised(options);
    bool conflict = false;
    int error = 0;
    pthread_mutex_lock(&registry->lock);
    sl_instrument *instrument = find(meter, o.name);
    if (!instrument)
        error = declare(meter, &o, &instrument, &conflict);
    else if (!agrees(instrument, &o, options->bounds != NULL))
        error = SL_EEXIST;
    pthread_mutex_unlock(&registry->lock);
    if (conflict)
        sl_sdk_report(registry->sdk, SL_EEXIST, "views of %s make two metrics of one name; the first is used", o.name);
    if (error)
        sl_sdk_report(registry->sdk, error, "instrument %s: %s", o.name, sl_strerror(error));
    return error ? NULL : instrument;
}

void sl_instrument_record(sl_instrument *instrument, double value, const sl_attr *attrs, size_t attr_count)
{
    sl_series *series = sl_instrument_bind(instrument, attrs, attr_count);
    if (!series)
        return;
    switch (instrument->kind) {
    case SL_COUNTER:
        sl_counter_add_double(series, value);
        break;
    case SL_UPDOWN_COUNTER:
        sl_updown_add_double(series, value);
        break;
    case SL_GAUGE:
        sl_gauge_set_double(series, value);
        break;
    case SL_HISTOGRAM:
    default:
        sl_histogram_record(series, value);
        break;
    }
}

/* ---- Callbacks ---- */

int sl_instrument_on_collect(sl_instrument *instrument, sl_observe_fn fn, void *user)
{
    if (!instrument || !fn || instrument->kind == SL_HISTOGRAM)
        return SL_EINVAL;
    sl_registry *registry = instrument->registry;
    if (registry->forked)
        return SL_ECLOSED;
    sl_callback *callback = sl_calloc(1, sizeof *callback);
    if (!callback)
        return SL_ENOMEM;
    callback->fn = fn;
    callback->user = user;
    pthread_mutex_lock(&registry->callback_lock);
    bool room = registry->callback_count < SL_MAX_CALLBACKS;
    if (room) {
        callback->next = instrument->callbacks;
        instrument->callbacks = callback;
        registry->callback_count++;
    }
    pthread_mutex_unlock(&registry->callback_lock);
    if (!room)
        sl_free(callback);
    return room ? 0 : SL_ELIMIT;
}

void sl_instrument_off_collect(sl_instrument *instrument, sl_observe_fn fn, void *user)
{
    if (!instrument || instrument->registry->forked)
        return;
    sl_registry *registry = instrument->registry;
    pthread_mutex_lock(&registry->callback_lock);
    for (sl_callback **at = &instrument->callbacks; *at; at = &(*at)->next) {
        sl_callback *callback = *at;
        if (callback->fn != fn || callback->user != user)
            continue;
        *at = callback->next;
        sl_free(callback);
        registry->callback_count--;
        break;
    }
    pthread_mutex_unlock(&registry->callback_lock);
}

void sl_observe(sl_observer *observer, double value, const sl_attr *attrs, size_t attr_count)
{
    if (!observer || isnan(value))
        return;
    sl_series_set(sl_instrument_bind(observer->instrument, attrs, attr_count), value);
}

void sl_registry_observe(sl_registry *registry)
{
    if (!registry)
        return;
    pthread_mutex_lock(&registry->callback_lock);
    pthread_mutex_lock(&registry->lock);
    sl_meter *meters = registry->meters;
    pthread_mutex_unlock(&registry->lock);
    for (sl_meter *meter = meters; meter; meter = meter->next) {
        pthread_mutex_lock(&registry->lock);
        sl_instrument *instruments = meter->instruments;
        pthread_mutex_unlock(&registry->lock);
        for (sl_instrument *i = instruments; i; i = i->next) {
            sl_observer observer = {i};
            for (sl_callback *c = i->callbacks; c; c = c->next)
                c->fn(c->user, &observer);
        }
    }
    pthread_mutex_unlock(&registry->callback_lock);
}
