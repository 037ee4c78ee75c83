/* A loaded object as its dynamic section shows it. */
#include "src/probe/host/elf_view.h"

#include <stdatomic.h>

#include "src/base/assert.h"

/* Not strcmp: a sanitizer's, while it sets itself up, leads nowhere. */
static bool same_text(const char *a, const char *b)
{
    while (*a && *a == *b) {
        a++;
        b++;
    }
    return *a == *b;
}

static bool begins(const char *text, const char *with)
{
    while (*with && *text == *with) {
        text++;
        with++;
    }
    return !*with;
}

/* The linker has made most pointers of the section absolute; in read-only ones (the vdso) they are offsets still. */
static const void *at(uintptr_t base, ElfW(Addr) value)
{
    ElfW(Addr) address = value < base ? base + value : value;
    return (const void *)address;
}

static void read_dynamic(sl_elf_view *view)
{
    size_t soname = 0;
    SL_ASSERT(view->dynamic);
    for (const ElfW(Dyn) *d = view->dynamic; d->d_tag != DT_NULL; d++) {
        if (d->d_tag == DT_SYMTAB)
            view->symbols = at(view->base, d->d_un.d_ptr);
        else if (d->d_tag == DT_STRTAB)
            view->strings = at(view->base, d->d_un.d_ptr);
        else if (d->d_tag == DT_VERSYM)
            view->versions = at(view->base, d->d_un.d_ptr);
        else if (d->d_tag == DT_GNU_HASH)
            view->gnu_hash = at(view->base, d->d_un.d_ptr);
        else if (d->d_tag == DT_HASH)
            view->sysv_hash = at(view->base, d->d_un.d_ptr);
        else if (d->d_tag == DT_SONAME)
            soname = d->d_un.d_val;
    }
    view->soname = view->strings && soname ? view->strings + soname : NULL;
}

bool sl_elf_view_of(const struct dl_phdr_info *info, sl_elf_view *ret_view)
{
    sl_elf_view view = {.base = info->dlpi_addr, .low = UINTPTR_MAX, .path = info->dlpi_name};
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        uintptr_t begin = info->dlpi_addr + p->p_vaddr;
        if (p->p_type == PT_DYNAMIC)
            view.dynamic = (const void *)begin;
        if (p->p_type != PT_LOAD)
            continue;
        view.low = begin < view.low ? begin : view.low;
        view.high = begin + p->p_memsz > view.high ? begin + p->p_memsz : view.high;
    }
    if (!view.dynamic || view.high <= view.low)
        return false;
    read_dynamic(&view);
    if (!view.symbols || !view.strings || (!view.gnu_hash && !view.sysv_hash))
        return false;
    *ret_view = view;
    return true;
}

/* Defined here, a function, and its default version. */
static bool serves(const sl_elf_view *view, uint32_t index, const char *name)
{
    const ElfW(Sym) *s = &view->symbols[index];
    if (s->st_shndx == SHN_UNDEF || s->st_value == 0 || (s->st_info & 15) != STT_FUNC)
        return false;
    if (view->versions && (view->versions[index] & 0x8000))
        return false;
    return same_text(view->strings + s->st_name, name);
}

static uint32_t gnu_hash_of(const char *name)
{
    uint32_t h = 5381;
    for (; *name; name++)
        h = h * 33 + (unsigned char)*name;
    return h;
}

static uint32_t find_gnu(const sl_elf_view *view, const char *name)
{
    const uint32_t *t = view->gnu_hash;
    uint32_t buckets = t[0], first = t[1], bloom_words = t[2], shift = t[3], h = gnu_hash_of(name);
    const ElfW(Addr) *bloom = (const void *)(t + 4);
    const uint32_t *bucket = (const void *)(bloom + bloom_words), *chain = bucket + buckets;
    const unsigned bits = sizeof(ElfW(Addr)) * 8;
    if (!buckets || !bloom_words)
        return 0;
    ElfW(Addr) word = bloom[h / bits % bloom_words];
    if (!(word >> (h % bits) & 1) || !(word >> ((h >> shift) % bits) & 1))
        return 0;
    uint32_t index = bucket[h % buckets];
    if (index < first)
        return 0;
    for (;; index++) {
        uint32_t have = chain[index - first];
        if ((have | 1) == (h | 1) && serves(view, index, name))
            return index;
        if (have & 1)
            return 0;
    }
}

static uint32_t find_sysv(const sl_elf_view *view, const char *name)
{
    const uint32_t *t = view->sysv_hash;
    uint32_t buckets = t[0], chains = t[1], h = 0;
    for (const char *c = name; *c; c++) {
        h = (h << 4) + (unsigned char)*c;
        h = (h ^ (h >> 24 & 0xf0)) & 0x0fffffff;
    }
    if (!buckets)
        return 0;
    for (uint32_t i = t[2 + h % buckets]; i && i < chains; i = t[2 + buckets + i])
        if (serves(view, i, name))
            return i;
    return 0;
}

void *sl_elf_function(const sl_elf_view *view, const char *name)
{
    SL_ASSERT(view && name);
    uint32_t index = view->gnu_hash ? find_gnu(view, name) : find_sysv(view, name);
    if (!index)
        return NULL;
    return (void *)(view->base + view->symbols[index].st_value);
}

static const char *last_part(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool sl_elf_needs(const sl_elf_view *view, const sl_elf_view *other)
{
    SL_ASSERT(view && other);
    if (!other->path || !*other->path)
        return false;
    for (const ElfW(Dyn) *d = view->dynamic; d->d_tag != DT_NULL; d++) {
        if (d->d_tag != DT_NEEDED)
            continue;
        const char *name = view->strings + d->d_un.d_val;
        if (other->soname && strcmp(last_part(name), other->soname) == 0)
            return true;
        if (strcmp(strchr(name, '/') ? other->path : last_part(other->path), name) == 0)
            return true;
    }
    return false;
}

/* ---- the walk ---- */

typedef int (*walk_fn)(int (*each)(struct dl_phdr_info *info, size_t size, void *user), void *user);

static bool is_libc(const sl_elf_view *view)
{
    return view->soname && (begins(view->soname, "libc.so") || begins(view->soname, "libc.musl"));
}

void *sl_elf_early(const char *name, bool libc_only)
{
    extern struct r_debug debug __asm__("_r_debug") __attribute__((weak));
    extern const ElfW(Dyn) own[] __asm__("_DYNAMIC") __attribute__((visibility("hidden")));
    bool past_own = false;
    SL_ASSERT(name);
    for (const struct link_map *map = &debug ? debug.r_map : NULL; map; map = map->l_next) {
        sl_elf_view view = {.base = map->l_addr, .path = map->l_name, .dynamic = map->l_ld};
        if (map->l_ld == own)
            past_own = true;
        if (map->l_ld == own || !map->l_ld || !(past_own || libc_only))
            continue;
        read_dynamic(&view);
        if (!view.symbols || !view.strings || (!view.gnu_hash && !view.sysv_hash) || (libc_only && !is_libc(&view)))
            continue;
        void *found = sl_elf_function(&view, name);
        if (found)
            return found;
    }
    return NULL;
}

int sl_elf_walk(int (*each)(struct dl_phdr_info *info, size_t size, void *user), void *user)
{
    static void *_Atomic known;
    SL_ASSERT(each);
    void *walk = atomic_load_explicit(&known, memory_order_relaxed);
    if (!walk) {
        walk = sl_elf_early("dl_iterate_phdr", true);
        atomic_store_explicit(&known, walk, memory_order_relaxed);
    }
    return walk ? ((walk_fn)walk)(each, user) : dl_iterate_phdr(each, user);
}
