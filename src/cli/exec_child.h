/*
 * The program that `sightline exec` runs: started in this process group, with this terminal, and its signals.
 *
 *     exec ── forks ─▶ COMMAND     same process group: the terminal's signals reach it by themselves
 *        └─── forks ─▶ keeper      same process group, blocks all signals
 *
 * A signal that somebody sends to this process is passed on to COMMAND, unless it was sent to the whole group (by a
 * terminal, a shell, a service manager) and COMMAND has it already: then the keeper has it too. So COMMAND gets each
 * signal once; servers take a second one for impatience. When COMMAND stops, so does this process, and a shell sees its
 * job stopped. When this process is killed, COMMAND is; when it crashes, COMMAND goes on without it.
 */
#ifndef SL_CLI_EXEC_CHILD_H
#define SL_CLI_EXEC_CHILD_H

#include <sys/types.h>

#include "src/base/str.h"

typedef struct sl_exec_child {
    pid_t pid, keeper;
    int keeper_fd; /* -1: none */
    int gate_fd;   /* the process waits at its other end; -1: none */
    int report_fd; /* says why it could not become the program; -1: none */
    bool ended;
    int status; /* of waitpid, when it has ended */
} sl_exec_child;

/* Blocks the signals that are passed on; before any thread is started. */
void sl_exec_signals_block(void);

/*
 * Makes the process, which waits: its id is known before it is anything. `argv` with the environment `envp` is what it
 * becomes. Before any thread is started. Returns 0, or an errno.
 */
SL_MUST_CHECK int sl_exec_child_prepare(sl_exec_child *child, char **argv, char **envp);
/*
 * Lets it become the program, found by PATH; signals are as this process got them. Returns 0, or the errno of what
 * failed: ENOENT (no such program), EACCES (it may not be run), others; then it is gone.
 */
SL_MUST_CHECK int sl_exec_child_start(sl_exec_child *child);
/* Ends it before it has become anything. Nothing happens when it was not made. */
void sl_exec_child_drop(sl_exec_child *child);

/* Passes signals on until it has ended. */
void sl_exec_child_wait(sl_exec_child *child);

/* Ends this process as the program has ended: the same status, or by the same signal. */
void sl_exec_child_follow(const sl_exec_child *child) __attribute__((noreturn));

#endif
