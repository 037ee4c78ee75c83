/* Protocol Buffers wire format: known encodings, every size of room, every truncation point. */
#include "src/wire/pb.h"

#include <stdlib.h>

#include "tests/harness/sl_test.h"

#define BYTES(text)                                                                                                    \
    {                                                                                                                  \
        text, sizeof(text) - 1                                                                                         \
    }

static const struct {
    uint64_t value;
    const char *bytes;
    size_t len;
} varints[] = {
    {0, "\x00", 1},
    {1, "\x01", 1},
    {127, "\x7f", 1},
    {128, "\x80\x01", 2},
    {300, "\xac\x02", 2},
    {16383, "\xff\x7f", 2},
    {16384, "\x80\x80\x01", 3},
    {UINT32_MAX, "\xff\xff\xff\xff\x0f", 5},
    {UINT64_MAX, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 10},
    {1ull << 63, "\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 10},
};

SL_TEST(varint_known_values)
{
    for (size_t i = 0; i < sizeof varints / sizeof varints[0]; i++) {
        uint8_t room[16];
        sl_pb_cursor c = sl_pb_cursor_of(room, sizeof room);
        CHECK(sl_pb_put_varint(&c, varints[i].value));
        CHECK_STR_EQ(sl_str_of((char *)room, (size_t)(c.at - room)), sl_str_of(varints[i].bytes, varints[i].len));
        CHECK_EQ(sl_pb_size_varint(varints[i].value), varints[i].len);
        sl_pb_reader r = sl_pb_reader_of(sl_str_of(varints[i].bytes, varints[i].len));
        uint64_t back = 7;
        CHECK(sl_pb_read_varint(&r, &back));
        CHECK(back == varints[i].value);
        for (size_t cut = 0; cut < varints[i].len; cut++) {
            r = sl_pb_reader_of(sl_str_of(varints[i].bytes, cut));
            CHECK(!sl_pb_read_varint(&r, &back));
            CHECK_EQ(r.error, SL_EPARSE);
            sl_pb_cursor small = sl_pb_cursor_of(room, cut);
            CHECK(!sl_pb_put_varint(&small, varints[i].value));
            CHECK(small.at == room);
        }
    }
}

SL_TEST(varint_size_of_every_power)
{
    for (unsigned bit = 0; bit < 64; bit++) {
        uint8_t room[16];
        uint64_t value = 1ull << bit;
        CHECK_EQ(sl_pb_size_varint(value), sl_pb_raw_varint(room, value) - room);
        CHECK_EQ(sl_pb_size_varint(value - 1), sl_pb_raw_varint(room, value - 1) - room);
    }
}

SL_TEST(varint_that_overflows_is_refused)
{
    const char *bad[] = {"\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"};
    for (size_t i = 0; i < 2; i++) {
        sl_pb_reader r = sl_pb_reader_of(sl_str_c(bad[i]));
        uint64_t value = 5;
        CHECK(!sl_pb_read_varint(&r, &value));
        CHECK_EQ(value, 5);
    }
}

SL_TEST(zigzag)
{
    CHECK_EQ(sl_pb_zigzag(0), 0);
    CHECK_EQ(sl_pb_zigzag(-1), 1);
    CHECK_EQ(sl_pb_zigzag(1), 2);
    const int64_t values[] = {0, 1, -1, 63, -64, INT64_MAX, INT64_MIN};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++)
        CHECK(sl_pb_unzigzag(sl_pb_zigzag(values[i])) == values[i]);
}

/* Writes one of everything; false when it did not fit. */
static bool write_all(sl_pb_cursor *c)
{
    uint8_t *mark;
    return sl_pb_put_uint(c, 1, 300) && sl_pb_put_fixed64(c, 2, 0x1122334455667788ull) &&
           sl_pb_put_fixed32(c, 16, 0xAABBCCDDu) && sl_pb_put_str(c, 3, SL_STR("text")) &&
           sl_pb_put_double(c, 4, 1.5) && (mark = sl_pb_open(c, 5, 2)) != NULL && sl_pb_put_uint(c, 1, 9) &&
           sl_pb_close(c, mark, 2);
}

static void check_all(sl_str message)
{
    sl_pb_reader r = sl_pb_reader_of(message);
    sl_pb_field f;
    CHECK(sl_pb_next(&r, &f) && sl_pb_is(&f, 1, SL_PB_VARINT) && f.value == 300);
    CHECK(sl_pb_next(&r, &f) && sl_pb_is(&f, 2, SL_PB_FIXED64) && f.value == 0x1122334455667788ull);
    CHECK(sl_pb_next(&r, &f) && sl_pb_is(&f, 16, SL_PB_FIXED32) && f.value == 0xAABBCCDDu);
    CHECK(sl_pb_next(&r, &f) && sl_pb_is(&f, 3, SL_PB_LEN));
    CHECK_STR(f.bytes, "text");
    CHECK(sl_pb_next(&r, &f) && sl_pb_is(&f, 4, SL_PB_FIXED64) && sl_pb_bits_double(f.value) == 1.5);
    CHECK(sl_pb_next(&r, &f) && sl_pb_is(&f, 5, SL_PB_LEN));
    sl_pb_reader nested = sl_pb_reader_of(f.bytes);
    CHECK(sl_pb_next(&nested, &f) && sl_pb_is(&f, 1, SL_PB_VARINT) && f.value == 9);
    CHECK(!sl_pb_next(&nested, &f));
    CHECK_EQ(nested.error, 0);
    CHECK(!sl_pb_next(&r, &f));
    CHECK_EQ(r.error, 0);
}

SL_TEST(fields_round_trip_and_fit_exactly)
{
    uint8_t room[256];
    sl_pb_cursor c = sl_pb_cursor_of(room, sizeof room);
    REQUIRE(write_all(&c));
    size_t len = (size_t)(c.at - room);
    check_all(sl_str_of((char *)room, len));
    for (size_t size = 0; size <= len; size++) {
        uint8_t *exact = malloc(size ? size : 1); /* its own block, so that a sanitizer sees each bound */
        REQUIRE(exact);
        sl_pb_cursor small = sl_pb_cursor_of(exact, size);
        CHECK_EQ(write_all(&small), size == len);
        CHECK(small.at <= small.end);
        free(exact);
    }
}

SL_TEST(reader_stops_at_every_truncation)
{
    uint8_t room[256];
    sl_pb_cursor c = sl_pb_cursor_of(room, sizeof room);
    REQUIRE(write_all(&c));
    size_t len = (size_t)(c.at - room);
    size_t clean = 0;
    for (size_t cut = 0; cut < len; cut++) {
        sl_pb_reader r = sl_pb_reader_of(sl_str_of((char *)room, cut));
        sl_pb_field f;
        while (sl_pb_next(&r, &f))
            CHECK(!f.bytes.ptr || (const uint8_t *)f.bytes.ptr + f.bytes.len <= room + cut);
        clean += r.error == 0;
        CHECK(!sl_pb_next(&r, &f));
    }
    CHECK_EQ(clean, 6); /* the cuts between fields, and the empty message */
}

SL_TEST(reader_refuses_what_is_malformed)
{
    static const struct {
        const char *bytes;
        size_t len;
    } bad[] = {
        {"\x00\x01", 2},          /* field 0 */
        {"\x0c", 1},              /* the end of a group that nobody began */
        {"\x0b", 1},              /* a group without end */
        {"\x0b\x14", 2},          /* a group ended by the number of another */
        {"\x0b\x13\x0c\x14", 4},  /* two groups that cross */
        {"\x0b\x0a\x05z\x0c", 5}, /* a length beyond the end within a group */
        {"\x0b\x00\x0c", 3},      /* field 0 within a group */
        {"\x0e\x00", 2},          /* wire type 6 */
        {"\x0f\x00", 2},          /* wire type 7 */
        {"\x0a\x02z", 3},         /* length beyond the end */
        {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11},
        {"\x88\x80\x80\x80\x10\x00", 6}, /* tag beyond 32 bits */
        {"\x09\x01\x02", 3},
        {"\x0d\x01\x02", 3},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        sl_pb_reader r = sl_pb_reader_of(sl_str_of(bad[i].bytes, bad[i].len));
        sl_pb_field f;
        CHECK(!sl_pb_next(&r, &f));
        CHECK_EQ(r.error, SL_EPARSE);
    }
}

SL_TEST(padded_length_is_patched)
{
    for (unsigned width = 1; width <= 5; width++) {
        uint8_t room[300];
        sl_pb_cursor c = sl_pb_cursor_of(room, sizeof room);
        uint8_t *mark = sl_pb_open(&c, 2, width);
        REQUIRE(mark);
        CHECK(sl_pb_put_raw(&c, "0123456789", 10));
        CHECK(sl_pb_close(&c, mark, width));
        sl_pb_reader r = sl_pb_reader_of(sl_str_of((char *)room, (size_t)(c.at - room)));
        sl_pb_field f;
        CHECK(sl_pb_next(&r, &f));
        CHECK_STR(f.bytes, "0123456789");
    }
    uint8_t room[300];
    sl_pb_cursor c = sl_pb_cursor_of(room, sizeof room);
    uint8_t *mark = sl_pb_open(&c, 2, 1);
    memset(c.at, 'x', 128);
    c.at += 128;
    CHECK(!sl_pb_close(&c, mark, 1));
}

SL_TEST(buffer_writes_the_same_bytes)
{
    sl_buf buf;
    sl_buf_init(&buf, 1 << 20);
    size_t mark = 0;
    CHECK_EQ(sl_pb_buf_uint(&buf, 1, 300), 0);
    CHECK_EQ(sl_pb_buf_fixed64(&buf, 2, 0x1122334455667788ull), 0);
    CHECK_EQ(sl_pb_buf_fixed32(&buf, 16, 0xAABBCCDDu), 0);
    CHECK_EQ(sl_pb_buf_str(&buf, 3, SL_STR("text")), 0);
    CHECK_EQ(sl_pb_buf_double(&buf, 4, 1.5), 0);
    CHECK_EQ(sl_pb_buf_open(&buf, 5, &mark), 0);
    CHECK_EQ(sl_pb_buf_uint(&buf, 1, 9), 0);
    sl_pb_buf_close(&buf, mark);
    check_all(sl_buf_str(&buf));
    sl_buf_done(&buf);
}

SL_TEST(buffer_nested_lengths)
{
    for (size_t len = 0; len < 20000; len = len * 2 + 1) {
        sl_buf buf;
        sl_buf_init(&buf, 1 << 20);
        size_t outer = 0, inner = 0;
        CHECK_EQ(sl_pb_buf_open(&buf, 1, &outer), 0);
        CHECK_EQ(sl_pb_buf_open(&buf, 2, &inner), 0);
        for (size_t i = 0; i < len; i++)
            CHECK_EQ(sl_buf_put_char(&buf, (char)('a' + i % 26)), 0);
        sl_pb_buf_close(&buf, inner);
        sl_pb_buf_close(&buf, outer);
        sl_pb_reader r = sl_pb_reader_of(sl_buf_str(&buf));
        sl_pb_field f;
        REQUIRE(sl_pb_next(&r, &f));
        CHECK(!sl_pb_next(&r, &(sl_pb_field){0}) && r.error == 0);
        r = sl_pb_reader_of(f.bytes);
        REQUIRE(sl_pb_next(&r, &f));
        CHECK_EQ(f.bytes.len, len);
        CHECK(len == 0 || f.bytes.ptr[len - 1] == (char)('a' + (len - 1) % 26));
        sl_buf_done(&buf);
    }
}

SL_TEST(buffer_reports_its_limit)
{
    sl_buf buf;
    sl_buf_init(&buf, 8);
    CHECK_EQ(sl_pb_buf_bytes(&buf, 1, "0123456789", 10), SL_ELIMIT);
    CHECK_EQ(buf.len, 0);
    CHECK_EQ(buf.failed, SL_ELIMIT);
    sl_pb_buf_close(&buf, 0); /* does nothing */
    CHECK_EQ(buf.len, 0);
    sl_buf_done(&buf);
}

/* "Encoding", Groups: a parser reads over an unknown one, whatever stands in it. */
SL_TEST(reader_skips_groups)
{
    static const struct {
        sl_str bytes;
        size_t groups;
    } rows[] = {
        {BYTES("\x0b\x0c\x10\x07"), 1},
        {BYTES("\x0b\x08\x01\x0c\x10\x07"), 1},
        {BYTES("\x0b\x0a\x02\x0c\x0c\x0c\x10\x07"), 1}, /* end tags as text */
        {BYTES("\x0b\x0b\x0c\x0b\x0c\x0c\x10\x07"), 1},
        {BYTES("\x0b\x13\x0d"
               "1234"
               "\x09"
               "12345678"
               "\x14\x0c\x0b\x0c\x10\x07"),
         2},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        for (size_t len = 0; len <= rows[i].bytes.len; len++) {
            sl_pb_reader r = sl_pb_reader_of(sl_str_sub(rows[i].bytes, 0, len));
            sl_pb_field f = {0, 0, 0, {NULL, 0}};
            size_t groups = 0;
            while (sl_pb_next(&r, &f))
                groups += f.wire == SL_PB_GROUP;
            CHECK(r.error == 0 || len < rows[i].bytes.len);
            if (len < rows[i].bytes.len)
                continue;
            CHECK_EQ(groups, rows[i].groups);
            CHECK(sl_pb_is(&f, 2, SL_PB_VARINT) && f.value == 7);
        }
    }
    for (size_t depth = SL_PB_MAX_GROUPS; depth <= SL_PB_MAX_GROUPS + 1; depth++) {
        char bytes[2 * (SL_PB_MAX_GROUPS + 1)];
        memset(bytes, 0x0b, depth);
        memset(bytes + depth, 0x0c, depth);
        sl_pb_reader r = sl_pb_reader_of(sl_str_of(bytes, 2 * depth));
        sl_pb_field f;
        CHECK_EQ(sl_pb_next(&r, &f), depth == SL_PB_MAX_GROUPS);
        CHECK_EQ(r.error, depth == SL_PB_MAX_GROUPS ? 0 : SL_EPARSE);
    }
}

/* "Encoding", Base 128 Varints: ten bytes at most, the last one 0 or 1; padding is allowed. */
SL_TEST(reader_varints)
{
    static const struct {
        sl_str bytes;
        int good;
        uint64_t value;
    } rows[] = {
        {BYTES("\x00"), 1, 0},
        {BYTES("\x01"), 1, 1},
        {BYTES("\x96\x01"), 1, 150},
        {BYTES("\x80\x00"), 1, 0},
        {BYTES("\x81\x80\x80\x80\x00"), 1, 1},
        {BYTES("\xff\xff\xff\xff\x0f"), 1, UINT32_MAX},
        {BYTES("\xff\xff\xff\xff\xff\xff\xff\xff\x7f"), 1, INT64_MAX},
        {BYTES("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01"), 1, (uint64_t)1 << 63},
        {BYTES("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"), 1, UINT64_MAX},
        {BYTES("\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02"), 0, 0},
        {BYTES("\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x00"), 0, 0},
        {BYTES("\x80"), 0, 0},
        {BYTES(""), 0, 0},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        sl_pb_reader r = sl_pb_reader_of(rows[i].bytes);
        uint64_t value = 5;
        CHECK_EQ(sl_pb_read_varint(&r, &value), rows[i].good);
        CHECK(value == (rows[i].good ? rows[i].value : 5));
        CHECK_EQ(r.error, rows[i].good ? 0 : SL_EPARSE);
    }
}
