/*
 * The queue under kill -9: a process that puts, takes and acknowledges is killed at random moments, started again on
 * the same file, and so on; a ledger beside it (lines appended by single writes, which a killed process cannot take
 * back) tells what it was told. Afterwards every key that was accepted has been worked on under one message id, was
 * never delivered again after its acknowledgement was confirmed, and nothing is left in the queue. (A cluster may
 * forget with a leader that it has delivered a message: then it comes once more, and cannot be ended a second time. It
 * knows a key for two minutes: a put whose answer was lost longer ago is a second message, and cannot be ended either.)
 *
 * 5 rounds, or 200 with SIGHTLINE_LONG=1; and then 50 on a JetStream cluster of three nodes, where besides, in most
 * rounds, a node is killed at a random moment: any, or the one that leads the tasks. SIGHTLINE_LEDGER=DIR keeps each
 * round's ledger as DIR/round-N (DIR/jetstream-N).
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
#include "src/queue/test_nats_server.h"
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
static ns_cluster cluster; /* count 0: the embedded engine */

/* Of a cluster: what is killed besides the process, and when. */
typedef struct strike {
    int node; /* -1: none; NS_MAX: the leader of the tasks */
    unsigned after_us, away_us;
} strike;

static unsigned nodes_killed, leaders_killed;
static unsigned after_end, put_twice; /* deliveries of what was confirmed; lines of a second message of a key */

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
static atomic_uchar again[MAX_KEYS]; /* the cluster did not answer: to be put once more */

static void on_accepted(void *user, int error, const sl_queue_accepted *accepted)
{
    unsigned key = (unsigned)(uintptr_t)user;
    if (error && !cluster.count)
        _exit(4);
    if (error)
        atomic_store(&again[key], 1);
    else
        note('A', key, accepted->id);
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
    int error;
    while ((error = sl_queue_put_start(queue, &put, on_accepted, (void *)(uintptr_t)key)) == SL_EAGAIN && cluster.count)
        (void)usleep(5000);
    if (error)
        _exit(5);
}

static void put_again(void)
{
    for (unsigned key = 0; key < MAX_KEYS; key++) {
        if (atomic_exchange(&again[key], 0))
            put_key(key);
    }
}

static void on_acked(void *user, int error)
{
    if (error && !cluster.count)
        _exit(6);
    if (!error) /* else it was ended already, or nobody knows: its lease ends, and it is looked at again */
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
        if (sl_queue_ack(queue, m->id, m->lease, on_acked, (void *)(uintptr_t)key)) {
            if (!cluster.count)
                _exit(8);
            atomic_fetch_sub(&open_keys, 1);
        }
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
            int error = sl_queue_take(queue, sl_str_c(topic), cluster.count ? 3000 : 60000, &m);
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

static void open_queue(void)
{
    char error[512] = "";
    int result = -1;
    for (int i = 0; result && i < (cluster.count ? 300 : 1); i++) { /* a cluster may be electing */
        if (i)
            (void)usleep(100000);
        sl_queue_nats_options nats = {
            .url = cluster.url, .replicas = 3, .ack_wait_ms = 2000, .max_deliveries = SL_QUEUE_MAX_DELIVERIES};
        result = cluster.count ? sl_queue_nats_open(&nats, error, sizeof error, &queue)
                               : sl_queue_open(&(sl_queue_options){.path = path}, error, sizeof error, &queue);
    }
    if (result) {
        (void)fprintf(stderr, "%s\n", error);
        _exit(10);
    }
}

/* First what was never told to be accepted is put again, by the same keys; then new ones, until it is killed. */
static void live(bool last)
{
    open_queue();
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
    /* On a cluster, what a killed process had comes back when the broker has waited for it long enough. */
    for (int quiet = 0; quiet < (cluster.count ? 2500 : 50); quiet = left() ? 0 : quiet + 1) {
        put_again();
        (void)usleep(2000);
    }
    _exit(0);
}

/* ---- the judge ---- */

static void judge_line(char what, unsigned key, const char *id)
{
    fact *f = &facts[key];
    if (what == 'N') /* the number of a node that was killed */
        return;
    if (key >= key_count)
        key_count = key + 1;
    if (what == 'A') {
        f->accepted = true;
    } else if (what == 'W') {
        if (f->confirmed && !cluster.count)
            sl_test_failed(__FILE__, __LINE__, "key %u was delivered after its acknowledgement was confirmed", key);
        after_end += f->confirmed;
        f->worked++;
    } else if (what == 'C') {
        if (f->confirmed)
            sl_test_failed(__FILE__, __LINE__, "key %u was completed twice", key);
        f->confirmed = true;
    }
    if (id[0] != '-') {
        bool other = f->id[0] && strcmp(f->id, id) != 0;
        put_twice += other;
        if (other && !cluster.count)
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
        (void)snprintf(name, sizeof name, "%s/%s-%d", keep, cluster.count ? "jetstream" : "round", round);
        (void)rename(ledger_path, name);
    } else {
        (void)unlink(ledger_path);
    }
}

/* Kills a node while the process works, and starts it again. */
static void do_strike(const strike *s)
{
    int node = s->node;
    (void)usleep(s->after_us);
    if (node == NS_MAX) {
        node = -1;
        for (int i = 0; i < cluster.count && node < 0; i++)
            node = ns_leader_by(&cluster, i, "SIGHTLINE_TASKS");
        leaders_killed += node >= 0;
    }
    if (node < 0)
        return;
    nodes_killed++;
    note('N', (unsigned)node, "-");
    ns_kill_node(&cluster, node);
    (void)usleep(s->away_us);
    ns_start_node(&cluster, node);
}

/* Runs the process; `kill_after_us` 0: until it has ended by itself. Its exit status, or minus the signal. */
static int one_round(unsigned kill_after_us, const strike *struck)
{
    ledger_fd = open(ledger_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (ledger_fd < 0)
        return 100;
    pid_t pid = fork();
    if (pid == 0)
        live(kill_after_us == 0);
    if (kill_after_us) {
        struct stat st;
        /* A cluster takes its time to elect: its rounds begin with the first line of the ledger. */
        for (int i = 0; cluster.count && i < 3000 && fstat(ledger_fd, &st) == 0 && st.st_size == 0; i++)
            (void)usleep(10000);
        if (struck)
            do_strike(struck);
        (void)usleep(kill_after_us);
        (void)kill(pid, SIGKILL);
    }
    int status = 0;
    (void)waitpid(pid, &status, 0);
    (void)close(ledger_fd);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

/* What the ledgers say in the end. */
static void judge_all(int rounds)
{
    unsigned missing = 0, completed = 0, repeated = 0;
    for (unsigned key = 0; key < key_count; key++) {
        missing += !facts[key].accepted || facts[key].worked == 0;
        completed += facts[key].confirmed;
        repeated += facts[key].worked > 1;
    }
    (void)printf("killed %d times: %u keys accepted, %u confirmed, %u delivered more than once, %u missing\n", rounds,
                 key_count, completed, repeated, missing);
    CHECK_EQ(missing, 0);
    CHECK(key_count > 0);
}

static void begin(void)
{
    memset(facts, 0, sizeof facts);
    key_count = 0;
    (void)snprintf(folder, sizeof folder, "/tmp/sl-test-kill-XXXXXX");
    if (!mkdtemp(folder))
        abort();
    (void)snprintf(path, sizeof path, "%s/queue.db", folder);
    (void)snprintf(ledger_path, sizeof ledger_path, "%s/ledger", folder);
}

static void finish(int rounds)
{
    char command[160];
    CHECK_EQ(one_round(0, NULL), 0); /* to the end of all work */
    CHECK(judge());
    keep_ledger(rounds);
    judge_all(rounds);
    (void)snprintf(command, sizeof command, "rm -rf %s", folder);
    CHECK_EQ(system(command), 0);
}

static bool is_long(void)
{
    const char *lengthy = getenv("SIGHTLINE_LONG");
    return lengthy && strcmp(lengthy, "1") == 0;
}

SL_TEST(every_accepted_task_completes_exactly_once_whatever_is_killed)
{
    sl_rng rng;
    int rounds = is_long() ? 200 : 5;
    begin();
    sl_rng_init(&rng);
    for (int round = 0; round < rounds; round++) {
        CHECK_EQ(one_round(2000 + (unsigned)(sl_rng_next(&rng) % 150000), NULL), -SIGKILL);
        CHECK(judge());
        keep_ledger(round);
    }
    finish(rounds);
}

/* A node is killed while the process works, which lives on for a while and is killed then; or it is killed alone. */
static void cluster_round(sl_rng *rng)
{
    int what = (int)(sl_rng_next(rng) % 8); /* three nodes, three times the leader, twice none */
    strike s = {.node = what < cluster.count       ? what
                        : what < 2 * cluster.count ? NS_MAX
                                                   : -1,
                .after_us = (unsigned)(sl_rng_next(rng) % 800000),
                .away_us = (unsigned)(sl_rng_next(rng) % 1500000)};
    CHECK_EQ(one_round(100000 + (unsigned)(sl_rng_next(rng) % 1500000), &s), -SIGKILL);
    CHECK(judge());
}

SL_TEST(the_same_on_a_jetstream_cluster)
{
    const char *fewer = getenv("SIGHTLINE_ROUNDS");
    int rounds = fewer ? atoi(fewer) : 50;
    sl_rng rng;
    if (!is_long())
        SL_SKIP("50 rounds on a cluster of three nodes: SIGHTLINE_LONG=1");
    char error[256];
    sl_queue *none;
    if (!ns_program() || sl_queue_nats_open(&(sl_queue_nats_options){.url = "nats://127.0.0.1:1"}, error, sizeof error,
                                            &none) == SL_ENOTSUP)
        SL_SKIP("no nats-server, or built without libnats");
    if (ns_version() < 210)
        SL_SKIP("this nats-server loses its way when nodes are killed: SIGHTLINE_NATS_SERVER=one of 2.10 or later");
    begin();
    sl_test_allow_leak();
    nodes_killed = leaders_killed = after_end = put_twice = 0;
    REQUIRE(ns_start(&cluster, 3) == 0);
    sl_rng_init(&rng);
    for (int round = 0; round < rounds; round++) {
        cluster_round(&rng);
        keep_ledger(round);
    }
    finish(rounds);
    (void)printf("nodes killed: %u, of them as the leader: %u; %u delivered after their end, %u of a "
                 "second message\n",
                 nodes_killed, leaders_killed, after_end, put_twice);
    ns_stop(&cluster);
    cluster.count = 0;
}
