/*
 * The program that `sightline exec` starts: how it begins, what it inherits, how its end is passed on. Each case runs
 * in a process of its own, since it blocks signals and ends as the program does.
 */
#include "src/cli/exec_child.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "tests/harness/sl_test.h"

extern char **environ;

#define PATIENCE_S 30 /* nothing here takes a second; what hangs is ended by SIGALRM's default */

/* ---- cases in processes of their own ---- */

typedef struct job {
    char **argv, **envp;
    int signal;        /* sent to the program by exec's own process once it runs; 0: none */
    bool without_wait; /* prepared, and dropped */
    int out_fd;        /* standard output of the program; -1: as it is */
} job;

static void run_job(const job *j)
{
    sl_exec_child child;
    (void)alarm(PATIENCE_S);
    (void)syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC); /* what the tests were started with */
    sl_exec_signals_block();
    if (j->out_fd >= 0)
        (void)dup2(j->out_fd, STDOUT_FILENO);
    if (sl_exec_child_prepare(&child, j->argv, j->envp ? j->envp : environ) != 0)
        _exit(101);
    if (j->without_wait) {
        sl_exec_child_drop(&child);
        _exit(waitpid(-1, NULL, WNOHANG) < 0 && errno == ECHILD ? 0 : 102);
    }
    int why = sl_exec_child_start(&child);
    if (why)
        _exit(why == ENOENT ? 111 : why == EACCES ? 112 : why == ENOEXEC ? 113 : 119);
    if (j->signal)
        (void)kill(getpid(), j->signal); /* as another process would */
    sl_exec_child_wait(&child);
    sl_exec_child_follow(&child);
}

/* Wait status of the job's process; its standard output into `out`. */
static int status_of(job j, char *out, size_t size)
{
    int fds[2], status = -1;
    if (pipe2(fds, O_CLOEXEC) != 0)
        return -1;
    j.out_fd = fds[1];
    pid_t pid = fork();
    if (pid == 0) {
        (void)setpgid(0, 0); /* signals to the group stay in it */
        run_job(&j);
        _exit(103);
    }
    (void)close(fds[1]);
    size_t len = 0;
    char rest[256];
    for (;;) {
        bool room = out && len + 1 < size;
        ssize_t got = room ? read(fds[0], out + len, size - 1 - len) : read(fds[0], rest, sizeof rest);
        if (got <= 0)
            break;
        len += room ? (size_t)got : 0;
    }
    if (out)
        out[len] = '\0';
    (void)close(fds[0]);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
    }
    return status;
}

static int shell(const char *script, char *out, size_t size)
{
    char text[1024];
    (void)snprintf(text, sizeof text, "%s", script);
    char *argv[] = {"sh", "-c", text, NULL};
    return status_of((job){.argv = argv}, out, size);
}

/* ---- its end ---- */

SL_TEST(the_status_of_the_program_is_the_status)
{
    for (int wanted = 0; wanted < 256; wanted += 17) {
        char script[32];
        (void)snprintf(script, sizeof script, "exit %d", wanted);
        int status = shell(script, NULL, 0);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == wanted);
    }
}

SL_TEST(the_signal_that_ends_the_program_ends_exec)
{
    static const int signals[] = {SIGHUP, SIGINT, SIGTERM, SIGKILL, SIGSEGV, SIGABRT, SIGUSR1, SIGPIPE, SIGALRM};
    for (size_t i = 0; i < sizeof signals / sizeof *signals; i++) {
        char script[64];
        (void)snprintf(script, sizeof script, "ulimit -c 0; kill -%d $$; sleep 20", signals[i]);
        int status = shell(script, NULL, 0);
        if (!WIFSIGNALED(status) || WTERMSIG(status) != signals[i])
            sl_test_failed(__FILE__, __LINE__, "signal %d: status %x", signals[i], (unsigned)status);
    }
}

SL_TEST(a_program_that_is_none_is_told_apart)
{
    char folder[] = "/tmp/sl-child-XXXXXX", path[64];
    char *none[] = {"/nonexistent/program", NULL}, *nowhere[] = {"sl-no-such-program-anywhere", NULL};
    char *is_folder[] = {"/", NULL}, *plain[] = {path, NULL};
    CHECK_EQ(WEXITSTATUS(status_of((job){.argv = none}, NULL, 0)), 111);
    CHECK_EQ(WEXITSTATUS(status_of((job){.argv = nowhere}, NULL, 0)), 111);
    CHECK_EQ(WEXITSTATUS(status_of((job){.argv = is_folder}, NULL, 0)), 112);
    REQUIRE(mkdtemp(folder) != NULL);
    (void)snprintf(path, sizeof path, "%s/plain", folder);
    int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    REQUIRE(fd >= 0 &&
            write(fd,
                  "\x7f"
                  "ELF",
                  4) == 4 &&
            close(fd) == 0);
    CHECK_EQ(WEXITSTATUS(status_of((job){.argv = plain}, NULL, 0)), 112);
    CHECK_EQ(chmod(path, 0700), 0);
    int status = status_of((job){.argv = plain}, NULL, 0); /* a head of a program, and nothing behind it */
    CHECK(WIFEXITED(status) && WEXITSTATUS(status) != 0);
    (void)unlink(path);
    (void)rmdir(folder);
}

SL_TEST(what_is_dropped_never_was)
{
    char folder[] = "/tmp/sl-child-XXXXXX", path[64];
    char *argv[] = {"touch", path, NULL};
    REQUIRE(mkdtemp(folder) != NULL);
    (void)snprintf(path, sizeof path, "%s/made", folder);
    CHECK_EQ(WEXITSTATUS(status_of((job){.argv = argv, .without_wait = true}, NULL, 0)), 0);
    CHECK(access(path, F_OK) != 0);
    CHECK_EQ(status_of((job){.argv = argv}, NULL, 0), 0);
    CHECK(access(path, F_OK) == 0);
    (void)unlink(path);
    (void)rmdir(folder);
    sl_exec_child never = {.keeper_fd = -1, .gate_fd = -1, .report_fd = -1};
    sl_exec_child_drop(&never);
}

/* ---- its beginning ---- */

SL_TEST(it_is_found_as_a_shell_finds_it)
{
    char out[64];
    char *argv[] = {"echo", "one", "two words", "", "*", NULL};
    CHECK_EQ(status_of((job){.argv = argv}, out, sizeof out), 0);
    CHECK_STR(sl_str_c(out), "one two words  *\n");
}

SL_TEST(its_environment_is_the_one_it_was_given)
{
    char out[256];
    char *argv[] = {"/usr/bin/env", NULL}, *envp[] = {"A=1", "B=two words", "LD_PRELOAD=", NULL}, *empty[] = {NULL};
    CHECK_EQ(status_of((job){.argv = argv, .envp = envp}, out, sizeof out), 0);
    CHECK_STR(sl_str_c(out), "A=1\nB=two words\nLD_PRELOAD=\n");
    CHECK_EQ(status_of((job){.argv = argv, .envp = empty}, out, sizeof out), 0);
    CHECK_STR(sl_str_c(out), "");
}

/* Signals, descriptors, group: as this process had them before it blocked anything. */
SL_TEST(it_inherits_what_a_shell_would_give_it)
{
    char out[512];
    CHECK_EQ(shell("grep -E '^Sig(Blk|Pnd)' /proc/self/status | tr -d '\\t'", out, sizeof out), 0);
    CHECK(strstr(out, "SigPnd:0000000000000000") && strstr(out, "SigBlk:0000000000000000"));
    CHECK_EQ(shell("ls -1 /proc/self/fd | tr '\\n' ' '", out, sizeof out), 0);
    CHECK_STR(sl_str_c(out), "0 1 2 3 "); /* 3: ls's own */
    CHECK_EQ(shell("test $(cut -d' ' -f5 /proc/$$/stat) = $(cut -d' ' -f5 /proc/$PPID/stat)", NULL, 0), 0);
}

SL_TEST(what_was_ignored_stays_so)
{
    char out[128];
    struct sigaction ignore, before;
    memset(&ignore, 0, sizeof ignore);
    ignore.sa_handler = SIG_IGN;
    REQUIRE(sigaction(SIGHUP, &ignore, &before) == 0);
    /* SIGHUP is bit 0, as under nohup. */
    CHECK_EQ(shell("grep -E '^SigIgn' /proc/self/status", out, sizeof out), 0);
    CHECK((strtoull(out + strcspn(out, "0123456789"), NULL, 16) & 1) == 1);
    CHECK_EQ(sigaction(SIGHUP, &before, NULL), 0);
    CHECK_EQ(shell("grep -E '^SigIgn' /proc/self/status", out, sizeof out), 0);
    CHECK((strtoull(out + strcspn(out, "0123456789"), NULL, 16) & 1) == 0);
}

/* ---- signals ---- */

SL_TEST(a_signal_to_exec_reaches_the_program)
{
    static const char *const names[] = {"HUP", "INT", "QUIT", "TERM", "USR1", "USR2", "ALRM", "WINCH", "CONT", "PWR"};
    static const int numbers[] = {SIGHUP,  SIGINT,  SIGQUIT,  SIGTERM, SIGUSR1,
                                  SIGUSR2, SIGALRM, SIGWINCH, SIGCONT, SIGPWR};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char script[256], out[64] = "";
        (void)snprintf(
            script, sizeof script,
            "trap 'echo got; exit 7' %s; kill -%s $PPID; i=0; while [ $i -lt 200 ]; do sleep 0.05; i=$((i+1)); "
            "done; exit 8",
            names[i], names[i]);
        int status = shell(script, out, sizeof out);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 7 || strcmp(out, "got\n") != 0)
            sl_test_failed(__FILE__, __LINE__, "%s (%d): status %x, \"%s\"", names[i], numbers[i], (unsigned)status,
                           out);
    }
}

/* One that was sent to the whole group has reached the program already: it does not get it twice. */
SL_TEST(a_signal_to_the_group_comes_once)
{
    for (int round = 0; round < 5; round++) {
        char out[64] = "";
        int status = shell("n=0; trap 'n=$((n+1))' USR1; trap '' USR2; kill -USR1 0; i=0; while [ $i -lt 8 ]; do "
                           "sleep 0.05; i=$((i+1)); done; echo $n",
                           out, sizeof out);
        CHECK(WIFEXITED(status) || WIFSIGNALED(status));
        CHECK_STR(sl_str_c(out), "1\n");
    }
}

SL_TEST(exec_that_is_killed_takes_the_program_along)
{
    int fds[2];
    REQUIRE(pipe2(fds, O_CLOEXEC) == 0);
    char *argv[] = {"sh", "-c", "echo $$; exec sleep 30", NULL};
    pid_t exec = fork();
    if (exec == 0) {
        (void)setpgid(0, 0);
        run_job(&(job){.argv = argv, .out_fd = fds[1]});
    }
    (void)close(fds[1]);
    char text[32] = "";
    CHECK(read(fds[0], text, sizeof text - 1) > 0);
    CHECK_EQ(kill(exec, SIGKILL), 0);
    (void)waitpid(exec, NULL, 0);
    /* The pipe's other end closes when the program is gone. */
    CHECK_EQ(read(fds[0], text, sizeof text), 0);
    (void)close(fds[0]);
}

SL_TEST(a_fault_of_exec_leaves_the_program_alone)
{
    int fds[2], status;
    REQUIRE(pipe2(fds, O_CLOEXEC) == 0);
    char *argv[] = {"sh", "-c", "echo $$; sleep 0.4; echo alive", NULL};
    pid_t exec = fork();
    if (exec == 0) {
        (void)setpgid(0, 0);
        run_job(&(job){.argv = argv, .out_fd = fds[1]});
    }
    (void)close(fds[1]);
    char text[64] = "";
    CHECK(read(fds[0], text, sizeof text - 1) > 0);
    CHECK_EQ(kill(exec, SIGSEGV), 0);
    (void)waitpid(exec, &status, 0);
    CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGSEGV);
    memset(text, 0, sizeof text);
    CHECK(read(fds[0], text, sizeof text - 1) > 0);
    CHECK_STR(sl_str_c(text), "alive\n");
    (void)close(fds[0]);
}
