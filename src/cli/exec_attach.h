/*
 * `sightline exec` for programs into which no library can be loaded: ones that run already, and ones that have
 * llama.cpp linked in statically. They are looked at from outside (src/probe/uprobe).
 */
#ifndef SL_CLI_EXEC_ATTACH_H
#define SL_CLI_EXEC_ATTACH_H

#include "src/cli/command.h"
#include "src/cli/exec_library.h"
#include "src/probe/uprobe/attach.h"

/* The file that execvp() would run; false: none. A name with a slash is taken as it is. */
bool sl_exec_find_program(const char *argv0, char ret_path[SL_EXEC_PATH_MAX]);

/*
 * Attaches to process `pid`, which is about to become argv0, if that is a program with llama.cpp inside. NULL when it
 * is not; also, after a warning, when the kernel does not allow it: then the program runs all the same.
 */
sl_uprobe_attach *sl_exec_attach_static(int pid, const char *argv0);

/* A process that runs already. */
typedef struct sl_exec_running {
    uint64_t pid;
    int pidfd; /* stands for the process, whoever gets its number later; -1: not to be had */
    sl_uprobe_attach *attach;
    char **argv; /* as it was started; NULL at the end */
    char *text;  /* that argv points into */
} sl_exec_running;

/*
 * Attaches to it. Returns an exit status, or a negative number when it is done: says what is wrong, and what to do
 * instead.
 */
int sl_exec_attach_running(uint64_t pid, sl_exec_running *ret_running);
/* Waits until it has ended, or somebody wants this process to end: then it runs on. */
void sl_exec_attach_wait(const sl_exec_running *running);
void sl_exec_attach_done(sl_exec_running *running);

#endif
