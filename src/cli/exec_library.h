/* Where the library lies that `sightline exec` has loaded into programs: libsightline-llama.so. */
#ifndef SL_CLI_EXEC_LIBRARY_H
#define SL_CLI_EXEC_LIBRARY_H

#include "src/base/buf.h"

#define SL_EXEC_PATH_MAX 4096
#define SL_EXEC_LIBRARY_ENV "SIGHTLINE_PROBE_LIBRARY"
#define SL_EXEC_LIBRARY_NAME "libsightline-llama.so"

/*
 * Finds it: SIGHTLINE_PROBE_LIBRARY, beside this program, in ../lib of it, and where it was installed to. The path is
 * absolute. On failure `tried` (emptied first) lists where it was looked for, separated by commas. Errors: SL_ENOENT.
 */
SL_MUST_CHECK int sl_exec_library_find(char ret_path[SL_EXEC_PATH_MAX], sl_buf *tried);

/*
 * A value for LD_PRELOAD: the library before what is there already (`existing` may be NULL), without naming it twice.
 * Errors: SL_ETOOBIG.
 */
SL_MUST_CHECK int sl_exec_library_preload(const char *library, const char *existing, sl_buf *out);

#endif
