/*
 * One connection of the HTTP server, from inside: shared by http_server.c (listeners), http_conn.c (reading)
 * and http_answer.c (writing). Nobody else includes this.
 */
#ifndef SL_NET_HTTP_CONN_H
#define SL_NET_HTTP_CONN_H

#include "src/net/http_server.h"
#include "src/wire/chunked.h"
#include "src/wire/http1.h"

#define SL_HTTP_LISTENERS 8
#define SL_HTTP_STASH_MAX (96u * 1024)    /* bytes read ahead of their turn */
#define SL_HTTP_DISCARD_MAX (256u * 1024) /* of a body nobody wants, before the connection is closed instead */
#define SL_HTTP_DATE_LEN 37               /* "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" */

/*
 *     IDLE ──first byte──► HEAD ──► BODY ──► BUSY ──answered──► IDLE
 *       └───── whole request in one read ─────┘ │ └─ body unread ─► DISCARD ─► IDLE
 *     any ──► CLOSING
 */
typedef enum sl_conn_state {
    SL_CONN_IDLE = 0,
    SL_CONN_HEAD,
    SL_CONN_BODY,
    SL_CONN_BUSY,
    SL_CONN_DISCARD,
    SL_CONN_CLOSING
} sl_conn_state;

struct sl_exchange {
    uv_tcp_t tcp;
    sl_http_server *server;
    sl_exchange *next;
    sl_exchange **prev;
    sl_timer timer;
    sl_conn_state state;
    /* The request. */
    sl_buf in;       /* a head that came in parts, or bytes ahead of their turn */
    char *head_data; /* a head whose body came in parts */
    size_t head_len;
    sl_str body;     /* set in on_request */
    char *body_data; /* body in memory of its own */
    size_t body_len;
    size_t body_cap;
    uint64_t body_left;  /* of Content-Length, in BODY and DISCARD */
    sl_chunked *chunked; /* decoder of a chunked body; NULL otherwise */
    sl_http1_parser parser;
    uint64_t start_ns;
    /* The answer. */
    void *data;
    uint64_t bytes_out;
    uint64_t length_left; /* of an announced Content-Length */
    int outcome;          /* for on_done */
    unsigned allowed;     /* methods that a 405 names: bits of sl_http_method */
    bool known : 1;       /* the handler has been told of this exchange */
    bool begun : 1;       /* a head has been sent */
    bool ended : 1;       /* all of the answer has been given to the stream */
    bool chunks : 1;      /* the answer goes out in chunks */
    bool is_head : 1;     /* answer without body */
    bool http_1_0 : 1;
    bool keep_alive : 1;   /* what the client wants and the server allows */
    bool request_read : 1; /* the body has been read to its end */
    bool blocked : 1;      /* sl_exchange_write has said stop */
    bool peer_ended : 1;   /* the client has shut down its side */
    bool stopped : 1;      /* reading is stopped: the stash is full */
    bool in_process : 1;   /* the reading loop is on the stack */
    bool writing : 1;      /* bytes wait in the stream's queue */
    uint16_t peer_port;
    char peer[46];  /* the client's address as text; empty: not asked for yet */
    uint8_t probes; /* looks left at a client that has shut down its side */
    sl_exchange *next_probed;
    sl_exchange **prev_probed;
};

struct sl_http_server {
    sl_loop *loop;
    sl_http_handler handler;
    sl_http_server_options options;
    uv_tcp_t *listeners[SL_HTTP_LISTENERS];
    size_t listener_count;
    unsigned starved; /* one bit each: a connection waits for memory */
    sl_timer accept_timer;
    sl_exchange *connections;
    size_t connection_count;
    size_t handles; /* listeners and timers that are not closed yet */
    sl_exchange *probed;
    uv_timer_t prober;
    bool draining;
    bool closed;
    void (*on_drained)(void *user);
    void *drained_user;
    sl_http1_head head; /* of the request that is being looked at */
    sl_http1_field *fields;
    sl_buf joined; /* small pieces, put together for one write */
    uint64_t date_second;
    char date[SL_HTTP_DATE_LEN + 1];
};

/* Calls on_drained when the last connection of a draining server has gone. */
void sl_server_maybe_drained(sl_http_server *server);
/* Frees a closed server once nothing of it is left. */
void sl_server_release(sl_http_server *server);
/* Takes the connection that a listener has. Errors: SL_ENOMEM (the listener still has it). */
SL_MUST_CHECK int sl_conn_accept(sl_http_server *server, uv_stream_t *listener);
/* The server has begun to drain: this connection ends when its client has its answer. */
void sl_conn_drain(sl_exchange *x);
/* Closes the connection; on_done(outcome) comes from the loop. Idempotent. */
void sl_conn_close(sl_exchange *x, int outcome);
/* The answer has been given to the kernel in full: tells the handler and goes on with the next request. */
void sl_conn_answered(sl_exchange *x);
/* Begins to look whether a client that has shut down its side is still there. */
void sl_conn_watch_half_closed(sl_exchange *x);
/* Sends pieces; closes the connection when that fails. */
void sl_conn_send(sl_exchange *x, uv_buf_t *pieces, unsigned count);
/* Sends a bare interim answer or the like, outside of the answer. */
void sl_conn_send_text(sl_exchange *x, sl_str text);

#endif
