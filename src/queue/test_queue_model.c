/*
 * The embedded queue against a model: thousands of operations by chance, in every order, across restarts. After each
 * the numbers of every topic, what may be taken next, and what a key answers must be what a simple list of messages
 * says.
 */
#include "src/queue/queue.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/queue/test_queue_fixture.h"
#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_disk.h"
#include "tests/harness/sl_test.h"

#define TOPICS 3
#define MAX_MESSAGES 4096
#define LONG_MS 3600000u

typedef enum state { READY, DELAYED, LEASED, DEAD, ENDED } state;

typedef struct message {
    state state;
    unsigned topic, priority, max_deliveries;
    unsigned deliveries;
    bool uncertain; /* the last one may not have been counted: the process ended in it */
    char id[SL_QUEUE_ID_BYTES];
    char key[16];
    char body[24];
    uint64_t lease;
    uint64_t order; /* of becoming ready; 0: not known */
    uint64_t died;  /* order of dying */
} message;

typedef struct model {
    uint64_t state;
    message messages[MAX_MESSAGES];
    size_t count;
    uint64_t next_order;
    uint64_t stale_lease; /* one that is over */
    char stale_id[SL_QUEUE_ID_BYTES];
    char path[128];
    sl_queue *queue;
} model;

static model m;
static const char *const topic_names[TOPICS] = {"a", "b.c", "topic with \xC3\xA4"};

static unsigned chance(unsigned below)
{
    return sl_chance(&m.state, below);
}

static void open_it(void)
{
    char error[512] = "";
    sl_queue_options o = {.path = m.path, .cache_bytes = 256}; /* most bodies are read from disk */
    if (sl_queue_open(&o, error, sizeof error, &m.queue)) {
        sl_test_failed(__FILE__, __LINE__, "open: %s", error);
        abort();
    }
}

static size_t count_of(unsigned topic, state s)
{
    size_t n = 0;
    for (size_t i = 0; i < m.count; i++)
        n += m.messages[i].topic == topic && m.messages[i].state == s;
    return n;
}

static message *any_of(state s)
{
    size_t n = 0, wanted;
    for (unsigned t = 0; t < TOPICS; t++)
        n += count_of(t, s);
    if (n == 0)
        return NULL;
    wanted = chance((unsigned)n);
    for (size_t i = 0;; i++)
        if (m.messages[i].state == s && wanted-- == 0)
            return &m.messages[i];
}

static message *by_key(unsigned topic, const char *key)
{
    for (size_t i = 0; key[0] && i < m.count; i++)
        if (m.messages[i].topic == topic && strcmp(m.messages[i].key, key) == 0)
            return &m.messages[i];
    return NULL;
}

static message *by_id(const char *id)
{
    for (size_t i = 0; i < m.count; i++)
        if (strcmp(m.messages[i].id, id) == 0)
            return &m.messages[i];
    return NULL;
}

/* ---- operations ---- */

static void do_put(void)
{
    if (m.count == MAX_MESSAGES)
        return;
    message *new = &m.messages[m.count];
    memset(new, 0, sizeof *new);
    new->topic = chance(TOPICS);
    new->priority = chance(4) ? 0 : chance(SL_QUEUE_PRIORITIES);
    new->max_deliveries = chance(3) ? 100 : 1 + chance(2);
    if (chance(3) == 0)
        (void)snprintf(new->key, sizeof new->key, "k%u", chance(60));
    (void)snprintf(new->body, sizeof new->body, "body %zu", m.count);
    bool delayed = chance(8) == 0;
    sl_queue_accepted accepted;
    sl_queue_put more = {.idempotency_key = sl_str_c(new->key),
                         .priority = new->priority,
                         .max_deliveries = new->max_deliveries,
                         .delay_ms = delayed ? LONG_MS : 0};
    CHECK_EQ(put(m.queue, topic_names[new->topic], new->body, more, &accepted), 0);
    const message *first = by_key(new->topic, new->key);
    CHECK_EQ(accepted.duplicate, first != NULL);
    if (first) {
        CHECK(strcmp(accepted.id, first->id) == 0);
        return;
    }
    CHECK(!by_id(accepted.id));
    memcpy(new->id, accepted.id, sizeof new->id);
    new->state = delayed ? DELAYED : READY;
    new->order = ++m.next_order;
    m.count++;
}

/* Among the ready ones of the topic: the highest priority, and of that no one that became ready before it. */
static bool is_next(const message *taken)
{
    for (size_t i = 0; i < m.count; i++) {
        const message *o = &m.messages[i];
        if (o == taken || o->state != READY || o->topic != taken->topic)
            continue;
        if (o->priority > taken->priority)
            return false;
        if (o->priority == taken->priority && o->order && taken->order && o->order < taken->order)
            return false;
    }
    return true;
}

static void do_take(void)
{
    unsigned topic = chance(TOPICS);
    sl_queue_message *seen = NULL;
    int error = sl_queue_take(m.queue, sl_str_c(topic_names[topic]), LONG_MS, &seen);
    if (error) {
        CHECK(error == SL_EAGAIN && count_of(topic, READY) == 0);
        return;
    }
    message *known = by_id(seen->id);
    bool right = known && known->state == READY && known->topic == topic && is_next(known);
    CHECK(right);
    if (right) {
        CHECK_STR(seen->body, known->body);
        CHECK_STR(seen->idempotency_key, known->key);
        CHECK_EQ(seen->priority, known->priority);
        bool counted = seen->delivery == known->deliveries + 1;
        CHECK(counted || (known->uncertain && seen->delivery == known->deliveries));
        known->deliveries = seen->delivery;
        known->uncertain = false;
        known->lease = seen->lease;
        known->state = LEASED;
    }
    sl_queue_message_free(seen);
}

static void forget_lease(message *known)
{
    m.stale_lease = known->lease;
    memcpy(m.stale_id, known->id, sizeof m.stale_id);
}

static void do_ack(void)
{
    message *known = any_of(LEASED);
    if (!known)
        return;
    outcome o = {0};
    CHECK_EQ(sl_queue_ack(m.queue, known->id, known->lease, note_end, &o), 0);
    CHECK_EQ(wait_outcome(&o), 0);
    known->state = ENDED;
    forget_lease(known);
}

static uint64_t dead_in(const char *topic)
{
    sl_queue_topic_stats all[TOPICS + 1];
    size_t n = sl_queue_get_stats(m.queue, all, TOPICS + 1);
    for (size_t i = 0; i < n && i < TOPICS + 1; i++)
        if (strcmp(all[i].topic, topic) == 0)
            return all[i].dead;
    return 0;
}

static void die(message *known)
{
    known->state = DEAD;
    known->died = ++m.next_order;
    size_t wanted = count_of(known->topic, DEAD);
    for (int i = 0; i < 20000 && dead_in(topic_names[known->topic]) != wanted; i++)
        (void)usleep(100); /* it is on its way to disk */
}

static void do_nack(void)
{
    message *known = any_of(LEASED);
    if (!known)
        return;
    bool dead = chance(5) == 0, delayed = chance(4) == 0;
    CHECK_EQ(sl_queue_nack(m.queue, known->id, known->lease, delayed ? LONG_MS : 0, dead, SL_STR("why")), 0);
    forget_lease(known);
    if (dead || known->deliveries >= known->max_deliveries) {
        die(known);
    } else {
        known->state = delayed ? DELAYED : READY;
        known->order = ++m.next_order;
    }
}

static void do_extend(void)
{
    message *known = any_of(LEASED);
    if (known)
        CHECK_EQ(sl_queue_extend(m.queue, known->id, known->lease, LONG_MS), 0);
}

/* A token that is over moves nothing, whatever is done with it. */
static void do_stale(void)
{
    if (!m.stale_lease)
        return;
    CHECK_EQ(sl_queue_ack(m.queue, m.stale_id, m.stale_lease, NULL, NULL), SL_ENOENT);
    CHECK_EQ(sl_queue_nack(m.queue, m.stale_id, m.stale_lease, 0, true, SL_STR("x")), SL_ENOENT);
    CHECK_EQ(sl_queue_extend(m.queue, m.stale_id, m.stale_lease, 1), SL_ENOENT);
    const message *known = any_of(LEASED);
    if (known) /* and a token is of one message */
        CHECK_EQ(sl_queue_ack(m.queue, known->id, known->lease + 1000000, NULL, NULL), SL_ENOENT);
}

static void do_dead(void)
{
    unsigned topic = chance(TOPICS);
    message *one = any_of(DEAD);
    bool all = chance(3) == 0, again = chance(2);
    if (!all && !one)
        return;
    if (!all)
        topic = one->topic;
    size_t wanted = all ? count_of(topic, DEAD) : 1;
    if (!sl_queue_topic_is(m.queue, sl_str_c(topic_names[topic])))
        return;
    outcome o = {0};
    sl_str id = all ? SL_STR("") : sl_str_c(one->id);
    sl_str name = sl_str_c(topic_names[topic]);
    CHECK_EQ(again ? sl_queue_dead_requeue(m.queue, name, id, note_count, &o)
                   : sl_queue_dead_purge(m.queue, name, id, note_count, &o),
             0);
    CHECK_EQ(wait_outcome(&o), 0);
    CHECK_EQ(o.count, wanted);
    for (size_t i = 0; i < m.count; i++) {
        message *k = &m.messages[i];
        if (k->state != DEAD || k->topic != topic || (!all && k != one))
            continue;
        k->state = again ? READY : ENDED;
        k->order = 0;
        if (again)
            k->deliveries = 0;
    }
}

typedef struct page {
    size_t count;
    uint64_t last_died;
    bool sound;
    unsigned topic;
    char last_id[SL_QUEUE_ID_BYTES];
} page;

static void see_dead(void *user, const sl_queue_dead *d)
{
    page *p = user;
    const message *known = by_id(d->id);
    p->sound = p->sound && known && known->state == DEAD && known->topic == p->topic &&
               sl_str_eq_c(d->body, known->body) && sl_str_eq_c(d->idempotency_key, known->key) &&
               d->priority == known->priority;
    p->count++;
    memcpy(p->last_id, d->id, sizeof p->last_id);
}

/* All dead letters, page by page. */
static void do_list(void)
{
    for (unsigned t = 0; t < TOPICS; t++) {
        page p = {.sound = true, .topic = t};
        size_t total = 0;
        int n;
        do {
            p.count = 0;
            n = sl_queue_dead_list(m.queue, sl_str_c(topic_names[t]), sl_str_c(p.last_id), 1 + chance(5), see_dead, &p);
            CHECK(n == (int)p.count || (n == SL_ENOENT && count_of(t, DEAD) == 0));
            total += p.count;
        } while (n > 0);
        CHECK(p.sound);
        CHECK_EQ(total, count_of(t, DEAD));
    }
}

/* What is leased comes back; what would be its last delivery is ended first, as it may go either way. */
static void do_restart(void)
{
    for (size_t i = 0; i < m.count; i++)
        if (m.messages[i].state == LEASED && m.messages[i].max_deliveries < 100) {
            outcome o = {0};
            CHECK_EQ(sl_queue_ack(m.queue, m.messages[i].id, m.messages[i].lease, note_end, &o), 0);
            CHECK_EQ(wait_outcome(&o), 0);
            m.messages[i].state = ENDED;
        }
    sl_queue_close(m.queue);
    open_it();
    for (size_t i = 0; i < m.count; i++) {
        if (m.messages[i].state == LEASED) {
            m.messages[i].state = READY;
            m.messages[i].uncertain = true;
            m.messages[i].order = 0;
        } else if (m.messages[i].deliveries) {
            m.messages[i].order = 0;
            m.messages[i].uncertain = m.messages[i].state == READY || m.messages[i].state == DELAYED;
        }
    }
}

/* ---- */

static void compare(void)
{
    sl_queue_topic_stats all[TOPICS + 1];
    size_t n = sl_queue_get_stats(m.queue, all, TOPICS + 1);
    CHECK(n <= TOPICS);
    for (size_t i = 0; i < n && i < TOPICS; i++) {
        unsigned t = 0;
        while (t < TOPICS && strcmp(topic_names[t], all[i].topic) != 0)
            t++;
        if (t == TOPICS || all[i].ready != count_of(t, READY) || all[i].delayed != count_of(t, DELAYED) ||
            all[i].leased != count_of(t, LEASED) || all[i].dead != count_of(t, DEAD))
            sl_test_failed(__FILE__, __LINE__, "%s: %llu %llu %llu %llu, not %zu %zu %zu %zu", all[i].topic,
                           (unsigned long long)all[i].ready, (unsigned long long)all[i].delayed,
                           (unsigned long long)all[i].leased, (unsigned long long)all[i].dead, count_of(t, READY),
                           count_of(t, DELAYED), count_of(t, LEASED), count_of(t, DEAD));
    }
}

static void run_operations(uint64_t seed, int operations)
{
    char folder[64];
    sl_disk_folder(folder, sizeof folder, "queue-model");
    REQUIRE(sl_test_mkdtemp(folder));
    memset(&m, 0, sizeof m);
    m.state = seed;
    (void)snprintf(m.path, sizeof m.path, "%s/queue.db", folder);
    open_it();
    for (int i = 0; i < operations; i++) {
        unsigned what = chance(100);
        if (what < 34)
            do_put();
        else if (what < 62)
            do_take();
        else if (what < 76)
            do_ack();
        else if (what < 88)
            do_nack();
        else if (what < 91)
            do_extend();
        else if (what < 93)
            do_stale();
        else if (what < 97)
            do_dead();
        else if (what < 98)
            do_list();
        else if (what < 99)
            do_restart();
        compare();
    }
    do_restart();
    compare();
    do_list();
    sl_queue_close(m.queue);
}

SL_TEST(operations_by_chance_are_those_of_a_list)
{
    for (uint64_t seed = 1; seed <= 5; seed++)
        run_operations(seed, 2000);
}
