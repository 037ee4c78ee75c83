/*
 * Looking at a process from outside: breakpoints (uprobes) at llama.cpp's functions, wherever they are in the process,
 * linked in statically or in libraries.
 *
 * The process is not stopped, changed or traced; return addresses stay as they are (exceptions and profilers go through
 * them), so returns are watched where calls return to: found in the file for direct calls, else at the first call.
 * When this process ends, in whatever way, the breakpoints go and the other process runs on. What it starts is not
 * followed. What is seen goes into a ring as if it came from the library inside the host (translate.h).
 */
#ifndef SL_PROBE_UPROBE_ATTACH_H
#define SL_PROBE_UPROBE_ATTACH_H

#include "src/probe/ring.h"
#include "src/probe/uprobe/kernel.h"

typedef struct sl_uprobe_attach sl_uprobe_attach;

/* Whether this process may set breakpoints, and run programs at them: 0, or SL_EREFUSED and why not. */
int sl_uprobe_possible(sl_uprobe_why *why);
/* True for a program that has llama.cpp inside, where a library that is loaded into it cannot see it. */
bool sl_uprobe_is_static(const char *path);

/*
 * Sets the breakpoints. `exe`: the program's file when process `pid` is about to become it; NULL: process `pid` runs,
 * and all files that it has mapped, now or later, are looked at. Errors: SL_ENOENT (no function of llama.cpp is there),
 * SL_EREFUSED (the kernel refuses), SL_ENOMEM, SL_EIO; `*why` says more.
 */
SL_MUST_CHECK int sl_uprobe_attach_new(uint32_t pid, const char *exe, sl_uprobe_attach **ret_attach,
                                       sl_uprobe_why *why);
/* The events of the process. It stays the attachment's, and is good until that is freed. */
sl_probe_ring *sl_uprobe_attach_ring(const sl_uprobe_attach *attach);
/* Starts the thread that brings them. Errors: SL_ENOMEM. */
SL_MUST_CHECK int sl_uprobe_attach_start(sl_uprobe_attach *attach);
/* Ends the thread; what was seen until now is in the ring, which is closed. Idempotent. */
void sl_uprobe_attach_stop(sl_uprobe_attach *attach);
/* Takes the breakpoints back, and frees. NULL is accepted. */
void sl_uprobe_attach_free(sl_uprobe_attach *attach);

#endif
