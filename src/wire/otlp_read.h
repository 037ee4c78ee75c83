/*
 * Reading OTLP requests in place: every view points into the input, nothing is allocated or copied.
 *
 * Promises: safe on arbitrary bytes. A message that is malformed gives SL_EPARSE; a field of an unknown number or an
 * unexpected wire type is skipped; of a field that occurs twice the last one counts. Texts are not checked for UTF-8.
 * Does not join what protobuf allows to split: a singular message given in pieces, packed numbers in several runs.
 *
 * Repeated fields are walked by one iterator:
 *     sl_otlp_iter it = sl_otlp_items(span.self, SL_OTLP_SPAN_ATTRS);
 *     while (sl_otlp_next(&it, &bytes)) { … sl_otlp_read_pair(bytes, &pair) … }
 * Source: opentelemetry-proto 1.11.0.
 */
#ifndef SL_WIRE_OTLP_READ_H
#define SL_WIRE_OTLP_READ_H

#include <sightline/value.h>

#include "src/wire/pb.h"

/* Field numbers of repeated fields, for sl_otlp_items. */
enum {
    SL_OTLP_REQUEST_RESOURCES = 1,
    SL_OTLP_GROUP_ITEMS = 2, /* scopes of a resource, records of a scope */
    SL_OTLP_RESOURCE_ATTRS = 1,
    SL_OTLP_SCOPE_ATTRS = 3,
    SL_OTLP_ARRAY_ITEMS = 1, /* AnyValue of an array, KeyValue of a map */
    SL_OTLP_SPAN_ATTRS = 9,
    SL_OTLP_SPAN_EVENTS = 11,
    SL_OTLP_SPAN_LINKS = 13,
    SL_OTLP_EVENT_ATTRS = 3,
    SL_OTLP_LINK_ATTRS = 4,
    SL_OTLP_LOG_ATTRS = 6,
    SL_OTLP_METRIC_POINTS = 1,
    SL_OTLP_NUMBER_ATTRS = 7,
    SL_OTLP_NUMBER_EXEMPLARS = 5,
    SL_OTLP_HISTOGRAM_ATTRS = 9,
    SL_OTLP_HISTOGRAM_EXEMPLARS = 8,
    SL_OTLP_EXEMPLAR_ATTRS = 7
};

typedef struct sl_otlp_iter {
    sl_pb_reader reader;
    uint32_t field;
} sl_otlp_iter;

/* Iterator over the messages (or strings) of repeated field `field`. */
sl_otlp_iter sl_otlp_items(sl_str message, uint32_t field);
/* The next one. False at the end and on malformed input, where `it->reader.error` is set. */
bool sl_otlp_next(sl_otlp_iter *it, sl_str *ret_item);
/* Number of items; 0 when the message is malformed. */
size_t sl_otlp_count(sl_str message, uint32_t field);

/* ---- Values ---- */

/*
 * An AnyValue. `str` holds STRING and BYTES; of ARRAY and MAP it holds the items message, walked with
 * sl_otlp_items(any.str, SL_OTLP_ARRAY_ITEMS) and read by sl_otlp_read_any or sl_otlp_read_pair.
 */
typedef struct sl_otlp_any {
    sl_value_type type;
    bool boolean;
    int64_t integer;
    double real;
    sl_str str;
} sl_otlp_any;

typedef struct sl_otlp_pair {
    sl_str key;
    sl_otlp_any value;
} sl_otlp_pair;

SL_MUST_CHECK int sl_otlp_read_any(sl_str message, sl_otlp_any *ret_any);
SL_MUST_CHECK int sl_otlp_read_pair(sl_str message, sl_otlp_pair *ret_pair);
/* The value of attribute `key` of repeated field `field`. SL_ENOENT, SL_EPARSE. */
SL_MUST_CHECK int sl_otlp_find_attr(sl_str message, uint32_t field, sl_str key, sl_otlp_any *ret_any);

/* ---- Envelope ---- */

/* A Resource{Spans,Logs,Metrics} or Scope{Spans,Logs,Metrics}: head is the Resource or the InstrumentationScope. */
typedef struct sl_otlp_group {
    sl_str self;
    sl_str head;
    sl_str schema_url;
} sl_otlp_group;

typedef struct sl_otlp_scope_view {
    sl_str self;
    sl_str name;
    sl_str version;
    uint32_t dropped_attrs;
} sl_otlp_scope_view;

SL_MUST_CHECK int sl_otlp_read_group(sl_str message, sl_otlp_group *ret_group);
SL_MUST_CHECK int sl_otlp_read_scope(sl_str message, sl_otlp_scope_view *ret_scope);

/* All records of a request, whatever its signal: `item` is the bytes of a Span, LogRecord or Metric. */
typedef struct sl_otlp_records {
    sl_otlp_iter resources;
    sl_otlp_iter scopes;
    sl_otlp_iter items;
    sl_otlp_group resource;
    sl_otlp_group scope;
    sl_str item;
    int error; /* 0, or SL_EPARSE: the walk ended at malformed bytes */
} sl_otlp_records;

sl_otlp_records sl_otlp_records_of(sl_str request);
bool sl_otlp_records_next(sl_otlp_records *records);

/* ---- Spans ---- */

typedef struct sl_otlp_span {
    sl_str self;
    sl_str trace_id; /* as sent; 16 bytes in a valid span */
    sl_str span_id;
    sl_str parent_span_id;
    sl_str tracestate;
    sl_str name;
    uint32_t kind;
    uint32_t flags;
    uint64_t start_ns;
    uint64_t end_ns;
    uint32_t dropped_attrs;
    uint32_t dropped_events;
    uint32_t dropped_links;
    uint32_t status_code;
    sl_str status_message;
} sl_otlp_span;

typedef struct sl_otlp_event {
    sl_str self;
    uint64_t time_ns;
    sl_str name;
    uint32_t dropped_attrs;
} sl_otlp_event;

typedef struct sl_otlp_link {
    sl_str self;
    sl_str trace_id;
    sl_str span_id;
    sl_str tracestate;
    uint32_t dropped_attrs;
    uint32_t flags;
} sl_otlp_link;

SL_MUST_CHECK int sl_otlp_read_span(sl_str message, sl_otlp_span *ret_span);
SL_MUST_CHECK int sl_otlp_read_event(sl_str message, sl_otlp_event *ret_event);
SL_MUST_CHECK int sl_otlp_read_link(sl_str message, sl_otlp_link *ret_link);

/* ---- Log records ---- */

typedef struct sl_otlp_log {
    sl_str self;
    uint64_t time_ns;
    uint64_t observed_ns;
    uint32_t severity;
    sl_str severity_text;
    sl_otlp_any body;
    uint32_t dropped_attrs;
    uint32_t flags;
    sl_str trace_id;
    sl_str span_id;
    sl_str event_name;
} sl_otlp_log;

SL_MUST_CHECK int sl_otlp_read_log(sl_str message, sl_otlp_log *ret_log);

/* ---- Metrics ---- */

/* Field numbers of Metric.data. */
typedef enum sl_otlp_metric_kind {
    SL_OTLP_METRIC_NONE = 0,
    SL_OTLP_GAUGE = 5,
    SL_OTLP_SUM = 7,
    SL_OTLP_HISTOGRAM = 9,
    SL_OTLP_EXP_HISTOGRAM = 10,
    SL_OTLP_SUMMARY = 11
} sl_otlp_metric_kind;

typedef struct sl_otlp_metric {
    sl_str self;
    sl_str name;
    sl_str description;
    sl_str unit;
    sl_otlp_metric_kind kind;
    sl_str data; /* Gauge, Sum, …: points are sl_otlp_items(data, SL_OTLP_METRIC_POINTS) */
    uint32_t temporality;
    bool monotonic;
} sl_otlp_metric;

/* A point of a gauge or a sum. */
typedef struct sl_otlp_number {
    sl_str self;
    uint64_t start_ns;
    uint64_t time_ns;
    bool is_int;
    int64_t integer;
    double real; /* also set when is_int */
    uint32_t flags;
} sl_otlp_number;

/* A point of a histogram. Counts and bounds are packed: sl_otlp_packed_count, sl_otlp_packed_u64/_double. */
typedef struct sl_otlp_histogram {
    sl_str self;
    uint64_t start_ns;
    uint64_t time_ns;
    uint64_t count;
    double sum;
    double min;
    double max;
    bool has_sum;
    bool has_min;
    bool has_max;
    sl_str bucket_counts;
    sl_str bounds;
    uint32_t flags;
} sl_otlp_histogram;

typedef struct sl_otlp_exemplar {
    sl_str self;
    uint64_t time_ns;
    bool is_int;
    int64_t integer;
    double real; /* also set when is_int */
    sl_str trace_id;
    sl_str span_id;
} sl_otlp_exemplar;

SL_MUST_CHECK int sl_otlp_read_metric(sl_str message, sl_otlp_metric *ret_metric);
SL_MUST_CHECK int sl_otlp_read_number(sl_str message, sl_otlp_number *ret_point);
SL_MUST_CHECK int sl_otlp_read_histogram(sl_str message, sl_otlp_histogram *ret_point);
SL_MUST_CHECK int sl_otlp_read_exemplar(sl_str message, sl_otlp_exemplar *ret_exemplar);

/* Elements of a packed field of 8 bytes each; an index beyond the end gives 0. */
size_t sl_otlp_packed_count(sl_str packed);
uint64_t sl_otlp_packed_u64(sl_str packed, size_t index);
double sl_otlp_packed_double(sl_str packed, size_t index);

#endif
