/* For tests: the spans that lie in a segment, copied out and decoded. */
#ifndef SL_TELEMETRY_TEST_SPAN_READ_H
#define SL_TELEMETRY_TEST_SPAN_READ_H

#include <stdlib.h>

#include "src/telemetry/test_sdk_fixture.h"
#include "src/wire/otlp_read.h"

#define SL_TEST_MAX_SPANS 64

typedef struct sl_test_spans {
    size_t count;
    uint32_t tags[SL_TEST_MAX_SPANS];
    sl_otlp_span spans[SL_TEST_MAX_SPANS];
    char *copies[SL_TEST_MAX_SPANS];
} sl_test_spans;

static inline bool sl_test_span_record(void *user, uint32_t tag, const uint8_t *data, size_t len)
{
    sl_test_spans *all = user;
    if (all->count == SL_TEST_MAX_SPANS)
        return false;
    char *copy = malloc(len + 1);
    memcpy(copy, data, len);
    all->copies[all->count] = copy;
    all->tags[all->count] = tag;
    CHECK_EQ(sl_otlp_read_span(sl_str_of(copy, len), &all->spans[all->count]), 0);
    all->count++;
    return true;
}

/* Drains the spans. Freed by sl_test_spans_done. */
static inline void sl_test_spans_read(sl_segment *segment, sl_test_spans *all)
{
    memset(all, 0, sizeof *all);
    (void)sl_segment_drain(segment, SL_RING_SPANS, sl_test_span_record, all);
}

static inline void sl_test_spans_done(sl_test_spans *all)
{
    for (size_t i = 0; i < all->count; i++)
        free(all->copies[i]);
    all->count = 0;
}

/* Attribute of a span; type EMPTY when it has none. */
static inline sl_otlp_any sl_test_attr(const sl_otlp_span *span, const char *key)
{
    sl_otlp_any any;
    memset(&any, 0, sizeof any);
    (void)!sl_otlp_find_attr(span->self, SL_OTLP_SPAN_ATTRS, sl_str_c(key), &any);
    return any;
}

/* How often a key occurs. */
static inline size_t sl_test_key_count(const sl_otlp_span *span, const char *key)
{
    sl_otlp_iter it = sl_otlp_items(span->self, SL_OTLP_SPAN_ATTRS);
    sl_str bytes;
    size_t count = 0;
    while (sl_otlp_next(&it, &bytes)) {
        sl_otlp_pair pair;
        if (sl_otlp_read_pair(bytes, &pair) == 0 && sl_str_eq_c(pair.key, key))
            count++;
    }
    CHECK_EQ(it.reader.error, 0);
    return count;
}

#endif
