/* LlamaDeploy's control plane: services, sessions and tasks, for its clients and its services. */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/flow/server_impl.h"
#include "src/llm/json_text.h"
#include "src/net/lite/addr.h"

static int port_of(int fd, char *host, size_t size)
{
    sl_addr addr;
    (void)snprintf(host, size, "127.0.0.1");
    if (fd < 0 || sl_addr_of_socket(fd, &addr) != 0)
        return 0;
    (void)snprintf(host, size, "%s", addr.host);
    return addr.port;
}

/* ---- what it is ---- */

static void get_home(sl_api_request *request)
{
    sl_api_reply(request, 200,
                 json_pack("{s:s,s:s,s:s,s:s,s:s}", "running", "True", "step_interval", "0.1", "services_store_key",
                           "services", "tasks_store_key", "tasks", "session_store_key", "sessions"));
}

static json_t *config_json(const sl_flow_server *server)
{
    char host[SL_ADDR_HOST_MAX + 1];
    int port = port_of(server->options->control_fd, host, sizeof host);
    return json_pack("{s:s,s:s,s:s,s:f,s:s,s:i,s:n,s:n,s:b,s:n,s:s,s:n,s:b}", "services_store_key", "services",
                     "tasks_store_key", "tasks", "session_store_key", "sessions", "step_interval", 0.1, "host", host,
                     "port", port, "internal_host", "internal_port", "running", 1, "cors_origins", "topic_namespace",
                     server->topics, "state_store_uri", "use_tls", 0);
}

static void get_queue_config(sl_api_request *request)
{
    sl_flow_server *server = sl_api_user(request);
    char host[SL_ADDR_HOST_MAX + 1];
    int port = port_of(server->options->queue_fd, host, sizeof host);
    sl_api_reply(request, 200,
                 json_pack("{s:{s:s,s:i,s:{},s:b,s:b}}", "SimpleMessageQueueConfig", "host", host, "port", port,
                           "client_kwargs", "raise_exceptions", 0, "use_ssl", 0));
}

/* ---- services ---- */

static void answer_config(void *user, int error)
{
    sl_api_request *request = user;
    if (error)
        sl_api_fail_code(request, error, "the service cannot be registered");
    else
        sl_api_reply(request, 200, config_json(sl_api_user(request)));
    sl_api_unref(request);
}

static void answer_null(void *user, int error)
{
    sl_api_request *request = user;
    if (error)
        sl_api_fail_code(request, error, "the change cannot be made");
    else
        sl_api_reply(request, 200, json_null());
    sl_api_unref(request);
}

/* A change that is answered when it is on disk. */
static void change(sl_api_request *request, const char *sql, const sl_str *values, size_t count,
                   void (*done)(void *user, int error))
{
    sl_flow_server *server = sl_api_user(request);
    int error = sl_flow_store_put_then(server->store, sql, values, count, done, sl_api_ref(request));
    if (error)
        done(request, error);
}

static sl_span *trace(sl_api_request *request, const char *name)
{
    sl_flow_server *server = sl_api_user(request);
    return sl_flow_span(server->control_tracer, name, SL_SPAN_INTERNAL, sl_api_span(request), NULL);
}

static void register_service(sl_api_request *request)
{
    json_t *body = NULL;
    if (!sl_api_json(request, &body))
        return;
    const char *name = json_string_value(json_object_get(body, "service_name"));
    const char *about = json_string_value(json_object_get(body, "description"));
    if (!name || !*name || !about) {
        sl_api_invalid(request, "body", name && *name ? "description" : "service_name", "Field required");
        json_decref(body);
        return;
    }
    static const char *const members[] = {"service_name", "description", "prompt", "host", "port"};
    json_t *kept =
        json_pack("{s:s,s:s,s:[],s:n,s:n}", "service_name", name, "description", about, "prompt", "host", "port");
    for (size_t i = 2; i < 5; i++) {
        if (json_object_get(body, members[i]))
            (void)json_object_set(kept, members[i], json_object_get(body, members[i]));
    }
    char *text = sl_json_text(kept);
    sl_span *span = trace(request, "control_plane.register_service");
    sl_span_set_str(span, "service.name", name);
    sl_span_set_str(span, "success", "True");
    sl_span_end(span);
    const sl_str values[] = {sl_str_c(name), sl_str_c(text ? text : "{}")};
    change(request,
           "insert into services(name, definition) values(?1, ?2) on conflict(name) do update set definition = "
           "excluded.definition",
           values, 2, answer_config);
    free(text);
    json_decref(kept);
    json_decref(body);
}

static void deregister_service(sl_api_request *request)
{
    sl_str name;
    if (!sl_api_query(request, "service_name", &name)) {
        sl_api_invalid(request, "query", "service_name", "Field required");
        return;
    }
    sl_span *span = trace(request, "control_plane.deregister_service");
    sl_span_set(span, SL_STR("service.name"), sl_value_str(name));
    sl_span_set_str(span, "success", "True");
    sl_span_end(span);
    change(request, "delete from services where name = ?1", &name, 1, answer_null);
}

static bool add_service(void *user, const sl_str *columns, size_t count)
{
    SL_ASSERT(count == 2);
    (void)count;
    char name[1024];
    json_t *value = sl_json_load(columns[1], 0, NULL);
    if (!value || !sl_str_to_c(columns[0], name, sizeof name)) {
        json_decref(value);
        return true;
    }
    return json_object_set_new(user, name, value) == 0;
}

/* Registered ones, and those that are run here. */
static json_t *all_services(sl_flow_server *server)
{
    json_t *all = json_object();
    for (sl_flow_consumer *c = server->consumers; c; c = c->next) {
        char name[SL_QUEUE_MAX_TOPIC_BYTES + 1];
        if (!c->flow || !sl_str_to_c(c->service, name, sizeof name))
            continue;
        const char *about = c->flow->description ? c->flow->description : "";
        (void)json_object_set_new(
            all, name,
            json_pack("{s:s,s:s,s:[],s:n,s:n}", "service_name", name, "description", about, "prompt", "host", "port"));
    }
    if (sl_flow_store_query(server->store, "select name, definition from services order by name", NULL, 0, add_service,
                            all) == 0)
        return all;
    json_decref(all);
    return NULL;
}

static void list_services(sl_api_request *request)
{
    sl_api_reply(request, 200, all_services(sl_api_user(request)));
}

static void get_service(sl_api_request *request)
{
    sl_str name = sl_api_param(request, 0);
    json_t *all = all_services(sl_api_user(request));
    json_t *one = all ? json_object_getn(all, name.ptr, name.len) : NULL;
    if (one)
        sl_api_reply(request, 200, json_incref(one));
    else
        sl_api_fail(request, 404, "Service not found");
    json_decref(all);
}

/* ---- sessions ---- */

/* The session of the path. False: answered. */
static bool session_of(sl_api_request *request)
{
    int error = sl_session_find(sl_api_user(request), sl_api_param(request, 0), sl_str_of(NULL, 0));
    if (error == SL_ENOENT)
        sl_api_fail(request, 404, "Session not found");
    else if (error)
        sl_api_fail_code(request, error, "the session cannot be read");
    return error == 0;
}

/* Takes the list; NULL: there is none. */
static json_t *ids_of(json_t *tasks)
{
    json_t *ids = tasks ? json_array() : NULL, *task;
    size_t i;
    json_array_foreach(tasks, i, task)
    {
        (void)json_array_append(ids, json_object_get(task, "task_id"));
    }
    json_decref(tasks);
    return ids;
}

static json_t *session_json(sl_flow_server *server, sl_str id)
{
    json_t *ids = ids_of(sl_session_tasks(server, id, sl_str_of(NULL, 0)));
    json_t *state = ids ? sl_session_state(server, id) : NULL;
    if (state)
        return sl_session_json(id, ids, state);
    json_decref(ids);
    return NULL;
}

typedef struct making {
    sl_api_request *request;
    sl_span *span;
    char id[SL_FLOW_ID_MAX];
} making;

static void session_made(void *user, int error)
{
    making *m = user;
    sl_span_set_str(m->span, "session.id", m->id);
    sl_span_set_str(m->span, "success", error ? "False" : "True");
    sl_span_end(m->span);
    if (error)
        sl_api_fail_code(m->request, error, "the session cannot be made");
    else
        sl_api_reply(m->request, 200, json_string(m->id));
    sl_api_unref(m->request);
    sl_free(m);
}

static void create_session(sl_api_request *request)
{
    making *m = sl_calloc(1, sizeof *m);
    if (!m) {
        sl_api_fail_code(request, SL_ENOMEM, "the session cannot be made");
        return;
    }
    m->request = sl_api_ref(request);
    m->span = trace(request, "control_plane.create_session");
    sl_session_make(sl_api_user(request), sl_str_of("", 0), session_made, m, m->id);
}

static void get_session(sl_api_request *request)
{
    if (session_of(request))
        sl_api_reply(request, 200, session_json(sl_api_user(request), sl_api_param(request, 0)));
}

static bool add_session(void *user, const sl_str *columns, size_t count)
{
    SL_ASSERT(count == 1);
    (void)count;
    return json_array_append_new(user, json_stringn(columns[0].ptr, columns[0].len)) == 0;
}

static void list_sessions(sl_api_request *request)
{
    sl_flow_server *server = sl_api_user(request);
    json_t *ids = json_array(), *all = json_object(), *id;
    size_t i;
    int error = sl_flow_store_query(server->store, "select id from sessions order by rowid limit 10000", NULL, 0,
                                    add_session, ids);
    json_array_foreach(ids, i, id)
    {
        json_t *session = session_json(server, sl_str_c(json_string_value(id)));
        if (json_object_set_new(all, json_string_value(id), session) != 0)
            error = SL_EIO;
    }
    json_decref(ids);
    if (error) {
        json_decref(all);
        all = NULL;
    }
    sl_api_reply(request, 200, all);
}

static void delete_session(sl_api_request *request)
{
    sl_flow_server *server = sl_api_user(request);
    sl_str id = sl_api_param(request, 0);
    sl_span *span = trace(request, "control_plane.delete_session");
    sl_span_set(span, SL_STR("session.id"), sl_value_str(id));
    sl_span_set_str(span, "success", "True");
    sl_span_end(span);
    sl_audit_add(server->audit, "session.delete", id, sl_api_caller(request), sl_str_of(NULL, 0));
    sl_session_delete(server, id, answer_null, sl_api_ref(request));
}

static void get_state(sl_api_request *request)
{
    if (session_of(request))
        sl_api_reply(request, 200, sl_session_state(sl_api_user(request), sl_api_param(request, 0)));
}

/* Members that are on their way to disk; the last one answers, with the first error. */
typedef struct state_change {
    sl_api_request *request;
    size_t waits;
    int error;
} state_change;

static void member_kept(void *user, int error)
{
    state_change *c = user;
    c->error = c->error ? c->error : error;
    if (--c->waits > 0)
        return;
    answer_null(c->request, c->error);
    sl_free(c);
}

static void keep_member(sl_flow_server *server, state_change *c, sl_str session, const char *key, json_t *value)
{
    char *text = sl_json_text(value);
    const sl_str values[] = {session, sl_str_c(key), sl_str_c(text)};
    int error = text ? 0 : SL_ENOMEM;
    c->waits++;
    if (!error)
        error = sl_flow_store_put_then(
            server->store,
            "insert into session_state(session, key, value) values(?1, ?2, ?3) on conflict(session, "
            "key) do update set value = excluded.value",
            values, 3, member_kept, c);
    if (error)
        member_kept(c, error);
    free(text);
}

static void post_state(sl_api_request *request)
{
    sl_flow_server *server = sl_api_user(request);
    sl_str id = sl_api_param(request, 0);
    json_t *body = NULL, *value;
    const char *key;
    if (!session_of(request) || !sl_api_json(request, &body))
        return;
    if (!json_is_object(body)) {
        sl_api_invalid(request, "body", "", "Input should be an object");
        json_decref(body);
        return;
    }
    state_change *c = sl_calloc(1, sizeof *c);
    if (!c) {
        json_decref(body);
        sl_api_fail_code(request, SL_ENOMEM, "the change cannot be made");
        return;
    }
    *c = (state_change){.request = sl_api_ref(request), .waits = 1};
    json_object_foreach(body, key, value)
    {
        if (!json_is_object(value) || json_object_size(value) > 0) /* our own members of tasks */
            keep_member(server, c, id, key, value);
    }
    json_decref(body);
    member_kept(c, 0);
}

/* ---- tasks ---- */

/* Where a service's tasks go. False: nobody has registered it. */
static bool find_service(sl_flow_server *server, sl_str name, sl_task_new *task, char *topic, size_t size)
{
    SL_ASSERT(task && topic);
    sl_flow_consumer *c = sl_flows_find(server, name);
    for (sl_flow_consumer *at = server->consumers; at && !c; at = at->next) {
        if (at->flow && sl_str_eq(at->service, name))
            c = at;
    }
    if (c) {
        task->topic = c->topic;
        task->flow = c->flow;
        return true;
    }
    bool known = sl_service_is_registered(server, name);
    for (size_t i = 0; i < server->deployment_count && !known; i++)
        known = sl_deployment_service(server->deployments[i], name) != NULL;
    (void)snprintf(topic, size, "%s.%.*s", server->topics, (int)(name.len < 200 ? name.len : 200), name.ptr);
    task->topic = topic;
    return known;
}

static void task_made(void *user, int error, sl_str id, bool existed)
{
    sl_api_request *request = user;
    sl_flow_server *server = sl_api_user(request);
    (void)existed;
    if (error) {
        sl_task_refuse(request, error, "the task is not accepted");
    } else {
        sl_audit_add(server->audit, "task.create", id, sl_api_caller(request), sl_str_of(NULL, 0));
        sl_api_reply(request, 200, json_stringn(id.ptr, id.len));
    }
    sl_api_unref(request);
}

static void make_task(sl_api_request *request, json_t *body)
{
    sl_flow_server *server = sl_api_user(request);
    const json_t *input = json_object_get(body, "input");
    sl_str text = sl_str_of(json_string_value(input), json_string_length(input));
    const char *service = json_string_value(json_object_get(body, "service_id"));
    const char *id = json_string_value(json_object_get(body, "task_id"));
    const char *session = json_string_value(json_object_get(body, "session_id"));
    json_t *inputs = text.ptr ? sl_json_load(text, 0, NULL) : NULL;
    char topic[SL_QUEUE_MAX_TOPIC_BYTES + 1];
    sl_task_new task = {.id = sl_str_c(id),
                        .service = sl_str_c(service),
                        .deployment = sl_str_of("", 0),
                        .session = sl_api_param(request, 0),
                        .inputs = inputs,
                        .input_text = text,
                        .parent = sl_api_span(request)};
    if (!json_is_object(inputs)) {
        sl_api_invalid(request, "body", "input",
                       text.ptr ? "Input should be a JSON object as a string"
                       : input  ? "Input should be a valid string"
                                : "Field required");
    } else if (session && !sl_str_eq_c(task.session, session)) {
        sl_api_fail(request, 400, "Wrong task definition: task.session_id is %.80s but should be %.*s", session,
                    (int)task.session.len, task.session.ptr);
    } else if (!service) {
        sl_api_fail(request, 400, "Task definition must have an service_id specified to identify a service");
    } else if (id && !sl_task_id_is_good(task.id)) {
        sl_api_invalid(request, "body", "task_id", "Input should have at most 63 letters, digits, . _ : -");
    } else if (!find_service(server, task.service, &task, topic, sizeof topic)) {
        sl_api_fail(request, 404, "Service not found");
    } else {
        sl_api_ref(request);
        int error = sl_task_make(server, &task, task_made, request);
        if (error)
            task_made(request, error, task.id, false);
    }
    json_decref(inputs);
}

static void post_task(sl_api_request *request)
{
    json_t *body = NULL;
    if (!session_of(request) || !sl_api_json(request, &body))
        return;
    make_task(request, body);
    json_decref(body);
}

static void list_tasks(sl_api_request *request)
{
    if (session_of(request))
        sl_api_reply(request, 200,
                     sl_session_tasks(sl_api_user(request), sl_api_param(request, 0), sl_str_of(NULL, 0)));
}

static void current_task(sl_api_request *request)
{
    if (!session_of(request))
        return;
    json_t *tasks = sl_session_tasks(sl_api_user(request), sl_api_param(request, 0), sl_str_of(NULL, 0));
    size_t count = json_array_size(tasks);
    sl_api_reply(request, 200, !tasks ? NULL : count ? json_incref(json_array_get(tasks, count - 1)) : json_null());
    json_decref(tasks);
}

/* The task of the path. False: answered. */
static bool task_of(sl_api_request *request)
{
    sl_str session = sl_api_param(request, 0);
    if (!session_of(request))
        return false;
    json_t *task = NULL;
    int error = sl_session_task(sl_api_user(request), sl_api_param(request, 1), &task);
    const char *has = json_string_value(json_object_get(task, "session_id"));
    bool good = has && sl_str_eq_c(session, has);
    json_decref(task);
    if (error && error != SL_ENOENT)
        sl_api_fail_code(request, error, "the task cannot be read");
    else if (!good)
        sl_api_fail(request, 404, "Task not found");
    return good;
}

static void get_result(sl_api_request *request)
{
    json_t *result = NULL;
    bool failed = false;
    if (!session_of(request))
        return;
    int error = sl_session_result(sl_api_user(request), sl_api_param(request, 1), &result, &failed);
    /* As the original: no result yet is null, and a failure is a result, whose data says so. */
    if (error && error != SL_ENOENT)
        sl_api_fail_code(request, error, "the result cannot be read");
    else
        sl_api_reply(request, 200, error ? json_null() : result);
}

static void get_result_stream(sl_api_request *request)
{
    if (task_of(request))
        sl_stream_start(sl_api_user(request), request, sl_api_param(request, 1), 0, SL_STREAM_DATA);
}

static void send_event(sl_api_request *request)
{
    sl_flow_server *server = sl_api_user(request);
    json_t *body = NULL;
    if (!task_of(request) || !sl_api_json(request, &body))
        return;
    const char *service = json_string_value(json_object_get(body, "service_id"));
    const char *event = json_string_value(json_object_get(body, "event_obj_str"));
    if (!service || !event) {
        sl_api_invalid(request, "body", service ? "event_obj_str" : "service_id", "Field required");
        json_decref(body);
        return;
    }
    char topic[SL_QUEUE_MAX_TOPIC_BYTES + 1];
    sl_str id = sl_api_param(request, 1), session = sl_api_param(request, 0);
    (void)snprintf(topic, sizeof topic, "%s.%.200s", server->topics, service);
    json_t *data = json_pack("{s:s,s:s%,s:s%,s:s}", "input", event, "task_id", id.ptr, id.len, "session_id",
                             session.ptr, session.len, "service_id", service);
    sl_message_put(server, topic, data, sl_str_of(NULL, 0), sl_api_span(request));
    json_decref(body);
    sl_api_reply(request, 200, json_null());
}

/* What a message of a service changed, on its way to disk. */
typedef struct processing {
    sl_store_op op;
    sl_api_request *request;
    char ended[SL_FLOW_ID_MAX];
} processing;

static int check_kept(sl_store_op *op, sqlite3 *db)
{
    (void)db;
    const processing *p = (const processing *)(void *)op;
    return *p->ended ? sl_run_end_is_kept(sl_flow_store_db(op->store), p->ended) : 0;
}

static void processed(sl_store_op *op, int error)
{
    processing *p = (processing *)(void *)op;
    answer_null(p->request, error);
    sl_free(p);
}

static void process_message(sl_api_request *request)
{
    sl_flow_server *server = sl_api_user(request);
    json_t *body = NULL;
    if (!sl_api_json(request, &body))
        return;
    processing *p = sl_calloc(1, sizeof *p);
    if (!p) {
        sl_api_fail_code(request, SL_ENOMEM, "the change cannot be made");
    } else if (!sl_reply_apply(server, body)) {
        sl_free(p);
        sl_api_invalid(request, "body", "action", "Action not supported by control plane");
    } else {
        p->op = (sl_store_op){.run = check_kept, .done = processed};
        p->request = sl_api_ref(request);
        sl_reply_ends(body, p->ended);
        sl_flow_store_write(server->store, &p->op);
    }
    json_decref(body);
}

/* ---- the table ---- */

#define GET SL_HTTP_GET
#define POST SL_HTTP_POST
#define NDJSON "application/x-ndjson"

const sl_api_route sl_flow_control_routes[] = {
    {GET, "/openapi.json", "getDocument", sl_api_get_document, "This document", NULL, SL_API_NO_BODY, "200", NULL, true,
     NULL},
    {GET, "/", "home", get_home, "What the control plane is", NULL, SL_API_NO_BODY, "200", NULL, false, NULL},
    {GET, "/queue_config", "getQueueConfig", get_queue_config, "Where the message queue is", NULL, SL_API_NO_BODY,
     "200", NULL, false, NULL},
    {POST, "/process_message", "processMessage", process_message, "A message of a service", NULL, SL_API_JSON,
     "200 422 503", NULL, false, "action!"},
    {POST, "/services/register", "registerService", register_service, "Registers a service", NULL, SL_API_JSON,
     "200 422 503", NULL, false, "service_name! description!"},
    {POST, "/services/deregister", "deregisterService", deregister_service, "Removes a service", "service_name!",
     SL_API_NO_BODY, "200 422 503", NULL, false, NULL},
    {GET, "/services", "listServices", list_services, "All services", NULL, SL_API_NO_BODY, "200", NULL, false, NULL},
    {GET, "/services/{service_name}", "getService", get_service, "A service", NULL, SL_API_NO_BODY, "200 404", NULL,
     false, NULL},
    {GET, "/sessions", "listSessions", list_sessions, "All sessions", NULL, SL_API_NO_BODY, "200", NULL, false, NULL},
    {GET, "/sessions/{session_id}", "getSession", get_session, "A session", NULL, SL_API_NO_BODY, "200 404", NULL,
     false, NULL},
    {POST, "/sessions/create", "createSession", create_session, "Makes a session; answers its id", NULL, SL_API_NO_BODY,
     "200 503", NULL, false, NULL},
    {POST, "/sessions/{session_id}/delete", "deleteSession", delete_session, "Removes a session", NULL, SL_API_NO_BODY,
     "200 503", NULL, false, NULL},
    {POST, "/sessions/{session_id}/tasks", "addTask", post_task, "Makes a task; answers its id", NULL, SL_API_JSON,
     "200 400 404 422 503", NULL, false, "input!"},
    {GET, "/sessions/{session_id}/tasks", "listTasks", list_tasks, "Tasks of a session", NULL, SL_API_NO_BODY,
     "200 404", NULL, false, NULL},
    {GET, "/sessions/{session_id}/current_task", "getCurrentTask", current_task, "The newest task, or null", NULL,
     SL_API_NO_BODY, "200 404", NULL, false, NULL},
    {GET, "/sessions/{session_id}/tasks/{task_id}/result", "getTaskResult", get_result,
     "The result of a task; null until there is one", NULL, SL_API_NO_BODY, "200 404", NULL, false, NULL},
    {GET, "/sessions/{session_id}/tasks/{task_id}/result_stream", "getTaskResultStream", get_result_stream,
     "Events of a task as they happen", NULL, SL_API_NO_BODY, "200 404 422", NDJSON, false, NULL},
    {POST, "/sessions/{session_id}/tasks/{task_id}/send_event", "sendEvent", send_event, "Sends an event to a task",
     NULL, SL_API_JSON, "200 404 422", NULL, false, "service_id! event_obj_str!"},
    {GET, "/sessions/{session_id}/state", "getSessionState", get_state, "State of a session", NULL, SL_API_NO_BODY,
     "200 404", NULL, false, NULL},
    {POST, "/sessions/{session_id}/state", "updateSessionState", post_state, "Sets members of the state", NULL,
     SL_API_JSON, "200 404 422 503", NULL, false, NULL},
};
const size_t sl_flow_control_route_count = sizeof sl_flow_control_routes / sizeof *sl_flow_control_routes;
