/*
 * HTTP/1.1 client on an event loop for the hot path: a pool of connections per origin, one call on each at a time.
 *
 *     call ──► idle connection? ──yes──────────────────────────► send ──► head ──► body ──► end ──► back to the pool
 *                 │ no                                            │ closed before any byte, connection was reused
 *                 └──► resolve ──► connect (next address on       └──► once more, on a fresh connection
 *                                  failure) ──► TLS ──► send
 *
 * Promises: answers are parsed strictly, what is ambiguous fails the call (SL_EPROTO) and closes the connection; a
 * connection is used again only when the answer ended exactly where it said, nothing came after it, and all of the
 * request was sent; a call that is cancelled closes its connection at once; an idle connection owns no buffer.
 *
 * Does not do: HTTP/2, proxies, redirects, retries other than the one above (the caller decides).
 * Everything here is for the loop's own thread.
 */
#ifndef SL_NET_UPSTREAM_H
#define SL_NET_UPSTREAM_H

#include "src/base/limits.h"
#include "src/net/loop.h"
#include "src/wire/http1.h"

typedef struct sl_upstream sl_upstream; /* one per loop */
typedef struct sl_origin sl_origin;     /* one per host, port and TLS setting */
typedef struct sl_up_conn sl_up_conn;
typedef struct sl_call sl_call;

/* Zero values are the defaults. */
typedef struct sl_upstream_options {
    size_t max_idle; /* 4096 for each origin: fewer than were busy at once would mean reconnecting all the time */
    uint32_t idle_timeout_ms; /* 55 s: below the 60 s and more that servers keep */
    uint32_t dns_ttl_ms;      /* 30 s */
} sl_upstream_options;

/* All views are copied. */
typedef struct sl_origin_options {
    sl_str host; /* name or number, without brackets */
    uint16_t port;
    bool tls;
    sl_str ca_file; /* PEM; empty: the system's */
    bool tls_insecure;
    /* Addresses for which it says false are never connected to, whatever name leads to them. May be NULL. */
    bool (*allow)(const struct sockaddr *address);
    /* For hosts that requests name: good until the calls on it are over; of those without any, the
     * SL_UPSTREAM_MAX_PASSING used last are kept. */
    bool passing;
} sl_origin_options;

/* Whether a file can be an origin's `ca_file`: it can be read, and holds certificates. */
bool sl_origin_ca_usable(sl_str ca_file);

/* What became of the way to the server; for spans and errors. */
typedef enum sl_call_phase {
    SL_CALL_IDLE = 0,
    SL_CALL_RESOLVE,
    SL_CALL_CONNECT,
    SL_CALL_TLS,
    SL_CALL_WAIT, /* sent, no byte of the answer yet */
    SL_CALL_BODY, /* head seen */
    SL_CALL_OVER
} sl_call_phase;

#define SL_CALL_MAX_PIECES 8

typedef struct sl_call_handler {
    /*
     * What one read brought: the head (the first time, else NULL), bytes of the body with chunk framing taken off
     * (maybe none), and whether that was the end. Views are valid during the call only, and the bytes may be
     * overwritten. After `end` the call is over. The handler may cancel or pause the call in here. Interim answers
     * (1xx) are left out.
     */
    void (*on_read)(sl_call *call, const sl_http1_head *head, sl_str body, bool end);
    /*
     * The call has failed and is over. Errors: SL_ERESOLVE, SL_EREFUSED (`allow`), SL_ECONNECT, SL_ETLS, SL_ETIMEOUT,
     * SL_EPROTO (not HTTP, or ambiguous), SL_ECLOSED (closed before the end), SL_ENOMEM. `reason` is a short text
     * without secrets.
     */
    void (*on_fail)(sl_call *call, int error, const char *reason);
} sl_call_handler;

/* One request with its answer, in the caller's storage; all zero at first. */
struct sl_call {
    /* The caller's, set before sl_call_start. The pieces must stay until the head has come and request_sent, or the
     * end. */
    const sl_call_handler *handler;
    void *user;
    sl_str pieces[SL_CALL_MAX_PIECES]; /* head and body as they go on the wire */
    unsigned piece_count;
    bool is_head;                /* the answer has no body (HEAD) */
    uint32_t connect_timeout_ms; /* 10 s */
    uint32_t wait_timeout_ms;    /* 600 s from sending to the first byte */
    uint32_t read_timeout_ms;    /* 600 s between two reads of the answer */
    /* To be read by the caller. */
    sl_call_phase phase;
    unsigned sends;    /* connections that the request was sent on: 1, or 2 after a stale one */
    bool reused;       /* the connection had served before */
    bool request_sent; /* the kernel has all of the request: the pieces may go once there is no retry (a head came) */
    uint64_t start_ns; /* monotonic: sl_call_start, unless the caller has set it */
    uint64_t connected_ns;  /* connection in hand */
    uint64_t first_byte_ns; /* first byte of the answer; 0: none came */
    uint64_t bytes_in;      /* of bodies */
    /* The client's own. */
    sl_origin *origin;
    sl_up_conn *conn;
    sl_timer timer;
    sl_call *next_waiting; /* for the addresses of the origin */
    sl_call **prev_waiting;
    int fail_error; /* to be told from the loop */
    const char *fail_reason;
    bool paused;
};

/* Errors: SL_ENOMEM. `options` may be NULL. */
SL_MUST_CHECK int sl_upstream_new(sl_loop *loop, const sl_upstream_options *options, sl_upstream **ret_upstream);
/* Closes idle connections and waits for nothing; calls under way must have been cancelled. Run the loop, then free. */
void sl_upstream_close(sl_upstream *upstream);
/* Frees it when the loop has run out. NULL is accepted. */
void sl_upstream_free(sl_upstream *upstream);

/*
 * The origin with these settings: the same settings give the same origin. Ownership: the upstream's.
 * Errors: SL_ENOMEM, SL_ETLS (the CA file cannot be read), SL_EREFUSED (a numeric host that `allow` refuses),
 * SL_EINVAL.
 */
SL_MUST_CHECK int sl_upstream_origin(sl_upstream *upstream, const sl_origin_options *options, sl_origin **ret_origin);
/* Origins that there are. */
size_t sl_upstream_origin_count(const sl_upstream *upstream);
sl_str sl_origin_host(const sl_origin *origin);
uint16_t sl_origin_port(const sl_origin *origin);

/* Starts a call. Never calls back before it returns, but on_fail may be the next thing that happens. */
void sl_call_start(sl_call *call, sl_origin *origin);
/* Ends a call without a callback; its connection is closed. Nothing happens when it is over. */
void sl_call_cancel(sl_call *call);
/* Stops (true) or resumes reading the answer. */
void sl_call_pause(sl_call *call, bool pause);
/* Numeric address of the peer and its port; false before there is a connection. */
bool sl_call_peer(const sl_call *call, char *address, size_t size, uint16_t *ret_port);

typedef struct sl_origin_stats {
    size_t active; /* connections with a call */
    size_t idle;
    uint64_t opened;
    uint64_t reused;
    uint64_t stale; /* reused ones that turned out to be closed */
} sl_origin_stats;
void sl_origin_get_stats(const sl_origin *origin, sl_origin_stats *ret_stats);

#endif
