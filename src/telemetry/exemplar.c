/* Writing and reading of exemplar cells. */
#include "src/telemetry/exemplar.h"

#include "src/base/clock.h"

enum { CELL_TIME = 0, CELL_VALUE, CELL_TRACE_HIGH, CELL_TRACE_LOW, CELL_SPAN };

sl_exemplar_filter sl_exemplar_filter_of(const char *text)
{
    sl_str s = sl_str_trim(sl_str_c(text));
    if (sl_str_ieq(s, SL_STR("always_on")))
        return SL_EXEMPLARS_ALWAYS_ON;
    if (sl_str_ieq(s, SL_STR("always_off")))
        return SL_EXEMPLARS_ALWAYS_OFF;
    return SL_EXEMPLARS_TRACE_BASED;
}

void sl_exemplar_write(sl_cell *cells, double value, const sl_span_context *context)
{
    SL_ASSERT(cells);
    uint64_t now = sl_now_coarse_ns();
    if (atomic_load_explicit(&cells[CELL_TIME], memory_order_relaxed) >= now)
        return; /* one per tick; a clock that was set back waits until it has caught up */
    uint64_t ids[3] = {0, 0, 0};
    if (context) {
        memcpy(ids, context->trace_id, SL_TRACE_ID_SIZE);
        memcpy(ids + 2, context->span_id, SL_SPAN_ID_SIZE);
    }
    atomic_store_explicit(&cells[CELL_TIME], 0, memory_order_relaxed);
    /* Release: who sees one of these sees the 0 too. */
    atomic_store_explicit(&cells[CELL_VALUE], sl_cell_from_double(value), memory_order_release);
    atomic_store_explicit(&cells[CELL_TRACE_HIGH], ids[0], memory_order_release);
    atomic_store_explicit(&cells[CELL_TRACE_LOW], ids[1], memory_order_release);
    atomic_store_explicit(&cells[CELL_SPAN], ids[2], memory_order_release);
    atomic_store_explicit(&cells[CELL_TIME], now, memory_order_release);
}

static bool read_one(const sl_cell *cells, uint64_t newer_than, sl_exemplar *ret_exemplar)
{
    SL_ASSERT(cells && ret_exemplar);
    uint64_t time = atomic_load_explicit(&cells[CELL_TIME], memory_order_acquire);
    if (time <= newer_than)
        return false;
    uint64_t words[4];
    for (size_t i = 0; i < 4; i++)
        words[i] = atomic_load_explicit(&cells[CELL_VALUE + i], memory_order_acquire);
    if (atomic_load_explicit(&cells[CELL_TIME], memory_order_relaxed) != time)
        return false;
    ret_exemplar->time_ns = time;
    ret_exemplar->value = sl_cell_to_double(words[0]);
    memcpy(ret_exemplar->trace_id, words + 1, SL_TRACE_ID_SIZE);
    memcpy(ret_exemplar->span_id, words + 3, SL_SPAN_ID_SIZE);
    return true;
}

bool sl_exemplar_read(const sl_segment *segment, uint32_t cell, sl_exemplar *ret_exemplar)
{
    SL_ASSERT(cell < sl_segment_cell_count(segment));
    sl_exemplar newest = {.time_ns = 0};
    uint32_t blocks = sl_segment_blocks(segment);
    for (uint32_t b = 0; b < blocks; b++)
        (void)read_one(sl_segment_block_cells(segment, b) + cell, newest.time_ns, &newest);
    if (newest.time_ns == 0)
        return false;
    *ret_exemplar = newest;
    return true;
}
