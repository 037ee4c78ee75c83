/*
 * OTLP encoding: attributes and values, resource, scope, and the request around records that are encoded already.
 *
 * Promises: what is written is legal OTLP whatever the input. A string that is no valid UTF-8 becomes a bytes value
 * (OpenTelemetry, "Mapping Arbitrary Data to OTLP AnyValue"); in a key, name or other text field bad bytes become
 * U+FFFD. Values nested so deep that common protobuf decoders would refuse the whole request (100 messages) become the
 * null value: arrays below the 45th level, maps below the 30th. The cursor functions never allocate.
 * Does not know spans, log records or metrics: their recorders write those.
 * Source: opentelemetry-proto, common.proto, resource.proto and the three collector services.
 */
#ifndef SL_WIRE_OTLP_ENCODE_H
#define SL_WIRE_OTLP_ENCODE_H

#include <sightline/value.h>

#include "src/base/limits.h"
#include "src/wire/pb.h"

#define SL_OTLP_NO_LIMIT ((size_t)-1)

/* ---- Texts ---- */

/* As sl_utf8_valid, quick for ASCII. */
bool sl_otlp_utf8_valid(sl_str s);

/* The first `max_chars` characters (UTF-8 code points; an ill-formed piece counts as one). */
sl_str sl_otlp_cut_chars(sl_str s, size_t max_chars);

/* A string field (name, message, tracestate …); bytes that are no UTF-8 become U+FFFD. False when it does not fit. */
bool sl_otlp_put_text(sl_pb_cursor *c, uint32_t field, sl_str text);
int sl_otlp_buf_text(sl_buf *buf, uint32_t field, sl_str text);

/* ---- Values and attributes. `max_chars` cuts strings (characters) and byte arrays (bytes) at every depth. ---- */

/* Bytes that the contents of an AnyValue take. */
size_t sl_otlp_value_size(const sl_value *value, size_t max_chars);

/* The contents of an AnyValue, without tag and length. False when it does not fit. */
bool sl_otlp_put_value(sl_pb_cursor *c, const sl_value *value, size_t max_chars);

/* An AnyValue as field number `field`. 0 or the error of the buffer. */
int sl_otlp_buf_value(sl_buf *buf, uint32_t field, const sl_value *value, size_t max_chars);

/* Bytes that a KeyValue takes as field number `field`, tag and length included. */
size_t sl_otlp_attr_size(uint32_t field, const sl_attr *attr, size_t max_chars);

/* A KeyValue as field number `field`. Returns the bytes written, 0 when it does not fit (nothing is written then). */
size_t sl_otlp_put_attr(sl_pb_cursor *c, uint32_t field, const sl_attr *attr, size_t max_chars);

/* The same for one type each: what the recording path calls. No cutting. */
size_t sl_otlp_put_attr_str(sl_pb_cursor *c, uint32_t field, sl_str key, sl_str value);
size_t sl_otlp_put_attr_int(sl_pb_cursor *c, uint32_t field, sl_str key, int64_t value);
size_t sl_otlp_put_attr_double(sl_pb_cursor *c, uint32_t field, sl_str key, double value);
size_t sl_otlp_put_attr_bool(sl_pb_cursor *c, uint32_t field, sl_str key, bool value);

/* A KeyValue, or several, into a buffer. 0 or the error of the buffer. */
int sl_otlp_buf_attr(sl_buf *buf, uint32_t field, const sl_attr *attr, size_t max_chars);
int sl_otlp_buf_attrs(sl_buf *buf, uint32_t field, const sl_attr *attrs, size_t count, size_t max_chars);

/* ---- Resource and scope: the contents of the message, appended. ---- */

int sl_otlp_buf_resource(sl_buf *buf, const sl_attr *attrs, size_t count, uint32_t dropped);
int sl_otlp_buf_scope(sl_buf *buf, sl_str name, sl_str version, const sl_attr *attrs, size_t count, uint32_t dropped);

/* ---- Requests ---- */

typedef enum sl_otlp_signal { SL_OTLP_TRACES = 0, SL_OTLP_LOGS = 1, SL_OTLP_METRICS = 2 } sl_otlp_signal;

typedef struct sl_otlp_scope {
    uint32_t id; /* the caller's number */
    sl_str scope;
    sl_str schema_url;
    size_t bytes; /* of its items, tags and lengths included */
} sl_otlp_scope;

/* Consecutive items of one scope. */
typedef struct sl_otlp_run {
    uint32_t scope; /* index */
    size_t from;
    size_t len;
} sl_otlp_run;

/*
 * The records of one resource on their way into an Export*ServiceRequest. Items may come in any order of scopes; the
 * end groups them. Usable again by the next _begin, which keeps the memory. Used by one thread.
 */
typedef struct sl_otlp_request {
    sl_otlp_signal signal;
    sl_str resource;
    sl_str schema_url;
    sl_buf items;
    sl_buf runs;   /* of sl_otlp_run */
    sl_buf scopes; /* of sl_otlp_scope */
    size_t item_count;
} sl_otlp_request;

void sl_otlp_request_init(sl_otlp_request *request);
void sl_otlp_request_done(sl_otlp_request *request);

/* Starts over for a resource: the contents of a Resource message. The views must live until _end. */
void sl_otlp_request_begin(sl_otlp_request *request, sl_otlp_signal signal, sl_str resource, sl_str schema_url);

/*
 * Declares scope `id`: the contents of an InstrumentationScope, which must live until _end. Declaring an id again is
 * allowed and changes nothing. Errors: SL_ELIMIT (SL_MAX_OTLP_SCOPES), SL_ENOMEM.
 */
SL_MUST_CHECK int sl_otlp_request_scope(sl_otlp_request *request, uint32_t id, sl_str scope, sl_str schema_url);

/*
 * Adds one encoded Span, LogRecord or Metric (the contents of the message), copied.
 * Errors: SL_ENOENT (scope not declared), SL_ELIMIT (SL_MAX_OTLP_REQUEST_BYTES), SL_ENOMEM; the request is as before.
 */
SL_MUST_CHECK int sl_otlp_request_item(sl_otlp_request *request, uint32_t scope_id, sl_str item);

/* Bytes that _end will write. */
size_t sl_otlp_request_size(const sl_otlp_request *request);

/*
 * Appends ResourceSpans, ResourceLogs or ResourceMetrics as field 1 to `out`: with an empty buffer that is the whole
 * request, and a request of several resources is made by several calls. Scopes without items are left out; without
 * any item nothing is written. 0 or the error of the buffer.
 */
SL_MUST_CHECK int sl_otlp_request_end(sl_otlp_request *request, sl_buf *out);

#endif
