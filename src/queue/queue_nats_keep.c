/* The keeper: a thread that tells the broker what is not lost, ends leases and delays, and asks after answers. */
#ifdef SL_HAVE_NATS

#include "src/base/mem.h"
#include "src/queue/queue_nats_impl.h"

/* Tells the broker that what is here is not lost, and collects leases that are over. Under the lock. */
static sl_qn_entry *keep_all(sl_qn *q, bool renew)
{
    sl_qn_entry *over = NULL;
    uint64_t now_ns = sl_mono_ns();
    for (size_t i = 0; i < SL_QN_BUCKETS; i++) {
        for (sl_qn_entry **at = &q->leased[i]; *at;) {
            sl_qn_entry *e = *at;
            if (!e->ending && e->due_ns <= now_ns) {
                *at = e->next;
                e->topic->stats.leased--;
                e->next = over;
                over = e;
                continue;
            }
            if (renew)
                (void)natsMsg_InProgress(e->msg, NULL);
            at = &e->next;
        }
    }
    for (const sl_qn_entry *e = q->delayed; renew && e; e = e->next)
        (void)natsMsg_InProgress(e->msg, NULL);
    for (sl_qn_topic *topic = q->topics; renew && topic; topic = topic->next) {
        for (int i = 0; i < SL_QUEUE_PRIORITIES; i++) {
            for (sl_qn_entry *e = topic->first[i]; e; e = e->next)
                (void)natsMsg_InProgress(e->msg, NULL);
        }
    }
    return over;
}

/* Makes ready what was held back and is due, or a dead letter. Under the lock; true: watchers are to be told. */
static bool end_delays(sl_qn *q, sl_qn_entry **over)
{
    uint64_t now_ns = sl_mono_ns();
    bool wake = false;
    for (sl_qn_entry **at = &q->delayed; *at;) {
        sl_qn_entry *e = *at;
        if (e->due_ns > now_ns) {
            at = &e->next;
            continue;
        }
        *at = e->next;
        e->topic->stats.delayed--;
        e->ready_ns = sl_now_ns();
        if (e->delivery > e->max_deliveries) {
            e->next = *over;
            *over = e;
            continue;
        }
        if (sl_qn_push(e->topic, e))
            wake = e->topic->to_wake = true;
    }
    return wake;
}

/* Topics stay until the end, and new ones come to the front: the list may be walked without the lock. */
static void tell_marked(sl_qn *q)
{
    (void)pthread_mutex_lock(&q->lock);
    sl_qn_topic *first = q->topics;
    (void)pthread_mutex_unlock(&q->lock);
    for (sl_qn_topic *topic = first; topic; topic = topic->next) {
        if (topic->to_wake) { /* the keeper's alone */
            topic->to_wake = false;
            sl_qn_tell_watchers(q, topic);
        }
    }
}

/* A lease that is over: the message is ready for somebody else. */
static void end_lease(sl_qn *q, sl_qn_entry *e)
{
    if (e->delivery >= e->max_deliveries) {
        sl_qn_kill(q, e, SL_STR("delivered too often without an acknowledgement"));
    } else {
        e->delivery++;
        sl_qn_delay(q, e, 0);
    }
}

/* Acknowledgements that nobody confirmed in time: they may be asked again. */
static void end_unanswered(sl_qn *q)
{
    uint64_t now_ns = sl_mono_ns();
    for (size_t i = 0; i < SL_QN_BUCKETS; i++) {
        sl_qn_entry *e = q->leased[i];
        while (e && (!e->answer_by_ns || e->answer_by_ns > now_ns))
            e = e->next;
        if (!e)
            continue;
        sl_queue_end_fn done = e->end_done;
        void *done_user = e->end_user;
        e->answer_by_ns = 0;
        e->ending = false;
        (void)pthread_mutex_unlock(&q->lock);
        if (done)
            done(done_user, SL_EIO);
        sl_qn_publish_over(q);
        (void)pthread_mutex_lock(&q->lock);
        i--; /* this bucket once more: it may have changed */
    }
}

void *sl_qn_keep(void *user)
{
    sl_qn *q = user;
    uint64_t renew_ns = q->options.ack_wait_ms * 1000000u / 3, next_renewal = sl_mono_ns() + renew_ns;
    (void)pthread_mutex_lock(&q->lock);
    while (!q->closing) {
        uint64_t now_ns = sl_mono_ns(), tick_ns = now_ns + SL_QN_TICK_NS;
        bool renew = now_ns >= next_renewal;
        sl_qn_entry *over = keep_all(q, renew);
        if (renew)
            next_renewal = now_ns + renew_ns;
        bool wake = end_delays(q, &over);
        (void)pthread_mutex_unlock(&q->lock);
        if (wake)
            tell_marked(q);
        while (over) {
            sl_qn_entry *next = over->next;
            end_lease(q, over);
            over = next;
        }
        (void)pthread_mutex_lock(&q->lock);
        end_unanswered(q);
        if (!q->closing)
            (void)sl_cond_wait_until(&q->wake, &q->lock, tick_ns < next_renewal ? tick_ns : next_renewal);
    }
    (void)pthread_mutex_unlock(&q->lock);
    return NULL;
}

#endif
