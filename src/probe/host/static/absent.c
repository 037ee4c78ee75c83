/*
 * Stands for functions of llama.cpp that the program's llama.cpp does not have. Its options make the linker look for
 * every one of them (a weak reference takes nothing out of an archive); this member, which comes after all others, ends
 * the search. Weak: where one function is missing, the others stay what they are. Nobody calls it (real.c).
 */
#include "src/probe/host/entry_asm.h"

__asm__(".text\n.globl __real_sl_absent\n" BEGIN("__real_sl_absent") "ret\n" END("__real_sl_absent"));

#define ABSENT(name) __asm__(".weak " #name "\n.set " #name ",__real_sl_absent\n");
#define ABSENT_LLAMA(name) ABSENT(name)
#define ABSENT_GGML(name) ABSENT(name)
#define ABSENT_OTHER(name)
#define ABSENT_LIBC(name)
#define SL_HOOK(name, kind) ABSENT_##kind(name)
#include "src/probe/host/hooks.def"
#undef SL_HOOK

typedef int sl_absent_is_not_empty;
