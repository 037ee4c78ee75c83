/* gzip: any text comes back, to the last byte of room; what is damaged, cut or too long leaves nothing behind. */
#include "src/export/gzip.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_test.h"

#define MOST 200000u

/* Texts that compress well, badly and not at all. */
static char *any_text(uint64_t *chance, size_t len)
{
    char *text = malloc(len + 1);
    unsigned alphabet = 1u << sl_chance(chance, 9);
    for (size_t i = 0; text && i < len; i++)
        text[i] = (char)sl_chance(chance, alphabet);
    return text;
}

static void pack(sl_buf *packed, const char *text, size_t len)
{
    sl_buf_init(packed, 4 * MOST);
    CHECK_EQ(sl_gzip_pack(sl_str_of(text, len), packed), 0);
    CHECK(packed->len >= 20 && (unsigned char)packed->data[0] == 0x1F && (unsigned char)packed->data[1] == 0x8B);
}

SL_TEST(any_text_comes_back)
{
    uint64_t chance = 1;
    for (int round = 0; round < 60; round++) {
        size_t len = sl_chance(&chance, round % 4 ? 2000 : MOST);
        char *text = any_text(&chance, len);
        sl_buf packed, plain;
        pack(&packed, text, len);
        sl_buf_init(&plain, MOST);
        CHECK_EQ(sl_buf_put_c(&plain, "in front "), 0);
        plain.max = len + 9; /* just enough */
        CHECK_EQ(sl_gzip_unpack(sl_buf_str(&packed), &plain), 0);
        CHECK_STR_EQ(sl_str_sub(sl_buf_str(&plain), 9, SL_NPOS), sl_str_of(text, len));
        CHECK_STR(sl_str_sub(sl_buf_str(&plain), 0, 9), "in front ");
        sl_buf_done(&packed);
        sl_buf_done(&plain);
        free(text);
    }
}

/* The room that is needed is enough, and one byte less is not: for lengths around the steps of the code. */
SL_TEST(room_to_the_last_byte)
{
    static const size_t lengths[] = {1, 2, 1000, 16383, 16384, 16385, 32768, 40000, 65536};
    uint64_t chance = 5;
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        char *text = any_text(&chance, lengths[i]);
        sl_buf packed, tight;
        pack(&packed, text, lengths[i]);
        for (size_t less = 0; less < 2; less++) {
            if (lengths[i] > less) {
                sl_buf_init(&tight, lengths[i] - less);
                CHECK_EQ(sl_gzip_unpack(sl_buf_str(&packed), &tight), less ? SL_ELIMIT : 0);
                CHECK_EQ(tight.len, less ? 0 : lengths[i]);
                sl_buf_done(&tight);
            }
            sl_buf_init(&tight, packed.len - less);
            CHECK_EQ(sl_gzip_pack(sl_str_of(text, lengths[i]), &tight), less ? SL_ELIMIT : 0);
            CHECK_EQ(tight.len, less ? 0 : packed.len);
            sl_buf_done(&tight);
        }
        sl_buf_done(&packed);
        free(text);
    }
}

/* A small text that becomes a large one ends at the maximum. */
SL_TEST(what_grows_without_end_is_stopped)
{
    char *zeros = calloc(1, 8u << 20);
    sl_buf packed, plain;
    sl_buf_init(&packed, 1u << 20);
    REQUIRE(zeros && sl_gzip_pack(sl_str_of(zeros, 8u << 20), &packed) == 0);
    CHECK(packed.len < 100000);
    sl_buf_init(&plain, 100000);
    CHECK_EQ(sl_gzip_unpack(sl_buf_str(&packed), &plain), SL_ELIMIT);
    CHECK(plain.len == 0 && plain.cap <= 100000);
    sl_buf_done(&packed);
    sl_buf_done(&plain);
    free(zeros);
}

static int unpack(const char *bytes, size_t len, sl_str *ret_text)
{
    static sl_buf plain;
    sl_buf_done(&plain);
    sl_buf_init(&plain, MOST);
    char *exact = malloc(len + 1); /* so that reading beyond it is seen */
    memcpy(exact, bytes, len);
    int error = sl_gzip_unpack(sl_str_of(exact, len), &plain);
    free(exact);
    *ret_text = sl_buf_str(&plain);
    CHECK(!error || plain.len == 0);
    if (error)
        sl_buf_done(&plain);
    return error;
}

SL_TEST(what_is_cut_or_damaged_is_refused)
{
    uint64_t chance = 9;
    char *text = any_text(&chance, 700);
    sl_buf packed;
    sl_str got;
    pack(&packed, text, 700);
    for (size_t cut = 0; cut < packed.len; cut++)
        CHECK_EQ(unpack(packed.data, cut, &got), SL_EPARSE);
    size_t unharmed = 0;
    for (size_t at = 0; at < packed.len; at++) {
        for (int bit = 0; bit < 8; bit++) {
            packed.data[at] = (char)(packed.data[at] ^ 1 << bit);
            int error = unpack(packed.data, packed.len, &got);
            if (!error) { /* some bits say nothing of the text: time and system in the head, the filling of a byte */
                CHECK_STR_EQ(got, sl_str_of(text, 700));
                unharmed++;
            }
            packed.data[at] = (char)(packed.data[at] ^ 1 << bit);
        }
    }
    CHECK(unharmed > 0 && unharmed <= 80);
    CHECK_EQ(unpack(packed.data, packed.len, &got), 0);
    CHECK_EQ(unpack("", 0, &got), SL_EPARSE);
    CHECK_EQ(unpack("plain text that is not compressed", 33, &got), SL_EPARSE);
    static const char zlib[] = "\x78\x9c\x03\x00\x00\x00\x00\x01"; /* the other frame around the same method */
    CHECK_EQ(unpack(zlib, sizeof zlib - 1, &got), SL_EPARSE);
    (void)unpack(packed.data, 0, &got); /* frees what it keeps */
    sl_buf_done(&packed);
    free(text);
}

/* RFC 1952, 2.2: a file is a series of members; what is behind them and is none is a fault. */
SL_TEST(several_members_are_one_text)
{
    static const char *const parts[] = {"one ", "", "two ", "three"};
    static const struct {
        const char *behind;
        size_t len;
    } tails[] = {{"x", 1}, {"\0", 1}, {"\x1f", 1}, {"\x1f\x8b", 2}, {"garbage behind", 14}};
    sl_buf all, member;
    sl_str got;
    sl_buf_init(&all, 4096);
    for (size_t i = 0; i < 4; i++) {
        pack(&member, parts[i], strlen(parts[i]));
        CHECK_EQ(sl_buf_put_str(&all, sl_buf_str(&member)), 0);
        sl_buf_done(&member);
    }
    CHECK_EQ(unpack(all.data, all.len, &got), 0);
    CHECK_STR(got, "one two three");
    size_t whole = all.len;
    for (size_t i = 0; i < sizeof tails / sizeof *tails; i++) {
        all.len = whole;
        CHECK_EQ(sl_buf_put(&all, tails[i].behind, tails[i].len), 0);
        CHECK_EQ(unpack(all.data, all.len, &got), SL_EPARSE);
    }
    sl_buf_done(&all);
}

SL_TEST(each_allocation_failing_in_turn)
{
    uint64_t chance = 3;
    char *text = any_text(&chance, 60000);
    bool done = false;
    long nth = 0;
    for (; !done && nth < 100; nth++) {
        sl_buf packed, plain;
        sl_buf_init(&packed, MOST);
        sl_buf_init(&plain, MOST);
        sl_test_fail_alloc(nth);
        int packing = sl_gzip_pack(sl_str_of(text, 60000), &packed);
        int unpacking = packing ? 0 : sl_gzip_unpack(sl_buf_str(&packed), &plain);
        done = !sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK(done ? !packing && !unpacking : packing == SL_ENOMEM || unpacking == SL_ENOMEM);
        CHECK(!packing || packed.len == 0);
        CHECK(!unpacking || plain.len == 0);
        sl_buf_done(&packed);
        sl_buf_done(&plain);
    }
    CHECK(done && nth > 4);
    free(text);
}
