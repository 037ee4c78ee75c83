/*
 * Instruments against plain sums: sets of attributes by chance, recorded by many threads, through views and up to their
 * limits, collected in both temporalities whenever it may be. Every point is what the sums say, and no point is more.
 */
#include <pthread.h>

#include "src/telemetry/registry.h"
#include "src/telemetry/test_metrics_fixture.h"
#include "src/wire/pb.h"
#include "tests/harness/sl_chance.h"

#define SETS_MAX 24
#define KEY_MAX 64
#define BUCKETS 4

static const double bounds[BUCKETS - 1] = {0, 10, 100};
static const char overflow[] = "otel.metric.overflow=true,";

/* What has been recorded for one set of attributes. */
typedef struct total {
    char key[KEY_MAX];
    double value; /* sum; of a gauge the last */
    uint64_t count, buckets[BUCKETS];
} total;

/* One stream as it should be. */
typedef struct stream {
    const char *metric;
    sl_instrument_kind kind;
    size_t max_sets; /* the set for the overflow included */
    bool by_a;       /* the view that keeps "a" alone, as "renamed" */
    size_t count;
    total now[SETS_MAX], told[SETS_MAX]; /* `told`: at the last collection of deltas */
} stream;

typedef struct model {
    metrics_rig rig;
    sl_instrument *instruments[4];
    stream streams[5];
    uint64_t state;
} model;

/* ---- recording ---- */

static void key_of(const stream *s, unsigned a, unsigned b, char ret_key[KEY_MAX])
{
    char one[24] = "", two[24] = "";
    if (a)
        (void)snprintf(one, sizeof one, "%s=v%u,", s->by_a ? "renamed" : "a", a);
    if (b && !s->by_a)
        (void)snprintf(two, sizeof two, "b=%u,", b);
    (void)snprintf(ret_key, KEY_MAX, "%s%s", one, two);
}

static total *total_of(stream *s, const char *key)
{
    for (size_t i = 0; i < s->count; i++) {
        if (strcmp(s->now[i].key, key) == 0)
            return &s->now[i];
    }
    return NULL;
}

/* The sets that come first have points of their own; the last place is that of all others. */
static total *total_made(stream *s, const char *key)
{
    total *t = total_of(s, key);
    bool full = s->count >= s->max_sets - (total_of(s, overflow) ? 0 : 1);
    if (!t && full)
        t = total_of(s, key = overflow);
    if (!t) {
        t = &s->now[s->count++];
        (void)snprintf(t->key, sizeof t->key, "%s", key);
    }
    return t;
}

static void expect_value(stream *s, unsigned a, unsigned b, int value)
{
    char key[KEY_MAX];
    key_of(s, a, b, key);
    total *t = total_made(s, key);
    t->value = s->kind == SL_GAUGE ? value : t->value + value;
    t->count++;
    size_t bucket = 0;
    while (bucket < BUCKETS - 1 && value > bounds[bucket])
        bucket++;
    t->buckets[bucket]++;
}

static void record_bound(sl_series *series, sl_instrument_kind kind, int value)
{
    switch (kind) {
    case SL_COUNTER:
        sl_counter_add(series, (uint64_t)value);
        break;
    case SL_UPDOWN_COUNTER:
        sl_updown_add_double(series, value);
        break;
    case SL_GAUGE:
        sl_gauge_set(series, value);
        break;
    default:
        sl_histogram_record(series, value);
    }
}

static void record_one(model *m)
{
    unsigned which = sl_chance(&m->state, 4), a = sl_chance(&m->state, 4), b = sl_chance(&m->state, 4);
    sl_instrument_kind kind = m->streams[which].kind;
    int value = (int)sl_chance(&m->state, 150) - (kind == SL_COUNTER ? 0 : 30);
    static const char *const names[] = {"", "v1", "v2", "v3"};
    sl_attr attrs[3];
    size_t count = 0;
    bool b_first = sl_chance(&m->state, 2) != 0;
    if (b && b_first)
        attrs[count++] = sl_attr_int("b", b);
    if (a)
        attrs[count++] = sl_attr_str("a", names[a]);
    if (b && !b_first)
        attrs[count++] = sl_attr_int("b", b);
    if (sl_chance(&m->state, 2))
        sl_instrument_record(m->instruments[which], value, attrs, count);
    else
        record_bound(sl_instrument_bind(m->instruments[which], attrs, count), kind, value);
    expect_value(&m->streams[which], a, b, value);
    if (which == 0)
        expect_value(&m->streams[4], a, b, value);
}

static void *record_some(void *user)
{
    model *m = user;
    for (unsigned n = sl_chance(&m->state, 12); n > 0; n--)
        record_one(m);
    return NULL;
}

/* ---- what is collected ---- */

static void put_attr(sl_str pair, char *key)
{
    sl_pb_reader r = sl_pb_reader_of(pair), inner;
    sl_pb_field f, v;
    size_t len = strlen(key);
    while (sl_pb_next(&r, &f)) {
        if (f.number == 1) {
            len += (size_t)snprintf(key + len, KEY_MAX - len, "%.*s=", (int)f.bytes.len, f.bytes.ptr);
            continue;
        }
        inner = sl_pb_reader_of(f.bytes);
        REQUIRE(len < KEY_MAX && sl_pb_next(&inner, &v));
        if (v.number == 1)
            (void)snprintf(key + len, KEY_MAX - len, "%.*s,", (int)v.bytes.len, v.bytes.ptr);
        else if (v.number == 2)
            (void)snprintf(key + len, KEY_MAX - len, "%s,", v.value ? "true" : "false");
        else
            (void)snprintf(key + len, KEY_MAX - len, "%lld,", (long long)v.value);
    }
}

/* Fields of NumberDataPoint and HistogramDataPoint. Source: opentelemetry-proto, metrics.proto. */
static void read_point(sl_str message, bool histogram, total *ret_point)
{
    sl_pb_reader r = sl_pb_reader_of(message);
    sl_pb_field f;
    memset(ret_point, 0, sizeof *ret_point);
    while (sl_pb_next(&r, &f)) {
        if (f.number == (histogram ? 9u : 7u))
            put_attr(f.bytes, ret_point->key);
        else if (f.number == (histogram ? 5u : 4u))
            ret_point->value = sl_pb_bits_double(f.value);
        else if (f.number == 6 && histogram && f.bytes.ptr && f.bytes.len == sizeof ret_point->buckets)
            memcpy(ret_point->buckets, f.bytes.ptr, sizeof ret_point->buckets);
        else if (f.number == 6)
            ret_point->value = (double)(int64_t)f.value;
        else if (f.number == 4)
            ret_point->count = f.value;
    }
    CHECK_EQ(r.error, 0);
}

/* Counters and histograms are asked for as what came since the last time; the others always as they are. */
static total wanted_of(const stream *s, size_t i, bool delta)
{
    total t = s->now[i];
    if (!delta || s->kind == SL_GAUGE || s->kind == SL_UPDOWN_COUNTER)
        return t;
    t.value -= s->told[i].value;
    t.count -= s->told[i].count;
    for (size_t k = 0; k < BUCKETS; k++)
        t.buckets[k] -= s->told[i].buckets[k];
    return t;
}

static void check_point(stream *s, const total *point, bool delta, bool *seen)
{
    total *t = total_of(s, point->key);
    if (!t)
        sl_test_failed(__FILE__, __LINE__, "%s has {%s}, which was never recorded", s->metric, point->key);
    REQUIRE(t);
    size_t i = (size_t)(t - s->now);
    total want = wanted_of(s, i, delta);
    CHECK(!seen[i]); /* one point for a set */
    seen[i] = true;
    if (point->value < want.value || point->value > want.value)
        sl_test_failed(__FILE__, __LINE__, "%s {%s}: %g, wanted %g", s->metric, point->key, point->value, want.value);
    if (s->kind == SL_HISTOGRAM)
        CHECK(point->count == want.count && memcmp(point->buckets, want.buckets, sizeof want.buckets) == 0);
}

static void check_metric(model *m, sl_str message, bool delta, bool seen[5][SETS_MAX])
{
    sl_str name = {NULL, 0}, data = {NULL, 0};
    sl_pb_reader r = sl_pb_reader_of(message);
    sl_pb_field f;
    bool histogram = false;
    while (sl_pb_next(&r, &f)) {
        if (f.number == 1)
            name = f.bytes;
        else if (f.number == 5 || f.number == 7 || f.number == 9)
            data = f.bytes;
        histogram |= f.number == 9;
    }
    size_t which = 0;
    while (which < 5 && !sl_str_eq_c(name, m->streams[which].metric))
        which++;
    REQUIRE(which < 5);
    r = sl_pb_reader_of(data);
    while (sl_pb_next(&r, &f)) {
        total point;
        if (!sl_pb_is(&f, 1, SL_PB_LEN))
            continue;
        read_point(f.bytes, histogram, &point);
        check_point(&m->streams[which], &point, delta, seen[which]);
    }
}

/* No more has come since the last time; a counter does not tell an addition of 0 from none. */
static bool is_nothing(const stream *s, size_t i)
{
    total t = wanted_of(s, i, true);
    return (s->kind == SL_HISTOGRAM && t.count == 0) || (s->kind == SL_COUNTER && t.value <= 0);
}

/* Only a delta of nothing may be left out. */
static void check_complete(model *m, bool delta, bool seen[5][SETS_MAX])
{
    for (size_t k = 0; k < 5; k++) {
        stream *s = &m->streams[k];
        for (size_t i = 0; i < s->count; i++) {
            if (!seen[k][i] && !(delta && is_nothing(s, i)))
                sl_test_failed(__FILE__, __LINE__, "%s {%s} is missing", s->metric, s->now[i].key);
        }
        if (delta)
            memcpy(s->told, s->now, sizeof s->told);
    }
}

static void collect(model *m, bool delta)
{
    bool seen[5][SETS_MAX] = {{false}};
    size_t points = 0;
    sl_buf *text = &m->rig.text;
    sl_buf_clear(text);
    REQUIRE(sl_collector_otlp(m->rig.sdk.collector, SL_STR("\x0A\x00"), SL_STR(""), delta, text, &points) == 0);
    sl_pb_reader request = sl_pb_reader_of(sl_buf_str(text));
    sl_pb_field f;
    while (sl_pb_next(&request, &f)) {
        sl_pb_reader resource = sl_pb_reader_of(f.bytes);
        while (sl_pb_next(&resource, &f)) {
            sl_pb_reader scope = sl_pb_reader_of(f.bytes);
            bool metrics = sl_pb_is(&f, 2, SL_PB_LEN);
            while (metrics && sl_pb_next(&scope, &f)) {
                if (sl_pb_is(&f, 2, SL_PB_LEN))
                    check_metric(m, f.bytes, delta, seen);
            }
        }
    }
    check_complete(m, delta, seen);
}

/* ---- the runs ---- */

static bool begin(model *m, uint64_t seed)
{
    static const stream kinds[5] = {{.metric = "m.counter", .kind = SL_COUNTER, .max_sets = 9},
                                    {.metric = "m.updown", .kind = SL_UPDOWN_COUNTER, .max_sets = 17},
                                    {.metric = "m.gauge", .kind = SL_GAUGE, .max_sets = 5},
                                    {.metric = "m.histogram", .kind = SL_HISTOGRAM, .max_sets = 7},
                                    {.metric = "m.by_a", .kind = SL_COUNTER, .max_sets = 3, .by_a = true}};
    static const sl_view_attr renamed = {"a", "renamed"};
    static const sl_view by_a = {.instrument = "m.counter",
                                 .name = "m.by_a",
                                 .attrs = &renamed,
                                 .attr_count = 1,
                                 .keep_only = true,
                                 .max_series = 3};
    memset(m, 0, sizeof *m);
    memcpy(m->streams, kinds, sizeof kinds);
    m->state = seed;
    if (!rig_init(&m->rig, NULL, 2000) || sl_view_add(&m->rig.sdk, &by_a))
        return false;
    for (size_t i = 0; i < 4; i++) {
        bool histogram = kinds[i].kind == SL_HISTOGRAM;
        sl_instrument_options options = {.kind = kinds[i].kind,
                                         .name = kinds[i].metric,
                                         .is_double = kinds[i].kind == SL_UPDOWN_COUNTER,
                                         .bounds = histogram ? bounds : NULL,
                                         .bound_count = histogram ? BUCKETS - 1 : 0,
                                         .max_series = kinds[i].max_sets};
        m->instruments[i] = sl_instrument_new(m->rig.meter, &options);
    }
    return true;
}

SL_TEST(points_are_the_sums_of_what_was_recorded)
{
    static model m;
    for (uint64_t seed = 1; seed <= 12; seed++) {
        REQUIRE(begin(&m, seed));
        for (unsigned round = 0; round < 40; round++) {
            pthread_t thread;
            if (sl_chance(&m.state, 2) == 0)
                (void)record_some(&m);
            else if (pthread_create(&thread, NULL, record_some, &m) == 0)
                (void)pthread_join(thread, NULL);
            if (sl_chance(&m.state, 3) == 0)
                collect(&m, sl_chance(&m.state, 2) != 0);
        }
        collect(&m, true);
        collect(&m, false);
        CHECK(total_of(&m.streams[0], overflow) != NULL && total_of(&m.streams[1], overflow) == NULL);
        rig_done(&m.rig);
    }
}
