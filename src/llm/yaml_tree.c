/* YAML tree over libyaml's document API. */
#include "src/llm/yaml_tree.h"

#include <stdarg.h>
#include <stdio.h>
#include <yaml.h>

#include "src/base/assert.h"
#include "src/base/mem.h"

struct sl_yaml {
    yaml_document_t document;
};

/* Merge keys may point at maps that merge others: bounded, because aliases can form a cycle. */
#define MAX_MERGE_DEPTH 16

static void add_diag(sl_config *config, sl_diag_level level, unsigned line, unsigned column, const char *format,
                     va_list args)
{
    SL_ASSERT(config);
    char text[1024];
    vsnprintf(text, sizeof text, format, args);
    if (level == SL_DIAG_ERROR)
        config->error_count++;
    else
        config->warning_count++;
    sl_diagnostic *diag = sl_arena_zalloc(&config->arena, sizeof *diag);
    if (!diag)
        return; /* counted all the same: an error stays an error */
    diag->level = level;
    diag->line = line;
    diag->column = column;
    diag->text = sl_arena_dup(&config->arena, sl_str_c(text));
    sl_diagnostic **at = &config->diagnostics;
    while (*at && ((*at)->line < line || ((*at)->line == line && (*at)->column <= column)))
        at = &(*at)->next;
    diag->next = *at;
    *at = diag;
}

void sl_config_diag_at(sl_config *config, sl_diag_level level, unsigned line, unsigned column, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_diag(config, level, line, column, format, args);
    va_end(args);
}

void sl_config_diag(sl_config *config, sl_diag_level level, const sl_yaml_node *at, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    add_diag(config, level, at ? sl_yaml_line(at) : 0, at ? sl_yaml_column(at) : 0, format, args);
    va_end(args);
}

int sl_yaml_parse(sl_str text, sl_config *config, sl_yaml **ret_yaml)
{
    SL_ASSERT(ret_yaml && (text.ptr || !text.len));
    yaml_parser_t parser;
    sl_yaml *yaml = sl_calloc(1, sizeof *yaml);
    if (!yaml)
        return SL_ENOMEM;
    if (!yaml_parser_initialize(&parser)) {
        sl_free(yaml);
        return SL_ENOMEM;
    }
    yaml_parser_set_input_string(&parser, (const unsigned char *)(text.ptr ? text.ptr : ""), text.len);
    int error = 0;
    if (!yaml_parser_load(&parser, &yaml->document)) {
        error = parser.error == YAML_MEMORY_ERROR ? SL_ENOMEM : SL_ECONFIG;
        if (error == SL_ECONFIG)
            sl_config_diag_at(config, SL_DIAG_ERROR, (unsigned)parser.problem_mark.line + 1,
                              (unsigned)parser.problem_mark.column + 1, "YAML syntax: %s; check quotes and indentation",
                              parser.problem ? parser.problem : "not readable");
    }
    yaml_parser_delete(&parser);
    if (error) {
        sl_free(yaml);
        return error;
    }
    *ret_yaml = yaml;
    return 0;
}

void sl_yaml_free(sl_yaml *yaml)
{
    if (!yaml)
        return;
    yaml_document_delete(&yaml->document);
    sl_free(yaml);
}

sl_yaml_node *sl_yaml_root(sl_yaml *yaml)
{
    SL_ASSERT(yaml);
    return yaml_document_get_root_node(&yaml->document);
}

bool sl_yaml_is_map(const sl_yaml_node *node)
{
    return node && node->type == YAML_MAPPING_NODE;
}

bool sl_yaml_is_list(const sl_yaml_node *node)
{
    return node && node->type == YAML_SEQUENCE_NODE;
}

sl_str sl_yaml_text(const sl_yaml_node *node)
{
    if (!node || node->type != YAML_SCALAR_NODE)
        return sl_str_of("", 0);
    return sl_str_of((const char *)node->data.scalar.value, node->data.scalar.length);
}

bool sl_yaml_is_null(const sl_yaml_node *node)
{
    if (!node)
        return true;
    if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
        return false;
    sl_str text = sl_yaml_text(node);
    return text.len == 0 || sl_str_eq_c(text, "~") || sl_str_ieq(text, SL_STR("null"));
}

unsigned sl_yaml_line(const sl_yaml_node *node)
{
    SL_ASSERT(node);
    return (unsigned)node->start_mark.line + 1;
}

unsigned sl_yaml_column(const sl_yaml_node *node)
{
    SL_ASSERT(node);
    return (unsigned)node->start_mark.column + 1;
}

static sl_yaml_node *get_merged(sl_yaml *yaml, sl_yaml_node *map, const char *key, int depth)
{
    if (!sl_yaml_is_map(map) || depth > MAX_MERGE_DEPTH)
        return NULL;
    sl_yaml_node *name, *value, *merge = NULL;
    for (size_t i = 0; sl_yaml_pair(yaml, map, i, &name, &value); i++) {
        if (sl_str_eq_c(sl_yaml_text(name), key))
            return value;
        if (sl_str_eq_c(sl_yaml_text(name), "<<"))
            merge = value;
    }
    if (!sl_yaml_is_list(merge))
        return get_merged(yaml, merge, key, depth + 1);
    for (size_t i = 0; (value = sl_yaml_item(yaml, merge, i)) != NULL; i++) {
        sl_yaml_node *found = get_merged(yaml, value, key, depth + 1);
        if (found)
            return found;
    }
    return NULL;
}

sl_yaml_node *sl_yaml_get(sl_yaml *yaml, sl_yaml_node *map, const char *key)
{
    return get_merged(yaml, map, key, 0);
}

sl_yaml_node *sl_yaml_item(sl_yaml *yaml, sl_yaml_node *list, size_t index)
{
    if (!sl_yaml_is_list(list))
        return NULL;
    yaml_node_item_t *item = list->data.sequence.items.start + index;
    return item < list->data.sequence.items.top ? yaml_document_get_node(&yaml->document, *item) : NULL;
}

bool sl_yaml_pair(sl_yaml *yaml, sl_yaml_node *map, size_t index, sl_yaml_node **ret_key, sl_yaml_node **ret_value)
{
    SL_ASSERT(ret_key && ret_value);
    if (!sl_yaml_is_map(map))
        return false;
    yaml_node_pair_t *pair = map->data.mapping.pairs.start + index;
    if (pair >= map->data.mapping.pairs.top)
        return false;
    *ret_key = yaml_document_get_node(&yaml->document, pair->key);
    *ret_value = yaml_document_get_node(&yaml->document, pair->value);
    return true;
}
