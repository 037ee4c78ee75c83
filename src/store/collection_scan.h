/*
 * Exact search in a matrix of float32: the rows that are nearest to a query, by scoring every one of them.
 *
 * Promises: nothing is approximated (the best rows by single precision, more than were asked for, are scored once more
 * in double precision); equal scores are ordered by the caller's rule, so that the same data gives the same answer
 * however many threads took part; rows are read once, in order, by all cores that the pool has.
 *
 * Does not do: ownership of the matrix, I/O.
 */
#ifndef SL_STORE_COLLECTION_SCAN_H
#define SL_STORE_COLLECTION_SCAN_H

#include <stdatomic.h>

#include "src/base/limits.h"
#include "src/base/str.h"
#include "src/store/collection_pool.h"

typedef enum sl_vector_metric {
    SL_VECTOR_COSINE = 0,
    SL_VECTOR_DOT,
    SL_VECTOR_EUCLID,
    SL_VECTOR_METRICS
} sl_vector_metric;

/* "cosine", "dot", "euclid". Static. */
const char *sl_vector_metric_name(sl_vector_metric metric);
/* Errors: SL_EINVAL. */
SL_MUST_CHECK int sl_vector_metric_parse(sl_str text, sl_vector_metric *ret_metric);

/* Rows and queries have this many floats of room (a multiple), zero behind the dimensions, aligned to 64 bytes. */
#define SL_SCAN_ALIGN_FLOATS 32u

static inline size_t sl_scan_stride(size_t dims)
{
    return (dims + SL_SCAN_ALIGN_FLOATS - 1) / SL_SCAN_ALIGN_FLOATS * SL_SCAN_ALIGN_FLOATS;
}

typedef struct sl_scan_hit {
    double score; /* cosine, dot product: greater is nearer; euclid: the distance, smaller is nearer */
    uint32_t row;
} sl_scan_hit;

typedef struct sl_scan {
    const float *matrix;
    size_t dims, stride;
    size_t rows;
    const float *inverse_norms; /* of each row, for cosine */
    const uint32_t *selected;   /* rows to look at, `rows` of them; NULL: all */
    const float *query;         /* stride floats, aligned */
    sl_vector_metric metric;
    size_t top_k;
    /* Order of two rows of the same score: below 0 when `a` comes first. */
    int (*order)(const void *user, uint32_t a, uint32_t b);
    const void *user;
    atomic_bool *stop; /* set by somebody who no longer wants the answer; may be NULL */
} sl_scan;

/*
 * Blocks until it is done; any thread, any number at once. `hits` has room for `top_k`. `pool` may be NULL: on this
 * thread alone. Errors: SL_ENOMEM, SL_ECLOSED (stopped).
 */
SL_MUST_CHECK int sl_scan_run(sl_pool *pool, const sl_scan *scan, sl_scan_hit *hits, size_t *ret_count);

/* 1 / length of a vector of `stride` floats; 0 for the zero vector. */
float sl_scan_inverse_norm(const float *vector, size_t stride);

/* The instruction set in use: "avx512f", "avx2", "sse2" ... Static. */
const char *sl_scan_kernel_name(void);
/* For tests: the number of kernels that this machine can run, and the choice of one (0 is the best). */
size_t sl_scan_kernel_count(void);
void sl_scan_kernel_use(size_t number);

#endif
