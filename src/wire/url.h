/*
 * URLs, addresses, request targets, percent coding. Views into the text given; nothing allocates.
 *
 * Source: RFC 3986; RFC 9110 section 4.2 (http and https: no user information, no empty host).
 */
#ifndef SL_WIRE_URL_H
#define SL_WIRE_URL_H

#include "src/base/limits.h"
#include "src/base/str.h"

/* An absolute http or https URL. */
typedef struct sl_url {
    bool tls;        /* https */
    bool host_is_v6; /* the host was in brackets */
    bool port_given;
    uint16_t port;    /* 80 or 443 when not given */
    sl_str host;      /* without brackets, not empty */
    sl_str authority; /* host[:port] as written, what a Host field carries */
    sl_str target;    /* path and query, begins with '/' ("/" when the URL has no path) */
    sl_str path;      /* begins with '/' */
    sl_str query;     /* without '?'; empty when there is none */
} sl_url;

/*
 * Parses an absolute URL. Refused: other schemes, user information, fragments, empty hosts, ports outside 1 to 65535,
 * IPv6 zones, a query without a path, white space, control and non-ASCII bytes, broken percent codes, more than
 * SL_MAX_URL_BYTES.
 * Errors: SL_EPARSE, SL_ETOOBIG; `*ret_reason` (may be NULL) is then a static text for people.
 */
SL_MUST_CHECK int sl_url_parse(sl_str text, sl_url *ret_url, const char **ret_reason);

/* HOST:PORT of a peer. */
typedef struct sl_hostport {
    bool is_v6;    /* host was in brackets */
    bool has_port; /* false for a bare host */
    sl_str host;   /* without brackets, not empty */
    uint16_t port;
} sl_hostport;

/*
 * Parses the authority of a peer: `HOST`, `HOST:PORT`, `[V6]`, `[V6]:PORT`; port 1 to 65535. A name holds what RFC 3986
 * calls a registered name, but no comma; an IPv6 address has no zone (RFC 9110 knows none). Errors: SL_EPARSE.
 */
SL_MUST_CHECK int sl_hostport_parse_peer(sl_str text, sl_hostport *ret_hostport);

/*
 * Path and query (without '?') of a request target in origin-form or absolute-form; `*` gives the path "*".
 * The path is "/" when an absolute-form target has none. Never fails: give it what sl_http1_parse_request accepted.
 */
void sl_target_split(sl_str target, sl_str *ret_path, sl_str *ret_query);

/*
 * Decodes percent codes into `buffer`; with `plus` also '+' as a space (forms). No NUL is appended.
 * Errors: SL_EPARSE (broken code, or a code or byte NUL), SL_ELIMIT (does not fit).
 */
SL_MUST_CHECK int sl_url_decode(sl_str text, bool plus, char *buffer, size_t size, size_t *ret_len);

/*
 * Takes the next name=value off the front of a query ("a=1&b"); views are still percent-coded. False at the end.
 * Empty parts ("a&&b") are skipped.
 */
bool sl_query_next(sl_str *rest, sl_str *ret_name, sl_str *ret_value);

/* First value of `name` (compared as it stands, not decoded) in a query; false when absent. */
bool sl_query_get(sl_str query, const char *name, sl_str *ret_value);

#endif
