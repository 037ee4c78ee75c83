/* Operations on string views. */
#include "src/base/str.h"

#include <endian.h>

#include <errno.h>
#include <locale.h>
#include <math.h>
#include <stdlib.h>

#include "src/base/assert.h"

bool sl_str_ieq(sl_str a, sl_str b)
{
    SL_ASSERT((a.ptr || !a.len) && (b.ptr || !b.len));
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++) {
        if (sl_ascii_lower(a.ptr[i]) != sl_ascii_lower(b.ptr[i]))
            return false;
    }
    return true;
}

size_t sl_str_chr(sl_str s, char c)
{
    SL_ASSERT(s.ptr || !s.len);
    const char *p = s.len ? memchr(s.ptr, c, s.len) : NULL;
    return p ? (size_t)(p - s.ptr) : SL_NPOS;
}

size_t sl_str_find(sl_str s, sl_str needle)
{
    SL_ASSERT((s.ptr || !s.len) && (needle.ptr || !needle.len));
    if (needle.len == 0)
        return 0;
    const char *p = s.len >= needle.len ? memmem(s.ptr, s.len, needle.ptr, needle.len) : NULL;
    return p ? (size_t)(p - s.ptr) : SL_NPOS;
}

sl_str sl_str_trim(sl_str s)
{
    SL_ASSERT(s.ptr || !s.len);
    while (s.len && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
        s.ptr++;
        s.len--;
    }
    while (s.len && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

bool sl_str_split(sl_str *rest, char separator, sl_str *ret_part)
{
    SL_ASSERT(rest && ret_part);
    if (!rest->ptr)
        return false;
    size_t at = sl_str_chr(*rest, separator);
    if (at == SL_NPOS) {
        *ret_part = *rest;
        *rest = sl_str_of(NULL, 0);
        return true;
    }
    *ret_part = sl_str_of(rest->ptr, at);
    *rest = sl_str_of(rest->ptr + at + 1, rest->len - at - 1);
    return true;
}

int sl_str_to_u64(sl_str s, uint64_t *ret_value)
{
    SL_ASSERT(ret_value && (s.ptr || !s.len));
    uint64_t value = 0;
    if (s.len == 0)
        return SL_EPARSE;
    for (size_t i = 0; i < s.len; i++) {
        if (s.ptr[i] < '0' || s.ptr[i] > '9')
            return SL_EPARSE;
        uint64_t digit = (uint64_t)(s.ptr[i] - '0');
        if (i >= 19 && value > (UINT64_MAX - digit) / 10) /* 19 digits always fit */
            return SL_ELIMIT;
        value = value * 10 + digit;
    }
    *ret_value = value;
    return 0;
}

int sl_str_to_i64(sl_str s, int64_t *ret_value)
{
    SL_ASSERT(ret_value && (s.ptr || !s.len));
    bool negative = s.len && s.ptr[0] == '-';
    uint64_t magnitude = 0;
    int error = sl_str_to_u64(sl_str_sub(s, negative ? 1 : 0, s.len), &magnitude);
    if (error)
        return error;
    uint64_t limit = (uint64_t)INT64_MAX + (negative ? 1 : 0);
    if (magnitude > limit)
        return SL_ELIMIT;
    *ret_value = negative ? (int64_t)(0 - magnitude) : (int64_t)magnitude;
    return 0;
}

int sl_str_to_double(sl_str s, double *ret_value)
{
    SL_ASSERT(ret_value && (s.ptr || !s.len));
    char text[64];
    if (s.len == 0 || memchr(s.ptr, 'x', s.len) || memchr(s.ptr, 'X', s.len) || !sl_str_to_c(s, text, sizeof text))
        return SL_EPARSE;
    if (!((text[0] >= '0' && text[0] <= '9') || text[0] == '-' || text[0] == '+' || text[0] == '.'))
        return SL_EPARSE;
    static locale_t c_locale;
    locale_t locale = __atomic_load_n(&c_locale, __ATOMIC_ACQUIRE);
    if (!locale) {
        locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
        locale_t expected = (locale_t)0;
        if (locale &&
            !__atomic_compare_exchange_n(&c_locale, &expected, locale, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
            freelocale(locale);
            locale = expected;
        }
    }
    char *end = NULL;
    errno = 0;
    double value = locale ? strtod_l(text, &end, locale) : strtod(text, &end);
    if (end != text + s.len || !isfinite(value))
        return SL_EPARSE;
    *ret_value = value;
    return 0;
}

bool sl_str_to_c(sl_str s, char *buffer, size_t size)
{
    SL_ASSERT(buffer && size > 0);
    size_t len = s.len < size ? s.len : size - 1;
    if (len)
        memcpy(buffer, s.ptr, len);
    buffer[len] = '\0';
    return len == s.len && (len == 0 || !memchr(buffer, '\0', len));
}

bool sl_str_eq_secret(sl_str a, sl_str b)
{
    SL_ASSERT((a.ptr || !a.len) && (b.ptr || !b.len));
    /* Walks all of `a` whatever differs; a different length is mixed in instead of returning early. */
    volatile unsigned char diff = a.len == b.len ? 0 : 1;
    for (size_t i = 0; i < a.len; i++) {
        char other = b.len ? b.ptr[i % b.len] : '\0';
        diff = (unsigned char)(diff | (unsigned char)(a.ptr[i] ^ other));
    }
    return diff == 0;
}

bool sl_str_glob(sl_str pattern, sl_str s)
{
    SL_ASSERT((pattern.ptr || !pattern.len) && (s.ptr || !s.len));
    size_t p = 0, i = 0, star = SL_NPOS, mark = 0;
    while (i < s.len) {
        if (p < pattern.len && pattern.ptr[p] == '*') {
            star = p++;
            mark = i;
        } else if (p < pattern.len && (pattern.ptr[p] == '?' || pattern.ptr[p] == s.ptr[i])) {
            p++;
            i++;
        } else if (star != SL_NPOS) {
            p = star + 1;
            i = ++mark;
        } else {
            return false;
        }
    }
    while (p < pattern.len && pattern.ptr[p] == '*')
        p++;
    return p == pattern.len;
}

size_t sl_utf8_prefix(sl_str s, size_t max)
{
    SL_ASSERT(s.ptr || !s.len);
    if (s.len <= max)
        return s.len;
    size_t len = max;
    while (len > 0 && max - len < 3 && ((unsigned char)s.ptr[len] & 0xC0) == 0x80)
        len--;
    return ((unsigned char)s.ptr[len] & 0xC0) == 0x80 ? max : len;
}

/* Bytes of a sequence with this lead byte, 0 when it is none; what its second byte may be goes to low and high. */
static size_t utf8_want(unsigned char c, unsigned char *ret_low, unsigned char *ret_high)
{
    SL_ASSERT(ret_low && ret_high);
    *ret_low = c == 0xE0 ? 0xA0 : c == 0xF0 ? 0x90 : 0x80;
    *ret_high = c == 0xED ? 0x9F : c == 0xF4 ? 0x8F : 0xBF;
    if (c < 0x80)
        return 1;
    if (c < 0xC2 || c > 0xF4)
        return 0;
    return c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
}

size_t sl_utf8_piece(sl_str s, bool *ret_valid)
{
    SL_ASSERT(ret_valid && s.ptr && s.len > 0);
    unsigned char low, high;
    size_t want = utf8_want((unsigned char)s.ptr[0], &low, &high), have = 1;
    while (have < want && have < s.len) {
        unsigned char c = (unsigned char)s.ptr[have];
        if (c < low || c > high)
            break;
        low = 0x80;
        high = 0xBF;
        have++;
    }
    *ret_valid = have == want;
    return have;
}

size_t sl_utf8_whole(sl_str s)
{
    size_t lead = s.len;
    while (lead > 0 && s.len - lead < 4 && ((unsigned char)s.ptr[lead - 1] & 0xC0) == 0x80)
        lead--;
    if (lead == 0 || (unsigned char)s.ptr[lead - 1] < 0xC0)
        return s.len;
    lead--;
    unsigned char c = (unsigned char)s.ptr[lead];
    size_t want = c >= 0xF0 ? 4 : c >= 0xE0 ? 3 : 2;
    return s.len - lead < want ? lead : s.len;
}

bool sl_utf8_valid(sl_str s)
{
    SL_ASSERT(s.ptr || !s.len);
    bool valid = true;
    for (size_t i = 0; i < s.len && valid;)
        i += (unsigned char)s.ptr[i] < 0x80 ? 1 : sl_utf8_piece(sl_str_of(s.ptr + i, s.len - i), &valid);
    return valid;
}

/* Four bytes at once: each half of a byte gets a byte of its own, of which those above 9 become letters. */
static inline void put_hex4(const uint8_t *bytes, char *text)
{
    const uint64_t each = 0x0101010101010101ull;
    uint32_t word;
    memcpy(&word, bytes, sizeof word);
    uint64_t spread = le32toh(word);
    spread = (spread | spread << 16) & 0x0000FFFF0000FFFFull;
    spread = (spread | spread << 8) & 0x00FF00FF00FF00FFull;
    uint64_t halves = (spread >> 4 & 0x000F000F000F000Full) | (spread & 0x000F000F000F000Full) << 8;
    uint64_t letters = (halves + each * 6) >> 4 & each;
    uint64_t out = htole64(halves + each * '0' + letters * ('a' - '0' - 10));
    memcpy(text, &out, sizeof out);
}

void sl_hex_encode(const uint8_t *bytes, size_t len, char *ret_text)
{
    SL_ASSERT(bytes || !len);
    static const char digits[] = "0123456789abcdef";
    size_t i = 0;
    for (; len - i >= 4; i += 4)
        put_hex4(bytes + i, ret_text + 2 * i);
    for (; i < len; i++) {
        ret_text[2 * i] = digits[bytes[i] >> 4];
        ret_text[2 * i + 1] = digits[bytes[i] & 15];
    }
}

int sl_hex_decode(sl_str text, uint8_t *ret_bytes, size_t len)
{
    SL_ASSERT((ret_bytes || !len) && (text.ptr || !text.len));
    if (text.len != 2 * len)
        return SL_EPARSE;
    for (size_t i = 0; i < text.len; i++) {
        if (sl_hex_value(text.ptr[i]) < 0)
            return SL_EPARSE;
    }
    for (size_t i = 0; i < len; i++)
        ret_bytes[i] = (uint8_t)(sl_hex_value(text.ptr[2 * i]) * 16 + sl_hex_value(text.ptr[2 * i + 1]));
    return 0;
}
