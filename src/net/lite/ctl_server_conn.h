/*
 * One connection of the control server: a state machine over a socket that never blocks. The server's thread alone
 * uses it.
 *
 *            bytes                    whole request               all written
 *     IDLE ───────▶ READING ─────────────────────▶ WRITING ─────────────────▶ IDLE (the next may wait in the buffer)
 *       │ timeout       │ refused, timeout            │ asked to close, refused
 *       ▼               ▼ (answer first)              ▼
 *     CLOSED          WRITING                       LINGER ─ peer closed, timeout ▶ CLOSED
 */
#ifndef SL_NET_LITE_CTL_SERVER_CONN_H
#define SL_NET_LITE_CTL_SERVER_CONN_H

#include <stdatomic.h>

#include "src/net/lite/ctl_server.h"
#include "src/wire/chunked.h"
#include "src/wire/http1.h"

typedef enum sl_ctl_state { SL_CTL_IDLE, SL_CTL_READING, SL_CTL_WRITING, SL_CTL_LINGER, SL_CTL_CLOSED } sl_ctl_state;

/* What connections share: options, counters, and storage for one head. */
typedef struct sl_ctl_shared {
    sl_ctl_options options;
    sl_http1_field fields[SL_MAX_HEAD_FIELDS];
    bool stopping; /* every answer closes its connection */
    _Atomic uint64_t requests, bad_requests, timeouts;
} sl_ctl_shared;

typedef struct sl_ctl_conn {
    sl_ctl_shared *shared;
    const sl_ctl_route *routes;
    size_t route_count;
    int fd;
    sl_ctl_state state;
    uint64_t since_ns;    /* entered this state */
    uint64_t progress_ns; /* bytes moved last */
    /* The request at hand. */
    sl_buf in;
    sl_http1_parser parser;
    bool served;    /* has answered at least once */
    bool head_seen; /* the rest is valid */
    bool told_continue;
    bool head_only, http10;
    size_t head_bytes;
    sl_http1_body body_kind;
    size_t body_bytes; /* of Content-Length */
    size_t raw_at;     /* chunked: how far `in` is decoded */
    sl_chunked chunked;
    sl_buf body; /* chunked: decoded */
    /* The answer at hand. */
    sl_buf out; /* head, or chunks of a stream */
    size_t out_at;
    sl_buf out_body;
    size_t out_body_at;
    bool close_after;
    bool (*stream)(void *user, sl_buf *out);
    void (*stream_free)(void *user);
    void *stream_user;
    uint64_t stream_next_ns; /* when to ask it again */
} sl_ctl_conn;

/* Takes over an accepted socket. NULL without memory (the socket stays the caller's). */
sl_ctl_conn *sl_ctl_conn_new(sl_ctl_shared *shared, const sl_ctl_route *routes, size_t count, int fd, uint64_t now_ns);
/* Closes and frees. */
void sl_ctl_conn_free(sl_ctl_conn *conn);

/* What to wait for: events of poll(), and the time by which to come again in any case. */
short sl_ctl_conn_events(const sl_ctl_conn *conn);
uint64_t sl_ctl_conn_deadline(const sl_ctl_conn *conn);

/* Goes on with what poll() reported (0: only time has passed). True: it wants to be run again at once. */
bool sl_ctl_conn_run(sl_ctl_conn *conn, short revents, uint64_t now_ns);

/* ---- answers (ctl_server_handler.c) ---- */

void sl_ctl_response_init(sl_ctl_response *response);
/* Frees what a response holds, its stream included. */
void sl_ctl_response_done(sl_ctl_response *response);
/* Finds the route and lets it answer; 404 and 405 where there is none. */
void sl_ctl_dispatch(const sl_ctl_route *routes, size_t count, const sl_http1_head *head, sl_str body,
                     sl_ctl_response *response);

#endif
