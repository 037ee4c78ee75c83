/* Thrift's binary protocol: each kind of field by its bytes. */
#include "src/wire/thrift_write.h"

#include "tests/harness/sl_test.h"

static void check(sl_buf *b, const char *want, size_t len)
{
    CHECK_STR_EQ(sl_buf_str(b), sl_str_of(want, len));
    sl_buf_clear(b);
}
#define BYTES(text) text, sizeof(text) - 1

SL_TEST(fields)
{
    sl_buf b;
    sl_buf_init(&b, 4096);
    sl_thrift_bool(&b, 5, true);
    check(&b, BYTES("\x02\x00\x05\x01"));
    sl_thrift_bool(&b, 0x1234, false);
    check(&b, BYTES("\x02\x12\x34\x00"));
    sl_thrift_i32(&b, 1, 0xFFFFFFFFu);
    check(&b, BYTES("\x08\x00\x01\xFF\xFF\xFF\xFF"));
    sl_thrift_i64(&b, 1, 0x0102030405060708u);
    check(&b, BYTES("\x0A\x00\x01\x01\x02\x03\x04\x05\x06\x07\x08"));
    sl_thrift_double(&b, 2, -2.0);
    check(&b, BYTES("\x04\x00\x02\xC0\x00\x00\x00\x00\x00\x00\x00"));
    sl_thrift_bytes(&b, 3, SL_STR("\xFF\x00z"));
    check(&b, BYTES("\x0B\x00\x03\x00\x00\x00\x03\xFF\x00z"));
    sl_thrift_text(&b, 3, SL_STR("\xC3\xA9"));
    check(&b, BYTES("\x0B\x00\x03\x00\x00\x00\x02\xC3\xA9"));
    sl_thrift_text(&b, 3, SL_STR("\xC3"));
    check(&b, BYTES("\x0B\x00\x03\x00\x00\x00\x03\xEF\xBF\xBD"));
    sl_thrift_text(&b, 3, SL_STR(""));
    check(&b, BYTES("\x0B\x00\x03\x00\x00\x00\x00"));
    sl_thrift_field(&b, SL_THRIFT_STRUCT, 9);
    sl_thrift_stop(&b);
    check(&b, BYTES("\x0C\x00\x09\x00"));
    sl_buf_done(&b);
}

SL_TEST(lists)
{
    sl_buf b;
    sl_buf_init(&b, 4096);
    (void)sl_buf_put_c(&b, "x");
    sl_thrift_list list = sl_thrift_list_open(&b, 7);
    sl_thrift_list_close(&b, &list, true);
    check(&b, BYTES("x"));
    list = sl_thrift_list_open(&b, 7);
    sl_thrift_list_close(&b, &list, false);
    check(&b, BYTES("\x0F\x00\x07\x0C\x00\x00\x00\x00"));
    list = sl_thrift_list_open(&b, 7);
    for (int i = 0; i < 258; i++, list.count++)
        sl_thrift_stop(&b);
    sl_thrift_list_close(&b, &list, true);
    CHECK_EQ(b.len, 8 + 258);
    CHECK_STR_EQ(sl_str_sub(sl_buf_str(&b), 0, 8), sl_str_of("\x0F\x00\x07\x0C\x00\x00\x01\x02", 8));
    sl_buf_done(&b);
}

/* After a failure nothing is patched, and the failure stays. */
SL_TEST(a_full_buffer)
{
    for (size_t max = 1; max < 24; max++) {
        sl_buf b;
        sl_buf_init(&b, max);
        sl_thrift_list list = sl_thrift_list_open(&b, 7);
        list.count = 1;
        sl_thrift_text(&b, 1,
                       SL_STR("a\xFF"
                              "b"));
        sl_thrift_stop(&b);
        sl_thrift_list_close(&b, &list, true);
        CHECK_EQ(b.failed, max < 8 + 7 + 5 + 1 ? SL_ELIMIT : 0);
        sl_buf_done(&b);
    }
}
