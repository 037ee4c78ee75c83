/*
 * Setting an attribute in few instructions: what span_buf.c and its users in the gateway share. For a key that is a
 * literal the compiler works out hash and bytes, and only the value is left to be done.
 *
 * Promises: the span is what sl_span_buf_set_str and sl_span_buf_set_int would have made of it.
 */
#ifndef SL_TELEMETRY_SPAN_LITERAL_H
#define SL_TELEMETRY_SPAN_LITERAL_H

#include "src/telemetry/span_buf.h"
#include "src/wire/pb.h"

#define SL_SPAN_SHORT 120      /* longest key or text of the fast ways */
#define SL_SPAN_SHORT_FRAME 8  /* bytes around key and text, inside the KeyValue */
#define SL_SPAN_SHORT_ROOM 136 /* for the whole field */
#define SL_SPAN_SHORT_KEY_AT 4

/* First, middle and last bytes tell keys apart well enough; equal hashes are compared in full. */
static inline __attribute__((always_inline)) uint32_t sl_span_key_hash(sl_str key)
{
    SL_ASSERT(key.ptr || !key.len);
    uint64_t a = 0, b = 0, c = 0;
    if (key.len >= 8) {
        memcpy(&a, key.ptr, 8);
        memcpy(&b, key.ptr + key.len / 2 - 4, 8);
        memcpy(&c, key.ptr + key.len - 8, 8);
    } else if (key.len >= 4) {
        uint32_t first, last;
        memcpy(&first, key.ptr, 4);
        memcpy(&last, key.ptr + key.len - 4, 4);
        a = first;
        c = last;
    } else {
        a = (uint64_t)(uint8_t)key.ptr[0] | (uint64_t)(uint8_t)key.ptr[key.len / 2] << 8 |
            (uint64_t)(uint8_t)key.ptr[key.len - 1] << 16;
    }
    uint64_t h = (a * 0xFF51AFD7ED558CCDull) ^ (b * 0xC4CEB9FE1A85EC53ull) ^ ((c + key.len) * 0xD6E8FEB86659FD93ull);
    return (uint32_t)(h ^ h >> 32);
}

/* The lowest bits of a product know little of the key. */
static inline bool sl_span_was_seen(const sl_span_seen *seen, uint32_t hash)
{
    return seen->words[hash >> 14 & 3] >> (hash >> 8 & 63) & 1;
}

static inline void sl_span_see(sl_span_seen *seen, uint32_t hash)
{
    seen->words[hash >> 14 & 3] |= (uint64_t)1 << (hash >> 8 & 63);
}

/* Copies and returns the high bits of all bytes: 0 means ASCII. A call of memcpy costs more for a short text. */
static inline uint64_t sl_span_copy_text(uint8_t *to, const char *from, size_t len)
{
    SL_ASSERT(from || !len);
    uint64_t all = 0, word;
    if (len >= 8) {
        size_t i = 0;
        for (; i + 8 <= len; i += 8) {
            memcpy(&word, from + i, 8);
            memcpy(to + i, &word, 8);
            all |= word;
        }
        memcpy(&word, from + len - 8, 8);
        memcpy(to + len - 8, &word, 8);
        all |= word;
    } else if (len >= 4) {
        uint32_t first, last;
        memcpy(&first, from, 4);
        memcpy(&last, from + len - 4, 4);
        memcpy(to, &first, 4);
        memcpy(to + len - 4, &last, 4);
        all = first | last;
    } else {
        for (size_t i = 0; i < len; i++) {
            to[i] = (uint8_t)from[i];
            all |= (uint8_t)from[i];
        }
    }
    return all & 0x8080808080808080ull;
}

/* True when the fast ways may be taken: an allowed key, room, nothing at its limit, all lengths of one byte. */
static inline bool sl_span_fast_ok(const sl_span_buf *buf, sl_str key, size_t value_len, const sl_attr_rules *rules)
{
    return SL_LIKELY(key.len - 1 < SL_SPAN_SHORT && value_len < SL_SPAN_SHORT &&
                     key.len + value_len + SL_SPAN_SHORT_FRAME < 128 && buf->len + SL_SPAN_SHORT_ROOM <= buf->soft &&
                     buf->count < rules->count && buf->count < buf->entries_cap);
}

/* Takes the KeyValue behind the contents, up to `end`, into them and into the index. Its key is new. */
static inline void sl_span_take_new(sl_span_buf *buf, size_t key_len, uint32_t hash, const uint8_t *end)
{
    SL_ASSERT(buf && buf->count < buf->entries_cap);
    uint32_t start = buf->len;
    buf->len = (uint32_t)(end - buf->data);
    buf->entries[buf->count++] = (sl_span_entry){hash, start, buf->len - start, SL_SPAN_SHORT_KEY_AT, (uint8_t)key_len};
    sl_span_see(&buf->seen, hash);
}

/* `key` is a literal of ASCII. Otherwise as sl_span_buf_set_int. */
static inline __attribute__((always_inline)) unsigned sl_span_literal_int(sl_span_buf *buf, sl_str key, int64_t number,
                                                                          const sl_attr_rules *rules)
{
    const uint32_t hash = sl_span_key_hash(key);
    if (SL_UNLIKELY(sl_span_was_seen(&buf->seen, hash) || !sl_span_fast_ok(buf, key, SL_PB_MAX_VARINT, rules)))
        return sl_span_buf_set_int(buf, key, number, rules);
    uint8_t *start = buf->data + buf->len;
    uint8_t *middle = start + SL_SPAN_SHORT_KEY_AT + key.len;
    uint8_t *end = sl_pb_raw_varint(middle + 3, (uint64_t)number);
    const uint8_t head[SL_SPAN_SHORT_KEY_AT] = {0x4A, (uint8_t)(end - start - 2), 0x0A, (uint8_t)key.len};
    memcpy(start, head, sizeof head);
    memcpy(start + sizeof head, key.ptr, key.len);
    middle[0] = 0x12;
    middle[1] = (uint8_t)(end - middle - 2);
    middle[2] = 0x18;
    sl_span_take_new(buf, key.len, hash, end);
    return 0;
}

/* `key` is a literal of ASCII. Otherwise as sl_span_buf_set_str. */
static inline __attribute__((always_inline)) unsigned sl_span_literal_str(sl_span_buf *buf, sl_str key, sl_str text,
                                                                          const sl_attr_rules *rules)
{
    const uint32_t hash = sl_span_key_hash(key);
    if (SL_UNLIKELY(sl_span_was_seen(&buf->seen, hash) || !sl_span_fast_ok(buf, key, text.len, rules) ||
                    (rules->value_chars && text.len > rules->value_chars)))
        return sl_span_buf_set_str(buf, key, text, rules);
    uint8_t *at = buf->data + buf->len;
    const uint8_t head[SL_SPAN_SHORT_KEY_AT] = {0x4A, (uint8_t)(key.len + text.len + 6), 0x0A, (uint8_t)key.len};
    const uint8_t middle[4] = {0x12, (uint8_t)(text.len + 2), 0x0A, (uint8_t)text.len};
    memcpy(at, head, sizeof head);
    memcpy(at + sizeof head, key.ptr, key.len);
    at += sizeof head + key.len;
    memcpy(at, middle, sizeof middle);
    if (SL_UNLIKELY(sl_span_copy_text(at + sizeof middle, text.ptr, text.len) != 0))
        return sl_span_buf_set_str(buf, key, text, rules);
    sl_span_take_new(buf, key.len, hash, at + sizeof middle + text.len);
    return 0;
}

#endif
