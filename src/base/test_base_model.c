/* Buffers, arenas and wildcards against simple models, over many operations by chance. */
#include "src/base/arena.h"
#include "src/base/buf.h"
#include "src/base/mem.h"
#include "src/base/str.h"
#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_test.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

/* ---- buffers ---- */

#define MODEL_BYTES 4096

/* What a buffer has to hold. */
typedef struct model {
    char bytes[MODEL_BYTES];
    size_t len, max;
    int failed;
} model;

/* One append to both: the text comes behind the contents, or nothing changes and the error is remembered. */
static void appended(sl_buf *buf, model *m, int error, const char *text, size_t len, size_t needs)
{
    bool fits = needs <= m->max - m->len;
    if (!error) {
        CHECK(fits);
        memcpy(m->bytes + m->len, text, len);
        m->len += len;
    } else {
        CHECK_EQ(error, fits ? SL_ENOMEM : SL_ELIMIT);
        CHECK(!fits || sl_test_alloc_failed());
        m->failed = m->failed ? m->failed : error;
    }
    if (!sl_test_check_str(__FILE__, __LINE__, "contents", sl_buf_str(buf), sl_str_of(m->bytes, m->len)))
        sl_test_failed(__FILE__, __LINE__, "error %d, text '%.*s', maximum %zu", error, (int)len, text, m->max);
    CHECK_EQ(buf->failed, m->failed);
    CHECK(buf->cap <= m->max && buf->len <= buf->cap);
}

static void append_bytes(sl_buf *buf, model *m, uint64_t *chance)
{
    char text[120];
    size_t len = sl_chance(chance, sizeof text);
    for (size_t i = 0; i < len; i++)
        text[i] = (char)sl_chance(chance, 256);
    appended(buf, m, sl_buf_put(buf, text, len), text, len, len);
}

/* Numbers of every length, their neighbours and the ends of the type. */
static uint64_t any_u64(uint64_t *chance)
{
    uint64_t value = (uint64_t)sl_chance(chance, 1u << 30) << 34 | (uint64_t)sl_chance(chance, 1u << 30) << 4;
    switch (sl_chance(chance, 4)) {
    case 0:
        return sl_chance(chance, 2) ? UINT64_MAX : 0;
    case 1:
        return sl_chance(chance, 1000);
    default:
        return value >> sl_chance(chance, 64);
    }
}

static void append_integer(sl_buf *buf, model *m, uint64_t *chance)
{
    char text[32];
    uint64_t value = any_u64(chance);
    if (sl_chance(chance, 2)) {
        size_t len = (size_t)snprintf(text, sizeof text, "%llu", (unsigned long long)value);
        appended(buf, m, sl_buf_put_u64(buf, value), text, len, len);
    } else {
        int64_t number = sl_chance(chance, 8) == 0 ? INT64_MIN : -(int64_t)(value >> 1);
        size_t len = (size_t)snprintf(text, sizeof text, "%lld", (long long)number);
        appended(buf, m, sl_buf_put_i64(buf, number), text, len, len);
    }
}

static double any_double(uint64_t *chance)
{
    double value = (double)any_u64(chance);
    switch (sl_chance(chance, 6)) {
    case 0:
        return value / 1000.0;
    case 1:
        return -value / 8.0;
    case 2:
        return (double)sl_chance(chance, 100000) / -1000.0;
    case 3:
        return ldexp(value, (int)sl_chance(chance, 2000) - 1000);
    case 4:
        return sl_chance(chance, 2) ? -DBL_MAX : DBL_TRUE_MIN;
    default:
        return -value;
    }
}

/* The text of a double is what a buffer with room writes, and reads back as the same number. */
static void append_double(sl_buf *buf, model *m, uint64_t *chance)
{
    double value = any_double(chance);
    sl_buf whole;
    char text[64] = "";
    sl_test_fail_alloc(-1);
    sl_buf_init(&whole, sizeof text);
    CHECK_EQ(sl_buf_put_double(&whole, value), 0);
    size_t len = whole.len;
    if (len)
        memcpy(text, whole.data, len);
    sl_buf_done(&whole);
    CHECK(strtod(text, NULL) == value);
    appended(buf, m, sl_buf_put_double(buf, value), text, len, len);
}

static void append_formatted(sl_buf *buf, model *m, uint64_t *chance)
{
    char text[64];
    unsigned number = sl_chance(chance, 1000000);
    int width = (int)sl_chance(chance, 40);
    size_t len = (size_t)snprintf(text, sizeof text, "<%*u>", width, number);
    appended(buf, m, sl_buf_printf(buf, "<%*u>", width, number), text, len, len + 1);
}

static void take_all(sl_buf *buf, model *m)
{
    char *data = NULL;
    size_t len = 99;
    int error = sl_buf_take(buf, &data, &len);
    if (m->failed) {
        CHECK_EQ(error, m->failed);
    } else if (error) {
        CHECK_EQ(error, SL_ENOMEM);
        CHECK(sl_test_alloc_failed());
    }
    if (error) {
        CHECK(data == NULL && len == 99);
        CHECK_STR_EQ(sl_buf_str(buf), sl_str_of(m->bytes, m->len));
        return;
    }
    CHECK_STR_EQ(sl_str_of(data, len), sl_str_of(m->bytes, m->len));
    CHECK_EQ(data[len], 0);
    CHECK(buf->len == 0 && buf->max == m->max);
    m->len = 0;
    sl_free(data);
}

static void consume_some(sl_buf *buf, model *m, uint64_t *chance)
{
    size_t len = sl_chance(chance, (unsigned)m->len + 1);
    sl_buf_consume(buf, len);
    memmove(m->bytes, m->bytes + len, m->len - len);
    m->len -= len;
}

static void buffer_step(sl_buf *buf, model *m, uint64_t *chance)
{
    unsigned what = sl_chance(chance, 24);
    if (sl_chance(chance, 8) == 0)
        sl_test_fail_alloc(0);
    if (what < 6)
        append_bytes(buf, m, chance);
    else if (what < 12)
        append_integer(buf, m, chance);
    else if (what < 16)
        append_double(buf, m, chance);
    else if (what < 19)
        append_formatted(buf, m, chance);
    else if (what < 22)
        consume_some(buf, m, chance);
    else if (what == 22)
        take_all(buf, m);
    else {
        sl_buf_clear(buf);
        m->len = 0;
        m->failed = 0;
    }
    sl_test_fail_alloc(-1);
}

SL_TEST(a_buffer_holds_what_was_appended_or_is_as_it_was)
{
    for (uint64_t seed = 1; seed <= 60; seed++) {
        uint64_t chance = seed;
        model m = {.max = 1 + sl_chance(&chance, seed % 3 ? 60 : MODEL_BYTES)};
        sl_buf buf;
        sl_buf_init(&buf, m.max);
        for (int i = 0; i < 500; i++)
            buffer_step(&buf, &m, &chance);
        sl_buf_done(&buf);
    }
}

/* A number that needs the last byte of the room has it; one byte less and nothing at all is written. */
SL_TEST(numbers_at_the_limit_of_a_buffer)
{
    static const double doubles[] = {-1.5,    -0.25, 0.125, -1234567.875, -0.0, 1e300,
                                     -5e-324, 0.1,   100,   -99,          NAN,  INFINITY};
    for (size_t i = 0; i < sizeof doubles / sizeof *doubles; i++) {
        sl_buf whole, tight;
        sl_buf_init(&whole, 64);
        CHECK_EQ(sl_buf_put_double(&whole, doubles[i]), 0);
        for (size_t max = 1; max <= whole.len; max++) {
            sl_buf_init(&tight, max);
            CHECK_EQ(sl_buf_put_double(&tight, doubles[i]), max < whole.len ? SL_ELIMIT : 0);
            CHECK_EQ(tight.len, max < whole.len ? 0 : whole.len);
            sl_buf_done(&tight);
        }
        sl_buf_done(&whole);
    }
    static const int64_t integers[] = {-1, -10, -99999, INT64_MIN, INT64_MAX, 0, 7};
    for (size_t i = 0; i < sizeof integers / sizeof *integers; i++) {
        char text[24];
        size_t len = (size_t)snprintf(text, sizeof text, "%lld", (long long)integers[i]);
        for (size_t max = 1; max <= len; max++) {
            sl_buf tight;
            sl_buf_init(&tight, max);
            CHECK_EQ(sl_buf_put_i64(&tight, integers[i]), max < len ? SL_ELIMIT : 0);
            CHECK_STR(sl_buf_str(&tight), max < len ? "" : text);
            sl_buf_done(&tight);
        }
    }
}

/* What failed before is remembered, and is not the outcome of what comes after. */
SL_TEST(a_number_after_a_failure_tells_its_own_outcome)
{
    sl_buf buf;
    sl_buf_init(&buf, 16);
    CHECK_EQ(sl_buf_put(&buf, "seventeen bytes!!", 17), SL_ELIMIT);
    CHECK_EQ(sl_buf_put_double(&buf, 1.5), 0);
    CHECK_EQ(sl_buf_put_double(&buf, -2), 0);
    CHECK_EQ(sl_buf_put_i64(&buf, -7), 0);
    CHECK_STR(sl_buf_str(&buf), "1.5-2-7");
    CHECK_EQ(buf.failed, SL_ELIMIT);
    sl_buf_done(&buf);
}

/* ---- arenas ---- */

#define PIECES 400

typedef struct piece {
    unsigned char *at;
    size_t len;
    unsigned char mark;
} piece;

/* Every piece still has what was written into it: no other overlaps it. */
static void pieces_are_whole(const piece *pieces, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < pieces[i].len; k++) {
            if (pieces[i].at[k] != pieces[i].mark) {
                sl_test_failed(__FILE__, __LINE__, "piece %zu of %zu, byte %zu", i, count, k);
                return;
            }
        }
    }
}

static bool take_piece(sl_arena *arena, uint64_t *chance, piece *ret_piece)
{
    size_t size = sl_chance(chance, sl_chance(chance, 10) ? 64 : 3000), counted = size ? size : 1, used = arena->used;
    bool cleared = sl_chance(chance, 2), fails = sl_chance(chance, 12) == 0;
    sl_test_fail_alloc(fails ? 0 : -1);
    unsigned char *at = cleared ? sl_arena_zalloc(arena, size) : sl_arena_alloc(arena, size);
    bool no_memory = sl_test_alloc_failed();
    sl_test_fail_alloc(-1);
    if (!at) {
        CHECK(no_memory || used + counted > arena->max);
        CHECK_EQ(arena->used, used);
        return false;
    }
    CHECK((uintptr_t)at % 16 == 0);
    CHECK_EQ(arena->used, used + counted);
    for (size_t i = 0; cleared && i < size; i++)
        CHECK(at[i] == 0);
    *ret_piece = (piece){at, size, (unsigned char)(1 + sl_chance(chance, 255))};
    memset(at, ret_piece->mark, size);
    return true;
}

SL_TEST(pieces_of_an_arena_never_touch)
{
    for (uint64_t seed = 1; seed <= 40; seed++) {
        uint64_t chance = seed * 77;
        piece pieces[PIECES];
        size_t count = 0;
        sl_arena arena;
        sl_arena_init(&arena, 16 + sl_chance(&chance, 500), 200 + sl_chance(&chance, 20000));
        for (int i = 0; i < 300; i++) {
            if (sl_chance(&chance, 60) == 0) {
                pieces_are_whole(pieces, count);
                sl_arena_reset(&arena);
                count = 0;
            }
            count += take_piece(&arena, &chance, &pieces[count]);
        }
        pieces_are_whole(pieces, count);
        sl_arena_done(&arena);
    }
}

/* ---- wildcards ---- */

/* The definition: a star is nothing, or one character and a star. */
static bool glob_by_definition(const char *pattern, const char *text)
{
    if (!*pattern)
        return !*text;
    if (*pattern == '*')
        return glob_by_definition(pattern + 1, text) || (*text && glob_by_definition(pattern, text + 1));
    return *text && (*pattern == '?' || *pattern == *text) && glob_by_definition(pattern + 1, text + 1);
}

SL_TEST(wildcards_match_by_their_definition)
{
    static const char pattern_chars[] = "ab*?", text_chars[] = "ab";
    uint64_t chance = 5;
    size_t matched = 0, rounds = 20000;
    for (size_t i = 0; i < rounds; i++) {
        char pattern[9] = "", text[11] = "";
        for (size_t k = sl_chance(&chance, sizeof pattern); k > 0; k--)
            pattern[k - 1] = pattern_chars[sl_chance(&chance, 4)];
        for (size_t k = sl_chance(&chance, sizeof text); k > 0; k--)
            text[k - 1] = text_chars[sl_chance(&chance, 2)];
        bool match = sl_str_glob(sl_str_c(pattern), sl_str_c(text));
        matched += match;
        if (match != glob_by_definition(pattern, text))
            sl_test_failed(__FILE__, __LINE__, "'%s' on '%s'", pattern, text);
    }
    CHECK(matched > rounds / 20 && matched < rounds - rounds / 20); /* both outcomes were seen */
}

/* Splitting and joining again gives the text, and finding agrees with looking at each place. */
SL_TEST(texts_split_and_searched_by_chance)
{
    uint64_t chance = 11;
    for (int i = 0; i < 4000; i++) {
        char text[24], joined[32];
        size_t len = sl_chance(&chance, sizeof text), at = 0;
        for (size_t k = 0; k < len; k++)
            text[k] = ",ab"[sl_chance(&chance, 3)];
        sl_str rest = sl_str_of(text, len), part;
        while (sl_str_split(&rest, ',', &part)) {
            CHECK(sl_str_chr(part, ',') == SL_NPOS);
            memcpy(joined + at, part.ptr, part.len);
            at += part.len;
            joined[at++] = ',';
        }
        CHECK_STR_EQ(sl_str_of(joined, at - 1), sl_str_of(text, len));
        char needle[3] = {",ab"[sl_chance(&chance, 3)], ",ab"[sl_chance(&chance, 3)], 0};
        size_t found = SL_NPOS;
        for (size_t k = 0; k + 2 <= len && found == SL_NPOS; k++)
            found = memcmp(text + k, needle, 2) == 0 ? k : SL_NPOS;
        CHECK(sl_str_find(sl_str_of(text, len), sl_str_c(needle)) == found);
    }
}
