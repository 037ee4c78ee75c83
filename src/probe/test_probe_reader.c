/* The reader of rings, with hosts that are children of the test. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/limits.h"
#include "src/base/sync.h"
#include "src/probe/process_seen.h"
#include "src/probe/reader.h"
#include "tests/harness/sl_test.h"

#define MAX_SEEN 8

typedef struct seen_host {
    uint32_t pid;
    unsigned events, ticks;
    uint32_t last, dropped, bad;
    bool in_order, gone, crashed, closed;
} seen_host;

typedef struct rig {
    char dir[64];
    seen_host hosts[MAX_SEEN];
    unsigned count, rounds;
    bool refuse;
    sl_probe_reader *reader;
} rig;

static int on_open(void *user, const sl_probe_ring_info *info, void **ret_host)
{
    rig *r = user;
    if (r->refuse || r->count == MAX_SEEN)
        return SL_ENOMEM;
    r->hosts[r->count] = (seen_host){.pid = info->pid, .in_order = true};
    *ret_host = &r->hosts[r->count++];
    return 0;
}

static void on_event(void *user, const sl_probe_event *event, size_t size)
{
    seen_host *h = user;
    const sl_probe_post *post = (const void *)event;
    CHECK_EQ(size, sizeof *post);
    h->in_order &= post->request == h->last + 1;
    h->last = post->request;
    h->events++;
}

static void on_tick(void *user, uint64_t now_ns, uint64_t dropped, uint64_t bad)
{
    seen_host *h = user;
    CHECK(now_ns > 0);
    h->ticks++;
    h->dropped = (uint32_t)dropped;
    h->bad = (uint32_t)bad;
}

static void on_gone(void *user, uint64_t now_ns, bool crashed)
{
    seen_host *h = user;
    CHECK(now_ns > 0 && !h->gone);
    h->gone = true;
    h->crashed = crashed;
}

static void on_close(void *user)
{
    ((seen_host *)user)->closed = true;
}

static void on_round(void *user, uint64_t now_ns)
{
    CHECK(now_ns > 0);
    ((rig *)user)->rounds++;
}

static const sl_probe_consumer consumer = {NULL, on_open, on_event, on_tick, on_gone, on_close, on_round};

static bool rig_init(rig *r)
{
    memset(r, 0, sizeof *r);
    (void)snprintf(r->dir, sizeof r->dir, "/tmp/sl-test-reader-XXXXXX");
    sl_probe_reader_options o = {.dir = mkdtemp(r->dir), .consumer = consumer};
    o.consumer.user = r;
    return o.dir && sl_probe_reader_new(&o, &r->reader) == 0;
}

static void rig_done(rig *r)
{
    sl_probe_reader_free(r->reader);
    CHECK(rmdir(r->dir) == 0); /* nothing is left behind */
}

static void path_of(const rig *r, int number, char *ret_path, size_t size)
{
    (void)snprintf(ret_path, size, "%s/%d-%d.ring", r->dir, (int)getpid(), number);
}

/* In the host: events numbered from 1. */
static void tell(sl_probe_ring *ring, uint32_t from, uint32_t count)
{
    for (uint32_t i = from; i < from + count; i++) {
        sl_probe_post *post = (sl_probe_post *)(void *)sl_probe_ring_take(ring, sizeof *post);
        if (!post)
            continue;
        post->head.kind = SL_PROBE_POST;
        post->head.flags = 0;
        post->head.count = 0;
        post->head.thread = 1;
        post->head.time_ns = sl_mono_ns();
        post->request = i;
        post->reserved = 0;
        sl_probe_ring_commit(&post->head, sizeof *post);
    }
}

static sl_probe_ring *ring_of(const rig *r, int number)
{
    char path[128];
    sl_probe_ring *ring = NULL;
    path_of(r, number, path, sizeof path);
    return sl_probe_ring_new(path, 0, &ring) == 0 ? ring : NULL;
}

typedef enum host_end { BY_EXIT, BY_CLOSING, BY_KILL, HALF_WRITTEN, STAYS } host_end;

/* A host process: tells `count` events and ends so. */
static pid_t start_host(const rig *r, uint32_t count, host_end end)
{
    pid_t pid = fork();
    if (pid != 0)
        return pid;
    sl_probe_ring *ring = ring_of(r, 1);
    if (!ring)
        _exit(9);
    tell(ring, 1, count);
    if (end == HALF_WRITTEN) {
        (void)sl_probe_ring_take(ring, sizeof(sl_probe_post));
        tell(ring, count + 1, 1); /* behind what will never be written */
    }
    if (end == BY_CLOSING)
        sl_probe_ring_close(ring);
    if (end == BY_KILL || end == HALF_WRITTEN)
        (void)kill(getpid(), SIGKILL);
    if (end == STAYS) {
        for (;;)
            (void)pause();
    }
    _exit(0);
}

static void step_until(rig *r, const bool *condition, unsigned timeout_ms)
{
    uint64_t until = sl_deadline_ns(timeout_ms);
    do {
        (void)sl_probe_reader_step(r->reader, sl_mono_ns());
        (void)usleep(5000);
    } while (!*condition && sl_mono_ns() < until);
}

static void reap(pid_t pid)
{
    int status;
    CHECK_EQ(waitpid(pid, &status, 0), pid);
}

SL_TEST(a_host_is_found_and_read_to_its_end)
{
    static const struct {
        host_end end;
        bool crashed;
    } rows[] = {{BY_CLOSING, false}, {BY_EXIT, true}, {BY_KILL, true}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        rig r;
        REQUIRE(rig_init(&r));
        pid_t pid = start_host(&r, 20000, rows[i].end);
        step_until(&r, &r.hosts[0].closed, 5000);
        CHECK_EQ(r.count, 1);
        CHECK_EQ(r.hosts[0].pid, pid);
        CHECK_EQ(r.hosts[0].events, 20000);
        CHECK(r.hosts[0].in_order && r.hosts[0].gone && r.hosts[0].ticks > 0);
        CHECK_EQ(r.hosts[0].crashed, rows[i].crashed);
        reap(pid); /* a zombie until here: its end was noticed all the same */
        rig_done(&r);
    }
}

SL_TEST(what_was_taken_and_never_written_costs_itself_only)
{
    rig r;
    REQUIRE(rig_init(&r));
    pid_t pid = start_host(&r, 10, HALF_WRITTEN);
    step_until(&r, &r.hosts[0].closed, 5000);
    CHECK_EQ(r.hosts[0].events, 11);
    CHECK(r.hosts[0].crashed);
    sl_probe_reader_stats stats;
    (void)sl_probe_reader_step(r.reader, sl_mono_ns() + 1000000000u);
    sl_probe_reader_get_stats(r.reader, &stats);
    CHECK_EQ(stats.lost, 1);
    CHECK_EQ(r.hosts[0].bad, 1);
    CHECK_EQ(stats.events, 11);
    CHECK_EQ(stats.seen, 1);
    CHECK_EQ(stats.hosts, 0);
    reap(pid);
    rig_done(&r);
}

SL_TEST(hosts_that_ended_before_anybody_looked_are_read)
{
    rig r;
    REQUIRE(rig_init(&r));
    for (int i = 0; i < 4; i++)
        reap(start_host(&r, 100u + (uint32_t)i, i % 2 ? BY_KILL : BY_CLOSING));
    sl_probe_reader_stop(r.reader, sl_deadline_ns(3000));
    CHECK_EQ(r.count, 4);
    unsigned events = 0, crashed = 0;
    for (unsigned i = 0; i < r.count; i++) {
        CHECK(r.hosts[i].closed && r.hosts[i].in_order);
        events += r.hosts[i].events;
        crashed += r.hosts[i].crashed;
    }
    CHECK_EQ(events, 100 + 101 + 102 + 103);
    CHECK_EQ(crashed, 2);
    rig_done(&r);
}

SL_TEST(stopping_does_not_wait_for_hosts_that_live)
{
    rig r;
    REQUIRE(rig_init(&r));
    REQUIRE(sl_probe_reader_start(r.reader) == 0);
    pid_t pid = start_host(&r, 500, STAYS);
    sl_probe_reader_stats stats = {0};
    for (int i = 0; i < 500 && stats.events < 500; i++) {
        (void)usleep(10000);
        sl_probe_reader_get_stats(r.reader, &stats);
    }
    CHECK_EQ(stats.events, 500);
    uint64_t before = sl_mono_ns();
    sl_probe_reader_stop(r.reader, sl_deadline_ns(3000));
    CHECK(sl_mono_ns() - before < 1000000000u);
    CHECK(!r.hosts[0].gone);
    CHECK(kill(pid, SIGKILL) == 0);
    reap(pid);
    sl_probe_reader_free(r.reader);
    r.reader = NULL;
    CHECK(r.hosts[0].gone && !r.hosts[0].crashed && r.hosts[0].closed);
    rig_done(&r);
}

SL_TEST(a_program_that_becomes_another_begins_anew)
{
    rig r;
    REQUIRE(rig_init(&r));
    sl_probe_ring *first = ring_of(&r, 1);
    REQUIRE(first);
    tell(first, 1, 5);
    (void)sl_probe_reader_step(r.reader, sl_mono_ns());
    CHECK_EQ(r.hosts[0].events, 5);
    tell(first, 6, 2); /* not yet read when the next one appears */
    sl_probe_ring *second = ring_of(&r, 2);
    REQUIRE(second);
    tell(second, 1, 3);
    step_until(&r, &r.hosts[0].closed, 3000);
    CHECK(r.hosts[0].gone && !r.hosts[0].crashed);
    CHECK_EQ(r.hosts[0].events, 7);
    CHECK_EQ(r.hosts[1].events, 3);
    CHECK(!r.hosts[1].gone);
    /* The same name again: another file, another host. A name that is there is nobody's to take. */
    char path[128];
    CHECK(!ring_of(&r, 2));
    path_of(&r, 2, path, sizeof path);
    CHECK_EQ(unlink(path), 0);
    sl_probe_ring *third = ring_of(&r, 2);
    REQUIRE(third);
    tell(third, 1, 4);
    step_until(&r, &r.hosts[1].closed, 3000);
    CHECK_EQ(r.count, 3);
    CHECK_EQ(r.hosts[2].events, 4);
    sl_probe_ring_free(first);
    sl_probe_ring_free(second);
    sl_probe_ring_free(third);
    rig_done(&r);
}

/* ---- PID namespaces ---- */

/* A host that is number 1 of a namespace of its own; its number here, or 0: not permitted. */
static pid_t start_inner_host(const rig *r, int number, uint32_t count)
{
    int both[2];
    pid_t seen = 0;
    CHECK(pipe(both) == 0);
    pid_t between = fork();
    if (between == 0) {
        pid_t inner = unshare(CLONE_NEWPID) == 0 ? fork() : 0;
        if (inner == 0 && getpid() == 1) {
            sl_probe_ring *ring = ring_of(r, number);
            if (ring)
                tell(ring, 1, count);
            for (;;)
                (void)pause();
        }
        _exit(write(both[1], &inner, sizeof inner) < 0);
    }
    reap(between);
    (void)close(both[1]);
    CHECK_EQ(read(both[0], &seen, sizeof seen), sizeof seen);
    (void)close(both[0]);
    return seen;
}

/* Two of the same number, each of which is another process here. */
/* A program that is looked at from outside opens a library that the one inside sees: both tell. */
SL_TEST(what_is_seen_from_outside_goes_on_beside_a_ring_of_the_process)
{
    rig r;
    REQUIRE(rig_init(&r));
    sl_probe_ring *outside;
    REQUIRE(sl_probe_ring_new(NULL, 0, &outside) == 0);
    sl_probe_ring_about(outside, (uint32_t)getpid());
    REQUIRE(sl_probe_reader_add(r.reader, outside) == 0);
    tell(outside, 1, 2);
    (void)sl_probe_reader_step(r.reader, sl_mono_ns());
    sl_probe_ring *inside = ring_of(&r, 1);
    REQUIRE(inside);
    tell(inside, 1, 3);
    step_until(&r, &r.hosts[0].closed, 500);
    CHECK(!r.hosts[0].gone && !r.hosts[1].gone);
    tell(outside, 3, 4);
    tell(inside, 4, 1);
    (void)sl_probe_reader_step(r.reader, sl_mono_ns());
    CHECK_EQ(r.hosts[0].events, 6);
    CHECK_EQ(r.hosts[1].events, 4);
    sl_probe_ring_close(outside);
    sl_probe_ring_close(inside);
    step_until(&r, &r.hosts[0].closed, 3000);
    step_until(&r, &r.hosts[1].closed, 3000);
    sl_probe_ring_free(inside);
    sl_probe_ring_free(outside);
    rig_done(&r);
}

SL_TEST(hosts_in_pid_namespaces_live_and_end)
{
    rig r;
    REQUIRE(rig_init(&r));
    (void)prctl(PR_SET_CHILD_SUBREAPER, 1);
    pid_t first = start_inner_host(&r, 1, 7);
    if (!first) {
        rig_done(&r);
        SL_SKIP("needs the right to make a PID namespace");
    }
    bool found = false;
    for (int i = 0; i < 300 && !found; i++) {
        step_until(&r, &found, 0);
        found = r.count == 1 && r.hosts[0].events == 7;
    }
    pid_t second = start_inner_host(&r, 2, 3);
    for (int i = 0; i < 60; i++)
        step_until(&r, &(bool){false}, 0);
    REQUIRE(r.count == 2);
    CHECK_EQ(r.hosts[0].pid, first);
    CHECK_EQ(r.hosts[1].pid, second);
    CHECK_EQ(r.hosts[1].events, 3);
    CHECK(!r.hosts[0].gone && !r.hosts[1].gone);
    CHECK(kill(first, SIGKILL) == 0);
    step_until(&r, &r.hosts[0].closed, 3000);
    CHECK(r.hosts[0].gone && r.hosts[0].crashed && !r.hosts[1].gone);
    CHECK(kill(second, SIGKILL) == 0);
    step_until(&r, &r.hosts[1].closed, 3000);
    CHECK(r.hosts[1].gone && r.hosts[1].crashed);
    reap(first);
    reap(second);
    rig_done(&r);
}

SL_TEST(a_process_is_found_by_its_namespace_and_number)
{
    sl_probe_process self = sl_probe_process_self();
    CHECK_EQ(self.pid, getpid());
    CHECK(self.namespace && self.began);
    CHECK_EQ(sl_probe_process_seen(&self), getpid());
    CHECK_EQ(sl_probe_process_seen(&(sl_probe_process){4711, 0, 0}), 4711); /* nothing is known of its namespace */
    sl_probe_process elsewhere = {1, self.namespace + 1, self.began};
    CHECK_EQ(sl_probe_process_seen(&elsewhere), 0);
}

static void put_file(const rig *r, const char *name, const char *text)
{
    char path[512];
    (void)snprintf(path, sizeof path, "%s/%s", r->dir, name);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    CHECK(fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text));
    (void)close(fd);
}

SL_TEST(what_is_no_ring_is_removed)
{
    rig r;
    char path[128], away[160];
    REQUIRE(rig_init(&r));
    put_file(&r, "1-1.ring", "not a ring");
    put_file(&r, "2-1.ring", "");
    put_file(&r, "a-name-that-is-much-longer-than-any-name-of-a-ring-could-ever-be-in-this.ring", "x");
    put_file(&r, "3-1.ring.new", "not yet there"); /* is left alone */
    (void)snprintf(path, sizeof path, "%s/4-1.ring", r.dir);
    CHECK(symlink("/etc/passwd", path) == 0);
    (void)snprintf(path, sizeof path, "%s/5-1.ring", r.dir);
    CHECK(mkdir(path, 0700) == 0);
    (void)snprintf(path, sizeof path, "%s/6-1.ring", r.dir);
    CHECK(mkfifo(path, 0600) == 0);
    (void)sl_probe_reader_step(r.reader, sl_mono_ns());
    sl_probe_reader_stats stats;
    sl_probe_reader_get_stats(r.reader, &stats);
    CHECK_EQ(stats.refused, 6);
    CHECK_EQ(stats.seen, 0);
    (void)snprintf(away, sizeof away, "%s/3-1.ring.new", r.dir);
    CHECK(unlink(away) == 0);
    rig_done(&r);
}

SL_TEST(what_cannot_be_removed_is_counted_once)
{
    enum { MANY = 20 };
    rig r;
    char path[128];
    sl_probe_reader_stats stats;
    REQUIRE(rig_init(&r));
    for (unsigned have = 0; have <= MANY; have += MANY) {
        for (unsigned i = 0; i < (have ? MANY : 1); i++) {
            (void)snprintf(path, sizeof path, "%s/%u.ring", r.dir, i);
            CHECK(mkdir(path, 0700) == 0 || i == 0);
            (void)snprintf(path, sizeof path, "%u.ring/full", i);
            put_file(&r, path, "x");
        }
        for (unsigned i = 1; i < 5; i++)
            (void)sl_probe_reader_step(r.reader, sl_mono_ns() + i * 200000000ull);
        sl_probe_reader_get_stats(r.reader, &stats);
        CHECK_EQ(stats.refused, have ? 16 : 1); /* no more of them than are remembered */
    }
    for (unsigned i = 0; i < MANY; i++) {
        (void)snprintf(path, sizeof path, "%s/%u.ring/full", r.dir, i);
        CHECK_EQ(unlink(path), 0);
    }
    (void)sl_probe_reader_step(r.reader, sl_mono_ns() + 2000000000u);
    sl_probe_reader_get_stats(r.reader, &stats);
    CHECK_EQ(stats.refused, MANY); /* those that were not remembered count now */
    rig_done(&r);
}

SL_TEST(a_ring_of_a_stranger_is_not_read)
{
    if (geteuid() != 0)
        SL_SKIP("needs root to make files of another user");
    rig r;
    char path[128];
    REQUIRE(rig_init(&r));
    sl_probe_ring *ring = ring_of(&r, 1);
    REQUIRE(ring);
    tell(ring, 1, 1);
    path_of(&r, 1, path, sizeof path);
    CHECK(chown(path, 65534, 65534) == 0); /* while the process it names runs as root */
    (void)sl_probe_reader_step(r.reader, sl_mono_ns());
    sl_probe_reader_stats stats;
    sl_probe_reader_get_stats(r.reader, &stats);
    CHECK_EQ(stats.refused, 1);
    CHECK_EQ(r.count, 0);
    sl_probe_ring_free(ring);
    /* A host that has become that user itself is welcome. */
    CHECK(chmod(r.dir, 01733) == 0);
    pid_t pid = fork();
    if (pid == 0) {
        if (setuid(65534) != 0)
            _exit(1);
        ring = ring_of(&r, 1);
        if (ring)
            tell(ring, 1, 3);
        while (ring)
            (void)pause();
        _exit(2);
    }
    bool found = false;
    for (int i = 0; i < 300 && !found; i++) {
        step_until(&r, &found, 0);
        found = r.count == 1 && r.hosts[0].events == 3;
    }
    CHECK(found);
    CHECK(kill(pid, SIGKILL) == 0);
    reap(pid);
    step_until(&r, &r.hosts[0].closed, 3000);
    rig_done(&r);
}

SL_TEST(rings_of_this_process_end_when_they_are_closed)
{
    rig r = {.count = 0};
    sl_probe_reader_options o = {.consumer = consumer};
    o.consumer.user = &r;
    REQUIRE(sl_probe_reader_new(&o, &r.reader) == 0);
    sl_probe_ring *mine = NULL;
    REQUIRE(sl_probe_ring_new(NULL, 0, &mine) == 0);
    tell(mine, 1, 4);
    REQUIRE(sl_probe_reader_add(r.reader, mine) == 0);
    CHECK_EQ(sl_probe_reader_step(r.reader, sl_mono_ns()), 100);
    CHECK_EQ(r.hosts[0].events, 4);
    CHECK(!r.hosts[0].gone);
    CHECK_EQ(r.rounds, 1);
    CHECK_EQ(sl_probe_reader_step(r.reader, sl_mono_ns() + 600000000u), 100); /* nothing to do for a while */
    CHECK_EQ(r.rounds, 2);
    tell(mine, 5, 1);
    sl_probe_ring_close(mine);
    sl_probe_reader_stop(r.reader, sl_deadline_ns(1000));
    CHECK(r.hosts[0].gone && !r.hosts[0].crashed && r.hosts[0].closed);
    CHECK_EQ(r.hosts[0].events, 5);
    sl_probe_reader_free(r.reader);
    tell(mine, 6, 1); /* a thread that is late: the ring is still there */
    sl_probe_ring_free(mine);
}

SL_TEST(a_reader_needs_a_folder_and_a_consumer)
{
    sl_probe_reader *reader = NULL;
    sl_probe_reader_options o = {.dir = "/nonexistent/folder", .consumer = consumer};
    CHECK_EQ(sl_probe_reader_new(&o, &reader), SL_EIO);
    CHECK_EQ(sl_probe_reader_new(NULL, &reader), SL_EINVAL);
    o.consumer.event = NULL;
    CHECK_EQ(sl_probe_reader_new(&o, &reader), SL_EINVAL);
    CHECK(!reader);
    sl_probe_reader_free(NULL);
}

SL_TEST(without_memory_a_host_waits_for_the_next_round)
{
    rig r;
    REQUIRE(rig_init(&r));
    sl_probe_ring *ring = ring_of(&r, 1);
    REQUIRE(ring);
    tell(ring, 1, 2);
    r.refuse = true;
    (void)sl_probe_reader_step(r.reader, sl_mono_ns());
    CHECK_EQ(r.count, 0);
    r.refuse = false;
    sl_test_fail_alloc(0);
    (void)sl_probe_reader_step(r.reader, sl_mono_ns() + 200000000u);
    CHECK_EQ(r.count, 0);
    (void)sl_probe_reader_step(r.reader, sl_mono_ns() + 400000000u);
    CHECK_EQ(r.hosts[0].events, 2);
    sl_probe_ring_free(ring);
    rig_done(&r);
}
