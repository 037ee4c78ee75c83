/*
 * libcurl for the program `sightline`, loaded when the first transfer needs it.
 *
 * libcurl brings some thirty libraries along (LDAP, Kerberos, SSH, a second TLS), which more than double the time that
 * a start takes: too much for `sightline exec`, behind which a server waits for its start, and for commands that speak
 * to nobody. The functions that our code calls are defined here, for this program alone; the linker then has no use for
 * the library. Without it curl_easy_init gives NULL, as when memory is short.
 */
#define CURL_DISABLE_TYPECHECK
#include <curl/curl.h>
#include <dlfcn.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>

#include "src/base/assert.h"

#define LIBRARY "libcurl.so.4"

typedef struct curl_functions {
    __typeof__(&curl_global_init) global_init;
    __typeof__(&curl_easy_init) init;
    __typeof__(&curl_easy_cleanup) cleanup;
    __typeof__(&curl_easy_perform) perform;
    __typeof__(&curl_easy_strerror) error_text;
    CURLcode (*setopt)(CURL *, CURLoption, ...);
    CURLcode (*getinfo)(CURL *, CURLINFO, ...);
    __typeof__(&curl_slist_append) append;
    __typeof__(&curl_slist_free_all) free_all;
} curl_functions;

static curl_functions real;
static bool loaded;

static bool find(void *library, const char *name, void *ret_function)
{
    void *symbol = dlsym(library, name);
    memcpy(ret_function, &symbol, sizeof symbol);
    return symbol != NULL;
}

static void load(void)
{
    static pthread_mutex_t one = PTHREAD_MUTEX_INITIALIZER;
    (void)pthread_mutex_lock(&one);
    void *library = loaded ? NULL : dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
    if (library) {
        bool all = find(library, "curl_global_init", &real.global_init);
        all &= find(library, "curl_easy_init", &real.init) && find(library, "curl_easy_cleanup", &real.cleanup);
        all &= find(library, "curl_easy_perform", &real.perform);
        all &= find(library, "curl_easy_strerror", &real.error_text);
        all &= find(library, "curl_easy_setopt", &real.setopt) && find(library, "curl_easy_getinfo", &real.getinfo);
        all &= find(library, "curl_slist_append", &real.append);
        all &= find(library, "curl_slist_free_all", &real.free_all);
        __atomic_store_n(&loaded, all, __ATOMIC_RELEASE);
    }
    (void)pthread_mutex_unlock(&one);
}

/* True when libcurl is there. Any thread. */
static bool is_loaded(void)
{
    if (!__atomic_load_n(&loaded, __ATOMIC_ACQUIRE))
        load();
    return __atomic_load_n(&loaded, __ATOMIC_ACQUIRE);
}

CURLcode curl_global_init(long flags)
{
    return is_loaded() ? real.global_init(flags) : CURLE_FAILED_INIT;
}

CURL *curl_easy_init(void)
{
    return is_loaded() ? real.init() : NULL;
}

void curl_easy_cleanup(CURL *handle)
{
    if (handle)
        real.cleanup(handle);
}

CURLcode curl_easy_perform(CURL *handle)
{
    SL_ASSERT(handle);
    return real.perform(handle);
}

const char *curl_easy_strerror(CURLcode code)
{
    return is_loaded() ? real.error_text(code) : LIBRARY " cannot be loaded; install it";
}

/* The third argument is a long, a pointer or a curl_off_t, as the option's number says. */
CURLcode curl_easy_setopt(CURL *handle, CURLoption option, ...)
{
    SL_ASSERT(handle);
    va_list args;
    va_start(args, option);
    CURLcode code;
    if (option < CURLOPTTYPE_OBJECTPOINT)
        code = real.setopt(handle, option, va_arg(args, long));
    else if (option >= CURLOPTTYPE_OFF_T && option < CURLOPTTYPE_BLOB)
        code = real.setopt(handle, option, va_arg(args, curl_off_t));
    else
        code = real.setopt(handle, option, va_arg(args, void *));
    va_end(args);
    return code;
}

CURLcode curl_easy_getinfo(CURL *handle, CURLINFO info, ...)
{
    SL_ASSERT(handle);
    va_list args;
    va_start(args, info);
    CURLcode code = real.getinfo(handle, info, va_arg(args, void *));
    va_end(args);
    return code;
}

struct curl_slist *curl_slist_append(struct curl_slist *list, const char *text)
{
    return is_loaded() ? real.append(list, text) : NULL;
}

void curl_slist_free_all(struct curl_slist *list)
{
    if (list)
        real.free_all(list);
}
