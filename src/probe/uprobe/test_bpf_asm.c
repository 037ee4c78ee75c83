/* The assembler, byte by byte; and the probe's programs, which the kernel takes where it may be asked. */
#include "src/probe/uprobe/bpf_asm.h"

#include <string.h>
#include <unistd.h>

#include "src/probe/uprobe/kernel.h"
#include "src/probe/uprobe/programs.h"
#include "tests/harness/sl_test.h"

static sl_bpf_asm a;

static void check_at(uint32_t at, uint8_t code, unsigned dst, unsigned src, int16_t offset, int32_t imm)
{
    CHECK_EQ(a.code[at].code, code);
    CHECK_EQ(a.code[at].registers, src << 4 | dst);
    CHECK_EQ(a.code[at].offset, offset);
    CHECK_EQ(a.code[at].imm, imm);
}

SL_TEST(instructions)
{
    sl_bpf_begin(&a);
    sl_bpf_imm(&a, SL_BPF_MOV, SL_R0, -7);
    sl_bpf_reg_op(&a, SL_BPF_ADD, SL_R3, SL_R9);
    sl_bpf_load(&a, SL_BPF_DW, SL_R1, SL_R6, 112);
    sl_bpf_store(&a, SL_BPF_W, SL_R7, 20, SL_R8);
    sl_bpf_store_imm(&a, SL_BPF_W, SL_R10, -72, 5);
    sl_bpf_atomic_add(&a, SL_R0, 0, SL_R1);
    sl_bpf_map(&a, SL_R1, 42);
    sl_bpf_call(&a, 112);
    sl_bpf_exit(&a);
    CHECK(sl_bpf_end(&a));
    CHECK_EQ(a.count, 10);
    check_at(0, 0xb7, 0, 0, 0, -7);
    check_at(1, 0x0f, 3, 9, 0, 0);
    check_at(2, 0x79, 1, 6, 112, 0);
    check_at(3, 0x63, 7, 8, 20, 0);
    check_at(4, 0x62, 10, 0, -72, 5);
    check_at(5, 0xdb, 0, 1, 0, 0);
    check_at(6, 0x18, 1, 1, 0, 42);
    check_at(7, 0, 0, 0, 0, 0);
    check_at(8, 0x85, 0, 0, 0, 112);
    check_at(9, 0x95, 0, 0, 0, 0);
}

SL_TEST(jumps_lead_there)
{
    sl_bpf_begin(&a);
    uint32_t back = sl_bpf_label(&a), on = sl_bpf_label(&a);
    sl_bpf_place(&a, back);
    sl_bpf_jump_reg(&a, SL_BPF_JGE, SL_R9, SL_R8, on);
    sl_bpf_imm(&a, SL_BPF_ADD, SL_R9, 1);
    sl_bpf_jump_imm(&a, SL_BPF_JA, SL_R0, 0, back);
    sl_bpf_place(&a, on);
    sl_bpf_exit(&a);
    CHECK(sl_bpf_end(&a));
    check_at(0, 0x3d, 9, 8, 2, 0);
    check_at(2, 0x05, 0, 0, -3, 0);
}

SL_TEST(a_label_without_a_place_fails)
{
    sl_bpf_begin(&a);
    sl_bpf_jump_imm(&a, SL_BPF_JEQ, SL_R0, 0, sl_bpf_label(&a));
    CHECK(!sl_bpf_end(&a));
}

SL_TEST(what_does_not_fit_fails)
{
    sl_bpf_begin(&a);
    for (unsigned i = 0; i <= SL_BPF_MAX_CODE; i++)
        sl_bpf_exit(&a);
    CHECK(!sl_bpf_end(&a));
    sl_bpf_begin(&a);
    for (unsigned i = 0; i <= SL_BPF_MAX_LABELS; i++)
        (void)sl_bpf_label(&a);
    CHECK(!sl_bpf_end(&a));
    sl_bpf_begin(&a);
    sl_bpf_load(&a, SL_BPF_DW, SL_R1, SL_R6, 40000);
    CHECK(!sl_bpf_end(&a));
}

/* Every program ends by its last instruction's leaving, and no jump leads out of it. */
static void check_program(void)
{
    CHECK(a.count > 0);
    CHECK_EQ(a.code[a.count - 1].code, 0x95);
    for (uint32_t i = 0; i < a.count; i++) {
        uint8_t code = a.code[i].code;
        bool jumps = (code & 7) == 5 && (code & 0xf0) != 0x80 && (code & 0xf0) != 0x90;
        int64_t to = (int64_t)i + 1 + a.code[i].offset;
        CHECK(!jumps || (to >= 0 && to < a.count));
        i += code == 0x18;
    }
}

SL_TEST(programs_fit)
{
    const sl_uprobe_maps maps = {3, 4};
    for (unsigned kind = 0; kind < SL_UPROBE_KIND_COUNT; kind++) {
        CHECK(sl_uprobe_program_call(&a, (sl_uprobe_kind)kind, 7, &maps));
        check_program();
    }
    CHECK(sl_uprobe_program_return(&a, &maps));
    check_program();
}

SL_TEST(the_kernel_takes_them)
{
    sl_uprobe_why why = {""};
    sl_uprobe_maps maps = {sl_kernel_ring_map(1 << 20, &why), -1};
    if (maps.ring < 0 || !sl_uprobe_arch_known()) {
        CHECK(!sl_uprobe_arch_known() || strlen(why.text) > 0); /* and it says why it does not */
        return;
    }
    maps.dropped = sl_kernel_counter_map(&why);
    CHECK(maps.dropped >= 0);
    CHECK_EQ(sl_kernel_counter(maps.dropped), 0);
    for (unsigned kind = 0; kind < SL_UPROBE_KIND_COUNT; kind++) {
        CHECK(sl_uprobe_program_call(&a, (sl_uprobe_kind)kind, kind, &maps));
        int fd = sl_kernel_program(&a, "test", &why);
        CHECK(fd >= 0);
        CHECK_STR(sl_str_c(why.text), "");
        (void)close(fd);
    }
    sl_bpf_begin(&a); /* reads beyond its stack */
    sl_bpf_load(&a, SL_BPF_DW, SL_R0, SL_R10, 8);
    sl_bpf_exit(&a);
    CHECK(sl_bpf_end(&a));
    CHECK_EQ(sl_kernel_program(&a, "test", &why), SL_EREFUSED);
    CHECK(strlen(why.text) > 0);
    (void)close(maps.dropped);
    (void)close(maps.ring);
}
