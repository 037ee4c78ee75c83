/* The checks of doctor_probe.h. */
#include "src/cli/doctor_probe.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/sync.h"
#include "src/cli/exec_folder.h"
#include "src/cli/exec_library.h"
#include "src/probe/uprobe/attach.h"

#define TRY_MS 3000u

static const char name[] = "probe";

/* What comes from the child within the time. */
static size_t read_for_a_while(int fd, char *text, size_t size)
{
    SL_ASSERT(fd >= 0 && size > 1);
    size_t have = 0;
    uint64_t until = sl_deadline_ns(TRY_MS);
    while (have + 1 < size) {
        struct pollfd p = {fd, POLLIN, 0};
        if (poll(&p, 1, (int)sl_deadline_left_ms(until)) <= 0)
            break;
        ssize_t got = read(fd, text + have, size - 1 - have);
        if (got <= 0)
            break;
        have += (size_t)got;
    }
    text[have] = '\0';
    return have;
}

size_t sl_doctor_capture(char *const argv[], const char *preload, char *text, size_t size)
{
    SL_ASSERT(argv && argv[0] && text && size > 0);
    int fds[2], status = -1;
    size_t have = 0;
    text[0] = '\0';
    if (pipe2(fds, O_CLOEXEC) != 0)
        return 0;
    pid_t pid = fork();
    if (pid == 0) {
        (void)dup2(fds[1], STDERR_FILENO);
        (void)dup2(fds[1], STDOUT_FILENO);
        if (!preload || setenv("LD_PRELOAD", preload, 1) == 0)
            (void)execv(argv[0], argv);
        _exit(127);
    }
    (void)close(fds[1]);
    if (pid > 0) {
        have = read_for_a_while(fds[0], text, size);
        (void)kill(pid, SIGKILL); /* it has closed its end, or it hangs */
        (void)waitpid(pid, &status, 0);
    }
    (void)close(fds[0]);
    return have;
}

/* True when a program with the library runs as it should; else `text` is what it said. */
static bool loads(const char *library, char *text, size_t size)
{
    SL_ASSERT(library && *library);
    static char program[] = "/proc/self/exe", option[] = "--version";
    char *argv[] = {program, option, NULL};
    (void)sl_doctor_capture(argv, library, text, size);
    return strncmp(text, "sightline ", 10) == 0;
}

static void check_folder(sl_doctor *doctor)
{
    sl_exec_folder folder;
    if (sl_exec_folder_make(&folder) != 0) {
        sl_doctor_say(doctor, SL_DOCTOR_WARN, name, "set TMPDIR to a folder that this user may write to",
                      "no folder for rings can be made: %s", strerror(errno));
        return;
    }
    if (strncmp(folder.outer, "/dev/shm/", 9) != 0)
        sl_doctor_say(doctor, SL_DOCTOR_WARN, name, "make /dev/shm writable: rings belong into memory",
                      "rings of `exec` go to %s", folder.outer);
    sl_exec_folder_remove(&folder);
}

/* For programs into which no library can be loaded; most people need it not. */
static void check_outside(sl_doctor *doctor)
{
    sl_uprobe_why why;
    if (sl_uprobe_possible(&why) == 0)
        sl_doctor_say(doctor, SL_DOCTOR_OK, name, NULL,
                      "static and running programs can be looked at from outside (uprobes)");
    else
        sl_doctor_say(doctor, SL_DOCTOR_OK, name, NULL,
                      "static and running programs are not looked at from outside: %s", why.text);
}

void sl_doctor_probe(sl_doctor *doctor)
{
    SL_ASSERT(doctor);
    char library[SL_EXEC_PATH_MAX], said[512];
    sl_buf tried;
    sl_buf_init(&tried, 8 * SL_EXEC_PATH_MAX);
    if (sl_exec_library_find(library, &tried) != 0) {
        sl_doctor_say(doctor, SL_DOCTOR_WARN, name, "for `sightline exec` set " SL_EXEC_LIBRARY_ENV " to its path",
                      "%s is not there: looked for %.*s", SL_EXEC_LIBRARY_NAME, (int)tried.len, tried.data);
    } else if (!loads(library, said, sizeof said)) {
        said[strcspn(said, "\n")] = '\0';
        sl_doctor_say(doctor, SL_DOCTOR_FAIL, name, "install the library that belongs to this program",
                      "programs cannot load %s: %s", library, said);
    } else {
        sl_doctor_say(doctor, SL_DOCTOR_OK, name, NULL, "%s can be loaded into programs", library);
        check_folder(doctor);
    }
    check_outside(doctor);
    sl_buf_done(&tried);
}
