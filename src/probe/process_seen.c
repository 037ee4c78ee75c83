/* Finds a process of another PID namespace by what /proc says of all that can be seen. */
#include "src/probe/process_seen.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/assert.h"

#define TEXT 4096u
#define FIELDS_BEFORE_BEGIN 19 /* of "stat", between the state and the time of the start */

static bool read_proc(const char *process, const char *file, char *ret_text)
{
    char path[64];
    int len = snprintf(path, sizeof path, "/proc/%s/%s", process, file);
    int fd = len > 0 && (size_t)len < sizeof path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    ssize_t got = fd < 0 ? -1 : read(fd, ret_text, TEXT - 1);
    if (fd >= 0)
        (void)close(fd);
    ret_text[got > 0 ? got : 0] = '\0';
    return got > 0;
}

/* 0: not to be had, of another user's process, for instance. */
static uint64_t namespace_of(const char *process)
{
    char path[64];
    struct stat st;
    int len = snprintf(path, sizeof path, "/proc/%s/ns/pid", process);
    return len > 0 && (size_t)len < sizeof path && stat(path, &st) == 0 ? (uint64_t)st.st_ino : 0;
}

static uint64_t began(const char *process)
{
    char text[TEXT];
    const char *at = read_proc(process, "stat", text) ? strrchr(text, ')') : NULL; /* the name may hold anything */
    for (int i = 0; at && i <= FIELDS_BEFORE_BEGIN + 1; i++)
        at = strchr(at + 1, ' ');
    return at ? strtoull(at, NULL, 10) : 0;
}

/* The number in the innermost of its namespaces; 0 when it is in this one. */
static uint32_t inner_pid(const char *process)
{
    char text[TEXT];
    char *at = read_proc(process, "status", text) ? strstr(text, "\nNSpid:") : NULL;
    unsigned long last = 0;
    unsigned count = 0;
    if (!at)
        return 0;
    for (char *end = at + 7; *end && *end != '\n'; count++) {
        at = end;
        last = strtoul(at, &end, 10);
        if (end == at)
            break;
    }
    return count > 1 && last <= INT_MAX ? (uint32_t)last : 0;
}

static bool is_it(const char *process, const sl_probe_process *sought)
{
    if (inner_pid(process) != sought->pid)
        return false;
    uint64_t its = namespace_of(process);
    return its ? its == sought->namespace : sought->began && began(process) == sought->began;
}

sl_probe_process sl_probe_process_self(void)
{
    return (sl_probe_process){(uint32_t)getpid(), namespace_of("self"), began("self")};
}

uint32_t sl_probe_process_seen(const sl_probe_process *process)
{
    uint64_t here = namespace_of("self");
    SL_ASSERT(process);
    if (!here || !process->namespace || here == process->namespace)
        return process->pid;
    DIR *all = opendir("/proc");
    const struct dirent *entry;
    unsigned long found = 0;
    while (all && !found && process->pid && (entry = readdir(all))) {
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && is_it(entry->d_name, process))
            found = strtoul(entry->d_name, NULL, 10);
    }
    if (all)
        (void)closedir(all);
    return (uint32_t)found;
}
