/*
 * HTTP/1.1 server on an event loop: parses strictly, hands over whole requests, writes answers whole or streamed.
 *
 *                      ┌──────────────────────── keep-alive ────────────────────────┐
 *                      ▼                                                            │
 *     accept ──► waiting for a head ──► on_head ──► reading the body ──► on_request ─► answered ──► on_done
 *                      │                   │                │                │
 *                      └── bad, late ──────┴── too big, late┘                └── client gone ──► on_done(SL_ECLOSED)
 *
 * Promises: one request of a connection at a time (pipelined ones wait in order); heads, fields and bodies are bounded
 * (431, 413), slow clients are timed out (408), ambiguous framing is refused with 400 and the connection closed;
 * the client is watched while its answer is being made, so that one who leaves is noticed at once; a client that has
 * only shut down its sending side is still served. An idle connection owns about 600 bytes.
 *
 * An exchange is one request with its answer. Between on_head (or on_request, whichever comes first) and on_done it
 * belongs to the handler, who must answer it sooner or later. Everything here is for the loop's own thread.
 *
 * Does not do: TLS, HTTP/2, compression, files.
 */
#ifndef SL_NET_HTTP_SERVER_H
#define SL_NET_HTTP_SERVER_H

#include "src/base/limits.h"
#include "src/net/loop.h"
#include "src/wire/http1.h"

typedef struct sl_http_server sl_http_server;
typedef struct sl_exchange sl_exchange;

/* Zero values are the defaults. */
typedef struct sl_http_server_options {
    size_t max_head_bytes;     /* SL_MAX_HEAD_BYTES */
    size_t max_fields;         /* SL_MAX_HEAD_FIELDS */
    size_t max_body_bytes;     /* SL_MAX_BODY_BYTES */
    size_t max_connections;    /* 0: as many as there are descriptors */
    uint32_t head_timeout_ms;  /* 15 s from the first byte of a head to its last */
    uint32_t body_timeout_ms;  /* 30 s without a byte of the body */
    uint32_t idle_timeout_ms;  /* 75 s between requests */
    uint32_t write_timeout_ms; /* 60 s without the client taking a byte of what waits for it */
    size_t high_water;         /* 256 KiB unsent: sl_exchange_write says stop */
    size_t low_water;          /* 128 KiB: on_writable */
    bool detail_errors;        /* sl_exchange_error: {"detail":...}, not {"error":{...}} */
} sl_http_server_options;

/* What the server tells. All calls come from the loop; `user` is the handler's own. */
typedef struct sl_http_handler {
    void *user;
    /*
     * The head is complete, the body is not read yet. Optional. May answer at once (such as 401): the body is then read
     * and thrown away when it is short, else the connection is closed after the answer.
     */
    void (*on_head)(void *user, sl_exchange *x);
    /* Head and body are complete. Views into them are valid until the return; then the handler has what it copied. */
    void (*on_request)(void *user, sl_exchange *x);
    /* What waited unsent has fallen below low_water, after sl_exchange_write had returned true. Optional. */
    void (*on_writable)(void *user, sl_exchange *x);
    /*
     * The exchange is over; `x` is not to be used any more. `outcome`: 0 answered whole, SL_ECLOSED the client
     * left before that, SL_ETIMEOUT it was too slow, SL_EPROTO it broke the protocol, SL_ETOOBIG its body was too
     * large, SL_ENOMEM there was no memory for it (the last four: the server has answered by itself, unless an answer
     * had begun). Called once for each exchange that the handler was told of.
     */
    void (*on_done)(void *user, sl_exchange *x, int outcome);
    /* A request was refused before the handler heard of it: bad head, head too large or too slow. Optional. */
    void (*on_refused)(void *user, int status);
    /* Connections opened (+1) and closed (-1). Optional. */
    void (*on_connection)(void *user, int change);
} sl_http_handler;

/* A whole answer. */
typedef struct sl_http_reply {
    int status;
    const char *content_type; /* NULL: none */
    sl_str fields;            /* further whole lines, "Name: value\r\n" each */
    sl_str body;
    bool close; /* and close the connection */
} sl_http_reply;

/* The beginning of a streamed answer. */
typedef struct sl_http_stream {
    int status;
    const char *content_type;
    sl_str fields;
    bool has_length; /* Content-Length: `length`, instead of chunks */
    uint64_t length;
    sl_str first; /* goes out with the head in one write; may be empty */
    bool last;    /* `first` is all */
} sl_http_stream;

/* ---- the server ---- */

/* Errors: SL_ENOMEM. `options` may be NULL; the handler is copied. */
SL_MUST_CHECK int sl_http_server_new(sl_loop *loop, const sl_http_handler *handler,
                                     const sl_http_server_options *options, sl_http_server **ret_server);
/*
 * Listens on an open, bound, listening socket. The descriptor is duplicated: closing the server leaves the caller's
 * open, and with it the connections that wait in its queue. Errors: SL_EIO, SL_ELIMIT (8 listeners), SL_ENOMEM.
 */
SL_MUST_CHECK int sl_http_server_listen(sl_http_server *server, int fd);
/* Stops accepting; connections that wait in the queue stay there. */
void sl_http_server_pause(sl_http_server *server);
/*
 * Stops accepting, and ends every connection without losing a request: answers from now on say `Connection: close`, and
 * a connection whose client has been told to keep it is closed when it has been idle for 0.3 s more. `on_drained` (may
 * be NULL) is called once when none is left, never from inside this call.
 */
void sl_http_server_drain(sl_http_server *server, void (*on_drained)(void *user), void *user);
/* Closes everything at once (on_done comes for what is under way); the memory goes when the loop has run. */
void sl_http_server_close(sl_http_server *server);

/* ---- reading an exchange ---- */

/* The parsed head; valid until on_request returns. */
const sl_http1_head *sl_exchange_head(const sl_exchange *x);
/* The body; empty before on_request; valid until on_request returns. */
sl_str sl_exchange_body(const sl_exchange *x);
/*
 * Takes the body over instead of copying it, when it lies in memory of its own (large ones do): the caller frees
 * `*ret_memory` by sl_free. False: it does not, copy it. In on_request only.
 */
bool sl_exchange_take_body(sl_exchange *x, char **ret_memory);
/* Room for the handler's own. */
void sl_exchange_set_data(sl_exchange *x, void *data);
void *sl_exchange_data(const sl_exchange *x);
/* Monotonic nanoseconds at which the first byte of the request was read. */
uint64_t sl_exchange_start_ns(const sl_exchange *x);
/* The client's numeric address and port ("127.0.0.1"), as long as the connection lives; empty when it cannot be told.
 */
sl_str sl_exchange_peer(sl_exchange *x, uint16_t *ret_port);
/* Bytes of the answer given to the kernel or waiting for it, framing included. */
uint64_t sl_exchange_bytes_out(const sl_exchange *x);

/* ---- answering ---- */

/* The methods that a path takes, bits of sl_http_method (1u << SL_HTTP_GET): named by an answer of 405. */
void sl_exchange_allow(sl_exchange *x, unsigned methods);
/*
 * Answers in one write; Content-Length, Date, Connection are added. Nothing may be written afterwards. The exchange is
 * over when the kernel has taken it all: on_done may come before this call returns.
 */
void sl_exchange_respond(sl_exchange *x, const sl_http_reply *reply);
/* Answers with an error in OpenAI's shape: {"error":{"message","type","param":null,"code"}}. `code` may be NULL. */
void sl_exchange_error(sl_exchange *x, int status, const char *type, const char *code, const char *message);
/* Begins a streamed answer. True: too much waits unsent; stop until on_writable. */
bool sl_exchange_begin(sl_exchange *x, const sl_http_stream *stream);
/*
 * Writes a piece of the body in one write, as a chunk where chunks were begun; `last` ends the answer (on_done may come
 * before this returns). True: too much waits unsent; stop until on_writable.
 */
bool sl_exchange_write(sl_exchange *x, sl_str data, bool last);
/* Breaks an answer off: the connection is closed without its end, so that the client can tell. on_done comes. */
void sl_exchange_abort(sl_exchange *x);
/* Bytes that wait unsent. */
size_t sl_exchange_unsent(const sl_exchange *x);
/* True once an answer has begun. */
bool sl_exchange_begun(const sl_exchange *x);

#endif
