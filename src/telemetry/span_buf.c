/* The body of a span: appending, replacing, evicting. Every change first appends, then takes out what it replaces. */
#include "src/telemetry/span_buf.h"

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/telemetry/attr_list.h"
#include "src/telemetry/span_literal.h"

#define FIELD_NAME 5
#define FIELD_ATTRS 9
#define FIELD_STATUS 15
#define MAX_ENTRIES (SL_MAX_SPAN_BYTES / 8)
#define SCALAR_ROOM 48 /* more than all that surrounds key and text of a string attribute, or a whole number */

void sl_span_buf_init(sl_span_buf *buf, size_t max)
{
    SL_ASSERT(max <= SL_MAX_SPAN_BYTES);
    buf->data = buf->inline_data;
    buf->len = 0;
    buf->cap = (uint32_t)(max < SL_SPAN_INLINE_BYTES ? max : SL_SPAN_INLINE_BYTES);
    buf->soft = buf->cap;
    buf->max = (uint32_t)max;
    buf->count = 0;
    buf->entries = buf->inline_entries;
    buf->entries_cap = SL_SPAN_INLINE_ATTRS;
    buf->seen = (sl_span_seen){{0}};
    buf->name = (sl_span_range){0, 0};
    buf->status = (sl_span_range){0, 0};
}

void sl_span_buf_done(sl_span_buf *buf)
{
    SL_ASSERT(buf);
    if (SL_UNLIKELY(buf->data != buf->inline_data))
        sl_free(buf->data);
    if (SL_UNLIKELY(buf->entries != buf->inline_entries))
        sl_free(buf->entries);
    buf->data = buf->inline_data;
    buf->entries = buf->inline_entries;
}

/* ---- room ---- */

static size_t limit_of(const sl_span_buf *buf, size_t reserve)
{
    SL_ASSERT(buf);
    return buf->max >= 4 * SL_SPAN_RESERVE_BYTES ? buf->max - reserve : buf->max;
}

static bool grow(sl_span_buf *buf, size_t need)
{
    SL_ASSERT(buf);
    size_t cap = buf->cap;
    while (cap < need)
        cap *= 2;
    cap = cap < buf->max ? cap : buf->max;
    bool heap = buf->data != buf->inline_data;
    uint8_t *data = sl_realloc(heap ? buf->data : NULL, cap);
    if (!data)
        return false;
    if (!heap)
        memcpy(data, buf->inline_data, buf->len);
    buf->data = data;
    buf->cap = (uint32_t)cap;
    size_t limit = limit_of(buf, SL_SPAN_RESERVE_BYTES);
    buf->soft = (uint32_t)(cap < limit ? cap : limit);
    return true;
}

bool sl_span_buf_room(sl_span_buf *buf, size_t more, size_t reserve)
{
    SL_ASSERT(buf);
    size_t limit = limit_of(buf, reserve);
    if (buf->len > limit || more > limit - buf->len)
        return false;
    return buf->len + more <= buf->cap || grow(buf, buf->len + more);
}

static bool entry_room(sl_span_buf *buf)
{
    SL_ASSERT(buf);
    if (SL_LIKELY(buf->count < buf->entries_cap))
        return true;
    if (buf->entries_cap >= MAX_ENTRIES)
        return false;
    uint32_t cap = buf->entries_cap * 2;
    bool heap = buf->entries != buf->inline_entries;
    sl_span_entry *entries = sl_realloc(heap ? buf->entries : NULL, cap * sizeof *entries);
    if (!entries)
        return false;
    if (!heap)
        memcpy(entries, buf->inline_entries, buf->count * sizeof *entries);
    buf->entries = entries;
    buf->entries_cap = cap;
    return true;
}

/* ---- keys ---- */

static inline sl_str entry_key(const sl_span_buf *buf, const sl_span_entry *entry)
{
    SL_ASSERT(buf && entry);
    return sl_str_of((const char *)buf->data + entry->offset + entry->key_at, entry->key_len);
}

#define NOT_FOUND UINT32_MAX

static inline uint32_t find(const sl_span_buf *buf, sl_str key, uint32_t hash)
{
    SL_ASSERT(buf);
    if (SL_LIKELY(!sl_span_was_seen(&buf->seen, hash)))
        return NOT_FOUND;
    for (uint32_t i = 0; i < buf->count; i++) {
        if (buf->entries[i].hash == hash && sl_str_eq(entry_key(buf, &buf->entries[i]), key))
            return i;
    }
    return NOT_FOUND;
}

const sl_span_entry *sl_span_buf_find(const sl_span_buf *buf, sl_str key)
{
    uint32_t index = sl_attr_key_ok(key) ? find(buf, key, sl_span_key_hash(key)) : NOT_FOUND;
    return index == NOT_FOUND ? NULL : &buf->entries[index];
}

static bool is_priority(const sl_attr_rules *rules, sl_str key)
{
    for (size_t i = 0; i < rules->priority_key_count; i++) {
        if (sl_str_eq_c(key, rules->priority_keys[i]))
            return true;
    }
    return false;
}

/* ---- taking out ---- */

static void shift(uint32_t *offset, uint32_t behind, uint32_t by)
{
    SL_ASSERT(offset);
    if (*offset > behind)
        *offset -= by;
}

/* Takes bytes out of the buffer and moves what lies behind them. */
static void cut_out(sl_span_buf *buf, uint32_t offset, uint32_t len)
{
    SL_ASSERT(offset <= buf->len && len <= buf->len - offset);
    memmove(buf->data + offset, buf->data + offset + len, buf->len - offset - len);
    buf->len -= len;
    for (uint32_t i = 0; i < buf->count; i++)
        shift(&buf->entries[i].offset, offset, len);
    shift(&buf->name.offset, offset, len);
    shift(&buf->status.offset, offset, len);
}

/* The field that was just appended at `start` takes the place of `range`. */
static void replace_range(sl_span_buf *buf, sl_span_range *range, uint32_t start)
{
    SL_ASSERT(buf && range);
    uint32_t len = buf->len - start;
    sl_span_range old = *range;
    if (old.len == len) {
        memcpy(buf->data + old.offset, buf->data + start, len);
        buf->len = start;
        return;
    }
    *range = (sl_span_range){start, len};
    if (old.len)
        cut_out(buf, old.offset, old.len);
}

static void remove_entry(sl_span_buf *buf, uint32_t index)
{
    SL_ASSERT(index < buf->count);
    sl_span_entry old = buf->entries[index];
    memmove(&buf->entries[index], &buf->entries[index + 1], (buf->count - index - 1) * sizeof old);
    buf->count--;
    cut_out(buf, old.offset, old.len);
}

/* ---- setting ---- */

/* Takes the KeyValue that was just appended at `start` into the index. `old`: the entry it replaces, or NOT_FOUND. */
static inline void index_new(sl_span_buf *buf, uint32_t start, sl_span_entry entry, uint32_t old)
{
    SL_ASSERT(buf);
    entry.offset = start;
    entry.len = buf->len - start;
    if (SL_LIKELY(old == NOT_FOUND)) {
        buf->entries[buf->count++] = entry;
        sl_span_see(&buf->seen, entry.hash);
        return;
    }
    sl_span_entry before = buf->entries[old];
    if (before.len == entry.len) {
        memcpy(buf->data + before.offset, buf->data + start, entry.len);
        buf->len = start;
        buf->entries[old].key_at = entry.key_at;
        return;
    }
    buf->entries[old] = entry;
    cut_out(buf, before.offset, before.len);
}

/* Where the key's text begins in a KeyValue field. */
static uint8_t key_at(const uint8_t *field, size_t key_len)
{
    SL_ASSERT(field);
    unsigned at = 2;
    while (field[at - 1] & 0x80) /* the length of the KeyValue */
        at++;
    return (uint8_t)(at + (key_len < 128 ? 2 : 3));
}

/* Appends a KeyValue of any type. */
static bool append_any(sl_span_buf *buf, const sl_attr *attr, const sl_attr_rules *rules, size_t reserve)
{
    SL_ASSERT(rules);
    size_t chars = sl_attr_max_chars(rules->value_chars);
    size_t size = sl_otlp_attr_size(FIELD_ATTRS, attr, chars);
    if (!sl_span_buf_room(buf, size, reserve))
        return false;
    sl_pb_cursor c = sl_pb_cursor_of(buf->data + buf->len, buf->cap - buf->len);
    if (sl_otlp_put_attr(&c, FIELD_ATTRS, attr, chars) != size)
        return false;
    buf->len += (uint32_t)size;
    return true;
}

static uint32_t last_ordinary(const sl_span_buf *buf, const sl_attr_rules *rules)
{
    SL_ASSERT(buf);
    for (uint32_t i = buf->count; i > 0; i--) {
        if (!is_priority(rules, entry_key(buf, &buf->entries[i - 1])))
            return i - 1;
    }
    return NOT_FOUND;
}

/* The way for everything that is not a short string or a number in a span with room. */
static unsigned set_slow(sl_span_buf *buf, sl_str key, const sl_value *value, const sl_attr_rules *rules)
{
    if (!sl_attr_key_ok(key) || !sl_otlp_utf8_valid(key))
        return 1;
    sl_attr attr = {key, *value};
    uint32_t hash = sl_span_key_hash(key);
    uint32_t old = find(buf, key, hash);
    bool at_limit = old == NOT_FOUND && buf->count >= rules->count;
    bool priority = is_priority(rules, key);
    uint32_t victim = at_limit && priority ? last_ordinary(buf, rules) : NOT_FOUND;
    if ((at_limit && victim == NOT_FOUND) || !entry_room(buf))
        return 1;
    size_t reserve = priority ? 0 : SL_SPAN_RESERVE_BYTES;
    uint32_t start = buf->len;
    bool done = append_any(buf, &attr, rules, reserve);
    if (!done && old != NOT_FOUND) { /* both together are too much */
        remove_entry(buf, old);
        old = NOT_FOUND;
        start = buf->len;
        done = append_any(buf, &attr, rules, reserve);
    }
    if (!done)
        return 1;
    sl_span_entry entry = {hash, 0, 0, key_at(buf->data + start, key.len), (uint8_t)key.len};
    index_new(buf, start, entry, old);
    if (victim != NOT_FOUND)
        remove_entry(buf, victim);
    return victim != NOT_FOUND;
}

unsigned sl_span_buf_set(sl_span_buf *buf, sl_str key, const sl_value *value, const sl_attr_rules *rules)
{
    SL_ASSERT(buf && value && rules);
    if (value->type == SL_VALUE_STRING)
        return sl_span_buf_set_str(buf, key, value->as.str, rules);
    if (value->type == SL_VALUE_INT)
        return sl_span_buf_set_int(buf, key, value->as.integer, rules);
    return set_slow(buf, key, value, rules);
}

/* The KeyValue of a short key behind the contents becomes part of them, up to `end`. */
static inline void take_in(sl_span_buf *buf, sl_str key, const uint8_t *end)
{
    SL_ASSERT(buf);
    uint32_t start = buf->len;
    uint32_t hash = sl_span_key_hash(key);
    uint32_t old = find(buf, key, hash);
    sl_span_entry entry = {hash, 0, 0, SL_SPAN_SHORT_KEY_AT, (uint8_t)key.len};
    buf->len = (uint32_t)(end - buf->data);
    index_new(buf, start, entry, old);
}

/* KeyValue { 1: key, 2: AnyValue { 1: text } }, written with constant frames. */
unsigned sl_span_buf_set_str(sl_span_buf *buf, sl_str key, sl_str text, const sl_attr_rules *rules)
{
    SL_ASSERT(rules && (key.ptr || !key.len) && (text.ptr || !text.len));
    bool short_enough = rules->value_chars == 0 || text.len <= rules->value_chars;
    if (SL_LIKELY(sl_span_fast_ok(buf, key, text.len, rules) && short_enough)) {
        uint8_t *at = buf->data + buf->len;
        const uint8_t head[SL_SPAN_SHORT_KEY_AT] = {0x4A, (uint8_t)(key.len + text.len + 6), 0x0A, (uint8_t)key.len};
        const uint8_t middle[4] = {0x12, (uint8_t)(text.len + 2), 0x0A, (uint8_t)text.len};
        memcpy(at, head, sizeof head);
        uint64_t high = sl_span_copy_text(at + SL_SPAN_SHORT_KEY_AT, key.ptr, key.len);
        at += SL_SPAN_SHORT_KEY_AT + key.len;
        memcpy(at, middle, sizeof middle);
        high |= sl_span_copy_text(at + sizeof middle, text.ptr, text.len);
        if (SL_LIKELY(high == 0) || (sl_utf8_valid(key) && sl_utf8_valid(text))) {
            take_in(buf, key, at + sizeof middle + text.len);
            return 0;
        }
    }
    sl_value value = sl_value_str(text);
    return set_slow(buf, key, &value, rules);
}

/* KeyValue { 1: key, 2: AnyValue { 3: number } } */
unsigned sl_span_buf_set_int(sl_span_buf *buf, sl_str key, int64_t number, const sl_attr_rules *rules)
{
    SL_ASSERT(key.ptr || !key.len);
    if (SL_LIKELY(sl_span_fast_ok(buf, key, SL_PB_MAX_VARINT, rules))) {
        uint8_t *start = buf->data + buf->len;
        uint64_t high = sl_span_copy_text(start + SL_SPAN_SHORT_KEY_AT, key.ptr, key.len);
        uint8_t *middle = start + SL_SPAN_SHORT_KEY_AT + key.len;
        uint8_t *end = sl_pb_raw_varint(middle + 3, (uint64_t)number);
        const uint8_t head[SL_SPAN_SHORT_KEY_AT] = {0x4A, (uint8_t)(end - start - 2), 0x0A, (uint8_t)key.len};
        memcpy(start, head, sizeof head);
        middle[0] = 0x12;
        middle[1] = (uint8_t)(end - middle - 2);
        middle[2] = 0x18;
        if (SL_LIKELY(high == 0) || sl_utf8_valid(key)) {
            take_in(buf, key, end);
            return 0;
        }
    }
    sl_value value = sl_value_int(number);
    return set_slow(buf, key, &value, rules);
}

/* ---- name and status ---- */

/* A short name at the start of a span. */
static inline bool first_name(sl_span_buf *buf, sl_str name)
{
    SL_ASSERT(buf && (name.ptr || !name.len));
    if (buf->len != 0 || name.len > SL_SPAN_SHORT || buf->cap < SL_SPAN_SHORT_ROOM)
        return false;
    buf->data[0] = FIELD_NAME << 3 | SL_PB_LEN;
    buf->data[1] = (uint8_t)name.len;
    if (SL_UNLIKELY(sl_span_copy_text(buf->data + 2, name.ptr, name.len) != 0))
        return false;
    buf->len = (uint32_t)name.len + 2;
    buf->name = (sl_span_range){0, buf->len};
    return true;
}

bool sl_span_buf_set_name(sl_span_buf *buf, sl_str name)
{
    if (SL_LIKELY(first_name(buf, name)))
        return true;
    name.len = sl_utf8_prefix(name, SL_MAX_NAME_BYTES);
    if (!sl_span_buf_room(buf, 3 * name.len + SL_PB_MAX_VARINT, 0)) /* a repair may triple it */
        return false;
    uint32_t start = buf->len;
    sl_pb_cursor c = sl_pb_cursor_of(buf->data + start, buf->cap - start);
    if (!sl_otlp_put_text(&c, FIELD_NAME, name))
        return false;
    buf->len = (uint32_t)(c.at - buf->data);
    replace_range(buf, &buf->name, start);
    return true;
}

bool sl_span_buf_set_status(sl_span_buf *buf, unsigned code, sl_str message)
{
    SL_ASSERT(buf);
    message.len = sl_utf8_prefix(message, SL_MAX_STATUS_BYTES);
    uint32_t start = buf->len;
    if (code != 0) {
        if (!sl_span_buf_room(buf, 3 * message.len + 24, 0))
            return false;
        sl_pb_cursor c = sl_pb_cursor_of(buf->data + start, buf->cap - start);
        uint8_t *mark = sl_pb_open(&c, FIELD_STATUS, 2);
        bool ok = mark && (message.len == 0 || sl_otlp_put_text(&c, 2, message)) && sl_pb_put_uint(&c, 3, code) &&
                  sl_pb_close(&c, mark, 2);
        if (!ok)
            return false;
        buf->len = (uint32_t)(c.at - buf->data);
    }
    replace_range(buf, &buf->status, start);
    return true;
}

/* ---- events and links ---- */

static bool put_sub(sl_pb_cursor *c, const sl_span_sub *sub, const sl_attr_list *list)
{
    SL_ASSERT(sub);
    return sl_pb_put_raw(c, sub->head, sub->head_len) &&
           (sub->text_field == 0 || sl_otlp_put_text(c, sub->text_field, sub->text)) &&
           sl_attr_list_put(c, sub->attrs_field, list) &&
           (list->dropped == 0 || sl_pb_put_uint(c, sub->dropped_field, list->dropped));
}

bool sl_span_buf_add(sl_span_buf *buf, const sl_span_sub *sub, const sl_attr *attrs, size_t attr_count,
                     const sl_attr_rules *rules)
{
    SL_ASSERT(buf && sub && rules);
    const unsigned width = 3; /* of the length: more than SL_MAX_SPAN_BYTES */
    sl_attr_list list = sl_attr_list_of(attrs, attr_count, rules->count, rules->value_chars);
    size_t need = sl_attr_list_size(&list, sub->attrs_field) + sub->head_len + 3 * sub->text.len + SCALAR_ROOM;
    if (!sl_span_buf_room(buf, need, SL_SPAN_RESERVE_BYTES))
        return false;
    sl_pb_cursor c = sl_pb_cursor_of(buf->data + buf->len, buf->cap - buf->len);
    uint8_t *mark = sl_pb_open(&c, sub->field, width);
    if (!mark || !put_sub(&c, sub, &list) || !sl_pb_close(&c, mark, width))
        return false;
    buf->len = (uint32_t)(c.at - buf->data);
    return true;
}
