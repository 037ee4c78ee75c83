/*
 * For tests: calls of the C library that fail on demand, one in turn.
 *
 * Included by one test program, it puts functions of its own in front of the C library's, for what is linked into the
 * program statically; shared libraries and the C library itself are not touched. A scenario is then run once for each
 * call that it makes, with that call failing:
 *
 *     static const sl_fail_row rows[] = {{SL_CALL_OPEN, EMFILE}, {SL_CALL_WRITE, ENOSPC}, {SL_CALL_WRITE, 0}};
 *     sl_fail_each(rows, 3, scenario, user);      after each: no descriptor is left open
 *
 * Only calls of the thread that runs the scenario fail; those of others do after sl_fail_arm_others. An error of 0 is a
 * short transfer of one byte, or the end.
 */
#ifndef SL_TEST_FAIL_CALL_H
#define SL_TEST_FAIL_CALL_H

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tests/harness/sl_test.h"

typedef enum sl_call {
    SL_CALL_OPEN, /* and openat */
    SL_CALL_READ,
    SL_CALL_WRITE,
    SL_CALL_PREAD,
    SL_CALL_FTRUNCATE,
    SL_CALL_MMAP,
    SL_CALL_FSTAT,
    SL_CALL_FCNTL,
    SL_CALL_FLOCK,
    SL_CALL_FALLOCATE,
    SL_CALL_RENAME, /* and renameat2 */
    SL_CALL_OPENDIR,
    SL_CALL_STATVFS,
    SL_CALL_SOCKET,
    SL_CALL_BIND,
    SL_CALL_LISTEN,
    SL_CALL_SETSOCKOPT,
    SL_CALL_GETSOCKNAME,
    SL_CALL_CONNECT,
    SL_CALL_SEND, /* and sendmsg */
    SL_CALL_RECV,
    SL_CALL_ACCEPT, /* accept4 */
    SL_CALL_POLL,
    SL_CALL_EVENTFD,
    SL_CALL_THREAD, /* pthread_create */
    SL_CALL_COUNT
} sl_call;

typedef struct sl_fail_row {
    sl_call call;
    int error; /* errno; 0: a short transfer */
} sl_fail_row;

static struct {
    _Atomic bool hit;
    sl_call call;
    int error;
    _Atomic long left;
} sl_fail;
static _Thread_local bool sl_fail_here; /* calls of this thread fail */
static _Atomic bool sl_fail_elsewhere;  /* calls of all others do */

/* Whether this call is the one that fails; errno is set then. */
static inline bool sl_fails(sl_call call)
{
    if (!(sl_fail_here || sl_fail_elsewhere) || sl_fail.call != call || sl_fail.left-- != 0)
        return false;
    sl_fail.hit = true;
    errno = sl_fail.error;
    return true;
}

/* The result of a transfer that fails: -1, or the one byte that goes through. */
#define SL_FAIL_TRANSFER(number_, fd_, data_, len_, ...)                                                               \
    (sl_fail.error ? (ssize_t)-1 : (ssize_t)syscall(number_, fd_, data_, (len_) ? (size_t)1 : (size_t)0, ##__VA_ARGS__))

/* The C library's own function behind one of those below. */
#define SL_FAIL_REAL(name_) ((__typeof__(&name_))dlsym(RTLD_NEXT, #name_))

int open(const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    return sl_fails(SL_CALL_OPEN) ? -1 : (int)syscall(SYS_openat, AT_FDCWD, path, flags, mode);
}

int openat(int folder, const char *path, int flags, ...)
{
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    return sl_fails(SL_CALL_OPEN) ? -1 : (int)syscall(SYS_openat, folder, path, flags, mode);
}

ssize_t read(int fd, void *data, size_t len)
{
    if (sl_fails(SL_CALL_READ))
        return SL_FAIL_TRANSFER(SYS_read, fd, data, len);
    return syscall(SYS_read, fd, data, len);
}

ssize_t write(int fd, const void *data, size_t len)
{
    if (sl_fails(SL_CALL_WRITE))
        return SL_FAIL_TRANSFER(SYS_write, fd, data, len);
    return syscall(SYS_write, fd, data, len);
}

ssize_t pread(int fd, void *data, size_t len, off_t at)
{
    if (sl_fails(SL_CALL_PREAD))
        return SL_FAIL_TRANSFER(SYS_pread64, fd, data, len, at);
    return syscall(SYS_pread64, fd, data, len, at);
}

ssize_t send(int fd, const void *data, size_t len, int flags)
{
    if (sl_fails(SL_CALL_SEND))
        return SL_FAIL_TRANSFER(SYS_sendto, fd, data, len, flags, NULL, 0);
    return syscall(SYS_sendto, fd, data, len, flags, NULL, 0);
}

ssize_t sendmsg(int fd, const struct msghdr *message, int flags)
{
    if (!sl_fails(SL_CALL_SEND))
        return syscall(SYS_sendmsg, fd, message, flags);
    const struct iovec *first = message->msg_iov;
    while (!sl_fail.error && first->iov_len == 0)
        first++;
    return SL_FAIL_TRANSFER(SYS_sendto, fd, first->iov_base, first->iov_len, flags, NULL, 0);
}

ssize_t recv(int fd, void *data, size_t len, int flags)
{
    if (sl_fails(SL_CALL_RECV))
        return SL_FAIL_TRANSFER(SYS_recvfrom, fd, data, len, flags, NULL, NULL);
    return syscall(SYS_recvfrom, fd, data, len, flags, NULL, NULL);
}

int ftruncate(int fd, off_t len)
{
    return sl_fails(SL_CALL_FTRUNCATE) ? -1 : (int)syscall(SYS_ftruncate, fd, len);
}

void *mmap(void *at, size_t len, int protection, int flags, int fd, off_t offset)
{
    if (sl_fails(SL_CALL_MMAP))
        return MAP_FAILED;
    return (void *)syscall(SYS_mmap, at, len, protection, flags, fd, offset);
}

int fstat(int fd, struct stat *status)
{
    return sl_fails(SL_CALL_FSTAT) ? -1 : SL_FAIL_REAL(fstat)(fd, status);
}

int fcntl(int fd, int command, ...)
{
    va_list args;
    va_start(args, command);
    long argument = va_arg(args, long);
    va_end(args);
    return sl_fails(SL_CALL_FCNTL) ? -1 : (int)syscall(SYS_fcntl, fd, command, argument);
}

int flock(int fd, int operation)
{
    return sl_fails(SL_CALL_FLOCK) ? -1 : (int)syscall(SYS_flock, fd, operation);
}

int rename(const char *from, const char *to)
{
    return sl_fails(SL_CALL_RENAME) ? -1 : (int)syscall(SYS_renameat, AT_FDCWD, from, AT_FDCWD, to);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags)
{
    return sl_fails(SL_CALL_RENAME) ? -1 : (int)syscall(SYS_renameat2, from_folder, from, to_folder, to, flags);
}

int posix_fallocate(int fd, off_t offset, off_t len)
{
    if (sl_fails(SL_CALL_FALLOCATE))
        return sl_fail.error;
    return syscall(SYS_fallocate, fd, 0, offset, len) == 0 ? 0 : errno;
}

DIR *opendir(const char *path)
{
    return sl_fails(SL_CALL_OPENDIR) ? NULL : SL_FAIL_REAL(opendir)(path);
}

int statvfs(const char *path, struct statvfs *status)
{
    return sl_fails(SL_CALL_STATVFS) ? -1 : SL_FAIL_REAL(statvfs)(path, status);
}

int socket(int family, int type, int protocol)
{
    return sl_fails(SL_CALL_SOCKET) ? -1 : (int)syscall(SYS_socket, family, type, protocol);
}

int bind(int fd, const struct sockaddr *address, socklen_t len)
{
    return sl_fails(SL_CALL_BIND) ? -1 : (int)syscall(SYS_bind, fd, address, len);
}

int listen(int fd, int backlog)
{
    return sl_fails(SL_CALL_LISTEN) ? -1 : (int)syscall(SYS_listen, fd, backlog);
}

int setsockopt(int fd, int level, int name, const void *value, socklen_t len)
{
    return sl_fails(SL_CALL_SETSOCKOPT) ? -1 : (int)syscall(SYS_setsockopt, fd, level, name, value, len);
}

int getsockname(int fd, struct sockaddr *address, socklen_t *len)
{
    return sl_fails(SL_CALL_GETSOCKNAME) ? -1 : (int)syscall(SYS_getsockname, fd, address, len);
}

int connect(int fd, const struct sockaddr *address, socklen_t len)
{
    return sl_fails(SL_CALL_CONNECT) ? -1 : (int)syscall(SYS_connect, fd, address, len);
}

int accept4(int fd, struct sockaddr *address, socklen_t *len, int flags)
{
    return sl_fails(SL_CALL_ACCEPT) ? -1 : (int)syscall(SYS_accept4, fd, address, len, flags);
}

int poll(struct pollfd *polls, nfds_t count, int timeout_ms)
{
    return sl_fails(SL_CALL_POLL) ? -1 : (int)syscall(SYS_poll, polls, count, timeout_ms);
}

int eventfd(unsigned value, int flags);
int eventfd(unsigned value, int flags)
{
    return sl_fails(SL_CALL_EVENTFD) ? -1 : (int)syscall(SYS_eventfd2, value, flags);
}

int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*run)(void *), void *argument)
{
    if (sl_fails(SL_CALL_THREAD))
        return sl_fail.error;
    return SL_FAIL_REAL(pthread_create)(thread, attributes, run, argument);
}

/* ---- the driver ---- */

/* Descriptors that are open. */
static inline size_t sl_fail_open_fds(void)
{
    size_t count = 0;
    for (int fd = 0; fd < 1024; fd++)
        count += syscall(SYS_fcntl, fd, F_GETFD, 0) >= 0;
    return count;
}

/* The `nth` call of that kind fails from here on. */
static inline void sl_fail_arm(sl_fail_row row, long nth)
{
    sl_fail.hit = false;
    sl_fail.call = row.call;
    sl_fail.error = row.error;
    sl_fail.left = nth;
    sl_fail_here = true;
}

/* The same of any thread but the caller's, whose own calls go around: nf_… of net_fixture.h do not. */
static inline void sl_fail_arm_others(sl_fail_row row, long nth)
{
    sl_fail_arm(row, nth);
    sl_fail_here = false;
    sl_fail_elsewhere = true;
}

/* No call fails any more. Whether one did. */
static inline bool sl_fail_disarm(void)
{
    sl_fail_here = false;
    sl_fail_elsewhere = false;
    return sl_fail.hit;
}

/*
 * Runs a scenario for each row with the first, the second, … call of its kind failing, until none is left to fail.
 * The scenario checks what it sees itself; it may ask sl_fail.hit. Returns how many calls failed in all.
 */
static inline size_t sl_fail_each(const sl_fail_row *rows, size_t count, void (*scenario)(void *user), void *user)
{
    size_t failed = 0;
    for (size_t i = 0; i < count; i++) {
        for (long nth = 0; nth < 1000; nth++, failed++) {
            size_t fds = sl_fail_open_fds();
            sl_fail_arm(rows[i], nth);
            scenario(user);
            bool hit = sl_fail_disarm();
            if (sl_fail_open_fds() != fds)
                sl_test_failed(__FILE__, __LINE__, "call %d number %ld, error %d: %zu descriptors were open, now %zu",
                               (int)rows[i].call, nth, rows[i].error, fds, sl_fail_open_fds());
            if (!hit)
                break;
        }
    }
    return failed;
}

#endif
