/* Where providers are: added, replaced, from the environment, from a configuration. */
#include "src/llm/test_client_fixture.h"

#include "src/llm/client_impl.h"

#define ANSWER "{\"choices\":[{\"message\":{\"content\":\"x\"}}],\"usage\":{\"prompt_tokens\":1000000}}"

static int add(client *c, const char *name, const char *base, const char *key)
{
    sl_llm_endpoint e = {.name = sl_str_c(name), .base_url = sl_str_c(base), .key = sl_str_c(key)};
    return sl_llm_client_add(c->llm, &e);
}

SL_TEST(what_cannot_be_an_endpoint)
{
    static const struct {
        const char *name, *base, *key;
        int error;
    } cases[] = {
        {"a", "http://127.0.0.1:1/v1", "", 0},
        {"a", "https://example.com", "k", 0},
        {"a", "http://[::1]:8080/v1", "k", 0},
        {"", "http://127.0.0.1/v1", "k", SL_EINVAL},
        {"a", "", "k", SL_EINVAL},
        {"a", "127.0.0.1:80", "k", SL_EINVAL},
        {"a", "ftp://127.0.0.1", "k", SL_EINVAL},
        {"a", "http://u:p@127.0.0.1", "k", SL_EINVAL},
        {"a", "http://127.0.0.1/v1?x=1", "k", SL_EINVAL},
        {"a", "http://127.0.0.1/v1", "k\r\nx: y", SL_EINVAL},
        {"a", "http://127.0.0.1/v1", "k ", SL_EINVAL},
        {"a", "http://127.0.0.1/v1", "k\xc3\xa9", SL_EINVAL},
    };
    client *c = client_new(0, false);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        int error = add(c, cases[i].name, cases[i].base, cases[i].key);
        if (error != cases[i].error)
            sl_test_failed(__FILE__, __LINE__, "case %zu: %d", i, error);
    }
    CHECK(sl_llm_client_has(c->llm, SL_STR("a")));
    CHECK(!sl_llm_client_has(c->llm, SL_STR("b")));
    sl_llm_endpoint e = {.name = SL_STR("t"), .base_url = SL_STR("https://h"), .ca_file = SL_STR("/no/such/file")};
    CHECK_EQ(sl_llm_client_add(c->llm, &e), SL_ETLS);
    CHECK(!sl_llm_client_has(c->llm, SL_STR("t")));
    client_free(c);
}

SL_TEST(endpoints_have_a_limit)
{
    client *c = client_new(0, false);
    char name[32];
    for (int i = 0; i < SL_LLM_MAX_ENDPOINTS; i++) {
        snprintf(name, sizeof name, "p%d", i);
        CHECK_EQ(add(c, name, "http://127.0.0.1/v1", ""), 0);
    }
    CHECK_EQ(add(c, "more", "http://127.0.0.1/v1", ""), SL_ELIMIT);
    CHECK_EQ(add(c, "p7", "http://127.0.0.1/v2", ""), 0); /* replaces */
    client_free(c);
}

SL_TEST(endpoints_without_memory)
{
    for (long n = 0; n < 40; n++) {
        client *c = client_new(0, false);
        sl_test_fail_alloc(n);
        int error = add(c, "a", "http://127.0.0.1/v1", KEY);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(error, failed ? SL_ENOMEM : 0);
        CHECK_EQ(sl_llm_client_has(c->llm, SL_STR("a")), !failed);
        client_free(c);
    }
}

SL_TEST(clients_without_memory)
{
    sl_loop loop;
    REQUIRE(sl_loop_init(&loop) == 0);
    for (long n = 0; n < 10; n++) {
        sl_llm_client *llm = NULL;
        sl_test_fail_alloc(n);
        int error = sl_llm_client_new(&loop, NULL, &llm);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(error, failed ? SL_ENOMEM : 0);
        CHECK_EQ(llm != NULL, !failed);
        sl_llm_client_close(llm);
        while (uv_run(&loop.uv, UV_RUN_ONCE))
            ;
        sl_llm_client_free(llm);
    }
    sl_loop_done(&loop);
}

/* ---- another client in its place ---- */

static size_t behind(const sl_llm_client *llm)
{
    size_t count = 0;
    for (llm = llm->older; llm; llm = llm->older)
        count++;
    return count;
}

static void replace(client *c, uint16_t port)
{
    sl_llm_client *fresh = NULL;
    CHECK_EQ(sl_llm_client_new(&c->loop, NULL, &fresh), 0);
    sl_llm_client_replace(&c->llm, fresh);
    client_add(c, "openai", SL_LLM_OPENAI, "/v1", port);
}

/* A call under way ends where it began; its client goes once nobody uses it, whatever goes on beside it. */
SL_TEST(a_replaced_client_stays_as_long_as_it_is_used)
{
    script *old = script_start(OK_HEAD, ANSWER), *now = script_start(OK_HEAD, ANSWER);
    client *c = client_new(old->server.port, false);
    sl_llm_client *first = sl_llm_client_use(c->llm);
    sl_llm_request request = {
        .operation = SL_LLM_CHAT, .provider = SL_STR("openai"), .model = SL_STR("m"), .prompt = SL_STR("p")};
    CHECK_EQ(client_start(c, &request), 0);
    replace(c, now->server.port);
    replace(c, now->server.port);
    for (int i = 0; i < 3; i++) { /* that in the middle is not used */
        sl_llm_client_sweep(c->llm);
        (void)uv_run(&c->loop.uv, UV_RUN_NOWAIT);
    }
    CHECK_EQ(behind(c->llm), 1);
    CHECK(c->llm->older == first && !first->closing);
    client_wait(c);
    CHECK_EQ(c->r.error, 0);
    CHECK_EQ(old->seen_count, 1);
    CHECK_EQ(now->seen_count, 0);
    client_ask(c, request);
    CHECK_EQ(now->seen_count, 1);
    sl_llm_client_leave(first);
    sl_llm_client_sweep(c->llm);
    CHECK(first->closing); /* its connections end with the turn */
    (void)uv_run(&c->loop.uv, UV_RUN_NOWAIT);
    sl_llm_client_sweep(c->llm);
    CHECK_EQ(behind(c->llm), 0);
    client_ask(c, request);
    CHECK_EQ(c->r.error, 0);
    client_free(c);
    script_stop(old);
    script_stop(now);
}

SL_TEST(a_client_is_closed_with_those_behind_it)
{
    script *s = script_start(OK_HEAD, ANSWER);
    client *c = client_new(s->server.port, false);
    sl_llm_request request = {
        .operation = SL_LLM_CHAT, .provider = SL_STR("openai"), .model = SL_STR("m"), .prompt = SL_STR("p")};
    CHECK_EQ(client_start(c, &request), 0);
    replace(c, s->server.port);
    sl_llm_client_sweep(c->llm); /* nobody uses the first one: its call is cancelled */
    replace(c, s->server.port);
    CHECK_EQ(behind(c->llm), 2);
    client_free(c);
    CHECK(sl_llm_client_use(NULL) == NULL);
    sl_llm_client_leave(NULL);
    script_stop(s);
}

/* ---- the environment ---- */

static void set(const char *name, const char *value)
{
    if (value)
        CHECK_EQ(setenv(name, value, 1), 0);
    else
        CHECK_EQ(unsetenv(name), 0);
}

static void set_all(const char *key, const char *base, const char *key2, const char *base2)
{
    set("OPENAI_API_KEY", key);
    set("OPENAI_BASE_URL", base);
    set("ANTHROPIC_API_KEY", key2);
    set("ANTHROPIC_BASE_URL", base2);
}

SL_TEST(endpoints_of_the_environment)
{
    static const struct {
        const char *key, *base, *key2, *base2;
        int error;
        bool openai, anthropic;
        const char *host, *host2;
    } cases[] = {
        {NULL, NULL, NULL, NULL, 0, false, false, NULL, NULL},
        {"", "", " ", "", 0, false, false, NULL, NULL},
        {"k", NULL, NULL, NULL, 0, true, false, "api.openai.com", NULL},
        {NULL, NULL, "k", NULL, 0, false, true, NULL, "api.anthropic.com"},
        {"k", "", "k", "", 0, true, true, "api.openai.com", "api.anthropic.com"},
        {NULL, "http://127.0.0.1:9/v1", NULL, NULL, 0, true, false, "127.0.0.1", NULL},
        {"k\n", "http://127.0.0.1:9/v1", "k", "http://h2:9", 0, true, true, "127.0.0.1", "h2"},
        {"k", "nonsense", NULL, NULL, SL_EINVAL, false, false, NULL, NULL},
        {"a b", NULL, NULL, NULL, SL_EINVAL, false, false, NULL, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        client *c = client_new(0, false);
        set_all(cases[i].key, cases[i].base, cases[i].key2, cases[i].base2);
        int error = sl_llm_endpoints_from_env(c->llm);
        if (error != cases[i].error && !(cases[i].key && cases[i].key[0] == 'k' && cases[i].key[1] == '\n'))
            sl_test_failed(__FILE__, __LINE__, "case %zu: %d", i, error);
        const sl_llm_place *place = sl_llm_place_find(c->llm, SL_STR("openai"));
        const sl_llm_place *place2 = sl_llm_place_find(c->llm, SL_STR("anthropic"));
        if (!error) {
            CHECK_EQ(place != NULL, cases[i].openai);
            CHECK_EQ(place2 != NULL, cases[i].anthropic);
        }
        if (place)
            CHECK_STR(sl_origin_host(place->origin), cases[i].host);
        if (place2)
            CHECK_STR(sl_origin_host(place2->origin), cases[i].host2);
        client_free(c);
    }
    set_all(NULL, NULL, NULL, NULL);
}

/* ---- a configuration ---- */

#define CONFIG                                                                                                         \
    "model_list:\n"                                                                                                    \
    "  - model_name: fast\n"                                                                                           \
    "    litellm_params: {model: openai/gpt-4o-mini, api_base: \"http://127.0.0.1:%u/a/v1\", api_key: " KEY "-a}\n"    \
    "  - model_name: fast\n"                                                                                           \
    "    litellm_params: {model: openai/gpt-4o, api_base: \"http://127.0.0.1:%u/b/v1\"}\n"                             \
    "  - model_name: gpt-4o\n"                                                                                         \
    "    litellm_params: {model: openai/gpt-4o, api_base: \"http://127.0.0.1:%u/c/v1\", api_key: " KEY "-c}\n"         \
    "  - model_name: haiku\n"                                                                                          \
    "    litellm_params: {model: anthropic/claude-3-haiku-20240307, api_base: \"http://127.0.0.1:%u/d\", api_key: "    \
    "" KEY "-d}\n"                                                                                                     \
    "  - model_name: \"*\"\n"                                                                                          \
    "    litellm_params: {model: \"groq/*\", api_base: \"http://127.0.0.1:%u/e\"}\n"

static sl_config *config_of(uint16_t port)
{
    char text[2048];
    sl_config *config = NULL;
    unsigned p = port;
    snprintf(text, sizeof text, CONFIG, p, p, p, p, p);
    CHECK_EQ(sl_config_parse(sl_str_c(text), "c.yaml", &config), 0);
    return config;
}

/* Which endpoint, and which model of it, a step's provider and model lead to. */
SL_TEST(endpoints_of_a_configuration)
{
    static const struct {
        const char *provider, *model;
        int error;
        const char *path, *asked, *key;
    } cases[] = {
        {"fast", "", 0, "POST /a/v1/chat/completions", "gpt-4o-mini", "-a"},
        {"fast", "fast", 0, "POST /a/v1/chat/completions", "gpt-4o-mini", "-a"},
        {"fast", "other", 0, "POST /a/v1/chat/completions", "other", "-a"},
        {"", "fast", 0, "POST /a/v1/chat/completions", "gpt-4o-mini", "-a"},
        {"openai", "fast", 0, "POST /a/v1/chat/completions", "gpt-4o-mini", "-a"},
        {"openai", "gpt-4o", 0, "POST /c/v1/chat/completions", "gpt-4o", "-c"},
        {"openai", "gpt-9", 0, "POST /a/v1/chat/completions", "gpt-9", "-a"},
        {"anthropic", "haiku", 0, "POST /d/v1/messages", "claude-3-haiku-20240307", "-d"},
        {"anthropic", "claude-x", 0, "POST /d/v1/messages", "claude-x", "-d"},
        {"anthropic", "gpt-4o", 0, "POST /d/v1/messages", "gpt-4o", "-d"}, /* not openai's of that name */
        {"cohere", "haiku", 0, "POST /d/v1/messages", "claude-3-haiku-20240307", "-d"},
        {"groq", "llama", 0, "POST /e/chat/completions", "llama", NULL},
        {"cohere", "command", SL_ENOENT, NULL, NULL, NULL},
        {"", "", SL_ENOENT, NULL, NULL, NULL},
        {"openai", "", SL_EINVAL, NULL, NULL, NULL},
    };
    script *s = script_start(OK_HEAD, ANSWER);
    client *c = client_new(0, false);
    sl_config *config = config_of(s->server.port);
    REQUIRE(config);
    CHECK_EQ(sl_llm_endpoints_from_config(c->llm, config), 0);
    sl_config_free(config);
    int seen = 0;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_llm_request r = {
            .operation = SL_LLM_CHAT, .provider = sl_str_c(cases[i].provider), .model = sl_str_c(cases[i].model)};
        int error = client_start(c, &r);
        CHECK_EQ(error, cases[i].error);
        if (error)
            continue;
        client_wait(c);
        const nf_message *m = &s->seen[seen++];
        char model[128];
        snprintf(model, sizeof model, "{\"model\":\"%s\",", cases[i].asked);
        bool good = strncmp(m->data, cases[i].path, strlen(cases[i].path)) == 0 &&
                    strncmp(m->body.ptr, model, strlen(model)) == 0;
        const char *key = nf_field(m, cases[i].path[6] == 'd' ? "x-api-key" : "authorization");
        good = good && (cases[i].key ? key && strstr(key, cases[i].key) : !key);
        if (!good)
            sl_test_failed(__FILE__, __LINE__, "case %zu: %.60s / %.60s", i, m->data, m->body.ptr);
    }
    client_free(c);
    script_stop(s);
}

SL_TEST(a_price_of_ones_own_comes_first)
{
    script *s = script_start(OK_HEAD, ANSWER);
    client *c = client_new(0, false);
    char url[64];
    snprintf(url, sizeof url, "http://127.0.0.1:%u/v1", (unsigned)s->server.port);
    sl_llm_endpoint e = {.name = SL_STR("openai"), .base_url = sl_str_c(url)};
    sl_llm_request r = {.operation = SL_LLM_CHAT, .provider = SL_STR("openai"), .model = SL_STR("gpt-4o")};
    CHECK_EQ(sl_llm_client_add(c->llm, &e), 0);
    client_ask(c, r);
    CHECK(c->r.cost_known && c->r.cost_usd > 2.49 && c->r.cost_usd < 2.51);
    e.has_price = true;
    e.price = (sl_price){.input = 7, .output = 0, .cache_read = -1, .cache_write = -1};
    CHECK_EQ(sl_llm_client_add(c->llm, &e), 0);
    client_ask(c, r);
    CHECK(c->r.cost_known && c->r.cost_usd > 6.99 && c->r.cost_usd < 7.01);
    e.has_price = false;
    CHECK_EQ(sl_llm_client_add(c->llm, &e), 0);
    r.model = SL_STR("nobody-knows");
    client_ask(c, r);
    CHECK(!c->r.cost_known && c->r.has_usage);
    client_free(c);
    script_stop(s);
}

/* The endpoint of a call may go while the call is under way. */
SL_TEST(an_endpoint_is_replaced_under_a_call)
{
    script *s = script_start("HTTP/1.1 401 No\r\n", "{\"error\":\"" KEY "\"}");
    client *c = client_new(s->server.port, true);
    sl_llm_request r = {.operation = SL_LLM_CHAT, .provider = SL_STR("openai"), .model = SL_STR("gpt-4o")};
    CHECK_EQ(client_start(c, &r), 0);
    CHECK_EQ(add(c, "openai", "http://127.0.0.1:1/v1", "another-key"), 0);
    client_wait(c);
    CHECK_EQ(c->r.http_status, 401);
    CHECK(!strstr(c->message, "plant") && strstr(c->message, "openai: 401"));
    client_free(c);
    script_stop(s);
}

SL_TEST(unknown_providers_are_explained)
{
    client *c = client_new(0, false);
    char text[512];
    sl_llm_client_explain(c->llm, SL_STR("openai"), text, sizeof text);
    CHECK_STR(sl_str_c(text), "provider openai: not configured; set OPENAI_API_KEY, or add its models to model_list");
    CHECK_EQ(add(c, "anthropic", "http://127.0.0.1/v1", KEY), 0);
    CHECK_EQ(add(c, "mine", "http://127.0.0.1/v1", KEY), 0);
    sl_llm_client_explain(c->llm, SL_STR("cohere"), text, sizeof text);
    CHECK_STR(sl_str_c(text), "provider cohere: not configured; add a model to model_list that has this name or "
                              "provider; known: anthropic, mine");
    for (size_t size = 1; size < sizeof text; size += 13) {
        char *small = malloc(size);
        sl_llm_client_explain(c->llm, SL_STR("cohere"), small, size);
        CHECK(strlen(small) < size);
        free(small);
    }
    for (int i = 0; i < 12; i++) {
        char name[32];
        snprintf(name, sizeof name, "p%d", i);
        CHECK_EQ(add(c, name, "http://127.0.0.1/v1", KEY), 0);
    }
    sl_llm_client_explain(c->llm, SL_STR(""), text, sizeof text);
    CHECK(strstr(text, "...") != NULL && !strstr(text, KEY));
    client_free(c);
}

/* model_info.input_cost_per_token and the like: of that model, however it is named; its provider's others stay. */
SL_TEST(prices_of_a_configuration)
{
    script *s = script_start(OK_HEAD, ANSWER);
    client *c = client_new(0, false);
    char text[512];
    sl_config *config = NULL;
    snprintf(text, sizeof text,
             "model_list:\n- model_name: fast\n  model_info: {input_cost_per_token: 4e-6}\n"
             "  litellm_params: {model: openai/gpt-4o, api_base: \"http://127.0.0.1:%u/v1\"}\n",
             (unsigned)s->server.port);
    REQUIRE(sl_config_parse(sl_str_c(text), "c.yaml", &config) == 0);
    CHECK_EQ(sl_llm_endpoints_from_config(c->llm, config), 0);
    sl_config_free(config);
    static const struct {
        const char *provider, *model;
        double usd;
    } cases[] = {{"fast", "", 4}, {"openai", "fast", 4}, {"openai", "gpt-4o", 2.5}, {"openai", "gpt-4o-mini", 0.15}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_llm_request r = {
            .operation = SL_LLM_CHAT, .provider = sl_str_c(cases[i].provider), .model = sl_str_c(cases[i].model)};
        client_ask(c, r);
        CHECK(c->r.cost_known && c->r.cost_usd > cases[i].usd - 1e-9 && c->r.cost_usd < cases[i].usd + 1e-9);
    }
    client_free(c);
    script_stop(s);
}
