/* Rows of the reference that have no table elsewhere: help of configuration keys, limits; and names in Prometheus'
 * form. */
#ifndef SL_CLI_DOCS_TABLES_H
#define SL_CLI_DOCS_TABLES_H

#include "src/llm/config_schema.h"
#include "src/telemetry/vocab.h"

typedef struct sl_config_doc {
    const char *section;
    const char *key;
    const char *fallback; /* empty: none */
    const char *help;
} sl_config_doc;

typedef struct sl_limit_doc {
    const char *name; /* in src/base/limits.h */
    unsigned long long value;
    const char *unit;
    const char *help;
} sl_limit_doc;

typedef struct sl_env_doc {
    const char *name;
    const char *help;
} sl_env_doc;

/* Whole tables. Static. */
const sl_env_doc *sl_env_docs(size_t *ret_count);
const sl_config_doc *sl_config_docs(size_t *ret_count);
const sl_limit_doc *sl_limit_docs(size_t *ret_count);

/* The row of a key; NULL when there is none. */
const sl_config_doc *sl_config_doc_of(const char *section, const char *key);
/* Word for the type of a key, such as "seconds". Static. */
const char *sl_config_type_name(sl_key_type type);

/* Word for a kind of instrument, such as "histogram". Static. */
const char *sl_docs_kind(sl_instrument_kind kind);

#endif
