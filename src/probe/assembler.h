/*
 * The assembler: makes spans and metrics of the events of one host process.
 *
 * Fed by one thread with the events of one ring, in their order. Follows requests (HTTP), slots (sequences), batches;
 * finds which request asked for which tokens (correlate.h) and says so by parents, links and attributes. Where two
 * requests cannot be told apart it marks both (`llama.correlation`=`ambiguous`), and never guesses silently.
 * Bounded: SL_PROBE_MAX_* of limits.h; what does not fit is counted, and its request is marked `partial`.
 * Survives gaps: an event that refers to what it has not seen is used as far as it goes.
 */
#ifndef SL_PROBE_ASSEMBLER_H
#define SL_PROBE_ASSEMBLER_H

#include <sightline/sdk.h>

#include "src/probe/event.h"

typedef struct sl_probe_assembler sl_probe_assembler;

typedef struct sl_probe_options {
    sl_sdk *sdk;            /* records through it; not owned */
    int64_t unix_offset_ns; /* of the ring */
    uint32_t pid;
    uint32_t decode_span_every;    /* 1 in N decode batches has a span of its own; 0: the default, 100; slow and failed
                                      always */
    uint64_t slow_decode_ns;       /* a batch that takes longer has a span; 0: the default, 8 times the moving median */
    struct sl_quota_watch *quotas; /* looked at with every tick (quota_watch.h); NULL: none; not owned */
    bool trace_polls; /* spans also for GET /health, /metrics, /slots; else only when the caller sent a traceparent */
} sl_probe_options;

/* What became of what was seen; totals. */
typedef struct sl_probe_assembler_stats {
    uint64_t requests, prompts;        /* prompts: that got a slot */
    uint64_t exact, single, ambiguous; /* prompts, by how sure it is whose they were; when their request ended */
    uint64_t unlinked;                 /* prompts for which no request was found, in a host that serves HTTP */
    uint64_t compared, mismatches;     /* with the server's own timings, and of these that differ */
    uint64_t partial;                  /* requests whose end was not seen */
    uint64_t left_out;                 /* what did not fit the limits, or found no memory */
    uint64_t decode_spans;
} sl_probe_assembler_stats;

/* Errors: SL_EINVAL, SL_ENOMEM. */
SL_MUST_CHECK int sl_probe_assembler_new(const sl_probe_options *options, sl_probe_assembler **ret_assembler);
/* Ends what is open (requests as `partial`), then frees. NULL is accepted. */
void sl_probe_assembler_free(sl_probe_assembler *assembler);

/* One event that has passed sl_probe_event_check. Fits sl_probe_event_fn. */
void sl_probe_assembler_event(void *assembler, const sl_probe_event *event, size_t size);
/* About ten times a second, also when nothing comes: ages, gauges from /proc, rates. */
void sl_probe_assembler_tick(sl_probe_assembler *assembler, uint64_t now_ns, uint64_t ring_dropped);
/*
 * What Unix time minus CLOCK_MONOTONIC is in this process; the first call says what it was when the ring was found.
 * Where it jumps (the clock was set, the machine has slept), times from then on jump with it.
 */
void sl_probe_assembler_clock(sl_probe_assembler *assembler, int64_t unix_offset_ns);
/* How many events so far were broken, or never finished: told before the tick. */
void sl_probe_assembler_damaged(sl_probe_assembler *assembler, uint64_t damaged);
/* The host is gone: what is open ends now, with status ERROR when `crashed`. */
void sl_probe_assembler_host_gone(sl_probe_assembler *assembler, uint64_t now_ns, bool crashed);
/* Reads the totals. */
void sl_probe_assembler_get_stats(const sl_probe_assembler *assembler, sl_probe_assembler_stats *ret_stats);

#endif
