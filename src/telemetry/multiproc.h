/*
 * PROMETHEUS_MULTIPROC_DIR: processes that share a folder, each recording into a segment file of its own, and any of
 * them (or another) summing all.
 *
 * A segment file is `sightline-N.segment` (never `*.db`: Python's collector reads every such file), locked by flock()
 * while a process records into it. A file whose lock is free belonged to a process that has ended: it stays in the
 * sums, and the next process that starts takes it over and goes on counting in it. So nothing is lost, and there are
 * never more files than there were processes at once. A file whose maker ended before it was a segment is made anew;
 * one that holds anything else is left alone.
 *
 * The gateway does this. A plain sl_sdk_new() does not read the variable: its pipeline would export over OTLP what all
 * other processes of the folder, and dead ones, have counted, as every other one of them does.
 */
#ifndef SL_TELEMETRY_MULTIPROC_H
#define SL_TELEMETRY_MULTIPROC_H

#include "src/base/buf.h"
#include "src/telemetry/collect.h"
#include "src/telemetry/segment.h"

#define SL_MAX_MULTIPROC_FILES 200

/*
 * Takes over a free file of the folder, or makes a new one. The folder must exist.
 * Effect: `*ret_fd` holds the lock; the caller keeps it open as long as it records, and closes it after freeing the
 * segment. Errors: SL_EIO, SL_ELIMIT (too many files), SL_ENOMEM, SL_EINVAL.
 */
SL_MUST_CHECK int sl_multiproc_claim(const char *folder, const sl_segment_options *options, sl_segment **ret_segment,
                                     int *ret_fd);

/* The files of other processes, kept mapped for a collector. */
typedef struct sl_multiproc sl_multiproc;

/* A reader of the folder; segments in `own` (files that this process records into) are left to the caller. NULL without
 * memory. */
sl_multiproc *sl_multiproc_new(const char *folder, sl_collector *collector);
/* Takes its segments out of the collector and frees. NULL is accepted. Before the collector is freed. */
void sl_multiproc_free(sl_multiproc *reader);
/* Tells which file is our own: it is not read a second time. */
void sl_multiproc_own(sl_multiproc *reader, int fd);
/* Looks for new files and adds them to the collector; deleted ones are folded into it and forgotten. Errors: SL_EIO,
 * SL_ENOMEM. Not from two threads at once. */
SL_MUST_CHECK int sl_multiproc_refresh(sl_multiproc *reader);

#endif
