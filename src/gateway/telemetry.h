/*
 * What a request leaves behind: a SERVER span, a CLIENT span for each attempt, metrics, an access record.
 *
 * Everything accepts a gateway without telemetry (gateway->telemetry NULL) and then does nothing. Metric series are
 * bound once for each combination of labels that has occurred; labels are names of the configuration, status codes and
 * words from tables, never the client's text. No prompt or answer text, no key.
 */
#ifndef SL_GATEWAY_TELEMETRY_H
#define SL_GATEWAY_TELEMETRY_H

#include "src/gateway/gw_impl.h"

/* Errors: SL_ENOMEM. */
SL_MUST_CHECK int sl_gw_telemetry_new(sl_sdk *sdk, sl_gw_telemetry **ret_telemetry);
void sl_gw_telemetry_free(sl_gw_telemetry *telemetry);
/* Frees what a target's series were bound in. */
void sl_gw_bound_free(sl_gw_bound *bound);

/* The head is in: starts the SERVER span. */
void sl_gw_trace_start(sl_gw_request *request, const sl_http1_head *head, sl_str path);
/* The body is read: what it asks for. */
void sl_gw_trace_routed(sl_gw_request *request);
/* An attempt begins: starts the CLIENT span. */
void sl_gw_trace_attempt(sl_gw_request *request);
/* The first frame or byte of content. */
void sl_gw_trace_first(sl_gw_request *request, uint64_t mono_ns);
/* A frame after the first, `gap_ns` behind the one before. */
void sl_gw_trace_frame(sl_gw_request *request, uint64_t gap_ns);
/* The attempt has ended: status of the upstream (0: none), error.type (NULL: none). */
void sl_gw_trace_attempt_end(sl_gw_request *request, int status, const char *error_type, const char *message);
/* The request is over. */
void sl_gw_trace_end(sl_gw_request *request);
/* A request that was refused by the parser. */
void sl_gw_trace_refused(sl_gateway *gateway, int status);
void sl_gw_trace_connection(sl_gateway *gateway, int change);

/* Appends the trace headers of the attempt to a request head. */
void sl_gw_trace_inject(sl_gw_request *request, sl_buf *head);
/* True when baggage goes on. */
bool sl_gw_trace_baggage(const sl_gateway *gateway);

#endif
