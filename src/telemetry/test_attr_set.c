/* Attribute sets: order, rules, both forms, limits. */
#include "src/telemetry/attr_set.h"

#include <math.h>
#include <stdio.h>

#include "src/base/limits.h"
#include "src/wire/otlp_read.h"
#include "tests/harness/sl_test.h"

static void expect_labels(const char *file, int line, const sl_attr_set *set, const char *reserved, const char *want)
{
    sl_buf out;
    sl_buf_init(&out, SL_MAX_ATTR_SET_BYTES);
    sl_test_check_eq(file, line, "error", sl_attr_set_labels(set, reserved, &out), 0);
    sl_test_check_str(file, line, "labels", sl_buf_str(&out), sl_str_c(want));
    sl_buf_done(&out);
}
#define EXPECT_LABELS(...) expect_labels(__FILE__, __LINE__, __VA_ARGS__)

SL_TEST(attr_set_is_sorted_and_the_last_of_equal_keys_counts)
{
    static sl_attr_set set;
    sl_attr attrs[] = {sl_attr_str("b", "1"),  sl_attr_str("a", "2"), sl_attr_str("b", "3"),
                       sl_attr_str("ab", "4"), sl_attr_str("", "5"),  sl_attr_int("a", 6)};
    sl_attr_set_init(&set, attrs, 6, NULL);
    CHECK_EQ(set.count, 3);
    CHECK_EQ(set.refused, 1);
    EXPECT_LABELS(&set, NULL, "a=\"6\",ab=\"4\",b=\"3\"");
    sl_attr_set_init(&set, NULL, 0, NULL);
    EXPECT_LABELS(&set, NULL, "");
}

/* Whatever the order they come in, the set is the same. */
SL_TEST(attr_set_does_not_know_the_order)
{
    static sl_attr_set set;
    sl_attr attrs[4] = {sl_attr_int("p", 0), sl_attr_int("q", 1), sl_attr_int("r", 2), sl_attr_int("s", 3)};
    for (unsigned order = 0; order < 256; order++) {
        sl_attr mixed[4];
        unsigned seen = 0;
        for (unsigned i = 0; i < 4; i++) {
            mixed[i] = attrs[order >> 2 * i & 3];
            seen |= 1u << (order >> 2 * i & 3);
        }
        sl_attr_set_init(&set, mixed, 4, NULL);
        if (seen == 15)
            EXPECT_LABELS(&set, NULL, "p=\"0\",q=\"1\",r=\"2\",s=\"3\"");
        else
            CHECK(set.count < 4);
    }
}

SL_TEST(attr_set_rules_rename_drop_and_filter)
{
    static sl_attr_set set;
    static const sl_view_attr items[] = {{"model", "m"}, {"secret", NULL}, {"route", ""}};
    sl_attr attrs[] = {sl_attr_str("model", "x"), sl_attr_str("secret", "y"), sl_attr_str("route", "z"),
                       sl_attr_str("other", "o")};
    sl_attr_rules rules = {items, 3, false};
    sl_attr_set_init(&set, attrs, 4, &rules);
    EXPECT_LABELS(&set, NULL, "m=\"x\",other=\"o\"");
    rules.keep_only = true;
    sl_attr_set_init(&set, attrs, 4, &rules);
    EXPECT_LABELS(&set, NULL, "m=\"x\"");
    CHECK_EQ(set.refused, 0);
}

SL_TEST(attr_set_limits)
{
    static sl_attr_set set;
    static char keys[SL_MAX_METRIC_ATTRS + 2][8];
    static sl_attr attrs[SL_MAX_METRIC_ATTRS + 2];
    for (size_t i = 0; i < SL_MAX_METRIC_ATTRS + 2; i++) {
        (void)snprintf(keys[i], sizeof keys[i], "k%03zu", i);
        attrs[i] = sl_attr_int(keys[i], (int64_t)i);
    }
    sl_attr_set_init(&set, attrs, SL_MAX_METRIC_ATTRS, NULL);
    CHECK_EQ(set.count, SL_MAX_METRIC_ATTRS);
    CHECK_EQ(set.refused, 0);
    sl_attr_set_init(&set, attrs, SL_MAX_METRIC_ATTRS + 2, NULL);
    CHECK_EQ(set.count, SL_MAX_METRIC_ATTRS);
    CHECK_EQ(set.refused, 2);
    static char key[SL_MAX_KEY_BYTES + 1];
    memset(key, 'k', sizeof key);
    sl_attr longest = {sl_str_of(key, SL_MAX_KEY_BYTES), sl_value_int(1)};
    sl_attr_set_init(&set, &longest, 1, NULL);
    CHECK_EQ(set.count, 1);
    longest.key.len++;
    sl_attr_set_init(&set, &longest, 1, NULL);
    CHECK_EQ(set.refused, 1);
}

SL_TEST(attr_set_labels_share_a_name)
{
    static sl_attr_set set;
    sl_attr attrs[] = {sl_attr_str("a.b", "1"), sl_attr_str("a_b", "2\"\n"), sl_attr_str("le", "3")};
    sl_attr_set_init(&set, attrs, 3, NULL);
    EXPECT_LABELS(&set, "le", "a_b=\"1;2\\\"\\n\",exported_le=\"3\"");
    EXPECT_LABELS(&set, NULL, "a_b=\"1;2\\\"\\n\",le=\"3\"");
}

SL_TEST(attr_set_texts_of_values)
{
    sl_value list[] = {sl_value_int(1), sl_value_cstr("q\"\\\x01"), sl_value_bool(true), sl_value_empty()};
    sl_attr pairs[] = {sl_attr_int("n", -5), sl_attr_str("s", "t")};
    const struct {
        sl_value value;
        const char *text;
    } rows[] = {
        {sl_value_cstr("as it is \""), "as it is \""},
        {sl_value_cstr(""), ""},
        {sl_value_int(INT64_MIN), "-9223372036854775808"},
        {sl_value_double(0.25), "0.25"},
        {sl_value_double(NAN), "NaN"},
        {sl_value_bool(false), "false"},
        {sl_value_bytes("\x00\xff", 2), "00ff"},
        {sl_value_empty(), ""},
        {sl_value_array(list, 4), "[1,\"q\\\"\\\\\\u0001\",true,null]"},
        {sl_value_array(NULL, 0), "[]"},
        {sl_value_map(pairs, 2), "{\"n\":-5,\"s\":\"t\"}"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_buf out;
        sl_buf_init(&out, 4096);
        CHECK_EQ(sl_value_text(&rows[i].value, &out), 0);
        CHECK_STR(sl_buf_str(&out), rows[i].text);
        sl_buf_done(&out);
    }
}

/* Messages within messages; every LEN field whose contents parse counts as one, as a decoder would take it. */
static unsigned depth_of(sl_str message)
{
    unsigned deepest = 0;
    sl_pb_reader r = sl_pb_reader_of(message);
    sl_pb_field f;
    while (sl_pb_next(&r, &f)) {
        if (f.wire != SL_PB_LEN || f.bytes.len == 0)
            continue;
        unsigned depth = depth_of(f.bytes);
        deepest = depth > deepest ? depth : deepest;
    }
    return r.error ? 0 : deepest + 1;
}

/* A value nested without end: what is encoded stays within what decoders accept, 100 messages. */
SL_TEST(attr_set_encodes_no_deeper_than_decoders_read)
{
    enum { DEEP = 200 };
    static sl_value lists[DEEP], maps[DEEP];
    static sl_attr pairs[DEEP];
    static sl_attr_set set;
    lists[0] = maps[0] = sl_value_int(1);
    for (size_t i = 1; i < DEEP; i++) {
        lists[i] = sl_value_array(&lists[i - 1], 1);
        pairs[i] = sl_attr_of("k", maps[i - 1]);
        maps[i] = sl_value_map(&pairs[i], 1);
    }
    sl_attr attrs[] = {sl_attr_of("lists", lists[DEEP - 1]), sl_attr_of("maps", maps[DEEP - 1])};
    sl_attr_set_init(&set, attrs, 2, NULL);
    sl_buf out;
    sl_buf_init(&out, SL_MAX_ATTR_SET_BYTES);
    CHECK_EQ(sl_attr_set_encode(&set, 7, &out), 0);
    unsigned depth = depth_of(sl_buf_str(&out));
    CHECK(depth > 80);
    CHECK(depth <= SL_MAX_VALUE_MESSAGES + 3);
    size_t count = 0;
    sl_otlp_iter it = sl_otlp_items(sl_buf_str(&out), 7);
    for (sl_str item; sl_otlp_next(&it, &item); count++) {
        sl_otlp_pair pair;
        REQUIRE(sl_otlp_read_pair(item, &pair) == 0);
        CHECK_STR(pair.key, count ? "maps" : "lists");
    }
    CHECK_EQ(count, 2);
    sl_buf_done(&out);
}

/* A text that is no UTF-8 goes out as bytes: protobuf strings must be. */
SL_TEST(attr_set_sends_bad_texts_as_bytes)
{
    static sl_attr_set set;
    sl_attr attr = sl_attr_str("k", "a\xff");
    sl_attr_set_init(&set, &attr, 1, NULL);
    sl_buf out;
    sl_buf_init(&out, 4096);
    CHECK_EQ(sl_attr_set_encode(&set, 7, &out), 0);
    sl_otlp_any any;
    REQUIRE(sl_otlp_find_attr(sl_buf_str(&out), 7, SL_STR("k"), &any) == 0);
    CHECK_EQ(any.type, SL_VALUE_BYTES);
    CHECK_STR(any.str, "a\xff");
    sl_buf_done(&out);
}

SL_TEST(attr_set_too_large_or_without_memory)
{
    static sl_attr_set set;
    static char text[SL_MAX_ATTR_SET_BYTES];
    memset(text, 'x', sizeof text);
    sl_attr attr = {SL_STR("k"), sl_value_str(sl_str_of(text, sizeof text))};
    sl_attr_set_init(&set, &attr, 1, NULL);
    sl_buf out;
    sl_buf_init(&out, SL_MAX_ATTR_SET_BYTES);
    CHECK_EQ(sl_attr_set_encode(&set, 7, &out), SL_ELIMIT);
    sl_buf_clear(&out);
    CHECK_EQ(sl_attr_set_labels(&set, NULL, &out), SL_ELIMIT);
    sl_buf_done(&out);
    attr.value = sl_value_int(1);
    sl_attr_set_init(&set, &attr, 1, NULL);
    sl_test_fail_alloc(0);
    CHECK_EQ(sl_attr_set_encode(&set, 7, &out), SL_ENOMEM);
    sl_buf_clear(&out);
    sl_test_fail_alloc(0);
    CHECK_EQ(sl_attr_set_labels(&set, NULL, &out), SL_ENOMEM);
    sl_test_fail_alloc(-1);
    sl_buf_done(&out);
}
