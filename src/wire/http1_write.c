/* Writing heads of HTTP/1.1 messages. */
#include "src/wire/http1_write.h"

#include "src/base/assert.h"
#include "src/wire/http_field_chars.h"

/* clang-format off */
#define STATUS_MAP(X)                                                                                               \
    X(100, "Continue") X(101, "Switching Protocols") X(103, "Early Hints")                                          \
    X(200, "OK") X(201, "Created") X(202, "Accepted") X(203, "Non-Authoritative Information") X(204, "No Content")  \
    X(205, "Reset Content") X(206, "Partial Content")                                                               \
    X(300, "Multiple Choices") X(301, "Moved Permanently") X(302, "Found") X(303, "See Other")                      \
    X(304, "Not Modified") X(307, "Temporary Redirect") X(308, "Permanent Redirect")                                \
    X(400, "Bad Request") X(401, "Unauthorized") X(402, "Payment Required") X(403, "Forbidden")                     \
    X(404, "Not Found") X(405, "Method Not Allowed") X(406, "Not Acceptable")                                       \
    X(407, "Proxy Authentication Required") X(408, "Request Timeout") X(409, "Conflict") X(410, "Gone")             \
    X(411, "Length Required") X(412, "Precondition Failed") X(413, "Content Too Large") X(414, "URI Too Long")      \
    X(415, "Unsupported Media Type") X(416, "Range Not Satisfiable") X(417, "Expectation Failed")                   \
    X(421, "Misdirected Request") X(422, "Unprocessable Content") X(423, "Locked") X(424, "Failed Dependency")      \
    X(425, "Too Early") X(426, "Upgrade Required") X(428, "Precondition Required") X(429, "Too Many Requests")      \
    X(431, "Request Header Fields Too Large") X(451, "Unavailable For Legal Reasons")                               \
    X(500, "Internal Server Error") X(501, "Not Implemented") X(502, "Bad Gateway") X(503, "Service Unavailable")   \
    X(504, "Gateway Timeout") X(505, "HTTP Version Not Supported") X(507, "Insufficient Storage")
/* clang-format on */

const char *sl_http_status_text(int status)
{
    switch (status) {
#define STATUS_CASE(number, text)                                                                                      \
    case number:                                                                                                       \
        return text;
        STATUS_MAP(STATUS_CASE)
#undef STATUS_CASE
    default:
        return "Unknown";
    }
}

/* Remembers a refused append in the buffer, as a failed one. */
static int refuse(sl_buf *buf, int error)
{
    SL_ASSERT(buf);
    if (!buf->failed)
        buf->failed = error;
    return error;
}

/* Undoes a line of which only a part fitted. */
static int settle(sl_buf *buf, size_t before, int error)
{
    if (error)
        buf->len = before;
    return error;
}

int sl_http1_put_status(sl_buf *buf, int status)
{
    SL_ASSERT(buf && status >= 100 && status <= 599);
    size_t before = buf->len;
    int error = sl_buf_put_c(buf, "HTTP/1.1 ");
    if (!error)
        error = sl_buf_put_u64(buf, (uint64_t)status);
    if (!error)
        error = sl_buf_put_char(buf, ' ');
    if (!error)
        error = sl_buf_put_c(buf, sl_http_status_text(status));
    if (!error)
        error = sl_buf_put(buf, "\r\n", 2);
    return settle(buf, before, error);
}

int sl_http1_put_request(sl_buf *buf, sl_str method, sl_str target)
{
    SL_ASSERT(buf);
    if (method.len == 0 || sl_http_span(method.ptr, method.len, SL_HTTP_CHAR_TOKEN) != method.len || target.len == 0 ||
        sl_http_span(target.ptr, target.len, SL_HTTP_CHAR_TARGET) != target.len)
        return refuse(buf, SL_EINVAL);
    int error = sl_buf_reserve(buf, method.len + target.len + 12);
    if (error)
        return error;
    (void)sl_buf_put_str(buf, method);
    (void)sl_buf_put_char(buf, ' ');
    (void)sl_buf_put_str(buf, target);
    return sl_buf_put(buf, " HTTP/1.1\r\n", 11);
}

int sl_http1_put_field(sl_buf *buf, sl_str name, sl_str value)
{
    SL_ASSERT(buf);
    if (name.len == 0 || sl_http_span(name.ptr, name.len, SL_HTTP_CHAR_TOKEN) != name.len ||
        sl_http_find_control(value.ptr, value.len) != value.len)
        return refuse(buf, SL_EINVAL);
    int error = sl_buf_reserve(buf, name.len + value.len + 4);
    if (error)
        return error;
    (void)sl_buf_put_str(buf, name);
    (void)sl_buf_put(buf, ": ", 2);
    (void)sl_buf_put_str(buf, value);
    return sl_buf_put(buf, "\r\n", 2);
}

int sl_http1_put_field_u64(sl_buf *buf, sl_str name, uint64_t value)
{
    char text[20];
    size_t at = sizeof text;
    do {
        text[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value);
    return sl_http1_put_field(buf, name, sl_str_of(text + at, sizeof text - at));
}
