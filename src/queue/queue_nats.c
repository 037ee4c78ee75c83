/* See queue.h (NATS JetStream) and queue_nats_impl.h. Without libnats: an engine that cannot be opened. */
#include "src/queue/queue.h"

#include <stdio.h>

#ifndef SL_HAVE_NATS

int sl_queue_nats_open(const sl_queue_nats_options *options, char *error, size_t error_size, sl_queue **ret_queue)
{
    (void)ret_queue;
    (void)snprintf(error, error_size, "%s: this build has no NATS client; install libnats-dev and build again",
                   options->url);
    return SL_ENOTSUP;
}

#else

#include <openssl/sha.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/queue/queue_id.h"
#include "src/queue/queue_nats_impl.h"

void sl_qn_note(sl_qn *q, const char *what, const char *text)
{
    (void)pthread_mutex_lock(&q->lock);
    (void)snprintf(q->last_error, sizeof q->last_error, "NATS: %s: %s", what, text ? text : "unknown error");
    (void)pthread_mutex_unlock(&q->lock);
}

uint64_t sl_qn_header_u64(natsMsg *msg, const char *name, uint64_t fallback)
{
    uint64_t value;
    return sl_str_to_u64(sl_qn_header(msg, name), &value) ? fallback : value;
}

/* ---- topics ---- */

static bool is_topic(sl_str name)
{
    return name.len > 0 && name.len <= SL_QUEUE_MAX_TOPIC_BYTES && sl_utf8_valid(name) &&
           sl_str_chr(name, 0) == SL_NPOS;
}

/* A subject's token of any topic: letters, digits, '_' and '-' as they are, other bytes as =XX. */
static void code_topic(sl_str name, char *text)
{
    static const char digits[] = "0123456789ABCDEF";
    for (size_t i = 0; i < name.len; i++) {
        unsigned char c = (unsigned char)name.ptr[i];
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-') {
            *text++ = (char)c;
        } else {
            *text++ = '=';
            *text++ = digits[c >> 4];
            *text++ = digits[c & 15];
        }
    }
    *text = 0;
}

int sl_qn_topic_code(sl_str name, char text[SL_QN_NAME_BYTES])
{
    if (!is_topic(name))
        return SL_EINVAL;
    code_topic(name, text);
    return 0;
}

sl_qn_topic *sl_qn_topic_find(sl_qn *q, sl_str name)
{
    sl_qn_topic *topic = q->topics;
    while (topic && !sl_str_eq_c(name, topic->stats.topic))
        topic = topic->next;
    return topic;
}

/* Finds or makes. Under the lock. */
static int topic_get(sl_qn *q, sl_str name, sl_qn_topic **ret_topic)
{
    if (!is_topic(name))
        return SL_EINVAL;
    sl_qn_topic *topic = sl_qn_topic_find(q, name);
    if (!topic) {
        if (q->topic_count >= SL_QUEUE_MAX_TOPICS)
            return SL_EAGAIN;
        topic = sl_calloc(1, sizeof *topic);
        if (!topic)
            return SL_ENOMEM;
        topic->q = q;
        topic->hungry = true;
        (void)sl_str_to_c(name, topic->stats.topic, sizeof topic->stats.topic);
        code_topic(name, topic->coded);
        for (int i = 0; i < SL_QUEUE_PRIORITIES; i++)
            topic->last[i] = &topic->first[i];
        topic->next = q->topics;
        q->topics = topic;
        q->topic_count++;
    }
    *ret_topic = topic;
    return 0;
}

static int qn_topic_make(sl_queue *queue, sl_str name)
{
    sl_qn *q = sl_qn_of(queue);
    sl_qn_topic *topic;
    (void)pthread_mutex_lock(&q->lock);
    int error = topic_get(q, name, &topic);
    (void)pthread_mutex_unlock(&q->lock);
    return error;
}

/* Other processes may have made it: every name that can be one is. */
static bool qn_topic_is(sl_queue *queue, sl_str name)
{
    return qn_topic_make(queue, name) == 0;
}

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
static void on_answer(jsCtx *js, natsMsg *msg, jsPubAck *ack, jsPubAckErr *error, void *user)
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

static void hash_key(sl_str topic, sl_str key, char ret_hex[33])
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
    hash_key(put->topic, put->idempotency_key, hash);
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

static int qn_put_start(sl_queue *queue, const sl_queue_put *put, sl_queue_done_fn done, void *user)
{
    sl_qn *q = sl_qn_of(queue);
    sl_qn_topic *topic;
    (void)pthread_mutex_lock(&q->lock);
    int error = topic_get(q, put->topic, &topic);
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

/* ---- pulling ---- */

void sl_qn_entry_free(sl_qn_entry *entry)
{
    natsMsg_Destroy(entry->msg);
    sl_free(entry);
}

void sl_qn_release(sl_qn_entry *entry)
{
    (void)natsMsg_Nak(entry->msg, NULL);
    sl_qn_entry_free(entry);
}

void sl_qn_delay(sl_qn *q, sl_qn_entry *entry, uint64_t due_ns)
{
    (void)pthread_mutex_lock(&q->lock);
    entry->due_ns = due_ns;
    entry->next = q->delayed;
    q->delayed = entry;
    entry->topic->stats.delayed++;
    (void)pthread_mutex_unlock(&q->lock);
}

static void tell_watchers(sl_qn *q, const sl_qn_topic *topic)
{
    (void)pthread_mutex_lock(&q->watch_lock);
    for (sl_qn_watcher *w = q->watchers; w; w = w->next) {
        if (w->topic == topic)
            w->fn(w->user);
    }
    (void)pthread_mutex_unlock(&q->watch_lock);
}

/* Fills an entry from a message; false: it is not for now, and has been dealt with. */
static bool receive(sl_qn *q, sl_qn_topic *topic, natsMsg *msg, sl_qn_entry *e)
{
    jsMsgMetaData *meta = NULL;
    if (natsMsg_GetMetaData(&meta, msg) != NATS_OK)
        return false;
    uint64_t ready_ns = sl_qn_header_u64(msg, "Sl-Ready", 0), now_ns = sl_now_ns();
    *e = (sl_qn_entry){
        .topic = topic, .msg = msg, .row = meta->Sequence.Stream, .delivery = (unsigned)meta->NumDelivered};
    e->put_ns = sl_qn_header_u64(msg, "Sl-Put", (uint64_t)meta->Timestamp);
    e->ready_ns = ready_ns ? ready_ns : e->delivery > 1 ? now_ns : e->put_ns;
    e->priority = (unsigned)sl_qn_header_u64(msg, "Sl-Priority", 0) % SL_QUEUE_PRIORITIES;
    e->max_deliveries = (unsigned)sl_qn_header_u64(msg, "Sl-Max", q->options.max_deliveries);
    topic->elsewhere = meta->NumPending;
    jsMsgMetaData_Destroy(meta);
    /* Its end was told, and only its removal was lost. */
    if (e->delivery > 1 && sl_qn_is_claimed(q, msg)) {
        (void)natsMsg_Ack(msg, NULL);
        return false;
    }
    return true;
}

/* Into the ready ones; true: tell the watchers. Under the lock. */
static bool push(sl_qn_topic *topic, sl_qn_entry *e)
{
    e->next = NULL;
    *topic->last[e->priority] = e;
    topic->last[e->priority] = &e->next;
    topic->stats.ready++;
    bool wake = topic->hungry;
    topic->hungry = false;
    return wake;
}

static void keep_received(sl_qn *q, sl_qn_topic *topic, natsMsg *msg)
{
    sl_qn_entry *e = sl_calloc(1, sizeof *e);
    if (!e || !receive(q, topic, msg, e)) {
        sl_free(e);
        natsMsg_Destroy(msg);
        return;
    }
    if (e->delivery > e->max_deliveries) {
        sl_qn_kill(q, e, SL_STR("delivered too often without an acknowledgement"));
        return;
    }
    uint64_t now_ns = sl_now_ns();
    if (e->ready_ns > now_ns) {
        sl_qn_delay(q, e, sl_mono_ns() + (e->ready_ns - now_ns));
        return;
    }
    (void)pthread_mutex_lock(&q->lock);
    bool wake = push(topic, e);
    (void)pthread_mutex_unlock(&q->lock);
    if (wake)
        tell_watchers(q, topic);
}

static natsSubscription *subscribe(sl_qn *q, const sl_qn_topic *topic)
{
    char subject[SL_QN_NAME_BYTES + 8], durable[40], hash[33];
    jsSubOptions options;
    natsSubscription *sub = NULL;
    jsErrCode code = 0;
    (void)snprintf(subject, sizeof subject, "sl.q.%s", topic->coded);
    hash_key(sl_str_c(topic->stats.topic), SL_STR(""), hash);
    (void)snprintf(durable, sizeof durable, "sl_%s", hash);
    (void)jsSubOptions_Init(&options);
    options.Stream = SL_QN_TASKS;
    options.Config.AckPolicy = js_AckExplicit;
    options.Config.AckWait = (int64_t)q->options.ack_wait_ms * 1000000;
    options.Config.MaxDeliver = -1;
    options.Config.MaxAckPending = 20000;
    natsStatus status = js_PullSubscribe(&sub, q->js, subject, durable, NULL, &options, &code);
    if (status == NATS_OK)
        return sub;
    sl_qn_note(q, topic->stats.topic, natsStatus_GetText(status));
    return NULL;
}

/* Waits until fewer than SL_QN_AHEAD are here; how many more there may be, 0: closing. */
static int wait_for_room(sl_qn *q, const sl_qn_topic *topic)
{
    (void)pthread_mutex_lock(&q->lock);
    while (!q->closing && topic->stats.ready >= SL_QN_AHEAD)
        (void)pthread_cond_wait(&q->room, &q->lock);
    int room = q->closing ? 0 : (int)(SL_QN_AHEAD - topic->stats.ready);
    (void)pthread_mutex_unlock(&q->lock);
    return room;
}

static void *pull(void *user)
{
    sl_qn_topic *topic = user;
    sl_qn *q = topic->q;
    int room;
    while ((room = wait_for_room(q, topic)) > 0) {
        natsMsgList list = {NULL, 0};
        if (!topic->sub)
            topic->sub = subscribe(q, topic);
        jsErrCode code = 0;
        /* Held open by the broker until there is something. */
        natsStatus status = topic->sub ? natsSubscription_Fetch(&list, topic->sub, room, 500, &code) : NATS_ERR;
        for (int i = 0; i < list.Count; i++) {
            keep_received(q, topic, list.Msgs[i]);
            list.Msgs[i] = NULL;
        }
        natsMsgList_Destroy(&list);
        if (status != NATS_OK && status != NATS_TIMEOUT) {
            sl_qn_note(q, "fetch", natsStatus_GetText(status));
            nats_Sleep(100);
        }
    }
    return NULL;
}

static int start_pulling(sl_qn_topic *topic)
{
    if (topic->pulling)
        return 0;
    int error = sl_thread_start(&topic->puller, pull, topic);
    topic->pulling = !error;
    return error;
}

/* ---- takes ---- */

static sl_qn_entry *pop(sl_qn_topic *topic)
{
    for (int i = SL_QUEUE_PRIORITIES - 1; i >= 0; i--) {
        sl_qn_entry *e = topic->first[i];
        if (!e)
            continue;
        topic->first[i] = e->next;
        if (!e->next)
            topic->last[i] = &topic->first[i];
        topic->stats.ready--;
        return e;
    }
    return NULL;
}

static int hand_out(sl_qn *q, sl_qn_entry *e, sl_q_taken *t)
{
    sl_str key = sl_qn_header(e->msg, "Sl-Key"), trace = sl_qn_header(e->msg, "Sl-Trace");
    sl_str body = sl_str_of(natsMsg_GetData(e->msg), (size_t)natsMsg_GetDataLength(e->msg));
    size_t key_len = key.len / 2;
    t->bytes = sl_malloc(trace.len + key_len + body.len + 1);
    if (!t->bytes)
        return SL_ENOMEM;
    if (trace.len)
        memcpy(t->bytes, trace.ptr, trace.len);
    if (sl_hex_decode(key, (uint8_t *)t->bytes + trace.len, key_len))
        key_len = 0;
    if (body.len)
        memcpy(t->bytes + trace.len + key_len, body.ptr, body.len);
    sl_queue_id_format(q->head, e->row & SL_QUEUE_ROW_MASK, t->pub.id);
    t->pub.topic = sl_str_c(e->topic->stats.topic);
    t->pub.trace = sl_str_of(t->bytes, trace.len);
    t->pub.idempotency_key = sl_str_of(t->bytes + trace.len, key_len);
    t->pub.body = sl_str_of(t->bytes + trace.len + key_len, body.len);
    t->pub.lease = e->lease;
    t->pub.delivery = e->delivery;
    t->pub.priority = e->priority;
    t->pub.put_ns = e->put_ns;
    t->pub.ready_ns = e->ready_ns;
    t->pub.taken_ns = sl_now_ns();
    return 0;
}

void sl_qn_put_back(sl_qn *q, sl_qn_entry *e)
{
    sl_qn_entry **bucket = &q->leased[e->lease % SL_QN_BUCKETS];
    e->next = *bucket;
    *bucket = e;
    e->topic->stats.leased++;
}

static int qn_take(sl_queue *queue, sl_str name, uint64_t lease_ms, sl_queue_message **ret_message)
{
    sl_qn *q = sl_qn_of(queue);
    sl_qn_topic *topic;
    sl_q_taken *t = sl_calloc(1, sizeof *t);
    if (!t)
        return SL_ENOMEM;
    (void)pthread_mutex_lock(&q->lock);
    int error = q->closing ? SL_ECLOSED : topic_get(q, name, &topic);
    if (!error)
        error = start_pulling(topic);
    sl_qn_entry *e = error ? NULL : pop(topic);
    if (e) {
        e->lease = q->next_lease++;
        e->due_ns = sl_deadline_ns(lease_ms);
        topic->stats.taken++;
        topic->stats.redelivered += e->delivery > 1;
        error = hand_out(q, e, t);
        sl_qn_put_back(q, e); /* without memory it is there until its lease ends */
        (void)pthread_cond_broadcast(&q->room);
    } else if (!error) {
        topic->hungry = true;
        error = SL_EAGAIN;
    }
    (void)pthread_mutex_unlock(&q->lock);
    if (error)
        sl_free(t);
    else
        *ret_message = &t->pub;
    return error;
}

static int qn_watch(sl_queue *queue, sl_str name, void (*fn)(void *user), void *user)
{
    sl_qn *q = sl_qn_of(queue);
    sl_qn_watcher *w = sl_calloc(1, sizeof *w);
    if (!w)
        return SL_ENOMEM;
    (void)pthread_mutex_lock(&q->watch_lock);
    (void)pthread_mutex_lock(&q->lock);
    int result = topic_get(q, name, &w->topic);
    if (!result)
        result = start_pulling(w->topic);
    if (!result)
        w->topic->hungry = true;
    (void)pthread_mutex_unlock(&q->lock);
    if (!result) {
        *w = (sl_qn_watcher){q->watchers, ++q->last_watcher, w->topic, fn, user};
        q->watchers = w;
        result = w->id;
    } else {
        sl_free(w);
    }
    (void)pthread_mutex_unlock(&q->watch_lock);
    return result;
}

static void qn_unwatch(sl_queue *queue, int id)
{
    sl_qn *q = sl_qn_of(queue);
    (void)pthread_mutex_lock(&q->watch_lock);
    for (sl_qn_watcher **at = &q->watchers; *at; at = &(*at)->next) {
        if ((*at)->id == id) {
            sl_qn_watcher *gone = *at;
            *at = gone->next;
            sl_free(gone);
            break;
        }
    }
    (void)pthread_mutex_unlock(&q->watch_lock);
}

/* ---- the keeper ---- */

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
        if (push(e->topic, e))
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
            tell_watchers(q, topic);
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

static void *keep(void *user)
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

/* ---- figures ---- */

static size_t qn_get_stats(sl_queue *queue, sl_queue_topic_stats *stats, size_t max)
{
    sl_qn *q = sl_qn_of(queue);
    size_t count = 0;
    (void)pthread_mutex_lock(&q->lock);
    for (const sl_qn_topic *topic = q->topics; topic; topic = topic->next, count++) {
        if (count < max) {
            stats[count] = topic->stats;
            stats[count].ready += topic->elsewhere;
        }
    }
    (void)pthread_mutex_unlock(&q->lock);
    return count;
}

static void qn_get_disk_stats(sl_queue *queue, sl_queue_disk_stats *ret_stats)
{
    (void)queue;
    *ret_stats = (sl_queue_disk_stats){.commits = 0}; /* the broker's */
}

static void qn_last_error(sl_queue *queue, char *text, size_t size)
{
    sl_qn *q = sl_qn_of(queue);
    (void)pthread_mutex_lock(&q->lock);
    (void)snprintf(text, size, "%s", q->last_error);
    (void)pthread_mutex_unlock(&q->lock);
}

/* ---- life ---- */

/* Makes a stream, or takes the one that is there. */
static natsStatus make_stream(sl_qn *q, const char *name, const char *subject,
                              void (*more)(const sl_qn *, jsStreamConfig *))
{
    jsStreamConfig config;
    jsStreamInfo *info = NULL;
    jsErrCode code = 0;
    const char *subjects[1] = {subject};
    (void)jsStreamConfig_Init(&config);
    config.Name = name;
    config.Subjects = subjects;
    config.SubjectsLen = 1;
    config.Storage = js_FileStorage;
    config.Replicas = q->options.replicas;
    config.AllowDirect = true;
    more(q, &config);
    natsStatus status = js_AddStream(&info, q->js, &config, NULL, &code);
    if (status != NATS_OK) { /* there, and made with other options */
        jsStreamInfo_Destroy(info);
        info = NULL;
        status = js_GetStreamInfo(&info, q->js, name, NULL, &code);
    }
    if (status == NATS_OK && strcmp(name, SL_QN_TASKS) == 0)
        q->head = sl_queue_id_head((uint64_t)info->Created / 1000000u, 0);
    jsStreamInfo_Destroy(info);
    return status;
}

static void as_tasks(const sl_qn *q, jsStreamConfig *config)
{
    (void)q;
    config->Retention = js_WorkQueuePolicy;
    config->Duplicates = 120ll * 1000000000;
}

static void as_done(const sl_qn *q, jsStreamConfig *config)
{
    config->MaxAge = (int64_t)q->options.key_retention_ms * 1000000;
    config->MaxMsgsPerSubject = 1;
    config->Discard = js_DiscardNew;
    config->DiscardNewPerSubject = true;
    config->Duplicates = 1000000000;
}

static void as_dead(const sl_qn *q, jsStreamConfig *config)
{
    (void)q;
    (void)config;
}

/* The servers of a list with commas; all of them are tried. */
static natsStatus set_servers(natsOptions *options, const char *urls)
{
    char text[4096];
    const char *servers[SL_QN_SERVERS];
    int count = 0;
    if (!sl_str_to_c(sl_str_c(urls), text, sizeof text))
        return NATS_INVALID_ARG;
    char *rest = NULL;
    for (char *one = strtok_r(text, ", ", &rest); one && count < SL_QN_SERVERS; one = strtok_r(NULL, ", ", &rest))
        servers[count++] = one;
    return natsOptions_SetServers(options, servers, count);
}

static natsStatus connect_to(sl_qn *q, const char *url)
{
    natsOptions *options = NULL;
    jsOptions js;
    natsStatus status = natsOptions_Create(&options);
    if (status == NATS_OK)
        status = set_servers(options, url);
    if (status == NATS_OK)
        status = natsOptions_SetMaxReconnect(options, -1);
    if (status == NATS_OK)
        status = natsOptions_SetReconnectWait(options, 100);
    if (status == NATS_OK)
        status = natsOptions_SetName(options, "sightline");
    if (status == NATS_OK)
        status = natsConnection_Connect(&q->nc, options);
    natsOptions_Destroy(options);
    (void)jsOptions_Init(&js);
    js.Wait = SL_QN_WAIT_MS;
    js.PublishAsync.MaxPending = 2 * SL_QN_PENDING;
    js.PublishAsync.AckHandler = on_answer;
    js.PublishAsync.AckHandlerClosure = q;
    if (status == NATS_OK)
        status = natsConnection_JetStream(&q->js, q->nc, &js);
    if (status == NATS_OK)
        status = natsInbox_Create(&q->inbox);
    char subject[128];
    (void)snprintf(subject, sizeof subject, "%s.*", q->inbox ? q->inbox : "");
    if (status == NATS_OK)
        status = natsConnection_Subscribe(&q->confirmations, q->nc, subject, sl_qn_on_confirmation, q);
    return status;
}

/* Three where the cluster has as many nodes, as far as it is known. */
static unsigned count_replicas(sl_qn *q)
{
    char **servers = NULL;
    int count = 0;
    if (natsConnection_GetServers(q->nc, &servers, &count) != NATS_OK)
        return 1;
    for (int i = 0; i < count; i++)
        free(servers[i]);
    free(servers);
    return count >= 3 ? 3 : 1;
}

static natsStatus make_streams(sl_qn *q)
{
    if (!q->options.replicas)
        q->options.replicas = count_replicas(q);
    natsStatus status = make_stream(q, SL_QN_TASKS, "sl.q.>", as_tasks);
    if (status == NATS_OK)
        status = make_stream(q, SL_QN_DONE, "sl.d.>", as_done);
    return status == NATS_OK ? make_stream(q, SL_QN_DEAD, "sl.x.>", as_dead) : status;
}

static void give_all_back(sl_qn *q)
{
    for (size_t i = 0; i < SL_QN_BUCKETS; i++) {
        while (q->leased[i]) {
            sl_qn_entry *e = q->leased[i];
            q->leased[i] = e->next;
            sl_qn_release(e);
        }
    }
    while (q->delayed) {
        sl_qn_entry *e = q->delayed;
        q->delayed = e->next;
        sl_qn_release(e);
    }
    while (q->topics) {
        sl_qn_topic *topic = q->topics;
        sl_qn_entry *e;
        while ((e = pop(topic)) != NULL)
            sl_qn_release(e);
        q->topics = topic->next;
        natsSubscription_Destroy(topic->sub);
        sl_free(topic);
    }
}

static void free_all(sl_qn *q)
{
    give_all_back(q);
    if (q->nc)
        (void)natsConnection_FlushTimeout(q->nc, 1000);
    natsSubscription_Destroy(q->confirmations);
    natsInbox_Destroy(q->inbox);
    jsCtx_Destroy(q->js);
    natsConnection_Destroy(q->nc);
    while (q->watchers) {
        sl_qn_watcher *next = q->watchers->next;
        sl_free(q->watchers);
        q->watchers = next;
    }
    (void)pthread_cond_destroy(&q->room);
    (void)pthread_cond_destroy(&q->wake);
    (void)pthread_cond_destroy(&q->quiet);
    (void)pthread_mutex_destroy(&q->lock);
    (void)pthread_mutex_destroy(&q->watch_lock);
    sl_free(q);
}

static void qn_close(sl_queue *queue)
{
    sl_qn *q = sl_qn_of(queue);
    uint64_t deadline = sl_deadline_ns(SL_QN_WAIT_MS + 1000);
    sl_qn_hush(q);
    (void)pthread_mutex_lock(&q->lock);
    q->closing = true;
    (void)pthread_cond_broadcast(&q->room);
    (void)pthread_cond_signal(&q->wake);
    while (q->publishing && sl_mono_ns() < deadline)
        (void)sl_cond_wait_until(&q->quiet, &q->lock, deadline);
    (void)pthread_mutex_unlock(&q->lock);
    (void)pthread_join(q->keeper, NULL);
    for (sl_qn_topic *topic = q->topics; topic; topic = topic->next) {
        if (topic->pulling)
            (void)pthread_join(topic->puller, NULL);
    }
    free_all(q);
}

static const sl_queue_engine nats_engine = {
    .topic_make = qn_topic_make,
    .topic_is = qn_topic_is,
    .put_start = qn_put_start,
    .take = qn_take,
    .watch = qn_watch,
    .unwatch = qn_unwatch,
    .ack = sl_qn_ack,
    .nack = sl_qn_nack,
    .extend = sl_qn_extend,
    .tell = sl_qn_tell,
    .hear = sl_qn_hear,
    .hear_dead = sl_qn_hear_dead,
    .dead_list = sl_qn_dead_list,
    .dead_requeue = sl_qn_dead_requeue,
    .dead_purge = sl_qn_dead_purge,
    .get_stats = qn_get_stats,
    .get_disk_stats = qn_get_disk_stats,
    .last_error = qn_last_error,
    .close = qn_close,
};

static sl_qn *new_queue(const sl_queue_nats_options *options)
{
    sl_qn *q = sl_calloc(1, sizeof *q);
    if (!q || sl_cond_init(&q->room) || sl_cond_init(&q->wake) || sl_cond_init(&q->quiet)) {
        sl_free(q);
        return NULL;
    }
    q->base.engine = &nats_engine;
    q->options = *options;
    q->options.url = NULL;
    if (!q->options.key_retention_ms)
        q->options.key_retention_ms = 24u * 3600 * 1000;
    if (!q->options.ack_wait_ms)
        q->options.ack_wait_ms = 30000;
    if (!q->options.max_deliveries)
        q->options.max_deliveries = 5;
    q->next_lease = sl_now_ns();
    sl_rng_init(&q->rng);
    (void)pthread_mutex_init(&q->lock, NULL);
    (void)pthread_mutex_init(&q->watch_lock, NULL);
    return q;
}

int sl_queue_nats_open(const sl_queue_nats_options *options, char *error, size_t error_size, sl_queue **ret_queue)
{
    SL_ASSERT(options && options->url && error && error_size && ret_queue);
    (void)snprintf(error, error_size, "%s: out of memory", options->url);
    sl_qn *q = new_queue(options);
    if (!q)
        return SL_ENOMEM;
    int result = SL_ECONNECT;
    natsStatus status = connect_to(q, options->url);
    if (status == NATS_OK) {
        result = SL_EIO;
        status = make_streams(q);
    }
    if (status == NATS_OK) {
        result = sl_thread_start(&q->keeper, keep, q);
    } else {
        const char *why = nats_GetLastError(NULL);
        (void)snprintf(error, error_size, "%s: %s (%s); is it a nats-server with JetStream, of 2.9 or later?",
                       options->url, natsStatus_GetText(status), why ? why : "");
    }
    if (result) {
        free_all(q);
        return result;
    }
    error[0] = 0;
    *ret_queue = (sl_queue *)(void *)q;
    return 0;
}

#endif
