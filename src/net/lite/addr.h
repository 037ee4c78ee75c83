/*
 * Listen addresses: `HOST:PORT`, `PORT`, `[V6]:PORT`, `off`, and the sockets that listen on them.
 *
 * Every failure comes with a sentence for people: what, why, and what to do about it. Host names are resolved by
 * getaddrinfo, which may take its time: this is for start-up, not for an event loop.
 */
#ifndef SL_NET_LITE_ADDR_H
#define SL_NET_LITE_ADDR_H

#include "src/base/assert.h"
#include "src/base/str.h"

#define SL_ADDR_HOST_MAX 255
#define SL_ADDR_TEXT_MAX 272 /* "[host]:65535" and a NUL */
#define SL_ADDR_REASON_MAX 256

typedef struct sl_addr {
    bool off; /* the word `off`: no listener; the rest is empty */
    uint16_t port;
    char host[SL_ADDR_HOST_MAX + 1]; /* without brackets; name or number */
} sl_addr;

/*
 * Parses an address; `default_host` serves a bare port and `:PORT` (an empty host). `*` as host is 0.0.0.0.
 * On failure `reason` (SL_ADDR_REASON_MAX bytes, may be NULL) says why and how to write it. Errors: SL_EPARSE.
 */
SL_MUST_CHECK int sl_addr_parse(sl_str text, const char *default_host, sl_addr *ret_addr, char *reason);

/* Writes `HOST:PORT`, with brackets around IPv6; `off` for off. At most SL_ADDR_TEXT_MAX bytes with the NUL. */
void sl_addr_format(const sl_addr *addr, char ret_text[SL_ADDR_TEXT_MAX]);

/* True when only this machine can reach it: 127.0.0.0/8, ::1, localhost. */
bool sl_addr_is_loopback(const sl_addr *addr);

typedef struct sl_addr_listen_options {
    bool reuse_port; /* SO_REUSEPORT: several sockets share the port */
    int backlog;     /* 0: 1024 */
} sl_addr_listen_options;

/*
 * Opens a listening socket: SO_REUSEADDR, close-on-exec, not blocking, port 0 takes a free one. `options` may be NULL.
 * `ret_addr` (may be NULL) is the address with the real port. On failure `reason` (may be NULL) is a sentence.
 * Errors: SL_EEXIST (taken by another program), SL_ERESOLVE, SL_EREFUSED (no permission), SL_ENOENT (the machine has
 * no such address), SL_EINVAL (off), SL_EIO. Ownership: the caller closes `*ret_fd`.
 */
SL_MUST_CHECK int sl_addr_listen(const sl_addr *addr, const sl_addr_listen_options *options, int *ret_fd,
                                 sl_addr *ret_addr, char *reason);

/* The address that a socket is bound to (numeric). Errors: SL_EIO. */
SL_MUST_CHECK int sl_addr_of_socket(int fd, sl_addr *ret_addr);

#endif
