/* Rings that are sized for a queue: room for a burst while the reader is late, which is woken early all the same. */
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "src/base/rng.h"
#include "src/telemetry/segment_layout.h"
#include "src/telemetry/test_ring_records.h"
#include "tests/harness/sl_test.h"

#define LARGE (4u << 20)

static sl_segment *open_large(int wake_fd)
{
    sl_segment_options options = {.threads = 2, .cells = 64, .span_ring_bytes = LARGE, .wake_fd = wake_fd};
    options.size_bytes = sl_segment_size_for(&options);
    sl_segment *s = NULL;
    CHECK_EQ(sl_segment_new(&options, &s), 0);
    return s;
}

/* Records of about `len` bytes until the ring takes no more; how many. */
static uint64_t fill(sl_segment *s, uint64_t number, size_t len)
{
    uint64_t first = number;
    while (write_one(s, SL_RING_SPANS, number, len) == 0)
        number++;
    return number - first;
}

/* Wherever it stands: a ring without its reader takes what it is large. */
SL_TEST(ring_takes_all_that_fits_when_the_reader_is_late)
{
    for (unsigned before = 0; before < 60; before++) {
        sl_segment *s = open_large(-1);
        REQUIRE(s);
        seen got = {0};
        uint64_t number = 0;
        for (unsigned i = 0; i < before * 400; i++) {
            CHECK_EQ(write_one(s, SL_RING_SPANS, number++, 200), 0);
            if (i % 100 == 99)
                (void)sl_segment_drain(s, SL_RING_SPANS, in_order, &got);
        }
        (void)sl_segment_drain(s, SL_RING_SPANS, in_order, &got);
        uint64_t count = fill(s, number, 200);
        CHECK(count >= (LARGE - 224) / 224);
        CHECK_EQ(sl_segment_drain(s, SL_RING_SPANS, in_order, &got), count);
        CHECK_EQ(got.wrong, 0);
        CHECK_EQ(got.next, number + count);
        sl_segment_free(s);
    }
}

SL_TEST(ring_large_wakes_long_before_it_is_full)
{
    int wake_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    sl_segment *s = open_large(wake_fd);
    REQUIRE(s);
    uint64_t woken, number = 0;
    while (read(wake_fd, &woken, 8) != 8 && number < 100000)
        CHECK_EQ(write_one(s, SL_RING_SPANS, number++, 200), 0);
    CHECK(number * 224 >= SL_RING_WAKE_BYTES);
    CHECK(number * 224 <= SL_RING_WAKE_BYTES + 2048);
    sl_segment_free(s);
    close(wake_fd);
}

/* Any sizes, a reader that comes at any time: what was taken comes out once and in order. */
SL_TEST(ring_large_against_a_count)
{
    for (uint64_t seed = 1; seed <= 8; seed++) {
        sl_segment *s = open_large(-1);
        REQUIRE(s);
        sl_rng rng;
        sl_rng_init_seed(&rng, seed);
        seen got = {0};
        uint64_t number = 0, lost = 0;
        for (int i = 0; i < 60000; i++) {
            size_t len = 8 + (size_t)(sl_rng_next(&rng) % (seed % 2 ? 300 : 6000));
            if (write_one(s, SL_RING_SPANS, number, len) == 0)
                number++;
            else
                lost++;
            uint64_t dice = sl_rng_next(&rng) % 4096;
            got.stop_after = dice < 100 ? got.count + dice : 0; /* a part of what waits, or all */
            if (dice < 40 * seed)
                (void)sl_segment_drain(s, SL_RING_SPANS, in_order, &got);
        }
        got.stop_after = 0;
        (void)sl_segment_drain(s, SL_RING_SPANS, in_order, &got);
        sl_ring_stats stats;
        sl_segment_ring_stats(s, SL_RING_SPANS, &stats);
        CHECK_EQ(got.wrong, 0);
        CHECK_EQ(got.count, number);
        CHECK_EQ(stats.written, number);
        CHECK_EQ(stats.dropped, lost);
        CHECK_EQ(stats.used_bytes, 0);
        sl_segment_free(s);
    }
}

typedef struct duo {
    sl_segment *segment;
    uint64_t refused;
    _Atomic bool done;
} duo;

static void *record_many(void *user)
{
    duo *d = user;
    uint64_t number = 0;
    while (number < 400000) {
        if (write_one(d->segment, SL_RING_SPANS, number, 8 + (size_t)(number % 200)) == 0)
            number++;
        else
            d->refused++; /* the same again */
    }
    atomic_store(&d->done, true);
    return NULL;
}

/* A thread that records as fast as it can, and a reader beside it. */
SL_TEST(ring_large_with_a_reader_beside_it)
{
    duo d = {.segment = open_large(-1)};
    REQUIRE(d.segment);
    seen got = {0};
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, record_many, &d) == 0);
    while (!atomic_load(&d.done))
        (void)sl_segment_drain(d.segment, SL_RING_SPANS, in_order, &got);
    pthread_join(thread, NULL);
    (void)sl_segment_drain(d.segment, SL_RING_SPANS, in_order, &got);
    sl_ring_stats stats;
    sl_segment_ring_stats(d.segment, SL_RING_SPANS, &stats);
    CHECK_EQ(got.wrong, 0);
    CHECK_EQ(got.count, 400000);
    CHECK_EQ(stats.dropped, d.refused);
    sl_segment_free(d.segment);
}

/* ---- sizes ---- */

SL_TEST(ring_room_of_a_queue)
{
    static const struct {
        sl_ring_kind kind;
        uint64_t records;
        uint32_t bytes;
    } cases[] = {
        {SL_RING_SPANS, 0, SL_SPAN_RING_BYTES},
        {SL_RING_SPANS, 1, SL_SPAN_RING_BYTES},
        {SL_RING_SPANS, 2048, SL_SPAN_RING_BYTES},
        {SL_RING_SPANS, 2049, 2u << 20},
        {SL_RING_SPANS, 16384, 8u << 20},
        {SL_RING_SPANS, 65535, 32u << 20},
        {SL_RING_SPANS, 65536, SL_MAX_RING_BYTES},
        {SL_RING_SPANS, 1u << 24, SL_MAX_RING_BYTES},
        {SL_RING_SPANS, UINT64_MAX, SL_MAX_RING_BYTES},
        {SL_RING_LOGS, 2048, SL_LOG_RING_BYTES},
        {SL_RING_LOGS, 16384, 4u << 20},
        {SL_RING_LOGS, 131072, SL_MAX_RING_BYTES},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        CHECK_EQ(sl_segment_ring_room(cases[i].kind, cases[i].records), cases[i].bytes);
}

SL_TEST(segment_size_for_its_rings)
{
    sl_segment_options options = {0};
    CHECK_EQ(sl_segment_size_for(&options), SL_SEGMENT_BYTES);
    for (uint32_t ring = SL_SPAN_RING_BYTES; ring <= SL_MAX_RING_BYTES; ring *= 2) {
        sl_segment *s = NULL;
        options = (sl_segment_options){
            .threads = 8, .span_ring_bytes = ring, .log_ring_bytes = ring, .size_bytes = 64u << 20};
        options.cells = SL_SEGMENT_CELLS;
        options.size_bytes = sl_segment_size_for(&options);
        REQUIRE(sl_segment_new(&options, &s) == 0);
        CHECK_EQ(s->shape->block_count, 9);
        CHECK_EQ(s->shape->ring_bytes[SL_RING_SPANS], ring);
        sl_segment_free(s);
    }
}
