/*
 * The byte rings of a segment: one producer (the block's thread), one consumer (the pipeline).
 *
 * A record is a head of 16 bytes and its payload, rounded up to 16, and never wraps: a filler record pads to the end.
 * The producer publishes by a release store of `head`, the consumer gives room back by a release store of `tail`.
 */
#include <sched.h>
#include <time.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/telemetry/segment_layout.h"

typedef struct record_head {
    uint32_t total; /* with this head and padding; a multiple of 16 */
    uint32_t len;   /* payload */
    uint32_t tag;
    uint32_t kind; /* RECORD_DATA or RECORD_FILLER */
} record_head;

#define GIVE_PARTS 8 /* of a ring: how much the reader gives back at once */
#define AHEAD_BYTES 1024
#define LINE_BYTES 64

#define WAIT_NS 500000 /* between looks at a full ring */

enum { RECORD_DATA = 0x444C5331, RECORD_FILLER = 0x464C5331 };

static unsigned char *ring_data(const sl_segment *segment, sl_block *block, sl_ring_kind kind)
{
    SL_ASSERT(segment);
    return (unsigned char *)block + segment->shape->ring_offset[kind];
}

static void bump(_Atomic uint64_t *counter, uint64_t by)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + by, memory_order_relaxed);
}

static void put_head(unsigned char *at, uint32_t total, uint32_t len, uint32_t tag, uint32_t kind)
{
    record_head head = {total, len, tag, kind};
    memcpy(at, &head, sizeof head);
}

/* Records that the ring claims to hold; not exact while its thread records. */
static uint64_t waiting(const sl_ring *ring)
{
    SL_ASSERT(ring);
    uint64_t consumed = atomic_load_explicit(&ring->consumed, memory_order_relaxed);
    uint64_t written = atomic_load_explicit(&ring->written, memory_order_relaxed);
    return written > consumed ? written - consumed : 0;
}

/* ---- the producer ---- */

/* The ring as its thread works on it. */
typedef struct producing {
    sl_segment *segment;
    sl_ring *ring;
    unsigned char *data;
    uint64_t size;
    uint64_t limit; /* of records that wait; 0: none */
    uint64_t head;
    uint64_t written;
} producing;

/* Looks at what the reader has done. */
static void look(sl_ring *ring)
{
    SL_ASSERT(ring);
    ring->seen_consumed = atomic_load_explicit(&ring->consumed, memory_order_relaxed);
    ring->seen_tail = atomic_load_explicit(&ring->tail, memory_order_acquire);
}

/* Records that wait, as far as the thread knows. A damaged ring may have consumed more than was written. */
static inline uint64_t seen_waiting(const producing *p)
{
    uint64_t seen = p->ring->seen_consumed;
    return p->written > seen ? p->written - seen : 0;
}

/* Whether the reader had better come: so much waits, as far as the thread knows, or half of what may. */
static inline bool is_filling(const producing *p)
{
    SL_ASSERT(p->ring);
    uint64_t many = p->size / 2 < SL_RING_WAKE_BYTES ? p->size / 2 : SL_RING_WAKE_BYTES;
    return p->head - p->ring->seen_tail >= many || (p->limit && seen_waiting(p) * 2 >= p->limit);
}

/* Wakes the reader of a ring that fills, or of one that just lost a record; once until it has drained. */
static __attribute__((noinline)) void wake(const producing *p, bool lost)
{
    sl_segment *segment = p->segment;
    if (segment->wake_fd < 0 || atomic_load_explicit(&segment->header->woken, memory_order_relaxed))
        return;
    look(p->ring);
    if (!lost && !is_filling(p))
        return;
    if (atomic_exchange_explicit(&segment->header->woken, 1, memory_order_relaxed))
        return;
    uint64_t one = 1;
    if (write(segment->wake_fd, &one, sizeof one) != (ssize_t)sizeof one)
        atomic_store_explicit(&segment->header->woken, 0, memory_order_relaxed);
}

/* Position for a record of `total` bytes, and where it begins behind a filler; false when there is no room. */
static inline bool find_room(const producing *p, uint64_t total, uint64_t *ret_at)
{
    SL_ASSERT(p->ring && ret_at);
    uint64_t to_end = p->size - (p->head & (p->size - 1));
    uint64_t need = to_end >= total ? total : to_end + total;
    *ret_at = p->head + (need - total);
    return p->size - (p->head - p->ring->seen_tail) >= need && (!p->limit || seen_waiting(p) < p->limit);
}

/* As find_room, with the filler written and with another look at the reader's side where that may help. */
static inline bool make_room(const producing *p, uint64_t total, uint64_t *ret_at)
{
    SL_ASSERT(p->ring);
    if (SL_UNLIKELY(total > p->size / 4))
        return false;
    if (SL_UNLIKELY(!find_room(p, total, ret_at))) {
        look(p->ring);
        if (!find_room(p, total, ret_at))
            return false;
    }
    if (SL_UNLIKELY(*ret_at != p->head))
        put_head(p->data + (p->head & (p->size - 1)), (uint32_t)(*ret_at - p->head), 0, 0, RECORD_FILLER);
    return true;
}

/* Waits for room as long as the segment allows. */
static __attribute__((noinline)) bool wait_for_room(const producing *p, uint64_t total, uint64_t *ret_at)
{
    static const struct timespec pause = {0, WAIT_NS};
    uint64_t until_ns = atomic_load_explicit(&p->segment->wait_until_ns, memory_order_relaxed);
    if (total > p->size / 4)
        return false;
    while (sl_mono_ns() < until_ns) {
        wake(p, true);
        (void)nanosleep(&pause, NULL);
        if (make_room(p, total, ret_at))
            return true;
    }
    return false;
}

static int write_ring(sl_segment *segment, sl_block *block, sl_ring_kind kind, uint32_t tag, const sl_piece *pieces,
                      size_t count)
{
    SL_ASSERT(block && segment && (pieces || !count));
    sl_ring *ring = &block->rings[kind];
    producing p = {segment,
                   ring,
                   ring_data(segment, block, kind),
                   segment->shape->ring_bytes[kind],
                   atomic_load_explicit(&segment->header->ring_limit[kind], memory_order_relaxed),
                   atomic_load_explicit(&ring->head, memory_order_relaxed),
                   atomic_load_explicit(&ring->written, memory_order_relaxed)};
    size_t len = 0;
    for (size_t i = 0; i < count; i++)
        len += pieces[i].len;
    uint64_t total = (len + sizeof(record_head) + 15) / 16 * 16, at;
    if (SL_UNLIKELY(!make_room(&p, total, &at)) && !wait_for_room(&p, total, &at)) {
        bump(&ring->dropped, 1);
        wake(&p, true);
        return SL_ELIMIT;
    }
    unsigned char *to = p.data + (at & (p.size - 1));
    put_head(to, (uint32_t)total, (uint32_t)len, tag, RECORD_DATA);
    to += sizeof(record_head);
    for (size_t i = 0; i < count; i++) {
        if (pieces[i].len)
            memcpy(to, pieces[i].data, pieces[i].len);
        to += pieces[i].len;
    }
    p.head = at + total;
    p.written++;
    atomic_store_explicit(&ring->written, p.written, memory_order_relaxed);
    atomic_store_explicit(&ring->head, p.head, memory_order_release);
    if (SL_UNLIKELY(is_filling(&p)))
        wake(&p, false);
    return 0;
}

int sl_segment_write(sl_segment *segment, sl_ring_kind kind, uint32_t tag, const sl_piece *pieces, size_t count)
{
    SL_ASSERT(kind < SL_RING_COUNT);
    if (SL_LIKELY(sl_segment_enter(segment)))
        return write_ring(segment, sl_segment_this.block, kind, tag, pieces, count);
    if (atomic_load(&segment->owner) != getpid())
        return SL_ECLOSED;
    sl_block *shared = sl_segment_block_at(segment, 0);
    while (atomic_exchange_explicit(&shared->lock, 1, memory_order_acquire))
        sched_yield();
    int error = write_ring(segment, shared, kind, tag, pieces, count);
    atomic_store_explicit(&shared->lock, 0, memory_order_release);
    return error;
}

size_t sl_segment_max_record(const sl_segment *segment, sl_ring_kind kind)
{
    SL_ASSERT(kind < SL_RING_COUNT);
    return segment->shape->ring_bytes[kind] / 4 - sizeof(record_head);
}

/* ---- the reader ---- */

/* Counts what a damaged ring loses. */
static void give_up(sl_ring *ring)
{
    SL_ASSERT(ring);
    uint64_t lost = waiting(ring);
    bump(&ring->damaged, lost ? lost : 1);
    bump(&ring->consumed, lost);
}

/* Gives the room of `*consumed` records up to `tail` back. */
static void give_room(sl_ring *ring, uint64_t tail, uint64_t *consumed)
{
    SL_ASSERT(ring && consumed);
    bump(&ring->consumed, *consumed);
    *consumed = 0;
    atomic_store_explicit(&ring->tail, tail, memory_order_release);
}

/* Asks for the beginning of the record at `index` while the one before is looked at: it lies in another core's cache.
 */
static inline void look_ahead(const unsigned char *data, uint64_t index, uint64_t size)
{
    SL_ASSERT(index < size);
    for (uint64_t i = index; i < index + AHEAD_BYTES && i < size; i += LINE_BYTES)
        __builtin_prefetch(data + i);
}

/* Consumes one ring. False when the receiver wants no more. Room is given back in large parts: each costs both sides a
 * cache miss. */
static bool drain_ring(sl_segment *segment, sl_block *block, sl_ring_kind kind, sl_record_fn fn, void *user,
                       size_t *count)
{
    SL_ASSERT(block && segment);
    sl_ring *ring = &block->rings[kind];
    uint64_t size = segment->shape->ring_bytes[kind];
    unsigned char *data = ring_data(segment, block, kind);
    uint64_t head = atomic_load_explicit(&ring->head, memory_order_acquire);
    uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
    uint64_t given = tail, consumed = 0;
    bool more = true;
    while (tail != head) {
        record_head record;
        uint64_t index = tail & (size - 1) & ~(uint64_t)15; /* inside the ring, whatever somebody wrote there */
        memcpy(&record, data + index, sizeof record);
        bool sane = (head | tail) % 16 == 0 && head - tail <= size && record.total >= 16 && record.total % 16 == 0 &&
                    record.total <= size - index && record.total <= head - tail &&
                    record.len <= record.total - sizeof record;
        if (SL_UNLIKELY(!sane || (record.kind != RECORD_DATA && record.kind != RECORD_FILLER))) {
            give_room(ring, tail, &consumed);
            give_up(ring);
            tail = head;
            break;
        }
        look_ahead(data, (tail + record.total) & (size - 1), size);
        if (SL_LIKELY(record.kind == RECORD_DATA)) {
            more = fn(user, record.tag, data + index + sizeof record, record.len);
            if (!more)
                break;
            consumed++;
            (*count)++;
        }
        tail += record.total;
        if (tail - given >= size / GIVE_PARTS) {
            give_room(ring, tail, &consumed);
            given = tail;
        }
    }
    give_room(ring, tail, &consumed);
    return more;
}

size_t sl_segment_drain(sl_segment *segment, sl_ring_kind kind, sl_record_fn fn, void *user)
{
    SL_ASSERT(fn && kind < SL_RING_COUNT);
    size_t count = 0;
    uint32_t blocks = sl_segment_blocks(segment);
    for (uint32_t i = 0; i < blocks; i++) {
        if (!drain_ring(segment, sl_segment_block_at(segment, i), kind, fn, user, &count))
            break;
    }
    return count;
}

void sl_segment_ring_stats(const sl_segment *segment, sl_ring_kind kind, sl_ring_stats *ret_stats)
{
    SL_ASSERT(ret_stats);
    sl_ring_stats stats = {0};
    for (uint32_t i = 0; i < sl_segment_blocks(segment); i++) {
        sl_ring *ring = &sl_segment_block_at(segment, i)->rings[kind];
        stats.written += atomic_load_explicit(&ring->written, memory_order_relaxed);
        stats.dropped += atomic_load_explicit(&ring->dropped, memory_order_relaxed) +
                         atomic_load_explicit(&ring->damaged, memory_order_relaxed);
        uint64_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
        stats.used_bytes += atomic_load_explicit(&ring->head, memory_order_relaxed) - tail;
        stats.size_bytes += segment->shape->ring_bytes[kind];
    }
    if (kind == SL_RING_SPANS) {
        stats.begun = sl_segment_sum(segment, SL_CELL_SPANS_BEGUN);
        stats.abandoned = sl_segment_sum(segment, SL_CELL_SPANS_ABANDONED);
    }
    *ret_stats = stats;
}

void sl_segment_wait_until(sl_segment *segment, uint64_t until_ns)
{
    SL_ASSERT(segment);
    atomic_store_explicit(&segment->wait_until_ns, until_ns, memory_order_relaxed);
}

void sl_segment_set_ring_limit(sl_segment *segment, sl_ring_kind kind, uint64_t records)
{
    SL_ASSERT(kind < SL_RING_COUNT);
    atomic_store(&segment->header->ring_limit[kind], records);
}

void sl_segment_rearm(sl_segment *segment)
{
    SL_ASSERT(segment);
    atomic_store_explicit(&segment->header->woken, 0, memory_order_relaxed);
}
