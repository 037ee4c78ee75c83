/*
 * Collections: the file is the truth, memory holds what was searched.
 *
 * Each collection has a version in the file that every change raises. A search compares it with that of the rows in
 * memory and reads them again when they differ, unless this process is changing them itself at the moment.
 */
#include "src/store/collection.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/mem.h"
#include "src/store/db.h"

#define FORMAT 1
#define STALE (-1) /* a version that no collection has */

static const char schema[] =
    "create table if not exists collections(id integer primary key, name text not null unique, dims integer not null,"
    " metric integer not null, version integer not null);"
    "create table if not exists vectors(collection integer not null, space text not null, id text not null,"
    " vector blob not null, metadata text not null);"
    "create unique index if not exists vectors_id on vectors(collection, space, id);";

/* Rows in memory, shared by the searches under way. */
typedef struct loaded {
    sl_vector_set *set;
    unsigned refs; /* guarded by `lock` */
} loaded;

typedef struct entry {
    char name[SL_MAX_COLLECTION_NAME_BYTES + 1];
    int64_t id;
    int64_t version; /* that `rows` has */
    bool changing;   /* this process is writing to it */
    loaded *rows;    /* NULL: not in memory */
    uint64_t used;   /* the clock's time of the last search */
} entry;

struct sl_collections {
    sl_db *db; /* NULL: nothing on disk */
    sl_pool *pool;
    pthread_mutex_t write_lock; /* one change at a time */
    pthread_mutex_t read_lock;  /* of `reader`; before `lock` */
    sqlite3 *reader;
    pthread_mutex_t lock; /* of everything below, and of `refs` */
    entry **entries;
    size_t entry_count;
    int64_t next_id; /* without a file */
    uint64_t clock, room_bytes;
};

/* ---- messages ---- */

static int fail(char *reason, int error, const char *text)
{
    SL_ASSERT(reason && text);
    (void)snprintf(reason, SL_COLLECTION_REASON, "%s", text);
    return error;
}

static int fail_db(char *reason, int error)
{
    switch (error) {
    case SL_ELIMIT:
        return fail(reason, error, "the disk is full");
    case SL_ENOMEM:
        return fail(reason, error, "out of memory");
    case SL_EAGAIN:
        return fail(reason, error, "too many changes wait");
    default:
        return fail(reason, error, "the file cannot be read or written");
    }
}

static int no_such(char *reason, sl_str name)
{
    (void)snprintf(reason, SL_COLLECTION_REASON,
                   "there is no collection \"%.*s\"; load one with `sightline flow collection`",
                   (int)(name.len > 100 ? 100 : name.len), name.len ? name.ptr : "");
    return SL_ENOENT;
}

bool sl_collection_name_is_valid(sl_str name)
{
    if (name.len == 0 || name.len > SL_MAX_COLLECTION_NAME_BYTES)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        char c = sl_ascii_lower(name.ptr[i]);
        bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
        if (!word && (i == 0 || !c || !strchr(".-/:", c)))
            return false;
    }
    return true;
}

/* ---- rows in memory; `lock` is held ---- */

static void unref(loaded *rows)
{
    if (!rows || --rows->refs)
        return;
    sl_vector_set_free(rows->set);
    sl_free(rows);
}

static entry *find(sl_collections *c, sl_str name)
{
    for (size_t i = 0; i < c->entry_count; i++)
        if (sl_str_eq_c(name, c->entries[i]->name))
            return c->entries[i];
    return NULL;
}

/* NULL: no memory, or too many of them. */
static entry *find_or_add(sl_collections *c, sl_str name, int64_t id)
{
    entry *e = find(c, name);
    if (e && e->id == id)
        return e;
    if (e) { /* dropped and made again by somebody else */
        unref(e->rows);
        e->rows = NULL;
        e->id = id;
        e->version = STALE;
        return e;
    }
    if (c->entry_count == SL_MAX_COLLECTIONS)
        return NULL;
    entry **entries = sl_realloc(c->entries, (c->entry_count + 1) * sizeof *entries);
    if (!entries)
        return NULL;
    c->entries = entries;
    e = sl_calloc(1, sizeof *e);
    if (!e)
        return NULL;
    (void)sl_str_to_c(name, e->name, sizeof e->name);
    e->id = id;
    e->version = STALE;
    entries[c->entry_count++] = e;
    return e;
}

static void forget(sl_collections *c, sl_str name)
{
    for (size_t i = 0; i < c->entry_count; i++)
        if (sl_str_eq_c(name, c->entries[i]->name)) {
            unref(c->entries[i]->rows);
            sl_free(c->entries[i]);
            c->entries[i] = c->entries[--c->entry_count];
            return;
        }
}

/* ---- life ---- */

static void destroy(sl_collections *c)
{
    if (c->reader)
        (void)sqlite3_close(c->reader);
    if (c->db)
        sl_db_close(c->db);
    sl_pool_free(c->pool);
    for (size_t i = 0; i < c->entry_count; i++) {
        unref(c->entries[i]->rows);
        sl_free(c->entries[i]);
    }
    sl_free(c->entries);
    (void)pthread_mutex_destroy(&c->lock);
    (void)pthread_mutex_destroy(&c->read_lock);
    (void)pthread_mutex_destroy(&c->write_lock);
    sl_free(c);
}

int sl_collections_open(const char *path, char *error, size_t error_size, sl_collections **ret_collections)
{
    SL_ASSERT(error && error_size && ret_collections);
    (void)snprintf(error, error_size, "out of memory");
    sl_collections *c = sl_calloc(1, sizeof *c);
    if (!c)
        return SL_ENOMEM;
    (void)pthread_mutex_init(&c->write_lock, NULL);
    (void)pthread_mutex_init(&c->read_lock, NULL);
    (void)pthread_mutex_init(&c->lock, NULL);
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    c->room_bytes = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page / 4 : UINT64_MAX;
    int result = sl_pool_new(0, &c->pool);
    if (!result && path) {
        sl_db_options options = {.path = path, .schema = schema, .format = FORMAT, .max_group = 64};
        result = sl_db_open(&options, error, error_size, &c->db);
    }
    if (!result && path) {
        result = sl_db_reader(c->db, &c->reader);
        if (result)
            (void)snprintf(error, error_size, "%s: cannot be opened for reading", path);
    }
    if (result) {
        destroy(c);
        return result;
    }
    *ret_collections = c;
    return 0;
}

void sl_collections_set_room(sl_collections *c, uint64_t bytes)
{
    SL_ASSERT(c);
    (void)pthread_mutex_lock(&c->lock);
    c->room_bytes = bytes;
    (void)pthread_mutex_unlock(&c->lock);
}

void sl_collections_close(sl_collections *collections)
{
    if (collections)
        destroy(collections);
}

/* ---- reading the file; `read_lock` is held ---- */

typedef struct described {
    int64_t id, version;
    size_t dims;
    sl_vector_metric metric;
} described;

static int describe(sl_collections *c, sl_str name, described *ret)
{
    sqlite3_stmt *q = NULL;
    int error = SL_EIO;
    if (sqlite3_prepare_v2(c->reader, "select id, version, dims, metric from collections where name = ?1", -1, &q,
                           NULL) == SQLITE_OK &&
        sqlite3_bind_text(q, 1, name.ptr, (int)name.len, SQLITE_STATIC) == SQLITE_OK) {
        int step = sqlite3_step(q);
        error = step == SQLITE_ROW ? 0 : step == SQLITE_DONE ? SL_ENOENT : SL_EIO;
    }
    if (!error) {
        int metric = sqlite3_column_int(q, 3);
        *ret = (described){.id = sqlite3_column_int64(q, 0),
                           .version = sqlite3_column_int64(q, 1),
                           .dims = (size_t)sqlite3_column_int64(q, 2),
                           .metric = (sl_vector_metric)metric};
        if (metric < 0 || metric >= SL_VECTOR_METRICS)
            error = SL_EIO;
    }
    (void)sqlite3_finalize(q);
    return error;
}

static sl_str column_text(sqlite3_stmt *q, int column)
{
    const void *bytes = sqlite3_column_blob(q, column);
    return sl_str_of(bytes, (size_t)sqlite3_column_bytes(q, column));
}

static int read_rows(sqlite3_stmt *q, size_t dims, sl_vector_set *set)
{
    int step, error = 0;
    while (!error && (step = sqlite3_step(q)) != SQLITE_DONE) {
        sl_str vector = step == SQLITE_ROW ? column_text(q, 2) : sl_str_of(NULL, 0);
        if (step != SQLITE_ROW || vector.len != dims * sizeof(float))
            return SL_EIO;
        sl_vector_row row = {.space = column_text(q, 0),
                             .id = column_text(q, 1),
                             .vector = (const float *)(const void *)vector.ptr, /* SQLite aligns to 8 */
                             .dims = dims,
                             .metadata = column_text(q, 3)};
        error = sl_vector_set_put(set, &row, 1);
    }
    return error == SL_EINVAL ? SL_EIO : error;
}

static int read_set(sl_collections *c, const described *d, sl_vector_set **ret_set)
{
    sqlite3_stmt *q = NULL;
    sl_vector_set *set = NULL;
    int error = sl_vector_set_new(d->dims, d->metric, &set);
    if (!error &&
        (sqlite3_prepare_v2(c->reader,
                            "select space, id, vector, metadata from vectors where collection = ?1 order by rowid", -1,
                            &q, NULL) != SQLITE_OK ||
         sqlite3_bind_int64(q, 1, d->id) != SQLITE_OK))
        error = SL_EIO;
    if (!error)
        error = read_rows(q, d->dims, set);
    (void)sqlite3_finalize(q);
    if (error)
        sl_vector_set_free(set);
    else
        *ret_set = set;
    return error == SL_EINVAL ? SL_EIO : error;
}

/* Loads a collection as the file has it at one moment. */
static int load(sl_collections *c, sl_str name, described *ret, loaded **ret_rows)
{
    loaded *rows = sl_calloc(1, sizeof *rows);
    if (!rows)
        return SL_ENOMEM;
    int error = sqlite3_exec(c->reader, "begin", NULL, NULL, NULL) == SQLITE_OK ? 0 : SL_EIO;
    if (!error)
        error = describe(c, name, ret);
    if (!error)
        error = read_set(c, ret, &rows->set);
    (void)sqlite3_exec(c->reader, "rollback", NULL, NULL, NULL);
    if (error) {
        sl_free(rows);
        return error;
    }
    rows->refs = 1;
    *ret_rows = rows;
    return 0;
}

/* ---- what a search uses ---- */

/* The rows in memory when they are those of the file, with a reference; else NULL. */
static loaded *current(sl_collections *c, sl_str name, const described *d)
{
    (void)pthread_mutex_lock(&c->lock);
    entry *e = find(c, name);
    loaded *rows = NULL;
    if (e && e->rows && (!d || (e->id == d->id && (e->changing || e->version == d->version)))) {
        rows = e->rows;
        rows->refs++;
        e->used = ++c->clock;
    }
    (void)pthread_mutex_unlock(&c->lock);
    return rows;
}

/* Lets go of collections that were searched longest ago, while there is more than room for; not of `kept`. `lock` is
 * held; searches that are under way keep theirs until they end. */
static void make_room(sl_collections *c, const entry *kept)
{
    SL_ASSERT(kept);
    for (;;) {
        entry *oldest = NULL;
        uint64_t bytes = 0;
        for (size_t i = 0; i < c->entry_count; i++) {
            entry *e = c->entries[i];
            bytes += e->rows ? sl_vector_set_bytes(e->rows->set) : 0;
            if (e != kept && e->rows && !e->changing && (!oldest || e->used < oldest->used))
                oldest = e;
        }
        if (bytes <= c->room_bytes || !oldest)
            return;
        unref(oldest->rows);
        oldest->rows = NULL;
        oldest->version = STALE;
    }
}

/* Puts rows that were read in the place of what is there, and keeps a reference for the caller. */
static int install(sl_collections *c, sl_str name, const described *d, loaded *rows)
{
    (void)pthread_mutex_lock(&c->lock);
    entry *e = find_or_add(c, name, d->id);
    if (e) {
        unref(e->rows);
        e->rows = rows;
        e->version = e->changing ? STALE : d->version; /* a change that is not seen here may follow at once */
        rows->refs++;
        e->used = ++c->clock;
        if (c->db)
            make_room(c, e);
    } else {
        unref(rows);
    }
    (void)pthread_mutex_unlock(&c->lock);
    return e ? 0 : SL_ENOMEM;
}

static void drop_stale(sl_collections *c, sl_str name)
{
    (void)pthread_mutex_lock(&c->lock);
    forget(c, name);
    (void)pthread_mutex_unlock(&c->lock);
}

static int acquire(sl_collections *c, sl_str name, loaded **ret_rows)
{
    described d;
    loaded *rows;
    if (!c->db) {
        *ret_rows = current(c, name, NULL);
        return *ret_rows ? 0 : SL_ENOENT;
    }
    (void)pthread_mutex_lock(&c->read_lock);
    int error = describe(c, name, &d);
    rows = error ? NULL : current(c, name, &d);
    if (!error && !rows) {
        error = load(c, name, &d, &rows);
        if (!error)
            error = install(c, name, &d, rows);
    }
    if (error == SL_ENOENT)
        drop_stale(c, name);
    (void)pthread_mutex_unlock(&c->read_lock);
    if (!error)
        *ret_rows = rows;
    return error;
}

static void release(sl_collections *c, loaded *rows)
{
    (void)pthread_mutex_lock(&c->lock);
    unref(rows);
    (void)pthread_mutex_unlock(&c->lock);
}

int sl_collections_search(sl_collections *c, const sl_vector_query *query, char *reason, sl_vector_hits **ret_hits)
{
    SL_ASSERT(c && query && reason && ret_hits);
    loaded *rows = NULL;
    int error = sl_collection_name_is_valid(query->collection) ? acquire(c, query->collection, &rows) : SL_ENOENT;
    if (error == SL_ENOENT)
        return no_such(reason, query->collection);
    if (error)
        return fail_db(reason, error);
    error = sl_vector_set_search(rows->set, c->pool, query, reason, ret_hits);
    release(c, rows);
    return error;
}

/* ---- changes; `write_lock` is held ---- */

typedef struct change {
    sl_collections *c;
    sl_str name;
    size_t dims;
    sl_vector_metric metric;
    const sl_vector_row *rows;
    size_t count;
    described found; /* set by the job: the version is the new one */
    char *reason;
} change;

static int step_done(sqlite3_stmt *q)
{
    int step = sqlite3_step(q);
    (void)sqlite3_reset(q);
    return step == SQLITE_DONE ? 0 : step == SQLITE_FULL ? SL_ELIMIT : SL_EIO;
}

/* Within a job. */
static int describe_in(change *ch)
{
    sqlite3_stmt *q = sl_db_statement(ch->c->db, "select id, version, dims, metric from collections where name = ?1");
    if (!q || sqlite3_bind_text(q, 1, ch->name.ptr, (int)ch->name.len, SQLITE_STATIC) != SQLITE_OK)
        return SL_EIO;
    int step = sqlite3_step(q);
    if (step == SQLITE_ROW)
        ch->found = (described){.id = sqlite3_column_int64(q, 0),
                                .version = sqlite3_column_int64(q, 1),
                                .dims = (size_t)sqlite3_column_int64(q, 2),
                                .metric = (sl_vector_metric)sqlite3_column_int(q, 3)};
    (void)sqlite3_reset(q);
    return step == SQLITE_ROW ? 0 : step == SQLITE_DONE ? SL_ENOENT : SL_EIO;
}

static int differs(char *reason, size_t dims, sl_vector_metric metric)
{
    (void)snprintf(reason, SL_COLLECTION_REASON, "it is there already, with %zu dimensions and metric %s", dims,
                   sl_vector_metric_name(metric));
    return SL_EEXIST;
}

static int run_create(void *user, sqlite3 *db)
{
    change *ch = user;
    (void)db;
    int error = describe_in(ch);
    if (error == 0 && (ch->found.dims != ch->dims || ch->found.metric != ch->metric))
        return differs(ch->reason, ch->found.dims, ch->found.metric);
    if (error != SL_ENOENT)
        return error;
    sqlite3_stmt *q =
        sl_db_statement(ch->c->db, "insert into collections(name, dims, metric, version) values(?1, ?2, ?3, ?4)");
    /* The number of one that was dropped is given again: versions never are, or its rows would be taken for these. */
    if (!q || sqlite3_bind_text(q, 1, ch->name.ptr, (int)ch->name.len, SQLITE_STATIC) != SQLITE_OK ||
        sqlite3_bind_int64(q, 2, (sqlite3_int64)ch->dims) != SQLITE_OK ||
        sqlite3_bind_int(q, 3, (int)ch->metric) != SQLITE_OK ||
        sqlite3_bind_int64(q, 4, (sqlite3_int64)sl_now_ns()) != SQLITE_OK)
        return SL_EIO;
    return step_done(q);
}

static int create_in_memory(sl_collections *c, sl_str name, size_t dims, sl_vector_metric metric, char *reason)
{
    loaded *rows = current(c, name, NULL);
    if (rows) {
        bool same = sl_vector_set_dims(rows->set) == dims && sl_vector_set_metric(rows->set) == metric;
        int error = same ? 0 : differs(reason, sl_vector_set_dims(rows->set), sl_vector_set_metric(rows->set));
        release(c, rows);
        return error;
    }
    rows = sl_calloc(1, sizeof *rows);
    if (!rows)
        return SL_ENOMEM;
    rows->refs = 1;
    int error = sl_vector_set_new(dims, metric, &rows->set);
    if (error) {
        sl_free(rows);
        return error;
    }
    described d = {.id = ++c->next_id, .version = 1};
    error = install(c, name, &d, rows);
    if (!error)
        release(c, rows);
    return error;
}

int sl_collections_create(sl_collections *c, sl_str name, size_t dims, sl_vector_metric metric, char *reason)
{
    SL_ASSERT(c && reason && metric < SL_VECTOR_METRICS);
    if (!sl_collection_name_is_valid(name))
        return fail(reason, SL_EINVAL, "a name has 1 to 128 letters, digits, _ and, not at its front, . - / :");
    if (dims == 0 || dims > SL_MAX_VECTOR_DIMS)
        return fail(reason, SL_EINVAL, "a vector has 1 to 16384 dimensions");
    (void)fail_db(reason, SL_EIO);
    change ch = {.c = c, .name = name, .dims = dims, .metric = metric, .reason = reason};
    (void)pthread_mutex_lock(&c->write_lock);
    int error = c->db ? sl_db_run(c->db, run_create, &ch) : create_in_memory(c, name, dims, metric, reason);
    (void)pthread_mutex_unlock(&c->write_lock);
    return error && error != SL_EEXIST ? fail_db(reason, error) : error;
}

/* ---- putting ---- */

static int put_row(change *ch, sqlite3_stmt *q, const sl_vector_row *row)
{
    sl_str metadata = row->metadata.len ? row->metadata : SL_STR("");
    sl_str space = row->space.len ? row->space : SL_STR("");
    if (sqlite3_bind_int64(q, 1, ch->found.id) != SQLITE_OK ||
        sqlite3_bind_text(q, 2, space.ptr, (int)space.len, SQLITE_STATIC) != SQLITE_OK ||
        sqlite3_bind_text(q, 3, row->id.ptr, (int)row->id.len, SQLITE_STATIC) != SQLITE_OK ||
        sqlite3_bind_blob(q, 4, row->vector, (int)(row->dims * sizeof(float)), SQLITE_STATIC) != SQLITE_OK ||
        sqlite3_bind_text(q, 5, metadata.ptr, (int)metadata.len, SQLITE_STATIC) != SQLITE_OK)
        return SL_EIO;
    return step_done(q);
}

static int wrong_dims(char *reason, size_t given, size_t wanted)
{
    (void)snprintf(reason, SL_COLLECTION_REASON, "a vector has %zu dimensions, the collection %zu", given, wanted);
    return SL_EINVAL;
}

static int run_put(void *user, sqlite3 *db)
{
    change *ch = user;
    (void)db;
    int error = describe_in(ch);
    for (size_t i = 0; !error && i < ch->count; i++)
        if (ch->rows[i].dims != ch->found.dims)
            error = wrong_dims(ch->reason, ch->rows[i].dims, ch->found.dims);
    if (error)
        return error;
    sqlite3_stmt *q = sl_db_statement(
        ch->c->db,
        "insert into vectors(collection, space, id, vector, metadata) values(?1, ?2, ?3, ?4, ?5) on"
        " conflict(collection, space, id) do update set vector = excluded.vector, metadata = excluded.metadata");
    sqlite3_stmt *up = sl_db_statement(ch->c->db, "update collections set version = version + 1 where id = ?1");
    if (!q || !up || sqlite3_bind_int64(up, 1, ch->found.id) != SQLITE_OK)
        return SL_EIO;
    for (size_t i = 0; !error && i < ch->count; i++)
        error = put_row(ch, q, &ch->rows[i]);
    ch->found.version++;
    return error ? error : step_done(up);
}

/* Says that this process is about to change a collection; its rows in memory with a reference, or NULL. */
static loaded *begin_change(sl_collections *c, sl_str name)
{
    (void)pthread_mutex_lock(&c->lock);
    entry *e = find(c, name);
    loaded *rows = e ? e->rows : NULL;
    if (e)
        e->changing = true;
    if (rows)
        rows->refs++;
    (void)pthread_mutex_unlock(&c->lock);
    return rows;
}

/* Brings the rows in memory to the state of the file, or has them read again. */
static void end_change(sl_collections *c, const change *ch, loaded *rows, int error)
{
    bool good = rows && !error;
    (void)pthread_mutex_lock(&c->lock);
    entry *e = find(c, ch->name);
    good = good && e && e->rows == rows && e->id == ch->found.id && e->version == ch->found.version - 1;
    (void)pthread_mutex_unlock(&c->lock);
    if (good)
        good = sl_vector_set_put(rows->set, ch->rows, ch->count) == 0;
    (void)pthread_mutex_lock(&c->lock);
    e = find(c, ch->name);
    if (e) {
        e->changing = false;
        if (!error)
            e->version = good && e->rows == rows ? ch->found.version : STALE;
    }
    unref(rows);
    (void)pthread_mutex_unlock(&c->lock);
}

static int put_in_memory(sl_collections *c, const change *ch, char *reason)
{
    loaded *rows = current(c, ch->name, NULL);
    if (!rows)
        return SL_ENOENT;
    int error = 0;
    for (size_t i = 0; !error && i < ch->count; i++)
        if (ch->rows[i].dims != sl_vector_set_dims(rows->set))
            error = wrong_dims(reason, ch->rows[i].dims, sl_vector_set_dims(rows->set));
    if (!error)
        error = sl_vector_set_put(rows->set, ch->rows, ch->count);
    release(c, rows);
    return error;
}

int sl_collections_put(sl_collections *c, sl_str name, const sl_vector_row *rows, size_t count, char *reason)
{
    SL_ASSERT(c && reason && (rows || !count));
    if (!sl_collection_name_is_valid(name))
        return no_such(reason, name);
    for (size_t i = 0; i < count; i++)
        if (!sl_vector_row_is_valid(&rows[i], reason))
            return SL_EINVAL;
    (void)fail_db(reason, SL_EIO);
    change ch = {.c = c, .name = name, .rows = rows, .count = count, .reason = reason};
    int error;
    (void)pthread_mutex_lock(&c->write_lock);
    if (c->db) {
        loaded *in_memory = begin_change(c, name);
        error = sl_db_run(c->db, run_put, &ch);
        end_change(c, &ch, in_memory, error);
    } else {
        error = put_in_memory(c, &ch, reason);
    }
    (void)pthread_mutex_unlock(&c->write_lock);
    if (error == SL_ENOENT)
        return no_such(reason, name);
    return error && error != SL_EINVAL ? fail_db(reason, error) : error;
}

/* ---- dropping ---- */

static int run_drop(void *user, sqlite3 *db)
{
    change *ch = user;
    (void)db;
    int error = describe_in(ch);
    if (error)
        return error;
    sqlite3_stmt *rows = sl_db_statement(ch->c->db, "delete from vectors where collection = ?1");
    sqlite3_stmt *self = sl_db_statement(ch->c->db, "delete from collections where id = ?1");
    if (!rows || !self || sqlite3_bind_int64(rows, 1, ch->found.id) != SQLITE_OK ||
        sqlite3_bind_int64(self, 1, ch->found.id) != SQLITE_OK)
        return SL_EIO;
    error = step_done(rows);
    return error ? error : step_done(self);
}

int sl_collections_drop(sl_collections *c, sl_str name, char *reason)
{
    SL_ASSERT(c && reason);
    change ch = {.c = c, .name = name, .reason = reason};
    int error = sl_collection_name_is_valid(name) ? 0 : SL_ENOENT;
    (void)pthread_mutex_lock(&c->write_lock);
    if (!error && c->db)
        error = sl_db_run(c->db, run_drop, &ch);
    (void)pthread_mutex_lock(&c->lock);
    if (!error && !c->db && !find(c, name))
        error = SL_ENOENT;
    if (!error)
        forget(c, name);
    (void)pthread_mutex_unlock(&c->lock);
    (void)pthread_mutex_unlock(&c->write_lock);
    if (error == SL_ENOENT)
        return no_such(reason, name);
    return error ? fail_db(reason, error) : 0;
}

/* ---- listing ---- */

static int by_name(const void *a, const void *b)
{
    return strcmp(((const sl_collection_info *)a)->name, ((const sl_collection_info *)b)->name);
}

static size_t list_memory(sl_collections *c, sl_collection_info *infos, size_t max)
{
    size_t count = 0;
    for (size_t i = 0; i < c->entry_count && count < max; i++) {
        const entry *e = c->entries[i];
        sl_collection_info info = {.dims = sl_vector_set_dims(e->rows->set),
                                   .metric = sl_vector_set_metric(e->rows->set),
                                   .rows = sl_vector_set_count(e->rows->set)};
        memcpy(info.name, e->name, sizeof info.name);
        infos[count++] = info;
    }
    qsort(infos, count, sizeof *infos, by_name);
    return count;
}

static int list_file(sl_collections *c, sl_collection_info *infos, size_t max, size_t *ret_count)
{
    static const char text[] =
        "select name, dims, metric, (select count(*) from vectors where collection = collections.id)"
        " from collections order by name";
    sqlite3_stmt *q = NULL;
    size_t count = 0;
    int step = SQLITE_ERROR;
    if (sqlite3_prepare_v2(c->reader, text, -1, &q, NULL) == SQLITE_OK)
        while ((step = sqlite3_step(q)) == SQLITE_ROW && count < max) {
            sl_collection_info *info = &infos[count++];
            *info = (sl_collection_info){.dims = (size_t)sqlite3_column_int64(q, 1),
                                         .metric = (sl_vector_metric)(sqlite3_column_int(q, 2) % SL_VECTOR_METRICS),
                                         .rows = (uint64_t)sqlite3_column_int64(q, 3)};
            (void)sl_str_to_c(column_text(q, 0), info->name, sizeof info->name);
        }
    (void)sqlite3_finalize(q);
    *ret_count = count;
    return step == SQLITE_DONE || step == SQLITE_ROW ? 0 : SL_EIO;
}

int sl_collections_list(sl_collections *c, sl_collection_info *infos, size_t max, size_t *ret_count, char *reason)
{
    SL_ASSERT(c && (infos || !max) && ret_count && reason);
    size_t count = 0;
    int error = 0;
    (void)pthread_mutex_lock(&c->read_lock);
    if (c->db)
        error = list_file(c, infos, max, &count);
    (void)pthread_mutex_lock(&c->lock);
    if (!c->db)
        count = list_memory(c, infos, max);
    for (size_t i = 0; !error && i < count; i++) {
        const entry *e = find(c, sl_str_c(infos[i].name));
        infos[i].memory_bytes = e && e->rows ? sl_vector_set_bytes(e->rows->set) : 0;
    }
    (void)pthread_mutex_unlock(&c->lock);
    (void)pthread_mutex_unlock(&c->read_lock);
    if (error)
        return fail_db(reason, error);
    *ret_count = count;
    return 0;
}
