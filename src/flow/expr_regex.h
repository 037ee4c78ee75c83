/*
 * Regular expressions: POSIX extended ones without back references, with \d \w \s, matched in time that is linear in
 * the text times the pattern whatever the pattern is.
 */
#ifndef SL_FLOW_EXPR_REGEX_H
#define SL_FLOW_EXPR_REGEX_H

#include "src/flow/expr_value.h"

typedef struct sl_regex sl_regex;

/* Errors: SL_EINVAL (with the fault of `work`), SL_ETOOBIG, SL_ENOMEM. Ownership: sl_regex_free. */
SL_MUST_CHECK int sl_regex_new(sl_flow_work *work, sl_str pattern, sl_regex **ret_regex);
void sl_regex_free(sl_regex *regex);
/*
 * Leftmost and longest match at or behind `from`; `*ret_start` is SL_NPOS when there is none. Errors: SL_ETOOBIG
 * (work), SL_ENOMEM.
 */
SL_MUST_CHECK int sl_regex_find(const sl_regex *regex, sl_flow_work *work, sl_str text, size_t from, size_t *ret_start,
                                size_t *ret_end);

#endif
