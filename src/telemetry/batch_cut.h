/*
 * Cutting an oversized span or log record: long texts in it are shortened, head and tail kept, a note of the number of
 * bytes left out in between. Ids, times, names of attributes and all numbers stay.
 */
#ifndef SL_TELEMETRY_BATCH_CUT_H
#define SL_TELEMETRY_BATCH_CUT_H

#include <sightline/sdk.h>

#include "src/base/buf.h"

/*
 * Appends `item` (an encoded Span or LogRecord) cut to at most `max` bytes to `out`. Errors: SL_ETOOBIG (too large even
 * with every text cut to 64 bytes), SL_EPARSE (not such a message), SL_ENOMEM, SL_ELIMIT.
 */
SL_MUST_CHECK int sl_batch_cut(sl_signal signal, sl_str item, size_t max, sl_buf *out);

#endif
