/* Text for terminals: columns, clipping, durations, colours. What a trace says never reaches the terminal as control.
 */
#ifndef SL_VIEW_WATERFALL_TEXT_H
#define SL_VIEW_WATERFALL_TEXT_H

#include "src/view/waterfall.h"

/* Colours as indices of the ANSI palette. */
typedef enum sl_ink {
    SL_INK_NONE = 0,
    SL_INK_DIM,
    SL_INK_BOLD,
    SL_INK_ERROR,
    SL_INK_SERVICE /* and the following SL_INK_SERVICES - 1 */
} sl_ink;
#define SL_INK_SERVICES 6

/* Columns that a text takes once it is made printable. */
size_t sl_text_columns(sl_str text, bool ascii);
/*
 * Appends a text in exactly `columns` columns: clipped with an ellipsis, or padded with spaces (`pad`). Control
 * characters and bytes that are no UTF-8 become '?', with `ascii` all beyond ASCII.
 */
void sl_text_put(sl_buf *out, sl_str text, size_t columns, bool pad, bool ascii);
/* Appends `count` times `piece`. */
void sl_text_repeat(sl_buf *out, const char *piece, size_t count);
/* Switches a colour on and off; nothing without colours. */
void sl_text_ink(sl_buf *out, const sl_waterfall_options *options, unsigned ink);
void sl_text_plain(sl_buf *out, const sl_waterfall_options *options, unsigned ink);

#define SL_DURATION_SIZE 16
/* "850 ns", "12.3 us", "4.56 ms", "1.23 s", "2m 05s", "3h 07m". */
void sl_text_duration(uint64_t ns, char ret_text[SL_DURATION_SIZE]);

#endif
