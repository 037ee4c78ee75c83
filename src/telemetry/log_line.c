/* Log lines. */
#include "src/telemetry/log_line.h"

#include <math.h>
#include <sightline/log.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/limits.h"
#include "src/wire/otlp_read.h"

#define MAX_PATH 1024 /* of a flattened key; what is deeper is shown as JSON */
#define MAX_JSON_BYTES (SL_MAX_SPAN_BYTES * 8u)
#define PREFIX "attributes." /* of attributes that are called as a field of the line */

/* Keys whose string values are written bare: ids of workflows and traces, enumerated values. */
#define BARE(text)                                                                                                     \
    {                                                                                                                  \
        text, sizeof text - 1                                                                                          \
    }
static const sl_str bare_keys[] = {
    BARE("error_type"),       BARE("finish_reason"), BARE("http.request.method"),
    BARE("http.status"),      BARE("method"),        BARE("parent_span_id"),
    BARE("http.status_code"), BARE("outcome"),       BARE("run_id"),
    BARE("signal"),           BARE("span_id"),       BARE("state"),
    BARE("status"),           BARE("step_type"),     BARE("trace_id"),
    BARE("workflow_id"),
};

/* The text of a second, for all lines of that second. */
typedef struct line_time {
    uint64_t second; /* since 1970; 0: none yet */
    char text[SL_RFC3339_MS_LEN + 1];
} line_time;

/* What is known of the n-th attribute of the record before: records of one kind come together. */
typedef struct known_attr {
    sl_str key;       /* in the request; plain, never called as a field of the line */
    bool is_bare;     /* as of is_bare_key */
    sl_str encoded;   /* the attribute, in the request; empty: not shown yet */
    size_t shown_at;  /* where it stands in the output, with its key */
    size_t shown_len; /* and how long it is there */
} known_attr;

#define KNOWN_ATTRS 16

typedef struct known_attrs {
    sl_log_format format;
    known_attr attrs[KNOWN_ATTRS];
} known_attrs;

typedef struct line {
    known_attrs *known;
    size_t index; /* of the attribute */
    sl_buf *out;
    const sl_otlp_log *log;
    sl_log_format format;
    line_time *time;
    size_t path_len;
    char path[MAX_PATH];
} line;

sl_str sl_log_bare_key(size_t index)
{
    return index < sizeof bare_keys / sizeof *bare_keys ? bare_keys[index] : sl_str_of(NULL, 0);
}

int sl_log_format_parse(sl_str text, sl_log_format *ret_format)
{
    SL_ASSERT(ret_format);
    text = sl_str_trim(text);
    if (sl_str_ieq(text, SL_STR("json")))
        *ret_format = SL_LOG_JSON;
    else if (sl_str_ieq(text, SL_STR("text")))
        *ret_format = SL_LOG_TEXT;
    else
        return SL_EPARSE;
    return 0;
}

/* ---- characters ---- */

/* Bytes of the well-formed character at `at`; 0: none. */
static size_t character_at(sl_str s, size_t at)
{
    SL_ASSERT(s.ptr || !s.len);
    if ((unsigned char)s.ptr[at] < 0x80)
        return 1;
    for (size_t n = 2; n <= 4 && at + n <= s.len; n++) {
        if (sl_utf8_valid(sl_str_of(s.ptr + at, n)))
            return n;
    }
    return 0;
}

/* What a character is: 1 needs no quotes in any place, 2 none in a value, 4 no escape. */
enum { WORD = 1, VALUE = 2, PLAIN = 4 };
#define W (WORD | VALUE | PLAIN)
#define V (VALUE | PLAIN)
static const unsigned char classes[256] = {
    [' '] = PLAIN,
    ['!'] = PLAIN,
    ['#' ... '*'] = PLAIN,
    ['+'] = V,
    [','] = PLAIN,
    ['-' ... '.'] = W,
    ['/'] = V,
    ['0' ... '9'] = W,
    [':'] = V,
    [';' ... '?'] = PLAIN,
    ['@'] = V,
    ['A' ... 'Z'] = W,
    ['['] = PLAIN,
    [']' ... '^'] = PLAIN,
    ['_'] = W,
    ['`'] = PLAIN,
    ['a' ... 'z'] = W,
    ['{' ... '~'] = PLAIN,
};
#undef W
#undef V

static inline bool is_class(char c, unsigned class)
{
    return (classes[(unsigned char)c] & class) != 0;
}

#define EACH(byte) (0x0101010101010101ull * (byte))

/* High bit of each byte that is zero; of others too when one below them is. */
static inline uint64_t zero_bytes(uint64_t word)
{
    return (word - EACH(1)) & ~word & EACH(0x80);
}

/* Not zero when one of eight bytes needs an escape, or may: below 0x20, from 0x7F on, '"', '\\'. */
static inline uint64_t needs_escape(uint64_t word)
{
    uint64_t low = (word - EACH(0x20)) & ~word & EACH(0x80);
    return (word & EACH(0x80)) | low | zero_bytes(word ^ EACH(0x7F)) | zero_bytes(word ^ EACH('"')) |
           zero_bytes(word ^ EACH('\\'));
}

/* Length of the beginning that needs no escape. */
static size_t plain_run(sl_str s, size_t from)
{
    SL_ASSERT(s.ptr || !s.len);
    size_t at = from;
    for (uint64_t word; s.len - at >= sizeof word; at += sizeof word) {
        memcpy(&word, s.ptr + at, sizeof word);
        if (needs_escape(word))
            break;
    }
    while (at < s.len && is_class(s.ptr[at], PLAIN))
        at++;
    return at - from;
}

static void put_escape(sl_buf *out, unsigned code)
{
    static const struct {
        unsigned char code;
        char letter;
    } named[] = {{'"', '"'}, {'\\', '\\'}, {'\n', 'n'}, {'\r', 'r'}, {'\t', 't'}};
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) {
        if (named[i].code == code) {
            char text[2] = {'\\', named[i].letter};
            (void)sl_buf_put(out, text, 2);
            return;
        }
    }
    (void)sl_buf_printf(out, "\\u%04x", code);
}

/* Text between quotes, by rules that JSON accepts; control characters of both ranges are escaped. */
static void put_escaped(sl_buf *out, sl_str s)
{
    SL_ASSERT(s.ptr || !s.len);
    for (size_t i = 0; i < s.len;) {
        size_t run = plain_run(s, i);
        (void)sl_buf_put(out, s.ptr + i, run);
        i += run;
        if (i >= s.len)
            return;
        unsigned char c = (unsigned char)s.ptr[i];
        size_t n = character_at(s, i);
        bool c1 = n == 2 && c == 0xC2 && (unsigned char)s.ptr[i + 1] < 0xA0;
        if (n == 0)
            (void)sl_buf_put(out, "\xEF\xBF\xBD", 3);
        else if (n == 1 || c1)
            put_escape(out, c1 ? (unsigned char)s.ptr[i + 1] : c);
        else
            (void)sl_buf_put(out, s.ptr + i, n);
        i += n ? n : 1;
    }
}

static void put_quoted(sl_buf *out, sl_str s)
{
    if (SL_UNLIKELY(!s.ptr))
        s = SL_STR("");
    if (SL_UNLIKELY(sl_buf_reserve(out, s.len + 2)))
        return;
    out->data[out->len++] = '"';
    size_t run = plain_run(s, 0);
    if (run)
        memcpy(out->data + out->len, s.ptr, run);
    out->len += run;
    if (SL_UNLIKELY(run < s.len))
        put_escaped(out, sl_str_sub(s, run, s.len));
    (void)sl_buf_put_char(out, '"');
}

/* Length of the beginning that needs no quotes in any place. */
static size_t word_run(sl_str s, size_t from)
{
    SL_ASSERT(s.ptr || !s.len);
    size_t at = from;
    while (at < s.len && is_class(s.ptr[at], WORD))
        at++;
    return at - from;
}

/* A key of the text form: what would end it becomes '_'. */
static void put_bare_key(sl_buf *out, sl_str key)
{
    SL_ASSERT(key.ptr || !key.len);
    for (size_t i = 0; i < key.len;) {
        size_t run = word_run(key, i);
        (void)sl_buf_put(out, key.ptr + i, run);
        i += run;
        if (i >= key.len)
            return;
        unsigned char c = (unsigned char)key.ptr[i];
        size_t n = character_at(key, i);
        bool c1 = n == 2 && c == 0xC2 && (unsigned char)key.ptr[i + 1] < 0xA0;
        if (n == 0 || c1 || c <= 0x20 || c == 0x7F || c == '=' || c == '"' || c == '\\')
            (void)sl_buf_put_char(out, '_');
        else
            (void)sl_buf_put(out, key.ptr + i, n);
        i += n ? n : 1;
    }
}

static bool is_bare_key(sl_str key)
{
    SL_ASSERT(key.ptr || !key.len);
    for (size_t i = 0; i < sizeof bare_keys / sizeof *bare_keys; i++) {
        if (bare_keys[i].len == key.len && memcmp(bare_keys[i].ptr, key.ptr, key.len) == 0)
            return true;
    }
    return false;
}

/* True when a value can stand without quotes. */
static bool is_bare_value(sl_str s)
{
    SL_ASSERT(s.ptr || !s.len);
    for (size_t i = 0; i < s.len; i++) {
        if (!is_class(s.ptr[i], VALUE))
            return false;
    }
    return s.len > 0;
}

/* ---- values ---- */

static void put_double(sl_buf *out, double value, bool json)
{
    if (isfinite(value))
        (void)sl_buf_put_double(out, value);
    else if (isnan(value))
        (void)sl_buf_put_c(out, json ? "\"NaN\"" : "NaN");
    else if (value > 0)
        (void)sl_buf_put_c(out, json ? "\"Infinity\"" : "Infinity");
    else
        (void)sl_buf_put_c(out, json ? "\"-Infinity\"" : "-Infinity");
}

static void put_hex(sl_buf *out, sl_str bytes)
{
    SL_ASSERT(bytes.ptr || !bytes.len);
    (void)sl_buf_put_char(out, '"');
    for (size_t i = 0; i < bytes.len; i++) {
        char text[2];
        sl_hex_encode((const uint8_t *)bytes.ptr + i, 1, text);
        (void)sl_buf_put(out, text, 2);
    }
    (void)sl_buf_put_char(out, '"');
}

/* Everything but strings, arrays and maps. */
static void put_scalar(sl_buf *out, const sl_otlp_any *any, bool json)
{
    SL_ASSERT(any);
    switch (any->type) {
    case SL_VALUE_BOOL:
        (void)sl_buf_put_c(out, any->boolean ? "true" : "false");
        break;
    case SL_VALUE_INT:
        (void)sl_buf_put_i64(out, any->integer);
        break;
    case SL_VALUE_DOUBLE:
        put_double(out, any->real, json);
        break;
    case SL_VALUE_BYTES:
        put_hex(out, any->str);
        break;
    default:
        (void)sl_buf_put_c(out, "null");
    }
}

static bool is_list(const sl_otlp_any *any)
{
    SL_ASSERT(any);
    return any->type == SL_VALUE_ARRAY || any->type == SL_VALUE_MAP;
}

static int put_json(sl_buf *out, const sl_otlp_any *any, unsigned depth);

static int put_json_list(sl_buf *out, const sl_otlp_any *list, unsigned depth)
{
    SL_ASSERT(list);
    bool map = list->type == SL_VALUE_MAP, first = true;
    sl_otlp_iter it = sl_otlp_items(list->str, SL_OTLP_ARRAY_ITEMS);
    sl_str bytes;
    int error = 0;
    (void)sl_buf_put_char(out, map ? '{' : '[');
    while (!error && sl_otlp_next(&it, &bytes)) {
        sl_otlp_pair pair;
        error = map ? sl_otlp_read_pair(bytes, &pair) : sl_otlp_read_any(bytes, &pair.value);
        if (error)
            return error;
        if (!first)
            (void)sl_buf_put_char(out, ',');
        first = false;
        if (map) {
            put_quoted(out, pair.key);
            (void)sl_buf_put_char(out, ':');
        }
        error = put_json(out, &pair.value, depth + 1);
    }
    (void)sl_buf_put_char(out, map ? '}' : ']');
    return error ? error : it.reader.error;
}

/* A value as JSON. What lies too deep is null. */
static int put_json(sl_buf *out, const sl_otlp_any *any, unsigned depth)
{
    SL_ASSERT(out);
    if (is_list(any) && depth < SL_MAX_VALUE_DEPTH)
        return put_json_list(out, any, depth);
    if (any->type == SL_VALUE_STRING)
        put_quoted(out, any->str);
    else
        put_scalar(out, any, true);
    return out->failed;
}

/* A value as JSON inside quotes. */
static int put_quoted_json(sl_buf *out, const sl_otlp_any *any)
{
    SL_ASSERT(out);
    sl_buf json;
    sl_buf_init(&json, MAX_JSON_BYTES);
    int error = put_json(&json, any, 0);
    if (!error)
        put_quoted(out, sl_buf_str(&json));
    sl_buf_done(&json);
    return error ? error : out->failed;
}

/* ---- fields ---- */

static bool has_trace_id(const sl_otlp_log *log)
{
    SL_ASSERT(log);
    return log->trace_id.len == SL_TRACE_ID_SIZE;
}

static bool has_span_id(const sl_otlp_log *log)
{
    SL_ASSERT(log);
    return log->span_id.len == SL_SPAN_ID_SIZE;
}

/* Names that the line uses itself; those that not every line has as far as `log` has them, all when it is NULL. */
static bool is_own(const sl_otlp_log *log, sl_str key)
{
    SL_ASSERT(key.ptr || !key.len);
    switch (key.len) {
    case 5:
        return memcmp(key.ptr, "level", 5) == 0;
    case 7:
        return memcmp(key.ptr, "message", 7) == 0 || ((!log || has_span_id(log)) && memcmp(key.ptr, "span_id", 7) == 0);
    case 8:
        return (!log || has_trace_id(log)) && memcmp(key.ptr, "trace_id", 8) == 0;
    case 9:
        return memcmp(key.ptr, "timestamp", 9) == 0;
    case 10:
        return (!log || log->event_name.len) && memcmp(key.ptr, "event_name", 10) == 0;
    default:
        return false;
    }
}

/*
 * Names that need the prefix: the line's own, and those that another attribute gets by it, so that two attributes never
 * have one name in the line.
 */
static bool is_reserved(const sl_otlp_log *log, sl_str key)
{
    SL_ASSERT(key.ptr || !key.len);
    while (key.len > sizeof PREFIX - 1 && memcmp(key.ptr, PREFIX, sizeof PREFIX - 1) == 0)
        key = sl_str_sub(key, sizeof PREFIX - 1, SL_NPOS);
    return is_own(log, key);
}

/* True when the key needs nothing but what surrounds it. */
static bool is_plain_key(const line *l, sl_str key)
{
    SL_ASSERT(l);
    return (l->format == SL_LOG_TEXT ? word_run(key, 0) : plain_run(key, 0)) == key.len;
}

/* ` key=` or `,"key":`, of a plain key. */
static bool put_plain_key(line *l, sl_str key)
{
    SL_ASSERT(l && (key.ptr || !key.len));
    bool text = l->format == SL_LOG_TEXT;
    if (sl_buf_reserve(l->out, key.len + 4))
        return false;
    char *at = l->out->data + l->out->len;
    *at++ = text ? ' ' : ',';
    if (!text)
        *at++ = '"';
    if (key.len)
        memcpy(at, key.ptr, key.len);
    at += key.len;
    if (!text)
        *at++ = '"';
    *at++ = text ? '=' : ':';
    l->out->len = (size_t)(at - l->out->data);
    return true;
}

static void put_key(line *l, sl_str key, bool own)
{
    SL_ASSERT(l);
    bool reserved = !own && is_reserved(l->log, key);
    if (SL_LIKELY(!reserved && is_plain_key(l, key) && put_plain_key(l, key)))
        return;
    sl_str prefix = reserved ? SL_STR(PREFIX) : sl_str_of(NULL, 0);
    if (l->format == SL_LOG_TEXT) {
        (void)sl_buf_put_char(l->out, ' ');
        (void)sl_buf_put_str(l->out, prefix);
        put_bare_key(l->out, key);
        (void)sl_buf_put_char(l->out, '=');
        return;
    }
    (void)sl_buf_put_c(l->out, ",\"");
    (void)sl_buf_put_str(l->out, prefix);
    put_escaped(l->out, key);
    (void)sl_buf_put_c(l->out, "\":");
}

static void put_own_string(line *l, const char *key, sl_str value)
{
    SL_ASSERT(l);
    put_key(l, sl_str_c(key), true);
    if (l->format == SL_LOG_TEXT && is_bare_key(sl_str_c(key)) && is_bare_value(value))
        (void)sl_buf_put_str(l->out, value);
    else
        put_quoted(l->out, value);
}

/* What stands behind the key. */
static int put_bare_or_quoted(line *l, bool is_bare, const sl_otlp_any *any)
{
    SL_ASSERT(l);
    if (l->format == SL_LOG_JSON)
        return put_json(l->out, any, 0);
    if (is_list(any))
        return put_quoted_json(l->out, any);
    if (any->type != SL_VALUE_STRING)
        put_scalar(l->out, any, false);
    else if (is_bare && is_bare_value(any->str))
        (void)sl_buf_put_str(l->out, any->str);
    else
        put_quoted(l->out, any->str);
    return l->out->failed;
}

static int put_value(line *l, sl_str key, const sl_otlp_any *any)
{
    SL_ASSERT(any);
    put_key(l, key, false);
    return put_bare_or_quoted(l, any->type == SL_VALUE_STRING && is_bare_key(key), any);
}

/* As put_value, for an attribute of the record itself. */
static int put_top_value(line *l, sl_str encoded, const sl_otlp_pair *pair)
{
    SL_ASSERT(pair);
    if (SL_UNLIKELY(l->index >= KNOWN_ATTRS))
        return put_value(l, pair->key, &pair->value);
    known_attr *known = &l->known->attrs[l->index++];
    size_t before = l->out->len;
    if (SL_LIKELY(sl_str_eq(known->key, pair->key) && pair->key.len && put_plain_key(l, pair->key))) {
        int error = put_bare_or_quoted(l, known->is_bare, &pair->value);
        known->encoded = encoded;
        known->shown_at = before;
        known->shown_len = l->out->len - before;
        return error;
    }
    if (is_plain_key(l, pair->key) && !is_reserved(NULL, pair->key))
        *known = (known_attr){.key = pair->key, .is_bare = is_bare_key(pair->key)};
    return put_value(l, pair->key, &pair->value);
}

/* What the record before has in the same place is shown as it was there. False: it has another attribute. */
static bool put_again(line *l, sl_str encoded)
{
    SL_ASSERT(l && encoded.len);
    const known_attr *known = l->index < KNOWN_ATTRS ? &l->known->attrs[l->index] : NULL;
    if (!known || !sl_str_eq(known->encoded, encoded) || sl_buf_reserve(l->out, known->shown_len))
        return false;
    SL_ASSERT(known->shown_at + known->shown_len <= l->out->len);
    memcpy(l->out->data + l->out->len, l->out->data + known->shown_at, known->shown_len);
    l->out->len += known->shown_len;
    l->index++;
    return true;
}

static int put_attributes(line *l, sl_str message, uint32_t number, unsigned depth);

/* Lengthens the path by a key. False when it does not fit. */
static bool enter_path(line *l, sl_str key)
{
    SL_ASSERT(l && (key.ptr || !key.len));
    size_t dot = l->path_len ? 1 : 0;
    if (key.len >= MAX_PATH || l->path_len + dot + key.len >= MAX_PATH)
        return false;
    if (dot)
        l->path[l->path_len] = '.';
    if (key.len)
        memcpy(l->path + l->path_len + dot, key.ptr, key.len);
    l->path_len += dot + key.len;
    return true;
}

/*
 * KeyValue { 1: key, 2: AnyValue { one scalar } } with lengths of one byte, as nearly every attribute is. False: to be
 * read in full. Source: opentelemetry-proto, common.proto.
 */
static bool read_short(sl_str bytes, sl_otlp_pair *ret_pair)
{
    const unsigned char *p = (const unsigned char *)bytes.ptr;
    if (bytes.len < 6 || bytes.len >= 0x80 || p[0] != 0x0A || p[1] > bytes.len - 6)
        return false;
    const unsigned char *any = p + 2 + p[1];
    size_t len = bytes.len - 4 - p[1]; /* of the AnyValue: at least 2 */
    if (any[0] != 0x12 || any[1] != len)
        return false;
    sl_otlp_any *value = &ret_pair->value;
    any += 2;
    if (any[0] == 0x0A && any[1] == len - 2) {
        value->type = SL_VALUE_STRING;
        value->str = sl_str_of((const char *)any + 2, len - 2);
    } else if (any[0] == 0x18) {
        sl_pb_reader r = {any + 1, any + len, 0};
        uint64_t number;
        if (!sl_pb_read_varint(&r, &number) || r.at != r.end)
            return false;
        value->type = SL_VALUE_INT;
        value->integer = (int64_t)number;
    } else if (any[0] == 0x21 && len == 9) {
        sl_pb_reader r = {any + 1, any + len, 0};
        uint64_t bits = 0;
        (void)sl_pb_read_fixed(&r, 8, &bits);
        value->type = SL_VALUE_DOUBLE;
        value->real = sl_pb_bits_double(bits);
    } else {
        return false;
    }
    ret_pair->key = sl_str_of((const char *)p + 2, p[1]);
    return true;
}

/* One attribute, or the members of a map under `path.`. */
static int put_attribute(line *l, sl_str bytes, unsigned depth)
{
    sl_otlp_pair pair;
    if (depth == 0 && bytes.len && put_again(l, bytes))
        return 0;
    bool is_short = read_short(bytes, &pair);
    if (SL_LIKELY(is_short && depth == 0))
        return put_top_value(l, bytes, &pair);
    int error = is_short ? 0 : sl_otlp_read_pair(bytes, &pair);
    if (error)
        return error;
    size_t before = l->path_len;
    bool fits = enter_path(l, pair.key);
    if (pair.value.type == SL_VALUE_MAP && fits && pair.value.str.len && depth < SL_MAX_VALUE_DEPTH)
        error = put_attributes(l, pair.value.str, SL_OTLP_ARRAY_ITEMS, depth + 1);
    else
        error = put_value(l, fits ? sl_str_of(l->path, l->path_len) : pair.key, &pair.value);
    l->path_len = before;
    return error;
}

/* Bytes of the field at the front, with tag and length of one byte each; 0: it is not such a one, or is damaged. */
static inline size_t short_field(const sl_pb_reader *r)
{
    size_t left = (size_t)(r->end - r->at), size = 0;
    if (left < 2 || r->at[0] >= 0x80 || r->at[0] < 8)
        return 0;
    switch (r->at[0] & 7) {
    case SL_PB_VARINT:
        size = r->at[1] < 0x80 ? 2 : 0;
        break;
    case SL_PB_FIXED64:
        size = 9;
        break;
    case SL_PB_FIXED32:
        size = 5;
        break;
    case SL_PB_LEN:
        size = r->at[1] < 0x80 ? 2u + r->at[1] : 0;
        break;
    default:
        break;
    }
    return size <= left ? size : 0;
}

/* As sl_otlp_next, with a short way past short fields. */
static inline bool next_item(sl_otlp_iter *it, sl_str *ret_item)
{
    sl_pb_reader *r = &it->reader;
    for (size_t size; !r->error && (size = short_field(r)) > 0;) {
        const unsigned char *field = r->at;
        r->at += size;
        if (field[0] == (it->field << 3 | SL_PB_LEN)) {
            *ret_item = sl_str_of((const char *)field + 2, field[1]);
            return true;
        }
    }
    return sl_otlp_next(it, ret_item);
}

static int put_attributes(line *l, sl_str message, uint32_t number, unsigned depth)
{
    sl_otlp_iter it = sl_otlp_items(message, number);
    sl_str bytes;
    int error = 0;
    while (!error && next_item(&it, &bytes))
        error = put_attribute(l, bytes, depth);
    return error ? error : it.reader.error;
}

/* ---- lines ---- */

/* Name of the level: by the number, else by the text of another SDK where it is a plain word. */
static sl_str level_of(const sl_otlp_log *log)
{
    SL_ASSERT(log);
    if (log->severity == 0 && log->severity_text.len <= 16 && is_bare_value(log->severity_text))
        return log->severity_text;
    return sl_str_c(sl_severity_name((sl_severity)(log->severity > SL_CRITICAL ? SL_CRITICAL : log->severity)));
}

/* An id in hex, which needs quotes in JSON alone. */
static void put_id(line *l, const char *key, sl_str id)
{
    SL_ASSERT(l && id.len <= SL_TRACE_ID_SIZE);
    put_key(l, sl_str_c(key), true);
    if (sl_buf_reserve(l->out, 2 * id.len + 2))
        return;
    char *at = l->out->data + l->out->len;
    if (l->format == SL_LOG_JSON)
        *at++ = '"';
    sl_hex_encode((const uint8_t *)id.ptr, id.len, at);
    at += 2 * id.len;
    if (l->format == SL_LOG_JSON)
        *at++ = '"';
    l->out->len = (size_t)(at - l->out->data);
}

static void put_ids(line *l)
{
    SL_ASSERT(l);
    if (l->log->event_name.len)
        put_own_string(l, "event_name", l->log->event_name);
    if (has_trace_id(l->log))
        put_id(l, "trace_id", l->log->trace_id);
    if (has_span_id(l->log))
        put_id(l, "span_id", l->log->span_id);
}

/* The message is always text: of a body that is none, its JSON. */
static int put_message(line *l)
{
    SL_ASSERT(l);
    const sl_otlp_any *body = &l->log->body;
    put_key(l, SL_STR("message"), true);
    if (body->type == SL_VALUE_STRING || body->type == SL_VALUE_EMPTY)
        put_quoted(l->out, body->str);
    else if (body->type == SL_VALUE_BYTES)
        put_hex(l->out, body->str);
    else
        return put_quoted_json(l->out, body);
    return l->out->failed;
}

/* The time of a line, with the milliseconds put into the text of its second. */
static const char *time_text(line_time *time, uint64_t unix_ns)
{
    SL_ASSERT(time);
    uint64_t second = unix_ns / 1000000000u;
    if (second != time->second || second == 0) {
        sl_rfc3339_ms(unix_ns, time->text);
        time->second = second;
        return time->text;
    }
    unsigned ms = (unsigned)(unix_ns / 1000000u % 1000u);
    char *at = time->text + SL_RFC3339_MS_LEN - 4; /* 123Z */
    at[0] = (char)('0' + ms / 100);
    at[1] = (char)('0' + ms / 10 % 10);
    at[2] = (char)('0' + ms % 10);
    return time->text;
}

static int put_line(line *l)
{
    SL_ASSERT(l);
    const sl_otlp_log *log = l->log;
    const char *time = time_text(l->time, log->time_ns ? log->time_ns : log->observed_ns);
    int error;
    if (l->format == SL_LOG_TEXT) {
        (void)sl_buf_put(l->out, time, SL_RFC3339_MS_LEN);
        (void)sl_buf_put_char(l->out, ' ');
        (void)sl_buf_put_str(l->out, level_of(log));
        error = put_attributes(l, log->self, SL_OTLP_LOG_ATTRS, 0);
        put_ids(l);
        error = error ? error : put_message(l);
        (void)sl_buf_put_char(l->out, '\n');
    } else {
        (void)sl_buf_put_c(l->out, "{\"timestamp\":\"");
        (void)sl_buf_put(l->out, time, SL_RFC3339_MS_LEN);
        (void)sl_buf_put_c(l->out, "\"");
        put_own_string(l, "level", level_of(log));
        error = put_message(l);
        put_ids(l);
        error = error ? error : put_attributes(l, log->self, SL_OTLP_LOG_ATTRS, 0);
        (void)sl_buf_put_c(l->out, "}\n");
    }
    return error ? error : l->out->failed;
}

static int render(sl_str bytes, known_attrs *known, line_time *time, sl_buf *out)
{
    SL_ASSERT(out && (known->format == SL_LOG_TEXT || known->format == SL_LOG_JSON));
    sl_otlp_log log;
    line l;
    int error = sl_otlp_read_log(bytes, &log);
    if (error)
        return error;
    l.out = out;
    l.log = &log;
    l.format = known->format;
    l.known = known;
    l.index = 0;
    l.time = time;
    l.path_len = 0;
    size_t before = out->len;
    error = put_line(&l);
    if (error) {
        out->len = before;
        *known = (known_attrs){.format = known->format}; /* what was shown is not there any more */
    }
    return error;
}

int sl_log_line(sl_str bytes, sl_log_format format, sl_buf *out)
{
    line_time time = {0, ""};
    known_attrs known = {.format = format};
    return render(bytes, &known, &time, out);
}

int sl_log_lines(sl_str request, sl_log_format format, sl_buf *out, size_t *ret_lines)
{
    SL_ASSERT(out);
    sl_otlp_records records = sl_otlp_records_of(request);
    line_time time = {0, ""};
    known_attrs known = {.format = format};
    size_t lines = 0;
    int first_error = 0;
    while (!out->failed && sl_otlp_records_next(&records)) {
        int error = render(records.item, &known, &time, out);
        lines += error == 0;
        if (!first_error)
            first_error = error;
    }
    if (ret_lines)
        *ret_lines = lines;
    return out->failed ? out->failed : first_error ? first_error : records.error;
}
