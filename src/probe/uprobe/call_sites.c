/* Finding calls in compiled code. */
#include "src/probe/uprobe/call_sites.h"

#include "src/base/assert.h"
#include "src/probe/uprobe/x86_length.h"

#if defined __x86_64__

#define CALL 0xe8
#define CALL_BYTES 5u

/* True when an instruction begins at `at`: walking from the start of its function comes by. */
static bool is_instruction(const sl_elf_file *file, const sl_elf_code *code, size_t at)
{
    sl_elf_function f;
    SL_ASSERT(at < code->len);
    if (!sl_elf_file_function_at(file, code->address + at, &f) || f.address < code->address)
        return false;
    size_t from = (size_t)(f.address - code->address);
    while (from < at) {
        size_t len = sl_x86_length(code->bytes + from, code->len - from);
        if (len == 0)
            return false;
        from += len;
    }
    return from == at;
}

static bool calls(const sl_elf_file *file, const sl_elf_code *code, size_t at, uint64_t address)
{
    int32_t distance;
    if (code->bytes[at] != CALL || code->len - at < CALL_BYTES)
        return false;
    memcpy(&distance, code->bytes + at + 1, sizeof distance);
    return code->address + at + CALL_BYTES + (uint64_t)(int64_t)distance == address && is_instruction(file, code, at);
}

#elif defined __aarch64__

#define CALL_BYTES 4u

static bool calls(const sl_elf_file *file, const sl_elf_code *code, size_t at, uint64_t address)
{
    uint32_t word;
    (void)file;
    if ((code->address + at) % 4 != 0 || code->len - at < CALL_BYTES)
        return false;
    memcpy(&word, code->bytes + at, sizeof word);
    if (word >> 26 != 0x25) /* BL */
        return false;
    int64_t distance = (int64_t)((uint64_t)(word & 0x03ffffff) << 38) >> 36;
    return code->address + at + (uint64_t)distance == address;
}

#else

#define CALL_BYTES 1u

static bool calls(const sl_elf_file *file, const sl_elf_code *code, size_t at, uint64_t address)
{
    (void)file, (void)code, (void)at, (void)address;
    return false;
}

#endif

size_t sl_call_sites_find(const sl_elf_file *file, const sl_elf_function *function, uint64_t *ret_offsets, size_t most)
{
    SL_ASSERT(file && function && ret_offsets);
    sl_elf_code code;
    size_t count = 0;
    for (size_t i = 0; function->address && sl_elf_file_code(file, i, &code); i++) {
        for (size_t at = 0; at < code.len && count < most; at++) {
            if (calls(file, &code, at, function->address) && at + CALL_BYTES < code.len)
                ret_offsets[count++] = code.offset + at + CALL_BYTES;
        }
    }
    return count;
}
