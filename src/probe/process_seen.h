/*
 * Processes in PID namespaces: a process in one below the reader's has another number there than here.
 *
 * Whoever makes a ring writes down its number, its namespace and when it began; the reader, to whom processes further
 * down are visible, finds the number that is right for it. Linux's /proc alone; no memory; libc alone.
 */
#ifndef SL_PROBE_PROCESS_SEEN_H
#define SL_PROBE_PROCESS_SEEN_H

#include <stdbool.h>
#include <stdint.h>

typedef struct sl_probe_process {
    uint32_t pid;       /* as the process itself knows it */
    uint64_t namespace; /* number of its PID namespace; 0: not known */
    uint64_t began;     /* clock ticks after the machine's start; 0: not known */
} sl_probe_process;

/* The calling process. Async-signal-safe; errno may change. */
sl_probe_process sl_probe_process_self(void);
/*
 * The number by which the calling process knows it: `pid` itself when they share a namespace, or when one of the two
 * namespaces is not known. 0: it cannot be seen, or is gone.
 */
uint32_t sl_probe_process_seen(const sl_probe_process *process);

#endif
