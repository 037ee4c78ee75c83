/* W3C tracestate: grammar, limits, duplicate keys, cutting by whole entries. */
#include <sightline/context.h>

#include <stdio.h>

#include "src/base/limits.h"
#include "tests/harness/sl_test.h"

static const struct {
    const char *header;
    const char *result; /* NULL: refused */
} cases[] = {
    {"foo=1", "foo=1"},
    {"foo=1,bar=2", "foo=1,bar=2"},
    {"rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "rojo=00f067aa0ba902b7,congo=t61rcWkgMzE"},
    {"", ""},
    {",", ""},
    {" ,\t, ", ""},
    {"foo=1,", "foo=1"},
    {",foo=1", "foo=1"},
    {"foo=1 \t , \t bar=2, \t baz=3", "foo=1,bar=2,baz=3"},
    {"\t foo=1 \t", "foo=1"},
    {"foo= 1", "foo= 1"}, /* leading spaces belong to the value */
    {"0foo=1", "0foo=1"},
    {"foo@=1,bar=2", "foo@=1,bar=2"},
    {"foo@bar@baz=1,bar=2", "foo@bar@baz=1,bar=2"},
    {"a-b_c*d/e@f=!~", "a-b_c*d/e@f=!~"},
    {"foo=1,foo=1", "foo=1"},
    {"foo=1,foo=2", "foo=1"},
    {"foo=1,bar=2,foo=3", "foo=1,bar=2"},
    {"foo@@bar=1,bar=2", "foo@@bar=1,bar=2"},
    {"a=1,*b=2", NULL},
    {"z", NULL},
    {"a/=1", "a/=1"},
    {"9=9", "9=9"},
    {"a= b c  d", "a= b c  d"},
    {"a=1 ,b=2\t", "a=1,b=2"},
    {"a=  ", NULL}, /* a value of blanks alone */
    {"a=\t", NULL},
    {"a==", NULL},
    {"a=b\\\";:", "a=b\\\";:"},
    {"a=1;b=2", NULL},
    {"a=1\n", NULL},
    {"a=1\r", NULL},
    {"a\t=1", NULL},
    {"-a=1", NULL},
    {"/a=1", NULL},
    {"a+b=1", NULL},
    {"a=1,b=2,c", NULL},
    {"a=1,B=2", NULL},
    {"a=1,b=\x80", NULL},
    {"a=1,,,,b=2,", "a=1,b=2"},
    {"b=1,a=2,b=3,a=4,c=5", "b=1,a=2,c=5"},
    {"@foo=1,bar=2", NULL},
    {"foo =1", NULL},
    {"FOO=1", NULL},
    {"foo.bar=1", NULL},
    {"_foo=1", NULL},
    {"foo", NULL},
    {"foo=1,bar", NULL},
    {"=1", NULL},
    {"foo=bar=baz", NULL},
    {"foo=,bar=3", NULL},
    {"foo=b\tar", NULL},
    {"foo=b\x7f", NULL},
    {"foo=b\xc3\xa4", NULL},
};

SL_TEST(tracestate_table)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[SL_MAX_TRACESTATE_BYTES];
        size_t len = 9999;
        int error = sl_tracestate_parse(sl_str_c(cases[i].header), text, sizeof text, &len);
        if (!cases[i].result) {
            if (error != SL_EPARSE)
                sl_test_failed(__FILE__, __LINE__, "accepted: %s", cases[i].header);
            CHECK_EQ(len, 9999);
            continue;
        }
        if (error)
            sl_test_failed(__FILE__, __LINE__, "refused: %s", cases[i].header);
        else
            CHECK_STR(sl_str_of(text, len), cases[i].result);
    }
}

/* Members key01=v … */
static size_t many(char *text, size_t size, int count)
{
    size_t len = 0;
    for (int i = 1; i <= count; i++)
        len += (size_t)snprintf(text + len, size - len, "%sbar%02d=%02d", i > 1 ? "," : "", i, i);
    return len;
}

SL_TEST(tracestate_at_most_32_members)
{
    char header[1024], text[1024];
    size_t len = many(header, sizeof header, 32), got = 0;
    CHECK_EQ(sl_tracestate_parse(sl_str_of(header, len), text, sizeof text, &got), 0);
    CHECK_STR_EQ(sl_str_of(text, got), sl_str_of(header, len));
    len = many(header, sizeof header, 33);
    CHECK_EQ(sl_tracestate_parse(sl_str_of(header, len), text, sizeof text, &got), SL_EPARSE);
}

SL_TEST(tracestate_lengths_of_key_and_value)
{
    char header[1200], text[1200];
    size_t got;
    for (int key = 255; key <= 257; key++) {
        memset(header, 'z', sizeof header);
        memcpy(header + key, "=1,foo=1", 8);
        int error = sl_tracestate_parse(sl_str_of(header, (size_t)key + 8), text, sizeof text, &got);
        CHECK_EQ(error, key <= 256 ? 0 : SL_EPARSE);
    }
    for (int value = 255; value <= 257; value++) {
        memset(header, 'z', sizeof header);
        memcpy(header, "k=", 2);
        int error = sl_tracestate_parse(sl_str_of(header, (size_t)value + 2), text, sizeof text, &got);
        CHECK_EQ(error, value <= 256 ? 0 : SL_EPARSE);
    }
}

SL_TEST(tracestate_cut_by_whole_entries)
{
    char header[600], text[600];
    size_t got = 0;
    /* a=1, a long entry, b=2: the long one goes first */
    memset(header, 'x', sizeof header);
    memcpy(header, "a=1,long=", 9);
    memcpy(header + 209, ",b=2,c=3", 8);
    CHECK_EQ(sl_tracestate_parse(sl_str_of(header, 217), text, 100, &got), 0);
    CHECK_STR(sl_str_of(text, got), "a=1,b=2,c=3");
    CHECK_EQ(sl_tracestate_parse(sl_str_of(header, 217), text, 10, &got), 0);
    CHECK_STR(sl_str_of(text, got), "a=1,b=2");
    CHECK_EQ(sl_tracestate_parse(sl_str_of(header, 217), text, 2, &got), 0);
    CHECK_EQ(got, 0);
    for (size_t size = 0; size < 217; size++) {
        CHECK_EQ(sl_tracestate_parse(sl_str_of(header, 217), text, size, &got), 0);
        CHECK(got <= size);
    }
}

SL_TEST(tracestate_get)
{
    sl_str state = SL_STR("foo=1,foobar=2,b=c d");
    CHECK_STR(sl_tracestate_get(state, SL_STR("foo")), "1");
    CHECK_STR(sl_tracestate_get(state, SL_STR("foobar")), "2");
    CHECK_STR(sl_tracestate_get(state, SL_STR("b")), "c d");
    CHECK_EQ(sl_tracestate_get(state, SL_STR("fo")).len, 0);
    CHECK_EQ(sl_tracestate_get(SL_STR(""), SL_STR("fo")).len, 0);
}

SL_TEST(tracestate_set)
{
    char text[512];
    size_t len = 0;
    CHECK_EQ(sl_tracestate_set(SL_STR("foo=1,bar=2"), SL_STR("bar"), SL_STR("3"), text, sizeof text, &len), 0);
    CHECK_STR(sl_str_of(text, len), "bar=3,foo=1");
    CHECK_EQ(sl_tracestate_set(SL_STR(""), SL_STR("sl"), SL_STR("x"), text, sizeof text, &len), 0);
    CHECK_STR(sl_str_of(text, len), "sl=x");
    CHECK_EQ(sl_tracestate_set(SL_STR("not well-formed"), SL_STR("sl"), SL_STR("x"), text, sizeof text, &len), 0);
    CHECK_STR(sl_str_of(text, len), "sl=x");
    CHECK_EQ(sl_tracestate_set(SL_STR("a=1"), SL_STR("SL"), SL_STR("x"), text, sizeof text, &len), SL_EINVAL);
    CHECK_EQ(sl_tracestate_set(SL_STR("a=1"), SL_STR("sl"), SL_STR("x "), text, sizeof text, &len), SL_EINVAL);
    CHECK_EQ(sl_tracestate_set(SL_STR("a=1"), SL_STR("sl"), SL_STR(""), text, sizeof text, &len), SL_EINVAL);
    CHECK_EQ(sl_tracestate_set(SL_STR("a=1"), SL_STR("sl"), SL_STR("x"), text, 3, &len), SL_ELIMIT);
    CHECK_EQ(sl_tracestate_set(SL_STR("a=1"), SL_STR("sl"), SL_STR("x"), text, 5, &len), 0);
    CHECK_STR(sl_str_of(text, len), "sl=x");
    char full[1024];
    size_t full_len = many(full, sizeof full, 32);
    CHECK_EQ(sl_tracestate_set(sl_str_of(full, full_len), SL_STR("sl"), SL_STR("x"), text, sizeof text, &len), 0);
    CHECK(len < full_len && memcmp(text, "sl=x,bar01=01,", 14) == 0);
    CHECK_STR(sl_str_of(text + len - 8, 8), "bar31=31");
}

/* Level 2, 3.3.1.3: every character that a key and a value may have, and none that they may not. */
SL_TEST(tracestate_characters)
{
    for (int c = 1; c < 256; c++) {
        char header[16], text[64];
        size_t len;
        bool lower = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        bool key = lower || strchr("_-*/@", c);
        bool value = c >= 0x20 && c <= 0x7E && c != ',' && c != '=';
        snprintf(header, sizeof header, "%ca=1", c); /* a separator in front is an empty member */
        CHECK_EQ(sl_tracestate_parse(sl_str_c(header), text, sizeof text, &len) == 0, lower || strchr(" \t,", c));
        snprintf(header, sizeof header, "a%cb=1", c); /* an '=' makes the rest the value, which has one */
        CHECK_EQ(sl_tracestate_parse(sl_str_c(header), text, sizeof text, &len) == 0, key);
        snprintf(header, sizeof header, "a=x%cy", c);
        CHECK_EQ(sl_tracestate_parse(sl_str_c(header), text, sizeof text, &len) == 0, value);
        snprintf(header, sizeof header, "a=x%c", c); /* blanks and a comma at the end are not the value's */
        CHECK_EQ(sl_tracestate_parse(sl_str_c(header), text, sizeof text, &len) == 0, value || c == '\t' || c == ',');
    }
    char text[64];
    size_t len;
    CHECK_EQ(sl_tracestate_parse(sl_str_of("a=x\0y", 5), text, sizeof text, &len), SL_EPARSE);
    CHECK_EQ(sl_tracestate_parse(sl_str_of("a\0=x", 4), text, sizeof text, &len), SL_EPARSE);
}

/* Empty members and second entries of a key: the former do not count among the 32, the latter do. */
SL_TEST(tracestate_counting)
{
    char header[2048], text[1024];
    size_t len = 0, got;
    for (int i = 0; i < 32; i++)
        len += (size_t)snprintf(header + len, sizeof header - len, ", ,k%d=v,", i);
    CHECK_EQ(sl_tracestate_parse(sl_str_of(header, len), text, sizeof text, &got), 0);
    len += (size_t)snprintf(header + len, sizeof header - len, "k0=v");
    CHECK_EQ(sl_tracestate_parse(sl_str_of(header, len), text, sizeof text, &got), SL_EPARSE);
}

/* Level 2, 3.3.1.5: at least 512 characters go on; what is cut is cut whole, long entries first. */
SL_TEST(tracestate_of_512_characters)
{
    char header[SL_MAX_TRACESTATE_BYTES + 8], text[SL_MAX_TRACESTATE_BYTES];
    size_t got;
    memset(header, 'x', sizeof header);
    memcpy(header, "a=", 2);
    memcpy(header + 250, ",b=", 3);
    CHECK_EQ(sl_tracestate_parse(sl_str_of(header, 506), text, sizeof text, &got), 0);
    CHECK_EQ(got, 506);
    memcpy(header + 506, ",c=123", 6);
    CHECK_EQ(sl_tracestate_parse(sl_str_of(header, 512), text, sizeof text, &got), 0);
    CHECK_EQ(got, 512);
    memcpy(header + 512, "4", 1);
    CHECK_EQ(sl_tracestate_parse(sl_str_of(header, 513), text, sizeof text, &got), 0);
    CHECK_EQ(got, 250 + 7); /* without b, the right-most of the long ones */
    CHECK(memcmp(text, "a=xx", 4) == 0 && memcmp(text + 250, ",c=1234", 7) == 0);
}
