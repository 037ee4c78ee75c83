/*
 * The programs. Registers: R6 the registers of the thread (struct pt_regs, user_pt_regs), R7 the record, R8 the number
 * of tokens, R9 counts.
 */
#include "src/probe/uprobe/programs.h"

#include "src/base/assert.h"

/* Functions of the kernel (enum bpf_func_id). */
enum {
    MAP_LOOKUP = 1,
    KTIME_GET_NS = 5,
    GET_CURRENT_PID_TGID = 14,
    PROBE_READ_USER = 112,
    PROBE_READ_USER_STR = 114,
    RINGBUF_RESERVE = 131,
    RINGBUF_SUBMIT = 132
};

#define NO_WAKEUP 1 /* the reader comes by itself: the host pays for no wake-up */
#define AT(member) ((int)offsetof(sl_uprobe_record, member))

/* Where the registers stand in the kernel's struct, in bytes. */
#if defined __x86_64__
#define ARCH_KNOWN true
static const int arg_at[SL_UPROBE_ARGS] = {112, 104, 96, 88, 72, 64};
enum { VALUE_AT = 80, STACK_AT = 152, PLACE_AT = 128, BATCH_ON_STACK = 8 };
#elif defined __aarch64__
#define ARCH_KNOWN true
static const int arg_at[SL_UPROBE_ARGS] = {0, 8, 16, 24, 32, 40};
enum { VALUE_AT = 0, STACK_AT = 248, PLACE_AT = 256, LINK_AT = 240 };
#else
#define ARCH_KNOWN false
static const int arg_at[SL_UPROBE_ARGS];
enum { VALUE_AT = 0, STACK_AT = 0, PLACE_AT = 0, LINK_AT = 0 };
#endif

/* On the program's own stack. */
enum { BATCH = -64, KEY = -72, POINTER = -80 };
_Static_assert(sizeof(sl_uprobe_batch) <= 64, "fits the stack's part");

bool sl_uprobe_arch_known(void)
{
    return ARCH_KNOWN;
}

/* R0 = 0 and back to the kernel: no sample of its own is taken. */
static void leave(sl_bpf_asm *a)
{
    sl_bpf_imm(a, SL_BPF_MOV, SL_R0, 0);
    sl_bpf_exit(a);
}

/* One more that the ring had no room for. */
static void count_dropped(sl_bpf_asm *a, int map)
{
    uint32_t done = sl_bpf_label(a);
    sl_bpf_store_imm(a, SL_BPF_W, SL_R10, KEY, 0);
    sl_bpf_map(a, SL_R1, map);
    sl_bpf_reg_op(a, SL_BPF_MOV, SL_R2, SL_R10);
    sl_bpf_imm(a, SL_BPF_ADD, SL_R2, KEY);
    sl_bpf_call(a, MAP_LOOKUP);
    sl_bpf_jump_imm(a, SL_BPF_JEQ, SL_R0, 0, done);
    sl_bpf_imm(a, SL_BPF_MOV, SL_R1, 1);
    sl_bpf_atomic_add(a, SL_R0, 0, SL_R1);
    sl_bpf_place(a, done);
    leave(a);
}

/* R7 = room in the ring, or on to `none`. */
static void reserve(sl_bpf_asm *a, int map, size_t bytes, uint32_t none)
{
    SL_ASSERT(bytes % 8 == 0 && bytes <= INT32_MAX);
    sl_bpf_map(a, SL_R1, map);
    sl_bpf_imm(a, SL_BPF_MOV, SL_R2, (int32_t)bytes);
    sl_bpf_imm(a, SL_BPF_MOV, SL_R3, 0);
    sl_bpf_call(a, RINGBUF_RESERVE);
    sl_bpf_jump_imm(a, SL_BPF_JEQ, SL_R0, 0, none);
    sl_bpf_reg_op(a, SL_BPF_MOV, SL_R7, SL_R0);
}

static void submit(sl_bpf_asm *a)
{
    sl_bpf_reg_op(a, SL_BPF_MOV, SL_R1, SL_R7);
    sl_bpf_imm(a, SL_BPF_MOV, SL_R2, NO_WAKEUP);
    sl_bpf_call(a, RINGBUF_SUBMIT);
    leave(a);
}

/* read(base + offset, bytes, *address): the address is in R3, the length in R2 already when `bytes` is 0. */
static void read_user(sl_bpf_asm *a, sl_bpf_reg base, int offset, int32_t bytes)
{
    sl_bpf_reg_op(a, SL_BPF_MOV, SL_R1, base);
    sl_bpf_imm(a, SL_BPF_ADD, SL_R1, offset);
    if (bytes)
        sl_bpf_imm(a, SL_BPF_MOV, SL_R2, bytes);
    sl_bpf_call(a, PROBE_READ_USER);
}

static void copy_register(sl_bpf_asm *a, int from, int to)
{
    sl_bpf_load(a, SL_BPF_DW, SL_R1, SL_R6, from);
    sl_bpf_store(a, SL_BPF_DW, SL_R7, to, SL_R1);
}

static void who_and_when(sl_bpf_asm *a, uint32_t point)
{
    sl_bpf_call(a, KTIME_GET_NS);
    sl_bpf_store(a, SL_BPF_DW, SL_R7, AT(time_ns), SL_R0);
    sl_bpf_call(a, GET_CURRENT_PID_TGID);
    sl_bpf_store(a, SL_BPF_DW, SL_R7, AT(thread), SL_R0);
    sl_bpf_store_imm(a, SL_BPF_W, SL_R7, AT(point), (int32_t)point);
    sl_bpf_store_imm(a, SL_BPF_W, SL_R7, AT(tokens), 0);
}

/* The head of a record of a call. */
static void call_head(sl_bpf_asm *a, uint32_t point)
{
    who_and_when(a, point);
    for (unsigned i = 0; i < SL_UPROBE_ARGS; i++)
        copy_register(a, arg_at[i], AT(args) + (int)i * 8);
#if defined __x86_64__
    sl_bpf_load(a, SL_BPF_DW, SL_R3, SL_R6, STACK_AT);
    sl_bpf_reg_op(a, SL_BPF_MOV, SL_R1, SL_R3);
    sl_bpf_imm(a, SL_BPF_ADD, SL_R1, 8);
    sl_bpf_store(a, SL_BPF_DW, SL_R7, AT(stack), SL_R1);
    read_user(a, SL_R7, AT(from), 8);
#else
    copy_register(a, LINK_AT, AT(from));
    copy_register(a, STACK_AT, AT(stack));
#endif
}

/* ---- texts ---- */

static void read_text(sl_bpf_asm *a, sl_uprobe_kind kind)
{
    SL_ASSERT(kind == SL_UPROBE_TEXT || kind == SL_UPROBE_TEXTS);
    sl_bpf_load(a, SL_BPF_DW, SL_R3, SL_R6, arg_at[0]);
    if (kind == SL_UPROBE_TEXTS) {
        read_user(a, SL_R10, POINTER, 8);
        sl_bpf_load(a, SL_BPF_DW, SL_R3, SL_R10, POINTER);
    }
    sl_bpf_reg_op(a, SL_BPF_MOV, SL_R1, SL_R7);
    sl_bpf_imm(a, SL_BPF_ADD, SL_R1, (int)offsetof(sl_uprobe_text_record, text));
    sl_bpf_imm(a, SL_BPF_MOV, SL_R2, (int32_t)SL_UPROBE_TEXT_BYTES);
    sl_bpf_call(a, PROBE_READ_USER_STR);
    sl_bpf_store(a, SL_BPF_DW, SL_R7, (int)offsetof(sl_uprobe_text_record, len), SL_R0);
}

/* ---- batches ---- */

/* R8 = tokens. */
static void look_at_batch(sl_bpf_asm *a)
{
#if defined __x86_64__
    sl_bpf_load(a, SL_BPF_DW, SL_R3, SL_R6, STACK_AT);
    sl_bpf_imm(a, SL_BPF_ADD, SL_R3, BATCH_ON_STACK);
#else
    sl_bpf_load(a, SL_BPF_DW, SL_R3, SL_R6, arg_at[1]); /* by address */
#endif
    read_user(a, SL_R10, BATCH, (int32_t)sizeof(sl_uprobe_batch));
    sl_bpf_load(a, SL_BPF_W, SL_R8, SL_R10, BATCH);
}

/* Reads 1 << shift bytes for every token from where a pointer of the batch leads to. */
static void read_list(sl_bpf_asm *a, size_t pointer, int shift, size_t to, unsigned list)
{
    sl_bpf_load(a, SL_BPF_DW, SL_R3, SL_R10, BATCH + (int)pointer);
    sl_bpf_reg_op(a, SL_BPF_MOV, SL_R2, SL_R8);
    sl_bpf_imm(a, SL_BPF_LSH, SL_R2, shift);
    read_user(a, SL_R7, (int)to, 0);
    sl_bpf_store(a, SL_BPF_DW, SL_R7, (int)offsetof(sl_uprobe_batch_record, faults) + (int)list * 8, SL_R0);
}

/* For each token: its sequences, 1 to 4 of them. No branch but the loop's: the kernel tries every path. */
static void read_sequences(sl_bpf_asm *a, uint32_t room)
{
    uint32_t again = sl_bpf_label(a), done = sl_bpf_label(a);
    sl_bpf_imm(a, SL_BPF_MOV, SL_R9, 0);
    sl_bpf_place(a, again);
    sl_bpf_jump_reg(a, SL_BPF_JGE, SL_R9, SL_R8, done);
    sl_bpf_reg_op(a, SL_BPF_MOV, SL_R1, SL_R9);
    sl_bpf_imm(a, SL_BPF_LSH, SL_R1, 2);
    sl_bpf_reg_op(a, SL_BPF_ADD, SL_R1, SL_R7);
    sl_bpf_imm(a, SL_BPF_ADD, SL_R1, (int32_t)sl_uprobe_n_seq_at(room));
    sl_bpf_load(a, SL_BPF_W, SL_R2, SL_R1, 0);
    sl_bpf_imm(a, SL_BPF_SUB, SL_R2, 1);
    sl_bpf_imm(a, SL_BPF_AND, SL_R2, (int32_t)SL_UPROBE_SEQS_EACH - 1);
    sl_bpf_imm(a, SL_BPF_LSH, SL_R2, 2);
    sl_bpf_imm(a, SL_BPF_ADD, SL_R2, 4);
    sl_bpf_reg_op(a, SL_BPF_MOV, SL_R1, SL_R9);
    sl_bpf_imm(a, SL_BPF_LSH, SL_R1, 3);
    sl_bpf_reg_op(a, SL_BPF_ADD, SL_R1, SL_R7);
    sl_bpf_load(a, SL_BPF_DW, SL_R3, SL_R1, (int)sl_uprobe_seq_id_at());
    sl_bpf_reg_op(a, SL_BPF_MOV, SL_R1, SL_R9);
    sl_bpf_imm(a, SL_BPF_LSH, SL_R1, 4);
    sl_bpf_reg_op(a, SL_BPF_ADD, SL_R1, SL_R7);
    sl_bpf_imm(a, SL_BPF_ADD, SL_R1, (int32_t)sl_uprobe_seqs_at(room));
    sl_bpf_call(a, PROBE_READ_USER);
    sl_bpf_imm(a, SL_BPF_ADD, SL_R9, 1);
    sl_bpf_jump_imm(a, SL_BPF_JA, SL_R0, 0, again);
    sl_bpf_place(a, done);
}

static void batch_record(sl_bpf_asm *a, uint32_t point, uint32_t room, const sl_uprobe_maps *maps, uint32_t none)
{
    reserve(a, maps->ring, sl_uprobe_batch_bytes(room), none);
    call_head(a, point);
    sl_bpf_store(a, SL_BPF_W, SL_R7, AT(tokens), SL_R8);
    sl_bpf_store_imm(a, SL_BPF_W, SL_R7, (int)offsetof(sl_uprobe_batch_record, room), (int32_t)room);
    for (int i = 0; i < (int)sizeof(sl_uprobe_batch); i += 8) {
        sl_bpf_load(a, SL_BPF_DW, SL_R1, SL_R10, BATCH + i);
        sl_bpf_store(a, SL_BPF_DW, SL_R7, (int)offsetof(sl_uprobe_batch_record, batch) + i, SL_R1);
    }
    read_list(a, offsetof(sl_uprobe_batch, token), 2, sl_uprobe_token_at(room), SL_UPROBE_TOKEN);
    read_list(a, offsetof(sl_uprobe_batch, pos), 2, sl_uprobe_pos_at(room), SL_UPROBE_POS);
    read_list(a, offsetof(sl_uprobe_batch, n_seq_id), 2, sl_uprobe_n_seq_at(room), SL_UPROBE_N_SEQ);
    read_list(a, offsetof(sl_uprobe_batch, seq_id), 3, sl_uprobe_seq_id_at(), SL_UPROBE_SEQ);
    read_list(a, offsetof(sl_uprobe_batch, logits), 0, sl_uprobe_output_at(room), SL_UPROBE_OUTPUT);
    read_sequences(a, room);
    submit(a);
}

static void batch_program(sl_bpf_asm *a, uint32_t point, const sl_uprobe_maps *maps, uint32_t none)
{
    static const uint32_t rooms[] = SL_UPROBE_ROOMS;
    const size_t count = sizeof rooms / sizeof *rooms;
    look_at_batch(a);
    for (size_t i = 0; i < count; i++) {
        uint32_t larger = sl_bpf_label(a);
        sl_bpf_jump_imm(a, SL_BPF_JGT, SL_R8, (int32_t)rooms[i], larger);
        batch_record(a, point, rooms[i], maps, none);
        sl_bpf_place(a, larger);
    }
    /* Longer than the longest: as many as there is room for. */
    sl_bpf_imm(a, SL_BPF_MOV, SL_R8, (int32_t)SL_UPROBE_MOST_TOKENS);
    batch_record(a, point, SL_UPROBE_MOST_TOKENS, maps, none);
}

/* ---- whole programs ---- */

bool sl_uprobe_program_call(sl_bpf_asm *a, sl_uprobe_kind kind, uint32_t point, const sl_uprobe_maps *maps)
{
    SL_ASSERT(a && maps && kind < SL_UPROBE_KIND_COUNT && point != SL_UPROBE_RETURN);
    sl_bpf_begin(a);
    uint32_t none = sl_bpf_label(a);
    sl_bpf_reg_op(a, SL_BPF_MOV, SL_R6, SL_R1);
    if (kind == SL_UPROBE_BATCH) {
        batch_program(a, point, maps, none);
    } else {
        reserve(a, maps->ring, kind == SL_UPROBE_CALL ? sizeof(sl_uprobe_record) : sizeof(sl_uprobe_text_record), none);
        call_head(a, point);
        if (kind != SL_UPROBE_CALL)
            read_text(a, kind);
        submit(a);
    }
    sl_bpf_place(a, none);
    count_dropped(a, maps->dropped);
    return sl_bpf_end(a);
}

bool sl_uprobe_program_return(sl_bpf_asm *a, const sl_uprobe_maps *maps)
{
    SL_ASSERT(a && maps);
    sl_bpf_begin(a);
    uint32_t none = sl_bpf_label(a);
    sl_bpf_reg_op(a, SL_BPF_MOV, SL_R6, SL_R1);
    reserve(a, maps->ring, sizeof(sl_uprobe_record), none);
    who_and_when(a, SL_UPROBE_RETURN);
    copy_register(a, PLACE_AT, AT(from));
    copy_register(a, STACK_AT, AT(stack));
    for (unsigned i = 0; i < SL_UPROBE_ARGS; i++)
        copy_register(a, VALUE_AT, AT(args) + (int)i * 8);
    submit(a);
    sl_bpf_place(a, none);
    count_dropped(a, maps->dropped);
    return sl_bpf_end(a);
}
