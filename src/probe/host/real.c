/* Who has the functions behind the hooks: the scan of loaded objects, and the choice between copies. */
#include "src/probe/host/real.h"

#include <sched.h>

#include "src/probe/host/elf_view.h"

#define PATH_BYTES 512
#define MAX_VIEWS 512 /* loaded objects that one search looks at */
#define MAX_TURNS 100000u
#define MAX_CHOICES 256 /* remembered, a power of two */

typedef struct lib {
    _Atomic bool alive;
    bool seen;
    sl_elf_view view;      /* its path is `path` */
    char path[PATH_BYTES]; /* the linker's copy goes away with the object */
    void *_Atomic function[SL_HOOK_COUNT];
} lib;

/* What a place in the code calls, where there are several copies. */
typedef struct choice {
    _Atomic uintptr_t key;
    void *_Atomic function;
} choice;

static const char *const names[SL_HOOK_COUNT] = {
#define SL_HOOK(name, kind) #name,
#include "src/probe/host/hooks.def"
#undef SL_HOOK
};
static const unsigned char kinds[SL_HOOK_COUNT] = {
#define SL_HOOK(name, kind) SL_HOOK_KIND_##kind,
#include "src/probe/host/hooks.def"
#undef SL_HOOK
};

_Atomic uint32_t sl_host_unsure;
/* Changed under the lock alone. */
static lib libs[SL_HOST_LIBS];
static uint64_t last_adds, last_subs; /* of the dynamic linker, at the last scan */
static uint32_t several;              /* copies, at the last scan */
static sl_elf_view views[MAX_VIEWS];  /* room for a search */
/* Atomic. */
static _Atomic bool stale;
static choice choices[MAX_CHOICES];
static void *_Atomic globals[SL_HOOK_COUNT]; /* in the global scope: NULL not asked yet, &stale none */

const char *sl_host_name(sl_hook_id id)
{
    SL_ASSERT(id < SL_HOOK_COUNT);
    return names[id];
}

sl_hook_kind sl_host_kind(sl_hook_id id)
{
    SL_ASSERT(id < SL_HOOK_COUNT);
    return (sl_hook_kind)kinds[id];
}

static bool of_llama(sl_hook_id id)
{
    return kinds[id] == SL_HOOK_KIND_LLAMA || kinds[id] == SL_HOOK_KIND_GGML;
}

/*
 * Not a mutex, and on the page that a forked child finds cleared: the child must be able to go on whatever its parent's
 * other threads were doing. Nobody waits for ever: false when it could not be had, which costs no more than knowledge.
 */
static bool lock(void)
{
    for (unsigned turns = 0; atomic_exchange_explicit(&sl_the_host->busy, 1, memory_order_acquire); turns++) {
        if (turns == MAX_TURNS)
            return false;
        (void)sched_yield();
    }
    return true;
}

static void unlock(void)
{
    atomic_store_explicit(&sl_the_host->busy, 0, memory_order_release);
}

bool sl_host_is_probe(const void *address)
{
    extern const char object_begin[] __asm__("__ehdr_start") __attribute__((visibility("hidden")));
    extern const char object_end[] __asm__("_end") __attribute__((visibility("hidden")));
    return (uintptr_t)address >= (uintptr_t)object_begin && (uintptr_t)address < (uintptr_t)object_end;
}

static bool is_own(const sl_elf_view *view)
{
    return sl_elf_holds(view, &libs);
}

/* ---- the scan ---- */

typedef struct scan {
    bool past_probe; /* the list is in the order of loading */
    bool changed;
} scan;

/* The record of a loaded object: the one it had, or a free one. NULL: there are too many. */
static lib *record_for(const sl_elf_view *view)
{
    for (unsigned i = 0; i < SL_HOST_LIBS; i++) {
        lib *l = &libs[i];
        if (atomic_load(&l->alive) && l->view.base == view->base && l->view.high == view->high &&
            strncmp(l->path, view->path, PATH_BYTES - 1) == 0)
            return l;
    }
    for (unsigned i = 0; i < SL_HOST_LIBS; i++)
        if (!atomic_load(&libs[i].alive) && !libs[i].seen)
            return &libs[i];
    return NULL;
}

static void note_lib(const sl_elf_view *view, void *const functions[])
{
    lib *l = record_for(view);
    if (!l)
        return;
    l->seen = true;
    if (atomic_load(&l->alive))
        return;
    l->view = *view;
    size_t len = strnlen(view->path, PATH_BYTES - 1);
    memcpy(l->path, view->path, len);
    l->path[len] = '\0';
    for (unsigned id = 0; id < SL_HOOK_COUNT; id++)
        atomic_store(&l->function[id], functions[id]);
    atomic_store(&l->alive, true);
}

static int scan_object(struct dl_phdr_info *info, size_t size, void *user)
{
    scan *s = user;
    sl_elf_view view;
    void *functions[SL_HOOK_COUNT];
    bool any = false;
    (void)size;
    if (!sl_elf_view_of(info, &view))
        return 0;
    if (is_own(&view)) {
        s->past_probe = true;
        return 0;
    }
    /* What is before the probe has had the call already: to go there would be to go round in a circle. */
    if (!s->past_probe)
        return 0;
    for (unsigned id = 0; id < SL_HOOK_COUNT; id++) {
        bool llama = of_llama((sl_hook_id)id);
        functions[id] = NULL;
        if (!llama && atomic_load(&sl_host_reals[id]))
            continue;
        void *found = sl_elf_function(&view, names[id]);
        if (found && llama)
            functions[id] = found;
        else if (found)
            atomic_store(&sl_host_reals[id], found);
        any |= found && llama;
    }
    if (any)
        note_lib(&view, functions);
    return 0;
}

/* The table for the usual case, and whether there is more than one answer. */
static void settle(void)
{
    several = 0;
    for (unsigned id = 0; id < SL_HOOK_COUNT; id++) {
        if (!of_llama((sl_hook_id)id))
            continue;
        void *first = NULL;
        for (unsigned i = 0; i < SL_HOST_LIBS; i++) {
            void *f = atomic_load(&libs[i].alive) ? atomic_load(&libs[i].function[id]) : NULL;
            several |= first && f;
            first = first ? first : f;
        }
        atomic_store(&sl_host_jumps[id], NULL);
        atomic_store(&sl_host_reals[id], first);
    }
    for (unsigned i = 0; i < MAX_CHOICES; i++)
        atomic_store(&choices[i].key, 0);
    for (unsigned id = 0; id < SL_HOOK_COUNT; id++)
        atomic_store(&globals[id], NULL);
    atomic_store(&sl_host_unsure, several);
}

/* What was OTHER's may be gone as well. */
static void forget_others(void)
{
    for (unsigned id = 0; id < SL_HOOK_COUNT; id++) {
        if (kinds[id] != SL_HOOK_KIND_OTHER)
            continue;
        atomic_store(&sl_host_jumps[id], NULL);
        atomic_store(&sl_host_reals[id], NULL);
    }
}

static int read_counts(struct dl_phdr_info *info, size_t size, void *user)
{
    uint64_t *counts = user;
    (void)size;
    counts[0] = info->dlpi_adds;
    counts[1] = info->dlpi_subs;
    return 1;
}

void sl_host_look(void)
{
    uint64_t counts[2] = {0, 0};
    int kept = errno;
    (void)sl_elf_walk(read_counts, counts);
    if (!lock())
        return;
    if (counts[0] != last_adds || counts[1] != last_subs) {
        scan s = {0};
        if (counts[1] != last_subs)
            forget_others();
        for (unsigned i = 0; i < SL_HOST_LIBS; i++)
            libs[i].seen = false;
        atomic_store(&stale, false);
        (void)sl_elf_walk(scan_object, &s);
        for (unsigned i = 0; i < SL_HOST_LIBS; i++)
            if (!libs[i].seen)
                atomic_store(&libs[i].alive, false);
        last_adds = counts[0];
        last_subs = counts[1];
        settle();
    } else if (atomic_exchange(&stale, false)) {
        atomic_store(&sl_host_unsure, several); /* closed, but still in use elsewhere */
    }
    unlock();
    errno = kept;
}

void sl_host_unloaded(void)
{
    for (unsigned id = 0; id < SL_HOOK_COUNT; id++)
        if (kinds[id] != SL_HOOK_KIND_LIBC)
            atomic_store(&sl_host_jumps[id], NULL);
    atomic_store(&stale, true);
    atomic_store(&sl_host_unsure, 1);
}

/* ---- the choice between copies ---- */

typedef struct gather {
    size_t count;
} gather;

static int gather_object(struct dl_phdr_info *info, size_t size, void *user)
{
    gather *g = user;
    (void)size;
    if (g->count < MAX_VIEWS && sl_elf_view_of(info, &views[g->count]) && !is_own(&views[g->count]))
        g->count++;
    return 0;
}

/* The first definition that the object of `caller` has, or what it is linked to, nearest first. */
static void *linked_to(sl_hook_id id, const void *caller)
{
    static uint16_t queue[MAX_VIEWS];
    static bool queued[MAX_VIEWS];
    gather g = {0};
    size_t first = 0, last = 0;
    (void)sl_elf_walk(gather_object, &g);
    for (size_t i = 0; i < g.count; i++) {
        queued[i] = sl_elf_holds(&views[i], caller);
        if (queued[i])
            queue[last++] = (uint16_t)i;
    }
    while (first < last) {
        const sl_elf_view *view = &views[queue[first++]];
        void *found = sl_elf_function(view, names[id]);
        if (found)
            return found;
        for (size_t i = 0; i < g.count; i++) {
            if (queued[i] || !sl_elf_needs(view, &views[i]))
                continue;
            queued[i] = true;
            queue[last++] = (uint16_t)i;
        }
    }
    return NULL;
}

void *sl_host_linked(sl_hook_id id, const void *caller)
{
    SL_ASSERT(id < SL_HOOK_COUNT);
    if (!lock())
        return NULL;
    void *found = linked_to(id, caller);
    unlock();
    return found;
}

static void *choose(sl_hook_id id, const void *caller)
{
    uintptr_t key = (uintptr_t)caller ^ ((uintptr_t)id << 52);
    choice *c = &choices[(key ^ key >> 9 ^ (uintptr_t)id * 7) % MAX_CHOICES];
    void *found = atomic_load(&c->function);
    if (atomic_load(&c->key) == key && atomic_load(&c->function) == found)
        return found;
    found = sl_host_linked(id, caller);
    atomic_store(&c->key, 0);
    atomic_store(&c->function, found);
    atomic_store(&c->key, key);
    return found;
}

/* What the linker would have bound any reference to. Not under the lock: dlsym has a lock of its own. */
static void *in_global_scope(sl_hook_id id)
{
    void *found = atomic_load(&globals[id]);
    if (!found) {
        found = sl_host_behind(names[id]);
        atomic_store(&globals[id], found ? found : (void *)&stale);
    }
    return found == (void *)&stale ? NULL : found;
}

static void *of_lib(unsigned lib_number, sl_hook_id id)
{
    if (lib_number == 0 || lib_number > SL_HOST_LIBS || !atomic_load(&libs[lib_number - 1].alive))
        return NULL;
    return atomic_load(&libs[lib_number - 1].function[id]);
}

__attribute__((noinline)) static void *decide(sl_hook_id id, unsigned lib_number, const void *caller)
{
    int kept = errno;
    unsigned tag = sl_host_tag;
    sl_host_tag = 0;
    if (atomic_load(&stale))
        sl_host_look();
    bool choosing = caller && of_llama(id) && atomic_load(&sl_host_unsure);
    void *found = of_lib(tag, id);
    if (!found && choosing)
        found = in_global_scope(id);
    if (!found)
        found = of_lib(lib_number, id);
    if (!found && choosing)
        found = choose(id, caller);
    if (!found)
        found = atomic_load(&sl_host_reals[id]);
    if (!found) {
        sl_host_look();
        found = atomic_load(&sl_host_reals[id]);
    }
    errno = kept;
    return found;
}

void *sl_host_real_of(sl_hook_id id, unsigned lib_number, const void *caller)
{
    SL_ASSERT(id < SL_HOOK_COUNT);
    if (SL_LIKELY(sl_host_tag == 0 && atomic_load_explicit(&sl_host_unsure, memory_order_relaxed) == 0)) {
        void *found = atomic_load_explicit(&sl_host_reals[id], memory_order_acquire);
        if (SL_LIKELY(found != NULL))
            return found;
    }
    return decide(id, lib_number, caller);
}

void *sl_host_real_from(sl_hook_id id, const void *caller)
{
    return sl_host_real_of(id, 0, caller);
}

/* libc's are there for good. Until events are recorded nobody needs to pass by the hook again. */
void *sl_host_real(sl_hook_id id)
{
    SL_ASSERT(id < SL_HOOK_COUNT);
    void *found = atomic_load_explicit(&sl_host_reals[id], memory_order_acquire);
    if (SL_UNLIKELY(!found)) {
        sl_host_look();
        found = atomic_load(&sl_host_reals[id]);
    }
    if (kinds[id] == SL_HOOK_KIND_LIBC && !sl_host_on() && found) {
        atomic_store(&sl_host_jumps[id], found);
        if (sl_host_on()) /* meanwhile */
            atomic_store(&sl_host_jumps[id], NULL);
    }
    return found;
}

unsigned sl_host_lib_of(sl_hook_id id, const void *function)
{
    SL_ASSERT(id < SL_HOOK_COUNT);
    for (unsigned i = 0; i < SL_HOST_LIBS; i++)
        if (function && atomic_load(&libs[i].alive) && atomic_load(&libs[i].function[id]) == function)
            return i + 1;
    return 0;
}

void *sl_host_find(unsigned lib_number, const char *name)
{
    void *found = NULL;
    SL_ASSERT(name && lib_number <= SL_HOST_LIBS);
    if (!lock())
        return NULL;
    for (unsigned i = 0; i < SL_HOST_LIBS && !found; i++)
        if (atomic_load(&libs[i].alive) && (lib_number == 0 || lib_number == i + 1))
            found = sl_elf_function(&libs[i].view, name);
    unlock();
    return found;
}

const char *sl_host_lib_path(unsigned lib_number)
{
    return lib_number && lib_number <= SL_HOST_LIBS ? libs[lib_number - 1].path : "";
}

bool sl_host_in_lib(const void *address, sl_hook_id id)
{
    for (unsigned i = 0; i < SL_HOST_LIBS; i++)
        if (of_lib(i + 1, id) && sl_elf_holds(&libs[i].view, address))
            return true;
    return false;
}

void *sl_host_after(const char *name)
{
    SL_ASSERT(name);
    return sl_elf_early(name, false);
}

void *sl_host_real_linked(sl_hook_id id, const void *caller)
{
    int kept = errno;
    SL_ASSERT(id < SL_HOOK_COUNT && kinds[id] == SL_HOOK_KIND_OTHER);
    if (atomic_load(&stale))
        sl_host_look();
    void *found = in_global_scope(id);
    if (!found)
        found = choose(id, caller);
    errno = kept;
    return found;
}

typedef struct beside {
    const void *address;
    const char *name;
    void *found;
} beside;

static int look_beside(struct dl_phdr_info *info, size_t size, void *user)
{
    beside *b = user;
    sl_elf_view view;
    (void)size;
    if (!sl_elf_view_of(info, &view) || !sl_elf_holds(&view, b->address))
        return 0;
    b->found = sl_elf_function(&view, b->name);
    return 1;
}

void *sl_host_beside(const void *address, const char *name)
{
    beside b = {address, name, NULL};
    (void)sl_elf_walk(look_beside, &b);
    return b.found;
}
