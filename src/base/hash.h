/* Hashing of short strings for tables in memory. Not for input that an attacker chooses to collide: tables are bounded.
 */
#ifndef SL_BASE_HASH_H
#define SL_BASE_HASH_H

#include <sightline/base.h>

/* Mixes eight bytes at a time; fast for the 5 to 40 bytes of attribute keys. */
static inline uint64_t sl_hash_bytes(const void *data, size_t len, uint64_t seed)
{
    const unsigned char *p = (const unsigned char *)data;
    uint64_t h = seed ^ (len * 0x9E3779B97F4A7C15ull);
    while (len >= 8) {
        uint64_t word;
        memcpy(&word, p, 8);
        h = (h ^ word) * 0xFF51AFD7ED558CCDull;
        h ^= h >> 32;
        p += 8;
        len -= 8;
    }
    uint64_t tail = 0;
    if (len)
        memcpy(&tail, p, len);
    h = (h ^ tail) * 0xC4CEB9FE1A85EC53ull;
    h = (h ^ (h >> 32)) * 0xFF51AFD7ED558CCDull; /* tables go by the low bits: the last bytes must reach them */
    return h ^ (h >> 29);
}

static inline uint64_t sl_hash_str(sl_str s)
{
    return sl_hash_bytes(s.ptr, s.len, 0);
}

#endif
