/*
 * Each call of the kernel failing in turn, on both sides of a ring: the host goes on without, the reader finds what it
 * has missed in the next round, and no file, descriptor or mapping stays behind.
 */
#include "tests/harness/sl_fail_call.h"

#include <stdlib.h>

#include "src/base/clock.h"
#include "src/probe/metrics_host.h"
#include "src/probe/process_seen.h"
#include "src/probe/reader.h"

#define COUNT(rows) (sizeof(rows) / sizeof *(rows))
#define SECOND 1000000000u

static char folder[40];

static void make_folder(void)
{
    strcpy(folder, "/tmp/sl-probe-call-XXXXXX");
    REQUIRE(sl_test_mkdtemp(folder) != NULL);
}

static void ring_path(char ret_path[96])
{
    (void)snprintf(ret_path, 96, "%s/%d-1.ring", folder, (int)getpid());
}

static size_t files_in_folder(void)
{
    size_t count = 0;
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir)) != NULL;)
        count += e->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return count;
}

/* Mappings of this process. */
static size_t mappings(void)
{
    size_t lines = 0;
    FILE *file = fopen("/proc/self/maps", "r");
    for (int c; file && (c = getc(file)) != EOF;)
        lines += c == '\n';
    if (file)
        fclose(file);
    return lines;
}

static void tell(sl_probe_ring *ring, uint32_t first, uint32_t count)
{
    for (uint32_t i = first; i < first + count; i++) {
        sl_probe_post *post = (sl_probe_post *)(void *)sl_probe_ring_take(ring, sizeof *post);
        REQUIRE(post != NULL);
        post->head.kind = SL_PROBE_POST; /* all but the size, which the ring keeps */
        post->head.flags = 0;
        post->head.thread = 1;
        post->head.count = 0;
        post->head.time_ns = 1;
        post->request = i;
        post->reserved = 0;
        sl_probe_ring_commit(&post->head, sizeof *post);
    }
}

/* ---- a ring ---- */

static void count_posts(void *user, const sl_probe_event *event, size_t size)
{
    const sl_probe_post *post = (const void *)event;
    uint32_t *last = user;
    CHECK_EQ(size, sizeof *post);
    CHECK_EQ(post->request, ++*last);
}

static void ring_works(sl_probe_ring *writer, sl_probe_ring *reader)
{
    uint32_t last = 0;
    tell(writer, 1, 3);
    size_t count = sl_probe_ring_read(reader, 10, 1, count_posts, &last);
    if (count == 0 && sl_fail.hit) /* without memory for its copy: the next time */
        count = sl_probe_ring_read(reader, 10, 1, count_posts, &last);
    CHECK_EQ(count, 3);
    CHECK_EQ(last, 3);
}

static void anonymous_ring(void *user)
{
    sl_probe_ring *ring = NULL;
    (void)user;
    int error = sl_probe_ring_new(NULL, 0, &ring);
    CHECK_EQ(error, sl_fail.hit ? SL_ENOMEM : 0);
    CHECK_EQ(ring != NULL, !error);
    if (ring)
        ring_works(ring, ring);
    sl_probe_ring_free(ring);
}

static void ring_in_a_file(void *user)
{
    char path[96];
    sl_probe_ring *ring = NULL, *opened = NULL;
    (void)user;
    ring_path(path);
    int error = sl_probe_ring_new(path, 0, &ring);
    CHECK(error ? sl_fail.hit && (error == SL_EIO || error == SL_ENOMEM) : ring != NULL);
    CHECK_EQ(files_in_folder(), error ? 0 : 1); /* neither half a file nor one that was moved away */
    if (!error) {
        int fd = (int)syscall(SYS_openat, AT_FDCWD, path, O_RDWR);
        error = sl_probe_ring_open(fd, &opened);
        CHECK(error ? sl_fail.hit && (error == SL_EIO || error == SL_ENOMEM) : opened != NULL);
        if (!error)
            ring_works(ring, opened);
        close(fd);
    }
    sl_probe_ring_free(opened);
    sl_probe_ring_free(ring);
    (void)unlink(path);
}

SL_TEST(a_ring)
{
    static const sl_fail_row rows[] = {{SL_CALL_OPEN, EMFILE}, {SL_CALL_OPEN, EEXIST},   {SL_CALL_FALLOCATE, ENOSPC},
                                       {SL_CALL_MMAP, ENOMEM}, {SL_CALL_RENAME, EEXIST}, {SL_CALL_RENAME, EACCES},
                                       {SL_CALL_FSTAT, EIO},   {SL_CALL_PREAD, EIO}};
    make_folder();
    size_t mapped = mappings();
    CHECK(sl_fail_each(rows, COUNT(rows), anonymous_ring, NULL) >= 2);
    CHECK(sl_fail_each(rows, COUNT(rows), ring_in_a_file, NULL) >= 9);
#ifdef __SANITIZE_THREAD__
    (void)mapped; /* the sanitizer maps its own beside each */
#else
    CHECK(mappings() <= mapped + 4); /* the allocator may have some more; a ring that stays would be dozens */
#endif
}

/* ---- a reader ---- */

typedef struct seen {
    unsigned hosts, gone;
    uint32_t last;
} seen;

static int on_open(void *user, const sl_probe_ring_info *info, void **ret_host)
{
    seen *s = user;
    CHECK_EQ(info->pid, getpid());
    s->hosts++;
    *ret_host = &s->last;
    return 0;
}

static void on_gone(void *host, uint64_t now_ns, bool crashed)
{
    CHECK(host && now_ns && !crashed);
}

/* The host's events come, late at the worst, whichever call of the reader's fails; its file is not taken for a
 * stranger's. */
static void reading_a_host(void *user)
{
    char path[96];
    sl_probe_ring *ring = user;
    sl_probe_reader *reader = NULL;
    seen s = {0};
    sl_probe_reader_options options = {
        .dir = folder, .consumer = {.user = &s, .open = on_open, .event = count_posts, .gone = on_gone}};
    ring_path(path);
    bool armed = sl_fail_here;
    sl_fail_here = false;
    REQUIRE(sl_probe_ring_new(path, 65536, &ring) == 0);
    tell(ring, 1, 5);
    sl_fail_here = armed;
    int error = sl_probe_reader_new(&options, &reader);
    CHECK(!error || (sl_fail.hit && error == SL_EIO));
    for (uint64_t round = 1; !error && round <= 4; round++) {
        (void)sl_probe_reader_step(reader, round * 3 * SECOND);
        sl_fail_here = armed && round < 2; /* one round goes wrong */
    }
    sl_fail_here = false;
    if (!error) {
        sl_probe_reader_stats stats;
        sl_probe_reader_get_stats(reader, &stats);
        CHECK_EQ(stats.refused, 0);
        if (s.hosts != 1 || s.last != 5)
            sl_test_failed(__FILE__, __LINE__, "call %d, errno %d: %u hosts, %u events", (int)sl_fail.call,
                           sl_fail.error, s.hosts, s.last);
        sl_probe_ring_close(ring);
        (void)sl_probe_reader_step(reader, 20 * (uint64_t)SECOND);
    }
    sl_probe_reader_free(reader);
    sl_probe_ring_free(ring);
    (void)unlink(path);
    CHECK_EQ(files_in_folder(), 0);
    sl_fail_here = armed;
}

SL_TEST(a_reader_of_hosts)
{
    static const sl_fail_row rows[] = {{SL_CALL_OPEN, EMFILE},  {SL_CALL_OPEN, ENFILE}, {SL_CALL_OPEN, ENOMEM},
                                       {SL_CALL_FSTAT, EIO},    {SL_CALL_MMAP, ENOMEM}, {SL_CALL_PREAD, EIO},
                                       {SL_CALL_PREAD, ENOMEM}, {SL_CALL_FCNTL, EMFILE}};
    make_folder();
    CHECK(sl_fail_each(rows, COUNT(rows), reading_a_host, NULL) >= 10);
}

static void reader_on_a_thread(void *user)
{
    sl_probe_reader *reader = NULL;
    sl_probe_reader_options options = {.dir = folder, .consumer = {.open = on_open, .event = count_posts}};
    (void)user;
    int error = sl_probe_reader_new(&options, &reader);
    CHECK(!error || sl_fail.hit);
    if (!error) {
        error = sl_probe_reader_start(reader);
        CHECK(!error || (sl_fail.hit && error == SL_ENOMEM));
        sl_probe_reader_stop(reader, sl_mono_ns() + 5 * (uint64_t)SECOND);
    }
    sl_probe_reader_free(reader);
}

SL_TEST(a_reader_on_a_thread)
{
    static const sl_fail_row rows[] = {{SL_CALL_THREAD, EAGAIN}, {SL_CALL_OPEN, EACCES}};
    make_folder();
    CHECK(sl_fail_each(rows, COUNT(rows), reader_on_a_thread, NULL) >= 2);
}

/* ---- processes ---- */

/* A process of another namespace that cannot be looked for now is one that is not seen, never a wrong one. */
static void process_of_a_namespace(void *user)
{
    sl_probe_process self = sl_probe_process_self(), other = self;
    (void)user;
    CHECK_EQ(self.pid, getpid());
    CHECK_EQ(sl_probe_process_seen(&self), getpid());
    other.namespace = self.namespace + 1;
    CHECK_EQ(sl_probe_process_seen(&other), 0);
    other.namespace = 0;
    CHECK_EQ(sl_probe_process_seen(&other), getpid());
}

SL_TEST(a_process_of_a_namespace)
{
    static const sl_fail_row rows[] = {{SL_CALL_OPEN, EMFILE}, {SL_CALL_READ, EIO}, {SL_CALL_OPENDIR, EMFILE}};
    size_t failed = 0;
    for (size_t i = 0; i < COUNT(rows); i++) {
        for (long nth = 0; nth < 6; nth++, failed++) { /* there are as many calls as processes */
            sl_fail_arm(rows[i], nth);
            process_of_a_namespace(NULL);
            if (!sl_fail_disarm())
                break;
        }
    }
    CHECK(failed >= 3);
}

/* Memory that cannot be read now is not memory that was given back: quotas look at it. */
static void resident_memory(void *user)
{
    uint64_t bytes = 7;
    (void)user;
    bool known = sl_probe_resident_bytes((uint32_t)getpid(), &bytes);
    CHECK_EQ(known, !sl_fail.hit);
    CHECK(known ? bytes > 100000 : bytes == 7);
}

SL_TEST(the_memory_of_a_host)
{
    static const sl_fail_row rows[] = {{SL_CALL_OPEN, EMFILE}, {SL_CALL_OPEN, ENFILE}, {SL_CALL_READ, EIO}};
    CHECK_EQ(sl_fail_each(rows, COUNT(rows), resident_memory, NULL), 3);
    uint64_t bytes = 7;
    CHECK(sl_probe_resident_bytes(0x7fffffff, &bytes)); /* it is known that a process that is gone has none */
    CHECK_EQ(bytes, 0);
}
