/* LlamaDeploy's API server: status, deployments, tasks, sessions, answered as its clients know them. */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/flow/server_impl.h"
#include "src/llm/json_text.h"
#include "src/wire/multipart.h"

/* ---- status ---- */

void sl_api_root(sl_api_request *request)
{
    sl_str host = sl_api_header(request, SL_HTTP_HOST);
    char base[300];
    (void)snprintf(base, sizeof base, "http://%.*s/", (int)(host.len < 256 ? host.len : 256), host.ptr ? host.ptr : "");
    char docs[320], status[320];
    (void)snprintf(docs, sizeof docs, "%sopenapi.json", base);
    (void)snprintf(status, sizeof status, "%sstatus", base);
    sl_api_reply(request, 200, json_pack("{s:s,s:s}", "swagger_docs", docs, "status", status));
}

void sl_api_status(sl_api_request *request)
{
    sl_flow_server *server = sl_api_user(request);
    json_t *names = json_array();
    for (size_t i = 0; i < server->deployment_count; i++)
        (void)json_array_append_new(names, json_string(server->deployments[i]->file->name.ptr));
    sl_api_reply(request, 200,
                 json_pack("{s:s,s:s,s:i,s:o}", "status", "Healthy", "status_message", "", "max_deployments",
                           SL_FLOW_MAX_FLOW_DEPLOYMENTS, "deployments", names));
}

/* The session of a deployment. False: answered. */
static bool session_is_there(sl_api_request *request, sl_str id, const sl_flow_deployment *d)
{
    SL_ASSERT(d);
    int error = sl_session_find(sl_api_user(request), id, d->file->name);
    if (error == SL_ENOENT)
        sl_api_fail(request, 404, "Session not found");
    else if (error)
        sl_api_fail_code(request, error, "the session cannot be read");
    return error == 0;
}

/* ---- deployments ---- */

/* The deployment of the path. NULL: answered. */
static sl_flow_deployment *deployment_of(sl_api_request *request)
{
    sl_flow_deployment *d = sl_deployment_find(sl_api_user(request), sl_api_param(request, 0));
    if (!d)
        sl_api_fail(request, 404, "Deployment not found");
    return d;
}

static json_t *name_json(const sl_flow_deployment *d)
{
    return json_pack("{s:s}", "name", d->file->name.ptr);
}

void sl_api_list_deployments(sl_api_request *request)
{
    sl_flow_server *server = sl_api_user(request);
    json_t *list = json_array();
    for (size_t i = 0; i < server->deployment_count; i++)
        (void)json_array_append_new(list, name_json(server->deployments[i]));
    sl_api_reply(request, 200, list);
}

void sl_api_get_deployment(sl_api_request *request)
{
    sl_flow_deployment *d = deployment_of(request);
    if (d)
        sl_api_reply(request, 200, name_json(d));
}

/* The part of the form. False: answered. */
static bool find_config(sl_api_request *request, sl_str *ret_text)
{
    sl_multipart form;
    sl_multipart_part part;
    bool found = false;
    int error = sl_multipart_init(&form, sl_api_header(request, SL_HTTP_CONTENT_TYPE), sl_api_request_body(request));
    while (!error && (error = sl_multipart_next(&form, &part)) == 0) {
        if (found || !sl_str_eq_c(part.name, "config_file"))
            continue;
        found = true;
        *ret_text = part.content;
    }
    if (error != SL_ENOENT)
        sl_api_invalid(request, "body", "config_file", form.reason);
    else if (!found)
        sl_api_invalid(request, "body", "config_file", "Field required");
    return error == SL_ENOENT && found;
}

static json_t *diagnostics_json(const sl_config *memory)
{
    json_t *list = json_array();
    for (const sl_diagnostic *d = memory->diagnostics; d; d = d->next)
        (void)json_array_append_new(
            list, json_pack("{s:i,s:i,s:s,s:s%}", "line", (int)d->line, "column", (int)d->column, "severity",
                            d->level == SL_DIAG_ERROR ? "error" : "warning", "message", d->text.ptr, d->text.len));
    return list;
}

/* A deployment on its way to disk. */
typedef struct keeping {
    sl_api_request *request;
    char name[128];
} keeping;

static void deployment_kept(void *user, int error)
{
    keeping *k = user;
    sl_flow_server *server = sl_api_user(k->request);
    sl_str base = SL_STR(".");
    (void)sl_api_query(k->request, "base_path", &base);
    if (error) { /* it is up, but would be gone at the next start */
        sl_api_fail_code(k->request, error, "the deployment cannot be kept");
    } else {
        sl_audit_add(server->audit, "deployment.create", sl_str_c(k->name), sl_api_caller(k->request), base);
        sl_api_reply(k->request, 200, json_pack("{s:s}", "name", k->name));
    }
    sl_api_unref(k->request);
    sl_free(k);
}

static void keep_deployment(sl_api_request *request, const char *name, sl_str text, sl_str base)
{
    sl_flow_server *server = sl_api_user(request);
    const sl_str values[] = {sl_str_c(name), text, base};
    keeping *k = sl_calloc(1, sizeof *k);
    if (!k) {
        sl_api_fail_code(request, SL_ENOMEM, "the deployment cannot be kept");
        return;
    }
    k->request = sl_api_ref(request);
    (void)snprintf(k->name, sizeof k->name, "%s", name);
    int error = sl_flow_store_put_then(
        server->store,
        "insert into deployments(name, source, base_path) values(?1, ?2, ?3) on conflict(name) do update "
        "set source = excluded.source, base_path = excluded.base_path",
        values, 3, deployment_kept, k);
    if (error)
        deployment_kept(k, error);
}

static void add_deployment(sl_api_request *request, sl_deploy_file *file, sl_str text)
{
    sl_flow_server *server = sl_api_user(request);
    sl_str base = SL_STR(".");
    char reason[512], name[128];
    (void)sl_api_query(request, "base_path", &base);
    (void)snprintf(name, sizeof name, "%s", file->name.ptr);
    int error = sl_deployment_add(server, file, base, sl_api_query_flag(request, "reload"), reason);
    if (error == SL_ECONFIG || error == SL_EEXIST || error == SL_ELIMIT) {
        sl_api_fail(request, error == SL_EEXIST ? 409 : 400, "%s", reason);
        return;
    }
    if (error) {
        sl_api_fail_code(request, error, "the deployment cannot be made");
        return;
    }
    keep_deployment(request, name, text, base);
}

void sl_api_create_deployment(sl_api_request *request)
{
    sl_str text;
    sl_deploy_file *file = NULL;
    if (!find_config(request, &text))
        return;
    int error = sl_deploy_parse(text, &file);
    if (!error) {
        add_deployment(request, file, text);
        return;
    }
    if (error == SL_ECONFIG)
        sl_api_reply(request, 400,
                     json_pack("{s:s,s:o}", "detail", "the deployment file has errors", "problems",
                               diagnostics_json(file->memory)));
    else
        sl_api_fail_code(request, error, "the deployment file cannot be read");
    sl_deploy_free(file);
}

/* ---- tasks ---- */

/* A TaskDefinition in a body. */
typedef struct definition {
    json_t *root;
    json_t *inputs; /* owned */
    sl_str input;   /* as it came */
    sl_flow_service *service;
    sl_str session;
} definition;

static void definition_done(definition *d)
{
    json_decref(d->inputs);
    json_decref(d->root);
}

/* The service that runs it. False: answered. */
static bool pick_service(sl_api_request *request, sl_flow_deployment *deployment, definition *d)
{
    const char *id = json_string_value(json_object_get(d->root, "service_id"));
    if (!id && !deployment->file->default_service.len) {
        sl_api_fail(request, 400, "Service is None and deployment has no default service");
        return false;
    }
    sl_str wanted = id ? sl_str_c(id) : deployment->file->default_service;
    d->service = sl_deployment_service(deployment, wanted);
    if (!d->service)
        sl_api_fail(request, 404, "Service '%.*s' not found in deployment '%s'", (int)sl_utf8_prefix(wanted, 100),
                    wanted.ptr, deployment->file->name.ptr);
    return d->service != NULL;
}

/* False: answered; there is nothing to free then. */
static bool read_definition(sl_api_request *request, sl_flow_deployment *deployment, definition *d)
{
    SL_ASSERT(d);
    memset(d, 0, sizeof *d);
    if (!sl_api_json(request, &d->root))
        return false;
    bool good = false;
    const json_t *input = json_object_get(d->root, "input");
    d->input = sl_str_of(json_string_value(input), json_string_length(input));
    d->inputs = d->input.ptr ? sl_json_load(d->input, 0, NULL) : NULL;
    (void)sl_api_query(request, "session_id", &d->session);
    if (!d->input.ptr)
        sl_api_invalid(request, "body", "input", input ? "Input should be a valid string" : "Field required");
    else if (!json_is_object(d->inputs))
        sl_api_invalid(request, "body", "input", "Input should be a JSON object as a string");
    else if (!d->session.len || session_is_there(request, d->session, deployment))
        good = pick_service(request, deployment, d);
    if (!good)
        definition_done(d);
    return good;
}

/* A task on its way through session and store. */
typedef struct asking {
    sl_api_request *request;
    sl_flow_deployment *deployment;
    definition d;
    bool wait;        /* tasks/run: answered with the result */
    bool own_session; /* made for this task alone */
    char session[SL_FLOW_ID_MAX];
} asking;

static void asking_free(asking *a)
{
    sl_api_unref(a->request);
    sl_deployment_unref(a->deployment);
    definition_done(&a->d);
    sl_free(a);
}

static void answer_result(sl_api_request *request, const sl_task_end *end, sl_str session)
{
    sl_flow_server *server = sl_api_user(request);
    if (session.len)
        sl_session_delete(server, session, NULL, NULL);
    if (strcmp(end->status, "succeeded") == 0)
        sl_api_reply(request, 200, sl_result_value(end->outputs));
    else
        sl_api_reply(request, 500,
                     json_pack("{s:s,s:s%,s:s,s:{s:s,s:s}}", "detail", end->error ? end->error : "", "task_id",
                               end->id.ptr, end->id.len, "status", end->status, "error", "type",
                               end->error_type ? end->error_type : "", "message", end->error ? end->error : ""));
}

/* Of a task that will not be. */
static void drop_session(const asking *a)
{
    if (a->own_session)
        sl_session_delete(sl_api_user(a->request), sl_str_c(a->session), NULL, NULL);
}

static void task_made(void *user, int error, sl_str id, bool existed)
{
    asking *a = user;
    sl_flow_server *server = sl_api_user(a->request);
    (void)existed;
    if (error) {
        if (!a->wait || sl_task_unwait(server, id)) { /* one that was cancelled meanwhile is answered */
            drop_session(a);
            sl_task_refuse(a->request, error, "the task is not accepted");
        }
        asking_free(a);
        return;
    }
    sl_audit_add(server->audit, "task.create", id, sl_api_caller(a->request), a->d.service->file->id);
    if (!a->wait)
        sl_api_reply(a->request, 200,
                     json_pack("{s:s%,s:s%,s:s,s:s}", "input", a->d.input.ptr, a->d.input.len, "task_id", id.ptr,
                               id.len, "session_id", a->session, "service_id", a->d.service->file->id.ptr));
    asking_free(a);
}

static void make_task(asking *a)
{
    SL_ASSERT(a->session[0]);
    sl_flow_server *server = sl_api_user(a->request);
    const sl_flow_service *service = a->d.service;
    char topic[SL_QUEUE_MAX_TOPIC_BYTES + 1], id[SL_FLOW_ID_MAX];
    (void)snprintf(topic, sizeof topic, "%s.%.200s", server->topics, service->file->id.ptr);
    sl_flow_run_new_id(id);
    sl_task_new task = {.id = sl_str_c(id),
                        .id_is_new = true,
                        .service = service->file->id,
                        .topic = service->consumer ? service->consumer->topic : topic,
                        .flow = service->consumer ? service->consumer->flow : NULL,
                        .deployment = a->deployment->file->name,
                        .session = sl_str_c(a->session),
                        .inputs = a->d.inputs,
                        .input_text = a->d.input,
                        .parent = sl_api_span(a->request)};
    int error = a->wait ? sl_task_wait(server, sl_str_c(id), a->request, answer_result,
                                       sl_str_c(a->own_session ? a->session : ""))
                        : 0;
    if (!error)
        error = sl_task_make(server, &task, task_made, a);
    if (error) {
        (void)sl_task_unwait(server, sl_str_c(id));
        drop_session(a);
        sl_api_fail_code(a->request, error, "the task is not accepted");
        asking_free(a);
    }
}

static void session_made(void *user, int error)
{
    asking *a = user;
    if (!error) {
        make_task(a);
        return;
    }
    sl_api_fail_code(a->request, error, "the session cannot be made");
    asking_free(a);
}

static void nothing(void *user, int error)
{
    (void)user;
    (void)error;
}

static void ask(sl_api_request *request, bool wait)
{
    sl_flow_deployment *deployment = deployment_of(request);
    definition d;
    if (!deployment || !read_definition(request, deployment, &d))
        return;
    asking *a = sl_calloc(1, sizeof *a);
    if (!a) {
        definition_done(&d);
        sl_api_fail_code(request, SL_ENOMEM, "the task is not accepted");
        return;
    }
    a->request = sl_api_ref(request);
    a->deployment = sl_deployment_ref(deployment);
    a->d = d;
    a->wait = wait;
    if (d.session.len && sl_str_to_c(d.session, a->session, sizeof a->session)) {
        make_task(a);
        return;
    }
    a->own_session = wait;
    if (!wait) {
        sl_session_make(sl_api_user(request), deployment->file->name, session_made, a, a->session);
        return;
    }
    /* Of this task alone: services find it at the control plane, lists of the deployment do not show it. */
    sl_session_make(sl_api_user(request), sl_str_of("", 0), nothing, NULL, a->session);
    make_task(a);
}

void sl_api_run_task(sl_api_request *request)
{
    ask(request, true);
}

void sl_api_create_task(sl_api_request *request)
{
    ask(request, false);
}

void sl_api_list_tasks(sl_api_request *request)
{
    sl_flow_deployment *d = deployment_of(request);
    json_t *tasks = d ? sl_session_tasks(sl_api_user(request), sl_str_of(NULL, 0), d->file->name) : NULL;
    if (d)
        sl_api_reply(request, 200, tasks);
}

/* The task of the path, in the session of the query. NULL: answered. */
static json_t *task_of(sl_api_request *request, sl_flow_deployment **ret_deployment)
{
    sl_flow_deployment *d = deployment_of(request);
    sl_str session;
    if (!d)
        return NULL;
    if (!sl_api_query(request, "session_id", &session)) {
        sl_api_invalid(request, "query", "session_id", "Field required");
        return NULL;
    }
    if (!session_is_there(request, session, d))
        return NULL;
    json_t *task = NULL;
    int error = sl_session_task(sl_api_user(request), sl_api_param(request, 1), &task);
    if (error && error != SL_ENOENT) {
        sl_api_fail_code(request, error, "the task cannot be read");
        return NULL;
    }
    const char *has = json_string_value(json_object_get(task, "session_id"));
    if (!has || !sl_str_eq_c(session, has)) {
        json_decref(task);
        sl_api_fail(request, 404, "Task not found");
        return NULL;
    }
    *ret_deployment = d;
    return task;
}

void sl_api_task_events(sl_api_request *request)
{
    sl_flow_deployment *d;
    json_t *task = task_of(request, &d);
    if (!task)
        return;
    json_decref(task);
    sl_stream_start(sl_api_user(request), request, sl_api_param(request, 1), 0, SL_STREAM_DATA);
}

void sl_api_task_send_event(sl_api_request *request)
{
    sl_flow_server *server = sl_api_user(request);
    sl_flow_deployment *d;
    json_t *body = NULL, *task = task_of(request, &d);
    if (!task)
        return;
    if (!sl_api_json(request, &body)) {
        json_decref(task);
        return;
    }
    const char *service = json_string_value(json_object_get(body, "service_id"));
    const char *event = json_string_value(json_object_get(body, "event_obj_str"));
    char topic[SL_QUEUE_MAX_TOPIC_BYTES + 1];
    if (!service || !event) {
        sl_api_invalid(request, "body", service ? "event_obj_str" : "service_id", "Field required");
    } else if (!sl_deployment_service(d, sl_str_c(service))) {
        sl_api_fail(request, 404, "Service '%.100s' not found in deployment '%s'", service, d->file->name.ptr);
    } else {
        (void)snprintf(topic, sizeof topic, "%s.%.200s", server->topics, service);
        (void)json_object_set_new(task, "input", json_string(event));
        (void)json_object_set_new(task, "service_id", json_string(service));
        if (!sl_deployment_service(d, sl_str_c(service))->consumer) /* workflows that are run here take no events */
            sl_message_put(server, topic, json_incref(task), sl_str_of(NULL, 0), sl_api_span(request));
        sl_api_reply(request, 200, json_pack("{s:s,s:s}", "service_id", service, "event_obj_str", event));
    }
    json_decref(body);
    json_decref(task);
}

void sl_api_task_results(sl_api_request *request)
{
    sl_flow_deployment *d;
    json_t *result = NULL, *task = task_of(request, &d);
    bool failed = false;
    if (!task)
        return;
    json_decref(task);
    int error = sl_session_result(sl_api_user(request), sl_api_param(request, 1), &result, &failed);
    if (error) {
        sl_api_fail_code(request, error, "the result cannot be read");
    } else if (failed) {
        json_t *data = json_object_get(result, "data");
        json_t *answer =
            json_pack("{s:O,s:O,s:O,s:{s:O?,s:O}}", "detail", json_object_get(result, "result"), "task_id",
                      json_object_get(result, "task_id"), "status", json_object_get(data, "status"), "error", "type",
                      json_object_get(data, "error_type"), "message", json_object_get(result, "result"));
        json_decref(result);
        sl_api_reply(request, 500, answer);
    } else {
        sl_api_reply(request, 200, result);
    }
}

/* ---- sessions ---- */

typedef struct making {
    sl_api_request *request;
    char id[SL_FLOW_ID_MAX];
} making;

static void session_answer(void *user, int error)
{
    making *m = user;
    if (error)
        sl_api_fail_code(m->request, error, "the session cannot be made");
    else
        sl_api_reply(m->request, 200, sl_session_json(sl_str_c(m->id), NULL, NULL));
    sl_api_unref(m->request);
    sl_free(m);
}

void sl_api_create_session(sl_api_request *request)
{
    sl_flow_deployment *d = deployment_of(request);
    making *m = d ? sl_calloc(1, sizeof *m) : NULL;
    if (!d)
        return;
    if (!m) {
        sl_api_fail_code(request, SL_ENOMEM, "the session cannot be made");
        return;
    }
    m->request = sl_api_ref(request);
    sl_session_make(sl_api_user(request), d->file->name, session_answer, m, m->id);
}

static void session_deleted(void *user, int error)
{
    sl_api_request *request = user;
    if (error)
        sl_api_fail_code(request, error, "the session cannot be removed");
    else
        sl_api_reply(request, 200, json_null());
    sl_api_unref(request);
}

void sl_api_delete_session(sl_api_request *request)
{
    sl_flow_server *server = sl_api_user(request);
    sl_flow_deployment *d = deployment_of(request);
    sl_str session;
    if (!d)
        return;
    if (!sl_api_query(request, "session_id", &session)) {
        sl_api_invalid(request, "query", "session_id", "Field required");
        return;
    }
    int error = sl_session_find(server, session, d->file->name);
    if (error) {
        if (error == SL_ENOENT) /* of another deployment, or gone: nothing, as there */
            sl_api_reply(request, 200, json_null());
        else
            sl_api_fail_code(request, error, "the session cannot be read");
        return;
    }
    sl_audit_add(server->audit, "session.delete", session, sl_api_caller(request), d->file->name);
    sl_session_delete(server, session, session_deleted, sl_api_ref(request));
}

static bool add_session(void *user, const sl_str *columns, size_t count)
{
    SL_ASSERT(count == 1);
    (void)count;
    return json_array_append_new(user, sl_session_json(columns[0], NULL, NULL)) == 0;
}

void sl_api_list_sessions(sl_api_request *request)
{
    sl_flow_server *server = sl_api_user(request);
    sl_flow_deployment *d = deployment_of(request);
    json_t *list = d ? json_array() : NULL;
    if (!d)
        return;
    int error =
        sl_flow_store_query(server->store, "select id from sessions where deployment = ?1 order by rowid limit 10000",
                            &d->file->name, 1, add_session, list);
    if (error) {
        json_decref(list);
        sl_api_fail_code(request, error, "the sessions cannot be read");
        return;
    }
    sl_api_reply(request, 200, list);
}

void sl_api_get_session(sl_api_request *request)
{
    sl_flow_deployment *d = deployment_of(request);
    sl_str id = sl_api_param(request, 1);
    if (!d)
        return;
    if (session_is_there(request, id, d))
        sl_api_reply(request, 200, sl_session_json(id, NULL, NULL));
}
