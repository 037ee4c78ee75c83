/* The collector: OTLP output, deltas, order, segments that come and go, damaged segments. */
#include <math.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/rng.h"
#include "src/telemetry/registry.h"
#include "src/telemetry/segment_layout.h"
#include "src/telemetry/test_metrics_fixture.h"
#include "src/wire/pb.h"

/* ---- A reader of the requests ---- */

typedef struct point_seen {
    char metric[64];
    char scope[32];
    uint32_t data_field; /* 5 gauge, 7 sum, 9 histogram */
    uint64_t start, time, temporality, monotonic;
    int64_t as_int;
    double as_double, sum, min, max;
    bool has_extremes;
    uint64_t count;
    uint64_t buckets[32];
    size_t bucket_count, bound_count, exemplar_count, attr_count;
    char attr_key[32];
    sl_str exemplar;
} point_seen;

typedef struct request_seen {
    point_seen points[64];
    size_t count;
    size_t scope_count;
    sl_str resource, schema_url;
} request_seen;

static sl_str field_of(sl_str message, uint32_t number)
{
    sl_pb_reader r = sl_pb_reader_of(message);
    sl_pb_field f;
    sl_str found = {NULL, 0};
    while (sl_pb_next(&r, &f)) {
        if (sl_pb_is(&f, number, SL_PB_LEN))
            found = f.bytes;
    }
    CHECK_EQ(r.error, 0);
    return found;
}

static uint64_t word_of(sl_str message, uint32_t number)
{
    sl_pb_reader r = sl_pb_reader_of(message);
    sl_pb_field f;
    uint64_t found = 0;
    while (sl_pb_next(&r, &f)) {
        if (f.number == number && f.wire != SL_PB_LEN)
            found = f.value;
    }
    return found;
}

static bool has_word(sl_str message, uint32_t number)
{
    sl_pb_reader r = sl_pb_reader_of(message);
    sl_pb_field f;
    bool found = false;
    while (sl_pb_next(&r, &f))
        found |= f.number == number && f.wire == SL_PB_FIXED64;
    return found;
}

static void read_point(point_seen *p, sl_str message, bool histogram)
{
    sl_pb_reader r = sl_pb_reader_of(message);
    sl_pb_field f;
    p->start = word_of(message, 2);
    p->time = word_of(message, 3);
    p->count = histogram ? word_of(message, 4) : 0;
    p->as_double = histogram ? 0 : sl_pb_bits_double(word_of(message, 4));
    p->as_int = histogram ? 0 : (int64_t)word_of(message, 6);
    p->sum = histogram ? sl_pb_bits_double(word_of(message, 5)) : 0;
    p->has_extremes = histogram && has_word(message, 11) && has_word(message, 12);
    CHECK_EQ(p->has_extremes, histogram && (has_word(message, 11) || has_word(message, 12)));
    p->min = sl_pb_bits_double(word_of(message, 11));
    p->max = sl_pb_bits_double(word_of(message, 12));
    while (sl_pb_next(&r, &f)) {
        if (sl_pb_is(&f, histogram ? 9 : 7, SL_PB_LEN) && (histogram || f.wire == SL_PB_LEN)) {
            (void)sl_str_to_c(field_of(f.bytes, 1), p->attr_key, sizeof p->attr_key);
            p->attr_count++;
        } else if (histogram && sl_pb_is(&f, 6, SL_PB_LEN)) {
            p->bucket_count = f.bytes.len / 8;
            memcpy(p->buckets, f.bytes.ptr, f.bytes.len < sizeof p->buckets ? f.bytes.len : sizeof p->buckets);
        } else if (histogram && sl_pb_is(&f, 7, SL_PB_LEN)) {
            p->bound_count = f.bytes.len / 8;
        } else if (histogram && sl_pb_is(&f, 8, SL_PB_LEN)) {
            p->exemplar = f.bytes;
            p->exemplar_count++;
        }
    }
}

static void read_metric(request_seen *seen, sl_str message, sl_str scope)
{
    static const uint32_t kinds[] = {5, 7, 9};
    for (size_t k = 0; k < 3; k++) {
        sl_str data = field_of(message, kinds[k]);
        sl_pb_reader r = sl_pb_reader_of(data);
        sl_pb_field f;
        while (data.len && sl_pb_next(&r, &f)) {
            if (!sl_pb_is(&f, 1, SL_PB_LEN) || seen->count == 64)
                continue;
            point_seen *p = &seen->points[seen->count++];
            (void)sl_str_to_c(field_of(message, 1), p->metric, sizeof p->metric);
            (void)sl_str_to_c(field_of(scope, 1), p->scope, sizeof p->scope);
            p->data_field = kinds[k];
            p->temporality = word_of(data, 2);
            p->monotonic = word_of(data, 3);
            read_point(p, f.bytes, kinds[k] == 9);
        }
    }
}

/* Collects and takes the request apart. */
static void collect(metrics_rig *rig, bool delta, request_seen *seen)
{
    memset(seen, 0, sizeof *seen);
    size_t points = 0;
    sl_buf_clear(&rig->text);
    CHECK_EQ(
        sl_collector_otlp(rig->sdk.collector, SL_STR("\x0A\x00"), SL_STR("http://schema"), delta, &rig->text, &points),
        0);
    sl_str metrics = rig->text.len ? field_of(sl_buf_str(&rig->text), 1) : sl_str_of(NULL, 0);
    seen->resource = field_of(metrics, 1);
    seen->schema_url = field_of(metrics, 3);
    sl_pb_reader r = sl_pb_reader_of(metrics);
    sl_pb_field f, m;
    while (sl_pb_next(&r, &f)) {
        if (!sl_pb_is(&f, 2, SL_PB_LEN))
            continue;
        seen->scope_count++;
        sl_pb_reader inner = sl_pb_reader_of(f.bytes);
        while (sl_pb_next(&inner, &m)) {
            if (sl_pb_is(&m, 2, SL_PB_LEN))
                read_metric(seen, m.bytes, field_of(f.bytes, 1));
        }
        CHECK_EQ(inner.error, 0);
    }
    CHECK_EQ(r.error, 0);
    CHECK_EQ(seen->count, points);
}

static const point_seen *point_named(const request_seen *seen, const char *name)
{
    for (size_t i = 0; i < seen->count; i++) {
        if (strcmp(seen->points[i].metric, name) == 0)
            return &seen->points[i];
    }
    static const point_seen none;
    return &none;
}

/* ---- OTLP ---- */

SL_TEST(every_kind_as_otlp)
{
    metrics_rig rig;
    static request_seen seen;
    REQUIRE(rig_init(&rig, NULL, 0));
    const sl_attr attr = sl_attr_str("key", "v");
    sl_instrument_options d = {.kind = SL_GAUGE, .name = "gd", .is_double = true};
    sl_counter_add(sl_instrument_bind(rig_declare(&rig, SL_COUNTER, "c", "By"), &attr, 1), 5);
    sl_updown_add(sl_instrument_bind(rig_declare(&rig, SL_UPDOWN_COUNTER, "u", ""), &attr, 1), -5);
    sl_gauge_set(sl_instrument_bind(rig_declare(&rig, SL_GAUGE, "g", ""), &attr, 1), -7);
    sl_gauge_set_double(sl_instrument_bind(sl_instrument_new(rig.meter, &d), &attr, 1), 1.25);
    sl_series *h = sl_instrument_bind(rig_declare(&rig, SL_HISTOGRAM, "h", "s"), &attr, 1);
    sl_span_context context = {.flags = SL_TRACE_FLAG_SAMPLED};
    memset(context.trace_id, 3, sizeof context.trace_id);
    memset(context.span_id, 4, sizeof context.span_id);
    sl_histogram_record_in(h, 5, &context);
    sl_histogram_record(h, 6);
    collect(&rig, false, &seen);
    CHECK_EQ(seen.count, 5);
    CHECK_EQ(seen.scope_count, 1);
    CHECK_STR(seen.schema_url, "http://schema");
    const point_seen *p = point_named(&seen, "c");
    CHECK(p->data_field == 7 && p->as_int == 5 && p->temporality == 2 && p->monotonic == 1);
    CHECK(p->start > 0 && p->time >= p->start);
    CHECK_EQ(p->attr_count, 1);
    CHECK_STR(sl_str_c(p->attr_key), "key");
    CHECK_STR(sl_str_c(p->scope), "test");
    p = point_named(&seen, "u");
    CHECK(p->data_field == 7 && p->as_int == -5 && p->temporality == 2 && p->monotonic == 0);
    p = point_named(&seen, "g");
    CHECK(p->data_field == 5 && p->as_int == -7 && p->temporality == 0);
    CHECK(point_named(&seen, "gd")->as_double == 1.25);
    p = point_named(&seen, "h");
    CHECK(p->data_field == 9 && p->count == 2 && p->sum == 11 && p->temporality == 2);
    CHECK(p->bucket_count == 16 && p->bound_count == 15 && p->buckets[1] == 1 && p->buckets[2] == 1);
    CHECK(p->attr_count == 1 && p->exemplar_count == 1);
    CHECK(field_of(p->exemplar, 5).len == 16 && field_of(p->exemplar, 4).len == 8);
    CHECK(sl_pb_bits_double(word_of(p->exemplar, 3)) == 5);
    rig_done(&rig);
}

SL_TEST(deltas)
{
    metrics_rig rig;
    static request_seen seen;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_series *c = sl_instrument_bind(rig_declare(&rig, SL_COUNTER, "c", ""), NULL, 0);
    sl_series *u = sl_instrument_bind(rig_declare(&rig, SL_UPDOWN_COUNTER, "u", ""), NULL, 0);
    sl_series *h = sl_instrument_bind(rig_declare(&rig, SL_HISTOGRAM, "h", ""), NULL, 0);
    uint64_t last = 0;
    for (uint64_t round = 1; round <= 4; round++) {
        sl_counter_add(c, round);
        sl_updown_add(u, 10);
        sl_histogram_record(h, (double)round);
        collect(&rig, true, &seen);
        const point_seen *p = point_named(&seen, "c");
        CHECK(p->as_int == (int64_t)round && p->temporality == 1);
        CHECK(round == 1 || p->start == last);
        last = p->time;
        p = point_named(&seen, "u");
        CHECK(p->as_int == 10 * (int64_t)round && p->temporality == 2);
        p = point_named(&seen, "h");
        CHECK(p->count == 1 && p->sum == (double)round && p->temporality == 1 && p->buckets[1] == 1);
    }
    collect(&rig, true, &seen);
    CHECK_EQ(seen.count, 1); /* nothing new but the up-down counter, which is never a delta */
    rig_done(&rig);
}

SL_TEST(deltas_add_up_over_a_segment_that_goes)
{
    metrics_rig rig, other;
    static request_seen seen;
    REQUIRE(rig_init(&rig, NULL, 0) && rig_init(&other, NULL, 0));
    REQUIRE(sl_collector_add_segment(rig.sdk.collector, other.segment) == 0);
    CHECK_EQ(sl_collector_add_segment(rig.sdk.collector, other.segment), 0); /* once is enough */
    sl_series *h = sl_instrument_bind(rig_declare(&other, SL_HISTOGRAM, "h", ""), NULL, 0);
    sl_histogram_record(h, 1);
    collect(&rig, true, &seen);
    CHECK(point_named(&seen, "h")->count == 1);
    sl_histogram_record(h, 2);
    sl_histogram_record(h, 3);
    sl_collector_remove_segment(rig.sdk.collector, other.segment);
    rig_done(&other);
    collect(&rig, true, &seen);
    CHECK(point_named(&seen, "h")->count == 2 && point_named(&seen, "h")->sum == 5);
    collect(&rig, true, &seen);
    CHECK_EQ(seen.count, 0);
    collect(&rig, false, &seen);
    CHECK(point_named(&seen, "h")->count == 3 && point_named(&seen, "h")->sum == 6);
    rig_done(&rig);
}

/* A collection that fails takes nothing out of the deltas: the next one has it all. */
SL_TEST(a_failed_collection_loses_no_delta)
{
    metrics_rig rig;
    static request_seen seen;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_series *c = sl_instrument_bind(rig_declare(&rig, SL_COUNTER, "c", ""), NULL, 0);
    sl_series *h = sl_instrument_bind(rig_declare(&rig, SL_HISTOGRAM, "h", ""), NULL, 0);
    uint64_t last = 0;
    for (uint64_t round = 1; round <= 3; round++) {
        sl_counter_add(c, round);
        sl_histogram_record(h, (double)round);
        for (size_t max = 1; max < 200; max += 7) {
            size_t points = 0;
            sl_buf out;
            sl_buf_init(&out, max);
            CHECK_EQ(sl_collector_otlp(rig.sdk.collector, SL_STR("\x0A\x00"), SL_STR(""), true, &out, &points),
                     SL_ELIMIT);
            sl_buf_done(&out);
        }
        collect(&rig, true, &seen);
        const point_seen *p = point_named(&seen, "c");
        CHECK(p->as_int == (int64_t)round && (round == 1 || p->start == last));
        last = p->time;
        p = point_named(&seen, "h");
        CHECK(p->count == 1 && p->sum == (double)round);
    }
    rig_done(&rig);
}

/* Exemplars of an interval go out with its delta; the next interval does not repeat them. */
SL_TEST(deltas_have_exemplars)
{
    metrics_rig rig;
    static request_seen seen;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_series *h = sl_instrument_bind(rig_declare(&rig, SL_HISTOGRAM, "h", ""), NULL, 0);
    sl_span_context context = {.flags = SL_TRACE_FLAG_SAMPLED};
    memset(context.trace_id, 3, sizeof context.trace_id);
    memset(context.span_id, 4, sizeof context.span_id);
    for (int round = 0; round < 3; round++) {
        usleep(20000); /* a tick of the coarse clock */
        sl_histogram_record_in(h, 1, &context);
        collect(&rig, true, &seen);
        CHECK_EQ(point_named(&seen, "h")->exemplar_count, 1);
        sl_histogram_record(h, 1);
        collect(&rig, true, &seen);
        CHECK(point_named(&seen, "h")->count == 1 && point_named(&seen, "h")->exemplar_count == 0);
    }
    rig_done(&rig);
}

/* ---- Extremes ---- */

SL_TEST(smallest_and_largest_of_a_histogram)
{
    const double nan_value = strtod("nan", NULL);
    const struct {
        double values[4];
        size_t count;
        double min, max;
    } rows[] = {
        {{3}, 1, 3, 3},
        {{0}, 1, 0, 0},
        {{-0.0}, 1, 0, 0},
        {{5, -5, 2}, 3, -5, 5},
        {{1, 2, 3, 4}, 4, 1, 4},
        {{4, 3, 2, 1}, 4, 1, 4},
        {{-1e308, 1e308}, 2, -1e308, 1e308},
        {{5e-324, 1e-300}, 2, 5e-324, 1e-300},
        {{INFINITY, 1}, 2, 1, INFINITY},
        {{-INFINITY, 1}, 2, -INFINITY, 1},
        {{7, nan_value, 8}, 3, 7, 8},
        {{nan_value}, 1, nan_value, nan_value},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        metrics_rig rig;
        static request_seen seen;
        REQUIRE(rig_init(&rig, NULL, 0));
        sl_series *h = sl_instrument_bind(rig_declare(&rig, SL_HISTOGRAM, "h", ""), NULL, 0);
        collect(&rig, false, &seen);
        CHECK(!point_named(&seen, "h")->has_extremes); /* count is 0 */
        for (size_t v = 0; v < rows[i].count; v++)
            sl_histogram_record(h, rows[i].values[v]);
        collect(&rig, false, &seen);
        const point_seen *p = point_named(&seen, "h");
        CHECK_EQ(p->has_extremes, !isnan(rows[i].min));
        if (p->has_extremes && !(p->min == rows[i].min && p->max == rows[i].max))
            sl_test_failed(__FILE__, __LINE__, "row %zu: %g to %g", i, p->min, p->max);
        collect(&rig, true, &seen);
        CHECK(!point_named(&seen, "h")->has_extremes); /* of an interval they are not known */
        rig_done(&rig);
    }
}

static void *record_range(void *user)
{
    sl_series *const *job = user;
    static _Atomic int number;
    int mine = atomic_fetch_add(&number, 1) % 8;
    for (int i = 0; i < 20000; i++)
        sl_histogram_record(*job, mine * 1000 + i % 1000 + 1);
    return NULL;
}

/* With blocks of their own, and with fewer blocks than threads. */
SL_TEST(extremes_over_threads)
{
    for (uint32_t blocks = 1; blocks <= 8; blocks += 7) {
        sl_segment *segment;
        const sl_segment_options o = {
            .size_bytes = 32u << 20, .threads = blocks, .cells = 4096, .span_ring_bytes = 4096, .log_ring_bytes = 4096};
        metrics_rig rig;
        static request_seen seen;
        REQUIRE(sl_segment_new(&o, &segment) == 0 && rig_init(&rig, segment, 0));
        sl_series *h = sl_instrument_bind(rig_declare(&rig, SL_HISTOGRAM, "h", ""), NULL, 0);
        pthread_t ids[8];
        for (int i = 0; i < 8; i++)
            REQUIRE(pthread_create(&ids[i], NULL, record_range, &h) == 0);
        for (int i = 0; i < 8; i++)
            pthread_join(ids[i], NULL);
        collect(&rig, false, &seen);
        const point_seen *p = point_named(&seen, "h");
        CHECK(p->count == 160000 && p->min == 1 && p->max == 8000);
        rig_done(&rig);
    }
}

/* Processes that record into segments of their own; then the segments go, the extremes stay. */
SL_TEST(extremes_over_processes)
{
    enum { PROCESSES = 3 };
    static const double values[PROCESSES][2] = {{5, 6}, {-2, 4}, {1, 90}};
    metrics_rig rig;
    static request_seen seen;
    sl_segment *segments[PROCESSES];
    REQUIRE(rig_init(&rig, NULL, 0));
    const sl_segment_options o = {
        .size_bytes = 16u << 20, .threads = 2, .cells = 4096, .span_ring_bytes = 4096, .log_ring_bytes = 4096};
    for (int i = 0; i < PROCESSES; i++) {
        int fd = memfd_create("extremes", MFD_CLOEXEC), status = 0;
        REQUIRE(fd >= 0 && sl_segment_new_shared(&o, fd, &segments[i]) == 0);
        close(fd);
        pid_t pid = fork();
        if (pid == 0) {
            metrics_rig child;
            sl_segment_adopt(segments[i], -1);
            if (!rig_init(&child, segments[i], 0))
                _exit(1);
            sl_series *h = sl_instrument_bind(rig_declare(&child, SL_HISTOGRAM, "h", ""), NULL, 0);
            sl_histogram_record(h, values[i][0]);
            sl_histogram_record(h, values[i][1]);
            raise(SIGKILL);
        }
        CHECK(waitpid(pid, &status, 0) == pid && WIFSIGNALED(status));
        REQUIRE(sl_collector_add_segment(rig.sdk.collector, segments[i]) == 0);
    }
    for (int gone = 0; gone <= PROCESSES; gone++) {
        collect(&rig, false, &seen);
        const point_seen *p = point_named(&seen, "h");
        CHECK(p->has_extremes && p->count == 6 && p->min == -2 && p->max == 90);
        if (gone == PROCESSES)
            break;
        sl_collector_remove_segment(rig.sdk.collector, segments[gone]);
        sl_segment_free(segments[gone]);
    }
    rig_done(&rig);
}

/* llama.cpp's users complain about colons: no receiver of OTLP has to take one. In Prometheus text it is what it is. */
SL_TEST(names_with_a_colon_are_for_prometheus_alone)
{
    metrics_rig rig;
    static request_seen seen;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_counter_add(sl_instrument_bind(rig_declare(&rig, SL_COUNTER, "llamacpp:x_total", ""), NULL, 0), 5);
    collect(&rig, false, &seen);
    CHECK_EQ(seen.count, 0);
    sl_counter_add(sl_instrument_bind(rig_declare(&rig, SL_COUNTER, "llamacpp_x_total", ""), NULL, 0), 6);
    sl_histogram_record(sl_instrument_bind(rig_declare(&rig, SL_HISTOGRAM, "llamacpp:h_seconds", "s"), NULL, 0), 1);
    collect(&rig, false, &seen);
    CHECK_EQ(seen.count, 1);
    CHECK_EQ(point_named(&seen, "llamacpp_x_total")->as_int, 6);
    collect(&rig, true, &seen);
    CHECK_EQ(seen.count, 1);
    CHECK(rig_value(&rig, "llamacpp:x_total") == 5);
    CHECK(rig_value(&rig, "llamacpp:h_seconds_count") == 1);
    rig_done(&rig);
}

SL_TEST(nothing_recorded_is_nothing_sent)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    size_t points = 99;
    sl_buf out;
    sl_buf_init(&out, 1000);
    CHECK_EQ(sl_buf_put_c(&out, "before"), 0);
    CHECK_EQ(sl_collector_otlp(rig.sdk.collector, SL_STR("\x0A\x00"), SL_STR(""), false, &out, &points), 0);
    CHECK_EQ(points, 0);
    CHECK_STR(sl_buf_str(&out), "before");
    sl_buf_done(&out);
    rig_done(&rig);
}

SL_TEST(scopes_are_groups_and_the_order_is_stable)
{
    metrics_rig rig;
    static request_seen seen;
    REQUIRE(rig_init(&rig, NULL, 0));
    static const char *const scopes[] = {"sb", "sa", "sc"};
    for (int s = 0; s < 3; s++) {
        sl_meter *meter = sl_meter_named(&rig.sdk, scopes[s]);
        for (int n = 3; n-- > 0;) {
            char name[] = {'m', (char)('0' + n), '\0'};
            sl_instrument_options o = {.kind = SL_COUNTER, .name = name};
            sl_counter_add(sl_instrument_bind(sl_instrument_new(meter, &o), NULL, 0), 1);
        }
    }
    collect(&rig, false, &seen);
    CHECK_EQ(seen.scope_count, 3);
    CHECK_EQ(seen.count, 9);
    for (size_t i = 0; i < 9 && i < seen.count; i++) {
        char scope[] = {'s', (char)('a' + i / 3), '\0'}, name[] = {'m', (char)('0' + i % 3), '\0'};
        CHECK_STR(sl_str_c(seen.points[i].scope), scope);
        CHECK_STR(sl_str_c(seen.points[i].metric), name);
    }
    rig_done(&rig);
}

SL_TEST(a_small_buffer_is_an_error_and_leaves_the_contents)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_histogram_record(sl_instrument_bind(rig_declare(&rig, SL_HISTOGRAM, "h", ""), NULL, 0), 1);
    size_t points = 0;
    int error = SL_ELIMIT;
    for (size_t max = 1; error && max < 10000; max += 7) {
        sl_buf out;
        sl_buf_init(&out, max);
        error = sl_collector_otlp(rig.sdk.collector, SL_STR("\x0A\x00"), SL_STR(""), false, &out, &points);
        CHECK(error == 0 || (error == SL_ELIMIT && points == 0 && out.len == 0));
        sl_buf_done(&out);
    }
    CHECK_EQ(error, 0);
    rig_done(&rig);
}

/* ---- Damage ---- */

/* Fills a segment with something of everything. */
static void fill(metrics_rig *rig)
{
    for (int kind = SL_COUNTER; kind <= SL_HISTOGRAM; kind++) {
        char name[] = {'m', (char)('0' + kind), '\0'};
        sl_instrument *i = rig_declare(rig, (sl_instrument_kind)kind, name, "s");
        for (int n = 0; n < 5; n++) {
            const sl_attr attr = {SL_STR("n"), sl_value_int(n)};
            sl_instrument_record(i, n, &attr, 1);
        }
    }
}

SL_TEST(damaged_records_never_lead_out_of_the_segment)
{
    sl_rng rng;
    sl_rng_init_seed(&rng, 7);
    for (int round = 0; round < 400; round++) {
        metrics_rig writer, reader;
        sl_segment_options small = {
            .size_bytes = 16u << 20, .threads = 1, .cells = 4096, .span_ring_bytes = 4096, .log_ring_bytes = 4096};
        sl_segment *segment;
        REQUIRE(sl_segment_new(&small, &segment) == 0);
        REQUIRE(rig_init(&writer, segment, 0) && rig_init(&reader, NULL, 0));
        fill(&writer);
        uint64_t start = 4096, end = atomic_load(&segment->header->meta_used);
        for (int hits = 0; hits < 1 + round % 40; hits++) {
            uint64_t at = start + sl_rng_next(&rng) % (end - start);
            unsigned char *byte = segment->base + at;
            *byte = round % 3 ? (unsigned char)sl_rng_next(&rng) : 0xFF;
        }
        if (round % 5 == 0) /* a list that points to itself, or anywhere */
            atomic_store(&segment->header->lists[round % 3], start + sl_rng_next(&rng) % (end - start) / 8 * 8);
        REQUIRE(sl_collector_add_segment(reader.sdk.collector, segment) == 0);
        (void)rig_text(&reader, SL_PROMETHEUS_OPENMETRICS);
        size_t points;
        sl_buf_clear(&reader.text);
        CHECK_EQ(
            sl_collector_otlp(reader.sdk.collector, SL_STR("\x0A\x00"), SL_STR(""), round % 2, &reader.text, &points),
            0);
        sl_collector_clear_inflight(reader.sdk.collector, segment);
        sl_collector_remove_segment(reader.sdk.collector, segment);
        rig_done(&reader);
        rig_done(&writer);
    }
}

SL_TEST(a_process_that_takes_over_a_damaged_segment_goes_on)
{
    sl_rng rng;
    sl_rng_init_seed(&rng, 11);
    for (int round = 0; round < 200; round++) {
        metrics_rig first, second;
        REQUIRE(rig_init(&first, NULL, 0));
        fill(&first);
        uint64_t start = 4096, end = atomic_load(&first.segment->header->meta_used);
        for (int hits = 0; hits < 1 + round % 20; hits++)
            first.segment->base[start + sl_rng_next(&rng) % (end - start)] = (unsigned char)sl_rng_next(&rng);
        sl_segment *segment = first.segment;
        memset(&second, 0, sizeof second);
        if (rig_init(&second, segment, 0)) {
            fill(&second);
            (void)rig_text(&second, SL_PROMETHEUS_TEXT);
        }
        second.segment = NULL;
        rig_done(&second);
        rig_done(&first);
    }
}

SL_TEST(no_more_segments_than_the_limit)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_segment fake[SL_MAX_SEGMENTS];
    sl_collector *collector = sl_collector_new(NULL);
    REQUIRE(collector);
    for (size_t i = 0; i < SL_MAX_SEGMENTS; i++)
        CHECK_EQ(sl_collector_add_segment(collector, &fake[i]), 0);
    CHECK_EQ(sl_collector_add_segment(collector, rig.segment), SL_ELIMIT);
    sl_collector_free(collector);
    sl_collector_free(NULL);
    rig_done(&rig);
}
