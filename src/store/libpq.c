/* See libpq.h. */
#include "src/store/libpq.h"

#include <dlfcn.h>

#include "src/base/assert.h"

static bool find(void *library, const char *name, void *ret_function)
{
    void *symbol = dlsym(library, name);
    memcpy(ret_function, &symbol, sizeof symbol);
    return symbol != NULL;
}

int sl_libpq_load(const char *file, char *reason, sl_libpq *ret_functions)
{
    SL_ASSERT(file && reason && ret_functions);
    sl_libpq found;
    const char *missing = NULL;
    void *library = dlopen(file, RTLD_NOW | RTLD_LOCAL);
    if (!library) {
        const char *why = dlerror();
        (void)snprintf(reason, SL_LIBPQ_REASON,
                       "PostgreSQL's client library cannot be loaded (%.120s); install it (Debian: libpq5)",
                       why ? why : file);
        return SL_ENOTSUP;
    }
#define SL_LIBPQ_FIND(type, name, parameters)                                                                          \
    if (!missing && !find(library, "PQ" #name, &found.name))                                                           \
        missing = "PQ" #name;
    SL_LIBPQ_FUNCTIONS(SL_LIBPQ_FIND)
#undef SL_LIBPQ_FIND
    if (missing) {
        (void)snprintf(reason, SL_LIBPQ_REASON, "%.120s has no function %s; install a newer one (Debian: libpq5)", file,
                       missing);
        (void)dlclose(library);
        return SL_ENOTSUP;
    }
    *ret_functions = found;
    return 0;
}
