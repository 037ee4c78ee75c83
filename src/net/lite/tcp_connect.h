/*
 * Connecting to HOST:PORT with a deadline, which also bounds the look-up of a name, and waiting for a socket. libc
 * alone.
 */
#ifndef SL_NET_LITE_TCP_CONNECT_H
#define SL_NET_LITE_TCP_CONNECT_H

#include <sys/socket.h>

#include "src/base/assert.h"
#include "src/base/str.h"

struct addrinfo;

/* The seam to the kernel, so that tests can make the Nth call fail. Return values and errno as those of libc. */
typedef struct sl_net_ops {
    void *user;
    int (*connect)(void *user, int fd, const struct sockaddr *addr, socklen_t len);
    ssize_t (*send)(void *user, int fd, const void *data, size_t len, int flags);
    ssize_t (*recv)(void *user, int fd, void *data, size_t len);
    /* As getaddrinfo; may be called on a thread that outlives the caller's deadline. */
    int (*resolve)(void *user, const char *host, const char *port, const struct addrinfo *hints,
                   struct addrinfo **ret_list);
} sl_net_ops;

/* libc itself. */
extern const sl_net_ops sl_net_ops_libc;

/*
 * Connects to the first address of `host` that answers: non-blocking, close-on-exec, TCP_NODELAY. An address that does
 * not answer costs its share of the time, so that the others have theirs. `ops` NULL is libc; `why` (of `size` bytes)
 * gets what failed. Errors: SL_ERESOLVE, SL_ECONNECT, SL_ETIMEOUT, SL_EIO. The caller closes
 * `*ret_fd`.
 */
SL_MUST_CHECK int sl_tcp_connect(const sl_net_ops *ops, const char *host, const char *port, uint64_t deadline_ns,
                                 int *ret_fd, char *why, size_t size);

/* Waits for POLLIN or POLLOUT until the deadline (monotonic). Errors: SL_ETIMEOUT, SL_EIO. */
SL_MUST_CHECK int sl_socket_wait(int fd, short events, uint64_t deadline_ns);

#endif
