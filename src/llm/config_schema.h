/*
 * Typed reading of YAML maps by tables: each key is declared once with its type and where its value goes.
 */
#ifndef SL_LLM_CONFIG_SCHEMA_H
#define SL_LLM_CONFIG_SCHEMA_H

#include "src/llm/yaml_tree.h"

typedef enum sl_key_type {
    SL_KEY_STR,     /* sl_str */
    SL_KEY_SECRET,  /* the same, never shown in a diagnostic; visible ASCII, because it goes into a header */
    SL_KEY_BOOL,    /* bool */
    SL_KEY_SECONDS, /* uint32_t milliseconds from a number of seconds */
    SL_KEY_U32,     /* uint32_t */
    SL_KEY_BYTES,   /* uint64_t, with optional KiB MiB GiB */
    SL_KEY_PRICE,   /* double: USD for one token */
    SL_KEY_CHILD,   /* read by code elsewhere: not a fault */
    SL_KEY_NOT_YET  /* a key of LiteLLM that does nothing here yet: a warning */
} sl_key_type;

typedef struct sl_key_def {
    const char *name;
    sl_key_type type;
    size_t offset; /* of the member in the target struct */
} sl_key_def;

/*
 * Reads every key of `map` into `target`, merge keys followed; `os.environ/NAME` stands for the variable's value in all
 * of them. Unknown keys, keys that stand twice, wrong types and values out of range become diagnostics; members of keys
 * that are absent, null or faulty keep their values. `where` names the map in messages ("general_settings").
 */
void sl_config_read_map(sl_config *config, sl_yaml *yaml, sl_yaml_node *map, const char *where, const sl_key_def *keys,
                        size_t key_count, void *target);

/* The same for a map in which other keys may stand: they are read over. */
void sl_config_read_known(sl_config *config, sl_yaml *yaml, sl_yaml_node *map, const char *where,
                          const sl_key_def *keys, size_t key_count, void *target);

/* A section of the file with its keys, as messages name it ("general_settings"). */
typedef struct sl_config_section {
    const char *name;
    const sl_key_def *keys;
    size_t count;
} sl_config_section;

/* All sections, for the reference. Static. */
const sl_config_section *sl_config_sections(size_t *ret_count);

#endif
