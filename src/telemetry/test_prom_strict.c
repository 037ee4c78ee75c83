/*
 * The text of whatever may be recorded, read by a checker that takes nothing for granted: the grammar of text 0.0.4 and
 * OpenMetrics 1.0, families that stand together, series that stand once, buckets that add up.
 */
#include <math.h>
#include <unistd.h>

#include "src/base/rng.h"
#include "src/telemetry/prom_name.h"
#include "src/telemetry/test_metrics_fixture.h"

#define MAX_LABELS 64

typedef struct checker {
    bool open; /* OpenMetrics */
    sl_str line;
    sl_str families[4096], series[16384];
    size_t family_count, series_count;
    sl_str type; /* of the family at hand */
    sl_str le_labels;
    double le, below;
    uint64_t in_infinite;
    bool negative; /* a bound of the histogram at hand */
    bool ended;
} checker;

static checker c;
static bool expecting; /* a fault is what the test wants */

static bool fault(const char *what)
{
    if (!expecting)
        sl_test_failed(__FILE__, __LINE__, "%s: %.*s", what, (int)(c.line.len < 300 ? c.line.len : 300), c.line.ptr);
    return false;
}

static size_t name_end(sl_str s, bool colons)
{
    size_t i = 0;
    while (i < s.len &&
           (s.ptr[i] == '_' || (s.ptr[i] >= 'a' && s.ptr[i] <= 'z') || (s.ptr[i] >= 'A' && s.ptr[i] <= 'Z') ||
            (colons && s.ptr[i] == ':') || (i > 0 && s.ptr[i] >= '0' && s.ptr[i] <= '9')))
        i++;
    return i;
}

/* Length of a quoted text with its quotes; 0: it is none, or has an escape that there is not. */
static size_t quoted(sl_str s)
{
    if (s.len == 0 || s.ptr[0] != '"')
        return 0;
    for (size_t i = 1; i < s.len; i++) {
        if (s.ptr[i] == '"')
            return i + 1;
        if (s.ptr[i] == '\\' && (++i == s.len || !strchr("\\\"n", s.ptr[i])))
            return 0;
    }
    return 0;
}

/* Length of `{name="value",…}`; the value of `le` and what stands before it. */
static size_t check_labels(sl_str s, double *ret_le, sl_str *ret_others)
{
    sl_str names[MAX_LABELS];
    size_t at = 1, count = 0;
    *ret_others = sl_str_of(s.ptr, 1);
    while (at < s.len && s.ptr[at] != '}' && count < MAX_LABELS) {
        sl_str rest = sl_str_sub(s, at, SL_NPOS);
        size_t name = name_end(rest, false), value = 0;
        if (name > 0 && name + 1 < rest.len && rest.ptr[name] == '=')
            value = quoted(sl_str_sub(rest, name + 1, SL_NPOS));
        if (!value)
            return (size_t)fault("label");
        names[count] = sl_str_sub(rest, 0, name);
        for (size_t i = 0; i < count; i++) {
            if (sl_str_eq(names[i], names[count]))
                return (size_t)fault("label twice");
        }
        if (sl_str_eq_c(names[count], "le"))
            *ret_le = strtod(rest.ptr + name + 2, NULL);
        else
            *ret_others = sl_str_of(s.ptr, at + name + 1 + value);
        count++;
        at += name + 1 + value;
        if (at < s.len && s.ptr[at] == ',')
            at++;
    }
    return at < s.len && s.ptr[at] == '}' ? at + 1 : (size_t)fault("labels do not end");
}

static bool number(sl_str s, double *ret_value)
{
    char text[64], *end;
    if (s.len == 0 || !sl_str_to_c(s, text, sizeof text) || text[0] == ' ' || strpbrk(text, "xX"))
        return fault("number");
    *ret_value = strtod(text, &end);
    bool special = sl_str_eq_c(s, "NaN") || sl_str_eq_c(s, "+Inf") || sl_str_eq_c(s, "-Inf");
    return (*end == '\0' && isfinite(*ret_value)) || special ? true : fault("number");
}

/* A line of metadata begins a family, or belongs to the one that began. */
static bool check_metadata(void)
{
    sl_str rest = sl_str_sub(c.line, 7, SL_NPOS), name = sl_str_sub(rest, 0, sl_str_chr(rest, ' '));
    bool is_type = sl_str_starts(c.line, SL_STR("# TYPE ")), is_unit = sl_str_starts(c.line, SL_STR("# UNIT "));
    if (!is_type && !is_unit && !sl_str_starts(c.line, SL_STR("# HELP ")))
        return fault("comment");
    if (name.len == 0 || name_end(name, true) != name.len || (is_unit && !c.open))
        return fault("metadata");
    if (c.family_count == 0 || !sl_str_eq(c.families[c.family_count - 1], name)) {
        for (size_t i = 0; i < c.family_count; i++) {
            if (sl_str_eq(c.families[i], name))
                return fault("family twice");
        }
        c.families[c.family_count++] = name;
        c.type = c.le_labels = sl_str_of(NULL, 0);
    }
    sl_str last = sl_str_sub(rest, name.len + 1, SL_NPOS);
    if (is_unit && (!sl_str_ends(name, last) || name.ptr[name.len - last.len - 1] != '_'))
        return fault("unit");
    if (is_type)
        c.type = last;
    return c.family_count < 4096 ? true : fault("too many");
}

static bool check_bucket(sl_str others, double le, double value)
{
    bool same = c.le_labels.ptr && sl_str_eq(c.le_labels, others);
    if (isnan(le) || (same && (le <= c.le || value < c.below)))
        return fault("bucket");
    c.negative = le < 0 || (same && c.negative);
    c.le_labels = others;
    c.le = le;
    c.below = value;
    return true;
}

/* The sample's name and value fit the type of its family. */
static bool check_type(sl_str name, sl_str others, double le, double value)
{
    sl_str family = c.family_count ? c.families[c.family_count - 1] : sl_str_of(NULL, 0);
    if (!sl_str_starts(name, family))
        return fault("sample of no family");
    sl_str suffix = sl_str_sub(name, family.len, SL_NPOS);
    if (sl_str_eq_c(c.type, "histogram")) {
        if (sl_str_eq_c(suffix, "_bucket"))
            return check_bucket(others, le, value);
        if (sl_str_eq_c(suffix, "_count"))
            return isinf(c.le) && value >= c.below && value <= c.below ? true : fault("count");
        bool counts = !c.open || (value >= 0 && !c.negative);
        return sl_str_eq_c(suffix, "_sum") && counts ? true : fault("sum");
    }
    if (sl_str_eq_c(c.type, "counter") && !(value >= 0))
        return fault("counter");
    if (sl_str_eq_c(c.type, "counter") && c.open)
        return sl_str_eq_c(suffix, "_total") ? true : fault("suffix");
    if (sl_str_eq_c(c.type, "info"))
        return sl_str_eq_c(suffix, "_info") && value >= 1 && value <= 1 ? true : fault("info");
    bool known = sl_str_eq_c(c.type, "counter") || sl_str_eq_c(c.type, "gauge") || sl_str_eq_c(c.type, "unknown");
    return known && suffix.len == 0 ? true : fault("type");
}

static bool check_sample(void)
{
    size_t at = name_end(c.line, true);
    sl_str name = sl_str_sub(c.line, 0, at), others = sl_str_of("{", 1);
    double le = strtod("nan", NULL), value;
    if (at == 0)
        return fault("name");
    if (at < c.line.len && c.line.ptr[at] == '{') {
        size_t labels = check_labels(sl_str_sub(c.line, at, SL_NPOS), &le, &others);
        if (!labels)
            return false;
        at += labels;
    }
    sl_str key = sl_str_sub(c.line, 0, at), rest = sl_str_sub(c.line, at, SL_NPOS);
    for (size_t i = 0; i < c.series_count; i++) {
        if (sl_str_eq(c.series[i], key))
            return fault("series twice");
    }
    c.series[c.series_count++] = key;
    if (rest.len < 2 || rest.ptr[0] != ' ' || c.series_count == 16384)
        return fault("value");
    size_t exemplar = sl_str_find(rest, SL_STR(" # {"));
    if (exemplar != SL_NPOS &&
        (!c.open || !(sl_str_ends(name, SL_STR("_bucket")) || sl_str_ends(name, SL_STR("_total")))))
        return fault("exemplar");
    return number(sl_str_sub(rest, 1, exemplar == SL_NPOS ? SL_NPOS : exemplar - 1), &value) &&
           check_type(name, others, le, value);
}

/* False after a fault, which is the test's. */
static bool check_text(sl_str text, sl_prometheus_format format)
{
    memset(&c, 0, sizeof c);
    c.open = format == SL_PROMETHEUS_OPENMETRICS;
    if (!sl_utf8_valid(text) || memchr(text.ptr, '\0', text.len) || memchr(text.ptr, '\r', text.len) ||
        text.ptr[text.len - 1] != '\n')
        return fault("bytes");
    text.len--;
    while (sl_str_split(&text, '\n', &c.line)) {
        if (c.ended)
            return fault("behind the end");
        c.ended = c.open && sl_str_eq_c(c.line, "# EOF");
        bool good =
            c.ended || (c.line.len && c.line.ptr[0] == '#' ? c.line.len > 7 && check_metadata() : check_sample());
        if (!good)
            return fault("line");
    }
    return c.ended == c.open ? true : fault("end");
}

/* ---- What is recorded ---- */

static const char *const names[] = {"a",        "a.b",     "a_b",         "A.B",         "a_total",   "a.total",
                                    "target",   "x_info",  "target_info", "target.info", "x:y",       "x:y_total",
                                    "h_bucket", "d-e/f",   "d..e",        "s_seconds",   "s.seconds", "otel.sdk",
                                    "h",        "h.count", "h_sum"};
static const char *const units[] = {"", "s", "By/s", "1", "{n}", "%", "m/{x}", "\xC2\xB5s", "_", "Cel"};
static const char *const keys[] = {"k",
                                   "le",
                                   "quantile",
                                   "otel.scope.name",
                                   "otel_scope_version",
                                   "k.a",
                                   "k_a",
                                   "1k",
                                   "__name__",
                                   "\xD0\xBA",
                                   "a b",
                                   "k\"",
                                   "k\n",
                                   "job",
                                   "_",
                                   "K"};

static sl_str random_text(sl_rng *rng, char *text)
{
    static const char pieces[][5] = {"\"",           "\\",   "\n", "\r", "\xC3\xA9", "\xC3",
                                     "\xFF",         "a",    "}",  ",",  "# ",       "\xF0\x9F\x98\x80",
                                     "\xED\xA0\x80", "\x01", " ",  "le="};
    size_t len = 0;
    for (uint64_t i = sl_rng_next(rng) % 6; i > 0; i--) {
        const char *piece = pieces[sl_rng_next(rng) % 16];
        memcpy(text + len, piece, strlen(piece));
        len += strlen(piece);
        if (sl_rng_next(rng) % 16 == 0)
            text[len++] = '\0';
    }
    return sl_str_of(text, len);
}

static void record_one(metrics_rig *rig, sl_rng *rng)
{
    static const double values[] = {0,    1,          -1,       0.1,      1e300, -1e-300, 9007199254740993.0,
                                    1e15, 123456.789, INFINITY, -INFINITY};
    static const double bounds[] = {-1, 0, 1e-9, 0.1, 1, 2.5, 1e6, 1e300};
    char texts[4][80];
    sl_attr attrs[4];
    size_t count = sl_rng_next(rng) % 5;
    for (size_t i = 0; i < count; i++) {
        sl_value value = sl_rng_next(rng) % 3 ? sl_value_str(random_text(rng, texts[i])) : sl_value_int((int64_t)i);
        attrs[i] = (sl_attr){sl_str_c(keys[sl_rng_next(rng) % (sizeof keys / sizeof *keys)]), value};
    }
    const sl_attr scope_attrs[] = {sl_attr_str("name", "x"), sl_attr_str("a.b", "1"), sl_attr_str("a_b", "2")};
    const sl_scope_options scope = {.name = SL_STR("s\"\n"), .attrs = scope_attrs, .attr_count = 3};
    const sl_instrument_options o = {
        .kind = (sl_instrument_kind)(SL_COUNTER + sl_rng_next(rng) % 4),
        .name = names[sl_rng_next(rng) % (sizeof names / sizeof *names)],
        .unit = units[sl_rng_next(rng) % (sizeof units / sizeof *units)],
        .description = sl_rng_next(rng) % 2 ? "Line one\nline \\two \"quoted\"." : "",
        .is_double = sl_rng_next(rng) % 2,
        .bounds = sl_rng_next(rng) % 2 ? bounds : NULL,
        .bound_count = 0,
        .max_series = 2 + sl_rng_next(rng) % 6,
    };
    sl_instrument_options with = o;
    with.bound_count = with.bounds ? sizeof bounds / sizeof *bounds : 0;
    sl_meter *meter = sl_rng_next(rng) % 2 ? rig->meter : sl_meter_get(&rig->sdk, &scope);
    sl_instrument *i = sl_instrument_new(meter, &with);
    double value = values[sl_rng_next(rng) % (sizeof values / sizeof *values)];
    sl_instrument_record(i, i && o.kind == SL_GAUGE && sl_rng_next(rng) % 8 == 0 ? strtod("nan", NULL) : value, attrs,
                         count);
}

SL_TEST(the_checker_finds_faults)
{
    static const char *const good[] = {
        "# TYPE a counter\na 1\n",
        "# HELP a x\n# TYPE a gauge\na{k=\"v\"} NaN\na -Inf\n",
        "# TYPE a histogram\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 2\na_sum 1\na_count 2\n",
    };
    static const char *const bad[] = {
        "# TYPE a counter\na 1",
        "# TYPE a counter\na -1\n",
        "# TYPE a counter\na NaN\n",
        "# TYPE a counter\nb 1\n",
        "# TYPE a counter\na 1\n\n",
        "# TYPE a gauge\na 1\na 2\n",
        "# TYPE a gauge\na{k=\"1\",k=\"2\"} 1\n",
        "# TYPE a gauge\na{k=\"\\t\"} 1\n",
        "# TYPE a gauge\na{k=\"\n\"} 1\n",
        "# TYPE a gauge\na{1=\"\"} 1\n",
        "# TYPE a gauge\na{k=\"v\" 1\n",
        "# TYPE a gauge\na 1 # {} 1\n",
        "# TYPE a gauge\na inf\n",
        "# TYPE a gauge\na 0x1\n",
        "# TYPE a gauge\na 1\n# TYPE b gauge\nb 1\n# HELP a x\n",
        "# TYPE a histogram\na_bucket{le=\"1\"} 2\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n",
        "# TYPE a histogram\na_bucket{le=\"2\"} 1\na_bucket{le=\"1\"} 1\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 1\n",
        "# TYPE a histogram\na_bucket{le=\"1\"} 1\na_sum 1\na_count 1\n",
        "# TYPE a histogram\na_bucket{le=\"+Inf\"} 1\na_sum 1\na_count 2\n",
        "# TYPE a gauge\na{k=\"\xFF\"} 1\n",
    };
    for (size_t i = 0; i < sizeof good / sizeof *good; i++)
        CHECK(check_text(sl_str_c(good[i]), SL_PROMETHEUS_TEXT));
    expecting = true;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (check_text(sl_str_c(bad[i]), SL_PROMETHEUS_TEXT))
            sl_test_failed(__FILE__, __LINE__, "row %zu is taken for good", i);
    }
    CHECK(!check_text(SL_STR("# TYPE a counter\na 1\n# EOF\n"), SL_PROMETHEUS_OPENMETRICS));
    CHECK(!check_text(SL_STR("# TYPE a counter\na_total 1\n"), SL_PROMETHEUS_OPENMETRICS));
    CHECK(!check_text(SL_STR("# EOF\n# TYPE a counter\na_total 1\n"), SL_PROMETHEUS_OPENMETRICS));
    expecting = false;
    CHECK(check_text(SL_STR("# TYPE a counter\na_total 1 # {t=\"1\"} 1 2.5\n# EOF\n"), SL_PROMETHEUS_OPENMETRICS));
}

SL_TEST(whatever_is_recorded_is_valid_text)
{
    sl_rng rng;
    sl_rng_init_seed(&rng, 42);
    setenv("OTEL_METRICS_EXEMPLAR_FILTER", "always_on", 1);
    for (int round = 0; round < 60; round++) {
        metrics_rig rig;
        REQUIRE(rig_init(&rig, NULL, 0));
        if (round % 2)
            REQUIRE(sl_collector_set_resource(rig.sdk.collector, SL_STR("\x0A\x0A\x0A\x03key\x12\x03\x0A\x01v")) == 0);
        for (int i = 0; i < 200; i++)
            record_one(&rig, &rng);
        for (int format = 0; format < 2; format++) {
            if (!check_text(rig_text(&rig, (sl_prometheus_format)format), (sl_prometheus_format)format))
                round = 1000;
            CHECK(c.series_count > 50);
        }
        rig_done(&rig);
    }
    unsetenv("OTEL_METRICS_EXEMPLAR_FILTER");
}
