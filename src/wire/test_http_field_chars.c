/* The table of character classes against the definitions, and the search for control bytes at every place. */
#include "src/wire/http_field_chars.h"

#include "tests/harness/sl_test.h"

static bool is_alnum(int c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

SL_TEST(http_chars_table)
{
    for (int c = 0; c < 256; c++) {
        bool token = c && (is_alnum(c) || strchr("!#$%&'*+-.^_`|~", c));
        bool target = c > ' ' && c < 0x7F && !strchr("\"#<>\\", c);
        bool host = c && (is_alnum(c) || strchr("-._~!$&'()*+;=%", c));
        CHECK_EQ(sl_http_char_is((char)c, SL_HTTP_CHAR_TOKEN), token);
        CHECK_EQ(sl_http_char_is((char)c, SL_HTTP_CHAR_TARGET), target);
        CHECK_EQ(sl_http_char_is((char)c, SL_HTTP_CHAR_HOST), host);
    }
}

SL_TEST(http_find_control_everywhere)
{
    char text[50];
    for (int c = 0; c < 256; c++) {
        bool control = (c < 0x20 && c != '\t') || c == 0x7F;
        for (size_t len = 1; len <= sizeof text; len += 7) {
            for (size_t at = 0; at < len; at++) {
                memset(text, at % 2 ? 'a' : '\t', sizeof text);
                text[at] = (char)c;
                CHECK_EQ(sl_http_find_control(text, len), control ? at : len);
            }
        }
    }
    CHECK_EQ(sl_http_find_control(text, 0), 0);
    CHECK_EQ(sl_http_span("abc:", 4, SL_HTTP_CHAR_TOKEN), 3);
}
