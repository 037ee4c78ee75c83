/*
 * Attribute values: every type of OTLP's AnyValue, as views.
 *
 * A value never owns what it points to; the library copies what it keeps before the call returns.
 * Source: OTLP common.proto (AnyValue, KeyValue); since OTLP 1.9.0 any AnyValue is legal in any attribute.
 */
#ifndef SIGHTLINE_VALUE_H
#define SIGHTLINE_VALUE_H

#include <sightline/base.h>

SL_BEGIN_DECLS

typedef enum sl_value_type {
    SL_VALUE_EMPTY = 0, /* the null value */
    SL_VALUE_STRING = 1,
    SL_VALUE_BOOL = 2,
    SL_VALUE_INT = 3,
    SL_VALUE_DOUBLE = 4,
    SL_VALUE_ARRAY = 5,
    SL_VALUE_MAP = 6,
    SL_VALUE_BYTES = 7
} sl_value_type;

struct sl_attr;

/* One value. `as.str` serves STRING and BYTES; `as.array` and `as.map` point to `count` items of the caller. */
typedef struct sl_value {
    sl_value_type type;
    union {
        sl_str str;
        bool boolean;
        int64_t integer;
        double real;
        struct {
            const struct sl_value *items;
            size_t count;
        } array;
        struct {
            const struct sl_attr *items;
            size_t count;
        } map;
    } as;
} sl_value;

/* A key with its value. Keys are UTF-8, not empty, at most 255 bytes (longer ones are refused and counted). */
typedef struct sl_attr {
    sl_str key;
    sl_value value;
} sl_attr;

static inline sl_value sl_value_empty(void)
{
    sl_value v;
    memset(&v, 0, sizeof v);
    return v;
}

static inline sl_value sl_value_str(sl_str s)
{
    sl_value v = sl_value_empty();
    v.type = SL_VALUE_STRING;
    v.as.str = s;
    return v;
}

static inline sl_value sl_value_cstr(const char *z)
{
    return sl_value_str(sl_str_c(z));
}

static inline sl_value sl_value_bytes(const void *data, size_t len)
{
    sl_value v = sl_value_str(sl_str_of((const char *)data, len));
    v.type = SL_VALUE_BYTES;
    return v;
}

static inline sl_value sl_value_int(int64_t i)
{
    sl_value v = sl_value_empty();
    v.type = SL_VALUE_INT;
    v.as.integer = i;
    return v;
}

static inline sl_value sl_value_double(double d)
{
    sl_value v = sl_value_empty();
    v.type = SL_VALUE_DOUBLE;
    v.as.real = d;
    return v;
}

static inline sl_value sl_value_bool(bool b)
{
    sl_value v = sl_value_empty();
    v.type = SL_VALUE_BOOL;
    v.as.boolean = b;
    return v;
}

static inline sl_value sl_value_array(const sl_value *items, size_t count)
{
    sl_value v = sl_value_empty();
    v.type = SL_VALUE_ARRAY;
    v.as.array.items = items;
    v.as.array.count = count;
    return v;
}

static inline sl_value sl_value_map(const sl_attr *items, size_t count)
{
    sl_value v = sl_value_empty();
    v.type = SL_VALUE_MAP;
    v.as.map.items = items;
    v.as.map.count = count;
    return v;
}

/* An attribute from a C string key. */
static inline sl_attr sl_attr_of(const char *key, sl_value value)
{
    sl_attr a;
    a.key = sl_str_c(key);
    a.value = value;
    return a;
}

static inline sl_attr sl_attr_str(const char *key, const char *value)
{
    return sl_attr_of(key, sl_value_cstr(value));
}

static inline sl_attr sl_attr_int(const char *key, int64_t value)
{
    return sl_attr_of(key, sl_value_int(value));
}

static inline sl_attr sl_attr_double(const char *key, double value)
{
    return sl_attr_of(key, sl_value_double(value));
}

static inline sl_attr sl_attr_bool(const char *key, bool value)
{
    return sl_attr_of(key, sl_value_bool(value));
}

SL_END_DECLS

#endif
