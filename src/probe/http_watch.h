/*
 * Watches one HTTP/1 connection from the server's side: fed with the bytes that the server reads and writes, it tells
 * when a request begins and ends, when its answer begins, goes on and ends.
 *
 * Promises: never changes or keeps what it sees but for the request line without the query's values, the few fields
 * named in event.h, and what http_tail.h keeps of an answer's end. Fixed memory, no allocation, no I/O, no clock. The
 * same events however the bytes are cut. What it does not understand (TLS, WebSocket, a server that breaks the rules)
 * it stops watching, and ends what was open.
 * Does not: judge. A server in front of it is more or less strict than this; only what frames a message matters here.
 *
 *     in:   HEAD --empty line--> [REQUEST] --> LENGTH | CHUNKED --last byte--> [REQUEST_END] --> HEAD
 *     out:  HEAD --empty line--> [ANSWER]  --> LENGTH | CHUNKED | CLOSE --last byte--> [ANSWER_END] --> HEAD
 *
 * Both directions may be fed in any order; requests may be pipelined. One thread at a time.
 * Source: RFC 9112 (framing).
 */
#ifndef SL_PROBE_HTTP_WATCH_H
#define SL_PROBE_HTTP_WATCH_H

#include "src/probe/event.h"
#include "src/wire/chunked.h"

#define SL_HTTP_WATCH_LINE 2048u       /* of a request's head; the rest of a line is left out */
#define SL_HTTP_WATCH_ANSWER_LINE 256u /* of an answer's head */
#define SL_HTTP_WATCH_PIPELINE 8u      /* requests that are not answered yet */
#define SL_HTTP_WATCH_WINDOW 4096u     /* last bytes of an answer, of which http_tail.h makes the event's tail */
#define SL_HTTP_WATCH_NO_LENGTH UINT64_MAX

/* What the watch tells: the fields of the events of these kinds, see event.h. Valid during the call. */
typedef struct sl_http_watch_event {
    sl_probe_kind kind;
    uint16_t flags;
    uint32_t request;
    uint32_t status;   /* ANSWER */
    uint64_t start_ns; /* REQUEST */
    uint64_t bytes;    /* REQUEST_END, FRAME, ANSWER_END; content length of ANSWER */
    sl_str tail;       /* REQUEST, ANSWER_END */
} sl_http_watch_event;

/* Who is told. `new_request` gives a number (not 0) to the request whose head has just come to its end. */
typedef struct sl_http_watch_sink {
    uint32_t (*new_request)(void *user);
    void (*event)(void *user, const sl_http_watch_event *event);
    void *user;
} sl_http_watch_sink;

typedef enum sl_http_watch_state {
    SL_HTTP_WATCH_HEAD = 0,
    SL_HTTP_WATCH_LENGTH,
    SL_HTTP_WATCH_CHUNKED,
    SL_HTTP_WATCH_CLOSE, /* until the connection ends */
    SL_HTTP_WATCH_LOST   /* not understood: watched no more */
} sl_http_watch_state;

/* One direction of the connection. */
typedef struct sl_http_watch_side {
    uint8_t state; /* sl_http_watch_state */
    bool begun;    /* the first line of the head has been read */
    bool line_cut;
    bool is_chunked;
    uint16_t line_len;
    uint64_t length; /* Content-Length, or SL_HTTP_WATCH_NO_LENGTH */
    uint64_t left;   /* of a body with a length */
    uint64_t bytes;  /* of the body so far, framing not counted */
    sl_chunked chunked;
} sl_http_watch_side;

typedef struct sl_http_watch {
    sl_http_watch_side in, out;
    bool tls;
    bool head_cut;   /* the request's head did not fit */
    bool has_trace;  /* traceparent is in the head; until then there is room kept for it */
    bool keeps_tail; /* the answer's body is JSON or server-sent events */
    bool is_event_stream;
    bool has_text;       /* a frame with something of the answer was told */
    bool frame_has_text; /* the write that goes on has something of it */
    uint8_t waiting_count;
    uint16_t status;
    uint16_t head_len;
    uint32_t reading; /* request whose body is coming; 0: none */
    uint32_t frame_bytes;
    uint32_t window_len;
    uint64_t start_ns;
    struct {
        uint32_t request;
        bool is_head; /* HEAD: no body comes back */
    } waiting[SL_HTTP_WATCH_PIPELINE];
    char in_line[SL_HTTP_WATCH_LINE];
    char out_line[SL_HTTP_WATCH_ANSWER_LINE];
    char head[SL_PROBE_HEAD_MAX];
    char window[SL_HTTP_WATCH_WINDOW + SL_HTTP_WATCH_WINDOW / 2];
} sl_http_watch;

/* Ready for the first byte of a connection. `tls`: the bytes are those within TLS. */
void sl_http_watch_init(sl_http_watch *watch, bool tls);
/* Bytes that the server has read. `now_ns` becomes the start of a request whose first byte is among them. */
void sl_http_watch_in(sl_http_watch *watch, const sl_http_watch_sink *sink, sl_str bytes, uint64_t now_ns);
/* Bytes that the server has written; several calls for the pieces of one write, then sl_http_watch_written. */
void sl_http_watch_out(sl_http_watch *watch, const sl_http_watch_sink *sink, sl_str bytes);
/* As above for bytes that nobody in the process has seen (sendfile). */
void sl_http_watch_out_unseen(sl_http_watch *watch, const sl_http_watch_sink *sink, uint64_t bytes);
/* One write is over: tells the FRAME, if it was one. */
void sl_http_watch_written(sl_http_watch *watch, const sl_http_watch_sink *sink);
/* How a connection ends. */
typedef enum sl_http_watch_ending {
    SL_HTTP_WATCH_BY_SERVER,  /* it has closed it: an answer without a length is complete */
    SL_HTTP_WATCH_AFTER_PEER, /* as above, but the peer had left before */
    SL_HTTP_WATCH_BY_PEER,    /* the peer has, or the way to it is broken */
    SL_HTTP_WATCH_GIVEN_UP    /* it cannot be followed any more */
} sl_http_watch_ending;

void sl_http_watch_end(sl_http_watch *watch, const sl_http_watch_sink *sink, sl_http_watch_ending how);

/* The oldest request that is not answered yet; 0: none. */
static inline uint32_t sl_http_watch_current(const sl_http_watch *watch)
{
    return watch->waiting_count ? watch->waiting[0].request : 0;
}

/* True when nothing more can be learnt of this connection. */
static inline bool sl_http_watch_is_lost(const sl_http_watch *watch)
{
    return watch->waiting_count == 0 &&
           (watch->in.state == SL_HTTP_WATCH_LOST || watch->out.state == SL_HTTP_WATCH_LOST);
}

#endif
