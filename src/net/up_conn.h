/*
 * Connections of the upstream client, from inside: upstream.c (calls, pool, parsing), up_origin.c (origins),
 * up_connect.c (addresses and connecting), up_tls.c (TLS). Nobody else includes this.
 */
#ifndef SL_NET_UP_CONN_H
#define SL_NET_UP_CONN_H

#include <openssl/ssl.h>

#include "src/net/upstream.h"
#include "src/wire/chunked.h"

#define SL_UP_ADDRESSES 8
#define SL_UP_REASON 160

typedef enum sl_up_state {
    SL_UP_CONNECTING = 0,
    SL_UP_HANDSHAKE,
    SL_UP_ACTIVE, /* has a call */
    SL_UP_IDLE,   /* in the pool */
    SL_UP_CLOSING
} sl_up_state;

struct sl_up_conn {
    union {
        uv_handle_t handle;
        uv_tcp_t tcp;
        uv_poll_t poll; /* TLS: the socket is our own */
    };
    sl_origin *origin;
    sl_call *call;
    sl_up_conn *next; /* idle: the pool, newest first; else the list of those in use */
    sl_up_conn **prev;
    uint64_t idle_since_ms;
    sl_up_state state;
    unsigned address; /* index of the one in use */
    bool served;      /* has carried a call before */
    bool reusable;
    bool writing; /* part of the request waits */
    bool head_seen;
    sl_http1_body body;
    uint64_t left; /* of a body with a length */
    sl_http1_parser parser;
    sl_chunked chunked;
    sl_buf in; /* a head that came in parts */
    /* TLS */
    int fd;
    int events; /* that uv_poll waits for */
    SSL *ssl;
    sl_buf out;
    size_t out_at;
    sl_timer pending; /* decrypted bytes wait inside OpenSSL */
};

struct sl_origin {
    sl_upstream *upstream;
    sl_origin *next;
    char *host;
    uint16_t port;
    bool tls;
    bool tls_insecure;
    char *ca_file; /* NULL: the system's */
    bool numeric;
    bool (*allow)(const struct sockaddr *address); /* may be NULL */
    bool passing;
    uint64_t used_ms;      /* asked for last */
    size_t calls, closing; /* that refer to it: calls under way, connections on their way out */
    SSL_CTX *ssl_ctx;
    SSL_SESSION *session; /* to be resumed */
    struct sockaddr_storage addresses[SL_UP_ADDRESSES];
    unsigned address_count;
    uint64_t addresses_until_ms; /* 0: unknown */
    uv_getaddrinfo_t *resolving;
    sl_call *waiting; /* for addresses */
    sl_up_conn *idle;
    sl_up_conn *used;
    sl_timer idle_timer;
    sl_origin_stats stats;
};

struct sl_upstream {
    sl_loop *loop;
    sl_upstream_options options;
    sl_origin *origins;
    sl_http1_head head;
    sl_http1_field *fields;
    char reason[SL_UP_REASON]; /* text of the failure being told */
    bool closed;
};

/* ---- upstream.c ---- */

/* The connection is ready: sends the call's request on it. */
void sl_up_send(sl_up_conn *conn);
/* Bytes of an answer; they may be overwritten. */
void sl_up_received(sl_up_conn *conn, char *data, size_t len);
/* The peer has closed (SL_ECLOSED), or the connection is broken. `clean`: closed as it should be. */
void sl_up_ended(sl_up_conn *conn, bool clean);
/* Fails the call of a connection, or drops an idle one. */
void sl_up_fail(sl_up_conn *conn, int error, const char *reason);
/* Ends a call with an error, at once. */
void sl_call_fail(sl_call *call, int error, const char *reason);
/* The same from the loop, for those who are still inside sl_call_start. */
void sl_call_fail_later(sl_call *call, int error, const char *reason);
/* Closes the connection; its call must have been detached. */
void sl_up_close(sl_up_conn *conn);
/* Frees the memory of a closed connection. */
void sl_up_conn_free(sl_up_conn *conn);
void sl_up_link(sl_up_conn **list, sl_up_conn *conn);
void sl_up_unlink(sl_up_conn *conn);

/* ---- up_connect.c ---- */

/* Gets a new connection for a call: addresses first when they are not known. */
void sl_up_connect(sl_call *call);
/* Another address of the origin after a failed one; false when there is none. */
bool sl_up_connect_next(sl_up_conn *conn);
/* Takes the call out of the queue for addresses. */
void sl_up_unwait(sl_call *call);
/* Reads from a plain connection. */
void sl_up_read_start(sl_up_conn *conn);
void sl_up_cancel_resolving(sl_origin *origin);
/* Fills in what is known without asking: a numeric host. */
void sl_up_numeric(sl_origin *origin);

/* ---- up_tls.c ---- */

/* Errors: SL_ETLS, SL_ENOMEM. */
int sl_up_tls_setup(sl_origin *origin);
void sl_up_tls_teardown(sl_origin *origin);
/* Opens a socket to the connection's address. Errors: SL_EIO, SL_ENOMEM. */
int sl_up_tls_connect(sl_up_conn *conn);
/* Sends what is in `out`. */
void sl_up_tls_flush(sl_up_conn *conn);
/* Waits for reading or not. */
void sl_up_tls_want_read(sl_up_conn *conn, bool want);
void sl_up_tls_done(sl_up_conn *conn);
void sl_up_tls_on_pending(sl_timer *timer);

#endif
