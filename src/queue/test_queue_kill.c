/*
 * The queue under kill -9: a process that puts, takes and acknowledges is killed at random moments, started again on
 * the same file, and so on; a ledger beside it (lines appended by single writes, which a killed process cannot take
 * back) tells what it was told. Afterwards every key that was accepted has been worked on under one message id, was
 * never delivered again after its acknowledgement was confirmed, and nothing is left in the queue.
 *
 * 5 rounds, or 200 with SIGHTLINE_LONG=1. SIGHTLINE_LEDGER=DIR keeps each round's ledger as DIR/round-N.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/rng.h"
#include "src/base/sync.h"
#include "src/queue/queue.h"
#include "tests/harness/sl_test.h"

enum { MAX_KEYS = 1000000, TOPICS = 3, CONSUMERS = 2, WINDOW = 300 };

/* What the ledger says of a key. */
typedef struct fact {
    bool accepted, confirmed;
    unsigned worked;
    char id[SL_QUEUE_ID_BYTES];
} fact;

static fact facts[MAX_KEYS];
static unsigned key_count; /* keys that were put, accepted or not */
static char folder[64], path[128], ledger_path[128];
static int ledger_fd;

static void note(char what, unsigned key, const char *id)
{
    char line[64];
    int len = snprintf(line, sizeof line, "%c %u %s\n", what, key, id);
    if (write(ledger_fd, line, (size_t)len) != len)
        _exit(3);
}

/* ---- the process that is killed ---- */

static sl_queue *queue;
static atomic_uint under_way, open_keys;

static void on_accepted(void *user, int error, const sl_queue_accepted *accepted)
{
    if (error)
        _exit(4);
    note('A', (unsigned)(uintptr_t)user, accepted->id);
    atomic_fetch_sub(&under_way, 1);
}

static void put_key(unsigned key)
{
    char text[32], topic[8];
    (void)snprintf(text, sizeof text, "key-%u", key);
    (void)snprintf(topic, sizeof topic, "t%u", key % TOPICS);
    sl_queue_put put = {.topic = sl_str_c(topic),
                        .body = sl_str_c(text),
                        .idempotency_key = sl_str_c(text),
                        .priority = key % 10,
                        .delay_ms = key % 11 == 0 ? key % 30 : 0,
                        .max_deliveries = SL_QUEUE_MAX_DELIVERIES};
    while (atomic_load(&under_way) >= WINDOW)
        (void)usleep(200);
    note('P', key, "-");
    atomic_fetch_add(&under_way, 1);
    if (sl_queue_put_start(queue, &put, on_accepted, (void *)(uintptr_t)key))
        _exit(5);
}

static void on_acked(void *user, int error)
{
    if (error)
        _exit(6);
    note('C', (unsigned)(uintptr_t)user, "-");
    atomic_fetch_sub(&open_keys, 1);
}

static void work_on(sl_queue_message *m, sl_rng *rng)
{
    char text[32];
    (void)sl_str_to_c(m->body, text, sizeof text);
    unsigned key = (unsigned)strtoul(text + 4, NULL, 10);
    note('W', key, m->id);
    if (sl_rng_next(rng) % 13 == 0) {
        if (sl_queue_nack(queue, m->id, m->lease, sl_rng_next(rng) % 20, false, SL_STR("")))
            _exit(7);
    } else {
        atomic_fetch_add(&open_keys, 1);
        if (sl_queue_ack(queue, m->id, m->lease, on_acked, (void *)(uintptr_t)key))
            _exit(8);
    }
    sl_queue_message_free(m);
}

static void *consume(void *user)
{
    sl_rng rng;
    (void)user;
    sl_rng_init(&rng);
    for (;;) {
        unsigned found = 0;
        for (unsigned t = 0; t < TOPICS; t++) {
            char topic[8];
            sl_queue_message *m;
            (void)snprintf(topic, sizeof topic, "t%u", t);
            int error = sl_queue_take(queue, sl_str_c(topic), 60000, &m);
            if (!error) {
                work_on(m, &rng);
                found++;
            } else if (error != SL_EAGAIN) {
                _exit(9);
            }
        }
        if (!found)
            (void)usleep(300);
    }
}

static unsigned left(void)
{
    sl_queue_topic_stats stats[TOPICS];
    size_t count = sl_queue_get_stats(queue, stats, TOPICS);
    uint64_t sum = atomic_load(&under_way) + atomic_load(&open_keys);
    for (size_t i = 0; i < count && i < TOPICS; i++)
        sum += stats[i].ready + stats[i].delayed + stats[i].leased + stats[i].dead;
    return (unsigned)sum;
}

/* First what was never told to be accepted is put again, by the same keys; then new ones, until it is killed. */
static void live(bool last)
{
    char error[512];
    if (sl_queue_open(&(sl_queue_options){.path = path}, error, sizeof error, &queue)) {
        (void)fprintf(stderr, "%s\n", error);
        _exit(10);
    }
    pthread_t threads[CONSUMERS];
    for (int i = 0; i < CONSUMERS; i++) {
        if (sl_thread_start(&threads[i], consume, NULL))
            _exit(11);
    }
    for (unsigned key = 0; key < key_count; key++) {
        if (!facts[key].accepted)
            put_key(key);
    }
    for (unsigned key = key_count; !last && key < MAX_KEYS; key++)
        put_key(key);
    for (int quiet = 0; quiet < 50; quiet = left() ? 0 : quiet + 1)
        (void)usleep(2000);
    _exit(0);
}

/* ---- the judge ---- */

static void judge_line(char what, unsigned key, const char *id)
{
    fact *f = &facts[key];
    if (key >= key_count)
        key_count = key + 1;
    if (what == 'A') {
        f->accepted = true;
    } else if (what == 'W') {
        if (f->confirmed)
            sl_test_failed(__FILE__, __LINE__, "key %u was delivered after its acknowledgement was confirmed", key);
        f->worked++;
    } else if (what == 'C') {
        if (f->confirmed)
            sl_test_failed(__FILE__, __LINE__, "key %u was completed twice", key);
        f->confirmed = true;
    }
    if (id[0] != '-') {
        if (f->id[0] && strcmp(f->id, id) != 0)
            sl_test_failed(__FILE__, __LINE__, "key %u has two messages: %s and %s", key, f->id, id);
        memcpy(f->id, id, strlen(id) + 1);
    }
}

static bool judge(void)
{
    FILE *file = fopen(ledger_path, "r");
    if (!file)
        return false;
    char what, id[SL_QUEUE_ID_BYTES];
    unsigned key;
    while (fscanf(file, "%c %u %36s\n", &what, &key, id) == 3 && key < MAX_KEYS)
        judge_line(what, key, id);
    bool whole = feof(file) != 0;
    (void)fclose(file);
    return whole;
}

static void keep_ledger(int round)
{
    const char *keep = getenv("SIGHTLINE_LEDGER");
    char name[512];
    if (keep) {
        (void)snprintf(name, sizeof name, "%s/round-%d", keep, round);
        (void)rename(ledger_path, name);
    } else {
        (void)unlink(ledger_path);
    }
}

/* Runs the process; `kill_after_us` 0: until it has ended by itself. Its exit status, or minus the signal. */
static int one_round(unsigned kill_after_us)
{
    ledger_fd = open(ledger_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (ledger_fd < 0)
        return 100;
    pid_t pid = fork();
    if (pid == 0)
        live(kill_after_us == 0);
    if (kill_after_us) {
        (void)usleep(kill_after_us);
        (void)kill(pid, SIGKILL);
    }
    int status = 0;
    (void)waitpid(pid, &status, 0);
    (void)close(ledger_fd);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

SL_TEST(every_accepted_task_completes_exactly_once_whatever_is_killed)
{
    const char *lengthy = getenv("SIGHTLINE_LONG");
    int rounds = lengthy && strcmp(lengthy, "1") == 0 ? 200 : 5;
    (void)snprintf(folder, sizeof folder, "/tmp/sl-test-kill-XXXXXX");
    REQUIRE(mkdtemp(folder) != NULL);
    (void)snprintf(path, sizeof path, "%s/queue.db", folder);
    (void)snprintf(ledger_path, sizeof ledger_path, "%s/ledger", folder);
    sl_rng rng;
    sl_rng_init(&rng);
    int round = 0;
    for (; round < rounds; round++) {
        CHECK_EQ(one_round(2000 + (unsigned)(sl_rng_next(&rng) % 150000)), -SIGKILL);
        CHECK(judge());
        keep_ledger(round);
    }
    CHECK_EQ(one_round(0), 0); /* to the end of all work */
    CHECK(judge());
    keep_ledger(round);
    unsigned missing = 0, completed = 0, again = 0;
    for (unsigned key = 0; key < key_count; key++) {
        missing += !facts[key].accepted || facts[key].worked == 0;
        completed += facts[key].confirmed;
        again += facts[key].worked > 1;
    }
    (void)printf("killed %d times: %u keys accepted, %u confirmed, %u delivered more than once, %u missing\n", rounds,
                 key_count, completed, again, missing);
    CHECK_EQ(missing, 0);
    CHECK(key_count > 0);
    char command[160];
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    CHECK_EQ(system(command), 0);
}
