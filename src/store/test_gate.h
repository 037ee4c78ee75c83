/* For tests: a database whose writer stands in a job of somebody else until a gate opens, all places behind it taken.
 */
#ifndef SL_STORE_TEST_GATE_H
#define SL_STORE_TEST_GATE_H

#include <pthread.h>

#include "src/store/db.h"
#include "tests/harness/sl_test.h"

typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t moved;
    bool began, open;
} gate;

static int wait_at_gate(void *user, sqlite3 *db)
{
    gate *g = user;
    (void)db;
    pthread_mutex_lock(&g->lock);
    g->began = true;
    pthread_cond_broadcast(&g->moved);
    while (!g->open)
        pthread_cond_wait(&g->moved, &g->lock);
    pthread_mutex_unlock(&g->lock);
    return 0;
}

static int do_nothing(void *user, sqlite3 *db)
{
    (void)user;
    (void)db;
    return 0;
}

/* `plain`: what takes the places are plain jobs. */
static void fill_writer(sl_db *db, gate *g, bool plain)
{
    (void)pthread_mutex_init(&g->lock, NULL);
    (void)pthread_cond_init(&g->moved, NULL);
    g->began = g->open = false;
    CHECK_EQ(sl_db_submit(db, &(sl_db_job){.run = wait_at_gate, .user = g}), 0);
    pthread_mutex_lock(&g->lock);
    while (!g->began)
        pthread_cond_wait(&g->moved, &g->lock);
    pthread_mutex_unlock(&g->lock);
    while (sl_db_submit(db, &(sl_db_job){.run = do_nothing, .plain = plain}) == 0)
        ;
}

static void open_gate(gate *g)
{
    pthread_mutex_lock(&g->lock);
    g->open = true;
    pthread_cond_broadcast(&g->moved);
    pthread_mutex_unlock(&g->lock);
}

static void gate_done(gate *g)
{
    (void)pthread_cond_destroy(&g->moved);
    (void)pthread_mutex_destroy(&g->lock);
}

#endif
