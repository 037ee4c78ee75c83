/* Deployment files of both generations, and what is wrong in them. */
#include "src/flow/deploy.h"

#include <stdio.h>
#include <stdlib.h>

#include "tests/harness/sl_test.h"

SL_TEST(both_generations_are_read)
{
    static const char *const texts[] = {
        "name: QuickStart\ndefault-service: wf\nservices:\n  wf: {name: Echo, source: {type: local, location: src}, "
        "import-path: 'src/wf:echo_workflow', env: {K: v}, python-dependencies: [a]}\n",
        "name: QuickStart\ncontrol-plane: {port: 8000}\nmessage-queue: {type: redis, host: r}\ndefault-service: wf\n"
        "services:\n  wf:\n    name: Echo\n    source: {type: local, name: src}\n    path: src/wf:echo_workflow\n    "
        "port: "
        "8002\n    host: 127.0.0.1\n"};
    for (size_t i = 0; i < 2; i++) {
        sl_deploy_file *file = NULL;
        REQUIRE(sl_deploy_parse(sl_str_c(texts[i]), &file) == 0);
        CHECK_STR(file->name, "QuickStart");
        CHECK_STR(file->default_service, "wf");
        REQUIRE(file->service_count == 1);
        CHECK_STR(file->services[0].id, "wf");
        CHECK_STR(file->services[0].name, "Echo");
        CHECK_STR(file->services[0].path, "src/wf:echo_workflow");
        CHECK_STR(file->services[0].location, "src");
        CHECK_EQ(file->services[0].kind, SL_SERVICE_WORKER);
        CHECK_EQ(file->services[0].port, i ? 8002 : 0);
        CHECK_EQ(file->memory->warning_count, 0);
        sl_deploy_free(file);
    }
}

SL_TEST(a_path_tells_the_kind)
{
    CHECK_EQ(sl_deploy_kind(SL_STR("flows/rag.yaml")), SL_SERVICE_WORKFLOW);
    CHECK_EQ(sl_deploy_kind(SL_STR("rag.yml")), SL_SERVICE_WORKFLOW);
    CHECK_EQ(sl_deploy_kind(SL_STR("rag.json")), SL_SERVICE_WORKFLOW);
    CHECK_EQ(sl_deploy_kind(SL_STR("http://127.0.0.1:9/x.json")), SL_SERVICE_HTTP);
    CHECK_EQ(sl_deploy_kind(SL_STR("https://a/b")), SL_SERVICE_HTTP);
    CHECK_EQ(sl_deploy_kind(SL_STR("src/wf:echo")), SL_SERVICE_WORKER);
    CHECK_EQ(sl_deploy_kind(SL_STR("")), SL_SERVICE_WORKER);
}

SL_TEST(faults_are_told_all_at_once_with_their_lines)
{
    static const struct {
        const char *text;
        size_t errors;
        unsigned line; /* of the first */
        const char *part;
    } rows[] = {
        {"", 1, 0, "not a deployment"},
        {"[]", 1, 1, "not a deployment"},
        {"name: a\n", 1, 0, "services"},
        {"name: a\nservices: {}\n", 1, 2, "services"},
        {"name: a\nservices: [b]\n", 1, 2, "services"},
        {"services: {a: {path: b}}\n", 1, 0, "name"},
        {"name: 'a b'\nservices: {'c/d': {path: b}}\n", 2, 1, "name"},
        {"name: a\nservices:\n  s: 5\n", 1, 3, "not a map"},
        {"name: a\nservices:\n  s: {path: b, port: 70000}\n", 1, 3, "port"},
        {"name: a\nservices:\n  s: {path: b, source: 5}\n", 1, 3, "source"},
        {"name: a\nservices:\n  s: {path: b, source: {type: ftp}}\n", 1, 3, "source.type"},
        {"name: a\nservices:\n  s: {path: b.yaml, source: {type: git}}\n", 1, 3, "read from this machine"},
        {"name: a\ndefault-service: t\nservices:\n  s: {path: b}\n", 1, 1, "default-service"},
        {"name: [a]\nservices:\n  s: {path: {}}\n", 3, 1, "name"},
        {"name: a\n  b: c\n", 1, 2, ""},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_deploy_file *file = NULL;
        CHECK_EQ(sl_deploy_parse(sl_str_c(rows[i].text), &file), SL_ECONFIG);
        REQUIRE(file != NULL);
        if (file->memory->error_count != rows[i].errors)
            sl_test_failed(__FILE__, __LINE__, "row %zu: %zu errors", i, file->memory->error_count);
        sl_buf out;
        sl_buf_init(&out, 1 << 16);
        CHECK_EQ(sl_config_format_diagnostics(file->memory, &out), 0);
        CHECK(sl_str_find(sl_buf_str(&out), sl_str_c(rows[i].part)) != SL_NPOS);
        sl_buf_done(&out);
        sl_deploy_free(file);
    }
}

SL_TEST(unknown_keys_and_the_ui_are_warnings)
{
    sl_deploy_file *file = NULL;
    REQUIRE(sl_deploy_parse(SL_STR("name: a\nfoo: 1\nui: {name: x}\nservices:\n  s: {path: b, bar: 2}\n"), &file) == 0);
    CHECK_EQ(file->memory->warning_count, 3);
    sl_deploy_free(file);
}

SL_TEST(too_large_too_many_and_no_memory)
{
    sl_deploy_file *file = NULL;
    char *big = malloc(SL_DEPLOY_MAX_BYTES + 1);
    REQUIRE(big != NULL);
    memset(big, '#', SL_DEPLOY_MAX_BYTES + 1);
    CHECK_EQ(sl_deploy_parse(sl_str_of(big, SL_DEPLOY_MAX_BYTES + 1), &file), SL_ETOOBIG);
    free(big);
    for (unsigned extra = 0; extra < 2; extra++) {
        char text[8192];
        size_t len = (size_t)snprintf(text, sizeof text, "name: a\nservices:\n");
        for (unsigned i = 0; i < SL_DEPLOY_MAX_SERVICES + extra; i++)
            len += (size_t)snprintf(text + len, sizeof text - len, "  s%u: {path: b}\n", i);
        CHECK_EQ(sl_deploy_parse(sl_str_of(text, len), &file), extra ? SL_ECONFIG : 0);
        CHECK_EQ(file->service_count, SL_DEPLOY_MAX_SERVICES);
        sl_deploy_free(file);
    }
    for (long n = 0;; n++) {
        sl_test_fail_alloc(n);
        int error = sl_deploy_parse(SL_STR("name: a\nservices:\n  s: {path: b, name: c}\n"), &file);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(error, failed ? SL_ENOMEM : 0);
        if (!error)
            sl_deploy_free(file);
        if (!failed || error != SL_ENOMEM)
            break;
    }
}
