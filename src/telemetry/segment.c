/* The segment: layout, life cycle, claiming of blocks, cells. Rings are in ring.c. */
#include "src/telemetry/segment.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/telemetry/segment_layout.h"

_Thread_local sl_segment_tls sl_segment_this __attribute__((tls_model("initial-exec")));

/* Segments that this process has mapped, so that a thread's end can give back blocks of those that still exist. */
static pthread_mutex_t live_lock = PTHREAD_MUTEX_INITIALIZER;
static sl_segment *live_segments;
static _Atomic uint64_t next_id = 1;
static pthread_once_t process_once = PTHREAD_ONCE_INIT;
static pthread_key_t thread_key;
static bool thread_key_ok;

/* ---- layout ---- */

static uint32_t round_up_pow2(uint32_t value)
{
    uint32_t result = 4096;
    while (result < value && result < (1u << 30))
        result *= 2;
    return result;
}

uint32_t sl_segment_ring_room(sl_ring_kind kind, uint64_t records)
{
    SL_ASSERT(kind < SL_RING_COUNT);
    uint64_t least = kind == SL_RING_SPANS ? SL_SPAN_RING_BYTES : SL_LOG_RING_BYTES;
    uint64_t each = kind == SL_RING_SPANS ? SL_QUEUED_SPAN_BYTES : SL_QUEUED_LOG_BYTES;
    if (records >= SL_MAX_RING_BYTES / each)
        return SL_MAX_RING_BYTES;
    return round_up_pow2((uint32_t)(records * each > least ? records * each : least));
}

static uint64_t page_up(uint64_t value)
{
    return (value + 4095) / 4096 * 4096;
}

/* Fills in the geometry for a size, with fewer threads and cells when the size is small. */
static void plan(sl_segment_shape *h, const sl_segment_options *o, uint64_t size)
{
    SL_ASSERT(o && h);
    uint64_t scale = size >= SL_SEGMENT_BYTES ? 1 : SL_SEGMENT_BYTES / size;
    uint32_t cells = o->cells ? o->cells : (uint32_t)(SL_SEGMENT_CELLS / scale);
    memset(h, 0, sizeof *h);
    h->magic = SL_SEGMENT_MAGIC;
    h->version = SL_SEGMENT_VERSION;
    h->cells = cells;
    h->ring_bytes[SL_RING_SPANS] = round_up_pow2(o->span_ring_bytes ? o->span_ring_bytes : SL_SPAN_RING_BYTES);
    h->ring_bytes[SL_RING_LOGS] = round_up_pow2(o->log_ring_bytes ? o->log_ring_bytes : SL_LOG_RING_BYTES);
    h->meta_end = page_up(size / 16);
    h->cells_offset = page_up(sizeof(sl_block));
    h->ring_offset[SL_RING_SPANS] = h->cells_offset + page_up((uint64_t)cells * sizeof(sl_cell));
    h->ring_offset[SL_RING_LOGS] = h->ring_offset[SL_RING_SPANS] + h->ring_bytes[SL_RING_SPANS];
    h->block_stride = h->ring_offset[SL_RING_LOGS] + h->ring_bytes[SL_RING_LOGS];
    uint64_t fit = size > h->meta_end ? (size - h->meta_end) / h->block_stride : 0;
    uint64_t wanted = (o->threads ? o->threads : SL_SEGMENT_THREADS) + 1u;
    h->block_count = (uint32_t)(fit < wanted ? fit : wanted);
    h->size = size;
}

size_t sl_segment_size_for(const sl_segment_options *options)
{
    SL_ASSERT(options);
    uint64_t given = options->size_bytes ? options->size_bytes : SL_SEGMENT_BYTES;
    sl_segment_shape h;
    plan(&h, options, given);
    uint64_t blocks = (options->threads ? options->threads : SL_SEGMENT_THREADS) + 1u;
    uint64_t need = page_up(blocks * h.block_stride * 16 / 15) + 2 * 4096;
    return (size_t)(need > given ? page_up(need) : given);
}

static sl_block *block_at(const sl_segment *segment, uint32_t index)
{
    SL_ASSERT(segment);
    const sl_segment_shape *h = segment->shape;
    SL_ASSERT(index < h->block_count);
    return (sl_block *)(void *)(segment->base + h->meta_end + (uint64_t)index * h->block_stride);
}

sl_block *sl_segment_block_at(const sl_segment *segment, uint32_t index)
{
    return block_at(segment, index);
}

/* ---- threads ---- */

/* Without its marks first: a thread that claims it next must not look like the one before. */
static void give_back(sl_block *block)
{
    SL_ASSERT(block);
    atomic_store(&block->tid, 0);
    atomic_store(&block->pid, 0);
    atomic_store(&block->state, SL_BLOCK_FREE);
}

/* A thread ends: its blocks become free for the next thread; what it recorded stays. */
static void thread_end(void *value)
{
    (void)value;
    pid_t tid = gettid();
    pthread_mutex_lock(&live_lock);
    for (sl_segment *s = live_segments; s; s = s->next_live) {
        if (atomic_load(&s->owner) != getpid())
            continue;
        for (uint32_t i = 1; i < s->shape->block_count; i++) {
            sl_block *block = block_at(s, i);
            if (atomic_load(&block->tid) == tid && atomic_load(&block->pid) == getpid())
                give_back(block);
        }
    }
    pthread_mutex_unlock(&live_lock);
    sl_segment_this.id = 0;
}

static void fork_prepare(void)
{
    pthread_mutex_lock(&live_lock);
}

static void fork_parent(void)
{
    pthread_mutex_unlock(&live_lock);
}

/* The child's only thread must not write into its parent's block. */
static void fork_child(void)
{
    sl_segment_this.id = 0;
    pthread_mutex_unlock(&live_lock);
}

static void process_init(void)
{
    thread_key_ok = pthread_key_create(&thread_key, thread_end) == 0;
    (void)pthread_atfork(fork_prepare, fork_parent, fork_child);
}

/* Claims a free block for this thread, or finds the one it has. */
static sl_block *claim(sl_segment *segment)
{
    pid_t pid = getpid(), tid = gettid();
    for (uint32_t i = 1; i < segment->shape->block_count; i++) {
        sl_block *block = block_at(segment, i);
        if (atomic_load(&block->state) == SL_BLOCK_USED && atomic_load(&block->tid) == tid &&
            atomic_load(&block->pid) == pid)
            return block;
    }
    for (uint32_t i = 1; i < segment->shape->block_count; i++) {
        sl_block *block = block_at(segment, i);
        uint32_t expected = SL_BLOCK_FREE;
        if (!atomic_compare_exchange_strong(&block->state, &expected, SL_BLOCK_USED))
            continue;
        atomic_store(&block->pid, pid);
        atomic_store(&block->tid, tid);
        uint32_t high = atomic_load(&segment->header->blocks_used);
        while (high < i + 1 && !atomic_compare_exchange_weak(&segment->header->blocks_used, &high, i + 1)) {
        }
        return block;
    }
    return NULL;
}

bool sl_segment_enter(sl_segment *segment)
{
    if (SL_LIKELY(sl_segment_this.id == segment->id))
        return true;
    if (atomic_load_explicit(&segment->owner, memory_order_relaxed) != getpid())
        return false;
    if (thread_key_ok && pthread_setspecific(thread_key, &sl_segment_this) != 0)
        return false; /* without the destructor the block would never come back */
    sl_block *block = claim(segment);
    if (!block)
        return false;
    sl_segment_this.block = block;
    sl_segment_this.cells = (sl_cell *)(void *)((unsigned char *)block + segment->shape->cells_offset);
    sl_segment_this.id = segment->id;
    return true;
}

/* ---- life cycle ---- */

static void make_live(sl_segment *segment)
{
    SL_ASSERT(segment);
    pthread_once(&process_once, process_init);
    segment->id = atomic_fetch_add(&next_id, 1);
    pthread_mutex_lock(&live_lock);
    segment->next_live = live_segments;
    live_segments = segment;
    pthread_mutex_unlock(&live_lock);
}

static int map_segment(sl_segment *segment, size_t size, int fd)
{
    int flags = fd >= 0 ? MAP_SHARED : MAP_PRIVATE | MAP_ANONYMOUS;
    void *base = mmap(NULL, size, PROT_READ | PROT_WRITE, flags | MAP_NORESERVE, fd, 0);
    if (base == MAP_FAILED)
        return SL_ENOMEM;
    segment->base = base;
    segment->header = base;
    segment->size = size;
    return 0;
}

_Static_assert(_Alignof(sl_segment_shape) <= _Alignof(max_align_t), "sl_malloc() gives no more");

/* Keeps the constant part apart. */
static int copy_shape(sl_segment *segment)
{
    SL_ASSERT(segment);
    segment->shape = sl_malloc(sizeof *segment->shape);
    if (!segment->shape)
        return SL_ENOMEM;
    *segment->shape = segment->header->shape;
    return 0;
}

static int build(const sl_segment_options *options, int fd, sl_segment **ret_segment)
{
    SL_ASSERT(ret_segment);
    static const sl_segment_options defaults = {0};
    const sl_segment_options *o = options ? options : &defaults;
    sl_segment *segment = sl_calloc(1, sizeof *segment);
    if (!segment)
        return SL_ENOMEM;
    segment->fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 0) : -1;
    segment->wake_fd = o->wake_fd > 0 ? o->wake_fd : -1;
    int error = fd >= 0 && segment->fd < 0 ? SL_EIO : SL_ENOMEM;
    size_t size = (size_t)page_up(o->size_bytes ? o->size_bytes : SL_SEGMENT_BYTES);
    while (error == SL_ENOMEM) {
        if (fd >= 0 && ftruncate(fd, (off_t)size) != 0)
            error = SL_EIO;
        else
            error = map_segment(segment, size, segment->fd);
        if (error != SL_ENOMEM || size / 2 < SL_SEGMENT_MIN_BYTES / 4)
            break;
        size = (size_t)page_up(size / 2);
    }
    if (!error) {
        sl_segment_header *h = segment->header;
        plan(&h->shape, o, size);
        error = h->shape.block_count < 2 ? SL_EINVAL : copy_shape(segment);
        atomic_store(&h->meta_used, page_up(sizeof *h));
        atomic_store(&h->cells_used, SL_RESERVED_CELLS);
        atomic_store(&h->blocks_used, 1);
    }
    if (error) {
        sl_segment_free(segment);
        return error;
    }
    atomic_store(&segment->header->pid, getpid());
    atomic_store(&segment->owner, getpid());
    make_live(segment);
    *ret_segment = segment;
    return 0;
}

int sl_segment_new(const sl_segment_options *options, sl_segment **ret_segment)
{
    SL_ASSERT(ret_segment);
    return build(options, -1, ret_segment);
}

int sl_segment_new_shared(const sl_segment_options *options, int fd, sl_segment **ret_segment)
{
    SL_ASSERT(ret_segment);
    return fd < 0 ? SL_EINVAL : build(options, fd, ret_segment);
}

/* A file from outside may hold anything: the geometry must be exactly what plan() makes of its numbers. */
static bool shape_is_sane(const sl_segment_shape *h, uint64_t size)
{
    SL_ASSERT(h);
    if (h->magic != SL_SEGMENT_MAGIC || h->version != SL_SEGMENT_VERSION || h->size != size)
        return false;
    sl_segment_options o = {.threads = h->block_count ? h->block_count - 1 : 0,
                            .cells = h->cells,
                            .span_ring_bytes = h->ring_bytes[SL_RING_SPANS],
                            .log_ring_bytes = h->ring_bytes[SL_RING_LOGS]};
    sl_segment_shape expected;
    plan(&expected, &o, size);
    return h->block_count >= 2 && h->block_count == expected.block_count && h->cells > 0 && h->cells < (1u << 28) &&
           h->meta_end == expected.meta_end && h->block_stride == expected.block_stride &&
           h->cells_offset == expected.cells_offset && h->ring_bytes[0] == expected.ring_bytes[0] &&
           h->ring_bytes[1] == expected.ring_bytes[1] && h->ring_offset[0] == expected.ring_offset[0] &&
           h->ring_offset[1] == expected.ring_offset[1];
}

int sl_segment_open(int fd, sl_segment **ret_segment)
{
    SL_ASSERT(ret_segment);
    struct stat st;
    if (fstat(fd, &st) != 0)
        return SL_EIO;
    if (st.st_size < (off_t)sizeof(sl_segment_header))
        return SL_EPARSE;
    sl_segment *segment = sl_calloc(1, sizeof *segment);
    if (!segment)
        return SL_ENOMEM;
    segment->wake_fd = -1;
    segment->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    int error = segment->fd < 0 ? SL_EIO : map_segment(segment, (size_t)st.st_size, segment->fd);
    if (!error)
        error = copy_shape(segment);
    if (!error && !shape_is_sane(segment->shape, (uint64_t)st.st_size))
        error = SL_EPARSE;
    if (error) {
        sl_segment_free(segment);
        return error;
    }
    make_live(segment);
    *ret_segment = segment;
    return 0;
}

void sl_segment_free(sl_segment *segment)
{
    if (!segment)
        return;
    pthread_mutex_lock(&live_lock);
    for (sl_segment **at = &live_segments; *at; at = &(*at)->next_live) {
        if (*at == segment) {
            *at = segment->next_live;
            break;
        }
    }
    pthread_mutex_unlock(&live_lock);
    if (segment->id && sl_segment_this.id == segment->id)
        sl_segment_this.id = 0;
    if (segment->base)
        munmap(segment->base, segment->size);
    if (segment->fd >= 0)
        close(segment->fd);
    sl_free(segment->shape);
    sl_free(segment);
}

/* Forgets what the parent recorded into its private segment, of which this process has a copy. */
static void start_afresh(sl_segment *segment)
{
    SL_ASSERT(segment);
    uint32_t cells = atomic_load(&segment->header->cells_used);
    for (uint32_t i = 0; i < sl_segment_blocks(segment); i++)
        memset(block_at(segment, i), 0, sizeof(sl_block));
    sl_segment_zero(segment, 0, cells < segment->shape->cells ? cells : segment->shape->cells);
}

void sl_segment_adopt(sl_segment *segment, int wake_fd)
{
    SL_ASSERT(segment);
    pid_t before = atomic_load(&segment->owner), self = getpid();
    segment->wake_fd = wake_fd > 0 ? wake_fd : -1;
    if (before != self && segment->fd < 0)
        start_afresh(segment);
    else if (before != self)
        sl_segment_release(segment, before); /* of a shared one: the blocks that its threads held */
    atomic_store(&segment->header->woken, 0);
    atomic_store(&segment->header->pid, self);
    atomic_store(&segment->owner, self);
}

void sl_segment_release(sl_segment *segment, pid_t pid)
{
    for (uint32_t i = 1; i < segment->shape->block_count; i++) {
        sl_block *block = block_at(segment, i);
        if (atomic_load(&block->state) == SL_BLOCK_USED && atomic_load(&block->pid) == pid)
            give_back(block);
    }
    atomic_store(&block_at(segment, 0)->lock, 0);
}

pid_t sl_segment_pid(const sl_segment *segment)
{
    SL_ASSERT(segment);
    return atomic_load(&segment->header->pid);
}

/* ---- metadata ---- */

int sl_segment_alloc(sl_segment *segment, size_t size, uint64_t *ret_offset)
{
    SL_ASSERT(segment && ret_offset);
    sl_segment_header *h = segment->header;
    uint64_t need = (size + 7) / 8 * 8, end = segment->shape->meta_end;
    uint64_t used = atomic_load(&h->meta_used);
    do {
        if (need == 0 || need > end || used > end - need || used < sizeof *h || used % 8 != 0)
            return SL_ELIMIT;
    } while (!atomic_compare_exchange_weak(&h->meta_used, &used, used + need));
    *ret_offset = used;
    return 0;
}

void *sl_segment_at(const sl_segment *segment, uint64_t offset, size_t size)
{
    SL_ASSERT(segment);
    const sl_segment_shape *h = segment->shape;
    if (offset < sizeof *h || offset % 8 != 0 || offset > h->meta_end || size > h->meta_end - offset)
        return NULL;
    return segment->base + offset;
}

void sl_segment_publish(sl_segment *segment, sl_segment_list list, uint64_t offset)
{
    SL_ASSERT(segment);
    _Atomic uint64_t *next = sl_segment_at(segment, offset, sizeof(uint64_t));
    SL_ASSERT(next && list < SL_LIST_COUNT);
    uint64_t head = atomic_load(&segment->header->lists[list]);
    do {
        atomic_store_explicit(next, head, memory_order_relaxed);
    } while (!atomic_compare_exchange_weak_explicit(&segment->header->lists[list], &head, offset, memory_order_release,
                                                    memory_order_relaxed));
}

uint64_t sl_segment_head(const sl_segment *segment, sl_segment_list list)
{
    SL_ASSERT(list < SL_LIST_COUNT);
    return atomic_load_explicit(&segment->header->lists[list], memory_order_acquire);
}

/* ---- cells ---- */

int sl_segment_alloc_cells(sl_segment *segment, uint32_t count, uint32_t *ret_index)
{
    SL_ASSERT(segment && ret_index);
    sl_segment_header *h = segment->header;
    uint32_t cells = segment->shape->cells;
    uint32_t used = atomic_load(&h->cells_used);
    do {
        if (count == 0 || count > cells || used > cells - count)
            return SL_ELIMIT;
    } while (!atomic_compare_exchange_weak(&h->cells_used, &used, used + count));
    *ret_index = used;
    return 0;
}

uint32_t sl_segment_cell_count(const sl_segment *segment)
{
    SL_ASSERT(segment);
    return segment->shape->cells;
}

uint32_t sl_segment_blocks(const sl_segment *segment)
{
    SL_ASSERT(segment);
    uint32_t used = atomic_load_explicit(&segment->header->blocks_used, memory_order_acquire);
    return used < segment->shape->block_count ? used : segment->shape->block_count;
}

sl_cell *sl_segment_block_cells(const sl_segment *segment, uint32_t block)
{
    SL_ASSERT(segment);
    return (sl_cell *)(void *)((unsigned char *)block_at(segment, block) + segment->shape->cells_offset);
}

sl_cell *sl_segment_shared_cell(const sl_segment *segment, uint32_t index)
{
    SL_ASSERT(index < segment->shape->cells);
    return sl_segment_block_cells(segment, 0) + index;
}

void sl_segment_sum_range(const sl_segment *segment, uint32_t index, uint32_t count, uint64_t *sums)
{
    SL_ASSERT(index <= segment->shape->cells && count <= segment->shape->cells - index);
    uint32_t blocks = sl_segment_blocks(segment);
    for (uint32_t b = 0; b < blocks; b++) {
        const sl_cell *cells = sl_segment_block_cells(segment, b) + index;
        for (uint32_t i = 0; i < count; i++)
            sums[i] += atomic_load_explicit(&cells[i], memory_order_relaxed);
    }
}

uint64_t sl_segment_sum(const sl_segment *segment, uint32_t index)
{
    uint64_t sum = 0;
    sl_segment_sum_range(segment, index, 1, &sum);
    return sum;
}

double sl_segment_sum_double(const sl_segment *segment, uint32_t index)
{
    SL_ASSERT(index < segment->shape->cells);
    uint32_t blocks = sl_segment_blocks(segment);
    double sum = 0;
    for (uint32_t b = 0; b < blocks; b++)
        sum +=
            sl_cell_to_double(atomic_load_explicit(sl_segment_block_cells(segment, b) + index, memory_order_relaxed));
    return sum;
}

void sl_segment_zero(sl_segment *segment, uint32_t index, uint32_t count)
{
    SL_ASSERT(index <= segment->shape->cells && count <= segment->shape->cells - index);
    for (uint32_t b = 0; b < sl_segment_blocks(segment); b++) {
        for (uint32_t i = 0; i < count; i++)
            atomic_store_explicit(sl_segment_block_cells(segment, b) + index + i, 0, memory_order_relaxed);
    }
}

void sl_segment_add_slow(sl_segment *segment, uint32_t index, uint64_t value)
{
    if (sl_segment_enter(segment))
        sl_segment_add(segment, index, value);
    else if (atomic_load(&segment->owner) == getpid())
        atomic_fetch_add_explicit(sl_segment_shared_cell(segment, index), value, memory_order_relaxed);
}

void sl_segment_add_double_slow(sl_segment *segment, uint32_t index, double value)
{
    if (sl_segment_enter(segment)) {
        sl_segment_add_double(segment, index, value);
        return;
    }
    if (atomic_load(&segment->owner) != getpid())
        return;
    sl_cell *cell = sl_segment_shared_cell(segment, index);
    uint64_t now = atomic_load_explicit(cell, memory_order_relaxed);
    uint64_t next;
    do {
        next = sl_cell_from_double(sl_cell_to_double(now) + value);
    } while (!atomic_compare_exchange_weak_explicit(cell, &now, next, memory_order_relaxed, memory_order_relaxed));
}
