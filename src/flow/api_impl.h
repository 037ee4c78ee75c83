/* A request from inside: api.c is its life, api_telemetry.c what it leaves behind. */
#ifndef SL_FLOW_API_IMPL_H
#define SL_FLOW_API_IMPL_H

#include "src/flow/api.h"

#define SL_API_BOUND_STATUSES 8

/* Series of a route, bound as its answers occur. */
typedef struct sl_api_series {
    int statuses[SL_API_BOUND_STATUSES];
    sl_series *durations[SL_API_BOUND_STATUSES];
    unsigned count;
    char span_name[160];
} sl_api_series;

struct sl_api {
    sl_api_options options;
    sl_loop *loop;
    sl_http_server *http;
    sl_tracer *tracer;
    sl_instrument *duration;
    sl_api_series series[SL_API_MAX_ROUTES + 1]; /* the last: no route */
    size_t in_flight;
};

struct sl_api_request {
    sl_api *api;
    sl_exchange *x; /* NULL: over */
    const sl_api_route *route;
    unsigned refs;
    bool answered;
    sl_http_method method;
    sl_str raw_params[SL_API_MAX_PARAMS];
    sl_str params[SL_API_MAX_PARAMS];
    sl_str query;
    sl_arena arena;
    sl_span *span;
    uint64_t start_ns;      /* monotonic */
    size_t memory_failures; /* sl_mem_failures when its work began */
    int status;
    char caller[64];
    void (*on_over)(void *user);
    void (*on_writable)(void *user);
    void *stream_user;
};

/* ---- api_telemetry.c ---- */
void sl_api_telemetry_init(sl_api *api);
void sl_api_trace_start(sl_api_request *request, const sl_http1_head *head, sl_str path);
/* `outcome` as sl_http_handler.on_done. */
void sl_api_trace_end(sl_api_request *request, int outcome);
/* A request that the connection has refused by itself; `user` is the sl_api. */
void sl_api_trace_refused(void *user, int status);
/* "GET". Static. */
const char *sl_api_method_name(sl_http_method method);

#endif
