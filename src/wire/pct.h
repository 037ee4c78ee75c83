/*
 * Percent-encoding (RFC 3986, section 2.1) and the repair of UTF-8 that arrived broken.
 * Decoding never fails: a '%' that is not followed by two hex digits stands for itself.
 */
#ifndef SL_WIRE_PCT_H
#define SL_WIRE_PCT_H

#include "src/base/buf.h"

/* True for a byte that stays as it is. */
typedef bool (*sl_pct_keep_fn)(unsigned char c);

/* Letters, digits, '-', '.', '_', '~' (RFC 3986: unreserved). */
bool sl_pct_unreserved(unsigned char c);
/* What a W3C baggage value may hold as it is: baggage-octet without '%'. */
bool sl_pct_baggage(unsigned char c);

/* Decodes into `out`, which has room for text.len bytes and may be the text itself; the length written. */
size_t sl_pct_decode(sl_str text, char *out);
/* Length of the encoded text. */
size_t sl_pct_encoded_len(sl_str text, sl_pct_keep_fn keep);
/* Encodes into `out`, which has room for it; the length written. */
size_t sl_pct_encode(sl_str text, sl_pct_keep_fn keep, char *out);
int sl_pct_buf_encode(sl_buf *buf, sl_str text, sl_pct_keep_fn keep);

/*
 * Replaces each maximal ill-formed sequence by U+FFFD (Unicode 15, section 3.9, the practice that W3C recommends).
 * Returns the length of the result; writes it to `out` unless that is NULL. At most three times as long as the text.
 */
size_t sl_utf8_repair(sl_str text, char *out);

#endif
