/*
 * Scoring rows and keeping the best.
 *
 * Each thread keeps a heap of the best rows it met, the worst on top. A few more than were asked for are kept: single
 * precision may swap neighbours, and double precision puts them in order at the end.
 */
#include "src/store/collection_scan.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>

#include "src/base/assert.h"
#include "src/base/mem.h"

#define SPARE_ROWS 32u                 /* kept beyond top_k */
#define CHUNK_BYTES (512u * 1024)      /* of the matrix, handed out at once */
#define ALONE_BYTES (2u * 1024 * 1024) /* less than this is not worth waking a thread */

/* ---- kernels: sums over `n` floats, n a multiple of SL_SCAN_ALIGN_FLOATS, both sides aligned ---- */

typedef float (*kernel_fn)(const float *a, const float *b, size_t n);

typedef struct kernel {
    const char *name;
    bool (*runs)(void);
    kernel_fn dot;
    kernel_fn distance; /* squared */
} kernel;

/* Bytes that are asked for ahead: the processor's own looking ahead ends at each page of 4 KiB. */
#define PREFETCH_FLOATS 1536

/*
 * One body for every instruction set: the compiler makes its code for the target from vector types of LANES floats.
 * Two sums, so that additions do not wait for one another; the lanes are summed in halves.
 */
#define DEFINE_KERNEL(name, target_, LANES, PRODUCT)                                                                   \
    target_ static float name(const float *a, const float *b, size_t n)                                                \
    {                                                                                                                  \
        typedef float vec __attribute__((vector_size(LANES * sizeof(float))));                                         \
        const vec *x = (const vec *)(const void *)a, *y = (const vec *)(const void *)b;                                \
        vec s0 = {0}, s1 = {0};                                                                                        \
        for (size_t i = 0; i < n / LANES; i += 2) {                                                                    \
            __builtin_prefetch((const char *)&x[i] + PREFETCH_FLOATS * sizeof(float));                                 \
            if (LANES == 16)                                                                                           \
                __builtin_prefetch((const char *)&x[i + 1] + PREFETCH_FLOATS * sizeof(float));                         \
            PRODUCT(s0, x[i], y[i]);                                                                                   \
            PRODUCT(s1, x[i + 1], y[i + 1]);                                                                           \
        }                                                                                                              \
        union {                                                                                                        \
            vec all;                                                                                                   \
            float lanes[LANES];                                                                                        \
        } sum = {s0 + s1};                                                                                             \
        for (int width = LANES / 2; width; width /= 2)                                                                 \
            for (int i = 0; i < width; i++)                                                                            \
                sum.lanes[i] += sum.lanes[i + width];                                                                  \
        return sum.lanes[0];                                                                                           \
    }
#define ADD_PRODUCT(sum, x, y) sum += (x) * (y)
#define ADD_DISTANCE(sum, x, y) sum += ((x) - (y)) * ((x) - (y))
#define DEFINE_KERNELS(set, target_, LANES)                                                                            \
    DEFINE_KERNEL(set##_dot, target_, LANES, ADD_PRODUCT)                                                              \
    DEFINE_KERNEL(set##_distance, target_, LANES, ADD_DISTANCE)

DEFINE_KERNELS(plain, , 4)

static bool plain_runs(void)
{
    return true;
}

#if defined(__x86_64__)
DEFINE_KERNELS(avx2, __attribute__((target("avx2,fma"))), 8)
DEFINE_KERNELS(avx512, __attribute__((target("avx512f,avx2,fma"))), 16)

static bool avx2_runs(void)
{
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
}

static bool avx512_runs(void)
{
    return avx2_runs() && __builtin_cpu_supports("avx512f");
}
#endif

static const kernel kernels[] = {
#if defined(__x86_64__)
    {"avx512f", avx512_runs, avx512_dot, avx512_distance},
    {"avx2", avx2_runs, avx2_dot, avx2_distance},
    {"sse2", plain_runs, plain_dot, plain_distance},
#else
    {"vector", plain_runs, plain_dot, plain_distance},
#endif
};

#define KERNELS (sizeof kernels / sizeof *kernels)

static atomic_size_t chosen = KERNELS; /* KERNELS: not chosen yet; every thread would choose the same */

static size_t first_kernel(void)
{
    size_t i = 0;
    while (i + 1 < KERNELS && !kernels[i].runs())
        i++;
    return i;
}

static const kernel *kernel_in_use(void)
{
    size_t i = atomic_load_explicit(&chosen, memory_order_relaxed);
    if (SL_UNLIKELY(i == KERNELS)) {
        i = first_kernel();
        atomic_store_explicit(&chosen, i, memory_order_relaxed);
    }
    return &kernels[i];
}

const char *sl_scan_kernel_name(void)
{
    return kernel_in_use()->name;
}

size_t sl_scan_kernel_count(void)
{
    return KERNELS - first_kernel();
}

void sl_scan_kernel_use(size_t number)
{
    SL_ASSERT(number < sl_scan_kernel_count());
    atomic_store_explicit(&chosen, first_kernel() + number, memory_order_relaxed);
}

float sl_scan_inverse_norm(const float *vector, size_t stride)
{
    SL_ASSERT(vector && stride % SL_SCAN_ALIGN_FLOATS == 0);
    double sum = 0;
    for (size_t i = 0; i < stride; i++)
        sum += (double)vector[i] * (double)vector[i];
    return sum > 0 ? (float)(1.0 / sqrt(sum)) : 0;
}

/* ---- names ---- */

static const char *const metric_names[SL_VECTOR_METRICS] = {"cosine", "dot", "euclid"};

const char *sl_vector_metric_name(sl_vector_metric metric)
{
    SL_ASSERT(metric < SL_VECTOR_METRICS);
    return metric_names[metric];
}

int sl_vector_metric_parse(sl_str text, sl_vector_metric *ret_metric)
{
    SL_ASSERT(ret_metric);
    for (unsigned i = 0; i < SL_VECTOR_METRICS; i++)
        if (sl_str_eq_c(text, metric_names[i])) {
            *ret_metric = (sl_vector_metric)i;
            return 0;
        }
    return SL_EINVAL;
}

/* ---- heaps ---- */

typedef struct candidate {
    float score; /* greater is nearer, whatever the metric */
    uint32_t row;
} candidate;

typedef struct heap {
    candidate *items; /* the worst at 0 */
    size_t count;
    float worst;                                         /* what a row must reach to come in */
    char apart[64 - 2 * sizeof(void *) - sizeof(float)]; /* a cache line for each thread */
} heap;

typedef struct search {
    const sl_scan *scan;
    const kernel *with;
    size_t keep;
    heap heaps[SL_MAX_POOL_THREADS];
} search;

/* True when `a` is to be thrown out before `b`. */
static bool is_worse(const sl_scan *scan, candidate a, candidate b)
{
    if (a.score < b.score)
        return true;
    if (a.score > b.score)
        return false;
    return scan->order(scan->user, a.row, b.row) > 0;
}

static void sift_down(const sl_scan *scan, heap *h, size_t at)
{
    for (;;) {
        size_t kid = 2 * at + 1;
        if (kid >= h->count)
            return;
        if (kid + 1 < h->count && is_worse(scan, h->items[kid + 1], h->items[kid]))
            kid++;
        if (!is_worse(scan, h->items[kid], h->items[at]))
            return;
        candidate moved = h->items[at];
        h->items[at] = h->items[kid];
        h->items[kid] = moved;
        at = kid;
    }
}

static void sift_up(const sl_scan *scan, heap *h, size_t at)
{
    while (at > 0 && is_worse(scan, h->items[at], h->items[(at - 1) / 2])) {
        candidate moved = h->items[at];
        h->items[at] = h->items[(at - 1) / 2];
        h->items[(at - 1) / 2] = moved;
        at = (at - 1) / 2;
    }
}

static void offer(const search *s, heap *h, candidate c)
{
    SL_ASSERT(h->count <= s->keep);
    if (h->count < s->keep) {
        h->items[h->count] = c;
        sift_up(s->scan, h, h->count++);
    } else if (is_worse(s->scan, h->items[0], c)) {
        h->items[0] = c;
        sift_down(s->scan, h, 0);
    }
    if (h->count == s->keep)
        h->worst = h->items[0].score;
}

/* ---- scoring ---- */

static float score_of(const search *s, uint32_t row)
{
    const sl_scan *scan = s->scan;
    const float *vector = scan->matrix + (size_t)row * scan->stride;
    float score;
    if (scan->metric == SL_VECTOR_EUCLID)
        score = -s->with->distance(vector, scan->query, scan->stride);
    else
        score = s->with->dot(vector, scan->query, scan->stride);
    if (scan->metric == SL_VECTOR_COSINE)
        score *= scan->inverse_norms[row];
    return SL_LIKELY(score == score) ? score : -FLT_MAX; /* no number: sums that overflowed both ways */
}

static void scan_part(void *user, size_t slot, size_t from, size_t to)
{
    search *s = user;
    const sl_scan *scan = s->scan;
    heap *h = &s->heaps[slot];
    SL_ASSERT(slot < SL_MAX_POOL_THREADS && from < to);
    if (scan->stop && atomic_load_explicit(scan->stop, memory_order_relaxed))
        return;
    for (size_t i = from; i < to; i++) {
        uint32_t row = scan->selected ? scan->selected[i] : (uint32_t)i;
        float score = score_of(s, row);
        if (SL_UNLIKELY(score >= h->worst || h->count < s->keep))
            offer(s, h, (candidate){score, row});
    }
}

static double exact_score(const sl_scan *scan, uint32_t row)
{
    const float *vector = scan->matrix + (size_t)row * scan->stride;
    double dot = 0, a = 0, b = 0, apart = 0;
    for (size_t i = 0; i < scan->dims; i++) {
        double x = vector[i], y = scan->query[i];
        dot += x * y;
        a += x * x;
        b += y * y;
        apart += (x - y) * (x - y);
    }
    if (scan->metric == SL_VECTOR_EUCLID)
        return sqrt(apart);
    if (scan->metric == SL_VECTOR_DOT)
        return dot;
    return a > 0 && b > 0 ? dot / (sqrt(a) * sqrt(b)) : 0;
}

/* ---- the best of all threads ---- */

static bool comes_before(const sl_scan *scan, const sl_scan_hit *a, const sl_scan_hit *b)
{
    if (a->score < b->score || a->score > b->score)
        return (a->score > b->score) == (scan->metric != SL_VECTOR_EUCLID);
    return scan->order(scan->user, a->row, b->row) < 0;
}

static int compare_hits(const void *a, const void *b, void *scan)
{
    return comes_before(scan, a, b) ? -1 : comes_before(scan, b, a) ? 1 : 0;
}

static size_t gather(const search *s, size_t threads, sl_scan_hit *all)
{
    size_t count = 0;
    for (size_t t = 0; t < threads; t++)
        for (size_t i = 0; i < s->heaps[t].count; i++) {
            uint32_t row = s->heaps[t].items[i].row;
            all[count++] = (sl_scan_hit){exact_score(s->scan, row), row};
        }
    qsort_r(all, count, sizeof *all, compare_hits, (void *)(uintptr_t)s->scan);
    return count;
}

int sl_scan_run(sl_pool *pool, const sl_scan *scan, sl_scan_hit *hits, size_t *ret_count)
{
    SL_ASSERT(scan && hits && ret_count && scan->order);
    SL_ASSERT(scan->stride == sl_scan_stride(scan->dims) && scan->rows <= UINT32_MAX);
    size_t row_bytes = scan->stride * sizeof(float), threads = sl_pool_size(pool);
    if (scan->rows <= ALONE_BYTES / row_bytes)
        threads = 1;
    size_t top = scan->top_k < scan->rows ? scan->top_k : scan->rows;
    search s = {.scan = scan, .with = kernel_in_use(), .keep = top + SPARE_ROWS};
    if (s.keep > scan->rows)
        s.keep = scan->rows;
    *ret_count = 0;
    if (top == 0)
        return 0;
    candidate *room = sl_malloc(threads * s.keep * sizeof *room);
    sl_scan_hit *all = sl_malloc(threads * s.keep * sizeof *all);
    int error = room && all ? 0 : SL_ENOMEM;
    for (size_t t = 0; !error && t < threads; t++)
        s.heaps[t] = (heap){.items = room + t * s.keep, .worst = -INFINITY};
    if (!error) {
        size_t chunk = CHUNK_BYTES / row_bytes + 1;
        sl_pool_each(threads > 1 ? pool : NULL, scan->rows, chunk, scan_part, &s);
        if (scan->stop && atomic_load(scan->stop))
            error = SL_ECLOSED;
    }
    if (!error) {
        size_t count = gather(&s, threads, all);
        *ret_count = count < top ? count : top;
        memcpy(hits, all, *ret_count * sizeof *hits);
    }
    sl_free(room);
    sl_free(all);
    return error;
}
