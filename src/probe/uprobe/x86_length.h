/*
 * How long an instruction of x86-64 is. For walking through compiled code from a function's first instruction: whoever
 * arrives at a place by it knows that an instruction begins there.
 *
 * Knows what compilers emit, up to AVX-512. Says 0 for what it does not know (and for what is invalid in 64-bit mode):
 * the walk ends there.
 * Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 2, chapter 2 and appendix A.
 */
#ifndef SL_PROBE_UPROBE_X86_LENGTH_H
#define SL_PROBE_UPROBE_X86_LENGTH_H

#include <stddef.h>

/* Length of the instruction at `code`, of which `len` bytes may be read; 0: unknown, or longer than that. */
size_t sl_x86_length(const unsigned char *code, size_t len);

#endif
