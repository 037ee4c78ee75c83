/*
 * The attributes of an event, a link or a scope: a whole list at once, as OTLP KeyValue fields.
 *
 * Of equal keys the last one counts. Keys that are empty, too long or no UTF-8 are left out and counted.
 */
#ifndef SL_TELEMETRY_ATTR_LIST_H
#define SL_TELEMETRY_ATTR_LIST_H

#include "src/wire/otlp_encode.h"

#define SL_MAX_LIST_ATTRS 4096 /* of one list that are looked at */

/* What of a list is to be written. */
typedef struct sl_attr_list {
    const sl_attr *attrs;
    size_t count;       /* to look at */
    uint32_t max_count; /* to keep */
    size_t max_chars;   /* SL_OTLP_NO_LIMIT: as they are */
    uint32_t dropped;   /* known after sl_attr_list_size */
} sl_attr_list;

sl_attr_list sl_attr_list_of(const sl_attr *attrs, size_t count, uint32_t max_count, uint32_t value_chars);
/* Bytes of all that is kept, as field `field`; fills in `dropped`. */
size_t sl_attr_list_size(sl_attr_list *list, uint32_t field);
/* Writes what is kept. False when it does not fit. */
bool sl_attr_list_put(sl_pb_cursor *c, uint32_t field, const sl_attr_list *list);

/* True for a key that an attribute may have, but for its being UTF-8. */
static inline bool sl_attr_key_ok(sl_str key)
{
    return key.len > 0 && key.len <= SL_MAX_KEY_BYTES && key.ptr;
}

/* A limit in characters as the encoder takes it. */
static inline size_t sl_attr_max_chars(uint32_t value_chars)
{
    return value_chars ? value_chars : SL_OTLP_NO_LIMIT;
}

#endif
