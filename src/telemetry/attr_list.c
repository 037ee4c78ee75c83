/* Lists of attributes: which ones are kept, and writing them. */
#include "src/telemetry/attr_list.h"

#include "src/base/assert.h"

sl_attr_list sl_attr_list_of(const sl_attr *attrs, size_t count, uint32_t max_count, uint32_t value_chars)
{
    sl_attr_list list = {attrs, attrs ? count : 0, max_count, sl_attr_max_chars(value_chars), 0};
    if (list.count > SL_MAX_LIST_ATTRS)
        list.count = SL_MAX_LIST_ATTRS;
    list.dropped = (uint32_t)((attrs ? count : 0) - list.count);
    return list;
}

/* True when a later attribute of the list has the same key. */
static bool repeated_later(const sl_attr_list *list, size_t index)
{
    for (size_t i = index + 1; i < list->count; i++) {
        if (sl_str_eq(list->attrs[i].key, list->attrs[index].key))
            return true;
    }
    return false;
}

/* The next attribute to be kept, from `*at` on; NULL at the end. */
static const sl_attr *next(const sl_attr_list *list, size_t *at, uint32_t *ret_refused)
{
    SL_ASSERT(at && list);
    while (*at < list->count) {
        size_t index = (*at)++;
        const sl_attr *attr = &list->attrs[index];
        if (!sl_attr_key_ok(attr->key) || !sl_otlp_utf8_valid(attr->key))
            (*ret_refused)++;
        else if (!repeated_later(list, index))
            return attr;
    }
    return NULL;
}

size_t sl_attr_list_size(sl_attr_list *list, uint32_t field)
{
    SL_ASSERT(list && field > 0);
    size_t size = 0, at = 0;
    uint32_t kept = 0;
    for (const sl_attr *attr; (attr = next(list, &at, &list->dropped)) != NULL;) {
        if (kept == list->max_count)
            list->dropped++;
        else {
            size += sl_otlp_attr_size(field, attr, list->max_chars);
            kept++;
        }
    }
    return size;
}

bool sl_attr_list_put(sl_pb_cursor *c, uint32_t field, const sl_attr_list *list)
{
    SL_ASSERT(c && list && field > 0);
    size_t at = 0;
    uint32_t kept = 0, refused = 0;
    const sl_attr *attr;
    while (kept < list->max_count && (attr = next(list, &at, &refused)) != NULL) {
        if (sl_otlp_put_attr(c, field, attr, list->max_chars) == 0)
            return false;
        kept++;
    }
    return true;
}
