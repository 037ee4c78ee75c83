/* Rows into Qdrant: ids of points, bodies, what is asked of a server in which order, and what it says. */
#include "src/cli/qdrant_load.h"

#include <stdio.h>
#include <stdlib.h>

#include "src/base/mem.h"
#include "tests/harness/net_fixture.h"

#define UUID_A "c1672095-6ccc-51ae-88e1-949d27667060"
#define UUID_07 "a60e0ea5-9cc1-56bf-809d-d00b6f533e91"
#define UUID_S_7 "9d08b244-4950-5712-a204-bd4bf8b8a59a"
#define UUID_S_1 "eb94aeed-948d-56e2-9364-34c9d1849ad0"

static const float two[2] = {1, -0.5f};

static sl_vector_row row_of(const char *space, const char *id, const char *metadata)
{
    return (sl_vector_row){sl_str_c(space), sl_str_c(id), two, 2, sl_str_c(metadata)};
}

/* What Python's uuid.uuid5(uuid.NAMESPACE_OID, NAMESPACE + "\0" + ID) gives. */
SL_TEST(ids_of_points)
{
    static const struct {
        const char *space, *id, *wanted; /* JSON */
        bool own;
    } cases[] = {{"", "7", "7", true},
                 {"", "0", "0", true},
                 {"", "9223372036854775807", "9223372036854775807", true},
                 {"", "3f2504e0-4f89-11d3-9a0c-0305e82c3301", "\"3f2504e0-4f89-11d3-9a0c-0305e82c3301\"", true},
                 {"", "a", "\"" UUID_A "\"", false},
                 {"", "07", "\"" UUID_07 "\"", false},
                 {"", "+7", NULL, false},
                 {"", "-7", NULL, false},
                 {"", "18446744073709551615", NULL, false},
                 {"", "3F2504E0-4F89-11D3-9A0C-0305E82C3301", NULL, false},
                 {"", "3f2504e0-4f89-11d3-9a0c-0305e82c330", NULL, false},
                 {"s", "7", "\"" UUID_S_7 "\"", false},
                 {"s", "3f2504e0-4f89-11d3-9a0c-0305e82c3301", NULL, false}};
    json_t *seen = json_object();
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        bool own = !cases[i].own;
        json_t *id = sl_qdrant_id(sl_str_c(cases[i].space), sl_str_c(cases[i].id), &own);
        char *text = json_dumps(id, JSON_ENCODE_ANY);
        CHECK_EQ(own, cases[i].own);
        if (cases[i].wanted)
            CHECK_STR(sl_str_c(text), cases[i].wanted);
        CHECK(!json_object_get(seen, text));
        (void)json_object_set_new(seen, text, json_true());
        free(text);
        json_decref(id);
    }
    json_decref(seen);
}

SL_TEST(points_are_json)
{
    const sl_vector_row rows[] = {row_of("", "1", "{\"n\":0.1}"), row_of("s", "1", ""), row_of("", "a", "{}")};
    char *text = sl_qdrant_points(rows, 3);
    REQUIRE(text);
    CHECK_STR(sl_str_c(text),
              "{\"points\":[{\"id\":1,\"vector\":[1,-0.5],\"payload\":{\"n\":0.1}},"
              "{\"id\":\"" UUID_S_1 "\",\"vector\":[1,-0.5],\"payload\":{\"namespace\":\"s\",\"sightline_id\":\"1\"}},"
              "{\"id\":\"" UUID_A "\",\"vector\":[1,-0.5],\"payload\":{\"sightline_id\":\"a\"}}]}");
    free(text);
    for (long n = 0; n < 8; n++) {
        sl_test_fail_alloc(n);
        text = sl_qdrant_points(rows, 3);
        bool failed = sl_test_alloc_failed();
        sl_test_fail_alloc(-1);
        CHECK(!failed || !text);
        free(text);
    }
}

/* ---- a server ---- */

/* What is answered, one after another: "STATUS BODY". The last one stays. */
typedef struct site {
    nf_server server;
    const char *const *answers;
    int at;
    char said[4096]; /* request lines and bodies, a bar behind each */
    char head[2048]; /* of the last request */
    sl_qdrant_loader *loader;
    char reason[SL_QDRANT_REASON];
} site;

static void serve(nf_server *server, int fd, int number)
{
    site *s = server->user;
    nf_message m;
    (void)number;
    while (nf_read_message(fd, true, false, &m)) {
        size_t len = strlen(s->said);
        (void)snprintf(s->head, sizeof s->head, "%.*s", (int)(m.len - m.body.len), m.data);
        (void)snprintf(s->said + len, sizeof s->said - len, "%.*s%s%.*s|", (int)strcspn(m.data, "\r") - 9, m.data,
                       m.body.len ? " " : "", (int)m.body.len, m.body.len ? m.body.ptr : "");
        nf_message_free(&m);
        const char *answer = s->answers[s->at];
        s->at += s->answers[s->at + 1] != NULL;
        char text[1024];
        (void)snprintf(text, sizeof text, "HTTP/1.1 %.3s X\r\nContent-Length: %zu\r\n\r\n%s", answer,
                       strlen(answer + 4), answer + 4);
        if (!nf_send_c(fd, text))
            return;
    }
}

static void site_open(site *s, const char *const *answers)
{
    char url[64];
    memset(s, 0, sizeof *s);
    s->answers = answers;
    nf_server_start(&s->server, serve, s);
    (void)snprintf(url, sizeof url, "qdrant://127.0.0.1:%u", s->server.port);
    CHECK_EQ(sl_qdrant_loader_new(sl_str_c(url), SL_STR("qk"), SL_STR("my docs/x"), s->reason, &s->loader), 0);
}

static void site_close(site *s)
{
    sl_qdrant_loader_free(s->loader);
    nf_server_stop(&s->server);
}

#define HAS(size, distance)                                                                                            \
    "200 {\"result\":{\"status\":\"green\",\"config\":{\"params\":{\"vectors\":{\"size\":" size                        \
    ",\"distance\":\"" distance "\"}}}},\"status\":\"ok\"}"
#define OK "200 {\"result\":true,\"status\":\"ok\"}"
#define PATH "/collections/my%20docs%2Fx"

SL_TEST(a_collection_is_made_and_filled)
{
    static site s;
    static const char *const answers[] = {"404 {\"status\":{\"error\":\"Not found\"}}", OK, NULL};
    const sl_vector_row row = row_of("", "1", "");
    site_open(&s, answers);
    CHECK_EQ(sl_qdrant_loader_collection(s.loader, 2, SL_VECTOR_EUCLID, false, s.reason), 0);
    CHECK_EQ(sl_qdrant_loader_put(s.loader, &row, 1, s.reason), 0);
    CHECK_STR(sl_str_c(s.said), "GET " PATH "|PUT " PATH " {\"vectors\":{\"size\":2,\"distance\":\"Euclid\"}}|PUT " PATH
                                "/points?wait=true {\"points\":[{\"id\":1,\"vector\":[1,-0.5],\"payload\":{}}]}|");
    CHECK(strstr(s.head, "api-key: qk\r\n") && strstr(s.head, "Content-Type: application/json\r\n"));
    CHECK_EQ(sl_qdrant_loader_put(s.loader, &row, 0, s.reason), 0);
    site_close(&s);
}

SL_TEST(what_a_server_says)
{
    static const struct {
        const char *answers[5];
        bool any;
        int error, rows_error; /* -1: no rows are put */
        const char *reason;
    } cases[] = {
        {{HAS("2", "Cosine"), OK}, false, 0, 0, ""},
        {{HAS("2", "Dot"), OK}, true, 0, 0, ""},
        {{HAS("2", "Dot")}, false, SL_EEXIST, -1, "has the distance Dot, not Cosine"},
        {{HAS("3", "Cosine")}, true, SL_EEXIST, -1, "has 3 dimensions, the rows 2"},
        {{"200 {\"result\":{\"config\":{\"params\":{\"vectors\":{\"a\":{\"size\":2,\"distance\":\"Dot\"}}}}}}"},
         true,
         SL_EEXIST,
         -1,
         "single, unnamed vector"},
        {{"200 nonsense"}, true, SL_EEXIST, -1, "single, unnamed vector"},
        {{"401 {\"status\":{\"error\":\"Must provide an API key\"}}"},
         true,
         SL_EIO,
         -1,
         "answered 401: Must provide an API"},
        {{"403 Forbidden"}, true, SL_EIO, -1, "answered 403"},
        {{"404 {}", "400 {\"status\":{\"error\":\"Bad name\"}}"}, true, SL_EIO, -1, "cannot be made: "},
        {{"503 {}", "429 {}", HAS("2", "Cosine"), OK}, false, 0, 0, ""},
        {{"503 {}"}, false, SL_ECONNECT, -1, "answered 503"},
        {{HAS("2", "Cosine"), "400 {\"status\":{\"error\":\"Wrong input: vector\"}}"},
         false,
         0,
         SL_EIO,
         "the rows are refused"},
        {{HAS("2", "Cosine"), "413 {}"}, false, 0, SL_ETOOBIG, "answered 413"},
        {{HAS("2", "Cosine"), "500 {}", OK}, false, 0, 0, ""}};
    const sl_vector_row row = row_of("", "1", "");
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        static site s;
        site_open(&s, cases[i].answers);
        int error = sl_qdrant_loader_collection(s.loader, 2, SL_VECTOR_COSINE, cases[i].any, s.reason);
        CHECK_EQ(error, cases[i].error);
        if (!error)
            CHECK_EQ(error = sl_qdrant_loader_put(s.loader, &row, 1, s.reason), cases[i].rows_error);
        if (error && !strstr(s.reason, cases[i].reason))
            sl_test_failed(__FILE__, __LINE__, "case %zu: \"%s\" does not say \"%s\"", i, s.reason, cases[i].reason);
        CHECK(!strstr(s.reason, "qk"));
        site_close(&s);
    }
}

SL_TEST(servers_that_cannot_be_used)
{
    static const struct {
        const char *url, *name;
        int error;
    } cases[] = {{"qdrant://127.0.0.1", "c", 0},           {"qdrant://[::1]", "c", 0},
                 {"qdrant://[::1]:6333/prefix/", "c", 0},  {"http://127.0.0.1:6333/", "c", 0},
                 {"https://example.com/q", "c", 0},        {"qdrant://", "c", SL_EINVAL},
                 {"http://127.0.0.1:6333", "", SL_EINVAL}, {"http://127.0.0.1:6333?x=1", "c", SL_EINVAL},
                 {"ftp://127.0.0.1", "c", SL_EINVAL},      {"127.0.0.1:6333", "c", SL_EINVAL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        char reason[SL_QDRANT_REASON];
        sl_qdrant_loader *loader = NULL;
        int error = sl_qdrant_loader_new(sl_str_c(cases[i].url), SL_STR(""), sl_str_c(cases[i].name), reason, &loader);
        if (error != cases[i].error)
            sl_test_failed(__FILE__, __LINE__, "%s: %d", cases[i].url, error);
        sl_qdrant_loader_free(loader);
    }
    char reason[SL_QDRANT_REASON];
    sl_qdrant_loader *loader = NULL;
    REQUIRE(sl_qdrant_loader_new(SL_STR("http://127.0.0.1:1"), SL_STR(""), SL_STR("c"), reason, &loader) == 0);
    CHECK_EQ(sl_qdrant_loader_collection(loader, 2, SL_VECTOR_DOT, true, reason), SL_ECONNECT);
    CHECK(strstr(reason, "cannot reach http://127.0.0.1:1") != NULL);
    sl_qdrant_loader_free(loader);
    sl_qdrant_loader_free(NULL);
}
