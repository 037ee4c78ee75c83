/* Memory, HTTP, TCP and disk checks: each bounds its own waiting, and its thread bears what it cannot bound (names). */
#include "src/telemetry/health_checks.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/base/sync.h"
#include "src/net/lite/tcp_connect.h"
#include "src/wire/http1.h"
#include "src/wire/http1_write.h"
#include "src/wire/url.h"

#define MIB (1024.0 * 1024.0)
#define MAX_ANSWER_HEAD (16u * 1024)

/* What a check of ours needs; texts lie behind it. */
typedef struct target {
    uint64_t limit_bytes;
    uint64_t timeout_ms;
    size_t request_len;
    const char *path;
    const char *host;
    const char *port;
    const char *request;
    char texts[];
} target;

/* A target with copies of up to three texts. NULL without memory. */
static target *target_new(sl_str a, sl_str b, sl_str c, const char **ret_texts)
{
    SL_ASSERT((a.ptr || !a.len) && (b.ptr || !b.len) && (c.ptr || !c.len));
    target *t = sl_calloc(1, sizeof *t + a.len + b.len + c.len + 3);
    if (!t)
        return NULL;
    const sl_str texts[3] = {a, b, c};
    char *at = t->texts;
    for (size_t i = 0; i < 3; i++) {
        ret_texts[i] = at;
        if (texts[i].len)
            memcpy(at, texts[i].ptr, texts[i].len);
        at += texts[i].len + 1;
    }
    return t;
}

static int add(sl_health *health, const char *name, sl_health_fn fn, target *t, const sl_health_check_options *options)
{
    sl_check_spec spec;
    if (!t)
        return SL_ENOMEM;
    memset(&spec, 0, sizeof spec);
    spec.name = name;
    spec.fn = fn;
    spec.user = t;
    spec.destroy = sl_free;
    if (options)
        spec.options = *options;
    t->timeout_ms = sl_check_timeout_ms(options);
    return sl_health_add_spec(health, &spec);
}

/* ---- memory ---- */

/* Resident bytes of this process; false when the kernel does not tell. */
static bool resident_bytes(uint64_t *ret_bytes)
{
    SL_ASSERT(ret_bytes);
    char text[128];
    int fd = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, sizeof text - 1);
    (void)close(fd);
    if (n <= 0)
        return false;
    sl_str rest = sl_str_of(text, (size_t)n), field;
    uint64_t pages;
    (void)sl_str_split(&rest, ' ', &field); /* the first one is the size of the address space */
    if (!sl_str_split(&rest, ' ', &field) || sl_str_to_u64(field, &pages) != 0)
        return false;
    *ret_bytes = pages * (uint64_t)sysconf(_SC_PAGESIZE);
    return true;
}

static sl_health_status check_memory(void *user, char *reason, size_t size)
{
    const target *t = user;
    uint64_t bytes;
    if (!resident_bytes(&bytes)) {
        snprintf(reason, size, "resident memory is not known: /proc/self/statm cannot be read");
        return SL_DEGRADED;
    }
    bool above = bytes > t->limit_bytes;
    if (!above && bytes <= t->limit_bytes / 10 * 9)
        return SL_HEALTHY;
    snprintf(reason, size, "resident memory of %.1f MiB is above %sthe limit of %.1f MiB", (double)bytes / MIB,
             above ? "" : "90 % of ", (double)t->limit_bytes / MIB);
    return above ? SL_UNHEALTHY : SL_DEGRADED;
}

int sl_health_add_memory(sl_health *health, const char *name, uint64_t limit_bytes,
                         const sl_health_check_options *options)
{
    const char *texts[3];
    const sl_str none = {NULL, 0};
    if (limit_bytes == 0)
        return SL_EINVAL;
    target *t = target_new(none, none, none, texts);
    if (t)
        t->limit_bytes = limit_bytes;
    return add(health, name, check_memory, t, options);
}

/* ---- disk ---- */

static sl_health_status check_disk(void *user, char *reason, size_t size)
{
    const target *t = user;
    struct statvfs fs;
    if (statvfs(t->path, &fs) != 0) {
        snprintf(reason, size, "%.100s: %s", t->path, strerror(errno));
        return SL_UNHEALTHY;
    }
    uint64_t free_bytes = (uint64_t)fs.f_bavail * fs.f_frsize;
    if (free_bytes >= t->limit_bytes)
        return SL_HEALTHY;
    snprintf(reason, size, "%.1f MiB are free at %.100s, less than %.1f MiB", (double)free_bytes / MIB, t->path,
             (double)t->limit_bytes / MIB);
    return SL_UNHEALTHY;
}

int sl_health_add_disk(sl_health *health, const char *name, const char *path, uint64_t min_free_bytes,
                       const sl_health_check_options *options)
{
    const char *texts[3];
    const sl_str none = {NULL, 0};
    if (!path || !path[0])
        return SL_EINVAL;
    target *t = target_new(sl_str_c(path), none, none, texts);
    if (t) {
        t->path = texts[0];
        t->limit_bytes = min_free_bytes;
    }
    return add(health, name, check_disk, t, options);
}

/* ---- TCP ---- */

static sl_health_status check_tcp(void *user, char *reason, size_t size)
{
    SL_ASSERT(reason || !size);
    const target *t = user;
    int fd;
    if (sl_tcp_connect(NULL, t->host, t->port, sl_deadline_ns(t->timeout_ms), &fd, reason, size) != 0)
        return SL_UNHEALTHY;
    (void)close(fd);
    reason[0] = '\0';
    return SL_HEALTHY;
}

int sl_health_add_tcp(sl_health *health, const char *name, const char *address, const sl_health_check_options *options)
{
    const char *texts[3];
    char port[8];
    sl_hostport peer;
    if (!address || sl_hostport_parse_peer(sl_str_c(address), &peer) != 0 || !peer.has_port)
        return SL_EINVAL;
    snprintf(port, sizeof port, "%u", peer.port);
    target *t = target_new(peer.host, sl_str_c(port), sl_str_of(NULL, 0), texts);
    if (t) {
        t->host = texts[0];
        t->port = texts[1];
    }
    return add(health, name, check_tcp, t, options);
}

/* ---- HTTP ---- */

static int send_all(int fd, const char *data, size_t len, uint64_t deadline_ns)
{
    for (size_t done = 0; done < len;) {
        ssize_t n = send(fd, data + done, len - done, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n > 0) {
            done += (size_t)n;
            continue;
        }
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return SL_EIO;
        int error = sl_socket_wait(fd, POLLOUT, deadline_ns);
        if (error)
            return error;
    }
    return 0;
}

/* Reads until the head of the final answer is there. `room` holds it. */
static int receive_status(int fd, char *room, size_t size, uint64_t deadline_ns, int *ret_status)
{
    SL_ASSERT(ret_status);
    sl_http1_field fields[SL_MAX_HEAD_FIELDS];
    sl_http1_parser parser;
    sl_http1_head head;
    size_t len = 0, skipped = 0;
    sl_http1_parser_init(&parser, size);
    sl_http1_head_init(&head, fields, SL_MAX_HEAD_FIELDS);
    for (;;) {
        int error = sl_http1_parse_response(&parser, sl_str_of(room + skipped, len - skipped), SL_HTTP_GET, &head);
        if (error == 0 && head.status >= 200) {
            *ret_status = head.status;
            return 0;
        }
        if (error == 0) {
            skipped += head.head_bytes; /* 1xx: the answer follows */
            continue;
        }
        if (error != SL_EMORE || len == size)
            return SL_EPROTO;
        error = sl_socket_wait(fd, POLLIN, deadline_ns);
        if (error)
            return error;
        ssize_t n = recv(fd, room + len, size - len, MSG_DONTWAIT);
        if (n == 0)
            return SL_ECLOSED;
        if (n < 0 && errno != EAGAIN && errno != EINTR)
            return SL_EIO;
        len += n > 0 ? (size_t)n : 0;
    }
}

static sl_health_status check_http(void *user, char *reason, size_t size)
{
    SL_ASSERT(reason || !size);
    const target *t = user;
    uint64_t deadline = sl_deadline_ns(t->timeout_ms);
    int fd, status = 0;
    if (sl_tcp_connect(NULL, t->host, t->port, deadline, &fd, reason, size) != 0)
        return SL_UNHEALTHY;
    char *room = sl_malloc(MAX_ANSWER_HEAD);
    int error = room ? send_all(fd, t->request, t->request_len, deadline) : SL_ENOMEM;
    if (!error)
        error = receive_status(fd, room, MAX_ANSWER_HEAD, deadline, &status);
    sl_free(room);
    (void)close(fd);
    reason[0] = '\0';
    if (error == SL_ETIMEOUT)
        snprintf(reason, size, "no answer within %llu ms", (unsigned long long)t->timeout_ms);
    else if (error)
        snprintf(reason, size, "no HTTP answer: %s", sl_strerror(error));
    else if (status > 299)
        snprintf(reason, size, "answered with status %d", status);
    return error ? SL_UNHEALTHY : status > 299 ? SL_DEGRADED : SL_HEALTHY;
}

int sl_health_add_http(sl_health *health, const char *name, const char *url, const sl_health_check_options *options)
{
    sl_url u;
    if (!url || sl_url_parse(sl_str_c(url), &u, NULL) != 0)
        return SL_EINVAL;
    if (u.tls)
        return SL_ENOTSUP;
    const char *texts[3];
    char port[8];
    sl_buf request;
    snprintf(port, sizeof port, "%u", u.port);
    sl_buf_init(&request, SL_MAX_HEAD_BYTES);
    (void)sl_http1_put_request(&request, SL_STR("GET"), u.target);
    (void)sl_http1_put_field(&request, SL_STR("Host"), u.authority);
    (void)sl_http1_put_field(&request, SL_STR("User-Agent"), SL_STR("sightline-health"));
    (void)sl_http1_put_field(&request, SL_STR("Connection"), SL_STR("close"));
    (void)sl_http1_put_end(&request);
    int error = request.failed;
    target *t = error ? NULL : target_new(u.host, sl_str_c(port), sl_buf_str(&request), texts);
    if (t) {
        t->host = texts[0];
        t->port = texts[1];
        t->request = texts[2];
        t->request_len = request.len;
    }
    sl_buf_done(&request);
    return error ? error : add(health, name, check_http, t, options);
}
