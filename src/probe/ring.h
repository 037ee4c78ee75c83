/*
 * The probe's ring: events from all threads of one host process to one reader, in a file that both have mapped.
 *
 * Order: writers take their place by one compare-and-swap, so the order of events is an order in which they can have
 * happened: whoever was told of something by another thread writes after it. The reader sees them in that order.
 * A writer never waits: without room the event is dropped and counted. What was written outlives the writer's death.
 * The reader stops at a place that was taken and not yet written; after SL_PROBE_STUCK_NS (while the process is stopped
 * by a signal, time stands still), or when the writer's process is gone, it gives that place up, and counts it.
 * The reader trusts nothing that is in the file, and hands out copies.
 */
#ifndef SL_PROBE_RING_H
#define SL_PROBE_RING_H

#include "src/probe/event.h"

typedef struct sl_probe_ring sl_probe_ring;

#define SL_PROBE_STUCK_NS 1000000000u

/* How a host finds its parent: a folder in which every instrumented process makes a ring `PID-N.ring`. */
#define SL_PROBE_DIR_ENV "SIGHTLINE_PROBE_DIR"
#define SL_PROBE_RING_SUFFIX ".ring"

/*
 * Makes a ring in a new file (mode 0600), or in anonymous memory when `path` is NULL. `data_bytes` is rounded up to a
 * power of two (0: SL_PROBE_RING_BYTES of limits.h). The file appears whole: it is made beside `path` and renamed.
 * Async-signal-unsafe; uses no allocator of the host. Errors: SL_EIO (also when `path` is there), SL_ENOMEM, SL_EINVAL.
 */
SL_MUST_CHECK int sl_probe_ring_new(const char *path, size_t data_bytes, sl_probe_ring **ret_ring);
/* Maps an existing ring for reading. Errors: SL_EPARSE (not a ring, other version), SL_EIO, SL_ENOMEM. */
SL_MUST_CHECK int sl_probe_ring_open(int fd, sl_probe_ring **ret_ring);
/* Events were lost before they came here. */
void sl_probe_ring_lost(sl_probe_ring *ring, uint64_t count);
/* Says that the ring is about process `pid` instead of this one, which writes what it sees of it. Before it is read. */
void sl_probe_ring_about(sl_probe_ring *ring, uint32_t pid);
/* Unmaps. NULL is accepted. */
void sl_probe_ring_free(sl_probe_ring *ring);
/*
 * For a handler of SIGBUS: a file that is cut short while it is mapped faults where it is read. If `address` lies in a
 * ring that was opened, empty memory takes the file's place, the ring has nothing any more, and true says: go on.
 * Async-signal-safe.
 */
bool sl_probe_ring_mend(const void *address);

/*
 * Takes room for an event of `size` bytes (a multiple of 8, at most SL_PROBE_EVENT_MAX); NULL: no room, counted. The
 * writer fills everything but `size` and calls sl_probe_ring_commit at once. Any thread, wait-free but for the swap.
 */
sl_probe_event *sl_probe_ring_take(sl_probe_ring *ring, size_t size);
void sl_probe_ring_commit(sl_probe_event *event, size_t size);

/*
 * Hands the oldest events to `fn`, up to `max` of them, and frees their room. Events that fail their check are counted
 * and left out. Returns how many were handed over. One reader.
 */
typedef void (*sl_probe_event_fn)(void *user, const sl_probe_event *event, size_t size);
size_t sl_probe_ring_read(sl_probe_ring *ring, size_t max, uint64_t now_ns, sl_probe_event_fn fn, void *user);

typedef struct sl_probe_ring_info {
    uint32_t pid; /* as the asking process knows it; 0: it cannot see it */
    uint32_t instance;
    int64_t unix_offset_ns;         /* Unix time minus CLOCK_MONOTONIC, at the making */
    uint64_t written, dropped, bad; /* events: handed over by this reader; without room; left out or given up */
    size_t waiting_bytes;
    bool closed; /* the host ended by exit(), or gave it up */
} sl_probe_ring_info;
void sl_probe_ring_get_info(const sl_probe_ring *ring, sl_probe_ring_info *ret_info);
/* The writer's side says that nothing more will come. */
void sl_probe_ring_close(sl_probe_ring *ring);

#endif
