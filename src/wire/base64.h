/* Base64 (RFC 4648, section 4). Decoding also takes the URL alphabet and missing padding, as gRPC headers come. */
#ifndef SL_WIRE_BASE64_H
#define SL_WIRE_BASE64_H

#include "src/base/buf.h"

/* Characters that `len` bytes give, padding included. */
static inline size_t sl_base64_encoded_len(size_t len)
{
    return (len + 2) / 3 * 4;
}

/* Appends the encoded text. 0 or the error of the buffer. */
int sl_base64_encode(sl_buf *buf, sl_str bytes);
/*
 * Decodes into `out` (room for text.len / 4 * 3 + 2 bytes). Padding may be missing, but not be wrong; bits that no byte
 * needs are not looked at (RFC 4648, section 3.5, allows both). SL_EPARSE on any other character or an impossible
 * length.
 */
SL_MUST_CHECK int sl_base64_decode(sl_str text, uint8_t *out, size_t *ret_len);

#endif
