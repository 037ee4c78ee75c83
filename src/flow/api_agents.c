/* What the client of llama-agents calls: workflows, handlers (a handler is a run), their events and results. */
#include <stdio.h>

#include "src/base/assert.h"
#include "src/base/mem.h"
#include "src/flow/agents_view.h"
#include "src/flow/server_agents.h"
#include "src/llm/json_text.h"

#define WHY_BYTES 512
#define MAX_FILTERS 100u /* values of one parameter; the rest is not looked at */

static void no_handler(sl_api_request *request)
{
    sl_api_fail(request, 404, "Handler not found");
}

/* ---- workflows ---- */

void sl_api_health(sl_api_request *request)
{
    const sl_flow_server *server = sl_api_user(request);
    sl_api_reply(request, server->draining ? 503 : 200,
                 json_pack("{s:s}", "status", server->draining ? "unhealthy" : "healthy"));
}

/* NULL: answered. */
static const sl_flow_consumer *workflow_of(sl_api_request *request)
{
    const sl_flow_consumer *c = sl_flows_find(sl_api_user(request), sl_api_param(request, 0));
    if (!c)
        sl_api_fail(request, 404, "Workflow not found");
    return c;
}

void sl_api_workflow_schema(sl_api_request *request)
{
    const sl_flow_consumer *c = workflow_of(request);
    if (c)
        sl_api_reply(request, 200,
                     json_pack("{s:o,s:o}", "start", sl_agents_start_schema(c->flow), "stop", sl_agents_stop_schema()));
}

void sl_api_workflow_graph(sl_api_request *request)
{
    const sl_flow_consumer *c = workflow_of(request);
    if (c)
        sl_api_reply(request, 200, json_pack("{s:o}", "graph", sl_agents_graph(c->flow)));
}

void sl_api_workflow_events(sl_api_request *request)
{
    sl_str name = sl_api_param(request, 0);
    const sl_flow_consumer *c = sl_flows_find(sl_api_user(request), name);
    if (c)
        sl_api_reply(request, 200, json_pack("{s:o}", "events", sl_agents_event_schemas(c->flow)));
    else
        sl_api_fail(request, 404, "Workflow '%.*s' not found", (int)name.len, name.ptr);
}

/* ---- answers ---- */

/* How a handler is read. */
typedef enum shape { STARTED = 0, WAITED, READ, RESULT } shape;

static int status_for(const sl_agents_found *found, shape how)
{
    const char *status = json_string_value(json_object_get(found->handler, "status"));
    SL_ASSERT(status);
    if (how == STARTED || strcmp(status, "completed") == 0)
        return 200;
    return found->over ? 500 : 202;
}

/* Result of the stop event in place of the event. */
static void bare_result(json_t *handler)
{
    json_t *event = json_object_get(handler, "result");
    json_t *result = json_object_get(json_object_get(event, "value"), "result");
    if (result)
        (void)json_object_set(handler, "result", result);
}

/* False: answered. */
static bool find_handler(sl_api_request *request, sl_str id, sl_agents_found *ret_found)
{
    int error = sl_agents_find(sl_api_user(request), id, ret_found);
    if (error == SL_ENOENT)
        no_handler(request);
    else if (error)
        sl_api_fail_code(request, error, "the handler cannot be read");
    return !error;
}

static void reply_handler(sl_api_request *request, sl_str id, shape how)
{
    sl_agents_found found;
    if (!find_handler(request, id, &found))
        return;
    if (how == RESULT)
        bare_result(found.handler);
    sl_api_reply(request, status_for(&found, how), found.handler);
}

/* Answers once everything that was said is on disk. */
typedef struct settling {
    sl_api_request *request;
    char run[SL_FLOW_ID_MAX];
    void (*fn)(sl_api_request *request, sl_str run, int error);
} settling;

static void settled(void *user, int error)
{
    settling *s = user;
    s->fn(s->request, sl_str_c(s->run), error);
    sl_api_unref(s->request);
    sl_free(s);
}

static void settle(sl_api_request *request, sl_str run, void (*fn)(sl_api_request *request, sl_str run, int error))
{
    sl_flow_server *server = sl_api_user(request);
    settling *s = sl_calloc(1, sizeof *s);
    if (!s || !sl_str_to_c(run, s->run, sizeof s->run)) {
        sl_free(s);
        fn(request, run, SL_ENOMEM);
        return;
    }
    s->request = sl_api_ref(request);
    s->fn = fn;
    int error = sl_flow_store_put_then(server->store, "select 1", NULL, 0, settled, s);
    if (error)
        settled(s, error);
}

/* ---- running ---- */

typedef struct asking {
    sl_api_request *request;
    bool wait;
    char id[SL_FLOW_ID_MAX];
    char handler[SL_QUEUE_MAX_KEY_BYTES + 1]; /* empty: none was given */
} asking;

static void asking_free(asking *a)
{
    sl_flow_server *server = sl_api_user(a->request);
    if (*a->handler)
        (void)json_object_del(server->handlers, a->handler);
    sl_api_unref(a->request);
    sl_free(a);
}

static void reply_waited(sl_api_request *request, sl_str run, int error)
{
    if (error)
        sl_api_fail_code(request, error, "the run cannot be read");
    else
        reply_handler(request, run, WAITED);
}

static void run_ended(sl_api_request *request, const sl_task_end *end, sl_str session)
{
    (void)session;
    settle(request, end->id, reply_waited);
}

static void run_made(void *user, int error, sl_str id, bool existed)
{
    asking *a = user;
    sl_flow_server *server = sl_api_user(a->request);
    (void)existed;
    if (error) {
        if (!a->wait || sl_task_unwait(server, id))
            sl_task_refuse(a->request, error, "the run is not accepted");
    } else {
        sl_audit_add(server->audit, "run.create", id, sl_api_caller(a->request), sl_api_param(a->request, 0));
        if (!a->wait)
            reply_handler(a->request, id, STARTED);
    }
    asking_free(a);
}

/* False: answered. A name whose run has not ended is taken. */
static bool take_name(sl_api_request *request, asking *a, json_t *given)
{
    sl_flow_server *server = sl_api_user(request);
    if (!given || json_is_null(given) || (json_is_string(given) && !json_string_length(given)))
        return true;
    sl_str name = sl_str_of(json_string_value(given), json_string_length(given));
    if (!name.ptr || !sl_str_to_c(name, a->handler, sizeof a->handler)) {
        sl_api_fail(request, 400, "handler_id should be a text of at most %u bytes", SL_QUEUE_MAX_KEY_BYTES);
        return false;
    }
    sl_agents_found found = {.over = true};
    int error = sl_agents_find(server, name, &found);
    json_decref(found.handler);
    bool taken = !found.over || json_object_get(server->handlers, a->handler);
    if (!error && !taken)
        error = SL_ENOENT;
    if (error == SL_ENOENT && !taken && json_object_set_new(server->handlers, a->handler, json_true()) == 0)
        return true;
    if (taken)
        sl_api_fail(request, 409, "Handler '%s' is already running", a->handler);
    else
        sl_api_fail_code(request, error == SL_ENOENT ? SL_ENOMEM : error, "the handler cannot be read");
    *a->handler = 0; /* it is somebody else's */
    return false;
}

static void start(sl_api_request *request, const sl_flow_consumer *c, json_t *inputs, json_t *handler, bool wait)
{
    SL_ASSERT(inputs);
    sl_flow_server *server = sl_api_user(request);
    asking *a = sl_calloc(1, sizeof *a);
    if (!a) {
        sl_api_fail_code(request, SL_ENOMEM, "the run is not accepted");
        return;
    }
    a->request = sl_api_ref(request);
    a->wait = wait;
    sl_flow_run_new_id(a->id);
    if (!take_name(request, a, handler)) {
        asking_free(a);
        return;
    }
    if (*a->handler)
        sl_agents_name(server, sl_str_c(a->handler), sl_str_c(a->id));
    sl_task_new task = {.id = sl_str_c(a->id),
                        .id_is_new = true,
                        .service = c->service,
                        .topic = c->topic,
                        .flow = c->flow,
                        .inputs = inputs,
                        .parent = sl_api_span(request)};
    int error = wait ? sl_task_wait(server, task.id, request, run_ended, SL_STR("")) : 0;
    if (!error)
        error = sl_task_make(server, &task, run_made, a);
    if (error) {
        (void)sl_task_unwait(server, task.id);
        sl_api_fail_code(request, error, "the run is not accepted");
        asking_free(a);
    }
}

/* The inputs that a body holds; NULL: answered. */
static json_t *read_inputs(sl_api_request *request, json_t *body)
{
    json_t *event = json_object_get(body, "start_event"), *context = json_object_get(body, "context");
    char why[WHY_BYTES] = "out of memory";
    if (!json_is_object(body)) {
        sl_api_fail(request, 400, "Error processing request body: it should be an object");
        return NULL;
    }
    if (!event)
        event = json_object_get(body, "kwargs");
    json_t *inputs = event && !json_is_null(event) ? sl_agents_inputs(event, why) : json_object();
    if (!inputs) {
        sl_api_fail(request, 400, "%s", why);
        return NULL;
    }
    /* What a workflow keeps lies in its run; nothing of it is taken from a client. */
    if (json_object_size(context) || (context && !json_is_object(context) && !json_is_null(context))) {
        sl_api_fail(request, 400, "Context API is disabled: a run begins with its start event alone");
        json_decref(inputs);
        return NULL;
    }
    return inputs;
}

/* NULL: answered. */
static json_t *read_body(sl_api_request *request, const char *what)
{
    sl_str text = sl_api_request_body(request);
    json_error_t error;
    json_t *body = sl_json_load(text, JSON_DECODE_ANY, &error);
    if (!body)
        sl_api_fail(request, 400, "%s: %s (line %d, column %d)", what, error.text, error.line, error.column);
    return body;
}

static void run(sl_api_request *request, bool wait)
{
    const sl_flow_consumer *c = workflow_of(request);
    json_t *body = c ? read_body(request, "Invalid JSON body") : NULL;
    json_t *inputs = body ? read_inputs(request, body) : NULL;
    if (inputs)
        start(request, c, inputs, json_object_get(body, "handler_id"), wait);
    json_decref(inputs);
    json_decref(body);
}

void sl_api_run_workflow(sl_api_request *request)
{
    run(request, true);
}

void sl_api_run_nowait(sl_api_request *request)
{
    run(request, false);
}

/* ---- reading ---- */

void sl_api_get_handler(sl_api_request *request)
{
    reply_handler(request, sl_api_param(request, 0), READ);
}

void sl_api_get_result(sl_api_request *request)
{
    reply_handler(request, sl_api_param(request, 0), RESULT);
}

/* All values of a parameter; NULL: it has none. */
static json_t *values_of(sl_api_request *request, const char *name, void (*add)(json_t *list, sl_str value))
{
    json_t *list = NULL;
    sl_str value;
    for (size_t i = 0; i < MAX_FILTERS && sl_api_query_at(request, name, i, &value); i++) {
        value = sl_str_trim(value);
        if (!value.len)
            continue;
        list = list ? list : json_array();
        add(list, value);
    }
    return list;
}

static void add_status(json_t *list, sl_str value)
{
    const char *stored = sl_agents_stored_statuses(value);
    sl_str rest = sl_str_c(stored), word;
    while (stored && sl_str_split(&rest, ' ', &word))
        (void)json_array_append_new(list, json_stringn(word.ptr, word.len));
}

static void add_name(json_t *list, sl_str value)
{
    (void)json_array_append_new(list, json_stringn(value.ptr, value.len));
}

void sl_api_list_handlers(sl_api_request *request)
{
    json_t *statuses = values_of(request, "status", add_status);
    json_t *workflows = values_of(request, "workflow_name", add_name);
    json_t *list = sl_agents_list(sl_api_user(request), statuses, workflows);
    json_decref(statuses);
    json_decref(workflows);
    if (list)
        sl_api_reply(request, 200, json_pack("{s:o}", "handlers", list));
    else
        sl_api_fail_code(request, SL_EIO, "the handlers cannot be read");
}

/* ---- cancelling ---- */

static bool says_true(sl_api_request *request, const char *name, bool otherwise)
{
    sl_str value;
    return sl_api_query(request, name, &value) ? sl_str_ieq(value, SL_STR("true")) : otherwise;
}

static void purged(void *user, int error)
{
    sl_api_request *request = user;
    if (error)
        sl_api_fail_code(request, error, "the handler cannot be removed");
    else
        sl_api_reply(request, 200, json_pack("{s:s}", "status", "deleted"));
    sl_api_unref(request);
}

static void purge(sl_api_request *request)
{
    sl_flow_server *server = sl_api_user(request);
    sl_str handler = sl_api_param(request, 0);
    sl_audit_add(server->audit, "run.delete", handler, sl_api_caller(request), sl_str_of(NULL, 0));
    int error = sl_agents_purge(server, handler, purged, sl_api_ref(request));
    if (error)
        purged(request, error);
}

static void cancelled(sl_api_request *request, sl_str run_id, int error)
{
    (void)run_id;
    if (error)
        sl_api_fail_code(request, error, "the run cannot be cancelled");
    else if (says_true(request, "purge", false))
        purge(request);
    else
        sl_api_reply(request, 200, json_pack("{s:s}", "status", "cancelled"));
}

static void cancel_ended(sl_api_request *request, const sl_task_end *end, sl_str session)
{
    (void)session;
    settle(request, end->id, cancelled);
}

/* A run that has not ended, as far as the disk knows. */
static void cancel(sl_api_request *request, sl_str run_id)
{
    sl_flow_server *server = sl_api_user(request);
    int error = sl_task_wait(server, run_id, request, cancel_ended, SL_STR(""));
    if (!error)
        error = sl_task_cancel(server, run_id);
    if (!error) {
        sl_audit_add(server->audit, "run.cancel", run_id, sl_api_caller(request), sl_str_of(NULL, 0));
        return;
    }
    (void)sl_task_unwait(server, run_id);
    if (error != SL_EEXIST)
        sl_api_fail_code(request, error, "the run cannot be cancelled");
    else if (says_true(request, "purge", false)) /* it has ended; that may not be on disk yet */
        settle(request, run_id, cancelled);
    else
        no_handler(request);
}

void sl_api_cancel_handler(sl_api_request *request)
{
    sl_agents_found found;
    if (!find_handler(request, sl_api_param(request, 0), &found))
        return;
    json_decref(found.handler);
    if (!found.over)
        cancel(request, sl_str_c(found.run));
    else if (says_true(request, "purge", false))
        purge(request);
    else
        no_handler(request);
}

/* ---- events ---- */

static bool whole(sl_str text, int64_t *ret_number)
{
    bool minus = text.len && text.ptr[0] == '-';
    uint64_t value;
    if (sl_str_to_u64(minus ? sl_str_sub(text, 1, text.len) : text, &value) != 0 || value > INT64_MAX / 4)
        return false;
    *ret_number = minus ? -1 : (int64_t)value;
    return true;
}

/* False: answered. */
static bool read_wish(sl_api_request *request, sl_stream_agents *wish, bool *ret_now)
{
    sl_str after = SL_STR("now"), last = sl_api_header(request, SL_HTTP_LAST_EVENT_ID);
    (void)sl_api_query(request, "after_sequence", &after);
    wish->after = -1;
    wish->sse = says_true(request, "sse", true);
    wish->internal = says_true(request, "include_internal", false);
    wish->qualified = says_true(request, "include_qualified_name", true);
    *ret_now = sl_str_ieq(after, SL_STR("now"));
    if (!*ret_now && !whole(after, &wish->after)) {
        sl_api_fail(request, 400, "Invalid after_sequence: '%.*s'", (int)(after.len < 100 ? after.len : 100),
                    after.ptr);
        return false;
    }
    if (wish->sse && last.len && whole(last, &wish->after))
        *ret_now = false;
    return true;
}

void sl_api_handler_events(sl_api_request *request)
{
    sl_flow_server *server = sl_api_user(request);
    sl_agents_found found = {.handler = NULL};
    sl_stream_agents wish;
    int64_t last = -1, end = 0;
    bool now;
    if (!read_wish(request, &wish, &now))
        return;
    int error = sl_agents_find(server, sl_api_param(request, 0), &found);
    json_decref(found.handler);
    if (!error)
        error = sl_agents_numbers(server, sl_str_c(found.run), &last, &end);
    if (error == SL_ENOENT)
        no_handler(request);
    else if (error)
        sl_api_fail_code(request, error, "the events cannot be read");
    else if (found.over && (now || wish.after >= end))
        sl_api_reply_text(request, 204, "application/json", SL_STR(""));
    else {
        if (now)
            wish.after = last;
        sl_stream_start_agents(server, request, sl_str_c(found.run), &wish);
    }
}

/* To the worker that runs it, as LlamaDeploy sends events. */
static void send_to_worker(sl_api_request *request, sl_str run_id, json_t *event)
{
    sl_flow_server *server = sl_api_user(request);
    json_t *task = NULL;
    int error = sl_session_task(server, run_id, &task);
    const char *service = json_string_value(json_object_get(task, "service_id"));
    char *text = json_is_string(event) ? NULL : sl_json_text(event);
    char topic[SL_QUEUE_MAX_TOPIC_BYTES + 1];
    if (error || !service || (!text && !json_is_string(event))) {
        sl_api_fail(request, 503, "the event cannot be sent");
    } else {
        (void)snprintf(topic, sizeof topic, "%s.%.200s", server->topics, service);
        (void)json_object_set_new(task, "input", json_string(text ? text : json_string_value(event)));
        sl_message_put(server, topic, json_incref(task), sl_str_of(NULL, 0), sl_api_span(request));
        sl_api_reply(request, 200, json_pack("{s:s}", "status", "sent"));
    }
    free(text);
    json_decref(task);
}

static void refuse_event(sl_api_request *request, json_t *event)
{
    json_t *parsed = json_is_string(event) ? json_loads(json_string_value(event), 0, NULL) : NULL;
    const char *type = json_string_value(json_object_get(parsed ? parsed : event, "type"));
    if (type && strcmp(type, "StartEvent") != 0 && strcmp(type, "StopEvent") != 0)
        sl_api_fail(request, 400, "Invalid event type: %.100s. Expected one of StartEvent, StopEvent", type);
    else
        sl_api_fail(request, 400, "no step of this workflow waits for an event");
    json_decref(parsed);
}

void sl_api_handler_send(sl_api_request *request)
{
    sl_agents_found found = {.handler = NULL};
    json_t *body = read_body(request, "Error processing request");
    json_t *event = json_object_get(body, "event");
    if (!body)
        return;
    if (!event || !(json_object_size(event) || json_string_length(event))) {
        sl_api_fail(request, 400, "Event data is required");
        json_decref(body);
        return;
    }
    if (find_handler(request, sl_api_param(request, 0), &found)) {
        if (found.over)
            sl_api_fail(request, 409, "Workflow already completed");
        else if (found.worker)
            send_to_worker(request, sl_str_c(found.run), event);
        else
            refuse_event(request, event);
        json_decref(found.handler);
    }
    json_decref(body);
}
