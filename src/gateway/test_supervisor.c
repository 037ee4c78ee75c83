/* The supervisor with children that only wait: readiness, restarts, generations, the end. */
#include "src/gateway/supervisor.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/harness/sl_test.h"

/* Seen by the test and every process of the tree. */
typedef struct board {
    _Atomic uint32_t started[2]; /* by kind */
    _Atomic uint32_t drained;
    _Atomic uint32_t ended_calls;
    _Atomic uint32_t crashed_calls;
    _Atomic uint32_t ready_calls;
    _Atomic uint32_t reloads;
    _Atomic uint32_t released;
    _Atomic uint32_t last_generation;
    _Atomic uint32_t bad_config;
    _Atomic uint32_t stubborn;
    _Atomic uint32_t slow; /* to get ready */
    _Atomic pid_t worker_pid[8];
    _Atomic uint64_t status_address;
} board;

static board *b;

static void nap(long ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    nanosleep(&t, NULL);
}

static bool wait_for(const _Atomic uint32_t *value, uint32_t wanted)
{
    for (int i = 0; i < 500; i++) {
        if (atomic_load(value) >= wanted)
            return true;
        nap(10);
    }
    return false;
}

__attribute__((noreturn)) static void wait_for_the_end(void)
{
    for (;;)
        nap(1000);
}

static void on_term(int number)
{
    (void)number;
    atomic_fetch_add(&b->drained, 1);
    if (!atomic_load(&b->stubborn))
        _exit(0);
}

static int run_worker(void *user, const sl_child_start *start)
{
    (void)user;
    signal(SIGTERM, on_term);
    atomic_fetch_add(&b->started[0], 1);
    atomic_store(&b->worker_pid[start->slot], getpid());
    atomic_store(&b->last_generation, (uint32_t)(uintptr_t)start->generation);
    if (atomic_load(&b->slow))
        nap(300);
    sl_child_ready(start);
    wait_for_the_end();
}

static int run_control(void *user, const sl_child_start *start)
{
    (void)user;
    atomic_fetch_add(&b->started[1], 1);
    sl_child_ready(start);
    wait_for_the_end();
}

static void worker_ended(void *user, unsigned slot, pid_t pid, bool crashed)
{
    (void)user;
    (void)pid;
    atomic_store(&b->worker_pid[slot], 0);
    atomic_fetch_add(&b->ended_calls, 1);
    if (crashed)
        atomic_fetch_add(&b->crashed_calls, 1);
}

static int on_ready(void *user)
{
    (void)user;
    atomic_fetch_add(&b->ready_calls, 1);
    return 0;
}

static void *on_reload(void *user)
{
    (void)user;
    if (atomic_load(&b->bad_config))
        return NULL;
    return (void *)(uintptr_t)(atomic_fetch_add(&b->reloads, 1) + 2);
}

static void on_release(void *user, void *generation)
{
    (void)user;
    (void)generation;
    atomic_fetch_add(&b->released, 1);
}

static int fail_to_start(void *user, const sl_child_start *start)
{
    (void)user;
    (void)start;
    return 3;
}

/* Starts a supervisor of two workers and a control process; its pid. */
static pid_t start_tree(int (*worker)(void *, const sl_child_start *), uint64_t drain_ms)
{
    b = mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    pid_t pid = fork();
    if (pid)
        return pid;
    sl_child_kind kinds[] = {{"control", 1, 1, false, false, run_control, NULL, NULL},
                             {"worker", 2, 6, true, false, worker, worker_ended, NULL}};
    sl_supervisor_options o = {.kinds = kinds,
                               .kind_count = 2,
                               .drain_timeout_ms = drain_ms,
                               .generation = (void *)1,
                               .reload = on_reload,
                               .release = on_release,
                               .on_ready = on_ready};
    _exit(sl_supervisor_run(&o));
}

static int end_tree(pid_t pid)
{
    int status = -1;
    for (int i = 0; i < 1000; i++) {
        if (waitpid(pid, &status, WNOHANG) == pid) {
            munmap(b, sizeof *b);
            return WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
        }
        nap(10);
    }
    kill(pid, SIGKILL);
    waitpid(pid, &status, 0);
    return 2000;
}

SL_TEST(supervisor_starts_and_drains)
{
    pid_t pid = start_tree(run_worker, 5000);
    REQUIRE(wait_for(&b->ready_calls, 1));
    CHECK_EQ(atomic_load(&b->started[0]), 2);
    CHECK_EQ(atomic_load(&b->started[1]), 1);
    kill(pid, SIGTERM);
    REQUIRE(wait_for(&b->drained, 2));
    CHECK_EQ(end_tree(pid), 0);
}

SL_TEST(supervisor_restarts_a_crashed_worker)
{
    pid_t pid = start_tree(run_worker, 5000);
    REQUIRE(wait_for(&b->ready_calls, 1));
    kill(atomic_load(&b->worker_pid[0]), SIGKILL);
    CHECK(wait_for(&b->started[0], 3));
    CHECK_EQ(atomic_load(&b->crashed_calls), 1);
    kill(pid, SIGTERM);
    CHECK_EQ(end_tree(pid), 0);
}

SL_TEST(supervisor_replaces_a_generation)
{
    pid_t pid = start_tree(run_worker, 5000);
    REQUIRE(wait_for(&b->ready_calls, 1));
    kill(pid, SIGHUP);
    CHECK(wait_for(&b->started[0], 4));
    CHECK(wait_for(&b->drained, 2));
    CHECK(wait_for(&b->released, 1));
    CHECK_EQ(atomic_load(&b->last_generation), 2);
    CHECK_EQ(atomic_load(&b->crashed_calls), 0);
    CHECK_EQ(atomic_load(&b->started[1]), 1);
    atomic_store(&b->bad_config, 1);
    kill(pid, SIGHUP);
    nap(200);
    CHECK_EQ(atomic_load(&b->started[0]), 4);
    kill(pid, SIGTERM);
    CHECK_EQ(end_tree(pid), 0);
}

static unsigned children_of(pid_t pid)
{
    char path[64], word[32];
    unsigned count = 0;
    (void)snprintf(path, sizeof path, "/proc/%ld/task/%ld/children", (long)pid, (long)pid);
    FILE *file = fopen(path, "r");
    while (file && fscanf(file, "%31s", word) == 1)
        count++;
    if (file)
        fclose(file);
    return count;
}

/* Each reload overtakes the one before: children of those may not keep the slots that the last one needs. */
SL_TEST(supervisor_reloads_faster_than_workers_start)
{
    pid_t pid = start_tree(run_worker, 5000);
    REQUIRE(wait_for(&b->ready_calls, 1));
    atomic_store(&b->slow, 1);
    for (unsigned i = 0; i < 5; i++) {
        kill(pid, SIGHUP);
        CHECK(wait_for(&b->reloads, i + 1));
        CHECK(children_of(pid) >= 3); /* the first generation serves until another can */
    }
    for (int i = 0; i < 1000 && (children_of(pid) != 3 || atomic_load(&b->last_generation) != 6); i++)
        nap(10);
    CHECK_EQ(children_of(pid), 3); /* two workers and control */
    CHECK_EQ(atomic_load(&b->last_generation), 6);
    kill(pid, SIGTERM);
    CHECK_EQ(end_tree(pid), 0);
}

SL_TEST(supervisor_kills_what_does_not_drain)
{
    pid_t pid = start_tree(run_worker, 300);
    REQUIRE(wait_for(&b->ready_calls, 1));
    atomic_store(&b->stubborn, 1);
    kill(pid, SIGTERM);
    CHECK(wait_for(&b->drained, 2));
    CHECK_EQ(end_tree(pid), 0);
}

SL_TEST(supervisor_gives_up_when_children_cannot_start)
{
    pid_t pid = start_tree(fail_to_start, 5000);
    CHECK_EQ(end_tree(pid), 1);
}
