/* Base64: the vectors of RFC 4648, section 10, both alphabets, padding right, missing and wrong. */
#include "src/wire/base64.h"

#include <stdlib.h>

#include "tests/harness/sl_test.h"

SL_TEST(base64)
{
    static const struct {
        const char *plain, *coded;
    } table[] = {{"", ""},
                 {"f", "Zg=="},
                 {"fo", "Zm8="},
                 {"foo", "Zm9v"},
                 {"foob", "Zm9vYg=="},
                 {"fooba", "Zm9vYmE="},
                 {"foobar", "Zm9vYmFy"},
                 {"\xfb\xff\xfe", "+//+"}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        sl_buf buf;
        sl_buf_init(&buf, 100);
        CHECK_EQ(sl_base64_encode(&buf, sl_str_c(table[i].plain)), 0);
        CHECK_STR(sl_buf_str(&buf), table[i].coded);
        uint8_t out[16];
        size_t len = 0;
        CHECK_EQ(sl_base64_decode(sl_str_c(table[i].coded), out, &len), 0);
        CHECK_STR(sl_str_of((char *)out, len), table[i].plain);
        sl_buf_done(&buf);
    }
    uint8_t out[16];
    size_t len;
    CHECK_EQ(sl_base64_decode(SL_STR("-__-"), out, &len), 0);
    CHECK_EQ(sl_base64_decode(SL_STR("Zg=x"), out, &len), SL_EPARSE);
}

SL_TEST(base64_refused)
{
    static const char *const rows[] = {
        "Z",        "Z=",     "Z==",         "Z===",   "=",     "==",   "====",   "Zg=",    "Zm9=v", "Zm9vYg===",
        "Zm9v=",    "Zm9v==", "Zm9vY",       "Zm9vY=", "Zm8==", "Zg =", "Zg\n==", "Zm9v\n", " Zm9v", "Zm9v!",
        "Zg==Zg==", "Zm9*",   "Zm9\xC3\xA4", "Zm9,",   "Zm9.",  "Zm9@", "Zm9[",   "Zm9`",   "Zm9{",  "Z===Zm9v",
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t out[32];
        size_t len = 99;
        if (sl_base64_decode(sl_str_c(rows[i]), out, &len) != SL_EPARSE || len != 99)
            sl_test_failed(__FILE__, __LINE__, "accepted %s", rows[i]);
    }
}

SL_TEST(base64_accepted)
{
    static const struct {
        const char *text;
        sl_str bytes;
    } rows[] = {
        {"Zg", {"f", 1}},
        {"Zm8", {"fo", 2}},
        {"Zm9vYg", {"foob", 4}},
        {"Zm9vYmE", {"fooba", 5}},
        {"-_-_", {"\xfb\xff\xbf", 3}},
        {"+/+/", {"\xfb\xff\xbf", 3}},
        {"_w==", {"\xff", 1}},
        {"AA", {"\0", 1}},
        {"Zh==", {"f", 1}}, /* bits that no byte needs */
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        uint8_t out[32];
        size_t len = 99;
        CHECK_EQ(sl_base64_decode(sl_str_c(rows[i].text), out, &len), 0);
        CHECK_STR_EQ(sl_str_of((const char *)out, len), rows[i].bytes);
    }
}

/* Every length and every byte, from and into exact copies. */
SL_TEST(base64_reads_back)
{
    uint8_t bytes[256];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)(i * 7);
    for (size_t len = 0; len <= sizeof bytes; len++) {
        sl_buf buf;
        size_t got = 99;
        sl_buf_init(&buf, 1000);
        CHECK_EQ(sl_base64_encode(&buf, sl_str_of((const char *)bytes, len)), 0);
        CHECK_EQ(buf.len, sl_base64_encoded_len(len));
        uint8_t *out = malloc(buf.len / 4 * 3 + 2);
        CHECK_EQ(sl_base64_decode(sl_buf_str(&buf), out, &got), 0);
        CHECK(got == len && memcmp(out, bytes, len) == 0);
        free(out);
        sl_buf_done(&buf);
    }
    sl_buf buf;
    sl_buf_init(&buf, 3);
    CHECK_EQ(sl_base64_encode(&buf, SL_STR("a")), SL_ELIMIT);
    CHECK_EQ(buf.len, 0);
    sl_buf_done(&buf);
}
