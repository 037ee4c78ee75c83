/* Matching, keys, bodies, parameters, streams; and the document against what dispatches. */
#include "src/flow/api.h"

#include <stdatomic.h>

#include "src/flow/server_impl.h"
#include "tests/harness/net_fixture.h"

/* ---- matching ---- */

static void nothing(sl_api_request *request)
{
    (void)request;
}

#define ROUTE(method, path)                                                                                            \
    {                                                                                                                  \
        method, path, path, nothing, "s", NULL, SL_API_NO_BODY, "200", NULL, false, NULL                               \
    }

SL_TEST(paths_find_their_routes)
{
    static const sl_api_route routes[] = {ROUTE(SL_HTTP_GET, "/"),
                                          ROUTE(SL_HTTP_GET, "/things/"),
                                          ROUTE(SL_HTTP_POST, "/things/{id}"),
                                          ROUTE(SL_HTTP_POST, "/things/create"),
                                          ROUTE(SL_HTTP_GET, "/things/{id}"),
                                          ROUTE(SL_HTTP_GET, "/things/{id}/parts/{part}"),
                                          ROUTE(SL_HTTP_POST, "/runs/{id}/cancel")};
    static const struct {
        sl_http_method method;
        const char *path;
        int route; /* -1: none */
        bool other;
        const char *params[2];
    } rows[] = {
        {SL_HTTP_GET, "/", 0, false, {"", ""}},
        {SL_HTTP_POST, "/", -1, true, {"", ""}},
        {SL_HTTP_GET, "/things", 1, false, {"", ""}},
        {SL_HTTP_GET, "/things/", 1, false, {"", ""}},
        {SL_HTTP_GET, "/things//", -1, false, {"", ""}},
        {SL_HTTP_POST, "/things/create", 3, false, {"", ""}}, /* what is written out wins */
        {SL_HTTP_POST, "/things/creates", 2, false, {"creates", ""}},
        {SL_HTTP_GET, "/things/create", 4, true, {"create", ""}},
        {SL_HTTP_GET, "/things/a%2Fb", 4, true, {"a%2Fb", ""}},
        {SL_HTTP_GET, "/things/a/parts/b", 5, false, {"a", "b"}},
        {SL_HTTP_GET, "/things/a/parts/b/", 5, false, {"a", "b"}},
        {SL_HTTP_GET, "/things/a/parts", -1, false, {"", ""}},
        {SL_HTTP_GET, "/things/a/parts/b/c", -1, false, {"", ""}},
        {SL_HTTP_PUT, "/runs/x/cancel", -1, true, {"", ""}},
        {SL_HTTP_GET, "", -1, false, {"", ""}},
        {SL_HTTP_GET, "*", -1, false, {"", ""}},
        {SL_HTTP_GET, "/nope", -1, false, {"", ""}},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        sl_str params[SL_API_MAX_PARAMS] = {{NULL, 0}};
        unsigned other = 0;
        const sl_api_route *found = sl_api_match(routes, sizeof routes / sizeof *routes, rows[i].method,
                                                 sl_str_c(rows[i].path), params, &other);
        int place = found ? (int)(found - routes) : -1;
        if (place != rows[i].route || (!found && (other != 0) != rows[i].other))
            sl_test_failed(__FILE__, __LINE__, "%s: route %d, other %u", rows[i].path, place, other);
        if (found) {
            CHECK_STR(params[0], rows[i].params[0]);
            CHECK_STR(params[1], rows[i].params[1]);
        }
    }
}

/* ---- the documents ---- */

static void check_document(const char *title, const sl_api_route *routes, size_t count)
{
    json_t *document = sl_api_document(title, routes, count, true);
    REQUIRE(document != NULL);
    json_t *paths = json_object_get(document, "paths"), *methods, *operation;
    const char *path, *method;
    size_t seen = 0;
    json_t *ids = json_object();
    json_object_foreach(paths, path, methods)
    {
        json_object_foreach(methods, method, operation)
        {
            sl_str params[SL_API_MAX_PARAMS];
            unsigned other;
            sl_http_method id = strcmp(method, "get") == 0      ? SL_HTTP_GET
                                : strcmp(method, "delete") == 0 ? SL_HTTP_DELETE
                                                                : SL_HTTP_POST;
            const sl_api_route *found = sl_api_match(routes, count, id, sl_str_c(path), params, &other);
            REQUIRE(found != NULL);
            CHECK_STR(sl_str_c(found->path), path);
            CHECK(json_object_size(json_object_get(operation, "responses")) > 0);
            CHECK_EQ(json_object_get(operation, "requestBody") != NULL, found->body != SL_API_NO_BODY);
            const char *name = json_string_value(json_object_get(operation, "operationId"));
            CHECK(name && !json_object_get(ids, name));
            (void)json_object_set_new(ids, name, json_true());
            seen++;
        }
    }
    CHECK_EQ(seen, count); /* and no route is missing */
    json_decref(ids);
    json_decref(document);
}

/* What the document says of one parameter. */
static json_t *parameter(json_t *document, const char *path, const char *name)
{
    json_t *list = json_object_get(json_object_get(json_object_get(json_object_get(document, "paths"), path), "get"),
                                   "parameters");
    for (size_t i = 0; i < json_array_size(list); i++) {
        json_t *one = json_array_get(list, i);
        if (strcmp(json_string_value(json_object_get(one, "name")), name) == 0)
            return one;
    }
    return NULL;
}

SL_TEST(document_types_parameters)
{
    static const sl_api_route routes[] = {{SL_HTTP_GET, "/a/{b}", "getA", sl_api_get_document, "A",
                                           "text few:2..9 many:0.. flag:true kind:x|yy shape:^(a|[0-9]+)$ id! n:1..3!",
                                           SL_API_NO_BODY, "200", NULL, false, NULL}};
    static const struct {
        const char *name, *in, *schema;
        bool required;
    } table[] = {
        {"b", "path", "{\"type\":\"string\"}", true},
        {"text", "query", "{\"type\":\"string\"}", false},
        {"few", "query", "{\"maximum\":9,\"minimum\":2,\"type\":\"integer\"}", false},
        {"many", "query", "{\"minimum\":0,\"type\":\"integer\"}", false},
        {"flag", "query", "{\"type\":\"boolean\"}", false},
        {"kind", "query", "{\"enum\":[\"x\",\"yy\"],\"type\":\"string\"}", false},
        {"shape", "query", "{\"pattern\":\"^(a|[0-9]+)$\",\"type\":\"string\"}", false},
        {"id", "query", "{\"type\":\"string\"}", true},
        {"n", "query", "{\"maximum\":3,\"minimum\":1,\"type\":\"integer\"}", true},
    };
    json_t *document = sl_api_document("t", routes, 1, false);
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        json_t *one = parameter(document, "/a/{b}", table[i].name);
        REQUIRE(one != NULL);
        char *schema = json_dumps(json_object_get(one, "schema"), JSON_COMPACT | JSON_SORT_KEYS);
        CHECK_STR(sl_str_c(schema), table[i].schema);
        free(schema);
        CHECK_STR(sl_str_c(json_string_value(json_object_get(one, "in"))), table[i].in);
        CHECK_EQ(json_is_true(json_object_get(one, "required")), table[i].required);
    }
    json_decref(document);
}

SL_TEST(document_types_bodies)
{
    static const sl_api_route routes[] = {
        {SL_HTTP_POST, "/a", "a", sl_api_get_document, "A", NULL, SL_API_JSON, "200", NULL, false,
         "x! y:array! z:any o:object"},
        {SL_HTTP_POST, "/b", "b", sl_api_get_document, "B", NULL, SL_API_JSON, "200", NULL, false, NULL}};
    static const char *const bodies[] = {
        "{\"content\":{\"application/json\":{\"schema\":{\"properties\":{\"o\":{\"type\":\"object\"},\"x\":{\"type\":"
        "\"string\"},\"y\":{\"type\":\"array\"},\"z\":{}},\"required\":[\"x\",\"y\"],\"type\":\"object\"}}},"
        "\"required\":true}",
        "{\"content\":{\"application/json\":{\"schema\":{\"type\":\"object\"}}},\"required\":false}"};
    json_t *document = sl_api_document("t", routes, 2, false);
    for (size_t i = 0; i < 2; i++) {
        json_t *path = json_object_get(json_object_get(document, "paths"), routes[i].path);
        char *text =
            json_dumps(json_object_get(json_object_get(path, "post"), "requestBody"), JSON_COMPACT | JSON_SORT_KEYS);
        CHECK_STR(sl_str_c(text), bodies[i]);
        free(text);
    }
    json_decref(document);
}

/* A server without a key asks for none, and its document says so. */
SL_TEST(document_tells_of_the_key)
{
    for (int keyed = 0; keyed < 2; keyed++) {
        json_t *document = sl_api_document("t", sl_flow_api_routes, sl_flow_api_route_count, keyed);
        CHECK_EQ(json_object_get(document, "security") != NULL, keyed);
        CHECK_EQ(json_object_get(document, "components") != NULL, keyed);
        json_t *open = json_object_get(json_object_get(json_object_get(document, "paths"), "/health"), "get");
        CHECK_EQ(json_object_get(open, "security") != NULL, keyed);
        json_decref(document);
    }
}

SL_TEST(documents_hold_every_route_once)
{
    check_document("api", sl_flow_api_routes, sl_flow_api_route_count);
    check_document("control", sl_flow_control_routes, sl_flow_control_route_count);
    CHECK(sl_flow_api_route_count <= SL_API_MAX_ROUTES && sl_flow_control_route_count <= SL_API_MAX_ROUTES);
}

/* ---- a server ---- */

typedef struct site {
    nf_loop l;
    sl_api *api;
    int listen_fd;
    uint16_t port;
    sl_api_request *held;
    uv_timer_t timer;
    _Atomic int overs;
} site;

static void echo(sl_api_request *request)
{
    json_t *body;
    sl_str q = SL_STR("none");
    uint64_t n;
    if (!sl_api_json(request, &body) || !sl_api_query_u64(request, "n", 7, 100, &n)) {
        return;
    }
    (void)sl_api_query(request, "q", &q);
    sl_str id = sl_api_param(request, 0);
    sl_api_reply(request, 201,
                 json_pack("{s:s%,s:s%,s:o,s:I}", "id", id.ptr, id.len, "q", q.ptr, q.len, "body",
                           body ? body : json_null(), "n", (json_int_t)n));
}

static void fail_all(sl_api_request *request)
{
    uint64_t code = 0;
    if (sl_api_query_u64(request, "code", 0, 100, &code))
        sl_api_fail_code(request, -(int)code, "it");
}

static void on_later(uv_timer_t *timer)
{
    site *s = timer->data;
    sl_api_request *request = s->held;
    s->held = NULL;
    sl_api_fail(request, 418, "later %s", "on");
    sl_api_unref(request);
}

/* Answers when the client may have left. */
static void later(sl_api_request *request)
{
    site *s = sl_api_user(request);
    s->held = sl_api_ref(request);
    (void)uv_timer_start(&s->timer, on_later, 60, 0);
}

static void on_over(void *user)
{
    site *s = user;
    s->overs++;
}

static void stream(sl_api_request *request)
{
    site *s = sl_api_user(request);
    sl_api_stream(request, "application/x-ndjson", on_over, NULL, s);
    CHECK(!sl_api_stream_write(request, SL_STR("{}\n"), false));
    (void)sl_api_stream_write(request, SL_STR("[]\n"), true);
}

static const sl_api_route site_routes[] = {
    {SL_HTTP_POST, "/echo/{id}", "echo", echo, "s", "q n", SL_API_JSON, "201 422", NULL, false, NULL},
    {SL_HTTP_GET, "/fail", "fail", fail_all, "s", "code", SL_API_NO_BODY, "500", NULL, false, NULL},
    {SL_HTTP_GET, "/later", "later", later, "s", NULL, SL_API_NO_BODY, "418", NULL, false, NULL},
    {SL_HTTP_GET, "/stream", "stream", stream, "s", NULL, SL_API_NO_BODY, "200", NULL, false, NULL},
    {SL_HTTP_GET, "/open", "open", stream, "s", NULL, SL_API_NO_BODY, "200", NULL, true, NULL},
};

static void close_site(void *user)
{
    site *s = user;
    sl_api_close(s->api);
    if (s->held)
        on_later(&s->timer);
    uv_close((uv_handle_t *)&s->timer, NULL);
}

static site *site_start(const char *key)
{
    site *s = calloc(1, sizeof *s);
    sl_api_options o = {.name = "test",
                        .routes = site_routes,
                        .route_count = sizeof site_routes / sizeof *site_routes,
                        .key = sl_str_c(key),
                        .user = s,
                        .max_body_bytes = 1000};
    if (!s || sl_loop_init(&s->l.loop) != 0 || sl_api_new(&s->l.loop, &o, &s->api) != 0)
        abort();
    s->listen_fd = nf_listen(&s->port);
    (void)uv_timer_init(&s->l.loop.uv, &s->timer);
    s->timer.data = s;
    if (sl_api_listen(s->api, s->listen_fd) != 0)
        abort();
    nf_loop_start(&s->l, close_site, s);
    return s;
}

static void site_stop(site *s)
{
    nf_loop_stop(&s->l);
    CHECK_EQ(sl_api_in_flight(s->api), 0);
    sl_api_free(s->api);
    sl_loop_done(&s->l.loop);
    close(s->listen_fd);
    free(s);
}

static void ask(site *s, const char *request, int status, const char *part)
{
    nf_message m = nf_ask(s->port, request);
    if (m.status != status || (part && sl_str_find(m.body, sl_str_c(part)) == SL_NPOS))
        sl_test_failed(__FILE__, __LINE__, "%.40s: %d %.*s", request, m.status, (int)m.body.len, m.body.ptr);
    nf_message_free(&m);
}

#define HOST "Host: a\r\nConnection: close\r\n"

SL_TEST(parameters_bodies_and_errors)
{
    site *s = site_start("");
    ask(s, "POST /echo/a%20b?q=x%2By+z&n=3 HTTP/1.1\r\n" HOST "Content-Length: 7\r\n\r\n{\"a\":1}", 201,
        "{\"id\":\"a b\",\"q\":\"x+y z\",\"body\":{\"a\":1},\"n\":3}");
    ask(s, "POST /echo/x HTTP/1.1\r\n" HOST "\r\n", 201, "\"body\":null,\"n\":7");
    ask(s, "POST /echo/x HTTP/1.1\r\n" HOST "Content-Length: 1\r\n\r\n{", 422, "JSON decode error");
    ask(s, "POST /echo/x HTTP/1.1\r\n" HOST "Content-Length: 14\r\n\r\n{\"a\":1, \"a\":2}", 422, "JSON decode error");
    ask(s, "POST /echo/x?n=101 HTTP/1.1\r\n" HOST "\r\n", 422, "\"n\"");
    ask(s, "POST /echo/x?n=-1 HTTP/1.1\r\n" HOST "\r\n", 422, "\"query\"");
    ask(s, "POST /echo/%ff HTTP/1.1\r\n" HOST "\r\n", 400, "cannot be decoded");
    ask(s, "POST /echo/%0 HTTP/1.1\r\n" HOST "\r\n", 400, NULL);
    ask(s, "GET /echo/x HTTP/1.1\r\n" HOST "\r\n", 405, "Method Not Allowed");
    ask(s, "GET /nope HTTP/1.1\r\n" HOST "\r\n", 404, "{\"detail\":\"Not Found\"}");
    ask(s, "POST /echo/x HTTP/1.1\r\n" HOST "Content-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", 415, NULL);
    ask(s, "POST /echo/x HTTP/1.1\r\n" HOST "Content-Length: 1001\r\n\r\n", 413, NULL);
    site_stop(s);
}

SL_TEST(error_codes_have_their_statuses)
{
    static const struct {
        int code, status;
    } rows[] = {{SL_EAGAIN, 503}, {SL_ELIMIT, 503}, {SL_EIO, 503},     {SL_ECLOSED, 503},
                {SL_ENOENT, 404}, {SL_EEXIST, 409}, {SL_ETOOBIG, 413}, {SL_EINVAL, 500}};
    site *s = site_start("");
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        char text[128];
        snprintf(text, sizeof text, "GET /fail?code=%d HTTP/1.1\r\n" HOST "\r\n", -rows[i].code);
        ask(s, text, rows[i].status, sl_strerror(rows[i].code));
    }
    site_stop(s);
}

SL_TEST(a_key_is_asked_for_everywhere_but_where_it_is_open)
{
    site *s = site_start("sk-1");
    ask(s, "GET /stream HTTP/1.1\r\n" HOST "\r\n", 401, "Not authenticated");
    ask(s, "GET /stream HTTP/1.1\r\n" HOST "Authorization: Bearer sk-2\r\n\r\n", 401, NULL);
    ask(s, "GET /stream HTTP/1.1\r\n" HOST "Authorization: Basic sk-1\r\n\r\n", 401, NULL);
    ask(s, "GET /nope HTTP/1.1\r\n" HOST "\r\n", 401, NULL); /* who has no key learns nothing */
    ask(s, "GET /stream HTTP/1.1\r\n" HOST "Authorization: Bearer sk-1\r\n\r\n", 200, "{}\n[]\n");
    ask(s, "GET /open HTTP/1.1\r\n" HOST "\r\n", 200, "{}\n[]\n");
    site_stop(s);
}

SL_TEST(a_late_answer_and_a_client_that_has_left)
{
    site *s = site_start("");
    ask(s, "GET /later HTTP/1.1\r\n" HOST "\r\n", 418, "later on");
    int fd = nf_connect(s->port);
    CHECK(nf_send_c(fd, "GET /later HTTP/1.1\r\n" HOST "\r\n"));
    nf_sleep_ms(20);
    close(fd); /* the answer goes nowhere, and nothing is used after it is freed */
    nf_sleep_ms(100);
    ask(s, "GET /later HTTP/1.1\r\n" HOST "\r\n", 418, "later on");
    site_stop(s);
}

SL_TEST(streams_tell_their_end_once)
{
    site *s = site_start("");
    for (int i = 1; i <= 3; i++) {
        ask(s, "GET /stream HTTP/1.1\r\n" HOST "\r\n", 200, "{}\n[]\n");
        for (int wait = 0; wait < 1000 && s->overs < i; wait++)
            nf_sleep_ms(1);
        CHECK_EQ(s->overs, i);
    }
    site_stop(s);
}
