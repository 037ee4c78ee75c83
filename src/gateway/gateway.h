/*
 * The gateway of one event loop: OpenAI-compatible endpoints in front of the deployments of a configuration.
 *
 * Promises: bodies go on byte for byte but for the two edits of src/llm/openai.h; frames of a stream are never held
 * back; a client that leaves ends the call to its upstream; another deployment is tried only before a byte of the
 * answer has gone out; the client's key never goes on; every request leaves a trace, metrics and an access record.
 *
 * Does not do: listening addresses, processes, signals (worker.h), reading configuration.
 */
#ifndef SL_GATEWAY_GATEWAY_H
#define SL_GATEWAY_GATEWAY_H

#include <sightline/sdk.h>

#include "src/llm/config.h"
#include "src/net/http_server.h"
#include "src/net/upstream.h"

typedef struct sl_gateway sl_gateway;

typedef struct sl_gateway_options {
    const sl_config *config;       /* must outlive the gateway */
    sl_sdk *sdk;                   /* NULL: no telemetry; trace headers are passed on as they are */
    sl_http_server_options server; /* zeros: defaults; max_body_bytes from the configuration when 0 */
} sl_gateway_options;

/*
 * Looks at what only the gateway can tell of a configuration: whether CA files hold certificates, and how many
 * deployments a model has. Appends `FILE:LINE: model NAME: why` and a line end for each fault to `out`; how many.
 */
size_t sl_gateway_check(const sl_config *config, sl_buf *out);
/* Errors: SL_ENOMEM, SL_ECONFIG (what sl_gateway_check tells). */
SL_MUST_CHECK int sl_gateway_new(sl_loop *loop, const sl_gateway_options *options, sl_gateway **ret_gateway);
/* As sl_http_server_listen. */
SL_MUST_CHECK int sl_gateway_listen(sl_gateway *gateway, int fd);
/* As sl_http_server_drain. */
void sl_gateway_drain(sl_gateway *gateway, void (*on_drained)(void *user), void *user);
/* Ends everything at once; run the loop until nothing is left, then free. */
void sl_gateway_close(sl_gateway *gateway);
void sl_gateway_free(sl_gateway *gateway);
/* Requests being served. */
size_t sl_gateway_in_flight(const sl_gateway *gateway);

#endif
