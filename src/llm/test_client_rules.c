/* What the client of providers decides, case by case: where a call goes, what is worth another try, what is cut. */
#include "src/llm/test_client_fixture.h"

#include "src/llm/client_impl.h"

static sl_llm_request ask_of(const char *provider, const char *model)
{
    return (sl_llm_request){
        .operation = SL_LLM_CHAT, .provider = sl_str_c(provider), .model = sl_str_c(model), .prompt = SL_STR("p")};
}

/* ---- where a call goes ---- */

static void add_place(client *c, const char *name, const char *provider, const char *model)
{
    sl_llm_endpoint e = {.name = sl_str_c(name),
                         .base_url = SL_STR("http://127.0.0.1:9/v1"),
                         .provider = sl_str_c(provider),
                         .model = sl_str_c(model)};
    CHECK_EQ(sl_llm_client_add(c->llm, &e), 0);
}

SL_TEST(a_call_goes_where_provider_and_model_say)
{
    static const struct {
        const char *provider, *model;
        const char *place, *asked; /* place NULL: nowhere */
    } cases[] = {
        {"openai", "gpt-4o", "openai", "gpt-4o"},
        {"openai", "", "openai", ""},               /* an address of its own has no model: the caller must name one */
        {"", "fast", "fast", "small-1"},            /* by the model's name, as the provider calls it */
        {"openai", "fast", "fast", "small-1"},      /* the model of the configuration, of this provider */
        {"anthropic", "fast", "anthropic", "fast"}, /* of another provider: not that one */
        {"fast", "", "fast", "small-1"},            /* the model named as if it were a provider */
        {"fast", "other", "fast", "other"},
        {"nobody", "fast", "fast", "small-1"}, /* a provider without an address: who has the model */
        {"nobody", "gpt-4o", NULL, NULL},
        {"", "gpt-4o", NULL, NULL},
        {"", "", NULL, NULL},
        {"nobody", "", NULL, NULL},
        {"", "openai", "openai", "openai"},
        {"OPENAI", "gpt-4o", NULL, NULL}, /* names are as they are written */
        {"", "slow", "slow", "big-1"},
        {"anthropic", "slow", "slow", "big-1"},
        {"openai", "slow", "openai", "slow"},
    };
    client *c = client_new(0, false);
    add_place(c, "openai", "openai", "");
    add_place(c, "anthropic", "anthropic", "");
    add_place(c, "fast", "openai", "small-1");
    add_place(c, "slow", "anthropic", "big-1");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_llm_request r = ask_of(cases[i].provider, cases[i].model);
        sl_str asked = sl_str_of(NULL, 0);
        const sl_llm_place *place = sl_llm_place_choose(c->llm, &r, &asked);
        bool good =
            place ? cases[i].place && sl_str_eq_c(place->name, cases[i].place) && sl_str_eq_c(asked, cases[i].asked)
                  : !cases[i].place;
        if (!good)
            sl_test_failed(__FILE__, __LINE__, "case %zu: %.*s, asked for %.*s", i, place ? (int)place->name.len : 1,
                           place ? place->name.ptr : "-", (int)asked.len, asked.ptr ? asked.ptr : "");
        r.on_done = client_on_done;
        if (!cases[i].place)
            CHECK_EQ(sl_llm_start(c->llm, &r, &c->call), SL_ENOENT);
    }
    client_free(c);
}

SL_TEST(calls_that_cannot_be_started)
{
    client *c = client_new(1, false);
    json_t *number = json_integer(1), *list = json_array(), *text = json_string("x");
    sl_llm_request r = ask_of("openai", "m");
    r.operation = SL_LLM_NONE;
    CHECK_EQ(client_start(c, &r), SL_EINVAL);
    r.operation = SL_LLM_OPERATION_COUNT;
    CHECK_EQ(client_start(c, &r), SL_EINVAL);
    r.operation = SL_LLM_EMBEDDINGS;
    CHECK_EQ(client_start(c, &r), SL_EINVAL); /* no input */
    r.input = list;
    CHECK_EQ(client_start(c, &r), SL_EINVAL);
    r.input = text;
    r.provider = SL_STR("anthropic");
    CHECK_EQ(client_start(c, &r), SL_ENOTSUP);
    r = ask_of("openai", "m");
    r.extra = number;
    CHECK_EQ(client_start(c, &r), SL_EINVAL);
    r.extra = NULL;
    r.messages = number;
    CHECK_EQ(client_start(c, &r), SL_EINVAL);
    sl_llm_client_close(c->llm);
    r = ask_of("openai", "m");
    CHECK_EQ(client_start(c, &r), SL_ECLOSED);
    json_decref(number);
    json_decref(list);
    json_decref(text);
    client_free(c);
}

/* ---- why there is none ---- */

/* In a buffer of any size: a C string, never more than fits, and no piece of a character. */
SL_TEST(an_explanation_fits_any_buffer)
{
    client *c = client_new(0, false);
    for (int i = 0; i < 10; i++) {
        char name[16];
        snprintf(name, sizeof name, "p\xc3\xa9%d", i);
        add_place(c, name, "openai", "");
    }
    char whole[1024], text[1024];
    sl_llm_client_explain(c->llm, SL_STR("cohere"), whole, sizeof whole);
    CHECK(strstr(whole, "provider cohere: not configured") != NULL);
    CHECK(strstr(whole, "; known: p\xc3\xa9"
                        "0, p\xc3\xa9"
                        "1") != NULL);
    CHECK(strstr(whole, ", ...") != NULL && !strstr(whole, "p\xc3\xa9"
                                                           "8"));
    for (size_t size = 1; size <= strlen(whole) + 2; size++) {
        memset(text, '#', sizeof text);
        sl_llm_client_explain(c->llm, SL_STR("cohere"), text, size);
        CHECK(memchr(text, 0, size) != NULL);
        CHECK(text[size] == '#');
        CHECK(strncmp(text, whole, strlen(text)) == 0);
    }
    client_free(c);
}

SL_TEST(an_explanation_names_the_variable_to_set)
{
    static const struct {
        const char *name, *says;
    } cases[] = {{"openai", "set OPENAI_API_KEY"},
                 {"anthropic", "set ANTHROPIC_API_KEY"},
                 {"", "add a model to model_list"},
                 {"OpenAI", "add a model to model_list"}};
    client *c = client_new(0, false);
    char text[512], name[400];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_llm_client_explain(c->llm, sl_str_c(cases[i].name), text, sizeof text);
        CHECK(strstr(text, cases[i].says) != NULL);
        CHECK(!strstr(text, "known")); /* there is none */
    }
    for (size_t i = 0; i < sizeof name; i += 2)
        memcpy(name + i, "\xc3\xa9", 2);
    sl_llm_client_explain(c->llm, sl_str_of(name, sizeof name), text, sizeof text);
    CHECK(sl_utf8_valid(sl_str_c(text)) && strlen(text) < 200); /* a long name is cut, between two characters */
    client_free(c);
}

/* ---- texts of an endpoint ---- */

SL_TEST(endpoints_with_long_texts)
{
    static char text[70000];
    memset(text, 'k', sizeof text);
    static const struct {
        size_t key, model;
        int error;
    } cases[] = {{20000, 10, 0}, {40000, 10, SL_EINVAL}, {10, 60000, 0}, {10, 66000, SL_EINVAL}};
    client *c = client_new(0, false);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_llm_endpoint e = {.name = SL_STR("p"),
                             .base_url = SL_STR("http://127.0.0.1:9/v1"),
                             .key = sl_str_of(text, cases[i].key),
                             .model = sl_str_of(text, cases[i].model)};
        int error = sl_llm_client_add(c->llm, &e);
        if (error != cases[i].error)
            sl_test_failed(__FILE__, __LINE__, "case %zu: %d", i, error);
    }
    client_free(c);
}

/* ---- system texts of the Anthropic protocol ---- */

SL_TEST(system_texts_are_gathered_whatever_their_shape)
{
    static const struct {
        const char *system, *messages;
        const char *body; /* from `"system"` on, or what has none */
    } cases[] = {
        {"", "[{\"role\":\"system\",\"content\":\"a\"}]", "\"system\":\"a\""},
        {"s", "[{\"role\":\"system\",\"content\":\"a\"}]", "\"system\":\"s\\n\\na\""},
        {"", "[{\"role\":\"system\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]}]", "\"system\":\"a\""},
        {"s",
         "[{\"role\":\"system\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"text\",\"text\":\"b\"}]}]",
         "\"system\":\"s\\n\\na\\n\\nb\""},
        {"",
         "[{\"role\":\"developer\",\"content\":[{\"type\":\"text\",\"text\":\"a\"}]},{\"role\":\"system\","
         "\"content\":\"b\"}]",
         "\"system\":\"a\\n\\nb\""},
        {"", "[{\"role\":\"system\",\"content\":[{\"type\":\"image\"},5,{\"text\":7},{\"text\":\"a\"}]}]",
         "\"system\":\"a\""},
        {"", "[{\"role\":\"system\",\"content\":[]}]", "\"system\":\"\""},
        {"", "[{\"role\":\"system\"}]", "\"system\":\"\""},
        {"", "[{\"role\":\"user\",\"content\":\"u\"}]", NULL},
        {"", "[]", NULL},
        {"", "[{\"role\":5,\"content\":\"a\"}]", NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        json_t *messages = json_loads(cases[i].messages, 0, NULL);
        sl_llm_request r = {
            .operation = SL_LLM_CHAT, .system = sl_str_c(cases[i].system), .messages = messages, .max_tokens = 1};
        sl_buf body;
        sl_buf_init(&body, 1 << 16);
        CHECK(messages != NULL);
        CHECK_EQ(sl_llm_put_body(&body, SL_LLM_ANTHROPIC, SL_STR("m"), &r), 0);
        size_t at = sl_str_find(sl_buf_str(&body), SL_STR("\"system\":"));
        if (!cases[i].body)
            CHECK_EQ(at, SL_NPOS);
        else
            CHECK(sl_str_find(sl_buf_str(&body), sl_str_c(cases[i].body)) == at && at != SL_NPOS);
        json_t *whole = json_loadb(body.data, body.len, 0, NULL);
        json_t *sent = json_object_get(whole, "messages"), *one;
        size_t k;
        json_array_foreach(sent, k, one)
        {
            const char *role = json_string_value(json_object_get(one, "role"));
            CHECK(!role || (strcmp(role, "system") != 0 && strcmp(role, "developer") != 0));
        }
        CHECK(json_is_array(sent));
        json_decref(whole);
        sl_buf_done(&body);
        json_decref(messages);
    }
}

/* ---- statuses ---- */

/* Each status of a refusal: which are worth another try is written down once, here. */
SL_TEST(every_status_is_worth_another_try_or_not)
{
    static const int again[] = {408, 409, 425, 429};
    script *s = script_start(NULL, "{}");
    client *c = client_new(s->server.port, false);
    char head[64];
    s->head = head;
    s->seen_count = 40; /* none is kept */
    for (int status = 300; status < 600; status += status < 400 || status > 530 ? 7 : 1) {
        bool retryable = status >= 500;
        for (size_t i = 0; i < 4; i++)
            retryable = retryable || status == again[i];
        if (status == 304)
            continue; /* has no body */
        snprintf(head, sizeof head, "HTTP/1.1 %d X\r\n", status);
        client_ask(c, ask_of("openai", "m"));
        if (c->r.retryable != retryable || c->r.http_status != status ||
            c->r.error != (retryable ? SL_ERETRY : SL_EREFUSED))
            sl_test_failed(__FILE__, __LINE__, "%d: error %d, retryable %d", status, c->r.error, c->r.retryable);
    }
    s->seen_count = 0;
    client_free(c);
    script_stop(s);
}

SL_TEST(waiting_times_of_providers)
{
    static const struct {
        const char *fields;
        uint64_t ms;
    } cases[] = {
        {"", 0},
        {"Retry-After: 0\r\n", 0},
        {"Retry-After: 1\r\n", 1000},
        {"retry-after: 120\r\n", 120000},
        {"Retry-After: -1\r\n", 0},
        {"Retry-After: 1.5x\r\n", 0},
        {"Retry-After: Wed, 21 Oct 2015 07:28:00 GMT\r\n", 0}, /* over */
        {"retry-after-ms: 1\r\n", 1},
        {"retry-after-ms: 86399999\r\n", 86399999},
        {"retry-after-ms: 86400000\r\nRetry-After: 3\r\n", 3000}, /* more than a day: the other is taken */
        {"retry-after-ms: x\r\nRetry-After: 4\r\n", 4000},
        {"retry-after-ms: \r\nRetry-After: 5\r\n", 5000},
        {"retry-after-ms: -7\r\n", 0},
    };
    script *s = script_start(NULL, "{}");
    client *c = client_new(s->server.port, false);
    char head[256];
    s->head = head;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(head, sizeof head, "HTTP/1.1 429 Slow\r\n%s", cases[i].fields);
        client_ask(c, ask_of("openai", "m"));
        if (c->r.retry_after_ms != cases[i].ms)
            sl_test_failed(__FILE__, __LINE__, "case %zu: %llu ms", i, (unsigned long long)c->r.retry_after_ms);
    }
    client_free(c);
    script_stop(s);
}

/* A refusal of any size: told by its status, and by the provider's words where they stand in its first 64 KiB. */
SL_TEST(refusals_of_any_size)
{
    static char body[200000];
    static const struct {
        size_t before, after;
        bool words;
    } cases[] = {{0, 0, true}, {100, 60000, true}, {60000, 100, true}, {65000, 1000, false}, {100, 150000, false}};
    script *s = script_start("HTTP/1.1 400 Bad Request\r\n", body);
    client *c = client_new(s->server.port, false);
    s->seen_count = 40;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int len = snprintf(body, sizeof body, "{\"x\":\"%*s\",\"error\":{\"message\":\"the reason\"},\"y\":\"%*s\"}",
                           (int)cases[i].before, "", (int)cases[i].after, "");
        REQUIRE(len > 0 && (size_t)len < sizeof body);
        client_ask(c, ask_of("openai", "m"));
        CHECK_EQ(c->r.error, SL_EREFUSED);
        CHECK_EQ(strstr(c->message, "the reason") != NULL, cases[i].words);
        CHECK(strstr(c->message, "400 Bad Request") != NULL);
    }
    s->seen_count = 0;
    client_free(c);
    script_stop(s);
}

/* ---- what an answer holds ---- */

SL_TEST(texts_of_answers_in_every_shape)
{
    static const struct {
        const char *provider, *body, *text, *reason;
    } cases[] = {
        {"openai", "{\"choices\":[{\"message\":{\"content\":\"a\"}}]}", "a", ""},
        {"openai",
         "{\"choices\":[{\"message\":{\"content\":null,\"tool_calls\":[]},\"finish_reason\":\"tool_calls\"}]}", "",
         "tool_calls"},
        {"openai", "{\"choices\":[{\"message\":{}}]}", "", ""},
        {"openai",
         "{\"choices\":[{\"message\":{\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"image_url\"},"
         "{\"type\":\"text\",\"text\":\"b\"}]}}]}",
         "ab", ""},
        {"openai", "{\"choices\":[{\"message\":{\"content\":[]}}]}", "", ""},
        {"openai", "{\"choices\":[{\"message\":{\"content\":7}}]}", "", ""},
        {"openai", "{\"choices\":[{\"message\":{\"content\":\"first\"}},{\"message\":{\"content\":\"second\"}}]}",
         "first", ""},
        {"openai", "{\"choices\":[{\"message\":{\"content\":\"a\\u0000b\"}}]}", "a", ""}, /* as a C string here */
        {"openai", "{\"choices\":[{\"message\":{\"content\":\"\\ud83d\\ude00\"},\"finish_reason\":5}]}",
         "\xf0\x9f\x98\x80", ""},
        {"openai", "{\"error\":null,\"choices\":[{\"message\":{\"content\":\"a\"}}]}", "a", ""},
        {"anthropic", "{\"content\":[]}", "", ""},
        {"anthropic",
         "{\"content\":[{\"type\":\"text\",\"text\":\"a\"},{\"type\":\"tool_use\",\"text\":\"no\"},"
         "{\"type\":\"text\",\"text\":\"b\"}],\"stop_reason\":\"tool_use\"}",
         "ab", "tool_use"},
        {"anthropic", "{\"content\":[{\"text\":\"no type\"},{\"type\":\"text\"},{\"type\":\"text\",\"text\":5},7]}", "",
         ""},
    };
    script *s = script_start(OK_HEAD, "");
    client *c = client_new(s->server.port, false);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        s->body = cases[i].body;
        client_ask(c, ask_of(cases[i].provider, "m"));
        if (c->r.error || strcmp(c->text, cases[i].text) != 0 || strcmp(c->reason, cases[i].reason) != 0)
            sl_test_failed(__FILE__, __LINE__, "case %zu: error %d (%s), \"%s\", %s", i, c->r.error, c->message,
                           c->text, c->reason);
    }
    client_free(c);
    script_stop(s);
}

/* Names that a provider makes are cut where their room ends, between two characters. */
SL_TEST(long_names_of_a_provider_are_cut)
{
    static char body[4096];
    char id[400] = "", reason[200] = "";
    for (int i = 0; i < 90; i++) {
        strcat(id, "\xc3\xa9x");
        if (i < 40)
            strcat(reason, "\xe2\x82\xac");
    }
    snprintf(
        body, sizeof body,
        "{\"id\":\"%s\",\"model\":\"%s\",\"choices\":[{\"message\":{\"content\":\"a\"},\"finish_reason\":\"%s\"}]}", id,
        id, reason);
    script *s = script_start(OK_HEAD, body);
    client *c = client_new(s->server.port, false);
    client_ask(c, ask_of("openai", "m"));
    CHECK_EQ(c->r.error, 0);
    CHECK(sl_utf8_valid(sl_str_c(c->model)) && strncmp(c->model, id, strlen(c->model)) == 0 && strlen(c->model) > 100);
    CHECK(sl_utf8_valid(sl_str_c(c->reason)) && strlen(c->reason) == (SL_LLM_REASON_MAX - 1) / 3 * 3);
    client_free(c);
    script_stop(s);
}

SL_TEST(usage_of_every_shape)
{
    static const struct {
        const char *provider, *usage;
        bool known;
        uint64_t input, output, cached, written;
    } cases[] = {
        {"openai", "null", false, 0, 0, 0, 0},
        {"openai", "5", false, 0, 0, 0, 0},
        {"openai", "[]", false, 0, 0, 0, 0},
        {"openai", "{\"prompt_tokens\":3,\"completion_tokens\":4}", true, 3, 4, 0, 0},
        {"openai", "{\"prompt_tokens\":3,\"completion_tokens\":4,\"prompt_tokens_details\":{\"cached_tokens\":2}}",
         true, 3, 4, 2, 0},
        {"openai", "{\"prompt_tokens\":3}", true, 3, 0, 0, 0},
        {"anthropic", "{\"input_tokens\":3,\"output_tokens\":4}", true, 3, 4, 0, 0},
        {"anthropic",
         "{\"input_tokens\":3,\"output_tokens\":4,\"cache_read_input_tokens\":10,"
         "\"cache_creation_input_tokens\":20}",
         true, 33, 4, 10, 20},
    };
    static char body[1024];
    script *s = script_start(OK_HEAD, body);
    client *c = client_new(s->server.port, false);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool openai = strcmp(cases[i].provider, "openai") == 0;
        snprintf(body, sizeof body, "{%s,\"usage\":%s}",
                 openai ? "\"choices\":[{\"message\":{\"content\":\"a\"}}]"
                        : "\"content\":[{\"type\":\"text\",\"text\":\"a\"}]",
                 cases[i].usage);
        client_ask(c, ask_of(cases[i].provider, "m"));
        if (c->r.error || c->r.has_usage != cases[i].known || c->r.input_tokens != cases[i].input ||
            c->r.output_tokens != cases[i].output || c->r.cached_tokens != cases[i].cached ||
            c->r.cache_write_tokens != cases[i].written)
            sl_test_failed(__FILE__, __LINE__, "case %zu: %d %d, %llu %llu %llu %llu", i, c->r.error, c->r.has_usage,
                           (unsigned long long)c->r.input_tokens, (unsigned long long)c->r.output_tokens,
                           (unsigned long long)c->r.cached_tokens, (unsigned long long)c->r.cache_write_tokens);
        CHECK(!c->r.cost_known); /* nobody has told what "m" costs */
    }
    client_free(c);
    script_stop(s);
}

/* ---- streams that do not end ---- */

/* After the end mark a provider that keeps its connection alive by comments, until the client leaves. */
static void serve_comments(nf_server *server, int fd, int number)
{
    nf_message m;
    (void)number;
    if (!nf_read_message(fd, true, false, &m))
        return;
    nf_message_free(&m);
    bool open = nf_send_c(fd, SSE_HEAD "\r\ndata: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"all\"},"
                                       "\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n");
    for (int i = 0; open && i < 60 && !nf_closed_within(fd, 100); i++)
        open = nf_send_c(fd, ": still here\n\n");
    server->requests++;
}

SL_TEST(comments_behind_the_end_mark_do_not_hold_a_call)
{
    nf_server server;
    nf_server_start(&server, serve_comments, NULL);
    client *c = client_new(server.port, false);
    sl_llm_request r = ask_of("openai", "m");
    r.stream = true;
    client_ask(c, r);
    CHECK_EQ(c->r.error, 0);
    CHECK_STR(sl_str_c(c->text), "all");
    CHECK_STR(sl_str_c(c->reason), "stop");
    CHECK(c->r.duration_ns < 3000000000u); /* its grace is a second */
    client_free(c);
    nf_server_stop(&server);
    CHECK_EQ(server.requests, 1);
}
