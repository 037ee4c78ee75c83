/* Log lines. */
#include "src/telemetry/log_line.h"

#include <math.h>
#include <sightline/log.h>

#include "src/base/clock.h"
#include "src/base/limits.h"
#include "src/wire/pb.h"

/* Fields of LogRecord, AnyValue and KeyValue (opentelemetry-proto). */
enum {
    LOG_TIME = 1,
    LOG_SEVERITY = 2,
    LOG_SEVERITY_TEXT = 3,
    LOG_BODY = 5,
    LOG_ATTRIBUTES = 6,
    LOG_TRACE_ID = 9,
    LOG_SPAN_ID = 10,
    LOG_OBSERVED = 11,
    LOG_EVENT_NAME = 12
};
enum { ANY_STRING = 1, ANY_BOOL, ANY_INT, ANY_DOUBLE, ANY_ARRAY, ANY_MAP, ANY_BYTES };

#define MAX_PATH 1024 /* of a flattened key; what is deeper is shown as JSON */
#define MAX_JSON_BYTES SL_MAX_SPAN_BYTES * 8u

/* Keys whose string values are written bare: ids of workflows and traces, enumerated values. Sorted. */
static const char *const bare_keys[] = {
    "error_type",    "finish_reason", "http.request.method", "http.status", "http.status_code", "method",
    "outcome",       "parent_span_id", "run_id",             "signal",      "span_id",          "state",
    "status",        "step_type",     "trace_id",            "workflow_id",
};

typedef struct record {
    uint64_t time_ns, observed_ns, severity;
    sl_str severity_text, body, trace_id, span_id, event_name;
} record;

typedef struct line {
    sl_buf *out;
    const record *record;
    sl_log_format format;
    size_t path_len;
    char path[MAX_PATH];
} line;

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
    if ((unsigned char)s.ptr[at] < 0x80)
        return 1;
    for (size_t n = 2; n <= 4 && at + n <= s.len; n++) {
        if (sl_utf8_valid(sl_str_of(s.ptr + at, n)))
            return n;
    }
    return 0;
}

/* Length of the beginning that needs no escape. */
static size_t plain_run(sl_str s, size_t from)
{
    size_t at = from;
    while (at < s.len) {
        unsigned char c = (unsigned char)s.ptr[at];
        if (c < 0x20 || c >= 0x7F || c == '"' || c == '\\')
            break;
        at++;
    }
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
    (void)sl_buf_put_char(out, '"');
    put_escaped(out, s);
    (void)sl_buf_put_char(out, '"');
}

static bool is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '.' ||
           c == '-';
}

/* Length of the beginning that needs no quotes in any place. */
static size_t word_run(sl_str s, size_t from)
{
    size_t at = from;
    while (at < s.len && is_word_char(s.ptr[at]))
        at++;
    return at - from;
}

/* A key of the text form: what would end it becomes '_'. */
static void put_bare_key(sl_buf *out, sl_str key)
{
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
    size_t low = 0, high = sizeof bare_keys / sizeof *bare_keys;
    while (low < high) {
        size_t middle = (low + high) / 2;
        sl_str other = sl_str_c(bare_keys[middle]);
        size_t len = key.len < other.len ? key.len : other.len;
        int order = len ? memcmp(key.ptr, other.ptr, len) : 0;
        if (order == 0 && key.len == other.len)
            return true;
        if (order < 0 || (order == 0 && key.len < other.len))
            high = middle;
        else
            low = middle + 1;
    }
    return false;
}

/* True when a value can stand without quotes. */
static bool is_bare_value(sl_str s)
{
    for (size_t i = word_run(s, 0); i < s.len; i++) {
        char c = s.ptr[i];
        if (!is_word_char(c) && c != ':' && c != '/' && c != '@' && c != '+')
            return false;
    }
    return s.len > 0;
}

/* ---- values ---- */

/* The set member of an AnyValue; number 0 when it is empty. False when malformed. */
static bool read_any(sl_str any, sl_pb_field *ret_field)
{
    sl_pb_reader r = sl_pb_reader_of(any);
    sl_pb_field field, last = {0, 0, 0, {NULL, 0}};
    while (sl_pb_next(&r, &field)) {
        if (field.number >= ANY_STRING && field.number <= ANY_BYTES)
            last = field;
    }
    *ret_field = last;
    return r.error == 0;
}

/* Key and value of a KeyValue. */
static bool read_pair(sl_str pair, sl_str *ret_key, sl_str *ret_value)
{
    sl_pb_reader r = sl_pb_reader_of(pair);
    sl_pb_field field;
    *ret_key = *ret_value = sl_str_of(NULL, 0);
    while (sl_pb_next(&r, &field)) {
        if (sl_pb_is(&field, 1, SL_PB_LEN))
            *ret_key = field.bytes;
        else if (sl_pb_is(&field, 2, SL_PB_LEN))
            *ret_value = field.bytes;
    }
    return r.error == 0;
}

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
    (void)sl_buf_put_char(out, '"');
    for (size_t i = 0; i < bytes.len; i++) {
        char text[2];
        sl_hex_encode((const uint8_t *)bytes.ptr + i, 1, text);
        (void)sl_buf_put(out, text, 2);
    }
    (void)sl_buf_put_char(out, '"');
}

/* Everything but strings, arrays and maps. */
static void put_scalar(sl_buf *out, const sl_pb_field *field, bool json)
{
    switch (field->number) {
    case ANY_BOOL:
        (void)sl_buf_put_c(out, field->value ? "true" : "false");
        break;
    case ANY_INT:
        (void)sl_buf_put_i64(out, (int64_t)field->value);
        break;
    case ANY_DOUBLE:
        put_double(out, sl_pb_bits_double(field->value), json);
        break;
    case ANY_BYTES:
        put_hex(out, field->bytes);
        break;
    default:
        (void)sl_buf_put_c(out, "null");
    }
}

static int put_json(sl_buf *out, sl_str any, unsigned depth);

static int put_json_list(sl_buf *out, sl_str list, bool map, unsigned depth)
{
    sl_pb_reader r = sl_pb_reader_of(list);
    sl_pb_field field;
    int error = 0;
    bool first = true;
    (void)sl_buf_put_char(out, map ? '{' : '[');
    while (!error && sl_pb_next(&r, &field)) {
        if (!sl_pb_is(&field, 1, SL_PB_LEN))
            continue;
        sl_str key, value = field.bytes;
        if (!first)
            (void)sl_buf_put_char(out, ',');
        first = false;
        if (map && !read_pair(field.bytes, &key, &value))
            return SL_EPARSE;
        if (map) {
            put_quoted(out, key);
            (void)sl_buf_put_char(out, ':');
        }
        error = put_json(out, value, depth + 1);
    }
    (void)sl_buf_put_char(out, map ? '}' : ']');
    return r.error ? SL_EPARSE : error;
}

/* A value as JSON. What lies too deep is null. */
static int put_json(sl_buf *out, sl_str any, unsigned depth)
{
    sl_pb_field field;
    if (!read_any(any, &field))
        return SL_EPARSE;
    if ((field.number == ANY_ARRAY || field.number == ANY_MAP) && depth < SL_MAX_VALUE_DEPTH)
        return put_json_list(out, field.bytes, field.number == ANY_MAP, depth);
    if (field.number == ANY_STRING)
        put_quoted(out, field.bytes);
    else if (field.number == ANY_ARRAY || field.number == ANY_MAP)
        (void)sl_buf_put_c(out, "null");
    else
        put_scalar(out, &field, true);
    return out->failed;
}

/* A value as JSON inside quotes. */
static int put_quoted_json(sl_buf *out, sl_str any)
{
    sl_buf json;
    sl_buf_init(&json, MAX_JSON_BYTES);
    int error = put_json(&json, any, 0);
    if (!error)
        put_quoted(out, sl_buf_str(&json));
    sl_buf_done(&json);
    return error ? error : out->failed;
}

/* ---- fields ---- */

/* Names that the line uses itself. */
static bool is_reserved(const record *rec, sl_str key)
{
    return sl_str_eq_c(key, "message") || sl_str_eq_c(key, "timestamp") || sl_str_eq_c(key, "level") ||
           (rec->trace_id.len && sl_str_eq_c(key, "trace_id")) ||
           (rec->span_id.len && sl_str_eq_c(key, "span_id")) ||
           (rec->event_name.len && sl_str_eq_c(key, "event_name"));
}

static void put_key(line *l, sl_str key, bool own)
{
    sl_str prefix = !own && is_reserved(l->record, key) ? SL_STR("attributes.") : sl_str_of(NULL, 0);
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
    put_key(l, sl_str_c(key), true);
    if (l->format == SL_LOG_TEXT && is_bare_key(sl_str_c(key)) && is_bare_value(value))
        (void)sl_buf_put_str(l->out, value);
    else
        put_quoted(l->out, value);
}

static int put_value(line *l, sl_str key, sl_str any, const sl_pb_field *field)
{
    put_key(l, key, false);
    if (l->format == SL_LOG_JSON)
        return put_json(l->out, any, 0);
    if (field->number == ANY_ARRAY || field->number == ANY_MAP)
        return put_quoted_json(l->out, any);
    if (field->number != ANY_STRING)
        put_scalar(l->out, field, false);
    else if (is_bare_key(key) && is_bare_value(field->bytes))
        (void)sl_buf_put_str(l->out, field->bytes);
    else
        put_quoted(l->out, field->bytes);
    return l->out->failed;
}

/* One attribute, or the members of a map under `path.`. */
static int put_attribute(line *l, sl_str pair, unsigned depth)
{
    sl_str key, any;
    sl_pb_field field;
    if (!read_pair(pair, &key, &any) || !read_any(any, &field))
        return SL_EPARSE;
    size_t before = l->path_len;
    size_t dot = before ? 1 : 0;
    bool fits = key.len < MAX_PATH && before + dot + key.len < MAX_PATH;
    if (fits) {
        if (dot)
            l->path[before] = '.';
        if (key.len)
            memcpy(l->path + before + dot, key.ptr, key.len);
        l->path_len = before + dot + key.len;
    }
    int error = 0;
    if (field.number == ANY_MAP && fits && field.bytes.len && depth < SL_MAX_VALUE_DEPTH) {
        sl_pb_reader r = sl_pb_reader_of(field.bytes);
        sl_pb_field member;
        while (!error && sl_pb_next(&r, &member)) {
            if (sl_pb_is(&member, 1, SL_PB_LEN))
                error = put_attribute(l, member.bytes, depth + 1);
        }
        error = error ? error : r.error;
    } else {
        error = put_value(l, fits ? sl_str_of(l->path, l->path_len) : key, any, &field);
    }
    l->path_len = before;
    return error;
}

static int put_attributes(line *l, sl_str bytes)
{
    sl_pb_reader r = sl_pb_reader_of(bytes);
    sl_pb_field field;
    int error = 0;
    while (!error && sl_pb_next(&r, &field)) {
        if (sl_pb_is(&field, LOG_ATTRIBUTES, SL_PB_LEN))
            error = put_attribute(l, field.bytes, 0);
    }
    return error ? error : r.error;
}

/* ---- lines ---- */

static bool read_record(sl_str bytes, record *rec)
{
    sl_pb_reader r = sl_pb_reader_of(bytes);
    sl_pb_field f;
    memset(rec, 0, sizeof *rec);
    while (sl_pb_next(&r, &f)) {
        if (sl_pb_is(&f, LOG_TIME, SL_PB_FIXED64))
            rec->time_ns = f.value;
        else if (sl_pb_is(&f, LOG_OBSERVED, SL_PB_FIXED64))
            rec->observed_ns = f.value;
        else if (sl_pb_is(&f, LOG_SEVERITY, SL_PB_VARINT))
            rec->severity = f.value;
        else if (sl_pb_is(&f, LOG_SEVERITY_TEXT, SL_PB_LEN))
            rec->severity_text = f.bytes;
        else if (sl_pb_is(&f, LOG_BODY, SL_PB_LEN))
            rec->body = f.bytes;
        else if (sl_pb_is(&f, LOG_TRACE_ID, SL_PB_LEN) && f.bytes.len == SL_TRACE_ID_SIZE)
            rec->trace_id = f.bytes;
        else if (sl_pb_is(&f, LOG_SPAN_ID, SL_PB_LEN) && f.bytes.len == SL_SPAN_ID_SIZE)
            rec->span_id = f.bytes;
        else if (sl_pb_is(&f, LOG_EVENT_NAME, SL_PB_LEN))
            rec->event_name = f.bytes;
    }
    return r.error == 0;
}

/* Name of the level: by the number, else by the text of another SDK where it is a plain word. */
static sl_str level_of(const record *rec)
{
    if (rec->severity == 0 && rec->severity_text.len <= 16 && is_bare_value(rec->severity_text))
        return rec->severity_text;
    return sl_str_c(sl_severity_name((sl_severity)(rec->severity > SL_CRITICAL ? SL_CRITICAL : rec->severity)));
}

static void put_ids(line *l)
{
    char hex[2 * SL_TRACE_ID_SIZE];
    if (l->record->event_name.len)
        put_own_string(l, "event_name", l->record->event_name);
    if (l->record->trace_id.len) {
        sl_hex_encode((const uint8_t *)l->record->trace_id.ptr, SL_TRACE_ID_SIZE, hex);
        put_own_string(l, "trace_id", sl_str_of(hex, 2 * SL_TRACE_ID_SIZE));
    }
    if (l->record->span_id.len) {
        sl_hex_encode((const uint8_t *)l->record->span_id.ptr, SL_SPAN_ID_SIZE, hex);
        put_own_string(l, "span_id", sl_str_of(hex, 2 * SL_SPAN_ID_SIZE));
    }
}

/* The message is always text: of a body that is none, its JSON. */
static int put_message(line *l)
{
    sl_pb_field field;
    if (!read_any(l->record->body, &field))
        return SL_EPARSE;
    put_key(l, SL_STR("message"), true);
    if (field.number == ANY_STRING || field.number == 0)
        put_quoted(l->out, field.bytes);
    else if (field.number == ANY_BYTES)
        put_hex(l->out, field.bytes);
    else
        return put_quoted_json(l->out, l->record->body);
    return l->out->failed;
}

static int put_line(line *l, sl_str bytes)
{
    char time[SL_RFC3339_MS_LEN + 1];
    const record *rec = l->record;
    sl_rfc3339_ms(rec->time_ns ? rec->time_ns : rec->observed_ns, time);
    int error;
    if (l->format == SL_LOG_TEXT) {
        (void)sl_buf_put(l->out, time, SL_RFC3339_MS_LEN);
        (void)sl_buf_put_char(l->out, ' ');
        (void)sl_buf_put_str(l->out, level_of(rec));
        error = put_attributes(l, bytes);
        put_ids(l);
        error = error ? error : put_message(l);
        (void)sl_buf_put_char(l->out, '\n');
    } else {
        (void)sl_buf_put_c(l->out, "{\"timestamp\":\"");
        (void)sl_buf_put(l->out, time, SL_RFC3339_MS_LEN);
        (void)sl_buf_put_c(l->out, "\"");
        put_own_string(l, "level", level_of(rec));
        error = put_message(l);
        put_ids(l);
        error = error ? error : put_attributes(l, bytes);
        (void)sl_buf_put_c(l->out, "}\n");
    }
    return error ? error : l->out->failed;
}

int sl_log_line(sl_str bytes, sl_log_format format, sl_buf *out)
{
    SL_ASSERT(out && (format == SL_LOG_TEXT || format == SL_LOG_JSON));
    record rec;
    line l;
    if (!read_record(bytes, &rec))
        return SL_EPARSE;
    l.out = out;
    l.record = &rec;
    l.format = format;
    l.path_len = 0;
    size_t before = out->len;
    int error = put_line(&l, bytes);
    if (error)
        out->len = before;
    return error;
}

/* Lines of the records of one ResourceLogs or ScopeLogs message (`level` 0 and 1). */
static int put_lines(sl_str message, unsigned level, sl_log_format format, sl_buf *out, size_t *lines)
{
    static const uint32_t fields[] = {1, 2, 2}; /* resource_logs, scope_logs, log_records */
    sl_pb_reader r = sl_pb_reader_of(message);
    sl_pb_field field;
    int first_error = 0;
    while (sl_pb_next(&r, &field)) {
        if (!sl_pb_is(&field, fields[level], SL_PB_LEN))
            continue;
        int error = level < 2 ? put_lines(field.bytes, level + 1, format, out, lines)
                              : sl_log_line(field.bytes, format, out);
        if (level == 2 && !error)
            (*lines)++;
        if (!first_error)
            first_error = error;
        if (out->failed)
            return out->failed;
    }
    return first_error ? first_error : r.error;
}

int sl_log_lines(sl_str request, sl_log_format format, sl_buf *out, size_t *ret_lines)
{
    size_t lines = 0;
    int error = put_lines(request, 0, format, out, &lines);
    if (ret_lines)
        *ret_lines = lines;
    return error;
}
