/*
 * Built with ThreadSanitizer alone: what was written before uv_async_send() is seen by the handle's callback. libuv
 * sees to that by atomics of its own, in a library that the sanitizer does not look into. The linker puts these
 * functions in the place of libuv's (--wrap, CMakeLists.txt).
 */
#ifdef __SANITIZE_THREAD__
#include <sanitizer/tsan_interface.h>
#include <uv.h>

int __real_uv_async_init(uv_loop_t *loop, uv_async_t *async, uv_async_cb fn);
int __wrap_uv_async_init(uv_loop_t *loop, uv_async_t *async, uv_async_cb fn);
int __real_uv_async_send(uv_async_t *async);
int __wrap_uv_async_send(uv_async_t *async);

/* A word of the handle that libuv has no use for in handles of this kind. */
#define CALLBACK(async) ((async)->u.reserved[3])

static void on_async(uv_async_t *async)
{
    __tsan_acquire(async);
    uv_async_cb fn = (uv_async_cb)CALLBACK(async);
    if (fn)
        fn(async);
}

int __wrap_uv_async_init(uv_loop_t *loop, uv_async_t *async, uv_async_cb fn)
{
    int error = __real_uv_async_init(loop, async, on_async);
    CALLBACK(async) = (void *)fn;
    return error;
}

int __wrap_uv_async_send(uv_async_t *async)
{
    __tsan_release(async);
    return __real_uv_async_send(async);
}
#endif
