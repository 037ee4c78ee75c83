/* The embedded queue: what it promises, across restarts, under threads, with a disk that is full or damaged. */
#include "src/queue/queue.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/queue/test_queue_fixture.h"
#include "tests/harness/sl_test.h"

static char folder[64];
static char path[128];

static void make_folder(void)
{
    (void)snprintf(folder, sizeof folder, "/tmp/sl-test-queue-XXXXXX");
    if (!sl_test_mkdtemp(folder))
        abort();
    (void)snprintf(path, sizeof path, "%s/queue.db", folder);
}

static void remove_folder(void)
{
    sl_test_rmtree(folder);
}

static sl_queue *open_with(sl_queue_options options)
{
    char error[512] = "";
    sl_queue *queue = NULL;
    options.path = path;
    if (sl_queue_open(&options, error, sizeof error, &queue)) {
        sl_test_failed(__FILE__, __LINE__, "open: %s", error);
        abort();
    }
    return queue;
}

static sl_queue *open_queue(void)
{
    return open_with((sl_queue_options){.path = path});
}

static sl_queue *reopen(sl_queue *queue)
{
    sl_queue_close(queue);
    return open_queue();
}

/* Nothing is ready; what is, is taken for a second. */
static bool nothing(sl_queue *queue, const char *topic)
{
    sl_queue_message *m = NULL;
    int error = sl_queue_take(queue, sl_str_c(topic), 1000, &m);
    sl_queue_message_free(m);
    return error == SL_EAGAIN;
}

static sl_queue_topic_stats stats_of(sl_queue *queue, const char *topic)
{
    static sl_queue_topic_stats all[64];
    size_t count = sl_queue_get_stats(queue, all, 64);
    for (size_t i = 0; i < count && i < 64; i++) {
        if (strcmp(all[i].topic, topic) == 0)
            return all[i];
    }
    return (sl_queue_topic_stats){.topic = ""};
}

/* Waits until a topic has so many dead letters. */
static bool wait_dead(sl_queue *queue, const char *topic, uint64_t dead)
{
    for (int i = 0; i < 5000; i++) {
        if (stats_of(queue, topic).dead == dead)
            return true;
        (void)usleep(1000);
    }
    return false;
}

SL_TEST(a_message_goes_through)
{
    make_folder();
    sl_queue *q = open_queue();
    sl_queue_accepted accepted;
    uint64_t before = sl_now_ns();
    CHECK_EQ(put(q, "jobs", "hello",
                 (sl_queue_put){.trace = SL_STR("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
                                .idempotency_key = SL_STR("k1"),
                                .priority = 3},
                 &accepted),
             0);
    CHECK(!accepted.duplicate && strlen(accepted.id) == 36);
    sl_queue_message *m = take(q, "jobs", 5000);
    REQUIRE(m);
    CHECK(strcmp(m->id, accepted.id) == 0);
    CHECK_STR(m->topic, "jobs");
    CHECK_STR(m->body, "hello");
    CHECK_STR(m->idempotency_key, "k1");
    CHECK_STR(m->trace, "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    CHECK_EQ(m->delivery, 1);
    CHECK_EQ(m->priority, 3);
    CHECK(m->put_ns >= before && m->taken_ns >= m->put_ns && m->ready_ns == m->put_ns);
    CHECK(nothing(q, "jobs"));
    CHECK_EQ(stats_of(q, "jobs").leased, 1);
    CHECK_EQ(ack(q, m), 0);
    sl_queue_topic_stats s = stats_of(q, "jobs");
    CHECK(s.ready == 0 && s.leased == 0 && s.put == 1 && s.taken == 1 && s.acked == 1);
    sl_queue_disk_stats disk;
    sl_queue_get_disk_stats(q, &disk);
    CHECK(disk.commits >= 2 && disk.bytes > 0 && disk.failed_commits == 0);
    q = reopen(q);
    CHECK(nothing(q, "jobs"));
    CHECK(sl_queue_topic_is(q, SL_STR("jobs")) && !sl_queue_topic_is(q, SL_STR("job")));
    sl_queue_close(q);
    remove_folder();
}

SL_TEST(topics_are_made_once_and_stay)
{
    make_folder();
    sl_queue *q = open_queue();
    CHECK(!sl_queue_topic_is(q, SL_STR("empty")));
    CHECK_EQ(sl_queue_topic_make(q, SL_STR("empty")), 0);
    CHECK_EQ(sl_queue_topic_make(q, SL_STR("empty")), 0);
    CHECK_EQ(sl_queue_topic_make(q, SL_STR("")), SL_EINVAL);
    q = reopen(q);
    CHECK(sl_queue_topic_is(q, SL_STR("empty")));
    CHECK_EQ(put(q, "empty", "x", PLAIN, NULL), 0);
    q = reopen(q);
    CHECK_EQ(stats_of(q, "empty").ready, 1);
    sl_queue_close(q);
    remove_folder();
}

SL_TEST(what_was_accepted_outlives_the_process)
{
    make_folder();
    sl_queue *q = open_queue();
    for (int i = 0; i < 100; i++) {
        char text[16], topic[8];
        (void)snprintf(text, sizeof text, "task %d", i);
        (void)snprintf(topic, sizeof topic, "t%d", i % 3);
        CHECK_EQ(put(q, topic, text, (sl_queue_put){.priority = (unsigned)i % 10}, NULL), 0);
    }
    sl_queue_message *leased = take(q, "t0", 60000); /* its lease ends with the process */
    REQUIRE(leased);
    q = reopen(q);
    CHECK_EQ(sl_queue_ack(q, leased->id, leased->lease, NULL, NULL), SL_ENOENT); /* and its token is nobody's */
    sl_queue_message_free(leased);
    int found = 0;
    for (int t = 0; t < 3; t++) {
        char topic[8];
        (void)snprintf(topic, sizeof topic, "t%d", t);
        while (!nothing(q, topic))
            found++;
    }
    CHECK_EQ(found, 100);
    sl_queue_close(q);
    remove_folder();
}

SL_TEST(bodies_that_are_not_kept_in_memory_are_read)
{
    make_folder();
    sl_queue *q = open_with((sl_queue_options){.cache_bytes = 10});
    char *large = malloc(300000);
    REQUIRE(large);
    memset(large, 'L', 299999);
    large[299999] = 0;
    CHECK_EQ(put(q, "t", large, (sl_queue_put){.idempotency_key = SL_STR("a key"), .trace = SL_STR("trace")}, NULL), 0);
    CHECK_EQ(put(q, "t", "", PLAIN, NULL), 0);
    CHECK_EQ(put(q, "t", "small", PLAIN, NULL), 0);
    sl_queue_message *m = take(q, "t", 1000);
    REQUIRE(m);
    CHECK_EQ(m->body.len, 299999);
    CHECK_STR(m->body, large);
    CHECK_STR(m->trace, "trace");
    CHECK_STR(m->idempotency_key, "a key");
    sl_queue_message_free(m);
    m = take(q, "t", 5000);
    REQUIRE(m);
    CHECK_EQ(m->body.len, 0);
    CHECK_EQ(ack(q, m), 0);
    m = take(q, "t", 5000);
    REQUIRE(m);
    CHECK_STR(m->body, "small");
    CHECK_EQ(ack(q, m), 0);
    m = take(q, "t", 5000); /* the first once more: its bytes went with the first delivery */
    REQUIRE(m);
    CHECK_EQ(m->delivery, 2);
    CHECK_STR(m->body, large);
    CHECK_EQ(ack(q, m), 0);
    free(large);
    sl_queue_close(q);
    remove_folder();
}

SL_TEST(higher_priorities_go_first_and_equal_ones_in_order)
{
    make_folder();
    sl_queue *q = open_queue();
    static const char *const order[] = {"h1", "h2", "m1", "l1", "l2"};
    CHECK_EQ(put(q, "t", "l1", PLAIN, NULL), 0);
    CHECK_EQ(put(q, "t", "h1", (sl_queue_put){.priority = 9}, NULL), 0);
    CHECK_EQ(put(q, "t", "m1", (sl_queue_put){.priority = 5}, NULL), 0);
    CHECK_EQ(put(q, "t", "h2", (sl_queue_put){.priority = 9}, NULL), 0);
    CHECK_EQ(put(q, "t", "l2", PLAIN, NULL), 0);
    for (int round = 0; round < 2; round++) { /* and after a start alike */
        for (int i = 0; i < 5; i++) {
            sl_queue_message *m = take(q, "t", 60000);
            REQUIRE(m);
            CHECK_STR(m->body, order[i]);
            sl_queue_message_free(m);
        }
        q = reopen(q);
    }
    sl_queue_close(q);
    remove_folder();
}

SL_TEST(a_delay_holds_it_back_also_across_a_start)
{
    make_folder();
    sl_queue *q = open_queue();
    uint64_t start = sl_mono_ns();
    CHECK_EQ(put(q, "t", "later", (sl_queue_put){.delay_ms = 300}, NULL), 0);
    CHECK_EQ(put(q, "t", "much later", (sl_queue_put){.delay_ms = 3600000}, NULL), 0);
    CHECK(nothing(q, "t"));
    CHECK_EQ(stats_of(q, "t").delayed, 2);
    q = reopen(q);
    CHECK(nothing(q, "t") || sl_mono_ns() - start > 290000000u);
    sl_queue_message *m = take(q, "t", 1000);
    REQUIRE(m);
    CHECK(sl_mono_ns() - start >= 295 * 1000000u);
    CHECK_STR(m->body, "later");
    CHECK_EQ(ack(q, m), 0);
    CHECK_EQ(stats_of(q, "t").delayed, 1);
    sl_queue_close(q);
    remove_folder();
}

SL_TEST(a_key_is_accepted_once)
{
    make_folder();
    sl_queue *q = open_queue();
    sl_queue_accepted first, again;
    sl_queue_put keyed = {.idempotency_key = SL_STR("order 17")};
    CHECK_EQ(put(q, "t", "one", keyed, &first), 0);
    CHECK_EQ(put(q, "t", "two", keyed, &again), 0); /* while it waits */
    CHECK(again.duplicate && strcmp(first.id, again.id) == 0);
    CHECK_EQ(put(q, "other", "one", keyed, &again), 0); /* topics have keys of their own */
    CHECK(!again.duplicate);
    sl_queue_message *m = take(q, "t", 5000);
    REQUIRE(m);
    CHECK_STR(m->body, "one");
    CHECK_EQ(put(q, "t", "three", keyed, &again), 0); /* while it is worked on */
    CHECK(again.duplicate);
    CHECK_EQ(ack(q, m), 0);
    CHECK_EQ(put(q, "t", "four", keyed, &again), 0); /* when it is over */
    CHECK(again.duplicate && strcmp(first.id, again.id) == 0);
    q = reopen(q);
    CHECK_EQ(put(q, "t", "five", keyed, &again), 0); /* and after a start */
    CHECK(again.duplicate && strcmp(first.id, again.id) == 0);
    CHECK(nothing(q, "t"));
    CHECK_EQ(stats_of(q, "t").duplicates, 1);
    sl_queue_close(q);
    remove_folder();
}

SL_TEST(a_key_is_forgotten_after_its_retention)
{
    make_folder();
    sl_queue *q = open_with((sl_queue_options){.key_retention_ms = 100});
    sl_queue_accepted first, again;
    sl_queue_put keyed = {.idempotency_key = SL_STR("k")};
    CHECK_EQ(put(q, "t", "one", keyed, &first), 0);
    (void)usleep(400000);
    CHECK_EQ(put(q, "t", "one", keyed, &again), 0); /* it waits still: however long */
    CHECK(again.duplicate);
    sl_queue_message *m = take(q, "t", 5000);
    REQUIRE(m);
    CHECK_EQ(ack(q, m), 0);
    CHECK_EQ(put(q, "t", "one", keyed, &again), 0);
    CHECK(again.duplicate);
    for (int i = 0; i < 60 && again.duplicate; i++) {
        (void)usleep(100000);
        CHECK_EQ(put(q, "t", "one", keyed, &again), 0);
    }
    CHECK(!again.duplicate);
    sl_queue_close(q);
    remove_folder();
}

SL_TEST(a_lease_that_ends_gives_the_message_to_another)
{
    make_folder();
    sl_queue *q = open_queue();
    CHECK_EQ(put(q, "t", "x", PLAIN, NULL), 0);
    sl_queue_message *first = take(q, "t", 60);
    REQUIRE(first);
    sl_queue_message *second = take(q, "t", 5000);
    REQUIRE(second);
    CHECK(strcmp(first->id, second->id) == 0 && first->lease != second->lease);
    CHECK_EQ(second->delivery, 2);
    CHECK(second->ready_ns > first->ready_ns);
    CHECK_EQ(sl_queue_ack(q, first->id, first->lease, NULL, NULL), SL_ENOENT);
    CHECK_EQ(sl_queue_extend(q, first->id, first->lease, 1000), SL_ENOENT);
    CHECK_EQ(sl_queue_nack(q, first->id, first->lease, 0, false, SL_STR("")), SL_ENOENT);
    sl_queue_message_free(first);
    CHECK_EQ(ack(q, second), 0);
    CHECK_EQ(stats_of(q, "t").redelivered, 1);
    sl_queue_close(q);
    remove_folder();
}

SL_TEST(a_lease_is_extended)
{
    make_folder();
    sl_queue *q = open_queue();
    CHECK_EQ(put(q, "t", "x", PLAIN, NULL), 0);
    sl_queue_message *m = take(q, "t", 100);
    REQUIRE(m);
    CHECK_EQ(sl_queue_extend(q, m->id, m->lease, 5000), 0);
    (void)usleep(250000);
    CHECK(nothing(q, "t"));
    CHECK_EQ(sl_queue_extend(q, m->id, m->lease, 0), SL_EINVAL);
    CHECK_EQ(sl_queue_extend(q, m->id, m->lease, 20), 0); /* and cut short */
    sl_queue_message *again = take(q, "t", 5000);
    REQUIRE(again);
    CHECK_EQ(ack(q, again), 0);
    sl_queue_message_free(m);
    sl_queue_close(q);
    remove_folder();
}

SL_TEST(what_is_given_back_goes_behind_the_others)
{
    make_folder();
    sl_queue *q = open_queue();
    CHECK_EQ(put(q, "t", "a", PLAIN, NULL), 0);
    CHECK_EQ(put(q, "t", "b", PLAIN, NULL), 0);
    sl_queue_message *a = take(q, "t", 5000);
    REQUIRE(a);
    CHECK_EQ(sl_queue_nack(q, a->id, a->lease, 0, false, SL_STR("")), 0);
    CHECK_EQ(sl_queue_nack(q, a->id, a->lease, 0, false, SL_STR("")), SL_ENOENT);
    sl_queue_message_free(a);
    sl_queue_message *b = take(q, "t", 5000);
    REQUIRE(b);
    CHECK_STR(b->body, "b");
    a = take(q, "t", 5000);
    REQUIRE(a);
    CHECK_STR(a->body, "a");
    CHECK_EQ(a->delivery, 2);
    uint64_t start = sl_mono_ns();
    CHECK_EQ(sl_queue_nack(q, a->id, a->lease, 150, false, SL_STR("")), 0);
    sl_queue_message_free(a);
    CHECK(nothing(q, "t"));
    a = take(q, "t", 5000);
    REQUIRE(a);
    CHECK(sl_mono_ns() - start >= 145 * 1000000u);
    CHECK_EQ(a->delivery, 3);
    CHECK_EQ(ack(q, a), 0);
    CHECK_EQ(ack(q, b), 0);
    sl_queue_close(q);
    remove_folder();
}

/* ---- dead letters ---- */

typedef struct dead_seen {
    int count;
    char ids[16][SL_QUEUE_ID_BYTES];
    char last[256];
} dead_seen;

static void note_dead(void *user, const sl_queue_dead *d)
{
    dead_seen *seen = user;
    memcpy(seen->ids[seen->count++ % 16], d->id, SL_QUEUE_ID_BYTES);
    (void)snprintf(seen->last, sizeof seen->last, "%.*s|%.*s|%.*s|%.*s|%u|%d", (int)d->topic.len, d->topic.ptr,
                   (int)d->body.len, d->body.ptr, (int)d->idempotency_key.len, d->idempotency_key.ptr,
                   (int)d->reason.len, d->reason.ptr, d->deliveries, d->dead_ns >= d->put_ns - 1000000);
}

SL_TEST(a_message_that_always_fails_becomes_a_dead_letter)
{
    make_folder();
    sl_queue *q = open_queue();
    CHECK_EQ(put(q, "t", "poison", (sl_queue_put){.max_deliveries = 3, .idempotency_key = SL_STR("p")}, NULL), 0);
    for (unsigned i = 1; i <= 3; i++) {
        sl_queue_message *m = take(q, "t", i == 2 ? 30 : 5000);
        REQUIRE(m);
        CHECK_EQ(m->delivery, i);
        if (i != 2) /* the second time its lease ends */
            CHECK_EQ(sl_queue_nack(q, m->id, m->lease, 0, false, SL_STR("it is broken")), 0);
        sl_queue_message_free(m);
        if (i == 1)
            q = reopen(q); /* deliveries are counted across starts */
    }
    CHECK(wait_dead(q, "t", 1));
    CHECK(nothing(q, "t"));
    dead_seen seen = {0};
    CHECK_EQ(sl_queue_dead_list(q, SL_STR("t"), SL_STR(""), 10, note_dead, &seen), 1);
    CHECK(strcmp(seen.last, "t|poison|p|it is broken|3|1") == 0);
    sl_queue_accepted again;
    CHECK_EQ(put(q, "t", "poison", (sl_queue_put){.idempotency_key = SL_STR("p")}, &again), 0);
    CHECK(again.duplicate && strcmp(again.id, seen.ids[0]) == 0); /* its key is still taken */
    q = reopen(q);
    CHECK_EQ(stats_of(q, "t").dead, 1);
    outcome o = {0};
    CHECK_EQ(sl_queue_dead_requeue(q, SL_STR("t"), sl_str_c(seen.ids[0]), note_count, &o), 0);
    CHECK_EQ(wait_outcome(&o), 0);
    CHECK_EQ(o.count, 1);
    CHECK_EQ(stats_of(q, "t").dead, 0);
    sl_queue_message *m = take(q, "t", 5000);
    REQUIRE(m);
    CHECK_EQ(m->delivery, 1);
    CHECK_STR(m->body, "poison");
    CHECK_EQ(ack(q, m), 0);
    CHECK_EQ(sl_queue_dead_list(q, SL_STR("t"), SL_STR(""), 10, note_dead, &seen), 0);
    sl_queue_close(q);
    remove_folder();
}

typedef struct dead_ear {
    atomic_int count;
    char text[200];
} dead_ear;

static void hear_dead(void *user, const sl_queue_dead *d)
{
    dead_ear *ear = user;
    (void)snprintf(ear->text, sizeof ear->text, "%.*s|%.*s|%.*s|%.*s|%u|%s", (int)d->topic.len, d->topic.ptr,
                   (int)d->body.len, d->body.ptr, (int)d->idempotency_key.len, d->idempotency_key.ptr,
                   (int)d->reason.len, d->reason.ptr, d->deliveries, d->id);
    atomic_fetch_add(&ear->count, 1);
}

/* Whoever listens is told of each, once and whole, also when its bytes were not in memory any more. */
SL_TEST(who_listens_is_told_of_dead_letters)
{
    make_folder();
    sl_queue *q = open_with((sl_queue_options){.cache_bytes = 1});
    dead_ear ear = {.count = 0};
    CHECK_EQ(sl_queue_hear_dead(q, hear_dead, &ear), 0);
    CHECK_EQ(put(q, "other", "stays", PLAIN, NULL), 0);
    CHECK_EQ(put(q, "t", "poison", (sl_queue_put){.idempotency_key = SL_STR("k"), .max_deliveries = 2}, NULL), 0);
    char expected[200] = "";
    for (int i = 0; i < 2; i++) {
        CHECK_EQ(atomic_load(&ear.count), 0);
        sl_queue_message *m = take(q, "t", 60000);
        REQUIRE(m);
        (void)snprintf(expected, sizeof expected, "t|poison|k|broken|2|%s", m->id);
        CHECK_EQ(sl_queue_nack(q, m->id, m->lease, 0, false, SL_STR("broken")), 0);
        sl_queue_message_free(m);
    }
    for (int i = 0; i < 5000 && !atomic_load(&ear.count); i++)
        (void)usleep(1000);
    CHECK_EQ(atomic_load(&ear.count), 1);
    CHECK(strcmp(ear.text, expected) == 0);
    sl_queue_close(q);
    remove_folder();
}

SL_TEST(the_last_lease_ends_among_the_dead_letters)
{
    make_folder();
    sl_queue *q = open_with((sl_queue_options){.max_deliveries = 1});
    CHECK_EQ(put(q, "t", "x", PLAIN, NULL), 0);
    sl_queue_message *m = take(q, "t", 40);
    REQUIRE(m);
    sl_queue_message_free(m);
    CHECK(wait_dead(q, "t", 1));
    /* One that ends its process during its last delivery is not delivered again. */
    CHECK_EQ(put(q, "t", "y", PLAIN, NULL), 0);
    m = take(q, "t", 60000);
    REQUIRE(m);
    sl_queue_message_free(m);
    (void)usleep(200000); /* long enough to be counted */
    q = reopen(q);
    CHECK(wait_dead(q, "t", 2));
    CHECK(nothing(q, "t"));
    sl_queue_close(q);
    remove_folder();
}

SL_TEST(dead_letters_are_listed_in_pages_and_removed)
{
    make_folder();
    sl_queue *q = open_queue();
    for (int i = 0; i < 12; i++) {
        CHECK_EQ(put(q, "t", "x", (sl_queue_put){.idempotency_key = i ? SL_STR("") : SL_STR("k")}, NULL), 0);
        sl_queue_message *m = take(q, "t", 5000);
        REQUIRE(m);
        CHECK_EQ(sl_queue_nack(q, m->id, m->lease, 0, true, SL_STR("no")), 0);
        sl_queue_message_free(m);
    }
    CHECK(wait_dead(q, "t", 12));
    dead_seen seen = {0};
    CHECK_EQ(sl_queue_dead_list(q, SL_STR("t"), SL_STR(""), 5, note_dead, &seen), 5);
    CHECK_EQ(sl_queue_dead_list(q, SL_STR("t"), sl_str_c(seen.ids[4]), 5, note_dead, &seen), 5);
    CHECK_EQ(sl_queue_dead_list(q, SL_STR("t"), sl_str_c(seen.ids[9]), 5, note_dead, &seen), 2);
    CHECK_EQ(sl_queue_dead_list(q, SL_STR("unknown"), SL_STR(""), 5, note_dead, &seen), SL_ENOENT);
    CHECK_EQ(sl_queue_dead_list(q, SL_STR("t"), SL_STR("nonsense"), 5, note_dead, &seen), SL_EINVAL);
    outcome one = {0}, none = {0}, rest = {0};
    CHECK_EQ(sl_queue_dead_purge(q, SL_STR("t"), sl_str_c(seen.ids[0]), note_count, &one), 0);
    CHECK_EQ(wait_outcome(&one), 0);
    CHECK_EQ(one.count, 1);
    CHECK_EQ(sl_queue_dead_purge(q, SL_STR("t"), sl_str_c(seen.ids[0]), note_count, &none), 0);
    CHECK_EQ(wait_outcome(&none), 0);
    CHECK_EQ(none.count, 0);
    CHECK_EQ(sl_queue_dead_purge(q, SL_STR("t"), SL_STR(""), note_count, &rest), 0);
    CHECK_EQ(wait_outcome(&rest), 0);
    CHECK_EQ(rest.count, 11);
    CHECK_EQ(stats_of(q, "t").dead, 0);
    q = reopen(q);
    CHECK_EQ(stats_of(q, "t").dead, 0);
    CHECK(nothing(q, "t"));
    sl_queue_close(q);
    remove_folder();
}

SL_TEST(thousands_of_dead_letters_come_back_at_once)
{
    make_folder();
    enum { COUNT = 2500 };
    sl_queue *q = open_queue();
    for (int i = 0; i < COUNT; i++)
        CHECK_EQ(sl_queue_put_start(q, &(sl_queue_put){.topic = SL_STR("t"), .body = SL_STR("x")}, NULL, NULL), 0);
    for (int i = 0; i < COUNT; i++) {
        sl_queue_message *m = take(q, "t", 60000);
        REQUIRE(m);
        CHECK_EQ(sl_queue_nack(q, m->id, m->lease, 0, true, SL_STR("no")), 0);
        sl_queue_message_free(m);
    }
    CHECK(wait_dead(q, "t", COUNT));
    outcome o = {0};
    CHECK_EQ(sl_queue_dead_requeue(q, SL_STR("t"), SL_STR(""), note_count, &o), 0);
    CHECK_EQ(wait_outcome(&o), 0);
    CHECK_EQ(o.count, COUNT);
    sl_queue_topic_stats s = stats_of(q, "t");
    CHECK(s.dead == 0 && s.ready == COUNT);
    sl_queue_close(q);
    remove_folder();
}

/* ---- push ---- */

static void count_call(void *user)
{
    atomic_fetch_add((atomic_int *)user, 1);
}

static bool wait_calls(atomic_int *calls, int wanted)
{
    for (int i = 0; i < 3000 && atomic_load(calls) < wanted; i++)
        (void)usleep(1000);
    return atomic_load(calls) >= wanted;
}

SL_TEST(watchers_are_told_and_not_more_often_than_needed)
{
    make_folder();
    sl_queue *q = open_queue();
    atomic_int calls = 0, others = 0;
    int id = sl_queue_watch(q, SL_STR("t"), count_call, &calls);
    int other = sl_queue_watch(q, SL_STR("u"), count_call, &others);
    CHECK(id > 0 && other > id);
    for (int i = 0; i < 10; i++)
        CHECK_EQ(put(q, "t", "x", PLAIN, NULL), 0);
    CHECK(wait_calls(&calls, 1));
    CHECK_EQ(atomic_load(&calls), 1); /* it has not looked since */
    while (!nothing(q, "t"))
        ;
    CHECK_EQ(put(q, "t", "x", PLAIN, NULL), 0);
    CHECK(wait_calls(&calls, 2));
    sl_queue_message *m = take(q, "t", 50);
    REQUIRE(m);
    sl_queue_message_free(m);
    CHECK(nothing(q, "t"));
    CHECK(wait_calls(&calls, 3)); /* a lease that ends */
    while (!nothing(q, "t"))
        ;
    CHECK_EQ(put(q, "t", "x", (sl_queue_put){.delay_ms = 50}, NULL), 0);
    CHECK(wait_calls(&calls, 4)); /* a delay that ends */
    CHECK_EQ(atomic_load(&others), 0);
    sl_queue_unwatch(q, id);
    sl_queue_unwatch(q, 12345);
    while (!nothing(q, "t"))
        ;
    CHECK_EQ(put(q, "t", "x", PLAIN, NULL), 0);
    (void)usleep(20000);
    CHECK_EQ(atomic_load(&calls), 4);
    sl_queue_close(q);
    remove_folder();
}

/* ---- limits ---- */

SL_TEST(what_cannot_be_a_put)
{
    make_folder();
    sl_queue *q = open_queue();
    char long_text[300];
    memset(long_text, 'n', sizeof long_text);
    sl_queue_put good = {.topic = SL_STR("t"), .body = SL_STR("x")}, bad;
    sl_queue_accepted a;
#define REFUSED(field, value, error)                                                                                   \
    do {                                                                                                               \
        bad = good;                                                                                                    \
        bad.field = (value);                                                                                           \
        CHECK_EQ(sl_queue_put_wait(q, &bad, &a), error);                                                               \
    } while (0)
    REFUSED(topic, SL_STR(""), SL_EINVAL);
    REFUSED(topic, sl_str_of(long_text, 256), SL_EINVAL);
    REFUSED(topic, SL_STR("a\xff"), SL_EINVAL);
    REFUSED(idempotency_key, sl_str_of(long_text, 256), SL_EINVAL);
    REFUSED(trace, sl_str_of(long_text, 65), SL_EINVAL);
    REFUSED(priority, 10, SL_EINVAL);
    REFUSED(max_deliveries, 1001, SL_EINVAL);
    REFUSED(delay_ms, UINT64_MAX, SL_EINVAL);
    REFUSED(body, sl_str_of(long_text, SL_QUEUE_MAX_BODY_BYTES + 1), SL_ETOOBIG);
    CHECK_EQ(sl_queue_put_wait(q, &good, &a), 0);
    sl_queue_message *m;
    CHECK_EQ(sl_queue_take(q, SL_STR("t"), 0, &m), SL_EINVAL);
    CHECK_EQ(sl_queue_take(q, SL_STR("t"), UINT64_MAX, &m), SL_EINVAL);
    CHECK_EQ(sl_queue_take(q, SL_STR("unknown"), 1, &m), SL_EAGAIN);
    CHECK_EQ(sl_queue_ack(q, "nonsense", 1, NULL, NULL), SL_ENOENT);
    sl_queue_close(q);
    remove_folder();
}

SL_TEST(a_full_queue_pushes_back)
{
    make_folder();
    sl_queue *q = open_with((sl_queue_options){.max_waiting = 10, .max_topic_waiting = 6, .max_topics = 2});
    for (int i = 0; i < 10; i++)
        CHECK_EQ(put(q, i < 6 ? "a" : "b", "x", PLAIN, NULL), 0);
    CHECK_EQ(put(q, "a", "x", PLAIN, NULL), SL_EAGAIN);
    CHECK_EQ(put(q, "b", "x", PLAIN, NULL), SL_EAGAIN);
    CHECK_EQ(put(q, "c", "x", PLAIN, NULL), SL_EAGAIN);
    CHECK_EQ(stats_of(q, "a").rejected, 1);
    sl_queue_message *m = take(q, "b", 5000);
    REQUIRE(m);
    CHECK_EQ(ack(q, m), 0);
    CHECK_EQ(put(q, "a", "x", PLAIN, NULL), SL_EAGAIN); /* the topic's own limit */
    CHECK_EQ(put(q, "b", "x", PLAIN, NULL), 0);
    m = take(q, "b", 5000); /* dead letters take room too */
    REQUIRE(m);
    CHECK_EQ(sl_queue_nack(q, m->id, m->lease, 0, true, SL_STR("no")), 0);
    sl_queue_message_free(m);
    CHECK(wait_dead(q, "b", 1));
    CHECK_EQ(put(q, "b", "x", PLAIN, NULL), SL_EAGAIN);
    sl_queue_close(q);
    remove_folder();
}

SL_TEST(a_second_process_is_refused)
{
    make_folder();
    sl_queue *q = open_queue(), *second = NULL;
    char error[512] = "";
    CHECK_EQ(sl_queue_open(&(sl_queue_options){.path = path}, error, sizeof error, &second), SL_EIO);
    CHECK(strstr(error, "another process") != NULL);
    sl_queue_close(q);
    remove_folder();
}

/* ---- bad disks ---- */

static void set_file_size(rlim_t bytes)
{
    struct rlimit limit = {bytes, RLIM_INFINITY};
    (void)setrlimit(RLIMIT_FSIZE, &limit);
}

SL_TEST(a_full_disk_keeps_what_was_accepted)
{
    make_folder();
    (void)signal(SIGXFSZ, SIG_IGN);
    sl_queue *q = open_queue();
    char body[20001];
    memset(body, 'b', 20000);
    body[20000] = 0;
    int accepted = 0, error = 0;
    set_file_size(600 * 1024);
    for (; accepted < 1000; accepted++) {
        error = put(q, "t", body, PLAIN, NULL);
        if (error)
            break;
    }
    CHECK(error == SL_ELIMIT || error == SL_EIO);
    CHECK(accepted > 2 && accepted < 200);
    char text[512];
    sl_queue_last_error(q, text, sizeof text);
    CHECK(strstr(text, "disk") != NULL && strstr(text, "kept") != NULL);
    CHECK_EQ(stats_of(q, "t").ready, accepted);
    /* An acknowledgement that cannot be written is told, and the message is not lost. */
    sl_queue_message *m = take(q, "t", 60000);
    REQUIRE(m);
    outcome o = {0};
    CHECK_EQ(sl_queue_ack(q, m->id, m->lease, note_end, &o), 0);
    error = wait_outcome(&o);
    if (error) {
        outcome again = {0};
        CHECK_EQ(stats_of(q, "t").leased, 1);
        set_file_size(RLIM_INFINITY);
        CHECK_EQ(sl_queue_ack(q, m->id, m->lease, note_end, &again), 0);
        CHECK_EQ(wait_outcome(&again), 0);
    }
    sl_queue_message_free(m);
    set_file_size(RLIM_INFINITY);
    CHECK_EQ(put(q, "t", body, PLAIN, NULL), 0); /* room again */
    q = reopen(q);
    CHECK_EQ(stats_of(q, "t").ready, accepted);
    sl_queue_close(q);
    remove_folder();
}

static void damage(off_t page)
{
    char noise[4096];
    memset(noise, 0xA5, sizeof noise);
    int fd = open(path, O_WRONLY);
    if (fd < 0 || pwrite(fd, noise, sizeof noise, page * 4096) != 4096)
        abort();
    (void)close(fd);
}

/* Every page in turn: an error that says the way out, or messages whose bytes are right; nothing else. */
SL_TEST(a_damaged_page_is_told_and_never_delivered)
{
    make_folder();
    for (off_t page = 0; page < 30; page++) {
        sl_queue *q = open_queue();
        char body[1001];
        memset(body, 'b', 1000);
        body[1000] = 0;
        for (int i = 0; i < 60; i++)
            CHECK_EQ(put(q, "t", body, (sl_queue_put){.idempotency_key = SL_STR("")}, NULL), 0);
        sl_queue_close(q);
        damage(page);
        char error[512] = "";
        int opened = sl_queue_open(&(sl_queue_options){.path = path}, error, sizeof error, &q);
        if (opened) {
            CHECK_EQ(opened, SL_EIO);
            CHECK(strstr(error, ".recover") != NULL);
        } else {
            for (int i = 0; i < 60; i++) {
                sl_queue_message *m = NULL;
                int taken = sl_queue_take(q, SL_STR("t"), 60000, &m);
                CHECK(taken == 0 || taken == SL_EIO || taken == SL_EAGAIN);
                if (m)
                    CHECK_STR(m->body, body);
                sl_queue_message_free(m);
            }
            sl_queue_close(q);
        }
        remove_folder();
        make_folder();
    }
    remove_folder();
}

/* Damages the page where this text stands. */
static void damage_text(const char *text)
{
    static char bytes[1 << 20];
    FILE *file = fopen(path, "rbe");
    size_t len = file ? fread(bytes, 1, sizeof bytes, file) : 0;
    if (file)
        (void)fclose(file);
    const char *at = len ? memmem(bytes, len, text, strlen(text)) : NULL;
    CHECK(at != NULL);
    if (at)
        damage((at - bytes) / 4096);
}

SL_TEST(a_damaged_message_does_not_hold_up_the_others)
{
    enum { COUNT = 20, BAD = 7 };
    make_folder();
    sl_queue *q = open_queue();
    for (int i = 0; i < COUNT; i++) {
        char body[3001];
        (void)snprintf(body, sizeof body, "message number %02d%02900d", i, 0);
        CHECK_EQ(put(q, "t", body, PLAIN, NULL), 0);
    }
    sl_queue_close(q);
    char text[32];
    (void)snprintf(text, sizeof text, "message number %02d", BAD);
    damage_text(text);
    q = open_with((sl_queue_options){.cache_bytes = 1});
    for (int i = 0; i < COUNT; i++) {
        sl_queue_message *m = NULL;
        if (i == BAD)
            continue;
        CHECK_EQ(sl_queue_take(q, SL_STR("t"), 60000, &m), 0);
        REQUIRE(m);
        (void)snprintf(text, sizeof text, "message number %02d", i);
        CHECK(sl_str_starts(m->body, sl_str_c(text)));
        int error = ack(q, m); /* those beside the damaged page cannot be removed, and say so */
        CHECK(error == 0 || error == SL_EIO);
    }
    sl_queue_message *none = NULL;
    CHECK_EQ(sl_queue_take(q, SL_STR("t"), 60000, &none), SL_EAGAIN);
    CHECK(stats_of(q, "t").leased >= 1 && stats_of(q, "t").leased < COUNT / 2); /* they come again */
    sl_queue_close(q);
    remove_folder();
}

/* ---- threads ---- */

enum { PRODUCERS = 3, CONSUMERS = 3, EACH = 1500 };

typedef struct crowd {
    sl_queue *q;
    atomic_int seen[PRODUCERS * EACH];
    atomic_int next, acked;
} crowd;

static void *crowd_put(void *user)
{
    crowd *c = user;
    for (int i = 0; i < EACH; i++) {
        int number = atomic_fetch_add(&c->next, 1);
        char text[16], key[16];
        (void)snprintf(text, sizeof text, "%d", number);
        (void)snprintf(key, sizeof key, "k%d", number);
        sl_queue_put p = {.topic = SL_STR("t"),
                          .body = sl_str_c(text),
                          .idempotency_key = number % 2 ? sl_str_c(key) : SL_STR(""),
                          .priority = (unsigned)number % 10,
                          .delay_ms = number % 50 == 0 ? 5 : 0};
        while (sl_queue_put_start(c->q, &p, NULL, NULL) == SL_EAGAIN)
            (void)usleep(1000);
        if (number % 2) /* the same once more */
            while (sl_queue_put_start(c->q, &p, NULL, NULL) == SL_EAGAIN)
                (void)usleep(1000);
    }
    return NULL;
}

static void *crowd_take(void *user)
{
    crowd *c = user;
    uint64_t deadline = sl_deadline_ns(20000);
    while (atomic_load(&c->acked) < PRODUCERS * EACH && sl_mono_ns() < deadline) {
        sl_queue_message *m;
        if (sl_queue_take(c->q, SL_STR("t"), 30000, &m)) {
            (void)usleep(500);
            continue;
        }
        char text[16];
        (void)sl_str_to_c(m->body, text, sizeof text);
        int number = atoi(text);
        if (number % 7 == 0 && m->delivery == 1) {
            CHECK_EQ(sl_queue_nack(c->q, m->id, m->lease, (uint64_t)number % 3, false, SL_STR("")), 0);
        } else {
            atomic_fetch_add(&c->seen[number], 1);
            CHECK_EQ(sl_queue_ack(c->q, m->id, m->lease, NULL, NULL), 0);
            atomic_fetch_add(&c->acked, 1);
        }
        sl_queue_message_free(m);
    }
    return NULL;
}

SL_TEST(many_threads_each_task_once)
{
    make_folder();
    static crowd c;
    memset(&c, 0, sizeof c);
    c.q = open_with((sl_queue_options){.cache_bytes = 2000});
    pthread_t threads[PRODUCERS + CONSUMERS];
    for (int i = 0; i < PRODUCERS + CONSUMERS; i++)
        REQUIRE(sl_thread_start(&threads[i], i < PRODUCERS ? crowd_put : crowd_take, &c) == 0);
    for (int i = 0; i < PRODUCERS + CONSUMERS; i++)
        (void)pthread_join(threads[i], NULL);
    int wrong = 0;
    for (int i = 0; i < PRODUCERS * EACH; i++)
        wrong += atomic_load(&c.seen[i]) != 1;
    CHECK_EQ(wrong, 0);
    CHECK(nothing(c.q, "t"));
    c.q = reopen(c.q);
    CHECK(nothing(c.q, "t"));
    sl_queue_close(c.q);
    remove_folder();
}

SL_TEST(every_allocation_failing_loses_nothing)
{
    make_folder();
    int accepted = 0;
    for (long n = 0; n < 60; n++) {
        char error[512];
        sl_queue *q = NULL;
        sl_test_fail_alloc(n);
        int opened = sl_queue_open(&(sl_queue_options){.path = path}, error, sizeof error, &q);
        if (!opened) {
            if (put(q, "t", "x", (sl_queue_put){.idempotency_key = SL_STR("")}, NULL) == 0)
                accepted++;
            sl_queue_message *m = NULL;
            if (sl_queue_take(q, SL_STR("t"), 60000, &m) == 0) {
                outcome o = {0};
                if (sl_queue_ack(q, m->id, m->lease, note_end, &o) == 0 && wait_outcome(&o) == 0)
                    accepted--;
                sl_queue_message_free(m);
            }
            sl_queue_close(q);
        } else {
            CHECK_EQ(opened, SL_ENOMEM);
        }
        sl_test_fail_alloc(-1);
        q = open_queue();
        sl_queue_topic_stats s = stats_of(q, "t");
        CHECK_EQ(s.ready + s.leased, accepted);
        sl_queue_close(q);
    }
    remove_folder();
}
