/* Tests of what OTLP answers mean. */
#include "src/telemetry/exporter_outcome.h"

#include "tests/harness/sl_test.h"

static sl_otlp_outcome http(int status, const char *retry_after, const char *type, sl_str body)
{
    sl_otlp_http_answer answer = {status, sl_str_c(type), sl_str_c(retry_after), body, 1000000};
    sl_otlp_outcome outcome;
    sl_otlp_outcome_http(&answer, &outcome);
    return outcome;
}

SL_TEST(http_statuses)
{
    static const struct {
        int status;
        int error;
    } table[] = {{200, 0},           {202, 0},           {204, 0},           {301, SL_EREFUSED}, {400, SL_EREFUSED},
                 {401, SL_EREFUSED}, {403, SL_EREFUSED}, {404, SL_EREFUSED}, {408, SL_EREFUSED}, {413, SL_EREFUSED},
                 {429, SL_ERETRY},   {500, SL_EREFUSED}, {501, SL_EREFUSED}, {502, SL_ERETRY},   {503, SL_ERETRY},
                 {504, SL_ERETRY},   {505, SL_EREFUSED}, {599, SL_EREFUSED}};
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        sl_otlp_outcome o = http(table[i].status, "", "text/plain", SL_STR("no"));
        CHECK_EQ(o.error, table[i].error);
        CHECK_EQ(o.retry_after_ms, 0);
        CHECK((o.why[0] != 0) == (table[i].error != 0));
    }
}

SL_TEST(retry_after)
{
    CHECK_EQ(http(503, "3", "", SL_STR("")).retry_after_ms, 3000);
    CHECK_EQ(http(503, "Mon, 12 Jan 1970 13:47:10 GMT", "", SL_STR("")).retry_after_ms, 30000); /* now is 1000000 s */
    CHECK_EQ(http(503, "nonsense", "", SL_STR("")).retry_after_ms, 0);
    CHECK_EQ(http(400, "3", "", SL_STR("")).retry_after_ms, 0);
}

SL_TEST(partial_success)
{
    /* partial_success { rejected 5, "too old" } */
    sl_str body = sl_str_of("\x0a\x0b\x08\x05\x12\x07too old", 13);
    sl_otlp_outcome o = http(200, "", "application/x-protobuf", body);
    CHECK_EQ(o.error, 0);
    CHECK_EQ(o.rejected, 5);
    CHECK(strstr(o.why, "too old") != NULL);
    o = http(200, "", "application/json",
             SL_STR("{\"partialSuccess\":{\"rejectedSpans\":\"7\",\"errorMessage\":\"x\"}}"));
    CHECK_EQ(o.rejected, 7);
    o = http(200, "", "application/x-protobuf", sl_str_of("\x0a\x06\x12\x04warn", 8));
    CHECK_EQ(o.rejected, 0);
    CHECK(strstr(o.why, "warn") != NULL);
    o = http(200, "", "text/html", body); /* not ours to read */
    CHECK_EQ(o.rejected, 0);
    for (size_t cut = 0; cut < body.len; cut++) {
        o = http(200, "", "application/x-protobuf", sl_str_sub(body, 0, cut));
        CHECK_EQ(o.error, 0); /* taken, whatever else it says */
    }
}

SL_TEST(failure_bodies_are_shown)
{
    sl_str status = sl_str_of("\x08\x03\x12\x07no room", 11);
    sl_otlp_outcome o = http(413, "", "application/x-protobuf", status);
    CHECK_STR(sl_str_c(o.why), "HTTP 413: no room");
    o = http(413, "", "text/plain", SL_STR("secret page"));
    CHECK_STR(sl_str_c(o.why), "HTTP 413");
}

static sl_otlp_outcome grpc(int status, const char *message, const char *details, sl_str body)
{
    sl_otlp_grpc_answer answer = {status, sl_str_c(message), sl_str_c(details), body};
    sl_otlp_outcome outcome;
    sl_otlp_outcome_grpc(&answer, &outcome);
    return outcome;
}

SL_TEST(grpc_statuses)
{
    static const bool retry[17] = {false, true, false, false, true,  false, false, false, false,
                                   false, true, true,  false, false, true,  true,  false};
    for (int status = 1; status <= 16; status++) {
        sl_otlp_outcome o = grpc(status, "why", "", SL_STR(""));
        CHECK_EQ(o.error, retry[status] ? SL_ERETRY : SL_EREFUSED);
        CHECK(strstr(o.why, sl_grpc_status_name(status)) != NULL);
        CHECK(strstr(o.why, "why") != NULL);
    }
    CHECK_EQ(grpc(0, "", "", sl_str_of("\x0a\x02\x08\x02", 4)).rejected, 2);
    CHECK_EQ(grpc(99, "", "", SL_STR("")).error, SL_EREFUSED);
    CHECK_STR(sl_str_c(sl_grpc_status_name(-5)), "UNKNOWN");
}

SL_TEST(retry_info)
{
    /* Status{code 8, details[Any{type.googleapis.com/google.rpc.RetryInfo, RetryInfo{Duration{2 s, 500000000 ns}}}]} */
    const char *details = "CAgaNgoodHlwZS5nb29nbGVhcGlzLmNvbS9nb29nbGUucnBjLlJldHJ5SW5mbxIKCggIAhCAyrXuAQ";
    sl_otlp_outcome o = grpc(8, "", details, SL_STR(""));
    CHECK_EQ(o.error, SL_ERETRY);
    CHECK_EQ(o.retry_after_ms, 2500);
    CHECK_EQ(grpc(14, "", details, SL_STR("")).retry_after_ms, 2500);
    CHECK_EQ(grpc(3, "", details, SL_STR("")).retry_after_ms, 0);
    CHECK_EQ(grpc(8, "", "!!!", SL_STR("")).error, SL_EREFUSED);
}
