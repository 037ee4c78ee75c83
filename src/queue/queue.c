/* See queue.h, queue_impl.h: opening, closing, topics, puts, takes, watchers, figures. */
#include "src/queue/queue.h"

#include <errno.h>
#include <fcntl.h>
#include <openssl/sha.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "src/queue/queue_id.h"
#include "src/queue/queue_impl.h"

#define TAKE_TRIES 64 /* messages that cannot be read, passed over at once */

/* ---- topics and watchers ---- */

int sl_q_topic_get(sl_queue *q, sl_str name, bool make, sl_q_topic **ret_topic)
{
    if (name.len == 0 || name.len > SL_QUEUE_MAX_TOPIC_BYTES || !sl_utf8_valid(name) || sl_str_chr(name, 0) != SL_NPOS)
        return SL_EINVAL;
    sl_q_topic *topic = sl_q_topic_find(&q->table, name);
    if (!topic && !make)
        return SL_ENOENT;
    if (!topic && q->table.topic_count >= q->max_topics)
        return SL_EAGAIN;
    int error = topic ? 0 : sl_q_topic_add(&q->table, name, 0, &topic);
    if (!error)
        *ret_topic = topic;
    return error;
}

typedef struct topic_job {
    sl_queue *q;
    sl_q_topic *topic;
} topic_job;

static int topic_run(void *user, sqlite3 *sqlite)
{
    const topic_job *job = user;
    (void)sqlite;
    return sl_q_store_topic(job->q->db, job->topic->id, sl_str_of(job->topic->name, job->topic->name_len));
}

static void topic_done(void *user, int error)
{
    topic_job *job = user;
    sl_q_lock(job->q);
    if (!error)
        job->topic->stored = true;
    sl_q_unlock(job->q);
    sl_free(job);
}

/* Nobody waits for it: a topic that is not stored is stored with its first message. Under the lock. */
static void store_topic(sl_queue *q, sl_q_topic *topic)
{
    topic_job *job = topic->stored ? NULL : sl_malloc(sizeof *job);
    if (!job)
        return;
    *job = (topic_job){q, topic};
    if (sl_db_submit(q->db,
                     &(sl_db_job){.run = topic_run, .done = topic_done, .user = job, .plain = true, .rerun = true}))
        sl_free(job);
}

static int sl_q_topic_make(sl_queue *q, sl_str name)
{
    sl_q_topic *topic;
    sl_q_lock(q);
    int error = q->closing ? SL_ECLOSED : sl_q_topic_get(q, name, true, &topic);
    if (!error)
        store_topic(q, topic);
    sl_q_unlock(q);
    return error;
}

static bool sl_q_topic_is(sl_queue *q, sl_str name)
{
    SL_ASSERT(q);
    sl_q_lock(q);
    bool known = sl_q_topic_find(&q->table, name) != NULL;
    sl_q_unlock(q);
    return known;
}

static int sl_q_watch(sl_queue *q, sl_str name, void (*fn)(void *user), void *user)
{
    SL_ASSERT(q && fn);
    sl_q_watcher *watcher = sl_calloc(1, sizeof *watcher);
    if (!watcher)
        return SL_ENOMEM;
    (void)pthread_mutex_lock(&q->watch_lock);
    sl_q_lock(q);
    int result = q->watcher_count >= SL_QUEUE_MAX_WATCHERS ? SL_ELIMIT : sl_q_topic_get(q, name, true, &watcher->topic);
    if (!result)
        watcher->topic->hungry = true;
    sl_q_unlock(q);
    if (!result) {
        *watcher = (sl_q_watcher){q->watchers, ++q->last_watcher, watcher->topic, fn, user};
        q->watchers = watcher;
        q->watcher_count++;
        result = watcher->id;
    } else {
        sl_free(watcher);
    }
    (void)pthread_mutex_unlock(&q->watch_lock);
    return result;
}

static void sl_q_unwatch(sl_queue *q, int id)
{
    SL_ASSERT(q);
    (void)pthread_mutex_lock(&q->watch_lock);
    for (sl_q_watcher **at = &q->watchers; *at; at = &(*at)->next) {
        if ((*at)->id == id) {
            sl_q_watcher *gone = *at;
            *at = gone->next;
            sl_free(gone);
            q->watcher_count--;
            break;
        }
    }
    (void)pthread_mutex_unlock(&q->watch_lock);
}

void sl_q_wake_watchers(sl_queue *q, const sl_q_topic *topic)
{
    (void)pthread_mutex_lock(&q->watch_lock);
    for (sl_q_watcher *watcher = q->watchers; watcher; watcher = watcher->next) {
        if (watcher->topic == topic)
            watcher->fn(watcher->user);
    }
    (void)pthread_mutex_unlock(&q->watch_lock);
}

/* ---- puts ---- */

typedef struct put_job {
    sl_queue *q;
    sl_q_message *message;
    sl_q_topic *topic;
    bool store_topic;
    sl_q_known known;
    sl_queue_done_fn done;
    void *user;
} put_job;

bool sl_q_make_ready(sl_queue *q, sl_q_message *m, uint64_t due_ns)
{
    if (due_ns > sl_mono_ns()) {
        sl_q_enter(&q->table, m, SL_Q_DELAYED, due_ns);
        sl_q_clock_nudge(q, due_ns);
        return false;
    }
    sl_q_enter(&q->table, m, SL_Q_READY, 0);
    bool hungry = m->topic->hungry;
    m->topic->hungry = false;
    return hungry;
}

int sl_q_admit(sl_queue *q, sl_q_topic *topic, unsigned priority, size_t more)
{
    uint64_t all = q->table.count + q->in_flight + q->dead;
    if (all + more > q->max_waiting || topic->waiting + more > q->max_topic_waiting)
        return SL_EAGAIN;
    return sl_q_reserve(&q->table, topic, priority, q->in_flight + more);
}

static int put_run(void *user, sqlite3 *sqlite)
{
    put_job *job = user;
    sl_str name = job->store_topic ? sl_str_of(job->topic->name, job->topic->name_len) : sl_str_of(NULL, 0);
    return sl_q_store_put(job->q->db, sqlite, job->message, job->topic->id, name, &job->known);
}

/* The message is on disk: others may have it. True: tell the watchers. */
static bool publish(sl_queue *q, sl_q_message *m)
{
    m->order = q->next_order++;
    sl_q_add(&q->table, m);
    size_t len = sl_q_bytes_len(m);
    if (q->cache_bytes + len > q->cache_limit) {
        sl_free(m->bytes);
        m->bytes = NULL;
    } else {
        q->cache_bytes += len;
    }
    m->topic->put++;
    return sl_q_make_ready(q, m, m->due_ns);
}

static void put_done(void *user, int error)
{
    put_job *job = user;
    sl_queue *q = job->q;
    sl_q_message *m = job->message;
    sl_queue_accepted accepted = {.duplicate = job->known.found};
    sl_queue_id_format(accepted.duplicate ? job->known.head : m->head, accepted.duplicate ? job->known.row : m->row,
                       accepted.id);
    bool wake = false, keep = !error && !accepted.duplicate;
    sl_q_lock(q);
    q->in_flight--;
    q->flight_bytes -= sl_q_bytes_len(m);
    if (!error && job->store_topic && keep)
        job->topic->stored = true;
    if (keep)
        wake = publish(q, m);
    else
        job->topic->waiting--;
    if (error)
        job->topic->rejected++;
    else if (accepted.duplicate)
        job->topic->duplicates++;
    sl_q_unlock(q);
    if (job->done)
        job->done(job->user, error, &accepted);
    if (wake)
        sl_q_wake_watchers(q, job->topic);
    if (!keep)
        sl_q_message_free(m);
    sl_free(job);
}

/* Of topic and key, so that each topic has keys of its own. */
static void hash_key(sl_str topic, sl_str key, uint8_t ret_hash[SL_QUEUE_KEY_HASH_BYTES])
{
    uint8_t text[SL_QUEUE_MAX_TOPIC_BYTES + 1 + SL_QUEUE_MAX_KEY_BYTES], digest[SHA256_DIGEST_LENGTH];
    memcpy(text, topic.ptr, topic.len);
    text[topic.len] = 0;
    memcpy(text + topic.len + 1, key.ptr, key.len);
    (void)SHA256(text, topic.len + 1 + key.len, digest);
    memcpy(ret_hash, digest, SL_QUEUE_KEY_HASH_BYTES);
}

/* The message of a put, its bytes copied; without topic, row and id. NULL without memory. */
static sl_q_message *new_message(const sl_queue_put *put)
{
    sl_q_message *m = sl_calloc(1, sizeof *m);
    char *bytes = sl_malloc(put->trace.len + put->idempotency_key.len + put->body.len + 1);
    if (!m || !bytes) {
        sl_free(m);
        sl_free(bytes);
        return NULL;
    }
    const sl_str parts[] = {put->trace, put->idempotency_key, put->body};
    m->bytes = bytes;
    for (size_t i = 0; i < 3; i++) {
        if (parts[i].len)
            memcpy(bytes, parts[i].ptr, parts[i].len);
        bytes += parts[i].len;
    }
    m->trace_len = (uint16_t)put->trace.len;
    m->key_len = (uint16_t)put->idempotency_key.len;
    m->body_len = (uint32_t)put->body.len;
    m->priority = (uint8_t)put->priority;
    m->has_key = put->idempotency_key.len > 0;
    if (m->has_key)
        hash_key(put->topic, put->idempotency_key, m->key_hash);
    m->put_ns = sl_now_ns();
    m->ready_ns = m->put_ns + put->delay_ms * 1000000u;
    m->due_ns = put->delay_ms ? sl_mono_ns() + put->delay_ms * 1000000u : 0;
    return m;
}

/* Gives the message its topic and id, and hands it to the writer. Under the lock. */
static int submit_put(sl_queue *q, const sl_queue_put *put, put_job *job)
{
    sl_q_message *m = job->message;
    size_t len = sl_q_bytes_len(m);
    int error = q->closing ? SL_ECLOSED : sl_q_topic_get(q, put->topic, true, &job->topic);
    if (!error)
        error = q->flight_bytes + len > SL_QUEUE_FLIGHT_BYTES && q->in_flight
                    ? SL_EAGAIN
                    : sl_q_admit(q, job->topic, m->priority, 1);
    if (!error) {
        m->topic = job->topic;
        m->max_deliveries = (uint16_t)(put->max_deliveries ? put->max_deliveries : q->max_deliveries);
        m->row = q->next_row;
        m->head = sl_queue_id_head(m->put_ns / 1000000u, sl_rng_next(&q->rng));
        job->store_topic = !job->topic->stored;
        error = sl_db_submit(q->db,
                             &(sl_db_job){.run = put_run, .done = put_done, .user = job, .plain = true, .rerun = true});
    }
    if (!error) {
        q->next_row++;
        q->in_flight++;
        q->flight_bytes += len;
        job->topic->waiting++;
    } else if (job->topic) {
        job->topic->rejected++;
    }
    return error;
}

static int sl_q_put_start(sl_queue *q, const sl_queue_put *put, sl_queue_done_fn done, void *user)
{
    SL_ASSERT(q && put);
    put_job *job = sl_calloc(1, sizeof *job);
    sl_q_message *m = job ? new_message(put) : NULL;
    if (!m) {
        sl_free(job);
        return SL_ENOMEM;
    }
    *job = (put_job){.q = q, .message = m, .done = done, .user = user};
    sl_q_lock(q);
    int error = submit_put(q, put, job);
    sl_q_unlock(q);
    if (error) {
        sl_q_message_free(m);
        sl_free(job);
    }
    return error;
}

/* ---- takes ---- */

/* Fills what the consumer sees; the bytes, when they are in memory, become its own. Under the lock. */
static void hand_over(sl_queue *q, sl_q_message *m, sl_q_taken *t, sl_q_message *ret_copy)
{
    t->bytes = m->bytes;
    if (m->bytes)
        q->cache_bytes -= sl_q_bytes_len(m);
    m->bytes = NULL;
    sl_queue_id_format(m->head, m->row, t->pub.id);
    t->pub.topic = sl_str_of(m->topic->name, m->topic->name_len);
    t->pub.lease = m->lease;
    t->pub.delivery = m->deliveries;
    t->pub.priority = m->priority;
    t->pub.put_ns = m->put_ns;
    t->pub.ready_ns = m->ready_ns;
    *ret_copy = *m;
}

static int take(sl_queue *q, sl_str topic_name, uint64_t lease_ms, sl_q_taken *t, sl_q_message *ret_copy)
{
    sl_q_topic *topic;
    int error = q->closing ? SL_ECLOSED : sl_q_topic_get(q, topic_name, false, &topic);
    if (error)
        return error == SL_ENOENT ? SL_EAGAIN : error;
    sl_q_message *m = sl_q_pop(&q->table, topic);
    if (!m) {
        topic->hungry = true;
        return SL_EAGAIN;
    }
    uint64_t now = sl_mono_ns();
    m->lease = q->next_lease++;
    m->deliveries++;
    topic->taken++;
    if (m->deliveries > 1)
        topic->redelivered++;
    sl_q_enter(&q->table, m, SL_Q_LEASED, now + lease_ms * 1000000u);
    sl_q_clock_nudge(q, m->due_ns);
    sl_q_note_delivery(q, m, now);
    hand_over(q, m, t, ret_copy);
    return 0;
}

/* Bytes that are not in memory any more. */
static int read_bytes(sl_queue *q, const sl_q_message *m, char **ret_bytes)
{
    (void)pthread_mutex_lock(&q->reader_lock);
    int error = sl_q_store_bytes(q->reader, &q->read_bytes, m, ret_bytes);
    (void)pthread_mutex_unlock(&q->reader_lock);
    return error;
}

static int sl_q_take(sl_queue *q, sl_str topic, uint64_t lease_ms, sl_queue_message **ret_message)
{
    SL_ASSERT(q && ret_message);
    sl_q_taken *t = sl_calloc(1, sizeof *t);
    if (!t)
        return SL_ENOMEM;
    sl_q_message copy;
    int error = SL_EIO;
    /* One whose body cannot be read keeps its lease; those behind it must not wait for that. */
    for (int tries = 0; error == SL_EIO && tries < TAKE_TRIES; tries++) {
        sl_q_lock(q);
        error = take(q, topic, lease_ms, t, &copy);
        sl_q_unlock(q);
        if (!error && !t->bytes)
            error = read_bytes(q, &copy, &t->bytes);
    }
    if (error) {
        sl_free(t);
        return error;
    }
    t->pub.taken_ns = sl_now_ns();
    t->pub.trace = sl_str_of(t->bytes, copy.trace_len);
    t->pub.idempotency_key = sl_str_of(t->bytes + copy.trace_len, copy.key_len);
    t->pub.body = sl_str_of(t->bytes + copy.trace_len + copy.key_len, copy.body_len);
    *ret_message = &t->pub;
    return 0;
}

/* ---- figures ---- */

static void topic_stats(const sl_q_topic *topic, uint64_t now_ns, sl_queue_topic_stats *s)
{
    uint64_t oldest = sl_q_oldest_ready(topic);
    *s = (sl_queue_topic_stats){
        .ready = topic->ready_count,
        .delayed = topic->delayed,
        .leased = topic->leased,
        .dead = topic->dead,
        .put = topic->put,
        .taken = topic->taken,
        .acked = topic->acked,
        .redelivered = topic->redelivered,
        .duplicates = topic->duplicates,
        .rejected = topic->rejected,
        .oldest_ready_ns = !oldest           ? 0
                           : oldest < now_ns ? now_ns - oldest
                                             : 1,
    };
    memcpy(s->topic, topic->name, topic->name_len + 1);
}

static size_t sl_q_get_stats(sl_queue *q, sl_queue_topic_stats *stats, size_t max)
{
    SL_ASSERT(q && (stats || max == 0));
    uint64_t now_ns = sl_now_ns();
    sl_q_lock(q);
    size_t count = q->table.topic_count;
    for (size_t i = 0; i < count && i < max; i++)
        topic_stats(q->table.topics[i], now_ns, &stats[i]);
    sl_q_unlock(q);
    return count;
}

static void sl_q_get_disk_stats(sl_queue *q, sl_queue_disk_stats *ret_stats)
{
    SL_ASSERT(q && ret_stats);
    static const char *const suffixes[] = {"", "-wal"};
    sl_db_stats db;
    sl_db_get_stats(q->db, &db);
    *ret_stats = (sl_queue_disk_stats){.commits = db.commits, .failed_commits = db.failed_commits, .jobs = db.jobs};
    for (size_t i = 0; i < 2; i++) {
        char name[4096];
        struct stat st;
        (void)snprintf(name, sizeof name, "%s%s", q->path, suffixes[i]);
        if (stat(name, &st) == 0)
            ret_stats->bytes += (uint64_t)st.st_size;
    }
}

static void sl_q_last_error(sl_queue *q, char *text, size_t size)
{
    SL_ASSERT(q);
    sl_db_last_error(q->db, text, size);
}

/* ---- life ---- */

/* Two processes that each hand out the same messages would be wrong without any sign of it. */
static int lock_file(sl_queue *q, char *error, size_t error_size)
{
    char name[4096];
    (void)snprintf(name, sizeof name, "%s-lock", q->path);
    q->lock_fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (q->lock_fd < 0) {
        (void)snprintf(error, error_size,
                       "%s: %s; give this user write permission on the directory, or choose another with --data-dir",
                       name, strerror(errno));
        return SL_EIO;
    }
    if (flock(q->lock_fd, LOCK_EX | LOCK_NB)) {
        (void)snprintf(error, error_size,
                       "%s: another process serves this queue; stop that one, or choose another "
                       "--data-dir",
                       q->path);
        return SL_EIO;
    }
    return 0;
}

static int open_files(sl_queue *q, char *error, size_t error_size)
{
    int result = lock_file(q, error, error_size);
    if (!result)
        result = sl_db_open(&(sl_db_options){.path = q->path, .schema = sl_queue_schema, .format = SL_QUEUE_FORMAT},
                            error, error_size, &q->db);
    if (result)
        return result;
    (void)snprintf(error, error_size, "%s: cannot be read", q->path);
    result = sl_db_reader(q->db, &q->reader);
    if (!result) {
        result = sl_q_store_load(q->reader, &q->table, &q->next_row, &q->dead);
        if (result == SL_EIO)
            (void)snprintf(error, error_size,
                           "%s: %s; when it is damaged, save what can be read by `sqlite3 OLD .recover | sqlite3 NEW`, "
                           "and move the old one away",
                           q->path, sqlite3_errmsg(q->reader));
    }
    return result;
}

static void set_options(sl_queue *q, const sl_queue_options *o)
{
    q->max_waiting = o->max_waiting ? o->max_waiting : SL_QUEUE_MAX_WAITING;
    q->max_topic_waiting = o->max_topic_waiting ? o->max_topic_waiting : q->max_waiting;
    q->max_topics = o->max_topics ? o->max_topics : SL_QUEUE_MAX_TOPICS;
    q->key_retention_ms = o->key_retention_ms ? o->key_retention_ms : 24u * 3600 * 1000;
    q->max_deliveries = o->max_deliveries ? o->max_deliveries : 5;
    q->cache_limit = o->cache_bytes ? o->cache_bytes : SL_QUEUE_CACHE_BYTES;
    sl_rng_init(&q->rng);
    q->next_row = 1;
    q->next_lease = sl_now_ns(); /* a token of an earlier process is never one of ours */
    q->lock_fd = -1;
    q->sleeps_until = SL_FOREVER;
    q->forget_at_ns = 0;
}

/* Everything but the threads. */
static void free_queue(sl_queue *q)
{
    (void)pthread_mutex_lock(&q->reader_lock);
    (void)sqlite3_finalize(q->read_bytes);
    (void)sqlite3_close(q->reader);
    q->reader = NULL; /* the writer may look for it still */
    (void)pthread_mutex_unlock(&q->reader_lock);
    sl_db_close(q->db); /* what was submitted is done, and told */
    while (q->watchers) {
        sl_q_watcher *next = q->watchers->next;
        sl_free(q->watchers);
        q->watchers = next;
    }
    sl_q_table_done(&q->table);
    if (q->lock_fd >= 0)
        (void)close(q->lock_fd);
    (void)pthread_cond_destroy(&q->wake);
    (void)pthread_mutex_destroy(&q->lock);
    (void)pthread_mutex_destroy(&q->watch_lock);
    (void)pthread_mutex_destroy(&q->reader_lock);
    sl_free(q->fresh);
    sl_free(q->path);
    sl_free(q);
}

int sl_queue_open(const sl_queue_options *options, char *error, size_t error_size, sl_queue **ret_queue)
{
    SL_ASSERT(options && options->path && error && error_size && ret_queue);
    sl_queue *q = sl_calloc(1, sizeof *q);
    (void)snprintf(error, error_size, "%s: out of memory", options->path);
    if (!q || sl_cond_init(&q->wake)) {
        sl_free(q);
        return SL_ENOMEM;
    }
    (void)pthread_mutex_init(&q->lock, NULL);
    (void)pthread_mutex_init(&q->watch_lock, NULL);
    (void)pthread_mutex_init(&q->reader_lock, NULL);
    set_options(q, options);
    q->base.engine = &sl_q_embedded;
    q->path = sl_strndup(options->path, strlen(options->path));
    int result = q->path ? open_files(q, error, error_size) : SL_ENOMEM;
    q->next_order = q->next_row;
    if (!result)
        result = sl_q_clock_start(q);
    if (result) {
        free_queue(q);
        return result;
    }
    error[0] = 0;
    *ret_queue = q;
    return 0;
}

static void sl_q_close(sl_queue *q)
{
    sl_q_lock(q);
    SL_ASSERT(!q->closing);
    q->closing = true;
    sl_q_unlock(q);
    sl_q_clock_stop(q);
    free_queue(q);
}

const sl_queue_engine sl_q_embedded = {
    .topic_make = sl_q_topic_make,
    .topic_is = sl_q_topic_is,
    .put_start = sl_q_put_start,
    .take = sl_q_take,
    .watch = sl_q_watch,
    .unwatch = sl_q_unwatch,
    .ack = sl_q_ack,
    .nack = sl_q_nack,
    .extend = sl_q_extend,
    .hear_dead = sl_q_hear_dead,
    .dead_list = sl_q_dead_list,
    .dead_requeue = sl_q_dead_requeue,
    .dead_purge = sl_q_dead_purge,
    .get_stats = sl_q_get_stats,
    .get_disk_stats = sl_q_get_disk_stats,
    .last_error = sl_q_last_error,
    .close = sl_q_close,
};
