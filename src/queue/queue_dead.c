/* See queue_impl.h: dead letters. */
#include <stdio.h>

#include "src/base/mem.h"
#include "src/queue/queue_id.h"
#include "src/queue/queue_impl.h"

/* ---- to the dead letters ---- */

typedef struct kill_job {
    sl_queue *q;
    sl_q_message *message;
    size_t reason_len;
    char reason[];
} kill_job;

static int kill_run(void *user, sqlite3 *sqlite)
{
    const kill_job *job = user;
    return sl_q_store_kill(job->q->db, sqlite, job->message->row, job->message->deliveries,
                           sl_str_of(job->reason, job->reason_len), sl_now_ns() / 1000000u);
}

/* The clock tries again: what has been delivered often enough goes to the dead letters when it is due. */
static void try_later(sl_queue *q, sl_q_message *m)
{
    if (m->deliveries < m->max_deliveries)
        m->deliveries = m->max_deliveries;
    sl_q_enter(&q->table, m, SL_Q_DELAYED, sl_mono_ns() + SL_Q_RETRY_NS);
    sl_q_clock_nudge(q, m->due_ns);
}

int sl_q_hear_dead(sl_queue *q, void (*fn)(void *user, const sl_queue_dead *dead), void *user)
{
    SL_ASSERT(q && fn);
    sl_q_lock(q);
    SL_ASSERT(!q->hear_dead);
    q->hear_dead_user = user;
    q->hear_dead = fn;
    sl_q_unlock(q);
    return 0;
}

/* Reads the letter as it was written: the message itself is gone, and its bytes may never have been in memory. */
static void tell_dead(sl_queue *q, const sl_q_topic *topic, uint64_t row)
{
    (void)pthread_mutex_lock(&q->reader_lock);
    if (q->reader) /* while it closes: the next start finds the letter */
        (void)sl_q_store_dead(q->reader, topic, row - 1, 1, q->hear_dead, q->hear_dead_user);
    (void)pthread_mutex_unlock(&q->reader_lock);
}

static void kill_done(void *user, int error)
{
    kill_job *job = user;
    sl_queue *q = job->q;
    const sl_q_topic *topic = job->message->topic;
    uint64_t row = job->message->row;
    sl_q_lock(q);
    bool tell = !error && q->hear_dead;
    if (error) {
        try_later(q, job->message);
    } else {
        job->message->topic->dead++;
        q->dead++;
        sl_q_forget(q, job->message);
    }
    sl_q_unlock(q);
    if (tell)
        tell_dead(q, topic, row);
    sl_free(job);
}

void sl_q_kill(sl_queue *q, sl_q_message *m, sl_str reason)
{
    SL_ASSERT(!m->due_at && m->state != SL_Q_READY);
    size_t len = sl_utf8_prefix(reason, SL_QUEUE_MAX_REASON_BYTES);
    kill_job *job = sl_malloc(sizeof *job + len + 1);
    m->state = SL_Q_ENDING;
    if (!job) {
        try_later(q, m);
        return;
    }
    job->q = q;
    job->message = m;
    job->reason_len = len;
    if (len)
        memcpy(job->reason, reason.ptr, len);
    if (sl_db_submit(q->db,
                     &(sl_db_job){.run = kill_run, .done = kill_done, .user = job, .plain = true, .rerun = true})) {
        sl_free(job);
        try_later(q, m);
    }
}

/* ---- reading them ---- */

/* An id that may be empty: rows 0. */
static int parse_optional(sl_str id, uint64_t *ret_head, uint64_t *ret_row)
{
    *ret_head = *ret_row = 0;
    return id.len ? sl_queue_id_parse(id, ret_head, ret_row) : 0;
}

int sl_q_dead_list(sl_queue *q, sl_str name, sl_str after, size_t max,
                   void (*fn)(void *user, const sl_queue_dead *dead), void *user)
{
    SL_ASSERT(q && fn);
    uint64_t head, row;
    if (parse_optional(after, &head, &row))
        return SL_EINVAL;
    sl_q_topic *topic;
    sl_q_lock(q);
    int error = sl_q_topic_get(q, name, false, &topic);
    sl_q_unlock(q);
    if (error)
        return error;
    (void)pthread_mutex_lock(&q->reader_lock);
    int result = sl_q_store_dead(q->reader, topic, row, max < INT32_MAX ? max : INT32_MAX, fn, user);
    (void)pthread_mutex_unlock(&q->reader_lock);
    return result;
}

/* ---- bringing back, removing ---- */

typedef struct batch_job {
    sl_queue *q;
    sl_q_topic *topic;
    bool revive;
    uint64_t head, row; /* row 0: all */
    uint64_t total;
    size_t count;
    sl_queue_count_fn done;
    void *user;
    sl_q_message *messages[SL_Q_BATCH];
} batch_job;

static void drop_messages(batch_job *job)
{
    for (size_t i = 0; i < SL_Q_BATCH; i++) {
        sl_q_message_free(job->messages[i]);
        job->messages[i] = NULL;
    }
}

static int batch_run(void *user, sqlite3 *sqlite)
{
    batch_job *job = user;
    drop_messages(job); /* of a run that could not be committed */
    job->count = 0;
    if (job->revive)
        return sl_q_store_revive(job->q->db, sqlite, job->topic->id, job->head, job->row, SL_Q_BATCH, job->messages,
                                 &job->count);
    return sl_q_store_bury(job->q->db, sqlite, job->topic->id, job->head, job->row, SL_Q_BATCH, sl_now_ns() / 1000000u,
                           &job->count);
}

/* They are in `message` again; makes them known. Room may be missing: they are then found by the next start. */
static bool publish_revived(sl_queue *q, batch_job *job)
{
    bool wake = false;
    for (size_t i = 0; i < job->count; i++) {
        sl_q_message *m = job->messages[i];
        if (sl_q_reserve(&q->table, job->topic, m->priority, q->in_flight + 1))
            continue;
        job->messages[i] = NULL;
        m->topic = job->topic;
        m->topic->waiting++;
        m->order = q->next_order++;
        sl_q_add(&q->table, m);
        wake |= sl_q_make_ready(q, m, 0);
    }
    return wake;
}

static void batch_done(void *user, int error)
{
    batch_job *job = user;
    sl_queue *q = job->q;
    bool wake = false;
    sl_q_lock(q);
    if (!error) {
        job->total += job->count;
        job->topic->dead -= job->count;
        q->dead -= job->count;
        if (job->revive)
            wake = publish_revived(q, job);
        else
            q->forget_at_ns = 0; /* the clock looks which keys have ended */
        sl_q_clock_nudge(q, q->forget_at_ns);
    }
    sl_q_unlock(q);
    drop_messages(job);
    if (wake)
        sl_q_wake_watchers(q, job->topic);
    /* A full batch: there may be more. */
    if (!error && job->row == 0 && job->count == SL_Q_BATCH) {
        error = sl_db_submit(
            q->db, &(sl_db_job){.run = batch_run, .done = batch_done, .user = job, .plain = true, .rerun = true});
        if (!error)
            return;
    }
    if (job->done)
        job->done(job->user, error, job->total);
    sl_free(job);
}

static int start_batch(sl_queue *q, sl_str name, sl_str id, bool revive, sl_queue_count_fn done, void *user)
{
    SL_ASSERT(q);
    batch_job *job = sl_calloc(1, sizeof *job);
    if (!job)
        return SL_ENOMEM;
    job->q = q;
    job->revive = revive;
    job->done = done;
    job->user = user;
    int error = parse_optional(id, &job->head, &job->row) ? SL_EINVAL : 0;
    sl_q_lock(q);
    if (!error)
        error = q->closing ? SL_ECLOSED : sl_q_topic_get(q, name, false, &job->topic);
    if (!error)
        error = sl_db_submit(
            q->db, &(sl_db_job){.run = batch_run, .done = batch_done, .user = job, .plain = true, .rerun = true});
    sl_q_unlock(q);
    if (error)
        sl_free(job);
    return error;
}

int sl_q_dead_requeue(sl_queue *q, sl_str topic, sl_str id, sl_queue_count_fn done, void *user)
{
    return start_batch(q, topic, id, true, done, user);
}

int sl_q_dead_purge(sl_queue *q, sl_str topic, sl_str id, sl_queue_count_fn done, void *user)
{
    return start_batch(q, topic, id, false, done, user);
}
