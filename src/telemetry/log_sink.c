/* The log sink. */
#include "src/telemetry/log_sink.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/clock.h"
#include "src/base/limits.h"
#include "src/base/mem.h"

#define MAX_TEXT_BYTES SL_MAX_OTLP_REQUEST_BYTES /* lines of one request */
#define KEEP_BYTES (256u * 1024)                 /* memory kept between requests */
#define MAX_WAIT_MS 2000                         /* for a descriptor that takes nothing */

struct sl_log_sink {
    /* Constant. */
    char *path; /* NULL: a descriptor of somebody else */
    sl_log_format format;
    /* The sender's thread. */
    int fd;
    size_t piece; /* most bytes of one write */
    sl_buf text;  /* lines of the request at hand */
    sl_buf rest;  /* end of a line whose beginning is out */
    /* Any thread. */
    atomic_bool reopen;
    _Atomic uint64_t written;
    _Atomic uint64_t lost;
};

/* ---- writing ---- */

/* A file takes large writes. Pipes, terminals and sockets get pieces that they take whole once they say they are ready.
 */
static size_t piece_of(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) ? 64u * 1024 : PIPE_BUF;
}

/* Waits until the descriptor takes bytes. 0, SL_ETIMEOUT, SL_ECLOSED. */
static int wait_writable(int fd, uint64_t deadline_ns)
{
    for (;;) {
        uint64_t now = sl_mono_ns();
        uint64_t left_ms = now >= deadline_ns ? 0 : (deadline_ns - now + 999999) / 1000000;
        struct pollfd p = {fd, POLLOUT, 0};
        int n = poll(&p, 1, (int)left_ms);
        if (n > 0)
            return p.revents & POLLOUT ? 0 : SL_ECLOSED;
        if (n == 0)
            return SL_ETIMEOUT;
        if (errno != EINTR)
            return SL_EIO;
    }
}

/* Writes as much as goes until the deadline. `ret_done` is set in any case. */
static int write_until(int fd, size_t piece, sl_str s, uint64_t deadline_ns, size_t *ret_done)
{
    SL_ASSERT(ret_done && (s.ptr || !s.len));
    size_t done = 0;
    int error = 0;
    while (!error && done < s.len) {
        error = wait_writable(fd, deadline_ns);
        if (error)
            break;
        ssize_t n = write(fd, s.ptr + done, s.len - done < piece ? s.len - done : piece);
        if (n > 0)
            done += (size_t)n;
        else if (n < 0 && errno == EAGAIN && sl_mono_ns() >= deadline_ns)
            error = SL_ETIMEOUT;
        else if (n < 0 && errno != EAGAIN && errno != EINTR)
            error = errno == EPIPE ? SL_ECLOSED : SL_EIO;
    }
    *ret_done = done;
    return error;
}

/* Length of the whole lines at the front that make up at most `max` bytes; of the first line when it is longer. */
static size_t whole_lines(sl_str s, size_t max)
{
    SL_ASSERT(s.ptr && s.len && max);
    if (s.len <= max)
        return s.len;
    const char *last = memrchr(s.ptr, '\n', max);
    if (last)
        return (size_t)(last - s.ptr) + 1;
    size_t end = sl_str_chr(s, '\n');
    return end == SL_NPOS ? s.len : end + 1;
}

static size_t count_lines(sl_str s)
{
    size_t lines = 0;
    for (size_t at = 0; at < s.len; lines++) {
        size_t end = sl_str_chr(sl_str_sub(s, at, s.len), '\n');
        if (end == SL_NPOS)
            break;
        at += end + 1;
    }
    return lines;
}

/* Keeps what is missing of the line that `done` bytes have cut. */
static void keep_rest(sl_log_sink *sink, sl_str s, size_t done)
{
    SL_ASSERT(sink && (s.ptr || !s.len));
    sl_buf_clear(&sink->rest);
    if (done == 0 || s.ptr[done - 1] == '\n')
        return;
    sl_str rest = sl_str_sub(s, done, s.len);
    size_t end = sl_str_chr(rest, '\n');
    if (sl_buf_put(&sink->rest, rest.ptr, end == SL_NPOS ? rest.len : end + 1) != 0) {
        /* No memory for the rest: at least the next line begins on its own. */
        sl_buf_clear(&sink->rest);
        (void)sl_buf_put_char(&sink->rest, '\n');
    }
}

/* Finishes the line that an earlier call has begun. */
static int write_rest(sl_log_sink *sink, uint64_t deadline_ns)
{
    SL_ASSERT(sink);
    size_t done = 0;
    int error = write_until(sink->fd, sink->piece, sl_buf_str(&sink->rest), deadline_ns, &done);
    sl_buf_consume(&sink->rest, done);
    return error;
}

/* Writes all `lines`; `ret_written` of them went out, or will be finished first thing. */
static int write_text(sl_log_sink *sink, uint64_t deadline_ns, size_t lines, size_t *ret_written)
{
    SL_ASSERT(sink && ret_written);
    sl_str s = sl_buf_str(&sink->text);
    size_t begun = 0;
    int error = write_rest(sink, deadline_ns);
    while (!error && s.len) {
        size_t len = whole_lines(s, sink->piece);
        size_t done = 0;
        error = write_until(sink->fd, sink->piece, sl_str_of(s.ptr, len), deadline_ns, &done);
        keep_rest(sink, s, done);
        begun = sink->rest.len ? 1 : 0;
        s = sl_str_sub(s, done, s.len);
    }
    if (error) /* what is missing, but for the end of a line that is begun */
        lines -= count_lines(s) - begun;
    if (error == SL_ECLOSED)
        sl_buf_clear(&sink->rest);
    *ret_written = lines;
    return error;
}

/* As write_text; a reader that has gone must not end the host by SIGPIPE. */
static int write_text_quietly(sl_log_sink *sink, uint64_t deadline_ns, size_t lines, size_t *ret_written)
{
    sigset_t pipe_only, before, pending;
    sigemptyset(&pipe_only);
    sigaddset(&pipe_only, SIGPIPE);
    sigpending(&pending);
    bool was_pending = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_only, &before);
    int error = write_text(sink, deadline_ns, lines, ret_written);
    if (error == SL_ECLOSED && !was_pending) {
        struct timespec none = {0, 0};
        while (sigtimedwait(&pipe_only, NULL, &none) < 0 && errno == EINTR) {
        }
    }
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return error;
}

/* ---- the exporter ---- */

static int open_file(const char *path)
{
    return open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0640);
}

/* Opens the file again when asked for; the old one goes on when the new one cannot be opened. */
static void maybe_reopen(sl_log_sink *sink, uint64_t deadline_ns)
{
    SL_ASSERT(sink);
    if (!sink->path || !atomic_exchange(&sink->reopen, false))
        return;
    (void)write_rest(sink, deadline_ns);
    int fd = open_file(sink->path);
    if (fd < 0)
        return;
    (void)close(sink->fd);
    sl_buf_clear(&sink->rest);
    sink->fd = fd;
    sink->piece = piece_of(fd);
}

static int deliver(void *user, sl_signal signal, sl_str request, size_t items, uint64_t timeout_ms,
                   uint64_t *ret_retry_after_ms, uint64_t *ret_rejected)
{
    sl_log_sink *sink = user;
    (void)ret_retry_after_ms;
    if (signal != SL_SIGNAL_LOGS)
        return SL_EINVAL;
    uint64_t wait_ms = timeout_ms < MAX_WAIT_MS ? timeout_ms : MAX_WAIT_MS;
    uint64_t deadline = sl_mono_ns() + wait_ms * 1000000;
    maybe_reopen(sink, deadline);
    size_t lines = 0, written = 0;
    sl_buf_clear(&sink->text);
    int error = sl_log_lines(request, sink->format, &sink->text, &lines);
    int write_error = write_text_quietly(sink, deadline, lines, &written);
    SL_ASSERT(written <= lines);
    if (sink->text.cap > KEEP_BYTES)
        sl_buf_done(&sink->text);
    size_t lost = items > written ? items - written : 0;
    atomic_fetch_add_explicit(&sink->written, written, memory_order_relaxed);
    atomic_fetch_add_explicit(&sink->lost, lost, memory_order_relaxed);
    if (ret_rejected)
        *ret_rejected = written ? lost : 0;
    /* Lines that are out cannot be taken back: such a request is delivered, with some items refused. */
    if (written || items == 0)
        return 0;
    return write_error ? write_error : error;
}

static void sink_free(void *user)
{
    sl_log_sink *sink = user;
    if (!sink)
        return;
    if (sink->path && sink->fd >= 0)
        (void)close(sink->fd);
    sl_buf_done(&sink->text);
    sl_buf_done(&sink->rest);
    sl_free(sink->path);
    sl_free(sink);
}

static int sink_new(int fd, char *path, sl_log_format format, sl_exporter *ret_exporter)
{
    SL_ASSERT(ret_exporter);
    sl_log_sink *sink = sl_calloc(1, sizeof *sink);
    if (!sink)
        return SL_ENOMEM;
    sink->path = path;
    sink->format = format;
    sink->fd = fd;
    sink->piece = piece_of(fd);
    sl_buf_init(&sink->text, MAX_TEXT_BYTES);
    sl_buf_init(&sink->rest, MAX_TEXT_BYTES);
    sl_exporter exporter;
    memset(&exporter, 0, sizeof exporter);
    exporter.name = path ? path : "log lines";
    exporter.user = sink;
    exporter.signals = SL_SIGNAL_BIT(SL_SIGNAL_LOGS);
    exporter.deliver = deliver;
    exporter.free = sink_free;
    exporter.immediate = true;
    *ret_exporter = exporter;
    return 0;
}

int sl_log_sink_new(int fd, sl_log_format format, sl_exporter *ret_exporter)
{
    SL_ASSERT(ret_exporter);
    if (fd < 0 || fcntl(fd, F_GETFD) < 0)
        return SL_EINVAL;
    return sink_new(fd, NULL, format, ret_exporter);
}

int sl_log_sink_open(const char *path, sl_log_format format, sl_exporter *ret_exporter)
{
    SL_ASSERT(path && ret_exporter);
    char *copy = sl_strndup(path, strlen(path));
    if (!copy)
        return SL_ENOMEM;
    int fd = open_file(path);
    int error = fd < 0 ? SL_EIO : sink_new(fd, copy, format, ret_exporter);
    if (error) {
        if (fd >= 0)
            (void)close(fd);
        sl_free(copy);
    }
    return error;
}

void sl_log_sink_reopen(sl_exporter *exporter)
{
    SL_ASSERT(exporter && exporter->deliver == deliver);
    atomic_store(&((sl_log_sink *)exporter->user)->reopen, true);
}

void sl_log_sink_stats(const sl_exporter *exporter, uint64_t *ret_written, uint64_t *ret_lost)
{
    SL_ASSERT(exporter && exporter->deliver == deliver && ret_written && ret_lost);
    const sl_log_sink *sink = exporter->user;
    *ret_written = atomic_load_explicit(&sink->written, memory_order_relaxed);
    *ret_lost = atomic_load_explicit(&sink->lost, memory_order_relaxed);
}
