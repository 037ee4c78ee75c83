/* Heads are written as they must be, and nothing put into them can split them. */
#include "src/wire/http1_write.h"

#include "src/wire/http1.h"
#include "tests/harness/sl_test.h"

SL_TEST(http1_write_request_and_fields)
{
    sl_buf buf;
    sl_buf_init(&buf, 4096);
    CHECK_EQ(sl_http1_put_request(&buf, SL_STR("POST"), SL_STR("/v1/x?y=1")), 0);
    CHECK_EQ(sl_http1_put_field(&buf, SL_STR("Host"), SL_STR("a")), 0);
    CHECK_EQ(sl_http1_put_field_u64(&buf, SL_STR("Content-Length"), UINT64_MAX), 0);
    CHECK_EQ(sl_http1_put_field_u64(&buf, SL_STR("X"), 0), 0);
    CHECK_EQ(sl_http1_put_end(&buf), 0);
    CHECK_STR(sl_buf_str(&buf),
              "POST /v1/x?y=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551615\r\nX: 0\r\n\r\n");
    sl_buf_done(&buf);
}

SL_TEST(http1_write_refuses_what_would_split)
{
    static const struct {
        sl_str name, value;
    } rows[] = {
        {{"X", 1}, {"a\r\nY: b", 7}}, {{"X", 1}, {"a\nb", 3}}, {{"X", 1}, {"a\0b", 3}}, {{"X", 1}, {"\x7f", 1}},
        {{"X:", 2}, {"a", 1}},        {{"X ", 2}, {"a", 1}},   {{"", 0}, {"a", 1}},     {{"X\r\n", 3}, {"a", 1}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sl_buf buf;
        sl_buf_init(&buf, 4096);
        CHECK_EQ(sl_http1_put_field(&buf, rows[i].name, rows[i].value), SL_EINVAL);
        CHECK_EQ(buf.failed, SL_EINVAL);
        CHECK_EQ(buf.len, 0);
        sl_buf_done(&buf);
    }
    sl_buf buf;
    sl_buf_init(&buf, 4096);
    CHECK_EQ(sl_http1_put_request(&buf, SL_STR("GET"), SL_STR("/a b")), SL_EINVAL);
    CHECK_EQ(sl_http1_put_request(&buf, SL_STR("G T"), SL_STR("/")), SL_EINVAL);
    CHECK_EQ(sl_http1_put_request(&buf, SL_STR("GET"), SL_STR("")), SL_EINVAL);
    CHECK_EQ(sl_http1_put_request(&buf, SL_STR("GET"), SL_STR("/\r\n")), SL_EINVAL);
    CHECK_EQ(buf.len, 0);
    sl_buf_done(&buf);
}

SL_TEST(http1_status_texts)
{
    CHECK(strcmp(sl_http_status_text(429), "Too Many Requests") == 0);
    CHECK(strcmp(sl_http_status_text(502), "Bad Gateway") == 0);
    CHECK(strcmp(sl_http_status_text(299), "Unknown") == 0);
}

/* Whatever bytes are given as a field, the head that is written reads back as exactly those fields, or they are
 * refused. */
SL_TEST(http1_write_every_byte)
{
    for (int c = 0; c < 256; c++) {
        char byte = (char)c, name[3] = {'x', byte, 'y'}, value[3] = {'a', byte, 'b'};
        for (int part = 0; part < 2; part++) {
            sl_buf buf;
            sl_http1_field fields[4];
            sl_http1_head head;
            sl_http1_parser parser;
            sl_buf_init(&buf, 4096);
            CHECK_EQ(sl_http1_put_status(&buf, 200), 0);
            size_t before = buf.len;
            int error = part ? sl_http1_put_field(&buf, SL_STR("n"), sl_str_of(value, 3))
                             : sl_http1_put_field(&buf, sl_str_of(name, 3), SL_STR("v"));
            CHECK(error == 0 || (error == SL_EINVAL && buf.len == before && buf.failed == SL_EINVAL));
            buf.failed = 0;
            CHECK_EQ(sl_http1_put_field_u64(&buf, SL_STR("Content-Length"), 0), 0);
            CHECK_EQ(sl_http1_put_end(&buf), 0);
            sl_http1_parser_init(&parser, 0);
            sl_http1_head_init(&head, fields, 4);
            CHECK_EQ(sl_http1_parse_response(&parser, sl_buf_str(&buf), SL_HTTP_GET, &head), 0);
            CHECK_EQ(head.field_count, error ? 1 : 2);
            if (!error)
                CHECK_STR_EQ(part ? head.fields[0].value : head.fields[0].name, sl_str_of(part ? value : name, 3));
            sl_buf_done(&buf);
        }
    }
}

SL_TEST(http1_write_numbers_and_limits)
{
    static const struct {
        uint64_t number;
        const char *line;
    } rows[] = {{0, "n: 0\r\n"}, {9, "n: 9\r\n"}, {10, "n: 10\r\n"}, {UINT64_MAX, "n: 18446744073709551615\r\n"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t max = 1; max <= strlen(rows[i].line); max++) {
            sl_buf buf;
            bool fits = max == strlen(rows[i].line);
            sl_buf_init(&buf, max);
            CHECK_EQ(sl_http1_put_field_u64(&buf, SL_STR("n"), rows[i].number), fits ? 0 : SL_ELIMIT);
            CHECK_STR(sl_buf_str(&buf), fits ? rows[i].line : ""); /* no half line */
            sl_buf_done(&buf);
        }
    }
    const char *line = "POST /a HTTP/1.1\r\n";
    for (size_t max = 1; max <= strlen(line) + 1; max++) {
        sl_buf buf;
        sl_buf_init(&buf, max);
        int error = sl_http1_put_request(&buf, SL_STR("POST"), SL_STR("/a"));
        CHECK(error ? buf.len == 0 : buf.len == strlen(line));
        sl_buf_done(&buf);
        sl_buf_init(&buf, max);
        error = sl_http1_put_status(&buf, 431);
        CHECK(error != 0 && buf.len == 0);
        sl_buf_done(&buf);
    }
}

/* RFC 9110, section 15: every registered status has its phrase, and a line that the parser reads back. */
SL_TEST(http1_write_every_status)
{
    for (int status = 100; status <= 599; status++) {
        sl_buf buf;
        sl_http1_field fields[2];
        sl_http1_head head;
        sl_http1_parser parser;
        sl_buf_init(&buf, 200);
        CHECK_EQ(sl_http1_put_status(&buf, status), 0);
        CHECK_EQ(sl_http1_put_end(&buf), 0);
        sl_http1_parser_init(&parser, 0);
        sl_http1_head_init(&head, fields, 2);
        CHECK_EQ(sl_http1_parse_response(&parser, sl_buf_str(&buf), SL_HTTP_GET, &head), 0);
        CHECK_EQ(head.status, status);
        CHECK_STR(head.reason, sl_http_status_text(status));
        sl_buf_done(&buf);
    }
}
