/*
 * Segment: the memory that recording writes and a pipeline reads.
 *
 *     header | metadata heap | thread block 0 | thread block 1 | … | shared block
 *                              cells, span ring, log ring
 *
 * A recording thread owns one block while it lives: it alone writes the block's cells (metrics) and the producer's side
 * of its rings, so recording needs no lock and no read-modify-write instruction. A reader, in this or another process,
 * sums cells over all blocks and consumes the rings. When all blocks are taken, further threads share the last one
 * under a spin lock, slower but complete. The shared block also holds gauges.
 *
 * The mapping is private to a process, or shared (a memfd or a file): then it survives the death of its writer, and
 * nothing that was committed is lost. Everything in it is addressed by offset.
 *
 * Does not know what spans, metrics or logs are.
 */
#ifndef SL_TELEMETRY_SEGMENT_H
#define SL_TELEMETRY_SEGMENT_H

#include <stdatomic.h>
#include <sys/types.h>

#include "src/base/assert.h"
#include "src/base/limits.h"
#include "src/base/str.h"

typedef _Atomic uint64_t sl_cell;
typedef struct sl_segment sl_segment;
typedef struct sl_block sl_block;

typedef enum sl_ring_kind { SL_RING_SPANS = 0, SL_RING_LOGS = 1 } sl_ring_kind;
#define SL_RING_COUNT 2

/* Lists of metadata records, newest first. */
typedef enum sl_segment_list { SL_LIST_SCOPES = 0, SL_LIST_STREAMS = 1, SL_LIST_SERIES = 2 } sl_segment_list;
#define SL_LIST_COUNT 3

/* Sizes; zero values are the defaults of limits.h. Rings are rounded up to powers of two. */
typedef struct sl_segment_options {
    size_t size_bytes;
    uint32_t threads;
    uint32_t cells;
    uint32_t span_ring_bytes;
    uint32_t log_ring_bytes;
    int wake_fd; /* eventfd written when a ring fills; 0 or -1: none. Not owned. */
} sl_segment_options;

/* Size of a ring in which so many records of the usual length can wait; never less than the default. */
uint32_t sl_segment_ring_room(sl_ring_kind kind, uint64_t records);
/* `size_bytes` of the options, raised to what all their threads with such rings need. */
size_t sl_segment_size_for(const sl_segment_options *options);

/*
 * Makes a segment in anonymous memory. Tries smaller sizes when the address space is limited.
 * Errors: SL_ENOMEM, SL_EINVAL.
 */
SL_MUST_CHECK int sl_segment_new(const sl_segment_options *options, sl_segment **ret_segment);
/*
 * Makes a segment in an empty file (memfd, or a file of PROMETHEUS_MULTIPROC_DIR), sparse. The descriptor is
 * duplicated. Errors: SL_ENOMEM, SL_EINVAL, SL_EIO.
 */
SL_MUST_CHECK int sl_segment_new_shared(const sl_segment_options *options, int fd, sl_segment **ret_segment);
/* Maps an existing shared segment. Errors: SL_EPARSE (not a segment, other version), SL_EIO, SL_ENOMEM. */
SL_MUST_CHECK int sl_segment_open(int fd, sl_segment **ret_segment);
/* Unmaps. No thread may record any more. NULL is accepted. */
void sl_segment_free(sl_segment *segment);
/*
 * After fork(): this process, not its parent, records into the segment from now on. What a private segment holds is
 * the parent's, which still has it: the child starts with empty rings and zero cells. No other thread may record.
 */
void sl_segment_adopt(sl_segment *segment, int wake_fd);
/* Frees the blocks of a process that has ended, for the next one; cells and rings keep what was recorded. */
void sl_segment_release(sl_segment *segment, pid_t pid);
/* Process that recorded last, or 0. */
pid_t sl_segment_pid(const sl_segment *segment);

/* ---- metadata ---- */

/* `size` cleared bytes of the metadata heap, 8-aligned; offset 0 is never given. Errors: SL_ELIMIT. */
SL_MUST_CHECK int sl_segment_alloc(sl_segment *segment, size_t size, uint64_t *ret_offset);
/* Pointer to an offset; NULL unless `size` bytes at it lie inside the metadata heap. */
void *sl_segment_at(const sl_segment *segment, uint64_t offset, size_t size);
/* Links a complete record into a list. Its first 8 bytes are the offset of the next (older) record. */
void sl_segment_publish(sl_segment *segment, sl_segment_list list, uint64_t offset);
/* Newest record of a list; 0 when empty. */
uint64_t sl_segment_head(const sl_segment *segment, sl_segment_list list);

/* ---- cells ---- */

/* Cells that every segment has for those who count records which are not in a ring yet. */
enum {
    SL_CELL_SPANS_BEGUN = 0, /* recorded spans started */
    SL_CELL_SPANS_ABANDONED, /* of these, spans whose process died before their end */
    SL_RESERVED_CELLS
};

/* Reserves `count` neighbouring cells in every block. Errors: SL_ELIMIT. */
SL_MUST_CHECK int sl_segment_alloc_cells(sl_segment *segment, uint32_t count, uint32_t *ret_index);
/* Cells that each block has. */
uint32_t sl_segment_cell_count(const sl_segment *segment);
/* Sum of one integer cell over all blocks, modulo 2^64 (which is right for negative parts too). */
uint64_t sl_segment_sum(const sl_segment *segment, uint32_t index);
/* Sum of one cell of doubles over all blocks. */
double sl_segment_sum_double(const sl_segment *segment, uint32_t index);
/* Adds `count` neighbouring integer cells over all blocks into `sums`. */
void sl_segment_sum_range(const sl_segment *segment, uint32_t index, uint32_t count, uint64_t *sums);
/* Number of blocks that were ever used, the shared one included (it is number 0). */
uint32_t sl_segment_blocks(const sl_segment *segment);
/* The cells of one block. */
sl_cell *sl_segment_block_cells(const sl_segment *segment, uint32_t block);
/* A cell of the shared block, for values that are set rather than added (gauges). */
sl_cell *sl_segment_shared_cell(const sl_segment *segment, uint32_t index);
/* Sets a cell to zero in every block; only when nobody records to it (a dead writer's in-flight counts). */
void sl_segment_zero(sl_segment *segment, uint32_t index, uint32_t count);

/* ---- the recording thread ---- */

struct sl_segment {
    uint64_t id; /* unique in this process; never 0 */
    struct sl_segment_header *header;
    struct sl_segment_shape *shape; /* own copy of the constant part: no writer can change it under a reader */
    unsigned char *base;
    size_t size;
    int fd; /* -1: private */
    int wake_fd;
    _Atomic pid_t owner;            /* the process whose threads may claim blocks through this handle */
    _Atomic uint64_t wait_until_ns; /* monotonic; see sl_segment_wait_until */
    struct sl_segment *next_live;
};

/* This thread's block in the segment it used last. */
typedef struct sl_segment_tls {
    uint64_t id; /* of the segment; 0: none */
    sl_cell *cells;
    sl_block *block;
} sl_segment_tls;

extern _Thread_local sl_segment_tls sl_segment_this __attribute__((tls_model("initial-exec")));

/* Slow sides of the functions below: claim a block, or work on the shared one. */
bool sl_segment_enter(sl_segment *segment);
void sl_segment_add_slow(sl_segment *segment, uint32_t index, uint64_t value);
void sl_segment_add_double_slow(sl_segment *segment, uint32_t index, double value);

/* Adds to an integer cell. */
static inline void sl_segment_add(sl_segment *segment, uint32_t index, uint64_t value)
{
    if (SL_UNLIKELY(sl_segment_this.id != segment->id)) {
        sl_segment_add_slow(segment, index, value);
        return;
    }
    sl_cell *cell = sl_segment_this.cells + index;
    uint64_t now = atomic_load_explicit(cell, memory_order_relaxed);
    atomic_store_explicit(cell, now + value, memory_order_relaxed);
}

static inline double sl_cell_to_double(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline uint64_t sl_cell_from_double(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

/* Adds to a cell of doubles. */
static inline void sl_segment_add_double(sl_segment *segment, uint32_t index, double value)
{
    if (SL_UNLIKELY(sl_segment_this.id != segment->id)) {
        sl_segment_add_double_slow(segment, index, value);
        return;
    }
    sl_cell *cell = sl_segment_this.cells + index;
    double now = sl_cell_to_double(atomic_load_explicit(cell, memory_order_relaxed));
    atomic_store_explicit(cell, sl_cell_from_double(now + value), memory_order_relaxed);
}

/* ---- rings ---- */

/* One piece of a record. */
typedef struct sl_piece {
    const void *data;
    size_t len;
} sl_piece;

/*
 * Writes one record from pieces into this thread's ring. `tag` is the caller's.
 * Returns SL_ELIMIT when the ring is full or the record is larger than a quarter of it (counted as dropped),
 * SL_ECLOSED in a forked child that has not adopted the segment.
 */
int sl_segment_write(sl_segment *segment, sl_ring_kind kind, uint32_t tag, const sl_piece *pieces, size_t count);

/* Payload of the largest record that sl_segment_write takes. */
size_t sl_segment_max_record(const sl_segment *segment, sl_ring_kind kind);

/* Receives one record; the data is valid during the call only. False ends the draining; the record stays. */
typedef bool (*sl_record_fn)(void *user, uint32_t tag, const uint8_t *data, size_t len);

/*
 * Consumes the records of one kind of all blocks. One reader at a time. Returns the number consumed.
 * A damaged ring (a writer died in a way that must not happen, or a hostile file) is emptied and counted as dropped.
 */
size_t sl_segment_drain(sl_segment *segment, sl_ring_kind kind, sl_record_fn fn, void *user);

/* Records written and dropped so far, over all blocks. */
typedef struct sl_ring_stats {
    uint64_t written;
    uint64_t dropped;
    uint64_t begun; /* spans only: started, and of these lost with their process */
    uint64_t abandoned;
    uint64_t used_bytes;
    uint64_t size_bytes; /* of all rings in use */
} sl_ring_stats;
void sl_segment_ring_stats(const sl_segment *segment, sl_ring_kind kind, sl_ring_stats *ret_stats);

/*
 * From now on a record that finds its ring full waits for the reader, up to this moment of the monotonic clock, instead
 * of being dropped: for a process that only has to end what it does. 0: none waits.
 */
void sl_segment_wait_until(sl_segment *segment, uint64_t until_ns);

/* Limits the number of records that wait in each ring (OTEL_BSP_MAX_QUEUE_SIZE); 0: by bytes alone. */
void sl_segment_set_ring_limit(sl_segment *segment, sl_ring_kind kind, uint64_t records);

/* Lets the next ring that fills wake the reader again; the reader calls it when it has drained. */
void sl_segment_rearm(sl_segment *segment);

#endif
