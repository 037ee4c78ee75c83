/*
 * Heads of HTTP/1.0 and HTTP/1.1 messages: strict parsing, framing and connection rules, no I/O.
 *
 * Promises: a head that could be read in two ways is refused, never repaired, so that nobody before or behind this
 * process can see other messages than we do. Everything that this parser accepts, any careful parser reads alike.
 * Refused are, among others: bare LF or CR, folded lines, white space in or behind a field name, NUL and control
 * bytes, missing, empty, doubled or malformed Host, Content-Length together with Transfer-Encoding, doubled or
 * malformed Content-Length, every Transfer-Encoding but a single `chunked`, HTTP/1.0 with Transfer-Encoding.
 * Does not: decode bodies (chunked.h), judge methods or paths, allocate.
 *
 * Source: RFC 9112 (HTTP/1.1), RFC 9110 (semantics).
 *
 * A connection keeps one sl_http1_parser (a few words: how far the search for the end of the head has got), and calls
 * with all bytes of the message received so far:
 *
 * 1. sl_http1_field fields[SL_MAX_HEAD_FIELDS]: one array for each loop is enough when a head is used at once or
 * copied.
 * 2. sl_http1_head_init(&head, fields, SL_MAX_HEAD_FIELDS), then sl_http1_parse_request(&parser, bytes, &head).
 * 3. SL_EMORE: read more, come again with the longer bytes. Another error: answer parser.error_status, close.
 * 4. 0: the body begins at bytes.ptr + head.head_bytes.
 *
 * Thread rule: no shared state; each struct is used by one thread at a time.
 */
#ifndef SL_WIRE_HTTP1_H
#define SL_WIRE_HTTP1_H

#include "src/base/limits.h"
#include "src/base/str.h"

/*
 * Field names that are found by number, grouped by length because the look-up goes by length.
 * X(enumerator, lower-case name)
 */
#define SL_HTTP_FIELD_MAP(X)                                                                                           \
    X(TE, "te")                                                                                                        \
    X(B3, "b3")                                                                                                        \
    X(VIA, "via")                                                                                                      \
    X(DATE, "date")                                                                                                    \
    X(HOST, "host")                                                                                                    \
    X(VARY, "vary")                                                                                                    \
    X(ALLOW, "allow")                                                                                                  \
    X(ACCEPT, "accept")                                                                                                \
    X(COOKIE, "cookie")                                                                                                \
    X(EXPECT, "expect")                                                                                                \
    X(ORIGIN, "origin")                                                                                                \
    X(SERVER, "server")                                                                                                \
    X(BAGGAGE, "baggage")                                                                                              \
    X(TRAILER, "trailer")                                                                                              \
    X(UPGRADE, "upgrade")                                                                                              \
    X(LOCATION, "location")                                                                                            \
    X(FORWARDED, "forwarded")                                                                                          \
    X(X_API_KEY, "x-api-key")                                                                                          \
    X(X_REAL_IP, "x-real-ip")                                                                                          \
    X(CONNECTION, "connection")                                                                                        \
    X(KEEP_ALIVE, "keep-alive")                                                                                        \
    X(SET_COOKIE, "set-cookie")                                                                                        \
    X(TRACESTATE, "tracestate")                                                                                        \
    X(USER_AGENT, "user-agent")                                                                                        \
    X(RETRY_AFTER, "retry-after")                                                                                      \
    X(TRACEPARENT, "traceparent")                                                                                      \
    X(CONTENT_TYPE, "content-type")                                                                                    \
    X(X_REQUEST_ID, "x-request-id")                                                                                    \
    X(AUTHORIZATION, "authorization")                                                                                  \
    X(CACHE_CONTROL, "cache-control")                                                                                  \
    X(LAST_EVENT_ID, "last-event-id")                                                                                  \
    X(UBER_TRACE_ID, "uber-trace-id")                                                                                  \
    X(CONTENT_LENGTH, "content-length")                                                                                \
    X(ACCEPT_ENCODING, "accept-encoding")                                                                              \
    X(IDEMPOTENCY_KEY, "idempotency-key")                                                                              \
    X(X_AMZN_TRACE_ID, "x-amzn-trace-id")                                                                              \
    X(X_FORWARDED_FOR, "x-forwarded-for")                                                                              \
    X(CONTENT_ENCODING, "content-encoding")                                                                            \
    X(PROXY_CONNECTION, "proxy-connection")                                                                            \
    X(WWW_AUTHENTICATE, "www-authenticate")                                                                            \
    X(TRANSFER_ENCODING, "transfer-encoding")                                                                          \
    X(PROXY_AUTHENTICATE, "proxy-authenticate")                                                                        \
    X(PROXY_AUTHORIZATION, "proxy-authorization")

typedef enum sl_http_field_id {
    SL_HTTP_OTHER = 0,
#define SL_HTTP_FIELD_ENUM(name, text) SL_HTTP_##name,
    SL_HTTP_FIELD_MAP(SL_HTTP_FIELD_ENUM)
#undef SL_HTTP_FIELD_ENUM
        SL_HTTP_FIELD_COUNT
} sl_http_field_id;

/* Methods that are not refused with 501. CONNECT is not among them: nothing here is a tunnel. */
typedef enum sl_http_method {
    SL_HTTP_METHOD_NONE = 0,
    SL_HTTP_GET,
    SL_HTTP_HEAD,
    SL_HTTP_POST,
    SL_HTTP_PUT,
    SL_HTTP_DELETE,
    SL_HTTP_OPTIONS,
    SL_HTTP_PATCH,
    SL_HTTP_TRACE,
    SL_HTTP_QUERY /* known, served by nobody: 405, not 501 */
} sl_http_method;

/* One field line. The name as it was sent, the value without white space around it. */
typedef struct sl_http1_field {
    sl_str name;
    sl_str value;
    sl_http_field_id id;
} sl_http1_field;

/* What follows the head. */
typedef enum sl_http1_body {
    SL_HTTP1_BODY_NONE = 0,   /* nothing */
    SL_HTTP1_BODY_LENGTH,     /* content_length bytes, at least 1 */
    SL_HTTP1_BODY_CHUNKED,    /* chunked.h */
    SL_HTTP1_BODY_UNTIL_CLOSE /* answers only: all bytes until the peer closes */
} sl_http1_body;

/* A parsed head. All views point into the bytes that were parsed. */
typedef struct sl_http1_head {
    /* Request line; empty in answers. */
    sl_str method;
    sl_http_method method_id;
    sl_str target; /* origin-form, absolute-form (http, https) or `*`; printable ASCII without `#` */
    sl_str host;   /* authority: of an absolute-form target, else of the Host field; empty in HTTP/1.0 without Host */
    /* Status line; 0 and empty in requests. */
    int status;
    sl_str reason;

    int minor;               /* HTTP/1.minor: 0 or 1 */
    size_t head_bytes;       /* of the head, with its empty line, and an empty line that came before it */
    sl_http1_body body;      /* framing of what follows */
    uint64_t content_length; /* value of Content-Length, also where no body follows (HEAD, 304); else 0 */
    bool has_content_length;
    bool keep_alive;      /* the sender would use the connection again (still to be ANDed with one's own wish) */
    bool expect_continue; /* HTTP/1.1 request with Expect: 100-continue and a body */
    bool upgrade;         /* Upgrade with Connection: upgrade; may be ignored in requests */
    bool nominates;       /* Connection names fields that must not go on */

    uint16_t known[SL_HTTP_FIELD_COUNT]; /* 1 + index of the first field of that id, 0 when absent */
    size_t field_count;
    size_t field_cap;
    sl_http1_field *fields; /* the caller's storage */
    sl_str bytes;           /* the head itself, head_bytes long */
} sl_http1_head;

/* Search state and limits of one direction of a connection. */
typedef struct sl_http1_parser {
    /* Constant after init. */
    size_t max_head_bytes;
    /* Progress within the current head. */
    size_t scanned;          /* bytes already searched */
    size_t line_start;       /* of the line being searched */
    bool empty_line_skipped; /* the one that may stand before a request */
    bool first_line_seen;
    bool first_line_checked;
    /* Set when a parse function fails. */
    int error_status;         /* for the answer to a client: 400, 414, 417, 431, 501 or 505; a client maps it to 502 */
    const char *error_reason; /* static, short, lower case, without anything the peer sent */
} sl_http1_parser;

/* Prepares a parser; `max_head_bytes` 0 is SL_MAX_HEAD_BYTES. */
void sl_http1_parser_init(sl_http1_parser *parser, size_t max_head_bytes);

/* Gives a head the storage for its fields; `cap` (1 to 65534) is the limit of fields (SL_MAX_HEAD_FIELDS by default).
 */
void sl_http1_head_init(sl_http1_head *head, sl_http1_field *storage, size_t cap);

/*
 * Parses a request head. `bytes` begins at the start of the message (one empty line before it is skipped, RFC 9112
 * section 2.2) and holds everything received so far; a later call for the same message passes the same bytes and more
 * (they may have moved). Work over all calls is linear in the bytes.
 * Returns 0 and the filled `head`; the parser is then ready for the next message.
 * Errors: SL_EMORE (nothing wrong yet); SL_EPARSE, SL_ETOOBIG (head or fields over the limit): parser->error_status
 * and error_reason say what, `head` is undefined, the connection has to be closed. Errors are reported as soon as they
 * are certain for the request line and line ends, and when the head is complete for the rest.
 */
SL_MUST_CHECK int sl_http1_parse_request(sl_http1_parser *parser, sl_str bytes, sl_http1_head *head);

/*
 * Parses a response head, as above, without an empty line before it. `request_method` is that of the request it
 * answers (HEAD has no body). 1xx answers are returned like others (body none): the final answer follows them.
 */
SL_MUST_CHECK int sl_http1_parse_response(sl_http1_parser *parser, sl_str bytes, sl_http_method request_method,
                                          sl_http1_head *head);

/* True when the message has begun, that is when a close now would cut a head. */
static inline bool sl_http1_parser_is_mid_head(const sl_http1_parser *parser)
{
    return parser->scanned > 0;
}

/* Value of the first field of an id; empty when absent. */
static inline sl_str sl_http1_get(const sl_http1_head *head, sl_http_field_id id)
{
    return head->known[id] ? head->fields[head->known[id] - 1].value : sl_str_of(NULL, 0);
}

/* True when there is a field of that id. */
static inline bool sl_http1_has(const sl_http1_head *head, sl_http_field_id id)
{
    return head->known[id] != 0;
}

/*
 * The next field of an id after index `*index` - 1: for fields that may come several times (tracestate, accept).
 * Start with *index = 0. False when there is no more.
 */
bool sl_http1_get_next(const sl_http1_head *head, sl_http_field_id id, size_t *index, sl_str *ret_value);

/*
 * All fields of an id as one list (RFC 9110 section 5.3): the value itself when it stands once, else the values joined
 * with ',' in `buffer`. Values that do not fit are left out with all that follow, and the list then ends with ','.
 * A field that may stand only once (traceparent) is thereby malformed when it stands twice. Empty when absent.
 */
sl_str sl_http1_get_list(const sl_http1_head *head, sl_http_field_id id, char *buffer, size_t size);

/* First field of any name (letter case is ignored); false when absent. Linear. */
bool sl_http1_find(const sl_http1_head *head, sl_str name, sl_str *ret_value);

/*
 * True when field `index` belongs to this connection alone and must not be forwarded (RFC 9110 section 7.6.1):
 * Connection and what it names, Keep-Alive, Proxy-*, TE, Trailer, Upgrade, Transfer-Encoding. Content-Length and Host
 * are not among them: whoever forwards writes them anew.
 */
bool sl_http1_is_hop_by_hop(const sl_http1_head *head, size_t index);

/* Size of the memory that sl_http1_head_copy needs. */
size_t sl_http1_head_copy_size(const sl_http1_head *head);

/*
 * Copies a head with its fields and bytes into `memory` (sl_http1_head_copy_size bytes, aligned as malloc's), so that
 * it outlives the read buffer. The copy holds no resource: it goes when the memory goes.
 */
sl_http1_head *sl_http1_head_copy(const sl_http1_head *head, void *memory);

/* Number of a field name (any case), SL_HTTP_OTHER when it is not in the table. */
sl_http_field_id sl_http_field_lookup(sl_str name);

/* Lower-case name of a number; empty for SL_HTTP_OTHER. Static. */
sl_str sl_http_field_name(sl_http_field_id id);

/* Number of a method, SL_HTTP_METHOD_NONE when unknown; letter case matters. */
sl_http_method sl_http_method_lookup(sl_str method);

#endif
