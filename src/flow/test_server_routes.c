/*
 * The routes of the API server and the control plane as a table: what each answers to what is asked in every wrong way,
 * with the key and without. After all of it the server is as it was.
 */
#include "src/flow/test_server_fixture.h"

typedef struct row {
    fs_surface surface;
    const char *method, *target, *body;
    int status;
    const char *says; /* stands in the body; "": anything */
} row;

#define API FS_API
#define CTL FS_CONTROL

/* %s is the id of a run that has ended. */
static const row rows[] = {
    /* methods and paths */
    {API, "GET", "/nothing", "", 404, "detail"},
    {API, "PUT", "/runs", "", 405, "detail"},
    {API, "DELETE", "/workflows/echo", "", 405, "detail"},
    {API, "POST", "/health", "", 405, "detail"},
    {API, "GET", "/workflows/echo/", "", 200, "\"name\":\"echo\""},
    {API, "GET", "/workflows//runs", "", 404, ""},
    {API, "GET", "/runs/%%zz", "", 400, "decoded"},
    {API, "GET", "/runs/%%FF", "", 400, "decoded"},
    {API, "GET", "/runs/%%00", "", 400, "decoded"},
    {API, "GET", "/runs/a%%2Fb", "", 404, "Run not found"},
    {API, "GET", "/runs/..%%2f..", "", 404, "Run not found"},
    {CTL, "GET", "/nothing", "", 404, "detail"},
    {CTL, "POST", "/services", "", 405, "detail"},

    /* workflows */
    {API, "POST", "/workflows", "", 400, "problems"},
    {API, "POST", "/workflows", "name: x", 400, "steps"},
    {API, "POST", "/workflows", "[1, 2]", 400, "problems"},
    {API, "POST", "/workflows", "name: x\nsteps:\n  - {id: a, type: nonsense}\n", 400, "nonsense"},
    {API, "POST", "/workflows", "name: x\nsteps:\n  - {id: a, type: llm, depends_on: [b]}\n", 400, "problems"},
    {API, "POST", "/workflows", "{\"name\": \"x\", \"steps\": 7}", 400, "problems"},
    {API, "POST", "/workflows", "name: x\nsteps: [\n", 400, "problems"},
    {API, "GET", "/workflows/absent", "", 404, "Workflow not found"},
    {API, "GET", "/workflows/ECHO", "", 404, "Workflow not found"},
    {API, "GET", "/workflows/absent/schema", "", 404, ""},
    {API, "GET", "/workflows/absent/representation", "", 404, ""},
    {API, "GET", "/workflows/absent/events", "", 404, ""},
    {API, "GET", "/workflows/echo/schema", "", 200, "StartEvent"},
    {API, "GET", "/workflows/echo/representation", "", 200, "graph"},
    {API, "GET", "/workflows/echo/events", "", 200, "StopEvent"},

    /* making runs */
    {API, "POST", "/workflows/absent/runs", "{}", 404, "Workflow not found"},
    {API, "POST", "/workflows/echo/runs", "{", 422, "JSON"},
    {API, "POST", "/workflows/echo/runs", "{\"inputs\":{},\"inputs\":{}}", 422, "JSON"},
    {API, "POST", "/workflows/echo/runs", "[]", 422, "object"},
    {API, "POST", "/workflows/echo/runs", "\"x\"", 422, "object"},
    {API, "POST", "/workflows/echo/runs", "{\"inputs\":[]}", 422, "inputs"},
    {API, "POST", "/workflows/echo/runs", "{\"inputs\":\"{}\"}", 422, "inputs"},
    {API, "POST", "/workflows/echo/runs", "{\"idempotency_key\":7}", 422, "idempotency_key"},
    {API, "POST", "/workflows/echo/runs", "{\"idempotency_key\":\"\"}", 422, "idempotency_key"},
    {API, "POST", "/workflows/absent/run", "{}", 404, ""},
    {API, "POST", "/workflows/echo/run-nowait", "{", 400, "detail"},
    {API, "POST", "/workflows/echo/run-nowait", "[]", 400, "detail"},
    {API, "POST", "/workflows/echo/run-nowait", "{\"start_event\":7}", 400, "detail"},
    {API, "POST", "/workflows/echo/run-nowait", "{\"start_event\":\"no JSON\"}", 400, "detail"},
    {API, "POST", "/workflows/echo/run-nowait", "{\"start_event\":{},\"context\":{\"a\":1}}", 400, "Context"},
    {API, "POST", "/workflows/echo/run-nowait", "{\"start_event\":{},\"handler_id\":7}", 400, "detail"},

    /* reading runs */
    {API, "GET", "/runs?limit=0", "", 200, "runs"},
    {API, "GET", "/runs?limit=1000", "", 200, "runs"},
    {API, "GET", "/runs?limit=1001", "", 422, "limit"},
    {API, "GET", "/runs?limit=-1", "", 422, "limit"},
    {API, "GET", "/runs?limit=x", "", 422, "limit"},
    {API, "GET", "/runs?status=unheard", "", 422, "status"},
    {API, "GET", "/runs?workflow=absent", "", 200, "\"runs\":[]"},
    {API, "GET", "/runs?before=absent", "", 200, "runs"},
    {API, "GET", "/runs/%s", "", 200, "\"status\":\"succeeded\""},
    {API, "GET", "/runs/absent", "", 404, "Run not found"},
    {API, "GET", "/runs/absent/events", "", 404, "Run not found"},
    {API, "GET", "/runs/%s/events?after=-1", "", 422, "after"},
    {API, "GET", "/runs/%s/events?after=99999999999999999999", "", 422, "after"},
    {API, "GET", "/runs/%s/events?after=1000000", "", 200, ""},
    {API, "POST", "/runs/%s/cancel", "", 409, "detail"},
    {API, "POST", "/runs/%s/resume", "", 409, "detail"},
    {API, "POST", "/runs/absent/cancel", "", 404, "Run not found"},
    {API, "POST", "/runs/absent/resume", "", 404, "Run not found"},

    /* handlers */
    {API, "GET", "/handlers/%s", "", 200, "completed"},
    {API, "GET", "/handlers/absent", "", 404, "Handler not found"},
    {API, "GET", "/handlers?status=completed", "", 200, "handler_id"},
    {API, "GET", "/handlers?status=failed", "", 200, "\"handlers\":[]"},
    {API, "GET", "/handlers?workflow_name=absent", "", 200, "\"handlers\":[]"},
    {API, "GET", "/results/%s", "", 200, "the result"},
    {API, "GET", "/results/absent", "", 404, "Handler not found"},
    {API, "GET", "/events/absent", "", 404, "Handler not found"},
    {API, "GET", "/events/%s?after_sequence=x", "", 400, "after_sequence"},
    {API, "GET", "/events/%s?after_sequence=-1&sse=false", "", 200, "the result"},
    {API, "GET", "/events/%s?after_sequence=now", "", 204, ""},
    {API, "POST", "/events/absent", "{\"event\":{\"type\":\"X\"}}", 404, "Handler not found"},
    {API, "POST", "/events/%s", "{", 400, "detail"},
    {API, "POST", "/events/%s", "{}", 400, "Event data"},
    {API, "POST", "/events/%s", "{\"event\":{}}", 400, "Event data"},
    {API, "POST", "/events/%s", "{\"event\":\"\"}", 400, "Event data"},
    {API, "POST", "/events/%s", "{\"event\":{\"type\":\"X\"}}", 409, "already completed"},
    {API, "POST", "/handlers/absent/cancel", "", 404, "Handler not found"},

    /* deployments */
    {API, "GET", "/deployments/absent", "", 404, "Deployment not found"},
    {API, "DELETE", "/deployments/absent", "", 404, "Deployment not found"},
    {API, "POST", "/deployments/create", "", 422, "config_file"},
    {API, "POST", "/deployments/create", "{}", 422, "config_file"},
    {API, "GET", "/deployments/absent/tasks", "", 404, "Deployment not found"},
    {API, "GET", "/deployments/absent/sessions", "", 404, "Deployment not found"},
    {API, "POST", "/deployments/absent/tasks/run", "{}", 404, "Deployment not found"},
    {API, "POST", "/deployments/absent/tasks/create", "{}", 404, "Deployment not found"},
    {API, "POST", "/deployments/absent/sessions/create", "", 404, "Deployment not found"},
    {API, "POST", "/deployments/absent/sessions/delete", "", 404, "Deployment not found"},

    /* the control plane */
    {CTL, "GET", "/services/absent", "", 404, "Service not found"},
    {CTL, "GET", "/services/echo", "", 200, "echo"},
    {CTL, "POST", "/services/register", "{", 422, "JSON"},
    {CTL, "POST", "/services/register", "[]", 422, ""},
    {CTL, "POST", "/services/register", "{}", 422, "service_name"},
    {CTL, "POST", "/services/register", "{\"service_name\":7}", 422, "service_name"},
    {CTL, "POST", "/services/deregister", "", 422, "service_name"},
    {CTL, "POST", "/services/deregister?service_name=absent", "", 200, ""},
    {CTL, "GET", "/sessions/absent", "", 404, "Session not found"},
    {CTL, "GET", "/sessions/absent/tasks", "", 404, "Session not found"},
    {CTL, "GET", "/sessions/absent/current_task", "", 404, "Session not found"},
    {CTL, "GET", "/sessions/absent/state", "", 404, "Session not found"},
    {CTL, "POST", "/sessions/absent/state", "{}", 404, "Session not found"},
    {CTL, "POST", "/sessions/absent/tasks", "{}", 404, "Session not found"},
    {CTL, "GET", "/sessions/absent/tasks/%s/result", "", 404, "Session not found"},
    {CTL, "GET", "/sessions/absent/tasks/%s/result_stream", "", 404, "Session not found"},
    {CTL, "POST", "/sessions/absent/tasks/%s/send_event", "{}", 404, "Session not found"},
    {CTL, "POST", "/process_message", "", 422, "action"},
    {CTL, "POST", "/process_message", "{\"action\":\"unheard\",\"data\":{}}", 422, "action"},
};

static void end_one(fs *s, char id[64])
{
    fs_task task;
    fs_add(s, FS_ECHO);
    fs_begin(s, "echo", "{\"inputs\":{\"x\":1}}", id);
    CHECK(fs_take(s, "echo", 5, &task));
    fs_result(s, task.id, "the result");
    CHECK(fs_comes_to(s, id, "succeeded"));
    fs_settle(s, &task, "ack", 200);
    fs_task_done(&task);
}

SL_TEST(what_is_asked_in_a_wrong_way_is_told_so)
{
    static fs s;
    char id[64];
    REQUIRE(fs_new(&s, 0));
    end_one(&s, id);
    json_t *before = fs_ask(&s, FS_API, "GET", "/runs", "", 200);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        const row *r = &rows[i];
        char target[300];
        (void)snprintf(target, sizeof target, r->target, id);
        nf_message m = fs_send(&s, r->surface, r->method, target, "", r->body);
        sl_str says = sl_str_c(r->says);
        if (m.status != r->status || !m.complete || (says.len && sl_str_find(m.body, says) == SL_NPOS))
            sl_test_failed(__FILE__, __LINE__, "%s %s %s: %d, not %d with %s: %.*s", r->method, target, r->body,
                           m.status, r->status, r->says, (int)(m.body.len < 200 ? m.body.len : 200), m.body.ptr);
        if (m.status == 405)
            CHECK(nf_field(&m, "allow") != NULL);
        if (m.status >= 400 && m.body.len) { /* whatever it is, it is JSON with a reason */
            json_t *json = json_loadb(m.body.ptr, m.body.len, 0, NULL);
            CHECK(json_object_get(json, "detail") != NULL);
            json_decref(json);
        }
        nf_message_free(&m);
    }
    json_t *after = fs_ask(&s, FS_API, "GET", "/runs", "", 200);
    CHECK(json_equal(before, after));
    json_decref(before);
    json_decref(after);
    fs_stop(&s);
}

/* ---- keys ---- */

SL_TEST(without_the_key_only_what_is_open_answers)
{
    static const struct {
        const char *field;
        bool good;
    } keys[] = {
        {"", false},
        {"Authorization: Bearer " FS_KEY "\r\n", true},
        {"authorization: bearer " FS_KEY "\r\n", true},
        {"Authorization: Bearer " FS_KEY "x\r\n", false},
        {"Authorization: Bearer secre\r\n", false},
        {"Authorization: Bearer \r\n", false},
        {"Authorization: Basic " FS_KEY "\r\n", false},
        {"Authorization: " FS_KEY "\r\n", false},
        {"X-Api-Key: wrong\r\n", false},
    };
    static const struct {
        fs_surface surface;
        const char *method, *target;
        bool open;
    } routes[] = {
        {FS_API, "GET", "/health", true},        {FS_API, "GET", "/", true},
        {FS_API, "GET", "/status/", true},       {FS_API, "GET", "/openapi.json", true},
        {FS_API, "GET", "/runs", false},         {FS_API, "GET", "/runs/absent", false},
        {FS_API, "POST", "/workflows", false},   {FS_API, "GET", "/deployments/", false},
        {FS_API, "GET", "/handlers", false},     {FS_API, "GET", "/nothing", false},
        {FS_CONTROL, "GET", "/", false},         {FS_CONTROL, "GET", "/services", false},
        {FS_CONTROL, "GET", "/sessions", false}, {FS_CONTROL, "POST", "/process_message", false},
        {FS_QUEUE, "GET", "/queues", false},     {FS_QUEUE, "POST", "/queues/t/messages", false},
    };
    static fs s;
    memset(&s, 0, sizeof s);
    (void)snprintf(s.folder, sizeof s.folder, "/tmp/sl-test-server-XXXXXX");
    REQUIRE(sl_test_mkdtemp(s.folder));
    s.options.key = SL_STR(FS_KEY);
    s.options.drain_timeout_ms = 100;
    REQUIRE(fs_start(&s));
    for (size_t r = 0; r < sizeof routes / sizeof *routes; r++) {
        for (size_t k = 0; k < sizeof keys / sizeof *keys; k++) {
            nf_message m = fs_send(&s, routes[r].surface, routes[r].method, routes[r].target, keys[k].field, "");
            bool refused = m.status == 401;
            if (refused == (keys[k].good || routes[r].open))
                sl_test_failed(__FILE__, __LINE__, "%s %s with %s: %d", routes[r].method, routes[r].target,
                               keys[k].field, m.status);
            if (refused)
                CHECK(nf_field(&m, "www-authenticate") != NULL);
            nf_message_free(&m);
        }
    }
    fs_stop(&s);
}

/* ---- idempotency ---- */

static void begin_with(fs *s, const char *fields, const char *body, char ret_id[64], bool *ret_existed)
{
    nf_message m = fs_send(s, FS_API, "POST", "/workflows/echo/runs", fields, body);
    json_t *answer = m.body.len ? json_loadb(m.body.ptr, m.body.len, 0, NULL) : NULL;
    CHECK_EQ(m.status, 202);
    *ret_existed = json_is_true(json_object_get(answer, "existed"));
    fs_text(answer, "run_id", ret_id, 64);
    nf_message_free(&m);
}

SL_TEST(a_key_is_one_run_wherever_it_stands_and_after_a_start)
{
    char long_key[256], body[600], first[64], again[64];
    bool existed;
    static fs s;
    memset(long_key, 'k', 255);
    long_key[255] = 0;
    const char *const keys[] = {"a", "order 66", "\xc3\xa4\xc3\xb6", long_key};
    REQUIRE(fs_new(&s, 0));
    fs_add(&s, FS_ECHO);
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++) {
        (void)snprintf(body, sizeof body, "{\"inputs\":{\"x\":1},\"idempotency_key\":\"%s\"}", keys[i]);
        begin_with(&s, "", body, first, &existed);
        CHECK(!existed);
        begin_with(&s, "", body, again, &existed);
        CHECK(existed && strcmp(first, again) == 0);
        (void)snprintf(body, sizeof body, "Idempotency-Key: %s\r\n", keys[i]);
        begin_with(&s, body, "{\"inputs\":{\"x\":2}}", again, &existed);
        CHECK(existed && strcmp(first, again) == 0);
        fs_again(&s);
        begin_with(&s, body, "", again, &existed);
        CHECK(existed && strcmp(first, again) == 0);
    }
    memset(body, 'k', 256);
    (void)snprintf(body, sizeof body, "{\"idempotency_key\":\"%sk\"}", long_key); /* one byte more */
    fs_expect(&s, FS_API, "POST", "/workflows/echo/runs", body, 422);
    fs_stop(&s);
}
