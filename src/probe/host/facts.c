/* Functions of libllama that answer one number, and how long its parameters are. */
#include "src/probe/host/hook.h"

typedef int32_t (*ask_i32_fn)(const void *object);
typedef uint64_t (*ask_u64_fn)(const void *object);

int32_t sl_host_ask_i32(unsigned lib, const char *name, const char *older, const void *object)
{
    SL_ASSERT(name);
    if (!object)
        return -1;
    ask_i32_fn ask = (ask_i32_fn)sl_host_find(lib, name);
    if (!ask && older)
        ask = (ask_i32_fn)sl_host_find(lib, older);
    return ask ? ask(object) : -1;
}

uint64_t sl_host_ask_u64(unsigned lib, const char *name, const void *object)
{
    SL_ASSERT(name);
    ask_u64_fn ask = object ? (ask_u64_fn)sl_host_find(lib, name) : NULL;
    return ask ? ask(object) : 0;
}

#ifdef __x86_64__
/* The result goes to an address that the caller passes first. */
typedef void *(*defaults_fn)(void *result);

/* Bytes of the struct that a function returns by value; 0: more than a block, or none. */
static size_t filled_by(defaults_fn defaults)
{
    unsigned char once[2 * sizeof(sl_params_block)], again[sizeof once];
    size_t size = sizeof once;
    memset(once, 0xa5, sizeof once);
    memset(again, 0x5a, sizeof again);
    (void)defaults(once);
    (void)defaults(again);
    while (size && once[size - 1] == 0xa5 && again[size - 1] == 0x5a)
        size--;
    size = (size + 7) & ~(size_t)7; /* the end of the struct may be padding */
    return size <= sizeof(sl_params_block) ? size : 0;
}
#endif

void sl_host_params(sl_params_block *ret_copy, const sl_params_block *passed, unsigned lib, const char *defaults)
{
    size_t size = 0;
    SL_ASSERT(ret_copy && passed && defaults);
#ifdef __x86_64__
    int kept = errno;
    defaults_fn fill = lib ? (defaults_fn)sl_host_find(lib, defaults) : NULL; /* NOLINT */
    size = fill ? filled_by(fill) : 0;
    errno = kept;
#else
    (void)lib;
#endif
    if (size)
        memset(ret_copy, 0, sizeof *ret_copy);
    memcpy(ret_copy, passed, size ? size : sizeof *passed);
}
