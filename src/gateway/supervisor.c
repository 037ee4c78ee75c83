/* The supervisor's loop: signals by signalfd, readiness by a pipe, restarts by deadlines. */
#include "src/gateway/supervisor.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

#include "src/base/assert.h"
#include "src/base/clock.h"

#define BACKOFF_FIRST_MS 100u
#define BACKOFF_LAST_MS 5000u
#define STABLE_MS 10000u /* a child that lived that long starts again with the first back-off */
#define FINAL_MS 7500u   /* for control and helpers to end after the workers */
#define TWICE_MS 400u    /* two signals closer together are one: timeout(1) sends it to the process and to its group */

typedef enum child_state { CHILD_NONE, CHILD_STARTING, CHILD_READY, CHILD_DRAINING } child_state;

typedef struct child {
    child_state state;
    size_t kind;
    unsigned index;
    unsigned slot;
    unsigned generation_number;
    void *generation;
    pid_t pid;
    uint64_t started_ms;
} child;

/* A child that is to be started again. */
typedef struct restart {
    bool due;
    uint64_t at_ms;
    uint64_t backoff_ms;
} restart;

typedef struct supervisor {
    const sl_supervisor_options *o;
    sl_tree_status *status;
    child children[SL_MAX_CHILDREN];
    restart restarts[SL_MAX_CHILD_KINDS][SL_MAX_CHILDREN]; /* by kind and index */
    void *generation;
    unsigned generation_number;
    unsigned complete_number; /* the last generation of which all children were ready at once */
    int signal_fd;
    int ready_pipe[2];
    sigset_t old_mask;
    bool told_ready;
    bool reload_wanted;
    uint64_t all_ready_ms; /* when all were ready for the first time; 0: not yet */
    bool ending;
    uint64_t asked_ms; /* to end, first */
    bool ending_rest;  /* control and helpers have been told too */
    uint64_t end_deadline_ms;
    int exit_status;
} supervisor;

static uint64_t now_ms(void)
{
    return sl_mono_ns() / 1000000u;
}

static void note(const supervisor *s, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void note(const supervisor *s, const char *format, ...)
{
    SL_ASSERT(s);
    char text[256];
    va_list args;
    if (!s->o->on_note)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    s->o->on_note(s->o->user, text);
}

void sl_child_ready(const sl_child_start *start)
{
    pid_t pid = getpid();
    ssize_t written;
    do {
        written = write(start->ready_fd, &pid, sizeof pid);
    } while (written < 0 && errno == EINTR);
}

bool sl_child_may_end(const sl_child_start *start)
{
    SL_ASSERT(start);
    return atomic_load(&start->status->served) || getppid() != atomic_load(&start->status->pids[0]);
}

bool sl_child_must_hurry(const sl_child_start *start)
{
    SL_ASSERT(start);
    return atomic_load(&start->status->hurried) != 0;
}

/* ---- starting ---- */

static unsigned free_slot(const supervisor *s, size_t kind)
{
    for (unsigned slot = 0; slot < s->o->kinds[kind].slots; slot++) {
        bool taken = false;
        for (size_t i = 0; i < SL_MAX_CHILDREN; i++)
            taken = taken ||
                    (s->children[i].state != CHILD_NONE && s->children[i].kind == kind && s->children[i].slot == slot);
        if (!taken)
            return slot;
    }
    return SL_MAX_CHILDREN;
}

static child *free_child(supervisor *s)
{
    for (size_t i = 0; i < SL_MAX_CHILDREN; i++) {
        if (s->children[i].state == CHILD_NONE)
            return &s->children[i];
    }
    return NULL;
}

/* It runs none of what the parent would at its end; that is where AddressSanitizer looks for leaks. */
static _Noreturn void end_child(int status)
{
#ifdef __SANITIZE_ADDRESS__
    __lsan_do_leak_check();
#endif
    _exit(status);
}

/* The child's side of fork(). */
static void run_child(supervisor *s, const child *c)
{
    SL_ASSERT(s && c);
    const sl_child_kind *kind = &s->o->kinds[c->kind];
    sl_child_start start = {c->index, c->slot, c->generation, s->status, s->ready_pipe[1]};
    (void)prctl(PR_SET_PDEATHSIG, SIGTERM);
    (void)prctl(PR_SET_NAME, kind->name);
    close(s->signal_fd);
    close(s->ready_pipe[0]);
    sigset_t mask = s->old_mask;
    if (kind->reloads)
        sigaddset(&mask, SIGHUP);
    (void)sigprocmask(SIG_SETMASK, &mask, NULL);
    end_child(kind->run(kind->user, &start));
}

static bool start_child(supervisor *s, size_t kind, unsigned index)
{
    child *c = free_child(s);
    unsigned slot = free_slot(s, kind);
    if (!c || slot == SL_MAX_CHILDREN)
        return false;
    child fresh = {CHILD_STARTING, kind, index, slot, s->generation_number, s->generation, 0, now_ms()};
    fflush(NULL); /* what is buffered would be written twice */
    fresh.pid = fork();
    if (fresh.pid == 0)
        run_child(s, &fresh);
    if (fresh.pid < 0)
        return false;
    *c = fresh;
    atomic_store(&s->status->pids[1 + (c - s->children)], c->pid);
    return true;
}

static void later(supervisor *s, size_t kind, unsigned index, bool was_stable)
{
    SL_ASSERT(s);
    restart *r = &s->restarts[kind][index];
    r->backoff_ms = was_stable || !r->backoff_ms ? BACKOFF_FIRST_MS : r->backoff_ms * 2;
    if (r->backoff_ms > BACKOFF_LAST_MS)
        r->backoff_ms = BACKOFF_LAST_MS;
    r->at_ms = now_ms() + r->backoff_ms;
    r->due = true;
}

static void start_due(supervisor *s)
{
    for (size_t k = 0; k < s->o->kind_count && !s->ending; k++) {
        for (unsigned i = 0; i < s->o->kinds[k].count; i++) {
            restart *r = &s->restarts[k][i];
            if (!r->due || r->at_ms > now_ms())
                continue;
            r->due = false;
            if (start_child(s, k, i))
                atomic_fetch_add(&s->status->restarts, 1);
            else
                later(s, k, i, false);
        }
    }
}

/* ---- counting ---- */

/* Those that serve users are drained first; control and helpers stay until they have ended. */
static bool serves(const supervisor *s, size_t kind)
{
    SL_ASSERT(kind < s->o->kind_count);
    return s->o->kinds[kind].replaceable || s->o->kinds[kind].serves;
}

static unsigned count_children(const supervisor *s, bool serving, child_state state)
{
    unsigned count = 0;
    for (size_t i = 0; i < SL_MAX_CHILDREN; i++) {
        const child *c = &s->children[i];
        if (c->state != CHILD_NONE && serves(s, c->kind) == serving && (state == CHILD_NONE || c->state == state))
            count++;
    }
    return count;
}

static bool all_ready(const supervisor *s, size_t kind, unsigned generation)
{
    SL_ASSERT(s);
    unsigned ready = 0;
    for (size_t i = 0; i < SL_MAX_CHILDREN; i++) {
        const child *c = &s->children[i];
        if (c->state == CHILD_READY && c->kind == kind &&
            (!s->o->kinds[kind].replaceable || c->generation_number == generation))
            ready++;
    }
    return ready >= s->o->kinds[kind].count;
}

static void publish(supervisor *s)
{
    SL_ASSERT(s);
    uint32_t wanted = 0;
    for (size_t k = 0; k < s->o->kind_count; k++)
        wanted += serves(s, k) ? s->o->kinds[k].count : 0;
    atomic_store(&s->status->wanted, wanted);
    atomic_store(&s->status->ready, count_children(s, true, CHILD_READY));
    atomic_store(&s->status->generation, s->generation_number);
}

/* ---- generations ---- */

static void tell(const child *c, int signal)
{
    SL_ASSERT(c);
    if (c->pid > 0)
        (void)kill(c->pid, signal);
}

/* Tells a replaceable child to drain, once. */
static void drain(const supervisor *s, child *c)
{
    SL_ASSERT(s && c);
    if (c->state == CHILD_NONE || c->state == CHILD_DRAINING || !s->o->kinds[c->kind].replaceable)
        return;
    c->state = CHILD_DRAINING;
    tell(c, SIGTERM);
}

/* Children of older generations drain once the new one is ready. */
static void drain_old(supervisor *s)
{
    for (size_t k = 0; k < s->o->kind_count; k++) {
        if (s->o->kinds[k].replaceable && !all_ready(s, k, s->generation_number))
            return;
    }
    s->complete_number = s->generation_number;
    for (size_t i = 0; i < SL_MAX_CHILDREN; i++) {
        if (s->children[i].generation_number != s->generation_number)
            drain(s, &s->children[i]);
    }
}

/*
 * Children of a generation that another one has overtaken before it was complete. The last complete one goes on
 * serving; were these kept as well, they could have the slots that the newest one needs to become complete.
 */
static void drain_overtaken(supervisor *s)
{
    SL_ASSERT(s->complete_number <= s->generation_number);
    for (size_t i = 0; i < SL_MAX_CHILDREN; i++) {
        unsigned number = s->children[i].generation_number;
        if (number > s->complete_number && number != s->generation_number)
            drain(s, &s->children[i]);
    }
}

static void tell_reload(const supervisor *s)
{
    for (size_t i = 0; i < SL_MAX_CHILDREN; i++) {
        const child *c = &s->children[i];
        if (c->state != CHILD_NONE && s->o->kinds[c->kind].reloads)
            tell(c, SIGHUP);
    }
}

static void reload(supervisor *s)
{
    SL_ASSERT(s);
    if (!s->o->reload || s->ending)
        return;
    void *generation = s->o->reload(s->o->user);
    if (!generation) {
        atomic_fetch_add(&s->status->failed_reloads, 1);
        return;
    }
    /* Children have copies of their own since fork(): nobody here needs the old one any more. */
    if (s->o->release)
        s->o->release(s->o->user, s->generation);
    s->generation = generation;
    s->generation_number++;
    drain_overtaken(s);
    tell_reload(s);
    for (size_t k = 0; k < s->o->kind_count; k++) {
        for (unsigned i = 0; s->o->kinds[k].replaceable && i < s->o->kinds[k].count; i++) {
            s->restarts[k][i].due = false;
            if (!start_child(s, k, i))
                later(s, k, i, true);
        }
    }
    note(s, "reload: generation %u is starting", s->generation_number);
}

/* ---- ending ---- */

static void tell_all(supervisor *s, bool serving, int signal)
{
    for (size_t i = 0; i < SL_MAX_CHILDREN; i++) {
        child *c = &s->children[i];
        if (c->state == CHILD_NONE || serves(s, c->kind) != serving)
            continue;
        c->state = CHILD_DRAINING;
        tell(c, signal);
    }
}

/* Asked twice: who still serves has a moment to cut off what it does. Three times: not even that. */
static void hurry(supervisor *s)
{
    SL_ASSERT(s && s->ending);
    bool first = !atomic_exchange(&s->status->hurried, 1) && !s->ending_rest;
    if (first)
        tell_all(s, true, SIGTERM);
    s->end_deadline_ms = now_ms() + (first ? s->o->cut_ms : 0);
}

static void begin_end(supervisor *s, int status)
{
    SL_ASSERT(s);
    if (s->ending) {
        if (now_ms() - s->asked_ms >= TWICE_MS)
            hurry(s);
        return;
    }
    s->ending = true;
    s->asked_ms = now_ms();
    s->exit_status = status;
    atomic_store(&s->status->draining, 1);
    s->end_deadline_ms = now_ms() + s->o->drain_timeout_ms + s->o->cut_ms;
    tell_all(s, true, SIGTERM);
}

/* Moves the end on; true when nobody is left. */
static bool go_on_ending(supervisor *s)
{
    if (count_children(s, true, CHILD_NONE) > 0) {
        if (now_ms() >= s->end_deadline_ms)
            tell_all(s, true, SIGKILL);
        return false;
    }
    if (!s->ending_rest) {
        s->ending_rest = true;
        atomic_store(&s->status->served, 1);
        s->end_deadline_ms = now_ms() + FINAL_MS;
        tell_all(s, false, SIGTERM);
    }
    if (count_children(s, false, CHILD_NONE) == 0)
        return true;
    if (now_ms() >= s->end_deadline_ms)
        tell_all(s, false, SIGKILL);
    return false;
}

/* ---- events ---- */

static void child_ended(supervisor *s, child *c, int wait_status)
{
    SL_ASSERT(s && c);
    const sl_child_kind *kind = &s->o->kinds[c->kind];
    bool expected = c->state == CHILD_DRAINING || s->ending;
    bool crashed = WIFSIGNALED(wait_status) || (WIFEXITED(wait_status) && WEXITSTATUS(wait_status) != 0);
    child gone = *c;
    c->state = CHILD_NONE;
    atomic_store(&s->status->pids[1 + (c - s->children)], 0);
    if (kind->ended)
        kind->ended(kind->user, gone.slot, gone.pid, crashed);
    if (expected)
        return;
    if (WIFSIGNALED(wait_status))
        note(s, "%s %u (pid %ld) was killed by signal %d; starting it again", kind->name, gone.index, (long)gone.pid,
             WTERMSIG(wait_status));
    else
        note(s, "%s %u (pid %ld) ended with status %d; starting it again", kind->name, gone.index, (long)gone.pid,
             WEXITSTATUS(wait_status));
    if (!s->told_ready && gone.state == CHILD_STARTING) {
        begin_end(s, 1); /* it cannot even start: trying again would only repeat the message */
        return;
    }
    later(s, gone.kind, gone.index, now_ms() - gone.started_ms > STABLE_MS);
}

static void reap(supervisor *s)
{
    int wait_status;
    pid_t pid;
    while ((pid = waitpid(-1, &wait_status, WNOHANG)) > 0) {
        for (size_t i = 0; i < SL_MAX_CHILDREN; i++) {
            if (s->children[i].state != CHILD_NONE && s->children[i].pid == pid) {
                child_ended(s, &s->children[i], wait_status);
                break;
            }
        }
    }
}

static void read_signals(supervisor *s)
{
    SL_ASSERT(s);
    struct signalfd_siginfo info;
    while (read(s->signal_fd, &info, sizeof info) == (ssize_t)sizeof info) {
        if (info.ssi_signo == SIGTERM || info.ssi_signo == SIGINT) {
            if (!s->told_ready && !s->ending) /* it ends with 0 and has served nobody: whoever wonders why reads this */
                note(s, "told to end before everything was ready: signal %u of process %u", info.ssi_signo,
                     info.ssi_pid);
            begin_end(s, 0);
        }
        if (info.ssi_signo == SIGHUP)
            s->reload_wanted = true;
    }
    reap(s);
}

static void read_ready(supervisor *s)
{
    SL_ASSERT(s);
    pid_t pid;
    while (read(s->ready_pipe[0], &pid, sizeof pid) == (ssize_t)sizeof pid) {
        for (size_t i = 0; i < SL_MAX_CHILDREN; i++) {
            if (s->children[i].state == CHILD_STARTING && s->children[i].pid == pid)
                s->children[i].state = CHILD_READY;
        }
    }
}

/* Children that do not get ready in time are killed, and so restarted. */
static void watch_starts(supervisor *s)
{
    SL_ASSERT(s);
    uint64_t patience = s->o->start_timeout_ms ? s->o->start_timeout_ms : 15000;
    for (size_t i = 0; i < SL_MAX_CHILDREN; i++) {
        child *c = &s->children[i];
        if (c->state == CHILD_STARTING && now_ms() - c->started_ms > patience)
            tell(c, SIGKILL);
    }
}

/* Kinds start in order: the next one when the one before is ready. Returns true when all are. */
static bool start_kinds(supervisor *s, size_t *next_kind)
{
    SL_ASSERT(next_kind);
    while (*next_kind == 0 || all_ready(s, *next_kind - 1, s->generation_number)) {
        if (*next_kind == s->o->kind_count)
            return true;
        size_t kind = (*next_kind)++;
        for (unsigned i = 0; i < s->o->kinds[kind].count; i++) {
            if (!start_child(s, kind, i)) {
                note(s, "%s %u: cannot start: %s", s->o->kinds[kind].name, i, strerror(errno));
                begin_end(s, 1);
                return false;
            }
        }
    }
    return false;
}

/* All children are ready, and the one that tells others so has seen it. */
static bool may_tell(supervisor *s, size_t *next_kind)
{
    SL_ASSERT(s);
    if (s->ending || !start_kinds(s, next_kind))
        return false;
    publish(s);
    if (!s->all_ready_ms)
        s->all_ready_ms = now_ms();
    return atomic_load(&s->status->announced) || now_ms() - s->all_ready_ms >= s->o->announce_ms;
}

static void run_loop(supervisor *s)
{
    size_t next_kind = 0;
    for (;;) {
        publish(s);
        if (s->ending && go_on_ending(s))
            return;
        if (!s->told_ready && may_tell(s, &next_kind)) {
            s->told_ready = true;
            int status = s->o->on_ready ? s->o->on_ready(s->o->user) : 0;
            if (status)
                begin_end(s, status);
        }
        struct pollfd fds[2] = {{s->signal_fd, POLLIN, 0}, {s->ready_pipe[0], POLLIN, 0}};
        bool busy =
            s->ending || !s->told_ready || count_children(s, true, CHILD_READY) < atomic_load(&s->status->wanted);
        (void)poll(fds, 2, busy ? 20 : 1000);
        read_ready(s);
        read_signals(s);
        watch_starts(s);
        start_due(s);
        if (s->reload_wanted && s->told_ready) { /* not while the first generation is still starting */
            s->reload_wanted = false;
            reload(s);
        }
        if (!s->ending)
            drain_old(s);
    }
}

static bool open_all(supervisor *s)
{
    SL_ASSERT(s);
    sigset_t mask;
    sigemptyset(&mask);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGHUP);
    sigaddset(&mask, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &mask, &s->old_mask) != 0)
        return false;
    /* A child gets them, also when an earlier run has left them blocked. */
    sigdelset(&s->old_mask, SIGTERM);
    sigdelset(&s->old_mask, SIGINT);
    sigdelset(&s->old_mask, SIGHUP);
    sigdelset(&s->old_mask, SIGCHLD);
    s->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->signal_fd < 0 || pipe2(s->ready_pipe, O_CLOEXEC | O_NONBLOCK) != 0)
        return false;
    s->status = mmap(NULL, sizeof *s->status, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    return s->status != MAP_FAILED;
}

int sl_supervisor_run(const sl_supervisor_options *options)
{
    SL_ASSERT(options && options->kind_count > 0 && options->kind_count <= SL_MAX_CHILD_KINDS);
    supervisor *s = calloc(1, sizeof *s);
    if (!s)
        return 1;
    s->o = options;
    s->generation = options->generation;
    s->generation_number = 1;
    s->signal_fd = s->ready_pipe[0] = s->ready_pipe[1] = -1;
    if (open_all(s)) {
        atomic_store(&s->status->pids[0], getpid());
        run_loop(s);
        munmap(s->status, sizeof *s->status);
    } else {
        s->exit_status = 1;
    }
    if (s->signal_fd >= 0)
        close(s->signal_fd);
    if (s->ready_pipe[0] >= 0) {
        close(s->ready_pipe[0]);
        close(s->ready_pipe[1]);
    }
    if (s->generation != options->generation && options->release)
        options->release(options->user, s->generation);
    int status = s->exit_status;
    free(s);
    return status;
}
