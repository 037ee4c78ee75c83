/*
 * Filling in a fault: one place that writes its text; texts that JSON can hold.
 */
#include "src/flow/fault.h"

#include <stdarg.h>
#include <stdio.h>

#include "src/base/assert.h"

void sl_flow_fault_set(sl_flow_fault *fault, unsigned line, unsigned column, const char *format, ...)
{
    va_list args;

    if (!fault)
        return;
    fault->line = line;
    fault->column = column;
    va_start(args, format);
    (void)vsnprintf(fault->message, sizeof(fault->message), format, args);
    va_end(args);
    (void)sl_flow_mend(fault->message);
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
