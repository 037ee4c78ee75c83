/*
 * A program or shared library as a file: which functions it has inside, and where in the file they begin.
 *
 * Reads what the file says and believes nothing of it: offsets that lead out of the file are as if they were not there.
 * ELF of 64 bits, of this machine's byte order and architecture. A file that is cut short while it is mapped would
 * fault: so it is read, not mapped, and only the parts of it that are asked for. Does not: look into processes, or at
 * debug information.
 */
#ifndef SL_PROBE_UPROBE_ELF_FILE_H
#define SL_PROBE_UPROBE_ELF_FILE_H

#include "src/base/str.h"

typedef struct sl_elf_file sl_elf_file;

typedef struct sl_elf_function {
    uint64_t offset;  /* in the file; 0: not there, or not defined in it */
    uint64_t address; /* as the file is linked */
    uint64_t size;    /* 0: not said */
} sl_elf_function;

/* A part of the file that is executable when it is loaded. */
typedef struct sl_elf_code {
    const unsigned char *bytes;
    size_t len;
    uint64_t offset, address;
} sl_elf_code;

/* Errors: SL_ENOENT (no such file), SL_EIO, SL_EPARSE (no ELF of this machine), SL_ENOMEM, SL_ELIMIT (too large). */
SL_MUST_CHECK int sl_elf_file_open(const char *path, sl_elf_file **ret_file);
/* The same of bytes, which are copied. */
SL_MUST_CHECK int sl_elf_file_of(const void *bytes, size_t len, sl_elf_file **ret_file);
/* NULL is accepted. */
void sl_elf_file_free(sl_elf_file *file);

/* Path of the loader that the program asks for; false: it is linked statically, or a library. */
bool sl_elf_file_loader(const sl_elf_file *file, char *ret_path, size_t size);

/* Looks `count` names up in both tables of symbols, .symtab first; a name that is not there has offset 0. Returns how
 * many were found. */
size_t sl_elf_file_find(const sl_elf_file *file, const char *const *names, size_t count,
                        sl_elf_function *ret_functions);
/* The executable part `index`; false: there are no more. */
bool sl_elf_file_code(const sl_elf_file *file, size_t index, sl_elf_code *ret_code);
/* The function that covers an address: where it begins. False: none is known to. */
bool sl_elf_file_function_at(const sl_elf_file *file, uint64_t address, sl_elf_function *ret_function);

#endif
