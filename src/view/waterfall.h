/*
 * Traces for a terminal: a table of traces, and one trace as a waterfall. Reads the JSON that the admin listener
 * serves (live.h); no I/O, no terminal control beyond colours.
 */
#ifndef SL_VIEW_WATERFALL_H
#define SL_VIEW_WATERFALL_H

#include "src/base/buf.h"

typedef struct sl_waterfall_options {
    unsigned width; /* columns; 0: 100; at least 40 */
    bool color;
    bool ascii; /* no characters beyond ASCII */
} sl_waterfall_options;

/* Colours, width and character set as the terminal `fd` and the environment (NO_COLOR, COLUMNS, LANG) say. */
void sl_waterfall_options_for(int fd, sl_waterfall_options *ret_options);

/* Appends one trace as a waterfall. `options` may be NULL. Errors: SL_EPARSE (not such JSON), SL_ENOMEM, SL_ELIMIT. */
SL_MUST_CHECK int sl_waterfall_trace(sl_str json, const sl_waterfall_options *options, sl_buf *out);

/* Appends the table of a list of traces. Errors as above. */
SL_MUST_CHECK int sl_waterfall_list(sl_str json, const sl_waterfall_options *options, sl_buf *out);

#endif
