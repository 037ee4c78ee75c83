/* HTTP calls of steps. */
#include "src/flow/step_http.h"

#include <netinet/in.h>
#include <stdio.h>

#include "src/base/clock.h"
#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/llm/json_text.h"
#include "src/net/upstream.h"
#include "src/wire/http1_write.h"
#include "src/wire/url.h"

#define CONNECT_TIMEOUT_MS 10000
#define ANSWER_TIMEOUT_MS 120000 /* for the first byte, and between two reads */

struct sl_flow_http {
    sl_call call;
    sl_flow_http_request request; /* views of it are not used after the start */
    sl_buf head;
    sl_buf body;
    sl_buf answer;
    sl_span *span;
    json_t *headers;
    int status;
    bool is_json;
    uint64_t retry_after_ms;
};

/* ---- who may be called ---- */

static bool v4_may(uint32_t address)
{
    return (address >> 16) != 0xA9FE && /* 169.254.0.0/16: link-local, metadata of most clouds */
           address != 0x646464C8 &&     /* 100.100.100.200: Alibaba Cloud's */
           address != 0xA83F8110 &&     /* 168.63.129.16: Azure's */
           address != 0xC00000C0;       /* 192.0.0.192: Oracle Cloud's */
}

static uint32_t last_four(const uint8_t *bytes)
{
    return (uint32_t)bytes[12] << 24 | (uint32_t)bytes[13] << 16 | (uint32_t)bytes[14] << 8 | bytes[15];
}

static bool v6_may(const uint8_t *b)
{
    static const uint8_t mapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xFF, 0xFF};
    static const uint8_t translated[12] = {0, 0x64, 0xFF, 0x9B};
    static const uint8_t compatible[12] = {0};
    static const uint8_t aws[16] = {0xFD, 0, 0x0E, 0xC2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0x54};
    if (b[0] == 0xFE && (b[1] & 0xC0) == 0x80)
        return false;
    if (memcmp(b, aws, sizeof aws) == 0)
        return false;
    if (memcmp(b, mapped, 12) == 0 || memcmp(b, translated, 12) == 0 || memcmp(b, compatible, 12) == 0)
        return v4_may(last_four(b));
    return true;
}

bool sl_flow_http_may_connect(const struct sockaddr *address)
{
    SL_ASSERT(address);
    if (address->sa_family == AF_INET)
        return v4_may(ntohl(((const struct sockaddr_in *)(const void *)address)->sin_addr.s_addr));
    if (address->sa_family == AF_INET6)
        return v6_may(((const struct sockaddr_in6 *)(const void *)address)->sin6_addr.s6_addr);
    return false;
}

bool sl_flow_http_is_allowed(const sl_flow_services *services, sl_str host, uint16_t port)
{
    SL_ASSERT(services && services->http_allowed_count <= SL_FLOW_MAX_ALLOWED);
    char name[256], with_port[264];
    if (host.len == 0 || host.len >= sizeof name)
        return false;
    for (size_t i = 0; i < host.len; i++)
        name[i] = sl_ascii_lower(host.ptr[i]);
    name[host.len] = '\0';
    (void)snprintf(with_port, sizeof with_port, "%s:%u", name, (unsigned)port);
    for (size_t i = 0; i < services->http_allowed_count; i++) {
        sl_str pattern = sl_str_c(services->http_allowed[i]);
        if (sl_str_glob(pattern, sl_str_c(with_port)) ||
            (sl_str_chr(pattern, ':') == SL_NPOS && sl_str_glob(pattern, sl_str_c(name))))
            return true;
    }
    return services->http_allowed_count == 0;
}

sl_step_error sl_flow_http_status_error(int status)
{
    bool again = status == 408 || status == 409 || status == 425 || status == 429 || status >= 500;
    return again ? SL_STEP_ERROR_PROVIDER : SL_STEP_ERROR_REFUSED;
}

/* ---- the end ---- */

static void http_free(sl_flow_http *h)
{
    sl_buf_done(&h->head);
    sl_buf_done(&h->body);
    sl_buf_done(&h->answer);
    json_decref(h->headers);
    sl_span_end(h->span);
    sl_free(h);
}

static void fail(sl_flow_http *h, sl_step_error error, const char *reason)
{
    SL_ASSERT(h && error != SL_STEP_ERROR_NONE);
    sl_span_set_status(h->span, SL_STATUS_ERROR, reason);
    sl_span_set_str(h->span, "error.type", sl_step_error_name(error));
    h->request.done(h->request.user, NULL, error, reason);
    http_free(h);
}

static void finish(sl_flow_http *h)
{
    sl_flow_http_answer answer = {.status = h->status,
                                  .body = sl_buf_str(&h->answer),
                                  .headers = h->headers,
                                  .is_json = h->is_json,
                                  .retry_after_ms = h->retry_after_ms,
                                  .duration_ns = sl_mono_ns() - h->call.start_ns};
    if (h->status >= 400) {
        char code[16];
        (void)snprintf(code, sizeof code, "%d", h->status);
        sl_span_set_status(h->span, SL_STATUS_ERROR, NULL);
        sl_span_set_str(h->span, "error.type", code);
    }
    h->request.done(h->request.user, &answer, SL_STEP_ERROR_NONE, "");
    http_free(h);
}

/* ---- the answer ---- */

static int add_header(json_t *headers, const sl_http1_field *field)
{
    char name[128];
    if (field->name.len >= sizeof name || !sl_utf8_valid(field->value))
        return 0; /* left out */
    for (size_t i = 0; i < field->name.len; i++)
        name[i] = sl_ascii_lower(field->name.ptr[i]);
    json_t *before = json_object_getn(headers, name, field->name.len);
    sl_str value = field->value;
    json_t *text = before ? json_sprintf("%s, %.*s", json_string_value(before), (int)value.len, value.ptr)
                          : json_stringn(value.len ? value.ptr : "", value.len);
    return json_object_setn_new_nocheck(headers, name, field->name.len, text) ? SL_ENOMEM : 0;
}

static int take_head(sl_flow_http *h, const sl_http1_head *head)
{
    h->status = head->status;
    sl_span_set_int(h->span, "http.response.status_code", head->status);
    sl_str type = sl_http1_get(head, SL_HTTP_CONTENT_TYPE);
    size_t end = sl_str_chr(type, ';');
    type = sl_str_trim(sl_str_sub(type, 0, end));
    h->is_json = sl_str_ieq(type, SL_STR("application/json")) || sl_str_ends(type, SL_STR("+json"));
    uint64_t seconds;
    if (sl_str_to_u64(sl_http1_get(head, SL_HTTP_RETRY_AFTER), &seconds) == 0)
        h->retry_after_ms = seconds > 3600 ? 3600000 : seconds * 1000;
    int error = 0;
    for (size_t i = 0; !error && i < head->field_count; i++)
        error = add_header(h->headers, &head->fields[i]);
    return error;
}

static void on_read(sl_call *call, const sl_http1_head *head, sl_str body, bool end)
{
    sl_flow_http *h = call->user;
    int error = head ? take_head(h, head) : 0;
    if (!error)
        error = sl_buf_put_str(&h->answer, body);
    if (error) {
        if (!end)
            sl_call_cancel(call);
        if (error == SL_ELIMIT)
            fail(h, SL_STEP_ERROR_TOO_BIG, "the answer is larger than 16 MiB");
        else
            fail(h, SL_STEP_ERROR_INTERNAL, "out of memory");
        return;
    }
    if (end)
        finish(h);
}

static void on_fail(sl_call *call, int error, const char *reason)
{
    sl_flow_http *h = call->user;
    sl_step_error kind = SL_STEP_ERROR_PROVIDER;
    if (error == SL_ETIMEOUT)
        kind = SL_STEP_ERROR_TIMEOUT;
    else if (error == SL_EREFUSED)
        kind = SL_STEP_ERROR_FORBIDDEN;
    else if (error == SL_ETLS)
        kind = SL_STEP_ERROR_REFUSED;
    else if (error == SL_ENOMEM)
        kind = SL_STEP_ERROR_INTERNAL;
    fail(h, kind, reason);
}

static const sl_call_handler handler = {on_read, on_fail};

void sl_flow_http_cancel(sl_flow_http *http)
{
    SL_ASSERT(http);
    sl_call_cancel(&http->call);
    sl_span_set_status(http->span, SL_STATUS_ERROR, "cancelled");
    sl_span_set_str(http->span, "error.type", "cancelled");
    http_free(http);
}

/* ---- the request ---- */

static bool is_ours(sl_str name)
{
    static const char *const names[] = {"host", "content-length", "transfer-encoding", "connection",
                                        "te",   "upgrade",        "trailer",           "expect"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (sl_str_ieq(name, sl_str_c(names[i])))
            return true;
    return false;
}

static size_t put_number(char *text, size_t size, const json_t *value)
{
    SL_ASSERT(json_is_number(value));
    char *number = sl_json_text(value);
    int len = snprintf(text, size, "%s", number ? number : "");
    free(number);
    return len > 0 && (size_t)len < size ? (size_t)len : 0;
}

static const char *put_headers(sl_buf *head, json_t *headers, bool *ret_has_type)
{
    const char *name;
    json_t *value;
    json_object_foreach(headers, name, value)
    {
        char number[40];
        sl_str text = sl_str_of(number, 0);
        if (json_is_string(value))
            text = sl_str_of(json_string_value(value), json_string_length(value));
        else if (json_is_number(value))
            text.len = put_number(number, sizeof number, value);
        else if (json_is_null(value))
            continue;
        else
            return "a header must be a text or a number";
        if (is_ours(sl_str_c(name)))
            return "Host, Content-Length and what governs the connection cannot be set";
        *ret_has_type = *ret_has_type || sl_str_ieq(sl_str_c(name), SL_STR("content-type"));
        if (sl_http1_put_field(head, sl_str_c(name), text))
            return "a header's name or value has characters that do not belong there";
    }
    return NULL;
}

static void put_trace(void *user, sl_str name, sl_str value)
{
    (void)sl_http1_put_field(user, name, value);
}

static const char *write_head(sl_flow_http *h, sl_step_try *attempt, const sl_flow_http_request *r, const sl_url *url)
{
    bool has_type = false;
    if (sl_http1_put_request(&h->head, r->method, url->target))
        return "the method is none";
    (void)sl_http1_put_field(&h->head, SL_STR("Host"), url->authority);
    const char *wrong = r->headers ? put_headers(&h->head, r->headers, &has_type) : NULL;
    if (wrong)
        return wrong;
    if (!has_type && r->content_type.len)
        (void)sl_http1_put_field(&h->head, SL_STR("Content-Type"), r->content_type);
    if (r->body.len || sl_str_eq(r->method, SL_STR("POST")) || sl_str_eq(r->method, SL_STR("PUT")))
        (void)sl_http1_put_field_u64(&h->head, SL_STR("Content-Length"), r->body.len);
    if (h->span)
        sl_propagation_inject(attempt->services->sdk, h->span, NULL, put_trace, &h->head);
    (void)sl_http1_put_end(&h->head);
    (void)sl_buf_put_str(&h->body, r->body);
    return h->head.failed || h->body.failed ? "the request is too big" : NULL;
}

static sl_span *start_span(sl_step_try *attempt, const sl_flow_http_request *r, const sl_url *url)
{
    if (!attempt->services->sdk)
        return NULL;
    sl_tracer *tracer = sl_tracer_named(attempt->services->sdk, "sightline.flow");
    sl_span_options options = {.kind = SL_SPAN_CLIENT, .parent = attempt->span};
    sl_span *span = sl_span_start(tracer, r->method, &options);
    char text[300];
    (void)snprintf(text, sizeof text, "%s://%.*s%.*s", url->tls ? "https" : "http",
                   (int)(url->authority.len > 100 ? 100 : url->authority.len), url->authority.ptr,
                   (int)(url->path.len > 180 ? 180 : url->path.len), url->path.ptr);
    sl_span_set(span, SL_STR("http.request.method"), sl_value_str(r->method));
    sl_span_set(span, SL_STR("server.address"), sl_value_str(url->host));
    sl_span_set_int(span, "server.port", url->port);
    sl_span_set_str(span, "url.full", text); /* a query may hold secrets: it is left out */
    return span;
}

static sl_step_error refuse(char *reason, sl_step_error error, const char *text)
{
    (void)snprintf(reason, SL_FLOW_HTTP_REASON, "%s", text);
    return error;
}

/* Origin of a URL that may be called. */
static sl_step_error find_origin(sl_step_try *attempt, const sl_flow_http_request *r, sl_url *ret_url,
                                 sl_origin **ret_origin, char *reason)
{
    const char *why = "";
    if (!attempt->services->upstream)
        return refuse(reason, SL_STEP_ERROR_INTERNAL, "no HTTP client is there");
    if (sl_url_parse(r->url, ret_url, &why)) {
        (void)snprintf(reason, SL_FLOW_HTTP_REASON, "the URL cannot be used: %s", why);
        return SL_STEP_ERROR_INPUT;
    }
    if (!r->trusted && !sl_flow_http_is_allowed(attempt->services, ret_url->host, ret_url->port)) {
        (void)snprintf(reason, SL_FLOW_HTTP_REASON, "%.*s port %u is not on the list of hosts that may be called",
                       (int)(ret_url->host.len > 200 ? 200 : ret_url->host.len), ret_url->host.ptr,
                       (unsigned)ret_url->port);
        return SL_STEP_ERROR_FORBIDDEN;
    }
    sl_origin_options options = {.host = ret_url->host,
                                 .port = ret_url->port,
                                 .tls = ret_url->tls,
                                 .allow = sl_flow_http_may_connect,
                                 .passing = true};
    int error = sl_upstream_origin(attempt->services->upstream, &options, ret_origin);
    if (error == SL_EREFUSED)
        return refuse(reason, SL_STEP_ERROR_FORBIDDEN, "link-local and metadata addresses are not called");
    return error ? refuse(reason, SL_STEP_ERROR_INTERNAL, sl_strerror(error)) : SL_STEP_ERROR_NONE;
}

sl_step_error sl_flow_http_start(sl_step_try *attempt, const sl_flow_http_request *r, char *reason,
                                 sl_flow_http **ret_http)
{
    SL_ASSERT(attempt && attempt->services && r && r->done && reason && ret_http);
    sl_url url;
    sl_origin *origin = NULL;
    sl_step_error wrong = find_origin(attempt, r, &url, &origin, reason);
    if (wrong)
        return wrong;
    sl_flow_http *h = sl_calloc(1, sizeof *h);
    if (!h)
        return refuse(reason, SL_STEP_ERROR_INTERNAL, "out of memory");
    h->request = *r;
    sl_buf_init(&h->head, SL_MAX_HEAD_BYTES);
    sl_buf_init(&h->body, SL_MAX_FLOW_HTTP_BODY_BYTES);
    sl_buf_init(&h->answer, SL_MAX_FLOW_HTTP_BODY_BYTES);
    h->headers = json_object();
    h->span = start_span(attempt, r, &url);
    const char *text = h->headers ? write_head(h, attempt, r, &url) : "out of memory";
    if (text) {
        http_free(h);
        return refuse(reason, SL_STEP_ERROR_INPUT, text);
    }
    h->call.handler = &handler;
    h->call.user = h;
    h->call.pieces[0] = sl_buf_str(&h->head);
    h->call.pieces[1] = sl_buf_str(&h->body);
    h->call.piece_count = h->body.len ? 2 : 1;
    h->call.is_head = sl_str_eq(r->method, SL_STR("HEAD"));
    h->call.connect_timeout_ms = CONNECT_TIMEOUT_MS;
    h->call.wait_timeout_ms = ANSWER_TIMEOUT_MS;
    h->call.read_timeout_ms = ANSWER_TIMEOUT_MS;
    h->call.start_ns = sl_mono_ns();
    sl_call_start(&h->call, origin);
    *ret_http = h;
    return SL_STEP_ERROR_NONE;
}
