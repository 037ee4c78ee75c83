/*
 * Metric series of the gateway, bound once for each combination of labels that has occurred. Every table is bounded; a
 * combination that finds no room is recorded by the unbound way, which is slower and ends in the overflow series.
 */
#ifndef SL_GATEWAY_TELEMETRY_BIND_H
#define SL_GATEWAY_TELEMETRY_BIND_H

#include "src/gateway/capture.h"
#include "src/gateway/telemetry.h"
#include "src/telemetry/vocab.h"

#define SL_GW_BOUND_MODELS 8 /* models that answer under one name */
#define SL_GW_BOUND_ERRORS 24
#define SL_GW_BOUND_STATUSES 32
#define SL_GW_METHODS 9 /* sl_http_method */

/* Series of an operation of a deployment, by the model that answered. */
typedef struct sl_gw_model_series {
    uint8_t len;
    bool stream_bound; /* those of streams are bound when the first one comes */
    char model[SL_ANSWER_MODEL_MAX];
    sl_series *duration; /* of calls that went well */
    sl_series *inference;
    sl_series *tokens_in;
    sl_series *tokens_out;
    sl_series *first_token;
    sl_series *per_token;
    sl_series *first_chunk;
    sl_series *per_chunk;
    sl_series *input_total;
    sl_series *output_total;
    sl_series *cache_read_total;
    sl_series *cache_write_total;
    sl_series *reasoning_total;
} sl_gw_model_series;

/* Series of a failed call or an attempt, by error.type (a static text, found by its address). */
typedef struct sl_gw_error_series {
    const char *error_type;
    sl_series *duration;
    sl_series *inference;
    sl_series *attempts;
} sl_gw_error_series;

struct sl_gw_bound {
    sl_gw_model_series models[SL_GW_BOUND_MODELS];
    unsigned model_count;
    sl_gw_error_series errors[SL_GW_BOUND_ERRORS]; /* the first is success (error_type NULL) */
    unsigned error_count;
    sl_series *latency;   /* llamastack_inference_latency_seconds */
    sl_series *per_chunk; /* of the first model that answered; frames come before the model is known */
};

/* Series of finished requests of a route. */
typedef struct sl_gw_status_series {
    int status;
    sl_http_method method;
    const char *error_type;
    sl_series *duration;
    sl_series *requests;
} sl_gw_status_series;

typedef struct sl_gw_route_series {
    sl_gw_status_series statuses[SL_GW_BOUND_STATUSES];
    unsigned count;
    sl_series *duration[SL_GW_METHODS]; /* llamastack_request_duration_seconds */
} sl_gw_route_series;

struct sl_gw_telemetry {
    sl_sdk *sdk;
    sl_tracer *tracer;
    sl_logger *logger;
    unsigned vocabularies;
    bool baggage;
    sl_gw_capture capture;
    sl_instrument *metrics[SL_METRIC_COUNT];
    sl_gw_route_series routes[SL_GW_ROUTE_COUNT];
    struct {
        const char *type;
        sl_series *series;
    } errors[SL_GW_BOUND_ERRORS];
    unsigned error_count;
    sl_series *in_flight;
    sl_series *connections;
    sl_series *disconnects;
    sl_series *overhead_request;
    sl_series *overhead_response;
    sl_series *overhead_total;
    sl_series *usage_missing[4]; /* sl_gw_usage_gap */
};

typedef enum sl_gw_usage_gap {
    SL_GW_GAP_NOT_REPORTED = 0,
    SL_GW_GAP_CLIENT_GONE,
    SL_GW_GAP_BROKEN,
    SL_GW_GAP_COUNT
} sl_gw_usage_gap;

/* Declares the instruments and binds what has no varying labels. */
void sl_gw_bind_all(sl_gw_telemetry *telemetry);
/* NULL: no room, or no memory. */
sl_gw_status_series *sl_gw_bind_status(sl_gw_telemetry *t, sl_gw_route route, sl_http_method method, int status,
                                       const char *error_type);
sl_series *sl_gw_bind_route(sl_gw_telemetry *t, sl_gw_route route, sl_http_method method);
sl_series *sl_gw_bind_error(sl_gw_telemetry *t, const char *error_type);
/* The table of a target's operation; NULL without memory. */
sl_gw_bound *sl_gw_bind_target(sl_gw_request *request);
sl_gw_model_series *sl_gw_bind_model(sl_gw_telemetry *t, const sl_gw_request *request, sl_gw_bound *bound,
                                     sl_str model);
sl_gw_error_series *sl_gw_bind_outcome(sl_gw_telemetry *t, const sl_gw_request *request, sl_gw_bound *bound,
                                       const char *error_type);
/* Name of a method for labels. Static. */
const char *sl_gw_method_name(sl_http_method method);

#endif
