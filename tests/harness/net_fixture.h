/*
 * For tests of what talks over sockets: blocking clients with deadlines, scripted servers, a loop on a thread of its
 * own. Everything is on loopback and waits at most NF_PATIENCE_MS.
 */
#ifndef SL_TEST_NET_FIXTURE_H
#define SL_TEST_NET_FIXTURE_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/net/loop.h"
#include "tests/harness/sl_test.h"

#define NF_PATIENCE_MS (10000 * SL_TEST_SLOW)
/* Inline: even without optimisation, a program has only what it uses, and so needs libuv only when it uses a loop. */
#define NF_UNUSED inline __attribute__((unused))

/* ---- sockets ---- */

NF_UNUSED static void nf_sleep_ms(unsigned ms)
{
    struct timespec t = {ms / 1000, (long)(ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

NF_UNUSED static int nf_listen(uint16_t *ret_port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof a;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || bind(fd, (struct sockaddr *)&a, sizeof a) != 0 || listen(fd, 512) != 0 ||
        getsockname(fd, (struct sockaddr *)&a, &len) != 0)
        abort();
    *ret_port = ntohs(a.sin_port);
    return fd;
}

NF_UNUSED static int nf_connect(uint16_t port)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {NF_PATIENCE_MS / 1000, 0};
    int on = 1;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) != 0)
        abort();
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return fd;
}

NF_UNUSED static bool nf_send(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = send(fd, data, len, MSG_NOSIGNAL);
        if (n <= 0)
            return false;
        data += n;
        len -= (size_t)n;
    }
    return true;
}

NF_UNUSED static bool nf_send_c(int fd, const char *text)
{
    return nf_send(fd, text, strlen(text));
}

/* True when the peer has closed (or reset) within `ms`; bytes before that are thrown away. */
NF_UNUSED static bool nf_closed_within(int fd, unsigned ms)
{
    uint64_t until = sl_mono_ns() + (uint64_t)ms * 1000000;
    char bytes[4096];
    for (;;) {
        uint64_t now = sl_mono_ns();
        struct pollfd p = {fd, POLLIN, 0};
        if (now >= until || poll(&p, 1, (int)((until - now) / 1000000) + 1) <= 0)
            return false;
        if (recv(fd, bytes, sizeof bytes, 0) <= 0)
            return true;
    }
}

/* A received HTTP message. */
typedef struct nf_message {
    char *data; /* all bytes, NUL-terminated */
    size_t len;
    size_t head_len;
    int status;
    bool complete; /* ended where its framing says */
    sl_str body;   /* chunk framing taken off */
} nf_message;

NF_UNUSED static void nf_message_free(nf_message *m)
{
    free(m->data);
    memset(m, 0, sizeof *m);
}

/* Value of a field (name as it was sent, any case of letters); NULL when absent. The value ends at a CR. */
NF_UNUSED static const char *nf_field(const nf_message *m, const char *name)
{
    size_t len = strlen(name);
    const char *line = m->data;
    const char *end = m->data + m->head_len;
    while (line && line < end) {
        if (strncasecmp(line, name, len) == 0 && line[len] == ':') {
            line += len + 1;
            return line + strspn(line, " ");
        }
        line = strstr(line, "\r\n");
        line = line ? line + 2 : NULL;
    }
    return NULL;
}

NF_UNUSED static bool nf_field_is(const nf_message *m, const char *name, const char *value)
{
    const char *found = nf_field(m, name);
    return found && strncmp(found, value, strlen(value)) == 0 && found[strlen(value)] == '\r';
}

/* Takes chunk framing off, in place. True when the last chunk was there. */
NF_UNUSED static bool nf_dechunk(nf_message *m)
{
    char *from = m->data + m->head_len;
    char *end = m->data + m->len;
    char *to = from;
    char *start = to;
    bool done = false;
    while (from < end) {
        char *behind;
        size_t size = strtoul(from, &behind, 16);
        if (behind == from || behind + 2 > end)
            break;
        from = behind + 2;
        if (size == 0) {
            done = end - from >= 2;
            break;
        }
        if ((size_t)(end - from) < size + 2) {
            size = (size_t)(end - from) < size ? (size_t)(end - from) : size;
            memmove(to, from, size);
            to += size;
            break;
        }
        memmove(to, from, size);
        to += size;
        from += size + 2;
    }
    m->body = sl_str_of(start, (size_t)(to - start));
    return done;
}

/* Bytes that may be read without taking some of the next message. */
static size_t nf_want(const nf_message *m, size_t room)
{
    if (!m->head_len)
        return 1; /* a head is read byte by byte */
    const char *length = nf_field(m, "content-length");
    size_t left = length ? m->head_len + strtoul(length, NULL, 10) - m->len : room;
    return left < room ? left : room;
}

static bool nf_is_whole(const nf_message *m, bool no_body)
{
    const char *length = nf_field(m, "content-length");
    if (no_body || memcmp(m->data, "HTTP/1.1 204", 12) == 0)
        return m->len >= m->head_len;
    if (length)
        return m->len >= m->head_len + strtoul(length, NULL, 10);
    if (nf_field(m, "transfer-encoding"))
        return m->len - m->head_len >= 5 && memcmp(m->data + m->len - 5, "0\r\n\r\n", 5) == 0;
    return false;
}

/*
 * Reads one message: an answer, or a request when `request`. False when nothing came. Reads beyond it only behind a
 * chunked one. `no_body`: an answer to HEAD.
 */
NF_UNUSED static bool nf_read_message(int fd, bool request, bool no_body, nf_message *ret)
{
    size_t cap = 65536;
    nf_message m = {.data = malloc(cap + 1)};
    if (!m.data)
        abort();
    m.data[0] = 0;
    for (;;) {
        if (m.head_len) {
            bool bodyless =
                no_body || (request && !nf_field(&m, "content-length") && !nf_field(&m, "transfer-encoding"));
            if ((m.complete = nf_is_whole(&m, bodyless)))
                break;
        }
        if (m.len == cap) {
            cap *= 2;
            m.data = realloc(m.data, cap + 1);
        }
        ssize_t n = recv(fd, m.data + m.len, nf_want(&m, cap - m.len), 0);
        if (n <= 0)
            break;
        m.len += (size_t)n;
        m.data[m.len] = 0;
        if (!m.head_len && m.len >= 4 && memcmp(m.data + m.len - 4, "\r\n\r\n", 4) == 0)
            m.head_len = m.len;
    }
    if (m.len == 0) {
        free(m.data);
        return false;
    }
    if (!request && m.len > 12)
        m.status = atoi(m.data + 9);
    m.body = sl_str_of(m.data + m.head_len, m.len - m.head_len);
    if (m.head_len && nf_field(&m, "transfer-encoding"))
        m.complete = nf_dechunk(&m);
    else if (m.head_len && !nf_field(&m, "content-length") && !request && !no_body)
        m.complete = true;
    *ret = m;
    return true;
}

/* Sends a request on a connection of its own and reads the answer. */
NF_UNUSED static nf_message nf_ask(uint16_t port, const char *request)
{
    nf_message m = {.status = -1};
    int fd = nf_connect(port);
    (void)nf_send_c(fd, request);
    (void)nf_read_message(fd, false, strncmp(request, "HEAD", 4) == 0, &m);
    close(fd);
    return m;
}

/* ---- a loop on a thread ---- */

typedef struct nf_loop {
    sl_loop loop;
    uv_async_t wake;
    pthread_t thread;
    void (*on_stop)(void *user); /* on the loop's thread: closes what was set up */
    void *user;
} nf_loop;

NF_UNUSED static void nf_on_wake(uv_async_t *wake)
{
    nf_loop *l = wake->data;
    uv_close((uv_handle_t *)wake, NULL);
    if (l->on_stop)
        l->on_stop(l->user);
}

NF_UNUSED static void *nf_run(void *arg)
{
    nf_loop *l = arg;
    (void)uv_run(&l->loop.uv, UV_RUN_DEFAULT);
    return NULL;
}

/* After the servers have been set up on l->loop by the caller's thread. */
NF_UNUSED static void nf_loop_start(nf_loop *l, void (*on_stop)(void *user), void *user)
{
    l->on_stop = on_stop;
    l->user = user;
    if (uv_async_init(&l->loop.uv, &l->wake, nf_on_wake) != 0)
        abort();
    l->wake.data = l;
    if (pthread_create(&l->thread, NULL, nf_run, l) != 0)
        abort();
}

NF_UNUSED static void nf_loop_stop(nf_loop *l)
{
    (void)uv_async_send(&l->wake);
    (void)pthread_join(l->thread, NULL);
}

/* ---- a scripted server ---- */

typedef struct nf_server nf_server;
struct nf_server {
    /* Serves one connection (number from 0); returns when it is done with it. */
    void (*serve)(nf_server *server, int fd, int number);
    void *user;
    uint16_t port;
    int listen_fd;
    pthread_t thread;
    pthread_t connections[64];
    _Atomic int connection_count;
    _Atomic int requests;
    _Atomic bool stopping;
};

typedef struct nf_connection {
    nf_server *server;
    int fd;
    int number;
} nf_connection;

static void *nf_serve_one(void *arg)
{
    nf_connection c = *(nf_connection *)arg;
    struct timeval patience = {NF_PATIENCE_MS / 1000, 0};
    int on = 1;
    free(arg);
    (void)setsockopt(c.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    (void)setsockopt(c.fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    (void)setsockopt(c.fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    c.server->serve(c.server, c.fd, c.number);
    close(c.fd);
    return NULL;
}

static void *nf_serve_all(void *arg)
{
    nf_server *s = arg;
    while (s->connection_count < 64) {
        int fd = accept(s->listen_fd, NULL, NULL);
        if (fd < 0 || s->stopping) {
            if (fd >= 0)
                close(fd);
            break;
        }
        nf_connection *c = malloc(sizeof *c);
        int number = s->connection_count++; /* before it is served: whoever has an answer sees it counted */
        *c = (nf_connection){s, fd, number};
        if (pthread_create(&s->connections[number], NULL, nf_serve_one, c) != 0)
            abort();
    }
    return NULL;
}

NF_UNUSED static void nf_server_start(nf_server *s, void (*serve)(nf_server *, int, int), void *user)
{
    memset(s, 0, sizeof *s);
    s->serve = serve;
    s->user = user;
    s->listen_fd = nf_listen(&s->port);
    (void)signal(SIGPIPE, SIG_IGN);
    if (pthread_create(&s->thread, NULL, nf_serve_all, s) != 0)
        abort();
}

/* Ends after those it talks to have closed. */
NF_UNUSED static void nf_server_stop(nf_server *s)
{
    s->stopping = true;
    (void)shutdown(s->listen_fd, SHUT_RDWR);
    (void)pthread_join(s->thread, NULL);
    close(s->listen_fd);
    for (int i = 0; i < s->connection_count; i++)
        (void)pthread_join(s->connections[i], NULL);
}

#endif
