/* The table of attributes.def. */
#include "src/telemetry/attributes.h"

#include "src/base/assert.h"

static const sl_attribute_def defs[] = {
#define SL_ATTRIBUTE(name, type, where, help) {name, type, where, help},
#include "src/telemetry/attributes.def"
#undef SL_ATTRIBUTE
};

const sl_attribute_def *sl_attribute_defs(size_t *ret_count)
{
    SL_ASSERT(ret_count);
    *ret_count = sizeof defs / sizeof *defs;
    return defs;
}
