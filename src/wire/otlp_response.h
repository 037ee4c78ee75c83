/*
 * What an OTLP server answers: partial success, google.rpc.Status, and whether to try again.
 *
 * Promises: safe on arbitrary bytes; texts are copied, cut to the size of their field and repaired to valid UTF-8.
 * Does not redact: a text from a server is shown to people only through sl_redact_text.
 * Source: opentelemetry-proto, docs/specification.md (OTLP/gRPC Response, OTLP/HTTP Response); google.rpc.
 */
#ifndef SL_WIRE_OTLP_RESPONSE_H
#define SL_WIRE_OTLP_RESPONSE_H

#include <sightline/base.h>

#define SL_OTLP_MESSAGE_SIZE 512

/* An Export*ServiceResponse. All zero: full success. */
typedef struct sl_otlp_response {
    bool partial;     /* partial_success holds something: rejected records, or a warning */
    int64_t rejected; /* spans, data points or log records; never negative */
    char message[SL_OTLP_MESSAGE_SIZE];
} sl_otlp_response;

/* A google.rpc.Status. */
typedef struct sl_otlp_status {
    int32_t code;
    char message[SL_OTLP_MESSAGE_SIZE];
    bool has_retry_info;
    uint64_t retry_delay_ms; /* of RetryInfo, rounded up; 0 without delay */
} sl_otlp_status;

/* Decodes the body of a success, protobuf or JSON. Errors: SL_EPARSE. An empty body is full success. */
SL_MUST_CHECK int sl_otlp_response_parse(sl_str body, bool json, sl_otlp_response *ret_response);

/* Decodes the body of a failure, protobuf or JSON (of which details are not read). Errors: SL_EPARSE. */
SL_MUST_CHECK int sl_otlp_status_parse(sl_str body, bool json, sl_otlp_status *ret_status);

/* Decodes the value of `grpc-status-details-bin`. Errors: SL_EPARSE, SL_ELIMIT (longer than any sane header). */
SL_MUST_CHECK int sl_otlp_status_parse_base64(sl_str header, sl_otlp_status *ret_status);

typedef enum sl_otlp_verdict {
    SL_OTLP_DONE = 0,  /* accepted, in full or in part: never send again */
    SL_OTLP_RETRY = 1, /* send again later */
    SL_OTLP_DROP = 2   /* refused for good */
} sl_otlp_verdict;

/* Verdict on an HTTP status: 2xx done; 429, 502, 503, 504 retry; everything else drop. */
sl_otlp_verdict sl_otlp_http_verdict(int status);

/* Verdict on a gRPC status code. RESOURCE_EXHAUSTED is retried only with RetryInfo. */
sl_otlp_verdict sl_otlp_grpc_verdict(int code, bool has_retry_info);

#endif
