/* Providers anew: all of a configuration, or none of it. */
#include "src/flow/models.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "src/llm/client_impl.h"
#include "tests/harness/sl_test.h"

typedef struct site {
    sl_loop loop;
    sl_flow_services services;
    sl_config *config; /* of the next reload */
    char reason[512];
} site;

static sl_config *parse(const char *text)
{
    sl_config *config = NULL;
    CHECK_EQ(sl_config_parse(sl_str_c(text), "c.yaml", &config), 0);
    return config;
}

static int add(void *user, sl_llm_client *client)
{
    site *s = user;
    s->reason[0] = 0;
    return sl_flow_models_add(client, s->config, s->reason, sizeof s->reason);
}

static void site_open(site *s)
{
    memset(s, 0, sizeof *s);
    static const char *const names[] = {"OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"};
    for (size_t i = 0; i < 4; i++)
        (void)unsetenv(names[i]);
    if (sl_loop_init(&s->loop) || sl_llm_client_new(&s->loop, NULL, &s->services.llm))
        abort();
    s->services.loop = &s->loop;
}

static void site_close(site *s)
{
    sl_llm_client_close(s->services.llm);
    while (uv_run(&s->loop.uv, UV_RUN_ONCE))
        ;
    sl_llm_client_free(s->services.llm);
    sl_loop_done(&s->loop);
}

static int reload(site *s, const char *file)
{
    s->config = parse(file);
    int error = s->config ? sl_flow_models_reload(&s->services, add, s) : SL_ECONFIG;
    sl_config_free(s->config);
    s->config = NULL;
    return error;
}

static bool has(const site *s, const char *name)
{
    return sl_llm_client_has(s->services.llm, sl_str_c(name));
}

#define ONE(name, more)                                                                                                \
    "model_list:\n  - model_name: " name                                                                               \
    "\n    litellm_params: {model: openai/x, api_base: 'http://127.0.0.1:1/v1'" more "}\n"

SL_TEST(each_reload_is_all_there_is)
{
    site s;
    site_open(&s);
    (void)setenv("ANTHROPIC_API_KEY", "k", 1);
    CHECK_EQ(reload(&s, ONE("a", ", api_key: one, input_cost_per_token: 0.5, output_cost_per_token: 0.25")), 0);
    CHECK(has(&s, "a") && has(&s, "openai") && has(&s, "anthropic") && !has(&s, "b"));
    const sl_llm_place *place = sl_llm_place_find(s.services.llm, SL_STR("a"));
    CHECK_STR(place->key, "one");
    CHECK(place->has_price && place->price.input > 499999 && place->price.input < 500001);
    CHECK_EQ(reload(&s, ONE("b", ", api_key: two")), 0);
    CHECK(!has(&s, "a") && has(&s, "openai") && has(&s, "anthropic") && has(&s, "b"));
    CHECK_STR(sl_llm_place_find(s.services.llm, SL_STR("b"))->key, "two");
    CHECK_EQ(reload(&s, "general_settings: {}\n"), 0);
    CHECK(!has(&s, "b") && !has(&s, "openai") && has(&s, "anthropic"));
    site_close(&s);
    (void)unsetenv("ANTHROPIC_API_KEY");
}

SL_TEST(what_cannot_be_used_changes_nothing)
{
    static const struct {
        const char *file;
        int error;
        const char *reason;
    } cases[] = {
        {ONE("new", "") "  - model_name: tls\n    litellm_params: {model: openai/y, api_base: 'https://h/v1'}\n"
                        "    sightline: {ca_file: /no/such/file}\n",
         SL_ETLS, "c.yaml:4: model tls: its ca_file cannot be read, or holds no certificate"},
    };
    site s;
    site_open(&s);
    CHECK_EQ(reload(&s, ONE("a", "")), 0);
    sl_llm_client *before = s.services.llm;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        CHECK_EQ(reload(&s, cases[i].file), cases[i].error);
        CHECK_STR(sl_str_c(s.reason), cases[i].reason);
        CHECK(s.services.llm == before && has(&s, "a") && !has(&s, "new"));
    }
    (void)setenv("OPENAI_BASE_URL", "nonsense", 1);
    CHECK_EQ(reload(&s, ONE("new", "")), SL_EINVAL);
    CHECK(s.services.llm == before);
    (void)unsetenv("OPENAI_BASE_URL");
    site_close(&s);
}

SL_TEST(reloads_without_memory)
{
    site s;
    site_open(&s);
    CHECK_EQ(reload(&s, ONE("a", "")), 0);
    bool failed = true;
    for (long n = 0; n < 200 && failed; n++) {
        sl_llm_client *before = s.services.llm;
        s.config = parse(ONE("b", ""));
        sl_test_fail_alloc(n);
        int error = sl_flow_models_reload(&s.services, add, &s);
        failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        sl_config_free(s.config);
        CHECK_EQ(error, failed ? SL_ENOMEM : 0);
        CHECK((s.services.llm == before) == failed);
        CHECK_EQ(has(&s, "b"), !failed);
    }
    CHECK(!failed);
    site_close(&s);
}
