/* Control server: routes, and what handlers use. */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/net/lite/ctl_server_conn.h"
#include "src/wire/http_field.h"
#include "src/wire/json_write.h"
#include "src/wire/url.h"

#define MAX_HEADER_BYTES 8192 /* further fields of one answer */

void sl_ctl_response_init(sl_ctl_response *response)
{
    SL_ASSERT(response);
    memset(response, 0, sizeof *response);
    response->status = 200;
    response->content_type = "application/json";
    sl_buf_init(&response->body, SL_MAX_CTL_RESPONSE_BYTES);
    sl_buf_init(&response->headers, MAX_HEADER_BYTES);
}

void sl_ctl_response_done(sl_ctl_response *response)
{
    SL_ASSERT(response);
    sl_buf_done(&response->body);
    sl_buf_done(&response->headers);
    if (response->stream_free)
        response->stream_free(response->stream_user);
    response->stream = NULL;
    response->stream_free = NULL;
}

sl_str sl_ctl_header(const sl_ctl_request *request, sl_str name)
{
    sl_str value;
    SL_ASSERT(request && request->head);
    return sl_http1_find(request->head, name, &value) ? value : sl_str_of(NULL, 0);
}

bool sl_ctl_query(const sl_ctl_request *request, sl_str name, char *buffer, size_t size)
{
    SL_ASSERT(request && buffer && size > 0);
    sl_str rest = request->query, key, value;
    while (sl_query_next(&rest, &key, &value)) {
        size_t len;
        if (!sl_str_eq(key, name))
            continue;
        if (sl_url_decode(value, true, buffer, size - 1, &len) != 0)
            return false;
        buffer[len] = '\0';
        return true;
    }
    return false;
}

void sl_ctl_add_header(sl_ctl_response *response, sl_str name, sl_str value)
{
    SL_ASSERT(response);
    for (size_t i = 0; i < value.len; i++) {
        unsigned char c = (unsigned char)value.ptr[i];
        if (c < 0x20 || c == 0x7F)
            return;
    }
    if (!sl_http_is_token(name) || name.len + value.len + 4 > MAX_HEADER_BYTES - response->headers.len)
        return;
    if (sl_buf_reserve(&response->headers, name.len + value.len + 4) != 0)
        return;
    (void)sl_buf_put_str(&response->headers, name);
    (void)sl_buf_put_c(&response->headers, ": ");
    (void)sl_buf_put_str(&response->headers, value);
    (void)sl_buf_put_c(&response->headers, "\r\n");
}

void sl_ctl_error(sl_ctl_response *response, int status, const char *type, const char *format, ...)
{
    SL_ASSERT(response && type && format && status >= 400 && status <= 599);
    char message[512];
    va_list args;
    va_start(args, format);
    vsnprintf(message, sizeof message, format, args);
    va_end(args);
    sl_buf_clear(&response->body);
    sl_jw w;
    sl_jw_init(&w, &response->body);
    sl_jw_object(&w);
    sl_jw_member_object(&w, "error");
    sl_jw_member_c(&w, "message", message);
    sl_jw_member_c(&w, "type", type);
    sl_jw_member_i64(&w, "code", status);
    sl_jw_end(&w);
    sl_jw_end(&w);
    if (sl_jw_finish(&w) != 0)
        sl_buf_clear(&response->body);
    response->status = status;
    response->content_type = "application/json";
}

/* ---- routes ---- */

static unsigned method_bit(sl_http_method method)
{
    switch (method) {
    case SL_HTTP_GET:
    case SL_HTTP_HEAD:
        return SL_CTL_GET;
    case SL_HTTP_POST:
        return SL_CTL_POST;
    case SL_HTTP_PUT:
        return SL_CTL_PUT;
    case SL_HTTP_DELETE:
        return SL_CTL_DELETE;
    default:
        return 0;
    }
}

static unsigned methods_of(const sl_ctl_route *route)
{
    SL_ASSERT(route);
    return route->methods ? route->methods : SL_CTL_GET;
}

/* True when the route's pattern fits; the rest behind the star. */
static bool fits(const sl_ctl_route *route, sl_str path, sl_str *ret_rest)
{
    SL_ASSERT(route && ret_rest);
    sl_str pattern = sl_str_c(route->path);
    if (pattern.len && pattern.ptr[pattern.len - 1] == '*') {
        pattern.len--;
        *ret_rest = sl_str_sub(path, pattern.len, path.len);
        return sl_str_starts(path, pattern);
    }
    *ret_rest = sl_str_of(NULL, 0);
    return sl_str_eq(path, pattern);
}

static void refuse_method(sl_ctl_response *response, unsigned allowed)
{
    char text[64];
    snprintf(text, sizeof text, "%s%s%s%s", allowed & SL_CTL_GET ? ", GET, HEAD" : "",
             allowed & SL_CTL_POST ? ", POST" : "", allowed & SL_CTL_PUT ? ", PUT" : "",
             allowed & SL_CTL_DELETE ? ", DELETE" : "");
    const char *list = text[0] ? text + 2 : "";
    sl_ctl_error(response, 405, "method_not_allowed", "this path answers %s", list);
    sl_ctl_add_header(response, SL_STR("Allow"), sl_str_c(list));
}

void sl_ctl_dispatch(const sl_ctl_route *routes, size_t count, const sl_http1_head *head, sl_str body,
                     sl_ctl_response *response)
{
    SL_ASSERT(head && response && (routes || count == 0));
    sl_ctl_request request;
    memset(&request, 0, sizeof request);
    request.method = method_bit(head->method_id);
    request.body = body;
    request.head = head;
    sl_target_split(head->target, &request.path, &request.query);
    unsigned allowed = 0;
    for (size_t i = 0; i < count; i++) {
        if (!fits(&routes[i], request.path, &request.path_rest))
            continue;
        if (methods_of(&routes[i]) & request.method) {
            routes[i].fn(routes[i].user, &request, response);
            return;
        }
        allowed |= methods_of(&routes[i]);
    }
    if (allowed)
        refuse_method(response, allowed);
    else
        sl_ctl_error(response, 404, "not_found", "nothing is at this path");
}
