/*
 * Ids of messages: UUIDs of version 7 (RFC 9562, section 5.7) whose last 62 bits are the message's row number, so that
 * an id is found without an index of texts.
 */
#ifndef SL_QUEUE_ID_H
#define SL_QUEUE_ID_H

#include "src/queue/queue.h"

#define SL_QUEUE_ROW_MASK ((UINT64_C(1) << 62) - 1)

/* The first half: 48 bits of milliseconds, the version, 12 random bits. */
static inline uint64_t sl_queue_id_head(uint64_t unix_ms, uint64_t random)
{
    return (unix_ms << 16) | 0x7000u | (random & 0xFFFu);
}

/* Writes the text of an id, and a NUL. */
void sl_queue_id_format(uint64_t head, uint64_t row, char ret_text[SL_QUEUE_ID_BYTES]);
/* Reads one; SL_EPARSE for anything that sl_queue_id_format would not write (either case of hex digits). */
SL_MUST_CHECK int sl_queue_id_parse(sl_str text, uint64_t *ret_head, uint64_t *ret_row);

#endif
