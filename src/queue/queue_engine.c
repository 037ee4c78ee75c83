/* See queue_engine.h: the calls of queue.h, handed to the engine. */
#include "src/queue/queue_engine.h"

#include "src/base/mem.h"
#include "src/base/sync.h"

static const sl_queue_engine *engine_of(sl_queue *q)
{
    SL_ASSERT(q);
    return ((const sl_queue_base *)(const void *)q)->engine;
}

int sl_queue_topic_make(sl_queue *q, sl_str topic)
{
    return engine_of(q)->topic_make(q, topic);
}

bool sl_queue_topic_is(sl_queue *q, sl_str topic)
{
    return engine_of(q)->topic_is(q, topic);
}

/* ---- puts ---- */

static int check_put(const sl_queue_put *put)
{
    if (put->topic.len == 0 || put->topic.len > SL_QUEUE_MAX_TOPIC_BYTES || put->priority >= SL_QUEUE_PRIORITIES ||
        put->delay_ms > SL_QUEUE_MAX_DELAY_MS || put->max_deliveries > SL_QUEUE_MAX_DELIVERIES ||
        put->trace.len > SL_QUEUE_MAX_TRACE_BYTES || put->idempotency_key.len > SL_QUEUE_MAX_KEY_BYTES)
        return SL_EINVAL;
    return put->body.len > SL_QUEUE_MAX_BODY_BYTES ? SL_ETOOBIG : 0;
}

int sl_queue_put_start(sl_queue *q, const sl_queue_put *put, sl_queue_done_fn done, void *user)
{
    SL_ASSERT(put);
    int error = check_put(put);
    return error ? error : engine_of(q)->put_start(q, put, done, user);
}

typedef struct put_waiter {
    pthread_mutex_t lock;
    pthread_cond_t over;
    bool finished;
    int error;
    sl_queue_accepted accepted;
} put_waiter;

static void put_waiter_done(void *user, int error, const sl_queue_accepted *accepted)
{
    put_waiter *w = user;
    (void)pthread_mutex_lock(&w->lock);
    w->error = error;
    w->accepted = *accepted;
    w->finished = true;
    (void)pthread_cond_signal(&w->over);
    (void)pthread_mutex_unlock(&w->lock);
}

int sl_queue_put_wait(sl_queue *q, const sl_queue_put *put, sl_queue_accepted *ret_accepted)
{
    SL_ASSERT(q && put && ret_accepted);
    put_waiter w = {.lock = PTHREAD_MUTEX_INITIALIZER};
    int error = sl_cond_init(&w.over);
    if (error)
        return error;
    error = sl_queue_put_start(q, put, put_waiter_done, &w);
    if (!error) {
        (void)pthread_mutex_lock(&w.lock);
        while (!w.finished)
            (void)pthread_cond_wait(&w.over, &w.lock);
        (void)pthread_mutex_unlock(&w.lock);
        error = w.error;
        if (!error)
            *ret_accepted = w.accepted;
    }
    (void)pthread_cond_destroy(&w.over);
    (void)pthread_mutex_destroy(&w.lock);
    return error;
}

/* ---- consumers ---- */

int sl_queue_take(sl_queue *q, sl_str topic, uint64_t lease_ms, sl_queue_message **ret_message)
{
    SL_ASSERT(ret_message);
    if (lease_ms == 0 || lease_ms > SL_QUEUE_MAX_DELAY_MS)
        return SL_EINVAL;
    return engine_of(q)->take(q, topic, lease_ms, ret_message);
}

void sl_queue_message_free(sl_queue_message *message)
{
    if (!message)
        return;
    sl_q_taken *t = (sl_q_taken *)message;
    sl_free(t->bytes);
    sl_free(t);
}

int sl_queue_watch(sl_queue *q, sl_str topic, void (*fn)(void *user), void *user)
{
    SL_ASSERT(fn);
    return engine_of(q)->watch(q, topic, fn, user);
}

void sl_queue_unwatch(sl_queue *q, int id)
{
    engine_of(q)->unwatch(q, id);
}

int sl_queue_ack(sl_queue *q, const char *id, uint64_t lease, sl_queue_end_fn done, void *user)
{
    SL_ASSERT(id);
    return engine_of(q)->ack(q, id, lease, done, user);
}

int sl_queue_nack(sl_queue *q, const char *id, uint64_t lease, uint64_t delay_ms, bool dead, sl_str reason)
{
    SL_ASSERT(id);
    if (delay_ms > SL_QUEUE_MAX_DELAY_MS)
        return SL_EINVAL;
    return engine_of(q)->nack(q, id, lease, delay_ms, dead, reason);
}

int sl_queue_extend(sl_queue *q, const char *id, uint64_t lease, uint64_t lease_ms)
{
    SL_ASSERT(id);
    if (lease_ms == 0 || lease_ms > SL_QUEUE_MAX_DELAY_MS)
        return SL_EINVAL;
    return engine_of(q)->extend(q, id, lease, lease_ms);
}

/* ---- words ---- */

int sl_queue_tell(sl_queue *q, sl_str word)
{
    if (word.len == 0 || word.len > SL_QUEUE_MAX_WORD_BYTES)
        return SL_EINVAL;
    return engine_of(q)->tell ? engine_of(q)->tell(q, word) : 0;
}

int sl_queue_hear(sl_queue *q, void (*fn)(void *user, sl_str word), void *user)
{
    SL_ASSERT(fn);
    return engine_of(q)->hear ? engine_of(q)->hear(q, fn, user) : 0;
}

/* ---- dead letters, figures, end ---- */

int sl_queue_dead_list(sl_queue *q, sl_str topic, sl_str after, size_t max,
                       void (*fn)(void *user, const sl_queue_dead *dead), void *user)
{
    SL_ASSERT(fn);
    return engine_of(q)->dead_list(q, topic, after, max, fn, user);
}

int sl_queue_hear_dead(sl_queue *q, void (*fn)(void *user, const sl_queue_dead *dead), void *user)
{
    SL_ASSERT(fn);
    return engine_of(q)->hear_dead(q, fn, user);
}

int sl_queue_dead_requeue(sl_queue *q, sl_str topic, sl_str id, sl_queue_count_fn done, void *user)
{
    return engine_of(q)->dead_requeue(q, topic, id, done, user);
}

int sl_queue_dead_purge(sl_queue *q, sl_str topic, sl_str id, sl_queue_count_fn done, void *user)
{
    return engine_of(q)->dead_purge(q, topic, id, done, user);
}

size_t sl_queue_get_stats(sl_queue *q, sl_queue_topic_stats *stats, size_t max)
{
    SL_ASSERT(stats || max == 0);
    return engine_of(q)->get_stats(q, stats, max);
}

void sl_queue_get_disk_stats(sl_queue *q, sl_queue_disk_stats *ret_stats)
{
    SL_ASSERT(ret_stats);
    engine_of(q)->get_disk_stats(q, ret_stats);
}

void sl_queue_last_error(sl_queue *q, char *text, size_t size)
{
    engine_of(q)->last_error(q, text, size);
}

bool sl_queue_is_connected(sl_queue *q)
{
    const sl_queue_engine *engine = engine_of(q);
    return !engine->is_connected || engine->is_connected(q);
}

void sl_queue_close(sl_queue *q)
{
    if (q)
        engine_of(q)->close(q);
}
