/* Connecting with a deadline. */
#include "src/net/lite/tcp_connect.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/net/lite/resolve.h"

#define MAX_POLL_MS 60000u

static int libc_connect(void *user, int fd, const struct sockaddr *addr, socklen_t len)
{
    (void)user;
    return connect(fd, addr, len);
}

static ssize_t libc_send(void *user, int fd, const void *data, size_t len, int flags)
{
    (void)user;
    return send(fd, data, len, flags);
}

static ssize_t libc_recv(void *user, int fd, void *data, size_t len)
{
    (void)user;
    return recv(fd, data, len, 0);
}

static int libc_resolve(void *user, const char *host, const char *port, const struct addrinfo *hints,
                        struct addrinfo **ret_list)
{
    (void)user;
    return getaddrinfo(host, port, hints, ret_list);
}

const sl_net_ops sl_net_ops_libc = {NULL, libc_connect, libc_send, libc_recv, libc_resolve};

int sl_socket_wait(int fd, short events, uint64_t deadline_ns)
{
    SL_ASSERT(fd >= 0 && events);
    for (;;) {
        uint64_t now = sl_mono_ns();
        if (now >= deadline_ns)
            return SL_ETIMEOUT;
        uint64_t left_ms = (deadline_ns - now) / 1000000u + 1;
        struct pollfd p = {fd, events, 0};
        int ready = poll(&p, 1, (int)(left_ms > MAX_POLL_MS ? MAX_POLL_MS : left_ms));
        if (ready > 0)
            return 0;
        if (ready < 0 && errno != EINTR)
            return SL_EIO;
    }
}

/* Connects one address. */
static int connect_one(const sl_net_ops *ops, const struct addrinfo *address, uint64_t deadline_ns, int *ret_fd,
                       char *why, size_t size)
{
    SL_ASSERT(address && ret_fd);
    int fd = socket(address->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, address->ai_protocol);
    if (fd < 0) {
        (void)snprintf(why, size, "no socket: %s", strerror(errno));
        return SL_ECONNECT;
    }
    int one = 1;
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    int error = 0;
    int failed = ops->connect(ops->user, fd, address->ai_addr, address->ai_addrlen) ? errno : 0;
    if (failed == EINPROGRESS || failed == EINTR) {
        error = sl_socket_wait(fd, POLLOUT, deadline_ns);
        socklen_t len = sizeof failed;
        if (!error && getsockopt(fd, SOL_SOCKET, SO_ERROR, &failed, &len))
            failed = errno;
    }
    if (error) {
        (void)snprintf(why, size, "could not connect: %s", sl_strerror(error));
    } else if (failed) {
        (void)snprintf(why, size, "could not connect: %s", strerror(failed));
        error = SL_ECONNECT;
    }
    if (error)
        close(fd);
    else
        *ret_fd = fd;
    return error;
}

/* When to go on from this address to the next: the time left is shared out evenly. */
static uint64_t share_of(const struct addrinfo *address, uint64_t deadline_ns)
{
    uint64_t now = sl_mono_ns(), left = 0;
    for (; address; address = address->ai_next)
        left++;
    return deadline_ns > now ? now + (deadline_ns - now) / left : deadline_ns;
}

int sl_tcp_connect(const sl_net_ops *ops, const char *host, const char *port, uint64_t deadline_ns, int *ret_fd,
                   char *why, size_t size)
{
    SL_ASSERT(host && port && ret_fd && why && size > 0);
    struct addrinfo *found = NULL;
    ops = ops ? ops : &sl_net_ops_libc;
    int error = sl_resolve(ops, host, port, deadline_ns, &found, why, size);
    if (error)
        return error;
    error = SL_ECONNECT;
    for (const struct addrinfo *at = found; at; at = at->ai_next) {
        error = connect_one(ops, at, share_of(at, deadline_ns), ret_fd, why, size);
        if (error == 0 || sl_mono_ns() >= deadline_ns)
            break;
    }
    freeaddrinfo(found);
    return error;
}
