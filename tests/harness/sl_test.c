/* The harness: registry, runner, counting allocator. `PROGRAM [PATTERN]` runs the tests whose name contains PATTERN. */
#include "tests/harness/sl_test.h"

#include <ftw.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "src/base/mem.h"

static sl_test_case *first, *last;
static int failures; /* of the running test */
static const char *skipped;
static bool leak_allowed;
static char *folders[SL_TEST_FOLDERS]; /* of the running test */
static size_t folder_count;

/* Counters of the allocator: touched by any thread. */
static long fail_at = -1;
static int fail_done;
static size_t alloc_count, live_blocks;

void sl_test_register(sl_test_case *test)
{
    if (last)
        last->next = test;
    else
        first = test;
    last = test;
}

void sl_test_failed(const char *file, int line, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s:%d: ", file, line);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
    va_end(args);
    failures++;
}

void sl_test_skip(const char *reason)
{
    skipped = reason;
}

void sl_test_allow_leak(void)
{
    leak_allowed = true;
}

bool sl_test_check_eq(const char *file, int line, const char *text, long long a, long long b)
{
    if (a != b)
        sl_test_failed(file, line, "%s: %lld != %lld", text, a, b);
    return a == b;
}

bool sl_test_check_str(const char *file, int line, const char *text, sl_str a, sl_str b)
{
    bool same = a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
    if (!same)
        sl_test_failed(file, line, "%s: \"%.*s\" != \"%.*s\"", text, (int)a.len, a.ptr ? a.ptr : "", (int)b.len,
                       b.ptr ? b.ptr : "");
    return same;
}

static void *counting_resize(void *user, void *ptr, size_t size)
{
    (void)user;
    if (size == 0) {
        __atomic_fetch_sub(&live_blocks, 1, __ATOMIC_RELAXED);
        free(ptr);
        return NULL;
    }
    __atomic_fetch_add(&alloc_count, 1, __ATOMIC_RELAXED);
    if (__atomic_load_n(&fail_at, __ATOMIC_RELAXED) >= 0 && __atomic_fetch_sub(&fail_at, 1, __ATOMIC_RELAXED) == 0) {
        __atomic_store_n(&fail_done, 1, __ATOMIC_RELAXED);
        return NULL;
    }
    void *block = realloc(ptr, size);
    if (block && !ptr)
        __atomic_fetch_add(&live_blocks, 1, __ATOMIC_RELAXED);
    return block;
}

long sl_test_waits(void)
{
    struct rusage usage;
    return getrusage(RUSAGE_THREAD, &usage) == 0 ? usage.ru_nvcsw : 0;
}

void sl_test_fail_alloc(long n)
{
    __atomic_store_n(&fail_done, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&fail_at, n, __ATOMIC_RELAXED);
}

bool sl_test_alloc_failed(void)
{
    return __atomic_load_n(&fail_done, __ATOMIC_RELAXED) != 0;
}

size_t sl_test_alloc_count(void)
{
    return __atomic_load_n(&alloc_count, __ATOMIC_RELAXED);
}

size_t sl_test_live_blocks(void)
{
    return __atomic_load_n(&live_blocks, __ATOMIC_RELAXED);
}

char *sl_test_mkdtemp(char *path)
{
    if (folder_count == SL_TEST_FOLDERS || !mkdtemp(path))
        return NULL;
    folders[folder_count] = strdup(path);
    folder_count += folders[folder_count] != NULL;
    return path;
}

static int remove_entry(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    (void)remove(path);
    return 0;
}

void sl_test_rmtree(const char *path)
{
    for (size_t i = 0; i < folder_count; i++) {
        if (strcmp(folders[i], path) != 0)
            continue;
        (void)nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
        free(folders[i]);
        folders[i] = folders[--folder_count];
        return;
    }
    sl_test_failed(__FILE__, __LINE__, "%s is no folder of this test", path);
}

static void remove_folders(void)
{
    while (folder_count)
        sl_test_rmtree(folders[folder_count - 1]);
}

/* Runs one test; 0 passed, 1 failed, 2 skipped. */
static int run_one(const sl_test_case *test)
{
    failures = 0;
    skipped = NULL;
    leak_allowed = false;
    sl_test_fail_alloc(-1);
    size_t before = sl_test_live_blocks();
    test->run();
    sl_test_fail_alloc(-1);
    remove_folders();
    size_t after = sl_test_live_blocks();
    if (after > before && !leak_allowed)
        sl_test_failed(test->file, 0, "%s leaves %zu blocks behind", test->name, after - before);
    if (failures) {
        printf("FAIL %s\n", test->name);
        return 1;
    }
    if (skipped) {
        printf("skipped %s: %s\n", test->name, skipped);
        return 2;
    }
    return 0;
}

int main(int argc, char **argv)
{
    static const sl_allocator counting = {counting_resize, NULL};
    static const int ends[] = {SIGHUP, SIGINT, SIGQUIT}; /* which nohup and shells leave ignored */
    for (size_t i = 0; i < sizeof ends / sizeof *ends; i++)
        (void)signal(ends[i], SIG_DFL);
    sl_mem_set_allocator(&counting);
    setvbuf(stdout, NULL, _IOLBF, 0);
    int count[3] = {0, 0, 0};
    for (const sl_test_case *test = first; test; test = test->next) {
        if (argc > 1 && !strstr(test->name, argv[1]))
            continue;
        count[run_one(test)]++;
    }
    printf("%d passed, %d failed, %d skipped\n", count[0], count[1], count[2]);
    return count[1] ? 1 : 0;
}

#ifdef __SANITIZE_THREAD__
/*
 * Reports that are none. Scripted servers (net_fixture.h) read what the test thread writes between two requests: the
 * order is kept by the socket, which ThreadSanitizer does not see. Jansson's json_incref compares the count by a plain
 * read before its atomic addition, in a header that cannot be changed here.
 */
__attribute__((visibility("default"))) const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:nf_serve_one\nrace:json_incref\nrace:json_decref\n";
}
#endif
