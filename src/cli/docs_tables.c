/* The tables of docs_*.def. */
#include "src/cli/docs_tables.h"

#include "src/base/assert.h"
#include "src/base/limits.h"

static const sl_config_doc config_docs[] = {
#define SL_CONFIG_DOC(section, key, fallback, help) {section, key, fallback, help},
#include "src/cli/docs_config.def"
#undef SL_CONFIG_DOC
};

static const sl_env_doc env_docs[] = {
#define SL_ENV_DOC(name, help) {name, help},
#include "src/cli/docs_env.def"
#undef SL_ENV_DOC
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

const sl_env_doc *sl_env_docs(size_t *ret_count)
{
    SL_ASSERT(ret_count);
    *ret_count = sizeof env_docs / sizeof *env_docs;
    return env_docs;
}

const sl_limit_doc *sl_limit_docs(size_t *ret_count)
{
    SL_ASSERT(ret_count);
    *ret_count = sizeof limit_docs / sizeof *limit_docs;
    return limit_docs;
}

const sl_config_doc *sl_config_doc_of(const char *section, const char *key)
{
    SL_ASSERT(section && key);
    size_t count;
    const sl_config_doc *docs = sl_config_docs(&count);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(docs[i].section, section) == 0 && strcmp(docs[i].key, key) == 0)
            return &docs[i];
    }
    return NULL;
}

const char *sl_config_type_name(sl_key_type type)
{
    switch (type) {
    case SL_KEY_STR:
        return "text";
    case SL_KEY_SECRET:
        return "secret";
    case SL_KEY_BOOL:
        return "boolean";
    case SL_KEY_SECONDS:
        return "seconds";
    case SL_KEY_U32:
        return "number";
    case SL_KEY_BYTES:
        return "bytes, with KiB, MiB, GiB";
    case SL_KEY_PRICE:
        return "USD for one token";
    case SL_KEY_CHILD:
        return "section";
    case SL_KEY_NOT_YET:
        return "no effect yet";
    }
    return "";
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
