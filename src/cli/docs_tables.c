/* The tables of docs_*.def. */
#include "src/cli/docs_tables.h"

#include "src/base/assert.h"
#include "src/base/limits.h"

static const sl_config_doc config_docs[] = {
#define SL_CONFIG_DOC(section, key, fallback, help) {section, key, fallback, help},
#include "src/cli/docs_config.def"
#undef SL_CONFIG_DOC
};

static const sl_limit_doc limit_docs[] = {
#define SL_LIMIT_DOC(name, unit, help) {#name, name, unit, help},
#include "src/cli/docs_limits.def"
#undef SL_LIMIT_DOC
};

const sl_config_doc *sl_config_docs(size_t *ret_count)
{
    SL_ASSERT(ret_count);
    *ret_count = sizeof config_docs / sizeof *config_docs;
    return config_docs;
}

const sl_limit_doc *sl_limit_docs(size_t *ret_count)
{
    SL_ASSERT(ret_count);
    *ret_count = sizeof limit_docs / sizeof *limit_docs;
    return limit_docs;
}

const char *sl_docs_kind(sl_instrument_kind kind)
{
    SL_ASSERT(kind >= SL_COUNTER && kind <= SL_HISTOGRAM); /* each has a name */
    switch (kind) {
    case SL_COUNTER:
        return "counter";
    case SL_UPDOWN_COUNTER:
        return "up-down counter";
    case SL_GAUGE:
        return "gauge";
    case SL_HISTOGRAM:
        return "histogram";
    }
    return "";
}
