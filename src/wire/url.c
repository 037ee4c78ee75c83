/* URLs, addresses, request targets, percent coding. */
#include "src/wire/url.h"

#include <arpa/inet.h>

#include "src/base/assert.h"
#include "src/wire/http_field_chars.h"

/* True when every '%' is followed by two hex digits. */
static bool percent_is_sound(sl_str text)
{
    SL_ASSERT(text.ptr || !text.len);
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] != '%')
            continue;
        if (text.len - i < 3 || sl_hex_value(text.ptr[i + 1]) < 0 || sl_hex_value(text.ptr[i + 2]) < 0)
            return false;
        i += 2;
    }
    return true;
}

/* Digits of a port, 1 to 65535. */
static bool read_port(sl_str text, uint16_t *ret_port)
{
    SL_ASSERT(ret_port);
    uint64_t port = 0;
    if (text.len > 5 || sl_str_to_u64(text, &port) != 0 || port == 0 || port > 65535)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

/* The text between the brackets. */
static bool is_v6_address(sl_str text)
{
    char copy[INET6_ADDRSTRLEN];
    struct in6_addr address;
    return sl_str_to_c(text, copy, sizeof copy) && inet_pton(AF_INET6, copy, &address) == 1;
}

int sl_hostport_parse_peer(sl_str text, sl_hostport *ret_hostport)
{
    SL_ASSERT(ret_hostport && (text.ptr || !text.len));
    sl_hostport out = {false, false, {NULL, 0}, 0};
    size_t end;
    if (text.len && text.ptr[0] == '[') {
        size_t close = sl_str_chr(text, ']');
        if (close == SL_NPOS)
            return SL_EPARSE;
        out.is_v6 = true;
        out.host = sl_str_sub(text, 1, close - 1);
        if (!is_v6_address(out.host))
            return SL_EPARSE;
        end = close + 1;
    } else {
        end = sl_http_span(text.ptr, text.len, SL_HTTP_CHAR_HOST);
        out.host = sl_str_sub(text, 0, end);
        if (end == 0 || !percent_is_sound(out.host))
            return SL_EPARSE;
    }
    if (end < text.len) {
        if (text.ptr[end] != ':' || !read_port(sl_str_sub(text, end + 1, text.len), &out.port))
            return SL_EPARSE;
        out.has_port = true;
    }
    *ret_hostport = out;
    return 0;
}

/* Why the text as a whole cannot be a URL; NULL when it can. */
static const char *text_fault(sl_str text)
{
    SL_ASSERT(text.ptr || !text.len);
    for (size_t i = 0; i < text.len; i++) {
        if (text.ptr[i] == '#')
            return "a URL with a fragment (#) is not allowed here";
        if (!sl_http_char_is(text.ptr[i], SL_HTTP_CHAR_TARGET) && text.ptr[i] != '"')
            return "the URL contains white space, a control or a non-ASCII character";
    }
    if (sl_str_chr(text, '"') != SL_NPOS)
        return "the URL contains a quote";
    return percent_is_sound(text) ? NULL : "the URL contains a broken percent code";
}

/* Fills `url`; the reason why not, or NULL. */
static const char *parse_url(sl_str text, sl_url *url)
{
    SL_ASSERT(text.ptr || !text.len);
    size_t skip = 0;
    if (sl_str_ieq(sl_str_sub(text, 0, 7), SL_STR("http://")))
        skip = 7;
    else if (sl_str_ieq(sl_str_sub(text, 0, 8), SL_STR("https://")))
        skip = 8;
    else
        return "the URL must begin with http:// or https://";
    const char *fault = text_fault(text);
    if (fault)
        return fault;
    size_t end = skip;
    while (end < text.len && text.ptr[end] != '/' && text.ptr[end] != '?')
        end++;
    url->tls = skip == 8;
    url->authority = sl_str_sub(text, skip, end - skip);
    url->target = sl_str_sub(text, end, text.len);
    if (sl_str_chr(url->authority, '@') != SL_NPOS)
        return "user and password in a URL are not allowed";
    if (url->authority.len == 0 || url->authority.ptr[0] == ':')
        return "the URL has no host";
    sl_hostport hostport;
    if (sl_hostport_parse_peer(url->authority, &hostport) != 0)
        return "the URL has a malformed host or port";
    if (url->target.len && url->target.ptr[0] == '?')
        return "a / is missing before the ? of the URL";
    url->host = hostport.host;
    url->host_is_v6 = hostport.is_v6;
    url->port_given = hostport.has_port;
    url->port = hostport.has_port ? hostport.port : url->tls ? 443 : 80;
    if (url->target.len == 0)
        url->target = SL_STR("/");
    sl_target_split(url->target, &url->path, &url->query);
    return NULL;
}

int sl_url_parse(sl_str text, sl_url *ret_url, const char **ret_reason)
{
    SL_ASSERT(ret_url);
    sl_url url;
    memset(&url, 0, sizeof url);
    const char *reason = text.len > SL_MAX_URL_BYTES ? "the URL is too long" : parse_url(text, &url);
    if (reason) {
        if (ret_reason)
            *ret_reason = reason;
        return text.len > SL_MAX_URL_BYTES ? SL_ETOOBIG : SL_EPARSE;
    }
    SL_ASSERT(url.path.len > 0 && url.host.len > 0 && url.port > 0);
    *ret_url = url;
    return 0;
}

void sl_target_split(sl_str target, sl_str *ret_path, sl_str *ret_query)
{
    SL_ASSERT(ret_path && ret_query);
    bool absolute = target.len && target.ptr[0] != '/';
    size_t scheme = absolute ? sl_str_find(target, SL_STR("://")) : SL_NPOS;
    if (scheme != SL_NPOS) {
        size_t begin = scheme + 3;
        while (begin < target.len && target.ptr[begin] != '/' && target.ptr[begin] != '?')
            begin++;
        target = sl_str_sub(target, begin, target.len);
    }
    size_t mark = sl_str_chr(target, '?');
    *ret_path = sl_str_sub(target, 0, mark == SL_NPOS ? target.len : mark);
    *ret_query = mark == SL_NPOS ? sl_str_of(NULL, 0) : sl_str_sub(target, mark + 1, target.len);
    if (ret_path->len == 0)
        *ret_path = SL_STR("/");
}

int sl_url_decode(sl_str text, bool plus, char *buffer, size_t size, size_t *ret_len)
{
    SL_ASSERT(ret_len && (buffer || size == 0));
    size_t len = 0;
    if (!percent_is_sound(text))
        return SL_EPARSE;
    for (size_t i = 0; i < text.len; i++) {
        char c = text.ptr[i];
        if (c == '%') {
            c = (char)(sl_hex_value(text.ptr[i + 1]) * 16 + sl_hex_value(text.ptr[i + 2]));
            i += 2;
        } else if (c == '+' && plus) {
            c = ' ';
        }
        if (c == '\0')
            return SL_EPARSE;
        if (len == size)
            return SL_ELIMIT;
        buffer[len++] = c;
    }
    *ret_len = len;
    return 0;
}

bool sl_query_next(sl_str *rest, sl_str *ret_name, sl_str *ret_value)
{
    SL_ASSERT(rest && ret_name && ret_value);
    sl_str part;
    while (sl_str_split(rest, '&', &part)) {
        if (part.len == 0)
            continue;
        size_t equals = sl_str_chr(part, '=');
        *ret_name = sl_str_sub(part, 0, equals == SL_NPOS ? part.len : equals);
        *ret_value = equals == SL_NPOS ? sl_str_of(NULL, 0) : sl_str_sub(part, equals + 1, part.len);
        return true;
    }
    return false;
}

bool sl_query_get(sl_str query, const char *name, sl_str *ret_value)
{
    SL_ASSERT(name && ret_value);
    sl_str found, value;
    while (sl_query_next(&query, &found, &value)) {
        if (sl_str_eq_c(found, name)) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}
