/*
 * A YAML document as a tree of typed look-ups with places, over libyaml. Collects diagnostics instead of stopping.
 *
 * Anchors, aliases and merge keys ("<<", lists of them too) work; a document is bounded by SL_MAX_CONFIG_BYTES and
 * SL_MAX_YAML_DEPTH. Aliases are shared, not copied, so that they cannot multiply.
 */
#ifndef SL_LLM_YAML_TREE_H
#define SL_LLM_YAML_TREE_H

#include "src/llm/config.h"

typedef struct sl_yaml sl_yaml;
typedef struct yaml_node_s sl_yaml_node;

#define SL_MAX_YAML_DEPTH 100     /* of maps and lists in one another */
#define SL_MAX_YAML_ANCHORS 10000 /* libyaml looks through all of them for each */

/* Parses one document. A syntax error becomes a diagnostic of `config` and SL_ECONFIG. SL_ENOMEM. */
SL_MUST_CHECK int sl_yaml_parse(sl_str text, sl_config *config, sl_yaml **ret_yaml);
void sl_yaml_free(sl_yaml *yaml);

/* The root; NULL for an empty document. */
sl_yaml_node *sl_yaml_root(sl_yaml *yaml);
/* Number of nodes, and of a node among them: below that number. A node that an alias leads to has one index. */
size_t sl_yaml_count(const sl_yaml *yaml);
size_t sl_yaml_index(const sl_yaml *yaml, const sl_yaml_node *node);
bool sl_yaml_is_map(const sl_yaml_node *node);
bool sl_yaml_is_list(const sl_yaml_node *node);
/* True for a plain scalar that YAML reads as null. */
bool sl_yaml_is_null(const sl_yaml_node *node);
/* A map and the maps that it merges. */
#define SL_MAX_YAML_MERGES 64
typedef struct sl_yaml_maps {
    sl_yaml_node *items[SL_MAX_YAML_MERGES]; /* the map itself first: what stands earlier wins */
    size_t count;
    const sl_yaml_node *fault; /* a "<<" of something that is no map, or one too many; NULL: none */
} sl_yaml_maps;
/* Follows the merge keys of `map`: each map once, whatever rings they form. No map at all: an empty list. */
void sl_yaml_merged(sl_yaml *yaml, sl_yaml_node *map, sl_yaml_maps *ret_maps);
bool sl_yaml_is_merge(const sl_yaml_node *key);

/* Value of a key in a map, merge keys followed; of a key that stands twice the last. NULL when absent. */
sl_yaml_node *sl_yaml_get(sl_yaml *yaml, sl_yaml_node *map, const char *key);
/* Item `index` of a list; NULL past the end. */
sl_yaml_node *sl_yaml_item(sl_yaml *yaml, sl_yaml_node *list, size_t index);
/* Pair `index` of a map; false past the end. */
bool sl_yaml_pair(sl_yaml *yaml, sl_yaml_node *map, size_t index, sl_yaml_node **ret_key, sl_yaml_node **ret_value);
size_t sl_yaml_pair_count(const sl_yaml_node *map);
/* Text of a scalar; empty for others. */
sl_str sl_yaml_text(const sl_yaml_node *node);
/* 1-based place. */
unsigned sl_yaml_line(const sl_yaml_node *node);
unsigned sl_yaml_column(const sl_yaml_node *node);

/* Copy in the configuration's memory, NUL-terminated; without memory the empty text, and `config->failed`. */
sl_str sl_config_dup(sl_config *config, sl_str text);

/*
 * Adds a diagnostic at a node (NULL: the file). Texts read "what: why; remedy". The same text at the same place, as
 * merged maps would give it, is said once.
 */
void sl_config_diag(sl_config *config, sl_diag_level level, const sl_yaml_node *at, const char *format, ...)
    __attribute__((format(printf, 4, 5)));
/* As above with an explicit place. */
void sl_config_diag_at(sl_config *config, sl_diag_level level, unsigned line, unsigned column, const char *format, ...)
    __attribute__((format(printf, 5, 6)));

#endif
