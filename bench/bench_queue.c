/*
 * The message queue's figures: durable tasks a second, latency at a fixed rate, opening with many waiting, memory for a
 * waiting task; and beside them what the disk itself can do. One JSON line for each.
 *
 * bench_queue FOLDER|nats://HOST:PORT,… throughput|keys|latency|fill|opening|memory|floor [COUNT]
 *
 * The C library's fdatasync is replaced by one that counts: every figure says how many real syncs there were, and that
 * no task was told to be accepted or acknowledged before a sync that came after it was handed over.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "src/base/sync.h"
#include "src/queue/queue.h"

#define BODY_BYTES 200
#define WINDOW 4096 /* puts that are on their way at once */

static atomic_ulong syncs;

/* Calls of SQLite come here: the program's own symbol goes before the C library's. */
__attribute__((visibility("default"))) int fdatasync(int fd);
int fdatasync(int fd)
{
    long result = syscall(SYS_fdatasync, fd);
    atomic_fetch_add(&syncs, 1);
    return (int)result;
}

static const char *folder;
static char body[BODY_BYTES];

static void fail(const char *what, int error)
{
    fprintf(stderr, "bench_queue: %s: %s\n", what, sl_strerror(error));
    exit(1);
}

static sl_queue *open_queue(void)
{
    char path[4096], error[512];
    (void)snprintf(path, sizeof path, "%s/queue.db", folder);
    sl_queue *queue;
    bool nats = strncmp(folder, "nats://", 7) == 0;
    if (nats ? sl_queue_nats_open(&(sl_queue_nats_options){.url = folder, .replicas = 3}, error, sizeof error, &queue)
             : sl_queue_open(&(sl_queue_options){.path = path}, error, sizeof error, &queue)) {
        fprintf(stderr, "bench_queue: %s\n", error);
        exit(1);
    }
    return queue;
}

typedef struct wake {
    pthread_mutex_t lock;
    pthread_cond_t cond;
    bool set;
} wake;

static void wake_init(wake *w)
{
    (void)pthread_mutex_init(&w->lock, NULL);
    if (sl_cond_init(&w->cond))
        fail("condition", SL_ENOMEM);
    w->set = false;
}

static void wake_now(void *user)
{
    wake *w = user;
    (void)pthread_mutex_lock(&w->lock);
    w->set = true;
    (void)pthread_cond_signal(&w->cond);
    (void)pthread_mutex_unlock(&w->lock);
}

static void wake_wait(wake *w)
{
    (void)pthread_mutex_lock(&w->lock);
    while (!w->set)
        (void)pthread_cond_wait(&w->cond, &w->lock);
    w->set = false;
    (void)pthread_mutex_unlock(&w->lock);
}

/* ---- one run of tasks ---- */

typedef struct task {
    uint64_t put_ns, acked_ns;
    unsigned long syncs_at_put, syncs_at_ack;
} task;

static struct {
    sl_queue *queue;
    unsigned count;
    task *tasks;
    atomic_uint accepted, acked, early;
    wake room, ready, over;
    bool keys, embedded;
    uint64_t interval_ns; /* between puts; 0: as fast as it goes */
} run;

static void accepted(void *user, int error, const sl_queue_accepted *a)
{
    task *t = user;
    (void)a;
    if (error)
        fail("put", error);
    if (run.embedded && atomic_load(&syncs) <= t->syncs_at_put)
        atomic_fetch_add(&run.early, 1);
    atomic_fetch_add(&run.accepted, 1);
    wake_now(&run.room);
}

static void acked(void *user, int error)
{
    task *t = user;
    if (error)
        fail("ack", error);
    if (run.embedded && atomic_load(&syncs) <= t->syncs_at_ack)
        atomic_fetch_add(&run.early, 1);
    t->acked_ns = sl_mono_ns();
    if (atomic_fetch_add(&run.acked, 1) + 1 == run.count)
        wake_now(&run.over);
}

static void put_one(unsigned number)
{
    task *t = &run.tasks[number];
    char text[BODY_BYTES], key[32];
    memcpy(text, body, sizeof text);
    memcpy(text, &number, sizeof number);
    sl_queue_put put = {.topic = SL_STR("bench"), .body = sl_str_of(text, sizeof text)};
    if (run.keys) {
        (void)snprintf(key, sizeof key, "%u-%llu", number, (unsigned long long)sl_mono_ns());
        put.idempotency_key = sl_str_c(key);
    }
    t->put_ns = sl_mono_ns();
    t->syncs_at_put = atomic_load(&syncs);
    int error;
    while ((error = sl_queue_put_start(run.queue, &put, accepted, t)) == SL_EAGAIN)
        (void)usleep(100);
    if (error)
        fail("put", error);
}

static void *produce(void *user)
{
    (void)user;
    uint64_t next = sl_mono_ns();
    for (unsigned i = 0; i < run.count; i++) {
        if (run.interval_ns) {
            next += run.interval_ns;
            struct timespec at = {(time_t)(next / 1000000000u), (long)(next % 1000000000u)};
            (void)clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
        }
        while (i - atomic_load(&run.accepted) >= WINDOW)
            wake_wait(&run.room);
        put_one(i);
    }
    return NULL;
}

static void *consume(void *user)
{
    (void)user;
    for (unsigned taken = 0; taken < run.count;) {
        sl_queue_message *m;
        int error = sl_queue_take(run.queue, SL_STR("bench"), 60000, &m);
        if (error == SL_EAGAIN) {
            wake_wait(&run.ready);
            continue;
        }
        if (error)
            fail("take", error);
        unsigned number;
        memcpy(&number, m->body.ptr, sizeof number);
        task *t = &run.tasks[number];
        t->syncs_at_ack = atomic_load(&syncs);
        while ((error = sl_queue_ack(run.queue, m->id, m->lease, acked, t)) == SL_EAGAIN)
            (void)usleep(100);
        if (error)
            fail("ack", error);
        sl_queue_message_free(m);
        taken++;
    }
    return NULL;
}

static uint64_t run_tasks(unsigned count)
{
    run.count = count;
    run.tasks = calloc(count, sizeof *run.tasks);
    run.queue = open_queue();
    wake_init(&run.room);
    wake_init(&run.ready);
    wake_init(&run.over);
    if (!run.tasks || sl_queue_watch(run.queue, SL_STR("bench"), wake_now, &run.ready) < 0)
        fail("watch", SL_ENOMEM);
    atomic_store(&syncs, 0);
    uint64_t start = sl_mono_ns();
    pthread_t producer, consumer;
    if (sl_thread_start(&producer, produce, NULL))
        fail("thread", SL_ENOMEM);
    if (sl_thread_start(&consumer, consume, NULL))
        fail("thread", SL_ENOMEM);
    wake_wait(&run.over);
    uint64_t elapsed = sl_mono_ns() - start;
    (void)pthread_join(producer, NULL);
    (void)pthread_join(consumer, NULL);
    if (atomic_load(&run.early))
        fail("told before the sync", SL_EPROTO);
    return elapsed;
}

static void throughput(const char *name, unsigned count)
{
    uint64_t elapsed = run_tasks(count);
    sl_queue_disk_stats disk;
    sl_queue_get_disk_stats(run.queue, &disk);
    printf("{\"name\":\"%s\",\"tasks_per_s\":%.0f,\"tasks\":%u,\"fdatasync\":%lu,\"commits\":%llu,\"told_early\":%u}\n",
           name, count * 1e9 / (double)elapsed, count, atomic_load(&syncs), (unsigned long long)disk.commits,
           atomic_load(&run.early));
    sl_queue_close(run.queue);
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

static void latency(unsigned count)
{
    run.interval_ns = 1000000;
    uint64_t elapsed = run_tasks(count);
    uint64_t *times = calloc(count, sizeof *times);
    for (unsigned i = 0; times && i < count; i++)
        times[i] = run.tasks[i].acked_ns - run.tasks[i].put_ns;
    qsort(times, count, sizeof *times, compare);
    printf(
        "{\"name\":\"latency\",\"p50_us\":%.0f,\"p90_us\":%.0f,\"p99_us\":%.0f,\"tasks_per_s\":%.0f,\"fdatasync\":%lu}"
        "\n",
        (double)times[count / 2] / 1e3, (double)times[count * 9 / 10] / 1e3, (double)times[count * 99 / 100] / 1e3,
        count * 1e9 / (double)elapsed, atomic_load(&syncs));
    sl_queue_close(run.queue);
}

/* ---- many waiting ---- */

static long resident_bytes(void)
{
    long pages = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "r");
    if (!file || fscanf(file, "%ld %ld", &pages, &resident) != 2)
        exit(1);
    (void)fclose(file);
    return resident * sysconf(_SC_PAGESIZE);
}

static void fill(unsigned count)
{
    run.count = count;
    run.tasks = calloc(count, sizeof *run.tasks);
    run.queue = open_queue();
    wake_init(&run.room);
    (void)produce(NULL);
    while (atomic_load(&run.accepted) < count)
        wake_wait(&run.room);
    sl_queue_close(run.queue);
    free(run.tasks);
}

/* A start with COUNT waiting tasks, in a process that has not had them in memory. */
static void opening(unsigned count)
{
    long before = resident_bytes();
    uint64_t start = sl_mono_ns();
    sl_queue *queue = open_queue();
    uint64_t opened = sl_mono_ns();
    sl_queue_message *m;
    int error = sl_queue_take(queue, SL_STR("bench"), 1000, &m);
    uint64_t first = sl_mono_ns();
    if (error)
        fail("take", error);
    sl_queue_message_free(m);
    sl_queue_topic_stats stats;
    (void)sl_queue_get_stats(queue, &stats, 1);
    if (stats.ready + stats.leased != count)
        fail("waiting tasks are missing", SL_EIO);
    printf("{\"name\":\"opening\",\"ms\":%.0f,\"first_task_ms\":%.1f,\"waiting\":%u,\"bytes_per_task\":%.0f}\n",
           (double)(opened - start) / 1e6, (double)(first - start) / 1e6, count,
           (double)(resident_bytes() - before) / count);
    sl_queue_close(queue);
}

/* Memory of waiting tasks in the process that accepted them. */
static void memory(unsigned count)
{
    run.count = count;
    run.tasks = calloc(count, sizeof *run.tasks);
    run.queue = open_queue();
    wake_init(&run.room);
    long before = resident_bytes();
    (void)produce(NULL);
    while (atomic_load(&run.accepted) < count)
        wake_wait(&run.room);
    printf("{\"name\":\"memory\",\"bytes_per_task\":%.0f,\"waiting\":%u}\n",
           (double)(resident_bytes() - before) / count, count);
    sl_queue_close(run.queue);
}

/* ---- the disk ---- */

static void floor_of_disk(unsigned count)
{
    static char pages[16 * 1024];
    char path[4096];
    (void)snprintf(path, sizeof path, "%s/floor", folder);
    int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    uint64_t *times = calloc(count, sizeof *times);
    if (fd < 0 || !times)
        fail("floor", SL_EIO);
    for (unsigned round = 0; round < 2; round++) { /* the second overwrites, as a log does that is used again */
        for (unsigned i = 0; i < count; i++) {
            uint64_t start = sl_mono_ns();
            if (pwrite(fd, pages, sizeof pages, (off_t)((i % 256) * sizeof pages)) < 0 || fdatasync(fd))
                fail("floor", SL_EIO);
            times[i] = sl_mono_ns() - start;
        }
    }
    qsort(times, count, sizeof *times, compare);
    printf("{\"name\":\"floor\",\"sync_p50_us\":%.0f,\"sync_p90_us\":%.0f}\n", (double)times[count / 2] / 1e3,
           (double)times[count * 9 / 10] / 1e3);
    (void)close(fd);
    (void)unlink(path);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: bench_queue FOLDER throughput|keys|latency|fill|opening|memory|floor [COUNT]\n");
        return 2;
    }
    folder = argv[1];
    unsigned count = argc > 3 ? (unsigned)strtoul(argv[3], NULL, 10) : 100000;
    run.embedded = strncmp(folder, "nats://", 7) != 0;
    memset(body, 'b', sizeof body);
    sl_str what = sl_str_c(argv[2]);
    run.keys = sl_str_eq_c(what, "keys");
    if (run.keys || sl_str_eq_c(what, "throughput"))
        throughput(argv[2], count);
    else if (sl_str_eq_c(what, "latency"))
        latency(count < 3000 ? count : 3000);
    else if (sl_str_eq_c(what, "fill"))
        fill(count);
    else if (sl_str_eq_c(what, "opening"))
        opening(count);
    else if (sl_str_eq_c(what, "memory"))
        memory(count);
    else if (sl_str_eq_c(what, "floor"))
        floor_of_disk(count < 500 ? count : 500);
    else
        return 2;
    return 0;
}
