/* Translation of names, units, labels and numbers. */
#include "src/telemetry/prom_name.h"

#include "src/base/assert.h"
#include <math.h>

typedef struct word {
    const char *unit;
    const char *text;
} word;

/* UCUM units and the words that Prometheus names use. */
static const word unit_words[] = {
    {"d", "days"},          {"h", "hours"},        {"min", "minutes"},   {"s", "seconds"},      {"ms", "milliseconds"},
    {"us", "microseconds"}, {"ns", "nanoseconds"}, {"By", "bytes"},      {"KiBy", "kibibytes"}, {"MiBy", "mebibytes"},
    {"GiBy", "gibibytes"},  {"TiBy", "tibibytes"}, {"KBy", "kilobytes"}, {"MBy", "megabytes"},  {"GBy", "gigabytes"},
    {"TBy", "terabytes"},   {"m", "meters"},       {"V", "volts"},       {"A", "amperes"},      {"J", "joules"},
    {"W", "watts"},         {"g", "grams"},        {"Cel", "celsius"},   {"Hz", "hertz"},       {"%", "percent"},
};
/* Behind the '/' of a rate. */
static const word per_words[] = {
    {"s", "second"}, {"m", "minute"}, {"min", "minute"}, {"h", "hour"},
    {"d", "day"},    {"w", "week"},   {"mo", "month"},   {"y", "year"},
};

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static const char *look_up(const word *words, size_t count, sl_str unit)
{
    SL_ASSERT(words || !count);
    for (size_t i = 0; i < count; i++) {
        if (sl_str_eq_c(unit, words[i].unit))
            return words[i].text;
    }
    return NULL;
}

/* Appends `text` to a NUL-terminated name with '_' for what is not allowed and never two '_' in a row. */
static void append_clean(char *name, size_t size, sl_str text, bool colons)
{
    SL_ASSERT(strlen(name) < size);
    size_t len = strlen(name);
    for (size_t i = 0; i < text.len && len + 1 < size; i++) {
        char c = text.ptr[i];
        if (!is_alnum(c) && !(colons && c == ':'))
            c = '_';
        if (c == '_' && len > 0 && name[len - 1] == '_')
            continue;
        name[len++] = c;
    }
    name[len] = '\0';
}

static void trim_underscores(char *name)
{
    SL_ASSERT(name);
    size_t len = strlen(name);
    while (len > 0 && name[len - 1] == '_')
        name[--len] = '\0';
    size_t lead = strspn(name, "_");
    memmove(name, name + lead, len - (lead < len ? lead : len) + 1);
}

/* One side of a unit in words; nothing for annotations in braces. */
static void append_unit_side(char *name, size_t size, sl_str side, bool is_per)
{
    side = sl_str_trim(side);
    if (sl_str_chr(side, '{') != SL_NPOS || sl_str_chr(side, '}') != SL_NPOS)
        return;
    const char *text = is_per ? look_up(per_words, sizeof per_words / sizeof *per_words, side)
                              : look_up(unit_words, sizeof unit_words / sizeof *unit_words, side);
    append_clean(name, size, text ? sl_str_c(text) : side, false);
}

void sl_prom_unit(sl_str unit, sl_instrument_kind kind, char ret_unit[SL_PROM_UNIT_BYTES])
{
    SL_ASSERT(unit.len < SL_PROM_UNIT_BYTES / 2);
    ret_unit[0] = '\0';
    if (sl_str_eq_c(unit, "1")) {
        if (kind == SL_GAUGE)
            memcpy(ret_unit, "ratio", sizeof "ratio");
        return;
    }
    size_t slash = sl_str_chr(unit, '/');
    append_unit_side(ret_unit, SL_PROM_UNIT_BYTES, sl_str_sub(unit, 0, slash), false);
    if (slash == SL_NPOS)
        return trim_underscores(ret_unit);
    char per[SL_PROM_UNIT_BYTES] = "";
    append_unit_side(per, sizeof per, sl_str_sub(unit, slash + 1, SL_NPOS), true);
    trim_underscores(per);
    if (per[0]) {
        append_clean(ret_unit, SL_PROM_UNIT_BYTES, SL_STR("_per_"), false);
        append_clean(ret_unit, SL_PROM_UNIT_BYTES, sl_str_c(per), false);
    }
    trim_underscores(ret_unit);
}

/* True when the words of `part` stand in `name` as whole words. */
static bool has_words(const char *name, const char *part)
{
    SL_ASSERT(name && part[0]);
    size_t len = strlen(part);
    for (const char *at = strstr(name, part); at; at = strstr(at + 1, part)) {
        bool starts = at == name || at[-1] == '_' || at[-1] == ':';
        if (starts && (at[len] == '\0' || at[len] == '_'))
            return true;
    }
    return false;
}

/* Takes a word off the end of a name; a name that is nothing else stays. */
static void cut_suffix(char *name, const char *suffix)
{
    SL_ASSERT(suffix[0]);
    sl_str s = sl_str_c(name);
    if (sl_str_ends(s, sl_str_c(suffix)) && s.len > strlen(suffix))
        name[s.len - strlen(suffix)] = '\0';
}

bool sl_prom_name(sl_str name, sl_str unit, sl_instrument_kind kind, char ret_name[SL_PROM_NAME_BYTES])
{
    SL_ASSERT(name.len <= SL_MAX_KEY_BYTES);
    ret_name[0] = '\0';
    if (name.len > 0 && is_digit(name.ptr[0]))
        append_clean(ret_name, SL_PROM_NAME_BYTES, SL_STR("_"), true);
    append_clean(ret_name, SL_PROM_NAME_BYTES, name, true);
    bool colon = sl_str_chr(name, ':') != SL_NPOS;
    if (colon && sl_str_eq_c(name, ret_name))
        return true;
    char words[SL_PROM_UNIT_BYTES];
    sl_prom_unit(unit, kind, words);
    if (kind == SL_COUNTER)
        cut_suffix(ret_name, "_total");
    if (words[0] && !has_words(ret_name, words)) {
        append_clean(ret_name, SL_PROM_NAME_BYTES, SL_STR("_"), true);
        append_clean(ret_name, SL_PROM_NAME_BYTES, sl_str_c(words), true);
    }
    if (kind == SL_COUNTER)
        append_clean(ret_name, SL_PROM_NAME_BYTES, SL_STR("_total"), true);
    return sl_str_eq_c(name, ret_name) && (colon || sl_str_chr(name, '_') != SL_NPOS);
}

void sl_prom_label_name(sl_str key, char ret_name[SL_PROM_LABEL_BYTES])
{
    SL_ASSERT(key.len <= SL_MAX_KEY_BYTES);
    ret_name[0] = '\0';
    if (key.len > 0 && is_digit(key.ptr[0]))
        memcpy(ret_name, "key_", sizeof "key_");
    append_clean(ret_name, SL_PROM_LABEL_BYTES, key, false);
}

/* Bytes of the UTF-8 sequence at the front; 0 when it is not well-formed. */
static size_t utf8_sequence(sl_str s)
{
    SL_ASSERT(s.len > 0);
    size_t len = (unsigned char)s.ptr[0] < 0x80   ? 1
                 : (unsigned char)s.ptr[0] < 0xE0 ? 2
                 : (unsigned char)s.ptr[0] < 0xF0 ? 3
                                                  : 4;
    return len <= s.len && sl_utf8_valid(sl_str_of(s.ptr, len)) ? len : 0;
}

static int escape(sl_str text, bool quotes, sl_buf *out)
{
    SL_ASSERT(out && (text.ptr || text.len == 0));
    bool valid = sl_utf8_valid(text);
    for (size_t i = 0; i < text.len;) {
        char c = text.ptr[i];
        size_t len = valid ? 1 : utf8_sequence(sl_str_sub(text, i, SL_NPOS));
        if (c == '\\')
            (void)sl_buf_put_c(out, "\\\\");
        else if (c == '\n')
            (void)sl_buf_put_c(out, "\\n");
        else if (c == '"' && quotes)
            (void)sl_buf_put_c(out, "\\\"");
        else if (c == '\0' || c == '\r' || len == 0)
            (void)sl_buf_put_c(out, c == '\r' ? " " : "\xEF\xBF\xBD");
        else
            (void)sl_buf_put(out, text.ptr + i, len);
        i += len ? len : 1;
    }
    return out->failed;
}

int sl_prom_escape_label(sl_str value, sl_buf *out)
{
    return escape(value, true, out);
}

int sl_prom_escape_help(sl_str help, sl_prometheus_format format, sl_buf *out)
{
    return escape(help, format == SL_PROMETHEUS_OPENMETRICS, out);
}

int sl_prom_bound(double bound, sl_prometheus_format format, sl_buf *out)
{
    SL_ASSERT(out);
    size_t before = out->len;
    int error = sl_prom_number(bound, out);
    if (error || format != SL_PROMETHEUS_OPENMETRICS || isinf(bound))
        return error;
    sl_str text = sl_str_of(out->data + before, out->len - before);
    bool has_point = sl_str_chr(text, '.') != SL_NPOS || sl_str_chr(text, 'e') != SL_NPOS;
    return has_point ? 0 : sl_buf_put_c(out, ".0");
}

/*
 * A decimal with few digits: value = m / 10^k with both exact in a double, so the division is correctly rounded and
 * "m with k decimals" reads back as the same double.
 */
static bool short_decimal(double value, sl_buf *out)
{
    static const double powers[] = {1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9};
    double magnitude = fabs(value);
    if (!(magnitude >= 1e-4 && magnitude < 1e9))
        return false;
    for (size_t k = 1; k < sizeof powers / sizeof *powers; k++) {
        double m = nearbyint(magnitude * powers[k]);
        if (m >= 9007199254740992.0)
            return false;
        if (m / powers[k] != magnitude)
            continue;
        uint64_t digits = (uint64_t)m, unit = (uint64_t)powers[k];
        char fraction[16];
        uint64_t rest = digits % unit;
        for (size_t i = k; i-- > 0; rest /= 10)
            fraction[i] = (char)('0' + rest % 10);
        if (value < 0)
            (void)sl_buf_put_char(out, '-');
        (void)sl_buf_put_u64(out, digits / unit);
        (void)sl_buf_put_char(out, '.');
        (void)sl_buf_put(out, fraction, k);
        return true;
    }
    return false;
}

int sl_prom_number(double value, sl_buf *out)
{
    SL_ASSERT(out);
    bool whole = fabs(value) < 1e15 && value == (double)(int64_t)value;
    if (whole || !short_decimal(value, out))
        return sl_buf_put_double(out, value);
    return out->failed;
}
