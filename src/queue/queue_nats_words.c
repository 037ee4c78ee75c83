/*
 * What every process of the cluster hears at once, or never: words, plain publishes that no stream keeps, and the news
 * of dead letters.
 */
#ifdef SL_HAVE_NATS

#include "src/base/mem.h"
#include "src/queue/queue_nats_impl.h"

#define SUBJECT "sl.w"
#define DEAD "sl.x."

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

/* ---- dead letters ---- */

/* The topic that a subject's token stands for; `text` has SL_QUEUE_MAX_TOPIC_BYTES. */
static sl_str topic_of(const char *coded, char *text)
{
    size_t len = 0;
    for (const char *at = coded; *at && len < SL_QUEUE_MAX_TOPIC_BYTES; at++) {
        uint8_t byte = (uint8_t)*at;
        if (*at == '=' && sl_hex_decode(sl_str_of(at + 1, strnlen(at + 1, 2)), &byte, 1) == 0)
            at += 2;
        text[len++] = (char)byte;
    }
    return sl_str_of(text, len);
}

/* What is published for the stream of dead letters comes here too, whoever publishes it. */
static void on_dead(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *user)
{
    sl_qn *q = user;
    char topic[SL_QUEUE_MAX_TOPIC_BYTES];
    uint8_t key[SL_QUEUE_MAX_KEY_BYTES];
    (void)nc;
    (void)sub;
    sl_queue_dead dead = {.topic = topic_of(natsMsg_GetSubject(msg) + strlen(DEAD), topic), .dead_ns = sl_now_ns()};
    sl_qn_dead_read(msg, key, &dead);
    q->hear_dead(q->hear_dead_user, &dead);
    natsMsg_Destroy(msg);
}

int sl_qn_hear_dead(sl_queue *queue, void (*fn)(void *user, const sl_queue_dead *dead), void *user)
{
    sl_qn *q = sl_qn_of(queue);
    SL_ASSERT(!q->hear_dead && !q->dead);
    q->hear_dead = fn;
    q->hear_dead_user = user;
    natsStatus status = natsConnection_Subscribe(&q->dead, q->nc, DEAD "*", on_dead, q);
    if (status != NATS_OK)
        return status == NATS_NO_MEMORY ? SL_ENOMEM : SL_EIO;
    return natsConnection_FlushTimeout(q->nc, SL_QN_WAIT_MS) == NATS_OK ? 0 : SL_EIO;
}

/* ---- the end ---- */

/* Nobody is told after this: also by a call that is under way. */
static void hush(natsSubscription **sub)
{
    if (*sub && natsSubscription_DrainTimeout(*sub, 1000) == NATS_OK)
        (void)natsSubscription_WaitForDrainCompletion(*sub, 1500);
    natsSubscription_Destroy(*sub);
    *sub = NULL;
}

void sl_qn_hush(sl_qn *q)
{
    hush(&q->words);
    hush(&q->dead);
}

#endif
