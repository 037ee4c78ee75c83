/* Lengths of instructions, as a disassembler shows them. */
#include "src/probe/uprobe/x86_length.h"

#include <string.h>

#include "tests/harness/sl_test.h"

static const struct {
    const char *bytes;
    size_t len;
} known[] = {
#define ROW(text)                                                                                                      \
    {                                                                                                                  \
        text, sizeof(text) - 1                                                                                         \
    }
    ROW("\x55"),                                     /* push rbp */
    ROW("\xc3"),                                     /* ret */
    ROW("\xf3\x0f\x1e\xfa"),                         /* endbr64 */
    ROW("\x48\x89\xe5"),                             /* mov rbp, rsp */
    ROW("\x8b\x47\x08"),                             /* mov eax, [rdi + 8] */
    ROW("\x8b\x87\x00\x01\x00\x00"),                 /* mov eax, [rdi + 256] */
    ROW("\x8b\x04\x25\x00\x01\x00\x00"),             /* mov eax, [256] */
    ROW("\x8b\x04\x24"),                             /* mov eax, [rsp] */
    ROW("\x8b\x44\x24\x10"),                         /* mov eax, [rsp + 16] */
    ROW("\x48\x8d\x05\x01\x02\x03\x04"),             /* lea rax, [rip + ...] */
    ROW("\xe8\x01\x02\x03\x04"),                     /* call */
    ROW("\xe9\x01\x02\x03\x04"),                     /* jmp */
    ROW("\xeb\x01"),                                 /* jmp short */
    ROW("\x0f\x84\x01\x02\x03\x04"),                 /* je */
    ROW("\x74\x01"),                                 /* je short */
    ROW("\x48\xb8\x01\x02\x03\x04\x05\x06\x07\x08"), /* movabs rax, ... */
    ROW("\xb8\x01\x02\x03\x04"),                     /* mov eax, ... */
    ROW("\x66\xb8\x01\x02"),                         /* mov ax, ... */
    ROW("\xc7\x45\xfc\x01\x02\x03\x04"),             /* mov dword [rbp - 4], ... */
    ROW("\x66\xc7\x45\xfc\x01\x02"),                 /* mov word [rbp - 4], ... */
    ROW("\x83\xec\x08"),                             /* sub esp, 8 */
    ROW("\x48\x81\xec\x00\x01\x00\x00"),             /* sub rsp, 256 */
    ROW("\xf6\xc1\x01"),                             /* test cl, 1 */
    ROW("\xf6\xd1"),                                 /* not cl */
    ROW("\xf7\xc1\x01\x02\x03\x04"),                 /* test ecx, ... */
    ROW("\xf7\xd9"),                                 /* neg ecx */
    ROW("\xff\x15\x01\x02\x03\x04"),                 /* call [rip + ...] */
    ROW("\x66\x66\x48\xe8\x01\x02\x03\x04"),         /* call of __tls_get_addr */
    ROW("\x64\x48\x8b\x04\x25\x28\x00\x00\x00"),     /* mov rax, fs:[40] */
    ROW("\x66\x2e\x0f\x1f\x84\x00\x00\x00\x00\x00"), /* nop of 10 bytes */
    ROW("\x0f\xba\xe0\x03"),                         /* bt eax, 3 */
    ROW("\x66\x0f\x3a\x0f\xc1\x08"),                 /* palignr */
    ROW("\x66\x0f\x38\x00\xc1"),                     /* pshufb */
    ROW("\xc5\xf8\x77"),                             /* vzeroupper */
    ROW("\xc5\xfc\x10\x07"),                         /* vmovups ymm0, [rdi] */
    ROW("\xc4\xe2\x7d\xb8\xc1"),                     /* vfmadd231ps */
    ROW("\xc4\xe3\x7d\x19\xc1\x01"),                 /* vextractf128 */
    ROW("\x62\xf1\x7c\x48\x10\x07"),                 /* vmovups zmm0, [rdi] */
    ROW("\x62\xf1\x7c\x48\x10\x47\x01"),             /* vmovups zmm0, [rdi + 64] */
    ROW("\x62\xf3\x75\x48\x25\xc2\xff"),             /* vpternlogd */
    ROW("\xc8\x10\x00\x00"),                         /* enter */
    ROW("\xc2\x08\x00"),                             /* ret 8 */
#undef ROW
};

SL_TEST(instructions_have_their_length)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        unsigned char code[32];
        memset(code, 0x90, sizeof code);
        memcpy(code, known[i].bytes, known[i].len);
        CHECK_EQ(sl_x86_length(code, sizeof code), known[i].len);
    }
}

SL_TEST(what_is_cut_off_has_none)
{
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        for (size_t len = 0; len < known[i].len; len++)
            CHECK_EQ(sl_x86_length((const unsigned char *)known[i].bytes, len), 0);
    }
}

SL_TEST(what_is_not_known_has_none)
{
    static const char *const unknown[] = {"\x06", "\x9a", "\xd6", "\x0f\x0f", "\x0f\x04", "\x8f\xe8\x78\x10"};
    for (size_t i = 0; i < sizeof unknown / sizeof *unknown; i++) {
        unsigned char code[16] = {0};
        memcpy(code, unknown[i], strlen(unknown[i]));
        CHECK_EQ(sl_x86_length(code, sizeof code), 0);
    }
    unsigned char prefixes[32];
    memset(prefixes, 0x66, sizeof prefixes);
    CHECK_EQ(sl_x86_length(prefixes, sizeof prefixes), 0);
}

/* Never beyond what is there, whatever the bytes are. */
SL_TEST(any_bytes)
{
    uint64_t state = 88172645463325252ull;
    for (int round = 0; round < 200000; round++) {
        unsigned char code[16];
        for (size_t i = 0; i < sizeof code; i++) {
            state ^= state << 13, state ^= state >> 7, state ^= state << 17;
            code[i] = (unsigned char)state;
        }
        size_t most = state % (sizeof code + 1), len = sl_x86_length(code, most);
        CHECK(len <= most && len <= 15);
    }
}
