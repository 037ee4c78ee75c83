/*
 * An HTTP/1.1 client for POST over plain sockets: one URL, one connection kept alive, one request at a time.
 *
 * Promises: libc alone; every step (look-up, connect, send, receive) is bounded by the caller's deadline; answers are
 * parsed strictly and bounded in size; no signal is raised. Does not: TLS, proxies, redirects, compression
 * (src/export/http_curl.c does, with libcurl). Thread rule: one thread at a time.
 */
#ifndef SL_NET_LITE_HTTP_POST_H
#define SL_NET_LITE_HTTP_POST_H

#include "src/net/lite/tcp_connect.h"

typedef struct sl_http_post sl_http_post;

typedef struct sl_http_post_header {
    sl_str name;
    sl_str value;
} sl_http_post_header;

typedef struct sl_http_post_options {
    sl_str url; /* http:// */
    sl_str content_type;
    sl_str user_agent;
    const sl_http_post_header *headers; /* those of the protocol itself are not allowed among them */
    size_t header_count;
    size_t max_answer_bytes; /* 0: 4 MiB */
    const sl_net_ops *ops;   /* NULL: libc */
} sl_http_post_options;

/* An answer. Views are valid until the next call. */
typedef struct sl_http_answer {
    int status;
    sl_str content_type;
    sl_str retry_after;
    sl_str body;
} sl_http_answer;

/* Makes a client; nothing is connected yet. Errors: SL_ECONFIG (`*ret_why`, static, says what), SL_ENOMEM. */
SL_MUST_CHECK int sl_http_post_new(const sl_http_post_options *options, sl_http_post **ret_client,
                                   const char **ret_why);
/* NULL is accepted. */
void sl_http_post_free(sl_http_post *client);
/*
 * Sends one body and waits for the answer. `deadline_ns` is monotonic. A kept connection that turns out to be closed is
 * replaced once, without the caller's notice.
 * Errors: SL_ERESOLVE, SL_ECONNECT, SL_ETIMEOUT, SL_ECLOSED (the peer closed without an answer), SL_EPROTO (no HTTP),
 * SL_ETOOBIG, SL_EIO, SL_ENOMEM.
 */
SL_MUST_CHECK int sl_http_post_send(sl_http_post *client, sl_str body, uint64_t deadline_ns,
                                    sl_http_answer *ret_answer);
/* What went wrong last, for people; never NULL. Valid until the next call. */
const char *sl_http_post_error(const sl_http_post *client);
/* Number of connections made so far. */
unsigned sl_http_post_connections(const sl_http_post *client);

#endif
