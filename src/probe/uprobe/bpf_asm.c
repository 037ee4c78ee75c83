/* The assembler of bpf_asm.h. */
#include "src/probe/uprobe/bpf_asm.h"

#include "src/base/assert.h"

enum { CLASS_LD = 0x00, CLASS_LDX = 0x01, CLASS_ST = 0x02, CLASS_STX = 0x03, CLASS_JMP = 0x05, CLASS_ALU64 = 0x07 };
enum { SOURCE_REG = 0x08, MODE_MEM = 0x60, MODE_ATOMIC = 0xc0, CALL = 0x80, EXIT = 0x90, PSEUDO_MAP_FD = 1 };
#define NOWHERE UINT32_MAX

void sl_bpf_begin(sl_bpf_asm *a)
{
    SL_ASSERT(a);
    a->count = a->label_count = a->jump_count = 0;
    a->failed = false;
}

static void put(sl_bpf_asm *a, unsigned code, sl_bpf_reg dst, sl_bpf_reg src, int offset, int32_t imm)
{
    SL_ASSERT(code <= 0xff && dst <= SL_R10 && src <= SL_R10);
    if (a->count == SL_BPF_MAX_CODE || offset < INT16_MIN || offset > INT16_MAX) {
        a->failed = true;
        return;
    }
    a->code[a->count++] =
        (sl_bpf_insn){(uint8_t)code, (uint8_t)((unsigned)src << 4 | (unsigned)dst), (int16_t)offset, imm};
}

void sl_bpf_imm(sl_bpf_asm *a, sl_bpf_alu op, sl_bpf_reg dst, int32_t value)
{
    put(a, CLASS_ALU64 | (unsigned)op, dst, SL_R0, 0, value);
}

void sl_bpf_reg_op(sl_bpf_asm *a, sl_bpf_alu op, sl_bpf_reg dst, sl_bpf_reg src)
{
    put(a, CLASS_ALU64 | SOURCE_REG | (unsigned)op, dst, src, 0, 0);
}

void sl_bpf_load(sl_bpf_asm *a, sl_bpf_size size, sl_bpf_reg dst, sl_bpf_reg src, int offset)
{
    put(a, CLASS_LDX | MODE_MEM | (unsigned)size, dst, src, offset, 0);
}

void sl_bpf_store(sl_bpf_asm *a, sl_bpf_size size, sl_bpf_reg dst, int offset, sl_bpf_reg src)
{
    put(a, CLASS_STX | MODE_MEM | (unsigned)size, dst, src, offset, 0);
}

void sl_bpf_store_imm(sl_bpf_asm *a, sl_bpf_size size, sl_bpf_reg dst, int offset, int32_t value)
{
    put(a, CLASS_ST | MODE_MEM | (unsigned)size, dst, SL_R0, offset, value);
}

void sl_bpf_atomic_add(sl_bpf_asm *a, sl_bpf_reg dst, int offset, sl_bpf_reg src)
{
    put(a, CLASS_STX | MODE_ATOMIC | (unsigned)SL_BPF_DW, dst, src, offset, 0);
}

void sl_bpf_map(sl_bpf_asm *a, sl_bpf_reg dst, int fd)
{
    put(a, CLASS_LD | SL_BPF_DW, dst, (sl_bpf_reg)PSEUDO_MAP_FD, 0, fd);
    put(a, 0, SL_R0, SL_R0, 0, 0);
}

void sl_bpf_call(sl_bpf_asm *a, int32_t function)
{
    put(a, CLASS_JMP | CALL, SL_R0, SL_R0, 0, function);
}

void sl_bpf_exit(sl_bpf_asm *a)
{
    put(a, CLASS_JMP | EXIT, SL_R0, SL_R0, 0, 0);
}

/* ---- jumps ---- */

uint32_t sl_bpf_label(sl_bpf_asm *a)
{
    SL_ASSERT(a);
    if (a->label_count == SL_BPF_MAX_LABELS) {
        a->failed = true;
        return 0;
    }
    a->labels[a->label_count] = NOWHERE;
    return a->label_count++;
}

void sl_bpf_place(sl_bpf_asm *a, uint32_t label)
{
    SL_ASSERT(a && (a->failed || label < a->label_count));
    a->labels[label] = a->count;
}

static void note_jump(sl_bpf_asm *a, uint32_t label)
{
    if (a->jump_count == SL_BPF_MAX_JUMPS) {
        a->failed = true;
        return;
    }
    a->jumps[a->jump_count].at = a->count;
    a->jumps[a->jump_count++].label = label;
}

void sl_bpf_jump_imm(sl_bpf_asm *a, sl_bpf_jump op, sl_bpf_reg dst, int32_t value, uint32_t label)
{
    note_jump(a, label);
    put(a, CLASS_JMP | (unsigned)op, dst, SL_R0, 0, value);
}

void sl_bpf_jump_reg(sl_bpf_asm *a, sl_bpf_jump op, sl_bpf_reg dst, sl_bpf_reg src, uint32_t label)
{
    note_jump(a, label);
    put(a, CLASS_JMP | SOURCE_REG | (unsigned)op, dst, src, 0, 0);
}

bool sl_bpf_end(sl_bpf_asm *a)
{
    SL_ASSERT(a);
    for (uint32_t i = 0; i < a->jump_count && !a->failed; i++) {
        uint32_t at = a->jumps[i].at, to = a->labels[a->jumps[i].label];
        int64_t distance = (int64_t)to - (int64_t)at - 1;
        if (to == NOWHERE || at >= a->count || distance < INT16_MIN || distance > INT16_MAX)
            a->failed = true;
        else
            a->code[at].offset = (int16_t)distance;
    }
    return !a->failed;
}
