/* Functions of files: this very program, and files that lie. */
#include "src/probe/uprobe/elf_file.h"

#include <elf.h>
#include <stdio.h>
#include <unistd.h>

#include "src/probe/uprobe/call_sites.h"
#include "src/probe/uprobe/getters.h"
#include "src/probe/uprobe/process_map.h"
#include "tests/harness/sl_test.h"

int uprobe_test_called(int value);

__attribute__((noinline)) int uprobe_test_called(int value)
{
    __asm__ volatile("" ::: "memory"); /* so that no call of it is one too many */
    return value + 1;
}

__attribute__((noinline)) static int calls_twice(int value)
{
    int first = uprobe_test_called(value);
    return uprobe_test_called(first) * 3 + first;
}

static sl_elf_file *self(void)
{
    sl_elf_file *file = NULL;
    CHECK_EQ(sl_elf_file_open("/proc/self/exe", &file), 0);
    return file;
}

SL_TEST(functions_are_where_they_are)
{
    static const char *const names[] = {"uprobe_test_called", "no_such_function", "malloc", "main"};
    sl_elf_function found[4], at;
    sl_process_code code;
    sl_elf_file *file = self();
    CHECK_EQ(sl_elf_file_find(file, names, 4, found), 2); /* malloc is not defined here */
    CHECK(found[0].offset && found[0].size && found[3].offset);
    CHECK(!found[1].offset && !found[2].offset);
    uint64_t address = (uint64_t)(uintptr_t)uprobe_test_called;
    CHECK_EQ(sl_process_map_at((uint32_t)getpid(), address, &code), 0);
    CHECK_EQ(address - code.start + code.offset, found[0].offset);
    CHECK(sl_elf_file_function_at(file, found[0].address + found[0].size - 1, &at));
    CHECK_EQ(at.address, found[0].address);
    CHECK(!sl_elf_file_function_at(file, 1, &at));
    sl_elf_file_free(file);
}

SL_TEST(a_program_names_its_loader)
{
    char path[256];
    sl_elf_file *file = self();
    CHECK(sl_elf_file_loader(file, path, sizeof path));
    CHECK_EQ(access(path, X_OK), 0);
    CHECK(!sl_elf_file_loader(file, path, strlen(path))); /* no room for its end */
    sl_elf_file_free(file);
    CHECK_EQ(sl_elf_file_open(path, &file), 0); /* which has none itself */
    CHECK(!sl_elf_file_loader(file, path, sizeof path));
    sl_elf_file_free(file);
}

SL_TEST(calls_are_found)
{
    static const char *const names[] = {"uprobe_test_called"};
    sl_elf_function f;
    uint64_t offsets[16];
    volatile int one = 1; /* a known number would have a copy of the function of its own */
    CHECK_EQ(calls_twice(one), 11);
    sl_elf_file *file = self();
    CHECK_EQ(sl_elf_file_find(file, names, 1, &f), 1);
    size_t count = sl_call_sites_find(file, &f, offsets, 16);
#if defined __x86_64__ || defined __aarch64__
    CHECK_EQ(count, 2);
    CHECK(offsets[0] < offsets[1] && offsets[1] - offsets[0] < 256);
    CHECK_EQ(sl_call_sites_find(file, &f, offsets, 1), 1);
#else
    CHECK_EQ(count, 0);
#endif
    f.address = 0;
    CHECK_EQ(sl_call_sites_find(file, &f, offsets, 16), 0);
    sl_elf_file_free(file);
}

#if defined __x86_64__
SL_TEST(getters_tell_their_place)
{
    static const struct {
        const char *code;
        size_t len;
        int32_t place;
    } rows[] = {{"\x8b\x47\x08\xc3", 4, 8},
                {"\x8b\x07\xc3", 3, 0},
                {"\xf3\x0f\x1e\xfa\x8b\x47\x38\xc3", 8, 0x38},
                {"\x8b\x87\x00\x01\x00\x00\xc3", 7, 256},
                {"\x8b\x87\x00\x01\x00\x00", 6, -1},
                {"\x8b\x87\x00\x01\x00\x80\xc3", 7, -1},
                {"\x8b\x47\xf8\xc3", 4, -1},
                {"\x8b\x46\x08\xc3", 4, -1},
                {"\x8b\x47\x08\x90", 4, -1},
                {"\xe9\x01\x02\x03\x04", 5, -1},
                {"", 0, -1}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        CHECK_EQ(sl_getter_place((const unsigned char *)rows[i].code, rows[i].len), rows[i].place);
}
#endif

SL_TEST(what_is_no_program_is_refused)
{
    sl_elf_file *file = NULL;
    CHECK_EQ(sl_elf_file_open("/no/such/file", &file), SL_ENOENT);
    CHECK_EQ(sl_elf_file_open("/proc/self/status", &file), SL_EPARSE);
    CHECK_EQ(sl_elf_file_open("/dev/null", &file), SL_EPARSE);
    CHECK_EQ(sl_elf_file_open("/", &file), SL_EPARSE);
    CHECK_EQ(sl_elf_file_of("", 0, &file), SL_EPARSE);
    CHECK_EQ(sl_elf_file_of("\177ELF", 4, &file), SL_EPARSE);
    CHECK_EQ(sl_process_map_at(0x7ffffff0u, 1, &(sl_process_code){0}), SL_ENOENT);
    CHECK(file == NULL);
    sl_elf_file_free(NULL);
}

static void use(const unsigned char *bytes, size_t len)
{
    static const char *const names[] = {"main", "uprobe_test_called"};
    sl_elf_function found[2], at;
    sl_elf_code code;
    sl_elf_file *file;
    uint64_t offsets[4];
    if (sl_elf_file_of(bytes, len, &file) != 0)
        return;
    (void)sl_elf_file_find(file, names, 2, found);
    (void)sl_elf_file_function_at(file, found[0].address, &at);
    for (size_t i = 0; i < 8 && sl_elf_file_code(file, i, &code); i++)
        CHECK(code.len <= len);
    (void)sl_call_sites_find(file, &found[1], offsets, 4);
    sl_elf_file_free(file);
}

static size_t read_self(unsigned char *bytes, size_t most)
{
    FILE *stream = fopen("/proc/self/exe", "re");
    size_t len = stream ? fread(bytes, 1, most, stream) : 0;
    if (stream)
        (void)fclose(stream);
    return len;
}

/* Heads and tables with any bytes in them, and files cut short: nothing outside of the file is read (sanitizers). */
SL_TEST(files_that_lie)
{
    static unsigned char bytes[1 << 20];
    size_t len = read_self(bytes, sizeof bytes);
    Elf64_Ehdr head;
    uint64_t state = 88172645463325252ull;
    CHECK(len > sizeof head);
    memcpy(&head, bytes, sizeof head);
    for (size_t cut = 0; cut < 40; cut++)
        use(bytes, len * cut / 40);
    for (int round = 0; round < 300; round++) {
        state ^= state << 13, state ^= state >> 7, state ^= state << 17;
        size_t tables[] = {0, (size_t)head.e_phoff, (size_t)head.e_shoff};
        size_t from = tables[state % 3], at = from + 16 + state / 3 % 512;
        if (at + 8 > len)
            continue;
        unsigned char kept[8];
        memcpy(kept, bytes + at, sizeof kept);
        memcpy(bytes + at, &state, 1 + state / 7 % 8);
        use(bytes, len);
        memcpy(bytes + at, kept, sizeof kept);
    }
}
