/* The collector from inside: what it remembers of the segments it reads. Private to collect*.c, prom_text.c,
 * otlp_metrics.c. */
#ifndef SL_TELEMETRY_COLLECT_IMPL_H
#define SL_TELEMETRY_COLLECT_IMPL_H

#include "src/telemetry/collect.h"
#include "src/telemetry/exemplar.h"
#include "src/telemetry/series_record.h"

#define SL_MAX_POINTS (1u << 20)            /* of one collector */
#define SL_MAX_COLLECTED_STREAMS (1u << 16) /* of one segment */

/* Where one process keeps a series. */
typedef struct sl_source {
    sl_segment *segment;
    uint32_t cell;
    uint32_t exemplar_cell; /* 0: none */
} sl_source;

struct sl_metric;

/* A series, merged over all segments. */
typedef struct sl_point {
    struct sl_metric *metric;
    struct sl_point *next; /* in the hash chain */
    struct sl_point *twin; /* same labels in Prometheus text (values that differ in type alone); added up there */
    uint64_t hash;
    uint64_t start_ns;
    sl_source *sources;
    uint32_t source_count;
    uint32_t source_cap;
    uint64_t *folded;    /* counts of segments that are gone: 1, or one per bucket; NULL: none */
    double folded_sum;   /* and their sum of doubles */
    uint64_t folded_min; /* and their extremes, as cells have them */
    uint64_t folded_max;
    /* As of the previous delta collection, and behind it as of the one under way; NULL: none yet. */
    uint64_t *previous;
    double previous_sum[2];
    uint64_t previous_ns[2];
    bool is_taken; /* by the one under way */
    sl_str attrs;
    sl_str labels;
    char bytes[]; /* of both */
} sl_point;

/* A stream, merged over all segments. */
typedef struct sl_metric {
    struct sl_metric *next;
    uint64_t hash;
    sl_str scope; /* encoded */
    sl_str schema_url;
    sl_str name;
    sl_str unit;
    sl_str description;
    sl_instrument_kind kind;
    bool is_double;
    bool native;
    uint32_t bound_count;
    double *bounds;
    sl_point **points;
    size_t point_count;
    size_t point_cap;
    bool sorted;
    char *bytes; /* of all the texts and bounds */
} sl_metric;

typedef struct sl_known_stream {
    uint64_t offset;
    sl_metric *metric;
} sl_known_stream;

/* How far a segment's lists have been read. */
typedef struct sl_reader {
    sl_segment *segment;
    uint64_t streams_seen;
    uint64_t series_seen;
    sl_known_stream *streams; /* sorted by offset */
    size_t stream_count;
    size_t stream_cap;
} sl_reader;

typedef struct sl_families sl_families; /* prom_text.c */

struct sl_collector {
    sl_registry *registry;
    pthread_mutex_t lock; /* everything below */
    sl_reader readers[SL_MAX_SEGMENTS];
    size_t reader_count;
    sl_metric *metrics;
    size_t metric_count;
    sl_metric **sorted; /* by scope, then name; NULL when stale */
    sl_point **table;   /* chains by hash */
    size_t table_size;
    size_t point_count;
    uint64_t generation; /* changes with every new metric or point */
    sl_families *families;
    sl_buf resource; /* what an empty resource argument stands for */
};

/* A point's value now. `counts` has one entry per bucket. */
typedef struct sl_reading {
    uint64_t whole;   /* integers, or the bits of a gauge */
    double real;      /* doubles; sum of a histogram */
    uint64_t count;   /* of a histogram */
    uint64_t time_ns; /* of a gauge */
    uint64_t counts[SL_MAX_BOUNDS + 1];
} sl_reading;

static inline uint32_t sl_metric_buckets(const sl_metric *metric)
{
    return metric->kind == SL_HISTOGRAM ? metric->bound_count + 1 : 0;
}

/* Reads new records of all segments. Lock held. Errors: SL_ENOMEM. */
SL_MUST_CHECK int sl_collector_refresh(sl_collector *collector);
/* Metrics by scope, then name, their points sorted by attributes. Lock held. NULL without memory. */
sl_metric **sl_collector_sorted(sl_collector *collector);
/* Reads a point. False when it has no value (a gauge never set, an up-down counter whose processes are gone). */
bool sl_point_read(const sl_point *point, sl_reading *ret_reading);
/*
 * Smallest and largest value of a histogram since it began. False while there is none. A reader may be ahead of the
 * counts by a record that is being written.
 */
bool sl_point_extremes(const sl_point *point, double *ret_min, double *ret_max);
/* Newest exemplar of a bucket over all sources. */
bool sl_point_exemplar(const sl_point *point, uint32_t bucket, sl_exemplar *ret_exemplar);

/* prom_text.c. Lock held. */
SL_MUST_CHECK int sl_prom_write(sl_collector *collector, sl_str resource, sl_prometheus_format format, sl_buf *out);
void sl_families_free(sl_families *families);
/* otlp_metrics.c. Lock held. */
SL_MUST_CHECK int sl_otlp_metrics_write(sl_collector *collector, sl_str resource, sl_str schema_url, bool delta,
                                        sl_buf *out, size_t *ret_points);

#endif
