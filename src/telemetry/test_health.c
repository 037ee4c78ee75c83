/* Health: bodies, checks that fail, hang and come late, the library's own checks, paths, no memory. */
#include <sightline/health.h>

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "src/base/clock.h"
#include "src/base/str.h"
#include "src/telemetry/health_http.h"
#include "tests/harness/sl_test.h"

/* ---- bodies, with times made comparable ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Replaces times by T and response times by N. */
static char *normalise(char *json)
{
    char *to = json;
    for (const char *at = json; *at;) {
        if (is_digit(at[0]) && is_digit(at[1]) && strlen(at) > 24 && at[4] == '-' && at[10] == 'T' && at[23] == 'Z') {
            *to++ = 'T';
            at += 24;
        } else if (strncmp(at, "_time_ms\":", 10) == 0) {
            memmove(to, at, 10);
            to += 10;
            at += 10;
            *to++ = 'N';
            while (is_digit(*at))
                at++;
        } else {
            *to++ = *at++;
        }
    }
    *to = '\0';
    return json;
}

static void expect_report(const char *file, int line, sl_health *health, sl_health_report_kind kind,
                          sl_health_status status, const char *want)
{
    char *json = NULL;
    sl_health_status got = SL_HEALTHY;
    if (sl_health_report(health, kind, &json, &got) != 0) {
        sl_test_failed(file, line, "no report");
        return;
    }
    sl_test_check_eq(file, line, "status", got, status);
    sl_test_check_str(file, line, "report", sl_str_c(normalise(json)), sl_str_c(want));
    free(json);
}
#define EXPECT_REPORT(...) expect_report(__FILE__, __LINE__, __VA_ARGS__)

static void expect_answer(const char *file, int line, sl_health *health, const char *path, int status, const char *want)
{
    char *body = NULL;
    int got = 0;
    if (sl_health_answer(health, sl_str_c(path), &got, &body) != 0) {
        sl_test_failed(file, line, "no answer at %s", path);
        return;
    }
    sl_test_check_eq(file, line, path, got, status);
    sl_test_check_str(file, line, path, sl_str_c(normalise(body)), sl_str_c(want));
    free(body);
}
#define EXPECT_ANSWER(...) expect_answer(__FILE__, __LINE__, __VA_ARGS__)

/* ---- callbacks ---- */

typedef struct scripted {
    _Atomic int status; /* to return */
    _Atomic int runs;
    _Atomic unsigned sleep_ms;
    const char *reason;
} scripted;

static sl_health_status run_scripted(void *user, char *reason, size_t size)
{
    scripted *s = user;
    s->runs++;
    if (s->sleep_ms)
        usleep(s->sleep_ms * 1000);
    if (s->reason)
        snprintf(reason, size, "%s", s->reason);
    return (sl_health_status)s->status;
}

static bool eventually(sl_health *health, sl_health_status status)
{
    for (int i = 0; i < 300; i++) {
        if (sl_health_readiness(health) == status)
            return true;
        usleep(10000);
    }
    return false;
}

SL_TEST(health_of_nothing)
{
    sl_health *health = sl_health_new();
    REQUIRE(health != NULL);
    EXPECT_REPORT(health, SL_HEALTH_LIVE, SL_HEALTHY,
                  "{\"status\":\"healthy\",\"timestamp\":\"T\",\"checks\":{},\"message\":\"Application is alive\"}");
    EXPECT_REPORT(health, SL_HEALTH_ALL, SL_HEALTHY, "{\"status\":\"healthy\",\"timestamp\":\"T\",\"checks\":{}}");
    EXPECT_REPORT(health, SL_HEALTH_READY, SL_HEALTHY, "{\"status\":\"healthy\",\"timestamp\":\"T\",\"checks\":{}}");
    char *json = NULL;
    CHECK_EQ(sl_health_report(NULL, SL_HEALTH_READY, &json, NULL), SL_EINVAL);
    CHECK_EQ(sl_health_report(health, SL_HEALTH_READY, NULL, NULL), SL_EINVAL);
    CHECK_EQ(sl_health_readiness(NULL), SL_HEALTHY);
    sl_health_remove(health, "none");
    sl_health_free(health);
    sl_health_free(NULL);
}

SL_TEST(health_body_is_the_sample)
{
    scripted a = {SL_HEALTHY, 0, 0, "not shown"}, b = {SL_HEALTHY, 0, 0, NULL};
    sl_health *health = sl_health_new();
    REQUIRE(health != NULL);
    CHECK_EQ(sl_health_add(health, "memory", run_scripted, &a, NULL), 0);
    CHECK_EQ(sl_health_add(health, "database", run_scripted, &b, NULL), 0);
    EXPECT_REPORT(health, SL_HEALTH_ALL, SL_HEALTHY,
                  "{\"status\":\"healthy\",\"timestamp\":\"T\",\"checks\":{"
                  "\"memory\":{\"status\":\"healthy\",\"response_time_ms\":N,\"last_check\":\"T\"},"
                  "\"database\":{\"status\":\"healthy\",\"response_time_ms\":N,\"last_check\":\"T\"}}}");
    sl_health_remove(health, "memory");
    EXPECT_REPORT(health, SL_HEALTH_READY, SL_HEALTHY,
                  "{\"status\":\"healthy\",\"timestamp\":\"T\",\"checks\":{"
                  "\"database\":{\"status\":\"healthy\",\"response_time_ms\":N,\"last_check\":\"T\"}}}");
    sl_health_free(health);
}

SL_TEST(health_is_the_worst_of_its_checks)
{
    scripted a = {SL_HEALTHY, 0, 0, NULL}, b = {SL_DEGRADED, 0, 0, "slow \"disk\""}, c = {SL_UNHEALTHY, 0, 0, "gone"};
    sl_health_check_options quick = {0, 20, false}, shown = {0, 20, true};
    sl_health *health = sl_health_new();
    CHECK_EQ(sl_health_add(health, "a", run_scripted, &a, &quick), 0);
    CHECK_EQ(sl_health_readiness(health), SL_HEALTHY);
    CHECK_EQ(sl_health_add(health, "b", run_scripted, &b, &quick), 0);
    CHECK_EQ(sl_health_readiness(health), SL_DEGRADED);
    EXPECT_ANSWER(health, "/ready", 200,
                  "{\"status\":\"degraded\",\"timestamp\":\"T\",\"checks\":{"
                  "\"a\":{\"status\":\"healthy\",\"response_time_ms\":N,\"last_check\":\"T\"},"
                  "\"b\":{\"status\":\"degraded\",\"response_time_ms\":N,\"error\":\"slow \\\"disk\\\"\","
                  "\"last_check\":\"T\"}}}");
    sl_health_remove(health, "a");
    sl_health_remove(health, "b");
    /* One that is only shown. */
    CHECK_EQ(sl_health_add(health, "c", run_scripted, &c, &shown), 0);
    EXPECT_ANSWER(health, "/health", 200,
                  "{\"status\":\"healthy\",\"timestamp\":\"T\",\"checks\":{"
                  "\"c\":{\"status\":\"unhealthy\",\"response_time_ms\":N,\"error\":\"gone\",\"last_check\":\"T\"}}}");
    sl_health_remove(health, "c");
    CHECK_EQ(sl_health_add(health, "c", run_scripted, &c, &quick), 0);
    CHECK_EQ(sl_health_readiness(health), SL_UNHEALTHY);
    /* It is run again, and recovers. */
    c.status = SL_HEALTHY;
    CHECK(eventually(health, SL_HEALTHY));
    c.status = 77; /* nonsense is no health */
    CHECK(eventually(health, SL_UNHEALTHY));
    CHECK(c.runs > 2);
    sl_health_free(health);
}

SL_TEST(health_refuses)
{
    scripted a = {SL_HEALTHY, 0, 0, NULL};
    sl_health *health = sl_health_new();
    char long_name[200], name[16];
    memset(long_name, 'n', sizeof long_name - 1);
    long_name[sizeof long_name - 1] = '\0';
    CHECK_EQ(sl_health_add(NULL, "a", run_scripted, &a, NULL), SL_EINVAL);
    CHECK_EQ(sl_health_add(health, NULL, run_scripted, &a, NULL), SL_EINVAL);
    CHECK_EQ(sl_health_add(health, "", run_scripted, &a, NULL), SL_EINVAL);
    CHECK_EQ(sl_health_add(health, long_name, run_scripted, &a, NULL), SL_EINVAL);
    CHECK_EQ(sl_health_add(health, "a", NULL, &a, NULL), SL_EINVAL);
    CHECK_EQ(sl_health_add_memory(health, "m", 0, NULL), SL_EINVAL);
    CHECK_EQ(sl_health_add_http(health, "h", "nonsense", NULL), SL_EINVAL);
    CHECK_EQ(sl_health_add_http(health, "h", "https://localhost/", NULL), SL_ENOTSUP);
    CHECK_EQ(sl_health_add_tcp(health, "t", "localhost", NULL), SL_EINVAL);
    CHECK_EQ(sl_health_add_tcp(health, "t", NULL, NULL), SL_EINVAL);
    CHECK_EQ(sl_health_add_disk(health, "d", "", 1, NULL), SL_EINVAL);
    for (int i = 0; i < 64; i++) {
        snprintf(name, sizeof name, "c%d", i);
        CHECK_EQ(sl_health_add(health, name, run_scripted, &a, NULL), 0);
    }
    CHECK_EQ(sl_health_add(health, "c5", run_scripted, &a, NULL), SL_EEXIST);
    CHECK_EQ(sl_health_add_memory(health, "c5", 1, NULL), SL_EEXIST);
    CHECK_EQ(sl_health_add(health, "more", run_scripted, &a, NULL), SL_ELIMIT);
    CHECK_EQ(sl_health_readiness(health), SL_HEALTHY);
    sl_health_free(health);
}

/* ---- checks that hang ---- */

typedef struct gate {
    pthread_mutex_t lock;
    pthread_cond_t open_cond;
    bool open;
    _Atomic int runs;
} gate;

static sl_health_status wait_at_gate(void *user, char *reason, size_t size)
{
    gate *g = user;
    (void)reason, (void)size;
    g->runs++;
    pthread_mutex_lock(&g->lock);
    while (!g->open)
        pthread_cond_wait(&g->open_cond, &g->lock);
    pthread_mutex_unlock(&g->lock);
    return SL_HEALTHY;
}

static void open_gate(gate *g)
{
    pthread_mutex_lock(&g->lock);
    g->open = true;
    pthread_cond_broadcast(&g->open_cond);
    pthread_mutex_unlock(&g->lock);
}

static gate first_gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0};
static gate second_gate = {PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false, 0};

SL_TEST(health_is_not_held_up_by_a_hanging_check)
{
    scripted good = {SL_HEALTHY, 0, 0, NULL};
    sl_health_check_options options = {100, 20, false};
    sl_health *health = sl_health_new();
    CHECK_EQ(sl_health_add(health, "good", run_scripted, &good, &options), 0);
    CHECK_EQ(sl_health_add(health, "hangs", wait_at_gate, &first_gate, &options), 0);
    usleep(250000);
    uint64_t before = sl_mono_ns();
    for (int i = 0; i < 100; i++) {
        char *json = NULL;
        CHECK_EQ(sl_health_report(health, SL_HEALTH_ALL, &json, NULL), 0);
        free(json);
    }
    CHECK(sl_mono_ns() - before < 1000000000u);
    EXPECT_ANSWER(health, "/health/ready", 503,
                  "{\"status\":\"unhealthy\",\"timestamp\":\"T\",\"checks\":{"
                  "\"good\":{\"status\":\"healthy\",\"response_time_ms\":N,\"last_check\":\"T\"},"
                  "\"hangs\":{\"status\":\"unhealthy\",\"response_time_ms\":N,\"error\":\"no answer within 100 ms\","
                  "\"last_check\":\"T\"}}}");
    EXPECT_ANSWER(health, "/health/live", 200,
                  "{\"status\":\"healthy\",\"timestamp\":\"T\",\"checks\":{},\"message\":\"Application is alive\"}");
    CHECK_EQ(first_gate.runs, 1); /* not started again before it returns */
    CHECK(good.runs > 3);
    /* It comes back late, which is still unhealthy, then in time. */
    open_gate(&first_gate);
    CHECK(eventually(health, SL_HEALTHY));
    sl_health_free(health);
}

SL_TEST(health_leaves_a_hanging_check_behind)
{
    sl_health_check_options options = {50, 20, false};
    sl_health *health = sl_health_new();
    CHECK_EQ(sl_health_add(health, "hangs", wait_at_gate, &second_gate, &options), 0);
    EXPECT_REPORT(health, SL_HEALTH_READY, SL_UNHEALTHY,
                  "{\"status\":\"unhealthy\",\"timestamp\":\"T\",\"checks\":{"
                  "\"hangs\":{\"status\":\"unhealthy\",\"response_time_ms\":N,\"error\":\"no answer within 50 ms\","
                  "\"last_check\":\"T\"}}}");
    uint64_t before = sl_mono_ns();
    sl_health_free(health);
    CHECK(sl_mono_ns() - before < 3000000000u);
    size_t live = sl_test_live_blocks();
    open_gate(&second_gate);
    for (int i = 0; i < 300 && sl_test_live_blocks() >= live; i++)
        usleep(10000);
    CHECK(sl_test_live_blocks() < live); /* it went with its thread */
}

SL_TEST(health_shows_what_is_not_checked_yet)
{
    scripted slow = {SL_HEALTHY, 0, 300, NULL};
    sl_health *health = sl_health_new();
    CHECK_EQ(sl_health_add(health, "slow", run_scripted, &slow, NULL), 0);
    EXPECT_REPORT(health, SL_HEALTH_READY, SL_UNHEALTHY,
                  "{\"status\":\"unhealthy\",\"timestamp\":\"T\",\"checks\":{"
                  "\"slow\":{\"status\":\"unhealthy\",\"error\":\"not checked yet\",\"last_check\":\"T\"}}}");
    CHECK(eventually(health, SL_HEALTHY));
    sl_health_free(health);
}

static sl_health_status long_reason(void *user, char *reason, size_t size)
{
    (void)user;
    for (size_t i = 0; i + 1 < size; i++)
        reason[i] = i % 2 ? '\xA4' : '\xC3';
    reason[size - 1] = '\0';
    return SL_UNHEALTHY;
}

/* A reason that is cut to its room must not end in half a character, which would be shown as U+FFFD. */
SL_TEST(health_reasons_are_cut_between_characters)
{
    sl_health *health = sl_health_new();
    REQUIRE(health != NULL);
    char text[600] = "xx", *json = NULL;
    for (size_t i = 2; i + 2 < sizeof text; i += 2)
        memcpy(text + i, "\xC3\xA4", 2);
    sl_health_set_ready(health, false, text);
    CHECK_EQ(sl_health_add(health, "long", long_reason, NULL, NULL), 0);
    CHECK_EQ(sl_health_report(health, SL_HEALTH_READY, &json, NULL), 0);
    CHECK(json && strstr(json, "\xC3\xA4\"") && !strstr(json, "\xEF\xBF\xBD"));
    free(json);
    sl_health_free(health);
}

/* ---- readiness and paths ---- */

SL_TEST(health_paths)
{
    sl_health *health = sl_health_new();
    EXPECT_ANSWER(health, "/health/liveliness", 200, "\"I'm alive!\"");
    EXPECT_ANSWER(health, "/health/liveness", 200, "\"I'm alive!\"");
    char want[256];
    snprintf(want, sizeof want,
             "{\"status\":\"healthy\",\"db\":\"Not connected\",\"cache\":null,\"litellm_version\":\"%s\","
             "\"success_callbacks\":[],\"last_updated\":\"T\"}",
             sl_version());
    EXPECT_ANSWER(health, "/health/readiness", 200, want);
    sl_health_set_ready(health, false, "draining");
    EXPECT_ANSWER(health, "/health/ready", 503,
                  "{\"status\":\"unhealthy\",\"timestamp\":\"T\",\"checks\":{},\"message\":\"draining\"}");
    EXPECT_ANSWER(health, "/ready", 503,
                  "{\"status\":\"unhealthy\",\"timestamp\":\"T\",\"checks\":{},\"message\":\"draining\"}");
    EXPECT_ANSWER(health, "/health", 200, "{\"status\":\"healthy\",\"timestamp\":\"T\",\"checks\":{}}");
    EXPECT_ANSWER(health, "/health/liveliness", 200, "\"I'm alive!\"");
    snprintf(want, sizeof want,
             "{\"status\":\"unhealthy\",\"db\":\"Not connected\",\"cache\":null,\"litellm_version\":\"%s\","
             "\"success_callbacks\":[],\"last_updated\":\"T\"}",
             sl_version());
    EXPECT_ANSWER(health, "/health/readiness", 503, want);
    sl_health_set_ready(health, false, NULL);
    EXPECT_ANSWER(health, "/ready", 503,
                  "{\"status\":\"unhealthy\",\"timestamp\":\"T\",\"checks\":{},\"message\":\"not ready\"}");
    sl_health_set_ready(health, true, "ignored");
    EXPECT_ANSWER(health, "/ready", 200, "{\"status\":\"healthy\",\"timestamp\":\"T\",\"checks\":{}}");
    sl_health_set_ready(NULL, true, NULL);
    static const char *const others[] = {"", "/", "/healthz", "/health/", "/health/live/", "/ready/x", "/HEALTH"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        int status = 7;
        char *body = NULL;
        CHECK_EQ(sl_health_answer(health, sl_str_c(others[i]), &status, &body), SL_ENOENT);
        CHECK_EQ(status, 7);
    }
    sl_health_free(health);
}

/* ---- the library's own checks ---- */

SL_TEST(health_checks_memory_and_disk)
{
    sl_health_check_options options = {0, 20, false};
    sl_health *health = sl_health_new();
    CHECK_EQ(sl_health_add_memory(health, "memory", 1ull << 50, &options), 0);
    CHECK_EQ(sl_health_add_disk(health, "disk", "/tmp", 1, &options), 0);
    CHECK_EQ(sl_health_readiness(health), SL_HEALTHY);
    CHECK_EQ(sl_health_add_memory(health, "little", 4096, &options), 0);
    CHECK_EQ(sl_health_readiness(health), SL_UNHEALTHY);
    char *json = NULL;
    CHECK_EQ(sl_health_report(health, SL_HEALTH_ALL, &json, NULL), 0);
    CHECK(strstr(json, "is above the limit of 0.0 MiB") != NULL);
    free(json);
    sl_health_remove(health, "little");
    CHECK_EQ(sl_health_add_disk(health, "full", "/tmp", UINT64_MAX, &options), 0);
    CHECK_EQ(sl_health_readiness(health), SL_UNHEALTHY);
    sl_health_remove(health, "full");
    CHECK_EQ(sl_health_add_disk(health, "none", "/no/such/path", 1, &options), 0);
    CHECK_EQ(sl_health_report(health, SL_HEALTH_ALL, &json, NULL), 0);
    CHECK(strstr(json, "No such file") != NULL);
    free(json);
    sl_health_free(health);
}

static void teapot(void *user, const sl_ctl_request *request, sl_ctl_response *response)
{
    (void)user, (void)request;
    response->status = 418;
}

static void redirects(void *user, const sl_ctl_request *request, sl_ctl_response *response)
{
    (void)user, (void)request;
    response->status = 302;
}

/* A listening socket on loopback. */
static int listener(uint16_t *ret_port)
{
    struct sockaddr_in at;
    socklen_t len = sizeof at;
    memset(&at, 0, sizeof at);
    at.sin_family = AF_INET;
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 8) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &len) != 0)
        return -1;
    *ret_port = ntohs(at.sin_port);
    return fd;
}

/* The report once it has this in it; what it is after ten seconds if it never has: a busy machine takes its time. */
static char *report_with(sl_health *health, const char *text, sl_health_status *ret_status)
{
    for (int i = 0; i < 1000; i++) {
        char *json = NULL;
        if (sl_health_report(health, SL_HEALTH_READY, &json, ret_status) != 0)
            return NULL;
        if (strstr(json, text) || i == 999)
            return json;
        free(json);
        usleep(10000);
    }
    return NULL;
}

SL_TEST(health_counts_late_answers_as_unhealthy)
{
    scripted late = {SL_HEALTHY, 0, 80, NULL};
    sl_health_check_options options = {30, 10000, false};
    sl_health *health = sl_health_new();
    sl_health_status status = SL_HEALTHY;
    CHECK_EQ(sl_health_add(health, "late", run_scripted, &late, &options), 0);
    char *json = report_with(health, "more than its timeout of 30 ms", &status);
    CHECK(json && strstr(json, "more than its timeout of 30 ms") != NULL);
    CHECK_EQ(status, SL_UNHEALTHY);
    free(json);
    sl_health_free(health);
}

static void expect_one(const char *file, int line, sl_health *health, sl_health_status status, const char *reason)
{
    sl_health_status got = SL_HEALTHY;
    char *json = report_with(health, reason, &got);
    if (!json)
        return;
    sl_test_check_eq(file, line, "status", got, status);
    if (!strstr(json, reason))
        sl_test_failed(file, line, "no \"%s\" in %s", reason, json);
    free(json);
    sl_health_remove(health, "x");
}
#define EXPECT_ONE(...) expect_one(__FILE__, __LINE__, __VA_ARGS__)

SL_TEST(health_checks_http_and_tcp)
{
    sl_ctl_route routes[SL_HEALTH_ROUTES + 2];
    sl_health *served = sl_health_new(), *health = sl_health_new();
    sl_health_check_options options = {10000, 10000, false}, hasty = {80, 10000, false};
    uint16_t port = 0, dumb_port = 0;
    char url[64];
    sl_health_routes(served, routes);
    routes[SL_HEALTH_ROUTES] = (sl_ctl_route){"/teapot", 0, teapot, NULL};
    routes[SL_HEALTH_ROUTES + 1] = (sl_ctl_route){"/redirects", 0, redirects, NULL};
    sl_ctl_server *server = sl_ctl_server_new(NULL);
    REQUIRE(server && sl_ctl_server_add(server, listener(&port), routes, SL_HEALTH_ROUTES + 2) == 0);
    REQUIRE(sl_ctl_server_start(server) == 0);
    int dumb = listener(&dumb_port);

    snprintf(url, sizeof url, "http://127.0.0.1:%u/health/ready", port);
    CHECK_EQ(sl_health_add_http(health, "x", url, &options), 0);
    EXPECT_ONE(health, SL_HEALTHY, "\"status\":\"healthy\"");
    sl_health_set_ready(served, false, NULL);
    CHECK_EQ(sl_health_add_http(health, "x", url, &options), 0);
    EXPECT_ONE(health, SL_DEGRADED, "answered with status 503");
    snprintf(url, sizeof url, "http://127.0.0.1:%u/teapot", port);
    CHECK_EQ(sl_health_add_http(health, "x", url, &options), 0);
    EXPECT_ONE(health, SL_DEGRADED, "answered with status 418");
    snprintf(url, sizeof url, "http://127.0.0.1:%u/redirects", port);
    CHECK_EQ(sl_health_add_http(health, "x", url, &options), 0);
    EXPECT_ONE(health, SL_DEGRADED, "answered with status 302");
    snprintf(url, sizeof url, "http://127.0.0.1:%u/", dumb_port);
    CHECK_EQ(sl_health_add_http(health, "x", url, &hasty), 0);
    EXPECT_ONE(health, SL_UNHEALTHY, "no answer within 80 ms");
    snprintf(url, sizeof url, "127.0.0.1:%u", dumb_port);
    CHECK_EQ(sl_health_add_tcp(health, "x", url, &options), 0);
    EXPECT_ONE(health, SL_HEALTHY, "\"status\":\"healthy\"");
    close(dumb);
    CHECK_EQ(sl_health_add_tcp(health, "x", url, &options), 0);
    EXPECT_ONE(health, SL_UNHEALTHY, "refused");
    snprintf(url, sizeof url, "http://127.0.0.1:%u/", dumb_port);
    CHECK_EQ(sl_health_add_http(health, "x", url, &options), 0);
    EXPECT_ONE(health, SL_UNHEALTHY, "refused");

    sl_health_free(health);
    sl_ctl_server_free(server);
    sl_health_free(served);
}

SL_TEST(health_survives_no_memory)
{
    for (long n = 0; n < 40; n++) {
        char *json = NULL;
        int status = 0;
        sl_test_fail_alloc(n);
        sl_health *health = sl_health_new();
        if (health) {
            int error = sl_health_add_memory(health, "m", 1ull << 50, NULL);
            CHECK(error == 0 || error == SL_ENOMEM);
            error = sl_health_add_http(health, "h", "http://127.0.0.1:1/", NULL);
            CHECK(error == 0 || error == SL_ENOMEM);
            error = sl_health_answer(health, SL_STR("/health"), &status, &json);
            CHECK(error == 0 || error == SL_ENOMEM);
            CHECK_EQ(error == 0, json != NULL);
        }
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        free(json);
        sl_health_free(health);
        if (!failed)
            break;
    }
}
