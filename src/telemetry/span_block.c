/* Blocks: the bytes and the index entries of some attributes, copied into a span as they are. */
#include "src/telemetry/span_block.h"

#include "src/base/arena.h"
#include "src/base/mem.h"
#include "src/telemetry/span_impl.h"
#include "src/telemetry/span_literal.h"

#define BLOCK_MAX 8192 /* bytes of texts */

struct sl_span_block {
    uint32_t len;
    uint32_t count;
    sl_span_seen seen;
    size_t longest; /* bytes of the longest text: what a limit on values may cut */
    uint8_t *data;  /* fields of the Span message; in the arena, as all that follows */
    sl_attr *attrs; /* for spans that cannot take the bytes */
    size_t attr_count;
    sl_arena arena;
    sl_span_entry entries[SL_SPAN_BLOCK_ATTRS]; /* offsets from `data` */
};

/* ---- making ---- */

static bool copy_text(sl_span_block *block, sl_str *text)
{
    SL_ASSERT(block && text);
    if (text->len > block->longest)
        block->longest = text->len;
    *text = sl_arena_dup(&block->arena, *text);
    return text->ptr != NULL;
}

static bool copy_list(sl_span_block *block, sl_value *value)
{
    SL_ASSERT(value->type == SL_VALUE_ARRAY);
    size_t count = value->as.array.count;
    sl_value *items = sl_arena_alloc(&block->arena, (count + 1) * sizeof *items);
    if (!items)
        return false;
    for (size_t i = 0; i < count; i++) {
        items[i] = value->as.array.items[i];
        if (items[i].type != SL_VALUE_STRING || !copy_text(block, &items[i].as.str))
            return false;
    }
    value->as.array.items = items;
    return true;
}

static bool copy_value(sl_span_block *block, sl_value *value)
{
    switch (value->type) {
    case SL_VALUE_STRING:
        return copy_text(block, &value->as.str);
    case SL_VALUE_ARRAY:
        return copy_list(block, value);
    case SL_VALUE_BOOL:
    case SL_VALUE_INT:
    case SL_VALUE_DOUBLE:
        return true;
    default:
        return false;
    }
}

static bool copy_attrs(sl_span_block *block, const sl_attr *attrs, size_t count)
{
    SL_ASSERT(block && count <= SL_SPAN_BLOCK_ATTRS);
    block->attrs = sl_arena_alloc(&block->arena, (count + 1) * sizeof *block->attrs);
    if (!block->attrs)
        return false;
    block->attr_count = count;
    for (size_t i = 0; i < count; i++) {
        block->attrs[i] = attrs[i];
        block->attrs[i].key = sl_arena_dup(&block->arena, attrs[i].key);
        if (!block->attrs[i].key.ptr || !copy_value(block, &block->attrs[i].value))
            return false;
    }
    return true;
}

/* Encodes the attributes as a span does. */
static bool encode(sl_span_block *block)
{
    static const sl_attr_rules rules = {.count = SL_SPAN_BLOCK_ATTRS};
    SL_ASSERT(block->attrs);
    sl_span_buf *buf = sl_malloc(sizeof *buf);
    if (!buf)
        return false;
    sl_span_buf_init(buf, 2 * BLOCK_MAX);
    unsigned lost = 0;
    for (size_t i = 0; i < block->attr_count; i++)
        lost += sl_span_buf_set(buf, block->attrs[i].key, &block->attrs[i].value, &rules);
    block->data = sl_arena_alloc(&block->arena, buf->len + 1);
    if (block->data && lost == 0) {
        memcpy(block->data, buf->data, buf->len);
        memcpy(block->entries, buf->entries, buf->count * sizeof *block->entries);
        block->len = buf->len;
        block->count = buf->count;
        block->seen = buf->seen;
    }
    sl_span_buf_done(buf);
    sl_free(buf);
    return block->data && lost == 0;
}

sl_span_block *sl_span_block_new(const sl_attr *attrs, size_t count)
{
    SL_ASSERT(attrs || !count);
    if (count > SL_SPAN_BLOCK_ATTRS)
        return NULL;
    sl_span_block *block = sl_calloc(1, sizeof *block);
    if (!block)
        return NULL;
    sl_arena_init(&block->arena, 1024, 4 * BLOCK_MAX);
    if (!copy_attrs(block, attrs, count) || !encode(block)) {
        sl_span_block_free(block);
        return NULL;
    }
    return block;
}

void sl_span_block_free(sl_span_block *block)
{
    if (!block)
        return;
    sl_arena_done(&block->arena);
    sl_free(block);
}

/* ---- setting ---- */

/* True when one of the entries has a key that the span may have. */
static bool meets(const sl_span_buf *buf, const sl_span_entry *entries, uint32_t count)
{
    SL_ASSERT(entries || !count);
    for (uint32_t i = 0; i < count; i++) {
        if (!sl_span_was_seen(&buf->seen, entries[i].hash))
            continue;
        for (uint32_t j = 0; j < buf->count; j++) {
            if (buf->entries[j].hash == entries[i].hash)
                return true;
        }
    }
    return false;
}

/* True when two sets may have a hash in common. */
static inline bool overlap(const sl_span_seen *a, const sl_span_seen *b)
{
    uint64_t both = 0;
    for (size_t i = 0; i < sizeof a->words / sizeof *a->words; i++)
        both |= a->words[i] & b->words[i];
    return both != 0;
}

/* Appends fields with their entries, whose offsets count from `base`. False: one of them needs a closer look. */
static bool append(sl_span *span, const uint8_t *data, size_t len, const sl_span_entry *entries, uint32_t count,
                   uint32_t base, const sl_span_seen *seen)
{
    sl_span_buf *buf = &span->buf;
    SL_ASSERT(data || !len);
    uint32_t most = span->rules.count < buf->entries_cap ? span->rules.count : buf->entries_cap;
    if (buf->count > most || count > most - buf->count || buf->len > buf->soft || len > buf->soft - buf->len)
        return false;
    if (overlap(&buf->seen, seen) && meets(buf, entries, count))
        return false;
    if (len)
        memcpy(buf->data + buf->len, data, len);
    sl_span_entry *to = buf->entries + buf->count;
    for (uint32_t i = 0, move = buf->len - base; i < count; i++) {
        sl_span_entry entry = entries[i];
        entry.offset += move;
        to[i] = entry;
    }
    for (size_t i = 0; i < sizeof seen->words / sizeof *seen->words; i++)
        buf->seen.words[i] |= seen->words[i];
    buf->count += count;
    buf->len += (uint32_t)len;
    return true;
}

void sl_span_set_block(sl_span *span, const sl_span_block *block)
{
    if (!block || !sl_span_recording(span))
        return;
    bool whole = span->rules.value_chars == 0 || block->longest <= span->rules.value_chars;
    if (SL_LIKELY(whole) && append(span, block->data, block->len, block->entries, block->count, 0, &block->seen))
        return;
    for (size_t i = 0; i < block->attr_count; i++)
        sl_span_set(span, block->attrs[i].key, block->attrs[i].value);
}

uint32_t sl_span_attr_count(const sl_span *span)
{
    return sl_span_recording(span) ? span->buf.count : 0;
}

bool sl_span_copy_attrs(sl_span *to, const sl_span *from, uint32_t mark)
{
    if (!sl_span_recording(to) || !sl_span_recording(from) || mark > from->buf.count ||
        to->rules.value_chars != from->rules.value_chars)
        return false;
    const sl_span_buf *buf = &from->buf;
    uint32_t count = buf->count - mark;
    if (count == 0)
        return true;
    const sl_span_entry *first = &buf->entries[mark];
    sl_span_seen seen = {{0}};
    uint32_t end = first->offset;
    for (uint32_t i = 0; i < count; i++) {
        if (first[i].offset != end)
            return false;
        end += first[i].len;
        sl_span_see(&seen, first[i].hash);
    }
    return append(to, buf->data + first->offset, end - first->offset, first, count, first->offset, &seen);
}
