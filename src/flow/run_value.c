/*
 * What a step gave, as one object: the names that its `output` lists for the positional results, the names that they
 * have anyway (text, vector …), what stands beside them, and the text of the whole.
 */
#include "src/flow/executor_impl.h"

/* Rough size of a value as JSON; stops counting above `max`. Depth is bounded by SL_MAX_JSON_DEPTH. */
static size_t size_of(json_t *value, size_t max, unsigned depth)
{
    if (depth > SL_MAX_JSON_DEPTH)
        return max + 1;
    size_t size = 2;
    switch (json_typeof(value)) {
    case JSON_STRING:
        return json_string_length(value) + 2;
    case JSON_INTEGER:
        return 8;
    case JSON_REAL:
        return 18;
    case JSON_ARRAY:
        for (size_t i = 0; i < json_array_size(value) && size <= max; i++)
            size += size_of(json_array_get(value, i), max, depth + 1) + 1;
        return size;
    case JSON_OBJECT:
        for (void *i = json_object_iter(value); i && size <= max; i = json_object_iter_next(value, i))
            size += json_object_iter_key_len(i) + 4 + size_of(json_object_iter_value(i), max, depth + 1);
        return size;
    default:
        return 5;
    }
}

static int put(json_t *object, const char *key, json_t *value)
{
    return value && json_object_set(object, key, value) != 0 ? SL_ENOMEM : 0;
}

static int put_names(json_t *value, const sl_step *step, json_t *results)
{
    int error = 0;
    const char *const *usual = sl_step_result_names(step->type);
    for (size_t i = 0; usual[i] && i < json_array_size(results) && !error; i++)
        error = put(value, usual[i], json_array_get(results, i));
    for (size_t i = 0; i < step->output_count && i < json_array_size(results) && !error; i++)
        error = put(value, step->outputs[i], json_array_get(results, i));
    return error;
}

static int put_extra(json_t *value, json_t *extra)
{
    if (!json_is_object(extra))
        return 0;
    return json_object_update_missing(value, extra) == 0 ? 0 : SL_ENOMEM;
}

int sl_output_value(const sl_step *step, json_t *results, json_t *extra, json_t *text, size_t max_bytes,
                    json_t **ret_value)
{
    SL_ASSERT(step && ret_value);
    json_t *value = json_object();
    int error = value ? put_names(value, step, results) : SL_ENOMEM;
    if (!error)
        error = put_extra(value, extra);
    if (!error)
        error = put(value, SL_FLOW_TEXT_KEY, text);
    if (!error && size_of(value, max_bytes, 0) > max_bytes)
        error = SL_ETOOBIG;
    json_decref(results);
    json_decref(extra);
    json_decref(text);
    if (error)
        json_decref(value);
    else
        *ret_value = value;
    return error;
}

static bool is_named(const sl_step *step, const char *key)
{
    for (size_t i = 0; i < step->output_count; i++) {
        if (strcmp(step->outputs[i], key) == 0)
            return true;
    }
    return false;
}

/* A usual name that the step's own names stand for. */
static bool is_usual(const sl_step *step, const char *key)
{
    for (const char *const *usual = sl_step_result_names(step->type); *usual; usual++) {
        if (strcmp(*usual, key) == 0)
            return true;
    }
    return false;
}

/* Without the texts of objects, at every level: copies only what holds any. */
static json_t *without_text(json_t *value, unsigned depth)
{
    SL_ASSERT(depth <= SL_MAX_JSON_DEPTH + 1);
    if (json_is_array(value)) {
        json_t *copy = json_array();
        for (size_t i = 0; copy && i < json_array_size(value); i++)
            (void)json_array_append_new(copy, without_text(json_array_get(value, i), depth + 1));
        return copy;
    }
    if (!json_is_object(value))
        return json_incref(value);
    json_t *copy = json_object();
    for (void *i = json_object_iter(value); copy && i; i = json_object_iter_next(value, i)) {
        const char *key = json_object_iter_key(i);
        if (strcmp(key, SL_FLOW_TEXT_KEY) != 0)
            (void)json_object_set_new(copy, key, without_text(json_object_iter_value(i), depth + 1));
    }
    return copy;
}

json_t *sl_output_public(const sl_step *step, json_t *value)
{
    SL_ASSERT(step);
    if (!json_is_object(value))
        return NULL;
    bool nested = step->block_count > 0;
    json_t *shown = json_object();
    for (void *i = json_object_iter(value); shown && i; i = json_object_iter_next(value, i)) {
        const char *key = json_object_iter_key(i);
        if (strcmp(key, SL_FLOW_TEXT_KEY) == 0)
            continue;
        if (step->output_count && !is_named(step, key) && is_usual(step, key))
            continue;
        json_t *member = json_object_iter_value(i);
        (void)json_object_set_new(shown, key, nested ? without_text(member, 1) : json_incref(member));
    }
    return shown;
}

const char *sl_output_warning(const sl_step *step, json_t *value)
{
    SL_ASSERT(step);
    if ((step->type != SL_STEP_VECTOR_SEARCH && step->type != SL_STEP_ACTION) || is_named(step, "warning"))
        return NULL;
    return json_string_value(json_object_get(value, "warning"));
}

json_t *sl_output_text(json_t *value)
{
    return json_is_object(value) ? json_object_get(value, SL_FLOW_TEXT_KEY) : NULL;
}
