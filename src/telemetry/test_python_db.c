/* prometheus_client's files, written here by its format, merged as its collector does. */
#include "src/telemetry/python_db.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/harness/sl_test.h"

/* Appends an entry to a file image. */
static void put_entry(sl_buf *file, const char *key, double value, double time)
{
    int32_t len = (int32_t)strlen(key);
    if (file->len == 0)
        (void)sl_buf_put(file, "\0\0\0\0\0\0\0\0", 8);
    (void)sl_buf_put(file, &len, sizeof len);
    (void)sl_buf_put(file, key, (size_t)len);
    for (size_t pad = 8 - ((size_t)len + 4) % 8; pad > 0; pad--)
        (void)sl_buf_put_char(file, ' ');
    (void)sl_buf_put(file, &value, sizeof value);
    (void)sl_buf_put(file, &time, sizeof time);
    int32_t used = (int32_t)file->len;
    memcpy(file->data, &used, sizeof used);
}

static void add(sl_python_merge *merge, const char *name, const char *key, double value, double time)
{
    sl_buf file;
    sl_buf_init(&file, 1u << 16);
    put_entry(&file, key, value, time);
    (void)sl_buf_put(&file, "\0\0\0\0\0\0\0\0\0\0\0\0", 12); /* the file is longer than what is used */
    CHECK_EQ(sl_python_merge_add(merge, sl_str_c(name), sl_buf_str(&file)), 0);
    sl_buf_done(&file);
}

static void check_output(sl_python_merge *merge, sl_prometheus_format format, const char *wanted)
{
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    CHECK_EQ(sl_python_merge_write(merge, format, &out), 0);
    CHECK_STR(sl_buf_str(&out), wanted);
    sl_buf_done(&out);
}

SL_TEST(python_counters_of_several_processes_add_up)
{
    sl_python_merge *merge = sl_python_merge_new();
    REQUIRE(merge != NULL);
    const char *key = "[\"req\",\"req_total\",{\"m\":\"a\\\"b\",\"code\":\"200\"},\"Requests.\"]";
    add(merge, "counter_10.db", key, 3, 0);
    add(merge, "counter_11.db", key, 4.5, 0);
    check_output(merge, SL_PROMETHEUS_TEXT,
                 "# HELP req_total Requests.\n# TYPE req_total counter\nreq_total{code=\"200\",m=\"a\\\"b\"} 7.5\n");
    check_output(merge, SL_PROMETHEUS_OPENMETRICS,
                 "# HELP req Requests.\n# TYPE req counter\nreq_total{code=\"200\",m=\"a\\\"b\"} 7.5\n");
    sl_python_merge_free(merge);
}

/* A raw line end in a help text would make the whole page unreadable. */
SL_TEST(python_help_of_several_lines)
{
    sl_python_merge *merge = sl_python_merge_new();
    REQUIRE(merge != NULL);
    add(merge, "gauge_max_1.db", "[\"g\",\"g\",{},\"one\\ntwo \\\\ \\\"q\\\"\"]", 1, 0);
    check_output(merge, SL_PROMETHEUS_TEXT, "# HELP g one\\ntwo \\\\ \"q\"\n# TYPE g gauge\ng 1\n");
    check_output(merge, SL_PROMETHEUS_OPENMETRICS, "# HELP g one\\ntwo \\\\ \\\"q\\\"\n# TYPE g gauge\ng 1\n");
    sl_python_merge_free(merge);
}

/* Appends an entry as versions before 0.17 wrote it: no time behind the value. */
static void put_old_entry(sl_buf *file, const char *key, double value)
{
    put_entry(file, key, value, 0);
    file->len -= 8;
    int32_t used = (int32_t)file->len;
    memcpy(file->data, &used, sizeof used);
}

SL_TEST(python_files_without_times_are_read)
{
    sl_python_merge *merge = sl_python_merge_new();
    REQUIRE(merge != NULL);
    sl_buf file;
    sl_buf_init(&file, 1u << 16);
    for (int i = 0; i < 4; i++) {
        char key[64];
        (void)snprintf(key, sizeof key, "[\"a\",\"a_total\",{\"k\":\"%.*s\"},\"A.\"]", i + 1, "1234");
        put_old_entry(&file, key, i == 2 ? 0 : i + 1);
    }
    (void)sl_buf_put(&file, "\0\0\0\0\0\0\0\0", 8);
    CHECK_EQ(sl_python_merge_add(merge, SL_STR("counter_1.db"), sl_buf_str(&file)), 0);
    check_output(merge, SL_PROMETHEUS_TEXT,
                 "# HELP a_total A.\n# TYPE a_total counter\na_total{k=\"1\"} 1\na_total{k=\"12\"} "
                 "2\na_total{k=\"123\"} 0\na_total{k=\"1234\"} 4\n");
    sl_buf_done(&file);
    sl_python_merge_free(merge);
}

SL_TEST(python_histograms_become_cumulative)
{
    sl_python_merge *merge = sl_python_merge_new();
    REQUIRE(merge != NULL);
    for (int process = 1; process <= 2; process++) {
        char name[32];
        snprintf(name, sizeof name, "histogram_%d.db", process);
        add(merge, name, "[\"lat\",\"lat_bucket\",{\"le\":\"+Inf\"},\"L.\"]", 1, 0);
        add(merge, name, "[\"lat\",\"lat_bucket\",{\"le\":\"0.5\"},\"L.\"]", 2, 0);
        add(merge, name, "[\"lat\",\"lat_bucket\",{\"le\":\"1.0\"},\"L.\"]", 3, 0);
        add(merge, name, "[\"lat\",\"lat_sum\",{},\"L.\"]", 2.25, 0);
    }
    check_output(merge, SL_PROMETHEUS_TEXT,
                 "# HELP lat L.\n# TYPE lat histogram\nlat_bucket{le=\"0.5\"} 4\nlat_bucket{le=\"1\"} 10\n"
                 "lat_bucket{le=\"+Inf\"} 12\nlat_count 12\nlat_sum 4.5\n");
    sl_python_merge_free(merge);
}

SL_TEST(python_gauges_merge_by_their_mode)
{
    static const struct {
        const char *mode;
        const char *result;
    } cases[] = {{"min", "g 1\n"},
                 {"max", "g 5\n"},
                 {"livesum", "g 6\n"},
                 {"mostrecent", "g 1\n"},
                 {"all", "g{pid=\"1\"} 5\ng{pid=\"2\"} 1\n"}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_python_merge *merge = sl_python_merge_new();
        REQUIRE(merge != NULL);
        char name[64], wanted[128];
        snprintf(name, sizeof name, "gauge_%s_1.db", cases[i].mode);
        add(merge, name, "[\"g\",\"g\",{},\"G.\"]", 5, 100);
        snprintf(name, sizeof name, "gauge_%s_2.db", cases[i].mode);
        add(merge, name, "[\"g\",\"g\",{},\"G.\"]", 1, 200);
        snprintf(wanted, sizeof wanted, "# HELP g G.\n# TYPE g gauge\n%s", cases[i].result);
        check_output(merge, SL_PROMETHEUS_TEXT, wanted);
        sl_python_merge_free(merge);
    }
}

/* Whatever the length says, nothing outside the bytes is read and nothing is made up. */
SL_TEST(python_damaged_files)
{
    sl_buf file;
    sl_buf_init(&file, 1u << 16);
    put_entry(&file, "[\"c\",\"c_total\",{\"a\":\"b\"},\"h\"]", 1, 0);
    put_entry(&file, "[\"d\",\"d_total\",{},\"h\"]", 2, 0);
    for (size_t len = 0; len <= file.len; len++) {
        sl_python_merge *merge = sl_python_merge_new();
        REQUIRE(merge != NULL);
        char *exact = malloc(len ? len : 1);
        memcpy(exact, file.data, len);
        CHECK_EQ(sl_python_merge_add(merge, SL_STR("counter_1.db"), sl_str_of(exact, len)), 0);
        for (size_t i = 0; i < len; i++) {
            exact[i] = (char)0xff;
            CHECK(sl_python_merge_add(merge, SL_STR("counter_2.db"), sl_str_of(exact, len)) == 0);
            exact[i] = file.data[i];
        }
        free(exact);
        sl_python_merge_free(merge);
    }
    sl_python_merge *merge = sl_python_merge_new();
    CHECK_EQ(sl_python_merge_add(merge, SL_STR("other_1.db"), sl_buf_str(&file)), SL_EINVAL);
    CHECK_EQ(sl_python_merge_add(merge, SL_STR("counter_.db"), sl_buf_str(&file)), SL_EINVAL);
    sl_python_merge_free(merge);
    sl_buf_done(&file);
}

/* Many entries of few samples take the memory of few samples. */
SL_TEST(python_memory_grows_with_samples_not_with_entries)
{
    sl_python_merge *merge = sl_python_merge_new();
    sl_buf file;
    sl_buf_init(&file, 1u << 20);
    for (int i = 0; i < 1000; i++) {
        char key[128];
        (void)snprintf(key, sizeof key, "[\"a\",\"a_total\",{\"k\":\"v%d\"},\"A.\"]", i);
        put_entry(&file, key, 1, 0);
    }
    REQUIRE(merge != NULL && sl_python_merge_add(merge, SL_STR("counter_1.db"), sl_buf_str(&file)) == 0);
    size_t blocks = sl_test_live_blocks();
    for (int round = 0; round < 50; round++)
        CHECK_EQ(sl_python_merge_add(merge, SL_STR("counter_2.db"), sl_buf_str(&file)), 0);
    CHECK_EQ(sl_test_live_blocks(), blocks);
    sl_buf_done(&file);
    sl_python_merge_free(merge);
}

/* What is no name is left out, whatever else is in the file; values are escaped. */
SL_TEST(python_names_that_are_none)
{
    static const char *const bad[] = {
        "[\"a b\",\"a_total\",{},\"h\"]",
        "[\"a\",\"a\\n_total\",{},\"h\"]",
        "[\"\",\"a_total\",{},\"h\"]",
        "[\"1a\",\"1a_total\",{},\"h\"]",
        "[\"a\",\"\",{},\"h\"]",
        "[\"a\",\"a_total\",{\"k 1\":\"v\"},\"h\"]",
        "[\"a\",\"a_total\",{\"k:\":\"v\"},\"h\"]",
        "[\"a\",\"a_total\",{\"\":\"v\"},\"h\"]",
        "[\"a\",\"a_total\",{\"k\":1},\"h\"]",
        "[\"a\",\"a_total\",[],\"h\"]",
        "[\"a\",\"a_total\"]",
        "{}",
        "[1,\"a_total\",{},\"h\"]",
        "[\"a\\u0000\",\"a_total\",{},\"h\"]",
    };
    sl_python_merge *merge = sl_python_merge_new();
    REQUIRE(merge != NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        add(merge, "counter_1.db", bad[i], 1, 0);
    check_output(merge, SL_PROMETHEUS_TEXT, "");
    add(merge, "counter_1.db", "[\"a:b\",\"a:b_total\",{\"k\":\"x\\\\y\\n\\r\\u00e9\"},\"h\"]", 9007199254740993.0, 0);
    check_output(
        merge, SL_PROMETHEUS_TEXT,
        "# HELP a:b_total h\n# TYPE a:b_total counter\na:b_total{k=\"x\\\\y\\n \xC3\xA9\"} 9007199254740992\n");
    sl_python_merge_free(merge);
}

/* One key exactly at the limit, and one above. */
SL_TEST(python_long_keys)
{
    sl_python_merge *merge = sl_python_merge_new();
    sl_buf file, key;
    sl_buf_init(&file, 1u << 20);
    sl_buf_init(&key, 1u << 20);
    REQUIRE(merge != NULL);
    for (size_t over = 0; over < 2; over++) {
        sl_buf_clear(&key);
        (void)sl_buf_printf(&key, "[\"a%zu\",\"a%zu_total\",{},\"", over, over);
        while (key.len < SL_MAX_PYTHON_KEY_BYTES - 2 + over)
            (void)sl_buf_put_char(&key, 'h');
        (void)sl_buf_put(&key, "\"]", 3); /* with its NUL */
        put_entry(&file, key.data, 1, 0);
    }
    CHECK_EQ(sl_python_merge_add(merge, SL_STR("counter_1.db"), sl_buf_str(&file)), 0);
    sl_buf_clear(&key);
    CHECK_EQ(sl_python_merge_write(merge, SL_PROMETHEUS_TEXT, &key), 0);
    CHECK(sl_str_find(sl_buf_str(&key), SL_STR("\na0_total 1\n")) != SL_NPOS);
    CHECK(sl_str_find(sl_buf_str(&key), SL_STR("a1_total")) == SL_NPOS);
    sl_buf_done(&file);
    sl_buf_done(&key);
    sl_python_merge_free(merge);
}

/* Every allocation of a merge failing in turn: an error, nothing left behind. */
SL_TEST(python_no_memory)
{
    sl_buf file;
    sl_buf_init(&file, 1u << 16);
    put_entry(&file, "[\"c\",\"c_total\",{\"a\":\"b\"},\"h\"]", 1, 0);
    put_entry(&file, "[\"d\",\"d_total\",{},\"h\"]", 2, 0);
    bool done = false;
    for (long n = 0; n < 100 && !done; n++) {
        sl_buf out;
        sl_buf_init(&out, 1u << 16);
        sl_test_fail_alloc(n);
        sl_python_merge *merge = sl_python_merge_new();
        int error = merge ? sl_python_merge_add(merge, SL_STR("counter_1.db"), sl_buf_str(&file)) : SL_ENOMEM;
        if (!error)
            error = sl_python_merge_write(merge, SL_PROMETHEUS_TEXT, &out);
        done = !sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(error, done ? 0 : SL_ENOMEM); /* never a sum with something missing */
        sl_python_merge_free(merge);
        sl_buf_done(&out);
    }
    CHECK(done);
    sl_buf_done(&file);
}
