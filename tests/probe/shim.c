/* Another object that is preloaded and takes the place of a function, by RTLD_NEXT: before or behind the probe. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdio.h>

#include "fake_llama.h"

int puts(const char *text)
{
    int (*next)(const char *) = (int (*)(const char *))dlsym(RTLD_NEXT, "puts");
    printf("shim: ");
    return next ? next(text) : -1;
}

int32_t llama_encode(llama_context *context, llama_batch batch)
{
    int32_t (*next)(llama_context *, llama_batch) =
        (int32_t(*)(llama_context *, llama_batch))dlsym(RTLD_NEXT, "llama_encode");
    printf("shim: encode\n");
    return next ? next(context, batch) : -1;
}
