/* Answers of OTLP servers. */
#include "src/wire/otlp_response.h"

#include "src/base/assert.h"
#include "src/wire/base64.h"
#include "src/wire/json_scan.h"
#include "src/wire/pb.h"
#include "src/wire/pct.h"

#define MAX_DETAILS 6144 /* bytes of a decoded grpc-status-details-bin */

/* Copies as much of `text` as fits, in valid UTF-8, with a NUL. */
static void copy_message(sl_str text, char message[SL_OTLP_MESSAGE_SIZE])
{
    char repaired[3 * SL_OTLP_MESSAGE_SIZE];
    size_t len = sl_utf8_repair(sl_str_sub(text, 0, SL_OTLP_MESSAGE_SIZE), repaired);
    sl_str whole = sl_str_of(repaired, len);
    len = sl_utf8_prefix(whole, SL_OTLP_MESSAGE_SIZE - 1);
    for (size_t i = 0; i < len; i++)
        message[i] = repaired[i] ? repaired[i] : ' ';
    message[len] = '\0';
}

/* ---- Protobuf ---- */

static int partial_from_pb(sl_str bytes, sl_otlp_response *response)
{
    sl_pb_reader r = sl_pb_reader_of(bytes);
    sl_pb_field f;
    while (sl_pb_next(&r, &f)) {
        if (sl_pb_is(&f, 1, SL_PB_VARINT))
            response->rejected = (int64_t)f.value < 0 ? 0 : (int64_t)f.value;
        else if (sl_pb_is(&f, 2, SL_PB_LEN))
            copy_message(f.bytes, response->message);
    }
    return r.error;
}

static int response_from_pb(sl_str body, sl_otlp_response *response)
{
    sl_pb_reader r = sl_pb_reader_of(body);
    sl_pb_field f;
    while (sl_pb_next(&r, &f)) {
        if (sl_pb_is(&f, 1, SL_PB_LEN) && partial_from_pb(f.bytes, response))
            return SL_EPARSE;
    }
    return r.error;
}

/* A google.protobuf.Duration in milliseconds, rounded up; negative ones are 0. */
static int duration_from_pb(sl_str bytes, uint64_t *ret_ms)
{
    SL_ASSERT(ret_ms);
    int64_t seconds = 0, nanos = 0;
    sl_pb_reader r = sl_pb_reader_of(bytes);
    sl_pb_field f;
    while (sl_pb_next(&r, &f)) {
        if (sl_pb_is(&f, 1, SL_PB_VARINT))
            seconds = (int64_t)f.value;
        else if (sl_pb_is(&f, 2, SL_PB_VARINT))
            nanos = (int32_t)f.value;
    }
    if (r.error)
        return r.error;
    const int64_t most = 315576000000; /* what Duration allows: 10,000 years */
    seconds = seconds > most ? most : seconds;
    nanos = nanos > 999999999 ? 999999999 : nanos;
    bool negative = seconds < 0 || nanos < 0;
    *ret_ms = negative ? 0 : (uint64_t)seconds * 1000 + ((uint64_t)nanos + 999999) / 1000000;
    return 0;
}

static int retry_from_pb(sl_str bytes, sl_otlp_status *status)
{
    SL_ASSERT(status);
    status->has_retry_info = true;
    sl_pb_reader r = sl_pb_reader_of(bytes);
    sl_pb_field f;
    while (sl_pb_next(&r, &f)) {
        if (sl_pb_is(&f, 1, SL_PB_LEN) && duration_from_pb(f.bytes, &status->retry_delay_ms))
            return SL_EPARSE;
    }
    return r.error;
}

/* A google.protobuf.Any among the details. */
static int detail_from_pb(sl_str bytes, sl_otlp_status *status)
{
    sl_str type = {NULL, 0}, value = {NULL, 0};
    sl_pb_reader r = sl_pb_reader_of(bytes);
    sl_pb_field f;
    while (sl_pb_next(&r, &f)) {
        if (sl_pb_is(&f, 1, SL_PB_LEN))
            type = f.bytes;
        else if (sl_pb_is(&f, 2, SL_PB_LEN))
            value = f.bytes;
    }
    if (r.error)
        return r.error;
    bool retry = sl_str_ends(type, SL_STR("/google.rpc.RetryInfo")) || sl_str_eq_c(type, "google.rpc.RetryInfo");
    return retry ? retry_from_pb(value, status) : 0;
}

static int status_from_pb(sl_str body, sl_otlp_status *status)
{
    sl_pb_reader r = sl_pb_reader_of(body);
    sl_pb_field f;
    while (sl_pb_next(&r, &f)) {
        if (sl_pb_is(&f, 1, SL_PB_VARINT))
            status->code = (int32_t)f.value;
        else if (sl_pb_is(&f, 2, SL_PB_LEN))
            copy_message(f.bytes, status->message);
        else if (sl_pb_is(&f, 3, SL_PB_LEN) && detail_from_pb(f.bytes, status))
            return SL_EPARSE;
    }
    return r.error;
}

/* ---- JSON ---- */

static void message_from_json(sl_json_value value, char message[SL_OTLP_MESSAGE_SIZE])
{
    char text[4 * SL_OTLP_MESSAGE_SIZE];
    size_t len = 0;
    sl_str raw = sl_json_string_raw(value);
    size_t at = raw.len < sizeof text ? raw.len : sizeof text - 1;
    /* A long text is cut in its raw form, before an escape that would be broken. */
    while (at > 0 && sl_json_unescape(sl_str_sub(raw, 0, at), text, sizeof text, &len))
        at--;
    copy_message(sl_str_of(text, at ? len : 0), message);
}

/* An int64 of the JSON mapping: a number or a decimal string; 0 when it is neither or negative. */
static int64_t i64_from_json(sl_json_value value)
{
    int64_t number = 0;
    int error =
        value.type == SL_JSON_STRING ? sl_str_to_i64(sl_json_string_raw(value), &number) : sl_json_i64(value, &number);
    return error || number < 0 ? 0 : number;
}

static int response_from_json(sl_str body, sl_otlp_response *response)
{
    static const char *const names[] = {"rejectedSpans", "rejectedLogRecords", "rejectedDataPoints"};
    sl_json_value root;
    if (sl_json_parse(body, &root, NULL) || root.type != SL_JSON_OBJECT)
        return SL_EPARSE;
    sl_json_value partial = sl_json_get(root, "partialSuccess");
    for (size_t i = 0; i < 3; i++) {
        int64_t rejected = i64_from_json(sl_json_get(partial, names[i]));
        response->rejected = rejected ? rejected : response->rejected;
    }
    message_from_json(sl_json_get(partial, "errorMessage"), response->message);
    return 0;
}

static int status_from_json(sl_str body, sl_otlp_status *status)
{
    sl_json_value root;
    if (sl_json_parse(body, &root, NULL) || root.type != SL_JSON_OBJECT)
        return SL_EPARSE;
    int64_t code = i64_from_json(sl_json_get(root, "code"));
    status->code = code > INT32_MAX ? 0 : (int32_t)code;
    message_from_json(sl_json_get(root, "message"), status->message);
    return 0;
}

/* ---- Entry points ---- */

int sl_otlp_response_parse(sl_str body, bool json, sl_otlp_response *ret_response)
{
    SL_ASSERT(ret_response);
    sl_otlp_response response;
    memset(&response, 0, sizeof response);
    int error = 0;
    if (body.len)
        error = json ? response_from_json(body, &response) : response_from_pb(body, &response);
    if (error)
        return error;
    response.partial = response.rejected != 0 || response.message[0] != '\0';
    *ret_response = response;
    return 0;
}

int sl_otlp_status_parse(sl_str body, bool json, sl_otlp_status *ret_status)
{
    SL_ASSERT(ret_status);
    sl_otlp_status status;
    memset(&status, 0, sizeof status);
    int error = json ? status_from_json(body, &status) : status_from_pb(body, &status);
    if (error)
        return error;
    *ret_status = status;
    return 0;
}

int sl_otlp_status_parse_base64(sl_str header, sl_otlp_status *ret_status)
{
    uint8_t bytes[MAX_DETAILS + 2];
    size_t len = 0;
    if (header.len > MAX_DETAILS / 3 * 4)
        return SL_ELIMIT;
    int error = sl_base64_decode(sl_str_trim(header), bytes, &len);
    return error ? error : sl_otlp_status_parse(sl_str_of((const char *)bytes, len), false, ret_status);
}

sl_otlp_verdict sl_otlp_http_verdict(int status)
{
    if (status >= 200 && status < 300)
        return SL_OTLP_DONE;
    return status == 429 || status == 502 || status == 503 || status == 504 ? SL_OTLP_RETRY : SL_OTLP_DROP;
}

sl_otlp_verdict sl_otlp_grpc_verdict(int code, bool has_retry_info)
{
    switch (code) {
    case 0: /* OK */
        return SL_OTLP_DONE;
    case 1:  /* CANCELLED */
    case 4:  /* DEADLINE_EXCEEDED */
    case 10: /* ABORTED */
    case 11: /* OUT_OF_RANGE */
    case 14: /* UNAVAILABLE */
    case 15: /* DATA_LOSS */
        return SL_OTLP_RETRY;
    case 8: /* RESOURCE_EXHAUSTED */
        return has_retry_info ? SL_OTLP_RETRY : SL_OTLP_DROP;
    default:
        return SL_OTLP_DROP;
    }
}
