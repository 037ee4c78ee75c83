/*
 * What is wrong in a text that people write (workflow file, template, expression), and where.
 */
#ifndef SL_FLOW_FAULT_H
#define SL_FLOW_FAULT_H

#include "src/base/str.h"

#define SL_FLOW_FAULT_BYTES 240

/* Line and column count from 1, columns in bytes; 0: nowhere in particular. The message reads "what: why; remedy". */
typedef struct sl_flow_fault {
    unsigned line;
    unsigned column;
    char message[SL_FLOW_FAULT_BYTES];
} sl_flow_fault;

/* Fills `fault`, which may be NULL. */
void sl_flow_fault_set(sl_flow_fault *fault, unsigned line, unsigned column, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/*
 * Messages quote the texts of others and cut them by bytes; ill-formed UTF-8 would fit in no JSON. Writes '?' over what
 * is ill-formed, leaves out a sequence that is cut at the end, and returns the length.
 */
size_t sl_flow_mend(char *text);

#endif
