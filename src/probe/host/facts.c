/* Functions of libllama that answer one number. */
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
