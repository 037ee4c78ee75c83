/*
 * OTLP requests: all readers over arbitrary bytes; what transcodes to JSON is valid JSON, which read back gives the
 * same JSON; and the bytes as JSON. First byte: the signal.
 */
#include <stdlib.h>

#include "src/wire/json_scan.h"
#include "src/wire/otlp_json.h"
#include "src/wire/otlp_read.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_points(const sl_otlp_metric *metric)
{
    sl_str point, item;
    sl_otlp_iter it = sl_otlp_items(metric->data, SL_OTLP_METRIC_POINTS);
    while (sl_otlp_next(&it, &point)) {
        sl_otlp_number number;
        sl_otlp_histogram histogram;
        sl_otlp_exemplar exemplar;
        (void)!sl_otlp_read_number(point, &number);
        if (sl_otlp_read_histogram(point, &histogram))
            continue;
        (void)sl_otlp_packed_double(histogram.bounds, sl_otlp_packed_count(histogram.bounds) / 2);
        sl_otlp_iter exemplars = sl_otlp_items(point, SL_OTLP_HISTOGRAM_EXEMPLARS);
        while (sl_otlp_next(&exemplars, &item))
            (void)!sl_otlp_read_exemplar(item, &exemplar);
    }
}

static void read_record(sl_str bytes)
{
    sl_otlp_span span;
    sl_otlp_log log;
    sl_otlp_metric metric;
    sl_otlp_any any;
    sl_str item;
    (void)!sl_otlp_find_attr(bytes, SL_OTLP_SPAN_ATTRS, SL_STR("key"), &any);
    if (sl_otlp_read_span(bytes, &span) == 0) {
        sl_otlp_event event;
        sl_otlp_link link;
        sl_otlp_iter it = sl_otlp_items(bytes, SL_OTLP_SPAN_EVENTS);
        while (sl_otlp_next(&it, &item)) {
            (void)!sl_otlp_read_event(item, &event);
            (void)!sl_otlp_read_link(item, &link);
        }
    }
    (void)!sl_otlp_read_log(bytes, &log);
    if (sl_otlp_read_metric(bytes, &metric) == 0)
        read_points(&metric);
}

static void check_way_back(sl_otlp_signal signal, sl_str json)
{
    sl_buf request, again;
    sl_buf_init(&request, 16u << 20);
    sl_buf_init(&again, 8u << 20);
    if (sl_otlp_from_json(signal, json, &request) != 0 || sl_otlp_to_json(signal, sl_buf_str(&request), &again) != 0 ||
        !sl_str_eq(sl_buf_str(&again), json))
        abort();
    sl_buf_done(&request);
    sl_buf_done(&again);
}

/* What is read from any JSON is a request. */
static void read_json(sl_otlp_signal signal, sl_str text)
{
    sl_buf request, json;
    sl_buf_init(&request, 16u << 20);
    sl_buf_init(&json, 16u << 20);
    if (sl_otlp_from_json(signal, text, &request) == 0 && sl_otlp_to_json(signal, sl_buf_str(&request), &json) != 0)
        abort();
    sl_buf_done(&request);
    sl_buf_done(&json);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0)
        return 0;
    sl_str request = sl_str_of((const char *)data + 1, size - 1);
    sl_otlp_records records = sl_otlp_records_of(request);
    while (sl_otlp_records_next(&records)) {
        sl_otlp_scope_view scope;
        (void)!sl_otlp_read_scope(records.scope.head, &scope);
        read_record(records.item);
    }
    sl_buf json;
    sl_buf_init(&json, 8u << 20);
    sl_json_value root;
    sl_otlp_signal signal = (sl_otlp_signal)(data[0] % 3);
    if (sl_otlp_to_json(signal, request, &json) == 0) {
        if (sl_json_parse(sl_buf_str(&json), &root, NULL) || root.type != SL_JSON_OBJECT)
            abort();
        check_way_back(signal, sl_buf_str(&json));
    }
    read_json(signal, request);
    sl_buf_done(&json);
    return 0;
}
