/* Loaded objects as their dynamic sections show them: against the dynamic linker itself, and tables made by hand. */
#include "src/probe/host/elf_view.c"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>

#include "tests/harness/sl_chance.h"
#include "tests/harness/sl_test.h"

/* ---- what is loaded ---- */

#define MOST_OBJECTS 64

typedef struct loaded {
    sl_elf_view views[MOST_OBJECTS];
    size_t count;
} loaded;

static int collect(struct dl_phdr_info *info, size_t size, void *user)
{
    loaded *all = user;
    (void)size;
    if (all->count < MOST_OBJECTS && sl_elf_view_of(info, &all->views[all->count]))
        all->count++;
    return 0;
}

static const sl_elf_view *object_named(const loaded *all, const char *beginning)
{
    for (size_t i = 0; i < all->count; i++) {
        if (all->views[i].soname && strncmp(all->views[i].soname, beginning, strlen(beginning)) == 0)
            return &all->views[i];
    }
    return NULL;
}

/* Symbols that a table of GNU's kind leads to: up to the end of the last chain. */
static uint32_t symbol_count(const sl_elf_view *view)
{
    const uint32_t *t = view->gnu_hash;
    if (!t)
        return view->sysv_hash[1];
    const uint32_t *bucket = (const void *)((const ElfW(Addr) *)(const void *)(t + 4) + t[2]), *chain = bucket + t[0];
    uint32_t last = 0;
    for (uint32_t i = 0; i < t[0]; i++)
        last = bucket[i] > last ? bucket[i] : last;
    if (last < t[1])
        return t[1];
    while (!(chain[last - t[1]] & 1))
        last++;
    return last + 1;
}

/* Each function that an object defines is found, where the dynamic linker finds it too. */
SL_TEST(functions_are_where_the_dynamic_linker_finds_them)
{
    loaded all = {.count = 0};
    size_t compared = 0;
    CHECK_EQ(sl_elf_walk(collect, &all), 0);
    CHECK(all.count >= 2);
    for (size_t i = 0; i < all.count; i++) {
        const sl_elf_view *view = &all.views[i];
        void *handle = view->path[0] == '/' ? dlopen(view->path, RTLD_NOW | RTLD_NOLOAD) : NULL;
        for (uint32_t k = 1; k < symbol_count(view); k++) {
            const char *name = view->strings + view->symbols[k].st_name;
            if (!serves(view, k, name))
                continue;
            void *found = sl_elf_function(view, name);
            CHECK(found && sl_elf_holds(view, found));
            void *linked = handle ? dlsym(handle, name) : found;
            compared += handle != NULL;
            if (found != linked && dlsym(RTLD_DEFAULT, name) == linked && sl_elf_holds(view, linked))
                sl_test_failed(__FILE__, __LINE__, "%s of %s: %p, not %p", name, view->path, found, linked);
        }
        if (handle)
            dlclose(handle);
    }
    CHECK(compared > 1000); /* libc alone has more */
}

SL_TEST(names_that_nobody_has_are_not_found)
{
    loaded all = {.count = 0};
    uint64_t chance = 1;
    CHECK_EQ(sl_elf_walk(collect, &all), 0);
    for (int i = 0; i < 500; i++) {
        char name[40];
        (void)snprintf(name, sizeof name, "no_%u_such_%u", sl_chance(&chance, 100000), sl_chance(&chance, 100000));
        for (size_t k = 0; k < all.count; k++)
            CHECK(sl_elf_function(&all.views[k], name) == NULL);
        CHECK(sl_elf_early(name, i % 2) == NULL);
    }
    for (size_t k = 0; k < all.count; k++) {
        CHECK(sl_elf_function(&all.views[k], "") == NULL);
        CHECK(sl_elf_function(&all.views[k], "environ") == NULL); /* a variable */
    }
}

SL_TEST(who_needs_whom)
{
    loaded all = {.count = 0};
    CHECK_EQ(sl_elf_walk(collect, &all), 0);
    const sl_elf_view *libc = object_named(&all, "libc.so"), *program = &all.views[0];
    REQUIRE(libc != NULL);
    CHECK(program->path[0] == 0 || program->path[0] == '/');
    CHECK(sl_elf_needs(program, libc) && !sl_elf_needs(libc, program) && !sl_elf_needs(libc, libc));
    size_t needed = 0;
    for (size_t i = 0; i < all.count; i++)
        needed += sl_elf_needs(program, &all.views[i]);
    size_t listed = 0;
    for (const ElfW(Dyn) *d = program->dynamic; d->d_tag != DT_NULL; d++)
        listed += d->d_tag == DT_NEEDED;
    CHECK(needed > 0 && needed <= listed);
    /* By the whole path, where the entry has one. */
    sl_elf_view other = *libc;
    other.soname = NULL;
    CHECK(sl_elf_needs(program, &other) == (strcmp(last_part(libc->path), libc->soname) == 0));
    other.path = "";
    CHECK(!sl_elf_needs(program, &other));
    other.path = NULL;
    CHECK(!sl_elf_needs(program, &other));
}

SL_TEST(an_object_holds_its_segments)
{
    loaded all = {.count = 0};
    int local = 0;
    CHECK_EQ(sl_elf_walk(collect, &all), 0);
    const sl_elf_view *libc = object_named(&all, "libc.so"), *program = &all.views[0];
    REQUIRE(libc != NULL);
    CHECK(sl_elf_holds(libc, sl_elf_early("free", true)) && !sl_elf_holds(program, sl_elf_early("free", true)));
    CHECK(sl_elf_holds(program, (const void *)(uintptr_t)collect) && !sl_elf_holds(libc, &local));
    CHECK(sl_elf_holds(libc, (const void *)libc->low) && !sl_elf_holds(libc, (const void *)(libc->low - 1)));
    CHECK(sl_elf_holds(libc, (const void *)(libc->high - 1)) && !sl_elf_holds(libc, (const void *)libc->high));
}

/* ---- tables made by hand ---- */

#define MOST_NAMES 200

typedef struct made {
    ElfW(Sym) symbols[MOST_NAMES + 1];
    ElfW(Half) versions[MOST_NAMES + 1];
    char strings[MOST_NAMES * 24 + 1];
    uint32_t sysv[2 + 64 + MOST_NAMES + 1];
    uint32_t gnu[4 + 2 * 8 + 64 + MOST_NAMES];
    size_t count;
} made;

static uint32_t sysv_hash_of(const char *name)
{
    uint32_t h = 0; /* as the System V ABI has it */
    for (; *name; name++) {
        h = (h << 4) + (unsigned char)*name;
        uint32_t g = h & 0xf0000000u;
        h ^= g >> 24;
        h &= ~g;
    }
    return h;
}

static int by_bucket(const void *a, const void *b, void *user)
{
    const made *m = user;
    const ElfW(Sym) *x = a, *y = b;
    uint32_t i = gnu_hash_of(m->strings + x->st_name) % m->gnu[0], k = gnu_hash_of(m->strings + y->st_name) % m->gnu[0];
    return (i > k) - (i < k);
}

/* Builds both tables over the symbols 1 … count, with some buckets. */
static void build(made *m, uint32_t buckets)
{
    const unsigned bits = sizeof(ElfW(Addr)) * 8;
    uint32_t words = 4;
    memset(m->sysv, 0, sizeof m->sysv);
    memset(m->gnu, 0, sizeof m->gnu);
    m->gnu[0] = m->sysv[0] = buckets;
    m->gnu[1] = 1;
    m->gnu[2] = words;
    m->gnu[3] = 6;
    qsort_r(m->symbols + 1, m->count, sizeof *m->symbols, by_bucket, m);
    m->sysv[1] = (uint32_t)m->count + 1;
    ElfW(Addr) *bloom = (void *)(m->gnu + 4);
    uint32_t *bucket = (void *)(bloom + words), *chain = bucket + buckets;
    for (uint32_t i = 1; i <= m->count; i++) {
        const char *name = m->strings + m->symbols[i].st_name;
        uint32_t h = gnu_hash_of(name), s = sysv_hash_of(name) % buckets;
        m->sysv[2 + buckets + i] = m->sysv[2 + s];
        m->sysv[2 + s] = i;
        bloom[h / bits % words] |= (ElfW(Addr))1 << h % bits | (ElfW(Addr))1 << (h >> 6) % bits;
        if (!bucket[h % buckets])
            bucket[h % buckets] = i;
        bool last = i == m->count || gnu_hash_of(m->strings + m->symbols[i + 1].st_name) % buckets != h % buckets;
        chain[i - 1] = last ? h | 1 : h & ~1u;
    }
}

static void add_name(made *m, size_t *at, const char *name, ElfW(Addr) value)
{
    ElfW(Sym) *s = &m->symbols[++m->count];
    *s = (ElfW(Sym)){.st_name = (ElfW(Word)) * at, .st_info = STT_FUNC, .st_shndx = 1, .st_value = value};
    *at += (size_t)sprintf(m->strings + *at, "%s", name) + 1;
}

static sl_elf_view view_of(const made *m, bool gnu)
{
    return (sl_elf_view){.base = 0x1000,
                         .symbols = m->symbols,
                         .strings = m->strings,
                         .versions = m->versions,
                         .gnu_hash = gnu ? m->gnu : NULL,
                         .sysv_hash = gnu ? NULL : m->sysv};
}

/* Sets of names by chance: both kinds of table find each of them, and none that was not put in. */
SL_TEST(both_kinds_of_table_find_the_same)
{
    static made m;
    for (uint64_t seed = 1; seed <= 60; seed++) {
        uint64_t chance = seed;
        size_t at = 1;
        m.count = 0;
        size_t names = sl_chance(&chance, MOST_NAMES) + 1;
        for (size_t i = 0; i < names; i++) {
            char name[24];
            (void)snprintf(name, sizeof name, "f%zu_%u", i, sl_chance(&chance, 1000));
            add_name(&m, &at, name, 16 * (i + 1));
        }
        build(&m, 1 + sl_chance(&chance, 64));
        for (int gnu = 0; gnu < 2; gnu++) {
            const sl_elf_view view = view_of(&m, gnu);
            for (uint32_t i = 1; i <= m.count; i++) {
                const char *name = m.strings + m.symbols[i].st_name;
                CHECK((uintptr_t)sl_elf_function(&view, name) == 0x1000 + m.symbols[i].st_value);
            }
            for (int i = 0; i < 300; i++) {
                char name[24];
                (void)snprintf(name, sizeof name, "g%d", i);
                CHECK(sl_elf_function(&view, name) == NULL);
            }
        }
    }
}

/* Of a name that stands there several times the one that may be linked to. */
SL_TEST(what_may_not_be_linked_to_is_passed_over)
{
    static const struct {
        const char *what;
        unsigned char type;
        ElfW(Half) section, version;
        ElfW(Addr) value;
        bool found;
    } rows[] = {
        {"a function", STT_FUNC, 1, 2, 16, true},           {"a variable", STT_OBJECT, 1, 2, 16, false},
        {"undefined", STT_FUNC, SHN_UNDEF, 2, 16, false},   {"without an address", STT_FUNC, 1, 2, 0, false},
        {"an old version", STT_FUNC, 1, 0x8002, 16, false}, {"chosen when it runs", STT_GNU_IFUNC, 1, 2, 16, false},
    };
    static made m;
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        for (int second = 0; second < 2; second++) {
            size_t at = 1;
            m.count = 0;
            add_name(&m, &at, "name", rows[i].value);
            if (second)
                add_name(&m, &at, "name", 0x500);
            build(&m, 1);
            m.symbols[1].st_info = rows[i].type;
            m.symbols[1].st_shndx = rows[i].section;
            m.versions[1] = rows[i].version;
            m.versions[2] = 2;
            for (int gnu = 0; gnu < 2; gnu++) {
                const sl_elf_view view = view_of(&m, gnu);
                uintptr_t found = (uintptr_t)sl_elf_function(&view, "name");
                bool right = rows[i].found && (gnu || !second) ? found == 0x1010 : second ? found == 0x1500 : !found;
                if (!right)
                    sl_test_failed(__FILE__, __LINE__, "%s, %d, %d: %lx", rows[i].what, second, gnu,
                                   (unsigned long)found);
            }
        }
    }
}

SL_TEST(tables_without_entries)
{
    static made m;
    size_t at = 1;
    m.count = 0;
    add_name(&m, &at, "name", 16);
    build(&m, 1);
    m.sysv[0] = 0;
    sl_elf_view view = view_of(&m, false);
    CHECK(sl_elf_function(&view, "name") == NULL);
    view = view_of(&m, true);
    CHECK(sl_elf_function(&view, "name") != NULL);
    m.gnu[1] = 2; /* the first symbol that the table knows lies behind it */
    CHECK(sl_elf_function(&view, "name") == NULL);
    m.gnu[0] = 0;
    CHECK(sl_elf_function(&view, "name") == NULL);
    m.gnu[0] = 1;
    m.gnu[2] = 0;
    CHECK(sl_elf_function(&view, "name") == NULL);
}

/* ---- objects that have nothing to show ---- */

SL_TEST(objects_without_a_dynamic_section_are_left_out)
{
    static const ElfW(Dyn) empty[] = {{.d_tag = DT_NULL}};
    static const struct {
        ElfW(Word) types[2];
        unsigned count;
    } rows[] = {{{0}, 0}, {{PT_LOAD}, 1}, {{PT_DYNAMIC}, 1}, {{PT_LOAD, PT_DYNAMIC}, 2}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        ElfW(Phdr) headers[2];
        for (unsigned k = 0; k < 2; k++)
            headers[k] =
                (ElfW(Phdr)){.p_type = rows[i].types[k], .p_vaddr = (ElfW(Addr))empty, .p_memsz = sizeof empty};
        struct dl_phdr_info info = {.dlpi_name = "x", .dlpi_phdr = headers, .dlpi_phnum = (ElfW(Half))rows[i].count};
        sl_elf_view view = {.base = 77};
        CHECK(!sl_elf_view_of(&info, &view));
        CHECK_EQ(view.base, 77); /* untouched */
    }
}
