/* Views: which streams an instrument has. */
#include <math.h>
#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/telemetry/registry.h"

/* ---- Copies ---- */

static char *copy(const char *z, bool *failed)
{
    SL_ASSERT(failed);
    char *result = z ? sl_strndup(z, strlen(z)) : NULL;
    *failed |= z && !result;
    return result;
}

static void entry_free(sl_view_entry *entry)
{
    SL_ASSERT(entry);
    sl_view *v = &entry->view;
    for (size_t i = 0; v->attrs && i < v->attr_count; i++) {
        sl_free((char *)(uintptr_t)v->attrs[i].from);
        sl_free((char *)(uintptr_t)v->attrs[i].to);
    }
    const void *const parts[] = {v->instrument, v->meter, v->name, v->description, v->unit, v->bounds, v->attrs};
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        sl_free((void *)(uintptr_t)parts[i]);
    sl_free(entry);
}

void sl_view_entries_free(sl_view_entry *views)
{
    while (views) {
        sl_view_entry *next = views->next;
        entry_free(views);
        views = next;
    }
}

static void copy_attrs(sl_view *to, const sl_view *from, bool *failed)
{
    SL_ASSERT(to->attr_count == 0);
    if (from->attr_count == 0)
        return;
    sl_view_attr *attrs = sl_calloc(from->attr_count, sizeof *attrs);
    to->attrs = attrs;
    if (!attrs) {
        *failed = true;
        return;
    }
    to->attr_count = from->attr_count;
    for (size_t i = 0; i < from->attr_count; i++) {
        attrs[i].from = copy(from->attrs[i].from, failed);
        attrs[i].to = copy(from->attrs[i].to, failed);
    }
}

static sl_view_entry *entry_new(const sl_view *view)
{
    SL_ASSERT(view && view->instrument);
    sl_view_entry *entry = sl_calloc(1, sizeof *entry);
    if (!entry)
        return NULL;
    bool failed = false;
    sl_view *v = &entry->view;
    *v = (sl_view){
        .keep_only = view->keep_only, .drop = view->drop, .replace = view->replace, .max_series = view->max_series};
    v->instrument = copy(view->instrument, &failed);
    v->meter = copy(view->meter, &failed);
    v->name = copy(view->name, &failed);
    v->description = copy(view->description, &failed);
    v->unit = copy(view->unit, &failed);
    copy_attrs(v, view, &failed);
    if (view->bound_count) {
        double *bounds = sl_calloc(view->bound_count, sizeof *bounds);
        failed |= !bounds;
        if (bounds)
            memcpy(bounds, view->bounds, view->bound_count * sizeof *bounds);
        v->bounds = bounds;
        v->bound_count = bounds ? view->bound_count : 0;
    }
    if (failed) {
        entry_free(entry);
        return NULL;
    }
    return entry;
}

/* ---- Adding ---- */

static bool view_is_valid(const sl_view *v)
{
    if (!v || !v->instrument || v->bound_count > SL_MAX_BOUNDS || (v->bound_count && !v->bounds) ||
        v->attr_count > SL_MAX_METRIC_ATTRS || (v->attr_count && !v->attrs))
        return false;
    if ((v->name && !sl_instrument_name_is_valid(v->name)) || (v->unit && strlen(v->unit) > 63))
        return false;
    for (size_t i = 0; i < v->bound_count; i++) {
        if (!isfinite(v->bounds[i]) || (i && v->bounds[i - 1] >= v->bounds[i]))
            return false;
    }
    for (size_t i = 0; i < v->attr_count; i++) {
        const char *to = v->attrs[i].to;
        if (!v->attrs[i].from || (to && (!to[0] || strlen(to) > SL_MAX_KEY_BYTES)))
            return false;
    }
    /* One name for several instruments would make several metrics of one name. */
    return !(v->name && strpbrk(v->instrument, "*?"));
}

int sl_view_add(sl_sdk *sdk, const sl_view *view)
{
    sdk = sl_sdk_or_default(sdk);
    if (!sdk || !sdk->registry || !view_is_valid(view))
        return SL_EINVAL;
    sl_registry *registry = sdk->registry;
    sl_view_entry *entry = entry_new(view);
    if (!entry)
        return SL_ENOMEM;
    pthread_mutex_lock(&registry->lock);
    bool room = registry->view_count < SL_MAX_VIEWS;
    if (room) {
        sl_view_entry **end = &registry->views;
        while (*end)
            end = &(*end)->next;
        *end = entry;
        registry->view_count++;
    }
    pthread_mutex_unlock(&registry->lock);
    if (!room)
        entry_free(entry);
    return room ? 0 : SL_ELIMIT;
}

/* ---- Matching ---- */

static bool matches(const sl_view *view, const sl_meter *meter, const char *name)
{
    SL_ASSERT(view->instrument && name);
    if (view->meter && strcmp(view->meter, meter->name) != 0)
        return false;
    return sl_str_glob(sl_str_c(view->instrument), sl_str_c(name));
}

/* What the view leaves open stays as the instrument has it. */
static void spec_of_view(sl_stream_spec *spec, const sl_stream_spec *own, const sl_view *view)
{
    SL_ASSERT(spec && own && view);
    *spec = *own;
    if (view->name)
        spec->name = view->name;
    if (view->description)
        spec->description = view->description;
    if (view->unit)
        spec->unit = view->unit;
    if (view->bound_count) {
        spec->bounds = view->bounds;
        spec->bound_count = view->bound_count;
    }
    if (view->max_series)
        spec->max_series = view->max_series;
    spec->rules = (sl_attr_rules){view->attrs, view->attr_count, view->keep_only};
}

static bool name_taken(const sl_stream_spec *specs, size_t count, const char *name)
{
    SL_ASSERT(count <= SL_MAX_STREAMS);
    for (size_t i = 0; i < count; i++) {
        if (sl_str_ieq(sl_str_c(specs[i].name), sl_str_c(name)))
            return true;
    }
    return false;
}

/*
 * A view that keeps the name takes the place of the instrument's own stream, as does one with `replace` or `drop`:
 * there are never two streams of one name.
 */
static bool takes_the_place(const sl_view *view, const char *name)
{
    SL_ASSERT(view && name);
    return view->replace || view->drop || !view->name || sl_str_ieq(sl_str_c(view->name), sl_str_c(name));
}

size_t sl_view_streams(const sl_registry *registry, const sl_meter *meter, const sl_instrument_options *options,
                       sl_stream_spec ret_specs[SL_MAX_STREAMS], bool *ret_conflict)
{
    SL_ASSERT(registry && meter && options->name && ret_conflict);
    const sl_stream_spec own = {
        .name = options->name,
        .description = options->description ? options->description : "",
        .unit = options->unit ? options->unit : "",
        .bounds = options->bounds,
        .bound_count = options->bound_count,
        .max_series = options->max_series ? options->max_series : registry->max_series,
    };
    bool keep_own = true;
    for (const sl_view_entry *e = registry->views; e; e = e->next) {
        if (matches(&e->view, meter, own.name) && takes_the_place(&e->view, own.name))
            keep_own = false;
    }
    size_t count = 0;
    if (keep_own)
        ret_specs[count++] = own;
    for (const sl_view_entry *e = registry->views; e && count < SL_MAX_STREAMS; e = e->next) {
        if (!matches(&e->view, meter, own.name) || e->view.drop)
            continue;
        sl_stream_spec spec;
        spec_of_view(&spec, &own, &e->view);
        if (options->kind != SL_HISTOGRAM)
            spec.bound_count = 0;
        if (!name_taken(ret_specs, count, spec.name))
            ret_specs[count++] = spec;
        else
            *ret_conflict = true;
    }
    return count;
}
