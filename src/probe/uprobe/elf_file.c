/* Reading of ELF files. */
#include "src/probe/uprobe/elf_file.h"

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/limits.h"
#include "src/base/mem.h"

#if defined __x86_64__
#define THIS_MACHINE EM_X86_64
#elif defined __aarch64__
#define THIS_MACHINE EM_AARCH64
#else
#define THIS_MACHINE EM_NONE
#endif
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define THIS_ORDER ELFDATA2LSB
#else
#define THIS_ORDER ELFDATA2MSB
#endif

#define MAX_PARTS 16u

typedef struct part {
    uint64_t at, end;
} part;

struct sl_elf_file {
    unsigned char *bytes; /* what was not read is zero */
    size_t len;
    Elf64_Ehdr head;
    sl_elf_function *functions; /* by address; made when first asked for */
    size_t function_count;
    int fd;                /* -1: all of it is in memory */
    part parts[MAX_PARTS]; /* that have been read */
    size_t part_count;
};

/* Symbols and their names: one of the file's tables. */
typedef struct symbol_table {
    uint64_t at, count;
    uint64_t names_at, names_len;
} symbol_table;

/* ---- the file ---- */

/* Copies what stands at `at`; false: that is outside of the file. */
static bool get(const sl_elf_file *file, uint64_t at, void *ret, size_t size)
{
    if (at > file->len || size > file->len - at)
        return false;
    memcpy(ret, file->bytes + at, size);
    return true;
}

static int take(unsigned char *bytes, size_t len, sl_elf_file **ret_file)
{
    SL_ASSERT(bytes && ret_file);
    sl_elf_file *file = sl_calloc(1, sizeof *file);
    if (!file)
        return SL_ENOMEM;
    file->bytes = bytes;
    file->len = len;
    file->fd = -1;
    bool good = get(file, 0, &file->head, sizeof file->head) && memcmp(file->head.e_ident, ELFMAG, SELFMAG) == 0 &&
                file->head.e_ident[EI_CLASS] == ELFCLASS64 && file->head.e_ident[EI_DATA] == THIS_ORDER &&
                file->head.e_machine == THIS_MACHINE && (file->head.e_type == ET_EXEC || file->head.e_type == ET_DYN);
    if (!good) {
        sl_free(file);
        return SL_EPARSE;
    }
    *ret_file = file;
    return 0;
}

int sl_elf_file_of(const void *bytes, size_t len, sl_elf_file **ret_file)
{
    if (!bytes || !ret_file)
        return SL_EINVAL;
    unsigned char *copy = sl_malloc(len ? len : 1);
    if (!copy)
        return SL_ENOMEM;
    memcpy(copy, bytes, len);
    int error = take(copy, len, ret_file);
    if (error)
        sl_free(copy);
    return error;
}

/* Parts are read when they are first needed: a program with code for GPUs inside is larger than one wants to read. */
static void fill(const sl_elf_file *file, uint64_t at, uint64_t len)
{
    sl_elf_file *own = (sl_elf_file *)(uintptr_t)file;
    if (file->fd < 0 || at >= file->len)
        return;
    uint64_t from = at, end = len < file->len - at ? at + len : file->len;
    for (size_t i = 0; i < file->part_count; i++) {
        if (file->parts[i].at <= at && file->parts[i].end >= end)
            return;
    }
    while (at < end) {
        ssize_t got = pread(file->fd, file->bytes + at, (size_t)(end - at), (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) /* cut short meanwhile: zeros */
            break;
        at += (uint64_t)got;
    }
    if (own->part_count < MAX_PARTS)
        own->parts[own->part_count++] = (part){from, end};
}

/* Room for the whole file, of which no page is used yet. */
static int map_file(int fd, unsigned char **ret_bytes, size_t *ret_len)
{
    struct stat st;
    if (fstat(fd, &st) != 0)
        return SL_EIO;
    if (!S_ISREG(st.st_mode) || st.st_size < (off_t)sizeof(Elf64_Ehdr))
        return SL_EPARSE;
    if ((uint64_t)st.st_size > SL_UPROBE_MAX_FILE)
        return SL_ELIMIT;
    void *bytes =
        mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (bytes == MAP_FAILED)
        return SL_ENOMEM;
    if (pread(fd, bytes, sizeof(Elf64_Ehdr), 0) != (ssize_t)sizeof(Elf64_Ehdr)) {
        (void)munmap(bytes, (size_t)st.st_size);
        return SL_EPARSE;
    }
    *ret_bytes = bytes;
    *ret_len = (size_t)st.st_size;
    return 0;
}

int sl_elf_file_open(const char *path, sl_elf_file **ret_file)
{
    if (!path || !ret_file)
        return SL_EINVAL;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0)
        return errno == ENOENT || errno == ENOTDIR ? SL_ENOENT : SL_EIO;
    unsigned char *bytes = NULL;
    size_t len = 0;
    sl_elf_file *file;
    int error = map_file(fd, &bytes, &len);
    if (!error) {
        error = take(bytes, len, &file);
        if (error)
            (void)munmap(bytes, len);
    }
    if (error) {
        (void)close(fd);
        return error;
    }
    file->fd = fd;
    fill(file, file->head.e_phoff, (uint64_t)file->head.e_phnum * sizeof(Elf64_Phdr));
    fill(file, file->head.e_shoff, (uint64_t)file->head.e_shnum * sizeof(Elf64_Shdr));
    *ret_file = file;
    return 0;
}

void sl_elf_file_free(sl_elf_file *file)
{
    if (!file)
        return;
    if (file->fd >= 0) {
        (void)close(file->fd);
        (void)munmap(file->bytes, file->len);
    } else {
        sl_free(file->bytes);
    }
    sl_free(file->functions);
    sl_free(file);
}

/* ---- segments ---- */

static bool segment(const sl_elf_file *file, size_t index, Elf64_Phdr *ret_segment)
{
    if (index >= file->head.e_phnum || file->head.e_phentsize != sizeof *ret_segment)
        return false;
    return file->head.e_phoff <= file->len &&
           get(file, file->head.e_phoff + index * sizeof *ret_segment, ret_segment, sizeof *ret_segment);
}

/* Where in the file an address of executable code is; 0: nowhere. */
static uint64_t offset_of(const sl_elf_file *file, uint64_t address)
{
    Elf64_Phdr s;
    for (size_t i = 0; segment(file, i, &s); i++) {
        if (s.p_type == PT_LOAD && (s.p_flags & PF_X) && address >= s.p_vaddr && address - s.p_vaddr < s.p_filesz &&
            s.p_offset < file->len && address - s.p_vaddr < file->len - s.p_offset)
            return s.p_offset + (address - s.p_vaddr);
    }
    return 0;
}

bool sl_elf_file_code(const sl_elf_file *file, size_t index, sl_elf_code *ret_code)
{
    SL_ASSERT(file && ret_code);
    Elf64_Phdr s;
    for (size_t i = 0; segment(file, i, &s); i++) {
        if (s.p_type != PT_LOAD || !(s.p_flags & PF_X) || s.p_offset >= file->len || index-- > 0)
            continue;
        uint64_t most = file->len - s.p_offset;
        fill(file, s.p_offset, s.p_filesz);
        *ret_code = (sl_elf_code){.bytes = file->bytes + s.p_offset,
                                  .len = (size_t)(s.p_filesz < most ? s.p_filesz : most),
                                  .offset = s.p_offset,
                                  .address = s.p_vaddr};
        return true;
    }
    return false;
}

bool sl_elf_file_loader(const sl_elf_file *file, char *ret_path, size_t size)
{
    SL_ASSERT(file && ret_path);
    Elf64_Phdr s;
    for (size_t i = 0; segment(file, i, &s); i++) {
        if (s.p_type == PT_INTERP)
            fill(file, s.p_offset, s.p_filesz);
        if (s.p_type == PT_INTERP && s.p_filesz > 1 && s.p_filesz <= size && s.p_offset <= file->len &&
            s.p_filesz <= file->len - s.p_offset && file->bytes[s.p_offset + s.p_filesz - 1] == '\0') {
            memcpy(ret_path, file->bytes + s.p_offset, (size_t)s.p_filesz);
            return true;
        }
    }
    return false;
}

/* ---- symbols ---- */

static bool section(const sl_elf_file *file, uint64_t index, Elf64_Shdr *ret_section)
{
    if (index >= file->head.e_shnum || file->head.e_shentsize != sizeof *ret_section || file->head.e_shoff > file->len)
        return false;
    return get(file, file->head.e_shoff + index * sizeof *ret_section, ret_section, sizeof *ret_section);
}

/* The first table of a kind (SHT_SYMTAB, SHT_DYNSYM). */
static bool find_table(const sl_elf_file *file, uint32_t type, symbol_table *ret_table)
{
    Elf64_Shdr s, names;
    for (uint64_t i = 0; section(file, i, &s); i++) {
        if (s.sh_type != type || s.sh_entsize != sizeof(Elf64_Sym) || s.sh_offset > file->len ||
            s.sh_size > file->len - s.sh_offset || !section(file, s.sh_link, &names))
            continue;
        if (names.sh_offset > file->len || names.sh_size > file->len - names.sh_offset || names.sh_size == 0)
            continue;
        fill(file, s.sh_offset, s.sh_size);
        fill(file, names.sh_offset, names.sh_size);
        *ret_table = (symbol_table){s.sh_offset, s.sh_size / sizeof(Elf64_Sym), names.sh_offset, names.sh_size};
        return true;
    }
    return false;
}

/* A function that is defined in the file. */
static bool function(const sl_elf_file *file, const symbol_table *table, uint64_t index, Elf64_Sym *ret_symbol)
{
    if (!get(file, table->at + index * sizeof *ret_symbol, ret_symbol, sizeof *ret_symbol))
        return false;
    return ELF64_ST_TYPE(ret_symbol->st_info) == STT_FUNC && ret_symbol->st_shndx != SHN_UNDEF &&
           ret_symbol->st_name < table->names_len && ret_symbol->st_value != 0;
}

static bool is_named(const sl_elf_file *file, const symbol_table *table, const Elf64_Sym *symbol, const char *name)
{
    const char *have = (const char *)file->bytes + table->names_at + symbol->st_name;
    size_t len = strlen(name);
    return len < table->names_len - symbol->st_name && memcmp(have, name, len + 1) == 0;
}

static void find_in(const sl_elf_file *file, const symbol_table *table, const char *const *names, size_t count,
                    sl_elf_function *functions)
{
    Elf64_Sym symbol;
    for (uint64_t i = 0; i < table->count; i++) {
        if (!function(file, table, i, &symbol))
            continue;
        for (size_t n = 0; n < count; n++) {
            if (functions[n].offset || !is_named(file, table, &symbol, names[n]))
                continue;
            functions[n] = (sl_elf_function){offset_of(file, symbol.st_value), symbol.st_value, symbol.st_size};
        }
    }
}

size_t sl_elf_file_find(const sl_elf_file *file, const char *const *names, size_t count, sl_elf_function *ret_functions)
{
    SL_ASSERT(file && names && ret_functions);
    static const uint32_t kinds[] = {SHT_SYMTAB, SHT_DYNSYM};
    symbol_table table;
    size_t found = 0;
    memset(ret_functions, 0, count * sizeof *ret_functions);
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        if (find_table(file, kinds[i], &table))
            find_in(file, &table, names, count, ret_functions);
    }
    for (size_t n = 0; n < count; n++)
        found += ret_functions[n].offset != 0;
    return found;
}

static int by_address(const void *a, const void *b)
{
    uint64_t first = ((const sl_elf_function *)a)->address, second = ((const sl_elf_function *)b)->address;
    return (first > second) - (first < second);
}

/* All functions in order. */
static bool sort_functions(sl_elf_file *file)
{
    symbol_table table;
    Elf64_Sym symbol;
    if (!find_table(file, SHT_SYMTAB, &table) && !find_table(file, SHT_DYNSYM, &table))
        return false;
    file->functions = sl_calloc(table.count ? table.count : 1, sizeof *file->functions);
    for (uint64_t i = 0; file->functions && i < table.count; i++) {
        if (function(file, &table, i, &symbol))
            file->functions[file->function_count++] =
                (sl_elf_function){offset_of(file, symbol.st_value), symbol.st_value, symbol.st_size};
    }
    if (file->functions && file->function_count)
        qsort(file->functions, file->function_count, sizeof *file->functions, by_address);
    return file->functions != NULL;
}

bool sl_elf_file_function_at(const sl_elf_file *file, uint64_t address, sl_elf_function *ret_function)
{
    SL_ASSERT(file && ret_function);
    sl_elf_file *own = (sl_elf_file *)(uintptr_t)file;
    if (!file->functions && !sort_functions(own))
        return false;
    size_t from = 0, to = file->function_count;
    while (from < to) { /* the first that begins behind it */
        size_t middle = from + (to - from) / 2;
        if (file->functions[middle].address > address)
            to = middle;
        else
            from = middle + 1;
    }
    for (; from > 0; from--) {
        const sl_elf_function *f = &file->functions[from - 1];
        if (address - f->address < f->size && f->offset) {
            *ret_function = *f;
            return true;
        }
        if (f->size) /* an alias without a size may stand beside one with it */
            return false;
    }
    return false;
}
