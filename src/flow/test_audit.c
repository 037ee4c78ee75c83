/* The chain of the audit log holds over restarts, and shows what was done to it. */
#include "src/flow/audit.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/harness/sl_test.h"

static char path[64];

static void fresh(void)
{
    (void)snprintf(path, sizeof path, "/tmp/sl-test-audit-%ld", (long)getpid());
    (void)unlink(path);
}

static void add(unsigned count)
{
    sl_audit *audit = NULL;
    REQUIRE(sl_audit_open(path, &audit) == 0);
    for (unsigned i = 0; i < count; i++)
        sl_audit_add(audit, "run.create", SL_STR("run \"1\"\n"), SL_STR("127.0.0.1"), SL_STR("d\xc3\xa9tail"));
    sl_audit_close(audit);
}

static size_t read_all(char *text, size_t size)
{
    FILE *file = fopen(path, "rb");
    size_t len = file ? fread(text, 1, size - 1, file) : 0;
    text[len] = 0;
    if (file)
        fclose(file);
    return len;
}

static void write_all(const char *text, size_t len)
{
    FILE *file = fopen(path, "wb");
    REQUIRE(file != NULL);
    CHECK_EQ(fwrite(text, 1, len, file), len);
    fclose(file);
}

SL_TEST(the_chain_goes_on_after_a_restart)
{
    uint64_t lines = 0;
    fresh();
    CHECK_EQ(sl_audit_verify(path, &lines), SL_EIO);
    add(3);
    add(2);
    CHECK_EQ(sl_audit_verify(path, &lines), 0);
    CHECK_EQ(lines, 5);
    unlink(path);
}

SL_TEST(a_line_that_was_changed_left_out_or_moved_shows)
{
    static char text[65536], other[65536];
    fresh();
    add(4);
    size_t len = read_all(text, sizeof text);
    char *second = strchr(text, '\n') + 1, *third = strchr(second, '\n') + 1;
    uint64_t lines;
    memcpy(other, text, len); /* one byte of the second line */
    char *at = strstr(other + (second - text), "run.create");
    REQUIRE(at != NULL);
    at[4] = 'C';
    write_all(other, len);
    CHECK_EQ(sl_audit_verify(path, &lines), SL_EPROTO);
    CHECK_EQ(lines, 1);
    memcpy(other, text, (size_t)(second - text)); /* the second is gone */
    memcpy(other + (second - text), third, len - (size_t)(third - text));
    write_all(other, len - (size_t)(third - second));
    CHECK_EQ(sl_audit_verify(path, &lines), SL_EPROTO);
    CHECK_EQ(lines, 1);
    write_all(second, len - (size_t)(second - text)); /* the first is gone */
    CHECK_EQ(sl_audit_verify(path, &lines), SL_EPROTO);
    CHECK_EQ(lines, 0);
    unlink(path);
}

SL_TEST(a_last_line_cut_by_a_crash_is_closed)
{
    static char text[65536];
    fresh();
    add(3);
    size_t len = read_all(text, sizeof text);
    uint64_t lines;
    size_t last = len - 1;
    while (text[last - 1] != '\n')
        last--;
    for (size_t cut = last + 1; cut < len; cut += 7) {
        write_all(text, cut);
        add(1);
        CHECK_EQ(sl_audit_verify(path, &lines), 0);
        CHECK_EQ(lines, 4); /* two whole ones, what happened, the new one */
    }
    unlink(path);
}

static void *hammer(void *user)
{
    for (unsigned i = 0; i < 200; i++)
        sl_audit_add(user, "run.cancel", SL_STR("r"), SL_STR("b"), SL_STR(""));
    return NULL;
}

SL_TEST(any_thread_may_add_and_long_texts_are_cut)
{
    sl_audit *audit = NULL;
    pthread_t threads[4];
    uint64_t lines;
    static char big[100000];
    memset(big, 'x', sizeof big);
    fresh();
    REQUIRE(sl_audit_open(path, &audit) == 0);
    for (size_t i = 0; i < 4; i++)
        REQUIRE(pthread_create(&threads[i], NULL, hammer, audit) == 0);
    sl_audit_add(audit, "x", sl_str_of(big, sizeof big), sl_str_of(big, sizeof big), sl_str_of(big, sizeof big));
    for (size_t i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    sl_audit_close(audit);
    CHECK_EQ(sl_audit_verify(path, &lines), 0);
    CHECK_EQ(lines, 801);
    sl_audit_add(NULL, "x", SL_STR(""), SL_STR(""), SL_STR(""));
    sl_audit_close(NULL);
    CHECK_EQ(sl_audit_open("/nonexistent/audit", &audit), SL_EIO);
    unlink(path);
}
