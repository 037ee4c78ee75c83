/*
 * What the host has loaded and made and not freed, as it was told: a forked child has all of it, but a ring of its own,
 * in which it is told again. Bounded: what finds no room is not told again.
 */
#ifndef SL_PROBE_HOST_LIVING_H
#define SL_PROBE_HOST_LIVING_H

#include "src/probe/host/probe_host.h"

/* Numbers given out; a child goes on counting, so that they differ from those it has inherited. */
extern struct sl_host_made {
    _Atomic uint32_t last_model, last_context, last_chain;
} sl_host_made;

/* A MODEL_LOAD or CONTEXT_NEW that is about to be committed, and its object's number. Any thread. */
void sl_host_living_add(const sl_probe_event *event, uint32_t id, size_t body, size_t tail);
void sl_host_living_remove(sl_probe_kind kind, uint32_t id);
/* Tells all of them. By the thread that attaches. */
void sl_host_living_tell(void);

#endif
