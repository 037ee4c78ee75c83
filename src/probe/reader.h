/*
 * The reader of rings: finds the instrumented processes, hands their events to a consumer, and notices when they end.
 *
 * Watches a folder for rings (`sightline exec`), or reads rings that it is given (a host without a parent). Each host
 * has a consumer's object of its own. What a host wrote before it died is read to the end. Bounded: SL_PROBE_MAX_HOSTS
 * at once; a file in the folder that is no ring, or whose owner is neither this process's user nor the one that its
 * host runs as, is removed and counted.
 * Does not: look at events (assembler.h does), print, or keep rings of hosts that outlive it.
 */
#ifndef SL_PROBE_READER_H
#define SL_PROBE_READER_H

#include "src/probe/assembler.h"
#include "src/probe/ring.h"

typedef struct sl_probe_reader sl_probe_reader;

/* Who takes the events. All calls come from the thread that steps the reader. */
typedef struct sl_probe_consumer {
    void *user;
    /* A host has been found. Not 0: the host is left alone. */
    int (*open)(void *user, const sl_probe_ring_info *info, void **ret_host);
    sl_probe_event_fn event;                                                   /* its first argument is the host */
    void (*tick)(void *host, uint64_t now_ns, uint64_t dropped, uint64_t bad); /* events lost so far */
    void (*gone)(void *host, uint64_t now_ns, bool crashed); /* everything of it has been handed over */
    void (*close)(void *host);
    /* Behind the ticks of the hosts, also when there is none. May be NULL. */
    void (*round)(void *user, uint64_t now_ns);
} sl_probe_consumer;

typedef struct sl_probe_reader_options {
    const char *dir; /* copied; NULL: none */
    sl_probe_consumer consumer;
} sl_probe_reader_options;

typedef struct sl_probe_reader_stats {
    unsigned hosts;                 /* now */
    uint64_t seen;                  /* hosts so far */
    uint64_t refused;               /* files that were no rings of ours */
    uint64_t events, dropped, lost; /* of all hosts: handed over; without room in the ring; broken or half written */
} sl_probe_reader_stats;

/* Errors: SL_EIO (the folder cannot be read), SL_ENOMEM, SL_EINVAL. */
SL_MUST_CHECK int sl_probe_reader_new(const sl_probe_reader_options *options, sl_probe_reader **ret_reader);
/* Stops the thread if there is one, tells the consumer of each host that is left, and frees. NULL is accepted. */
void sl_probe_reader_free(sl_probe_reader *reader);

/*
 * Adds a ring of this very process, which ends when it is closed. It stays the caller's, and is used until the reader
 * is freed: threads may write to it even after its end. Before the first step. Errors: SL_ENOMEM, SL_ELIMIT.
 */
SL_MUST_CHECK int sl_probe_reader_add(sl_probe_reader *reader, sl_probe_ring *ring);

/*
 * One round: looks for rings, drains, ticks, notices ends. Returns after how many milliseconds it wants to be called
 * again. One thread.
 */
unsigned sl_probe_reader_step(sl_probe_reader *reader, uint64_t now_ns);

/* Steps on a thread of its own until sl_probe_reader_stop. Errors: SL_ENOMEM. */
SL_MUST_CHECK int sl_probe_reader_start(sl_probe_reader *reader);
/*
 * Ends the thread, then drains: until nothing of hosts that have ended is left, and all that living ones had written,
 * at the longest until `deadline_ns`. Idempotent. Also good without a thread.
 */
void sl_probe_reader_stop(sl_probe_reader *reader, uint64_t deadline_ns);

/* Any thread. */
void sl_probe_reader_get_stats(sl_probe_reader *reader, sl_probe_reader_stats *ret_stats);

/* The consumer that makes spans and metrics: an assembler for each host. `options` (with the SDK; pid and clock come
 * from the ring) must outlive the reader. */
sl_probe_consumer sl_probe_reader_assemblers(const sl_probe_options *options);

#endif
