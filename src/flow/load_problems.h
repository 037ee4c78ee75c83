/*
 * The list of everything that is wrong in a workflow file: kept short, errors before warnings when it is full, sorted
 * by place at the end.
 */
#ifndef SL_FLOW_LOAD_PROBLEMS_H
#define SL_FLOW_LOAD_PROBLEMS_H

#include <stdarg.h>

#include "src/flow/model.h"

typedef enum sl_problem_level { SL_PROBLEM_ERROR = 0, SL_PROBLEM_WARNING } sl_problem_level;

/* False when a problem of this level would only be counted: its place and its text need not be worked out. */
bool sl_problems_room(const sl_flow_problems *problems, sl_problem_level level);
/*
 * Adds one. A full list counts it as left out; an error then takes the place of a warning. What a terminal would act
 * upon is shown as '?'. The same text at the same place is said once. `step` may be NULL.
 */
void sl_problems_add(sl_flow_problems *problems, sl_problem_level level, const char *step, unsigned line,
                     unsigned column, const char *format, va_list args) __attribute__((format(printf, 6, 0)));
/* By line and column; of the same place in the order they were added. */
void sl_problems_sort(sl_flow_problems *problems);

#endif
