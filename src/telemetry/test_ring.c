/* Rings: records come out as they went in, whatever the sizes, threads and damage. */
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/rng.h"
#include "src/telemetry/segment_layout.h"
#include "src/telemetry/test_ring_records.h"
#include "tests/harness/sl_test.h"

/* Children of a process with threads: under TSan, too; that the threads are not theirs to join is no fault. */
const char *__tsan_default_options(void); /* NOLINT(bugprone-reserved-identifier): the sanitizer's name */
__attribute__((visibility("default"))) const char *
__tsan_default_options(void) /* NOLINT(bugprone-reserved-identifier) */
{
    return "die_after_fork=0:report_thread_leaks=0";
}

static const sl_segment_options small = {
    .size_bytes = 2u << 20, .threads = 4, .cells = 64, .span_ring_bytes = 16384, .log_ring_bytes = 4096};

static sl_segment *open_small(void)
{
    sl_segment *s = NULL;
    CHECK_EQ(sl_segment_new(&small, &s), 0);
    return s;
}

SL_TEST(ring_gives_back_what_was_written)
{
    sl_segment *s = open_small();
    REQUIRE(s);
    seen got = {0};
    for (uint64_t i = 0; i < 20; i++)
        CHECK_EQ(write_one(s, SL_RING_SPANS, i, (size_t)i * 7), 0);
    CHECK_EQ(sl_segment_drain(s, SL_RING_LOGS, in_order, &got), 0);
    CHECK_EQ(sl_segment_drain(s, SL_RING_SPANS, in_order, &got), 20);
    CHECK_EQ(got.wrong, 0);
    sl_ring_stats stats;
    sl_segment_ring_stats(s, SL_RING_SPANS, &stats);
    CHECK_EQ(stats.written, 20);
    CHECK_EQ(stats.dropped, 0);
    CHECK_EQ(stats.used_bytes, 0);
    CHECK_EQ(stats.size_bytes, 2 * 16384);
    sl_segment_free(s);
}

static bool note_empty(void *user, uint32_t tag, const uint8_t *data, size_t len)
{
    (void)data;
    *(uint32_t *)user = tag + (uint32_t)len;
    return true;
}

SL_TEST(ring_takes_an_empty_record)
{
    sl_segment *s = open_small();
    REQUIRE(s);
    uint32_t tag = 0;
    CHECK_EQ(sl_segment_write(s, SL_RING_SPANS, 0x10005u, NULL, 0), 0);
    CHECK_EQ(sl_segment_drain(s, SL_RING_SPANS, note_empty, &tag), 1);
    CHECK_EQ(tag, 0x10005);
    sl_segment_free(s);
}

/* Every size around every position: the wrap is met in all ways. */
SL_TEST(ring_wraps_at_every_position)
{
    sl_segment *s = open_small();
    REQUIRE(s);
    seen got = {0};
    sl_rng rng;
    sl_rng_init_seed(&rng, 7);
    uint64_t number = 0;
    for (int i = 0; i < 30000; i++) {
        size_t len = (size_t)(sl_rng_next(&rng) % 1000);
        CHECK_EQ(write_one(s, SL_RING_LOGS, number, len), 0);
        number++;
        CHECK_EQ(sl_segment_drain(s, SL_RING_LOGS, in_order, &got), 1);
    }
    CHECK_EQ(got.wrong, 0);
    CHECK_EQ(got.count, number);
    sl_segment_free(s);
}

SL_TEST(ring_full_refuses_and_counts)
{
    sl_segment *s = open_small();
    REQUIRE(s);
    seen got = {0};
    uint64_t number = 0, refused = 0;
    for (int i = 0; i < 500; i++) {
        if (write_one(s, SL_RING_LOGS, number, 100) == 0)
            number++;
        else
            refused++;
    }
    CHECK(number > 25 && number < 45);
    sl_ring_stats stats;
    sl_segment_ring_stats(s, SL_RING_LOGS, &stats);
    CHECK_EQ(stats.written, number);
    CHECK_EQ(stats.dropped, refused);
    CHECK(stats.used_bytes <= 4096);
    CHECK_EQ(sl_segment_drain(s, SL_RING_LOGS, in_order, &got), number);
    CHECK_EQ(got.wrong, 0);
    CHECK_EQ(write_one(s, SL_RING_LOGS, number, 100), 0); /* room again */
    sl_segment_free(s);
}

SL_TEST(ring_refuses_a_record_above_a_quarter)
{
    sl_segment *s = open_small();
    REQUIRE(s);
    size_t most = sl_segment_max_record(s, SL_RING_SPANS);
    CHECK_EQ(write_one(s, SL_RING_SPANS, 0, most), 0);
    CHECK_EQ(write_one(s, SL_RING_SPANS, 0, most + 1), SL_ELIMIT);
    sl_ring_stats stats;
    sl_segment_ring_stats(s, SL_RING_SPANS, &stats);
    CHECK_EQ(stats.written, 1);
    CHECK_EQ(stats.dropped, 1);
    sl_segment_free(s);
}

SL_TEST(ring_limit_counts_records)
{
    sl_segment *s = open_small();
    REQUIRE(s);
    seen got = {0};
    sl_segment_set_ring_limit(s, SL_RING_SPANS, 3);
    for (uint64_t i = 0; i < 3; i++)
        CHECK_EQ(write_one(s, SL_RING_SPANS, i, 10), 0);
    CHECK_EQ(write_one(s, SL_RING_SPANS, 3, 10), SL_ELIMIT);
    CHECK_EQ(sl_segment_drain(s, SL_RING_SPANS, in_order, &got), 3);
    CHECK_EQ(write_one(s, SL_RING_SPANS, 3, 10), 0);
    sl_segment_set_ring_limit(s, SL_RING_SPANS, 0);
    for (uint64_t i = 4; i < 50; i++)
        CHECK_EQ(write_one(s, SL_RING_SPANS, i, 10), 0);
    CHECK_EQ(sl_segment_drain(s, SL_RING_SPANS, in_order, &got), 47);
    CHECK_EQ(got.wrong, 0);
    sl_segment_free(s);
}

/* The record that the receiver refuses comes again. */
SL_TEST(ring_receiver_may_stop)
{
    sl_segment *s = open_small();
    REQUIRE(s);
    seen got = {.stop_after = 4};
    for (uint64_t i = 0; i < 10; i++)
        CHECK_EQ(write_one(s, SL_RING_SPANS, i, 30), 0);
    CHECK_EQ(sl_segment_drain(s, SL_RING_SPANS, in_order, &got), 4);
    CHECK_EQ(sl_segment_drain(s, SL_RING_SPANS, in_order, &got), 0);
    got.stop_after = 0;
    CHECK_EQ(sl_segment_drain(s, SL_RING_SPANS, in_order, &got), 6);
    CHECK_EQ(got.wrong, 0);
    sl_segment_free(s);
}

SL_TEST(ring_wakes_once_when_half_full)
{
    sl_segment *s;
    sl_segment_options options = small;
    options.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    REQUIRE(sl_segment_new(&options, &s) == 0);
    uint64_t count, number = 0;
    seen got = {0};
    while (read(options.wake_fd, &count, 8) != 8 && number < 100)
        CHECK_EQ(write_one(s, SL_RING_LOGS, number++, 200), 0);
    CHECK(number >= 8 && number <= 11);
    CHECK_EQ(write_one(s, SL_RING_LOGS, number++, 200), 0);
    CHECK(read(options.wake_fd, &count, 8) < 0); /* once */
    sl_segment_rearm(s);
    CHECK_EQ(write_one(s, SL_RING_LOGS, number++, 200), 0);
    CHECK(read(options.wake_fd, &count, 8) == 8);
    CHECK_EQ(sl_segment_drain(s, SL_RING_LOGS, in_order, &got), number);
    sl_segment_free(s);
    close(options.wake_fd);
}

/* What the thread saw of the reader earlier does not wake it: it looks again first. */
SL_TEST(ring_that_was_drained_does_not_wake)
{
    sl_segment *s;
    sl_segment_options options = small;
    options.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    REQUIRE(sl_segment_new(&options, &s) == 0);
    uint64_t count, number = 0;
    seen got = {0};
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 5; i++) /* 5 * 224 bytes of 4096 */
            CHECK_EQ(write_one(s, SL_RING_LOGS, number++, 200), 0);
        CHECK(read(options.wake_fd, &count, 8) < 0);
        CHECK_EQ(sl_segment_drain(s, SL_RING_LOGS, in_order, &got), 5);
        sl_segment_rearm(s);
    }
    sl_segment_set_ring_limit(s, SL_RING_LOGS, 12);
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 5; i++)
            CHECK_EQ(write_one(s, SL_RING_LOGS, number++, 8), 0);
        CHECK(read(options.wake_fd, &count, 8) < 0);
        CHECK_EQ(sl_segment_drain(s, SL_RING_LOGS, in_order, &got), 5);
        sl_segment_rearm(s);
    }
    for (int i = 0; i < 6; i++)
        CHECK_EQ(write_one(s, SL_RING_LOGS, number++, 8), 0);
    CHECK(read(options.wake_fd, &count, 8) == 8); /* half of the limit */
    CHECK_EQ(got.wrong, 0);
    sl_segment_free(s);
    close(options.wake_fd);
}

/* ---- waiting for the reader ---- */

typedef struct late {
    sl_segment *segment;
    seen got;
    uint64_t wanted;
} late;

static void *read_late(void *user)
{
    late *l = user;
    for (int i = 0; i < 5000 && l->got.count < l->wanted; i++) {
        usleep(i ? 1000 : 50000);
        (void)sl_segment_drain(l->segment, SL_RING_SPANS, in_order, &l->got);
        sl_segment_rearm(l->segment);
    }
    return NULL;
}

/* At the end of a process, what finds its ring full is not lost while somebody reads. */
SL_TEST(ring_that_may_wait_loses_nothing)
{
    late l = {.wanted = 500};
    pthread_t reader;
    REQUIRE(sl_segment_new(&small, &l.segment) == 0);
    sl_segment_set_ring_limit(l.segment, SL_RING_SPANS, 7);
    sl_segment_wait_until(l.segment, sl_mono_ns() + 60000000000u);
    REQUIRE(pthread_create(&reader, NULL, read_late, &l) == 0);
    for (uint64_t number = 0; number < l.wanted; number++)
        CHECK_EQ(write_one(l.segment, SL_RING_SPANS, number, 100), 0);
    pthread_join(reader, NULL);
    sl_ring_stats stats;
    sl_segment_ring_stats(l.segment, SL_RING_SPANS, &stats);
    CHECK_EQ(l.got.count, l.wanted);
    CHECK_EQ(l.got.wrong, 0);
    CHECK_EQ(stats.dropped, 0);
    sl_segment_free(l.segment);
}

/* Without a reader all of them together wait no longer than they may; what never fits does not wait. */
SL_TEST(ring_waits_no_longer_than_it_may)
{
    sl_segment *s;
    REQUIRE(sl_segment_new(&small, &s) == 0);
    sl_segment_set_ring_limit(s, SL_RING_SPANS, 2);
    uint64_t begun = sl_mono_ns(), until = begun + 60000000u;
    sl_segment_wait_until(s, until);
    CHECK_EQ(write_one(s, SL_RING_SPANS, 0, 100), 0);
    CHECK_EQ(write_one(s, SL_RING_SPANS, 1, 100), 0);
    CHECK_EQ(write_one(s, SL_RING_LOGS, 0, sl_segment_max_record(s, SL_RING_LOGS) + 1), SL_ELIMIT);
    for (int i = 0; i < 20; i++)
        CHECK_EQ(write_one(s, SL_RING_SPANS, 2, 100), SL_ELIMIT);
    uint64_t took = sl_mono_ns() - begun;
    CHECK(took >= 60000000u);
    CHECK(took < 1000000000u);
    sl_ring_stats stats;
    sl_segment_ring_stats(s, SL_RING_SPANS, &stats);
    CHECK_EQ(stats.dropped, 20);
    sl_segment_wait_until(s, 0);
    CHECK_EQ(write_one(s, SL_RING_SPANS, 2, 100), SL_ELIMIT);
    sl_segment_free(s);
}

/* A lost record wakes the reader even of a ring with room for smaller ones. */
SL_TEST(ring_wakes_when_it_loses)
{
    sl_segment *s;
    sl_segment_options options = small;
    options.wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    REQUIRE(sl_segment_new(&options, &s) == 0);
    uint64_t count;
    CHECK_EQ(write_one(s, SL_RING_LOGS, 0, sl_segment_max_record(s, SL_RING_LOGS) + 1), SL_ELIMIT);
    CHECK(read(options.wake_fd, &count, 8) == 8);
    CHECK_EQ(write_one(s, SL_RING_LOGS, 0, sl_segment_max_record(s, SL_RING_LOGS) + 1), SL_ELIMIT);
    CHECK(read(options.wake_fd, &count, 8) < 0);
    sl_segment_free(s);
    close(options.wake_fd);
}

typedef struct refill {
    sl_segment *segment;
    seen got;
    uint64_t next;      /* number to write */
    uint64_t refused;   /* before the first that went in */
    uint64_t read_then; /* records read when the first went in */
} refill;

static bool write_while_reading(void *user, uint32_t tag, const uint8_t *data, size_t len)
{
    refill *r = user;
    if (!r->read_then) {
        if (write_one(r->segment, SL_RING_LOGS, r->next, 100) == 0) {
            r->next++;
            r->read_then = r->got.count;
        } else {
            r->refused++;
        }
    }
    return in_order(&r->got, tag, data, len);
}

/* The reader gives room back while it drains, an eighth of the ring at a time. */
SL_TEST(ring_room_comes_back_while_it_is_drained)
{
    refill r = {.segment = open_small()};
    REQUIRE(r.segment);
    while (write_one(r.segment, SL_RING_LOGS, r.next, 100) == 0)
        r.next++;
    uint64_t first = r.next;
    CHECK_EQ(sl_segment_drain(r.segment, SL_RING_LOGS, write_while_reading, &r), first);
    CHECK_EQ(r.read_then, 4); /* 4 * 128 bytes */
    CHECK_EQ(r.refused, 4);
    CHECK_EQ(sl_segment_drain(r.segment, SL_RING_LOGS, write_while_reading, &r), 1);
    CHECK_EQ(r.got.wrong, 0);
    sl_segment_free(r.segment);
}

/* However many of the waiting records are read, so many go in again, not one more. */
SL_TEST(ring_limit_is_exact_after_a_part_was_read)
{
    for (uint64_t part = 0; part <= 7; part++) {
        sl_segment *s = open_small();
        REQUIRE(s);
        sl_segment_set_ring_limit(s, SL_RING_SPANS, 7);
        uint64_t number = 0, taken = 0;
        seen got = {.stop_after = part};
        while (write_one(s, SL_RING_SPANS, number, 10) == 0)
            number++;
        CHECK_EQ(number, 7);
        if (part)
            CHECK_EQ(sl_segment_drain(s, SL_RING_SPANS, in_order, &got), part);
        for (; write_one(s, SL_RING_SPANS, number, 10) == 0; number++)
            taken++;
        CHECK_EQ(taken, part);
        got.stop_after = 0;
        CHECK_EQ(sl_segment_drain(s, SL_RING_SPANS, in_order, &got), 7);
        CHECK_EQ(got.wrong, 0);
        sl_segment_free(s);
    }
}

/* ---- threads ---- */

#define THREADS 7
#define RECORDS 20000

typedef struct crew {
    sl_segment *segment;
    _Atomic uint64_t refused;
    _Atomic int running;
    _Atomic int number;
} crew;

/* Records carry the thread in the upper half of their number. */
static void *write_many(void *user)
{
    crew *c = user;
    uint64_t me = (uint64_t)atomic_fetch_add(&c->number, 1) << 32;
    for (uint64_t i = 0; i < RECORDS; i++) {
        if (write_one(c->segment, SL_RING_SPANS, me | i, 8 + (size_t)(i % 90)))
            atomic_fetch_add(&c->refused, 1);
    }
    atomic_fetch_sub(&c->running, 1);
    return NULL;
}

typedef struct per_thread {
    uint64_t count[THREADS], last[THREADS], turned[THREADS], wrong;
} per_thread;

static bool sort_by_thread(void *user, uint32_t tag, const uint8_t *data, size_t len)
{
    per_thread *p = user;
    uint64_t number = 0;
    if (!record_is(data, len, &number) || tag != (uint32_t)number || number >> 32 >= THREADS) {
        p->wrong++;
        return true;
    }
    uint64_t thread = number >> 32, i = number & UINT32_MAX;
    if (p->count[thread] && i <= p->last[thread])
        p->turned[thread]++;
    p->last[thread] = i;
    p->count[thread]++;
    return true;
}

/* Seven threads and a reader, four blocks: three threads share one ring. Every record arrives once or is counted. */
SL_TEST(ring_threads_and_a_reader)
{
    crew c = {.segment = open_small(), .running = THREADS};
    REQUIRE(c.segment);
    static per_thread got;
    memset(&got, 0, sizeof got);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, write_many, &c) == 0);
    size_t drained = 0;
    while (atomic_load(&c.running) > 0)
        drained += sl_segment_drain(c.segment, SL_RING_SPANS, sort_by_thread, &got);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    drained += sl_segment_drain(c.segment, SL_RING_SPANS, sort_by_thread, &got);
    sl_ring_stats stats;
    sl_segment_ring_stats(c.segment, SL_RING_SPANS, &stats);
    CHECK_EQ(got.wrong, 0);
    for (int i = 0; i < THREADS; i++)
        CHECK(got.turned[i] <= 1); /* a thread's order stays, but when it moves from the shared ring to its own */
    CHECK_EQ(stats.written, drained);
    CHECK_EQ(stats.dropped, atomic_load(&c.refused));
    CHECK_EQ(drained + atomic_load(&c.refused), (uint64_t)THREADS * RECORDS);
    sl_segment_free(c.segment);
}

/* Short threads hand a block's ring on from one to the next, also while it is being read. */
SL_TEST(ring_block_changes_hands)
{
    crew c = {.segment = open_small()};
    REQUIRE(c.segment);
    static per_thread got;
    memset(&got, 0, sizeof got);
    size_t drained = 0;
    for (int i = 0; i < THREADS; i++) {
        pthread_t thread;
        atomic_store(&c.running, 1);
        REQUIRE(pthread_create(&thread, NULL, write_many, &c) == 0);
        while (atomic_load(&c.running) > 0)
            drained += sl_segment_drain(c.segment, SL_RING_SPANS, sort_by_thread, &got);
        pthread_join(thread, NULL);
    }
    drained += sl_segment_drain(c.segment, SL_RING_SPANS, sort_by_thread, &got);
    CHECK_EQ(got.wrong, 0);
    for (int i = 0; i < THREADS; i++)
        CHECK_EQ(got.turned[i], 0);
    CHECK_EQ(drained + atomic_load(&c.refused), (uint64_t)THREADS * RECORDS);
    sl_segment_free(c.segment);
}

/* ---- processes ---- */

/* Three children at once write into segments of their own, shared with this process, and die without a word. */
SL_TEST(ring_between_processes)
{
    enum { CHILDREN = 3, EACH = 5000 };
    sl_segment *segments[CHILDREN];
    int fds[CHILDREN];
    pid_t children[CHILDREN];
    for (int i = 0; i < CHILDREN; i++) {
        fds[i] = memfd_create("ring", MFD_CLOEXEC);
        REQUIRE(sl_segment_new_shared(&small, fds[i], &segments[i]) == 0);
        children[i] = fork();
        if (children[i] == 0) {
            sl_segment_adopt(segments[i], -1);
            for (uint64_t n = 0; n < EACH;) {
                if (write_one(segments[i], SL_RING_SPANS, n, 8 + (size_t)(n % 50)) == 0)
                    n++;
            }
            kill(getpid(), SIGKILL);
        }
    }
    seen got[CHILDREN] = {{0}};
    int alive = CHILDREN;
    while (alive > 0) {
        for (int i = 0; i < CHILDREN; i++)
            (void)sl_segment_drain(segments[i], SL_RING_SPANS, in_order, &got[i]);
        if (waitpid(-1, NULL, WNOHANG) > 0)
            alive--;
    }
    for (int i = 0; i < CHILDREN; i++) {
        (void)sl_segment_drain(segments[i], SL_RING_SPANS, in_order, &got[i]);
        CHECK_EQ(got[i].wrong, 0);
        CHECK_EQ(got[i].count, EACH);
        sl_segment_free(segments[i]);
        close(fds[i]);
    }
}

/* A child of a process whose threads are in the middle of a write, one of them with the lock of the shared block. */
SL_TEST(ring_child_of_a_busy_process_never_waits)
{
    for (int shared = 0; shared < 2; shared++) {
        crew c = {.running = THREADS};
        int fd = shared ? memfd_create("ring", MFD_CLOEXEC) : -1;
        REQUIRE((shared ? sl_segment_new_shared(&small, fd, &c.segment) : sl_segment_new(&small, &c.segment)) == 0);
        pthread_t threads[THREADS];
        for (int i = 0; i < THREADS; i++)
            REQUIRE(pthread_create(&threads[i], NULL, write_many, &c) == 0);
        for (int i = 0; i < 20; i++) {
            pid_t child = fork();
            if (child == 0) {
                alarm(20);
                bool ok = write_one(c.segment, SL_RING_SPANS, 1, 50) == SL_ECLOSED;
                if (!shared) {
                    seen got = {.next = 7};
                    sl_segment_adopt(c.segment, -1);
                    ok = ok && write_one(c.segment, SL_RING_SPANS, 7, 50) == 0 &&
                         sl_segment_drain(c.segment, SL_RING_SPANS, in_order, &got) == 1 && got.wrong == 0;
                }
                _exit(ok ? 0 : 1);
            }
            int status = -1;
            CHECK_EQ(waitpid(child, &status, 0), child);
            CHECK_EQ(status, 0);
        }
        for (int i = 0; i < THREADS; i++)
            pthread_join(threads[i], NULL);
        sl_segment_free(c.segment);
        if (fd >= 0)
            close(fd);
    }
}

/* ---- damage ---- */

static bool touch(void *user, uint32_t tag, const uint8_t *data, size_t len)
{
    (void)tag;
    for (size_t i = 0; i < len; i++)
        *(uint64_t *)user += data[i];
    return true;
}

static sl_ring *first_ring(sl_segment *s)
{
    return &sl_segment_block_at(s, 1)->rings[SL_RING_LOGS];
}

/* Positions and record heads that nobody wrote: no read outside, no endless loop, and the ring works afterwards. */
SL_TEST(ring_with_damaged_positions)
{
    static const uint64_t bad[] = {1, 7, 4095, 4097, 1u << 20, UINT64_MAX, UINT64_MAX - 15, UINT64_MAX - 4096, 16, 32};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        for (int which = 0; which < 2; which++) {
            sl_segment *s = open_small();
            REQUIRE(s);
            uint64_t sum = 0;
            for (uint64_t n = 0; n < 5; n++)
                CHECK_EQ(write_one(s, SL_RING_LOGS, n, 50), 0);
            atomic_store(which ? &first_ring(s)->head : &first_ring(s)->tail, bad[i]);
            (void)sl_segment_drain(s, SL_RING_LOGS, touch, &sum);
            (void)sl_segment_drain(s, SL_RING_LOGS, touch, &sum);
            sl_ring_stats stats;
            sl_segment_ring_stats(s, SL_RING_LOGS, &stats);
            sl_segment_free(s);
        }
    }
}

SL_TEST(ring_with_damaged_records)
{
    sl_rng rng;
    sl_rng_init_seed(&rng, 3);
    for (int round = 0; round < 3000; round++) {
        sl_segment *s = open_small();
        REQUIRE(s);
        uint64_t sum = 0;
        seen got = {0};
        for (uint64_t n = 0; n < 12; n++)
            CHECK_EQ(write_one(s, SL_RING_LOGS, n, 50), 0);
        uint8_t *data = (uint8_t *)sl_segment_block_at(s, 1) + s->shape->ring_offset[SL_RING_LOGS];
        for (int i = 0; i < 4; i++)
            data[sl_rng_next(&rng) % 1024] = (uint8_t)sl_rng_next(&rng);
        (void)sl_segment_drain(s, SL_RING_LOGS, touch, &sum);
        CHECK_EQ(write_one(s, SL_RING_LOGS, 0, 50), 0);
        CHECK_EQ(sl_segment_drain(s, SL_RING_LOGS, in_order, &got), 1);
        CHECK_EQ(got.wrong, 0);
        sl_segment_free(s);
    }
}

/* A reader that has counted more than there was does not close the ring for good. */
SL_TEST(ring_whose_reader_has_miscounted_goes_on)
{
    sl_segment *s = open_small();
    REQUIRE(s);
    seen got = {0};
    sl_segment_set_ring_limit(s, SL_RING_LOGS, 2);
    atomic_store(&first_ring(s)->consumed, 5);
    uint64_t number = 0;
    while (number < 100 && write_one(s, SL_RING_LOGS, number, 8) == 0)
        number++;
    CHECK(number >= 2 && number <= 7);
    CHECK_EQ(sl_segment_drain(s, SL_RING_LOGS, in_order, &got), number);
    CHECK_EQ(write_one(s, SL_RING_LOGS, number, 8), 0);
    sl_segment_free(s);
}

/* What a damaged ring loses is counted, and the queue limit does not count it as waiting. */
SL_TEST(ring_damage_is_counted)
{
    sl_segment *s = open_small();
    REQUIRE(s);
    seen got = {0};
    sl_segment_set_ring_limit(s, SL_RING_LOGS, 4);
    for (uint64_t n = 0; n < 4; n++)
        CHECK_EQ(write_one(s, SL_RING_LOGS, n, 50), 0);
    uint8_t *data = (uint8_t *)sl_segment_block_at(s, 1) + s->shape->ring_offset[SL_RING_LOGS];
    data[80 + 12] ^= 1; /* kind of the second record */
    CHECK_EQ(sl_segment_drain(s, SL_RING_LOGS, in_order, &got), 1);
    sl_ring_stats stats;
    sl_segment_ring_stats(s, SL_RING_LOGS, &stats);
    CHECK_EQ(stats.written, 4);
    CHECK_EQ(stats.dropped, 3);
    for (uint64_t n = 0; n < 4; n++)
        CHECK_EQ(write_one(s, SL_RING_LOGS, n, 50), 0);
    sl_segment_free(s);
}
