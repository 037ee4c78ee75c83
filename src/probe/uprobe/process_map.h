/*
 * What a process has mapped: which file, and where in it, code at an address comes from.
 * A snapshot of /proc; names that this process can open whatever the other's root folder is.
 */
#ifndef SL_PROBE_UPROBE_PROCESS_MAP_H
#define SL_PROBE_UPROBE_PROCESS_MAP_H

#include <limits.h>

#include "src/base/str.h"

typedef struct sl_process_code {
    uint64_t start, end, offset; /* of the file's part */
    uint64_t device, inode;
    char path[PATH_MAX + 32]; /* through /proc/PID/root */
    char link[64];            /* the mapping itself, also when the file was removed; needs more rights */
} sl_process_code;

/* Hands each executable mapping of a file to `fn` until it returns false. Errors: SL_ENOENT (no such process), SL_EIO.
 */
int sl_process_map_each(uint32_t pid, bool (*fn)(void *user, const sl_process_code *code), void *user);
/* The mapping that covers an address. Errors: as above; SL_ENOENT also when there is none. */
SL_MUST_CHECK int sl_process_map_at(uint32_t pid, uint64_t address, sl_process_code *ret_code);

#endif
