/*
 * The rows of one collection in memory: an aligned matrix of float32, ids, metadata, and the columns of metadata that
 * filters have asked for.
 *
 * Promises: searches run beside one another; a row that is put becomes visible to the next search; a filter that names
 * a key again does not parse metadata again.
 */
#ifndef SL_STORE_COLLECTION_SET_H
#define SL_STORE_COLLECTION_SET_H

#include "src/store/collection_filter.h"
#include "src/store/collection_scan.h"

/* One row, as it is put. Views are copied. */
typedef struct sl_vector_row {
    sl_str space; /* namespace; empty: the default one */
    sl_str id;
    const float *vector; /* finite */
    size_t dims;
    sl_str metadata; /* JSON object; may be empty */
} sl_vector_row;

typedef struct sl_vector_query {
    sl_str collection;
    sl_str space;
    const float *vector;
    size_t dims;
    size_t top_k;
    const sl_vector_filter *filter; /* may be NULL */
    bool with_metadata;
    bool with_vectors;
    atomic_bool *stop; /* may be NULL */
} sl_vector_query;

typedef struct sl_vector_hit {
    double score;
    sl_str id;
    sl_str metadata;     /* JSON; empty: none, or not asked for */
    const float *vector; /* NULL: not asked for */
} sl_vector_hit;

typedef struct sl_vector_hits {
    size_t count;
    size_t dims;
    sl_vector_metric metric;
    sl_vector_hit *items;
    char *memory; /* what the items point to */
} sl_vector_hits;

/* NULL is accepted. */
void sl_vector_hits_free(sl_vector_hits *hits);

typedef struct sl_vector_set sl_vector_set;

/* Errors: SL_EINVAL (dimensions), SL_ENOMEM. */
SL_MUST_CHECK int sl_vector_set_new(size_t dims, sl_vector_metric metric, sl_vector_set **ret_set);
void sl_vector_set_free(sl_vector_set *set);
size_t sl_vector_set_dims(const sl_vector_set *set);
size_t sl_vector_set_count(sl_vector_set *set);
sl_vector_metric sl_vector_set_metric(const sl_vector_set *set);
/* Bytes in memory. */
uint64_t sl_vector_set_bytes(sl_vector_set *set);

/* The matrix, for those who measure: rows of sl_scan_stride floats. Valid until the next put. */
const float *sl_vector_set_matrix(const sl_vector_set *set);

/* True when a row may be stored at all; else `reason` says why (SL_FILTER_REASON bytes). */
bool sl_vector_row_is_valid(const sl_vector_row *row, char *reason);
/*
 * Puts rows, in place of those of the same ids in their namespaces, to be seen together. Waits for searches under way.
 * Errors: SL_EINVAL (nothing was put), SL_ELIMIT, SL_ENOMEM (the rows in front of the one that failed are put).
 */
SL_MUST_CHECK int sl_vector_set_put(sl_vector_set *set, const sl_vector_row *rows, size_t count);
/*
 * Searches. Any thread; blocks for as long as it takes. `reason` (SL_FILTER_REASON bytes) says what was wrong.
 * Errors: SL_EINVAL, SL_ETOOBIG, SL_ENOMEM, SL_ECLOSED (stopped).
 */
SL_MUST_CHECK int sl_vector_set_search(sl_vector_set *set, sl_pool *pool, const sl_vector_query *query, char *reason,
                                       sl_vector_hits **ret_hits);

#endif
