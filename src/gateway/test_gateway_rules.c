/* Rules of the gateway row by row: which fields go on, which answers' fields come back, keys, paths of models. */
#include "src/gateway/test_front.h"
#include "tests/harness/sl_chance.h"

/* ---- fields ---- */

typedef struct field_row {
    const char *name;
    bool passes;
} field_row;

/* RFC 9110, 7.6.1: those of the connection stay. The client's secrets, and what tells of it or of its browser, stay;
 * the rest is the upstream's business. */
static const field_row request_fields[] = {
    {"Proxy-Connection", false},
    {"Keep-Alive", false},
    {"Upgrade", false},
    {"TE", false},
    {"Trailer", false},
    {"Proxy-Authorization", false},
    {"X-Api-Key", false},
    {"api-key", false},
    {"API-KEY", false},
    {"x-goog-api-key", false},
    {"x-litellm-key", false},
    {"x-litellm-api-key", false},
    {"anthropic-api-key", false},
    {"x-auth-token", false},
    {"Cookie", false},
    {"Forwarded", false},
    {"X-Forwarded-For", false},
    {"X-Real-IP", false},
    {"Origin", false},
    {"Via", false},
    {"Accept-Encoding", false},
    {"x-sightline-a", false},
    {"X-SIGHTLINE-anything", false},
    {"x-sightline", true},
    {"x-sightlines", true},
    {"Content-Type", true},
    {"Accept", true},
    {"Accept-Language", true},
    {"User-Agent", true},
    {"OpenAI-Organization", true},
    {"OpenAI-Project", true},
    {"OpenAI-Beta", true},
    {"anthropic-version", true},
    {"Idempotency-Key", true},
    {"X-Stainless-Lang", true},
    {"X-Request-Id", true},
    {"api-key2", true},
    {"my-api-key", true},
    {"Cookies", true},
    {"X-Custom", true},
};

static const field_row answer_fields[] = {
    {"Keep-Alive", false},
    {"Proxy-Authenticate", false},
    {"Proxy-Connection", false},
    {"Trailer", false},
    {"Upgrade", false},
    {"Set-Cookie", false},
    {"traceparent", false},
    {"tracestate", false},
    {"Content-Type", true},
    {"Cache-Control", true},
    {"Retry-After", true},
    {"X-RateLimit-Remaining-Requests", true},
    {"openai-processing-ms", true},
    {"OpenAI-Version", true},
    {"x-request-id", true},
    {"X-Custom", true},
};

#define ROWS(table) (sizeof(table) / sizeof *(table))

/* All fields at once and each alone: what one is does not change what becomes of another. */
SL_TEST(fields_of_requests_pass_or_stay)
{
    script *s = script_start(UNARY);
    front *f = front_of(s->server.port);
    for (size_t i = 0; i <= ROWS(request_fields); i++) {
        char fields[2048] = "";
        size_t len = 0;
        for (size_t k = 0; k < ROWS(request_fields); k++) {
            /* Names of the same field in another case stand alone. */
            if (i == k || (i == ROWS(request_fields) && strcmp(request_fields[k].name, "API-KEY") != 0))
                len += (size_t)sprintf(fields + len, "%s: v\r\n", request_fields[k].name);
        }
        REQUIRE(len < 1000);
        nf_message m = {.status = -1};
        int fd = post(f, "/v1/chat/completions", fields, "{\"model\":\"m\"}");
        REQUIRE(nf_read_message(fd, false, false, &m));
        close(fd);
        CHECK_EQ(m.status, 200);
        nf_message_free(&m);
        REQUIRE(s->seen_count == 1);
        for (size_t k = 0; k < ROWS(request_fields); k++) {
            bool sent = strstr(fields, request_fields[k].name) != NULL && (i == k || i == ROWS(request_fields));
            bool seen = nf_field(&s->seen[0], request_fields[k].name) != NULL;
            bool own = strcmp(request_fields[k].name, "X-Request-Id") == 0; /* made where none came */
            if (seen != (sent && request_fields[k].passes) && !own)
                sl_test_failed(__FILE__, __LINE__, "%s in request %zu", request_fields[k].name, i);
        }
        CHECK(nf_field_is(&s->seen[0], "Authorization", "Bearer " UPSTREAM_KEY));
        nf_message_free(&s->seen[0]);
        s->seen_count = 0;
    }
    front_stop(f);
    script_stop(s);
}

/* Fields that the client names in Connection are the connection's; those that must go on cannot be named away. */
SL_TEST(fields_named_by_connection_stay)
{
    static const struct {
        const char *fields;
        const char *gone, *there;
    } cases[] = {
        {"Connection: X-A\r\nX-A: 1\r\nX-B: 2\r\n", "X-A", "X-B"},
        {"Connection: keep-alive, x-a\r\nX-A: 1\r\nX-B: 2\r\n", "X-A", "X-B"},
        {"X-A: 1\r\nX-B: 2\r\nConnection:  ,, x-A ,\r\n", "X-A", "X-B"},
        {"Connection: keep-alive\r\nConnection: x-a\r\nX-A: 1\r\nX-B: 2\r\n", "X-A", "X-B"},
        {"Connection: x-aa\r\nX-A: 1\r\nX-B: 2\r\n", "X-AA", "X-A"},
        {"Connection: content-length, host, authorization\r\nX-B: 2\r\n", "X-A", "Content-Length"},
        {"Connection: content-length, host, authorization\r\nX-B: 2\r\n", "X-A", "Authorization"},
        {"Connection: content-length, host, authorization\r\nX-B: 2\r\n", "X-A", "Host"},
    };
    script *s = script_start(UNARY);
    front *f = front_of(s->server.port);
    for (size_t i = 0; i < ROWS(cases); i++) {
        nf_message m = {.status = -1};
        int fd = post(f, "/v1/chat/completions", cases[i].fields, "{\"model\":\"m\"}");
        REQUIRE(nf_read_message(fd, false, false, &m));
        close(fd);
        CHECK_EQ(m.status, 200);
        nf_message_free(&m);
        REQUIRE(s->seen_count == 1);
        CHECK(nf_field(&s->seen[0], cases[i].gone) == NULL);
        CHECK(nf_field(&s->seen[0], cases[i].there) != NULL);
        CHECK(nf_field(&s->seen[0], "Connection") == NULL);
        nf_message_free(&s->seen[0]);
        s->seen_count = 0;
    }
    front_stop(f);
    script_stop(s);
}

SL_TEST(fields_of_answers_pass_or_stay)
{
    char answer[2048];
    size_t len = (size_t)sprintf(answer, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n");
    for (size_t i = 0; i < ROWS(answer_fields); i++)
        len += (size_t)sprintf(answer + len, "%s: v\r\n", answer_fields[i].name);
    (void)sprintf(answer + len, "\r\n{}");
    script *s = script_start(answer);
    front *f = front_of(s->server.port);
    nf_message m = ask(f, "{\"model\":\"m\"}");
    CHECK_EQ(m.status, 200);
    CHECK_STR(m.body, "{}");
    for (size_t i = 0; i < ROWS(answer_fields); i++) {
        if ((nf_field(&m, answer_fields[i].name) != NULL) != answer_fields[i].passes)
            sl_test_failed(__FILE__, __LINE__, "%s", answer_fields[i].name);
    }
    nf_message_free(&m);
    front_stop(f);
    script_stop(s);
}

/* ---- keys ---- */

/* RFC 9110, 11.1: the scheme in any case; the key to the byte; 15.5.2: a refusal says how to come. */
SL_TEST(keys_open_or_do_not)
{
    static const struct {
        const char *fields;
        int status;
    } cases[] = {
        {"Authorization: Bearer " KEY "\r\n", 200},
        {"authorization: bearer " KEY "\r\n", 200},
        {"Authorization: BEARER " KEY "\r\n", 200},
        {"Authorization: Bearer  " KEY "\r\n", 200},
        {"X-Api-Key: " KEY "\r\n", 401}, /* as a bearer token alone */
        {"", 401},
        {"Authorization: " KEY "\r\n", 401},
        {"Authorization: Bearer\r\n", 401},
        {"Authorization: Bearer \r\n", 401},
        {"Authorization: Basic " KEY "\r\n", 401},
        {"Authorization: Bearer " KEY "x\r\n", 401},
        {"Authorization: Bearer x" KEY "\r\n", 401},
        {"Authorization: Bearer SK-CLIENT-KEY\r\n", 401},
        {"Authorization: Bearer sk-client-ke\r\n", 401},
        {"Authorization: Bearer " KEY " " KEY "\r\n", 401},
        {"X-Api-Key: x\r\n", 401},
        {"X-Api-Key:\r\n", 401},
        {"Cookie: key=" KEY "\r\n", 401},
    };
    script *s = script_start(UNARY);
    front *f = front_of(s->server.port);
    for (size_t i = 0; i < ROWS(cases); i++) {
        char text[512];
        (void)snprintf(text, sizeof text, "GET /v1/models HTTP/1.1\r\nHost: g\r\n%s\r\n", cases[i].fields);
        nf_message m = nf_ask(f->port, text);
        if (m.status != cases[i].status)
            sl_test_failed(__FILE__, __LINE__, "%s: %d", cases[i].fields, m.status);
        CHECK(m.status != 401 || nf_field(&m, "WWW-Authenticate") != NULL);
        CHECK(sl_str_find(m.body, SL_STR(KEY)) == SL_NPOS);
        nf_message_free(&m);
    }
    CHECK_EQ(s->seen_count, 0);
    front_stop(f);
    script_stop(s);
}

/* ---- models ---- */

/* Clients encode what stands in a path: "/" in a name is "%2F" to some of them and "/" to others. */
SL_TEST(models_by_their_names)
{
    static const struct {
        const char *path;
        int status;
    } cases[] = {
        {"/v1/models/m", 200},
        {"/models/m", 200},
        {"/v1/models/openai/gpt", 200},
        {"/v1/models/openai%2Fgpt", 200},
        {"/v1/models/openai%2fgpt", 200},
        {"/v1/models/%6d", 200},
        {"/v1/models/m?x=1", 200},
        {"/v1/models/M", 404},
        {"/v1/models/m/", 404},
        {"/v1/models/openai", 404},
        {"/v1/models/openai%252Fgpt", 404},
        {"/v1/models/%", 404},
        {"/v1/models/m%", 404},
        {"/v1/models/m%00", 404},
        {"/v1/models/", 404},
        {"/v1/modelsm", 404},
        {"/v2/models/m", 404},
        {"/v1/v1/models/m", 404},
    };
    front *f = front_new(1);
    add_deployment(f, "openai/gpt", "gpt", 1);
    front_start(f);
    for (size_t i = 0; i < ROWS(cases); i++) {
        char text[256];
        (void)snprintf(text, sizeof text, "GET %s HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer " KEY "\r\n\r\n",
                       cases[i].path);
        nf_message m = nf_ask(f->port, text);
        if (m.status != cases[i].status)
            sl_test_failed(__FILE__, __LINE__, "%s: %d", cases[i].path, m.status);
        nf_message_free(&m);
    }
    front_stop(f);
}

/* ---- methods ---- */

/* RFC 9110, 15.5.6: 405 names the methods that there are; a HEAD is a GET without its body. */
SL_TEST(methods_of_every_resource)
{
    static const struct {
        const char *method, *path;
        int status;
        const char *allow; /* NULL: none */
    } cases[] = {
        {"GET", "/v1/chat/completions", 405, "POST"},
        {"PUT", "/v1/completions", 405, "POST"},
        {"DELETE", "/v1/embeddings", 405, "POST"},
        {"POST", "/v1/models", 405, "GET, HEAD"},
        {"DELETE", "/v1/models/m", 405, "GET, HEAD"},
        {"GET", "/nothing", 404, NULL},
        {"POST", "/nothing", 404, NULL},
        {"GET", "/v1/models", 200, NULL},
        {"GET", "/", 404, NULL},
        {"POST", "/v1/chat/completions/", 404, NULL},
    };
    front *f = front_of(1);
    for (size_t i = 0; i < ROWS(cases); i++) {
        char text[256];
        (void)snprintf(text, sizeof text,
                       "%s %s HTTP/1.1\r\nHost: g\r\nAuthorization: Bearer " KEY "\r\nContent-Length: 0\r\n\r\n",
                       cases[i].method, cases[i].path);
        nf_message m = nf_ask(f->port, text);
        if (m.status != cases[i].status)
            sl_test_failed(__FILE__, __LINE__, "%s %s: %d", cases[i].method, cases[i].path, m.status);
        CHECK_EQ(nf_field(&m, "Allow") != NULL, cases[i].allow != NULL);
        if (cases[i].allow)
            CHECK(nf_field_is(&m, "Allow", cases[i].allow));
        nf_message_free(&m);
    }
    front_stop(f);
}

/* ---- streams ---- */

typedef struct frame_row {
    const char *bytes;
    bool ours; /* only we asked for it */
} frame_row;

/* OpenAI: the frame that include_usage adds has no choices; every other one is the client's, whatever it holds. */
static const frame_row frames[] = {
    {"data: {\"choices\":[{\"delta\":{\"content\":\"a\"},\"finish_reason\":null}],\"usage\":null}\n\n", false},
    {"data: {\"choices\":[{\"delta\":{\"content\":\"\\\"usage\\\":{\"},\"finish_reason\":\"stop\"}]}\r\n\r\n", false},
    {"data: {\"choices\":[{\"delta\":{}}],\"usage\":{\"prompt_tokens\":1}}\n\n", false},
    {": awake\n\n", false},
    {"event: ping\ndata: {}\n\n", false},
    {"data: no JSON \"usage\":{}\n\n", false},
    {"data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\n\n", true},
    {"data:{\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2},\"choices\":[]}\r\n\r\n", true},
    {"id: 7\ndata: { \"choices\" : [ ] , \"usage\" : { \"completion_tokens\" : 2 } }\n\n", true},
};

/* Streams by chance, cut by chance: the client gets every byte but the frames that it did not ask for; all when it did.
 */
static void stream_by_chance(uint64_t chance)
{
    static char answer[8192], wanted[8192];
    script *s = script_start(UNARY);
    s->close_after = true;
    front *f = front_of(s->server.port);
    for (unsigned round = 0; round < 50; round++) {
        bool asked = sl_chance(&chance, 4) == 0;
        size_t head = (size_t)sprintf(answer, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n");
        size_t len = head, kept = 0;
        wanted[0] = 0;
        for (unsigned i = sl_chance(&chance, 12); i > 0; i--) {
            const frame_row *frame = &frames[sl_chance(&chance, ROWS(frames))];
            len += (size_t)sprintf(answer + len, "%s", frame->bytes);
            if (asked || !frame->ours)
                kept += (size_t)sprintf(wanted + kept, "%s", frame->bytes);
        }
        len += (size_t)sprintf(answer + len, "data: [DONE]\n\n");
        (void)sprintf(wanted + kept, "data: [DONE]\n\n");
        s->answer_len = len;
        s->cut = 1 + sl_chance(&chance, (unsigned)len - 1);
        s->answer = answer;
        nf_message m = ask(f, asked ? "{\"model\":\"m\",\"stream\":true,\"stream_options\":{\"include_usage\":true}}"
                                    : "{\"model\":\"m\",\"stream\":true}");
        CHECK(m.complete);
        CHECK_STR(m.body, wanted);
        nf_message_free(&m);
    }
    front_stop(f);
    script_stop(s);
}

SL_TEST(streams_by_chance_against_their_frames)
{
    for (uint64_t seed = 1; seed <= 3; seed++)
        stream_by_chance(seed);
}
