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
