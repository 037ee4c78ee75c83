/*
 * Trace context and baggage: what travels between processes, and the W3C headers that carry it.
 *
 * Sources: W3C Trace Context Level 2, W3C Baggage.
 */
#ifndef SIGHTLINE_CONTEXT_H
#define SIGHTLINE_CONTEXT_H

#include <sightline/value.h>

SL_BEGIN_DECLS

#define SL_TRACE_ID_SIZE 16
#define SL_SPAN_ID_SIZE 8
#define SL_TRACEPARENT_LEN 55 /* characters of a version 00 header */

/* W3C trace-flags. */
#define SL_TRACE_FLAG_SAMPLED 0x01
#define SL_TRACE_FLAG_RANDOM 0x02

/*
 * Identity of a span. All-zero ids mean "no span". `tracestate` is a view: it lives as long as the header it was
 * parsed from, or as long as the span it was read from.
 */
typedef struct sl_span_context {
    uint8_t trace_id[SL_TRACE_ID_SIZE];
    uint8_t span_id[SL_SPAN_ID_SIZE];
    uint8_t flags;
    bool remote; /* came from another process */
    sl_str tracestate;
} sl_span_context;

/* True when both ids are not all zero. Any thread. */
SL_API bool sl_span_context_is_valid(const sl_span_context *context);

/*
 * Parses a `traceparent` header. Unknown higher versions are read as the specification asks (first 55 characters).
 * Effect: fills `ret_context` (remote = true, empty tracestate). Unchanged on failure.
 * Errors: SL_EPARSE. Any thread. Source: W3C Trace Context Level 2, section 3.2.
 */
SL_API SL_MUST_CHECK int sl_traceparent_parse(sl_str header, sl_span_context *ret_context);

/*
 * Writes the version 00 `traceparent` of a context: 55 characters and a NUL. Flags other than sampled and random are
 * emitted as 0. Any thread.
 */
SL_API void sl_traceparent_format(const sl_span_context *context, char ret_text[SL_TRACEPARENT_LEN + 1]);

/*
 * Checks and normalises a `tracestate` header: optional white space and empty members are removed, of a key that occurs
 * twice the first entry is kept. What does not fit into `size` is cut by whole entries: those above 128 characters
 * first, then the right-most. Several headers are joined by the caller with ",".
 * Effect: writes at most `size` bytes without NUL, and the length to `ret_len`.
 * Errors: SL_EPARSE when any member is malformed or there are more than 32 (the whole header is to be discarded),
 * SL_EINVAL. Any thread. Source: W3C Trace Context Level 2, section 3.3.
 */
SL_API SL_MUST_CHECK int sl_tracestate_parse(sl_str header, char *text, size_t size, size_t *ret_len);

/*
 * Value of one member of a well-formed tracestate; empty view when absent. The view points into `tracestate`.
 * Any thread.
 */
SL_API sl_str sl_tracestate_get(sl_str tracestate, sl_str key);

/*
 * Sets one member: it moves to the front; members beyond 32 or beyond `size` are dropped as by sl_tracestate_parse. A
 * `tracestate` that is not well-formed counts as empty.
 * Errors: SL_EINVAL (key or value not allowed), SL_ELIMIT (`size` too small for the member alone). Any thread.
 */
SL_API SL_MUST_CHECK int sl_tracestate_set(sl_str tracestate, sl_str key, sl_str value, char *text, size_t size,
                                           size_t *ret_len);

/* A set of baggage members, immutable once shared between threads. At most 64 members and 8192 bytes. */
typedef struct sl_baggage sl_baggage;

/* An empty baggage; NULL when out of memory. The caller frees it. Any thread. */
SL_API sl_baggage *sl_baggage_new(void);

/* A copy of `baggage` (NULL: a new empty one); NULL when out of memory. Any thread. */
SL_API sl_baggage *sl_baggage_copy(const sl_baggage *baggage);

/* Frees a baggage; NULL is accepted. It must not be attached to any thread. */
SL_API void sl_baggage_free(sl_baggage *baggage);

/*
 * Parses a `baggage` header. Malformed members are skipped; percent-encoded values are decoded, invalid UTF-8 becomes
 * U+FFFD. Members beyond the limits are left out whole.
 * Ownership: the caller frees `*ret_baggage`. Errors: SL_EPARSE when nothing in it is valid, SL_ENOMEM. Any thread.
 * Source: W3C Baggage.
 */
SL_API SL_MUST_CHECK int sl_baggage_parse(sl_str header, sl_baggage **ret_baggage);

/*
 * Adds or replaces a member. `metadata` is the property text after the first ';', or empty.
 * Errors: SL_EINVAL (key is no token), SL_ELIMIT, SL_ENOMEM. Not while the baggage is shared between threads.
 */
SL_API SL_MUST_CHECK int sl_baggage_set(sl_baggage *baggage, sl_str key, sl_str value, sl_str metadata);

/* Removes a member; nothing happens when it is absent. Not while shared between threads. */
SL_API void sl_baggage_remove(sl_baggage *baggage, sl_str key);

/* Value of a member; empty view when absent. Valid until the baggage changes. Any thread. */
SL_API sl_str sl_baggage_get(const sl_baggage *baggage, sl_str key);

/* Number of members. NULL has none. Any thread. */
SL_API size_t sl_baggage_count(const sl_baggage *baggage);

/*
 * Member number `index` (0-based) in order of insertion. Errors: SL_ENOENT. Views valid until the baggage changes.
 */
SL_API SL_MUST_CHECK int sl_baggage_at(const sl_baggage *baggage, size_t index, sl_str *ret_key, sl_str *ret_value,
                                       sl_str *ret_metadata);

/*
 * Writes the header value, percent-encoded, without NUL.
 * Errors: SL_ELIMIT when `size` is too small (8192 always suffices). Any thread.
 */
SL_API SL_MUST_CHECK int sl_baggage_format(const sl_baggage *baggage, char *text, size_t size, size_t *ret_len);

/*
 * Makes `baggage` the current one of this thread and returns the previous one, which the caller puts back by a second
 * call. The thread keeps only the pointer. NULL means none.
 */
SL_API const sl_baggage *sl_baggage_attach(const sl_baggage *baggage);

/* The current baggage of this thread, or NULL. */
SL_API const sl_baggage *sl_baggage_current(void);

SL_END_DECLS

#endif
