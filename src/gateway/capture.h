/*
 * Prompt text in telemetry: only when asked for (LOG_QUERIES, OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT), cut
 * to SL_GW_CAPTURE_BYTES, and with everything masked that looks like a credential.
 */
#ifndef SL_GATEWAY_CAPTURE_H
#define SL_GATEWAY_CAPTURE_H

#include "src/gateway/gw_impl.h"

#define SL_GW_CAPTURE_BYTES 4096u

typedef struct sl_gw_capture {
    bool spans; /* attribute gen_ai.prompt of the CLIENT span */
    bool logs;  /* a log record for each request */
} sl_gw_capture;

/* What the environment asks for: LOG_QUERIES both, the other variable spans alone. */
sl_gw_capture sl_gw_capture_from_env(void);
/*
 * Records the prompt of an attempt that begins: messages, prompt or input of the body, as the client wrote it. `span`
 * may be NULL or not recording.
 */
void sl_gw_capture_prompt(sl_gw_capture capture, sl_logger *logger, const sl_gw_request *request, sl_span *span);

#endif
