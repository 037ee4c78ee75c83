/*
 * Rows in memory.
 *
 * A search holds the lock for reading while it runs; a put holds it for writing. Columns are made within a search,
 * under a lock of their own, and are kept up to date by puts.
 */
#include "src/store/collection_set.h"

#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/mman.h>

#include "src/base/assert.h"
#include "src/base/hash.h"
#include "src/base/mem.h"

#define MATRIX_ALIGN 64u
#define HUGE_PAGE (2u * 1024 * 1024)

typedef struct row {
    char *text; /* id and metadata, one after the other */
    uint32_t id_len;
    uint32_t metadata_len;
    uint32_t space;
} row;

/* Values of one key of metadata, one for each row. */
typedef struct column {
    char *key;
    json_t **values; /* of `cap` rows */
} column;

struct sl_vector_set {
    /* Constant. */
    size_t dims, stride;
    sl_vector_metric metric;
    /* Guarded by `lock`. */
    pthread_rwlock_t lock;
    size_t count, cap;
    char *matrix_memory;
    float *matrix;
    float *inverse_norms;
    row *rows;
    uint32_t *index; /* 1 + row, by space and id; 0: free */
    size_t index_size;
    json_t *spaces; /* object: names to numbers from 1 */
    uint64_t text_bytes;
    /* Guarded by `column_lock`, or by `lock` for writing. */
    pthread_mutex_t column_lock;
    column columns[SL_MAX_COLLECTION_COLUMNS];
    size_t column_count;
};

/* ---- life ---- */

/* Who wants to put rows is not kept waiting by searches that come after it. */
static void init_lock(pthread_rwlock_t *lock)
{
    pthread_rwlockattr_t attr;
    (void)pthread_rwlockattr_init(&attr);
    (void)pthread_rwlockattr_setkind_np(&attr, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    (void)pthread_rwlock_init(lock, &attr);
    (void)pthread_rwlockattr_destroy(&attr);
}

int sl_vector_set_new(size_t dims, sl_vector_metric metric, sl_vector_set **ret_set)
{
    SL_ASSERT(ret_set && metric < SL_VECTOR_METRICS);
    if (dims == 0 || dims > SL_MAX_VECTOR_DIMS)
        return SL_EINVAL;
    sl_vector_set *set = sl_calloc(1, sizeof *set);
    if (!set)
        return SL_ENOMEM;
    set->spaces = json_object();
    if (!set->spaces) {
        sl_free(set);
        return SL_ENOMEM;
    }
    set->dims = dims;
    set->stride = sl_scan_stride(dims);
    set->metric = metric;
    init_lock(&set->lock);
    (void)pthread_mutex_init(&set->column_lock, NULL);
    *ret_set = set;
    return 0;
}

static void free_column(column *c, size_t count)
{
    for (size_t i = 0; c->values && i < count; i++)
        json_decref(c->values[i]);
    sl_free(c->values);
    sl_free(c->key);
}

void sl_vector_set_free(sl_vector_set *set)
{
    if (!set)
        return;
    for (size_t i = 0; i < set->column_count; i++)
        free_column(&set->columns[i], set->count);
    for (size_t i = 0; i < set->count; i++)
        sl_free(set->rows[i].text);
    json_decref(set->spaces);
    sl_free(set->index);
    sl_free(set->rows);
    sl_free(set->inverse_norms);
    sl_free(set->matrix_memory);
    (void)pthread_mutex_destroy(&set->column_lock);
    (void)pthread_rwlock_destroy(&set->lock);
    sl_free(set);
}

size_t sl_vector_set_dims(const sl_vector_set *set)
{
    SL_ASSERT(set);
    return set->dims;
}

sl_vector_metric sl_vector_set_metric(const sl_vector_set *set)
{
    SL_ASSERT(set);
    return set->metric;
}

const float *sl_vector_set_matrix(const sl_vector_set *set)
{
    SL_ASSERT(set);
    return set->matrix;
}

size_t sl_vector_set_count(sl_vector_set *set)
{
    SL_ASSERT(set);
    (void)pthread_rwlock_rdlock(&set->lock);
    size_t count = set->count;
    (void)pthread_rwlock_unlock(&set->lock);
    return count;
}

uint64_t sl_vector_set_bytes(sl_vector_set *set)
{
    SL_ASSERT(set);
    (void)pthread_rwlock_rdlock(&set->lock);
    uint64_t bytes = set->text_bytes + set->cap * (set->stride * sizeof(float) + sizeof(row) + sizeof(float)) +
                     set->index_size * sizeof *set->index;
    (void)pthread_rwlock_unlock(&set->lock);
    return bytes;
}

/* ---- room ---- */

/* The matrix is moved when its new memory is aligned otherwise than the old one. */
static int grow_matrix(sl_vector_set *set, size_t cap)
{
    size_t row_bytes = set->stride * sizeof(float);
    size_t before = set->matrix_memory ? (size_t)((char *)set->matrix - set->matrix_memory) : 0;
    char *memory = sl_realloc(set->matrix_memory, cap * row_bytes + MATRIX_ALIGN);
    if (!memory)
        return SL_ENOMEM;
    size_t now = (MATRIX_ALIGN - (uintptr_t)memory % MATRIX_ALIGN) % MATRIX_ALIGN;
    if (now != before && set->count)
        memmove(memory + now, memory + before, set->count * row_bytes);
    set->matrix_memory = memory;
    set->matrix = (float *)(void *)(memory + now);
    if (cap * row_bytes >= 2 * HUGE_PAGE) { /* fewer page walks; what the kernel says does not matter */
        uintptr_t from = ((uintptr_t)set->matrix + HUGE_PAGE - 1) & ~(uintptr_t)(HUGE_PAGE - 1);
        uintptr_t to = ((uintptr_t)set->matrix + cap * row_bytes) & ~(uintptr_t)(HUGE_PAGE - 1);
        (void)madvise((void *)from, to - from, MADV_HUGEPAGE);
    }
    return 0;
}

static int grow_columns(sl_vector_set *set, size_t cap)
{
    for (size_t i = 0; i < set->column_count; i++) {
        json_t **values = sl_realloc(set->columns[i].values, cap * sizeof *values);
        if (!values)
            return SL_ENOMEM;
        set->columns[i].values = values;
    }
    return 0;
}

/* What has grown when a later part fails stays grown: `cap` is what all of them have. */
static int grow(sl_vector_set *set)
{
    if (set->count < set->cap)
        return 0;
    if (set->count >= SL_MAX_COLLECTION_ROWS)
        return SL_ELIMIT;
    size_t cap = set->cap ? set->cap + set->cap / 2 : 64;
    row *rows = sl_realloc(set->rows, cap * sizeof *rows);
    if (rows)
        set->rows = rows;
    float *norms = rows ? sl_realloc(set->inverse_norms, cap * sizeof *norms) : NULL;
    if (norms)
        set->inverse_norms = norms;
    int error = norms ? grow_columns(set, cap) : SL_ENOMEM;
    if (!error)
        error = grow_matrix(set, cap);
    if (!error)
        set->cap = cap;
    return error;
}

/* ---- namespaces, ids ---- */

/* Number of a namespace; false when there is no row in it. The default one is 0 and always there. */
static bool find_space(const sl_vector_set *set, sl_str name, uint32_t *ret_space)
{
    *ret_space = 0;
    if (name.len == 0)
        return true;
    const json_t *number = json_object_getn(set->spaces, name.ptr, name.len);
    *ret_space = (uint32_t)json_integer_value(number);
    return number != NULL;
}

static int make_space(sl_vector_set *set, sl_str name, uint32_t *ret_space)
{
    if (find_space(set, name, ret_space))
        return 0;
    size_t count = json_object_size(set->spaces);
    if (count >= SL_MAX_COLLECTION_SPACES)
        return SL_ELIMIT;
    if (json_object_setn_new_nocheck(set->spaces, name.ptr, name.len, json_integer((json_int_t)count + 1)))
        return SL_ENOMEM;
    *ret_space = (uint32_t)count + 1;
    return 0;
}

static sl_str id_of(const row *r)
{
    return sl_str_of(r->text, r->id_len);
}

static sl_str metadata_of(const row *r)
{
    return sl_str_of(r->text + r->id_len, r->metadata_len);
}

/* Place of an id in the index: where it is, or the free one where it would be. */
static size_t place_of(const sl_vector_set *set, uint32_t space, sl_str id)
{
    SL_ASSERT(set->index_size && (set->index_size & (set->index_size - 1)) == 0);
    size_t at = sl_hash_bytes(id.ptr, id.len, space) & (set->index_size - 1);
    for (; set->index[at]; at = (at + 1) & (set->index_size - 1)) {
        const row *r = &set->rows[set->index[at] - 1];
        if (r->space == space && sl_str_eq(id_of(r), id))
            break;
    }
    return at;
}

static int grow_index(sl_vector_set *set)
{
    if ((set->count + 1) * 2 <= set->index_size)
        return 0;
    size_t size = set->index_size ? set->index_size * 2 : 128;
    uint32_t *index = sl_calloc(size, sizeof *index);
    if (!index)
        return SL_ENOMEM;
    sl_free(set->index);
    set->index = index;
    set->index_size = size;
    for (size_t i = 0; i < set->count; i++)
        set->index[place_of(set, set->rows[i].space, id_of(&set->rows[i]))] = (uint32_t)i + 1;
    return 0;
}

/* ---- columns ---- */

/* A reference, or NULL. */
static json_t *value_of(const row *r, const char *key)
{
    sl_str text = metadata_of(r);
    json_t *metadata = text.len ? json_loadb(text.ptr, text.len, 0, NULL) : NULL;
    json_t *value = metadata ? json_incref(sl_vector_filter_value(metadata, key)) : NULL;
    json_decref(metadata);
    return value;
}

static int make_column(sl_vector_set *set, const char *key, column *ret_column)
{
    column c = {sl_strndup(key, strlen(key)), sl_malloc((set->cap ? set->cap : 1) * sizeof *c.values)};
    if (!c.key || !c.values) {
        sl_free(c.key);
        sl_free(c.values);
        return SL_ENOMEM;
    }
    for (size_t i = 0; i < set->count; i++)
        c.values[i] = value_of(&set->rows[i], key);
    *ret_column = c;
    return 0;
}

/*
 * The values of a key for all rows; the column lock is held. When there is no room for one more column, `spare` is made
 * for this search alone.
 */
static int find_column(sl_vector_set *set, const char *key, column *spare, json_t ***ret_values)
{
    for (size_t i = 0; i < set->column_count; i++)
        if (strcmp(set->columns[i].key, key) == 0) {
            *ret_values = set->columns[i].values;
            return 0;
        }
    bool full = set->column_count == SL_MAX_COLLECTION_COLUMNS;
    column *c = full ? spare : &set->columns[set->column_count];
    int error = make_column(set, key, c);
    if (error)
        return error;
    set->column_count += !full;
    *ret_values = c->values;
    return 0;
}

static void update_columns(sl_vector_set *set, size_t number, bool is_new)
{
    for (size_t i = 0; i < set->column_count; i++) {
        json_t **value = &set->columns[i].values[number];
        if (!is_new)
            json_decref(*value);
        *value = value_of(&set->rows[number], set->columns[i].key);
    }
}

/* ---- putting ---- */

static bool says(char *reason, const char *text)
{
    (void)snprintf(reason, SL_FILTER_REASON, "%s", text);
    return false;
}

bool sl_vector_row_is_valid(const sl_vector_row *r, char *reason)
{
    SL_ASSERT(r && reason && (r->vector || !r->dims));
    if (r->id.len == 0 || r->id.len > SL_MAX_VECTOR_ID_BYTES)
        return says(reason, "the id must have 1 to 512 bytes");
    if (r->space.len > SL_MAX_VECTOR_SPACE_BYTES)
        return says(reason, "the namespace has more than 255 bytes");
    if (sl_str_chr(r->id, '\0') != SL_NPOS || sl_str_chr(r->space, '\0') != SL_NPOS)
        return says(reason, "ids and namespaces must not contain NUL");
    if (r->metadata.len > SL_MAX_VECTOR_METADATA_BYTES)
        return says(reason, "the metadata is larger than 1 MiB");
    if (r->dims == 0 || r->dims > SL_MAX_VECTOR_DIMS)
        return says(reason, "the vector must have 1 to 16384 numbers");
    for (size_t i = 0; i < r->dims; i++)
        if (!isfinite(r->vector[i]))
            return says(reason, "the vector holds a number that is not finite as float32");
    return true;
}

static void set_vector(sl_vector_set *set, size_t number, const float *vector)
{
    float *to = set->matrix + number * set->stride;
    memset(to, 0, set->stride * sizeof *to);
    memcpy(to, vector, set->dims * sizeof *to);
    set->inverse_norms[number] = sl_scan_inverse_norm(to, set->stride);
}

static char *row_text(const sl_vector_row *r)
{
    char *text = sl_malloc(r->id.len + r->metadata.len + 1);
    if (!text)
        return NULL;
    memcpy(text, r->id.ptr, r->id.len);
    if (r->metadata.len)
        memcpy(text + r->id.len, r->metadata.ptr, r->metadata.len);
    return text;
}

/* The lock is held for writing. */
static int put_locked(sl_vector_set *set, const sl_vector_row *r)
{
    uint32_t space = 0;
    int error = make_space(set, r->space, &space);
    if (!error)
        error = grow(set);
    if (!error)
        error = grow_index(set);
    char *text = error ? NULL : row_text(r);
    if (!error && !text)
        error = SL_ENOMEM;
    if (error)
        return error;
    size_t place = place_of(set, space, r->id);
    bool is_new = set->index[place] == 0;
    size_t number = is_new ? set->count : set->index[place] - 1;
    if (is_new) {
        set->index[place] = (uint32_t)number + 1;
        set->count++;
    } else {
        set->text_bytes -= set->rows[number].id_len + set->rows[number].metadata_len;
        sl_free(set->rows[number].text);
    }
    set->rows[number] = (row){text, (uint32_t)r->id.len, (uint32_t)r->metadata.len, space};
    set->text_bytes += r->id.len + r->metadata.len;
    set_vector(set, number, r->vector);
    update_columns(set, number, is_new);
    return 0;
}

int sl_vector_set_put(sl_vector_set *set, const sl_vector_row *rows, size_t count)
{
    SL_ASSERT(set && (rows || !count));
    char reason[SL_FILTER_REASON];
    for (size_t i = 0; i < count; i++)
        if (rows[i].dims != set->dims || !sl_vector_row_is_valid(&rows[i], reason))
            return SL_EINVAL;
    int error = 0;
    (void)pthread_rwlock_wrlock(&set->lock);
    for (size_t i = 0; !error && i < count; i++)
        error = put_locked(set, &rows[i]);
    (void)pthread_rwlock_unlock(&set->lock);
    return error;
}

/* ---- searching ---- */

static int order_rows(const void *user, uint32_t a, uint32_t b)
{
    const sl_vector_set *set = user;
    sl_str x = id_of(&set->rows[a]), y = id_of(&set->rows[b]);
    int order = memcmp(x.ptr, y.ptr, x.len < y.len ? x.len : y.len);
    return order ? order : (x.len > y.len) - (x.len < y.len);
}

static size_t select_rows(const sl_vector_set *set, const sl_vector_query *q, uint32_t space, size_t keys,
                          json_t **const *columns, uint32_t *rows)
{
    json_t *values[SL_MAX_COLLECTION_COLUMNS] = {0};
    size_t count = 0;
    for (size_t i = 0; i < set->count; i++) {
        if (set->rows[i].space != space)
            continue;
        for (size_t k = 0; k < keys; k++)
            values[k] = columns[k][i];
        if (!q->filter || sl_vector_filter_holds(q->filter, values))
            rows[count++] = (uint32_t)i;
    }
    return count;
}

/* The rows of the namespace that the filter lets through. */
static int filter_rows(sl_vector_set *set, const sl_vector_query *q, uint32_t space, uint32_t *rows, size_t *ret_count)
{
    size_t keys = q->filter ? sl_vector_filter_key_count(q->filter) : 0;
    json_t **columns[SL_MAX_COLLECTION_COLUMNS] = {0};
    column spare[SL_MAX_COLLECTION_COLUMNS] = {0};
    if (keys > SL_MAX_COLLECTION_COLUMNS)
        return SL_ELIMIT;
    int error = 0;
    (void)pthread_mutex_lock(&set->column_lock);
    for (size_t k = 0; !error && k < keys; k++)
        error = find_column(set, sl_vector_filter_key(q->filter, k), &spare[k], &columns[k]);
    (void)pthread_mutex_unlock(&set->column_lock);
    if (!error)
        *ret_count = select_rows(set, q, space, keys, columns, rows);
    for (size_t k = 0; k < keys; k++)
        free_column(&spare[k], set->count);
    return error;
}

static int pick_rows(sl_vector_set *set, const sl_vector_query *q, sl_scan *scan, uint32_t **ret_rows)
{
    uint32_t space;
    *ret_rows = NULL;
    scan->rows = 0;
    if (!find_space(set, q->space, &space) || set->count == 0)
        return 0;
    scan->rows = set->count;
    if (!q->filter && json_object_size(set->spaces) == 0)
        return 0;
    *ret_rows = sl_malloc(set->count * sizeof **ret_rows);
    scan->selected = *ret_rows;
    return *ret_rows ? filter_rows(set, q, space, *ret_rows, &scan->rows) : SL_ENOMEM;
}

/* Bytes that the answer needs beside its items. */
static size_t answer_bytes(const sl_vector_set *set, const sl_vector_query *q, const sl_scan_hit *found, size_t count)
{
    size_t bytes = 0;
    for (size_t i = 0; i < count; i++) {
        const row *r = &set->rows[found[i].row];
        bytes +=
            r->id_len + (q->with_metadata ? r->metadata_len : 0) + (q->with_vectors ? set->dims * sizeof(float) : 0);
    }
    return bytes;
}

static sl_str copied(char **to, sl_str s)
{
    memcpy(*to, s.ptr, s.len);
    sl_str copy = sl_str_of(*to, s.len);
    *to += s.len;
    return copy;
}

static int make_hits(const sl_vector_set *set, const sl_vector_query *q, const sl_scan_hit *found, size_t count,
                     sl_vector_hits **ret_hits)
{
    size_t bytes = answer_bytes(set, q, found, count);
    if (bytes > SL_MAX_VECTOR_HITS_BYTES)
        return SL_ETOOBIG;
    sl_vector_hits *hits = sl_calloc(1, sizeof *hits);
    char *memory = sl_malloc(bytes + 1);
    sl_vector_hit *items = sl_calloc(count + 1, sizeof *items);
    if (!hits || !memory || !items) {
        sl_free(items);
        sl_free(memory);
        sl_free(hits);
        return SL_ENOMEM;
    }
    *hits =
        (sl_vector_hits){.count = count, .dims = set->dims, .metric = set->metric, .items = items, .memory = memory};
    for (size_t i = 0; q->with_vectors && i < count; i++) { /* first: they want to be aligned */
        items[i].vector = (const float *)(const void *)memory;
        memcpy(memory, set->matrix + found[i].row * set->stride, set->dims * sizeof(float));
        memory += set->dims * sizeof(float);
    }
    for (size_t i = 0; i < count; i++) {
        const row *r = &set->rows[found[i].row];
        items[i].score = found[i].score;
        items[i].id = copied(&memory, id_of(r));
        if (q->with_metadata)
            items[i].metadata = copied(&memory, metadata_of(r));
    }
    *ret_hits = hits;
    return 0;
}

void sl_vector_hits_free(sl_vector_hits *hits)
{
    if (!hits)
        return;
    sl_free(hits->items);
    sl_free(hits->memory);
    sl_free(hits);
}

/* The query in memory as the kernels want it. NULL: no memory. */
static float *padded(const sl_vector_set *set, const float *vector, char **ret_memory)
{
    *ret_memory = sl_calloc(1, set->stride * sizeof(float) + MATRIX_ALIGN);
    if (!*ret_memory)
        return NULL;
    float *at = (float *)(void *)(*ret_memory + (MATRIX_ALIGN - (uintptr_t)*ret_memory % MATRIX_ALIGN) % MATRIX_ALIGN);
    memcpy(at, vector, set->dims * sizeof *at);
    return at;
}

static int search_locked(sl_vector_set *set, sl_pool *pool, const sl_vector_query *q, sl_vector_hits **ret_hits)
{
    sl_scan scan = {.matrix = set->matrix,
                    .dims = set->dims,
                    .stride = set->stride,
                    .inverse_norms = set->inverse_norms,
                    .metric = set->metric,
                    .top_k = q->top_k,
                    .order = order_rows,
                    .user = set,
                    .stop = q->stop};
    uint32_t *rows = NULL;
    char *memory = NULL;
    size_t count = 0;
    sl_scan_hit *found = sl_malloc(q->top_k * sizeof *found);
    scan.query = found ? padded(set, q->vector, &memory) : NULL;
    int error = scan.query ? pick_rows(set, q, &scan, &rows) : SL_ENOMEM;
    if (!error)
        error = sl_scan_run(pool, &scan, found, &count);
    if (!error)
        error = make_hits(set, q, found, count, ret_hits);
    sl_free(rows);
    sl_free(memory);
    sl_free(found);
    return error;
}

int sl_vector_set_search(sl_vector_set *set, sl_pool *pool, const sl_vector_query *q, char *reason,
                         sl_vector_hits **ret_hits)
{
    SL_ASSERT(set && q && reason && ret_hits && (q->vector || !q->dims));
    (void)snprintf(reason, SL_FILTER_REASON, "out of memory");
    if (q->dims != set->dims) {
        (void)snprintf(reason, SL_FILTER_REASON, "the query has %zu dimensions, the collection %zu", q->dims,
                       set->dims);
        return SL_EINVAL;
    }
    if (q->top_k == 0 || q->top_k > SL_MAX_VECTOR_TOP_K) {
        (void)snprintf(reason, SL_FILTER_REASON, "top_k must be 1 to %d", SL_MAX_VECTOR_TOP_K);
        return SL_EINVAL;
    }
    for (size_t i = 0; i < q->dims; i++)
        if (!isfinite(q->vector[i])) {
            (void)says(reason, "the query holds a number that is not finite as float32");
            return SL_EINVAL;
        }
    (void)pthread_rwlock_rdlock(&set->lock);
    int error = search_locked(set, pool, q, ret_hits);
    (void)pthread_rwlock_unlock(&set->lock);
    if (error == SL_ETOOBIG)
        (void)says(reason, "the answer is larger than 64 MiB; ask for fewer rows, or without vectors");
    if (error == SL_ELIMIT)
        (void)says(reason, "the filter names more than 64 keys");
    if (error == SL_ECLOSED)
        (void)says(reason, "cancelled");
    return error;
}
