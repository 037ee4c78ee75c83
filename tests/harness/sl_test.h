/*
 * The unit test harness: tests register themselves, run in order, and a line per failure names file and line.
 *
 * Usage: SL_TEST(name) { CHECK(x); CHECK_EQ(a, b); CHECK_STR(view, "text"); } — main() is in sl_test.c.
 * A test that cannot run says why: SL_SKIP("reason"). Each test is checked for memory of sl_malloc left behind.
 * sl_test_fail_alloc(n) makes the Nth allocation from now (0-based) fail.
 */
#ifndef SL_TEST_H
#define SL_TEST_H

#include <sightline/base.h>

typedef struct sl_test_case {
    const char *name;
    const char *file;
    void (*run)(void);
    struct sl_test_case *next;
} sl_test_case;

void sl_test_register(sl_test_case *test);
/* Notes a failure of the running test. */
void sl_test_failed(const char *file, int line, const char *format, ...) __attribute__((format(printf, 3, 4)));
void sl_test_skip(const char *reason);
bool sl_test_check_eq(const char *file, int line, const char *text, long long a, long long b);
bool sl_test_check_str(const char *file, int line, const char *text, sl_str a, sl_str b);
/* The Nth allocation from now fails (once); -1: none. */
void sl_test_fail_alloc(long n);
/* True when the failure asked for has happened. */
bool sl_test_alloc_failed(void);
/* Allocations of sl_malloc made so far, and blocks that are live. */
size_t sl_test_alloc_count(void);
size_t sl_test_live_blocks(void);
/* How often the calling thread has given the processor up of itself: locks, I/O, sleep. Unlike time, no busy machine
 * adds to it. */
long sl_test_waits(void);
/* mkdtemp(3) of a path that ends with XXXXXX; the folder and all in it are removed when the test ends, however it ends.
 * At most SL_TEST_FOLDERS for each test, later ones give NULL. */
#define SL_TEST_FOLDERS 32
char *sl_test_mkdtemp(char *path);
/* The same now; for a test that makes many, one after the other. */
void sl_test_rmtree(const char *path);
/* Times that a test allows are stretched by this: sanitizers slow everything down. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SL_TEST_SLOW 5
#else
#define SL_TEST_SLOW 1
#endif
/* Blocks that this test may leave behind on purpose (process-wide singletons). */
void sl_test_allow_leak(void);

#define SL_TEST(name_)                                                                                                 \
    static void test_##name_(void);                                                                                    \
    static sl_test_case case_##name_ = {#name_, __FILE__, test_##name_, NULL};                                         \
    __attribute__((constructor)) static void register_##name_(void)                                                    \
    {                                                                                                                  \
        sl_test_register(&case_##name_);                                                                               \
    }                                                                                                                  \
    static void test_##name_(void)

#define CHECK(condition)                                                                                               \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            sl_test_failed(__FILE__, __LINE__, "%s", #condition);                                                      \
    } while (0)
/* Ends the test when the condition does not hold. */
#define REQUIRE(condition)                                                                                             \
    do {                                                                                                               \
        if (!(condition)) {                                                                                            \
            sl_test_failed(__FILE__, __LINE__, "%s", #condition);                                                      \
            return;                                                                                                    \
        }                                                                                                              \
    } while (0)
#define CHECK_EQ(a, b) ((void)sl_test_check_eq(__FILE__, __LINE__, #a " == " #b, (long long)(a), (long long)(b)))
#define CHECK_STR(a, b) ((void)sl_test_check_str(__FILE__, __LINE__, #a, (a), sl_str_c(b)))
#define CHECK_STR_EQ(a, b) ((void)sl_test_check_str(__FILE__, __LINE__, #a, (a), (b)))
#define SL_SKIP(reason)                                                                                                \
    do {                                                                                                               \
        sl_test_skip(reason);                                                                                          \
        return;                                                                                                        \
    } while (0)

#endif
