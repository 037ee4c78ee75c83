/* What no worker could start with, and the gateway's maxima: at the limit and one above. */
#include "src/gateway/test_front.h"

#include <sys/stat.h>

/* A configuration of so many deployments of the name `m`, among others. */
static sl_config *config_of(size_t deployments)
{
    sl_config *config = sl_config_empty();
    for (size_t i = 0; config && i < deployments + 3; i++) {
        const sl_deployment d = {.model_name = i % 50 == 7 ? SL_STR("other") : SL_STR("m"),
                                 .provider = SL_STR("openai"),
                                 .upstream_model = SL_STR("x"),
                                 .host = SL_STR("127.0.0.1"),
                                 .port = 1,
                                 .base_path = SL_STR("/v1"),
                                 .line = (unsigned)i + 2};
        CHECK_EQ(sl_config_add(config, &d), 0);
    }
    return config;
}

static int start_with(const sl_config *config)
{
    sl_loop loop;
    sl_gateway *gateway = NULL;
    const sl_gateway_options options = {.config = config};
    if (sl_loop_init(&loop) != 0)
        abort();
    int error = sl_gateway_new(&loop, &options, &gateway);
    if (!error)
        sl_gateway_close(gateway);
    (void)uv_run(&loop.uv, UV_RUN_DEFAULT);
    sl_gateway_free(gateway);
    sl_loop_done(&loop);
    return error;
}

/* What is told before the start, and whether a gateway starts, agree. */
SL_TEST(deployments_of_one_name)
{
    static const struct {
        size_t count;
        const char *told;
    } rows[] = {
        {1, ""},
        {SL_GW_MAX_GROUP - 1, ""}, /* 64 of the name, and two others */
        {SL_GW_MAX_GROUP, ":68: model m: more than 64 deployments have this name; give some of them another one\n"},
        {SL_GW_MAX_GROUP + 40,
         ":68: model m: more than 64 deployments have this name; give some of them another one\n"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_buf out;
        sl_buf_init(&out, 4096);
        sl_config *config = config_of(rows[i].count);
        REQUIRE(config != NULL);
        CHECK_EQ(sl_gateway_check(config, &out), rows[i].told[0] != 0);
        CHECK_STR(sl_buf_str(&out), rows[i].told);
        CHECK_EQ(start_with(config), rows[i].told[0] ? SL_ECONFIG : 0);
        sl_buf_done(&out);
        sl_config_free(config);
    }
}

SL_TEST(files_of_certificates)
{
    static const char none[] = "no certificate is in here\n";
    char folder[] = "/tmp/sl-ca-XXXXXX", garbage[64], empty[64];
    REQUIRE(sl_test_mkdtemp(folder) != NULL);
    (void)snprintf(garbage, sizeof garbage, "%s/garbage.pem", folder);
    (void)snprintf(empty, sizeof empty, "%s/empty.pem", folder);
    FILE *file = fopen(garbage, "w");
    REQUIRE(file && fwrite(none, 1, sizeof none - 1, file) == sizeof none - 1 && fclose(file) == 0);
    REQUIRE((file = fopen(empty, "w")) && fclose(file) == 0);
    const struct {
        const char *ca_file;
        bool tls, insecure, good;
    } rows[] = {
        {"", true, false, true},
        {garbage, true, false, false},
        {empty, true, false, false},
        {folder, true, false, false},
        {"/nonexistent/ca.pem", true, false, false},
        {"/nonexistent/ca.pem", true, true, true},   /* nothing is verified */
        {"/nonexistent/ca.pem", false, false, true}, /* no TLS */
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_buf out;
        sl_buf_init(&out, 4096);
        sl_config *config = config_of(0);
        REQUIRE(config != NULL);
        for (size_t k = 0; k < config->deployment_count; k++) {
            config->deployments[k].tls = rows[i].tls;
            config->deployments[k].tls_insecure = rows[i].insecure;
            config->deployments[k].ca_file = sl_str_c(rows[i].ca_file);
        }
        CHECK_EQ(sl_gateway_check(config, &out), !rows[i].good); /* of a row with the same file the first is told */
        if (!rows[i].good)
            CHECK_STR(sl_buf_str(&out), ":2: model m: its ca_file cannot be read, or holds no certificate\n");
        CHECK_EQ(start_with(config), rows[i].good ? 0 : SL_ECONFIG);
        sl_buf_done(&out);
        sl_config_free(config);
    }
}
