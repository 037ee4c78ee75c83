/* A YAML document as a tree: each node once, aliases shared, merge keys followed. */
#include <yaml.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/flow/load_tree.h"
#include "src/llm/yaml_tree.h"

typedef struct yaml_reader {
    sl_tree *tree;
    sl_yaml *yaml;
    sl_node **made; /* by the index of the YAML node; NULL: not yet */
    bool *within;   /* it is being read: an alias to it is a ring */
    int error;
} yaml_reader;

static sl_node *read_node(yaml_reader *reader, sl_yaml_node *in);

static sl_node *add(yaml_reader *reader, sl_node_type type, const sl_yaml_node *in)
{
    SL_ASSERT(reader && in);
    return sl_tree_add(reader->tree, type, sl_yaml_line(in), sl_yaml_column(in), &reader->error);
}

static sl_node_style style_of(const sl_yaml_node *in)
{
    switch (in->data.scalar.style) {
    case YAML_SINGLE_QUOTED_SCALAR_STYLE:
        return SL_NODE_SINGLE_QUOTED;
    case YAML_DOUBLE_QUOTED_SCALAR_STYLE:
        return SL_NODE_DOUBLE_QUOTED;
    case YAML_LITERAL_SCALAR_STYLE:
    case YAML_FOLDED_SCALAR_STYLE:
        return SL_NODE_BLOCK;
    default:
        return SL_NODE_PLAIN;
    }
}

static sl_node *read_scalar(yaml_reader *reader, const sl_yaml_node *in)
{
    SL_ASSERT(in->type == YAML_SCALAR_NODE);
    sl_node *node = add(reader, SL_NODE_TEXT, in);
    if (!node)
        return NULL;
    node->text = sl_arena_dup(reader->tree->arena, sl_yaml_text(in));
    if (!node->text.ptr) {
        reader->error = SL_ENOMEM;
        return NULL;
    }
    node->style = style_of(in);
    if (node->style == SL_NODE_PLAIN)
        sl_node_resolve(node);
    return node;
}

static sl_node *read_list(yaml_reader *reader, sl_yaml_node *in)
{
    SL_ASSERT(sl_yaml_is_list(in));
    size_t count = 0;
    while (sl_yaml_item(reader->yaml, in, count))
        count++;
    sl_node *node = add(reader, SL_NODE_LIST, in);
    sl_node **items = node ? sl_arena_alloc(reader->tree->arena, count * sizeof(sl_node *)) : NULL;
    if (node && !items)
        reader->error = SL_ENOMEM;
    SL_ASSERT(reader->error || items);
    for (size_t i = 0; !reader->error && i < count; i++)
        items[i] = read_node(reader, sl_yaml_item(reader->yaml, in, i));
    if (reader->error)
        return NULL;
    node->is.list.items = items;
    node->is.list.count = count;
    return node;
}

/* All pairs of a map and of those that it merges, with the rank of where they come from. */
static void read_pairs(yaml_reader *reader, const sl_yaml_maps *maps, sl_node *node, size_t *ranks)
{
    SL_ASSERT(maps && node && ranks);
    sl_yaml_node *key, *value;
    size_t count = 0;
    for (size_t m = 0; m < maps->count; m++) {
        for (size_t i = 0; !reader->error && sl_yaml_pair(reader->yaml, maps->items[m], i, &key, &value); i++) {
            if (sl_yaml_is_merge(key))
                continue;
            sl_node_pair *pair = &node->is.map.pairs[count];
            pair->key = read_node(reader, key);
            pair->value = reader->error ? NULL : read_node(reader, value);
            ranks[count++] = m;
        }
    }
    node->is.map.count = count;
}

static sl_node *read_map(yaml_reader *reader, sl_yaml_node *in)
{
    SL_ASSERT(sl_yaml_is_map(in));
    sl_tree *tree = reader->tree;
    sl_yaml_maps maps;
    size_t room = 0;
    sl_node *node = add(reader, SL_NODE_MAP, in);
    if (!node)
        return NULL;
    sl_yaml_merged(reader->yaml, in, &maps);
    if (maps.fault) {
        sl_tree_problem(tree, sl_yaml_line(maps.fault), sl_yaml_column(maps.fault),
                        "<<: not usable; give a map, or a list of at most %d maps", SL_MAX_YAML_MERGES);
        reader->error = SL_ECONFIG;
        return NULL;
    }
    for (size_t m = 0; m < maps.count; m++)
        room += sl_yaml_pair_count(maps.items[m]);
    tree->nodes += room; /* merged maps multiply: what they make counts */
    if (tree->nodes > SL_MAX_FLOW_VALUES)
        return add(reader, SL_NODE_MAP, in);
    size_t *ranks = sl_malloc((room + 1) * sizeof *ranks);
    node->is.map.pairs = sl_arena_zalloc(tree->arena, room * sizeof *node->is.map.pairs);
    if (!ranks || !node->is.map.pairs)
        reader->error = SL_ENOMEM;
    else
        read_pairs(reader, &maps, node, ranks);
    if (!reader->error)
        reader->error = sl_tree_finish_map(tree, node, ranks);
    sl_free(ranks);
    return node;
}

static sl_node *read_node(yaml_reader *reader, sl_yaml_node *in)
{
    SL_ASSERT(reader && in);
    size_t index = sl_yaml_index(reader->yaml, in);
    if (reader->made[index])
        return reader->made[index];
    if (reader->within[index]) {
        sl_tree_problem(reader->tree, sl_yaml_line(in), sl_yaml_column(in),
                        "an anchor: an alias within it leads back to it; write the value out");
        reader->error = SL_ECONFIG;
        return NULL;
    }
    reader->within[index] = true;
    sl_node *node = sl_yaml_is_map(in)    ? read_map(reader, in)
                    : sl_yaml_is_list(in) ? read_list(reader, in)
                                          : read_scalar(reader, in);
    if (!reader->error)
        reader->error = sl_tree_finish_depth(reader->tree, node);
    reader->within[index] = false;
    reader->made[index] = node;
    return reader->error ? NULL : node;
}

/* The diagnostics of the YAML layer, which speaks to a configuration. */
static void take_diagnostics(sl_tree *tree, const sl_config *config)
{
    SL_ASSERT(tree && config);
    for (const sl_diagnostic *d = config->diagnostics; d; d = d->next)
        sl_tree_problem(tree, d->line, d->column, "%.*s", (int)d->text.len, d->text.ptr);
}

static int read_root(yaml_reader *reader)
{
    SL_ASSERT(reader && reader->yaml);
    sl_yaml_node *root = sl_yaml_root(reader->yaml);
    if (!root) {
        sl_tree_problem(reader->tree, 1, 0, "the file: empty; write a workflow with name and steps");
        return SL_ECONFIG;
    }
    size_t count = sl_yaml_count(reader->yaml);
    reader->made = sl_calloc(count, sizeof(sl_node *));
    reader->within = sl_calloc(count, sizeof *reader->within);
    if (reader->made && reader->within)
        reader->tree->root = read_node(reader, root);
    else
        reader->error = SL_ENOMEM;
    sl_free(reader->made);
    sl_free(reader->within);
    return reader->error;
}

int sl_tree_read_yaml(sl_tree *tree)
{
    SL_ASSERT(tree);
    yaml_reader reader = {.tree = tree};
    sl_config *config = sl_config_empty();
    if (!config)
        return SL_ENOMEM;
    int error = sl_yaml_parse(tree->source, config, &reader.yaml);
    if (config->failed)
        error = error ? error : config->failed;
    if (!error)
        error = read_root(&reader);
    take_diagnostics(tree, config);
    sl_yaml_free(reader.yaml);
    sl_config_free(config);
    return error;
}
