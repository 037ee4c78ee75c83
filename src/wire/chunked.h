/*
 * The chunked transfer coding: strict incremental decoder, and the frame of an encoder.
 *
 * Promises: what is accepted has one reading. Refused are junk or white space around a size, a missing size, sizes
 * over 2^63-1 or of more than 16 digits, bare LF or CR, a chunk without its final CRLF, control bytes, folded or
 * malformed trailer fields. Well-formed chunk extensions (`;name`, `;name=token`, `;name="text"`, no white space) are
 * skipped, as RFC 9112 section 7.1.1 demands; a line is at most SL_MAX_CHUNK_LINE bytes, all extensions of a body
 * together SL_MAX_TRAILER_BYTES. Trailer fields are checked, bounded by SL_MAX_TRAILER_BYTES, and dropped.
 * Does not: allocate, or copy: data comes as views of what was fed.
 *
 * Two ways to use it. Decode: loop over sl_chunked_next. Relay raw: feed the same loop, ignore the data, and forward
 * the consumed bytes as they are; the decoder tells where the body ends and that it was sound (has_extensions says
 * whether a relay would pass extensions on).
 */
#ifndef SL_WIRE_CHUNKED_H
#define SL_WIRE_CHUNKED_H

#include "src/base/limits.h"
#include "src/base/str.h"

/* sl_chunked_next: the body is complete. */
#define SL_CHUNKED_END 1

typedef struct sl_chunked {
    int state;
    int digits;             /* of the size being read; of an extension's name or value its bytes */
    uint64_t left;          /* bytes of the current chunk that are still to come; the size while it is read */
    size_t line_bytes;      /* of the size line or the trailer line being read */
    size_t extension_bytes; /* of all size lines */
    size_t trailer_bytes;   /* of all trailer lines */
    bool has_extensions;
    bool has_trailers;
    const char *reason; /* why it was refused; static; NULL when sound */
} sl_chunked;

/* Ready for the first byte of a body. */
void sl_chunked_init(sl_chunked *chunked);

/*
 * Takes the next piece off the front of `*bytes`.
 * Returns 0: `*ret_data` is a span of decoded bytes (not empty, within `*bytes` as passed), call again;
 * SL_EMORE: all of `*bytes` was consumed and the body goes on;
 * SL_CHUNKED_END: the body is complete, `*bytes` is what follows it; also on every later call, consuming nothing.
 * Errors: SL_EPARSE, SL_ELIMIT (line, trailer or size over its bound): chunked->reason says why; `*bytes` begins at the
 * offending byte; every later call fails with SL_EPARSE.
 */
SL_MUST_CHECK int sl_chunked_next(sl_chunked *chunked, sl_str *bytes, sl_str *ret_data);

/*
 * Consumes without yielding data: for relaying. Returns SL_EMORE, SL_CHUNKED_END or an error as above, with
 * `*ret_consumed` raw bytes that belong to this body (set in every case) and `*ret_data_bytes` decoded bytes among them
 * (may be NULL).
 */
SL_MUST_CHECK int sl_chunked_skip(sl_chunked *chunked, sl_str bytes, size_t *ret_consumed, uint64_t *ret_data_bytes);

/* True when the last chunk and its trailers were read. */
bool sl_chunked_is_done(const sl_chunked *chunked);

/* Longest size line that sl_chunked_header writes, without NUL. */
#define SL_CHUNKED_HEADER_MAX 18

/* What ends each chunk's data, and what ends a body. */
#define SL_CHUNKED_CRLF "\r\n"
#define SL_CHUNKED_LAST "0\r\n\r\n"

/* Writes the size line (hex, CRLF) of a chunk of `size` > 0 bytes; returns its length. The data and a CRLF follow. */
size_t sl_chunked_header(uint64_t size, char ret_text[SL_CHUNKED_HEADER_MAX]);

#endif
