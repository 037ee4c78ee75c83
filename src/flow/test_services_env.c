/* Services from the environment: each variable, what wins, faults, failing memory. */
#include "src/flow/services_env.h"

#include <stdlib.h>

#include "tests/harness/sl_test.h"

static const char *const names[] = {
    "SIGHTLINE_STEP_FILE_ROOT", "SIGHTLINE_STEP_EXEC", "SIGHTLINE_STEP_HOSTS", "SIGHTLINE_WEBHOOKS",
    "SIGHTLINE_WEBHOOK_SECRET", "QDRANT_URL",          "QDRANT_API_KEY",       "PGVECTOR_URL"};

static void clear(void)
{
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        (void)unsetenv(names[i]);
}

static void set_all(void)
{
    (void)setenv("SIGHTLINE_STEP_FILE_ROOT", "/tmp", 1);
    (void)setenv("SIGHTLINE_STEP_EXEC", "/usr/bin/jq,,/bin/cat", 1);
    (void)setenv("SIGHTLINE_STEP_HOSTS", "api.example.com,*.internal:8080", 1);
    (void)setenv("SIGHTLINE_WEBHOOKS", "publish=https://h/p?a=b  queue_review=http://h:81/", 1);
    (void)setenv("SIGHTLINE_WEBHOOK_SECRET", "s", 1);
    (void)setenv("QDRANT_URL", "http://127.0.0.1:6333", 1);
    (void)setenv("QDRANT_API_KEY", "k", 1);
    (void)setenv("PGVECTOR_URL", "postgres://u@127.0.0.1/d", 1);
}

SL_TEST(nothing_set)
{
    static sl_flow_services s;
    char reason[SL_SERVICES_REASON];
    clear();
    CHECK_EQ(sl_flow_services_from_env(&s, reason), 0);
    CHECK(!s.file_root && !s.exec_allowed_count && !s.http_allowed_count && !s.webhook_count && !s.qdrant_url);
    CHECK(!s.pgvector);
    sl_flow_services_done(&s);
    sl_flow_services_done(&s);
}

SL_TEST(everything_set)
{
    static sl_flow_services s;
    char reason[SL_SERVICES_REASON];
    set_all();
    CHECK_EQ(sl_flow_services_from_env(&s, reason), 0);
    clear(); /* copies were taken */
    CHECK_STR(sl_str_c(s.file_root), "/tmp");
    CHECK_EQ(s.exec_allowed_count, 2);
    CHECK_STR(sl_str_c(s.exec_allowed[1]), "/bin/cat");
    CHECK_EQ(s.http_allowed_count, 2);
    CHECK_STR(sl_str_c(s.http_allowed[1]), "*.internal:8080");
    CHECK_EQ(s.webhook_count, 2);
    CHECK_STR(sl_str_c(s.webhooks[0].name), "publish");
    CHECK_STR(sl_str_c(s.webhooks[0].url), "https://h/p?a=b");
    CHECK_STR(sl_str_c(s.webhooks[1].url), "http://h:81/");
    CHECK_STR(sl_str_c(s.webhooks[1].secret), "s");
    CHECK_STR(sl_str_c(s.qdrant_url), "http://127.0.0.1:6333");
    CHECK_STR(sl_str_c(s.qdrant_key), "k");
    CHECK(s.pgvector != NULL);
    sl_flow_services_done(&s);
    CHECK(!s.pgvector);
}

SL_TEST(options_win)
{
    static sl_flow_services s = {.file_root = "/mine", .exec_allowed = {"/bin/mine"}, .exec_allowed_count = 1};
    char reason[SL_SERVICES_REASON];
    set_all();
    CHECK_EQ(sl_flow_services_from_env(&s, reason), 0);
    clear();
    CHECK_STR(sl_str_c(s.file_root), "/mine");
    CHECK_EQ(s.exec_allowed_count, 1);
    CHECK_STR(sl_str_c(s.exec_allowed[0]), "/bin/mine");
    CHECK_EQ(s.http_allowed_count, 2);
    sl_flow_services_done(&s);
}

SL_TEST(faults_are_named)
{
    static const char *const bad[][3] = {
        {"SIGHTLINE_STEP_FILE_ROOT", "/dev/null", "is no folder"},
        {"SIGHTLINE_STEP_EXEC", "jq", "no absolute path"},
        {"SIGHTLINE_STEP_HOSTS", ",", "names no host"},
        {"SIGHTLINE_WEBHOOKS", "publish", "not NAME=URL"},
        {"SIGHTLINE_WEBHOOKS", "=http://h/", "not NAME=URL"},
        {"SIGHTLINE_WEBHOOKS", "a/b=http://h/", "not NAME=URL"},
        {"SIGHTLINE_WEBHOOKS", "publish=ftp://h/", "not NAME=URL"},
        {"QDRANT_URL", "localhost:6333", "is no URL"},
        {"PGVECTOR_URL", "localhost", "is no connection string"},
        {"PGVECTOR_URL", "mysql://h/d?a=b", "is no connection string"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        sl_flow_services s = {0};
        char reason[SL_SERVICES_REASON];
        clear();
        (void)setenv(bad[i][0], bad[i][1], 1);
        CHECK_EQ(sl_flow_services_from_env(&s, reason), SL_ECONFIG);
        CHECK(strstr(reason, bad[i][0]) && strstr(reason, bad[i][2]));
        sl_flow_services_done(&s);
    }
    char many[400] = "";
    for (int i = 0; i < 65; i++)
        (void)strcat(many, "/a,");
    sl_flow_services s = {0};
    char reason[SL_SERVICES_REASON];
    clear();
    (void)setenv("SIGHTLINE_STEP_EXEC", many, 1);
    CHECK_EQ(sl_flow_services_from_env(&s, reason), SL_ECONFIG);
    CHECK(strstr(reason, "more than 64 entries") != NULL);
    sl_flow_services_done(&s);
    clear();
}

SL_TEST(a_connection_string_is_fine)
{
    static const char *const good[] = {"postgresql://h/d", "host=h dbname=d", "service=x"};
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        sl_flow_services s = {0};
        char reason[SL_SERVICES_REASON];
        clear();
        (void)setenv("PGVECTOR_URL", good[i], 1);
        CHECK_EQ(sl_flow_services_from_env(&s, reason), 0);
        CHECK(s.pgvector != NULL);
        sl_flow_services_done(&s);
    }
    clear();
}

SL_TEST(memory_runs_out)
{
    bool failed = true;
    set_all();
    for (long n = 0; failed; n++) {
        sl_flow_services s = {0};
        char reason[SL_SERVICES_REASON];
        sl_test_fail_alloc(n);
        int error = sl_flow_services_from_env(&s, reason);
        failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK_EQ(error, failed ? SL_ENOMEM : 0);
        sl_flow_services_done(&s);
    }
    clear();
}
