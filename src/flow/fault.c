/*
 * Filling in a fault: one place that writes its text; where in a text it is; texts that JSON can hold.
 */
#include "src/flow/fault.h"

#include <stdio.h>

#include "src/base/assert.h"

static void fill(sl_flow_fault *fault, unsigned line, unsigned column, const char *format, va_list args)
{
    if (!fault)
        return;
    fault->line = line;
    fault->column = column;
    (void)vsnprintf(fault->message, sizeof(fault->message), format, args);
    (void)sl_flow_mend(fault->message);
}

void sl_flow_fault_set(sl_flow_fault *fault, unsigned line, unsigned column, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fill(fault, line, column, format, args);
    va_end(args);
}

void sl_text_place_find(sl_text_place *place, size_t at, unsigned *ret_line, unsigned *ret_column)
{
    SL_ASSERT(place && ret_line && ret_column);
    if (at > place->text.len)
        at = place->text.len;
    if (at < place->line_start)
        place->at = place->line_start = place->lines = 0;
    for (; place->at < at; place->at++)
        if (place->text.ptr[place->at] == '\n') {
            place->lines++;
            place->line_start = place->at + 1;
        }
    *ret_line = place->lines + 1;
    *ret_column = (unsigned)(at - place->line_start) + 1;
}

int sl_text_place_fail(sl_text_place *place, sl_flow_fault *fault, size_t at, const char *format, va_list args)
{
    unsigned line, column;
    sl_text_place_find(place, at, &line, &column);
    fill(fault, line, column, format, args);
    return SL_EPARSE;
}

size_t sl_flow_mend(char *text)
{
    SL_ASSERT(text);
    size_t len = sl_utf8_whole(sl_str_c(text)), piece;
    bool valid;
    for (size_t at = 0; at < len; at += piece) {
        piece = sl_utf8_piece(sl_str_of(text + at, len - at), &valid);
        if (!valid)
            memset(text + at, '?', piece);
    }
    text[len] = 0;
    return len;
}
