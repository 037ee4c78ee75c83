/*
 * For tests of what happens when memory runs out: jansson's allocations fail as the library's do, by
 * sl_test_fail_alloc. They are not counted among its blocks: texts of json_dumps are freed by free().
 *
 * Reading fails as a whole. Within it nothing fails: jansson (2.14) writes behind the end of a text whose buffer could
 * not grow, which no caller can help.
 */
#ifndef SL_FLOW_TEST_JSON_MEMORY_H
#define SL_FLOW_TEST_JSON_MEMORY_H

#include <dlfcn.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/base/mem.h"

static _Thread_local bool jm_reading;

static bool jm_there_is_memory(void)
{
    void *try = sl_malloc(1);
    sl_free(try);
    return try != NULL;
}

static void *jm_allocate(size_t size)
{
    return jm_reading || jm_there_is_memory() ? malloc(size) : NULL;
}

__attribute__((constructor)) static void jm_install(void)
{
    json_set_alloc_funcs(jm_allocate, free);
}

/* In front of jansson's own. */
json_t *json_loadb(const char *bytes, size_t len, size_t flags, json_error_t *error)
{
    json_t *(*read)(const char *, size_t, size_t, json_error_t *);
    void *symbol = dlsym(RTLD_NEXT, "json_loadb");
    memcpy(&read, &symbol, sizeof read);
    if (!jm_there_is_memory()) {
        if (error)
            memset(error, 0, sizeof *error);
        return NULL;
    }
    jm_reading = true;
    json_t *value = read(bytes, len, flags, error);
    jm_reading = false;
    return value;
}

json_t *json_loads(const char *text, size_t flags, json_error_t *error)
{
    return json_loadb(text, strlen(text), flags, error);
}

#endif
