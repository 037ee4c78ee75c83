/*
 * See queue_impl.h: one thread that sleeps until the first delay or lease ends, a long delivery is to be counted, or a
 * key may be forgotten. With nothing to come it sleeps for good.
 */
#include "src/base/mem.h"
#include "src/queue/queue_impl.h"

void sl_q_clock_nudge(sl_queue *q, uint64_t due_ns)
{
    if (due_ns < q->sleeps_until) {
        q->sleeps_until = due_ns;
        (void)pthread_cond_signal(&q->wake);
    }
}

/* ---- long deliveries ---- */

void sl_q_note_delivery(sl_queue *q, const sl_q_message *m, uint64_t now_ns)
{
    if (q->fresh_count == q->fresh_size) {
        size_t size = q->fresh_size ? q->fresh_size * 2 : 256;
        sl_q_fresh *ring = sl_malloc(size * sizeof *ring);
        if (!ring)
            return; /* this one is counted when its lease ends */
        for (size_t i = 0; i < q->fresh_count; i++)
            ring[i] = q->fresh[(q->fresh_first + i) & (q->fresh_size - 1)];
        sl_free(q->fresh);
        q->fresh = ring;
        q->fresh_size = size;
        q->fresh_first = 0;
    }
    q->fresh[(q->fresh_first + q->fresh_count++) & (q->fresh_size - 1)] = (sl_q_fresh){m->row, m->lease, now_ns};
    if (q->fresh_count == 1)
        sl_q_clock_nudge(q, now_ns + SL_Q_COUNT_AFTER_NS);
}

static void count_long_ones(sl_queue *q, uint64_t now_ns)
{
    while (q->fresh_count && q->fresh[q->fresh_first].at_ns + SL_Q_COUNT_AFTER_NS <= now_ns) {
        sl_q_fresh one = q->fresh[q->fresh_first];
        q->fresh_first = (q->fresh_first + 1) & (q->fresh_size - 1);
        q->fresh_count--;
        const sl_q_message *m = sl_q_find(&q->table, one.row);
        if (m && m->state == SL_Q_LEASED && m->lease == one.lease)
            sl_q_persist_count(q, m);
    }
}

/* ---- what is due ---- */

/* The first message that is due: it becomes ready, or is a dead letter. Its topic when watchers are to be told. */
static sl_q_topic *one_due(sl_queue *q, sl_q_message *m)
{
    bool leased = m->state == SL_Q_LEASED;
    sl_q_topic *topic = m->topic;
    sl_q_leave(&q->table, m);
    if (m->deliveries >= m->max_deliveries) {
        sl_q_kill(q, m,
                  leased ? SL_STR("its last consumer let the lease end") : SL_STR("refused by its last consumer"));
        return NULL;
    }
    if (leased) {
        m->ready_ns = sl_now_ns();
        sl_q_persist_count(q, m);
    }
    return sl_q_make_ready(q, m, 0) ? topic : NULL;
}

/* All that is due. Topics with watchers to be told come back as a list. */
static sl_q_topic *all_due(sl_queue *q, uint64_t now_ns)
{
    sl_q_topic *list = NULL;
    sl_q_message *m;
    while ((m = sl_q_due_first(&q->table)) != NULL && m->due_ns <= now_ns) {
        sl_q_topic *topic = one_due(q, m);
        if (topic && !topic->to_wake) {
            topic->to_wake = true;
            topic->next_wake = list;
            list = topic;
        }
    }
    return list;
}

/* ---- keys ---- */

typedef struct forget_job {
    sl_queue *q;
    uint64_t next_ms;
} forget_job;

static int forget_run(void *user, sqlite3 *sqlite)
{
    forget_job *job = user;
    uint64_t now_ms = sl_now_ns() / 1000000u, kept = job->q->key_retention_ms;
    return sl_q_store_forget(job->q->db, sqlite, now_ms > kept ? now_ms - kept : 0, SL_Q_BATCH, &job->next_ms);
}

static void forget_done(void *user, int error)
{
    forget_job *job = user;
    sl_queue *q = job->q;
    uint64_t now_ms = sl_now_ns() / 1000000u, due_ms = job->next_ms + q->key_retention_ms;
    sl_q_lock(q);
    q->forgetting = false;
    if (error)
        q->forget_at_ns = sl_mono_ns() + SL_Q_RETRY_NS;
    else if (job->next_ms == 0)
        q->forget_at_ns = SL_FOREVER;
    else
        q->forget_at_ns = due_ms > now_ms ? sl_deadline_ns(due_ms - now_ms + 1000) : sl_mono_ns();
    sl_q_clock_nudge(q, q->forget_at_ns);
    sl_q_unlock(q);
    sl_free(job);
}

static void forget_keys(sl_queue *q, uint64_t now_ns)
{
    if (q->forgetting || now_ns < q->forget_at_ns)
        return;
    forget_job *job = sl_calloc(1, sizeof *job);
    q->forget_at_ns = now_ns + SL_Q_RETRY_NS;
    if (!job)
        return;
    job->q = q;
    q->forgetting = !sl_db_submit(
        q->db, &(sl_db_job){.run = forget_run, .done = forget_done, .user = job, .plain = true, .rerun = true});
    if (!q->forgetting)
        sl_free(job);
}

/* ---- the thread ---- */

static uint64_t next_ns(const sl_queue *q)
{
    const sl_q_message *first = sl_q_due_first(&q->table);
    uint64_t next = first ? first->due_ns : SL_FOREVER;
    if (q->fresh_count && q->fresh[q->fresh_first].at_ns + SL_Q_COUNT_AFTER_NS < next)
        next = q->fresh[q->fresh_first].at_ns + SL_Q_COUNT_AFTER_NS;
    if (!q->forgetting && q->forget_at_ns < next)
        next = q->forget_at_ns;
    return next;
}

static void wake_list(sl_queue *q, sl_q_topic *list)
{
    sl_q_unlock(q);
    while (list) {
        sl_q_topic *topic = list;
        sl_q_lock(q);
        list = topic->next_wake;
        topic->to_wake = false;
        sl_q_unlock(q);
        sl_q_wake_watchers(q, topic);
    }
    sl_q_lock(q);
}

static void *run_clock(void *user)
{
    sl_queue *q = user;
    sl_q_lock(q);
    while (!q->closing) {
        uint64_t now_ns = sl_mono_ns();
        sl_q_topic *list = all_due(q, now_ns);
        count_long_ones(q, now_ns);
        forget_keys(q, now_ns);
        if (list) {
            wake_list(q, list);
            continue;
        }
        q->sleeps_until = next_ns(q);
        while (!q->closing && sl_mono_ns() < q->sleeps_until) /* a nudge brings it forward */
            (void)sl_cond_wait_until(&q->wake, &q->lock, q->sleeps_until);
        q->sleeps_until = 0; /* awake: nobody need signal */
    }
    sl_q_unlock(q);
    return NULL;
}

int sl_q_clock_start(sl_queue *q)
{
    return sl_thread_start(&q->clock, run_clock, q);
}

void sl_q_clock_stop(sl_queue *q)
{
    (void)pthread_cond_signal(&q->wake);
    (void)pthread_join(q->clock, NULL);
}
