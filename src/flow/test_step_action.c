/* Action steps: HTTP and webhooks against a server, programs, files and their bounds, the queue, names that are none.
 */
#include "src/flow/step_action.h"

#include <arpa/inet.h>
#include <dirent.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <openssl/hmac.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "src/base/mem.h"
#include "src/flow/step_http.h"
#include "src/flow/test_step_fixture.h"
#include "src/queue/queue.h"

extern const sl_step_kind sl_step_action_kind;
#define ACTION &sl_step_action_kind

/* ---- a server that remembers what it was asked ---- */

typedef struct echo {
    nf_server server;
    const char *answer;
    char last[70000];
    size_t last_len;
} echo;

static void serve(nf_server *server, int fd, int number)
{
    echo *e = server->user;
    nf_message m;
    (void)number;
    while (nf_read_message(fd, true, false, &m)) {
        e->last_len = m.len < sizeof e->last - 1 ? m.len : sizeof e->last - 1;
        memcpy(e->last, m.data, e->last_len);
        e->last[e->last_len] = '\0';
        server->requests++;
        nf_message_free(&m);
        if (!e->answer || !nf_send_c(fd, e->answer))
            return;
    }
}

static void http_step(bench_step *b, const echo *e, const char *rest)
{
    char params[1000];
    (void)snprintf(params, sizeof params, "{'action':'http','url':'http://127.0.0.1:%u/p?q=1'%s}", e->server.port,
                   rest);
    step_run(b, ACTION, params);
}

#define JSON_ANSWER                                                                                                    \
    "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-A: 1\r\nX-A: 2\r\nContent-Length: 7\r\n\r\n{\"a\":1}"
#define TEXT_ANSWER "HTTP/1.1 201 Created\r\nContent-Length: 2\r\n\r\nhi"

SL_TEST(http)
{
    bench_step b;
    static echo e;
    e.answer = JSON_ANSWER;
    step_open(&b);
    nf_server_start(&e.server, serve, &e);
    http_step(&b, &e, "");
    CHECK_RESULT(&b, 0, "{'a':1}");
    json_t *metadata = json_array_get(b.results, 1);
    CHECK_EQ(json_integer_value(json_object_get(metadata, "status")), 200);
    CHECK_STR(sl_str_c(json_string_value(json_object_get(json_object_get(metadata, "headers"), "x-a"))), "1, 2");
    CHECK(strncmp(e.last, "GET /p?q=1 HTTP/1.1\r\n", 21) == 0);
    CHECK(!strstr(e.last, "Content-Length"));
    e.answer = TEXT_ANSWER;
    http_step(&b, &e, ",'method':'PUT','body':{'x':[1]},'headers':{'X-Key':'v','X-N':3,'X-R':1.5,'X-0':null}");
    CHECK_RESULT(&b, 0, "'hi'");
    CHECK(strstr(e.last, "PUT /p") && strstr(e.last, "X-Key: v\r\n") && strstr(e.last, "X-N: 3\r\n"));
    CHECK(strstr(e.last, "Content-Type: application/json\r\n") && strstr(e.last, "\r\n\r\n{\"x\":[1]}"));
    CHECK(!strstr(e.last, "X-0"));
    http_step(&b, &e, ",'body':'text','headers':{'content-type':'text/csv'}");
    CHECK(strstr(e.last, "POST /p") && strstr(e.last, "content-type: text/csv\r\n") && !strstr(e.last, "Content-Type"));
    http_step(&b, &e, ",'expected_status':[200,204]");
    CHECK_FAILS(&b, SL_STEP_ERROR_REFUSED, "the answer was 201: hi");
    http_step(&b, &e, ",'expected_status':201");
    CHECK_EQ(b.error, 0);
    step_close(&b); /* first: it holds a connection open */
    nf_server_stop(&e.server);
}

typedef struct status_case {
    const char *answer;
    sl_step_error error;
    const char *says;
    uint64_t retry_ms;
} status_case;

static const status_case status_cases[] = {
    {"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", SL_STEP_ERROR_REFUSED, "the answer was 404", 0},
    {"HTTP/1.1 429 No\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nslow", SL_STEP_ERROR_PROVIDER, "429: slow", 7000},
    {"HTTP/1.1 503 No\r\nRetry-After: 99999\r\nContent-Length: 0\r\n\r\n", SL_STEP_ERROR_PROVIDER, "503", 3600000},
    {"HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\n\xff\xfe", SL_STEP_ERROR_PROVIDER, "the answer was 500", 0},
    {"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n", SL_STEP_ERROR_REFUSED,
     "redirects are not followed", 0},
    {"HTTP/1.1 2x0 OK\r\n\r\n", SL_STEP_ERROR_PROVIDER, "", 0},
    {"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", SL_STEP_ERROR_PROVIDER, "", 0},
    {NULL, SL_STEP_ERROR_PROVIDER, "", 0},
};

static void serve_once(nf_server *server, int fd, int number)
{
    echo *e = server->user;
    nf_message m;
    (void)number;
    if (nf_read_message(fd, true, false, &m)) {
        nf_message_free(&m);
        if (e->answer)
            (void)nf_send_c(fd, e->answer);
    }
}

SL_TEST(statuses)
{
    bench_step b;
    static echo e;
    step_open(&b);
    nf_server_start(&e.server, serve_once, &e);
    for (size_t i = 0; i < sizeof status_cases / sizeof *status_cases; i++) {
        e.answer = status_cases[i].answer;
        http_step(&b, &e, "");
        CHECK_FAILS(&b, status_cases[i].error, status_cases[i].says);
        CHECK_EQ(b.attempt.retry_after_ms, status_cases[i].retry_ms);
    }
    nf_server_stop(&e.server);
    step_close(&b);
}

static void serve_much(nf_server *server, int fd, int number)
{
    nf_message m;
    static char block[1 << 20];
    (void)server;
    (void)number;
    if (!nf_read_message(fd, true, false, &m))
        return;
    nf_message_free(&m);
    memset(block, 'x', sizeof block);
    (void)nf_send_c(fd, "HTTP/1.1 200 OK\r\nContent-Length: 20971520\r\n\r\n");
    for (int i = 0; i < 20 && nf_send(fd, block, sizeof block); i++)
        ;
}

SL_TEST(answers_are_bounded)
{
    bench_step b;
    static echo e;
    step_open(&b);
    nf_server_start(&e.server, serve_much, &e);
    http_step(&b, &e, "");
    CHECK_FAILS(&b, SL_STEP_ERROR_TOO_BIG, "larger than 16 MiB");
    nf_server_stop(&e.server);
    step_close(&b);
}

static void serve_silence(nf_server *server, int fd, int number)
{
    nf_message m;
    (void)number;
    if (nf_read_message(fd, true, false, &m)) {
        server->requests++;
        nf_message_free(&m);
        (void)nf_closed_within(fd, NF_PATIENCE_MS);
    }
}

SL_TEST(http_is_cancelled)
{
    bench_step b;
    static echo e;
    char params[200];
    step_open(&b);
    nf_server_start(&e.server, serve_silence, &e);
    (void)snprintf(params, sizeof params, "{'action':'http','url':'http://127.0.0.1:%u/'}", e.server.port);
    step_begin(&b, ACTION, params, "{}");
    while (!e.server.requests)
        (void)uv_run(&b.loop.uv, UV_RUN_NOWAIT);
    sl_step_action_kind.cancel(&b.attempt);
    CHECK(b.attempt.data == NULL);
    CHECK_EQ(b.ends, 0);
    step_close(&b); /* nothing of it is left: it returns */
    nf_server_stop(&e.server);
}

typedef struct refused_case {
    const char *params;
    sl_step_error error;
    const char *says;
} refused_case;

static const refused_case refused_cases[] = {
    {"{'action':'http','url':'ftp://x/'}", SL_STEP_ERROR_INPUT, "the URL cannot be used"},
    {"{'action':'http'}", SL_STEP_ERROR_INPUT, "the URL cannot be used"},
    {"{'action':'http','url':7}", SL_STEP_ERROR_INPUT, "url must be a text, not a number"},
    {"{'action':'http','url':'http://u:p@h/'}", SL_STEP_ERROR_INPUT, "the URL cannot be used"},
    {"{'action':'http','url':'http://h/','method':'CONNECT'}", SL_STEP_ERROR_INPUT, "method must be"},
    {"{'action':'http','url':'http://h/','method':'GET / HTTP/1.1'}", SL_STEP_ERROR_INPUT, "method must be"},
    {"{'action':'http','url':'http://h/','headers':[1]}", SL_STEP_ERROR_INPUT, "headers must be an object"},
    {"{'action':'http','url':'http://h/','headers':{'Host':'x'}}", SL_STEP_ERROR_INPUT, "cannot be set"},
    {"{'action':'http','url':'http://h/','headers':{'content-LENGTH':3}}", SL_STEP_ERROR_INPUT, "cannot be set"},
    {"{'action':'http','url':'http://h/','headers':{'A':'b\\r\\nC: d'}}", SL_STEP_ERROR_INPUT, "do not belong there"},
    {"{'action':'http','url':'http://h/','headers':{'A b':'c'}}", SL_STEP_ERROR_INPUT, "do not belong there"},
    {"{'action':'http','url':'http://h/','headers':{'A':{}}}", SL_STEP_ERROR_INPUT, "a text or a number"},
    {"{'action':'http','url':'http://h/','expected_status':'ok'}", SL_STEP_ERROR_INPUT, "expected_status"},
    {"{'action':'http','url':'http://h/','expected_status':[]}", SL_STEP_ERROR_INPUT, "expected_status"},
    {"{'action':'http','url':'http://169.254.169.254/latest/'}", SL_STEP_ERROR_FORBIDDEN, "metadata addresses"},
    {"{'action':'http','url':'http://[fe80::1]/'}", SL_STEP_ERROR_FORBIDDEN, "link-local"},
    {"{'action':'http','url':'http://[::ffff:169.254.169.254]/'}", SL_STEP_ERROR_FORBIDDEN, "link-local"},
    {"{'action':'http','url':'http://[64:ff9b::a9fe:a9fe]/'}", SL_STEP_ERROR_FORBIDDEN, "link-local"},
    {"{'action':'http','url':'http://[fd00:ec2::254]/'}", SL_STEP_ERROR_FORBIDDEN, "link-local"},
    {"{'action':'http','url':'http://2852039166/'}", SL_STEP_ERROR_FORBIDDEN, "not allowed"},
    {"{'action':'http','url':'http://0xA9FEA9FE/'}", SL_STEP_ERROR_FORBIDDEN, "not allowed"},
    {"{'action':'webhook','url':'http://169.254.169.254/'}", SL_STEP_ERROR_FORBIDDEN, "metadata"},
    {"{'action':'webhook'}", SL_STEP_ERROR_INPUT, "the URL cannot be used"},
    {"{'action':''}", SL_STEP_ERROR_INPUT, "action is missing"},
    {"{}", SL_STEP_ERROR_INPUT, "action is missing"},
    {"{'action':'sleep'}", SL_STEP_ERROR_INPUT, "needs seconds"},
    {"{'action':'sleep','seconds':99999999}", SL_STEP_ERROR_INPUT, "seconds must be a number"},
    {"{'action':'sleep','seconds':'soon'}", SL_STEP_ERROR_INPUT, "seconds must be a number"},
    {"{'action':'log','level':'loud'}", SL_STEP_ERROR_INPUT, "level must be"},
    {"{'action':'exec','command':'/bin/true'}", SL_STEP_ERROR_FORBIDDEN, "not on the list of programs"},
    {"{'action':'exec'}", SL_STEP_ERROR_INPUT, "command is missing"},
    {"{'action':'file','path':'x'}", SL_STEP_ERROR_FORBIDDEN, "files are not allowed"},
    {"{'action':'queue','message':'x'}", SL_STEP_ERROR_INTERNAL, "no queue is configured"},
};

SL_TEST(what_is_refused_at_once)
{
    bench_step b;
    step_open(&b);
    for (size_t i = 0; i < sizeof refused_cases / sizeof *refused_cases; i++) {
        step_run(&b, ACTION, refused_cases[i].params);
        if (b.error != refused_cases[i].error || !strstr(b.reason, refused_cases[i].says))
            sl_test_failed(__FILE__, __LINE__, "%s: %d %s", refused_cases[i].params, b.error, b.reason);
    }
    step_close(&b);
}

static void check_address(const char *text, bool may)
{
    struct sockaddr_in v4 = {.sin_family = AF_INET};
    struct sockaddr_in6 v6 = {.sin6_family = AF_INET6};
    bool is_v4 = inet_pton(AF_INET, text, &v4.sin_addr) == 1;
    CHECK(is_v4 || inet_pton(AF_INET6, text, &v6.sin6_addr) == 1);
    if (sl_flow_http_may_connect(is_v4 ? (struct sockaddr *)&v4 : (struct sockaddr *)&v6) != may)
        sl_test_failed(__FILE__, __LINE__, "%s", text);
}

SL_TEST(addresses)
{
    static const char *const no[] = {"169.254.0.1",
                                     "169.254.255.255",
                                     "100.100.100.200",
                                     "168.63.129.16",
                                     "192.0.0.192",
                                     "fe80::1",
                                     "febf::1",
                                     "fd00:ec2::254",
                                     "::ffff:169.254.1.1",
                                     "::169.254.1.1",
                                     "64:ff9b::169.254.169.254"};
    static const char *const yes[] = {"127.0.0.1", "10.0.0.1", "169.253.1.1",      "169.255.0.1", "8.8.8.8",
                                      "::1",       "fec0::1",  "::ffff:127.0.0.1", "2001:db8::1", "fd00:ec2::253"};
    struct sockaddr local = {.sa_family = AF_UNIX};
    for (size_t i = 0; i < sizeof no / sizeof *no; i++)
        check_address(no[i], false);
    for (size_t i = 0; i < sizeof yes / sizeof *yes; i++)
        check_address(yes[i], true);
    CHECK(!sl_flow_http_may_connect(&local));
}

SL_TEST(list_of_hosts)
{
    static sl_flow_services s;
    CHECK(sl_flow_http_is_allowed(&s, SL_STR("anything"), 1));
    s.http_allowed[0] = "api.example.com";
    s.http_allowed[1] = "*.internal:8080";
    s.http_allowed_count = 2;
    CHECK(sl_flow_http_is_allowed(&s, SL_STR("api.example.com"), 443));
    CHECK(sl_flow_http_is_allowed(&s, SL_STR("API.Example.com"), 80));
    CHECK(sl_flow_http_is_allowed(&s, SL_STR("x.internal"), 8080));
    CHECK(!sl_flow_http_is_allowed(&s, SL_STR("x.internal"), 80));
    CHECK(!sl_flow_http_is_allowed(&s, SL_STR("evil-api.example.com"), 443));
    CHECK(!sl_flow_http_is_allowed(&s, SL_STR("api.example.com.evil"), 443));
    CHECK(!sl_flow_http_is_allowed(&s, SL_STR(""), 443));
    bench_step b;
    step_open(&b);
    b.services.http_allowed[0] = "example.com";
    b.services.http_allowed_count = 1;
    step_run(&b, ACTION, "{'action':'http','url':'http://127.0.0.1:1/'}");
    CHECK_FAILS(&b, SL_STEP_ERROR_FORBIDDEN, "127.0.0.1 port 1 is not on the list");
    step_close(&b);
}

/* ---- webhooks ---- */

static void check_signature(const char *request, const char *secret)
{
    const char *at = strstr(request, "X-Sightline-Signature: t="), *body = strstr(request, "\r\n\r\n");
    REQUIRE(at && body);
    at += strlen("X-Sightline-Signature: t=");
    const char *comma = strchr(at, ',');
    REQUIRE(comma && strncmp(comma, ",v1=", 4) == 0);
    char text[5000], hex[65] = {0};
    unsigned char digest[32];
    unsigned len = 32;
    int n = snprintf(text, sizeof text, "%.*s.%s", (int)(comma - at), at, body + 4);
    (void)HMAC(EVP_sha256(), secret, (int)strlen(secret), (unsigned char *)text, (size_t)n, digest, &len);
    sl_hex_encode(digest, 32, hex);
    CHECK(strncmp(comma + 4, hex, 64) == 0);
}

SL_TEST(webhooks)
{
    bench_step b;
    static echo e;
    char url[64], params[300];
    step_open(&b);
    nf_server_start(&e.server, serve, &e);
    e.answer = TEXT_ANSWER;
    (void)snprintf(url, sizeof url, "http://127.0.0.1:%u/hook", e.server.port);
    sl_flow_webhook hooks[1] = {{"send_notification", url, "s3cret"}};
    b.services.webhooks = hooks;
    b.services.webhook_count = 1;
    step_run(&b, ACTION, "{'action':'send_notification','message':'hello','level':3}");
    CHECK_RESULT(&b, 0, "'hi'");
    check_signature(e.last, "s3cret");
    CHECK(strstr(e.last, "POST /hook") && strstr(e.last, "Content-Type: application/json"));
    CHECK(strstr(e.last, "\"action\":\"send_notification\"") && strstr(e.last, "\"workflow\":\"w\""));
    CHECK(strstr(e.last, "\"run_id\":\"r1\"") && strstr(e.last, "\"data\":{\"message\":\"hello\",\"level\":3}"));
    CHECK(!strstr(e.last, "s3cret"));
    (void)snprintf(params, sizeof params, "{'action':'webhook','url':'%s','body':[1,2],'secret':'own'}", url);
    step_run(&b, ACTION, params);
    check_signature(e.last, "own");
    CHECK(strstr(e.last, "\r\n\r\n[1,2]"));
    (void)snprintf(params, sizeof params, "{'action':'webhook','url':'%s','body':'x'}", url);
    step_run(&b, ACTION, params);
    check_signature(e.last, "s3cret"); /* the URL is a configured one */
    b.services.webhook_count = 0;
    step_run(&b, ACTION, params);
    CHECK(!strstr(e.last, "Signature"));
    step_close(&b); /* first: it holds a connection open */
    nf_server_stop(&e.server);
    step_open(&b);
    step_run(&b, ACTION, params);
    CHECK_EQ(b.error, SL_STEP_ERROR_PROVIDER);
    step_close(&b);
}

/* ---- names that are no action, log, sleep ---- */

SL_TEST(unknown_names_succeed_with_a_warning)
{
    /* The last one is cut in the warning, within a character unless care is taken. */
    static const char *const names[] = {
        "publish", "queue_review", "send_notification",
        "0123456789012345678901234567890123456789012345678901234567890123456789012345678\xc3\xa9\xc3\xa9"};
    bench_step b;
    step_open(&b);
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        char params[200];
        (void)snprintf(params, sizeof params, "{'action':'%s','content':'x','priority':'medium'}", names[i]);
        step_run(&b, ACTION, params);
        CHECK_EQ(b.error, 0);
        CHECK_RESULT(&b, 0, "null");
        json_t *metadata = json_array_get(b.results, 1);
        CHECK(strstr(json_string_value(json_object_get(metadata, "warning")), "is not configured"));
        CHECK(json_is_false(json_object_get(metadata, "delivered")));
        CHECK(json_is_string(json_object_get(b.extra, "warning")));
    }
    step_close(&b);
}

SL_TEST(log_and_sleep)
{
    bench_step b;
    step_open(&b);
    step_run(&b, ACTION, "{'action':'log','message':'done','level':'WARN','fields':{'a':1}}");
    CHECK_RESULT(&b, 0, "'done'");
    CHECK_RESULT(&b, 1, "{'level':'WARN'}");
    step_run(&b, ACTION, "{'action':'log','message':{'a':1}}");
    CHECK_RESULT(&b, 0, "'{\\\"a\\\":1}'");
    step_run(&b, ACTION, "{'action':'log'}");
    CHECK_RESULT(&b, 0, "''");
    uint64_t before = sl_mono_ns();
    step_run(&b, ACTION, "{'action':'sleep','duration_ms':'60'}");
    CHECK_RESULT(&b, 0, "0.06");
    CHECK(sl_mono_ns() - before >= 60000000u);
    step_run(&b, ACTION, "{'action':'sleep','seconds':0}");
    CHECK_RESULT(&b, 0, "0.0");
    step_begin(&b, ACTION, "{'action':'sleep','seconds':3600}", "{}");
    sl_step_action_kind.cancel(&b.attempt);
    CHECK_EQ(b.ends, 0);
    step_close(&b);
}

SL_TEST(table_is_in_order)
{
    size_t count;
    const sl_action *all = sl_actions(&count);
    for (size_t i = 1; i < count; i++)
        CHECK(strcmp(all[i - 1].name, all[i].name) < 0);
    CHECK(sl_action_find(SL_STR("http")) && !sl_action_find(SL_STR("htt")));
}

/* ---- exec ---- */

static void allow(bench_step *b)
{
    static const char *const programs[] = {"/bin/cat", "/bin/sh", "/bin/echo", "/bin/false", "/nonexistent/program"};
    for (size_t i = 0; i < sizeof programs / sizeof *programs; i++)
        b->services.exec_allowed[i] = programs[i];
    b->services.exec_allowed_count = sizeof programs / sizeof *programs;
}

typedef struct exec_case {
    const char *params;
    sl_step_error error;
    const char *wanted; /* result as JSON, or part of the reason */
} exec_case;

static const exec_case exec_cases[] = {
    {"{'action':'exec','command':'/bin/echo','args':['a b','$HOME','`id`',5,null]}", 0, "'a b $HOME `id` 5 \\n'"},
    {"{'action':'exec','command':['/bin/echo','-n','x'],'args':['y']}", 0, "'x y'"},
    {"{'action':'exec','command':'/bin/cat','stdin':'hello'}", 0, "'hello'"},
    {"{'action':'exec','command':'/bin/cat','stdin':{'a':1}}", 0, "'{\\\"a\\\":1}'"},
    {"{'action':'exec','command':'/bin/cat'}", 0, "''"},
    {"{'action':'exec','command':'/bin/sh','args':['-c','echo $X-$PATH'],'env':{'X':'v'}}", 0,
     "'v-/usr/local/bin:/usr/bin:/bin\\n'"},
    {"{'action':'exec','command':'/bin/sh','args':['-c','echo $SECRET_OF_PARENT']}", 0, "'\\n'"},
    {"{'action':'exec','command':'/bin/sh','args':['-c','exit 3'],'expected_exit':3}", 0, "''"},
    {"{'action':'exec','command':'/bin/sh','args':['-c','printf 0123456789'],'max_output_bytes':4}", 0, "'0123'"},
    {"{'action':'exec','command':'/bin/sh','args':['-c','printf \\\\\\\\377']}", 0, "'/w=='"},
    {"{'action':'exec','command':'/bin/false'}", SL_STEP_ERROR_EXIT, "ended with status 1"},
    {"{'action':'exec','command':'/bin/sh','args':['-c','echo bad >&2; exit 9']}", SL_STEP_ERROR_EXIT, "status 9: bad"},
    {"{'action':'exec','command':'/bin/sh','args':['-c','kill -11 $$']}", SL_STEP_ERROR_EXIT, "signal 11"},
    {"{'action':'exec','command':'/nonexistent/program'}", SL_STEP_ERROR_INTERNAL, "no such file"},
    {"{'action':'exec','command':'/bin/../bin/cat'}", SL_STEP_ERROR_FORBIDDEN, "not on the list"},
    {"{'action':'exec','command':'cat'}", SL_STEP_ERROR_FORBIDDEN, "not on the list"},
    {"{'action':'exec','command':'/bin/cat','args':'x'}", SL_STEP_ERROR_INPUT, "args must be a list"},
    {"{'action':'exec','command':'/bin/cat','args':['a\\u0000b']}", SL_STEP_ERROR_INPUT, "NUL"},
    {"{'action':'exec','command':'/bin/cat','env':{'LD_PRELOAD':'/x.so'}}", SL_STEP_ERROR_INPUT, "not allowed"},
    {"{'action':'exec','command':'/bin/cat','env':{'A=B':'x'}}", SL_STEP_ERROR_INPUT, "not allowed"},
    {"{'action':'exec','command':'/bin/cat','env':{'A':5}}", SL_STEP_ERROR_INPUT, "no text"},
    {"{'action':'exec','command':'/bin/cat','env':[]}", SL_STEP_ERROR_INPUT, "env must be an object"},
    {"{'action':'exec','command':'/bin/cat','max_output_bytes':99999999}", SL_STEP_ERROR_INPUT, "max_output_bytes"},
};

/* JSON that may hold an embedded NUL escape. */
static void exec_step(bench_step *b, const char *params)
{
    char *copy = strdup(params);
    for (char *c = copy; *c; c++)
        *c = *c == '\'' ? '"' : *c;
    json_t *value = json_loads(copy, JSON_ALLOW_NUL, NULL);
    free(copy);
    REQUIRE(value);
    step_forget(b);
    b->attempt.params = value;
    b->attempt.context = json_object();
    b->step = (sl_step){.id = "one", .params = value};
    b->attempt.step = &b->step;
    b->attempt.loop = &b->loop;
    b->attempt.services = &b->services;
    sl_step_action_kind.start(&b->attempt);
    step_wait(b);
}

SL_TEST(programs)
{
    bench_step b;
    step_open(&b);
    allow(&b);
    (void)setenv("SECRET_OF_PARENT", "secret", 1);
    for (size_t i = 0; i < sizeof exec_cases / sizeof *exec_cases; i++) {
        exec_step(&b, exec_cases[i].params);
        if (exec_cases[i].error)
            CHECK_FAILS(&b, exec_cases[i].error, exec_cases[i].wanted);
        else
            CHECK_RESULT(&b, 0, exec_cases[i].wanted);
    }
    step_close(&b);
}

SL_TEST(output_of_programs_is_told)
{
    bench_step b;
    step_open(&b);
    allow(&b);
    exec_step(&b, "{'action':'exec','command':'/bin/sh','args':['-c','echo err >&2; head -c 300000 /dev/zero'],"
                  "'max_output_bytes':100000}");
    json_t *metadata = json_array_get(b.results, 1);
    CHECK_EQ(json_string_length(json_array_get(b.results, 0)), 100000);
    CHECK(json_is_true(json_object_get(metadata, "truncated")));
    CHECK_EQ(json_integer_value(json_object_get(metadata, "exit_code")), 0);
    CHECK_STR(sl_str_c(json_string_value(json_object_get(metadata, "stderr"))), "err\n");
    /* A child that stays behind with the pipes is not waited for, and is killed. */
    uint64_t before = sl_mono_ns();
    exec_step(&b, "{'action':'exec','command':'/bin/sh','args':['-c','sleep 30 & echo $!']}");
    CHECK_EQ(b.error, 0);
    CHECK(sl_mono_ns() - before < 5000000000u);
    pid_t left = atoi(json_string_value(json_array_get(b.results, 0)));
    bool gone = false;
    for (int i = 0; i < 100 && !gone; i++) {
        char path[40], state[200] = "";
        (void)snprintf(path, sizeof path, "/proc/%d/stat", left);
        FILE *f = fopen(path, "r");
        gone = !f || !fgets(state, sizeof state, f) || strstr(state, ") Z");
        if (f)
            (void)fclose(f);
        nf_sleep_ms(10);
    }
    CHECK(left > 0 && gone);
    step_close(&b);
}

SL_TEST(programs_are_killed)
{
    bench_step b;
    char path[] = "/tmp/sightline-test-exec-XXXXXX", params[300];
    int fd = mkstemp(path);
    REQUIRE(fd >= 0);
    step_open(&b);
    allow(&b);
    (void)snprintf(params, sizeof params, "{'action':'exec','command':'/bin/sh','args':['-c','echo $$ >%s; sleep 30']}",
                   path);
    step_begin(&b, ACTION, params, "{}");
    char text[32] = "";
    for (int i = 0; i < 500 && !strchr(text, '\n'); i++) {
        (void)uv_run(&b.loop.uv, UV_RUN_NOWAIT);
        ssize_t n = pread(fd, text, sizeof text - 1, 0);
        text[n > 0 ? n : 0] = '\0';
        nf_sleep_ms(10);
    }
    pid_t pid = atoi(text);
    CHECK(pid > 0);
    sl_step_action_kind.cancel(&b.attempt);
    CHECK_EQ(b.ends, 0);
    step_close(&b); /* waits for the process to be gone */
    CHECK(kill(pid, 0) != 0);
    (void)close(fd);
    (void)unlink(path);
}

/* ---- file ---- */

static char root[64];

static void make_root(bench_step *b)
{
    (void)strcpy(root, "/tmp/sightline-test-file-XXXXXX");
    if (!mkdtemp(root))
        abort();
    b->services.file_root = root;
}

static void remove_root(void)
{
    char command[100];
    (void)snprintf(command, sizeof command, "rm -rf %s", root);
    if (system(command) != 0)
        abort();
}

static const char *in_root(const char *name)
{
    static char path[200];
    (void)snprintf(path, sizeof path, "%s/%s", root, name);
    return path;
}

SL_TEST(files)
{
    bench_step b;
    step_open(&b);
    make_root(&b);
    step_run(&b, ACTION, "{'action':'file','operation':'write','path':'a.txt','content':'one'}");
    CHECK_RESULT(&b, 0, "'a.txt'");
    CHECK_RESULT(&b, 1, "{'path':'a.txt','bytes':3}");
    step_run(&b, ACTION, "{'action':'file','path':'./a.txt'}");
    CHECK_RESULT(&b, 0, "'one'");
    CHECK_RESULT(&b, 1, "{'path':'./a.txt','bytes':3,'base64':false}");
    step_run(&b, ACTION, "{'action':'file','operation':'append','path':'a.txt','content':'two'}");
    step_run(&b, ACTION, "{'action':'file','operation':'append','path':'new','content':{'a':1}}");
    step_run(&b, ACTION, "{'action':'file','operation':'read','path':'a.txt'}");
    CHECK_RESULT(&b, 0, "'onetwo'");
    step_run(&b, ACTION, "{'action':'file','operation':'write','path':'a.txt','content':''}");
    step_run(&b, ACTION, "{'action':'file','operation':'read','path':'a.txt'}");
    CHECK_RESULT(&b, 0, "''");
    step_run(&b, ACTION, "{'action':'file','operation':'write','path':'d/e/f','content':'x'}");
    CHECK_FAILS(&b, SL_STEP_ERROR_INPUT, "No such file");
    step_run(&b, ACTION, "{'action':'file','operation':'write','path':'d//e/./f','content':'x','create_folders':true}");
    CHECK_EQ(b.error, 0);
    step_run(&b, ACTION, "{'action':'file','operation':'write','path':'d/bin','content':'/wD+','encoding':'base64'}");
    step_run(&b, ACTION, "{'action':'file','path':'d/bin'}");
    CHECK_RESULT(&b, 0, "'/wD+'");
    CHECK(json_is_true(json_object_get(json_array_get(b.results, 1), "base64")));
    step_run(&b, ACTION, "{'action':'file','path':'a.txt','encoding':'base64'}");
    CHECK_RESULT(&b, 0, "''");
    step_run(&b, ACTION, "{'action':'file','operation':'list'}");
    CHECK_RESULT(&b, 0,
                 "[{'name':'a.txt','type':'file','size':0},{'name':'d','type':'folder','size':0},"
                 "{'name':'new','type':'file','size':7}]");
    step_run(&b, ACTION, "{'action':'file','operation':'list','path':'d/e'}");
    CHECK_RESULT(&b, 0, "[{'name':'f','type':'file','size':1}]");
    CHECK_RESULT(&b, 1, "{'path':'d/e','count':1}");
    remove_root();
    step_close(&b);
}

typedef struct escape_case {
    const char *operation, *path;
    sl_step_error error;
} escape_case;

static const escape_case escapes[] = {
    {"read", "../outside", SL_STEP_ERROR_FORBIDDEN},
    {"read", "d/../../outside", SL_STEP_ERROR_FORBIDDEN},
    {"read", "..", SL_STEP_ERROR_FORBIDDEN},
    {"read", "d/..", SL_STEP_ERROR_FORBIDDEN},
    {"read", "/etc/passwd", SL_STEP_ERROR_FORBIDDEN},
    {"read", "//etc/passwd", SL_STEP_ERROR_FORBIDDEN},
    {"read", "link", SL_STEP_ERROR_FORBIDDEN},
    {"write", "link", SL_STEP_ERROR_FORBIDDEN},
    {"append", "link", SL_STEP_ERROR_FORBIDDEN},
    {"read", "folder_link/passwd", SL_STEP_ERROR_FORBIDDEN},
    {"write", "folder_link/x", SL_STEP_ERROR_FORBIDDEN},
    {"list", "folder_link", SL_STEP_ERROR_FORBIDDEN},
    {"list", "folder_link/", SL_STEP_ERROR_FORBIDDEN},
    {"list", "..", SL_STEP_ERROR_FORBIDDEN},
    {"read", "inner_link", SL_STEP_ERROR_FORBIDDEN},
    {"read", "pipe", SL_STEP_ERROR_FORBIDDEN},
    {"write", "pipe", SL_STEP_ERROR_FORBIDDEN},
    {"write", "d", SL_STEP_ERROR_FORBIDDEN},
    {"read", "d", SL_STEP_ERROR_FORBIDDEN},
    {"append", "d", SL_STEP_ERROR_INPUT},
    {"read", "file/x", SL_STEP_ERROR_FORBIDDEN},
    {"read", "none", SL_STEP_ERROR_INPUT},
    {"read", ".", SL_STEP_ERROR_INPUT},
    {"write", "./", SL_STEP_ERROR_INPUT},
    {"eat", "file", SL_STEP_ERROR_INPUT},
    {"read", "", SL_STEP_ERROR_INPUT},
};

SL_TEST(no_path_leads_outside)
{
    bench_step b;
    step_open(&b);
    make_root(&b);
    CHECK(mkdir(in_root("d"), 0755) == 0 && symlink("/etc/passwd", in_root("link")) == 0);
    CHECK(symlink("/etc", in_root("folder_link")) == 0 && symlink("file", in_root("inner_link")) == 0);
    CHECK(mkfifo(in_root("pipe"), 0666) == 0);
    int fd = open(in_root("file"), O_CREAT | O_WRONLY, 0644);
    CHECK(fd >= 0 && close(fd) == 0);
    for (size_t i = 0; i < sizeof escapes / sizeof *escapes; i++) {
        char params[200];
        (void)snprintf(params, sizeof params, "{'action':'file','operation':'%s','path':'%s','content':'x'}",
                       escapes[i].operation, escapes[i].path);
        step_run(&b, ACTION, params);
        if (b.error != escapes[i].error)
            sl_test_failed(__FILE__, __LINE__, "%s %s: %d %s", escapes[i].operation, escapes[i].path, b.error,
                           b.reason);
    }
    char path[400] = "", params[600];
    for (int i = 0; i < 40; i++)
        (void)strcat(path, "d/");
    (void)snprintf(params, sizeof params, "{'action':'file','operation':'write','path':'%sx','create_folders':true}",
                   path);
    step_run(&b, ACTION, params);
    CHECK_FAILS(&b, SL_STEP_ERROR_INPUT, "too many folders");
    step_run(&b, ACTION, "{'action':'file','path':'file','encoding':'latin1'}");
    CHECK_FAILS(&b, SL_STEP_ERROR_INPUT, "encoding must be");
    step_run(&b, ACTION, "{'action':'file','operation':'write','path':'f','content':'*','encoding':'base64'}");
    CHECK_FAILS(&b, SL_STEP_ERROR_INPUT, "no base64");
    remove_root();
    step_close(&b);
}

/* A write that fails leaves the file as it was, and nothing beside it. */
SL_TEST(failing_writes_leave_the_file)
{
    bench_step b;
    step_open(&b);
    make_root(&b);
    step_run(&b, ACTION, "{'action':'file','operation':'write','path':'f','content':'old'}");
    sl_test_fail_alloc(0);
    step_begin(&b, ACTION, "{'action':'file','operation':'write','path':'f','content':'new'}", "{}");
    step_wait(&b);
    sl_test_fail_alloc(-1);
    CHECK_EQ(b.error, SL_STEP_ERROR_INTERNAL);
    CHECK(chmod(root, 0555) == 0);
    if (geteuid() != 0) { /* root may write anywhere */
        step_run(&b, ACTION, "{'action':'file','operation':'write','path':'f','content':'new'}");
        CHECK(b.error != 0);
    }
    CHECK(chmod(root, 0755) == 0);
    step_run(&b, ACTION, "{'action':'file','path':'f'}");
    CHECK_RESULT(&b, 0, "'old'");
    step_run(&b, ACTION, "{'action':'file','operation':'list'}");
    CHECK_EQ(json_array_size(json_array_get(b.results, 0)), 1);
    step_begin(&b, ACTION, "{'action':'file','path':'f'}", "{}");
    sl_step_action_kind.cancel(&b.attempt);
    CHECK_EQ(b.ends, 0);
    step_close(&b);
    remove_root();
}

/* The disk takes no more: the file stays as it was, and nothing is left beside it; what had room before has it again.
 */
SL_TEST(no_room_on_the_disk)
{
    bench_step b;
    struct rlimit before;
    step_open(&b);
    make_root(&b);
    step_run(&b, ACTION, "{'action':'file','operation':'write','path':'f','content':'old'}");
    REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
    (void)signal(SIGXFSZ, SIG_IGN);
    for (rlim_t room = 0; room < 6; room++) {
        struct rlimit limit = {room, before.rlim_max};
        REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
        step_run(&b, ACTION, "{'action':'file','operation':'write','path':'f','content':'longer'}");
        CHECK_FAILS(&b, SL_STEP_ERROR_INTERNAL, "File too large");
    }
    REQUIRE(setrlimit(RLIMIT_FSIZE, &before) == 0);
    step_run(&b, ACTION, "{'action':'file','path':'f'}");
    CHECK_RESULT(&b, 0, "'old'");
    step_run(&b, ACTION, "{'action':'file','operation':'list'}");
    CHECK_EQ(json_array_size(json_array_get(b.results, 0)), 1);
    step_run(&b, ACTION, "{'action':'file','operation':'write','path':'f','content':'longer'}");
    CHECK_EQ(b.error, 0);
    remove_root();
    step_close(&b);
}

/* ---- queue ---- */

SL_TEST(messages_are_durable)
{
    bench_step b;
    char error[300] = "";
    step_open(&b);
    make_root(&b);
    sl_queue_options options = {.path = in_root("queue.db")};
    REQUIRE(sl_queue_open(&options, error, sizeof error, &b.services.queue) == 0);
    step_run(&b, ACTION, "{'action':'queue','topic':'t','message':{'a':1},'key':'k1','priority':3}");
    CHECK_EQ(b.error, 0);
    json_t *metadata = json_array_get(b.results, 1);
    CHECK(json_is_false(json_object_get(metadata, "duplicate")));
    char id[64];
    (void)snprintf(id, sizeof id, "%s", json_string_value(json_array_get(b.results, 0)));
    step_run(&b, ACTION, "{'action':'publish','topic':'t','message':'again','key':'k1'}");
    CHECK_STR(sl_str_c(json_string_value(json_array_get(b.results, 0))), id);
    CHECK(json_is_true(json_object_get(json_array_get(b.results, 1), "duplicate")));
    sl_queue_message *message = NULL;
    REQUIRE(sl_queue_take(b.services.queue, SL_STR("t"), 10000, &message) == 0);
    CHECK_STR(message->body, "{\"a\":1}");
    CHECK_EQ(message->priority, 3);
    CHECK_STR(sl_str_c(message->id), id);
    sl_queue_message_free(message);
    step_run(&b, ACTION, "{'action':'publish','content':'x','tone':'y'}");
    CHECK_EQ(b.error, 0);
    REQUIRE(sl_queue_take(b.services.queue, SL_STR("default"), 10000, &message) == 0);
    CHECK_STR(message->body, "x");
    sl_queue_message_free(message);
    step_run(&b, ACTION, "{'action':'queue','topic':'t','priority':10}");
    CHECK_FAILS(&b, SL_STEP_ERROR_INPUT, "priority must be");
    step_begin(&b, ACTION, "{'action':'queue','topic':'t','message':'unawaited'}", "{}");
    sl_step_action_kind.cancel(&b.attempt);
    CHECK_EQ(b.ends, 0);
    step_close(&b);
    sl_queue_close(b.services.queue);
    remove_root();
}
