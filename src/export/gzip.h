/* gzip in memory, by zlib. */
#ifndef SL_EXPORT_GZIP_H
#define SL_EXPORT_GZIP_H

#include "src/base/buf.h"

/* Appends `bytes` compressed to `out`. Errors: SL_ENOMEM, SL_ELIMIT; `out` is then as it was. */
SL_MUST_CHECK int sl_gzip_pack(sl_str bytes, sl_buf *out);
/*
 * Appends `bytes` decompressed to `out`, which may be filled to its maximum. Several members are one text (RFC 1952);
 * anything else behind a member is a fault. Errors: SL_EPARSE, SL_ENOMEM, SL_ELIMIT; `out` is then as it was.
 */
SL_MUST_CHECK int sl_gzip_unpack(sl_str bytes, sl_buf *out);

#endif
