/*
 * The JetStream engine's inside: queue_nats.c (life, topics), queue_nats_put.c, queue_nats_take.c, queue_nats_keep.c
 * (the keeper), queue_nats_end.c (ends, dead letters), queue_nats_words.c.
 *
 * Streams: SIGHTLINE_TASKS (sl.q.TOPIC, work queue), SIGHTLINE_DONE (sl.d.KEY, at most one message a subject: the claim
 * of an end), SIGHTLINE_DEAD (sl.x.TOPIC). Threads: a puller for each topic that somebody takes from; the keeper, which
 * tells the broker that what is held here is being worked on, and ends leases; the library's, for answers to publishes.
 */
#ifndef SL_QUEUE_NATS_IMPL_H
#define SL_QUEUE_NATS_IMPL_H

#include <nats/nats.h>

#include "src/base/rng.h"
#include "src/base/sync.h"
#include "src/queue/queue_engine.h"

#define SL_QN_TASKS "SIGHTLINE_TASKS"
#define SL_QN_DONE "SIGHTLINE_DONE"
#define SL_QN_DEAD "SIGHTLINE_DEAD"
#define SL_QN_AHEAD 256u    /* messages fetched ahead for a topic */
#define SL_QN_PENDING 4096  /* publishes on their way */
#define SL_QN_BUCKETS 1024u /* of messages in work, and of publishes */
#define SL_QN_CLAIM_BYTES 128
#define SL_QN_WAIT_MS 5000 /* for an answer of the cluster */
#define SL_QN_SERVERS 16
#define SL_QN_TICK_NS (10u * 1000000u) /* of the keeper: delays and leases end by at most this late */
#define SL_QN_NAME_BYTES 800           /* a topic with every byte coded, and what stands before it */

typedef struct sl_qn sl_qn;

typedef struct sl_qn_topic {
    struct sl_qn_topic *next;
    sl_qn *q;
    bool pulling;
    pthread_t puller;
    natsSubscription *sub; /* the puller's; lives as long as its messages do */
    int asked;             /* of the broker, and not here yet; the puller's */
    uint64_t asked_until_ns;
    bool hungry;
    bool to_wake; /* the keeper's */
    struct sl_qn_entry *first[SL_QUEUE_PRIORITIES], **last[SL_QUEUE_PRIORITIES];
    sl_queue_topic_stats stats;
    uint64_t elsewhere; /* waiting at the broker, as the last message told */
    char coded[SL_QN_NAME_BYTES];
} sl_qn_topic;

/* A message that this process holds. */
typedef struct sl_qn_entry {
    struct sl_qn_entry *next; /* in its topic's list, or its bucket */
    sl_qn_topic *topic;
    natsMsg *msg;
    uint64_t row, lease, due_ns, put_ns, ready_ns;
    unsigned delivery, max_deliveries, priority;
    bool ending;
    bool asked; /* its claim may be stored already */
    /* An acknowledgement that the broker is to confirm. */
    uint64_t answer_by_ns; /* 0: none is awaited */
    sl_queue_end_fn end_done;
    void *end_user;
} sl_qn_entry;

/* A publish on its way: known by its message. */
typedef struct sl_qn_publish {
    struct sl_qn_publish *next;
    sl_qn *q;
    const natsMsg *msg;
    void (*answered)(struct sl_qn_publish *p, const jsPubAck *ack, const jsPubAckErr *error);
    sl_qn_topic *topic;
    sl_qn_entry *entry;
    sl_queue_done_fn put_done;
    sl_queue_end_fn end_done;
    void *user;
} sl_qn_publish;

typedef struct sl_qn_watcher {
    struct sl_qn_watcher *next;
    int id;
    sl_qn_topic *topic;
    void (*fn)(void *user);
    void *user;
} sl_qn_watcher;

struct sl_qn {
    sl_queue_base base;
    sl_queue_nats_options options; /* without its texts */
    natsConnection *nc;
    jsCtx *js;
    uint64_t head; /* first half of all ids */
    natsInbox *inbox;
    natsSubscription *confirmations;
    natsSubscription *words; /* NULL: nobody listens */
    natsSubscription *dead;  /* the same */
    void (*hear_dead)(void *user, const sl_queue_dead *dead);
    void *hear_dead_user;
    void (*hear)(void *user, sl_str word);
    void *hear_user;
    pthread_t keeper;
    pthread_mutex_t watch_lock;
    sl_qn_watcher *watchers;
    int last_watcher;
    pthread_mutex_t lock;
    pthread_cond_t room;  /* for pullers: something was taken */
    pthread_cond_t wake;  /* for the keeper */
    pthread_cond_t quiet; /* for close: a publish was answered */
    bool closing;
    uint64_t next_lease;
    sl_rng rng;
    sl_qn_topic *topics;
    size_t topic_count;
    sl_qn_entry *leased[SL_QN_BUCKETS];
    sl_qn_entry *delayed; /* held here until they are due */
    sl_qn_publish *publishes[SL_QN_BUCKETS];
    size_t publishing;
    char last_error[256];
};

static inline sl_qn *sl_qn_of(sl_queue *q)
{
    return (sl_qn *)(void *)q;
}

static inline sl_str sl_qn_header(natsMsg *msg, const char *name)
{
    const char *value = NULL;
    return natsMsgHeader_Get(msg, name, &value) == NATS_OK ? sl_str_c(value) : sl_str_of(NULL, 0);
}

uint64_t sl_qn_header_u64(natsMsg *msg, const char *name, uint64_t fallback);
/* Publishes; `p->answered` comes once from a thread of the library. `*msg` and `p` are gone, also on failure. */
SL_MUST_CHECK int sl_qn_publish_start(sl_qn *q, natsMsg **msg, sl_qn_publish *p);
/* Answers to publishes come here, from a thread of the library. */
void sl_qn_on_answer(jsCtx *js, natsMsg *msg, jsPubAck *ack, jsPubAckErr *error, void *user);
/* A publish, or an acknowledgement, was answered. */
void sl_qn_publish_over(sl_qn *q);
/* The broker's confirmations of acknowledgements come here. */
void sl_qn_on_confirmation(natsConnection *nc, natsSubscription *sub, natsMsg *msg, void *user);
/* Keeps the text of a failure. */
void sl_qn_note(sl_qn *q, const char *what, const char *text);
/* Under the lock: the entry with this token, out of its bucket when `take`. */
sl_qn_entry *sl_qn_find(sl_qn *q, const char *id, uint64_t lease, bool take);
void sl_qn_put_back(sl_qn *q, sl_qn_entry *entry);
/* Gives the message back to the broker and frees the entry. Without the lock. */
void sl_qn_release(sl_qn *q, sl_qn_entry *entry);
/*
 * Ends the pulling threads and what they have asked the broker for, so that what is given back afterwards goes to
 * others and not here, where it would wait until the broker takes it for lost. When the queue is closing.
 */
void sl_qn_stop_pulling(sl_qn *q);
/*
 * Holds it here until `due_ns`: it is then ready again. (Servers before 2.10 lose messages that are refused with a
 * delay until their consumer is made anew.) Without the lock.
 */
void sl_qn_delay(sl_qn *q, sl_qn_entry *entry, uint64_t due_ns);
void sl_qn_entry_free(sl_qn_entry *entry);
/* The subject of the claim of a key. False: the message has no key. */
bool sl_qn_claim_subject(natsMsg *msg, char *subject, size_t size);
/* True when the end of this message has been claimed already. */
bool sl_qn_is_claimed(sl_qn *q, natsMsg *msg);
/* Sends it to the dead letters, and frees the entry. Without the lock. */
void sl_qn_kill(sl_qn *q, sl_qn_entry *entry, sl_str reason);

/* Of a topic and a key in it; 32 digits and a NUL. */
void sl_qn_hash_key(sl_str topic, sl_str key, char ret_hex[33]);
/* Into the ready ones of its topic; true: tell the watchers. Under the lock. */
bool sl_qn_push(sl_qn_topic *topic, sl_qn_entry *entry);
/* The next one; NULL: none is ready. Under the lock. */
sl_qn_entry *sl_qn_pop(sl_qn_topic *topic);
/* Without the lock. */
void sl_qn_tell_watchers(sl_qn *q, const sl_qn_topic *topic);
/* The keeper's thread. */
void *sl_qn_keep(void *queue);

int sl_qn_put_start(sl_queue *queue, const sl_queue_put *put, sl_queue_done_fn done, void *user);
int sl_qn_take(sl_queue *queue, sl_str name, uint64_t lease_ms, sl_queue_message **ret_message);
int sl_qn_watch(sl_queue *queue, sl_str name, void (*fn)(void *user), void *user);
void sl_qn_unwatch(sl_queue *queue, int id);
int sl_qn_ack(sl_queue *q, const char *id, uint64_t lease, sl_queue_end_fn done, void *user);
int sl_qn_nack(sl_queue *q, const char *id, uint64_t lease, uint64_t delay_ms, bool dead, sl_str reason);
int sl_qn_extend(sl_queue *q, const char *id, uint64_t lease, uint64_t lease_ms);
/* Stops listening to words and to dead letters. */
void sl_qn_hush(sl_qn *q);
int sl_qn_tell(sl_queue *q, sl_str word);
int sl_qn_hear(sl_queue *q, void (*fn)(void *user, sl_str word), void *user);
int sl_qn_hear_dead(sl_queue *q, void (*fn)(void *user, const sl_queue_dead *dead), void *user);
int sl_qn_dead_list(sl_queue *q, sl_str topic, sl_str after, size_t max,
                    void (*fn)(void *user, const sl_queue_dead *dead), void *user);
int sl_qn_dead_requeue(sl_queue *q, sl_str topic, sl_str id, sl_queue_count_fn done, void *user);
int sl_qn_dead_purge(sl_queue *q, sl_str topic, sl_str id, sl_queue_count_fn done, void *user);
/* What a dead letter says; its topic and id are left alone. `key` has SL_QUEUE_MAX_KEY_BYTES, and lives as long as the
 * views. */
void sl_qn_dead_read(natsMsg *msg, uint8_t *key, sl_queue_dead *ret_dead);
sl_qn_topic *sl_qn_topic_find(sl_qn *q, sl_str name);
/* Finds or makes. Under the lock. Errors: SL_EINVAL, SL_EAGAIN (too many), SL_ENOMEM. */
SL_MUST_CHECK int sl_qn_topic_get(sl_qn *q, sl_str name, sl_qn_topic **ret_topic);
/* The subject's token of a topic, whether or not this process knows it. Errors: SL_EINVAL. */
SL_MUST_CHECK int sl_qn_topic_code(sl_str name, char text[SL_QN_NAME_BYTES]);

#endif
