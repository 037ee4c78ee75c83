/*
 * Where a function is called directly from within its own file, and thus where it returns to.
 *
 * A place counts only when walking from the beginning of the function it lies in shows that an instruction begins
 * there: whoever puts a breakpoint at a place in the midst of an instruction breaks the program. What is called through
 * a pointer or from another file is not found.
 */
#ifndef SL_PROBE_UPROBE_CALL_SITES_H
#define SL_PROBE_UPROBE_CALL_SITES_H

#include "src/probe/uprobe/elf_file.h"

/* Where calls of `function` return to: offsets in the file, at most `most` of them. Returns how many. */
size_t sl_call_sites_find(const sl_elf_file *file, const sl_elf_function *function, uint64_t *ret_offsets, size_t most);

#endif
