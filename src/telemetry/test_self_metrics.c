/* The SDK's metrics about itself: every row of the table, exact counts, over several processes and killed ones. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/telemetry/collect.h"
#include "src/telemetry/pipeline.h"
#include "src/telemetry/prom_name.h"
#include "src/telemetry/sdk_impl.h"
#include "src/telemetry/series_record.h"
#include "src/telemetry/vocab.h"
#include "tests/harness/sl_test.h"

#define RECORDED "{otel_span_sampling_result=\"RECORD_AND_SAMPLE\",otel_scope_name=\"sightline.sdk\""

static int take(void *user, sl_signal signal, sl_str request, size_t items, uint64_t timeout_ms,
                uint64_t *ret_retry_after_ms, uint64_t *ret_rejected)
{
    (void)user, (void)signal, (void)request, (void)items, (void)timeout_ms, (void)ret_retry_after_ms;
    *ret_rejected = 0;
    return 0;
}

static sl_sdk *start(void)
{
    static const sl_exporter exporter = {
        .name = "test",
        .signals = SL_SIGNAL_BIT(SL_SIGNAL_TRACES) | SL_SIGNAL_BIT(SL_SIGNAL_METRICS) | SL_SIGNAL_BIT(SL_SIGNAL_LOGS),
        .deliver = take,
    };
    const sl_sdk_options options = {.ignore_environment = true, .exporters = &exporter, .exporter_count = 1};
    const sl_sdk_internal_options internal = {.export_only_when_set = true};
    sl_sdk *sdk = NULL;
    CHECK_EQ(sl_sdk_new_internal(&options, &internal, &sdk), 0);
    return sdk;
}

/* The value of the first sample whose line begins so; -1: there is none. */
static double value_of(sl_sdk *sdk, const char *begin)
{
    char *text = NULL;
    size_t len = 0;
    CHECK_EQ(sl_prometheus_gather(sdk, SL_PROMETHEUS_TEXT, &text, &len), 0);
    sl_str rest = sl_str_of(text, len), line;
    double value = -1;
    while (value < 0 && sl_str_split(&rest, '\n', &line)) {
        if (sl_str_starts(line, sl_str_c(begin)))
            value = strtod(line.ptr + sl_str_find(line, SL_STR("} ")) + 2, NULL);
    }
    free(text);
    return value;
}

static double started(sl_sdk *sdk)
{
    return value_of(sdk, "otel_sdk_span_started_total" RECORDED);
}

static double live(sl_sdk *sdk)
{
    return value_of(sdk, "otel_sdk_span_live" RECORDED);
}

SL_TEST(every_row_of_the_table_is_emitted)
{
    sl_sdk *sdk = start();
    REQUIRE(sdk != NULL);
    sl_span_end(sl_span_start(sl_tracer_named(sdk, "t"), SL_STR("s"), NULL));
    CHECK_EQ(sl_sdk_flush(sdk, 5000), 0);
    CHECK_EQ(sl_sdk_flush(sdk, 5000), 0);
    char *text = NULL;
    size_t len = 0;
    REQUIRE(sl_prometheus_gather(sdk, SL_PROMETHEUS_TEXT, &text, &len) == 0);
    for (int id = 0; id < SL_METRIC_COUNT; id++) {
        const sl_metric_def *def = sl_metric_def_of((sl_metric_id)id);
        char name[SL_PROM_NAME_BYTES], line[SL_PROM_NAME_BYTES + 16];
        if (def->vocab != SL_VOCAB_SDK)
            continue;
        (void)sl_prom_name(sl_str_c(def->name), sl_str_c(def->unit), def->kind, name);
        snprintf(line, sizeof line, "# TYPE %s ", name);
        if (!strstr(text, line))
            sl_test_failed(__FILE__, __LINE__, "no %s", name);
    }
    free(text);
    sl_sdk_free(sdk);
}

SL_TEST(spans_and_logs_of_one_process_are_counted)
{
    sl_sdk *sdk = start();
    REQUIRE(sdk != NULL);
    CHECK(started(sdk) == 0 && live(sdk) == 0);
    sl_span *open[3];
    for (int i = 0; i < 3; i++) /* of several tracers */
        open[i] = sl_span_start(sl_tracer_named(sdk, i ? "a" : "b"), SL_STR("s"), NULL);
    CHECK(started(sdk) == 3 && live(sdk) == 3);
    sl_span_end(open[0]);
    sl_span_end(open[1]);
    CHECK(started(sdk) == 3 && live(sdk) == 1);
    CHECK(value_of(sdk, "otel_sdk_log_created_total{") == 0);
    sl_log(sl_logger_named(sdk, "l"), SL_ERROR_LEVEL, "m", NULL, 0);
    CHECK(value_of(sdk, "otel_sdk_log_created_total{") == 1);
    sl_span_end(open[2]);
    sl_sdk_stats stats;
    sl_sdk_get_stats(sdk, SL_SIGNAL_TRACES, &stats);
    CHECK(stats.started == 3 && stats.ended == 3);
    sl_sdk_free(sdk);
}

/* Records into a segment of its own as a worker does, leaves `open` spans open, and dies. */
static void worker(sl_segment *segment, int ended, int open)
{
    static const sl_sdk_options options = {.ignore_environment = true};
    const sl_sdk_internal_options internal = {.segment = segment, .record_only = true};
    sl_sdk *sdk;
    sl_segment_adopt(segment, -1);
    if (sl_sdk_new_internal(&options, &internal, &sdk) != 0)
        _exit(1);
    for (int i = 0; i < ended + open; i++) {
        sl_span *span = sl_span_start(sl_tracer_named(sdk, i % 2 ? "odd" : "even"), SL_STR("s"), NULL);
        if (i < ended)
            sl_span_end(span);
    }
    raise(SIGKILL);
}

static void run_worker(sl_segment *segment, int ended, int open)
{
    int status;
    pid_t pid = fork();
    if (pid == 0)
        worker(segment, ended, open);
    CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
    sl_segment_release(segment, pid);
}

SL_TEST(spans_of_all_processes_are_counted)
{
    static const sl_segment_options small = {.size_bytes = 16u << 20, .threads = 2, .cells = 4096};
    sl_sdk *sdk = start();
    sl_segment *segments[2];
    REQUIRE(sdk != NULL);
    for (int i = 0; i < 2; i++) {
        int fd = memfd_create("worker", MFD_CLOEXEC);
        REQUIRE(fd >= 0 && sl_segment_new_shared(&small, fd, &segments[i]) == 0);
        close(fd);
        REQUIRE(sl_pipeline_add_segment(sdk->pipeline, segments[i]) == 0);
    }
    run_worker(segments[0], 5, 0);
    run_worker(segments[1], 7, 2);
    CHECK(started(sdk) == 14 && live(sdk) == 2);
    sl_series_reset_volatile(segments[1]); /* as its supervisor does */
    CHECK(started(sdk) == 14 && live(sdk) == 0);
    sl_series_reset_volatile(segments[1]); /* once is enough */
    uint32_t before, after;
    REQUIRE(sl_segment_alloc_cells(segments[1], 1, &before) == 0);
    run_worker(segments[1], 10, 1); /* its successor, in the same segment */
    CHECK(started(sdk) == 25 && live(sdk) == 1);
    REQUIRE(sl_segment_alloc_cells(segments[1], 1, &after) == 0);
    CHECK_EQ(after, before + 1); /* a restart takes no cells */
    for (int i = 0; i < 2; i++) {
        sl_pipeline_remove_segment(sdk->pipeline, segments[i]);
        sl_segment_free(segments[i]);
        CHECK(started(sdk) == 25 && live(sdk) == (i == 0 ? 1 : 0));
    }
    sl_sdk_stats stats;
    sl_sdk_get_stats(sdk, SL_SIGNAL_TRACES, &stats);
    CHECK_EQ(stats.started, 25);
    CHECK_EQ(stats.ended, 22);
    sl_sdk_free(sdk);
}
