/* Segment files in a shared folder: many processes, exact sums, dead ones kept, files taken over. */
#include "src/telemetry/multiproc.h"

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/telemetry/sdk_impl.h"
#include "tests/harness/sl_test.h"

static const sl_segment_options small = {.size_bytes = 32u << 20, .threads = 2, .cells = 4096};

static void make_folder(char *folder)
{
    strcpy(folder, "/tmp/sl-multi-XXXXXX");
    REQUIRE(sl_test_mkdtemp(folder) != NULL);
}

static size_t count_files(const char *folder)
{
    size_t count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir)) != NULL;)
        count += strstr(e->d_name, ".segment") != NULL;
    if (dir)
        closedir(dir);
    return count;
}

/* Records in a child process: `count` requests, 3 in flight left behind; ends without cleaning up. */
static pid_t record(const char *folder, uint64_t count, bool wait)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    sl_segment *segment;
    int fd;
    sl_sdk *sdk;
    static const sl_sdk_options options = {.ignore_environment = true};
    if (sl_multiproc_claim(folder, &small, &segment, &fd) != 0)
        _exit(1);
    sl_sdk_internal_options internal = {.segment = segment, .record_only = true};
    if (sl_sdk_new_internal(&options, &internal, &sdk) != 0)
        _exit(2);
    sl_meter *meter = sl_meter_named(sdk, "t");
    sl_instrument *total =
        sl_instrument_new(meter, &(sl_instrument_options){.kind = SL_COUNTER, .name = "requests_total"});
    sl_instrument *open =
        sl_instrument_new(meter, &(sl_instrument_options){.kind = SL_UPDOWN_COUNTER, .name = "open_requests"});
    sl_updown_add(sl_instrument_bind(open, NULL, 0), 3);
    for (uint64_t i = 0; i < count; i++)
        sl_counter_add(sl_instrument_bind(total, NULL, 0), 1);
    while (wait)
        pause();
    _exit(0);
}

static void check_text(sl_collector *collector, const char *wanted)
{
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    CHECK_EQ(sl_collector_prometheus(collector, SL_STR(""), SL_PROMETHEUS_TEXT, &out), 0);
    if (sl_str_find(sl_buf_str(&out), sl_str_c(wanted)) == SL_NPOS)
        sl_test_failed(__FILE__, __LINE__, "wanted \"%s\" in:\n%.*s", wanted, (int)out.len, out.data);
    sl_buf_done(&out);
}

SL_TEST(multiproc_sums_the_living_and_the_dead)
{
    char folder[32];
    make_folder(folder);
    pid_t pids[3];
    for (int i = 0; i < 3; i++)
        pids[i] = record(folder, 1000, true);
    for (int i = 0; i < 200 && count_files(folder) < 3; i++)
        usleep(10000);
    usleep(200000);
    sl_collector *collector = sl_collector_new(NULL);
    sl_multiproc *reader = sl_multiproc_new(folder, collector);
    REQUIRE(collector && reader);
    CHECK_EQ(sl_multiproc_refresh(reader), 0);
    check_text(collector, "requests_total 3000\n");
    check_text(collector, "open_requests 9\n");
    kill(pids[0], SIGKILL);
    waitpid(pids[0], NULL, 0);
    check_text(collector, "requests_total 3000\n");
    /* The next process goes on in the dead one's file, without what that one had in flight. */
    int status;
    waitpid(record(folder, 500, false), &status, 0);
    CHECK_EQ(status, 0);
    CHECK_EQ(sl_multiproc_refresh(reader), 0);
    CHECK_EQ(count_files(folder), 3);
    check_text(collector, "requests_total 3500\n");
    check_text(collector, "open_requests 9\n");
    for (int i = 1; i < 3; i++) {
        kill(pids[i], SIGKILL);
        waitpid(pids[i], NULL, 0);
    }
    sl_multiproc_free(reader);
    sl_collector_free(collector);
}

/* A process that is killed while it makes its file leaves one of any length without a segment: it is not lost for good.
 */
SL_TEST(multiproc_half_made_files_are_made_anew)
{
    static const off_t lengths[] = {0, 1, 7, 8, 4096, 32 << 20};
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        char folder[32], path[96];
        make_folder(folder);
        snprintf(path, sizeof path, "%s/sightline-1.segment", folder);
        FILE *file = fopen(path, "w");
        REQUIRE(file != NULL && ftruncate(fileno(file), lengths[i]) == 0);
        sl_collector *collector = sl_collector_new(NULL);
        sl_multiproc *reader = sl_multiproc_new(folder, collector);
        REQUIRE(collector && reader);
        CHECK_EQ(sl_multiproc_refresh(reader), 0); /* not yet readable */
        sl_segment *segment, *second;
        int fd, second_fd;
        REQUIRE(flock(fileno(file), LOCK_EX) == 0); /* its maker still lives: another number */
        REQUIRE(sl_multiproc_claim(folder, &small, &segment, &fd) == 0);
        CHECK_EQ(count_files(folder), 2);
        fclose(file);
        REQUIRE(sl_multiproc_claim(folder, &small, &second, &second_fd) == 0);
        CHECK_EQ(count_files(folder), 2);
        CHECK_EQ(sl_multiproc_refresh(reader), 0);
        sl_multiproc_free(reader);
        sl_collector_free(collector);
        sl_segment_free(segment);
        sl_segment_free(second);
        close(fd);
        close(second_fd);
    }
}

/* A folder that is emptied again and again does not use up the reader's places; counters never go down. */
SL_TEST(multiproc_deleted_files_are_forgotten)
{
    char folder[32], path[96];
    make_folder(folder);
    snprintf(path, sizeof path, "%s/sightline-1.segment", folder);
    sl_collector *collector = sl_collector_new(NULL);
    sl_multiproc *reader = sl_multiproc_new(folder, collector);
    REQUIRE(collector && reader);
    for (int round = 1; round <= SL_MAX_MULTIPROC_FILES / 20; round++) {
        int status;
        waitpid(record(folder, 10, false), &status, 0);
        CHECK_EQ(status, 0);
        CHECK_EQ(sl_multiproc_refresh(reader), 0);
        CHECK_EQ(unlink(path), 0);
        char wanted[40];
        snprintf(wanted, sizeof wanted, "requests_total %d\n", 10 * round);
        check_text(collector, wanted);
        CHECK_EQ(sl_multiproc_refresh(reader), 0);
        check_text(collector, wanted);
    }
    sl_multiproc_free(reader);
    sl_collector_free(collector);
}

SL_TEST(multiproc_leaves_foreign_files_alone)
{
    char folder[32], path[96];
    make_folder(folder);
    snprintf(path, sizeof path, "%s/sightline-1.segment", folder);
    FILE *file = fopen(path, "w");
    REQUIRE(file != NULL);
    fputs("not a segment, but longer than nothing", file);
    fclose(file);
    sl_segment *segment;
    int fd;
    REQUIRE(sl_multiproc_claim(folder, &small, &segment, &fd) == 0);
    CHECK_EQ(count_files(folder), 2);
    sl_collector *collector = sl_collector_new(NULL);
    sl_multiproc *reader = sl_multiproc_new(folder, collector);
    REQUIRE(collector && reader);
    sl_multiproc_own(reader, fd);
    CHECK_EQ(sl_multiproc_refresh(reader), 0);
    sl_multiproc_free(reader);
    sl_collector_free(collector);
    sl_segment_free(segment);
    close(fd);
    CHECK_EQ(sl_multiproc_claim("/nonexistent", &small, &segment, &fd), SL_EIO);
}
