/* The small parts of base: errors, time, random, hash, arena. */
#include "src/base/arena.h"

#include <stdio.h>

#include "src/base/clock.h"
#include "src/base/hash.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/base/str.h"
#include "tests/harness/sl_test.h"

SL_TEST(error_table)
{
    CHECK_STR(sl_str_c(sl_strerror(SL_ENOMEM)), "out of memory");
    CHECK_STR(sl_str_c(sl_error_name(SL_ETOOBIG)), "SL_ETOOBIG");
    CHECK_STR(sl_str_c(sl_strerror(-12345)), "unknown error");
    CHECK_STR(sl_str_c(sl_error_name(0)), "SL_OK");
    CHECK(sl_version()[0] >= '0' && sl_version()[0] <= '9');
}

SL_TEST(clock_rfc3339)
{
    static const struct {
        uint64_t ns;
        const char *text;
    } cases[] = {{0, "1970-01-01T00:00:00.000Z"},
                 {951782400ull * 1000000000u, "2000-02-29T00:00:00.000Z"},
                 {1763116245123ull * 1000000u + 999999, "2025-11-14T10:30:45.123Z"},
                 {4102444799999ull * 1000000u, "2099-12-31T23:59:59.999Z"}};
    char text[SL_RFC3339_MS_LEN + 1];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_rfc3339_ms(cases[i].ns, text);
        CHECK_STR(sl_str_c(text), cases[i].text);
    }
}

SL_TEST(rng_spreads)
{
    sl_rng a, b;
    sl_rng_init_seed(&a, 1);
    sl_rng_init_seed(&b, 1);
    CHECK(sl_rng_next(&a) == sl_rng_next(&b));
    sl_rng_init(&b);
    CHECK(sl_rng_next(&a) != sl_rng_next(&b));
    double sum = 0;
    for (int i = 0; i < 10000; i++) {
        double d = sl_rng_double(&a);
        CHECK(d >= 0 && d < 1);
        sum += d;
    }
    CHECK(sum > 4800 && sum < 5200);
}

SL_TEST(hash_differs)
{
    CHECK(sl_hash_str(SL_STR("a")) != sl_hash_str(SL_STR("b")));
    CHECK(sl_hash_str(SL_STR("12345678")) != sl_hash_str(SL_STR("12345679")));
    CHECK(sl_hash_bytes("a\0", 2, 0) != sl_hash_bytes("a", 1, 0));
    CHECK(sl_hash_bytes("a", 1, 1) != sl_hash_bytes("a", 1, 2));
}

SL_TEST(arena_gives_aligned_memory_up_to_its_maximum)
{
    sl_arena arena;
    sl_arena_init(&arena, 256, 1000);
    for (size_t i = 1; i <= 8; i++) {
        char *p = sl_arena_zalloc(&arena, i * 7);
        REQUIRE(p);
        CHECK((uintptr_t)p % 16 == 0);
        CHECK_EQ(p[i * 7 - 1], 0);
    }
    CHECK(sl_arena_alloc(&arena, 900) == NULL);
    CHECK(sl_arena_alloc(&arena, 500) != NULL);
    CHECK_STR(sl_arena_dup(&arena, SL_STR("copy")), "copy");
    sl_arena_reset(&arena);
    CHECK(sl_arena_alloc(&arena, 900) != NULL);
    sl_test_fail_alloc(0);
    sl_arena_done(&arena);
    CHECK(sl_arena_alloc(&arena, 10) == NULL);
    sl_arena_done(&arena);
}

SL_TEST(mem_overflow)
{
    CHECK(sl_calloc(SIZE_MAX / 2, 3) == NULL);
    CHECK(sl_malloc(0) == NULL);
    char *copy = sl_strndup("abc", 2);
    REQUIRE(copy);
    CHECK_STR(sl_str_c(copy), "ab");
    sl_free(copy);
}

SL_TEST(arena_at_its_maximum)
{
    for (size_t max = 1; max <= 100; max++) {
        sl_arena arena;
        sl_arena_init(&arena, 16, max);
        CHECK(sl_arena_alloc(&arena, max + 1) == NULL);
        CHECK(sl_arena_alloc(&arena, SIZE_MAX) == NULL);
        char *all = sl_arena_alloc(&arena, max);
        REQUIRE(all);
        memset(all, 'x', max);
        CHECK(sl_arena_alloc(&arena, 1) == NULL);
        CHECK(sl_arena_alloc(&arena, 0) == NULL); /* counts as one byte */
        CHECK(sl_arena_dup(&arena, SL_STR("")).ptr == NULL);
        sl_arena_reset(&arena);
        CHECK(sl_arena_alloc(&arena, max) != NULL);
        sl_arena_done(&arena);
    }
}

SL_TEST(arena_without_memory)
{
    sl_arena arena;
    sl_arena_init(&arena, 64, 10000);
    char *first = sl_arena_zalloc(&arena, 40);
    REQUIRE(first);
    memset(first, 'a', 40);
    sl_test_fail_alloc(0);
    CHECK(sl_arena_alloc(&arena, 100) == NULL);
    CHECK_EQ(arena.used, 40); /* what failed is not counted */
    char *again = sl_arena_alloc(&arena, 100);
    REQUIRE(again);
    memset(again, 'b', 100);
    CHECK(first[0] == 'a' && first[39] == 'a');
    sl_arena_done(&arena);
    sl_arena_done(NULL);
}

SL_TEST(arena_keeps_one_block)
{
    sl_arena arena;
    sl_arena_init(&arena, 128, 100000);
    for (int round = 0; round < 3; round++) {
        for (int i = 0; i < 50; i++)
            CHECK(sl_arena_alloc(&arena, 30) != NULL);
        sl_arena_reset(&arena);
        CHECK_EQ(arena.used, 0);
        size_t before = sl_test_alloc_count();
        CHECK(sl_arena_alloc(&arena, 30) != NULL);
#ifndef SL_ARENA_MALLOC
        CHECK_EQ(sl_test_alloc_count(), before);
#endif
        CHECK(sl_arena_alloc(&arena, 5000) != NULL); /* a block of its own is not kept */
        sl_arena_reset(&arena);
    }
    sl_arena_done(&arena);
}

SL_TEST(clock_rfc3339_edges)
{
    static const struct {
        uint64_t s;
        const char *text;
    } rows[] = {{68169599, "1972-02-28T23:59:59.000Z"},   {68169600, "1972-02-29T00:00:00.000Z"},
                {951868799, "2000-02-29T23:59:59.000Z"},  {951868800, "2000-03-01T00:00:00.000Z"},
                {978307199, "2000-12-31T23:59:59.000Z"},  {4107542399, "2100-02-28T23:59:59.000Z"},
                {4107542400, "2100-03-01T00:00:00.000Z"}, {1709164800, "2024-02-29T00:00:00.000Z"},
                {2147483648, "2038-01-19T03:14:08.000Z"}, {18446744073, "2554-07-21T23:34:33.000Z"}};
    char text[SL_RFC3339_MS_LEN + 1];
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_rfc3339_ms(rows[i].s * 1000000000u, text);
        CHECK_STR(sl_str_c(text), rows[i].text);
    }
    sl_rfc3339_ms(999999, text);
    CHECK_STR(sl_str_c(text), "1970-01-01T00:00:00.000Z"); /* cut, not rounded */
    sl_rfc3339_ms(UINT64_MAX, text);
    CHECK_STR(sl_str_c(text), "2554-07-21T23:34:33.709Z");
}

SL_TEST(clocks_go_on)
{
    uint64_t wall = sl_now_ns(), mono = sl_mono_ns(), coarse = sl_now_coarse_ns();
    CHECK(wall > 1600000000u * (uint64_t)1000000000u);
    CHECK(coarse > wall - 1000000000u && coarse < wall + 1000000000u);
    for (int i = 0; i < 1000; i++) {
        uint64_t next = sl_mono_ns();
        CHECK(next >= mono);
        mono = next;
    }
}

SL_TEST(rng_known_values)
{
    /* xoshiro256** from the state 1, 2, 3, 4: the values of its reference implementation. */
    static const uint64_t want[] = {11520, 0, 1509978240, 1215971899390074240u};
    sl_rng rng = {{1, 2, 3, 4}};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        CHECK(sl_rng_next(&rng) == want[i]);
    sl_rng zero;
    sl_rng_init_seed(&zero, 0); /* a seed of zero is no state of zeros */
    CHECK((zero.s[0] | zero.s[1] | zero.s[2] | zero.s[3]) != 0);
}

SL_TEST(hash_sees_every_byte)
{
    char text[40];
    for (size_t len = 1; len <= sizeof text; len++) {
        memset(text, 'a', sizeof text);
        uint64_t plain = sl_hash_bytes(text, len, 0);
        CHECK(plain == sl_hash_bytes(text, len, 0));
        for (size_t at = 0; at < len; at++) {
            text[at] = 'b';
            CHECK(sl_hash_bytes(text, len, 0) != plain);
            text[at] = 'a';
        }
    }
    /* Low bits index tables: a thousand keys that differ in a digit fill more than a third of a thousand slots. */
    unsigned char slots[1024] = {0};
    size_t used = 0;
    for (int i = 0; i < 1024; i++) {
        snprintf(text, sizeof text, "gen_ai.key.%d", i);
        unsigned char *slot = &slots[sl_hash_str(sl_str_c(text)) % 1024];
        used += *slot == 0;
        *slot = 1;
    }
    CHECK(used > 550);
}

/* Every code has a name and a text of its own, and the table is the list. */
SL_TEST(error_codes)
{
    static const int codes[] = {
#define CODE(name, value, text) value,
        SL_ERROR_MAP(CODE)
#undef CODE
    };
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        CHECK_EQ(codes[i], -(int)i - 1); /* they never change */
        CHECK(strncmp(sl_error_name(codes[i]), "SL_E", 4) == 0);
        for (size_t k = 0; k < i; k++) {
            CHECK(strcmp(sl_strerror(codes[i]), sl_strerror(codes[k])) != 0);
            CHECK(strcmp(sl_error_name(codes[i]), sl_error_name(codes[k])) != 0);
        }
    }
    CHECK_STR(sl_str_c(sl_error_name(1)), "unknown");
    CHECK_STR(sl_str_c(sl_strerror(0)), "no error");
}

SL_TEST(mem_seam)
{
    char *p = sl_calloc(3, 5);
    REQUIRE(p);
    for (int i = 0; i < 15; i++)
        CHECK_EQ(p[i], 0);
    memset(p, 'x', 15);
    sl_test_fail_alloc(0);
    CHECK(sl_realloc(p, 4000) == NULL);
    CHECK(p[0] == 'x' && p[14] == 'x'); /* the old block stays */
    char *q = sl_realloc(p, 4000);
    REQUIRE(q);
    CHECK(q[14] == 'x');
    CHECK(sl_realloc(q, 0) == NULL); /* releases nothing */
    q[0] = 'y';
    sl_free(q);
    sl_free(NULL);
    CHECK(sl_calloc(0, 5) == NULL);
    CHECK(sl_calloc(5, 0) == NULL);
    sl_test_fail_alloc(0);
    CHECK(sl_strndup("a", 1) == NULL);
    sl_test_fail_alloc(0);
    CHECK(sl_calloc(1, 1) == NULL);
    char *empty = sl_strndup(NULL, 0);
    REQUIRE(empty);
    CHECK_EQ(empty[0], 0);
    sl_free(empty);
}
