/* Reading of /proc/PID/maps. */
#include "src/probe/uprobe/process_map.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/assert.h"

/* "start-end rwxp offset major:minor inode path". False: not the code of a file. */
static bool parse(char *line, uint32_t pid, sl_process_code *ret_code)
{
    unsigned long start, end, offset, inode;
    unsigned major, minor;
    char rights[5];
    int path_at = 0;
    line[strcspn(line, "\n")] = '\0';
    if (sscanf(line, "%lx-%lx %4s %lx %x:%x %lu %n", &start, &end, rights, &offset, &major, &minor, &inode, &path_at) <
            7 ||
        !path_at || rights[2] != 'x' || line[path_at] != '/')
        return false;
    ret_code->start = start;
    ret_code->end = end;
    ret_code->offset = offset;
    ret_code->device = (uint64_t)major << 32 | minor;
    ret_code->inode = inode;
    (void)snprintf(ret_code->path, sizeof ret_code->path, "/proc/%u/root%s", pid, line + path_at);
    (void)snprintf(ret_code->link, sizeof ret_code->link, "/proc/%u/map_files/%lx-%lx", pid, start, end);
    return true;
}

int sl_process_map_each(uint32_t pid, bool (*fn)(void *user, const sl_process_code *code), void *user)
{
    SL_ASSERT(pid && fn);
    char path[32], *line = NULL;
    size_t room = 0;
    sl_process_code code;
    (void)snprintf(path, sizeof path, "/proc/%u/maps", pid);
    FILE *stream = fopen(path, "re");
    if (!stream)
        return errno == ENOENT ? SL_ENOENT : SL_EIO;
    while (getline(&line, &room, stream) > 0) {
        if (parse(line, pid, &code) && !fn(user, &code))
            break;
    }
    free(line);
    (void)fclose(stream);
    return 0;
}

typedef struct search {
    uint64_t address;
    sl_process_code *found;
    bool done;
} search;

static bool covers(void *user, const sl_process_code *code)
{
    search *s = user;
    if (s->address < code->start || s->address >= code->end)
        return true;
    *s->found = *code;
    s->done = true;
    return false;
}

int sl_process_map_at(uint32_t pid, uint64_t address, sl_process_code *ret_code)
{
    SL_ASSERT(pid && ret_code);
    search s = {.address = address, .found = ret_code};
    int error = sl_process_map_each(pid, covers, &s);
    return error ? error : s.done ? 0 : SL_ENOENT;
}
