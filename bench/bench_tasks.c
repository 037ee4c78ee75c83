/*
 * The client of the task benchmarks: HTTP POSTs at a steady rate or as fast as the answers come. One JSON line.
 *
 * bench_tasks HOST PORT PATH BODY CONNECTIONS RATE SECONDS
 *
 * RATE 0: each connection asks again as soon as it is answered. Otherwise so many a second, evenly spaced; the latency
 * counts from the moment at which a request was due, so that a server that falls behind is not flattered. A connection
 * that the server closes is opened anew. Answers other than 200 are counted as errors. The first fifth of the time, at
 * most a second, warms up and is not counted.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/clock.h"

#define MAX_CONNECTIONS 256
#define ANSWER_BYTES 65536

typedef struct connection {
    int fd;
    bool busy;
    uint64_t due_ns;
    size_t got;
    char answer[ANSWER_BYTES + 1];
} connection;

typedef struct bench {
    struct sockaddr_in address;
    char request[8192];
    size_t request_len;
    connection *all;
    size_t count, busy, next; /* `next`: where the search for an idle one goes on */
    int epoll;
    uint64_t begin_ns, count_ns, end_ns, interval_ns, due_ns;
    uint64_t *samples;
    size_t sample_count, sample_cap, errors;
    uint64_t last_ns; /* of the last counted answer */
} bench;

static bench b;

static void fail(const char *what)
{
    fprintf(stderr, "bench_tasks: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void open_connection(connection *c)
{
    int one = 1;
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (c->fd < 0 || connect(c->fd, (const struct sockaddr *)&b.address, sizeof b.address) != 0)
        fail("connect");
    (void)setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = c};
    if (epoll_ctl(b.epoll, EPOLL_CTL_ADD, c->fd, &event) != 0)
        fail("epoll");
}

static void ask(connection *c, uint64_t due_ns)
{
    if (c->fd < 0)
        open_connection(c);
    c->busy = true;
    c->due_ns = due_ns;
    c->got = 0;
    b.busy++;
    for (size_t sent = 0; sent < b.request_len;) { /* small: it fits into the socket's buffer */
        ssize_t n = send(c->fd, b.request + sent, b.request_len - sent, MSG_NOSIGNAL);
        if (n <= 0)
            fail("send");
        sent += (size_t)n;
    }
}

static void sample(uint64_t now, uint64_t due_ns, bool good)
{
    if (due_ns < b.count_ns || due_ns >= b.end_ns)
        return;
    if (!good) {
        b.errors++;
        return;
    }
    if (b.sample_count == b.sample_cap) {
        b.sample_cap = b.sample_cap ? 2 * b.sample_cap : 4096;
        b.samples = realloc(b.samples, b.sample_cap * sizeof *b.samples);
        if (!b.samples)
            fail("memory");
    }
    b.samples[b.sample_count++] = now - due_ns;
    b.last_ns = now;
}

/* True when the answer is whole: a length, or the last chunk. */
static bool is_whole(const connection *c)
{
    const char *end = strstr(c->answer, "\r\n\r\n");
    if (!end)
        return false;
    const char *length = strcasestr(c->answer, "content-length:");
    if (length && length < end)
        return c->got >= (size_t)(end + 4 - c->answer) + strtoull(length + 15, NULL, 10);
    return c->got >= 5 && memcmp(c->answer + c->got - 5, "0\r\n\r\n", 5) == 0;
}

static void over(connection *c, bool good, bool close_it)
{
    sample(sl_mono_ns(), c->due_ns, good);
    c->busy = false;
    b.busy--;
    if (close_it) {
        (void)close(c->fd);
        c->fd = -1;
    }
}

static void on_readable(connection *c)
{
    ssize_t n = recv(c->fd, c->answer + c->got, ANSWER_BYTES - c->got, 0);
    if (n <= 0) {
        if (c->busy)
            over(c, false, true);
        else {
            (void)close(c->fd);
            c->fd = -1;
        }
        return;
    }
    c->got += (size_t)n;
    c->answer[c->got] = 0;
    if (c->busy && is_whole(c))
        over(c, strncmp(c->answer + 9, "200", 3) == 0, strcasestr(c->answer, "\r\nconnection: close") != NULL);
    else if (c->got == ANSWER_BYTES)
        over(c, false, true);
}

static connection *idle(void)
{
    for (size_t i = 0; i < b.count; i++) {
        connection *c = &b.all[(b.next + i) % b.count];
        if (!c->busy) {
            b.next = (size_t)(c - b.all) + 1;
            return c;
        }
    }
    return NULL;
}

/* Sends what is due; how long the next one has time, at most a second. */
static uint64_t send_due(uint64_t now)
{
    connection *c;
    while (now < b.end_ns && (!b.interval_ns || b.due_ns <= now) && b.busy < b.count && (c = idle())) {
        ask(c, b.interval_ns ? b.due_ns : now);
        b.due_ns += b.interval_ns;
    }
    if (!b.interval_ns || b.busy == b.count || now >= b.end_ns)
        return 1000000000u;
    return b.due_ns > now ? b.due_ns - now : 0;
}

static int by_size(const void *left, const void *right)
{
    uint64_t a = *(const uint64_t *)left, c = *(const uint64_t *)right;
    return a < c ? -1 : a > c;
}

static double at(double share)
{
    return b.sample_count ? (double)b.samples[(size_t)((double)(b.sample_count - 1) * share)] / 1e3 : 0;
}

static void run(double seconds)
{
    struct epoll_event events[64];
    double warm = seconds / 5 < 1 ? seconds / 5 : 1;
    b.begin_ns = b.due_ns = sl_mono_ns();
    b.count_ns = b.begin_ns + (uint64_t)(warm * 1e9);
    b.end_ns = b.begin_ns + (uint64_t)(seconds * 1e9);
    uint64_t limit_ns = b.end_ns + 20000000000u;
    for (;;) {
        uint64_t wait_ns = send_due(sl_mono_ns());
        if (b.busy == 0 && sl_mono_ns() >= b.end_ns)
            return;
        struct timespec wait = {(time_t)(wait_ns / 1000000000u), (long)(wait_ns % 1000000000u)};
        int count = epoll_pwait2(b.epoll, events, 64, &wait, NULL);
        for (int i = 0; i < count; i++)
            on_readable(events[i].data.ptr);
        if (sl_mono_ns() > limit_ns) {
            b.errors += b.busy;
            return;
        }
    }
}

int main(int argc, char **argv)
{
    if (argc != 8) {
        fprintf(stderr, "usage: bench_tasks HOST PORT PATH BODY CONNECTIONS RATE SECONDS\n");
        return 2;
    }
    b.address = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons((uint16_t)strtoul(argv[2], NULL, 10))};
    b.count = strtoull(argv[5], NULL, 10);
    b.epoll = epoll_create1(EPOLL_CLOEXEC);
    int len =
        snprintf(b.request, sizeof b.request,
                 "POST %s HTTP/1.1\r\nHost: %s:%s\r\nContent-Type: application/json\r\nContent-Length: %zu\r\n\r\n%s",
                 argv[3], argv[1], argv[2], strlen(argv[4]), argv[4]);
    if (inet_pton(AF_INET, argv[1], &b.address.sin_addr) != 1 || b.count < 1 || b.count > MAX_CONNECTIONS ||
        b.epoll < 0 || len < 0 || (size_t)len >= sizeof b.request || !(b.all = calloc(b.count, sizeof *b.all)))
        fail("arguments");
    b.request_len = (size_t)len;
    for (size_t i = 0; i < b.count; i++)
        b.all[i].fd = -1;
    double rate = strtod(argv[6], NULL);
    b.interval_ns = rate > 0 ? (uint64_t)(1e9 / rate) : 0;
    run(strtod(argv[7], NULL));
    qsort(b.samples, b.sample_count, sizeof *b.samples, by_size);
    double counted = b.last_ns > b.count_ns ? (double)(b.last_ns - b.count_ns) / 1e9 : 1;
    printf("{\"name\":\"tasks\",\"answered\":%zu,\"errors\":%zu,\"tasks_per_s\":%.1f,\"p50_us\":%.0f,\"p90_us\":%.0f,"
           "\"p99_us\":%.0f}\n",
           b.sample_count, b.errors, (double)b.sample_count / counted, at(0.5), at(0.9), at(0.99));
    return b.errors ? 1 : 0;
}
