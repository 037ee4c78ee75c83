/*
 * What the tests of queues share: a folder, putting and taking with patience, waiting for the outcome of a call. The
 * functions serve every engine.
 */
#ifndef SL_TEST_QUEUE_FIXTURE_H
#define SL_TEST_QUEUE_FIXTURE_H

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/base/sync.h"
#include "src/queue/queue.h"
#include "tests/harness/sl_test.h"

#define FIXTURE static __attribute__((unused))

/* Puts and waits; the body is `text`. */
FIXTURE int put(sl_queue *queue, const char *topic, const char *text, sl_queue_put more, sl_queue_accepted *ret)
{
    sl_queue_accepted mine;
    more.topic = sl_str_c(topic);
    more.body = sl_str_c(text);
    return sl_queue_put_wait(queue, &more, ret ? ret : &mine);
}

#define PLAIN ((sl_queue_put){.priority = 0})

/* Takes within some seconds; NULL when nothing came. */
FIXTURE sl_queue_message *take(sl_queue *queue, const char *topic, uint64_t lease_ms)
{
    sl_queue_message *m = NULL;
    for (int i = 0; i < 5000; i++) {
        int error = sl_queue_take(queue, sl_str_c(topic), lease_ms, &m);
        if (error == 0)
            return m;
        if (error != SL_EAGAIN)
            return NULL;
        (void)usleep(1000);
    }
    return NULL;
}

typedef struct outcome {
    atomic_int finished;
    int error;
    uint64_t count;
} outcome;

FIXTURE void note_end(void *user, int error)
{
    outcome *o = user;
    o->error = error;
    atomic_store(&o->finished, 1);
}

FIXTURE void note_count(void *user, int error, uint64_t count)
{
    outcome *o = user;
    o->count = count;
    note_end(user, error);
}

FIXTURE int wait_outcome(outcome *o)
{
    for (int i = 0; i < 80000 && !atomic_load(&o->finished); i++)
        (void)usleep(100);
    return atomic_load(&o->finished) ? o->error : SL_ETIMEOUT;
}

FIXTURE int ack(sl_queue *queue, sl_queue_message *m)
{
    outcome o = {0};
    int error = sl_queue_ack(queue, m->id, m->lease, note_end, &o);
    if (!error)
        error = wait_outcome(&o);
    sl_queue_message_free(m);
    return error;
}

#endif
