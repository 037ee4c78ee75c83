/* Publishes on their way to the cluster, and puts. */
#ifdef SL_HAVE_NATS

#include <openssl/sha.h>
#include <stdio.h>

#include "src/base/mem.h"
#include "src/queue/queue_id.h"
#include "src/queue/queue_nats_impl.h"

/* ---- publishes ---- */

static sl_qn_publish **publish_place(sl_qn *q, const natsMsg *msg)
{
    sl_qn_publish **at = &q->publishes[((uintptr_t)msg >> 4) % SL_QN_BUCKETS];
    while (*at && (*at)->msg != msg)
        at = &(*at)->next;
    return at;
}

static sl_qn_publish *take_publish(sl_qn *q, const natsMsg *msg)
{
    (void)pthread_mutex_lock(&q->lock);
    sl_qn_publish **at = publish_place(q, msg), *p = *at;
    if (p)
        *at = p->next;
    (void)pthread_mutex_unlock(&q->lock);
    return p;
}

void sl_qn_publish_over(sl_qn *q)
{
    (void)pthread_mutex_lock(&q->lock);
    q->publishing--;
    (void)pthread_cond_signal(&q->quiet);
    (void)pthread_mutex_unlock(&q->lock);
}

/* From a thread of the library. */
void sl_qn_on_answer(jsCtx *js, natsMsg *msg, jsPubAck *ack, jsPubAckErr *error, void *user)
{
    sl_qn *q = user;
    (void)js;
    sl_qn_publish *p = take_publish(q, msg);
    if (p) {
        if (error && error->Err == NATS_TIMEOUT)
            sl_qn_note(q, "publish",
                       "the broker takes messages, but does not store them; its disk may be full: see its log");
        else if (error)
            sl_qn_note(q, "publish", error->ErrText);
        p->answered(p, ack, error);
        sl_free(p);
        sl_qn_publish_over(q);
    }
    natsMsg_Destroy(msg);
}

int sl_qn_publish_start(sl_qn *q, natsMsg **msg, sl_qn_publish *p)
{
    (void)pthread_mutex_lock(&q->lock);
    int error = q->closing ? SL_ECLOSED : q->publishing >= SL_QN_PENDING ? SL_EAGAIN : 0;
    if (!error) {
        p->q = q;
        p->msg = *msg;
        sl_qn_publish **at = &q->publishes[((uintptr_t)*msg >> 4) % SL_QN_BUCKETS];
        p->next = *at;
        *at = p;
        q->publishing++;
    }
    (void)pthread_mutex_unlock(&q->lock);
    if (error) {
        natsMsg_Destroy(*msg);
        sl_free(p);
        return error;
    }
    jsPubOptions options;
    (void)jsPubOptions_Init(&options);
    options.MaxWait = SL_QN_WAIT_MS;
    natsStatus status = js_PublishMsgAsync(q->js, msg, &options);
    if (status == NATS_OK)
        return 0;
    sl_qn_note(q, "publish", natsStatus_GetText(status));
    p = take_publish(q, *msg);
    natsMsg_Destroy(*msg);
    if (!p)
        return 0; /* it has been answered after all */
    sl_free(p);
    sl_qn_publish_over(q);
    return SL_EAGAIN;
}

/* ---- puts ---- */

/* What the broker says for want of room; one that does not answer may do so the next time. */
static int refusal(const jsPubAckErr *error)
{
    switch ((int)error->ErrCode) {
    case JSInsufficientResourcesErr:
    case JSStorageResourcesExceededErr:
    case JSMemoryResourcesExceededErr:
    case JSStreamStoreFailedErr:
        return SL_ELIMIT;
    default:
        return SL_EAGAIN;
    }
}

static void put_answered(sl_qn_publish *p, const jsPubAck *ack, const jsPubAckErr *error)
{
    sl_qn *q = p->q;
    sl_queue_accepted accepted = {.duplicate = ack && ack->Duplicate};
    if (ack)
        sl_queue_id_format(q->head, ack->Sequence & SL_QUEUE_ROW_MASK, accepted.id);
    (void)pthread_mutex_lock(&q->lock);
    if (!ack)
        p->topic->stats.rejected++;
    else if (ack->Duplicate)
        p->topic->stats.duplicates++;
    else
        p->topic->stats.put++;
    if (ack && !error)
        q->last_error[0] = 0; /* what it told is over */
    (void)pthread_mutex_unlock(&q->lock);
    if (p->put_done)
        p->put_done(p->user, error ? refusal(error) : ack ? 0 : SL_EAGAIN, &accepted);
}

void sl_qn_hash_key(sl_str topic, sl_str key, char ret_hex[33])
{
    uint8_t text[SL_QUEUE_MAX_TOPIC_BYTES + 1 + SL_QUEUE_MAX_KEY_BYTES], digest[SHA256_DIGEST_LENGTH];
    memcpy(text, topic.ptr, topic.len);
    text[topic.len] = 0;
    memcpy(text + topic.len + 1, key.ptr, key.len);
    (void)SHA256(text, topic.len + 1 + key.len, digest);
    sl_hex_encode(digest, 16, ret_hex);
    ret_hex[32] = 0;
}

static natsStatus set_text(natsMsg *msg, const char *name, sl_str text)
{
    char value[SL_QUEUE_MAX_KEY_BYTES + 1];
    if (text.len == 0 || !sl_str_to_c(text, value, sizeof value))
        return NATS_OK;
    return natsMsgHeader_Set(msg, name, value);
}

static natsStatus set_number(natsMsg *msg, const char *name, uint64_t number)
{
    char text[24];
    (void)snprintf(text, sizeof text, "%llu", (unsigned long long)number);
    return number ? natsMsgHeader_Set(msg, name, text) : NATS_OK;
}

/* A key may hold any byte; a header may not: it goes as hex. */
static natsStatus set_key(natsMsg *msg, const sl_queue_put *put)
{
    char hash[33], hex[2 * SL_QUEUE_MAX_KEY_BYTES + 1];
    if (put->idempotency_key.len == 0)
        return NATS_OK;
    sl_qn_hash_key(put->topic, put->idempotency_key, hash);
    sl_hex_encode((const uint8_t *)put->idempotency_key.ptr, put->idempotency_key.len, hex);
    hex[2 * put->idempotency_key.len] = 0;
    natsStatus status = natsMsgHeader_Set(msg, "Nats-Msg-Id", hash);
    if (status == NATS_OK)
        status = natsMsgHeader_Set(msg, "Sl-Hash", hash);
    return status == NATS_OK ? natsMsgHeader_Set(msg, "Sl-Key", hex) : status;
}

static int new_put(sl_qn *q, const sl_queue_put *put, const sl_qn_topic *topic, natsMsg **ret_msg)
{
    char subject[SL_QN_NAME_BYTES + 8];
    natsMsg *msg = NULL;
    uint64_t now_ns = sl_now_ns();
    (void)snprintf(subject, sizeof subject, "sl.q.%s", topic->coded);
    natsStatus status = natsMsg_Create(&msg, subject, NULL, put->body.ptr, (int)put->body.len);
    if (status == NATS_OK)
        status = set_number(msg, "Sl-Put", now_ns);
    if (status == NATS_OK)
        status = set_key(msg, put);
    if (status == NATS_OK)
        status = set_text(msg, "Sl-Trace", put->trace);
    if (status == NATS_OK)
        status = set_number(msg, "Sl-Priority", put->priority);
    if (status == NATS_OK)
        status = set_number(msg, "Sl-Max", put->max_deliveries ? put->max_deliveries : q->options.max_deliveries);
    if (status == NATS_OK && put->delay_ms)
        status = set_number(msg, "Sl-Ready", now_ns + put->delay_ms * 1000000u);
    if (status != NATS_OK) {
        natsMsg_Destroy(msg);
        return SL_ENOMEM;
    }
    *ret_msg = msg;
    return 0;
}

int sl_qn_put_start(sl_queue *queue, const sl_queue_put *put, sl_queue_done_fn done, void *user)
{
    sl_qn *q = sl_qn_of(queue);
    sl_qn_topic *topic;
    (void)pthread_mutex_lock(&q->lock);
    int error = sl_qn_topic_get(q, put->topic, &topic);
    (void)pthread_mutex_unlock(&q->lock);
    natsMsg *msg = NULL;
    if (!error)
        error = new_put(q, put, topic, &msg);
    sl_qn_publish *p = error ? NULL : sl_calloc(1, sizeof *p);
    if (!p) {
        natsMsg_Destroy(msg);
        return error ? error : SL_ENOMEM;
    }
    *p = (sl_qn_publish){.answered = put_answered, .topic = topic, .put_done = done, .user = user};
    return sl_qn_publish_start(q, &msg, p);
}

#endif
