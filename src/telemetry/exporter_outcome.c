/* OTLP answers. */
#include "src/telemetry/exporter_outcome.h"

#include <stdio.h>
#include <time.h>

#include "src/base/assert.h"
#include "src/wire/otlp_read.h"

#define MAX_RETRY_MS (24u * 3600u * 1000u)

/* ---- protobuf ---- */

/* ExportTrace/Metrics/LogsServiceResponse: the three are alike. */
static void read_partial_success(sl_str body, sl_otlp_outcome *outcome)
{
    sl_pb_reader r = sl_pb_reader_of(body);
    sl_pb_field field;
    sl_str message = sl_str_of(NULL, 0);
    while (sl_pb_next(&r, &field)) {
        if (!sl_pb_is(&field, 1, SL_PB_LEN))
            continue;
        sl_pb_reader inner = sl_pb_reader_of(field.bytes);
        while (sl_pb_next(&inner, &field)) {
            if (sl_pb_is(&field, 1, SL_PB_VARINT))
                outcome->rejected = (int64_t)field.value > 0 ? field.value : 0;
            else if (sl_pb_is(&field, 2, SL_PB_LEN))
                message = field.bytes;
        }
    }
    if (outcome->rejected || message.len)
        (void)snprintf(outcome->why, sizeof outcome->why, "%.*s",
                       (int)sl_utf8_prefix(message, sizeof outcome->why - 1), message.len ? message.ptr : "");
}

/* google.protobuf.Duration in milliseconds, rounded up. */
static uint64_t read_duration_ms(sl_str bytes)
{
    sl_pb_reader r = sl_pb_reader_of(bytes);
    sl_pb_field field;
    int64_t seconds = 0, nanos = 0;
    while (sl_pb_next(&r, &field)) {
        if (sl_pb_is(&field, 1, SL_PB_VARINT))
            seconds = (int64_t)field.value;
        else if (sl_pb_is(&field, 2, SL_PB_VARINT))
            nanos = (int64_t)field.value;
    }
    if (seconds < 0 || nanos < 0 || seconds > (int64_t)(MAX_RETRY_MS / 1000u))
        return seconds < 0 || nanos < 0 ? 0 : MAX_RETRY_MS;
    return (uint64_t)seconds * 1000u + ((uint64_t)nanos + 999999u) / 1000000u;
}

/* google.protobuf.Any: true when it is a RetryInfo. */
static bool read_retry_info(sl_str any, uint64_t *ret_ms)
{
    sl_pb_reader r = sl_pb_reader_of(any);
    sl_pb_field field;
    sl_str type = sl_str_of(NULL, 0), value = sl_str_of(NULL, 0);
    while (sl_pb_next(&r, &field)) {
        if (sl_pb_is(&field, 1, SL_PB_LEN))
            type = field.bytes;
        else if (sl_pb_is(&field, 2, SL_PB_LEN))
            value = field.bytes;
    }
    if (!sl_str_ends(type, SL_STR("google.rpc.RetryInfo")))
        return false;
    *ret_ms = 0;
    sl_pb_reader info = sl_pb_reader_of(value);
    while (sl_pb_next(&info, &field)) {
        if (sl_pb_is(&field, 1, SL_PB_LEN))
            *ret_ms = read_duration_ms(field.bytes);
    }
    return true;
}

/* google.rpc.Status: its message, and its RetryInfo when there is one. */
static bool read_status(sl_str status, sl_str *ret_message, uint64_t *ret_retry_ms)
{
    sl_pb_reader r = sl_pb_reader_of(status);
    sl_pb_field field;
    bool has_retry = false;
    while (sl_pb_next(&r, &field)) {
        if (sl_pb_is(&field, 2, SL_PB_LEN))
            *ret_message = field.bytes;
        else if (sl_pb_is(&field, 3, SL_PB_LEN))
            has_retry = read_retry_info(field.bytes, ret_retry_ms) || has_retry;
    }
    return has_retry && r.error == 0;
}

/* ---- Retry-After ---- */

static int month_of(const char name[4])
{
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    for (int i = 0; i < 12; i++) {
        if (memcmp(months + i * 3, name, 3) == 0)
            return i;
    }
    return -1;
}

/* The three forms of RFC 9110 section 5.6.7. */
static int parse_http_date(sl_str text, uint64_t *ret_unix_s)
{
    char copy[64], month[4] = "";
    struct tm t;
    memset(&t, 0, sizeof t);
    if (!sl_str_to_c(text, copy, sizeof copy))
        return SL_EPARSE;
    bool fixed = sscanf(copy, "%*3[A-Za-z], %2d %3[A-Za-z] %4d %2d:%2d:%2d GMT", &t.tm_mday, month, &t.tm_year, &t.tm_hour,
                        &t.tm_min, &t.tm_sec) == 6;
    if (!fixed && sscanf(copy, "%*[A-Za-z], %2d-%3[A-Za-z]-%2d %2d:%2d:%2d GMT", &t.tm_mday, month, &t.tm_year, &t.tm_hour,
                         &t.tm_min, &t.tm_sec) == 6)
        t.tm_year += t.tm_year < 70 ? 2000 : 1900;
    else if (!fixed && sscanf(copy, "%*3[A-Za-z] %3[A-Za-z] %2d %2d:%2d:%2d %4d", month, &t.tm_mday, &t.tm_hour, &t.tm_min,
                              &t.tm_sec, &t.tm_year) != 6)
        return SL_EPARSE;
    t.tm_mon = month_of(month);
    t.tm_year -= 1900;
    if (t.tm_mon < 0 || t.tm_year < 70 || t.tm_mday < 1 || t.tm_mday > 31 || t.tm_hour > 23 || t.tm_min > 59 ||
        t.tm_sec > 60)
        return SL_EPARSE;
    time_t at = timegm(&t);
    if (at < 0)
        return SL_EPARSE;
    *ret_unix_s = (uint64_t)at;
    return 0;
}

int sl_retry_after_parse(sl_str text, uint64_t now_s, uint64_t *ret_ms)
{
    SL_ASSERT(ret_ms);
    uint64_t seconds;
    text = sl_str_trim(text);
    int error = sl_str_to_u64(text, &seconds);
    if (error == SL_ELIMIT)
        seconds = MAX_RETRY_MS / 1000u;
    else if (error) {
        uint64_t at;
        if (parse_http_date(text, &at))
            return SL_EPARSE;
        seconds = at > now_s ? at - now_s : 0;
    }
    *ret_ms = seconds > MAX_RETRY_MS / 1000u ? MAX_RETRY_MS : seconds * 1000u;
    return 0;
}

/* ---- outcomes ---- */

/* What the body of a failure says, when it is a protobuf Status. */
static sl_str failure_text(const sl_otlp_http_answer *answer)
{
    sl_str message = sl_str_of(NULL, 0);
    uint64_t ignored;
    if (sl_str_starts(answer->content_type, SL_STR("application/x-protobuf")))
        (void)read_status(answer->body, &message, &ignored);
    else if (sl_str_starts(answer->content_type, SL_STR("text/")) ||
             sl_str_starts(answer->content_type, SL_STR("application/json")))
        message = answer->body;
    return sl_utf8_valid(message) ? sl_str_sub(message, 0, sl_utf8_prefix(message, 160)) : sl_str_of(NULL, 0);
}

void sl_otlp_outcome_http(const sl_otlp_http_answer *answer, sl_otlp_outcome *ret_outcome)
{
    SL_ASSERT(answer && ret_outcome);
    memset(ret_outcome, 0, sizeof *ret_outcome);
    int status = answer->status;
    if (status >= 200 && status < 300) {
        if (sl_str_starts(answer->content_type, SL_STR("application/x-protobuf")))
            read_partial_success(answer->body, ret_outcome);
        return;
    }
    bool retry = status == 429 || status == 502 || status == 503 || status == 504;
    ret_outcome->error = retry ? SL_ERETRY : SL_EREFUSED;
    if (!retry || !answer->retry_after.len ||
        sl_retry_after_parse(answer->retry_after, answer->now_s, &ret_outcome->retry_after_ms))
        ret_outcome->retry_after_ms = 0; /* the sink's own back-off */
    sl_str text = failure_text(answer);
    (void)snprintf(ret_outcome->why, sizeof ret_outcome->why, "HTTP %d%s%.*s", status, text.len ? ": " : "", (int)text.len,
                   text.len ? text.ptr : "");
}

enum {
    GRPC_CANCELLED = 1,
    GRPC_DEADLINE_EXCEEDED = 4,
    GRPC_RESOURCE_EXHAUSTED = 8,
    GRPC_ABORTED = 10,
    GRPC_OUT_OF_RANGE = 11,
    GRPC_UNAVAILABLE = 14,
    GRPC_DATA_LOSS = 15
};

const char *sl_grpc_status_name(int status)
{
    static const char *const names[] = {
        "OK",        "CANCELLED",     "UNKNOWN",       "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
        "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL",
        "UNAVAILABLE", "DATA_LOSS",   "UNAUTHENTICATED"};
    return status >= 0 && (size_t)status < sizeof names / sizeof names[0] ? names[status] : "UNKNOWN";
}

static bool grpc_retryable(int status, bool has_retry_info)
{
    switch (status) {
    case GRPC_CANCELLED:
    case GRPC_DEADLINE_EXCEEDED:
    case GRPC_ABORTED:
    case GRPC_OUT_OF_RANGE:
    case GRPC_UNAVAILABLE:
    case GRPC_DATA_LOSS:
        return true;
    case GRPC_RESOURCE_EXHAUSTED:
        return has_retry_info;
    default:
        return false;
    }
}

void sl_otlp_outcome_grpc(const sl_otlp_grpc_answer *answer, sl_otlp_outcome *ret_outcome)
{
    SL_ASSERT(answer && ret_outcome);
    memset(ret_outcome, 0, sizeof *ret_outcome);
    if (answer->status == 0) {
        read_partial_success(answer->body, ret_outcome);
        return;
    }
    sl_str message = sl_str_of(NULL, 0);
    uint64_t retry_ms = 0;
    bool has_retry = read_status(answer->details, &message, &retry_ms);
    if (answer->message.len)
        message = answer->message;
    bool retry = grpc_retryable(answer->status, has_retry);
    ret_outcome->error = retry ? SL_ERETRY : SL_EREFUSED;
    ret_outcome->retry_after_ms = retry && has_retry ? retry_ms : 0;
    (void)snprintf(ret_outcome->why, sizeof ret_outcome->why, "gRPC %s%s%.*s", sl_grpc_status_name(answer->status),
                   message.len ? ": " : "", (int)sl_utf8_prefix(message, 160), message.len ? message.ptr : "");
}
