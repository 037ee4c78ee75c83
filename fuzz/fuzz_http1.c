/*
 * Heads: no crash, the same result however the bytes are cut, and (where http-parser is there) nothing accepted that
 * http-parser refuses or frames in another way.
 */
#include "src/wire/http1.h"

#include <stdlib.h>

#include "src/wire/http_field_chars.h"

#if defined(__has_include)
#if __has_include(<http_parser.h>) && defined(SL_FUZZ_HTTP_PARSER)
#include <http_parser.h>
#define HAVE_ORACLE 1
#endif
#endif

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

static int parse(sl_http1_parser *parser, sl_str text, int method, sl_http1_head *head)
{
    return method < 0 ? sl_http1_parse_request(parser, text, head)
                      : sl_http1_parse_response(parser, text, (sl_http_method)method, head);
}

#ifdef HAVE_ORACLE
struct seen {
    int complete;
    uint64_t length;
    int chunked, keep_alive, upgrade, method, fields;
    unsigned status;
};

static int on_head(http_parser *p)
{
    struct seen *seen = p->data;
    seen->complete = 1;
    seen->length = p->content_length;
    seen->chunked = (p->flags & F_CHUNKED) != 0;
    seen->keep_alive = http_should_keep_alive(p);
    seen->upgrade = p->upgrade;
    seen->status = p->status_code;
    http_parser_pause(p, 1);
    return 0;
}

static int on_name(http_parser *p, const char *at, size_t len)
{
    (void)at;
    (void)len;
    ((struct seen *)p->data)->fields++;
    return 0;
}

/* http-parser 2.9.4 takes every name that begins with Transfer-Encoding for that field. */
static bool oracle_is_confused(const sl_http1_head *head)
{
    for (size_t i = 0; i < head->field_count; i++) {
        sl_str name = head->fields[i].name;
        if (name.len > 17 && sl_str_ieq(sl_str_sub(name, 0, 17), SL_STR("transfer-encoding")))
            return true;
    }
    return false;
}

/* http-parser reads the same head: complete at the same byte, framed alike. */
static void ask_oracle(const sl_http1_head *head, int method)
{
    if (oracle_is_confused(head))
        return;
    http_parser_settings settings;
    http_parser p;
    struct seen seen;
    memset(&seen, 0, sizeof seen);
    http_parser_settings_init(&settings);
    settings.on_headers_complete = on_head;
    settings.on_header_field = on_name;
    http_parser_init(&p, method < 0 ? HTTP_REQUEST : HTTP_RESPONSE);
    p.data = &seen;
    size_t used = http_parser_execute(&p, &settings, head->bytes.ptr, head->bytes.len);
    enum http_errno error = HTTP_PARSER_ERRNO(&p);
    EXPECT(seen.complete && (error == HPE_OK || error == HPE_PAUSED));
    EXPECT(used + 1 >= head->bytes.len);
    EXPECT((size_t)seen.fields == head->field_count);
    if (head->body == SL_HTTP1_BODY_CHUNKED)
        EXPECT(seen.chunked);
    if (head->has_content_length)
        EXPECT(!seen.chunked && seen.length == head->content_length);
    else
        EXPECT(seen.length == UINT64_MAX);
    if (head->keep_alive && head->status != 101 && method != SL_HTTP_HEAD)
        EXPECT(seen.keep_alive || seen.upgrade);
    EXPECT((int)seen.status == head->status || method < 0);
}
#endif

/* What every accepted head promises. */
static void check_head(const sl_http1_head *head, sl_str text, int method)
{
    EXPECT(head->head_bytes >= 4 && head->head_bytes <= text.len);
    EXPECT(memcmp(text.ptr + head->head_bytes - 4, "\r\n\r\n", 4) == 0);
    EXPECT(head->minor == 0 || head->minor == 1);
    EXPECT(method >= 0 || head->body != SL_HTTP1_BODY_UNTIL_CLOSE);
    EXPECT(method >= 0 || head->minor == 0 || head->host.len > 0);
    EXPECT(!(head->body == SL_HTTP1_BODY_CHUNKED && (head->has_content_length || head->minor == 0)));
    for (size_t i = 0; i < head->field_count; i++) {
        const sl_http1_field *field = &head->fields[i];
        EXPECT(field->name.len > 0);
        EXPECT(sl_http_span(field->name.ptr, field->name.len, SL_HTTP_CHAR_TOKEN) == field->name.len);
        EXPECT(sl_http_find_control(field->value.ptr, field->value.len) == field->value.len);
        EXPECT(sl_http_field_lookup(field->name) == field->id);
        (void)sl_http1_is_hop_by_hop(head, i);
    }
    void *memory = malloc(sl_http1_head_copy_size(head));
    EXPECT(memory);
    sl_http1_head *copy = sl_http1_head_copy(head, memory);
    EXPECT(sl_str_eq(copy->target, head->target) && sl_str_eq(copy->host, head->host));
    free(memory);
#ifdef HAVE_ORACLE
    ask_oracle(head, method);
#endif
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static sl_http1_field fields[SL_MAX_HEAD_FIELDS], others[SL_MAX_HEAD_FIELDS];
    sl_http1_parser parser, slow;
    sl_http1_head head, other;
    if (size < 1)
        return 0;
    int method = data[0] % 4 == 3 ? SL_HTTP_HEAD : data[0] % 4 == 2 ? SL_HTTP_GET : -1;
    sl_str text = sl_str_of((const char *)data + 1, size - 1);
    sl_http1_parser_init(&parser, 0);
    sl_http1_parser_init(&slow, 0);
    sl_http1_head_init(&head, fields, SL_MAX_HEAD_FIELDS);
    sl_http1_head_init(&other, others, SL_MAX_HEAD_FIELDS);
    int error = parse(&parser, text, method, &head);
    int late = SL_EMORE;
    size_t step = 1u + data[0] / 4u % 16u;
    for (size_t n = 0; n < text.len + step && late == SL_EMORE; n += step)
        late = parse(&slow, sl_str_sub(text, 0, n < text.len ? n : text.len), method, &other);
    /* A head that is good as a whole may be seen as bad no earlier, and the other way round. */
    EXPECT(error == late || (text.len > SL_MAX_HEAD_BYTES && error < 0 && late < 0));
    if (error == 0) {
        EXPECT(head.head_bytes == other.head_bytes && head.body == other.body);
        check_head(&head, text, method);
    } else if (error != SL_EMORE) {
        EXPECT(parser.error_status >= 400 && parser.error_reason);
    }
    return 0;
}
