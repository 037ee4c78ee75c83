/* The gateway's configuration: what a LiteLLM file means here, and how its faults are told. */
#include "src/llm/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "src/base/limits.h"
#include "src/base/mem.h"
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

#define MODEL(params) "model_list:\n- model_name: a\n  litellm_params: {model: openai/x, " params "}\n"
#define OWN(text) "model_list:\n- model_name: a\n  litellm_params: {model: x}\n  sightline: {" text "}\n"

/* Every fault: its place, its key, why, and what to do. */
SL_TEST(config_faults_name_place_and_remedy)
{
    static const struct {
        const char *text, *wanted;
    } rows[] = {
        {"a: [1\n", "c.yaml:2:1: error: YAML syntax: did not find expected ',' or ']'; check quotes and indentation"},
        {"a: \t- x\n", "error: YAML syntax: "},
        {"a: \"\\q\"\n", "c.yaml:1:5: error: YAML syntax: found unknown escape character"},
        {"a: *nothing\n", "error: YAML syntax: found undefined alias"},
        {"a: 1\n---\nb: 1\n", "c.yaml:2:1: error: YAML: a second document begins; put everything into one"},
        {"a: 1\n...\nb: [\n", "c.yaml:3:1: error: YAML syntax: did not find expected <document start>"},
        {"- a\n", "c.yaml:1:1: error: config: not a map; write `key: value` lines below it"},
        {"text\n", "c.yaml:1:1: error: config: not a map"},
        {"model_list: 5\n", "c.yaml:1:13: error: model_list: not a list; write `- model_name: …` entries below it"},
        {"model_list: [5]\n", "c.yaml:1:14: error: model_list[]: not a map"},
        {"model_list:\n- litellm_params: {model: x}\n",
         "c.yaml:2:3: error: model_list[]: model_name is missing; give the name that clients ask for"},
        {"model_list:\n- model_name: a\n", "c.yaml:2:3: error: model a: litellm_params.model is missing; write "
                                           "provider/model, such as openai/gpt-4o"},
        {"model_list:\n- model_name: a\n  litellm_params: x\n", "c.yaml:3:19: error: litellm_params: not a map"},
        {"model_list:\n- model_name: a\n  litellm_params: {model: [x]}\n",
         "c.yaml:3:27: error: litellm_params.model: not usable; give one value, not a map or a list"},
        {"model_list:\n- model_name: a\n  litellm_params: {model: openai/}\n",
         "c.yaml:3:19: error: model openai/: names a provider alone; write provider/model"},
        {"model_list:\n- model_name: a\n  litellm_params: {model: hosted_vllm/x}\n",
         "c.yaml:3:19: error: model hosted_vllm/x: provider hosted_vllm has no default address; set "
         "litellm_params.api_base"},
        {MODEL("api_base: 'ftp://x'"), "error: api_base: not a usable address ("},
        {MODEL("api_base: 'http://h/v1?key=1'"),
         "api_base: not a usable address (a query does not belong there); write http://host:port/v1"},
        {MODEL("api_base: 'http://h:99999/v1'"), "error: api_base: not a usable address ("},
        {MODEL("timeout: soon"),
         "c.yaml:3:46: error: litellm_params.timeout: \"soon\" is not usable; give a number of seconds"},
        {MODEL("timeout: -1"), "litellm_params.timeout: \"-1\" is not usable"},
        {MODEL("timeout: 4000001"), "give a number of seconds from 0 to 4000000"},
        {MODEL("timeout: '1 s'"), "litellm_params.timeout: \"1 s\" is not usable"},
        {MODEL("timeout: nan"), "litellm_params.timeout: \"nan\" is not usable"},
        {MODEL("timeout: ''"), "litellm_params.timeout: \"\" is not usable"},
        {MODEL("request_timeout: {}"), "litellm_params.request_timeout: not usable; give one value"},
        {MODEL("stream_timeout: x"), "litellm_params.stream_timeout: \"x\" is not usable"},
        {MODEL("api_key: [k]"), "litellm_params.api_key: not usable; give one value"},
        {MODEL("api_key: \"k\\n\""), "litellm_params.api_key: not usable; give visible ASCII characters"},
        {MODEL("api_key: \"k\\r\\nX: y\""), "litellm_params.api_key: not usable"},
        {MODEL("api_key: 'two words'"), "litellm_params.api_key: not usable"},
        {MODEL("api_key: \"\\u00e9\""), "litellm_params.api_key: not usable"},
        {OWN("include_usage: maybe"),
         "c.yaml:4:30: error: model_list[].sightline.include_usage: \"maybe\" is not usable; give true or false"},
        {OWN("propagate_tracestate: 2"), "model_list[].sightline.propagate_tracestate: \"2\""},
        {OWN("propagate_baggage: nope"), "model_list[].sightline.propagate_baggage: \"nope\""},
        {OWN("tls_insecure: 1"), "model_list[].sightline.tls_insecure: \"1\""},
        {OWN("connect_timeout: x"), "model_list[].sightline.connect_timeout: \"x\""},
        {OWN("ca_file: []"), "model_list[].sightline.ca_file: not usable"},
        {"general_settings: {master_key: os.environ/SURELY_NOT_SET_1}\n",
         "c.yaml:1:32: error: general_settings.master_key: is empty; the gateway would be open"},
        {"general_settings: {master_key: ''}\n", "general_settings.master_key: is empty"},
        {"general_settings: {master_key: {}}\n", "general_settings.master_key: not usable"},
        {"general_settings: []\n", "c.yaml:1:19: error: general_settings: not a map"},
        {"sightline: 1\n", "c.yaml:1:12: error: sightline: not a map"},
        {"sightline: {listen: 4000}\n", "error: sightline.listen: not a map"},
        {"sightline: {listen: {health: [1]}}\n", "error: sightline.listen.health: not usable"},
        {"sightline: {workers: -1}\n", "sightline.workers: \"-1\" is not usable; give a whole number"},
        {"sightline: {workers: 65}\n", "c.yaml:1:22: error: sightline.workers: 65 is out of range; give 1 to 64"},
        {"sightline:\n  listen: {admin: 'off', gateway: 'a:b'}\n",
         "c.yaml:2:35: error: sightline.listen.gateway: \"a:b\" has no port from 0 to 65535; write HOST:PORT"},
        {"sightline: {listen: {ui: 70000}}\n", "error: sightline.listen.ui: \"70000\" has no port"},
        {"sightline: {workers: 1.5}\n", "sightline.workers: \"1.5\" is not usable; give a whole number"},
        {"sightline: {workers: 4294967296}\n", "sightline.workers: \"4294967296\" is not usable"},
        {"sightline: {drain_timeout: x}\n", "sightline.drain_timeout: \"x\""},
        {"sightline: {head_timeout: x}\n", "sightline.head_timeout: \"x\""},
        {"sightline: {body_timeout: x}\n", "sightline.body_timeout: \"x\""},
        {"sightline: {idle_timeout: x}\n", "sightline.idle_timeout: \"x\""},
        {"sightline: {write_timeout: x}\n", "sightline.write_timeout: \"x\""},
        {"sightline: {max_body: 1MB}\n", "sightline.max_body: \"1MB\" is not usable; give a number of bytes, such as"},
        {"sightline: {max_body: 99999999999999GiB}\n", "sightline.max_body: \"99999999999999GiB\" is not usable"},
        {"sightline: {health_checks: {}}\n", "c.yaml:1:28: error: sightline.health_checks: not a list; write"},
        {"sightline: {health_checks: [x]}\n", "error: health_checks[]: not a map"},
        {"sightline: {health_checks: [{name: x, kind: ping}]}\n", "a kind of memory, http, tcp or disk"},
        {"sightline: {health_checks: [{kind: tcp}]}\n", "error: health_checks[]: needs a name"},
        {"sightline: {health_checks: [{name: x, kind: memory, limit: much}]}\n", "health_checks[].limit: \"much\""},
        {"sightline: {health_checks: [{name: x, kind: tcp, timeout: x}]}\n", "health_checks[].timeout: \"x\""},
        {"sightline: {health_checks: [{name: x, kind: tcp, interval: x}]}\n", "health_checks[].interval: \"x\""},
        {"general_settings:\n  <<: 5\n", "c.yaml:2:7: error: general_settings.<<: cannot be merged; give one map or"},
        {"general_settings:\n  <<: [{}, 5]\n", "c.yaml:2:12: error: general_settings.<<: cannot be merged"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check_diagnostics(rows[i].text, SL_ECONFIG, rows[i].wanted);
}

SL_TEST(config_warnings_do_not_stop)
{
    static const struct {
        const char *text, *wanted;
    } rows[] = {
        {"router_settings: {num_retries: 3}\n",
         "c.yaml:1:1: warning: config.router_settings: this LiteLLM key is not supported yet; it has no effect"},
        {"modle_list: []\n",
         "c.yaml:1:1: warning: config.modle_list: this key is not known; it has no effect, did you mean"},
        {"? [a, b]\n: 1\n", "c.yaml:1:3: warning: config.: this key is not known"},
        {"sightline: {listen: {gatway: 1}}\n", "warning: sightline.listen.gatway: this key is not known"},
        {MODEL("rpm: 5"), "c.yaml:3:37: warning: litellm_params.rpm: this LiteLLM key is not supported yet"},
        {MODEL("custom_llm_provider: nobody"),
         "warning: litellm_params.custom_llm_provider: \"nobody\" is not known; openai is taken instead"},
        {"model_list:\n- model_name: a\n  litellm_params: {model: bedrock/x}\n",
         "warning: model bedrock/x: the protocol of provider bedrock is not supported yet; this deployment is left "
         "out"},
        {MODEL("api_key: os.environ/SURELY_NOT_SET_2"), "c.yaml:3:46: warning: litellm_params.api_key: environment "
                                                        "variable SURELY_NOT_SET_2 is not set; export it, or give"},
        {MODEL("timeout: os.environ/SURELY_NOT_SET_2"), "warning: litellm_params.timeout: environment variable"},
        {MODEL("timeout: 1, timeout: 2"), "c.yaml:3:37: warning: litellm_params.timeout: this key stands twice; the "
                                          "last one counts, so remove this one"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++)
        check_diagnostics(rows[i].text, 0, rows[i].wanted);
}

/* What a faulty value holds is shown in part, printable, and not at all when it is a secret. */
SL_TEST(config_diagnostics_do_not_tell_secrets)
{
    sl_config *config = parse("general_settings: {master_key: \"planted-secret\\n\"}\n"
                              "sightline: {workers: \"\\e[31mred\"}\n",
                              SL_ECONFIG);
    REQUIRE(config != NULL);
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    CHECK_EQ(sl_config_format_diagnostics(config, &out), 0);
    CHECK(sl_str_find(sl_buf_str(&out), SL_STR("planted-secret")) == SL_NPOS);
    CHECK(sl_str_find(sl_buf_str(&out), SL_STR("\x1b")) == SL_NPOS);
    CHECK(sl_str_find(sl_buf_str(&out), SL_STR("\"?[31mred\"")) != SL_NPOS);
    sl_buf_done(&out);
    sl_config_free(config);
}

SL_TEST(config_values_of_each_type)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } sizes[] = {{"0", 0},
                 {"1", 1},
                 {"5KiB", 5120},
                 {"1 KiB", 1024},
                 {"3MiB", 3u << 20},
                 {"17179869183GiB", UINT64_C(17179869183) << 30},
                 {"18446744073709551615", UINT64_MAX}};
    char text[256];
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        snprintf(text, sizeof text, "sightline: {max_body: %s}\n", sizes[i].text);
        sl_config *config = parse(text, 0);
        REQUIRE(config != NULL);
        CHECK(config->max_body_bytes == sizes[i].bytes);
        sl_config_free(config);
    }
    static const struct {
        const char *text;
        uint32_t ms;
    } times[] = {{"0", 0}, {"0.0004", 0}, {"0.0005", 1}, {"1e1", 10000}, {"4000000", 4000000000u}, {"'30'", 30000}};
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        snprintf(text, sizeof text, "sightline: {idle_timeout: %s}\n", times[i].text);
        sl_config *config = parse(text, 0);
        REQUIRE(config != NULL);
        CHECK_EQ(config->idle_timeout_ms, times[i].ms);
        sl_config_free(config);
    }
    static const struct {
        const char *text;
        bool value;
    } words[] = {{"true", true}, {"Yes", true}, {"ON", true}, {"false", false}, {"no", false}, {"Off", false}};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        snprintf(text, sizeof text, OWN("tls_insecure: %s"), words[i].text);
        sl_config *config = parse(text, 0);
        REQUIRE(config != NULL && config->deployment_count == 1);
        CHECK_EQ(config->deployments[0].tls_insecure, words[i].value);
        sl_config_free(config);
    }
}

SL_TEST(config_of_every_listener_and_client_timeout)
{
    sl_config *config =
        parse("sightline:\n"
              "  listen: {gateway: 1, metrics: 2, health: 3, admin: 4, otlp_grpc: 5, otlp_http: 6, ui: 7,\n"
              "           api: 8, control: 9, queue: 10}\n"
              "  body_timeout: 1\n  idle_timeout: 2\n  write_timeout: 3\n  head_timeout: 4\n"
              "  health_checks:\n"
              "  - {name: m, kind: memory, limit: 2GiB, interval: 5}\n"
              "  - {name: d, kind: disk, target: /tmp, limit: 1024}\n",
              0);
    REQUIRE(config != NULL);
    const sl_str listen[] = {config->listen.gateway, config->listen.metrics,   config->listen.health,
                             config->listen.admin,   config->listen.otlp_grpc, config->listen.otlp_http,
                             config->listen.ui,      config->listen.api,       config->listen.control,
                             config->listen.queue};
    for (size_t i = 0; i < sizeof listen / sizeof *listen; i++) {
        char number[8];
        snprintf(number, sizeof number, "%zu", i + 1);
        CHECK_STR(listen[i], number);
    }
    CHECK_EQ(config->body_timeout_ms, 1000);
    CHECK_EQ(config->idle_timeout_ms, 2000);
    CHECK_EQ(config->write_timeout_ms, 3000);
    CHECK_EQ(config->head_timeout_ms, 4000);
    CHECK_EQ(config->health_check_count, 2);
    CHECK_EQ(config->health_checks[0].limit_bytes, 2u << 30);
    CHECK_EQ(config->health_checks[0].interval_ms, 5000);
    CHECK_EQ(config->health_checks[0].line, 9);
    CHECK_STR(config->health_checks[1].target, "/tmp");
    CHECK_STR(config->health_checks[1].kind, "disk");
    sl_config_free(config);
}

SL_TEST(config_of_every_deployment_key)
{
    sl_config *config =
        parse("model_list:\n- model_name: a\n"
              "  model_info: {id: x}\n"
              "  litellm_params: {model: x/y, custom_llm_provider: groq, base_url: 'https://[::1]:7/a//',\n"
              "    request_timeout: 7, stream_timeout: 2}\n"
              "  sightline: {ca_file: /ca.pem, tls_insecure: yes, connect_timeout: 0.5,\n"
              "    propagate_tracestate: off, propagate_baggage: no}\n",
              0);
    REQUIRE(config != NULL && config->deployment_count == 1);
    const sl_deployment *d = &config->deployments[0];
    CHECK_EQ(config->warning_count, 0);
    CHECK_STR(d->provider, "groq");
    CHECK_STR(d->upstream_model, "x/y");
    CHECK_STR(d->host, "::1");
    CHECK_EQ(d->port, 7);
    CHECK_STR(d->base_path, "/a");
    CHECK_STR(d->ca_file, "/ca.pem");
    CHECK(d->tls && d->tls_insecure && !d->propagate_tracestate && !d->propagate_baggage && d->include_usage);
    CHECK_EQ(d->timeout_ms, 7000);
    CHECK_EQ(d->stream_timeout_ms, 2000);
    CHECK_EQ(d->connect_timeout_ms, 500);
    CHECK_EQ(d->api_key.len, 0);
    sl_config_free(config);
}

/* os.environ/NAME stands for any scalar, as in LiteLLM. */
SL_TEST(config_of_the_environment)
{
    setenv("TEST_SECONDS", "2.5", 1);
    setenv("TEST_EMPTY", "", 1);
    setenv("TEST_BROKEN", "line\n", 1);
    sl_config *config = parse(MODEL("timeout: os.environ/TEST_SECONDS, api_key: os.environ/TEST_EMPTY"), 0);
    REQUIRE(config != NULL && config->deployment_count == 1);
    CHECK_EQ(config->deployments[0].timeout_ms, 2500);
    CHECK_EQ(config->deployments[0].api_key.len, 0);
    CHECK_EQ(config->warning_count, 0);
    sl_config_free(config);
    config = parse(MODEL("timeout: os.environ/SURELY_NOT_SET_3"), 0);
    REQUIRE(config != NULL && config->deployment_count == 1);
    CHECK_EQ(config->deployments[0].timeout_ms, 600000); /* the default stays */
    sl_config_free(config);
    check_diagnostics(MODEL("api_key: os.environ/TEST_BROKEN"), SL_ECONFIG, "litellm_params.api_key: not usable");
    char text[600] = "general_settings: {master_key: os.environ/";
    memset(text + strlen(text), 'N', 256);
    strcat(text, "}\n");
    check_diagnostics(text, SL_ECONFIG, "the name after os.environ/ is too long; use a shorter one");

    setenv("LITELLM_MASTER_KEY", "sk-env", 1);
    config = parse("", 0);
    REQUIRE(config != NULL);
    CHECK_STR(config->master_key, "sk-env");
    sl_config_free(config);
    config = parse("general_settings: {master_key: sk-file}\n", 0);
    REQUIRE(config != NULL);
    CHECK_STR(config->master_key, "sk-file");
    sl_config_free(config);
    unsetenv("LITELLM_MASTER_KEY");
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

/* The merge keys of YAML 1.1: what the map itself says wins, wherever it stands; of a list the earlier map. */
SL_TEST(config_anchors_and_merge_keys)
{
    static const struct {
        const char *params; /* of the one model */
        const char *host, *key;
        uint32_t timeout_ms;
    } rows[] = {
        {"    <<: *base\n    model: openai/x\n", "base", "k", 5000},
        {"    model: openai/x\n    timeout: 1\n    <<: *base\n", "base", "k", 1000},
        {"    <<: *base\n    model: openai/x\n    timeout: 1\n", "base", "k", 1000},
        {"    <<: [*over, *base]\n    model: openai/x\n", "over", "k", 5000},
        {"    <<: [*base, *over]\n    model: openai/x\n", "base", "k", 5000},
        {"    <<: *nested\n    model: openai/x\n", "base", "n", 5000},
        {"    <<: *base\n    <<: *over\n    model: openai/x\n", "base", "k", 5000},
        {"    <<: *base\n    model: openai/x\n    timeout: null\n", "base", "k", 600000},
        {"    <<: {api_base: 'http://inline:1', api_key: i}\n    model: openai/x\n", "inline", "i", 600000},
        {"    <<: []\n    model: openai/x\n", "api.openai.com", "", 600000},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[1024];
        snprintf(text, sizeof text,
                 "x-base: &base {api_base: 'http://base:1/v1', api_key: k, timeout: 5}\n"
                 "x-over: &over {api_base: 'http://over:1/v1'}\n"
                 "x-nested: &nested {<<: *base, api_key: n}\n"
                 "model_list:\n- model_name: a\n  litellm_params:\n%s",
                 rows[i].params);
        sl_config *config = parse(text, 0);
        REQUIRE(config != NULL && config->deployment_count == 1);
        CHECK_STR(config->deployments[0].host, rows[i].host);
        CHECK_STR(config->deployments[0].api_key, rows[i].key);
        CHECK_EQ(config->deployments[0].timeout_ms, rows[i].timeout_ms);
        sl_config_free(config);
    }
    /* Whole sections may come by a merge too, and be shared. */
    sl_config *config =
        parse("x: &all\n  model_list: &models\n  - model_name: a\n    litellm_params: {model: x}\n<<: *all\n", 0);
    REQUIRE(config != NULL);
    CHECK_EQ(config->deployment_count, 1);
    sl_config_free(config);
}

/* A key of a merged map is warned of once, however many models share it. */
SL_TEST(config_says_a_fault_once)
{
    sl_config *config = parse("x: &base {rpm: 5}\nmodel_list:\n"
                              "- {model_name: a, litellm_params: {<<: *base, model: x}}\n"
                              "- {model_name: b, litellm_params: {<<: *base, model: x}}\n",
                              0);
    REQUIRE(config != NULL);
    CHECK_EQ(config->warning_count, 2); /* x, and rpm */
    sl_config_free(config);
}

/* Rings, deep chains and fans of merges end, and soon. */
SL_TEST(config_merges_are_bounded)
{
    sl_config *config = parse("a: &a\n  <<: *a\n  model_list: []\n<<: *a\n", 0);
    sl_config_free(config);
    sl_buf text;
    sl_buf_init(&text, 1u << 20);
    (void)sl_buf_put_c(&text, "x0: &x0 {rpm: 1}\n");
    for (unsigned i = 1; i < 62; i++) { /* each merges the one before ten times over: 10^61 paths, 62 maps */
        (void)sl_buf_printf(&text, "x%u: &x%u {<<: [", i, i);
        for (unsigned k = 0; k < 10; k++)
            (void)sl_buf_printf(&text, "*x%u,", i - 1);
        (void)sl_buf_put_c(&text, "]}\n");
    }
    size_t prefix = text.len;
    (void)sl_buf_put_c(&text, "general_settings: {<<: *x61, master_key: k}\n");
    (void)sl_buf_put_char(&text, 0);
    config = parse(text.data, 0);
    REQUIRE(config != NULL);
    CHECK_STR(config->master_key, "k");
    sl_config_free(config);
    text.len = prefix; /* one map more than there may be */
    (void)sl_buf_put_c(&text, "x62: &x62 {<<: *x61}\nx63: &x63 {<<: *x62}\ngeneral_settings: {<<: *x63}\n");
    (void)sl_buf_put_char(&text, 0);
    check_diagnostics(text.data, SL_ECONFIG,
                      "general_settings.<<: cannot be merged; give one map or a list of maps, at most 63");
    sl_buf_done(&text);
}

/* Lists in one another, below the map of the file. */
static void check_nesting(const char *open, const char *close, size_t depth, int expected)
{
    sl_buf text;
    sl_buf_init(&text, 8u << 20);
    (void)sl_buf_put_c(&text, "x: ");
    for (size_t i = 0; i < depth; i++)
        (void)sl_buf_put_c(&text, open);
    for (size_t i = 0; i < depth; i++)
        (void)sl_buf_put_c(&text, close);
    (void)sl_buf_put_char(&text, 0);
    sl_config *config = parse(text.data, expected);
    REQUIRE(config != NULL);
    if (expected)
        CHECK_STR(config->diagnostics->text, "YAML: nested more than 100 deep; flatten it");
    sl_config_free(config);
    sl_buf_done(&text);
}

SL_TEST(config_nesting_and_size_are_bounded)
{
    check_nesting("[", "]", 99, 0);
    check_nesting("[", "]", 100, SL_ECONFIG);
    check_nesting("{a: ", "}", 99, 0);
    check_nesting("{a: ", "}", 100, SL_ECONFIG);
    check_nesting("[", "", 1000000, SL_ECONFIG); /* in no time, though libyaml's grows with the square of it */
    check_nesting("\n- ", "", 3, 0);
    char *text = malloc(SL_MAX_CONFIG_BYTES + 1);
    REQUIRE(text != NULL);
    memset(text, '\n', SL_MAX_CONFIG_BYTES + 1);
    sl_config *config = NULL;
    CHECK_EQ(sl_config_parse(sl_str_of(text, SL_MAX_CONFIG_BYTES), "c.yaml", &config), 0);
    sl_config_free(config);
    config = NULL;
    CHECK_EQ(sl_config_parse(sl_str_of(text, SL_MAX_CONFIG_BYTES + 1), "c.yaml", &config), SL_ETOOBIG);
    CHECK(config == NULL);
    free(text);
}

static sl_config *config_of_many(const char *head, const char *item, unsigned count, int expected)
{
    sl_buf text;
    sl_buf_init(&text, 8u << 20);
    (void)sl_buf_put_c(&text, head);
    for (unsigned i = 0; i < count; i++)
        (void)sl_buf_printf(&text, item, i);
    (void)sl_buf_put_char(&text, 0);
    sl_config *config = parse(text.data, expected);
    sl_buf_done(&text);
    return config;
}

SL_TEST(config_lists_at_their_limits)
{
    static const char check[] = "  - {name: c%u, kind: tcp, target: 'h:1'}\n";
    static const char model[] = "- {model_name: m%u, litellm_params: {model: x}}\n";
    sl_config *config = config_of_many("sightline:\n  health_checks:\n", check, SL_MAX_HEALTH_CHECKS, 0);
    REQUIRE(config != NULL);
    CHECK_EQ(config->health_check_count, SL_MAX_HEALTH_CHECKS);
    sl_config_free(config);
    config = config_of_many("sightline:\n  health_checks:\n", check, SL_MAX_HEALTH_CHECKS + 1, SL_ECONFIG);
    REQUIRE(config != NULL);
    CHECK_EQ(config->error_count, 1);
    sl_config_free(config);
    config = config_of_many("model_list:\n", model, SL_MAX_DEPLOYMENTS, 0);
    REQUIRE(config != NULL);
    CHECK_EQ(config->deployment_count, SL_MAX_DEPLOYMENTS);
    CHECK_STR(config->deployments[SL_MAX_DEPLOYMENTS - 1].model_name, "m4095");
    sl_config_free(config);
    config = config_of_many("model_list:\n", model, SL_MAX_DEPLOYMENTS + 5, SL_ECONFIG);
    REQUIRE(config != NULL);
    CHECK_EQ(config->error_count, 1); /* said once */
    sl_config_free(config);
}

/* Of faults without end a thousand are kept; errors are not crowded out by warnings. */
SL_TEST(config_diagnostics_are_bounded)
{
    sl_config *config = config_of_many("general_settings: []\n", "k%u: 1\n", 100000, SL_ECONFIG);
    REQUIRE(config != NULL);
    CHECK_EQ(config->warning_count, 100000);
    CHECK_EQ(config->error_count, 1);
    sl_buf out;
    sl_buf_init(&out, 1u << 20);
    CHECK_EQ(sl_config_format_diagnostics(config, &out), 0);
    CHECK(sl_str_find(sl_buf_str(&out), SL_STR("general_settings: not a map")) != SL_NPOS);
    CHECK(sl_str_find(sl_buf_str(&out), SL_STR("c.yaml: 1 errors and 100000 warnings, of which 1000 each are shown")) !=
          SL_NPOS);
    sl_buf_done(&out);
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
    static const char text[] = "model_list:\n- model_name: a\n  litellm_params: {model: openai/x, api_key: k, rpm: 1}\n"
                               "general_settings: {master_key: k}\n"
                               "sightline: {workers: x, health_checks: [{name: a, kind: tcp}]}\n";
    CHECK_EQ(write(fd, text, sizeof text - 1), (ssize_t)(sizeof text - 1));
    close(fd);
    for (long n = 0; n < 200; n++) {
        sl_config *config = NULL;
        sl_test_fail_alloc(n);
        int error = sl_config_load(path, &config);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        /* Never half a configuration: one without its key would leave the gateway open. */
        CHECK(!failed || (error == SL_ENOMEM && config == NULL));
        sl_config_free(config);
        if (!failed) {
            CHECK_EQ(error, SL_ECONFIG);
            CHECK(n > 3);
            break;
        }
        CHECK(n < 199);
    }
    unlink(path);
    sl_config *config = NULL;
    CHECK_EQ(sl_config_load("/", &config), SL_EIO); /* opens, but cannot be read */
    CHECK(config == NULL);
}

SL_TEST(config_without_a_file)
{
    static const sl_deployment d = {.model_name = SL_STR("m"), .host = SL_STR("h"), .port = 1};
    unsetenv("LITELLM_MASTER_KEY");
    sl_config *config = sl_config_empty();
    REQUIRE(config != NULL);
    CHECK_EQ(config->master_key.len, 0);
    for (unsigned i = 0; i < SL_MAX_DEPLOYMENTS; i++)
        CHECK_EQ(sl_config_add(config, &d), 0);
    CHECK_EQ(sl_config_add(config, &d), SL_ELIMIT);
    CHECK_EQ(config->deployment_count, SL_MAX_DEPLOYMENTS);
    CHECK_STR(config->deployments[0].host, "h");
    sl_config_free(config);
    setenv("LITELLM_MASTER_KEY", "k", 1);
    for (long n = 0; n < 3; n++) {
        sl_test_fail_alloc(n);
        config = sl_config_empty();
        CHECK(!sl_test_alloc_failed() || config == NULL);
        sl_test_fail_alloc(-1);
        sl_config_free(config);
    }
    unsetenv("LITELLM_MASTER_KEY");
}

SL_TEST(config_prices_of_models)
{
    static const struct {
        const char *info, *params;
        bool has;
        double input, output, cache_read, cache_write;
    } cases[] = {
        {"", "", false, 0, 0, -1, -1},
        {"id: x, mode: chat, max_tokens: 5, base_model: y", "", false, 0, 0, -1, -1},
        {"input_cost_per_token: 0.000003", "", true, 0.000003, 0, -1, -1},
        {"input_cost_per_token: 3e-6, output_cost_per_token: 0.000015, cache_read_input_token_cost: 3e-7,"
         " cache_creation_input_token_cost: 0",
         "", true, 0.000003, 0.000015, 0.0000003, 0},
        {"input_cost_per_token: 3e-6", ", input_cost_per_token: 1e-6, output_cost_per_token: 0", true, 0.000001, 0, -1,
         -1},
        {"input_cost_per_token: null", "", true, 0, 0, -1, -1},
    };
    char text[512];
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        snprintf(text, sizeof text,
                 "model_list:\n- model_name: a\n  model_info: {%s}\n  litellm_params: {model: openai/m%s}\n",
                 cases[i].info, cases[i].params);
        sl_config *config = parse(text, 0);
        REQUIRE(config && config->deployment_count == 1);
        const sl_deployment *d = &config->deployments[0];
        CHECK_EQ(d->has_price, cases[i].has);
        CHECK(d->input_cost == cases[i].input && d->output_cost == cases[i].output);
        CHECK(d->cache_read_cost == cases[i].cache_read && d->cache_write_cost == cases[i].cache_write);
        CHECK_EQ(config->warning_count, 0);
        sl_config_free(config);
    }
    static const char *const wrong[] = {"-1", "3", "free", "[1]", "1e-6 USD"};
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        snprintf(text, sizeof text,
                 "model_list:\n- model_name: a\n  model_info: {input_cost_per_token: %s}\n"
                 "  litellm_params: {model: openai/m}\n",
                 wrong[i]);
        sl_config *config = parse(text, SL_ECONFIG);
        REQUIRE(config);
        CHECK_EQ(config->error_count, 1);
        sl_config_free(config);
    }
}

/* The gateway cannot use them, workflows can. */
SL_TEST(config_keeps_what_only_workflows_can_call)
{
    sl_config *config = parse("model_list:\n"
                              "- {model_name: a, litellm_params: {model: anthropic/claude-haiku-4-5, api_key: k}}\n"
                              "- {model_name: b, litellm_params: {model: anthropic/x, api_base: 'http://h:1'}}\n"
                              "- {model_name: c, litellm_params: {model: bedrock/x}}\n",
                              0);
    REQUIRE(config);
    CHECK_EQ(config->deployment_count, 1);
    CHECK_EQ(config->other_count, 1);
    CHECK_EQ(config->warning_count, 2);
    CHECK_STR(config->others[0].model_name, "a");
    CHECK_STR(config->others[0].provider, "anthropic");
    CHECK_STR(config->others[0].host, "api.anthropic.com");
    CHECK_STR(config->others[0].upstream_model, "claude-haiku-4-5");
    CHECK(config->others[0].tls);
    sl_config_free(config);
}
