/*
 * The body of one span: OTLP fields encoded as they are set, in a buffer that begins inside the span and moves to the
 * heap when it outgrows that.
 *
 * Attributes have an index by key, so that setting a key again replaces its bytes. The name and the status can be
 * replaced too; events and links only follow. Fields lie in the order in which they came, which protobuf allows.
 *
 * Promises: the result is a well-formed sequence of fields of the Span message, and never longer than `max`. What does
 * not fit is refused whole and counted by the caller.
 */
#ifndef SL_TELEMETRY_SPAN_BUF_H
#define SL_TELEMETRY_SPAN_BUF_H

#include <sightline/value.h>

#include "src/base/assert.h"
#include "src/base/limits.h"

#define SL_SPAN_INLINE_BYTES 1536
#define SL_SPAN_INLINE_ATTRS 48
#define SL_SPAN_RESERVE_BYTES 4096 /* of the maximum: kept for priority attributes, name and status */

/* One attribute in the buffer. */
typedef struct sl_span_entry {
    uint32_t hash;
    uint32_t offset;
    uint32_t len;
    uint8_t key_at; /* the key's text, from `offset` */
    uint8_t key_len;
} sl_span_entry;

/* One bit for each hash that may be in the index. */
typedef struct sl_span_seen {
    uint64_t words[4];
} sl_span_seen;

/* A field that may be replaced. len 0: not there. */
typedef struct sl_span_range {
    uint32_t offset;
    uint32_t len;
} sl_span_range;

typedef struct sl_span_buf {
    uint8_t *data;
    uint32_t len;
    uint32_t cap;
    uint32_t soft; /* what ordinary attributes may fill of `cap` */
    uint32_t max;
    uint32_t count; /* attributes */
    uint32_t entries_cap;
    sl_span_entry *entries;
    sl_span_seen seen;
    sl_span_range name;
    sl_span_range status;
    uint8_t inline_data[SL_SPAN_INLINE_BYTES];
    sl_span_entry inline_entries[SL_SPAN_INLINE_ATTRS];
} sl_span_buf;

/* Limits on attributes, and the keys that outlive them. */
typedef struct sl_attr_rules {
    uint32_t count;
    uint32_t value_chars; /* 0: none */
    const char *const *priority_keys;
    size_t priority_key_count;
} sl_attr_rules;

/* Empties it, in its inline memory. `max` bytes at most. */
void sl_span_buf_init(sl_span_buf *buf, size_t max);
/* Frees heap memory, if any. Must be initialised again before use. */
void sl_span_buf_done(sl_span_buf *buf);

/*
 * Sets an attribute; returns the number of attributes lost by it: 0, or 1 when it was refused (a key that is empty, too
 * long or no UTF-8; a limit; no memory) or took the place of another.
 */
unsigned sl_span_buf_set(sl_span_buf *buf, sl_str key, const sl_value *value, const sl_attr_rules *rules);
/* As sl_span_buf_set for the common types. */
unsigned sl_span_buf_set_str(sl_span_buf *buf, sl_str key, sl_str value, const sl_attr_rules *rules);
unsigned sl_span_buf_set_int(sl_span_buf *buf, sl_str key, int64_t value, const sl_attr_rules *rules);

/* Sets or replaces the name field. False when it does not fit. */
bool sl_span_buf_set_name(sl_span_buf *buf, sl_str name);
/* Sets or replaces the status field; `code` 0 removes it. False when it does not fit. */
bool sl_span_buf_set_status(sl_span_buf *buf, unsigned code, sl_str message);

/* What an event or a link has beside its attributes. */
typedef struct sl_span_sub {
    uint32_t field; /* of the Span message: 11 or 13 */
    uint32_t attrs_field;
    uint32_t dropped_field;
    const uint8_t *head; /* fields already encoded */
    size_t head_len;
    sl_str text; /* string field `text_field`, when not 0 */
    uint32_t text_field;
} sl_span_sub;

/* Appends an event or a link. False when it does not fit; nothing is left of it then. */
bool sl_span_buf_add(sl_span_buf *buf, const sl_span_sub *sub, const sl_attr *attrs, size_t attr_count,
                     const sl_attr_rules *rules);

/* Room for `more` bytes behind the contents, keeping `reserve` of the maximum free. False: none. */
bool sl_span_buf_room(sl_span_buf *buf, size_t more, size_t reserve);

/* Where the attribute `key` lies, or NULL. */
const sl_span_entry *sl_span_buf_find(const sl_span_buf *buf, sl_str key);

#endif
