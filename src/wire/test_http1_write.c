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
