/*
 * The probe's ring: a header page and a power of two of bytes. `head` and `tail` are positions that only grow; a place
 * is position modulo size.
 *
 * A place goes through: 0 (free, zeroed by the reader) -> taken by the swap of `head` -> size|1 (its length is known)
 * -> size (written). The last step is a swap as well: a writer that comes back after the reader has given its place up
 * changes nothing. The reader copies an event before it looks at it, so that a host which goes on scribbling cannot
 * change what has been checked.
 */
#include "src/probe/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/limits.h"
#include "src/probe/process_seen.h"

#define MAGIC 0x474e4952504c5353ull /* "SSLPRING" */
#define VERSION 1u
#define HEADER_BYTES 4096u
#define DATA_MIN (2u * SL_PROBE_EVENT_MAX)
#define DATA_MAX (1u << 30)
#define TAKEN 1u                     /* in the lowest bit of `size`: length known, not yet written */
#define GIVE_BACK_BYTES (16u * 1024) /* of room, at once: what has been read is in the cache still */
#define STALE_TRIES 1000u            /* a writer gives up rather than turn for ever on a header that makes no sense */

typedef struct ring_header {
    uint64_t magic;
    uint32_t version, pid, instance, reserved;
    uint64_t data_bytes;
    int64_t unix_offset_ns;
    _Alignas(64) _Atomic uint64_t head;
    _Atomic uint64_t dropped;
    _Atomic uint32_t closed;
    _Alignas(64) _Atomic uint64_t tail;
    _Alignas(64) uint64_t namespace; /* see process_seen.h */
    uint64_t began;
} ring_header;
_Static_assert(sizeof(ring_header) <= HEADER_BYTES, "one page");

struct sl_probe_ring {
    /* Constant after the making, and trusted: what is in the header is not. */
    ring_header *header;
    unsigned char *data;
    uint64_t size;
    uint32_t pid, instance;
    uint32_t about; /* another process that the events are of; 0: the writer itself */
    int64_t unix_offset_ns;
    /* The reader's. */
    unsigned char *copy; /* SL_PROBE_EVENT_MAX bytes; made by the first reading */
    uint64_t tail;
    uint64_t freed;    /* up to here the room is given back: zeroed, and writers see it as the tail */
    uint64_t stuck_at; /* position, plus 1; 0: not stuck */
    uint64_t stuck_since_ns;
    _Atomic uint64_t written, bad;
};

/* Where opened rings are, for the handler. Those that find no room are not mended. */
static struct {
    _Atomic uintptr_t begin; /* 0: free; 1: being filled */
    _Atomic size_t bytes;
} opened[SL_PROBE_MAX_HOSTS];

static void *map_private(size_t bytes)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    return memory == MAP_FAILED ? NULL : memory;
}

/* ---- making and opening ---- */

/* Takes over `memory`. NULL without memory, then it is unmapped. */
static sl_probe_ring *wrap(void *memory, uint64_t size)
{
    SL_ASSERT(memory && size >= DATA_MIN);
    sl_probe_ring *ring = map_private(sizeof *ring);
    if (!ring) {
        (void)munmap(memory, HEADER_BYTES + size);
        return NULL;
    }
    ring->header = memory;
    ring->data = (unsigned char *)memory + HEADER_BYTES;
    ring->size = size;
    return ring;
}

static void fill_header(ring_header *h, uint64_t size, bool is_shared)
{
    static _Atomic uint32_t instances;
    SL_ASSERT(h && size);
    h->version = VERSION;
    h->pid = (uint32_t)getpid();
    if (is_shared) {
        sl_probe_process self = sl_probe_process_self();
        h->namespace = self.namespace;
        h->began = self.began;
    }
    h->instance = atomic_fetch_add(&instances, 1) + 1;
    h->data_bytes = size;
    h->unix_offset_ns = (int64_t)(sl_now_ns() - sl_mono_ns());
    h->magic = MAGIC;
}

static void know(sl_probe_ring *ring)
{
    const ring_header *h = ring->header;
    ring->pid = h->pid;
    ring->instance = h->instance;
    ring->unix_offset_ns = h->unix_offset_ns;
    uint64_t tail = atomic_load(&h->tail);
    ring->tail = tail & ~(uint64_t)(SL_PROBE_EVENT_ALIGN - 1);
    ring->freed = ring->tail;
    if (ring->tail != tail)
        atomic_store(&ring->header->tail, ring->tail);
}

static uint64_t size_for(size_t wanted)
{
    uint64_t size = DATA_MIN;
    while (size < (wanted ? wanted : SL_PROBE_RING_BYTES) && size < DATA_MAX)
        size *= 2;
    return size;
}

/* Beyond it the kernel would send SIGXFSZ, which ends the host. */
static bool may_be_as_long(uint64_t bytes)
{
    struct rlimit limit;
    return getrlimit(RLIMIT_FSIZE, &limit) != 0 || limit.rlim_cur == RLIM_INFINITY || limit.rlim_cur >= bytes;
}

/* A new file with room for all of it: a file system that is full must not show as SIGBUS in the host later. */
static int make_file(const char *path, uint64_t bytes, void **ret_memory)
{
    int fd = may_be_as_long(bytes) ? open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600) : -1;
    if (fd < 0)
        return SL_EIO;
    void *memory = MAP_FAILED;
    if (fchmod(fd, 0600) == 0 && posix_fallocate(fd, 0, (off_t)bytes) == 0)
        memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    (void)close(fd);
    if (memory == MAP_FAILED) {
        (void)unlink(path);
        return SL_EIO;
    }
    *ret_memory = memory;
    return 0;
}

/* Another process may be about to take the same name: numbers of processes are the same in several namespaces. */
static int move(const char *from, const char *to)
{
    int error = renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
    return error && (errno == EINVAL || errno == ENOSYS) ? rename(from, to) : error;
}

static int new_in_file(const char *path, uint64_t size, sl_probe_ring **ret_ring)
{
    char beside[PATH_MAX];
    void *memory;
    int len = snprintf(beside, sizeof beside, "%s.new", path);
    if (len < 0 || (size_t)len >= sizeof beside)
        return SL_EINVAL;
    int error = make_file(beside, HEADER_BYTES + size, &memory);
    if (error)
        return error;
    fill_header(memory, size, true);
    sl_probe_ring *ring = wrap(memory, size);
    if (!ring || move(beside, path) != 0) {
        (void)unlink(beside);
        error = ring ? SL_EIO : SL_ENOMEM;
        sl_probe_ring_free(ring);
        return error;
    }
    *ret_ring = ring;
    return 0;
}

int sl_probe_ring_new(const char *path, size_t data_bytes, sl_probe_ring **ret_ring)
{
    if (!ret_ring || data_bytes > DATA_MAX || (path && !*path))
        return SL_EINVAL;
    uint64_t size = size_for(data_bytes);
    sl_probe_ring *ring = NULL;
    if (path) {
        int error = new_in_file(path, size, &ring);
        if (error)
            return error;
    } else {
        void *memory =
            mmap(NULL, HEADER_BYTES + size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
        if (memory == MAP_FAILED)
            return SL_ENOMEM;
        fill_header(memory, size, false);
        ring = wrap(memory, size);
        if (!ring)
            return SL_ENOMEM;
    }
    know(ring);
    *ret_ring = ring;
    return 0;
}

static int check_file(int fd, uint64_t *ret_size)
{
    ring_header head;
    struct stat st;
    if (fstat(fd, &st) != 0)
        return SL_EIO;
    if (!S_ISREG(st.st_mode))
        return SL_EPARSE;
    ssize_t got = pread(fd, &head, sizeof head, 0);
    if (got != (ssize_t)sizeof head)
        return got < 0 ? SL_EIO : SL_EPARSE;
    uint64_t size = head.data_bytes;
    if (head.magic != MAGIC || head.version != VERSION || size < DATA_MIN || size > DATA_MAX || (size & (size - 1)))
        return SL_EPARSE;
    if ((uint64_t)st.st_size < HEADER_BYTES + size)
        return SL_EPARSE;
    *ret_size = size;
    return 0;
}

static void note_opened(const void *memory, size_t bytes)
{
    for (size_t i = 0; i < SL_PROBE_MAX_HOSTS; i++) {
        uintptr_t none = 0;
        if (!atomic_compare_exchange_strong(&opened[i].begin, &none, 1))
            continue;
        atomic_store(&opened[i].bytes, bytes);
        atomic_store(&opened[i].begin, (uintptr_t)memory);
        return;
    }
}

static void forget_opened(const void *memory)
{
    for (size_t i = 0; i < SL_PROBE_MAX_HOSTS; i++) {
        uintptr_t this = (uintptr_t)memory;
        (void)atomic_compare_exchange_strong(&opened[i].begin, &this, 0);
    }
}

bool sl_probe_ring_mend(const void *address)
{
    uintptr_t at = (uintptr_t)address;
    for (size_t i = 0; i < SL_PROBE_MAX_HOSTS; i++) {
        uintptr_t begin = atomic_load(&opened[i].begin);
        size_t bytes = atomic_load(&opened[i].bytes);
        if (begin <= 1 || at < begin || at - begin >= bytes)
            continue;
        return mmap((void *)begin, bytes, PROT_READ | PROT_WRITE, /* NOLINT */
                    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1, 0) != MAP_FAILED;
    }
    return false;
}

int sl_probe_ring_open(int fd, sl_probe_ring **ret_ring)
{
    uint64_t size;
    if (fd < 0 || !ret_ring)
        return SL_EINVAL;
    int error = check_file(fd, &size);
    if (error)
        return error;
    void *memory = mmap(NULL, HEADER_BYTES + size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return SL_EIO;
    sl_probe_ring *ring = wrap(memory, size);
    if (!ring)
        return SL_ENOMEM;
    note_opened(memory, HEADER_BYTES + size);
    know(ring);
    ring->pid = sl_probe_process_seen(&(sl_probe_process){ring->pid, ring->header->namespace, ring->header->began});
    *ret_ring = ring;
    return 0;
}

void sl_probe_ring_lost(sl_probe_ring *ring, uint64_t count)
{
    SL_ASSERT(ring);
    atomic_fetch_add(&ring->header->dropped, count);
}

void sl_probe_ring_about(sl_probe_ring *ring, uint32_t pid)
{
    SL_ASSERT(ring && pid);
    ring->about = pid;
}

void sl_probe_ring_free(sl_probe_ring *ring)
{
    if (!ring)
        return;
    forget_opened(ring->header);
    (void)munmap(ring->header, HEADER_BYTES + ring->size);
    if (ring->copy)
        (void)munmap(ring->copy, SL_PROBE_EVENT_MAX);
    (void)munmap(ring, sizeof *ring);
}

/* ---- writing ---- */

static sl_probe_event *place(const sl_probe_ring *ring, uint64_t position)
{
    SL_ASSERT(position % SL_PROBE_EVENT_ALIGN == 0);
    return (sl_probe_event *)(void *)(ring->data + (position & (ring->size - 1)));
}

static void write_pad(sl_probe_event *event, uint64_t bytes)
{
    SL_ASSERT(bytes >= SL_PROBE_EVENT_ALIGN);
    event->kind = SL_PROBE_PAD; /* the first eight bytes are all that a filler has for certain */
    atomic_store_explicit(&event->size, (uint32_t)bytes, memory_order_release);
}

sl_probe_event *sl_probe_ring_take(sl_probe_ring *ring, size_t size)
{
    SL_ASSERT(ring && size >= sizeof(sl_probe_event) && size % SL_PROBE_EVENT_ALIGN == 0);
    ring_header *h = ring->header;
    if (size > SL_PROBE_EVENT_MAX)
        goto drop;
    for (unsigned tries = 0; tries < STALE_TRIES;) {
        uint64_t head = atomic_load_explicit(&h->head, memory_order_acquire);
        uint64_t used = head - atomic_load_explicit(&h->tail, memory_order_acquire);
        uint64_t to_end = ring->size - (head & (ring->size - 1)), pad = size > to_end ? to_end : 0;
        if (used > ring->size || head % SL_PROBE_EVENT_ALIGN) { /* `head` was old when `tail` was read */
            tries++;
            continue;
        }
        if (used + pad + size > ring->size)
            goto drop;
        if (!atomic_compare_exchange_weak_explicit(&h->head, &head, head + pad + size, memory_order_acq_rel,
                                                   memory_order_relaxed))
            continue;
        if (pad)
            write_pad(place(ring, head), pad);
        sl_probe_event *event = place(ring, head + pad);
        atomic_store_explicit(&event->size, (uint32_t)size | TAKEN, memory_order_relaxed);
        atomic_signal_fence(memory_order_release); /* before anything else of the event: see empty_bytes */
        return event;
    }
drop:
    atomic_fetch_add_explicit(&h->dropped, 1, memory_order_relaxed);
    return NULL;
}

void sl_probe_ring_commit(sl_probe_event *event, size_t size)
{
    SL_ASSERT(event && size % SL_PROBE_EVENT_ALIGN == 0);
    uint32_t taken = (uint32_t)size | TAKEN;
    (void)atomic_compare_exchange_strong_explicit(&event->size, &taken, (uint32_t)size, memory_order_release,
                                                  memory_order_relaxed);
}

/* ---- reading ---- */

static void set_tail(sl_probe_ring *ring, uint64_t tail)
{
    ring->tail = ring->freed = tail;
    ring->stuck_at = 0;
    atomic_store_explicit(&ring->header->tail, tail, memory_order_release);
}

/* Gives the room back of what was read; it may go round the end. */
static void give_back(sl_probe_ring *ring)
{
    uint64_t at = ring->freed & (ring->size - 1), to_end = ring->size - at, bytes = ring->tail - ring->freed;
    SL_ASSERT(bytes <= ring->size);
    memset(ring->data + at, 0, bytes < to_end ? bytes : to_end);
    if (bytes > to_end)
        memset(ring->data, 0, bytes - to_end);
    ring->freed = ring->tail;
    atomic_store_explicit(&ring->header->tail, ring->tail, memory_order_release);
}

/*
 * Passes over `bytes` at the tail. Their room is given back with that of others: each time is a cache line that all
 * writers have to fetch anew.
 */
static void consume(sl_probe_ring *ring, uint64_t bytes)
{
    SL_ASSERT(bytes <= ring->size);
    ring->tail += bytes;
    ring->stuck_at = 0;
    if (ring->tail - ring->freed >= GIVE_BACK_BYTES)
        give_back(ring);
}

/* Whether a head can be: all room up to it was taken after it had been given back. */
static bool fits(const sl_probe_ring *ring, uint64_t head)
{
    uint64_t read = ring->tail - ring->freed;
    SL_ASSERT(read <= ring->size);
    return head % SL_PROBE_EVENT_ALIGN == 0 && head - ring->tail <= ring->size - read;
}

/* What is between tail and head makes no sense: all of it is given up. */
static void give_up(sl_probe_ring *ring, uint64_t head)
{
    atomic_fetch_add_explicit(&ring->bad, 1, memory_order_relaxed);
    if (fits(ring, head)) {
        consume(ring, head - ring->tail);
        return;
    }
    uint64_t start = head & ~(uint64_t)(SL_PROBE_EVENT_ALIGN - 1);
    memset(ring->data, 0, ring->size);
    (void)atomic_compare_exchange_strong(&ring->header->head, &head, start);
    set_tail(ring, start);
}

/* A process that is stopped (a terminal, a debugger) is slow, not stuck. */
static bool writer_stopped(uint32_t pid)
{
    char path[32], text[512];
    (void)snprintf(path, sizeof path, "/proc/%u/stat", pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t got = read(fd, text, sizeof text - 1);
    (void)close(fd);
    if (got <= 0)
        return false;
    text[got] = '\0';
    const char *state = strrchr(text, ')');
    return state && state[1] == ' ' && (state[2] == 'T' || state[2] == 't');
}

static bool writer_gone(uint32_t pid)
{
    return pid == 0 || pid > INT_MAX || (kill((pid_t)pid, 0) != 0 && errno == ESRCH);
}

/* Its writer had not even said how long it is, so it has written nothing: the next event begins where zeros end. */
static uint64_t empty_bytes(const sl_probe_ring *ring, uint64_t waiting)
{
    uint64_t bytes = 0;
    SL_ASSERT(waiting <= ring->size);
    while (bytes < waiting && atomic_load_explicit(&place(ring, ring->tail + bytes)->size, memory_order_acquire) == 0)
        bytes += SL_PROBE_EVENT_ALIGN;
    return bytes;
}

/* The place at the tail is taken and not written. True when it was given up. */
static bool pass_stuck(sl_probe_ring *ring, uint32_t word, uint64_t head, uint64_t now_ns)
{
    if (ring->stuck_at != ring->tail + 1) {
        ring->stuck_at = ring->tail + 1;
        ring->stuck_since_ns = now_ns;
    }
    if (!writer_gone(ring->pid)) {
        if (now_ns < ring->stuck_since_ns || now_ns - ring->stuck_since_ns < SL_PROBE_STUCK_NS)
            return false;
        if (writer_stopped(ring->pid)) {
            ring->stuck_since_ns = now_ns;
            return false;
        }
    }
    uint64_t length = word ? word & ~TAKEN : empty_bytes(ring, head - ring->tail);
    uint64_t to_end = ring->size - (ring->tail & (ring->size - 1));
    if (length == 0 || (word && length > to_end) || length > head - ring->tail) {
        give_up(ring, head);
        return true;
    }
    atomic_fetch_add_explicit(&ring->bad, 1, memory_order_relaxed);
    consume(ring, length);
    return true;
}

/* A whole event of `size` bytes at the tail: true when it was handed over. */
static bool hand_over(sl_probe_ring *ring, uint32_t size, sl_probe_event_fn fn, void *user)
{
    uint16_t kind;
    const unsigned char *from = ring->data + (ring->tail & (ring->size - 1));
    memcpy(&kind, from + offsetof(sl_probe_event, kind), sizeof kind);
    if (kind == SL_PROBE_PAD) {
        consume(ring, size);
        return false;
    }
    memcpy(ring->copy, from, size);
    consume(ring, size);
    sl_probe_event *event = (sl_probe_event *)(void *)ring->copy;
    if (size < sizeof *event || sl_probe_event_check(event, size) != 0) {
        atomic_fetch_add_explicit(&ring->bad, 1, memory_order_relaxed);
        return false;
    }
    atomic_store_explicit(&event->size, size, memory_order_relaxed);
    fn(user, event, size);
    return true;
}

static size_t read_events(sl_probe_ring *ring, size_t max, uint64_t now_ns, sl_probe_event_fn fn, void *user)
{
    for (size_t done = 0, turns = 0;; turns++) {
        uint64_t head = atomic_load_explicit(&ring->header->head, memory_order_acquire);
        uint64_t waiting = head - ring->tail;
        if (done == max || waiting == 0 || turns > ring->size / SL_PROBE_EVENT_ALIGN)
            return done;
        if (!fits(ring, head)) {
            give_up(ring, head);
            return done;
        }
        uint32_t word = atomic_load_explicit(&place(ring, ring->tail)->size, memory_order_acquire);
        uint64_t to_end = ring->size - (ring->tail & (ring->size - 1));
        if (word == 0 || word % SL_PROBE_EVENT_ALIGN == TAKEN) {
            if (!pass_stuck(ring, word, head, now_ns))
                return done;
        } else if (word % SL_PROBE_EVENT_ALIGN || word > SL_PROBE_EVENT_MAX || word > waiting || word > to_end) {
            give_up(ring, head);
        } else {
            done += hand_over(ring, word, fn, user);
        }
    }
}

size_t sl_probe_ring_read(sl_probe_ring *ring, size_t max, uint64_t now_ns, sl_probe_event_fn fn, void *user)
{
    SL_ASSERT(ring && fn);
    if (!ring->copy)
        ring->copy = map_private(SL_PROBE_EVENT_MAX);
    if (!ring->copy)
        return 0;
    size_t done = read_events(ring, max, now_ns, fn, user);
    atomic_fetch_add_explicit(&ring->written, done, memory_order_relaxed);
    if (ring->tail != ring->freed)
        give_back(ring);
    return done;
}

/* ---- facts ---- */

void sl_probe_ring_get_info(const sl_probe_ring *ring, sl_probe_ring_info *ret_info)
{
    SL_ASSERT(ring && ret_info);
    const ring_header *h = ring->header;
    uint64_t tail = atomic_load(&h->tail), waiting = atomic_load(&h->head) - tail;
    *ret_info = (sl_probe_ring_info){
        .pid = ring->about ? ring->about : ring->pid,
        .instance = ring->instance,
        .unix_offset_ns = ring->unix_offset_ns,
        .written = atomic_load(&ring->written),
        .dropped = atomic_load(&h->dropped),
        .bad = atomic_load(&ring->bad),
        .waiting_bytes = (size_t)(waiting < ring->size ? waiting : ring->size),
        .closed = atomic_load(&h->closed) != 0,
    };
}

void sl_probe_ring_close(sl_probe_ring *ring)
{
    SL_ASSERT(ring);
    atomic_store(&ring->header->closed, 1);
}
