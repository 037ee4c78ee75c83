/*
 * The entries of the hook library for static builds: what calls of NAME become when a program is linked with
 * --wrap=NAME, which makes them __wrap_NAME and gives the function itself the name __real_NAME. They go on to the hook,
 * or past it where the jump table says so, as those of stubs.c do; there is one copy of every library, the one that was
 * linked in, so there is nothing to look for.
 */
#include "src/probe/host/entry_asm.h"
#include "src/probe/host/real.h"

_Thread_local uint32_t sl_host_tag __attribute__((tls_model("initial-exec")));

/* Weak: what this llama.cpp does not have stays NULL. */
__asm__(".hidden sl_host_jumps\n.hidden sl_host_reals\n.hidden sl_host_tag\n"
        ".bss\n.p2align 4\n.globl sl_host_jumps\nsl_host_jumps:\n"
#define SL_HOOK(name, kind) "sl_jump_" #name ":.zero 8\n"
#include "src/probe/host/hooks.def"
#undef SL_HOOK
        ".data\n.p2align 4\n.globl sl_host_reals\nsl_host_reals:\n"
#define SL_HOOK(name, kind) ".weak __real_" #name "\n" ADDRESS "__real_" #name "\n"
#include "src/probe/host/hooks.def"
#undef SL_HOOK
        ".text\n");

#define SL_HOOK(name, kind)                                                                                            \
    __asm__(".hidden hook_" #name "\n.globl __wrap_" #name "\n" BEGIN("__wrap_" #name)                                 \
                GO_ON("sl_jump_" #name, "hook_" #name) END("__wrap_" #name));
#include "src/probe/host/hooks.def"
#undef SL_HOOK

#define ALIAS(name, function)                                                                                          \
    __asm__(".globl __wrap_" #name "\n" BEGIN("__wrap_" #name) GO_ON("sl_jump_" #function, "hook_" #function)          \
                END("__wrap_" #name));
#include "src/probe/host/static/aliases.def"
#undef ALIAS
