/*
 * For tests: a TCP server that plays a script: for each request in turn it reads head and body, then writes the bytes
 * it is told. One thread, one connection at a time.
 */
#ifndef SL_NET_LITE_TEST_HTTP_SERVER_H
#define SL_NET_LITE_TEST_HTTP_SERVER_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

typedef struct http_act {
    const char *answer;     /* raw bytes; NULL: none */
    size_t answer_len;      /* 0: strlen */
    bool close;             /* close afterwards */
    bool hang;              /* keep the connection, say nothing */
    bool refuse_early;      /* answer before the body is read, then close */
    unsigned byte_pause_us; /* write byte by byte, with this pause */
    unsigned read_pause_us; /* read slowly */
} http_act;

typedef struct http_server {
    int family;
    int listener;
    int port;
    pthread_t thread;
    _Atomic bool stop;
    http_act script[16];
    size_t script_len;
    _Atomic size_t requests, connections;
    pthread_mutex_t lock;
    char last[1 << 16]; /* head of the last request */
    _Atomic size_t last_body;
} http_server;

static inline bool http_wait(const http_server *s, int fd)
{
    struct pollfd p = {fd, POLLIN, 0};
    while (!s->stop) {
        if (poll(&p, 1, 20) > 0)
            return true;
    }
    return false;
}

static inline void http_write(const http_act *act, int fd)
{
    size_t len = act->answer_len ? act->answer_len : strlen(act->answer);
    for (size_t at = 0; act->byte_pause_us && at < len; at++) {
        (void)send(fd, act->answer + at, 1, MSG_NOSIGNAL);
        usleep(act->byte_pause_us);
    }
    if (!act->byte_pause_us)
        (void)send(fd, act->answer, len, MSG_NOSIGNAL);
}

/* One request. False when the connection is over. */
static inline bool http_serve(http_server *s, int fd)
{
    static char in[1 << 16];
    size_t have = 0, want = 0, body = 0;
    const http_act *act = NULL;
    bool has_head = false;
    while (!has_head || body < want) {
        if (!http_wait(s, fd))
            return false;
        if (act && act->read_pause_us)
            usleep(act->read_pause_us);
        ssize_t got = recv(fd, in + (has_head ? 0 : have), sizeof in - 1 - (has_head ? 0 : have), 0);
        if (got <= 0)
            return false;
        if (has_head) {
            body += (size_t)got;
            continue;
        }
        have += (size_t)got;
        in[have] = 0;
        char *end = strstr(in, "\r\n\r\n");
        if (!end)
            continue;
        has_head = true;
        char *length = strcasestr(in, "content-length:");
        want = length ? strtoul(length + 15, NULL, 10) : 0;
        body = have - (size_t)(end + 4 - in);
        size_t index = s->requests++;
        act = &s->script[index < s->script_len ? index : s->script_len - 1];
        end[4] = 0;
        pthread_mutex_lock(&s->lock);
        (void)snprintf(s->last, sizeof s->last, "%s", in);
        pthread_mutex_unlock(&s->lock);
        if (act->refuse_early)
            break;
    }
    s->last_body = body;
    if (act->answer)
        http_write(act, fd);
    while (act->hang && !s->stop)
        usleep(10000);
    return !act->close && !act->refuse_early;
}

static inline void *http_run(void *user)
{
    http_server *s = user;
    while (http_wait(s, s->listener)) {
        int fd = accept(s->listener, NULL, NULL);
        if (fd < 0)
            continue;
        s->connections++;
        int one = 1;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
        while (!s->stop && http_serve(s, fd)) {
        }
        close(fd);
    }
    return NULL;
}

/* Starts it; `v6`: on ::1. False when the machine has no such address. */
static inline bool http_start(http_server *s, const http_act *script, size_t script_len, bool v6)
{
    memset(s, 0, sizeof *s);
    pthread_mutex_init(&s->lock, NULL);
    memcpy(s->script, script, script_len * sizeof *script);
    s->script_len = script_len;
    struct sockaddr_in v4_address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    struct sockaddr_in6 v6_address = {.sin6_family = AF_INET6, .sin6_addr = IN6ADDR_LOOPBACK_INIT};
    struct sockaddr *address = v6 ? (struct sockaddr *)&v6_address : (struct sockaddr *)&v4_address;
    socklen_t len = v6 ? sizeof v6_address : sizeof v4_address;
    s->listener = socket(v6 ? AF_INET6 : AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(s->listener, address, len) || listen(s->listener, 16) || getsockname(s->listener, address, &len)) {
        close(s->listener);
        return false;
    }
    s->port = ntohs(v6 ? v6_address.sin6_port : v4_address.sin_port);
    return pthread_create(&s->thread, NULL, http_run, s) == 0;
}

static inline void http_stop(http_server *s)
{
    s->stop = true;
    pthread_join(s->thread, NULL);
    close(s->listener);
    pthread_mutex_destroy(&s->lock);
}

#endif
