/*
 * The embedded queue on a disk that fails: each operation and each allocation in turn, once and for good, and cuts of
 * the power. What was accepted and not ended is delivered, with its bytes, once; what was told as ended never is.
 */
#include "src/queue/queue.h"

#include "src/queue/test_queue_fixture.h"
#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_disk.h"
#include "tests/harness/sl_test.h"

#define MESSAGES 14
#define TOPIC "work"
#define LONG_MS 3600000u

static char folder[64], path[128];

typedef enum known { UNKNOWN = 0, OPEN, ENDED } known; /* UNKNOWN: refused, or told to fail on its way */

typedef struct message {
    known known;
    unsigned found;
} message;

static message all[MESSAGES];

static void make_folder(void)
{
    sl_disk_folder(folder, sizeof folder, "queue");
    if (!sl_test_mkdtemp(folder))
        abort();
    (void)snprintf(path, sizeof path, "%s/queue.db", folder);
    memset(all, 0, sizeof all);
}

static int open_queue(sl_queue **ret_queue, char error[512])
{
    *error = 0;
    return sl_queue_open(&(sl_queue_options){.path = path, .cache_bytes = 300}, error, 512, ret_queue);
}

/* "7 77777…": the number stands in front. */
static void body_of(int number, char body[2048])
{
    size_t len = (size_t)(number * 131 % 1900 + 20);
    memset(body, '0' + number % 10, len);
    body[len] = 0;
    body[snprintf(body, 16, "%d", number)] = ' ';
}

static int number_of(sl_str body)
{
    char expected[2048];
    int number = body.len ? atoi(body.ptr) : -1;
    if (number < 0 || number >= MESSAGES)
        return -1;
    body_of(number, expected);
    return sl_str_eq_c(body, expected) ? number : -1;
}

/* ---- the work ---- */

static void put_all(sl_queue *q)
{
    for (int i = 0; i < MESSAGES; i++) {
        char body[2048], key[16];
        body_of(i, body);
        (void)snprintf(key, sizeof key, "key%d", i);
        sl_queue_put more = {.priority = (unsigned)i % 3, .idempotency_key = sl_str_c(i % 2 ? key : "")};
        if (put(q, TOPIC, body, more, NULL) == 0)
            all[i].known = OPEN;
    }
}

/* What is taken is ended, given back, buried or kept, by turns. */
static void take_some(sl_queue *q)
{
    for (int i = 0; i < MESSAGES - 4; i++) {
        sl_queue_message *m = NULL;
        if (sl_queue_take(q, SL_STR(TOPIC), LONG_MS, &m) != 0)
            continue;
        int number = number_of(m->body);
        CHECK(number >= 0 && all[number].known != ENDED);
        if (number < 0) {
            sl_queue_message_free(m);
        } else if (i % 5 < 2) {
            int error = ack(q, m);
            all[number].known = error ? UNKNOWN : ENDED; /* it may have been written, and the answer lost */
        } else {
            if (i % 5 == 2)
                (void)!sl_queue_nack(q, m->id, m->lease, 1, false, SL_STR(""));
            else if (i % 5 == 3)
                (void)!sl_queue_nack(q, m->id, m->lease, 0, true, SL_STR("the third"));
            sl_queue_message_free(m);
        }
    }
}

static void revive_one(void *user, const sl_queue_dead *dead)
{
    (void)sl_str_to_c(sl_str_c(dead->id), user, SL_QUEUE_ID_BYTES);
}

/* One dead letter comes back; then those that are left are looked at. */
static void move_dead(sl_queue *q)
{
    char id[SL_QUEUE_ID_BYTES] = "";
    outcome o = {0};
    (void)!sl_queue_dead_list(q, SL_STR(TOPIC), SL_STR(""), 1, revive_one, id);
    if (*id && sl_queue_dead_requeue(q, SL_STR(TOPIC), sl_str_c(id), note_count, &o) == 0)
        CHECK(wait_outcome(&o) != SL_ETIMEOUT);
}

static void work(sl_queue *q)
{
    put_all(q);
    take_some(q);
    move_dead(q);
}

/* ---- what must be true then ---- */

static void see_dead(void *user, const sl_queue_dead *dead)
{
    int number = number_of(dead->body);
    (void)user;
    CHECK(number >= 0);
    if (number >= 0)
        all[number].found++;
}

/* True: something was given back with a delay, and may be ready now. */
static bool wait_for_delayed(sl_queue *q)
{
    sl_queue_topic_stats stats = {0};
    (void)sl_queue_get_stats(q, &stats, 1);
    if (stats.delayed)
        (void)usleep(500);
    return stats.delayed || stats.ready;
}

static void find_all(sl_queue *q)
{
    sl_queue_message *m = NULL;
    outcome o = {0};
    int error;
    CHECK(sl_queue_dead_list(q, SL_STR(TOPIC), SL_STR(""), 100, see_dead, NULL) != SL_EIO);
    if (sl_queue_dead_purge(q, SL_STR(TOPIC), SL_STR(""), note_count, &o) == 0)
        CHECK_EQ(wait_outcome(&o), 0);
    while ((error = sl_queue_take(q, SL_STR(TOPIC), LONG_MS, &m)) == 0 || wait_for_delayed(q)) {
        if (error)
            continue;
        int number = number_of(m->body);
        CHECK(number >= 0);
        if (number >= 0)
            all[number].found++;
        CHECK_EQ(ack(q, m), 0);
    }
    CHECK_EQ(error, SL_EAGAIN);
}

static void check_all(const char *what, long n)
{
    char error[512];
    sl_queue *q = NULL;
    if (open_queue(&q, error)) {
        sl_test_failed(__FILE__, __LINE__, "%s %ld: the file cannot be opened: %s", what, n, error);
        return;
    }
    find_all(q);
    sl_queue_topic_stats stats = {0};
    (void)sl_queue_get_stats(q, &stats, 1);
    CHECK_EQ(stats.leased, 0);
    for (int i = 0; i < MESSAGES; i++) {
        if (all[i].found > 1 || (all[i].known == ENDED && all[i].found))
            sl_test_failed(__FILE__, __LINE__, "%s %ld: message %d came %u times", what, n, i, all[i].found);
        if (all[i].known == OPEN && !all[i].found)
            sl_test_failed(__FILE__, __LINE__, "%s %ld: message %d is lost", what, n, i);
    }
    CHECK_EQ(put(q, TOPIC, "more", PLAIN, NULL), 0);
    sl_queue_close(q);
}

/* Opens, works, closes, looks. Returns whether what was to fail has failed. */
static bool one_life(const char *what, long n)
{
    char error[512];
    sl_queue *q = NULL;
    make_folder();
    int opened = open_queue(&q, error);
    if (opened) {
        CHECK(opened == SL_EIO || opened == SL_ENOMEM);
        CHECK(*error || opened == SL_ENOMEM);
    } else {
        work(q);
        sl_queue_close(q);
    }
    sl_test_fail_alloc(-1);
    bool happened = sl_disk_well();
    check_all(what, n);
    sl_test_rmtree(folder);
    return happened;
}

static const sl_disk_case cases[] = {
    {SL_DISK_WRITE, "write", 40}, {SL_DISK_SYNC, "sync", 20}, {SL_DISK_READ, "read", 4},
    {SL_DISK_LOCK, "lock", 20},   {SL_DISK_OPEN, "open", 3},  {SL_DISK_SHARED, "shared map", 1},
};
#define CASES (sizeof cases / sizeof *cases)

SL_TEST(each_operation_of_the_disk_failing_once)
{
    sl_disk_each(cases, CASES, SL_DISK_ONCE, 9, one_life);
}

SL_TEST(each_operation_of_the_disk_failing_for_good)
{
    sl_disk_each(cases, CASES, SL_DISK_FOR_GOOD, 9, one_life);
}

SL_TEST(each_write_torn_on_a_full_disk)
{
    sl_disk_each(cases, 1, SL_DISK_TORN, 9, one_life); /* the first case */
}

SL_TEST(each_allocation_of_sqlite_failing)
{
    sl_disk_each_allocation(61, one_life);
}

SL_TEST(each_allocation_failing)
{
    sl_disk_install();
    for (long n = 0; n < 400; n += n < 120 ? 1 : 5) {
        sl_test_fail_alloc(n);
        (void)one_life("allocation", n);
    }
}

SL_TEST(what_was_accepted_outlives_a_power_cut)
{
    uint64_t state = 77;
    size_t lost_most = 0;
    sl_disk_install();
    for (int round = 0; round < 80; round++) {
        char error[512];
        sl_queue *q = NULL;
        make_folder();
        sl_disk_remember();
        sl_disk_fail(SL_DISK_WRITE | SL_DISK_SYNC | SL_DISK_TRUNCATE | SL_DISK_DELETE, (long)sl_chance(&state, 240),
                     true);
        if (open_queue(&q, error) == 0) {
            work(q);
            sl_queue_close(q);
        }
        (void)sl_disk_well();
        size_t unsynced = sl_disk_cut(path, sl_chance(&state, 20));
        lost_most = unsynced > lost_most ? unsynced : lost_most;
        check_all("power cut", round);
        sl_test_rmtree(folder);
    }
    CHECK(lost_most > 0); /* there was something to lose */
}
