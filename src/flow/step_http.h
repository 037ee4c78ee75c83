/*
 * HTTP calls of steps: one request, its whole answer in memory, a CLIENT span around it.
 *
 * Promises: only hosts that the services allow; link-local addresses and those of clouds' metadata services are never
 * connected to, whatever name leads there; redirects are not followed; traceparent is sent; an answer is bounded.
 */
#ifndef SL_FLOW_STEP_HTTP_H
#define SL_FLOW_STEP_HTTP_H

#include "src/flow/services.h"
#include "src/flow/step.h"

#define SL_FLOW_HTTP_REASON 400

typedef struct sl_flow_http sl_flow_http;

typedef struct sl_flow_http_answer {
    int status;
    sl_str body;
    json_t *headers; /* object: names in lower case; borrowed */
    bool is_json;    /* by its content type */
    uint64_t retry_after_ms;
    uint64_t duration_ns;
} sl_flow_http_answer;

typedef struct sl_flow_http_request {
    sl_str method;
    sl_str url;
    json_t *headers; /* object of texts and numbers; may be NULL; borrowed */
    sl_str body;
    sl_str content_type; /* unless `headers` has one */
    bool trusted;        /* the URL is the operator's, not the workflow's: the allow-list is not asked */
    /* Once, unless cancelled, never before sl_flow_http_start returns. `answer` is NULL when there is an `error`. The
     * request is gone when it returns. */
    void (*done)(void *user, const sl_flow_http_answer *answer, sl_step_error error, const char *reason);
    void *user;
} sl_flow_http_request;

/*
 * Starts. Everything is copied. On failure `reason` (SL_FLOW_HTTP_REASON bytes) says why, and `done` is not called.
 * Returns SL_STEP_ERROR_NONE or what is wrong.
 */
sl_step_error sl_flow_http_start(sl_step_try *attempt, const sl_flow_http_request *request, char *reason,
                                 sl_flow_http **ret_http);
/* Closes its connection; `done` is not called. */
void sl_flow_http_cancel(sl_flow_http *http);

/* What a status that was not asked for means. */
sl_step_error sl_flow_http_status_error(int status);
/* False for link-local and metadata addresses. */
bool sl_flow_http_may_connect(const struct sockaddr *address);
/* True when the list lets this host and port pass: patterns HOST or HOST:PORT with * and ?; an empty list lets all
 * pass. */
bool sl_flow_http_is_allowed(const sl_flow_services *services, sl_str host, uint16_t port);

#endif
