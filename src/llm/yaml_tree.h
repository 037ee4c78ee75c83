/*
 * A YAML document as a tree of typed look-ups with places, over libyaml. Collects diagnostics instead of stopping.
 *
 * Anchors, aliases and merge keys ("<<") work; a document is bounded by SL_MAX_CONFIG_BYTES.
 */
#ifndef SL_LLM_YAML_TREE_H
#define SL_LLM_YAML_TREE_H

#include "src/llm/config.h"

typedef struct sl_yaml sl_yaml;
typedef struct yaml_node_s sl_yaml_node;

/* Parses one document. A syntax error becomes a diagnostic of `config` and SL_ECONFIG. SL_ENOMEM. */
SL_MUST_CHECK int sl_yaml_parse(sl_str text, sl_config *config, sl_yaml **ret_yaml);
void sl_yaml_free(sl_yaml *yaml);

/* The root; NULL for an empty document. */
sl_yaml_node *sl_yaml_root(sl_yaml *yaml);
bool sl_yaml_is_map(const sl_yaml_node *node);
bool sl_yaml_is_list(const sl_yaml_node *node);
/* True for a plain scalar that YAML reads as null. */
bool sl_yaml_is_null(const sl_yaml_node *node);
/* Value of a key in a map, merge keys followed; NULL when absent. */
sl_yaml_node *sl_yaml_get(sl_yaml *yaml, sl_yaml_node *map, const char *key);
/* Item `index` of a list; NULL past the end. */
sl_yaml_node *sl_yaml_item(sl_yaml *yaml, sl_yaml_node *list, size_t index);
/* Pair `index` of a map; false past the end. */
bool sl_yaml_pair(sl_yaml *yaml, sl_yaml_node *map, size_t index, sl_yaml_node **ret_key, sl_yaml_node **ret_value);
/* Text of a scalar; empty for others. */
sl_str sl_yaml_text(const sl_yaml_node *node);
/* 1-based place. */
unsigned sl_yaml_line(const sl_yaml_node *node);
unsigned sl_yaml_column(const sl_yaml_node *node);

/* Adds a diagnostic at a node (NULL: the file). Texts read "what: why; remedy". */
void sl_config_diag(sl_config *config, sl_diag_level level, const sl_yaml_node *at, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* As above with an explicit place. */
void sl_config_diag_at(sl_config *config, sl_diag_level level, unsigned line, unsigned column, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

#endif
