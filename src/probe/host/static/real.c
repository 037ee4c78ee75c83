/* Who has the functions behind the hooks, in a static build: the linker knew it, and nothing changes while it runs. */
#include "src/probe/host/real.h"

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

/* Functions that hooks ask for facts. */
#define FACT(name) extern char fact_##name[] __asm__(#name) __attribute__((weak));
#include "src/probe/host/static/facts.def"
#undef FACT
static const struct fact {
    const char *name;
    char *function;
} facts[] = {
#define FACT(name) {#name, fact_##name},
#include "src/probe/host/static/facts.def"
#undef FACT
};

_Atomic uint32_t sl_host_unsure;

/* What absent.c gives to names that nobody has; NULL when every name has somebody. */
extern char absent[] __asm__("__real_sl_absent") __attribute__((weak));

int hook_dlclose(void *handle);

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

const void *sl_host_entry(sl_hook_id id, unsigned lib)
{
    (void)id, (void)lib;
    return NULL;
}

void sl_host_look(void)
{
    for (unsigned id = 0; id < SL_HOOK_COUNT; id++)
        (void)sl_host_real_of((sl_hook_id)id, 0, NULL);
}

void sl_host_unloaded(void)
{
}

void *sl_host_real_of(sl_hook_id id, unsigned lib, const void *caller)
{
    SL_ASSERT(id < SL_HOOK_COUNT);
    (void)lib, (void)caller;
    void *found = atomic_load_explicit(&sl_host_reals[id], memory_order_relaxed);
    if (SL_UNLIKELY(found && found == (void *)absent)) {
        atomic_store_explicit(&sl_host_reals[id], NULL, memory_order_relaxed);
        return NULL;
    }
    return found;
}

void *sl_host_real_from(sl_hook_id id, const void *caller)
{
    return sl_host_real_of(id, 0, caller);
}

void *sl_host_real(sl_hook_id id)
{
    void *found = sl_host_real_of(id, 0, NULL);
    if (kinds[id] == SL_HOOK_KIND_LIBC && !sl_host_on() && found) {
        atomic_store(&sl_host_jumps[id], found);
        if (sl_host_on()) /* meanwhile */
            atomic_store(&sl_host_jumps[id], NULL);
    }
    return found;
}

void *sl_host_real_linked(sl_hook_id id, const void *caller)
{
    return sl_host_real_of(id, 0, caller);
}

unsigned sl_host_lib_of(sl_hook_id id, const void *function)
{
    return function && function == sl_host_real_of(id, 0, NULL);
}

void *sl_host_find(unsigned lib, const char *name)
{
    SL_ASSERT(name);
    (void)lib;
    for (size_t i = 0; i < sizeof facts / sizeof *facts; i++)
        if (strcmp(facts[i].name, name) == 0)
            return facts[i].function;
    for (unsigned id = 0; id < SL_HOOK_COUNT; id++)
        if (strcmp(names[id], name) == 0)
            return sl_host_real_of((sl_hook_id)id, 0, NULL);
    return NULL;
}

void *sl_host_beside(const void *address, const char *name)
{
    (void)address;
    return sl_host_find(0, name);
}

const char *sl_host_lib_path(unsigned lib)
{
    return lib ? "(linked in)" : "";
}

bool sl_host_in_lib(const void *address, sl_hook_id id)
{
    (void)address;
    return sl_host_real_of(id, 0, NULL) != NULL;
}

void *sl_host_linked(sl_hook_id id, const void *caller)
{
    return sl_host_real_of(id, 0, caller);
}

bool sl_host_is_probe(const void *address)
{
    (void)address;
    return false;
}

void *sl_host_after(const char *name)
{
    return sl_host_find(0, name);
}

int hook_dlclose(void *handle)
{
    int (*real)(void *handle) = (int (*)(void *))sl_host_real_of(SL_HOOK_dlclose, 0, NULL); /* NOLINT */
    return real ? real(handle) : -1;
}
