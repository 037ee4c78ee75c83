/* Answered requests that wait for certainty. */
#include "src/probe/held.h"

#include "src/probe/correlate.h"

#define HOLD_NS 300000000u

/* Whether it is worth a look. */
static bool is_open(sl_probe_assembler *a, const sl_track_request *request, const sl_probe_answer_end *event)
{
    bool answered = request->use == SL_TRACK_USE_GENERATE && event->head.flags & SL_PROBE_END_COMPLETE;
    if (!answered || request->partial || request->turn_count > 1)
        return false;
    return request->turns ? request->turns->sure == SL_TRACK_AMBIGUOUS : sl_track_may_have_worked(a, request);
}

bool sl_track_hold(sl_probe_assembler *a, sl_track_request *request, const sl_probe_answer_end *event)
{
    SL_ASSERT(a && request && event && !request->held);
    size_t size = sizeof *event + event->head.count;
    if (!is_open(a, request, event) || a->held_count >= SL_TRACK_HELD)
        return false;
    request->end_ns = event->head.time_ns;
    request->answer = sl_malloc(size);
    if (!request->answer)
        return false;
    memcpy(request->answer, event, size);
    sl_str tail = sl_str_of((const char *)(request->answer + 1), event->head.count);
    sl_answer_tail_read(tail, &request->facts);
    sl_track_batches_finish(a);
    if (!sl_track_is_undecided(a, request, &request->facts)) {
        sl_free(request->answer);
        request->answer = NULL;
        return false;
    }
    request->held = true;
    a->held[a->held_count++] = request;
    a->generating_count--;
    sl_track_load(a);
    return true;
}

void sl_track_held_remove(sl_probe_assembler *a, sl_track_request *request)
{
    SL_ASSERT(a && request && request->held);
    uint32_t at = 0;
    while (a->held[at] != request)
        at++;
    SL_ASSERT(at < a->held_count);
    a->held_count--;
    memmove(a->held + at, a->held + at + 1, (a->held_count - at) * sizeof *a->held);
    request->held = false;
    a->generating_count++;
}

sl_track_request *sl_track_held_next(sl_probe_assembler *a, uint64_t now_ns)
{
    SL_ASSERT(a && a->held_count <= SL_TRACK_HELD);
    for (uint32_t i = 0; i < a->held_count; i++) {
        sl_track_request *request = a->held[i];
        bool waits = sl_track_span_of(request->end_ns, now_ns) < HOLD_NS && !request->partial;
        if (!waits || !sl_track_is_undecided(a, request, &request->facts))
            return request;
    }
    return NULL;
}
