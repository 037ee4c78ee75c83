/* The SDK's maxima: as many as fit, one more, and what is left when that one is refused. */
#include <unistd.h>

#include "src/telemetry/otel_config.h"
#include "src/telemetry/pipeline.h"
#include "src/telemetry/process_metrics.h"
#include "src/telemetry/python_db.h"
#include "src/telemetry/registry.h"
#include "src/telemetry/resource.h"
#include "src/telemetry/test_env_fixture.h"
#include "src/telemetry/test_metrics_fixture.h"
#include "src/wire/otlp_read.h"

/* ---- instruments ---- */

static sl_instrument *numbered(metrics_rig *rig, size_t number, size_t max_series)
{
    char name[32];
    (void)snprintf(name, sizeof name, "m_%zu_total", number);
    const sl_instrument_options options = {.kind = SL_COUNTER, .name = name, .max_series = max_series};
    return sl_instrument_new(rig->meter, &options);
}

SL_TEST(instruments)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    for (size_t i = 0; i < SL_MAX_INSTRUMENTS; i++)
        CHECK(numbered(&rig, i, 0) != NULL);
    CHECK(numbered(&rig, SL_MAX_INSTRUMENTS, 0) == NULL);
    CHECK(numbered(&rig, 7, 0) == numbered(&rig, 7, 0)); /* those that are there can be asked for again */
    sl_counter_add(sl_instrument_bind(numbered(&rig, SL_MAX_INSTRUMENTS - 1, 0), NULL, 0), 3);
    CHECK(rig_value(&rig, "m_4095_total") == 3);
    rig_done(&rig);
}

/* Series of an instrument without a limit of its own: the last one is shared by all that come. */
SL_TEST(series)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_instrument *counter = numbered(&rig, 1, 0);
    for (int64_t i = 0; i < SL_MAX_SERIES + 10; i++) {
        const sl_attr attr = sl_attr_int("n", i);
        sl_counter_add(sl_instrument_bind(counter, &attr, 1), 1);
    }
    char last[64];
    (void)snprintf(last, sizeof last, "m_1_total{n=\"%d\"}", SL_MAX_SERIES - 2);
    CHECK(rig_value(&rig, last) == 1);
    (void)snprintf(last, sizeof last, "m_1_total{n=\"%d\"}", SL_MAX_SERIES - 1);
    CHECK(rig_value(&rig, last) == -1);
    CHECK(rig_value(&rig, "m_1_total{otel_metric_overflow=\"true\"}") == 11);
    rig_done(&rig);
}

/* A histogram of as many bounds as there may be counts into each bucket. */
SL_TEST(bounds)
{
    metrics_rig rig;
    double bounds[SL_MAX_BOUNDS + 1];
    REQUIRE(rig_init(&rig, NULL, 0));
    for (size_t i = 0; i <= SL_MAX_BOUNDS; i++)
        bounds[i] = (double)i;
    sl_instrument_options options = {
        .kind = SL_HISTOGRAM, .name = "h_units", .bounds = bounds, .bound_count = SL_MAX_BOUNDS + 1};
    CHECK(sl_instrument_new(rig.meter, &options) == NULL);
    options.bound_count = SL_MAX_BOUNDS;
    sl_series *h = sl_instrument_bind(sl_instrument_new(rig.meter, &options), NULL, 0);
    REQUIRE(h != NULL);
    for (size_t i = 0; i <= SL_MAX_BOUNDS; i++)
        sl_histogram_record(h, (double)i - 0.5);
    for (size_t i = 0; i < SL_MAX_BOUNDS; i++) {
        char name[64];
        (void)snprintf(name, sizeof name, "h_units_bucket{le=\"%zu\"}", i);
        CHECK_EQ(rig_value(&rig, name), i + 1);
    }
    CHECK_EQ(rig_value(&rig, "h_units_bucket{le=\"+Inf\"}"), SL_MAX_BOUNDS + 1);
    CHECK_EQ(rig_value(&rig, "h_units_count"), SL_MAX_BOUNDS + 1);
    sl_view view = {.instrument = "g", .bounds = bounds, .bound_count = SL_MAX_BOUNDS + 1};
    CHECK_EQ(sl_view_add(&rig.sdk, &view), SL_EINVAL);
    view.bound_count = SL_MAX_BOUNDS;
    CHECK_EQ(sl_view_add(&rig.sdk, &view), 0);
    rig_done(&rig);
}

/* More views than an instrument may have streams: the first ones count, and recording goes into each of them. */
SL_TEST(views_and_streams)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    for (size_t i = 0; i < SL_MAX_VIEWS; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "v_%zu_total", i);
        const sl_view view = {.instrument = "m_1_total", .name = name};
        CHECK_EQ(sl_view_add(&rig.sdk, &view), 0);
    }
    CHECK_EQ(sl_view_add(&rig.sdk, &(sl_view){.instrument = "m_1_total", .name = "w_total"}), SL_ELIMIT);
    sl_counter_add(sl_instrument_bind(numbered(&rig, 1, 0), NULL, 0), 2);
    CHECK(rig_value(&rig, "m_1_total") == 2); /* its own is the first */
    for (size_t i = 0; i < SL_MAX_STREAMS; i++) {
        char name[32];
        (void)snprintf(name, sizeof name, "v_%zu_total", i);
        CHECK(rig_value(&rig, name) == (i + 1 < SL_MAX_STREAMS ? 2 : -1));
    }
    rig_done(&rig);
}

static size_t observed;

static void observe(void *user, sl_observer *observer)
{
    const sl_attr attr = sl_attr_int("n", (int64_t)(uintptr_t)user);
    observed++;
    sl_observe(observer, 1, &attr, 1);
}

SL_TEST(callbacks)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_instrument *gauge = rig_declare(&rig, SL_GAUGE, "g", "");
    REQUIRE(gauge != NULL);
    for (uintptr_t i = 0; i < SL_MAX_CALLBACKS; i++)
        CHECK_EQ(sl_instrument_on_collect(gauge, observe, (void *)i), 0);
    CHECK_EQ(sl_instrument_on_collect(gauge, observe, (void *)5), SL_ELIMIT);
    observed = 0;
    (void)rig_text(&rig, SL_PROMETHEUS_TEXT);
    CHECK_EQ(observed, SL_MAX_CALLBACKS);
    sl_instrument_off_collect(gauge, observe, (void *)5); /* makes room */
    sl_instrument_off_collect(gauge, observe, (void *)5); /* is not there any more */
    CHECK_EQ(sl_instrument_on_collect(gauge, observe, (void *)7), 0);
    CHECK_EQ(sl_instrument_on_collect(gauge, observe, (void *)8), SL_ELIMIT);
    for (uintptr_t i = 0; i < SL_MAX_CALLBACKS; i++)
        sl_instrument_off_collect(gauge, observe, (void *)i);
    sl_instrument_off_collect(gauge, observe, (void *)7); /* the second one */
    observed = 0;
    (void)rig_text(&rig, SL_PROMETHEUS_TEXT);
    CHECK_EQ(observed, 0);
    rig_done(&rig);
}

/* ---- the resource ---- */

static size_t attrs_of(sl_str resource, sl_str wanted, uint32_t *ret_dropped)
{
    sl_otlp_any any;
    sl_pb_reader reader = sl_pb_reader_of(resource);
    sl_pb_field field;
    *ret_dropped = 0;
    while (sl_pb_next(&reader, &field)) {
        if (field.number == 2)
            *ret_dropped = (uint32_t)field.value;
    }
    CHECK_EQ(sl_otlp_find_attr(resource, SL_OTLP_RESOURCE_ATTRS, wanted, &any) == 0, wanted.len > 0);
    return sl_otlp_count(resource, SL_OTLP_RESOURCE_ATTRS);
}

/* The program's own attributes: what does not fit is counted as dropped. */
SL_TEST(attributes_of_a_resource)
{
    static char keys[SL_MAX_RESOURCE_ATTRS + 1][8];
    sl_attr attrs[SL_MAX_RESOURCE_ATTRS + 1];
    loaded l;
    for (size_t i = 0; i <= SL_MAX_RESOURCE_ATTRS; i++) {
        (void)snprintf(keys[i], sizeof keys[i], "k%zu", i);
        attrs[i] = sl_attr_int(keys[i], (int64_t)i);
    }
    load(&l, NULL, NULL, false);
    size_t own = 0;
    for (size_t count = 0; count <= SL_MAX_RESOURCE_ATTRS + 1; count++) {
        const sl_resource_options o = {.attrs = attrs, .attr_count = count};
        sl_buf out;
        uint32_t dropped = 0;
        sl_buf_init(&out, 1u << 20);
        CHECK_EQ(sl_resource_encode(&l.env, &o, &out), 0);
        size_t all = attrs_of(sl_buf_str(&out), sl_str_of(NULL, 0), &dropped);
        own = count == 0 ? all : own; /* those that every resource has */
        CHECK(all <= SL_MAX_RESOURCE_ATTRS);
        CHECK_EQ(all + dropped, own + count);
        CHECK_EQ(dropped > 0, own + count > SL_MAX_RESOURCE_ATTRS);
        sl_buf_done(&out);
    }
    unload(&l);
}

/* As many as fit in OTEL_RESOURCE_ATTRIBUTES; of one more all are discarded, and the reason is told. */
SL_TEST(attributes_in_the_environment)
{
    static char text[SL_MAX_RESOURCE_ATTRS * 16];
    size_t taken = 0;
    for (size_t count = SL_MAX_RESOURCE_ATTRS - 20; count <= SL_MAX_RESOURCE_ATTRS; count++) {
        size_t at = (size_t)sprintf(text, "OTEL_RESOURCE_ATTRIBUTES=");
        for (size_t i = 0; i < count; i++)
            at += (size_t)sprintf(text + at, "%sk%zu=v", i ? "," : "", i);
        const char *vars[] = {text, NULL};
        loaded l;
        sl_buf out;
        uint32_t dropped;
        load(&l, vars, NULL, false);
        sl_buf_init(&out, 1u << 20);
        unsigned before = l.f.errors;
        CHECK_EQ(sl_resource_encode(&l.env, &(sl_resource_options){.service_name = "s"}, &out), 0);
        size_t all = attrs_of(sl_buf_str(&out), SL_STR("service.name"), &dropped);
        bool refused = l.f.errors > before;
        CHECK(all <= SL_MAX_RESOURCE_ATTRS && dropped == 0);
        CHECK(refused ? all < 20 && strstr(l.f.last, "too many") : all >= count);
        CHECK(!refused || count > SL_MAX_RESOURCE_ATTRS - 20);
        taken += !refused;
        sl_buf_done(&out);
        unload(&l);
    }
    CHECK(taken >= 5 && taken < 20);
}

/* ---- others ---- */

static int refuse_all(void *user, sl_signal signal, sl_str request, size_t items, uint64_t timeout_ms,
                      uint64_t *ret_retry_after_ms, uint64_t *ret_rejected)
{
    (void)user, (void)signal, (void)request, (void)items, (void)timeout_ms, (void)ret_retry_after_ms;
    (void)ret_rejected;
    return SL_EREFUSED;
}

static void count_free(void *user)
{
    ++*(size_t *)user;
}

/* Exporters that are too many are all given back, as are those of a pipeline that ends. */
SL_TEST(exporters_of_a_pipeline)
{
    for (size_t count = 31; count <= 33; count++) {
        sl_exporter exporters[33];
        sl_pipeline_options options;
        sl_pipeline *pipeline = NULL;
        size_t freed = 0;
        memset(&options, 0, sizeof options);
        memset(exporters, 0, sizeof exporters);
        for (size_t i = 0; i < count; i++)
            exporters[i] = (sl_exporter){
                .name = "x", .user = &freed, .signals = SL_SIGNALS_ALL, .deliver = refuse_all, .free = count_free};
        options.exporters = exporters;
        options.exporter_count = count;
        CHECK_EQ(sl_pipeline_new(&options, &pipeline), count > 32 ? SL_EINVAL : 0);
        if (pipeline)
            CHECK_EQ(sl_pipeline_sink_count(pipeline), count);
        sl_pipeline_free(pipeline);
        CHECK_EQ(freed, count);
    }
}

SL_TEST(processes_that_are_watched)
{
    metrics_rig rig;
    pid_t pids[SL_MAX_METRIC_PIDS + 1];
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_process_metrics *metrics = sl_process_metrics_new(rig.meter);
    REQUIRE(metrics != NULL);
    for (size_t i = 0; i <= SL_MAX_METRIC_PIDS; i++)
        pids[i] = getpid(); /* each once, however often it is named */
    CHECK_EQ(sl_process_metrics_set_pids(metrics, pids, SL_MAX_METRIC_PIDS + 1), SL_ELIMIT);
    CHECK_EQ(sl_process_metrics_set_pids(metrics, pids, SL_MAX_METRIC_PIDS), 0);
    double threads = rig_value(&rig, "process_threads");
    CHECK_EQ(sl_process_metrics_set_pids(metrics, pids, 1), 0);
    CHECK(threads >= 1 && rig_value(&rig, "process_threads") == threads);
    CHECK_EQ(sl_process_metrics_set_pids(metrics, NULL, 0), 0);
    CHECK(rig_value(&rig, "process_threads") == 0);
    sl_process_metrics_free(metrics);
    rig_done(&rig);
}

/* One sample more than a merge keeps: an error; what is there can be written. */
SL_TEST(samples_of_python_processes)
{
    sl_python_merge *merge = sl_python_merge_new();
    sl_buf file;
    sl_buf_init(&file, SL_MAX_PYTHON_FILE_BYTES);
    REQUIRE(merge != NULL);
    int error = 0;
    size_t taken = 0, each = 20000;
    for (size_t from = 0; !error && from <= SL_MAX_PYTHON_SAMPLES; from += each) {
        sl_buf_clear(&file);
        (void)sl_buf_put(&file, "\0\0\0\0\0\0\0\0", 8);
        for (size_t i = from; i < from + each; i++) {
            char key[64];
            int32_t len = (int32_t)snprintf(key, sizeof key, "[\"a\",\"a_total\",{\"k\":\"%zu\"},\"\"]", i);
            (void)sl_buf_put(&file, &len, sizeof len);
            (void)sl_buf_put(&file, key, (size_t)len);
            (void)sl_buf_put(&file, "        ", (size_t)(8 - (len + 4) % 8));
            (void)sl_buf_put(&file, "\0\0\0\0\0\0\xF0\x3F\0\0\0\0\0\0\0\0", 16); /* 1.0, at 0.0 */
        }
        int32_t used = (int32_t)file.len;
        memcpy(file.data, &used, sizeof used);
        error = sl_python_merge_add(merge, SL_STR("counter_1.db"), sl_buf_str(&file));
        taken += error ? 0 : each;
    }
    CHECK_EQ(error, SL_ELIMIT);
    CHECK_EQ(taken, SL_MAX_PYTHON_SAMPLES);
    sl_buf_done(&file);
    sl_buf_init(&file, 64u << 20);
    CHECK_EQ(sl_python_merge_write(merge, SL_PROMETHEUS_TEXT, &file), 0);
    CHECK(sl_str_find(sl_buf_str(&file), SL_STR("a_total{k=\"199999\"} 1\n")) != SL_NPOS);
    CHECK(sl_str_find(sl_buf_str(&file), SL_STR("a_total{k=\"200000\"}")) == SL_NPOS);
    sl_buf_done(&file);
    sl_python_merge_free(merge);
}
