/*
 * What the host has made with libllama: a table from its pointers to our small numbers. Lock-free; without room an
 * object stays unknown, and its events say "0".
 */
#ifndef SL_PROBE_HOST_OBJECTS_H
#define SL_PROBE_HOST_OBJECTS_H

#include "src/probe/host/probe_host.h"

#define SL_HOST_OBJECTS 4096u /* a power of two */

typedef enum sl_host_object_kind {
    SL_HOST_MODEL = 1,
    SL_HOST_CONTEXT,
    SL_HOST_MEMORY, /* of a context: llama_get_memory; its id is the context's */
    SL_HOST_CHAIN,
    SL_HOST_BATCH, /* of llama_batch_ext_init; `data` is its builder */
    SL_HOST_BUFFER
} sl_host_object_kind;

typedef struct sl_host_object {
    const void *_Atomic key;
    uint32_t kind;
    uint32_t lib; /* library + 1 that made it; 0: not known */
    uint32_t id;
    uint32_t phase;           /* of a buffer: what it was taken for; `id` is the owner's */
    _Atomic uint32_t waiting; /* of a context: results of a decode that nobody has waited for */
    _Atomic uint32_t alone;   /* of a context: its last batch had one output, so whose it is needs no telling */
    int64_t bytes;            /* of a buffer */
    void *data;
} sl_host_object;

/* NULL when it is not known. Valid as long as the host may use the object. */
sl_host_object *sl_host_object_find(const void *key, sl_host_object_kind kind);
/* Adds, or replaces what has the same address. NULL without room. */
sl_host_object *sl_host_object_add(const void *key, const sl_host_object *facts);
/* False when it was not known. */
bool sl_host_object_remove(const void *key, sl_host_object_kind kind, sl_host_object *ret_facts);

#endif
