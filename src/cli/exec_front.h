/*
 * A listener in front of the server that `sightline exec` runs: passes every request on, and answers those that ask for
 * tokens with 429 and Retry-After while a quota is exceeded. The server itself is never touched.
 *
 *     client ── front ──▶ llama-server        methods, targets, fields, bodies and streams as they are
 *
 * A thread with an event loop of its own. Requests to the server that cannot be carried out are 502, in OpenAI's shape.
 * Does not: TLS, HTTP/2, spans of its own (the client's traceparent goes on as it came).
 */
#ifndef SL_CLI_EXEC_FRONT_H
#define SL_CLI_EXEC_FRONT_H

#include "src/net/lite/addr.h"
#include "src/probe/quota_watch.h"

typedef struct sl_exec_front sl_exec_front;

typedef struct sl_exec_front_options {
    int listen_fd; /* open, stays the caller's */
    sl_addr server;
    const sl_quota_watch *watch; /* NULL: nothing is refused */
} sl_exec_front_options;

/* Starts it. Errors: SL_ENOMEM, SL_EIO. */
SL_MUST_CHECK int sl_exec_front_start(const sl_exec_front_options *options, sl_exec_front **ret_front);
/* Ends it at once; NULL is accepted. */
void sl_exec_front_stop(sl_exec_front *front);

/*
 * Where a server with these arguments will listen: --port N and --host H, as llama-server reads them, else
 * LLAMA_ARG_PORT and LLAMA_ARG_HOST, else 127.0.0.1:8080.
 */
void sl_exec_front_guess(char *const *argv, sl_addr *ret_server);
/* True for a request that a quota may refuse: POST to a route that makes tokens, embeddings or ranks. */
bool sl_exec_front_is_work(sl_str method, sl_str target);

#endif
