/* The ready file: whole or absent, and addresses that can be used as they are. */
#include "src/cli/ready_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/wire/json_scan.h"
#include "tests/harness/sl_test.h"

static sl_addr addr_of(const char *text)
{
    sl_addr addr;
    char reason[SL_ADDR_REASON_MAX];
    CHECK_EQ(sl_addr_parse(sl_str_c(text), "127.0.0.1", &addr, reason), 0);
    return addr;
}

SL_TEST(urls_of_addresses)
{
    static const struct {
        const char *addr, *url;
    } rows[] = {{"127.0.0.1:4000", "http://127.0.0.1:4000"},
                {"4000", "http://127.0.0.1:4000"},
                {"0.0.0.0:9000", "http://127.0.0.1:9000"},
                {"[::]:9000", "http://[::1]:9000"},
                {"[::1]:1", "http://[::1]:1"},
                {"off", NULL}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_ready ready = {.count = 0};
        sl_addr addr = addr_of(rows[i].addr);
        sl_ready_add(&ready, "x", &addr);
        const char *url = sl_ready_url(&ready, "x");
        if (rows[i].url)
            CHECK_STR(sl_str_c(url ? url : "none"), rows[i].url);
        else
            CHECK(url == NULL);
        CHECK(sl_ready_url(&ready, "y") == NULL);
    }
    sl_ready full = {.count = 0};
    sl_addr addr = addr_of("1");
    for (size_t i = 0; i <= SL_MAX_READY; i++)
        sl_ready_add(&full, "x", &addr);
    CHECK_EQ(full.count, SL_MAX_READY);
}

static size_t read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    CHECK(fd >= 0);
    if (fd < 0)
        return 0;
    ssize_t got = read(fd, text, size);
    close(fd);
    return got > 0 ? (size_t)got : 0;
}

SL_TEST(the_file_is_written_and_replaced)
{
    char folder[] = "/tmp/sl-ready-XXXXXX", path[64], text[512];
    if (!mkdtemp(folder)) {
        SL_SKIP("no folder in /tmp");
        return;
    }
    snprintf(path, sizeof path, "%s/ready.json", folder);
    for (int round = 0; round < 2; round++) {
        sl_ready ready = {.count = 0};
        sl_addr gateway = addr_of("4000"), metrics = addr_of("[::1]:9000");
        sl_ready_add(&ready, "gateway", &gateway);
        if (round)
            sl_ready_add(&ready, "metrics", &metrics);
        CHECK_EQ(sl_ready_write(&ready, sl_str_c(path)), 0);
        size_t len = read_text(path, text, sizeof text);
        sl_json_value root;
        CHECK_EQ(sl_json_parse(sl_str_of(text, len), &root, NULL), 0);
        CHECK_EQ(sl_json_count(root), 2 + (size_t)round);
        int64_t pid = 0;
        CHECK_EQ(sl_json_i64(sl_json_get(root, "pid"), &pid), 0);
        CHECK_EQ(pid, getpid());
        CHECK(sl_json_string_is(sl_json_get(root, "gateway"), SL_STR("http://127.0.0.1:4000")));
    }
    CHECK_EQ(unlink(path), 0);
    /* Nothing is left behind when it cannot be put in place: the path is a folder. */
    CHECK_EQ(mkdir(path, 0700), 0);
    sl_ready ready = {.count = 0};
    CHECK_EQ(sl_ready_write(&ready, sl_str_c(path)), SL_EIO);
    CHECK_EQ(errno, EISDIR);
    CHECK_EQ(rmdir(path), 0);
    CHECK_EQ(rmdir(folder), 0); /* empty: no temporary file */
}

SL_TEST(the_file_that_cannot_be_written)
{
    sl_ready ready = {.count = 0};
    char lengthy[5000];
    memset(lengthy, 'x', sizeof lengthy);
    CHECK_EQ(sl_ready_write(&ready, SL_STR("")), 0); /* none is asked for */
    CHECK_EQ(sl_ready_write(&ready, SL_STR("/nonexistent/ready.json")), SL_EIO);
    CHECK_EQ(errno, ENOENT);
    CHECK_EQ(sl_ready_write(&ready, sl_str_of(lengthy, sizeof lengthy)), SL_EIO);
    CHECK_EQ(errno, ENAMETOOLONG);
    sl_test_fail_alloc(0);
    CHECK(sl_ready_write(&ready, SL_STR("/nonexistent/ready.json")) != 0);
    sl_test_fail_alloc(-1);
}
