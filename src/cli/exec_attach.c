/* Attaching to programs from outside. */
#include "src/cli/exec_attach.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/cli/exec_library.h"

#define LOOK_NS 100000000 /* how often the process is looked at */
#define MAX_ARGS 4096u

/* ---- a program that is about to start ---- */

bool sl_exec_find_program(const char *argv0, char ret_path[SL_EXEC_PATH_MAX])
{
    SL_ASSERT(argv0 && ret_path);
    const char *given = getenv("PATH");
    sl_str rest = sl_str_c(given ? given : "/bin:/usr/bin"), folder;
    struct stat st;
    if (strchr(argv0, '/')) {
        int len = snprintf(ret_path, SL_EXEC_PATH_MAX, "%s", argv0);
        return len > 0 && len < SL_EXEC_PATH_MAX;
    }
    while (*argv0 && sl_str_split(&rest, ':', &folder)) {
        int len = snprintf(ret_path, SL_EXEC_PATH_MAX, "%.*s/%s", folder.len ? (int)folder.len : 1,
                           folder.len ? folder.ptr : ".", argv0);
        if (len > 0 && len < SL_EXEC_PATH_MAX && access(ret_path, X_OK) == 0 && stat(ret_path, &st) == 0 &&
            S_ISREG(st.st_mode))
            return true;
    }
    return false;
}

sl_uprobe_attach *sl_exec_attach_static(int pid, const char *argv0)
{
    SL_ASSERT(pid > 0 && argv0);
    char path[SL_EXEC_PATH_MAX];
    sl_uprobe_attach *attach = NULL;
    sl_uprobe_why why;
    if (!sl_exec_find_program(argv0, path) || !sl_uprobe_is_static(path))
        return NULL;
    if (sl_uprobe_attach_new((uint32_t)pid, path, &attach, &why) != 0)
        (void)sl_fail(0,
                      "warning: %s has llama.cpp linked in statically, and cannot be looked at from outside: %s. "
                      "Its requests and batches are not seen; build it with -DLLAMA_OTEL_ENABLE=ON (docs/llama.md)",
                      argv0, why.text);
    return attach;
}

/* ---- a process that runs already ---- */

static bool read_proc(uint64_t pid, const char *file, sl_buf *out)
{
    SL_ASSERT(pid > 0 && file && out);
    char path[64], piece[4096];
    size_t got;
    (void)snprintf(path, sizeof path, "/proc/%llu/%s", (unsigned long long)pid, file);
    FILE *stream = fopen(path, "re");
    if (!stream)
        return false;
    while ((got = fread(piece, 1, sizeof piece, stream)) > 0 && sl_buf_put(out, piece, got) == 0) {
    }
    (void)fclose(stream);
    return true;
}

/* Its arguments as one would type them. */
static void put_command_line(sl_str line, sl_buf *out)
{
    SL_ASSERT(out && (line.ptr || !line.len));
    sl_str word;
    while (line.len && line.ptr[line.len - 1] == '\0')
        line.len--;
    while (sl_str_split(&line, '\0', &word)) {
        bool plain = word.len > 0;
        for (size_t i = 0; i < word.len; i++)
            plain &= word.ptr[i] > ' ' && !strchr("'\"\\$`!*?[](){}<>|&;#~", word.ptr[i]);
        (void)sl_buf_put_c(out, plain ? " " : " '");
        for (size_t i = 0; i < word.len; i++) {
            if (!plain && word.ptr[i] == '\'')
                (void)sl_buf_put_c(out, "'\\''");
            else
                (void)sl_buf_put_char(out, word.ptr[i]);
        }
        if (!plain)
            (void)sl_buf_put_char(out, '\'');
    }
}

/* What to do when it cannot be attached to. */
static int say_start_anew(uint64_t pid, sl_str line, const char *why)
{
    sl_buf shown;
    sl_buf_init(&shown, 4u << 20);
    put_command_line(line, &shown);
    int status = sl_fail(SL_EXIT_FAILED,
                         "--pid: process %llu cannot be looked at from outside: %s; start it anew as\n"
                         "  sightline exec --%.*s",
                         (unsigned long long)pid, why, (int)shown.len, shown.data);
    sl_buf_done(&shown);
    return status;
}

static bool is_instrumented(uint64_t pid)
{
    sl_buf maps;
    sl_buf_init(&maps, 16u << 20);
    bool is =
        read_proc(pid, "maps", &maps) && sl_str_find(sl_buf_str(&maps), sl_str_c(SL_EXEC_LIBRARY_NAME)) != SL_NPOS;
    sl_buf_done(&maps);
    return is;
}

/* The arguments, for who asks for its name and port. */
static bool copy_arguments(sl_str line, sl_exec_running *running)
{
    size_t count = 0, at = 0;
    running->text = malloc(line.len + 2);
    for (size_t i = 0; i < line.len; i++)
        count += line.ptr[i] == '\0';
    running->argv = calloc((count < MAX_ARGS ? count : MAX_ARGS) + 3, sizeof *running->argv);
    if (!running->text || !running->argv)
        return false;
    if (line.len)
        memcpy(running->text, line.ptr, line.len);
    running->text[line.len] = running->text[line.len + 1] = '\0';
    for (size_t from = 0; (from < line.len || at == 0) && at < MAX_ARGS; from += strlen(running->text + from) + 1)
        running->argv[at++] = running->text + from;
    return true;
}

static bool has_ended(const sl_exec_running *running)
{
    struct pollfd p = {running->pidfd, POLLIN, 0};
    SL_ASSERT(running->pid);
    return running->pidfd >= 0 ? poll(&p, 1, 0) > 0 : kill((pid_t)running->pid, 0) != 0 && errno == ESRCH;
}

static int attach(uint64_t pid, sl_str line, sl_exec_running *running)
{
    sl_uprobe_why why;
    if (is_instrumented(pid))
        return sl_fail(SL_EXIT_OK, "--pid: process %llu is instrumented already", (unsigned long long)pid);
    if (!copy_arguments(line, running))
        return sl_fail(SL_EXIT_FAILED, "--pid: out of memory");
    int error = sl_uprobe_attach_new((uint32_t)pid, NULL, &running->attach, &why);
    if (has_ended(running)) /* and what was looked at may be another one of the same number */
        return sl_fail(SL_EXIT_FAILED, "--pid: process %llu has ended", (unsigned long long)pid);
    return error ? say_start_anew(pid, line, why.text[0] ? why.text : sl_strerror(error)) : -1;
}

int sl_exec_attach_running(uint64_t pid, sl_exec_running *ret_running)
{
    SL_ASSERT(pid && ret_running);
    sl_buf line;
    sl_buf_init(&line, 1u << 20);
    *ret_running = (sl_exec_running){.pid = pid, .pidfd = -1};
    bool good = pid <= INT32_MAX;
    if (good)
        ret_running->pidfd = (int)syscall(SYS_pidfd_open, (pid_t)pid, 0u);
    if (good && ret_running->pidfd < 0) /* also for a thread that is not its process's first */
        good = errno != ESRCH && errno != EINVAL && errno != ENOENT;
    int status = !good || !read_proc(pid, "cmdline", &line)
                     ? sl_fail(SL_EXIT_FAILED, "--pid: there is no process %llu", (unsigned long long)pid)
                     : attach(pid, sl_buf_str(&line), ret_running);
    sl_buf_done(&line);
    if (status >= 0)
        sl_exec_attach_done(ret_running);
    return status;
}

void sl_exec_attach_wait(const sl_exec_running *running)
{
    SL_ASSERT(running && running->pid);
    const struct timespec often = {0, LOOK_NS};
    sigset_t ends;
    sigemptyset(&ends);
    sigaddset(&ends, SIGINT);
    sigaddset(&ends, SIGTERM);
    sigaddset(&ends, SIGHUP);
    sigaddset(&ends, SIGQUIT);
    while (sigtimedwait(&ends, NULL, &often) < 0 && !has_ended(running)) {
    }
}

void sl_exec_attach_done(sl_exec_running *running)
{
    SL_ASSERT(running);
    sl_uprobe_attach_free(running->attach);
    if (running->pidfd >= 0)
        (void)close(running->pidfd);
    free(running->argv);
    free(running->text);
    *running = (sl_exec_running){.pidfd = -1};
}
