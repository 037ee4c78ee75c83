/*
 * Requests that are answered, but it is not yet certain which turn was theirs: they wait for a moment.
 *
 * At the end of an answer there are often other turns that are, by chance, as far as this one was: a batch later they
 * are further, or their own answers tell. So what would be a guess now is certain soon. What is not after 0.3 s ends as
 * the guess that it is: with the reader's period that is less than the 0.5 s in which a finished request is to be seen.
 * Times are those of the answer's end, however long it waits.
 */
#ifndef SL_PROBE_HELD_H
#define SL_PROBE_HELD_H

#include "src/probe/track.h"

/* Keeps a request whose answer has ended. False when there is nothing to wait for: it is to be finished now. */
bool sl_track_hold(sl_probe_assembler *a, sl_track_request *request, const sl_probe_answer_end *event);
/* One of those that wait, and is certain now or has waited for long; NULL: none. */
sl_track_request *sl_track_held_next(sl_probe_assembler *a, uint64_t now_ns);
/* It waits no more. */
void sl_track_held_remove(sl_probe_assembler *a, sl_track_request *request);

#endif
