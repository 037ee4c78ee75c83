/*
 * An assembler for the kernel's eBPF machine: as much of it as the probe's few programs need.
 *
 * Instructions are appended; a jump names a label that is placed before or behind it. What does not fit makes the whole
 * fail, at the end. No clang, no library, nothing of the kernel's headers.
 * Source: RFC 9669.
 */
#ifndef SL_PROBE_UPROBE_BPF_ASM_H
#define SL_PROBE_UPROBE_BPF_ASM_H

#include <stdbool.h>
#include <stdint.h>

#define SL_BPF_MAX_CODE 1024u
#define SL_BPF_MAX_LABELS 32u
#define SL_BPF_MAX_JUMPS 64u

typedef struct sl_bpf_insn {
    uint8_t code;
    uint8_t registers; /* destination in the low four bits, source in the high ones */
    int16_t offset;
    int32_t imm;
} sl_bpf_insn;

typedef enum sl_bpf_reg { SL_R0, SL_R1, SL_R2, SL_R3, SL_R4, SL_R5, SL_R6, SL_R7, SL_R8, SL_R9, SL_R10 } sl_bpf_reg;
typedef enum sl_bpf_size { SL_BPF_W = 0x00, SL_BPF_H = 0x08, SL_BPF_B = 0x10, SL_BPF_DW = 0x18 } sl_bpf_size;
typedef enum sl_bpf_alu {
    SL_BPF_ADD = 0x00,
    SL_BPF_SUB = 0x10,
    SL_BPF_OR = 0x40,
    SL_BPF_AND = 0x50,
    SL_BPF_LSH = 0x60,
    SL_BPF_MOV = 0xb0
} sl_bpf_alu;
/* Comparisons are of unsigned numbers of 64 bits, but for the last two. */
typedef enum sl_bpf_jump {
    SL_BPF_JA = 0x00,
    SL_BPF_JEQ = 0x10,
    SL_BPF_JGT = 0x20,
    SL_BPF_JGE = 0x30,
    SL_BPF_JNE = 0x50,
    SL_BPF_JSLT = 0xc0,
    SL_BPF_JSLE = 0xd0
} sl_bpf_jump;

typedef struct sl_bpf_asm {
    sl_bpf_insn code[SL_BPF_MAX_CODE];
    uint32_t count;
    bool failed;
    uint32_t labels[SL_BPF_MAX_LABELS]; /* places; UINT32_MAX: not yet */
    uint32_t label_count;
    struct {
        uint32_t at, label;
    } jumps[SL_BPF_MAX_JUMPS];
    uint32_t jump_count;
} sl_bpf_asm;

void sl_bpf_begin(sl_bpf_asm *a);
/* Puts the jumps' distances in. False: something did not fit, or a label has no place. */
bool sl_bpf_end(sl_bpf_asm *a);

void sl_bpf_imm(sl_bpf_asm *a, sl_bpf_alu op, sl_bpf_reg dst, int32_t value);
void sl_bpf_reg_op(sl_bpf_asm *a, sl_bpf_alu op, sl_bpf_reg dst, sl_bpf_reg src);
/* dst = *(size *)(src + offset) */
void sl_bpf_load(sl_bpf_asm *a, sl_bpf_size size, sl_bpf_reg dst, sl_bpf_reg src, int offset);
/* *(size *)(dst + offset) = src */
void sl_bpf_store(sl_bpf_asm *a, sl_bpf_size size, sl_bpf_reg dst, int offset, sl_bpf_reg src);
void sl_bpf_store_imm(sl_bpf_asm *a, sl_bpf_size size, sl_bpf_reg dst, int offset, int32_t value);
/* *(uint64_t *)(dst + offset) += src, at once for all */
void sl_bpf_atomic_add(sl_bpf_asm *a, sl_bpf_reg dst, int offset, sl_bpf_reg src);
/* The address of a map, by its descriptor. */
void sl_bpf_map(sl_bpf_asm *a, sl_bpf_reg dst, int fd);
/* A function of the kernel, by its number. */
void sl_bpf_call(sl_bpf_asm *a, int32_t function);
void sl_bpf_exit(sl_bpf_asm *a);

uint32_t sl_bpf_label(sl_bpf_asm *a);
/* Here it is. */
void sl_bpf_place(sl_bpf_asm *a, uint32_t label);
void sl_bpf_jump_imm(sl_bpf_asm *a, sl_bpf_jump op, sl_bpf_reg dst, int32_t value, uint32_t label);
void sl_bpf_jump_reg(sl_bpf_asm *a, sl_bpf_jump op, sl_bpf_reg dst, sl_bpf_reg src, uint32_t label);

#endif
