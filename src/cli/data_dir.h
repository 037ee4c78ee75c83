/* The data folder: made when absent, marked with a format version that newer code migrates and older code refuses. */
#ifndef SL_CLI_DATA_DIR_H
#define SL_CLI_DATA_DIR_H

#include "src/base/str.h"

#define SL_DATA_FORMAT 1u
#define SL_DATA_PATH_MAX 4096

/*
 * Opens the folder. `given` empty: $XDG_STATE_HOME/sightline, else ~/.local/state/sightline.
 * Effect: `ret_path` is the folder. On failure `reason` (256 bytes) is "what: why; remedy".
 * Errors: SL_EIO, SL_ECONFIG (made by a newer version), SL_ELIMIT.
 */
SL_MUST_CHECK int sl_data_dir_open(sl_str given, char ret_path[SL_DATA_PATH_MAX], char reason[256]);

#endif
