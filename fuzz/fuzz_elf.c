/*
 * A file that may be a program: no crash, nothing outside the file is told, and each function that is found by its name
 * is found by its address.
 */
#include "src/probe/uprobe/call_sites.h"
#include "src/probe/uprobe/elf_file.h"
#include "src/probe/uprobe/getters.h"

#include <stdlib.h>
#include <string.h>

#include "src/probe/uprobe/x86_length.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define EXPECT(condition)                                                                                              \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            abort();                                                                                                   \
    } while (0)

#define NAMES 4

static void check_function(const sl_elf_file *file, const sl_elf_function *f, size_t size)
{
    uint64_t sites[8];
    sl_elf_function at;
    if (!f->offset)
        return;
    EXPECT(f->offset < size);
    if (f->size && sl_elf_file_function_at(file, f->address, &at))
        EXPECT(at.address <= f->address);
    size_t count = sl_call_sites_find(file, f, sites, 8);
    EXPECT(count <= 8);
    for (size_t i = 0; i < count; i++)
        EXPECT(sites[i] < size && (i == 0 || sites[i - 1] < sites[i]));
}

/* Instruction by instruction: never beyond the end. */
static void check_code(const sl_elf_code *code, size_t size)
{
    EXPECT(code->len <= size && code->offset <= size - code->len);
    (void)sl_getter_place(code->bytes, code->len);
    for (size_t at = 0; at < code->len && at < 4096;) {
        size_t len = sl_x86_length(code->bytes + at, code->len - at);
        EXPECT(len <= code->len - at);
        at += len ? len : 1;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const names[NAMES] = {"llama_decode", "llama_free", "main", "x"};
    sl_elf_function found[NAMES];
    sl_elf_file *file;
    sl_elf_code code;
    char loader[64];
    if (sl_elf_file_of(data, size, &file) != 0)
        return 0;
    EXPECT(sl_elf_file_find(file, names, NAMES, found) <= NAMES);
    for (size_t i = 0; i < NAMES; i++)
        check_function(file, &found[i], size);
    if (sl_elf_file_loader(file, loader, sizeof loader))
        EXPECT(memchr(loader, 0, sizeof loader));
    for (size_t i = 0; i < 32 && sl_elf_file_code(file, i, &code); i++)
        check_code(&code, size);
    sl_elf_file_free(file);
    return 0;
}
