/*
 * What the kernel is asked for: programs, a ring that they write to, and breakpoints (uprobes) that run them.
 *
 * Needs root, or CAP_BPF and CAP_PERFMON, and Linux 5.8 or newer. Nothing of it is in the file system: when the
 * descriptors are closed, also by this process's death, breakpoints and programs are gone, and the program that was
 * looked at runs on.
 */
#ifndef SL_PROBE_UPROBE_KERNEL_H
#define SL_PROBE_UPROBE_KERNEL_H

#include "src/base/str.h"
#include "src/probe/uprobe/bpf_asm.h"

/* Why something was refused, for people: what failed, and what would help. */
#define SL_UPROBE_WHY_MAX 320u
typedef struct sl_uprobe_why {
    char text[SL_UPROBE_WHY_MAX];
} sl_uprobe_why;

/* Descriptors, or negative codes with `*why` filled. */
SL_MUST_CHECK int sl_kernel_ring_map(size_t bytes, sl_uprobe_why *why);
SL_MUST_CHECK int sl_kernel_counter_map(sl_uprobe_why *why);
SL_MUST_CHECK int sl_kernel_program(const sl_bpf_asm *a, const char *name, sl_uprobe_why *why);
/* A breakpoint in process `pid` at a file's `offset`, which runs `program`. */
SL_MUST_CHECK int sl_kernel_uprobe(int pid, const char *path, uint64_t offset, int program, sl_uprobe_why *why);
/* The number in a counter map; 0 when it cannot be read. */
uint64_t sl_kernel_counter(int map);

/* The reader's end of a ring map. */
typedef struct sl_kernel_ring {
    int fd;
    size_t bytes;
    void *consumer; /* a page: how far we are */
    void *producer; /* a page, then the data, twice */
} sl_kernel_ring;
SL_MUST_CHECK int sl_kernel_ring_open(int fd, size_t bytes, sl_kernel_ring *ret_ring, sl_uprobe_why *why);
void sl_kernel_ring_close(sl_kernel_ring *ring);
/* Hands what is there to `fn`, at most `max` records. Returns how many there were. */
size_t sl_kernel_ring_read(sl_kernel_ring *ring, size_t max, void (*fn)(void *user, const void *record, size_t len),
                           void *user);

#endif
