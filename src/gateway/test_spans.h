/* For tests: the spans that a gateway has left in its segment, and its page of metrics. */
#ifndef SL_GATEWAY_TEST_SPANS_H
#define SL_GATEWAY_TEST_SPANS_H

#include "src/gateway/test_front.h"
#include "src/telemetry/collect.h"
#include "src/wire/otlp_read.h"

#define SPANS_MAX 16

typedef struct recorded {
    size_t count;
    char *copies[SPANS_MAX];
    sl_otlp_span spans[SPANS_MAX];
} recorded;

NF_UNUSED static bool keep_span(void *user, uint32_t tag, const uint8_t *data, size_t len)
{
    recorded *all = user;
    (void)tag;
    if (all->count == SPANS_MAX)
        return false;
    char *copy = malloc(len + 1);
    memcpy(copy, data, len);
    all->copies[all->count] = copy;
    CHECK_EQ(sl_otlp_read_span(sl_str_of(copy, len), &all->spans[all->count]), 0);
    all->count++;
    return true;
}

NF_UNUSED static void recorded_done(recorded *all)
{
    for (size_t i = 0; i < all->count; i++)
        free(all->copies[i]);
}

NF_UNUSED static sl_otlp_any attr(const sl_otlp_span *span, const char *key)
{
    sl_otlp_any any;
    memset(&any, 0, sizeof any);
    (void)!sl_otlp_find_attr(span->self, SL_OTLP_SPAN_ATTRS, sl_str_c(key), &any);
    return any;
}

/* Value of a series on a page; 0 when it is not there. `series` ends with the space in front of the value. */
NF_UNUSED static double sample(sl_str page, const char *series)
{
    sl_str line;
    sl_str wanted = sl_str_c(series);
    while (sl_str_split(&page, '\n', &line)) {
        if (sl_str_starts(line, wanted))
            return strtod(line.ptr + wanted.len, NULL);
    }
    return 0;
}

/* What was recorded into a segment as Prometheus text; freed by sl_buf_done. */
NF_UNUSED static void page_of(sl_sdk *sdk, sl_segment *segment, sl_buf *ret_page)
{
    sl_collector *collector = sl_collector_new(sdk->registry);
    sl_buf_init(ret_page, 1u << 20);
    if (!collector || sl_collector_add_segment(collector, segment) != 0)
        abort();
    CHECK_EQ(sl_collector_prometheus(collector, sl_str_of(NULL, 0), SL_PROMETHEUS_TEXT, ret_page), 0);
    sl_collector_free(collector);
}

#endif
