/*
 * What an OTLP answer means: delivered, partly refused, try again (and when), or lost. No I/O.
 * Source: opentelemetry-proto, docs/specification.md, "OTLP/gRPC Response" and "OTLP/HTTP Response".
 */
#ifndef SL_TELEMETRY_EXPORTER_OUTCOME_H
#define SL_TELEMETRY_EXPORTER_OUTCOME_H

#include "src/base/str.h"
#include "src/telemetry/sink_report.h"

typedef struct sl_otlp_outcome {
    int error;               /* 0, SL_ERETRY, SL_EREFUSED, SL_EPROTO */
    uint64_t retry_after_ms; /* 0: the peer did not say */
    uint64_t rejected;       /* items of a request that was taken */
    char why[256];           /* for people; empty when all is well */
} sl_otlp_outcome;

/* The answer to an OTLP/HTTP request; an empty `retry_after` is an absent field. `now_s` is the time in Unix seconds.
 */
typedef struct sl_otlp_http_answer {
    int status;
    sl_str content_type;
    sl_str retry_after;
    sl_str body;
    uint64_t now_s;
} sl_otlp_http_answer;
void sl_otlp_outcome_http(const sl_otlp_http_answer *answer, sl_otlp_outcome *ret_outcome);

/* The answer to an OTLP/gRPC call: status, message, details (grpc-status-details-bin as sent), message of the response.
 */
typedef struct sl_otlp_grpc_answer {
    int status; /* of google.rpc.Code */
    sl_str message;
    sl_str details;
    sl_str body;
} sl_otlp_grpc_answer;
void sl_otlp_outcome_grpc(const sl_otlp_grpc_answer *answer, sl_otlp_outcome *ret_outcome);

/* Reports an outcome and hands it on: what an exporter's `deliver` returns. */
int sl_otlp_outcome_settle(const sl_otlp_outcome *outcome, sl_reporter *reporter, uint64_t *ret_retry_after_ms,
                           uint64_t *ret_rejected);

/* The shorter of an exporter's own time for a request (0: none) and the time given. */
uint64_t sl_otlp_timeout_ms(uint64_t own_ms, uint64_t given_ms);

/* Name of a gRPC status, such as "UNAVAILABLE". Static. */
const char *sl_grpc_status_name(int status);

#endif
