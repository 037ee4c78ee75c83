/* The life of a request: head, key, route, handler, answer. */
#include "src/flow/api_impl.h"

#include <stdarg.h>
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/flow/fault.h"
#include "src/llm/json_text.h"
#include "src/wire/http_field.h"
#include "src/wire/url.h"

#define DEFAULT_BODY_BYTES (8u * 1024 * 1024)
#define ARENA_BLOCK 1024u
#define ARENA_MAX (256u * 1024)
#define MAX_ANSWER_BYTES (64u * 1024 * 1024)

/* ---- matching ---- */

/* One segment off the front of a path that begins with '/'. */
static sl_str take_segment(sl_str *path)
{
    SL_ASSERT(path->len && path->ptr[0] == '/');
    sl_str rest = sl_str_sub(*path, 1, path->len);
    size_t end = sl_str_chr(rest, '/');
    if (end == SL_NPOS)
        end = rest.len;
    *path = sl_str_sub(rest, end, rest.len);
    return sl_str_sub(rest, 0, end);
}

static bool path_fits(const char *pattern_text, sl_str path, sl_str params[SL_API_MAX_PARAMS])
{
    sl_str pattern = sl_str_c(pattern_text);
    size_t count = 0;
    if (path.len > 1 && path.ptr[path.len - 1] == '/')
        path.len--;
    if (pattern.len > 1 && pattern.ptr[pattern.len - 1] == '/')
        pattern.len--;
    while (pattern.len && path.len) {
        sl_str want = take_segment(&pattern), have = take_segment(&path);
        if (want.len && want.ptr[0] == '{') {
            SL_ASSERT(count < SL_API_MAX_PARAMS);
            if (!have.len)
                return false;
            params[count++] = have;
        } else if (!sl_str_eq(want, have)) {
            return false;
        }
    }
    return !pattern.len && !path.len;
}

static bool has_params(const sl_api_route *route)
{
    return strchr(route->path, '{') != NULL;
}

const sl_api_route *sl_api_match(const sl_api_route *routes, size_t count, sl_http_method method, sl_str path,
                                 sl_str ret_params[SL_API_MAX_PARAMS], unsigned *ret_other_methods)
{
    SL_ASSERT(routes && ret_other_methods);
    const sl_api_route *found = NULL;
    *ret_other_methods = 0;
    if (!path.len || path.ptr[0] != '/')
        return NULL;
    for (size_t i = 0; i < count; i++) {
        sl_str params[SL_API_MAX_PARAMS] = {{NULL, 0}};
        /* "/deployments/create" before "/deployments/{name}": what is written out wins. */
        if ((found && !has_params(found)) || !path_fits(routes[i].path, path, params))
            continue;
        if (routes[i].method != method) {
            *ret_other_methods |= 1u << routes[i].method;
            continue;
        }
        if (found && has_params(&routes[i]))
            continue;
        found = &routes[i];
        memcpy(ret_params, params, sizeof params);
    }
    return found;
}

/* ---- a request ---- */

void *sl_api_user(const sl_api_request *request)
{
    return request->api->options.user;
}

sl_api_request *sl_api_ref(sl_api_request *request)
{
    SL_ASSERT(request && request->refs > 0);
    request->refs++;
    return request;
}

void sl_api_unref(sl_api_request *request)
{
    SL_ASSERT(request && request->refs > 0);
    if (--request->refs > 0)
        return;
    SL_ASSERT(!request->x);
    sl_arena_done(&request->arena);
    sl_free(request);
}

sl_str sl_api_param(const sl_api_request *request, size_t index)
{
    SL_ASSERT(index < SL_API_MAX_PARAMS);
    return request->params[index];
}

/* A decoded copy in the request's memory. */
static bool decode(sl_api_request *request, sl_str text, bool plus, sl_str *ret_text)
{
    char *room = sl_arena_alloc(&request->arena, text.len + 1);
    size_t len;
    if (!room || sl_url_decode(text, plus, room, text.len, &len) != 0)
        return false;
    room[len] = 0;
    *ret_text = sl_str_of(room, len);
    return sl_utf8_valid(*ret_text);
}

bool sl_api_query(sl_api_request *request, const char *name, sl_str *ret_value)
{
    sl_str value;
    return sl_query_get(request->query, name, &value) && decode(request, value, true, ret_value);
}

bool sl_api_query_at(sl_api_request *request, const char *name, size_t index, sl_str *ret_value)
{
    SL_ASSERT(name);
    sl_str rest = request->query, key, value;
    while (sl_query_next(&rest, &key, &value)) {
        if (sl_str_eq_c(key, name) && index-- == 0)
            return decode(request, value, true, ret_value);
    }
    return false;
}

bool sl_api_query_u64(sl_api_request *request, const char *name, uint64_t fallback, uint64_t max, uint64_t *ret_value)
{
    SL_ASSERT(ret_value && fallback <= max);
    sl_str text;
    if (!sl_api_query(request, name, &text)) {
        *ret_value = fallback;
        return true;
    }
    if (sl_str_to_u64(text, ret_value) == 0 && *ret_value <= max)
        return true;
    char message[96];
    (void)snprintf(message, sizeof message, "Input should be a whole number up to %llu", (unsigned long long)max);
    sl_api_invalid(request, "query", name, message);
    return false;
}

sl_str sl_api_request_body(const sl_api_request *request)
{
    SL_ASSERT(request->x);
    return sl_exchange_body(request->x);
}

sl_str sl_api_header(const sl_api_request *request, sl_http_field_id id)
{
    SL_ASSERT(request->x);
    return sl_http1_get(sl_exchange_head(request->x), id);
}

bool sl_api_json(sl_api_request *request, json_t **ret_value)
{
    SL_ASSERT(ret_value);
    sl_str body = sl_api_request_body(request);
    json_error_t error;
    *ret_value = NULL;
    if (!body.len)
        return true;
    *ret_value = sl_json_load(body, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &error);
    if (*ret_value)
        return true;
    char message[256];
    (void)snprintf(message, sizeof message, "JSON decode error: %s (line %d, column %d)", error.text, error.line,
                   error.column);
    sl_api_invalid(request, "body", "", message);
    return false;
}

sl_span *sl_api_span(const sl_api_request *request)
{
    return request->span;
}

sl_exchange *sl_api_exchange(const sl_api_request *request)
{
    return request->x;
}

sl_arena *sl_api_arena(sl_api_request *request)
{
    return &request->arena;
}

sl_str sl_api_caller(const sl_api_request *request)
{
    return sl_str_c(request->caller);
}

/* ---- answers ---- */

/* Memory ran out meanwhile: what was read may lack something, what was refused may have been right. What was changed
 * was changed. */
static bool is_doubtful(const sl_api_request *request, int status)
{
    return sl_mem_failures() != request->memory_failures && status < 500 &&
           (request->method == SL_HTTP_GET || status >= 400);
}

void sl_api_reply_text(sl_api_request *request, int status, const char *content_type, sl_str body)
{
    SL_ASSERT(request && !request->answered);
    if (is_doubtful(request, status)) {
        status = 503;
        content_type = "application/json";
        body = SL_STR("{\"detail\":\"out of memory\"}");
    }
    request->answered = true;
    request->status = status;
    if (!request->x)
        return;
    sl_http_reply reply = {.status = status, .content_type = content_type, .body = body};
    if (status == 401)
        reply.fields = SL_STR("WWW-Authenticate: Bearer\r\n");
    else if (status == 503)
        reply.fields = SL_STR("Retry-After: 1\r\n");
    sl_exchange_respond(request->x, &reply);
}

void sl_api_reply(sl_api_request *request, int status, json_t *value)
{
    sl_buf text;
    sl_buf_init(&text, MAX_ANSWER_BYTES);
    if (!value || sl_json_put_value(&text, value) != 0)
        sl_api_reply_text(request, 503, "application/json", SL_STR("{\"detail\":\"out of memory\"}"));
    else
        sl_api_reply_text(request, status, "application/json", sl_buf_str(&text));
    sl_buf_done(&text);
    json_decref(value);
}

void sl_api_fail(sl_api_request *request, int status, const char *format, ...)
{
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    size_t len = sl_flow_mend(text);
    sl_api_reply(request, status, json_pack("{s:s%}", "detail", text, len));
}

void sl_api_invalid(sl_api_request *request, const char *where, const char *name, const char *message)
{
    SL_ASSERT(where && name && message);
    json_t *place = *name ? json_pack("[s,s]", where, name) : json_pack("[s]", where);
    sl_api_reply(request, 422,
                 json_pack("{s:[{s:s,s:o,s:s}]}", "detail", "type", "value_error", "loc", place, "msg", message));
}

void sl_api_fail_code(sl_api_request *request, int error, const char *what)
{
    SL_ASSERT(error);
    int status = 500;
    if (error == SL_EAGAIN || error == SL_ELIMIT || error == SL_ENOMEM || error == SL_ECLOSED || error == SL_EIO)
        status = 503;
    else if (error == SL_ENOENT)
        status = 404;
    else if (error == SL_EEXIST)
        status = 409;
    else if (error == SL_ETOOBIG)
        status = 413;
    sl_api_fail(request, status, "%s: %s", what, sl_strerror(error));
}

/* ---- streams ---- */

void sl_api_stream(sl_api_request *request, const char *content_type, void (*on_over)(void *user),
                   void (*on_writable)(void *user), void *user)
{
    SL_ASSERT(!request->answered && on_over);
    request->answered = true;
    request->status = 200;
    request->on_over = on_over;
    request->on_writable = on_writable;
    request->stream_user = user;
    sl_http_stream stream = {
        .status = 200, .content_type = content_type, .fields = SL_STR("Cache-Control: no-cache\r\n")};
    if (request->x)
        (void)sl_exchange_begin(request->x, &stream);
}

bool sl_api_stream_write(sl_api_request *request, sl_str data, bool last)
{
    SL_ASSERT(request->answered);
    return request->x ? sl_exchange_write(request->x, data, last) : false;
}

size_t sl_api_stream_unsent(const sl_api_request *request)
{
    return request->x ? sl_exchange_unsent(request->x) : 0;
}

void sl_api_stream_abort(sl_api_request *request)
{
    if (request->x)
        sl_exchange_abort(request->x);
}

/* ---- the server's calls ---- */

static bool may(const sl_api *api, const sl_api_route *route, const sl_http1_head *head)
{
    SL_ASSERT(api);
    sl_str given;
    if (!api->options.key.len || (route && route->open))
        return true;
    return sl_http_bearer(sl_http1_get(head, SL_HTTP_AUTHORIZATION), &given) &&
           sl_str_eq_secret(api->options.key, given);
}

/* What the head alone decides. */
static void check_head(sl_api_request *request, const sl_http1_head *head, unsigned other_methods)
{
    sl_str coding = sl_http1_get(head, SL_HTTP_CONTENT_ENCODING);
    if (!may(request->api, request->route, head))
        sl_api_fail(request, 401, "Not authenticated: send the key as `Authorization: Bearer KEY`");
    else if (!request->route && other_methods) {
        if (other_methods & 1u << SL_HTTP_GET)
            other_methods |= 1u << SL_HTTP_HEAD;
        sl_exchange_allow(request->x, other_methods);
        sl_api_fail(request, 405, "Method Not Allowed");
    } else if (!request->route)
        sl_api_fail(request, 404, "Not Found");
    else if (coding.len && !sl_str_ieq(coding, SL_STR("identity")))
        sl_api_fail(request, 415, "compressed request bodies are not supported");
}

static void name_caller(sl_api_request *request, const sl_http1_head *head)
{
    SL_ASSERT(request->x);
    sl_str given;
    uint16_t port;
    if (request->api->options.key.len && sl_http_bearer(sl_http1_get(head, SL_HTTP_AUTHORIZATION), &given))
        (void)snprintf(request->caller, sizeof request->caller, "key");
    else {
        sl_str peer = sl_exchange_peer(request->x, &port);
        (void)snprintf(request->caller, sizeof request->caller, "%.*s", (int)peer.len, peer.ptr);
    }
}

static void on_head(void *user, sl_exchange *x)
{
    sl_api *api = user;
    const sl_http1_head *head = sl_exchange_head(x);
    sl_api_request *request = sl_calloc(1, sizeof *request);
    sl_str path;
    unsigned other_methods;
    if (!request) {
        sl_exchange_error(x, 503, "server_error", "out_of_memory", "no memory for the request");
        return;
    }
    api->in_flight++;
    request->api = api;
    request->x = x;
    request->refs = 1;
    request->method = head->method_id == SL_HTTP_HEAD ? SL_HTTP_GET : head->method_id;
    request->start_ns = sl_exchange_start_ns(x);
    request->memory_failures = sl_mem_failures();
    sl_arena_init(&request->arena, ARENA_BLOCK, ARENA_MAX);
    sl_exchange_set_data(x, request);
    sl_target_split(head->target, &path, &request->query);
    request->route = sl_api_match(api->options.routes, api->options.route_count, request->method, path,
                                  request->raw_params, &other_methods);
    sl_api_trace_start(request, head, path);
    name_caller(request, head);
    check_head(request, head, other_methods);
}

/* Flags of the route ("reload:true") that the query has and that say neither. False: answered. */
static bool flags_are_sound(sl_api_request *request)
{
    sl_str rest = sl_str_c(request->route->query), word, value;
    while (request->route->query && sl_str_split(&rest, ' ', &word)) {
        char name[64];
        if (!sl_str_ends(word, SL_STR(":true")))
            continue;
        (void)snprintf(name, sizeof name, "%.*s", (int)(word.len - 5), word.ptr);
        bool given = sl_api_query(request, name, &value);
        if (given && !sl_str_ieq(value, SL_STR("true")) && !sl_str_eq_c(value, "1") &&
            !sl_str_ieq(value, SL_STR("false")) && !sl_str_eq_c(value, "0")) {
            sl_api_invalid(request, "query", name, "Input should be true or false");
            return false;
        }
    }
    return true;
}

bool sl_api_query_flag(sl_api_request *request, const char *name)
{
    sl_str value;
    return sl_api_query(request, name, &value) && (sl_str_ieq(value, SL_STR("true")) || sl_str_eq_c(value, "1"));
}

static void on_request(void *user, sl_exchange *x)
{
    (void)user;
    sl_api_request *request = sl_exchange_data(x);
    SL_ASSERT(request && request->route && !request->answered);
    sl_str path;
    unsigned other_methods;
    request->memory_failures = sl_mem_failures();
    /* The head may have moved since: take the views again. */
    sl_target_split(sl_exchange_head(x)->target, &path, &request->query);
    request->query = sl_arena_dup(&request->arena, request->query);
    (void)sl_api_match(request->route, 1, request->method, path, request->raw_params, &other_methods);
    for (size_t i = 0; i < SL_API_MAX_PARAMS; i++) {
        if (request->raw_params[i].len && !decode(request, request->raw_params[i], false, &request->params[i])) {
            sl_api_fail(request, 400, "the path cannot be decoded");
            return;
        }
    }
    if (!flags_are_sound(request))
        return;
    sl_api_ref(request);
    sl_span *before = sl_span_attach(request->span);
    request->route->run(request);
    (void)sl_span_attach(before);
    sl_api_unref(request);
}

static void on_writable(void *user, sl_exchange *x)
{
    (void)user;
    sl_api_request *request = sl_exchange_data(x);
    if (request && request->on_writable)
        request->on_writable(request->stream_user);
}

static void on_done(void *user, sl_exchange *x, int outcome)
{
    sl_api *api = user;
    sl_api_request *request = sl_exchange_data(x);
    if (!request)
        return;
    request->x = NULL;
    api->in_flight--;
    sl_api_trace_end(request, outcome);
    if (request->on_over)
        request->on_over(request->stream_user);
    sl_api_unref(request);
}

/* ---- the surface ---- */

int sl_api_new(sl_loop *loop, const sl_api_options *options, sl_api **ret_api)
{
    SL_ASSERT(options && options->routes && options->route_count <= SL_API_MAX_ROUTES);
    sl_api *api = sl_calloc(1, sizeof *api);
    if (!api)
        return SL_ENOMEM;
    api->options = *options;
    api->loop = loop;
    sl_http_handler handler = {.user = api,
                               .on_head = on_head,
                               .on_request = on_request,
                               .on_writable = on_writable,
                               .on_done = on_done,
                               .on_refused = sl_api_trace_refused};
    sl_http_server_options server = {.max_body_bytes =
                                         options->max_body_bytes ? options->max_body_bytes : DEFAULT_BODY_BYTES,
                                     .detail_errors = true};
    int error = sl_http_server_new(loop, &handler, &server, &api->http);
    if (error) {
        sl_free(api);
        return error;
    }
    sl_api_telemetry_init(api);
    *ret_api = api;
    return 0;
}

int sl_api_listen(sl_api *api, int fd)
{
    return sl_http_server_listen(api->http, fd);
}

void sl_api_drain(sl_api *api, void (*on_drained)(void *user), void *user)
{
    sl_http_server_drain(api->http, on_drained, user);
}

void sl_api_close(sl_api *api)
{
    if (api && api->http)
        sl_http_server_close(api->http);
    if (api)
        api->http = NULL;
}

void sl_api_free(sl_api *api)
{
    SL_ASSERT(!api || (!api->http && !api->in_flight));
    sl_free(api);
}

size_t sl_api_in_flight(const sl_api *api)
{
    return api->in_flight;
}
