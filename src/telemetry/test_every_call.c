/*
 * Each call of the kernel failing in turn, in everything of the SDK that makes one: what fails says so or goes on
 * without, no descriptor and no memory stays behind, and the same again works.
 */
#include "tests/harness/sl_fail_call.h"

#include <stdlib.h>

#include "src/net/lite/addr.h"
#include "src/net/lite/ctl_server.h"
#include "src/telemetry/exporter_factory.h"
#include "src/telemetry/log_sink.h"
#include "src/telemetry/multiproc.h"
#include "src/telemetry/pipeline.h"
#include "src/telemetry/process_metrics.h"
#include "src/telemetry/prometheus_listener.h"
#include "src/telemetry/python_db.h"
#include "src/wire/json_scan.h"
#include "src/wire/pb.h"

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))

static const sl_segment_options small = {.size_bytes = 16u << 20, .threads = 2, .cells = 4096};
static char folder[32];

static void make_folder(void)
{
    strcpy(folder, "/tmp/sl-call-XXXXXX");
    REQUIRE(sl_test_mkdtemp(folder) != NULL);
}

/* An error of those that are allowed, only when a call has failed. */
static void is_one_of(int error, int a, int b)
{
    if (error && !(sl_fail.hit && (error == a || error == b)))
        sl_test_failed(__FILE__, __LINE__, "call %d, errno %d: error %d", (int)sl_fail.call, sl_fail.error, error);
}

/* ---- segments ---- */

static bool count_record(void *user, uint32_t tag, const uint8_t *data, size_t len)
{
    CHECK(tag == 7 && len == 5 && memcmp(data, "hello", 5) == 0);
    ++*(size_t *)user;
    return true;
}

/* A record goes through, and a cell adds up. */
static void segment_works(sl_segment *writer, sl_segment *reader)
{
    sl_piece piece = {"hello", 5};
    size_t records = 0;
    uint32_t cell = 0;
    CHECK_EQ(sl_segment_write(writer, SL_RING_SPANS, 7, &piece, 1), 0);
    CHECK_EQ(sl_segment_drain(reader, SL_RING_SPANS, count_record, &records), 1);
    CHECK_EQ(records, 1);
    CHECK_EQ(sl_segment_alloc_cells(writer, 1, &cell), 0);
    sl_segment_add(writer, cell, 3);
    CHECK_EQ(sl_segment_sum(reader, cell), 3);
}

static void private_segment(void *user)
{
    sl_segment *segment = NULL;
    (void)user;
    int error = sl_segment_new(&small, &segment);
    is_one_of(error, SL_ENOMEM, SL_ENOMEM);
    if (!error)
        segment_works(segment, segment);
    sl_segment_free(segment);
}

static void shared_segment(void *user)
{
    sl_segment *writer = NULL, *reader = NULL;
    (void)user;
    int fd = (int)syscall(SYS_memfd_create, "test", 0);
    int error = sl_segment_new_shared(&small, fd, &writer);
    is_one_of(error, SL_EIO, SL_ENOMEM);
    if (!error) {
        error = sl_segment_open(fd, &reader);
        is_one_of(error, SL_EIO, SL_ENOMEM);
    }
    if (!error)
        segment_works(writer, reader);
    sl_segment_free(reader);
    sl_segment_free(writer);
    close(fd);
}

SL_TEST(segments)
{
    static const sl_fail_row rows[] = {{SL_CALL_MMAP, ENOMEM},
                                       {SL_CALL_FCNTL, EMFILE},
                                       {SL_CALL_FTRUNCATE, ENOSPC},
                                       {SL_CALL_FTRUNCATE, EFBIG},
                                       {SL_CALL_FSTAT, EIO}};
    CHECK(sl_fail_each(rows, COUNT(rows), private_segment, NULL) >= 1);
    CHECK(sl_fail_each(rows, COUNT(rows), shared_segment, NULL) >= 6);
}

/* A segment that does not fit the address space is made smaller. */
SL_TEST(a_segment_gets_smaller_until_it_fits)
{
    const sl_segment_options large = {.size_bytes = 64u << 20, .threads = 1, .cells = 1024};
    sl_segment *segment = NULL;
    sl_fail_arm((sl_fail_row){SL_CALL_MMAP, ENOMEM}, 0);
    CHECK_EQ(sl_segment_new(&large, &segment), 0);
    CHECK(sl_fail_disarm());
    REQUIRE(segment != NULL);
    CHECK_EQ(segment->size, 32u << 20);
    segment_works(segment, segment);
    sl_segment_free(segment);
}

/* ---- segments in a folder ---- */

static size_t files_in_folder(void)
{
    size_t count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir)) != NULL;)
        count += strstr(e->d_name, ".segment") != NULL;
    if (dir)
        closedir(dir);
    return count;
}

static void claimed_segment(void *user)
{
    sl_segment *segment = NULL;
    int fd = -1;
    (void)user;
    int error = sl_multiproc_claim(folder, &small, &segment, &fd);
    is_one_of(error, SL_EIO, SL_ENOMEM);
    CHECK_EQ(segment != NULL, error == 0);
    sl_segment_free(segment);
    if (fd >= 0)
        close(fd);
    bool hit = sl_fail_disarm();
    REQUIRE(sl_multiproc_claim(folder, &small, &segment, &fd) == 0); /* whatever was left: it can be taken over */
    CHECK_EQ(files_in_folder(), 1);
    segment_works(segment, segment);
    sl_segment_free(segment);
    close(fd);
    sl_fail.hit = hit;
}

static void folder_reader(void *user)
{
    sl_collector *collector = sl_collector_new(NULL);
    sl_multiproc *reader = sl_multiproc_new(folder, collector);
    (void)user;
    REQUIRE(collector && reader);
    int error = sl_multiproc_refresh(reader);
    is_one_of(error, SL_EIO, SL_ENOMEM);
    bool hit = sl_fail_disarm();
    CHECK_EQ(sl_multiproc_refresh(reader), 0); /* what was missed is found the next time */
    sl_fail.hit = hit;
    sl_multiproc_free(reader);
    sl_collector_free(collector);
}

SL_TEST(segments_in_a_folder)
{
    static const sl_fail_row rows[] = {{SL_CALL_OPEN, EMFILE}, {SL_CALL_OPEN, EACCES},      {SL_CALL_FLOCK, ENOLCK},
                                       {SL_CALL_FSTAT, EIO},   {SL_CALL_FCNTL, EMFILE},     {SL_CALL_MMAP, ENOMEM},
                                       {SL_CALL_PREAD, EIO},   {SL_CALL_FTRUNCATE, ENOSPC}, {SL_CALL_OPENDIR, EMFILE}};
    make_folder();
    CHECK(sl_fail_each(rows, COUNT(rows), claimed_segment, NULL) >= 6);
    CHECK(sl_fail_each(rows, COUNT(rows), folder_reader, NULL) >= 5);
}

/* ---- files that lines go to ---- */

/* Bytes of a file. */
static size_t contents(const char *path, char *text, size_t size)
{
    int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDONLY);
    ssize_t n = fd < 0 ? 0 : syscall(SYS_read, fd, text, size);
    if (fd >= 0)
        close(fd);
    return n < 0 ? 0 : (size_t)n;
}

/* A request of one log record. */
static sl_str log_request(sl_buf *buf)
{
    size_t resource = 0, scope = 0, record = 0, body = 0;
    sl_buf_clear(buf);
    (void)sl_pb_buf_open(buf, 1, &resource);
    (void)sl_pb_buf_open(buf, 2, &scope);
    (void)sl_pb_buf_open(buf, 2, &record);
    (void)sl_pb_buf_fixed64(buf, 1, 1763116245123000000u);
    (void)sl_pb_buf_open(buf, 5, &body);
    (void)sl_pb_buf_str(buf, 1, SL_STR("words of a record"));
    sl_pb_buf_close(buf, body);
    sl_pb_buf_close(buf, record);
    sl_pb_buf_close(buf, scope);
    sl_pb_buf_close(buf, resource);
    return sl_buf_str(buf);
}

typedef struct line_target {
    bool json;
    char path[64];
} line_target;

static int make_exporter(const line_target *t, sl_exporter *ret_exporter)
{
    char why[128] = "";
    if (!t->json)
        return sl_log_sink_open(t->path, SL_LOG_TEXT, ret_exporter);
    const sl_exporter_spec spec = {.kind = sl_exporter_kind_named(SL_STR("file"), SL_SIGNAL_LOGS),
                                   .signal = SL_SIGNAL_LOGS,
                                   .path = sl_str_c(t->path)};
    int error = sl_exporter_make(&spec, ret_exporter, why, sizeof why);
    CHECK_EQ(error != 0, why[0] != 0);
    return error;
}

/* Every line is whole, but for those that say that they are not by being no JSON; none is lost that was acknowledged.
 */
static void lines_are_whole(const line_target *t, size_t acknowledged)
{
    char text[16384];
    sl_str rest = sl_str_of(text, contents(t->path, text, sizeof text)), line;
    size_t whole = 0, torn = 0;
    if (rest.len) /* what follows the last line end is a line that was begun */
        while (sl_str_split(&rest, '\n', &line)) {
            bool good = t->json ? sl_json_scan(line, NULL, NULL, NULL, NULL) == 0
                                : sl_str_ends(line, SL_STR("message=\"words of a record\""));
            whole += good;
            torn += !good && line.len;
        }
    CHECK(whole >= acknowledged);
    CHECK(torn <= (sl_fail.hit ? 1 : 0));
}

static void line_exporter(void *user)
{
    line_target *t = user;
    sl_exporter e;
    sl_buf buf;
    size_t acknowledged = 0;
    sl_buf_init(&buf, 4096);
    (void)unlink(t->path);
    int error = make_exporter(t, &e);
    is_one_of(error, SL_EIO, SL_EINVAL);
    for (int i = 0; !error && i < 4; i++) {
        uint64_t retry = 0, rejected = 0;
        if (i == 2 && !t->json)
            sl_log_sink_reopen(&e);
        int outcome = e.deliver(e.user, SL_SIGNAL_LOGS, log_request(&buf), 1, 1000, &retry, &rejected);
        is_one_of(outcome, SL_EIO, SL_ECLOSED);
        acknowledged += outcome == 0;
    }
    if (!error) {
        e.free(e.user);
        CHECK(acknowledged >= (sl_fail.hit ? 3 : 4)); /* one call fails: one request at most */
        lines_are_whole(t, acknowledged);
    }
    sl_buf_done(&buf);
}

SL_TEST(lines_into_files)
{
    static const sl_fail_row rows[] = {{SL_CALL_OPEN, EACCES}, {SL_CALL_OPEN, EMFILE}, {SL_CALL_WRITE, ENOSPC},
                                       {SL_CALL_WRITE, EIO},   {SL_CALL_WRITE, EINTR}, {SL_CALL_WRITE, EAGAIN},
                                       {SL_CALL_WRITE, 0},     {SL_CALL_FSTAT, EIO},   {SL_CALL_FCNTL, EBADF}};
    make_folder();
    for (int json = 0; json < 2; json++) {
        line_target t = {.json = json};
        (void)snprintf(t.path, sizeof t.path, "%s/lines-%d", folder, json);
        CHECK(sl_fail_each(rows, COUNT(rows), line_exporter, &t) >= 10);
    }
}

/* ---- files of other processes ---- */

static void write_python_file(const char *name, const char *key, double value)
{
    char path[96];
    unsigned char image[256] = {0};
    int32_t len = (int32_t)strlen(key), padded = len + (8 - (len + 4) % 8), used = 8 + 4 + padded + 16;
    memcpy(image, &used, 4);
    memcpy(image + 8, &len, 4);
    memset(image + 12, ' ', (size_t)padded);
    memcpy(image + 12, key, (size_t)len);
    memcpy(image + 12 + padded, &value, 8);
    (void)snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *file = fopen(path, "w");
    REQUIRE(file != NULL);
    CHECK_EQ(fwrite(image, 1, sizeof image, file), sizeof image);
    fclose(file);
}

/* A page is right or it is none: a sum that lacks a file would look like a counter that began anew. */
static void python_page(void *user)
{
    sl_buf out;
    (void)user;
    sl_buf_init(&out, 1u << 16);
    int error = sl_python_db_write(folder, SL_PROMETHEUS_TEXT, &out);
    is_one_of(error, SL_EIO, SL_EIO);
    if (!error)
        CHECK_STR(sl_buf_str(&out), "# HELP r_total R.\n# TYPE r_total counter\nr_total 12\n");
    sl_buf_done(&out);
}

SL_TEST(files_of_python_processes)
{
    static const sl_fail_row rows[] = {{SL_CALL_OPEN, EMFILE}, {SL_CALL_FSTAT, EIO}, {SL_CALL_READ, EIO},
                                       {SL_CALL_READ, EINTR},  {SL_CALL_READ, 0},    {SL_CALL_OPENDIR, EMFILE}};
    make_folder();
    write_python_file("counter_1.db", "[\"r\",\"r_total\",{},\"R.\"]", 5);
    write_python_file("counter_2.db", "[\"r\",\"r_total\",{},\"R.\"]", 7);
    CHECK(sl_fail_each(rows, COUNT(rows), python_page, NULL) >= 10);
}

/* What cannot be read now is an error, not a process without descriptors. */
static void process_sample(void *user)
{
    sl_process_sample sample = {0};
    (void)user;
    int error = sl_process_sample_read(getpid(), &sample);
    is_one_of(error, SL_EIO, SL_ENOENT);
    if (!error)
        CHECK(sample.resident_bytes > 0 && sample.open_fds > 0 && sample.max_fds > 0 && sample.threads > 0);
}

SL_TEST(figures_of_a_process)
{
    static const sl_fail_row rows[] = {
        {SL_CALL_OPEN, EMFILE}, {SL_CALL_OPENDIR, EMFILE}, {SL_CALL_READ, EINTR}, {SL_CALL_READ, ESRCH}};
    CHECK(sl_fail_each(rows, COUNT(rows), process_sample, NULL) >= 4);
}

/* ---- threads and listeners ---- */

static void whole_pipeline(void *user)
{
    sl_pipeline_options options;
    sl_pipeline *pipeline = NULL;
    (void)user;
    memset(&options, 0, sizeof options);
    int error = sl_pipeline_new(&options, &pipeline);
    is_one_of(error, SL_ENOMEM, SL_EIO);
    if (!error)
        CHECK_EQ(sl_pipeline_flush(pipeline, 5000), 0);
    sl_pipeline_free(pipeline);
}

static void whole_listener(void *user)
{
    sl_sdk *sdk = user;
    sl_prometheus_listener *listener = NULL;
    char reason[SL_ADDR_REASON_MAX] = "";
    const sl_addr addr = {.host = "127.0.0.1"};
    int error = sl_prometheus_listener_new(sdk, &addr, &listener, reason);
    is_one_of(error, SL_ECONFIG, SL_ENOMEM);
    CHECK(error != SL_ECONFIG || (reason[0] && strcmp(reason, "out of memory") != 0));
    if (!error)
        CHECK(sl_prometheus_listener_addr(listener)->port != 0);
    sl_prometheus_listener_free(listener);
}

static void whole_socket(void *user)
{
    char reason[SL_ADDR_REASON_MAX] = "";
    const sl_addr addr = {.host = "127.0.0.1"};
    sl_addr got = {0};
    int fd = -1;
    (void)user;
    int error = sl_addr_listen(&addr, NULL, &fd, &got, reason);
    CHECK(!error || (sl_fail.hit && error != SL_ENOMEM && reason[0]));
    CHECK(error || (fd >= 0 && got.port && sl_addr_is_loopback(&got)));
    if (!error)
        close(fd);
}

SL_TEST(threads_and_listeners)
{
    static const sl_fail_row rows[] = {
        {SL_CALL_SOCKET, EMFILE},     {SL_CALL_BIND, EADDRINUSE},   {SL_CALL_BIND, EACCES},
        {SL_CALL_LISTEN, EADDRINUSE}, {SL_CALL_SETSOCKOPT, ENOMEM}, {SL_CALL_GETSOCKNAME, ENOBUFS},
        {SL_CALL_EVENTFD, EMFILE},    {SL_CALL_THREAD, EAGAIN},     {SL_CALL_FCNTL, EBADF}};
    const sl_sdk_options options = {.ignore_environment = true, .no_default_exporters = true};
    sl_sdk *sdk = NULL;
    REQUIRE(sl_sdk_new(&options, &sdk) == 0);
    CHECK(sl_fail_each(rows, COUNT(rows), whole_socket, NULL) >= 5);
    CHECK(sl_fail_each(rows, COUNT(rows), whole_listener, sdk) >= 7);
    CHECK(sl_fail_each(rows, COUNT(rows), whole_pipeline, NULL) >= 2);
    sl_sdk_free(sdk);
}

static void whole_sdk(void *user)
{
    const sl_sdk_options options = {.ignore_environment = true, .no_default_exporters = true};
    sl_sdk *sdk = NULL;
    (void)user;
    int error = sl_sdk_new(&options, &sdk);
    is_one_of(error, SL_ENOMEM, SL_EIO);
    if (!error) {
        sl_span *span = sl_span_start(sl_tracer_named(sdk, "t"), SL_STR("s"), NULL);
        CHECK(span != NULL);
        sl_span_end(span);
        CHECK_EQ(sl_sdk_flush(sdk, 5000), 0);
    }
    sl_sdk_free(sdk);
}

SL_TEST(a_whole_sdk)
{
    static const sl_fail_row rows[] = {{SL_CALL_MMAP, ENOMEM},
                                       {SL_CALL_EVENTFD, EMFILE},
                                       {SL_CALL_THREAD, EAGAIN},
                                       {SL_CALL_FCNTL, EBADF},
                                       {SL_CALL_OPEN, EMFILE}};
    CHECK(sl_fail_each(rows, COUNT(rows), whole_sdk, NULL) >= 3);
}
