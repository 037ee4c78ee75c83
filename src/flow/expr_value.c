/* Printing, truth, equality, order of values; the count of work. */
#include "src/flow/expr_value.h"

#include <stdarg.h>
#include <stdio.h>

#include "src/base/limits.h"
#include "src/flow/expr.h"
#include "src/flow/template.h"

int sl_flow_spend(sl_flow_work *work, uint64_t steps)
{
    SL_ASSERT(work);
    if (SL_LIKELY(steps <= work->steps)) {
        work->steps -= steps;
        return 0;
    }
    work->steps = 0;
    sl_flow_fault_set(work->fault, work->line, work->column, "too much work: more than %u steps; give it less data",
                      SL_MAX_EXPR_STEPS);
    return SL_ETOOBIG;
}

int sl_flow_spend_bytes(sl_flow_work *work, uint64_t bytes)
{
    SL_ASSERT(work);
    if (SL_LIKELY(bytes <= work->bytes)) {
        work->bytes -= bytes;
        return 0;
    }
    work->bytes = 0;
    sl_flow_fault_set(work->fault, work->line, work->column, "the result is too big; give it less data");
    return SL_ETOOBIG;
}

int sl_flow_wrong(sl_flow_work *work, const char *format, ...)
{
    SL_ASSERT(work && format);
    char message[SL_FLOW_FAULT_BYTES];
    va_list args;
    va_start(args, format);
    (void)vsnprintf(message, sizeof message, format, args);
    va_end(args);
    sl_flow_fault_set(work->fault, work->line, work->column, "%s", message);
    return SL_EINVAL;
}

int sl_flow_buf_error(sl_flow_work *work, const sl_buf *buf)
{
    SL_ASSERT(work && buf);
    if (!buf->failed)
        return 0;
    bool big = buf->failed == SL_ELIMIT;
    sl_flow_fault_set(work->fault, work->line, work->column,
                      big ? "the text is too big; give it less data" : "out of memory");
    return big ? SL_ETOOBIG : SL_ENOMEM;
}

sl_str sl_flow_str(const json_t *string)
{
    SL_ASSERT(json_is_string(string));
    return sl_str_of(json_string_value(string), json_string_length(string));
}

json_t *sl_flow_member(json_t *object, sl_str key)
{
    SL_ASSERT(key.ptr || !key.len);
    return json_object_getn(object, key.ptr ? key.ptr : "", key.len);
}

json_t *sl_flow_plain(json_t *value)
{
    SL_ASSERT(value);
    if (!json_is_object(value))
        return value;
    json_t *text = json_object_get(value, SL_FLOW_TEXT_KEY);
    return text && !json_is_object(text) ? text : value;
}

const char *sl_flow_type_name(const json_t *value)
{
    SL_ASSERT(value);
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return "object";
    case JSON_ARRAY:
        return "list";
    case JSON_STRING:
        return "string";
    case JSON_INTEGER:
    case JSON_REAL:
        return "number";
    case JSON_TRUE:
    case JSON_FALSE:
        return "boolean";
    default:
        return "null";
    }
}

bool sl_expr_truth(const json_t *value)
{
    if (!value)
        return false;
    /* The cast drops const for a look-up that changes nothing. */
    const json_t *plain = json_is_object(value) ? sl_flow_plain((json_t *)(uintptr_t)value) : value;
    switch (json_typeof(plain)) {
    case JSON_OBJECT:
        return json_object_size(plain) > 0;
    case JSON_ARRAY:
        return json_array_size(plain) > 0;
    case JSON_STRING:
        return json_string_length(plain) > 0;
    case JSON_INTEGER:
        return json_integer_value(plain) != 0;
    case JSON_REAL:
        return json_real_value(plain) < 0 || json_real_value(plain) > 0;
    case JSON_TRUE:
        return true;
    default:
        return false;
    }
}

/* ---- JSON ---- */

typedef struct writer {
    sl_flow_work *work;
    sl_buf *out;
    unsigned indent;
} writer;

static int put(writer *w, const char *bytes, size_t len)
{
    SL_ASSERT(w && w->out);
    int error = sl_flow_spend_bytes(w->work, len);
    if (error)
        return error;
    (void)sl_buf_put(w->out, bytes, len);
    return sl_flow_buf_error(w->work, w->out);
}

static int put_new_line(writer *w, unsigned depth)
{
    if (!w->indent)
        return 0;
    int error = put(w, "\n", 1);
    for (unsigned i = 0; !error && i < depth * w->indent; i++)
        error = put(w, " ", 1);
    return error;
}

static size_t escape_of(unsigned char c, char *ret_text)
{
    static const char named[] = "\b\f\n\r\t\"\\";
    static const char letters[] = "bfnrt\"\\";
    const char *at = c ? memchr(named, c, sizeof named - 1) : NULL;
    if (at) {
        ret_text[0] = '\\';
        ret_text[1] = letters[at - named];
        return 2;
    }
    return (size_t)snprintf(ret_text, 8, "\\u%04x", c);
}

static int put_quoted(writer *w, sl_str s)
{
    SL_ASSERT(s.ptr || !s.len);
    int error = put(w, "\"", 1);
    size_t from = 0;
    for (size_t i = 0; !error && i < s.len; i++) {
        unsigned char c = (unsigned char)s.ptr[i];
        if (c >= 0x20 && c != '"' && c != '\\')
            continue;
        char text[8];
        error = put(w, s.ptr + from, i - from);
        if (!error)
            error = put(w, text, escape_of(c, text));
        from = i + 1;
    }
    if (!error)
        error = put(w, s.ptr + from, s.len - from);
    return error ? error : put(w, "\"", 1);
}

static int put_number(writer *w, const json_t *value)
{
    SL_ASSERT(json_is_number(value));
    int error = sl_flow_spend_bytes(w->work, 24);
    if (error)
        return error;
    if (json_is_integer(value))
        (void)sl_buf_put_i64(w->out, json_integer_value(value));
    else
        (void)sl_buf_put_double(w->out, json_real_value(value));
    return sl_flow_buf_error(w->work, w->out);
}

static int put_value(writer *w, json_t *value, unsigned depth);

static int put_list(writer *w, json_t *list, unsigned depth)
{
    SL_ASSERT(json_is_array(list));
    size_t count = json_array_size(list);
    int error = put(w, "[", 1);
    for (size_t i = 0; !error && i < count; i++) {
        error = i ? put(w, ",", 1) : 0;
        if (!error)
            error = put_new_line(w, depth + 1);
        if (!error)
            error = put_value(w, json_array_get(list, i), depth + 1);
    }
    if (!error && count)
        error = put_new_line(w, depth);
    return error ? error : put(w, "]", 1);
}

static int put_member(writer *w, sl_str key, json_t *value, bool first, unsigned depth)
{
    int error = first ? 0 : put(w, ",", 1);
    if (!error)
        error = put_new_line(w, depth);
    if (!error)
        error = put_quoted(w, key);
    if (!error)
        error = put(w, ": ", w->indent ? 2 : 1);
    return error ? error : put_value(w, value, depth);
}

static int put_object(writer *w, json_t *object, unsigned depth)
{
    SL_ASSERT(json_is_object(object));
    bool first = true;
    const char *key;
    size_t len;
    json_t *value;
    int error = put(w, "{", 1);
    json_object_keylen_foreach(object, key, len, value)
    {
        if (error)
            return error;
        if (sl_str_eq(sl_str_of(key, len), SL_STR(SL_FLOW_TEXT_KEY)))
            continue;
        error = put_member(w, sl_str_of(key, len), value, first, depth + 1);
        first = false;
    }
    if (!error && !first)
        error = put_new_line(w, depth);
    return error ? error : put(w, "}", 1);
}

static int too_deep(sl_flow_work *work)
{
    sl_flow_fault_set(work->fault, work->line, work->column, "a value is nested more than %d deep", SL_MAX_JSON_DEPTH);
    return SL_ETOOBIG;
}

static int put_value(writer *w, json_t *value, unsigned depth)
{
    SL_ASSERT(value);
    int error = sl_flow_spend(w->work, 1);
    if (error)
        return error;
    if (depth > SL_MAX_JSON_DEPTH)
        return too_deep(w->work);
    switch (json_typeof(value)) {
    case JSON_OBJECT:
        return put_object(w, value, depth);
    case JSON_ARRAY:
        return put_list(w, value, depth);
    case JSON_STRING:
        return put_quoted(w, sl_flow_str(value));
    case JSON_INTEGER:
    case JSON_REAL:
        return put_number(w, value);
    case JSON_TRUE:
        return put(w, "true", 4);
    case JSON_FALSE:
        return put(w, "false", 5);
    default:
        return put(w, "null", 4);
    }
}

int sl_flow_put_json(sl_flow_work *work, sl_buf *out, json_t *value, unsigned indent)
{
    SL_ASSERT(work && out && value && indent <= 8);
    writer w = {work, out, indent};
    return put_value(&w, value, 0);
}

int sl_flow_put_text(sl_flow_work *work, sl_buf *out, json_t *value)
{
    SL_ASSERT(work && out && value);
    value = sl_flow_plain(value);
    if (json_is_null(value))
        return 0;
    writer w = {work, out, 0};
    if (json_is_string(value)) {
        sl_str text = sl_flow_str(value);
        return put(&w, text.ptr, text.len);
    }
    return put_value(&w, value, 0);
}

/* ---- equality, order ---- */

bool sl_flow_order(json_t *a, json_t *b, int *ret_order)
{
    SL_ASSERT(a && b && ret_order);
    a = sl_flow_plain(a);
    b = sl_flow_plain(b);
    if (json_is_integer(a) && json_is_integer(b)) {
        json_int_t x = json_integer_value(a), y = json_integer_value(b);
        *ret_order = (x > y) - (x < y);
        return true;
    }
    if (json_is_number(a) && json_is_number(b)) {
        double x = json_number_value(a), y = json_number_value(b);
        *ret_order = (x > y) - (x < y);
        return true;
    }
    if (!json_is_string(a) || !json_is_string(b))
        return false;
    sl_str x = sl_flow_str(a), y = sl_flow_str(b);
    int order = memcmp(x.ptr, y.ptr, x.len < y.len ? x.len : y.len);
    *ret_order = order ? order : (x.len > y.len) - (x.len < y.len);
    return true;
}

static int equal_at(sl_flow_work *work, json_t *a, json_t *b, unsigned depth, bool *ret_equal);

static int equal_lists(sl_flow_work *work, json_t *a, json_t *b, unsigned depth, bool *ret_equal)
{
    size_t count = json_array_size(a);
    bool equal = count == json_array_size(b);
    int error = 0;
    for (size_t i = 0; !error && equal && i < count; i++)
        error = equal_at(work, json_array_get(a, i), json_array_get(b, i), depth + 1, &equal);
    if (!error)
        *ret_equal = equal;
    return error;
}

static int equal_objects(sl_flow_work *work, json_t *a, json_t *b, unsigned depth, bool *ret_equal)
{
    bool equal = json_object_size(a) == json_object_size(b);
    int error = 0;
    const char *key;
    size_t len;
    json_t *value;
    if (equal)
        json_object_keylen_foreach(a, key, len, value)
        {
            json_t *other = sl_flow_member(b, sl_str_of(key, len));
            equal = other != NULL;
            if (equal)
                error = equal_at(work, value, other, depth + 1, &equal);
            if (error || !equal)
                break;
        }
    if (!error)
        *ret_equal = equal;
    return error;
}

static int equal_at(sl_flow_work *work, json_t *a, json_t *b, unsigned depth, bool *ret_equal)
{
    SL_ASSERT(a && b && ret_equal);
    int order = 1, error = sl_flow_spend(work, 1);
    if (error)
        return error;
    if (depth > SL_MAX_JSON_DEPTH)
        return too_deep(work);
    if (json_is_object(a) && json_is_object(b))
        return equal_objects(work, a, b, depth, ret_equal);
    if (json_is_array(a) && json_is_array(b))
        return equal_lists(work, a, b, depth, ret_equal);
    a = sl_flow_plain(a);
    b = sl_flow_plain(b);
    if (json_is_string(a) && json_is_string(b))
        *ret_equal = sl_str_eq(sl_flow_str(a), sl_flow_str(b));
    else if (json_is_number(a) && json_is_number(b))
        *ret_equal = sl_flow_order(a, b, &order) && order == 0;
    else
        *ret_equal = json_typeof(a) == json_typeof(b);
    return 0;
}

int sl_flow_equal(sl_flow_work *work, json_t *a, json_t *b, bool *ret_equal)
{
    SL_ASSERT(work);
    return equal_at(work, a, b, 0, ret_equal);
}

static int measure_at(sl_flow_work *work, json_t *value, unsigned depth)
{
    int error = sl_flow_spend(work, 1);
    if (error)
        return error;
    if (depth > SL_MAX_JSON_DEPTH)
        return too_deep(work);
    if (json_is_array(value)) {
        size_t count = json_array_size(value);
        for (size_t i = 0; !error && i < count; i++)
            error = measure_at(work, json_array_get(value, i), depth + 1);
    } else if (json_is_object(value)) {
        const char *key;
        json_t *member;
        json_object_foreach(value, key, member)
        {
            error = measure_at(work, member, depth + 1);
            if (error)
                break;
        }
    }
    return error;
}

int sl_flow_measure(sl_flow_work *work, json_t *value)
{
    SL_ASSERT(work && value);
    return measure_at(work, value, 0);
}
