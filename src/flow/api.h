/*
 * HTTP APIs from one table of routes: matching, parameters, keys, spans and metrics of every request, answers.
 *
 * A surface is a listener's set of routes (the API server, the control plane). A request belongs to its handler from
 * `run` on, until it has been answered once; it may be answered later, from the loop. Whoever answers later holds a
 * reference: the client may leave meanwhile, the answer then goes nowhere.
 *
 * Everything is on the loop's thread.
 */
#ifndef SL_FLOW_API_H
#define SL_FLOW_API_H

#include <jansson.h>
#include <sightline/sdk.h>

#include "src/base/arena.h"
#include "src/net/http_server.h"

typedef struct sl_api sl_api;
typedef struct sl_api_request sl_api_request;

#define SL_API_MAX_PARAMS 4
#define SL_API_MAX_ROUTES 64

/* What a request carries in its body. */
typedef enum sl_api_body { SL_API_NO_BODY = 0, SL_API_JSON, SL_API_TEXT, SL_API_FORM } sl_api_body;

typedef struct sl_api_route {
    sl_http_method method;
    const char *path; /* "/runs/{run_id}/events"; a '/' at the end is optional in requests */
    const char *id;   /* operationId of the document, "getRun" */
    void (*run)(sl_api_request *request);
    const char *summary;
    /* Parameters, separated by one space: "limit:1..100" and "after:0.." are numbers, "reload:true" is true or false,
     * "status:good|bad" one of these, "at:^..$" what the expression matches; '!' at the end: required. */
    const char *query;
    sl_api_body body;
    const char *answers;  /* "200 404": what it may say besides what every route may */
    const char *produces; /* content type of the 200 answer; NULL: application/json */
    bool open;            /* no key is asked for */
    const char *fields;   /* of the object in the body, written as `query`; also "inputs:object", "event:any" */
} sl_api_route;

typedef struct sl_api_options {
    const char *name;  /* for the scope of telemetry */
    const char *title; /* "API server", of the document */
    const sl_api_route *routes;
    size_t route_count;
    sl_str key;            /* bearer token; empty: none */
    sl_sdk *sdk;           /* may be NULL */
    void *user;            /* sl_api_user */
    size_t max_body_bytes; /* 0: 8 MiB */
} sl_api_options;

/* Errors: SL_ENOMEM. The routes and the name stay with the caller. */
SL_MUST_CHECK int sl_api_new(sl_loop *loop, const sl_api_options *options, sl_api **ret_api);
/* As sl_http_server_listen. */
SL_MUST_CHECK int sl_api_listen(sl_api *api, int fd);
/* As sl_http_server_drain. */
void sl_api_drain(sl_api *api, void (*on_drained)(void *user), void *user);
/* Ends everything at once; run the loop, give back all references, then free. */
void sl_api_close(sl_api *api);
void sl_api_free(sl_api *api);
/* Requests that are not over. */
size_t sl_api_in_flight(const sl_api *api);

/* The route of a method and a path, with the values of its parameters as they stand in the path; NULL: none.
 * `*ret_other_methods`: the methods that the path is there for, bits of sl_http_method. */
const sl_api_route *sl_api_match(const sl_api_route *routes, size_t count, sl_http_method method, sl_str path,
                                 sl_str ret_params[SL_API_MAX_PARAMS], unsigned *ret_other_methods);
/* The OpenAPI 3.1 document of the routes; `keyed`: they ask for a key, but open ones. The caller holds a reference;
 * NULL: no memory. */
json_t *sl_api_document(const char *title, const sl_api_route *routes, size_t count, bool keyed);
/* The handler of a route that answers with the document of its surface. */
void sl_api_get_document(sl_api_request *request);

/* ---- a request ---- */

void *sl_api_user(const sl_api_request *request);
sl_api_request *sl_api_ref(sl_api_request *request);
void sl_api_unref(sl_api_request *request);
/* Parameter `index` of the path, decoded. */
sl_str sl_api_param(const sl_api_request *request, size_t index);
/* A parameter of the query, decoded; false: not given. The view lives as long as the request. */
bool sl_api_query(sl_api_request *request, const char *name, sl_str *ret_value);
/* The value of a parameter that may be given several times; false: there are not so many. */
bool sl_api_query_at(sl_api_request *request, const char *name, size_t index, sl_str *ret_value);
/* A number of the query: `fallback` when it is not given. False: answered with 422. */
/* A flag that the route declares ("reload:true"), so that it says true or false by now; absent: false. */
bool sl_api_query_flag(sl_api_request *request, const char *name);
bool sl_api_query_u64(sl_api_request *request, const char *name, uint64_t fallback, uint64_t max, uint64_t *ret_value);
/* In `run` only: the body, and the value of a field. */
sl_str sl_api_request_body(const sl_api_request *request);
sl_str sl_api_header(const sl_api_request *request, sl_http_field_id id);
/* In `run` only: the body as JSON; an empty one is NULL. False: answered with 422. The caller holds a reference. */
bool sl_api_json(sl_api_request *request, json_t **ret_value);
/* The SERVER span; may be NULL. */
sl_span *sl_api_span(const sl_api_request *request);
sl_exchange *sl_api_exchange(const sl_api_request *request); /* NULL: the client has gone */
/* Memory that lives as long as the request. */
sl_arena *sl_api_arena(sl_api_request *request);
/* The bearer token's first characters, or the client's address: who it was, for the audit log. */
sl_str sl_api_caller(const sl_api_request *request);

/* ---- answers: each request once ---- */

/* Takes the reference of `value`; NULL: 503 for want of memory. */
void sl_api_reply(sl_api_request *request, int status, json_t *value);
void sl_api_reply_text(sl_api_request *request, int status, const char *content_type, sl_str body);
/* {"detail": text}, as FastAPI answers. */
void sl_api_fail(sl_api_request *request, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* 422 with the list that FastAPI gives: where ("body", "input") and what. */
void sl_api_invalid(sl_api_request *request, const char *where, const char *name, const char *message);
/* An error code as an answer: SL_EAGAIN and SL_ELIMIT 503, SL_ENOENT 404, SL_EEXIST 409, else 500. */
void sl_api_fail_code(sl_api_request *request, int error, const char *what);

/* A streamed answer. `on_over` is told once when the exchange is over; then nothing may be written any more. */
void sl_api_stream(sl_api_request *request, const char *content_type, void (*on_over)(void *user),
                   void (*on_writable)(void *user), void *user);
/* True: too much waits unsent. Nothing happens when it is over. */
bool sl_api_stream_write(sl_api_request *request, sl_str data, bool last);
size_t sl_api_stream_unsent(const sl_api_request *request);
void sl_api_stream_abort(sl_api_request *request);

#endif
