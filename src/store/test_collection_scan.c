/* The scan against a plain one, and the threads that share it. */
#include "src/store/collection_scan.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/rng.h"
#include "src/store/collection_set.h"
#include "tests/harness/sl_test.h"

static float random_float(sl_rng *rng)
{
    return (float)((double)(sl_rng_next(rng) >> 11) / 9007199254740992.0 - 0.5);
}

/* ---- threads that share work ---- */

typedef struct sums {
    uint64_t of_slot[SL_MAX_POOL_THREADS][8];
} sums;

static void add_part(void *user, size_t slot, size_t from, size_t to)
{
    sums *s = user;
    for (size_t i = from; i < to; i++)
        s->of_slot[slot][0] += i;
}

SL_TEST(every_row_is_handed_out_once)
{
    static const size_t threads[] = {0, 1, 2, 5, 200}, rows[] = {0, 1, 7, 1000, 100000}, chunks[] = {1, 3, 4096};
    for (size_t t = 0; t < 5; t++) {
        sl_pool *pool = NULL;
        REQUIRE(sl_pool_new(threads[t], &pool) == 0);
        CHECK(sl_pool_size(pool) >= 1 && sl_pool_size(pool) <= SL_MAX_POOL_THREADS);
        for (size_t r = 0; r < 5; r++)
            for (size_t c = 0; c < 3; c++) {
                static sums s;
                uint64_t sum = 0, n = rows[r];
                memset(&s, 0, sizeof s);
                sl_pool_each(pool, rows[r], chunks[c], add_part, &s);
                for (size_t i = 0; i < SL_MAX_POOL_THREADS; i++)
                    sum += s.of_slot[i][0];
                CHECK_EQ(sum, n ? n * (n - 1) / 2 : 0);
            }
        sl_pool_free(pool);
    }
    CHECK_EQ(sl_pool_size(NULL), 1);
    sl_pool_free(NULL);
}

static void *work_beside(void *user)
{
    for (int i = 0; i < 50; i++) {
        static _Thread_local sums s;
        uint64_t sum = 0;
        memset(&s, 0, sizeof s);
        sl_pool_each(user, 5000, 16, add_part, &s);
        for (size_t k = 0; k < SL_MAX_POOL_THREADS; k++)
            sum += s.of_slot[k][0];
        CHECK_EQ(sum, 5000u * 4999u / 2);
    }
    return NULL;
}

SL_TEST(callers_share_the_threads)
{
    sl_pool *pool = NULL;
    pthread_t callers[4];
    REQUIRE(sl_pool_new(3, &pool) == 0);
    for (int i = 0; i < 4; i++)
        REQUIRE(pthread_create(&callers[i], NULL, work_beside, pool) == 0);
    for (int i = 0; i < 4; i++)
        (void)pthread_join(callers[i], NULL);
    sl_pool_free(pool);
}

/* ---- the scan against a plain one ---- */

static double plain_score(sl_vector_metric metric, const float *a, const float *b, size_t dims)
{
    double dot = 0, x = 0, y = 0, apart = 0;
    for (size_t i = 0; i < dims; i++) {
        dot += (double)a[i] * (double)b[i];
        x += (double)a[i] * (double)a[i];
        y += (double)b[i] * (double)b[i];
        apart += ((double)a[i] - (double)b[i]) * ((double)a[i] - (double)b[i]);
    }
    if (metric == SL_VECTOR_EUCLID)
        return sqrt(apart);
    if (metric == SL_VECTOR_DOT)
        return dot;
    return x > 0 && y > 0 ? dot / (sqrt(x) * sqrt(y)) : 0;
}

typedef struct expected {
    double score;
    uint32_t row;
} expected;

static int descending(const void *a, const void *b)
{
    const expected *x = a, *y = b;
    return x->score < y->score ? 1 : x->score > y->score ? -1 : (x->row > y->row) - (x->row < y->row);
}

static int ascending(const void *a, const void *b)
{
    const expected *x = a, *y = b;
    return x->score > y->score ? 1 : x->score < y->score ? -1 : (x->row > y->row) - (x->row < y->row);
}

static sl_vector_set *random_set(size_t rows, size_t dims, sl_vector_metric metric, float *all, sl_rng *rng)
{
    sl_vector_set *set = NULL;
    if (sl_vector_set_new(dims, metric, &set))
        abort();
    for (size_t i = 0; i < rows; i++) {
        char id[32];
        (void)snprintf(id, sizeof id, "%08zu", i);
        for (size_t k = 0; k < dims; k++) /* every fifth row is the one before: ties */
            all[i * dims + k] = i % 5 == 4 ? all[(i - 1) * dims + k] : random_float(rng);
        sl_vector_row row = {.id = sl_str_c(id), .vector = all + i * dims, .dims = dims};
        if (sl_vector_set_put(set, &row, 1))
            abort();
    }
    return set;
}

static void check_search(sl_vector_set *set, sl_pool *pool, size_t rows, size_t dims, const float *all, size_t top,
                         sl_rng *rng)
{
    char reason[SL_FILTER_REASON];
    float *query = malloc(dims * sizeof *query);
    expected *wanted = malloc(rows * sizeof *wanted);
    sl_vector_hits *hits = NULL;
    sl_vector_metric metric = sl_vector_set_metric(set);
    for (size_t i = 0; i < dims; i++)
        query[i] = random_float(rng);
    for (size_t i = 0; i < rows; i++)
        wanted[i] = (expected){plain_score(metric, all + i * dims, query, dims), (uint32_t)i};
    qsort(wanted, rows, sizeof *wanted, metric == SL_VECTOR_EUCLID ? ascending : descending);
    sl_vector_query q = {.vector = query, .dims = dims, .top_k = top};
    CHECK_EQ(sl_vector_set_search(set, pool, &q, reason, &hits), 0);
    CHECK_EQ(hits->count, top < rows ? top : rows);
    for (size_t i = 0; i < hits->count; i++) {
        uint64_t row = 0;
        CHECK(sl_str_to_u64(hits->items[i].id, &row) == 0 || hits->items[i].id.len == 8);
        if (row != wanted[i].row || fabs(hits->items[i].score - wanted[i].score) > 1e-12) {
            sl_test_failed(__FILE__, __LINE__, "%zu rows, %zu dims, %s: place %zu is %llu, not %u", rows, dims,
                           sl_vector_metric_name(metric), i, (unsigned long long)row, wanted[i].row);
            break;
        }
    }
    sl_vector_hits_free(hits);
    free(wanted);
    free(query);
}

SL_TEST(scan_finds_what_a_plain_one_finds)
{
    static const size_t shapes[][2] = {{1, 1}, {7, 3}, {100, 31}, {101, 32}, {500, 33}, {3000, 100}, {9000, 96}};
    static const size_t tops[] = {1, 10, 200};
    sl_rng rng;
    sl_pool *pool = NULL;
    sl_rng_init_seed(&rng, 7);
    REQUIRE(sl_pool_new(3, &pool) == 0);
    for (size_t kernel = 0; kernel < sl_scan_kernel_count(); kernel++) {
        sl_scan_kernel_use(kernel);
        for (size_t s = 0; s < sizeof shapes / sizeof *shapes; s++)
            for (unsigned metric = 0; metric < SL_VECTOR_METRICS; metric++) {
                size_t rows = shapes[s][0], dims = shapes[s][1];
                float *all = malloc(rows * dims * sizeof *all);
                sl_vector_set *set = random_set(rows, dims, (sl_vector_metric)metric, all, &rng);
                for (size_t t = 0; t < 3; t++)
                    check_search(set, t ? pool : NULL, rows, dims, all, tops[t], &rng);
                sl_vector_set_free(set);
                free(all);
            }
    }
    sl_scan_kernel_use(0);
    sl_pool_free(pool);
}

SL_TEST(metrics_have_names)
{
    sl_vector_metric metric;
    for (unsigned i = 0; i < SL_VECTOR_METRICS; i++) {
        CHECK_EQ(sl_vector_metric_parse(sl_str_c(sl_vector_metric_name((sl_vector_metric)i)), &metric), 0);
        CHECK_EQ(metric, i);
    }
    CHECK_EQ(sl_vector_metric_parse(SL_STR("manhattan"), &metric), SL_EINVAL);
    CHECK(sl_scan_kernel_name()[0] != '\0');
}
