/*
 * The probe's programs in the kernel: each is run when a thread comes by a function's first instruction, or by the
 * place that a call returns to, and writes one record (records.h) into a ring. They read the memory of the calling
 * thread and change nothing.
 */
#ifndef SL_PROBE_UPROBE_PROGRAMS_H
#define SL_PROBE_UPROBE_PROGRAMS_H

#include "src/probe/uprobe/bpf_asm.h"
#include "src/probe/uprobe/records.h"

/* Tokens of a batch that a record has room for: the smallest that is enough; of longer batches the first ones are read.
 */
#define SL_UPROBE_ROOMS                                                                                                \
    {                                                                                                                  \
        16u, 256u, 2048u, 8192u                                                                                        \
    }
#define SL_UPROBE_MOST_TOKENS 8192u

typedef struct sl_uprobe_maps {
    int ring;    /* BPF_MAP_TYPE_RINGBUF */
    int dropped; /* BPF_MAP_TYPE_ARRAY of one uint64_t: records for which the ring had no room */
} sl_uprobe_maps;

/* Whether this architecture's registers and calling convention are known. */
bool sl_uprobe_arch_known(void);
/* Writes the program of a function. False: it did not fit. */
bool sl_uprobe_program_call(sl_bpf_asm *a, sl_uprobe_kind kind, uint32_t point, const sl_uprobe_maps *maps);
/* Writes the program of places that calls return to. */
bool sl_uprobe_program_return(sl_bpf_asm *a, const sl_uprobe_maps *maps);

#endif
