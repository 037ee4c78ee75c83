/*
 * What is wrong in a text that people write (workflow file, template, expression), and where.
 */
#ifndef SL_FLOW_FAULT_H
#define SL_FLOW_FAULT_H

#include <stdarg.h>

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

/* A walk through a text that knows the line and column it has come to. Zero but for `text`: at its beginning. */
typedef struct sl_text_place {
    sl_str text;
    size_t at;         /* where line and column are of */
    size_t line_start; /* of that line */
    unsigned lines;    /* before it */
} sl_text_place;

/* Line and column of the offset `at` (its end, when it is behind that), both from 1. Cheap when offsets grow. */
void sl_text_place_find(sl_text_place *place, size_t at, unsigned *ret_line, unsigned *ret_column);
/* Fills `fault`, which may be NULL, with what is wrong there. Returns SL_EPARSE. */
int sl_text_place_fail(sl_text_place *place, sl_flow_fault *fault, size_t at, const char *format, va_list args)
    __attribute__((format(printf, 4, 0)));

/*
 * Messages quote the texts of others and cut them by bytes; ill-formed UTF-8 would fit in no JSON. Writes '?' over what
 * is ill-formed, leaves out a sequence that is cut at the end, and returns the length.
 */
size_t sl_flow_mend(char *text);

#endif
