/*
 * The gateway's telemetry from inside: telemetry.c decides when, telemetry_span.c knows names and attributes of spans,
 * telemetry_record.c metrics and the access record. Nobody else includes this.
 */
#ifndef SL_GATEWAY_TELEMETRY_PARTS_H
#define SL_GATEWAY_TELEMETRY_PARTS_H

#include "src/gateway/telemetry_bind.h"

#define SL_GW_START_ATTRS 5

/* ---- telemetry_span.c; the spans must be recording ---- */

/* "POST /v1/chat/completions". Static. */
sl_str sl_gw_server_span_name(const sl_gw_request *request, sl_http_method method);
/* What the head tells: `attrs` has room for SL_GW_START_ATTRS. Returns their number. */
size_t sl_gw_server_attrs(const sl_gw_request *request, const sl_http1_head *head, sl_str path, sl_attr *attrs);
void sl_gw_server_span_start(sl_span *span, const sl_gw_request *request, const sl_http1_head *head, sl_str path);
void sl_gw_server_span_routed(sl_span *span, const sl_gw_request *request, const sl_gw_bound *bound);
void sl_gw_server_span_end(sl_span *span, const sl_gw_request *request, const sl_gw_status_series *status);
void sl_gw_client_span_start(sl_span *span, const sl_gw_request *request, const sl_gw_bound *bound);
/* The answer and its usage, the latter on the SERVER span too. `model`: NULL when none answered. */
void sl_gw_client_span_end(sl_span *span, sl_gw_request *request, sl_gw_model_series *model, int status);

/* ---- telemetry_record.c ---- */

/* An attempt that has ended. Returns the series of the model that answered; NULL: none did. */
sl_gw_model_series *sl_gw_record_attempt(sl_gw_request *request, uint64_t took_ns, const char *error_type);
/* A request that is over, with its access record. */
sl_gw_status_series *sl_gw_record_request(sl_gw_request *request, uint64_t end_ns);

#endif
