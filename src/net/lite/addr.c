/* Listen addresses. */
#include "src/net/lite/addr.h"

#include "src/base/assert.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#define DEFAULT_BACKLOG 1024

__attribute__((format(printf, 3, 4))) static int fail(char *reason, int error, const char *format, ...)
{
    if (reason) {
        va_list args;
        va_start(args, format);
        vsnprintf(reason, SL_ADDR_REASON_MAX, format, args);
        va_end(args);
    }
    return error;
}

/* Letters of host names, IPv4 and IPv6 numbers (with a zone). */
static bool host_is_plausible(sl_str host)
{
    SL_ASSERT(host.ptr || !host.len);
    for (size_t i = 0; i < host.len; i++) {
        char c = host.ptr[i];
        bool ok = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
                  c == '_' || c == ':' || c == '%';
        if (!ok)
            return false;
    }
    return host.len > 0 && host.len <= SL_ADDR_HOST_MAX;
}

/* Splits into host (empty: the default) and port. */
static bool split(sl_str text, sl_str *host, sl_str *port)
{
    SL_ASSERT(host && (text.ptr || !text.len));
    *host = sl_str_of(NULL, 0);
    if (text.len && text.ptr[0] == '[') {
        size_t end = sl_str_chr(text, ']');
        if (end == SL_NPOS || end + 2 > text.len || text.ptr[end + 1] != ':')
            return false;
        *host = sl_str_sub(text, 1, end - 1);
        *port = sl_str_sub(text, end + 2, text.len);
        return host->len > 0;
    }
    size_t colon = sl_str_chr(text, ':');
    if (colon == SL_NPOS) {
        *port = text;
        return true;
    }
    *host = sl_str_sub(text, 0, colon);
    *port = sl_str_sub(text, colon + 1, text.len);
    return sl_str_chr(*port, ':') == SL_NPOS;
}

int sl_addr_parse(sl_str text, const char *default_host, sl_addr *ret_addr, char *reason)
{
    SL_ASSERT(ret_addr && default_host);
    sl_addr addr;
    memset(&addr, 0, sizeof addr);
    text = sl_str_trim(text);
    int shown = text.len > 80 ? 80 : (int)text.len;
    if (sl_str_ieq(text, SL_STR("off"))) {
        addr.off = true;
        *ret_addr = addr;
        return 0;
    }
    sl_str host, port;
    if (!split(text, &host, &port))
        return fail(reason, SL_EPARSE, "\"%.*s\" is no listen address; write HOST:PORT, PORT, [IPV6]:PORT or off",
                    shown, text.ptr ? text.ptr : "");
    uint64_t number;
    if (sl_str_to_u64(port, &number) != 0 || number > 65535)
        return fail(reason, SL_EPARSE,
                    "\"%.*s\" has no port from 0 to 65535; write HOST:PORT, PORT, [IPV6]:PORT or off", shown,
                    text.ptr ? text.ptr : "");
    if (host.len == 0)
        host = sl_str_c(default_host);
    if (sl_str_eq_c(host, "*"))
        host = SL_STR("0.0.0.0");
    if (!host_is_plausible(host))
        return fail(reason, SL_EPARSE, "\"%.*s\" has no valid host name; write HOST:PORT, PORT, [IPV6]:PORT or off",
                    shown, text.ptr);
    (void)sl_str_to_c(host, addr.host, sizeof addr.host);
    addr.port = (uint16_t)number;
    *ret_addr = addr;
    return 0;
}

void sl_addr_format(const sl_addr *addr, char ret_text[SL_ADDR_TEXT_MAX])
{
    SL_ASSERT(addr && ret_text);
    if (addr->off)
        snprintf(ret_text, SL_ADDR_TEXT_MAX, "off");
    else if (strchr(addr->host, ':'))
        snprintf(ret_text, SL_ADDR_TEXT_MAX, "[%s]:%u", addr->host, addr->port);
    else
        snprintf(ret_text, SL_ADDR_TEXT_MAX, "%s:%u", addr->host, addr->port);
}

bool sl_addr_is_loopback(const sl_addr *addr)
{
    SL_ASSERT(addr);
    struct in_addr v4;
    struct in6_addr v6;
    if (addr->off)
        return false;
    if (inet_pton(AF_INET, addr->host, &v4) == 1)
        return ntohl(v4.s_addr) >> 24 == 127;
    if (inet_pton(AF_INET6, addr->host, &v6) == 1)
        return IN6_IS_ADDR_LOOPBACK(&v6);
    return sl_str_ieq(sl_str_c(addr->host), SL_STR("localhost"));
}

int sl_addr_of_socket(int fd, sl_addr *ret_addr)
{
    SL_ASSERT(ret_addr);
    struct sockaddr_storage storage;
    socklen_t len = sizeof storage;
    memset(&storage, 0, sizeof storage);
    if (getsockname(fd, (struct sockaddr *)&storage, &len) != 0)
        return SL_EIO;
    sl_addr addr;
    char port[16];
    memset(&addr, 0, sizeof addr);
    if (getnameinfo((struct sockaddr *)&storage, len, addr.host, sizeof addr.host, port, sizeof port,
                    NI_NUMERICHOST | NI_NUMERICSERV) != 0)
        return SL_EIO;
    uint64_t number;
    if (sl_str_to_u64(sl_str_c(port), &number) != 0 || number > 65535)
        return SL_EIO;
    addr.port = (uint16_t)number;
    *ret_addr = addr;
    return 0;
}

/* Opens one candidate; a negative errno on failure. */
static int open_one(const struct addrinfo *info, const sl_addr_listen_options *options, int *ret_fd)
{
    SL_ASSERT(info && ret_fd);
    int fd = socket(info->ai_family, info->ai_socktype | SOCK_CLOEXEC | SOCK_NONBLOCK, info->ai_protocol);
    if (fd < 0)
        return -errno;
    int one = 1;
    bool ok = setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) == 0;
    if (ok && options->reuse_port)
        ok = setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) == 0;
    if (ok && info->ai_family == AF_INET6)
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one);
    ok = ok && bind(fd, info->ai_addr, info->ai_addrlen) == 0;
    ok = ok && listen(fd, options->backlog > 0 ? options->backlog : DEFAULT_BACKLOG) == 0;
    if (!ok) {
        int error = -errno;
        (void)close(fd);
        return error;
    }
    *ret_fd = fd;
    return 0;
}

/* The sentence for a failed bind. */
static int explain(const sl_addr *addr, int error, char *reason)
{
    char text[SL_ADDR_TEXT_MAX];
    sl_addr_format(addr, text);
    switch (error) {
    case EADDRINUSE:
        return fail(reason, SL_EEXIST, "%.200s is taken by another program; stop it, or choose another port", text);
    case EACCES:
    case EPERM:
        return fail(reason, SL_EREFUSED, "no permission to listen on %.160s; choose a port above 1023", text);
    case EADDRNOTAVAIL:
        return fail(reason, SL_ENOENT, "this machine has no address %.160s; use 127.0.0.1, or 0.0.0.0 for all",
                    addr->host);
    default:
        return fail(reason, SL_EIO, "cannot listen on %.160s: %s", text, strerror(error));
    }
}

/*
 * The first candidate that can be listened on. Of a name for both families, as localhost is on most machines, IPv4
 * comes first: who asks for the name tries both, who asks for 127.0.0.1 only that. 0 or -errno, of the first that was
 * tried: later ones are often a family that is not there.
 */
static int open_any(const struct addrinfo *list, const sl_addr_listen_options *options, int *ret_fd)
{
    SL_ASSERT(list && options && ret_fd);
    int error = 0;
    for (int others = 0; others < 2; others++) {
        for (const struct addrinfo *info = list; info; info = info->ai_next) {
            if ((info->ai_family != AF_INET) != others)
                continue;
            int got = open_one(info, options, ret_fd);
            if (got == 0)
                return 0;
            error = error ? error : got;
        }
    }
    return error ? error : -EADDRNOTAVAIL;
}

int sl_addr_listen(const sl_addr *addr, const sl_addr_listen_options *options, int *ret_fd, sl_addr *ret_addr,
                   char *reason)
{
    static const sl_addr_listen_options defaults = {false, 0};
    SL_ASSERT(addr && ret_fd);
    if (addr->off || addr->host[0] == '\0')
        return fail(reason, SL_EINVAL, "the listener is off");
    struct addrinfo hints, *list = NULL;
    char port[8];
    memset(&hints, 0, sizeof hints);
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_PASSIVE | AI_NUMERICSERV;
    snprintf(port, sizeof port, "%u", addr->port);
    int found = getaddrinfo(addr->host, port, &hints, &list);
    if (found != 0)
        return fail(reason, SL_ERESOLVE, "host \"%.120s\" is not known (%s); use a number such as 127.0.0.1",
                    addr->host, gai_strerror(found));
    int fd = -1, error = open_any(list, options ? options : &defaults, &fd);
    freeaddrinfo(list);
    if (error != 0)
        return explain(addr, -error, reason);
    if (ret_addr && sl_addr_of_socket(fd, ret_addr) != 0) {
        (void)close(fd);
        return fail(reason, SL_EIO, "the socket has no address");
    }
    *ret_fd = fd;
    return 0;
}
