/* Spans on many threads, handed from thread to thread, with a reader beside them, and over a fork. */
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/telemetry/span_impl.h"
#include "src/telemetry/test_span_read.h"

#define THREADS 8
#define SPANS 4000

typedef struct crew {
    sl_tracer *tracer;
    _Atomic int running;
    _Atomic int number;
} crew;

static void *record_spans(void *user)
{
    crew *c = user;
    int64_t me = atomic_fetch_add(&c->number, 1);
    sl_span *outer = sl_span_start(c->tracer, SL_STR("outer"), &(sl_span_options){.kind = SL_SPAN_SERVER});
    (void)sl_span_attach(outer);
    for (int64_t i = 0; i < SPANS; i++) {
        sl_span *span = sl_span_start(c->tracer, SL_STR("inner"), NULL);
        sl_span_set_int(span, "thread", me);
        sl_span_set_int(span, "number", i);
        sl_span_set_str(span, "text", "some text of a span");
        sl_span_end(span);
    }
    (void)sl_span_attach(NULL);
    sl_span_end(outer);
    atomic_fetch_sub(&c->running, 1);
    return NULL;
}

typedef struct tally {
    uint64_t spans, outer, wrong;
    uint64_t ids[1u << 12]; /* a coarse filter for repeated span ids */
    int64_t next[THREADS];
} tally;

static bool count_span(void *user, uint32_t tag, const uint8_t *data, size_t len)
{
    tally *all = user;
    sl_otlp_span span;
    sl_str bytes = sl_str_of((const char *)data, len);
    (void)tag;
    if (sl_otlp_read_span(bytes, &span) || span.trace_id.len != 16 || span.span_id.len != 8 ||
        span.end_ns < span.start_ns) {
        all->wrong++;
        return true;
    }
    if (sl_str_eq_c(span.name, "outer")) {
        all->outer++;
        return true;
    }
    int64_t thread = sl_test_attr(&span, "thread").integer, number = sl_test_attr(&span, "number").integer;
    if (thread < 0 || thread >= THREADS || number < all->next[thread] || span.parent_span_id.len != 8)
        all->wrong++;
    else
        all->next[thread] = number + 1;
    all->spans++;
    return true;
}

/* Every span arrives whole, once, in its thread's order, or was refused by a full ring and counted. */
SL_TEST(span_threads_and_a_reader)
{
    sl_test_sdk t;
    static tally all;
    memset(&all, 0, sizeof all);
    sl_test_sdk_init(&t, &(sl_test_sdk_options){.segment = {.threads = 5, .span_ring_bytes = 64 * 1024}});
    crew c = {.tracer = sl_tracer_named(&t.sdk, "lib"), .running = THREADS};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, record_spans, &c) == 0);
    while (atomic_load(&c.running) > 0)
        (void)sl_segment_drain(t.sdk.segment, SL_RING_SPANS, count_span, &all);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    (void)sl_segment_drain(t.sdk.segment, SL_RING_SPANS, count_span, &all);
    sl_ring_stats stats;
    sl_segment_ring_stats(t.sdk.segment, SL_RING_SPANS, &stats);
    CHECK_EQ(all.wrong, 0);
    CHECK_EQ(all.spans + all.outer + stats.dropped, (uint64_t)THREADS * (SPANS + 1));
    CHECK_EQ(stats.written, all.spans + all.outer);
    CHECK_EQ(sl_tracers_started(&t.sdk), (uint64_t)THREADS * (SPANS + 1));
    sl_test_sdk_done(&t); /* pools of the ended threads are freed: the harness counts */
}

/* With room in the ring nothing is lost at all. */
SL_TEST(span_threads_exact)
{
    sl_test_sdk t;
    static tally all;
    memset(&all, 0, sizeof all);
    sl_test_sdk_init(&t, &(sl_test_sdk_options){.segment = {.threads = 8, .span_ring_bytes = 8u << 20}});
    crew c = {.tracer = sl_tracer_named(&t.sdk, "lib"), .running = THREADS};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, record_spans, &c) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    (void)sl_segment_drain(t.sdk.segment, SL_RING_SPANS, count_span, &all);
    CHECK_EQ(all.wrong, 0);
    CHECK_EQ(all.outer, THREADS);
    CHECK_EQ(all.spans, (uint64_t)THREADS * SPANS);
    sl_test_sdk_done(&t);
}

static void *end_it(void *span)
{
    sl_span_set_str(span, "ended", "elsewhere");
    sl_span_end(span);
    return NULL;
}

SL_TEST(span_handed_to_another_thread)
{
    sl_test_sdk t;
    sl_test_spans got;
    sl_test_sdk_init(&t, NULL);
    sl_tracer *tracer = sl_tracer_named(&t.sdk, "lib");
    for (int i = 0; i < 20; i++) {
        sl_span *span = sl_span_start(tracer, SL_STR("n"), NULL);
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, end_it, span) == 0);
        pthread_join(thread, NULL);
    }
    CHECK_EQ(sl_span_this.idle_count, 0);
    sl_test_spans_read(t.sdk.segment, &got);
    CHECK_EQ(got.count, 20);
    for (size_t i = 0; i < got.count; i++) {
        CHECK_STR(sl_test_attr(&got.spans[i], "ended").str, "elsewhere");
        for (size_t j = 0; j < i; j++)
            CHECK(!sl_str_eq(got.spans[i].span_id, got.spans[j].span_id));
    }
    sl_test_spans_done(&got);
    sl_test_sdk_done(&t);
}

/* ---- fork ---- */

static int child_of(sl_test_sdk *t, sl_tracer *tracer, sl_span *inherited, const sl_span_context *parents_next)
{
    sl_span_end(sl_span_start(tracer, SL_STR("before adopting"), NULL));
    sl_span *kept = sl_span_start(tracer, SL_STR("adopted"), NULL);
    sl_segment_adopt(t->sdk.segment, -1);
    sl_span_end(inherited); /* the parent's: it records it itself */
    sl_span_context context;
    sl_span_get_context(kept, &context);
    if (memcmp(context.trace_id, parents_next->trace_id, 16) == 0)
        return 1;
    sl_span_end(kept);
    for (int i = 0; i < 100; i++)
        sl_span_end(sl_span_start(tracer, SL_STR("in the child"), NULL));
    if (!sl_tracer_named(&t->sdk, "new in the child"))
        return 2;
    sl_span_thread_trim();
    return 0;
}

static bool count_child(void *user, uint32_t tag, const uint8_t *data, size_t len)
{
    sl_otlp_span span;
    int *counts = user;
    (void)tag;
    if (sl_otlp_read_span(sl_str_of((const char *)data, len), &span))
        counts[0]++;
    else if (sl_str_eq_c(span.name, "in the child"))
        counts[1]++;
    else if (sl_str_eq_c(span.name, "adopted"))
        counts[2]++;
    else
        counts[3]++;
    return true;
}

SL_TEST(span_over_a_fork)
{
    sl_test_sdk t;
    int fd = memfd_create("spans", MFD_CLOEXEC);
    sl_test_sdk_init(&t, &(sl_test_sdk_options){.shared_fd = fd});
    sl_tracer *tracer = sl_tracer_named(&t.sdk, "lib");
    sl_span *open = sl_span_start(tracer, SL_STR("open"), NULL);
    sl_span_end(sl_span_start(tracer, SL_STR("pooled"), NULL));
    /* What this thread would draw next, the child must not draw. */
    sl_rng copy = sl_span_this.rng;
    sl_span_context next = {.flags = 0};
    (void)sl_rng_next(&copy);
    uint64_t words[2] = {sl_rng_next(&copy), sl_rng_next(&copy)};
    memcpy(next.trace_id, words, 16);
    pid_t child = fork();
    if (child == 0)
        _exit(child_of(&t, tracer, open, &next));
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
    CHECK_EQ(status, 0);
    sl_segment_release(t.sdk.segment, child);
    int counts[4] = {0};
    (void)sl_segment_drain(t.sdk.segment, SL_RING_SPANS, count_child, counts);
    CHECK_EQ(counts[0], 0);
    CHECK_EQ(counts[1], 100);
    CHECK_EQ(counts[2], 1);
    CHECK_EQ(counts[3], 1); /* "pooled", which the parent had ended */
    sl_span_end(open);
    (void)sl_segment_drain(t.sdk.segment, SL_RING_SPANS, count_child, counts);
    CHECK_EQ(counts[3], 2);
    sl_test_sdk_done(&t);
    close(fd);
}
