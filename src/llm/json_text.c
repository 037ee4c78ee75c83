/* Values of jansson as text. */
#include "src/llm/json_text.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/wire/json_write.h"

#define MAX_TEXT (256u * 1024 * 1024)

static int put_value(sl_buf *out, const json_t *value, unsigned depth);

static int put_object(sl_buf *out, const json_t *object, unsigned depth)
{
    SL_ASSERT(object);
    const char *key;
    json_t *value;
    bool first = true;
    (void)sl_buf_put_char(out, '{');
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        if (!first)
            (void)sl_buf_put_char(out, ',');
        first = false;
        (void)sl_json_put_string(out, sl_str_c(key));
        (void)sl_buf_put_char(out, ':');
        int error = put_value(out, value, depth + 1);
        if (error)
            return error;
    }
    return sl_buf_put_char(out, '}');
}

static int put_list(sl_buf *out, const json_t *list, unsigned depth)
{
    SL_ASSERT(list);
    (void)sl_buf_put_char(out, '[');
    for (size_t i = 0; i < json_array_size(list); i++) {
        if (i)
            (void)sl_buf_put_char(out, ',');
        int error = put_value(out, json_array_get(list, i), depth + 1);
        if (error)
            return error;
    }
    return sl_buf_put_char(out, ']');
}

static int put_value(sl_buf *out, const json_t *value, unsigned depth)
{
    if (depth > SL_MAX_JSON_DEPTH)
        return SL_ETOOBIG;
    switch (value ? json_typeof(value) : JSON_NULL) {
    case JSON_OBJECT:
        return put_object(out, value, depth);
    case JSON_ARRAY:
        return put_list(out, value, depth);
    case JSON_STRING:
        return sl_json_put_string(out, sl_str_of(json_string_value(value), json_string_length(value)));
    case JSON_INTEGER:
        return sl_buf_put_i64(out, json_integer_value(value));
    case JSON_REAL:
        return sl_buf_put_double(out, json_real_value(value));
    case JSON_TRUE:
        return sl_buf_put_c(out, "true");
    case JSON_FALSE:
        return sl_buf_put_c(out, "false");
    case JSON_NULL:
        break;
    }
    return sl_buf_put_c(out, "null");
}

int sl_json_put_value(sl_buf *out, const json_t *value)
{
    SL_ASSERT(out);
    int error = put_value(out, value, 1);
    return error ? error : out->failed; /* of what stands in front */
}

json_t *sl_json_load(sl_str text, size_t flags, json_error_t *error)
{
    SL_ASSERT(text.ptr || !text.len);
    size_t failures = sl_mem_failures();
    json_t *value = json_loadb(text.ptr ? text.ptr : "", text.len, flags, error);
    if (sl_mem_failures() == failures)
        return value;
    if (error)
        (void)snprintf(error->text, sizeof error->text, "out of memory");
    json_decref(value);
    return NULL;
}

json_t *sl_json_copy(json_t *value)
{
    size_t failures = sl_mem_failures();
    json_t *copy = json_copy(value);
    if (sl_mem_failures() == failures)
        return copy;
    json_decref(copy);
    return NULL;
}

char *sl_json_text(const json_t *value)
{
    sl_buf text;
    sl_buf_init(&text, MAX_TEXT);
    int error = value ? sl_json_put_value(&text, value) : SL_EINVAL;
    if (!error)
        error = sl_buf_put(&text, "", 1);
    char *copy = error ? NULL : malloc(text.len);
    if (copy)
        memcpy(copy, text.data, text.len);
    sl_buf_done(&text);
    return copy;
}
