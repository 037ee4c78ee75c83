/* Resetting what a dead writer left in flight. */
#include "src/telemetry/series_volatile.h"

#include "src/telemetry/series_record.h"

void sl_series_reset_volatile(sl_segment *segment)
{
    SL_ASSERT(segment);
    size_t left = 1u << 20; /* a damaged list may be a ring */
    for (uint64_t at = sl_segment_head(segment, SL_LIST_SERIES); at && left > 0; at = sl_record_next(segment, at), left--) {
        sl_series_view series;
        sl_stream_view stream;
        if (!sl_series_record_read(segment, at, &series) || !sl_stream_record_read(segment, series.stream, &stream) ||
            !sl_series_fits(segment, &stream, &series))
            continue;
        if (stream.kind == SL_UPDOWN_COUNTER)
            sl_segment_zero(segment, series.cell, 1);
        else if (stream.kind == SL_GAUGE)
            sl_segment_zero(segment, series.cell, 2);
    }
}
