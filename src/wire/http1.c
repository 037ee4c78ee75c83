/* Strict parser of HTTP/1 heads: search for the end, lines, then framing. Each step refuses on its own. */
#include "src/wire/http1.h"

#include "src/base/assert.h"
#include "src/wire/http_field_chars.h"
#include "src/wire/url.h"

/* Longest method of the registry that anybody sends; a longer token is refused before its line is complete. */
#define METHOD_MAX 32

static const sl_str field_names[SL_HTTP_FIELD_COUNT] = {{"", 0},
#define FIELD_NAME(name, text) {text, sizeof(text) - 1},
                                                        SL_HTTP_FIELD_MAP(FIELD_NAME)
#undef FIELD_NAME
};

/* Notes why a head is refused; returns the error for the caller to pass on. */
static int refuse(sl_http1_parser *parser, int status, const char *reason)
{
    SL_ASSERT(parser);
    parser->error_status = status;
    parser->error_reason = reason;
    return status == 431 || status == 414 ? SL_ETOOBIG : SL_EPARSE;
}

/* Ready for the next message. */
static void restart(sl_http1_parser *parser)
{
    SL_ASSERT(parser);
    parser->scanned = 0;
    parser->line_start = 0;
    parser->empty_line_skipped = false;
    parser->first_line_seen = false;
    parser->first_line_checked = false;
}

void sl_http1_parser_init(sl_http1_parser *parser, size_t max_head_bytes)
{
    SL_ASSERT(parser);
    memset(parser, 0, sizeof *parser);
    parser->max_head_bytes = max_head_bytes ? max_head_bytes : SL_MAX_HEAD_BYTES;
}

void sl_http1_head_init(sl_http1_head *head, sl_http1_field *storage, size_t cap)
{
    SL_ASSERT(head && storage && cap > 0 && cap < UINT16_MAX);
    memset(head, 0, sizeof *head);
    head->fields = storage;
    head->field_cap = cap;
}

/* Empties a head but keeps its storage. */
static void head_reset(sl_http1_head *head)
{
    SL_ASSERT(head);
    sl_http1_field *fields = head->fields;
    size_t cap = head->field_cap;
    SL_ASSERT(fields && cap > 0);
    memset(head, 0, sizeof *head);
    head->fields = fields;
    head->field_cap = cap;
}

/* ---- Names ---- */

/* True when `len` > 0 token characters are `name` but for case. Or-ing 0x20 folds letters and confuses no token. */
static bool name_is(const char *p, const char *name, size_t len)
{
    SL_ASSERT(name || !len);
    const uint64_t fold = 0x2020202020202020ull;
    if (len >= 8) {
        for (size_t i = 0;; i += 8) {
            if (i + 8 > len)
                i = len - 8;
            uint64_t a, b;
            memcpy(&a, p + i, 8);
            memcpy(&b, name + i, 8);
            if ((a | fold) != b)
                return false;
            if (i + 8 == len)
                return true;
        }
    }
    for (size_t i = 0; i < len; i++) {
        if ((p[i] | 0x20) != name[i])
            return false;
    }
    return true;
}

/* First and last number of the names of this length; false when there are none. Follows SL_HTTP_FIELD_MAP. */
static bool ids_of_length(size_t len, unsigned *ret_first, unsigned *ret_last)
{
    SL_ASSERT(ret_first && ret_last);
    static const uint8_t ranges[20][2] = {
        [2] = {SL_HTTP_TE, SL_HTTP_B3},
        [3] = {SL_HTTP_VIA, SL_HTTP_VIA},
        [4] = {SL_HTTP_DATE, SL_HTTP_VARY},
        [5] = {SL_HTTP_ALLOW, SL_HTTP_ALLOW},
        [6] = {SL_HTTP_ACCEPT, SL_HTTP_SERVER},
        [7] = {SL_HTTP_BAGGAGE, SL_HTTP_UPGRADE},
        [8] = {SL_HTTP_LOCATION, SL_HTTP_LOCATION},
        [9] = {SL_HTTP_FORWARDED, SL_HTTP_X_REAL_IP},
        [10] = {SL_HTTP_CONNECTION, SL_HTTP_USER_AGENT},
        [11] = {SL_HTTP_RETRY_AFTER, SL_HTTP_TRACEPARENT},
        [12] = {SL_HTTP_CONTENT_TYPE, SL_HTTP_X_REQUEST_ID},
        [13] = {SL_HTTP_AUTHORIZATION, SL_HTTP_UBER_TRACE_ID},
        [14] = {SL_HTTP_CONTENT_LENGTH, SL_HTTP_CONTENT_LENGTH},
        [15] = {SL_HTTP_ACCEPT_ENCODING, SL_HTTP_X_FORWARDED_FOR},
        [16] = {SL_HTTP_CONTENT_ENCODING, SL_HTTP_WWW_AUTHENTICATE},
        [17] = {SL_HTTP_TRANSFER_ENCODING, SL_HTTP_TRANSFER_ENCODING},
        [18] = {SL_HTTP_PROXY_AUTHENTICATE, SL_HTTP_PROXY_AUTHENTICATE},
        [19] = {SL_HTTP_PROXY_AUTHORIZATION, SL_HTTP_PROXY_AUTHORIZATION},
    };
    if (len >= sizeof ranges / sizeof ranges[0])
        return false;
    *ret_first = ranges[len][0];
    *ret_last = ranges[len][1];
    return *ret_first != 0;
}

/* Look-up of a name that is known to be a token. */
static sl_http_field_id lookup_token(const char *p, size_t len)
{
    unsigned first, last;
    if (!ids_of_length(len, &first, &last))
        return SL_HTTP_OTHER;
    for (unsigned id = first; id <= last; id++) {
        SL_ASSERT(field_names[id].len == len);
        if ((p[0] | 0x20) == field_names[id].ptr[0] && name_is(p, field_names[id].ptr, len))
            return (sl_http_field_id)id;
    }
    return SL_HTTP_OTHER;
}

sl_http_field_id sl_http_field_lookup(sl_str name)
{
    SL_ASSERT(name.ptr || !name.len);
    if (name.len == 0 || sl_http_span(name.ptr, name.len, SL_HTTP_CHAR_TOKEN) != name.len)
        return SL_HTTP_OTHER;
    return lookup_token(name.ptr, name.len);
}

sl_str sl_http_field_name(sl_http_field_id id)
{
    SL_ASSERT((unsigned)id < SL_HTTP_FIELD_COUNT);
    return field_names[id];
}

sl_http_method sl_http_method_lookup(sl_str method)
{
    static const struct {
        sl_str name;
        sl_http_method id;
    } methods[] = {
        {{"POST", 4}, SL_HTTP_POST},   {{"GET", 3}, SL_HTTP_GET},       {{"HEAD", 4}, SL_HTTP_HEAD},
        {{"PUT", 3}, SL_HTTP_PUT},     {{"DELETE", 6}, SL_HTTP_DELETE}, {{"OPTIONS", 7}, SL_HTTP_OPTIONS},
        {{"PATCH", 5}, SL_HTTP_PATCH}, {{"TRACE", 5}, SL_HTTP_TRACE},   {{"QUERY", 5}, SL_HTTP_QUERY},
    };
    for (size_t i = 0; i < sizeof methods / sizeof methods[0]; i++) {
        if (sl_str_eq(method, methods[i].name))
            return methods[i].id;
    }
    return SL_HTTP_METHOD_NONE;
}

/* ---- The first line ---- */

/* Reads `HTTP/1.x`; refuses other versions. */
static int parse_version(sl_http1_parser *parser, sl_str text, sl_http1_head *head)
{
    SL_ASSERT(text.ptr || !text.len);
    if (text.len != 8 || memcmp(text.ptr, "HTTP/", 5) != 0 || text.ptr[5] < '0' || text.ptr[5] > '9' ||
        text.ptr[6] != '.' || text.ptr[7] < '0' || text.ptr[7] > '9')
        return refuse(parser, 400, "malformed HTTP version");
    if (text.ptr[5] != '1' || text.ptr[7] > '1')
        return refuse(parser, 505, "HTTP version not supported");
    head->minor = text.ptr[7] - '0';
    return 0;
}

static bool authority_is_valid(sl_str text)
{
    sl_hostport peer;
    return sl_hostport_parse_peer(text, &peer) == 0;
}

/* Takes the authority out of an absolute-form target. */
static int parse_absolute_form(sl_http1_parser *parser, sl_http1_head *head)
{
    SL_ASSERT(head);
    sl_str target = head->target;
    size_t skip = 0;
    if (sl_str_ieq(sl_str_sub(target, 0, 7), SL_STR("http://")))
        skip = 7;
    else if (sl_str_ieq(sl_str_sub(target, 0, 8), SL_STR("https://")))
        skip = 8;
    else
        return refuse(parser, 400, "malformed request target");
    size_t end = skip;
    while (end < target.len && target.ptr[end] != '/' && target.ptr[end] != '?')
        end++;
    head->host = sl_str_sub(target, skip, end - skip);
    if (!authority_is_valid(head->host))
        return refuse(parser, 400, "malformed host in the request target");
    return 0;
}

static int parse_target(sl_http1_parser *parser, sl_str target, sl_http1_head *head)
{
    SL_ASSERT(head && (target.ptr || !target.len));
    head->target = target;
    if (target.len == 0)
        return refuse(parser, 400, "malformed request line");
    if (sl_http_span(target.ptr, target.len, SL_HTTP_CHAR_TARGET) != target.len)
        return refuse(parser, 400, "bad character in the request target");
    if (target.ptr[0] == '/')
        return 0;
    if (target.len == 1 && target.ptr[0] == '*' && head->method_id == SL_HTTP_OPTIONS)
        return 0;
    return parse_absolute_form(parser, head);
}

/* `METHOD SP target SP HTTP/1.x`, without its CRLF. */
static int parse_request_line(sl_http1_parser *parser, sl_str line, sl_http1_head *head)
{
    SL_ASSERT(line.ptr || !line.len);
    size_t space = sl_str_chr(line, ' ');
    if (space == SL_NPOS || space == 0)
        return refuse(parser, 400, "malformed request line");
    head->method = sl_str_sub(line, 0, space);
    for (size_t i = 0; i < space; i++) {
        if (!sl_http_char_is(line.ptr[i], SL_HTTP_CHAR_TOKEN) || (line.ptr[i] >= 'a' && line.ptr[i] <= 'z'))
            return refuse(parser, 400, "malformed method");
    }
    sl_str rest = sl_str_sub(line, space + 1, line.len);
    size_t second = sl_str_chr(rest, ' ');
    if (second == SL_NPOS)
        return refuse(parser, 400, "request line without HTTP version");
    int error = parse_version(parser, sl_str_sub(rest, second + 1, rest.len), head);
    if (error)
        return error;
    head->method_id = sl_http_method_lookup(head->method);
    if (head->method_id == SL_HTTP_METHOD_NONE)
        return refuse(parser, 501, "method not implemented");
    if (second > SL_MAX_URL_BYTES)
        return refuse(parser, 414, "request target too long");
    return parse_target(parser, sl_str_sub(rest, 0, second), head);
}

/* `HTTP/1.x SP status [SP reason]`, without its CRLF. Many servers leave out the last space with an empty reason. */
static int parse_status_line(sl_http1_parser *parser, sl_str line, sl_http1_head *head)
{
    SL_ASSERT(line.ptr || !line.len);
    int error = parse_version(parser, sl_str_sub(line, 0, 8), head);
    if (error)
        return error;
    if (line.len < 12 || line.ptr[8] != ' ' || (line.len > 12 && line.ptr[12] != ' '))
        return refuse(parser, 400, "malformed status line");
    uint64_t status = 0;
    if (sl_str_to_u64(sl_str_sub(line, 9, 3), &status) != 0 || status < 100 || status > 599)
        return refuse(parser, 400, "malformed status");
    head->status = (int)status;
    head->reason = sl_str_sub(line, 13, line.len);
    if (sl_http_find_control(head->reason.ptr, head->reason.len) != head->reason.len)
        return refuse(parser, 400, "control byte in the status line");
    return 0;
}

static int parse_first_line(sl_http1_parser *parser, sl_str line, bool is_request, sl_http1_head *head)
{
    return is_request ? parse_request_line(parser, line, head) : parse_status_line(parser, line, head);
}

/* ---- Search for the end ---- */

/* The error for a head that is too long so far. */
static int refuse_length(sl_http1_parser *parser)
{
    SL_ASSERT(parser);
    return parser->first_line_seen ? refuse(parser, 431, "head too large") : refuse(parser, 414, "first line too long");
}

/* What can be said about a first line that is not complete: it must begin like one. */
static int check_beginning(sl_http1_parser *parser, sl_str bytes, bool is_request)
{
    SL_ASSERT(parser && (bytes.ptr || !bytes.len));
    sl_str line = sl_str_sub(bytes, parser->line_start, METHOD_MAX + 1);
    if (!is_request) {
        size_t len = line.len < 5 ? line.len : 5;
        return len && memcmp(line.ptr, "HTTP/", len) != 0 ? refuse(parser, 400, "not an HTTP answer") : 0;
    }
    size_t i = sl_http_span(line.ptr, line.len, SL_HTTP_CHAR_TOKEN);
    if (i == line.len && i <= METHOD_MAX)
        return 0;
    if (i == 0 && line.ptr[0] == '\r' && line.len == 1 && !parser->empty_line_skipped)
        return 0;
    return i == 0 || i > METHOD_MAX || line.ptr[i] != ' ' ? refuse(parser, 400, "not an HTTP request") : 0;
}

/* Handles the line that ends with the LF at `at`. 1: it is the empty line at the end of the head. */
static int end_of_line(sl_http1_parser *parser, sl_str bytes, size_t at, bool is_request)
{
    SL_ASSERT(parser && (bytes.ptr || !bytes.len));
    size_t start = parser->line_start;
    if (at == start || bytes.ptr[at - 1] != '\r')
        return refuse(parser, 400, "line ends without CR");
    parser->line_start = at + 1;
    if (at - 1 > start) {
        parser->first_line_seen = true;
        return 0;
    }
    if (parser->first_line_seen)
        return 1;
    if (!is_request || parser->empty_line_skipped)
        return refuse(parser, 400, "empty line before the message");
    parser->empty_line_skipped = true;
    return 0;
}

/* Finds the end of the head, from where the last call stopped. 0 and its length, SL_EMORE, or an error. */
static int find_end(sl_http1_parser *parser, sl_str bytes, bool is_request, size_t *ret_len)
{
    SL_ASSERT(parser->scanned <= bytes.len && parser->line_start <= parser->scanned);
    size_t max = bytes.len < parser->max_head_bytes ? bytes.len : parser->max_head_bytes;
    while (parser->scanned < max) {
        const char *lf = memchr(bytes.ptr + parser->scanned, '\n', max - parser->scanned);
        if (!lf) {
            parser->scanned = max;
            break;
        }
        size_t at = (size_t)(lf - bytes.ptr);
        int rc = end_of_line(parser, bytes, at, is_request);
        parser->scanned = at + 1;
        if (rc < 0)
            return rc;
        if (rc > 0) {
            *ret_len = at + 1;
            return 0;
        }
    }
    if (max == parser->max_head_bytes)
        return refuse_length(parser);
    return SL_EMORE;
}

/* ---- Fields ---- */

/* Fields that mean something different to whoever takes the first or the last of two. */
static int refuse_second(sl_http1_parser *parser, sl_http_field_id id, bool is_request)
{
    switch (id) {
    case SL_HTTP_CONTENT_LENGTH:
        return refuse(parser, 400, "Content-Length given twice");
    case SL_HTTP_TRANSFER_ENCODING:
        return refuse(parser, 400, "Transfer-Encoding given twice");
    case SL_HTTP_HOST:
        return is_request ? refuse(parser, 400, "Host given twice") : 0;
    case SL_HTTP_AUTHORIZATION:
        return is_request ? refuse(parser, 400, "Authorization given twice") : 0;
    case SL_HTTP_CONTENT_TYPE:
        return is_request ? refuse(parser, 400, "Content-Type given twice") : 0;
    default:
        return 0;
    }
}

/* Why the name of a field line is wrong at `p[len]`, its first byte that is neither token nor colon. */
static int refuse_name(sl_http1_parser *parser, const char *p, size_t len)
{
    SL_ASSERT(p);
    bool blank = p[len] == ' ' || p[len] == '\t';
    if (len == 0 && blank)
        return refuse(parser, 400, "folded field line");
    if (len == 0 && p[0] == ':')
        return refuse(parser, 400, "field without a name");
    return refuse(parser, 400, blank ? "white space in or behind a field name" : "bad character in a field name");
}

/* Reads the field line at `p`; `left` bytes up to the empty line, the last two of them CRLF. */
static int parse_field(sl_http1_parser *parser, const char *p, size_t left, sl_http1_field *field, size_t *ret_line)
{
    SL_ASSERT(left >= 2 && p[left - 2] == '\r' && p[left - 1] == '\n');
    size_t name = sl_http_span(p, left, SL_HTTP_CHAR_TOKEN);
    if (name == 0 || p[name] != ':')
        return refuse_name(parser, p, name);
    size_t begin = name + 1;
    while (p[begin] == ' ' || p[begin] == '\t')
        begin++;
    size_t end = begin + sl_http_find_control(p + begin, left - begin);
    SL_ASSERT(end < left);
    if (p[end] != '\r' || p[end + 1] != '\n')
        return refuse(parser, 400, p[end] == '\r' ? "bare CR" : "control byte in a field value");
    *ret_line = end + 2;
    while (end > begin && (p[end - 1] == ' ' || p[end - 1] == '\t'))
        end--;
    field->name = sl_str_of(p, name);
    field->value = sl_str_of(p + begin, end - begin);
    field->id = lookup_token(p, name);
    return 0;
}

/* Reads all field lines; `text` ends with the CRLF of the last one. */
static int parse_fields(sl_http1_parser *parser, sl_str text, bool is_request, sl_http1_head *head)
{
    SL_ASSERT(text.ptr || !text.len);
    size_t at = 0, line = 0;
    while (at < text.len) {
        if (head->field_count == head->field_cap)
            return refuse(parser, 431, "too many header fields");
        sl_http1_field *field = &head->fields[head->field_count];
        int error = parse_field(parser, text.ptr + at, text.len - at, field, &line);
        if (error)
            return error;
        at += line;
        head->field_count++;
        if (field->id == SL_HTTP_OTHER)
            continue;
        if (head->known[field->id] == 0)
            head->known[field->id] = (uint16_t)head->field_count;
        else if ((error = refuse_second(parser, field->id, is_request)) != 0)
            return error;
    }
    return 0;
}

/* ---- Framing and connection ---- */

static int read_connection(sl_http1_parser *parser, sl_http1_head *head)
{
    bool close = false, keep_alive = false, upgrade = false;
    size_t index = 0;
    sl_str value, token;
    while (sl_http1_get_next(head, SL_HTTP_CONNECTION, &index, &value)) {
        while (sl_str_split(&value, ',', &token)) {
            token = sl_str_trim(token);
            if (sl_http_span(token.ptr, token.len, SL_HTTP_CHAR_TOKEN) != token.len)
                return refuse(parser, 400, "malformed Connection");
            if (sl_str_ieq(token, SL_STR("close")))
                close = true;
            else if (sl_str_ieq(token, SL_STR("keep-alive")))
                keep_alive = true;
            else if (token.len)
                head->nominates = true;
            if (sl_str_ieq(token, SL_STR("upgrade")))
                upgrade = true;
        }
    }
    head->keep_alive = !close && (head->minor == 1 || keep_alive);
    head->upgrade = upgrade && sl_http1_has(head, SL_HTTP_UPGRADE);
    return 0;
}

/* Reads Content-Length and Transfer-Encoding; what they say about the body is decided by the caller. */
static int read_lengths(sl_http1_parser *parser, sl_http1_head *head, bool *ret_chunked)
{
    SL_ASSERT(ret_chunked);
    bool coded = sl_http1_has(head, SL_HTTP_TRANSFER_ENCODING);
    if (coded) {
        if (sl_http1_has(head, SL_HTTP_CONTENT_LENGTH))
            return refuse(parser, 400, "Content-Length with Transfer-Encoding");
        if (head->minor == 0)
            return refuse(parser, 400, "Transfer-Encoding in HTTP/1.0");
        if (!sl_str_ieq(sl_http1_get(head, SL_HTTP_TRANSFER_ENCODING), SL_STR("chunked")))
            return refuse(parser, 400, "Transfer-Encoding other than chunked");
    } else if (sl_http1_has(head, SL_HTTP_CONTENT_LENGTH)) {
        uint64_t length = 0;
        sl_str text = sl_http1_get(head, SL_HTTP_CONTENT_LENGTH);
        if (sl_str_to_u64(text, &length) != 0 || length > INT64_MAX || text.len > 19)
            return refuse(parser, 400, "malformed Content-Length");
        head->content_length = length;
        head->has_content_length = true;
    }
    *ret_chunked = coded;
    return 0;
}

static int read_host(sl_http1_parser *parser, sl_http1_head *head)
{
    if (!sl_http1_has(head, SL_HTTP_HOST))
        return head->minor == 1 ? refuse(parser, 400, "missing Host") : 0;
    sl_str host = sl_http1_get(head, SL_HTTP_HOST);
    if (!authority_is_valid(host))
        return refuse(parser, 400, "malformed Host");
    if (head->host.len && !sl_str_ieq(host, head->host))
        return refuse(parser, 400, "Host differs from the request target");
    head->host = host;
    return 0;
}

static int read_expect(sl_http1_parser *parser, sl_http1_head *head)
{
    SL_ASSERT(head);
    size_t index = 0;
    sl_str value;
    if (head->minor == 0)
        return 0;
    while (sl_http1_get_next(head, SL_HTTP_EXPECT, &index, &value)) {
        if (!sl_str_ieq(value, SL_STR("100-continue")))
            return refuse(parser, 417, "unknown expectation");
        head->expect_continue = head->body != SL_HTTP1_BODY_NONE;
    }
    return 0;
}

static int frame_request(sl_http1_parser *parser, sl_http1_head *head)
{
    bool chunked = false;
    int error = read_host(parser, head);
    if (error || (error = read_lengths(parser, head, &chunked)) != 0 || (error = read_connection(parser, head)) != 0)
        return error;
    if (chunked)
        head->body = SL_HTTP1_BODY_CHUNKED;
    else
        head->body = head->content_length ? SL_HTTP1_BODY_LENGTH : SL_HTTP1_BODY_NONE;
    return read_expect(parser, head);
}

/* RFC 9112 section 6.3, strictly. */
static int frame_response(sl_http1_parser *parser, sl_http_method request_method, sl_http1_head *head)
{
    bool chunked = false;
    int error = read_lengths(parser, head, &chunked);
    if (error || (error = read_connection(parser, head)) != 0)
        return error;
    bool bare = head->status < 200 || head->status == 204;
    if (bare && (chunked || head->content_length > 0))
        return refuse(parser, 400, "a body where the status allows none");
    if (bare || head->status == 304 || request_method == SL_HTTP_HEAD) {
        head->body = SL_HTTP1_BODY_NONE;
    } else if (chunked) {
        head->body = SL_HTTP1_BODY_CHUNKED;
    } else if (head->has_content_length) {
        head->body = head->content_length ? SL_HTTP1_BODY_LENGTH : SL_HTTP1_BODY_NONE;
    } else {
        head->body = SL_HTTP1_BODY_UNTIL_CLOSE;
        head->keep_alive = false;
    }
    return 0;
}

/* ---- The whole ---- */

/* Before the head is complete: what is already certain. */
static int check_early(sl_http1_parser *parser, sl_str bytes, bool is_request, sl_http1_head *head)
{
    SL_ASSERT(parser && (bytes.ptr || !bytes.len));
    if (parser->first_line_checked)
        return SL_EMORE;
    if (!parser->first_line_seen) {
        int error = check_beginning(parser, bytes, is_request);
        return error ? error : SL_EMORE;
    }
    size_t start = parser->empty_line_skipped ? 2 : 0;
    sl_str line = sl_str_sub(bytes, start, bytes.len);
    line.len = (size_t)((const char *)memchr(line.ptr, '\n', line.len) - line.ptr) - 1;
    parser->first_line_checked = true;
    int error = parse_first_line(parser, line, is_request, head);
    return error ? error : SL_EMORE;
}

/* Parses first line and fields of a complete head. */
static int parse_complete(sl_http1_parser *parser, sl_str bytes, bool is_request, sl_http1_head *head)
{
    SL_ASSERT(bytes.len >= 4);
    size_t start = parser->empty_line_skipped ? 2 : 0;
    const char *line = bytes.ptr + start;
    const char *lf = memchr(line, '\n', bytes.len - start);
    SL_ASSERT(lf && lf > line);
    int error = parse_first_line(parser, sl_str_of(line, (size_t)(lf - line) - 1), is_request, head);
    if (error)
        return error;
    size_t at = (size_t)(lf + 1 - bytes.ptr);
    error = parse_fields(parser, sl_str_sub(bytes, at, bytes.len - 2 - at), is_request, head);
    head->head_bytes = bytes.len;
    head->bytes = bytes;
    return error;
}

static int parse(sl_http1_parser *parser, sl_str bytes, bool is_request, sl_http_method method, sl_http1_head *head)
{
    SL_ASSERT(parser && head && parser->max_head_bytes > 0 && (bytes.ptr || bytes.len == 0));
    size_t len = 0;
    head_reset(head);
    parser->error_status = 0;
    parser->error_reason = NULL;
    if (bytes.len == 0)
        return SL_EMORE;
    int error = find_end(parser, bytes, is_request, &len);
    if (error == SL_EMORE)
        error = check_early(parser, bytes, is_request, head);
    else if (!error)
        error = parse_complete(parser, sl_str_sub(bytes, 0, len), is_request, head);
    if (error == SL_EMORE)
        return error;
    if (!error)
        error = is_request ? frame_request(parser, head) : frame_response(parser, method, head);
    restart(parser);
    return error;
}

int sl_http1_parse_request(sl_http1_parser *parser, sl_str bytes, sl_http1_head *head)
{
    return parse(parser, bytes, true, SL_HTTP_METHOD_NONE, head);
}

int sl_http1_parse_response(sl_http1_parser *parser, sl_str bytes, sl_http_method request_method, sl_http1_head *head)
{
    return parse(parser, bytes, false, request_method, head);
}

/* ---- Use of a parsed head ---- */

bool sl_http1_get_next(const sl_http1_head *head, sl_http_field_id id, size_t *index, sl_str *ret_value)
{
    SL_ASSERT(head && index && ret_value && id != SL_HTTP_OTHER && id < SL_HTTP_FIELD_COUNT);
    if (head->known[id] == 0)
        return false;
    size_t first = head->known[id] - 1u;
    for (size_t i = *index > first ? *index : first; i < head->field_count; i++) {
        if (head->fields[i].id == id) {
            *ret_value = head->fields[i].value;
            *index = i + 1;
            return true;
        }
    }
    return false;
}

sl_str sl_http1_get_list(const sl_http1_head *head, sl_http_field_id id, char *buffer, size_t size)
{
    SL_ASSERT(buffer && size > 0);
    size_t index = 0, len = 0;
    sl_str first, value;
    if (!sl_http1_get_next(head, id, &index, &first))
        return sl_str_of(NULL, 0);
    if (!sl_http1_get_next(head, id, &index, &value))
        return first;
    index = 0;
    while (sl_http1_get_next(head, id, &index, &value)) {
        if (len + value.len + 1 > size)
            return sl_str_of(buffer, len);
        if (value.len)
            memcpy(buffer + len, value.ptr, value.len);
        len += value.len;
        buffer[len++] = ',';
    }
    return sl_str_of(buffer, len - 1);
}

bool sl_http1_find(const sl_http1_head *head, sl_str name, sl_str *ret_value)
{
    SL_ASSERT(head && ret_value);
    for (size_t i = 0; i < head->field_count; i++) {
        if (sl_str_ieq(head->fields[i].name, name)) {
            *ret_value = head->fields[i].value;
            return true;
        }
    }
    return false;
}

/* True when a Connection field names `name`. */
static bool is_nominated(const sl_http1_head *head, sl_str name)
{
    size_t index = 0;
    sl_str value, token;
    while (sl_http1_get_next(head, SL_HTTP_CONNECTION, &index, &value)) {
        while (sl_str_split(&value, ',', &token)) {
            if (sl_str_ieq(sl_str_trim(token), name))
                return true;
        }
    }
    return false;
}

bool sl_http1_is_hop_by_hop(const sl_http1_head *head, size_t index)
{
    SL_ASSERT(head && index < head->field_count);
    const sl_http1_field *field = &head->fields[index];
    switch (field->id) {
    case SL_HTTP_CONNECTION:
    case SL_HTTP_KEEP_ALIVE:
    case SL_HTTP_TE:
    case SL_HTTP_TRAILER:
    case SL_HTTP_UPGRADE:
    case SL_HTTP_TRANSFER_ENCODING:
        return true;
    default:
        break;
    }
    if (sl_str_ieq(sl_str_sub(field->name, 0, 6), SL_STR("proxy-")))
        return true;
    return head->nominates && is_nominated(head, field->name);
}

size_t sl_http1_head_copy_size(const sl_http1_head *head)
{
    SL_ASSERT(head && head->head_bytes == head->bytes.len);
    return sizeof *head + head->field_count * sizeof(sl_http1_field) + head->bytes.len;
}

/* The same view of the copied bytes. */
static void rebase(sl_str *view, const char *from, const char *to)
{
    SL_ASSERT(view);
    if (view->ptr)
        view->ptr = to + (view->ptr - from);
}

sl_http1_head *sl_http1_head_copy(const sl_http1_head *head, void *memory)
{
    SL_ASSERT(head && memory && head->bytes.ptr);
    sl_http1_head *copy = memory;
    sl_http1_field *fields = (sl_http1_field *)(copy + 1);
    char *bytes = (char *)(fields + head->field_count);
    const char *from = head->bytes.ptr;
    memcpy(copy, head, sizeof *head);
    if (head->field_count)
        memcpy(fields, head->fields, head->field_count * sizeof *fields);
    memcpy(bytes, from, head->bytes.len);
    copy->fields = fields;
    copy->field_cap = head->field_count;
    rebase(&copy->bytes, from, bytes);
    rebase(&copy->method, from, bytes);
    rebase(&copy->target, from, bytes);
    rebase(&copy->host, from, bytes);
    rebase(&copy->reason, from, bytes);
    for (size_t i = 0; i < copy->field_count; i++) {
        rebase(&fields[i].name, from, bytes);
        rebase(&fields[i].value, from, bytes);
    }
    return copy;
}
