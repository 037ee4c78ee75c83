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

sl_str sl_config_dup(sl_config *config, sl_str text)
{
    SL_ASSERT(config);
    sl_str copy = sl_arena_dup(&config->arena, text);
    if (copy.ptr)
        return copy;
    config->failed = SL_ENOMEM;
    return SL_STR("");
}

static void add_diag(sl_config *config, sl_diag_level level, unsigned line, unsigned column, const char *format,
                     va_list args)
{
    SL_ASSERT(config);
    char text[1024];
    vsnprintf(text, sizeof text, format, args);
    for (char *at = text; *at; at++) {
        if ((unsigned char)*at < 0x20 || *at == 0x7f)
            *at = '?'; /* a value of the file must not draw on the terminal, nor end the line */
    }
    sl_diagnostic **at = &config->diagnostics;
    for (; *at && ((*at)->line < line || ((*at)->line == line && (*at)->column <= column)); at = &(*at)->next) {
        if ((*at)->line == line && (*at)->column == column && sl_str_eq_c((*at)->text, text))
            return;
    }
    size_t *count = level == SL_DIAG_ERROR ? &config->error_count : &config->warning_count;
    if (++*count > SL_MAX_DIAGNOSTICS)
        return;
    sl_diagnostic *diag = sl_arena_zalloc(&config->arena, sizeof *diag);
    if (!diag) {
        config->failed = SL_ENOMEM;
        return;
    }
    diag->level = level;
    diag->line = line;
    diag->column = column;
    diag->text = sl_config_dup(config, sl_str_c(text));
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

static int syntax_fault(const yaml_parser_t *parser, sl_config *config)
{
    SL_ASSERT(parser);
    if (parser->error == YAML_MEMORY_ERROR)
        return SL_ENOMEM;
    sl_config_diag_at(config, SL_DIAG_ERROR, (unsigned)parser->problem_mark.line + 1,
                      (unsigned)parser->problem_mark.column + 1, "YAML syntax: %s; check quotes and indentation",
                      parser->problem ? parser->problem : "not readable");
    return SL_ECONFIG;
}

/* What a first pass counts. */
typedef struct stream_counts {
    unsigned depth, documents, anchors;
} stream_counts;

static bool has_anchor(const yaml_event_t *event)
{
    SL_ASSERT(event);
    return (event->type == YAML_SCALAR_EVENT && event->data.scalar.anchor) ||
           (event->type == YAML_SEQUENCE_START_EVENT && event->data.sequence_start.anchor) ||
           (event->type == YAML_MAPPING_START_EVENT && event->data.mapping_start.anchor);
}

/* What one event means for depth, number of documents and of anchors; SL_ECONFIG ends the look. */
static int look_at(const yaml_event_t *event, sl_config *config, stream_counts *counts)
{
    SL_ASSERT(event && counts);
    unsigned line = (unsigned)event->start_mark.line + 1, column = (unsigned)event->start_mark.column + 1;
    if (event->type == YAML_DOCUMENT_START_EVENT && ++counts->documents > 1) {
        sl_config_diag_at(config, SL_DIAG_ERROR, line, column,
                          "YAML: a second document begins; put everything into one, without a `---` between");
        return SL_ECONFIG;
    }
    if ((event->type == YAML_SEQUENCE_START_EVENT || event->type == YAML_MAPPING_START_EVENT) &&
        ++counts->depth > SL_MAX_YAML_DEPTH) {
        sl_config_diag_at(config, SL_DIAG_ERROR, line, column, "YAML: nested more than %d deep; flatten it",
                          SL_MAX_YAML_DEPTH);
        return SL_ECONFIG;
    }
    if (has_anchor(event) && ++counts->anchors > SL_MAX_YAML_ANCHORS) {
        sl_config_diag_at(config, SL_DIAG_ERROR, line, column, "YAML: more than %d anchors; write values out",
                          SL_MAX_YAML_ANCHORS);
        return SL_ECONFIG;
    }
    if (event->type == YAML_SEQUENCE_END_EVENT || event->type == YAML_MAPPING_END_EVENT)
        counts->depth--;
    return 0;
}

/*
 * A first pass over the whole text. libyaml's time grows with the square of the depth, and it would leave a second
 * document out in silence.
 */
static int check_stream(sl_str text, sl_config *config)
{
    yaml_parser_t parser;
    stream_counts counts = {0};
    bool ended = false;
    int error = 0;
    if (!yaml_parser_initialize(&parser))
        return SL_ENOMEM;
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.ptr, text.len);
    while (!error && !ended) {
        yaml_event_t event;
        if (!yaml_parser_parse(&parser, &event)) {
            error = syntax_fault(&parser, config);
            break;
        }
        error = look_at(&event, config, &counts);
        ended = event.type == YAML_STREAM_END_EVENT;
        yaml_event_delete(&event);
    }
    yaml_parser_delete(&parser);
    return error;
}

static int load(sl_str text, sl_config *config, yaml_document_t *document)
{
    SL_ASSERT(document);
    yaml_parser_t parser;
    if (!yaml_parser_initialize(&parser))
        return SL_ENOMEM;
    yaml_parser_set_input_string(&parser, (const unsigned char *)text.ptr, text.len);
    int error = yaml_parser_load(&parser, document) ? 0 : syntax_fault(&parser, config);
    yaml_parser_delete(&parser);
    return error;
}

int sl_yaml_parse(sl_str text, sl_config *config, sl_yaml **ret_yaml)
{
    SL_ASSERT(ret_yaml && (text.ptr || !text.len));
    sl_yaml *yaml = sl_calloc(1, sizeof *yaml);
    if (!yaml)
        return SL_ENOMEM;
    if (!text.len)
        text = SL_STR("");
    int error = check_stream(text, config);
    if (!error)
        error = load(text, config, &yaml->document);
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

size_t sl_yaml_count(const sl_yaml *yaml)
{
    SL_ASSERT(yaml);
    return (size_t)(yaml->document.nodes.top - yaml->document.nodes.start);
}

size_t sl_yaml_index(const sl_yaml *yaml, const sl_yaml_node *node)
{
    SL_ASSERT(yaml && node >= yaml->document.nodes.start && node < yaml->document.nodes.top);
    return (size_t)(node - yaml->document.nodes.start);
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

bool sl_yaml_is_merge(const sl_yaml_node *key)
{
    return sl_str_eq_c(sl_yaml_text(key), "<<");
}

/* Depth first, each map once: no deeper than the list is long. */
static void collect(sl_yaml *yaml, sl_yaml_node *map, sl_yaml_maps *maps)
{
    SL_ASSERT(maps);
    if (!sl_yaml_is_map(map) || maps->count == SL_MAX_YAML_MERGES) {
        maps->fault = map;
        return;
    }
    for (size_t i = 0; i < maps->count; i++) {
        if (maps->items[i] == map)
            return;
    }
    maps->items[maps->count++] = map;
    sl_yaml_node *key, *value, *item;
    for (size_t i = 0; sl_yaml_pair(yaml, map, i, &key, &value); i++) {
        if (!sl_yaml_is_merge(key))
            continue;
        if (!sl_yaml_is_list(value))
            collect(yaml, value, maps);
        for (size_t k = 0; (item = sl_yaml_item(yaml, value, k)) != NULL; k++)
            collect(yaml, item, maps);
    }
}

void sl_yaml_merged(sl_yaml *yaml, sl_yaml_node *map, sl_yaml_maps *ret_maps)
{
    SL_ASSERT(yaml && ret_maps);
    ret_maps->count = 0;
    ret_maps->fault = NULL;
    if (sl_yaml_is_map(map))
        collect(yaml, map, ret_maps);
}

sl_yaml_node *sl_yaml_get(sl_yaml *yaml, sl_yaml_node *map, const char *key)
{
    SL_ASSERT(key);
    sl_yaml_maps maps;
    sl_yaml_merged(yaml, map, &maps);
    sl_yaml_node *name, *value, *found = NULL;
    for (size_t i = 0; i < maps.count && !found; i++) {
        for (size_t k = 0; sl_yaml_pair(yaml, maps.items[i], k, &name, &value); k++) {
            if (sl_str_eq_c(sl_yaml_text(name), key))
                found = value;
        }
    }
    return found;
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

size_t sl_yaml_pair_count(const sl_yaml_node *map)
{
    return sl_yaml_is_map(map) ? (size_t)(map->data.mapping.pairs.top - map->data.mapping.pairs.start) : 0;
}
