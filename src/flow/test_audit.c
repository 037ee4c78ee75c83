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

/* Bytes that JSON writes as six: the line is as long as a line can be, and it is there. */
SL_TEST(the_longest_line_is_written)
{
    sl_audit *audit = NULL;
    uint64_t lines = 0;
    static char raw[5000];
    memset(raw, 1, sizeof raw);
    fresh();
    REQUIRE(sl_audit_open(path, &audit) == 0);
    sl_audit_add(audit, "a", sl_str_of(raw, sizeof raw), sl_str_of(raw, sizeof raw), sl_str_of(raw, sizeof raw));
    sl_audit_add(audit, "b", SL_STR("o"), SL_STR("b"), SL_STR("d"));
    sl_audit_close(audit);
    CHECK_EQ(sl_audit_verify(path, &lines), 0);
    CHECK_EQ(lines, 2);
    add(1); /* and read again by the next start */
    CHECK_EQ(sl_audit_verify(path, &lines), 0);
    CHECK_EQ(lines, 3);
    unlink(path);
}

/* Texts of every kind come out as JSON that holds them. */
SL_TEST(texts_of_every_kind_stay_a_chain)
{
    static const char *const texts[] = {"",
                                        "plain",
                                        "\"quoted\" \\ and \n\t",
                                        "\xff\xfe",
                                        "caf\xc3\xa9 \xf0\x9f\x98\x80",
                                        "\",\"hash\":\"0000\"}",
                                        "{\"seq\":1}"};
    sl_audit *audit = NULL;
    uint64_t lines = 0;
    fresh();
    REQUIRE(sl_audit_open(path, &audit) == 0);
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        for (size_t k = 0; k < sizeof texts / sizeof *texts; k++)
            sl_audit_add(audit, "x", sl_str_c(texts[i]), sl_str_c(texts[k]), sl_str_c(texts[(i + k) % 7]));
    sl_audit_close(audit);
    CHECK_EQ(sl_audit_verify(path, &lines), 0);
    CHECK_EQ(lines, 49);
    unlink(path);
}

/* Each byte of a log, changed in turn: the chain does not fit from there on, and a new start says so in it. */
SL_TEST(every_changed_byte_shows)
{
    static char text[8192], other[8192];
    uint64_t lines;
    fresh();
    add(2);
    size_t len = read_all(text, sizeof text);
    for (size_t at = 0; at < len; at++) {
        memcpy(other, text, len);
        other[at] = (char)(other[at] == '0' ? '1' : '0');
        write_all(other, len);
        if (sl_audit_verify(path, &lines) != SL_EPROTO)
            sl_test_failed(__FILE__, __LINE__, "byte %zu", at);
    }
    other[len - 1] = '\n';
    other[30] = '#';
    write_all(other, len);
    add(1);
    len = read_all(text, sizeof text);
    CHECK(strstr(text, "audit.broken") != NULL);
    CHECK_EQ(sl_audit_verify(path, &lines), SL_EPROTO); /* what is wrong stays to be seen */
    unlink(path);
}

SL_TEST(a_log_that_cannot_be_one)
{
    uint64_t lines = 7;
    fresh();
    static const char *const files[] = {"x\n", "{}\n", "\n", "{\"seq\":1}\n", "[]\n\n"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        write_all(files[i], strlen(files[i]));
        CHECK_EQ(sl_audit_verify(path, &lines), SL_EPROTO);
        CHECK_EQ(lines, 0);
    }
    write_all("", 0);
    CHECK_EQ(sl_audit_verify(path, &lines), 0); /* nobody has done anything */
    CHECK_EQ(lines, 0);
    unlink(path);
}

SL_TEST(logs_without_memory)
{
    uint64_t lines;
    fresh();
    add(2);
    for (long n = 0; n < 4; n++) {
        sl_audit *audit = NULL;
        sl_test_fail_alloc(n);
        int error = sl_audit_open(path, &audit);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(error, failed ? SL_ENOMEM : 0);
        if (!error) {
            sl_test_fail_alloc(0);
            sl_audit_add(audit, "x", SL_STR("o"), SL_STR("b"), SL_STR(""));
            sl_test_fail_alloc(-1);
            sl_audit_close(audit);
        }
    }
    CHECK_EQ(sl_audit_verify(path, &lines), 0);
    CHECK(lines >= 3); /* what was lost is said in the chain */
    unlink(path);
}
