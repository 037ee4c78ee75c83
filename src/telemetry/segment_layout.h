/* What lies in a segment's mapping. Private to segment.c and ring.c. */
#ifndef SL_TELEMETRY_SEGMENT_LAYOUT_H
#define SL_TELEMETRY_SEGMENT_LAYOUT_H

#include <stdalign.h>

#include "src/telemetry/segment.h"

#define SL_SEGMENT_MAGIC 0x314745534C53ull /* "SLSEG1" */
#define SL_SEGMENT_VERSION 2u

enum { SL_BLOCK_FREE = 0, SL_BLOCK_USED = 1 };

/* What is constant after the segment is made. It has copies on the heap, where nothing is aligned to cache lines. */
typedef struct sl_segment_shape {
    uint64_t magic;
    uint32_t version;
    uint32_t block_count; /* with the shared block, which is number 0 */
    uint64_t size;
    uint64_t meta_end; /* end of header and metadata heap; the blocks follow */
    uint64_t block_stride;
    uint64_t cells_offset; /* inside a block */
    uint64_t ring_offset[SL_RING_COUNT];
    uint32_t ring_bytes[SL_RING_COUNT];
    uint32_t cells;
    uint32_t reserved;
} sl_segment_shape;

/* Grouped by who writes, each group on cache lines of its own. */
/* NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
typedef struct sl_segment_header {
    sl_segment_shape shape;
    /* Changing. */
    alignas(64) _Atomic uint64_t meta_used;
    _Atomic uint32_t cells_used;
    _Atomic uint32_t blocks_used;
    _Atomic uint64_t lists[SL_LIST_COUNT];
    _Atomic pid_t pid;
    _Atomic uint64_t ring_limit[SL_RING_COUNT]; /* records; 0: none */
    alignas(64) _Atomic uint32_t woken;         /* 1 while a wake-up is under way */
} sl_segment_header;

/*
 * One ring's positions: monotonic byte counts; the data index is the count modulo the (power of two) size. The thread
 * remembers what it saw of the reader's side and looks again only when that is not enough: looking costs a cache miss.
 */
typedef struct sl_ring {
    /* Written by the recording thread. */
    alignas(64) _Atomic uint64_t head;
    _Atomic uint64_t written; /* records */
    _Atomic uint64_t dropped; /* records */
    uint64_t seen_tail;       /* nobody else reads these two */
    uint64_t seen_consumed;
    /* Written by the reader. */
    alignas(64) _Atomic uint64_t tail;
    _Atomic uint64_t consumed; /* records */
    _Atomic uint64_t damaged;  /* records given up by the reader */
} sl_ring;

struct sl_block {
    _Atomic uint32_t state;
    _Atomic uint32_t lock; /* spin lock of the shared block's rings */
    _Atomic pid_t pid;
    _Atomic pid_t tid;
    sl_ring rings[SL_RING_COUNT];
};

sl_block *sl_segment_block_at(const sl_segment *segment, uint32_t index);

#endif
