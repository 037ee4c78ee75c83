/* The bytes of requests. */
#include "src/cli/load_request.h"
#include "src/wire/http1.h"
#include "src/wire/json_scan.h"
#include "tests/harness/sl_test.h"

static sl_load_request request;

/* Makes a request and parses it: the head, and the body's outermost value. */
static bool make(const sl_load_ask *ask, sl_http1_head *head, sl_json_value *ret_body)
{
    static sl_http1_field fields[SL_MAX_HEAD_FIELDS];
    const char *reason = "";
    sl_http1_parser parser;
    if (sl_load_request_init(&request, ask, &reason) != 0)
        return false;
    sl_http1_parser_init(&parser, 0);
    sl_http1_head_init(head, fields, SL_MAX_HEAD_FIELDS);
    sl_str bytes = sl_buf_str(&request.bytes);
    if (sl_http1_parse_request(&parser, bytes, head) != 0)
        return false;
    sl_str body = sl_str_sub(bytes, head->head_bytes, bytes.len);
    return head->content_length == body.len && sl_json_parse(body, ret_body, NULL) == 0;
}

SL_TEST(path_says_the_protocol)
{
    static const struct {
        const char *url;
        const char *target;
        sl_load_api api;
    } rows[] = {{"http://h:1", "/v1/chat/completions", SL_LOAD_CHAT},
                {"http://h:1/", "/v1/chat/completions", SL_LOAD_CHAT},
                {"http://h:1/v1", "/v1/chat/completions", SL_LOAD_CHAT},
                {"http://h:1/openai/v1/", "/openai/v1/chat/completions", SL_LOAD_CHAT},
                {"http://h:1/chat/completions", "/chat/completions", SL_LOAD_CHAT},
                {"http://h:1/v1/completions", "/v1/completions", SL_LOAD_COMPLETIONS},
                {"http://h:1/v1/embeddings", "/v1/embeddings", SL_LOAD_EMBEDDINGS},
                {"http://h:1/v1/messages?beta=true", "/v1/messages?beta=true", SL_LOAD_MESSAGES},
                {"http://h:1/anything", "/anything", SL_LOAD_CHAT}};
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_http1_head head;
        sl_json_value body;
        sl_load_ask ask = {.url = sl_str_c(rows[i].url), .model = SL_STR("m"), .prompt = SL_STR("p"), .stream = true};
        REQUIRE(make(&ask, &head, &body));
        CHECK_STR(head.target, rows[i].target);
        CHECK_EQ(request.api, rows[i].api);
        CHECK_STR(head.host, "h:1");
        CHECK_EQ(request.stream, rows[i].api != SL_LOAD_EMBEDDINGS);
        sl_load_request_done(&request);
    }
}

SL_TEST(body_carries_what_was_asked)
{
    sl_http1_head head;
    sl_json_value body;
    sl_load_ask ask = {.url = SL_STR("http://h"),
                       .model = SL_STR("a \"model\""),
                       .prompt = SL_STR("line\nbreak \xf0\x9f\x98\x80"),
                       .max_tokens = 7,
                       .stream = true};
    REQUIRE(make(&ask, &head, &body));
    CHECK(sl_json_string_is(sl_json_get(body, "model"), ask.model));
    CHECK_STR(sl_json_get(body, "stream").raw, "true");
    CHECK_STR(sl_json_get(body, "max_tokens").raw, "7");
    CHECK_STR(sl_json_get(sl_json_get(body, "stream_options"), "include_usage").raw, "true");
    sl_json_iter iter;
    sl_json_value message;
    sl_json_iter_init(&iter, sl_json_get(body, "messages"));
    REQUIRE(sl_json_iter_next(&iter, NULL, &message));
    CHECK(sl_json_string_is(sl_json_get(message, "content"), ask.prompt));
    sl_load_request_done(&request);
    ask.stream = false;
    ask.max_tokens = 0;
    REQUIRE(make(&ask, &head, &body));
    CHECK_EQ(sl_json_get(body, "stream").type, SL_JSON_NONE);
    CHECK_EQ(sl_json_get(body, "max_tokens").type, SL_JSON_NONE);
    sl_load_request_done(&request);
}

SL_TEST(key_goes_where_the_protocol_wants_it)
{
    sl_http1_head head;
    sl_json_value body;
    sl_load_ask ask = {
        .url = SL_STR("http://h/v1/messages"), .model = SL_STR("m"), .prompt = SL_STR("p"), .key = SL_STR("sk-1")};
    REQUIRE(make(&ask, &head, &body));
    CHECK_STR(sl_http1_get(&head, SL_HTTP_X_API_KEY), "sk-1");
    CHECK_STR(sl_http1_get(&head, SL_HTTP_AUTHORIZATION), "Bearer sk-1");
    CHECK_STR(sl_json_get(body, "max_tokens").raw, "1024");
    sl_load_request_done(&request);
    ask.url = SL_STR("http://h");
    REQUIRE(make(&ask, &head, &body));
    CHECK(!sl_http1_has(&head, SL_HTTP_X_API_KEY));
    sl_load_request_done(&request);
    ask.key = SL_STR("");
    REQUIRE(make(&ask, &head, &body));
    CHECK(!sl_http1_has(&head, SL_HTTP_AUTHORIZATION));
    sl_load_request_done(&request);
}

SL_TEST(refuses_what_cannot_be_sent)
{
    static const char *const urls[] = {"",           "h",           "ftp://h",    "http://", "http://u:p@h",
                                       "http://h:0", "http://h/#x", "http://h/ x"};
    const char *reason = NULL;
    for (size_t i = 0; i < sizeof urls / sizeof *urls; i++) {
        sl_load_ask ask = {.url = sl_str_c(urls[i]), .model = SL_STR("m"), .prompt = SL_STR("p")};
        CHECK_EQ(sl_load_request_init(&request, &ask, &reason), SL_EINVAL);
        CHECK(reason && *reason);
        sl_load_request_done(&request);
    }
    sl_load_ask split = {
        .url = SL_STR("http://h"), .model = SL_STR("m"), .prompt = SL_STR("p"), .key = SL_STR("a\r\nX: b")};
    CHECK_EQ(sl_load_request_init(&request, &split, &reason), SL_EINVAL);
    sl_load_request_done(&request);
}

SL_TEST(request_survives_every_failing_allocation)
{
    sl_load_ask ask = {
        .url = SL_STR("http://h"), .model = SL_STR("m"), .prompt = SL_STR("p"), .key = SL_STR("k"), .stream = true};
    for (long n = 0; n < 50; n++) {
        const char *reason;
        sl_test_fail_alloc(n);
        int error = sl_load_request_init(&request, &ask, &reason);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        sl_load_request_done(&request);
        CHECK_EQ(error != 0, failed);
        if (!failed)
            return;
    }
    CHECK(false);
}
