/* Starting the program, passing signals on, and ending as it ends. */
#include "src/cli/exec_child.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/cli/command.h"
#include "src/probe/ring.h"

#define BYE 0      /* to the keeper: the program has ended, or goes on alone */
#define ACK_MS 100 /* for the keeper's answer */

/* What is passed on. SIGCONT too: it wakes a program that somebody stopped. */
static const int forwarded[] = {SIGHUP,   SIGINT,  SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM,
                                SIGWINCH, SIGTSTP, SIGTTIN, SIGTTOU, SIGCONT, SIGPWR};

static sigset_t mask_before;
static struct sigaction chld_before;
static int crash_fd = -1; /* of the keeper, for the handler */

static void watched_signals(sigset_t *set)
{
    sigemptyset(set);
    for (size_t i = 0; i < sizeof forwarded / sizeof *forwarded; i++)
        sigaddset(set, forwarded[i]);
    for (int i = SIGRTMIN; i <= SIGRTMAX; i++)
        sigaddset(set, i);
    sigaddset(set, SIGCHLD);
}

void sl_exec_signals_block(void)
{
    sigset_t set;
    struct sigaction standard;
    memset(&standard, 0, sizeof standard);
    standard.sa_handler = SIG_DFL; /* ignored, children would leave no status */
    watched_signals(&set);
    (void)sigaction(SIGCHLD, &standard, &chld_before);
    (void)sigprocmask(SIG_BLOCK, &set, &mask_before);
}

/* ---- the keeper ---- */

/* Who looks for this program by its name or arguments finds the other process, not the keeper. */
static void be_nobody(void)
{
    static char line[65536];
    int fd = open("/proc/self/cmdline", O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, line, sizeof line);
    if (fd >= 0)
        (void)close(fd);
    (void)prctl(PR_SET_NAME, "exec-keeper");
    /* It points at the first argument, behind which the others lie. */
    if (len > 0 && strcmp(program_invocation_name, line) == 0)
        memset(program_invocation_name, 0, (size_t)len);
}

/* In the keeper: answers questions about signals until the other side is gone. */
static void keep(int fd, int pidfd)
{
    SL_ASSERT(fd >= 0);
    unsigned char number;
    for (;;) {
        ssize_t got = read(fd, &number, 1);
        if (got < 0 && errno == EINTR)
            continue;
        if (got == 1 && number == BYE)
            _exit(0);
        if (got <= 0)
            break;
        sigset_t one;
        struct timespec none = {0, 0};
        sigemptyset(&one);
        sigaddset(&one, number);
        unsigned char had = sigtimedwait(&one, NULL, &none) == number;
        (void)!write(fd, &had, 1);
    }
    if (pidfd >= 0)
        (void)syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0u);
    _exit(0);
}

static void close_all_but(int first, int second)
{
    SL_ASSERT(first >= 0 || second >= 0);
    unsigned from = 0;
    int low = first < second ? first : second, high = first < second ? second : first;
    if (low >= 0) {
        if (low > 0)
            (void)syscall(SYS_close_range, from, (unsigned)low - 1, 0u);
        from = (unsigned)low + 1;
    }
    if ((unsigned)high > from)
        (void)syscall(SYS_close_range, from, (unsigned)high - 1, 0u);
    (void)syscall(SYS_close_range, (unsigned)high + 1, ~0u, 0u);
}

/* Without a keeper everything works but what only it can know. */
static void start_keeper(sl_exec_child *child)
{
    SL_ASSERT(child->pid > 0);
    int fds[2];
    sigset_t all;
    child->keeper_fd = -1;
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds) != 0)
        return;
    int pidfd = (int)syscall(SYS_pidfd_open, child->pid, 0u);
    child->keeper = fork();
    if (child->keeper == 0) {
        sigfillset(&all);
        (void)sigprocmask(SIG_SETMASK, &all, NULL);
        be_nobody();
        close_all_but(fds[1], pidfd);
        keep(fds[1], pidfd);
    }
    (void)close(fds[1]);
    if (pidfd >= 0)
        (void)close(pidfd);
    if (child->keeper < 0)
        (void)close(fds[0]);
    else
        child->keeper_fd = fds[0];
}

/* Tells the keeper that it is not needed any more. */
static void dismiss_keeper(sl_exec_child *child)
{
    unsigned char bye = BYE;
    if (child->keeper_fd < 0)
        return;
    crash_fd = -1;
    (void)!send(child->keeper_fd, &bye, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)close(child->keeper_fd);
    child->keeper_fd = -1;
}

/* A fault of this process is no reason to end the program; a ring that its host has cut short is not even one. */
static void on_crash(int number, siginfo_t *info, void *unused)
{
    unsigned char bye = BYE;
    (void)unused;
    if (number == SIGBUS && info->si_code > 0 && sl_probe_ring_mend(info->si_addr))
        return;
    if (crash_fd >= 0)
        (void)!send(crash_fd, &bye, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
    (void)signal(number, SIG_DFL);
    (void)raise(number);
}

static void watch_crashes(const sl_exec_child *child)
{
    static const int faults[] = {SIGSEGV, SIGBUS, SIGILL, SIGFPE, SIGABRT};
    struct sigaction action;
    crash_fd = child->keeper_fd;
    memset(&action, 0, sizeof action);
    action.sa_sigaction = on_crash;
    action.sa_flags = SA_SIGINFO | SA_RESTART;
    for (size_t i = 0; i < sizeof faults / sizeof *faults; i++)
        (void)sigaction(faults[i], &action, NULL);
}

/* ---- starting ---- */

/* In the child: waits for the word to go, then becomes the program. Its parent's end is an end for it too. */
static void become(char **argv, char **envp, int gate_fd, int report_fd)
{
    SL_ASSERT(argv && argv[0] && envp && gate_fd >= 0 && report_fd >= 0);
    unsigned char go;
    ssize_t got;
    while ((got = read(gate_fd, &go, 1)) < 0 && errno == EINTR) {
    }
    if (got != 1)
        _exit(127);
    (void)sigaction(SIGCHLD, &chld_before, NULL);
    if (!sl_sigpipe_was_ignored)
        (void)signal(SIGPIPE, SIG_DFL);
    (void)sigprocmask(SIG_SETMASK, &mask_before, NULL);
    (void)execvpe(argv[0], argv, envp);
    int why = errno;
    (void)!write(report_fd, &why, sizeof why);
    _exit(127);
}

int sl_exec_child_prepare(sl_exec_child *child, char **argv, char **envp)
{
    SL_ASSERT(child && argv && argv[0] && envp);
    int gate[2], report[2];
    memset(child, 0, sizeof *child);
    child->keeper_fd = child->gate_fd = child->report_fd = -1;
    if (pipe2(gate, O_CLOEXEC) != 0)
        return errno;
    if (pipe2(report, O_CLOEXEC) != 0) {
        int why = errno;
        (void)close(gate[0]);
        (void)close(gate[1]);
        return why;
    }
    child->pid = fork();
    int why = child->pid < 0 ? errno : 0;
    if (child->pid == 0) {
        (void)close(gate[1]);
        become(argv, envp, gate[0], report[1]);
    }
    (void)close(gate[0]);
    (void)close(report[1]);
    child->gate_fd = gate[1];
    child->report_fd = report[0];
    if (!why)
        start_keeper(child); /* before the program is anything: what it sends to its group reaches the keeper too */
    return why;
}

static void close_pipes(sl_exec_child *child)
{
    if (child->gate_fd >= 0)
        (void)close(child->gate_fd);
    if (child->report_fd >= 0)
        (void)close(child->report_fd);
    child->gate_fd = child->report_fd = -1;
}

void sl_exec_child_drop(sl_exec_child *child)
{
    SL_ASSERT(child);
    if (child->pid <= 0)
        return;
    close_pipes(child);
    (void)waitpid(child->pid, NULL, 0);
    child->pid = 0;
    dismiss_keeper(child);
    if (child->keeper > 0)
        (void)waitpid(child->keeper, NULL, 0);
    child->keeper = 0;
}

int sl_exec_child_start(sl_exec_child *child)
{
    SL_ASSERT(child && child->pid > 0 && child->gate_fd >= 0);
    unsigned char go = 1;
    int why = 0;
    watch_crashes(child); /* from its first instruction on it lives without this process */
    if (write(child->gate_fd, &go, 1) != 1)
        why = errno;
    while (!why && read(child->report_fd, &why, sizeof why) < 0 && errno == EINTR) {
    }
    if (why) {
        sl_exec_child_drop(child);
        return why;
    }
    close_pipes(child);
    return 0;
}

/* ---- signals ---- */

typedef enum keeper_answer { KEEPER_NO, KEEPER_YES, KEEPER_SILENT } keeper_answer;

static keeper_answer ask_keeper(const sl_exec_child *child, int number)
{
    SL_ASSERT(number > 0 && number < 256);
    unsigned char byte = (unsigned char)number, answer;
    struct pollfd p = {child->keeper_fd, POLLIN, 0};
    if (child->keeper_fd < 0)
        return KEEPER_SILENT;
    while (recv(child->keeper_fd, &answer, 1, MSG_DONTWAIT) == 1) { /* an answer that came too late */
    }
    if (send(child->keeper_fd, &byte, 1, MSG_NOSIGNAL | MSG_DONTWAIT) != 1 || poll(&p, 1, ACK_MS) != 1 ||
        recv(child->keeper_fd, &answer, 1, MSG_DONTWAIT) != 1)
        return KEEPER_SILENT;
    return answer ? KEEPER_YES : KEEPER_NO;
}

/* Whether the whole group has been sent it. Who signals one process after the other needs a moment. */
static bool was_for_all(const sl_exec_child *child, const siginfo_t *info)
{
    SL_ASSERT(child && info && info->si_signo > 0);
    static const unsigned waits_us[] = {0, 1000, 4000, 15000};
    for (size_t i = 0; i < sizeof waits_us / sizeof *waits_us; i++) {
        if (waits_us[i])
            (void)usleep(waits_us[i]);
        keeper_answer answer = ask_keeper(child, info->si_signo);
        if (answer == KEEPER_SILENT)
            return info->si_code == SI_KERNEL; /* a terminal's as a rule */
        if (answer == KEEPER_YES)
            return true;
    }
    return false;
}

static void stop_too(void)
{
    (void)raise(SIGSTOP); /* who continues the job continues the program too, or it is passed on below */
}

/* Takes the status of every process that has ended: as the first process of a container there may be others. */
static void reap(sl_exec_child *child)
{
    SL_ASSERT(!child->ended);
    int status;
    pid_t pid;
    bool stopped = false;
    while ((pid = waitpid(-1, &status, WNOHANG | WUNTRACED)) > 0) {
        if (pid == child->keeper) {
            child->keeper = 0;
            continue;
        }
        if (pid != child->pid)
            continue;
        /* SIGSTOP is for the one process that it was sent to; the others are a terminal's. */
        if (WIFSTOPPED(status)) {
            stopped = WSTOPSIG(status) != SIGSTOP;
            continue;
        }
        child->ended = true;
        child->status = status;
    }
    if (stopped && !child->ended)
        stop_too();
}

void sl_exec_child_wait(sl_exec_child *child)
{
    SL_ASSERT(child && child->pid > 0);
    sigset_t set;
    siginfo_t info;
    watched_signals(&set);
    while (!child->ended) {
        if (sigwaitinfo(&set, &info) < 0)
            continue;
        if (info.si_signo == SIGCHLD)
            reap(child);
        else if (!was_for_all(child, &info))
            (void)kill(child->pid, info.si_signo);
    }
    dismiss_keeper(child);
}

void sl_exec_child_follow(const sl_exec_child *child)
{
    SL_ASSERT(child && child->ended);
    if (child->keeper > 0)
        (void)waitpid(child->keeper, NULL, WNOHANG);
    if (!WIFSIGNALED(child->status))
        exit(WEXITSTATUS(child->status));
    int number = WTERMSIG(child->status);
    sigset_t one;
    const struct rlimit none = {0, 0};
    (void)fflush(NULL);
    /* The program has left its core, if any: no second one. */
    (void)setrlimit(RLIMIT_CORE, &none);
    (void)prctl(PR_SET_DUMPABLE, 0);
    (void)signal(number, SIG_DFL);
    sigemptyset(&one);
    sigaddset(&one, number);
    (void)sigprocmask(SIG_UNBLOCK, &one, NULL);
    (void)raise(number);
    _exit(128 + number); /* the first process of a container survives its own signals */
}
