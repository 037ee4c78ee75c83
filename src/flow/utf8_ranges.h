/*
 * Ranges of characters as ranges of bytes, for a matcher that walks over bytes.
 *
 * [from, to] becomes a few sequences of byte sets; together they match exactly the UTF-8 forms of the characters in it.
 */
#ifndef SL_FLOW_UTF8_RANGES_H
#define SL_FLOW_UTF8_RANGES_H

#include "src/base/str.h"

#define SL_UTF8_LAST 0x10FFFFu
#define SL_UTF8_SEQUENCES 24 /* that one range can become, at the most */

/* `len` bytes, each from `low` to `high`. */
typedef struct sl_utf8_sequence {
    uint8_t len;
    uint8_t low[4];
    uint8_t high[4];
} sl_utf8_sequence;

/* How many there are, in order. The surrogates' places are taken for characters: no text has them. */
size_t sl_utf8_ranges(uint32_t from, uint32_t to, sl_utf8_sequence ret_sequences[SL_UTF8_SEQUENCES]);
/* The character at the front of `s`, and how many bytes it takes; 0 when it is ill-formed or `s` is empty. */
size_t sl_utf8_decode(sl_str s, uint32_t *ret_character);
/* Writes a character; returns how many bytes it takes. */
size_t sl_utf8_encode(uint32_t character, uint8_t ret_bytes[4]);

#endif
