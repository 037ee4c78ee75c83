/* The small parts of base: errors, time, random, hash, arena. */
#include "src/base/arena.h"
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
