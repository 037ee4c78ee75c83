/*
 * What an engine of the queue is: a table of functions, one for each call of queue.h, with the same promises. The
 * public calls check what is the same for all, and go on to the engine.
 */
#ifndef SL_QUEUE_ENGINE_H
#define SL_QUEUE_ENGINE_H

#include "src/queue/queue.h"

typedef struct sl_queue_engine {
    int (*topic_make)(sl_queue *q, sl_str topic);
    bool (*topic_is)(sl_queue *q, sl_str topic);
    int (*put_start)(sl_queue *q, const sl_queue_put *put, sl_queue_done_fn done, void *user);
    int (*take)(sl_queue *q, sl_str topic, uint64_t lease_ms, sl_queue_message **ret_message);
    int (*watch)(sl_queue *q, sl_str topic, void (*fn)(void *user), void *user);
    void (*unwatch)(sl_queue *q, int id);
    int (*ack)(sl_queue *q, const char *id, uint64_t lease, sl_queue_end_fn done, void *user);
    int (*nack)(sl_queue *q, const char *id, uint64_t lease, uint64_t delay_ms, bool dead, sl_str reason);
    int (*extend)(sl_queue *q, const char *id, uint64_t lease, uint64_t lease_ms);
    int (*tell)(sl_queue *q, sl_str word);                                     /* NULL: nobody is to be told */
    int (*hear)(sl_queue *q, void (*fn)(void *user, sl_str word), void *user); /* NULL: there is nothing to hear */
    int (*hear_dead)(sl_queue *q, void (*fn)(void *user, const sl_queue_dead *dead), void *user);
    int (*dead_list)(sl_queue *q, sl_str topic, sl_str after, size_t max,
                     void (*fn)(void *user, const sl_queue_dead *dead), void *user);
    int (*dead_requeue)(sl_queue *q, sl_str topic, sl_str id, sl_queue_count_fn done, void *user);
    int (*dead_purge)(sl_queue *q, sl_str topic, sl_str id, sl_queue_count_fn done, void *user);
    size_t (*get_stats)(sl_queue *q, sl_queue_topic_stats *stats, size_t max);
    void (*get_disk_stats)(sl_queue *q, sl_queue_disk_stats *ret_stats);
    void (*last_error)(sl_queue *q, char *text, size_t size);
    bool (*is_connected)(sl_queue *q); /* NULL: there is nothing to be connected to */
    void (*close)(sl_queue *q);
} sl_queue_engine;

/* The first member of every engine's queue. */
typedef struct sl_queue_base {
    const sl_queue_engine *engine;
} sl_queue_base;

/* A message as engines hand it out: allocated by sl_calloc, its bytes by sl_malloc. */
typedef struct sl_q_taken {
    sl_queue_message pub;
    char *bytes;
} sl_q_taken;

#endif
