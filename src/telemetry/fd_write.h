/* Writing all of a text to a descriptor that is not the library's own: standard output, a file. */
#ifndef SL_TELEMETRY_FD_WRITE_H
#define SL_TELEMETRY_FD_WRITE_H

#include <errno.h>
#include <poll.h>
#include <unistd.h>

#include "src/base/sync.h"

/*
 * Writes everything by `deadline_ns`, also to a descriptor in non-blocking mode; `*ret_written` is what has been
 * written in any case. Errors: SL_EIO, SL_ETIMEOUT.
 */
static inline int sl_fd_write_all(int fd, sl_str text, uint64_t deadline_ns, size_t *ret_written)
{
    size_t at = 0;
    *ret_written = 0;
    while (at < text.len) {
        ssize_t put = write(fd, text.ptr + at, text.len - at);
        if (put > 0) {
            at += (size_t)put;
            *ret_written = at;
            continue;
        }
        if (put < 0 && errno == EINTR)
            continue;
        if (put < 0 && errno != EAGAIN && errno != EWOULDBLOCK)
            return SL_EIO;
        uint64_t left_ms = sl_deadline_left_ms(deadline_ns);
        if (left_ms == 0)
            return SL_ETIMEOUT;
        struct pollfd p = {fd, POLLOUT, 0};
        (void)poll(&p, 1, left_ms > 1000 ? 1000 : (int)left_ms);
    }
    return 0;
}

#endif
