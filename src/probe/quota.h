/*
 * Quotas: limits that an operator sets on a llama.cpp server, and whether it is beyond them. No I/O, no clock.
 *
 * They are watched and told (metrics, a log record, a span); they are enforced only by whoever asks before it lets a
 * request through (the front listener of `sightline exec`), never inside the watched process.
 *
 * A quota is exceeded when the use is above its limit, and ends to be when the use has fallen to 95 % of it (a queue of
 * less than 100: below it), so that a use around the limit is one crossing, not hundreds.
 */
#ifndef SL_PROBE_QUOTA_H
#define SL_PROBE_QUOTA_H

#include "src/base/str.h"
#include "src/probe/probe_metrics.h"

typedef enum sl_quota_kind {
    SL_QUOTA_RESIDENT = 0, /* resident memory of all watched processes, bytes */
    SL_QUOTA_CONTEXT,      /* use of the fullest context, 0 to 1 */
    SL_QUOTA_QUEUE,        /* requests that wait for a slot */
    SL_QUOTA_TOKENS,       /* generated tokens per second */
    SL_QUOTA_COUNT
} sl_quota_kind;

/* Limits; 0: none. */
typedef struct sl_quota_limits {
    double limit[SL_QUOTA_COUNT];
} sl_quota_limits;

typedef struct sl_quota {
    sl_quota_limits limits;
    double used[SL_QUOTA_COUNT];
    bool exceeded[SL_QUOTA_COUNT];
} sl_quota;

/* The word for a kind: resident_memory, context, queue, tokens_per_second. Static. */
const char *sl_quota_name(sl_quota_kind kind);

/*
 * Reads "resident_memory=8GiB,context=0.9,queue=16,tokens_per_second=500" (any of them, in any order; spaces around
 * the parts are allowed; empty: no limits). Memory in bytes, KiB, MiB or GiB.
 * Errors: SL_EPARSE; `ret_fault` (may be NULL) is the part that cannot be, a view into `text`.
 */
SL_MUST_CHECK int sl_quota_parse(sl_str text, sl_quota_limits *ret_limits, sl_str *ret_fault);

/* True when there is any limit. */
bool sl_quota_is_set(const sl_quota_limits *limits);

/*
 * Takes in what is used now. Returns the kinds that have just been crossed, as bits (1 << kind); `ret_ended` those that
 * are so no longer.
 */
unsigned sl_quota_update(sl_quota *quota, const sl_probe_totals *totals, unsigned *ret_ended);

/*
 * True when any is exceeded; then `ret_kind` is the one to name, and `ret_retry_after_s` how long a client had better
 * wait before it tries again (memory and contexts empty slowly, queues fast).
 */
bool sl_quota_exceeded(const sl_quota *quota, sl_quota_kind *ret_kind, unsigned *ret_retry_after_s);

#endif
