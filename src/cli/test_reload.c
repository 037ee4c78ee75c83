/* What a reload leaves as it was: each setting that only a start reads, changed alone; and all others, which take
 * effect. */
#include "src/cli/reload.h"

#include <stdio.h>

#include "tests/harness/sl_test.h"

/* A file with every setting; each case replaces one piece of it. */
static const char base[] = "model_list:\n"
                           "  - model_name: a\n"
                           "    litellm_params:\n"
                           "      model: openai/real\n"
                           "      api_base: http://127.0.0.1:1/v1\n"
                           "      api_key: sk-1\n"
                           "      timeout: 10\n"
                           "      stream_timeout: 11\n"
                           "      input_cost_per_token: 0.5\n"
                           "      output_cost_per_token: 0.25\n"
                           "  - model_name: c\n"
                           "    litellm_params:\n"
                           "      model: anthropic/claude\n"
                           "      api_base: http://127.0.0.1:2\n"
                           "      api_key: sk-2\n"
                           "general_settings:\n"
                           "  master_key: sk-master\n"
                           "sightline:\n"
                           "  listen:\n"
                           "    gateway: 127.0.0.1:4000\n"
                           "    metrics: 127.0.0.1:9000\n"
                           "    health: 127.0.0.1:8080\n"
                           "    admin: 127.0.0.1:4001\n"
                           "    api: 127.0.0.1:4501\n"
                           "    control: 127.0.0.1:8000\n"
                           "    queue: 127.0.0.1:8001\n"
                           "  workers: 2\n"
                           "  drain_timeout: 30\n"
                           "  health_checks:\n"
                           "    - {name: mem, kind: memory, limit: 1000000}\n"
                           "    - {name: web, kind: http, target: 'http://127.0.0.1:9/x', timeout: 1, interval: 2}\n";

static sl_config *parse(const char *text)
{
    sl_config *config = NULL;
    int error = sl_config_parse(sl_str_c(text), "c.yaml", &config);
    if (error) {
        sl_buf said;
        sl_buf_init(&said, 1u << 16);
        if (config)
            CHECK_EQ(sl_config_format_diagnostics(config, &said), 0);
        sl_test_failed(__FILE__, __LINE__, "%s: %.*s", sl_error_name(error), (int)said.len, said.data ? said.data : "");
        sl_buf_done(&said);
    }
    return config;
}

/* `base` with the only place where `from` stands replaced. */
static sl_config *parse_with(const char *from, const char *to)
{
    char text[4096];
    const char *at = strstr(base, from);
    if (!at || strstr(at + 1, from)) {
        sl_test_failed(__FILE__, __LINE__, "\"%s\" does not stand once in the file", from);
        return NULL;
    }
    (void)snprintf(text, sizeof text, "%.*s%s%s", (int)(at - base), base, to, at + strlen(from));
    return parse(text);
}

SL_TEST(each_setting_by_itself)
{
    static const struct {
        const char *from, *to;
        unsigned kept;
    } cases[] = {
        {"gateway: 127.0.0.1:4000", "gateway: 127.0.0.1:4002", 1u << SL_LISTENER_gateway},
        {"    gateway: 127.0.0.1:4000\n", "", 1u << SL_LISTENER_gateway},
        {"metrics: 127.0.0.1:9000", "metrics: off", 1u << SL_LISTENER_metrics},
        {"health: 127.0.0.1:8080", "health: '0.0.0.0:8080'", 1u << SL_LISTENER_health},
        {"admin: 127.0.0.1:4001", "admin: 4001", 1u << SL_LISTENER_admin},
        {"api: 127.0.0.1:4501", "api: '[::1]:4501'", 1u << SL_LISTENER_api},
        {"control: 127.0.0.1:8000", "control: 127.0.0.1:0", 1u << SL_LISTENER_control},
        {"queue: 127.0.0.1:8001", "queue: 127.0.0.2:8001", 1u << SL_LISTENER_queue},
        {"workers: 2", "workers: 3", SL_KEPT_WORKERS},
        {"  workers: 2\n", "", SL_KEPT_WORKERS},
        {"drain_timeout: 30", "drain_timeout: 31", SL_KEPT_DRAIN_TIMEOUT},
        {"drain_timeout: 30", "drain_timeout: 30.5", SL_KEPT_DRAIN_TIMEOUT},
        {"name: mem", "name: memory", SL_KEPT_HEALTH_CHECKS},
        {"limit: 1000000", "limit: 1000001", SL_KEPT_HEALTH_CHECKS},
        {"kind: http, target: 'http://127.0.0.1:9/x'", "kind: tcp, target: '127.0.0.1:9'", SL_KEPT_HEALTH_CHECKS},
        {"http://127.0.0.1:9/x", "http://127.0.0.1:9/y", SL_KEPT_HEALTH_CHECKS},
        {"timeout: 1,", "timeout: 2,", SL_KEPT_HEALTH_CHECKS},
        {"interval: 2", "interval: 3", SL_KEPT_HEALTH_CHECKS},
        {"    - {name: mem, kind: memory, limit: 1000000}\n", "", SL_KEPT_HEALTH_CHECKS},
        /* These take effect at once. */
        {"model_name: a", "model_name: b", 0},
        {"openai/real", "openai/other", 0},
        {"openai/real", "groq/real", 0},
        {"http://127.0.0.1:1/v1", "https://127.0.0.1:1/v1", 0},
        {"http://127.0.0.1:1/v1", "http://127.0.0.2:1/v1", 0},
        {"http://127.0.0.1:1/v1", "http://127.0.0.1:3/v1", 0},
        {"http://127.0.0.1:1/v1", "http://127.0.0.1:1/v2", 0},
        {"sk-1", "sk-3", 0},
        {"input_cost_per_token: 0.5", "input_cost_per_token: 0.75", 0},
        {"output_cost_per_token: 0.25", "output_cost_per_token: 0", 0},
        {"anthropic/claude", "anthropic/other", 0},
        {"sk-2", "sk-3", 0},
        {"http://127.0.0.1:2", "http://127.0.0.1:3", 0},
        {"timeout: 10", "timeout: 20", 0},
        {"stream_timeout: 11", "stream_timeout: 21", 0},
        {"sk-master", "sk-else", 0},
        {"general_settings:\n", "# a comment moves every line\ngeneral_settings:\n", 0},
        {"workers: 2", "workers:   2 # the same", 0},
        {"drain_timeout: 30", "drain_timeout: 30.0", 0},
        {"metrics: 127.0.0.1:9000", "metrics: \"127.0.0.1:9000\"", 0},
        {"input_cost_per_token: 0.5", "input_cost_per_token: 5e-1", 0},
    };
    sl_config *start = parse(base);
    REQUIRE(start != NULL);
    CHECK_EQ(sl_reload_kept(start, start), 0);
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        sl_config *fresh = parse_with(cases[i].from, cases[i].to);
        REQUIRE(fresh != NULL);
        unsigned kept = sl_reload_kept(start, fresh);
        if (kept != cases[i].kept)
            sl_test_failed(__FILE__, __LINE__, "%s to %s: %x", cases[i].from, cases[i].to, kept);
        CHECK_EQ(sl_reload_kept(fresh, start), kept); /* which of the two is the new one makes no difference */
        sl_config_free(fresh);
    }
    sl_config_free(start);
}

SL_TEST(from_nothing_and_to_nothing)
{
    sl_config *full = parse(base), *empty = sl_config_empty();
    REQUIRE(full && empty);
    unsigned all = (1u << SL_KEPT_BITS) - 1;
    CHECK_EQ(sl_reload_kept(full, empty), all);
    CHECK_EQ(sl_reload_kept(empty, full), all);
    CHECK_EQ(sl_reload_kept(empty, empty), 0);
    sl_config_free(full);
    sl_config_free(empty);
}

SL_TEST(every_setting_has_the_name_it_has_in_the_file)
{
    CHECK_STR(sl_str_c(sl_reload_setting(1u << SL_LISTENER_gateway)), "sightline.listen.gateway");
    CHECK_STR(sl_str_c(sl_reload_setting(1u << SL_LISTENER_queue)), "sightline.listen.queue");
    CHECK_STR(sl_str_c(sl_reload_setting(SL_KEPT_WORKERS)), "sightline.workers");
    CHECK_STR(sl_str_c(sl_reload_setting(SL_KEPT_DRAIN_TIMEOUT)), "sightline.drain_timeout");
    CHECK_STR(sl_str_c(sl_reload_setting(SL_KEPT_HEALTH_CHECKS)), "sightline.health_checks");
    for (unsigned i = 0; i < SL_KEPT_BITS; i++) {
        for (unsigned j = 0; j < i; j++)
            CHECK(strcmp(sl_reload_setting(1u << i), sl_reload_setting(1u << j)) != 0);
    }
}
