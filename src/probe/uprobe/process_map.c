/* Reading of /proc/PID/maps. */
#include "src/probe/uprobe/process_map.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "src/base/assert.h"

static uint64_t number(char **at, int base)
{
    char *end;
    uint64_t value = strtoull(*at, &end, base);
    *at = end + (*end != '\0'); /* and the character behind it */
    return value;
}

/* "start-end rwxp offset major:minor inode path". False: not the code of a file. */
static bool parse(char *line, uint32_t pid, sl_process_code *ret_code)
{
    char *at = line;
    line[strcspn(line, "\n")] = '\0';
    ret_code->start = number(&at, 16);
    ret_code->end = number(&at, 16);
    if (strlen(at) < 5 || at[2] != 'x')
        return false;
    at += 5;
    ret_code->offset = number(&at, 16);
    ret_code->device = number(&at, 16) << 32;
    ret_code->device |= number(&at, 16);
    ret_code->inode = number(&at, 10);
    at += strspn(at, " ");
    if (*at != '/')
        return false;
    (void)snprintf(ret_code->path, sizeof ret_code->path, "/proc/%u/root%s", pid, at);
    (void)snprintf(ret_code->link, sizeof ret_code->link, "/proc/%u/map_files/%llx-%llx", pid,
                   (unsigned long long)ret_code->start, (unsigned long long)ret_code->end);
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
