/* llm and embed steps: params, results, failures; the executor is played by this file. */
#include <stdarg.h>

#include "src/flow/step_llm.h"
#include "src/llm/test_client_fixture.h"

#define CHAT                                                                                                           \
    "{\"id\":\"c\",\"model\":\"gpt-4o-2024-08-06\",\"choices\":[{\"message\":{\"content\":\"Hello\"},"                 \
    "\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":1000,\"completion_tokens\":200,\"total_tokens\":1200,"  \
    "\"prompt_tokens_details\":{\"cached_tokens\":0}}}"
#define MESSAGE                                                                                                        \
    "{\"id\":\"m-1\",\"model\":\"claude-x-1\",\"content\":[{\"type\":\"text\",\"text\":\"Hello\"}],\"stop_reason\":"   \
    "\"end_turn\",\"usage\":{\"input_tokens\":10,\"output_tokens\":5,\"cache_read_input_tokens\":2}}"

/* ---- the executor, as far as a kind sees it ---- */

static struct {
    bool over;
    sl_step_error error;
    char message[1024];
    json_t *results, *extra, *text;
    sl_step_usage usage;
    unsigned usages;
} told;

void sl_step_succeed(sl_step_try *attempt, json_t *results, json_t *extra, json_t *as_text)
{
    CHECK(!told.over && !attempt->data);
    told.over = true;
    told.results = results;
    told.extra = extra;
    told.text = as_text;
}

void sl_step_fail(sl_step_try *attempt, sl_step_error error, const char *format, ...)
{
    CHECK(!told.over && !attempt->data);
    told.over = true;
    told.error = error;
    va_list args;
    va_start(args, format);
    vsnprintf(told.message, sizeof told.message, format, args);
    va_end(args);
}

void sl_step_add_usage(sl_step_try *attempt, const sl_step_usage *usage)
{
    CHECK(!told.over && attempt);
    told.usage.input_tokens += usage->input_tokens;
    told.usage.output_tokens += usage->output_tokens;
    told.usage.cost_usd += usage->cost_usd;
    told.usage.cost_known |= usage->cost_known;
    told.usages++;
}

static void forget(void)
{
    json_decref(told.results);
    json_decref(told.extra);
    json_decref(told.text);
    memset(&told, 0, sizeof told);
}

typedef struct world {
    client *c;
    sl_flow_services services;
    sl_step step;
    sl_step_try attempt;
} world;

static void begin(world *w, client *c, const sl_step_kind *kind, const char *params)
{
    forget();
    memset(w, 0, sizeof *w);
    w->c = c;
    w->services.llm = c ? c->llm : NULL;
    w->step.id = "s";
    w->attempt.step = &w->step;
    w->attempt.services = &w->services;
    w->attempt.params = json_loads(params, 0, NULL);
    w->attempt.attempt = 1;
    CHECK(w->attempt.params != NULL);
    kind->start(&w->attempt);
}

static void end(world *w)
{
    json_decref(w->attempt.params);
    w->attempt.params = NULL;
    sl_llm_client_leave(w->attempt.llm); /* as the executor does behind a step */
    w->attempt.llm = NULL;
}

static void try_step(world *w, client *c, const sl_step_kind *kind, const char *params)
{
    begin(w, c, kind, params);
    uint64_t until = sl_mono_ns() + (uint64_t)NF_PATIENCE_MS * 1000000;
    while (!told.over && sl_mono_ns() < until)
        (void)uv_run(&c->loop.uv, UV_RUN_ONCE);
    CHECK(told.over);
    end(w);
}

static void check_json(const json_t *value, const char *text)
{
    char *is = value ? json_dumps(value, JSON_COMPACT | JSON_SORT_KEYS | JSON_ENCODE_ANY) : NULL;
    CHECK_STR(sl_str_c(is ? is : "nothing"), text);
    free(is);
}

/* ---- llm ---- */

/* What the published library gives for the same answers, key for key. */
SL_TEST(results_of_an_llm_step)
{
    script *s = script_start(OK_HEAD, CHAT);
    client *c = client_new(s->server.port, false);
    world w;
    try_step(&w, c, &sl_step_llm_kind,
             "{\"provider\":\"openai\",\"model\":\"gpt-4o\",\"prompt\":\"Hi\",\"temperature\":0.7,\"max_tokens\":50}");
    CHECK_EQ(told.error, 0);
    check_json(told.results, "[\"Hello\",\"gpt-4o\",1200,{\"finish_reason\":\"stop\",\"usage\":{\"completion_tokens\":"
                             "200,\"prompt_tokens\":1000,\"total_tokens\":1200}}]");
    check_json(told.extra, "{\"_response\":{\"finish_reason\":\"stop\",\"model\":\"gpt-4o\",\"text\":\"Hello\","
                           "\"tokens_used\":1200,\"usage\":{\"completion_tokens\":200,\"prompt_tokens\":1000,"
                           "\"total_tokens\":1200}}}");
    check_json(told.text, "\"Hello\"");
    CHECK_EQ(told.usages, 1);
    CHECK_EQ(told.usage.input_tokens, 1000);
    CHECK_EQ(told.usage.output_tokens, 200);
    CHECK(told.usage.cost_known && told.usage.cost_usd > 0.00449 && told.usage.cost_usd < 0.00451);
    CHECK_STR(s->seen[0].body, "{\"model\":\"gpt-4o\",\"messages\":[{\"role\":\"user\",\"content\":\"Hi\"}],"
                               "\"temperature\":0.7,\"max_tokens\":50,\"stream\":false}");
    s->body = MESSAGE;
    try_step(&w, c, &sl_step_llm_kind, "{\"provider\":\"anthropic\",\"model\":\"claude-x\",\"prompt\":\"Hi\"}");
    check_json(told.results, "[\"Hello\",\"claude-x-1\",15,{\"id\":\"m-1\",\"stop_reason\":\"end_turn\",\"usage\":{"
                             "\"input_tokens\":10,\"output_tokens\":5,\"total_tokens\":15}}]");
    check_json(told.extra, "{\"_response\":{\"id\":\"m-1\",\"model\":\"claude-x-1\",\"stop_reason\":\"end_turn\","
                           "\"text\":\"Hello\",\"tokens_used\":15,\"usage\":{\"input_tokens\":10,\"output_tokens\":5,"
                           "\"total_tokens\":15}}}");
    CHECK_EQ(told.usage.input_tokens, 12);
    CHECK(!told.usage.cost_known);
    s->body = "{\"choices\":[{\"message\":{\"content\":\"\"}}]}";
    try_step(&w, c, &sl_step_llm_kind, "{\"provider\":\"openai\",\"model\":\"m\",\"prompt\":\"Hi\"}");
    check_json(told.results, "[\"\",\"m\",null,{}]");
    CHECK_EQ(told.usages, 0);
    forget();
    client_free(c);
    script_stop(s);
}

SL_TEST(params_of_an_llm_step_become_the_body)
{
    static const struct {
        const char *params, *body;
    } cases[] = {
        {"{\"provider\":\"openai\",\"model\":\"m\",\"prompt\":42,\"system\":\"s\",\"temperature\":null,"
         "\"max_tokens\":null}",
         "{\"model\":\"m\",\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"42\"}"
         "],\"stream\":false}"},
        {"{\"provider\":\"openai\",\"model\":\"m\",\"prompt\":\"p\",\"temperature\":\" 0.5 \",\"max_tokens\":\"7\"}",
         "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"p\"}],\"temperature\":0.5,\"max_tokens\":7,"
         "\"stream\":false}"},
        {"{\"provider\":\"openai\",\"model\":\"m\",\"prompt\":\"p\",\"top_p\":0.9,\"seed\":null,\"description\":\"d\","
         "\"temperature\":\"\",\"extra\":{\"stop\":[\"x\"],\"top_p\":0.8}}",
         "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"p\"}],\"stream\":false,\"top_p\":0.8,"
         "\"stop\":[\"x\"]}"},
        {"{\"provider\":\"openai\",\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"q\"}]}",
         "{\"model\":\"m\",\"messages\":[{\"role\":\"user\",\"content\":\"q\"}],\"stream\":false}"},
    };
    script *s = script_start(OK_HEAD, CHAT);
    client *c = client_new(s->server.port, false);
    world w;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        try_step(&w, c, &sl_step_llm_kind, cases[i].params);
        CHECK_EQ(told.error, 0);
        REQUIRE(s->seen_count == (int)i + 1);
        CHECK_STR(s->seen[i].body, cases[i].body);
    }
    forget();
    client_free(c);
    script_stop(s);
}

SL_TEST(params_that_cannot_be)
{
    static const struct {
        const char *params, *says;
    } cases[] = {
        {"{\"provider\":[],\"model\":\"m\",\"prompt\":\"p\"}", "provider: has the wrong type"},
        {"{\"provider\":\"openai\",\"model\":{},\"prompt\":\"p\"}", "model: has the wrong type"},
        {"{\"provider\":\"openai\",\"model\":\"m\",\"prompt\":[1]}", "prompt: has the wrong type"},
        {"{\"provider\":\"openai\",\"model\":\"m\",\"prompt\":\"p\",\"temperature\":\"hot\"}", "temperature: has"},
        {"{\"provider\":\"openai\",\"model\":\"m\",\"prompt\":\"p\",\"temperature\":[]}", "temperature: has"},
        {"{\"provider\":\"openai\",\"model\":\"m\",\"prompt\":\"p\",\"max_tokens\":0}", "max_tokens: has"},
        {"{\"provider\":\"openai\",\"model\":\"m\",\"prompt\":\"p\",\"extra\":[]}", "extra: has"},
        {"{\"provider\":\"openai\",\"model\":\"m\",\"messages\":\"p\"}", "messages: has"},
        {"{\"provider\":\"openai\",\"prompt\":\"p\"}", "set `model`"},
        {"{\"provider\":\"cohere\",\"model\":\"m\",\"prompt\":\"p\"}", "provider cohere: not configured; add"},
    };
    script *s = script_start(OK_HEAD, CHAT);
    client *c = client_new(s->server.port, false);
    world w;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin(&w, c, &sl_step_llm_kind, cases[i].params);
        CHECK(told.over);
        CHECK_EQ(told.error, SL_STEP_ERROR_INPUT);
        if (!strstr(told.message, cases[i].says))
            sl_test_failed(__FILE__, __LINE__, "case %zu says \"%s\"", i, told.message);
        end(&w);
    }
    begin(&w, NULL, &sl_step_llm_kind, "{\"provider\":\"openai\",\"model\":\"m\",\"prompt\":\"p\"}");
    CHECK(told.over && strstr(told.message, "OPENAI_API_KEY"));
    end(&w);
    begin(&w, NULL, &sl_step_embed_kind, "{\"provider\":\"openai\",\"model\":\"m\",\"input\":\"p\"}");
    CHECK(told.over && strstr(told.message, "OPENAI_API_KEY"));
    end(&w);
    forget();
    client_free(c);
    script_stop(s);
}

SL_TEST(failures_say_whether_to_try_again)
{
    static const struct {
        const char *head, *body;
        sl_step_error error;
        uint64_t retry_after_ms;
    } cases[] = {
        {"HTTP/1.1 400 Bad\r\n", "{\"error\":\"" KEY "\"}", SL_STEP_ERROR_REFUSED, 0},
        {"HTTP/1.1 401 No\r\n", "{\"error\":\"" KEY "\"}", SL_STEP_ERROR_REFUSED, 0},
        {"HTTP/1.1 408 Late\r\n", "{}", SL_STEP_ERROR_PROVIDER, 0},
        {"HTTP/1.1 429 Slow\r\nRetry-After: 3\r\n", "{}", SL_STEP_ERROR_PROVIDER, 3000},
        {"HTTP/1.1 500 Oops\r\n", "{}", SL_STEP_ERROR_PROVIDER, 0},
        {OK_HEAD, "{", SL_STEP_ERROR_PROVIDER, 0},
        {"nonsense\r\n", "{}", SL_STEP_ERROR_PROVIDER, 0},
    };
    script *s = script_start(NULL, NULL);
    client *c = client_new(s->server.port, false);
    world w;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        s->head = cases[i].head;
        s->body = cases[i].body;
        try_step(&w, c, i % 2 ? &sl_step_llm_kind : &sl_step_embed_kind,
                 "{\"provider\":\"openai\",\"model\":\"m\",\"prompt\":\"p\",\"input\":\"p\"}");
        CHECK_EQ(told.error, cases[i].error);
        CHECK_EQ(w.attempt.retry_after_ms, cases[i].retry_after_ms);
        CHECK(strstr(told.message, "openai: ") == told.message && !strstr(told.message, "plant-"));
        CHECK_EQ(told.usages, 0);
    }
    forget();
    client_free(c);
    script_stop(s);
}

static void wait_told(const client *c)
{
    uint64_t until = sl_mono_ns() + (uint64_t)NF_PATIENCE_MS * 1000000;
    while (!told.over && sl_mono_ns() < until)
        (void)uv_run((uv_loop_t *)(uintptr_t)&c->loop.uv, UV_RUN_ONCE);
    CHECK(told.over);
}

/* A reload between two tries: the step goes on with what it began with, the next one has the new. */
SL_TEST(a_step_keeps_its_models_over_a_reload)
{
    static const char params[] = "{\"provider\":\"openai\",\"model\":\"m\",\"prompt\":\"p\",\"input\":\"p\"}";
    script *old = script_start("HTTP/1.1 500 Oops\r\n", "{}"), *now = script_start(OK_HEAD, CHAT);
    const sl_step_kind *kinds[] = {&sl_step_llm_kind, &sl_step_embed_kind};
    for (int i = 0; i < 2; i++) {
        client *c = client_new(old->server.port, false);
        world w, next;
        begin(&w, c, kinds[i], params);
        sl_llm_client *first = c->llm, *fresh = NULL;
        CHECK_EQ(sl_llm_client_new(&c->loop, NULL, &fresh), 0);
        sl_llm_client_replace(&c->llm, fresh);
        client_add(c, "openai", SL_LLM_OPENAI, "/v1", now->server.port);
        w.services.llm = c->llm;
        wait_told(c);
        CHECK_EQ(told.error, SL_STEP_ERROR_PROVIDER);
        forget();
        kinds[i]->start(&w.attempt); /* its next try */
        wait_told(c);
        CHECK_EQ(told.error, SL_STEP_ERROR_PROVIDER);
        CHECK_EQ(old->seen_count, 2 * (i + 1));
        CHECK(w.attempt.llm == first);
        int before = now->seen_count;
        begin(&next, c, kinds[i], params);
        wait_told(c);
        CHECK_EQ(now->seen_count, before + 1);
        end(&next);
        end(&w);
        forget();
        client_free(c);
    }
    script_stop(old);
    script_stop(now);
}

SL_TEST(a_step_is_streamed_and_cancelled)
{
    script *s = script_start(SSE_HEAD, "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"a\"}}]}\n\n"
                                       "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"b\"}}]}\n\n"
                                       "data: [DONE]\n\n");
    client *c = client_new(s->server.port, false);
    world w;
    try_step(&w, c, &sl_step_llm_kind, "{\"provider\":\"openai\",\"model\":\"m\",\"prompt\":\"p\",\"stream\":true}");
    check_json(told.results, "[\"ab\",\"m\",null,{}]");
    CHECK(sl_str_find(s->seen[0].body, SL_STR("\"stream\":true")) != SL_NPOS);
    const sl_step_kind *kinds[] = {&sl_step_llm_kind, &sl_step_embed_kind};
    for (int i = 0; i < 2; i++) {
        begin(&w, c, kinds[i], "{\"provider\":\"openai\",\"model\":\"m\",\"prompt\":\"p\",\"input\":\"p\"}");
        CHECK(w.attempt.data && !told.over);
        kinds[i]->cancel(&w.attempt);
        CHECK(!w.attempt.data && !told.over);
        kinds[i]->cancel(&w.attempt); /* nothing is left to cancel */
        end(&w);
    }
    forget();
    client_free(c);
    script_stop(s);
}

/* ---- embed ---- */

/* Gives each text a vector of its length and its first letter; texts in reverse order. */
static void serve_vectors(nf_server *server, int fd, int number)
{
    nf_message m;
    (void)number;
    while (nf_read_message(fd, true, false, &m)) {
        server->requests++;
        json_t *root = json_loadb(m.body.ptr, m.body.len, 0, NULL);
        json_t *input = json_object_get(root, "input");
        json_t *data = json_array();
        bool list = json_is_array(input);
        size_t count = list ? json_array_size(input) : 1;
        for (size_t i = count; i-- > 0;) {
            const char *text = json_string_value(list ? json_array_get(input, i) : input);
            json_array_append_new(
                data, json_pack("{s:i,s:[i,i]}", "index", (int)i, "embedding", (int)strlen(text), (int)text[0]));
        }
        json_t *answer = json_pack("{s:o,s:s,s:{s:i,s:i}}", "data", data, "model", "e-1", "usage", "prompt_tokens",
                                   (int)count * 10, "total_tokens", (int)count * 10);
        char *text = json_dumps(answer, JSON_COMPACT);
        char head[128];
        snprintf(head, sizeof head, OK_HEAD "Content-Length: %zu\r\n\r\n", strlen(text));
        (void)nf_send_c(fd, head);
        (void)nf_send_c(fd, text);
        free(text);
        json_decref(answer);
        json_decref(root);
        nf_message_free(&m);
    }
}

SL_TEST(results_of_an_embed_step)
{
    static const struct {
        const char *params, *results;
        int requests;
    } cases[] = {
        {"{\"provider\":\"openai\",\"model\":\"m\",\"input\":\"abc\"}",
         "[[3,97],{\"dimensions\":2,\"model\":\"e-1\",\"tokens_used\":10}]", 1},
        {"{\"provider\":\"openai\",\"model\":\"m\",\"input\":7}",
         "[[1,55],{\"dimensions\":2,\"model\":\"e-1\",\"tokens_used\":10}]", 1},
        {"{\"provider\":\"openai\",\"model\":\"m\",\"input\":[\"a\",\"bb\",\"ccc\",\"dd\",\"e\"],\"batch_size\":2}",
         "[[[1,97],[2,98],[3,99],[2,100],[1,101]],{\"count\":5,\"dimensions\":2,\"model\":\"e-1\",\"tokens_used\":50}]",
         3},
        {"{\"provider\":\"openai\",\"model\":\"m\",\"input\":[\"a\",\"bb\"],\"batch_size\":\"100\",\"dimensions\":2}",
         "[[[1,97],[2,98]],{\"count\":2,\"dimensions\":2,\"model\":\"e-1\",\"tokens_used\":20}]", 1},
        {"{\"provider\":\"openai\",\"model\":\"m\",\"input\":[\"a\"]}",
         "[[[1,97]],{\"count\":1,\"dimensions\":2,\"model\":\"e-1\",\"tokens_used\":10}]", 1},
        {"{\"provider\":\"openai\",\"model\":\"m\",\"input\":[]}",
         "[[],{\"count\":0,\"dimensions\":0,\"model\":\"m\",\"tokens_used\":null}]", 0},
    };
    nf_server server;
    nf_server_start(&server, serve_vectors, NULL);
    client *c = client_new(server.port, false);
    world w;
    int requests = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        try_step(&w, c, &sl_step_embed_kind, cases[i].params);
        CHECK_EQ(told.error, 0);
        check_json(told.results, cases[i].results);
        requests += cases[i].requests;
        CHECK_EQ(server.requests, requests);
        CHECK_EQ(told.usages, cases[i].requests);
        json_t *response = json_object_get(told.extra, "_response");
        CHECK(json_is_array(json_object_get(response, "embeddings")));
        CHECK(json_equal(told.text, json_array_get(told.results, 0)));
    }
    forget();
    client_free(c);
    nf_server_stop(&server);
}

SL_TEST(inputs_that_cannot_be_embedded)
{
    static const char *const cases[][2] = {
        {"{\"provider\":\"openai\",\"model\":\"m\"}", "input: has"},
        {"{\"provider\":\"openai\",\"model\":\"m\",\"input\":{}}", "input: has"},
        {"{\"provider\":\"openai\",\"model\":\"m\",\"input\":[{}]}", "input: has"},
        {"{\"provider\":\"openai\",\"model\":\"m\",\"input\":null}", "input: has"},
        {"{\"provider\":\"openai\",\"model\":\"m\",\"input\":\"a\",\"batch_size\":0}", "batch_size: has"},
        {"{\"provider\":\"openai\",\"model\":\"m\",\"input\":\"a\",\"dimensions\":\"x\"}", "dimensions: has"},
        {"{\"provider\":\"openai\",\"model\":\"m\",\"input\":\"a\",\"extra\":3}", "extra: has"},
        {"{\"provider\":{},\"model\":\"m\",\"input\":\"a\"}", "provider: has"},
        {"{\"provider\":\"openai\",\"model\":[],\"input\":\"a\"}", "model: has"},
        {"{\"provider\":\"anthropic\",\"model\":\"m\",\"input\":\"a\"}", "has no embeddings"},
        {"{\"provider\":\"cohere\",\"model\":\"m\",\"input\":\"a\"}", "provider cohere: not configured"},
    };
    client *c = client_new(1, false);
    world w;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        begin(&w, c, &sl_step_embed_kind, cases[i][0]);
        CHECK(told.over && !w.attempt.data);
        CHECK_EQ(told.error, SL_STEP_ERROR_INPUT);
        if (!strstr(told.message, cases[i][1]))
            sl_test_failed(__FILE__, __LINE__, "case %zu says \"%s\"", i, told.message);
        end(&w);
    }
    forget();
    client_free(c);
}

/* The second of three requests fails: nothing is given out, what was used is counted. */
static void serve_one_then_fail(nf_server *server, int fd, int number)
{
    (void)number;
    nf_message m;
    while (nf_read_message(fd, true, false, &m)) {
        int i = server->requests++; /* over all connections */
        nf_message_free(&m);
        const char *body = "{\"data\":[{\"embedding\":[1]}],\"model\":\"e\",\"usage\":{\"prompt_tokens\":4}}";
        char text[512];
        snprintf(text, sizeof text, "%sContent-Length: %zu\r\n\r\n%s", i ? "HTTP/1.1 503 Down\r\n" : OK_HEAD,
                 strlen(body), body);
        (void)nf_send_c(fd, text);
    }
}

SL_TEST(a_batch_that_fails_fails_the_step)
{
    nf_server server;
    nf_server_start(&server, serve_one_then_fail, NULL);
    client *c = client_new(server.port, false);
    world w;
    try_step(&w, c, &sl_step_embed_kind,
             "{\"provider\":\"openai\",\"model\":\"m\",\"input\":[\"a\",\"b\",\"c\"],\"batch_size\":1}");
    CHECK_EQ(told.error, SL_STEP_ERROR_PROVIDER);
    CHECK_EQ(told.usage.input_tokens, 4);
    CHECK_EQ(server.requests, 2);
    forget();
    client_free(c);
    nf_server_stop(&server);
}

/* Memory running out anywhere: the try ends once, nothing leaks. */
SL_TEST(steps_without_memory)
{
    script *s = script_start(OK_HEAD, CHAT);
    const sl_step_kind *kinds[] = {&sl_step_llm_kind, &sl_step_embed_kind};
    world w;
    for (long n = 0; n < 40; n++) {
        client *c = client_new(s->server.port, false);
        sl_test_fail_alloc(n);
        begin(&w, c, kinds[n % 2], "{\"provider\":\"openai\",\"model\":\"m\",\"prompt\":\"p\",\"input\":\"p\"}");
        uint64_t until = sl_mono_ns() + (uint64_t)NF_PATIENCE_MS * 1000000;
        while (!told.over && sl_mono_ns() < until)
            (void)uv_run(&c->loop.uv, UV_RUN_ONCE);
        sl_test_fail_alloc(-1);
        CHECK(told.over);
        CHECK(!told.error || told.message[0]);
        end(&w);
        forget();
        client_free(c);
    }
    script_stop(s);
}
