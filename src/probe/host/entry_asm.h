/*
 * Pieces of assembly that entries are made of (stubs.c, static/entries.c): functions that are jumps.
 *   BEGIN, END     of a function
 *   GO_ON          to the address in `slot`, or to `hook` while there is none
 *   TAGGED         to `hook`, having set sl_host_tag
 *   ADDRESS        a pointer in data
 */
#ifndef SL_PROBE_HOST_ENTRY_ASM_H
#define SL_PROBE_HOST_ENTRY_ASM_H

#if defined(__x86_64__)
#define BEGIN(symbol) ".p2align 4\n.type " symbol ",@function\n" symbol ":\n.cfi_startproc\nendbr64\n"
#define END(symbol) ".cfi_endproc\n.size " symbol ",.-" symbol "\n"
#define GO_ON(slot, hook) "movq " slot "(%rip),%r11\ntestq %r11,%r11\njne 1f\njmp " hook "\n1:jmp *%r11\n"
#define TAGGED(tag, hook) "movq sl_host_tag@gottpoff(%rip),%r11\nmovl $" tag ",%fs:(%r11)\njmp " hook "\n"
#define ADDRESS ".quad "
#elif defined(__aarch64__)
/* x16 and x17 are the linker's own scratch registers: no caller expects them to be kept. */
#define BEGIN(symbol) ".p2align 4\n.type " symbol ",%function\n" symbol ":\n.cfi_startproc\nhint #34\n"
#define END(symbol) ".cfi_endproc\n.size " symbol ",.-" symbol "\n"
#define GO_ON(slot, hook) "adrp x16," slot "\nldr x16,[x16,:lo12:" slot "]\ncbnz x16,1f\nb " hook "\n1:br x16\n"
#define TAGGED(tag, hook)                                                                                              \
    "adrp x16,:gottprel:sl_host_tag\nldr x16,[x16,:gottprel_lo12:sl_host_tag]\nmrs x17,tpidr_el0\n"                    \
    "add x16,x16,x17\nmov w17,#" tag "\nstr w17,[x16]\nb " hook "\n"
#define ADDRESS ".xword "
#else
#error "the probe's entries are written for x86-64 and aarch64"
#endif

#endif
