/* Every read, write and connect of the gateway failing in turn. */
#include "src/gateway/test_front.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>

/* ---- the calls that libuv makes, with one of them going wrong ---- */

typedef enum fault {
    FAULT_NONE = 0,
    FAULT_WRITE_BROKEN, /* EPIPE */
    FAULT_WRITE_AGAIN,  /* EAGAIN: nothing taken */
    FAULT_WRITE_SHORT,  /* one byte taken */
    FAULT_READ_BROKEN,  /* ECONNRESET */
    FAULT_READ_SHORT,   /* one byte given */
    FAULT_CONNECT,      /* ECONNREFUSED */
    FAULT_COUNT
} fault;

static _Atomic int wrong;    /* fault */
static _Atomic long nth;     /* call from now that goes wrong */
static _Atomic int happened; /* how many did */

#define IN_PLACE __attribute__((visibility("default"))) /* of the C library's, for libuv too */

/* True for the call that is to go wrong. The gateway's sockets do not block; those of the tests do. */
static bool goes_wrong(int fd, fault first, fault last)
{
    struct stat what;
    int kind = wrong;
    if (kind < (int)first || kind > (int)last || fstat(fd, &what) != 0 || !S_ISSOCK(what.st_mode) ||
        !(fcntl(fd, F_GETFL) & O_NONBLOCK))
        return false;
    if (atomic_fetch_sub(&nth, 1) != 0)
        return false;
    happened++;
    return true;
}

IN_PLACE ssize_t write(int fd, const void *data, size_t len)
{
    if (goes_wrong(fd, FAULT_WRITE_BROKEN, FAULT_WRITE_SHORT)) {
        if (wrong == FAULT_WRITE_SHORT)
            return syscall(SYS_write, fd, data, (size_t)1);
        errno = wrong == FAULT_WRITE_AGAIN ? EAGAIN : EPIPE;
        return -1;
    }
    return syscall(SYS_write, fd, data, len);
}

IN_PLACE ssize_t writev(int fd, const struct iovec *pieces, int count)
{
    if (goes_wrong(fd, FAULT_WRITE_BROKEN, FAULT_WRITE_SHORT)) {
        if (wrong == FAULT_WRITE_SHORT)
            return syscall(SYS_write, fd, pieces[0].iov_base, (size_t)1);
        errno = wrong == FAULT_WRITE_AGAIN ? EAGAIN : EPIPE;
        return -1;
    }
    return syscall(SYS_writev, fd, pieces, count);
}

IN_PLACE ssize_t read(int fd, void *data, size_t len)
{
    if (goes_wrong(fd, FAULT_READ_BROKEN, FAULT_READ_SHORT)) {
        if (wrong == FAULT_READ_SHORT)
            return syscall(SYS_read, fd, data, (size_t)1);
        errno = ECONNRESET;
        return -1;
    }
    return syscall(SYS_read, fd, data, len);
}

IN_PLACE int connect(int fd, const struct sockaddr *address, socklen_t len)
{
    if (goes_wrong(fd, FAULT_CONNECT, FAULT_CONNECT)) {
        errno = ECONNREFUSED;
        return -1;
    }
    return (int)syscall(SYS_connect, fd, address, len);
}

/* ---- what the client may see ---- */

#define STREAM                                                                                                         \
    "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"                         \
    "9\r\ndata: 1\n\n\r\n9\r\ndata: 2\n\n\r\ne\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"
#define STREAM_BODY "data: 1\n\ndata: 2\n\ndata: [DONE]\n\n"

typedef struct exchange_row {
    const char *answer;
    const char *request;
    const char *body;
} exchange_row;

static const exchange_row rows[] = {
    {UNARY, "{\"model\":\"m\"}", NULL},
    {STREAM, "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true}}", STREAM_BODY},
};

/* 1: the right answer in full; 0: none, or one that is seen to be broken off, or an honest 502; else a failure. */
static int outcome_of(front *f, const exchange_row *row)
{
    nf_message m = {.status = -1};
    int fd = post(f, "/v1/chat/completions", "", row->request);
    bool read = nf_read_message(fd, false, false, &m);
    close(fd);
    if (!read)
        return 0;
    const char *whole = row->body ? row->body : strstr(UNARY, "\r\n\r\n") + 4;
    bool right = m.status == 200 && m.complete && sl_str_eq_c(m.body, whole);
    int outcome = right ? 1 : m.status == 502 || !m.complete ? 0 : -1;
    if (outcome < 0)
        sl_test_failed(__FILE__, __LINE__, "status %d, '%.*s'", m.status, (int)m.body.len, m.body.ptr);
    nf_message_free(&m);
    return outcome;
}

/* One call goes wrong within three requests; behind it all is well again. Returns whether there was such a call. */
static bool run_with(const exchange_row *row, fault kind, long number)
{
    script *s = script_start(row->answer);
    front *f = front_of(s->server.port);
    happened = 0;
    nth = number;
    wrong = (int)kind;
    int good = 0;
    for (int i = 0; i < 3; i++)
        good += outcome_of(f, row);
    wrong = FAULT_NONE;
    bool hit = happened > 0;
    bool harmless = kind == FAULT_WRITE_AGAIN || kind == FAULT_WRITE_SHORT || kind == FAULT_READ_SHORT;
    if (good < (harmless || !hit ? 3 : 2))
        sl_test_failed(__FILE__, __LINE__, "fault %d in call %ld: %d of 3 good", kind, number, good);
    CHECK_EQ(outcome_of(f, row), 1);
    front_stop(f);
    script_stop(s);
    return hit;
}

SL_TEST(one_call_that_fails_costs_one_request_at_most)
{
    for (size_t r = 0; r < sizeof rows / sizeof *rows; r++) {
        for (int kind = FAULT_WRITE_BROKEN; kind < FAULT_COUNT; kind++) {
            long number = 0;
            while (number < 40 && run_with(&rows[r], (fault)kind, number))
                number++;
            CHECK(number >= (kind == FAULT_CONNECT ? 1 : 6) && number < 40); /* each was reached */
        }
    }
}
