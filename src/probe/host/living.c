/* Models and contexts that live: copies of their events, in memory that a child inherits. */
#include "src/probe/host/living.h"

#include "src/base/limits.h"

#define PLACES (SL_PROBE_MAX_MODELS + SL_PROBE_MAX_CONTEXTS)
#define BYTES_MOST 1024u /* of an event behind its head; of a longer one the texts are left out */

enum { FREE, FILLING, LIVES };

typedef struct living {
    _Atomic uint32_t state;
    uint32_t id, kind, count;
    uint32_t body, tail;
    _Alignas(8) char bytes[BYTES_MOST];
} living;

struct sl_host_made sl_host_made;
static living places[PLACES];
_Static_assert(sizeof(sl_probe_model_load) + 2 <= BYTES_MOST, "fits without its texts");

void sl_host_living_add(const sl_probe_event *event, uint32_t id, size_t body, size_t tail)
{
    SL_ASSERT(event && id && body > sizeof *event && body < BYTES_MOST);
    for (size_t i = 0; i < PLACES; i++) {
        living *l = &places[i];
        uint32_t none = FREE;
        if (!atomic_compare_exchange_strong(&l->state, &none, FILLING))
            continue;
        bool fits = body + tail - sizeof *event <= BYTES_MOST;
        l->id = id;
        l->kind = event->kind;
        l->body = (uint32_t)body;
        l->tail = fits ? (uint32_t)tail : 2;
        l->count = fits ? event->count : 2; /* texts: both empty */
        memset(l->bytes, 0, sizeof l->bytes);
        memcpy(l->bytes, event + 1, (fits ? body + tail : body) - sizeof *event);
        atomic_store(&l->state, LIVES);
        return;
    }
}

void sl_host_living_remove(sl_probe_kind kind, uint32_t id)
{
    for (size_t i = 0; i < PLACES; i++) {
        living *l = &places[i];
        uint32_t there = LIVES;
        if (atomic_load(&l->state) == LIVES && l->id == id && l->kind == (uint32_t)kind)
            (void)atomic_compare_exchange_strong(&l->state, &there, FREE);
    }
}

static void tell(const living *l)
{
    sl_probe_event *event = sl_host_take((sl_probe_kind)l->kind, l->body, l->tail);
    if (!event)
        return;
    event->flags = l->kind == SL_PROBE_MODEL_LOAD ? SL_PROBE_MODEL_FOUND : SL_PROBE_CONTEXT_FOUND;
    event->count = l->count;
    memcpy(event + 1, l->bytes, l->body + l->tail - sizeof *event);
    sl_host_commit(event, l->body, l->tail);
}

void sl_host_living_tell(void)
{
    static const sl_probe_kind kinds[] = {SL_PROBE_MODEL_LOAD, SL_PROBE_CONTEXT_NEW}; /* a context is of a model */
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++) {
        for (size_t i = 0; i < PLACES; i++)
            if (atomic_load(&places[i].state) == LIVES && places[i].kind == (uint32_t)kinds[k])
                tell(&places[i]);
    }
}
