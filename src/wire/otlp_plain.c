/* OTLP values as plain JSON and text. */
#include "src/wire/otlp_plain.h"

#include "src/wire/base64.h"

#define MAX_DEPTH 32u /* containers within each other; JSON allows SL_MAX_JSON_DEPTH, of which some are around them */

static void put_value(sl_jw *w, const sl_otlp_any *any, unsigned depth);

static void put_bytes(sl_jw *w, sl_str bytes)
{
    SL_ASSERT(w);
    sl_buf text;
    sl_buf_init(&text, sl_base64_encoded_len(bytes.len) + 1);
    if (sl_base64_encode(&text, bytes) == 0)
        sl_jw_str(w, sl_buf_str(&text));
    else
        sl_jw_null(w);
    sl_buf_done(&text);
}

/* Items up to the first malformed one. */
static void put_items(sl_jw *w, sl_str items, bool map, unsigned depth)
{
    SL_ASSERT(depth <= MAX_DEPTH);
    sl_otlp_iter it = sl_otlp_items(items, SL_OTLP_ARRAY_ITEMS);
    sl_str bytes;
    while (sl_otlp_next(&it, &bytes)) {
        sl_otlp_pair pair;
        int error = map ? sl_otlp_read_pair(bytes, &pair) : sl_otlp_read_any(bytes, &pair.value);
        if (error)
            break;
        if (map)
            sl_jw_key(w, pair.key);
        put_value(w, &pair.value, depth + 1);
    }
}

static void put_container(sl_jw *w, const sl_otlp_any *any, unsigned depth)
{
    SL_ASSERT(any->type == SL_VALUE_ARRAY || any->type == SL_VALUE_MAP);
    if (depth == MAX_DEPTH) {
        sl_jw_null(w);
        return;
    }
    bool map = any->type == SL_VALUE_MAP;
    if (map)
        sl_jw_object(w);
    else
        sl_jw_array(w);
    put_items(w, any->str, map, depth);
    sl_jw_end(w);
}

static void put_value(sl_jw *w, const sl_otlp_any *any, unsigned depth)
{
    SL_ASSERT(w && any);
    switch (any->type) {
    case SL_VALUE_STRING:
        sl_jw_str(w, any->str);
        break;
    case SL_VALUE_BOOL:
        sl_jw_bool(w, any->boolean);
        break;
    case SL_VALUE_INT:
        sl_jw_i64(w, any->integer);
        break;
    case SL_VALUE_DOUBLE:
        sl_jw_double(w, any->real);
        break;
    case SL_VALUE_BYTES:
        put_bytes(w, any->str);
        break;
    case SL_VALUE_ARRAY:
    case SL_VALUE_MAP:
        put_container(w, any, depth);
        break;
    default:
        sl_jw_null(w);
    }
}

void sl_otlp_plain_json(sl_jw *writer, const sl_otlp_any *any)
{
    SL_ASSERT(writer && any);
    sl_jw_nonfinite before = writer->nonfinite;
    writer->nonfinite = SL_JW_STRING;
    put_value(writer, any, 0);
    writer->nonfinite = before;
}

int sl_otlp_plain_object(sl_jw *writer, sl_str message, uint32_t field)
{
    SL_ASSERT(writer);
    sl_otlp_iter it = sl_otlp_items(message, field);
    sl_str bytes;
    sl_jw_object(writer);
    while (sl_otlp_next(&it, &bytes)) {
        sl_otlp_pair pair;
        if (sl_otlp_read_pair(bytes, &pair))
            return SL_EPARSE;
        sl_jw_key(writer, pair.key);
        sl_otlp_plain_json(writer, &pair.value);
    }
    sl_jw_end(writer);
    return it.reader.error;
}

int sl_otlp_plain_text(sl_buf *out, const sl_otlp_any *any)
{
    SL_ASSERT(out && any);
    if (any->type == SL_VALUE_EMPTY)
        return 0;
    if (any->type == SL_VALUE_STRING)
        return sl_buf_put_str(out, any->str);
    if (any->type == SL_VALUE_DOUBLE)
        return sl_buf_put_double(out, any->real);
    if (any->type == SL_VALUE_BYTES)
        return sl_base64_encode(out, any->str);
    sl_jw w;
    sl_jw_init(&w, out);
    sl_otlp_plain_json(&w, any);
    return sl_jw_finish(&w);
}
