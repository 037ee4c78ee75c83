/* The probe's ring: order, wrapping, several writers, dead writers, and files that lie. */
#include "src/probe/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/rng.h"
#include "tests/harness/sl_test.h"

#define SMALL (512u * 1024u)
#define WRITERS 4
#define PER_WRITER 20000u

/* Offsets of the header as the file has them: a test that lies must know them. */
enum { OFF_VERSION = 8, OFF_PID = 12, OFF_SIZE = 24, OFF_HEAD = 64, OFF_TAIL = 128, DATA = 4096 };

typedef struct seen {
    uint64_t events, tokens, bytes;
    uint32_t next[WRITERS];
    bool disorder;
} seen;

/* A TOKENIZE event whose tokens are all `n`. */
static bool write_tokens(sl_probe_ring *ring, uint32_t writer, uint32_t number, uint32_t tokens)
{
    size_t size = sizeof(sl_probe_tokenize) + (tokens * 4u + 7u) / 8 * 8;
    sl_probe_tokenize *t = (sl_probe_tokenize *)(void *)sl_probe_ring_take(ring, size);
    if (!t)
        return false;
    t->head.kind = SL_PROBE_TOKENIZE;
    t->head.flags = 0;
    t->head.thread = writer;
    t->head.count = tokens;
    t->head.time_ns = number;
    t->start_ns = 0;
    t->request = number;
    t->n_tokens = tokens;
    for (uint32_t i = 0; i < tokens; i++)
        memcpy((char *)(t + 1) + (size_t)i * 4, &number, 4);
    sl_probe_ring_commit(&t->head, size);
    return true;
}

static void note(void *user, const sl_probe_event *event, size_t size)
{
    seen *s = user;
    const sl_probe_tokenize *t = (const sl_probe_tokenize *)(const void *)event;
    const uint32_t *tokens = (const uint32_t *)(const void *)(t + 1);
    s->events++;
    s->bytes += size;
    s->tokens += event->count;
    if (event->thread < WRITERS) {
        s->disorder |= t->request < s->next[event->thread];
        s->next[event->thread] = t->request + 1;
    }
    for (uint32_t i = 0; i < event->count; i++)
        s->disorder |= tokens[i] != t->request;
}

static sl_probe_ring *anonymous(size_t bytes)
{
    sl_probe_ring *ring = NULL;
    CHECK_EQ(sl_probe_ring_new(NULL, bytes, &ring), 0);
    return ring;
}

static sl_probe_ring_info info_of(const sl_probe_ring *ring)
{
    sl_probe_ring_info info;
    sl_probe_ring_get_info(ring, &info);
    return info;
}

/* A folder of its own; the path of a ring in it. */
static const char *fresh_path(void)
{
    static char folder[64], path[96];
    (void)snprintf(folder, sizeof folder, "/tmp/sl-ring-XXXXXX");
    CHECK(mkdtemp(folder) != NULL);
    (void)snprintf(path, sizeof path, "%s/7-1.ring", folder);
    return path;
}

static void remove_path(const char *path)
{
    char folder[96];
    (void)unlink(path);
    (void)snprintf(folder, sizeof folder, "%.*s", (int)(strrchr(path, '/') - path), path);
    CHECK_EQ(rmdir(folder), 0); /* also: nothing was left beside it */
}

static sl_probe_ring *open_path(const char *path, int *ret_error)
{
    sl_probe_ring *ring = NULL;
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0);
    *ret_error = sl_probe_ring_open(fd, &ring);
    (void)close(fd);
    return ring;
}

SL_TEST(events_come_out_in_order)
{
    sl_probe_ring *ring = anonymous(SMALL);
    seen s = {0};
    for (uint32_t i = 0; i < 100; i++)
        CHECK(write_tokens(ring, 0, i, i % 7));
    CHECK_EQ(sl_probe_ring_read(ring, 40, 1, note, &s), 40);
    CHECK_EQ(sl_probe_ring_read(ring, 1000, 1, note, &s), 60);
    CHECK_EQ(sl_probe_ring_read(ring, 1000, 1, note, &s), 0);
    CHECK_EQ(s.events, 100);
    CHECK(!s.disorder);
    CHECK_EQ(info_of(ring).written, 100);
    CHECK_EQ(info_of(ring).waiting_bytes, 0);
    CHECK_EQ(info_of(ring).pid, getpid());
    sl_probe_ring_free(ring);
}

SL_TEST(it_wraps_with_any_length)
{
    sl_probe_ring *ring = anonymous(SMALL);
    seen s = {0};
    uint64_t wrote = 0;
    for (uint32_t i = 0; i < 60000; i++) {
        CHECK(write_tokens(ring, 0, i, (i * 37) % 901));
        wrote += (i * 37) % 901;
        if (i % 3 == 0)
            (void)sl_probe_ring_read(ring, 1000, 1, note, &s);
    }
    (void)sl_probe_ring_read(ring, 1000, 1, note, &s);
    CHECK_EQ(s.events, 60000);
    CHECK_EQ(s.tokens, wrote);
    CHECK(!s.disorder);
    CHECK_EQ(info_of(ring).dropped, 0);
    CHECK_EQ(info_of(ring).bad, 0);
    sl_probe_ring_free(ring);
}

SL_TEST(the_longest_event_passes_and_a_longer_one_is_dropped)
{
    sl_probe_ring *ring = anonymous(SMALL);
    seen s = {0};
    uint32_t most = (SL_PROBE_EVENT_MAX - (uint32_t)sizeof(sl_probe_tokenize)) / 4;
    for (uint32_t i = 0; i < 5; i++) {
        CHECK(write_tokens(ring, 0, i, most));
        CHECK_EQ(sl_probe_ring_read(ring, 9, 1, note, &s), 1);
        CHECK(write_tokens(ring, 0, i, 1));
        CHECK_EQ(sl_probe_ring_read(ring, 9, 1, note, &s), 1);
    }
    CHECK(!sl_probe_ring_take(ring, SL_PROBE_EVENT_MAX + 8));
    CHECK_EQ(info_of(ring).dropped, 1);
    CHECK_EQ(s.tokens, 5u * most + 5);
    sl_probe_ring_free(ring);
}

SL_TEST(without_room_it_drops_and_counts)
{
    sl_probe_ring *ring = anonymous(SMALL);
    seen s = {0};
    uint32_t in = 0, out = 0;
    for (uint32_t i = 0; i < 20000; i++)
        write_tokens(ring, 0, i, 8) ? in++ : out++;
    CHECK(out > 0);
    CHECK_EQ(info_of(ring).dropped, out);
    CHECK_EQ(sl_probe_ring_read(ring, 100000, 1, note, &s), in);
    CHECK(write_tokens(ring, 0, 30000, 8));
    CHECK_EQ(sl_probe_ring_read(ring, 100000, 1, note, &s), 1);
    CHECK(!s.disorder);
    sl_probe_ring_free(ring);
}

typedef struct writer_job {
    sl_probe_ring *ring;
    uint32_t writer;
    uint32_t lost;
} writer_job;

static void *write_many(void *user)
{
    writer_job *job = user;
    for (uint32_t i = 0; i < PER_WRITER; i++)
        job->lost += !write_tokens(job->ring, job->writer, i, (i + job->writer) % 23);
    return NULL;
}

SL_TEST(several_writers_and_one_reader)
{
    sl_probe_ring *ring = anonymous(SMALL);
    seen s = {0};
    pthread_t threads[WRITERS];
    writer_job jobs[WRITERS];
    uint64_t lost = 0;
    for (uint32_t i = 0; i < WRITERS; i++) {
        jobs[i] = (writer_job){ring, i, 0};
        REQUIRE(pthread_create(&threads[i], NULL, write_many, &jobs[i]) == 0);
    }
    for (unsigned idle = 0; idle < 200;) {
        idle = sl_probe_ring_read(ring, 500, 1, note, &s) ? 0 : idle + 1;
        if (idle)
            (void)usleep(500);
    }
    for (uint32_t i = 0; i < WRITERS; i++) {
        (void)pthread_join(threads[i], NULL);
        lost += jobs[i].lost;
    }
    (void)sl_probe_ring_read(ring, SIZE_MAX, 1, note, &s);
    CHECK_EQ(s.events + lost, (uint64_t)WRITERS * PER_WRITER);
    CHECK_EQ(info_of(ring).dropped, lost);
    CHECK_EQ(info_of(ring).bad, 0);
    CHECK(!s.disorder);
    sl_probe_ring_free(ring);
}

/* Told by another thread means written after it: the order that correlation relies on. */
typedef struct relay {
    sl_probe_ring *ring;
    _Atomic uint32_t turn;
} relay;

static void *relay_run(void *user)
{
    relay *r = user;
    for (uint32_t i = 1; i < 2000; i += 2) {
        while (atomic_load(&r->turn) != i)
            (void)sched_yield();
        (void)write_tokens(r->ring, 0, i, 1);
        atomic_store(&r->turn, i + 1);
    }
    return NULL;
}

SL_TEST(the_order_is_that_of_cause_and_effect)
{
    relay r = {.ring = anonymous(SMALL)};
    seen s = {0};
    pthread_t thread;
    REQUIRE(pthread_create(&thread, NULL, relay_run, &r) == 0);
    for (uint32_t i = 0; i < 2000; i += 2) {
        while (atomic_load(&r.turn) != i)
            (void)sched_yield();
        (void)write_tokens(r.ring, 0, i, 1);
        atomic_store(&r.turn, i + 1);
    }
    (void)pthread_join(thread, NULL);
    CHECK_EQ(sl_probe_ring_read(r.ring, SIZE_MAX, 1, note, &s), 2000);
    CHECK(!s.disorder);
    sl_probe_ring_free(r.ring);
}

SL_TEST(what_was_written_outlives_a_killed_writer)
{
    const char *path = fresh_path();
    int tell[2], status, error;
    REQUIRE(pipe(tell) == 0);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        sl_probe_ring *mine;
        if (sl_probe_ring_new(path, SMALL, &mine) != 0)
            _exit(1);
        for (uint32_t i = 0; i < 500; i++)
            (void)write_tokens(mine, 0, i, 3);
        (void)sl_probe_ring_take(mine, 64); /* taken, and never written */
        for (uint32_t i = 500; i < 600; i++)
            (void)write_tokens(mine, 0, i, 3);
        if (write(tell[1], "x", 1) == 1)
            (void)raise(SIGKILL);
        _exit(1);
    }
    char byte;
    CHECK_EQ(read(tell[0], &byte, 1), 1);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK(WIFSIGNALED(status));
    sl_probe_ring *ring = open_path(path, &error);
    REQUIRE(error == 0);
    seen s = {0};
    CHECK_EQ(sl_probe_ring_read(ring, 10000, 1, note, &s), 600);
    CHECK(!s.disorder);
    CHECK_EQ(info_of(ring).bad, 1);
    CHECK_EQ(info_of(ring).pid, child);
    CHECK(!info_of(ring).closed);
    sl_probe_ring_free(ring);
    remove_path(path);
    (void)close(tell[0]);
    (void)close(tell[1]);
}

static void *write_on(void *user)
{
    writer_job *job = user;
    for (uint32_t i = 0;; i++)
        job->lost += !write_tokens(job->ring, job->writer, i, (i + job->writer) % 23);
    return NULL;
}

/* The writers of the child, until somebody kills it. */
static void child_of_writers(const char *path)
{
    sl_probe_ring *mine;
    pthread_t threads[3];
    writer_job jobs[3];
    if (sl_probe_ring_new(path, SMALL, &mine) != 0)
        _exit(1);
    for (uint32_t i = 0; i < 3; i++) {
        jobs[i] = (writer_job){mine, i, 0};
        if (pthread_create(&threads[i], NULL, write_on, &jobs[i]) != 0)
            _exit(1);
    }
    (void)pause();
}

SL_TEST(a_writer_killed_anywhere_costs_what_it_was_writing)
{
    for (unsigned round = 0; round < 25; round++) {
        const char *path = fresh_path();
        int status, error = SL_EIO;
        seen s = {0};
        pid_t child = fork();
        REQUIRE(child >= 0);
        if (child == 0)
            child_of_writers(path);
        while (access(path, F_OK) != 0)
            (void)usleep(200);
        sl_probe_ring *ring = open_path(path, &error);
        REQUIRE(error == 0);
        for (unsigned i = 0; i < 20 + round * 7; i++)
            (void)sl_probe_ring_read(ring, 200, 1, note, &s);
        (void)kill(child, SIGKILL);
        CHECK_EQ(waitpid(child, &status, 0), child);
        (void)sl_probe_ring_read(ring, SIZE_MAX, 1, note, &s);
        CHECK(!s.disorder);
        CHECK(info_of(ring).bad <= 3);
        CHECK_EQ(info_of(ring).waiting_bytes, 0);
        sl_probe_ring_free(ring);
        remove_path(path);
    }
}

SL_TEST(a_slow_writer_is_waited_for_and_then_given_up)
{
    sl_probe_ring *ring = anonymous(SMALL);
    seen s = {0};
    uint64_t now = sl_mono_ns();
    sl_probe_event *late = sl_probe_ring_take(ring, 64);
    REQUIRE(late != NULL);
    CHECK(write_tokens(ring, 0, 1, 3));
    CHECK_EQ(sl_probe_ring_read(ring, 100, now, note, &s), 0);
    CHECK_EQ(sl_probe_ring_read(ring, 100, now + SL_PROBE_STUCK_NS - 1, note, &s), 0);
    CHECK_EQ(sl_probe_ring_read(ring, 100, now + SL_PROBE_STUCK_NS, note, &s), 1);
    CHECK_EQ(info_of(ring).bad, 1);
    sl_probe_ring_commit(late, 64); /* too late: nothing comes of it, now or a round later */
    for (uint32_t i = 2; i < 30000; i++) {
        CHECK(write_tokens(ring, 0, i, 5));
        (void)sl_probe_ring_read(ring, 100, now, note, &s);
    }
    CHECK_EQ(s.events, 29999);
    CHECK_EQ(info_of(ring).bad, 1);
    CHECK(!s.disorder);
    sl_probe_ring_free(ring);
}

SL_TEST(a_stopped_process_is_not_stuck)
{
    const char *path = fresh_path();
    int status, error;
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        sl_probe_ring *mine;
        if (sl_probe_ring_new(path, SMALL, &mine) != 0)
            _exit(1);
        sl_probe_event *e = sl_probe_ring_take(mine, 24);
        (void)raise(SIGSTOP);
        e->kind = SL_PROBE_EXIT;
        e->flags = 0;
        e->count = 0;
        sl_probe_ring_commit(e, 24);
        _exit(0);
    }
    CHECK_EQ(waitpid(child, &status, WUNTRACED), child);
    REQUIRE(WIFSTOPPED(status));
    sl_probe_ring *ring = open_path(path, &error);
    REQUIRE(error == 0);
    seen s = {0};
    for (uint64_t t = 1; t < 10; t++)
        CHECK_EQ(sl_probe_ring_read(ring, 10, t * SL_PROBE_STUCK_NS, note, &s), 0);
    CHECK_EQ(info_of(ring).bad, 0);
    (void)kill(child, SIGCONT);
    CHECK_EQ(waitpid(child, &status, 0), child);
    CHECK_EQ(sl_probe_ring_read(ring, 10, 1, note, &s), 1);
    sl_probe_ring_free(ring);
    remove_path(path);
}

typedef struct refill {
    sl_probe_ring *ring;
    uint32_t written, read, refused;
} refill;

/* Writes as much again while it is read. */
static void write_behind(void *user, const sl_probe_event *event, size_t size)
{
    refill *r = user;
    (void)size;
    CHECK_EQ(event->time_ns, r->read);
    r->read++;
    if (write_tokens(r->ring, 0, r->written, 30))
        r->written++;
    else
        r->refused++;
}

SL_TEST(room_comes_back_while_a_long_reading_goes_on)
{
    refill r = {.ring = anonymous(SMALL)};
    while (write_tokens(r.ring, 0, r.written, 30))
        r.written++;
    uint32_t full = r.written;
    CHECK_EQ(sl_probe_ring_read(r.ring, 10 * full, 1, write_behind, &r), 10 * full);
    CHECK(r.refused > 0 && r.refused < 10 * full / 4);
    CHECK_EQ(info_of(r.ring).written, 10 * full);
    size_t rest = r.written - r.read;
    CHECK_EQ(sl_probe_ring_read(r.ring, SIZE_MAX, 1, note, &(seen){0}), rest);
    CHECK_EQ(info_of(r.ring).waiting_bytes, 0);
    sl_probe_ring_free(r.ring);
}

SL_TEST(a_place_without_a_length_costs_itself_alone)
{
    sl_probe_ring *ring = anonymous(SMALL);
    seen s = {0};
    CHECK(write_tokens(ring, 0, 1, 3));
    sl_probe_event *hole = sl_probe_ring_take(ring, 80);
    REQUIRE(hole != NULL);
    atomic_store(&hole->size, 0); /* as if its writer had died just after the swap */
    CHECK(write_tokens(ring, 0, 2, 3));
    CHECK_EQ(sl_probe_ring_read(ring, 100, 5, note, &s), 1);
    CHECK_EQ(sl_probe_ring_read(ring, 100, 5 + SL_PROBE_STUCK_NS, note, &s), 1);
    CHECK_EQ(info_of(ring).bad, 1);
    hole = sl_probe_ring_take(ring, 80);
    REQUIRE(hole != NULL);
    atomic_store(&hole->size, 0);
    CHECK_EQ(sl_probe_ring_read(ring, 100, 5, note, &s), 0);
    CHECK_EQ(sl_probe_ring_read(ring, 100, 5 + SL_PROBE_STUCK_NS, note, &s), 0);
    CHECK_EQ(info_of(ring).waiting_bytes, 0);
    sl_probe_ring_free(ring);
}

SL_TEST(the_file_is_private_whole_and_known)
{
    const char *path = fresh_path();
    struct stat st;
    sl_probe_ring *writer, *again = NULL;
    int error;
    mode_t before = umask(0777);
    CHECK_EQ(sl_probe_ring_new(path, 0, &writer), 0);
    (void)umask(before);
    REQUIRE(stat(path, &st) == 0);
    CHECK_EQ(st.st_mode & 07777, 0600);
    sl_probe_ring *reader = open_path(path, &error);
    REQUIRE(error == 0);
    seen s = {0};
    CHECK(write_tokens(writer, 0, 1, 3));
    CHECK_EQ(sl_probe_ring_read(reader, 10, 1, note, &s), 1);
    CHECK_EQ(info_of(reader).instance, info_of(writer).instance);
    CHECK(llabs(info_of(reader).unix_offset_ns - (int64_t)(sl_now_ns() - sl_mono_ns())) < 1000000000);
    CHECK(!info_of(reader).closed);
    sl_probe_ring_close(writer);
    CHECK(info_of(reader).closed);
    (void)again;
    sl_probe_ring_free(writer);
    sl_probe_ring_free(reader);
    sl_probe_ring_free(NULL);
    remove_path(path);
}

SL_TEST(a_new_reader_goes_on_where_the_old_one_ended)
{
    const char *path = fresh_path();
    sl_probe_ring *writer;
    int error;
    seen s = {0};
    REQUIRE(sl_probe_ring_new(path, SMALL, &writer) == 0);
    for (uint32_t i = 0; i < 10; i++)
        CHECK(write_tokens(writer, 0, i, 3));
    sl_probe_ring *reader = open_path(path, &error);
    REQUIRE(error == 0);
    CHECK_EQ(sl_probe_ring_read(reader, 4, 1, note, &s), 4);
    sl_probe_ring_free(reader);
    reader = open_path(path, &error);
    REQUIRE(error == 0);
    CHECK_EQ(sl_probe_ring_read(reader, 40, 1, note, &s), 6);
    CHECK(!s.disorder);
    sl_probe_ring_free(reader);
    sl_probe_ring_free(writer);
    remove_path(path);
}

SL_TEST(faults_are_errors_and_leave_nothing)
{
    const char *path = fresh_path();
    char missing[160];
    sl_probe_ring *ring = NULL;
    (void)snprintf(missing, sizeof missing, "%s/none/1.ring", path);
    CHECK_EQ(sl_probe_ring_new(missing, SMALL, &ring), SL_EIO);
    CHECK_EQ(sl_probe_ring_new("", SMALL, &ring), SL_EINVAL);
    CHECK_EQ(sl_probe_ring_new(NULL, SIZE_MAX, &ring), SL_EINVAL);
    CHECK_EQ(sl_probe_ring_new(NULL, SMALL, NULL), SL_EINVAL);
    CHECK_EQ(sl_probe_ring_open(-1, &ring), SL_EINVAL);
    CHECK(ring == NULL);
    struct rlimit before, small = {65536, 65536};
    REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
    small.rlim_max = before.rlim_max;
    REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
    CHECK_EQ(sl_probe_ring_new(path, SMALL, &ring), SL_EIO); /* and no SIGXFSZ */
    (void)setrlimit(RLIMIT_FSIZE, &before);
    CHECK_EQ(mkdir(path, 0700), 0); /* the name is a folder: the renaming fails */
    CHECK_EQ(sl_probe_ring_new(path, SMALL, &ring), SL_EIO);
    CHECK_EQ(rmdir(path), 0);
    remove_path(path);
}

/* ---- files that lie ---- */

static void put(const char *path, const void *bytes, size_t len, off_t at)
{
    int fd = open(path, O_RDWR | O_CLOEXEC);
    CHECK(fd >= 0 && pwrite(fd, bytes, len, at) == (ssize_t)len);
    (void)close(fd);
}

SL_TEST(what_is_no_ring_is_refused)
{
    static const struct {
        off_t at;
        uint64_t value;
    } lies[] = {
        {0, 0},
        {OFF_VERSION, 99},
        {OFF_SIZE, 0},
        {OFF_SIZE, 3u << 18},
        {OFF_SIZE, 1u << 20},
        {OFF_SIZE, UINT64_MAX},
        {OFF_SIZE, 1ull << 63},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        const char *path = fresh_path();
        sl_probe_ring *ring;
        int error;
        REQUIRE(sl_probe_ring_new(path, SMALL, &ring) == 0);
        sl_probe_ring_free(ring);
        put(path, &lies[i].value, 8, lies[i].at);
        CHECK(open_path(path, &error) == NULL);
        CHECK_EQ(error, SL_EPARSE);
        CHECK_EQ(truncate(path, 100), 0);
        CHECK(open_path(path, &error) == NULL);
        CHECK_EQ(error, SL_EPARSE);
        remove_path(path);
    }
    sl_probe_ring *ring;
    int fd = open("/tmp", O_RDONLY | O_DIRECTORY);
    CHECK_EQ(sl_probe_ring_open(fd, &ring), SL_EPARSE);
    (void)close(fd);
}

static void count(void *user, const sl_probe_event *event, size_t size)
{
    CHECK_EQ(sl_probe_event_check(event, size), 0);
    ++*(uint64_t *)user;
}

/* Reads to the end, as a reader does that comes back every second. */
static void drain_lies(sl_probe_ring *ring, uint64_t *events)
{
    for (uint64_t t = 1; t < 50; t++)
        (void)sl_probe_ring_read(ring, 1000, t * SL_PROBE_STUCK_NS, count, events);
}

static void mend(int number, siginfo_t *info, void *unused)
{
    (void)unused;
    if (!sl_probe_ring_mend(info->si_addr))
        (void)signal(number, SIG_DFL);
}

SL_TEST(a_file_that_is_cut_short_is_mended)
{
    char dir[] = "/tmp/sl-test-ring-XXXXXX", path[64];
    struct sigaction action = {.sa_sigaction = mend, .sa_flags = SA_SIGINFO}, before;
    seen s = {0};
    sl_probe_ring *writer = NULL, *reader = NULL;
    REQUIRE(mkdtemp(dir));
    (void)snprintf(path, sizeof path, "%s/1-1.ring", dir);
    REQUIRE(sl_probe_ring_new(path, SMALL, &writer) == 0);
    CHECK(write_tokens(writer, 0, 0, 4) && write_tokens(writer, 0, 1, 4));
    int fd = open(path, O_RDWR | O_CLOEXEC);
    REQUIRE(sl_probe_ring_open(fd, &reader) == 0);
    CHECK_EQ(sl_probe_ring_read(reader, 1, sl_mono_ns(), note, &s), 1);
    CHECK(!sl_probe_ring_mend(path) && !sl_probe_ring_mend(NULL));
    REQUIRE(sigaction(SIGBUS, &action, &before) == 0);
    CHECK_EQ(ftruncate(fd, 0), 0);
    CHECK_EQ(sl_probe_ring_read(reader, 10, sl_mono_ns(), note, &s), 0);
    CHECK_EQ(sl_probe_ring_read(reader, 10, sl_mono_ns(), note, &s), 0);
    sl_probe_ring_info info;
    sl_probe_ring_get_info(reader, &info);
    CHECK_EQ(info.written, 1);
    CHECK_EQ(info.waiting_bytes, 0);
    CHECK_EQ(info.pid, (uint32_t)getpid());
    (void)sigaction(SIGBUS, &before, NULL);
    sl_probe_ring_free(reader);
    sl_probe_ring_free(writer);
    (void)close(fd);
    CHECK(unlink(path) == 0 && rmdir(dir) == 0);
}

SL_TEST(positions_that_lie_never_lead_outside)
{
    static const struct {
        uint64_t head, tail;
    } lies[] = {
        {UINT64_MAX, 0},
        {UINT64_MAX - 7, 0},
        {8, UINT64_MAX - 7},
        {1, 0},
        {0, 1},
        {0, 8},
        {SMALL * 2ull, 0},
        {SMALL + 8ull, 8},
        {7, 3},
        {1ull << 63, 1ull << 62},
        {SMALL, 0},
        {SMALL - 8u, SMALL - 16u},
        {UINT64_MAX, UINT64_MAX - 8},
    };
    for (size_t i = 0; i < sizeof lies / sizeof *lies; i++) {
        const char *path = fresh_path();
        sl_probe_ring *writer;
        int error;
        uint64_t events = 0;
        REQUIRE(sl_probe_ring_new(path, SMALL, &writer) == 0);
        for (uint32_t n = 0; n < 100; n++)
            (void)write_tokens(writer, 0, n, n);
        put(path, &lies[i].head, 8, OFF_HEAD);
        put(path, &lies[i].tail, 8, OFF_TAIL);
        sl_probe_ring *reader = open_path(path, &error);
        REQUIRE(error == 0);
        drain_lies(reader, &events);
        CHECK_EQ(info_of(reader).waiting_bytes, 0);
        /* The writer, too, keeps inside, and goes on when the reader has put things right. */
        for (uint32_t n = 0; n < 10; n++)
            (void)write_tokens(writer, 0, n, n);
        drain_lies(reader, &events);
        sl_probe_ring_free(reader);
        sl_probe_ring_free(writer);
        remove_path(path);
    }
}

typedef struct scribbler {
    const char *path;
    uint64_t start; /* position of the first event */
    uint32_t read;
} scribbler;

#define BEHIND 65536u
#define EVENT 256u /* bytes of each: none goes round the end */
#define IN_EVENT ((EVENT - (uint32_t)sizeof(sl_probe_tokenize)) / 4)

/* In the midst of a reading, whose room is not given back yet: a head a whole ring ahead, and no event behind. */
static void scribble(void *user, const sl_probe_event *event, size_t size)
{
    scribbler *s = user;
    static const uint32_t no_length = 0xfffffff4u;
    (void)event;
    CHECK_EQ(size, EVENT);
    if (++s->read != 40)
        return;
    uint64_t next = s->start + 40 * EVENT, head = next + SMALL;
    put(s->path, &no_length, sizeof no_length, (long)(DATA + next % SMALL));
    put(s->path, &head, sizeof head, OFF_HEAD);
}

SL_TEST(a_head_that_moves_while_it_is_read_never_leads_outside)
{
    int error;
    sl_probe_ring *writer;
    seen s = {0};
    const uint32_t before = SMALL / EVENT - 16;
    scribbler scribbles = {.path = fresh_path(), .start = (uint64_t)before * EVENT};
    REQUIRE(sl_probe_ring_new(scribbles.path, SMALL, &writer) == 0);
    /* The kernel puts the next mapping in front of it: what goes beyond the ring's end is seen here. */
    unsigned char *behind = mmap(NULL, BEHIND, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    REQUIRE(behind != MAP_FAILED);
    memset(behind, 1, BEHIND);
    sl_probe_ring *reader = open_path(scribbles.path, &error);
    REQUIRE(error == 0);
    for (uint32_t n = 0; n < before; n++)
        CHECK(write_tokens(writer, 0, n, IN_EVENT));
    CHECK_EQ(sl_probe_ring_read(reader, SIZE_MAX, 1, note, &s), before);
    for (uint32_t n = 0; n < 100; n++)
        CHECK(write_tokens(writer, 0, n, IN_EVENT));
    CHECK_EQ(sl_probe_ring_read(reader, SIZE_MAX, 1, scribble, &scribbles), 40);
    CHECK_EQ(info_of(reader).bad, 1);
    CHECK_EQ(info_of(reader).waiting_bytes, 0);
    CHECK(write_tokens(writer, 0, 7, IN_EVENT));
    CHECK_EQ(sl_probe_ring_read(reader, SIZE_MAX, 1, note, &s), 1);
    CHECK(memchr(behind, 0, BEHIND) == NULL);
    (void)munmap(behind, BEHIND);
    sl_probe_ring_free(reader);
    sl_probe_ring_free(writer);
    remove_path(scribbles.path);
}

SL_TEST(a_writer_does_not_turn_for_ever_on_a_header_that_lies)
{
    const char *path = fresh_path();
    sl_probe_ring *writer;
    REQUIRE(sl_probe_ring_new(path, SMALL, &writer) == 0);
    uint64_t far = 1ull << 40, odd = 13;
    put(path, &far, 8, OFF_TAIL);
    CHECK(!write_tokens(writer, 0, 1, 1));
    put(path, &odd, 8, OFF_HEAD);
    put(path, &(uint64_t){0}, 8, OFF_TAIL);
    CHECK(!write_tokens(writer, 0, 1, 1));
    CHECK_EQ(info_of(writer).dropped, 2);
    sl_probe_ring_free(writer);
    remove_path(path);
}

SL_TEST(bytes_that_lie_never_lead_outside)
{
    sl_rng random = {{1, 2, 3, 4}};
    for (unsigned round = 0; round < 60; round++) {
        const char *path = fresh_path();
        sl_probe_ring *writer;
        int error;
        uint64_t events = 0;
        REQUIRE(sl_probe_ring_new(path, SMALL, &writer) == 0);
        for (uint32_t n = 0; n < 300; n++)
            (void)write_tokens(writer, 0, n, n);
        for (unsigned i = 0; i < 40; i++) {
            uint64_t word = sl_rng_next(&random);
            static const uint64_t masks[] = {0xff, 0x3fff8, 0xffffffff, UINT64_MAX, 7, 0x7fff9};
            word &= masks[word % 6];
            put(path, &word, 8, (off_t)(DATA + (sl_rng_next(&random) % (round % 2 ? 200000 : 4000)) / 8 * 8));
        }
        sl_probe_ring *reader = open_path(path, &error);
        REQUIRE(error == 0);
        drain_lies(reader, &events);
        CHECK_EQ(info_of(reader).waiting_bytes, 0);
        CHECK(write_tokens(writer, 0, 1, 1));
        uint64_t before = events;
        drain_lies(reader, &events);
        CHECK_EQ(events, before + 1);
        sl_probe_ring_free(reader);
        sl_probe_ring_free(writer);
        remove_path(path);
    }
}
