/*
 * Hooks of libc's calls on sockets: the call goes on first, what it moved is looked at afterwards. For a descriptor
 * that is no connection of the host's server that is one look into a table.
 *
 * Two exceptions. A close is told before the descriptor is given back: a moment later another thread may get it anew. A
 * read from a socket that is not known is looked at for the beginning of a request (see http_host.h).
 */
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/probe/host/http_host.h"

#define REAL(type, name) ((type)sl_host_libc(SL_HOOK_##name)) /* NOLINT */
#define REQUEST_LINE_MIN 16                                   /* "GET / HTTP/1.1\r\n" */
#define NOT_TAKEN (MSG_PEEK | MSG_ERRQUEUE | MSG_OOB)         /* what is read stays, or is no part of the stream */

typedef int (*accept_fn)(int fd, struct sockaddr *address, socklen_t *size);
typedef int (*accept4_fn)(int fd, struct sockaddr *address, socklen_t *size, int flags);
typedef ssize_t (*recv_fn)(int fd, void *bytes, size_t len, int flags);
typedef ssize_t (*recvfrom_fn)(int fd, void *bytes, size_t len, int flags, struct sockaddr *address, socklen_t *size);
typedef ssize_t (*recvmsg_fn)(int fd, struct msghdr *message, int flags);
typedef ssize_t (*read_fn)(int fd, void *bytes, size_t len);
typedef ssize_t (*vector_fn)(int fd, const struct iovec *pieces, int count);
typedef ssize_t (*recv_chk_fn)(int fd, void *bytes, size_t len, size_t room, int flags);
typedef ssize_t (*recvfrom_chk_fn)(int fd, void *bytes, size_t len, size_t room, int flags, struct sockaddr *address,
                                   socklen_t *size);
typedef ssize_t (*read_chk_fn)(int fd, void *bytes, size_t len, size_t room);
typedef ssize_t (*send_fn)(int fd, const void *bytes, size_t len, int flags);
typedef ssize_t (*sendto_fn)(int fd, const void *bytes, size_t len, int flags, const struct sockaddr *address,
                             socklen_t size);
typedef ssize_t (*sendmsg_fn)(int fd, const struct msghdr *message, int flags);
typedef ssize_t (*write_fn)(int fd, const void *bytes, size_t len);
typedef ssize_t (*sendfile_fn)(int to, int from, off_t *offset, size_t count);
typedef int (*shutdown_fn)(int fd, int how);
typedef int (*close_fn)(int fd);
typedef int (*dup2_fn)(int from, int to);

int hook_accept(int fd, struct sockaddr *address, socklen_t *size);
int hook_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags);
ssize_t hook_recv(int fd, void *bytes, size_t len, int flags);
ssize_t hook_recvfrom(int fd, void *bytes, size_t len, int flags, struct sockaddr *address, socklen_t *size);
ssize_t hook_recvmsg(int fd, struct msghdr *message, int flags);
ssize_t hook_read(int fd, void *bytes, size_t len);
ssize_t hook_readv(int fd, const struct iovec *pieces, int count);
ssize_t hook___recv_chk(int fd, void *bytes, size_t len, size_t room, int flags);
ssize_t hook___recvfrom_chk(int fd, void *bytes, size_t len, size_t room, int flags, struct sockaddr *address,
                            socklen_t *size);
ssize_t hook___read_chk(int fd, void *bytes, size_t len, size_t room);
ssize_t hook_send(int fd, const void *bytes, size_t len, int flags);
ssize_t hook_sendto(int fd, const void *bytes, size_t len, int flags, const struct sockaddr *address, socklen_t size);
ssize_t hook_sendmsg(int fd, const struct msghdr *message, int flags);
ssize_t hook_write(int fd, const void *bytes, size_t len);
ssize_t hook_writev(int fd, const struct iovec *pieces, int count);
ssize_t hook_sendfile(int to, int from, off_t *offset, size_t count);
ssize_t hook_sendfile64(int to, int from, off_t *offset, size_t count);
int hook_shutdown(int fd, int how);
int hook_close(int fd);
int hook_dup2(int from, int to);

/* libc lacks it: cannot happen with what every libc has. */
static ssize_t missing(void)
{
    errno = ENOSYS;
    return -1;
}

/* ---- accepting ---- */

static int accepted(int fd)
{
    int kept = errno;
    if (fd >= 0 && sl_host_on())
        sl_http_accepted(fd);
    errno = kept;
    return fd;
}

int hook_accept(int fd, struct sockaddr *address, socklen_t *size)
{
    accept_fn real = REAL(accept_fn, accept);
    return real ? accepted(real(fd, address, size)) : (int)missing();
}

int hook_accept4(int fd, struct sockaddr *address, socklen_t *size, int flags)
{
    accept4_fn real = REAL(accept4_fn, accept4);
    return real ? accepted(real(fd, address, size, flags)) : (int)missing();
}

/* ---- reading ---- */

/* After a read. */
static ssize_t was_read(int fd, sl_http_ref ref, const struct iovec *pieces, size_t count, ssize_t result, int flags)
{
    int kept = errno;
    if (!ref || flags & NOT_TAKEN)
        return result;
    if (result > 0 && flags & MSG_TRUNC) {
        sl_http_closing(fd, ref); /* read, and thrown away: what it was is not known */
    } else if (result > 0) {
        sl_http_moved moved = {pieces, count, (size_t)result, false};
        sl_http_was_read(fd, ref, &moved);
    } else if (result == 0 && count && pieces[0].iov_len) {
        sl_http_at_end(fd, ref);
    } else if (result < 0) {
        sl_http_failed(fd, ref, kept);
    }
    errno = kept;
    return result;
}

/* After a read into one piece of memory. */
static inline ssize_t was_read_flat(int fd, sl_http_ref ref, void *bytes, size_t len, ssize_t result, int flags)
{
    if (SL_LIKELY(ref != 0)) {
        struct iovec piece = {bytes, len};
        return was_read(fd, ref, &piece, 1, result, flags);
    }
    if (result >= REQUEST_LINE_MIN && (size_t)result <= len && !(flags & (NOT_TAKEN | MSG_TRUNC)) &&
        *(const char *)bytes >= 'A' && *(const char *)bytes <= 'Z')
        sl_http_adopt(fd, bytes, (size_t)result, false);
    return result;
}

ssize_t hook_recv(int fd, void *bytes, size_t len, int flags)
{
    recv_fn real = REAL(recv_fn, recv);
    if (SL_UNLIKELY(!real))
        return missing();
    if (!sl_host_on())
        return real(fd, bytes, len, flags);
    sl_http_ref ref = sl_http_find(fd);
    return was_read_flat(fd, ref, bytes, len, real(fd, bytes, len, flags), flags);
}

ssize_t hook_recvfrom(int fd, void *bytes, size_t len, int flags, struct sockaddr *address, socklen_t *size)
{
    recvfrom_fn real = REAL(recvfrom_fn, recvfrom);
    if (SL_UNLIKELY(!real))
        return missing();
    if (!sl_host_on())
        return real(fd, bytes, len, flags, address, size);
    sl_http_ref ref = sl_http_find(fd);
    return was_read_flat(fd, ref, bytes, len, real(fd, bytes, len, flags, address, size), flags);
}

ssize_t hook_read(int fd, void *bytes, size_t len)
{
    read_fn real = REAL(read_fn, read);
    if (SL_UNLIKELY(!real))
        return missing();
    if (!sl_host_on())
        return real(fd, bytes, len);
    sl_http_ref ref = sl_http_find(fd);
    return was_read_flat(fd, ref, bytes, len, real(fd, bytes, len), 0);
}

ssize_t hook___recv_chk(int fd, void *bytes, size_t len, size_t room, int flags)
{
    recv_chk_fn real = REAL(recv_chk_fn, __recv_chk);
    if (SL_UNLIKELY(!real))
        return missing();
    if (!sl_host_on())
        return real(fd, bytes, len, room, flags);
    sl_http_ref ref = sl_http_find(fd);
    return was_read_flat(fd, ref, bytes, len, real(fd, bytes, len, room, flags), flags);
}

ssize_t hook___recvfrom_chk(int fd, void *bytes, size_t len, size_t room, int flags, struct sockaddr *address,
                            socklen_t *size)
{
    recvfrom_chk_fn real = REAL(recvfrom_chk_fn, __recvfrom_chk);
    if (SL_UNLIKELY(!real))
        return missing();
    if (!sl_host_on())
        return real(fd, bytes, len, room, flags, address, size);
    sl_http_ref ref = sl_http_find(fd);
    return was_read_flat(fd, ref, bytes, len, real(fd, bytes, len, room, flags, address, size), flags);
}

ssize_t hook___read_chk(int fd, void *bytes, size_t len, size_t room)
{
    read_chk_fn real = REAL(read_chk_fn, __read_chk);
    if (SL_UNLIKELY(!real))
        return missing();
    if (!sl_host_on())
        return real(fd, bytes, len, room);
    sl_http_ref ref = sl_http_find(fd);
    return was_read_flat(fd, ref, bytes, len, real(fd, bytes, len, room), 0);
}

ssize_t hook_readv(int fd, const struct iovec *pieces, int count)
{
    vector_fn real = REAL(vector_fn, readv);
    sl_http_ref ref = sl_http_find(fd);
    if (SL_UNLIKELY(!real))
        return missing();
    if (!ref || count < 0)
        return real(fd, pieces, count);
    return was_read(fd, ref, pieces, (size_t)count, real(fd, pieces, count), 0);
}

ssize_t hook_recvmsg(int fd, struct msghdr *message, int flags)
{
    recvmsg_fn real = REAL(recvmsg_fn, recvmsg);
    sl_http_ref ref = sl_http_find(fd);
    if (SL_UNLIKELY(!real))
        return missing();
    if (!ref)
        return real(fd, message, flags);
    ssize_t result = real(fd, message, flags);
    return message ? was_read(fd, ref, message->msg_iov, message->msg_iovlen, result, flags) : result;
}

/* ---- writing ---- */

static ssize_t was_written(int fd, sl_http_ref ref, const struct iovec *pieces, size_t count, ssize_t result)
{
    int kept = errno;
    if (result > 0) {
        sl_http_moved moved = {pieces, count, (size_t)result, false};
        sl_http_was_written(fd, ref, &moved);
    } else if (result < 0) {
        sl_http_failed(fd, ref, kept);
    }
    errno = kept;
    return result;
}

static ssize_t was_written_flat(int fd, sl_http_ref ref, const void *bytes, size_t len, ssize_t result)
{
    struct iovec piece = {(void *)(uintptr_t)bytes, len};
    return was_written(fd, ref, &piece, 1, result);
}

ssize_t hook_send(int fd, const void *bytes, size_t len, int flags)
{
    send_fn real = REAL(send_fn, send);
    sl_http_ref ref = sl_http_find(fd);
    if (SL_UNLIKELY(!real))
        return missing();
    if (!ref || flags & MSG_OOB)
        return real(fd, bytes, len, flags);
    return was_written_flat(fd, ref, bytes, len, real(fd, bytes, len, flags));
}

ssize_t hook_sendto(int fd, const void *bytes, size_t len, int flags, const struct sockaddr *address, socklen_t size)
{
    sendto_fn real = REAL(sendto_fn, sendto);
    sl_http_ref ref = sl_http_find(fd);
    if (SL_UNLIKELY(!real))
        return missing();
    if (!ref || flags & MSG_OOB)
        return real(fd, bytes, len, flags, address, size);
    return was_written_flat(fd, ref, bytes, len, real(fd, bytes, len, flags, address, size));
}

ssize_t hook_write(int fd, const void *bytes, size_t len)
{
    write_fn real = REAL(write_fn, write);
    sl_http_ref ref = sl_http_find(fd);
    if (SL_UNLIKELY(!real))
        return missing();
    if (!ref)
        return real(fd, bytes, len);
    return was_written_flat(fd, ref, bytes, len, real(fd, bytes, len));
}

ssize_t hook_writev(int fd, const struct iovec *pieces, int count)
{
    vector_fn real = REAL(vector_fn, writev);
    sl_http_ref ref = sl_http_find(fd);
    if (SL_UNLIKELY(!real))
        return missing();
    if (!ref || count < 0)
        return real(fd, pieces, count);
    return was_written(fd, ref, pieces, (size_t)count, real(fd, pieces, count));
}

ssize_t hook_sendmsg(int fd, const struct msghdr *message, int flags)
{
    sendmsg_fn real = REAL(sendmsg_fn, sendmsg);
    sl_http_ref ref = sl_http_find(fd);
    if (SL_UNLIKELY(!real))
        return missing();
    if (!ref || !message || flags & MSG_OOB)
        return real(fd, message, flags);
    return was_written(fd, ref, message->msg_iov, message->msg_iovlen, real(fd, message, flags));
}

static ssize_t send_file(sendfile_fn real, int to, int from, off_t *offset, size_t count)
{
    sl_http_ref ref = sl_http_find(to);
    if (SL_UNLIKELY(!real))
        return missing();
    ssize_t result = real(to, from, offset, count);
    int kept = errno;
    if (ref && result > 0)
        sl_http_was_sent(to, ref, (uint64_t)result);
    else if (ref && result < 0)
        sl_http_failed(to, ref, kept);
    errno = kept;
    return result;
}

ssize_t hook_sendfile(int to, int from, off_t *offset, size_t count)
{
    return send_file(REAL(sendfile_fn, sendfile), to, from, offset, count);
}

ssize_t hook_sendfile64(int to, int from, off_t *offset, size_t count)
{
    return send_file(REAL(sendfile_fn, sendfile64), to, from, offset, count);
}

/* ---- ending ---- */

int hook_shutdown(int fd, int how)
{
    shutdown_fn real = REAL(shutdown_fn, shutdown);
    sl_http_ref ref = sl_http_find(fd);
    if (ref && how != SHUT_RD)
        sl_http_closing(fd, ref);
    return real ? real(fd, how) : (int)missing();
}

int hook_close(int fd)
{
    close_fn real = REAL(close_fn, close);
    sl_http_ref ref = sl_http_find(fd);
    if (SL_UNLIKELY(ref != 0))
        sl_http_closing(fd, ref);
    return real ? real(fd) : (int)missing();
}

int hook_dup2(int from, int to)
{
    dup2_fn real = REAL(dup2_fn, dup2);
    sl_http_ref ref = sl_http_find(to);
    if (SL_UNLIKELY(ref != 0 && from != to))
        sl_http_closing(to, ref);
    return real ? real(from, to) : (int)missing();
}
