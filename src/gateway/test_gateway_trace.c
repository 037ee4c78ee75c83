/* What requests leave behind: attributes of spans, and the usage that nobody told. */
#include "src/gateway/test_spans.h"

/* ---- spans ---- */

/* Attributes as encoded, one behind the other. */
static size_t count_attrs(const sl_otlp_span *span)
{
    sl_otlp_iter it = sl_otlp_items(span->self, SL_OTLP_SPAN_ATTRS);
    sl_str bytes;
    size_t count = 0;
    while (sl_otlp_next(&it, &bytes))
        count++;
    return count;
}

/* True when every attribute of `a` stands in `b` with the same bytes, the client's port left out. */
static bool holds_all(const sl_otlp_span *a, const sl_otlp_span *b)
{
    sl_otlp_iter it = sl_otlp_items(a->self, SL_OTLP_SPAN_ATTRS);
    sl_str bytes, other;
    while (sl_otlp_next(&it, &bytes)) {
        sl_otlp_pair pair;
        bool found = sl_otlp_read_pair(bytes, &pair) == 0 && sl_str_eq_c(pair.key, "network.peer.port");
        sl_otlp_iter in = sl_otlp_items(b->self, SL_OTLP_SPAN_ATTRS);
        while (!found && sl_otlp_next(&in, &other))
            found = sl_str_eq(bytes, other);
        if (!found) {
            sl_test_failed(__FILE__, __LINE__, "%.*s differs", (int)pair.key.len, pair.key.ptr);
            return false;
        }
    }
    return true;
}

static void ask_twice(const char *answer, const char *body, int status)
{
    script *s = script_start(answer);
    front *f = front_new(s->server.port);
    sl_segment *segment = front_record(f);
    sl_sdk *sdk = f->sdk;
    front_start(f);
    for (int i = 0; i < 3; i++) {
        nf_message m = ask(f, body);
        CHECK_EQ(m.status, status);
        nf_message_free(&m);
    }
    front_stop(f);
    recorded all = {.count = 0};
    (void)sl_segment_drain(segment, SL_RING_SPANS, keep_span, &all);
    CHECK_EQ(all.count, 6);
    for (size_t i = 2; i < all.count; i++) {
        CHECK_EQ(count_attrs(&all.spans[i]), count_attrs(&all.spans[i % 2]));
        CHECK(holds_all(&all.spans[i % 2], &all.spans[i]));
        CHECK_STR_EQ(all.spans[i].name, all.spans[i % 2].name);
        CHECK_EQ(attr(&all.spans[i], "http.response.status_code").integer, status);
        CHECK_EQ(attr(&all.spans[i], "http.status_code").integer, status);
        CHECK_STR(attr(&all.spans[i], "llm.model").str, "m");
        CHECK_STR(attr(&all.spans[i], "llm.provider").str, "openai");
    }
    recorded_done(&all);
    record_done(sdk, segment);
    script_stop(s);
}

/* The first request sets attributes one by one, later ones take what was encoded then: nobody can tell. */
SL_TEST(the_first_span_looks_like_all_others)
{
    ask_twice(UNARY, "{\"model\":\"m\",\"temperature\":0.5,\"stop\":[\"a\",\"b\"],\"user\":\"u\"}", 200);
    ask_twice("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "{\"model\":\"m\"}", 200);
    ask_twice("HTTP/1.1 200 OK\r\nContent-Length: 74\r\n\r\n"
              "{\"model\":\"a\",\"choices\":[{\"finish_reason\":\"stop\"},{\"finish_reason\":\"length\"}]}",
              "{\"model\":\"m\",\"n\":2}", 200);
    ask_twice("HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\n{}", "{\"model\":\"m\"}", 400);
    ask_twice("HTTP/1.1 503 Down\r\nContent-Length: 2\r\n\r\n{}", "{\"model\":\"m\"}", 503);
}

/* More models than have a place of their own, and more finish reasons: each span still tells its own. */
SL_TEST(answers_of_many_models)
{
    script *s = script_start(NULL);
    front *f = front_new(s->server.port);
    sl_segment *segment = front_record(f);
    sl_sdk *sdk = f->sdk;
    char answer[256], body[128], expected[16][24];
    s->answer = answer;
    front_start(f);
    size_t asked = 7; /* all spans in one drain */
    static const char *const reasons[7] = {"stop", "length", "tool_calls", "content_filter", "stop", "error", "eos"};
    for (size_t i = 0; i < asked; i++) {
        (void)snprintf(expected[i], sizeof expected[i], "model-%zu", i % 3);
        int len = snprintf(body, sizeof body, "{\"model\":\"%s\",\"choices\":[{\"finish_reason\":\"%s\"}]}",
                           expected[i], reasons[i]);
        s->answer_len =
            (size_t)snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len, body);
        nf_message m = ask(f, "{\"model\":\"m\"}");
        CHECK_EQ(m.status, 200);
        nf_message_free(&m);
    }
    front_stop(f);
    recorded all = {.count = 0};
    (void)sl_segment_drain(segment, SL_RING_SPANS, keep_span, &all);
    CHECK_EQ(all.count, 2 * asked);
    for (size_t i = 0; i < asked && 2 * i < all.count; i++) {
        CHECK_STR(attr(&all.spans[2 * i], "gen_ai.response.model").str, expected[i]);
        sl_str raw = all.spans[2 * i].self;
        CHECK(sl_str_find(raw, sl_str_c(reasons[i])) != SL_NPOS);
    }
    recorded_done(&all);
    record_done(sdk, segment);
    script_stop(s);
}

/* ---- usage that nobody told ---- */

#define STREAM "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
#define DELTA "2f\r\ndata: {\"choices\":[{\"delta\":{\"content\":\"a\"}}]}\n\n\r\n"

typedef struct gap {
    const char *name;
    const char *answer;
    bool breaks;      /* the upstream, behind its answer */
    bool client_goes; /* behind the first bytes */
    bool stream;
    const char *reason; /* counted once; NULL: none is */
} gap;

static const gap gaps[] = {
    {.name = "told", .answer = UNARY},
    {.name = "whole, not told", .answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", .reason = "not_reported"},
    {.name = "refused", .answer = "HTTP/1.1 400 Bad\r\nContent-Length: 2\r\n\r\n{}"},
    {.name = "no answer", .answer = "HTTP/1.1 2", .breaks = true},
    {.name = "broken off",
     .answer = "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{\"id\"",
     .breaks = true,
     .reason = "upstream_broke_off"},
    {.name = "stream broken off",
     .answer = STREAM DELTA DELTA,
     .breaks = true,
     .stream = true,
     .reason = "upstream_broke_off"},
    {.name = "stream of no frame broken off",
     .answer = STREAM,
     .breaks = true,
     .stream = true,
     .reason = "upstream_broke_off"},
    {.name = "client gone",
     .answer = STREAM DELTA,
     .client_goes = true,
     .stream = true,
     .reason = "client_disconnected"},
};

static void check_gap(const gap *g, sl_sdk *sdk, sl_segment *segment)
{
    static const char *const reasons[] = {"not_reported", "client_disconnected", "upstream_broke_off"};
    sl_buf page;
    page_of(sdk, segment, &page);
    for (size_t i = 0; i < 3; i++) {
        char series[128];
        (void)snprintf(series, sizeof series, "sightline_gateway_usage_missing_total{reason=\"%s\"} ", reasons[i]);
        double wanted = g->reason && strcmp(g->reason, reasons[i]) == 0;
        if (sample(sl_buf_str(&page), series) != wanted)
            sl_test_failed(__FILE__, __LINE__, "%s: %s", g->name, reasons[i]);
    }
    CHECK_EQ(sample(sl_buf_str(&page), "sightline_gateway_requests_in_flight "), 0);
    sl_buf_done(&page);
}

SL_TEST(usage_that_nobody_told_is_counted_once_by_its_reason)
{
    for (size_t i = 0; i < sizeof gaps / sizeof *gaps; i++) {
        const gap *g = &gaps[i];
        script *s = script_start(g->answer);
        s->close_after = g->breaks;
        front *f = front_new(s->server.port);
        sl_segment *segment = front_record(f);
        sl_sdk *sdk = f->sdk;
        front_start(f);
        int fd =
            post(f, "/v1/chat/completions", "", g->stream ? "{\"model\":\"m\",\"stream\":true}" : "{\"model\":\"m\"}");
        nf_message m;
        char first[1];
        if (g->client_goes)
            CHECK_EQ(recv(fd, first, 1, 0), 1);
        else if (nf_read_message(fd, false, false, &m))
            nf_message_free(&m);
        close(fd);
        for (int ms = 0; ms < 2000 && g->client_goes && !s->closed_ns; ms++)
            nf_sleep_ms(1);
        front_stop(f);
        check_gap(g, sdk, segment);
        record_done(sdk, segment);
        script_stop(s);
    }
}

/* ---- what a request and its answer say ---- */

/* Asks once; `ret_all` has the attempt's span first, then that of the request. */
static int ask_once(const char *answer, const char *body, recorded *ret_all, sl_segment **ret_segment, sl_sdk **ret_sdk)
{
    script *s = script_start(answer);
    front *f = front_new(s->server.port);
    *ret_segment = front_record(f);
    *ret_sdk = f->sdk;
    front_start(f);
    nf_message m = ask(f, body);
    int status = m.status;
    nf_message_free(&m);
    front_stop(f);
    script_stop(s);
    memset(ret_all, 0, sizeof *ret_all);
    (void)sl_segment_drain(*ret_segment, SL_RING_SPANS, keep_span, ret_all);
    CHECK_EQ(ret_all->count, 2);
    return status;
}

/* An attribute as text: numbers in decimal, lists by their first item, "" when it is not there. */
static void attr_text(const sl_otlp_span *span, const char *key, char text[64])
{
    sl_otlp_any any = attr(span, key);
    sl_str item;
    if (any.type == SL_VALUE_ARRAY) {
        sl_otlp_iter it = sl_otlp_items(any.str, SL_OTLP_ARRAY_ITEMS);
        if (!sl_otlp_next(&it, &item) || sl_otlp_read_any(item, &any) != 0)
            memset(&any, 0, sizeof any);
    }
    text[0] = 0;
    if (any.type == SL_VALUE_STRING)
        (void)snprintf(text, 64, "%.*s", (int)any.str.len, any.str.ptr);
    else if (any.type == SL_VALUE_INT)
        (void)snprintf(text, 64, "%lld", (long long)any.integer);
    else if (any.type == SL_VALUE_DOUBLE)
        (void)snprintf(text, 64, "%g", any.real);
    else if (any.type == SL_VALUE_BOOL)
        (void)snprintf(text, 64, "%s", any.boolean ? "true" : "false");
}

SL_TEST(what_a_request_asks_for_stands_on_its_span)
{
    static const struct {
        const char *member;
        const char *key;
        const char *value;
    } rows[] = {
        {"\"temperature\":0.5", "gen_ai.request.temperature", "0.5"},
        {"\"temperature\":0", "gen_ai.request.temperature", "0"},
        {"\"temperature\":\"hot\"", "gen_ai.request.temperature", ""},
        {"\"temperature\":null", "gen_ai.request.temperature", ""},
        {"\"top_p\":0.25", "gen_ai.request.top_p", "0.25"},
        {"\"top_k\":40", "gen_ai.request.top_k", "40"},
        {"\"max_tokens\":17", "gen_ai.request.max_tokens", "17"},
        {"\"seed\":-3", "gen_ai.request.seed", "-3"},
        {"\"frequency_penalty\":-1.5", "gen_ai.request.frequency_penalty", "-1.5"},
        {"\"presence_penalty\":1.5", "gen_ai.request.presence_penalty", "1.5"},
        {"\"stop\":\"END\"", "gen_ai.request.stop_sequences", "END"},
        {"\"stop\":[\"A\",\"B\"]", "gen_ai.request.stop_sequences", "A"},
        {"\"stop\":[]", "gen_ai.request.stop_sequences", ""},
        {"\"n\":3", "gen_ai.request.choice.count", "3"},
        {"\"n\":1", "gen_ai.request.choice.count", ""}, /* one is what everybody asks for */
        {"\"n\":1.5", "gen_ai.request.choice.count", ""},
        {"\"service_tier\":\"flex\"", "openai.request.service_tier", "flex"},
        {"\"service_tier\":7", "openai.request.service_tier", ""},
        {"\"response_format\":{\"type\":\"text\"}", "gen_ai.output.type", "text"},
        {"\"response_format\":{\"type\":\"json_object\"}", "gen_ai.output.type", "json"},
        {"\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{}}", "gen_ai.output.type", "json"},
        {"\"response_format\":{}", "gen_ai.output.type", ""},
        {"\"encoding_format\":\"base64\"", "gen_ai.request.encoding_formats", "base64"},
        {"\"user\":\"planted\"", "user", ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char body[256], text[64];
        recorded all;
        sl_segment *segment;
        sl_sdk *sdk;
        (void)snprintf(body, sizeof body, "{\"model\":\"m\",%s}", rows[i].member);
        CHECK_EQ(ask_once(UNARY, body, &all, &segment, &sdk), 200);
        if (all.count == 2) {
            attr_text(&all.spans[0], rows[i].key, text);
            if (strcmp(text, rows[i].value) != 0)
                sl_test_failed(__FILE__, __LINE__, "%s: \"%s\"", rows[i].member, text);
        }
        recorded_done(&all);
        record_done(sdk, segment);
    }
}

SL_TEST(details_of_usage_stand_on_the_span)
{
    static const struct {
        const char *usage;
        const char *read, *written, *reasoning, *input;
    } rows[] = {
        {"\"prompt_tokens\":9,\"completion_tokens\":4", "", "", "", "9"},
        {"\"prompt_tokens\":9,\"completion_tokens\":4,\"prompt_tokens_details\":{\"cached_tokens\":6}", "6", "", "",
         "9"},
        {"\"prompt_tokens\":9,\"completion_tokens\":4,\"prompt_tokens_details\":{\"cached_tokens\":0}", "0", "", "",
         "9"},
        {"\"prompt_tokens\":9,\"completion_tokens\":4,\"completion_tokens_details\":{\"reasoning_tokens\":3}", "", "",
         "3", "9"},
        {"\"prompt_tokens\":9,\"completion_tokens\":4,\"prompt_tokens_details\":null", "", "", "", "9"},
        {"\"prompt_tokens\":9,\"completion_tokens\":4,\"prompt_tokens_details\":{\"cached_tokens\":\"6\"}", "", "", "",
         "9"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char body[512], answer[768], text[64];
        recorded all;
        sl_segment *segment;
        sl_sdk *sdk;
        int len = snprintf(body, sizeof body, "{\"model\":\"m\",\"usage\":{%s}}", rows[i].usage);
        (void)snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len, body);
        CHECK_EQ(ask_once(answer, "{\"model\":\"m\"}", &all, &segment, &sdk), 200);
        if (all.count == 2) {
            attr_text(&all.spans[0], "gen_ai.usage.input_tokens", text);
            CHECK_STR(sl_str_c(text), rows[i].input);
            attr_text(&all.spans[0], "gen_ai.usage.cache_read.input_tokens", text);
            CHECK_STR(sl_str_c(text), rows[i].read);
            attr_text(&all.spans[0], "gen_ai.usage.cache_write.input_tokens", text);
            CHECK_STR(sl_str_c(text), rows[i].written);
            attr_text(&all.spans[0], "gen_ai.usage.reasoning.output_tokens", text);
            CHECK_STR(sl_str_c(text), rows[i].reasoning);
            attr_text(&all.spans[1], "gen_ai.usage.input_tokens", text); /* on the request's span too */
            CHECK_STR(sl_str_c(text), rows[i].input);
        }
        recorded_done(&all);
        record_done(sdk, segment);
    }
}

/* ---- prompts: only for who asked, never a key, never more than a part ---- */

static bool is_anywhere(const recorded *all, const char *text)
{
    for (size_t i = 0; i < all->count; i++) {
        if (sl_str_find(all->spans[i].self, sl_str_c(text)) != SL_NPOS)
            return true;
    }
    return false;
}

SL_TEST(prompts_are_recorded_for_who_asked)
{
    static const struct {
        const char *variable, *value;
        bool in_span;
    } rows[] = {
        {"LOG_QUERIES", NULL, false},
        {"LOG_QUERIES", "false", false},
        {"LOG_QUERIES", "true", true},
        {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "true", true},
        {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT", "false", false},
    };
    static const char body[] = "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"open sesame, my key is "
                               "sk-abcdefghijklmnopqrstuvwx0123456789\"}]}";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        recorded all;
        sl_segment *segment;
        sl_sdk *sdk;
        if (rows[i].value)
            (void)setenv(rows[i].variable, rows[i].value, 1);
        CHECK_EQ(ask_once(UNARY, body, &all, &segment, &sdk), 200);
        (void)unsetenv(rows[i].variable);
        CHECK_EQ(is_anywhere(&all, "open sesame"), rows[i].in_span);
        CHECK_EQ(is_anywhere(&all, "gen_ai.prompt"), rows[i].in_span);
        CHECK(!is_anywhere(&all, "sk-abcdefghijklmnopqrstuvwx"));
        CHECK_EQ(all.count == 2 && attr(&all.spans[1], "gen_ai.prompt").str.len > 0, false); /* not on the request's */
        recorded_done(&all);
        record_done(sdk, segment);
    }
}

SL_TEST(long_prompts_are_cut_between_characters)
{
    enum { REPEATS = 3000 };
    char *body = malloc(REPEATS * 3 + 200);
    size_t len = (size_t)sprintf(body, "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"");
    for (int i = 0; i < REPEATS; i++)
        len += (size_t)sprintf(body + len, "\xe2\x82\xac");
    (void)sprintf(body + len, "END\"}]}");
    recorded all;
    sl_segment *segment;
    sl_sdk *sdk;
    (void)setenv("LOG_QUERIES", "true", 1);
    CHECK_EQ(ask_once(UNARY, body, &all, &segment, &sdk), 200);
    (void)unsetenv("LOG_QUERIES");
    if (all.count == 2) {
        sl_str prompt = attr(&all.spans[0], "gen_ai.prompt").str;
        CHECK(prompt.len > 4000 && prompt.len <= 4096);
        CHECK(sl_utf8_valid(prompt));
        CHECK(sl_str_find(prompt, SL_STR("END")) == SL_NPOS);
    }
    recorded_done(&all);
    record_done(sdk, segment);
    free(body);
}

/* Where there is no prompt, none is made up. */
SL_TEST(requests_without_a_prompt)
{
    static const char *const bodies[] = {"{\"model\":\"m\"}", "{\"model\":\"m\",\"messages\":null}",
                                         "{\"model\":\"m\",\"prompt\":\"p\"}", "{\"model\":\"m\",\"input\":[]}"};
    (void)setenv("LOG_QUERIES", "true", 1);
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        recorded all;
        sl_segment *segment;
        sl_sdk *sdk;
        CHECK_EQ(ask_once(UNARY, bodies[i], &all, &segment, &sdk), 200);
        if (i == 0)
            CHECK(!is_anywhere(&all, "gen_ai.prompt"));
        recorded_done(&all);
        record_done(sdk, segment);
    }
    (void)unsetenv("LOG_QUERIES");
}
