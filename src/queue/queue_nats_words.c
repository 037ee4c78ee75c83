/* Words: what every process of the cluster hears at once, or never. Plain publishes: no stream keeps them. */
#ifdef SL_HAVE_NATS

#include "src/base/mem.h"
#include "src/queue/queue_nats_impl.h"

#define SUBJECT "sl.w"

static void on_word(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *user)
{
    sl_qn *q = user;
    int len = natsMsg_GetDataLength(msg);
    (void)nc;
    (void)sub;
    if (len > 0 && len <= SL_QUEUE_MAX_WORD_BYTES)
        q->hear(q->hear_user, sl_str_of(natsMsg_GetData(msg), (size_t)len));
    natsMsg_Destroy(msg);
}

int sl_qn_tell(sl_queue *queue, sl_str word)
{
    sl_qn *q = sl_qn_of(queue);
    natsStatus status = natsConnection_Publish(q->nc, SUBJECT, word.ptr, (int)word.len);
    return status == NATS_OK ? 0 : SL_EAGAIN;
}

int sl_qn_hear(sl_queue *queue, void (*fn)(void *user, sl_str word), void *user)
{
    sl_qn *q = sl_qn_of(queue);
    SL_ASSERT(!q->hear && !q->words);
    q->hear = fn;
    q->hear_user = user;
    natsStatus status = natsConnection_Subscribe(&q->words, q->nc, SUBJECT, on_word, q);
    if (status != NATS_OK)
        return status == NATS_NO_MEMORY ? SL_ENOMEM : SL_EIO;
    /* The broker knows of it before anybody takes a message. */
    return natsConnection_FlushTimeout(q->nc, SL_QN_WAIT_MS) == NATS_OK ? 0 : SL_EIO;
}

void sl_qn_hush(sl_qn *q)
{
    if (!q->words)
        return;
    /* Nobody is told after this: also by a call that is under way. */
    if (natsSubscription_DrainTimeout(q->words, 1000) == NATS_OK)
        (void)natsSubscription_WaitForDrainCompletion(q->words, 1500);
    natsSubscription_Destroy(q->words);
    q->words = NULL;
}

#endif
