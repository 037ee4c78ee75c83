/* The head of a request: lines of "name: value" behind a request line. */
#include "src/probe/request_head.h"

#include "src/base/assert.h"
#include "src/base/buf.h"

static void take_field(sl_request_head *head, sl_str name, sl_str value)
{
    SL_ASSERT(head);
    static const struct {
        sl_str name;
        size_t at;
    } known[] = {
        {{"traceparent", 11}, offsetof(sl_request_head, traceparent)},
        {{"tracestate", 10}, offsetof(sl_request_head, tracestate)},
        {{"baggage", 7}, offsetof(sl_request_head, baggage)},
        {{"user-agent", 10}, offsetof(sl_request_head, user_agent)},
        {{"host", 4}, offsetof(sl_request_head, host)},
        {{"content-type", 12}, offsetof(sl_request_head, content_type)},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (sl_str_ieq(name, known[i].name)) {
            if (known[i].at == offsetof(sl_request_head, traceparent) && head->traceparent.ptr)
                value = sl_str_of(value.ptr, 0); /* of two, neither is the parent */
            memcpy((char *)head + known[i].at, &value, sizeof value);
            return;
        }
    }
}

void sl_request_head_parse(sl_str text, sl_request_head *ret_head)
{
    SL_ASSERT(ret_head && (text.ptr || !text.len));
    memset(ret_head, 0, sizeof *ret_head);
    sl_str rest = text, line;
    if (!sl_str_split(&rest, '\n', &line))
        return;
    sl_str_split(&line, ' ', &ret_head->method);
    sl_str target = sl_str_of(NULL, 0);
    if (line.ptr)
        sl_str_split(&line, ' ', &target);
    size_t query = sl_str_chr(target, '?');
    ret_head->path = query == SL_NPOS ? target : sl_str_sub(target, 0, query);
    while (rest.ptr && sl_str_split(&rest, '\n', &line)) {
        size_t colon = sl_str_chr(line, ':');
        if (colon == SL_NPOS)
            continue;
        sl_str value = sl_str_sub(line, colon + 1, SL_NPOS);
        if (value.len && value.ptr[value.len - 1] == '\r')
            value.len--;
        take_field(ret_head, sl_str_sub(line, 0, colon), sl_str_trim(value));
    }
}

/* Letters, '_', '-' and '.', at most one digit (v1), not long: a word of a route. */
static bool is_word(sl_str part)
{
    size_t digits = 0;
    for (size_t i = 0; i < part.len; i++) {
        char c = part.ptr[i];
        bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-' || c == '.';
        bool digit = c >= '0' && c <= '9';
        if (!letter && !digit)
            return false;
        digits += digit;
    }
    return part.len > 0 && part.len <= 24 && (digits == 0 || (digits == 1 && part.len <= 8 && part.len > 1));
}

#define ROUTE_PARTS 4

void sl_request_head_route(sl_str path, char *buffer, size_t size)
{
    SL_ASSERT(buffer && size >= 8);
    size_t len = 0;
    sl_str rest = path.len && *path.ptr == '/' ? sl_str_sub(path, 1, SL_NPOS) : path, part;
    for (unsigned i = 0; rest.len && i < ROUTE_PARTS && sl_str_split(&rest, '/', &part); i++) {
        sl_str word = is_word(part) ? part : SL_STR("{id}");
        if (len + 1 + word.len >= size)
            break;
        buffer[len++] = '/';
        memcpy(buffer + len, word.ptr, word.len);
        len += word.len;
    }
    if (!len)
        buffer[len++] = '/';
    buffer[len] = '\0';
}
