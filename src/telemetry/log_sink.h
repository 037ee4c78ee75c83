/*
 * The log sink: an exporter that writes log lines to a descriptor or a file.
 *
 * Lines are written whole: one write() holds whole lines where the descriptor takes them, and what a full pipe did not
 * take is finished before anything else is written. A reader that never reads costs a bounded wait, then the batch
 * counts as lost; a line once begun is still finished later.
 */
#ifndef SL_TELEMETRY_LOG_SINK_H
#define SL_TELEMETRY_LOG_SINK_H

#include <sightline/sdk.h>

#include "src/telemetry/log_line.h"

typedef struct sl_log_sink sl_log_sink;

/*
 * A sink for an open descriptor (2: standard error), which it does not close. Errors: SL_ENOMEM, SL_EINVAL.
 * The exporter owns the sink: its free() ends it.
 */
SL_MUST_CHECK int sl_log_sink_new(int fd, sl_log_format format, sl_exporter *ret_exporter);

/* A sink for a file that is appended to and made when it is not there (mode 0640). Errors: SL_ENOMEM, SL_EIO. */
SL_MUST_CHECK int sl_log_sink_open(const char *path, sl_log_format format, sl_exporter *ret_exporter);

/* Opens the file again at the next batch (after rotation). Nothing happens with a descriptor. Any thread, signal safe.
 */
void sl_log_sink_reopen(sl_exporter *exporter);

/* Lines written, and lines lost to a descriptor that took nothing. Any thread. */
void sl_log_sink_stats(const sl_exporter *exporter, uint64_t *ret_written, uint64_t *ret_lost);

#endif
