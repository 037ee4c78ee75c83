/* The gateway's configuration: what a LiteLLM file means here, and how its faults are told. */
#include "src/llm/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/base/mem.h"
#include "src/llm/provider.h"
#include "tests/harness/sl_test.h"

static sl_config *parse(const char *text, int expected)
{
    sl_config *config = NULL;
    CHECK_EQ(sl_config_parse(sl_str_c(text), "c.yaml", &config), expected);
    return config;
}

/* The diagnostics of a text, as one string that the caller frees. */
static void check_diagnostics(const char *text, int expected, const char *wanted)
{
    sl_config *config = parse(text, expected);
    REQUIRE(config != NULL);
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    CHECK_EQ(sl_config_format_diagnostics(config, &out), 0);
    if (sl_str_find(sl_buf_str(&out), sl_str_c(wanted)) == SL_NPOS)
        sl_test_failed(__FILE__, __LINE__, "wanted \"%s\" in:\n%.*s", wanted, (int)out.len, out.data ? out.data : "");
    sl_buf_done(&out);
    sl_config_free(config);
}

SL_TEST(config_of_litellm)
{
    setenv("TEST_UPSTREAM_KEY", "sk-from-env", 1);
    sl_config *config = parse("model_list:\n"
                              "  - model_name: claude-haiku\n"
                              "    litellm_params:\n"
                              "      model: openai/fake-model\n"
                              "      api_base: http://127.0.0.1:9000/v1/\n"
                              "      api_key: os.environ/TEST_UPSTREAM_KEY\n"
                              "      timeout: 1.5\n"
                              "  - model_name: plain\n"
                              "    litellm_params: {model: gpt-4o}\n"
                              "    sightline: {include_usage: false}\n"
                              "general_settings: {master_key: sk-dev-key}\n"
                              "sightline:\n"
                              "  listen: {gateway: '4000', metrics: off}\n"
                              "  workers: 4\n"
                              "  drain_timeout: 10\n"
                              "  max_body: 2MiB\n"
                              "  head_timeout: 1.5\n"
                              "  health_checks:\n"
                              "    - {name: up, kind: http, target: 'http://127.0.0.1:1/x', timeout: 2}\n",
                              0);
    REQUIRE(config != NULL);
    CHECK_EQ(config->warning_count, 0);
    CHECK_EQ(config->deployment_count, 2);
    const sl_deployment *d = &config->deployments[0];
    CHECK_STR(d->model_name, "claude-haiku");
    CHECK_STR(d->upstream_model, "fake-model");
    CHECK_STR(d->provider, "openai");
    CHECK_STR(d->host, "127.0.0.1");
    CHECK_EQ(d->port, 9000);
    CHECK_STR(d->base_path, "/v1");
    CHECK_STR(d->api_key, "sk-from-env");
    CHECK_EQ(d->timeout_ms, 1500);
    CHECK_EQ(d->stream_timeout_ms, 1500);
    CHECK(!d->tls && d->include_usage);
    CHECK_EQ(d->line, 2);
    d = &config->deployments[1];
    CHECK(d->tls && !d->include_usage);
    CHECK_STR(d->host, "api.openai.com");
    CHECK_EQ(d->port, 443);
    CHECK_STR(d->upstream_model, "gpt-4o");
    CHECK_STR(config->master_key, "sk-dev-key");
    CHECK_STR(config->listen.gateway, "4000");
    CHECK_STR(config->listen.metrics, "off");
    CHECK_EQ(config->workers, 4);
    CHECK_EQ(config->drain_timeout_ms, 10000);
    CHECK_EQ(config->max_body_bytes, 2 * 1024 * 1024);
    CHECK_EQ(config->head_timeout_ms, 1500);
    CHECK_EQ(config->body_timeout_ms, 0);
    CHECK_EQ(config->health_check_count, 1);
    CHECK_EQ(config->health_checks[0].timeout_ms, 2000);
    sl_config_free(config);
}

SL_TEST(config_faults_name_place_and_remedy)
{
    check_diagnostics("model_list: 5\n", SL_ECONFIG, "c.yaml:1:13: error: model_list: not a list; write");
    check_diagnostics("model_list:\n- litellm_params: {model: x}\n", SL_ECONFIG,
                      "c.yaml:2:3: error: model_list[]: model_name is missing");
    check_diagnostics("model_list:\n- model_name: a\n", SL_ECONFIG,
                      "litellm_params.model is missing; write provider/model");
    check_diagnostics("model_list:\n- model_name: a\n  litellm_params: {model: hosted_vllm/x}\n", SL_ECONFIG,
                      "set litellm_params.api_base");
    check_diagnostics("model_list:\n- model_name: a\n  litellm_params: {model: openai/x, api_base: 'ftp://x'}\n",
                      SL_ECONFIG, "api_base: not a usable address");
    check_diagnostics("model_list:\n- model_name: a\n  litellm_params: {model: x, timeout: soon}\n", SL_ECONFIG,
                      "\"soon\" is not usable; give a number of seconds");
    check_diagnostics("general_settings: {master_key: os.environ/SURELY_NOT_SET_1}\n", SL_ECONFIG,
                      "the gateway would be open");
    check_diagnostics("a: [1\n", SL_ECONFIG, "error: YAML syntax");
    check_diagnostics("sightline: {workers: -1}\n", SL_ECONFIG, "sightline.workers: \"-1\" is not usable");
    check_diagnostics("sightline: {health_checks: [{name: x, kind: ping}]}\n", SL_ECONFIG,
                      "a kind of memory, http, tcp or disk");
}

SL_TEST(config_warnings_do_not_stop)
{
    check_diagnostics("router_settings: {num_retries: 3}\n", 0,
                      "c.yaml:1:1: warning: config.router_settings: this LiteLLM key is not supported yet");
    check_diagnostics("modle_list: []\n", 0, "warning: config.modle_list: this key is not known");
    check_diagnostics("model_list:\n- model_name: a\n  litellm_params: {model: x, rpm: 5}\n", 0,
                      "c.yaml:3:30: warning: litellm_params.rpm");
    check_diagnostics("model_list:\n- model_name: a\n  litellm_params: {model: bedrock/x}\n", 0,
                      "this deployment is left out");
    check_diagnostics(
        "model_list:\n- model_name: a\n  litellm_params: {model: x, api_key: os.environ/SURELY_NOT_SET_2}\n", 0,
        "SURELY_NOT_SET_2 is not set; export it");
}

/* All faults at once, in the order of the file. */
SL_TEST(config_diagnostics_are_in_file_order)
{
    sl_config *config =
        parse("general_settings: {master_key: [1]}\nmodel_list:\n- {}\n- {model_name: b}\n", SL_ECONFIG);
    REQUIRE(config != NULL);
    unsigned line = 0;
    size_t count = 0;
    for (const sl_diagnostic *d = config->diagnostics; d; d = d->next, count++) {
        CHECK(d->line >= line);
        line = d->line;
    }
    CHECK_EQ(count, config->error_count + config->warning_count);
    CHECK(config->error_count >= 3);
    sl_config_free(config);
}

SL_TEST(config_anchors_and_merge_keys)
{
    sl_config *config = parse("base: &base {api_base: 'http://h:1/v1', api_key: k}\n"
                              "model_list:\n- model_name: a\n  litellm_params:\n    <<: *base\n    model: openai/x\n",
                              0);
    REQUIRE(config != NULL);
    CHECK_EQ(config->deployment_count, 1);
    CHECK_STR(config->deployments[0].host, "h");
    CHECK_STR(config->deployments[0].api_key, "k");
    sl_config_free(config);
    config = parse("a: &a\n  <<: *a\n  model_list: []\n", 0);
    sl_config_free(config);
}

SL_TEST(config_of_nothing)
{
    sl_config *config = parse("", 0);
    REQUIRE(config != NULL);
    CHECK_EQ(config->deployment_count, 0);
    CHECK_EQ(config->error_count, 0);
    sl_config_free(config);
    sl_config_free(NULL);
    CHECK_EQ(sl_config_load("/nonexistent/config.yaml", &config), SL_EIO);
}

SL_TEST(config_file_and_memory)
{
    char path[] = "/tmp/sl-config-XXXXXX";
    int fd = mkstemp(path);
    REQUIRE(fd >= 0);
    static const char text[] = "model_list:\n- model_name: a\n  litellm_params: {model: openai/x}\n";
    CHECK_EQ(write(fd, text, sizeof text - 1), (ssize_t)(sizeof text - 1));
    close(fd);
    for (long n = 0; n < 200; n++) {
        sl_config *config = NULL;
        sl_test_fail_alloc(n);
        int error = sl_config_load(path, &config);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK(!failed || error == SL_ENOMEM || config != NULL);
        sl_config_free(config);
        if (!failed) {
            CHECK_EQ(error, 0);
            break;
        }
    }
    unlink(path);
}

SL_TEST(provider_split)
{
    sl_str model;
    CHECK_STR(sl_str_c(sl_provider_split(SL_STR("groq/llama-3"), &model)->prefix), "groq");
    CHECK_STR(model, "llama-3");
    CHECK_STR(sl_str_c(sl_provider_split(SL_STR("meta/llama-3"), &model)->prefix), "openai");
    CHECK_STR(model, "meta/llama-3");
    CHECK(sl_provider_find(SL_STR("nobody")) == NULL);
}
