/* A JSON text as a tree: the scanner's values, with lines and columns. */
#include "src/base/assert.h"
#include "src/flow/load_tree.h"
#include "src/wire/json_scan.h"

typedef struct json_reader {
    sl_tree *tree;
    const char *at; /* how far lines are counted; values are met in the order they stand */
    const char *line_start;
    unsigned line;
    int error;
} json_reader;

static sl_node *read_value(json_reader *reader, sl_json_value value);

static sl_node *add(json_reader *reader, sl_node_type type, const char *at)
{
    SL_ASSERT(at >= reader->at);
    for (; reader->at < at; reader->at++) {
        if (*reader->at != '\n')
            continue;
        reader->line++;
        reader->line_start = reader->at + 1;
    }
    return sl_tree_add(reader->tree, type, reader->line, (unsigned)(at - reader->line_start) + 1, &reader->error);
}

static sl_node *read_string(json_reader *reader, sl_json_value value)
{
    sl_node *node = add(reader, SL_NODE_TEXT, value.raw.ptr);
    char *room = node ? sl_arena_alloc(reader->tree->arena, value.raw.len + 1) : NULL;
    if (!node)
        return NULL;
    if (!room) {
        reader->error = SL_ENOMEM;
        return NULL;
    }
    sl_str raw = sl_json_string_raw(value);
    size_t len;
    reader->error = sl_json_unescape(raw, room, value.raw.len, &len);
    if (reader->error)
        return NULL;
    room[len] = '\0';
    node->text = sl_str_of(room, len);
    node->style = SL_NODE_DOUBLE_QUOTED;
    return node;
}

/* null, true, false and numbers: YAML's plain scalars have them all. */
static sl_node *read_plain(json_reader *reader, sl_json_value value)
{
    sl_node *node = add(reader, SL_NODE_NULL, value.raw.ptr);
    if (!node)
        return NULL;
    node->text = sl_arena_dup(reader->tree->arena, value.raw);
    if (!node->text.ptr) {
        reader->error = SL_ENOMEM;
        return NULL;
    }
    sl_node_resolve(node);
    if (node->type == SL_NODE_TEXT) {
        sl_tree_problem(reader->tree, node->line, node->column, "a number: too large or too long; write a shorter one");
        reader->error = SL_ECONFIG;
    }
    return node;
}

static sl_node *read_list(json_reader *reader, sl_json_value value)
{
    SL_ASSERT(value.type == SL_JSON_ARRAY);
    sl_json_value item;
    sl_json_iter iter;
    size_t count = sl_json_count(value);
    sl_node *node = add(reader, SL_NODE_LIST, value.raw.ptr);
    if (!node)
        return NULL;
    node->is.list.items = sl_arena_alloc(reader->tree->arena, count * sizeof(sl_node *));
    if (!node->is.list.items) {
        reader->error = SL_ENOMEM;
        return NULL;
    }
    sl_json_iter_init(&iter, value);
    while (!reader->error && node->is.list.count < count && sl_json_iter_next(&iter, NULL, &item))
        node->is.list.items[node->is.list.count++] = read_value(reader, item);
    return node;
}

static sl_node *read_map(json_reader *reader, sl_json_value value)
{
    SL_ASSERT(value.type == SL_JSON_OBJECT);
    sl_json_value name, member;
    sl_json_iter iter;
    size_t count = sl_json_count(value);
    sl_node *node = add(reader, SL_NODE_MAP, value.raw.ptr);
    if (!node)
        return NULL;
    node->is.map.pairs = sl_arena_alloc(reader->tree->arena, count * sizeof(sl_node_pair));
    if (!node->is.map.pairs) {
        reader->error = SL_ENOMEM;
        return NULL;
    }
    sl_json_iter_init(&iter, value);
    while (!reader->error && node->is.map.count < count && sl_json_iter_next(&iter, &name, &member)) {
        sl_node_pair *pair = &node->is.map.pairs[node->is.map.count++];
        pair->key = read_string(reader, name);
        pair->value = reader->error ? NULL : read_value(reader, member);
    }
    if (!reader->error)
        reader->error = sl_tree_finish_map(reader->tree, node, NULL);
    return node;
}

static sl_node *read_value(json_reader *reader, sl_json_value value)
{
    SL_ASSERT(reader && value.type != SL_JSON_NONE);
    sl_node *node = value.type == SL_JSON_OBJECT   ? read_map(reader, value)
                    : value.type == SL_JSON_ARRAY  ? read_list(reader, value)
                    : value.type == SL_JSON_STRING ? read_string(reader, value)
                                                   : read_plain(reader, value);
    if (!reader->error)
        reader->error = sl_tree_finish_depth(reader->tree, node);
    return node;
}

int sl_tree_read_json(sl_tree *tree)
{
    SL_ASSERT(tree);
    sl_json_value root;
    if (sl_json_parse(tree->source, &root, NULL) != 0)
        return SL_EPARSE;
    json_reader reader = {.tree = tree, .at = tree->source.ptr, .line_start = tree->source.ptr, .line = 1};
    sl_node *node = read_value(&reader, root);
    if (!reader.error)
        tree->root = node;
    return reader.error;
}
