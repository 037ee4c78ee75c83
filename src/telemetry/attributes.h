/* The table of span attributes (attributes.def), for the reference and for tests. */
#ifndef SL_TELEMETRY_ATTRIBUTES_H
#define SL_TELEMETRY_ATTRIBUTES_H

#include <stddef.h>

typedef struct sl_attribute_def {
    const char *name;
    const char *type;
    const char *where; /* words: server client log producer consumer */
    const char *help;
} sl_attribute_def;

/* The whole table, in order. Static. */
const sl_attribute_def *sl_attribute_defs(size_t *ret_count);

#endif
