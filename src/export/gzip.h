/* gzip in memory, by zlib. */
#ifndef SL_EXPORT_GZIP_H
#define SL_EXPORT_GZIP_H

#include "src/base/buf.h"

/* Appends `bytes` compressed to `out`. Errors: SL_ENOMEM, SL_ELIMIT. */
SL_MUST_CHECK int sl_gzip_pack(sl_str bytes, sl_buf *out);
/* Appends `bytes` decompressed to `out`, at most its maximum. Errors: SL_EPARSE, SL_ENOMEM, SL_ELIMIT. */
SL_MUST_CHECK int sl_gzip_unpack(sl_str bytes, sl_buf *out);

#endif
