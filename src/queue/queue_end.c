/* See queue_impl.h: acknowledgements, and what is given back. */
#include "src/base/mem.h"
#include "src/queue/queue_id.h"
#include "src/queue/queue_impl.h"

sl_q_message *sl_q_leased(sl_queue *q, sl_str id, uint64_t lease)
{
    uint64_t head, row;
    if (sl_queue_id_parse(id, &head, &row))
        return NULL;
    sl_q_message *m = sl_q_find(&q->table, row);
    return m && m->head == head && m->state == SL_Q_LEASED && m->lease == lease ? m : NULL;
}

void sl_q_forget(sl_queue *q, sl_q_message *m)
{
    SL_ASSERT(m->state == SL_Q_ENDING);
    sl_q_remove(&q->table, m);
    m->topic->waiting--;
    if (m->bytes)
        q->cache_bytes -= sl_q_bytes_len(m);
    sl_q_message_free(m);
}

/* ---- acknowledgement ---- */

typedef struct end_job {
    sl_queue *q;
    sl_q_message *message;
    sl_queue_end_fn done;
    void *user;
} end_job;

static int end_run(void *user, sqlite3 *sqlite)
{
    const end_job *job = user;
    const sl_q_message *m = job->message; /* ENDING: nobody else changes it */
    return sl_q_store_end(job->q->db, sqlite, m->row, m->has_key ? m->key_hash : NULL, sl_now_coarse_ns() / 1000000u);
}

static void end_done(void *user, int error)
{
    end_job *job = user;
    sl_queue *q = job->q;
    sl_q_message *m = job->message;
    sl_q_lock(q);
    if (error) { /* as if it had not been asked: the lease goes on, and may end */
        sl_q_enter(&q->table, m, SL_Q_LEASED, m->due_ns);
        sl_q_clock_nudge(q, m->due_ns);
    } else {
        m->topic->acked++;
        if (m->has_key && q->forget_at_ns == SL_FOREVER) {
            q->forget_at_ns = sl_deadline_ns(q->key_retention_ms);
            sl_q_clock_nudge(q, q->forget_at_ns);
        }
        sl_q_forget(q, m);
    }
    sl_q_unlock(q);
    if (job->done)
        job->done(job->user, error);
    sl_free(job);
}

int sl_q_ack(sl_queue *q, const char *id, uint64_t lease, sl_queue_end_fn done, void *user)
{
    SL_ASSERT(q && id);
    end_job *job = sl_calloc(1, sizeof *job);
    if (!job)
        return SL_ENOMEM;
    sl_q_lock(q);
    sl_q_message *m = sl_q_leased(q, sl_str_c(id), lease);
    int error = q->closing ? SL_ECLOSED : m ? 0 : SL_ENOENT;
    if (!error) {
        *job = (end_job){q, m, done, user};
        sl_q_leave(&q->table, m);
        m->state = SL_Q_ENDING;
        error = sl_db_submit(q->db,
                             &(sl_db_job){.run = end_run, .done = end_done, .user = job, .plain = true, .rerun = true});
        if (error)
            sl_q_enter(&q->table, m, SL_Q_LEASED, m->due_ns);
    }
    sl_q_unlock(q);
    if (error)
        sl_free(job);
    return error;
}

/* ---- counts ---- */

typedef struct count_job {
    sl_queue *q;
    uint64_t row, ready_ms;
    unsigned deliveries;
} count_job;

static int count_run(void *user, sqlite3 *sqlite)
{
    const count_job *job = user;
    (void)sqlite;
    return sl_q_store_count(job->q->db, job->row, job->deliveries, job->ready_ms);
}

static void count_done(void *user, int error)
{
    (void)error; /* a delivery more than was meant, after a crash */
    sl_free(user);
}

void sl_q_persist_count(sl_queue *q, const sl_q_message *m)
{
    count_job *job = sl_malloc(sizeof *job);
    if (!job)
        return;
    *job = (count_job){q, m->row, m->ready_ns / 1000000u, m->deliveries};
    if (sl_db_submit(q->db,
                     &(sl_db_job){.run = count_run, .done = count_done, .user = job, .plain = true, .rerun = true}))
        sl_free(job);
}

/* ---- giving back ---- */

int sl_q_nack(sl_queue *q, const char *id, uint64_t lease, uint64_t delay_ms, bool dead, sl_str reason)
{
    SL_ASSERT(q && id);
    bool wake = false;
    sl_q_topic *topic = NULL;
    sl_q_lock(q);
    sl_q_message *m = sl_q_leased(q, sl_str_c(id), lease);
    int error = q->closing ? SL_ECLOSED : m ? 0 : SL_ENOENT;
    if (!error) {
        topic = m->topic;
        sl_q_leave(&q->table, m);
        if (dead || m->deliveries >= m->max_deliveries) {
            sl_q_kill(q, m, reason.len ? reason : SL_STR("given back by its last consumer"));
        } else {
            m->ready_ns = sl_now_ns() + delay_ms * 1000000u;
            m->order = q->next_order++; /* behind those that wait: one that always fails does not hold them up */
            sl_q_persist_count(q, m);
            wake = sl_q_make_ready(q, m, delay_ms ? sl_deadline_ns(delay_ms) : 0);
        }
    }
    sl_q_unlock(q);
    if (wake)
        sl_q_wake_watchers(q, topic);
    return error;
}

int sl_q_extend(sl_queue *q, const char *id, uint64_t lease, uint64_t lease_ms)
{
    SL_ASSERT(q && id);
    sl_q_lock(q);
    sl_q_message *m = sl_q_leased(q, sl_str_c(id), lease);
    int error = q->closing ? SL_ECLOSED : m ? 0 : SL_ENOENT;
    if (!error) {
        sl_q_due_again(&q->table, m, sl_deadline_ns(lease_ms));
        sl_q_clock_nudge(q, m->due_ns);
    }
    sl_q_unlock(q);
    return error;
}
