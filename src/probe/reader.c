/*
 * The reader. Hosts stand in a table; each has its ring and, where the kernel has them, a pidfd, so that a number
 * which another process got in the meantime is not mistaken for the host.
 *
 *     file appears ─▶ LIVE ── closed, pid gone, or the process has a newer ring ─▶ ENDING ── all read ─▶ removed
 */
#include "src/probe/reader.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/limits.h"
#include "src/base/mem.h"
#include "src/base/sync.h"

#define EVENTS_AT_ONCE 4096u /* of one host, before the next one's turn */
#define TURNS 16u            /* of that, in one step */
#define TICK_NS 100000000u   /* ticks, and looks for ends and new rings */
#define STEP_MS 100u         /* how often it comes: a wake-up costs as much as some hundred events */
#define BUSY_MS 20u          /* while a ring fills fast */
#define BUSY_BYTES (SL_PROBE_RING_BYTES / 16)
#define SCAN_NS 1000000000u     /* at least so often it looks into the folder; else when the folder has changed */
#define SCAN_AGAIN_NS 50000000u /* after a change: another one of the same tick of the clock would not show */
#define LAST_NS 1200000000ull   /* for the last events of a host that has ended: a bit more than SL_PROBE_STUCK_NS */
#define MAX_NAME 64u            /* of a ring's file */
#define MAX_ENTRIES 4096u       /* of the folder, looked at in one go */
#define MAX_STUCK 16u           /* entries that cannot be removed, which are counted */

typedef struct host {
    struct host *next;
    sl_probe_ring *ring;
    char name[MAX_NAME]; /* empty: not from the folder */
    ino_t inode;
    uint32_t pid;
    uint64_t scan; /* of the folder, that found it */
    int pidfd;     /* -1: not to be had, kill() tells */
    bool own;      /* a ring of this process */
    bool ending, crashed;
    uint64_t ended_ns;
    void *object; /* the consumer's */
} host;

struct sl_probe_reader {
    /* Constant. */
    sl_probe_consumer consumer;
    int dir; /* -1: none */
    /* The stepping thread's. */
    host *hosts;
    unsigned count;
    uint64_t tick_ns, scan_ns, scan;
    struct timespec changed; /* the folder, when it was looked into */
    bool busy;
    uint64_t left_dropped, left_lost; /* of hosts that are gone */
    ino_t stuck[MAX_STUCK];           /* entries that were refused and cannot be removed */
    unsigned stuck_count;
    /* Any thread. */
    _Atomic unsigned shown_hosts;
    _Atomic uint64_t seen, refused, events, dropped, lost;
    /* Under the lock. */
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool running, stopping;
};

int sl_probe_reader_new(const sl_probe_reader_options *options, sl_probe_reader **ret_reader)
{
    if (!options || !ret_reader || !options->consumer.open || !options->consumer.event)
        return SL_EINVAL;
    sl_probe_reader *reader = sl_calloc(1, sizeof *reader);
    if (!reader)
        return SL_ENOMEM;
    reader->consumer = options->consumer;
    reader->dir = options->dir ? open(options->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW) : -1;
    if ((options->dir && reader->dir < 0) || sl_cond_init(&reader->wake) != 0) {
        if (reader->dir >= 0)
            (void)close(reader->dir);
        sl_free(reader);
        return SL_EIO;
    }
    (void)pthread_mutex_init(&reader->lock, NULL);
    *ret_reader = reader;
    return 0;
}

/* ---- hosts ---- */

static void show_counts(sl_probe_reader *reader)
{
    uint64_t dropped = reader->left_dropped, lost = reader->left_lost;
    for (const host *h = reader->hosts; h; h = h->next) {
        sl_probe_ring_info info;
        sl_probe_ring_get_info(h->ring, &info);
        dropped += info.dropped;
        lost += info.bad;
    }
    atomic_store(&reader->dropped, dropped);
    atomic_store(&reader->lost, lost);
    atomic_store(&reader->shown_hosts, reader->count);
}

/* Takes a host out of the table, and its file out of the folder. */
static void remove_host(sl_probe_reader *reader, host **at, uint64_t now_ns)
{
    host *h = *at;
    SL_ASSERT(h && reader->count > 0);
    sl_probe_ring_info info;
    sl_probe_ring_get_info(h->ring, &info);
    reader->left_dropped += info.dropped;
    reader->left_lost += info.bad;
    if (reader->consumer.tick)
        reader->consumer.tick(h->object, now_ns, info.dropped, info.bad);
    if (reader->consumer.gone)
        reader->consumer.gone(h->object, now_ns, h->crashed);
    if (reader->consumer.close)
        reader->consumer.close(h->object);
    struct stat st;
    if (h->name[0] && fstatat(reader->dir, h->name, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == h->inode)
        (void)unlinkat(reader->dir, h->name, 0);
    if (h->pidfd >= 0)
        (void)close(h->pidfd);
    if (!h->own)
        sl_probe_ring_free(h->ring);
    *at = h->next;
    reader->count--;
    sl_free(h);
}

static void end_host(host *h, uint64_t now_ns, bool crashed)
{
    SL_ASSERT(h && now_ns);
    if (h->ending)
        return;
    h->ending = true;
    h->crashed = crashed;
    h->ended_ns = now_ns;
}

static int pidfd_of(uint32_t pid)
{
    return pid > 0 && pid <= INT_MAX ? (int)syscall(SYS_pidfd_open, (pid_t)pid, 0u) : -1;
}

/*
 * A process that makes another ring has become another program: the older one is complete. What is seen of a process
 * from outside goes on beside what the library in it tells.
 */
static void end_predecessors(const sl_probe_reader *reader, const host *newer)
{
    SL_ASSERT(reader && newer);
    for (host *h = reader->hosts; h; h = h->next) {
        if (!h->own && h != newer && h->pid == newer->pid && h->scan < newer->scan)
            end_host(h, sl_mono_ns(), false);
    }
}

/* Makes a host of a ring. `name`: of its file; then the ring is taken over, also on failure; NULL: this process's. */
static int adopt(sl_probe_reader *reader, sl_probe_ring *ring, const char *name, ino_t inode)
{
    SL_ASSERT(reader && ring);
    sl_probe_ring_info info;
    sl_probe_ring_get_info(ring, &info);
    host *h = sl_calloc(1, sizeof *h);
    int error = h ? 0 : SL_ENOMEM;
    if (!error)
        error = reader->consumer.open(reader->consumer.user, &info, &h->object);
    if (error) {
        sl_free(h);
        if (name)
            sl_probe_ring_free(ring);
        return error;
    }
    h->ring = ring;
    h->pid = info.pid;
    h->inode = inode;
    h->scan = reader->scan;
    h->own = !name;
    h->pidfd = name ? pidfd_of(info.pid) : -1;
    (void)snprintf(h->name, sizeof h->name, "%s", name ? name : "");
    h->next = reader->hosts;
    reader->hosts = h;
    reader->count++;
    atomic_fetch_add(&reader->seen, 1);
    if (name)
        end_predecessors(reader, h);
    return 0;
}

int sl_probe_reader_add(sl_probe_reader *reader, sl_probe_ring *ring)
{
    SL_ASSERT(reader && ring);
    return reader->count < SL_PROBE_MAX_HOSTS ? adopt(reader, ring, NULL, 0) : SL_ELIMIT;
}

/* ---- the folder ---- */

/* 0 when a process runs as a user. SL_EREFUSED: it does not, or is gone; SL_EIO: it cannot be seen now. */
static int runs_as(uint32_t pid, uid_t uid)
{
    char path[32], text[4096];
    (void)snprintf(path, sizeof path, "/proc/%u/status", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno != ENOENT)
        return SL_EIO;
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0)
        (void)close(fd);
    if (got <= 0)
        return SL_EREFUSED;
    text[got] = '\0';
    char *at = strstr(text, "\nUid:");
    bool found = false;
    if (at)
        at += 5;
    for (int i = 0; i < 4 && at; i++) /* real, effective, saved, of files */
        found |= strtoul(at, &at, 10) == uid;
    return found ? 0 : SL_EREFUSED;
}

/* Opens a file of the folder as a ring. SL_EREFUSED: it is not one of ours; others: perhaps later. */
static int open_ring(const sl_probe_reader *reader, const char *name, sl_probe_ring **ret_ring, ino_t *ret_inode)
{
    SL_ASSERT(reader->dir >= 0 && name && ret_ring && ret_inode);
    struct stat st;
    sl_probe_ring *ring;
    sl_probe_ring_info info;
    int fd = openat(reader->dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0)
        return errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOENT ? SL_EIO : SL_EREFUSED;
    int error = fstat(fd, &st) != 0 ? SL_EIO : S_ISREG(st.st_mode) && st.st_nlink == 1 ? 0 : SL_EREFUSED;
    if (!error)
        error = sl_probe_ring_open(fd, &ring);
    (void)close(fd);
    if (error)
        return error == SL_EPARSE ? SL_EREFUSED : error;
    sl_probe_ring_get_info(ring, &info);
    error = st.st_uid == geteuid() ? 0 : runs_as(info.pid, st.st_uid);
    if (error) {
        sl_probe_ring_free(ring);
        return error;
    }
    *ret_inode = st.st_ino;
    *ret_ring = ring;
    return 0;
}

/* The number in a folder's entry is not asked: of a file in layers (overlayfs) it may differ from the file's own. */
static bool is_known(const sl_probe_reader *reader, const char *name)
{
    struct stat st;
    for (const host *h = reader->hosts; h; h = h->next) {
        if (strcmp(h->name, name) == 0 && fstatat(reader->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            st.st_ino == h->inode)
            return true;
    }
    return false;
}

/* Removes what is no ring of ours. What cannot be removed (a folder that is not empty) comes again, and counts once. */
static void refuse(sl_probe_reader *reader, const char *name)
{
    struct stat st;
    SL_ASSERT(reader->stuck_count <= MAX_STUCK);
    bool known = fstatat(reader->dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0;
    for (unsigned i = 0; i < reader->stuck_count && !known; i++)
        known = reader->stuck[i] == st.st_ino;
    bool stays = unlinkat(reader->dir, name, 0) != 0 && unlinkat(reader->dir, name, AT_REMOVEDIR) != 0;
    if (known || (stays && reader->stuck_count == MAX_STUCK))
        return;
    if (stays)
        reader->stuck[reader->stuck_count++] = st.st_ino;
    atomic_fetch_add(&reader->refused, 1);
}

static void consider(sl_probe_reader *reader, const char *name)
{
    ino_t inode = 0;
    SL_ASSERT(reader && name);
    sl_str text = sl_str_c(name);
    sl_probe_ring *ring = NULL;
    if (!sl_str_ends(text, SL_STR(SL_PROBE_RING_SUFFIX)) || is_known(reader, name))
        return;
    int error = text.len < MAX_NAME ? open_ring(reader, name, &ring, &inode) : SL_EREFUSED;
    if (!error)
        error = adopt(reader, ring, name, inode);
    if (error == SL_EREFUSED)
        refuse(reader, name);
}

/* Whether it is time to look into the folder. */
static bool may_have_rings(sl_probe_reader *reader, uint64_t now_ns)
{
    struct stat st;
    if (reader->dir < 0 || fstat(reader->dir, &st) != 0)
        return false;
    bool changed = st.st_mtim.tv_sec != reader->changed.tv_sec || st.st_mtim.tv_nsec != reader->changed.tv_nsec;
    uint64_t now_unix = sl_now_ns(), then = (uint64_t)st.st_mtim.tv_sec * 1000000000u + (uint64_t)st.st_mtim.tv_nsec;
    bool fresh = then + SCAN_AGAIN_NS > now_unix;
    if (!changed && reader->scan_ns && now_ns - reader->scan_ns < SCAN_NS)
        return false;
    reader->changed = fresh ? (struct timespec){0} : st.st_mtim;
    reader->scan_ns = now_ns;
    return true;
}

static void look_for_rings(sl_probe_reader *reader)
{
    int fd = reader->dir < 0 ? -1 : openat(reader->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0)
            (void)close(fd);
        return;
    }
    const struct dirent *entry;
    reader->scan++;
    for (unsigned i = 0; i < MAX_ENTRIES && reader->count < SL_PROBE_MAX_HOSTS && (entry = readdir(dir)); i++)
        consider(reader, entry->d_name);
    (void)closedir(dir);
}

/* ---- rounds ---- */

static bool is_dead(const host *h)
{
    SL_ASSERT(h && !h->own);
    if (h->pidfd >= 0) {
        struct pollfd p = {h->pidfd, POLLIN, 0};
        return poll(&p, 1, 0) > 0;
    }
    return h->pid == 0 || h->pid > INT_MAX || (kill((pid_t)h->pid, 0) != 0 && errno == ESRCH);
}

static void look_for_ends(sl_probe_reader *reader, uint64_t now_ns)
{
    for (host *h = reader->hosts; h; h = h->next) {
        sl_probe_ring_info info;
        sl_probe_ring_get_info(h->ring, &info);
        if (h->ending)
            continue;
        if (info.closed)
            end_host(h, now_ns, false);
        else if (!h->own && is_dead(h)) {
            sl_probe_ring_get_info(h->ring, &info); /* closed just before the end? */
            end_host(h, now_ns, !info.closed);
        }
    }
}

/* Hands over what is there; true when that was all that is written. */
static bool drain(sl_probe_reader *reader, host *h, uint64_t now_ns)
{
    SL_ASSERT(h);
    sl_probe_ring_info before;
    sl_probe_ring_get_info(h->ring, &before);
    reader->busy |= before.waiting_bytes >= BUSY_BYTES;
    for (unsigned i = 0; i < TURNS; i++) {
        size_t count = sl_probe_ring_read(h->ring, EVENTS_AT_ONCE, now_ns, reader->consumer.event, h->object);
        atomic_fetch_add(&reader->events, count);
        if (count < EVENTS_AT_ONCE) {
            sl_probe_ring_info info;
            sl_probe_ring_get_info(h->ring, &info);
            return info.waiting_bytes == 0;
        }
    }
    return false;
}

static void drain_all(sl_probe_reader *reader, uint64_t now_ns)
{
    for (host **at = &reader->hosts; *at;) {
        host *h = *at;
        bool empty = drain(reader, h, now_ns);
        if (h->ending && (empty || now_ns - h->ended_ns > LAST_NS))
            remove_host(reader, at, now_ns);
        else
            at = &h->next;
    }
}

static void tick_all(sl_probe_reader *reader, uint64_t now_ns)
{
    for (const host *h = reader->hosts; h && reader->consumer.tick; h = h->next) {
        sl_probe_ring_info info;
        sl_probe_ring_get_info(h->ring, &info);
        reader->consumer.tick(h->object, now_ns, info.dropped, info.bad);
    }
}

unsigned sl_probe_reader_step(sl_probe_reader *reader, uint64_t now_ns)
{
    SL_ASSERT(reader);
    bool tick = reader->tick_ns == 0 || now_ns - reader->tick_ns >= TICK_NS;
    if (tick) {
        reader->tick_ns = now_ns;
        if (may_have_rings(reader, now_ns))
            look_for_rings(reader);
        look_for_ends(reader, now_ns); /* before the draining: what ended has nothing to add */
    }
    reader->busy = false;
    drain_all(reader, now_ns);
    if (tick) {
        tick_all(reader, now_ns);
        if (reader->consumer.round)
            reader->consumer.round(reader->consumer.user, now_ns);
        show_counts(reader);
    }
    return reader->busy ? BUSY_MS : STEP_MS;
}

/* ---- the thread ---- */

static void *run(void *user)
{
    SL_ASSERT(user);
    sl_probe_reader *reader = user;
    (void)pthread_setname_np(pthread_self(), "sl-probe-reader");
    pthread_mutex_lock(&reader->lock);
    while (!reader->stopping) {
        pthread_mutex_unlock(&reader->lock);
        unsigned wait_ms = sl_probe_reader_step(reader, sl_mono_ns());
        pthread_mutex_lock(&reader->lock);
        if (!reader->stopping)
            (void)sl_cond_wait_until(&reader->wake, &reader->lock, sl_deadline_ns(wait_ms));
    }
    pthread_mutex_unlock(&reader->lock);
    return NULL;
}

int sl_probe_reader_start(sl_probe_reader *reader)
{
    SL_ASSERT(reader && !reader->running);
    int error = sl_thread_start(&reader->thread, run, reader);
    reader->running = !error;
    return error;
}

static void end_thread(sl_probe_reader *reader)
{
    if (!reader->running)
        return;
    pthread_mutex_lock(&reader->lock);
    reader->stopping = true;
    (void)pthread_cond_broadcast(&reader->wake);
    pthread_mutex_unlock(&reader->lock);
    (void)pthread_join(reader->thread, NULL);
    reader->running = false;
}

static bool something_ends(const sl_probe_reader *reader)
{
    for (const host *h = reader->hosts; h; h = h->next) {
        if (h->ending)
            return true;
    }
    return false;
}

void sl_probe_reader_stop(sl_probe_reader *reader, uint64_t deadline_ns)
{
    SL_ASSERT(reader);
    end_thread(reader);
    do {
        reader->tick_ns = 0;
        (void)sl_probe_reader_step(reader, sl_mono_ns());
        if (!something_ends(reader))
            break;
        (void)usleep(BUSY_MS * 1000);
    } while (sl_mono_ns() < deadline_ns);
    show_counts(reader);
}

void sl_probe_reader_free(sl_probe_reader *reader)
{
    if (!reader)
        return;
    end_thread(reader);
    while (reader->hosts)
        remove_host(reader, &reader->hosts, sl_mono_ns());
    if (reader->dir >= 0)
        (void)close(reader->dir);
    (void)pthread_cond_destroy(&reader->wake);
    (void)pthread_mutex_destroy(&reader->lock);
    sl_free(reader);
}

void sl_probe_reader_get_stats(sl_probe_reader *reader, sl_probe_reader_stats *ret_stats)
{
    SL_ASSERT(reader && ret_stats);
    *ret_stats = (sl_probe_reader_stats){.hosts = atomic_load(&reader->shown_hosts),
                                         .seen = atomic_load(&reader->seen),
                                         .refused = atomic_load(&reader->refused),
                                         .events = atomic_load(&reader->events),
                                         .dropped = atomic_load(&reader->dropped),
                                         .lost = atomic_load(&reader->lost)};
}
