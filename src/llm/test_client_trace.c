/* What calls leave behind: spans, the headers that carry them, metrics, and no secrets. */
#include "src/llm/test_client_fixture.h"

#define PROMPT "the prompt that nobody may read"
#define ANSWER                                                                                                         \
    "{\"id\":\"c-9\",\"model\":\"gpt-4o-2024-08-06\",\"choices\":[{\"message\":{\"content\":\"secret answer\"},"       \
    "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":12,\"completion_tokens\":3,\"total_tokens\":15,"        \
    "\"prompt_tokens_details\":{\"cached_tokens\":4},\"completion_tokens_details\":{\"reasoning_tokens\":2}}}"
#define STREAM                                                                                                         \
    "data: {\"model\":\"gpt-4o\",\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n"                       \
    "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"b\"},\"finish_reason\":\"stop\"}]}\n\n"                 \
    "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":5,\"completion_tokens\":2}}\n\ndata: [DONE]\n\n"

static sl_llm_request chat(client *c)
{
    (void)c;
    return (sl_llm_request){
        .operation = SL_LLM_CHAT, .provider = SL_STR("openai"), .model = SL_STR("gpt-4o"), .prompt = SL_STR(PROMPT)};
}

static const sl_otlp_span *find_span(const spans *all, const char *name)
{
    for (size_t i = 0; i < all->count; i++) {
        if (sl_str_eq_c(all->items[i].name, name))
            return &all->items[i];
    }
    return NULL;
}

SL_TEST(a_call_is_a_client_span_under_its_parent)
{
    script *s = script_start(OK_HEAD, ANSWER);
    client *c = client_new(s->server.port, true);
    sl_tracer *tracer = sl_tracer_get(c->sdk, &(sl_scope_options){.name = SL_STR("t")});
    sl_span *parent = sl_span_start(tracer, SL_STR("step"), NULL);
    sl_span_context context;
    sl_span_get_context(parent, &context);
    sl_llm_request r = chat(c);
    r.parent = parent;
    r.has_temperature = true;
    r.temperature = 0.5;
    r.max_tokens = 64;
    client_ask(c, r);
    sl_span_end(parent);
    spans all = spans_of(c);
    CHECK_EQ(all.count, 2);
    const sl_otlp_span *span = find_span(&all, "chat gpt-4o");
    REQUIRE(span);
    CHECK_EQ(span->kind, SL_SPAN_CLIENT);
    CHECK(memcmp(span->parent_span_id.ptr, context.span_id, 8) == 0);
    CHECK(memcmp(span->trace_id.ptr, context.trace_id, 16) == 0);
    static const struct {
        const char *key, *text;
        int64_t number;
    } attrs[] = {
        {"gen_ai.operation.name", "chat", 0},
        {"gen_ai.provider.name", "openai", 0},
        {"gen_ai.system", "openai", 0},
        {"gen_ai.request.model", "gpt-4o", 0},
        {"gen_ai.response.model", "gpt-4o-2024-08-06", 0},
        {"gen_ai.response.id", "c-9", 0},
        {"server.address", "127.0.0.1", 0},
        {"gen_ai.request.max_tokens", NULL, 64},
        {"gen_ai.usage.input_tokens", NULL, 12},
        {"gen_ai.usage.output_tokens", NULL, 3},
        {"gen_ai.usage.cache_read.input_tokens", NULL, 4},
        {"gen_ai.usage.reasoning.output_tokens", NULL, 2},
        {"http.response.status_code", NULL, 200},
        {"llm.tokens.prompt", NULL, 12},
        {"llm.tokens.completion", NULL, 3},
    };
    for (size_t i = 0; i < sizeof attrs / sizeof *attrs; i++) {
        sl_otlp_any any = span_attr(span, attrs[i].key);
        if (attrs[i].text ? !sl_str_eq_c(any.str, attrs[i].text) : any.integer != attrs[i].number)
            sl_test_failed(__FILE__, __LINE__, "%s is %.*s %lld", attrs[i].key, (int)any.str.len, any.str.ptr,
                           (long long)any.integer);
    }
    CHECK_EQ(span_attr(span, "server.port").integer, s->server.port);
    CHECK_EQ(span_attr(span, "error.type").str.len, 0);
    /* The provider is told of this very span. */
    char header[64], trace[33] = "", id[17] = "";
    sl_hex_encode((const uint8_t *)span->trace_id.ptr, 16, trace);
    sl_hex_encode((const uint8_t *)span->span_id.ptr, 8, id);
    snprintf(header, sizeof header, "00-%s-%s-0", trace, id);
    const char *sent = nf_field(&s->seen[0], "traceparent");
    CHECK(sent && strncmp(sent, header, strlen(header)) == 0 && (sent[strlen(header)] & 1) == 1);
    spans_done(&all);
    client_free(c);
    script_stop(s);
}

static size_t count_events(const sl_otlp_span *span)
{
    sl_otlp_iter it = sl_otlp_items(span->self, SL_OTLP_SPAN_EVENTS);
    sl_str bytes;
    size_t count = 0;
    while (sl_otlp_next(&it, &bytes))
        count++;
    return count;
}

SL_TEST(a_stream_tells_when_it_began)
{
    script *s = script_start(SSE_HEAD, STREAM);
    client *c = client_new(s->server.port, true);
    sl_llm_request r = chat(c);
    r.stream = true;
    client_ask(c, r);
    spans all = spans_of(c);
    REQUIRE(all.count == 1);
    CHECK(span_attr(&all.items[0], "gen_ai.request.stream").boolean);
    CHECK_EQ(count_events(&all.items[0]), 1);
    CHECK(span_attr(&all.items[0], "gen_ai.response.time_to_first_chunk").real > 0);
    CHECK_EQ(span_attr(&all.items[0], "gen_ai.usage.output_tokens").integer, 2);
    spans_done(&all);
    client_free(c);
    script_stop(s);
}

SL_TEST(failures_name_their_kind)
{
    static const struct {
        const char *head, *body, *type;
    } cases[] = {
        {"HTTP/1.1 429 Slow\r\n", "{}", "429"},
        {"HTTP/1.1 400 No\r\n", "{\"error\":\"" KEY " " PROMPT "\"}", "400"},
        {OK_HEAD, "{", "invalid_response"},
        {OK_HEAD, "{\"error\":{\"message\":\"" PROMPT "\"}}", "upstream_error"},
        {"no http\r\n", "{}", "upstream_protocol"},
    };
    script *s = script_start(NULL, NULL);
    client *c = client_new(s->server.port, true);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        s->head = cases[i].head;
        s->body = cases[i].body;
        client_ask(c, chat(c));
        CHECK(c->r.error != 0);
    }
    spans all = spans_of(c);
    CHECK_EQ(all.count, 5);
    for (size_t i = 0; i < all.count && i < 5; i++) {
        CHECK_STR(span_attr(&all.items[i], "error.type").str, cases[i].type);
        /* Neither the key nor what the provider quotes of the prompt. */
        CHECK(!memmem(all.items[i].self.ptr, all.items[i].self.len, "plant-", 6));
        CHECK(!memmem(all.items[i].self.ptr, all.items[i].self.len, "nobody may", 10));
    }
    spans_done(&all);
    client_free(c);
    script_stop(s);
}

SL_TEST(cancelled_calls_end_their_spans)
{
    script *s = script_start(OK_HEAD, ANSWER);
    s->hold_ms = 3000;
    client *c = client_new(s->server.port, true);
    sl_llm_request r = chat(c);
    CHECK_EQ(client_start(c, &r), 0);
    (void)uv_run(&c->loop.uv, UV_RUN_NOWAIT);
    sl_llm_cancel(c->call);
    spans all = spans_of(c);
    REQUIRE(all.count == 1);
    CHECK_STR(span_attr(&all.items[0], "error.type").str, "cancelled");
    spans_done(&all);
    client_free(c);
    script_stop(s);
}

/* Prompt text stands in spans when it is asked for, and then masked. */
SL_TEST(prompts_only_when_asked_for)
{
    script *s = script_start(OK_HEAD, ANSWER);
    for (int asked = 0; asked < 2; asked++) {
        if (asked)
            CHECK_EQ(setenv("LOG_QUERIES", "true", 1), 0);
        client *c = client_new(s->server.port, true);
        sl_llm_request r = chat(c);
        r.prompt = SL_STR(PROMPT " password=hunter2pass");
        client_ask(c, r);
        json_t *messages = json_pack("[{s:s,s:s}]", "role", "user", "content", PROMPT);
        r.messages = messages;
        client_ask(c, r);
        spans all = spans_of(c);
        CHECK_EQ(all.count, 2);
        for (size_t i = 0; i < all.count; i++) {
            sl_str prompt = span_attr(&all.items[i], "gen_ai.prompt").str;
            CHECK_EQ(sl_str_find(prompt, SL_STR("nobody may")) != SL_NPOS, asked);
            CHECK(!memmem(all.items[i].self.ptr, all.items[i].self.len, "hunter2pass", 11));
            CHECK(!memmem(all.items[i].self.ptr, all.items[i].self.len, "secret answer", 13));
        }
        spans_done(&all);
        json_decref(messages);
        client_free(c);
    }
    CHECK_EQ(unsetenv("LOG_QUERIES"), 0);
    script_stop(s);
}

/* ---- metrics ---- */

/* Of a whole SDK: what a scrape would show. */
static char *gather(sl_sdk *sdk)
{
    char *text = NULL;
    size_t len = 0;
    CHECK_EQ(sl_prometheus_gather(sdk, SL_PROMETHEUS_TEXT, &text, &len), 0);
    return text;
}

static bool has_line(const char *text, const char *name, const char *labels, const char *value)
{
    for (const char *line = text; line && *line; line = strchr(line, '\n') ? strchr(line, '\n') + 1 : NULL) {
        const char *end = strchr(line, '\n');
        size_t len = end ? (size_t)(end - line) : strlen(line);
        size_t v = strlen(value);
        if (strncmp(line, name, strlen(name)) == 0 && memmem(line, len, labels, strlen(labels)) && len > v &&
            memcmp(line + len - v, value, v) == 0 && line[len - v - 1] == ' ')
            return true;
    }
    return false;
}

SL_TEST(calls_move_the_metrics)
{
    script *s = script_start(OK_HEAD, ANSWER);
    client *c = client_new(0, false);
    sl_sdk_options options = {.ignore_environment = true, .no_default_exporters = true};
    sl_sdk *sdk = NULL;
    REQUIRE(sl_sdk_new(&options, &sdk) == 0);
    client_close_loop(c);
    REQUIRE(sl_loop_init(&c->loop) == 0 && uv_async_init(&c->loop.uv, &c->keep, NULL) == 0);
    REQUIRE(sl_llm_client_new(&c->loop, sdk, &c->llm) == 0);
    client_add(c, "openai", SL_LLM_OPENAI, "/v1", s->server.port);
    client_ask(c, chat(c));
    client_ask(c, chat(c));
    s->head = SSE_HEAD;
    s->body = STREAM;
    sl_llm_request r = chat(c);
    r.stream = true;
    client_ask(c, r);
    s->head = "HTTP/1.1 503 Down\r\n";
    client_ask(c, chat(c));
    char *text = gather(sdk);
    REQUIRE(text);
    CHECK(has_line(text, "gen_ai_client_operation_duration_seconds_count",
                   "gen_ai_response_model=\"gpt-4o-2024-08-06\"", "2"));
    CHECK(has_line(text, "gen_ai_client_operation_duration_seconds_count", "error_type=\"503\"", "1"));
    CHECK(has_line(text, "gen_ai_client_token_usage_sum", "gen_ai_token_type=\"input\"", "24") ||
          has_line(text, "gen_ai_client_token_usage_tokens_sum", "gen_ai_token_type=\"input\"", "24"));
    CHECK(has_line(text, "gen_ai_server_time_to_first_token_seconds_count", "gen_ai_response_model=\"gpt-4o\"", "1"));
    CHECK(!strstr(text, "plant-") && !strstr(text, "nobody may"));
    if (getenv("SHOW"))
        puts(text);
    free(text);
    client_close_loop(c);
    (void)sl_sdk_shutdown(sdk, 1000);
    sl_sdk_free(sdk);
    c->llm = NULL;
    client_free(c);
    script_stop(s);
}
