/* Instruments, streams and series of the recording process. Private to instrument.c, meter.c, view.c, series.c. */
#ifndef SL_TELEMETRY_REGISTRY_H
#define SL_TELEMETRY_REGISTRY_H

#include "src/telemetry/attr_set.h"
#include "src/telemetry/exemplar.h"
#include "src/telemetry/instrument.h"
#include "src/telemetry/series_record.h"

#define SL_MAX_STREAMS 16 /* of one instrument */

/* How a handle records. */
typedef enum sl_record_op {
    SL_OP_NONE = 0, /* dropped */
    SL_OP_COUNTER,
    SL_OP_COUNTER_DOUBLE,
    SL_OP_UPDOWN,
    SL_OP_UPDOWN_DOUBLE,
    SL_OP_GAUGE,
    SL_OP_GAUGE_DOUBLE,
    SL_OP_HISTOGRAM,
    SL_OP_MANY /* more than one stream: `parts` */
} sl_record_op;

/* A handle; the first line is all that recording reads. Constant after it is made. */
struct sl_series {
    sl_segment *segment;
    const _Atomic bool *recording;
    const double *bounds; /* padded with +Inf to a multiple of 4 */
    uint32_t padded;
    uint32_t cell;
    uint32_t exemplar_cell; /* 0: no exemplars */
    uint16_t part_count;
    uint8_t op;
    uint8_t exemplars; /* sl_exemplar_filter */
    const struct sl_series *const *parts;
    struct sl_series *next; /* handle with many parts that has the same first part */
};

/* One set of attributes of one stream. */
typedef struct sl_stream_series {
    struct sl_series handle; /* records into this stream alone */
    sl_series *many;         /* handles with many parts of which this is the first */
    uint64_t hash;
    uint32_t attrs_len;
    uint8_t attrs[]; /* encoded: the identity */
} sl_stream_series;

/* What a stream of an instrument is, before it lies in the segment. Strings are borrowed. */
typedef struct sl_stream_spec {
    const char *name;
    const char *description;
    const char *unit;
    const double *bounds;
    size_t bound_count;
    size_t max_series;
    sl_attr_rules rules;
} sl_stream_spec;

typedef struct sl_stream {
    uint64_t record;
    double *bounds; /* padded */
    uint32_t bound_count;
    uint32_t padded;
    size_t max_series; /* the overflow series included */
    size_t series_count;
    sl_attr_rules rules; /* borrowed from the view, which lives as long as the registry */
    bool native;
    uint64_t overflow_record;
    bool overflow_published;
    sl_stream_series *overflow;
    sl_stream_series **table; /* by hash, open addressing; table_size is 0 or a power of two */
    size_t table_size;
} sl_stream;

typedef struct sl_callback {
    sl_observe_fn fn;
    void *user;
    struct sl_callback *next;
} sl_callback;

struct sl_instrument {
    struct sl_instrument *next;
    sl_registry *registry;
    struct sl_meter *meter;
    /* Constant. */
    char *name;
    char *unit;
    sl_instrument_kind kind;
    bool is_double;
    double *bounds; /* as declared, or the default */
    size_t bound_count;
    sl_series nothing; /* the handle of an instrument without streams */
    /* Under its own lock. */
    pthread_mutex_t lock;
    sl_stream streams[SL_MAX_STREAMS];
    size_t stream_count;
    sl_buf attrs; /* scratch of binding */
    sl_buf labels;
    /* Under the registry's callback lock. */
    sl_callback *callbacks;
};

struct sl_meter {
    struct sl_meter *next;
    sl_registry *registry;
    uint32_t scope;
    char *name;
    char *scope_labels; /* otel_scope_name="…",… */
    sl_instrument *instruments;
};

/* A view with copies of everything. */
typedef struct sl_view_entry {
    sl_view view;
    struct sl_view_entry *next; /* in order of addition */
} sl_view_entry;

struct sl_registry {
    /* Constant. */
    sl_sdk *sdk;
    sl_segment *segment;
    size_t max_series;
    sl_exemplar_filter exemplars;
    bool adopting; /* the segment had streams when the registry was made */
    bool forked;   /* this is a child's copy of its parent's: nothing is bound or collected any more */
    /* Any thread. */
    _Atomic uint32_t exemplar_cells; /* handed out so far; a quarter of all cells at most */
    /* Under the lock. */
    pthread_mutex_t lock;
    struct sl_meter *meters;
    sl_view_entry *views;
    size_t view_count;
    size_t instrument_count;
    /* Held while callbacks run. */
    pthread_mutex_t callback_lock;
    size_t callback_count;
};

/*
 * view.c: the streams of an instrument, own one first when it has one. Returns their number; `ret_conflict` is set when
 * two views would make a metric of one name (the first is kept). Registry lock held.
 */
size_t sl_view_streams(const sl_registry *registry, const sl_meter *meter, const sl_instrument_options *options,
                       sl_stream_spec ret_specs[SL_MAX_STREAMS], bool *ret_conflict);
void sl_view_entries_free(sl_view_entry *views);

/* instrument.c */
bool sl_instrument_name_is_valid(const char *name);
/* meter.c: frees it whole; NULL is accepted. */
void sl_instrument_free(sl_instrument *instrument);

/* series_add.c: sets the value of a counter or up-down counter instead of adding (asynchronous instruments). */
void sl_series_set(sl_series *series, double value);
/* series_add.c: as sl_histogram_record_in, `times` times the same value. */
void sl_histogram_record_times(sl_series *series, double value, uint64_t times, const sl_span_context *context);

/* series.c: puts a stream into the segment, or finds it there. Errors: SL_ELIMIT, SL_ENOMEM. */
SL_MUST_CHECK int sl_stream_init(sl_stream *stream, sl_instrument *instrument, const sl_stream_spec *spec);
void sl_stream_done(sl_stream *stream);

#endif
