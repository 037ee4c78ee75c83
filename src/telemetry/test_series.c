/* Recording: exact sums over threads, processes and killed workers; binding, limits, views. */
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/telemetry/registry.h"
#include "src/telemetry/test_metrics_fixture.h"

static const sl_segment_options worker_segment = {
    .size_bytes = 32u << 20, .threads = 4, .cells = 32u << 10, .span_ring_bytes = 4096, .log_ring_bytes = 4096};

/* ---- Binding ---- */

SL_TEST(the_same_set_gives_the_same_series)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_instrument *i = rig_declare(&rig, SL_COUNTER, "c_total", NULL);
    const sl_attr a[] = {sl_attr_str("x", "1"), sl_attr_int("y", 2)};
    const sl_attr b[] = {sl_attr_int("y", 2), sl_attr_str("x", "1")};
    const sl_attr twice[] = {sl_attr_str("x", "0"), sl_attr_int("y", 2), sl_attr_str("x", "1")};
    const sl_attr bad_key[] = {sl_attr_str("", "0"), sl_attr_int("y", 2), sl_attr_str("x", "1")};
    sl_series *s = sl_instrument_bind(i, a, 2);
    CHECK(s && s == sl_instrument_bind(i, b, 2));
    CHECK(s == sl_instrument_bind(i, twice, 3));
    CHECK(s == sl_instrument_bind(i, bad_key, 3));
    CHECK(s != sl_instrument_bind(i, a, 1));
    CHECK(sl_instrument_bind(NULL, a, 1) == NULL);
    CHECK(sl_instrument_bind(i, NULL, 1) == NULL);
    rig_done(&rig);
}

SL_TEST(declarations_that_agree_share_those_that_contradict_fail)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_instrument *i = rig_declare(&rig, SL_COUNTER, "My.Counter", "s");
    CHECK(i && i == rig_declare(&rig, SL_COUNTER, "my.counter", "s"));
    CHECK(rig_declare(&rig, SL_COUNTER, "my.counter", "ms") == NULL);
    CHECK(rig_declare(&rig, SL_GAUGE, "my.counter", "s") == NULL);
    static const double bounds[] = {1, 2}, others[] = {1, 3};
    sl_instrument_options o = {.kind = SL_HISTOGRAM, .name = "h", .bounds = bounds, .bound_count = 2};
    sl_instrument *h = sl_instrument_new(rig.meter, &o);
    o.bounds = others;
    CHECK(h && sl_instrument_new(rig.meter, &o) == NULL);
    o.bounds = NULL;
    o.bound_count = 0;
    CHECK(sl_instrument_new(rig.meter, &o) == h);
    CHECK_EQ(rig.sdk.logs_emitted, 3);
    rig_done(&rig);
}

SL_TEST(bad_declarations)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    static const char *const names[] = {"", "1a", "_a", "a b", "a\xC3\xA4", "a*"};
    for (size_t n = 0; n < sizeof names / sizeof *names; n++)
        CHECK(rig_declare(&rig, SL_COUNTER, names[n], NULL) == NULL);
    char name[257], unit[65];
    memset(name, 'a', 256);
    memset(unit, 'u', 64);
    name[256] = unit[64] = '\0';
    CHECK(rig_declare(&rig, SL_COUNTER, name, NULL) == NULL);
    CHECK(rig_declare(&rig, SL_COUNTER, name + 1, NULL) != NULL);
    CHECK(rig_declare(&rig, SL_COUNTER, "a", unit) == NULL);
    CHECK(rig_declare(&rig, SL_COUNTER, "a", unit + 1) != NULL);
    CHECK(rig_declare(&rig, (sl_instrument_kind)9, "b", NULL) == NULL);
    static const double down[] = {2, 1};
    sl_instrument_options o = {.kind = SL_HISTOGRAM, .name = "h", .bounds = down, .bound_count = 2};
    CHECK(sl_instrument_new(rig.meter, &o) == NULL);
    CHECK(sl_instrument_new(rig.meter, NULL) == NULL);
    CHECK(sl_instrument_new(NULL, &o) == NULL);
    rig_done(&rig);
}

SL_TEST(the_default_bounds_are_those_of_the_specification)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_series *s = sl_instrument_bind(rig_declare(&rig, SL_HISTOGRAM, "h_x", NULL), NULL, 0);
    static const double bounds[] = {0, 5, 10, 25, 50, 75, 100, 250, 500, 750, 1000, 2500, 5000, 7500, 10000};
    for (size_t i = 0; i < 15; i++) {
        sl_histogram_record(s, bounds[i]); /* inclusive */
        char name[60];
        snprintf(name, sizeof name, "h_x_bucket{le=\"%g\"}", bounds[i]);
        CHECK(rig_value(&rig, name) == (double)(i + 1));
    }
    sl_histogram_record(s, 10000.0001);
    CHECK(rig_value(&rig, "h_x_bucket{le=\"10000\"}") == 15);
    CHECK(rig_value(&rig, "h_x_bucket{le=\"+Inf\"}") == 16);
    rig_done(&rig);
}

SL_TEST(every_value_finds_its_bucket_for_every_number_of_bounds)
{
    for (size_t count = 1; count <= 20; count++) {
        metrics_rig rig;
        REQUIRE(rig_init(&rig, NULL, 0));
        double bounds[20];
        for (size_t i = 0; i < count; i++)
            bounds[i] = (double)i;
        sl_instrument_options o = {.kind = SL_HISTOGRAM, .name = "h_x", .bounds = bounds, .bound_count = count};
        sl_series *s = sl_instrument_bind(sl_instrument_new(rig.meter, &o), NULL, 0);
        for (size_t i = 0; i <= count; i++)
            sl_histogram_record(s, (double)i - 0.5);
        for (size_t i = 0; i < count; i++) {
            char name[60];
            snprintf(name, sizeof name, "h_x_bucket{le=\"%zu\"}", i);
            CHECK(rig_value(&rig, name) == (double)(i + 1));
        }
        CHECK(rig_value(&rig, "h_x_count") == (double)(count + 1));
        rig_done(&rig);
    }
}

SL_TEST(calls_that_do_not_fit_the_kind_do_nothing)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_series *c = sl_instrument_bind(rig_declare(&rig, SL_COUNTER, "c_total", NULL), NULL, 0);
    sl_series *g = sl_instrument_bind(rig_declare(&rig, SL_GAUGE, "g_x", NULL), NULL, 0);
    sl_counter_add(NULL, 1);
    sl_counter_add_double(NULL, 1);
    sl_updown_add(NULL, 1);
    sl_updown_add_double(NULL, 1);
    sl_gauge_set(NULL, 1);
    sl_gauge_set_double(NULL, 1);
    sl_histogram_record(NULL, 1);
    sl_histogram_record_in(NULL, 1, NULL);
    sl_instrument_record(NULL, 1, NULL, 0);
    sl_updown_add(c, 5);
    sl_gauge_set(c, 5);
    sl_histogram_record(c, 5);
    sl_histogram_record_in(c, 5, NULL);
    sl_counter_add(g, 5);
    CHECK(rig_value(&rig, "c_total") == 0);
    CHECK(rig_value(&rig, "g_x") == -1); /* never set: not there */
    sl_counter_add_double(c, 2.9);
    sl_counter_add_double(c, -1);
    sl_counter_add_double(c, strtod("nan", NULL));
    CHECK(rig_value(&rig, "c_total") == 2);
    atomic_store(&rig.sdk.recording, false);
    sl_counter_add(c, 10);
    sl_gauge_set(g, 10);
    CHECK(rig_value(&rig, "c_total") == 2);
    CHECK(rig_value(&rig, "g_x") == -1);
    rig_done(&rig);
}

SL_TEST(unbound_recording_does_what_the_kind_asks)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    static const char *const names[] = {"", "c_total", "u_x", "g_x", "h_x"};
    for (int kind = SL_COUNTER; kind <= SL_HISTOGRAM; kind++) {
        sl_instrument_options o = {.kind = (sl_instrument_kind)kind, .name = names[kind], .is_double = true};
        sl_instrument *i = sl_instrument_new(rig.meter, &o);
        sl_instrument_record(i, 1.5, NULL, 0);
        sl_instrument_record(i, 2.5, NULL, 0);
    }
    CHECK(rig_value(&rig, "c_total") == 4);
    CHECK(rig_value(&rig, "u_x") == 4);
    CHECK(rig_value(&rig, "g_x") == 2.5);
    CHECK(rig_value(&rig, "h_x_sum") == 4);
    rig_done(&rig);
}

/* ---- Threads ---- */

#define THREADS 8
#define ADDS 100000

typedef struct thread_job {
    sl_instrument *counter, *seconds, *updown, *histogram;
} thread_job;

static void *thread_main(void *user)
{
    const thread_job *j = user;
    const sl_attr attr = sl_attr_str("k", "v");
    sl_series *c = sl_instrument_bind(j->counter, &attr, 1), *d = sl_instrument_bind(j->seconds, &attr, 1);
    sl_series *u = sl_instrument_bind(j->updown, &attr, 1), *h = sl_instrument_bind(j->histogram, &attr, 1);
    for (int i = 0; i < ADDS; i++) {
        sl_counter_add(c, 3);
        sl_counter_add_double(d, 0.5);
        sl_updown_add(u, i % 2 ? -1 : 2);
        sl_histogram_record(h, i % 20);
    }
    return NULL;
}

/* `threads` in the segment may be fewer than record: the others share a block. */
static void sum_over_threads(uint32_t threads)
{
    metrics_rig rig;
    sl_segment_options o = worker_segment;
    o.threads = threads;
    o.size_bytes = 64u << 20;
    sl_segment *segment;
    REQUIRE(sl_segment_new(&o, &segment) == 0);
    REQUIRE(rig_init(&rig, segment, 0));
    sl_instrument_options seconds = {.kind = SL_COUNTER, .name = "d_total", .is_double = true};
    thread_job job = {rig_declare(&rig, SL_COUNTER, "c_total", NULL), sl_instrument_new(rig.meter, &seconds),
                      rig_declare(&rig, SL_UPDOWN_COUNTER, "u_x", NULL), rig_declare(&rig, SL_HISTOGRAM, "h_x", NULL)};
    pthread_t ids[THREADS];
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&ids[i], NULL, thread_main, &job) == 0);
    for (int i = 0; i < 20; i++)
        (void)rig_text(&rig, SL_PROMETHEUS_OPENMETRICS); /* reading disturbs nothing */
    for (int i = 0; i < THREADS; i++)
        pthread_join(ids[i], NULL);
    CHECK(rig_value(&rig, "c_total{k=\"v\"}") == 3.0 * THREADS * ADDS);
    CHECK(rig_value(&rig, "d_total{k=\"v\"}") == 0.5 * THREADS * ADDS);
    CHECK(rig_value(&rig, "u_x{k=\"v\"}") == 0.5 * THREADS * ADDS);
    CHECK(rig_value(&rig, "h_x_count{k=\"v\"}") == 1.0 * THREADS * ADDS);
    CHECK(rig_value(&rig, "h_x_sum{k=\"v\"}") == 9.5 * THREADS * ADDS);
    CHECK(rig_value(&rig, "h_x_bucket{k=\"v\",le=\"5\"}") == 0.3 * THREADS * ADDS);
    rig_done(&rig);
}

SL_TEST(eight_threads_sum_exactly)
{
    sum_over_threads(8);
}

SL_TEST(more_threads_than_blocks_sum_exactly)
{
    sum_over_threads(3);
}

/* ---- Processes ---- */

#define WORKERS 4

/* What a worker records; a "committed" one stops after `stop_after` additions, by SIGKILL. */
static void worker_main(sl_segment *segment, int number, int adds, bool die)
{
    metrics_rig rig;
    sl_segment_adopt(segment, -1);
    if (!rig_init(&rig, segment, 0))
        _exit(3);
    const sl_attr mine = {SL_STR("worker"), sl_value_int(number)};
    sl_instrument *c = rig_declare(&rig, SL_COUNTER, "c_total", NULL),
                  *u = rig_declare(&rig, SL_UPDOWN_COUNTER, "u_x", NULL);
    sl_instrument *h = rig_declare(&rig, SL_HISTOGRAM, "h_x", NULL), *g = rig_declare(&rig, SL_GAUGE, "g_x", NULL);
    sl_series *all = sl_instrument_bind(c, NULL, 0), *own = sl_instrument_bind(c, &mine, 1);
    for (int i = 0; i < adds; i++) {
        sl_counter_add(all, 1);
        sl_counter_add(own, 2);
        sl_updown_add(sl_instrument_bind(u, NULL, 0), 1);
        sl_histogram_record(sl_instrument_bind(h, NULL, 0), 7);
        sl_gauge_set(sl_instrument_bind(g, NULL, 0), number);
    }
    if (die)
        raise(SIGKILL);
    sl_updown_add(sl_instrument_bind(u, NULL, 0), -adds);
    _exit(0);
}

static pid_t start_worker(sl_segment *segment, int number, int adds, bool die)
{
    pid_t pid = fork();
    if (pid == 0)
        worker_main(segment, number, adds, die);
    return pid;
}

static sl_segment *shared_segment(void)
{
    int fd = memfd_create("worker", MFD_CLOEXEC);
    sl_segment *segment = NULL;
    if (fd < 0 || sl_segment_new_shared(&worker_segment, fd, &segment))
        segment = NULL;
    if (fd >= 0)
        close(fd);
    return segment;
}

SL_TEST(four_processes_sum_exactly_and_a_killed_one_loses_nothing)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_segment *segments[WORKERS];
    pid_t pids[WORKERS];
    for (int w = 0; w < WORKERS; w++) {
        segments[w] = shared_segment();
        REQUIRE(segments[w] && sl_collector_add_segment(rig.sdk.collector, segments[w]) == 0);
        pids[w] = start_worker(segments[w], w, 1000 * (w + 1), w == 2);
        REQUIRE(pids[w] > 0);
    }
    for (int w = 0; w < WORKERS; w++) {
        int status;
        waitpid(pids[w], &status, 0);
        CHECK_EQ(w == 2 ? WIFSIGNALED(status) : WIFEXITED(status) && WEXITSTATUS(status) == 0, true);
    }
    CHECK(rig_value(&rig, "c_total") == 10000);
    CHECK(rig_value(&rig, "c_total{worker=\"2\"}") == 6000);
    CHECK(rig_value(&rig, "h_x_count") == 10000);
    CHECK(rig_value(&rig, "h_x_sum") == 70000);
    CHECK(rig_value(&rig, "u_x") == 3000); /* what the dead one had in flight */
    sl_collector_clear_inflight(rig.sdk.collector, segments[2]);
    CHECK(rig_value(&rig, "u_x") == 0);
    for (int w = 0; w < WORKERS; w++) {
        sl_collector_remove_segment(rig.sdk.collector, segments[w]);
        sl_segment_free(segments[w]);
        CHECK(rig_value(&rig, "c_total") == 10000);
        CHECK(rig_value(&rig, "h_x_sum") == 70000);
    }
    CHECK(rig_value(&rig, "u_x") == -1);
    CHECK(rig_value(&rig, "g_x") == -1);
    rig_done(&rig);
}

SL_TEST(a_process_that_takes_over_a_segment_goes_on_counting)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_segment *segment = shared_segment();
    REQUIRE(segment && sl_collector_add_segment(rig.sdk.collector, segment) == 0);
    uint64_t newest = 0;
    for (int run = 1; run <= 5; run++) {
        pid_t pid = start_worker(segment, 0, 100, true);
        waitpid(pid, NULL, 0);
        sl_segment_release(segment, pid);
        CHECK(rig_value(&rig, "c_total") == 100 * run);
        CHECK(rig_value(&rig, "c_total{worker=\"0\"}") == 200 * run);
        uint64_t head = sl_segment_head(segment, SL_LIST_SERIES);
        CHECK(run == 1 || head == newest); /* nothing is registered twice */
        newest = head;
    }
    sl_collector_remove_segment(rig.sdk.collector, segment);
    sl_segment_free(segment);
    rig_done(&rig);
}

SL_TEST(the_latest_gauge_of_several_processes_wins)
{
    metrics_rig rig, other;
    REQUIRE(rig_init(&rig, NULL, 0) && rig_init(&other, NULL, 0));
    REQUIRE(sl_collector_add_segment(rig.sdk.collector, other.segment) == 0);
    sl_series *a = sl_instrument_bind(rig_declare(&rig, SL_GAUGE, "g_x", NULL), NULL, 0);
    sl_series *b = sl_instrument_bind(rig_declare(&other, SL_GAUGE, "g_x", NULL), NULL, 0);
    sl_gauge_set(a, 1);
    usleep(1000);
    sl_gauge_set(b, -2);
    CHECK(rig_value(&rig, "g_x") == -2);
    usleep(1000);
    sl_gauge_set(a, 3);
    CHECK(rig_value(&rig, "g_x") == 3);
    sl_collector_remove_segment(rig.sdk.collector, other.segment);
    rig_done(&other);
    rig_done(&rig);
}

/* ---- Cardinality ---- */

static double total_of(metrics_rig *rig, const char *prefix, size_t *ret_series)
{
    sl_str rest = rig_text(rig, SL_PROMETHEUS_TEXT), line;
    double sum = 0;
    *ret_series = 0;
    while (sl_str_split(&rest, '\n', &line)) {
        size_t space = sl_str_find(line, SL_STR("} "));
        if (!sl_str_starts(line, sl_str_c(prefix)) || space == SL_NPOS)
            continue;
        sum += strtod(line.ptr + space + 2, NULL);
        ++*ret_series;
    }
    return sum;
}

SL_TEST(beyond_the_limit_everything_goes_to_the_overflow_series)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 10));
    sl_instrument *i = rig_declare(&rig, SL_COUNTER, "c_total", NULL);
    sl_series *overflow = NULL;
    for (int round = 0; round < 2; round++) {
        for (int n = 0; n < 100; n++) {
            const sl_attr attr = {SL_STR("n"), sl_value_int(n)};
            sl_series *s = sl_instrument_bind(i, &attr, 1);
            if (n == 9 && !overflow)
                overflow = s;
            CHECK_EQ(s == overflow, n >= 9);
            sl_counter_add(s, 1);
        }
    }
    size_t series;
    CHECK(total_of(&rig, "c_total{", &series) == 200);
    CHECK_EQ(series, 10);
    CHECK(rig_value(&rig, "c_total{otel_metric_overflow=\"true\"}") == 182);
    rig_done(&rig);
}

SL_TEST(a_full_segment_overflows_too)
{
    metrics_rig rig;
    sl_segment_options o = worker_segment;
    o.cells = 200;
    sl_segment *segment;
    REQUIRE(sl_segment_new(&o, &segment) == 0);
    REQUIRE(rig_init(&rig, segment, 0));
    sl_instrument *i = rig_declare(&rig, SL_HISTOGRAM, "h_x", NULL);
    for (int n = 0; n < 500; n++) {
        const sl_attr attr = {SL_STR("n"), sl_value_int(n)};
        sl_histogram_record(sl_instrument_bind(i, &attr, 1), 2);
    }
    size_t series;
    CHECK(total_of(&rig, "h_x_count{", &series) == 500);
    CHECK(series > 2 && series < 20);
    for (int n = 0; n < 20; n++) {
        char name[20];
        snprintf(name, sizeof name, "full_%d", n);
        sl_instrument_record(rig_declare(&rig, SL_HISTOGRAM, name, NULL), 1, NULL, 0); /* some are NULL */
    }
    rig_done(&rig);
}

/* ---- Views ---- */

SL_TEST(views_give_more_streams)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    static const double bounds[] = {0.1, 1};
    static const sl_view_attr renames[] = {{"http.request.method", "method"}, {"http.route", "endpoint"}};
    const sl_view view = {.instrument = "http.server.request.duration",
                          .name = "llamastack_request_duration_seconds",
                          .bounds = bounds,
                          .bound_count = 2,
                          .attrs = renames,
                          .attr_count = 2,
                          .keep_only = true};
    CHECK_EQ(sl_view_add(&rig.sdk, &view), 0);
    sl_instrument *i = rig_declare(&rig, SL_HISTOGRAM, "http.server.request.duration", "s");
    const sl_attr a[] = {sl_attr_str("http.request.method", "GET"), sl_attr_str("http.route", "/v1"),
                         sl_attr_int("status", 200)};
    const sl_attr b[] = {sl_attr_str("http.request.method", "GET"), sl_attr_str("http.route", "/v1"),
                         sl_attr_int("status", 500)};
    sl_series *s = sl_instrument_bind(i, a, 3), *t = sl_instrument_bind(i, b, 3);
    CHECK(s != t && s == sl_instrument_bind(i, a, 3) && t == sl_instrument_bind(i, b, 3));
    sl_histogram_record(s, 0.5);
    sl_histogram_record_in(t, 2, NULL);
    CHECK(rig_value(&rig, "llamastack_request_duration_seconds_count{endpoint=\"/v1\",method=\"GET\"}") == 2);
    CHECK(rig_value(&rig, "llamastack_request_duration_seconds_bucket{endpoint=\"/v1\",method=\"GET\",le=\"1\"}") == 1);
    CHECK(rig_value(&rig, "http_server_request_duration_seconds_count{http_request_method=\"GET\",http_route=\"/v1\","
                          "status=\"500\",otel_scope_name=\"test\"}") == 1);
    rig_done(&rig);
}

SL_TEST(every_kind_records_into_several_streams)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    static const char *const names[][2] = {{"a.c", "b_total"},    {"a.u", "b_u"},   {"a.g", "b_g"},  {"a.h", "b_h"},
                                           {"a.cd", "b_d_total"}, {"a.ud", "b_ud"}, {"a.gd", "b_gd"}};
    sl_series *s[7];
    for (int n = 0; n < 7; n++) {
        const sl_view view = {.instrument = names[n][0], .name = names[n][1]};
        CHECK_EQ(sl_view_add(&rig.sdk, &view), 0);
        sl_instrument_options o = {
            .kind = (sl_instrument_kind)(n < 4 ? n + 1 : n - 3), .name = names[n][0], .is_double = n >= 4};
        s[n] = sl_instrument_bind(sl_instrument_new(rig.meter, &o), NULL, 0);
    }
    sl_counter_add(s[0], 1);
    sl_updown_add(s[1], 2);
    sl_gauge_set(s[2], 3);
    sl_histogram_record(s[3], 4);
    sl_counter_add_double(s[4], 5);
    sl_counter_add(s[4], 5);
    sl_updown_add_double(s[5], 6);
    sl_updown_add(s[5], 6);
    sl_gauge_set_double(s[6], 7);
    static const struct {
        const char *own, *view;
        double want;
    } want[] = {{"a_c_total", "b_total", 1},     {"a_u", "b_u", 2},    {"a_g", "b_g", 3},  {"a_h_sum", "b_h_sum", 4},
                {"a_cd_total", "b_d_total", 10}, {"a_ud", "b_ud", 12}, {"a_gd", "b_gd", 7}};
    for (int n = 0; n < 7; n++) {
        char own[60];
        snprintf(own, sizeof own, "%s{otel_scope_name=\"test\"}", want[n].own);
        CHECK(rig_value(&rig, own) == want[n].want);
        CHECK(rig_value(&rig, want[n].view) == want[n].want);
    }
    rig_done(&rig);
}

SL_TEST(views_replace_drop_and_match_by_wildcards)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    static const sl_view_attr no_user[] = {{"user", NULL}};
    const sl_view views[] = {
        {.instrument = "noise.*", .drop = true},
        {.instrument = "a.old", .name = "new_total", .replace = true, .description = "New."},
        {.instrument = "b.?", .attrs = no_user, .attr_count = 1, .max_series = 3},
        {.instrument = "a.old", .meter = "other", .name = "never_total"},
        {.instrument = "twice", .name = "same_total"},
        {.instrument = "twice", .name = "same_total"},
    };
    for (size_t v = 0; v < sizeof views / sizeof *views; v++)
        CHECK_EQ(sl_view_add(&rig.sdk, &views[v]), 0);
    static const char *const names[] = {"noise.x", "a.old", "b.1", "twice"};
    for (size_t n = 0; n < 4; n++) {
        sl_instrument *i = rig_declare(&rig, SL_COUNTER, names[n], NULL);
        for (int k = 0; k < 5; k++) {
            const sl_attr attrs[] = {sl_attr_int("user", k), sl_attr_str("kept", n == 2 && k > 2 ? "b" : "a")};
            sl_counter_add(sl_instrument_bind(i, attrs, n == 2 ? 2 : 0), 1);
        }
    }
    CHECK_STR(rig_text(&rig, SL_PROMETHEUS_TEXT),
              "# HELP b_1_total Help.\n# TYPE b_1_total counter\n"
              "b_1_total{kept=\"a\",otel_scope_name=\"test\"} 3\nb_1_total{kept=\"b\",otel_scope_name=\"test\"} 2\n"
              "# HELP new_total New.\n# TYPE new_total counter\nnew_total 5\n"
              "# HELP same_total Help.\n# TYPE same_total counter\nsame_total 5\n"
              "# HELP twice_total Help.\n# TYPE twice_total counter\ntwice_total{otel_scope_name=\"test\"} 5\n");
    CHECK_EQ(rig.sdk.logs_emitted, 1);
    rig_done(&rig);
}

SL_TEST(bad_views_are_refused)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    static const double down[] = {2, 1};
    static const sl_view_attr bad_attr[] = {{NULL, "x"}}, empty_name[] = {{"x", ""}};
    const sl_view views[] = {
        {.instrument = NULL},
        {.instrument = "a", .name = "1bad"},
        {.instrument = "a*", .name = "many"},
        {.instrument = "a", .bounds = down, .bound_count = 2},
        {.instrument = "a", .bound_count = 2},
        {.instrument = "a", .attrs = bad_attr, .attr_count = 1},
        {.instrument = "a", .attrs = empty_name, .attr_count = 1},
    };
    for (size_t v = 0; v < sizeof views / sizeof *views; v++)
        CHECK_EQ(sl_view_add(&rig.sdk, &views[v]), SL_EINVAL);
    CHECK_EQ(sl_view_add(&rig.sdk, NULL), SL_EINVAL);
    rig_done(&rig);
}

/* ---- Callbacks ---- */

static void observe_two(void *user, sl_observer *observer)
{
    int *calls = user;
    const sl_attr attr = sl_attr_str("q", "a");
    ++*calls;
    sl_observe(observer, 10.0 * *calls, &attr, 1);
    sl_observe(observer, -1, NULL, 0);
}

#define SCOPE "{otel_scope_name=\"test\""

SL_TEST(a_value_many_times_is_as_many_values)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_series *a = sl_instrument_bind(rig_declare(&rig, SL_HISTOGRAM, "once", NULL), NULL, 0);
    sl_series *b = sl_instrument_bind(rig_declare(&rig, SL_HISTOGRAM, "times", NULL), NULL, 0);
    const struct {
        double value;
        unsigned times;
    } values[] = {{3, 1}, {0.5, 7}, {700, 2}, {3, 40}, {9, 0}};
    for (size_t n = 0; n < sizeof values / sizeof *values; n++) {
        for (unsigned k = 0; k < values[n].times; k++)
            sl_histogram_record(a, values[n].value);
        sl_histogram_record_times(b, values[n].value, values[n].times, NULL);
    }
    sl_histogram_record_times(b, strtod("nan", NULL), 3, NULL);
    sl_histogram_record_times(NULL, 1, 1, NULL);
    static const char *const of[] = {"%s_count" SCOPE "}", "%s_sum" SCOPE "}", "%s_bucket" SCOPE ",le=\"5\"}",
                                     "%s_bucket" SCOPE ",le=\"1000\"}"};
    const double wanted[] = {50, 1526.5, 48, 50};
    for (size_t n = 0; n < 4; n++) {
        char series[2][64];
        (void)snprintf(series[0], sizeof series[0], of[n], "once");  /* NOLINT */
        (void)snprintf(series[1], sizeof series[1], of[n], "times"); /* NOLINT */
        CHECK(rig_value(&rig, series[0]) == wanted[n]);
        CHECK(rig_value(&rig, series[1]) == wanted[n]);
    }
    rig_done(&rig);
}

SL_TEST(callbacks_set_values)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    int calls = 0;
    sl_instrument *u = rig_declare(&rig, SL_UPDOWN_COUNTER, "u_x", NULL), *g = rig_declare(&rig, SL_GAUGE, "g_x", NULL);
    CHECK_EQ(sl_instrument_on_collect(u, observe_two, &calls), 0);
    CHECK_EQ(sl_instrument_on_collect(rig_declare(&rig, SL_HISTOGRAM, "h_x", NULL), observe_two, &calls), SL_EINVAL);
    CHECK_EQ(sl_instrument_on_collect(NULL, observe_two, &calls), SL_EINVAL);
    CHECK(rig_value(&rig, "u_x{q=\"a\"}") == 10);
    CHECK(rig_value(&rig, "u_x{q=\"a\"}") == 20); /* set, not added */
    CHECK(rig_value(&rig, "u_x") == -1);
    sl_instrument_off_collect(u, observe_two, &calls);
    CHECK_EQ(sl_instrument_on_collect(g, observe_two, &calls), 0);
    CHECK(rig_value(&rig, "g_x{q=\"a\"}") == 40);
    CHECK_EQ(calls, 4);
    sl_observe(NULL, 1, NULL, 0);
    rig_done(&rig);
}

/* ---- Memory ---- */

SL_TEST(no_allocation_that_fails_breaks_anything)
{
    bool done = false;
    for (long n = 0; n < 200 && !done; n++) {
        metrics_rig rig;
        REQUIRE(rig_init(&rig, NULL, 0));
        const sl_view_attr rename[] = {{"k", "key"}};
        const sl_view view = {.instrument = "a.b", .name = "ab_total", .attrs = rename, .attr_count = 1};
        const sl_attr attr = sl_attr_str("k", "v");
        sl_test_fail_alloc(n);
        int error = sl_view_add(&rig.sdk, &view);
        sl_instrument *i = rig_declare(&rig, SL_COUNTER, "a.b", NULL);
        sl_series *s = sl_instrument_bind(i, &attr, 1);
        sl_counter_add(s, 1);
        done = !sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK(error == 0 || error == SL_ENOMEM);
        s = sl_instrument_bind(rig_declare(&rig, SL_COUNTER, "a.b", NULL), &attr, 1);
        CHECK(s != NULL);
        sl_counter_add(s, 1);
        (void)rig_text(&rig, SL_PROMETHEUS_TEXT);
        rig_done(&rig);
    }
    CHECK(done);
}

SL_TEST(recording_allocates_nothing)
{
    metrics_rig rig;
    REQUIRE(rig_init(&rig, NULL, 0));
    sl_series *c = sl_instrument_bind(rig_declare(&rig, SL_COUNTER, "c_total", NULL), NULL, 0);
    sl_series *h = sl_instrument_bind(rig_declare(&rig, SL_HISTOGRAM, "h_x", NULL), NULL, 0);
    size_t before = sl_test_alloc_count();
    sl_counter_add(c, 1);
    sl_histogram_record(h, 1);
    CHECK_EQ(sl_test_alloc_count(), before);
    rig_done(&rig);
}

/* ---- Exemplars ---- */

SL_TEST(exemplar_filters)
{
    CHECK_EQ(sl_exemplar_filter_of(NULL), SL_EXEMPLARS_TRACE_BASED);
    CHECK_EQ(sl_exemplar_filter_of("nonsense"), SL_EXEMPLARS_TRACE_BASED);
    CHECK_EQ(sl_exemplar_filter_of("always_on"), SL_EXEMPLARS_ALWAYS_ON);
    CHECK_EQ(sl_exemplar_filter_of(" Always_Off "), SL_EXEMPLARS_ALWAYS_OFF);
    static const char *const values[] = {"always_on", "always_off"};
    for (int v = 0; v < 2; v++) {
        metrics_rig rig;
        setenv("OTEL_METRICS_EXEMPLAR_FILTER", values[v], 1);
        REQUIRE(rig_init(&rig, NULL, 0));
        sl_histogram_record(sl_instrument_bind(rig_declare(&rig, SL_HISTOGRAM, "h_x", NULL), NULL, 0), 3);
        size_t at = sl_str_find(rig_text(&rig, SL_PROMETHEUS_OPENMETRICS), SL_STR("h_x_bucket{le=\"5.0\"} 1 # {} 3 1"));
        CHECK_EQ(at != SL_NPOS, v == 0);
        unsetenv("OTEL_METRICS_EXEMPLAR_FILTER");
        rig_done(&rig);
    }
}
