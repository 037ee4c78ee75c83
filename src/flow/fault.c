/*
 * Filling in a fault: one place that writes its text.
 */
#include "src/flow/fault.h"

#include <stdarg.h>
#include <stdio.h>

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
}
