/*
 * Prometheus text 0.0.4 and OpenMetrics 1.0.0 of what a collector has.
 *
 * Metrics are grouped into families by their Prometheus names; the grouping, the order and the names are kept until a
 * new metric or point appears, so a scrape formats numbers and copies labels.
 *
 * Left out: `_created` samples. OpenMetrics 1.0 makes them optional, scrapers that do not know them store them as
 * series of their own (which doubles the counters), and OpenMetrics 2.0 drops them.
 */
#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/telemetry/attr_set.h"
#include "src/telemetry/collect_impl.h"
#include "src/telemetry/prom_name.h"
#include "src/wire/pb.h"

/* All that is exposed under one name. */
typedef struct family {
    sl_metric *first; /* decides type, help and unit */
    sl_point **rows;  /* by labels */
    size_t row_count;
    size_t row_cap;
    size_t name_len;
    bool unknown; /* a counter that OpenMetrics cannot call one: without "_total", or its bare name is taken */
    char name[SL_PROM_NAME_BYTES]; /* of the samples of counters and gauges: with "_total" */
} family;

struct sl_families {
    uint64_t generation;
    size_t count;
    size_t cap;
    family **items; /* by name */
};

void sl_families_free(sl_families *families)
{
    if (!families)
        return;
    for (size_t i = 0; i < families->count; i++) {
        sl_free(families->items[i]->rows);
        sl_free(families->items[i]);
    }
    sl_free(families->items);
    sl_free(families);
}

/* ---- Grouping ---- */

static const char *type_name(sl_instrument_kind kind)
{
    switch (kind) {
    case SL_COUNTER:
        return "counter";
    case SL_HISTOGRAM:
        return "histogram";
    case SL_UPDOWN_COUNTER:
    case SL_GAUGE:
    default:
        return "gauge";
    }
}

static family *family_new(sl_families *families, sl_metric *metric, const char *name)
{
    SL_ASSERT(metric && name[0]);
    if (families->count == families->cap) {
        size_t cap = families->cap ? 2 * families->cap : 64;
        family **grown = sl_realloc(families->items, cap * sizeof *grown);
        if (!grown)
            return NULL;
        families->items = grown;
        families->cap = cap;
    }
    family *f = sl_calloc(1, sizeof *f);
    if (!f)
        return NULL;
    f->first = metric;
    f->name_len = strlen(name);
    memcpy(f->name, name, f->name_len + 1);
    families->items[families->count++] = f;
    return f;
}

/* The family of a metric; of another type than the first metric of that name, `*ret_family` is NULL. */
static int family_of(sl_families *families, sl_metric *metric, family **ret_family)
{
    SL_ASSERT(metric && ret_family);
    char name[SL_PROM_NAME_BYTES];
    (void)sl_prom_name(metric->name, metric->unit, metric->kind, name);
    *ret_family = NULL;
    if (strcmp(name, "target_info") == 0 || strcmp(name, "target_info_total") == 0)
        return 0; /* the resource's, in one of the formats */
    for (size_t i = 0; i < families->count; i++) {
        family *f = families->items[i];
        if (strcmp(f->name, name) != 0)
            continue;
        *ret_family = strcmp(type_name(f->first->kind), type_name(metric->kind)) == 0 ? f : NULL;
        return 0;
    }
    *ret_family = family_new(families, metric, name);
    return *ret_family ? 0 : SL_ENOMEM;
}

static int compare_labels(const void *a, const void *b)
{
    sl_str x = (*(sl_point *const *)a)->labels, y = (*(sl_point *const *)b)->labels;
    size_t len = x.len < y.len ? x.len : y.len;
    int order = len ? memcmp(x.ptr, y.ptr, len) : 0;
    return order ? order : (x.len > y.len) - (x.len < y.len);
}

static int compare_families(const void *a, const void *b)
{
    return strcmp((*(family *const *)a)->name, (*(family *const *)b)->name);
}

static bool same_buckets(const sl_metric *a, const sl_metric *b)
{
    SL_ASSERT(a && b);
    return a->kind == b->kind && a->is_double == b->is_double && a->bound_count == b->bound_count &&
           (a->bound_count == 0 || memcmp(a->bounds, b->bounds, a->bound_count * sizeof(double)) == 0);
}

/* Sorts the rows; those with the same labels become one, so that no sample appears twice. */
static void sort_rows(family *f)
{
    SL_ASSERT(f->row_count <= f->row_cap);
    if (f->row_count == 0)
        return;
    qsort(f->rows, f->row_count, sizeof *f->rows, compare_labels);
    size_t kept = 0;
    for (size_t i = 0; i < f->row_count; i++) {
        sl_point *point = f->rows[i];
        point->twin = NULL;
        if (kept == 0 || !sl_str_eq(f->rows[kept - 1]->labels, point->labels)) {
            f->rows[kept++] = point;
            continue;
        }
        if (!same_buckets(f->rows[kept - 1]->metric, point->metric))
            continue; /* cannot be added up: the first is shown */
        point->twin = f->rows[kept - 1]->twin;
        f->rows[kept - 1]->twin = point;
    }
    f->row_count = kept;
}

static int add_rows(family *f, sl_metric *metric)
{
    SL_ASSERT(f->row_count <= f->row_cap);
    size_t need = f->row_count + metric->point_count;
    if (need > f->row_cap) {
        sl_point **grown = sl_realloc(f->rows, need * sizeof *grown);
        if (!grown)
            return SL_ENOMEM;
        f->rows = grown;
        f->row_cap = need;
    }
    if (metric->point_count)
        memcpy(f->rows + f->row_count, metric->points, metric->point_count * sizeof *f->rows);
    f->row_count = need;
    return 0;
}

/* Families are sorted by name. NULL when there is none. */
static family *find_family(const sl_families *families, sl_str name)
{
    SL_ASSERT(families);
    size_t low = 0, high = families->count;
    while (low < high) {
        size_t middle = (low + high) / 2;
        family *f = families->items[middle];
        size_t len = f->name_len < name.len ? f->name_len : name.len;
        int order = memcmp(f->name, name.ptr, len);
        if (order == 0)
            order = (f->name_len > name.len) - (f->name_len < name.len);
        if (order == 0)
            return f;
        if (order < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return NULL;
}

static bool has_family(const sl_families *families, sl_str name)
{
    return find_family(families, name) != NULL;
}

/* What has the name of a histogram's samples, in either format, is left out. */
static void drop_clashes(const sl_families *families)
{
    static const sl_str suffixes[] = {{"_bucket", 7}, {"_count", 6}, {"_sum", 4}};
    for (size_t i = 0; i < families->count; i++) {
        family *f = families->items[i];
        for (size_t k = 0; k < sizeof suffixes / sizeof *suffixes && f->first->kind != SL_HISTOGRAM; k++) {
            sl_str name = sl_str_of(f->name, f->name_len);
            if (f->first->kind == SL_COUNTER && sl_str_ends(name, SL_STR("_total")))
                name.len -= strlen("_total");
            if (!sl_str_ends(name, suffixes[k]))
                continue;
            const family *histogram = find_family(families, sl_str_sub(name, 0, name.len - suffixes[k].len));
            if (histogram && histogram->first->kind == SL_HISTOGRAM)
                f->row_count = 0;
        }
    }
}

/* OpenMetrics describes the counter x_total as x: that must be free. */
static void mark_unknown(const sl_families *families)
{
    for (size_t i = 0; i < families->count; i++) {
        family *f = families->items[i];
        sl_str name = sl_str_of(f->name, f->name_len), total = SL_STR("_total");
        if (f->first->kind == SL_COUNTER)
            f->unknown = !sl_str_ends(name, total) || has_family(families, sl_str_sub(name, 0, name.len - total.len));
    }
}

/* Groups anew when something new has appeared. */
static int group(sl_collector *collector)
{
    SL_ASSERT(collector);
    if (collector->families && collector->families->generation == collector->generation)
        return 0;
    sl_families_free(collector->families);
    collector->families = NULL;
    sl_families *families = sl_calloc(1, sizeof *families);
    sl_metric **metrics = sl_collector_sorted(collector);
    int error = families && metrics ? 0 : SL_ENOMEM;
    for (size_t i = 0; !error && i < collector->metric_count; i++) {
        family *f = NULL;
        error = family_of(families, metrics[i], &f);
        if (!error && f)
            error = add_rows(f, metrics[i]);
    }
    if (error) {
        sl_families_free(families);
        return error;
    }
    for (size_t i = 0; i < families->count; i++)
        sort_rows(families->items[i]);
    if (families->count)
        qsort(families->items, families->count, sizeof *families->items, compare_families);
    mark_unknown(families);
    drop_clashes(families);
    families->generation = collector->generation;
    collector->families = families;
    return 0;
}

/* ---- Samples ---- */

/* A row's value with its twins'. */
static bool read_row(const sl_point *point, sl_reading *reading)
{
    SL_ASSERT(point && reading);
    bool any = sl_point_read(point, reading);
    for (const sl_point *t = point->twin; t; t = t->twin) {
        sl_reading other;
        if (!sl_point_read(t, &other))
            continue;
        if (!any || (point->metric->kind == SL_GAUGE && other.time_ns > reading->time_ns)) {
            *reading = other;
        } else if (point->metric->kind != SL_GAUGE) {
            reading->whole += other.whole;
            reading->real += other.real;
            reading->count += other.count;
            for (uint32_t b = 0; b < sl_metric_buckets(point->metric); b++)
                reading->counts[b] += other.counts[b];
        }
        any = true;
    }
    return any;
}

static char *copy_text(char *at, const char *text, size_t len)
{
    SL_ASSERT(text || !len);
    memcpy(at, text, len);
    return at + len;
}

static const char digit_pairs[] =
    "0001020304050607080910111213141516171819202122232425262728293031323334353637383940414243444546"
    "4748495051525354555657585960616263646566676869707172737475767778798081828384858687888990919293"
    "949596979899";

/* Writes a number backwards from `end`; returns its first character. */
static char *format_u64(char *end, uint64_t value)
{
    while (value >= 100) {
        end -= 2;
        memcpy(end, digit_pairs + 2 * (value % 100), 2);
        value /= 100;
    }
    if (value >= 10) {
        end -= 2;
        memcpy(end, digit_pairs + 2 * value, 2);
        return end;
    }
    *--end = (char)('0' + value);
    return end;
}

static char *put_integer(char *at, uint64_t value, bool is_signed)
{
    char text[24];
    bool negative = is_signed && (int64_t)value < 0;
    char *first = format_u64(text + sizeof text, negative ? 0 - value : value);
    if (negative)
        *at++ = '-';
    return copy_text(at, first, (size_t)(text + sizeof text - first));
}

/* Appends `name suffix {labels,le="…"} ` and reserves room for a number behind it. */
static int put_series(sl_buf *out, const family *f, const char *suffix, sl_str labels, sl_str le)
{
    SL_ASSERT(f->name_len > 0);
    size_t suffix_len = strlen(suffix);
    int error = sl_buf_reserve(out, f->name_len + suffix_len + labels.len + le.len + 64);
    if (error)
        return error;
    char *at = copy_text(out->data + out->len, f->name, f->name_len);
    at = copy_text(at, suffix, suffix_len);
    if (labels.len || le.len) {
        *at++ = '{';
        if (labels.len)
            at = copy_text(at, labels.ptr, labels.len);
        if (labels.len && le.len)
            *at++ = ',';
        if (le.len)
            at = copy_text(at, le.ptr, le.len);
        *at++ = '}';
    }
    *at++ = ' ';
    out->len = (size_t)(at - out->data);
    return 0;
}

/* Appends an integer for which put_series has reserved room. */
static void put_whole(sl_buf *out, uint64_t value, bool is_signed)
{
    SL_ASSERT(out);
    out->len = (size_t)(put_integer(out->data + out->len, value, is_signed) - out->data);
}

/* ` # {trace_id="…",span_id="…"} value time`, where the bucket has one. */
static int put_exemplar(sl_buf *out, const sl_point *point, uint32_t bucket)
{
    SL_ASSERT(bucket < sl_metric_buckets(point->metric));
    sl_exemplar e;
    if (!sl_point_exemplar(point, bucket, &e))
        return 0;
    char trace[2 * SL_TRACE_ID_SIZE + 1] = "", span[2 * SL_SPAN_ID_SIZE + 1] = "";
    static const uint8_t none[SL_TRACE_ID_SIZE];
    (void)sl_buf_put_c(out, " # {");
    if (memcmp(e.trace_id, none, sizeof none) != 0) {
        sl_hex_encode(e.trace_id, SL_TRACE_ID_SIZE, trace);
        sl_hex_encode(e.span_id, SL_SPAN_ID_SIZE, span);
        (void)sl_buf_printf(out, "trace_id=\"%s\",span_id=\"%s\"", trace, span);
    }
    (void)sl_buf_put_c(out, "} ");
    (void)sl_prom_number(e.value, out);
    return sl_buf_printf(out, " %llu.%03llu", (unsigned long long)(e.time_ns / 1000000000u),
                         (unsigned long long)(e.time_ns / 1000000u % 1000u));
}

/* The `le="…"` texts of a metric, one after another; `ends` has the end of each. */
static int put_bounds(sl_buf *out, const sl_metric *metric, sl_prometheus_format format, size_t *ends)
{
    SL_ASSERT(metric->bound_count <= SL_MAX_BOUNDS);
    sl_buf_clear(out);
    for (uint32_t b = 0; b <= metric->bound_count; b++) {
        (void)sl_buf_put_c(out, "le=\"");
        if (b < metric->bound_count)
            (void)sl_prom_bound(metric->bounds[b], format, out);
        else
            (void)sl_buf_put_c(out, "+Inf");
        (void)sl_buf_put_char(out, '"');
        ends[b] = out->len;
    }
    return out->failed;
}

/* What a family's histograms share while they are written. */
typedef struct bounds_text {
    const sl_metric *of;
    sl_buf text;
    size_t ends[SL_MAX_BOUNDS + 1];
} bounds_text;

/* OpenMetrics has no sum, and then no count, where the sum is no counter: of values that may be negative. */
static bool has_sum(const sl_metric *metric, const sl_reading *reading, sl_prometheus_format format)
{
    SL_ASSERT(metric->kind == SL_HISTOGRAM);
    bool negative = !(reading->real >= 0) || (metric->bound_count && metric->bounds[0] < 0);
    return format == SL_PROMETHEUS_TEXT || !negative;
}

static int put_histogram(sl_buf *out, const family *f, const sl_point *point, sl_prometheus_format format,
                         bounds_text *bounds)
{
    SL_ASSERT(point->metric->kind == SL_HISTOGRAM);
    sl_reading reading;
    if (!read_row(point, &reading))
        return 0;
    if (bounds->of != point->metric && put_bounds(&bounds->text, point->metric, format, bounds->ends))
        return bounds->text.failed;
    bounds->of = point->metric;
    uint64_t below = 0;
    for (uint32_t b = 0; b <= point->metric->bound_count; b++) {
        size_t start = b ? bounds->ends[b - 1] : 0;
        if (put_series(out, f, "_bucket", point->labels, sl_str_of(bounds->text.data + start, bounds->ends[b] - start)))
            return out->failed;
        below += reading.counts[b];
        put_whole(out, below, false);
        if (format == SL_PROMETHEUS_OPENMETRICS)
            (void)put_exemplar(out, point, b);
        (void)sl_buf_put_char(out, '\n');
    }
    if (!has_sum(point->metric, &reading, format))
        return out->failed;
    if (put_series(out, f, "_sum", point->labels, sl_str_of(NULL, 0)))
        return out->failed;
    (void)sl_prom_number(reading.real, out);
    (void)sl_buf_put_char(out, '\n');
    if (put_series(out, f, "_count", point->labels, sl_str_of(NULL, 0)))
        return out->failed;
    put_whole(out, reading.count, false);
    return sl_buf_put_char(out, '\n');
}

static int put_number_row(sl_buf *out, const family *f, const sl_point *point)
{
    SL_ASSERT(point->metric->kind != SL_HISTOGRAM);
    sl_reading reading;
    if (!read_row(point, &reading))
        return 0;
    if (put_series(out, f, "", point->labels, sl_str_of(NULL, 0)))
        return out->failed;
    if (point->metric->is_double)
        (void)sl_prom_number(reading.real, out);
    else
        put_whole(out, reading.whole, point->metric->kind != SL_COUNTER);
    return sl_buf_put_char(out, '\n');
}

/* ---- Families ---- */

/* OpenMetrics names counters without "_total" in their descriptions. */
static sl_str described_name(const family *f, sl_prometheus_format format)
{
    SL_ASSERT(f);
    bool cut = format == SL_PROMETHEUS_OPENMETRICS && f->first->kind == SL_COUNTER && !f->unknown;
    return sl_str_of(f->name, f->name_len - (cut ? strlen("_total") : 0));
}

static void put_help(sl_buf *out, sl_str name, sl_str help, sl_prometheus_format format)
{
    if (help.len == 0)
        return;
    (void)sl_buf_put_c(out, "# HELP ");
    (void)sl_buf_put_str(out, name);
    (void)sl_buf_put_char(out, ' ');
    (void)sl_prom_escape_help(help, format, out);
    (void)sl_buf_put_char(out, '\n');
}

static int put_head(sl_buf *out, const family *f, sl_prometheus_format format)
{
    SL_ASSERT(f->first);
    sl_str name = described_name(f, format);
    char unit[SL_PROM_UNIT_BYTES];
    sl_prom_unit(f->first->unit, f->first->kind, unit);
    if (format == SL_PROMETHEUS_TEXT)
        put_help(out, name, f->first->description, format);
    (void)sl_buf_put_c(out, "# TYPE ");
    (void)sl_buf_put_str(out, name);
    (void)sl_buf_put_char(out, ' ');
    bool unknown = f->unknown && format == SL_PROMETHEUS_OPENMETRICS;
    (void)sl_buf_put_c(out, unknown ? "unknown" : type_name(f->first->kind));
    (void)sl_buf_put_char(out, '\n');
    if (format != SL_PROMETHEUS_OPENMETRICS)
        return out->failed;
    sl_str rest = sl_str_of(name.ptr, name.len > strlen(unit) ? name.len - strlen(unit) : 0);
    if (unit[0] && sl_str_ends(name, sl_str_c(unit)) && sl_str_ends(rest, SL_STR("_"))) {
        (void)sl_buf_put_c(out, "# UNIT ");
        (void)sl_buf_put_str(out, name);
        (void)sl_buf_printf(out, " %s\n", unit);
    }
    put_help(out, name, f->first->description, format);
    return out->failed;
}

static bool has_value(const family *f)
{
    SL_ASSERT(f);
    if (f->row_count && f->first->kind != SL_GAUGE && f->rows[0]->source_count)
        return true;
    sl_reading reading;
    for (size_t i = 0; i < f->row_count; i++) {
        if (read_row(f->rows[i], &reading))
            return true;
    }
    return false;
}

static int put_family(sl_buf *out, const family *f, sl_prometheus_format format, bounds_text *bounds)
{
    int error = has_value(f) ? put_head(out, f, format) : 0;
    for (size_t i = 0; !error && i < f->row_count; i++) {
        if (f->first->kind == SL_HISTOGRAM)
            error = put_histogram(out, f, f->rows[i], format, bounds);
        else
            error = put_number_row(out, f, f->rows[i]);
    }
    return error;
}

/* ---- target_info ---- */

/* A scalar AnyValue; false for others. */
static bool decode_value(sl_str message, sl_value *ret_value)
{
    SL_ASSERT(ret_value);
    sl_pb_reader r = sl_pb_reader_of(message);
    sl_pb_field field;
    bool found = false;
    while (sl_pb_next(&r, &field)) {
        if (sl_pb_is(&field, 1, SL_PB_LEN))
            *ret_value = sl_value_str(field.bytes);
        else if (sl_pb_is(&field, 2, SL_PB_VARINT))
            *ret_value = sl_value_bool(field.value != 0);
        else if (sl_pb_is(&field, 3, SL_PB_VARINT))
            *ret_value = sl_value_int((int64_t)field.value);
        else if (sl_pb_is(&field, 4, SL_PB_FIXED64))
            *ret_value = sl_value_double(sl_pb_bits_double(field.value));
        else
            continue;
        found = true;
    }
    return found && !r.error;
}

/* Attributes of an encoded Resource; arrays and maps are left out. */
static size_t decode_resource(sl_str resource, sl_attr *attrs, size_t max)
{
    SL_ASSERT(attrs && max > 0);
    sl_pb_reader r = sl_pb_reader_of(resource);
    sl_pb_field field, inner;
    size_t count = 0;
    while (count < max && sl_pb_next(&r, &field)) {
        if (!sl_pb_is(&field, 1, SL_PB_LEN))
            continue;
        sl_pb_reader kv = sl_pb_reader_of(field.bytes);
        sl_attr attr = {{NULL, 0}, sl_value_empty()};
        bool has_scalar = false;
        while (sl_pb_next(&kv, &inner)) {
            if (sl_pb_is(&inner, 1, SL_PB_LEN))
                attr.key = inner.bytes;
            else if (sl_pb_is(&inner, 2, SL_PB_LEN))
                has_scalar = decode_value(inner.bytes, &attr.value);
        }
        if (has_scalar && attr.key.len > 0)
            attrs[count++] = attr;
    }
    return count;
}

/* `info`: as the info metric "target", which OpenMetrics has and which must be free. */
static int put_target_info(sl_buf *out, sl_str resource, bool info)
{
    SL_ASSERT(out);
    sl_attr attrs[SL_MAX_METRIC_ATTRS];
    sl_attr_set set;
    sl_buf labels;
    sl_attr_set_init(&set, attrs, decode_resource(resource, attrs, SL_MAX_METRIC_ATTRS), NULL);
    if (set.count == 0)
        return 0;
    sl_buf_init(&labels, SL_MAX_ATTR_SET_BYTES);
    if (sl_attr_set_labels(&set, NULL, &labels) == 0) {
        (void)sl_buf_put_c(out, info ? "# TYPE target info\n# HELP target Target metadata\ntarget_info{"
                                     : "# HELP target_info Target metadata\n# TYPE target_info gauge\ntarget_info{");
        (void)sl_buf_put_str(out, sl_buf_str(&labels));
        (void)sl_buf_put_c(out, "} 1\n");
    }
    sl_buf_done(&labels);
    return out->failed;
}

/* No family is described as "target". */
static bool is_target_free(const sl_families *families)
{
    SL_ASSERT(families);
    return !has_family(families, SL_STR("target")) && !has_family(families, SL_STR("target_total"));
}

int sl_prom_write(sl_collector *collector, sl_str resource, sl_prometheus_format format, sl_buf *out)
{
    SL_ASSERT(collector && out);
    int error = group(collector);
    bool info = !error && format == SL_PROMETHEUS_OPENMETRICS && is_target_free(collector->families);
    if (!error)
        error = put_target_info(out, resource, info);
    bounds_text *bounds = sl_calloc(1, sizeof *bounds);
    if (!error && !bounds)
        error = SL_ENOMEM;
    if (bounds)
        sl_buf_init(&bounds->text, SL_MAX_ATTR_SET_BYTES);
    for (size_t i = 0; !error && i < collector->families->count; i++)
        error = put_family(out, collector->families->items[i], format, bounds);
    if (!error && format == SL_PROMETHEUS_OPENMETRICS)
        error = sl_buf_put_c(out, "# EOF\n");
    if (bounds)
        sl_buf_done(&bounds->text);
    sl_free(bounds);
    return error ? error : out->failed;
}
