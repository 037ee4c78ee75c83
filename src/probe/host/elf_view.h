/*
 * A loaded object as its dynamic section shows it: what it defines, what it needs. Reads memory that the dynamic linker
 * keeps; nothing is opened. Used while dl_iterate_phdr holds the list of objects still.
 */
#ifndef SL_PROBE_HOST_ELF_VIEW_H
#define SL_PROBE_HOST_ELF_VIEW_H

#include <link.h>
#include <sightline/base.h>

typedef struct sl_elf_view {
    uintptr_t base, low, high; /* addresses of its segments */
    const char *path;
    const ElfW(Sym) * symbols;
    const char *strings;
    const ElfW(Half) * versions;
    const uint32_t *gnu_hash, *sysv_hash;
    const ElfW(Dyn) * dynamic;
    const char *soname; /* NULL: none */
} sl_elf_view;

/* False for an object that has no dynamic section or no symbols. */
bool sl_elf_view_of(const struct dl_phdr_info *info, sl_elf_view *ret_view);
/* Address of the default definition of a function; NULL when it does not define it. */
void *sl_elf_function(const sl_elf_view *view, const char *name);
static inline bool sl_elf_holds(const sl_elf_view *view, const void *address)
{
    return (uintptr_t)address >= view->low && (uintptr_t)address < view->high;
}
/* True when `view` lists `other` among what it needs. */
bool sl_elf_needs(const sl_elf_view *view, const sl_elf_view *other);

/*
 * Walks the loaded objects, as dl_iterate_phdr does, by libc's own function: sanitizers have one in its place that
 * cannot be called before they are set up, and they ask dlsym for functions while they set themselves up.
 */
int sl_elf_walk(int (*each)(struct dl_phdr_info *info, size_t size, void *user), void *user);
/*
 * Default definition of a function in the first object behind this one that has it; `libc_only`: in libc. Calls nothing
 * that could be intercepted. For objects that were there from the start.
 */
void *sl_elf_early(const char *name, bool libc_only);

#endif
