/*
 * Hooks of libssl: what a connection carries within TLS. Which descriptor that is, libssl itself is asked; a host that
 * moves its bytes by other ways (memory BIOs) is not seen.
 */
#include "src/probe/host/hook.h"
#include "src/probe/host/http_host.h"

#define MAX_COPIES 4u /* of libssl, of which the asking function is remembered */

typedef int (*read_fn)(void *ssl, void *bytes, int len);
typedef int (*read_ex_fn)(void *ssl, void *bytes, size_t len, size_t *ret_len);
typedef int (*write_fn)(void *ssl, const void *bytes, int len);
typedef int (*write_ex_fn)(void *ssl, const void *bytes, size_t len, size_t *ret_len);
typedef int (*get_fd_fn)(const void *ssl);

int hook_SSL_read(void *ssl, void *bytes, int len);
int hook_SSL_read_ex(void *ssl, void *bytes, size_t len, size_t *ret_len);
int hook_SSL_write(void *ssl, const void *bytes, int len);
int hook_SSL_write_ex(void *ssl, const void *bytes, size_t len, size_t *ret_len);

/* ---- the descriptor ---- */

static struct {
    void *_Atomic function; /* of libssl, in the same copy as */
    void *_Atomic get_fd;
} copies[MAX_COPIES];

/* SSL_get_fd of the copy of libssl that has `function`. */
static get_fd_fn get_fd_of(void *function)
{
    size_t i = 0;
    for (; i < MAX_COPIES; i++) {
        void *known = atomic_load_explicit(&copies[i].function, memory_order_acquire);
        if (known == function)
            return (get_fd_fn)atomic_load_explicit(&copies[i].get_fd, memory_order_relaxed); /* NOLINT */
        if (!known)
            break;
    }
    void *found = sl_host_beside(function, "SSL_get_fd");
    if (i < MAX_COPIES) {
        void *none = NULL;
        atomic_store(&copies[i].get_fd, found);
        (void)atomic_compare_exchange_strong(&copies[i].function, &none, function);
    }
    return (get_fd_fn)found; /* NOLINT */
}

static int fd_of(void *function, const void *ssl)
{
    get_fd_fn get_fd = get_fd_of(function);
    return get_fd ? get_fd(ssl) : -1;
}

static void within(void *function, const void *ssl, const void *bytes, size_t len, bool is_read)
{
    int kept = errno, fd = fd_of(function, ssl);
    sl_http_ref ref = fd >= 0 ? sl_http_find(fd) : 0;
    struct iovec piece = {(void *)(uintptr_t)bytes, len};
    sl_http_moved moved = {&piece, 1, len, true};
    if (ref && is_read)
        sl_http_was_read(fd, ref, &moved);
    else if (ref)
        sl_http_was_written(fd, ref, &moved);
    else if (fd >= 0 && is_read)
        sl_http_adopt(fd, bytes, len, true);
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
