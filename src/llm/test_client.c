/* Calls to providers over both protocols: bodies, answers, streams, failures. */
#include "src/llm/test_client_fixture.h"

#include "src/llm/client_impl.h"

#define CHAT_BODY                                                                                                      \
    "{\"id\":\"c-1\",\"model\":\"gpt-4o-2024-08-06\",\"choices\":[{\"index\":0,\"message\":{\"role\":\"assistant\","   \
    "\"content\":\"Hello\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1000,\"completion_tokens\":"     \
    "200,\"total_tokens\":1200,\"prompt_tokens_details\":{\"cached_tokens\":400}}}"
#define MESSAGE_BODY                                                                                                   \
    "{\"id\":\"m-1\",\"type\":\"message\",\"role\":\"assistant\",\"model\":\"claude-sonnet-4-5-20250929\",\"content\"" \
    ":[{\"type\":\"thinking\",\"thinking\":\"no\"},{\"type\":\"text\",\"text\":\"Hel\"},{\"type\":\"text\",\"text\""   \
    ":\"lo\"}],\"stop_reason\":\"end_turn\",\"usage\":{\"input_tokens\":600,\"output_tokens\":100,"                    \
    "\"cache_read_input_tokens\":300,\"cache_creation_input_tokens\":100}}"

static sl_llm_request chat(const char *provider, const char *model)
{
    return (sl_llm_request){.operation = SL_LLM_CHAT,
                            .provider = sl_str_c(provider),
                            .model = sl_str_c(model),
                            .prompt = SL_STR("Hi \"you\"\n")};
}

/* ---- bodies ---- */

static json_t *json_of(const char *text)
{
    json_t *value = json_loads(text, JSON_DECODE_ANY, NULL);
    CHECK(value || !text);
    return value;
}

SL_TEST(bodies_say_what_was_asked_and_no_more)
{
    static const struct {
        sl_llm_protocol protocol;
        const char *model, *system, *messages, *extra;
        double temperature; /* below 0: not given */
        uint64_t max_tokens;
        bool stream;
        const char *body;
    } cases[] = {
        {SL_LLM_OPENAI, "m", "", NULL, NULL, -1, 0, false,
         "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"p\"}],\"stream\":false}"},
        {SL_LLM_OPENAI, "m", "s", NULL, NULL, 0.7, 100, false,
         "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"p\"}]"
         ","
         "\"temperature\":0.7,\"max_tokens\":100,\"stream\":false}"},
        {SL_LLM_OPENAI, "gpt-5-mini", "", NULL, NULL, 0, 9, true,
         "{\"model\":\"gpt-5-mini\",\"messages\":[{\"role\":\"user\",\"content\":\"p\"}],\"temperature\":0,"
         "\"max_completion_tokens\":9,\"stream\":true,\"stream_options\":{\"include_usage\":true}}"},
        {SL_LLM_OPENAI, "m", "", NULL,
         "{\"top_p\":0.1,\"stop\":[\"a\"],\"model\":\"x\",\"stream\":true,\"max_tokens\":5,\"temperature\":1.5,"
         "\"n\":null,\"o\":{\"a\":[1,true,false,-2.5e10]}}",
         -1, 0, false,
         "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"p\"}],\"stream\":false,\"top_p\":0.1,"
         "\"stop\":[\"a\"],\"max_tokens\":5,\"temperature\":1.5,\"n\":null,\"o\":{\"a\":[1,true,false,-25000000000]}}"},
        {SL_LLM_OPENAI, "m", "", NULL, "{\"max_tokens\":5,\"temperature\":1.5}", 0.5, 7, false,
         "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"p\"}],\"temperature\":0.5,\"max_tokens\":7,"
         "\"stream\":false}"},
        {SL_LLM_OPENAI, "m", "s", "[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"\\u00e9\"}]}]", NULL,
         -1, 0, false,
         "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":[{"
         "\"type\":\"text\",\"text\":\"\xc3\xa9\"}]}],\"stream\":false}"},
        {SL_LLM_OPENAI, "m", "", "[]", "{}", -1, 0, false, "{\"model\":\"m\",\"messages\":[],\"stream\":false}"},
        {SL_LLM_ANTHROPIC, "m", "", NULL, NULL, -1, 0, false,
         "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"p\"}],\"max_tokens\":1024}"},
        {SL_LLM_ANTHROPIC, "m", "s", NULL, "{\"top_k\":3,\"stop\":\"x\",\"temperature\":1}", 0.25, 8, true,
         "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"p\"}],\"max_tokens\":8,\"system\":\"s\","
         "\"temperature\":0.25,\"stream\":true,\"stop_sequences\":[\"x\"],\"top_k\":3}"},
        {SL_LLM_ANTHROPIC, "m", "s",
         "[{\"role\":\"system\",\"content\":\"t\"},{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"developer\","
         "\"content\":\"v\"},{\"role\":\"assistant\",\"content\":\"w\"}]",
         "{\"stop\":[\"a\",\"b\"],\"max_tokens\":77,\"temperature\":1}", -1, 0, false,
         "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":"
         "\"w\"}],\"max_tokens\":77,\"system\":\"s\\n\\nt\\n\\nv\",\"stop_sequences\":[\"a\",\"b\"],\"temperature\":"
         "1}"},
        {SL_LLM_ANTHROPIC, "m", "", NULL, "{\"stop\":\"x\",\"stop_sequences\":[\"y\"]}", -1, 1, false,
         "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"p\"}],\"max_tokens\":1,"
         "\"stop_sequences\":[\"y\"]}"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *messages = cases[i].messages ? json_of(cases[i].messages) : NULL;
        json_t *extra = cases[i].extra ? json_of(cases[i].extra) : NULL;
        sl_llm_request r = {.operation = SL_LLM_CHAT,
                            .system = sl_str_c(cases[i].system),
                            .prompt = SL_STR("p"),
                            .messages = messages,
                            .extra = extra,
                            .has_temperature = cases[i].temperature >= 0,
                            .temperature = cases[i].temperature,
                            .max_tokens = cases[i].max_tokens,
                            .stream = cases[i].stream};
        sl_buf body;
        sl_buf_init(&body, 1 << 20);
        CHECK_EQ(sl_llm_put_body(&body, cases[i].protocol, sl_str_c(cases[i].model), &r), 0);
        CHECK_STR(sl_buf_str(&body), cases[i].body);
        sl_buf_done(&body);
        json_decref(messages);
        json_decref(extra);
    }
}

SL_TEST(bodies_of_embeddings)
{
    static const struct {
        const char *input, *extra;
        uint64_t dimensions;
        const char *body; /* NULL: refused */
    } cases[] = {
        {"\"a\"", NULL, 0, "{\"model\":\"m\",\"input\":\"a\"}"},
        {"[\"a\",\"b\"]", "{\"user\":\"u\",\"dimensions\":9,\"encoding_format\":\"base64\"}", 256,
         "{\"model\":\"m\",\"input\":[\"a\",\"b\"],\"dimensions\":256,\"user\":\"u\"}"},
        {"[]", NULL, 0, NULL},
        {"[1]", NULL, 0, NULL},
        {"[\"a\",2]", NULL, 0, NULL},
        {"{}", NULL, 0, NULL},
        {"null", NULL, 0, NULL},
        {"\"a\"", "[]", 0, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *input = json_of(cases[i].input);
        json_t *extra = cases[i].extra ? json_of(cases[i].extra) : NULL;
        sl_llm_request r = {
            .operation = SL_LLM_EMBEDDINGS, .input = input, .extra = extra, .dimensions = cases[i].dimensions};
        sl_buf body;
        sl_buf_init(&body, 1 << 20);
        CHECK_EQ(sl_llm_put_body(&body, SL_LLM_OPENAI, SL_STR("m"), &r), cases[i].body ? 0 : SL_EINVAL);
        if (cases[i].body)
            CHECK_STR(sl_buf_str(&body), cases[i].body);
        sl_buf_done(&body);
        json_decref(input);
        json_decref(extra);
    }
}

SL_TEST(bodies_have_limits)
{
    json_t *deep = json_integer(1);
    for (int i = 0; i < SL_MAX_JSON_DEPTH + 1; i++) {
        json_t *outer = json_array();
        json_array_append_new(outer, deep);
        deep = outer;
    }
    json_t *extra = json_pack("{s:o}", "x", deep);
    json_t *wrong = json_integer(3);
    sl_llm_request r = {.operation = SL_LLM_CHAT, .extra = extra};
    sl_buf body;
    sl_buf_init(&body, 1 << 20);
    CHECK_EQ(sl_llm_put_body(&body, SL_LLM_OPENAI, SL_STR("m"), &r), SL_ETOOBIG);
    sl_buf_clear(&body);
    CHECK_EQ(sl_llm_put_body(&body, SL_LLM_ANTHROPIC, SL_STR("m"), &r), SL_ETOOBIG);
    r = (sl_llm_request){.operation = SL_LLM_CHAT, .messages = wrong};
    CHECK_EQ(sl_llm_put_body(&body, SL_LLM_OPENAI, SL_STR("m"), &r), SL_EINVAL);
    CHECK_EQ(sl_llm_put_body(&body, SL_LLM_ANTHROPIC, SL_STR("m"), &r), SL_EINVAL);
    sl_buf_done(&body);
    sl_buf_init(&body, 60);
    r = (sl_llm_request){.operation = SL_LLM_CHAT, .prompt = SL_STR("a prompt that is too long for this small buffer")};
    CHECK_EQ(sl_llm_put_body(&body, SL_LLM_OPENAI, SL_STR("m"), &r), SL_ETOOBIG);
    sl_buf_done(&body);
    json_decref(extra);
    json_decref(wrong);
}

/* ---- whole calls ---- */

SL_TEST(a_chat_over_the_openai_protocol)
{
    script *s = script_start(OK_HEAD, CHAT_BODY);
    client *c = client_new(s->server.port, false);
    sl_llm_request r = chat("openai", "gpt-4o");
    r.has_temperature = true;
    r.temperature = 0.1;
    client_ask(c, r);
    CHECK_EQ(c->r.error, 0);
    CHECK_EQ(c->r.http_status, 200);
    CHECK_STR(sl_str_c(c->text), "Hello");
    CHECK_STR(sl_str_c(c->model), "gpt-4o-2024-08-06");
    CHECK_STR(sl_str_c(c->reason), "stop");
    CHECK(c->r.has_usage && c->r.cost_known);
    CHECK_EQ(c->r.input_tokens, 1000);
    CHECK_EQ(c->r.output_tokens, 200);
    CHECK_EQ(c->r.cached_tokens, 400);
    CHECK(c->r.cost_usd > 0.003999 && c->r.cost_usd < 0.004001); /* 600 at 2.50, 400 at 1.25, 200 at 10 */
    CHECK_EQ(json_integer_value(json_object_get(c->usage, "total_tokens")), 1200);
    CHECK(c->r.duration_ns > 0 && c->r.first_token_ns == 0);
    CHECK_EQ(c->pieces, 0);
    const nf_message *m = &s->seen[0];
    CHECK(strncmp(m->data, "POST /v1/chat/completions HTTP/1.1\r\n", 36) == 0);
    CHECK(nf_field_is(m, "authorization", "Bearer " KEY));
    CHECK(nf_field_is(m, "content-type", "application/json"));
    CHECK(!nf_field(m, "x-api-key") && !nf_field(m, "traceparent") && !nf_field(m, "accept-encoding"));
    CHECK_STR(m->body, "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi \\\"you\\\"\\n\"}],"
                       "\"temperature\":0.1,\"stream\":false}");
    client_ask(c, r);
    CHECK_EQ(c->r.error, 0);
    CHECK_EQ(s->server.connection_count, 1); /* pooled */
    client_free(c);
    script_stop(s);
}

SL_TEST(a_chat_over_the_anthropic_protocol)
{
    script *s = script_start(OK_HEAD, MESSAGE_BODY);
    client *c = client_new(s->server.port, false);
    client_ask(c, chat("anthropic", "claude-sonnet-4-5"));
    CHECK_EQ(c->r.error, 0);
    CHECK_STR(sl_str_c(c->text), "Hello");
    CHECK_STR(sl_str_c(c->reason), "end_turn");
    CHECK_EQ(c->r.protocol, SL_LLM_ANTHROPIC);
    CHECK_EQ(c->r.input_tokens, 1000); /* with what the cache gave and took */
    CHECK_EQ(c->r.output_tokens, 100);
    CHECK_EQ(c->r.cached_tokens, 300);
    CHECK_EQ(c->r.cache_write_tokens, 100);
    /* 600 at 3, 300 at 0.30, 100 at 3.75, 100 at 15 */
    CHECK(c->r.cost_known && c->r.cost_usd > 0.0037649 && c->r.cost_usd < 0.0037651);
    const nf_message *m = &s->seen[0];
    CHECK(strncmp(m->data, "POST /v1/messages HTTP/1.1\r\n", 28) == 0);
    CHECK(nf_field_is(m, "x-api-key", KEY));
    CHECK(nf_field_is(m, "anthropic-version", "2023-06-01"));
    CHECK(!nf_field(m, "authorization"));
    client_free(c);
    script_stop(s);
}

SL_TEST(bases_with_and_without_a_version)
{
    static const struct {
        sl_llm_protocol protocol;
        const char *base, *line;
    } cases[] = {
        {SL_LLM_OPENAI, "", "POST /chat/completions HTTP"},
        {SL_LLM_OPENAI, "/", "POST /chat/completions HTTP"},
        {SL_LLM_OPENAI, "/v1", "POST /v1/chat/completions HTTP"},
        {SL_LLM_OPENAI, "/openai/v1/", "POST /openai/v1/chat/completions HTTP"},
        {SL_LLM_ANTHROPIC, "", "POST /v1/messages HTTP"},
        {SL_LLM_ANTHROPIC, "/", "POST /v1/messages HTTP"},
        {SL_LLM_ANTHROPIC, "/v1", "POST /v1/messages HTTP"},
        {SL_LLM_ANTHROPIC, "/v1/", "POST /v1/messages HTTP"},
        {SL_LLM_ANTHROPIC, "/x", "POST /x/v1/messages HTTP"},
    };
    script *s = script_start(OK_HEAD, CHAT_BODY);
    client *c = client_new(0, false);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        client_add(c, "p", cases[i].protocol, cases[i].base, s->server.port); /* replaces */
        client_ask(c, chat("p", "m"));
        CHECK(strncmp(s->seen[i].data, cases[i].line, strlen(cases[i].line)) == 0);
        CHECK(nf_field(&s->seen[i], "host") != NULL);
    }
    client_free(c);
    script_stop(s);
}

static double number_at(const json_t *lists, size_t i, size_t k)
{
    return json_number_value(json_array_get(json_array_get(lists, i), k));
}

SL_TEST(embeddings_come_in_the_order_of_their_inputs)
{
    script *s = script_start(OK_HEAD, "{\"object\":\"list\",\"model\":\"e-1\",\"data\":["
                                      "{\"index\":1,\"embedding\":[0.25,-1]},{\"index\":0,\"embedding\":[0.5,2]}],"
                                      "\"usage\":{\"prompt_tokens\":7,\"total_tokens\":7}}");
    client *c = client_new(s->server.port, false);
    json_t *input = json_of("[\"a\",\"b\"]");
    sl_llm_request r = {.operation = SL_LLM_EMBEDDINGS,
                        .provider = SL_STR("openai"),
                        .model = SL_STR("text-embedding-3-small"),
                        .input = input,
                        .dimensions = 2};
    client_ask(c, r);
    CHECK_EQ(c->r.error, 0);
    CHECK_EQ(json_array_size(c->vectors), 2);
    CHECK(number_at(c->vectors, 0, 0) == 0.5 && number_at(c->vectors, 0, 1) == 2);
    CHECK(number_at(c->vectors, 1, 0) == 0.25 && number_at(c->vectors, 1, 1) == -1);
    CHECK_EQ(c->r.input_tokens, 7);
    CHECK(c->r.cost_known && c->r.cost_usd > 0);
    CHECK(strncmp(s->seen[0].data, "POST /v1/embeddings HTTP", 24) == 0);
    r.provider = SL_STR("anthropic");
    CHECK_EQ(client_start(c, &r), SL_ENOTSUP);
    json_decref(input);
    client_free(c);
    script_stop(s);
}

/* Answers of status 200 that are not what the protocol says: the provider's failure, worth another try. */
SL_TEST(malformed_answers_are_failures_of_the_provider)
{
    static const char *const chats[] = {"",
                                        "[]",
                                        "null",
                                        "{",
                                        "{}",
                                        "{\"choices\":[]}",
                                        "{\"choices\":{}}",
                                        "{\"choices\":[{}]}",
                                        "{\"choices\":[{\"message\":\"x\"}]}",
                                        "{\"choices\":[{\"message\":{\"content\":\"Hello\"}}",
                                        "\"x\"",
                                        "{\"choices\":[{\"message\":{\"content\":\"\xff\"}}]}",
                                        "<html>502</html>"};
    static const char *const messages[] = {"", "[]", "{}", "{\"content\":\"x\"}", "{\"content\":[{\"type\":\"text\""};
    static const char *const lists[] = {"{}",
                                        "{\"data\":[]}",
                                        "{\"data\":[{\"embedding\":[1]},{\"embedding\":[2]}]}",
                                        "{\"data\":[{\"embedding\":[]}]}",
                                        "{\"data\":[{\"embedding\":[\"1\"]}]}",
                                        "{\"data\":[{\"embedding\":\"AAAA\"}]}",
                                        "{\"data\":[{\"index\":1,\"embedding\":[1]}]}",
                                        "{\"data\":[{\"index\":-1,\"embedding\":[1]}]}",
                                        "{\"data\":[1]}"};
    script *s = script_start(OK_HEAD, "");
    client *c = client_new(s->server.port, false);
    json_t *input = json_of("\"a\"");
    for (size_t i = 0; i < 13 + 5 + 9; i++) {
        s->body = i < 13 ? chats[i] : i < 18 ? messages[i - 13] : lists[i - 18];
        sl_llm_request r = chat(i < 13 ? "openai" : i < 18 ? "anthropic" : "openai", "m");
        if (i >= 18) {
            r.operation = SL_LLM_EMBEDDINGS;
            r.input = input;
        }
        client_ask(c, r);
        if (c->r.error != SL_EPROTO || !c->r.retryable || c->r.http_status != 200 || c->r.text.len || c->r.vectors)
            sl_test_failed(__FILE__, __LINE__, "case %zu: error %d, \"%s\"", i, c->r.error, c->message);
    }
    json_decref(input);
    client_free(c);
    script_stop(s);
}

SL_TEST(answers_without_text_or_usage_are_answers)
{
    static const struct {
        const char *provider, *body, *text;
    } cases[] = {
        {"openai",
         "{\"choices\":[{\"message\":{\"content\":null,\"tool_calls\":[]},\"finish_reason\":\"tool_calls\"}]}", ""},
        {"openai",
         "{\"choices\":[{\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"x\"},{"
         "\"text\":\"b\"}]}}],\"usage\":null}",
         "ab"},
        {"openai", "{\"choices\":[{\"message\":{}}],\"usage\":{\"prompt_tokens\":\"x\"}}", ""},
        {"anthropic", "{\"content\":[]}", ""},
        {"anthropic", "{\"content\":[{\"type\":\"tool_use\",\"text\":\"no\"}],\"usage\":7}", ""},
    };
    script *s = script_start(OK_HEAD, "");
    client *c = client_new(s->server.port, false);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        s->body = cases[i].body;
        client_ask(c, chat(cases[i].provider, "m"));
        CHECK_EQ(c->r.error, 0);
        CHECK_STR(sl_str_c(c->text), cases[i].text);
        CHECK_STR(sl_str_c(c->model), "m");
        CHECK(!c->r.has_usage && !c->r.cost_known);
    }
    client_free(c);
    script_stop(s);
}

/* ---- refusals ---- */

SL_TEST(refusals_are_told_with_what_to_do_about_them)
{
    static const struct {
        const char *head, *body;
        int status;
        bool retryable;
        uint64_t retry_after_ms;
        const char *says;
    } cases[] = {
        {"HTTP/1.1 400 Bad Request\r\n", "{\"error\":{\"message\":\"no such thing\",\"type\":\"invalid\"}}", 400, false,
         0, "openai: 400 Bad Request: no such thing"},
        {"HTTP/1.1 401 Unauthorized\r\n", "{\"error\":\"bad key\"}", 401, false, 0,
         "openai: 401 Unauthorized: bad key"},
        {"HTTP/1.1 404 Not Found\r\n", "<html>", 404, false, 0, "openai: 404 Not Found"},
        {"HTTP/1.1 408 Timeout\r\n", "", 408, true, 0, "408"},
        {"HTTP/1.1 409 Conflict\r\n", "{}", 409, true, 0, "409"},
        {"HTTP/1.1 425 Early\r\n", "{}", 425, true, 0, "425"},
        {"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\n", "{\"message\":\"slow\\ndown\"}", 429, true, 7000,
         "openai: 429 Too Many Requests: slow down"},
        {"HTTP/1.1 429 Slow\r\nRetry-After: 7\r\nretry-after-ms: 250\r\n", "{}", 429, true, 250, "429"},
        {"HTTP/1.1 429 Slow\r\nRetry-After: soon\r\n", "{}", 429, true, 0, "429"},
        {"HTTP/1.1 500 Oops\r\n", "{\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":\"oops\"}}", 500,
         true, 0, "500 Internal Server Error: oops"},
        {"HTTP/1.1 503 Down\r\n", "{\"error\":{\"message\":5}}", 503, true, 0, "503"},
        {"HTTP/1.1 529 Overloaded\r\n", "{\"error\":{}}", 529, true, 0, "529"},
        {"HTTP/1.1 302 Found\r\nLocation: http://x/\r\n", "", 302, false, 0, "302 Found"},
        {"HTTP/1.1 422 U\r\nContent-Type: text/event-stream\r\n", "data: x\n\n", 422, false, 0, "422"},
    };
    script *s = script_start(NULL, "");
    client *c = client_new(s->server.port, false);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        s->head = cases[i].head;
        s->body = cases[i].body;
        sl_llm_request r = chat("openai", "m");
        r.stream = i % 2;
        client_ask(c, r);
        CHECK_EQ(c->r.error, cases[i].retryable ? SL_ERETRY : SL_EREFUSED);
        CHECK_EQ(c->r.http_status, cases[i].status);
        CHECK_EQ(c->r.retryable, cases[i].retryable);
        CHECK_EQ(c->r.retry_after_ms, cases[i].retry_after_ms);
        if (!strstr(c->message, cases[i].says))
            sl_test_failed(__FILE__, __LINE__, "case %zu says \"%s\"", i, c->message);
    }
    client_free(c);
    script_stop(s);
}

/* Some answer 200 and put an error where the answer should be. */
SL_TEST(errors_within_an_answer)
{
    static const struct {
        const char *provider, *body;
        bool retryable;
    } cases[] = {
        {"openai", "{\"error\":{\"message\":\"later\",\"code\":502}}", true},
        {"openai", "{\"error\":{\"message\":\"later\",\"type\":\"server_error\"}}", true},
        {"openai", "{\"error\":{\"message\":\"no\",\"type\":\"invalid_request_error\"}}", false},
        {"anthropic", "{\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"later\"}}", true},
        {"anthropic", "{\"type\":\"error\",\"error\":{\"type\":\"permission_error\"}}", false},
    };
    script *s = script_start(OK_HEAD, "");
    client *c = client_new(s->server.port, false);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        s->body = cases[i].body;
        client_ask(c, chat(cases[i].provider, "m"));
        CHECK_EQ(c->r.error, cases[i].retryable ? SL_ERETRY : SL_EREFUSED);
        CHECK_EQ(c->r.retryable, cases[i].retryable);
        CHECK(c->message[0] && c->r.text.len == 0);
    }
    client_free(c);
    script_stop(s);
}

/* A provider that sends the key back, alone or in a URL, and other secrets beside it. */
SL_TEST(no_failure_tells_a_secret)
{
    static const char *const bodies[] = {
        "{\"error\":{\"message\":\"Incorrect API key provided: " KEY ".\"}}",
        "{\"error\":{\"message\":\"x" KEY KEY "y " KEY "\"}}",
        "{\"error\":\"see http://user:hunter2pass@host/?api_key=" KEY "\"}",
        "{\"message\":\"Bearer " KEY " and sk-proj-abcdefghijklmnopqrstuvwxyz012345\"}",
    };
    script *s = script_start("HTTP/1.1 401 No\r\n", "");
    client *c = client_new(s->server.port, false);
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        s->body = bodies[i];
        client_ask(c, chat("openai", "m"));
        CHECK(strstr(c->message, "[REDACTED]") != NULL);
        CHECK(!strstr(c->message, "plant-") && !strstr(c->message, "hunter2pass") && !strstr(c->message, "sk-proj-a"));
    }
    /* Cut within the key: masked before it is cut. */
    char *far;
    char padding[SL_MAX_LLM_MESSAGE_BYTES];
    for (size_t pad = SL_MAX_LLM_MESSAGE_BYTES - 80; pad < sizeof padding - 1; pad++) {
        memset(padding, 'p', pad);
        padding[pad] = 0;
        REQUIRE(asprintf(&far, "{\"error\":\"%s " KEY "\"}", padding) > 0);
        s->body = far;
        client_ask(c, chat("openai", "m"));
        CHECK(strstr(c->message, "plant") == NULL && strlen(c->message) < SL_MAX_LLM_MESSAGE_BYTES);
        free(far);
        if (s->seen_count == 40)
            break;
    }
    client_free(c);
    script_stop(s);
}
