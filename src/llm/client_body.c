/* Bodies of requests: what both protocols have in common. */
#include "src/base/assert.h"
#include "src/llm/client_impl.h"
#include "src/wire/json_write.h"

/* ---- values ---- */

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

int sl_llm_put_value(sl_buf *out, const json_t *value)
{
    SL_ASSERT(out);
    return put_value(out, value, 1);
}

/* ---- members ---- */

void sl_llm_put_name(sl_buf *out, const char *name)
{
    SL_ASSERT(out && name);
    if (out->len && out->data[out->len - 1] != '{')
        (void)sl_buf_put_char(out, ',');
    (void)sl_json_put_string(out, sl_str_c(name));
    (void)sl_buf_put_char(out, ':');
}

void sl_llm_put_text(sl_buf *out, const char *name, sl_str text)
{
    sl_llm_put_name(out, name);
    (void)sl_json_put_string(out, text);
}

void sl_llm_put_number(sl_buf *out, const char *name, uint64_t number)
{
    sl_llm_put_name(out, name);
    (void)sl_buf_put_u64(out, number);
}

static bool is_in(const char *const *names, const char *name)
{
    SL_ASSERT(names && name);
    for (; *names; names++) {
        if (strcmp(*names, name) == 0)
            return true;
    }
    return false;
}

int sl_llm_put_extra(sl_buf *out, const json_t *extra, const char *const *taken)
{
    SL_ASSERT(out && taken);
    const char *key;
    json_t *value;
    json_object_foreach((json_t *)(uintptr_t)extra, key, value)
    {
        if (is_in(taken, key))
            continue;
        sl_llm_put_name(out, key);
        int error = sl_llm_put_value(out, value);
        if (error)
            return error;
    }
    return out->failed;
}

int sl_llm_put_body(sl_buf *out, sl_llm_protocol protocol, sl_str model, const sl_llm_request *request)
{
    SL_ASSERT(out && request);
    int error;
    if (request->extra && !json_is_object(request->extra))
        return SL_EINVAL;
    if (request->operation == SL_LLM_EMBEDDINGS)
        error = sl_openai_put_embeddings(out, model, request);
    else if (protocol == SL_LLM_ANTHROPIC)
        error = sl_anthropic_put_chat(out, model, request);
    else
        error = sl_openai_put_chat(out, model, request);
    if (!error)
        error = out->failed;
    return error == SL_ELIMIT ? SL_ETOOBIG : error;
}
