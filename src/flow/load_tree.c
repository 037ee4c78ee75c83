/* Nodes of a workflow file: making them, typing plain scalars, finishing maps. */
#include "src/flow/load_tree.h"

#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/llm/yaml_tree.h"

void sl_tree_problem(sl_tree *tree, unsigned line, unsigned column, const char *format, ...)
{
    SL_ASSERT(tree && tree->problems && format);
    va_list args;
    va_start(args, format);
    sl_problems_add(tree->problems, SL_PROBLEM_ERROR, NULL, line, column, format, args);
    va_end(args);
}

sl_node *sl_tree_add(sl_tree *tree, sl_node_type type, unsigned line, unsigned column, int *ret_error)
{
    SL_ASSERT(tree && ret_error);
    if (++tree->nodes > SL_MAX_FLOW_VALUES) {
        sl_tree_problem(tree, line, column, "the file: more than %u values; split the workflow", SL_MAX_FLOW_VALUES);
        *ret_error = SL_ECONFIG;
        return NULL;
    }
    sl_node *node = sl_arena_zalloc(tree->arena, sizeof *node);
    if (!node) {
        *ret_error = SL_ENOMEM;
        return NULL;
    }
    node->type = type;
    node->line = line;
    node->column = column;
    node->depth = 1;
    node->text = SL_STR("");
    return node;
}

/* Digits, a sign before them, no zero that means nothing. */
static bool looks_whole(sl_str text)
{
    size_t at = text.len && (text.ptr[0] == '-' || text.ptr[0] == '+');
    if (at == text.len || (text.ptr[at] == '0' && at + 1 < text.len))
        return false;
    for (; at < text.len; at++) {
        if (text.ptr[at] < '0' || text.ptr[at] > '9')
            return false;
    }
    return true;
}

/* [-+]? ( . digits | digits [ . digits? ] ) [ e [-+]? digits ] with a digit in front of what is no dot. */
static bool looks_real(sl_str text)
{
    size_t at = text.len && (text.ptr[0] == '-' || text.ptr[0] == '+');
    bool digit = false, dot = false, exponent = false;
    if (at + 1 < text.len && text.ptr[at] == '0' && text.ptr[at + 1] >= '0' && text.ptr[at + 1] <= '9')
        return false;
    for (; at < text.len; at++) {
        char c = text.ptr[at];
        if (c >= '0' && c <= '9') {
            digit = true;
        } else if (c == '.' && !dot && !exponent) {
            dot = true;
        } else if ((c == 'e' || c == 'E') && digit && !exponent) {
            exponent = true;
            digit = false;
            at += at + 1 < text.len && (text.ptr[at + 1] == '-' || text.ptr[at + 1] == '+');
        } else {
            return false;
        }
    }
    return digit;
}

/* A number's text as C's readers take it: no '+', a digit before and behind the dot. */
static bool read_real(sl_str text, double *ret_value)
{
    char room[64], *end;
    SL_ASSERT(ret_value);
    if (!looks_real(text) || !sl_str_to_c(text, room, sizeof room))
        return false;
    double value = strtod(room, &end);
    if (*end || value > 1.7e308 || value < -1.7e308)
        return false;
    *ret_value = value;
    return true;
}

/* 0x1F and 0o17, without a sign. */
static bool read_based(sl_str text, int64_t *ret_value)
{
    SL_ASSERT(ret_value);
    unsigned bits = sl_str_starts(text, SL_STR("0x")) ? 4 : sl_str_starts(text, SL_STR("0o")) ? 3 : 0;
    uint64_t value = 0;
    if (!bits || text.len == 2)
        return false;
    for (size_t at = 2; at < text.len; at++) {
        unsigned char c = (unsigned char)text.ptr[at];
        unsigned digit = c <= '9' ? (unsigned)(c - '0') : (c | 0x20u) - 'a' + 10u;
        bool good = (c >= '0' && c <= '9') || ((c | 0x20u) >= 'a' && (c | 0x20u) <= 'f');
        if (!good || digit >= 1u << bits || value > (uint64_t)INT64_MAX >> bits)
            return false;
        value = value << bits | digit;
    }
    *ret_value = (int64_t)value;
    return true;
}

static bool is_one_of(sl_str text, const char *const *words)
{
    for (; *words; words++) {
        if (sl_str_eq_c(text, *words))
            return true;
    }
    return false;
}

void sl_node_resolve(sl_node *node)
{
    static const char *const nulls[] = {"", "~", "null", "Null", "NULL", NULL};
    static const char *const trues[] = {"true", "True", "TRUE", NULL};
    static const char *const falses[] = {"false", "False", "FALSE", NULL};
    SL_ASSERT(node);
    sl_str text = node->text, digits = text.len && text.ptr[0] == '+' ? sl_str_sub(text, 1, text.len) : text;
    node->type = SL_NODE_TEXT;
    if (is_one_of(text, nulls)) {
        node->type = SL_NODE_NULL;
    } else if (is_one_of(text, trues) || is_one_of(text, falses)) {
        node->type = SL_NODE_BOOL;
        node->is.boolean = is_one_of(text, trues);
    } else if ((looks_whole(text) && sl_str_to_i64(digits, &node->is.whole) == 0) ||
               read_based(text, &node->is.whole)) {
        node->type = SL_NODE_INT;
    } else if (read_real(text, &node->is.real)) {
        node->type = SL_NODE_REAL;
    }
}

typedef struct ranked_pair {
    sl_node_pair pair;
    size_t rank;  /* of the map it comes from: lower wins */
    size_t index; /* where it stood */
} ranked_pair;

static int order_text(sl_str a, sl_str b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len ? memcmp(a.ptr, b.ptr, len) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

static int by_key(const void *left, const void *right)
{
    const ranked_pair *a = left, *b = right;
    int order = order_text(a->pair.key->text, b->pair.key->text);
    if (!order)
        order = (a->rank > b->rank) - (a->rank < b->rank);
    return order ? order : (a->index > b->index) - (a->index < b->index);
}

static int by_index(const void *left, const void *right)
{
    const ranked_pair *a = left, *b = right;
    return (a->index > b->index) - (a->index < b->index);
}

/* Keeps of each key the first; says which of one map stood twice. The number that is left. */
static size_t drop_doubles(sl_tree *tree, ranked_pair *pairs, size_t count)
{
    SL_ASSERT(tree && pairs && count);
    size_t kept = 1;
    for (size_t i = 1; i < count; i++) {
        const sl_node *key = pairs[i].pair.key;
        if (!sl_str_eq(pairs[kept - 1].pair.key->text, key->text)) {
            pairs[kept++] = pairs[i];
            continue;
        }
        if (pairs[kept - 1].rank == pairs[i].rank)
            sl_tree_problem(tree, key->line, key->column, "%.*s: stands twice in one map; remove one",
                            (int)sl_utf8_prefix(key->text, 60), key->text.ptr);
    }
    return kept;
}

static bool check_keys(sl_tree *tree, const sl_node *map)
{
    SL_ASSERT(map->type == SL_NODE_MAP);
    for (size_t i = 0; i < map->is.map.count; i++) {
        const sl_node *key = map->is.map.pairs[i].key;
        if (key->type != SL_NODE_LIST && key->type != SL_NODE_MAP && !memchr(key->text.ptr, '\0', key->text.len))
            continue;
        sl_tree_problem(tree, key->line, key->column, "a key: not usable; write plain text before the colon");
        return false;
    }
    return true;
}

int sl_tree_finish_map(sl_tree *tree, sl_node *map, const size_t *ranks)
{
    SL_ASSERT(tree && map && map->type == SL_NODE_MAP);
    size_t count = map->is.map.count;
    if (!check_keys(tree, map))
        return SL_ECONFIG;
    if (count < 2)
        return 0;
    ranked_pair *sorted = sl_malloc(count * sizeof *sorted);
    if (!sorted)
        return SL_ENOMEM;
    for (size_t i = 0; i < count; i++)
        sorted[i] = (ranked_pair){map->is.map.pairs[i], ranks ? ranks[i] : 0, i};
    qsort(sorted, count, sizeof *sorted, by_key);
    count = drop_doubles(tree, sorted, count);
    qsort(sorted, count, sizeof *sorted, by_index);
    for (size_t i = 0; i < count; i++)
        map->is.map.pairs[i] = sorted[i].pair;
    map->is.map.count = count;
    sl_free(sorted);
    return 0;
}

int sl_tree_finish_depth(sl_tree *tree, sl_node *node)
{
    SL_ASSERT(tree && node);
    unsigned depth = 0;
    for (size_t i = 0; node->type == SL_NODE_LIST && i < node->is.list.count; i++) {
        unsigned below = node->is.list.items[i]->depth;
        depth = below > depth ? below : depth;
    }
    for (size_t i = 0; node->type == SL_NODE_MAP && i < node->is.map.count; i++) {
        unsigned below = node->is.map.pairs[i].value->depth;
        depth = below > depth ? below : depth;
    }
    node->depth = depth + 1;
    if (depth <= SL_MAX_YAML_DEPTH)
        return 0;
    sl_tree_problem(tree, node->line, node->column, "the file: nested more than %d deep; flatten it",
                    SL_MAX_YAML_DEPTH);
    return SL_ECONFIG;
}

int sl_tree_read(sl_tree *tree, sl_str text)
{
    SL_ASSERT(tree && tree->arena && tree->problems);
    tree->source = text;
    tree->nodes = 0;
    tree->root = NULL;
    if (!sl_utf8_valid(text)) {
        unsigned line = 1;
        bool valid = true;
        for (sl_str rest = text; rest.len && valid;) {
            size_t len = sl_utf8_piece(rest, &valid);
            line += valid && rest.ptr[0] == '\n';
            rest = sl_str_sub(rest, len, rest.len);
        }
        sl_tree_problem(tree, line, 0, "the file: not UTF-8; save it as UTF-8");
        return SL_ECONFIG;
    }
    size_t at = 0;
    while (at < text.len && strchr(" \t\r\n", text.ptr[at]) && text.ptr[at])
        at++;
    int error = SL_EPARSE;
    if (at < text.len && text.ptr[at] == '{')
        error = sl_tree_read_json(tree);
    return error == SL_EPARSE ? sl_tree_read_yaml(tree) : error;
}

sl_node *sl_node_get(const sl_node *map, const char *key)
{
    SL_ASSERT(key);
    for (size_t i = 0; map && map->type == SL_NODE_MAP && i < map->is.map.count; i++) {
        if (sl_str_eq_c(map->is.map.pairs[i].key->text, key))
            return map->is.map.pairs[i].value;
    }
    return NULL;
}

const char *sl_node_type_name(const sl_node *node)
{
    SL_ASSERT(node);
    static const char *const names[] = {"nothing", "true or false", "a whole number", "a number with a fraction",
                                        "a text",  "a list",        "a map"};
    SL_ASSERT((size_t)node->type < sizeof names / sizeof *names);
    return names[node->type];
}

bool sl_node_has_template(const sl_node *node)
{
    SL_ASSERT(node);
    return node->type == SL_NODE_TEXT && sl_str_find(node->text, SL_STR("{{")) != SL_NPOS;
}
