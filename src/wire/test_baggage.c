/* W3C Baggage: grammar, coding, limits, memory failures. */
#include <sightline/context.h>

#include <stdio.h>
#include <stdlib.h>

#include "src/base/limits.h"
#include "tests/harness/sl_test.h"

static const struct {
    const char *header;
    const char *result; /* as written again; NULL: nothing valid */
} cases[] = {
    {"SomeKey=SomeValue", "SomeKey=SomeValue"},
    {"SomeKey=SomeValue;SomeProp,SomeKey2=SomeValue2;ValueProp=PropVal",
     "SomeKey=SomeValue;SomeProp,SomeKey2=SomeValue2;ValueProp=PropVal"},
    {"SomeKey \t = \t SomeValue \t ; \t SomeProp \t , \t SomeKey2 \t = \t SomeValue2 \t ; \t ValueProp \t = \t PropVal",
     "SomeKey=SomeValue;SomeProp,SomeKey2=SomeValue2;ValueProp=PropVal"},
    {"SomeKey=SomeValue=equals", "SomeKey=SomeValue=equals"},
    {"serverNode=DF%2028", "serverNode=DF%2028"},
    {"k=%41%62", "k=Ab"},
    {"k=%C3%A4", "k=%C3%A4"},
    {"k=%c3%a4", "k=%C3%A4"},
    {"k=%ff", "k=%EF%BF%BD"},
    {"k=%E2%82", "k=%EF%BF%BD"},
    {"k=100%", "k=100%25"},
    {"k=%zz", "k=%25zz"},
    {"k=%2C%3B%22%5C", "k=%2C%3B%22%5C"},
    /* The examples of the specification, section 3.3. */
    {"key1=value1;property1;property2, key2 = value2, key3=value3; propertyKey=propertyValue",
     "key1=value1;property1;property2,key2=value2,key3=value3;propertyKey=propertyValue"},
    {"userId=alice,serverNode=DF%2028,isProduction=false", "userId=alice,serverNode=DF%2028,isProduction=false"},
    {"userId=Am%C3%A9lie,serverNode=DF%2028,isProduction=false",
     "userId=Am%C3%A9lie,serverNode=DF%2028,isProduction=false"},
    {"k=\tv\t", "k=v"},
    {"k=a%20", "k=a%20"}, /* a coded blank at the end is the value's */
    {"k=%20a", "k=%20a"},
    {"k=%00", "k=%00"},
    {"k=%7F%0A", "k=%7F%0A"},
    {"k=!#$%25&'()*+-./:<=>?@[]^_`{|}~", "k=!#$%25&'()*+-./:<=>?@[]^_`{|}~"},
    {"k%20=v", "k%20=v"}, /* a key is not decoded */
    {"K=1,k=2", "K=1,k=2"},
    {"k=v;p = q ; r", "k=v;p=q;r"},
    {"k=v;p=a=b", "k=v;p=a=b"},
    {"k=v;p=\"q\"", "k=v"},
    {"k=v;=q;r", "k=v;r"},
    {"k=v;;;p", "k=v;p"},
    {"k=v;p=%zz", "k=v;p=%zz"}, /* properties are not looked into */
    {"k=v;p,l=w;q", "k=v;p,l=w;q"},
    {"k=a;b=c,k=d", "k=d"},
    {"k=\x01,l=1", "l=1"},
    {"k=\x7f,l=1", "l=1"},
    {"k@=1,l=1", "l=1"},
    {"k[=1,l=1", "l=1"},
    {";k=1,l=1", "l=1"},
    {"k;p=1,l=1", "l=1"},
    {"k=", "k="},
    {"k=;p", "k=;p"},
    {"k=v;", "k=v"},
    {"k=v;p=;q", "k=v;p=;q"},
    {"k=v;bad prop;q=1", "k=v;q=1"},
    {"a=1,a=2", "a=2"},
    {"a=1,broken,b=2", "a=1,b=2"},
    {"a=1,,b=2,", "a=1,b=2"},
    {"a=x y,b=2", "b=2"},
    {"a=\"q\",b=2", "b=2"},
    {"a=b\\c,b=2", "b=2"},
    {"a=\xc3\xa4,b=2", "b=2"},
    {"a b=1,c=2", "c=2"},
    {"!#$%&'*+-.^_`|~=1", "!#$%&'*+-.^_`|~=1"},
    {"", NULL},
    {",,", NULL},
    {"=1", NULL},
    {"novalue", NULL},
    {"k\xc3\xa4=1", NULL},
};

SL_TEST(baggage_table)
{
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        sl_baggage *baggage = NULL;
        int error = sl_baggage_parse(sl_str_c(cases[i].header), &baggage);
        if (!cases[i].result) {
            if (error != SL_EPARSE || baggage)
                sl_test_failed(__FILE__, __LINE__, "accepted: %s", cases[i].header);
            sl_baggage_free(baggage);
            continue;
        }
        char text[SL_MAX_BAGGAGE_BYTES];
        size_t len = 0;
        if (error) {
            sl_test_failed(__FILE__, __LINE__, "refused: %s", cases[i].header);
            continue;
        }
        CHECK_EQ(sl_baggage_format(baggage, text, sizeof text, &len), 0);
        CHECK_STR(sl_str_of(text, len), cases[i].result);
        if (len)
            CHECK_EQ(sl_baggage_format(baggage, text, len - 1, &len), SL_ELIMIT);
        sl_baggage_free(baggage);
    }
}

SL_TEST(baggage_values_are_decoded)
{
    sl_baggage *baggage = NULL;
    REQUIRE(sl_baggage_parse(SL_STR("a=%09%20%22%27%3B%3Dasdf%21;p1;p2=2,b=%F0%9F%98%80,c=%80x"), &baggage) == 0);
    CHECK_EQ(sl_baggage_count(baggage), 3);
    CHECK_STR(sl_baggage_get(baggage, SL_STR("a")), "\t \"';=asdf!");
    CHECK_STR(sl_baggage_get(baggage, SL_STR("b")), "\xF0\x9F\x98\x80");
    CHECK_STR(sl_baggage_get(baggage, SL_STR("c")), "\xEF\xBF\xBDx");
    CHECK_EQ(sl_baggage_get(baggage, SL_STR("A")).len, 0);
    sl_str key, value, metadata;
    CHECK_EQ(sl_baggage_at(baggage, 0, &key, &value, &metadata), 0);
    CHECK_STR(key, "a");
    CHECK_STR(metadata, "p1;p2=2");
    CHECK_EQ(sl_baggage_at(baggage, 3, &key, &value, &metadata), SL_ENOENT);
    CHECK_EQ(sl_baggage_at(baggage, 1, NULL, NULL, NULL), 0);
    sl_baggage_free(baggage);
}

SL_TEST(baggage_set_and_remove)
{
    sl_baggage *baggage = sl_baggage_new();
    REQUIRE(baggage);
    char text[256];
    size_t len = 99;
    CHECK_EQ(sl_baggage_format(baggage, text, sizeof text, &len), 0);
    CHECK_EQ(len, 0);
    CHECK_EQ(sl_baggage_set(baggage, SL_STR("a"), SL_STR("1"), SL_STR("")), 0);
    CHECK_EQ(sl_baggage_set(baggage, SL_STR("b"), SL_STR("x,y"), SL_STR("p ; q = 2")), 0);
    CHECK_EQ(sl_baggage_set(baggage, SL_STR("a"), SL_STR("3"), SL_STR("")), 0);
    CHECK_EQ(sl_baggage_set(baggage, SL_STR("no token"), SL_STR("3"), SL_STR("")), SL_EINVAL);
    CHECK_EQ(sl_baggage_set(baggage, SL_STR(""), SL_STR("3"), SL_STR("")), SL_EINVAL);
    CHECK_EQ(sl_baggage_set(baggage, SL_STR("c"), SL_STR("3"), SL_STR("x\r\ny")), SL_EINVAL);
    CHECK_EQ(sl_baggage_set(NULL, SL_STR("c"), SL_STR("3"), SL_STR("")), SL_EINVAL);
    CHECK_EQ(sl_baggage_format(baggage, text, sizeof text, &len), 0);
    CHECK_STR(sl_str_of(text, len), "a=3,b=x%2Cy;p;q=2");
    sl_baggage *copy = sl_baggage_copy(baggage);
    REQUIRE(copy);
    sl_baggage_remove(baggage, SL_STR("a"));
    sl_baggage_remove(baggage, SL_STR("absent"));
    CHECK_EQ(sl_baggage_format(baggage, text, sizeof text, &len), 0);
    CHECK_STR(sl_str_of(text, len), "b=x%2Cy;p;q=2");
    sl_baggage_remove(baggage, SL_STR("b"));
    CHECK_EQ(sl_baggage_format(baggage, text, sizeof text, &len), 0);
    CHECK_EQ(len, 0);
    CHECK_EQ(sl_baggage_format(copy, text, sizeof text, &len), 0);
    CHECK_STR(sl_str_of(text, len), "a=3,b=x%2Cy;p;q=2");
    sl_baggage_free(copy);
    sl_baggage_free(baggage);
    CHECK_EQ(sl_baggage_count(NULL), 0);
    CHECK_EQ(sl_baggage_get(NULL, SL_STR("a")).len, 0);
    sl_baggage_free(NULL);
    copy = sl_baggage_copy(NULL);
    CHECK_EQ(sl_baggage_count(copy), 0);
    sl_baggage_free(copy);
}

SL_TEST(baggage_limits)
{
    char *header = malloc(20000);
    REQUIRE(header);
    size_t len = 0;
    for (int i = 0; i < 70; i++)
        len += (size_t)snprintf(header + len, 20000 - len, "%skey%d=value", i ? "," : "", i);
    sl_baggage *baggage = NULL;
    CHECK_EQ(sl_baggage_parse(sl_str_of(header, len), &baggage), 0);
    CHECK_EQ(sl_baggage_count(baggage), 64);
    CHECK_EQ(sl_baggage_set(baggage, SL_STR("one_more"), SL_STR(""), SL_STR("")), SL_ELIMIT);
    CHECK_EQ(sl_baggage_set(baggage, SL_STR("key3"), SL_STR("changed"), SL_STR("")), 0);
    sl_baggage_free(baggage);
    /* exactly 8192 bytes stay whole, 8193 do not; a short member behind still comes in */
    memset(header, '0', 20000);
    memcpy(header, "a=", 2);
    baggage = NULL;
    CHECK_EQ(sl_baggage_parse(sl_str_of(header, 8192), &baggage), 0);
    CHECK_EQ(sl_baggage_format(baggage, header + 10000, 8192, &len), 0);
    CHECK_EQ(len, 8192);
    sl_baggage_free(baggage);
    baggage = NULL;
    CHECK_EQ(sl_baggage_parse(sl_str_of(header, 8193), &baggage), SL_EPARSE);
    memcpy(header + 8193, ",b=2", 4);
    CHECK_EQ(sl_baggage_parse(sl_str_of(header, 8197), &baggage), 0);
    CHECK_STR(sl_baggage_get(baggage, SL_STR("b")), "2");
    CHECK_EQ(sl_baggage_count(baggage), 1);
    sl_baggage_free(baggage);
    free(header);
}

SL_TEST(baggage_cut_anywhere_and_without_memory)
{
    const char *header = "a=%C3%A4;p=1,b = 2 ; q , c=%41,d=%E2%82%AC";
    for (size_t len = 0; len <= strlen(header); len++) {
        char *exact = malloc(len + 1);
        REQUIRE(exact);
        memcpy(exact, header, len);
        sl_baggage *baggage = NULL;
        int error = sl_baggage_parse(sl_str_of(exact, len), &baggage);
        CHECK((error == 0) == (baggage != NULL));
        sl_baggage_free(baggage);
        free(exact);
    }
    for (long n = 0;; n++) {
        sl_baggage *baggage = NULL, *copy = NULL;
        sl_test_fail_alloc(n);
        int error = sl_baggage_parse(sl_str_c(header), &baggage);
        if (!error)
            copy = sl_baggage_copy(baggage);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK(!failed || error == SL_ENOMEM || copy == NULL);
        sl_baggage_free(copy);
        sl_baggage_free(baggage);
        if (!failed)
            break;
    }
}

/* Section 3.3.2: 64 members of 8192 bytes together go on, all of them; a member is kept whole or not at all. */
SL_TEST(baggage_of_64_members_and_8192_bytes)
{
    char *header = malloc(9000), *text = malloc(9000);
    REQUIRE(header && text);
    size_t len = 0, got = 0;
    for (int i = 0; i < 64; i++) {
        /* 127 characters and a comma, 128 for the last: 8192 */
        len += (size_t)snprintf(header + len, 9000 - len, "%sk%02d=", i ? "," : "", i);
        size_t fill = (i == 63 ? 128 : 127) - 4;
        memset(header + len, 'a' + i % 26, fill);
        len += fill;
    }
    CHECK_EQ(len, 8192);
    for (size_t over = 0; over < 2; over++) {
        sl_baggage *baggage = NULL;
        header[len] = 'z';
        CHECK_EQ(sl_baggage_parse(sl_str_of(header, len + over), &baggage), 0);
        CHECK_EQ(sl_baggage_count(baggage), 64 - over);
        CHECK_EQ(sl_baggage_format(baggage, text, 9000, &got), 0);
        CHECK_EQ(got, over ? 8192 - 129 : 8192);
        CHECK(memcmp(text, header, got) == 0);
        sl_baggage_free(baggage);
    }
    free(header);
    free(text);
}

/* The sum of what members take follows every change, so that formatting needs exactly what it says. */
SL_TEST(baggage_length_follows_changes)
{
    static const char *const steps[][2] = {{"a", "1"},       {"b", "x y"}, {"a", "\xC3\xA4"}, {"c", ""},
                                           {"b", NULL},      {"a", ""},    {"d", "%"},        {"c", NULL},
                                           {"absent", NULL}, {"a", NULL},  {"d", NULL},       {"e", "end"}};
    sl_baggage *baggage = sl_baggage_new();
    REQUIRE(baggage);
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        if (steps[i][1])
            CHECK_EQ(sl_baggage_set(baggage, sl_str_c(steps[i][0]), sl_str_c(steps[i][1]), SL_STR("p=1")), 0);
        else
            sl_baggage_remove(baggage, sl_str_c(steps[i][0]));
        char text[256];
        size_t len = 0, same = 0;
        CHECK_EQ(sl_baggage_format(baggage, text, sizeof text, &len), 0);
        char *exact = malloc(len + 1);
        CHECK_EQ(sl_baggage_format(baggage, exact, len, &same), 0);
        CHECK(same == len && memcmp(exact, text, len) == 0);
        if (len)
            CHECK_EQ(sl_baggage_format(baggage, exact, len - 1, &same), SL_ELIMIT);
        free(exact);
        sl_baggage *again = NULL;
        CHECK_EQ(sl_baggage_parse(sl_str_of(text, len), &again), sl_baggage_count(baggage) ? 0 : SL_EPARSE);
        CHECK_EQ(sl_baggage_count(again), sl_baggage_count(baggage));
        sl_baggage_free(again);
    }
    sl_baggage_free(baggage);
}
