/* OTLP encoding: known bytes, sizes, every size of room, and round trips through the reader. */
#include "src/wire/otlp_encode.h"

#include <math.h>
#include <stdlib.h>

#include "src/wire/otlp_read.h"
#include "tests/harness/sl_test.h"

SL_TEST(attributes_known_bytes)
{
    uint8_t room[64];
    sl_pb_cursor c = sl_pb_cursor_of(room, sizeof room);
    CHECK_EQ(sl_otlp_put_attr_str(&c, 9, SL_STR("k"), SL_STR("v")), 10);
    CHECK_STR_EQ(sl_str_of((char *)room, 10), SL_STR("\x4a\x08\x0a\x01k\x12\x03\x0a\x01v"));
    c = sl_pb_cursor_of(room, sizeof room);
    CHECK_EQ(sl_otlp_put_attr_int(&c, 9, SL_STR("k"), 300), 10);
    CHECK_STR_EQ(sl_str_of((char *)room, 10), SL_STR("\x4a\x08\x0a\x01k\x12\x03\x18\xac\x02"));
    c = sl_pb_cursor_of(room, sizeof room);
    CHECK_EQ(sl_otlp_put_attr_bool(&c, 1, SL_STR("k"), true), 9);
    CHECK_STR_EQ(sl_str_of((char *)room, 9), SL_STR("\x0a\x07\x0a\x01k\x12\x02\x10\x01"));
    c = sl_pb_cursor_of(room, sizeof room);
    CHECK_EQ(sl_otlp_put_attr_double(&c, 9, SL_STR("k"), 1.0), 16);
    CHECK_STR_EQ(sl_str_of((char *)room, 16), SL_STR("\x4a\x0e\x0a\x01k\x12\x09\x21\0\0\0\0\0\0\xf0\x3f"));
}

/* The same attribute as a member of a map, which no short way writes: length and pair are the same. */
static void check_as_member(const uint8_t *encoded, size_t size, uint32_t field, sl_attr attr)
{
    static uint8_t map[2048];
    sl_value value = sl_value_map(&attr, 1);
    sl_pb_cursor c = sl_pb_cursor_of(map, sizeof map);
    REQUIRE(sl_otlp_put_value(&c, &value, SL_OTLP_NO_LIMIT));
    size_t same = size - sl_pb_size_tag(field);
    REQUIRE((size_t)(c.at - map) > same);
    CHECK(memcmp(encoded + size - same, c.at - same, same) == 0);
}

/* The typed writers agree with the general one, fit exactly and refuse one byte less. */
static void check_attr(uint32_t field, sl_attr attr)
{
    size_t size = sl_otlp_attr_size(field, &attr, SL_OTLP_NO_LIMIT);
    uint8_t *general = malloc(size), *typed = malloc(size);
    REQUIRE(general && typed);
    sl_pb_cursor c = sl_pb_cursor_of(general, size);
    CHECK_EQ(sl_otlp_put_attr(&c, field, &attr, SL_OTLP_NO_LIMIT), size);
    check_as_member(general, size, field, attr);
    for (size_t room = size; room + 3 > size && room + 1 > 0; room--) {
        c = sl_pb_cursor_of(typed, room);
        size_t wrote = 0;
        if (attr.value.type == SL_VALUE_STRING)
            wrote = sl_otlp_put_attr_str(&c, field, attr.key, attr.value.as.str);
        else if (attr.value.type == SL_VALUE_INT)
            wrote = sl_otlp_put_attr_int(&c, field, attr.key, attr.value.as.integer);
        else if (attr.value.type == SL_VALUE_DOUBLE)
            wrote = sl_otlp_put_attr_double(&c, field, attr.key, attr.value.as.real);
        else
            wrote = sl_otlp_put_attr_bool(&c, field, attr.key, attr.value.as.boolean);
        CHECK_EQ(wrote, room == size ? size : 0);
        CHECK_EQ(c.at - typed, (ptrdiff_t)wrote);
        if (room == size)
            CHECK(memcmp(general, typed, size) == 0);
        c = sl_pb_cursor_of(typed, room == size ? 0 : room);
        CHECK_EQ(sl_otlp_put_attr(&c, field, &attr, SL_OTLP_NO_LIMIT), 0);
    }
    free(general);
    free(typed);
}

SL_TEST(typed_writers_agree_with_the_general_one)
{
    static char text[400];
    memset(text, 'x', sizeof text);
    const size_t lens[] = {0, 1, 3, 4, 7, 8, 9, 15, 16, 31, 32, 33, 57, 58, 59, 60, 63, 64, 120, 127, 128, 255, 300};
    const uint32_t fields[] = {1, 9, 15, 16};
    for (size_t f = 0; f < 4; f++) {
        for (size_t k = 0; k < sizeof lens / sizeof lens[0]; k++) {
            sl_attr attr = {sl_str_of(text, lens[k]), sl_value_int(-1)};
            check_attr(fields[f], attr);
            attr.value = sl_value_bool(false);
            check_attr(fields[f], attr);
            attr.value = sl_value_double(-0.5);
            check_attr(fields[f], attr);
            for (size_t v = 0; v < sizeof lens / sizeof lens[0]; v++) {
                attr.value = sl_value_str(sl_str_of(text, lens[v]));
                check_attr(fields[f], attr);
            }
        }
    }
    check_attr(9, (sl_attr){SL_STR("b\xff"
                                   "d key"),
                            sl_value_int(4)});
    check_attr(9, (sl_attr){SL_STR("key"), sl_value_str(SL_STR("bad \xc3"))});
}

/* Encodes one value as an attribute of a resource and reads it back. */
static sl_otlp_any round_trip(sl_buf *buf, sl_value value, size_t max_chars)
{
    sl_otlp_any any;
    memset(&any, 0x5A, sizeof any);
    sl_attr attr = {SL_STR("key"), value};
    sl_buf_clear(buf);
    CHECK_EQ(sl_otlp_buf_attr(buf, 1, &attr, max_chars), 0);
    CHECK_EQ(buf->len, sl_otlp_attr_size(1, &attr, max_chars));
    CHECK_EQ(sl_otlp_find_attr(sl_buf_str(buf), 1, SL_STR("key"), &any), 0);
    return any;
}

SL_TEST(values_round_trip)
{
    sl_buf buf;
    sl_buf_init(&buf, 1 << 16);
    const int64_t ints[] = {0, 1, -1, 127, 128, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof ints / sizeof ints[0]; i++) {
        sl_otlp_any any = round_trip(&buf, sl_value_int(ints[i]), SL_OTLP_NO_LIMIT);
        CHECK(any.type == SL_VALUE_INT && any.integer == ints[i]);
    }
    const double reals[] = {0, -0.0, 1.5, INFINITY, -INFINITY, 5e-324};
    for (size_t i = 0; i < sizeof reals / sizeof reals[0]; i++) {
        sl_otlp_any any = round_trip(&buf, sl_value_double(reals[i]), SL_OTLP_NO_LIMIT);
        CHECK(any.type == SL_VALUE_DOUBLE && memcmp(&any.real, &reals[i], 8) == 0);
    }
    CHECK(isnan(round_trip(&buf, sl_value_double(NAN), SL_OTLP_NO_LIMIT).real));
    CHECK(round_trip(&buf, sl_value_bool(true), SL_OTLP_NO_LIMIT).boolean);
    sl_otlp_any any = round_trip(&buf, sl_value_bool(false), SL_OTLP_NO_LIMIT);
    CHECK(any.type == SL_VALUE_BOOL && !any.boolean);
    CHECK_EQ(round_trip(&buf, sl_value_empty(), SL_OTLP_NO_LIMIT).type, SL_VALUE_EMPTY);
    any = round_trip(&buf, sl_value_cstr(""), SL_OTLP_NO_LIMIT);
    CHECK(any.type == SL_VALUE_STRING && any.str.len == 0);
    any = round_trip(&buf, sl_value_bytes("\x00\xff", 2), SL_OTLP_NO_LIMIT);
    CHECK_EQ(any.type, SL_VALUE_BYTES);
    CHECK_STR_EQ(any.str, SL_STR("\x00\xff"));
    any = round_trip(&buf, sl_value_str(SL_STR("broken \xff")), SL_OTLP_NO_LIMIT);
    CHECK_EQ(any.type, SL_VALUE_BYTES); /* no valid UTF-8: the bytes are kept */
    CHECK_STR(any.str, "broken \xff");
    sl_buf_done(&buf);
}

SL_TEST(containers_round_trip)
{
    sl_buf buf;
    sl_buf_init(&buf, 1 << 16);
    const sl_value items[] = {sl_value_int(1), sl_value_cstr("two"), sl_value_empty()};
    const sl_attr pairs[] = {sl_attr_str("name", "x"), sl_attr_of("list", sl_value_array(items, 3))};
    sl_otlp_any map = round_trip(&buf, sl_value_map(pairs, 2), SL_OTLP_NO_LIMIT);
    REQUIRE(map.type == SL_VALUE_MAP);
    CHECK_EQ(sl_otlp_count(map.str, SL_OTLP_ARRAY_ITEMS), 2);
    sl_otlp_any list, item;
    REQUIRE(sl_otlp_find_attr(map.str, SL_OTLP_ARRAY_ITEMS, SL_STR("list"), &list) == 0);
    REQUIRE(list.type == SL_VALUE_ARRAY);
    sl_otlp_iter it = sl_otlp_items(list.str, SL_OTLP_ARRAY_ITEMS);
    sl_str bytes;
    const sl_value_type types[] = {SL_VALUE_INT, SL_VALUE_STRING, SL_VALUE_EMPTY};
    for (size_t i = 0; i < 3; i++) {
        REQUIRE(sl_otlp_next(&it, &bytes) && sl_otlp_read_any(bytes, &item) == 0);
        CHECK_EQ(item.type, types[i]);
    }
    CHECK(!sl_otlp_next(&it, &bytes));
    CHECK_EQ(round_trip(&buf, sl_value_array(NULL, 0), SL_OTLP_NO_LIMIT).type, SL_VALUE_ARRAY);
    CHECK_EQ(round_trip(&buf, sl_value_map(NULL, 0), SL_OTLP_NO_LIMIT).type, SL_VALUE_MAP);
    sl_buf_done(&buf);
}

SL_TEST(strings_are_cut_by_characters)
{
    CHECK_STR(sl_otlp_cut_chars(SL_STR("abc"), 2), "ab");
    CHECK_STR(sl_otlp_cut_chars(SL_STR("abc"), 0), "");
    CHECK_STR(sl_otlp_cut_chars(SL_STR("\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80z"), 3),
              "\xC3\xA4\xE2\x82\xAC\xF0\x9F\x98\x80");
    CHECK_STR(sl_otlp_cut_chars(SL_STR("\xC3\xA4\xE2\x82\xAC"), 5), "\xC3\xA4\xE2\x82\xAC");
    sl_buf buf;
    sl_buf_init(&buf, 1 << 16);
    CHECK_STR(round_trip(&buf, sl_value_str(SL_STR("\xC3\xA4\xC3\xA4\xC3\xA4")), 2).str, "\xC3\xA4\xC3\xA4");
    CHECK_STR(round_trip(&buf, sl_value_bytes("12345", 5), 3).str, "123");
    const sl_value items[] = {sl_value_cstr("long text"), sl_value_bytes("bytes", 5)};
    const sl_attr pairs[] = {sl_attr_str("a long key", "long value")};
    const sl_value both[] = {sl_value_array(items, 2), sl_value_map(pairs, 1)};
    sl_otlp_any any = round_trip(&buf, sl_value_array(both, 2), 4);
    sl_str bytes;
    sl_otlp_iter it = sl_otlp_items(any.str, SL_OTLP_ARRAY_ITEMS);
    sl_otlp_any inner, leaf;
    REQUIRE(sl_otlp_next(&it, &bytes) && sl_otlp_read_any(bytes, &inner) == 0);
    sl_otlp_iter leaves = sl_otlp_items(inner.str, SL_OTLP_ARRAY_ITEMS);
    REQUIRE(sl_otlp_next(&leaves, &bytes) && sl_otlp_read_any(bytes, &leaf) == 0);
    CHECK_STR(leaf.str, "long");
    REQUIRE(sl_otlp_next(&leaves, &bytes) && sl_otlp_read_any(bytes, &leaf) == 0);
    CHECK_STR(leaf.str, "byte");
    REQUIRE(sl_otlp_next(&it, &bytes) && sl_otlp_read_any(bytes, &inner) == 0);
    REQUIRE(sl_otlp_find_attr(inner.str, SL_OTLP_ARRAY_ITEMS, SL_STR("a long key"), &leaf) == 0);
    CHECK_STR(leaf.str, "long"); /* the key stays whole */
    sl_buf_done(&buf);
}

/* Levels of containers until something else comes, which goes to `ret_leaf`. */
static size_t levels(sl_otlp_any any, sl_otlp_any *ret_leaf)
{
    size_t depth = 0;
    sl_str bytes;
    while (any.type == SL_VALUE_ARRAY || any.type == SL_VALUE_MAP) {
        depth++;
        sl_otlp_iter it = sl_otlp_items(any.str, SL_OTLP_ARRAY_ITEMS);
        sl_otlp_pair pair;
        if (!sl_otlp_next(&it, &bytes))
            break;
        if (any.type == SL_VALUE_ARRAY) {
            CHECK_EQ(sl_otlp_read_any(bytes, &any), 0);
        } else {
            CHECK_EQ(sl_otlp_read_pair(bytes, &pair), 0);
            any = pair.value;
        }
    }
    *ret_leaf = any;
    return depth;
}

SL_TEST(nesting_is_limited)
{
    sl_buf buf;
    sl_buf_init(&buf, 1 << 16);
    sl_value lists[SL_MAX_VALUE_DEPTH + 1], maps[SL_MAX_VALUE_DEPTH + 1];
    sl_attr pairs[SL_MAX_VALUE_DEPTH + 1];
    lists[0] = maps[0] = sl_value_int(7);
    for (size_t i = 1; i <= SL_MAX_VALUE_DEPTH; i++) {
        lists[i] = sl_value_array(&lists[i - 1], 1);
        pairs[i] = sl_attr_of("k", maps[i - 1]);
        maps[i] = sl_value_map(&pairs[i], 1);
    }
    sl_otlp_any leaf;
    const size_t most_lists = SL_MAX_VALUE_MESSAGES / 2, most_maps = SL_MAX_VALUE_MESSAGES / 3;
    for (size_t i = 1; i <= SL_MAX_VALUE_DEPTH; i++) {
        CHECK_EQ(levels(round_trip(&buf, lists[i], SL_OTLP_NO_LIMIT), &leaf), i < most_lists ? i : most_lists);
        CHECK_EQ(leaf.type, i <= most_lists ? SL_VALUE_INT : SL_VALUE_EMPTY);
        CHECK_EQ(levels(round_trip(&buf, maps[i], SL_OTLP_NO_LIMIT), &leaf), i < most_maps ? i : most_maps);
        CHECK_EQ(leaf.type, i <= most_maps ? SL_VALUE_INT : SL_VALUE_EMPTY);
    }
    sl_buf_done(&buf);
}

SL_TEST(texts_are_repaired)
{
    uint8_t room[64];
    sl_pb_cursor c = sl_pb_cursor_of(room, sizeof room);
    CHECK(sl_otlp_put_text(&c, 5, SL_STR("na\xffme")));
    CHECK_STR_EQ(sl_str_of((char *)room, (size_t)(c.at - room)), SL_STR("\x2a\x07na\xEF\xBF\xBDme"));
    c = sl_pb_cursor_of(room, 8);
    CHECK(!sl_otlp_put_text(&c, 5, SL_STR("na\xffme")));
    sl_buf buf;
    sl_buf_init(&buf, 100);
    CHECK_EQ(sl_otlp_buf_text(&buf, 5, SL_STR("\xff")), 0);
    CHECK_STR(sl_buf_str(&buf), "\x2a\x03\xEF\xBF\xBD");
    sl_buf_done(&buf);
    CHECK(sl_otlp_utf8_valid(SL_STR("abcdefghijklmnop \xC3\xA4")));
    CHECK(!sl_otlp_utf8_valid(SL_STR("abcdefghijklmnop \xC3")));
    CHECK(!sl_otlp_utf8_valid(SL_STR("\xff"
                                     "23")));
    CHECK(!sl_otlp_utf8_valid(SL_STR("12345\xff"
                                     "7")));
}

SL_TEST(request_groups_by_scope)
{
    sl_buf resource, first, second, out;
    sl_buf_init(&resource, 1000);
    sl_buf_init(&first, 1000);
    sl_buf_init(&second, 1000);
    sl_buf_init(&out, 10000);
    const sl_attr service = sl_attr_str("service.name", "test");
    CHECK_EQ(sl_otlp_buf_resource(&resource, &service, 1, 2), 0);
    CHECK_EQ(sl_otlp_buf_scope(&first, SL_STR("one"), SL_STR("1.0"), &service, 1, 3), 0);
    CHECK_EQ(sl_otlp_buf_scope(&second, SL_STR("two"), SL_STR(""), NULL, 0, 0), 0);
    sl_otlp_request request;
    sl_otlp_request_init(&request);
    for (int again = 0; again < 2; again++) {
        sl_buf_clear(&out);
        sl_otlp_request_begin(&request, SL_OTLP_TRACES, sl_buf_str(&resource), SL_STR("https://schema"));
        CHECK_EQ(sl_otlp_request_size(&request), 0);
        CHECK_EQ(sl_otlp_request_scope(&request, 7, sl_buf_str(&first), SL_STR("")), 0);
        CHECK_EQ(sl_otlp_request_scope(&request, 3, sl_buf_str(&second), SL_STR("https://scope")), 0);
        CHECK_EQ(sl_otlp_request_scope(&request, 9, sl_buf_str(&second), SL_STR("")), 0); /* stays empty */
        CHECK_EQ(sl_otlp_request_scope(&request, 7, SL_STR("ignored"), SL_STR("")), 0);
        CHECK_EQ(sl_otlp_request_item(&request, 7,
                                      SL_STR("\x2a\x02"
                                             "a1")),
                 0);
        CHECK_EQ(sl_otlp_request_item(&request, 7,
                                      SL_STR("\x2a\x02"
                                             "a2")),
                 0);
        CHECK_EQ(sl_otlp_request_item(&request, 3,
                                      SL_STR("\x2a\x02"
                                             "b1")),
                 0);
        CHECK_EQ(sl_otlp_request_item(&request, 7,
                                      SL_STR("\x2a\x02"
                                             "a3")),
                 0);
        CHECK_EQ(sl_otlp_request_item(&request, 1,
                                      SL_STR("\x2a\x02"
                                             "xx")),
                 SL_ENOENT);
        size_t size = sl_otlp_request_size(&request);
        CHECK_EQ(sl_otlp_request_end(&request, &out), 0);
        CHECK_EQ(out.len, size);
    }
    sl_otlp_records records = sl_otlp_records_of(sl_buf_str(&out));
    const char *names[] = {"a1", "a2", "a3", "b1"}, *scopes[] = {"one", "one", "one", "two"};
    for (size_t i = 0; i < 4; i++) {
        sl_otlp_span span;
        sl_otlp_scope_view scope;
        REQUIRE(sl_otlp_records_next(&records));
        CHECK_EQ(sl_otlp_read_span(records.item, &span), 0);
        CHECK_STR(span.name, names[i]);
        CHECK_EQ(sl_otlp_read_scope(records.scope.head, &scope), 0);
        CHECK_STR(scope.name, scopes[i]);
        CHECK_STR(scope.version, i < 3 ? "1.0" : "");
        CHECK_EQ(scope.dropped_attrs, i < 3 ? 3 : 0);
        CHECK_STR(records.scope.schema_url, i < 3 ? "" : "https://scope");
        CHECK_STR(records.resource.schema_url, "https://schema");
        sl_otlp_any name;
        CHECK_EQ(sl_otlp_find_attr(records.resource.head, SL_OTLP_RESOURCE_ATTRS, SL_STR("service.name"), &name), 0);
        CHECK_STR(name.str, "test");
    }
    CHECK(!sl_otlp_records_next(&records));
    CHECK_EQ(records.error, 0);
    sl_otlp_request_done(&request);
    sl_otlp_request_done(NULL);
    sl_buf_done(&resource);
    sl_buf_done(&first);
    sl_buf_done(&second);
    sl_buf_done(&out);
}

SL_TEST(request_without_memory_stays_usable)
{
    for (long n = 0;; n++) {
        sl_otlp_request request;
        sl_buf out;
        sl_buf_init(&out, 10000);
        sl_otlp_request_init(&request);
        sl_test_fail_alloc(n);
        sl_otlp_request_begin(&request, SL_OTLP_LOGS, SL_STR(""), SL_STR(""));
        int error = sl_otlp_request_scope(&request, 1, SL_STR(""), SL_STR(""));
        size_t items = 0;
        for (int i = 0; i < 100 && !error; i++)
            items += sl_otlp_request_item(&request, 1, SL_STR("\x1a\x02hi")) == 0;
        if (!error)
            error = sl_otlp_request_end(&request, &out);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK(failed || items == 100);
        if (!error) {
            sl_otlp_records records = sl_otlp_records_of(sl_buf_str(&out));
            while (sl_otlp_records_next(&records))
                items--;
            CHECK_EQ(items, 0);
        }
        sl_otlp_request_done(&request);
        sl_buf_done(&out);
        if (!failed)
            break;
    }
}
