/*
 * A collector that reads a segment whose metadata heap is the input: whatever a damaged or hostile process left there,
 * nothing is read out of bounds, and both text formats and OTLP come out.
 *
 * Input: three 16-bit list heads in units of 8 bytes from the start of the heap, then the heap.
 */
#include <stdlib.h>

#include "src/telemetry/collect.h"
#include "src/telemetry/segment_layout.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void collect(sl_segment *segment)
{
    sl_collector *collector = sl_collector_new(NULL);
    if (!collector || sl_collector_add_segment(collector, segment))
        abort();
    sl_buf out;
    sl_buf_init(&out, 1u << 22);
    size_t points = 0;
    for (int format = 0; format < 2; format++) {
        sl_buf_clear(&out);
        (void)!sl_collector_prometheus(collector, sl_str_of(NULL, 0), (sl_prometheus_format)format, &out);
    }
    for (int delta = 0; delta < 2; delta++) {
        sl_buf_clear(&out);
        (void)!sl_collector_otlp(collector, sl_str_of(NULL, 0), sl_str_of(NULL, 0), delta, &out, &points);
    }
    sl_collector_clear_inflight(collector, segment);
    sl_collector_remove_segment(collector, segment);
    sl_buf_clear(&out);
    (void)!sl_collector_prometheus(collector, sl_str_of(NULL, 0), SL_PROMETHEUS_OPENMETRICS, &out);
    sl_buf_done(&out);
    sl_collector_free(collector);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const sl_segment_options options = {
        .size_bytes = 4u << 20, .threads = 1, .cells = 512, .span_ring_bytes = 4096, .log_ring_bytes = 4096};
    uint16_t heads[SL_LIST_COUNT];
    sl_segment *segment;
    uint64_t heap;
    if (size <= sizeof heads || size > 65536 || sl_segment_new(&options, &segment))
        return 0;
    memcpy(heads, data, sizeof heads);
    if (sl_segment_alloc(segment, size - sizeof heads, &heap))
        abort();
    memcpy(sl_segment_at(segment, heap, size - sizeof heads), data + sizeof heads, size - sizeof heads);
    for (size_t i = 0; i < SL_LIST_COUNT; i++)
        atomic_store(&segment->header->lists[i], heads[i] ? heap + 8 * (uint64_t)(heads[i] - 1) : 0);
    for (uint32_t i = 0; i < options.cells; i++)
        atomic_store(sl_segment_shared_cell(segment, i), i + 1);
    collect(segment);
    sl_segment_free(segment);
    return 0;
}
