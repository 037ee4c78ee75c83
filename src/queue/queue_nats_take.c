/* What is fetched ahead from the cluster, by a thread for each topic, and handed out. */
#ifdef SL_HAVE_NATS

#include <stdio.h>

#include "src/base/mem.h"
#include "src/queue/queue_id.h"
#include "src/queue/queue_nats_impl.h"

/* ---- pulling ---- */

void sl_qn_entry_free(sl_qn_entry *entry)
{
    natsMsg_Destroy(entry->msg);
    sl_free(entry);
}

/* By hand: the library's own call wants the subscription that the message came from. */
static void give_back(sl_qn *q, natsMsg *msg)
{
    static const char nak[] = "-NAK";
    const char *reply = natsMsg_GetReply(msg);
    if (reply)
        (void)natsConnection_Publish(q->nc, reply, nak, sizeof nak - 1);
}

void sl_qn_release(sl_qn *q, sl_qn_entry *entry)
{
    give_back(q, entry->msg);
    sl_qn_entry_free(entry);
}

/* What has come that nobody has fetched. The broker's own words stand among it, and a fetch may bring more of them: no
 * more is looked at than is here now. */
static void give_back_queued(sl_qn *q, natsSubscription *sub)
{
    int pending = 0, bytes = 0;
    (void)natsSubscription_GetPending(sub, &pending, &bytes);
    for (int left = pending; left > 0 && pending > 0; left--) {
        natsMsgList list = {NULL, 0};
        jsErrCode code = 0;
        if (natsSubscription_Fetch(&list, sub, 1, 10, &code) == NATS_OK && list.Count == 1)
            give_back(q, list.Msgs[0]);
        natsMsgList_Destroy(&list);
        if (natsSubscription_GetPending(sub, &pending, &bytes) != NATS_OK)
            return;
    }
}

void sl_qn_stop_pulling(sl_qn *q)
{
    for (sl_qn_topic *topic = q->topics; topic; topic = topic->next) {
        if (topic->pulling)
            (void)pthread_join(topic->puller, NULL);
        if (topic->sub)
            give_back_queued(q, topic->sub);
        natsSubscription_Destroy(topic->sub);
        topic->sub = NULL;
    }
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

void sl_qn_tell_watchers(sl_qn *q, const sl_qn_topic *topic)
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
    (void)pthread_mutex_lock(&q->lock);
    topic->elsewhere = meta->NumPending;
    (void)pthread_mutex_unlock(&q->lock);
    jsMsgMetaData_Destroy(meta);
    /* Its end was told, and only its removal was lost. */
    if (e->delivery > 1 && sl_qn_is_claimed(q, msg)) {
        (void)natsMsg_Ack(msg, NULL);
        return false;
    }
    return true;
}

/* Into the ready ones; true: tell the watchers. Under the lock. */
bool sl_qn_push(sl_qn_topic *topic, sl_qn_entry *e)
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
    bool wake = sl_qn_push(topic, e);
    (void)pthread_mutex_unlock(&q->lock);
    if (wake)
        sl_qn_tell_watchers(q, topic);
}

#define FETCH_MS 500
#define DURABLE_BYTES 40

static void durable_of(const sl_qn_topic *topic, char durable[DURABLE_BYTES])
{
    char hash[33];
    sl_qn_hash_key(sl_str_c(topic->stats.topic), SL_STR(""), hash);
    (void)snprintf(durable, DURABLE_BYTES, "sl_%s", hash);
}

static natsSubscription *subscribe(sl_qn *q, const sl_qn_topic *topic)
{
    char subject[SL_QN_NAME_BYTES + 8], durable[DURABLE_BYTES];
    jsSubOptions options;
    natsSubscription *sub = NULL;
    jsErrCode code = 0;
    (void)snprintf(subject, sizeof subject, "sl.q.%s", topic->coded);
    durable_of(topic, durable);
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

/* The broker sends up to `count` messages, now or within the time; they wait in the subscription. */
static void ask_for(sl_qn_topic *topic, int count)
{
    char subject[128], durable[DURABLE_BYTES], text[80];
    durable_of(topic, durable);
    (void)snprintf(subject, sizeof subject, "$JS.API.CONSUMER.MSG.NEXT." SL_QN_TASKS ".%s", durable);
    (void)snprintf(text, sizeof text, "{\"batch\":%d,\"expires\":%llu}", count, FETCH_MS * 1000000ull);
    natsStatus status = natsConnection_PublishRequest(topic->q->nc, subject, natsSubscription_GetSubject(topic->sub),
                                                      text, (int)strlen(text));
    topic->asked = status == NATS_OK ? count : 0;
    topic->asked_until_ns = sl_mono_ns() + FETCH_MS * 1000000ull;
}

/*
 * One message, which the broker holds back until there is one. More of them are asked for beside it and taken one by
 * one: a fetch of several that finds some of them here already, come late for the one before, writes more than were
 * asked for behind the end of its list (libnats 3.4; a fetch of one cannot).
 */
static natsStatus fetch(sl_qn_topic *topic, int room, natsMsgList *list)
{
    int pending = 0, bytes = 0;
    jsErrCode code = 0;
    (void)natsSubscription_GetPending(topic->sub, &pending, &bytes);
    if (pending == 0 && room > 1 && (topic->asked <= 0 || sl_mono_ns() >= topic->asked_until_ns))
        ask_for(topic, room - 1);
    natsStatus status = natsSubscription_Fetch(list, topic->sub, 1, FETCH_MS, &code);
    topic->asked -= list->Count;
    return status;
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
        natsStatus status = topic->sub ? fetch(topic, room, &list) : NATS_ERR;
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

sl_qn_entry *sl_qn_pop(sl_qn_topic *topic)
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

int sl_qn_take(sl_queue *queue, sl_str name, uint64_t lease_ms, sl_queue_message **ret_message)
{
    sl_qn *q = sl_qn_of(queue);
    sl_qn_topic *topic;
    sl_q_taken *t = sl_calloc(1, sizeof *t);
    if (!t)
        return SL_ENOMEM;
    (void)pthread_mutex_lock(&q->lock);
    int error = q->closing ? SL_ECLOSED : sl_qn_topic_get(q, name, &topic);
    if (!error)
        error = start_pulling(topic);
    sl_qn_entry *e = error ? NULL : sl_qn_pop(topic);
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

int sl_qn_watch(sl_queue *queue, sl_str name, void (*fn)(void *user), void *user)
{
    sl_qn *q = sl_qn_of(queue);
    sl_qn_watcher *w = sl_calloc(1, sizeof *w);
    if (!w)
        return SL_ENOMEM;
    (void)pthread_mutex_lock(&q->watch_lock);
    (void)pthread_mutex_lock(&q->lock);
    int result = sl_qn_topic_get(q, name, &w->topic);
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

void sl_qn_unwatch(sl_queue *queue, int id)
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

#endif
