/*
 * The control server: small HTTP/1.1 answers (/metrics, health, admin) from one thread, on libc alone.
 *
 * Promises: answers under full load and beside hanging clients (its own thread, deadlines for slow heads, bodies and
 * readers, a bounded number of connections, the longest idle one makes room); refuses what is ambiguous by
 * the rules of src/wire/http1.h; never blocks on a socket. Handlers run on the server's thread, one at a time, and must
 * not wait for anything.
 *
 * Does not do: TLS, large uploads, proxying.
 */
#ifndef SL_NET_LITE_CTL_SERVER_H
#define SL_NET_LITE_CTL_SERVER_H

#include "src/base/buf.h"
#include "src/base/limits.h"

typedef struct sl_ctl_server sl_ctl_server;

/* Bits of sl_ctl_route.methods. HEAD is answered wherever GET is. */
enum { SL_CTL_GET = 1, SL_CTL_POST = 2, SL_CTL_PUT = 4, SL_CTL_DELETE = 8 };

/* What a handler is told; valid during the call only. */
typedef struct sl_ctl_request {
    unsigned method;  /* one SL_CTL_ bit; HEAD arrives as GET */
    sl_str path;      /* as sent, without query */
    sl_str path_rest; /* what a route ending in a star matched; empty otherwise */
    sl_str query;     /* without '?' */
    sl_str body;
    const void *head; /* for sl_ctl_header */
} sl_ctl_request;

/*
 * What a handler fills in. On entry: status 200, content type application/json, empty body.
 * Stream: when `stream` is set, it is called for the rest of the body each time the peer has taken what was there: it
 * appends to `out` and returns true while there is more (nothing appended and true: asked again within 100 ms).
 * `stream_free` is called once, whatever becomes of the connection.
 */
typedef struct sl_ctl_response {
    int status;
    const char *content_type; /* static */
    sl_buf body;
    sl_buf headers; /* further fields: sl_ctl_add_header */
    bool close;     /* close the connection afterwards */
    bool (*stream)(void *user, sl_buf *out);
    void (*stream_free)(void *user);
    void *stream_user;
} sl_ctl_response;

typedef void (*sl_ctl_fn)(void *user, const sl_ctl_request *request, sl_ctl_response *response);

/* `path` is exact, or ends in a star: everything that begins so. The first route that fits is taken. */
typedef struct sl_ctl_route {
    const char *path; /* must outlive the server */
    unsigned methods; /* 0: GET */
    sl_ctl_fn fn;
    void *user;
} sl_ctl_route;

/* Zero values are the defaults. */
typedef struct sl_ctl_options {
    size_t max_connections;    /* SL_MAX_CTL_CONNECTIONS */
    size_t max_body_bytes;     /* of requests: 64 KiB */
    uint64_t head_timeout_ms;  /* 5 s from the first byte of a request to its last */
    uint64_t idle_timeout_ms;  /* 60 s between requests */
    uint64_t write_timeout_ms; /* 10 s without the peer taking a byte */
} sl_ctl_options;

/* A server without listeners; NULL without memory. `options` may be NULL. */
sl_ctl_server *sl_ctl_server_new(const sl_ctl_options *options);

/*
 * Adds an open listening socket with its own routes (the array is copied). Before sl_ctl_server_start only.
 * Ownership: the socket becomes the server's, also on failure. Errors: SL_ELIMIT (8 listeners), SL_ENOMEM, SL_EINVAL.
 */
SL_MUST_CHECK int sl_ctl_server_add(sl_ctl_server *server, int listen_fd, const sl_ctl_route *routes, size_t count);

/* Starts the thread. Errors: SL_EIO, SL_ENOMEM, SL_EINVAL (already started). */
SL_MUST_CHECK int sl_ctl_server_start(sl_ctl_server *server);

/*
 * Stops: no new connections, answers under way are finished within `timeout_ms`, the rest is closed. Idempotent. Any
 * thread but the server's own. The listening sockets are closed.
 */
void sl_ctl_server_stop(sl_ctl_server *server, uint64_t timeout_ms);

/* Stops at once and frees; NULL is accepted. */
void sl_ctl_server_free(sl_ctl_server *server);

/* What it has done so far. Any thread. */
typedef struct sl_ctl_stats {
    uint64_t accepted;
    uint64_t requests;
    uint64_t bad_requests; /* refused by the parser or a limit */
    uint64_t timeouts;
    uint64_t evicted; /* closed idle to make room */
} sl_ctl_stats;
void sl_ctl_server_stats(sl_ctl_server *server, sl_ctl_stats *ret_stats);

/* ---- for handlers ---- */

/* A field of the request by its name (any case); empty view when absent. */
sl_str sl_ctl_header(const sl_ctl_request *request, sl_str name);

/* A parameter of the query, percent-decoded into `buffer`; false when it is absent, malformed or does not fit. */
bool sl_ctl_query(const sl_ctl_request *request, sl_str name, char *buffer, size_t size);

/* Adds a field to the answer; ignored when name or value holds a control character. */
void sl_ctl_add_header(sl_ctl_response *response, sl_str name, sl_str value);

/* Makes the answer `{"error":{"message":…,"type":…,"code":STATUS}}`. */
void sl_ctl_error(sl_ctl_response *response, int status, const char *type, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

#endif
