/*
 * The embedded engine's inside, shared by its files: queue.c (life, puts, takes), queue_end.c (acknowledgements and
 * what comes back), queue_dead.c (dead letters), queue_clock.c (delays, leases, keys).
 *
 * Threads: callers of any kind; the store's writer (jobs and their `done`); the clock. Lock order: watch_lock, then
 * lock, then the store's own. No callback is called under `lock`.
 */
#ifndef SL_QUEUE_IMPL_H
#define SL_QUEUE_IMPL_H

#include "src/base/rng.h"
#include "src/base/sync.h"
#include "src/queue/queue_engine.h"
#include "src/queue/queue_store.h"

/* Deliveries that last longer than this are counted on disk: so that a message that kills its process ends up among the
 * dead letters, and one that is done at once costs nothing. */
#define SL_Q_COUNT_AFTER_NS (50u * 1000000u)
#define SL_Q_RETRY_NS (1000u * 1000000u) /* until the disk is tried again */
#define SL_Q_BATCH 1000u                 /* dead letters or keys in one job */

/* A delivery whose count is not on disk yet. */
typedef struct sl_q_fresh {
    uint64_t row, lease, at_ns;
} sl_q_fresh;

typedef struct sl_q_watcher {
    struct sl_q_watcher *next;
    int id;
    sl_q_topic *topic;
    void (*fn)(void *user);
    void *user;
} sl_q_watcher;

struct sl_queue {
    sl_queue_base base;
    /* Constant after opening. */
    sl_db *db;
    char *path;
    int lock_fd;
    uint64_t max_waiting, max_topic_waiting, max_topics, key_retention_ms, cache_limit;
    unsigned max_deliveries;
    pthread_t clock;
    /* Reading of bodies. */
    pthread_mutex_t reader_lock;
    sqlite3 *reader;
    sqlite3_stmt *read_bytes;
    /* Who is to be told. */
    pthread_mutex_t watch_lock;
    sl_q_watcher *watchers;
    int last_watcher;
    size_t watcher_count;
    /* Who is told of dead letters; set before there are any. */
    void (*hear_dead)(void *user, const sl_queue_dead *dead);
    void *hear_dead_user;
    /* Under the lock. */
    pthread_mutex_t lock;
    sl_q_table table;
    sl_rng rng;
    uint64_t next_row, next_order, next_lease;
    uint64_t in_flight, flight_bytes; /* puts on their way to disk */
    uint64_t dead;
    uint64_t cache_bytes;
    bool closing;
    /* The clock's, under the lock too. */
    pthread_cond_t wake;
    uint64_t sleeps_until;
    sl_q_fresh *fresh; /* ring, by time */
    size_t fresh_size, fresh_first, fresh_count;
    uint64_t forget_at_ns; /* monotonic; SL_FOREVER: no key is to be forgotten */
    bool forgetting;
};

extern const sl_queue_engine sl_q_embedded;

/* What queue.h promises of the engine; in queue_end.c and queue_dead.c. */
SL_MUST_CHECK int sl_q_ack(sl_queue *q, const char *id, uint64_t lease, sl_queue_end_fn done, void *user);
SL_MUST_CHECK int sl_q_nack(sl_queue *q, const char *id, uint64_t lease, uint64_t delay_ms, bool dead, sl_str reason);
SL_MUST_CHECK int sl_q_extend(sl_queue *q, const char *id, uint64_t lease, uint64_t lease_ms);
int sl_q_hear_dead(sl_queue *q, void (*fn)(void *user, const sl_queue_dead *dead), void *user);
int sl_q_dead_list(sl_queue *q, sl_str name, sl_str after, size_t max,
                   void (*fn)(void *user, const sl_queue_dead *dead), void *user);
SL_MUST_CHECK int sl_q_dead_requeue(sl_queue *q, sl_str topic, sl_str id, sl_queue_count_fn done, void *user);
SL_MUST_CHECK int sl_q_dead_purge(sl_queue *q, sl_str topic, sl_str id, sl_queue_count_fn done, void *user);

/* ---- under the lock ---- */

/* Makes a message ready, or delays it; true: `sl_q_wake_watchers` is to be called once the lock is given back. */
bool sl_q_make_ready(sl_queue *q, sl_q_message *m, uint64_t due_ns);
/* The message with this id, when it is leased by this token. */
sl_q_message *sl_q_leased(sl_queue *q, sl_str id, uint64_t lease);
/* Takes it out for good, with its counts, and frees it. It is ENDING. */
void sl_q_forget(sl_queue *q, sl_q_message *m);
/* The clock looks again when `due_ns` comes before its present end of sleep. */
void sl_q_clock_nudge(sl_queue *q, uint64_t due_ns);
/* A delivery began: its count is written when it lasts. */
void sl_q_note_delivery(sl_queue *q, const sl_q_message *m, uint64_t now_ns);
/* Writes deliveries and ready time of a waiting message, sooner or later; nobody waits for it. */
void sl_q_persist_count(sl_queue *q, const sl_q_message *m);
/* Sends a message that is in no heap to the dead letters; when the disk refuses, it is tried again. */
void sl_q_kill(sl_queue *q, sl_q_message *m, sl_str reason);
/* Room for `more` puts or revivals of this topic? 0, SL_EAGAIN, SL_ENOMEM. */
int sl_q_admit(sl_queue *q, sl_q_topic *topic, unsigned priority, size_t more);

/* ---- without it ---- */

void sl_q_wake_watchers(sl_queue *q, const sl_q_topic *topic);
/* Finds or makes. SL_EINVAL, SL_EAGAIN, SL_ENOMEM. Under the lock. */
int sl_q_topic_get(sl_queue *q, sl_str name, bool make, sl_q_topic **ret_topic);

SL_MUST_CHECK int sl_q_clock_start(sl_queue *q);
void sl_q_clock_stop(sl_queue *q);

static inline void sl_q_lock(sl_queue *q)
{
    (void)pthread_mutex_lock(&q->lock);
}

static inline void sl_q_unlock(sl_queue *q)
{
    (void)pthread_mutex_unlock(&q->lock);
}

#endif
