/*
 * Hooks of libssl: what a connection carries within TLS. Which descriptor that is, libssl itself is asked. Where there
 * is none, because the host moves the bytes itself (memory BIOs: Python's asyncio, for instance), the object of libssl
 * stands for the connection, which then ends when that is freed.
 */
#include "src/probe/host/hook.h"
#include "src/probe/host/http_host.h"

#define MAX_COPIES 8u       /* functions of copies of libssl, beside which the asking ones are remembered */
#define RECEIVED_SHUTDOWN 2 /* SSL_RECEIVED_SHUTDOWN */

typedef int (*read_fn)(void *ssl, void *bytes, int len);
typedef int (*read_ex_fn)(void *ssl, void *bytes, size_t len, size_t *ret_len);
typedef int (*write_fn)(void *ssl, const void *bytes, int len);
typedef int (*write_ex_fn)(void *ssl, const void *bytes, size_t len, size_t *ret_len);
typedef void (*free_fn)(void *ssl);
typedef int (*ask_fn)(const void *ssl);

int hook_SSL_read(void *ssl, void *bytes, int len);
int hook_SSL_read_ex(void *ssl, void *bytes, size_t len, size_t *ret_len);
int hook_SSL_write(void *ssl, const void *bytes, int len);
int hook_SSL_write_ex(void *ssl, const void *bytes, size_t len, size_t *ret_len);
void hook_SSL_free(void *ssl);

/* ---- the connection ---- */

static struct {
    void *_Atomic function; /* of libssl, in the same copy as */
    void *_Atomic ask;
} copies[MAX_COPIES];

/* SSL_get_fd of the copy of libssl that has `function`. */
static ask_fn get_fd_of(void *function)
{
    static char filling; /* its address marks a place that is being filled */
    for (size_t i = 0; i < MAX_COPIES; i++) {
        void *known = atomic_load_explicit(&copies[i].function, memory_order_acquire);
        if (known == function)
            return (ask_fn)atomic_load_explicit(&copies[i].ask, memory_order_relaxed); /* NOLINT */
        if (known || !atomic_compare_exchange_strong(&copies[i].function, &known, (void *)&filling))
            continue;
        atomic_store(&copies[i].ask, sl_host_beside(function, "SSL_get_fd"));
        atomic_store(&copies[i].function, function);
        return (ask_fn)atomic_load(&copies[i].ask); /* NOLINT */
    }
    return (ask_fn)sl_host_beside(function, "SSL_get_fd"); /* NOLINT */
}

/* A negative number: libssl has no descriptor for it, and nothing else stands for it either. */
static int fd_of(void *function, const void *ssl, sl_http_ref *ret_ref)
{
    ask_fn get_fd = get_fd_of(function);
    int fd = get_fd ? get_fd(ssl) : -1;
    *ret_ref = fd >= 0 ? sl_http_find(fd) : 0;
    if (fd >= 0)
        return fd;
    fd = sl_http_tls_fd(ssl);
    *ret_ref = fd >= 0 ? atomic_load_explicit(&sl_http_by_fd[fd], memory_order_relaxed) : 0;
    return *ret_ref ? fd : -1;
}

static void within(void *function, const void *ssl, const void *bytes, size_t len, bool is_read)
{
    int kept = errno;
    sl_http_ref ref;
    int fd = fd_of(function, ssl, &ref);
    struct iovec piece = {(void *)(uintptr_t)bytes, len};
    sl_http_moved moved = {&piece, 1, len, true};
    if (ref && is_read)
        sl_http_was_read(fd, ref, &moved);
    else if (ref)
        sl_http_was_written(fd, ref, &moved);
    else if (fd >= 0 && is_read)
        sl_http_adopt(fd, bytes, len, true);
    else if (is_read)
        sl_http_tls_adopt(ssl, bytes, len);
    errno = kept;
}

static void will_be_freed(void *function, const void *ssl)
{
    int kept = errno;
    if (sl_http_tls_fd(ssl) >= 0) {
        ask_fn get_shutdown = (ask_fn)sl_host_beside(function, "SSL_get_shutdown"); /* NOLINT */
        sl_http_tls_gone(ssl, get_shutdown && get_shutdown(ssl) & RECEIVED_SHUTDOWN);
    }
    errno = kept;
}

/* ---- hooks ---- */

int hook_SSL_read(void *ssl, void *bytes, int len)
{
    void *real = sl_host_real_linked(SL_HOOK_SSL_read, SL_CALLER);
    if (!real)
        return -1;
    int got = ((read_fn)real)(ssl, bytes, len); /* NOLINT */
    if (got > 0 && sl_host_on())
        within(real, ssl, bytes, (size_t)got, true);
    return got;
}

int hook_SSL_read_ex(void *ssl, void *bytes, size_t len, size_t *ret_len)
{
    void *real = sl_host_real_linked(SL_HOOK_SSL_read_ex, SL_CALLER);
    if (!real)
        return 0;
    int ok = ((read_ex_fn)real)(ssl, bytes, len, ret_len); /* NOLINT */
    if (ok > 0 && *ret_len && sl_host_on())
        within(real, ssl, bytes, *ret_len, true);
    return ok;
}

int hook_SSL_write(void *ssl, const void *bytes, int len)
{
    void *real = sl_host_real_linked(SL_HOOK_SSL_write, SL_CALLER);
    if (!real)
        return -1;
    int put = ((write_fn)real)(ssl, bytes, len); /* NOLINT */
    if (put > 0 && sl_host_on())
        within(real, ssl, bytes, (size_t)put, false);
    return put;
}

int hook_SSL_write_ex(void *ssl, const void *bytes, size_t len, size_t *ret_len)
{
    void *real = sl_host_real_linked(SL_HOOK_SSL_write_ex, SL_CALLER);
    if (!real)
        return 0;
    int ok = ((write_ex_fn)real)(ssl, bytes, len, ret_len); /* NOLINT */
    if (ok > 0 && *ret_len && sl_host_on())
        within(real, ssl, bytes, *ret_len, false);
    return ok;
}

/* Objects are counted: that another holder is left is rare, and then the connection is adopted anew when it goes on. */
void hook_SSL_free(void *ssl)
{
    void *real = sl_host_real_linked(SL_HOOK_SSL_free, SL_CALLER);
    if (!real)
        return;
    if (ssl && sl_host_on())
        will_be_freed(real, ssl);
    ((free_fn)real)(ssl); /* NOLINT */
}
