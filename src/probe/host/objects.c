/* Pointers of the host's to what we know of them: a table in which each key has a few places it may be in. */
#include "src/probe/host/objects.h"

#define WINDOW 16u /* places for a key; removing leaves no marks behind */

static sl_host_object table[SL_HOST_OBJECTS + WINDOW];
static const char reserved; /* its address marks a place that is being filled */

static sl_host_object *home(const void *key)
{
    uint64_t h = (uint64_t)(uintptr_t)key * 0x9E3779B97F4A7C15ull;
    return &table[(h >> 40) % SL_HOST_OBJECTS];
}

static sl_host_object *find_key(const void *key)
{
    sl_host_object *o = home(key);
    for (unsigned i = 0; i < WINDOW; i++, o++)
        if (atomic_load_explicit(&o->key, memory_order_acquire) == key)
            return o;
    return NULL;
}

sl_host_object *sl_host_object_find(const void *key, sl_host_object_kind kind)
{
    sl_host_object *o = key ? find_key(key) : NULL;
    return o && o->kind == (uint32_t)kind ? o : NULL;
}

static void fill(sl_host_object *o, const sl_host_object *facts)
{
    o->kind = facts->kind;
    o->lib = facts->lib;
    o->id = facts->id;
    o->phase = facts->phase;
    o->bytes = facts->bytes;
    o->data = facts->data;
    atomic_store_explicit(&o->waiting, 0, memory_order_relaxed);
    atomic_store_explicit(&o->alone, 0, memory_order_relaxed);
}

sl_host_object *sl_host_object_add(const void *key, const sl_host_object *facts)
{
    SL_ASSERT(facts && facts->kind >= SL_HOST_MODEL && facts->kind <= SL_HOST_BUFFER);
    if (!key)
        return NULL;
    sl_host_object *o = find_key(key);
    if (o) {
        fill(o, facts);
        return o;
    }
    o = home(key);
    for (unsigned i = 0; i < WINDOW; i++, o++) {
        const void *expected = NULL;
        if (!atomic_compare_exchange_strong(&o->key, &expected, (const void *)&reserved))
            continue;
        fill(o, facts);
        atomic_store_explicit(&o->key, key, memory_order_release);
        return o;
    }
    return NULL;
}

bool sl_host_object_remove(const void *key, sl_host_object_kind kind, sl_host_object *ret_facts)
{
    sl_host_object *o = sl_host_object_find(key, kind);
    if (!o)
        return false;
    fill(ret_facts, o);
    atomic_store_explicit(&o->key, NULL, memory_order_release);
    return true;
}
