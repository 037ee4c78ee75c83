/* process_* metrics: parsing of /proc, sums, CPU time that survives its process. */
#include "src/telemetry/process_metrics.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/telemetry/test_metrics_fixture.h"

static const char stat_line[] =
    "42 (a ) (b) S 1 42 42 0 -1 4194560 1000 0 1 0 150 50 0 0 20 0 7 0 123456 1048576 25 18446744073709551615 1 1 0";

SL_TEST(stat_lines)
{
    sl_process_sample s = {0};
    CHECK_EQ(sl_process_stat_parse(sl_str_c(stat_line), 100, 4096, &s), 0);
    CHECK(s.cpu_seconds == 2.0);
    CHECK_EQ(s.threads, 7);
    CHECK_EQ(s.start_ticks, 123456);
    CHECK_EQ(s.virtual_bytes, 1048576);
    CHECK_EQ(s.resident_bytes, 25 * 4096);
}

SL_TEST(stat_lines_cut_at_every_byte)
{
    size_t whole = (size_t)(strstr(stat_line, " 25 18446") - stat_line);
    for (size_t cut = 0; cut < sizeof stat_line; cut++) {
        sl_process_sample s = {.threads = 99};
        int error = sl_process_stat_parse(sl_str_of(stat_line, cut), 100, 4096, &s);
        if (cut < whole)
            CHECK(error == SL_EPARSE && s.threads == 99);
    }
}

SL_TEST(this_process)
{
    sl_process_sample s;
    REQUIRE(sl_process_sample_read(getpid(), &s) == 0);
    CHECK(s.threads >= 1 && s.open_fds >= 3 && s.max_fds >= s.open_fds);
    CHECK(s.resident_bytes > 0 && s.virtual_bytes > s.resident_bytes);
    CHECK(s.start_seconds > 1.5e9);
    CHECK_EQ(sl_process_sample_read(0x3FFFFFFF, &s), SL_ENOENT);
}

SL_TEST(the_metrics_are_there)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_process_metrics *m = sl_process_metrics_new(rig.meter);
    static const char *const names[] = {"process_resident_memory_bytes",
                                        "process_virtual_memory_bytes",
                                        "process_open_fds",
                                        "process_max_fds",
                                        "process_start_time_seconds",
                                        "process_threads"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        CHECK(rig_value(&rig, names[i]) > 0);
    CHECK(rig_value(&rig, "process_cpu_seconds_total") >= 0);
    char info[100];
    snprintf(info, sizeof info, "sightline_build_info{version=\"%s\"}", sl_version());
    CHECK(rig_value(&rig, info) == 1);
    sl_process_metrics_free(m);
    (void)rig_text(&rig, SL_PROMETHEUS_TEXT); /* the callbacks are gone */
    sl_process_metrics_free(NULL);
    rig_done(&rig);
}

/* A child that burns CPU time and then waits to be killed. */
static pid_t start_burner(void)
{
    pid_t pid = fork();
    if (pid == 0) {
        while (clock() < CLOCKS_PER_SEC / 10) {
        }
        for (;;)
            pause();
    }
    return pid;
}

SL_TEST(cpu_time_of_ended_processes_stays)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_process_metrics *m = sl_process_metrics_new(rig.meter);
    pid_t pids[] = {getpid(), start_burner()};
    double alone = rig_value(&rig, "process_threads");
    CHECK_EQ(sl_process_metrics_set_pids(m, pids, 2), 0);
    sl_process_sample s = {0};
    usleep(20000); /* a sanitizer may start a thread in the child */
    REQUIRE(sl_process_sample_read(pids[1], &s) == 0);
    CHECK(s.threads >= 1);
    CHECK(rig_value(&rig, "process_threads") == alone + (double)s.threads);
    s.cpu_seconds = 0;
    for (int i = 0; i < 200 && s.cpu_seconds < 0.05; i++) {
        usleep(10000);
        REQUIRE(sl_process_sample_read(pids[1], &s) == 0);
    }
    usleep(60000);
    double before = rig_value(&rig, "process_cpu_seconds_total");
    CHECK(before >= 0.05);
    kill(pids[1], SIGKILL);
    waitpid(pids[1], NULL, 0);
    usleep(60000);
    CHECK(rig_value(&rig, "process_cpu_seconds_total") >= before);
    CHECK(rig_value(&rig, "process_threads") == alone);
    CHECK_EQ(sl_process_metrics_set_pids(m, pids, 1), 0);
    CHECK(rig_value(&rig, "process_cpu_seconds_total") >= before);
    CHECK_EQ(sl_process_metrics_set_pids(m, pids, 300), SL_ELIMIT);
    sl_process_metrics_free(m);
    rig_done(&rig);
}

/* A process that cannot be read for want of descriptors has not ended. */
SL_TEST(a_moment_without_descriptors_loses_no_process)
{
    metrics_rig rig;
    struct rlimit before, none;
    REQUIRE(rig_init(&rig, NULL, 0) && getrlimit(RLIMIT_NOFILE, &before) == 0);
    sl_process_metrics *m = sl_process_metrics_new(rig.meter);
    CHECK(rig_value(&rig, "process_threads") >= 1);
    none = before;
    none.rlim_cur = 0;
    usleep(60000);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &none) == 0);
    double threads = rig_value(&rig, "process_threads");
    REQUIRE(setrlimit(RLIMIT_NOFILE, &before) == 0);
    CHECK(threads >= 1);
    usleep(60000);
    CHECK(rig_value(&rig, "process_threads") >= 1);
    sl_process_metrics_free(m);
    rig_done(&rig);
}
