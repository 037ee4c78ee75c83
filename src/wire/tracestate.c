/*
 * The W3C `tracestate` header: checked as a whole, never repaired. A malformed member, or more than 32, discard it; of
 * a key that occurs twice the first entry, the most recent one, is kept. What does not fit is cut by whole entries,
 * those above 128 characters first, then from the right.
 * Source: W3C Trace Context Level 2, section 3.3 (and its test suite for duplicate keys and 33 members).
 */
#include <sightline/context.h>

#include "src/base/assert.h"
#include "src/base/limits.h"
#include "src/base/str.h"

#define MAX_TOKEN 256 /* characters of a key, and of a value */
#define LONG_MEMBER 128

typedef struct member {
    sl_str key;
    sl_str value;
} member;

typedef struct members {
    member at[SL_MAX_TRACESTATE_MEMBERS];
    size_t count;
} members;

static bool key_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
}

static bool valid_key(sl_str key)
{
    SL_ASSERT(key.ptr || !key.len);
    if (key.len == 0 || key.len > MAX_TOKEN || !key_start(key.ptr[0]))
        return false;
    for (size_t i = 1; i < key.len; i++) {
        char c = key.ptr[i];
        if (!key_start(c) && c != '_' && c != '-' && c != '*' && c != '/' && c != '@')
            return false;
    }
    return true;
}

static bool valid_value(sl_str value)
{
    SL_ASSERT(value.ptr || !value.len);
    if (value.len == 0 || value.len > MAX_TOKEN || value.ptr[value.len - 1] == ' ')
        return false;
    for (size_t i = 0; i < value.len; i++) {
        char c = value.ptr[i];
        if (c < 0x20 || c > 0x7E || c == ',' || c == '=')
            return false;
    }
    return true;
}

static bool has_key(const members *list, sl_str key)
{
    for (size_t i = 0; i < list->count; i++) {
        if (sl_str_eq(list->at[i].key, key))
            return true;
    }
    return false;
}

static int collect(sl_str header, members *list)
{
    SL_ASSERT(list);
    list->count = 0;
    size_t seen = 0;
    sl_str part;
    while (sl_str_split(&header, ',', &part)) {
        part = sl_str_trim(part);
        if (part.len == 0)
            continue;
        size_t equals = sl_str_chr(part, '=');
        if (equals == SL_NPOS || ++seen > SL_MAX_TRACESTATE_MEMBERS)
            return SL_EPARSE;
        member m = {sl_str_sub(part, 0, equals), sl_str_sub(part, equals + 1, part.len)};
        if (!valid_key(m.key) || !valid_value(m.value))
            return SL_EPARSE;
        if (!has_key(list, m.key))
            list->at[list->count++] = m;
    }
    return 0;
}

static size_t member_len(const member *m)
{
    SL_ASSERT(m);
    return m->key.len + 1 + m->value.len;
}

static size_t list_len(const members *list)
{
    SL_ASSERT(list);
    size_t len = list->count ? list->count - 1 : 0;
    for (size_t i = 0; i < list->count; i++)
        len += member_len(&list->at[i]);
    return len;
}

/* Removes whole entries until the rest fits; the first `keep` stay. */
static void fit(members *list, size_t size, size_t keep)
{
    SL_ASSERT(list);
    while (list->count > keep && list_len(list) > size) {
        size_t victim = list->count - 1;
        for (size_t i = list->count; i-- > keep;) {
            if (member_len(&list->at[i]) > LONG_MEMBER) {
                victim = i;
                break;
            }
        }
        list->count--;
        memmove(&list->at[victim], &list->at[victim + 1], (list->count - victim) * sizeof list->at[0]);
    }
}

static int emit(const members *list, char *text, size_t size, size_t *ret_len)
{
    SL_ASSERT(ret_len && (text || !size));
    size_t len = list_len(list);
    if (len > size)
        return SL_ELIMIT;
    size_t at = 0;
    for (size_t i = 0; i < list->count; i++) {
        const member *m = &list->at[i];
        if (i)
            text[at++] = ',';
        memcpy(text + at, m->key.ptr, m->key.len);
        at += m->key.len;
        text[at++] = '=';
        memcpy(text + at, m->value.ptr, m->value.len);
        at += m->value.len;
    }
    SL_ASSERT(at == len);
    *ret_len = len;
    return 0;
}

int sl_tracestate_parse(sl_str header, char *text, size_t size, size_t *ret_len)
{
    if (!ret_len || (!text && size))
        return SL_EINVAL;
    members list;
    int error = collect(header, &list);
    if (error)
        return error;
    fit(&list, size, 0);
    return emit(&list, text, size, ret_len);
}

sl_str sl_tracestate_get(sl_str tracestate, sl_str key)
{
    sl_str part;
    while (sl_str_split(&tracestate, ',', &part)) {
        part = sl_str_trim(part);
        if (part.len > key.len && part.ptr[key.len] == '=' && sl_str_starts(part, key))
            return sl_str_sub(part, key.len + 1, part.len);
    }
    return sl_str_of(NULL, 0);
}

int sl_tracestate_set(sl_str tracestate, sl_str key, sl_str value, char *text, size_t size, size_t *ret_len)
{
    if (!ret_len || !text || !valid_key(key) || !valid_value(value))
        return SL_EINVAL;
    members old, list;
    if (collect(tracestate, &old))
        old.count = 0; /* a state that is not well-formed is not carried on */
    list.at[0] = (member){key, value};
    list.count = 1;
    for (size_t i = 0; i < old.count && list.count < SL_MAX_TRACESTATE_MEMBERS; i++) {
        if (!sl_str_eq(old.at[i].key, key))
            list.at[list.count++] = old.at[i];
    }
    fit(&list, size, 1);
    return emit(&list, text, size, ret_len);
}
