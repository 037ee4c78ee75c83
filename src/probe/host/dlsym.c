/*
 * dlsym and dlvsym: whoever asks for a function of llama.cpp gets the hook's entry; everybody else's question goes on
 * untouched, by a jump, since what RTLD_NEXT and RTLD_DEFAULT mean depends on the address of the caller.
 *
 * The probe's own presence must not show: it exports llama_model_load_from_file even beside a libllama that does not
 * have it yet, and programs ask for such names to find out what they can use. So a name that nobody else defines is
 * not found. The asking is done by the real function, so that dlerror says what it would say.
 */
#include <dlfcn.h>

#include "src/probe/host/real.h"

typedef void *(*dlsym_fn)(void *handle, const char *name);
typedef void *(*dlvsym_fn)(void *handle, const char *name, const char *version);

/* What the entries in stubs.c call: NULL when `*ret_result` is the answer, else where to jump to. */
const void *sl_dlsym_decide(void *handle, const char *name, const char *unused, const void *caller, void **ret_result);
const void *sl_dlvsym_decide(void *handle, const char *name, const char *version, const void *caller,
                             void **ret_result);

int hook_dlclose(void *handle);

static void *_Atomic real_dlsym, *_Atomic real_dlvsym;

static void *cached(void *_Atomic *slot, const char *name)
{
    void *found = atomic_load(slot);
    if (!found) {
        found = sl_host_after(name);
        atomic_store(slot, found);
    }
    return found;
}

void *sl_host_behind(const char *name)
{
    dlsym_fn ask = (dlsym_fn)cached(&real_dlsym, "dlsym");
    void *found = ask ? ask(RTLD_NEXT, name) : NULL;
    if (ask && !found)
        (void)dlerror(); /* which the host has not caused */
    return found;
}

/* The row of a name that dlsym takes part in; SL_HOOK_COUNT for all others. */
static sl_hook_id row_of(const char *name)
{
    if (!name || !((name[0] == 'l' && name[1] == 'l') || (name[0] == 'g' && name[1] == 'g') || name[0] == 'S'))
        return SL_HOOK_COUNT;
    for (unsigned id = 0; id < SL_HOOK_COUNT; id++)
        if (sl_host_kind((sl_hook_id)id) != SL_HOOK_KIND_LIBC && strcmp(sl_host_name((sl_hook_id)id), name) == 0)
            return (sl_hook_id)id;
    return SL_HOOK_COUNT;
}

/* The entry that stands for a real function; the function itself where there is none. */
static void *entry_for(sl_hook_id id, void *function)
{
    unsigned lib = sl_host_lib_of(id, function);
    if (!lib) {
        sl_host_look();
        lib = sl_host_lib_of(id, function);
    }
    const void *entry = lib && !sl_host_off_asked() ? sl_host_entry(id, lib - 1) : NULL;
    return entry ? (void *)(uintptr_t)entry : function;
}

/* The search came upon the probe first: what would it have found without? */
static void *behind_probe(sl_hook_id id, dlsym_fn ask, const void *caller, bool by_scope)
{
    void *next = ask(RTLD_NEXT, sl_host_name(id)); /* from here: what comes after the probe in the global scope */
    if (next)
        return entry_for(id, next);
    void *own = by_scope ? sl_host_linked(id, caller) : NULL;
    if (!own)
        return NULL;
    (void)dlerror();
    return entry_for(id, own);
}

const void *sl_dlsym_decide(void *handle, const char *name, const char *unused, const void *caller, void **ret_result)
{
    int kept = errno;
    dlsym_fn ask = (dlsym_fn)cached(&real_dlsym, "dlsym");
    sl_hook_id id = row_of(name);
    (void)unused;
    *ret_result = NULL;
    if (id == SL_HOOK_COUNT || !ask || (handle == RTLD_NEXT && ask(handle, name))) {
        errno = kept;
        return (const void *)ask;
    }
    void *found = ask(handle, name);
    if (found && sl_host_is_probe(found))
        found = behind_probe(id, ask, caller, handle == RTLD_DEFAULT);
    else if (found && sl_host_kind(id) != SL_HOOK_KIND_OTHER)
        found = entry_for(id, found);
    *ret_result = found;
    errno = kept;
    return NULL;
}

/* Names of llama.cpp have no versions: the probe's are found only where a version is asked for that no one has. */
const void *sl_dlvsym_decide(void *handle, const char *name, const char *version, const void *caller, void **ret_result)
{
    int kept = errno;
    dlvsym_fn ask = (dlvsym_fn)cached(&real_dlvsym, "dlvsym");
    sl_hook_id id = row_of(name);
    (void)caller;
    *ret_result = NULL;
    if (id == SL_HOOK_COUNT || !ask || (handle == RTLD_NEXT && ask(handle, name, version))) {
        errno = kept;
        return (const void *)ask;
    }
    void *found = ask(handle, name, version);
    if (found && sl_host_is_probe(found))
        found = ask(RTLD_NEXT, name, version);
    if (found && !sl_host_is_probe(found) && sl_host_kind(id) != SL_HOOK_KIND_OTHER)
        found = entry_for(id, found);
    *ret_result = found;
    errno = kept;
    return NULL;
}

/* What was found may have gone away. Never a jump: where hooks of libllama have become jumps, these are to be undone.
 */
int hook_dlclose(void *handle)
{
    int (*real)(void *handle) = (int (*)(void *))sl_host_real_of(SL_HOOK_dlclose, 0, NULL);
    int result = real ? real(handle) : -1;
    if (result == 0)
        sl_host_unloaded();
    return result;
}
