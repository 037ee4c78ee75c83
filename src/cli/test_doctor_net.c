/* What `doctor` says of listeners: sound ones, those of somebody else, those that are not healthy, those that are off.
 */
#include "src/cli/doctor_net.h"

#include "src/base/mem.h"
#include "tests/harness/net_fixture.h"

/* One answer for each path; anything else is 404. */
typedef struct site {
    nf_server server;
    const char *const *answers; /* path, status line and fields, body; NULL ends */
    char seen[8][512];          /* heads of requests */
} site;

static void serve(nf_server *server, int fd, int number)
{
    site *s = server->user;
    nf_message m;
    (void)number;
    if (!nf_read_message(fd, true, false, &m))
        return;
    int nth = server->requests++;
    if (nth < 8)
        (void)snprintf(s->seen[nth], sizeof s->seen[nth], "%.500s", m.data);
    const char *head = "404 Not Found", *body = "{}";
    for (const char *const *a = s->answers; a && *a; a += 3) {
        size_t len = strlen(a[0]);
        const char *path = strchr(m.data, ' ') + 1;
        if (strncmp(path, a[0], len) == 0 && (path[len] == ' ' || path[len] == '?')) {
            head = a[1];
            body = a[2];
        }
    }
    char *text = malloc(strlen(body) + 512);
    (void)sprintf(text, "HTTP/1.1 %s\r\nContent-Length: %zu\r\nConnection: close\r\n\r\n%s", head, strlen(body), body);
    (void)nf_send_c(fd, text);
    free(text);
    nf_message_free(&m);
}

static bool has(const sl_doctor *doctor, sl_doctor_level level, const char *name, const char *text)
{
    for (size_t i = 0; i < doctor->count; i++) {
        const sl_doctor_row *row = &doctor->rows[i];
        if (row->level == level && sl_str_eq_c(row->name, name) && sl_str_find(row->seen, sl_str_c(text)) != SL_NPOS)
            return true;
    }
    return false;
}

static sl_doctor *doctor_new(void)
{
    sl_doctor *doctor = sl_calloc(1, sizeof *doctor);
    sl_doctor_init(doctor);
    return doctor;
}

static void doctor_free(sl_doctor *doctor)
{
    sl_doctor_done(doctor);
    sl_free(doctor);
}

#define JSON "200 OK\r\nContent-Type: application/json"
#define TEXT "200 OK\r\nContent-Type: text/plain; version=0.0.4"

SL_TEST(sound_listeners)
{
    static const char *const answers[] = {"/v1/models",
                                          JSON,
                                          "{\"object\":\"list\",\"data\":[{\"id\":\"a\"},{\"id\":\"b\"}]}",
                                          "/metrics",
                                          TEXT,
                                          "sightline_build_info{version=\"1\"} 1\n",
                                          "/health/ready",
                                          JSON,
                                          "{\"status\":\"healthy\",\"checks\":{}}",
                                          "/traces",
                                          JSON,
                                          "[{\"trace_id\":\"1\"}]",
                                          NULL};
    site s = {.answers = answers};
    nf_server_start(&s.server, serve, &s);
    char base[64];
    (void)snprintf(base, sizeof base, "http://127.0.0.1:%u", s.server.port);
    sl_doctor_targets targets = {.gateway = base,
                                 .metrics = base,
                                 .health = base,
                                 .admin = base,
                                 .key = SL_STR("sk-planted"),
                                 .timeout_ms = 5000};
    sl_doctor *doctor = doctor_new();
    sl_doctor_listeners(doctor, &targets);
    CHECK_EQ(doctor->count, 4);
    CHECK_EQ(doctor->failures, 0);
    CHECK(has(doctor, SL_DOCTOR_OK, "gateway", "answers and serves 2 models"));
    CHECK(has(doctor, SL_DOCTOR_OK, "metrics", "1 samples"));
    CHECK(has(doctor, SL_DOCTOR_OK, "health", "/health/ready is ready"));
    CHECK(has(doctor, SL_DOCTOR_OK, "admin", "recent traces are there"));
    /* The key goes to the gateway and to nobody else, and is not in the report. */
    CHECK_EQ(s.server.requests, 4);
    for (int i = 0; i < 4; i++)
        CHECK_EQ(strstr(s.seen[i], "sk-planted") != NULL, strstr(s.seen[i], "/v1/models") != NULL);
    for (size_t i = 0; i < doctor->count; i++)
        CHECK(sl_str_find(doctor->rows[i].seen, SL_STR("planted")) == SL_NPOS);
    doctor_free(doctor);
    nf_server_stop(&s.server);
}

/* The row that one listener gives for one answer. */
static void check_row(size_t number, const char *which, const char *const answers[4], const char *key,
                      sl_doctor_level level, const char *text)
{
    site s = {.answers = answers};
    nf_server_start(&s.server, serve, &s);
    char base[64];
    (void)snprintf(base, sizeof base, "http://127.0.0.1:%u", s.server.port);
    sl_doctor_targets targets = {.key = sl_str_c(key), .timeout_ms = 5000};
    if (strcmp(which, "gateway") == 0)
        targets.gateway = base;
    else if (strcmp(which, "metrics") == 0)
        targets.metrics = base;
    else if (strcmp(which, "health") == 0)
        targets.health = base;
    else
        targets.admin = base;
    sl_doctor *doctor = doctor_new();
    sl_doctor_listeners(doctor, &targets);
    if (!has(doctor, level, which, text)) {
        for (size_t i = 0; i < doctor->count; i++)
            sl_test_failed(__FILE__, __LINE__, "row %zu: %.*s: %.*s", number, (int)doctor->rows[i].name.len,
                           doctor->rows[i].name.ptr, (int)doctor->rows[i].seen.len, doctor->rows[i].seen.ptr);
    }
    doctor_free(doctor);
    nf_server_stop(&s.server);
}

SL_TEST(listeners_with_one_fault)
{
    static const struct {
        const char *which, *path, *head, *body;
        const char *key;
        sl_doctor_level level;
        const char *text;
    } rows[] = {
        {"gateway", "/v1/models", "401 No", "{\"error\":{}}", "k", SL_DOCTOR_WARN, "refuses the key (set)"},
        {"gateway", "/v1/models", "401 No", "{\"error\":{}}", "", SL_DOCTOR_WARN, "refuses the key (not set)"},
        {"gateway", "/v1/models", "401 No", "<html>", "k", SL_DOCTOR_FAIL, "status 401 and no list of models"},
        {"gateway", "/v1/models", JSON, "[]", "k", SL_DOCTOR_FAIL, "status 200 and no list of models"},
        {"gateway", "/v1/models", JSON, "{\"data\":{}}", "k", SL_DOCTOR_FAIL, "no list of models"},
        {"gateway", "/v1/models", JSON, "{\"data\":[", "k", SL_DOCTOR_FAIL, "no list of models"},
        {"gateway", "/v1/models", JSON, "{\"data\":[]}", "k", SL_DOCTOR_OK, "serves 0 models"},
        {"gateway", "/other", JSON, "", "k", SL_DOCTOR_FAIL, "status 404"},
        {"metrics", "/metrics", "503 Busy\r\nContent-Type: text/plain", "", "", SL_DOCTOR_FAIL, "status 503"},
        {"metrics", "/metrics", "200 OK\r\nContent-Type: text/html", "<html>\n", "", SL_DOCTOR_FAIL, "no page"},
        {"metrics", "/metrics", TEXT, "up 1\n", "", SL_DOCTOR_WARN, "not with Sightline's metrics"},
        {"health", "/health/ready", JSON, "ok", "", SL_DOCTOR_FAIL, "status 200 and no health report"},
        {"health", "/health/ready", JSON, "{\"status\":1}", "", SL_DOCTOR_FAIL, "no health report"},
        {"health", "/other", JSON, "", "", SL_DOCTOR_FAIL, "status 404 and no health report"},
        {"health", "/health/ready", "503 No", "{\"status\":\"unhealthy\"}", "", SL_DOCTOR_FAIL, ": not ready"},
        {"health", "/health/ready", "503 No", "{\"status\":\"unhealthy\",\"checks\":{}}", "", SL_DOCTOR_FAIL,
         ": not ready"},
        {"health", "/health/ready", "503 No", "{\"status\":\"unhealthy\",\"checks\":{\"a\":{\"status\":\"healthy\"}}}",
         "", SL_DOCTOR_FAIL, ": not ready"},
        {"health", "/health/ready", "503 No", "{\"status\":\"unhealthy\",\"checks\":{\"a\":{\"status\":3},\"b\":[]}}",
         "", SL_DOCTOR_FAIL, ": not ready"},
        {"health", "/health/ready", "503 No",
         "{\"status\":\"unhealthy\",\"checks\":{\"disk\":{\"status\":\"unhealthy\"},\"a\":{\"status\":\"healthy\"}}}",
         "", SL_DOCTOR_FAIL, ": disk is unhealthy"},
        {"health", "/health/ready", "503 No",
         "{\"status\":\"unhealthy\",\"checks\":{\"disk\":{\"status\":\"unhealthy\"},\"redis\":{\"status\":\"degraded\"}"
         "}}",
         "", SL_DOCTOR_FAIL, ": redis is degraded"},
        {"admin", "/traces", JSON, "[]", "", SL_DOCTOR_OK, "no trace yet, send a request"},
        {"admin", "/traces", JSON, "{}", "", SL_DOCTOR_FAIL, "no list of traces"},
        {"admin", "/traces", "500 Oops", "[]", "", SL_DOCTOR_FAIL, "status 500"},
        {"admin", "/other", JSON, "[]", "", SL_DOCTOR_FAIL, "status 404"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const char *const answers[4] = {rows[i].path, rows[i].head, rows[i].body, NULL};
        check_row(i, rows[i].which, answers, rows[i].key, rows[i].level, rows[i].text);
    }
}

SL_TEST(listeners_that_are_off_and_nobody_s)
{
    uint16_t port;
    int fd = nf_listen(&port);
    char base[64];
    (void)snprintf(base, sizeof base, "http://127.0.0.1:%u", port);
    close(fd);
    sl_doctor *doctor = doctor_new();
    sl_doctor_targets targets = {.gateway = base, .metrics = "", .health = base, .timeout_ms = 2000};
    sl_doctor_listeners(doctor, &targets);
    CHECK_EQ(doctor->count, 4);
    CHECK_EQ(doctor->failures, 2);
    CHECK(has(doctor, SL_DOCTOR_WARN, "metrics", "is off"));
    CHECK(has(doctor, SL_DOCTOR_WARN, "admin", "is off"));
    CHECK(has(doctor, SL_DOCTOR_FAIL, "gateway", "127.0.0.1"));
    CHECK(has(doctor, SL_DOCTOR_FAIL, "health", "127.0.0.1"));
    CHECK(sl_str_find(doctor->rows[0].remedy, SL_STR("start `sightline up`")) != SL_NPOS);
    doctor_free(doctor);
}

/* What a listener that hangs costs is the time that was allowed, once for each row. */
static void hang(nf_server *server, int fd, int number)
{
    char bytes[512];
    (void)server;
    (void)number;
    while (read(fd, bytes, sizeof bytes) > 0)
        ;
}

SL_TEST(listeners_that_hang)
{
    nf_server s;
    nf_server_start(&s, hang, NULL);
    char base[64];
    (void)snprintf(base, sizeof base, "http://127.0.0.1:%u", s.port);
    sl_doctor_targets targets = {.gateway = base, .metrics = base, .health = base, .admin = base, .timeout_ms = 100};
    sl_doctor *doctor = doctor_new();
    uint64_t before = sl_mono_ns();
    sl_doctor_listeners(doctor, &targets);
    CHECK(sl_mono_ns() - before < 5000u * 1000000u);
    CHECK_EQ(doctor->failures, 4);
    doctor_free(doctor);
    nf_server_stop(&s);
}

SL_TEST(names_too_long_and_pages_too_large)
{
    char reason[SL_DOCTOR_REASON_MAX] = "", *name = malloc(5000);
    memset(name, 'a', 5000);
    CHECK_EQ(sl_doctor_connect(sl_str_of(name, 5000), 80, 1000, reason), SL_ERESOLVE);
    CHECK(strstr(reason, "too long") != NULL);
    free(name);
    enum { LINES = 500002 };
    char *page = malloc(LINES * 16), *at = page;
    for (int i = 0; i < LINES; i++)
        at += sprintf(at, "m%d 1\n", i);
    sl_doctor *doctor = doctor_new();
    sl_doctor_metrics_page(doctor, "u", SL_STR("text/plain"), sl_str_of(page, (size_t)(at - page)));
    CHECK_EQ(doctor->count, 1);
    CHECK(has(doctor, SL_DOCTOR_FAIL, "metrics", "too large"));
    doctor_free(doctor);
    free(page);
}
