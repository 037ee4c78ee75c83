/*
 * Values of jansson as JSON text: compact, members in their order, and numbers as short as they can be: 0.1 is 0.1, not
 * 0.10000000000000001 as jansson writes it; what is read back is the same double.
 */
#ifndef SL_LLM_JSON_TEXT_H
#define SL_LLM_JSON_TEXT_H

#include <jansson.h>

#include "src/base/buf.h"

/* Appends any value; NULL is null. Errors: SL_ETOOBIG (nested too deep), and those of the buffer, which remembers them.
 */
int sl_json_put_value(sl_buf *out, const json_t *value);
/* The text of any value, to be freed by free() as that of json_dumps; NULL: no memory, nested too deep, or no value. */
char *sl_json_text(const json_t *value);
/* As json_loadb; NULL also when memory ran out on the way, where that leaves characters out. `error` may be NULL. */
json_t *sl_json_load(sl_str text, size_t flags, json_error_t *error);
/* As json_copy; NULL also when memory ran out on the way, where that leaves members out. */
json_t *sl_json_copy(json_t *value);

#endif
