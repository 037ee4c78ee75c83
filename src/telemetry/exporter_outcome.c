/* OTLP answers. */
#include "src/telemetry/exporter_outcome.h"

#include <stdio.h>

#include "src/base/assert.h"
#include "src/wire/http_field.h"
#include "src/wire/otlp_response.h"
#include "src/wire/redact.h"

#define MAX_PEER_TEXT 160u

/* What happened, and the peer's words without what looks like a secret. */
static void say(sl_otlp_outcome *outcome, const char *kind, const char *text)
{
    SL_ASSERT(outcome);
    sl_buf clean;
    sl_buf_init(&clean, 2 * SL_OTLP_MESSAGE_SIZE);
    if (sl_redact_text(sl_str_c(text), &clean))
        sl_buf_clear(&clean);
    sl_str shown = sl_str_sub(sl_buf_str(&clean), 0, sl_utf8_prefix(sl_buf_str(&clean), MAX_PEER_TEXT));
    (void)snprintf(outcome->why, sizeof outcome->why, "%s%s%.*s", kind, shown.len ? ": " : "", (int)shown.len,
                   shown.len ? shown.ptr : "");
    sl_buf_done(&clean);
}

/* An ExportTrace/Metrics/LogsServiceResponse: the three are alike. One that cannot be read changes nothing. */
static void read_success(sl_str body, bool json, sl_otlp_outcome *outcome)
{
    sl_otlp_response response;
    if (sl_otlp_response_parse(body, json, &response) || !response.partial)
        return;
    outcome->rejected = (uint64_t)response.rejected;
    say(outcome, response.rejected ? "partly refused" : "accepted with a warning", response.message);
}

/* ---- outcomes ---- */

void sl_otlp_outcome_http(const sl_otlp_http_answer *answer, sl_otlp_outcome *ret_outcome)
{
    SL_ASSERT(answer && ret_outcome);
    memset(ret_outcome, 0, sizeof *ret_outcome);
    bool json = sl_str_starts(answer->content_type, SL_STR("application/json"));
    bool known = json || sl_str_starts(answer->content_type, SL_STR("application/x-protobuf"));
    sl_otlp_verdict verdict = sl_otlp_http_verdict(answer->status);
    if (verdict == SL_OTLP_DONE) {
        if (known)
            read_success(answer->body, json, ret_outcome);
        return;
    }
    ret_outcome->error = verdict == SL_OTLP_RETRY ? SL_ERETRY : SL_EREFUSED;
    if (verdict != SL_OTLP_RETRY || !answer->retry_after.len ||
        sl_http_retry_after(answer->retry_after, (int64_t)answer->now_s * 1000, &ret_outcome->retry_after_ms))
        ret_outcome->retry_after_ms = 0; /* the sink's own back-off */
    sl_otlp_status status;
    if (!known || sl_otlp_status_parse(answer->body, json, &status))
        status.message[0] = 0;
    char kind[16];
    (void)snprintf(kind, sizeof kind, "HTTP %d", answer->status);
    say(ret_outcome, kind, status.message);
}

const char *sl_grpc_status_name(int status)
{
    static const char *const names[] = {
        "OK",        "CANCELLED",      "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
        "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
        "ABORTED",   "OUT_OF_RANGE",   "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
        "DATA_LOSS", "UNAUTHENTICATED"};
    return status >= 0 && (size_t)status < sizeof names / sizeof names[0] ? names[status] : "UNKNOWN";
}

void sl_otlp_outcome_grpc(const sl_otlp_grpc_answer *answer, sl_otlp_outcome *ret_outcome)
{
    SL_ASSERT(answer && ret_outcome);
    memset(ret_outcome, 0, sizeof *ret_outcome);
    if (answer->status == 0) {
        read_success(answer->body, false, ret_outcome);
        return;
    }
    sl_otlp_status status;
    if (!answer->details.len || sl_otlp_status_parse_base64(answer->details, &status))
        memset(&status, 0, sizeof status);
    bool retry = sl_otlp_grpc_verdict(answer->status, status.has_retry_info) == SL_OTLP_RETRY;
    ret_outcome->error = retry ? SL_ERETRY : SL_EREFUSED;
    ret_outcome->retry_after_ms = retry && status.has_retry_info ? status.retry_delay_ms : 0;
    if (answer->message.len)
        (void)sl_str_to_c(answer->message, status.message, sizeof status.message);
    char kind[48];
    (void)snprintf(kind, sizeof kind, "gRPC %s", sl_grpc_status_name(answer->status));
    say(ret_outcome, kind, status.message);
}

int sl_otlp_outcome_settle(const sl_otlp_outcome *outcome, sl_reporter *reporter, uint64_t *ret_retry_after_ms,
                           uint64_t *ret_rejected)
{
    SL_ASSERT(outcome && ret_retry_after_ms && ret_rejected);
    if (outcome->why[0])
        sl_reporter_say(reporter, outcome->error ? outcome->error : SL_EREFUSED, "otlp: %s", outcome->why);
    *ret_retry_after_ms = outcome->retry_after_ms;
    *ret_rejected = outcome->rejected;
    return outcome->error;
}

uint64_t sl_otlp_timeout_ms(uint64_t own_ms, uint64_t given_ms)
{
    return own_ms && own_ms < given_ms ? own_ms : given_ms;
}
