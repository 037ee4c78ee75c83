/*
 * Values of HTTP fields: lists, media types and their negotiation, bearer tokens, dates, Retry-After.
 *
 * Views into the value given; nothing allocates. Malformed parts are skipped where RFC 9110 lets a recipient ignore
 * them, else reported. Source: RFC 9110 sections 5.6 and 12.5, RFC 6750 section 2.1.
 */
#ifndef SL_WIRE_HTTP_FIELD_H
#define SL_WIRE_HTTP_FIELD_H

#include "src/base/str.h"

/* True when all bytes are token characters (RFC 9110, 5.6.2) and there is at least one. */
bool sl_http_is_token(sl_str text);

/*
 * Takes the next element off the front of a comma-separated list; white space around it is dropped, empty elements are
 * skipped, commas within quoted strings do not separate. False at the end.
 */
bool sl_http_list_next(sl_str *rest, sl_str *ret_item);

/* True when a list has this token (letter case is ignored; parameters behind ';' do not count). */
bool sl_http_list_has(sl_str list, sl_str token);

/* The part of a value before its parameters: "text/html; charset=utf-8" gives "text/html". */
sl_str sl_http_media_type(sl_str value);

/* Value of a parameter ("charset"), quotes removed, escapes left as they are; false when absent. */
bool sl_http_param(sl_str value, sl_str name, sl_str *ret_value);

/* Weight of a list's element: 1000 without q; -1 when q is malformed (RFC 9110, 12.4.2: at most three decimals). */
int sl_http_weight(sl_str element);

/*
 * Weight (0 to 1000) that an Accept value gives to a media type such as "application/json": that of its most specific
 * range (type/subtype, type/, any). An empty Accept accepts everything (1000). Ranges that are malformed are ignored;
 * so are parameters other than q.
 */
int sl_http_accept_weight(sl_str accept, sl_str media_type);

/* Index of the offer with the highest weight, the first of equals; SL_NPOS when none is acceptable. */
size_t sl_http_negotiate(sl_str accept, const sl_str *offers, size_t count);

/* The token of `Authorization: Bearer TOKEN`; false for other schemes and for malformed or empty tokens. */
bool sl_http_bearer(sl_str authorization, sl_str *ret_token);

#define SL_HTTP_DATE_SIZE 30 /* with NUL */

/* Writes a time as IMF-fixdate ("Sun, 06 Nov 1994 08:49:37 GMT") with a NUL. Years 1 to 9999, else they are clamped. */
void sl_http_date_format(int64_t unix_s, char ret_text[SL_HTTP_DATE_SIZE]);

/* Reads IMF-fixdate, RFC 850 and asctime dates (RFC 9110, 5.6.7). Errors: SL_EPARSE. */
SL_MUST_CHECK int sl_http_date_parse(sl_str text, int64_t *ret_unix_s);

/*
 * Reads Retry-After: seconds (a fraction, which some providers send, is accepted) or a date, into milliseconds from
 * `now_unix_ms`; a date in the past is 0; capped to a day. Errors: SL_EPARSE.
 */
SL_MUST_CHECK int sl_http_retry_after(sl_str value, int64_t now_unix_ms, uint64_t *ret_ms);

#endif
