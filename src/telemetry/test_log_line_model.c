/*
 * Log lines read back: records by chance, with texts that have every kind of character in them, written in both forms
 * and read by a reader that knows the rules alone. Nothing is lost, nothing is added, and no text ends a line.
 */
#include <sightline/log.h>
#include <stdio.h>

#include "src/telemetry/log_line.h"
#include "src/wire/json_scan.h"
#include "src/wire/otlp_encode.h"
#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_test.h"

#define T0 1763116245123000000u /* 2025-11-14T10:30:45.123Z */
#define ATTRS_MAX 6u
#define TEXT_MAX 160u

/* Characters: harmless ones, those that end something in one of the forms, controls of both ranges, long ones. */
static const char *const characters[] = {
    "a",
    "Z",
    "7",
    "_",
    ".",
    "-",
    "/",
    ":",
    "@",
    "+",
    " ",
    "=",
    "\"",
    "\\",
    "'",
    ",",
    "{",
    "}",
    "[",
    "]",
    "<",
    "&",
    "%",
    "\n",
    "\r",
    "\t",
    "\b",
    "\f",
    "\x01",
    "\x1b",
    "\x7f",
    "\xc2\x85",
    "\xc2\x9f",
    "\xc2\xa0",
    "\xe2\x80\xa8",
    "\xf0\x9f\x99\x82",
};

typedef struct text {
    char bytes[TEXT_MAX];
    size_t len;
} text;

typedef struct record {
    text keys[ATTRS_MAX], strings[ATTRS_MAX], message;
    sl_value values[ATTRS_MAX];
    size_t count;
    uint8_t trace_id[SL_TRACE_ID_SIZE], span_id[SL_SPAN_ID_SIZE];
    bool traced;
    uint8_t encoded[8192];
    size_t len;
} record;

static sl_str view(const text *t)
{
    return sl_str_of(t->bytes, t->len);
}

static void make_text(uint64_t *state, text *t, unsigned most, unsigned kinds)
{
    t->len = 0;
    for (unsigned n = sl_chance(state, most + 1); n > 0; n--) {
        const char *c = characters[sl_chance(state, kinds)];
        memcpy(t->bytes + t->len, c, strlen(c));
        t->len += strlen(c);
    }
}

/* Keys differ by their last letter. */
static void make_attr(uint64_t *state, record *r, size_t i)
{
    static const char *const known[] = {"status",  "run_id",    "error_type",       "level",
                                        "message", "timestamp", "attributes.level", "attributes.attributes.message"};
    text *key = &r->keys[i];
    unsigned which = sl_chance(state, 18);
    if (which < sizeof known / sizeof *known && i == 0) {
        key->len = strlen(known[which]);
        memcpy(key->bytes, known[which], key->len);
    } else {
        make_text(state, key, 12, sizeof characters / sizeof *characters);
        key->bytes[key->len++] = (char)('p' + i);
    }
    make_text(state, &r->strings[i], 30, sl_chance(state, 2) ? 10 : sizeof characters / sizeof *characters);
    static const int64_t numbers[] = {0, -1, 42, INT64_MAX, INT64_MIN};
    switch (sl_chance(state, 4)) {
    case 0:
        r->values[i] = sl_value_int(numbers[sl_chance(state, 5)]);
        break;
    case 1:
        r->values[i] = sl_value_bool(sl_chance(state, 2) != 0);
        break;
    default:
        r->values[i] = sl_value_str(view(&r->strings[i]));
    }
}

/* Fields of LogRecord. Source: opentelemetry-proto, logs.proto. */
static void make_record(uint64_t *state, record *r)
{
    sl_pb_cursor c = sl_pb_cursor_of(r->encoded, sizeof r->encoded);
    r->count = sl_chance(state, ATTRS_MAX + 1);
    r->traced = sl_chance(state, 2) != 0;
    make_text(state, &r->message, 40, sizeof characters / sizeof *characters);
    CHECK(sl_pb_put_fixed64(&c, 1, T0) && sl_pb_put_uint(&c, 2, SL_WARN));
    for (size_t i = 0; i < r->count; i++) {
        make_attr(state, r, i);
        sl_attr attr = {view(&r->keys[i]), r->values[i]};
        CHECK(sl_otlp_put_attr(&c, 6, &attr, SL_OTLP_NO_LIMIT) != 0);
    }
    sl_value body = sl_value_str(view(&r->message));
    uint8_t *mark = sl_pb_open(&c, 5, 4);
    CHECK(mark && sl_otlp_put_value(&c, &body, SL_OTLP_NO_LIMIT) && sl_pb_close(&c, mark, 4));
    for (size_t i = 0; r->traced && i < SL_TRACE_ID_SIZE; i++)
        r->trace_id[i] = r->span_id[i % SL_SPAN_ID_SIZE] = (uint8_t)(1 + sl_chance(state, 255));
    if (r->traced)
        CHECK(sl_pb_put_str(&c, 9, sl_str_of((char *)r->trace_id, sizeof r->trace_id)) &&
              sl_pb_put_str(&c, 10, sl_str_of((char *)r->span_id, sizeof r->span_id)));
    r->len = (size_t)(c.at - r->encoded);
}

/* ---- what should be read ---- */

/* A key as it should be read: one that the line uses itself has a prefix; in the text form some characters are '_'. */
static void wanted_key(const record *r, size_t i, bool is_text, char ret_key[TEXT_MAX + 16])
{
    sl_str key = view(&r->keys[i]);
    sl_str tail = sl_str_sub(key, sl_str_ends(key, SL_STR("level")) ? key.len - 5 : key.len - 7, SL_NPOS);
    bool own =
        sl_str_eq_c(key, "timestamp") || sl_str_eq_c(key, "level") || sl_str_eq_c(key, "message") ||
        (sl_str_starts(key, SL_STR("attributes.")) && (sl_str_eq_c(tail, "level") || sl_str_eq_c(tail, "message")));
    size_t len = (size_t)snprintf(ret_key, TEXT_MAX + 16, "%s", own ? "attributes." : "");
    for (size_t at = 0; at < key.len; at++) {
        unsigned char c = (unsigned char)key.ptr[at];
        bool c1 = c == 0xC2 && (unsigned char)key.ptr[at + 1] < 0xA0;
        bool ends = c <= 0x20 || c == 0x7F || c == '=' || c == '"' || c == '\\' || c1;
        ret_key[len++] = is_text && ends ? '_' : (char)c;
        at += is_text && c1;
    }
    ret_key[len] = '\0';
}

static void hex_of(const uint8_t *bytes, size_t size, char *ret_hex)
{
    for (size_t i = 0; i < size; i++)
        (void)snprintf(ret_hex + 2 * i, 3, "%02x", bytes[i]);
}

/* ---- the text form ---- */

/* Takes `key=value` off the front, the value decoded. A quoted value is a JSON string. */
static bool take_pair(sl_str *line, sl_str *ret_key, char *value, size_t size, bool *ret_quoted)
{
    size_t equals = sl_str_chr(*line, '=');
    if (equals == SL_NPOS)
        return false;
    *ret_key = sl_str_sub(*line, 0, equals);
    sl_str rest = sl_str_sub(*line, equals + 1, SL_NPOS);
    size_t end = 0, len = 0;
    *ret_quoted = rest.len && rest.ptr[0] == '"';
    if (*ret_quoted) {
        for (end = 1; end < rest.len && rest.ptr[end] != '"'; end++)
            end += rest.ptr[end] == '\\';
        if (end >= rest.len || sl_json_unescape(sl_str_sub(rest, 1, end - 1), value, size - 1, &len))
            return false;
        end++;
    } else {
        while (end < rest.len && rest.ptr[end] != ' ')
            end++;
        memcpy(value, rest.ptr, len = end);
    }
    value[len] = '\0';
    if (end < rest.len && rest.ptr[end] != ' ')
        return false;
    *line = sl_str_sub(rest, end + 1, SL_NPOS);
    return true;
}

static void expect_pair(sl_str *line, const char *key, sl_str wanted, bool may_be_bare)
{
    char value[1024];
    sl_str name;
    bool quoted = false;
    REQUIRE(take_pair(line, &name, value, sizeof value, &quoted));
    CHECK_STR(name, key);
    CHECK_STR_EQ(sl_str_c(value), wanted);
    CHECK(quoted || may_be_bare);
}

static void check_text(const record *r, sl_str line)
{
    char key[TEXT_MAX + 16], text_of[64];
    REQUIRE(sl_str_starts(line, SL_STR("2025-11-14T10:30:45.123Z WARN ")));
    line = sl_str_sub(line, sizeof "2025-11-14T10:30:45.123Z WARN " - 1, SL_NPOS);
    REQUIRE(line.len && line.ptr[line.len - 1] == '\n');
    line.len--;
    for (size_t i = 0; i < line.len; i++)
        CHECK((unsigned char)line.ptr[i] >= 0x20 && line.ptr[i] != 0x7F);
    for (size_t i = 0; i < r->count; i++) {
        const sl_value *v = &r->values[i];
        wanted_key(r, i, true, key);
        if (v->type == SL_VALUE_INT)
            (void)snprintf(text_of, sizeof text_of, "%lld", (long long)v->as.integer);
        else if (v->type == SL_VALUE_BOOL)
            (void)snprintf(text_of, sizeof text_of, "%s", v->as.boolean ? "true" : "false");
        bool is_string = v->type == SL_VALUE_STRING;
        bool id = sl_str_eq_c(view(&r->keys[i]), "status") || sl_str_eq_c(view(&r->keys[i]), "run_id") ||
                  sl_str_eq_c(view(&r->keys[i]), "error_type");
        expect_pair(&line, key, is_string ? view(&r->strings[i]) : sl_str_c(text_of), !is_string || id);
    }
    char hex[2 * SL_TRACE_ID_SIZE + 1];
    if (r->traced) {
        hex_of(r->trace_id, SL_TRACE_ID_SIZE, hex);
        expect_pair(&line, "trace_id", sl_str_c(hex), true);
        hex_of(r->span_id, SL_SPAN_ID_SIZE, hex);
        expect_pair(&line, "span_id", sl_str_c(hex), true);
    }
    expect_pair(&line, "message", view(&r->message), false);
    CHECK_EQ(line.len, 0);
}

/* ---- the JSON form ---- */

static void check_member(const record *r, sl_json_value object, size_t i)
{
    char key[TEXT_MAX + 16];
    const sl_value *v = &r->values[i];
    wanted_key(r, i, false, key);
    sl_json_value member = sl_json_get(object, key);
    if (v->type == SL_VALUE_INT) {
        int64_t number = 1;
        CHECK(sl_json_i64(member, &number) == 0 && number == v->as.integer);
    } else if (v->type == SL_VALUE_BOOL) {
        bool is = !v->as.boolean;
        CHECK(sl_json_bool(member, &is) == 0 && is == v->as.boolean);
    } else {
        CHECK(sl_json_string_is(member, view(&r->strings[i])));
    }
}

static void check_json(const record *r, sl_str line)
{
    sl_json_value object;
    REQUIRE(line.len && line.ptr[line.len - 1] == '\n' && sl_str_chr(line, '\n') == line.len - 1);
    REQUIRE(sl_json_parse(sl_str_sub(line, 0, line.len - 1), &object, NULL) == 0);
    CHECK(sl_json_string_is(sl_json_get(object, "timestamp"), SL_STR("2025-11-14T10:30:45.123Z")));
    CHECK(sl_json_string_is(sl_json_get(object, "level"), SL_STR("WARN")));
    CHECK(sl_json_string_is(sl_json_get(object, "message"), view(&r->message)));
    for (size_t i = 0; i < r->count; i++)
        check_member(r, object, i);
    char hex[2 * SL_TRACE_ID_SIZE + 1];
    hex_of(r->trace_id, SL_TRACE_ID_SIZE, hex);
    if (r->traced)
        CHECK(sl_json_string_is(sl_json_get(object, "trace_id"), sl_str_c(hex)));
    CHECK_EQ(sl_json_count(object), 3 + r->count + (r->traced ? 2 : 0));
}

SL_TEST(lines_are_read_back_as_what_was_logged)
{
    static record r;
    uint64_t state = 11;
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    for (unsigned round = 0; round < 6000; round++) {
        make_record(&state, &r);
        sl_str bytes = sl_str_of((char *)r.encoded, r.len);
        sl_buf_clear(&out);
        CHECK_EQ(sl_log_line(bytes, SL_LOG_TEXT, &out), 0);
        check_text(&r, sl_buf_str(&out));
        sl_buf_clear(&out);
        CHECK_EQ(sl_log_line(bytes, SL_LOG_JSON, &out), 0);
        check_json(&r, sl_buf_str(&out));
    }
    sl_buf_done(&out);
}
