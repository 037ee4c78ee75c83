/*
 * Exemplars: one measurement kept for each bucket of a histogram, with the span it was made in.
 *
 * Each bucket has five cells in each thread's block: time, value, trace id (two), span id. The thread that owns the
 * block writes them; `time` is 0 while it does so and never the same twice, so a reader can tell a torn one. A bucket's
 * exemplar is replaced at most once per tick of the coarse clock: that, and the test whether the span is sampled, is
 * what keeps them cheap.
 */
#ifndef SL_TELEMETRY_EXEMPLAR_H
#define SL_TELEMETRY_EXEMPLAR_H

#include "src/telemetry/series_record.h"

typedef enum sl_exemplar_filter {
    SL_EXEMPLARS_TRACE_BASED = 0, /* the default: only when the span is sampled */
    SL_EXEMPLARS_ALWAYS_ON,
    SL_EXEMPLARS_ALWAYS_OFF
} sl_exemplar_filter;

typedef struct sl_exemplar {
    uint64_t time_ns; /* 0: none */
    double value;
    uint8_t trace_id[SL_TRACE_ID_SIZE]; /* all zero: no span */
    uint8_t span_id[SL_SPAN_ID_SIZE];
} sl_exemplar;

/* A value of OTEL_METRICS_EXEMPLAR_FILTER (NULL: unset). What is not known is the default. */
sl_exemplar_filter sl_exemplar_filter_of(const char *text);

/* Writes an exemplar into a bucket's cells of this thread's block; `context` NULL: without span. */
void sl_exemplar_write(sl_cell *cells, double value, const sl_span_context *context);

/* Reads a bucket's cells, newest of all blocks; `cell` is the first block-relative index. False: none. */
bool sl_exemplar_read(const sl_segment *segment, uint32_t cell, sl_exemplar *ret_exemplar);

#endif
