/* Tests of the pipeline with exporters of our own. */
#include "src/telemetry/pipeline.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "src/base/sync.h"
#include "src/telemetry/scope.h"
#include "src/wire/otlp_read.h"
#include "tests/harness/sl_test.h"

/* An exporter that counts, and does what it is told. */
typedef struct probe {
    _Atomic size_t requests, items, freed, max_bytes;
    _Atomic int answer;     /* error to return */
    _Atomic int fail_first; /* that many SL_ERETRY first */
    _Atomic uint64_t hang_ms;
    _Atomic uint64_t rejected;
    _Atomic size_t counted_items; /* walked in the bytes */
} probe;

static int probe_deliver(void *user, sl_signal signal, sl_str request, size_t items, uint64_t timeout_ms,
                         uint64_t *ret_retry_after_ms, uint64_t *ret_rejected)
{
    (void)signal;
    (void)timeout_ms;
    (void)ret_retry_after_ms;
    probe *p = user;
    if (p->hang_ms)
        usleep((useconds_t)p->hang_ms * 1000);
    p->requests++;
    if (p->fail_first > 0) {
        p->fail_first--;
        return SL_ERETRY;
    }
    if (p->answer)
        return p->answer;
    sl_otlp_records records = sl_otlp_records_of(request);
    while (sl_otlp_records_next(&records))
        p->counted_items++;
    if (request.len > p->max_bytes)
        p->max_bytes = request.len;
    p->items += items;
    *ret_rejected = p->rejected;
    return 0;
}

static void probe_free(void *user)
{
    probe *p = user;
    p->freed++;
}

static sl_exporter probe_exporter(probe *p)
{
    sl_exporter e;
    memset(&e, 0, sizeof e);
    e.name = "probe";
    e.user = p;
    e.signals = SL_SIGNAL_BIT(SL_SIGNAL_TRACES) | SL_SIGNAL_BIT(SL_SIGNAL_LOGS);
    e.deliver = probe_deliver;
    e.free = probe_free;
    return e;
}

static sl_pipeline *pipeline_of(sl_exporter *exporters, size_t count, const sl_batch_options *batch)
{
    sl_pipeline_options o;
    memset(&o, 0, sizeof o);
    o.exporters = exporters;
    o.exporter_count = count;
    o.retry_initial_ms = 5;
    if (batch)
        o.batch[SL_SIGNAL_TRACES] = *batch;
    sl_pipeline *p = NULL;
    CHECK_EQ(sl_pipeline_new(&o, &p), 0);
    return p;
}

static sl_segment *segment_of(sl_pipeline *p)
{
    sl_segment_options o;
    memset(&o, 0, sizeof o);
    o.wake_fd = sl_pipeline_wake_fd(p);
    sl_segment *s = NULL;
    CHECK_EQ(sl_segment_new(&o, &s), 0);
    CHECK_EQ(sl_pipeline_add_segment(p, s), 0);
    return s;
}

/* A span with a name of `len` bytes. */
static int write_span(sl_segment *s, size_t len)
{
    static char span[70000];
    sl_pb_cursor c = sl_pb_cursor_of(span, sizeof span);
    static char name[65536];
    memset(name, 'n', sizeof name);
    CHECK(sl_pb_put_bytes(&c, 1, "0123456789abcdef", 16));
    CHECK(sl_pb_put_bytes(&c, 2, "01234567", 8));
    CHECK(sl_pb_put_bytes(&c, 5, name, len));
    sl_piece piece = {span, (size_t)((char *)c.at - span)};
    return sl_segment_write(s, SL_RING_SPANS, 0, &piece, 1);
}

SL_TEST(delivers_everything_at_a_flush)
{
    probe x = {0};
    sl_exporter e = probe_exporter(&x);
    sl_pipeline *p = pipeline_of(&e, 1, NULL);
    sl_segment *s = segment_of(p);
    for (int i = 0; i < 1000; i++)
        CHECK_EQ(write_span(s, 10), 0);
    CHECK_EQ(sl_pipeline_flush(p, 5000), 0);
    CHECK_EQ(x.items, 1000);
    CHECK_EQ(x.counted_items, 1000);
    CHECK(x.requests >= 2);
    sl_sdk_stats stats;
    sl_pipeline_stats(p, SL_SIGNAL_TRACES, &stats);
    CHECK_EQ(stats.ended, 1000);
    CHECK_EQ(stats.exported, 1000);
    CHECK_EQ(stats.dropped, 0);
    CHECK_EQ(sl_pipeline_shutdown(p, 1000), 0);
    sl_pipeline_free(p);
    CHECK_EQ(x.freed, 1);
    sl_segment_free(s);
}

SL_TEST(batches_keep_their_limits)
{
    probe x = {0};
    sl_exporter e = probe_exporter(&x);
    sl_batch_options batch = {.max_batch_bytes = 20000, .max_batch_items = 100};
    sl_pipeline *p = pipeline_of(&e, 1, &batch);
    sl_segment *s = segment_of(p);
    for (int i = 0; i < 250; i++)
        CHECK_EQ(write_span(s, 10), 0);
    CHECK_EQ(sl_pipeline_flush(p, 5000), 0);
    CHECK_EQ(x.requests, 3);
    for (int i = 0; i < 20; i++)
        CHECK_EQ(write_span(s, 6000), 0);
    CHECK_EQ(sl_pipeline_flush(p, 5000), 0);
    CHECK_EQ(x.items, 270);
    CHECK(x.requests >= 9);
    CHECK(x.max_bytes <= 20000);
    sl_pipeline_free(p);
    sl_segment_free(s);
}

SL_TEST(an_oversized_span_is_cut_not_lost)
{
    probe x = {0};
    sl_exporter e = probe_exporter(&x);
    sl_batch_options batch = {.max_batch_bytes = 20000};
    sl_pipeline *p = pipeline_of(&e, 1, &batch);
    sl_segment *s = segment_of(p);
    CHECK_EQ(write_span(s, 10), 0);
    CHECK_EQ(write_span(s, 60000), 0);
    CHECK_EQ(write_span(s, 10), 0);
    CHECK_EQ(sl_pipeline_flush(p, 5000), 0);
    CHECK_EQ(x.items, 3);
    CHECK(x.max_bytes > 1000 && x.max_bytes <= 20000);
    sl_pipeline_free(p);
    sl_segment_free(s);
}

SL_TEST(delay_is_kept_and_immediate_sinks_do_not_wait)
{
    probe slow = {0}, fast = {0};
    sl_exporter e[2] = {probe_exporter(&slow), probe_exporter(&fast)};
    e[1].immediate = true;
    sl_pipeline *p = pipeline_of(e, 2, NULL);
    sl_segment *s = segment_of(p);
    CHECK_EQ(write_span(s, 10), 0);
    usleep(300000);
    CHECK_EQ(fast.items, 1);
    CHECK_EQ(slow.items, 0);
    sl_pipeline_free(p); /* shuts down: the rest is delivered or counted */
    sl_segment_free(s);
}

SL_TEST(retries_until_it_works)
{
    probe x = {.fail_first = 4};
    sl_exporter e = probe_exporter(&x);
    sl_pipeline *p = pipeline_of(&e, 1, NULL);
    sl_segment *s = segment_of(p);
    CHECK_EQ(write_span(s, 10), 0);
    CHECK_EQ(sl_pipeline_flush(p, 5000), 0);
    CHECK_EQ(x.requests, 5);
    CHECK_EQ(x.items, 1);
    sl_pipeline_free(p);
    sl_segment_free(s);
}

/* Everything ended is exported or dropped, whatever happens. */
static void check_sums(sl_pipeline *p, uint64_t ended)
{
    sl_sdk_stats stats;
    sl_pipeline_stats(p, SL_SIGNAL_TRACES, &stats);
    CHECK_EQ(stats.ended, ended);
    CHECK_EQ(stats.exported + stats.dropped, ended);
}

SL_TEST(a_refusal_is_final_and_counted)
{
    probe x = {.answer = SL_EREFUSED};
    sl_exporter e = probe_exporter(&x);
    sl_pipeline *p = pipeline_of(&e, 1, NULL);
    sl_segment *s = segment_of(p);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(write_span(s, 10), 0);
    CHECK_EQ(sl_pipeline_flush(p, 5000), SL_EREFUSED);
    CHECK_EQ(x.requests, 1);
    check_sums(p, 10);
    sl_pipeline_free(p);
    sl_segment_free(s);
}

SL_TEST(partial_success_is_counted_and_not_retried)
{
    probe x = {.rejected = 3};
    sl_exporter e = probe_exporter(&x);
    sl_pipeline *p = pipeline_of(&e, 1, NULL);
    sl_segment *s = segment_of(p);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(write_span(s, 10), 0);
    CHECK_EQ(sl_pipeline_flush(p, 5000), 0);
    CHECK_EQ(x.requests, 1);
    sl_sdk_stats stats;
    sl_pipeline_stats(p, SL_SIGNAL_TRACES, &stats);
    CHECK_EQ(stats.exported, 7);
    CHECK_EQ(stats.dropped, 3);
    sl_pipeline_free(p);
    sl_segment_free(s);
}

SL_TEST(a_dead_peer_costs_bounded_memory_and_exact_counts)
{
    probe x = {.answer = SL_ERETRY};
    sl_exporter e = probe_exporter(&x);
    sl_batch_options batch = {.max_pending_bytes = 100000, .max_batch_items = 50};
    sl_pipeline *p = pipeline_of(&e, 1, &batch);
    sl_segment *s = segment_of(p);
    uint64_t ended = 0;
    long waits = 0;
    for (int round = 0; round < 100; round++) {
        for (int i = 0; i < 100; i++) {
            long before = sl_test_waits();
            (void)write_span(s, 200);
            waits += sl_test_waits() - before;
            ended++;
        }
        usleep(1000);
    }
    CHECK(waits < 10); /* of 10,000: the kernel may make a first touch of memory wait, the exporter never does */
    CHECK_EQ(sl_pipeline_flush(p, 50), SL_ETIMEOUT);
    sl_sink_counts counts;
    sl_sink_get_counts(sl_pipeline_sink(p, 0), SL_SIGNAL_TRACES, &counts);
    CHECK(counts.queued_bytes <= 100000);
    CHECK(counts.dropped_full > 0);
    CHECK_EQ(counts.put, counts.queued + counts.inflight + counts.exported + counts.dropped);
    uint64_t start = sl_mono_ns();
    (void)sl_pipeline_shutdown(p, 1000);
    CHECK(sl_mono_ns() - start < 20000000000u); /* twenty deadlines: it ends, even on a busy machine */
    check_sums(p, ended);
    sl_pipeline_free(p);
    CHECK_EQ(x.freed, 1);
    sl_segment_free(s);
}

SL_TEST(a_hanging_delivery_is_left_behind)
{
    static probe x; /* outlives the test's frame, as the exporter's memory must */
    x.hang_ms = 1500;
    sl_exporter e = probe_exporter(&x);
    sl_pipeline *p = pipeline_of(&e, 1, NULL);
    sl_segment *s = segment_of(p);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(write_span(s, 10), 0);
    uint64_t start = sl_mono_ns();
    CHECK_EQ(sl_pipeline_flush(p, 100), SL_ETIMEOUT);
    CHECK_EQ(sl_pipeline_shutdown(p, 100), SL_ETIMEOUT);
    CHECK(sl_mono_ns() - start < 900000000u);
    check_sums(p, 10);
    sl_pipeline_free(p);
    sl_segment_free(s);
    CHECK_EQ(x.freed, 0);
    for (int i = 0; i < 400 && !x.freed; i++)
        usleep(10000);
    CHECK_EQ(x.freed, 1); /* by the thread itself, when it came back */
    usleep(20000);
}

SL_TEST(several_segments_and_their_removal)
{
    probe x = {0};
    sl_exporter e = probe_exporter(&x);
    sl_pipeline *p = pipeline_of(&e, 1, NULL);
    sl_segment *s[3];
    for (int i = 0; i < 3; i++)
        s[i] = segment_of(p);
    for (int i = 0; i < 30; i++)
        CHECK_EQ(write_span(s[i % 3], 10), 0);
    sl_pipeline_remove_segment(p, s[1]);
    sl_segment_free(s[1]);
    CHECK_EQ(write_span(s[0], 10), 0);
    CHECK_EQ(sl_pipeline_flush(p, 5000), 0);
    CHECK_EQ(x.items, 31);
    check_sums(p, 31);
    sl_pipeline_free(p);
    sl_segment_free(s[0]);
    sl_segment_free(s[2]);
}

/* ---- many threads ---- */

typedef struct writer {
    sl_segment *segment;
    uint64_t tried;
} writer;

static void *write_many(void *user)
{
    writer *w = user;
    for (int i = 0; i < 20000; i++) {
        char span[40];
        memset(span, 0, sizeof span);
        sl_pb_cursor c = sl_pb_cursor_of(span, sizeof span);
        (void)sl_pb_put_bytes(&c, 5, "name", 4);
        sl_piece piece = {span, (size_t)((char *)c.at - span)};
        (void)sl_segment_write(w->segment, SL_RING_SPANS, 0, &piece, 1);
        w->tried++;
        if (i % 500 == 0)
            usleep(500);
    }
    return NULL;
}

SL_TEST(sums_hold_under_load_with_a_slow_reader)
{
    probe x = {.hang_ms = 3};
    sl_exporter e = probe_exporter(&x);
    sl_batch_options batch = {.max_pending_bytes = 50000};
    sl_pipeline *p = pipeline_of(&e, 1, &batch);
    sl_segment *s = segment_of(p);
    pthread_t threads[4];
    writer writers[4];
    for (int i = 0; i < 4; i++) {
        writers[i] = (writer){s, 0};
        REQUIRE(pthread_create(&threads[i], NULL, write_many, &writers[i]) == 0);
    }
    uint64_t ended = 0;
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], NULL);
        ended += writers[i].tried;
    }
    (void)sl_pipeline_shutdown(p, 3000);
    check_sums(p, ended);
    sl_pipeline_free(p);
    sl_segment_free(s);
}

/* ---- scopes ---- */

typedef struct scope_seen {
    _Atomic size_t scopes, items;
    size_t requests;
} scope_seen;

static int scope_deliver(void *user, sl_signal signal, sl_str request, size_t items, uint64_t timeout_ms,
                         uint64_t *ret_retry_after_ms, uint64_t *ret_rejected)
{
    (void)signal;
    (void)timeout_ms;
    (void)ret_retry_after_ms;
    (void)ret_rejected;
    scope_seen *seen = user;
    seen->items += items;
    sl_otlp_iter resources = sl_otlp_items(request, SL_OTLP_REQUEST_RESOURCES);
    sl_str resource, scope;
    while (sl_otlp_next(&resources, &resource)) {
        sl_otlp_iter scopes = sl_otlp_items(resource, SL_OTLP_GROUP_ITEMS);
        while (sl_otlp_next(&scopes, &scope))
            seen->scopes++;
    }
    seen->requests++;
    return 0;
}

SL_TEST(items_are_grouped_by_scope)
{
    scope_seen seen = {0};
    sl_exporter e = {.name = "scopes", .user = &seen, .signals = SL_SIGNALS_ALL, .deliver = scope_deliver};
    sl_pipeline *p = pipeline_of(&e, 1, NULL);
    sl_segment *s = segment_of(p);
    sl_scopes *scopes = sl_scopes_new(s);
    REQUIRE(scopes);
    for (int i = 0; i < 30; i++) {
        char name[8];
        (void)snprintf(name, sizeof name, "s%d", i % 3);
        sl_scope_options scope = {.name = sl_str_c(name)};
        sl_piece piece = {"\x2a\x01n", 3};
        CHECK_EQ(sl_segment_write(s, SL_RING_SPANS, sl_scopes_id(scopes, &scope), &piece, 1), 0);
    }
    CHECK_EQ(sl_pipeline_flush(p, 5000), 0);
    CHECK_EQ(seen.items, 30);
    CHECK_EQ(seen.scopes, 3 * seen.requests);
    sl_pipeline_free(p);
    sl_scopes_free(scopes);
    sl_segment_free(s);
}

SL_TEST(every_allocation_failing_in_turn)
{
    bool hit = true;
    for (long n = 0; hit && n < 200; n++) {
        probe x = {0};
        sl_exporter e = probe_exporter(&x);
        sl_pipeline_options o;
        memset(&o, 0, sizeof o);
        o.exporters = &e;
        o.exporter_count = 1;
        o.retry_initial_ms = 1;
        sl_segment_options so;
        memset(&so, 0, sizeof so);
        so.wake_fd = -1;
        sl_segment *s = NULL;
        REQUIRE(sl_segment_new(&so, &s) == 0);
        sl_pipeline *p = NULL;
        sl_test_fail_alloc(n);
        int error = sl_pipeline_new(&o, &p);
        if (!error)
            error = sl_pipeline_add_segment(p, s);
        if (!error) {
            for (int i = 0; i < 5; i++)
                (void)write_span(s, 10);
            error = sl_pipeline_flush(p, 1000);
            CHECK(error != SL_ETIMEOUT);
            check_sums(p, 5);
        }
        sl_pipeline_free(p);
        hit = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(x.freed, 1);
        sl_segment_free(s);
    }
    CHECK(!hit);
}

SL_TEST(idle_costs_little)
{
    probe x = {0};
    sl_exporter e = probe_exporter(&x);
    sl_pipeline *p = pipeline_of(&e, 1, NULL);
    sl_segment *s = segment_of(p);
    usleep(1200000);
    uint64_t before = sl_pipeline_cpu_ns(p);
    usleep(500000);
    CHECK(sl_pipeline_cpu_ns(p) - before < 5000000u); /* under 1 % of a core */
    sl_pipeline_free(p);
    sl_segment_free(s);
}

#include <sys/wait.h>

SL_TEST(a_forked_child_is_inert)
{
    probe x = {0};
    sl_exporter e = probe_exporter(&x);
    sl_pipeline *p = pipeline_of(&e, 1, NULL);
    sl_segment *s = segment_of(p);
    pid_t child = fork();
    if (child == 0) {
        bool ok = sl_pipeline_flush(p, 1000) == SL_ECLOSED && sl_pipeline_shutdown(p, 1000) == SL_ECLOSED &&
                  write_span(s, 10) == SL_ECLOSED;
        sl_pipeline_free(p);
        _exit(ok ? 0 : 1);
    }
    int status = 1;
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(status, 0);
    CHECK_EQ(write_span(s, 10), 0);
    CHECK_EQ(sl_pipeline_flush(p, 1000), 0);
    CHECK_EQ(x.items, 1);
    sl_pipeline_free(p);
    sl_segment_free(s);
}

/* ---- what is said ---- */

typedef struct heard {
    pthread_mutex_t lock;
    uint64_t ring_drops; /* told of */
    unsigned times;
} heard;

static void on_error(void *user, int error, const char *message)
{
    heard *to = user;
    const char *rest = strstr(message, " records dropped: a recording thread's ring was full");
    (void)error;
    pthread_mutex_lock(&to->lock);
    if (rest)
        to->ring_drops += strtoull(message, NULL, 10);
    to->times++;
    pthread_mutex_unlock(&to->lock);
}

/* Whatever is dropped is told in the end, also what the last drain finds, and what the limit on messages held back. */
SL_TEST(drops_of_rings_are_told_to_the_last)
{
    heard to = {.lock = PTHREAD_MUTEX_INITIALIZER};
    probe x = {0};
    sl_exporter e = probe_exporter(&x);
    sl_batch_options batch = {.max_queue_items = 4, .max_batch_items = 4, .schedule_delay_ms = 10};
    sl_pipeline_options o = {.exporters = &e, .exporter_count = 1, .on_error = on_error, .on_error_user = &to};
    o.batch[SL_SIGNAL_TRACES] = batch;
    o.poll_ms = 20;
    sl_pipeline *p = NULL;
    REQUIRE(sl_pipeline_new(&o, &p) == 0);
    sl_segment *s = segment_of(p), *other = segment_of(p);
    uint64_t refused = 0;
    for (int round = 0; round < 10; round++) {
        for (int i = 0; i < 20; i++)
            refused += write_span(round % 2 ? s : other, 30) != 0;
        usleep(5000);
    }
    sl_pipeline_remove_segment(p, other);
    for (int i = 0; i < 20; i++)
        refused += write_span(s, 30) != 0;
    CHECK(refused >= 16);
    CHECK_EQ(sl_pipeline_shutdown(p, 5000), 0);
    CHECK_EQ(to.ring_drops, refused);
    CHECK(to.times <= 4);
    sl_pipeline_free(p);
    sl_segment_free(s);
    sl_segment_free(other);
}
