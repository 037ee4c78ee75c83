/* Sorting, encoding and rendering of attribute sets. */
#include "src/telemetry/attr_set.h"

#include "src/base/assert.h"
#include "src/base/limits.h"
#include "src/telemetry/prom_name.h"
#include "src/wire/otlp_encode.h"

/* ---- The set ---- */

static int compare_keys(sl_str a, sl_str b)
{
    SL_ASSERT((a.ptr || !a.len) && (b.ptr || !b.len));
    size_t len = a.len < b.len ? a.len : b.len;
    int order = len ? memcmp(a.ptr, b.ptr, len) : 0;
    return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* The key an attribute gets; empty when the rules drop it. */
static sl_str apply_rules(const sl_attr_rules *rules, sl_str key)
{
    if (!rules)
        return key;
    for (size_t i = 0; i < rules->count; i++) {
        if (sl_str_eq_c(key, rules->items[i].from))
            return sl_str_c(rules->items[i].to);
    }
    return rules->keep_only ? sl_str_of(NULL, 0) : key;
}

/* Puts one attribute in its place; an equal key is replaced. */
static void insert(sl_attr_set *set, sl_str key, sl_value value)
{
    SL_ASSERT(set->count <= SL_MAX_METRIC_ATTRS && key.len > 0);
    size_t at = set->count;
    int order = 1;
    while (at > 0 && (order = compare_keys(set->items[at - 1].key, key)) > 0)
        at--;
    if (at > 0 && order == 0) {
        set->items[at - 1].value = value;
        return;
    }
    if (set->count == SL_MAX_METRIC_ATTRS) {
        set->refused++;
        return;
    }
    memmove(set->items + at + 1, set->items + at, (set->count - at) * sizeof *set->items);
    set->items[at] = (sl_attr){key, value};
    set->count++;
}

void sl_attr_set_init(sl_attr_set *set, const sl_attr *attrs, size_t count, const sl_attr_rules *rules)
{
    SL_ASSERT(set && (attrs || count == 0));
    set->count = 0;
    set->refused = 0;
    for (size_t i = 0; i < count; i++) {
        if (attrs[i].key.len == 0 || attrs[i].key.len > SL_MAX_KEY_BYTES || !attrs[i].key.ptr) {
            set->refused++;
            continue;
        }
        sl_str key = apply_rules(rules, attrs[i].key);
        if (key.len > 0)
            insert(set, key, attrs[i].value);
    }
}

/* ---- OTLP ---- */

int sl_attr_set_encode(const sl_attr_set *set, uint32_t field, sl_buf *out)
{
    SL_ASSERT(set && out && field > 0);
    return sl_otlp_buf_attrs(out, field, set->items, set->count, SL_OTLP_NO_LIMIT);
}

/* ---- Text ---- */

static void json_string(sl_str s, sl_buf *out)
{
    SL_ASSERT(s.ptr || !s.len);
    (void)sl_buf_put_char(out, '"');
    for (size_t i = 0; i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c == '"' || c == '\\')
            (void)sl_buf_put_char(out, '\\');
        if (c < 0x20)
            (void)sl_buf_printf(out, "\\u%04x", c);
        else
            (void)sl_buf_put_char(out, (char)c);
    }
    (void)sl_buf_put_char(out, '"');
}

static void hex_text(sl_str bytes, sl_buf *out)
{
    SL_ASSERT(bytes.ptr || !bytes.len);
    for (size_t i = 0; i < bytes.len; i++) {
        char digits[2];
        sl_hex_encode((const uint8_t *)bytes.ptr + i, 1, digits);
        (void)sl_buf_put(out, digits, 2);
    }
}

static void value_text(const sl_value *value, unsigned depth, sl_buf *out);

static void list_text(const sl_value *value, unsigned depth, sl_buf *out)
{
    SL_ASSERT(value->type == SL_VALUE_MAP || value->type == SL_VALUE_ARRAY);
    bool is_map = value->type == SL_VALUE_MAP;
    size_t count = is_map ? value->as.map.count : value->as.array.count;
    (void)sl_buf_put_char(out, is_map ? '{' : '[');
    for (size_t i = 0; i < count && depth < SL_MAX_VALUE_DEPTH && !out->failed; i++) {
        if (i)
            (void)sl_buf_put_char(out, ',');
        if (is_map) {
            json_string(value->as.map.items[i].key, out);
            (void)sl_buf_put_char(out, ':');
        }
        value_text(is_map ? &value->as.map.items[i].value : &value->as.array.items[i], depth + 1, out);
    }
    (void)sl_buf_put_char(out, is_map ? '}' : ']');
}

static void value_text(const sl_value *value, unsigned depth, sl_buf *out)
{
    SL_ASSERT(value);
    switch (value->type) {
    case SL_VALUE_STRING:
        if (depth)
            json_string(value->as.str, out);
        else
            (void)sl_buf_put_str(out, value->as.str);
        break;
    case SL_VALUE_BOOL:
        (void)sl_buf_put_c(out, value->as.boolean ? "true" : "false");
        break;
    case SL_VALUE_INT:
        (void)sl_buf_put_i64(out, value->as.integer);
        break;
    case SL_VALUE_DOUBLE:
        (void)sl_buf_put_double(out, value->as.real);
        break;
    case SL_VALUE_ARRAY:
    case SL_VALUE_MAP:
        list_text(value, depth, out);
        break;
    case SL_VALUE_BYTES:
        hex_text(value->as.str, out);
        break;
    case SL_VALUE_EMPTY:
    default:
        (void)sl_buf_put_c(out, depth ? "null" : "");
        break;
    }
}

int sl_value_text(const sl_value *value, sl_buf *out)
{
    SL_ASSERT(value && out);
    value_text(value, 0, out);
    return out->failed;
}

/* ---- Labels ---- */

/* Appends the values of all keys that become `name`, in order of the keys. */
static void join_values(const sl_attr_set *set, size_t first, const char *name, sl_buf *scratch)
{
    SL_ASSERT(first < set->count);
    char other[SL_PROM_LABEL_BYTES];
    sl_buf_clear(scratch);
    (void)sl_value_text(&set->items[first].value, scratch);
    for (size_t i = first + 1; i < set->count; i++) {
        sl_prom_label_name(set->items[i].key, other);
        if (strcmp(name, other) != 0)
            continue;
        (void)sl_buf_put_char(scratch, ';');
        (void)sl_value_text(&set->items[i].value, scratch);
    }
}

static bool seen_before(const sl_attr_set *set, size_t index, const char *name)
{
    SL_ASSERT(index < set->count);
    char other[SL_PROM_LABEL_BYTES];
    for (size_t i = 0; i < index; i++) {
        sl_prom_label_name(set->items[i].key, other);
        if (strcmp(name, other) == 0)
            return true;
    }
    return false;
}

int sl_attr_set_labels(const sl_attr_set *set, const char *reserved, sl_buf *out)
{
    SL_ASSERT(set && out);
    sl_buf scratch;
    sl_buf_init(&scratch, SL_MAX_ATTR_SET_BYTES);
    for (size_t i = 0; i < set->count; i++) {
        char name[SL_PROM_LABEL_BYTES];
        sl_prom_label_name(set->items[i].key, name);
        if (seen_before(set, i, name))
            continue;
        join_values(set, i, name, &scratch);
        if (out->len > 0)
            (void)sl_buf_put_char(out, ',');
        if ((reserved && strcmp(name, reserved) == 0) || sl_str_starts(sl_str_c(name), SL_STR("otel_scope_")))
            (void)sl_buf_put_c(out, "exported_");
        (void)sl_buf_put_c(out, name);
        (void)sl_buf_put_c(out, "=\"");
        (void)sl_prom_escape_label(sl_buf_str(&scratch), out);
        (void)sl_buf_put_char(out, '"');
    }
    int error = scratch.failed ? scratch.failed : out->failed;
    sl_buf_done(&scratch);
    return error;
}
