/*
 * Exact search against a plain scan: N rows of D floats, the nearest K, beside the sum of the same bytes on the same
 * threads, round by round. Prints one line of JSON.
 *
 * Usage: bench_vector [ROWS [DIMENSIONS [TOP_K [ROUNDS]]]]
 */
#include <stdio.h>
#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/base/rng.h"
#include "src/store/collection.h"

#define MAX_ROUNDS 1001

typedef float vec16 __attribute__((vector_size(64)));

typedef struct floor_scan {
    const float *matrix;
    size_t stride;
    float sums[SL_MAX_POOL_THREADS][16];
} floor_scan;

/* The sum of all numbers, with as wide registers as the machine has and sums enough to wait for memory alone. */
__attribute__((target_clones("avx512f", "avx2", "default"))) static float sum_of(const float *from, size_t count)
{
    const vec16 *at = (const vec16 *)(const void *)from;
    vec16 a = {0}, b = {0}, c = {0}, d = {0};
    for (size_t i = 0; i + 4 <= count / 16; i += 4) {
        a += at[i];
        b += at[i + 1];
        c += at[i + 2];
        d += at[i + 3];
    }
    a += b + c + d;
    float sum = 0;
    for (int i = 0; i < 16; i++)
        sum += a[i];
    return sum;
}

static void sum_part(void *user, size_t slot, size_t from, size_t to)
{
    floor_scan *f = user;
    f->sums[slot][0] += sum_of(f->matrix + from * f->stride, (to - from) * f->stride);
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static double median_ms(uint64_t *ns, size_t count)
{
    qsort(ns, count, sizeof *ns, compare_u64);
    return (double)ns[count / 2] / 1e6;
}

static size_t argument(int argc, char **argv, int index, size_t fallback)
{
    uint64_t value;
    return index < argc && sl_str_to_u64(sl_str_c(argv[index]), &value) == 0 && value ? (size_t)value : fallback;
}

static void fill(sl_rng *rng, float *vector, size_t dims)
{
    for (size_t i = 0; i < dims; i++)
        vector[i] = (float)((double)(sl_rng_next(rng) >> 11) / 9007199254740992.0 - 0.5);
}

static void fill_set(sl_vector_set *set, size_t rows, size_t dims, sl_rng *rng)
{
    float *vector = malloc(dims * sizeof *vector);
    for (size_t i = 0; vector && i < rows; i++) {
        char id[32];
        (void)snprintf(id, sizeof id, "row-%zu", i);
        fill(rng, vector, dims);
        sl_vector_row row = {.id = sl_str_c(id), .vector = vector, .dims = dims};
        if (sl_vector_set_put(set, &row, 1))
            abort();
    }
    free(vector);
}

int main(int argc, char **argv)
{
    size_t rows = argument(argc, argv, 1, 100000), dims = argument(argc, argv, 2, 768);
    size_t top_k = argument(argc, argv, 3, 10), rounds = argument(argc, argv, 4, 21);
    static uint64_t search_ns[MAX_ROUNDS], floor_ns[MAX_ROUNDS];
    sl_vector_set *set = NULL;
    sl_pool *pool = NULL;
    sl_rng rng;
    sl_rng_init_seed(&rng, 1);
    if (rounds > MAX_ROUNDS || sl_vector_set_new(dims, SL_VECTOR_COSINE, &set) || sl_pool_new(0, &pool))
        return 2;
    fill_set(set, rows, dims, &rng);
    float *query = malloc(dims * sizeof *query);
    static floor_scan f;
    f.stride = sl_scan_stride(dims);
    f.matrix = sl_vector_set_matrix(set);
    if (!query)
        return 2;
    for (size_t i = 0; i <= rounds; i++) { /* the first round only wakes the threads */
        char reason[SL_FILTER_REASON];
        sl_vector_hits *hits = NULL;
        fill(&rng, query, dims);
        sl_vector_query q = {.vector = query, .dims = dims, .top_k = top_k};
        uint64_t start = sl_mono_ns();
        sl_pool_each(pool, rows, 512u * 1024 / (f.stride * sizeof(float)) + 1, sum_part, &f);
        uint64_t middle = sl_mono_ns();
        if (sl_vector_set_search(set, pool, &q, reason, &hits) || hits->count != top_k)
            return 1;
        uint64_t end = sl_mono_ns();
        sl_vector_hits_free(hits);
        if (i) {
            floor_ns[i - 1] = middle - start;
            search_ns[i - 1] = end - middle;
        }
    }
    double search = median_ms(search_ns, rounds), floor_ms = median_ms(floor_ns, rounds);
    printf("{\"rows\":%zu,\"dims\":%zu,\"top_k\":%zu,\"threads\":%zu,\"kernel\":\"%s\",\"search_ms\":%.3f,"
           "\"scan_ms\":%.3f,\"ratio\":%.4f,\"best_search_ms\":%.3f,\"best_scan_ms\":%.3f,\"checksum\":%g}\n",
           rows, dims, top_k, sl_pool_size(pool), sl_scan_kernel_name(), search, floor_ms, search / floor_ms,
           (double)search_ns[0] / 1e6, (double)floor_ns[0] / 1e6, (double)(f.sums[0][0] + f.sums[1][0]));
    free(query);
    sl_vector_set_free(set);
    sl_pool_free(pool);
    return 0;
}
