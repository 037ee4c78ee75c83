/*
 * See queue_nats_impl.h: acknowledgements, what is given back, dead letters.
 *
 * The end of a message with a key is a message of its own, whose subject is the key's and may hold one message only:
 * whoever is stored has ended it. The removal of the message itself comes after that, and may be lost: then it is
 * delivered again, found to be claimed, and removed. A message without a key is ended by its removal, confirmed by the
 * broker.
 */
#ifdef SL_HAVE_NATS

#include <stdio.h>

#include "src/base/mem.h"
#include "src/queue/queue_id.h"
#include "src/queue/queue_nats_impl.h"

sl_qn_entry *sl_qn_find(sl_qn *q, const char *id, uint64_t lease, bool take)
{
    uint64_t head, row;
    if (sl_queue_id_parse(sl_str_c(id), &head, &row))
        return NULL;
    sl_qn_entry **at = &q->leased[lease % SL_QN_BUCKETS];
    while (*at && ((*at)->lease != lease || (*at)->row != row))
        at = &(*at)->next;
    sl_qn_entry *e = *at;
    if (!e || e->ending || head != q->head)
        return NULL;
    if (take) {
        *at = e->next;
        e->topic->stats.leased--;
    }
    return e;
}

/* ---- claims ---- */

bool sl_qn_claim_subject(natsMsg *msg, char *subject, size_t size)
{
    sl_str hash = sl_qn_header(msg, "Sl-Hash");
    if (hash.len != 32)
        return false;
    (void)snprintf(subject, size, "sl.d.%.*s", (int)hash.len, hash.ptr);
    return true;
}

bool sl_qn_is_claimed(sl_qn *q, natsMsg *msg)
{
    char subject[64];
    natsMsg *claim = NULL;
    jsErrCode code = 0;
    if (!sl_qn_claim_subject(msg, subject, sizeof subject))
        return false;
    bool claimed = js_GetLastMsg(&claim, q->js, SL_QN_DONE, subject, NULL, &code) == NATS_OK;
    natsMsg_Destroy(claim);
    return claimed;
}

/* ---- acknowledgements ---- */

static void take_out(sl_qn *q, sl_qn_entry *e)
{
    (void)pthread_mutex_lock(&q->lock);
    sl_qn_entry **at = &q->leased[e->lease % SL_QN_BUCKETS];
    while (*at != e)
        at = &(*at)->next;
    *at = e->next;
    e->topic->stats.leased--;
    (void)pthread_mutex_unlock(&q->lock);
}

/* The text of a claim: of this process and this delivery alone. */
static void claim_text(const sl_qn *q, const sl_qn_entry *e, char text[SL_QN_CLAIM_BYTES])
{
    (void)snprintf(text, SL_QN_CLAIM_BYTES, "%.*s.%llu", SL_QN_CLAIM_BYTES - 24, (const char *)q->inbox,
                   (unsigned long long)e->lease);
}

/*
 * Whose claim is it that was stored? One that the broker stored and did not answer in time is this delivery's own:
 * asked again, it has succeeded. `SL_EIO`: the broker does not say.
 */
static int look_whose(sl_qn *q, const sl_qn_entry *e)
{
    char subject[64], text[SL_QN_CLAIM_BYTES];
    natsMsg *stored = NULL;
    jsErrCode code = 0;
    if (!sl_qn_claim_subject(e->msg, subject, sizeof subject))
        return SL_ENOENT;
    natsStatus status = js_GetLastMsg(&stored, q->js, SL_QN_DONE, subject, NULL, &code);
    if (status != NATS_OK)
        return status == NATS_NOT_FOUND ? SL_ENOENT : SL_EIO;
    claim_text(q, e, text);
    sl_str found = sl_str_of(natsMsg_GetData(stored), (size_t)natsMsg_GetDataLength(stored));
    bool own = sl_str_eq_c(found, text);
    natsMsg_Destroy(stored);
    return own ? 0 : SL_ENOENT;
}

/* Of the broker's answers to a claim, the one that says that the subject is taken. */
static bool is_taken(const jsPubAckErr *error)
{
    return error && error->ErrText && strstr(error->ErrText, "per subject");
}

static void claim_answered(sl_qn_publish *p, const jsPubAck *ack, const jsPubAckErr *error)
{
    sl_qn *q = p->q;
    sl_qn_entry *e = p->entry;
    int result = ack ? 0 : !is_taken(error) ? SL_EIO : e->asked ? look_whose(q, e) : SL_ENOENT;
    e->asked = true;
    if (result == SL_EIO) { /* not known: it may be asked again, until its lease ends */
        (void)pthread_mutex_lock(&q->lock);
        e->ending = false;
        (void)pthread_mutex_unlock(&q->lock);
    } else {
        take_out(q, e);
        (void)natsMsg_Ack(e->msg, NULL);
        (void)pthread_mutex_lock(&q->lock);
        e->topic->stats.acked += result == 0;
        (void)pthread_mutex_unlock(&q->lock);
        sl_qn_entry_free(e);
    }
    if (p->end_done)
        p->end_done(p->user, result);
}

static int claim(sl_qn *q, sl_qn_entry *e, const char *subject, sl_queue_end_fn done, void *user)
{
    natsMsg *msg = NULL;
    char text[SL_QN_CLAIM_BYTES];
    claim_text(q, e, text);
    sl_qn_publish *p = sl_calloc(1, sizeof *p);
    if (!p || natsMsg_Create(&msg, subject, NULL, text, (int)strlen(text)) != NATS_OK) {
        sl_free(p);
        return SL_ENOMEM;
    }
    *p = (sl_qn_publish){.answered = claim_answered, .entry = e, .end_done = done, .user = user};
    return sl_qn_publish_start(q, &msg, p);
}

void sl_qn_on_confirmation(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *user)
{
    sl_qn *q = user;
    const char *dot = strrchr(natsMsg_GetSubject(msg), '.');
    uint64_t lease = 0;
    (void)nc;
    (void)sub;
    bool known = dot && sl_str_to_u64(sl_str_c(dot + 1), &lease) == 0;
    (void)pthread_mutex_lock(&q->lock);
    sl_qn_entry **at = &q->leased[lease % SL_QN_BUCKETS], *e = NULL;
    while (*at && (*at)->lease != lease)
        at = &(*at)->next;
    if (known && *at && (*at)->answer_by_ns) {
        e = *at;
        *at = e->next;
        e->topic->stats.leased--;
        e->topic->stats.acked++;
    }
    (void)pthread_mutex_unlock(&q->lock);
    natsMsg_Destroy(msg);
    if (!e)
        return;
    if (e->end_done)
        e->end_done(e->end_user, 0);
    sl_qn_entry_free(e);
    sl_qn_publish_over(q);
}

/* A message without a key: its removal, which the broker confirms. */
static int remove_plain(sl_qn *q, sl_qn_entry *e, sl_queue_end_fn done, void *user)
{
    char reply[128];
    (void)pthread_mutex_lock(&q->lock);
    e->end_done = done;
    e->end_user = user;
    e->answer_by_ns = sl_deadline_ns(SL_QN_WAIT_MS);
    (void)snprintf(reply, sizeof reply, "%s.%llu", q->inbox, (unsigned long long)e->lease);
    q->publishing++;
    /* Under the lock: the answer may come at once, and the entry is gone then. */
    natsStatus status = natsConnection_PublishRequest(q->nc, natsMsg_GetReply(e->msg), reply, "+ACK", 4);
    if (status != NATS_OK)
        e->answer_by_ns = 0;
    (void)pthread_mutex_unlock(&q->lock);
    if (status == NATS_OK)
        return 0;
    sl_qn_note(q, "ack", natsStatus_GetText(status));
    sl_qn_publish_over(q);
    return SL_EAGAIN;
}

int sl_qn_ack(sl_queue *queue, const char *id, uint64_t lease, sl_queue_end_fn done, void *user)
{
    sl_qn *q = sl_qn_of(queue);
    char subject[64];
    (void)pthread_mutex_lock(&q->lock);
    sl_qn_entry *e = sl_qn_find(q, id, lease, false);
    if (e)
        e->ending = true;
    (void)pthread_mutex_unlock(&q->lock);
    if (!e)
        return SL_ENOENT;
    int error = sl_qn_claim_subject(e->msg, subject, sizeof subject) ? claim(q, e, subject, done, user)
                                                                     : remove_plain(q, e, done, user);
    if (error) {
        (void)pthread_mutex_lock(&q->lock);
        e->ending = false;
        (void)pthread_mutex_unlock(&q->lock);
    }
    return error;
}

/* ---- giving back ---- */

int sl_qn_nack(sl_queue *queue, const char *id, uint64_t lease, uint64_t delay_ms, bool dead, sl_str reason)
{
    sl_qn *q = sl_qn_of(queue);
    (void)pthread_mutex_lock(&q->lock);
    sl_qn_entry *e = sl_qn_find(q, id, lease, true);
    (void)pthread_mutex_unlock(&q->lock);
    if (!e)
        return SL_ENOENT;
    if (dead || e->delivery >= e->max_deliveries)
        sl_qn_kill(q, e, reason.len ? reason : SL_STR("given back by its last consumer"));
    else {
        e->delivery++;
        sl_qn_delay(q, e, delay_ms ? sl_deadline_ns(delay_ms) : 0);
    }
    return 0;
}

int sl_qn_extend(sl_queue *queue, const char *id, uint64_t lease, uint64_t lease_ms)
{
    sl_qn *q = sl_qn_of(queue);
    (void)pthread_mutex_lock(&q->lock);
    sl_qn_entry *e = sl_qn_find(q, id, lease, false);
    if (e)
        e->due_ns = sl_deadline_ns(lease_ms);
    (void)pthread_mutex_unlock(&q->lock);
    return e ? 0 : SL_ENOENT;
}

/* ---- dead letters ---- */

/* Once more: the next taking finds that it has been delivered too often. */
static void try_later(sl_qn *q, sl_qn_entry *e)
{
    if (e->delivery <= e->max_deliveries)
        e->delivery = e->max_deliveries + 1;
    sl_qn_delay(q, e, sl_deadline_ns(1000));
}

static void kill_answered(sl_qn_publish *p, const jsPubAck *ack, const jsPubAckErr *error)
{
    (void)error;
    if (!ack) {
        try_later(p->q, p->entry);
        return;
    }
    (void)pthread_mutex_lock(&p->q->lock);
    p->entry->topic->stats.dead += !ack->Duplicate;
    (void)pthread_mutex_unlock(&p->q->lock);
    (void)natsMsg_Ack(p->entry->msg, NULL);
    sl_qn_entry_free(p->entry);
}

/* A copy with the headers that a dead letter keeps. NULL without memory. */
static natsMsg *dead_copy(const sl_qn *q, sl_qn_entry *e, const char *subject, sl_str reason)
{
    static const char *const kept[] = {"Sl-Key", "Sl-Hash", "Sl-Trace", "Sl-Put", "Sl-Priority", "Sl-Max"};
    natsMsg *msg = NULL;
    char id[SL_QUEUE_ID_BYTES], number[24], text[SL_QUEUE_MAX_REASON_BYTES + 1];
    if (natsMsg_Create(&msg, subject, NULL, natsMsg_GetData(e->msg), natsMsg_GetDataLength(e->msg)) != NATS_OK)
        return NULL;
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        sl_str value = sl_qn_header(e->msg, kept[i]);
        if (value.len)
            (void)natsMsgHeader_Set(msg, kept[i], value.ptr);
    }
    (void)sl_str_to_c(reason, text, sizeof text);
    for (char *c = text; *c; c++) {
        if ((unsigned char)*c < 0x20)
            *c = ' '; /* a header is one line */
    }
    sl_queue_id_format(q->head, e->row & SL_QUEUE_ROW_MASK, id);
    (void)snprintf(number, sizeof number, "%u", e->delivery);
    (void)natsMsgHeader_Set(msg, "Nats-Msg-Id", id); /* killed once, whoever does it */
    (void)natsMsgHeader_Set(msg, "Sl-Reason", text);
    (void)natsMsgHeader_Set(msg, "Sl-Deliveries", number);
    return msg;
}

void sl_qn_kill(sl_qn *q, sl_qn_entry *e, sl_str reason)
{
    char subject[SL_QN_NAME_BYTES + 8];
    (void)snprintf(subject, sizeof subject, "sl.x.%s", e->topic->coded);
    natsMsg *msg = dead_copy(q, e, subject, reason);
    sl_qn_publish *p = msg ? sl_calloc(1, sizeof *p) : NULL;
    if (!p) {
        natsMsg_Destroy(msg);
        try_later(q, e);
        return;
    }
    *p = (sl_qn_publish){.answered = kill_answered, .entry = e};
    if (sl_qn_publish_start(q, &msg, p))
        try_later(q, e);
}

/* The dead letter of a topic that stands at `row` or first behind it. SL_ENOENT: none; SL_EIO: the cluster does not
 * say.
 */
static int next_dead(sl_qn *q, const char *subject, uint64_t row, natsMsg **ret_msg)
{
    jsDirectGetMsgOptions options;
    (void)jsDirectGetMsgOptions_Init(&options);
    options.Sequence = row;
    options.NextBySubject = subject;
    natsStatus status = js_DirectGetMsg(ret_msg, q->js, SL_QN_DEAD, NULL, &options);
    if (status == NATS_OK)
        return 0;
    if (status == NATS_NOT_FOUND)
        return SL_ENOENT;
    sl_qn_note(q, "dead letters", natsStatus_GetText(status));
    return SL_EIO;
}

/* Subject and row of a call about dead letters: those that another process, or an earlier one, has left are there too.
 */
static int dead_place(sl_str name, sl_str id, char *subject, size_t size, uint64_t *ret_row)
{
    char coded[SL_QN_NAME_BYTES];
    uint64_t head;
    *ret_row = 0;
    if ((id.len && sl_queue_id_parse(id, &head, ret_row)) || sl_qn_topic_code(name, coded))
        return SL_EINVAL;
    (void)snprintf(subject, size, "sl.x.%s", coded);
    return 0;
}

void sl_qn_dead_read(natsMsg *msg, uint8_t *key, sl_queue_dead *ret_dead)
{
    SL_ASSERT(msg && key && ret_dead);
    sl_str hex = sl_qn_header(msg, "Sl-Key");
    ret_dead->reason = sl_qn_header(msg, "Sl-Reason");
    ret_dead->body = sl_str_of(natsMsg_GetData(msg), (size_t)natsMsg_GetDataLength(msg));
    ret_dead->trace = sl_qn_header(msg, "Sl-Trace");
    if (hex.len / 2 <= SL_QUEUE_MAX_KEY_BYTES && sl_hex_decode(hex, key, hex.len / 2) == 0)
        ret_dead->idempotency_key = sl_str_of((const char *)key, hex.len / 2);
    ret_dead->deliveries = (unsigned)sl_qn_header_u64(msg, "Sl-Deliveries", 0);
    ret_dead->priority = (unsigned)sl_qn_header_u64(msg, "Sl-Priority", 0);
    ret_dead->put_ns = sl_qn_header_u64(msg, "Sl-Put", 0);
}

int sl_qn_dead_list(sl_queue *queue, sl_str name, sl_str after, size_t max,
                    void (*fn)(void *user, const sl_queue_dead *dead), void *user)
{
    sl_qn *q = sl_qn_of(queue);
    char subject[SL_QN_NAME_BYTES + 8];
    uint64_t row;
    int count = 0, error = dead_place(name, after, subject, sizeof subject, &row);
    natsMsg *msg;
    while (!error && (size_t)count < max && (error = next_dead(q, subject, row + 1, &msg)) == 0) {
        sl_queue_dead dead = {.topic = name};
        uint8_t key[SL_QUEUE_MAX_KEY_BYTES];
        sl_qn_dead_read(msg, key, &dead);
        row = natsMsg_GetSequence(msg);
        sl_queue_id_format(q->head, row & SL_QUEUE_ROW_MASK, dead.id);
        dead.dead_ns = (uint64_t)natsMsg_GetTime(msg);
        fn(user, &dead);
        natsMsg_Destroy(msg);
        count++;
    }
    return error && error != SL_ENOENT ? error : count;
}

/* Puts a dead letter back among the tasks; its place among the dead makes it once, however often this is tried. */
static int revive(sl_qn *q, natsMsg *dead, uint64_t row, const char *topic_subject)
{
    static const char *const kept[] = {"Sl-Key", "Sl-Hash", "Sl-Trace", "Sl-Put", "Sl-Priority", "Sl-Max"};
    natsMsg *msg = NULL;
    jsErrCode code = 0;
    char subject[SL_QN_NAME_BYTES + 8], once[32];
    (void)snprintf(subject, sizeof subject, "sl.q.%s", topic_subject + 5);
    (void)snprintf(once, sizeof once, "dead-%llu", (unsigned long long)row);
    if (natsMsg_Create(&msg, subject, NULL, natsMsg_GetData(dead), natsMsg_GetDataLength(dead)) != NATS_OK)
        return SL_ENOMEM;
    for (size_t i = 0; i < sizeof kept / sizeof *kept; i++) {
        sl_str value = sl_qn_header(dead, kept[i]);
        if (value.len)
            (void)natsMsgHeader_Set(msg, kept[i], value.ptr);
    }
    (void)natsMsgHeader_Set(msg, "Nats-Msg-Id", once);
    natsStatus status = js_PublishMsg(NULL, q->js, msg, NULL, &code);
    natsMsg_Destroy(msg);
    return status == NATS_OK ? 0 : SL_EIO;
}

/* Waits for the broker; `done` comes before it returns. */
static int change(sl_queue *queue, sl_str name, sl_str id, bool requeue, sl_queue_count_fn done, void *user)
{
    sl_qn *q = sl_qn_of(queue);
    char subject[SL_QN_NAME_BYTES + 8];
    uint64_t row, count = 0;
    int error = dead_place(name, id, subject, sizeof subject, &row);
    if (error)
        return error;
    uint64_t wanted = row, at = wanted ? wanted : 1;
    natsMsg *msg;
    while (!error && (error = next_dead(q, subject, at, &msg)) == 0) {
        jsErrCode code = 0;
        uint64_t found = natsMsg_GetSequence(msg);
        if (wanted && found != wanted) {
            natsMsg_Destroy(msg);
            break;
        }
        if (requeue)
            error = revive(q, msg, found, subject);
        natsMsg_Destroy(msg);
        if (!error && js_DeleteMsg(q->js, SL_QN_DEAD, found, NULL, &code) != NATS_OK)
            error = SL_EIO;
        count += !error;
        at = found + 1;
        if (wanted)
            break;
    }
    if (error == SL_ENOENT)
        error = 0;
    (void)pthread_mutex_lock(&q->lock);
    sl_qn_topic *topic = sl_qn_topic_find(q, name);
    if (topic)
        topic->stats.dead -= count < topic->stats.dead ? count : topic->stats.dead;
    (void)pthread_mutex_unlock(&q->lock);
    if (done)
        done(user, error, count);
    return 0;
}

int sl_qn_dead_requeue(sl_queue *q, sl_str topic, sl_str id, sl_queue_count_fn done, void *user)
{
    return change(q, topic, id, true, done, user);
}

int sl_qn_dead_purge(sl_queue *q, sl_str topic, sl_str id, sl_queue_count_fn done, void *user)
{
    return change(q, topic, id, false, done, user);
}

#else

typedef int sl_queue_nats_is_not_built;

#endif
