/* The log sink: files and their rotation, full pipes, readers that leave, several writers on one pipe. */
#include "src/telemetry/log_sink.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/wire/pb.h"
#include "tests/harness/sl_test.h"

/* A request of `count` records whose messages are `prefix` NUMBER and `padding` letters. */
static sl_str make_request(sl_buf *buf, const char *prefix, size_t count, size_t padding)
{
    size_t resource = 0, scope = 0, record = 0, body = 0;
    sl_buf_clear(buf);
    CHECK_EQ(sl_pb_buf_open(buf, 1, &resource), 0);
    CHECK_EQ(sl_pb_buf_open(buf, 2, &scope), 0);
    for (size_t i = 0; i < count; i++) {
        char text[8192];
        int len = snprintf(text, sizeof text, "%s%zu ", prefix, i);
        memset(text + len, 'x', padding);
        CHECK_EQ(sl_pb_buf_open(buf, 2, &record), 0);
        CHECK_EQ(sl_pb_buf_fixed64(buf, 1, 1763116245123000000u), 0);
        CHECK_EQ(sl_pb_buf_open(buf, 5, &body), 0);
        CHECK_EQ(sl_pb_buf_bytes(buf, 1, text, (size_t)len + padding), 0);
        sl_pb_buf_close(buf, body);
        sl_pb_buf_close(buf, record);
    }
    sl_pb_buf_close(buf, scope);
    sl_pb_buf_close(buf, resource);
    return sl_buf_str(buf);
}

static int deliver(const sl_exporter *e, sl_str request, size_t items, uint64_t timeout_ms, uint64_t *ret_rejected)
{
    uint64_t retry = 0;
    *ret_rejected = 0;
    return e->deliver(e->user, SL_SIGNAL_LOGS, request, items, timeout_ms, &retry, ret_rejected);
}

/* Every line of a text must be one of ours, whole. Returns their number. */
static size_t check_lines(const char *text, size_t len)
{
    size_t lines = 0;
    for (const char *at = text, *end; at < text + len; at = end + 1, lines++) {
        end = memchr(at, '\n', (size_t)(text + len - at));
        if (!end) {
            sl_test_failed(__FILE__, __LINE__, "the last line is cut: %.80s", at);
            break;
        }
        bool whole = strncmp(at, "2025-11-14T10:30:45.123Z INFO message=\"", 39) == 0 && end[-1] == '"';
        for (const char *c = at + 39; whole && c < end - 1; c++)
            whole = *c != '"';
        if (!whole) {
            sl_test_failed(__FILE__, __LINE__, "not a line: %.*s", (int)(end - at < 200 ? end - at : 200), at);
            break;
        }
    }
    return lines;
}

static size_t read_file(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? 0 : read(fd, text, size - 1);
    if (fd >= 0)
        close(fd);
    text[n > 0 ? n : 0] = '\0';
    return n > 0 ? (size_t)n : 0;
}

SL_TEST(log_sink_appends_to_a_file_and_reopens)
{
    char dir[] = "/tmp/sl-log-XXXXXX", path[64], moved[64], text[4096];
    REQUIRE(mkdtemp(dir) != NULL);
    snprintf(path, sizeof path, "%s/log", dir);
    snprintf(moved, sizeof moved, "%s/log.1", dir);
    sl_exporter e;
    sl_buf request;
    uint64_t rejected, written, lost;
    sl_buf_init(&request, 1u << 24);
    REQUIRE(sl_log_sink_open(path, SL_LOG_TEXT, &e) == 0);
    CHECK(e.immediate && e.signals == SL_SIGNAL_BIT(SL_SIGNAL_LOGS));
    struct stat st;
    CHECK(stat(path, &st) == 0 && (st.st_mode & 0137) == 0);
    CHECK_EQ(deliver(&e, make_request(&request, "a", 2, 0), 2, 1000, &rejected), 0);
    CHECK_EQ(rename(path, moved), 0);
    CHECK_EQ(deliver(&e, make_request(&request, "b", 1, 0), 1, 1000, &rejected), 0);
    sl_log_sink_reopen(&e);
    CHECK_EQ(deliver(&e, make_request(&request, "c", 1, 0), 1, 1000, &rejected), 0);
    CHECK_EQ(check_lines(text, read_file(moved, text, sizeof text)), 3);
    CHECK(strstr(text, "a0") && strstr(text, "a1") && strstr(text, "b0"));
    CHECK_EQ(check_lines(text, read_file(path, text, sizeof text)), 1);
    CHECK(strstr(text, "c0") != NULL);
    /* A file that cannot be opened again: the old one goes on. */
    char gone[64];
    snprintf(gone, sizeof gone, "%s/../none", dir);
    CHECK_EQ(unlink(moved), 0);
    CHECK_EQ(unlink(path), 0);
    CHECK_EQ(rmdir(dir), 0);
    sl_log_sink_reopen(&e);
    CHECK_EQ(deliver(&e, make_request(&request, "d", 1, 0), 1, 1000, &rejected), 0);
    sl_log_sink_stats(&e, &written, &lost);
    CHECK_EQ(written, 5);
    CHECK_EQ(lost, 0);
    e.free(e.user);
    sl_buf_done(&request);
    CHECK_EQ(sl_log_sink_open("/nowhere/at/all", SL_LOG_TEXT, &e), SL_EIO);
    CHECK_EQ(sl_log_sink_new(-1, SL_LOG_TEXT, &e), SL_EINVAL);
    CHECK_EQ(sl_log_sink_new(4000, SL_LOG_TEXT, &e), SL_EINVAL);
}

SL_TEST(log_sink_refuses_other_signals_and_damage)
{
    int pipes[2];
    REQUIRE(pipe(pipes) == 0);
    sl_exporter e;
    uint64_t rejected = 0, retry = 0;
    REQUIRE(sl_log_sink_new(pipes[1], SL_LOG_JSON, &e) == 0);
    CHECK_EQ(e.deliver(e.user, SL_SIGNAL_TRACES, SL_STR(""), 0, 10, &retry, &rejected), SL_EINVAL);
    CHECK_EQ(deliver(&e, SL_STR("\xFF\xFF"), 3, 10, &rejected), SL_EPARSE);
    CHECK_EQ(deliver(&e, SL_STR(""), 0, 10, &rejected), 0);
    e.free(e.user);
    close(pipes[0]);
    close(pipes[1]);
}

/* ---- full pipes ---- */

typedef struct reader {
    int fd;
    unsigned delay_us; /* before each read */
    char *text;
    size_t len, size;
} reader;

static void *read_all(void *user)
{
    reader *r = user;
    for (;;) {
        if (r->delay_us)
            usleep(r->delay_us);
        ssize_t n = read(r->fd, r->text + r->len, r->size - r->len < 1000 ? r->size - r->len : 1000);
        if (n <= 0)
            return NULL;
        r->len += (size_t)n;
    }
}

static void full_pipe(bool nonblocking)
{
    int pipes[2];
    REQUIRE(pipe(pipes) == 0);
    if (nonblocking)
        REQUIRE(fcntl(pipes[1], F_SETFL, O_NONBLOCK) == 0);
    sl_exporter e;
    sl_buf request;
    uint64_t rejected, written, lost;
    sl_buf_init(&request, 1u << 24);
    REQUIRE(sl_log_sink_new(pipes[1], SL_LOG_TEXT, &e) == 0);
    /* Nobody reads: some lines go, the others are lost after the wait, and the call returns. */
    uint64_t before = sl_mono_ns();
    CHECK_EQ(deliver(&e, make_request(&request, "a", 200, 900), 200, 100, &rejected), 0);
    CHECK(rejected > 100 && rejected < 200);
    CHECK(deliver(&e, make_request(&request, "b", 3, 900), 3, 100, &rejected) < 0);
    CHECK(sl_mono_ns() - before < 3000000000u);
    /* Lines longer than a pipe takes at once are begun, and must be finished. */
    reader r = {pipes[0], 300, malloc(4u << 20), 0, 4u << 20};
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, read_all, &r) == 0);
    CHECK_EQ(deliver(&e, make_request(&request, "c", 30, 6000), 30, 5000, &rejected), 0);
    CHECK_EQ(rejected, 0);
    sl_log_sink_stats(&e, &written, &lost);
    CHECK_EQ(written + lost, 233);
    e.free(e.user);
    close(pipes[1]);
    pthread_join(thread, NULL);
    CHECK_EQ(check_lines(r.text, r.len), written);
    CHECK(strstr(r.text, "a0 ") && strstr(r.text, "c29 "));
    free(r.text);
    close(pipes[0]);
    sl_buf_done(&request);
}

SL_TEST(log_sink_survives_a_full_pipe)
{
    full_pipe(false);
}

SL_TEST(log_sink_survives_a_full_nonblocking_pipe)
{
    full_pipe(true);
}

SL_TEST(log_sink_finishes_a_line_it_began)
{
    int pipes[2];
    REQUIRE(pipe(pipes) == 0);
    REQUIRE(fcntl(pipes[1], F_SETFL, O_NONBLOCK) == 0);
    sl_exporter e;
    sl_buf request;
    uint64_t rejected;
    sl_buf_init(&request, 1u << 24);
    REQUIRE(sl_log_sink_new(pipes[1], SL_LOG_TEXT, &e) == 0);
    /* The pipe holds 64 KiB: the tenth line of 8000 bytes is cut. */
    CHECK_EQ(deliver(&e, make_request(&request, "a", 20, 8000), 20, 50, &rejected), 0);
    CHECK(rejected >= 10);
    reader r = {pipes[0], 0, malloc(1u << 20), 0, 1u << 20};
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, read_all, &r) == 0);
    CHECK_EQ(deliver(&e, make_request(&request, "b", 2, 10), 2, 2000, &rejected), 0);
    CHECK_EQ(rejected, 0);
    e.free(e.user);
    close(pipes[1]);
    pthread_join(thread, NULL);
    CHECK(check_lines(r.text, r.len) >= 10);
    CHECK(strstr(r.text, "b1 ") != NULL);
    free(r.text);
    close(pipes[0]);
    sl_buf_done(&request);
}

SL_TEST(log_sink_survives_a_reader_that_leaves)
{
    int pipes[2];
    REQUIRE(pipe(pipes) == 0);
    sl_exporter e;
    sl_buf request;
    uint64_t rejected;
    sl_buf_init(&request, 1u << 24);
    REQUIRE(sl_log_sink_new(pipes[1], SL_LOG_TEXT, &e) == 0);
    close(pipes[0]);
    /* SIGPIPE has its deadly default here. */
    CHECK_EQ(deliver(&e, make_request(&request, "a", 3, 10), 3, 100, &rejected), SL_ECLOSED);
    sigset_t pending;
    sigpending(&pending);
    CHECK_EQ(sigismember(&pending, SIGPIPE), 0);
    e.free(e.user);
    close(pipes[1]);
    sl_buf_done(&request);
}

/* ---- several writers on one pipe ---- */

typedef struct writer {
    int fd;
    size_t written;
} writer;

static void *write_many(void *user)
{
    writer *w = user;
    sl_exporter e;
    sl_buf request;
    uint64_t rejected, written, lost;
    sl_buf_init(&request, 1u << 24);
    if (sl_log_sink_new(w->fd, SL_LOG_TEXT, &e) != 0)
        return NULL;
    for (int i = 0; i < 20; i++)
        (void)deliver(&e, make_request(&request, "w", 100, (size_t)(i * 7)), 100, 5000, &rejected);
    sl_log_sink_stats(&e, &written, &lost);
    w->written = (size_t)written;
    e.free(e.user);
    sl_buf_done(&request);
    return NULL;
}

SL_TEST(log_sinks_share_a_pipe_without_splitting_lines)
{
    int pipes[2];
    REQUIRE(pipe(pipes) == 0);
    reader r = {pipes[0], 0, malloc(4u << 20), 0, 4u << 20};
    writer w[3] = {{pipes[1], 0}, {pipes[1], 0}, {pipes[1], 0}};
    pthread_t threads[4];
    REQUIRE(pthread_create(&threads[3], NULL, read_all, &r) == 0);
    for (size_t i = 0; i < 3; i++)
        REQUIRE(pthread_create(&threads[i], NULL, write_many, &w[i]) == 0);
    for (size_t i = 0; i < 3; i++)
        pthread_join(threads[i], NULL);
    close(pipes[1]);
    pthread_join(threads[3], NULL);
    CHECK_EQ(w[0].written + w[1].written + w[2].written, 6000);
    CHECK_EQ(check_lines(r.text, r.len), 6000);
    free(r.text);
    close(pipes[0]);
}

SL_TEST(log_sink_survives_no_memory)
{
    int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    sl_buf request;
    sl_buf_init(&request, 1u << 20);
    sl_str bytes = make_request(&request, "a", 50, 100);
    for (long n = 0; n < 30; n++) {
        sl_exporter e;
        uint64_t rejected = 0;
        sl_test_fail_alloc(n);
        int error = sl_log_sink_new(null_fd, SL_LOG_TEXT, &e);
        int delivered = error ? error : deliver(&e, bytes, 50, 100, &rejected);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK(error == 0 || error == SL_ENOMEM);
        CHECK(failed ? delivered == SL_ENOMEM || rejected > 0 : delivered == 0 && rejected == 0);
        if (!error)
            e.free(e.user);
        if (!failed)
            break;
    }
    sl_buf_done(&request);
    close(null_fd);
}
