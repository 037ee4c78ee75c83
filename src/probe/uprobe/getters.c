/* Reading of small functions. */
#include "src/probe/uprobe/getters.h"

#include "src/base/assert.h"

#if defined __x86_64__

/* [endbr64] mov eax, [rdi + place]; ret */
int32_t sl_getter_place(const unsigned char *code, size_t len)
{
    static const unsigned char endbr[] = {0xf3, 0x0f, 0x1e, 0xfa};
    SL_ASSERT(code || !len);
    int32_t place = 0;
    if (len >= sizeof endbr && memcmp(code, endbr, sizeof endbr) == 0) {
        code += sizeof endbr;
        len -= sizeof endbr;
    }
    if (len >= 3 && code[0] == 0x8b && code[1] == 0x07)
        return code[2] == 0xc3 ? 0 : -1;
    if (len >= 4 && code[0] == 0x8b && code[1] == 0x47)
        return code[3] == 0xc3 && code[2] < 0x80 ? code[2] : -1;
    if (len < 7 || code[0] != 0x8b || code[1] != 0x87 || code[6] != 0xc3)
        return -1;
    memcpy(&place, code + 2, sizeof place);
    return place >= 0 ? place : -1;
}

#elif defined __aarch64__

/* [bti c] ldr w0, [x0, #place]; ret */
int32_t sl_getter_place(const unsigned char *code, size_t len)
{
    uint32_t words[3];
    SL_ASSERT(code || !len);
    if (len < sizeof words)
        return -1;
    memcpy(words, code, sizeof words);
    const uint32_t *at = words[0] == 0xd503245f ? words + 1 : words;
    if ((at[0] & 0xffc003ff) != 0xb9400000 || at[1] != 0xd65f03c0)
        return -1;
    return (int32_t)(at[0] >> 10 & 0xfff) * 4;
}

#else

int32_t sl_getter_place(const unsigned char *code, size_t len)
{
    (void)code, (void)len;
    return -1;
}

#endif
