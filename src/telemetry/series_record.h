/*
 * How streams and series lie in a segment. A reader in another process needs nothing else to understand them.
 *
 * A stream record is one metric (name, unit, kind, bounds); a series record is one set of attributes of a stream, with
 * the cells that hold its values:
 *
 *     COUNTER, UPDOWN_COUNTER    1 cell: integer, or double when the stream says so
 *     GAUGE                      2 cells of the shared block: value, time of setting (0: never set)
 *     HISTOGRAM                  sum (double), smallest and largest value (inverted, see sl_cell_to_extreme), one count
 *                                per bucket, the last for +Inf; then, when the series has exemplars,
 *                                SL_EXEMPLAR_CELLS for each bucket (exemplar.h)
 *
 * Readers take nothing for granted: what lies here may be damaged or hostile.
 */
#ifndef SL_TELEMETRY_SERIES_RECORD_H
#define SL_TELEMETRY_SERIES_RECORD_H

#include <sightline/metrics.h>

#include "src/telemetry/segment.h"

#define SL_EXEMPLAR_CELLS 5u
#define SL_MAX_RECORD_STEPS (1u << 19) /* of a list in a segment: a damaged one may be a ring */

enum {
    SL_STREAM_DOUBLE = 1, /* counters and gauges hold doubles */
    SL_STREAM_NATIVE = 2  /* a Prometheus name (prom_name.h) */
};
enum { SL_SERIES_EXEMPLARS = 1, SL_SERIES_OVERFLOW = 2 };

typedef struct sl_stream_record {
    uint64_t next;
    uint64_t overflow; /* offset of the overflow series, made beforehand and published when first used */
    uint32_t scope;    /* scope.h */
    uint32_t description_len;
    uint16_t bound_count;
    uint16_t name_len;
    uint16_t unit_len;
    uint8_t kind; /* sl_instrument_kind */
    uint8_t flags;
    /* Follows: bound_count doubles, name, unit, description. */
} sl_stream_record;

typedef struct sl_series_record {
    uint64_t next;
    uint64_t stream;
    uint64_t start_ns;
    uint32_t cell;
    uint32_t flags;
    uint32_t attrs_len;
    uint32_t labels_len;
    /* Follows: attributes as OTLP KeyValues with the tag of the stream's kind of data point; Prometheus labels. */
} sl_series_record;

/* A checked copy of a record's fixed part; the texts point into the segment. */
typedef struct sl_stream_view {
    uint64_t overflow;
    uint32_t scope;
    sl_instrument_kind kind;
    uint8_t flags;
    uint32_t bound_count;
    const double *bounds;
    sl_str name;
    sl_str unit;
    sl_str description;
} sl_stream_view;

typedef struct sl_series_view {
    uint64_t stream;
    uint64_t start_ns;
    uint32_t cell;
    uint32_t flags;
    sl_str attrs;
    sl_str labels;
} sl_series_view;

/* Cells of a histogram, from its first one. */
enum { SL_HISTOGRAM_SUM = 0, SL_HISTOGRAM_MIN, SL_HISTOGRAM_MAX, SL_HISTOGRAM_COUNTS };

/*
 * Smallest and largest values lie inverted in their cells, so that a cell never written reads as NaN: every comparison
 * with that is false.
 */
static inline double sl_cell_to_extreme(uint64_t bits)
{
    return sl_cell_to_double(~bits);
}

static inline uint64_t sl_cell_from_extreme(double value)
{
    return ~sl_cell_from_double(value);
}

/* Field number of attributes in the kind's data point (OTLP metrics.proto). */
static inline uint32_t sl_point_attrs_field(sl_instrument_kind kind)
{
    return kind == SL_HISTOGRAM ? 9 : 7;
}

/* Cells that a series takes. */
static inline uint32_t sl_series_cells(sl_instrument_kind kind, uint32_t bound_count, bool exemplars)
{
    if (kind != SL_HISTOGRAM)
        return kind == SL_GAUGE ? 2 : 1;
    return SL_HISTOGRAM_COUNTS + (bound_count + 1) * (exemplars ? 1 + SL_EXEMPLAR_CELLS : 1);
}

/* First of a histogram's exemplar cells, counted from its first cell. */
static inline uint32_t sl_histogram_exemplars(uint32_t bound_count)
{
    return SL_HISTOGRAM_COUNTS + bound_count + 1;
}

/* Writes a stream record, not published. `overflow` is filled in by the caller. Errors: SL_ELIMIT. */
SL_MUST_CHECK int sl_stream_record_new(sl_segment *segment, const sl_stream_view *stream, uint64_t *ret_offset);
/* Writes a series record, not published. Errors: SL_ELIMIT. */
SL_MUST_CHECK int sl_series_record_new(sl_segment *segment, const sl_series_view *series, uint64_t *ret_offset);

/* Read and check. False when the record makes no sense. */
bool sl_stream_record_read(const sl_segment *segment, uint64_t offset, sl_stream_view *ret_stream);
bool sl_series_record_read(const sl_segment *segment, uint64_t offset, sl_series_view *ret_series);
/* True when the cells of a series of this stream lie inside the segment. */
bool sl_series_fits(const sl_segment *segment, const sl_stream_view *stream, const sl_series_view *series);
/* Next (older) record; 0 at the end. */
uint64_t sl_record_next(const sl_segment *segment, uint64_t offset);

/*
 * Sets every up-down counter and gauge of a segment to nothing: its writer has died, and what it had in flight is gone
 * with it; so are its open spans. Counters and histograms stay. Only while nobody records into the segment.
 */
void sl_series_reset_volatile(sl_segment *segment);

#endif
