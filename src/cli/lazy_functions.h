/*
 * Functions of a library that the program loads when one of them is called, not when it starts: the body of a lazy_*.c.
 *
 * Before it is included, LAZY_LIBRARY names the library and LAZY_FUNCTIONS(F, G) lists its functions in rows
 *     F(type, name, none, (parameters), (arguments))
 * of which those of F load the library, and those of G make sense only for what such a one has given. `none` is what
 * they give without the library. The linker then has no use for the library itself:
 * tests/integration/test_core_links.py fails when a function that our code calls is in no row.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include "src/base/assert.h"
#include "src/cli/command.h"

typedef struct lazy_functions {
#define POINTER(type, name, none, parameters, arguments) __typeof__(&name) name;
    LAZY_FUNCTIONS(POINTER, POINTER)
#undef POINTER
} lazy_functions;

static lazy_functions lazy;
static bool lazy_is_there;

static bool lazy_find(void *library, const char *name, void *ret_function)
{
    SL_ASSERT(library && name);
    void *symbol = dlsym(library, name);
    memcpy(ret_function, &symbol, sizeof symbol);
    return symbol != NULL;
}

static void lazy_load(void)
{
    static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
    static bool told;
    (void)pthread_mutex_lock(&one);
    void *library = lazy_is_there ? NULL : dlopen(LAZY_LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (!library && !lazy_is_there && !told)
        told = sl_fail(true, "%s", dlerror());
    if (library) {
        bool all = true;
#define FIND(type, name, none, parameters, arguments) all &= lazy_find(library, #name, &lazy.name);
        LAZY_FUNCTIONS(FIND, FIND)
#undef FIND
        __atomic_store_n(&lazy_is_there, all, __ATOMIC_RELEASE);
    }
    (void)pthread_mutex_unlock(&one);
}

/* True when the library has been loaded. Any thread. */
static inline bool lazy_loaded(void)
{
    return __atomic_load_n(&lazy_is_there, __ATOMIC_ACQUIRE);
}

/* Loads it; true when it is there. */
static bool lazy_ready(void)
{
    if (!lazy_loaded())
        lazy_load();
    return lazy_loaded();
}

#define LOADING(type, name, none, parameters, arguments)                                                               \
    type name parameters                                                                                               \
    {                                                                                                                  \
        return lazy_ready() ? lazy.name arguments : none;                                                              \
    }
#define LOADED(type, name, none, parameters, arguments)                                                                \
    type name parameters                                                                                               \
    {                                                                                                                  \
        return lazy_loaded() ? lazy.name arguments : none;                                                             \
    }
LAZY_FUNCTIONS(LOADING, LOADED)
