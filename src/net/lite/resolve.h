/*
 * Looking up a host name by a deadline.
 *
 * getaddrinfo() takes as long as the name servers let it, and nothing can interrupt it. So a name is looked up on a
 * thread of its own, which the caller leaves behind when the deadline passes; it ends, and frees what it found, when
 * libc returns. Numbers need no thread. At most SL_MAX_LOOKUPS threads are out at once.
 */
#ifndef SL_NET_LITE_RESOLVE_H
#define SL_NET_LITE_RESOLVE_H

#include <netdb.h>

#include "src/net/lite/tcp_connect.h"

/*
 * Stream addresses of HOST and PORT (a number). `ops` NULL is libc. `why` (of `size` bytes) gets what failed. Errors:
 * SL_ERESOLVE (no such name, or too many look-ups hang), SL_ETIMEOUT, SL_ENOMEM. The caller frees `*ret_list` by
 * freeaddrinfo. Any thread.
 */
SL_MUST_CHECK int sl_resolve(const sl_net_ops *ops, const char *host, const char *port, uint64_t deadline_ns,
                             struct addrinfo **ret_list, char *why, size_t size);

#endif
