/*
 * OTLP requests as text for people: a tree for each trace, a line for each data point, a log line for each record.
 *
 *     trace 4bf92f3577b34da6a3ce929d0e0e4736  litellm-gateway
 *       POST /v1/chat/completions  SERVER  812.40 ms
 *         gen_ai.request.model="claude-haiku" http.status_code=200
 *         chat claude-haiku  CLIENT  801.11 ms  ERROR "timed out"
 *
 * Control characters in names and values are escaped, so that nothing recorded can steer a terminal. No I/O.
 */
#ifndef SL_TELEMETRY_CONSOLE_H
#define SL_TELEMETRY_CONSOLE_H

#include <sightline/sdk.h>

#include "src/base/buf.h"

/* Appends the text of a request. Errors: SL_EPARSE, SL_ENOMEM, SL_ELIMIT. */
SL_MUST_CHECK int sl_console_text(sl_signal signal, sl_str request, sl_buf *out);

#endif
