/*
 * The entries: for each row of hooks.def the exported function, which goes on to the hook or, where the jump table has
 * an address, past it; three more that first say which copy of a library they stand for (see real.h); and, for libc's
 * functions, the one that calls from within this object are bound to (ld's --wrap), which never meets the hook.
 *
 * All are jumps: arguments, stack and return address stay as they were, whatever the function's type is.
 */
#include "src/probe/host/entry_asm.h"
#include "src/probe/host/real.h"

_Thread_local uint32_t sl_host_tag __attribute__((tls_model("initial-exec")));

/* The two tables, with a name for each place: addresses to jump to at once, and the functions behind the hooks. */
__asm__(".hidden sl_host_jumps\n.hidden sl_host_reals\n.hidden sl_host_tag\n"
        ".bss\n.p2align 4\n.globl sl_host_jumps\nsl_host_jumps:\n"
#define SL_HOOK(name, kind) "sl_jump_" #name ":.zero 8\n"
#include "src/probe/host/hooks.def"
#undef SL_HOOK
        ".globl sl_host_reals\nsl_host_reals:\n"
#define SL_HOOK(name, kind) "sl_real_" #name ":.zero 8\n"
#include "src/probe/host/hooks.def"
#undef SL_HOOK
        ".text\n");

#define ENTRY(name)                                                                                                    \
    ".hidden hook_" #name "\n.globl " #name "\n" BEGIN(#name) "sl_entry_" #name                                        \
                                                              ":\n" GO_ON("sl_jump_" #name, "hook_" #name) END(#name)
#define COPY(name, tag) BEGIN("sl_copy" #tag "_" #name) TAGGED(#tag, "hook_" #name) END("sl_copy" #tag "_" #name)

__asm__(
#define SL_HOOK(name, kind)                                                                                            \
    ENTRY(name) COPY(name, 2) COPY(name, 3) COPY(name, 4) COPY(name, 5) COPY(name, 6) COPY(name, 7) COPY(name, 8)
#include "src/probe/host/hooks.def"
#undef SL_HOOK
    "");

/* From inside: straight to libc's function; to the hook only as long as nobody has looked that up. */
#define INSIDE_LLAMA(name)
#define INSIDE_GGML(name)
#define INSIDE_OTHER(name)
#define INSIDE_LIBC(name)                                                                                              \
    __asm__(".hidden __wrap_" #name "\n.globl __wrap_" #name "\n" BEGIN("__wrap_" #name)                               \
                GO_ON("sl_real_" #name, "hook_" #name) END("__wrap_" #name));
#define SL_HOOK(name, kind) INSIDE_##kind(name)
#include "src/probe/host/hooks.def"
#undef SL_HOOK

/* ---- dlsym and dlvsym: see dlsym.c ---- */

#if defined(__x86_64__)
#define ASK(symbol, decide, third)                                                                                     \
    ".globl " symbol                                                                                                   \
    "\n" BEGIN(symbol) "pushq %rdi\n.cfi_adjust_cfa_offset 8\npushq %rsi\n.cfi_adjust_cfa_offset 8\n"                  \
                       "pushq %rdx\n.cfi_adjust_cfa_offset 8\nsubq $16,%rsp\n.cfi_adjust_cfa_offset 16\n"              \
                       "movq 40(%rsp)," third "\nleaq 8(%rsp),%r8\ncall " decide                                       \
                       "\nmovq 8(%rsp),%r11\naddq $16,%rsp\n"                                                          \
                       ".cfi_adjust_cfa_offset -16\npopq %rdx\n.cfi_adjust_cfa_offset -8\npopq "                       \
                       "%rsi\n.cfi_adjust_cfa_offset -8\n"                                                             \
                       "popq %rdi\n.cfi_adjust_cfa_offset -8\ntestq %rax,%rax\nje 1f\njmp *%rax\n1:movq "              \
                       "%r11,%rax\nret\n" END(symbol)
__asm__(".hidden sl_dlsym_decide\n.hidden sl_dlvsym_decide\n" ASK("dlsym", "sl_dlsym_decide", "%rcx")
            ASK("dlvsym", "sl_dlvsym_decide", "%rcx"));
#else
#define ASK(symbol, decide)                                                                                            \
    ".globl " symbol "\n" BEGIN(symbol) "stp x29,x30,[sp,#-64]!\n.cfi_adjust_cfa_offset 64\n.cfi_rel_offset x30,8\n"   \
                                        "stp x0,x1,[sp,#16]\nstr x2,[sp,#32]\nmov x3,x30\nadd x4,sp,#48\nbl " decide   \
                                        "\nmov x16,x0\n"                                                               \
                                        "ldr x17,[sp,#48]\nldp x0,x1,[sp,#16]\nldr x2,[sp,#32]\nldp "                  \
                                        "x29,x30,[sp],#64\n.cfi_adjust_cfa_offset -64\n"                               \
                                        ".cfi_restore x30\ncbz x16,1f\nbr x16\n1:mov x0,x17\nret\n" END(symbol)
__asm__(".hidden sl_dlsym_decide\n.hidden sl_dlvsym_decide\n" ASK("dlsym", "sl_dlsym_decide")
            ASK("dlvsym", "sl_dlvsym_decide"));
#endif

/* ---- addresses of the entries, for dlsym ---- */

#define SL_HOOK(name, kind)                                                                                            \
    extern const char sl_entry_##name[], sl_copy2_##name[], sl_copy3_##name[], sl_copy4_##name[], sl_copy5_##name[],   \
        sl_copy6_##name[], sl_copy7_##name[], sl_copy8_##name[];
#include "src/probe/host/hooks.def"
#undef SL_HOOK

static const char *const entries[SL_HOOK_COUNT][SL_HOST_TAGS] = {
#define SL_HOOK(name, kind)                                                                                            \
    {sl_entry_##name, sl_copy2_##name, sl_copy3_##name, sl_copy4_##name,                                               \
     sl_copy5_##name, sl_copy6_##name, sl_copy7_##name, sl_copy8_##name},
#include "src/probe/host/hooks.def"
#undef SL_HOOK
};

const void *sl_host_entry(sl_hook_id id, unsigned lib)
{
    SL_ASSERT(id < SL_HOOK_COUNT);
    return lib < SL_HOST_TAGS ? entries[id][lib] : NULL;
}
