/* The supervisor with children that only wait: readiness, restarts, generations, the end. */
#include "src/gateway/supervisor.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "src/base/clock.h"
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
    /* What control sees. */
    _Atomic uint32_t wanted, ready, draining, generation, restarts, failed_reloads;
    _Atomic uint32_t announces;         /* control is to say that it has seen all ready */
    _Atomic uint32_t taken[8];          /* slots of living workers */
    _Atomic uint32_t told_reload, open; /* by those who reload by themselves; whether they listen */
    _Atomic uint32_t shared_slots, notes, odd_signals, control_first;
    _Atomic uint32_t hurried, stayed; /* workers told to; times that control was told too early */
    _Atomic pid_t control_pid;
    char note[256]; /* the last one */
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

static const sl_child_start *mine; /* of this process, a worker */

static void on_term(int number)
{
    (void)number;
    if (mine && sl_child_must_hurry(mine))
        atomic_fetch_add(&b->hurried, 1);
    atomic_fetch_add(&b->drained, 1);
    if (!atomic_load(&b->stubborn))
        _exit(0);
}

static int run_worker(void *user, const sl_child_start *start)
{
    (void)user;
    sigset_t blocked;
    struct sigaction was;
    (void)sigprocmask(SIG_BLOCK, NULL, &blocked);
    static const int numbers[] = {SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGALRM, SIGTERM, SIGUSR1, SIGUSR2, SIGCHLD};
    for (size_t i = 0; i < sizeof numbers / sizeof *numbers; i++) {
        int number = numbers[i];
        bool is_default = sigaction(number, NULL, &was) == 0 && was.sa_handler == SIG_DFL;
        if (sigismember(&blocked, number) == 1 || !is_default)
            atomic_store(&b->odd_signals, (uint32_t)number);
    }
    mine = start;
    signal(SIGTERM, on_term);
    if (atomic_exchange(&b->taken[start->slot], 1))
        atomic_store(&b->shared_slots, 1);
    atomic_fetch_add(&b->started[0], 1);
    atomic_store(&b->worker_pid[start->slot], getpid());
    atomic_store(&b->last_generation, (uint32_t)(uintptr_t)start->generation);
    if (atomic_load(&b->slow))
        nap(300);
    sl_child_ready(start);
    wait_for_the_end();
}

/* Tells what it sees of the tree. Told to end while a worker lives, it says so. */
static void control_told(int number)
{
    (void)number;
    for (size_t i = 0; i < 8; i++)
        if (atomic_load(&b->worker_pid[i]))
            atomic_store(&b->control_first, 1);
    _exit(0);
}

__attribute__((noreturn)) static void look(sl_tree_status *s)
{
    for (;; nap(2)) {
        atomic_store(&b->wanted, atomic_load(&s->wanted));
        atomic_store(&b->ready, atomic_load(&s->ready));
        atomic_store(&b->draining, atomic_load(&s->draining));
        atomic_store(&b->generation, atomic_load(&s->generation));
        atomic_store(&b->restarts, atomic_load(&s->restarts));
        atomic_store(&b->failed_reloads, atomic_load(&s->failed_reloads));
        if (atomic_load(&b->announces))
            atomic_store(&s->announced, 1);
    }
}

static int run_control(void *user, const sl_child_start *start)
{
    (void)user;
    signal(SIGTERM, control_told);
    atomic_fetch_add(&b->started[1], 1);
    sl_child_ready(start);
    look(start->status);
}

static void worker_ended(void *user, unsigned slot, pid_t pid, bool crashed)
{
    (void)user;
    (void)pid;
    atomic_store(&b->worker_pid[slot], 0);
    atomic_store(&b->taken[slot], 0);
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

static void on_note(void *user, const char *text)
{
    (void)user;
    (void)snprintf(b->note, sizeof b->note, "%s", text);
    atomic_fetch_add(&b->notes, 1);
}

/* What a test has otherwise than the common tree. */
typedef struct tree {
    int (*worker)(void *, const sl_child_start *);
    int (*control)(void *, const sl_child_start *);
    int (*on_ready)(void *);
    uint64_t drain_ms, cut_ms, start_ms, announce_ms;
    bool no_reload, serves; /* `serves`: the workers are not replaced */
    bool reloads;           /* control is told of reloads */
} tree;

static void open_board(void)
{
    b = mmap(NULL, sizeof *b, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (b == MAP_FAILED)
        abort();
}

/* Starts a supervisor of two workers and a control process; its pid. */
static pid_t start_of(tree t)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    sl_child_kind kinds[] = {
        {.name = "control", .count = 1, .slots = 1, .reloads = t.reloads, .run = t.control ? t.control : run_control},
        {.name = "worker",
         .count = 2,
         .slots = 6,
         .replaceable = !t.serves,
         .serves = t.serves,
         .run = t.worker ? t.worker : run_worker,
         .ended = worker_ended}};
    sl_supervisor_options o = {.kinds = kinds,
                               .kind_count = 2,
                               .drain_timeout_ms = t.drain_ms ? t.drain_ms : 5000,
                               .cut_ms = t.cut_ms,
                               .start_timeout_ms = t.start_ms,
                               .announce_ms = t.announce_ms,
                               .generation = (void *)1,
                               .reload = t.no_reload ? NULL : on_reload,
                               .release = on_release,
                               .on_ready = t.on_ready ? t.on_ready : on_ready,
                               .on_note = on_note};
    _exit(sl_supervisor_run(&o));
}

static pid_t start_tree(int (*worker)(void *, const sl_child_start *), uint64_t drain_ms)
{
    open_board();
    return start_of((tree){.worker = worker, .drain_ms = drain_ms});
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

static void on_hup(int number)
{
    (void)number;
    atomic_fetch_add(&b->told_reload, 1);
}

/* Listens to SIGHUP when the test says so: what came before then waits. */
static int run_reloader(void *user, const sl_child_start *start)
{
    sigset_t hup, was;
    (void)user;
    sigemptyset(&hup);
    sigaddset(&hup, SIGHUP);
    (void)sigprocmask(SIG_BLOCK, NULL, &was);
    CHECK(sigismember(&was, SIGHUP) == 1 && sigismember(&was, SIGTERM) == 0);
    atomic_fetch_add(&b->started[1], 1);
    sl_child_ready(start);
    while (!atomic_load(&b->open))
        nap(2);
    signal(SIGHUP, on_hup);
    (void)sigprocmask(SIG_UNBLOCK, &hup, NULL);
    wait_for_the_end();
}

/* A child that reloads by itself is told of each reload that took, and of no other; none is lost while it starts. */
SL_TEST(supervisor_tells_of_reloads)
{
    open_board();
    pid_t pid = start_of((tree){.control = run_reloader, .reloads = true});
    REQUIRE(wait_for(&b->ready_calls, 1));
    kill(pid, SIGHUP);
    CHECK(wait_for(&b->reloads, 1));
    nap(100);
    CHECK_EQ(atomic_load(&b->told_reload), 0);
    atomic_store(&b->open, 1);
    CHECK(wait_for(&b->told_reload, 1));
    kill(pid, SIGHUP);
    CHECK(wait_for(&b->told_reload, 2));
    CHECK_EQ(atomic_load(&b->reloads), 2);
    atomic_store(&b->bad_config, 1);
    kill(pid, SIGHUP);
    nap(200);
    CHECK_EQ(atomic_load(&b->told_reload), 2);
    CHECK_EQ(atomic_load(&b->started[1]), 1); /* and is the same process */
    CHECK_EQ(atomic_load(&b->odd_signals), 0);
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

/* ---- beginning ---- */

static int slow_control(void *user, const sl_child_start *start)
{
    nap(200);
    if (atomic_load(&b->started[0]))
        atomic_store(&b->control_first, 2); /* a worker was started before this was ready */
    return run_control(user, start);
}

SL_TEST(supervisor_starts_one_kind_after_the_other)
{
    open_board();
    pid_t pid = start_of((tree){.control = slow_control});
    REQUIRE(wait_for(&b->ready_calls, 1));
    CHECK_EQ(atomic_load(&b->control_first), 0);
    CHECK_EQ(atomic_load(&b->odd_signals), 0);
    CHECK(wait_for(&b->ready, 2));
    CHECK_EQ(atomic_load(&b->wanted), 2); /* control serves nobody */
    CHECK_EQ(atomic_load(&b->generation), 1);
    kill(pid, SIGTERM);
    CHECK_EQ(end_tree(pid), 0);
}

SL_TEST(supervisor_told_to_end_while_it_starts)
{
    open_board();
    atomic_store(&b->slow, 1);
    pid_t pid = start_of((tree){0});
    REQUIRE(wait_for(&b->started[0], 1));
    kill(pid, SIGTERM);
    REQUIRE(wait_for(&b->notes, 1));
    char wanted[128];
    (void)snprintf(wanted, sizeof wanted, "told to end before everything was ready: signal %d of process %ld", SIGTERM,
                   (long)getpid());
    CHECK_STR(sl_str_c(b->note), wanted);
    CHECK_EQ(atomic_load(&b->ready_calls), 0);
    CHECK_EQ(end_tree(pid), 0);
}

static int says_no(void *user)
{
    (void)on_ready(user);
    return 7;
}

SL_TEST(supervisor_ends_when_ready_says_so)
{
    open_board();
    pid_t pid = start_of((tree){.on_ready = says_no});
    REQUIRE(wait_for(&b->ready_calls, 1));
    REQUIRE(wait_for(&b->drained, 2));
    CHECK_EQ(end_tree(pid), 7);
}

static int never_ready(void *user, const sl_child_start *start)
{
    (void)user;
    (void)start;
    atomic_fetch_add(&b->started[0], 1);
    wait_for_the_end();
}

SL_TEST(supervisor_waits_for_a_start_as_long_as_it_was_told)
{
    open_board();
    pid_t pid = start_of((tree){.worker = never_ready, .start_ms = 200});
    REQUIRE(wait_for(&b->started[0], 2));
    CHECK_EQ(end_tree(pid), 1);
}

SL_TEST(supervisor_waits_for_the_announcement)
{
    open_board();
    pid_t pid = start_of((tree){.announce_ms = 60000});
    REQUIRE(wait_for(&b->ready, 2));
    nap(100);
    CHECK_EQ(atomic_load(&b->ready_calls), 0);
    atomic_store(&b->announces, 1);
    CHECK(wait_for(&b->ready_calls, 1));
    kill(pid, SIGINT); /* as SIGTERM */
    CHECK_EQ(end_tree(pid), 0);
    open_board(); /* nobody announces: it is told all the same, after a while */
    pid = start_of((tree){.announce_ms = 100});
    CHECK(wait_for(&b->ready_calls, 1));
    kill(pid, SIGTERM);
    CHECK_EQ(end_tree(pid), 0);
}

/* ---- restarts ---- */

static int ends_soon(void *user, const sl_child_start *start)
{
    (void)user;
    signal(SIGTERM, on_term);
    sl_child_ready(start);
    if (atomic_fetch_add(&b->started[0], 1) < 2)
        wait_for(&b->ready_calls, 1); /* the first two get ready */
    nap(5);
    return (int)start->index; /* 0: an end in good order, that nobody asked for */
}

/* 100 ms, 200, 400 and so on between the starts: a child that cannot live does not keep the machine busy. */
SL_TEST(supervisor_waits_longer_before_each_restart)
{
    open_board();
    pid_t pid = start_of((tree){.worker = ends_soon});
    REQUIRE(wait_for(&b->ready_calls, 1));
    nap(1000);
    uint32_t started = atomic_load(&b->started[0]);
    CHECK(started >= 4 && started <= 2 + 2 * 4);
    CHECK(wait_for(&b->started[0], 7));
    CHECK(atomic_load(&b->crashed_calls) >= 1 && atomic_load(&b->crashed_calls) < atomic_load(&b->ended_calls));
    CHECK(wait_for(&b->restarts, 4));
    kill(pid, SIGTERM);
    CHECK_EQ(end_tree(pid), 0);
}

SL_TEST(supervisor_says_why_a_child_is_started_again)
{
    pid_t pid = start_tree(run_worker, 5000);
    REQUIRE(wait_for(&b->ready_calls, 1));
    char wanted[128];
    pid_t victim = atomic_load(&b->worker_pid[1]);
    (void)snprintf(wanted, sizeof wanted, "worker 1 (pid %ld) was killed by signal 9; starting it again", (long)victim);
    kill(victim, SIGKILL);
    REQUIRE(wait_for(&b->notes, 1));
    CHECK_STR(sl_str_c(b->note), wanted);
    CHECK(wait_for(&b->started[0], 3));
    CHECK_EQ(atomic_load(&b->shared_slots), 0);
    kill(pid, SIGTERM);
    CHECK_EQ(end_tree(pid), 0);
}

/* ---- generations ---- */

SL_TEST(supervisor_keeps_its_generation_when_the_new_one_is_bad)
{
    pid_t pid = start_tree(run_worker, 5000);
    REQUIRE(wait_for(&b->ready_calls, 1));
    atomic_store(&b->bad_config, 1);
    for (uint32_t i = 1; i <= 3; i++) {
        kill(pid, SIGHUP);
        CHECK(wait_for(&b->failed_reloads, i));
    }
    CHECK_EQ(atomic_load(&b->generation), 1);
    CHECK_EQ(atomic_load(&b->released), 0);
    atomic_store(&b->bad_config, 0);
    kill(pid, SIGHUP);
    CHECK(wait_for(&b->generation, 2));
    CHECK(wait_for(&b->drained, 2));
    CHECK_STR(sl_str_c(b->note), "reload: generation 2 is starting");
    CHECK_EQ(atomic_load(&b->shared_slots), 0); /* while two generations are there too */
    kill(pid, SIGTERM);
    CHECK_EQ(end_tree(pid), 0);
}

SL_TEST(supervisor_reloads_once_it_is_ready)
{
    open_board();
    atomic_store(&b->slow, 1);
    pid_t pid = start_of((tree){0});
    REQUIRE(wait_for(&b->started[0], 1));
    kill(pid, SIGHUP);
    nap(50);
    CHECK_EQ(atomic_load(&b->reloads), 0);
    CHECK(wait_for(&b->ready_calls, 1));
    CHECK(wait_for(&b->reloads, 1));
    kill(pid, SIGTERM);
    CHECK_EQ(end_tree(pid), 0);
}

SL_TEST(supervisor_replaces_only_what_may_be_replaced)
{
    open_board();
    pid_t pid = start_of((tree){.serves = true});
    REQUIRE(wait_for(&b->ready_calls, 1));
    CHECK(wait_for(&b->ready, 2)); /* counted all the same */
    kill(pid, SIGHUP);
    CHECK(wait_for(&b->generation, 2));
    nap(100);
    CHECK_EQ(atomic_load(&b->started[0]), 2);
    CHECK_EQ(atomic_load(&b->drained), 0);
    kill(atomic_load(&b->worker_pid[0]), SIGKILL); /* its successor has the new generation */
    CHECK(wait_for(&b->last_generation, 2));
    kill(pid, SIGTERM);
    CHECK_EQ(end_tree(pid), 0);
}

SL_TEST(supervisor_without_reload_takes_no_notice_of_sighup)
{
    open_board();
    pid_t pid = start_of((tree){.no_reload = true});
    REQUIRE(wait_for(&b->ready_calls, 1));
    kill(pid, SIGHUP);
    nap(100);
    CHECK_EQ(atomic_load(&b->started[0]), 2);
    CHECK_EQ(atomic_load(&b->notes), 0);
    kill(pid, SIGTERM);
    CHECK_EQ(end_tree(pid), 0);
}

/* ---- the end ---- */

SL_TEST(supervisor_ends_control_after_those_that_serve)
{
    open_board();
    pid_t pid = start_of((tree){.drain_ms = 400});
    REQUIRE(wait_for(&b->ready_calls, 1));
    atomic_store(&b->stubborn, 1);
    kill(pid, SIGTERM);
    CHECK(wait_for(&b->draining, 1)); /* control still looks, and tells */
    CHECK(wait_for(&b->ended_calls, 2));
    while (waitpid(pid, NULL, WNOHANG) == 0)
        nap(5);
    CHECK_EQ(atomic_load(&b->control_first), 0);
    munmap(b, sizeof *b);
}

SL_TEST(supervisor_asked_twice_has_no_patience)
{
    open_board();
    pid_t pid = start_of((tree){.drain_ms = 600000, .cut_ms = 500});
    REQUIRE(wait_for(&b->ready_calls, 1));
    atomic_store(&b->stubborn, 1);
    uint64_t begun = sl_mono_ns();
    kill(pid, SIGTERM);
    CHECK(wait_for(&b->drained, 2));
    kill(pid, SIGTERM);                               /* the same one, as timeout(1) sends it */
    bool at_once = sl_mono_ns() - begun < 200000000u; /* not on a machine that was too busy */
    nap(450);
    CHECK(!at_once || atomic_load(&b->drained) == 2);
    CHECK(!at_once || atomic_load(&b->hurried) == 0);
    kill(pid, SIGTERM);
    CHECK(wait_for(&b->drained, 4)); /* told again, with time to cut off what is under way */
    CHECK_EQ(atomic_load(&b->hurried), 2);
    CHECK_EQ(end_tree(pid), 0);
}

static void end_late(int number)
{
    (void)number;
    atomic_fetch_add(&b->drained, 1);
    nap(600);
    _exit(0);
}

static int run_late_worker(void *user, const sl_child_start *start)
{
    (void)user;
    signal(SIGTERM, end_late);
    atomic_store(&b->worker_pid[start->slot], getpid());
    sl_child_ready(start);
    wait_for_the_end();
}

/* Whoever cuts off what the drain timeout has ended is not killed meanwhile. */
SL_TEST(supervisor_grants_time_for_cutting_off)
{
    open_board();
    pid_t pid = start_of((tree){.worker = run_late_worker, .drain_ms = 200, .cut_ms = 5000});
    REQUIRE(wait_for(&b->ready_calls, 1));
    kill(pid, SIGTERM);
    CHECK(wait_for(&b->ended_calls, 2));
    CHECK_EQ(atomic_load(&b->crashed_calls), 0);
    CHECK_EQ(end_tree(pid), 0);
}

SL_TEST(supervisor_asked_three_times_kills)
{
    open_board();
    pid_t pid = start_of((tree){.drain_ms = 600000, .cut_ms = 600000});
    REQUIRE(wait_for(&b->ready_calls, 1));
    atomic_store(&b->stubborn, 1);
    kill(pid, SIGTERM);
    CHECK(wait_for(&b->drained, 2));
    nap(450);
    kill(pid, SIGTERM);
    CHECK(wait_for(&b->drained, 4));
    uint64_t begun = sl_mono_ns();
    kill(pid, SIGTERM);
    while (waitpid(pid, NULL, WNOHANG) == 0)
        nap(5);
    CHECK(sl_mono_ns() - begun < 450000000u);
    munmap(b, sizeof *b);
}

/* Told by somebody else than the supervisor, control asks whether it may end. */
static int run_asking_control(void *user, const sl_child_start *start)
{
    sigset_t term;
    int number;
    (void)user;
    sigemptyset(&term);
    sigaddset(&term, SIGTERM);
    (void)sigprocmask(SIG_BLOCK, &term, NULL);
    atomic_store(&b->control_pid, getpid());
    atomic_fetch_add(&b->started[1], 1);
    sl_child_ready(start);
    while (sigwait(&term, &number) == 0) {
        if (sl_child_may_end(start))
            _exit(0);
        atomic_fetch_add(&b->stayed, 1);
    }
    return 1;
}

SL_TEST(supervisor_tells_control_when_it_may_end)
{
    open_board();
    pid_t pid = start_of((tree){.control = run_asking_control, .drain_ms = 600000});
    REQUIRE(wait_for(&b->ready_calls, 1));
    atomic_store(&b->stubborn, 1);
    kill(atomic_load(&b->control_pid), SIGTERM);
    CHECK(wait_for(&b->stayed, 1));
    kill(pid, SIGTERM);
    CHECK(wait_for(&b->drained, 2));
    kill(atomic_load(&b->control_pid), SIGTERM);
    CHECK(wait_for(&b->stayed, 2));
    for (int i = 0; i < 2; i++)
        kill(atomic_load(&b->worker_pid[i]), SIGKILL);
    CHECK_EQ(end_tree(pid), 0);
}

SL_TEST(control_may_end_when_the_supervisor_is_gone)
{
    open_board();
    pid_t pid = start_of((tree){.control = run_asking_control});
    REQUIRE(wait_for(&b->ready_calls, 1));
    pid_t control = atomic_load(&b->control_pid);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    char path[64];
    (void)snprintf(path, sizeof path, "/proc/%ld/fd/0", (long)control); /* a zombie has none */
    for (int i = 0; i < 500 && access(path, F_OK) == 0; i++)
        nap(10);
    CHECK(access(path, F_OK) != 0);
    CHECK_EQ(atomic_load(&b->stayed), 0);
    munmap(b, sizeof *b);
}

SL_TEST(supervisor_does_not_restart_or_reload_while_it_ends)
{
    open_board();
    pid_t pid = start_of((tree){.drain_ms = 500});
    REQUIRE(wait_for(&b->ready_calls, 1));
    atomic_store(&b->stubborn, 1);
    kill(pid, SIGTERM);
    CHECK(wait_for(&b->drained, 2));
    kill(atomic_load(&b->worker_pid[0]), SIGKILL);
    kill(pid, SIGHUP);
    CHECK(wait_for(&b->ended_calls, 1));
    nap(150);
    CHECK_EQ(atomic_load(&b->started[0]), 2);
    CHECK_EQ(atomic_load(&b->reloads), 0);
    CHECK_EQ(end_tree(pid), 0);
}
