/* The JetStream engine against a real nats-server, where there is one. */
#include "src/queue/queue.h"

#include <stdatomic.h>

#include "src/queue/test_nats_server.h"
#include "src/queue/test_queue_fixture.h"
#include "tests/harness/sl_test.h"

#define TOPIC "a topic.of *any> name"

static ns_cluster server;

static sl_queue *connect_queue(void)
{
    sl_queue *q = NULL;
    char error[512] = "";
    for (int i = 0; i < 50 && !q; i++) { /* JetStream is up a little after its port */
        if (sl_queue_nats_open(&(sl_queue_nats_options){.url = server.url, .ack_wait_ms = 1000}, error, sizeof error,
                               &q))
            (void)usleep(100000);
    }
    if (!q)
        sl_test_failed(__FILE__, __LINE__, "%s", error);
    return q;
}

static bool start(sl_queue **ret_queue)
{
    if (ns_start(&server, 1))
        return false;
    *ret_queue = connect_queue();
    return *ret_queue != NULL;
}

static void stop(sl_queue *q)
{
    sl_queue_close(q);
    ns_stop(&server);
}

static bool cannot_run(void)
{
    char error[256];
    sl_queue *q;
    if (!ns_program())
        return true;
    return sl_queue_nats_open(&(sl_queue_nats_options){.url = "nats://127.0.0.1:1"}, error, sizeof error, &q) ==
           SL_ENOTSUP;
}

#define NEEDS_SERVER()                                                                                                 \
    do {                                                                                                               \
        sl_test_allow_leak();                                                                                          \
        if (cannot_run())                                                                                              \
            SL_SKIP("no nats-server, or built without libnats");                                                       \
    } while (0)

static bool nothing_within(sl_queue *q, unsigned ms)
{
    sl_queue_message *m = NULL;
    for (unsigned i = 0; i < ms / 5; i++) {
        if (sl_queue_take(q, SL_STR(TOPIC), 1000, &m) == 0) {
            sl_queue_message_free(m);
            return false;
        }
        (void)usleep(5000);
    }
    return true;
}

SL_TEST(a_server_that_is_not_there)
{
    NEEDS_SERVER();
    char error[256];
    sl_queue *q;
    CHECK_EQ(sl_queue_nats_open(&(sl_queue_nats_options){.url = "nats://127.0.0.1:1"}, error, sizeof error, &q),
             SL_ECONNECT);
    CHECK(strstr(error, "nats://127.0.0.1:1") != NULL && strstr(error, "JetStream") != NULL);
}

SL_TEST(messages_go_through_the_broker)
{
    NEEDS_SERVER();
    sl_queue *q;
    REQUIRE(start(&q));
    sl_queue_accepted first, again;
    sl_queue_put keyed = {.idempotency_key = SL_STR("k \n\x01"), .trace = SL_STR("a trace"), .priority = 2};
    CHECK_EQ(put(q, TOPIC, "hello", keyed, &first), 0);
    CHECK_EQ(put(q, TOPIC, "hello", keyed, &again), 0);
    CHECK(!first.duplicate && again.duplicate && strcmp(first.id, again.id) == 0);
    sl_queue_message *m = take(q, TOPIC, 5000);
    REQUIRE(m);
    CHECK(strcmp(m->id, first.id) == 0);
    CHECK_STR(m->topic, TOPIC);
    CHECK_STR(m->body, "hello");
    CHECK_STR(m->idempotency_key, "k \n\x01");
    CHECK_STR(m->trace, "a trace");
    CHECK(m->delivery == 1 && m->priority == 2 && m->put_ns > 0 && m->taken_ns >= m->put_ns);
    CHECK_EQ(ack(q, m), 0);
    CHECK_EQ(put(q, TOPIC, "", PLAIN, NULL), 0);
    m = take(q, TOPIC, 5000);
    REQUIRE(m);
    CHECK_EQ(m->body.len, 0);
    CHECK_EQ(ack(q, m), 0);
    CHECK(nothing_within(q, 300));
    stop(q);
}

SL_TEST(what_outlives_the_broker_and_the_process)
{
    NEEDS_SERVER();
    sl_queue *q;
    REQUIRE(start(&q));
    for (int i = 0; i < 20; i++)
        CHECK_EQ(put(q, TOPIC, "x", PLAIN, NULL), 0);
    sl_queue_message *held = take(q, TOPIC, 60000);
    REQUIRE(held);
    sl_queue_message_free(held);
    sl_queue_close(q); /* gives back what it held */
    ns_kill_node(&server, 0);
    ns_start_node(&server, 0);
    REQUIRE(ns_wait_node(&server, 0) == 0);
    q = connect_queue();
    REQUIRE(q);
    for (int i = 0; i < 20; i++) {
        sl_queue_message *m = take(q, TOPIC, 30000);
        REQUIRE(m);
        CHECK_EQ(ack(q, m), 0);
    }
    CHECK(nothing_within(q, 300));
    stop(q);
}

SL_TEST(delays_leases_and_what_is_given_back)
{
    NEEDS_SERVER();
    sl_queue *q;
    REQUIRE(start(&q));
    uint64_t begin = sl_mono_ns();
    CHECK_EQ(put(q, TOPIC, "later", (sl_queue_put){.delay_ms = 400}, NULL), 0);
    sl_queue_message *m = take(q, TOPIC, 100);
    REQUIRE(m);
    CHECK(sl_mono_ns() - begin >= 390 * 1000000u);
    CHECK_EQ(m->delivery, 1);
    char id[SL_QUEUE_ID_BYTES];
    memcpy(id, m->id, sizeof id);
    uint64_t lease = m->lease;
    sl_queue_message_free(m);
    m = take(q, TOPIC, 60000); /* its lease has ended */
    REQUIRE(m);
    CHECK(strcmp(id, m->id) == 0 && m->delivery == 2);
    CHECK_EQ(sl_queue_ack(q, id, lease, NULL, NULL), SL_ENOENT);
    CHECK_EQ(sl_queue_extend(q, m->id, m->lease, 60000), 0);
    (void)usleep(1500000); /* longer than the broker would wait: it is told that the work goes on */
    CHECK(nothing_within(q, 50));
    CHECK_EQ(sl_queue_nack(q, m->id, m->lease, 200, false, SL_STR("")), 0);
    begin = sl_mono_ns();
    sl_queue_message_free(m);
    m = take(q, TOPIC, 60000);
    REQUIRE(m);
    CHECK(sl_mono_ns() - begin >= 150 * 1000000u);
    CHECK_EQ(m->delivery, 3);
    CHECK_EQ(ack(q, m), 0);
    stop(q);
}

SL_TEST(two_processes_and_one_end)
{
    NEEDS_SERVER();
    sl_queue *a, *b;
    REQUIRE(start(&a));
    b = connect_queue();
    REQUIRE(b);
    sl_queue_put keyed = {.idempotency_key = SL_STR("once")};
    CHECK_EQ(put(a, TOPIC, "x", keyed, NULL), 0);
    sl_queue_message *m = take(a, TOPIC, 60000);
    REQUIRE(m);
    CHECK_EQ(sl_queue_nack(a, m->id, m->lease, 0, false, SL_STR("")), 0);
    sl_queue_message_free(m);
    (void)usleep(50000);
    sl_queue_message *first = NULL, *second = NULL;
    for (int i = 0; i < 3000 && !first; i++) {
        if (sl_queue_take(a, SL_STR(TOPIC), 60000, &first) && sl_queue_take(b, SL_STR(TOPIC), 60000, &second) == 0)
            break;
        (void)usleep(1000);
    }
    CHECK((first != NULL) != (second != NULL)); /* one of them has it */
    if (first)
        CHECK_EQ(ack(a, first), 0);
    if (second)
        CHECK_EQ(ack(b, second), 0);
    CHECK(nothing_within(a, 200) && nothing_within(b, 200));
    sl_queue_close(b);
    stop(a);
}

typedef struct seen {
    atomic_int count; /* the last that is written */
    char id[SL_QUEUE_ID_BYTES], text[256], topic[64];
} seen;

static void note_dead(void *user, const sl_queue_dead *d)
{
    seen *s = user;
    memcpy(s->id, d->id, sizeof s->id);
    (void)sl_str_to_c(d->topic, s->topic, sizeof s->topic);
    (void)snprintf(s->text, sizeof s->text, "%.*s|%.*s|%.*s|%u", (int)d->body.len, d->body.ptr,
                   (int)d->idempotency_key.len, d->idempotency_key.ptr, (int)d->reason.len, d->reason.ptr,
                   d->deliveries);
    s->count++;
}

SL_TEST(dead_letters_of_the_broker)
{
    NEEDS_SERVER();
    sl_queue *q;
    sl_str topic = SL_STR(TOPIC);
    REQUIRE(start(&q));
    CHECK_EQ(put(q, TOPIC, "poison", (sl_queue_put){.idempotency_key = SL_STR("p"), .max_deliveries = 2}, NULL), 0);
    for (unsigned i = 1; i <= 2; i++) {
        sl_queue_message *m = take(q, TOPIC, 60000);
        REQUIRE(m);
        CHECK_EQ(m->delivery, i);
        CHECK_EQ(sl_queue_nack(q, m->id, m->lease, 0, false, SL_STR("it is\nbroken")), 0);
        sl_queue_message_free(m);
    }
    seen s = {0};
    for (int i = 0; i < 100 && !s.count; i++) {
        (void)usleep(20000);
        CHECK(sl_queue_dead_list(q, topic, SL_STR(""), 10, note_dead, &s) >= 0);
    }
    CHECK(strcmp(s.text, "poison|p|it is broken|2") == 0);
    CHECK_EQ(sl_queue_dead_list(q, topic, sl_str_c(s.id), 10, note_dead, &s), 0);
    CHECK_EQ(sl_queue_dead_list(q, SL_STR("none"), SL_STR(""), 10, note_dead, &s), 0); /* another may have made it */
    CHECK_EQ(sl_queue_dead_list(q, SL_STR(""), SL_STR(""), 10, note_dead, &s), SL_EINVAL);
    CHECK_EQ(sl_queue_dead_list(q, SL_STR("a\xff"), SL_STR(""), 10, note_dead, &s), SL_EINVAL);
    CHECK_EQ(sl_queue_dead_list(q, topic, SL_STR("no id"), 10, note_dead, &s), SL_EINVAL);
    outcome o = {0};
    CHECK_EQ(sl_queue_dead_requeue(q, topic, sl_str_c(s.id), note_count, &o), 0);
    CHECK_EQ(wait_outcome(&o), 0);
    CHECK_EQ(o.count, 1);
    sl_queue_message *m = take(q, TOPIC, 60000);
    REQUIRE(m);
    CHECK_EQ(m->delivery, 1);
    CHECK_STR(m->idempotency_key, "p");
    CHECK_EQ(sl_queue_nack(q, m->id, m->lease, 0, true, SL_STR("no")), 0);
    sl_queue_message_free(m);
    outcome purge = {0};
    for (int i = 0; i < 100 && !purge.count; i++) {
        (void)usleep(20000);
        CHECK_EQ(sl_queue_dead_purge(q, topic, SL_STR(""), note_count, &purge), 0);
    }
    CHECK_EQ(purge.count, 1);
    stop(q);
}

/* Every process hears of a dead letter, whoever gave the message up. */
SL_TEST(every_process_hears_of_dead_letters)
{
    NEEDS_SERVER();
    sl_queue *q;
    seen here = {0}, there = {0};
    REQUIRE(start(&q));
    sl_queue *other = connect_queue();
    REQUIRE(other);
    CHECK_EQ(sl_queue_hear_dead(q, note_dead, &here), 0);
    CHECK_EQ(sl_queue_hear_dead(other, note_dead, &there), 0);
    CHECK_EQ(put(q, TOPIC, "poison", (sl_queue_put){.idempotency_key = SL_STR("p")}, NULL), 0);
    sl_queue_message *m = take(q, TOPIC, 60000);
    REQUIRE(m);
    CHECK_EQ(sl_queue_nack(q, m->id, m->lease, 0, true, SL_STR("no")), 0);
    sl_queue_message_free(m);
    for (int i = 0; i < 500 && (!there.count || !here.count); i++)
        (void)usleep(10000);
    CHECK_EQ(here.count, 1);
    CHECK_EQ(there.count, 1);
    CHECK(strcmp(here.text, "poison|p|no|1") == 0 && strcmp(there.text, here.text) == 0);
    CHECK(strcmp(there.topic, TOPIC) == 0);
    sl_queue_close(other);
    stop(q);
}

/* The broker has stored the end and could not say so in time: asked again, it is this delivery's own. */
SL_TEST(an_end_that_is_told_twice_has_succeeded)
{
    NEEDS_SERVER();
    sl_queue *q;
    REQUIRE(start(&q));
    CHECK_EQ(put(q, TOPIC, "x", (sl_queue_put){.idempotency_key = SL_STR("k")}, NULL), 0);
    sl_queue_message *m = take(q, TOPIC, 60000);
    REQUIRE(m);
    outcome first = {0}, second = {0}, third = {0};
    CHECK_EQ(kill(server.pids[0], SIGSTOP), 0);
    CHECK_EQ(sl_queue_ack(q, m->id, m->lease, note_end, &first), 0);
    CHECK_EQ(wait_outcome(&first), SL_EIO); /* nobody knows */
    CHECK_EQ(kill(server.pids[0], SIGCONT), 0);
    (void)usleep(300000); /* it takes what lies in its socket */
    CHECK_EQ(sl_queue_ack(q, m->id, m->lease, note_end, &second), 0);
    CHECK_EQ(wait_outcome(&second), 0);
    CHECK_EQ(sl_queue_ack(q, m->id, m->lease, note_end, &third), SL_ENOENT);
    sl_queue_message_free(m);
    stop(q);
}

/* A server that was started anew knows no topic yet: what is dead there is listed, brought back and removed all the
 * same. A broker that does not answer is a failure, not an empty list. */
SL_TEST(dead_letters_of_an_earlier_process)
{
    NEEDS_SERVER();
    sl_queue *q;
    sl_str topic = SL_STR(TOPIC);
    REQUIRE(start(&q));
    for (int i = 0; i < 3; i++)
        CHECK_EQ(put(q, TOPIC, "x", PLAIN, NULL), 0);
    for (int i = 0; i < 3; i++) {
        sl_queue_message *m = take(q, TOPIC, 60000);
        REQUIRE(m);
        CHECK_EQ(sl_queue_nack(q, m->id, m->lease, 0, true, SL_STR("no")), 0);
        sl_queue_message_free(m);
    }
    seen s = {0};
    for (int i = 0; i < 100 && s.count < 3; i++) {
        (void)usleep(20000);
        s.count = 0;
        CHECK(sl_queue_dead_list(q, topic, SL_STR(""), 10, note_dead, &s) >= 0);
    }
    sl_queue_close(q);
    q = connect_queue();
    REQUIRE(q);
    s.count = 0;
    CHECK_EQ(sl_queue_dead_list(q, topic, SL_STR(""), 2, note_dead, &s), 2); /* a page */
    CHECK_EQ(sl_queue_dead_list(q, topic, sl_str_c(s.id), 2, note_dead, &s), 1);
    outcome o = {0};
    CHECK_EQ(sl_queue_dead_purge(q, topic, sl_str_c(s.id), note_count, &o), 0);
    CHECK_EQ(wait_outcome(&o), 0);
    CHECK_EQ(o.count, 1);
    outcome again = {0};
    CHECK_EQ(sl_queue_dead_purge(q, topic, sl_str_c(s.id), note_count, &again), 0);
    CHECK_EQ(wait_outcome(&again), 0);
    CHECK_EQ(again.count, 0); /* it is gone */
    outcome all = {0};
    CHECK_EQ(sl_queue_dead_requeue(q, topic, SL_STR(""), note_count, &all), 0);
    CHECK_EQ(wait_outcome(&all), 0);
    CHECK_EQ(all.count, 2);
    for (int i = 0; i < 2; i++) {
        sl_queue_message *m = take(q, TOPIC, 60000);
        REQUIRE(m);
        CHECK_EQ(ack(q, m), 0);
    }
    char text[256] = "";
    ns_kill_node(&server, 0);
    CHECK_EQ(sl_queue_dead_list(q, topic, SL_STR(""), 10, note_dead, &s), SL_EIO);
    sl_queue_last_error(q, text, sizeof text);
    CHECK(strstr(text, "dead letters") != NULL);
    ns_start_node(&server, 0);
    (void)ns_wait_node(&server, 0);
    stop(q);
}

typedef struct ear {
    _Atomic unsigned count;
    char last[64];
} ear;

static void on_word(void *user, sl_str word)
{
    ear *e = user;
    (void)sl_str_to_c(word, e->last, sizeof e->last);
    e->count++;
}

static bool heard(ear *e, unsigned count)
{
    for (unsigned i = 0; i < 1000 && e->count < count; i++)
        (void)usleep(5000);
    return e->count == count;
}

SL_TEST(words_reach_every_process_that_listens)
{
    NEEDS_SERVER();
    sl_queue *a = NULL;
    ear of_a = {.count = 0}, of_b = {.count = 0};
    REQUIRE(start(&a));
    sl_queue *b = connect_queue();
    REQUIRE(b);
    CHECK_EQ(sl_queue_hear(a, on_word, &of_a), 0);
    CHECK_EQ(sl_queue_hear(b, on_word, &of_b), 0);
    CHECK_EQ(sl_queue_tell(a, SL_STR("one")), 0);
    CHECK(heard(&of_a, 1) && heard(&of_b, 1)); /* who tells hears it too */
    CHECK_STR(sl_str_c(of_b.last), "one");
    for (unsigned i = 0; i < 100; i++)
        CHECK_EQ(sl_queue_tell(a, SL_STR("many")), 0);
    CHECK(heard(&of_b, 101));
    for (unsigned i = 0; i < 1000; i++)
        CHECK_EQ(sl_queue_tell(a, SL_STR("while it closes")), 0);
    sl_queue_close(b); /* nobody is called any more, whatever is on its way */
    unsigned count = of_b.count;
    CHECK_EQ(sl_queue_tell(a, SL_STR("last")), 0);
    CHECK(heard(&of_a, 1102));
    CHECK_EQ(of_b.count, count);
    stop(a);
}
