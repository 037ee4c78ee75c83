/*
 * What the embedded queue keeps in memory: topics, waiting messages by row, ready heaps by priority, and a heap of what
 * becomes due (ends of delays and of leases). About 200 bytes for a waiting message, its body apart. No I/O, no locks:
 * the queue's lock is held around everything here.
 *
 *      put ──► READY ──take──► LEASED ──ack──► ENDING ──► gone
 *       │       ▲  ▲             │ │ │
 *       ▼       │  └──lease over─┘ │ └──too often, refused──► ENDING ──► dead letter
 *    DELAYED ───┘                  │
 *       ▲──────────nack, delay─────┘
 */
#ifndef SL_QUEUE_STATE_H
#define SL_QUEUE_STATE_H

#include "src/queue/queue.h"

#define SL_QUEUE_KEY_HASH_BYTES 16

typedef enum sl_q_state {
    SL_Q_READY,
    SL_Q_DELAYED,
    SL_Q_LEASED,
    SL_Q_ENDING, /* its end is on the way to disk */
} sl_q_state;

typedef struct sl_q_message {
    uint64_t row;
    uint64_t head;     /* first half of its id */
    uint64_t order;    /* among the ready ones of its priority: lower first */
    uint64_t due_ns;   /* monotonic: end of the delay or the lease */
    uint64_t lease;    /* token of the last delivery */
    uint64_t put_ns;   /* Unix */
    uint64_t ready_ns; /* Unix */
    struct sl_q_topic *topic;
    char *bytes; /* trace, key, body; NULL: on disk */
    uint32_t body_len;
    uint16_t trace_len, key_len;
    uint32_t due_at; /* its place in the heap of due ones, from 1; 0: not in it */
    uint16_t deliveries, max_deliveries;
    uint8_t priority, state;
    bool has_key;
    uint8_t key_hash[SL_QUEUE_KEY_HASH_BYTES];
} sl_q_message;

/* Bytes of trace, key and body. */
static inline size_t sl_q_bytes_len(const sl_q_message *message)
{
    return (size_t)message->body_len + message->trace_len + message->key_len;
}

typedef struct sl_q_item {
    uint64_t order;
    sl_q_message *message;
} sl_q_item;

typedef struct sl_q_heap {
    sl_q_item *items;
    size_t count, size;
} sl_q_heap;

typedef struct sl_q_topic {
    struct sl_q_topic *next;      /* of the same hash */
    struct sl_q_topic *next_wake; /* of those whose watchers are to be told */
    uint32_t id;
    uint32_t name_len;
    bool stored; /* its name is on disk */
    bool hungry; /* somebody found nothing: tell when there is something */
    bool to_wake;
    sl_q_heap ready[SL_QUEUE_PRIORITIES];
    uint64_t waiting; /* all states, and puts on their way */
    uint64_t ready_count, delayed, leased, dead;
    uint64_t put, taken, acked, redelivered, duplicates, rejected;
    char name[];
} sl_q_topic;

#define SL_Q_TOPIC_BUCKETS 1024u

typedef struct sl_q_table {
    sl_q_message **slots; /* open addressing by row */
    size_t size, count;
    sl_q_message **due; /* min-heap by due_ns */
    size_t due_count, due_size;
    sl_q_topic *buckets[SL_Q_TOPIC_BUCKETS];
    sl_q_topic **topics; /* by number */
    size_t topic_count, topic_size;
} sl_q_table;

/* Frees all messages and topics. */
void sl_q_table_done(sl_q_table *table);

/* NULL: not known. */
sl_q_topic *sl_q_topic_find(const sl_q_table *table, sl_str name);
/* A new one with number `id` (0: the next free). SL_ENOMEM. */
SL_MUST_CHECK int sl_q_topic_add(sl_q_table *table, sl_str name, uint32_t id, sl_q_topic **ret_topic);
sl_q_topic *sl_q_topic_by_id(const sl_q_table *table, uint32_t id);

sl_q_message *sl_q_find(const sl_q_table *table, uint64_t row);
/*
 * Makes room for `more` messages in every table they could come to stand in, so that none of the moves below can fail.
 * SL_ENOMEM.
 */
SL_MUST_CHECK int sl_q_reserve(sl_q_table *table, sl_q_topic *topic, unsigned priority, size_t more);
/* Room has been reserved. */
void sl_q_add(sl_q_table *table, sl_q_message *message);
/* Out of the table and the heap of due ones; not freed. */
void sl_q_remove(sl_q_table *table, sl_q_message *message);
void sl_q_message_free(sl_q_message *message);

/* Changes the state and the counts of the topic. READY: into its heap; DELAYED, LEASED: due at `due_ns`. */
void sl_q_enter(sl_q_table *table, sl_q_message *message, sl_q_state state, uint64_t due_ns);
/* Takes it out of its state's heap and counts. READY ones leave by sl_q_pop alone. */
void sl_q_leave(sl_q_table *table, sl_q_message *message);
/* The next ready one of the highest priority, out of its heap; NULL: none. */
sl_q_message *sl_q_pop(sl_q_table *table, sl_q_topic *topic);
/* Moves a LEASED or DELAYED one to another time. */
void sl_q_due_again(sl_q_table *table, sl_q_message *message, uint64_t due_ns);
/* The one that is due first; NULL: none. */
static inline sl_q_message *sl_q_due_first(const sl_q_table *table)
{
    return table->due_count ? table->due[0] : NULL;
}
/* Unix time at which the oldest ready message of the topic became ready; 0: none. */
uint64_t sl_q_oldest_ready(const sl_q_topic *topic);

#endif
