/*
 * Operations on string views (sl_str). Nothing here allocates.
 */
#ifndef SL_BASE_STR_H
#define SL_BASE_STR_H

#include <sightline/base.h>

static inline bool sl_str_eq(sl_str a, sl_str b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

static inline bool sl_str_eq_c(sl_str a, const char *b)
{
    return sl_str_eq(a, sl_str_c(b));
}

static inline sl_str sl_str_sub(sl_str s, size_t from, size_t len)
{
    if (from > s.len)
        from = s.len;
    if (len > s.len - from)
        len = s.len - from;
    return sl_str_of(s.len ? s.ptr + from : s.ptr, len);
}

static inline bool sl_str_starts(sl_str s, sl_str prefix)
{
    return s.len >= prefix.len && (prefix.len == 0 || memcmp(s.ptr, prefix.ptr, prefix.len) == 0);
}

static inline bool sl_str_ends(sl_str s, sl_str suffix)
{
    return s.len >= suffix.len &&
           (suffix.len == 0 || memcmp(s.ptr + (s.len - suffix.len), suffix.ptr, suffix.len) == 0);
}

static inline char sl_ascii_lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

/* Value of a hex digit of either case, or -1. */
static inline int sl_hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = sl_ascii_lower(c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

#define SL_NPOS ((size_t)-1)

/* Equal but for the case of ASCII letters. */
bool sl_str_ieq(sl_str a, sl_str b);
/* Index of the first `c`, or SL_NPOS. */
size_t sl_str_chr(sl_str s, char c);
/* Index of the first occurrence of `needle`, or SL_NPOS; an empty needle is at 0. */
size_t sl_str_find(sl_str s, sl_str needle);
/* Without leading and trailing spaces and tabs. */
sl_str sl_str_trim(sl_str s);
/*
 * Takes the part up to `separator` off the front of `*rest`. False when the rest is used up (rest->ptr NULL).
 * "a,,b" gives "a", "", "b"; the empty string gives one empty part.
 */
bool sl_str_split(sl_str *rest, char separator, sl_str *ret_part);
/* Decimal digits only, whole view. SL_EPARSE, or SL_ELIMIT when it does not fit. */
SL_MUST_CHECK int sl_str_to_u64(sl_str s, uint64_t *ret_value);
/* Optional '-', digits. */
SL_MUST_CHECK int sl_str_to_i64(sl_str s, int64_t *ret_value);
/* A finite decimal floating point number, whole view, C locale. */
SL_MUST_CHECK int sl_str_to_double(sl_str s, double *ret_value);
/* Copies at most size-1 bytes and a NUL into `buffer`; true when all of it fitted. */
bool sl_str_to_c(sl_str s, char *buffer, size_t size);
/* Equal in time that depends on the lengths alone (secrets). */
bool sl_str_eq_secret(sl_str a, sl_str b);
/* Matches '*' (any run) and '?' (one character). */
bool sl_str_glob(sl_str pattern, sl_str s);
/* Length of the longest prefix of at most `max` bytes that does not cut a UTF-8 sequence; `max` in ill-formed text. */
size_t sl_utf8_prefix(sl_str s, size_t max);
/* Length without a UTF-8 sequence that is cut at the end: of a text that somebody else has shortened by bytes. */
size_t sl_utf8_whole(sl_str s);
/*
 * Length of what stands at the front of a text that is not empty: a character, or (`*ret_valid` false) a maximal
 * ill-formed piece, for which one U+FFFD is written (Unicode 15, table 3-7 and section 3.9).
 */
size_t sl_utf8_piece(sl_str s, bool *ret_valid);
/* True when the bytes are well-formed UTF-8. */
bool sl_utf8_valid(sl_str s);
/* Lower-case hex of `len` bytes: 2*len characters, no NUL. */
void sl_hex_encode(const uint8_t *bytes, size_t len, char *ret_text);
/* The reverse, either case; SL_EPARSE unless text is exactly 2*len hex digits. */
SL_MUST_CHECK int sl_hex_decode(sl_str text, uint8_t *ret_bytes, size_t len);

#endif
