/* The segment: layout, claiming of blocks, cells, metadata, sharing between processes, files from outside. */
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/rng.h"
#include "src/telemetry/segment_layout.h"
#include "tests/harness/sl_test.h"

static const sl_segment_options small = {
    .size_bytes = 2u << 20, .threads = 4, .cells = 256, .span_ring_bytes = 16384, .log_ring_bytes = 8192};

SL_TEST(segment_has_the_sizes_asked_for)
{
    sl_segment *s;
    REQUIRE(sl_segment_new(&small, &s) == 0);
    CHECK_EQ(s->shape->block_count, 5);
    CHECK_EQ(s->shape->cells, 256);
    CHECK_EQ(s->shape->ring_bytes[SL_RING_SPANS], 16384);
    CHECK_EQ(s->shape->ring_bytes[SL_RING_LOGS], 8192);
    CHECK_EQ(sl_segment_pid(s), getpid());
    CHECK_EQ(sl_segment_blocks(s), 1);
    CHECK_EQ(sl_segment_max_record(s, SL_RING_SPANS), 16384 / 4 - 16);
    sl_segment_free(s);
    sl_segment_free(NULL);
}

SL_TEST(segment_defaults)
{
    sl_segment *s;
    REQUIRE(sl_segment_new(NULL, &s) == 0);
    CHECK_EQ(s->shape->block_count, SL_SEGMENT_THREADS + 1);
    CHECK_EQ(s->shape->ring_bytes[SL_RING_SPANS], SL_SPAN_RING_BYTES);
    CHECK_EQ(s->shape->cells, SL_SEGMENT_CELLS);
    sl_segment_free(s);
}

SL_TEST(segment_refuses_what_cannot_be)
{
    sl_segment *s = NULL;
    sl_segment_options tight = {.size_bytes = 4u << 20, .threads = 4, .cells = 1u << 20};
    CHECK_EQ(sl_segment_new(&tight, &s), SL_EINVAL);
    CHECK(!s);
    CHECK_EQ(sl_segment_new_shared(&small, -1, &s), SL_EINVAL);
    CHECK_EQ(sl_segment_new_shared(&small, 9999, &s), SL_EIO);
    CHECK_EQ(sl_segment_open(9999, &s), SL_EIO);
    CHECK(!s);
}

SL_TEST(segment_gets_smaller_with_little_address_space)
{
    pid_t child = fork();
    if (child == 0) {
        struct rlimit limit = {100u << 20, 100u << 20};
        sl_segment *s = NULL;
        if (setrlimit(RLIMIT_AS, &limit) || sl_segment_new(NULL, &s))
            _exit(1);
        sl_segment_add(s, 0, 7);
        _exit(s->size < SL_SEGMENT_BYTES && sl_segment_sum(s, 0) == 7 ? 0 : 2);
    }
    int status = -1;
    CHECK(waitpid(child, &status, 0) == child);
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
    CHECK_EQ(status, 0);
#endif
}

SL_TEST(segment_every_allocation_failing)
{
    for (long n = 0;; n++) {
        sl_segment *s = NULL;
        sl_test_fail_alloc(n);
        int error = sl_segment_new(&small, &s);
        sl_test_fail_alloc(-1);
        if (!error) {
            sl_segment_free(s);
            CHECK(n >= 2);
            break;
        }
        CHECK_EQ(error, SL_ENOMEM);
        CHECK(!s);
    }
}

/* ---- metadata ---- */

SL_TEST(segment_metadata_is_a_list)
{
    sl_segment *s;
    REQUIRE(sl_segment_new(&small, &s) == 0);
    CHECK_EQ(sl_segment_head(s, SL_LIST_SERIES), 0);
    uint64_t first, second;
    REQUIRE(sl_segment_alloc(s, 20, &first) == 0);
    REQUIRE(sl_segment_alloc(s, 1, &second) == 0);
    CHECK(first != 0 && first % 8 == 0);
    CHECK_EQ(second, first + 24);
    sl_segment_publish(s, SL_LIST_SERIES, first);
    sl_segment_publish(s, SL_LIST_SERIES, second);
    CHECK_EQ(sl_segment_head(s, SL_LIST_SERIES), second);
    uint64_t *record = sl_segment_at(s, second, 8);
    REQUIRE(record);
    CHECK_EQ(*record, first);
    sl_segment_free(s);
}

SL_TEST(segment_metadata_ends)
{
    sl_segment *s;
    REQUIRE(sl_segment_new(&small, &s) == 0);
    uint64_t offset = 0, count = 0, last = 0;
    CHECK_EQ(sl_segment_alloc(s, 0, &offset), SL_ELIMIT);
    CHECK_EQ(sl_segment_alloc(s, SIZE_MAX, &offset), SL_ELIMIT);
    CHECK_EQ(sl_segment_alloc(s, SIZE_MAX - 7, &offset), SL_ELIMIT);
    while (sl_segment_alloc(s, 1024, &offset) == 0) {
        CHECK(sl_segment_at(s, offset, 1024) != NULL);
        last = offset;
        count++;
    }
    CHECK(count > 10);
    CHECK(sl_segment_at(s, last, 1024 + 4096) == NULL);
    CHECK(sl_segment_at(s, 0, 1) == NULL);
    CHECK(sl_segment_at(s, last + 1, 1) == NULL);
    CHECK(sl_segment_at(s, UINT64_MAX - 7, 16) == NULL);
    CHECK(sl_segment_at(s, last, SIZE_MAX) == NULL);
    sl_segment_free(s);
}

/* ---- cells ---- */

SL_TEST(segment_cells_sum)
{
    sl_segment *s;
    REQUIRE(sl_segment_new(&small, &s) == 0);
    uint32_t a, b;
    REQUIRE(sl_segment_alloc_cells(s, 3, &a) == 0);
    REQUIRE(sl_segment_alloc_cells(s, 1, &b) == 0);
    CHECK_EQ(b, a + 3);
    sl_segment_add(s, a, 5);
    sl_segment_add(s, a, (uint64_t)-2);
    sl_segment_add(s, a + 2, 11);
    sl_segment_add_double(s, b, 0.5);
    sl_segment_add_double(s, b, 0.25);
    CHECK_EQ(sl_segment_sum(s, a), 3);
    CHECK(sl_segment_sum_double(s, b) == 0.75);
    uint64_t sums[3] = {1, 1, 1};
    sl_segment_sum_range(s, a, 3, sums);
    CHECK_EQ(sums[0], 4);
    CHECK_EQ(sums[1], 1);
    CHECK_EQ(sums[2], 12);
    atomic_store(sl_segment_shared_cell(s, a + 1), 9);
    CHECK_EQ(sl_segment_sum(s, a + 1), 9);
    sl_segment_zero(s, a, 3);
    CHECK_EQ(sl_segment_sum(s, a), 0);
    CHECK_EQ(sl_segment_sum(s, a + 1), 0);
    CHECK(sl_segment_sum_double(s, b) == 0.75);
    sl_segment_free(s);
}

SL_TEST(segment_cells_end)
{
    sl_segment *s;
    REQUIRE(sl_segment_new(&small, &s) == 0);
    uint32_t index = 77;
    CHECK_EQ(sl_segment_alloc_cells(s, 0, &index), SL_ELIMIT);
    CHECK_EQ(sl_segment_alloc_cells(s, 257, &index), SL_ELIMIT);
    CHECK_EQ(sl_segment_alloc_cells(s, UINT32_MAX, &index), SL_ELIMIT);
    CHECK_EQ(index, 77);
    CHECK_EQ(sl_segment_alloc_cells(s, 256, &index), SL_ELIMIT);
    CHECK_EQ(sl_segment_alloc_cells(s, 256 - SL_RESERVED_CELLS, &index), 0);
    CHECK_EQ(sl_segment_alloc_cells(s, 1, &index), SL_ELIMIT);
    sl_segment_free(s);
}

typedef struct adder {
    sl_segment *segment;
    uint32_t whole, real, rounds;
    pthread_barrier_t *together;
} adder;

static void *add_many(void *user)
{
    adder *a = user;
    if (a->together)
        pthread_barrier_wait(a->together);
    for (uint32_t i = 0; i < a->rounds; i++) {
        sl_segment_add(a->segment, a->whole, 1);
        sl_segment_add_double(a->segment, a->real, 0.5);
    }
    if (a->together)
        pthread_barrier_wait(a->together); /* all blocks are held until everybody has recorded */
    return NULL;
}

/* Twelve threads, four blocks: eight share one, and nothing is lost. */
SL_TEST(segment_more_threads_than_blocks)
{
    sl_segment *s;
    REQUIRE(sl_segment_new(&small, &s) == 0);
    enum { THREADS = 12, ROUNDS = 3000 };
    pthread_barrier_t together;
    pthread_barrier_init(&together, NULL, THREADS);
    adder a = {s, 0, 1, ROUNDS, &together};
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        REQUIRE(pthread_create(&threads[i], NULL, add_many, &a) == 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&together);
    CHECK_EQ(sl_segment_sum(s, 0), THREADS * ROUNDS);
    CHECK(sl_segment_sum_double(s, 1) == THREADS * ROUNDS * 0.5);
    CHECK_EQ(sl_segment_blocks(s), 5);
    CHECK(atomic_load(sl_segment_shared_cell(s, 0)) == (uint64_t)(THREADS - 4) * ROUNDS);
    sl_segment_free(s);
}

/* Blocks of threads that ended are used again: many short threads need few blocks. */
SL_TEST(segment_blocks_are_given_back)
{
    sl_segment *s;
    REQUIRE(sl_segment_new(&small, &s) == 0);
    adder a = {s, 0, 1, 10, NULL};
    for (int i = 0; i < 40; i++) {
        pthread_t thread;
        REQUIRE(pthread_create(&thread, NULL, add_many, &a) == 0);
        pthread_join(thread, NULL);
    }
    CHECK_EQ(sl_segment_sum(s, 0), 400);
    CHECK_EQ(atomic_load(sl_segment_shared_cell(s, 0)), 0);
    CHECK(sl_segment_blocks(s) <= 3);
    sl_segment_free(s);
}

/* A thread that goes from segment to segment keeps one block in each. */
SL_TEST(segment_two_at_once)
{
    sl_segment *a, *b;
    REQUIRE(sl_segment_new(&small, &a) == 0);
    REQUIRE(sl_segment_new(&small, &b) == 0);
    for (int i = 0; i < 10; i++) {
        sl_segment_add(a, 0, 1);
        sl_segment_add(b, 0, 2);
    }
    CHECK_EQ(sl_segment_sum(a, 0), 10);
    CHECK_EQ(sl_segment_sum(b, 0), 20);
    CHECK_EQ(sl_segment_blocks(a), 2);
    CHECK_EQ(sl_segment_blocks(b), 2);
    sl_segment_free(a);
    sl_segment_add(b, 0, 2);
    CHECK_EQ(sl_segment_sum(b, 0), 22);
    sl_segment_free(b);
}

/* ---- processes ---- */

/* Runs `fn` in a child; its result is the exit status. */
static int in_child(int (*fn)(sl_segment *), sl_segment *s)
{
    pid_t child = fork();
    if (child == 0)
        _exit(fn(s));
    int status = -1;
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return -1;
    return WEXITSTATUS(status);
}

static int record_without_adopting(sl_segment *s)
{
    sl_piece piece = {"x", 1};
    sl_segment_add(s, 0, 100);
    sl_segment_add_double(s, 1, 100.0);
    if (sl_segment_write(s, SL_RING_SPANS, 1, &piece, 1) != SL_ECLOSED)
        return 1;
    return sl_segment_sum(s, 0) == 1 ? 0 : 2;
}

static int record_after_adopting(sl_segment *s)
{
    sl_piece piece = {"child", 5};
    sl_segment_adopt(s, -1);
    if (sl_segment_pid(s) != getpid())
        return 1;
    for (int i = 0; i < 100; i++)
        sl_segment_add(s, 0, 1);
    return sl_segment_write(s, SL_RING_SPANS, 1, &piece, 1) ? 2 : 0;
}

static bool count_record(void *user, uint32_t tag, const uint8_t *data, size_t len)
{
    (void)tag, (void)data, (void)len;
    (*(int *)user)++;
    return true;
}

SL_TEST(segment_child_records_nothing_until_it_adopts)
{
    sl_segment *s;
    int fd = memfd_create("segment", MFD_CLOEXEC), records = 0;
    REQUIRE(sl_segment_new_shared(&small, fd, &s) == 0);
    sl_segment_add(s, 0, 1);
    CHECK_EQ(in_child(record_without_adopting, s), 0);
    CHECK_EQ(sl_segment_sum(s, 0), 1);
    CHECK_EQ(in_child(record_after_adopting, s), 0);
    CHECK_EQ(sl_segment_sum(s, 0), 101); /* shared: it outlives the child */
    CHECK_EQ(sl_segment_drain(s, SL_RING_SPANS, count_record, &records), 1);
    CHECK_EQ(records, 1);
    sl_segment_free(s);
    close(fd);
}

static int private_child(sl_segment *s)
{
    int records = 0;
    sl_segment_adopt(s, -1);
    if (sl_segment_sum(s, 0) != 0 || sl_segment_drain(s, SL_RING_SPANS, count_record, &records) != 0)
        return 1; /* the parent exports these */
    sl_segment_add(s, 0, 5);
    sl_piece piece = {"child", 5};
    if (sl_segment_write(s, SL_RING_SPANS, 1, &piece, 1) || sl_segment_sum(s, 0) != 5)
        return 2;
    return sl_segment_drain(s, SL_RING_SPANS, count_record, &records) == 1 ? 0 : 3;
}

SL_TEST(segment_private_one_is_empty_in_a_child)
{
    sl_segment *s;
    int records = 0;
    sl_piece piece = {"parent", 6};
    uint32_t cell;
    REQUIRE(sl_segment_new(&small, &s) == 0);
    REQUIRE(sl_segment_alloc_cells(s, 1, &cell) == 0 && cell == SL_RESERVED_CELLS);
    sl_segment_add(s, 0, 42);
    CHECK_EQ(sl_segment_write(s, SL_RING_SPANS, 1, &piece, 1), 0);
    CHECK_EQ(in_child(private_child, s), 0);
    CHECK_EQ(sl_segment_sum(s, 0), 42);
    CHECK_EQ(sl_segment_drain(s, SL_RING_SPANS, count_record, &records), 1);
    sl_segment_free(s);
}

/* Adopting one's own segment changes the wake-up only. */
SL_TEST(segment_adopt_in_the_same_process)
{
    sl_segment *s;
    REQUIRE(sl_segment_new(&small, &s) == 0);
    sl_segment_add(s, 0, 3);
    sl_segment_adopt(s, -1);
    CHECK_EQ(sl_segment_sum(s, 0), 3);
    sl_segment_free(s);
}

static int record_and_die(sl_segment *s)
{
    sl_segment_adopt(s, -1);
    sl_segment_add(s, 0, 1);
    atomic_store(&sl_segment_block_at(s, 0)->lock, 1); /* as if it died while it held it */
    raise(SIGKILL);
    return 0;
}

/* The blocks of killed processes come back, what they recorded stays. */
SL_TEST(segment_survives_killed_writers)
{
    sl_segment *s;
    int fd = memfd_create("segment", MFD_CLOEXEC);
    REQUIRE(sl_segment_new_shared(&small, fd, &s) == 0);
    for (int i = 0; i < 9; i++) {
        pid_t child = fork();
        if (child == 0)
            _exit(record_and_die(s));
        CHECK(waitpid(child, NULL, 0) == child);
        CHECK_EQ(sl_segment_pid(s), child);
        sl_segment_release(s, child);
    }
    CHECK_EQ(sl_segment_sum(s, 0), 9);
    CHECK_EQ(atomic_load(sl_segment_shared_cell(s, 0)), 0);
    CHECK(sl_segment_blocks(s) <= 2);
    CHECK_EQ(atomic_load(&sl_segment_block_at(s, 0)->lock), 0);
    sl_segment_free(s);
    close(fd);
}

SL_TEST(segment_opened_by_another_handle)
{
    sl_segment *writer, *reader;
    int fd = memfd_create("segment", MFD_CLOEXEC), records = 0;
    REQUIRE(sl_segment_new_shared(&small, fd, &writer) == 0);
    REQUIRE(sl_segment_open(fd, &reader) == 0);
    sl_piece piece = {"hello", 5};
    sl_segment_add(writer, 3, 8);
    CHECK_EQ(sl_segment_write(writer, SL_RING_LOGS, 1, &piece, 1), 0);
    CHECK_EQ(sl_segment_sum(reader, 3), 8);
    CHECK_EQ(sl_segment_drain(reader, SL_RING_LOGS, count_record, &records), 1);
    CHECK_EQ(sl_segment_drain(writer, SL_RING_LOGS, count_record, &records), 0);
    /* The reader's handle records nothing: it is nobody's to write. */
    CHECK_EQ(sl_segment_write(reader, SL_RING_LOGS, 1, &piece, 1), SL_ECLOSED);
    sl_segment_free(writer);
    CHECK_EQ(sl_segment_sum(reader, 3), 8);
    sl_segment_free(reader);
    close(fd);
}

/* ---- files from outside ---- */

SL_TEST(segment_open_refuses_other_files)
{
    sl_segment *s = NULL;
    int fd = memfd_create("junk", MFD_CLOEXEC);
    CHECK_EQ(sl_segment_open(fd, &s), SL_EPARSE); /* empty */
    CHECK_EQ(ftruncate(fd, 8192), 0);
    CHECK_EQ(sl_segment_open(fd, &s), SL_EPARSE); /* zeros */
    CHECK(!s);
    close(fd);
}

/* Every byte of the constant part, turned: either refused, or the geometry is still inside the mapping. */
SL_TEST(segment_open_with_any_byte_of_the_header_changed)
{
    sl_segment *s;
    int fd = memfd_create("segment", MFD_CLOEXEC);
    REQUIRE(sl_segment_new_shared(&small, fd, &s) == 0);
    size_t refused = 0;
    for (size_t i = 0; i < offsetof(sl_segment_shape, reserved); i++) {
        for (int bit = 0; bit < 8; bit++) {
            sl_segment *again = NULL;
            s->base[i] ^= (unsigned char)(1 << bit);
            int error = sl_segment_open(fd, &again);
            if (!error) {
                const sl_segment_shape *h = again->shape;
                CHECK(h->meta_end + h->block_count * h->block_stride <= again->size);
                CHECK_EQ(sl_segment_sum(again, h->cells - 1), 0);
                sl_segment_free(again);
            } else {
                CHECK_EQ(error, SL_EPARSE);
                refused++;
            }
            s->base[i] ^= (unsigned char)(1 << bit);
        }
    }
    CHECK(refused > 500);
    sl_segment_free(s);
    close(fd);
}

/* A writer that changes the header later has no effect on a reader's bounds. */
SL_TEST(segment_header_changed_under_a_reader)
{
    sl_segment *s, *reader;
    int fd = memfd_create("segment", MFD_CLOEXEC), records = 0;
    REQUIRE(sl_segment_new_shared(&small, fd, &s) == 0);
    sl_segment_add(s, 0, 1);
    sl_piece piece = {"hello", 5};
    CHECK_EQ(sl_segment_write(s, SL_RING_SPANS, 1, &piece, 1), 0);
    REQUIRE(sl_segment_open(fd, &reader) == 0);
    sl_segment_shape *h = &s->header->shape;
    h->block_stride = 1ull << 40;
    h->ring_offset[0] = 1ull << 40;
    h->ring_bytes[0] = 1u << 30;
    h->cells_offset = 1ull << 40;
    h->meta_end = 1ull << 40;
    h->block_count = 1u << 30;
    atomic_store(&s->header->blocks_used, UINT32_MAX);
    atomic_store(&s->header->meta_used, 3);
    CHECK_EQ(sl_segment_sum(reader, 0), 1);
    CHECK_EQ(sl_segment_blocks(reader), 5);
    CHECK_EQ(sl_segment_drain(reader, SL_RING_SPANS, count_record, &records), 1);
    CHECK(sl_segment_at(reader, 1u << 30, 1) == NULL);
    uint64_t offset;
    CHECK_EQ(sl_segment_alloc(s, 8, &offset), SL_ELIMIT);
    sl_segment_free(reader);
    sl_segment_free(s);
    close(fd);
}
