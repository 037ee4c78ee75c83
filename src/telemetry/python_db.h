/*
 * The metric files of Python's prometheus_client in multiprocess mode (PROMETHEUS_MULTIPROC_DIR, `*.db`), merged and
 * written as Prometheus text: so a real LiteLLM's workers can be served from here.
 *
 * Format of a file: int32 bytes used, int32 padding; then entries of int32 key length, the key (JSON
 * `["family","sample",{labels},"help"]`) padded with spaces so that the value is 8-aligned, float64 value, float64
 * time. The file's name gives type and process: counter_PID.db, histogram_PID.db, summary_PID.db, gauge_MODE_PID.db.
 * Merging follows prometheus_client's MultiProcessCollector. Files are read while their owners write: an entry is taken
 * as it stands. Entries whose names the text formats cannot have bare (UTF-8 names) are left out.
 */
#ifndef SL_TELEMETRY_PYTHON_DB_H
#define SL_TELEMETRY_PYTHON_DB_H

#include <sightline/metrics.h>

#include "src/base/buf.h"

#define SL_MAX_PYTHON_FILES 10000
#define SL_MAX_PYTHON_FILE_BYTES (64u * 1024 * 1024)
#define SL_MAX_PYTHON_SAMPLES 200000
#define SL_MAX_PYTHON_KEY_BYTES (64u * 1024) /* of one entry; a longer one is left out */
#define SL_MAX_PYTHON_MERGE_BYTES                                                                                      \
    (128u * 1024 * 1024) /* all samples of a merge, however many entries they come from                                \
                          */

/* An accumulating merge. */
typedef struct sl_python_merge sl_python_merge;

/* NULL without memory. */
sl_python_merge *sl_python_merge_new(void);
void sl_python_merge_free(sl_python_merge *merge);
/*
 * Adds the contents of one file; `name` is its file name. Entries that cannot be read are left out.
 * Errors: SL_EINVAL (not such a name), SL_ENOMEM, SL_ELIMIT.
 */
SL_MUST_CHECK int sl_python_merge_add(sl_python_merge *merge, sl_str name, sl_str bytes);
/* Appends everything as text, families by name. Errors: SL_ENOMEM, SL_ELIMIT. */
SL_MUST_CHECK int sl_python_merge_write(sl_python_merge *merge, sl_prometheus_format format, sl_buf *out);

/* All `*.db` files of a folder, merged and appended. Nothing when there are none. Errors: SL_EIO, SL_ENOMEM, SL_ELIMIT.
 */
SL_MUST_CHECK int sl_python_db_write(const char *folder, sl_prometheus_format format, sl_buf *out);

#endif
