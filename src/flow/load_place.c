/*
 * From a place within a scalar's text to the place in the file. Text and source are walked side by side: they have the
 * same characters but for white space (indentation, folding) and escapes.
 */
#include "src/base/assert.h"
#include "src/flow/fault.h"
#include "src/flow/load_tree.h"

static bool is_white(char c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* Offset of a line and column within a text; its length when they are behind its end. */
static size_t offset_in(sl_str text, unsigned line, unsigned column)
{
    size_t at = 0;
    for (unsigned l = 1; l < line && at < text.len; at++)
        l += text.ptr[at] == '\n';
    for (unsigned c = 1; c < column && at < text.len && text.ptr[at] != '\n'; c++)
        at++;
    return at;
}

/* Where the scalar's first character stands in the source: behind a quote, or on the line below a block's mark. */
static size_t content_start(sl_str source, const sl_node *node)
{
    size_t at = offset_in(source, node->line, 1);
    for (unsigned c = 1; c < node->column && at < source.len && source.ptr[at] != '\n'; c++) {
        at++; /* columns of YAML count characters */
        while (at < source.len && ((unsigned char)source.ptr[at] & 0xc0) == 0x80)
            at++;
    }
    if (node->style == SL_NODE_SINGLE_QUOTED || node->style == SL_NODE_DOUBLE_QUOTED)
        return at + 1;
    while (node->style == SL_NODE_BLOCK && at < source.len && source.ptr[at] != '\n')
        at++;
    return at;
}

/* Skips white space, as escapes too in double quotes. */
static size_t skip_white(sl_str source, size_t at, sl_node_style style)
{
    while (at < source.len) {
        if (is_white(source.ptr[at]))
            at++;
        else if (style == SL_NODE_DOUBLE_QUOTED && source.ptr[at] == '\\' && at + 1 < source.len &&
                 strchr("ntr \n", source.ptr[at + 1]))
            at += 2;
        else
            break;
    }
    return at;
}

/* The source's offset of the text's byte `end`; SL_NPOS when the two differ. */
static size_t walk(sl_str source, const sl_node *node, size_t end)
{
    size_t at = content_start(source, node);
    for (size_t i = 0; i < end; i++) {
        char c = node->text.ptr[i];
        if (is_white(c))
            continue;
        at = skip_white(source, at, node->style);
        bool quote = node->style == SL_NODE_SINGLE_QUOTED && c == '\'';
        bool escape = node->style == SL_NODE_DOUBLE_QUOTED && (c == '"' || c == '\\' || c == '/');
        if (at + 1 < source.len && ((quote && source.ptr[at] == '\'') || (escape && source.ptr[at] == '\\')))
            at++;
        if (at >= source.len || source.ptr[at] != c)
            return SL_NPOS;
        at++;
    }
    return end < node->text.len ? skip_white(source, at, node->style) : at;
}

void sl_tree_place(const sl_tree *tree, const sl_node *node, unsigned line, unsigned column, unsigned *ret_line,
                   unsigned *ret_column)
{
    SL_ASSERT(tree && node && ret_line && ret_column);
    *ret_line = node->line;
    *ret_column = node->column;
    if (!line || node->type == SL_NODE_LIST || node->type == SL_NODE_MAP)
        return;
    size_t end = offset_in(node->text, line, column ? column : 1);
    size_t at = walk(tree->source, node, end);
    if (at == SL_NPOS || at > tree->source.len)
        return;
    sl_text_place place = {.text = tree->source};
    sl_text_place_find(&place, at, ret_line, ret_column);
}
