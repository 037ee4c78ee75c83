/*
 * The head of a request as the probe noted it: method, path, route, and the fields that matter. Views, no allocation.
 *
 * The route is one that llama-server knows, or a form with few values: numbers and ids become {id}, a longer path is
 * cut. Reads what a host wrote, so anything may stand there.
 */
#ifndef SL_PROBE_REQUEST_HEAD_H
#define SL_PROBE_REQUEST_HEAD_H

#include "src/base/str.h"

typedef struct sl_request_head {
    sl_str method, path; /* path without the query */
    sl_str traceparent, tracestate, baggage, user_agent, host, content_type;
} sl_request_head;

/* Never fails: what is not there is empty. Lines end with '\n'. */
void sl_request_head_parse(sl_str text, sl_request_head *ret_head);
/* A route of few values for a path: "/slots/{id}". Writes at most `size` - 1 bytes and a NUL. */
void sl_request_head_route(sl_str path, char *buffer, size_t size);

#endif
