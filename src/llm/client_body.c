/* Bodies of requests: what both protocols have in common. */
#include "src/base/assert.h"
#include "src/llm/client_impl.h"
#include "src/wire/json_write.h"

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
        int error = sl_json_put_value(out, value);
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
