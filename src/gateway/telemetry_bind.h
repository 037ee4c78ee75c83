/*
 * Metric series of the gateway, bound once for each combination of labels that has occurred. Every table is bounded; a
 * combination that finds no room is recorded by the unbound way, which is slower and ends in the overflow series.
 */
#ifndef SL_GATEWAY_TELEMETRY_BIND_H
#define SL_GATEWAY_TELEMETRY_BIND_H

#include "src/gateway/capture.h"
#include "src/gateway/telemetry.h"
#include "src/telemetry/span_block.h"
#include "src/telemetry/vocab.h"

#define SL_GW_BOUND_MODELS 8 /* models that answer under one name */
#define SL_GW_BOUND_ERRORS 24
#define SL_GW_BOUND_STATUSES 32
#define SL_GW_METHODS 9 /* sl_http_method */

#define SL_GW_BOUND_ANSWERS 4 /* status and finish reason */

/* The attributes of an answer as most answers of a model have them. */
typedef struct sl_gw_answer_block {
    int status;
    char reason[SL_ANSWER_REASON_MAX]; /* empty: none */
    sl_span_block *block;
} sl_gw_answer_block;

/* Series of an operation of a deployment, by the model that answered. */
typedef struct sl_gw_model_series {
    uint8_t len;
    uint8_t answer_count;
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
    sl_gw_answer_block answers[SL_GW_BOUND_ANSWERS];
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
    sl_series *latency; /* llamastack_inference_latency_seconds */
    char span_name[SL_OPENAI_MODEL_MAX + 24];
    /* Without memory these are NULL, and what they say is left out. */
    sl_span_block *routed;  /* of the SERVER span, once the model is known */
    sl_span_block *attempt; /* of the CLIENT span, from its beginning */
    sl_logger *logger;      /* of access records: status 200, model, provider */
};

/* Series of finished requests of a route. */
typedef struct sl_gw_status_series {
    int status;
    sl_http_method method;
    const char *error_type;
    sl_series *duration;
    sl_series *requests;
    sl_span_block *end; /* of the SERVER span: status, error.type */
} sl_gw_status_series;

typedef struct sl_gw_route_series {
    sl_gw_status_series statuses[SL_GW_BOUND_STATUSES];
    unsigned count;
    sl_series *duration[SL_GW_METHODS]; /* llamastack_request_duration_seconds */
    sl_span_block *start;               /* of the SERVER span, for the usual head; NULL: not made yet */
} sl_gw_route_series;

/* Why the usage of an answer is not known. */
typedef enum sl_gw_usage_gap {
    SL_GW_GAP_NOT_REPORTED = 0,
    SL_GW_GAP_CLIENT_GONE,
    SL_GW_GAP_BROKEN,
    SL_GW_GAP_COUNT
} sl_gw_usage_gap;

struct sl_gw_telemetry {
    sl_sdk *sdk;
    sl_tracer *tracer;
    sl_logger *logger;
    unsigned vocabularies;
    bool baggage;
    bool sampler_looks; /* at attributes: they must be there before the span starts */
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
    sl_series *usage_missing[SL_GW_GAP_COUNT];
};

/* Declares the instruments and binds what has no varying labels. */
void sl_gw_bind_all(sl_gw_telemetry *telemetry);
/* Frees what was bound for routes. */
void sl_gw_unbind_all(sl_gw_telemetry *telemetry);
/* Series of finished requests; valid until the next call. */
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

/* ---- telemetry_blocks.c ---- */

/* Span name, blocks and logger of a target. */
void sl_gw_bound_fill(sl_gw_bound *bound, const sl_gw_request *request);
/* The attributes that end a SERVER span; NULL without memory. */
sl_span_block *sl_gw_status_block(int status, const char *error_type);
/* What is known of an attempt before it is sent; `attrs` has room for SL_SPAN_BLOCK_ATTRS. Returns their number. */
size_t sl_gw_attempt_attrs(const sl_gw_request *request, sl_attr *attrs);
/* Sets model, finish reasons and status (0: none) on the CLIENT span; in one piece where the model's table has it. */
void sl_gw_set_answer(sl_span *span, const sl_answer *answer, sl_gw_model_series *model, int status);
#endif
