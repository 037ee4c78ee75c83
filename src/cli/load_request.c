/* Making the bytes of the request. */
#include "src/cli/load_request.h"

#include "src/base/assert.h"
#include "src/wire/http1_write.h"
#include "src/wire/json_write.h"

#define MAX_LINE (64u * 1024)

static sl_load_api api_of(sl_str path)
{
    if (sl_str_ends(path, SL_STR("/messages")))
        return SL_LOAD_MESSAGES;
    if (sl_str_ends(path, SL_STR("/embeddings")))
        return SL_LOAD_EMBEDDINGS;
    if (sl_str_ends(path, SL_STR("/completions")) && !sl_str_ends(path, SL_STR("/chat/completions")))
        return SL_LOAD_COMPLETIONS;
    return SL_LOAD_CHAT;
}

/* Path and query as they go on the wire. */
static void put_target(const sl_url *url, sl_buf *out)
{
    SL_ASSERT(url);
    if (sl_str_eq_c(url->path, "/") && !url->query.len)
        (void)sl_buf_put_c(out, "/v1/chat/completions");
    else if (sl_str_ends(url->path, SL_STR("/v1")) && !url->query.len)
        (void)sl_buf_printf(out, "%.*s/chat/completions", (int)url->path.len, url->path.ptr);
    else if (sl_str_ends(url->path, SL_STR("/v1/")) && !url->query.len)
        (void)sl_buf_printf(out, "%.*schat/completions", (int)url->path.len, url->path.ptr);
    else
        (void)sl_buf_put_str(out, url->target);
}

static void put_messages(sl_jw *w, sl_str prompt)
{
    sl_jw_member_array(w, "messages");
    sl_jw_object(w);
    sl_jw_member_c(w, "role", "user");
    sl_jw_member_str(w, "content", prompt);
    sl_jw_end(w);
    sl_jw_end(w);
}

static int put_body(const sl_load_ask *ask, sl_load_api api, sl_buf *out)
{
    SL_ASSERT(ask);
    sl_jw w;
    bool stream = ask->stream && api != SL_LOAD_EMBEDDINGS;
    sl_jw_init(&w, out);
    sl_jw_object(&w);
    sl_jw_member_str(&w, "model", ask->model);
    if (api == SL_LOAD_EMBEDDINGS)
        sl_jw_member_str(&w, "input", ask->prompt);
    else if (api == SL_LOAD_COMPLETIONS)
        sl_jw_member_str(&w, "prompt", ask->prompt);
    else
        put_messages(&w, ask->prompt);
    if (api != SL_LOAD_EMBEDDINGS && (ask->max_tokens || api == SL_LOAD_MESSAGES))
        sl_jw_member_u64(&w, "max_tokens", ask->max_tokens ? ask->max_tokens : 1024);
    if (stream)
        sl_jw_member_bool(&w, "stream", true);
    if (stream && api != SL_LOAD_MESSAGES)
        sl_jw_member_raw(&w, "stream_options", SL_STR("{\"include_usage\":true}"));
    sl_jw_end(&w);
    return sl_jw_finish(&w);
}

static int put_head(const sl_load_request *request, const sl_load_ask *ask, size_t body_bytes, sl_buf *out)
{
    SL_ASSERT(request && ask);
    sl_buf line;
    sl_buf_init(&line, MAX_LINE);
    put_target(&request->url, &line);
    (void)sl_http1_put_request(out, SL_STR("POST"), sl_buf_str(&line));
    sl_buf_clear(&line);
    (void)sl_http1_put_field(out, SL_STR("Host"), request->url.authority);
    (void)sl_http1_put_field(out, SL_STR("User-Agent"), SL_STR("sightline-load/" SL_VERSION_STRING));
    (void)sl_http1_put_field(out, SL_STR("Content-Type"), SL_STR("application/json"));
    (void)sl_http1_put_field(out, SL_STR("Accept"),
                             request->stream ? SL_STR("text/event-stream, application/json")
                                             : SL_STR("application/json"));
    if (ask->key.len && request->api == SL_LOAD_MESSAGES)
        (void)sl_http1_put_field(out, SL_STR("x-api-key"), ask->key);
    if (request->api == SL_LOAD_MESSAGES)
        (void)sl_http1_put_field(out, SL_STR("anthropic-version"), SL_STR("2023-06-01"));
    (void)sl_buf_printf(&line, "Bearer %.*s", (int)ask->key.len, ask->key.ptr ? ask->key.ptr : "");
    if (ask->key.len)
        (void)sl_http1_put_field(out, SL_STR("Authorization"), sl_buf_str(&line));
    (void)sl_http1_put_field_u64(out, SL_STR("Content-Length"), body_bytes);
    sl_buf_done(&line);
    return sl_http1_put_end(out);
}

int sl_load_request_init(sl_load_request *request, const sl_load_ask *ask, const char **ret_reason)
{
    SL_ASSERT(request && ask && ret_reason);
    memset(request, 0, sizeof *request);
    sl_buf_init(&request->bytes, SL_LOAD_MAX_REQUEST);
    *ret_reason = "the URL is too long";
    if (!sl_str_to_c(ask->url, request->url_text, sizeof request->url_text) ||
        sl_url_parse(sl_str_c(request->url_text), &request->url, ret_reason) != 0)
        return SL_EINVAL;
    request->api = api_of(request->url.path);
    request->stream = ask->stream && request->api != SL_LOAD_EMBEDDINGS;
    sl_buf body;
    sl_buf_init(&body, SL_LOAD_MAX_REQUEST);
    int error = put_body(ask, request->api, &body);
    (void)put_head(request, ask, body.len, &request->bytes);
    (void)sl_buf_put_str(&request->bytes, sl_buf_str(&body));
    sl_buf_done(&body);
    if (error || request->bytes.failed)
        *ret_reason = "key, model or prompt cannot be sent: a control character, too long, or out of memory";
    return error || request->bytes.failed ? SL_EINVAL : 0;
}

void sl_load_request_done(sl_load_request *request)
{
    SL_ASSERT(request);
    sl_buf_done(&request->bytes);
}
